"""Which equation must run before which: boxes, dependences, strongly connected components.

In: equations.  Out: components in an order in which each comes after what it reads.  An equation depends on another
only where the element ranges overlap (slices are the unit of dependence, not tensors), so that the first slot of a
recurrence (`h[0] = x`) stands outside its cycle.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

from sympy import Expr, Integer

from .program import Access, Affine, Equation, Index, Tensor, affine, merge_duplicates, outer_accesses

Range = tuple[Expr, Expr]
Node = TypeVar("Node", bound=Hashable)
_ZERO = Integer(0)


def at_least(left: Expr, right: Expr) -> bool:
    """True if left >= right provably holds."""
    return bool((left - right).is_nonnegative)


def reach(access: Access) -> tuple[Range, ...]:
    """For each axis the range of elements that the access can name, cut to the tensor's own range."""
    return tuple(_subscript_range(s, n) for s, n in zip(access.subscripts, access.tensor.shape, strict=True))


def _subscript_range(subscript: Expr, extent: Expr) -> Range:
    parts = affine(subscript)
    if parts is None or parts.gathers:
        return (_ZERO, extent)
    low = high = parts.constant
    for index, coefficient in parts.terms:
        ends = (coefficient * index.low, coefficient * (index.high - 1))
        low, high = low + ends[coefficient < 0], high + ends[coefficient > 0]
    return (_ZERO if at_least(_ZERO, low) else low, extent if at_least(high + 1, extent) else high + 1)


def overlap(one: Access, other: Access) -> bool:
    """False only if the two accesses of one tensor provably never name the same element."""
    return not any(at_least(b[0], a[1]) or at_least(a[0], b[1]) for a, b in zip(reach(one), reach(other), strict=True))


def box(equation: Equation) -> tuple[Range, ...] | None:
    """The elements written, if each is written exactly once for each point of the bound indices; else None."""
    if equation.where != True and not equation.bound:  # noqa: E712 (SymPy's true)
        return None
    free = set(equation.free)
    if any(a.tensor.sparse and free.issuperset(a.subscripts) for a in outer_accesses(equation.rhs)):
        return None  # only stored elements are visited
    seen: set[Index] = set()
    for subscript in equation.lhs.subscripts:
        parts = affine(subscript)
        if parts is None or parts.gathers or not _is_counter(parts):
            return None
        own = [index for index, _ in parts.terms]
        if not seen.isdisjoint(own):
            return None
        seen.update(own)
    return reach(equation.lhs)


def _is_counter(parts: Affine) -> bool:
    """A constant, an index, or the digits of a number (4*i+j with j < 4): each value once, and none left out."""
    step = Integer(1)
    for index, coefficient in sorted(parts.terms, key=lambda term: term[1]):
        if coefficient != step:
            return False
        step *= index.extent
    return True


def dependences(equations: Sequence[Equation]) -> dict[Equation, list[Equation]]:
    """equation -> the equations whose results it reads, in program order."""
    written: dict[Tensor, list[Equation]] = {}
    for equation in equations:
        written.setdefault(equation.tensor, []).append(equation)
    needs: dict[Equation, list[Equation]] = {}
    for equation in equations:
        found = {q: None for a in equation.reads() for q in written.get(a.tensor, ()) if overlap(q.lhs, a)}
        needs[equation] = list(found)
    return needs


def components(roots: Iterable[Equation], needs: Mapping[Equation, Sequence[Equation]]) -> list[list[Equation]]:
    """Strongly connected components reachable from the roots, dependences first."""
    return strongly_connected(roots, needs)


def strongly_connected(roots: Iterable[Node], edges: Mapping[Node, Sequence[Node]]) -> list[list[Node]]:
    """Tarjan 1972, without recursion: groups of nodes that reach each other, what is reached first."""
    order: dict[Node, int] = {}
    low: dict[Node, int] = {}
    path: dict[Node, None] = {}
    groups: list[list[Node]] = []
    for root in roots:
        if root in order:
            continue
        work = [(root, iter(edges.get(root, ())))]
        order[root] = low[root] = len(order)
        path[root] = None
        while work:
            node, successors = work[-1]
            for successor in successors:
                if successor not in order:
                    order[successor] = low[successor] = len(order)
                    path[successor] = None
                    work.append((successor, iter(edges.get(successor, ()))))
                    break
                if successor in path:
                    low[node] = min(low[node], order[successor])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == order[node]:
                    group = [path.popitem()[0]]
                    while group[-1] != node:
                        group.append(path.popitem()[0])
                    groups.append(group[::-1])
    return groups


def reachable(start: Iterable[Node], edges: Mapping[Node, Iterable[Node]]) -> set[Node]:
    """What is met on the way along the edges, the start included."""
    found: set[Node] = set()
    stack = list(start)
    while stack:
        node = stack.pop()
        if node not in found:
            found.add(node)
            stack.extend(edges.get(node, ()))
    return found


def in_order(equations: Iterable[Equation]) -> tuple[Equation, ...]:
    """Every tensor's equations before its readers, as far as cycles allow: an adjoint's first slot before its loop."""
    equations = merge_duplicates(equations)
    written: dict[Tensor, list[Equation]] = {}
    for equation in equations:
        written.setdefault(equation.tensor, []).append(equation)
    needs = {e: [q for t in dict.fromkeys(a.tensor for a in e.reads()) for q in written.get(t, ())] for e in equations}
    place = {e: k for k, e in enumerate(equations)}
    return tuple(e for c in components(equations, needs) for e in sorted(c, key=place.__getitem__))


def is_cycle(component: Sequence[Equation], needs: Mapping[Equation, Sequence[Equation]]) -> bool:
    return len(component) > 1 or component[0] in needs[component[0]]
