"""What readers of files share: one line for every error, documents, archives, schemas."""

import io
import json
import struct
import warnings
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from benchmarks import hostile_files
from imitate.core.reading import Archive, content, decoded, document, line, refusing, sound
from imitate.core.schema import of_json


@pytest.mark.parametrize(
    "error",
    [
        RecursionError("a\nb"), MemoryError(), OverflowError("x" * 5000), EOFError(), struct.error("y"), KeyError("k"),
        zipfile.BadZipFile("z"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), AssertionError(), OSError(13, "no"),
        ValueError("\x1b[31m\ud800"),
    ],
)  # fmt: skip
def test_every_error_is_one_line_with_the_name(error):
    with pytest.raises(ValueError, match=r"^'a\.zip' is no good: .+") as caught, refusing("'a.zip' is no good"):
        raise error
    assert len(str(caught.value)) <= len("'a.zip' is no good: ") + 200
    assert str(caught.value).isprintable()
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1), FileNotFoundError("none")])
def test_what_is_no_fault_of_the_file_passes(error):
    with pytest.raises(type(error)), refusing("a"):
        raise error


def test_lines_are_short_and_printable():
    assert line("a  b\n c") == "a b c"
    assert line("é\x1b\x00") == "é??"
    assert line(ValueError()) == "ValueError"
    assert len(line("a" * 10**6)) == 200


def test_content_is_bounded(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    assert content(path, 5) == b"12345"
    with pytest.raises(ValueError, match="it has 5 bytes, and such a file never more than 4"):
        content(path, 4)
    for missing in (tmp_path, tmp_path / "none", Path("/dev/zero")):
        with pytest.raises(FileNotFoundError):
            content(missing, 5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "it is not JSON"),
        (b"\xff\xfe", "it is not JSON"),
        ("{}".encode("utf-16"), "it is not JSON"),
        (b"\xef\xbb\xbf{}", "it is not JSON"),
        (b"", "it is not JSON"),
        (b'{"a": 1, "a": 2}', "two values for 'a'"),
        (b'{"a": [{"b": 1, "b": 1}]}', "two values for 'b'"),
        (b"[]", "a list instead of an object"),
        (b'{"a": NaN}', "nan, which is not finite"),
        (b'{"a": [-Infinity]}', "-inf, which is not finite"),
        (b'{"a": 1e999}', "inf, which is not finite"),
        (b'{"a": 9223372036854775808}', "beyond 64 bits"),
        (b'{"a": -' + b"9" * 5000 + b"}", "digits"),
        (b'{"a": "\\ud800"}', "surrogates not allowed"),
        (b'{"\\udfff": 1}', "surrogates not allowed"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "nested more than 64 levels"),
        (b"[" * 200_000, "recursion"),
        (b" " * (2**22 + 1), "never more than"),
    ],
)
def test_a_document_that_is_none_is_refused(tmp_path, text, message):
    path = tmp_path / "a.json"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=rf"a\.json.* is no good: .*{message}"), refusing(f"'{path}' is no good"):
        document(path)


def test_a_document_that_is_none_is_a_value_error_by_itself(tmp_path):
    for text in (b"[" * 200_000, b"\xff", b'{"a": 1, "a": 2}', b'{"a": NaN}'):
        (tmp_path / "a.json").write_bytes(text)
        with pytest.raises(ValueError, match="it "):
            document(tmp_path / "a.json")


def test_a_document_is_what_json_says(tmp_path):
    value = {"a": [1, -2.5, None, True, "x\n", {"b": {}}], "c": 2**63 - 1, "d": "ü"}
    (tmp_path / "a.json").write_text(json.dumps(value), "utf-8")
    assert document(tmp_path / "a.json") == value
    assert decoded(b"[Infinity]") == [float("inf")]  # of others, whose other numbers may be anything
    sound(value)


@dataclass(frozen=True)
class Head:
    count: int = 3


@dataclass(frozen=True)
class Other:
    count: int = 3
    share: float = 0.5


@dataclass(frozen=True)
class Config:
    lr: Annotated[float | tuple[float, ...], "positive"] = 0.1
    hidden: tuple[int, ...] = (8,)
    kind: Literal["tanh", "relu"] = "tanh"
    flag: bool = False
    pair: tuple[int, str] | None = None
    head: Head | Other = field(default_factory=Head)
    path: Path | None = None
    rest: Any = None


