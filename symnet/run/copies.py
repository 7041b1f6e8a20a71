"""Copies of one training loop that run independently, in one native call: their memory, and what they start from.

In: a Loop, checked and wired.  Out: its memory so many times over, in blocks with every address moved there, and what
is read from all of them at the end.  Stands between loop.py and group.py.

    block ::= control block, numbers, tables, results, buffers, parameters and states, scratch of the kernels

A block is of one copy; or, where the kernels were translated with lanes, of as many as there are lanes, which share the
control block and the tables and have all else by `[element][lane]`.  Data and constants of the network stand outside:
all copies read the same.
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
TABLES = ("STEP_TABLE", "CHECK_TABLE", "ARRAY_TABLE", "CHECK_ARRAY_TABLE", "PART_TABLE", "CHECK_PART_TABLE", "ITEMS")


class Copies:
    """So many copies of a loop.  `put` and `get` take the loop's own array, and stand for that of every copy."""

    def __init__(self, loop: Loop, count: int, lanes: int = 0) -> None:
        self.loop, self.count, self.lanes = loop, count, lanes
        control, width = loop.control, max(lanes, 1)
        tables = [control.arrays[name] for name in TABLES if name in control.arrays and control.arrays[name].size]
        self._common = {array.ctypes.data for array in (control.cells, *tables)}  # of all lanes
        self._places: dict[int, int] = {}  # address of an array of the loop -> its place in a block, in bytes
        length = len(CANARY)
        arrays = _arrays(loop)
        for array in arrays:
            self._places[array.ctypes.data] = length
            size = array.nbytes * (1 if array.ctypes.data in self._common else width)
            length += -(-size // ALIGNMENT) * ALIGNMENT
        self._blocks = _aligned(-(-count // width), length + len(CANARY))
        self._blocks[:, : len(CANARY)] = self._blocks[:, length:] = CANARY
        for array in arrays:
            self.put(array, array[None])
        cells = [POSITIONS[name] for name in (*control.arrays, "STEP_NUMBER")]
        self._move(control.cells, cells, arrays)
        for table in tables:
            self._move(table, range(table.size), arrays)

    def put(self, array: Array, values: Array) -> None:
        """values: a row for each copy, or one row for all."""
        if array.size:
            view = self._view(array)
            if len(values) > 1 and view.ndim > array.ndim + 1:  # the lanes that are left are as the last copy
                filled = np.minimum(np.arange(view.shape[0] * view.shape[1]), self.count - 1)
                values = values[filled].reshape(view.shape)
            view[...] = values

    def get(self, array: Array) -> Array:
        """A row for each copy."""
        view = self._view(array)
        return view.reshape(-1, *array.shape)[: self.count] if self.lanes else view.copy()

    def put_cell(self, name: str, values: Any) -> None:
        self._view(self.loop.control.cells)[:, POSITIONS[name]] = values

    def cell(self, name: str) -> Array:
        """Of each copy: that of its block."""
        cells = self._view(self.loop.control.cells)[:, POSITIONS[name]]
        return np.repeat(cells, max(self.lanes, 1))[: self.count]

    def _view(self, array: Array) -> Array:
        """(blocks, ...), and of what lanes have of their own (blocks, lanes, ...)."""
        start, own = self._places[array.ctypes.data], self.lanes and array.ctypes.data not in self._common
        end = start + array.nbytes * (self.lanes if own else 1)
        stored: Array = self._blocks[:, start:end].view(array.dtype)
        stored = stored.reshape(len(stored), *array.shape, *([self.lanes] if own else []))
        return np.moveaxis(stored, -1, 1) if own else stored

    def _move(self, holder: Array, places: Sequence[int], arrays: Sequence[Array]) -> None:
        """Whatever is an address of the loop's own memory becomes that of the block's."""
        flat = self._view(holder).reshape(len(self._blocks), -1)
        first = self._blocks.ctypes.data + self._blocks.strides[0] * np.arange(len(self._blocks))
        for place in places:
            address = int(holder.flat[place])
            for array in arrays:
                start = array.ctypes.data
                if start <= address < start + array.nbytes:
                    width = 1 if start in self._common else max(self.lanes, 1)
                    flat[:, place] = first + self._places[start] + (address - start) * width

    def run(self, threads: int) -> Iterator[int]:
        """Train; gives how many blocks go on, between slices of time."""
        yield from many.run(self._blocks.view(np.int64)[:, len(CANARY) // 8 :], threads, self.lanes)
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
