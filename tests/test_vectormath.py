"""Vector math: errors in units in the last place, special values, and that loops that call it are vectorized."""

from __future__ import annotations

import re

import numpy as np
import pytest

from compiler import native
from compiler.kernels import emitters, real, vectormath
from compiler.kernels.real import FORMATS, has_fma
from compiler.kernels.vectormath import CIRCULAR, FORMULAS
from tests.ulp import LIMITS, errors, evaluate, points

TYPES = ("float32", "float64")
INF, NAN = float("inf"), float("nan")

# function -> (argument, value) at 0, -0, infinities and poles
SPECIAL = {
    "exp": ((0.0, 1.0), (-0.0, 1.0), (INF, INF), (-INF, 0.0)),
    "expm1": ((0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -1.0)),
    "log": ((0.0, -INF), (-0.0, -INF), (1.0, 0.0), (INF, INF), (-INF, NAN), (-1.0, NAN)),
    "log1p": ((0.0, 0.0), (-0.0, -0.0), (-1.0, -INF), (INF, INF), (-INF, NAN), (-2.0, NAN)),
    "tanh": ((0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0), (50.0, 1.0), (-50.0, -1.0)),
    "logistic": ((0.0, 0.5), (-0.0, 0.5), (INF, 1.0), (-INF, 0.0), (200.0, 1.0)),
    "softplus": ((INF, INF), (-INF, 0.0), (1e30, 1e30)),
    "erf": ((0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0), (8.0, 1.0), (-8.0, -1.0)),
    "erfc": ((0.0, 1.0), (-0.0, 1.0), (INF, 0.0), (-INF, 2.0), (-8.0, 2.0)),
    "sin": ((0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN)),
    "cos": ((0.0, 1.0), (-0.0, 1.0), (INF, NAN), (-INF, NAN)),
    "tan": ((0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN)),
    "atan": ((0.0, 0.0), (-0.0, -0.0), (INF, np.pi / 2), (-INF, -np.pi / 2)),
    "sqrt": ((0.0, 0.0), (-0.0, -0.0), (INF, INF), (-1.0, NAN)),
}


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", LIMITS)
def test_the_error_stays_within_its_limit(name: str, dtype: str) -> None:
    x = points(name, dtype, 1500)
    found = errors(name, x)
    worst = int(np.argmax(found))
    assert found[worst] <= LIMITS[name] * 1.1, f"{found[worst]} ulp at {x[worst]!r}"


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", SPECIAL)
def test_special_values_are_exact_and_nan_stays_nan(name: str, dtype: str) -> None:
    x, expected = np.array([*SPECIAL[name], (NAN, NAN)], dtype).T
    got = evaluate(name, np.tile(x, 20))[: len(x)]
    np.testing.assert_array_equal(got, expected)
    both = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(got[both]), np.signbit(expected[both]))


@pytest.mark.parametrize("dtype", TYPES)
def test_the_remainder_of_a_loop_gives_the_same_bits_as_its_vectors(dtype: str) -> None:
    x = np.random.default_rng(0).standard_normal(67).astype(dtype) * 3
    x[::9] *= 1e20  # some lanes are in the rare case of the circular functions
    for name in (*FORMULAS, *CIRCULAR):
        y = evaluate(name, np.abs(x))
        assert y.tolist() == [evaluate(name, np.abs(x[i : i + 1]))[0] for i in range(67)], name


