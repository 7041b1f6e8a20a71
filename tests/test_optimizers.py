"""Optimizers: trajectories of every row, schedule and clipping against PyTorch's own, stored by trajectories.py."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy as sp

from compiler.calling import call
from compiler.executable import compile_program
from compiler.program import Access, Equation, Index, Program, Tensor
from compiler.verify import verify
from symnet.declare import optimizers, schedules
from symnet.errors import SymnetError
from symnet.network import Network
from symnet.oracle.reference import evaluate
from symnet.run.model_file import load

from . import trajectories

START = np.array(trajectories.START)
ROWS = [row.name for row in optimizers.ROWS]
OWN = {  # adam with a rank-0 state of its own, its formulas in no order
    "formula": "W - learning_rate*m_next/(root*sqrt(v_next) + 1e-8)/(1 - product_next)",
    "states": {"v": "b2*v + (1 - b2)*g**2", "m": "b1*m + (1 - b1)*g"},
    "scalars": {"root": "1/sqrt(1 - b2**step)", "product_next": "product*b1"},
    "memory": {"product": 1.0},
    "parameters": {"learning_rate": 1e-3, "b1": 0.9, "b2": 0.999},
}


def program(name: str, options: Mapping[str, Any]) -> tuple[Program, optimizers.Update]:
    """One step for the two parameters that START is cut into, so that every row serves several shapes."""
    parameters = [Tensor("W1", (3, 1), "parameter"), Tensor("b1", (1,), "parameter")]
    gradients = [Tensor("d_W1", (3, 1), "input"), Tensor("d_b1", (1,), "input")]
    update = optimizers.build(optimizers.row(name, options, "optimizer"), list(zip(parameters, gradients, strict=True)))
    i, j, norm2 = Index("i", 3), Index("j", 1), Access(Tensor("norm2"))
    norm = [Equation(norm2, (i, j), gradients[0][i, j] ** 2), Equation(norm2, (j,), gradients[1][j] ** 2)]
    return Program((*norm, *update.equations), (), update.updates, (Tensor("norm2"),)), update


def initial(update: optimizers.Update) -> dict[str, Any]:
    values: dict[str, Any] = {"W1": START[:3].reshape(3, 1), "b1": START[3:]}
    return values | {state.name: np.full([int(n) for n in state.shape], v) for state, v in update.states.items()}


def point(values: Mapping[str, Any]) -> np.ndarray:
    return np.concatenate([values["W1"].ravel(), values["b1"]])


def trajectory(name: str, options: Mapping[str, Any], steps: int) -> Iterator[np.ndarray]:
    """By the oracle."""
    made, update = program(name, options)
    verify(made)
    values = initial(update)
    for step in range(1, steps + 1):
        g = trajectories.slope(point(values))
        given = {**values, **update.hyper, "step": step, "d_W1": g[:3].reshape(3, 1), "d_b1": g[3:]}
        found = evaluate(made, given)
        values = {old.name: found[new.name] for old, new in made.updates}
        yield point(values)


def test_every_row_and_schedule_has_a_trajectory() -> None:
    cases = trajectories.CASES.values()
    assert {case.name for case in cases} == {*ROWS, ""}
    chosen = [case.options["schedule"] for case in cases if "schedule" in case.options]
    assert {s if isinstance(s, str) else s["name"] for s in chosen} == set(schedules.TABLE)
    assert set(trajectories.stored()) == set(trajectories.CASES)


@pytest.mark.parametrize("name", trajectories.CASES)
def test_a_hundred_steps_are_those_of_pytorch(name: str) -> None:
    case, expected = trajectories.CASES[name], trajectories.stored()[name]
    made = list(trajectory(case.name, case.options, trajectories.STEPS))
    found = np.array([made[step - 1] for step in trajectories.KEPT])
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
    assert np.abs(found[-1] - START).max() > 1e-3


@pytest.mark.parametrize("name", ["nadam", "adadelta", "own", "step", "warm cosine of adam", "clip_norm"])
def test_a_hundred_compiled_steps_are_those_of_pytorch(name: str) -> None:
    case, expected = trajectories.CASES[name], trajectories.stored()[name]
    made, update = program(case.name, case.options)
    executable = compile_program(made, "float64", None, {})
    values, points = initial(update), []
    for step in range(1, trajectories.STEPS + 1):
        g = trajectories.slope(point(values))
        given = {**values, **update.hyper, "step": step, "d_W1": g[:3].reshape(3, 1), "d_b1": g[3:]}
        values = call(executable, given, {})
        points.append(point(values))
    found = np.array([points[step - 1] for step in trajectories.KEPT])
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


VARIANTS = [
    *((name, {}) for name in ROWS),
    *((name, {"schedule": {"name": "cosine", "steps": 9, "warmup": 2}, "clip_norm": 1.0}) for name in ROWS),
    ("adam", {"schedule": {"name": "step", "every": 3}, "clip_value": 0.1, "clip_norm": 0.2}),
    ("", OWN),
    ("", {**OWN, "schedule": {"name": "exponential", "factor": 0.9}, "clip_value": 1.0}),
]


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_the_loop_over_parameters_has_no_power_of_the_step(name: str, options: dict) -> None:
    made, update = program(name, options)
    verify(made)
    for equation in made.equations:
        if equation.tensor.rank:
            assert all(power.exp.is_Rational for power in equation.rhs.atoms(sp.Pow))
    assert all(not s.is_Symbol for e in made.equations for s in e.rhs.atoms(sp.Symbol))
    hyper = {t.name for t in made.tensors if t.role == "hyper" and t.kind == "real"}
    assert hyper == set(update.hyper)


def test_states_are_updated_from_old_values() -> None:
    made, _ = program("adam", {})
    assert [(old.name, new.name) for old, new in made.updates[:3]] == [
        ("W1", "W1_next"),
        ("m_W1", "m_W1_next"),
        ("v_W1", "v_W1_next"),
    ]
    assert all(old.role in ("parameter", "state") and new.role == "value" for old, new in made.updates)


def test_a_gradient_of_zero_changes_nothing_but_what_the_rule_says() -> None:
    for name in ROWS:
        made, update = program(name, {})
        values = {"W1": np.ones((3, 1)), "b1": np.ones(1), "d_W1": np.zeros((3, 1)), "d_b1": np.zeros(1)}
        values |= {state.name: np.full([int(n) for n in state.shape], v) for state, v in update.states.items()}
        found = evaluate(made, {**values, **update.hyper, "step": 1})
        expected = 1 - 1e-3 * 1e-2 if name == "adamw" else 1.0
        np.testing.assert_allclose(found["W1_next"], np.full((3, 1), expected), rtol=1e-15)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("adm", {}),
        ("adam", {"learning_rte": 0.1}),
        ("adam", {"learning_rate": -0.1}),
        ("adam", {"learning_rate": float("nan")}),
        ("adam", {"learning_rate": float("inf")}),
        ("adam", {"learning_rate": "0.1"}),
        ("adam", {"learning_rate": True}),
        ("adam", {"beta1": 1.0}),
        ("momentum", {"momentum": 1.5}),
        ("gradient_descent", {"beta1": 0.5}),
    ],
)
def test_a_mistake_in_a_choice_is_refused(name: str, options: dict) -> None:
    with pytest.raises(SymnetError):
        optimizers.row(name, options, "train, optimizer")


def test_hyper_parameters_are_run_time_values() -> None:
    made, update = program("gradient_descent", {"learning_rate": 0.25})
    assert dict(update.hyper) == {"alpha": 0.25}
    i = Index("i", 1)
    b, g, alpha = Tensor("b1", (1,), "parameter"), Tensor("d_b1", (1,), "input"), Tensor("alpha", (), "hyper")
    assert made.equations[-1] == Equation(Tensor("b1_next", (1,))[i], (i,), b[i] - Access(alpha) * g[i])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("adam", {"schedule": "linear"}),
        ("adam", {"schedule": {"name": "step"}}),
        ("adam", {"schedule": {"name": "step", "every": 0}}),
        ("adam", {"schedule": {"name": "step", "every": 2.5}}),
        ("adam", {"schedule": {"name": "cosine", "steps": 10, "every": 2}}),
        ("adam", {"schedule": {"formula": "rate/stp"}}),
        ("adam", {"schedule": {"formula": "rate/step", "parameters": {"rate": 1.0}}}),
        ("adam", {"schedule": {}}),
        ("adam", {"schedule": 3}),
        ("adam", {"clip_norm": 0.0}),
        ("adam", {"clip_value": -1.0}),
        ("", {**OWN, "formula": "W - alpha*g"}),
        ("", {**OWN, "formula": 3}),
        ("", {**OWN, "states": {"m_1": "g"}}),
        ("", {**OWN, "states": {"m": "m_next + g"}}),
        ("", {**OWN, "states": {"m": "v_next + g", "v": "m_next"}}),
        ("", {**OWN, "parameters": {"g": 1.0}}),
        ("", {**OWN, "parameters": {"learning_rate": "1"}}),
        ("", {**OWN, "memory": {"count": 0.0}}),
        ("", {**OWN, "beta": 1.0}),
        ("", {"formula": "W - 0.1*g", "schedule": "constant"}),
        ("", {"formula": "__import__('os')"}),
    ],
)
def test_a_mistake_in_a_schedule_or_an_optimizer_of_ones_own_is_refused(name: str, options: dict) -> None:
    with pytest.raises(SymnetError, match="train, optimizer"):
        optimizers.row(name, options, "train, optimizer")


def test_an_optimizer_of_ones_own_moves_as_the_same_one_of_the_table() -> None:
    for mine, theirs in zip(trajectory("", OWN, 20), trajectory("adam", {}, 20), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12)


def test_a_formula_of_the_step_is_a_schedule() -> None:
    options = {"schedule": {"formula": "rate*c/sqrt(step)", "parameters": {"c": 2.0}}, "learning_rate": 0.1}
    w = START
    for step, found in enumerate(trajectory("gradient_descent", options, 5), 1):
        w = w - 0.1 * 2 / np.sqrt(step) * trajectories.slope(w)
        np.testing.assert_allclose(found, w, rtol=1e-13)


def test_values_decide_no_equation() -> None:
    def structure(name: str, **options: Any) -> str:
        return optimizers.structure(optimizers.row(name, options, "optimizer"))

    slow, fast = ({"schedule": {"name": "step", "every": e}, "learning_rate": e / 10, "clip_norm": e} for e in (1, 2))
    assert structure("adam", **slow) == structure("adam", **fast)
    assert structure("adam") != structure("adam", clip_norm=1.0) != structure("adam", clip_value=1.0)
    assert structure("adam", schedule={"name": "step", "every": 3}) != structure("adam", schedule="constant")
    assert structure("", **OWN) == structure("", **{**OWN, "parameters": {**OWN["parameters"], "b1": 0.5}})
    assert structure("", **OWN) != structure("adam")


def test_the_step_schedule_divides_without_a_remainder() -> None:
    made, update = program("gradient_descent", {"schedule": {"name": "step", "every": 7, "factor": 0.5}})
    (rate,) = (e.tensor for e in made.equations if e.tensor.name == "alpha")
    wanted = Program(made.equations, (rate,)).live()
    for step in (1, 7, 8, 14, 15, 7 * 1000, 7 * 1000 + 1, 7 * 1_000_000 + 1):
        values = {**update.hyper, "step": step, "schedule.factor": 0.9999}
        assert evaluate(wanted, values)["alpha"] == pytest.approx(1e-3 * 0.9999 ** ((step - 1) // 7), rel=1e-9)


def test_a_model_trains_on_with_its_own_optimizer_its_schedule_and_its_clipping_from_a_file(tmp_path: Path) -> None:
    toml = """
    [network]
    input = 2
    loss = "squared_error"
    [[layer]]
    kind = "dense"
    units = 2
    activation = "tanh"
    [[layer]]
    kind = "dense"
    units = 1
    [train]
    data = "none.csv"
    [train.optimizer]
    formula = "W - learning_rate*m_next/(1 - product_next)"
    states = { m = "mu*m + (1 - mu)*g" }
    scalars = { product_next = "product*mu" }
    memory = { product = 1.0 }
    parameters = { learning_rate = 0.5, mu = 0.9 }
    schedule = { name = "step", every = 20, factor = 0.5, warmup = 5 }
    clip_norm = 0.25
    """
    network = Network.from_toml(toml)
    assert Network.from_toml(network.to_toml()) == network
    X, y = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0.0, 1, 1, 0])
    whole, model = (network.compile(network.spec.train.optimizer, "float64", 3) for _ in range(2))
    assert "learning_rate" not in model.source and "mu" not in re.findall(r"\w+", model.source)
    before = model.evaluate(X, y)["loss"]
    whole.prepare(X, y, 4).run(60)
    model.prepare(X, y, 4).run(25)
    model.save(tmp_path / "model.safetensors")
    model = load(tmp_path / "model.safetensors")
    model.prepare(X, y, 4).run(35)
    for name, value in whole.parameters.items():
        np.testing.assert_array_equal(model.parameters[name], value)
    assert model.evaluate(X, y)["loss"] < before
    values, states = {k: v.copy() for k, v in network.initial_parameters(3).items()}, {}
    for step in range(1, 61):
        _, gradient = network.value_and_gradient(values, X, y)
        norm = np.sqrt(sum((g**2).sum() for g in gradient.values()))
        g = {name: g * min(1.0, 0.25 / (norm + 1e-6)) for name, g in gradient.items()}
        states = {name: 0.9 * states.get(name, 0) + 0.1 * g[name] for name in g}
        rate = 0.5 * min(1.0, step / 5) * 0.5 ** (max(0, step - 6) // 20)
        values = {name: w - rate * states[name] / (1 - 0.9**step) for name, w in values.items()}
    for name, value in values.items():
        np.testing.assert_allclose(whole.parameters[name], value, rtol=1e-10, atol=1e-12)
