"""The oracle itself: judged by definitions worked out by hand, and by a second evaluator that goes point by point."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
import scipy.sparse
import sympy as sp
from sympy import Integer, Piecewise, Rational

from compiler.functions import expm1, log1p, logistic, softplus, uniform
from compiler.program import Access, Equation, Index, Program, ProgramError, Tensor, position, size
from symnet.oracle.numerical import central_difference, numerical_gradient, program_gradient
from symnet.oracle.reference import evaluate
from symnet.oracle.reference_float import floating
from symnet.oracle.reference_mp import BOTH, complex_step, complex_step_gradient, evaluate_mp, hessian, magnitudes
from symnet.oracle.scales import CHANCE, LARGE, scales

from .programs import sample

N = size("N")
x, y, s = Tensor("x", (N,), "input"), Tensor("y", (N,)), Tensor("s")
ids = Tensor("ids", (N,), "input", "integer")
n = Index("n", N)
NAN, INF = math.nan, math.inf


def value(equations: list[Equation], tensor: Tensor, given: dict[str, Any] | None = None, **sizes: int) -> Any:
    return evaluate(Program(equations, (tensor,)), given or {}, sizes)[tensor.name]


def elementwise(expression: Any, *numbers: float) -> np.ndarray:
    return value([Equation(y[n], (n,), expression)], y, {"x": np.array(numbers, float)})


# ---------------------------------------------------------------------------------------------- the second evaluator
def point_by_point(program: Program, values: dict[str, Any], sizes: dict[str, int]) -> Callable[..., float]:
    """element(tensor, *subscripts), by the words of the grammar: one scalar at a time, on demand, memoized."""
    done: dict[Any, Any] = {}
    points = {}
    number = lambda e: int(e.xreplace({size(k): Integer(v) for k, v in sizes.items()}))
    for equation in program.equations:
        ranges = [range(number(i.low), number(i.high)) for i in equation.domain]
        points[equation] = [dict(zip(equation.domain, p, strict=True)) for p in itertools.product(*ranges)]

    def element(tensor: Tensor, *at: int) -> Any:
        if not all(0 <= k < number(extent) for k, extent in zip(at, tensor.shape, strict=True)):
            return 0
        if tensor not in program.definitions:
            return np.asarray(values[tensor.name])[at].item()
        if (tensor, at) not in done:
            terms = [t for e in program.definitions[tensor] for t in contributions(e, at)]
            op = program.definitions[tensor][0].op
            if op == "sum":
                done[tensor, at] = math.fsum(v for _, v in terms)
            elif op == "argmax":
                done[tensor, at] = max(terms, key=lambda t: (t[1], -t[0]))[0] if terms else -1
            elif op == "max":
                done[tensor, at] = max((v for _, v in terms), default=-INF)
            else:
                top = max((v for _, v in terms), default=-INF)
                done[tensor, at] = top + math.log(math.fsum(math.exp(v - top) for _, v in terms)) if terms else -INF
        return done[tensor, at]

    def contributions(equation: Equation, at: tuple[int, ...]) -> Any:
        for point in points[equation]:
            here = {b: point[b] for b in equation.bound}
            if tuple(scalar(sub, point) for sub in equation.lhs.subscripts) == at and scalar(equation.where, point):
                place = 0
                for b in equation.bound:
                    place = place * number(b.extent) + here[b] - number(b.low)
                yield place, scalar(equation.rhs, point)

    def scalar(node: Any, point: dict[Index, int]) -> Any:
        if isinstance(node, Index):
            return point[node]
        if isinstance(node, Access):
            return element(node.tensor, *(scalar(sub, point) for sub in node.subscripts))
        if isinstance(node, Piecewise):
            return next(scalar(p.expr, point) for p in node.args if scalar(p.cond, point))
        if isinstance(node, sp.Symbol):
            return sizes[node.name]
        if node in (sp.true, sp.false):
            return bool(node)
        if isinstance(node, sp.Integer):
            return int(node)
        if isinstance(node, (sp.Number, sp.NumberSymbol)):
            return float(node)
        args = [scalar(a, point) for a in node.args]
        if isinstance(node, uniform):
            return bits(*args)
        return SCALAR[type(node).__name__](*args)

    return element


SCALAR: dict[str, Any] = {
    "Add": lambda *a: sum(a), "Mul": lambda *a: math.prod(a), "Pow": lambda a, b: a**b, "And": lambda *a: all(a),
    "Or": lambda *a: any(a), "Not": lambda a: not a, "Equality": lambda a, b: a == b, "Unequality": lambda a, b: a != b,
    "StrictLessThan": lambda a, b: a < b, "LessThan": lambda a, b: a <= b, "StrictGreaterThan": lambda a, b: a > b,
    "GreaterThan": lambda a, b: a >= b, "exp": math.exp, "log": math.log, "sin": math.sin, "cos": math.cos,
    "tan": math.tan, "tanh": math.tanh, "erf": math.erf, "erfc": math.erfc, "expm1": math.expm1, "log1p": math.log1p,
    "logistic": lambda a: 1 / (1 + math.exp(-a)), "softplus": lambda a: math.log(1 + math.exp(a)),
}  # fmt: skip


def bits(*keys: int) -> float:
    """uniform, in Python's integers, from the docstring of compiler.functions.uniform"""
    wrap = 2**64
    h = 0x9E3779B97F4A7C15
    for k in keys:
        z = (h ^ (k * 0xD1342543DE82EF95) % wrap) + 0x9E3779B97F4A7C15
        z %= wrap
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % wrap
        z = (z ^ z >> 27) * 0x94D049BB133111EB % wrap
        h = z ^ z >> 31
    return (h >> 11) * 2.0**-53


