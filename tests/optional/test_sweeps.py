"""Sweeps and ensembles by joblib: the same numbers as one after the other, whatever processes they run in."""

from __future__ import annotations

import os
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("joblib")

import joblib
from joblib.externals.loky import get_reusable_executor

import symnet as sn
from symnet import sweeps

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 4))
Y = (X[:, 0] + X[:, 1] ** 2 > 0.5).astype(int)
NET = sn.Network(4, [sn.dense(6, "tanh"), sn.dense(2)], "softmax_cross_entropy", l2=1e-3)
GRID: dict[str, list[Any]] = {"learning_rate": [0.01, 0.1], "batch_size": [16, 30], "l2": [1e-4, 1e-1]}


def wide(units: int, **_: Any) -> sn.Network:
    return sn.Network(4, [sn.dense(units, "tanh"), sn.dense(2)], "softmax_cross_entropy")


def test_processes_give_the_rows_that_one_gives() -> None:
    one = sn.sweep(NET, X, Y, GRID, seeds=2, folds=3, epochs=5, n_jobs=1)
    two = sn.sweep(NET, X, Y, GRID, seeds=2, folds=3, epochs=5, n_jobs=2)
    assert len(one) == len(two) == 2 * 2 * 2 * 2 * 3
    for row, other in zip(one, two, strict=True):
        assert {**row, "seconds": 0} == {**other, "seconds": 0}
    assert len({row["loss"] for row in one}) == len(one)


def test_a_row_is_what_the_model_alone_would_have_done() -> None:
    found = sn.sweep(NET, X, Y, GRID, epochs=5, n_jobs=1, validation_data=(X[:20], Y[:20]), keep=True)
    for row, model in zip(found, found.models, strict=True):
        net = sn.Network(4, [sn.dense(6, "tanh"), sn.dense(2)], "softmax_cross_entropy", l2=row["l2"])
        alone = net.compile({"name": "adam", "learning_rate": row["learning_rate"]}, "float32", 0)
        history = alone.fit(X, Y, 5, row["batch_size"], validation_data=(X[:20], Y[:20]))
        assert (row["loss"], row["accuracy"]) == (history.loss[-1], history.accuracy[-1])
        np.testing.assert_array_equal(model.predict(X), alone.predict(X))


def test_a_function_makes_the_networks_and_the_best_is_found() -> None:
    found = sn.sweep(wide, X, Y, {"units": [1, 20], "learning_rate": [0.05]}, folds=3, epochs=60, n_jobs=1)
    assert found.best("accuracy")["accuracy"] == max(row["accuracy"] for row in found)
    assert found.best()["validation_loss"] == min(row["validation_loss"] for row in found)
    assert list(found.table["units"]) == [1, 1, 1, 20, 20, 20]
    named = sn.sweep({"narrow": wide(2), "wide": wide(9)}, X, Y, seeds=[3, 4], n_jobs=1)
    assert [(row["network"], row["seed"]) for row in named] == [("narrow", 3), ("narrow", 4), ("wide", 3), ("wide", 4)]


def test_a_training_that_fails_is_a_row_and_ends_nothing() -> None:
    net = sn.Network(4, [sn.dense(6), sn.dense(1)], "squared_error")
    found = sn.sweep(net, X, X[:, 0], {"learning_rate": [1e30, 1e-3]}, optimizer="sgd", epochs=20, n_jobs=1)
    assert "learning_rate" in found[0]["error"] and np.isnan(found[0]["loss"]) and not found[1]["error"]
    assert found.best() == found[1]


def test_of_each_kind_of_network_one_is_trained_first(monkeypatch: pytest.MonkeyPatch) -> None:
    waves: list[int] = []

    class Recorder:
        def __call__(self, jobs: Any) -> list[Any]:
            made = [function(*arguments) for function, arguments, _ in jobs]
            waves.append(len(made))
            return made

    monkeypatch.setattr(sweeps, "_parallel", lambda n_jobs: (Recorder(), joblib.delayed))
    sn.sweep(wide, X, Y, {"units": [2, 3], "learning_rate": [0.1, 0.2, 0.3]}, epochs=1)
    assert waves == [2, 4]


