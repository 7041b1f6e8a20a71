"""Populations: every copy is, bit for bit, what its own `fit` makes of it."""

from __future__ import annotations

import _thread
import threading
import time
from typing import Any

import numpy as np
import pytest

import symnet as sn
from compiler.kernels.matmul import target
from symnet.population import Population
from symnet.run import group
from symnet.settings import settings

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 4))
Y = (X[:, 0] + X[:, 1] ** 2 > 0.5).astype(int)
NET = sn.Network(4, [sn.dense(6, "tanh"), sn.dense(2)], "softmax_cross_entropy", l2=1e-3)
CORNERS = np.array([[0, 0], [0, 1], [1, 0], [1, 1.0]])
XOR = np.array([0, 1, 1, 0.0])
TINY = sn.Network(2, [sn.dense(2, "relu"), sn.dense(1)], "squared_error")


def alone(found: Population, k: int, X: Any, y: Any, given: Any = None, dtype: str = "float32") -> tuple[Any, Any]:
    """The model of copy k, trained by itself, and its history, or the error."""
    setting = found.settings[k * len(found.settings) // len(found)]
    model = setting.network.compile(setting.optimizer, dtype, int(found.columns["seed"][k]))
    X, y, weights, given = setting.data(X, y, None, given)
    try:
        return model, model.fit(X, y, validation_data=given, sample_weight=weights, **setting.fit)
    except sn.SymnetError as error:
        return model, error


def check(found: Population, X: Any, y: Any, given: Any = None, dtype: str = "float32") -> None:
    parameters = found.parameters
    for k, row in enumerate(found):
        model, history = alone(found, k, X, y, given, dtype)
        for name, value in model.parameters.items():
            np.testing.assert_array_equal(parameters[name][k], value)
        assert not row["error"] and row["loss"] == history.loss[-1] and row["epochs"] == len(history)
        last = history[-1 if history.best is None else history.best]
        assert (row.get("validation_loss"), row.get("accuracy")) == (last.validation_loss, last.accuracy)
        assert found.model(k).progress == model.progress


def test_each_copy_has_the_bits_of_its_own_fit_over_seeds_rates_batches_and_folds() -> None:
    grid = {"learning_rate": [0.01, 0.1], "l2": [1e-4, 1e-1], "batch_size": [16, 30]}
    found = sn.train_many(NET, X, Y, seeds=[3, 5, 8], grid=grid, folds=2, epochs=3)
    assert len(found) == 3 * 8 * 2 and len({row["loss"] for row in found}) == len(found)
    assert list(found.columns)[:6] == ["learning_rate", "l2", "batch_size", "fold", "seed", "epochs"]
    check(found, X, Y)
    assert found.best("accuracy")["accuracy"] == max(row["accuracy"] for row in found)


def test_the_number_of_threads_changes_nothing() -> None:
    one, two = (sn.train_many(NET, X, Y, seeds=20, epochs=3, threads=threads) for threads in (1, 2))
    for name, values in one.parameters.items():
        np.testing.assert_array_equal(values, two.parameters[name])
    assert len(np.unique(one.columns["loss"])) == 20


@pytest.mark.parametrize("restore", [False, True])
def test_patience_ends_each_copy_in_its_own_epoch(restore: bool) -> None:
    found = sn.train_many(
        NET, X, Y, 4, {"learning_rate": [0.3]}, None, (X[:20], 1 - Y[:20]), epochs=40, patience=3, restore_best=restore
    )
    assert len({row["epochs"] for row in found}) > 1
    check(found, X, Y, (X[:20], 1 - Y[:20]))


def test_a_copy_draws_its_own_dropout_and_goes_on_as_a_model() -> None:
    net = sn.Network(4, [sn.dense(6, "tanh"), sn.dropout(0.3), sn.dense(2)], "softmax_cross_entropy")
    found = sn.train_many(net, X, Y, seeds=3, epochs=2)
    check(found, X, Y)
    one, (other, _) = found.model(2), alone(found, 2, X, Y)
    one.fit(X, Y, 2), other.fit(X, Y, 2)
    np.testing.assert_array_equal(one.parameters["dense3.W"], other.parameters["dense3.W"])


def test_first_values_may_be_given() -> None:
    first = RNG.normal(size=(2, 6, 4))
    found = sn.train_many(NET, X, Y, seeds=2, initial={"dense1.W": first}, epochs=1)
    for k in range(2):
        model = NET.compile(seed=k)
        model.parameters["dense1.W"] = first[k]
        model.fit(X, Y, 1)
        np.testing.assert_array_equal(found.parameters["dense1.W"][k], model.parameters["dense1.W"])


def lanes(found: Population) -> set[int]:
    return {group.lanes for _, group in found.groups}


def close(found: Population, X: Any, y: Any, dtype: str, tolerance: float, given: Any = None) -> None:
    parameters = found.parameters
    for k, row in enumerate(found):
        model, history = alone(found, k, X, y, given, dtype)
        for name, value in model.parameters.items():
            np.testing.assert_allclose(parameters[name][k], value, tolerance, tolerance)
        np.testing.assert_allclose(row["loss"], history.loss[-1], tolerance)


def test_lanes_give_the_bits_of_a_tiny_network_alone() -> None:
    grid = {"learning_rate": [0.01, 0.1], "beta1": [0.9, 0.5]}
    found = sn.train_many(TINY, CORNERS, XOR, 5, grid, dtype="float64", epochs=30)
    assert lanes(found) == {2 * target().bytes // 8}
    check(found, CORNERS, XOR, dtype="float64")


def test_lanes_take_rows_in_their_own_order_on_each_fold() -> None:
    net = sn.Network(4, [sn.dense(3, "tanh"), sn.dropout(0.2), sn.dense(2)], "squared_error", l2=1e-2)
    found = sn.train_many(net, X[:15], X[:15, :2], range(7, 20), None, 2, dtype="float64", epochs=4, batch_size=3)
    assert 0 not in lanes(found) and len({row["loss"] for row in found}) == len(found)
    close(found, X[:15], X[:15, :2], "float64", 1e-12)


def test_lanes_count_what_is_classified_correctly() -> None:
    net = sn.Network(4, [sn.dense(3, "tanh"), sn.dense(3)], "softmax_cross_entropy")
    y = np.digitize(X[:, 0], [-0.5, 0.5])
    found = sn.train_many(net, X[:4], y[:4], 20, None, None, (X[:9], y[:9]), dtype="float64", epochs=9)
    assert 0 not in lanes(found) and len(set(found.columns["accuracy"])) > 1
    close(found, X[:4], y[:4], "float64", 1e-12, (X[:9], y[:9]))
    for k in range(5):
        assert found[k]["accuracy"] == alone(found, k, X[:4], y[:4], (X[:9], y[:9]), "float64")[1].accuracy[-1]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
def test_lanes_sum_the_rows_of_a_batch_one_by_one_and_a_model_alone_in_vectors(dtype: str, tolerance: float) -> None:
    found = sn.train_many(TINY, X[:, :2], X[:, 2], 17, epochs=5, dtype=dtype)
    assert 0 not in lanes(found)
    close(found, X[:, :2], X[:, 2], dtype, tolerance)


def test_what_has_no_lanes_is_trained_copy_by_copy() -> None:
    assert lanes(sn.train_many(NET, X, Y, 20, epochs=1)) == {0}
    assert lanes(sn.train_many(TINY, CORNERS, XOR, 1, epochs=1)) == {0}
    given = (CORNERS, XOR)
    assert lanes(sn.train_many(TINY, CORNERS, XOR, 20, None, None, given, epochs=1, patience=1)) == {0}


@pytest.mark.parametrize("net", [TINY, sn.Network(2, [sn.dense(12, "relu"), sn.dense(1)], "squared_error")])
@pytest.mark.parametrize("rate", [1e6, 1e308])  # a loss that is not finite, and parameters after an update
@pytest.mark.parametrize("together", [group.TOGETHER, 1])
def test_a_copy_that_diverges_stops_alone_and_says_where(
    net: sn.Network, rate: float, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group, "TOGETHER", together)
    rates = [0.01, rate, 0.02]
    found = sn.train_many(
        net, CORNERS, XOR, 5, {"learning_rate": rates}, None, None, "sgd", "float64", epochs=60, batch_size=3, threads=1
    )
    assert (0 in lanes(found)) == (net is not TINY)
    for k, row in enumerate(found):
        model, history = alone(found, k, CORNERS, XOR, dtype="float64")
        for name, value in model.parameters.items():
            np.testing.assert_array_equal(found.parameters[name][k], value)
            assert np.isfinite(value).all()
        assert found.model(k).progress == model.progress
        if isinstance(history, sn.SymnetError):
            assert row["error"].partition(",")[0] == str(history).partition(",")[0] and np.isnan(row["loss"])
        else:
            assert not row["error"] and row["loss"] == history.loss[-1]
    assert any(row["error"] for row in found) and not any(row["error"] for row in found if row["learning_rate"] != rate)
    assert "The first of them is " in next(row["error"] for row in found if row["error"])


def test_networks_by_name_are_trained_together() -> None:
    nets = {units: sn.Network(4, [sn.dense(units, "tanh"), sn.dense(2)], "softmax_cross_entropy") for units in (6, 9)}
    found = sn.train_many({str(units): net for units, net in nets.items()}, X, Y, seeds=2, epochs=1)
    assert [row["network"] for row in found] == ["6", "6", "9", "9"]
    assert found.model(3).parameters["dense1.W"].shape == (9, 4)
    with pytest.raises(sn.SymnetError, match="parameters"):
        _ = found.parameters


def test_ctrl_c_arrives_and_leaves_nothing_behind() -> None:
    sn.train_many(NET, X, Y, seeds=1, epochs=1)
    timer = threading.Timer(0.3, _thread.interrupt_main)
    start = time.perf_counter()
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        sn.train_many(NET, X, Y, seeds=4, epochs=10**7)
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"grid": {"learning_rat": [1]}}, "grid: found .*learning_rat.*Did you mean 'learning_rate'"),
        ({"grid": {"learning_rate": [-1.0]}}, "learning_rate"),
        ({"grid": {"l2": [-1.0]}}, "l2"),
        ({"grid": {"epochs": [0]}}, "epochs"),
        ({"seeds": 0}, "seeds"),
        ({"seeds": [-1]}, "seeds"),
        ({"seeds": []}, "seeds"),
        ({"folds": 1}, "folds"),
        ({"folds": 51}, "folds"),
        ({"threads": 0}, "threads"),
        ({"epoch": 3}, "epoch"),
        ({"dtype": "float16"}, "float16"),
        ({"initial": {"dense1.w": np.zeros((1, 6, 4))}}, "dense1.w"),
        ({"initial": {"dense1.W": np.zeros((2, 6, 4))}}, "dense1.W"),
        ({"initial": {"dense1.W": np.full((1, 6, 4), np.nan)}}, r"dense1.W\[0, 0, 0\]: found nan"),
        ({"initial": {"dense1.W": np.full((1, 6, 4), 1e39)}}, r"dense1.W\[0, 0, 0\]: found 1e\+39"),
        ({"grid": {"learning_rate": []}}, r"grid, learning_rate: found \[\], expected at least one value"),
    ],
)
def test_what_is_wrong_is_said(wrong: dict[str, Any], text: str) -> None:
    with pytest.raises(sn.SymnetError, match=text):
        sn.train_many(NET, X, Y, **wrong)


def test_settings_come_in_the_order_of_networks_points_and_folds() -> None:
    made = settings({"a": NET, "b": NET}, Y, {"epochs": [1, 2]}, 2, "adam", {}, "here")
    assert [tuple(s.point.values()) for s in made] == [(n, e, f) for n in "ab" for e in (1, 2) for f in (0, 1)]
