"""Derives the polynomials of compiler/kernels/vectormath.py:  python -m tests.minimax

Each is the weighted minimax polynomial on its interval (Remez's exchange in 40 digits), then rounded coefficient by
coefficient to the precision it is used in.  Prints the coefficients, highest power first, and the weighted error.
"""

from __future__ import annotations

from collections.abc import Callable

import mpmath as mp
import numpy as np

Real = Callable[[mp.mpf], mp.mpf]


def remez(function: Real, weight: Real, low: float, high: float, degree: int, rounds: int = 12) -> tuple[list, mp.mpf]:
    """The polynomial with the least max |weight * (function - p)|: coefficients, lowest power first, and that error."""
    count = degree + 2
    grid = [(low + high) / 2 - (high - low) / 2 * mp.cos(mp.pi * k / 600) for k in range(601)]
    values = [function(x) for x in grid]
    weights = [weight(x) for x in grid]
    points = [round(600 * k / (count - 1)) for k in range(count)]
    for _ in range(rounds):
        rows = [[*(grid[q] ** k for k in range(degree + 1)), (-1) ** n / weights[q]] for n, q in enumerate(points)]
        found = mp.lu_solve(mp.matrix(rows), mp.matrix([values[q] for q in points]))
        coefficients = [found[k] for k in range(degree + 1)]
        error = [w * (v - mp.polyval(coefficients[::-1], x)) for x, v, w in zip(grid, values, weights, strict=True)]
        new = _extrema(error, count)
        if new == points:
            break
        points = new
    return coefficients, max(abs(e) for e in error)


def _extrema(error: list, count: int) -> list[int]:
    """The positions of alternating extrema, the largest run of `count` of them."""
    runs: list[int] = []
    for q, e in enumerate(error):
        if runs and (error[runs[-1]] > 0) == (e > 0):
            if abs(e) > abs(error[runs[-1]]):
                runs[-1] = q
        else:
            runs.append(q)
    while len(runs) > count:
        if abs(error[runs[0]]) < abs(error[runs[-1]]):
            runs.pop(0)
        else:
            runs.pop()
    assert len(runs) == count, "the error does not alternate often enough"
    return runs


def _exp(x: mp.mpf) -> mp.mpf:
    return (mp.expm1(x) - x) / x**2 if abs(x) > mp.mpf("1e-9") else mp.mpf(1) / 2 + x / 6


def _log(f: mp.mpf) -> mp.mpf:
    if abs(f) < mp.mpf("1e-8"):
        return mp.mpf(1) / 3 - f / 4
    return (mp.log1p(f) - f + f**2 / 2) / f**3


def _log_ratio(z: mp.mpf) -> mp.mpf:
    """(log((1+s)/(1-s)) - 2s) / (s z), z = s^2"""
    if z < mp.mpf("1e-12"):
        return mp.mpf(2) / 3 + 2 * z / 5
    s = mp.sqrt(z)
    return (mp.log1p(s) - mp.log1p(-s) - 2 * s) / (s * z)


def _erf(z: mp.mpf) -> mp.mpf:
    """erf(x) / x, z = x^2"""
    x = mp.sqrt(z)
    return mp.erf(x) / x if x else 2 / mp.sqrt(mp.pi)


def _erfcx(q: mp.mpf) -> mp.mpf:
    """exp(x^2) erfc(x) (1 + 2x), q = (x - 4) / (x + 4)"""
    if q >= 1 - mp.mpf("1e-6"):
        return 2 / mp.sqrt(mp.pi)
    x = 4 * (1 + q) / (1 - q)
    if x > 30:
        with mp.workdps(60):
            terms, term = mp.mpf(0), mp.mpf(1)
            for k in range(1, 30):
                terms += term
                term *= -mp.mpf(2 * k - 1) / (2 * x * x)
            return terms / (x * mp.sqrt(mp.pi)) * (1 + 2 * x)
    with mp.workdps(450):
        return mp.exp(x * x) * mp.erfc(x) * (1 + 2 * x)


def _log_erfc(x: mp.mpf) -> mp.mpf:
    return mp.log(mp.erfc(x))


def _sin(z: mp.mpf) -> mp.mpf:
    """(sin(r) - r) / (r z), z = r^2"""
    r = mp.sqrt(z)
    return (mp.sin(r) - r) / (r * z) if z > mp.mpf("1e-9") else -mp.mpf(1) / 6 + z / 120


def _cos(z: mp.mpf) -> mp.mpf:
    """(cos(r) - 1 + z/2) / z^2, z = r^2"""
    if z < mp.mpf("1e-6"):
        return mp.mpf(1) / 24 - z / 720 + z * z / 40320
    return (mp.cos(mp.sqrt(z)) - 1 + z / 2) / z**2


def _atan(z: mp.mpf) -> mp.mpf:
    """(atan(t) - t) / (t z), z = t^2"""
    t = mp.sqrt(z)
    return (mp.atan(t) - t) / (t * z) if z > mp.mpf("1e-9") else -mp.mpf(1) / 3 + z / 5


QUARTER = float((np.pi / 4 * 1.02) ** 2)
HALF_LN2 = float(np.log(2) / 2 * 1.0001)
ROOT = (float(np.sqrt(0.5) - 1), float(np.sqrt(2.0) - 1))

# name, function, weight, interval, degree in float32, in float64 (None: not used there)
FITS = (
    ("EXP", _exp, lambda x: abs(x) + mp.mpf("0.02"), (-HALF_LN2, HALF_LN2), 4, 9),
    ("LOG", _log, lambda f: f * f + mp.mpf("0.001"), ROOT, 8, None),
    ("LOG_RATIO", _log_ratio, lambda z: z + mp.mpf("1e-9"), (0.0, 0.02945), None, 6),
    ("ERF", _erf, lambda z: mp.mpf(1), (0.0, 1.0), 6, 11),
    ("LOG_ERFC", _log_erfc, lambda x: mp.erfc(x), (0.98, 5.95), None, 16),
    ("LOG_ERFC", _log_erfc, lambda x: mp.erfc(x), (0.98, 4.0), 6, None),
    ("ERFCX", _erfcx, lambda q: mp.mpf(1), (-1.0, 1.0), 12, 24),
    ("SIN", _sin, lambda z: z + mp.mpf("1e-4"), (0.0, QUARTER), 2, 5),
    ("ATAN", _atan, lambda z: z + mp.mpf("1e-4"), (0.0, 0.1725), 4, 10),
    ("COS", _cos, lambda z: z * z + mp.mpf("1e-4"), (0.0, QUARTER), 2, 5),
)


def main() -> None:
    mp.mp.dps = 40
    for name, function, weight, (low, high), single, double in FITS:
        for degree, kind in ((single, np.float32), (double, np.float64)):
            if degree is not None:
                coefficients, error = remez(function, weight, mp.mpf(low), mp.mpf(high), degree)
                rounded = [repr(float(kind(mp.nstr(c, 25)))) for c in coefficients[::-1]]
                print(f"{name} {kind.__name__} error {mp.nstr(error, 3)}\n    ({', '.join(rounded)})", flush=True)


if __name__ == "__main__":
    main()