@pytest.mark.parametrize("dtype", TYPES)
def test_without_fused_multiply_add_errors_stay_within_their_limits(
    dtype: str, plain_processor: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (real, vectormath, emitters):
        monkeypatch.setattr(module, "has_fma", lambda: False)
    for name in LIMITS:
        x = points(name, dtype, 200, seed=1)
        found = errors(name, x)
        worst = int(np.argmax(found))
        assert found[worst] <= LIMITS[name] * 1.1, f"{name}: {found[worst]} ulp at {x[worst]!r}"


def loop_of(name: str, dtype: str) -> str:
    """The optimized module of a loop that calls the function"""
    pointer = "pointer_f32" if dtype == "float32" else "pointer_f64"
    text = (
        f"def g(table):\n    x = {pointer}(table[0])\n    for i in range(4096):\n        x[i] = {name}(x[8192 + i])\n"
    )
    module = str(native.optimized(native.source_ir(text, "g", {}), "g", "g"))
    kind = "float" if dtype == "float32" else "double"
    assert re.search(rf"load <\d+ x {kind}>", module) and re.search(rf"store <\d+ x {kind}>", module)
    assert dtype == "float64" or "double" not in module
    assert "llvm.masked" not in module
    return module


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", FORMULAS)
def test_a_loop_that_calls_it_is_vectorized_in_its_own_precision(name: str, dtype: str) -> None:
    assert not re.search(r"call [^@]*@(?!llvm\.)", loop_of(name, dtype))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", CIRCULAR)
def test_a_loop_that_calls_a_circular_function_calls_its_form_for_vectors(name: str, dtype: str) -> None:
    assert has_fma(), "without it the C library is called; this test needs a processor that has it"
    loop = loop_of(name, dtype).partition("define void @g(")[2].partition("\n}")[0]
    assert re.findall(r"call [^@]*@([\w.]+)", loop)[-1].startswith(f"symnet.{name}.{dtype}.")


@pytest.mark.parametrize("dtype", TYPES)
def test_circular_functions_of_huge_numbers_beside_small_ones_are_right(dtype: str) -> None:
    limit = FORMATS[dtype].many_turns
    x = np.tile(np.array([0.5, limit, np.nextafter(limit, 0), 1e30, -limit, -1e38, 3.0], dtype), 30)
    for name in CIRCULAR:
        assert errors(name, x[:70]).max() <= LIMITS[name]
        assert evaluate(name, x)[:70].tolist() == evaluate(name, x[:70]).tolist()


def test_monotone_functions_are_monotone_where_pieces_meet() -> None:
    for name, joints in {"erf": (1.0,), "tanh": (0.17, 0.5), "log": (1.0, 0.7071), "exp": (0.34657,)}.items():
        for joint in joints:
            x = (np.float32(joint).view(np.int32) + np.arange(-2000, 2000, dtype=np.int32)).view(np.float32)
            y = evaluate(name, x).astype(float)
            assert (np.diff(y) >= -2.5 * np.spacing(np.abs(y[1:]).astype(np.float32))).all(), name


@pytest.mark.parametrize("estimates", [True, False])
@pytest.mark.parametrize("dtype", TYPES)
def test_a_quotient_without_the_divider_is_right_to_one_ulp_and_nan_goes_through(
    dtype: str, estimates: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectormath, "has_estimates", lambda: estimates and real.has_estimates())
    pointer = "pointer_f32" if dtype == "float32" else "pointer_f64"
    text = (
        f"# {estimates}\ndef divide(table):\n    a = {pointer}(table[0])\n    b = {pointer}(table[1])\n"
        "    for i in range(table[2]):\n        a[i] = quotient(a[i], b[i])\n"
    )
    rng = np.random.default_rng(0)
    a = (rng.standard_normal(20_000) * 10.0 ** rng.uniform(-5, 5, 20_000)).astype(dtype)
    b = (rng.standard_normal(20_000) * 10.0 ** rng.uniform(-20, 20, 20_000)).astype(dtype)
    a[0] = b[1] = NAN
    a[2] = 0.0
    exact = a.astype(np.longdouble) / b.astype(np.longdouble)
    table = np.array([a.ctypes.data, b.ctypes.data, a.size], np.int64)
    native.callable_from(native.build_source(text, "divide"), "void(i64*)")(table.ctypes.data)
    assert np.isnan(a[:2]).all() and a[2] == 0.0
    assert (np.abs(a[2:] - exact[2:]) <= np.spacing(np.abs(exact[2:]).astype(dtype))).all()


@pytest.mark.parametrize("dtype", FORMATS)
def test_the_constants_of_a_format_are_those_of_its_floating_point_numbers(dtype: str) -> None:
    form, info = FORMATS[dtype], np.finfo(dtype)
    assert (form.bits, form.fraction, form.tiny) == (info.bits, info.nmant, info.tiny)
    assert form.magic == 1.5 * 2.0**info.nmant and form.bias == info.maxexp - 1
    assert form.log2_high + form.log2_low == pytest.approx(np.log(2), rel=float(info.eps) ** 1.5)
    assert sum(form.half_pi) == pytest.approx(np.pi / 2, rel=float(info.eps) ** 1.5)
