"""A sum over bound indices of a product of factors, as NumPy source: matrix products, sums over axes, einsum.

In: a term and its free and bound indices.  Out: Python text, aligned to the free indices.
"""

from __future__ import annotations

from collections.abc import Sequence

import sympy as sp
from sympy import Expr

from compiler.program import Index

from .numpy_expressions import ATOM, POWER, PRODUCT, Expressions, quotient

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def contraction(write: Expressions, term: Expr, free: Sequence[Index], bound: Sequence[Index]) -> str:
    """The term, summed over the bound indices."""
    if term.as_coeff_Mul()[0].is_negative:
        return f"-{contraction(write, -term, free, bound)}"
    above, below = quotient(term)
    front = [f for f in above if not write.own(f)]
    under = [f for f in below if not write.own(f)]
    factors = [f for f in above if write.own(f)] + [1 / f for f in below if write.own(f)]
    seen = {i for f in factors for i in write.own(f)}
    scalars = [write.text(f, (), PRODUCT) for f in front]
    scalars += [write.size(i.extent) for i in bound if i not in seen]
    summed = [i for i in bound if i in seen]
    texts = [*scalars]
    if factors:
        texts.append(_summed(write, factors, free, summed))
    text = "*".join(texts) or "1"
    if not under:
        return text
    divisors = "*".join(write.text(f, (), POWER) for f in under)
    return f"{text}/{divisors if len(under) == 1 else f'({divisors})'}"


def _summed(write: Expressions, factors: Sequence[Expr], free: Sequence[Index], bound: Sequence[Index]) -> str:
    alone = [f for f in factors if not set(write.own(f)) & set(bound)]
    if alone and bound and len(alone) < len(factors):  # what is not summed stays outside
        rest = [f for f in factors if f not in alone]
        own = [i for i in free if any(i in write.own(f) for f in rest)]
        inner = _atom(_summed(write, rest, own, bound))
        inner = write.placed(inner, own, free) if own else inner
        return "*".join([*(write.text(f, free, PRODUCT) for f in alone), inner])
    if not bound:
        return "*".join(write.text(f, free, PRODUCT) for f in factors)
    groups = _gathered(write, factors)
    if len(groups) == 1:
        ((axes, product),) = groups
        kept = [i for i in free if i in axes]
        text = write.text(product, (*kept, *bound), ATOM)
        axis = -1 if len(bound) == 1 else tuple(range(-len(bound), 0))
        straight = write.text(product, list(axes), ATOM)
        if len(bound) == 1 and kept == [i for i in axes if i not in bound]:
            text, axis = straight, list(axes).index(bound[0])
        elif not kept:
            return f"{straight}.sum()"
        return write.placed(f"{text}.sum(axis={axis})", kept, free) if kept else f"{straight}.sum()"
    own = [i for i in free if any(i in axes for axes, _ in groups)]
    text = _matrix_product(write, groups, own, bound) or _einsum(write, groups, own)
    return write.placed(_atom(text) if own != list(free) else text, own, free)


def _atom(text: str) -> str:
    """In brackets, if an operator stands outside of brackets."""
    depth = 0
    for sign in text:
        depth += (sign in "([") - (sign in ")]")
        if not depth and sign in "@*/+-":
            return f"({text})"
    return text


def _gathered(write: Expressions, factors: Sequence[Expr]) -> list[tuple[tuple[Index, ...], Expr]]:
    """(axes, product) of the factors, those with the same axes as one."""
    groups: dict[frozenset[Index], list[Expr]] = {}
    for factor in factors:
        groups.setdefault(frozenset(write.own(factor)), []).append(factor)
    return [(_axes(write, parts), sp.Mul(*parts, evaluate=len(parts) == 1)) for parts in groups.values()]


def _axes(write: Expressions, factors: Sequence[Expr]) -> tuple[Index, ...]:
    """The indices in the order in which the first factor stores them."""
    return tuple(dict.fromkeys(i for f in factors for i in write.own(f)))


def _matrix_product(
    write: Expressions, groups: Sequence[tuple[tuple[Index, ...], Expr]], own: Sequence[Index], bound: Sequence[Index]
) -> str | None:
    """One @ if two matrices (or a matrix and a vector) share the one index that is summed."""
    if len(groups) != 2 or len(bound) != 1 or any(len(axes) > 2 or bound[0] not in axes for axes, _ in groups):
        return None
    k = bound[0]
    (one, left), (other, right) = groups
    outer = [[i for i in axes if i != k] for axes in (one, other)]
    if outer[0] == outer[1] and outer[0]:
        return None
    if [*outer[0], *outer[1]] != list(own):
        (left, right), outer = (right, left), outer[::-1]
    if [*outer[0], *outer[1]] != list(own):
        return None
    return f"{write.text(left, (*outer[0], k), ATOM)} @ {write.text(right, (k, *outer[1]), ATOM)}"


def _einsum(write: Expressions, groups: Sequence[tuple[tuple[Index, ...], Expr]], own: Sequence[Index]) -> str:
    letters: dict[Index, str] = {}
    for index in [i for axes, _ in groups for i in axes]:
        if index not in letters:
            wanted = index.name if len(index.name) == 1 and index.name in LETTERS else ""
            free = (letter for letter in LETTERS if letter not in letters.values())
            letters[index] = wanted if wanted and wanted not in letters.values() else next(free)
    spec = ",".join("".join(letters[i] for i in axes) for axes, _ in groups)
    result = "".join(letters[i] for i in own)
    operands = ", ".join(write.text(product, axes) for axes, product in groups)
    return f'np.einsum("{spec}->{result}", {operands}, optimize=True)'
