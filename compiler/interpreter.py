"""The names of generated source, for Python itself: the general loop nests can be run without compiling anything.

Arrays stand for pointers (flat views), NumPy scalars for registers; warnings of overflow are silenced by the caller's
`np.errstate` where it wants that.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

_MASK = (1 << 64) - 1


def _real(x: Any) -> Any:
    return x if isinstance(x, np.float32) else np.float64(x)


def _quiet(function: Callable[..., Any]) -> Callable[..., Any]:
    def quiet(*arguments: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(*map(_real, arguments))

    return quiet


def _rounded(function: Callable[[float], float]) -> Callable[[Any], Any]:
    """In float64, then in the argument's kind."""
    return lambda x: type(_real(x))(function(float(x)))


def _mix(h: int) -> int:
    h = (h + 0x9E3779B97F4A7C15) & _MASK
    h = ((h ^ (h >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    h = ((h ^ (h >> 27)) * 0x94D049BB133111EB) & _MASK
    return h ^ (h >> 31)


def _hash(*keys: int) -> int:
    h = 0x9E3779B97F4A7C15
    for key in keys:
        h = _mix(h ^ ((int(key) & _MASK) * 0xD1342543DE82EF95 & _MASK))
    return h


def _integers(array: Any) -> Any:
    return array.reshape(-1).view(np.int64)


def product(spec: Any) -> Callable[..., None]:
    """What the kernel of a `kernels.matmul.Matmul` computes, on the same flat memory."""

    def run(a: Any, b: Any, c: Any, d: Any, rows: int, columns: int, depth: int, *more: Any) -> None:
        m = np.arange(rows if spec.m is None else spec.m)
        n = np.arange(columns if spec.n is None or spec.part else spec.n)
        k = np.arange(depth if spec.k is None else spec.k)
        of_a = m[:, None] * spec.lda + k if spec.a == "k" else k * spec.lda + m[:, None]
        of_b = k[:, None] * spec.ldb + n if spec.b == "n" else n * spec.ldb + k[:, None]
        place = m[:, None] * spec.ldc + n
        start = c[place] if spec.start == "c" else d[n] if spec.start == "bias" else 0.0
        total = sum(a[of_a + x] @ b[of_b + y] for x, y in _segments(spec.segments))
        tensors, numbers = more[: spec.epilogue.tensors], more[spec.epilogue.tensors :]
        leaves: dict[Any, Any] = {("sum",): start + total}
        leaves |= {("at", q): tensor[place] for q, tensor in enumerate(tensors)}
        leaves |= {("number", q): number for q, number in enumerate(numbers)}
        c[place] = spec.epilogue.value(leaves.__getitem__)

    return run


def _segments(segments: Any) -> list[tuple[int, int]]:
    """The steps in A and B to each part of the sum."""
    places = [(0, 0)]
    for count, of_a, of_b in segments:
        places = [(x + q * of_a, y + q * of_b) for x, y in places for q in range(count)]
    return places


NAMESPACE: dict[str, Any] = {
    "F64": np.float64,
    "F32": np.float32,
    "I64": int,
    "pointer_f64": lambda array: array.reshape(-1),
    "pointer_f32": lambda array: array.reshape(-1),
    "pointer_i64": _integers,
    "offset": lambda array, start: array[start:],
    "select": lambda condition, a, b: a if condition else b,
    "quotient": lambda a, b: a / b,
    "reduce_add": lambda a, b: a + b,
    "reduce_max": lambda a, b: np.maximum(a, b),
    "isfinite": np.isfinite,
    "fork": lambda table, part, place: part(table, 0, 1),
    "barrier": lambda team: None,
    "uniform_f64": lambda *keys: (_hash(*keys) >> 11) * 2.0**-53,
    "uniform_f32": lambda *keys: np.float32((_hash(*keys) >> 40) * 2.0**-24),
    "exp": _quiet(np.exp),
    "log": _quiet(np.log),
    "sqrt": _quiet(np.sqrt),
    "sin": _quiet(np.sin),
    "cos": _quiet(np.cos),
    "tan": _quiet(np.tan),
    "atan": _quiet(np.arctan),
    "tanh": _quiet(np.tanh),
    "expm1": _quiet(np.expm1),
    "log1p": _quiet(np.log1p),
    "erf": _rounded(math.erf),
    "erfc": _rounded(math.erfc),
    "normal_cdf": _rounded(lambda x: math.erfc(-x * math.sqrt(0.5)) / 2),
    "logistic": _quiet(lambda x: np.exp(-np.logaddexp(0.0, -x))),
    "softplus": _quiet(lambda x: np.logaddexp(0.0, x)),
}
