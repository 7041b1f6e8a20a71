"""Losses: a table.  Each says, as equations, what `ell[n]` is, the loss of sample n.

In: a choice of a spec.  Out: its row, checked; how targets may be given to it; its run-time arguments.  The equations
of a loss for a prediction tensor z of shape (N, K) are written by loss_equations.py, the mean over samples is taken by
network.py.

A prediction of shape (N, T, K), or with more axes between the samples and the last, has a loss at each position (a time
step, a node, a pixel); ell[n] = (1/T) sum_t (the loss of z[n,t,:]), the mean over the positions, so below n stands for
n and the positions together.  Labels are then of shape (N, T), values and distributions of shape (N, T, K).

equations  lines of text (equation_text.py) that define ell[n] from prediction[n,k] and target[n,k]; with
           targets = "labels" from target[n], the label; with positions ell[n], or ell[n,t] whose mean is taken
values     a formula in `prediction` and `target`, whose mean over the outputs is ell:  ell[n] = (1/K) sum_k f(z, y)
classes    ell[n] = -sum_k y[n,k] log p[n,k]: targets are labels (integers, y of shape (N,)) or distributions (y of
           shape (N, K), rows that sum to 1)
binary     ell[n] = -(1/K) sum_k (y log p + (1-y) log(1-p)): targets are values from 0 to 1, and labels 0 and 1 if K = 1

p is the softmax (the logistic function) of net inputs z, or z itself; in that case the definition of z is looked up,
and where it is an exponential or a logistic function its logarithm is written without it, so that cross_entropy after
a softmax is the very same equation as softmax_cross_entropy.  cross_entropy of one output is that of two classes.

Options of a classifier: `label_smoothing` s makes y (1-s) y + s/(number of classes); `class_weights` c multiply the
terms of the sum by c[k].  Weights of samples multiply ell; where each position has a weight of its own (the mask of
padded time steps, or of a graph's nodes), it multiplies the loss at that position.  The loss is the mean over all
samples and positions whatever the weights are.  The table loads no SymPy.

Kinks: absolute_error has slope 0 at 0, hinge at its corner.  Sources: Qiu, Neural Networks and Deep Learning, ch. 2
and 4.3.3; huber: Huber 1964; gaussian_nll: Nix and Weigend 1994; label smoothing: Szegedy et al. 2016.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..errors import Quoted, complaint, unknown
from .checks import integer, lines
from .schedules import table

if TYPE_CHECKING:
    pass

LABELS, DISTRIBUTION, VALUES = "labels", "distribution", "values"
WEIGHTED = ", weighted"  # ends the kind of target where every sample has a weight
BY_POSITION = ", weighted by position"  # and where every position of every sample has one
CLASSES, BINARY = "classes", "binary"
SIGNS, COUNTS = "signs", "counts"  # targets -1 and 1; targets that are not negative
CLASSIFIER_OPTIONS = ("label_smoothing", "class_weights")


@dataclass(frozen=True, slots=True)
class Row:
    """A loss: `formula` in target and `heads`, or none for those of a classifier, whose equations stand below.

    kind: see above.  net: what makes probabilities of a classifier's outputs, "" if they are probabilities.  heads: the
    formula's names for the outputs: with two, the first half of the outputs and the second.  domain: SIGNS or
    COUNTS, where not every number is a target.  Parameters are above 0.  columns: numbers of a target, if they are not
    as many as outputs.
    """

    name: str
    formula: str = ""
    parameters: Mapping[str, float] = field(default_factory=dict)
    kind: str = VALUES
    net: str = ""
    heads: tuple[str, ...] = ("prediction",)
    lines: tuple[str, ...] = ()
    domain: str = ""
    aliases: tuple[str, ...] = ()
    columns: int = 0

    @property
    def is_classifier(self) -> bool:
        return self.kind != VALUES


# fmt: off
ROWS: tuple[Row, ...] = (
    Row("softmax_cross_entropy", kind=CLASSES, net="softmax"),
    Row("cross_entropy", kind=CLASSES),
    Row("binary_cross_entropy", kind=BINARY, net="logistic"),
    Row("squared_error", "(prediction - target)**2", aliases=("mse", "mean_squared_error")),
    Row("absolute_error", "abs(prediction - target)", aliases=("mae", "mean_absolute_error")),
    Row("huber", "where(prediction - target < -delta, -delta*(prediction - target + delta/2),"
        " where(prediction - target > delta, delta*(prediction - target - delta/2), (prediction - target)**2/2))",
        {"delta": 1.0}),
    Row("hinge", "where(target*prediction >= 1, 0, 1 - target*prediction)", domain=SIGNS),
    # the prediction is the logarithm of the rate
    Row("poisson", "exp(prediction) - target*prediction", domain=COUNTS),
    # without the constant log(2 pi)/2; the second half of the outputs are the logarithms of the variances
    Row("gaussian_nll", "(log_variance + (prediction - target)**2*exp(-log_variance))/2",
        heads=("prediction", "log_variance")),
)
# fmt: on
TABLE: Mapping[str, Row] = MappingProxyType({name: row for row in ROWS for name in (row.name, *row.aliases)})


# ---------------------------------------------------------------------------------------------- checks
def row(name: str, options: Mapping[str, Any], where: str) -> Row:
    """The row of a choice, its options checked; a formula of the user's own makes a row of its own."""
    from ..formulation.loss_equations import read_formula

    if not name and "equations" in options:
        return _own(options, where)
    if not name:
        for key in options:
            if key not in ("formula", "parameters"):
                raise unknown(where, "option of a formula", key, ("formula", "parameters"))
        own = Row("", options["formula"], table(options.get("parameters", ()), f"{where}, parameters"))
        _numbers(own.parameters, where)
        read_formula(own, own.parameters)
        return own
    if name not in TABLE:
        raise unknown(where, "loss", name, TABLE)
    found = TABLE[name]
    known = CLASSIFIER_OPTIONS if found.is_classifier else tuple(found.parameters)
    for key in options:
        if key not in known:
            raise unknown(where, f"option of {name}", key, known)
    _numbers({key: value for key, value in options.items() if key != "class_weights"}, where)
    for key in found.parameters:
        if options.get(key, 1) <= 0:
            raise complaint(f"{where}, {key}", options[key], "a number above 0")
    if not 0 <= options.get("label_smoothing", 0) < 1:
        raise complaint(f"{where}, label_smoothing", options["label_smoothing"], "a number from 0 to below 1")
    if "class_weights" in options:
        weights = options["class_weights"]
        if not isinstance(weights, list | tuple) or not weights:
            raise complaint(f"{where}, class_weights", weights, "a list of numbers, one for each class")
        _numbers(dict(enumerate(weights)), f"{where}, class_weights")
        if min(weights) < 0 or max(weights) <= 0:
            raise complaint(f"{where}, class_weights", weights, "numbers of at least 0, not all of them 0")
    return found


