"""The scalar functions of the language beyond SymPy's own.

Each is given by its definition; its derivative is what SymPy derives from that definition, brought into a
form without overflow by `stable_exponentials`.  Nothing else about them is stated by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import sympy as sp
from mpmath.libmp import prec_to_dps
from sympy import Expr, Function, Integer, Symbol

_X = Symbol("x", real=True)


class ScalarFunction(Function):
    """A real function of one real variable, known by its definition."""

    nargs = 1
    is_real = True
    definition: Callable[[Expr], Expr]

    def fdiff(self, argindex: int = 1) -> Expr:
        return _derivative(type(self)).xreplace({_X: self.args[0]})  # type: ignore[arg-type]

    def _eval_evalf(self, prec: int) -> Expr:
        return type(self).definition(self.args[0]).evalf(prec_to_dps(prec))


class logistic(ScalarFunction):
    """1 / (1 + exp(-x))"""

    is_positive = True
    definition = staticmethod(lambda x: 1 / (1 + sp.exp(-x)))


class softplus(ScalarFunction):
    """log(1 + exp(x))"""

    is_positive = True
    definition = staticmethod(lambda x: sp.log(1 + sp.exp(x)))


class expm1(ScalarFunction):
    """exp(x) - 1"""

    definition = staticmethod(lambda x: sp.exp(x) - 1)

    @classmethod
    def eval(cls, x: Expr) -> Expr | None:
        return Integer(0) if x.is_zero else None


class log1p(ScalarFunction):
    """log(1 + x)"""

    definition = staticmethod(lambda x: sp.log(1 + x))

    @classmethod
    def eval(cls, x: Expr) -> Expr | None:
        return Integer(0) if x.is_zero else None


class normal_cdf(ScalarFunction):
    """(1 + erf(x / sqrt(2))) / 2, the normal distribution function.

    A function of its own because SymPy writes erfc(-x) as 2 - erfc(x), which is 0 far below."""

    is_positive = True
    definition = staticmethod(lambda x: (1 + sp.erf(x / sp.sqrt(2))) / 2)


class uniform(Function):
    """uniform(k1, k2, ...): a number in [0, 1), a pure function of its integer arguments; derivative zero.

    Counter-based, in integers modulo 2**64:  h = 0x9E3779B97F4A7C15;  for each argument k in turn
    h = mix(h ^ (k * 0xD1342543DE82EF95));  the result is (h >> 11) * 2**-53.  Here mix is the step of SplitMix64
    (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014):
        z += 0x9E3779B97F4A7C15; z = (z ^ z>>30) * 0xBF58476D1CE4E5B9; z = (z ^ z>>27) * 0x94D049BB133111EB; z ^ z>>31
    """

    is_real = True
    is_nonnegative = True
    is_number = False

    def fdiff(self, argindex: int = 1) -> Expr:
        return Integer(0)


OWN: tuple[type[ScalarFunction], ...] = (logistic, softplus, normal_cdf, expm1, log1p)

# All functions that a right-hand side may contain, besides +, *, powers and Piecewise.
FUNCTIONS: tuple[type[Function], ...] = (
    sp.exp, sp.log, sp.sin, sp.cos, sp.tan, sp.atan, sp.tanh, sp.erf, sp.erfc, *OWN, uniform,
)  # fmt: skip


@cache
def _derivative(function: type[ScalarFunction]) -> Expr:
    return stable_exponentials(function.definition(_X).diff(_X))


def stable_exponentials(expression: Expr) -> Expr:
    """k E^a / (1+E)^b with E = exp(u) and 0 <= a <= b becomes k logistic(u)^a logistic(-u)^(b-a).

    Other expressions are returned as they came: this rewrites only where no exponential is left that can overflow.
    """
    exponents = sorted({q.args[0] for q in expression.atoms(sp.exp)}, key=sp.default_sort_key)
    if not exponents:
        return expression
    u = -exponents[0] if exponents[0].could_extract_minus_sign() else exponents[0]
    powers = {sp.exp(v): v / u for v in exponents}
    if not all(p.is_Integer for p in powers.values()):
        return expression
    e = Symbol("E", positive=True)
    rational = expression.xreplace({q: e**p for q, p in powers.items()})
    numerator, denominator = sp.fraction(sp.factor(sp.together(rational)))
    a = b = 0
    factor: Expr = Integer(1)
    for part, sign in ((numerator, 1), (denominator, -1)):
        for term in sp.Mul.make_args(part):
            base, power = term.as_base_exp()
            if base == e:
                a += sign * int(power)
            elif sp.expand(base - 1 - e) == 0:
                b -= sign * int(power)
            elif base.has(e):
                return expression
            else:
                factor *= term**sign
    if not 0 <= a <= b:
        return expression
    return factor * logistic(u) ** a * logistic(-u) ** (b - a)
