"""Equations whose left-hand side is plain: one index for each axis.

In: an equation with any left-hand side.  Out: an equation of the same meaning that says what one element is.  Where an
index can be solved for (i = t - 1, j = p + u) it is; what else the left-hand side said becomes a condition.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import sympy as sp
from sympy import Basic, Expr

from compiler.program import Access, Equation, Index, affine, fresh_index, indices

SPARE = "ijklmpqrsuvw"


def letters(equations: Sequence[Equation]) -> list[Index]:
    """An index for each axis of the left-hand side: the equations' own where they are plain."""
    own: list[Index] = []
    used = {i.name for e in equations for i in e.domain}
    spare = iter([letter for letter in SPARE if letter not in used])
    for axis, extent in enumerate(equations[0].tensor.shape):
        plain = [e.lhs.subscripts[axis] for e in equations if isinstance(e.lhs.subscripts[axis], Index)]
        index = Index(plain[0].name if plain else next(spare, "i"), extent)
        own.append(unlike(index, {i.name for i in own}))
    return own


def unlike(index: Index, taken: Collection[str]) -> Index:
    """The index under a name that is not taken, a single letter if there is one."""
    if index.name not in taken:
        return index
    name = next((letter for letter in SPARE if letter not in taken), None)
    return fresh_index(index, taken) if name is None else index.named(name)


def aligned(equation: Equation, own: Sequence[Index]) -> Equation:
    """The equation with `own` as its left-hand subscripts; what else they said becomes part of the condition."""
    taken = {i.name for i in own}
    new: dict[Basic, Basic] = {}
    where: list[Basic] = []
    for subscript, index in zip(equation.lhs.subscripts, own, strict=True):
        if isinstance(subscript, Index) and subscript not in new:
            new[subscript] = index
            where += [sp.Ge(index, subscript.low)] if subscript.low != 0 else []
            where += [sp.Lt(index, subscript.high)] if subscript.high != index.high else []
    for index in equation.domain:
        if index not in new:
            new[index] = unlike(index, taken)
            taken.add(new[index].name)
    domain = [*own, *(new[i] for i in equation.domain if new[i] not in own)]
    solved: dict[Basic, Basic] = {}
    rhs, condition = equation.rhs.xreplace(new), equation.where.xreplace(new)
    for subscript, index in zip(equation.lhs.subscripts, own, strict=True):
        if new.get(subscript) == index:
            continue
        said = subscript.xreplace(new).xreplace(solved)
        found = _solved(said, index, [i for i in domain if i not in own])
        if found is None:
            where.append(sp.Eq(index, said, evaluate=False))
            continue
        old, value = found
        vanishes = equation.op == "sum" and _vanishes(rhs, old)
        if not vanishes and value.has(*(i for i in domain if i not in own and i != old)):
            where.append(sp.Eq(index, said, evaluate=False))  # i = 3 j + k says more than two inequalities
            continue
        where += [] if vanishes else _range(old, value)
        solved = {key: other.xreplace({old: value}) for key, other in solved.items()} | {old: value}
        domain.remove(old)
        rhs, condition = rhs.xreplace({old: value}), condition.xreplace({old: value})
        where = [part.xreplace({old: value}) for part in where]
    return Equation(Access(equation.tensor, *own), tuple(domain), rhs, equation.op, sp.And(condition, *where))


def _solved(said: Expr, index: Index, free: Sequence[Index]) -> tuple[Index, Expr] | None:
    """index = said, solved for one of the indices that may go: (that index, its value)"""
    form = affine(said)
    if form is None or form.gathers:
        return None
    for other, coefficient in form.terms:
        if other in free and abs(coefficient) == 1:
            return other, sp.expand(coefficient * (index - (said - coefficient * other)))
    return None


def _range(old: Index, value: Expr) -> list[Basic]:
    """low <= value < high, as far as it is not so anyway."""
    form = affine(value)
    assert form is not None
    least = most = form.constant
    for index, coefficient in form.terms:
        ends = (coefficient * index.low, coefficient * (index.high - 1))
        least, most = least + ends[coefficient < 0], most + ends[coefficient > 0]
    found: list[Basic] = []
    plain, shift = form.plain, form.constant
    if not (least - old.low).is_nonnegative:
        found.append(sp.Ge(value, old.low) if plain is None else sp.Ge(plain, old.low - shift))
    if not (old.high - 1 - most).is_nonnegative:
        found.append(sp.Lt(value, old.high) if plain is None else sp.Lt(plain, old.high - shift))
    return [part for part in found if part is not sp.true]


def _vanishes(rhs: Expr, old: Index) -> bool:
    """Is a factor 0 wherever the index is outside of its range, because it is read outside of its tensor?"""
    if isinstance(rhs, Access):
        return False  # a copy into a part of a tensor: the condition says which part
    for factor in sp.Mul.make_args(rhs):
        base = factor.base if factor.is_Pow and factor.exp.is_positive else factor
        if not isinstance(base, Access):
            continue
        for subscript, extent in zip(base.subscripts, base.tensor.shape, strict=True):
            form = affine(subscript)
            if form is None or form.plain != old:
                continue
            low, high = old.low + form.constant, old.high + form.constant
            if (-low).is_nonnegative and (high - extent).is_nonnegative:
                return True
    return False


def apart(expression: Expr, taken: Iterable[str]) -> Expr:
    """The expression with its bound indices renamed, as far as their names are taken."""
    from .reduction import Reduction

    names = {*taken, *(i.name for i in indices(expression))}
    taken = set(taken)
    new: dict[Basic, Basic] = {}
    for node in sp.preorder_traversal(expression):
        if isinstance(node, Reduction):
            for index in node.bound:
                if index.name in taken and index not in new:
                    new[index] = unlike(index, names)
                    names.add(new[index].name)
    return expression.xreplace(new)
