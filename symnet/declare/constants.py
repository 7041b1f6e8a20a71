"""Constants of a network: arrays that its equations read and that nobody learns, such as the matrix of a graph.

In: what a user gives under a name: numbers, an array, a SciPy sparse matrix, a file, a list of edges.  Out: a Constant,
checked: finite, of known shape, integers in range.  Stands beside spec.py.  Two constants are equal if their contents
are; the arrays are run-time arguments of kernels, so that only shape, kind and sparsity decide what is compiled.

    A = "graph.npz"                                          .csv, .npy: an array;  .npz: a SciPy sparse matrix
    A = { edges = [[0, 1], [1, 2]], nodes = 3 }              A[v,u] = how often u -> v; undirected unless `directed`
    A = { edges = "edges.csv", nodes = 34, directed = true } a row an edge: from, to and, if there are three, its weight
    X = { identity = 34 }                                    a feature of its own for each of 34 nodes
    c = [0, 1, 1, 2]                                         integers are a table that can be a subscript: x[n,c[k]]
    c = { values = [0, 1, 1], kind = "real" }                the same numbers as real ones
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import Quoted, SymnetError, complaint
from . import checks
from .checks import Pairs, by, declare

Array = np.ndarray[Any, np.dtype[Any]]
Shape = tuple[int, ...]

NAME = re.compile(r"[A-Za-z][A-Za-z0-9]{0,31}")
TAKEN = ("N", "R")  # single capital letters that the equations of every network have
COUNT = 1024  # constants of a network
INLINE = 10_000  # numbers that stand in TOML itself
NODES = 2**18  # of an identity, or of a graph with few edges: what a line of a spec may make of nothing
BYTES = 2**33  # of a file, uncompressed
AXES = 7
PARTS = ("rows", "columns", "values")  # of a sparse constant: compressed rows
KINDS = ("real", "integer")


@dataclass(frozen=True)
class Constant:
    """A constant: what decides equations and kernels, the digest of its content, and the arrays, by their parts.

    name: the user's; "" for an array of a layer's own, whose tensor carries the number of the layer.

    parts: "" -> the array; of a sparse one rows, columns, values: the entries of row v are at rows[v] <= e < rows[v+1].
    """

    name: str
    shape: Shape
    kind: str = "real"
    sparse: bool = False
    digest: str = ""
    parts: Mapping[str, Array] = field(default_factory=dict, compare=False, repr=False)

    @property
    def tensor(self) -> str:
        """Its name in the equations: apart from all others', and printed as the user's."""
        return self.name if len(self.name) == 1 and self.name.isupper() and self.name not in TAKEN else f"{self.name}_"

    @property
    def stored(self) -> int:
        """The number of its elements that are stored."""
        return len(self.parts["values"]) if self.sparse else math.prod(self.shape)

    @property
    def structure(self) -> tuple[Any, ...]:
        """What decides equations and kernels."""
        return self.shape, self.kind, self.sparse

    @cached_property
    def value(self) -> Any:
        """An array, or SciPy's csr_array."""
        if not self.sparse:
            return self.parts[""]
        from scipy.sparse import csr_array

        return csr_array(tuple(self.parts[part] for part in reversed(PARTS)), shape=self.shape)

    def arguments(self, tensor: str, dtype: str) -> dict[str, Array]:
        """The arrays as kernels of a dtype take them, by the names of slots; SymnetError if one overflows."""
        found = {}
        for part, array in self.parts.items():
            cast = array
            if array.dtype.kind == "f":
                with np.errstate(all="ignore"):
                    cast = np.ascontiguousarray(array, dtype)
                if not np.isfinite(cast).all():
                    raise complaint(f"constant {self.name!r}", Quoted("a number out of range"), f"numbers of {dtype}")
            found[f"{tensor}:{part}" if part else tensor] = cast
        return found


