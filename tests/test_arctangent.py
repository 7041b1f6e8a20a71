"""Claims: atan, in formulas, gradients, every evaluator and every notation."""

from __future__ import annotations

import numpy as np
import pytest

import symnet as sn
from compiler.calling import interpret
from compiler.program import Program, Tensor
from symnet.formulation.equation_text import read
from symnet.oracle.reference import evaluate
from tests.tolerance import check_gradient

POINTS = np.array([-1e6, -2.5, -1.0, -0.41, -1e-9, 0.0, 0.3, 0.42, 1.0, 2.4, 2.42, 1e9])


def test_its_gradient_is_that_of_the_complex_step() -> None:
    x, w = Tensor("x", (12,), "input"), Tensor("w", (12,), "input")
    reading = read(["y = sum(w[i]*atan(x[i]), i)"], {"x": x, "w": w}, {}, {}, lambda name: name, "test", coupled=True)
    values = {"x": POINTS, "w": np.cos(np.arange(12.0))}
    gradients = check_gradient(reading.equations, reading.tensors["y"], [x, w], values)
    np.testing.assert_allclose(gradients["x"], values["w"] / (1 + POINTS**2), rtol=1e-14)


@pytest.mark.parametrize("formula, exact", [
    ("atan(x[i])", np.arctan),
    ("atan(x[i]/sqrt((1 - x[i])*(1 + x[i])))", np.arcsin),
    ("2*atan(sqrt((1 - x[i])/(1 + x[i])))", np.arccos),
])  # fmt: skip
def test_it_gives_the_inverse_circular_functions(formula: str, exact: np.ufunc) -> None:
    values = {"x": np.array([-1.0, -0.999, -0.5, -1e-12, 0.0, 1e-300, 0.25, 0.75, 1.0])}
    known = {"x": Tensor("x", (9,), "input")}
    reading = read([f"y[i] = {formula}"], known, {}, {}, lambda name: name, "test", coupled=True)
    program = Program(reading.equations, (reading.tensors["y"],))
    for found in (evaluate(program, values)["y"], interpret(program, values, {}, plain=False)["y"]):
        np.testing.assert_allclose(found, exact(values["x"]), rtol=4e-16, atol=1e-15)


def test_it_is_an_activation_by_formula_that_is_printed_and_exported() -> None:
    net = sn.Network(input=2, layers=[sn.dense(1, {"formula": "atan(x)"}, name="a")], loss="squared_error")
    assert "arctan(z1)" in str(net.show()) and r"\arctan" in net.formulas("textbook").latex()
    assert "np.atan(" in net.to_numpy()
