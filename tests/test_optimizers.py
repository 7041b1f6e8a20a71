"""Optimizers: trajectories of every row against the algorithm as PyTorch documents it, written out in NumPy."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import sympy as sp

from compiler.program import Access, Equation, Index, Program, Tensor
from compiler.verify import verify
from symnet import optimizers
from symnet.errors import SymnetError
from symnet.reference import evaluate

TARGET = np.array([1.0, -2.0, 0.5, 3.0])
START = np.array([0.1, 0.2, -0.3, 4.0])


def slope(w: np.ndarray) -> np.ndarray:
    return (w - TARGET) * np.array([1.0, 10.0, 0.1, 2.0]) + np.sin(3 * w)


def gradient_descent(lr: float = 1e-3) -> Iterator[np.ndarray]:
    w = START.copy()
    while True:
        w = w - lr * slope(w)
        yield w


def momentum(lr: float = 1e-3, mu: float = 0.9, nesterov: bool = False) -> Iterator[np.ndarray]:
    w, b = START.copy(), None
    while True:
        g = slope(w)
        b = g.copy() if b is None else mu * b + g
        w = w - lr * (g + mu * b if nesterov else b)
        yield w


def adagrad(lr: float = 1e-2, eps: float = 1e-10) -> Iterator[np.ndarray]:
    w, s = START.copy(), np.zeros(4)
    while True:
        g = slope(w)
        s = s + g**2
        w = w - lr * g / (np.sqrt(s) + eps)
        yield w


def rmsprop(lr: float = 1e-2, alpha: float = 0.99, eps: float = 1e-8) -> Iterator[np.ndarray]:
    w, v = START.copy(), np.zeros(4)
    while True:
        g = slope(w)
        v = alpha * v + (1 - alpha) * g**2
        w = w - lr * g / (np.sqrt(v) + eps)
        yield w


def adadelta(lr: float = 1.0, rho: float = 0.9, eps: float = 1e-6) -> Iterator[np.ndarray]:
    w, v, u = START.copy(), np.zeros(4), np.zeros(4)
    while True:
        g = slope(w)
        v = v * rho + g**2 * (1 - rho)
        delta = np.sqrt(u + eps) / np.sqrt(v + eps) * g
        u = u * rho + delta**2 * (1 - rho)
        w = w - lr * delta
        yield w


def adam(
    lr: float = 1e-3, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, decay: float = 0.0
) -> Iterator[np.ndarray]:
    w, m, v, t = START.copy(), np.zeros(4), np.zeros(4), 0
    while True:
        t += 1
        g = slope(w)
        w = w - lr * decay * w
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        w = w - lr * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
        yield w


def nadam(
    lr: float = 2e-3, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, psi: float = 4e-3
) -> Iterator[np.ndarray]:
    w, m, v, t, product = START.copy(), np.zeros(4), np.zeros(4), 0, 1.0
    while True:
        t += 1
        g = slope(w)
        mu, after = b1 * (1 - 0.5 * 0.96 ** (t * psi)), b1 * (1 - 0.5 * 0.96 ** ((t + 1) * psi))
        product *= mu
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        moment = after * m / (1 - product * after) + (1 - mu) * g / (1 - product)
        w = w - lr * moment / (np.sqrt(v / (1 - b2**t)) + eps)
        yield w


CASES: dict[str, tuple[Callable[[], Iterator[np.ndarray]], dict[str, float]]] = {
    "gradient_descent": (gradient_descent, {}),
    "momentum": (momentum, {}),
    "nesterov": (lambda: momentum(0.02, 0.8, True), {"learning_rate": 0.02, "momentum": 0.8}),
    "adagrad": (adagrad, {}),
    "rmsprop": (lambda: rmsprop(0.02, 0.9, 1e-3), {"learning_rate": 0.02, "rho": 0.9, "epsilon": 1e-3}),
    "adadelta": (adadelta, {}),
    "adam": (adam, {}),
    "adamw": (lambda: adam(0.01, decay=0.05), {"learning_rate": 0.01, "weight_decay": 0.05}),
    "nadam": (nadam, {}),
}


def program(name: str, options: dict[str, float]) -> tuple[Program, optimizers.Update]:
    """One step for the two parameters that TARGET is cut into, so that every row serves several shapes."""
    parameters = [Tensor("W1", (3, 1), "parameter"), Tensor("b1", (1,), "parameter")]
    gradients = [Tensor("d_W1", (3, 1), "input"), Tensor("d_b1", (1,), "input")]
    row = optimizers.row(name, options, "optimizer")
    update = optimizers.build(row, options, list(zip(parameters, gradients, strict=True)))
    return Program(update.equations, (), update.updates), update


def trajectory(name: str, options: dict[str, float], steps: int) -> Iterator[np.ndarray]:
    made, update = program(name, options)
    verify(made)
    values = {"W1": START[:3].reshape(3, 1), "b1": START[3:]}
    values |= {state.name: np.full([int(n) for n in state.shape], value) for state, value in update.states.items()}
    for step in range(1, steps + 1):
        g = slope(np.concatenate([values["W1"].ravel(), values["b1"]]))
        given = {**values, **update.hyper, "step": step, "d_W1": g[:3].reshape(3, 1), "d_b1": g[3:]}
        found = evaluate(made, given)
        values = {old.name: found[new.name] for old, new in made.updates}
        yield np.concatenate([values["W1"].ravel(), values["b1"]])


def test_every_row_has_a_case() -> None:
    assert set(CASES) == {row.name for row in optimizers.ROWS}


@pytest.mark.parametrize("name", CASES)
def test_a_row_follows_the_documented_algorithm(name: str) -> None:
    reference, options = CASES[name]
    for expected, found in zip(reference(), trajectory(name, options, 12), strict=False):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
    assert np.abs(found - START).max() > 1e-3


@pytest.mark.parametrize("name", CASES)
def test_the_loop_over_parameters_has_no_power_of_the_step(name: str) -> None:
    made, _ = program(name, {})
    for equation in made.equations:
        if equation.tensor.rank:
            assert all(power.exp.is_Rational for power in equation.rhs.atoms(sp.Pow))


@pytest.mark.parametrize("name", CASES)
def test_no_symbol_of_a_formula_is_left_over(name: str) -> None:
    made, update = program(name, {})
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
    for name in CASES:
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
