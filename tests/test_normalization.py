"""Batch, layer and RMS norm: against PyTorch's stored values, and the states of layers through all of training."""

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

STORED = np.load(Path(__file__).parent / "values" / "normalization.npz")
NORMS: dict[str, Any] = {
    "batch": sn.batch_norm("norm", epsilon=1e-3, momentum=0.2),
    "batch_positions": sn.batch_norm("norm"),
    "layer": sn.layer_norm("norm", epsilon=1e-4),
    "layer_axes": sn.layer_norm("norm", axes=2),
    "rms": sn.rms_norm("norm"),
}
RATE = {"name": "sgd", "learning_rate": 0.1}


def stored(case: str, group: str) -> dict[str, np.ndarray]:
    """name -> array, of what is stored under case/group/."""
    start = f"{case}/{group}/"
    return {key.removeprefix(start): STORED[key] for key in STORED.files if key.startswith(start)}


def network(case: str) -> sn.Network:
    layers = [sn.dense(3, name="first"), NORMS[case], sn.activation("tanh"), sn.dense(2, name="last"), sn.flatten()]
    return sn.Network(STORED[f"{case}/X"].shape[1:], layers)


def data(case: str) -> tuple[np.ndarray, np.ndarray]:
    X, y = STORED[f"{case}/X"], STORED[f"{case}/y"]
    return X, y.reshape(len(y), -1)


# ---------------------------------------------------------------------------------------------- PyTorch
@pytest.mark.parametrize("case", NORMS)
def test_gradients_are_those_of_pytorch(case: str) -> None:
    net, (X, y) = network(case), data(case)
    program = net.gradient_program(training=True)
    values = {net.tensors[name].name: value for name, value in stored(case, "start").items()} | {"x": X, "y": y}
    expected = stored(case, "gradient")
    for run in (evaluate(program, values, {"N": 12}), interpret(program, values, {"N": 12}, plain=False)):
        np.testing.assert_allclose(run["R"], STORED[f"{case}/loss"], 1e-12)
        for name, adjoint in net.gradients(training=True).by_name.items():
            np.testing.assert_allclose(run[adjoint.name], expected[name], 1e-10, 1e-14, err_msg=name)


@pytest.mark.parametrize("case", ["batch", "batch_positions"])
def test_training_makes_the_parameters_and_running_statistics_of_pytorch_the_last_partial_batch_included(
    case: str,
) -> None:
    net, (X, y) = network(case), data(case)
    model = net.compile(RATE, "float64")
    model.parameters = stored(case, "start")
    model.prepare(X, y, batch_size=5, shuffle=False).run(4)  # rows 0-4, 5-9, 10-11, 0-4
    for found, group in ((model.parameters, "end"), (model.states, "state")):
        for name, value in stored(case, group).items():
            np.testing.assert_allclose(found[name], value, 1e-10, 1e-14, err_msg=name)
    prediction = STORED[f"{case}/prediction"].reshape(len(y), -1)
    np.testing.assert_allclose(model.predict(X), prediction, 1e-10)


# ---------------------------------------------------------------------------------------------- states
@pytest.fixture(scope="module")
def trained() -> tuple[sn.Model, np.ndarray, np.ndarray]:
    net = sn.Network(2, [sn.dense(4), sn.batch_norm("norm"), sn.activation("tanh"), sn.dense(1)])
    rng = np.random.default_rng(0)
    X = rng.normal(3, 2, (90, 2))
    y = np.sin(X[:, :1])
    model = net.compile("adam", "float64")
    model.fit(X, y, epochs=3, batch_size=32)
    return model, X, y


