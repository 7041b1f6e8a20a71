"""Model files: arrays and text -> one safetensors file, and back.  No pickle, nothing is executed.

    file    ::= length (8 bytes, little-endian) header data
    header  ::= JSON object: name -> {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__" -> {text: text}
    data    ::= the arrays, C-contiguous, little-endian, one after the other without gaps

Format: https://huggingface.co/docs/safetensors (version 0.x).  Everything in a header is compared with the size of the
file before an array is allocated; a file is replaced whole or not at all.
"""

from __future__ import annotations

import glob
import hashlib
import json
import math
import os
import secrets
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ..errors import Quoted, SymnetError, complaint

Array = np.ndarray[Any, np.dtype[Any]]

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
          "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1"}  # fmt: skip
_CODES = {text: code for code, text in DTYPES.items()}
HEADER_LIMIT = 100_000_000  # bytes; the limit of the format's own library
METADATA = "__metadata__"
CHECKSUM = "symnet.sha256"


@dataclass(frozen=True, slots=True)
class Entry:
    """Where one array lies in the data part of a file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def code(dtype: np.dtype[Any]) -> str | None:
    """The format's name of a dtype: F32 for float32."""
    return _CODES.get(dtype.newbyteorder("<").str)


def write(path: str | os.PathLike[str], arrays: Mapping[str, Array], metadata: Mapping[str, str] | None = None) -> None:
    """Write a file that is complete or not there: a temporary file beside it, fsync, rename.

    The same arrays and text give the same bytes.  A checksum of all of it is added to the metadata, which readers take
    out again.
    """
    entries: dict[str, Entry] = {}
    blocks: list[Array] = []
    position = 0
    # Wide elements first, so that every array is aligned for its own dtype when the file is mapped into memory.
    for name, array in sorted(arrays.items(), key=lambda item: (-item[1].dtype.itemsize, item[0])):
        kind = code(array.dtype)
        if kind is None or name == METADATA:
            raise SymnetError(
                f"{name!r} cannot be stored: found dtype {array.dtype}, expected one of {', '.join(DTYPES)}"
            )
        end = position + array.nbytes
        entries[name] = Entry(kind, array.shape, position, end)
        blocks.append(np.ascontiguousarray(array, dtype=DTYPES[kind]))
        position = end
    texts = dict(sorted((metadata or {}).items()))
    digest = _digest(entries, texts)
    for block in blocks:
        digest.update(block.reshape(-1).view(np.uint8).data)
    header: dict[str, Any] = {METADATA: {**texts, CHECKSUM: digest.hexdigest()}}
    for name, e in entries.items():
        header[name] = {"dtype": e.dtype, "shape": list(e.shape), "data_offsets": [e.begin, e.end]}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    data = (block.reshape(-1).view(np.uint8).data for block in blocks)
    replace_file(path, [len(text).to_bytes(8, "little"), text, *data])


def target_of(path: Any, where: str) -> Path:
    """The file that a path names, links followed: there is none yet, or it may be replaced; else SymnetError.

    A device would be replaced by a file, too, if the user may do that.
    """
    target = Path(os.path.realpath(_text(path, where)))
    if target.exists() and not target.is_file():
        raise complaint(where, str(path), "the path of a file, not of a folder or a device")
    return target


def _text(path: Any, where: str) -> str:
    try:
        text = os.fsdecode(path)
    except TypeError:
        text = ""
    if not text or "\0" in text:
        raise complaint(where, path, "the path of a file")
    return text


