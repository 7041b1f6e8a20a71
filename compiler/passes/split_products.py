"""Split: contractions of several factors become products of two tensors, in the cheapest order.

In: a program that is otherwise done.  Out: every sum that can be a matrix product is  P[..] = sum_k A[..]*B[..]  with
two plain accesses, each with an index that the other has not:

  * T[i,j] = sum_n x*y/N becomes P[i,j] = sum_n x*y and T[i,j] = P[i,j]/N; so with any factor that is not summed.
  * A factor whose indices another has too is multiplied into it; what then is no plain access (a Piecewise times a
    delta, a gather) becomes a tensor of its own, so that what is left is a matrix product.
  * Of three or more factors, pairs are contracted in the order of fewest multiplications (all orders of up to 5).

Sums with nothing but nested factors (a dot product of two rows, a norm) stay as they are: they are reductions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import sympy as sp
from sympy import Expr

from ..graph import box
from ..program import Access, Equation, Index, Program, Tensor, affine, outer_accesses
from .definitions import solved
from .rewriting import free_name, in_dependence_order, names, nodes
from .share import merge_definitions

TYPICAL_SIZE = 64  # of an axis whose length is known only at run time
EXHAUSTIVE = 5
WIDE = 8  # elements of a row below which a product for each tap of a window costs more than one that is scattered

Group = tuple[Expr, ...]  # factors that are multiplied element by element


def split_products(program: Program) -> Program:
    writer = _Writer(names(program))
    out: list[Equation] = []
    for equation in program.equations:
        out.extend(writer.split(equation))
    if not writer.made:
        return program.with_equations(out)
    program = merge_definitions(program.with_equations(out))  # two sums may have had the same factor
    return program.with_equations(in_dependence_order(program.equations))


@dataclass(slots=True)
class _Writer:
    """Makes tensors for intermediate results."""

    taken: set[str]
    made: int = 0
    before: list[Equation] = field(default_factory=list)

    def split(self, equation: Equation) -> list[Equation]:
        real = equation.tensor.kind == "real"
        if equation.op != "sum" or equation.where is not sp.true or not equation.bound or not real:
            return [equation]
        out: list[Equation] = []
        kept: list[Expr] = []
        for term in sp.Add.make_args(equation.rhs):
            new = self.term(Equation(equation.lhs, equation.domain, term))
            if new is None:
                kept.append(term)
            else:
                out.extend(new)
        if not out:
            return [equation]
        return out + ([Equation(equation.lhs, equation.domain, sp.Add(*kept))] if kept else [])

    def term(self, equation: Equation) -> list[Equation] | None:
        """The equations for a sum over one product; None if it is no matrix product."""
        bound = set(equation.bound)
        factors = sp.Mul.make_args(equation.rhs)
        inner = [f for f in factors if not bound.isdisjoint(nodes(f))]
        outer = sp.Mul(*(f for f in factors if bound.isdisjoint(nodes(f))))
        if not bound <= set(nodes(*inner)):
            return None
        groups = _grouped([(f,) for f in inner], equation.domain)
        if len(groups) < 2 or any(_is_sparse(f) for g in groups if len(g) > 1 for f in g):
            return None
        self.before = []
        left = self._pairwise(groups, equation)
        left = [self._reduced(g, left, equation) for g in left]
        return self._finished(left, outer, equation)

    # ------------------------------------------------------------------------------------------ contraction
    def _pairwise(self, groups: list[Group], equation: Equation) -> list[Group]:
        """Contract pairs until two are left."""
        while len(groups) > 2:
            pair = _cheapest(groups, equation)
            rest = [g for g in groups if g not in pair]
            wanted = set(equation.free).union(*(_indices(g, equation.domain) for g in rest))
            named = _indices((*pair[0], *pair[1]), equation.domain)
            operands = [self._operand(self._reduced(g, groups, equation), equation) for g in pair]
            kept = _beside_sparse([i for i in equation.domain if i in named and i in wanted], rest)
            kept = _by_rows(kept, operands)
            summed = [i for i in equation.domain if i in set(nodes(*operands)) and i not in kept]
            access = self._tensor(f"{equation.tensor.name}_part", kept, summed, sp.Mul(*operands))
            groups = _grouped([*rest, (access,)], equation.domain)
        return groups

    def _reduced(self, group: Group, groups: Sequence[Group], equation: Equation) -> Group:
        """Summed first over the indices that only this group has."""
        others = set(equation.free).union(*(_indices(g, equation.domain) for g in groups if g is not group))
        own = [i for i in equation.bound if i in _indices(group, equation.domain) and i not in others]
        if not own or len(groups) < 2 or any(_is_sparse(f) for f in group):
            return group
        kept = [i for i in equation.domain if i in _indices(group, equation.domain) and i not in own]
        return (self._tensor(f"{equation.tensor.name}_part", kept, own, sp.Mul(*group)),)

    def _operand(self, group: Group, equation: Equation) -> Access:
        """A plain access for the group."""
        if len(group) == 1 and isinstance(group[0], Access) and _is_plain_or_affine(group[0]):
            return group[0]
        return self._tensor(f"{equation.tensor.name}_factor", _layout(group), [], sp.Mul(*group))

    def _finished(self, groups: list[Group], outer: Expr, equation: Equation) -> list[Equation]:
        bound = set(equation.bound)
        if len(groups) == 1 or not all(bound & set(_indices(g, equation.domain)) for g in groups):
            rhs = sp.Mul(outer, *(f for g in groups for f in g))
            named = set(nodes(rhs))
            domain = tuple(i for i in equation.domain if i in named or i not in bound)
            return [*self.before, Equation(equation.lhs, domain, rhs)]
        operands = [self._operand(g, equation) for g in groups]
        product = sp.Mul(*operands)
        named = set(nodes(product))
        summed = [i for i in equation.bound if i in named]
        if outer == 1 and (box(equation) is not None or _is_plain(equation.lhs) or _is_wide_scatter(equation.lhs)):
            domain = tuple(i for i in equation.domain if i in named or i not in bound)
            return [*self.before, Equation(equation.lhs, domain, product)]
        on_the_left = [n for n in nodes(*equation.lhs.subscripts) if isinstance(n, Index)]
        kept = [i for i in on_the_left if i in named]
        access = self._tensor(f"{equation.tensor.name}_product", kept, summed, product)
        return [*self.before, Equation(equation.lhs, equation.free, outer * access)]

    def _tensor(self, name: str, kept: Sequence[Index], summed: Iterable[Index], rhs: Expr) -> Access:
        """A new tensor over the kept indices, summed over the others."""
        tensor = Tensor(free_name(name, self.taken), tuple(i.extent for i in kept))
        access = Access(tensor, *(i - i.low if i.low else i for i in kept))
        self.before.append(Equation(access, (*kept, *summed), rhs))
        self.made += 1
        return access


# ---------------------------------------------------------------------------------------------- indices
def _indices(group: Iterable[Expr], domain: Sequence[Index]) -> list[Index]:
    named = set(nodes(*group))
    return [i for i in domain if i in named]


def _beside_sparse(kept: list[Index], rest: Sequence[Group]) -> list[Index]:
    """The axis that sparse rows of the rest will gather by stands before the last: then what they add is contiguous."""
    gathered = set(nodes(*(f for group in rest for f in group if _is_sparse(f))))
    inside, outside = [i for i in kept if i in gathered], [i for i in kept if i not in gathered]
    return [*outside[:-1], *inside, *outside[-1:]] if inside else kept


def _by_rows(kept: list[Index], operands: Sequence[Access]) -> list[Index]:
    """What a sparse tensor makes of another is laid out as that is, row for row."""
    sparse, dense = sorted(operands, key=lambda a: not a.tensor.sparse)
    lines = [n for n in nodes(sparse) if isinstance(n, Index)]
    if not sparse.tensor.sparse or not any(i in kept for i in lines):
        return kept
    order = [n for n in nodes(dense) if isinstance(n, Index)]
    row = next(i for i in lines if i in kept)
    order = [i if i in kept else row for i in order]
    return [*(i for i in kept if i not in order), *(i for i in dict.fromkeys(order) if i in kept)]


def _layout(group: Group) -> list[Index]:
    """Axes in the order of the group's widest access, so that equal factors of two sums are equal tensors."""
    found = sorted(outer_accesses(*group), key=lambda a: -len({n for n in nodes(a) if isinstance(n, Index)}))
    return [n for n in dict.fromkeys(nodes(*found, *group)) if isinstance(n, Index)]


