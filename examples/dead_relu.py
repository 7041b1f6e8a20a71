"""A dead ReLU: a hidden neuron that is inactive on every input has a gradient of exactly 0, so it stays dead.

Shown: the derived delta, whose factor [z > 0] is the cause; the gradient of the dead neuron, which is 0 to the last
bit; a thousand steps of training that do not move it; and that a leaky ReLU brings the same neuron back
(Qiu, ch. 4.1.2).
"""

from __future__ import annotations

import numpy as np

import symnet as sn

rng = np.random.default_rng(0)
X = rng.uniform(-1, 1, (64, 2))
Y = np.abs(X[:, 0] + X[:, 1])  # needs both hidden neurons


def network(activation: str) -> sn.Network:
    layers = [sn.dense(2, activation=activation, name="hidden"), sn.dense(1, name="out")]
    return sn.Network(input=2, layers=layers, loss="squared_error")


def active(model: sn.Model) -> int:
    """On how many inputs the first hidden neuron is active."""
    return int((X @ model.parameters["hidden.W"][0] + model.parameters["hidden.b"][0] > 0).sum())


def train(activation: str) -> tuple[sn.Model, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The model, its first parameters with neuron 0 dead, and the gradient there."""
    net = network(activation)
    model = net.compile({"name": "adam", "learning_rate": 0.02}, dtype="float64", seed=11)
    bias = np.array(model.parameters["hidden.b"])
    bias[0] = -5.0  # below any w.x that occurs
    model.parameters["hidden.b"] = bias
    first = dict(model.parameters)
    assert active(model) == 0
    gradient = net.value_and_gradient(first, X, Y)[1]
    model.prepare(X, Y, batch_size=64).run(1000)
    return model, first, gradient


print(network("relu").gradient("hidden.W"))
dead, first, gradient = train("relu")
print("relu:  gradient of the dead neuron", gradient["hidden.W"][0], gradient["hidden.b"][0])
print(f"       after 1000 steps active on {active(dead)} of {len(X)} inputs, loss {dead.evaluate(X, Y)['loss']:.4f}")
assert not gradient["hidden.W"][0].any() and gradient["hidden.b"][0] == 0 and gradient["out.W"][0, 0] == 0
for name in ("hidden.W", "hidden.b"):
    assert (dead.parameters[name][0] == first[name][0]).all()  # not moved at all
    assert (dead.parameters[name][1:] != first[name][1:]).any()  # the others learn

revived, _, slope = train("leaky_relu")
print("leaky: gradient of the dead neuron", slope["hidden.W"][0], slope["hidden.b"][0])
print(f"       after 1000 steps active on {active(revived)} inputs, loss {revived.evaluate(X, Y)['loss']:.4f}")
assert slope["hidden.W"][0].all() and slope["hidden.b"][0] != 0
assert active(dead) == 0 < active(revived)
assert revived.evaluate(X, Y)["loss"] < 1e-3 < 0.1 < dead.evaluate(X, Y)["loss"]
