"""Decisions: what a classifier predicts, as equations: probabilities, labels, and how many of them are right.

In: a row of losses.py and the prediction tensor of shape (N, K).  Out: tensors with the equations that define them.

    softmax, K outputs        p[n,k], label[n] = argmax_k z[n,k]
    binary, one output        p[n,0], p[n,1], label[n] 0 or 1
    binary, K outputs         p[n,k], label[n,k] 0 or 1: each output decides by itself; a hit is worth 1/K
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from . import losses
from .losses import Loss, Row

if TYPE_CHECKING:
    from sympy import Expr

    from compiler.program import Equation, Tensor

Defined = tuple["Tensor", tuple["Equation", ...]]


def probabilities(chosen: Row, prediction: Tensor) -> Defined | None:
    """The class probabilities of a classifier and the equations that define them."""
    import sympy as sp

    from compiler.functions import logistic
    from compiler.program import Equation, Index, Tensor

    if not chosen.is_classifier:
        return None
    rows, outputs = prediction.shape
    n, k = Index("n", rows), Index("k", outputs)
    binary = losses.is_binary(chosen, int(outputs))
    if not chosen.net and not (binary and outputs == 1):
        return prediction, ()
    if not binary:
        p = Tensor("p", prediction.shape)
        rhs = sp.exp(prediction[n, k] - losses.normalizer(prediction)[n])
        return p, (*losses.softmax(prediction), Equation(p[n, k], (n, k), rhs))
    if outputs != 1:
        p = Tensor("p", prediction.shape)
        return p, (Equation(p[n, k], (n, k), logistic(prediction[n, k])),)
    p = Tensor("p", (rows, 2))
    z = prediction[n, 0]
    pair = (logistic(-z), logistic(z)) if chosen.net else (1 - z, z)
    return p, tuple(Equation(p[n, c], (n,), rhs) for c, rhs in enumerate(pair))


def labels(chosen: Row, prediction: Tensor) -> Defined:
    """label: the most probable class, the first of equals."""
    if losses.is_binary(chosen, int(prediction.shape[1])):
        return _above("label", prediction, Fraction(0) if chosen.net else Fraction(1, 2))
    return _largest("label", prediction)


def hits(chosen: Row, prediction: Tensor, loss: Loss) -> Defined:
    """correct: the number of samples whose label is that of the target."""
    import sympy as sp

    from compiler.program import Access, Equation, Index, Tensor

    label, equations = labels(chosen, prediction)
    truth = loss.target
    if truth.kind != "integer":
        binary = losses.is_binary(chosen, int(prediction.shape[1]))
        truth, more = _above("y_label", truth, Fraction(1, 2)) if binary else _largest("y_label", truth)
        equations += more
    own = tuple(Index(letter, extent) for letter, extent in zip("nk", label.shape, strict=False))
    hit = sp.Piecewise((1, sp.Eq(label[own], truth[own])), (0, True))
    each = label.shape[1] if label.rank == 2 else 1
    correct = Tensor("correct")
    return correct, (*equations, Equation(Access(correct), own, hit / each))


def _largest(name: str, scores: Tensor) -> Defined:
    """name[n] = argmax_k scores[n,k]"""
    from compiler.program import Equation, Index, Tensor

    n, k = Index("n", scores.shape[0]), Index("k", scores.shape[1])
    label = Tensor(name, (scores.shape[0],), "value", "integer")
    return label, (Equation(label[n], (n, k), scores[n, k], "argmax"),)


def _above(name: str, scores: Tensor, threshold: Fraction) -> Defined:
    """name[n,k] = argmax_c (0, scores[n,k] - threshold), c = 0, 1: whether the score is above; one axis if K = 1."""
    import sympy as sp

    from compiler.program import Equation, Index, Tensor

    rows, outputs = scores.shape
    n, k, c = Index("n", rows), Index("k", outputs), Index("c", 2)
    bound = sp.Rational(threshold.numerator, threshold.denominator)

    def pair(score: Expr) -> Expr:
        return sp.Piecewise((0, sp.Eq(c, 0)), (score - bound, True))

    if outputs == 1:
        label = Tensor(name, (rows,), "value", "integer")
        return label, (Equation(label[n], (n, c), pair(scores[n, 0]), "argmax"),)
    label = Tensor(name, (rows, outputs), "value", "integer")
    return label, (Equation(label[n, k], (n, k, c), pair(scores[n, k]), "argmax"),)
