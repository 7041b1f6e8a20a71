"""Losses: a table.  Each says, as equations, what `ell[n]` is, the loss of sample n.

In: a checked choice, the prediction tensor z of shape (N, K) and how targets are given.  Out: a Loss: equations that
end in ell, the target tensor y, and what the data promise of it.  The mean over samples is taken by network.py.

equations  lines of text (equation_text.py) that define ell[n] from prediction[n,k] and target[n,k]; with
           targets = "labels" from target[n], the label
values     a formula in `prediction` and `target`, whose mean over the outputs is ell:  ell[n] = (1/K) sum_k f(z, y)
classes    ell[n] = -sum_k y[n,k] log p[n,k]: targets are labels (integers, y of shape (N,)) or distributions (y of
           shape (N, K), rows that sum to 1)
binary     ell[n] = -(1/K) sum_k (y log p + (1-y) log(1-p)): targets are values from 0 to 1, and labels 0 and 1 if K = 1

p is the softmax (the logistic function) of net inputs z, or z itself; in that case the definition of z is looked up,
and where it is an exponential or a logistic function its logarithm is written without it, so that cross_entropy after
a softmax is the very same equation as softmax_cross_entropy.  cross_entropy of one output is that of two classes.

Options of a classifier: `label_smoothing` s makes y (1-s) y + s/(number of classes); `class_weights` c multiply the
terms of the sum by c[k].  Weights of samples multiply ell.  The loss is the mean over samples whatever the weights are.
The table loads no SymPy.

Kinks: absolute_error has slope 0 at 0, hinge at its corner.  Sources: Qiu, Neural Networks and Deep Learning, ch. 2
and 4.3.3; huber: Huber 1964; gaussian_nll: Nix and Weigend 1994; label smoothing: Szegedy et al. 2016.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .checks import integer, lines
from .errors import Quoted, complaint, unknown

if TYPE_CHECKING:
    from sympy import Expr

    from compiler.program import Equation, Tensor

LABELS, DISTRIBUTION, VALUES = "labels", "distribution", "values"
WEIGHTED = ", weighted"  # ends the kind of target where every sample has a weight
CLASSES, BINARY = "classes", "binary"
SIGNS, COUNTS = "signs", "counts"  # targets -1 and 1; targets that are not negative
CLASSIFIER_OPTIONS = ("label_smoothing", "class_weights")


@dataclass(frozen=True, slots=True)
class Row:
    """A loss: `formula` in target and `heads`, or none for those of a classifier, whose equations stand below.

    kind: see above.  net: what makes probabilities of a classifier's outputs, "" if they are probabilities.  heads: the
    formula's names for the outputs: with two, the first half of the outputs and the second.  domain: SIGNS or
    COUNTS, where not every number is a target.  Parameters are above 0.
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


@dataclass(frozen=True, slots=True)
class Loss:
    """Equations that define `ell`, reading the prediction and `target`; `facts` are what the data promise of target.

    weight: the weights of the samples, if they have any.
    """

    equations: tuple[Equation, ...]
    ell: Tensor
    target: Tensor
    facts: tuple[Equation, ...] = ()
    weight: Tensor | None = None


# ---------------------------------------------------------------------------------------------- checks
def row(name: str, options: Mapping[str, Any], where: str) -> Row:
    """The row of a choice, its options checked; a formula of the user's own makes a row of its own."""
    if not name and "equations" in options:
        return _own(options, where)
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
    known = ("equations", "sizes", "targets")
    for key in options:
        if key not in known:
            raise unknown(where, "option of equations", key, known)
    given = options.get("targets", VALUES)
    if given not in (VALUES, LABELS):
        raise unknown(f"{where}, targets", "kind of target", given, (VALUES, LABELS))
    text = lines(options["equations"], f"{where}, equations")
    return Row("", kind=CLASSES if given == LABELS else VALUES, net="softmax" if given == LABELS else "", lines=text)


def _numbers(values: Mapping[Any, Any], where: str) -> None:
    for key, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e30:
            raise complaint(f"{where}, {key}", value, "a number")


def check_outputs(chosen: Row, options: Mapping[str, Any], outputs: int, where: str) -> None:
    """Raise SymnetError unless a network with so many outputs can have this loss."""
    heads = len(chosen.heads)
    if outputs % heads:
        expected = f"a multiple of {heads}: {' and '.join(chosen.heads)} for each target"
        raise complaint(where, Quoted(f"{outputs} outputs under {chosen.name}"), expected)
    if chosen.lines:
        from compiler.program import Tensor, size

        build(chosen, options, Tensor("prediction", (size("N"), outputs), "input"), targets(chosen, outputs)[0])
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


