"""Slots of zeros: what the steps of a loop read beyond its ends is stored, so that no read needs a guard.

In: a program.  Out: the same, where a tensor of a cycle that is read element by element one step before its first, or
after its last, has slots of zeros there:

    c[n,t,u] = f[n,t,u]*c[n,t-1,u] + g[n,t,u]           c gets a slot in front: c[n,0,u] = 0, c[n,t+1,u] = ...

A guard in the innermost loop would keep it from running in vectors, a guard around the loop would part it from its
neighbours.  So what a derivative writes one step before, as d_c[n,t-1,u] += ..., is said of the step that it writes.
Sums through products keep their ends: a step that reads zeros is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import sympy as sp
from sympy import Expr, Integer

from .dependence import loop_axes
from .graph import at_least, overlap
from .program import Access, Equation, Index, Program, Tensor, affine, outer_accesses, subscript_in_range

FAR = 8  # slots; what is read from farther away keeps its guard
Ends = tuple[int, int]  # slots before the first one, and after the last


def spread_steps(program: Program) -> Program:
    axes = {t: a[0] for t, a in loop_axes(program.equations).items()}
    return program.with_equations(
        spread if spread is e or not _meets_others(e, spread, program.definitions[e.tensor]) else e
        for e, spread in ((e, _spread(e, axes)) for e in program.equations)
    )


def _meets_others(equation: Equation, spread: Equation, group: Sequence[Equation]) -> bool:
    """Would what is stored have to be added, to what another equation stores in a slot of its own?"""
    return any(
        overlap(spread.lhs, other.lhs) and not overlap(equation.lhs, other.lhs) for other in group if other != equation
    )


def pad_slots(program: Program) -> Program:
    axes = {t: a[0] for t, a in loop_axes(program.equations).items() if t not in program.roots}
    for equation in program.equations:  # a write that is dropped must not reach the zeros
        axis = axes.get(equation.tensor)
        if axis is not None and not subscript_in_range(equation.lhs.subscripts[axis], equation.tensor.shape[axis]):
            del axes[equation.tensor]
    ends: dict[Tensor, Ends] = {}
    for equation in program.equations:
        if equation.bound or equation.op != "sum":
            continue
        for access in outer_accesses(equation.rhs):
            if access.tensor in axes and (found := _beyond(access, axes[access.tensor])) is not None:
                known = ends.get(access.tensor, (0, 0))
                ends[access.tensor] = (max(known[0], found[0]), max(known[1], found[1]))
    new: dict[Tensor, Tensor] = {}
    for tensor, (before, behind) in ends.items():
        shape = list(tensor.shape)
        shape[axes[tensor]] += before + behind
        new[tensor] = Tensor(tensor.name, shape, tensor.role, tensor.kind)
    if not new:
        return program

    def shifted(access: Access) -> Access:
        if access.tensor not in new:
            return access
        axis, before = axes[access.tensor], ends[access.tensor][0]
        return Access(new[access.tensor], *(s + before if k == axis else s for k, s in enumerate(access.subscripts)))

    moved: list[Equation] = []
    waiting = dict(new)
    for equation in program.equations:
        if equation.tensor in waiting:
            moved += _zeros(waiting.pop(equation.tensor), axes[equation.tensor], ends[equation.tensor])
        moved.append(equation.with_accesses(shifted))
    return program.with_equations(moved)


def _spread(equation: Equation, axes: Mapping[Tensor, int]) -> Equation:
    """A[t-1] = B[t]*C[t] as A[t] = B[t+1]*C[t+1] over all of A's axis, if what is added reads zeros of a cycle."""
    tensor = equation.tensor
    if tensor not in axes or equation.bound or equation.op != "sum" or equation.where != True:  # noqa: E712
        return equation
    extent, parts = tensor.shape[axes[tensor]], affine(equation.lhs.subscripts[axes[tensor]])
    index = parts.plain if parts is not None else None
    if parts is None or index is None or equation.lhs.subscripts.count(index + parts.constant) > 1:
        return equation
    for factor in sp.Mul.make_args(equation.rhs):
        if isinstance(factor, Access) and factor.tensor in axes:
            read = affine(factor.subscripts[axes[factor.tensor]])
            if read is None or read.plain != index:
                continue
            ends = index.low + read.constant, index.high + read.constant
            if at_least(Integer(0), ends[0]) and at_least(ends[1], factor.tensor.shape[axes[factor.tensor]]):
                whole = Index(index.name, extent)
                domain = tuple(whole if i == index else i for i in equation.domain)
                new = {index: whole - parts.constant}
                spread = Equation(equation.lhs.xreplace(new), domain, equation.rhs.xreplace(new))
                return spread if _is_zero_beyond(spread, axes) else equation
    return equation


def _is_zero_beyond(equation: Equation, axes: Mapping[Tensor, int]) -> bool:
    """Is 0 added where zeros of a cycle are read?  Not where they divide: 0/0 is no number."""
    zeros = {a: Integer(0) for a in outer_accesses(equation.rhs) if a.tensor in axes and _beyond(a, axes[a.tensor])}
    return equation.rhs.xreplace(zeros) == 0


def _beyond(access: Access, axis: int) -> Ends | None:
    """How far an access leaves its tensor on this axis, if it does, by a constant shift."""
    subscript, extent = access.subscripts[axis], access.tensor.shape[axis]
    parts = affine(subscript)
    index = parts.plain if parts is not None else None
    if parts is None or index is None or access.tensor.kind != "real" or subscript_in_range(subscript, extent):
        return None
    before, behind = -(index.low + parts.constant), index.high - 1 + parts.constant - (extent - 1)
    if not (before.is_Integer and behind.is_Integer and before <= FAR and behind <= FAR):
        return None
    return max(0, int(before)), max(0, int(behind))


def _zeros(tensor: Tensor, axis: int, ends: Ends) -> Iterator[Equation]:
    """0 in each of the slots before and behind."""
    length: Expr = tensor.shape[axis]
    own = [Index(letter, extent) for letter, extent in zip("ijklmpqr", tensor.shape, strict=False)]
    for slot in (*map(Integer, range(ends[0])), *(length - 1 - k for k in range(ends[1]))):
        subscripts = [slot if k == axis else i for k, i in enumerate(own)]
        yield Equation(Access(tensor, *subscripts), tuple(i for k, i in enumerate(own) if k != axis), Integer(0))
