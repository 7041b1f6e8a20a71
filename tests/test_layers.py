"""Layers: each means its formula, its gradient holds to 50 digits, and mistakes in a graph are named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import symnet as sn
from compiler.kernels.random import uniform_of
from compiler.program import Program
from compiler.verify import verify
from symnet.errors import SymnetError
from symnet.network import Network
from symnet.notation.pages import show
from symnet.oracle.reference import evaluate
from symnet.oracle.reference_mp import complex_step_gradient, magnitudes

from .tolerance import judge

ROWS = 4
DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(ROWS, 6))
XY = {"a": DRAW.normal(size=(ROWS, 2, 3)), "b": DRAW.normal(size=(ROWS, 3))}
PAIR = {"a": [2, 3], "b": [3]}


def values(network: Network, inputs: Any = X) -> dict[str, Any]:
    """A value for each tensor without equations, by name."""
    rng = np.random.default_rng(3)
    given = {t.name: rng.normal(size=network.parameters[name]) for name, t in network.tensors.items()}
    arrays = inputs if isinstance(inputs, dict) else {"x": inputs}
    given |= {network.spec.input_tensors[name]: array for name, array in arrays.items()}
    return {**given, "y": np.zeros((ROWS, network.spec.output)), **network.hyper}


def forward(network: Network, inputs: Any = X) -> tuple[np.ndarray, dict[str, Any]]:
    given = values(network, inputs)
    verify(network.prediction_program())
    return evaluate(network.prediction_program("values"), given)[network.prediction.name], given


def softmax(z: np.ndarray, axis: int = -1) -> np.ndarray:
    e = np.exp(z - z.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def maxout(x: np.ndarray, W: np.ndarray, b: Any = 0.0) -> np.ndarray:
    return (np.einsum("ikj,...j->...ik", W, x) + b).max(axis=-1)


def prelu(x: np.ndarray, gamma: np.ndarray) -> np.ndarray:
    return np.where(x <= 0, gamma * x, x)


def of(*layers: Any) -> Network:
    return Network(input=6, layers=list(layers))


def grid(*layers: Any) -> Network:
    return Network(input=[2, 3], layers=list(layers))


GRID = X.reshape(ROWS, 2, 3)
CASES: dict[str, tuple[Network, Any, Any]] = {
    "maxout": (of(sn.maxout(2, pieces=3)), X, lambda x, v: maxout(x, v["W1"], v["b1"])),
    "maxout of equal widths": (of(sn.maxout(6, 6, bias=False)), X, lambda x, v: maxout(x, v["W1"])),
    "maxout of one piece": (of(sn.maxout(1, 1)), X, lambda x, v: maxout(x, v["W1"], v["b1"])),
    "softmax": (of(sn.softmax()), X, lambda x, v: softmax(x)),
    "log_softmax": (of(sn.log_softmax()), X, lambda x, v: np.log(softmax(x))),
    "softmax along the first axis": (grid(sn.softmax(axis=0), sn.flatten()), GRID, lambda x, v: softmax(x, 1)),
    "log_softmax along the last": (grid(sn.log_softmax(1), sn.flatten()), GRID, lambda x, v: np.log(softmax(x, 2))),
    "prelu by unit": (of(sn.activation("prelu")), X, lambda x, v: prelu(x, v["gamma_1"])),
    "prelu by group": (
        of(sn.activation({"name": "prelu", "per": "group", "groups": 2})),
        X,
        lambda x, v: prelu(x, np.repeat(v["gamma_1"], 3)),
    ),
    "prelu by layer": (of(sn.activation({"name": "prelu", "per": "layer"})), X, lambda x, v: prelu(x, v["gamma_1"])),
    "dense and prelu by group": (
        of(sn.dense(4, {"name": "prelu", "per": "group", "groups": 2})),
        X,
        lambda x, v: prelu(x @ v["W1"].T + v["b1"], np.repeat(v["gamma_1"], 2)),
    ),
    "dense along the last axis": (
        grid(sn.dense(4, "tanh"), sn.flatten()),
        GRID,
        lambda x, v: np.tanh(x @ v["W1"].T + v["b1"]),
    ),
    "maxout along the last axis": (
        grid(sn.maxout(2, 3), sn.flatten()),
        GRID,
        lambda x, v: maxout(x, v["W1"], v["b1"]),
    ),
    "reshape": (
        of(sn.reshape(3, 2), sn.dense(1), sn.flatten()),
        X,
        lambda x, v: x.reshape(ROWS, 3, 2) @ v["W2"].T + v["b2"],
    ),
    "reshape across axes": (
        grid(sn.reshape(3, 2), sn.dense(1), sn.flatten()),
        GRID,
        lambda x, v: x.reshape(ROWS, 3, 2) @ v["W2"].T + v["b2"],
    ),
    "flatten": (grid(sn.flatten()), GRID, lambda x, v: x),
    "dropout where nothing is trained": (of(sn.dropout(0.9)), X, lambda x, v: x),
    "add": (
        of(sn.dense(6, name="h"), sn.add("h", "x", "x")),
        X,
        lambda x, v: x @ v["W1"].T + v["b1"] + 2 * x,
    ),
    "multiply": (
        of(sn.dense(6, name="h"), sn.multiply("h", "x", "x")),
        X,
        lambda x, v: (x @ v["W1"].T + v["b1"]) * x**2,
    ),
    "concat": (
        of(sn.dense(2, name="h"), sn.concat("x", "h", "x")),
        X,
        lambda x, v: np.concatenate([x, x @ v["W1"].T + v["b1"], x], axis=1),
    ),
    "concat along the first axis": (
        Network(
            inputs=PAIR,
            layers=[sn.reshape(1, 3, inputs="b", name="row"), sn.concat("a", "row", axis=0), sn.flatten(), sn.dense(2)],
        ),
        XY,
        lambda x, v: np.concatenate([x["a"], x["b"][:, None]], axis=1).reshape(ROWS, 9) @ v["W4"].T + v["b4"],
    ),
    "two inputs": (
        Network(inputs=PAIR, layers=[sn.flatten(inputs="a", name="f"), sn.concat("b", "f"), sn.dense(2, "tanh")]),
        XY,
        lambda x, v: np.tanh(np.concatenate([x["b"], x["a"].reshape(ROWS, 6)], axis=1) @ v["W3"].T + v["b3"]),
    ),
    "shared parameters": (
        of(sn.dense(6, "tanh", name="one"), sn.dense(6, share="one"), sn.dense(6, share="dense2")),
        X,
        lambda x, v: (np.tanh(x @ v["W1"].T + v["b1"]) @ v["W1"].T + v["b1"]) @ v["W1"].T + v["b1"],
    ),
    "shared with a layer further on": (
        of(sn.dense(6, "tanh", name="one", share="two"), sn.dense(6, name="two")),
        X,
        lambda x, v: np.tanh(x @ v["W2"].T + v["b2"]) @ v["W2"].T + v["b2"],
    ),
    "shared maxout": (
        of(sn.maxout(6, 2, name="one"), sn.maxout(6, 2, share="one")),
        X,
        lambda x, v: maxout(maxout(x, v["W1"], v["b1"]), v["W1"], v["b1"]),
    ),
    "layers in any order": (
        of(sn.dense(6, inputs="late", name="early"), sn.activation("tanh", inputs="x", name="late"), sn.add("early")),
        X,
        lambda x, v: np.tanh(x) @ v["W1"].T + v["b1"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_layer_is_its_formula(name: str) -> None:
    network, inputs, expected = CASES[name]
    found, given = forward(network, inputs)
    np.testing.assert_allclose(found, expected(inputs, given).reshape(found.shape), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("name", CASES)
def test_gradients_through_layers_hold_to_the_complex_step(name: str) -> None:
    network, inputs, _ = CASES[name]
    if not network.parameters:  # something below to be differentiated
        first = sn.dense(network.spec.inputs[0][1][-1], name="below")
        network = Network(input=network.spec.inputs[0][1], layers=[first, *network.spec.layers])
    given = values(network, inputs)
    given["y"] = given["y"] + 1.0
    program = network.gradient_program()
    verify(program)
    risk, *gradients = program.outputs
    wrt = list(network.tensors.values())
    found, scale = evaluate(program, given), magnitudes(program, given)
    reference = complex_step_gradient(Program((*network.forward, *network.risk()), (risk,)), risk, wrt, given)
    for tensor, gradient in zip(wrt, gradients, strict=True):
        judge(tensor.name, found[gradient.name], reference[tensor.name], scale[gradient.name])


@pytest.mark.parametrize("name", CASES)
def test_toml_gives_back_the_same_graph(name: str) -> None:
    network = CASES[name][0]
    again = Network.from_toml(network.to_toml())
    assert again == network and again.forward == network.forward


@pytest.mark.parametrize("name", CASES)
def test_every_layer_is_printed(name: str) -> None:
    text = show(CASES[name][0])
    assert "Forward" in text and all(parameter in text for parameter in CASES[name][0].parameters)


BIG = Network(
    inputs=PAIR,
    layers=[
        sn.flatten(inputs="a", name="flat"),
        sn.maxout(4, 3, name="max"),
        sn.dense(4, {"name": "prelu", "per": "group", "groups": 2}, inputs="b", name="pre"),
        sn.add("max", "pre", name="sum"),
        sn.multiply("max", "pre", name="product"),
        sn.concat("sum", "product", name="both"),
        sn.dropout(0.25, name="drop"),
        sn.dense(8, "tanh", name="one"),
        sn.dense(8, "relu", share="one", name="two"),
        sn.reshape(2, 4, name="square"),
        sn.softmax(0, name="soft"),
        sn.flatten(name="long"),
        sn.dense(3, name="out"),
    ],
    loss="softmax_cross_entropy",
    l2=0.01,
)
LABELS = np.array([0, 2, 1, 2])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_compiled_graph_is_that_of_the_oracle(dtype: str) -> None:
    model = BIG.compile("gradient_descent", dtype)
    _, gradients = BIG.value_and_gradient(model.parameters, XY, LABELS, dtype)
    assert list(gradients) == list(BIG.parameters) and "two.W" not in gradients
    for name, gradient in gradients.items():
        reference = BIG.gradient(name).evaluate(model.parameters, XY, LABELS)
        scale = np.abs(reference).max()
        np.testing.assert_allclose(gradient, reference, rtol=0, atol=scale * (1e-12 if dtype == "float64" else 1e-5))


def test_a_graph_trains_saves_and_loads(tmp_path: Any) -> None:
    rng = np.random.default_rng(5)
    data = {"a": rng.normal(3, 2, size=(300, 2, 3)), "b": rng.normal(size=(300, 3))}
    labels = (data["a"][:, 0, 0] > 3).astype(int) + (data["b"][:, 0] > 0)
    model = BIG.compile({"name": "adam", "learning_rate": 0.01}, "float64", 3)
    model.scale(data)
    history = model.fit(data, labels, epochs=60, validation_split=0.2)
    assert history[-1].loss < 0.5 and model.evaluate(data, labels)["accuracy"] > 0.85
    model.save(tmp_path / "model.safetensors")
    again = sn.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(again.predict_proba(data), model.predict_proba(data))


# ---------------------------------------------------------------------------------------------- dropout
def test_a_mask_of_dropout_is_a_pure_function_of_seed_layer_step_and_element() -> None:
    network = of(sn.dropout(0.3), sn.dense(2, bias=False))
    program = Program(network.training_forward, (network.prediction, network._built["dropout1"].output))
    given = {**values(network), "seed": 7, "step": 5}
    found = evaluate(program, given, wanted=["a1"])["a1"]
    kept = np.array([[uniform_of(7, 1, 5, n, i) >= 0.3 for i in range(6)] for n in range(ROWS)])
    np.testing.assert_allclose(found, np.where(kept, X / 0.7, 0), rtol=1e-15)
    assert 0 < kept.sum() < kept.size
    assert (evaluate(program, {**given, "step": 6}, wanted=["a1"])["a1"] != found).any()


def test_dropout_keeps_the_mean_and_drops_the_share_that_it_says() -> None:
    network = Network(input=200, layers=[sn.dropout(0.3), sn.dense(1)])
    program = Program(network.training_forward, (network._built["dropout1"].output,))
    found = evaluate(program, {"x": np.ones((100, 200)), "seed": 1, "step": 1})["a1"]
    share = (found == 0).mean()
    assert abs(share - 0.3) < 5 * (0.21 / found.size) ** 0.5 and abs(found.mean() - 1) < 0.02


def test_a_compiled_training_step_draws_the_masks_of_the_oracle() -> None:
    network = of(sn.dropout(0.5), sn.dense(6, "tanh"), sn.dropout(0.25), sn.dense(2))
    model = network.compile({"name": "gradient_descent", "learning_rate": 0.5}, "float64", seed=11)
    y = np.ones((ROWS, 2))
    given = {t.name: model.parameters[name] for name, t in network.tensors.items()}
    loop = model.prepare(X, y, batch_size=ROWS, shuffle=False)
    for step in (1, 2):
        program = network.training_program("gradient_descent")
        expected = evaluate(program, {**given, "x": X, "y": y, "alpha": 0.5, "seed": 11, "step": step})
        assert loop.run(1) == pytest.approx(float(expected["loss"]), rel=1e-12)
        given = {name: expected[f"{name}_next"] for name in given}
        for name, tensor in network.tensors.items():
            np.testing.assert_allclose(model.parameters[name], given[tensor.name], rtol=1e-11, atol=1e-14)


def test_prediction_evaluation_and_gradients_are_without_dropout() -> None:
    network, plain = of(sn.dropout(0.5), sn.dense(2)), of(sn.activation("identity"), sn.dense(2))
    given = values(network)
    for one, other in (
        (network.prediction_program(), plain.prediction_program()),
        (network.evaluation_program(), plain.evaluation_program()),
        (network.gradient_program(), plain.gradient_program()),
    ):
        found, expected = evaluate(one, given), evaluate(other, given)
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array)
    assert "uniform" in str(network.training_program("adam")) and "uniform" not in str(network.gradient_program())


def test_gradients_of_a_training_step_hold_to_the_complex_step_under_dropout() -> None:
    network = of(sn.dense(6, "tanh"), sn.dropout(0.4), sn.dense(2))
    given = {**values(network), "seed": 2, "step": 9}
    risk = network.risk()[-1].tensor
    gradients = network.gradients(training=True)
    names = list(gradients.by_name)
    program = Program(
        (*network.training_forward, *network.risk(), *gradients.equations), (risk, *gradients.by_name.values())
    )
    wrt = [network.tensors[name] for name in names]
    reference = complex_step_gradient(Program((*network.training_forward, *network.risk()), (risk,)), risk, wrt, given)
    found, scale = evaluate(program, given), magnitudes(program, given)
    for name in names:
        tensor, gradient = network.tensors[name], gradients.by_name[name]
        judge(name, found[gradient.name], reference[tensor.name], scale[gradient.name])


# ---------------------------------------------------------------------------------------------- parameters
def test_parameters_by_group_begin_at_a_quarter_and_maxout_is_penalized() -> None:
    network = Network(
        input=6,
        layers=[sn.dense(4, {"name": "prelu", "per": "group", "groups": 2}, name="a"), sn.maxout(2, 3, name="m")],
        l2=0.1,
    )
    assert dict(network.parameters) == {
        "a.W": (4, 6), "a.b": (4,), "a.gamma": (2,), "m.W": (2, 3, 4), "m.b": (2, 3),
    }  # fmt: skip
    initial = network.initial_parameters(0)
    assert initial["a.gamma"].tolist() == [0.25, 0.25]
    assert [t.name for t in network.weights] == ["W1", "W2"]


def test_shared_parameters_are_listed_started_and_penalized_once() -> None:
    network = Network(input=6, layers=[sn.dense(6, name="one"), sn.dense(6, share="one")], l2=1.0)
    assert list(network.parameters) == ["one.W", "one.b"] and len(network.weights) == 1
    given = {**values(network), "lambda": 1.0}
    found = evaluate(network.gradient_program(), given)["R"]
    z = (X @ given["W1"].T + given["b1"]) @ given["W1"].T + given["b1"]
    assert found == pytest.approx((z**2).mean() + (given["W1"] ** 2).sum() / 2, rel=1e-13)


# ---------------------------------------------------------------------------------------------- features
def test_the_activations_of_every_layer_can_be_had_by_name() -> None:
    model = BIG.compile("gradient_descent", "float64")
    given = {t.name: model.parameters[name] for name, t in BIG.tensors.items()} | {"x_a": XY["a"], "x_b": XY["b"]}
    for layer in ("flat", "max", "drop", "soft", "out"):
        expected = evaluate(BIG.layer_program(layer), given)
        (array,) = expected.values()
        found = model.transform(XY, layer)
        assert found.shape == (ROWS, *BIG.spec.graph.shapes[layer])
        np.testing.assert_allclose(found, array, rtol=1e-12, atol=1e-13)
    with pytest.raises(SymnetError, match="Did you mean 'soft'"):
        model.transform(XY, "sof")


def test_a_classifier_on_the_features_of_a_layer_learns_what_one_on_the_inputs_cannot() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (400, 2))
    labels = (points[:, 0] * points[:, 1] > 0).astype(int)  # no line separates them
    network = Network(
        input=2, layers=[sn.dense(16, "tanh", name="features"), sn.dense(2)], loss="softmax_cross_entropy"
    )
    model = network.compile({"name": "adam", "learning_rate": 0.02}, "float64", 0)
    model.fit(points, labels, epochs=60)

    def accuracy(inputs: np.ndarray) -> float:
        line = Network(input=inputs.shape[1], layers=[sn.dense(2)], loss="softmax_cross_entropy")
        classifier = line.compile({"name": "adam", "learning_rate": 0.05}, "float64", 0)
        classifier.fit(inputs, labels, epochs=60)
        return float(classifier.evaluate(inputs, labels)["accuracy"])

    assert accuracy(points) < 0.7 < 0.95 < accuracy(model.transform(points, "features"))


# ---------------------------------------------------------------------------------------------- mistakes
@pytest.mark.parametrize(
    ("layers", "says"),
    [
        ([sn.dense(2, inputs="b", name="a"), sn.dense(2, inputs="a", name="b")], "a cycle: "),
        ([sn.dense(2, inputs="a", name="a")], "a cycle: a reads a"),
        ([sn.dense(2, inputs="hiden", name="a"), sn.dense(2, name="hidden")], "Did you mean 'hidden'"),
        ([sn.dense(2, name="a"), sn.dense(2, inputs="x", name="b")], "layer 'a': found no layer that reads it"),
        ([sn.dense(2, name="a"), sn.add("a", "x")], "inputs of one shape"),
        ([sn.dense(2, name="a"), sn.multiply("a", "x")], "inputs of one shape"),
        ([sn.reshape(2, 3, name="a"), sn.concat("a", "x"), sn.flatten()], "axis 1 apart"),
        ([sn.concat("x", axis=1)], "an axis from -1 to 0"),
        ([sn.softmax(axis=1)], "an axis from -1 to 0"),
        ([sn.reshape(4, 2), sn.flatten()], "6 elements"),
        ([sn.dense(2, name="x")], "An input has it already"),
        ([sn.dense(2, inputs=["x", "x"])], "Join them by a layer of the kind 'concat' or 'add'"),
        ([sn.dense(2, name="a", share="b"), sn.dense(2, name="b", share="a")], "that has parameters of its own"),
        ([sn.dense(2, share="b")], "unknown layer 'b'"),
        ([sn.dense(6, name="a"), sn.dense(2, share="a")], "a.W of shape (6, 6)"),
        ([sn.dense(6, name="a", bias=False), sn.dense(6, share="a")], "no a.b"),
        ([sn.dense(6, name="a"), sn.maxout(6, share="a")], "a layer of the same kind"),
        ([sn.dense(6, name="a"), sn.dense(6, share="a", initializer="zeros")], "Its parameters are those of 'a'"),
        ([sn.activation({"name": "prelu", "per": "group", "groups": 4})], "a number that divides the 6 units"),
        ([{"kind": "maxot", "units": 3}], "Did you mean 'maxout'"),
        ([{"kind": "maxout", "units": 3, "peices": 2}], "Did you mean 'pieces'"),
        ([{"kind": "maxout"}], "no key 'units'"),
        ([{"kind": "dropout", "rate": 1}], "from 0 to below 1"),
        ([{"kind": "dense", "units": 3, "inputs": []}], "a list of names"),
        ([{"kind": "dense", "units": 3, "activation": "softmax"}], "Put a layer of the kind 'softmax' there"),
        ([{"kind": "activation", "activation": {"name": "prelu", "per": "group"}}], "a number of groups"),
        ([{"kind": "activation", "activation": {"name": "prelu", "groups": 3}}], "a number of groups"),
    ],
)  # fmt: skip
def test_mistakes_in_a_graph_are_named(layers: list[Any], says: str) -> None:
    with pytest.raises(SymnetError) as caught:
        Network(input=6, layers=layers)
    assert says in str(caught.value), str(caught.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "neither 'input' nor 'inputs'"),
        ({"input": 2, "inputs": {"a": 2}}, "both 'input' and 'inputs'"),
        ({"inputs": {}}, "a table of at most"),
        ({"inputs": {"a": [2], "b": [3]}}, "Join them"),
        ({"inputs": {"a": [2], "b c": [3]}}, "letters, digits"),
        ({"inputs": {"a": [0]}}, "an integer from 1"),
        ({"input": [2, 3, 4, 5, 6, 7, 8]}, "from 1 to 6 sizes"),
        ({"inputs": {"a": [2], "b": [3]}, "layers": [sn.dense(1, inputs="a")]}, "input 'b'"),
    ],
)
def test_mistakes_in_the_inputs_are_named(options: dict[str, Any], says: str) -> None:
    with pytest.raises(SymnetError) as caught:
        Network(**{"layers": [sn.dense(1)], **options})
    assert says in str(caught.value), str(caught.value)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (X, "a dict of arrays with the keys a, b"),
        ({"a": XY["a"]}, "no 'b'"),
        ({**XY, "c": X}, "unknown input 'c'"),
        ({**XY, "a": X}, "X['a']: found shape (4, 6), expected (n, 2, 3)"),
        ({**XY, "b": XY["b"][:3]}, "X['b']: found 3 rows, expected 4 rows"),
        ({**XY, "b": XY["b"] * np.nan}, "X['b'][0, 0]"),
    ],
)
def test_mistakes_in_data_by_name_are_named(data: Any, says: str) -> None:
    model = BIG.compile("adam")
    for attempt in (lambda: model.predict(data), lambda: model.fit(data, LABELS)):
        with pytest.raises(SymnetError) as caught:
            attempt()
        assert says in str(caught.value), str(caught.value)
