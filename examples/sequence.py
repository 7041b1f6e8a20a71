"""The adding problem (Hochreiter and Schmidhuber 1997): the sum of two marked numbers among thirty.

One mark is in the first half of a sequence, the other in the second, so that the network must remember over many steps.
Who always says 1 has a mean squared error of 1/6.  Shown: a network from TOML, backpropagation through time as a
formula, and that the numbers beside the marked ones do not matter.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import symnet as sn

STEPS = 30


def sequences(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """x[n,t] = (number, mark), and the sum of the two marked numbers."""
    rng = np.random.default_rng(seed)
    numbers, marks = rng.uniform(size=(count, STEPS)), np.zeros((count, STEPS))
    rows = np.arange(count)
    marks[rows, rng.integers(STEPS // 2, size=count)] = 1
    marks[rows, rng.integers(STEPS // 2, STEPS, size=count)] = 1
    return np.stack([numbers, marks], axis=2), (numbers * marks).sum(axis=1)


net = sn.Network.from_toml(Path(__file__).with_name("sequence.toml"))
print(net.gradient("memory.U"))
model = net.compile({"name": "adam", "learning_rate": 0.01}, seed=0)
model.fit(*sequences(4000, 0), epochs=25, batch_size=32)
X, y = sequences(1000, 1)
error = np.mean((model.predict(X)[:, 0] - y) ** 2)
print(f"mean squared error {error:.5f}; of the answer 1: {np.mean((1 - y) ** 2):.5f}")

swapped = X.copy()
swapped[:, :, 0] = np.where(X[:, :, 1] == 0, 1 - X[:, :, 0], X[:, :, 0])  # numbers without a mark do not matter
print(f"other numbers beside them: {np.mean((model.predict(swapped)[:, 0] - y) ** 2):.5f}")
assert error < 0.005
