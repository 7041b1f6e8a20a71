"""ONNX's operators as symnet's own layers, losses and optimizers: data for test_onnx.py, beside onnx_table.py.

In: a case.  Out: a Judged (onnx_cases.py), or None where the layer has no such option.  ONNX's arrays are only moved
into symnet's layout (channels last, gates in another order) and results back.  Where a layer works on single samples,
the whole array of the case is one sample.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

import symnet as sn
from compiler.program import Program, Tensor
from symnet.declare import optimizers
from symnet.differentiate import pullback
from symnet.formulation.equation_text import read

from .onnx_cases import Array, Case, Judged, numbers

Given = SimpleNamespace  # the attributes of a case by name; `x`: its inputs by position, None where one is not given


@dataclass
class Layer:
    """A layer, what it reads, its parameters and states by name; `take` gives ONNX's output from its own."""

    layer: Any
    inputs: dict[str, Any]
    parameters: dict[str, Any] = field(default_factory=dict)
    take: Callable[[Array], Array] = lambda y: y
    training: bool = False
    output: int = 0  # which output of the operator it is


def last(x: Array) -> Array:
    """channels last"""
    return np.moveaxis(x, 1, -1)


def first(x: Array) -> Array:
    """channels second"""
    return np.moveaxis(x, -1, 1)


def function(name: str, **options: str) -> Callable[[Given], Layer]:
    """An activation; options: of symnet -> of ONNX."""

    def made(a: Given) -> Layer:
        chosen = {"name": name, **{mine: getattr(a, its) for mine, its in options.items()}}
        return Layer(sn.activation(chosen), {"x": a.x[0].reshape(1, -1)}, {}, lambda y: y.reshape(a.x[0].shape))

    return made


def whole(layer: Callable[..., Any], *names: str, **options: str) -> Callable[[Given], Layer]:
    """A layer on all of the first input as one sample; its parameters are the other inputs."""

    def made(a: Given) -> Layer:
        own = {key: value(a) if callable(value) else getattr(a, value) for key, value in options.items()}
        given = {name: x for name, x in zip(names, a.x[1:], strict=False) if x is not None}
        return Layer(layer(name="layer", **own), {"x": a.x[0][None]}, given, lambda y: y[0])

    return made


def tail(a: Given) -> int:
    """How many of the last axes."""
    return len(a.x[0].shape) - a.axis % len(a.x[0].shape)


def _padding(a: Given, axes: int) -> Any:
    pads = a.pads or [0] * 2 * axes
    if a.auto_pad in ("SAME_UPPER", "VALID"):
        return a.auto_pad[:5].lower().replace("_", "")
    return None if a.auto_pad != "NOTSET" or pads[:axes] != pads[axes:] else pads[:axes]


def window(plain: Mapping[int, Callable[..., Any]], *names: str, **options: Any) -> Callable[[Given], Layer | None]:
    """Convolution or pooling, by the number of axes; None where ONNX pads otherwise, or rounds up."""

    def made(a: Given) -> Layer | None:
        axes = len(a.x[0].shape) - 2
        padding = _padding(a, axes)
        dilated = any(n != 1 for n in a.dilations or [1]) and not names
        if axes not in plain or padding is None or getattr(a, "ceil_mode", 0) or dilated:
            return None
        if getattr(a, "count_include_pad", 0) and any(a.pads or [0]):
            return None
        own = {"stride": a.strides or [1] * axes, "padding": padding, **{k: f(a) for k, f in options.items()}}
        if names:
            own |= {"dilation": a.dilations or [1] * axes, "groups": a.group, "bias": len(a.x) > 2}
        given = dict(zip(names, (last(a.x[1]), *a.x[2:]), strict=False)) if names else {}
        return Layer(plain[axes](name="layer", **own), {"x": last(a.x[0])}, given, first)

    return made


def all_of(layer: Callable[..., Any]) -> Callable[[Given], Layer]:
    """Global pooling."""
    return lambda a: Layer(layer("global"), {"x": last(a.x[0])}, {}, first)


def joined(layer: Callable[..., Any], **options: str) -> Callable[[Given], Layer | None]:
    """A layer of several inputs of one shape."""

    def made(a: Given) -> Layer | None:
        shapes = {x.shape for x in a.x}
        if len(a.x) < 2 or (len(shapes) > 1 and not options):
            return None
        named = {f"x{k}": x[None] for k, x in enumerate(a.x)}
        own = {key: getattr(a, value) % len(a.x[0].shape) for key, value in options.items()}
        return Layer(layer(*named, **own), named, {}, lambda y: y[0])

    return made


