"""Padded storage: a tensor that windows read beyond its ends gets a copy with a border of zeros.

In: a program whose contractions are split.  Out: the same, where no factor of a sum reads through a window
(x[n, p+u-1, c]) outside of its tensor: it reads x_padded[n, p+u, c] instead, and no read needs a guard.  All windows on
one tensor share one copy, as wide as the widest asks for: where a read outside of x gave 0, x_padded has one.
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp
from sympy import Basic, Expr, Integer

from .program import Access, Affine, Equation, Index, Program, Tensor, affine

Margins = list[tuple[int, int]]  # for each axis, how many zeros before and behind


def pad_windows(program: Program) -> Program:
    margins: dict[Tensor, Margins] = {}
    for equation in program.equations:
        for access in _windows(equation):
            found = _margins(access)
            known = margins.setdefault(access.tensor, found)
            margins[access.tensor] = [(max(a, c), max(b, d)) for (a, b), (c, d) in zip(known, found, strict=True)]
    taken = {t.name for t in program.tensors}
    padded: dict[Tensor, Tensor] = {}
    for tensor, margin in margins.items():
        if any(low or high for low, high in margin):
            shape = [n + low + high for n, (low, high) in zip(tensor.shape, margin, strict=True)]
            name = f"{tensor.name}_padded"
            while name in taken:
                name += "_"
            taken.add(name)
            padded[tensor] = Tensor(name, shape)
    if not padded:
        return program
    result: list[Equation] = []
    waiting = dict(padded)
    for equation in program.equations:
        new: dict[Basic, Basic] = {}
        for access in _windows(equation):
            tensor = access.tensor
            if tensor in padded:
                if waiting.pop(tensor, None) is not None:
                    result.append(_copy(tensor, padded[tensor], margins[tensor]))
                new[access] = _shifted(access.subscripts, padded[tensor], margins[tensor])
        result.append(equation.map(lambda e, new=new: e.xreplace(new)) if new else equation)  # type: ignore[misc]
    return program.with_equations(result)


def _windows(equation: Equation) -> Iterator[Access]:
    """The factors that read through a window: several indices on one axis."""
    if equation.op != "sum" or not equation.bound or equation.tensor.kind != "real":
        return
    factors = [f for term in sp.Add.make_args(equation.rhs) for f in sp.Mul.make_args(term)]
    for access in dict.fromkeys(f for f in factors if isinstance(f, Access)):
        parts = [affine(s) for s in access.subscripts]
        if access.tensor.kind != "real" or access.tensor.sparse or access.tensor == equation.tensor:
            continue
        if any(p is None or p.gathers for p in parts) or not any(p and len(p.terms) > 1 for p in parts):
            continue
        if all(_is_literal(p, n) for p, n in zip(parts, access.tensor.shape, strict=True) if p and len(p.terms) > 1):
            yield access


def _is_literal(parts: Affine, extent: Expr) -> bool:
    ends = (n for i, _ in parts.terms for n in (i.low, i.high))
    return bool(extent.is_Integer and parts.constant.is_Integer and all(n.is_Integer for n in ends))


def _margins(access: Access) -> Margins:
    found = []
    for subscript, extent in zip(access.subscripts, access.tensor.shape, strict=True):
        parts = affine(subscript)
        if parts is None or len(parts.terms) < 2:
            found.append((0, 0))
            continue
        low = high = int(parts.constant)
        for index, coefficient in parts.terms:
            ends = sorted((coefficient * int(index.low), coefficient * (int(index.high) - 1)))
            low, high = low + ends[0], high + ends[1]
        found.append((max(0, -low), max(0, high + 1 - int(extent))))
    return found


def _copy(tensor: Tensor, padded: Tensor, margins: Margins) -> Equation:
    own = tuple(Index(letter, n) for letter, n in zip("ijklmpqr", tensor.shape, strict=False))
    return Equation(_shifted(own, padded, margins), own, tensor[own])


def _shifted(subscripts: tuple[Expr, ...], padded: Tensor, margins: Margins) -> Access:
    return Access(padded, *(s + Integer(low) for s, (low, _) in zip(subscripts, margins, strict=True)))
