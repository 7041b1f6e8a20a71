"""Data files -> arrays: what `data = "..."` of a spec names.

In: the path of a .csv, .csv.gz, .npy or .npz file and the network that it is for.  Out: X and y, for data.py to check.
In a table (csv, npy) the last columns are the target: one column of labels for a classifier, else one per output, of
positions one after the other; the others are the inputs, one after the other.  An .npz file holds the arrays X (or each
input by its name) and y (or each target by its name; several targets need such a file), and if samples or positions
have weights (the mask of padded time steps) sample_weight, or sample_weight_<target>.  Nothing is unpickled, and sizes
are bounded before anything is read, since a small compressed file can unfold to terabytes.
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ..declare.losses import LABELS, VALUES
from ..errors import Quoted, SymnetError, complaint, show
from ..kinds import IntegerShape

if TYPE_CHECKING:
    from ..network import Network

Array = np.ndarray[Any, np.dtype[Any]]
Result = TypeVar("Result")
Inputs = Array | Mapping[str, Array]
Share = Callable[[int], slice]
Lines = Array | range  # where each row is: lines of a text, numbers of rows
LIMIT = 2**32  # bytes of a data file, uncompressed
LENGTHS = (
    26  # place in the header of a member of a zip archive of two lengths, of what stands between them and its data
)


def load_data(
    network: Network, path: str | Path, limit: int = LIMIT, share: Share | None = None
) -> tuple[Inputs, Inputs]:
    """X and y (by names if there are several) from a data file; raises SymnetError that names file and line.

    share: which rows, given how many there are.  Only these are read of .npy and .npz files (of a compressed one what
    stands before them is unpacked, and forgotten), only these are parsed of .csv files.
    """
    path = Path(path)
    if path.name.lower().endswith(".npz"):
        return _checked(path, lambda: _read_npz(network, path, limit, share))
    if "" not in network.outputs:
        expected = f"an .npz file with the arrays {', '.join(network.target_names)} for the targets"
        raise complaint(str(path), Quoted("one table for several losses"), expected)
    table, lines = _checked(path, lambda: _read_table(path, limit, share))
    X, y = _separate(network, table, str(path), lines)
    return by_name(network, X, str(path), lines), y


def load_weights(network: Network, path: str | Path, limit: int = LIMIT, share: Share | None = None) -> Inputs | None:
    """The weights in an .npz file, of all targets or by the names of targets; None if there are none."""
    path = Path(path)
    if not path.name.lower().endswith(".npz"):
        return None

    def read() -> Inputs | None:
        with _archive(path, limit) as archive:
            if "sample_weight" in archive:
                return _part(archive, "sample_weight", share)
            names = [name for name in network.target_names if f"sample_weight_{name}" in archive]
            return {name: _part(archive, f"sample_weight_{name}", share) for name in names} or None

    return _checked(path, read)


def by_name(network: Network, columns: Array, where: str = "X", lines: Lines | None = None) -> Inputs:
    """The columns of a table as the network takes them: as they are for one vector, else each input in its shape."""
    if network.spec.is_plain:
        return columns
    found, start = {}, 0
    for name, shape in network.spec.inputs:
        width = math.prod(shape)
        part = columns[:, start : start + width]
        if isinstance(shape, IntegerShape):
            part = _integers(part, shape.below, start, where, lines)
        found[name] = part.reshape(-1, *shape)
        start += width
    return found


def _integers(part: Array, below: int, start: int, where: str, lines: Lines | None) -> Array:
    """The columns of an input of integers, which a table holds as numbers."""
    wrong = ~((part >= 0) & (part < below) & (part == np.floor(part)))
    if wrong.any():
        row, column = (int(k) for k in np.argwhere(wrong)[0])
        at, value = f"{where}, {_place(lines, row)}, column {start + column + 1}", part[row, column].item()
        raise complaint(at, value, f"an integer from 0 to {below - 1}")
    return part.astype(np.int64)


def some(X: Inputs, rows: Any) -> Inputs:
    """Some of the samples."""
    return {name: array[rows] for name, array in X.items()} if isinstance(X, Mapping) else X[rows]


def _place(lines: Lines | None, row: int) -> str:
    number = row if lines is None else int(lines[row])
    return f"line {number}" if isinstance(lines, np.ndarray) else f"row {number}"


def read_table(path: str | Path, limit: int = LIMIT) -> tuple[Array, Lines]:
    """The numbers of a .csv, .csv.gz or .npy file, two-dimensional, and where each row is."""
    path = Path(path)
    table, lines = _checked(path, lambda: _read_table(path, limit))
    if table.ndim != 2:
        raise complaint(str(path), Quoted(f"an array of shape {table.shape}"), "rows and columns")
    return table, lines


def _checked(path: Path, read: Callable[[], Result]) -> Result:
    """What `read` gives; an error of any library becomes a SymnetError that names the file."""
    where = str(path)
    if not path.is_file():
        raise complaint(where, Quoted("no such file"), "a data file: .csv, .csv.gz, .npy or .npz")
    try:
        return read()
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise complaint(where, Quoted(f"a file that cannot be read ({error})"), "a data file") from None
    except ValueError as error:
        if isinstance(error, SymnetError):
            raise
        raise complaint(where, Quoted(f"a file that cannot be read ({error})"), "an array of numbers") from None


def _read_table(path: Path, limit: int, share: Share | None = None) -> tuple[Array, Lines]:
    """(numbers, where each row is)"""
    name = path.name.lower()
    if name.endswith((".csv", ".csv.gz")):
        return _read_csv(path, limit, share)
    if name.endswith(".npy"):
        table = np.load(path, mmap_mode="r", allow_pickle=False)
        rows = range(len(table) if table.ndim else 0)
        return (table, rows) if share is None or not rows else (table[share(len(rows))], rows[share(len(rows))])
    raise complaint(str(path), Quoted("an unknown kind of file"), "a name that ends in .csv, .csv.gz, .npy or .npz")


def _read_csv(path: Path, limit: int, share: Share | None) -> tuple[Array, Array]:
    """(numbers, line of each row).  Empty lines and lines that begin with # are skipped; one line of names may lead."""
    with gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise complaint(str(path), Quoted(f"more than {limit} bytes"), "a smaller file", "Pass a higher limit=.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise complaint(str(path), Quoted("binary data"), "text: rows of numbers, separated by commas")
    given = [
        (number, line)
        for number, line in enumerate(map(str.strip, text.splitlines()), 1)
        if line and not line.startswith("#")
    ]
    head = next((k for k, (_, line) in enumerate(given) if not _names(_fields(line))), len(given))
    if head == len(given):
        raise complaint(str(path), Quoted("no rows of numbers"), "at least one")
    own = given[head:] if share is None else given[head:][share(len(given) - head)]
    columns, rows = len(_fields(given[head][1])), []
    for number, line in own:
        fields = _fields(line)
        try:
            rows.append([float(field) for field in fields])
        except ValueError:
            parts = _parts(fields)
            if parts and all(map(_is_number, parts)):
                found = Quoted(f"1 column, {show(fields[0])}")
                raise complaint(f"{path}, line {number}", found, "numbers separated by commas") from None
            column = next(k for k, field in enumerate(fields, 1) if not _is_number(field))
            raise complaint(f"{path}, line {number}, column {column}", fields[column - 1], "a number") from None
        if len(fields) != columns:
            expected = f"{columns}, as in line {given[head][0]}"
            raise complaint(f"{path}, line {number}", Quoted(f"{len(fields)} columns"), expected)
    return np.array(rows).reshape(-1, columns), np.array([number for number, _ in own], np.int64)


def _fields(line: str) -> list[str]:
    return [field.strip() for field in line.split(",")]


def _parts(fields: list[str]) -> list[str]:
    """What other separators than commas separate."""
    parts = re.split(r"[;\s]+", fields[0]) if len(fields) == 1 else []
    return parts if len(parts) > 1 else []


def _names(fields: list[str]) -> bool:
    """They are names of columns."""
    parts = _parts(fields)
    return not any(map(_is_number, fields)) and not (parts and all(map(_is_number, parts)))


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _separate(network: Network, table: Array, where: str, lines: Lines) -> tuple[Array, Array]:
    at = network.positions
    inputs, each = network.spec.input, math.prod(at)
    outputs = each * network.target_width
    targets = (each, outputs) if LABELS in network.targets else (outputs,)
    if table.ndim != 2 or table.shape[1] - inputs not in targets:
        found = f"{table.shape[1]} columns" if table.ndim == 2 else f"an array of shape {table.shape}"
        wanted = " or ".join(str(inputs + k) for k in sorted(set(targets)))
        raise complaint(where, Quoted(found), f"{wanted}: {inputs} inputs, then the target")
    X, y = table[:, :inputs], table[:, inputs:]
    labels = LABELS in network.targets and y.shape[1] == each  # checked below
    _finite(X if labels else table, where, lines)
    values = y.reshape(len(y), *at, -1) if at else y
    if not labels:
        return X, values
    wrong = (y != np.floor(y)) | (y < 0) | (y >= network.classes)
    wrong |= ~np.isfinite(y)
    if wrong.any():
        if VALUES in network.targets:
            return X, values
        row, column = (int(k) for k in np.argwhere(wrong)[0])
        expected = f"an integer from 0 to {network.classes - 1}"
        raise complaint(f"{where}, {_place(lines, row)}, label", float(y[row, column]), expected)
    return X, y.reshape(len(y), *at).astype(np.int64)


def _finite(table: Array, where: str, lines: Lines) -> None:
    if not isinstance(lines, range) and not np.isfinite(table).all():  # of other files, data.py names the row
        row, column = (int(k) for k in np.argwhere(~np.isfinite(table))[0])
        at = f"{where}, {_place(lines, row)}, column {column + 1}"
        raise complaint(at, float(table[row, column]), "a finite number")


def _archive(path: Path, limit: int) -> Any:
    with zipfile.ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > limit:
        raise complaint(str(path), Quoted(f"{size} bytes, uncompressed"), f"at most {limit}", "Pass a higher limit=.")
    return np.load(path, allow_pickle=False)


def _part(archive: Any, name: str, share: Share | None) -> Array:
    """An array of an archive, or a share of its rows; of the others nothing stays in memory."""
    if share is None:
        return np.asarray(archive[name])
    with _member(archive.zip, f"{name}.npy") as file:
        shape, by_columns, dtype = _header(file)
        if shape and not by_columns and not dtype.hasobject:
            rows, width = share(shape[0]), dtype.itemsize * math.prod(shape[1:])
            file.seek(rows.start * width, 1)
            made = np.empty((rows.stop - rows.start, *shape[1:]), dtype)
            if file.readinto(made.reshape(-1).view(np.uint8).data) != made.nbytes:
                raise EOFError(f"{name} ends too early")
            return made
    array = np.asarray(archive[name])
    return array[share(len(array))] if array.ndim else array


@contextmanager
def _member(archive: zipfile.ZipFile, name: str) -> Iterator[Any]:
    """A file of an archive, at its beginning.  In one that is not compressed `seek` reads nothing."""
    info = archive.getinfo(name)
    path = archive.filename if info.compress_type == zipfile.ZIP_STORED else None
    with Path(path).open("rb") if path else archive.open(info) as file:
        if path:
            file.seek(info.header_offset + LENGTHS)
            file.seek(sum(struct.unpack("<2H", file.read(4))), 1)
        yield file


def _header_of(archive: Any, name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    with _member(archive.zip, f"{name}.npy") as file:
        return _header(file)


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether the columns stand one after the other, dtype."""
    read = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
    major, _ = np.lib.format.read_magic(file)
    if major not in read:
        raise ValueError(f"version {major} of the format npy")
    return read[major](file)


def _read_npz(network: Network, path: Path, limit: int, share: Share | None) -> tuple[Inputs, Inputs]:
    with _archive(path, limit) as archive:
        several = len(network.spec.inputs) > 1
        inputs = [name for name, _ in network.spec.inputs] if several else ["X" if "X" in archive else "x"]
        targets = [name or "y" for name in network.target_names]
        for name in (*inputs, *targets):
            if name not in archive:
                held = ", ".join(show(held) for held in archive.files) or "nothing"
                expected = f"arrays named {', '.join(inputs) if several else 'X'} and {', '.join(targets)}"
                raise complaint(str(path), Quoted(f"the arrays {held}"), expected)
        names = (*inputs, *targets)
        if share is not None and len({_header_of(archive, name)[0][:1] for name in names}) > 1:
            share = None  # they are refused, and the message is of the whole arrays
        found = {name: _part(archive, name, share) for name in names}
        X = {name: found[name] for name in inputs} if several else found[inputs[0]]
        y = found["y"] if targets == ["y"] else {name: found[name] for name in targets}
        return X, y
