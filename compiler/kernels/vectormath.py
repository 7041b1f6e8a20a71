"""exp, log, tanh, ... as plain arithmetic, so that LLVM vectorizes a loop that calls them.

A formula here is written once, on `Real`, and emits LLVM instructions where it is called.  There is no branch and no
table: both arms of a choice are computed and selected.  Special values come out as in C99: zeros keep their sign, NaN
stays NaN, infinities and subnormal results are right.  sin, cos and tan need a branch: huge arguments are the C
library's.  They are functions out of line with forms for vectors (variants.py).  With AVX-512 an element takes 0.32 ns
in float32 and 0.77 in float64, tan 0.36 and 0.83; the C library 3.9 to 9.7 (`python -m tests.speed functions`).

    exp(x)   = 2^n e^r,  n = round(x / log 2),  e^r = 1 + r + r^2 EXP(r)      (Cody and Waite's reduction)
    log(x)   = k log 2 + log(1+f),  sqrt(1/2) <= 1+f < sqrt(2)
               float32: log(1+f) = f - f^2/2 + f^3 LOG(f);  float64: through s = f/(2+f), as in fdlibm's e_log.c
    log1p    = the same, with f corrected by what 1+x lost
    expm1    = 2 (2^(n-1) (e^r - 1) + (2^(n-1) - 1/2))
    tanh     = w / (w+1), w = expm1(2|x|) / 2
    logistic = (1 or e) / (1+e),  softplus = max(x,0) + log1p(e),  e = exp(-|x|)
    erf      = x ERF(x^2) below 1, else 1 - exp(LOG_ERFC(|x|))
    erfc     = 1 - x ERF(x^2) below 1/2, else exp(-x^2) ERFCX((x-4)/(x+4)) / (1+2x), with x^2 in two parts
    atan     = a + t + t^3 ATAN(t^2), with a = 0, pi/4, pi/2 and t = |x|, (|x|-1)/(|x|+1), -1/|x|, so that |t| < 0.415
    sin, cos = +- s or c by n mod 4,  |x| = n pi/2 + r,  z = r^2,  s = r + r z SIN(z),  c = 1 - z/2 + z^2 COS(z)

Coefficients: `python -m tests.minimax` derives them.  Errors against mpmath: `python -m tests.ulp` prints them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from .real import FORMATS, Bits, Format, Real, has_estimates, has_fma, pattern
from .variants import Cases

# Highest power first, with the weighted error of each.
POLYNOMIALS: dict[str, dict[str, tuple[float, ...]]] = {
    "float32": {
        "EXP": (  # error 1.45e-8
            0.0013946003746241331,
            0.008366347290575504,
            0.041666291654109955,
            0.1666654497385025,
            0.5,
        ),
        "LOG": (  # error 7.62e-10
            0.06921079754829407,
            -0.1178070679306984,
            0.11865119636058807,
            -0.12385550141334534,
            0.14220023155212402,
            -0.16669216752052307,
            0.20002146065235138,
            -0.24999986588954926,
            0.3333331048488617,
        ),
        "ERF": (  # error 1.18e-9
            7.889132393756881e-05,
            -0.0008020845125429332,
            0.005189535673707724,
            -0.026854444295167923,
            0.11283600330352783,
            -0.3761262595653534,
            1.1283791065216064,
        ),
        "LOG_ERFC": (  # error 1.13e-9
            0.00018797161465045065,
            -0.0029640058055520058,
            0.021906476467847824,
            -0.10325620323419571,
            -0.6379650235176086,
            -1.1272022724151611,
            -0.0003124687063973397,
        ),
        "ERFCX": (  # error 2.61e-9
            0.0001125830749515444,
            -0.00024792796466499567,
            -0.0007043916848488152,
            0.005080905742943287,
            -0.016235550865530968,
            0.03714178130030632,
            -0.06631647795438766,
            0.09373965114355087,
            -0.1010415107011795,
            0.06809627264738083,
            0.015379814431071281,
            -0.1396210938692093,
            1.2329951524734497,
        ),
        "SIN": (  # error 4.21e-9
            -0.000195043467101641,
            0.0083320839330554,
            -0.16666653752326965,
        ),
        "COS": (  # error 1.16e-10
            2.4423987269983627e-05,
            -0.0013887244276702404,
            0.04166664555668831,
        ),
        "ATAN": (  # error 6.78e-10
            -0.060720592737197876,
            0.10591789335012436,
            -0.14243322610855103,
            0.19998463988304138,
            -0.33333316445350647,
        ),
    },
    "float64": {
        "EXP": (  # error 2.03e-17
            2.5113978073365026e-08,
            2.762554572982124e-07,
            2.755722963696031e-06,
            2.4801506690533337e-05,
            0.00019841269900989762,
            0.0013888888930171503,
            0.008333333333315618,
            0.04166666666658206,
            0.16666666666666685,
            0.5000000000000004,
        ),
        "LOG_RATIO": (  # error 2.47e-18
            0.14796624219517182,
            0.15313986845435162,
            0.18183566664147616,
            0.22222198531289855,
            0.28571428742763694,
            0.39999999999413144,
            0.6666666666666735,
        ),
        "ERF": (  # error 7.1e-18
            -7.801188987413148e-10,
            1.372297597471211e-08,
            -1.62091757495891e-07,
            1.6447517642377853e-06,
            -1.4924744659133548e-05,
            0.00012055295320198352,
            -0.0008548325989684064,
            0.0052239776074231425,
            -0.02686617064327617,
            0.11283791670945253,
            -0.3761263890318355,
            1.1283791670955126,
        ),
        "LOG_ERFC": (  # error 3.63e-17
            1.9095120407175806e-11,
            -7.016978577779144e-10,
            1.1729535618196788e-08,
            -1.1660896985747979e-07,
            7.461796846957886e-07,
            -2.9690714472853107e-06,
            4.740217199334788e-06,
            2.4691124970641963e-05,
            -0.0002231338051169913,
            0.0009066520597236823,
            -0.0020805340343890057,
            0.0005648420472273187,
            0.018880633980542197,
            -0.1026464568337987,
            -0.6366640861121554,
            -1.128369562182167,
            -9.679414845646773e-07,
        ),
        "ERFCX": (  # error 8.38e-18
            -2.565278889130879e-10,
            9.332829028608743e-10,
            3.1131541462578157e-09,
            -1.235898049323344e-08,
            -2.0412963131789115e-08,
            1.0636881818896512e-07,
            7.724797394379497e-08,
            -8.211369902920362e-07,
            2.921847939897525e-07,
            5.7066429294260575e-06,
            -1.1221420014161373e-05,
            -2.43977688666163e-05,
            0.00015062154578795374,
            -0.00019925713803844604,
            -0.000757773276760201,
            0.005031970065554924,
            -0.01619773405711039,
            0.03716751552687074,
            -0.06633036581246395,
            0.09373283499906818,
            -0.10103906603628583,
            0.0680970542546701,
            0.015379652102619297,
            -0.1396211168405623,
            1.2329951186255526,
        ),
        "SIN": (  # error 4.53e-18
            1.5890326894743901e-10,
            -2.5050648164793745e-08,
            2.7557313002499503e-06,
            -0.00019841269827865592,
            0.008333333333320057,
            -0.16666666666666624,
        ),
        "COS": (  # error 6.44e-20
            -1.1355296741678528e-11,
            2.087564081885388e-09,
            -2.755731375972497e-07,
            2.480158728748942e-05,
            -0.0013888888888871048,
            0.04166666666666658,
        ),
        "ATAN": (  # error 1.33e-18
            -0.01784964243194638,
            0.038013807315680825,
            -0.050373849437612986,
            0.05847482233924394,
            -0.06663051000615755,
            0.07692055834904557,
            -0.0909089753004667,
            0.11111110776307971,
            -0.14285714280072545,
            0.19999999999952608,
            -0.3333333333333319,
        ),
    },
}


def _polynomial(x: Real, name: str, step: float = 1.0, times: float = 1.0) -> Real:
    """`times` POLYNOMIALS[name] at `step` x (powers of two), by Horner's rule"""
    coefficients = POLYNOMIALS[x.format.name][name]
    powers = reversed(range(len(coefficients)))
    first, *others = (times * c * step**k for k, c in zip(powers, coefficients, strict=True))
    value = x.constant(first)
    for coefficient in others:
        value = value.fused(x, coefficient)
    return value


