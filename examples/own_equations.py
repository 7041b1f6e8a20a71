"""Layers of the user's own, written as equations: a filter, a gated linear unit, a bilinear layer.

Each is the text of its equations, with the shapes of its parameters: derivatives, gradients as formulas, and the
compiled loop come from these as they do for every layer.

    filter      z_t = sum_u w_u x_(t-u), along the inputs: what is read beyond their ends is 0
    gated       z_i = (sum_j W_ij x_j + b_i) logistic(sum_j V_ij x_j)                          (Dauphin et al. 2017)
    bilinear    z_i = sum_jk T_ijk x_j x_k

An optimizer is written in formulas alike: W the parameter, g its gradient, m a state with its next value.
"""

from __future__ import annotations

import numpy as np

import symnet as sn

layers = [
    sn.equations(
        "z[n,t] = sum(w[u]*x[n,t-u], u)",
        sizes={"u": 2, "t": 4},
        parameters={"w": {"shape": ["u"], "initializer": [1.0, 0.5]}},  # a vector starts at 0 unless told
        name="filter",
    ),
    sn.equations(
        "z[n,i] = (sum(W[i,j]*x[n,j], j) + b[i]) * logistic(sum(V[i,j]*x[n,j], j))",
        sizes={"i": 5},
        parameters={"W": ["i", "j"], "V": ["i", "j"], "b": ["i"]},
        name="gated",
    ),
    sn.equations(
        "z[n,i] = sum(T[i,j,k]*x[n,j]*x[n,k], j, k)",
        sizes={"i": 3},
        parameters={"T": ["i", "j", "k"]},
        name="bilinear",
    ),
    sn.dense(1, name="out"),
]
net = sn.Network(input=3, layers=layers, loss="squared_error")
print(net)
assert sn.Network.from_toml(net.to_toml()) == net
for name in ("filter.w", "gated.V", "bilinear.T"):
    print(str(net.gradient(name)).splitlines()[-1])

heavy_ball = {
    "formula": "W - alpha*m_next",
    "states": {"m": "mu*m + g"},
    "parameters": {"alpha": 0.01, "mu": 0.9},
}
model = net.compile(heavy_ball, dtype="float64", seed=0)
p = dict(model.parameters)
rng = np.random.default_rng(0)
X = rng.normal(size=(100, 3))
Y = X[:, 0] * X[:, 1] + 0.5 * X[:, 2] ** 2

# ------------------------------------------------------------------------------------------ what they say, by NumPy
filtered = np.array([np.convolve(x, p["filter.w"]) for x in X])
gated = (filtered @ p["gated.W"].T + p["gated.b"]) / (1 + np.exp(-filtered @ p["gated.V"].T))
bilinear = np.einsum("ijk,nj,nk->ni", p["bilinear.T"], gated, gated)
for name, expected in {"filter": filtered, "gated": gated, "bilinear": bilinear}.items():
    assert np.allclose(model.transform(X, name), expected, rtol=1e-12, atol=1e-12), name

# ------------------------------------------------------------------------------------------ gradients, and training
_, gradient = net.value_and_gradient(p, X, Y)
for name, value in p.items():
    numerical = sn.numerical_gradient(lambda v, name=name: net.value_and_gradient({**p, name: v}, X, Y)[0], value)
    assert np.allclose(gradient[name], numerical.value, rtol=1e-6, atol=1e-8), name

momentum = net.compile({"name": "momentum", "learning_rate": 0.01, "momentum": 0.9}, dtype="float64", seed=0)
before = model.evaluate(X, Y)["loss"]
for trained in (model, momentum):
    trained.fit(X, Y, epochs=1000, batch_size=20)
after = model.evaluate(X, Y)["loss"]
print(f"loss {before:.4f} -> {after:.6f}")
assert after < before / 1000
assert all(
    (model.parameters[name] == momentum.parameters[name]).all() for name in p
)  # the table's, in the same formulas