# ---------------------------------------------------------------------------------------------- recurrent layers
def recurrent(
    layer: Callable[..., Any], order: tuple[int, ...], states: int = 1, own_bias: bool = False, **options: Any
) -> Callable[[Given], Layer | None]:
    """order: ONNX's gate in the place of each of symnet's."""

    def made(a: Given) -> Layer | None:
        x, w, r, b, _, *others = (*a.x, *[None] * 8)[:9]
        if states == 2 and others[2] is not None:
            return None  # peepholes
        x = x if a.layout else np.swapaxes(x, 0, 1)
        units, gates = a.hidden_size, len(order)
        own: dict[str, Any] = {
            "direction": DIRECTIONS[a.direction],
            "returns": "all",
            **{k: f(a) for k, f in options.items()},
        }
        given, named = {}, {"x": x}

        def stacked(m: Array) -> Array:
            split = m.reshape(gates, units, *m.shape[1:])[list(order)]
            return split if gates > 1 else split[0]

        for number, tag in enumerate(("", "b")[: len(w)]):
            given[f"W{tag}"], given[f"U{tag}"] = stacked(w[number]), stacked(r[number])
            both = np.zeros(2 * gates * units, np.float32) if b is None else b[number]
            wb, rb = np.split(both, 2)
            if own_bias and a.linear_before_reset:
                given[f"c{tag}"] = rb.reshape(gates, units)[2]
                rb = rb * np.repeat([1, 1, 0], units)
            given[f"b{tag}"] = stacked(wb + rb)
        for name, state in zip("hc", others[:states], strict=False):
            if state is not None:
                named[name] = np.swapaxes(state, 0, 1).reshape(len(x), -1)
                own["initial"] = "given"
        made_layer = layer(units, name="layer", inputs=list(named), **own)
        directions = len(w)

        def every(y: Array) -> Array:  # (n, t, directions*units)
            split = y.reshape(*y.shape[:2], directions, units)
            return split if a.layout else np.transpose(split, (1, 2, 0, 3))

        def final(y: Array) -> Array:  # of the last step of each direction
            split = y.reshape(*y.shape[:2], directions, units)
            backward = [a.direction == "reverse" or k == 1 for k in range(directions)]
            ends = np.stack([split[:, 0 if back else -1, k] for k, back in enumerate(backward)], 1)
            return ends if a.layout else np.swapaxes(ends, 0, 1)

        states_only = a.wanted[0] is None
        return Layer(made_layer, named, given, final if states_only else every, False, 1 if states_only else 0)

    return made


DIRECTIONS = {"forward": "forward", "reverse": "backward", "bidirectional": "both"}


def normalized(a: Given) -> Layer:
    """Batch norm."""
    names = ("gamma", "beta", "mean", "variance")
    given = dict(zip(names, a.x[1:], strict=True))
    made = sn.batch_norm(name="layer", epsilon=a.epsilon, momentum=1 - a.momentum)
    return Layer(made, {"x": last(a.x[0])}, given, first, bool(a.training_mode))


def attended(a: Given) -> Layer | None:
    """Attention with projections that only take the heads apart and put them together again."""
    q, k, v, *rest = a.x
    if len(q.shape) != 3 or any(x is not None for x in rest) or a.softcap or a.scale or q.dtype != np.float32:
        return None
    if a.q_num_heads != a.kv_num_heads or a.left_window_size >= 0 or a.right_window_size >= 0:
        return None
    heads, width = a.q_num_heads, q.shape[2]
    if k.shape[2] != width or v.shape[2] != width or a.is_causal:
        return None
    both, size = np.concatenate([k, v], 2), width // heads
    apart = np.eye(width, dtype=np.float32).reshape(heads, size, width)
    none = np.zeros_like(apart)
    given = {
        "Wq": apart, "Wk": np.concatenate([apart, none], 2), "Wv": np.concatenate([none, apart], 2),
        "Wo": np.moveaxis(apart, 2, 0),
    }  # fmt: skip
    made = sn.attention(heads, name="layer", bias=False, inputs=["q", "m"])
    return Layer(made, {"q": q, "m": both}, given)


