"""Is g(f(z)) the same as h(z)?  Judged on numbers, in float32 and float64.

In: the three scalar expressions.  Out: yes or no.  Yes means: within 4 ulp of max|h| for z from -1e4 to 1e4, on both
sides of every threshold, at NaN and at infinities, for some values of the parameters; where f(z) is finite, for a
parameter of 0, too: nothing is divided by what may be 0.  (Beside a threshold, where f(z)
is rounded to the very value that it has there, the kink's own side counts: that is what f says.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
import sympy as sp
from sympy import Basic, Expr, Symbol

from ..functions import expm1, log1p, logistic, normal_cdf, softplus

Z = Symbol("z", real=True)
F = Symbol("f", real=True)
ULP = 4


def agrees(f: Expr, g: Basic, h: Basic, thresholds: Sequence[float]) -> bool:
    """g(f(z)) is h(z) to 4 ulp of max|h|, wherever h(z) is finite.  thresholds: where pieces meet."""
    parameters = sorted((f.free_symbols | g.free_symbols | h.free_symbols) - {Z, F}, key=str)
    for kind in (np.float64, np.float32):
        z = _points(thresholds, kind)
        for shift, zero in [(shift, None) for shift in (0.7, 1.9, -1.3)] + [(0.7, p) for p in parameters]:
            values: dict[Basic, Any] = {p: kind(shift + k / 8 if p != zero else 0) for k, p in enumerate(parameters)}
            with np.errstate(all="ignore"):
                value = evaluate(f, values | {Z: z}, kind)
                wanted = evaluate(h, values | {Z: z}, kind)
                found = evaluate(g, values | {Z: z, F: value}, kind)
            wanted = np.where(_at_kink(f, z, value, values, thresholds, kind), found, wanted)
            if zero is not None:
                wanted, found = (np.where(np.isfinite(value), side, 0) for side in (wanted, found))
            finite = np.isfinite(wanted)
            if not finite.any():
                return False
            wrong = np.abs(found[finite] - wanted[finite]) > ULP * np.finfo(kind).eps * np.abs(wanted[finite]).max()
            if wrong.any() or (np.isnan(wanted) != np.isnan(found)).any():
                return False
    return True


def _at_kink(f: Expr, z: Any, value: Any, values: Mapping[Basic, Any], thresholds: Sequence[float], kind: Any) -> Any:
    """Where z is beside a threshold by no more than rounding, and f(z) is the very value it has at the threshold."""
    hidden = np.zeros(z.shape, bool)
    for t in thresholds:
        there = evaluate(f, {**values, Z: np.asarray([t], kind)}, kind)[0]
        hidden |= (z != kind(t)) & (np.abs(z - kind(t)) <= 4 * np.finfo(kind).eps * abs(t)) & (value == there)
    return hidden


def _points(thresholds: Sequence[float], kind: Any) -> Any:
    spread = np.concatenate([np.linspace(-40, 40, 801), np.geomspace(1e-30, 1e4, 200), -np.geomspace(1e-30, 1e4, 200)])
    near = []
    for t in thresholds:
        for direction in (-np.inf, np.inf):
            point = kind(t)
            for _ in range(6):
                near.append(point)
                point = np.nextafter(point, direction)
    return np.concatenate([spread, near, [-0.0, np.nan, np.inf, -np.inf]]).astype(kind)


def evaluate(root: Basic, values: Mapping[Basic, Any], kind: Any) -> Any:
    """A scalar expression on arrays of symbols' values."""
    memo: dict[Basic, Any] = dict(values)
    stack: list[Basic] = [root]
    while stack:
        node = stack[-1]
        below = [p for pair in node.args for p in pair.args] if isinstance(node, sp.Piecewise) else list(node.args)
        missing = [part for part in below if part not in memo]
        if node in memo or not missing:
            stack.pop()
            if node not in memo:
                memo[node] = _value(node, [memo[part] for part in below], kind)
        else:
            stack.extend(missing)
    shape = np.broadcast_shapes(*(np.shape(v) for v in values.values()))
    return np.broadcast_to(np.asarray(memo[root], kind), shape)


def _value(node: Basic, parts: list[Any], kind: Any) -> Any:
    if not parts:
        return node == sp.true if node in (sp.true, sp.false) else kind(float(node))
    if isinstance(node, sp.Piecewise):
        result = parts[-2]
        for value, condition in zip(parts[-4::-2], parts[-3::-2], strict=True):
            result = np.where(condition, value, result)
        return result
    return _NUMPY[type(node)](*parts)


def _each(function: Callable[[float], float]) -> Callable[[Any], Any]:
    return lambda x: np.vectorize(function)(x).astype(np.asarray(x).dtype)


_NUMPY: dict[type, Callable[..., Any]] = {
    sp.Add: lambda *terms: reduce(np.add, terms), sp.Mul: lambda *factors: reduce(np.multiply, factors),
    sp.Pow: np.power, sp.exp: np.exp, sp.log: np.log, sp.sin: np.sin, sp.cos: np.cos, sp.tan: np.tan, sp.tanh: np.tanh,
    sp.atan: np.arctan, sp.erf: _each(math.erf), sp.erfc: _each(math.erfc),
    normal_cdf: _each(lambda x: math.erfc(-x * math.sqrt(0.5)) / 2),
    expm1: np.expm1, log1p: np.log1p, logistic: lambda x: 1 / (1 + np.exp(-x)),
    softplus: lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
    sp.Le: np.less_equal, sp.Lt: np.less, sp.Ge: np.greater_equal, sp.Gt: np.greater,
    sp.Eq: np.equal, sp.Ne: np.not_equal, sp.Not: np.logical_not,
    sp.And: lambda *parts: reduce(np.logical_and, parts), sp.Or: lambda *parts: reduce(np.logical_or, parts),
}  # fmt: skip
