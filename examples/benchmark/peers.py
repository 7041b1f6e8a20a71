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
from workloads import BETA1, BETA2, EPSILON, Run, Workload, batches, data, first_parameters

FIT = 100  # steps from which on scikit-learn's fit is taken for a workload of one batch: partial_fit checks every call


class Unsuitable(Exception):
    """Why a peer cannot train a workload."""


# ------------------------------------------------------------------------------------------ symnet
def symnet(w: Workload, threads: int) -> Run:
    import symnet as sn

    chosen: Any = {"name": "swish", "learned": ["beta"]} if w.activation == "swish" else w.activation
    layers = [
        sn.dense(units, activation=chosen if w.is_activated(layer) else "identity", name=f"layer{layer}")
        for layer, units in enumerate(w.sizes[1:])
    ]
    loss = {"mse": "squared_error", "cross_entropy": "softmax_cross_entropy"}[w.loss]
    net = sn.Network(input=w.sizes[0], layers=layers, loss=loss, l2=w.l2)
    model = net.compile(optimizer={"name": w.optimizer, "learning_rate": w.learning_rate}, dtype=w.dtype)
    for layer, (W, *others) in enumerate(first_parameters(w)):
        for name, value in zip(("W", "b", "beta"), (W.T, *others)):
            model.parameters[f"layer{layer}.{name}"] = value
    return model.prepare(*data(w), batch_size=w.batch, shuffle=False).run


# ------------------------------------------------------------------------------------------ scikit-learn
def sklearn(w: Workload, threads: int) -> Run:
    """MLPClassifier or MLPRegressor, as many steps in one call as it makes without being asked again.

    Its penalty is divided by the rows of a batch; its squared error is half the sum over outputs in the gradient, half
    their mean in the loss.
    """
    import warnings

    from sklearn.neural_network import MLPClassifier, MLPRegressor

    if w.activation not in ("relu", "tanh") or w.to_the_end:
        raise Unsuitable("it has neither swish nor an activation of the outputs")
    warnings.filterwarnings("ignore")
    regression = w.loss == "mse"
    model = (MLPRegressor if regression else MLPClassifier)(
        hidden_layer_sizes=w.sizes[1:-1],
        activation=w.activation,
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
    weights = [layer[0] for layer in layers]
    groups = [
        {"params": weights, "weight_decay": w.l2},
        {"params": [p for layer in layers for p in layer[1:]], "weight_decay": 0.0},
    ]
    kind = torch.optim.Adam if w.optimizer == "adam" else torch.optim.SGD
    optimizer = kind(groups, lr=w.learning_rate, fused=True)

    def loss_of(x: Any, y: Any) -> Any:
        a = x
        for layer, (W, b, *beta) in enumerate(layers):
            a = torch.addmm(b, a, W)
            if w.is_activated(layer):
                match w.activation:
                    case "relu":
                        a = torch.relu(a)
                    case "tanh":
                        a = torch.tanh(a)
                    case "swish":
                        a = a * torch.sigmoid(beta[0] * a)
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

    def loss_of(parameters: Any, x: Any, y: Any) -> Any:
        a = x
        for layer, (W, b, *beta) in enumerate(parameters):
            a = a @ W + b
            if w.is_activated(layer):
                match w.activation:
                    case "relu":
                        a = jax.nn.relu(a)
                    case "tanh":
                        a = jnp.tanh(a)
                    case "swish":
                        a = a * jax.nn.sigmoid(beta[0] * a)
        if w.loss == "mse":
            return jnp.mean((a - y) ** 2)
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(a), y[:, None], axis=1))

    def step(state: Any, x: Any, y: Any) -> Any:
        parameters, m, v, t = state
        loss, gradients = jax.value_and_grad(loss_of)(parameters, x, y)
        t = t + 1
        if w.l2:
            gradients = trees(lambda g, p: g + w.l2 * p if p.ndim == 2 else g, gradients, parameters)
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
def pytensor(w: Workload, threads: int) -> Run:
    import pytensor
    import pytensor.tensor as pt

    one = np.dtype(w.dtype).type
    pytensor.config.floatX = w.dtype
    layers = [[pytensor.shared(p) for p in layer] for layer in first_parameters(w)]
    coming = batches(w)
    x, y = (pt.tensor(dtype=part.dtype, shape=part.shape) for part in coming[0])
    a = x
    for layer, (W, b, *beta) in enumerate(layers):
        a = a @ W + b
        if w.is_activated(layer):
            match w.activation:
                case "relu":
                    a = pt.maximum(a, one(0))
                case "tanh":
                    a = pt.tanh(a)
                case "swish":
                    a = a * pt.sigmoid(beta[0] * a)
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
    compiled = pytensor.function([x, y], loss, updates=updates, mode="NUMBA")
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

    caches: what it compiles is kept on disk.  tolerance: of the loss, relative, where the formula is another one.
    """

    label: str
    needs: str
    distribution: str
    start: Callable[[Workload, int], Run]
    caches: bool = False
    tolerance: float | None = None


OURS = "symnet"
PEERS = {
    OURS: Peer("symnet", "symnet", "symnet", symnet, caches=True),
    "numpy": Peer("NumPy", "numpy", "numpy", by_hand.train),
    "sklearn": Peer("scikit-learn", "sklearn", "scikit-learn", sklearn, tolerance=5e-3),
    "torch_eager": Peer("PyTorch eager", "torch", "torch", torch_eager),
    "torch_compile": Peer("torch.compile", "torch", "torch", torch_compile, caches=True),
    "jax_jit": Peer("JAX jit", "jax", "jax", jax_jit),
    "jax_loop": Peer("JAX jit of a loop", "jax", "jax", jax_loop),
    "pytensor": Peer("PyTensor (Numba)", "pytensor", "pytensor", pytensor, caches=True),
}