LAYERS: Mapping[str, Callable[[Given], Layer | None]] = {
    "Abs": function("abs"),
    "Elu": function("elu", gamma="alpha"),
    "Gelu": lambda a: function({"tanh": "gelu_tanh", "none": "gelu"}[a.approximate])(a),
    "Identity": function("identity"),
    "LeakyRelu": function("leaky_relu", gamma="alpha"),
    "Mish": function("mish"),
    "Relu": function("relu"),
    "Selu": function("selu", alpha="alpha", scale="gamma"),
    "Sigmoid": function("logistic"),
    "Sin": function("sine"),
    "Softplus": function("softplus"),
    "Softsign": function("softsign"),
    "Swish": function("swish", beta="alpha"),
    "Tanh": function("tanh"),
    "Softmax": whole(sn.softmax, axis="axis"),
    "LogSoftmax": whole(sn.log_softmax, axis="axis"),
    "LayerNormalization": whole(sn.layer_norm, "gamma", "beta", axes=tail, epsilon="epsilon"),
    "RMSNormalization": whole(sn.rms_norm, "gamma", axes=tail, epsilon="epsilon"),
    "BatchNormalization": normalized,
    "Conv": window(
        {1: sn.conv1d, 2: sn.conv2d}, "W", "b", units=lambda a: len(a.x[1]), size=lambda a: list(a.x[1].shape[2:])
    ),
    "MaxPool": window({1: sn.max_pool1d, 2: sn.max_pool2d}, size=lambda a: a.kernel_shape),
    "AveragePool": window({1: sn.average_pool1d, 2: sn.average_pool2d}, size=lambda a: a.kernel_shape),
    "GlobalAveragePool": all_of(sn.average_pool2d),
    "GlobalMaxPool": all_of(sn.max_pool2d),
    "Add": joined(sn.add),
    "Sum": joined(sn.add),
    "Mul": joined(sn.multiply),
    "Concat": joined(sn.concat, axis="axis"),
    "Flatten": lambda a: Layer(sn.flatten(), {"x": a.x[0]}) if a.axis == 1 else None,
    "Reshape": lambda a: (
        Layer(sn.reshape(list(a.wanted[0].shape)), {"x": a.x[0][None]}, {}, lambda y: y[0]) if a.x[0].size else None
    ),
    "RNN": recurrent(sn.elman, (0,)),
    "GRU": recurrent(sn.gru, (1, 0, 2), 1, True, reset_after=lambda a: bool(a.linear_before_reset)),
    "LSTM": recurrent(sn.lstm, (0, 2, 3, 1), 2),
    "Attention": attended,
}


# ---------------------------------------------------------------------------------------------- losses
def loss(name: str, *layers: Any) -> Callable[[Case], Judged]:
    """symnet's loss of labels: every place is a sample; classes and ignored labels have their weights."""

    def made(case: Case) -> Judged:
        a = Given(**case.attributes)
        x, labels, weights = (*case.inputs, None)[:3]
        rows = last(x).reshape(-1, x.shape[1])
        y = labels.reshape(-1).astype(np.int64)
        kept = np.ones(len(y)) if a.ignore_index is None else (y != a.ignore_index).astype(float)
        y = np.where(kept > 0, y, 0)
        classes = np.ones(x.shape[1]) if weights is None else weights.astype(float)
        options = {} if weights is None else {"class_weights": classes.tolist()}
        net = sn.Network(input=x.shape[1], layers=list(layers), loss={"name": name, **options})
        found = net.loss("labels, weighted")
        program = Program((*net.forward, *found.equations), (found.ell,)).live()
        values = {"x": rows, "y": y, "sample_weight": kept, "class_weights": classes}
        values = {t.name: numbers(values[t.name]) for t in program.tensors if t.role != "value"}
        take = {
            "none": lambda ell: ell.reshape(labels.shape),
            "sum": lambda ell: ell.sum(),
            "mean": lambda ell: ell.sum() / (classes[y] * kept).sum(),
        }[a.reduction]
        expected = {found.ell.name: np.asarray(case.outputs[0])}
        return Judged(program, values, expected, tuple(map(str, program.equations)), {"N": len(y)}, take)

    return made


LOSSES: Mapping[str, Callable[[Case], Judged]] = {
    "SoftmaxCrossEntropyLoss": loss("softmax_cross_entropy", sn.activation("identity")),
    "NegativeLogLikelihoodLoss": loss("cross_entropy", sn.activation({"formula": "exp(x)"})),
}

# ---------------------------------------------------------------------------------------------- optimizers
WORDS = {"norm_coefficient": "norm", "norm_coefficient_post": "post", "decay_factor": "decay"}
DECAYED = "(norm*W + g)"
OPTIMIZERS: Mapping[str, tuple[str, dict[str, str]]] = {  # ONNX counts steps from 0
    "Adagrad": (
        f"W - rate/(1 + step*decay)*{DECAYED}/(sqrt(h_next) + epsilon)",
        {"h": f"h + {DECAYED}**2"},
    ),
    "Adam": (
        "(1 - post)*(W - rate*where(step > 0, sqrt(1 - beta**step)/(1 - alpha**step), 1)"
        "*v_next/(sqrt(h_next) + epsilon))",
        {"v": f"alpha*v + (1 - alpha)*{DECAYED}", "h": f"beta*h + (1 - beta)*{DECAYED}**2"},
    ),
    "Momentum standard": ("W - rate*v_next", {"v": f"alpha*v + where(step > 0, beta, 1)*{DECAYED}"}),
    "Momentum nesterov": (
        f"W - rate*({DECAYED} + alpha*v_next)",
        {"v": f"alpha*v + where(step > 0, beta, 1)*{DECAYED}"},
    ),
}


