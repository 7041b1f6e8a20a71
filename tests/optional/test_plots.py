"""Pictures with matplotlib say what the numbers say."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
import pytest

import symnet as sn
from symnet import plots

mpl.use("Agg")


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.fixture(scope="module")
def trained() -> tuple[sn.Model, sn.History, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 2))
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    model = sn.Network(2, [sn.dense(16, "tanh"), sn.dense(2)], "softmax_cross_entropy").compile(seed=1)
    return model, model.fit(X, y, 100, validation_split=0.2), X, y


@pytest.mark.parametrize(
    ("function", "f", "slope"),
    [("tanh", np.tanh, lambda z: 1 - np.tanh(z) ** 2), ("relu", lambda z: np.maximum(z, 0), lambda z: 1.0 * (z > 0))],
)
def test_an_activation_is_drawn_with_its_derivative(function, f, slope) -> None:
    one, other = plots.activation(function, span=3).get_lines()
    np.testing.assert_allclose(one.get_ydata(), f(one.get_xdata()), atol=1e-12)
    np.testing.assert_allclose(other.get_ydata(), slope(other.get_xdata()), atol=1e-12)


def test_a_formula_and_a_learned_parameter_are_drawn_at_first_values() -> None:
    own = {"formula": "x*logistic(beta*x)", "parameters": {"beta": 2.0}}
    line = plots.activation(own).get_lines()[0]
    z = line.get_xdata()
    np.testing.assert_allclose(line.get_ydata(), z / (1 + np.exp(-2 * z)), atol=1e-12)


def test_losses_are_those_of_the_history(trained) -> None:
    _, history, _, _ = trained
    training, validation = plots.history(history).get_lines()
    assert training.get_ydata().tolist() == list(history.loss)
    assert validation.get_ydata().tolist() == list(history.validation_loss)


def test_the_flow_of_gradients_is_that_of_the_inspection(trained) -> None:
    model, _, X, y = trained
    measured, bound = plots.gradient_flow(model, X, y).get_lines()
    reaching = model.inspect(X, y).reaching
    assert measured.get_ydata().tolist() == [r.measured for r in reaching]
    assert bound.get_ydata().tolist() == [r.bound for r in reaching]


def test_a_decision_boundary_shows_every_class_and_takes_two_inputs_only(trained) -> None:
    model, _, X, y = trained
    axes = plots.decision_boundary(model, X, y)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["0", "1"]
    assert sum(len(collection.get_offsets()) for collection in axes.collections[1:]) == len(X)
    with pytest.raises(sn.SymnetError, match="a classifier with two inputs"):
        plots.decision_boundary(model, np.ones((3, 4)), y)