@pytest.mark.parametrize("block", range(0, 80, 20))
def test_two_evaluators_agree_on_random_programs(block: int) -> None:
    for seed in range(block, block + 20):
        drawn = sample(1000 + seed)
        names = list(drawn.program.definitions)
        found = evaluate(drawn.program, drawn.values, drawn.sizes, names)
        scale = magnitudes(drawn.program, drawn.values, drawn.sizes, names)
        element = point_by_point(drawn.program, drawn.values, drawn.sizes)
        for tensor in names:
            for at in np.ndindex(found[tensor.name].shape):
                expected = element(tensor, *at)
                got = found[tensor.name][at]
                assert got == expected or abs(got - expected) <= 1e-12 * scale[tensor.name][at], (
                    tensor,
                    at,
                    str(drawn),
                )


# ---------------------------------------------------------------------------------------------- equations
def test_a_tensor_is_the_sum_of_its_equations() -> None:
    k = Index("k", 3)
    W, z = Tensor("W", (3, 2), "parameter"), Tensor("z", (N, 3))
    j = Index("j", 2)
    X = Tensor("X", (N, 2), "input")
    rng = np.random.default_rng(1)
    given = {"W": rng.normal(size=(3, 2)), "X": rng.normal(size=(5, 2))}
    equations = [
        Equation(z[n, k], (k, j, n), W[k, j] * X[n, j]),
        Equation(z[n, k], (n, k), 10 * k),
        Equation(z[n, 1], (n,), n),
    ]
    expected = given["X"] @ given["W"].T + 10 * np.arange(3)
    expected[:, 1] += np.arange(5)
    np.testing.assert_allclose(value(equations, z, given), expected, rtol=1e-14)


def test_a_write_outside_is_dropped_and_writes_to_one_place_add_up() -> None:
    given = {"x": [1.0, 2.0, 4.0, 8.0], "ids": [1, 1, -1, 4]}
    assert value([Equation(y[ids[n]], (n,), x[n])], y, given).tolist() == [0, 3, 0, 0]
    assert value([Equation(y[n + 1], (n,), x[n])], y, given).tolist() == [0, 1, 2, 4]
    assert value([Equation(y[n - 2], (n,), x[n])], y, given).tolist() == [4, 8, 0, 0]
    assert value([Equation(y[2 * n], (n,), x[n])], y, given).tolist() == [1, 0, 2, 0]
    assert value([Equation(y[0], (n,), x[n])], y, given).tolist() == [15, 0, 0, 0]


def test_a_read_outside_is_zero() -> None:
    given = {"x": [1.0, 2.0, 4.0], "ids": [2, -1, 3]}
    assert value([Equation(y[n], (n,), x[n - 1] + 1)], y, given).tolist() == [1, 2, 3]
    assert value([Equation(y[n], (n,), sp.exp(x[n + 1]))], y, given).tolist() == [math.exp(2), math.exp(4), 1]
    assert value([Equation(y[n], (n,), x[ids[n]])], y, given).tolist() == [4, 0, 0]
    assert value([Equation(y[n], (n,), ids[n + 1])], y, given).tolist() == [-1, 3, 0]
    assert value([Equation(y[n], (n,), x[ids[n + 1]])], y, given).tolist() == [0, 0, 1]


