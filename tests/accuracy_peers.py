"""Activations of PyTorch and JAX at given points, with their own first derivatives: `accuracy.py` runs it.

    python accuracy_peers.py torch x.npz y.npz        in an environment that has the library; symnet need not be there

In: arrays by "name/dtype".  Out: arrays by "name/dtype/order".  A library has no entry for what it defines otherwise.
"""

import sys

import numpy as np


def of_torch():
    import torch
    from torch.nn import functional as F

    table = {
        "logistic": torch.sigmoid, "tanh": torch.tanh, "hard_tanh": F.hardtanh, "relu": F.relu, "elu": F.elu,
        "leaky_relu": lambda x: F.leaky_relu(x, 0.01), "prelu": lambda x: F.prelu(x, torch.tensor(0.25, dtype=x.dtype)),
        "softplus": F.softplus, "swish": F.silu, "gelu": F.gelu, "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
        "swish, beta=1.7": lambda x: x * torch.sigmoid(1.7 * x), "elu, gamma=0.3": lambda x: F.elu(x, 0.3),
        "selu": F.selu, "mish": F.mish, "softsign": F.softsign, "abs": torch.abs, "sine": torch.sin,
    }  # fmt: skip

    def both(function, x):
        leaf = torch.tensor(x, requires_grad=True)
        value = function(leaf)
        (slope,) = torch.autograd.grad(value.sum(), leaf)
        return value.detach().numpy(), slope.numpy()

    return table, both


def of_jax():
    import jax
    from jax import numpy as jnp

    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_platforms", "cpu")
    nn = jax.nn
    table = {
        "logistic": nn.sigmoid, "tanh": jnp.tanh, "hard_tanh": nn.hard_tanh, "relu": nn.relu, "elu": nn.elu,
        "leaky_relu": lambda x: nn.leaky_relu(x, 0.01), "softplus": nn.softplus, "swish": nn.silu,
        "gelu": lambda x: nn.gelu(x, approximate=False), "gelu_tanh": lambda x: nn.gelu(x, approximate=True),
        "swish, beta=1.7": lambda x: x * nn.sigmoid(1.7 * x), "elu, gamma=0.3": lambda x: nn.elu(x, 0.3),
        "selu": nn.selu, "mish": nn.mish, "softsign": nn.soft_sign, "abs": jnp.abs, "sine": jnp.sin,
    }  # fmt: skip

    def both(function, x):
        value, back = jax.vjp(jax.jit(function), jnp.asarray(x))
        return np.asarray(value), np.asarray(back(jnp.ones_like(value))[0])

    return table, both


def main(library, given, made):
    table, both = {"torch": of_torch, "jax": of_jax}[library]()
    out = {}
    with np.load(given) as points:
        for key in points.files:
            name = key.partition("/")[0]
            if name in table:
                out[f"{key}/0"], out[f"{key}/1"] = both(table[name], points[key])
    np.savez(made, **out)


if __name__ == "__main__":
    main(*sys.argv[1:])
