"""Errors of compiler/kernels/vectormath.py in units in the last place; tests/RESULTS.md has results to compare with.

    python -m tests.ulp [points] [function ...]     at least so many points (100,000) of each, against mpmath
    python -m tests.ulp --all [function ...]        all 2^32 float32 arguments, against the C library's float64

A unit is the distance of neighbouring numbers of the format at the exact value (the smallest subnormal below the
normal numbers).  Points are stratified: magnitudes spread evenly over all exponents, both signs; the range where the
function is neither constant nor linear, evenly and near its zeros and ends; and the neighbours of special points.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import mpmath as mp
import numpy as np

from compiler import native

LIMITS = {
    "exp": 2, "expm1": 2, "log": 2, "log1p": 2, "tanh": 4, "logistic": 4, "softplus": 4, "erf": 4, "erfc": 4, "sin": 4,
    "cos": 4, "tan": 4, "atan": 4, "sqrt": 0.5,
}  # fmt: skip

# Where the function bends, float32 and float64: the interval that half of the points come from.
RANGES = {
    "exp": ((-105, 90), (-750, 711)),
    "expm1": ((-20, 90), (-40, 711)),
    "log": ((0, 4), (0, 4)),
    "log1p": ((-1, 4), (-1, 4)),
    "tanh": ((-10, 10), (-20, 20)),
    "logistic": ((-105, 20), (-750, 40)),
    "softplus": ((-105, 20), (-750, 40)),
    "erf": ((-4.2, 4.2), (-6, 6)),
    "erfc": ((-4, 10.3), (-6, 27.4)),
    "sin": ((-30, 30), (-30, 30)),
    "cos": ((-30, 30), (-30, 30)),
    "tan": ((-30, 30), (-30, 30)),
    "atan": ((-4, 4), (-4, 4)),
    "sqrt": ((0, 4), (0, 4)),
}


def _logistic(x: mp.mpf) -> mp.mpf:
    return 1 / (1 + mp.exp(-x)) if x > 0 else mp.exp(x) / (1 + mp.exp(x))


def _softplus(x: mp.mpf) -> mp.mpf:
    return mp.log1p(mp.exp(-abs(x))) + max(x, mp.mpf(0))


EXACT: dict[str, Callable[[mp.mpf], mp.mpf]] = {
    "exp": mp.exp, "expm1": mp.expm1, "log": mp.log, "log1p": mp.log1p, "tanh": mp.tanh, "logistic": _logistic,
    "softplus": _softplus, "erf": mp.erf, "erfc": mp.erfc, "sin": mp.sin, "cos": mp.cos, "tan": mp.tan, "sqrt": mp.sqrt,
    "atan": mp.atan,
}  # fmt: skip


def evaluate(name: str, x: np.ndarray) -> np.ndarray:
    """The compiled function at every element, in a loop that LLVM vectorizes."""
    pointer = {"float32": "pointer_f32", "float64": "pointer_f64"}[str(x.dtype)]
    text = (
        f"def each(table):\n    x = {pointer}(table[0])\n    y = {pointer}(table[1])\n"
        f"    for i in range(table[2]):\n        y[i] = {name}(x[i])\n"
    )
    x = np.ascontiguousarray(x)
    y = np.empty_like(x)
    table = np.array([x.ctypes.data, y.ctypes.data, x.size], np.int64)
    native.callable_from(native.build_source(text, "each"), "void(i64*)")(table.ctypes.data)
    return y


def points(name: str, dtype: str, count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    kind = np.dtype(dtype).type
    low, high = RANGES[name][dtype == "float64"]
    unsigned = np.uint32 if dtype == "float32" else np.uint64
    any_bits = rng.integers(0, np.iinfo(unsigned).max, count // 4, unsigned, endpoint=True).view(dtype)
    inside = rng.uniform(low, high, count // 2).astype(dtype)
    centre = rng.choice(np.array([0, 1, -1, low, high, np.pi, np.pi / 2]), count // 4)
    scale = 10.0 ** rng.uniform(-9 if dtype == "float32" else -18, 0, count // 4)
    near = (centre + scale * rng.choice([-1, 1], count // 4)).astype(dtype)
    special = np.array([0.0, 1.0, 0.5, 2.0, np.pi, np.pi / 2, 1e5, 1e6, 88.72, 709.78, 103.9, 745.1]).astype(dtype)
    special = np.concatenate([special, -special])
    with np.errstate(all="ignore"):
        special = np.concatenate([special, np.nextafter(special, kind(np.inf)), np.nextafter(special, -kind(np.inf))])
    x = np.concatenate([any_bits, inside, near, special])
    x = x[np.isfinite(x)]
    if name in ("log", "sqrt"):
        x = np.abs(x)
    if name == "log":
        x = x[x > 0]
    return x[x > -1] if name == "log1p" else x


def errors(name: str, x: np.ndarray) -> np.ndarray:
    """The error of the compiled function at each point, in units in the last place."""
    got = evaluate(name, x)
    info = np.finfo(x.dtype)
    largest, lowest, fraction = mp.mpf(float(info.max)), int(info.minexp), int(info.nmant)
    result = np.empty(x.size)
    with mp.workprec(160):
        for i, (a, b) in enumerate(zip(x.tolist(), got.tolist(), strict=True)):
            exact = _exact(name, mp.mpf(a))
            if np.isnan(b):
                result[i] = np.inf
                continue
            exponent = max(int(mp.floor(mp.log(abs(exact), 2))), lowest) if exact else lowest
            unit = mp.mpf(2) ** (min(exponent, int(info.maxexp) - 1) - fraction)
            if abs(exact) >= largest + unit / 2 and np.isinf(b):
                result[i] = 0 if (b > 0) == (exact > 0) else np.inf
                continue
            value = mp.sign(b) * mp.mpf(2) ** int(info.maxexp) if np.isinf(b) else mp.mpf(b)
            result[i] = float(abs(value - exact) / unit)
    return result


def _exact(name: str, x: mp.mpf) -> mp.mpf:
    """The function; where it has left every format, a number that has left it, too."""
    if name in ("exp", "expm1") and x > 800:
        return mp.mpf(2) ** 2000
    if name in ("exp", "logistic", "softplus", "erfc", "expm1") and abs(x) > 800:
        small = mp.mpf(2) ** -2000
        ends = {"exp": (small, small), "expm1": (small - 1, small), "logistic": (small, 1 - small)}
        ends |= {"softplus": (small, x), "erfc": (2 - small, small)}
        return ends[name][x > 0]
    return EXACT[name](x)


# ---------------------------------------------------------------------------------------------- every float32
LIBRARY = {"logistic": ("exp",), "softplus": ("exp", "log1p"), "normal_cdf": ("erfc",)}
FROM_LIBRARY = {
    "logistic": "1.0 / (1.0 + exp_(-a))",
    "softplus": "select(a > 0.0, a, 0.0) + log1p_(exp_(-select(a > 0.0, a, -a)))",
    "normal_cdf": "0.5 * erfc_(-0.7071067811865476 * a)",
}
CHUNK = 1 << 18


def worst_of_all(name: str) -> tuple[float, float]:
    """The largest error among all float32 arguments, and one that has it; NaN must come where it should."""
    text = (
        "def each(table):\n"
        "    x = pointer_f32(table[0])\n    y = pointer_f32(table[1])\n    z = pointer_f64(table[2])\n"
        f"    for i in range({CHUNK}):\n        y[i] = {name}(x[i])\n"
        f"    for i in range({CHUNK}):\n        a = F64(x[i])\n        z[i] = {FROM_LIBRARY.get(name, name + '_(a)')}\n"
    )
    names = {f"{symbol}_": native.Extern(symbol, "f64(f64)") for symbol in LIBRARY.get(name, (name,))}
    run = native.callable_from(native.build_source(text, "each", names), "void(i64*)")
    x, y, z = np.empty(CHUNK, np.float32), np.empty(CHUNK, np.float32), np.empty(CHUNK)
    table = np.array([x.ctypes.data, y.ctypes.data, z.ctypes.data], np.int64)
    first = np.arange(CHUNK, dtype=np.uint32)
    worst, where = -1.0, 0.0
    for start in range(0, 1 << 32, CHUNK):
        np.add(first, np.uint32(start), out=x.view(np.uint32))
        run(table.ctypes.data)
        exponent = np.clip((z.view(np.int64) >> 52) & 2047, 1023 - 126, 1023 + 127)
        per_unit = ((1023 + 23 + 1023 - exponent) << 52).view(np.float64)
        end = 2.0**128
        with np.errstate(invalid="ignore"):  # signaling NaN
            found = np.abs(np.clip(y.astype(float), -end, end) - np.clip(z, -end, end)) * per_unit
        top = float(found.max())
        if np.isnan(top):
            assert (np.isnan(y) == np.isnan(z)).all(), f"NaN where there should be none, or none, near {x[0]!r}"
            found[np.isnan(z)] = 0
            top = float(found.max())
        if top > worst:
            worst, where = top, float(x[int(np.argmax(found))])
    return worst, where


def main() -> None:
    exhaustive, words = "--all" in sys.argv, [word for word in sys.argv[1:] if word != "--all"]
    count = int(words.pop(0)) if words and words[0].isdigit() else 100_000
    for name in words or list(LIMITS):
        for dtype in ("float32",) if exhaustive else ("float32", "float64"):
            if exhaustive:
                (worst, where), number = worst_of_all(name), 1 << 32
            else:
                x = points(name, dtype, count * 4 // 3)  # some are outside the domain
                found = errors(name, x)
                worst, where, number = found.max(), float(x[np.argmax(found)]), x.size
                assert number >= count
            state = "" if worst <= LIMITS[name] else f" ABOVE {LIMITS[name]}"
            print(f"| {name} | {dtype} | {number:,} | {worst:.3f}{state} | {where!r} |", flush=True)


if __name__ == "__main__":
    main()
