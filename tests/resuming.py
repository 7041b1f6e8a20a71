"""Training stopped and resumed at every step, compared bit by bit with training that never stopped.

    python -m tests.resuming            every case: all optimizers, and networks with whatever else has a state

`compare` trains once with a checkpoint after every single step, and from each of these files again to the end.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import symnet as sn
from symnet.declare import optimizers
from symnet.run import checkpoint, loop
from symnet.run.model_file import contents

RNG = np.random.default_rng(11)
ROWS = 22
X, LABELS = RNG.normal(size=(ROWS, 5)), RNG.integers(0, 3, ROWS)
SERIES, VALUES = RNG.normal(size=(ROWS, 6, 3)), RNG.normal(size=(ROWS, 2))
WORDS = RNG.integers(0, 9, (ROWS, 6))
IMAGES = RNG.normal(size=(ROWS, 6, 6, 2))


@dataclass(frozen=True)
class Case:
    """What is trained, and how."""

    network: Callable[[], sn.Network]
    X: Any
    y: Any
    optimizer: Any = "adam"
    dtype: str = "float32"
    fit: Mapping[str, Any] = field(default_factory=dict)

    def model(self) -> sn.Model:
        return self.network().compile(self.optimizer, self.dtype, seed=4)

    def trained(self, **more: Any) -> tuple[Any, ...]:
        """All that is left of a training, but for the seconds it took."""
        model = self.model()
        history = model.fit(self.X, self.y, **{"epochs": 3, "batch_size": 6, **self.fit, **more})
        rows = np.delete(history.epochs.rows, 3, axis=1)
        arrays, metadata = contents(model)  # parameters, states of layers and of the optimizer, progress
        told = (history.stopped, history.best, history.steps, history.samples)
        return {name: array.tobytes() for name, array in arrays.items()}, metadata, rows.tobytes(), told


def _plain() -> sn.Network:
    return sn.Network(5, [sn.dense(4, "tanh", name="h"), sn.dense(3, name="o")], "softmax_cross_entropy", l2=1e-3)


def _everything() -> sn.Network:
    layers = [
        sn.dense(6, name="h"),
        sn.batch_norm(name="n"),
        sn.activation("relu"),
        sn.dropout(0.3),
        sn.dense(3, name="o"),
    ]
    return sn.Network(5, layers, "softmax_cross_entropy", l2=1e-3)


def _heads() -> sn.Network:
    layers = [sn.dense(4, "tanh", name="h"), sn.dense(3, name="a", inputs="h"), sn.dense(2, name="b", inputs="h")]
    losses = {"a": "softmax_cross_entropy", "b": {"name": "squared_error", "weight": 0.1}}
    return sn.Network(5, layers, losses=losses)


def _rolled() -> sn.Network:
    layers = [*(sn.dense(5, "tanh", name=f"h{k}") for k in range(24)), sn.dense(3, name="o")]
    return sn.Network(5, layers, "softmax_cross_entropy")


def _series(layer: Callable[..., Any]) -> Callable[[], sn.Network]:
    return lambda: sn.Network(
        inputs={"x": [6, 3]}, layers=[layer(4, name="r"), sn.dense(2, name="o")], loss="squared_error"
    )


def _words() -> sn.Network:
    inputs = {"ids": {"shape": [6], "below": 9}}
    layers = [sn.embedding(9, 4, name="e"), sn.transformer(2, hidden=8, name="t"), sn.flatten(), sn.dense(3, name="o")]
    return sn.Network(inputs=inputs, layers=layers, loss="softmax_cross_entropy")


def _images() -> sn.Network:
    layers = [sn.conv2d(3, 3, name="c"), sn.batch_norm(name="n"), sn.max_pool2d(2), sn.flatten(), sn.dense(3, name="o")]
    return sn.Network(inputs={"x": [6, 6, 2]}, layers=layers, loss="softmax_cross_entropy")


_SCHEDULED = {"name": "nadam", "schedule": {"name": "cosine", "steps": 9, "warmup": 3}, "clip_norm": 0.5}
_OWN = {
    "formula": "W - learning_rate*m_next",
    "states": {"m": "mu*m + g"},
    "parameters": {"learning_rate": 0.01, "mu": 0.9},
}
_WEIGHTS = np.linspace(0, 2, ROWS)
_BEST = {"patience": 2, "restore_best": True, "monitor": "accuracy", "validation_split": 0.3, "epochs": 6}
_DICTS = {"sample_weight": _WEIGHTS, "validation_split": 0.25, "patience": 1, "restore_best": True}

CASES: dict[str, Case] = {
    "everything": Case(_everything, X, LABELS, _SCHEDULED, fit=_BEST),
    "heads": Case(_heads, X, {"a": LABELS, "b": VALUES}, "momentum", "float64", _DICTS),
    "rolled": Case(_rolled, X, LABELS, "rmsprop", fit={"shuffle": False}),
    "risk": Case(_plain, X, LABELS, fit={"monitor": "risk", "patience": 2, "tolerance": 0.02, "epochs": 9}),
    "one batch": Case(_plain, X, LABELS, fit={"batch_size": ROWS, "epochs": 12}),
    "own optimizer": Case(_plain, X, LABELS, _OWN),
    "lstm": Case(_series(sn.lstm), SERIES, VALUES),
    "gru": Case(_series(sn.gru), SERIES, VALUES, dtype="float64"),
    "words": Case(_words, WORDS, LABELS, "adamw"),
    "images": Case(_images, IMAGES, LABELS, "nesterov", fit={"validation_split": 0.2}),
    **{f"optimizer {name}": Case(_plain, X, LABELS, name) for name in sorted({row.name for row in optimizers.ROWS})},
}  # fmt: skip


def stepwise(control: Callable[[], Any]) -> Callable[[], Any]:
    """A Control whose loop returns to Python after every step, and after every call of validation."""

    def made() -> Any:
        c = control()
        c.set(SLICE=0)
        return c

    return made


@contextmanager
def _copies(folder: Path) -> Iterator[list[Path]]:
    """Every checkpoint that is written meanwhile, as a file of its own."""
    found: list[Path] = []
    write = checkpoint.storage.write

    def kept(path: Any, *contents: Any) -> None:
        write(path, *contents)
        found.append(folder / f"{len(found)}")
        shutil.copy(path, found[-1])

    with (
        mock.patch.object(checkpoint.storage, "write", kept),
        mock.patch.object(loop, "Control", stepwise(loop.Control)),
    ):
        yield found


def compare(case: Case, folder: Path) -> int:
    """How many checkpoints there were; an assertion fails if one leads elsewhere."""
    expected = case.trained()
    with _copies(folder) as files:
        assert case.trained(checkpoint=sn.Checkpoint(folder / "run", seconds=0)) == expected, (
            "writing changed the course"
        )
    for number, file in enumerate(files):
        assert case.trained(resume=file) == expected, f"resumed from checkpoint {number} of {len(files)}"
    return len(files)


def main() -> None:
    began, total = time.perf_counter(), 0
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            count = compare(case, Path(folder))
        total += count
        print(f"{name}: {count} checkpoints, each to the same bits", flush=True)
    print(f"{len(CASES)} cases, {total} resumed runs, {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
