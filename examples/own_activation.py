"""An activation of the user's own, as a formula: its derivative is derived, printed, checked and trained.

    f(x) = x logistic(beta x) + gamma sin(x)        beta and gamma learned, with the layer's weights

The formula is a row like those of the table: nothing else has to be written.
"""

from __future__ import annotations

import numpy as np

import symnet as sn

wavy = {"formula": "x*logistic(beta*x) + gamma*sin(x)", "parameters": {"beta": 1.0, "gamma": 0.5}}
net = sn.Network(
    input=1,
    layers=[sn.dense(8, activation=wavy, name="hidden"), sn.dense(1, name="out")],
    loss="squared_error",
)
print(net)
for name in ("hidden.W", "hidden.beta", "hidden.gamma"):
    print(net.gradient(name))

rng = np.random.default_rng(0)
X = rng.uniform(-4, 4, (200, 1))
Y = X[:, 0] / (1 + np.exp(-2 * X[:, 0])) + np.sin(2 * X[:, 0])

# the derived gradient of every parameter, against central differences
start = net.initial_parameters(seed=0)
_, gradient = net.value_and_gradient(start, X, Y)
for name in net.parameters:
    numerical = sn.numerical_gradient(
        lambda v, name=name: net.value_and_gradient({**start, name: v}, X, Y)[0], start[name]
    )
    assert np.allclose(gradient[name], numerical.value, rtol=1e-7, atol=1e-8), name

model = net.compile({"name": "adam", "learning_rate": 0.01}, dtype="float64", seed=0)
before = model.evaluate(X, Y)["loss"]
model.fit(X, Y, epochs=2000, batch_size=50)
after = model.evaluate(X, Y)["loss"]
print(
    f"loss {before:.3f} -> {after:.6f}; beta = {model.parameters['hidden.beta']:.3f}, "
    f"gamma = {model.parameters['hidden.gamma']:.3f}"
)

# the same network as TOML, and back
assert sn.Network.from_toml(net.to_toml()) == net
assert after < before / 100 and model.parameters["hidden.beta"] != 1 and model.parameters["hidden.gamma"] != 0.5
