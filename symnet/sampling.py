"""Random values for everything that a network's programs read: what derivations and gradients are checked on.

In: a Network, how targets are given, a number of samples, a seed.  Out: arrays by the names of tensors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .heads import owner_of, suffix, taken_apart
from .losses import DISTRIBUTION, parted

if TYPE_CHECKING:
    from .network import Network


def sample(network: Network, target: str, rows: int, seed: int = 0) -> dict[str, Any]:
    """A number for each element of the inputs, targets, parameters and constants; a pure function of its arguments.

    Parameters are as they are first drawn, and what starts from zeros is drawn, too, so that nothing is hidden by them.
    """
    rng = np.random.default_rng(seed)
    given = taken_apart(network.spec.outputs, target)
    owners_of_targets = {f"y{suffix(name)}": owner_of(network.spec.outputs, name) for name in given}
    first = network.initial_parameters(seed)
    owners = {tensor.name: name for name, tensor in network.tensors.items()}
    values: dict[str, Any] = {**network.constants, **network.hyper}
    for tensor in network.gradient_program(target).tensors:
        shape = tuple(int(n) if n.is_Integer else rows for n in tensor.shape)
        match tensor.role:
            case "parameter":
                drawn = first[owners[tensor.name]]
                values[tensor.name] = drawn if drawn.any() else rng.normal(0, 0.1, shape)
            case "input":
                values[tensor.name] = rng.normal(size=shape)
            case "target" if tensor.kind == "integer":
                values[tensor.name] = rng.integers(0, owners_of_targets[tensor.name].classes, shape)
            case "target":
                drawn = rng.uniform(0.1, 0.9, shape)
                judged = owners_of_targets.get(tensor.name)  # none where these are weights
                sums_to_one = judged is not None and parted(given[judged.name])[0] == DISTRIBUTION
                values[tensor.name] = drawn / drawn.sum(-1, keepdims=True) if sums_to_one else drawn
    return values