def _own(options: Mapping[str, Any], where: str) -> Row:
    """A loss in equations.  If it takes labels, outputs count as net inputs of a softmax."""
    known = ("equations", "sizes", "targets", "columns")
    for key in options:
        if key not in known:
            raise unknown(where, "option of equations", key, known)
    given = options.get("targets", VALUES)
    if given not in (VALUES, LABELS):
        raise unknown(f"{where}, targets", "kind of target", given, (VALUES, LABELS))
    text = lines(options["equations"], f"{where}, equations")
    if given == LABELS:
        return Row("", kind=CLASSES, net="softmax", lines=text)
    return Row("", lines=text, columns=integer(0)(options.get("columns", 0), f"{where}, columns"))


def _numbers(values: Mapping[Any, Any], where: str) -> None:
    for key, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e30:
            raise complaint(f"{where}, {key}", value, "a number")


def check_outputs(
    chosen: Row,
    options: Mapping[str, Any],
    shape: tuple[int, ...],
    where: str,
    inputs: Mapping[str, tuple[int, ...]] = MappingProxyType({}),
) -> None:
    """Raise SymnetError unless a network with outputs of this shape, for one sample, can have this loss."""
    heads, outputs = len(chosen.heads), shape[-1]
    if outputs % heads:
        expected = f"a multiple of {heads}: {' and '.join(chosen.heads)} for each target"
        raise complaint(where, Quoted(f"{outputs} outputs under {chosen.name}"), expected)
    if chosen.lines:
        from compiler.program import Tensor, size

        from ..formulation.loss_equations import build

        given = {name: Tensor(name, (size("N"), *own), "input") for name, own in inputs.items()}
        prediction = Tensor("prediction", (size("N"), *shape))
        build(chosen, options, prediction, targets(chosen, outputs)[0], inputs=given)
    weights = options.get("class_weights")
    if weights is not None and len(weights) != classes(chosen, outputs):
        raise complaint(f"{where}, class_weights", weights, f"{classes(chosen, outputs)} numbers, one for each class")


# ---------------------------------------------------------------------------------------------- targets
def is_binary(chosen: Row, outputs: int) -> bool:
    """Every output by itself decides between two classes."""
    return chosen.kind == BINARY or (chosen.kind == CLASSES and not chosen.net and outputs == 1)


def targets(chosen: Row, outputs: int) -> tuple[str, ...]:
    """How targets may be given, the default first."""
    if chosen.lines:
        return (LABELS,) if chosen.is_classifier else (VALUES,)
    if is_binary(chosen, outputs):
        return (LABELS, VALUES) if outputs == 1 else (VALUES,)
    return (LABELS, DISTRIBUTION) if chosen.is_classifier else (VALUES,)


def parted(given: str) -> tuple[str, str]:
    """(one of the targets, how there are weights: "", WEIGHTED or BY_POSITION)"""
    kind = given.removesuffix(BY_POSITION).removesuffix(WEIGHTED)
    return kind, given[len(kind) :]


def classes(chosen: Row, outputs: int) -> int:
    """How many classes a classifier tells apart."""
    return 2 if is_binary(chosen, outputs) else outputs


def target_width(chosen: Row, outputs: int) -> int:
    """Numbers of one target, where it is no label."""
    return chosen.columns or outputs // len(chosen.heads)


def hyper(options: Mapping[str, Any]) -> dict[str, float]:
    """Hyper-parameters of the equations: run-time arguments."""
    return {"smoothing": float(options["label_smoothing"])} if "label_smoothing" in options else {}


def constants(options: Mapping[str, Any]) -> dict[str, tuple[float, ...]]:
    """Constant tensors of the equations with their values: run-time arguments, too."""
    return {"class_weights": tuple(map(float, options["class_weights"]))} if "class_weights" in options else {}


def structure(options: Iterable[tuple[str, Any]]) -> tuple[tuple[str, Any], ...]:
    """The options with other values for what is a run-time argument."""
    same = {"label_smoothing": lambda given: 0.5, "class_weights": lambda given: (1.0,) * len(given)}
    return tuple((key, same[key](value) if key in same else value) for key, value in options)
