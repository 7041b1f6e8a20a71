"""h(z) as a function g of the value f(z): derived by eliminating z, then judged on numbers.  No table of functions.

In: two scalar expressions (or a comparison for h) in Z and in parameters.  Out: g in F and the parameters, or None.

  * f itself standing in h is F.
  * A comparison z <= t is f(z) <= f(t) where f never falls (proved), is continuous, and rises on the far side of t; so
    a kink keeps the side that it had.
  * Piece by piece, f and h become quotients of polynomials in one power of exp (or in z); the resultant of
    p(E) - F q(E) and r(E) - G s(E) is a polynomial in F and G, and a factor linear in G is a candidate.
  * A candidate is taken if g(f(z)) is h(z) within 4 ulp of max|h|, in float32 and float64, for z from -1e4 to 1e4, on
    both sides of every threshold, at NaN and at infinities.  (Beside a threshold, where f(z) is rounded to the very
    value that it has there, the kink's own side counts: that is what f says.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import sympy as sp
from sympy import Basic, Expr, Integer, Symbol
from sympy.core.relational import Relational

from ..functions import FUNCTIONS, OWN, expm1, log1p, logistic, softplus
from .rewriting import nodes, piecewise, replace, rewrite
from .stabilize import stable_scalar

Z = Symbol("z", real=True)
F = Symbol("f", real=True)
_E = Symbol("E", positive=True)
_G = Symbol("g", real=True)
_W = Symbol("w", real=True)

PRICE = {softplus: 40, sp.erf: 30, sp.erfc: 30, sp.tanh: 24, logistic: 24, log1p: 20, expm1: 20}
ULP = 4
MAX_DEGREE = 8


@cache
def through_value(f: Expr, h: Basic) -> Basic | None:
    """g with g(f(z)) = h(z), if there is one that costs no more, or that still reads z but costs less."""
    f, h = _flat(f), _flat(h)
    g = _derived(f, h)
    if g is None or g == h:
        return None
    gain = price(h) - price(g)
    if gain < 0 or (Z in nodes(g) and gain == 0) or not _agree(f, g, h):
        return None
    return g


def price(expression: Basic) -> int:
    """What evaluating costs, in additions."""
    total = 0
    for node in nodes(expression):
        if isinstance(node, (sp.Add, sp.Mul)):
            total += len(node.args) - 1
        elif isinstance(node, sp.Pow):
            total += (1 if node.exp.is_positive else 4) if node.exp.is_Integer else 20
        elif isinstance(node, Relational):
            total += 1
        elif isinstance(node, FUNCTIONS):
            total += PRICE.get(type(node), 20)
    return total


def _derived(f: Expr, h: Basic) -> Basic | None:
    direct = replace(h, {f: F})
    if Z not in nodes(direct):
        return direct
    if isinstance(h, Relational):
        return _compared(f, h)
    if isinstance(f, sp.Piecewise) or isinstance(h, sp.Piecewise):
        return _by_pieces(f, h)
    return _eliminated(f, h)


# ---------------------------------------------------------------------------------------------- pieces
def _by_pieces(f: Expr, h: Expr) -> Expr | None:
    """Each piece of h through the one piece of f that it meets; its condition through f, or as it is."""
    arms = [(e, c) for e, c in h.args] if isinstance(h, sp.Piecewise) else [(h, c) for _, c in f.args]
    cells = _cells(f, h)
    if cells is None:
        return None
    out = []
    for number, (expression, condition) in enumerate(arms):
        g: Expr | None = expression
        if Z in nodes(expression):
            met = {_arm(f, point): None for point in cells if _chosen(arms, point) == number}
            g = _eliminated(next(iter(met)), expression) if len(met) == 1 else None
            if g is None:
                return None
        translated = condition if condition is sp.true else _compared(f, condition)
        out.append((g, condition if translated is None else translated))
    return piecewise(out)


def _cells(*expressions: Basic) -> list[Expr] | None:
    """A point inside each interval between the thresholds of all comparisons."""
    thresholds = set()
    for relation in (n for n in nodes(*expressions) if isinstance(n, Relational)):
        sides = _threshold(relation)
        if sides is None:
            return None
        thresholds.add(sides[1])
    ordered = sorted(thresholds)
    if not ordered:
        return [Integer(0)]
    middles = [(low + high) / 2 for low, high in pairwise(ordered)]
    return [ordered[0] - 1, *middles, ordered[-1] + 1]


def _threshold(relation: Basic) -> tuple[str, Expr] | None:
    """(z's relation to it, threshold)"""
    if not isinstance(relation, (sp.Le, sp.Lt, sp.Ge, sp.Gt)):
        return None
    left, right = relation.args
    if left == Z and right.is_number:
        return relation.rel_op, right
    if right == Z and left.is_number:
        return relation.reversed.rel_op, left
    return None


def _chosen(arms: list[tuple[Expr, Basic]], point: Expr) -> int | None:
    for number, (_, condition) in enumerate(arms):
        if condition is sp.true or condition.subs(Z, point) is sp.true:
            return number
    return None


def _arm(f: Expr, point: Expr) -> Expr:
    if not isinstance(f, sp.Piecewise):
        return f
    number = _chosen(list(f.args), point)
    assert number is not None
    return f.args[number][0]


def _flat(expression: Basic) -> Basic:
    """Pieces within pieces side by side."""
    if not isinstance(expression, sp.Piecewise):
        return expression
    pairs = [pair.args for pair in expression.args]
    while any(isinstance(e, sp.Piecewise) for e, _ in pairs):
        pairs = [
            (inner, c if d is sp.true else d if c is sp.true else sp.And(c, d))
            for e, c in pairs
            for inner, d in (((e, sp.true),) if not isinstance(e, sp.Piecewise) else (pair.args for pair in e.args))
        ]
    return piecewise(pairs)


def _compared(f: Expr, relation: Basic) -> Basic | None:
    """z <= t as a comparison of f(z) with f(t), where that says the same for every z."""
    if isinstance(relation, (sp.And, sp.Or, sp.Not)):
        parts = [_compared(f, part) for part in relation.args]
        return None if any(part is None for part in parts) else relation.func(*parts)
    sides = _threshold(relation)
    rising = _rising(f)
    if sides is None or rising is None:
        return None
    sign, t = sides
    side = 1 if sign in ("<=", ">") else -1  # beyond t on this side f must differ from f(t)
    beyond = [up for low, high, up in rising if (low <= t < high if side > 0 else low < t <= high)]
    if not beyond[0]:
        return None
    value = _arm(f, t).subs(Z, t)
    relations = {"<=": sp.Le, "<": sp.Lt, ">=": sp.Ge, ">": sp.Gt}
    return relations[sign](F, value, evaluate=False)


@cache
def _rising(f: Expr) -> tuple[tuple[Expr, Expr, bool], ...] | None:
    """(low, high, strictly rising?) for each piece of an f that is continuous and never falls; None if not proved."""
    cells = _cells(f)
    if cells is None:
        return None
    thresholds = sorted({_threshold(n)[1] for n in nodes(f) if isinstance(n, Relational)})  # type: ignore[index]
    ends = [-sp.oo, *thresholds, sp.oo]
    found = []
    for point, low, high in zip(cells, ends, ends[1:], strict=False):
        slope = _arm(f, point).diff(Z)
        if not slope.is_zero and not _is_positive(slope, low, high):
            return None
        found.append((low, high, not slope.is_zero))
    for t, before, after in zip(thresholds, cells, cells[1:], strict=False):
        jump = (_arm(f, before) - _arm(f, after)).subs(Z, t)
        if jump.free_symbols or not abs(float(jump)) <= 1e-15:
            return None
    return tuple(found)


def _is_positive(slope: Expr, low: Expr, high: Expr) -> bool:
    if slope.is_positive:
        return True
    p = Symbol("p", positive=True)
    inside = low + p if low.is_finite else high - p if high.is_finite else None
    if inside is None or (low.is_finite and high.is_finite) or slope.has(*FUNCTIONS):
        return False
    return bool(sp.factor(sp.together(slope.subs(Z, inside))).is_positive)


# ---------------------------------------------------------------------------------------------- elimination
def _eliminated(f: Expr, h: Expr) -> Expr | None:
    direct = replace(h, {f: F})
    if Z not in nodes(direct):
        return direct
    if not any(isinstance(n, FUNCTIONS) for n in nodes(f, h)) and f.is_polynomial(Z) and sp.degree(f, Z) > 1:
        return None
    f, h = _written_out(f), _written_out(h)
    tag: Expr = F
    logs = [n for n in nodes(f) if isinstance(n, sp.log) and Z in nodes(n)]
    if logs:
        if len(logs) > 1:
            return None
        log = Symbol("l")
        linear = replace(f, {logs[0]: log})
        scale = linear.diff(log)
        if Z in nodes(linear) or log in scale.free_symbols:
            return None
        f, tag = logs[0].args[0], sp.exp((F - linear.subs(log, 0)) / scale)
    quotients = _quotients(f, h)
    if quotients is None:
        return None
    x, (p, q), (r, s) = quotients
    try:
        result = sp.resultant(sp.expand(p - _W * q), sp.expand(r - _G * s), x)
        factors = sp.factor_list(result)[1]
    except (sp.PolynomialError, ZeroDivisionError, NotImplementedError):
        return None
    candidates = []
    for factor, _ in factors:
        if _G in factor.free_symbols and sp.degree(factor, _G) == 1:
            g = -factor.coeff(_G, 0) / factor.coeff(_G, 1) if factor.is_Add else Integer(0)
            candidates.append(rewrite(sp.factor(g), None, {_W: tag}))
    candidates = [rewrite(form, stable_scalar, {}) for g in candidates for form in (g, sp.expand(g))]
    return min(candidates, key=price) if candidates else None  # the first of equals: f*(1 - f) before f - f**2


def _written_out(expression: Expr) -> Expr:
    """Our functions by their definitions, tanh by exp."""

    def rule(node: Basic) -> Basic:
        if isinstance(node, OWN):
            return node.definition(node.args[0])
        if isinstance(node, sp.tanh):
            e = sp.exp(2 * node.args[0])
            return (e - 1) / (e + 1)
        return node

    return rewrite(expression, rule, {})


def _quotients(f: Expr, h: Expr) -> tuple[Symbol, tuple[Expr, Expr], tuple[Expr, Expr]] | None:
    """The variable, and numerator and denominator of both, polynomials in it."""
    slopes: dict[Basic, tuple[Expr, Expr]] = {}
    for node in nodes(f, h):
        if isinstance(node, sp.exp) and Z in nodes(node):
            a, b = node.args[0].expand().as_independent(Z, as_Add=True)
            slope = b / Z
            if Z in nodes(slope):
                return None
            slopes[node] = (slope, a)
    x: Symbol = Z
    if slopes:
        x = _E
        unit = next(iter(slopes.values()))[0]
        for slope, _ in slopes.values():
            ratio = slope / unit
            if not ratio.is_Rational:
                return None
            unit = unit / ratio.q if ratio.q > 1 else unit
        table = {node: sp.exp(shift) * _E ** (slope / unit) for node, (slope, shift) in slopes.items()}
        f, h = replace(f, table), replace(h, table)
        if Z in nodes(f, h):
            return None
    out = []
    for expression in (f, h):
        top, bottom = sp.fraction(sp.together(expression))
        if not (top.is_polynomial(x) and bottom.is_polynomial(x)):
            return None
        if max(sp.degree(top, x), sp.degree(bottom, x)) > MAX_DEGREE:
            return None
        out.append((top, bottom))
    return x, out[0], out[1]


# ---------------------------------------------------------------------------------------------- numbers
def _agree(f: Expr, g: Basic, h: Basic) -> bool:
    """g(f(z)) is h(z) to 4 ulp of max|h|, wherever h(z) is finite, for some values of the parameters."""
    parameters = sorted((f.free_symbols | g.free_symbols | h.free_symbols) - {Z, F}, key=str)
    thresholds = [float(t[1]) for n in nodes(f, h) if (t := _threshold(n)) is not None]
    for kind in (np.float64, np.float32):
        z = _points(thresholds, kind)
        for shift in (0.7, 1.9, -1.3):
            values: dict[Basic, Any] = {p: kind(shift + k / 8) for k, p in enumerate(parameters)}
            with np.errstate(all="ignore"):
                value = evaluate(f, values | {Z: z}, kind)
                wanted = evaluate(h, values | {Z: z}, kind)
                found = evaluate(g, values | {Z: z, F: value}, kind)
            wanted = np.where(_at_kink(f, z, value, values, thresholds, kind), found, wanted)
            finite = np.isfinite(wanted)
            if not finite.any():
                return False
            wrong = np.abs(found[finite] - wanted[finite]) > ULP * np.finfo(kind).eps * np.abs(wanted[finite]).max()
            if wrong.any() or not np.isfinite(found[finite]).all() or (np.isnan(wanted) != np.isnan(found)).any():
                return False
            if not parameters:
                break
    return True


def _at_kink(f: Expr, z: Any, value: Any, values: Mapping[Basic, Any], thresholds: list[float], kind: Any) -> Any:
    """Where z is beside a threshold by no more than rounding, and f(z) is the very value it has at the threshold."""
    hidden = np.zeros(z.shape, bool)
    for t in thresholds:
        there = evaluate(f, {**values, Z: np.asarray([t], kind)}, kind)[0]
        hidden |= (z != kind(t)) & (np.abs(z - kind(t)) <= 4 * np.finfo(kind).eps * abs(t)) & (value == there)
    return hidden


def _points(thresholds: list[float], kind: Any) -> Any:
    spread = np.concatenate([np.linspace(-40, 40, 801), np.geomspace(1e-30, 1e4, 200), -np.geomspace(1e-30, 1e4, 200)])
    near = []
    for t in thresholds:
        for direction in (-np.inf, np.inf):
            point = kind(t)
            for _ in range(6):
                near.append(point)
                point = np.nextafter(point, kind(direction))
    return np.concatenate([spread, near, [0.0, -0.0, np.nan, np.inf, -np.inf]]).astype(kind)


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
    if isinstance(node, sp.Pow):
        power = node.exp
        return np.power(parts[0], int(power)) if power.is_Integer and power > 0 else np.power(parts[0], parts[1])
    if isinstance(node, (sp.Add, sp.Mul)):
        result = parts[0]
        for part in parts[1:]:
            result = result + part if node.is_Add else result * part
        return result
    return _NUMPY[type(node)](*parts)


def _logistic(x: Any) -> Any:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e / (1 + e), 1 / (1 + e))


def _each(function: Callable[[float], float]) -> Callable[[Any], Any]:
    return lambda x: np.vectorize(function)(x).astype(np.asarray(x).dtype)


_NUMPY: dict[type, Callable[..., Any]] = {
    sp.exp: np.exp, sp.log: np.log, sp.sin: np.sin, sp.cos: np.cos, sp.tan: np.tan, sp.tanh: np.tanh,
    sp.erf: _each(math.erf), sp.erfc: _each(math.erfc), expm1: np.expm1, log1p: np.log1p, logistic: _logistic,
    softplus: lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
    sp.Le: np.less_equal, sp.Lt: np.less, sp.Ge: np.greater_equal, sp.Gt: np.greater,
    sp.Eq: np.equal, sp.Ne: np.not_equal, sp.And: np.logical_and, sp.Or: np.logical_or, sp.Not: np.logical_not,
}  # fmt: skip
