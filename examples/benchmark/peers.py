"""How it is trained: symnet and each peer at its best usual settings.

In: a workload and the number of threads.  Out: run(steps) -> data loss, without the penalty, of the last of these
steps, before its update; a first call begins at the first parameters and the first batch, the next goes on from there.
A peer imports its library when it is asked for; the table PEERS is at the end.

Adam everywhere is  W - alpha m' / (sqrt(v') + epsilon),  m' = m/(1 - beta1^t), v' = v/(1 - beta2^t), but in
scikit-learn, which adds epsilon before v is corrected; with that change NumPy's losses are equal to its.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from typing import Any

import by_hand
import numpy as np
from limit import limit
from workloads import (
    BETA1,
    BETA2,
    EPSILON,
    GATES,
    NORM_EPSILON,
    Layer,
    Run,
    Unsuitable,
    Workload,
    batches,
    data,
    first_parameters,
)

FIT = 100  # steps from which on scikit-learn's fit is taken for a workload of one batch: partial_fit checks every call


# ------------------------------------------------------------------------------------------ symnet
def symnet(w: Workload, threads: int) -> Run:
    return symnet_model(w, threads).prepare(*data(w), batch_size=w.batch, shuffle=False).run


def symnet_alone(w: Workload, threads: int) -> Run:
    return symnet(w, 1)


def symnet_model(w: Workload, threads: int = 1) -> Any:
    import symnet as sn

    def made(layer: Layer, name: str) -> Any:
        match layer.kind:
            case "dense":
                chosen = {"name": "swish", "learned": ["beta"]} if layer.activation == "swish" else layer.activation
                return sn.dense(layer.units, activation=chosen, name=name)
            case "elman" | "gru" | "lstm":
                return getattr(sn, layer.kind)(layer.units, name=name)
            case "conv":
                return sn.conv2d(layer.units, layer.size, activation=layer.activation, name=name)
            case "max_pool":
                return sn.max_pool2d(layer.size, name=name)
            case "transformer":
                return sn.transformer(layer.size, causal=True, hidden=layer.units, name=name)
        return sn.flatten(name=name)

    layers = [made(layer, f"layer{place}") for place, layer in enumerate(w.layers)]
    loss = {"mse": "squared_error"}.get(w.loss, "softmax_cross_entropy")
    net = sn.Network(input=w.input, layers=layers, loss=loss, l2=w.l2)
    model = net.compile({"name": w.optimizer, "learning_rate": w.learning_rate}, w.dtype, threads=threads)
    for place, (names, values) in enumerate(zip(w.parameters, first_parameters(w))):
        for short, value in zip(names, values):
            name = f"layer{place}.{short}"
            matrix = value.T if value.ndim == 2 else value  # outputs first; gates and heads on axes of their own
            model.parameters[name] = matrix.reshape(net.parameters[name])
    return model


# ------------------------------------------------------------------------------------------ scikit-learn
def sklearn(w: Workload, threads: int) -> Run:
    """MLPClassifier or MLPRegressor, as many steps in one call as it makes without being asked again.

    Its penalty is divided by the rows of a batch; its squared error is half the sum over outputs in the gradient, half
    their mean in the loss.
    """
    import warnings

    from sklearn.neural_network import MLPClassifier, MLPRegressor

    activation = w.layers[0].activation
    if not w.is_dense or activation not in ("relu", "tanh") or w.layers[-1].activation != "identity":
        raise Unsuitable("it has dense layers alone, neither swish nor an activation of the outputs")
    warnings.filterwarnings("ignore")
    regression = w.loss == "mse"
    model = (MLPRegressor if regression else MLPClassifier)(
        hidden_layer_sizes=w.sizes[1:-1],
        activation=activation,
        solver=w.optimizer,
        alpha=w.l2 * w.batch,
        batch_size=w.batch,
        learning_rate_init=w.learning_rate * (2 / w.sizes[-1] if regression and w.optimizer == "sgd" else 1),
        momentum=0.0,
        nesterovs_momentum=False,
        epsilon=EPSILON / 2 * w.sizes[-1] if regression else EPSILON,
        shuffle=False,
        tol=0,
        n_iter_no_change=10**9,
        warm_start=w.batches == 1,
    )
    X, y = data(w)
    y = y.ravel() if regression and y.shape[1] == 1 else y
    first = first_parameters(w)
    classes = {} if regression else {"classes": np.arange(w.sizes[-1])}
    position = 0

    def part(rows: slice) -> None:
        model.partial_fit(X[rows], y[rows], **classes)

    def prepare() -> None:
        """The first parameters, and an optimizer that has seen nothing: both are made by a first call."""
        part(slice(0, w.batch))
        for ours, theirs in zip(first, zip(model.coefs_, model.intercepts_)):
            for value, array in zip(ours, theirs):
                array[...] = value
        del model._optimizer

    def penalty() -> float:
        return w.l2 / 2 * sum(float(np.vdot(W, W)) for W in model.coefs_)

    def run(steps: int) -> float:
        nonlocal position
        if (
            w.batches == 1 and steps >= FIT
        ):  # one call for all epochs, each of them a step, beginning with fresh moments
            model.max_iter = steps
            model.fit(X, y)
            return (2 if regression else 1) * float(model.loss_)
        before = penalty() if steps == 1 and w.l2 else 0.0
        while steps:
            count = min(steps, w.batches - position)
            part(slice(position * w.batch, (position + count) * w.batch))
            position = (position + count) % w.batches
            steps -= count
        return (2 if regression else 1) * float(model.loss_) - before

    prepare()
    return run


# ------------------------------------------------------------------------------------------ PyTorch
def torch_eager(w: Workload, threads: int) -> Run:
    return _torch(w, threads, compiled=False)


def torch_compile(w: Workload, threads: int) -> Run:
    """Forward and backward compiled.  To compile the optimizer, too, was not faster than its fused one (digits)."""
    return _torch(w, threads, compiled=True)


def _torch(w: Workload, threads: int, compiled: bool) -> Run:
    import torch

    torch.set_num_threads(threads)
    functional = torch.nn.functional
    layers = [[torch.nn.Parameter(torch.tensor(p)) for p in layer] for layer in first_parameters(w)]
    everything = [p for layer in layers for p in layer]
    groups = [
        {"params": [p for p in everything if p.ndim > 1], "weight_decay": w.l2},
        {"params": [p for p in everything if p.ndim < 2], "weight_decay": 0.0},
    ]
    kind = torch.optim.Adam if w.optimizer == "adam" else torch.optim.SGD
    optimizer = kind(groups, lr=w.learning_rate, fused=True)

    def activated(a: Any, layer: Layer, beta: list[Any]) -> Any:
        match layer.activation:
            case "relu":
                return torch.relu(a)
            case "tanh":
                return torch.tanh(a)
            case "swish":
                return a * torch.sigmoid(beta[0] * a)
        return a

    def recurrence(x: Any, layer: Layer, W: Any, U: Any, b: Any, c: Any = None) -> Any:
        """PyTorch's own loop in C++.  It has a second bias for all gates: 0 but for c."""
        h = x.new_zeros(1, len(x), layer.units)
        inside = torch.zeros_like(b)
        if c is not None:
            inside = torch.cat([inside[: 2 * layer.units], c])
        kind = {"elman": torch.rnn_tanh, "gru": torch.gru, "lstm": torch.lstm}[layer.kind]
        state = (h, h) if layer.kind == "lstm" else h
        return kind(x, state, (W.t(), U.t(), b, inside), True, 1, 0.0, True, False, True)[0][:, -1]

    def spelled_out(x: Any, layer: Layer, W: Any, U: Any, b: Any, c: Any = None) -> Any:
        """Step by step: what can be compiled."""
        z = (x @ W + b).transpose(0, 1)
        h = state = x.new_zeros(len(x), layer.units)
        for now in z:
            match layer.kind:
                case "elman":
                    h = torch.tanh(torch.addmm(now, h, U))
                case "gru":
                    r, p, g = now.chunk(3, 1)
                    inner_r, inner_p, inner_g = (h @ U).chunk(3, 1)
                    p = torch.sigmoid(p + inner_p)
                    h = torch.lerp(torch.tanh(g + torch.sigmoid(r + inner_r) * (inner_g + c)), h, p)
                case "lstm":
                    i, f, g, o = torch.addmm(now, h, U).chunk(4, 1)
                    state = torch.sigmoid(f) * state + torch.sigmoid(i) * torch.tanh(g)
                    h = torch.sigmoid(o) * torch.tanh(state)
        return h

    def transformer(x: Any, layer: Layer, *p: Any) -> Any:
        (gamma1, beta1, Wq, bq, Wk, bk, Wv, bv, Wo, bo, gamma2, beta2, W1, b1, W2, b2), width = p, x.shape[-1:]
        a = functional.layer_norm(x, width, gamma1, beta1, NORM_EPSILON)
        heads = [(a @ W + b).unflatten(-1, (layer.size, -1)).transpose(1, 2) for W, b in ((Wq, bq), (Wk, bk), (Wv, bv))]
        mixed = functional.scaled_dot_product_attention(*heads, is_causal=True)
        x = x + mixed.transpose(1, 2).flatten(2) @ Wo + bo
        a = functional.layer_norm(x, width, gamma2, beta2, NORM_EPSILON)
        return x + functional.gelu(a @ W1 + b1) @ W2 + b2

    def through(layer: Layer, a: Any, p: list[Any]) -> Any:
        match layer.kind:
            case "dense":
                return activated(torch.addmm(p[1], a, p[0]), layer, p[2:])
            case "elman" | "gru" | "lstm":
                return (spelled_out if compiled else recurrence)(a, layer, *p)
            case "conv":  # both are in the memory format channels_last, PyTorch's fastest
                convolved = functional.conv2d(a.permute(0, 3, 1, 2), p[0].permute(0, 3, 1, 2), p[1])
                return activated(convolved.permute(0, 2, 3, 1), layer, [])
            case "max_pool":
                return functional.max_pool2d(a.permute(0, 3, 1, 2), layer.size).permute(0, 2, 3, 1)
            case "transformer":
                return transformer(a, layer, *p)
        return a.flatten(1)

    def loss_of(x: Any, y: Any) -> Any:
        a = x
        for layer, p in zip(w.layers, layers):
            a = through(layer, a, p)
        return functional.cross_entropy(a, y) if w.loss == "cross_entropy" else functional.mse_loss(a, y)

    if compiled:
        loss_of = torch.compile(loss_of, dynamic=False, fullgraph=True)
    coming = cycle([(torch.from_numpy(x), torch.from_numpy(y)) for x, y in batches(w)])

    def run(steps: int) -> float:
        loss = None
        for _ in range(steps):
            loss = loss_of(*next(coming))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return loss.item()

    return run