# ---------------------------------------------------------------------------------------------- exponentials
def _power_of_two(shifted: Real) -> Real:
    """2^n of shifted = n + magic"""
    f = shifted.format
    return ((shifted.bits() << f.fraction) + (f.bias << f.fraction)).real()


def _reduced(x: Real) -> tuple[Real, Real, Real]:
    """n + magic, n, r with x = n log 2 + r"""
    f = x.format
    shifted = x.fused(1.4426950408889634, f.magic)
    n = shifted - f.magic
    return shifted, n, n.fused(-f.log2_low, n.fused(-f.log2_high, x))


def _exp_r(r: Real) -> Real:
    """e^r - 1"""
    return (r * r).fused(_polynomial(r, "EXP"), r)


def _scaled(value: Real, n: Real) -> Real:
    """value * 2^n in two steps, so that subnormal results round once and overflow gives infinity"""
    half = n.fused(0.5, n.format.magic)
    rest = n - (half - n.format.magic)
    return value * _power_of_two(half) * _power_of_two(rest + n.format.magic)


def exp(x: Real) -> Real:
    f = x.format
    _, n, r = _reduced(x.at_least(f.exp_low).at_most(f.exp_high))
    return _scaled(_exp_r(r) + 1.0, n)


def _expm1(x: Real) -> Real:
    """expm1 where 2^(n-1) is a normal number; it loses the sign of zero"""
    shifted, _, r = _reduced(x)
    power = _power_of_two(shifted - 1.0)
    return power.fused(_exp_r(r), power - 0.5) * 2.0