def test_an_unused_index_repeats_the_contribution_and_a_condition_selects_points() -> None:
    k = Index("k", 5, 2)
    assert value([Equation(s[()], (n, k), x[n])], s, {"x": [1, 2]}) == 9
    assert value([Equation(s[()], (n, k), k, "sum", sp.And(k > 2, sp.Ne(n, 1)))], s, {"x": [1, 2]}, N=2) == 7
    assert value([Equation(s[()], (n,), x[n], "sum", sp.Eq(ids[n], n))], s, {"x": [1, 2, 4], "ids": [0, 2, 2]}) == 5


def test_indices_and_sizes_are_numbers_in_expressions() -> None:
    assert value([Equation(y[n], (n,), (n + Rational(1, 2)) / N)], y, N=2).tolist() == [0.25, 0.75]
    assert value([Equation(y[n], (n,), 2 ** (-n))], y, N=3).tolist() == [1, 0.5, 0.25]
    assert value([Equation(s[()], (), sp.pi + sp.E + sp.sqrt(2))], s) == pytest.approx(
        math.pi + math.e + 2**0.5, rel=1e-15
    )


def test_integer_tensors_stay_exact() -> None:
    count = Tensor("count", (N,), kind="integer")
    k = Index("k", N)
    got = value([Equation(count[n], (n, k), 2**60 + k, "sum", ids[k] <= n)], count, {"ids": [0, 5, 1]})
    assert got.dtype == np.int64
    assert got.tolist() == [2**60, 2 * 2**60 + 2, 2 * 2**60 + 2]


# ---------------------------------------------------------------------------------------------- reductions
def reduced(op: str, numbers: list[float], where: Any = sp.true) -> Any:
    kind = "integer" if op == "argmax" else "real"
    r = Tensor("r", (), kind=kind)
    return value([Equation(r[()], (n,), x[n], op, where)], r, {"x": np.array(numbers, float)})


def test_reductions_of_nothing() -> None:
    nothing = n > 9
    assert reduced("sum", [1, 2], nothing) == 0
    assert reduced("max", [1, 2], nothing) == -INF
    assert reduced("logsumexp", [1, NAN], nothing) == -INF
    assert reduced("argmax", [1, 2], nothing) == -1
    assert [float(reduced(op, [])) for op in ("sum", "max", "logsumexp", "argmax")] == [0, -INF, -INF, -1]


def test_argmax_gives_the_first_of_equals_and_nan_counts_as_largest() -> None:
    assert reduced("argmax", [1, 3, 3, 2]) == 1
    assert reduced("argmax", [1, NAN, 3, NAN]) == 1
    assert reduced("argmax", [INF, NAN]) == 1
    assert reduced("argmax", [NAN, 5, 7], n >= 1) == 2
    assert reduced("argmax", [-INF, -INF, -INF], n >= 1) == 1


def test_argmax_counts_bound_indices_in_row_major_order_from_their_lower_ends() -> None:
    i, k = Index("i", 4, 1), Index("k", 5, 2)
    A = Tensor("A", (4, 5), "input")
    r = Tensor("r", (2,), kind="integer")
    h = Index("h", 2)
    table = np.zeros((4, 5))
    table[3, 2] = 1
    for domain in ((h, i, k), (h, k, i), (k, h, i)):
        bound = [b for b in domain if b != h]
        expected = int(position(bound).xreplace({i: Integer(3), k: Integer(2)}))
        assert value([Equation(r[h], domain, A[i, k], "argmax")], r, {"A": table}).tolist() == [expected] * 2


def test_max_and_logsumexp_pass_nan_and_infinities_on() -> None:
    assert reduced("max", [1, 3, 2]) == 3
    assert math.isnan(reduced("max", [1, NAN, 3]))
    assert math.isnan(reduced("logsumexp", [1, NAN]))
    assert reduced("max", [-INF, -INF]) == reduced("logsumexp", [-INF, -INF]) == -INF
    assert reduced("logsumexp", [INF, 1]) == INF
    assert reduced("logsumexp", [-INF, 2]) == 2
    assert reduced("max", [9, 3, 2], n > 0) == 3


