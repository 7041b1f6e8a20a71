"""Padded storage: a tensor that windows read beyond its ends gets a copy with a border of zeros.

In: a program whose contractions are split.  Out: the same, where no factor of a sum reads through a window
(x[n, p+u-1, c]) outside of its tensor: it reads x_padded[n, p+u, c] instead, and no read needs a guard.  All windows on
one tensor share one copy, as wide as the widest asks for: where a read outside of x gave 0, x_padded has one.  And a
product that writes through a window has a wider tensor for what falls outside, as no write then needs a guard.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import sympy as sp
from sympy import Basic, Expr, Integer

from .passes.rewriting import free_name
from .program import Access, Affine, Equation, Index, Program, Tensor, affine

Margins = list[tuple[int, int]]  # for each axis, how many zeros before and behind


def pad_windows(program: Program) -> Program:
    taken = {t.name for t in program.tensors}
    return _pad_writes(_pad_reads(program, taken), taken)


def _pad_reads(program: Program, taken: set[str]) -> Program:
    margins: dict[Tensor, Margins] = {}
    for equation in program.equations:
        for access in _windows(equation):
            found = _margins(access)
            known = margins.setdefault(access.tensor, found)
            margins[access.tensor] = [(max(a, c), max(b, d)) for (a, b), (c, d) in zip(known, found, strict=True)]
    padded = {t: _padded(t, margin, taken) for t, margin in margins.items() if _is_wider(margin)}
    result: list[Equation] = []
    waiting = dict(padded)
    for equation in program.equations:
        new: dict[Basic, Basic] = {}
        for access in _windows(equation):
            tensor = access.tensor
            if tensor in padded:
                if waiting.pop(tensor, None) is not None:
                    own = _own_indices(tensor)
                    lhs = _shifted(own, padded[tensor], margins[tensor])
                    result.append(Equation(lhs, own, tensor[own]))
                new[access] = _shifted(access.subscripts, padded[tensor], margins[tensor])
        result.append(equation.map(lambda e, new=new: e.xreplace(new)) if new else equation)  # type: ignore[misc]
    return program.with_equations(result) if padded else program


def _pad_writes(program: Program, taken: set[str]) -> Program:
    """A product that is scattered beyond the ends of its tensor goes to a wider one, whose middle is then taken."""
    result: list[Equation] = []
    for equation in program.equations:
        lhs, factors = equation.lhs, equation.rhs.args
        product = equation.rhs.is_Mul and len(factors) == 2 and all(isinstance(f, Access) for f in factors)
        margin = _margins(lhs) if product and _is_window(lhs) else []
        if equation.op != "sum" or equation.where is not sp.true or not _is_wider(margin):
            result.append(equation)
            continue
        wide = _padded(lhs.tensor, margin, taken)
        own = _own_indices(lhs.tensor)
        result.append(replace(equation, lhs=_shifted(lhs.subscripts, wide, margin)))
        result.append(Equation(lhs.tensor[own], own, _shifted(own, wide, margin)))
    return program.with_equations(result)


def _padded(tensor: Tensor, margins: Margins, taken: set[str]) -> Tensor:
    """A tensor of its own, wider by the margins."""
    shape = [n + low + high for n, (low, high) in zip(tensor.shape, margins, strict=True)]
    return Tensor(free_name(f"{tensor.name}_padded", taken), shape)


def _is_wider(margins: Margins) -> bool:
    return any(low or high for low, high in margins)


def _windows(equation: Equation) -> Iterator[Access]:
    """The factors that read through a window: several indices on one axis."""
    if equation.op != "sum" or not equation.bound or equation.tensor.kind != "real":
        return
    factors = [f for term in sp.Add.make_args(equation.rhs) for f in sp.Mul.make_args(term)]
    for access in dict.fromkeys(f for f in factors if isinstance(f, Access)):
        if access.tensor != equation.tensor and _is_window(access):
            yield access


def _is_window(access: Access) -> bool:
    """Several indices on one axis, all sizes of which are numbers."""
    parts = [affine(s) for s in access.subscripts]
    if access.tensor.kind != "real" or access.tensor.sparse or any(p is None or p.gathers for p in parts):
        return False
    wide = [(p, n) for p, n in zip(parts, access.tensor.shape, strict=True) if p is not None and len(p.terms) > 1]
    return bool(wide) and all(_is_literal(p, n) for p, n in wide)


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


def _own_indices(tensor: Tensor) -> tuple[Index, ...]:
    return tuple(Index(letter, n) for letter, n in zip("ijklmpqr", tensor.shape, strict=False))


def _shifted(subscripts: tuple[Expr, ...], padded: Tensor, margins: Margins) -> Access:
    return Access(padded, *(s + Integer(low) for s, (low, _) in zip(subscripts, margins, strict=True)))
