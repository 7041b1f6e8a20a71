"""A reduction as a SymPy expression: what stands inside one element of a tensor, as far as it is no plain scalar.

In: equations.  Out: expressions in which Reduction stands for a sum, a maximum, ... over bound indices.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import sympy as sp
from sympy import Expr, Tuple
from sympy.core.symbol import Str
from sympy.logic.boolalg import Boolean

from compiler.program import Access, Equation, Index

from .alignment import aligned


class Reduction(Expr):
    """op over the bound indices, where the condition holds, of an expression; a scalar."""

    is_commutative = True
    is_real = True

    def __new__(cls, op: str | Str, expression: Expr, bound: Iterable[Index], where: Boolean = sp.true) -> Reduction:
        return Expr.__new__(cls, op if isinstance(op, Str) else Str(op), expression, Tuple(*bound), where)

    @property
    def op(self) -> str:
        return str(self.args[0].name)

    @property
    def expression(self) -> Expr:
        return self.args[1]

    @property
    def bound(self) -> tuple[Index, ...]:
        return tuple(self.args[2])

    @property
    def where(self) -> Boolean:
        return self.args[3]

    def _sympystr(self, printer: object) -> str:
        condition = "" if self.where is sp.true else f" where {self.where}"
        return f"{self.op}_{','.join(i.name for i in self.bound)}({self.expression}{condition})"


def element(equations: Sequence[Equation], own: Sequence[Index]) -> Expr:
    """The element at `own` of the tensor that the equations define: the sum of their reductions."""
    return sp.Add(*(reduced(aligned(equation, own)) for equation in equations))


def reduced(equation: Equation) -> Expr:
    """What an equation contributes to the element on its left-hand side."""
    if equation.op == "sum" and not equation.bound and equation.where is sp.true:
        return equation.rhs
    if equation.op == "sum" and equation.rhs.as_coeff_Mul()[0].is_negative:
        return -Reduction(equation.op, -equation.rhs, equation.bound, equation.where)
    return Reduction(equation.op, equation.rhs, equation.bound, equation.where)


def at(expression: Expr, access: Access, own: Sequence[Index]) -> Expr:
    """The element of a tensor, given at `own`, at the subscripts of an access; bound indices make room."""
    from .alignment import apart

    taken = {i.name for s in access.subscripts for i in s.atoms(Index)}
    return apart(expression, taken).xreplace(dict(zip(own, access.subscripts, strict=True)))


class Applied(Expr):
    """A function that has a letter, or its derivative, of one element: f(z[n,i]), f'(z[n,i])."""

    is_commutative = True
    is_real = True

    @property
    def letter(self) -> str:
        return str(self.args[0].name)

    @property
    def argument(self) -> Expr:
        return self.args[1]

    def _sympystr(self, printer: object) -> str:
        return f"{self.letter}({self.argument})"
