"""The oracle in other numbers: 50 digits, the complex step, and magnitudes for judging rounding errors.

In and out as in `reference`, whose evaluator this uses with its own arithmetic; mpmath is loaded here only.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np
import sympy as sp
from mpmath import mpc, mpf
from sympy import Basic

from compiler.program import Program, Tensor

from .reference import evaluate
from .reference_float import FLOAT64, Arithmetic, Array

STEP = mpf("1e-30")  # an exact complex step: what it leaves is of the size of its square


# ---------------------------------------------------------------------------------------------- many digits
def evaluate_mp(
    program: Program,
    values: Mapping[str, Any],
    sizes: Mapping[Any, int] | None = None,
    wanted: Sequence[str | Tensor] | None = None,
    *,
    digits: int = 50,
) -> dict[str, Array]:
    """The same as `reference.evaluate` in numbers of `digits` decimal digits: object arrays of mpf (or mpc)."""
    with mpmath.workdps(digits):
        return evaluate(program, values, sizes, wanted, arithmetic=MULTIPRECISION)


def complex_step(
    program: Program,
    output: Tensor,
    values: Mapping[str, Any],
    directions: Mapping[str, Any],
    sizes: Mapping[Any, int] | None = None,
    *,
    digits: int = 60,
) -> Array:
    """The derivative of `output` along the directions (by tensor name): Im f(x + i h v) / h with h = 1e-30.

    No difference is taken, so nothing cancels; about 50 digits are right.  Comparisons look at real parts.
    Source: Squire and Trapp, Using complex variables to estimate derivatives of real functions, SIAM Review 40 (1998).
    """
    with mpmath.workdps(digits):
        shifted = {name: _lift(values[name]) + _lift(v) * mpc(0, STEP) for name, v in directions.items()}
        result = evaluate(program, {**values, **shifted}, sizes, [output], arithmetic=MULTIPRECISION)[output.name]
        return _objects(lambda z: mpmath.im(z) / STEP)(result)


def complex_step_gradient(
    program: Program,
    output: Tensor,
    wrt: Sequence[Tensor | str],
    values: Mapping[str, Any],
    sizes: Mapping[Any, int] | None = None,
    *,
    digits: int = 60,
) -> dict[str, Array]:
    """The gradient of the rank-0 tensor `output` by each element of `wrt`, by name: one evaluation for each."""
    gradients = {}
    for name in (w.name if isinstance(w, Tensor) else w for w in wrt):
        shape = np.shape(values[name])
        gradient = np.empty(shape, object)
        for element in np.ndindex(shape):
            direction = np.zeros(shape, int)
            direction[element] = 1
            gradient[element] = complex_step(program, output, values, {name: direction}, sizes, digits=digits)[()]
        gradients[name] = gradient
    return gradients


def hessian(
    program: Program,
    output: Tensor,
    values: Mapping[str, Any],
    wrt: Sequence[Tensor | str],
    sizes: Mapping[Any, int] | None = None,
    *,
    digits: int = 80,
) -> Array:
    """The second derivatives of the rank-0 tensor `output`, the elements of `wrt` in one row after the other.

    A central difference (step 1e-15) of complex steps: about 28 digits are right.
    """
    names = [w.name if isinstance(w, Tensor) else w for w in wrt]
    places = [(name, element) for name in names for element in np.ndindex(np.shape(values[name]))]
    result = np.empty((len(places), len(places)), object)
    with mpmath.workdps(digits):
        step = mpf("1e-15")
        base = {name: _lift(values[name]) for name in names}
        for (row, (a, at_a)), (column, (b, at_b)) in itertools.product(enumerate(places), repeat=2):
            direction = np.zeros(base[b].shape, int)
            direction[at_b] = 1
            slopes = []
            for sign in (1, -1):
                moved = base[a].copy()
                moved[at_a] += sign * step
                point = {**values, **base, a: moved}
                slopes.append(complex_step(program, output, point, {b: direction}, sizes, digits=digits)[()])
            result[row, column] = (slopes[0] - slopes[1]) / (2 * step)
    return result


def _objects(function: Callable[[Any], Any]) -> Callable[[Any], Array]:
    elementwise = np.frompyfunc(function, 1, 1)
    return lambda x: np.asarray(elementwise(x), object)  # of rank 0, too


def _convert(x: Any) -> Any:
    if isinstance(x, (mpf, mpc)):
        return x
    return mpf(int(x)) if isinstance(x, (int, np.integer, np.bool_)) else mpmath.mpmathify(x)


def _number(constant: Basic) -> Any:
    if constant.is_Rational:
        return mpf(int(constant.p)) / int(constant.q)
    if constant.is_Float:
        return mpmath.mp.make_mpf(constant._mpf_)  # the binary number that stands there, all its bits
    if constant.is_infinite or constant is sp.nan:
        return mpf(float(constant))
    return mpmath.mp.make_mpf(constant.n(mpmath.mp.dps + 10)._mpf_)


def _guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    """NaN instead of an exception or of a complex value on the real line, as in floating point."""

    def call(*arguments: Any) -> Any:
        if any(a != a for a in arguments):
            return mpf("nan")
        try:
            value = function(*arguments)
        except (ZeroDivisionError, ValueError, OverflowError):
            return mpf("nan")
        real = not any(isinstance(a, mpc) for a in arguments)
        return mpf("nan") if real and isinstance(value, mpc) else value

    return call


def _elementwise(function: Callable[[Any], Any]) -> Callable[..., Array]:
    return np.frompyfunc(_guarded(function), 1, 1)


def _exp(x: Any) -> Any:  # beyond e**1e6 the value would cost more memory than it is worth
    real = mpmath.re(x)
    return mpmath.exp(x) if abs(real) < 1e6 else mpf("inf") if real > 0 else mpf(0)


def _power(x: Any, y: Any) -> Any:
    if x == 0 and mpmath.re(y) < 0:
        return mpf("inf")
    return x**y


def _logsumexp(values: Array, mask: Array) -> Array:
    rows = np.empty(len(values), object)
    for k, (row, valid) in enumerate(zip(values, mask, strict=True)):
        terms = row[valid]
        top = max((mpmath.re(t) for t in terms), default=mpf("-inf"))
        if any(t != t for t in terms):
            rows[k] = mpf("nan")
        else:
            rows[k] = top if mpmath.isinf(top) else top + mpmath.log(sum(_exp(t - top) for t in terms))
    return rows


def _tanh(x: Any) -> Any:
    return mpmath.tanh(x) if abs(mpmath.re(x)) < 1e6 else mpf(1 if mpmath.re(x) > 0 else -1)


_lift = _objects(_convert)

MULTIPRECISION = Arithmetic(
    lift=_lift,
    number=_number,
    functions={
        "exp": _elementwise(_exp),
        "log": _elementwise(lambda x: mpmath.log(x) if x != 0 else mpf("-inf")),
        "sin": _elementwise(mpmath.sin),
        "cos": _elementwise(mpmath.cos),
        "tan": _elementwise(mpmath.tan),
        "atan": _elementwise(mpmath.atan),
        "tanh": _elementwise(_tanh),
        "erf": _elementwise(mpmath.erf),
        "erfc": _elementwise(mpmath.erfc),
        "normal_cdf": _elementwise(lambda x: mpmath.erfc(-x / mpmath.sqrt(2)) / 2),
        "logistic": _elementwise(lambda x: 1 / (1 + _exp(-x))),
        "softplus": _elementwise(lambda x: mpmath.log1p(_exp(x)) if mpmath.re(x) < 0 else x + mpmath.log1p(_exp(-x))),
        "expm1": _elementwise(lambda x: mpmath.expm1(x) if mpmath.re(x) < 1e6 else mpf("inf")),
        "log1p": _elementwise(mpmath.log1p),
        "power": np.frompyfunc(_guarded(_power), 2, 1),
        "logsumexp": _logsumexp,
    },
    key=np.frompyfunc(mpmath.re, 1, 1),
)


# ---------------------------------------------------------------------------------------------- magnitudes
BOTH = 1e-7  # how much the product of two roundings counts beside one: the precision of float32


@dataclass(frozen=True, slots=True, eq=False)
class Magnitude:
    """A float64 value, and the same with the absolute value of every term: the scale of the value's rounding error.

    A sum of terms has the sum of their magnitudes.  What cancelled in x (its magnitude less its absolute value) goes
    through everything else as a small change of x does: a function of x has |f(x)|, and besides |f'(x)| times it; a
    product |ab|, and besides |a| times that of b and |b| times that of a.  (The product of the magnitudes would square
    what cancelled at every step of a recurrence: a scale of 1e30, which nothing exceeds.)  Data and constants have
    their own size.
    """

    value: float
    size: float

    def __add__(self, other: Any) -> Magnitude:
        other = other if isinstance(other, Magnitude) else _plain(other)
        return Magnitude(self.value + other.value, self.size + other.size)

    def __mul__(self, other: Any) -> Magnitude:
        other = other if isinstance(other, Magnitude) else _plain(other)
        a, b = abs(self.value), abs(other.value)
        cancelled = a * other.lost + b * self.lost + BOTH * self.lost * other.lost
        return Magnitude(self.value * other.value, a * b + cancelled)

    __radd__ = __add__
    __rmul__ = __mul__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Magnitude) and self.value == other.value and self.size == other.size

    @property
    def lost(self) -> float:
        return 0.0 if math.isinf(self.value) else self.size - abs(self.value)


def magnitudes(
    program: Program,
    values: Mapping[str, Any],
    sizes: Mapping[Any, int] | None = None,
    wanted: Sequence[str | Tensor] | None = None,
) -> dict[str, Array]:
    """By name, the magnitude of every element of `wanted`, as float64; of an integer tensor its values."""
    results = evaluate(program, values, sizes, wanted, arithmetic=MAGNITUDE)
    size = np.frompyfunc(lambda m: m.size if isinstance(m, Magnitude) else abs(float(m)), 1, 1)
    return {name: np.asarray(size(array), float) for name, array in results.items()}


def _plain(x: Any) -> Magnitude:
    return x if isinstance(x, Magnitude) else Magnitude(float(x), abs(float(x)))


def _bounded(name: str, slope: Callable[[float], float]) -> Callable[..., Array]:
    function = FLOAT64.functions[name]

    def call(x: Magnitude) -> Magnitude:
        value = float(function(np.array([x.value]))[0])
        return Magnitude(value, abs(value) + abs(slope(np.float64(x.value))) * x.lost if x.lost else abs(value))

    return np.frompyfunc(call, 1, 1)


def _magnitude_power(x: Magnitude, y: Any) -> Magnitude:
    exponent = y.value if isinstance(y, Magnitude) else float(y)
    base = np.float64(x.value)
    value = float(FLOAT64.functions["power"](np.array([base]), np.array([exponent]))[0])
    if exponent >= 0 and exponent == int(exponent):
        return math.prod([x] * int(exponent), start=_plain(1.0))
    size = abs(value) + (abs(exponent * base ** (exponent - 1)) * x.lost if x.lost else 0)
    if isinstance(y, Magnitude) and y.lost:
        size += abs(value * np.log(base)) * y.lost
    return Magnitude(value, float(size))


def _magnitude_logsumexp(terms: Array, mask: Array) -> Array:
    values = np.array([[t.value for t in row] for row in terms]).reshape(terms.shape)
    totals = FLOAT64.functions["logsumexp"](values, mask)
    rows = np.empty(len(terms), object)
    for k, (row, valid, total) in enumerate(zip(terms, mask, totals, strict=True)):
        lost = sum(float(np.exp(t.value - total)) * t.lost for t in row[valid] if t.lost)
        rows[k] = Magnitude(float(total), abs(float(total)) + lost)
    return rows


_SLOPES: dict[str, Callable[[float], float]] = {
    "exp": np.exp, "log": lambda x: 1 / x, "sin": np.cos, "cos": np.sin, "tan": lambda x: 1 + np.tan(x) ** 2,
    "atan": lambda x: 1 / (1 + x * x),
    "tanh": lambda x: 1 - np.tanh(x) ** 2, "erf": lambda x: 2 * np.exp(-x * x), "erfc": lambda x: 2 * np.exp(-x * x),
    "normal_cdf": lambda x: np.exp(-x * x / 2),
    "logistic": lambda x: np.exp(-abs(x)), "softplus": lambda x: 1.0, "expm1": np.exp, "log1p": lambda x: 1 / (1 + x),
}  # fmt: skip

MAGNITUDE = Arithmetic(
    lift=_objects(_plain),
    number=lambda constant: _plain(FLOAT64.number(constant)),
    functions={
        **{name: _bounded(name, slope) for name, slope in _SLOPES.items()},
        "power": np.frompyfunc(_magnitude_power, 2, 1),
        "logsumexp": _magnitude_logsumexp,
    },
    key=np.frompyfunc(lambda m: m.value, 1, 1),
)
