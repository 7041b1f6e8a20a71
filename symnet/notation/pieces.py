"""A function that is defined by pieces of one quantity, as disjoint intervals of it.

In: a SymPy Piecewise, perhaps with others inside.  Out: the quantity and the pieces, from the highest interval down;
scalar.py writes each with the bracket that says where it holds.  What another condition implies is not said again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import sympy as sp
from sympy import Basic, Expr
from sympy.core.relational import Relational

from compiler.program import Access


@dataclass(frozen=True, slots=True)
class Piece:
    """`value` from `low` to `high`, None for infinity; whether the ends belong to it."""

    value: Expr
    low: Expr | None
    high: Expr | None
    with_low: bool = False
    with_high: bool = False

    @property
    def is_point(self) -> bool:
        return self.low is not None and self.low == self.high


def difference(relation: Relational) -> Expr:
    """What the relation compares with a number: one side, or left - right with 0."""
    left, right = relation.args
    if right.is_number:
        return left
    return right if left.is_number else left - right


def told_of(relation: Relational, quantity: Expr) -> tuple[Expr, Expr | None, Expr | None] | None:
    """(number, left, right), where a side that is None stands for the quantity"""
    left, right = relation.args
    if left == quantity and right.is_number:
        return right, None, right
    if right == quantity and left.is_number:
        return left, left, None
    if left - right == quantity:
        return sp.Integer(0), None, sp.Integer(0)
    return (sp.Integer(0), sp.Integer(0), None) if right - left == quantity else None


def intervals(expression: sp.Piecewise) -> tuple[Expr, list[Piece]] | None:
    """(quantity, pieces), neighbours of one value in one piece; None if there is more than one quantity."""
    atoms = [a for pair in expression.args for a in sp.preorder_traversal(pair.cond) if isinstance(a, Relational)]
    if not atoms:
        return None
    quantity = difference(atoms[0])
    if any(told_of(atom, quantity) is None for atom in atoms):
        return None
    inside = {a for part in expression.atoms(sp.Piecewise) for pair in part.args for a in pair.cond.atoms(Relational)}
    known = {atom: found for atom in inside if (found := told_of(atom, quantity)) is not None}
    ends = sorted({number for number, *_ in known.values()})

    def piece(at: Expr, low: Expr | None, high: Expr | None, closed: bool) -> Piece:
        told = {
            atom: sp.true if atom.func(*(at if side is None else side for side in sides)) else sp.false
            for atom, (_, *sides) in known.items()
        }
        return Piece(decided(expression, lambda condition: condition.xreplace(told)), low, high, closed, closed)

    pieces = [piece(ends[0] - 1, None, ends[0], False)]
    for number, end in enumerate(ends):
        pieces.append(piece(end, end, end, True))
        above = ends[number + 1] if number + 1 < len(ends) else None
        pieces.append(piece(end + 1 if above is None else (end + above) / 2, end, above, False))
    pieces.reverse()
    return quantity, _merged(quantity, pieces)


def decided(expression: Expr, told: Callable[[Basic], Basic]) -> Expr:
    """The expression without the choices whose conditions are known."""
    if isinstance(expression, sp.Piecewise):
        for value, condition in expression.args:
            holds = told(condition)
            if holds is sp.true:
                return decided(value, told)
            if holds is not sp.false:
                return expression
    if not expression.has(sp.Piecewise) or isinstance(expression, sp.Piecewise):
        return expression
    return expression.func(*(decided(a, told) if isinstance(a, Expr) else a for a in expression.args))


def _merged(quantity: Expr, pieces: list[Piece]) -> list[Piece]:
    merged: list[Piece] = []
    for piece in pieces:
        if merged and merged[-1].value == piece.value:
            merged[-1] = replace(merged[-1], low=piece.low, with_low=piece.with_low)
        else:
            merged.append(piece)
    result: list[Piece] = []
    for number, piece in enumerate(merged):
        if piece.is_point and piece.low is not None:  # the same as what its neighbour says there
            above, below = merged[number - 1], merged[number + 1]
            at = there(quantity, piece.low)
            if above.value.xreplace(at) == piece.value.xreplace(at):
                result[-1] = replace(result[-1], with_low=True)
                continue
            if below.value.xreplace(at) == piece.value.xreplace(at):
                merged[number + 1] = replace(below, with_high=True)
                continue
        result.append(piece)
    return result


def there(quantity: Expr, number: Expr) -> dict[Expr, Expr]:
    """What to replace in an expression where the quantity is this number."""
    for term in quantity.args if quantity.is_Add else ():
        if isinstance(term, Access):
            return {term: term - quantity + number}
    return {quantity: number, -quantity: -number}


def named(quantity: Expr, pieces: list[Piece]) -> tuple[Expr, str, tuple[Expr, ...]] | None:
    """(factor, name, arguments) if the pieces are those of sign, abs, max, min, or of max(low, min(high, x))."""
    outer = [piece for piece in pieces if not piece.is_point]
    high, low = outer[0], outer[-1]
    ends = high.low is not None and high.low == low.high
    if len(outer) == 2 and ends and high.low == 0 and high.value == -low.value:
        flipped = high.value.as_coeff_Mul()[0].is_negative
        factor, of = (low.value, -quantity) if flipped else (high.value, quantity)
        ratio = factor / of
        if ratio.is_number and len(pieces) == 2:
            return (ratio, "abs", (of,)) if ratio > 0 else (-ratio, "abs", (-of,))
        if len(pieces) == 3 and pieces[1].value == 0:
            return factor, "sign", (of,)
    if len(pieces) == 2 and ends:
        rise = sp.expand(high.value - low.value)
        values = tuple(sorted((high.value, low.value), key=lambda e: (not e.is_number, str(e))))
        for name, slope in (("max", 1), ("min", -1)):
            if rise == sp.expand(slope * (quantity - high.low)):
                return sp.Integer(1), name, values
    if len(pieces) == 3 and [p.value for p in pieces] == [high.low, quantity, low.high]:
        return sp.Integer(1), "clip", (low.value, high.value, quantity)
    return None
