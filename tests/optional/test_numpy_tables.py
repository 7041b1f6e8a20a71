"""NumPy's own tables of hard arguments, with exact values, through our kernels.

They come inside NumPy's wheel (numpy/_core/tests/data/umath-validation-set-*.csv): dtype, argument, exact value, both
as bits, and the ulp that NumPy itself is allowed.  The values are exact ones rounded, so half an ulp is theirs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.ulp import LIMITS, evaluate

DATA = Path(np.__file__).parent / "_core" / "tests" / "data"
NAMES = ("exp", "expm1", "log", "log1p", "sin", "cos", "tan", "tanh")
ROUNDED = 0.5  # of the value in the table


def table(name: str, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Arguments and values, as bits of the dtype"""
    lines = (DATA / f"umath-validation-set-{name}.csv").read_text().splitlines()
    rows = [line.split(",") for line in lines if line.startswith(f"np.{dtype},")]
    bits = np.array([[int(x, 16), int(y, 16)] for _, x, y, *_ in rows], np.uint32 if dtype == "float32" else np.uint64)
    return tuple(np.ascontiguousarray(column).view(dtype) for column in bits.T)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_every_argument_of_the_table_is_within_our_own_limit(name: str, dtype: str) -> None:
    x, exact = table(name, dtype)
    assert x.size > 100
    got = evaluate(name, x)
    number = np.isfinite(exact)
    np.testing.assert_array_equal(got[~number], exact[~number])  # NaN and infinities where they stand in the table
    info = np.finfo(dtype)
    unit = np.maximum(np.spacing(np.abs(exact[number])), info.smallest_subnormal)
    errors = np.abs(got[number].astype(np.longdouble) - exact[number]) / unit
    worst = int(np.argmax(errors))
    limit = LIMITS[name] + ROUNDED
    assert errors[worst] <= limit, f"{errors[worst]} ulp at {x[number][worst]!r}"
