"""Rewind: a copy of the last state of training that was finite, and the way back to it.

The native loop looks at the loss and the gradient of every step before anything is updated.  What the update itself
makes (an overflow, a division by zero in a user's optimizer) is looked at here, where the loop returns: a look at each
step would cost each step.  Training is deterministic, so the steps since the copy can be repeated, by halves, up to the
last one that left all parameters and states finite.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from compiler.kernels.driver import Control

from .execution import Memory

Array = np.ndarray[Any, np.dtype[Any]]
SHARE = 50  # a copy is made again when so many times as long as it took has gone by

# What the state of the loop is, besides the sums; the order of the rows is drawn again.
CELLS = ("EPOCH", "POSITION", "STEP")
# What steps do not depend on is switched off while they are repeated.
OFF = {"CHECK_KERNEL": 0, "HISTORY": 0, "EPOCHS_END": -1, "EACH_EPOCH": 0, "PATIENCE": -1, "KEPT": 0}


class Rewind:
    """Of one loop.  sums: the array of sums over the epoch, which belongs to its state.

    share: a copy is made when so many times as long as it took has gone by.  repeats: steps can be repeated.
    """

    def __init__(self, memory: Memory, control: Control, sums: Array, share: int = SHARE, repeats: bool = True) -> None:
        self._share, self._repeats = share, repeats
        self._memory, self._control, self._sums = memory, control, sums
        self._changes, self._due = -1, 0.0

    @property
    def due(self) -> bool:
        """The copy is no longer of this model, or old enough to be made again."""
        return self._changes != self._memory.changes or time.perf_counter() >= self._due

    def keep(self) -> None:
        """Copy the state, which is finite, if that is due."""
        if self.due:
            self._copy()

    def _copy(self) -> None:
        start, c = time.perf_counter(), self._control
        self._cells = {name: c[name] for name in CELLS}
        self._loss_sum, self._kept_sums = c.number("LOSS_SUM"), self._sums.copy()
        self._persistent, self._changes = self._memory.persistent.copy(), self._memory.changes
        now = time.perf_counter()
        self._due = now + self._share * (now - start)

    def forget(self) -> None:
        """Something else has trained the model since."""
        self._changes = -1

    def _restore(self) -> None:
        c = self._control
        self._memory.persistent[:] = self._persistent
        c.set(PERMUTED=-1, CHECKING=0, **self._cells)
        c.put_number("LOSS_SUM", self._loss_sum)
        self._sums[:] = self._kept_sums

    def back(self) -> None:
        """Go to the state before the first step that left something that is not finite; STEP is its number, less one.

        The step is made once more and undone, so that the kernel's buffers hold its rows.
        """
        c = self._control
        before = {name: c[name] for name in OFF}
        bad = c["STEP"]
        try:
            self._restore()
            if not self._repeats:
                return
            c.set(**OFF)
            while bad - self._cells["STEP"] > 1:
                middle = (bad + self._cells["STEP"]) // 2
                self._repeat(middle)
                if self._memory.finite:
                    self._copy()
                else:
                    bad = middle
                    self._restore()
            self._repeat(bad)
        finally:
            self._restore()
            c.set(**before)

    def _repeat(self, step: int) -> None:
        c = self._control
        c.set(STEPS_END=step)
        while c["STEP"] < step and c.enter() != "NOT_FINITE":
            pass