def test_a_schema_is_the_dataclass():
    assert of_json(Config, {}, "") == Config()
    found = of_json(
        Config,
        {
            "lr": [1, 0.5],
            "hidden": [],
            "flag": True,
            "pair": [1, "x"],
            "head": {"kind": "Other", "count": 4},
            "path": "a",
        },
        "",
    )
    assert found == Config((1.0, 0.5), (), flag=True, pair=(1, "x"), head=Other(4), path=Path("a"))
    assert type(of_json(Config, {"lr": 1}, "").lr) is float
    assert of_json(Config, {"lr": "inf"}, "").lr == float("inf")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"lr": "x"}, 'lr: "x" does not fit'),
        ({"lr": True}, "lr: true"),
        ({"lr": None}, "lr: null"),
        ({"lr": [1, "a"]}, "lr: "),
        ({"lr": "nan"}, "lr: "),
        ({"hidden": 8}, "hidden: 8"),
        ({"hidden": [8.0]}, r"hidden: 8\.0"),
        ({"hidden": [True]}, "hidden: true"),
        ({"kind": "elu"}, 'kind: "elu"|Config|does not fit'),
        ({"flag": 1}, "flag: 1"),
        ({"pair": [1]}, "pair: "),
        ({"pair": {"a": 1}}, "pair: "),
        ({"head": {"kind": "Third"}}, "head: "),
        ({"head": {"kind": "Head", "share": 1}}, "head: "),
        ({"head": 3}, "head: 3"),
        ({"path": 3}, "path: 3"),
        ({"dropout": 1}, "there is no dropout"),
        ([], "does not fit"),
        ({"hidden": "A" * 10**6}, "hidden: .{200} does not fit"),
    ],
)
def test_a_document_of_another_schema_is_refused(document, message):
    with pytest.raises(ValueError, match=message) as caught:
        of_json(Config, document, "config")
    assert len(str(caught.value)) < 240


def archive(method=zipfile.ZIP_DEFLATED, **entries):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        for name, found in entries.items():
            made.writestr(name, found)
    return out.getvalue()


def read(made, *names):
    with Archive(io.BytesIO(made)) as found:
        return [found.read(name) for name in names]


def test_entries_are_read_by_name():
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        assert read(archive(method, a=b"1" * 1000, b=b""), "b", "a") == [b"", b"1" * 1000]
    with pytest.raises(ValueError, match="it has no c"):
        read(archive(a=b"1"), "c")


def test_an_entry_of_data_may_be_large_and_one_of_zeros_may_not():
    good = archive(zipfile.ZIP_STORED, a=b"1", b=b"2")
    assert read(hostile_files.bomb(good, "a", 2000), "b") == [b"2"]  # what is not asked for is not touched
    with pytest.raises(ValueError, match=r"would grow to 2,097,152,000; store a uncompressed"):
        read(hostile_files.bomb(good, "a", 2000), "a")
    assert len(read(archive(a=bytes(2**24)), "a")[0]) == 2**24


def test_many_small_bombs_are_one():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made:
        for name in "ab":
            made.writestr(name, bytes(70 * 2**20))
    with Archive(io.BytesIO(out.getvalue())) as found:
        assert len(found.read("a")) == 70 * 2**20
        with pytest.raises(ValueError, match="would grow"):
            found.read("b")


def changed(made, at, form, value, signature=b"PK\x01\x02"):
    made = bytearray(made)
    struct.pack_into(form, made, made.find(signature) + at, value)
    return bytes(made)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (b"", "not a zip"),
        (b"PK\x03\x04 nothing", "not a zip"),
        (archive(zipfile.ZIP_BZIP2, a=b"1" * 99), "packed by method 12"),
        (archive(zipfile.ZIP_LZMA, a=b"1" * 99), "packed by method 14"),
        (changed(archive(a=b"1" * 99), 10, "<H", 99), "packed by method 99"),
        (changed(archive(a=b"1" * 99), 8, "<H", 1), "encrypted"),
        (changed(archive(a=b"1" * 99), 16, "<I", 7), "CRC"),
        (changed(archive(a=b"1" * 99), 24, "<I", 98), "CRC"),
        (changed(archive(a=b"1" * 99), 24, "<I", 1000), "CRC|bytes instead of"),
        (changed(archive(a=b"1" * 99, b=b"2"), 20, "<I", 2**31), "overlap"),
        (changed(archive(a=b"1" * 99, b=b"2"), 42, "<I", 40), "overlap"),
        (archive(**{f"m{i}": b"" for i in range(10_001)}), "10,001 entries"),
    ],
)
def test_an_archive_that_is_not_what_it_says_is_refused(made, message):
    with pytest.raises(Exception, match=message):
        read(made, "a")


def test_two_entries_of_one_name_are_refused():
    out = io.BytesIO(archive(a=b"1"))
    with warnings.catch_warnings(), zipfile.ZipFile(out, "a") as made:
        warnings.simplefilter("ignore")
        made.writestr("a", b"2")
    with pytest.raises(ValueError, match="two of its entries have one name"):
        read(out.getvalue(), "a")
