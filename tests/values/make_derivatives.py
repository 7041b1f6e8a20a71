"""Losses with derivatives of a network by its inputs, from JAX: makes derivatives.npz, in an environment with jax.

The network is tanh, tanh, identity on D inputs; the loss is a mean over 7 samples; gradients are jax.grad of it, the
derivatives inside it nested jax.grad, jax.jacfwd and jax.hessian.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_enable_x64", True)


def forward(p, x):
    h = jnp.tanh(p["first.W"] @ x + p["first.b"])
    h = jnp.tanh(p["second.W"] @ h + p["second.b"])
    return (p["last.W"] @ h + p["last.b"])[0]


def second(p, x):
    return jax.hessian(forward, 1)(p, x)


def fourth(p, x):
    line = lambda s: forward(p, x.at[0].set(s))
    return jax.grad(jax.grad(jax.grad(jax.grad(line))))(x[0])


CASES = {  # name: (inputs, loss of a sample)
    "oscillator": (1, lambda p, x: (second(p, x)[0, 0] + forward(p, x)) ** 2),
    "heat": (2, lambda p, x: (jax.grad(forward, 1)(p, x)[0] - 0.3 * second(p, x)[1, 1]) ** 2),
    "mixed": (2, lambda p, x: second(p, x)[0, 1] ** 2 + forward(p, x)),
    "fourth": (1, lambda p, x: (fourth(p, x) - 2 * forward(p, x)) ** 2),
    "laplacian": (3, lambda p, x: (jnp.trace(second(p, x)) - x[0]) ** 2),
    "slopes": (3, lambda p, x: (jnp.sum(jax.grad(forward, 1)(p, x) ** 2) - 1) ** 2),
    "hessian": (3, lambda p, x: jnp.sum(second(p, x) ** 2)),
    "constrained": (1, lambda p, x: (jax.hessian(lambda v: v[0] * (1 - v[0]) * forward(p, v))(x)[0, 0] + 1) ** 2),
    "nested": (2, lambda p, x: jax.grad(lambda v: jax.grad(forward, 1)(p, v)[0] ** 2)(x)[1] ** 2),
}


def main() -> None:
    out = {}
    for number, (case, (inputs, ell)) in enumerate(CASES.items()):
        rng = np.random.default_rng(number)
        shapes = {"first.W": (4, inputs), "first.b": (4,), "second.W": (3, 4), "second.b": (3,), "last.W": (1, 3),
                  "last.b": (1,)}  # fmt: skip
        p = {name: rng.normal(size=shape) for name, shape in shapes.items()}
        x = rng.normal(size=(7, inputs))
        mean = lambda p, x, ell=ell: jnp.mean(jax.vmap(ell, (None, 0))(p, x))
        value, gradient = jax.value_and_grad(mean)(p, x)
        out |= {f"{case}/x": x, f"{case}/loss": np.asarray(value)}
        out |= {f"{case}/start/{name}": value for name, value in p.items()}
        out |= {f"{case}/gradient/{name}": np.asarray(value) for name, value in gradient.items()}
    np.savez_compressed(Path(__file__).with_name("derivatives.npz"), **out)


if __name__ == "__main__":
    main()