def classes(chosen: Row, outputs: int) -> int:
    """How many classes a classifier tells apart."""
    return 2 if is_binary(chosen, outputs) else outputs


def target_width(chosen: Row, outputs: int) -> int:
    """Numbers of one target, where it is no label."""
    return outputs // len(chosen.heads)


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


# ---------------------------------------------------------------------------------------------- equations
def build(
    chosen: Row, options: Mapping[str, Any], prediction: Tensor, given: str, forward: Iterable[Equation] = ()
) -> Loss:
    """The equations of a loss; `given` is one of its targets, `forward` defines the prediction."""
    from compiler.program import Index, Tensor

    weighted = given.endswith(WEIGHTED)
    given = given.removesuffix(WEIGHTED)
    rows, outputs = prediction.shape
    width = target_width(chosen, int(outputs))
    y = Tensor("y", (rows,), "target", "integer") if given == LABELS else Tensor("y", (rows, width), "target")
    if chosen.lines:
        made = _read(chosen, options, prediction, y)
    elif not chosen.is_classifier:
        made = _mean(chosen, options, prediction, y)
    elif is_binary(chosen, int(outputs)):
        made = _binary(chosen, options, prediction, y, forward)
    else:
        made = _classes(chosen, options, prediction, y, forward)
    if not weighted:
        return made
    n = Index("n", rows)
    weight = Tensor("sample_weight", (rows,), "target")
    scaled = tuple(replace(e, rhs=weight[n] * e.rhs) if e.tensor == made.ell else e for e in made.equations)
    return replace(made, equations=scaled, weight=weight)


def _read(chosen: Row, options: Mapping[str, Any], prediction: Tensor, y: Tensor) -> Loss:
    """ell as the user's equations define it"""
    from .equation_text import read

    where = "loss, equations"
    sizes = {name: integer(1)(value, f"loss, sizes, {name}") for name, value in dict(options.get("sizes", ())).items()}
    known = {"prediction": prediction, "target": y}
    reading = read(chosen.lines, known, {}, sizes, lambda name: name if name == "ell" else f"{name}_loss", where)
    ell = reading.tensors.get("ell")
    if ell is None or ell.shape != prediction.shape[:1] or ell.kind != "real":
        raise complaint(
            where, Quoted(f"definitions of {', '.join(reading.defined)}"), "one of ell[n], the loss of a sample"
        )
    return Loss(reading.equations, ell, y)


def _mean(chosen: Row, options: Mapping[str, Any], prediction: Tensor, y: Tensor) -> Loss:
    """ell[n] = (1/K) sum_k f"""
    from compiler.program import Equation, Index, Tensor

    rows, width = y.shape
    n, k, ell = Index("n", rows), Index("k", width), Tensor("ell", (rows,))
    values = {**chosen.parameters, **(options if chosen.name else {})}
    names, scalar = _scalar(chosen, values)
    heads = {names[head]: prediction[n, k + number * width] for number, head in enumerate(chosen.heads)}
    rhs = scalar.xreplace({**heads, names["target"]: y[n, k]}) / width
    return Loss((Equation(ell[n], (n, k), rhs),), ell, y)


def _scalar(chosen: Row, values: Mapping[str, float]) -> tuple[dict[str, Any], Any]:
    """(the symbols of the outputs and the target, the formula in them)"""
    import sympy as sp

    from .activations import named_functions
    from .formula import number, parse

    names = {name: sp.Symbol(name, real=True) for name in (*chosen.heads, "target")}
    fixed = {key: number(value) for key, value in values.items()}
    return names, parse(chosen.formula, {**fixed, **names}, {} if chosen.name else named_functions(), "loss, formula")


def _classes(
    chosen: Row, options: Mapping[str, Any], prediction: Tensor, y: Tensor, forward: Iterable[Equation]
) -> Loss:
    """ell[n] = -sum_k c[k] ((1-s) y[n,k] + s/K) log p[n,k]"""
    import sympy as sp

    from compiler.program import Equation, Index, Tensor

    rows, outputs = prediction.shape
    n, k, ell = Index("n", rows), Index("k", outputs), Tensor("ell", (rows,))
    if chosen.net:
        cost: Callable[[Any], Expr] = lambda at: normalizer(prediction)[n] - prediction[n, at]
        bounded, equations = True, list(softmax(prediction))
    else:
        cost, _, bounded = _costs(prediction, n, forward)
        equations = []
    weight, smoothing = _options(options, classes(chosen, int(outputs)))
    if y.rank == 1:
        equations.append(Equation(ell[n], (n,), (1 - smoothing) * weight(y[n]) * cost(y[n])))
        if smoothing != 0:
            equations.append(Equation(ell[n], (n, k), smoothing / outputs * weight(k) * cost(k)))
        return Loss(tuple(equations), ell, y)
    smoothed = (1 - smoothing) * y[n, k] + smoothing / outputs
    term = smoothed * weight(k) * cost(k)
    if not bounded and smoothing == 0:
        term = sp.Piecewise((0, sp.Eq(y[n, k], 0)), (term, True))  # 0 log 0 = 0
    # "every row sums to 1": for each n, the sum over k of y[n,k] is what the tensor "one" stands for
    fact = Equation(Tensor("one", (rows,))[n], (n, k), y[n, k])
    return Loss((*equations, Equation(ell[n], (n, k), term)), ell, y, (fact,))


