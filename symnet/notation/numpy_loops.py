"""Which way a recurrence runs, for numpy_source.py.

In: equations of a cycle with what each reads of it.  Out: the axis of the loop, its direction, an equation at one step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sympy as sp
from sympy import Expr

from compiler.program import Access, Equation, Index, Tensor, affine

from ..errors import SymnetError


def at_step(equation: Equation, axis: int, variable: str, steps: Expr) -> tuple[Equation, list[str]]:
    """The equation at one step of a loop of so many, and the conditions under which it has one there."""
    form = affine(equation.lhs.subscripts[axis])
    assert form is not None and form.plain is not None
    extent = equation.tensor.shape[axis]
    index = form.plain
    low, high = index.low + form.constant, index.high + form.constant
    guards = []
    if (low - 0).is_positive:
        guards.append(f"{variable} >= {low}")
    if (steps - sp.Min(high, extent)).is_positive:
        guards.append(f"{variable} < {sp.Min(high, extent)}")
    new = {index: Index(variable, sp.Min(high, extent), sp.Max(low, 0)) - form.constant}
    lhs = Access(equation.tensor, *(s.xreplace(new) for s in equation.lhs.subscripts))
    domain = tuple(i for i in equation.domain if i != index)
    return Equation(lhs, domain, equation.rhs.xreplace(new), equation.op, equation.where.xreplace(new)), guards


def is_here(access: Access, lhs: Access, outer: Sequence[Mapping[Tensor, int]]) -> bool:
    """Is the element read in the same steps of the outer loops?"""
    return all(access.subscripts[axis[access.tensor]] == lhs.subscripts[axis[lhs.tensor]] for axis in outer)


def direction(
    reads: Mapping[Equation, Sequence[Access]], fixed: Mapping[Index, str]
) -> tuple[dict[Tensor, int], Expr, bool]:
    """(the axis of each tensor, the number of steps, whether time runs forward)"""
    first = next(iter(reads)).tensor
    for start in range(first.rank):
        for forward in (True, False):
            axis = _axes(reads, fixed, start, 1 if forward else -1)
            if axis is not None:
                return axis, sp.Max(*(tensor.shape[place] for tensor, place in axis.items())), forward
    names = ", ".join(sorted({e.tensor.name for e in reads}))
    raise SymnetError(f"to_numpy: found a recurrence of {names} along no single axis, expected a shift of one sign")


def _axes(
    reads: Mapping[Equation, Sequence[Access]], fixed: Mapping[Index, str], start: int, sign: int
) -> dict[Tensor, int] | None:
    """The axis of each tensor of the group, if every read lies behind or beside what is written."""
    axis = {next(iter(reads)).tensor: start}
    moved = False
    pending = list(reads)
    while known := [e for e in pending if e.tensor in axis]:
        for equation in known:
            pending.remove(equation)
            form = affine(equation.lhs.subscripts[axis[equation.tensor]])
            if form is None or form.plain is None or form.plain in fixed:
                return None
            for access in reads[equation]:
                steps = {
                    place: (other.constant - form.constant) * sign
                    for place, other in enumerate(map(affine, access.subscripts))
                    if other is not None and other.plain == form.plain
                }
                if access.tensor in axis:
                    steps = {place: step for place, step in steps.items() if place == axis[access.tensor]}
                if not steps or any((-step).is_negative for step in steps.values()):
                    return None
                place, step = next(iter(steps.items()))
                axis[access.tensor] = place
                moved |= step != 0
    return axis if moved and not pending else None
