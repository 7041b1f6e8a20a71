"""Are two pictures of the same digit?  A Siamese network: one encoder for both, a distance, a loss.

Shown: `share` gives the second branch the parameters of the first, so that its gradient is the sum of what both
branches contribute; the distance is an equation of our own.  p(same) = logistic(b - sum_k s_k^2 (left_k - right_k)^2).
The images of the test are none of those in training.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

import symnet as sn

with gzip.open(Path(__file__).with_name("digits.csv.gz"), "rt") as file:
    table = np.random.default_rng(0).permutation(np.loadtxt(file, delimiter=","))
images, labels = table[:, :64] / 16, table[:, 64].astype(int)


def pairs(low: int, high: int, count: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Pairs of the images low..high-1, about half of them of the same digit."""
    rng = np.random.default_rng(seed)
    one, other = rng.integers(low, high, (2, 8 * count))
    same = labels[one] == labels[other]
    chosen = np.concatenate([np.flatnonzero(same)[: count // 2], np.flatnonzero(~same)[: count // 2]])
    return {"a": images[one[chosen]], "b": images[other[chosen]]}, same[chosen].astype(int)


DISTANCE = "z[n,i] = b[i] - sum(s[k]**2*(left[n,k] - right[n,k])**2, k)"
ONE = {"name": "constant", "value": 1.0}
parameters = {"b": {"shape": [1], "initializer": ONE}, "s": {"shape": ["k"], "initializer": ONE}}
net = sn.Network(
    inputs={"a": [64], "b": [64]},
    layers=[
        sn.dense(24, "tanh", name="left", inputs=["a"]),
        sn.dense(24, "tanh", name="right", inputs=["b"], share="left"),
        sn.equations(DISTANCE, parameters=parameters, inputs=["left", "right"], name="same"),
    ],
    loss="binary_cross_entropy",
)
print(net.gradient("left.W"))
model = net.compile({"name": "adam", "learning_rate": 3e-3}, seed=1)
model.fit(*pairs(0, 1500, 12_000, 1), epochs=25)
X, y = pairs(1500, len(images), 1000, 2)
found = model.evaluate(X, y)
print(f"{100 * found['accuracy']:.1f} % of {len(y)} pairs of new pictures are told right")
swapped = model.predict_proba({"a": X["b"], "b": X["a"]})
assert np.allclose(swapped, model.predict_proba(X), atol=1e-5)  # a distance does not mind the order
assert list(net.parameters) == ["left.W", "left.b", "same.b", "same.s"] and found["accuracy"] > 0.9
