"""Checkpoints: training that goes on from one, of any step, ends with the bits of training that never stopped."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import symnet as sn
from symnet import SymnetError
from symnet.run import checkpoint, loop, storage
from tests import kill, resuming

RNG = np.random.default_rng(3)
X, LABELS = RNG.normal(size=(22, 5)), RNG.integers(0, 3, 22)
FIT = {"epochs": 3, "batch_size": 6, "validation_data": (X[:9], LABELS[:9])}


def classifier(units: int = 4) -> sn.Network:
    return sn.Network(5, [sn.dense(units, "tanh", name="h"), sn.dense(3, name="o")], "softmax_cross_entropy")


@pytest.mark.parametrize("name", ["everything", "heads"])  # more: python -m tests.resuming
def test_training_resumed_at_any_step_has_the_bits_of_training_that_never_stopped(name: str, tmp_path: Path) -> None:
    assert resuming.compare(resuming.CASES[name], tmp_path) > 10


def test_an_interrupt_leaves_a_checkpoint_of_that_moment(tmp_path: Path) -> None:
    whole, model, again = (classifier().compile("adam", "float64", seed=1) for _ in range(3))
    path = tmp_path / "run"

    def terminate() -> None:
        while signal.getsignal(signal.SIGTERM) == signal.SIG_DFL or model.progress.step < 100:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=terminate).start()
    with pytest.raises(SystemExit) as raised:
        model.fit(X, LABELS, 10**7, 6, checkpoint=path)
    assert raised.value.code == 128 + signal.SIGTERM and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    done = sn.load(path).progress
    assert done == model.progress and done.step >= 100
    epochs = done.epoch + 2
    history = again.fit(X, LABELS, epochs, 6, resume=path)
    assert history.loss == whole.fit(X, LABELS, epochs, 6).loss and len(history) == epochs
    assert again.memory.persistent.tobytes() == whole.memory.persistent.tobytes()


def test_a_handler_of_the_users_own_stays(tmp_path: Path) -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        model = classifier().compile()
        model.fit(X, LABELS, 2, callbacks=lambda epoch: epoch.epoch or os.kill(os.getpid(), signal.SIGTERM))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [signal.SIGTERM] and model.progress.epoch == 2


def test_a_run_that_ended_is_not_trained_again_unless_it_may_have_more_epochs(tmp_path: Path) -> None:
    path = tmp_path / "run"
    runs = [classifier().compile(seed=1).fit(X, LABELS, epochs, checkpoint=path, resume=path) for epochs in (2, 2, 4)]
    assert [run.loss for run in runs] == [runs[2].loss[:2]] * 2 + [runs[2].loss]
    assert [run.steps for run in runs] == [2, 2, 4] and runs[1].entries == 0
    with pytest.raises(SymnetError, match=r"found a checkpoint after 4 epochs, expected one after at most 3"):
        classifier().compile(seed=1).fit(X, LABELS, 3, resume=path)
    assert classifier().compile(seed=1).fit(X, LABELS, 4).loss == runs[2].loss


def test_a_callback_that_ended_the_training_ended_it(tmp_path: Path) -> None:
    arguments = {"epochs": 9, "callbacks": lambda epoch: epoch.epoch == 1, "checkpoint": tmp_path / "run"}
    for resume in (None, tmp_path / "run"):
        history = classifier().compile(seed=1).fit(X, LABELS, **arguments, resume=resume)
        assert history.stopped == "callback" and len(history) == 2


def test_a_callback_that_tunes_leads_to_the_same_bits(tmp_path: Path) -> None:
    def halve(model: sn.Model) -> list:
        return [lambda epoch: model.tune(learning_rate=0.1 / 2**epoch.epoch) if epoch.epoch in (1, 4) else None]

    whole, killed, again = (classifier().compile({"name": "adam", "learning_rate": 0.1}, seed=1) for _ in range(3))
    killed.fit(X, LABELS, 3, 6, callbacks=halve(killed), checkpoint=tmp_path / "run")
    history = again.fit(X, LABELS, 7, 6, callbacks=halve(again), resume=tmp_path / "run")
    assert history.loss == whole.fit(X, LABELS, 7, 6, callbacks=halve(whole)).loss
    assert again.memory.persistent.tobytes() == whole.memory.persistent.tobytes()


def test_checkpoints_come_by_epochs_and_by_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    monkeypatch.setattr(
        checkpoint.storage, "write", lambda path, arrays, metadata: written.append(len(arrays["fit:history"]))
    )
    every = sn.Checkpoint(tmp_path / "run", epochs=2)
    classifier().compile().fit(X, LABELS, 5, checkpoint=every)
    assert written == [2, 4, 5]
    written.clear()
    monkeypatch.setattr(loop, "Control", resuming.stepwise(loop.Control))
    classifier().compile().fit(X, LABELS, 1, 6, checkpoint=sn.Checkpoint(tmp_path / "run", seconds=0))
    assert written == [0] * 4 + [1]


def test_a_checkpoint_is_a_model_file(tmp_path: Path) -> None:
    model = classifier().compile(seed=1)
    model.fit(X, LABELS, **FIT, restore_best=True, patience=50, checkpoint=tmp_path / "run")
    again = sn.load(tmp_path / "run")
    again.save(tmp_path / "model")
    assert not [name for name in storage.read_header(tmp_path / "model")[0] if name.startswith("fit:")]
    assert again.network == model.network or repr(again.network) == repr(model.network)
    with pytest.raises(SymnetError, match="found a model that `save` wrote, expected a checkpoint of `fit`"):
        model.fit(X, LABELS, resume=tmp_path / "model")


REFUSED = [
    ({"model": {"seed": 2}}, "found the seed 1, expected 2, as this model has"),
    ({"model": {"accuracy": "strict"}}, "found the accuracy usual, expected strict"),
    ({"model": {"dtype": "float64"}}, "found the dtype float32, expected float64"),
    ({"model": {"optimizer": {"name": "adam", "learning_rate": 0.5}}}, "found optimizer=.*, expected .*0.5"),
    ({"units": 5}, r"found a checkpoint of Network\(5 -> h: dense 4 .*, expected one of Network\(5 -> h: dense 5"),
    ({"fit": {"batch_size": 7}}, "found batch_size=6, expected 7, as this `fit` has"),
    ({"fit": {"shuffle": False}}, "found shuffle=True, expected False"),
    ({"fit": {"patience": 3}}, "found patience=None, expected 3"),
    ({"fit": {"validation_data": None}}, "found a checkpoint with other validation data"),
    ({"X": X + 1}, "found a checkpoint with other data, expected the same arrays"),
    ({"X": X[:20], "y": LABELS[:20]}, "found a checkpoint with other data"),
    ({"scale": True}, "found a checkpoint with other scaling, expected the same"),
    ({"fit": {"resume": "nothing.here"}}, "nothing.here cannot be read"),
    ({"fit": {"resume": 3}}, "resume: found 3, expected the path"),
    (
        {"fit": {"checkpoint": "no/such/folder/file"}},
        "checkpoint: found 'no/such/folder/file', expected a file",
    ),
    ({"fit": {"checkpoint": 3}}, "checkpoint: found 3, expected the path of a file"),
]


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "run"
    classifier().compile(seed=1).fit(X, LABELS, **FIT, checkpoint=path)
    return path


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_a_checkpoint_of_something_else_is_refused_and_changes_nothing(number: int, left: Path) -> None:
    change, message = REFUSED[number]
    model = classifier(change.get("units", 4)).compile(**{"seed": 1, **change.get("model", {})})
    if "scale" in change:
        model.scale(X)
    before = model.memory.persistent.tobytes(), model.progress
    with pytest.raises(SymnetError, match=message):
        model.fit(change.get("X", X), change.get("y", LABELS), **{**FIT, "resume": left, **change.get("fit", {})})
    assert (model.memory.persistent.tobytes(), model.progress) == before


@pytest.mark.parametrize(
    "change",
    [{"epoch": -1}, {"epoch": 1}, {"best": [0]}, {"best": "no"}, {"stopped": 3}, {"seconds": None}, {"settings": 3}],
)
def test_a_damaged_checkpoint_is_refused(change: dict, left: Path, tmp_path: Path) -> None:
    arrays, metadata = storage.read(left)
    metadata["fit"] = json.dumps(json.loads(metadata["fit"]) | change)
    storage.write(tmp_path / "run", arrays, metadata)
    with pytest.raises(SymnetError, match="what it says of its `fit` is damaged"):
        classifier().compile(seed=1).fit(X, LABELS, **FIT, resume=tmp_path / "run")


@pytest.mark.parametrize(
    "arguments", [{"seconds": -1}, {"seconds": "1"}, {"epochs": 0}, {"epochs": 1.5}, {"epochs": True}]
)
def test_a_checkpoint_says_how_often_it_is_written(arguments: dict, tmp_path: Path) -> None:
    with pytest.raises(SymnetError, match=rf"checkpoint, {next(iter(arguments))}: found"):
        sn.Checkpoint(tmp_path / "run", **arguments)


def test_training_killed_at_random_moments_ends_with_the_bits_of_an_undisturbed_one(tmp_path: Path) -> None:
    told = kill.killed(1, 0, tmp_path, epochs=5000)  # more: python -m tests.kill
    assert told["killed"] == 1 and told["finished"] >= 1
