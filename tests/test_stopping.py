"""Ending by the risk of training, tolerances, other hyper-parameters in the middle, kernels for any number of rows."""

from __future__ import annotations

import numpy as np
import pytest

import symnet as sn
from symnet.network import hyper_values
from symnet.run.data import check_data
from symnet.run.risk import Risk

RNG = np.random.default_rng(3)
X = RNG.normal(size=(60, 3))
Y = np.tanh(X @ np.array([1.0, -2.0, 0.5])) + 0.1 * RNG.normal(size=60)
NET = sn.Network(3, [sn.dense(5, "tanh", name="hidden"), sn.dense(1, name="out")], "squared_error", l2=0.05)
OPTIMIZER = {"name": "sgd", "learning_rate": 0.1}


def compiled(net: sn.Network = NET, **options: float) -> sn.Model:
    return net.compile({**OPTIMIZER, **options}, "float64", seed=1)


def risk(model: sn.Model) -> float:
    return model.network.value_and_gradient(model.parameters, X, Y)[0]


def test_the_risk_of_an_epoch_is_the_mean_of_r_over_its_batches() -> None:
    model, other = compiled(), compiled()
    expected = []
    for _ in range(3):
        values = []
        for start in range(0, 60, 24):
            rows = slice(start, start + 24)
            values.append((len(X[rows]), NET.value_and_gradient(other.parameters, X[rows], Y[rows])[0]))
            other.prepare(X[rows], Y[rows], batch_size=24, shuffle=False).run(1)
        expected.append(sum(size * value for size, value in values) / 60)
    history = model.fit(X, Y, 3, 24, shuffle=False, monitor="risk")
    np.testing.assert_allclose(history["risk"], expected, rtol=1e-13)
    assert (np.array(history["risk"]) > np.array(history.loss)).all()


@pytest.mark.parametrize("tolerance", [0.0, 1e-3, 1e-2])
def test_training_ends_when_the_risk_was_not_better_by_more_than_the_tolerance(tolerance: float) -> None:
    whole = np.array(compiled().fit(X, Y, 400, 60, monitor="risk")["risk"])
    history = compiled().fit(X, Y, 400, 60, monitor="risk", patience=3, tolerance=tolerance)
    best, since, end = np.inf, 0, 400
    for epoch, value in enumerate(whole):
        since = 0 if value < best - tolerance else since + 1
        best = min(best, value)
        if since == 3:
            end = epoch + 1
            break
    assert len(history) == end and (history.stopped == "patience") == (end < 400)
    np.testing.assert_array_equal(history["risk"], whole[:end])


def test_a_tolerance_of_accuracy_is_one_of_accuracy() -> None:
    labels = (Y > 0).astype(int)
    net = sn.Network(3, [sn.dense(5, "tanh"), sn.dense(2)], "softmax_cross_entropy")
    part, weights = (X[40:], labels[40:]), np.array([1.0, 0.0] * 10)
    for given in (part, (*part, weights)):
        whole = compiled(net).fit(X[:40], labels[:40], 60, 8, validation_data=given)
        history = compiled(net).fit(
            X[:40], labels[:40], 60, 8, validation_data=given, monitor="accuracy", patience=4, tolerance=0.149
        )
        best, since, end = -np.inf, 0, 60
        for epoch, value in enumerate(whole.accuracy):
            since = 0 if value > best + 0.149 else since + 1
            best = max(best, value)
            if since == 4:
                end = epoch + 1
                break
        assert len(history) == end < 60


def test_the_parameters_of_the_least_risk_come_back() -> None:
    model, other = compiled(learning_rate=0.5), compiled(learning_rate=0.5)
    history = model.fit(X, Y, 30, 7, monitor="risk", restore_best=True)
    assert history.best == int(np.argmin(history["risk"])) < 29
    other.fit(X, Y, history.best + 1, 7)
    for name, array in model.parameters.items():
        np.testing.assert_array_equal(array, other.parameters[name])


