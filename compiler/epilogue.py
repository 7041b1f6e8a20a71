"""Maps that a product makes as it stores its sums, in place of a loop behind it.

In: the tree of loops, joined.  Out: the same, where

    C[n,i] = sum_k A[n,k]*B[k,i];  for all n, i: r[n,i] = f(C[n,i], other[n,i], ..., numbers)

is one call that stores r: C is in no memory, if nothing else reads it.  Only what is cheap is made so: f with few
operations, no functions, no quotients; anything else would wait in the registers of a tile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace

import sympy as sp
from sympy import Basic, Expr
from sympy.core.relational import Relational

from .fuse import flat_chain
from .kernels.epilogue import Epilogue, Form
from .layout import Layout
from .nest import After, Call, Loop, Node, Statement, effects
from .program import Access, Equation, Index, Tensor, outer_accesses, sort_key

MOST_TENSORS, MOST_OPERATIONS = 2, 8


def with_epilogues(body: Sequence[Node], layout: Layout, keep: Collection[Tensor]) -> list[Node]:
    """keep: what must be in memory whoever reads it."""
    touched = Counter(place for node in body for table in effects(node, layout) for place in table)
    kept = {*keep, *layout.owner, *layout.owner.values()}
    result: list[Node] = []
    for node in body:
        call = result[-1] if result else None
        after = None
        if isinstance(call, Call) and isinstance(node, Loop) and call.start != "c":
            tensor = call.equation.tensor
            if touched[tensor] == 2 and tensor not in kept:  # the call writes it, one other node reads it
                after = _after(call, node, layout)
        if after is None:
            result.append(node)
        else:
            assert isinstance(call, Call)
            at_low = {i: i.low for i in after.lhs.atoms(Index)}
            touches = (*call.touched[:2], after.lhs)
            result[-1] = replace(call, target=after.lhs.xreplace(at_low), touched=touches, after=after)
    return result


def _after(call: Call, loop: Loop, layout: Layout) -> After | None:
    """What the loop makes of the call's result, element by element; None if it is something else."""
    chain, product, made = flat_chain(loop, layout), call.product, call.equation.lhs
    if chain is None or len(chain[-1].body) != 1 or product.outer or product.batch:
        return None
    statement = chain[-1].body[0]
    assert isinstance(statement, Statement)
    read = [a for a in outer_accesses(statement.rhs) if a.tensor == made.tensor]
    if statement.kind != "store" or len(read) != 1:
        return None
    # the loop's indices are those of the product, which run over all of the tensor
    rows, columns, _ = product.extents()
    new = dict(zip(read[0].subscripts, made.subscripts, strict=True))
    if columns != product.ldc or layout.elements(made.tensor) != rows * columns:
        return None
    if {*new} != {link.index for link in chain} or not all(isinstance(i, Index) for i in made.subscripts):
        return None
    if any((a.low, a.high) != (b.low, b.high) for a, b in new.items()):
        return None
    lhs, rhs = statement.lhs.xreplace(new), statement.rhs.xreplace(new)
    target = lhs.tensor
    if target.kind != "real" or target in layout.owner or target in layout.owner.values():
        return None
    return _Reader(made, {*made.subscripts}, layout).after(statement.equation, lhs, rhs)


class _Unsuitable(Exception):
    """Not cheap, or not of the language of epilogues."""


class _Reader:
    """An expression as a form."""

    def __init__(self, made: Access, indices: Collection[Basic], layout: Layout) -> None:
        self.made, self.indices, self.layout = made, indices, layout
        self.tensors: list[Access] = []
        self.numbers: list[Expr] = []
        self.operations = 0

    def after(self, equation: Equation, lhs: Access, rhs: Expr) -> After | None:
        try:
            form = self.form(rhs)
        except _Unsuitable:
            return None
        roots = {self.layout.root(a.tensor) for a in self.tensors}
        few = len(self.tensors) <= MOST_TENSORS and self.operations <= MOST_OPERATIONS
        if not few or self.layout.root(lhs.tensor) in roots:
            return None
        epilogue = Epilogue(form, len(self.tensors), len(self.numbers))
        return After(equation, lhs, epilogue, tuple(self.tensors), tuple(self.numbers))

    def form(self, expression: Basic) -> Form:
        if not expression.atoms(Index) & self.indices:
            return self.number(expression)
        match expression:
            case Access() if expression == self.made:
                return ("sum",)
            case Access() if expression.tensor.kind == "real" and not expression.tensor.sparse:
                if expression not in self.tensors:
                    self.tensors.append(expression)
                return ("at", self.tensors.index(expression))
            case sp.Add() | sp.Mul():
                return self.several("+" if expression.is_Add else "*", expression)
            case sp.Pow() if expression.exp == 2:
                base = self.form(expression.base)
                self.operations += 1
                return ("*", base, base)
            case sp.Piecewise():
                *cases, (other, last) = expression.args
                if last != True:  # noqa: E712
                    raise _Unsuitable
                result = self.form(other)
                for value, where in reversed(cases):
                    result = ("select", self.condition(where), self.form(value), result)
                    self.operations += 1
                return result
        raise _Unsuitable

    def several(self, operator: str, expression: Expr) -> Form:
        moving = sorted((a for a in expression.args if a.atoms(Index) & self.indices), key=sort_key)
        fixed = expression.func(*(a for a in expression.args if a not in moving))
        forms = [self.form(a) for a in moving]
        self.operations += len(forms) - 1
        if fixed == expression.func.identity:
            return forms[0] if len(forms) == 1 else (operator, *forms)
        self.operations += 1
        if operator == "*" and fixed == -1:
            return ("-", forms[0] if len(forms) == 1 else (operator, *forms))
        return (operator, self.number(fixed), *forms)

    def number(self, expression: Expr) -> Form:
        if expression not in self.numbers:
            self.numbers.append(expression)
        return ("number", self.numbers.index(expression))

    def condition(self, where: Basic) -> Form:
        self.operations += 1
        match where:
            case sp.And() | sp.Or():
                parts = sorted(where.args, key=sort_key)
                return ("&" if isinstance(where, sp.And) else "|", *map(self.condition, parts))
            case sp.Not():
                return ("not", self.condition(where.args[0]))
            case Relational() if not (where.lhs.is_integer and where.rhs.is_integer):
                return (where.rel_op, self.form(where.lhs), self.form(where.rhs))
        raise _Unsuitable
