"""Random networks, judged by the 50-digit complex step: every kind of layer, and all that a spec can say.

The gradient of R as it is derived, and as the generated loops compute it, with each pass on and off, in both dtypes;
and one step of a random optimizer as the loops make it.  `python -m tests.fuzz --only "network SEED"` shows one.
"""

from __future__ import annotations

import pytest

from symnet.declare import losses, optimizers
from symnet.kinds import TABLE
from symnet.network import Network

from .cases import case, showing, some_passes
from .networks import FAMILIES, drawn

NETWORKS = 3 * len(FAMILIES)


@pytest.mark.parametrize("seed", range(NETWORKS))
def test_gradients_and_steps_of_random_networks_are_right(seed: int) -> None:
    with showing(case(f"network {seed}", ("float64", "float64", "float32")[seed // len(FAMILIES)])) as one:
        one.judge("derived", one.evaluated())
        one.judge("as loops", one.loops(some_passes(seed)))
        one.judge_step()


def test_every_kind_of_layer_every_loss_and_every_optimizer_is_drawn() -> None:
    found = [drawn(seed) for seed in range(20 * len(FAMILIES))]
    assert {type(layer) for one in found for layer in one.network.spec.layers} == set(TABLE)
    assert {head.loss.name for one in found for head in one.network.spec.heads} >= {row.name for row in losses.ROWS}
    assert {one.optimizer for one in found} == {row.name for row in optimizers.ROWS}
    rolled = [one for one in found if one.short]
    assert rolled and any(layer.repeat > 1 for one in found for layer in one.network.spec.layers)
    plain = [one.network for one in found if not one.network.spec.arrays]
    assert all(Network.from_toml(network.to_toml()) == network for network in plain)
