"""What a tensor's elements are: the questions that passes ask before they put one expression in place of another.

An element may be replaced by its definition only where (1) one equation alone contributes to it, and once, (2) the
element is provably inside the range for which the equation holds (a read outside a tensor is 0, its definition there is
not).  A gather is never provably inside, its values are data.
"""

from __future__ import annotations

import sympy as sp
from sympy import Basic, Expr

from ..graph import at_least, overlap
from ..program import Access, Affine, Equation, Index, Program, affine, in_range


def solved(access: Access) -> dict[int, tuple[Index, Expr]] | None:
    """axis -> (index, constant), if each subscript is a constant or an index of its own plus a constant."""
    found: dict[int, tuple[Index, Expr]] = {}
    seen: set[Index] = set()
    for axis, subscript in enumerate(access.subscripts):
        if isinstance(subscript, Index):
            index, constant = subscript, sp.Integer(0)
        else:
            parts = affine(subscript)
            if parts is None or parts.gathers or (parts.terms and parts.plain is None):
                return None
            if parts.plain is None:
                continue
            index, constant = parts.plain, parts.constant
        if index in seen:
            return None
        seen.add(index)
        found[axis] = (index, constant)
    return found


def is_map(equation: Equation) -> bool:
    """Each element is written by one point of the domain: nothing is summed, nothing left out."""
    if equation.op != "sum" or equation.where is not sp.true:
        return False
    places = solved(equation.lhs)
    return places is not None and len(places) == len(equation.domain)


def is_alone(program: Program, equation: Equation) -> bool:
    """No other equation of the tensor contributes to the elements that this one writes."""
    others = list(program.definitions[equation.tensor])
    others.remove(equation)  # once: the same contribution may stand there twice
    return not any(overlap(other.lhs, equation.lhs) for other in others)


def stands_for(program: Program, equation: Equation) -> bool:
    """Each value of its right-hand side can be read from the tensor: an element of its own, to which nothing else is
    added, and no place outside of the tensor, which reads as 0."""
    return is_map(equation) and is_alone(program, equation) and in_range(equation.lhs)


def is_whole(equation: Equation) -> bool:
    """The left-hand side is a distinct plain index for each axis, running over the whole axis."""
    left = equation.lhs.subscripts
    return len(set(left)) == len(left) and all(
        isinstance(s, Index) and s.low.is_zero and s.high == n for s, n in zip(left, equation.tensor.shape, strict=True)
    )


def covers(index: Index, subscript: Expr) -> bool:
    """The subscript provably stays within the index's range."""
    parts = affine(subscript)
    if parts is None or parts.gathers:
        return False
    low, high = _ends(parts)
    return at_least(low, index.low) and at_least(index.high - 1, high)


def _ends(parts: Affine) -> tuple[Expr, Expr]:
    """The smallest and the largest value of a subscript without gathers."""
    low = high = parts.constant
    for index, coefficient in parts.terms:
        ends = (coefficient * index.low, coefficient * (index.high - 1))
        low, high = low + ends[coefficient < 0], high + ends[coefficient > 0]
    return low, high


def is_outside(access: Access) -> bool:
    """Some subscript provably names no element."""
    for subscript, extent in zip(access.subscripts, access.tensor.shape, strict=True):
        parts = affine(subscript)
        if parts is None or parts.gathers:
            continue
        low, high = _ends(parts)
        if high.is_negative or (low - extent).is_nonnegative:
            return True
    return False


def zero_if_outside(node: Basic) -> Basic:
    """The rule that a read outside a tensor is 0, once a constant has come to stand for an index."""
    return sp.Integer(0) if isinstance(node, Access) and is_outside(node) else node


def binding(pattern: Access, access: Access, anywhere: bool = False) -> dict[Index, Expr] | None:
    """The indices of the pattern for which it is the access, each in its range; None if that is not certain.

    anywhere: do not ask whether the element is inside (right where the definition, too, reads 0 there).
    """
    places = solved(pattern)
    if places is None:
        return None
    found: dict[Index, Expr] = {}
    for axis, (left, subscript) in enumerate(zip(pattern.subscripts, access.subscripts, strict=True)):
        if axis not in places:
            if left != subscript:
                return None
            continue
        index, constant = places[axis]
        value = subscript - constant if constant else subscript
        if not anywhere and not covers(index, value):
            return None
        found[index] = value
    return found
