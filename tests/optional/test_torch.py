"""PyTorch as a judge: the reference inputs of its operators (OpInfo) for activations and losses; 1,000 steps of its
optimizers.

A sample that asks for something that symnet defines otherwise is not taken; each test says how many must be left.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
for needed in ("expecttest", "hypothesis"):
    pytest.importorskip(needed, reason="PyTorch's own testing module needs it")

from torch.testing._internal.common_methods_invocations import op_db  # noqa: E402

import symnet as sn  # noqa: E402

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore")
OPERATORS = {(op.name, op.variant_test_name): op for op in op_db}
TOLERANCE = 2e-13
FORMULAS = {
    "logsigmoid": "-softplus(-x)",
    "hardsigmoid": "where(x <= -3, 0, where(x >= 3, 1, x/6 + 1/2))",
    "hardswish": "where(x <= -3, 0, where(x >= 3, x, x*(x + 3)/6))",
    "relu6": "where(x <= 0, 0, where(x >= 6, 6, x))",
    "tanhshrink": "x - tanh(x)",
}


def same(ours: Any, theirs: Any, tolerance: float = TOLERANCE) -> None:
    """Where PyTorch's value is finite; NaN and infinities have a table of their own (symnet.function)."""
    ours, theirs = np.asarray(ours), np.asarray(theirs.detach().numpy() if hasattr(theirs, "detach") else theirs)
    number = np.isfinite(theirs)
    assert number.any()
    np.testing.assert_allclose(ours[number], theirs[number], rtol=tolerance, atol=tolerance)


# ---------------------------------------------------------------------------------------------- activations
def options(name: str, sample: Any) -> Any:
    """The activation that computes what the sample asks for."""
    given = {**dict(zip(POSITIONS.get(name, ()), sample.args, strict=False)), **sample.kwargs}
    given.pop("inplace", None)
    match name:
        case "sigmoid" | "tanh" | "relu" | "softsign" | "mish" | "silu" | "abs" | "sin" | "selu":
            return name
        case "leaky_relu":
            return {"name": "leaky_relu", "gamma": given.get("negative_slope", 0.01)}
        case "elu":
            return {"name": "elu", "gamma": given.get("alpha", 1.0)}
        case "gelu":
            return "gelu_tanh" if given.get("approximate") == "tanh" else "gelu"
        case "softplus":
            beta, threshold = float(given.get("beta", 1)), float(given.get("threshold", 20))
            formula = f"where({beta!r}*x > {threshold!r}, x, softplus({beta!r}*x)/{beta!r})"  # as PyTorch defines it
            return {"formula": formula}
        case "hardtanh":
            low, high = given.get("min_val", -1), given.get("max_val", 1)
            return {"formula": f"where(x <= {low}, {low}, where(x >= {high}, {high}, x))"}
        case "celu":
            alpha = float(given.get("alpha", 1))
            return {"formula": "where(x <= 0, alpha*expm1(x/alpha), x)", "parameters": {"alpha": alpha}}
        case "threshold":
            return {"formula": f"where(x <= {given['threshold']}, {given['value']}, x)"}
        case _:
            return {"formula": FORMULAS[name]}


POSITIONS = {
    "leaky_relu": ("negative_slope",),
    "elu": ("alpha",),
    "celu": ("alpha",),
    "softplus": ("beta", "threshold"),
    "hardtanh": ("min_val", "max_val"),
    "threshold": ("threshold", "value"),
}
PLAIN = ("sigmoid", "tanh", "abs", "sin")
NAMED = (
    "relu",
    "softsign",
    "mish",
    "silu",
    "selu",
    "leaky_relu",
    "elu",
    "gelu",
    "softplus",
    "hardtanh",
    "celu",
    "threshold",
)
# PyTorch has 1/alpha of celu and 1/6 of hardsigmoid in float32, also for float64
LOOSE = {"celu": 2e-7, "hardsigmoid": 3e-8}
FUNCTIONS: dict[str, Any] = {}


def function(chosen: Any, order: int) -> Callable[[Any], Any]:
    key = repr((chosen, order))
    if key not in FUNCTIONS:
        FUNCTIONS[key] = sn.function(chosen).derivative(order)
    return FUNCTIONS[key]


def samples(op: Any) -> Iterator[Any]:
    yield from op.reference_inputs("cpu", torch.float64, requires_grad=True)


