"""Losses: a table.  Each says, as equations, what `ell[n]` is, the loss of sample n.

In: a checked choice, the prediction tensor z of shape (N, K) and how targets are given.  Out: a Loss: equations that
end in ell, the target tensor y, and what the data promise of it.  The mean over samples is taken by network.py.

Most are a formula in `prediction` and `target`, whose mean over the outputs is ell:  ell[n] = (1/K) sum_k f(z, y).
Those of a classifier take labels (integers, y of shape (N,)) or distributions (y of shape (N, K), rows that sum to 1).
The table loads no SymPy.

Kinks: absolute_error has slope 0 at 0, hinge at its corner.  Sources: Qiu, Neural Networks and Deep Learning, ch. 2
and 4.3.3; huber: Huber 1964.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .errors import complaint, unknown

if TYPE_CHECKING:
    from compiler.program import Equation, Tensor

LABELS, DISTRIBUTION, VALUES = "labels", "distribution", "values"


@dataclass(frozen=True, slots=True)
class Row:
    """A loss: `formula` in prediction and target, or none for the two of a classifier, whose equations stand below.

    probabilities: what a classifier's output means: "softmax" (net inputs) or "identity" (they are probabilities).
    """

    name: str
    formula: str = ""
    parameters: Mapping[str, float] = field(default_factory=dict)
    targets: tuple[str, ...] = (VALUES,)
    probabilities: str = ""
    aliases: tuple[str, ...] = ()

    @property
    def is_classifier(self) -> bool:
        return self.targets != (VALUES,)


# fmt: off
ROWS: tuple[Row, ...] = (
    Row("softmax_cross_entropy", targets=(LABELS, DISTRIBUTION), probabilities="softmax"),
    Row("cross_entropy", targets=(LABELS, DISTRIBUTION), probabilities="identity"),
    Row("squared_error", "(prediction - target)**2", aliases=("mse", "mean_squared_error")),
    Row("absolute_error", "abs(prediction - target)", aliases=("mae", "mean_absolute_error")),
    Row("huber", "where(prediction - target < -delta, -delta*(prediction - target + delta/2),"
        " where(prediction - target > delta, delta*(prediction - target - delta/2), (prediction - target)**2/2))",
        {"delta": 1.0}),
    # on net inputs; target in [0, 1]; both terms are positive, so nothing cancels
    Row("binary_cross_entropy", "target*softplus(-prediction) + (1 - target)*softplus(prediction)"),
    Row("hinge", "where(target*prediction >= 1, 0, 1 - target*prediction)"),  # targets -1 and 1
    Row("poisson", "exp(prediction) - target*prediction"),  # the prediction is the logarithm of the rate
)
# fmt: on
TABLE: Mapping[str, Row] = MappingProxyType({name: row for row in ROWS for name in (row.name, *row.aliases)})


@dataclass(frozen=True, slots=True)
class Loss:
    """Equations that define `ell`, reading the prediction and `target`; `facts` are what the data promise of target."""

    equations: tuple[Equation, ...]
    ell: Tensor
    target: Tensor
    facts: tuple[Equation, ...] = ()


def row(name: str, options: Mapping[str, Any], where: str) -> Row:
    """The row of a choice, its options checked; a formula of the user's own makes a row of its own."""
    if not name:
        for key in options:
            if key not in ("formula", "parameters"):
                raise unknown(where, "option of a formula", key, ("formula", "parameters"))
        own = Row("", options["formula"], dict(options.get("parameters", ())))
        _numbers(own.parameters, where)
        _scalar(own, own.parameters)
        return own
    if name not in TABLE:
        raise unknown(where, "loss", name, TABLE)
    found = TABLE[name]
    for key in options:
        if key not in found.parameters:
            raise unknown(where, f"option of {name}", key, found.parameters)
    _numbers(options, where)
    return found


def _numbers(values: Mapping[str, Any], where: str) -> None:
    for key, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e30:
            raise complaint(f"{where}, {key}", value, "a number")


