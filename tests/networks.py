"""Random networks from a seed: every kind of layer, and everything that a spec can say about how they are put together.

One family after the other, by the seed: layers one after the other, windows, graphs, several losses, repeated layers,
shared and tied parameters, constants, integers with lengths and masks, equations in text, derivatives inside a loss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.sparse import csr_array

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
from symnet.kinds import Layer
from symnet.network import Network

Rng = np.random.Generator
BATCH = 2
NORMS = ((), (), (batch_norm(),), (layer_norm(),), (rms_norm(), dropout(0.3)))  # after a hidden layer
MEMORIES = (
    elman(2, returns="all", initial="learned"),
    elman(3, "softsign", direction="both"),
    gru(2, direction="backward", reset_after=False, returns="all"),
    gru(3, initial="learned"),
    lstm(2, direction="both", returns="all"),
    lstm(2, initial="learned", direction="backward"),
    attention(3, causal=True, bias=False),  # the bias of keys has the gradient 0, rounded
    transformer(1, hidden=2, bias=False, norm="rms_norm"),
    transformer(3, causal=True, hidden=4, bias=False),
)  # of a sequence of width 3
WINDOWS: tuple[tuple[list[int], tuple[Layer, ...]], ...] = (  # the shape of a sample, and layers that keep its axes
    ([6, 2], (conv1d(2, 3, stride=2, padding="same"),)),
    ([6, 2], (conv1d(4, 2, "tanh", dilation=2, groups=2), max_pool1d(2))),
    ([6, 2], (conv1d(2, 3), batch_norm(shift=False), average_pool1d(3, stride=1, padding="same"))),
    ([4, 5, 2], (conv2d(3, [2, 3], padding="same"), max_pool2d(2))),
    ([4, 5, 2], (conv2d(2, 2, "softplus", stride=[1, 2], padding=1, groups=2), average_pool2d("global"))),
    ([4, 5, 2], (conv2d(2, 2, dilation=[1, 2], bias=False), batch_norm())),
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
EDGES = [[0, 1], [1, 2], [2, 0], [1, 3], [3, 1], [4, 4]]
GRAPHS: tuple[tuple[Layer, ...], ...] = (
    (graph_conv(2, "tanh"),),
    (graph_conv(3, "softplus", normalize="mean", self_loops=False), layer_norm()),
    (message_passing(2, "sum"),),
    (message_passing(3, "max", activation="softplus", message=2, message_activation="tanh"),),
    (graph_attention(2, 2, "elu"), dropout(0.3)),
    (graph_conv(3, "tanh", features="X"), message_passing(2, "mean")),
)
REPEATED: tuple[tuple[Layer, list[int]], ...] = (  # a layer, and the shape of a sample that it keeps
    (dense(3, "tanh"), [3]),
    (dense(3, {"name": "prelu", "learned": ["gamma"], "per": "unit"}), [3]),
    (
        equations(
            ["a[n,i] = x[n,i] + tanh(sum(W[i,j]*x[n,j], j) + b[i])"],
            parameters={"W": ["i", "j"], "b": ["i"]},
            sizes={"i": 3},
        ),
        [3],
    ),
    (maxout(3, 2), [3]),
    (softmax(), [4]),
    (layer_norm(), [3]),
    (batch_norm(), [3]),
    (dropout(0.3), [5]),
    (conv1d(2, 3, "tanh", padding="same"), [4, 2]),
    (conv2d(2, 2, "logistic", padding="same"), [3, 2, 2]),
    (elman(2, returns="all"), [3, 2]),
    (gru(2, returns="all", direction="backward"), [3, 2]),
    (lstm(2, returns="all"), [2, 2]),
    (attention(1, bias=False), [3, 2]),
    (transformer(2, causal=True, hidden=3, bias=False), [3, 4]),
)
TEXTS: tuple[tuple[list[str], dict[str, Any], dict[str, int], list[int]], ...] = (  # parameters, sizes, a sample
    (
        ["z[n,i] = sum(W[i,j,k]*x[n,j]*x[n,k], j, k) + b[i]"],
        {"W": ["i", "j", "k"], "b": ["i"]},
        {"i": 2},
        [3],
    ),
    (["h[n,t] = tanh(w*h[n,t-1] + x[n,t])"], {"w": []}, {}, [5]),
    (
        ["h[n,t,i] = tanh(sum(U[i,k]*h[n,t+1,k], k) + x[n,t,i])", "g[n,i] = max(h[n,t,i], t, t > 0)"],
        {"U": ["i", "i"]},
        {},
        [4, 2],
    ),
    (
        ["c[n,t] = logistic(v*h[n,t-1])*c[n,t-1] + x[n,t]", "h[n,t] = c[n,t]*u[t] + h[n,t-2]/3"],
        {"u": [5], "v": []},
        {},
        [5],
    ),
    (
        ["h[n,s,t] = tanh(a*h[n,s-1,t] + b*h[n,s,t-1] + x[n,s,t])", "y[n,t] = sum(h[n,s,t]*W[s,t], s, s <= t)"],
        {"a": [], "b": [], "W": ["s", "t"]},
        {},
        [3, 4],
    ),
    (
        ["s[n,i,j] = W[i,j]*x[n,i]*x[n,j]", "p[n,i] = logsumexp(s[n,i,j], j, j <= i)"],
        {"W": ["i", "j"]},
        {},
        [4],
    ),
    (
        ["m[n] = argmax(x[n,i]*w[i], i)", "z[n,i] = where(i == 0, V[m[n],i], x[n,i-1]*w[i])"],
        {"w": ["i"], "V": ["i", "i"]},
        {},
        [3],
    ),
    (["z[n,i] = (sum(W[i,j]*x[n,j], j) + b[i]) * logistic(c[i]*x[n,i])"], {"W": ["i", "i"], "b": ["i"], "c": ["i"]},
     {}, [3]),
)  # fmt: skip
PREDICTION = "prediction[n,0]"
DERIVED: tuple[tuple[int, list[str]], ...] = (  # the number of inputs, and the equations of a loss
    (1, [f"u[n] = d({PREDICTION}, x[n,0], x[n,0])", f"ell[n] = (u[n] + {PREDICTION})**2"]),
    (2, [f"ell[n] = (d({PREDICTION}, x[n,0]) - 0.3*d({PREDICTION}, x[n,1], x[n,1]))**2"]),
    (2, [f"ell[n] = d({PREDICTION}, x[n,1], x[n,0])**2 + {PREDICTION}"]),
    (3, [f"ell[n] = (sum(d({PREDICTION}, x[n,j], x[n,j]), j) - x[n,0])**2"]),
    (2, [f"ell[n] = (sum(d({PREDICTION}, x[n,j])**2, j) - 1)**2"]),
    (1, [f"u[n] = x[n,0]*(1 - x[n,0])*{PREDICTION}", "ell[n] = (d(u[n], x[n,0], x[n,0]) + 1)**2"]),
    (2, [f"ell[n] = sum(d({PREDICTION}, x[n,i], x[n,j])**2, i, j)"]),
    (1, [f"ell[n] = (d({PREDICTION}, x[n,0], x[n,0], x[n,0]) - {PREDICTION})**2"]),
)
SMOOTH = ("tanh", "logistic", "softplus", "swish", "gelu", "sine")


@dataclass(frozen=True)
class DrawnNetwork:
    """family: what it was drawn for.  given: how its targets are given.  short: how many equal layers in a row are
    compiled as one (0: none).  ones: inputs of 0 and 1."""

    family: str
    network: Network
    optimizer: str
    given: str
    short: int = 0
    masks: tuple[str, ...] = ()


def learned(name: str) -> Any:
    """An activation with all its parameters learned, for each unit."""
    parameters = list(activations.TABLE[name].parameters)
    return {"name": name, "learned": parameters, "per": "unit"} if parameters else name


def drawn(seed: int) -> DrawnNetwork:
    """The network of this seed, always the same; seeds in a row are of one family after the other."""
    family, make = FAMILIES[seed % len(FAMILIES)]
    number = seed // len(FAMILIES)
    rng = np.random.default_rng((seed, 0))
    network, more = make(rng, number)
    optimizer = optimizers.ROWS[(seed + number) % len(optimizers.ROWS)].name
    return DrawnNetwork(family, network, optimizer, more.pop("given", network.given()), **more)


Made = tuple[Network, dict[str, Any]]


def _choice(rng: Rng, options: Any) -> Any:
    return options[int(rng.integers(len(options)))]


def _function(rng: Rng) -> Any:
    return learned(_choice(rng, activations.ROWS).name)


def _loss(rng: Rng) -> tuple[str, Any]:
    """A loss, and the activation that gives it what it expects."""
    loss = _choice(rng, losses.ROWS).name
    return loss, "logistic" if loss == "cross_entropy" else "identity"


def _finished(rng: Rng, shape: Any, layers: Any, **options: Any) -> Network:
    """With an output of two, judged by a loss, perhaps with penalties."""
    loss, last = _loss(rng)
    strengths = {name: float(rng.choice([0.0, 0.1])) for name in ("l2", "l1")} if rng.random() < 0.4 else {}
    where = {"inputs": shape} if isinstance(shape, dict) and "shape" not in shape else {"input": shape}
    return Network(layers=[*layers, dense(2, last)], loss=loss, **where, **strengths, **options)


def stacked(rng: Rng, number: int) -> Made:
    """Layers one after the other, of vectors, or with a memory of sequences."""
    inner: list[Layer] = []
    for _ in range(int(rng.integers(0, 3))):
        norm = int(rng.integers(len(NORMS)))
        # before batch norm a bias may have the gradient 0, rounded, which some optimizers divide by its own size
        inner += [dense(int(rng.integers(1, 5)), _function(rng), bias=norm != BATCH), *NORMS[norm]]
    if number % 2:
        return _finished(rng, [3], inner), {}
    memory = MEMORIES[number // 2 % len(MEMORIES)]
    before = [positions()] if isinstance(memory, type(MEMORIES[-1]) | type(MEMORIES[-3])) else []
    if rng.random() < 0.4:
        return _finished(rng, {"shape": [3], "below": 4}, [embedding(4, 3), *before, memory]), {}
    return _finished(rng, [3, 3], [*before, memory, *inner[:1]]), {}


def windows(rng: Rng, number: int) -> Made:
    shape, inner = WINDOWS[number % len(WINDOWS)]
    flat = [flatten()] if len(shape) > 2 or rng.random() < 0.5 else []  # few kinks
    return _finished(rng, shape, [*inner, *flat, dense(2, _function(rng))]), {}


def graphs(rng: Rng, number: int) -> Made:
    """Sparse constants: a graph, and features of its nodes."""
    inner = GRAPHS[number % len(GRAPHS)]
    shape = None if getattr(inner[0], "features", "") else [5, 2]
    constants: dict[str, Any] = {"A": {"edges": EDGES, "nodes": 5, "directed": bool(rng.integers(2))}}
    if not shape:
        constants["X"] = csr_array(rng.normal(size=(5, 4)) * (rng.random((5, 4)) < 0.5))
    return _finished(rng, shape, [*inner, dense(2, _function(rng))], constants=constants), {}


def judged(rng: Rng, number: int) -> Made:
    """Several losses, on layers of a body whose outputs are between 0 and 1, so that any loss may judge them."""
    chosen = [losses.ROWS[(number + 4 * k) % len(losses.ROWS)].name for k in range(int(rng.integers(2, 4)))]
    layers, heads = [dense(2, {"formula": "(1 + tanh(x))/2"}, name="body")], {}
    for at, loss in enumerate(chosen):
        name = f"head{at}"
        function = "logistic" if loss == "cross_entropy" else "identity"
        layers.append(dense(2, function, name=name, inputs=[str(_choice(rng, [layer.name for layer in layers]))]))
        heads[name] = {"name": loss} | ({"weight": float(rng.uniform(0.1, 2))} if rng.random() < 0.7 else {})
    heads["inner"] = {"name": chosen[0], "layer": "body", "target": "head0", "weight": 0.5}
    network = Network(input=[[3], [2, 3]][rng.integers(2)], layers=layers, losses=heads, l2=float(rng.choice([0, 0.1])))
    weights = ["", losses.WEIGHTED, losses.BY_POSITION if network.outputs["head0"].positions else ""]
    given = {
        name: str(rng.choice(network.outputs[name].targets) + rng.choice(weights)) for name in network.target_names
    }
    return network, {"given": network.given(given)}


def repeated(rng: Rng, number: int) -> Made:
    """`repeat`, or as many layers one after the other, which are compiled as one."""
    layer, shape = REPEATED[number % len(REPEATED)]
    count = int(rng.integers(2, 6))
    flat = [flatten()] if len(shape) > 2 else []
    if rng.random() < 0.6:
        return _finished(rng, shape, [replace(layer, name="r", repeat=count), *flat]), {}
    block = [layer, dropout(0.2)] if rng.random() < 0.3 else [layer]
    layers = [replace(one, name=f"r{k}_{j}") for k in range(count) for j, one in enumerate(block)]
    return _finished(rng, shape, [*layers, *flat]), {"short": 2}


def tied(rng: Rng, number: int) -> Made:
    """Shared layers and tied parameters."""
    function, other = _function(rng), _function(rng)
    match number % 5:
        case 0:  # two inputs through one layer
            inputs = {"left": [3], "right": [3]}
            layers = [
                dense(2, function, name="a", inputs="left"),
                dense(2, function, name="b", inputs="right", share="a"),
                multiply("a", "b"),
            ]
            return _finished(rng, inputs, layers), {}
        case 1:  # a decoder with the transposed table of the encoder
            text = "z[n,i] = sum(V[j,i]*x[n,j], j) + c[i]"
            up = equations(
                text, parameters={"V": ["j", "i"], "c": ["i"]}, sizes={"i": 4}, tie={"V": "down.W"}, name="up"
            )
            return _finished(rng, [4], [dense(3, function, name="down"), up]), {}
        case 2:
            layers = [
                dense(3, "tanh", name="a"),
                dense(3, other, name="b", tie={"W": "a.W"}),
                dense(3, name="c", tie={"W": "b.W", "b": "a.b"}),
            ]
            return _finished(rng, [3], layers), {}
        case 3:
            first = _choice(rng, (elman(2, returns="all"), gru(2, returns="all"), lstm(2, returns="all")))
            layers = [replace(first, name="a"), replace(first, name="b", share="a")]
            return _finished(rng, [3, 2], layers), {}
        case _:
            layers = [
                embedding(5, 3, name="e"),
                gru(3, returns="all", name="g"),
                equations(
                    "z[n,t,v] = sum(T[v,k]*x[n,t,k], k)", parameters={"T": ["v", "k"]}, sizes={"v": 5},
                    tie={"T": "e.E"}, name="scores",
                ),
            ]  # fmt: skip
            return _finished(rng, {"shape": [3], "below": 5}, layers), {}


def constant(rng: Rng, number: int) -> Made:
    """Arrays that equations read: sparse, dense, integers."""
    A: Any = rng.normal(size=(4, 3)) * (rng.random((4, 3)) < 0.6)
    lines = ["h[n,i] = sum(A[i,j]*x[n,j], j)", "z[n,i] = sum(W[i,k]*tanh(h[n,c[k]])*b[k], k)"]
    layer = equations(lines, sizes={"i": 4, "k": 4}, parameters={"W": ["i", "k"]}, name="e")
    given = {"A": csr_array(A) if number % 2 else A, "c": rng.integers(0, 4, 4), "b": rng.normal(size=4)}
    return _finished(rng, [3], [dense(3, _function(rng)), layer], constants=given), {}


def lengths(rng: Rng, number: int) -> Made:
    """Integers: symbols, the number of steps of each sample; or a mask."""
    inputs: dict[str, Any] = {"ids": {"shape": [4], "below": 5}}
    first = embedding(5, 2, name="e", inputs="ids")
    match number % 4:
        case 0:
            inputs["m"] = [4]
        case 3:
            return _finished(
                rng,
                {**inputs, "length": {"shape": [], "below": 5}},
                [
                    equations(
                        ["e[n,t,k] = E[ids[n,t],k]", "z[n,k] = sum(e[n,t,k], t, t < length[n])"],
                        parameters={"E": [5, 3]}, inputs=["ids", "length"], name="pooled",
                    )
                ],
            ), {}  # fmt: skip
        case _:
            inputs["m"] = {"shape": [], "below": 5}
    options = {"returns": str(_choice(rng, ["last", "all"])), "direction": str(_choice(rng, ["forward", "both"]))}
    memory = (
        elman(2, inputs=["e", "m"], **options),
        gru(2, inputs=["e", "m"], **options),
        lstm(2, inputs=["e", "m"], **options),
        attention(1, inputs=["e", "m"], bias=False),
    )[int(rng.integers(3 if number % 4 == 0 else 4))]
    return _finished(rng, inputs, [first, memory]), {"masks": ("m",) if number % 4 == 0 else ()}


def texts(rng: Rng, number: int) -> Made:
    lines, parameters, sizes, shape = TEXTS[number % len(TEXTS)]
    layer = equations(lines, parameters=parameters, sizes=sizes, name="e")
    before = [dense(shape[-1], _choice(rng, SMOOTH))] if rng.random() < 0.5 else []
    return _finished(rng, shape, [*before, layer]), {}


def derived(rng: Rng, number: int) -> Made:
    """Derivatives by the inputs, inside the loss."""
    width, lines = DERIVED[number % len(DERIVED)]
    layers: list[Layer] = []
    for _ in range(int(rng.integers(1, 3))):
        layers.append(dense(int(rng.integers(2, 4)), _choice(rng, SMOOTH)))
        layers += _choice(rng, ([], [], [layer_norm()], [rms_norm()]))
    return Network(width, [*layers, dense(1)], {"equations": lines}), {}


FAMILIES: tuple[tuple[str, Callable[[Rng, int], Made]], ...] = (
    ("layers", stacked),
    ("windows", windows),
    ("graphs", graphs),
    ("several losses", judged),
    ("repeat", repeated),
    ("shared and tied", tied),
    ("constants", constant),
    ("integers, lengths, masks", lengths),
    ("equations in text", texts),
    ("derivatives in the loss", derived),
)
