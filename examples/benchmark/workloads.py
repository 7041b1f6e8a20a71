"""What is trained: networks with their data and first parameters, the same for symnet and every peer.

Out: the workloads, and curves of workloads that differ in one size alone; of each its batches in order, its first
parameters, drawn from fixed seeds, and what a step costs at least.

Layer l has a tuple of parameters, by name in `parameters`.  Here a matrix has the shape (inputs, outputs), so that
z = x W + b for a batch x; gates, and heads, are blocks of its columns.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

Run = Callable[[int], float]  # what a peer makes of a workload: steps -> data loss
Shape = tuple[int, ...]
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # Adam's
NORM_EPSILON = 1e-5  # of a layer norm
DIGITS = Path(__file__).parent.parent / "digits.csv.gz"
GATES = {"elman": 1, "gru": 3, "lstm": 4}
NAMES = {"mse": "MSE", "cross_entropy": "softmax-CE", "adam": "Adam", "sgd": "SGD", "relu": "ReLU", "elman": "Elman",
         "swish": "swish (learned β)", "gru": "GRU", "lstm": "LSTM"}  # fmt: skip


class Unsuitable(Exception):
    """Why a peer cannot train a workload."""


@dataclass(frozen=True, slots=True)
class Layer:
    """kind: dense, elman, gru, lstm (the last state), conv (size x size, no padding), max_pool, flatten, transformer.

    size: of the windows; of a transformer the number of heads, `units` those of its hidden layer.
    """

    kind: str
    units: int = 0
    activation: str = "identity"
    size: int = 0

    def parameters(self, inputs: Shape) -> dict[str, Shape]:
        """Their shapes, by the names that symnet gives them."""
        width, units = inputs[-1], self.units
        match self.kind:
            case "dense":
                learned: dict[str, Shape] = {"beta": ()} if self.activation == "swish" else {}
                return {"W": (width, units), "b": (units,), **learned}
            case "elman" | "gru" | "lstm":
                gates = GATES[self.kind] * units
                inside: dict[str, Shape] = {"c": (units,)} if self.kind == "gru" else {}
                return {"W": (width, gates), "U": (units, gates), "b": (gates,), **inside}
            case "conv":
                return {"W": (units, self.size, self.size, width), "b": (units,)}
            case "transformer":
                found: dict[str, Shape] = {"gamma1": (width,), "beta1": (width,)}
                for letter in "qkvo":
                    found |= {f"W{letter}": (width, width), f"b{letter}": (width,)}
                found |= {"gamma2": (width,), "beta2": (width,), "W1": (width, units), "b1": (units,)}
                return found | {"W2": (units, width), "b2": (width,)}
        return {}

    def output(self, inputs: Shape) -> Shape:
        match self.kind:
            case "dense" | "elman" | "gru" | "lstm":
                return (self.units,)
            case "conv":
                return (inputs[0] - self.size + 1, inputs[1] - self.size + 1, self.units)
            case "max_pool":
                return (inputs[0] // self.size, inputs[1] // self.size, inputs[2])
            case "flatten":
                return (math.prod(inputs),)
        return inputs

    def values(self, inputs: Shape) -> int:
        """How many numbers it makes of a sample: before the activation and after it; of each step, gate, head."""
        match self.kind:
            case "elman" | "gru" | "lstm":
                return inputs[0] * (GATES[self.kind] + 2) * self.units
            case "transformer":
                time, width = inputs
                return time * (10 * width + 2 * self.units) + 2 * self.size * time**2
        return 2 * math.prod(self.output(inputs))

    def products(self, inputs: Shape) -> tuple[int, int]:
        """Multiplications of a sample in products forward: with the inputs of the layer, and with others."""
        shapes = self.parameters(inputs)
        match self.kind:
            case "dense":
                return math.prod(shapes["W"]), 0
            case "elman" | "gru" | "lstm":
                return inputs[0] * math.prod(shapes["W"]), (inputs[0] - 1) * math.prod(shapes["U"])
            case "conv":
                rows, columns, _ = self.output(inputs)
                return rows * columns * math.prod(shapes["W"]), 0
            case "transformer":
                time, width = inputs
                projected = time * sum(math.prod(shapes[name]) for name in ("Wq", "Wk", "Wv"))
                others = time * sum(math.prod(shapes[name]) for name in ("Wo", "W1", "W2"))
                return projected, others + time * (time + 1) * width  # of the scores the lower half alone
        return 0, 0

    def functions(self, inputs: Shape) -> dict[str, int]:
        """Of how many values of a sample it takes which function, once each: their slopes may be made of the same."""
        match self.kind:
            case "elman":
                return {"tanh": inputs[0] * self.units}
            case "gru" | "lstm":  # all gates but one are logistic; the candidate, and the state of the LSTM, tanh
                others = {"gru": 1, "lstm": 2}[self.kind]
                return {
                    "logistic": inputs[0] * (GATES[self.kind] - 1) * self.units,
                    "tanh": inputs[0] * others * self.units,
                }
            case "transformer":
                time, _ = inputs
                return {"exp": self.size * time * (time + 1) // 2, "erf": time * self.units}
        function = {"tanh": "tanh", "swish": "logistic"}.get(self.activation)
        return {function: math.prod(self.output(inputs))} if function else {}

    def __str__(self) -> str:
        match self.kind:
            case "elman" | "gru" | "lstm":
                return f"{NAMES[self.kind]} {self.units}"
            case "conv":
                return f"conv {self.size}x{self.size} to {self.units} {NAMES[self.activation]}"
            case "max_pool":
                return f"max pool {self.size}"
            case "transformer":
                return f"transformer block of {self.size} heads, hidden {self.units}"
        return f"{self.kind} {self.units or ''}".strip()


def dense(*units: int, activation: str = "relu", to_the_end: bool = False) -> tuple[Layer, ...]:
    """Dense layers; the last has the activation if `to_the_end`."""
    last = len(units) - 1
    return tuple(
        Layer("dense", count, activation if to_the_end or place < last else "identity")
        for place, count in enumerate(units)
    )


@dataclass(frozen=True, slots=True)
class Workload:
    """A network and how it is trained.

    input: the shape of a sample.  loss: "mse" (mean over samples and outputs) or "cross_entropy" (softmax, labels;
    "distribution", symnet alone: a distribution for each sample).
    l2: lambda in R = loss + lambda/2 * (sum of squared weights), biases excepted.  rows: of the data, a whole number of
    batches.
    """

    name: str
    input: Shape
    layers: tuple[Layer, ...]
    loss: str
    optimizer: str
    learning_rate: float
    batch: int
    rows: int
    dtype: str = "float32"
    l2: float = 0.0

    @property
    def batches(self) -> int:
        return self.rows // self.batch

    @property
    def is_dense(self) -> bool:
        return all(layer.kind == "dense" for layer in self.layers)

    @property
    def sizes(self) -> Shape:
        """Inputs, then units of each layer, of a network of dense layers."""
        return (*self.input, *(layer.units for layer in self.layers))

    @property
    def outputs(self) -> int:
        return self.layers[-1].units

    @property
    def inputs(self) -> list[Shape]:
        """The shape that each layer reads."""
        shapes = [self.input]
        for layer in self.layers:
            shapes.append(layer.output(shapes[-1]))
        return shapes[:-1]

    @property
    def parameters(self) -> list[dict[str, Shape]]:
        return [layer.parameters(shape) for layer, shape in zip(self.layers, self.inputs)]

    @property
    def count(self) -> int:
        """How many parameters."""
        return sum(math.prod(shape) for layer in self.parameters for shape in layer.values())

    @property
    def flops(self) -> int:
        """Of the products of a step: forward, by the parameters, and by the inputs but for those of the network."""
        total = 0
        for place, (layer, shape) in enumerate(zip(self.layers, self.inputs)):
            outer, inner = layer.products(shape)
            total += 2 * self.batch * ((3 if place else 2) * outer + 3 * inner)
        return total

    @property
    def functions(self) -> Counter[str]:
        """Values of functions in a step, those of the loss left out."""
        total: Counter[str] = Counter()
        for layer, shape in zip(self.layers, self.inputs):
            total.update({name: self.batch * count for name, count in layer.functions(shape).items()})
        return total

    @property
    def values(self) -> int:
        """How many numbers all layers make of a sample, those inside a layer counted."""
        return sum(layer.values(shape) for layer, shape in zip(self.layers, self.inputs))

    @property
    def moved(self) -> int:
        """Numbers that the update must read and write: parameters, and the optimizer's moments."""
        return self.count * (3 if self.optimizer == "adam" else 1)

    def __str__(self) -> str:
        activation = next((a for layer in self.layers if (a := layer.activation) != "identity"), "")
        if self.is_dense and len(self.sizes) > 6 and len(set(self.sizes)) == 1:
            network = f"{len(self.layers)} layers of {self.outputs}"
        elif self.is_dense:
            network = "-".join(map(str, self.sizes))
        else:
            network = ", ".join(["x".join(map(str, self.input)), *map(str, self.layers)])
        method = NAMES[self.optimizer] + (" + L2" if self.l2 else "")
        network += f" {NAMES.get(activation, activation)}" if activation and self.is_dense else ""
        return f"{network}, {NAMES[self.loss]}, {method}, batch {self.batch}, {self.dtype}"


