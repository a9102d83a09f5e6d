"""Tables of choices: what is read alike, and what is refused with its line."""

import bz2
import gzip
import lzma

import numpy as np
import pandas as pd
import pytest
import torch

from imitate.conditioning import tables
from imitate.conditioning.data import Choices
from imitate.conditioning.tables import read_csv

ROWS = [("ann", 0, 1.0), ("ann", 1, 0.5), ("bob", 1, -1.0), ("ann", None, None), ("bob", 0, 0.0)]


def text(separator=",", end="\n", field=lambda x: "" if x is None else str(x)):
    lines = [("subject", "action", "reward"), *ROWS]
    return "".join(separator.join(map(field, line)) + end for line in lines)


def quoted(x):
    return '""' if x is None else f'"{x}"'


FILES = {
    "commas.csv": text().encode(),
    "tabs.txt": text("\t").encode(),
    "semicolons.csv": text(";").encode(),
    "windows.csv": text(end="\r\n").encode(),
    "old-mac.csv": text(end="\r").encode(),
    "no-last-end.csv": text().rstrip("\n").encode(),
    "mark.csv": text().encode("utf-8-sig"),
    "utf16.txt": text("\t").encode("utf-16"),
    "quoted.csv": text(field=quoted).encode(),
    "spaces.csv": text(" , ").encode(),
    "missing.csv": text(field=lambda x: "NA" if x is None else str(x)).encode(),
    "ends.csv": text(end=",\n").encode(),
    "blank.csv": text(end="\n\n").encode(),
    "commas.csv.gz": gzip.compress(text().encode()),
    "commas.csv.bz2": bz2.compress(text().encode()),
    "commas.csv.xz": lzma.compress(text().encode()),
}


@pytest.mark.parametrize("name", FILES)
def test_one_table_in_many_files(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(FILES[name])
    data = Choices.from_pandas(read_csv(path), 2)
    assert data.subjects == ("ann", "bob")
    assert data.counts.tolist() == [2, 2]
    assert data.action[data.scored].tolist() == [0, 1, 1, 0]
    assert data.reward[data.learns].tolist() == [1.0, -1.0, 0.5, 0.0]


HEAD = "subject,action,reward\n"


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ("", "' is empty"),
        ("\n \n", "' is empty"),
        (HEAD, "names of columns and no rows"),
        ("1,0,1\n1,1,0\n", "line 1 of '.*' has numbers only; begin the file with names"),
        (HEAD + "a,0,1\n\na,1\n", "line 4 of '.*' has 2 fields, but line 1 names 3 columns"),
        (HEAD + "a,0,1\na,1,0,5\n", "line 3 of '.*' has 4 fields"),
        (HEAD + 'a,0,1\n"b,1,0\n', "line 3 of '.*' cannot be read"),
        (HEAD.encode() + b"m\xfcller,0,1\n", "line 2 of '.*' is not in UTF-8"),
        (b"PK\x03\x04\x00\x00", "is no text"),
        ("subject;action;reward\na;0;0,5\n", "reward: row 2 holds '0,5', which is no number; write decimal points"),
        ("subject action reward\na 0 1\n", "column: 'subject' is unknown"),
        ("subject,action,action,reward\na,0,0,1\n", "action: the table has 2 columns 'action'"),
        ("subjID,action,reward\na,0,1\n", "did you mean 'subjID'. Pass the name of the column as subject"),
        ("subjID,key,won\na,0,1\n", r"Pass the name of the column as subject; likewise action, reward\."),
        (HEAD + "a,0,1\n\n\na,2,1\n", "action: row 5 holds 2, which is none of the actions 0 to 1"),
        (HEAD + "a,0,1\n,1,1\n", "subject: row 3 holds .*, which is no label of a subject"),
        (HEAD + "a,0,1\na,left,1\n", "action: row 3 holds 'left', which is no number"),
        (HEAD + "a,0,1\na,inf,1\n", "action: row 3 holds inf"),
        (HEAD + "a,0,1\na,1,inf\n", "reward: row 3 holds inf, which is no reward"),
        (HEAD + "a,0,1\na,1,\n", "reward: row 3 holds nan, which is no reward; have a column .* as learns"),
        (HEAD + "a,up,1\na,upp,0\na,down,1\na,up,1\na,down,1\n", "row 3 holds 'upp', which is one of 3 words"),
    ],
)  # fmt: skip
def test_what_is_no_table_is_refused_with_its_line(held, message, tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(held if isinstance(held, bytes) else held.encode())
    with pytest.raises(ValueError, match=message):
        Choices.from_pandas(read_csv(path), 2)


def test_a_damaged_or_endless_archive_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "table.csv.gz"
    path.write_bytes(gzip.compress(text().encode())[:-12])
    with pytest.raises(ValueError, match=r"data: '.*' cannot be read"):
        read_csv(path)
    monkeypatch.setattr(tables, "LARGEST", 100)
    path.write_bytes(gzip.compress(b"0" * 1_000))
    with pytest.raises(ValueError, match="is longer than"):
        read_csv(path)


def test_labels_stay_what_they_are(tmp_path):
    path = tmp_path / "table.csv"
    many = "12345678901234567890,12345678901234567891"
    path.write_text(f"a,b,c,d,e\n007,1,{many.split(',')[0]},1.5,TRUE\n7,2,{many.split(',')[1]},,false\n")
    table = read_csv(path)
    assert table["a"].tolist() == ["007", "7"]
    assert table["b"].tolist() == [1, 2]
    assert table["c"].tolist() == many.split(",")
    assert table["d"].tolist()[0] == 1.5 and np.isnan(table["d"].tolist()[1])
    assert table["e"].tolist() == [True, False]


def frame(**columns):
    rows = len(next(iter(columns.values())))
    return pd.DataFrame({"subject": ["a"] * rows, "action": [0] * rows, "reward": [1.0] * rows, **columns})


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, pd.NaT, "", "  "])
@pytest.mark.parametrize("column", ["subject", "block"])
def test_a_missing_label_is_nobody(missing, column):
    table = frame(**{"block": ["x"] * 3, column: ["a", missing, "a"]})
    with pytest.raises(ValueError, match=rf"{column}: row 1 holds .* is no label of a {column}"):
        Choices.from_pandas(table, 2, block="block")