# ------------------------------------------------------------------------------------------ JAX
def jax_jit(w: Workload, threads: int) -> Run:
    """One call of a compiled step for each step."""
    import jax

    step, state = _jax(w)
    compiled = jax.jit(step, donate_argnums=0)
    coming = cycle([(jax.numpy.asarray(x), jax.numpy.asarray(y)) for x, y in batches(w)])

    def run(steps: int) -> float:
        nonlocal state
        loss = None
        for _ in range(steps):
            state, loss = compiled(state, *next(coming))
        return float(loss)

    return run


def jax_loop(w: Workload, threads: int) -> Run:
    """One call for all steps: a compiled loop around the step, all batches on the device.

    As fast as jax.lax.scan, and compiled once for any number of steps.
    """
    import jax
    import jax.numpy as jnp

    step, state = _jax(w)

    @partial(jax.jit, donate_argnums=0)
    def many(state: Any, steps: Any, batches: Any) -> Any:
        def body(_: Any, carried: Any) -> Any:
            state, _ = carried
            batch = [jax.lax.dynamic_index_in_dim(part, state[-1] % w.batches, keepdims=False) for part in batches]
            return step(state, *batch)

        return jax.lax.fori_loop(0, steps, body, (state, jnp.zeros((), w.dtype)))

    stacked = [jnp.asarray(part.reshape(w.batches, w.batch, *part.shape[1:])) for part in data(w)]

    def run(steps: int) -> float:
        nonlocal state
        state, loss = many(state, steps, stacked)
        return float(loss)

    return run


