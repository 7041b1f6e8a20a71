"""The training step in NumPy, written by hand: a peer, and a second opinion on every derivative.

All parameters, and all gradients, are parts of one vector, so that the optimizer is a few calls.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle

import numpy as np
from workloads import BETA1, BETA2, EPSILON, Layer, Run, Unsuitable, Workload, batches, first_parameters

Saved = tuple[np.ndarray, ...]


# a layer forward: -> what it gives, and what its way back needs; back: fills the gradients, gives that of its input
def dense(layer: Layer, a: np.ndarray, W: np.ndarray, b: np.ndarray, *beta: np.ndarray) -> tuple[np.ndarray, Saved]:
    z = a @ W
    z += b
    match layer.activation:
        case "relu":
            return np.maximum(z, 0), (a, z > 0)
        case "tanh":
            f = np.tanh(z)
            return f, (a, 1 - f * f)
        case "swish":
            s = 1 / (1 + np.exp(-beta[0] * z))
            f = z * s
            return f, (a, s + beta[0] * f * (1 - s), z * f * (1 - s))  # by z, and by beta
    return z, (a,)


def dense_back(delta: np.ndarray, saved: Saved, parameters: Saved, gradients: Saved, wanted: bool) -> np.ndarray | None:
    a, *slope = saved
    dW, db, *dbeta = gradients
    if dbeta:
        dbeta[0][...] = np.vdot(delta, slope[1])
    if slope:
        delta *= slope[0]
    np.matmul(a.T, delta, out=dW)
    np.sum(delta, axis=0, out=db)
    return delta @ parameters[0].T if wanted else None


def elman(layer: Layer, x: np.ndarray, W: np.ndarray, U: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, Saved]:
    rows, time, features = x.shape
    x = np.ascontiguousarray(x.transpose(1, 0, 2)).reshape(time * rows, features)
    z = x @ W
    z += b
    z = z.reshape(time, rows, layer.units)
    h = np.zeros((time + 1, rows, layer.units), x.dtype)
    for t in range(time):
        np.tanh(h[t] @ U + z[t], out=h[t + 1])
    return h[time], (x, h)


def elman_back(delta: np.ndarray, saved: Saved, parameters: Saved, gradients: Saved, wanted: bool) -> np.ndarray | None:
    x, h = saved
    _, U, _ = parameters
    dW, dU, db = gradients
    time, (rows, units) = len(h) - 1, delta.shape
    dz = np.empty((time, rows, units), x.dtype)
    for t in reversed(range(time)):
        np.multiply(delta, 1 - h[t + 1] * h[t + 1], out=dz[t])
        if t:
            delta = dz[t] @ U.T
    flat = dz.reshape(time * rows, units)
    np.matmul(x.T, flat, out=dW)
    np.matmul(h[:time].reshape(time * rows, units).T, flat, out=dU)
    np.sum(flat, axis=0, out=db)
    assert not wanted, "it is the first layer"
    return None


KINDS = {"dense": (dense, dense_back), "elman": (elman, elman_back)}


def train(w: Workload, threads: int) -> Run:
    if any(layer.kind not in KINDS for layer in w.layers):
        raise Unsuitable("by hand are dense and Elman alone")
    first = first_parameters(w)
    vector = np.concatenate([p.ravel() for layer in first for p in layer])
    slopes, decay = np.zeros_like(vector), np.zeros_like(vector)
    views: list[list[tuple[np.ndarray, ...]]] = []
    for flat in (vector, slopes, decay):
        end, parts = 0, []
        for layer in first:
            parts.append(tuple(flat[(end := end + p.size) - p.size : end].reshape(p.shape) for p in layer))
        views.append(parts)
    parameters, gradients, decays = views
    for W, *_ in decays:
        W[...] = w.l2
    one = vector.dtype.type

    def adam() -> Callable[[], None]:
        m, v, u, t = np.zeros_like(vector), np.zeros_like(vector), np.empty_like(vector), 0

        def update() -> None:
            nonlocal t
            t += 1
            np.multiply(m, one(BETA1), out=m)
            np.multiply(slopes, one(1 - BETA1), out=u)
            np.add(m, u, out=m)
            np.multiply(v, one(BETA2), out=v)
            np.multiply(slopes, slopes, out=u)
            np.multiply(u, one(1 - BETA2), out=u)
            np.add(v, u, out=v)
            np.sqrt(v, out=u)
            np.multiply(u, one((1 - BETA2**t) ** -0.5), out=u)
            np.add(u, one(EPSILON), out=u)
            np.divide(m, u, out=u)
            np.multiply(u, one(w.learning_rate / (1 - BETA1**t)), out=u)
            np.subtract(vector, u, out=vector)

        return update

    def descent() -> None:
        np.subtract(vector, one(w.learning_rate) * slopes, out=vector)

    update = adam() if w.optimizer == "adam" else descent

    def step(x: np.ndarray, y: np.ndarray) -> float:
        a, kept = x, []
        for layer, p in zip(w.layers, parameters):
            a, saved = KINDS[layer.kind][0](layer, a, *p)
            kept.append(saved)
        if w.loss == "mse":
            delta = a - y
            loss = np.vdot(delta, delta) / delta.size
            delta *= one(2 / delta.size)
        else:
            rows = np.arange(len(y))
            a -= a.max(axis=1, keepdims=True)
            delta = np.exp(a)
            total = delta.sum(axis=1, keepdims=True)
            loss = np.log(total).mean() - a[rows, y].mean()
            delta /= total
            delta[rows, y] -= 1
            delta *= one(1 / len(y))
        for place in reversed(range(len(kept))):
            back = KINDS[w.layers[place].kind][1]
            delta = back(delta, kept[place], parameters[place], gradients[place], place > 0)
        if w.l2:
            np.add(slopes, decay * vector, out=slopes)
        update()
        return float(loss)

    coming = cycle(batches(w))

    def run(steps: int) -> float:
        loss = 0.0
        for _ in range(steps):
            loss = step(*next(coming))
        return loss

    return run