def as_optimizer(case: Case) -> Judged:
    """A formula of an optimizer, as users write them, on one or several parameters."""
    attributes = {WORDS.get(key, key): value for key, value in case.attributes.items()}
    name = f"{case.operator.rsplit('.', 1)[1]} {attributes.pop('mode', '')}".rstrip()
    formula, states = OPTIMIZERS[name]
    rate, step, *arrays = case.inputs
    hyper = {"rate": float(rate), **attributes}
    options = {"formula": formula, "states": states, "parameters": hyper}
    row = optimizers.row("", options, "optimizer")
    count = len(arrays) // (2 + len(states))
    groups = [arrays[k * count : (k + 1) * count] for k in range(2 + len(states))]
    pairs = [
        (Tensor(f"W{k}", x.shape, "parameter"), Tensor(f"g{k}", x.shape, "input")) for k, x in enumerate(groups[0])
    ]
    update = optimizers.build(row, pairs)
    new = dict(update.updates)
    wanted = [new[pair[0]] for pair in pairs]
    values = {"step": np.asarray(int(step)), **{k: np.asarray(v, float) for k, v in update.hyper.items()}}
    for k, (parameter, gradient) in enumerate(pairs):
        values |= {parameter.name: groups[0][k], gradient.name: groups[1][k]}
    olds = [[old for old in new if old.name == f"{row.tensor(s)}_W{k}"] for s in states for k in range(count)]
    for (old,), array in zip(olds, [x for group in groups[2:] for x in group], strict=True):
        values[old.name] = array
        wanted.append(new[old])
    expected = dict(zip((t.name for t in wanted), map(np.asarray, case.outputs), strict=True))
    program = Program(update.equations, tuple(wanted))
    return Judged(program, values, expected, (formula, *map(" = ".join, states.items())))


# ---------------------------------------------------------------------------------------------- gradients
GRADIENTS: Mapping[str, tuple[str, ...]] = {  # what ONNX's Gradient is taken of: the last, by A and B
    "Add+Gradient": ("C = A + B",),
    "Add+Mul+Gradient": ("C = A + B", "D = C*A"),
}


def as_gradient(case: Case) -> Judged:
    """The one rule, applied to equations in text."""
    lines = GRADIENTS[case.operator]
    known = {name: Tensor(name, x.shape, "input") for name, x in zip("AB", case.inputs, strict=True)}
    reading = read(lines, known, {}, {}, lambda name: name, case.name, coupled=True)
    output = reading.tensors[reading.defined[-1]]
    found = pullback(reading.equations, {output: 1}, tuple(known.values()))
    wanted = (output, *(found.adjoints[tensor] for tensor in known.values()))
    expected = dict(zip((t.name for t in wanted), map(np.asarray, case.outputs), strict=True))
    values = dict(zip("AB", case.inputs, strict=True))
    return Judged(Program((*reading.equations, *found.equations), wanted), values, expected, lines)


# ---------------------------------------------------------------------------------------------- a case
def as_own(case: Case) -> Judged | None:
    """A case by what symnet has itself: a layer, a loss, an optimizer's formula, a gradient; None if it has none."""
    if case.operator in LOSSES:
        return LOSSES[case.operator](case)
    if case.operator.startswith("ai.onnx.preview.training"):
        return as_optimizer(case)
    return as_gradient(case) if case.operator in GRADIENTS else _as_layer(case)


def _as_layer(case: Case) -> Judged | None:
    if case.operator not in LAYERS or any(np.asarray(x).dtype.kind != "f" for x in case.inputs[:1]):
        return None
    a = Given(**case.attributes, x=list(case.inputs), wanted=case.outputs)
    made = LAYERS[case.operator](a)
    if made is None:
        return None
    net = sn.Network(
        inputs={name: x.shape[1:] for name, x in made.inputs.items()}, layers=[made.layer], loss="squared_error"
    )
    (layer,) = net.spec.layers
    program = net.layer_program(layer.name)
    if made.training:
        program = Program(net.training_forward, program.outputs).live()
    values = {net.inputs[name].name: numbers(x) for name, x in made.inputs.items()}
    tensors = {**net.tensors, **{name: state.tensor for name, state in net._states.items()}}
    given = {f"layer.{name}": x for name, x in made.parameters.items()}
    values |= {tensors[name].name: numbers(x) for name, x in given.items()}
    assert given.keys() == tensors.keys(), (case.name, *given, *tensors)
    expected = {program.outputs[0].name: np.asarray(case.outputs[made.output])}
    samples = len(next(iter(made.inputs.values())))
    return Judged(program, values, expected, tuple(map(str, program.equations)), {"N": samples}, made.take)