def _jax(w: Workload) -> tuple[Callable[..., Any], Any]:
    """(state, x, y -> the next state and the loss; the first state: parameters, m, v, steps made)"""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", w.dtype == "float64")
    trees = jax.tree_util.tree_map

    def activated(a: Any, layer: Layer, beta: Any) -> Any:
        match layer.activation:
            case "relu":
                return jax.nn.relu(a)
            case "tanh":
                return jnp.tanh(a)
            case "swish":
                return a * jax.nn.sigmoid(beta[0] * a)
        return a

    def recurrence(x: Any, layer: Layer, W: Any, U: Any, b: Any, c: Any = None) -> Any:
        def body(carried: Any, z: Any) -> Any:
            h, state = carried
            match layer.kind:
                case "elman":
                    h = jnp.tanh(z + h @ U)
                case "gru":
                    (r, p, g), (inner_r, inner_p, inner_g) = (jnp.split(part, 3, 1) for part in (z, h @ U))
                    p = jax.nn.sigmoid(p + inner_p)
                    g = jnp.tanh(g + jax.nn.sigmoid(r + inner_r) * (inner_g + c))
                    h = (1 - p) * g + p * h
                case "lstm":
                    i, f, g, o = jnp.split(z + h @ U, GATES["lstm"], 1)
                    state = jax.nn.sigmoid(f) * state + jax.nn.sigmoid(i) * jnp.tanh(g)
                    h = jax.nn.sigmoid(o) * jnp.tanh(state)
            return (h, state), None

        zero = jnp.zeros((len(x), layer.units), x.dtype)
        return jax.lax.scan(body, (zero, zero), jnp.swapaxes(x @ W + b, 0, 1))[0][0]

    def normalized(x: Any, gamma: Any, beta: Any) -> Any:
        centred = x - x.mean(-1, keepdims=True)
        return centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + NORM_EPSILON) * gamma + beta

    def transformer(x: Any, layer: Layer, *p: Any) -> Any:
        gamma1, beta1, Wq, bq, Wk, bk, Wv, bv, Wo, bo, gamma2, beta2, W1, b1, W2, b2 = p
        a, apart = normalized(x, gamma1, beta1), (*x.shape[:2], layer.size, -1)
        heads = [(a @ W + b).reshape(apart) for W, b in ((Wq, bq), (Wk, bk), (Wv, bv))]
        x = x + jax.nn.dot_product_attention(*heads, is_causal=True).reshape(x.shape) @ Wo + bo
        return x + jax.nn.gelu(normalized(x, gamma2, beta2) @ W1 + b1, approximate=False) @ W2 + b2

    def through(layer: Layer, a: Any, p: Any) -> Any:
        match layer.kind:
            case "dense":
                return activated(a @ p[0] + p[1], layer, p[2:])
            case "elman" | "gru" | "lstm":
                return recurrence(a, layer, *p)
            case "conv":
                axes = ("NHWC", "OHWI", "NHWC")
                convolved = jax.lax.conv_general_dilated(a, p[0], (1, 1), "VALID", dimension_numbers=axes)
                return activated(convolved + p[1], layer, ())
            case "max_pool":
                window = (1, layer.size, layer.size, 1)
                return jax.lax.reduce_window(a, -jnp.inf, jax.lax.max, window, window, "VALID")
            case "transformer":
                return transformer(a, layer, *p)
        return a.reshape(len(a), -1)

    def loss_of(parameters: Any, x: Any, y: Any) -> Any:
        a = x
        for layer, p in zip(w.layers, parameters):
            a = through(layer, a, p)
        if w.loss == "mse":
            return jnp.mean((a - y) ** 2)
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(a), y[:, None], axis=1))

    def step(state: Any, x: Any, y: Any) -> Any:
        parameters, m, v, t = state
        loss, gradients = jax.value_and_grad(loss_of)(parameters, x, y)
        t = t + 1
        if w.l2:
            gradients = trees(lambda g, p: g + w.l2 * p if p.ndim > 1 else g, gradients, parameters)
        if w.optimizer == "sgd":
            return (trees(lambda p, g: p - w.learning_rate * g, parameters, gradients), m, v, t), loss
        rate = w.learning_rate / (1 - jnp.asarray(BETA1, w.dtype) ** t)
        correction = jax.lax.rsqrt(1 - jnp.asarray(BETA2, w.dtype) ** t)
        m = trees(lambda m, g: BETA1 * m + (1 - BETA1) * g, m, gradients)
        v = trees(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, v, gradients)
        new = lambda p, m, v: p - rate * m / (jnp.sqrt(v) * correction + EPSILON)
        return (trees(new, parameters, m, v), m, v, t), loss

    parameters = trees(jnp.asarray, first_parameters(w))
    zeros = lambda: trees(jnp.zeros_like, parameters) if w.optimizer == "adam" else []
    return step, (parameters, zeros(), zeros(), jnp.zeros((), jnp.int32))


