"""Embedding, positions, attention, transformer: PyTorch's values, what masks mean, what is refused, what is learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import symnet as sn
from compiler.calling import interpret
from symnet.errors import SymnetError
from symnet.notation.pages import show
from symnet.oracle.reference import evaluate

STORED = np.load(Path(__file__).parent / "values" / "attention.npz")
SEQUENCE = [5, 6]
NETWORKS: dict[str, sn.Network] = {
    "attention": sn.Network(SEQUENCE, [sn.attention(2, name="attention")]),
    "causal": sn.Network(SEQUENCE, [sn.attention(2, True, name="attention")]),
    "length": sn.Network(
        inputs={"X": SEQUENCE, "length": {"shape": [], "below": 6}},
        layers=[sn.attention(2, name="attention", inputs=["X", "length"])],
    ),
    "cross": sn.Network(
        inputs={"X": SEQUENCE, "m": [3, 6]}, layers=[sn.attention(2, name="attention", inputs=["X", "m"])]
    ),
    "transformer": sn.Network(
        {"shape": [5], "below": 7},
        [
            sn.embedding(7, 6, name="embed"),
            sn.transformer(2, True, name="block", hidden=9),
            sn.dense(7, name="out"),
        ],
        "softmax_cross_entropy",
    ),
}


def stored(case: str, group: str) -> dict[str, np.ndarray]:
    """name -> array, of what is stored under case/group/."""
    start = f"{case}/{group}/"
    return {key.removeprefix(start): STORED[key] for key in STORED.files if key.startswith(start)}


def given(net: sn.Network, parameters: dict[str, Any], X: dict[str, Any], y: Any) -> dict[str, Any]:
    """Values by the names of tensors."""
    values = {net.tensors[name].name: value for name, value in parameters.items()}
    values |= {net.spec.input_tensors[name]: array for name, array in X.items()}
    return {**net.constants, **values, "y": y}


def refused(layers: list[Any], *words: str, **inputs: Any) -> None:
    with pytest.raises(SymnetError) as caught:
        sn.Network(layers=layers, **inputs)
    for word in words:
        assert word in str(caught.value)


# ---------------------------------------------------------------------------------------------- PyTorch
@pytest.mark.parametrize("case", NETWORKS)
def test_gradients_are_those_of_pytorch(case: str) -> None:
    net = NETWORKS[case]
    X = {name: STORED[f"{case}/{'X' if name == 'x' else name}"] for name in net.inputs}
    values = given(net, stored(case, "start"), X, STORED[f"{case}/y"])
    program, expected = net.gradient_program(), stored(case, "gradient")
    assert expected.keys() == net.parameters.keys()
    for run in (evaluate(program, values, {"N": 4}), interpret(program, values, {"N": 4}, plain=False)):
        np.testing.assert_allclose(run["R"], STORED[f"{case}/loss"], 1e-12)
        for name, adjoint in net.gradients().by_name.items():
            np.testing.assert_allclose(run[adjoint.name], expected[name], 1e-10, 1e-13, err_msg=name)


def test_native_code_gives_the_gradients_of_pytorch() -> None:
    net = NETWORKS["causal"]
    parameters, expected = stored("causal", "start"), stored("causal", "gradient")
    risk, found = net.value_and_gradient(parameters, STORED["causal/X"], STORED["causal/y"])
    np.testing.assert_allclose(risk, STORED["causal/loss"], 1e-12)
    for name, gradient in found.items():
        np.testing.assert_allclose(gradient, expected[name], 1e-10, 1e-13, err_msg=name)


# ---------------------------------------------------------------------------------------------- meaning
def outputs(net: sn.Network, X: dict[str, Any], seed: int = 0) -> np.ndarray:
    parameters = net.initial_parameters(seed)
    program = net.prediction_program("values")
    values = given(net, parameters, X, None)
    rows = len(next(iter(X.values())))
    return evaluate(program, {k: v for k, v in values.items() if k != "y"}, {"N": rows})[program.outputs[0].name]


def test_an_embedding_is_a_row_for_each_symbol_and_its_gradient_adds_up_over_the_places() -> None:
    layers = [sn.embedding(4, 2, name="embed"), sn.flatten(), sn.dense(1, name="out", bias=False)]
    net = sn.Network({"shape": [3], "below": 4}, layers)
    parameters = net.initial_parameters(0)
    X = np.array([[2, 0, 2], [2, 2, 2]])
    E, W = parameters["embed.E"], parameters["out.W"].reshape(3, 2)
    residual = (E[X] * W).sum((1, 2)) - 1
    expected = np.zeros_like(E)
    for n, row in enumerate(X):
        for t, symbol in enumerate(row):
            expected[symbol] += 2 * residual[n] * W[t] / len(X)
    gradient = net.gradient("embed.E")
    np.testing.assert_allclose(gradient.evaluate(parameters, X, np.ones(2)), expected, 1e-12)
    assert not expected[[1, 3]].any()
    program, values = net.gradient_program(), given(net, parameters, {"x": X}, np.ones((2, 1)))
    np.testing.assert_allclose(interpret(program, values, {"N": 2})[gradient.tensor.name], expected, 1e-12)


def test_an_embedding_takes_one_symbol_a_sample_and_symbols_along_two_axes() -> None:
    for shape in ([], [2, 3]):
        net = sn.Network({"shape": shape, "below": 3}, [sn.embedding(4, 5, name="embed")])
        X = np.random.default_rng(0).integers(0, 3, (6, *shape))
        np.testing.assert_array_equal(outputs(net, {"x": X}), net.initial_parameters(0)["embed.E"][X])


def test_a_causal_output_does_not_depend_on_what_follows() -> None:
    net = sn.Network(SEQUENCE, [sn.positions(), sn.transformer(3, causal=True), sn.transformer(2, causal=True)])
    x = np.random.default_rng(0).normal(size=(1, 5, 6))
    other = x.copy()
    other[0, 3, 0] += 1
    one, two = outputs(net, {"x": x}), outputs(net, {"x": other})
    np.testing.assert_array_equal(one[:, :3], two[:, :3])
    assert (one[:, 3:] != two[:, 3:]).all()


def test_positions_beyond_a_length_are_not_attended_to() -> None:
    inputs = {"X": SEQUENCE, "length": {"shape": [], "below": 6}}
    net = sn.Network(inputs=inputs, layers=[sn.transformer(2, inputs=["X", "length"])])
    rng = np.random.default_rng(0)
    x, length = rng.normal(size=(3, 5, 6)), np.array([1, 3, 5])
    other = x.copy()
    other[1, 3:] = 1e6
    one, two = (outputs(net, {"X": X, "length": length}) for X in (x, other))
    np.testing.assert_array_equal(one[1, :3], two[1, :3])


def test_a_mask_of_the_first_positions_is_their_number() -> None:
    rng = np.random.default_rng(0)
    x, length = rng.normal(size=(3, 5, 6)), np.array([1, 3, 5])
    found = []
    for shape, below, given in (([], 6, length), ([5], 2, (np.arange(5) < length[:, None]).astype(int))):
        inputs = {"X": SEQUENCE, "some": {"shape": shape, "below": below}}
        net = sn.Network(inputs=inputs, layers=[sn.transformer(2, causal=True, inputs=["X", "some"])])
        found.append(outputs(net, {"X": x, "some": given}))
    np.testing.assert_array_equal(*found)


def test_large_scores_do_not_overflow() -> None:
    net = NETWORKS["causal"]
    parameters = {name: 40 * value for name, value in net.initial_parameters(0).items()}
    x, y = np.random.default_rng(0).normal(0, 9, (2, 5, 6)), np.zeros((2, 5, 6))
    run = interpret(net.gradient_program(), given(net, parameters, {"x": x}, y), {"N": 2}, plain=False)
    assert all(np.isfinite(value).all() for value in run.values())


def test_the_bias_of_keys_changes_nothing() -> None:
    net = NETWORKS["attention"]
    values = given(net, stored("attention", "start"), {"x": STORED["attention/X"]}, STORED["attention/y"])
    found = evaluate(net.gradient_program(), values, {"N": 4})
    np.testing.assert_allclose(found[net.gradients().by_name["attention.bk"].name], 0, atol=1e-13)


def test_sinusoidal_positions_are_those_of_the_paper_and_nothing_is_learned() -> None:
    net = sn.Network([7, 5], [sn.positions("sinusoidal")])
    assert not net.parameters
    found = outputs(net, {"x": np.zeros((1, 7, 5))})[0]
    for t, k in ((0, 0), (3, 0), (3, 1), (6, 3), (6, 4)):
        angle = t / 10_000 ** (2 * (k // 2) / 5)
        np.testing.assert_allclose(found[t, k], np.cos(angle) if k % 2 else np.sin(angle), 1e-14, 1e-15)
    assert sn.Network.from_toml(net.to_toml()) == net


def test_a_longer_table_of_positions_serves_shorter_sequences() -> None:
    net = sn.Network([3, 2], [sn.positions(length=5, name="place")])
    P = net.initial_parameters(0)["place.P"]
    assert P.shape == (5, 2)
    np.testing.assert_array_equal(outputs(net, {"x": np.zeros((1, 3, 2))})[0], P[:3])
    gradient = net.gradient("place.P").evaluate({"place.P": P}, np.zeros((1, 3, 2)), np.ones((1, 3, 2)))
    assert (gradient[:3] != 0).all() and not gradient[3:].any()


# ---------------------------------------------------------------------------------------------- declaring
def test_everything_goes_through_toml() -> None:
    layers = [
        sn.embedding(9, 4, l2=0.1),
        sn.positions(length=8, initializer="zeros"),
        sn.transformer(2, causal=True, hidden=5, activation="relu", norm="rms_norm", bias=False, epsilon=1e-3),
        sn.attention(2, width=6, bias=False, initializer="he_normal"),
    ]
    net = sn.Network({"shape": [5], "below": 9}, layers)
    assert sn.Network.from_toml(net.to_toml()) == net
    assert net.parameters["attention4.Wq"] == (2, 3, 4) and net.parameters["attention4.Wo"] == (4, 2, 3)
    assert "attention4.bo" not in net.parameters and "transformer3.beta1" not in net.parameters


def test_what_does_not_fit_is_refused_and_named() -> None:
    ids = {"shape": [5], "below": 9}
    refused([sn.attention(4, name="look")], "layer 'look', heads", "found 4", "divides the width 6", input=SEQUENCE)
    refused([sn.transformer(4)], "layer 'transformer1', heads", "divides the width 6", input=SEQUENCE)
    refused([sn.attention(1)], "the shape (6,)", "(time, width)", "reshape", input=6)
    refused([sn.positions(length=4)], "5 positions", "at most 4", input=SEQUENCE)
    refused([sn.embedding(8, 2)], "integers below 9", "below 8, the vocabulary", input=ids)
    refused([sn.embedding(9, 2)], "found real numbers", "{ shape = [5, 6], below = 9 }", input=SEQUENCE)
    refused([sn.attention(1)], "found integers", input=ids)
    refused([sn.transformer(2, activation="prelu")], "the learned gamma", input=SEQUENCE)
    both = {"a": SEQUENCE, "b": [3, 6], "n": {"shape": [], "below": 5}}
    refused([sn.attention(2, True, inputs=["a", "b", "n"])], "causal", "another sequence", inputs=both)
    refused([sn.attention(2, inputs=["a", "b", "n"])], "lengths below 5", "below = 4", inputs=both)
    refused([sn.transformer(2, inputs=["a", "b", "n"])], "found 3 inputs", inputs=both)
    real, short = {"a": SEQUENCE, "m": [5]}, {"a": SEQUENCE, "m": {"shape": [4], "below": 2}}
    refused([sn.attention(2, inputs=["a", "m"])], "real numbers", "{ shape = [5], below = 2 }", inputs=real)
    refused([sn.attention(2, inputs=["a", "m"])], "shape (4,)", "of the shape (5,), a mask", inputs=short)


def test_formulas_name_what_a_textbook_names() -> None:
    text = show(NETWORKS["causal"])
    assert "e1[n,h,t,u] = Σ_d q1[n,t,h,d] k1[n,u,h,d]" in text
    assert "c1[n,t,h,d] = Σ_u p1[n,h,t,u] v1[n,u,h,d]" in text
    assert "∂ℓ/∂v1[n,u,h,d] = Σ_t p1[n,h,t,u] (∂ℓ/∂c1[n,t,h,d])" in text
    text = show(NETWORKS["transformer"])
    assert "∂R/∂E1[i,k] = (1/N) Σ_{n,t: i=x[n,t]} " in text


# ---------------------------------------------------------------------------------------------- lowering
def test_everything_that_is_a_product_is_lowered_as_one() -> None:
    from compiler.executable import plan_storage
    from compiler.lower import lower
    from compiler.nest import Call, Loop
    from compiler.passes import run_passes
    from compiler.prepare import prepare

    T, D, H = 16, 32, 2
    net = sn.Network([T, D], [sn.attention(H, causal=True, bias=False)])
    program = net.training_program("gradient_descent")
    orders = plan_storage(program, "float32").orders
    tree = lower(prepare(run_passes(program)[0]), orders)

    def calls(body: Any, inside: int = 0) -> list[int]:
        found = []
        for node in body:
            if isinstance(node, Call):
                found.append(inside)
            elif isinstance(node, Loop):
                found += calls(node.body, inside + 1)
        return found

    # q, k, v, y and their gradients by parameters and, but for the input, by what they read; s, c and theirs by (n, h)
    assert sorted(calls(tree.body)) == [0] * 9 + [2] * 6


# ---------------------------------------------------------------------------------------------- learning
def test_attention_learns_to_copy_what_stood_four_places_before() -> None:
    rng = np.random.default_rng(0)
    X = rng.integers(0, 5, (256, 12))
    y = np.roll(X, 4, 1)  # the first four cannot be known
    layers = [sn.embedding(5, 16), sn.positions(), sn.attention(1, True, bias=False), sn.dense(5)]
    net = sn.Network({"shape": [12], "below": 5}, layers, "softmax_cross_entropy")
    model = net.compile({"name": "adam", "learning_rate": 1e-2}, seed=0)
    model.fit(X, y, epochs=40, batch_size=32)
    test = rng.integers(0, 5, (64, 12))
    assert (model.predict(test)[:, 4:] == test[:, :-4]).mean() > 0.99