def _grouped(groups: list[Group], domain: Sequence[Index]) -> list[Group]:
    """Each group joins the smallest other one that has all of its indices."""
    groups = sorted(groups, key=lambda g: -len(_indices(g, domain)))
    kept: list[Group] = []
    for group in groups:
        own = set(_indices(group, domain))
        hosts = [k for k, g in enumerate(kept) if own <= set(_indices(g, domain))]
        if not hosts:
            kept.append(group)
            continue
        host = min(hosts, key=lambda k: (*_reluctance(kept[k]), _volume(_indices(kept[k], domain))))
        kept[host] = (*kept[host], *group)
    return kept


def _reluctance(group: Group) -> tuple[bool, bool]:
    """A sparse tensor must stay a factor of its own, and a plain access is best left one."""
    return _is_sparse(group[0]), len(group) == 1 and _is_plain(group[0])


def _cheapest(groups: list[Group], equation: Equation) -> tuple[Group, Group]:
    """The pair to contract first."""
    sets = [frozenset(_indices(g, equation.domain)) for g in groups]
    cost, (a, b) = _search(sets, frozenset(equation.free), len(groups) <= EXHAUSTIVE)
    assert cost >= 0
    return groups[a], groups[b]


def _search(sets: list[frozenset[Index]], free: frozenset[Index], deep: bool) -> tuple[float, tuple[int, int]]:
    best: tuple[float, tuple[int, int]] | None = None
    for a, b in combinations(range(len(sets)), 2):
        rest = [s for k, s in enumerate(sets) if k not in (a, b)]
        result = (sets[a] | sets[b]) & free.union(*rest)
        cost = _volume(sets[a] | sets[b])
        if deep and len(sets) > 2:
            cost += _search([*rest, result], free, deep)[0]
        if best is None or cost < best[0]:
            best = (cost, (a, b))
    assert best is not None
    return best


def _volume(indices: Iterable[Index]) -> float:
    volume = 1.0
    for index in indices:
        volume *= float(index.extent.subs(dict.fromkeys(index.extent.free_symbols, TYPICAL_SIZE)))
    return volume


def _is_plain(factor: Expr) -> bool:
    """An access with a distinct index, plus a constant, or a constant alone for each axis."""
    return isinstance(factor, Access) and solved(factor) is not None


def _is_plain_or_affine(factor: Access) -> bool:
    parts = [affine(s) for s in factor.subscripts]
    return all(p is not None and not p.gathers for p in parts)


def _is_wide_scatter(lhs: Access) -> bool:
    """Written through a window, but along a plain last axis: a product for each tap adds rows in place."""
    last = lhs.subscripts[-1] if lhs.subscripts else None
    wide = isinstance(last, Index) and last.extent.is_Integer and last.extent >= WIDE
    parts = [affine(s) for s in lhs.subscripts]
    return bool(wide) and all(p is not None and not p.gathers for p in parts)


def _is_sparse(factor: Expr) -> bool:
    return isinstance(factor, Access) and factor.tensor.sparse