@pytest.mark.parametrize("name", [*PLAIN, *NAMED, *FORMULAS])
def test_an_activation_and_its_slope_are_those_of_pytorch_at_its_reference_inputs(name: str) -> None:
    op = OPERATORS[name if name in PLAIN else f"nn.functional.{name}", ""]
    taken = 0
    for sample in samples(op):
        x = sample.input.detach().clone().requires_grad_()
        if x.numel() == 0 or not torch.isfinite(x).any():
            continue
        chosen, at = options(name, sample), x.detach().numpy()
        y = op(x, *sample.args, **sample.kwargs)
        (slope,) = torch.autograd.grad(y.sum(), x)
        finite = np.isfinite(at)
        same(function(chosen, 0)(at)[finite], y.detach().numpy()[finite], LOOSE.get(name, TOLERANCE))
        same(function(chosen, 1)(at)[finite], slope.numpy()[finite], LOOSE.get(name, TOLERANCE))
        taken += 1
    assert taken >= 4


# ---------------------------------------------------------------------------------------------- losses
def risk(z: np.ndarray, y: np.ndarray, loss: Any, weights: Any = None) -> tuple[float, np.ndarray]:
    """The sum of the losses of predictions z (n, K), and its gradient: they are the outputs W x for x = 1, 0, 0, ..."""
    n = len(z)
    network = sn.Network(n, [sn.dense(z.shape[1], name="out", bias=False)], loss)
    value, gradient = network.value_and_gradient({"out.W": z.T}, np.eye(n), y, sample_weight=weights)
    return n * value, n * gradient["out.W"].T


def columns(x: torch.Tensor) -> np.ndarray:
    """Classes last, places before them rows"""
    x = x.detach().unsqueeze(0) if x.ndim == 1 else x.detach()
    return x.movedim(1, -1).reshape(-1, x.shape[1]).numpy()


def classes(sample: Any) -> Any:
    """Cross-entropy: labels or distributions, class weights, label smoothing, labels that are left out"""
    target, given = sample.args[0].detach(), sample.kwargs
    loss: dict[str, Any] = {"name": "softmax_cross_entropy"}
    weight, smoothing = given.get("weight"), given.get("label_smoothing", 0.0)
    if weight is not None and (weight < 0).any():
        return None  # weights below 0 are refused
    if weight is not None:
        loss["class_weights"] = weight.tolist()
    if smoothing:
        loss["label_smoothing"] = smoothing
    if target.is_floating_point():
        return columns(target), loss, None
    y = target.reshape(-1).numpy()
    counted = y != given.get("ignore_index", -100)
    return np.where(counted, y, 0), loss, None if counted.all() else counted.astype(float)


def plain(loss: Any) -> Callable[[Any], Any]:
    return lambda sample: (sample.args[0].detach().numpy(), loss, None)


def huber(sample: Any) -> Any:
    return sample.args[0].detach().numpy(), {"name": "huber", "delta": float(sample.kwargs.get("delta", 1.0))}, None


def poisson(sample: Any) -> Any:
    given, y = sample.kwargs, sample.args[0].detach().numpy()
    if not given.get("log_input", True) or given.get("full", False) or (y < 0).any():
        return None  # rates themselves, or with Stirling's constant; targets below 0 are no counts
    return y, "poisson", None


def binary(sample: Any) -> Any:
    given, y = sample.kwargs, sample.args[0].detach().numpy()
    weight = given.get("weight")
    if (
        given.get("pos_weight") is not None
        or (y < 0).any()
        or (y > 1).any()
        or (weight is not None and weight.min() < 0)
    ):
        return None  # a weight of the terms with y = 1 is `class_weights` here; weights below 0 are refused
    return y, "binary_cross_entropy", None if weight is None else weight.expand(sample.input.shape).numpy()


def margin(sample: Any) -> Any:
    return sample.args[0].detach().numpy(), {"formula": "softplus(-target*prediction)"}, None


def smooth(sample: Any) -> Any:
    beta = float(sample.kwargs.get("beta", 1.0))
    if beta == 0:
        return sample.args[0].detach().numpy(), "absolute_error", None
    inner = f"(prediction - target)**2/(2*{beta!r})"
    formula = f"where(abs(prediction - target) < {beta!r}, {inner}, abs(prediction - target) - {beta!r}/2)"
    return sample.args[0].detach().numpy(), {"formula": formula}, None


LOSSES: dict[str, tuple[Callable[[Any], Any], int]] = {
    "cross_entropy": (classes, 8),
    "mse_loss": (plain("squared_error"), 3),
    "l1_loss": (plain("absolute_error"), 3),
    "huber_loss": (huber, 3),
    "smooth_l1_loss": (smooth, 3),
    "soft_margin_loss": (margin, 3),
    "poisson_nll_loss": (poisson, 3),
    "binary_cross_entropy_with_logits": (binary, 3),
}


