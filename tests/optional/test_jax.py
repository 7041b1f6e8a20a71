"""JAX as a judge of recurrences and attention: values and gradients of networks written there by hand, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax")

from jax import numpy as jnp  # noqa: E402

import symnet as sn  # noqa: E402

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_platforms", "cpu")
SAMPLES, TIME, FEATURES, UNITS, HEADS = 4, 6, 3, 4, 2
Values = dict[str, Any]


def steps(p: Values, x: Any, start: Any, step: Callable[..., Any]) -> Any:
    """The states of a recurrence over the time axis of x (samples, time, features)."""

    def one(state: Any, at: Any) -> Any:
        new = step(p, state, at)
        return new, new[0] if isinstance(new, tuple) else new

    return jnp.moveaxis(jax.lax.scan(one, start, jnp.moveaxis(x, 1, 0))[1], 0, 1)


def elman(p: Values, h: Any, x: Any) -> Any:
    return jnp.tanh(x @ p["r.W"].T + h @ p["r.U"].T + p["r.b"])


def gru(p: Values, h: Any, x: Any) -> Any:
    w, u, b = p["r.W"], p["r.U"], p["r.b"]
    reset, keep = (jax.nn.sigmoid(x @ w[k].T + h @ u[k].T + b[k]) for k in (0, 1))
    new = jnp.tanh(x @ w[2].T + b[2] + reset * (h @ u[2].T + p["r.c"]))
    return (1 - keep) * new + keep * h


def lstm(p: Values, state: Any, x: Any) -> Any:
    h, c = state
    i, f, g, o = (x @ p["r.W"][k].T + h @ p["r.U"][k].T + p["r.b"][k] for k in range(4))
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def recurrent(step: Callable[..., Any]) -> Callable[[Values, Any], Any]:
    zero = jnp.zeros((SAMPLES, UNITS))
    return lambda p, x: steps(p, x, (zero, zero) if step is lstm else zero, step)


def attention(causal: bool) -> Callable[[Values, Any], Any]:
    def run(p: Values, x: Any) -> Any:
        q, k, v = (jnp.einsum("hij,ntj->nhti", p[f"r.W{a}"], x) + p[f"r.b{a}"][None, :, None] for a in "qkv")
        score = jnp.einsum("nhti,nhui->nhtu", q, k) / np.sqrt(q.shape[-1])
        if causal:
            score = jnp.where(jnp.tril(jnp.ones((TIME, TIME), bool)), score, -jnp.inf)
        mixed = jnp.einsum("nhtu,nhui->nhti", jax.nn.softmax(score), v)
        return jnp.einsum("ohi,nhti->nto", p["r.Wo"], mixed) + p["r.bo"]

    return run


CASES: dict[str, tuple[Any, Callable[[Values, Any], Any]]] = {
    "elman": (sn.elman(UNITS, "tanh", returns="all", name="r"), recurrent(elman)),
    "gru": (sn.gru(UNITS, returns="all", name="r"), recurrent(gru)),
    "lstm": (sn.lstm(UNITS, returns="all", name="r"), recurrent(lstm)),
    "attention": (sn.attention(HEADS, name="r"), attention(False)),
    "causal attention": (sn.attention(HEADS, causal=True, name="r"), attention(True)),
}


@pytest.mark.parametrize("accuracy", ["usual", "strict"])
@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradients_are_those_of_jax(case: str, accuracy: str) -> None:
    layer, run = CASES[case]
    net = sn.Network([TIME, UNITS if "attention" in case else FEATURES], [layer, sn.dense(2, name="out")])
    rng = np.random.default_rng(8)
    p = {name: rng.normal(size=shape) for name, shape in net.parameters.items()}
    X, y = rng.normal(size=(SAMPLES, *net.spec.inputs[0][1])), rng.normal(size=(SAMPLES, TIME, 2))

    def loss(p: Values) -> Any:
        return jnp.mean((run(p, X) @ p["out.W"].T + p["out.b"] - y) ** 2)

    expected, slopes = jax.value_and_grad(loss)({name: jnp.asarray(value) for name, value in p.items()})
    value, gradient = net.value_and_gradient(p, X, y, accuracy=accuracy)
    np.testing.assert_allclose(value, float(expected), rtol=1e-13)
    for name, slope in slopes.items():
        np.testing.assert_allclose(gradient[name], slope, rtol=1e-11, atol=1e-13, err_msg=name)