def test_the_risk_needs_no_validation_part_and_takes_none() -> None:
    with pytest.raises(sn.SymnetError, match="monitor"):
        compiled().fit(X, Y, 3, monitor="risk", validation_split=0.2)
    with pytest.raises(sn.SymnetError, match="tolerance"):
        compiled().fit(X, Y, 3, monitor="risk", patience=2, tolerance=-1.0)


def test_hyper_parameters_that_are_tuned_in_a_callback_count_from_the_next_epoch() -> None:
    one, other = compiled(), compiled()
    one.fit(X, Y, 2, 20, callbacks=lambda epoch: one.tune(learning_rate=0.02, l2=0.5) if epoch.epoch == 0 else None)
    other.fit(X, Y, 1, 20)
    kernels = other.kernels.compiled
    other.tune(learning_rate=0.02, l2=0.5)
    other.fit(X, Y, 1, 20)
    for name, array in one.parameters.items():
        np.testing.assert_array_equal(array, other.parameters[name])
    assert other.kernels.compiled == kernels
    assert other.network.spec.l2 == 0.5 and other.optimizer.mapping["learning_rate"] == 0.02
    assert other.hyper == hyper_values(other.network.spec) | {"alpha": 0.02}


def test_what_needs_other_equations_is_not_tuned() -> None:
    for options in ({"l1": 0.1}, {"clip_norm": 1.0}, {"l2": 0.0}):
        with pytest.raises(sn.SymnetError, match="same equations"):
            compiled().tune(**options)
    with pytest.raises(sn.SymnetError, match="learning_rate"):
        compiled().tune(lerning_rate=0.1)


def test_all_data_with_fewer_rows_than_a_batch_share_a_kernel() -> None:
    sources = set()
    for rows in (60, 33, 7):
        model = compiled()
        model.fit(X[:rows], Y[:rows], 1, batch_size=200)
        sources.add(model.source)
    assert len(sources) == 1
    model = compiled()
    model.fit(X, Y, 1, batch_size=10**9)
    assert model.kernels.made("training")[0].manifest["capacity"]["N"] == 256


def test_the_risk_at_a_point_has_the_derivatives_of_differences() -> None:
    model = compiled()
    at = Risk(model, check_data(NET, X, Y, "float64"))
    point = at.point
    value, gradient = at.at(point)
    assert value == pytest.approx(risk(model), rel=1e-13)
    for k in range(0, len(point), 5):
        ahead, behind = point.copy(), point.copy()
        ahead[k], behind[k] = point[k] + 1e-6, point[k] - 1e-6
        assert gradient[k] == pytest.approx((at.at(ahead)[0] - at.at(behind)[0]) / 2e-6, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("options", [{}, {"clip_norm": 0.5}])
def test_where_threads_divide_a_step_the_risk_is_that_of_one_thread(options: dict[str, float]) -> None:
    """What one thread does alone reads the loss that it has just summed, not the one before it."""
    rng = np.random.default_rng(0)
    inputs, labels = rng.normal(size=(200, 64)), rng.integers(0, 10, 200)
    net = sn.Network(64, [sn.dense(100, "relu"), sn.dense(10)], "softmax_cross_entropy", l2=0.01)
    model = net.compile({**OPTIMIZER, **options}, "float64", seed=2)
    before = dict(model.parameters)
    value, gradient = net.value_and_gradient(before, inputs, labels)
    assert model.fit(inputs, labels, 1, 200, monitor="risk")["risk"] == (pytest.approx(value, rel=1e-12),)
    norm = np.sqrt(sum((part**2).sum() for part in gradient.values()))
    scale = min(1, options.get("clip_norm", np.inf) / norm)
    for name, array in model.parameters.items():
        np.testing.assert_allclose(array, before[name] - 0.1 * scale * gradient[name], rtol=1e-6, atol=1e-9)
    assert (scale < 1) == bool(options)