def replace_file(path: str | os.PathLike[str], parts: Sequence[bytes | memoryview]) -> None:
    """Put `parts` into the file at `path` in one step: readers see the old file or the new one."""
    target = target_of(path, "path")
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp")
    try:
        with open(temporary, "xb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        raise SymnetError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    if os.name == "posix":  # the rename itself must survive a crash, too
        with suppress(OSError):  # some file systems cannot flush a folder
            folder = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def remove_parts(path: str | os.PathLike[str]) -> None:
    """Remove what processes left that were killed while they wrote the file at `path`."""
    target = target_of(path, "path")
    with suppress(OSError):
        for part in target.parent.glob(f".{glob.escape(target.name)}.*.tmp"):
            part.unlink(missing_ok=True)


def read(path: str | os.PathLike[str], wanted: Sequence[str] | None = None) -> tuple[dict[str, Array], dict[str, str]]:
    """The arrays and the metadata of a file; wanted: the names of the arrays, if not all."""
    with _opened(path) as file:
        entries, metadata, start = _header(file, path)
        arrays = {}
        for name, entry in entries.items() if wanted is None else [(n, entries[n]) for n in wanted]:
            file.seek(start + entry.begin)
            array = np.empty(entry.shape, DTYPES[entry.dtype])
            if file.readinto(array.reshape(-1).view(np.uint8)) != array.nbytes:
                _refuse(path, f"the data of {name!r} end early")
            arrays[name] = array
    metadata.pop(CHECKSUM, None)
    return arrays, metadata


def check(path: str | os.PathLike[str]) -> None:
    """SymnetError unless the file is what `write` wrote: one flipped bit is found."""
    with _opened(path) as file:
        entries, metadata, _ = _header(file, path)
        expected = metadata.pop(CHECKSUM, None)
        digest = _digest(entries, metadata)
        while part := file.read(2**20):
            digest.update(part)
    if expected is None:
        raise complaint(str(path), Quoted("a file without our metadata"), "a file that symnet wrote, with a checksum")
    if digest.hexdigest() != expected:
        advice = "It is damaged, or it was edited: use another copy."
        raise complaint(str(path), Quoted("contents that do not fit its checksum"), "what was saved", advice)


def _digest(entries: Mapping[str, Entry], metadata: Mapping[str, str]) -> Any:
    """The checksum of a header; data follow."""
    arrays = sorted((name, e.dtype, e.shape, e.begin) for name, e in entries.items())
    return hashlib.sha256(json.dumps([arrays, sorted(metadata.items())]).encode())


def read_header(path: str | os.PathLike[str]) -> tuple[dict[str, Entry], dict[str, str]]:
    """What a file contains, without its data: name -> Entry, and the metadata."""
    with _opened(path) as file:
        entries, metadata, _ = _header(file, path)
    metadata.pop(CHECKSUM, None)
    return entries, metadata


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[Any]:
    """The file, to be read."""
    text = _text(path, "path")
    try:
        if not stat.S_ISREG(os.stat(text).st_mode):  # whose end may never come
            raise OSError("it is a folder or a device")
        with open(text, "rb") as file:
            yield file
    except OSError as error:
        raise SymnetError(f"{path} cannot be read: {error.strerror or error}") from error


def _header(file: Any, path: Any) -> tuple[dict[str, Entry], dict[str, str], int]:
    prefix, size = file.read(8), os.fstat(file.fileno()).st_size
    length = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or not 2 <= length <= min(HEADER_LIMIT, size - 8):
        _refuse(path, f"its header length is {length} bytes, the file has {size}")
    try:
        header = json.loads(file.read(length).decode(), object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        _refuse(path, f"its header is not JSON: {str(error)[:200]}")
    if not isinstance(header, dict):
        _refuse(path, "its header is not a JSON object")
    metadata = header.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        _refuse(path, "its metadata are not a mapping from text to text")
    entries = {name: _entry(name, value, path) for name, value in header.items()}
    position = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != position:
            _refuse(path, f"the data of {name!r} begin at {entry.begin}, expected {position}")
        position = entry.end
    if position != size - 8 - length:
        _refuse(path, f"its arrays need {position} bytes of data, found {size - 8 - length}")
    return entries, metadata, 8 + length


def _entry(name: str, value: Any, path: Any) -> Entry:
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        _refuse(path, f"the entry of {name!r} does not have dtype, shape and data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        _refuse(path, f"the dtype of {name!r} is {dtype!r}, expected one of {', '.join(DTYPES)}")
    if not _naturals(shape) or len(shape) > 32:
        _refuse(path, f"the shape of {name!r} is not a list of at most 32 sizes")
    if not _naturals(offsets) or len(offsets) != 2:
        _refuse(path, f"the data_offsets of {name!r} are not two positions")
    needed = math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize
    if offsets[1] - offsets[0] != needed:
        _refuse(path, f"{name!r} of shape {tuple(shape)} needs {needed} bytes, found {offsets[1] - offsets[0]}")
    return Entry(dtype, tuple(shape), offsets[0], offsets[1])


def _naturals(value: Any) -> bool:
    return isinstance(value, list) and all(type(x) is int and 0 <= x < 2**63 for x in value)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name occurs twice")
    return table


def _refuse(path: Any, reason: str) -> NoReturn:
    raise SymnetError(f"{path} is not a whole safetensors file: {reason}.  Save the model again, or use another copy")
