"""Damage to files: of bytes, of the entries of a zip, of values in JSON, of tensors; each by a seeded generator."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor

from benchmarks import hostile_pickles as pickles

VALUES = (
    "1e999", "-1e999", "NaN", "Infinity", "null", "true", "false", '"x"', '"nan"', '"inf"', "[]", "{}",
    "-1", "0", "1", "0.5", "1000000000", "10000000000000000000000", "9" * 5000,
    '[1,"a"]', "[[1]]", "[1000000000]", "[" + "1," * 9999 + "1]", "[" * 5000 + "]" * 5000,
    '{"a":' * 300 + "1" + "}" * 300, '"' + "A" * 100_000 + '"', '"\\ud800"', '"a\\u0000b"', '"\\u001b[31m"',
    '{"kind": "Implicit", "count": 1000000000}', '{"discrete": 1000000000}',
    '{"box": [1000000, 1000000], "low": 0, "high": 1}',
)  # fmt: skip


def of_bytes(rng: Random, content: bytes) -> bytes:
    """Bits that flipped, parts that were cut, repeated, exchanged or overwritten."""
    damaged = bytearray(content)
    if not damaged:
        return rng.randbytes(20)
    way, at, length = rng.randrange(9), rng.randrange(len(damaged)), rng.choice((1, 8, 200))
    if way < 4:
        for _ in range(rng.choice((1, 1, 3, 20))):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    elif way == 4:
        del damaged[at:]
    elif way == 5:
        del damaged[at : at + length]
    elif way == 6:
        damaged[at:at] = rng.randbytes(length)
    elif way == 7:
        damaged[at : at + length] = rng.choice((b"\xff", b"\0", b"9")) * length
    else:
        return rng.choice(
            (b"", rng.randbytes(500), content * 2, content[at:], b"PK\x05\x06" + bytes(18), b"PK\x03\x04" + content)
        )
    return bytes(damaged)


def of_json(rng: Random, content: bytes) -> bytes:
    """One or two values of a document that are others, or are there twice or not at all."""
    document = json.loads(content)
    chosen: dict[str, str] = {}
    for i in range(rng.choice((1, 1, 1, 2))):
        places = _places(document)
        if not places:
            break
        parent, key = rng.choice(places)
        way = rng.randrange(8)
        if way == 0:
            del parent[key]
        elif way == 1 and isinstance(parent, dict):
            parent[f"{key}_"] = parent.pop(key)
        elif way == 2:
            _, other = rng.choice(places)
            parent[key] = other
        else:
            parent[key] = f"@{i}@"
            chosen[f'"@{i}@"'] = rng.choice(VALUES)
    text = json.dumps(document)
    for mark, instead in chosen.items():
        text = text.replace(mark, instead)
    way = rng.randrange(30)
    if way == 0:
        text = text.rstrip()[:-1] + f', "format": {rng.choice(VALUES)}}}'  # a key twice
    elif way == 1:
        return text.encode("utf-16")
    elif way == 2:
        return b"\xef\xbb\xbf" + text.encode()
    elif way == 3:
        text = rng.choice(VALUES)
    return text.encode()


def _places(document: Any) -> list[tuple[Any, Any]]:
    found, left = [], [document]
    while left:
        parent = left.pop()
        keys = list(parent) if isinstance(parent, dict) else range(len(parent)) if isinstance(parent, list) else ()
        found += [(parent, key) for key in keys]
        left += [parent[key] for key in keys]
    return found


def of_tensors(rng: Random, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One tensor that is of another type or shape, is not finite, is missing, or has another name."""
    found = dict(tensors)
    name = rng.choice(sorted(found))
    x = found[name]
    types = (torch.int64, torch.float64, torch.float16, torch.bool, torch.complex64, torch.uint8, torch.float8_e4m3fn)
    spots = x.double().flatten().clone()
    if len(spots):
        spots[rng.randrange(len(spots))] = rng.choice(
            (float("nan"), float("inf"), -float("inf"), -1.0, 1e38, -(2.0**62))
        )
    ways: list[Callable[[], Any]] = [
        lambda: found.update({name: x.to(rng.choice(types))}),
        lambda: found.update(
            {
                name: spots.view(x.shape).nan_to_num(posinf=1e9).to(x.dtype)
                if not x.is_floating_point()
                else spots.view(x.shape).to(x.dtype)
            }
        ),
        lambda: (
            found.update({name: spots.view(x.shape).to(x.dtype)})
            if x.is_floating_point()
            else found.update({name: torch.full_like(x, 1)})
        ),
        lambda: found.update({name: x.reshape(-1)[: rng.randrange(3)].clone()}),
        lambda: found.update({name: x.unsqueeze(0)}),
        lambda: found.update({name: x.transpose(0, -1).contiguous() if x.dim() > 1 else x.reshape(-1, 1)}),
        lambda: found.update({name: torch.cat([x, x]) if x.dim() else x.repeat(2)}),
        lambda: found.update(
            {rng.choice(("", "zzz", f"{name}.x", "...", "a." * 5000 + "b", "\ud7ff")): torch.zeros(2)}
        ),
        lambda: found.pop(name),
        lambda: [found.update({other: torch.zeros(2)}) for other in list(found)],
    ]
    rng.choice(ways)()
    return found


