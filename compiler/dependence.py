"""Which tensors are defined through one another, and is there an order in which they can be computed?

In: equations.  Out: the cycles (strongly connected tensors), and for one cycle the equations that no loop over shifted
axes can serve.  A cycle can be computed if there is an axis (one in each of its tensors, tied together by the indices
of the equations) along which every read lies behind, or every read ahead; reads at the same place are then looked at
again, along another axis.  Tensors may run ahead of each other by a constant: of c[t+1] = h[t] and h[t] = c[t], both
are made at step t, c in its slot t+1 (in circuits this is called retiming; Leiserson and Saxe 1991).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from sympy import Expr, Integer

from .graph import strongly_connected
from .program import Access, Equation, Tensor, affine


class Edge(NamedTuple):
    """An equation that reads a tensor of its own cycle."""

    equation: Equation
    read: Access


def cyclic(equations: Iterable[Equation]) -> dict[Tensor, tuple[Tensor, ...]]:
    """tensor -> all tensors of its cycle, for each tensor that depends on itself."""
    reads: dict[Tensor, dict[Tensor, None]] = {}
    for equation in equations:
        reads.setdefault(equation.tensor, {}).update(dict.fromkeys(a.tensor for a in equation.reads()))
    groups = strongly_connected(reads, {tensor: list(read) for tensor, read in reads.items()})
    return {t: group for group in map(tuple, groups) for t in group if len(group) > 1 or t in reads.get(t, ())}


def without_shift(equations: Iterable[Equation]) -> Iterator[tuple[list[Equation], tuple[Access, Access] | None]]:
    """For each cycle that cannot be computed: its equations that read it neither behind nor ahead; and a read of what
    lies behind with one of what lies ahead, if that is why."""
    for edges, shift in loops(equations):
        if shift is None:
            yield list(dict.fromkeys(edge.equation for edge in edges)), _both_ways(edges)


def _both_ways(edges: Sequence[Edge]) -> tuple[Access, Access] | None:
    start = edges[0].equation.tensor
    for axis in range(start.rank):
        slots = _distances(edges, {start: axis})
        if slots is not None and min(slots) < 0 < max(slots):
            return edges[slots.index(max(slots))].read, edges[slots.index(min(slots))].read
    return None


def loop_axes(equations: Iterable[Equation]) -> dict[Tensor, tuple[int, ...]]:
    """For each tensor of a cycle the axes along which loops run, the outer one first."""
    found: dict[Tensor, tuple[int, ...]] = {}
    for _, shift in loops(equations):
        for tensor, axis in shift.axes.items() if shift is not None else ():
            found[tensor] = (*found.get(tensor, ()), axis)
    return found


def loops(equations: Iterable[Equation]) -> Iterator[tuple[list[Edge], Shift | None]]:
    """The edges of each cycle with the loop that serves it, then those of the cycles that are left in its steps."""
    todo = _cycles([Edge(e, a) for e in equations for a in e.reads() if a.tensor.role == "value"])
    while todo:
        edges = todo.pop()
        shift = shifted_axes(edges)
        yield edges, shift
        if shift is not None:
            todo.extend(_cycles([e for e, distance in zip(edges, shift.distances, strict=True) if distance == 0]))


def _cycles(edges: Sequence[Edge]) -> list[list[Edge]]:
    """The edges within each cycle."""
    reads: dict[Tensor, list[Tensor]] = {}
    for edge in edges:
        reads.setdefault(edge.equation.tensor, []).append(edge.read.tensor)
    group = {tensor: number for number, tensors in enumerate(strongly_connected(reads, reads)) for tensor in tensors}
    within: dict[int, list[Edge]] = {}
    for edge in edges:
        if group[edge.equation.tensor] == group[edge.read.tensor]:
            within.setdefault(group[edge.read.tensor], []).append(edge)
    return list(within.values())


class Shift(NamedTuple):
    """A loop that serves a cycle: the axis of each tensor; at step s a tensor is made in its slot s - offset; and how
    many steps before it is read (negative: the loop runs downwards) the element of each edge is made."""

    axes: dict[Tensor, int]
    offsets: dict[Tensor, int]
    distances: list[int]


def shifted_axes(edges: Sequence[Edge]) -> Shift | None:
    """A loop along which every read lies behind (>= 0) or every read ahead (<= 0); None if there is none."""
    start = edges[0].equation.tensor
    for axis in range(start.rank):
        tied = {start: axis}
        slots = _distances(edges, tied)
        if slots is None:
            continue
        best: Shift | None = None
        for offsets in (dict.fromkeys(tied, 0), _own_offsets(edges, tied)):
            for sign in (1, -1):
                moved = _moved(edges, slots, offsets, sign)
                if moved is None:
                    continue
                shift = Shift(tied, moved, _between(edges, slots, moved))
                # what is read in the step in which it is made can be fused
                if any(shift.distances) and (best is None or shift.distances.count(0) > best.distances.count(0)):
                    best = shift
        if best is not None:
            return best
    return None


def _own_offsets(edges: Sequence[Edge], axes: dict[Tensor, int]) -> dict[Tensor, int]:
    """A tensor that is written at t+1 is made at step t."""
    offsets: dict[Tensor, int] = {}
    for tensor, axis in axes.items():
        parts = [affine(e.equation.lhs.subscripts[axis]) for e in edges if e.equation.tensor == tensor]
        written = {p.constant for p in parts if p is not None and p.terms}
        offsets[tensor] = -int(written.pop()) if len(written) == 1 else 0
    return offsets


def _between(edges: Sequence[Edge], slots: Sequence[int], offsets: dict[Tensor, int]) -> list[int]:
    """Steps from the making of what an edge reads to the making of what it writes."""
    pairs = ((offsets[e.equation.tensor], offsets[e.read.tensor]) for e in edges)
    return [slot + written - read for slot, (written, read) in zip(slots, pairs, strict=True)]


def _moved(
    edges: Sequence[Edge], slots: Sequence[int], offsets: dict[Tensor, int], sign: int
) -> dict[Tensor, int] | None:
    """The offsets, moved as far as is needed for all steps between to have this sign (Bellman and Ford)."""
    moved = dict(offsets)
    for _ in range(len(moved) + 1):
        wrong = False
        for edge, slot, between in zip(edges, slots, _between(edges, slots, moved), strict=True):
            if sign * between < 0:
                read = edge.read.tensor
                moved[read] = (min if sign > 0 else max)(moved[read], slot + moved[edge.equation.tensor])
                wrong = True
        if not wrong:
            return moved
    return None


def _distances(edges: Sequence[Edge], tied: dict[Tensor, int]) -> list[int] | None:
    """How far behind the written element each read lies, along the axis of one tensor and the axes tied to it, which
    are added to `tied`.  The edges are those of a cycle: from what is written, all of them are found."""
    writing: dict[Tensor, list[int]] = {}
    for number, edge in enumerate(edges):
        writing.setdefault(edge.equation.tensor, []).append(number)
    found: dict[int, int] = {}
    todo = list(tied)
    while todo:
        for number in writing[todo.pop()]:
            written, read = edges[number].equation.lhs, edges[number].read
            step = _step(written.subscripts[tied[written.tensor]], read, tied.get(read.tensor))
            if step is None:
                return None
            if read.tensor not in tied:
                tied[read.tensor] = step[0]
                todo.append(read.tensor)
            found[number] = step[1]
    return [found[number] for number in range(len(edges))]


def _step(subscript: Expr, other: Access, axis: int | None) -> tuple[int, int] | None:
    """(axis of `other` tied to this subscript, this subscript minus that one)"""
    here = affine(subscript)
    if here is None or here.gathers:
        return None
    for candidate in range(other.tensor.rank) if axis is None else (axis,):
        there = affine(other.subscripts[candidate])
        if there is None or there.gathers or there.terms != here.terms:
            continue
        distance = here.constant - there.constant
        if isinstance(distance, Integer):
            return candidate, int(distance)
    return None
