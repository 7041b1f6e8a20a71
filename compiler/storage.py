"""Storage: where the persistent tensors of a model stand in its block of memory.

Loads no SymPy: a process that finds its kernels in the disk cache needs only this to reach its parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any


@dataclass(frozen=True, slots=True)
class Slot:
    """One persistent tensor: its first element in the block, declared shape, storage order of its axes."""

    name: str
    role: str
    offset: int
    shape: tuple[int, ...]
    order: tuple[int, ...]

    @property
    def size(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class Storage:
    """The persistent part of the block, shared by all programs of one model."""

    slots: tuple[Slot, ...]
    elements: int
    item_size: int
    orders: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def slot(self, name: str) -> Slot:
        return next(s for s in self.slots if s.name == name)

    def view(self, block: Any, name: str) -> Any:
        """The tensor as an array of its declared shape, a view into the block (a NumPy array)."""
        slot = self.slot(name)
        stored = block[slot.offset : slot.offset + slot.size].reshape([slot.shape[axis] for axis in slot.order])
        return stored.transpose([slot.order.index(axis) for axis in range(len(slot.order))])

    def to_json(self) -> dict[str, Any]:
        slots = [[s.name, s.role, s.offset, list(s.shape), list(s.order)] for s in self.slots]
        orders = {name: list(order) for name, order in self.orders.items()}
        return {"slots": slots, "elements": self.elements, "item_size": self.item_size, "orders": orders}

    @staticmethod
    def from_json(data: dict[str, Any]) -> Storage:
        slots = tuple(Slot(n, r, o, tuple(shape), tuple(order)) for n, r, o, shape, order in data["slots"])
        orders = {name: tuple(order) for name, order in data["orders"].items()}
        return Storage(slots, data["elements"], data["item_size"], orders)