def test_logsumexp_does_not_overflow() -> None:
    assert reduced("logsumexp", [1e4, 1e4]) == 1e4 + math.log(2)
    assert reduced("logsumexp", [-1e4, -1e4]) == -1e4 + math.log(2)


# ---------------------------------------------------------------------------------------------- recurrences
def test_recurrences_forward_and_backward() -> None:
    t = Index("t", N)
    h = Tensor("h", (N,))
    given = {"x": [1.0, 2.0, 3.0, 4.0]}
    assert value([Equation(h[t], (t,), x[t] + 2 * h[t - 1])], h, given).tolist() == [1, 4, 11, 26]
    assert value([Equation(h[t], (t,), x[t] + 2 * h[t + 1])], h, given).tolist() == [49, 24, 11, 4]
    assert value([Equation(h[t], (t,), x[t] + h[t - 1] + h[t - 2])], h, given).tolist() == [1, 3, 7, 14]


def test_nested_and_mutual_recurrences() -> None:
    i, k = Index("i", 4), Index("k", 5)
    c = Tensor("c", (4, 5))
    pascal = value([Equation(c[i, k], (i, k), c[i - 1, k] + c[i, k - 1]), Equation(c[0, 0], (), 1)], c)
    assert pascal.tolist() == [[math.comb(a + b, a) for b in range(5)] for a in range(4)]
    f, g = Tensor("f", (6,)), Tensor("g", (6,))
    t = Index("t", 6, 1)
    equations = [Equation(f[0], (), 1), Equation(g[t], (t,), f[t - 1]), Equation(f[t], (t,), f[t - 1] + g[t - 1])]
    assert value(equations, f).tolist() == [1, 1, 2, 3, 5, 8]


def test_a_layer_recurrence_has_its_first_slot_from_elsewhere() -> None:
    layer = Index("l", 3)
    h = Tensor("h", (4, N))
    got = value(
        [Equation(h[0, n], (n,), x[n]), Equation(h[layer + 1, n], (layer, n), (layer + 2) * h[layer, n])],
        h,
        {"x": [1, 10]},
    )
    assert got.tolist() == [[1, 10], [2, 20], [6, 60], [24, 240]]


def test_maxima_inside_a_recurrence() -> None:
    best = Tensor("best", (N, 2))
    choice = Tensor("choice", (N, 2), kind="integer")
    gain = Tensor("gain", (N, 2), "input")
    m = Tensor("m", (N, 2))
    t, i, k = Index("t", N), Index("i", 2), Index("k", 2)
    score = best[t - 1, k] - Piecewise((0, sp.Eq(i, k)), (1, True))
    equations = [
        Equation(m[t, i], (t, i, k), score, "max"),
        Equation(choice[t, i], (t, i, k), score, "argmax"),
        Equation(best[t, i], (t, i), m[t, i] + gain[t, i]),
    ]
    gains = np.array([[0.0, 3.0], [5.0, 0.0], [0.0, 1.0]])
    assert value(equations, best, {"gain": gains}).tolist() == [[0, 3], [7, 3], [7, 7]]
    assert value(equations, choice, {"gain": gains}).tolist() == [[0, 1], [1, 1], [0, 0]]


def test_an_element_that_depends_on_itself_is_an_error() -> None:
    for factor in (1, Rational(1, 2), -1):
        with pytest.raises(ProgramError, match="depends on itself in the recurrence of y"):
            value([Equation(y[n], (n,), factor * y[N - 1 - n] + x[n])], y, {"x": [1, 2, 3]})


def test_nan_goes_through_a_recurrence() -> None:
    t = Index("t", N)
    got = value([Equation(y[t], (t,), x[t] + 2 * y[t - 1])], y, {"x": [1.0, NAN, 3.0]})
    assert got[0] == 1
    assert np.isnan(got[1:]).all()