def test_words_are_actions():
    words = ["right", " left", None, "right", "left"]
    for kind in (object, "category"):
        data = Choices.from_pandas(frame(action=pd.Series(words, dtype=kind)), 2)
        assert data.names == ("left", "right")
        assert data.action[:, 0].tolist() == [1, 0, 0, 1, 0]
        assert data.counts.tolist() == [4]
    named = Choices.from_pandas(frame(action=words), ("right", "left", "none"))
    assert named.actions == 3
    assert named.action[:, 0].tolist() == [0, 1, 0, 0, 1]
    assert named.to_pandas()["action"].tolist() == ["right", "left", "right", "left"]
    with pytest.raises(ValueError, match=r"action: row 1 holds ' left', which is none of the actions right, Left"):
        Choices.from_pandas(frame(action=words), ("right", "Left"))
    with pytest.raises(ValueError, match="actions: two of left, left are the same"):
        Choices.from_pandas(frame(action=words), ("left", "left"))


def test_numbers_are_names_where_they_are_said_to_be():
    for given in ((1, 2), ("1", "2"), (1.0, 2.0)):
        data = Choices.from_pandas(frame(action=[2, 1, 2]), given)
        assert data.action[:, 0].tolist() == [1, 0, 1]
    with pytest.raises(
        ValueError, match=r"row 0 holds 2, which is none of the actions 0 to 1; .* give 1, 2 as the act"
    ):
        Choices.from_pandas(frame(action=[2, 1, 2]), 2)


def test_masks_are_zeros_and_ones():
    data = Choices.from_pandas(frame(reward=[1.0, np.nan], seen=[True, False]), 2, learns="seen")
    assert data.learns[:, 0].tolist() == [True, False]
    assert data.scored.all()
    for bad in (0.5, 2, -1, np.nan):
        with pytest.raises(ValueError, match=r"seen: row 1 holds .* which is neither 0 nor 1"):
            Choices.from_pandas(frame(seen=[1, bad]), 2, scored="seen")


def test_a_place_is_a_whole_number():
    with pytest.raises(ValueError, match=r"room: row 1 holds 0.5, which is no place"):
        Choices.from_pandas(frame(room=[0, 0.5]), 2, context="room")


def test_a_block_is_a_run_of_trials():
    table = pd.DataFrame(
        {
            "subject": ["a", "b", "a", "a", "b", "a"],
            "action": [0, 1, 0, None, 1, 1],
            "reward": 1.0,
            "block": ["x", "x", "x", "y", "y", "y"],
        }
    )
    data = Choices.from_pandas(table, 2, block="block")
    assert data.starts.T.tolist() == [[False, False, True, False], [False, True, False, False]]
    again = Choices.from_pandas(data.to_pandas(), 2, block="block")
    assert again.starts.T.tolist() == [[False, False, True], [False, True, False]]  # the missing trial is gone
    with pytest.raises(ValueError, match="block: row 2 holds 'x', which had ended before"):
        Choices.from_pandas(frame(block=["x", "y", "x"]), 2, block="block")


def test_arguments_of_a_wrong_kind_are_named():
    action, reward = torch.zeros(3, 2, dtype=torch.int64), torch.zeros(3, 2)
    for arguments, message in (
        ({"action": action.double()}, "action: torch.float64, but whole numbers are needed"),
        ({"context": reward}, "context: torch.float32, but whole numbers"),
        ({"context": action - 1}, "context: trial 0 of subject 0 is -1"),
        ({"learns": action}, "learns: torch.int64, but torch.bool is needed"),
        ({"starts": reward}, "starts: torch.float32, but torch.bool"),
        ({"starts": torch.zeros(2, 2).bool()}, r"starts: shape \(2, 2\)"),
        ({"actions": 0}, "actions: at least 1"),
        ({"subjects": ("a",)}, "subjects: 1 labels for 2 subjects"),
    ):
        with pytest.raises(ValueError, match=message):
            Choices(**{"action": action, "reward": reward, "actions": 2, **arguments})
    for bad in (0.5, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"action: trial 1 of subject 'b' is .*, which is no whole number"):
            Choices.of_subjects([[0], [0, bad]], [[1], [1, 1]], 2, subjects="ab")