def _binary(
    chosen: Row, options: Mapping[str, Any], prediction: Tensor, y: Tensor, forward: Iterable[Equation]
) -> Loss:
    """ell[n] = -(1/K) sum_k (c[1] y' log p + c[0] (1-y') log(1-p)),  y' = (1-s) y + s/2: both terms are positive"""
    import sympy as sp

    from compiler.functions import softplus
    from compiler.program import Equation, Index, Tensor

    rows, outputs = prediction.shape
    n, k, ell = Index("n", rows), Index("k", outputs), Tensor("ell", (rows,))
    if chosen.net:
        one, zero, bounded = softplus(-prediction[n, k]), softplus(prediction[n, k]), True
    else:
        cost, other, bounded = _costs(prediction, n, forward)
        one, zero = cost(k), other(k)
    weight, smoothing = _options(options, 2)
    one, zero = weight(1) * one, weight(0) * zero
    if y.rank == 1 and smoothing == 0:
        rhs = sp.Piecewise((one, sp.Eq(y[n], 1)), (zero, True))
    else:
        target = sp.Piecewise((1, sp.Eq(y[n], 1)), (0, True)) if y.rank == 1 else y[n, k]
        target = (1 - smoothing) * target + smoothing / 2
        terms = [(target, one), (1 - target, zero)]
        if not bounded:
            terms = [(1, sp.Piecewise((0, sp.Eq(share, 0)), (share * term, True))) for share, term in terms]
        rhs = sp.Add(*(share * term for share, term in terms))
    return Loss((Equation(ell[n], (n, k), rhs / outputs),), ell, y)


def _options(options: Mapping[str, Any], classes: int) -> tuple[Callable[[Any], Expr], Any]:
    """(the weight of a class, the smoothing): 1 and 0 where there are none"""
    import sympy as sp

    from compiler.program import Access, Tensor

    weights = Tensor("class_weights", (classes,), "constant")
    smoothing = Access(Tensor("smoothing", (), "hyper")) if "label_smoothing" in options else sp.Integer(0)
    return (lambda at: weights[at]) if "class_weights" in options else lambda at: sp.Integer(1), smoothing


def _costs(
    prediction: Tensor, n: Any, forward: Iterable[Equation]
) -> tuple[Callable[[Any], Expr], Callable[[Any], Expr], bool]:
    """(-log p[n,at], -log(1 - p[n,at]), whether both are always finite) of outputs that are probabilities.

    log exp(u) = u and log logistic(u) = -softplus(-u): where the prediction is defined so, nothing is rounded to 0.
    """
    import sympy as sp

    from compiler.functions import log1p, logistic, softplus

    defined = [e for e in forward if e.tensor == prediction]
    if len(defined) == 1 and defined[0].op == "sum" and not defined[0].bound and defined[0].where is sp.true:
        rhs, subscripts = defined[0].rhs, defined[0].lhs.subscripts
        if isinstance(rhs, sp.exp | logistic) and len(set(subscripts)) == len(subscripts) == len(defined[0].domain):

            def argument(at: Any) -> Expr:
                return rhs.args[0].xreplace(dict(zip(subscripts, (n, at), strict=True)))

            if isinstance(rhs, sp.exp):
                return (lambda at: -argument(at)), (lambda at: -log1p(-sp.exp(argument(at)))), True
            return (lambda at: softplus(-argument(at))), (lambda at: softplus(argument(at))), True
    return (lambda at: -sp.log(prediction[n, at])), (lambda at: -log1p(-prediction[n, at])), False


def softmax(prediction: Tensor) -> tuple[Equation, ...]:
    """lse[n] = logsumexp_k z[n,k]"""
    from compiler.program import Equation, Index

    n, k = Index("n", prediction.shape[0]), Index("k", prediction.shape[1])
    return (Equation(normalizer(prediction)[n], (n, k), prediction[n, k], "logsumexp"),)


def normalizer(prediction: Tensor) -> Tensor:
    """The tensor lse: the softmax of z is exp(z[n,k] - lse[n])."""
    from compiler.program import Tensor

    return Tensor("lse", (prediction.shape[0],))