# ---------------------------------------------------------------------------------------------- scalars
def test_piecewise_takes_the_first_branch_that_holds_and_a_comparison_with_nan_does_not() -> None:
    relu = Piecewise((0, x[n] <= 0), (x[n], True))
    assert np.array_equal(elementwise(relu, -1, 0, 2, NAN), [0, 0, 2, NAN], equal_nan=True)
    assert elementwise(Piecewise((1, x[n] > 0), (2, x[n] > -1), (3, True)), 1, -0.5, -2, NAN).tolist() == [1, 2, 3, 3]
    assert elementwise(Piecewise((1, (x[n] >= 0) & (x[n] < 2)), (0, True)), -1, 1, 2, NAN).tolist() == [0, 1, 0, 0]


def test_a_branch_not_taken_has_no_influence() -> None:
    safe = Piecewise((sp.log(x[n]) + 1 / x[n], x[n] > 0), (-1, True))
    assert elementwise(safe, 1, 0, -3).tolist() == [1, -1, -1]
    got = evaluate_mp(Program([Equation(y[n], (n,), safe)], (y,)), {"x": [1, 0, -3]})["y"]
    assert [float(v) for v in got] == [1, -1, -1]
    masked = Equation(s[()], (n,), 1 / x[n], "sum", n > 0)
    assert value([masked], s, {"x": [0, 2, 4]}) == 0.75


FUNCTIONS = [
    sp.exp, sp.log, sp.sin, sp.cos, sp.tan, sp.tanh, sp.erf, sp.erfc, logistic, softplus, expm1, log1p,
    sp.sqrt, lambda e: e**3, lambda e: e**-2, lambda e: e ** Rational(2, 3),
]  # fmt: skip


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: getattr(f, "__name__", "power"))
def test_functions_are_accurate_over_the_range_of_floats(function: Any) -> None:
    tiny = [1e-300, 1e-20, 1e-8, 0.1, 0.9, 1.5, 3.0, 20.0, 36.7, 100.0, 700.0]
    positive = function in (sp.log, sp.sqrt) or getattr(function, "__name__", "") == "<lambda>"
    numbers = tiny if positive else [v for v in (*tiny, *(-v for v in tiny)) if function is not log1p or v > -1]
    program = Program([Equation(y[n], (n,), function(x[n]))], (y,))
    exact = np.array([float(v) for v in evaluate_mp(program, {"x": numbers})["y"]])
    np.testing.assert_allclose(
        evaluate(program, {"x": numbers})["y"],
        exact,
        rtol=4e-15 if function is not FUNCTIONS[-1] else 1e-13,
        atol=1e-307,
    )
    single = evaluate(program, {"x": numbers}, arithmetic=floating(np.float32))["y"]
    assert single.dtype == np.float32
    finite = (np.abs(exact) < 3e38) & (np.abs(numbers) > 1e-30)
    np.testing.assert_allclose(single[finite], exact[finite], rtol=1e-4, atol=1e-37)


def test_own_functions_are_stable_at_the_ends() -> None:
    assert elementwise(logistic(x[n]), -800, 800, -INF, INF).tolist() == [0, 1, 0, 1]
    assert elementwise(softplus(x[n]), -800, 800, -INF, INF).tolist() == [0, 800, 0, INF]
    assert elementwise(softplus(x[n]), -40).tolist() == [math.exp(-40)]
    for function in (logistic, softplus, expm1, log1p, sp.tanh, sp.erf):
        assert math.isnan(elementwise(function(x[n]), NAN)[0])


def test_longdouble_keeps_its_digits() -> None:
    program = Program([Equation(s[()], (), sp.exp(Rational(1, 3)) + sp.pi)], (s,))
    got = evaluate(program, {}, arithmetic=floating(np.longdouble))["s"]
    exact = mpmath.mpf(str(sp.N(sp.exp(Rational(1, 3)) + sp.pi, 30)))
    assert abs(float(mpmath.mpf(np.format_float_positional(got[()], 25)) - exact)) <= 8 * float(
        np.finfo(np.longdouble).eps
    )


def test_uniform_has_the_bits_of_its_docstring() -> None:
    i = Index("i", 3, -2)
    r = Tensor("r", (3, N))
    got = value([Equation(r[i + 2, n], (i, n), uniform(7, i, ids[n]))], r, {"ids": [0, 5, -(2**40)]})
    assert got.tolist() == [[bits(7, a, b) for b in (0, 5, -(2**40))] for a in (-2, -1, 0)]
    assert got[2, 0] == 0.8208761766048468  # the same on every machine, in every version
    many = value([Equation(y[n], (n,), uniform(1, n))], y, N=4000)
    assert 0 <= many.min() < many.max() < 1
    assert abs(many.mean() - 0.5) < 0.02
    assert abs(np.corrcoef(many[1:], many[:-1])[0, 1]) < 0.05


