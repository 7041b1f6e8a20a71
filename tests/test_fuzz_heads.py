"""Random networks with several losses, drawn from the tables: the joint gradient, as derived and as the loops make it.

One body, of outputs between 0 and 1, so that any loss may judge it; each loss judges a layer on it, or the body itself;
weights of losses, shared targets, weights of samples and positions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from compiler.calling import interpret
from symnet.declare import losses
from symnet.declare.constructors import dense
from symnet.look.sampling import sample
from symnet.network import Network
from symnet.oracle.reference import evaluate
from symnet.oracle.reference_mp import complex_step, magnitudes

from .tolerance import is_smooth, judge

ROWS = 3


def drawn(seed: int) -> tuple[Network, str]:
    """The network, and how its targets are given."""
    rng = np.random.default_rng(seed)
    chosen = [losses.ROWS[(seed + 4 * k) % len(losses.ROWS)].name for k in range(int(rng.integers(2, 4)))]
    layers, heads = [dense(2, {"formula": "(1 + tanh(x))/2"}, name="body")], {}
    for number, loss in enumerate(chosen):
        name = f"head{number}"
        function = "logistic" if loss == "cross_entropy" else "identity"
        layers.append(dense(2, function, name=name, inputs=[str(rng.choice([layer.name for layer in layers]))]))
        heads[name] = {"name": loss} | ({"weight": float(rng.uniform(0.1, 2))} if rng.random() < 0.7 else {})
    heads["inner"] = {"name": chosen[0], "layer": "body", "target": "head0", "weight": 0.5}
    network = Network(input=[[3], [2, 3]][rng.integers(2)], layers=layers, losses=heads, l2=float(rng.choice([0, 0.1])))
    weights = ["", losses.WEIGHTED, losses.BY_POSITION if network.outputs["head0"].positions else ""]
    given = {
        name: str(rng.choice(network.outputs[name].targets) + rng.choice(weights)) for name in network.target_names
    }
    return network, network.given(given)


@pytest.mark.parametrize("seed", range(len(losses.ROWS)))
def test_joint_gradients_of_random_losses_are_right(seed: int) -> None:
    network, given = drawn(seed)
    assert Network.from_toml(network.to_toml()) == network
    program = network.gradient_program(given)
    values: dict[str, Any] = next(
        v for k in range(50) if is_smooth(program, v := sample(network, given, ROWS, 100 * seed + k), {"N": ROWS})
    )
    rng = np.random.default_rng(seed)
    direction = {t.name: rng.uniform(-1, 1, np.shape(values[t.name])) for t in network.tensors.values()}
    reference = complex_step(program, program.outputs[0], values, direction, {"N": ROWS})
    adjoints = {t.name: g.name for t, g in zip(network.tensors.values(), program.outputs[1:], strict=True)}
    sizes = magnitudes(program, values, {"N": ROWS})
    scale = sum(np.sum(sizes[g] * np.abs(direction[name])) for name, g in adjoints.items())
    for found in (evaluate(program, values, {"N": ROWS}), interpret(program, values, {"N": ROWS}, plain=False)):
        along = sum(np.sum(found[g] * direction[name]) for name, g in adjoints.items())
        judge(f"{network!r}, {given}", along, reference, scale)
    outputs = network.evaluation_program(given)
    expected, made = evaluate(outputs, values, {"N": ROWS}), interpret(outputs, values, {"N": ROWS}, plain=False)
    for tensor in outputs.outputs:
        np.testing.assert_allclose(made[tensor.name], expected[tensor.name], rtol=1e-12, err_msg=tensor.name)
