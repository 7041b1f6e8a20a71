"""Universal approximation: one hidden layer comes as near to a continuous function on [0,1]^D as one wants.

    F(x) = sum_m v_m phi(w_m.x + b_m)          phi the logistic function         (Qiu, ch. 4.3; Cybenko 1989)

The theorem says that such an F exists; descent has to find one.  Shown for D = 1 and 2: the largest error on a grid
falls as neurons are added, down to less than 0.01, on a grid finer than the one that is trained on.  Adam on the whole
grid, with a smaller and smaller step.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import symnet as sn

STEPS = ((0.03, 4000), (0.01, 4000), (0.003, 3000), (0.001, 2000), (0.0002, 2000))


def wave(X: np.ndarray) -> np.ndarray:
    return np.sin(2 * np.pi * X[:, 0]) * X[:, 0]


def hill(X: np.ndarray) -> np.ndarray:
    return np.exp(-4 * ((X - 0.5) ** 2).sum(axis=1))


def network(inputs: int, neurons: int) -> sn.Network:
    layers = [
        sn.dense(neurons, activation="logistic", name="phi", initializer={"name": "glorot_normal"}),
        sn.dense(1, name="v", bias=False),
    ]
    return sn.Network(input=inputs, layers=layers, loss="squared_error")


def cube(inputs: int, points: int) -> np.ndarray:
    """A grid on [0,1]^D, a row for each point."""
    axes = np.meshgrid(*[np.linspace(0, 1, points)] * inputs)
    return np.stack(axes, axis=-1).reshape(-1, inputs)


def largest_error(f: Callable[[np.ndarray], np.ndarray], inputs: int, points: int, neurons: int) -> float:
    net, grid = network(inputs, neurons), cube(inputs, points)
    rng = np.random.default_rng(neurons)
    parameters = net.initial_parameters(seed=0)
    # each neuron bends somewhere in the cube, in some direction
    directions = rng.normal(size=parameters["phi.W"].shape)
    parameters["phi.W"] = 6 * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    parameters["phi.b"] = -(parameters["phi.W"] * rng.uniform(0, 1, directions.shape)).sum(axis=1)
    for rate, steps in STEPS:
        model = net.compile({"name": "adam", "learning_rate": rate}, dtype="float64")
        model.parameters = parameters
        model.prepare(grid, f(grid), batch_size=len(grid)).run(steps)
        parameters = dict(model.parameters)
    fine = cube(inputs, 4 * points - 3)
    return float(abs(model.predict(fine)[:, 0] - f(fine)).max())


for f, inputs, points, sizes in ((wave, 1, 65, (1, 2, 8)), (hill, 2, 17, (2, 4, 32))):
    errors = [largest_error(f, inputs, points, neurons) for neurons in sizes]
    print(f"{f.__name__}, D = {inputs}")
    for neurons, error in zip(sizes, errors):
        print(f"    M = {neurons:2}: largest error {error:.4f}")
    assert errors == sorted(set(errors), reverse=True)  # falling with M
    assert errors[-1] <= 0.01
