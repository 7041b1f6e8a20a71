"""What training leaves behind: one record an epoch, and why it ended."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np

from ..errors import unknown

SHOWN = 20  # the last epochs, in a notebook


def share(part: float, whole: float) -> float:
    """part/whole, NaN of nothing."""
    return float(part / whole) if whole else math.nan


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch: the mean loss of its batches as they were trained, the validation part after it, its duration.

    `epoch` counts from 0 over the life of the model.  `validation_loss` is None without validation data, `accuracy` (of
    the validation part) unless a classifier has them.  `parts`: of a network with several losses "digit.loss",
    "digit.validation_loss", "digit.accuracy" for each; it has no accuracy as a whole.
    """

    epoch: int
    loss: float
    validation_loss: float | None
    accuracy: float | None
    seconds: float
    parts: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        text = f"epoch {self.epoch + 1}: loss {self.loss:.6g}"
        if self.validation_loss is not None:
            text += f", validation loss {self.validation_loss:.6g}"
        if self.accuracy is not None:
            text += f", validation accuracy {100 * self.accuracy:.2f} %"
        return "".join((text, *(f", {name} {value:.4g}" for name, value in self.parts.items())))


@dataclass(frozen=True, slots=True, eq=False)
class Epochs(Sequence[Epoch]):
    """Epochs as the native loop wrote them, a row each; an `Epoch` is made when it is asked for.

    rows: loss, validation loss, accuracy, seconds since the start of the run.  first: the number of the first epoch.
    parts: the numbers of further columns.
    """

    rows: np.ndarray[Any, np.dtype[np.float64]]
    first: int
    validated: bool
    classified: bool
    parts: Mapping[str, int] = field(default_factory=dict)

    @overload
    def __getitem__(self, key: int) -> Epoch: ...
    @overload
    def __getitem__(self, key: slice) -> tuple[Epoch, ...]: ...
    def __getitem__(self, key: int | slice) -> Epoch | tuple[Epoch, ...]:
        places = range(len(self))[key]
        return self._epoch(places) if isinstance(places, int) else tuple(map(self._epoch, places))

    def _epoch(self, place: int) -> Epoch:
        loss, validation_loss, accuracy, ended = map(float, self.rows[place, :4])
        began = float(self.rows[place - 1, 3]) if place else 0.0
        return Epoch(
            self.first + place,
            loss,
            validation_loss if self.validated else None,
            accuracy if self.classified else None,
            max(0.0, ended - began),
            {name: float(self.rows[place, column]) for name, column in self.parts.items()},
        )

    def column(self, number: int) -> tuple[float, ...]:
        return tuple(self.rows[:, number].tolist())

    def __len__(self) -> int:
        return len(self.rows)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Epochs) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class History(Sequence[Epoch]):
    """The epochs of one `fit` in order; a sequence of `Epoch`; history["digit.loss"] is such a value of all epochs.

    `stopped` says why it ended: "epochs" (all were made), "patience", "callback".  `best` is the epoch whose
    parameters were restored, if any.  `steps`, `samples`, `seconds` and `entries` (how often Python entered the native
    loop) count this call only.
    """

    epochs: Epochs
    stopped: str
    best: int | None
    steps: int
    samples: int
    seconds: float
    entries: int

    @property
    def loss(self) -> tuple[float, ...]:
        return self.epochs.column(0)

    @property
    def validation_loss(self) -> tuple[float | None, ...]:
        return self.epochs.column(1) if self.epochs.validated else (None,) * len(self.epochs)

    @property
    def accuracy(self) -> tuple[float | None, ...]:
        return self.epochs.column(2) if self.epochs.classified else (None,) * len(self.epochs)

    @property
    def samples_per_second(self) -> float:
        return self.samples / self.seconds if self.seconds > 0 else 0.0

    @overload
    def __getitem__(self, key: int) -> Epoch: ...
    @overload
    def __getitem__(self, key: slice) -> tuple[Epoch, ...]: ...
    @overload
    def __getitem__(self, key: str) -> tuple[float | None, ...]: ...
    def __getitem__(self, key: int | slice | str) -> Epoch | tuple[Epoch, ...] | tuple[float | None, ...]:
        if not isinstance(key, str):
            return self.epochs[key]
        whole = {"loss": self.loss, "validation_loss": self.validation_loss, "accuracy": self.accuracy}
        if key not in whole and key not in self.epochs.parts:
            raise unknown("history", "column", key, (*whole, *self.epochs.parts))
        return whole[key] if key in whole else self.epochs.column(self.epochs.parts[key])

    def __len__(self) -> int:
        return len(self.epochs)

    def __iter__(self) -> Iterator[Epoch]:
        return iter(self.epochs)

    def _repr_html_(self) -> str:
        from html import escape

        from ..notation.jupyter import table

        last = self.epochs[-SHOWN:]
        rows = [
            (
                str(epoch.epoch + 1),
                f"{epoch.loss:.6g}",
                "" if epoch.validation_loss is None else f"{epoch.validation_loss:.6g}",
                "" if epoch.accuracy is None else f"{100 * epoch.accuracy:.2f} %",
            )
            for epoch in last
        ]
        head = ("epoch", "loss", "validation loss", "validation accuracy")
        kept = [k for k in range(len(head)) if k < 2 or any(row[k] for row in rows)]
        return f"<p>{escape(repr(self))}</p>" + table([head[k] for k in kept], [[row[k] for k in kept] for row in rows])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from ..notation.jupyter import bundle

        return bundle(repr(self), self._repr_html_())

    def __repr__(self) -> str:
        last = f", loss {self.epochs[-1].loss:.6g}" if self.epochs else ""
        made = f"{len(self.epochs)} epochs, {self.steps} steps{last}, {self.seconds:.3g} s"
        return f"History({made}, ended by {self.stopped})"
