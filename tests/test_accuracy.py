"""Activations and their slopes: errors against mpmath at numbers of any size, and the published table, literally."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
import sympy as sp

import symnet as sn
from compiler.functions import logistic
from compiler.passes import STRICT, run_passes
from compiler.passes.keep_digits import BOUNDED, keep_digits
from compiler.program import Equation, Index, Program, Tensor
from symnet.declare.activations import ROWS as ACTIVATIONS
from symnet.errors import SymnetError
from tests.accuracy import ROWS, exact, points, trained

WORDS = {"log(2)": math.log(2), "c": 1.7580993408473768, "-c": -1.7580993408473768, "scale": 1.0507009873554805}
BENT = ("logistic", "tanh", "softplus", "swish", "gelu", "gelu_tanh", "mish", "softsign", "selu")
AT = (-math.inf, -0.0, 0.0, math.inf)


@cache
def slope(name: str, dtype: str) -> sn.Function:
    return sn.function(name, dtype).derivative()


def published() -> dict[str, list[float]]:
    """The table in the docstring of symnet.function."""
    lines = (sn.function.__doc__ or "").partition("f'(inf)\n")[2].partition("\n\n")[0].splitlines()
    found = {name: cells for name, *cells in map(str.split, lines)}
    return {name: [WORDS[c] if c in WORDS else float(c) for c in cells] for name, cells in found.items()}


def same(got: np.ndarray, expected: list[float]) -> None:
    np.testing.assert_array_equal(got, expected)
    number = ~np.isnan(got)
    np.testing.assert_array_equal(np.signbit(got)[number], np.signbit(expected)[number])


@pytest.mark.parametrize("name", [row.name for row in ACTIVATIONS])
def test_values_and_slopes_at_special_points_are_the_published_ones(name: str) -> None:
    value, first, zero, last = published()[name][:4], *published()[name][4:]
    same(sn.function(name)(AT), value)
    same(slope(name, "float64")(AT), [first, zero, zero, last])
    assert np.isnan(sn.function(name)([math.nan])).all()
    assert np.isnan(slope(name, "float64")([math.nan])).all() == (name != "identity")


def test_the_slope_at_a_corner_is_zero_and_that_of_its_neighbours_their_own() -> None:
    for name, end, inside in (("hard_tanh", 1.0, 1.0), ("hard_logistic", 2.0, 0.25)):
        beside = [np.nextafter(end, 0), end, np.nextafter(end, 9)]
        for x in (beside, np.negative(beside)):
            assert slope(name, "float64")(x).tolist() == [inside, 0, 0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", BENT)
def test_slopes_of_numbers_of_any_size_stay_within_their_limits(name: str, dtype: str) -> None:
    x = points(name, dtype, 200)
    errors = exact(name, 1, x).errors(slope(name, dtype)(x))
    worst = int(np.argmax(errors))
    assert errors[worst] <= ROWS[name].limit, f"{errors[worst]} units at {x[worst]!r}"


@pytest.mark.parametrize("name", ["tanh", "mish"])
def test_strict_training_has_slopes_as_accurate_where_the_usual_one_has_not(name: str) -> None:
    x = points(name, "float32", 400)[:1024]
    right = exact(name, 1, x)
    assert right.errors(trained(name, x, "strict")).max() <= ROWS[name].limit
    assert right.errors(trained(name, x, "usual")).max() > 4 * ROWS[name].limit


def test_a_model_keeps_its_accuracy_in_its_file(tmp_path) -> None:
    model = sn.Network(2, [sn.dense(2, "tanh"), sn.dense(1)]).compile(accuracy="strict")
    model.save(tmp_path / "model.safetensors")
    assert sn.load(tmp_path / "model.safetensors").kernels.accuracy == "strict"


def test_passes_that_keep_digits_change_no_value_beyond_rounding() -> None:
    for name in BENT:
        program = slope(name, "float64")._program
        x = {"x": np.linspace(-9, 9, 37)}
        before, after = (sn.evaluate(p, x)[program.outputs[0].name] for p in (program, run_passes(program, STRICT)[0]))
        np.testing.assert_allclose(after, before, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: sn.function("tanhh"), "Did you mean 'tanh'"),
        (lambda: sn.function("tanh", "float16"), "float64"),
        (lambda: sn.function("tanh").derivative(5), "0 to 4"),
        (lambda: sn.function("tanh").derivative(True), "0 to 4"),
        (lambda: sn.function("tanh")(["a"]), "real numbers"),
        (lambda: sn.function("tanh")([1j]), "real numbers"),
        (lambda: sn.function("tanh")([[1], [1, 2]]), "numbers"),
        (lambda: sn.Network(1, [sn.dense(1)]).compile(accuracy="exact"), "strict"),
    ],
)
def test_a_mistake_is_refused(call, said: str) -> None:
    with pytest.raises(SymnetError, match=said):
        call()


def test_a_function_maps_arrays_of_any_shape_and_shows_its_formula() -> None:
    f = sn.function({"formula": "x*logistic(beta*x)", "parameters": {"beta": 2.0}})
    x = np.arange(6.0).reshape(2, 3)[:, ::-1]
    np.testing.assert_allclose(f(x), x / (1 + np.exp(-2 * x)), rtol=1e-15)
    assert f(3).shape == () and f([]).shape == (0,) and f.derivative(2).derivative().order == 3
    assert str(f.expr) == "logistic(2*x[n])*x[n]" and "logistic" in repr(f.derivative())
    large = np.linspace(-5, 5, 150_000, dtype=np.float32)
    assert sn.function("relu", "float32")(large).tolist() == np.maximum(large, 0).tolist()


def test_the_logistic_of_0_is_no_product_with_its_own_other() -> None:
    n = Index("n", 1)
    x, y = Tensor("x", (1,), "input"), Tensor("y", (1,))
    program = Program((Equation(y[n], (n,), x[n] * logistic(sp.Integer(0))),), (y,))
    assert sn.evaluate(keep_digits(program), {"x": np.array([3.0])})["y"].tolist() == [1.5]


@pytest.mark.parametrize("bounded", BOUNDED, ids=str)
def test_what_decays_wins_over_what_grows_whatever_bounded_function_is_in_it(bounded) -> None:
    n = Index("n", 5)
    x, y = Tensor("x", (5,), "input"), Tensor("y", (5,))
    program = Program(
        (Equation(y[n], (n,), x[n] * (2 + bounded(1 + 0 * x[n] + 1 / (1 + x[n] ** 2))) * sp.exp(x[n])),), (y,)
    )
    values = np.array([-math.inf, -1e308, -800.0, -1.0, 2.0])
    before, after = (sn.evaluate(p, {"x": values})["y"] for p in (program, keep_digits(program)))
    assert after[0] == 0 and after[1] == 0
    np.testing.assert_allclose(after[3:], before[3:], rtol=1e-14)


def test_a_logistic_without_its_other_stays_as_it_is() -> None:
    n = Index("n", 3)
    x, y = Tensor("x", (3,), "input"), Tensor("y", (3,))
    program = Program((Equation(y[n], (n,), 3 * logistic(x[n]) * logistic(2 * x[n])),), (y,))
    assert keep_digits(program) == program


def test_what_grows_is_not_taken_for_the_power_of_what_decays() -> None:
    n = Index("n", 3)
    x, y = Tensor("x", (3,), "input"), Tensor("y", (3,))
    program = Program((Equation(y[n], (n,), x[n] / logistic(x[n]) ** 2),), (y,))
    values = {"x": np.array([-2000.0, -100.0, 1.0])}
    before, after = (sn.evaluate(p, values)["y"] for p in (program, keep_digits(program)))
    assert after[0] == before[0] == -math.inf
    np.testing.assert_allclose(after[1:], before[1:], rtol=1e-14)
