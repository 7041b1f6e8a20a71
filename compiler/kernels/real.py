"""Arithmetic that emits LLVM instructions: what the formulas of vectormath are written in.

A `Real` stands for a value of LLVM's type float or double, or a vector of these; `Bits` for its pattern as an unsigned
integer.  Products and sums carry the flag `contract` and no other: nothing here may be reassociated, and NaN and
infinity are values.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from typing import Any

from llvmlite import ir

from ..native import features


@dataclass(frozen=True, slots=True)
class Format:
    """A floating-point format and the constants that formulas need."""

    name: str
    bits: int
    fraction: int  # bits of the fraction
    magic: float  # 1.5 * 2^fraction: added to a small number, it leaves the nearest integer in the low bits
    log2_high: float  # log 2 in two parts: an exponent times the high one is exact
    log2_low: float
    exp_low: float  # at and below it, exp is 0
    exp_high: float  # at and above it, exp is infinite
    expm1_low: float  # at and below it, expm1 is -1
    tiny: float  # the smallest normal number
    half_pi: tuple[float, float, float]  # pi / 2 in three parts
    many_turns: float  # up to here n pi / 2, n rounded, is reduced to |r| < 1.02 pi / 4

    @property
    def bias(self) -> int:
        return (1 << (self.bits - self.fraction - 2)) - 1


FORMATS = {
    "float32": Format(
        "float32",
        32,
        23,
        12582912.0,
        0.693359375,
        -2.12194440e-4,
        -104.0,
        89.0,
        -18.0,
        2.0**-126,
        (1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15),
        2.0**18,
    ),
    "float64": Format(
        "float64",
        64,
        52,
        6755399441055744.0,
        6.93147180369123816490e-01,
        1.90821492927058770002e-10,
        -746.0,
        710.0,
        -40.0,
        2.0**-1022,
        (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33),
        2.0**46,
    ),
}


@cache
def has_fma() -> bool:
    """Whether a fused multiply-add is an instruction here; else it would be a slow call."""
    return bool({"fma", "neon"} & features())


def has_estimates() -> bool:
    """Whether instructions give 14 bits of a reciprocal, of each element of a vector."""
    return {"avx512f", "avx512vl"} <= features()


def rounded(number: float, format: Format) -> float:
    """The number in the format."""
    return float(struct.unpack("f", struct.pack("f", number))[0]) if format.bits == 32 else number


def pattern(number: float, format: Format) -> int:
    """The number's bits."""
    pack, unpack = ("<f", "<I") if format.bits == 32 else ("<d", "<Q")
    return int(struct.unpack(unpack, struct.pack(pack, number))[0])


def splat(kind: Any, number: float) -> Any:
    """The constant of a type that may be a vector's"""
    return ir.Constant(kind, [number] * kind.count if isinstance(kind, ir.VectorType) else number)


@dataclass(frozen=True, slots=True)
class Real:
    builder: Any
    value: Any
    format: Format

    def _of(self, value: Any) -> Real:
        return Real(self.builder, value, self.format)

    def constant(self, number: Real | float) -> Real:
        if isinstance(number, Real):
            return number
        return self._of(splat(self.value.type, rounded(number, self.format)))

    def __add__(self, other: Real | float) -> Real:
        return self._of(self.builder.fadd(self.value, self.constant(other).value, flags=("contract",)))

    def __sub__(self, other: Real | float) -> Real:
        return self._of(self.builder.fsub(self.value, self.constant(other).value, flags=("contract",)))

    def __rsub__(self, other: float) -> Real:
        return self.constant(other) - self

    def __mul__(self, other: Real | float) -> Real:
        return self._of(self.builder.fmul(self.value, self.constant(other).value, flags=("contract",)))

    def __truediv__(self, other: Real | float) -> Real:
        return self._of(self.builder.fdiv(self.value, self.constant(other).value))

    def times_reciprocal(self, other: Real) -> Real:
        """self / other by the processor's estimate, as native.ESTIMATES says; what is infinite may become NaN."""
        return self._of(self.builder.fdiv(self.value, other.value, flags=("arcp", "ninf", "contract")))

    def __neg__(self) -> Real:
        return self._of(self.builder.fneg(self.value))

    def __abs__(self) -> Real:
        return self.call("fabs")

    def __lt__(self, other: Real | float) -> Any:
        return self.builder.fcmp_ordered("<", self.value, self.constant(other).value)

    def __gt__(self, other: Real | float) -> Any:
        return self.builder.fcmp_ordered(">", self.value, self.constant(other).value)

    def equals(self, other: Real | float) -> Any:
        return self.builder.fcmp_ordered("==", self.value, self.constant(other).value)

    def unordered(self) -> Any:
        """Whether it is NaN."""
        return self.builder.fcmp_unordered("uno", self.value, self.value)

    def choose(self, condition: Any, other: Real | float) -> Real:
        """self where the condition holds, else other"""
        return self._of(self.builder.select(condition, self.value, self.constant(other).value))

    def at_least(self, low: float) -> Real:
        """max(self, low); NaN stays"""
        return self.constant(low).choose(self < low, self)

    def at_most(self, high: float) -> Real:
        """min(self, high); NaN stays"""
        return self.constant(high).choose(self > high, self)

    def sign_of(self, other: Real) -> Real:
        """self with the sign of other"""
        return self.call("copysign", other)

    def fused(self, factor: Real | float, term: Real | float) -> Real:
        """self * factor + term, in one rounding where the processor can"""
        factor, term = self.constant(factor), self.constant(term)
        return self.call("fma", factor, term) if has_fma() else self * factor + term

    def call(self, name: str, *others: Real) -> Real:
        """One of LLVM's intrinsics"""
        kind = self.value.type
        lanes = f"v{kind.count}" if isinstance(kind, ir.VectorType) else ""
        name = f"llvm.{name}.{lanes}f{self.format.bits}"
        values = [self.value, *(o.value for o in others)]
        module = self.builder.module
        function = module.globals.get(name) or ir.Function(module, ir.FunctionType(kind, [kind] * len(values)), name)
        return self._of(self.builder.call(function, values))

    def bits(self) -> Bits:
        kind: Any = ir.IntType(self.format.bits)
        if isinstance(self.value.type, ir.VectorType):
            kind = ir.VectorType(kind, self.value.type.count)
        return Bits(self.builder, self.builder.bitcast(self.value, kind), self)


@dataclass(frozen=True, slots=True)
class Bits:
    builder: Any
    value: Any
    origin: Real

    def _with(self, operation: str, number: int) -> Bits:
        right = splat(self.value.type, number & ((1 << self.origin.format.bits) - 1))
        return Bits(self.builder, getattr(self.builder, operation)(self.value, right), self.origin)

    def __add__(self, number: int) -> Bits:
        return self._with("add", number)

    def __and__(self, number: int) -> Bits:
        return self._with("and_", number)

    def __xor__(self, number: int) -> Bits:
        return self._with("xor", number)

    def __lshift__(self, count: int) -> Bits:
        return self._with("shl", count)

    def __rshift__(self, count: int) -> Bits:
        return self._with("lshr", count)

    def toggled(self, other: Bits) -> Bits:
        """The exclusive or of both"""
        return Bits(self.builder, self.builder.xor(self.value, other.value), self.origin)

    def is_set(self, bit: int) -> Any:
        return self.builder.icmp_unsigned("!=", (self & bit).value, splat(self.value.type, 0))

    def real(self) -> Real:
        return Real(self.builder, self.builder.bitcast(self.value, self.origin.value.type), self.origin.format)
