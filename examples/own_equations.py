"""Layers of the user's own, written as equations: a gated linear unit, a bilinear layer, a filter.

Each is the text of its equations, with the shapes of its parameters: derivatives, gradients as formulas, and the
compiled loop come from these as they do for every layer.  An optimizer is written in formulas alike: W the parameter,
g its gradient, m a state with its next value.

    gated       z_i = (sum_j W_ij x_j + b_i) logistic(sum_j V_ij x_j)                          (Dauphin et al. 2017)
    bilinear    z_i = sum_jk T_ijk x_j x_k
    filter      z_t = sum_u w_u x_(t-u), along the inputs: what is read beyond their ends is 0
"""

from __future__ import annotations

import numpy as np

import symnet as sn

gated = sn.equations(
    "z[n,i] = (sum(W[i,j]*x[n,j], j) + b[i]) * logistic(sum(V[i,j]*x[n,j], j))",
    sizes={"i": 4},
    parameters={"W": ["i", "j"], "V": ["i", "j"], "b": ["i"]},
    name="gated",
)
bilinear = sn.equations(
    "z[n,i] = sum(T[i,j,k]*x[n,j]*x[n,k], j, k)",
    sizes={"i": 2},
    parameters={"T": ["i", "j", "k"]},
    name="bilinear",
)
filtered = sn.equations(
    "z[n,t] = sum(w[u]*x[n,t-u], u)",
    sizes={"u": 3, "t": 5},
    parameters={"w": ["u"]},
    name="filter",
)

rng = np.random.default_rng(0)
X = rng.normal(size=(100, 3))
# by NumPy, what each layer is
MEANINGS = {
    "gated": lambda p: (X @ p["gated.W"].T + p["gated.b"]) / (1 + np.exp(-X @ p["gated.V"].T)),
    "bilinear": lambda p: np.einsum("ijk,nj,nk->ni", p["bilinear.T"], X, X),
    "filter": lambda p: np.array([np.convolve(x, p["filter.w"]) for x in X]),
}
Y = np.tanh(X[:, 0] * X[:, 1] + 0.5 * X[:, 2] ** 2)


def numerical(net: sn.Network, parameters: dict[str, np.ndarray], name: str) -> np.ndarray:
    """dR/d(name), by central differences."""
    return sn.numerical_gradient(
        lambda value: net.value_and_gradient({**parameters, name: value}, X, Y)[0], parameters[name]
    ).value


losses = {}
for layer in (gated, bilinear, filtered):
    net = sn.Network(input=3, layers=[layer, sn.dense(8, activation="tanh"), sn.dense(1)], loss="squared_error")
    print(net, net.gradient(next(iter(net.parameters))), sep="\n")
    model = net.compile({"name": "adam", "learning_rate": 0.02}, dtype="float64", seed=0)
    parameters = dict(model.parameters)
    assert np.allclose(model.transform(X, layer.name), MEANINGS[layer.name](parameters), rtol=1e-12, atol=1e-12)
    _, gradient = net.value_and_gradient(parameters, X, Y)
    for name in (name for name in net.parameters if name.startswith(layer.name)):
        assert np.allclose(gradient[name], numerical(net, parameters, name), rtol=1e-6, atol=1e-9)
    before = model.evaluate(X, Y)["loss"]
    model.fit(X, Y, epochs=500, batch_size=20)
    losses[layer.name] = model.evaluate(X, Y)["loss"]
    print(f"    loss {before:.4f} -> {losses[layer.name]:.6f}\n")
    assert sn.Network.from_toml(net.to_toml()) == net

# ------------------------------------------------------------------------------------------ an optimizer
heavy_ball = {
    "formula": "W - alpha*m_next",
    "states": {"m": "mu*m + g"},
    "parameters": {"alpha": 0.05, "mu": 0.9},
}
net = sn.Network(input=3, layers=[gated, sn.dense(1)], loss="squared_error")
own = net.compile(heavy_ball, dtype="float64", seed=0)
momentum = net.compile({"name": "momentum", "learning_rate": 0.05, "momentum": 0.9}, dtype="float64", seed=0)
for model in (own, momentum):
    model.fit(X, Y, epochs=20, batch_size=20)
print("own optimizer:", own.evaluate(X, Y), "momentum of the table:", momentum.evaluate(X, Y))

assert max(losses.values()) < 0.02
assert all((own.parameters[name] == momentum.parameters[name]).all() for name in net.parameters)  # the same numbers
