"""Shards: the rows of data that each of several ranks has read, and how rows come to the rank that computes with them.

A rank reads and checks its shard alone, a run of rows; what is wrong in one of them ends all ranks with one message.
The order of an epoch is drawn over the rows of all, as in one process.  So before some batches are trained, each rank
gets the rows of its pieces of them from the ranks that have them, in the order in which it takes them.  So a rank has
memory for its shard, for WINDOW bytes of rows, and for the order: 8 bytes for each row of all.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from compiler.kernels.driver import Control

from ..declare.heads import suffix
from .arrays import real_array
from .data import Data
from .execution import ROWS, Call
from .ranks import Ranks
from .risk import chunks
from .scaling import Scaling, made

Array = np.ndarray[Any, np.dtype[Any]]
WINDOW = 2**22  # bytes of a rank's rows that are fetched at once, at least those of one batch
COMPARED = 3  # rows that all ranks read, to see that they were given the same data


@dataclass(frozen=True, slots=True)
class Shard(Data):
    """One rank's part of some data: rank r has the rows edges[r] to edges[r+1] - 1."""

    ranks: Ranks
    edges: Array

    @property
    def rows(self) -> int:
        """Of all ranks."""
        return int(self.edges[-1])

    def total(self, count: int) -> int:
        return sum(self.ranks.gather(int(count)))

    def part(self, rows: Array) -> Shard:
        """Of some rows, in ascending order, those that this rank has."""
        low, high = self.edges[self.ranks.rank :][:2]
        own = rows[(rows >= low) & (rows < high)] - low
        mine = Data(self.inputs, self.targets).part(own)
        return replace(self, inputs=mine.inputs, targets=mine.targets, edges=np.searchsorted(rows, self.edges))

    def fetch(self, name: str, wanted: Sequence[Array]) -> Array:
        """Rows of an array for all ranks, by their numbers; this rank's."""
        ranks, edges, array, mine = self.ranks, self.edges, self.arrays[name], wanted[self.ranks.rank]
        if ranks.size == 1:
            return array[mine]
        low, high = edges[ranks.rank :][:2]
        made = np.empty((len(mine), *array.shape[1:]), array.dtype)
        for distance in range(ranks.size):
            other = ranks.rank ^ distance
            places = np.flatnonzero((mine >= edges[other]) & (mine < edges[other + 1]))
            given = array[wanted[other][(wanted[other] >= low) & (wanted[other] < high)] - low]
            if distance:
                taken = np.empty((len(places), *array.shape[1:]), array.dtype)
                ranks.swap(given, taken, other)
                given = taken
            made[places] = given
        return made

    def taken(self, name: str, rows: Array) -> Array:
        return self.fetch(name, [rows] * self.ranks.size)

    def in_chunks(self) -> Shard:
        """The same data in other shards, of whole chunks of ROWS each; the last chunk of all may be shorter."""
        count, size = -(-self.rows // ROWS), self.ranks.size
        edges = np.array([min(ROWS * (count * rank // size), self.rows) for rank in range(size + 1)])
        wanted = [np.arange(low, high) for low, high in pairwise(edges)]
        found = {name: self.fetch(name, wanted) for name in self.arrays}
        targets = {}
        for name, target in self.targets.items():
            weights = found.get(f"sample_weight{suffix(name)}")
            targets[name] = replace(target, array=found[f"y{suffix(name)}"], weights=weights)
        return replace(self, inputs={name: found[name] for name in self.inputs}, targets=targets, edges=edges)

    def sum(self, name: str, of: Callable[[Array], Array]) -> Array:
        """The sum over all rows of an array, float64: in the order of the tree, so with the same bits on any number of
        ranks.  `of` some rows it gives their terms."""
        ranks, each = self.ranks, self.ranks.pieces // self.ranks.size
        edges = self.rows * np.arange(ranks.pieces + 1) // ranks.pieces
        size = max(1, WINDOW // max(1, 8 * math.prod(self.arrays[name].shape[1:])))
        totals = []
        for piece in range(each):
            own = edges[piece::each]
            total = np.zeros(self.arrays[name].shape[1:])
            for start in range(0, int(np.diff(edges).max()), size):
                bounds = np.minimum(start + np.array([[0], [size]]) + own[: ranks.size], edges[piece + 1 :: each])
                total += of(self.fetch(name, [np.arange(low, high) for low, high in bounds.T])).sum(axis=0)
            totals.append(total)
        while len(totals) > 1:
            totals = [low + high for low, high in zip(totals[::2], totals[1::2], strict=True)]
        ranks.sum(totals[0].reshape(-1))
        return totals[0]

    def scaling(self, name: str, kind: str) -> Scaling:
        """As scaling.py has it, of the rows of all ranks."""
        mean = self.sum(name, lambda rows: rows) / self.rows
        center = mean if kind == "column" else mean.mean()
        squares = self.sum(name, lambda rows: (rows - center) ** 2) / self.rows
        deviation = np.sqrt(squares if kind == "column" else squares.mean())
        axis, own = 0 if kind == "column" else None, self.arrays[name]
        ends = self.ranks.gather((own.min(axis=axis, initial=np.inf), own.max(axis=axis, initial=-np.inf)))
        lows, highs = zip(*ends, strict=True)
        return made(mean, deviation, np.max(highs, axis=0) > np.min(lows, axis=0), "X")


def shared(
    ranks: Ranks, names: Sequence[str], given: tuple[Any, Any, Any], check: Callable[[Any, Any, Any, int | None], Data]
) -> Shard:
    """This rank's shard of X, y and weights: all that it is given, or its share of that.

    check: of such three, and of the number of their first row, makes checked Data."""
    if ranks.shards:
        edges = np.concatenate([[0], np.cumsum(ranks.gather(_rows(given[0]) or _rows(given[1])))])
    else:
        given = ranks.each(lambda: _arrays(given, names))
        leaves = [leaf for part in given for leaf in _leaves(part)]
        ranks.compare("data", [_sample(leaf) for leaf in leaves])
        lengths = {len(leaf) if leaf.ndim else 0 for leaf in leaves}
        rows = lengths.pop() if len(lengths) == 1 else 0  # else they are refused below
        edges = rows * np.arange(ranks.size + 1) // ranks.size
        if rows:
            own = slice(*edges[ranks.rank :][:2])
            given = (_cut(given[0], own), _cut(given[1], own), _cut(given[2], own))
    data = ranks.each(lambda: check(*given, int(edges[ranks.rank]) if edges[-1] else None))
    arrays = data.arrays
    ranks.compare("shapes or kinds of data", [data.given, *((n, a.dtype, a.shape[1:]) for n, a in arrays.items())])
    assert all(len(array) == np.diff(edges)[ranks.rank] for array in arrays.values())
    held = ranks.gather({name: target.facts_hold for name, target in data.targets.items()})
    targets = {n: replace(target, facts_hold=all(h[n] for h in held)) for n, target in data.targets.items()}
    return Shard(data.inputs, targets, ranks, edges)


def _rows(given: Any) -> int:
    """How many rows some arrays have, so far as one can say before they are checked."""
    first = next(iter(given.values()), ()) if isinstance(given, Mapping) else given
    shape = getattr(first, "shape", None)
    return shape[0] if shape else len(first) if shape is None and hasattr(first, "__len__") else 0


def _arrays(given: tuple[Any, Any, Any], names: Sequence[str]) -> tuple[Any, Any, Any]:
    def one(part: Any, name: str) -> Any:
        if isinstance(part, Mapping):
            return {key: real_array(value, f"{name}[{key!r}]") for key, value in part.items()}
        return None if part is None else real_array(part, name)

    return one(given[0], names[0]), one(given[1], names[1]), one(given[2], "sample_weight")


def _leaves(arrays: Any) -> list[Array]:
    return list(arrays.values()) if isinstance(arrays, Mapping) else [] if arrays is None else [arrays]


def _cut(arrays: Any, rows: slice) -> Any:
    if isinstance(arrays, Mapping):
        return {key: array[rows] for key, array in arrays.items()}
    return None if arrays is None else arrays[rows]


def _sample(array: Array) -> tuple[Any, ...]:
    """What is the same in the same data, from a few rows."""
    rows = np.linspace(0, len(array) - 1, min(COMPARED, len(array))).astype(int) if array.ndim else ()
    return array.dtype, array.shape, hashlib.sha256(array[rows].tobytes()).digest()


class Feed:
    """The rows of this rank's pieces, batch by batch: of a batch of s rows those from s r/R to s (r+1)/R - 1."""

    def __init__(self, data: Shard, batch: int, names: Sequence[str], control: Control) -> None:
        self._data, self._batch, self._names, self._control = data, batch, names, control
        self._full = self._low(batch, data.ranks.rank + 1) - self._low(batch, data.ranks.rank)
        arrays = [data.arrays[name] for name in names]
        self.widths: Array = np.array([array.itemsize * math.prod(array.shape[1:]) for array in arrays], np.int64)
        most = -(-batch // data.ranks.size) * int(self.widths.sum())  # of any rank: the window is the same on all
        batches = max(1, WINDOW // max(1, most))
        self._window = min(batches * batch, data.rows)
        self._found: list[Array] = []
        self._at: tuple[int, int] | None = None
        control.set(AHEAD=self._window - batch)

    def _low(self, rows: int, rank: int) -> int:
        return rows * rank // self._data.ranks.size

    def places(self) -> Array:
        """Where the first of them is of the batch that is next, in each array.  All ranks call it for each batch."""
        c, start = self._control, self._control["POSITION"]
        first = start - start % self._window
        at = (c["EPOCH"] if c["SHUFFLE"] else 0, first)
        if at != self._at:
            last = min(first + self._window, self._data.rows)
            order = c.arrays["PERMUTATION"][first:last] if c["SHUFFLE"] else np.arange(first, last)
            batches = [order[start : start + self._batch] for start in range(0, last - first, self._batch)]
            wanted = [
                np.concatenate([batch[self._low(len(batch), r) : self._low(len(batch), r + 1)] for batch in batches])
                for r in range(self._data.ranks.size)
            ]
            self._found = [self._data.fetch(name, wanted) for name in self._names]
            self._at = at
        before = (start - first) // self._batch * self._full
        return np.array([array.ctypes.data for array in self._found]) + before * self.widths


def sums_by_chunk(call: Call, data: Data, run: Callable[[int], object]) -> Array:
    """What an evaluation gives for each chunk of ROWS rows: [chunk, output]; its work divided, if the data are.

    run: the kernel of `call`, on its table and so many rows."""
    sums = np.zeros((-(-data.rows // ROWS), len(call.outputs)), call.array(call.outputs[0]).dtype)
    first, count = 0, data.rows
    if isinstance(data, Shard):
        own = data.ranks.share(len(sums))
        first, count = own.start, max(0, min(ROWS * own.stop, data.rows) - ROWS * own.start)
    for number, rows in enumerate(chunks(count), first):
        for name, array in data.arrays.items():
            call.put(name, array[rows])
        run(rows.stop - rows.start)
        sums[number] = [call.array(name)[0] for name in call.outputs]
    if isinstance(data, Shard):
        data.ranks.sum(sums.reshape(-1))  # of each there is one that is not 0
    return sums
