"""The numbers that the oracle computes in: binary floating point, and the random numbers of the language.

In: arrays.  Out: arrays.  `reference` asks an Arithmetic for every operation; `reference_mp` has others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sympy import Basic

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """A kind of numbers.

    lift makes an array of these numbers from reals or integers, number one of them from an exact SymPy constant; key
    is what comparisons look at; functions has power(x, y), logsumexp(x, mask) over the last axis, and the scalar ones.
    """

    lift: Callable[[Array], Array]
    number: Callable[[Basic], Any]
    functions: Mapping[str, Callable[..., Array]]
    key: Callable[[Array], Array] = lambda x: x


def mixed(z: Array) -> Array:
    """The bits of each number (uint64) mixed, one to one.  Source: Steele, Lea and Flood, SplitMix64, OOPSLA 2014."""
    z = z + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def uniform(*keys: Array) -> Array:
    """The counter-based random numbers of the language; the docstring of compiler.functions.uniform gives the bits."""
    h = np.full(1, 0x9E3779B97F4A7C15, np.uint64)
    for key in keys:
        h = mixed(h ^ (np.asarray(key).astype(np.int64).astype(np.uint64) * np.uint64(0xD1342543DE82EF95)))
    return (h >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _power(x: Array, y: Array) -> Array:
    if y.size == 1 and y.flat[0] == 0.5:  # power(-inf, 0.5) is inf, of which sqrt knows better
        return np.sqrt(x)
    result: Array = np.power(x, y.astype(x.dtype))
    return result


def _logsumexp(x: Array, mask: Array) -> Array:
    x = np.where(mask, x, -np.inf)
    top = x.max(axis=1, initial=-np.inf)[:, None]
    shift = np.where(np.isfinite(top), top, 0)
    result: Array = np.where(np.isinf(top), top, shift + np.log(np.exp(x - shift).sum(axis=1)[:, None]))[:, 0]
    return result.astype(x.dtype)


def _logistic(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e / (1 + e), 1 / (1 + e))


def _softplus(x: Array) -> Array:
    result: Array = np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))
    return result


def floating(dtype: Any) -> Arithmetic:
    """Binary floating-point numbers: float32, float64 or longdouble."""
    real = np.dtype(dtype)

    def elementwise(function: Callable[[float], float]) -> Callable[[Array], Array]:
        return lambda x: np.frompyfunc(lambda v: function(float(v)), 1, 1)(x).astype(real)

    def number(constant: Basic) -> Any:
        if constant.is_Rational and not constant.is_infinite:
            return real.type(constant.p) / real.type(constant.q)
        if real.itemsize <= 8:
            return real.type(float(constant))
        return real.type(str(constant.n(30)))

    functions: dict[str, Callable[..., Array]] = {
        "exp": np.exp, "log": np.log, "sin": np.sin, "cos": np.cos, "tan": np.tan, "tanh": np.tanh,
        "atan": np.arctan, "erf": elementwise(math.erf), "erfc": elementwise(math.erfc), "logistic": _logistic,
        "softplus": _softplus,
        "expm1": np.expm1, "log1p": np.log1p, "normal_cdf": elementwise(lambda x: math.erfc(-x * math.sqrt(0.5)) / 2),
        "power": _power, "logsumexp": _logsumexp,
    }  # fmt: skip
    return Arithmetic(lambda x: np.asarray(x, real), number, functions)


FLOAT64 = floating(np.float64)
