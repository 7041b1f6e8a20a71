"""Copies of one training loop that run independently, in one native call: their memory, and what they start from.

In: a Loop, checked and wired.  Out: its memory so many times over, each in a block of its own with every address in it
moved there, and what is read from all of them at the end.  Stands between loop.py and population.py.

    block ::= control block, numbers, tables, results, buffers, parameters and states, scratch of the kernels

Data and constants of the network stand outside: all copies read the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from compiler.kernels import many
from compiler.kernels.driver import POSITIONS

from ..errors import SymnetError
from .execution import ALIGNMENT, CANARY
from .loop import Loop

Array = np.ndarray[Any, np.dtype[Any]]
TABLES = ("STEP_TABLE", "CHECK_TABLE", "ARRAY_TABLE", "CHECK_ARRAY_TABLE", "PART_TABLE", "CHECK_PART_TABLE")


class Copies:
    """So many copies of a loop.  `put` and `get` take the loop's own array, and stand for that of every copy."""

    def __init__(self, loop: Loop, count: int) -> None:
        self.loop, self.count = loop, count
        self._places: dict[int, int] = {}  # address of an array of the loop -> its place in a block, in bytes
        self._ends: dict[int, int] = {}
        length = len(CANARY)
        arrays = _arrays(loop)
        for array in arrays:
            address = array.ctypes.data
            self._places[address], self._ends[address] = length, address + array.nbytes
            length += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
        self._blocks = _aligned(count, length + len(CANARY))
        self._blocks[:, : len(CANARY)] = self._blocks[:, length:] = CANARY
        for array in arrays:
            self.put(array, array[None])
        self._move()

    def put(self, array: Array, values: Array) -> None:
        """values: a row for each copy, or one row for all."""
        if array.size:
            self._view(array)[...] = values

    def get(self, array: Array) -> Array:
        """A row for each copy."""
        found: Array = self._view(array).copy()
        return found

    def put_cell(self, name: str, values: Any) -> None:
        self._view(self.loop.control.cells)[:, POSITIONS[name]] = values

    def cell(self, name: str) -> Array:
        return self.get(self.loop.control.cells)[:, POSITIONS[name]]

    def _view(self, array: Array) -> Array:
        start = self._places[array.ctypes.data]  # the parameters are the first part of the memory
        stored: Array = self._blocks[:, start : start + array.nbytes].view(array.dtype)
        return stored.reshape(self.count, *array.shape)

    def _move(self) -> None:
        """Whatever is an address of the loop's own memory becomes that of the copy's."""
        control = self.loop.control
        cells = [POSITIONS[name] for name in (*control.arrays, "STEP_NUMBER")]
        tables = [control.arrays[name] for name in TABLES if name in control.arrays]
        holders = [(control.cells, cells), *((table, list(range(table.size))) for table in tables if table.size)]
        first = self._blocks.ctypes.data + self._blocks.strides[0] * np.arange(self.count)
        for holder, places in holders:
            flat = self._view(holder).reshape(self.count, -1)
            for place in places:
                address = int(holder.flat[place])
                for start, end in self._ends.items():
                    if start <= address < end:
                        flat[:, place] = first + self._places[start] + address - start

    def run(self, threads: int) -> Iterator[int]:
        """Train; gives how many go on, between slices of time."""
        yield from many.run(self._blocks.view(np.int64)[:, len(CANARY) // 8 :], threads)
        if (self._blocks[:, : len(CANARY)] != CANARY).any() or (self._blocks[:, -len(CANARY) :] != CANARY).any():
            raise SymnetError(
                "A kernel wrote outside its memory.  This is a defect of symnet; do not use these models."
            )


def size(loop: Loop) -> int:
    """Bytes of one copy."""
    return sum(array.nbytes + ALIGNMENT for array in _arrays(loop))


def _arrays(loop: Loop) -> Sequence[Array]:
    """All that belongs to one copy: the control block first, and last the memory, which a canary ends."""
    control, block, shared = loop.control, loop.model.memory.block, loop.model.constants.values()
    given = {array.ctypes.data for array in (block, *shared)}
    found = [control.cells, *control.arrays.values(), *(array for call in loop.calls for array in call.arrays)]
    distinct = {array.ctypes.data: array for array in found if array.nbytes and array.ctypes.data not in given}
    return [*distinct.values(), block]


def _aligned(rows: int, length: int) -> Array:
    raw = np.empty(rows * length + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + rows * length].reshape(rows, length)
