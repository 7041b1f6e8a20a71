"""Random networks drawn from the tables (kinds, activations, losses, optimizers), judged by the 50-digit complex step.

The gradient of R as it is derived, and as the generated loops compute it after all passes, along one random direction
through all parameters; and one step of a random optimizer as the loops make it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from compiler.calling import interpret
from symnet.declare import activations, losses, optimizers
from symnet.declare.constructors import (
    activation,
    add,
    attention,
    average_pool1d,
    average_pool2d,
    batch_norm,
    concat,
    conv1d,
    conv2d,
    dense,
    dropout,
    elman,
    embedding,
    equations,
    flatten,
    gru,
    layer_norm,
    log_softmax,
    lstm,
    max_pool1d,
    max_pool2d,
    maxout,
    multiply,
    positions,
    reshape,
    rms_norm,
    softmax,
    transformer,
)
from symnet.declare.graph_constructors import graph_attention, graph_conv, message_passing
from symnet.kinds import GRU, LSTM, TABLE, Attention, Elman, Transformer
from symnet.network import Network
from symnet.oracle.reference import evaluate
from symnet.oracle.reference_mp import complex_step, magnitudes

from .test_combinations import learned, targets
from .tolerance import is_smooth, judge

NETWORKS = 18
PLACES = 16  # networks of windows and of graphs
NORMS = ((), (), (batch_norm(),), (layer_norm(),), (rms_norm(), dropout(0.3)))  # after a hidden layer
MEMORIES = (
    None,
    None,
    elman(2, returns="all", initial="learned"),
    elman(3, "softsign", direction="both"),
    gru(2, direction="backward", reset_after=False, returns="all"),
    gru(3, initial="learned"),
    lstm(2, direction="both", returns="all"),
    lstm(2, initial="learned", direction="backward"),
    attention(3, causal=True, bias=False),  # the bias of keys has the gradient 0, rounded
    transformer(1, hidden=2, bias=False, norm="rms_norm"),
    transformer(3, causal=True, hidden=4, bias=False),
)  # instead of the hidden layers of a sequence: with them, the scale of the error would grow beyond any number
WINDOWS = (  # the shape of a sample, and layers that keep its axes
    ([6, 2], (conv1d(2, 3, stride=2, padding="same"),)),
    ([6, 2], (conv1d(4, 2, "tanh", dilation=2, groups=2), max_pool1d(2))),
    ([6, 2], (conv1d(2, 3), batch_norm(shift=False), average_pool1d(3, stride=1, padding="same"))),
    ([4, 5, 2], (conv2d(3, [2, 3], padding="same"), max_pool2d(2))),
    ([4, 5, 2], (conv2d(2, 2, "softplus", stride=[1, 2], padding=1, groups=2), average_pool2d("global"))),
    ([4, 5, 2], (conv2d(2, 2, dilation=[1, 2], bias=False), batch_norm())),
    ([3, 3], (attention(3, causal=True, bias=False),)),
    (
        [3, 2],
        (
            dense(2, name="p"),
            dense(2, "tanh", name="q", inputs="x"),
            add("p", "q", name="sum"),
            multiply("sum", "p", name="product"),
            concat("product", "q"),
            softmax(),
            reshape(6, 2),
            log_softmax(),
            activation("logistic"),
            equations("z[n,i,j] = x[n,i,j]**2"),
        ),
    ),
)
EDGES = [[0, 1], [1, 2], [2, 0], [2, 2], [3, 1]]  # no edge leads to the last node, and none is at the one after it
GRAPHS = (  # of signals of two features on the nodes; the loss is over the nodes
    (graph_conv(2, "tanh"),),
    (graph_conv(2, normalize="mean", self_loops=False), layer_norm()),
    (message_passing(2, "sum"),),
    (message_passing(3, "max", activation="softplus", message=2, message_activation="tanh"),),
    (graph_attention(2, 2, "elu"), dropout(0.3)),
    (graph_conv(3, "tanh", features="X"), message_passing(2, "mean")),
)
BATCH = 2
ROWS = 5  # as many as test_combinations draws targets for


def drawn(seed: int) -> tuple[Network, str]:
    """A network of one to three layers, of vectors or of sequences of three, and the name of an optimizer."""
    rng = np.random.default_rng(seed)
    loss = losses.ROWS[seed % len(losses.ROWS)].name
    names = [row.name for row in activations.ROWS]
    inner = [dense(int(rng.integers(1, 5)), learned(str(rng.choice(names)))) for _ in range(rng.integers(0, 3))]
    norms = np.random.default_rng((seed, 2)).choice(len(NORMS), len(inner))
    # before batch norm a bias may have the gradient 0, rounded, which some optimizers divide by its own size
    biased = [replace(first, bias=norm != BATCH) for first, norm in zip(inner, norms, strict=True)]
    hidden = [layer for first, norm in zip(biased, norms, strict=True) for layer in (first, *NORMS[norm])]
    strength = float(rng.choice([0.0, 0.1]))
    shape = [[3], [3, 3]][rng.integers(2)]
    memory = MEMORIES[np.random.default_rng((seed, 4)).integers(len(MEMORIES))] if len(shape) > 1 else None
    hidden = [memory] if memory is not None else hidden
    if isinstance(memory, Attention | Transformer):
        hidden = [positions(), *hidden]
        if rng.random() < 0.5:
            shape, hidden = {"shape": [3], "below": 4}, [embedding(5, 3), *hidden]
    last = dense(2, "logistic" if loss == "cross_entropy" else "identity")
    network = Network(input=shape, layers=[*hidden, last], loss=loss, l2=strength)
    return network, str(rng.choice([row.name for row in optimizers.ROWS]))


def placed(seed: int) -> tuple[Network, str]:
    """A network of windows or of a graph, between layers that are drawn, and the name of an optimizer."""
    rng = np.random.default_rng((seed, 6))
    loss = losses.ROWS[int(rng.integers(len(losses.ROWS)))].name
    function = learned(str(rng.choice([row.name for row in activations.ROWS])))
    after = (dense(2, function), maxout(2))[int(rng.random() < 0.2)]
    last = dense(2, "logistic" if loss == "cross_entropy" else "identity")
    constants = None
    if seed % 2:
        shape, inner = WINDOWS[seed // 2 % len(WINDOWS)]
        inner = (*inner, flatten()) if len(shape) > 2 or rng.random() < 0.5 else inner  # few kinks
    else:
        inner = GRAPHS[seed // 2 % len(GRAPHS)]
        shape = None if getattr(inner[0], "features", "") else [5, 2]
        constants = {"A": {"edges": EDGES, "nodes": 5, "directed": bool(rng.integers(2))}}
        constants |= {} if shape else {"X": csr_array(rng.normal(size=(5, 4)) * (rng.random((5, 4)) < 0.5))}
    network = Network(input=shape, layers=[*inner, after, last], loss=loss, constants=constants)
    return network, str(rng.choice([row.name for row in optimizers.ROWS]))


def values_of(network: Network, optimizer: str, rng: np.random.Generator) -> dict[str, Any]:
    update = network.update(optimizer)
    values: dict[str, Any] = {k.name: np.full([int(n) for n in k.shape], v) for k, v in update.states.items()}
    for name, state in network._states.items():
        values[state.tensor.name] = rng.uniform(0.5, 1.5, network.states[name])
    for name, value in network.initial_parameters(int(rng.integers(100))).items():
        values[network.tensors[name].name] = value + rng.normal(size=value.shape) / 8
    hyper = {**network.hyper, **dict(update.hyper)}
    for _, sizes in network.spec.inputs:
        shape = (ROWS, *sizes)
        values["x"] = rng.integers(0, 4, shape) if network.spec.integers else rng.normal(size=shape)
    return {
        **values,
        **hyper,
        **network.constants,
        "y": targets(network, rng),
        "step": 2,
        "seed": 3,
    }


@pytest.mark.parametrize("seed", range(NETWORKS))
def test_gradients_and_steps_of_random_networks_are_right(seed: int) -> None:
    check(seed, *drawn(seed))


@pytest.mark.parametrize("seed", range(PLACES))
def test_gradients_and_steps_of_random_networks_of_windows_and_graphs_are_right(seed: int) -> None:
    check(seed, *placed(seed))


def test_every_kind_of_layer_is_drawn() -> None:
    networks = [*map(drawn, range(NETWORKS)), *map(placed, range(PLACES))]
    assert {type(layer) for network, _ in networks for layer in network.spec.layers} == set(TABLE)


def check(seed: int, network: Network, optimizer: str) -> None:
    rng = np.random.default_rng((seed, 1))
    gradient, step = network.gradient_program(), network.training_program(optimizer)
    values = next(v for _ in range(50) if is_smooth(gradient, v := values_of(network, optimizer, rng), {"N": ROWS}))

    by_name = {tensor.name: network.gradients().by_name[name].name for name, tensor in network.tensors.items()}
    direction = {name: rng.uniform(-1, 1, np.shape(values[name])) for name in by_name}
    risk = next(t for t in gradient.outputs if t.name == "R")
    reference = complex_step(gradient, risk, values, direction, {"N": ROWS})
    scales = magnitudes(gradient, values, {"N": ROWS})
    scale = sum(np.sum(scales[g] * np.abs(direction[name])) for name, g in by_name.items())
    if isinstance(network.spec.layers[0], Elman | GRU | LSTM):  # each step would square the scale
        derived = evaluate(gradient, values, {"N": ROWS})
        scale = min(scale, 1e4 * sum(np.sum(np.abs(derived[g] * direction[name])) for name, g in by_name.items()))
    for what, found in (
        ("derived", evaluate(gradient, values, {"N": ROWS})),
        ("as loops", interpret(gradient, values, {"N": ROWS}, plain=False)),
    ):
        along = sum(np.sum(found[g] * direction[name]) for name, g in by_name.items())
        judge(f"{network!r}, {what}", along, reference, scale)

    expected, made = evaluate(step, values, {"N": ROWS}), interpret(step, values, {"N": ROWS}, plain=False)
    for old, new in step.updates:
        np.testing.assert_allclose(made[old.name], expected[new.name], 1e-10, 1e-12, err_msg=f"{optimizer}: {old}")
