"""What conditions on integer data say of the ends of loops: sum over e where ptr[v] <= e and e < ptr[v+1].

In: an equation.  Out: for each relation that bounds one index by integer tensors, the index, its ends, and the indices
that must be known before: a loop then visits only the points at which the relation holds.  So rows of a graph, lengths
of sequences and places of maxima cost what is there, not what could be.  Stands below nest.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import sympy as sp
from sympy import Expr
from sympy.logic.boolalg import Boolean

from .program import Access, Equation, Index, indices, outer_accesses, sorted_args, subscript_in_range

LESS = (sp.StrictLessThan, sp.LessThan, sp.Eq)
MORE = (sp.StrictGreaterThan, sp.GreaterThan, sp.Eq)
STRICT = (sp.StrictLessThan, sp.StrictGreaterThan)


@dataclass(frozen=True, slots=True)
class Span:
    """low <= index < high, each an integer expression or None, from a relation that reads the indices `needed`."""

    index: Index
    low: Expr | None
    high: Expr | None
    needed: tuple[Index, ...]
    relation: Boolean


def spans(equation: Equation) -> list[Span]:
    """The spans of the relations that must all hold, in a deterministic order; at most one for each relation.

    None of an index of a sparse tensor: the loop over a stored row, and the one around it, have their own ends."""
    stored = {i for column, access in sparse_rows(equation).items() for i in (column, access.subscripts[0])}
    found = (_span(relation, equation) for relation in relations(equation.where))
    return [span for span in found if span is not None and span.index not in stored]


def sparse_rows(equation: Equation) -> dict[Index, Access]:
    """column index -> the sparse access that enumerates it (one for each row index)."""
    found: dict[Index, Access] = {}
    for access in outer_accesses(equation.rhs):
        if access.tensor.sparse and access.tensor.rank == 2:
            row, column = access.subscripts
            if isinstance(row, Index) and isinstance(column, Index) and column not in found and row not in found:
                found[column] = access
    return found


def whole_rows(equation: Equation) -> Equation:
    """What is stored says which columns of a sparse tensor are visited, so an index of columns runs over all of them,
    and one of rows over no others; where their ranges are others, conditions keep these."""
    for column, access in sparse_rows(equation).items():
        row = access.subscripts[0]
        for index, extent, partly in zip((row, column), access.tensor.shape, (True, False), strict=True):
            whole = Index(index.name, extent)
            if index == whole or (partly and subscript_in_range(index, extent)):
                continue
            new = equation.substitute({index: whole})
            ends = [whole >= index.low] if index.low != 0 else []
            ends += [whole < index.high] if index.high != extent else []
            equation = replace(new, where=sp.And(new.where, *ends))
    return equation


def relations(where: Boolean) -> list[Boolean]:
    return list(sorted_args(where)) if isinstance(where, sp.And) else [where]


def _span(relation: Boolean, equation: Equation) -> Span | None:
    if not isinstance(relation, (*LESS, *MORE)) or not relation.has(Access):
        return None
    difference = sp.expand(relation.args[0] - relation.args[1])
    outside = [i for i in equation.domain if difference.coeff(i, 1) in (1, -1)]
    bound = set(equation.bound)
    for index in sorted(outside, key=lambda i: i not in bound):  # what is reduced is searched, not what is kept
        sign = difference.coeff(index, 1)
        rest = sp.expand(difference - sign * index)
        if index in rest.free_symbols:
            continue
        needed = tuple(i for i in indices(rest) if i in equation.domain)
        end, strict = -sign * rest, isinstance(relation, STRICT)  # index < end or index > end, by the sign
        low = high = None
        if isinstance(relation, LESS if sign == 1 else MORE):
            high = end if strict else end + 1
        if isinstance(relation, MORE if sign == 1 else LESS):
            low = end + 1 if strict else end
        return Span(index, low, high, needed, relation)
    return None


def ordered(order: Sequence[Index], found: Sequence[Span], at_once: bool) -> list[Index]:
    """The order of loops with each bounded index behind what its ends need; `at_once`: directly behind."""
    order = list(order)
    for index in dict.fromkeys(span.index for span in found):
        needed = {i for span in found if span.index == index for i in span.needed}
        places = [order.index(i) for i in needed]
        last = max(places, default=-1)
        if order.index(index) < last or (at_once and places):
            behind = order[last] if places else None
            order.remove(index)
            order.insert(0 if behind is None else order.index(behind) + 1, index)
    return order


def usable(found: Sequence[Span], order: Sequence[Index], loops: Sequence[Index]) -> list[Span]:
    """Those whose index is one of the loops and whose ends are known when it begins."""
    place: Mapping[Index, int] = {index: k for k, index in enumerate(order)}
    return [s for s in found if s.index in loops and all(place[i] < place[s.index] for i in s.needed)]


def without(where: Boolean, used: Sequence[Span]) -> Boolean:
    """The condition as far as loops do not keep it already."""
    kept = {span.relation for span in used}
    return sp.And(*(relation for relation in relations(where) if relation not in kept))
