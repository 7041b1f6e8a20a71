"""Conditions on integer data bound loops: the same values, and no point visited in vain."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import sympy as sp
from scipy.sparse import csr_array
from sympy.logic.boolalg import Boolean

from compiler.calling import interpret
from compiler.executable import generate
from compiler.passes import run_passes
from compiler.program import Access, Equation, Index, Program, Tensor
from compiler.verify import verify
from symnet.differentiate import pullback
from symnet.oracle.reference import evaluate

V, E, F = 4, 6, 3
n, v, e, f = Index("n", 2), Index("v", V), Index("e", E), Index("f", F)
ptr, col = Tensor("ptr", (V + 1,), "constant", "integer"), Tensor("col", (E,), "constant", "integer")
dst, length = Tensor("dst", (E,), "constant", "integer"), Tensor("length", (2,), "input", "integer")
x, y, s = Tensor("x", (2, V, F), "input"), Tensor("y", (2, V, F)), Tensor("s")
IN_ROW = sp.And(ptr[v] <= e, e < ptr[v + 1])
NEIGHBOUR = x[n, col[e], f]

rng = np.random.default_rng(0)
VALUES: dict[str, Any] = {
    "ptr": [0, 2, 2, 5, 6], "col": [1, 3, 0, 0, 2, 2], "dst": [0, 0, 2, 2, 2, 3], "length": [1, 3],
    "x": rng.normal(size=(2, V, F)),
}  # fmt: skip

CASES = {
    "sum over rows": Equation(y[n, v, f], (n, v, f, e), NEIGHBOUR, "sum", IN_ROW),
    "max over rows": Equation(y[n, v, f], (n, v, f, e), NEIGHBOUR, "max", IN_ROW),
    "logsumexp over rows": Equation(y[n, v, f], (n, v, f, e), NEIGHBOUR, "logsumexp", IN_ROW),
    "an edge has one target": Equation(y[n, v, f], (n, v, f, e), NEIGHBOUR, "sum", sp.Eq(dst[e], v)),
    "lengths": Equation(y[n, 0, f], (n, f, v), x[n, v, f], "sum", v < length[n]),
    "lengths from the other side": Equation(y[n, 0, f], (n, f, v), x[n, v, f], "sum", length[n] >= v + 1),
}


@pytest.mark.parametrize("name", CASES)
def test_loops_between_bounds_give_the_values_and_gradients_of_the_whole_range(name: str) -> None:
    total = Equation(Access(s), (n, v, f), sp.Piecewise((0, y[n, v, f] < -1e9), (y[n, v, f] ** 2, True)))
    forward = (CASES[name], total)
    swept = pullback(forward, {s: 1}, [x])
    program = Program((*forward, *swept.equations), (s, swept.adjoints[x]))
    expected = evaluate(program, VALUES)
    for plain in (True, False):
        found = interpret(program, VALUES, {}, plain=plain)
        for tensor in ("s", swept.adjoints[x].name):
            np.testing.assert_allclose(found[tensor], expected[tensor], rtol=1e-12)


w = Index("w", V)
S = Tensor("S", (V, V), "constant", sparse=True)


@pytest.mark.parametrize(
    "where",
    [w < ptr[v], v < ptr[w], w >= ptr[v + 1] - 3, v < length[n], w < length[n], sp.And(v < length[n], w < length[n])],
)
@pytest.mark.parametrize("left", [y[n, v, f], y[n, w, f], y[n, 0, f]])
def test_rows_of_sparse_tensors_keep_their_conditions(where: Boolean, left: Access) -> None:
    for factor in (S[v, w], S[w, v]):
        program = Program((Equation(left, (n, v, f, w), factor * x[n, v, f] * x[n, w, 0], "sum", where),), (y,))
        values = {**VALUES, "S": csr_array(np.where(np.arange(V * V).reshape(V, V) % 3, 0.0, 1.5))}
        found = interpret(program, values, {}, plain=False)["y"]
        np.testing.assert_allclose(found, evaluate(program, values)["y"], rtol=1e-12)


FEWER, LATER, MORE = Index("v", V - 1), Index("w", V, 1), Index("w", V + 2)
Z = Tensor("Z", (V, V, F))


@pytest.mark.parametrize(("a", "b"), [(v, w), (FEWER, w), (v, LATER), (v, MORE)])
@pytest.mark.parametrize("plain", [False, True])
def test_rows_of_sparse_tensors_keep_the_ranges_of_their_indices(a: Index, b: Index, plain: bool) -> None:
    values = {**VALUES, "S": csr_array(np.where(np.arange(V * V).reshape(V, V) % 3, 1.5, 0.0))}
    for left in (y[n, a, f], y[n, a - 1, f], y[n, b + 1, f], y[n, 0, f], Z[a, b, f], Z[b, a + 1, f]):
        for factor in (S[a, b], S[b, a]):
            for rest in (x[n, a, f], x[n, a - 1, f] * x[n, b + 1, 0]):
                program = Program((Equation(left, (n, a, f, b), factor * rest),), (left.tensor,))
                found = interpret(program, values, {}, plain=plain)[left.tensor.name]
                expected = evaluate(program, values)[left.tensor.name]
                np.testing.assert_allclose(found, expected, 1e-12, 1e-12, str(program.equations[0]))


@pytest.mark.parametrize("where", [sp.Eq(v, 0), sp.Eq(v, length[n]), sp.Eq(w, v)])
def test_no_pass_puts_anything_else_in_the_place_of_an_index_of_a_sparse_tensor(where: Boolean) -> None:
    values = {**VALUES, "S": csr_array(np.where(np.arange(V * V).reshape(V, V) % 3, 1.5, 0.0))}
    choice = sp.Piecewise((0, x[n, w, 0] > 0), (x[n, v, f], True))
    program = Program((Equation(y[n, v, f], (n, v, f, w), S[v, w] * choice * x[n, w, f], "sum", where),), (y,))
    run_passes(program, verify=verify)
    np.testing.assert_allclose(interpret(program, values, {}, plain=False)["y"], evaluate(program, values)["y"])


u, S2, X = Index("u", V), Tensor("S2", (V, V), "constant", sparse=True), x[0, w, f]
SEVERAL = {
    "two at the same points": ((v, w), S[v, w] * S2[v, w] * X),
    "one and its transpose": ((v, w), S[v, w] * S[w, v] * X),
    "a square": ((v, w), S[v, w] ** 2 * X),
    "a path": ((v, w, u), S[v, u] * S2[u, w] * X),
    "common columns": ((v, w, u), S[v, u] * S2[w, u] * X),
    "a circle": ((v, w, u), S[v, w] * S[w, u] * S[u, v] * X),
}


@pytest.mark.parametrize("name", SEVERAL)
@pytest.mark.parametrize("plain", [False, True])
def test_several_sparse_tensors_in_one_product(name: str, plain: bool) -> None:
    over, product = SEVERAL[name]
    program = Program((Equation(y[0, v, f], (*over, f), product),), (y,))
    drawn = np.random.default_rng(3).normal(size=(2, V, V))
    values = {**VALUES, **{k: csr_array(d * (d > 0)) for k, d in zip(("S", "S2"), drawn, strict=True)}}
    found = interpret(program, values, {}, plain=plain)["y"]
    np.testing.assert_allclose(found, evaluate(program, values)["y"], 1e-12, 1e-12)


def test_maps_of_sparse_tensors_stay_by_themselves() -> None:
    c, d, one = Tensor("c", (V, V)), Tensor("d", (V, V)), Index("v", 1)
    program = Program(
        (
            Equation(c[v, w], (v, w), S[v, w]),
            Equation(c[v, w], (v, w), x[0, v, 0]),
            Equation(d[v, w], (v, w), S[v, w] / 3, "sum", v >= w),
            Equation(s[()], (one, w), sp.tanh(d[one, w]) + c[one, w]),
        ),
        (s, c),
    )
    values = {**VALUES, "S": csr_array(np.where(np.arange(V * V).reshape(V, V) % 3, 1.5, 0.0))}
    found, expected = interpret(program, values, {}, plain=False), evaluate(program, values)
    for name in ("s", "c"):
        np.testing.assert_allclose(found[name], expected[name], 1e-12)


@pytest.mark.parametrize("factor", [S[v, w], S[w, v]])
def test_steps_of_a_recurrence_may_be_rows_or_columns_of_a_sparse_tensor(factor: Access) -> None:
    h = Tensor("h", (V,))
    steps = (Equation(h[v], (v, w), factor * h[v - 1] * x[0, w, 0]), Equation(h[v], (v,), x[1, v, 0]))
    program = Program((*steps, Equation(s[()], (v,), h[v] ** 2)), (s,))
    values = {**VALUES, "S": csr_array(np.where(np.arange(V * V).reshape(V, V) % 3, 1.5, 0.0))}
    for plain in (False, True):
        found = interpret(program, values, {}, plain=plain)["s"]
        np.testing.assert_allclose(found, evaluate(program, values)["s"], 1e-12)


@pytest.mark.parametrize("name", [name for name in CASES if name != "an edge has one target"])
def test_loops_run_between_the_ends_and_test_nothing(name: str) -> None:
    text, *_ = generate(Program((CASES[name],), (y,)), "float64", None, {})
    assert re.search(r"for \w+ in range\(.* if .* else .*\):", text)
    assert not re.search(r"select\(.*(ptr|length)|if .*(ptr|length)", text)


def test_a_logsumexp_over_rows_keeps_no_table_of_all_points() -> None:
    _, _, _, manifest = generate(Program((CASES["logsumexp over rows"],), (y,)), "float64", None, {})
    assert manifest["memory_elements"] <= 3 * 2 * V * F
