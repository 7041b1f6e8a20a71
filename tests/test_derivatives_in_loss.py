"""Derivatives of a network by its inputs, inside its loss: against JAX, the oracle, and what is known of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import symnet as sn
from compiler.calling import interpret
from compiler.program import merge_duplicates
from symnet.errors import SymnetError
from symnet.notation.pages import show
from symnet.oracle.reference import evaluate

from .tolerance import check_gradient

STORED = np.load(Path(__file__).parent / "values" / "derivatives.npz")
U = "prediction[n,0]"
LOSSES: dict[str, list[str]] = {
    "oscillator": [f"u2[n] = d({U}, x[n,0], x[n,0])", f"ell[n] = (u2[n] + {U})**2"],
    "heat": [f"ell[n] = (d({U}, x[n,0]) - 0.3*d({U}, x[n,1], x[n,1]))**2"],
    "mixed": [f"ell[n] = d({U}, x[n,1], x[n,0])**2 + {U}"],
    "fourth": [f"ell[n] = (d({U}, x[n,0], x[n,0], x[n,0], x[n,0]) - 2*{U})**2"],
    "laplacian": [f"ell[n] = (sum(d({U}, x[n,j], x[n,j]), j) - x[n,0])**2"],
    "slopes": [f"ell[n] = (sum(d({U}, x[n,j])**2, j) - 1)**2"],
    "hessian": [f"ell[n] = sum(d({U}, x[n,i], x[n,j])**2, i, j)"],
    "constrained": [f"u[n] = x[n,0]*(1 - x[n,0])*{U}", "ell[n] = (d(u[n], x[n,0], x[n,0]) + 1)**2"],
    "nested": [f"s[n] = d({U}, x[n,0])**2", "ell[n] = d(s[n], x[n,1])**2"],
}


def network(case: str) -> sn.Network:
    layers = [sn.dense(4, "tanh", name="first"), sn.dense(3, "tanh", name="second"), sn.dense(1, name="last")]
    return sn.Network(STORED[f"{case}/x"].shape[1], layers, {"equations": LOSSES[case]})


def point(case: str, net: sn.Network) -> dict[str, Any]:
    values: dict[str, Any] = {"x": STORED[f"{case}/x"], "y": np.zeros((7, 1))}
    return values | {tensor.name: STORED[f"{case}/start/{name}"] for name, tensor in net.tensors.items()}


ORDERS = ("x[n,0], x[n,1]", "x[n,2], x[n,2], x[n,0]", "x[n,1]", "x[n,1], x[n,1]")


@pytest.mark.parametrize("seed", range(4))
def test_gradients_of_random_networks_with_derivatives_in_their_loss_are_right(seed: int) -> None:
    rng = np.random.default_rng(seed)
    smooth = ["tanh", "logistic", "softplus", "swish", "gelu"]
    norms = ((), (sn.layer_norm(),), (sn.rms_norm(),))
    layers: list[Any] = []
    for _ in range(2 - seed % 2):
        layers += [sn.dense(int(rng.integers(2, 4)), str(rng.choice(smooth))), *norms[rng.integers(3)]]
    lines = [
        f"u[n] = d(prediction[n,0], {ORDERS[seed]})",
        "g[n] = sum(d(prediction[n,1], x[n,j])**2, j)",
        "ell[n] = (u[n] - 1)**2 + g[n]*prediction[n,0]",
    ]
    net = sn.Network(3, [*layers, sn.dense(2)], {"equations": lines})
    values: dict[str, Any] = {"x": rng.normal(size=(2, 3)), "y": np.zeros((2, 2))}
    values |= {tensor.name: rng.normal(size=[int(k) for k in tensor.shape]) for tensor in net.tensors.values()}
    program = net.gradient_program()
    equations = [*net.forward, *net.risk()]
    gradients = check_gradient(equations, program.outputs[0], tuple(net.tensors.values()), values, {"N": 2})
    looped = interpret(program, values, {"N": 2}, plain=False)
    for (name, adjoint), expected in zip(net.gradients().by_name.items(), gradients.values(), strict=True):
        np.testing.assert_allclose(looped[adjoint.name], expected, 1e-8, 1e-9 * np.abs(expected).max(), err_msg=name)


@pytest.mark.parametrize("case", LOSSES)
def test_losses_with_derivatives_and_their_gradients_are_those_of_jax(case: str) -> None:
    net = network(case)
    program, values = net.gradient_program(), point(case, net)
    for run in (evaluate(program, values, {"N": 7}), interpret(program, values, {"N": 7}, plain=False)):
        np.testing.assert_allclose(run["R"], STORED[f"{case}/loss"], 1e-12)
        for name, adjoint in net.gradients().by_name.items():
            expected = STORED[f"{case}/gradient/{name}"]
            scale = max(np.abs(expected).max(), 1e-3)
            np.testing.assert_allclose(run[adjoint.name], expected, 1e-10, 1e-12 * scale, err_msg=name)


def test_an_equation_that_is_there_twice_and_once_twofold_counts_four_times() -> None:
    x, y = sn.Tensor("x", (), "input"), sn.Tensor("y")
    once, twofold = (sn.Equation(sn.Access(y), (), factor * sn.Access(x)) for factor in (1, 2))
    found = merge_duplicates([once, twofold, once])
    assert found == [sn.Equation(sn.Access(y), (), 4 * sn.Access(x))]


def test_gradients_are_the_complex_step_of_the_loss_itself() -> None:
    net = network("heat")
    risk = net.gradient_program().outputs[0]
    equations = [e for e in net.gradient_program().equations if not e.tensor.name.startswith(("d_", "delta"))]
    check_gradient(equations, risk, tuple(net.tensors.values()), point("heat", net), {"N": 7})


def test_compiled_training_lowers_the_residual_and_evaluate_gives_the_same_loss() -> None:
    net = network("oscillator")
    x = np.linspace(0, 1, 20)[:, None]
    model = net.compile({"name": "adam", "learning_rate": 0.01}, "float64")
    before = model.evaluate(x, 0 * x)["loss"]
    history = model.fit(x, 0 * x, epochs=100, batch_size=20)
    after = model.evaluate(x, 0 * x)["loss"]
    assert after < before / 10
    assert history[-1].loss == pytest.approx(after, rel=0.5)
    value, _ = net.value_and_gradient(dict(model.parameters), x, 0 * x)
    assert value == pytest.approx(after, rel=1e-12)


def test_inputs_have_their_names_and_positions_their_own_derivatives() -> None:
    loss = {"equations": ["ell[n] = (d(prediction[n,0], t[n,0]) - d(prediction[n,0], x[n,0]))**2"]}
    layers = [sn.concat("t", "x"), sn.dense(3, "tanh"), sn.dense(1)]
    net = sn.Network(inputs={"t": 1, "x": 1}, layers=layers, loss=loss)
    assert "r" not in net.inputs and {"z3_t", "z3_x"} <= {t.name for t in net.gradient_program().tensors}
    along = sn.Network(
        (5, 2), [sn.dense(3, "tanh"), sn.dense(1)], {"equations": "ell[n,t] = d(prediction[n,t,0], x[n,t,1])**2"}
    )
    values = {tensor.name: along.initial_parameters(0)[name] for name, tensor in along.tensors.items()}
    x = np.random.default_rng(0).normal(size=(3, 5, 2))
    found = evaluate(along.gradient_program(), values | {"x": x, "y": np.zeros((3, 5, 1))}, {"N": 3})["R"]
    slope = 1 - np.tanh(x @ values["W1"].T + values["b1"]) ** 2
    expected = np.mean(((slope * values["W1"][:, 1]) @ values["W2"].T) ** 2)
    assert found == pytest.approx(expected, rel=1e-12)


def test_what_does_not_depend_on_an_input_has_the_derivative_zero() -> None:
    layers = [sn.dense(1, inputs="t", name="a"), sn.dense(1, inputs="x", name="b"), sn.concat("a", "b")]
    loss = {"equations": "ell[n] = d(prediction[n,0], x[n,0]) + d(prediction[n,1], x[n,0], t[n,0]) + 3", "columns": 1}
    net = sn.Network(inputs={"t": 1, "x": 1}, layers=layers, loss=loss)
    values = {tensor.name: net.initial_parameters(0)[name] for name, tensor in net.tensors.items()}
    values |= {"x_t": np.ones((2, 1)), "x": np.ones((2, 1)), "y": np.zeros((2, 1))}
    found = evaluate(net.gradient_program(), values, {"N": 2})
    assert found["R"] == 3
    assert not any(found[adjoint.name].any() for adjoint in net.gradients().by_name.values())
    layers = [sn.dense(1, inputs="t", name="a"), sn.dense(2, inputs="x", name="b"), sn.concat("a", "b")]
    loss = {"equations": "ell[n] = sum(d(prediction[n,0], x[n,j]), j) + sum(d(prediction[n,1], x[n,j]), j)"}
    net = sn.Network(inputs={"t": 1, "x": 3}, layers=layers, loss=loss)
    values = {tensor.name: net.initial_parameters(0)[name] for name, tensor in net.tensors.items()}
    values |= {"x_t": np.ones((2, 1)), "x": np.ones((2, 3)), "y": np.zeros((2, 3))}
    found = evaluate(net.gradient_program(), values, {"N": 2})
    assert found["R"] == pytest.approx(values["W2"][0].sum(), rel=1e-14)


def test_dropout_is_differentiated_as_it_is_drawn_and_coupled_samples_are_refused() -> None:
    layers = [sn.dense(4, "tanh", name="first"), sn.dropout(0.5), sn.dense(1)]
    net = sn.Network(2, layers, {"equations": "ell[n] = d(prediction[n,0], x[n,0])**2"})
    program, values = net.gradient_program(training=True), {"seed": 1, "step": 1, "y": np.zeros((6, 1))}
    values |= {tensor.name: net.initial_parameters(0)[name] for name, tensor in net.tensors.items()}
    values["x"] = np.random.default_rng(0).normal(size=(6, 2))
    found = evaluate(program, values, {"N": 6}, list(program.definitions))
    kept = found["a2"] / found["a1"]  # 0 or 2
    slope = kept * (1 - found["a1"] ** 2) * values["W1"][:, 0]
    assert found["R"] == pytest.approx(np.mean((slope @ values["W3"].T) ** 2), rel=1e-12)
    assert set(kept.ravel().round(9)) == {0, 2}
    net = sn.Network(
        2, [sn.batch_norm(), *layers[:1], sn.dense(1)], {"equations": "ell[n] = d(prediction[n,0], x[n,0])"}
    )
    with pytest.raises(SymnetError, match="couples the samples"):
        net.compile()


def test_a_layer_may_give_derivatives_too_and_the_loss_those_of_the_same_tensors() -> None:
    layers = [
        sn.dense(4, "tanh", name="hidden", inputs="x"),
        sn.dense(1, name="energy"),
        sn.equations("f[n,j] = -d(energy[n,0], x[n,j])", inputs=["energy", "x"], name="f"),
        sn.concat("energy", "f", name="out"),
    ]
    loss = {"equations": "ell[n] = (prediction[n,1] - target[n,1])**2 + d(prediction[n,0], x[n,1])**2"}
    net = sn.Network(2, layers, loss)
    rng = np.random.default_rng(3)
    values = {tensor.name: rng.normal(size=[int(k) for k in tensor.shape]) for tensor in net.tensors.values()}
    x, y = rng.normal(size=(5, 2)), rng.normal(size=(5, 3))
    slope = (1 - np.tanh(x @ values["W1"].T + values["b1"]) ** 2) * values["W2"][0]
    force = -slope @ values["W1"]
    found = evaluate(net.gradient_program(), {**values, "x": x, "y": y}, {"N": 5})["R"]
    assert found == pytest.approx(np.mean((force[:, 0] - y[:, 1]) ** 2 + force[:, 1] ** 2), rel=1e-12)
    risk = net.gradient_program().outputs[0]
    equations = [e for e in net.gradient_program().equations if not e.tensor.name.startswith(("d_", "delta"))]
    check_gradient(equations, risk, tuple(net.tensors.values()), {**values, "x": x, "y": y}, {"N": 5})


def test_formulas_name_each_derivative() -> None:
    text = show(network("oscillator"))
    for line in (
        "z1_x[n,i] = W1[i,0]",
        "a1_x = (1 - a1²) ⊙ z1_x",
        "a1_xx = -2 a1 ⊙ (1 - a1²) ⊙ z1_x²",
        "a2_xx = (1 - a2²) ⊙ z2_xx - 2 a2 ⊙ (1 - a2²) ⊙ z2_x²",
        "z3_xx = W3 a2_xx",
        "u2_loss[n] = z3_xx[n,0]",
        "∂ℓ/∂z2_xx = (1 - a2²) ⊙ ∂ℓ/∂a2_xx",
        "∂R/∂W3 = (1/N) (Σ (∂ℓ/∂z3_xx) a2_xxᵀ + Σ δ3 a2ᵀ)",
    ):
        assert line in text, f"{line} is not in\n{text}"


def test_toml_declares_the_same_network() -> None:
    net = network("heat")
    assert sn.Network.from_toml(net.to_toml()) == net


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ell[n] = d(prediction[n,0])", "0 inputs after the first argument"),
        ("ell[n] = d(prediction[n,0]**2, x[n,0])", "an element of a tensor"),
        ("ell[n] = d(prediction[n,0], target[n,0])", "one by an input of the network"),
        ("ell[n] = d(x[n,0], x[n,0])", "the derivative of x"),
        ("ell[n] = d(prediction[n,0], x[n,2])", "numbers from 0 to 1"),
        ("ell[n] = d(prediction[n,0], w[n,0])", "tensor"),
        ("u[n] = d(v[n], x[n,0])\nv[n] = d(u[n], x[n,0])\nell[n] = u[n]", "own derivative"),
    ],
)
def test_what_is_no_derivative_is_refused_where_it_is_declared(line: str, message: str) -> None:
    with pytest.raises(SymnetError, match=message.replace("(", r"\(")):
        sn.Network(2, [sn.dense(1)], {"equations": line.split("\n")})