def test_a_deep_expression_is_no_problem() -> None:
    deep = x[n]
    for _ in range(60):
        deep = sp.tanh(deep) + 1
    assert 0 < elementwise(deep, 0.5)[0] < 2


# ---------------------------------------------------------------------------------------------- data
def test_a_sparse_tensor_has_the_meaning_of_the_dense_one() -> None:
    A = Tensor("A", (N, N), "constant", "real", True)
    k = Index("k", N)
    dense = np.array([[0, 2.0, 0], [0, 0, 0], [1, 0, 3]])
    equations = [Equation(y[n], (n, k), A[n, k] * x[k])]
    got = [value(equations, y, {"A": form(dense), "x": [1, 10, 100]}) for form in (np.asarray, scipy.sparse.csr_array)]
    assert got[0].tolist() == got[1].tolist() == [20, 0, 301]


def test_what_is_missing_or_misfits_is_named() -> None:
    program = Program([Equation(y[n], (n,), x[n])], (y,))
    with pytest.raises(ProgramError, match="no value was given for x; given: X"):
        evaluate(program, {"X": [1]}, {"N": 1})
    with pytest.raises(ProgramError, match=r"x has shape \(2,\), expected \(3,\)"):
        evaluate(program, {"x": [1, 2]}, {"N": 3})
    with pytest.raises(ProgramError, match="the size N is not known"):
        evaluate(Program([Equation(y[n], (n,), n)], (y,)), {})
    with pytest.raises(ProgramError, match="no tensor 'z'; it has x, y"):
        evaluate(program, {"x": [1]}, wanted=["z"])
    with pytest.raises(ProgramError, match="sinh is not in the language"):
        evaluate(Program([Equation(y[n], (n,), sp.sinh(x[n]))], (y,)), {"x": [1]})
    with pytest.raises(ProgramError, match="defined by max and must have one equation"):
        evaluate(Program([Equation(s[()], (n,), x[n], "max")] * 2, (s,)), {"x": [1]})


def test_sizes_may_be_given_by_symbol_and_are_read_off_arrays() -> None:
    program = Program([Equation(s[()], (n,), N)], (s,))
    assert evaluate(program, {}, {N: 3})["s"] == evaluate(program, {}, {"N": 3})["s"] == 9
    assert evaluate(Program([Equation(s[()], (n,), x[n] * N)], (s,)), {"x": [1, 2]})["s"] == 6


def test_only_what_is_wanted_is_evaluated() -> None:
    other = Tensor("other", (N,))
    program = Program(
        [Equation(y[n], (n,), x[n]), Equation(other[n], (n,), Tensor("missing", (N,), "input")[n])], (y, other)
    )
    assert evaluate(program, {"x": [3]}, wanted=["y"])["y"].tolist() == [3]


# ---------------------------------------------------------------------------------------------- many digits
def test_fifty_digits_are_right() -> None:
    program = Program(
        [Equation(y[n], (n,), sp.sin(x[n]) ** 2 + sp.cos(x[n]) ** 2 - logistic(x[n]) - logistic(-x[n]))], (y,)
    )
    for v in evaluate_mp(program, {"x": [0.3, -2.0, 40.0]})["y"]:
        assert abs(v) < 1e-49
    product = Program([Equation(s[()], (), sp.exp(Rational(1, 3)) * sp.sqrt(2))], (s,))
    with mpmath.workdps(60):
        exact = mpmath.exp(mpmath.mpf(1) / 3) * mpmath.sqrt(2)
        assert abs(evaluate_mp(product, {})["s"][()] - exact) < 1e-49


def test_the_complex_step_is_right_to_more_than_forty_digits() -> None:
    program = Program([Equation(s[()], (n,), sp.exp(sp.sin(x[n])) * sp.erf(x[n]) + softplus(x[n]) + x[n] ** 3)], (s,))
    v = 0.7
    got = complex_step_gradient(program, s, [x], {"x": [v]})["x"][0]
    with mpmath.workdps(60):
        m = mpmath.mpf(v)
        slope = mpmath.exp(mpmath.sin(m)) * (
            mpmath.cos(m) * mpmath.erf(m) + 2 * mpmath.exp(-m * m) / mpmath.sqrt(mpmath.pi)
        )
        assert abs(got - slope - 1 / (1 + mpmath.exp(-m)) - 3 * m**2) < 1e-45


