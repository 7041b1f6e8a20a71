"""Claims: elements at constant places, elements at places that integers say, and axes without elements."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sympy as sp

from compiler.calling import interpret
from compiler.program import Equation, Index, Program, Tensor
from compiler.verify import verify
from symnet.errors import SymnetError
from symnet.formulation.equation_text import read
from symnet.oracle.reference import evaluate


def program(lines: list[str], known: dict[str, Any], output: str, **sizes: int) -> Program:
    kinds = {name: "integer" if np.asarray(a).dtype.kind == "i" else "real" for name, a in known.items()}
    tensors = {name: Tensor(name, np.shape(a), "input", kinds[name]) for name, a in known.items()}
    reading = read(lines, tensors, {}, sizes, lambda name: name, "test", coupled=True)
    return Program(reading.equations, (reading.tensors[output],)).live()


def agree(made: Program, values: dict[str, Any]) -> Any:
    """What the oracle says of the outputs; generated sources say the same."""
    (name,) = (t.name for t in made.outputs)
    expected = evaluate(made, values)[name]
    for plain in (True, False):
        np.testing.assert_allclose(interpret(made, values, {}, plain)[name], expected, rtol=1e-14, atol=1e-14)
    return expected


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_cycle_through_constant_slots_computes_them_in_the_order_in_which_they_read_each_other(steps: int) -> None:
    """With one step, passes make constants of the steps: g[1] reads c[1], and both lie in the cycle of h."""
    lines = [
        "h[t+1,i] += g[t,i]",
        "a[t,i] = x[t,i] + sum(R[i,j]*h[t,j], j)",
        "c[t+1,i] += c[t,i]/2 + tanh(a[t,i])",
        "g[t,i] = logistic(a[t,i])*tanh(c[t+1,i])",
        f"y[i] = h[{steps},i]",
    ]
    values = {"x": np.linspace(-1, 1, 2 * steps).reshape(steps, 2), "R": np.array([[0.3, -0.2], [0.5, 0.7]])}
    assert abs(agree(program(lines, values, "y"), values)).min() > 1e-3


def test_a_step_with_a_formula_of_its_own_lies_between_the_others() -> None:
    t, early, late = Index("t", 6), Index("t", 3), Index("t", 6, 4)
    c, h, x = Tensor("c", (6,)), Tensor("h", (6,)), Tensor("x", (6,), "input")
    own = (
        Equation(c[t], (t,), x[t] + h[t - 1]),
        Equation(h[early], (early,), sp.tanh(c[early])),
        Equation(h[3], (), 2 * c[3] - c[2]),
        Equation(h[late], (late,), sp.sin(c[late])),
    )
    verify(made := Program(own, (h,)))
    agree(made, {"x": np.linspace(-1, 1, 6)})


def test_integers_on_the_left_say_where_numbers_are_added() -> None:
    values = {"x": np.array([1.0, 2.0, 4.0]), "place": np.array([2, 0, 2])}
    made = program(["y[i] = 0*z[i]", "y[place[k]] += x[k]"], {**values, "z": np.zeros(4)}, "y")
    np.testing.assert_array_equal(agree(made, {**values, "z": np.zeros(4)}), [2, 0, 5, 0])


def test_an_axis_on_which_only_integers_stand_needs_another_line_that_says_its_length() -> None:
    values = {"x": np.ones(3), "place": np.array([2, 0, 2])}
    with pytest.raises(SymnetError, match="no range"):
        program(["y[place[k]] += x[k]"], values, "y")


@pytest.mark.parametrize("op, empty", [("sum", 0.0), ("max", -np.inf), ("logsumexp", -np.inf)])
def test_reductions_over_no_elements_are_0_or_minus_infinity(op: str, empty: float) -> None:
    i, j = Index("i", 2), Index("j", 0)
    x, y = Tensor("x", (2, 0), "input"), Tensor("y", (2,))
    made = Program((Equation(y[i], (i, j), x[i, j], op),), (y,))
    verify(made)
    np.testing.assert_array_equal(agree(made, {"x": np.zeros((2, 0))}), [empty, empty])


def test_a_clip_by_two_tensors_is_one_short_formula() -> None:
    """max and min take the pieces of their arguments apart before they compare, not their comparisons after."""
    values = {"x": np.array([-2.0, -0.5, 0.0, 0.5, 2.0, np.nan]), "a": np.array(-1.0), "b": np.array(1.0)}
    made = program(["y[i] = min(b, max(a, x[i]))"], values, "y")
    np.testing.assert_array_equal(agree(made, values), np.clip(values["x"], -1, 1))
    assert sum(1 for _ in sp.preorder_traversal(made.equations[0].rhs)) < 500  # 12 times as many the other way round