# ------------------------------------------------------------------------------------------ PyTensor
def pytensor_numba(w: Workload, threads: int) -> Run:
    return _pytensor(w, "NUMBA")


def pytensor_c(w: Workload, threads: int) -> Run:
    return _pytensor(w, "CVM")


def _pytensor(w: Workload, mode: str) -> Run:
    import pytensor
    import pytensor.tensor as pt

    if any(layer.kind not in ("dense", "elman") for layer in w.layers):
        raise Unsuitable("it has no layers; dense and Elman are written here")
    one = np.dtype(w.dtype).type
    pytensor.config.floatX = w.dtype
    layers = [[pytensor.shared(p) for p in layer] for layer in first_parameters(w)]
    coming = batches(w)
    x, y = (pt.tensor(dtype=part.dtype, shape=part.shape) for part in coming[0])
    a = x
    for layer, (W, *others) in zip(w.layers, layers):
        z = a @ W + others[0] if layer.kind == "dense" else a
        match layer.kind, layer.activation:
            case "dense", "identity":
                a = z
            case "dense", "relu":
                a = pt.maximum(z, one(0))
            case "dense", "tanh":
                a = pt.tanh(z)
            case "dense", "swish":
                a = z * pt.sigmoid(others[1] * z)
            case "elman", _:  # one product over all steps, then spelled out
                (time, features), (U, b) = w.input, others
                z = (a.reshape((w.batch * time, features)) @ W + b).reshape((w.batch, time, layer.units))
                a = pt.tanh(z[:, 0])
                for step in range(1, time):
                    a = pt.tanh(z[:, step] + a @ U)
    if w.loss == "mse":
        loss = ((a - y) ** 2).mean()
    else:
        loss = -pt.special.log_softmax(a, axis=1)[pt.arange(w.batch), y].mean()
    parameters = [p for layer in layers for p in layer]
    steps_made = pytensor.shared(np.zeros((), w.dtype))
    t = steps_made + one(1)
    updates = [(steps_made, t)]
    for p, g in zip(parameters, pytensor.grad(loss, parameters)):
        if w.l2 and p.ndim == 2:
            g = g + one(w.l2) * p
        if w.optimizer == "sgd":
            updates.append((p, p - one(w.learning_rate) * g))
            continue
        m, v = (pytensor.shared(np.zeros_like(p.get_value())) for _ in "mv")
        m_next = one(BETA1) * m + one(1 - BETA1) * g
        v_next = one(BETA2) * v + one(1 - BETA2) * g * g
        rate = one(w.learning_rate) / (one(1) - one(BETA1) ** t)
        root = pt.sqrt(v_next) / pt.sqrt(one(1) - one(BETA2) ** t)
        updates += [(m, m_next), (v, v_next), (p, p - rate * m_next / (root + one(EPSILON)))]
    compiled = pytensor.function([x, y], loss, updates=updates, mode=mode)
    compiled.trust_input = True
    following = cycle(coming)

    def run(steps: int) -> float:
        loss = 0.0
        for _ in range(steps):
            loss = compiled(*next(following))
        return float(loss)

    return run