def expm1(x: Real) -> Real:
    value = _expm1(x.at_least(x.format.expm1_low).at_most(x.format.exp_high))
    return x.choose(x.equals(0.0), value)


def tanh(x: Real) -> Real:
    """2|x| = n log 2 + 2s,  w = 2^n (e^(2s) - 1)/2 + (2^n - 1)/2.

    One step of reduction is enough: what log 2 is off by counts n times in e^2|x|, but less than once in the result."""
    size = abs(x).at_most(22.0)
    shifted = size.fused(2.8853900817779268, x.format.magic)
    s = (shifted - x.format.magic).fused(-0.34657359027997264, size)
    power = _power_of_two(shifted)
    w = power.fused((s * s).fused(_polynomial(s, "EXP", 2.0, 2.0), s), power.fused(0.5, -0.5))
    return (w / (w + 1.0)).sign_of(x)


def _exp_minus_size(x: Real) -> Real:
    """exp(-|x|)"""
    _, n, r = _reduced((-abs(x)).at_least(x.format.exp_low))
    return _scaled(_exp_r(r) + 1.0, n)


def logistic(x: Real) -> Real:
    e = _exp_minus_size(x)
    return e.choose(x < 0.0, 1.0) / (e + 1.0)


def softplus(x: Real) -> Real:
    return x.choose(x > 0.0, 0.0) + _log1p_of_unit(_exp_minus_size(x))


# ---------------------------------------------------------------------------------------------- logarithms
def _split(x: Real) -> tuple[Real, Real, Bits]:
    """k, m, k's biased bits with x = 2^k m, sqrt(1/2) <= m < sqrt(2), for positive normal x"""
    f = x.format
    root = pattern(0.7071067811865476, f)
    moved = x.bits() + ((f.bias << f.fraction) - root)
    biased = moved >> f.fraction
    m = ((moved & ((1 << f.fraction) - 1)) + root).real()
    k = (biased + (pattern(f.magic, f) - f.bias)).real() - f.magic
    return k, m, biased


