"""h(z) as a function g of the value f(z): derived by eliminating z, then judged on numbers.  No table of functions.

In: two scalar expressions (or a comparison for h) in Z and in parameters.  Out: g in F and the parameters, or None.

  * f itself standing in h is F.
  * A comparison z <= t is f(z) <= f(t) where f never falls (proved), is continuous, and rises on the far side of t; so
    a kink keeps the side that it had.
  * Piece by piece, f and h become quotients of polynomials in one power of exp (or in z); the resultant of
    p(E) - F q(E) and r(E) - G s(E) is a polynomial in F and G, and a factor linear in G is a candidate.
  * A candidate is taken if it costs no more and `agreement` finds no difference beyond rounding.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import sympy as sp
from sympy import Basic, Expr, Integer, Symbol
from sympy.core.relational import Relational
from sympy.logic.boolalg import Boolean

from ..functions import FUNCTIONS, OWN, expm1, log1p, logistic, normal_cdf, softplus
from .agreement import F, Z, agrees
from .rewriting import nodes, piecewise, replace, rewrite
from .stabilize import stable_scalar

_E = Symbol("E", positive=True)
_G, _W = Symbol("g"), Symbol("w")

PRICE = {softplus: 40, sp.erf: 30, sp.erfc: 30, normal_cdf: 30, sp.tanh: 24, logistic: 24, sp.atan: 24, log1p: 20,
         expm1: 20}  # fmt: skip
MAX_DEGREE = 8


@cache
def through_value(f: Expr, h: Basic) -> Basic | None:
    """g with g(f(z)) = h(z), if there is one that costs no more, or that still reads z but costs less."""
    f, h = _flat(f), _flat(h)
    g = _derived(f, h)
    if g is None or g == h:
        return None
    gain = price(h) - price(g)
    thresholds = [float(t[1]) for n in nodes(f, h) if (t := _threshold(n)) is not None]
    if gain < 0 or (Z in nodes(g) and gain == 0) or not agrees(f, g, h, thresholds):
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
    if isinstance(h, Boolean):
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
            (inner, sp.And(c, d))
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
    return sp.Rel(F, f.subs(Z, t), sign)


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
        if sp.degree(factor, _G) == 1:
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
            if not ratio.is_Integer:
                return None
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
