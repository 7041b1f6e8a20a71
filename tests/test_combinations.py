"""Every activation under every loss: one step of training, against the oracle.

Each pair is lowered, and its loops are interpreted.  In each dtype every loss is compiled with a few activations side
by side, so that each of these is compiled, too; `python -m tests.test_combinations` compiles all with all (4 minutes).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from compiler.calling import interpret
from symnet.declare import activations, losses
from symnet.declare.constructors import concat, dense
from symnet.network import Network
from symnet.oracle.reference import evaluate

ROWS = 5
OPTIMIZER = {"name": "gradient_descent", "learning_rate": 0.1}
PAIRS = [(row.name, loss.name) for row in activations.ROWS for loss in losses.ROWS]


def learned(name: str) -> Any:
    """An activation with all its parameters learned, for each unit."""
    parameters = list(activations.TABLE[name].parameters)
    return {"name": name, "learned": parameters, "per": "unit"} if parameters else name


def targets(network: Network, rng: np.random.Generator) -> np.ndarray:
    shape = (ROWS, *network.positions)
    match network.targets[0]:
        case "labels":
            return rng.integers(0, network.classes, shape)
        case _ if network.outputs[""].head.loss.name == "hinge":
            return np.where(rng.uniform(size=(*shape, network.target_width)) < 0.5, -1.0, 1.0)
        case _:
            return rng.uniform(0, 1, (*shape, network.target_width))


def point(network: Network, dtype: str) -> dict[str, Any]:
    """Values of all tensors that have no equations, in numbers that the dtype has."""
    rng = np.random.default_rng(1)
    update = network.update(OPTIMIZER)
    values: dict[str, Any] = {k.name: np.full([int(n) for n in k.shape], v) for k, v in update.states.items()}
    for name, value in network.initial_parameters(2).items():
        values[network.tensors[name].name] = np.array(value + rng.normal(size=value.shape) / 8, dtype)
    values["x"] = np.array(rng.normal(size=(ROWS, 3)), dtype)
    y = targets(network, rng)
    return values | {"y": y.astype(dtype) if y.dtype.kind == "f" else y} | dict(update.hyper)


@pytest.mark.parametrize(("function", "loss"), PAIRS)
def test_the_loops_of_every_activation_under_every_loss_make_the_step_of_the_equations(
    function: str, loss: str
) -> None:
    last = "logistic" if loss == "cross_entropy" else "identity"
    network = Network(input=3, layers=[dense(2, learned(function)), dense(2, last)], loss=loss)
    program, values = network.training_program(OPTIMIZER), point(network, "float64")
    expected, found = evaluate(program, values), interpret(program, values, {"N": ROWS}, plain=False)
    assert found["status"] == 0
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-12)
    for old, new in program.updates:
        np.testing.assert_allclose(found[old.name], expected[new.name], rtol=1e-11, atol=1e-13)
        assert old.role == "state" or not np.array_equal(expected[new.name], values[old.name])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("number", range(len(losses.ROWS)), ids=lambda number: losses.ROWS[number].name)
def test_a_compiled_step_is_the_step_of_the_equations(number: int, dtype: str) -> None:
    check(losses.ROWS[number].name, dtype, activations.ROWS[number :: len(losses.ROWS)])


def check(loss: str, dtype: str, rows: Sequence[activations.Row]) -> None:
    side = [dense(2, learned(row.name), name=row.name, inputs=["x"]) for row in rows]
    last = dense(2, "logistic" if loss == "cross_entropy" else "identity", name="last")
    network = Network(input=3, layers=[*side, concat(*[row.name for row in rows]), last], loss=loss)
    values = point(network, dtype)
    model = network.compile(OPTIMIZER, dtype)
    model.parameters.update({name: values[tensor.name] for name, tensor in network.tensors.items()})
    found = model.prepare(values["x"], values["y"], ROWS).run(1)
    expected = evaluate(network.training_program(OPTIMIZER), values)
    tolerance = 1e-11 if dtype == "float64" else 2e-5
    assert found == pytest.approx(expected["loss"], rel=tolerance)
    for name, tensor in network.tensors.items():
        np.testing.assert_allclose(
            model.parameters[name], expected[f"{tensor.name}_next"], rtol=tolerance, atol=tolerance / 10, err_msg=name
        )


if __name__ == "__main__":
    for dtype in ("float64", "float32"):
        for row in losses.ROWS:
            check(row.name, dtype, activations.ROWS)
            print(dtype, row.name, "with all activations: one step is right", flush=True)
