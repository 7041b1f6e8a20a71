"""Weight decay: what decays, in which optimizer, and penalties of layers that are written as equations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import symnet as sn
from compiler.calling import interpret
from symnet.declare import optimizers
from symnet.errors import SymnetError
from symnet.oracle.reference import evaluate

RATE, DECAY = 0.1, 0.5
NET = sn.Network(3, [sn.dense(4, name="first"), sn.layer_norm("norm"), sn.dense(1, name="last")])


def step(optimizer: dict[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(parameters before, what one step makes of them): samples of weight 0, so that only decay is seen."""
    given = "values, weighted"
    program, update = NET.training_program(optimizer, given), NET.update(optimizer, given)
    before = {name: value + 0.5 for name, value in NET.initial_parameters(1).items()}
    values: dict[str, Any] = {tensor.name: before[name] for name, tensor in NET.tensors.items()}
    values |= {state.name: np.full([int(n) for n in state.shape], v) for state, v in update.states.items()}
    values |= {**update.hyper, "step": 1, "x": np.ones((2, 3)), "y": np.ones((2, 1)), "sample_weight": np.zeros(2)}
    found = evaluate(program, values, {"N": 2})
    looped = interpret(program, values, {"N": 2}, plain=False)
    after = {}
    for name, tensor in NET.tensors.items():
        after[name] = found[f"{tensor.name}_next"]
        np.testing.assert_allclose(looped[tensor.name], after[name], 1e-12)
    return before, after


def decaying(optimizer: dict[str, Any], factor: float = 1 - RATE * DECAY) -> set[str]:
    """Which parameters a step multiplies by the factor; the others it leaves alone."""
    before, after = step(optimizer)
    found = {name for name in before if np.allclose(after[name], factor * before[name], rtol=1e-12, atol=1e-12)}
    for name in set(before) - found:
        np.testing.assert_allclose(after[name], before[name], 1e-12, 1e-12, err_msg=name)
    return found


@pytest.mark.parametrize("name", [row.name for row in optimizers.ROWS])
def test_every_optimizer_decays_the_weights_and_neither_biases_nor_gains(name: str) -> None:
    options = {"name": name, "learning_rate": RATE, "weight_decay": DECAY}
    assert decaying(options) == {"first.W", "last.W"}


def test_patterns_say_what_decays() -> None:
    options = {"name": "adamw", "learning_rate": RATE, "weight_decay": DECAY}
    assert decaying({**options, "decay": ["last.*", "norm.gamma"]}) == {"last.W", "last.b", "norm.gamma"}
    assert decaying({**options, "decay": "*"}) == set(NET.parameters)


def test_decay_follows_the_schedule_of_the_learning_rate() -> None:
    schedule = {"name": "constant", "warmup": 4}  # a quarter of the rate in the first step
    options = {"name": "sgd", "learning_rate": RATE, "weight_decay": DECAY, "schedule": schedule}
    assert decaying(options, 1 - RATE / 4 * DECAY) == {"first.W", "last.W"}


def test_ones_own_optimizer_decays_too() -> None:
    own = {"formula": "W - learning_rate*keep*g", "parameters": {"learning_rate": RATE, "keep": 1.0}}
    assert decaying({**own, "weight_decay": DECAY}) == {"first.W", "last.W"}


def test_compiled_training_decays() -> None:
    options = {"name": "adamw", "learning_rate": RATE, "weight_decay": DECAY, "decay": ["first.W"]}
    model = NET.compile(options, "float64")
    first = {name: model.parameters[name] for name in NET.parameters}
    X = np.random.default_rng(0).normal(size=(8, 3))
    model.prepare(X, model.predict(X), batch_size=8).run(2)
    np.testing.assert_allclose(model.parameters["first.W"], first["first.W"] * (1 - RATE * DECAY) ** 2, atol=0.21)
    assert not np.allclose(model.parameters["first.W"], first["first.W"], atol=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "adamw", "decay": ["*.V"]}, "unknown parameter"),
        ({"name": "adam", "decay": ["*.W"]}, "no weight_decay"),
        ({"name": "adamw", "decay": []}, "patterns of names"),
        ({"name": "adam", "weight_decay": -1}, "weight_decay"),
        ({"formula": "W - g", "weight_decay": 0.1}, "without a learning_rate"),
    ],
)
def test_what_cannot_decay_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SymnetError, match=message):
        NET.compile(options)


def test_penalties_of_a_layer_in_equations_are_its_own() -> None:
    layer = sn.equations(
        "z[n,i] = sum(W[i,j]*x[n,j], j) + b[i]",
        sizes={"i": 2},
        parameters={"W": ["i", "j"], "b": ["i"]},
        l2=0.3,
        l1=0.1,
    )
    net = sn.Network(3, [layer, sn.dense(1)], l2=0.7)
    assert sn.Network.from_toml(net.to_toml()) == net
    plain = sn.Network(3, [sn.dense(2, l2=0.3, l1=0.1), sn.dense(1)], l2=0.7)
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(4, 3)), rng.normal(size=(4, 1))
    values = plain.initial_parameters(0)
    own = {name: values[other] for name, other in zip(net.parameters, plain.parameters, strict=True)}
    for name, other in zip(net.parameters, plain.parameters, strict=True):
        expected = plain.gradient(other).evaluate(values, X, y)
        np.testing.assert_allclose(net.gradient(name).evaluate(own, X, y), expected, 1e-13, 1e-15)
