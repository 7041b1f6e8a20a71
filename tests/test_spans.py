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
from compiler.program import Access, Equation, Index, Program, Tensor
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


@pytest.mark.parametrize("name", [name for name in CASES if name != "an edge has one target"])
def test_loops_run_between_the_ends_and_test_nothing(name: str) -> None:
    text, *_ = generate(Program((CASES[name],), (y,)), "float64", None, {})
    assert re.search(r"for \w+ in range\(.* if .* else .*\):", text)
    assert not re.search(r"select\(.*(ptr|length)|if .*(ptr|length)", text)


def test_a_logsumexp_over_rows_keeps_no_table_of_all_points() -> None:
    _, _, _, manifest = generate(Program((CASES["logsumexp over rows"],), (y,)), "float64", None, {})
    assert manifest["memory_elements"] <= 3 * 2 * V * F
