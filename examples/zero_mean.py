"""Inputs that are all positive (Qiu, exercise 4-1): why one neuron learns faster from inputs of mean zero.

For one neuron  a = sigma(w.x + b)  the derived gradient of a sample is  dl/dw_d = delta x_d.  With all x_d > 0 every
component has the sign of delta: shown here on the derived equation, for any number of inputs.  So a step can only raise
or lower all weights together, and descent zigzags.  Measured: steps until the loss is near its minimum, from the same
data with and without their mean, each with the learning rate that serves it best.
"""

from __future__ import annotations

import numpy as np
import sympy as sp

import symnet as sn

INPUTS, SAMPLES, SEEDS, MOST = 5, 100, 20, 5_000
RATES = (0.3, 1.0, 3.0, 10.0)

net = sn.Network(input=INPUTS, layers=[sn.dense(1, activation="logistic", name="neuron")], loss="squared_error")

# ------------------------------------------------------------------------------------------ the sign, shown
gradient = net.gradient("neuron.W")
print(gradient)
(equation,) = [e for e in gradient.equations if e.tensor == gradient.tensor]
delta, x = (next(a for a in equation.reads() if a.tensor.name == name) for name in ("delta1", "x"))
samples = net.input.shape[0]
assert equation.rhs == delta * x / samples  # summed over the samples
positive = sp.Symbol("x_d", positive=True)
ratio = (equation.rhs * samples / delta).xreplace({x: positive})
print("of one sample, (∂ℓ/∂w_d) / δ =", ratio, "> 0 for every d")
assert ratio.is_positive


# ------------------------------------------------------------------------------------------ the slow-down, measured
def steps_to_learn(X: np.ndarray, Y: np.ndarray, seed: int) -> int:
    """Steps of full-batch descent until the loss is below 0.001, with the best of the learning rates."""
    best = MOST
    for rate in RATES:
        model = net.compile({"name": "gradient_descent", "learning_rate": rate}, dtype="float64", seed=seed)
        history = model.fit(X, Y, epochs=best, batch_size=SAMPLES, shuffle=False)
        reached = np.flatnonzero(np.array(history.loss) < 1e-3)
        best = min(best, int(reached[0]) if len(reached) else best)
    return best


ratios = []
for seed in range(SEEDS):
    rng = np.random.default_rng(seed)
    positive_inputs = rng.uniform(0, 1, (SAMPLES, INPUTS)) + 0.5
    zero_mean = positive_inputs - positive_inputs.mean(axis=0)
    teacher = rng.normal(size=INPUTS) * 2
    Y = 1 / (1 + np.exp(-zero_mean @ teacher))
    slow, fast = (steps_to_learn(X, Y, seed) for X in (positive_inputs, zero_mean))
    ratios.append(slow / fast)
print(
    f"steps with all inputs positive / with mean zero, {SEEDS} seeds: "
    f"median {np.median(ratios):.1f}, least {min(ratios):.1f}, most {max(ratios):.1f}"
)
assert np.median(ratios) >= 2
