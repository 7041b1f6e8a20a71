"""Training stops at the first step that leaves the finite numbers, says where it began, and keeps what was before."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import symnet as sn
from symnet import SymnetError
from symnet.run import diagnosis

RNG = np.random.default_rng(5)
X, Y = RNG.normal(size=(40, 3)), RNG.normal(size=(40, 1))
DESCENT = {"name": "gradient_descent", "learning_rate": 0.01}
# s counts the steps, so the seventh divides by zero: the loss and the gradient are finite
DIVIDES = {
    "formula": "W - learning_rate*g/(s_next - 7)",
    "states": {"s": "s + 1"},
    "parameters": {"learning_rate": 0.01},
}
# the gradient is finite as long as z is, whatever the target; the loss is not where the target is 0
LOGARITHM = {"equations": ["ell[n] = prediction[n,0]**2 + log(target[n,0])"], "columns": 1}


def mlp(loss: Any = "squared_error") -> sn.Network:
    return sn.Network(3, [sn.dense(4, "tanh", name="h"), sn.dense(1, name="o")], loss)


def rolled() -> sn.Network:
    layers = [sn.dense(3, "identity", name=f"h{k}") for k in range(24)]
    return sn.Network(3, [*layers, sn.dense(1, name="o")], "squared_error")


def elman() -> sn.Network:
    layers = [sn.elman(4, "identity", name="r"), sn.dense(1, name="o")]
    return sn.Network(inputs={"x": [9, 3]}, layers=layers, loss="squared_error")


def one_zero(y: np.ndarray, row: int) -> np.ndarray:
    changed = np.abs(y) + 0.5
    changed[row] = 0
    return changed


IN_ORDER = ("a loss alone", "a gradient that no step looks at")
SERIES = RNG.normal(size=(40, 9, 3))
# what, network, optimizer, dtype, X, y, factors of parameters, batch, the step, the words of the message
CASES = {
    "a loss alone": (
        lambda: mlp(LOGARITHM), DESCENT, "float64", X, one_zero(Y, 25), {}, 8, 4,
        r"a loss that is not finite.*The first of them is ell\[1\] = -inf \(made with o\.\w, .*by ell\[n\] = .*log",
    ),
    "a gradient alone": (
        lambda: sn.Network(1, [sn.dense(1, name="a"), sn.dense(1, name="b")], "squared_error"), DESCENT, "float32",
        np.full((4, 1), 1e20), np.ones((4, 1)), {"a.W": 0, "b.W": 1e19}, 2, 1,
        r"a squared norm of the gradient.*d_W1\[0, 0\] = -?inf \(the gradient of a\.W\), by d_W1\[i,j\] = ",
    ),
    "a gradient that no step looks at": (
        lambda: sn.Network(1, [sn.dense(2000, name="a"), sn.dense(1, name="b")], "squared_error"),
        {"name": "gradient_descent", "learning_rate": 1e-37}, "float32",
        np.where(np.arange(40) < 25, 1, 1e20)[:, None], np.ones((40, 1)), {"a.W": 0, "b.W": 1e14}, 8, 4,
        r"a parameter that is not finite.*d_W1\[0, 0\] = -?inf \(the gradient of a\.W\), by d_W1\[i,j\] = ",
    ),
    "a parameter alone": (
        mlp, DIVIDES, "float64", X, Y, {}, 8, 7,
        r"a parameter that is not finite.*W1_next\[0, 0\] = -?inf \(the new h\.W\), by W1_next\[i,j\] = ",
    ),
    "a recurrence": (
        elman, DESCENT, "float32", SERIES, Y, {"r.U": 1e8}, 8, 1,
        r"a loss that is not finite.*The first of them is z1\[0, 5, 0\] = -?inf \(made with r\.U, .*by z1\[n,t,u\] = ",
    ),
    "rolled layers": (
        rolled, DESCENT, "float32", X, Y, {"h17.W": 1e30, "h18.W": 1e30}, 40, 1,
        r"a loss that is not finite.*h1\[19, 0, 0\] = \S+ \(made with h18\.W, whose elements go up to 1e\+30\), by h1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_training_stops_at_the_first_step_that_is_not_finite_and_says_where_it_began(name: str) -> None:
    network, optimizer, dtype, x, y, factors, batch, expected, message = CASES[name]
    stopped, before = (network().compile(optimizer, dtype, seed=1) for _ in range(2))
    for model in (stopped, before):
        model.parameters = {key: model.parameters[key] * 0 + factor for key, factor in factors.items()}
    with pytest.raises(SymnetError, match=r"Training stopped at step \d+ \(epoch ") as caught:
        stopped.fit(x, y, 50, batch, shuffle=name not in IN_ORDER)
    text = str(caught.value)
    assert re.search(message, text), text
    step = int(re.findall(r"step (\d+)", text)[0])
    assert step == expected
    if step > 1:
        before.prepare(x, y, batch, shuffle=name not in IN_ORDER).run(step - 1)
    assert stopped.memory.persistent.tobytes() == before.memory.persistent.tobytes() and stopped.memory.finite
    assert stopped.progress.step == step - 1
    with pytest.raises(SymnetError, match=f"at step {step} "):  # it is the same wherever training begins again
        before.prepare(x, y, batch, shuffle=name not in IN_ORDER).run(1)


def test_a_step_too_large_for_the_oracle_is_repeated_by_compiled_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    network, optimizer, dtype, x, y, factors, batch, _, message = CASES["a gradient alone"]
    model = network().compile(optimizer, dtype, seed=1)
    model.parameters = {key: model.parameters[key] * 0 + factor for key, factor in factors.items()}
    monkeypatch.setattr(diagnosis, "WORK", 0)
    with pytest.raises(SymnetError, match=message):
        model.fit(x, y, 50, batch)


def test_what_is_left_of_a_training_with_huge_losses_can_be_saved_and_loaded(tmp_path: Any) -> None:
    """Its sum of losses may be any number."""
    model = sn.Network(3, [sn.dense(4), sn.dense(1)], "squared_error").compile(
        DESCENT | {"learning_rate": 2.0}, "float64"
    )
    with pytest.raises(SymnetError, match="Training stopped at step"):
        model.fit(X, Y, batch_size=4, epochs=100)
    assert model.progress.loss_sum > 2.0**62
    model.save(tmp_path / "model")
    assert sn.load(tmp_path / "model").progress == model.progress