def dense(name: str, array: Any, where: str = "", kind: str = "") -> Constant:
    """A constant from an array: of integers unless the kind says otherwise or it has fractions."""
    where = where or f"constant {name!r}"
    array = np.asarray(array)
    if array.dtype.kind not in "biuf":
        raise complaint(where, Quoted(f"an array of {array.dtype}"), "numbers")
    if array.ndim > AXES or not array.size:
        raise complaint(where, Quoted(f"an array of shape {array.shape}"), f"numbers along at most {AXES} axes")
    _finite(array, where)
    kind = kind or ("real" if array.dtype.kind == "f" else "integer")
    if kind == "integer" and array.dtype.kind == "f" and (array != np.floor(array)).any():
        raise complaint(where, Quoted("fractions"), "integers")
    if kind == "integer" and not (np.abs(array.astype(float)) < 2**53).all():
        raise complaint(where, Quoted("integers of 2**53 or more"), "smaller ones")
    return _made(name, array.shape, kind, False, {"": array.astype(np.int64 if kind == "integer" else np.float64)})


@dataclass(frozen=True)
class Later(Mapping[str, Array]):
    """The only part of a dense constant, made when it is first read: to declare it takes no memory."""

    make: Callable[[], Array]

    @cached_property
    def array(self) -> Array:
        found = self.make()
        found.setflags(write=False)
        return found

    def __getitem__(self, part: str) -> Array:
        return {"": self}[part].array

    def __iter__(self) -> Iterator[str]:
        return iter(("",))

    def __len__(self) -> int:
        return 1


def sparse(name: str, matrix: Any, where: str = "") -> Constant:
    """A constant from a SciPy sparse matrix: zeros that are stored stay, entries of one place are added."""
    where = where or f"constant {name!r}"
    found = matrix.tocoo()
    if len(found.shape) != 2 or 0 in found.shape:
        raise complaint(where, Quoted(f"a sparse array of shape {found.shape}"), "rows and columns")
    if found.data.dtype.kind not in "biuf":
        raise complaint(where, Quoted(f"a sparse array of {found.data.dtype}"), "real numbers")
    return compressed(name, found.shape, found.row, found.col, found.data, where)


def compressed(name: str, shape: Shape, rows: Array, columns: Array, values: Array, where: str = "") -> Constant:
    """A sparse constant from its entries in any order."""
    where = where or f"constant {name!r}"
    rows, columns = rows.astype(np.int64), columns.astype(np.int64)
    values = np.asarray(values, np.float64)
    _finite(values, where)
    order = np.lexsort((columns, rows))
    rows, columns, values = rows[order], columns[order], values[order]
    first = np.ones(len(rows), bool)
    first[1:] = (rows[1:] != rows[:-1]) | (columns[1:] != columns[:-1])
    if len(values):
        values = np.add.reduceat(values, np.flatnonzero(first))
    starts = np.zeros(int(shape[0]) + 1, np.int64)
    np.cumsum(np.bincount(rows[first], minlength=int(shape[0])), out=starts[1:])
    parts = dict(zip(PARTS, (starts, columns[first], values), strict=True))
    return _made(name, (int(shape[0]), int(shape[1])), "real", True, parts)


def _made(name: str, shape: Shape, kind: str, is_sparse: bool, parts: Mapping[str, Array]) -> Constant:
    kept, digest = {}, hashlib.sha256(repr((shape, kind, is_sparse)).encode())
    for part, array in parts.items():
        kept[part] = np.array(array, order="C")  # a copy: what a user changes later does not change a network
        kept[part].setflags(write=False)
        digest.update(kept[part].tobytes())
    return Constant(name, tuple(map(int, shape)), kind, is_sparse, digest.hexdigest(), kept)


def _finite(array: Array, where: str) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        place = [int(k) for k in np.argwhere(~np.isfinite(array))[0]]
        raise complaint(f"{where}, element {place}", Quoted(str(array[tuple(place)])), "finite numbers")


# ---------------------------------------------------------------------------------------------- declarations
def _numbers(value: Any, where: str) -> Any:
    return value


