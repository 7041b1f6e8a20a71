"""Keep digits: each value as accurate as its own size allows, not only as the largest that there may be.

In: a program that is stable.  Out: the same values, at a few more operations for each element, where the usual program
loses the digits of small values, the smallest ones, or has NaN for a product or quotient that has a limit.

  * 1 - tanh(u)**2 is 4 logistic(2u) logistic(-2u), such a product a quotient in exp(-|2u|); a function of softplus(u)
    one of logistic(-u) = exp(-softplus(u)).
  * p(x) exp(u), and logistic alike: p may be infinite where the exponential is 0; which wins.  The exponential is
    taken in two halves, so that a result below the normal numbers is rounded once.
  * u/(c + u), beyond 1, is 1/(1 + c/u): no inf/inf.
  * A choice between numbers by the size of u gives NaN where u is NaN.
"""

from __future__ import annotations

from math import isqrt

import sympy as sp
from sympy import Basic, Expr, Integer

from ..functions import logistic, normal_cdf, softplus
from ..program import Access, Program
from .rewriting import nodes, piecewise, reads, rewrite_equation

DECAYING = (sp.exp, logistic, normal_cdf, sp.erfc)  # faster than any power grows
VANISHED = 1600  # exp(-1600) times any number is 0
BOUNDED = (logistic, normal_cdf, sp.erf, sp.erfc, sp.tanh, sp.sin, sp.cos)


def keep_digits(program: Program) -> Program:
    steps: tuple[dict[Basic, Basic], ...] = ({}, {})
    equations = program.equations
    for rule, memo in zip((_difference, _kept), steps, strict=True):
        equations = tuple(rewrite_equation(e, rule, memo) for e in equations)
    return program.with_equations(equations)


def _kept(node: Basic) -> Basic:
    if isinstance(node, sp.tanh) and isinstance(node.args[0], softplus):
        return _tanh_of_softplus(node.args[0].args[0])
    if isinstance(node, logistic):
        return _logistic_of_softplus(node)
    if node.is_Mul:
        product = _product(_quotient(node))
        return _bell(node) if product == node else product
    if isinstance(node, sp.Piecewise):
        return _with_nan(node)
    return node


# ---------------------------------------------------------------------------------------------- differences
def _difference(node: Basic) -> Basic:
    """k - k tanh(u)**2 -> 4 k logistic(2u) logistic(-2u)"""
    if node.is_Mul:
        return _apart(node)
    if not node.is_Add:
        return node
    number, terms = node.as_coeff_add()
    for term in terms:
        factor, square = term.as_coeff_Mul()
        if factor == -number and square.is_Pow and square.exp == 2 and isinstance(square.base, sp.tanh):
            u = square.base.args[0]
            product = 4 * number * logistic(2 * u) * logistic(-2 * u)
            return sp.Add(product, *(t for t in terms if t is not term))
    return node


def _apart(node: Expr) -> Expr:
    """(1 + p(x) f(x)) * g(x) -> g(x) + p(x) f(x) g(x) for decaying f and g: each term has a limit of its own"""
    if any(isinstance(_positive_base(f), DECAYING) for f in node.args):
        for factor in node.args:
            if factor.is_Add and any(isinstance(n, DECAYING) for n in nodes(factor)) and _grows(factor):
                rest = sp.Mul(*(f for f in node.args if f is not factor))
                return sp.Add(*(_apart(term * rest) for term in factor.args))
    return node


def _tanh_of_softplus(u: Expr) -> Expr:
    """(1 - t**2)/(1 + t**2), t = exp(-softplus(u)) = logistic(-u), 1 - t = logistic(u)"""
    t = logistic(-u)
    return logistic(u) * (1 + t) / (1 + t**2)


def _logistic_of_softplus(node: Expr) -> Expr:
    """logistic(k softplus(u)) = 1/(1 + t**k), and t**-k times that for k < 0"""
    k, inner = node.args[0].as_coeff_Mul()
    if not isinstance(inner, softplus) or not isinstance(k, Integer):
        return node
    power = logistic(-inner.args[0]) ** abs(k)
    return (power if k < 0 else 1) / (1 + power)


# ---------------------------------------------------------------------------------------------- products
def _product(node: Expr) -> Expr:
    """p * exp(u) * ... -> (0 where h is 0, else p h) * h * ..., h = exp(u/2)"""
    small = [f for f in sp.Mul.make_args(node) if isinstance(_positive_base(f), DECAYING)]
    known = set(reads(*small))
    large = [f for f in sp.Mul.make_args(node) if f not in small and _grows(f) and known.issuperset(reads(f))]
    if not small or not large:
        return node
    product = sp.Mul(*large)
    others = [f for f in sp.Mul.make_args(node) if f not in small and f not in large]
    for factor in small:
        half, rest, vanished = _halves(factor)
        product = piecewise([(Integer(0), vanished), (product * half, sp.true)])
        others.append(rest)
    return sp.Mul(product, *others)


