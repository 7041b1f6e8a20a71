"""Random values for everything that a network's programs read: what derivations and gradients are checked on.

In: a Network, how targets are given, a number of samples, a seed.  Out: arrays by the names of tensors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..declare import losses

if TYPE_CHECKING:
    from compiler.program import Tensor

    from ..declare.heads import Output
    from ..network import Network


def sample(network: Network, target: str | None, rows: int, seed: int = 0) -> dict[str, Any]:
    """A value for every tensor that the gradient of `rows` samples reads; a pure function of its arguments.

    Parameters are as they are first drawn, and what starts from zeros is drawn, too, so that nothing is hidden by them.
    """
    rng = np.random.default_rng(seed)
    first = network.initial_parameters(seed)
    owners = {tensor.name: name for name, tensor in network.tensors.items()}
    truths = _truths(network, target)
    values: dict[str, Any] = {**network.constants, **network.hyper, "step": 1, "seed": seed}
    bounds = {network.spec.input_tensors[name]: below for name, below in network.spec.integers.items()}
    for tensor in network.gradient_program(target).tensors:
        shape = tuple(int(n) if n.is_Integer else rows for n in tensor.shape)
        match tensor.role:
            case "parameter":
                drawn = first[owners[tensor.name]]
                values[tensor.name] = drawn if drawn.any() else rng.normal(0, 0.1, shape)
            case "input" if tensor.kind == "integer":
                values[tensor.name] = rng.integers(0, bounds[tensor.name], shape)
            case "input":
                values[tensor.name] = rng.normal(size=shape)
            case "state":
                values[tensor.name] = rng.uniform(0.5, 1.5, shape)
            case "target":
                values[tensor.name] = _target(truths.get(tensor.name), tensor, shape, rng)
    return values


def _truths(network: Network, target: str | None) -> dict[str, tuple[Output, bool]]:
    """The output that each target tensor judges, and whether its rows sum to 1."""
    joint = network.loss(target)
    return {
        part.target.name: (network.outputs[name], bool(part.facts))
        for name, part in joint.parts.items()
        if network.outputs[name].target == name
    }


def _target(
    truth: tuple[Output, bool] | None, tensor: Tensor, shape: tuple[int, ...], rng: np.random.Generator
) -> np.ndarray[Any, np.dtype[Any]]:
    if truth is None:  # weights of samples
        return rng.uniform(0.5, 1.5, shape)
    output, sums_to_1 = truth
    if tensor.kind == "integer":
        return rng.integers(0, output.classes, shape)
    if output.row.domain == losses.SIGNS:
        return rng.choice([-1.0, 1.0], shape)
    if output.row.domain == losses.COUNTS:
        return rng.poisson(2.0, shape).astype(float)
    drawn = rng.uniform(0.1, 0.9, shape)
    return np.asarray(drawn / drawn.sum(-1, keepdims=True)) if sums_to_1 else drawn
