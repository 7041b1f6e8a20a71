"""Losses in equations: the table's own losses, written out by a user, are the same to the last digits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import symnet as sn
from compiler.verify import verify
from symnet.errors import SymnetError
from symnet.network import Network
from symnet.oracle.reference import evaluate

X = np.random.default_rng(0).normal(size=(5, 3))
VALUES = np.random.default_rng(1).normal(size=(5, 4))
LABELS = np.array([0, 3, 1, 1, 2])
SQUARED = ["d[n,k] = prediction[n,k] - target[n,k]", "ell[n] = sum(d[n,k]**2, k)/4"]
CROSS = {
    "equations": ["ell[n] = logsumexp(prediction[n,k], k) - prediction[n,target[n]]"],
    "targets": "labels",
}
# only neighbours are compared: what a formula in one prediction and one target cannot say
SHAPE = {
    "equations": ["ell[n] = sum((prediction[n,k+1] - prediction[n,k] - target[n,k+1] + target[n,k])**2, k)"],
    "sizes": {"k": 3},
}


def of(loss: Any) -> Network:
    return Network(input=3, layers=[sn.dense(3, "tanh"), sn.dense(4)], loss=loss, l2=0.1)


@pytest.mark.parametrize(
    ("own", "table", "y"),
    [({"equations": SQUARED}, "squared_error", VALUES), (CROSS, "softmax_cross_entropy", LABELS)],
)
def test_a_loss_in_equations_is_the_one_of_the_table(own: Any, table: str, y: np.ndarray) -> None:
    network, known = of(own), of(table)
    rng = np.random.default_rng(2)
    given = {t.name: rng.normal(size=known.parameters[name]) for name, t in known.tensors.items()}
    given |= {"x": X, "y": y, "lambda": 0.1}
    for program, other in (
        (network.gradient_program(), known.gradient_program()),
        (network.evaluation_program(), known.evaluation_program()),
    ):
        verify(program)
        found, expected = evaluate(program, given), evaluate(other, given)
        assert list(found) == list(expected)
        for name, array in expected.items():
            np.testing.assert_allclose(found[name], array, rtol=1e-12, atol=1e-14)


def test_a_loss_in_equations_may_shift_and_trains() -> None:
    model = of(SHAPE).compile({"name": "adam", "learning_rate": 0.02}, "float64")
    found = model.predict(X)
    difference = np.diff(found - VALUES, axis=1)
    assert model.evaluate(X, VALUES)["loss"] == pytest.approx((difference**2).sum() / 5, rel=1e-12)
    history = model.fit(X, VALUES, epochs=200, batch_size=5)
    assert history[-1].loss < 0.2 * history[0].loss


def test_toml_gives_back_the_same_loss() -> None:
    for loss in ({"equations": SQUARED}, CROSS, SHAPE):
        network = of(loss)
        assert Network.from_toml(network.to_toml()) == network


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        ({"equations": "ell[n,k] = prediction[n,k]*target[n,k]"}, "ell[n], the loss of a sample"),
        ({"equations": "loss[n] = sum(prediction[n,k]*target[n,k], k)"}, "ell[n], the loss of a sample"),
        ({"equations": "ell[n] = sum(predicton[n,k], k)"}, "Did you mean 'prediction'"),
        ({"equations": "ell[n] = sum(prediction[n,k]*target[n], k)"}, "target with 2 subscripts"),
        ({"equations": "ell[n] = sum(prediction[n,k], k)", "size": {}}, "Did you mean 'sizes'"),
        ({"equations": "ell[n] = sum(prediction[n,k], k)", "targets": "label"}, "Did you mean 'labels'"),
        ({"equations": 3}, "a list of equations"),
        ({"equations": "ell[n] = sum(prediction[n,k], k)", "formula": "x"}, "either"),
        ({"equations": "ell[n] = sum(prediction[n,k], k) + __import__('os')"}, "unknown function"),
    ],
)
def test_mistakes_in_a_loss_are_named(loss: Any, says: str) -> None:
    with pytest.raises(SymnetError, match="loss") as caught:
        of(loss)
    assert says in str(caught.value), str(caught.value)
