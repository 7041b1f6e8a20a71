"""Gather: a sum that is scattered through an affine index becomes a sum that reads through it.

In: a program.  Out: where  T[.., p+u-1, ..] += sum over p, u of A[.., p, ..]*B[u, ..]  writes each element of T several
times, the element's own subscript i = p+u-1 takes the place of p:

    T[.., i, ..] = sum over u of A[.., i-u+1, ..]*B[u, ..]

Nothing is left out and nothing comes in twice: p runs over all of an axis of a factor of every term, so that this
factor reads 0 for any other p, and what it is multiplied by is a finite number there too (not 1/C[.., p, ..]).  It is
done where the subscript has p once, with the coefficient 1, T's axis is hardly longer than p's range, and p is no index
of a sparse tensor; a stride (2*p+u) would ask which i are even, and stays a scatter.

So the gradient of a convolution to its input reads as a convolution with the kernel mirrored.  What is compiled stays
a scatter: the sum visits points where its factors are zero, and was up to 14 % slower.
"""

from __future__ import annotations

from dataclasses import replace

import sympy as sp
from sympy import Basic, Expr

from compiler.functions import log1p
from compiler.graph import at_least
from compiler.passes.rewriting import nodes
from compiler.program import Access, Equation, Index, Program, affine, fresh_index, indices

LONGER = 2  # T's axis may be so many times as long as p's range: each new point costs a visit


def gather(program: Program) -> Program:
    return program.with_equations(_gathered(e) for e in program.equations)


def _gathered(equation: Equation) -> Equation:
    if equation.op != "sum" or equation.where is not sp.true or equation.tensor.kind != "real":
        return equation
    for axis in range(equation.tensor.rank):
        equation = _along(equation, axis)
    return equation


def _along(equation: Equation, axis: int) -> Equation:
    """The equation with the scatter along one axis turned, if it may be."""
    subscript, extent = equation.lhs.subscripts[axis], equation.tensor.shape[axis]
    parts = affine(subscript)
    if parts is None or parts.gathers or len(parts.terms) < 2 or not extent.is_Integer:
        return equation
    others = [s for k, s in enumerate(equation.lhs.subscripts) if k != axis]
    for index, coefficient in parts.terms:
        if coefficient != 1 or not index.extent.is_Integer or extent > LONGER * index.extent:
            continue
        if index in indices(*others) or not _may_leave(equation, index):
            continue
        taps = [other for other, _ in parts.terms if other != index and other.extent != 1]
        if not taps or any(tap in indices(*others) for tap in taps):
            continue  # each element is written once already
        taken = {i.name for i in equation.domain}
        own = next(
            (Index(name, extent) for name in "ijkl" if name not in taken), fresh_index(Index("i", extent), taken)
        )
        new: dict[Basic, Basic] = {index: own - (subscript - index)}
        left = (*equation.lhs.subscripts[:axis], own, *equation.lhs.subscripts[axis + 1 :])
        domain = tuple(own if i == index else i for i in equation.domain)
        return replace(equation, lhs=Access(equation.tensor, *left), domain=domain, rhs=equation.rhs.xreplace(new))
    return equation


def _may_leave(equation: Equation, index: Index) -> bool:
    """Wherever the index leaves its range every term is 0; and no subscript of a sparse tensor becomes a sum."""
    if not all(_vanishes(term, index) for term in sp.Add.make_args(equation.rhs)):
        return False
    naming = [node for node in nodes(equation.rhs) if index in nodes(node)]
    return not any(_is_infinite_somewhere(n) or (isinstance(n, Access) and n.tensor.sparse) for n in naming)


def _is_infinite_somewhere(node: Basic) -> bool:
    """For some finite arguments."""
    match node:
        case sp.Pow():
            return not (node.base.is_positive or (node.exp.is_Integer and node.exp.is_nonnegative))
        case sp.log():
            return not node.args[0].is_positive
        case log1p():
            return not (1 + node.args[0]).is_positive
    return False


def _vanishes(term: Expr, index: Index) -> bool:
    """A factor of the term reads outside of its tensor, so 0, wherever the index leaves its range."""
    for factor in sp.Mul.make_args(term):
        if isinstance(factor, Access) and factor.tensor.kind == "real":
            for subscript, extent in zip(factor.subscripts, factor.tensor.shape, strict=True):
                parts = affine(subscript)
                if parts is None or parts.plain != index:
                    continue
                if at_least(-parts.constant, index.low) and at_least(index.high + parts.constant, extent):
                    return True
    return False
