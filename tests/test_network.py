"""Networks: their equations are those of the textbook, their programs verify, their gradients hold to 50 digits."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from compiler.program import Program, Tensor
from compiler.verify import verify
from symnet.declare import activations, losses, optimizers
from symnet.declare.spec import dense
from symnet.errors import SymnetError
from symnet.network import Network
from symnet.oracle.reference import evaluate
from symnet.oracle.reference_mp import complex_step_gradient, magnitudes

from .tolerance import judge

ROOT = Path(__file__).resolve().parent.parent


def point(network: Network, rows: int = 3, target: str | None = None, seed: int = 0) -> dict[str, np.ndarray | float]:
    """Values for every tensor without equations, by tensor name."""
    rng = np.random.default_rng(seed)
    values = {
        network.tensors[k].name: v + 0.1 * rng.normal(size=v.shape) for k, v in network.initial_parameters(seed).items()
    }
    values |= {"x": rng.normal(size=(rows, network.spec.input)), **network.hyper}
    outputs = network.spec.output
    match target or network.targets[0]:
        case "labels":
            values["y"] = rng.integers(0, outputs, rows)
        case "distribution":
            values["y"] = rng.dirichlet(np.ones(outputs), rows)
        case _:
            values["y"] = rng.random((rows, network.target_width))
    return values


def small(
    activation: object = "tanh", loss: object = "squared_error", widths: tuple[int, ...] = (3, 4, 2), l2: float = 0.0
) -> Network:
    first, *rest = widths
    hidden = [dense(units, activation=activation) for units in rest[:-1]]
    return Network(input=first, layers=[*hidden, dense(rest[-1])], loss=loss, l2=l2)


def test_the_forward_pass_is_that_of_the_textbook() -> None:
    network = small(widths=(3, 4, 5, 2))
    values = point(network)
    found = evaluate(Program(network.forward, (network.prediction,)), values)["z3"]
    a = values["x"]
    for number in (1, 2):
        a = np.tanh(a @ values[f"W{number}"].T + values[f"b{number}"])
    np.testing.assert_allclose(found, a @ values["W3"].T + values["b3"], rtol=1e-13)


def test_names_shapes_and_tensors_go_together() -> None:
    network = Network(input=4, layers=[dense(3, "prelu", name="h"), dense(2, bias=False)], loss="softmax_cross_entropy")
    assert dict(network.parameters) == {"h.W": (3, 4), "h.b": (3,), "h.gamma": (3,), "dense2.W": (2, 3)}
    assert {name: t.name for name, t in network.tensors.items()} == {
        "h.W": "W1",
        "h.b": "b1",
        "h.gamma": "gamma_1",
        "dense2.W": "W2",
    }
    assert all(t.role == "parameter" for t in network.tensors.values())
    assert {name: tuple(t.shape) for name, t in network.tensors.items()} == dict(network.parameters)
    assert [e.tensor.name for e in network.forward] == ["z1", "z1", "a1", "z2"]
    assert network.prediction.name == "z2" and network.input.name == "x"
    assert network.weights == (network.tensors["h.W"], network.tensors["dense2.W"])


def test_the_repr_is_short_and_says_what_the_network_is() -> None:
    network = Network(
        input=64,
        layers=[dense(64, "relu", name="hidden1"), dense(10, name="out")],
        loss="softmax_cross_entropy",
        l2=1e-4,
    )
    assert repr(network) == (
        "Network(64 -> hidden1: dense 64 relu, out: dense 10; softmax_cross_entropy, l2=0.0001; 4810 parameters)"
    )
    assert repr(Network(input=2, layers=[dense(1)])) == "Network(2 -> dense1: dense 1; squared_error; 3 parameters)"


@pytest.mark.parametrize("widths", [(3, 4, 5, 2), (3, 3, 3, 3), (1, 1, 1, 1), (2, 1, 3, 1)])
@pytest.mark.parametrize(
    ("loss", "target"),
    [("squared_error", None), ("softmax_cross_entropy", "labels"), ("softmax_cross_entropy", "distribution")],
)
def test_gradients_hold_to_the_complex_step_at_equal_distinct_and_single_widths(
    widths: tuple[int, ...], loss: str, target: str | None
) -> None:
    check(small(loss=loss, widths=widths, l2=0.3), target)


@pytest.mark.parametrize("row", activations.ROWS, ids=lambda row: row.name)
def test_gradients_through_every_activation_hold_to_the_complex_step(row: activations.Row) -> None:
    learned = {"name": row.name, "learned": list(row.parameters), "per": "unit"} if row.parameters else row.name
    check(small(learned, widths=(2, 3, 2)), None)


@pytest.mark.parametrize("row", losses.ROWS, ids=lambda row: row.name)
def test_gradients_of_every_loss_hold_to_the_complex_step(row: losses.Row) -> None:
    positive = "logistic" if row.name == "cross_entropy" else "identity"
    network = Network(input=2, layers=[dense(3, "tanh"), dense(2, positive)], loss=row.name)
    for target in network.targets:
        check(network, target)


def check(network: Network, target: str | None) -> None:
    values = point(network, target=target)
    program = network.gradient_program(target)
    verify(program)
    found, scale = evaluate(program, values), magnitudes(program, values)
    risk = Tensor("R")
    wrt = list(network.tensors.values())
    reference = complex_step_gradient(Program((*network.forward, *network.risk(target)), (risk,)), risk, wrt, values)
    assert [t.name for t in program.outputs] == ["R", *(f"d_{t.name}" for t in wrt)]
    for tensor, adjoint in zip(wrt, program.outputs[1:], strict=True):
        expected = reference[tensor.name]
        judge(tensor.name, found[adjoint.name], expected, scale[adjoint.name])


def test_adjoints_of_net_inputs_are_the_deltas_of_the_textbook() -> None:
    network = small(loss="softmax_cross_entropy", widths=(3, 4, 2))
    values = point(network)
    gradients = network.gradients()
    program = Program(
        (*network.forward, *network.risk(), *gradients.equations),
        (Tensor("delta1", network.prediction.shape[:1] + (4,)),),
    )
    found = evaluate(program, values, wanted=["delta1", "delta2", "a1", "z2"])
    e = np.exp(found["z2"] - found["z2"].max(axis=1, keepdims=True))
    delta2 = e / e.sum(axis=1, keepdims=True) - np.eye(2)[values["y"]]
    np.testing.assert_allclose(found["delta2"], delta2, atol=1e-15)
    np.testing.assert_allclose(found["delta1"], (1 - found["a1"] ** 2) * (delta2 @ values["W2"]), atol=1e-15)


def test_a_training_step_is_the_update_of_the_textbook() -> None:
    network = small(widths=(3, 4, 2), l2=0.2)
    values = {**point(network), "alpha": 0.1}
    program = network.training_program("gradient_descent")
    verify(program)
    gradient = evaluate(network.gradient_program(), values)
    found = evaluate(program, values)
    for old, new in program.updates:
        np.testing.assert_allclose(found[new.name], values[old.name] - 0.1 * gradient[f"d_{old.name}"], rtol=1e-14)
    assert [t.name for t in program.outputs] == ["loss"] and [t.name for t in program.guards] == ["norm2", "loss"]
    squares = sum((gradient[f"d_{old.name}"] ** 2).sum() for old, _ in program.updates)
    assert found["norm2"] == pytest.approx(squares, rel=1e-13)
    assert found["loss"] == pytest.approx(
        gradient["R"] - 0.1 * sum((values[w] ** 2).sum() for w in ("W1", "W2")), rel=1e-13
    )


@pytest.mark.parametrize("row", optimizers.ROWS, ids=lambda row: row.name)
def test_every_optimizer_makes_a_program_that_verifies(row: optimizers.Row) -> None:
    network = small({"name": "swish", "learned": ["beta"]}, widths=(3, 4, 2), l2=0.1)
    program = network.training_program(row.name)
    verify(program)
    assert [old for old, _ in program.updates if old.role == "parameter"] == list(network.tensors.values())
    names = [t.name for t in program.tensors]
    assert len(names) == len(set(names))
    defined = set(program.definitions)
    assert all(t in defined or t.role != "value" for t in program.tensors)


@pytest.mark.parametrize("loss", losses.ROWS, ids=lambda row: row.name)
def test_every_activation_under_every_loss_makes_programs_that_verify(loss: losses.Row) -> None:
    layers = [dense(2, row.name) for row in activations.ROWS]
    outputs = dense(2, "logistic" if loss.name == "cross_entropy" else "identity")
    network = Network(input=2, layers=[*layers, outputs], loss=loss.name, l2=0.1)
    for target in network.targets:
        verify(network.training_program("adam", target))
        verify(network.evaluation_program(target))
    verify(network.prediction_program())


def test_evaluation_sums_losses_and_counts_hits() -> None:
    network = small(loss="softmax_cross_entropy", widths=(3, 4, 3))
    values = point(network, rows=50)
    found = evaluate(network.evaluation_program(), values)
    label = evaluate(network.prediction_program(), values)["label"]
    assert found["correct"] == (label == values["y"]).sum() and 0 < found["correct"] < 50
    assert found["loss_sum"] / 50 == pytest.approx(
        float(evaluate(Program((*network.forward, *network.risk()), (Tensor("loss"),)), values)["loss"])
    )
    one_hot = {**values, "y": np.eye(3)[values["y"]]}
    assert evaluate(network.evaluation_program("distribution"), one_hot)["correct"] == found["correct"]
    assert list(evaluate(small().evaluation_program(), point(small()))) == ["loss_sum"]


def test_predictions_are_labels_probabilities_or_values() -> None:
    network = small(loss="softmax_cross_entropy", widths=(3, 4, 3))
    values = point(network, rows=20)
    z = evaluate(network.prediction_program("values"), values)["z2"]
    p = evaluate(network.prediction_program("probabilities"), values)["p"]
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-14)
    np.testing.assert_allclose(np.log(p), z - np.log(np.exp(z).sum(axis=1, keepdims=True)), rtol=1e-12)
    np.testing.assert_array_equal(evaluate(network.prediction_program("label"), values)["label"], z.argmax(axis=1))
    assert network.is_classifier and network.probabilities.name == "p"
    plain = small()
    assert not plain.is_classifier and plain.probabilities is None
    assert [t.name for t in plain.prediction_program().outputs] == ["z2"]


def test_penalties_reach_weight_matrices_and_nothing_else() -> None:
    network = small({"name": "elu", "learned": ["gamma"]}, widths=(3, 4, 2), l2=0.5)
    plain = small({"name": "elu", "learned": ["gamma"]}, widths=(3, 4, 2))
    values = point(network)
    with_penalty, without = evaluate(network.gradient_program(), values), evaluate(plain.gradient_program(), values)
    for tensor in network.tensors.values():
        extra = 0.5 * values[tensor.name] if tensor in network.weights else 0.0 * values[tensor.name]
        np.testing.assert_allclose(with_penalty[f"d_{tensor.name}"] - without[f"d_{tensor.name}"], extra, atol=1e-14)


def test_words_that_are_not_known_are_refused() -> None:
    network = small()
    for attempt in (
        lambda: network.loss("labels"),
        lambda: network.gradient_program("distribution"),
        lambda: network.prediction_program("probabilities"),
        lambda: network.training_program("adm"),
        lambda: network.training_program({"name": "adam", "rate": 1.0}),
    ):
        with pytest.raises(SymnetError):
            attempt()


def test_nothing_is_derived_twice() -> None:
    network = small()
    assert network.gradients() is network.gradients("values")
    assert network.forward is network.forward and network.loss() is network.loss("values")


def test_derivation_time_is_linear_in_depth_and_100_layers_take_seconds_at_most() -> None:
    def seconds(depth: int) -> float:
        network = Network(input=8, layers=[dense(8, "tanh") for _ in range(depth)])
        gc.collect()
        gc.disable()  # collections grow with everything that other tests have left
        start = time.process_time()
        network.gradient_program()
        taken = time.process_time() - start
        gc.enable()
        return taken

    seconds(5)
    short, long = seconds(25), seconds(100)
    assert long < 2
    assert long < 8 * short


@pytest.mark.parametrize("name", ["digits", "xor"])
def test_the_shipped_examples_are_read_and_verify(name: str) -> None:
    network = Network.from_toml(ROOT / "examples" / f"{name}.toml")
    assert network.spec.path(network.spec.train.data).is_file()
    verify(network.training_program(network.spec.train.optimizer))
    assert Network.from_toml(network.to_toml()) == network


def test_two_hidden_neurons_solve_the_exclusive_or() -> None:
    network = Network.from_toml(ROOT / "examples" / "xor.toml")
    solution = {"W1": [[1, -1], [-1, 1]], "b1": [0, 0], "W2": [[1, 1]], "b2": [0]}
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    found = evaluate(network.gradient_program(), {**solution, "x": corners, "y": [[0], [1], [1], [0]]})
    assert found["R"] == 0 and all(not found[f"d_{name}"].any() for name in solution)


def test_the_shipped_exclusive_or_is_solved_from_its_seed() -> None:
    network = Network.from_toml(ROOT / "examples" / "xor.toml")
    train = network.spec.train
    corners, truth = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0.0, 1, 1, 0])
    model = network.compile(train.optimizer, train.dtype, train.seed)
    assert train.scale == "none"
    model.fit(corners, truth, epochs=train.epochs, batch_size=train.batch_size)
    np.testing.assert_allclose(np.ravel(model.predict(corners)), truth, atol=1e-3)


def test_equations_do_not_depend_on_hashes() -> None:
    code = (
        "from symnet.network import Network\nfrom symnet.declare.spec import dense\n"
        "layers = [dense(4, {'name': 'gelu', 'learned': ['mu', 'sigma']}), dense(2)]\n"
        "n = Network(input=3, layers=layers, loss='softmax_cross_entropy', l2=0.1)\n"
        "print(n.training_program('nadam'))"
    )
    printed = set()
    for seed in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
        printed.add(run.stdout)
    assert len(printed) == 1 and "delta1" in printed.pop()