def _bell(node: Expr) -> Expr:
    """logistic(u) logistic(-u) -> e/(1 + e (2 + e)), e = exp(-|u|): one rounding where the two have four"""
    powers = {base.args[0]: f for f in node.args if isinstance(base := _positive_base(f), logistic)}
    for u, factor in powers.items():
        other = powers.get(-u)
        if other is not None and other != factor:  # that of 0 is its own other
            e = sp.exp(piecewise([(u, sp.Lt(u, 0, evaluate=False)), (-u, sp.true)]))
            rest = sp.Mul(*(f for f in node.args if f not in (factor, other)))
            rest *= factor / logistic(u) * other / logistic(-u)
            return sp.Mul(e, 1 / (1 + e * (2 + e)), rest)
    return node


def _positive_base(factor: Expr) -> Expr:
    """f of f**k with k > 0"""
    return factor.base if factor.is_Pow and not isinstance(factor, sp.exp) and factor.exp.is_positive else factor


def _grows(factor: Expr) -> bool:
    """It is infinite where something that it reads is, and no faster than a power."""
    found, stack = False, [factor]
    while stack:
        node = stack.pop()
        if isinstance(node, Access):
            found = True
        elif isinstance(node, sp.Piecewise):
            stack.extend(value for value, _ in node.args)
        elif node.is_Add or node.is_Mul or (node.is_Pow and node.exp.is_positive and node.exp.is_number):
            stack.extend(node.args)
        elif not (node.is_number or isinstance(node, BOUNDED) or node.is_Pow):
            return False
    return found


def _halves(factor: Expr) -> tuple[Expr, Expr, Basic]:
    """(a, b, where it is 0 beside any number): the factor is a*b, and neither of an exponential's halves is subnormal
    where the product is not 0.

    The condition is on the argument: that an exponential is 0 SymPy takes for false."""
    base = _positive_base(factor)
    power = factor.exp if base is not factor else Integer(1)
    u = base.args[0]
    if isinstance(base, logistic):  # exp(min(u, 0)) logistic(|u|)
        below = sp.Lt(u, 0, evaluate=False)
        half = sp.exp(piecewise([(u / 2, below), (Integer(0), sp.true)]))
        rest = half * logistic(piecewise([(-u, below), (u, sp.true)])) * base ** (power - 1)
        return half, rest, sp.Le(u, -VANISHED, evaluate=False)
    if isinstance(base, sp.exp):
        return sp.exp(u * power / 2), sp.exp(u * power / 2), sp.Le(u, -VANISHED / power, evaluate=False)
    at = -isqrt(VANISHED * 2) if isinstance(base, normal_cdf) else isqrt(VANISHED)
    condition = sp.Le(u, at, evaluate=False) if at < 0 else sp.Ge(u, at, evaluate=False)
    return base, base ** (power - 1), condition


def _quotient(node: Expr) -> Expr:
    """u/(c + k u) -> 1/(k + c/u) where |u| > 1"""
    for below in node.args:
        if not (below.is_Pow and below.exp == -1 and below.base.is_Add):
            continue
        c, rest = below.base.as_coeff_add()
        for u in node.args:
            k = sp.Add(*rest) / u
            if c != 0 and isinstance(u, Access) and k.is_number:
                small = sp.And(sp.Le(u, 1, evaluate=False), sp.Ge(u, -1, evaluate=False))
                new = piecewise([(u * below, small), (1 / (k + c / u), sp.true)])
                return sp.Mul(new, *(f for f in node.args if f not in (u, below)))
    return node


# ---------------------------------------------------------------------------------------------- choices
def _with_nan(node: sp.Piecewise) -> Expr:
    """where(u <= t, a, b), b without u -> where(u <= t, a, where(u > t, b, u))"""
    *cases, (last, _) = node.args
    condition = cases[-1][1]
    if not isinstance(condition, (sp.Lt, sp.Le, sp.Gt, sp.Ge)):
        return node
    for u, threshold in (condition.args, condition.args[::-1]):
        if threshold.is_number and u.is_real and not u.is_integer and isinstance(u, Access) and u not in reads(last):
            opposite = condition.negated
            return piecewise([*((e, c) for e, c in cases), (piecewise([(last, opposite), (u, sp.true)]), sp.true)])
    return node
