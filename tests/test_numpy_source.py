"""Claims about the NumPy source of a network: it runs on its own, and gives what the equations say."""

from __future__ import annotations

import ast
from typing import Any

import numpy as np
import pytest

import symnet as sn
from symnet.network import Network
from symnet.notation.numpy_source import of_program, prepared
from symnet.oracle.reference import evaluate

from .programs import sample
from .tolerance import gradient_program

ROWS = 5


def random_data(network: Network, rng: np.random.Generator) -> tuple[dict[str, Any], Any, Any]:
    """(parameters, X, y) by the names of users."""
    parameters = {name: rng.normal(size=shape) for name, shape in network.parameters.items()}
    X: dict[str, Any] = {}
    for name, tensor in network.inputs.items():
        shape = (ROWS, *(int(n) for n in tensor.shape[1:]))
        X[name] = rng.integers(0, 3, shape) if tensor.kind == "integer" else rng.normal(size=shape)
    target = network.loss().target
    shape = (ROWS, *(int(n) for n in target.shape[1:]))
    y = rng.integers(0, network.classes, shape) if target.kind == "integer" else rng.uniform(0.1, 1, shape)
    return parameters, X if len(X) > 1 else next(iter(X.values())), y


def run(source: str) -> dict[str, Any]:
    """The module's names; it imports NumPy and scipy.special only."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            assert [name.name for name in node.names] == ["numpy"]
        elif isinstance(node, ast.ImportFrom):
            assert node.module == "scipy.special"
    found: dict[str, Any] = {}
    exec(source, found)
    return found


def expected(network: Network, parameters: dict[str, Any], X: Any, y: Any) -> dict[str, np.ndarray]:
    """What the oracle says of R and of all gradients, by the names of users."""
    values = {**network.constants, **network.hyper, network.loss().target.name: y}
    values |= {tensor.name: parameters[name] for name, tensor in network.tensors.items()}
    values |= {t.name: X[name] if len(network.inputs) > 1 else X for name, t in network.inputs.items()}
    found = evaluate(network.gradient_program(), values, {"N": ROWS})
    return {"R": found["R"]} | {name: found[t.name] for name, t in network.gradients().by_name.items()}


MEMORY = ["h[n,t] = tanh(w*h[n,t-1] + x[n,t])"]
BACKWARD = ["h[n,t] = logistic(w*h[n,t+1] + x[n,t])"]
GATED = [
    "p[n,t,i] = sum(W[i,j]*x[n,t,j], j) + sum(U[i,k]*h[n,t-1,k], k)",
    "g[n,t,i] = logistic(p[n,t,i] + v[i])",
    "h[n,t,i] = g[n,t,i]*h[n,t-1,i] + (1 - g[n,t,i])*tanh(p[n,t,i])",
]
NETWORKS: dict[str, Network] = {
    "a classifier": Network(
        4, [sn.dense(5, "relu"), sn.dense(5, "tanh"), sn.dense(3)], "softmax_cross_entropy", l2=0.1, l1=0.01
    ),
    "smoothed labels": Network(
        4, [sn.dense(3)], {"name": "softmax_cross_entropy", "label_smoothing": 0.1, "class_weights": [1.0, 2.0, 0.5]}
    ),
    "error functions": Network(3, [sn.dense(4, "gelu"), sn.dense(2)], "huber"),
    "learned activations": Network(
        3, [sn.dense(4, "prelu"), sn.dense(4, {"name": "swish", "learned": ["beta"]}), sn.dense(1)], "poisson"
    ),
    "a skip and two inputs": Network(
        inputs={"image": [6], "age": [1]},
        layers=[
            sn.dense(4, "mish", name="seen", inputs="image"),
            sn.maxout(4, pieces=3, name="known", inputs="age"),
            sn.concat("seen", "known", name="both"),
            sn.add("both", "both"),
            sn.dropout(0.5),
            sn.dense(3),
            sn.softmax(),
        ],
        loss="cross_entropy",
    ),
    "a recurrence": Network(5, [sn.equations(MEMORY, parameters={"w": []}), sn.dense(2)], "squared_error"),
    "a recurrence backward": Network(5, [sn.equations(BACKWARD, parameters={"w": []}), sn.dense(2)], "squared_error"),
    "a gated recurrence": Network(
        [4, 3],
        [
            sn.equations(
                GATED, sizes={"i": 2, "k": 2}, parameters={"W": ["i", "j"], "U": ["i", "k"], "v": ["i"]}, output="h"
            ),
            sn.flatten(),
            sn.dense(2),
        ],
        "squared_error",
    ),
    "an LSTM": Network([4, 3], [sn.lstm(3), sn.dense(2)], "softmax_cross_entropy"),
    "a GRU": Network([4, 3], [sn.gru(3), sn.dense(2)], "squared_error"),
    "attention": Network(
        [5, 4], [sn.attention(heads=2, causal=True), sn.flatten(), sn.dense(2)], "squared_error"
    ),
    "a graph": Network(
        [4, 3],
        [
            sn.equations(
                "h[n,v,i] = tanh(sum(A[v,u]*W[i,j]*x[n,u,j], u, j) + b[i])",
                sizes={"i": 5},
                parameters={"W": ["i", "j"], "b": ["i"]},
            ),
            sn.flatten(),
            sn.dense(2),
        ],
        "squared_error",
        constants={"A": {"edges": [[0, 1], [1, 2], [2, 3], [3, 0], [0, 2]], "nodes": 4}},
    ),
    "shapes": Network([2, 6], [sn.reshape([3, 4]), sn.dense(4, "elu"), sn.flatten(), sn.dense(2)], "absolute_error"),
    "convolution and pooling": Network(
        [6, 6, 1],
        [sn.conv2d(3, 3, activation="relu"), sn.max_pool2d(2), sn.flatten(), sn.dense(3)],
        "softmax_cross_entropy",
    ),
    "one axis": Network(
        [9, 2],
        [sn.conv1d(3, 3, stride=2, activation="tanh"), sn.average_pool1d(2), sn.flatten(), sn.dense(1)],
        "squared_error",
    ),
    "normalization": Network(
        5, [sn.layer_norm(), sn.dense(4, "softsign"), sn.rms_norm(), sn.dense(2)], "squared_error"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_the_source_gives_the_risk_and_the_gradients_of_the_equations(name: str) -> None:
    network = NETWORKS[name]
    parameters, X, y = random_data(network, np.random.default_rng(3))
    want = expected(network, parameters, X, y)
    R, gradients = run(network.to_numpy())["value_and_gradient"](parameters, X, y)
    assert abs(R - want["R"]) <= 1e-12 * max(1, abs(want["R"]))
    assert list(gradients) == list(network.parameters)
    for key, found in gradients.items():
        assert found.shape == network.parameters[key]
        assert np.abs(found - want[key]).max() <= 1e-12 * max(1, np.abs(want[key]).max()), key
    last = list(network.parameters)[-1]
    alone = run(network.gradient(last).to_numpy())["gradient"](parameters, X, y)
    assert np.abs(alone - want[last]).max() <= 1e-12 * max(1, np.abs(want[last]).max())


def test_the_source_gives_what_the_compiled_program_gives() -> None:
    network = NETWORKS["a classifier"]
    parameters, X, y = random_data(network, np.random.default_rng(4))
    risk, compiled = network.value_and_gradient(parameters, X, y)
    R, gradients = run(network.to_numpy())["value_and_gradient"](parameters, X, y)
    assert abs(R - risk) < 1e-12
    for name in compiled:
        assert np.abs(gradients[name] - compiled[name]).max() < 1e-12


DIGITS = '''\
@np.errstate(all="ignore")
def gradient(parameters, X, y):
    """the gradient of hidden.b; X: inputs, a row for each sample; y: targets."""
    W1 = np.asarray(parameters['hidden.W'], float)
    b1 = np.asarray(parameters['hidden.b'], float)
    W2 = np.asarray(parameters['out.W'], float)
    b2 = np.asarray(parameters['out.b'], float)
    N = len(X)
    x = np.asarray(X, float).reshape(N, 2)
    y = np.asarray(y, float).reshape(N, 1)
    # z1 = W1 x + b1
    z1 = x @ W1.T + b1
    # a1 = tanh(z1)
    a1 = np.tanh(z1)
    # z2 = W2 a1 + b2
    z2 = a1 @ W2.T + b2
    # δ2 = 2 (z2 - y)
    delta2 = 2*z2 - 2*y
    # ∂ℓ/∂a1 = W2ᵀ δ2
    d_a1 = delta2 @ W2
    # δ1 = (1 - a1²) ⊙ W2ᵀ δ2
    delta1 = (1 - a1**2)*d_a1
    # ∂R/∂b1 = (1/N) Σ δ1
    d_b1 = delta1.sum(axis=0)/N
    return d_b1
'''


def test_it_reads_as_one_would_write_it() -> None:
    network = Network(2, [sn.dense(4, "tanh", name="hidden"), sn.dense(1, name="out")], "squared_error")
    assert network.gradient("hidden.b").to_numpy() == "import numpy as np\n\n\n" + DIGITS


def test_targets_that_are_distributions_are_not_taken_to_sum_to_1() -> None:
    network = Network(3, [sn.dense(4)], "softmax_cross_entropy")
    parameters, X, _ = random_data(network, np.random.default_rng(1))
    y = np.random.default_rng(2).uniform(size=(ROWS, 4))
    _, gradients = run(network.to_numpy("distribution"))["value_and_gradient"](parameters, X, y)
    _, compiled = network.value_and_gradient(parameters, X, y)
    assert np.abs(gradients["dense1.W"] - compiled["dense1.W"]).max() < 1e-12


@pytest.mark.parametrize("seed", range(40))
def test_random_programs_give_the_values_of_their_equations(seed: int) -> None:
    """Gathers, scatters, shifts, conditions and recurrences in one and two directions, as they are and prepared."""
    drawn = sample(seed)
    program = gradient_program(drawn.program.equations, drawn.output, drawn.wrt)
    want = evaluate(program, drawn.values, drawn.sizes)
    for given in (program.live(), prepared(program)):
        found = run(of_program(given))["evaluate"](drawn.values, drawn.sizes)
        for name, value in want.items():
            assert np.shape(found[name]) == np.shape(value), name
            assert np.allclose(found[name], value, rtol=1e-11, atol=1e-12, equal_nan=True), name
