"""What a program costs as it is written: operations, and elements read and written.

In: a Program and its sizes.  Out: numbers for reports and comparisons.  Nothing is fused here: every equation reads its
tensors and writes its own.  A sparse tensor counts as a dense one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

from sympy import Expr, Integer

from ..program import Equation, Program, Tensor
from .rewriting import operations


@dataclass(frozen=True, slots=True)
class Cost:
    """operations: arithmetic and functions, each counted as one; elements: read and written."""

    operations: int
    elements: int

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.operations + other.operations, self.elements + other.elements)


def cost(program: Program, sizes: Mapping[str, int]) -> Cost:
    """Of all equations, for these sizes; a symbol that is not among them counts as 1."""
    return sum((equation_cost(e, sizes) for e in program.equations), Cost(0, 0))


def equation_cost(equation: Equation, sizes: Mapping[str, int]) -> Cost:
    """An equation visits each point of its domain; what is reduced takes one operation more there."""
    arithmetic, functions = operations(equation.rhs)
    points = _number((i.extent for i in equation.domain), sizes)
    tensors = dict.fromkeys([equation.tensor, *(a.tensor for a in equation.reads())])
    return Cost(
        points * (arithmetic + functions + bool(equation.bound)), sum(stored(tensor, sizes) for tensor in tensors)
    )


def stored(tensor: Tensor, sizes: Mapping[str, int]) -> int:
    """The number of elements of a tensor."""
    return _number(tensor.shape, sizes)


def _number(extents: Iterable[Expr], sizes: Mapping[str, int]) -> int:
    return prod(
        int(n if n.is_Integer else n.xreplace({s: Integer(sizes.get(s.name, 1)) for s in n.free_symbols}))
        for n in extents
    )