# ------------------------------------------------------------------------------------------ the table
@dataclass(frozen=True, slots=True)
class Peer:
    """label: in the table.  needs: the module to import.  distribution: its name for a version.

    caches: what it compiles can be kept on disk.  tolerance: of the loss, relative, where the formula is another one.
    """

    label: str
    needs: str
    distribution: str
    start: Callable[[Workload, int], Run]
    caches: bool = False
    tolerance: float | None = None


OURS, ALONE, LIMIT = "symnet", "symnet_alone", "limit"
PEERS = {
    OURS: Peer("symnet", "symnet", "symnet", symnet, caches=True),
    ALONE: Peer("symnet, one thread", "symnet", "symnet", symnet_alone, caches=True),
    "numpy": Peer("NumPy", "numpy", "numpy", by_hand.train),
    "sklearn": Peer("scikit-learn", "sklearn", "scikit-learn", sklearn, tolerance=5e-3),
    "torch_eager": Peer("PyTorch eager", "torch", "torch", torch_eager),
    "torch_compile": Peer("torch.compile", "torch", "torch", torch_compile, caches=True),
    "jax_jit": Peer("JAX jit", "jax", "jax", jax_jit, caches=True),
    "jax_loop": Peer("JAX jit of a loop", "jax", "jax", jax_loop, caches=True),
    "pytensor_numba": Peer("PyTensor Numba", "pytensor", "pytensor", pytensor_numba, caches=True),
    LIMIT: Peer("limit", "symnet", "symnet", limit),
    "pytensor_c": Peer("PyTensor C", "pytensor", "pytensor", pytensor_c, caches=True),
}
