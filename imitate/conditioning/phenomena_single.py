"""Phenomena of a single cue and of its history, as data: what animals do, and which models do the same."""

from __future__ import annotations

from imitate.conditioning.contenders import ALL, all_but, only
from imitate.conditioning.design import Design
from imitate.conditioning.phenomena import Contrast, Phenomenon, Response

__all__ = ["SINGLE"]

SINGLE: dict[str, Phenomenon] = {
    "acquisition": Phenomenon(
        "A cue that is followed by an outcome comes to announce it.",
        Design("1#A | 10A(US) | 1#A"),
        (Contrast(Response("#A"), Response("#A", phase=0)),),
        "Pavlov 1927",
        passes=ALL,
    ),
    "extinction": Phenomenon(
        "Without the outcome the response goes.",
        Design("10A(US) | 1#A | 10A | 1#A"),
        (Contrast(Response("#A", phase=1), Response("#A")),),
        "Pavlov 1927",
        passes=ALL,
    ),
    "spontaneous-recovery": Phenomenon(
        "An extinguished response comes back with time.",
        Design("20A(US) | 20A | 1#A | pause=20/1#A"),
        (Contrast(Response("#A"), Response("#A", phase=2)),),
        "Pavlov 1927",
        passes=only("pavlov-inhibition"),
    ),
    "renewal": Phenomenon(
        "What was extinguished elsewhere returns where it was learned, if the place is a cue.",
        Design(
            {
                "back": "context=cage1/20A(US) | context=cage2/20A | context=cage1/1#A",
                "there": "context=cage1/20A(US) | context=cage2/20A | context=cage2/1#A",
            }
        ),
        (Contrast(Response("#A", "back"), Response("#A", "there")),),
        "Bouton & King 1983",
        passes=ALL,
    ),
    "reversal": Phenomenon(
        "When two cues change roles, the responses follow.",
        Design("20(A(US)/B) | 20(A/B(US)) | 1#A/1#B"),
        (Contrast(Response("#B"), Response("#A")),),
        "Pavlov 1927",
        passes=ALL,
    ),
    "partial-reinforcement": Phenomenon(
        "A cue that is followed by its outcome half of the time elicits less.",
        Design({"partial": "60 50%A(US) | 1#A", "continuous": "60A(US) | 1#A"}),
        (Contrast(Response("#A", "continuous"), Response("#A", "partial")),),
        "Humphreys 1939",
        passes=all_but("pearce-kaye-hall"),
    ),
    "partial-reinforcement-extinction": Phenomenon(
        "What was learned under partial reinforcement is slower to go.",
        Design({"partial": "60 50%A(US) | 10A | 1#A", "continuous": "60A(US) | 10A | 1#A"}),
        (Contrast(Response("#A", "partial"), Response("#A", "continuous")),),
        "Humphreys 1939",
        passes=only("mackintosh", "pearce-kaye-hall"),
    ),
    "latent-inhibition": Phenomenon(
        "A cue that was shown alone before is slower to be learned.",
        Design({"exposed": "20A | 5A(US) | 1#A", "control": "| 5A(US) | 1#A"}),
        (Contrast(Response("#A", "control"), Response("#A", "exposed")),),
        "Lubow & Moore 1959",
        passes=only("pearce-hall", "pearce-kaye-hall", "hybrid-pearce-hall", "le-pelley", "kalman"),
    ),
    "us-pre-exposure": Phenomenon(
        "Outcomes without a cue hinder learning about one in the same place.",
        Design(
            {
                "exposed": "50(US) | 10A(US) | context=elsewhere/1#A",
                "control": "| 10A(US) | context=elsewhere/1#A",
            },
            context="cage",
        ),
        (Contrast(Response("#A", "control"), Response("#A", "exposed")),),
        "Randich & LoLordo 1979",
        passes=all_but("pavlov", "pavlov-inhibition"),
        settings={"rescorla-wagner": {"alpha": {"cage": 0.1}}},
    ),
    "negative-transfer": Phenomenon(
        "Pairing a cue with a weak outcome hinders learning about a strong one.",
        Design(
            {
                "same": "lambda=0.25/66T(US) | 6T(US) | 1#T",
                "other": "lambda=0.25/66L(US) | 6T(US) | 1#T",
            }
        ),
        (Contrast(Response("#T", "other"), Response("#T", "same")),),
        "Hall & Pearce 1979",
        passes=only("pearce-kaye-hall", "hybrid-pearce-hall", "le-pelley", "kalman"),
        settings={
            "pearce-kaye-hall": {
                "alpha": 0.8,
                "salience": 0.1,
                "beta_ex": 0.8,
                "beta_in": 0.1,
                "theta": 0.1,
                "gamma": 1.0,
            }
        },
    ),
    "trace-conditioning": Phenomenon(
        "A pause between the cue and the outcome hinders learning.",
        Design({"delay": "100A(US) | 1#A", "trace": "100T>>(US) | 1#T"}),
        (Contrast(Response("#A", "delay"), Response("#T", "trace")),),
        "Pavlov 1927",
        passes=only("td-presence", "td-microstimuli"),
        alike=True,
    ),
    "temporal-primacy": Phenomenon(
        "A trained cue loses when one that comes earlier joins it.",
        Design("50B(US) | 1#B | 50A>AB(US) | 1#B"),
        (Contrast(Response("#B", phase=1), Response("#B"), margin=0.05),),
        "Kehoe, Schreurs & Graham 1987",
        passes=only("td-presence", "td-microstimuli"),
    ),
    "second-order": Phenomenon(
        "A cue that is followed by one that announces the outcome comes to announce it too.",
        Design("20A(US) | 10B>A | 1#B"),
        (Contrast(Response("#B"), 0.0),),
        "Pavlov 1927; Rizley & Rescorla 1972",
        passes=only("td", "td-presence", "td-microstimuli"),
    ),
    "sensory-preconditioning": Phenomenon(
        "A cue announces what its companion came to announce after they were paired.",
        Design("10B>A | 10A(US) | 1#B"),
        (Contrast(Response("#B"), 0.0),),
        "Brogden 1939",
        passes=only(),
    ),
}