def recurrent(name: str, kind: str, time: int = 32) -> Workload:
    layers = (Layer(kind, 64), Layer("dense", 10))
    return Workload(name, (time, 16), layers, "cross_entropy", "adam", 1e-3, 32, 16 * 32)


# fmt: off
WORKLOADS = {
    w.name: w
    for w in (
        Workload("xor", (2,), dense(2, 1), "mse", "adam", 0.05, 4, 4, "float64"),
        Workload("digits", (64,), dense(64, 32, 10), "cross_entropy", "adam", 1e-3, 32, 56 * 32),
        Workload("mnist", (784,), dense(256, 128, 10), "cross_entropy", "adam", 1e-3, 128, 100 * 128, l2=1e-4),
        Workload("deep", (32,), dense(*[32] * 20, activation="tanh"), "mse", "sgd", 1e-2, 64, 16 * 64),
        recurrent("rnn", "elman"),
        Workload("swish", (256,), dense(1024, 256, activation="swish", to_the_end=True), "mse", "adam", 1e-3, 512,
                 8 * 512),
        Workload("wide", (1024,), dense(1024, 1024, 1024, 1024), "mse", "adam", 1e-4, 256, 4 * 256),
        recurrent("gru", "gru"),
        recurrent("lstm", "lstm"),
        Workload("conv", (28, 28, 1),
                 (Layer("conv", 8, "relu", 5), Layer("max_pool", size=2), Layer("conv", 16, "relu", 5),
                  Layer("max_pool", size=2), Layer("flatten"), Layer("dense", 10)),
                 "cross_entropy", "adam", 1e-3, 32, 16 * 32),
        Workload("transformer", (32, 64), (Layer("transformer", 256, size=4), Layer("flatten"), Layer("dense", 10)),
                 "cross_entropy", "adam", 1e-3, 16, 16 * 16),
    )
}
CURVES = {
    "width": [
        Workload(f"width-{k}", (k,), dense(k, k, k), "mse", "adam", 1e-3, 64, 8 * 64) for k in (8, 16, 32, 64, 128, 512)
    ],
    "depth": [
        Workload(f"depth-{k}", (32,), dense(*[32] * k, activation="tanh"), "mse", "sgd", 1e-2, 64, 8 * 64)
        for k in (2, 5, 10, 20, 50, 200)
    ],
    "batch": [
        Workload(f"batch-{k}", (64,), dense(64, 32, 10), "cross_entropy", "adam", 1e-3, k, 8 * k)
        for k in (1, 4, 16, 64, 256, 1024)
    ],
    "steps": [recurrent(f"steps-{k}", "elman", k) for k in (4, 8, 32, 128, 512)],
}
ABLATED = {  # for ablation.py alone: what no workload above has
    w.name: w
    for w in (
        Workload("soft", (64,), dense(32, 10), "distribution", "adam", 1e-3, 32, 56 * 32),
        Workload("two", (2, 16), (Layer("transformer", 16, size=8), Layer("flatten"), Layer("dense", 10)),
                 "cross_entropy", "adam", 1e-3, 32, 16 * 32),
    )
}
# fmt: on
ALL = {**WORKLOADS, **{w.name: w for curve in CURVES.values() for w in curve}}


