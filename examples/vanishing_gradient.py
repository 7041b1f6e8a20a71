"""Vanishing gradients: the size of delta by layer in a network 20 layers deep, beside the bound (Qiu, ch. 4.6).

By the recursion  delta(l) = f'(z) * W(l+1)^T delta(l+1),  for each sample

    |delta(l)|  <=  max f'  |W(l+1)|  |delta(l+1)|        (|W|: the largest singular value)

max f' is 1/4 for the logistic function, 1 for tanh and ReLU.  The weights are orthogonal, so |W| = 1 and what is seen
is f' alone; with ReLU, orthogonal weights times sqrt(2) keep the mean square (He et al. 2015).  The deltas are those of
the derived equations, run by the slow evaluator.
"""

from __future__ import annotations

import numpy as np

import symnet as sn
from symnet import Program

DEPTH, WIDTH, SAMPLES = 20, 16, 32
GAIN = {"logistic": 1.0, "tanh": 1.0, "relu": 2**0.5}

rng = np.random.default_rng(0)
X = rng.normal(size=(SAMPLES, WIDTH))
Y = rng.normal(size=(SAMPLES, 1))


def network(activation: str) -> sn.Network:
    weights = {"name": "orthogonal", "gain": GAIN[activation]}
    hidden = [sn.dense(WIDTH, activation=activation, name=f"hidden{k}", initializer=weights) for k in range(1, DEPTH)]
    return sn.Network(input=WIDTH, layers=[*hidden, sn.dense(1, name="out", initializer=weights)], loss="squared_error")


def largest_slope(activation: str) -> float:
    """max f' over a grid that holds 0: the one rule on the equation a = f(z) alone."""
    net = sn.Network(input=1, layers=[sn.dense(1, activation=activation)], loss="squared_error")
    equation = net.forward[-1]
    z = equation.reads()[0].tensor
    slope = sn.pullback([equation], {equation.tensor: 1}, [z])
    grid = np.linspace(-10, 10, 2001)[:, None]
    adjoint = slope.adjoints[z]
    return float(sn.evaluate(Program(slope.equations, [adjoint]), {z.name: grid})[adjoint.name].max())


def deltas(net: sn.Network, parameters: dict[str, np.ndarray]) -> list[np.ndarray]:
    """delta of layers 1 to DEPTH, a row for each sample."""
    names = [f"delta{layer}" for layer in range(1, DEPTH + 1)]
    values = {tensor.name: parameters[name] for name, tensor in net.tensors.items()}
    found = sn.evaluate(net.gradient_program(), {**values, "x": X, "y": Y}, wanted=names)
    return [found[name] for name in names]


shrinking = {}
for activation in GAIN:
    net = network(activation)
    parameters = net.initial_parameters(seed=0)
    norms = np.array([np.linalg.norm(delta, axis=1) for delta in deltas(net, parameters)])
    slope = largest_slope(activation)
    weights = [np.linalg.norm(parameters[name], 2) for name in net.parameters if name.endswith(".W")]
    bound = np.array(
        [norms[-1] * np.prod([slope * w for w in weights[layer:]]) for layer in range(1, DEPTH)] + [norms[-1]]
    )
    print(f"{activation}: max f' = {slope:g}")
    for layer in (20, 15, 10, 5, 1):
        print(
            f"    layer {layer:2}  median |delta| {np.median(norms[layer - 1]):9.2e}   "
            f"bound {np.median(bound[layer - 1]):9.2e}"
        )
    assert (norms <= bound * (1 + 1e-12)).all()
    shrinking[activation] = np.median(norms[0] / norms[-1])

assert abs(largest_slope("logistic") - 1 / 4) < 1e-12 and largest_slope("tanh") == largest_slope("relu") == 1
assert shrinking["logistic"] < 1e-11 and min(shrinking["tanh"], shrinking["relu"]) > 1e-2