def _kernels(seed: int) -> tuple[int, int]:
    """Of a network that no other test has: nothing of it is loaded."""
    net = sn.Network(4, [sn.dense(11, "tanh"), sn.dense(2)], "softmax_cross_entropy")
    model = net.compile("adam", seed=seed)
    model.fit(X, Y, 1)
    return os.getpid(), model.kernels.compiled


def test_processes_find_in_the_cache_what_another_has_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYMNET_CACHE", str(tmp_path))
    assert _kernels(0)[1] == 1
    get_reusable_executor().shutdown()  # processes of an earlier test have the cache of that time
    made = joblib.Parallel(n_jobs=2)(joblib.delayed(_kernels)(seed) for seed in range(4))
    assert all(compiled == 0 for _, compiled in made) and os.getpid() not in {process for process, _ in made}


def test_threads_of_joblib_do_as_well() -> None:
    with joblib.parallel_config("threading"):
        found = sn.sweep(NET, X, Y, GRID, epochs=3, n_jobs=2)
    again = sn.sweep(NET, X, Y, GRID, epochs=3, n_jobs=1)
    assert [row["loss"] for row in found] == [row["loss"] for row in again]


@pytest.mark.filterwarnings("ignore")  # Dask's own
def test_dask_gives_the_rows_and_members_that_one_process_gives() -> None:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config("dask"),
    ):
        found = sn.sweep(NET, X, Y, GRID, epochs=3, n_jobs=2)
        members = sn.ensemble(NET, X, Y, members=2, n_jobs=2)
    again = sn.sweep(NET, X, Y, GRID, epochs=3, n_jobs=1)
    assert [{**row, "seconds": 0} for row in found] == [{**row, "seconds": 0} for row in again]
    alone = sn.ensemble(NET, X, Y, members=2, n_jobs=1)
    np.testing.assert_array_equal(members.predict_proba(X), alone.predict_proba(X))


@pytest.mark.parametrize("bootstrap", [False, True])
def test_an_ensemble_predicts_by_the_mean_of_its_members(bootstrap: bool) -> None:
    found = sn.ensemble(NET, X, Y, members=3, bootstrap=bootstrap, epochs=20, n_jobs=2)
    mean = np.mean([model.predict_proba(X) for model in found.models], axis=0)
    np.testing.assert_allclose(found.predict_proba(X), mean, rtol=1e-6)
    np.testing.assert_array_equal(found.predict(X), mean.argmax(axis=1))
    assert found.spread(X).shape == (90, 2) and (found.spread(X) > 0).any()


def test_an_ensemble_of_values_and_one_of_independent_labels() -> None:
    net = sn.Network(4, [sn.dense(6, "tanh"), sn.dense(2)], "squared_error")
    found = sn.ensemble(net, X, X[:, :2], members=2, n_jobs=1)
    np.testing.assert_allclose(found.predict(X), np.mean([model.predict(X) for model in found.models], axis=0))
    net = sn.Network(4, [sn.dense(6, "tanh"), sn.dense(2)], "binary_cross_entropy")
    found = sn.ensemble(net, X, (X[:, :2] > 0).astype(float), members=2, epochs=300, n_jobs=1)
    assert (found.predict(X) == (X[:, :2] > 0)).mean() > 0.8


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"grid": {"lerning_rate": [1]}}, "learning_rate"),
        ({"folds": 1}, "folds"),
        ({"epoch": 3}, "epochs"),
        ({"grid": {"l2": [-1.0]}}, "l2"),
        ({"seeds": 0}, "seeds"),
    ],
)
def test_what_is_wrong_with_a_sweep_is_said_before_it_begins(options: Any, words: str) -> None:
    with pytest.raises(sn.SymnetError, match=words):
        sn.sweep(NET, X, Y, n_jobs=1, **options)


def test_the_example_holds(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    script = root / "examples" / "parallel" / "sweep.py"
    monkeypatch.setattr(sys, "argv", [str(script)])
    runpy.run_path(str(script), run_name="__main__")
    assert "together" in capsys.readouterr().out


def test_the_example_of_the_readme_holds(root: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", (root / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    [text] = [block for block in blocks if "sn.sweep" in block]
    exec(compile(text, "README.md", "exec"), {"__name__": "readme"})
