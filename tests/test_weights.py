"""Weights of samples and classes, label smoothing, and binary classifiers, in the compiled model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from symnet.declare.constructors import activation, dense, softmax
from symnet.errors import SymnetError
from symnet.network import Network
from symnet.run.execution import Kernels
from symnet.run.model_file import load

RNG = np.random.default_rng(3)
X = RNG.normal(size=(300, 2))
Y = (X[:, 0] + 0.3 * X[:, 1] > 0.2).astype(int)
W = RNG.uniform(0, 2, 300)


@pytest.fixture(scope="module")
def weighted() -> Network:
    loss = {"name": "softmax_cross_entropy", "label_smoothing": 0.1, "class_weights": [1.0, 3.0]}
    return Network(input=2, layers=[dense(2, name="d")], loss=loss)


def expected(parameters: Any, smoothing: float, weights: tuple[float, float], rows: slice) -> float:
    z = X[rows] @ parameters["d.W"].T + parameters["d.b"]
    cost = np.log(np.exp(z).sum(1, keepdims=True)) - z
    smoothed = (1 - smoothing) * np.eye(2)[Y[rows]] + smoothing / 2
    return float((W[rows] * (smoothed * np.array(weights) * cost).sum(1)).mean())


def test_the_compiled_loss_has_the_weights_and_the_smoothing(weighted: Network) -> None:
    model = weighted.compile("gradient_descent", "float64", seed=1)
    before = expected(model.parameters, 0.1, (1, 3), slice(None))
    assert model.evaluate(X, Y, sample_weight=W)["loss"] == pytest.approx(before, rel=1e-12)
    risk, gradient = weighted.value_and_gradient(model.parameters, X, Y, sample_weight=W)
    assert risk == pytest.approx(before, rel=1e-12)
    first = {name: value.copy() for name, value in model.parameters.items()}
    assert model.prepare(X, Y, 300, sample_weight=W).run(1) == pytest.approx(before, rel=1e-12)
    for name, value in model.parameters.items():
        np.testing.assert_allclose(value, first[name] - 1e-3 * gradient[name], rtol=1e-12)


def test_other_weights_and_smoothing_compile_nothing(weighted: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    weighted.compile("gradient_descent", "float64").evaluate(X, Y, sample_weight=W)
    monkeypatch.setattr(Kernels, "_compiled", lambda *_: pytest.fail("something was compiled"))
    loss = {"name": "softmax_cross_entropy", "label_smoothing": 0.3, "class_weights": [2.0, 0.5]}
    model = Network(input=2, layers=[dense(2, name="d")], loss=loss).compile("gradient_descent", "float64", seed=2)
    found = model.evaluate(X, Y, sample_weight=W)["loss"]
    assert found == pytest.approx(expected(model.parameters, 0.3, (2, 0.5), slice(None)), rel=1e-12)


def test_a_sample_of_weight_zero_is_as_if_it_were_not_there(weighted: Network) -> None:
    one, other = (weighted.compile("adam", "float64", seed=1) for _ in range(2))
    half = np.arange(300) < 150
    one.fit(X, Y, epochs=3, batch_size=300, sample_weight=2.0 * half)
    other.fit(X[half], Y[half], epochs=3, batch_size=150)
    for name, value in one.parameters.items():
        np.testing.assert_allclose(value, other.parameters[name], rtol=1e-9)


def test_shuffled_weights_stay_with_their_samples(weighted: Network) -> None:
    model = weighted.compile({"name": "gradient_descent", "learning_rate": 0}, "float64", seed=1)
    history = model.fit(X, Y, epochs=1, batch_size=7, sample_weight=W, validation_data=(X[:9], Y[:9], W[:9]))
    assert history[0].loss == pytest.approx(expected(model.parameters, 0.1, (1, 3), slice(None)), rel=1e-12)
    assert history[0].validation_loss == pytest.approx(expected(model.parameters, 0.1, (1, 3), slice(9)), rel=1e-12)


@pytest.mark.parametrize("wrong", [W[:5], -W, W.reshape(-1, 1), np.full(300, np.nan), "2"])
def test_wrong_weights_are_refused(weighted: Network, wrong: Any) -> None:
    with pytest.raises(SymnetError, match="sample_weight"):
        weighted.compile("adam").fit(X, Y, sample_weight=wrong)


@pytest.mark.parametrize("loss", ["binary_cross_entropy", "cross_entropy"])
def test_a_binary_classifier_learns_labels(loss: str, tmp_path: Path) -> None:
    last = [dense(1)] if loss == "binary_cross_entropy" else [dense(1), activation("logistic")]
    model = Network(input=2, layers=last, loss=loss).compile({"name": "adam", "learning_rate": 0.05}, "float64")
    history = model.fit(X, Y, epochs=20, validation_split=0.2, monitor="accuracy", restore_best=True)
    assert max(a for a in history.accuracy if a is not None) >= 0.95
    assert model.evaluate(X, Y)["accuracy"] == (model.predict(X) == Y).mean() > 0.95
    p = model.predict_proba(X)
    assert p.shape == (300, 2) and model.predict(X).shape == (300,)
    np.testing.assert_array_equal(p.argmax(1), model.predict(X))
    for same in (Y.astype(float), Y == 1, Y.reshape(-1, 1)):
        assert model.evaluate(X, same) == pytest.approx(model.evaluate(X, Y), rel=1e-12)
    model.save(tmp_path / "m")
    np.testing.assert_array_equal(load(tmp_path / "m").predict(X), model.predict(X))
    for wrong in (Y + 1, 2.0 * Y, -Y):
        with pytest.raises(SymnetError, match="y"):
            model.evaluate(X, wrong)


def test_independent_outputs_learn_labels_of_their_own() -> None:
    both = np.stack([Y, 1 - Y], axis=1)
    model = Network(input=2, layers=[dense(2)], loss="binary_cross_entropy").compile(
        {"name": "adam", "learning_rate": 0.05}, "float64"
    )
    model.fit(X, both, epochs=20)
    assert model.predict(X).shape == model.predict_proba(X).shape == (300, 2)
    assert model.evaluate(X, both)["accuracy"] == (model.predict(X) == both).mean() > 0.95


def test_gaussian_nll_learns_means_and_variances() -> None:
    y = np.stack([3 * X[:, 0] + np.exp(0.5 * X[:, 1]) * RNG.normal(size=300), X[:, 1]], axis=1)[:, :1]
    network = Network(input=2, layers=[dense(2, name="d")], loss="gaussian_nll")
    model = network.compile({"name": "adam", "learning_rate": 0.05}, "float64")
    model.fit(X, y, epochs=60)
    assert model.predict(X).shape == (300, 2)
    np.testing.assert_allclose(model.parameters["d.W"], [[3, 0], [0, 1]], atol=0.3)


def test_cross_entropy_of_a_softmax_trains_as_softmax_cross_entropy() -> None:
    trained = []
    for layers, loss in (([dense(2), softmax()], "cross_entropy"), ([dense(2)], "softmax_cross_entropy")):
        model = Network(input=2, layers=layers, loss=loss).compile("adam", "float64", seed=4)
        model.fit(X, Y, epochs=2)
        trained.append(model)
    one, other = trained
    np.testing.assert_allclose(one.parameters["dense1.W"], other.parameters["dense1.W"], rtol=1e-12)
    np.testing.assert_allclose(one.predict_proba(X), other.predict_proba(X), rtol=1e-12)
