"""A component of the dependence graph -> nodes of the tree: one equation, or a cycle as a loop over its slots.

A cycle reads itself only through a constant shift along one axis.  Its loop runs over that axis, upwards or downwards
by the sign of the shift; inside, what is left without a shift is ordered again, so a recurrence along two axes is two
loops.  What an equation does at slots outside its range is left out by a guard.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import sympy as sp
from sympy import Basic, Expr, Integer
from sympy.logic.boolalg import Boolean

from .dependence import Edge, Shift, shifted_axes
from .fuse import insert
from .graph import at_least, components, is_cycle, overlap, reach
from .layout import Layout
from .nest import Call, Guarded, Names, Node, build, make_loop, rename, zeros
from .product import as_product
from .program import Access, Equation, Index, ProgramError, Tensor, affine, sort_key

Axes = Mapping[Tensor, int]


def component_nodes(
    component: list[Equation],
    needs: Mapping[Equation, Sequence[Equation]],
    kinds: Mapping[Equation, str],
    starts: Mapping[Equation, Access],
    layout: Layout,
    names: Names,
    plain: bool,
    fixed: tuple[Axes, ...] = (),
) -> list[Node]:
    """`kinds` says how each equation meets its tensor, `starts` from which row vector a product starts."""
    if not is_cycle(component, needs):
        return _single(component[0], kinds[component[0]], starts.get(component[0]), layout, names, plain)
    return [_recurrence(component, kinds, starts, layout, names, plain, fixed)]


def _single(
    equation: Equation, kind: str, start: Access | None, layout: Layout, names: Names, plain: bool
) -> list[Node]:
    product = None if plain else as_product(equation, layout)
    if product is None:
        assert start is None, equation
        return build(equation, kind, layout, names, plain)
    at_low = {i: i.low for i in (*product.m, *product.n, *product.inner, *product.k)}
    operands = [product.a.xreplace(at_low), product.b.xreplace(at_low)]
    if start is not None:
        operands.append(start.xreplace(at_low))
    begin = "bias" if start is not None else "zero" if kind == "store" and not product.outer else "c"
    touched = (product.a, product.b, equation.lhs)
    nodes: list[Node] = [Call(equation, product, begin, tuple(operands), equation.lhs.xreplace(at_low), touched)]
    around = (*product.outer, *product.batch)
    for index in reversed(around):
        nodes = [make_loop(index, nodes, layout)]
    new = {i.name: names.index(i).name for i in around}
    before = zeros(equation, layout, names) if product.outer and kind == "store" else []
    return [*before, *(rename(node, new, layout) for node in nodes)]


def _recurrence(
    component: list[Equation],
    kinds: Mapping[Equation, str],
    starts: Mapping[Equation, Access],
    layout: Layout,
    names: Names,
    plain: bool,
    fixed: tuple[Axes, ...],
) -> Node:
    """One loop over the slots of the shifted axis; inside, what has no shift left, scheduled again.

    `fixed` are the axes of the loops around: an access to another slot of one of those is no dependence in here."""
    shift = _shifted_axes(component, fixed)
    axes, offsets, reverse = shift.axes, shift.offsets, min(shift.distances) < 0
    fixed = (*fixed, axes)
    slots = [(reach(e.lhs)[axes[e.tensor]], offsets[e.tensor]) for e in component]
    ranges = [(low + offset, high + offset) for (low, high), offset in slots]
    low = _extreme([r[0] for r in ranges], smallest=True)
    high = _extreme([r[1] for r in ranges], smallest=False)
    slot = names.index(Index("t", high, low))
    body_equations: list[Equation] = []
    body_kinds: dict[Equation, str] = {}
    body_starts: dict[Equation, Access] = {}
    guards: dict[Equation, Boolean] = {}
    for equation in component:
        moved, guard, new = _at_slot(equation, axes, slot, offsets[equation.tensor])
        body_equations.append(moved)
        body_kinds[moved] = kinds[equation]
        guards[moved] = guard
        if equation in starts:
            body_starts[moved] = starts[equation].xreplace(new)
    needs: dict[Equation, list[Equation]] = {}
    for equation in body_equations:
        found: dict[Equation, None] = {}
        for access in equation.reads():
            for writer in body_equations:
                if (
                    writer.tensor == access.tensor
                    and _same_slots(access, writer, fixed)
                    and overlap(writer.lhs, access)
                ):
                    found[writer] = None
        for writer in body_equations:  # who adds comes after who stores
            if writer.tensor == equation.tensor and body_kinds[equation] == "add" and body_kinds[writer] == "store":
                found[writer] = None
        needs[equation] = list(found)
    body: list[Node] = []
    for inner in components(body_equations, needs):
        nodes = component_nodes(inner, needs, body_kinds, body_starts, layout, names, plain, fixed)
        guard = sp.And(*(guards[e] for e in inner))
        for node in nodes if guard == True else [Guarded(guard, nodes)]:  # noqa: E712
            insert(body, node, layout)
    return make_loop(slot, body, layout, reverse=reverse, parallel=False)


def _extreme(values: Sequence[Expr], smallest: bool) -> Expr:
    """The smallest or largest; where that depends on sizes (N or 2), a bound of both: each equation has its guard."""
    best = values[0]
    for value in values[1:]:
        small, large = (best, value) if at_least(value, best) else (value, best)
        if at_least(large, small):
            best = small if smallest else large
        else:  # no size is below 1, and no end shrinks with one
            least = {end: end.xreplace(dict.fromkeys(end.free_symbols, Integer(1))) for end in (best, value)}
            ends = least.values()
            best = sp.Min(*ends) if smallest else sp.Max(*ends) + sp.Add(*(end - least[end] for end in least))
    return best


def _shifted_axes(component: Sequence[Equation], fixed: tuple[Axes, ...]) -> Shift:
    """For each tensor of a cycle the axis that is shifted, and at which step a slot of it is made."""
    written = {
        tensor: [e for e in component if e.tensor == tensor] for tensor in dict.fromkeys(e.tensor for e in component)
    }
    edges = [
        Edge(e, a)
        for e in component
        for a in e.reads()
        if any(_same_slots(a, w, fixed) for w in written.get(a.tensor, ()))
    ]
    found = shifted_axes(edges)
    if found is None or any(tensor not in found.axes for tensor in written):
        cycle = "\n".join(f"  {e}" for e in component)
        raise ProgramError(
            f"these equations depend on each other in a cycle without a shift in one direction:\n{cycle}"
        )
    return found


def _at_slot(equation: Equation, axes: Axes, step: Index, offset: int) -> tuple[Equation, Boolean, dict[Basic, Basic]]:
    """The equation for one step (its index on the axis leaves the domain), the condition under which it acts, and what
    becomes of the index (of the reads of a constant slot: counted from the step, so that it is seen which are of it).

    Inside, the step is known by the narrower range, so that reads are seen to stay in their tensors."""
    axis = axes[equation.tensor]
    subscript = equation.lhs.subscripts[axis]
    parts = affine(subscript)
    index = parts.plain if parts is not None else None
    low, high = (end + offset for end in reach(equation.lhs)[axis])
    guard = sp.And(*([] if step.low == low else [step >= low]), *([] if step.high == high else [step < high]))
    slot = Index(step.name, high, low) - offset
    if index is None:  # a constant slot, or one that the domain's indices decide
        lhs = Access(equation.tensor, *(slot if k == axis else s for k, s in enumerate(equation.lhs.subscripts)))
        if not subscript.is_number:
            return replace(equation, lhs=lhs, where=sp.And(equation.where, sp.Eq(subscript, slot))), guard, {}
        reads = [a for a in equation.reads() if a.tensor in axes and a.subscripts[axes[a.tensor]].is_number]
        moves: dict[Basic, Basic] = {a: _counted(a, axes[a.tensor], slot - subscript) for a in reads}
        return replace(equation.map(lambda e: e.xreplace(moves)), lhs=lhs), guard, moves
    assert parts is not None
    new: dict[Basic, Basic] = {index: slot - parts.constant}
    domain = tuple(i for i in equation.domain if i != index)
    where = equation.where.xreplace(new)
    return Equation(equation.lhs.xreplace(new), domain, equation.rhs.xreplace(new), equation.op, where), guard, new


def _counted(access: Access, axis: int, nothing: Expr) -> Access:
    """The same element, its constant slot as that constant plus `nothing`: a step less its only value."""
    return Access(access.tensor, *(s + nothing if k == axis else s for k, s in enumerate(access.subscripts)))


def _same_slots(access: Access, writer: Equation, fixed: tuple[Axes, ...]) -> bool:
    """The element of the same steps: subscripts agree but for the range that each side knows of a slot."""
    axes = [f[access.tensor] for f in fixed]
    return all(sort_key(access.subscripts[a]) == sort_key(writer.lhs.subscripts[a]) for a in axes)