def _log_of(f: Real, k: Real) -> Real:
    """k log 2 + log(1 + f)"""
    low, high = f.format.log2_low, f.format.log2_high
    if f.format.bits == 32:
        z = f * f
        y = z.fused(-0.5, k.fused(low, z * f * _polynomial(f, "LOG")))
        return k.fused(high, y + f)
    s = f / (f + 2.0)
    z = s * s
    half = f * f * 0.5
    y = s * (half + z * _polynomial(z, "LOG_RATIO"))
    return k.fused(high, f - (half - k.fused(low, y)))


def _log_specials(x: Real, value: Real, pole: float) -> Real:
    """-inf at the pole, NaN below it, infinity and NaN as they came"""
    value = value.choose(x < float("inf"), x)
    below = x.constant(float("-inf")).choose(x.equals(pole), float("nan"))
    return value.choose(x > pole, x.choose(x.unordered(), below))


def log(x: Real) -> Real:
    f = x.format
    subnormal = x < f.tiny
    k, m, _ = _split((x * 2.0 ** (f.fraction + 2)).choose(subnormal, x))
    k = k - x.constant(float(f.fraction + 2)).choose(subnormal, 0.0)
    return _log_specials(x, _log_of(m - 1.0, k), 0.0)


def log1p(x: Real) -> Real:
    k, m, inverse, u = _one_more(x)
    lost = (x - (u - 1.0)).choose(x < 1.0, 1.0 - (u - x)) * inverse
    lost = lost.choose(x < 2.0 ** (x.format.fraction + 2), 0.0)  # beyond, 2^-k may not exist
    return x.choose(x.equals(0.0), _log_specials(x, _log_of((m - 1.0) + lost, k), -1.0))


def _log1p_of_unit(x: Real) -> Real:
    """log1p for 0 <= x <= 1"""
    k, m, inverse, u = _one_more(x)
    return _log_of((m - 1.0) + (x - (u - 1.0)) * inverse, k)


def _one_more(x: Real) -> tuple[Real, Real, Real, Real]:
    """k, m, 2^-k and u = 1 + x = 2^k m, rounded"""
    f = x.format
    u = x + 1.0
    k, m, biased = _split(u)
    return k, m, (((biased ^ -1) + (2 * f.bias + 1)) << f.fraction).real(), u


# ---------------------------------------------------------------------------------------------- error function
def erf(x: Real) -> Real:
    z = abs(x)
    near = z * _polynomial(z * z, "ERF")
    far = z.at_least(0.98).at_most(4.0 if x.format.bits == 32 else 5.95)
    shifted, _, r = _reduced(_polynomial(far, "LOG_ERFC"))
    far = _exp_r(r).fused(-_power_of_two(shifted), 1.0 - _power_of_two(shifted))
    return near.choose(z < 1.0, far).sign_of(x)


def erfc(x: Real) -> Real:
    single = x.format.bits == 32
    z = abs(x).at_most(10.2 if single else 27.3)
    high = (z.bits() & (-1 << (12 if single else 32))).real()  # its square is exact
    _, n, r = _reduced(-(high * high))
    r = (high - z).fused(high + z, r)
    inverse = z.constant(1.0) / (z + 4.0)
    q = (z - 4.0) * inverse
    q = inverse.fused((-q).fused(z, (q + 1.0).fused(-4.0, z)), q)  # a step of Newton's: q is steep at x = 0
    ratio = _polynomial(q, "ERFCX") / (z * 2.0 + 1.0)
    value = _scaled(ratio.fused(_exp_r(r), ratio), n)
    value = (2.0 - value).choose(x < 0.0, value)
    return (-x).fused(_polynomial(x * x, "ERF"), 1.0).choose(abs(x) < 0.5, value)  # else 4.6 ulp just below 1


def normal_cdf(x: Real) -> Real:
    return erfc(x * -0.7071067811865476) * 0.5