def test_the_complex_step_looks_at_real_parts_and_takes_the_first_of_equals() -> None:
    w = Tensor("w", (N,), "parameter")
    top = Equation(s[()], (n,), w[n] * x[n], "max")
    program = Program([top], (s,))
    got = complex_step_gradient(program, s, [w], {"w": [1.0, 2.0, 2.0], "x": [1.0, 3.0, 3.0]})["w"]
    assert [float(g) for g in got] == [0, 3, 0]
    along = complex_step(program, s, {"w": [1.0, 2.0, 2.0], "x": [1.0, 3.0, 3.0]}, {"w": [5, 7, 9]})
    assert float(along[()]) == 21
    kinked = Program([Equation(s[()], (n,), Piecewise((0, w[n] <= 0), (w[n] ** 2, True)))], (s,))
    assert [float(g) for g in complex_step_gradient(kinked, s, ["w"], {"w": [-1.0, 3.0, 0.0]})["w"]] == [0, 6, 0]


def test_second_derivatives_of_a_known_function() -> None:
    w = Tensor("w", (2,), "parameter")
    program = Program([Equation(s[()], (), sp.exp(w[0]) * w[1] ** 3)], (s,))
    got = hessian(program, s, {"w": [0.5, 2.0]}, [w]).astype(float)
    e = math.exp(0.5)
    np.testing.assert_allclose(got, [[8 * e, 12 * e], [12 * e, 12 * e]], rtol=1e-15)


def test_evaluators_agree_in_all_arithmetics_on_random_programs() -> None:
    for seed in range(2000, 2030):
        drawn = sample(seed)
        double = evaluate(drawn.program, drawn.values, drawn.sizes)["loss"]
        exact = evaluate_mp(drawn.program, drawn.values, drawn.sizes)["loss"]
        scale = magnitudes(drawn.program, drawn.values, drawn.sizes)["loss"]
        extended = evaluate(drawn.program, drawn.values, drawn.sizes, arithmetic=floating(np.longdouble))["loss"]
        assert abs(double - float(exact[()])) <= 1e-12 * scale, str(drawn)
        assert abs(float(extended) - float(exact[()])) <= 1e-15 * scale, str(drawn)
        assert scale >= abs(double) * (1 - 1e-12)


# ---------------------------------------------------------------------------------------------- magnitudes
def magnitude(expression: Any, *numbers: float) -> list[float]:
    return magnitudes(Program([Equation(y[n], (n,), expression)], (y,)), {"x": list(numbers)})["y"].tolist()


def test_a_magnitude_adds_absolute_values_of_terms() -> None:
    assert magnitude(x[n] - 3, 3) == [6]
    assert magnitude((x[n] - 3) * (x[n] + 1), 3, 2) == [24, 15]
    assert magnitude((x[n] - 3) ** 2, 5) == [4 + 2 * 2 * 6 + BOTH * 36]
    assert magnitude(sp.exp(-(x[n] ** 2)), 2) == [math.exp(-4)]
    assert magnitudes(Program([Equation(s[()], (n,), x[n])], (s,)), {"x": [1, -1, 5, -5]})["s"] == 12


def test_a_magnitude_keeps_what_cancelled_inside_a_function() -> None:
    slope = 1 - math.tanh(0) ** 2
    assert magnitude(sp.tanh(x[n] - 3), 3) == [slope * 6]
    assert magnitude(1 / (x[n] - 3), 5) == [1 / 2 + 6 / 4]
    total = magnitudes(Program([Equation(s[()], (n,), x[n] - 3, "logsumexp")], (s,)), {"x": [3.0]})["s"]
    assert total == 6


def test_a_magnitude_grows_with_the_steps_of_a_recurrence_as_changes_do() -> None:
    t = Index("t", 60)
    h = Tensor("h", (60,))
    step = sp.tanh(h[t - 1] - x[t] + x[t] ** 3)  # 1 - 1: all of it cancels, at each step
    program = Program([Equation(h[t], (t,), (1 - step**2) * step)], (h,))
    assert magnitudes(program, {"x": [1.0] * 60})["h"].max() <= 2.01 * 60  # 2 at each, passed on with the slope 1


