"""Counter-based random numbers: pure functions of integers, the same in every process and in any order.

    mix(z)             splitmix64's output function at z + 0x9E3779B97F4A7C15       (Steele, Lea, Flood 2014)
    hash(k1, ..., kn)  h = 0x9E3779B97F4A7C15; for each k: h = mix(h xor (k * 0xD1342543DE82EF95)), modulo 2^64
    uniform(k...)      float64: (hash >> 11) * 2^-53;  float32: (hash >> 40) * 2^-24

`hash_of` and `uniform_of` are the same in Python's integers, for tests and for callers without a kernel.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

MASK = (1 << 64) - 1
START = 0x9E3779B97F4A7C15
KEY = 0xD1342543DE82EF95
FIRST, SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def mix(z: int) -> int:
    z = (z + START) & MASK
    z = ((z ^ (z >> 30)) * FIRST) & MASK
    z = ((z ^ (z >> 27)) * SECOND) & MASK
    return z ^ (z >> 31)


def hash_of(*keys: int) -> int:
    h = START
    for key in keys:
        h = mix(h ^ ((key & MASK) * KEY & MASK))
    return h


def uniform_of(*keys: int, dtype: str = "float64") -> float:
    h = hash_of(*keys)
    return (h >> 11) * 2.0**-53 if dtype == "float64" else (h >> 40) * 2.0**-24


# ---------------------------------------------------------------------------------------------- as LLVM instructions
def emit_hash(builder: Any, keys: Iterable[Any]) -> Any:
    """The hash of values of type i64, or of vectors of these."""
    from llvmlite import ir

    keys = list(keys)

    def constant(number: int) -> Any:
        return ir.Constant(keys[0].type, number)

    h: Any = constant(START)
    for key in keys:
        z = builder.add(builder.xor(h, builder.mul(key, constant(KEY))), constant(START))
        z = builder.mul(builder.xor(z, builder.lshr(z, constant(30))), constant(FIRST))
        z = builder.mul(builder.xor(z, builder.lshr(z, constant(27))), constant(SECOND))
        h = builder.xor(z, builder.lshr(z, constant(31)))
    return h


def emit_uniform(builder: Any, keys: Iterable[Any], dtype: str) -> Any:
    """The uniform number of values of type i64, or of vectors of these."""
    from llvmlite import ir

    kind, shift, unit = (ir.DoubleType(), 11, 2.0**-53) if dtype == "float64" else (ir.FloatType(), 40, 2.0**-24)
    mixed = emit_hash(builder, keys)
    if isinstance(mixed.type, ir.VectorType):
        kind = ir.VectorType(kind, mixed.type.count)
    bits = builder.lshr(mixed, ir.Constant(mixed.type, shift))
    return builder.fmul(builder.sitofp(bits, kind), ir.Constant(kind, unit))
