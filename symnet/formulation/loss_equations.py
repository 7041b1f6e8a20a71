"""The equations of a loss.

In: a row of losses.py with its options, the prediction tensor z of shape (N, K) or (N, ..., K), how targets are given.
Out: a Loss: equations that end in ell, the target tensor y, and what the data promise of it.  Stands between losses.py
and network.py, which takes the mean over the samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..declare.checks import integer
from ..declare.losses import BY_POSITION, LABELS, Row, classes, is_binary, parted, target_width
from ..errors import Quoted, complaint

if TYPE_CHECKING:
    from sympy import Expr

    from compiler.program import Equation, Index, Tensor

POSITIONS = "ijlmpqr"  # indices of the axes between the samples and the classes, k


@dataclass(frozen=True, slots=True)
class Loss:
    """Equations that define `ell`, reading the prediction and `target`; `facts` are what the data promise of target.

    weight: the weights of the samples, or of their positions, if they have any.
    """

    equations: tuple[Equation, ...]
    ell: Tensor
    target: Tensor
    facts: tuple[Equation, ...] = ()
    weight: Tensor | None = None


def build(
    chosen: Row,
    options: Mapping[str, Any],
    prediction: Tensor,
    given: str,
    forward: Iterable[Equation] = (),
    inputs: Mapping[str, Tensor] = MappingProxyType({}),
) -> Loss:
    """The equations of a loss; `given` is one of its targets, `forward` defines the prediction from the inputs."""
    import sympy as sp

    from compiler.program import Tensor

    given, weighting = parted(given)
    lead, _ = places(prediction)
    *at, outputs = prediction.shape
    width = target_width(chosen, int(outputs))
    y = Tensor("y", at, "target", "integer") if given == LABELS else Tensor("y", (*at, width), "target")
    count = sp.Mul(*at[1:])
    own = lead if weighting == BY_POSITION else lead[:1]
    weight = Tensor("sample_weight", tuple(index.extent for index in own), "target") if weighting else None
    factor = weight[own] / count if weight else 1 / count
    if chosen.lines:
        return _read(chosen, options, prediction, y, weight, forward, inputs)
    if not chosen.is_classifier:
        made = _mean(chosen, options, prediction, y)
    elif is_binary(chosen, int(outputs)):
        made = _binary(chosen, options, prediction, y, forward)
    else:
        made = _classes(chosen, options, prediction, y, forward)
    scaled = tuple(replace(e, rhs=factor * e.rhs) if e.tensor == made.ell else e for e in made.equations)
    return replace(made, equations=scaled, weight=weight)


def places(prediction: Tensor) -> tuple[tuple[Index, ...], Index]:
    """(n and an index for each axis of positions, the index k of the classes or values)"""
    from compiler.program import Index

    *at, outputs = prediction.shape
    lead = tuple(Index(letter, extent) for letter, extent in zip("n" + POSITIONS, at, strict=False))
    return lead, Index("k", outputs)


def _read(
    chosen: Row,
    options: Mapping[str, Any],
    prediction: Tensor,
    y: Tensor,
    weight: Tensor | None,
    forward: Iterable[Equation],
    inputs: Mapping[str, Tensor],
) -> Loss:
    """ell as the user's equations define it: of samples, or of positions, whose mean is then taken"""
    import sympy as sp

    from compiler.program import Equation, Tensor

    from .equation_text import read

    where = "loss, equations"
    sizes = {name: integer(1)(value, f"loss, sizes, {name}") for name, value in dict(options.get("sizes", ())).items()}
    known = {**inputs, "prediction": prediction, "target": y}
    lead, _ = places(prediction)
    whole = len(lead) == 1 and weight is None  # the user's ell is ours

    def named(name: str) -> str:
        return name if name == "ell" and whole else f"{name}_loss"

    reading = read(chosen.lines, known, {}, sizes, named, where, below=forward)
    found, at = reading.tensors.get("ell"), prediction.shape[:-1]
    if found is None or found.shape not in (at, at[:1]) or found.kind != "real":
        shape = f"ell[{', '.join(index.name for index in lead)}], the loss at a position, or " if at[1:] else ""
        expected = f"one of {shape}ell[n], the loss of a sample"
        raise complaint(where, Quoted(f"definitions of {', '.join(reading.defined)}"), expected)
    if whole:
        return Loss(reading.equations, found, y)
    if weight is not None and weight.rank > found.rank:
        expected = "weights of shape (n,), or a loss that defines ell at each position"
        raise complaint(where, Quoted("weights of positions and ell[n], the loss of a whole sample"), expected)
    own = lead[: found.rank]
    ell, count = Tensor("ell", at[:1]), sp.Mul(*found.shape[1:])
    factor = weight[own[: weight.rank]] / count if weight else 1 / count
    mean = Equation(ell[own[0]], own, factor * found[own])
    return Loss((*reading.equations, mean), ell, y, weight=weight)


def _mean(chosen: Row, options: Mapping[str, Any], prediction: Tensor, y: Tensor) -> Loss:
    """ell[n] = (1/K) sum_k f"""
    from compiler.program import Equation, Index, Tensor

    *_, width = y.shape
    lead, _ = places(prediction)
    k, ell = Index("k", width), Tensor("ell", prediction.shape[:1])
    values = {**chosen.parameters, **(options if chosen.name else {})}
    names, scalar = read_formula(chosen, values)
    heads = {names[head]: prediction[*lead, k + number * width] for number, head in enumerate(chosen.heads)}
    rhs = scalar.xreplace({**heads, names["target"]: y[*lead, k]}) / width
    return Loss((Equation(ell[lead[0]], (*lead, k), rhs),), ell, y)


