"""Penalties: a table of formulas in one weight w, summed over all weight matrices (not over biases, slopes or betas).

In: the strength's name and the weight matrices.  Out: equations whose sum is the rank-0 tensor `penalty`, which
network.py adds to the loss:  R = loss + penalty.  Source: Qiu, Neural Networks and Deep Learning, ch. 4.3.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compiler.program import Equation, Tensor


@dataclass(frozen=True, slots=True)
class Row:
    """A penalty: `formula` in w and `strength`; the strength is the hyper-parameter `symbol`."""

    name: str
    symbol: str
    formula: str


ROWS: tuple[Row, ...] = (Row("l2", "lambda", "strength/2*w**2"), Row("l1", "lambda_1", "strength*abs(w)"))
TABLE: Mapping[str, Row] = MappingProxyType({row.name: row for row in ROWS})


def penalty() -> Tensor:
    """The rank-0 tensor that all penalties add to."""
    from compiler.program import Tensor

    return Tensor("penalty")


def build(row: Row, weights: Iterable[Tensor]) -> tuple[Equation, ...]:
    """One equation for each weight matrix, all adding to `penalty`."""
    import sympy as sp

    from compiler.program import Access, Equation, Tensor

    from .formula import parse
    from .layers import own_indices

    w, strength = sp.Symbol("w", real=True), sp.Symbol("strength", real=True)
    formula = parse(row.formula, {"w": w, "strength": strength})
    value = Access(Tensor(row.symbol, (), "hyper"))
    equations = []
    for weight in weights:
        indices = own_indices(weight)
        rhs = formula.xreplace({w: Access(weight, *indices), strength: value})
        equations.append(Equation(Access(penalty()), indices, rhs))
    return tuple(equations)
