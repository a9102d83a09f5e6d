"""Phenomena of several cues that share an outcome, as data: what animals do, and which models do the same."""

from __future__ import annotations

from imitate.conditioning.contenders import all_but, only
from imitate.conditioning.design import Design
from imitate.conditioning.phenomena import Contrast, Phenomenon, Response

__all__ = ["COMPOUND"]

INHIBITION = "50(A(US)/AX)"

COMPOUND: dict[str, Phenomenon] = {
    "blocking": Phenomenon(
        "A cue beside one that announces the outcome already learns little.",
        Design({"blocked": "10A(US) | 10AB(US) | 1#B", "control": "10C(US) | 10AB(US) | 1#B"}),
        (Contrast(Response("#B", "control"), Response("#B", "blocked")),),
        "Kamin 1969",
        passes=all_but("pavlov", "pavlov-inhibition"),
    ),
    "one-trial-blocking": Phenomenon(
        "A single trial of the compound suffices for blocking.",
        Design({"blocked": "10A(US) | 1AB(US) | 1#B", "control": "10C(US) | 1AB(US) | 1#B"}),
        (Contrast(Response("#B", "control"), Response("#B", "blocked")),),
        "Mackintosh, Bygrave & Picton 1977",
        passes=all_but("pavlov", "pavlov-inhibition", "mackintosh", "pearce-hall", "pearce-kaye-hall"),
    ),
    "backward-blocking": Phenomenon(
        "A cue loses when its companion alone turns out to announce the outcome.",
        Design({"backward": "10AB(US) | 10A(US) | 1#B", "control": "10AB(US) | | 1#B"}),
        (Contrast(Response("#B", "control"), Response("#B", "backward")),),
        "Shanks 1985; Miller & Matute 1996",
        passes=only("kalman"),
    ),
    "recovery-from-blocking": Phenomenon(
        "Extinction of the blocking cue brings the blocked one back.",
        Design("10A(US) | 10AB(US) | 1#B | 10A | 1#B"),
        (Contrast(Response("#B"), Response("#B", phase=2)),),
        "Blaisdell, Gunther & Miller 1999",
        passes=only("kalman"),
    ),
    "unblocking": Phenomenon(
        "A larger outcome lets a cue be learned that would be blocked.",
        Design(
            {
                "larger": "20A(US) | lambda=2/20AB(US) | 1#B",
                "same": "20A(US) | 20AB(US) | 1#B",
                "novel": "| 20AB(US) | 1#B",
            }
        ),
        (
            Contrast(Response("#B", "larger"), Response("#B", "same")),
            Contrast(Response("#B", "novel"), Response("#B", "same")),
        ),
        "Kamin 1969",
        passes=all_but("pavlov", "pavlov-inhibition"),
    ),
    "unblocking-by-decrease": Phenomenon(
        "A smaller outcome, too, lets a cue be learned that would be blocked.",
        Design({"smaller": "lambda=2/20A(US) | 20AB(US) | 1#B", "same": "20A(US) | 20AB(US) | 1#B"}),
        (Contrast(Response("#B", "smaller"), Response("#B", "same")),),
        "Dickinson, Hall & Mackintosh 1976",
        passes=only("mackintosh"),
    ),
    "overshadowing": Phenomenon(
        "A cue learns less in a compound than alone.",
        Design({"compound": "20AB(US) | 1#A/1#B", "alone": "20B(US) | 1#A/1#B"}),
        (Contrast(Response("#B", "alone"), Response("#B", "compound")),),
        "Pavlov 1927",
        passes=all_but("pavlov", "pavlov-inhibition"),
        settings={"rescorla-wagner": {"alpha": {"A": 0.4, "B": 0.1}}},
    ),
    "recovery-from-overshadowing": Phenomenon(
        "Extinction of the overshadowing cue brings the other one back.",
        Design("10AB(US) | 1#B | 10A | 1#B"),
        (Contrast(Response("#B"), Response("#B", phase=1)),),
        "Kaufman & Bolles 1981",
        passes=only("kalman"),
    ),
    "overexpectation": Phenomenon(
        "Two cues that announce the outcome each lose when they are trained together.",
        Design("50(A(US)/B(US)) | 1#A | 50AB(US) | 1#A"),
        (Contrast(Response("#A", phase=1), Response("#A")),),
        "Rescorla 1970",
        passes=all_but("pavlov", "pavlov-inhibition", "mackintosh", "pearce-configural"),
    ),
    "recovery-from-overexpectation": Phenomenon(
        "Extinction of one of two cues that lost together brings the other back.",
        Design("10A(US)/10B(US) | 10AB(US) | 1#B | 10A | 1#B"),
        (Contrast(Response("#B"), Response("#B", phase=2)),),
        "Blaisdell, Denniston & Miller 2001",
        passes=only("kalman"),
    ),
    "conditioned-inhibition": Phenomenon(
        "A cue that announces that no outcome will come inhibits the response to another; a novel one does not.",
        Design(f"{INHIBITION} | 1#A/1#X | 20B(US) | 1#BN/1#BX"),
        (Contrast(Response("#BN"), Response("#BX")),),
        "Pavlov 1927; Rescorla 1969",
        passes=all_but("pavlov", "pavlov-inhibition", "mackintosh"),
        also=(Response("#A", phase=1), Response("#X", phase=1)),
    ),
    "inhibitor-extinction": Phenomenon(
        "An inhibitor that is shown alone keeps at least half of its strength.",
        Design(f"{INHIBITION} | 1#X | 50X | 1#X"),
        (Contrast(0.0, Response("#X", phase=1)), Contrast(Response("#X", phase=1), Response("#X"), 0.001, factor=0.5)),
        "Zimmer-Hart & Rescorla 1974",
        passes=only("pearce-hall", "pearce-kaye-hall"),
    ),
    "superconditioning": Phenomenon(
        "A cue learns more beside an inhibitor than beside a novel cue.",
        Design({"inhibitor": f"{INHIBITION} | 50XB(US) | 1#B", "novel": "50A(US) | 50XB(US) | 1#B"}),
        (Contrast(Response("#B", "inhibitor"), Response("#B", "novel")),),
        "Rescorla 1971",
        passes=all_but("pavlov", "pavlov-inhibition", "mackintosh"),
    ),
    "relative-validity": Phenomenon(
        "A cue with a better companion is less believed, though it is followed by the outcome as often.",
        Design(
            {
                "true": "!40AX(US)/40BX | 1#X",
                "pseudo": "!20AX(US)/20AX/20BX(US)/20BX | 1#X",
            }
        ),
        (Contrast(Response("#X", "pseudo"), Response("#X", "true"), margin=0.05),),
        "Wagner, Logan, Haberlandt & Price 1968",
        passes=only("pearce-hall", "pearce-kaye-hall"),
        subjects=100,
    ),
    "summation": Phenomenon(
        "Two cues that announce the outcome elicit more together than each alone.",
        Design("20A(US)/20B(US) | 1#A/1#B/1#AB"),
        (Contrast(Response("#AB"), Response("#A")), Contrast(Response("#AB"), Response("#B"))),
        "Pavlov 1927; Rescorla 1997",
        passes=all_but("pearce-configural"),
    ),
    "positive-patterning": Phenomenon(
        "A compound that alone is followed by the outcome elicits more than its elements.",
        Design("50(A/B/AB(US)) | 1#A/1#B/1#AB"),
        (Contrast(Response("#AB"), Response("#A")), Contrast(Response("#AB"), Response("#B"))),
        "Woodbury 1943",
        passes=all_but("pearce-hall"),
    ),
    "negative-patterning": Phenomenon(
        "A compound that alone is not followed by the outcome elicits less than its elements.",
        Design("50(A(US)/B(US)/AB) | 1#A/1#B/1#AB"),
        (Contrast(Response("#A"), Response("#AB")), Contrast(Response("#B"), Response("#AB"))),
        "Woodbury 1943",
        passes=only("pearce-configural", "rescorla-wagner-unique"),
    ),
    "biconditional": Phenomenon(
        "Four compounds of four cues are told apart, though every cue is followed by the outcome as often.",
        Design("40(AC(US)/BD(US)/AD/BC) | 1#AC/1#BD/1#AD/1#BC"),
        tuple(Contrast(Response(more), Response(less)) for more in ("#AC", "#BD") for less in ("#AD", "#BC")),
        "Saavedra 1975",
        passes=only("pearce-configural", "rescorla-wagner-unique"),
    ),
}