@dataclass(frozen=True, slots=True)
class Edges:
    """A graph as its edges."""

    edges: Any = field(metadata=by(_numbers))
    nodes: int = field(metadata=by(checks.integer(1)))
    directed: bool = field(default=False, metadata=by(checks.boolean))


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity matrix, sparse."""

    identity: int = field(metadata=by(checks.integer(1)))


@dataclass(frozen=True, slots=True)
class Values:
    """An array with its kind."""

    values: Any = field(metadata=by(_numbers))
    kind: str = field(default="", metadata=by(checks.word("real", "integer")))


def declared(given: Any, folder: str | Path, where: str = "network, constants") -> tuple[Constant, ...]:
    """The constants of a network, from a table of names and what is given for them; paths start at the folder."""
    if given is None:
        return ()
    if isinstance(given, tuple) and all(isinstance(c, Constant) for c in given):
        return given
    if not isinstance(given, Mapping) or len(given) > COUNT:
        raise complaint(where, given, f"a table of at most {COUNT} names, such as {{ A = 'graph.npz' }}")
    made = []
    for name, value in given.items():
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise complaint(where, name, "a name of letters and digits, at most 32 of them")
        made.append(_declared(name, value, Path(folder), f"{where}, {name}"))
    return tuple(made)


def _declared(name: str, value: Any, folder: Path, where: str) -> Constant:
    if isinstance(value, Constant):
        return Constant(name, value.shape, value.kind, value.sparse, value.digest, value.parts)
    if hasattr(value, "tocoo"):
        return sparse(name, value, where)
    if isinstance(value, Mapping) and "edges" in value:
        return _graph(name, declare(Edges, value, where), folder, where)
    if isinstance(value, Mapping) and "identity" in value:
        own = np.arange(_nodes(declare(Identity, value, where).identity, 0, f"{where}, identity"))
        return compressed(name, (len(own), len(own)), own, own, np.ones(len(own)), where)
    if isinstance(value, Mapping):
        table = declare(Values, value, where)
        return dense(name, _array(table.values, folder, where), where, table.kind)
    if isinstance(value, str | Path) and str(value).lower().endswith(".npz"):
        return _npz(name, folder / value, where)
    return dense(name, _array(value, folder, where), where)


def _array(value: Any, folder: Path, where: str) -> Array:
    if isinstance(value, str | Path):
        from ..run.tables import read_table

        found, _ = read_table(folder / checks.path(value, where), BYTES)
        whole = Path(value).suffix != ".npy" and bool(np.all(found == np.floor(found)))
        return found.astype(np.int64) if whole else np.array(found)
    try:
        return np.asarray(value)
    except ValueError:
        raise complaint(where, Quoted("rows of different lengths"), "rows of equal length") from None


def _graph(name: str, table: Edges, folder: Path, where: str) -> Constant:
    """A[v,u]: the number of edges u -> v, or the sum of their weights."""
    found = _array(table.edges, folder, f"{where}, edges")
    if not found.size:
        found = np.zeros((0, 2), np.int64)
    if found.ndim != 2 or found.shape[1] not in (2, 3) or found.dtype.kind not in "iuf":
        shape = Quoted(f"an array of {found.dtype} of shape {found.shape}")
        raise complaint(f"{where}, edges", shape, "a row for each edge: from, to and, if wanted, its weight")
    _finite(found, f"{where}, edges")
    _nodes(table.nodes, len(found), f"{where}, nodes")
    ends = found[:, :2]
    wrong = np.argwhere((ends < 0) | (ends >= table.nodes) | (ends != np.floor(ends)))
    if len(wrong):
        row = int(wrong[0, 0])
        raise complaint(f"{where}, edges[{row}]", found[row].tolist(), f"nodes from 0 to {table.nodes - 1}")
    source, target = ends.astype(np.int64).T
    weights = found[:, 2].astype(np.float64) if found.shape[1] == 3 else np.ones(len(found))
    if not table.directed:
        other = source != target  # a loop is one entry
        source, target = np.append(source, target[other]), np.append(target, source[other])
        weights = np.append(weights, weights[other])
    return compressed(name, (table.nodes, table.nodes), target, source, weights, where)


def _nodes(count: int, edges: int, where: str) -> int:
    """The number of nodes, if it is not out of proportion: isolated nodes take memory, too."""
    most = max(NODES, 2 * edges)
    if count > most:
        raise complaint(where, count, f"at most {most}", "From Python, pass a SciPy sparse matrix.")
    return count


def stay_inside(given: Any, where: str) -> None:
    """SymnetError where a spec in text names files of constants that are not in its folder, or below."""
    for name, value in given.items() if isinstance(given, Mapping) else ():
        for file in value.values() if isinstance(value, Mapping) else (value,):
            if isinstance(file, str):
                parts = checks.path(file, f"{where}, {name}").replace("\\", "/").split("/")
                if ".." in parts or not parts[0] or ":" in parts[0]:
                    advice = "A network made in Python may read any file."
                    raise complaint(f"{where}, {name}", file, "a path inside the folder of the spec", advice)


def _npz(name: str, path: Path, where: str) -> Constant:
    """A sparse matrix as scipy.sparse.save_npz writes it."""
    import zipfile

    from scipy.sparse import load_npz

    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > BYTES:
            raise complaint(where, Quoted(f"{size} bytes, uncompressed"), f"at most {BYTES}")
        matrix = load_npz(path)
    except (OSError, KeyError, zipfile.BadZipFile, ValueError) as error:
        if isinstance(error, SymnetError):
            raise
        found = Quoted(f"a file that cannot be read ({error})")
        raise complaint(f"{where}, {path}", found, "a sparse matrix by scipy.sparse.save_npz") from None
    return sparse(name, matrix, where)


# ---------------------------------------------------------------------------------------------- as text, as a file
def as_text(constant: Constant) -> Any:
    """What TOML says of a constant; SymnetError if it is too large for text."""
    numbers = 3 * constant.stored if constant.sparse else constant.stored
    if numbers > INLINE:
        advice = "Save the array to a file and name it in the TOML."
        raise complaint(f"constant {constant.name!r}", Quoted(f"{numbers} numbers"), f"at most {INLINE}", advice)
    if not constant.sparse:
        values = checks.plain(constant.parts[""], "")
        return Pairs((("values", values), ("kind", constant.kind)))
    rows, columns = constant.shape
    if rows != columns:
        advice = "Save it by scipy.sparse.save_npz and name the file in the TOML."
        raise complaint(f"constant {constant.name!r}", Quoted(f"a sparse matrix of shape {constant.shape}"),
                        "a graph", advice)  # fmt: skip
    starts, source, weights = (constant.parts[part] for part in PARTS)
    target = np.repeat(np.arange(rows), np.diff(starts))
    edges = tuple((int(u), int(v), float(w)) for u, v, w in zip(source, target, weights, strict=True))
    return Pairs((("edges", edges), ("nodes", rows), ("directed", True)))


def to_arrays(constants: tuple[Constant, ...]) -> dict[str, Array]:
    """The arrays of a model file."""
    return {f"constant:{c.name}:{part}": array for c in constants for part, array in c.parts.items()}


def describe(constants: tuple[Constant, ...]) -> dict[str, Any]:
    """What a model file says of its constants, for JSON."""
    return {c.name: {"shape": list(c.shape), "kind": c.kind, "sparse": c.sparse} for c in constants}


def from_arrays(record: Any, arrays: Mapping[str, Array]) -> tuple[Constant, ...]:
    """The constants of a model file, checked as those of a user are; ValueError if they are damaged."""
    made = []
    for name, entry in dict(record).items():
        shape, kind = tuple(entry["shape"]), entry["kind"]
        if not NAME.fullmatch(name) or kind not in KINDS or not all(type(n) is int and n > 0 for n in shape):
            raise ValueError(f"constant {name[:40]!r}")
        if not entry["sparse"]:
            array = arrays[f"constant:{name}:"]
            if array.shape != shape or array.dtype != (np.int64 if kind == "integer" else np.float64):
                raise ValueError(f"constant {name!r}: its array")
            made.append(dense(name, array, kind=kind))
            continue
        starts, columns, values = (arrays[f"constant:{name}:{part}"] for part in PARTS)
        whole = starts.dtype == columns.dtype == np.int64 and values.dtype == np.float64 and len(shape) == 2
        whole = whole and starts.shape == (shape[0] + 1,) and columns.shape == values.shape == (starts[-1],)
        whole = whole and starts[0] == 0 and bool((np.diff(starts) >= 0).all())
        if not whole or (len(columns) and not 0 <= columns.min() <= columns.max() < shape[1]):
            raise ValueError(f"constant {name!r}: its rows and columns")
        made.append(compressed(name, shape, np.repeat(np.arange(shape[0]), np.diff(starts)), columns, values))
    return tuple(made)