def build(chosen: Row, options: Mapping[str, Any], prediction: Tensor, given: str) -> Loss:
    """The equations of a loss; `given` is one of the row's targets."""
    from compiler.program import Equation, Index, Tensor

    rows, outputs = prediction.shape
    n, k = Index("n", rows), Index("k", outputs)
    ell = Tensor("ell", (rows,))
    if given == LABELS:
        y = Tensor("y", (rows,), "target", "integer")
        equations = (*_softmax(chosen, prediction), Equation(ell[n], (n,), _label_term(chosen, prediction, y)))
        return Loss(equations, ell, y)
    y = Tensor("y", (rows, outputs), "target")
    if given == DISTRIBUTION:
        equations = (*_softmax(chosen, prediction), Equation(ell[n], (n, k), _distribution_term(chosen, prediction, y)))
        # "every row sums to 1": for each n, the sum over k of y[n,k] is what the tensor "one" stands for
        return Loss(equations, ell, y, (Equation(Tensor("one", (rows,))[n], (n, k), y[n, k]),))
    values = {**chosen.parameters, **(options if chosen.name else {})}
    names, scalar = _scalar(chosen, values)
    rhs = scalar.xreplace({names["prediction"]: prediction[n, k], names["target"]: y[n, k]}) / outputs
    return Loss((Equation(ell[n], (n, k), rhs),), ell, y)


def _scalar(chosen: Row, values: Mapping[str, float]) -> tuple[dict[str, Any], Any]:
    """(the symbols of prediction and target, the formula in them)"""
    import sympy as sp

    from .activations import named_functions
    from .formula import number, parse

    names = {name: sp.Symbol(name, real=True) for name in ("prediction", "target")}
    fixed = {key: number(value) for key, value in values.items()}
    return names, parse(chosen.formula, {**fixed, **names}, {} if chosen.name else named_functions(), "loss, formula")


def _softmax(chosen: Row, prediction: Tensor) -> tuple[Equation, ...]:
    """lse[n] = logsumexp_k z[n,k], where the outputs are net inputs of a softmax."""
    from compiler.program import Equation, Index

    if chosen.probabilities != "softmax":
        return ()
    n, k = Index("n", prediction.shape[0]), Index("k", prediction.shape[1])
    return (Equation(normalizer(prediction)[n], (n, k), prediction[n, k], "logsumexp"),)


def normalizer(prediction: Tensor) -> Tensor:
    """The tensor lse: the softmax of z is exp(z[n,k] - lse[n])."""
    from compiler.program import Tensor

    return Tensor("lse", (prediction.shape[0],))


def _label_term(chosen: Row, z: Tensor, y: Tensor) -> Any:
    import sympy as sp

    from compiler.program import Index

    n = Index("n", z.shape[0])
    at_label = z[n, y[n]]
    return normalizer(z)[n] - at_label if chosen.probabilities == "softmax" else -sp.log(at_label)


def _distribution_term(chosen: Row, z: Tensor, y: Tensor) -> Any:
    import sympy as sp

    from compiler.program import Index

    n, k = Index("n", z.shape[0]), Index("k", z.shape[1])
    if chosen.probabilities == "softmax":
        return y[n, k] * (normalizer(z)[n] - z[n, k])
    return sp.Piecewise((0, sp.Eq(y[n, k], 0)), (-y[n, k] * sp.log(z[n, k]), True))  # 0 log 0 = 0


def probabilities(chosen: Row, prediction: Tensor) -> tuple[Tensor, tuple[Equation, ...]] | None:
    """The class probabilities of a classifier and the equations that define them."""
    import sympy as sp

    from compiler.program import Equation, Index, Tensor

    if chosen.probabilities == "identity":
        return prediction, ()
    if not chosen.probabilities:
        return None
    n, k = Index("n", prediction.shape[0]), Index("k", prediction.shape[1])
    p = Tensor("p", prediction.shape)
    rhs = sp.exp(prediction[n, k] - normalizer(prediction)[n])
    return p, (*_softmax(chosen, prediction), Equation(p[n, k], (n, k), rhs))