def test_a_scale_stays_a_size_of_the_errors_where_magnitudes_do_not() -> None:
    t, h, first = Index("t", 60), Tensor("h", (60,)), Tensor("first", (), "input")
    step = Rational(5, 2) * h[t - 1] * (1 - h[t - 1])  # to 3/5, where the slope is -1/2
    start = Equation(h[0], (), first[()])
    after = Equation(h[t], (t,), Piecewise((step, t > 0), (0, True)))
    program = Program((start, after, Equation(s[()], (), h[59] - Rational(3, 5))), (s, h))
    bound, found = (f(program, {"first": 0.3}) for f in (magnitudes, scales))
    assert not bound["s"] <= 1e20 and not bound["h"][-1] <= 1e20
    assert 0.6 <= found["h"][-1] <= 20 * CHANCE and 0.6 <= found["s"] <= 20 * CHANCE  # of a value 0, too
    near = Program((Equation(s[()], (n,), x[n]),), (s,))
    given = {"x": [1.0, 1 / LARGE - 1]}  # not much cancels
    assert scales(near, given)["s"] == magnitudes(near, given)["s"] == 2 - 1 / LARGE


# ---------------------------------------------------------------------------------------------- numerical
CURVES = [
    (np.exp, np.exp, 1.0), (np.sin, np.cos, 2.0), (np.sqrt, lambda v: 0.5 / np.sqrt(v), 3.0),
    (np.tanh, lambda v: 1 - np.tanh(v) ** 2, 0.3), (lambda v: v**3, lambda v: 3 * v**2, 50.0),
    (lambda v: 1 / v, lambda v: -1 / v**2, 1.5), (np.log, lambda v: 1 / v, 1000.0),
]  # fmt: skip


@pytest.mark.parametrize(("f", "slope", "at"), CURVES)
def test_central_differences_leave_no_more_than_they_say(f: Any, slope: Any, at: float) -> None:
    estimate = central_difference(f, at)
    error = abs(estimate.value - slope(at))
    assert error <= 2 * estimate.error
    assert estimate.error <= 1e-8 * max(abs(slope(at)), abs(f(at)) / at)


def test_the_default_step_is_better_than_larger_and_smaller_ones() -> None:
    def worst(step: float | None) -> float:
        return max(abs(float(central_difference(f, at, step).value) - slope(at)) for f, slope, at in CURVES[:4])

    assert worst(None) < worst(1e-2) / 100
    assert worst(None) < worst(1e-10) / 100


def test_a_larger_step_leaves_an_error_that_is_estimated() -> None:
    for step in (1e-1, 1e-2, 1e-3):
        estimate = central_difference(np.exp, 1.0, step)
        assert abs(estimate.value - math.e) == pytest.approx(float(estimate.error), rel=0.05)
        assert estimate.error == pytest.approx(math.e * step**2 / 6, rel=0.05)


def test_central_differences_work_elementwise() -> None:
    points = np.array([[0.1, 2.0], [30.0, -4.0]])
    estimate = central_difference(np.sin, points)
    assert estimate.value.shape == estimate.error.shape == (2, 2)
    np.testing.assert_allclose(estimate.value, np.cos(points), atol=1e-8)


def test_numerical_gradients_of_programs_agree_with_the_complex_step_within_their_errors() -> None:
    for seed in range(3000, 3015):
        drawn = sample(seed)
        numerical = program_gradient(drawn.program, drawn.output, drawn.wrt, drawn.values, drawn.sizes)
        exact = complex_step_gradient(drawn.program, drawn.output, drawn.wrt, drawn.values, drawn.sizes)
        for name, estimate in numerical.items():
            off = np.abs(estimate.value - exact[name].astype(float))
            assert (off <= 10 * estimate.error + 1e-12).all(), (name, off, estimate.error, str(drawn))
            assert (estimate.error < 1e-5).all()


def test_numerical_gradient_of_a_plain_function() -> None:
    A = np.array([[2.0, 1.0], [1.0, 5.0]])
    estimate = numerical_gradient(lambda v: v @ A @ v, [1.0, -1.0])
    np.testing.assert_allclose(estimate.value, 2 * A @ [1, -1], atol=1e-9)
