"""Checkpoints: what `fit` needs to go on after its process ended as if it had not.

In: the path and how often; a Loop.  Out: a model file (model_file.py) with more in it, replaced whole or not at all;
and back.  `symnet.load` reads it as a model, too.

    fit:history            a row for each epoch done, as the native loop wrote it
    fit:numbers            the best value so far
    fit:best:<name>        parameters and states at the best epoch, where they are to be restored
    metadata "fit"         where this `fit` began, its settings, digests of its data, why it ended

The order of the rows, dropout and first values are functions of the seed and of the step, so nothing else is random.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..declare.toml_text import to_toml
from ..errors import Quoted, SymnetError, complaint
from . import storage
from .data import Data
from .plan import same_equations

if TYPE_CHECKING:
    from .loop import Loop
    from .training import Model

Array = np.ndarray[Any, np.dtype[Any]]
DIGESTED = 2**26  # bytes of an array that its digest reads: all, or rows at even distances
PREFIX = "fit:"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where `fit` writes checkpoints: `checkpoint=Checkpoint("run.safetensors", epochs=5)`.

    One is written after `seconds` since the last, at the end of the slice of 100 ms or of the step that is going on,
    after every so many `epochs` if they are given, where Ctrl-C or SIGTERM ends the training, and at its end.
    """

    path: str | os.PathLike[str]
    seconds: float = 60.0
    epochs: int | None = None

    def __post_init__(self) -> None:
        if not storage.target_of(self.path, "checkpoint").parent.is_dir():
            raise complaint("checkpoint", str(self.path), "a file in a folder that exists")
        if isinstance(self.seconds, bool) or not isinstance(self.seconds, int | float) or not self.seconds >= 0:
            raise complaint("checkpoint, seconds", self.seconds, "a number of seconds, 0 or more")
        if self.epochs is not None and (type(self.epochs) is not int or self.epochs < 1):
            raise complaint("checkpoint, epochs", self.epochs, "a number of epochs from 1, or None")


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one `fit` stands, besides the progress of its model.

    epoch, step, position: the model's at its start; clock: nanoseconds in the native loop; seconds: in all;
    best: epoch, step, and epochs since; kept: the persistent block at the best epoch; stopped: why it ended.
    """

    epoch: int
    step: int
    position: int
    history: Array = field(repr=False)
    clock: int = 0
    seconds: float = 0.0
    best: tuple[int, int, int] = (-1, 0, 0)
    best_value: float = -np.inf
    kept: Array | None = field(default=None, repr=False)
    stopped: str = ""


class Keeper:
    """Writes the checkpoints of one `fit`, and reads the one that it begins with."""

    def __init__(self, loop: Loop, to: Any, resume: Any) -> None:
        self._to = to if to is None or isinstance(to, Checkpoint) else Checkpoint(to)
        self._model = loop.model
        self.settings: dict[str, Any] = {}  # of the `fit`; it puts them in if `uses_settings`
        self._resume = None if resume is None else storage.target_of(resume, "resume")
        if self._resume and self._to and self._resume == storage.target_of(self._to.path, "checkpoint"):
            self._resume = self._resume if self._resume.exists() else None  # the first start of a run that may go on
        self._last = time.monotonic()
        if self._to is not None:
            storage.remove_parts(self._to.path)

    @property
    def uses_settings(self) -> bool:
        return self._to is not None or self._resume is not None

    @property
    def each_epoch(self) -> bool:
        return self._to is not None and self._to.epochs is not None

    def due(self, epochs: int | None = None) -> bool:
        """A checkpoint is to be written; epochs: so many have just been done."""
        if self._to is None:
            return False
        by_epochs = epochs is not None and self._to.epochs is not None and epochs % self._to.epochs == 0
        return by_epochs or time.monotonic() - self._last >= self._to.seconds

    def write(self, standing: Standing) -> None:
        if self._to is None:
            return
        from .model_file import contents, named

        arrays, metadata = contents(self._model)
        more = {"history": standing.history, "numbers": np.array([standing.best_value])}
        if standing.kept is not None and standing.best[0] >= 0:
            more |= {f"best:{name}": view for name, view in named(self._model, standing.kept).items()}
        record = {name: getattr(standing, name) for name in _FIELDS}
        metadata["fit"] = json.dumps({**record, "settings": self.settings})
        storage.write(self._to.path, arrays | {PREFIX + name: array for name, array in more.items()}, metadata)
        self._last = time.monotonic()

    # ------------------------------------------------------------------------------------------ reading
    def begin(self, epochs: int, columns: int) -> Standing | None:
        """Put the model where the checkpoint has it; None if there is none.  Nothing changes if it is refused.

        epochs: of this `fit`; columns: of its history.
        """
        if self._resume is None:
            return None
        from .model_file import load

        path, model = self._resume, self._model
        loaded = load(path)
        entries, metadata = storage.read_header(path)
        if "fit" not in metadata:
            raise complaint(str(path), Quoted("a model that `save` wrote"), "a checkpoint of `fit`")
        arrays, _ = storage.read(path, [name for name in entries if name.startswith(PREFIX)])
        try:
            record = json.loads(metadata["fit"])
            self._compare(loaded, record.pop("settings"))
            given = {name.removeprefix(PREFIX): array for name, array in arrays.items()}
            standing = self._standing(record, given, loaded.progress.epoch, columns)
        except SymnetError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
            what = f"{type(error).__name__}: {str(error)[:80]}"
            raise SymnetError(f"{path}: what it says of its `fit` is damaged ({what}).") from None
        if len(standing.history) > epochs:
            found = Quoted(f"a checkpoint after {len(standing.history)} epochs")
            raise complaint(str(path), found, f"one after at most {epochs}, the epochs of this `fit`")
        for slot in model.memory.storage.slots:
            model.memory.view(slot.name)[...] = loaded.memory.view(slot.name)
        spec = replace(loaded.network.spec, train=model.network.spec.train, folder=model.network.spec.folder)
        network = model.network if spec == model.network.spec else type(model.network).from_spec(spec)
        model.retune(network, loaded.optimizer)
        model.progress = loaded.progress
        return standing

    def _compare(self, loaded: Model, given: Mapping[str, Any]) -> None:
        """The checkpoint is of such a model, and the `fit` that wrote it had these settings and these data."""
        model, path = self._model, str(self._resume)
        theirs, ours = _made_with(loaded), _made_with(model)
        for what, expected in ours.items():
            if (found := theirs[what]) != expected:
                raise complaint(path, Quoted(f"the {what} {found}"), f"{expected}, as this model has")
        for name in dict.fromkeys((*self.settings, *given)):
            found, expected = given.get(name), self.settings.get(name)
            if found == expected:
                continue
            if name == "network":
                raise complaint(path, Quoted(f"a checkpoint of {loaded.network!r}"), f"one of {model.network!r}")
            if name in ("data", "validation data", "scaling", "constants"):
                raise complaint(path, Quoted(f"a checkpoint with other {name}"), "the same arrays")
            raise complaint(path, Quoted(f"{name}={found!r}"), f"{expected!r}, as this `fit` has")
        equations = ((m.network.spec, m.optimizer) for m in (model, loaded))  # a callback may have tuned numbers
        if not same_equations(*equations):
            raise ValueError("another network than at its start")

    def _standing(self, record: dict[str, Any], arrays: Mapping[str, Array], epoch: int, columns: int) -> Standing:
        """The record of a file, checked; epoch: of its model; columns: of the history."""
        for name, kind in _FIELDS.items():
            if type(record[name]) is not kind or (kind is int and not 0 <= record[name] < 2**62):
                raise ValueError(name)
        from .model_file import named

        best, history, kept = tuple(record["best"]), arrays["history"], None
        if len(best) != 3 or not all(type(number) is int and -1 <= number < 2**62 for number in best):
            raise ValueError("best")
        if history.dtype != np.float64 or history.shape != (epoch - record["epoch"], columns):
            raise ValueError("history")
        if any(name.startswith("best:") for name in arrays):
            kept = self._model.memory.persistent.copy()
            for name, view in named(self._model, kept).items():
                found = arrays[f"best:{name}"]
                if found.shape != view.shape or found.dtype != view.dtype or not np.isfinite(found).all():
                    raise ValueError(f"best:{name}")
                view[...] = found
        value = float(arrays["numbers"][0])
        return Standing(**{**record, "best": best}, history=history, best_value=value, kept=kept)


_FIELDS: dict[str, type] = {
    "epoch": int, "step": int, "position": int, "clock": int, "seconds": float, "best": list, "stopped": str
}  # fmt: skip


def _made_with(model: Model) -> dict[str, Any]:
    """What a model was compiled with, besides its network and optimizer, that decides its bits."""
    return {"dtype": model.dtype, "seed": model.seed, "accuracy": model.kernels.accuracy}


def settings(loop: Loop, data: bool = True) -> dict[str, Any]:
    """What decides the course of a `fit`, as it begins, in terms of JSON; data: with digests of these."""
    model = loop.model
    spec, optimizer = model.network.spec, {"name": model.optimizer.name, **model.optimizer.mapping}
    scaling = {name: [array.tolist() for array in (s.mean, s.deviation)] for name, s in model.scaling.items()}
    found = {
        "network": to_toml(replace(spec, train=None, constants=())),
        "constants": {constant.name: constant.digest for constant in spec.constants},
        "optimizer": optimizer,
        "scaling": scaling,
        **loop.settings,
    }
    if data:
        found["data"] = digest(loop.data)
        found["validation data"] = digest(loop.validation) if loop.validation else ""
    return dict(json.loads(json.dumps(found)))


def digest(data: Data) -> str:
    """What the data are: names, shapes, dtypes and content; of arrays above DIGESTED bytes rows at even distances."""
    found = hashlib.sha256(f"{data.given} {data.facts_hold}".encode())
    count = data.rows
    for name, array in sorted(data.arrays.items()):
        shape = (count, *array.shape[1:])
        found.update(f"{name} {array.dtype} {shape}".encode())
        rows = max(1, DIGESTED * count // max(array.dtype.itemsize * math.prod(shape), 1))
        chosen = np.arange(count) if rows >= count else np.linspace(0, count - 1, rows).astype(int)
        found.update(np.ascontiguousarray(data.taken(name, chosen)).data)
    return found.hexdigest()