def read_formula(chosen: Row, values: Mapping[str, float]) -> tuple[dict[str, Any], Any]:
    """(the symbols of the outputs and the target, the formula in them)"""
    import sympy as sp

    from ..declare.activations import named_functions
    from .formula import number, parse

    names = {name: sp.Symbol(name, real=True) for name in (*chosen.heads, "target")}
    fixed = {key: number(value) for key, value in values.items()}
    return names, parse(chosen.formula, {**fixed, **names}, {} if chosen.name else named_functions(), "loss, formula")


def _classes(
    chosen: Row, options: Mapping[str, Any], prediction: Tensor, y: Tensor, forward: Iterable[Equation]
) -> Loss:
    """ell[n] = -sum_k c[k] ((1-s) y[n,k] + s/K) log p[n,k]"""
    import sympy as sp

    from compiler.program import Equation, Tensor

    *at, outputs = prediction.shape
    (lead, k), ell = places(prediction), Tensor("ell", at[:1])
    n = lead[0]
    if chosen.net:
        cost: Callable[[Any], Expr] = lambda c: normalizer(prediction)[lead] - prediction[*lead, c]
        bounded, equations = True, list(softmax(prediction))
    else:
        cost, _, bounded = _costs(prediction, lead, forward)
        equations = []
    weight, smoothing = _options(options, classes(chosen, int(outputs)))
    if y.kind == "integer":
        equations.append(Equation(ell[n], lead, (1 - smoothing) * weight(y[lead]) * cost(y[lead])))
        if smoothing != 0:
            equations.append(Equation(ell[n], (*lead, k), smoothing / outputs * weight(k) * cost(k)))
        return Loss(tuple(equations), ell, y)
    smoothed = (1 - smoothing) * y[*lead, k] + smoothing / outputs
    term = smoothed * weight(k) * cost(k)
    if not bounded and smoothing == 0:
        term = sp.Piecewise((0, sp.Eq(y[*lead, k], 0)), (term, True))  # 0 log 0 = 0
    # "every row sums to 1": for each n, the sum over k of y[n,k] is what the tensor "one" stands for
    fact = Equation(Tensor("one", at)[lead], (*lead, k), y[*lead, k])
    return Loss((*equations, Equation(ell[n], (*lead, k), term)), ell, y, (fact,))


def _binary(
    chosen: Row, options: Mapping[str, Any], prediction: Tensor, y: Tensor, forward: Iterable[Equation]
) -> Loss:
    """ell[n] = -(1/K) sum_k (c[1] y' log p + c[0] (1-y') log(1-p)),  y' = (1-s) y + s/2: both terms are positive"""
    import sympy as sp

    from compiler.functions import softplus
    from compiler.program import Equation, Tensor

    *at, outputs = prediction.shape
    (lead, k), ell = places(prediction), Tensor("ell", at[:1])
    if chosen.net:
        one, zero, bounded = softplus(-prediction[*lead, k]), softplus(prediction[*lead, k]), True
    else:
        cost, other, bounded = _costs(prediction, lead, forward)
        one, zero = cost(k), other(k)
    weight, smoothing = _options(options, 2)
    one, zero = weight(1) * one, weight(0) * zero
    labels = y.kind == "integer"
    if labels and smoothing == 0:
        rhs = sp.Piecewise((one, sp.Eq(y[lead], 1)), (zero, True))
    else:
        target = sp.Piecewise((1, sp.Eq(y[lead], 1)), (0, True)) if labels else y[*lead, k]
        target = (1 - smoothing) * target + smoothing / 2
        terms = [(target, one), (1 - target, zero)]
        if not bounded:
            terms = [(1, sp.Piecewise((0, sp.Eq(share, 0)), (share * term, True))) for share, term in terms]
        rhs = sp.Add(*(share * term for share, term in terms))
    return Loss((Equation(ell[lead[0]], (*lead, k), rhs / outputs),), ell, y)


def _options(options: Mapping[str, Any], classes: int) -> tuple[Callable[[Any], Expr], Any]:
    """(the weight of a class, the smoothing): 1 and 0 where there are none"""
    import sympy as sp

    from compiler.program import Access, Tensor

    weights = Tensor("class_weights", (classes,), "constant")
    smoothing = Access(Tensor("smoothing", (), "hyper")) if "label_smoothing" in options else sp.Integer(0)
    return (lambda at: weights[at]) if "class_weights" in options else lambda at: sp.Integer(1), smoothing


def _costs(
    prediction: Tensor, lead: tuple[Any, ...], forward: Iterable[Equation]
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
                return rhs.args[0].xreplace(dict(zip(subscripts, (*lead, at), strict=True)))

            if isinstance(rhs, sp.exp):
                return (lambda at: -argument(at)), (lambda at: -log1p(-sp.exp(argument(at)))), True
            return (lambda at: softplus(-argument(at))), (lambda at: softplus(argument(at))), True
    return (lambda at: -sp.log(prediction[*lead, at])), (lambda at: -log1p(-prediction[*lead, at])), False


def softmax(prediction: Tensor) -> tuple[Equation, ...]:
    """lse[n] = logsumexp_k z[n,k]"""
    from compiler.program import Equation

    lead, k = places(prediction)
    return (Equation(normalizer(prediction)[lead], (*lead, k), prediction[*lead, k], "logsumexp"),)


def normalizer(prediction: Tensor) -> Tensor:
    """The tensor lse: the softmax of z is exp(z[n,k] - lse[n])."""
    from compiler.program import Tensor

    return Tensor("lse", prediction.shape[:-1])
