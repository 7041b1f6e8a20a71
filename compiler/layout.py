"""Where elements stand: storage order of axes, strides, addresses.

A tensor is stored in row-major order of its axes, or of a permutation of them chosen for the products that read it.
Strides may hold size symbols: rows are packed by the number that is there at run time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import sympy as sp
from sympy import Expr, Integer

from .program import Access, Equation, Index, Tensor, affine, outer_accesses


@dataclass(frozen=True, slots=True)
class Address:
    """Element number: constant + sum of stride * index + sum of stride * integer access."""

    constant: Expr
    strides: dict[Index, Expr]
    gathers: tuple[tuple[Access, Expr], ...]


@dataclass(slots=True)
class Layout:
    """Axis orders by tensor name (identity where absent); for tensors that share storage, the one that owns it; and the
    names of tensors that have memory for one slot of their slowest axis, in which all its slots follow one another.

    tiny: the program is (spell.py)."""

    order: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    owner: dict[Tensor, Tensor] = field(default_factory=dict)
    single: set[str] = field(default_factory=set)
    tiny: bool = False

    def root(self, tensor: Tensor) -> Tensor:
        return self.owner.get(tensor, tensor)

    def axes(self, tensor: Tensor) -> tuple[int, ...]:
        return self.order.get(self.root(tensor).name, tuple(range(tensor.rank)))

    def strides(self, tensor: Tensor) -> tuple[Expr, ...]:
        strides: list[Expr] = [Integer(1)] * tensor.rank
        step: Expr = Integer(1)
        for axis in reversed(self.axes(tensor)):
            strides[axis] = step
            step *= tensor.shape[axis]
        if tensor.name in self.single:
            strides[self.axes(tensor)[0]] = Integer(0)
        return tuple(strides)

    def elements(self, tensor: Tensor) -> Expr:
        """How many are kept in memory."""
        slowest = self.axes(tensor)[:1] if tensor.name in self.single else ()
        return sp.Mul(*(n for axis, n in enumerate(tensor.shape) if axis not in slowest))

    def address(self, access: Access) -> Address:
        constant: Expr = Integer(0)
        strides: dict[Index, Expr] = {}
        gathers: list[tuple[Access, Expr]] = []
        for subscript, stride in zip(access.subscripts, self.strides(access.tensor), strict=True):
            parts = affine(subscript)
            assert parts is not None, f"{access}: the subscript {subscript} is not affine"
            if stride == 0:
                continue
            constant += parts.constant * stride
            for index, coefficient in parts.terms:
                strides[index] = strides.get(index, Integer(0)) + coefficient * stride
            gathers += [(access_, coefficient * stride) for access_, coefficient in parts.gathers]
        return Address(constant, strides, tuple(gathers))

    def stored_order(self, access: Access) -> list[Index]:
        """The indices of an access, slowest first."""
        found: dict[Index, None] = {}
        for axis in self.axes(access.tensor):
            parts = affine(access.subscripts[axis])
            for index, _ in parts.terms if parts else ():
                found[index] = None
        return list(found)


def choose_orders(equations: Iterable[Equation], fixed: Iterable[Tensor]) -> dict[str, tuple[int, ...]]:
    """Storage order of each tensor in `fixed` (parameters): the axis that a product keeps is stored fastest.

    In z[n,i] = sum_j W[i,j] x[n,j] the kept axis of W is i, so W is stored as (j, i): the forward product then reads W
    without transposing it, and the gradient is written in the same order.
    """
    orders: dict[str, tuple[int, ...]] = {}
    wanted = {t for t in fixed if t.rank >= 2}
    for equation in equations:
        if equation.op != "sum":
            continue
        for access in outer_accesses(equation.rhs):
            tensor = access.tensor
            if tensor not in wanted or tensor.name in orders:
                continue
            parts = [affine(s) for s in access.subscripts]
            plain = [p.plain if p is not None else None for p in parts]
            kept = [axis for axis, i in enumerate(plain) if i is not None and i in equation.free]
            summed = [axis for axis, i in enumerate(plain) if i is not None and i in equation.bound]
            others = [axis for axis in range(tensor.rank) if axis not in kept and axis not in summed]
            if kept and summed:
                batch = [a for a in kept if _carried(plain[a], access, equation)]
                kept = [a for a in kept if a not in batch]
                # with nothing but a batch (a filter for each channel) no product is made: rows run along the batch
                orders[tensor.name] = (*others, *batch, *summed, *kept) if kept else (*others, *summed, *batch)
    return orders


def _carried(index: Index | None, access: Access, equation: Equation) -> bool:
    """An index that all factors share: a batch of products."""
    return all(index in a.free_symbols for a in outer_accesses(equation.rhs) if a != access)
