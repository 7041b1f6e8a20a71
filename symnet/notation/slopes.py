"""Activations by a letter: a = f(z) and f'(z), with one definition each.

In: a program, and the adjoint of each of its tensors.  Out: the program with `Applied` in the place of the function and
of its slope, and the definitions of both, as formulas.  Functions of one quantity that are applied element by element
have a letter; others (with a learned parameter, say) stay written out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import sympy as sp
from sympy import Expr
from sympy.core.symbol import Str

from compiler.program import Access, Equation, Index, Program, Tensor, outer_accesses

from ..differentiate import partial_derivatives
from .nodes import Call, Equal, Name
from .reduction import Applied
from .scalar import Scalars
from .textbook import Book

LETTERS = ("f", "g", "h", "φ", "ψ")


@dataclass(frozen=True, slots=True)
class Lettered:
    """A program whose activations have letters, and what the letters mean."""

    program: Program
    definitions: tuple[Equal, ...]


def lettered(program: Program, adjoints: Mapping[Tensor, Tensor]) -> Lettered:
    """The program with f and f'."""
    letters: dict[Expr, str] = {}
    z = Tensor("z")
    new = {equation: equation for equation in program.equations}
    definitions: list[Equal] = []
    scalars = Scalars(Book(Program((), ())), None, z)
    for tensor, equations in program.definitions.items():
        found = _activation(equations)
        if found is None:
            continue
        equation, net, slope = found
        function = equation.rhs.xreplace({net: Access(z)})
        if function not in letters:
            taken = len(letters)
            letter = LETTERS[taken] if taken < len(LETTERS) else f"f_{taken}"
            letters[function] = letter
            for text, meaning in ((letter, function), (f"{letter}'", slope.xreplace({net: Access(z)}))):
                definitions.append(Equal(Call(text, (Name("z"),)), scalars.cases(meaning)))
        letter = letters[function]
        new[equation] = Equation(equation.lhs, equation.domain, Applied(Str(letter), net))
        above, below = adjoints.get(tensor), adjoints.get(net.tensor)
        if above is None or below is None:
            continue
        for other in program.definitions.get(below, ()):
            if other.rhs == Access(above, *equation.lhs.subscripts) * slope:
                rhs = sp.Mul(Access(above, *equation.lhs.subscripts), Applied(Str(f"{letter}'"), net))
                new[other] = Equation(other.lhs, other.domain, rhs, other.op, other.where)
    return Lettered(program.with_equations(new[e] for e in program.equations), tuple(definitions))


def _activation(equations: tuple[Equation, ...]) -> tuple[Equation, Access, Expr] | None:
    """(a = f(z), z, f'(z)) if that is what the equations say"""
    (equation, *more) = equations
    if more or equation.op != "sum" or equation.bound or equation.where is not sp.true:
        return None
    reads = outer_accesses(equation.rhs)
    if len(reads) != 1 or reads[0].subscripts != equation.lhs.subscripts or equation.rhs == reads[0]:
        return None
    if not all(isinstance(s, Index) for s in equation.lhs.subscripts):
        return None
    slopes = partial_derivatives(equation)
    if len(slopes) != 1 or not slopes[0][1].has(Access):
        return None
    return equation, reads[0], slopes[0][1]