# ---------------------------------------------------------------------------------------------- circular functions
def _turned(size: Real) -> tuple[Bits, Real, Real]:
    """n, sin(r), cos(r) with size = n pi/2 + r, |r| < 1.02 pi/4, for 0 <= size < many_turns"""
    f = size.format
    shifted = size.fused(0.6366197723675814, f.magic)
    minus = f.magic - shifted
    r = size
    for part in f.half_pi:  # the first step is exact
        r = minus.fused(part, r)
    z = r * r
    return shifted.bits(), (r * z).fused(_polynomial(z, "SIN"), r), z.fused(z.fused(_polynomial(z, "COS"), -0.5), 1.0)


def _is_common(x: Real) -> Any:
    return abs(x) < x.format.many_turns


def _sin(x: Real) -> Real:
    n, s, c = _turned(abs(x))
    sign = (n << x.format.bits - 2).toggled(x.bits()) & (1 << x.format.bits - 1)
    return c.choose(n.is_set(1), s).bits().toggled(sign).real()


def _cos(x: Real) -> Real:
    n, s, c = _turned(abs(x))
    sign = ((n + 1) << x.format.bits - 2) & (1 << x.format.bits - 1)
    return s.choose(n.is_set(1), c).bits().toggled(sign).real()


def _tan(x: Real) -> Real:
    n, s, c = _turned(abs(x))
    sign = (n << x.format.bits - 1).toggled(x.bits()) & (1 << x.format.bits - 1)
    odd = n.is_set(1)
    return (c.choose(odd, s) / s.choose(odd, c)).bits().toggled(sign).real()


CIRCULAR: dict[str, Cases] = {
    "sin": Cases("sin", _is_common, _sin),
    "cos": Cases("cos", _is_common, _cos),
    "tan": Cases("tan", _is_common, _tan),
}


def atan(x: Real) -> Real:
    z = abs(x)
    far, middle = z > 2.414213562373095, z > 0.4142135623730951
    high, low, _ = x.format.half_pi
    t = (z.constant(-1.0).choose(far, (z - 1.0).choose(middle, z))) / z.choose(far, (z + 1.0).choose(middle, 1.0))
    square = t * t
    curved = (t * square).fused(
        _polynomial(square, "ATAN"), z.constant(low).choose(far, z.constant(low / 2).choose(middle, 0.0))
    )
    return (z.constant(high).choose(far, z.constant(high / 2).choose(middle, 0.0)) + (t + curved)).sign_of(x)


def sqrt(x: Real) -> Real:
    return x.call("sqrt")


def quotient(a: Real, b: Real) -> Real:
    """a / b without the divider, at most 1 ulp: for finite a and 2^-100 < |b| < 2^100 (float64: 2^-1000 ... 2^1000).

    A loop that also takes a square root is bound by the divider; this runs on the multipliers beside it.  Where the
    processor has no estimate of 1 / b, the first guess is off by 12 % at most; each step of third order takes the error
    e to e^3.
    """
    if has_estimates() and a.format.bits == 32:  # LLVM has none of float64
        return a.times_reciprocal(b)
    if not has_fma():
        return a / b
    guess = 0x7EF311C7 if a.format.bits == 32 else 0x7FDE6238502484BA
    y = ((b.bits() ^ -1) + (guess + 1)).real()
    for _ in range(2 if a.format.bits == 32 else 3):
        e = (-b).fused(y, 1.0)
        y = y.fused(e.fused(e, e), y)
    q = a * y
    return y.fused((-b).fused(q, a), q)


FORMULAS: dict[str, Callable[[Real], Real]] = {
    f.__name__: f for f in (exp, expm1, tanh, logistic, softplus, log, log1p, erf, erfc, normal_cdf, atan, sqrt)
}


def emit(formula: Callable[..., Real], builder: Any, *values: Any) -> Any:
    """Emit the formula's instructions for LLVM values of type float or double, or vectors of these; the value."""
    kind = values[0].type
    kind = kind.element if isinstance(kind, ir.VectorType) else kind
    format: Format = FORMATS["float32" if isinstance(kind, ir.FloatType) else "float64"]
    return formula(*(Real(builder, value, format) for value in values)).value
