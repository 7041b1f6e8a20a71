"""Numerical differentiation: central differences with the best step, and the error that they leave.

In: a function and a point, or a program and its values.  Out: derivatives with error estimates.  Slow (two evaluations
for each element) and inexact (about ten digits), but independent of every rule: a check, not a way to train.

    f'(x) = (f(x+h) - f(x-h)) / 2h  -  h^2 f'''(x)/6  +  rounding of size  eps |f(x)| / h

The sum of both errors is least near h = (3 eps |f/f'''|)^(1/3), which leaves about eps^(2/3) of f.  Without knowledge
of f''' the step is eps^(1/3) max(1, |x|).

Source: Qiu, Neural Networks and Deep Learning, section 4.5; Press et al., Numerical Recipes, section 5.7.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from compiler.program import Program, Tensor

from .reference import evaluate
from .reference_float import Array

EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A derivative, and the error that is left in it (an estimate, not a bound)."""

    value: Array
    error: Array


def central_difference(f: Callable[[Any], Any], x: Any, step: Any = None) -> Estimate:
    """The derivative of f at x, where f takes an array of the shape of x and works elementwise (or x is a number).

    step: h; by default eps^(1/3) max(1, |x|), rounded so that x+h and x-h lie exactly 2h apart.
    The error is estimated from a second difference with step 2h, whose truncation error is four times as large:
    |D(2h) - D(h)| / 3 for truncation, eps (|f(x+h)| + |f(x-h)|) / 2h for rounding.

    >>> d = central_difference(np.exp, 1.0)
    >>> bool(abs(d.value - np.e) < 1e-9), bool(abs(d.value - np.e) <= d.error), bool(d.error < 1e-9)
    (True, True, True)
    """
    x = np.asarray(x, np.float64)
    h = _exact(x, EPSILON ** (1 / 3) * np.maximum(1, np.abs(x)) if step is None else np.asarray(step, np.float64))
    near, rounding = _difference(f, x, h)
    far, _ = _difference(f, x, 2 * h)
    return Estimate(near, np.abs(far - near) / 3 + rounding)


def numerical_gradient(f: Callable[[Array], Any], x: Any, step: Any = None) -> Estimate:
    """The gradient of f at the array x, where f gives one number: a central difference for every element.

    >>> numerical_gradient(lambda x: x @ x, [1.0, 2.0]).value.round(6).tolist()
    [2.0, 4.0]
    """
    x = np.asarray(x, np.float64)
    value, error = np.empty_like(x), np.empty_like(x)
    for element in np.ndindex(x.shape):

        def along(v: Array, element: tuple[int, ...] = element) -> Any:
            moved = x.copy()
            moved[element] = v
            return f(moved)

        estimate = central_difference(along, x[element], step)
        value[element], error[element] = estimate.value, estimate.error
    return Estimate(value, error)


def program_gradient(
    program: Program,
    output: Tensor,
    wrt: Sequence[Tensor],
    values: Mapping[str, Any],
    sizes: Mapping[Any, int] | None = None,
    step: Any = None,
) -> dict[str, Estimate]:
    """The gradient of the rank-0 tensor `output` of a program by each element of `wrt`, by name.

    values, sizes: as for `reference.evaluate`, which is run twice (for the error, four times) for every element.
    """

    def at(name: str) -> Callable[[Array], Any]:
        return lambda value: evaluate(program, {**values, name: value}, sizes, [output])[output.name]

    return {t.name: numerical_gradient(at(t.name), values[t.name], step) for t in wrt}


def _exact(x: Array, h: Array) -> Array:
    """h changed so little that x + h is a number of the machine."""
    return np.asarray((x + h) - x)


def _difference(f: Callable[[Any], Any], x: Array, h: Array) -> tuple[Array, Array]:
    above, below = np.asarray(f(x + h), np.float64), np.asarray(f(x - h), np.float64)
    return (above - below) / (2 * h), EPSILON * (np.abs(above) + np.abs(below)) / (2 * h)
