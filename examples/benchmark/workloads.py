"""What is trained: networks with their data and first parameters, the same for symnet and every peer.

Out: five workloads, and curves of workloads that differ in one size alone; of each its batches in order and its first
parameters, drawn from fixed seeds.  Layer l has (W, b) or, with swish, (W, b, beta); here W has the shape (inputs,
units), so that z = x W + b for a batch x.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

Run = Callable[[int], float]  # what a peer makes of a workload: steps -> data loss
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # Adam's
DIGITS = Path(__file__).parent.parent / "digits.csv.gz"


@dataclass(frozen=True, slots=True)
class Workload:
    """A network and how it is trained.

    sizes: inputs, then units of each layer.  activation: of all layers but the last, which has it if `to_the_end`.
    loss: "mse" (mean over samples and outputs) or "cross_entropy" (softmax, labels).  l2: lambda in
    R = loss + lambda/2 * (sum of squared weights), biases excepted.  rows: of the data, a whole number of batches.
    """

    name: str
    sizes: tuple[int, ...]
    activation: str
    loss: str
    optimizer: str
    learning_rate: float
    batch: int
    rows: int
    dtype: str = "float32"
    l2: float = 0.0
    to_the_end: bool = False

    @property
    def batches(self) -> int:
        return self.rows // self.batch

    def is_activated(self, layer: int) -> bool:
        """layer: 0, 1, ..."""
        return self.to_the_end or layer < len(self.sizes) - 2

    def __str__(self) -> str:
        if len(self.sizes) > 6 and len(set(self.sizes)) == 1:
            network = f"{len(self.sizes) - 1} layers of {self.sizes[0]}"
        else:
            network = "-".join(map(str, self.sizes))
        penalty = " + L2" if self.l2 else ""
        names = {"mse": "MSE", "cross_entropy": "softmax-CE", "adam": "Adam", "sgd": "SGD", "relu": "ReLU"}
        activation = names.get(self.activation, self.activation) + (
            " (learned β)" if self.activation == "swish" else ""
        )
        method = f"{names[self.optimizer]}{penalty}"
        return f"{network} {activation}, {names[self.loss]}, {method}, batch {self.batch}, {self.dtype}"


# fmt: off
WORKLOADS = {
    w.name: w
    for w in (
        Workload("xor", (2, 2, 1), "relu", "mse", "adam", 0.05, 4, 4, "float64"),
        Workload("digits", (64, 64, 32, 10), "relu", "cross_entropy", "adam", 1e-3, 32, 56 * 32),
        Workload("mnist", (784, 256, 128, 10), "relu", "cross_entropy", "adam", 1e-3, 128, 100 * 128, l2=1e-4),
        Workload("deep", (32,) * 21, "tanh", "mse", "sgd", 1e-2, 64, 16 * 64),
        Workload("swish", (256, 1024, 256), "swish", "mse", "adam", 1e-3, 512, 8 * 512, to_the_end=True),
    )
}
CURVES = {
    "width": [
        Workload(f"width-{k}", (k,) * 4, "relu", "mse", "adam", 1e-3, 64, 8 * 64) for k in (8, 16, 32, 64, 128, 512)
    ],
    "depth": [
        Workload(f"depth-{k}", (32,) * (k + 1), "tanh", "mse", "sgd", 1e-2, 64, 8 * 64) for k in (2, 5, 10, 20, 50)
    ],
    "batch": [
        Workload(f"batch-{k}", (64, 64, 32, 10), "relu", "cross_entropy", "adam", 1e-3, k, 8 * k)
        for k in (1, 4, 16, 64, 256, 1024)
    ],
}
# fmt: on
ALL = {**WORKLOADS, **{w.name: w for curve in CURVES.values() for w in curve}}


def data(w: Workload) -> tuple[np.ndarray, np.ndarray]:
    """X of shape (rows, inputs); y: labels (int64) of shape (rows,), or values of shape (rows, outputs)."""
    if w.name == "xor":
        return np.array([[0, 0], [0, 1], [1, 0], [1, 1]], w.dtype), np.array([[0], [1], [1], [0]], w.dtype)
    if w.name == "digits":
        table = np.loadtxt(DIGITS, delimiter=",", max_rows=w.rows)
        return np.ascontiguousarray(table[:, :-1] / 16, w.dtype), table[:, -1].astype(np.int64)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((w.rows, w.sizes[0]), w.dtype)
    if w.loss == "cross_entropy":
        return X, rng.integers(0, w.sizes[-1], w.rows)
    return X, rng.standard_normal((w.rows, w.sizes[-1]), w.dtype)


def batches(w: Workload) -> list[tuple[np.ndarray, np.ndarray]]:
    """(x, y) of each batch, in the order in which they come; after the last the first again."""
    X, y = data(w)
    return [(X[start : start + w.batch], y[start : start + w.batch]) for start in range(0, w.rows, w.batch)]


def first_parameters(w: Workload) -> list[tuple[np.ndarray, ...]]:
    """(W, b) or (W, b, beta) of each layer: normal weights with variance 1/inputs, for xor 1; b = 0.1; beta = 1."""
    rng = np.random.default_rng(2)
    layers = []
    for layer, (inputs, units) in enumerate(zip(w.sizes, w.sizes[1:])):
        scale = 1.0 if w.name == "xor" else inputs**-0.5
        W = (scale * rng.standard_normal((inputs, units))).astype(w.dtype)
        b = np.full(units, 0.1, w.dtype)
        learned = w.activation == "swish" and w.is_activated(layer)
        layers.append((W, b, np.ones((), w.dtype)) if learned else (W, b))
    return layers