def of_record(rng: Random, folder: Path, name: str) -> None:
    """A record NAME.json and its tensors; often by somebody who writes the hash that fits."""
    path = folder / f"{name}.json"
    document = json.loads(path.read_bytes())
    file = folder / document["tensors"]
    raw, way = file.read_bytes(), rng.randrange(10)
    if way < 3:
        path.write_bytes(of_json(rng, path.read_bytes()))
        return
    if way == 3:
        path.write_bytes(of_bytes(rng, path.read_bytes()))
        return
    if way < 7:
        raw = save(of_tensors(rng, load(raw)))
    elif way == 7:
        size = struct.unpack("<Q", raw[:8])[0]
        header = of_json(rng, raw[8 : 8 + size])
        raw = struct.pack("<Q", rng.choice((len(header), len(header), 2**62, 0))) + header + raw[8 + size :]
    else:
        raw = of_bytes(rng, raw)
    file.write_bytes(raw)
    if way != 9:
        document["sha256"] = hashlib.sha256(raw).hexdigest()
        path.write_text(json.dumps(document), "utf-8")


def zeros(mebibytes: int) -> bytes:
    """A deflated stream of zeros, in blocks that stand by themselves."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return block * mebibytes + packer.flush()


def bomb(content: bytes, name: str, mebibytes: int) -> bytes:
    """A zip in which an entry is zeros, a thousandth of their size; its checksum is none."""
    packed = zeros(mebibytes)
    out = io.BytesIO(rezipped(content, lambda entries: entries.pop(name, None)))
    with zipfile.ZipFile(out, "a") as archive:
        info = zipfile.ZipInfo(name)
        info.compress_type, info.header_offset = zipfile.ZIP_DEFLATED, archive.start_dir
        info.file_size, info.compress_size, info.CRC = mebibytes * 2**20, len(packed), 0
        archive.fp.seek(archive.start_dir)  # type: ignore[union-attr]
        archive.fp.write(info.FileHeader() + packed)  # type: ignore[union-attr]
        archive.start_dir = archive.fp.tell()  # type: ignore[union-attr]
        archive.filelist.append(info)
        archive.NameToInfo[name] = info
        archive._didModify = True
    return out.getvalue()


def rezipped(content: bytes, change: Callable[[dict[str, bytes]], Any], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip with other entries."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    change(entries)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, found in entries.items():
            archive.writestr(name, found)
    return out.getvalue()


def of_zip(rng: Random, content: bytes, change: Callable[[Random, str, bytes], bytes]) -> bytes:
    """A zip with a damaged directory, or with an entry that `change` damages, or that is a bomb."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
    name, way = rng.choice(names), rng.randrange(20)
    if way < 11:
        return rezipped(content, lambda e: e.update({name: change(rng, name, e[name])}), rng.choice((0, 8)))
    if way < 14:
        return of_bytes(rng, content)
    if way == 14:
        return bomb(content, name, rng.choice((200, 1500)))
    if way == 15:
        return rezipped(content, lambda e: e.pop(name))
    if way == 16:
        return rezipped(content, lambda e: e.update({f"m{i}": b"" for i in range(rng.choice((3, 12_000)))}))
    if way == 17:
        return rezipped(content, lambda e: None, rng.choice((zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)))
    if way == 18:  # one name twice
        out = io.BytesIO(content)
        with warnings.catch_warnings(), zipfile.ZipFile(out, "a") as archive:
            warnings.simplefilter("ignore")
            archive.writestr(name, change(rng, name, archive.read(name)))
        return out.getvalue()
    return _directory(rng, content)


