"""Reuse of values: g with g(f(z)) = f'(z), found by elimination; the same at kinks; only where it is as accurate."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import sympy as sp
from sympy import Expr, Float, Piecewise, Rational, Symbol, exp, sin, sqrt, tanh

from compiler.functions import OWN, expm1, log1p, logistic, normal_cdf, softplus
from compiler.passes.agreement import F, Z, agrees, evaluate
from compiler.passes.elimination import _cells, _rising, _threshold, price, through_value
from compiler.passes.reuse_values import reuse_values
from compiler.passes.share import share
from compiler.passes.simplify_algebra import simplify_algebra
from compiler.program import Equation, Index, Program, Tensor
from symnet import Network, dense
from symnet.oracle.reference import evaluate as evaluate_program

from .rewrites import changed_by, count, lines, network, relu

z, f, beta = Z, F, Symbol("p0", real=True)


def step(*pairs: Any) -> Expr:
    return Piecewise(*pairs)


FOUND: dict[str, tuple[Expr, Expr]] = {
    "logistic": (logistic(z), f * (1 - f)),
    "logistic, any slope": (logistic(beta * z), beta * f * (1 - f)),
    "tanh": (tanh(z), 1 - f**2),
    "scaled tanh": (Rational(17, 10) * tanh(2 * z / 3), Rational(17, 15) - Rational(20, 51) * f**2),
    "exp": (exp(z), f),
    "softplus": (softplus(z), -expm1(-f)),
    "softplus, any slope": (softplus(beta * z) / beta, -expm1(-beta * f)),
    "relu": (relu(z), step((0, f <= 0), (1, True))),
    "leaky relu": (step((z / 100, z <= 0), (z, True)), step((Rational(1, 100), f <= 0), (1, True))),
    "elu": (step((expm1(z), z <= 0), (z, True)), step((f + 1, f <= 0), (1, True))),
    "elu, any slope": (step((beta * expm1(z), z <= 0), (z, True)), step((f + beta, z <= 0), (1, True))),
    "hard tanh": (step((-1, z <= -1), (1, z >= 1), (z, True)), step((0, (f >= 1) | (f <= -1)), (1, True))),
    "hard tanh, pieces in pieces": (
        step((-1, z <= -1), (step((1, z >= 1), (z, True)), True)),
        step((0, f <= -1), (0, f >= 1), (1, True)),
    ),
    "hard logistic": (
        step((0, z <= -2), (1, z >= 2), (z / 4 + Rational(1, 2), True)),
        step((0, (f >= 1) | (f <= 0)), (Rational(1, 4), True)),
    ),
    "softsign": (step((z / (1 - z), z < 0), (z / (1 + z), True)), step(((1 + f) ** 2, f < 0), ((1 - f) ** 2, True))),
}
NOT_FOUND: dict[str, Expr] = {
    "swish": z * logistic(z),
    "gelu": z * sp.erfc(-z / sqrt(2)) / 2,
    "mish": z * tanh(softplus(z)),
    "sine": sin(z),
    "gaussian": exp(-(z**2)),
    "absolute value": step((-z, z < 0), (0, z <= 0), (z, True)),
    "prelu of any slope": step((beta * z, z <= 0), (z, True)),
    "square": z**2,
    "two rates": exp(z) + exp(sqrt(2) * z),
    "jump": step((z, z <= 0), (z + 1, True)),
    "jump of any height": step((z, z <= 0), (z + beta * exp(z), True)),
    "falling relu": step((0, z >= 0), (-z, True)) ** 2,
}
DTYPES = (np.float32, np.float64)


@pytest.mark.parametrize("name", FOUND)
def test_the_derivative_is_found_as_a_function_of_the_value(name: str) -> None:
    function, expected = FOUND[name]
    found = through_value(function, function.diff(z))
    assert found is not None
    point = {beta: Rational(7, 5)}
    for value in (Rational(-4, 5), Rational(1, 3), Rational(5, 2)):
        difference = (found - expected).xreplace(point).subs({f: value, z: value})
        assert abs(float(difference)) <= 1e-15, found
    assert price(found) <= price(function.diff(z))
    assert found.has(z) == (name == "elu, any slope")  # only there the condition cannot be carried over


@pytest.mark.parametrize("name", NOT_FOUND)
def test_where_there_is_none_none_is_found(name: str) -> None:
    assert through_value(NOT_FOUND[name], NOT_FOUND[name].diff(z)) is None


@pytest.mark.parametrize("name", [*FOUND, *NOT_FOUND])
def test_finding_it_takes_less_than_half_a_second(name: str) -> None:
    function = FOUND[name][0] if name in FOUND else NOT_FOUND[name]
    slope = function.diff(z)
    taken = []
    for _ in range(2):
        through_value.cache_clear()
        start = time.process_time()
        through_value(function, slope)
        taken.append(time.process_time() - start)
    assert min(taken) <= 0.41


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FOUND)
def test_it_is_accurate_to_four_ulp_of_the_largest_slope(name: str, dtype: Any) -> None:
    """On points that the search itself does not try."""
    function, _ = FOUND[name]
    slope = function.diff(z)
    found = through_value(function, slope)
    assert found is not None
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(size=20_000) * 4, rng.normal(size=2_000) * 1e3]).astype(dtype)
    if name == "exp":
        points = points[points < 80]
    values = {beta: dtype(0.8), z: points}
    with np.errstate(all="ignore"):
        value = evaluate(function, values, dtype)
        wanted, got = evaluate(slope, values, dtype), evaluate(found, {**values, f: value}, dtype)
    assert np.abs(got - wanted).max() <= 4 * np.finfo(dtype).eps * np.abs(wanted).max()


@pytest.mark.parametrize("name", ["relu", "leaky relu", "elu", "hard tanh", "hard logistic", "softsign"])
def test_at_kinks_at_signed_zeros_and_at_nan_the_slope_is_the_same(name: str) -> None:
    function, _ = FOUND[name]
    slope = function.diff(z)
    found = through_value(function, slope)
    assert found is not None
    points = np.array([0.0, -0.0, 1, -1, 2, -2, 5e-324, -5e-324, np.inf, -np.inf, np.nan])
    with np.errstate(all="ignore"):
        value = evaluate(function, {z: points}, np.float64)
        got, wanted = evaluate(found, {z: points, f: value}, np.float64), evaluate(slope, {z: points}, np.float64)
    kept = ~np.isnan(wanted) | (np.arange(11) == 10)  # at infinity the slope itself may be inf/inf
    np.testing.assert_allclose(got[kept], wanted[kept], rtol=4e-16)


def test_a_comparison_is_carried_over_only_where_the_function_rises_beyond_it() -> None:
    clipped = step((-1, z <= -1), (1, z >= 1), (z, True))
    assert through_value(clipped, z <= -1) == (f <= -1)
    assert through_value(clipped, z >= 1) == (f >= 1)
    assert through_value(clipped, z > -1) == (f > -1) and through_value(clipped, z < 1) == (f < 1)
    assert through_value(clipped, (z > -1) & (z < 1)) == (f > -1) & (f < 1)
    assert through_value(clipped, (z <= -1) | (z >= 1)) == (f <= -1) | (f >= 1)
    assert through_value(clipped, (z > -1) & (z < 2)) is None
    assert through_value(clipped, z > 1) is None and through_value(clipped, z >= -1) is None
    assert through_value(clipped, z < -1) is None  # f is -1 on both sides
    assert through_value(clipped, z <= -2) is None
    assert through_value(relu(z), z < 0) is None
    assert through_value(sin(z), z <= 0) is None


def test_pieces_of_the_slope_alone_are_carried_over() -> None:
    found = through_value(tanh(z), step((0, z <= 0), (logistic(2 * z), True)))
    assert found == step((0, z <= 0), (f / 2 + Rational(1, 2), True))
    softsign = FOUND["softsign"][0]
    assert through_value(softsign, 1 / (1 + z)) is None and through_value(softsign, tanh(z)) is None
    # f(z) is 1/2 for |z| < 1e-17 too, so that f <= 1/2 would not be z <= 0
    assert through_value(logistic(z), step((0, z <= 0), (logistic(-z), True))) is None


def test_a_candidate_that_loses_digits_is_refused() -> None:
    """f = 1e8 + logistic(z): the value has lost what the slope needs."""
    function = Float(1e8) + logistic(z)
    assert through_value(function, logistic(z) * logistic(-z)) is None


def test_a_function_that_still_reads_z_must_cost_less() -> None:
    prelu = NOT_FOUND["prelu of any slope"]
    assert through_value(prelu, step((0, z <= 0), (z**2, True))) is None
    assert through_value(prelu, step((0, z <= 0), (tanh(z) * z, True))) is None


def test_a_value_at_twice_the_rate_is_found() -> None:
    found = through_value(logistic(z), logistic(2 * z))
    assert found is not None and not found.has(z)
    for point in (-3.0, 0.5, 4.0):
        value = 1 / (1 + np.exp(-point))
        assert float(found.subs(f, value)) == pytest.approx(1 / (1 + np.exp(-2 * point)), rel=1e-12)


def test_prices_are_counted_in_additions() -> None:
    assert [price(e) for e in (z + f, 2 * z * f + 1, z**3, 1 / z, sqrt(z), z**f)] == [1, 3, 1, 4, 20, 20]
    assert [price(e) for e in (step((0, z <= 0), (z, True)), exp(z), tanh(z) + tanh(z) * f)] == [1, 20, 26]


def test_thresholds_are_numbers_and_a_point_stands_inside_each_interval() -> None:
    assert [_threshold(c) for c in (z <= 2, z > 2, sp.Le(2, z, evaluate=False), sp.Gt(2, z, evaluate=False))] == [
        ("<=", 2), (">", 2), (">=", 2), ("<", 2)
    ]  # fmt: skip
    assert [_threshold(c) for c in (sp.Eq(z, 2), sp.Ne(z, 2), z <= beta, z**2 <= 1, beta <= 1)] == [None] * 5
    assert _cells(step((0, z <= 2), (1, z >= 5), (z, True))) == [1, Rational(7, 2), 6]
    assert _cells(step((0, z <= 0), (z, True)), z > 4) == [-1, 2, 5]
    assert _cells(tanh(z)) == [0] and _cells(step((0, z <= beta), (z, True))) is None


def test_a_function_rises_only_where_that_is_proved() -> None:
    inf = sp.oo
    assert _rising(relu(z)) == ((-inf, 0, False), (0, inf, True))
    assert _rising(exp(z)) == ((-inf, inf, True),)
    assert _rising(step((-1, z <= -1), (1, z >= 2), (2 * z / 3 - Rational(1, 3), True))) == (
        (-inf, -1, False), (-1, 2, True), (2, inf, False)
    )  # fmt: skip
    assert _rising(step((-(z**2), z <= 0), (z**2, True))) == ((-inf, 0, True), (0, inf, True))
    for function in (
        -z,
        sin(z),
        z**2,
        step((z, z <= 0), (-z, True)),
        step((z, z <= 0), (z + 1, True)),  # a jump
        step((z, z <= 0), (z + beta, True)),
        step((0, z <= 0), (z**2, z <= 1), (1, True)),  # not proved between two thresholds
        step((0, z <= 1), ((z - 2) ** 2 - 1, True)),  # falls at first
        step((z**2 - 4, z <= -2), (0, True)),  # falls
    ):
        assert _rising(function) is None, function


# ---------------------------------------------------------------------------------------------- agreement
P, Q = Symbol("p", real=True), Symbol("q", real=True)
DIFFERENT: dict[str, tuple[Expr, Expr, Expr]] = {  # f, g(f), h: h(z) is g(f(z)) but for one place
    "everywhere": (z, f + 1, z),
    "by six ulp": (z, f * (1 + 6 * 2.0**-52), z),
    "at large numbers": (z, step((0, f > 9e3), (f, True)), z),
    "at large negative numbers": (z, step((0, f < -9e3), (f, True)), z),
    "at small numbers": (z, step((1, (f > 0) & (f < 1e-29)), (f, True)), z),
    "at small negative numbers": (z, step((1, (f < 0) & (f > -1e-29)), (f, True)), z),
    "between": (z, step((0, (f > 39.8) & (f < 40)), (f, True)), z),
    "between negative numbers": (z, step((0, (f < -39.8) & (f > -40)), (f, True)), z),
    "at zero": (z, step((1, (f <= 0) & (f >= 0)), (f, True)), z),
    "at negative zero": (z, step((logistic(1 / f), sp.Ne(f, 0)), (1, True)), logistic(1 / z)),
    "at infinity": (z, step((0, f > 1e30), (logistic(f), True)), logistic(z)),
    "at minus infinity": (z, step((1, f < -1e30), (logistic(f), True)), logistic(z)),
    "at NaN, a number": (z, Piecewise((f, f <= 0), (f, f > 0), (0, True), evaluate=False), z),
    "NaN at a number": (z, step((sqrt(-1 - f**2), f > 9e3), (f, True)), z),
    "NaN everywhere": (z, sqrt(-1 - f**2), sqrt(-1 - z**2)),
    "in parameters": (z, P * f, Q * z),
    "at negative parameters": (z, step((P * f, P > 0), (-P * f, True)), P * z),
    "at parameters above one": (z, step((f, P < 1), (P * f, True)), z),
    "at parameters between zero and one": (z, step((P * f, (P > 0) & (P < 1)), (f, True)), z),
    "in float32": (z, step((f, f**10 < 1e60), (0, True)), z),
    "in what the value has kept": (1 + z / 10**9, (f - 1) * 10**9, z),
    "above a threshold": (z, step((f + 1, (f > 2) & (f < 2.000001)), (f, True)), z),
    "below a threshold": (z, step((f + 1, (f < 2) & (f > 1.999999)), (f, True)), z),
    "at a threshold": (z, step((f + 1, (f <= 2.0) & (f >= 2.0) & (f > 1)), (f, True)), z),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_a_difference_is_noticed_wherever_it_is(name: str) -> None:
    function, g, h = DIFFERENT[name]
    assert not agrees(function, g, h, [2.0, -3.0])
    assert agrees(function, h.subs(z, f), h, [2.0, -3.0]) == (function == z and name != "NaN everywhere")


def test_rounding_is_no_difference_nor_is_what_the_value_has_lost_beside_a_threshold() -> None:
    assert agrees(z, f * (1 + 3 * 2.0**-52), z, [])
    shifted = z / 4 + Rational(1, 2)
    step_at = step((0, z <= -2), (1, True))
    assert agrees(shifted, step((0, f <= 0), (1, True)), step_at, [-2.0])
    assert not agrees(shifted, step((0, f <= 0), (1, True)), step((0, z <= -1.999), (1, True)), [-1.999])


@pytest.mark.parametrize("dtype", DTYPES)
def test_expressions_have_the_values_of_sympy(dtype: Any) -> None:
    at, u = np.array([-1.5, -0.25, 0.5, 2.0], dtype), Symbol("u", real=True)
    functions = (exp, sp.log, sin, sp.cos, sp.tan, tanh, sp.erf, sp.erfc, expm1, log1p, logistic, softplus, normal_cdf)
    for expression in (
        *(function(2 + u / 4) if function is sp.log else function(u / 2) for function in functions),
        u**3 - 2 * u / 3 + 5,
        (4 + u) ** u * u,
        1 / u**2,
        step((1, (u < -1) | (u > 1) | sp.Eq(u, Rational(1, 2))), (u, (u <= 3) & (u >= 0) & sp.Ne(u, 7)), (-u, True)),
        step((1, sp.Not(u > 0, evaluate=False)), (2, True)),
    ):
        found = evaluate(expression, {u: at}, dtype)
        plain = [expression.subs(u, Rational(float(value))) for value in at]
        wanted = [
            float(e.replace(lambda n: isinstance(n, OWN), lambda n: n.definition(n.args[0])).evalf()) for e in plain
        ]
        assert found.dtype == dtype
        np.testing.assert_allclose(found, wanted, rtol=8 * np.finfo(dtype).eps, err_msg=str(expression))


# ---------------------------------------------------------------------------------------------- in programs
@pytest.mark.parametrize(
    ("activation", "slope"),
    [
        (logistic, "d_z1[n,i] = (1 - a1[n,i])*a1[n,i]*d_a1[n,i]"),
        (softplus, "d_z1[n,i] = -expm1(-a1[n,i])*d_a1[n,i]"),
        (relu, "d_z1[n,i] = Piecewise((0, a1[n,i] <= 0), (d_a1[n,i], True))"),
        (
            lambda x: step((expm1(x), x <= 0), (x, True)),
            "d_z1[n,i] = Piecewise((a1[n,i] + 1, a1[n,i] <= 0), (1, True))*d_a1[n,i]",
        ),
    ],
)
def test_after_it_the_backward_pass_reads_the_value(activation: Any, slope: str) -> None:
    program, values = network([3, 4, 4], activation, "squares")
    program = share(simplify_algebra(program))
    after = changed_by(reuse_values, program, values)
    assert slope in lines(after)
    assert slope not in lines(program)


def test_logistic_runs_once_where_it_ran_twice() -> None:
    program, values = network([3, 4, 4, 2], logistic)
    program = share(program)
    after = changed_by(reuse_values, program, values)
    assert (count(program, logistic), count(after, logistic)) == (4, 2)


def test_the_sigmoid_of_swish_runs_once_after_sharing() -> None:
    program, values = network([3, 4, 2], lambda x: x * logistic(x))
    after = changed_by(reuse_values, share(program), values)
    assert count(after, logistic) == 1


def test_hundred_layers_ask_once() -> None:
    through_value.cache_clear()
    program, _ = network([2] * 30, logistic)
    reuse_values(share(program))
    assert through_value.cache_info().misses <= 4


i, j = Index("i", 4), Index("j", 4)
x, y = Tensor("x", (4, 4), "input"), Tensor("y", (4,), "input")
a, b, c = Tensor("a", (4, 4)), Tensor("b", (4, 4)), Tensor("c", (4, 4))
GIVEN = {"x": np.random.default_rng(0).normal(size=(4, 4)), "y": np.random.default_rng(1).normal(size=4)}


def after(*equations: Equation) -> list[str]:
    return lines(changed_by(reuse_values, Program(equations, tuple(dict.fromkeys(e.tensor for e in equations))), GIVEN))


def test_subscripts_are_matched_not_positions() -> None:
    """Equal widths: a[i,j] = f(x[j,i]) gives f(x[i,j]) as a[j,i]."""
    found = after(Equation(a[i, j], (i, j), logistic(x[j, i])), Equation(b[i, j], (i, j), y[i] * logistic(-x[i, j])))
    assert found[1] == "b[i,j] = (1 - a[j,i])*y[i]"


def test_a_value_of_another_element_or_of_part_of_the_range_is_not_used() -> None:
    short = Index("i", 3)
    found = after(
        Equation(a[short, j], (short, j), logistic(x[short, j])),
        Equation(b[i, j], (i, j), y[i] * logistic(-x[i, j])),
        Equation(c[i, j], (i, j), y[i] * logistic(-x[i, j + 1])),
    )
    assert found[1:] == ["b[i,j] = logistic(-x[i,j])*y[i]", "c[i,j] = logistic(-x[i,j + 1])*y[i]"] or all(
        "a[" not in line for line in found[1:]
    )


def test_a_value_to_which_another_equation_adds_is_not_used() -> None:
    found = after(
        Equation(a[i, j], (i, j), logistic(x[i, j])),
        Equation(a[i, 0], (i,), y[i]),
        Equation(b[i, j], (i, j), y[i] * logistic(-x[i, j])),
    )
    assert "a[" not in found[-1]


def test_a_sum_or_a_maximum_of_values_is_not_used() -> None:
    total = Tensor("total", (4,))
    for op, condition in (("sum", sp.true), ("max", sp.true), ("sum", i < j)):
        found = after(
            Equation(total[i], (i, j), logistic(x[i, j]), op),
            Equation(a[i, j], (i, j), logistic(x[j, i]), "sum", i < j),
            Equation(b[i, j], (i, j), y[i] * logistic(-x[i, j]), "sum", condition),
        )
        assert "b[i,j] = logistic(-x[i,j])*y[i]" in found[2]


def test_a_slot_does_not_read_another_slot_of_its_own_tensor() -> None:
    t, h, p = Index("t", 4), Tensor("h", (5,)), Tensor("y", (4,), "input")
    equations = [Equation(h[0], (), p[1] * logistic(-p[0])), Equation(h[t + 1], (t,), logistic(p[t]))]
    assert after(*equations) == [str(e) for e in equations]


def test_a_shifted_value_beside_its_first_slot_is_used() -> None:
    t, h, p = Index("t", 4), Tensor("h", (5,)), Tensor("p", (4,))
    program = Program(
        [
            Equation(h[0], (), y[0]),
            Equation(p[t], (t,), h[t] * y[t]),
            Equation(h[t + 1], (t,), logistic(p[t])),
            Equation(Tensor("d", (4,))[t], (t,), y[t] * logistic(-p[t])),
        ],
        (h, Tensor("d", (4,))),
    )
    assert lines(changed_by(reuse_values, program, GIVEN))[-1] == "d[t] = (1 - h[t + 1])*y[t]"


def test_a_function_of_an_index_too_or_of_an_index_alone_or_without_a_function_is_no_value() -> None:
    for value, slope in (
        (logistic(i * x[i, j]), logistic(-i * x[i, j])),
        (logistic((i + j) / 3), logistic(-x[i, j])),
        (2 * x[i, j], step((0, x[i, j] <= 0), (1, True))),
    ):
        found = after(Equation(a[i, j], (i, j), value), Equation(b[i, j], (i, j), y[i] * slope))
        assert "a[" not in found[1], found


def test_a_function_of_an_index_alone_is_no_value() -> None:
    total = Tensor("total", (4,))
    found = after(Equation(total[i], (i,), logistic(i / 3)), Equation(b[i, j], (i, j), y[i] * logistic(-x[i, j])))
    assert found[1] == "b[i,j] = logistic(-x[i,j])*y[i]"


def test_the_slope_of_a_recurrence_reads_its_value() -> None:
    t, h, d = Index("t", 4), Tensor("h", (5,)), Tensor("d", (4,))
    program = Program(
        [
            Equation(h[0], (), y[0]),
            Equation(h[t + 1], (t,), logistic(h[t])),
            Equation(d[t], (t,), y[t] * logistic(-h[t])),
        ],
        (h, d),
    )
    assert lines(changed_by(reuse_values, program, GIVEN))[-1] == "d[t] = (1 - h[t + 1])*y[t]"


def test_a_multiple_of_the_slope_alone_reads_the_value_and_another_function_alone_does_not() -> None:
    pieces = step((1, x[i, j] <= 0), (0, True))
    for value, alone, expected in (
        (logistic(x[i, j]), 3 * logistic(x[i, j]) * logistic(-x[i, j]), "b[i,j] = -3*(a[i,j] - 1)*a[i,j]"),
        (pieces, step((2, x[i, j] <= 0), (3, True)), "b[i,j] = Piecewise((2, x[i,j] <= 0), (3, True))"),
    ):
        assert after(Equation(a[i, j], (i, j), value), Equation(b[i, j], (i, j), alone))[1] == expected


def test_a_value_of_its_own_keeps_its_accuracy() -> None:
    """logistic(-z) where logistic(z) is 1 to the last bit: a value is not made of 1 - a."""
    program = Program(
        [Equation(a[i, j], (i, j), logistic(x[i, j])), Equation(b[i, j], (i, j), logistic(-x[i, j]))], (a, b)
    )
    found = evaluate_program(reuse_values(program), {"x": np.full((4, 4), 60.0)})
    assert found["b"][0, 0] == pytest.approx(np.exp(-60.0), rel=1e-12)


def test_nothing_is_divided_by_a_parameter_that_may_be_0() -> None:
    scaled = beta * tanh(z)
    assert through_value(scaled, scaled.diff(z)) is None  # beta - f**2/beta
    layers = [dense(3, {"formula": "beta*tanh(x)", "parameters": {"beta": 0.0}}, name="h"), dense(1)]
    net = Network(2, layers)
    parameters = net.initial_parameters(0)
    assert parameters["h.beta"] == 0
    X, y = np.array([[0.5, -1.0], [2.0, 0.3]]), np.ones((2, 1))
    _, found = net.value_and_gradient(parameters, X, y)
    for name, gradient in found.items():
        np.testing.assert_allclose(gradient, net.gradient(name).evaluate(parameters, X, y), 1e-12, 1e-15, err_msg=name)


def test_a_value_that_depends_on_what_would_read_it_is_not_used() -> None:
    p, given = Tensor("p", (1,), "parameter"), Tensor("given", (1,), "input")
    a, s, v = Tensor("a", (1,)), Tensor("s"), Tensor("v")
    program = Program(
        [
            Equation(v[()], (), given[0] * logistic(p[0])),
            Equation(s[()], (), tanh(v[()])),
            Equation(a[0], (), s[()] + logistic(p[0])),  # logistic(p) = a - s
        ],
        (v, a),
    )
    assert reuse_values(program) == program
