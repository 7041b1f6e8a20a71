"""Decisions: what a classifier predicts, as equations: probabilities, labels, and how many of them are right.

In: a row of losses.py and the prediction tensor of shape (N, K).  Out: tensors with the equations that define them.
Where the prediction has positions (axes between the samples and the last), so have probabilities and labels, and a
sample counts the mean of its positions.  Where there are weights, only what has a weight above 0 counts.

    softmax, K outputs        p[n,k], label[n] = argmax_k z[n,k]
    binary, one output        p[n,0], p[n,1], label[n] 0 or 1
    binary, K outputs         p[n,k], label[n,k] 0 or 1: each output decides by itself; a hit is worth 1/K
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from ..declare import losses
from ..declare.losses import Row
from . import loss_equations
from .loss_equations import Loss

if TYPE_CHECKING:
    from sympy import Expr

    from compiler.program import Equation, Tensor

Defined = tuple["Tensor", tuple["Equation", ...]]


def probabilities(chosen: Row, prediction: Tensor) -> Defined | None:
    """The class probabilities of a classifier and the equations that define them."""
    import sympy as sp

    from compiler.functions import logistic
    from compiler.program import Equation, Tensor

    if not chosen.is_classifier:
        return None
    *at, outputs = prediction.shape
    lead, k = loss_equations.places(prediction)
    binary = losses.is_binary(chosen, int(outputs))
    if not chosen.net and not (binary and outputs == 1):
        return prediction, ()
    if not binary:
        p = Tensor("p", prediction.shape)
        rhs = sp.exp(prediction[*lead, k] - loss_equations.normalizer(prediction)[lead])
        return p, (*loss_equations.softmax(prediction), Equation(p[*lead, k], (*lead, k), rhs))
    if outputs != 1:
        p = Tensor("p", prediction.shape)
        return p, (Equation(p[*lead, k], (*lead, k), logistic(prediction[*lead, k])),)
    p = Tensor("p", (*at, 2))
    z = prediction[*lead, 0]
    pair = (logistic(-z), logistic(z)) if chosen.net else (1 - z, z)
    return p, tuple(Equation(p[*lead, c], lead, rhs) for c, rhs in enumerate(pair))


def labels(chosen: Row, prediction: Tensor) -> Defined:
    """label: the most probable class, the first of equals."""
    if losses.is_binary(chosen, int(prediction.shape[-1])):
        return _above("label", prediction, Fraction(0) if chosen.net else Fraction(1, 2))
    return _largest("label", prediction)


def hits(chosen: Row, prediction: Tensor, loss: Loss) -> Defined:
    """correct: the number of samples whose label is that of the target; of several labels, each is worth its share."""
    import sympy as sp

    from compiler.program import Access, Equation, Tensor

    lead, k = loss_equations.places(prediction)

    label, equations = labels(chosen, prediction)
    truth = loss.target
    if truth.kind != "integer":
        binary = losses.is_binary(chosen, int(prediction.shape[-1]))
        truth, more = _above("truth", truth, Fraction(1, 2)) if binary else _largest("truth", truth)
        equations += more
    own = (*lead, k)[: label.rank]
    right = sp.Eq(label[own], truth[own])
    if loss.weight is not None:
        right = sp.And(right, sp.Gt(loss.weight[own[: loss.weight.rank]], 0))
    hit = sp.Piecewise((1, right), (0, True))
    correct = Tensor("correct")
    return correct, (*equations, Equation(Access(correct), own, hit / sp.Mul(*label.shape[1:])))


def _largest(name: str, scores: Tensor) -> Defined:
    """name[n] = argmax_k scores[n,k]"""
    from compiler.program import Equation, Tensor

    lead, k = loss_equations.places(scores)
    label = Tensor(name, scores.shape[:-1], "value", "integer")
    return label, (Equation(label[lead], (*lead, k), scores[*lead, k], "argmax"),)


def _above(name: str, scores: Tensor, threshold: Fraction) -> Defined:
    """name[n,k] = argmax_c (0, scores[n,k] - threshold), c = 0, 1: whether the score is above; one axis if K = 1."""
    import sympy as sp

    from compiler.program import Equation, Index, Tensor

    (lead, k), c = loss_equations.places(scores), Index("c", 2)
    bound = sp.Rational(threshold.numerator, threshold.denominator)

    def pair(score: Expr) -> Expr:
        return sp.Piecewise((0, sp.Eq(c, 0)), (score - bound, True))

    if k.extent == 1:
        label = Tensor(name, scores.shape[:-1], "value", "integer")
        return label, (Equation(label[lead], (*lead, c), pair(scores[*lead, 0]), "argmax"),)
    label = Tensor(name, scores.shape, "value", "integer")
    return label, (Equation(label[*lead, k], (*lead, k, c), pair(scores[*lead, k]), "argmax"),)