def test_states_are_saved_and_training_goes_on_from_a_file_as_if_it_had_not_stopped(
    trained: tuple[sn.Model, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    model, X, y = trained
    model.save(tmp_path / "model.safetensors")
    other = sn.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(other.predict(X), model.predict(X))
    for each in (model, other):
        each.fit(X, y, epochs=2, batch_size=32)
    for name in model.states:
        np.testing.assert_array_equal(other.states[name], model.states[name])
        assert not np.array_equal(model.states[name], np.full(4, float(name.endswith("variance"))))


def test_the_states_of_the_best_epoch_are_restored() -> None:
    net = sn.Network(2, [sn.batch_norm("norm", scale=False, shift=False), sn.dense(1)])
    model = net.compile({"name": "sgd", "learning_rate": 0.5}, "float64")
    X = np.random.default_rng(0).normal(3, 2, (20, 2))
    y, kept = X[:, :1], []

    def remember(epoch: sn.Epoch) -> None:
        kept.append({name: model.states[name] for name in model.states})

    history = model.fit(X, y, 5, 20, validation_data=(X, y), callbacks=remember, restore_best=True)
    assert history.best is not None
    for name, value in kept[history.best].items():
        np.testing.assert_array_equal(model.states[name], value)


def test_states_are_read_and_assigned_by_name(trained: tuple[sn.Model, np.ndarray, np.ndarray]) -> None:
    model, X, _ = trained
    assert list(model.states) == ["norm.mean", "norm.variance"] == list(model.network.states)
    before = model.predict(X)
    mean = model.states["norm.mean"]
    model.states["norm.mean"] = mean + 1
    assert not np.allclose(model.predict(X), before)
    model.states["norm.mean"] = mean
    np.testing.assert_array_equal(model.predict(X), before)
    with pytest.raises(SymnetError, match=r"states\['norm.mean'\]: found shape \(3,\), expected shape \(4,\)"):
        model.states["norm.mean"] = np.zeros(3)


def test_one_row_leaves_the_running_variance_as_it_was() -> None:
    net = sn.Network(2, [sn.batch_norm("norm"), sn.dense(1)])
    program = net.training_program("sgd")
    values: dict[str, Any] = {net.tensors[k].name: v for k, v in net.initial_parameters(0).items()}
    values |= {"x": np.array([[3.0, 5.0]]), "y": np.array([[1.0]]), "alpha": 0.1}
    values |= {"mean_1": np.array([1.0, 2.0]), "variance_1": np.array([4.0, 9.0])}
    for found in (evaluate(program, values, {"N": 1}), interpret(program, values, {"N": 1}, plain=False)):
        mean, variance = ("mean_1_next", "variance_1_next") if "mean_1_next" in found else ("mean_1", "variance_1")
        np.testing.assert_allclose(found[mean], [1.2, 2.3], 1e-14)
        np.testing.assert_array_equal(found[variance], [4.0, 9.0])


# ---------------------------------------------------------------------------------------------- two networks in one
def test_the_gradient_of_training_and_the_one_of_prediction_differ_and_both_are_to_be_had(
    trained: tuple[sn.Model, np.ndarray, np.ndarray],
) -> None:
    model, X, y = trained
    net, values = model.network, {**model.parameters, **model.states}
    loss, predicting = net.value_and_gradient(values, X, y, training=False)
    assert loss == pytest.approx(model.evaluate(X, y)["loss"], rel=1e-12)
    _, training = net.value_and_gradient(values, X, y)
    for name in training:
        for found, as_trained in ((training, True), (predicting, False)):
            expected = net.gradient(name, training=as_trained).evaluate(values, X, y)
            np.testing.assert_allclose(found[name], expected, 1e-9, 1e-13, err_msg=name)
    assert np.abs(training["dense1.b"]).max() < 1e-14, "a bias before batch norm changes nothing"
    assert np.abs(predicting["dense1.b"]).max() > 1e-6


def test_dropout_has_a_seed_of_its_own_and_any_axes_in_the_native_loop_too() -> None:
    layers = [sn.dense(3, "tanh"), sn.dropout(0.5, seed=7), sn.flatten(), sn.dense(1)]
    net = sn.Network((4, 2), layers)
    assert sn.Network.from_toml(net.to_toml()) == net
    rng = np.random.default_rng(2)
    X, y, values = rng.normal(size=(9, 4, 2)), rng.normal(size=(9, 1)), net.initial_parameters(0)
    _, found = net.value_and_gradient(values, X, y, training=True)
    for name in found:
        ours = net.gradient(name, training=True)
        for seed in (0, 1):
            np.testing.assert_allclose(found[name], ours.evaluate(values, X, y, {"seed": seed}), 1e-10, 1e-14)
    assert not np.allclose(found["dense1.W"], net.gradient("dense1.W").evaluate(values, X, y))


def test_more_rows_than_a_chunk_are_one_batch_where_samples_are_coupled() -> None:
    net = sn.Network(2, [sn.dense(2), sn.batch_norm(), sn.dense(1)])
    rng = np.random.default_rng(1)
    X = np.sort(rng.normal(size=(300, 2)), axis=0)  # so that chunks would have other means
    y = rng.normal(size=(300, 1))
    values = net.initial_parameters(0)
    _, found = net.value_and_gradient(values, X, y)
    np.testing.assert_allclose(found["dense1.W"], net.gradient("dense1.W").evaluate(values, X, y), 1e-9, 1e-13)


def test_formulas_are_those_of_the_paper() -> None:
    net = sn.Network(4, [sn.dense(3), sn.batch_norm(), sn.dense(2)])
    text = show(net)
    for line in (
        "Backward, δ = N ∂R/∂z: Σ over the N samples of a batch",
        "μ2 = (1/N) Σ z1",
        "c2 = z1 - μ2",
        "v2 = (1/N) Σ c2²",
        "x̂2 = c2 ⊙ 1/√(1e-05 + v2)",
        "y2 = β2 + γ2 ⊙ x̂2",
        "∂ℓ/∂x̂2 = γ2 ⊙ ∂ℓ/∂y2",
        "∂ℓ/∂c2 = 1/√(1e-05 + v2) ⊙ ∂ℓ/∂x̂2 + (2/N) c2 ⊙ (-(1/2) Σ c2 ⊙ 1/(1e-05 + v2)^(3/2) ⊙ ∂ℓ/∂x̂2)",
        "δ1 = ∂ℓ/∂c2 + (1/N) (-Σ ∂ℓ/∂c2)",
        "∂R/∂γ2 = (1/N) Σ x̂2 ⊙ ∂ℓ/∂y2",
    ):
        assert line in text, f"{line} is not in\n{text}"
    assert r"\hat{x}^{(2)}" in net.gradient("batch_norm2.gamma").latex()


# ---------------------------------------------------------------------------------------------- declared
@pytest.mark.parametrize("norm", [*NORMS.values(), sn.rms_norm(scale=False), sn.layer_norm(scale=False, shift=False)])
def test_toml_declares_the_same_network(norm: Any) -> None:
    net = sn.Network((2, 3), [norm, sn.flatten(), sn.dense(1)])
    assert sn.Network.from_toml(net.to_toml()) == net


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda: sn.layer_norm(axes=2), "axes: found 2, expected at most 1"),
        (lambda: sn.batch_norm(momentum=1.5), "momentum: found 1.5, expected a number from 0 to 1"),
        (lambda: sn.rms_norm(epsilon=-1.0), "epsilon: found -1"),
    ],
)
def test_what_does_not_fit_is_refused_where_it_is_declared(layer: Any, message: str) -> None:
    with pytest.raises(SymnetError, match=message):
        sn.Network(4, [layer(), sn.dense(1)])