def data(w: Workload) -> tuple[np.ndarray, np.ndarray]:
    """X of shape (rows, *input); y: labels (int64) of shape (rows,), or values of shape (rows, outputs)."""
    if w.name == "xor":
        return np.array([[0, 0], [0, 1], [1, 0], [1, 1]], w.dtype), np.array([[0], [1], [1], [0]], w.dtype)
    if w.name == "digits":
        table = np.loadtxt(DIGITS, delimiter=",", max_rows=w.rows)
        return np.ascontiguousarray(table[:, :-1] / 16, w.dtype), table[:, -1].astype(np.int64)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((w.rows, *w.input), w.dtype)
    if w.loss == "distribution":
        return X, rng.dirichlet(np.ones(w.outputs), w.rows).astype(w.dtype)
    if w.loss == "cross_entropy":
        return X, rng.integers(0, w.outputs, w.rows)
    return X, rng.standard_normal((w.rows, w.outputs), w.dtype)


def batches(w: Workload) -> list[tuple[np.ndarray, np.ndarray]]:
    """(x, y) of each batch, in the order in which they come; after the last the first again."""
    X, y = data(w)
    return [(X[start : start + w.batch], y[start : start + w.batch]) for start in range(0, w.rows, w.batch)]


def first_parameters(w: Workload) -> list[tuple[np.ndarray, ...]]:
    """Of each layer: normal weights with variance 1/inputs, for xor 1; biases 0.1; beta of swish and gamma 1."""
    rng = np.random.default_rng(2)

    def value(name: str, shape: Shape) -> np.ndarray:
        if len(shape) < 2:
            return np.full(shape, 1.0 if not shape or name.startswith("gamma") else 0.1, w.dtype)
        inputs = shape[0] if len(shape) == 2 else math.prod(shape[1:])
        return ((1.0 if w.name == "xor" else inputs**-0.5) * rng.standard_normal(shape)).astype(w.dtype)

    return [tuple(value(name, shape) for name, shape in layer.items()) for layer in w.parameters]
