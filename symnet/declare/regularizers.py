"""Penalties: a table of formulas in one weight w, summed over all weight matrices (not over biases, slopes or betas).

In: a Spec and its weight matrices.  Out: equations whose sum is the rank-0 tensor `penalty`, which network.py adds to
the loss:  R = loss + penalty.  A network has a strength for all layers, and a layer may have another; each is a
hyper-parameter, so a run-time argument.  Kink: |w| has slope 0 at 0.  Source: Qiu, Neural Networks and Deep Learning,
ch. 4.3.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compiler.program import Equation, Tensor

    from .spec import Spec


@dataclass(frozen=True, slots=True)
class Row:
    """A penalty: `formula` in w and `strength`; the strength is the hyper-parameter `symbol`.

    Its name is the key of a network, and of a layer, that gives the strength.
    """

    name: str
    symbol: str
    formula: str


ROWS: tuple[Row, ...] = (Row("l2", "lambda", "strength/2*w**2"), Row("l1", "lambda_1", "strength*abs(w)"))
TABLE: Mapping[str, Row] = MappingProxyType({row.name: row for row in ROWS})


def strength(row: Row, spec: Spec, number: int) -> tuple[str, float]:
    """(hyper-parameter, its value) of a layer: its own, lambda_<1 or 2>_<number of the layer>, or the network's."""
    own: float | None = getattr(spec.layers[number - 1], row.name, None)
    if own is None:
        return row.symbol, getattr(spec, row.name)
    return f"lambda_{row.name[1:]}_{number}", own


def hyper(spec: Spec) -> dict[str, float]:
    """All strengths that are not 0, by symbol."""
    found = {row.symbol: getattr(spec, row.name) for row in ROWS}
    found |= dict(strength(row, spec, number + 1) for row in ROWS for number in range(len(spec.layers)))
    return {symbol: value for symbol, value in found.items() if value}


def penalty() -> Tensor:
    """The rank-0 tensor that all penalties add to."""
    from compiler.program import Tensor

    return Tensor("penalty")


def build(spec: Spec, weights: Iterable[tuple[int, Tensor]]) -> tuple[Equation, ...]:
    """One equation for each penalty of each weight matrix (number of its layer, tensor), all adding to `penalty`."""
    import sympy as sp

    from compiler.program import Access, Equation, Tensor

    from ..formulation.formula import parse
    from ..formulation.layers import own_indices

    w, factor = sp.Symbol("w", real=True), sp.Symbol("strength", real=True)
    weights = tuple(weights)
    equations = []
    for row in ROWS:
        formula = parse(row.formula, {"w": w, "strength": factor})
        for number, weight in weights:
            symbol, value = strength(row, spec, number)
            if value:
                indices = own_indices(weight)
                at = {w: Access(weight, *indices), factor: Access(Tensor(symbol, (), "hyper"))}
                equations.append(Equation(Access(penalty()), indices, formula.xreplace(at)))
    return tuple(equations)
