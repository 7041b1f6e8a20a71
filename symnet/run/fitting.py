"""One `fit`: epochs over a loop, with callbacks, checkpoints and a history.

In: a Loop with its validation, callbacks, a Keeper of checkpoints.  Out: a History; the model is changed in place.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .checkpoint import Keeper, Standing, settings
from .history import Epoch, History
from .loop import Loop


def fit(loop: Loop, count: int, callbacks: Sequence[Callable[[Epoch], Any]], keeper: Keeper) -> History:
    """Finish `count` epochs (the one that is going on is the first), or fewer if a callback or patience says so.

    Of a checkpoint's, those that were done count, too.
    """
    began, model, c = time.perf_counter(), loop.model, loop.control
    with loop.guard(), model.lock:
        loop.refuse_nested()
        if loop.first(lambda: keeper.uses_settings):
            keeper.settings = settings(loop)
        start = loop.begin(lambda: keeper.begin(count, loop.columns)) or _fresh(loop)
        each_epoch = loop.first(lambda: bool(callbacks) or keeper.each_epoch)
        rows, done = np.zeros((count, loop.columns)), len(start.history)
        rows[:done] = start.history
        kept = np.empty_like(model.memory.persistent) if loop.monitor.restore_best else None
        if kept is not None and start.kept is not None:
            kept[:] = start.kept
        stopped = start.stopped
        if stopped in ("", "epochs"):  # more epochs than the last time may be asked for
            stopped = "epochs" if done == count else ""

        def standing() -> Standing:
            return replace(
                start,
                history=rows[: c["EPOCH"] - start.epoch],
                clock=c["CLOCK"],
                seconds=start.seconds + time.perf_counter() - began,
                best=(c["BEST_EPOCH"], c["BEST_STEP"], c["SINCE_BEST"]),
                best_value=c.number("BEST"),
                kept=kept,
                stopped=stopped,
            )

        def write() -> None:
            keeper.write(standing())

        with loop.terminable(), loop.running():
            c.set(STEPS_END=-1, EPOCHS_END=start.epoch + count, EACH_EPOCH=int(each_epoch))
            c.set(HISTORY_START=start.epoch, PERSISTENT_BYTES=model.memory.persistent.nbytes, CLOCK=start.clock)
            c.set(BEST_EPOCH=start.best[0], BEST_STEP=start.best[1], SINCE_BEST=start.best[2])
            c.put_number("BEST", start.best_value)
            c.address(HISTORY=rows, KEPT=kept)
            while not stopped:
                reason = loop.enter_until("EPOCH_DONE", "EPOCHS_DONE", "PATIENCE_OVER", due=keeper.due, write=write)
                loop.note()
                made = loop.made(rows[: c["EPOCH"] - start.epoch])
                assigned = model.memory.changes
                try:
                    asked = [bool(callback(made[-1])) for callback in callbacks]
                    ends = loop.any(any(asked))
                except (KeyboardInterrupt, SystemExit):
                    if model.memory.changes == assigned:  # callbacks of this epoch are not called again
                        write()
                    raise
                if reason != "EPOCH_DONE":
                    stopped = "epochs" if reason == "EPOCHS_DONE" else "patience"
                elif ends:
                    stopped = "callback"
                elif keeper.due(len(made)):
                    write()
            write()
            steps, best = c["STEP"] - start.step, None
            if kept is not None and c["BEST_EPOCH"] >= 0:
                best = c["BEST_EPOCH"]
                model.memory.persistent[:] = kept
                c.set(STEP=c["BEST_STEP"])
        made = loop.made(rows[: c["EPOCH"] - start.epoch].copy())
    seconds = start.seconds + time.perf_counter() - began
    samples = len(made) * c["ROWS"] - start.position
    return History(made, stopped, best, steps, samples, seconds, loop.entries)


def _fresh(loop: Loop) -> Standing:
    """At the beginning of a `fit`."""
    progress, c = loop.model.progress, loop.control
    position = progress.position if loop.continues(progress) else 0
    made = Standing(progress.epoch, progress.step, position, np.empty((0, loop.columns)))
    return replace(made, best=(-1, 0, c["SINCE_BEST"]), best_value=c.number("BEST"))  # as `resume` may have set them
