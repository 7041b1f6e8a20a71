"""The training step in NumPy, written by hand: a peer, and a second opinion on every derivative.

All parameters, and all gradients, are parts of one vector, so that the optimizer is a few calls.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle

import numpy as np
from workloads import BETA1, BETA2, EPSILON, Run, Workload, batches, first_parameters


def train(w: Workload, threads: int) -> Run:
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
        a, inputs, derivatives = x, [], []
        for layer, (W, b, *beta) in enumerate(parameters):
            inputs.append(a)
            z = a @ W
            z += b
            if not w.is_activated(layer):
                a, derivative = z, None
            elif w.activation == "relu":
                a = np.maximum(z, 0)
                derivative = z > 0
            elif w.activation == "tanh":
                a = np.tanh(z)
                derivative = 1 - a * a
            else:
                s = 1 / (1 + np.exp(-beta[0] * z))
                a = z * s
                # by z, and by beta
                derivative = (s + beta[0] * a * (1 - s), z * a * (1 - s))
            derivatives.append(derivative)
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
        for layer in reversed(range(len(parameters))):
            (W, *_), (dW, db, *dbeta), derivative = parameters[layer], gradients[layer], derivatives[layer]
            if dbeta:
                dbeta[0][...] = np.vdot(delta, derivative[1])
                delta *= derivative[0]
            elif derivative is not None:
                delta *= derivative
            np.matmul(inputs[layer].T, delta, out=dW)
            np.sum(delta, axis=0, out=db)
            if layer:
                delta = delta @ W.T
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
