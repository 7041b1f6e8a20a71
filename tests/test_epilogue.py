"""Maps that products make as they store their sums: which, and that they are right."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import sympy as sp

import symnet as sn
from compiler import native
from compiler.calling import call, interpret
from compiler.executable import compile_program, generate
from compiler.kernels.epilogue import SUM, Epilogue, Form
from compiler.kernels.matmul import TILES, Matmul, Target, matmul
from compiler.program import Access, Equation, Index, Program, Tensor

N, I, K = 24, 37, 11
n, i, k = Index("n", N), Index("i", I), Index("k", K)
A, B = Tensor("A", (N, K), "input"), Tensor("B", (K, I), "input")
Z, R = Tensor("z", (N, I)), Tensor("r", (N, I))
X, Y, V = (Tensor(name, (N, I), "input") for name in "xyv")
LABELS = Tensor("labels", (N, I), "input", "integer")
BETA, GAMMA = Access(Tensor("beta", (), "input")), Access(Tensor("gamma", (), "hyper"))
PRODUCT = Equation(Z[n, i], (n, i, k), A[n, k] * B[k, i])
z, x, y, v = Z[n, i], X[n, i], Y[n, i], V[n, i]
TAKEN: dict[str, sp.Expr] = {
    "relu": sp.Piecewise((0, z <= 0), (z, True)),
    "leaky": sp.Piecewise((BETA * GAMMA * z, z <= 0), (z, True)),
    "slope": sp.Piecewise((0, x <= 0), (z, True)),
    "slope of tanh": (1 - x**2) * z,
    "hard": sp.Piecewise((-1, z < -1), (1, sp.Or(z > 1, x > 3)), (z, True)),
    "between": sp.Piecewise((z, sp.And(x >= -1, z >= -1)), (GAMMA, True)),
    "sum": z + 3 * x - BETA * y,
    "opposite": -z,
    "other": sp.Piecewise((x, sp.Ne(z, y)), (y, True)),
}
LEFT: dict[str, sp.Expr] = {
    "a function": sp.tanh(z),
    "a quotient": z / x,
    "a root": sp.sqrt(x) * z,
    "three tensors": z + x * y * v,
    "many operations": (z + x) * (z - x) * (z + y) * (z - y) * (z + 2 * y) * (z - 2 * y),
    "labels": sp.Piecewise((z, sp.Eq(LABELS[n, i], 3)), (0, True)),
    "transposed": z + Tensor("t", (I, N), "input")[i, n],
    "a row": z + Tensor("row", (I,), "input")[i] ** 2,
    "an index": z * n,
}


def program(rhs: sp.Expr, *more: Equation, outputs: tuple[Tensor, ...] = (R,)) -> Program:
    return Program((PRODUCT, Equation(R[n, i], (n, i), rhs), *more), outputs)


def epilogues(made: Program) -> list[str]:
    _, calls, *_ = generate(made, "float64", None, {})
    return [str(spec.epilogue) for spec in calls.values() if spec.epilogue != SUM]


def values(dtype: str = "float64") -> dict[str, Any]:
    rng = np.random.default_rng(0)
    shapes = {"A": (N, K), "B": (K, I), "x": (N, I), "y": (N, I)}
    found: dict[str, Any] = {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}
    return found | {"beta": np.array(0.25, dtype), "gamma": 0.5}


@pytest.mark.parametrize("name", TAKEN)
def test_a_cheap_map_of_a_product_is_made_as_it_is_stored(name: str) -> None:
    made = program(TAKEN[name])
    assert len(epilogues(made)) == 1
    given = values()
    expected = interpret(made, given, {})["r"]
    for found in (interpret(made, given, {}, plain=False)["r"], call(compile_program(made, "float64"), given, {})["r"]):
        np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-13)
    found = call(compile_program(made, "float32"), values("float32"), {})["r"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_nan_goes_through() -> None:
    given = values()
    given["A"][3, 2] = np.nan
    for name in ("relu", "hard", "between"):
        made = program(TAKEN[name])
        expected = interpret(made, given, {})["r"]
        np.testing.assert_allclose(call(compile_program(made, "float64"), given, {})["r"], expected, 1e-13, 1e-13)


@pytest.mark.parametrize("name", LEFT)
def test_other_maps_have_loops_of_their_own(name: str) -> None:
    assert epilogues(program(LEFT[name])) == []


def test_sums_that_something_else_reads_stay() -> None:
    relu = TAKEN["relu"]
    twice = Equation(Access(Tensor("s", ())), (n, i), z)
    assert epilogues(program(relu, twice, outputs=(R, Tensor("s", ())))) == []
    assert epilogues(program(relu, outputs=(R, Z))) == []
    assert epilogues(program(z * z, outputs=(R,))) == ["(sum * sum)"]
    part = Index("i", I - 1)
    assert epilogues(Program((PRODUCT, Equation(R[n, part], (n, part), Z[n, part])), (R,))) == []
    shifted = Index("i", I + 1, 1)  # the product's own indices are not those of the places
    wider = Tensor("B", (K, I + 1), "input")
    moved = Equation(Z[n, shifted - 1], (n, shifted, k), A[n, k] * wider[k, shifted])
    assert epilogues(Program((moved, Equation(R[n, i], (n, i), relu)), (R,))) == []
    added = Equation(Z[n, i], (n, i), x)  # by a loop, before the product adds its sums
    assert epilogues(program(relu, added)) == []


def test_where_sums_begin_with_a_row_the_map_comes_after_it() -> None:
    row = Tensor("row", (I,), "input")
    made = program(TAKEN["relu"], Equation(Z[n, i], (n, i), row[i]))
    assert len(epilogues(made)) == 1
    given = values() | {"row": np.linspace(-3, 3, I)}
    expected = np.maximum(given["A"] @ given["B"] + given["row"], 0)
    np.testing.assert_allclose(call(compile_program(made, "float64"), given, {})["r"], expected, 1e-13, 1e-13)


# ------------------------------------------------------------------------------------------------ the kernel
FORM: Form = ("select", ("<=", ("sum",), ("number", 0)), ("*", ("number", 1), ("sum",)), ("+", ("at", 0), ("sum",)))
CASES = list(itertools.product("km", "nk", ("zero", "bias"), ("float32", "float64"), ("", "m", "k", "mnk")))


@pytest.mark.parametrize("row", TILES)
def test_every_form_of_product_has_it(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYMNET_CACHE", "")
    for number, (a, b, start, dtype, runtime) in enumerate(CASES):
        if number % 3 == 0:
            shape = ((33, 37, 19), (7, 10, 40), (9, 70, 600), (40, 3, 64), (1, 20, 300))[number % 5]
            check(a, b, start, dtype, runtime, shape, TILES[row])


def test_only_the_last_block_of_a_long_sum_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYMNET_CACHE", "")
    for runtime, depth in itertools.product(("", "k", "mk"), (784, 1024, 2100)):
        check("k", "n", "bias", "float32", runtime, (20, 200, depth), TILES["avx512"])


def check(a: str, b: str, start: str, dtype: str, runtime: str, shape: tuple[int, int, int], target: Target) -> None:
    M, N, K = shape
    rng = np.random.default_rng(M + N + K)
    literal = [None if letter in runtime else count for letter, count in zip("mnk", shape, strict=True)]
    lda, ldb, ldc = (K if a == "k" else M) + 1, (N if b == "n" else K) + 1, N + 1
    spec = Matmul(dtype, *literal, a, b, lda, ldb, ldc, start, epilogue=Epilogue(FORM, 1, 2))
    left, right = rng.standard_normal((M, K)), rng.standard_normal((K, N))
    given = [np.zeros((M if a == "k" else K, lda), dtype), np.zeros((K if b == "n" else N, ldb), dtype)]
    given[0][:, :-1], given[1][:, :-1] = left if a == "k" else left.T, right if b == "n" else right.T
    result, bias, other = (rng.standard_normal(s).astype(dtype) for s in ((M, ldc), (N,), (M, ldc)))
    edge = result[:, -1].copy()
    function = native.callable_from(native.build_kernel(*matmul(spec, target), passes="none"), spec.signature)
    function(*(array.ctypes.data for array in (*given, result, bias)), *shape, other.ctypes.data, 0.5, 0.25)
    total = left.astype(dtype).astype(float) @ right.astype(dtype) + (bias if start == "bias" else 0)
    leaves: dict[Any, Any] = {("sum",): total, ("at", 0): other[:, :-1], ("number", 0): 0.5, ("number", 1): 0.25}
    near = np.abs(total - 0.5) < 1e-3  # either side of the condition
    expected = spec.epilogue.value(leaves.__getitem__)
    error = np.where(near, 0, np.abs(result[:, :-1] - expected))
    assert error.max() < (1e-3 if dtype == "float32" else 1e-11), spec
    np.testing.assert_array_equal(result[:, -1], edge)


# ------------------------------------------------------------------------------------------------ networks
@pytest.mark.parametrize(("activation", "count"), [("relu", 4), ("leaky_relu", 4), ("hard_tanh", 4), ("tanh", 2)])
def test_activations_and_slopes_of_a_network_are_made_so(activation: str, count: int) -> None:
    net = sn.Network(20, [sn.dense(33, activation), sn.dense(19, activation), sn.dense(7)], "softmax_cross_entropy")
    rng = np.random.default_rng(1)
    X, labels = rng.standard_normal((9, 20)), rng.integers(0, 7, 9)
    model = net.compile("sgd", dtype="float64")
    assert model.source.count(", then ") == count
    _, found = net.value_and_gradient(model.parameters, X, labels)
    for name, gradient in found.items():
        np.testing.assert_allclose(gradient, net.gradient(name).evaluate(model.parameters, X, labels), 1e-12, 1e-14)
