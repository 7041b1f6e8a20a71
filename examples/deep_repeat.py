"""200 layers written as one: `repeat = 200` is a recurrence over the layer index, with stacked parameters.

A residual network of 200 layers is an Euler scheme of 200 steps of 1/50 for da/dt = f(a, t): it learns to turn the
plane by a quarter.  Its equations, its formulas and the time that it takes to compile are those of 5 layers.
Sources: He et al. 2016; Chen et al. 2018 (depth as time).

    python examples/deep_repeat.py
"""

from __future__ import annotations

import numpy as np

from symnet import Network

SPEC = """
[network]
input = 2
loss = "squared_error"

[[layer]]
kind = "equations"
name = "flow"
repeat = 200
equations = ["a[n,i] = x[n,i] + tanh(sum(W[i,j]*x[n,j], j) + b[i])/50"]
parameters = { W = ["i", "j"], b = ["i"] }
sizes = { i = 2 }
"""

network = Network.from_toml(SPEC)
print(network.gradient("flow.W"))
few = Network.from_toml(SPEC.replace("repeat = 200", "repeat = 5"))
assert len(network.gradient("flow.W").equations) == len(few.gradient("flow.W").equations)

rng = np.random.default_rng(0)
X = rng.uniform(-1, 1, (256, 2))
turned = X @ np.array([[0.0, 1.0], [-1.0, 0.0]])
model = network.compile({"name": "adam", "learning_rate": 0.02}, seed=1)
history = model.fit(X, turned, epochs=100, batch_size=32)
print(f"loss after epoch 1: {history.loss[0]:.4f}, after epoch 100: {history.loss[-1]:.4f}")
W = model.parameters["flow.W"]
print(f"stacked parameters: {W.shape}; their mean over the layers:\n{W.mean(0).round(2)}")
assert history.loss[-1] < 0.02
spin = W.mean(0)
assert spin[0, 1] < -0.2 and spin[1, 0] > 0.2  # x turns to y, and y to -x
