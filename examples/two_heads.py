"""One network, three losses: the digit, where its ink lies, and the digit once more on an inner layer.

Shown: `[network.losses]` names the layers that are judged, with the weight of each loss; the auxiliary loss on `early`
has the target of `digit`.  ell = ell_digit + 0.1 ell_centre + 0.3 ell_early, and the deltas of all three meet in the
layers that they share, in one backward sweep.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

import symnet as sn

NETWORK = """
[network]
input = 64
[network.losses]
digit = "softmax_cross_entropy"
centre = { name = "squared_error", weight = 0.1 }
early = { name = "softmax_cross_entropy", weight = 0.3, target = "digit" }

[[layer]]
kind = "dense"
name = "first"
units = 32
activation = "relu"
[[layer]]
kind = "dense"
name = "early"
units = 10
[[layer]]
kind = "dense"
name = "second"
units = 32
activation = "relu"
inputs = ["first"]
[[layer]]
kind = "dense"
name = "digit"
units = 10
[[layer]]
kind = "dense"
name = "centre"
units = 2
inputs = ["second"]
"""

with gzip.open(Path(__file__).with_name("digits.csv.gz"), "rt") as file:
    table = np.random.default_rng(0).permutation(np.loadtxt(file, delimiter=","))
X, labels = table[:, :64] / 16, table[:, 64].astype(int)
rows, columns = np.divmod(np.arange(64), 8)
centres = np.column_stack([X @ rows, X @ columns]) / X.sum(1, keepdims=True) - 3.5

net = sn.Network.from_toml(NETWORK)
print(net.gradient("first.W"))
model = net.compile({"name": "adam", "learning_rate": 3e-3}, seed=1)
train, test = slice(0, 1500), slice(1500, None)
history = model.fit(X[train], {"digit": labels[train], "centre": centres[train]}, epochs=60)
found = model.evaluate(X[test], {"digit": labels[test], "centre": centres[test]})
for name, value in found.items():
    print(f"{name:15} {value:.4f}")
predicted = model.predict(X[test])
wrong = np.abs(predicted["centre"] - centres[test]).max()
print(f"the centre of the ink is off by at most {wrong:.2f} pixels")
assert found["digit.accuracy"] > 0.94 and found["early.accuracy"] > 0.92 and found["centre.loss"] < 0.02
assert history["digit.loss"][-1] < history["early.loss"][-1] < history["early.loss"][0]
assert np.isclose(found["loss"], found["digit.loss"] + 0.1 * found["centre.loss"] + 0.3 * found["early.loss"])
