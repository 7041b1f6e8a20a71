"""Training as a spec says: what `symnet train` and `symnet report` do.

In: a Network whose spec has a table [train].  Out: the trained model with its history and data.  The last part of the
data is for the test alone: neither training nor the choice of the best epoch sees it.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import Quoted, complaint
from .data import Data, Split, check_data, split
from .shards import shared
from .storage import target_of
from .tables import load_data, load_weights, some

if TYPE_CHECKING:
    from ..network import Network
    from .checkpoint import Checkpoint
    from .history import Epoch, History
    from .ranks import Ranks
    from .training import Model

FEW = 20  # rows below which an accuracy says little
LONG = 5.0  # seconds that are left from which on that is said
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Trained:
    model: Model
    history: History
    X: Any
    y: Any
    parts: Split


def train(
    network: Network,
    where: str,
    target: Path | None,
    say: Say,
    seed: int | None = None,
    limit: float | None = None,
    checkpoint: Checkpoint | None = None,
    resume: str | None = None,
    threads: int | None = None,
    ranks: Ranks | None = None,
) -> Trained:
    """Train on the data that the spec names.  target: the model's file; None: no file is written.

    `say` gets the progress, a line at a time.  Whatever ends the training, the model is written as it is.  checkpoint,
    resume: as `fit` takes them.  ranks: the processes that train together; one of them speaks and writes.
    """
    if ranks is not None and ranks.rank:
        target, say = None, lambda line: None
    spec = network.spec
    train = spec.train
    if train is None:
        raise complaint(where, Quoted("no table [train]"), "[train] with the key data")
    if target is not None and not target_of(target, "model").parent.is_dir():
        raise complaint("model", str(target), "a file in a folder that exists")
    seed = train.seed if seed is None else seed
    X, y, weights = _read(network, spec.path(train.data), ranks)

    def check(X: Any, y: Any, weights: Any, first: int | None) -> Data:
        return check_data(network, X, y, train.dtype, weights=weights, first=first)

    low, high = 0, None
    if ranks is None:
        count = check(X, y, weights, None).rows
    else:
        data = shared(ranks, ("X", "y"), (X, y, weights), check)
        count, (low, high) = data.rows, data.edges[ranks.rank :][:2]
    parts = split(count, seed, train.validation_split, train.test_split)

    def given(rows: Any) -> tuple[Any, Any, Any]:
        """Of these rows those that are here."""
        rows = rows[slice(*np.searchsorted(rows, (low, count if high is None else high)))] - low
        return some(X, rows), some(y, rows), None if weights is None else some(weights, rows)

    chosen = given(parts.train)
    say(f"{count} samples: {len(parts.train)} to train, {len(parts.validation)} to validate, {len(parts.test)} to test")
    for name, rows in (("validation", parts.validation), ("test", parts.test)):
        if 0 < len(rows) < FEW:
            what = "accuracy" if network.is_classifier else "loss"
            say(f"the {name} {what} is of {len(rows)} row{'s' * (len(rows) > 1)} only: it says little")
    if ranks is not None:
        say(_shared(ranks))
        threads = threads or ranks.threads
    say("compiling ...")
    start = time.perf_counter()
    model = network.compile(train.optimizer, train.dtype, seed, limit, threads, train.accuracy)
    if train.scale != "none":
        model.scale(chosen[0], train.scale, ranks)
    model.prepare(chosen[0], chosen[1], train.batch_size, train.shuffle, chosen[2], ranks)
    if len(parts.validation) or len(parts.test):
        model.evaluate(*given(parts.train[:1]), ranks)
    how = "compiled in" if model.kernels.compiled else "from the cache in"
    say(f"{how} {time.perf_counter() - start:.1f} s")
    validated = len(parts.validation) > 0
    stopping = train.early_stopping
    began = time.perf_counter()
    numbers = itertools.count(1)  # of the epochs of this process; a resumed training has those of another one, too

    def told(epoch: Epoch) -> None:
        done = epoch.epoch + 1
        left = _left((time.perf_counter() - began) / next(numbers) * (train.epochs - done))
        say((_bar(done / train.epochs) if sys.stdout.isatty() else "") + _progress(epoch, train.epochs) + left)

    try:
        history = model.fit(
            chosen[0],
            chosen[1],
            train.epochs,
            train.batch_size,
            validation_data=given(parts.validation) if validated else None,
            shuffle=train.shuffle,
            callbacks=[told],
            restore_best=validated if stopping is None else stopping.restore_best,
            patience=None if stopping is None else stopping.patience,
            monitor="loss" if stopping is None else stopping.monitor,
            sample_weight=chosen[2],
            checkpoint=checkpoint,
            resume=resume,
            ranks=ranks,
        )
    except BaseException:  # Ctrl-C, SIGTERM, a step that is not finite, nobody who reads what is said
        if model.progress.step and target is not None:
            model.save(target)
            with suppress(OSError):
                say(f"{target}: the latest parameters, after {model.progress.step} steps")
        raise
    if target is not None:
        model.save(target)
        say(f"{target}: the parameters of epoch {(history[-1].epoch if history.best is None else history.best) + 1}")
    say(f"{history.seconds:.2f} s, {history.samples_per_second:,.0f} samples/s")
    if len(parts.test):
        say(f"test {_tested(model.evaluate(*given(parts.test), ranks))}")
    return Trained(model, history, X, y, parts)


def _read(network: Network, path: Path, ranks: Ranks | None) -> tuple[Any, Any, Any]:
    """X, y and weights; of several ranks each reads its share of the rows."""
    share = None if ranks is None else ranks.share

    def read() -> tuple[Any, Any, Any]:
        return *load_data(network, path, share=share), load_weights(network, path, share=share)

    if ranks is None:
        return read()
    X, y, weights = ranks.each(read)
    whole = getattr(y, "dtype", np.dtype(float)).kind != "f"
    if ranks.any(not whole) and whole:  # labels here, but numbers between them elsewhere
        y = y.astype(np.float64)
    return X, y, weights


def _shared(ranks: Ranks) -> str:
    """Who does what."""
    count = f"{ranks.size} rank{'s' * (ranks.size > 1)}"
    if ranks.sync_every > 1:
        return f"{count}, averaged every {ranks.sync_every} steps"
    return f"{count}, each batch in {ranks.pieces} pieces: the same bits for any number of ranks up to that"


def _tested(found: dict[str, float]) -> str:
    if "accuracy" in found:
        return _named("accuracy", found["accuracy"])
    return ", ".join(_named(name, value) for name, value in found.items())


def _progress(epoch: Epoch, epochs: int) -> str:
    text = f"epoch {epoch.epoch + 1:{len(str(epochs))}}/{epochs}  loss {_number(epoch.loss)}"
    if epoch.validation_loss is not None:
        text += f"  validation loss {_number(epoch.validation_loss)}"
    if epoch.accuracy is not None:
        text += f"  validation accuracy {100 * epoch.accuracy:6.2f} %"
    return text + "".join(f"  {_named(name, v)}" for name, v in epoch.parts.items() if name.endswith("accuracy"))


def _bar(share: float) -> str:
    """What is done, for a terminal."""
    return f"[{'=' * round(10 * share):10}] "


def _left(seconds: float) -> str:
    """How long the rest will take, if that is worth saying."""
    if seconds < LONG:
        return ""
    hours, minutes = divmod(round(seconds) // 60, 60)
    spoken = f"{hours} h {minutes} min" if hours else f"{minutes} min {round(seconds) % 60} s" if minutes else ""
    return f"  {spoken or f'{seconds:.0f} s'} left"


def _named(name: str, value: float) -> str:
    return f"{name} {100 * value:.2f} %" if name.endswith("accuracy") else f"{name} {value:.6g}"


def _number(loss: float) -> str:
    """In nine columns, whatever its size."""
    return f"{loss:9.4f}" if loss == 0 or 1e-4 <= abs(loss) < 1e4 else f"{loss:9.3e}"
