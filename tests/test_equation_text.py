"""Equations in text: they mean what the language says, their gradients hold to 50 digits, mistakes are named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import symnet as sn
from compiler.program import Program
from compiler.verify import verify
from symnet.errors import SymnetError
from symnet.kinds import Equations
from symnet.network import Network
from symnet.oracle.reference import evaluate
from symnet.oracle.reference_mp import complex_step_gradient, magnitudes

from .tolerance import judge

X = np.random.default_rng(1).normal(size=(4, 5))


def of(layer: Equations, input: Any = 5) -> Network:
    return Network(input=input, layers=[layer])


def values(network: Network, x: np.ndarray = X) -> dict[str, Any]:
    rng = np.random.default_rng(2)
    given = {t.name: rng.normal(size=network.parameters[name]) for name, t in network.tensors.items()}
    return {**given, "x": x, "y": np.zeros((len(x), network.spec.output))}


def forward(layer: Equations, x: np.ndarray = X) -> tuple[np.ndarray, dict[str, Any]]:
    """The output by the oracle, and the values that it was made from."""
    network = of(layer, x.shape[1:])
    given = values(network, x)
    return evaluate(Program(network.forward, (network.prediction,)), given)[network.prediction.name], given


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


AFFINE = sn.equations("z[n,i] = sum(W[i,j]*x[n,j], j) + b[i]", sizes={"i": 3}, parameters={"W": ["i", "j"], "b": ["i"]})
GATED = sn.equations(
    "z[n,i] = (sum(W[i,j]*x[n,j], j) + b[i]) * logistic(sum(V[i,j]*x[n,j], j) + c[i])",
    sizes={"i": 3},
    parameters={"W": ["i", "j"], "V": ["i", "j"], "b": ["i"], "c": ["i"]},
)
BILINEAR = sn.equations("z[n,i] = sum(W[i,j,k]*x[n,j]*x[n,k], j, k)", sizes={"i": 2}, parameters={"W": ["i", "j", "k"]})
CONVOLUTION = sn.equations("z[n,i] = sum(K[u]*x[n,i+u], u)", sizes={"i": 3, "u": 3}, parameters={"K": ["u"]})
PADDED = sn.equations("z[n,i] = x[n,i-1] + 2*x[n,i+1]", sizes={"i": 5})
RECURRENCE = sn.equations("h[n,t] = tanh(w*h[n,t-1] + x[n,t])", parameters={"w": []})
SLOTS = sn.equations(["h[n,0] = c", "h[n,t+1] += tanh(w*h[n,t] + x[n,t])"], parameters={"w": [], "c": []})
JOINED = sn.equations(["a[n,i] = x[n,i]**2", "a[n,i+5] += exp(x[n,i])"])
CAUSAL = sn.equations("z[n,i] = logsumexp(W[i,j]*x[n,j], j, j <= i)", parameters={"W": ["i", "j"]}, sizes={"i": 5})
LARGEST = sn.equations("z[n,i] = max(W[i,j]*x[n,j], j)", parameters={"W": ["i", "j"]}, sizes={"i": 3})
CHOSEN = sn.equations(["c[n] = argmax(x[n,j], j)", "z[n,i] = W[c[n],i]*x[n,i]"], parameters={"W": [5, "i"]})
PIECES = sn.equations(
    "z[n,i] = where(i < 2 and x[n,i] > 0, x[n,i], g*x[n,i]) + max(x[n,i], g) - max(x[n,j], j)/2", parameters={"g": []}
)
NORMED = sn.equations(
    ["v[i,j] = W[i,j]/sqrt(sum(W[i,k]**2, k))", "z[n,i] = sum(v[i,j]*x[n,j], j)"],
    sizes={"i": 3},
    parameters={"W": ["i", "j"]},
)
BACKWARD = sn.equations(["z[n,i] = tanh(v[n,i])", "v[n,i] = w*x[n,i]"], parameters={"w": []}, output="z")


def conv(x: np.ndarray, v: Any) -> np.ndarray:
    return np.stack([np.correlate(row, v["K1"], "valid") for row in x])


def recurrence(x: np.ndarray, w: Any, h: Any = 0.0) -> np.ndarray:
    steps = []
    for t in range(x.shape[1]):
        h = np.tanh(w * h + x[:, t])
        steps.append(h)
    return np.stack(steps, 1)


def causal(x: np.ndarray, W: np.ndarray) -> np.ndarray:
    s = np.where(np.tril(np.ones((5, 5), bool)), W * x[:, None, :], -np.inf)
    return np.log(np.exp(s).sum(axis=2))


def pieces(x: np.ndarray, g: float) -> np.ndarray:
    first = np.where((np.arange(5) < 2) & (x > 0), x, g * x)
    return first + np.maximum(x, g) - x.max(axis=1, keepdims=True) / 2


MEANINGS: dict[str, tuple[Equations, Any]] = {
    "affine": (AFFINE, lambda x, v: x @ v["W1"].T + v["b1"]),
    "gated": (GATED, lambda x, v: (x @ v["W1"].T + v["b1"]) * sigmoid(x @ v["V1"].T + v["c1"])),
    "bilinear": (BILINEAR, lambda x, v: np.einsum("ijk,nj,nk->ni", v["W1"], x, x)),
    "convolution": (CONVOLUTION, conv),
    "padded": (PADDED, lambda x, v: np.pad(x, ((0, 0), (1, 1)))[:, :5] + 2 * np.pad(x, ((0, 0), (1, 1)))[:, 2:]),
    "recurrence": (RECURRENCE, lambda x, v: recurrence(x, v["w1"])),
    "slots": (
        SLOTS,
        lambda x, v: np.concatenate([np.full((4, 1), v["c1"]), recurrence(x, v["w1"], v["c1"])], axis=1),
    ),
    "joined": (JOINED, lambda x, v: np.concatenate([x**2, np.exp(x)], axis=1)),
    "causal": (CAUSAL, lambda x, v: causal(x, v["W1"])),
    "largest": (LARGEST, lambda x, v: (v["W1"] * x[:, None, :]).max(axis=2)),
    "chosen": (CHOSEN, lambda x, v: v["W1"][x.argmax(axis=1)] * x),
    "pieces": (PIECES, lambda x, v: pieces(x, v["g1"])),
    "normed": (NORMED, lambda x, v: x @ (v["W1"] / np.linalg.norm(v["W1"], axis=1, keepdims=True)).T),
    "in any order": (BACKWARD, lambda x, v: np.tanh(v["w1"] * x)),
}


@pytest.mark.parametrize("name", MEANINGS)
def test_equations_mean_what_they_say(name: str) -> None:
    layer, expected = MEANINGS[name]
    found, given = forward(layer)
    np.testing.assert_allclose(found, expected(X, given), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("name", MEANINGS)
def test_gradients_of_equations_hold_to_the_complex_step(name: str) -> None:
    network = of(MEANINGS[name][0])
    if not network.parameters:
        network = Network(input=5, layers=[sn.dense(5), MEANINGS[name][0]])
    given = values(network)
    program = network.gradient_program()
    verify(program)
    risk, *gradients = program.outputs
    wrt = list(network.tensors.values())
    found, scale = evaluate(program, given), magnitudes(program, given)
    reference = complex_step_gradient(Program((*network.forward, *network.risk()), (risk,)), risk, wrt, given)
    for tensor, gradient in zip(wrt, gradients, strict=True):
        judge(tensor.name, found[gradient.name], reference[tensor.name], scale[gradient.name])


@pytest.mark.parametrize("name", ["gated", "recurrence", "causal", "chosen"])
def test_compiled_equations_are_those_of_the_oracle(name: str) -> None:
    layer, expected = MEANINGS[name]
    model = of(layer).compile("gradient_descent", "float64")
    given = {f"{t.name}": model.parameters[p] for p, t in model.network.tensors.items()}
    np.testing.assert_allclose(model.predict(X), expected(X, given), rtol=1e-12, atol=1e-13)
    y = np.ones((4, model.network.spec.output))
    _, gradients = model.network.value_and_gradient(model.parameters, X, y)
    for parameter, gradient in gradients.items():
        reference = model.network.gradient(parameter).evaluate(model.parameters, X, y)
        np.testing.assert_allclose(gradient, reference, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("name", MEANINGS)
def test_toml_gives_back_the_same_equations(name: str) -> None:
    network = of(MEANINGS[name][0])
    again = Network.from_toml(network.to_toml())
    assert again == network and again.forward == network.forward


def test_an_index_has_one_range_where_it_is_named_and_its_own_elsewhere() -> None:
    layer = sn.equations(
        ["u[n,i] = sum(W[i,j]*x[n,j], j)", "z[n,j] = sum(V[j,k]*u[n,k], k)"], parameters={"W": [3, 5], "V": [2, 3]}
    )
    assert of(layer).spec.output == 2  # j runs over 5 in the first line and over 2 in the second
    with pytest.raises(SymnetError, match="one size for an index"):
        sn.Network(
            input=5,
            layers=[
                sn.equations(
                    ["u[n,i] = sum(W[i,j]*x[n,j], j)", "z[n,j] = sum(V[j,k]*u[n,k], k)"],
                    parameters={"W": [3, "j"], "V": [2, 3]},
                )
            ],
        )


def test_parameters_start_as_the_layer_says_and_only_matrices_are_penalized() -> None:
    layer = sn.equations(
        "z[n,i] = sum(W[i,j]*x[n,j], j) + b[i]",
        sizes={"i": 3},
        parameters={"W": ["i", "j"], "b": {"shape": ["i"], "initializer": {"name": "constant", "value": 2.0}}},
        name="own",
    )
    network = Network(input=5, layers=[layer], l2=0.1)
    assert dict(network.parameters) == {"own.W": (3, 5), "own.b": (3,)}
    initial = network.initial_parameters(0)
    assert (initial["own.b"] == 2).all() and 0 < np.abs(initial["own.W"]).max() <= (6 / 8) ** 0.5
    assert [t.name for t in network.weights] == ["W1"]
    assert Network.from_toml(network.to_toml()) == network


def test_a_whole_network_may_be_equations_and_trains() -> None:
    layer = sn.equations(
        """
        h[n,i] = tanh(sum(W[i,j]*x[n,j], j) + b[i])
        z[n,k] = sum(V[k,i]*h[n,i], i) + c[k]
        """,
        sizes={"i": 8, "k": 1},
        parameters={"W": ["i", "j"], "b": ["i"], "V": ["k", "i"], "c": ["k"]},
    )
    corners, truth = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0.0, 1, 1, 0])
    model = Network(input=2, layers=[layer]).compile({"name": "adam", "learning_rate": 0.05}, "float64", 1)
    model.fit(corners, truth, epochs=500, batch_size=4)
    assert abs(model.predict(corners)[:, 0] - truth).max() < 0.05


def test_equations_may_share_their_parameters() -> None:
    text = "z[n,i] = tanh(sum(W[i,j]*x[n,j], j) + b[i])"
    layer = sn.equations(text, parameters={"W": ["i", "j"], "b": ["i"]}, sizes={"i": 5}, name="one")
    again = sn.equations(text, parameters={"W": ["i", "j"], "b": ["i"]}, sizes={"i": 5}, share="one")
    network = Network(input=5, layers=[layer, again])
    assert list(network.parameters) == ["one.W", "one.b"]
    given = values(network)
    found = evaluate(Program(network.forward, (network.prediction,)), given)[network.prediction.name]
    expected = X
    for _ in range(2):
        expected = np.tanh(expected @ given["W1"].T + given["b1"])
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_several_inputs_must_be_named_to_be_read() -> None:
    layer = sn.equations("z[n,i] = x[n,i]", name="own")
    with pytest.raises(SymnetError, match="layer 'own', inputs: found 2 inputs without names"):
        Network(inputs={"a": [2], "b": [2]}, layers=[layer])


def test_layers_are_read_by_their_names() -> None:
    layers = [
        sn.dense(5, "tanh", name="hidden"),
        sn.equations("z[n,i] = a*x[n,i] + hidden[n,i]", parameters={"a": []}, inputs=["x", "hidden"]),
    ]
    network = Network(input=5, layers=layers)
    given = values(network)
    hidden = np.tanh(X @ given["W1"].T + given["b1"])
    found = evaluate(Program(network.forward, (network.prediction,)), given)[network.prediction.name]
    np.testing.assert_allclose(found, given["a2"] * X + hidden, rtol=1e-14)


# ---------------------------------------------------------------------------------------------- mistakes
PARAMETERS = {"W": ["i", "j"], "b": ["i"]}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("z[n,i] = sum(W[i,j]*x[n,j], j) + b[k]", "one of n, i"),
        ("z[n,i] = sum(W[i,j]*V[n,j], j) + b[i]", "unknown tensor 'V'"),
        ("z[n,i] = sum(W[i,j]*x[n], j) + b[i]", "x with 2 subscripts"),
        ("z[n,i] = sum(W[j,i]*x[n,j], j) + b[i]", "one size for an index"),
        ("z[n,i] = W[i,j]*x[n,j] + b[i]", "Reduce over it"),
        ("z[n,i] = summ(W[i,j]*x[n,j], j) + b[i]", "Did you mean 'sum'"),
        ("z[n,i] = sum(W[i,j]*x[n,j]) + b[i]", "sum(expression, index, ...)"),
        ("z[n,i] = sum(W[i,j]*x[n,j], j, j=1) + b[i]", "sum(expression, index, ...)"),
        ("z[n,i] = sum(W[i,j]*x[n,j], n, j) + b[i]", "another letter than n"),
        ("z[n,i] = sum(W[i,j]*x[m,j], m, j) + b[i]", "no range for n"),
        ("z[n,i] = sum(W[i,j]*x[n-1,j], j) + b[i]*x[n,i]", "no range for n|one size|index of the samples, alone"),
        ("z[n,i] = sum(W[i,j]*x[n,j], j) + b[i+q]", "Reduce over it: sum(..., q)"),
        ("z[n,i] = sum(W[i,j]*x[n,j], j) + b[z[n,i]]", "index of the samples, alone|must be an integer tensor"),
        ("z[n,i] = sum(W[i,j]*x[n,j], j) + b[i*i]", "affine"),
        ("z[n,i] = z[n,i] + sum(W[i,j]*x[n,j], j) + b[i]", "defined through itself"),
        ("z[n,i] = sum(W[i,j]*x[n,j], j)", "a parameter that the equations read"),
        ("z[n,i] = b[i] + sum(W[i,i+j], j)", "no range for"),
        ("z[n,i] = sum(W[i,j]*x[n,j], j) + b[i]\nz[n,i] = b[i]", "'+='"),
        ("x[n,i] = sum(W[i,j]*x[n,j], j) + b[i]", "not given already"),
        ("sum(W[i,j]*x[n,j], j) + b[i]", "an equation"),
        ("z[n,i] -= sum(W[i,j]*x[n,j], j) + b[i]", "an equation"),
        ("exp[n,i] = sum(W[i,j]*x[n,j], j) + b[i]", "no function's"),
        ("z_[n,i] = sum(W[i,j]*x[n,j], j) + b[i]", "letters and digits"),
        ("z[n,i] = sum(W[i,j]*x[n,j], j) + b[i].real", "the attribute 'b[i].real'"),
        ("z[n,i] = sum(W[i,j]*x[n,j], j) + [b[i]]", "the text '[b[i]]'"),
        ("z[n,i] = sum(W[i,j]*x[n,j], j) + (lambda: b[i])()", "cannot be read|the call '(lambda: b[i])()'"),
        ("z[n,i] = sum(W[i,j]*x[n,j], j) + b[i]*__import__('os')", "unknown function"),
        ("z[n,i] = sum(W[i,j]*x[n,j], j) + exec('1') + b[i]", "unknown function"),
        ("import os", "the text 'import os'"),
        ("z[n,i] = sum(W[i,j]*x[n,j], j) + 9**9**9 + b[i]", "large power"),
        ("z[n,i] = sum(W[i,j]*x[n,j], j) + b[i", "cannot be read"),
        ("z[n,i] = " + "(" * 50 + "b[i]" + ")" * 50, "nested brackets"),
        ("z[n,i] = b[i]" + " + b[i]" * 5000, "characters"),
        ("z[n,i] = b[i]; __import__('os')", "an equation"),
        ("z[n,i] = sum(W[i,j]*x[n,j], j) + x[n,*b]", "the text '*b'"),
        ("z[n,i] = sum(W[i,j]*x[n,j], j) + b[i]*x[n,0:2]", "the text '0:2'"),
        ("z[n,i] = sum(W[i,j]*x[n,j], j) + (q := b[i])", "the text '(q := b[i])'"),
    ],
)
def test_mistakes_in_equations_are_named(text: str, says: str) -> None:
    layer = sn.equations(text, sizes={"i": 3}, parameters=PARAMETERS)
    with pytest.raises(SymnetError, match="layer 'equations1'") as caught:
        of(layer)
    assert any(part in str(caught.value) for part in says.split("|")), str(caught.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"sizes": {"i": 0}}, "an integer from 1"),
        ({"sizes": [3]}, "a table of indices"),
        ({"parameters": {"W": ["i", 1.5]}}, "an integer from 1"),
        ({"parameters": {"W": {"shap": ["i"]}}}, "Did you mean 'shape'"),
        ({"parameters": {"W": {"shape": ["i"], "initializer": "glorrot"}}}, "Did you mean 'glorot'"),
        ({"parametres": {}}, "Did you mean 'parameters'"),
        ({"output": "q"}, "unknown tensor 'q'"),
        ({"output": "w"}, "the axis of the samples"),
        ({"inputs": ["x", "x1"]}, "unknown layer 'x1'"),
        ({"parameters": {"b": ["i"], "c": [2]}}, "a parameter that the equations read"),
        ({"parameters": {"b": ["i"], "x": [2]}}, "a name that no input has"),
        ({"equations": "z[i] = 2*b[i]", "sizes": {"i": 3}}, "an input that the equations read"),
        ({"equations": ["u[n] = sum(x[n,i], i)", "z[n,i] = b[i]"]}, "no range for n"),
        ({"equations": ["z[n,i] = sum(x[n,j], j) + sum(sum(b[i]*x[n,j], n), j)"]}, "another letter than n"),
        ({"equations": ["u[j] = sum(x[n,j], n)", "z[n,i] = x[n,i] + b[i]*u[i]"]}, "Samples are independent"),
        ({"equations": ["a[n,i] = c[n,i]*x[n,i]*b[i]", "c[n,i] = a[n,i]"], "sizes": {"i": 5}}, "a, c: defined through"),
        ({"equations": ["z[n,i] = x[n,i]*b[i] + sum(i, j)"], "sizes": {"j": 2**40}}, "at most 2147483648"),
        ({"equations": ["z[n,é] = x[n,é]*b[é]"], "parameters": {"b": [5]}}, "a name of letters and digits"),
        ({"equations": ["z[n,i] = x[n,i]*b[i] + x[n-1,i]"]}, "the index of the samples, alone"),
    ],
)
def test_mistakes_in_the_rest_of_the_layer_are_named(options: dict[str, Any], says: str) -> None:
    with pytest.raises(SymnetError) as caught:
        text = options.pop("equations", ["w[i] = 2*b[i]", "z[n,i] = x[n,i]*w[i]"])
        of(sn.equations(text, **{"parameters": {"b": ["i"]}, **options}))
    assert says in str(caught.value), str(caught.value)


def test_no_text_of_a_user_reaches_generated_source_but_names() -> None:
    layer = sn.equations("weird[n,i] = x[n,i]*strange[i]  # a remark", parameters={"strange": ["i"]}, name="odd")
    model = Network(input=5, layers=[layer, sn.dense(2)]).compile("gradient_descent", "float64")
    assert "remark" not in model.source and "odd" not in model.source