ROWS = 400  # of one network; what is beyond is left


def taken(name: str) -> Iterator[tuple[Any, ...]]:
    """(loss, predictions, targets, PyTorch's losses, PyTorch's slopes, weights) of each sample, a row for each loss"""
    op, (read, _) = OPERATORS[f"nn.functional.{name}", ""], LOSSES[name]
    for sample in samples(op):
        x, found = sample.input.detach().clone().requires_grad_(), read(sample)
        if x.numel() == 0 or found is None:
            continue
        target, loss, weights = found
        arguments = {key: v for key, v in sample.kwargs.items() if key not in ("reduction", "size_average", "reduce")}
        value = op(x, *sample.args, **arguments, reduction="none")
        (slope,) = torch.autograd.grad(value.sum(), x)
        if read is classes:
            z, expected = columns(x), columns(slope)
        elif value.shape != x.shape:
            continue  # a prediction that stands for several
        else:
            z, expected = x.detach().numpy().reshape(-1, 1), slope.numpy().reshape(-1, 1)
            target = np.broadcast_to(target, x.shape).reshape(-1, 1)
        weights = np.ones(len(z)) if weights is None else weights.reshape(-1)
        yield loss, z, target, value.detach().numpy().reshape(-1), expected, weights


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_and_its_gradient_are_those_of_pytorch_at_its_reference_inputs(name: str) -> None:
    groups: dict[str, list[tuple[Any, ...]]] = {}
    for sample in taken(name):
        groups.setdefault(repr((sample[0], sample[1].shape[1], sample[2].ndim)), []).append(sample)
    assert sum(map(len, groups.values())) >= LOSSES[name][1]
    for group in groups.values():
        z, target, theirs, expected, weights = (
            np.concatenate(parts)[:ROWS] for parts in list(zip(*group, strict=True))[1:]
        )
        value, gradient = risk(z, target, group[0][0], None if (weights == 1).all() else weights)
        np.testing.assert_allclose(value, theirs.sum(), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(gradient, expected, rtol=1e-11, atol=1e-13)


# ---------------------------------------------------------------------------------------------- optimizers
STEPS, SAMPLES, BATCH = 1000, 40, 8
OPTIMIZERS: dict[str, tuple[Any, Callable[..., Any]]] = {
    "gradient_descent": ({"learning_rate": 0.05}, lambda p: torch.optim.SGD(p, 0.05)),
    "momentum": ({"learning_rate": 0.02}, lambda p: torch.optim.SGD(p, 0.02, 0.9)),
    "nesterov": ({"learning_rate": 0.02}, lambda p: torch.optim.SGD(p, 0.02, 0.9, nesterov=True)),
    "adagrad": ({}, torch.optim.Adagrad),
    "rmsprop": ({}, torch.optim.RMSprop),
    "adadelta": ({}, torch.optim.Adadelta),
    "adam": ({}, torch.optim.Adam),
    "adamw": ({"decay": ["*"]}, torch.optim.AdamW),
    "nadam": ({}, torch.optim.NAdam),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_thousand_steps_are_those_of_pytorch(name: str) -> None:
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(SAMPLES, 5)), rng.integers(0, 3, SAMPLES)
    own, made = OPTIMIZERS[name]
    net = sn.Network(5, [sn.dense(8, "tanh", name="hidden"), sn.dense(3, name="out")], "softmax_cross_entropy", l2=1e-2)
    model = net.compile({"name": name, **own}, "float64", seed=1)
    theirs = {key: torch.tensor(value, requires_grad=True) for key, value in model.parameters.items()}
    loss = model.prepare(X, y, BATCH, shuffle=False).run(STEPS)

    optimizer = made(list(theirs.values()))
    data, labels = torch.tensor(X), torch.tensor(y)
    for step in itertools.islice(itertools.cycle(range(0, SAMPLES, BATCH)), STEPS):
        part = slice(step, step + BATCH)
        hidden = torch.tanh(data[part] @ theirs["hidden.W"].T + theirs["hidden.b"])
        value = torch.nn.functional.cross_entropy(hidden @ theirs["out.W"].T + theirs["out.b"], labels[part])
        penalty = 0.5e-2 * sum((theirs[key] ** 2).sum() for key in ("hidden.W", "out.W"))
        optimizer.zero_grad()
        (value + penalty).backward()
        optimizer.step()
    np.testing.assert_allclose(loss, float(value), rtol=1e-8)
    for key, array in model.parameters.items():
        np.testing.assert_allclose(array, theirs[key].detach().numpy(), rtol=1e-7, atol=1e-9)