def _directory(rng: Random, content: bytes) -> bytes:
    """Another flag, method, size or place of entries in the directory, and sometimes in the entries too."""
    damaged = bytearray(content)
    at, form = rng.choice(((8, "<H"), (10, "<H"), (16, "<I"), (20, "<I"), (24, "<I"), (42, "<I")))
    found = damaged.find(b"PK\x01\x02")
    while found >= 0:
        number = (
            rng.choice((0, 1, 99, 2**16 - 1))
            if form == "<H"
            else rng.choice((0, 1, 2**31, 2**32 - 2, rng.randrange(2**20)))
        )
        struct.pack_into(form, damaged, found + at, number)
        found = damaged.find(b"PK\x01\x02", found + 4) if rng.random() < 0.7 else -1
    return bytes(damaged)


def npy(array: Any) -> bytes:
    """An array in numpy's format."""
    out = io.BytesIO()
    np.save(out, array, allow_pickle=True)
    return out.getvalue()


def of_npy(rng: Random, canary: Path, name: str, content: bytes) -> bytes:
    """An array of another type, of numbers that are no good, or with a header that lies."""
    array = np.load(io.BytesIO(content))
    way = rng.randrange(8)
    if way == 0:
        return of_bytes(rng, content)
    if way == 1:
        return npy(np.array([pickles.Harm(canary)] * len(array), object))
    if way == 2:
        kinds = (">f8", "f2", "g", "c16", "U3", "S4", "M8[s]", "m8[s]", "V5", "u8", "i1", "?", [("a", "f4")])
        kind = np.dtype(rng.choice(kinds))  # type: ignore[arg-type]
        return npy(np.zeros(array.shape, kind))
    if way == 3:
        spoilt = array.astype(rng.choice((np.float64, np.float32)))
        spoilt.flat[rng.randrange(spoilt.size)] = rng.choice(
            (np.nan, np.inf, 1e300 if spoilt.dtype == np.float64 else 1e38, -1, 0.5)
        )
        return npy(spoilt)
    if way == 4:
        return npy(rng.choice((array[:0], array[:, None], array.ravel(), array[0], np.concatenate([array, array]))))
    descr = rng.choice(("<f4", "|O", "|V10", "<U1000000000", "f4,f4", [("a", [("b", "<f4")] * 3)], ("<f4", (10**9,))))
    shape = rng.choice(((10**12, 4), (2**62, 2**62), (-1, 4), (True, 4), "x", (), (0,), (10**9, 4), (6, 4)))
    raw = repr({"descr": descr, "fortran_order": rng.choice((False, True, 3)), "shape": shape}).encode()
    if way == 5:
        evil = b"__import__('os').system('touch " + str(canary).encode() + b"')"
        raw = rng.choice(
            (evil, b"(" * 5000, b"-" * 900 + b"1", b"{" * 900, b"{'descr':'<f4','shape':(" + b"9" * 5000 + b",)}")
        )
    raw += b" " * (-(len(raw) + 11) % 64) + b"\n"
    version = rng.choice((1, 2, 3, 9))
    size = struct.pack("<H", len(raw) & 65535) if version == 1 else struct.pack("<I", rng.choice((len(raw), 2**31)))
    return b"\x93NUMPY" + bytes([version, 0]) + size + raw + content[128:]


def of_weights(rng: Random, canary: Path, content: bytes) -> bytes:
    """Weights of torch that are others, or whose index is no good."""
    way = rng.randrange(10)
    if way < 3:
        out = io.BytesIO()
        torch.save(of_tensors(rng, torch.load(io.BytesIO(content), weights_only=True)), out)
        return out.getvalue()
    if way == 3:
        return pickles.anything(rng, canary)
    if way == 4:
        return of_bytes(rng, content)
    if way == 5:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            name = rng.choice(archive.namelist())
        return bomb(content, name, rng.choice((200, 1500)))
    if way == 6:  # views of one number
        shape = rng.choice(((64, 2**34), (2**28, 4), (2**24, 2**24)))
        found = torch.load(io.BytesIO(content), weights_only=True)
        found[rng.choice(sorted(found))] = torch.zeros(1).as_strided(shape, (0, 0))
        out = io.BytesIO()
        torch.save(found, out)
        return out.getvalue()
    found = torch.load(io.BytesIO(content), weights_only=True)
    if way == 7:
        items = [pickles.tensor(rng, name, str(i), tuple(x.shape), canary) for i, (name, x) in enumerate(found.items())]
    else:
        items = [pickles.value(rng, canary) + pickles.value(rng, canary)]
    start = pickles.named("collections", "OrderedDict") + b")R" if rng.random() < 0.7 else b"}"
    index = b"\x80\x02" + start + b"(" + b"".join(items) + b"u."
    return rezipped(content, lambda e: e.update({n: index for n in e if n.endswith("data.pkl")}), zipfile.ZIP_STORED)
