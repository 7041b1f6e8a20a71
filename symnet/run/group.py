"""A group of copies of one model: the same equations on the same data; seeds, first values, hyper-parameters differ.

In: a Loop, checked and wired; of each copy its seed, its first values, its hyper-parameters.  Out: what training leaves
of each: parameters and states, progress, the last row of its history, and why it ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from compiler.kernels.driver import NUMBER_POSITIONS, REASONS

from ..errors import SymnetError
from .copies import Copies, size
from .history import Epochs
from .lanes import vectorized
from .loop import LOSS, NORM, Loop, Progress, not_finite
from .training import Model, compile_network

Array = np.ndarray[Any, np.dtype[Any]]
TOGETHER = 2**25  # bytes of the copies that are in memory at once
CELLS = ("REASON", "STEP", "EPOCH", "POSITION", "CLOCK", "BEST_EPOCH", "BEST_STEP")


class Group:
    """seeds: of each copy.  hyper: values by name of each setting; settings: which of them is each copy's."""

    def __init__(
        self, loop: Loop, epochs: int, seeds: Array, hyper: Sequence[Mapping[str, float]], settings: Array
    ) -> None:
        self.loop, self.seeds, self._epochs = loop, seeds, epochs
        self._hyper, self._settings = hyper, settings
        count, keeps = len(seeds), loop.monitor.restore_best
        first = loop.model.memory.persistent
        self._kept = np.empty_like(first) if keeps else None
        self._history = np.zeros((epochs if keeps else 1, loop.columns))
        self.persistent: Array = np.repeat(first[None], count, axis=0)
        self.cells = {name: np.zeros(count, np.int64) for name in CELLS}
        self._rows = np.zeros((count, loop.columns))
        self._sums = np.zeros((count, 1 + loop.control["PARTS"]))
        self._errors: dict[int, str] = {}
        values = [hyper[k] for k in np.unique(settings)]
        varying = {name for name in values[0] if len({given[name] for given in values}) > 1}
        found = vectorized(loop, varying, count)
        self.lanes, self._kernels = (found.lanes, found.kernels) if found else (0, ())

    def places(self, name: str) -> Array:
        """Where the elements of a parameter stand among those of a copy, in its declared shape."""
        storage = self.loop.model.memory.storage
        tensor, slot = self.loop.model.places[name]
        whole: Array = storage.view(np.arange(storage.elements), tensor)
        return whole if slot is None else whole[slot]

    # ------------------------------------------------------------------------------------------ training
    def train(self, threads: int) -> None:
        """All copies, from the first values in `persistent`; Ctrl-C arrives between slices of time."""
        with self.loop.running():
            self._set_out()
            width = max(self.lanes, 1)
            together = max(threads, TOGETHER // size(self.loop) // width) * width
            for first in range(0, len(self.seeds), together):
                part = slice(first, first + together)
                copies = self._begun(part)
                for _ in copies.run(threads):
                    pass
                self._end(part, copies)

    def _set_out(self) -> None:
        loop, keeps = self.loop, self._kept is not None
        size_of_state = loop.model.memory.persistent.nbytes
        loop.control.set(EPOCHS_END=self._epochs, LATEST=int(not keeps), PERSISTENT_BYTES=size_of_state)
        loop.control.address(HISTORY=self._history, KEPT=self._kept)
        if self.lanes:
            loop.control.address(KEYS=np.zeros(2, np.int64), FAILED=np.zeros(1, np.int64))
        loop.attach()

    def _begun(self, part: slice) -> Copies:
        loop, seeds = self.loop, self.seeds[part]
        self._at(STEP=0, EPOCH=0, POSITION=0, STEPS_END=-1)  # the loop itself may have repeated steps of a copy
        copies = Copies(loop, len(seeds), self.lanes)
        copies.put(loop.model.memory.persistent, self.persistent[part])
        if self.lanes:
            copies.put(loop.control.arrays["KEYS"], np.stack([seeds, seeds], axis=1))
            for name, address in zip(("STEP_KERNEL", "CHECK_KERNEL"), self._kernels, strict=False):
                copies.put_cell(name, address)
        else:
            copies.put_cell("SEED", seeds)
        for call in loop.calls:
            copies.put(call.hyper, self._values(call.kernel.manifest["hyper"])[self._settings[part]])
            if (place := call.place("seed")) is not None:
                integers = copies.get(place[0])
                integers[:, place[1]] = seeds
                copies.put(place[0], integers)
        return copies

    def _values(self, names: Sequence[str]) -> Array:
        """A row for each setting."""
        return np.array([[given[name] for name in names] for given in self._hyper], float)

    def _end(self, part: slice, copies: Copies) -> None:
        loop, c = self.loop, self.loop.control
        first, self.persistent[part] = self.persistent[part].copy(), copies.get(loop.model.memory.persistent)
        cells = {name: copies.cell(name) for name in CELLS}
        self._sums[part, 0] = copies.get(c.numbers)[:, NUMBER_POSITIONS["LOSS_SUM"]]
        if c["PARTS"]:
            self._sums[part, 1:] = copies.get(c.arrays["PART_SUMS"])
        if self.lanes:
            losses = copies.get(c.numbers)[:, NUMBER_POSITIONS["LOST"]]
            self._end_lanes(cells, copies.get(c.arrays["FAILED"])[:, 0])
        else:
            losses = copies.get(c.arrays["STEP_LOSS"])[:, 0]
        stopped = np.flatnonzero(cells["REASON"] == REASONS.index("NOT_FINITE"))
        for k in stopped:
            start = int(cells["POSITION"][k])
            rows = range(start, min(start + c["BATCH"], c["ROWS"]))
            what = NORM if np.isfinite(losses[k]) else LOSS
            self._errors[part.start + int(k)] = not_finite(int(cells["STEP"][k]), int(cells["EPOCH"][k]), rows, what)
        history = copies.get(self._history)
        if self._kept is None:
            self._rows[part] = history[:, 0]
        else:
            best, each = cells["BEST_EPOCH"], np.arange(len(first))
            last = np.maximum(cells["EPOCH"] - 1, 0)
            self._rows[part] = history[each, np.where(best >= 0, best, last)]
            self._rows[part, 0] = history[each, last, 0]
            done = (best >= 0) & (cells["REASON"] != REASONS.index("NOT_FINITE"))
            self.persistent[part][done] = copies.get(self._kept)[done]
            cells["STEP"] = np.where(done, cells["BEST_STEP"], cells["STEP"])
        for name, values in cells.items():
            self.cells[name][part] = values
        if len(stopped) and len(self._errors) == len(stopped):
            self._diagnose(part.start + int(stopped[0]))
        for k in np.flatnonzero(~np.isfinite(self.persistent[part]).all(axis=1)):
            self._repeat(part.start + int(k), first[k])

    def _end_lanes(self, cells: dict[str, Array], failed: Array) -> None:
        """What the control block of each lane would have; failed: the number of the step that was not finite, or 0."""
        c = self.loop.control
        done, batches = failed - 1, -(-c["ROWS"] // c["BATCH"])
        ended: dict[str, Any] = {
            "REASON": REASONS.index("NOT_FINITE"),
            "STEP": done,
            "EPOCH": done // batches,
            "POSITION": done % batches * c["BATCH"],
        }
        for name, values in ended.items():
            cells[name] = np.where(failed > 0, values, cells[name])
        cells["CLOCK"] = cells["CLOCK"] // self.lanes

    def _diagnose(self, k: int) -> None:
        """Make the step of copy k that was not finite again, by itself, to say where it began.  For one of them: the
        copies have the same equations, and this takes as long as many copies."""
        cells = {name: int(self.cells[name][k]) for name in ("STEP", "EPOCH", "POSITION")}
        self._place(k, self.persistent[k], STEPS_END=cells["STEP"] + 1, **cells)
        try:
            self.loop.enter_until("STEPS_DONE", "EPOCHS_DONE", "PATIENCE_OVER")
        except SymnetError as error:  # in lanes sums are rounded in another way: a step may be finite by itself
            self._errors[k] = str(error)

    def _place(self, k: int, persistent: Array, **cells: int) -> None:
        """The loop's own model is copy k, with these values."""
        loop, model = self.loop, self.loop.model
        model.memory.persistent[:] = persistent
        model.memory.changes += 1
        model.hyper = dict(self._hyper[self._settings[k]])
        self._at(SEED=int(self.seeds[k]), **cells)
        for call in loop.calls:
            if (place := call.place("seed")) is not None:
                place[0][place[1]] = self.seeds[k]

    def _at(self, **cells: int) -> None:
        """The loop stands there, with no history."""
        c = self.loop.control
        c.set(
            REASON=REASONS.index("SLICE_OVER"), PERMUTED=-1, CHECKING=0, BEST_EPOCH=-1, SINCE_BEST=0, CLOCK=0, **cells
        )
        c.put_number("BEST", -np.inf)
        c.put_number("LOSS_SUM", 0.0)
        if c["PARTS"]:
            c.arrays["PART_SUMS"][:] = 0
        for call in self.loop.calls:
            call.status[0] = 0  # lanes keep what they find there

    def _repeat(self, k: int, first: Array) -> None:
        """Train copy k again, by itself: an update made something that is not finite, and it shall stop before it."""
        loop, model, c = self.loop, self.loop.model, self.loop.control
        self._place(k, first, STEP=0, EPOCH=0, POSITION=0, STEPS_END=-1)
        try:
            loop.enter_until("EPOCHS_DONE", "PATIENCE_OVER")
        except SymnetError as error:
            self._errors[k] = str(error)
            self.persistent[k] = model.memory.persistent
            self._sums[k] = [c.number("LOSS_SUM"), *model.progress.part_sums]
            for name in CELLS:
                self.cells[name][k] = c[name]

    # ------------------------------------------------------------------------------------------ what is left
    def columns(self) -> dict[str, Array]:
        """epochs, loss, seconds and error of each copy, and what the validation part gave."""
        failed = np.isin(np.arange(len(self.seeds)), list(self._errors))
        made: Epochs = self.loop.made(self._rows)
        found = {
            "epochs": np.where(failed, 0, self.cells["EPOCH"]),
            "loss": made.rows[:, 0],
            "seconds": 1e-9 * self.cells["CLOCK"],
            "error": np.array([self._errors.get(k, "") for k in range(len(self.seeds))], object),
        }
        if made.validated:
            found["validation_loss"] = made.rows[:, 1]
        if made.classified:
            found["accuracy"] = made.rows[:, 2]
        for name, column in made.parts.items():
            if "validation" in name or "accuracy" in name:
                found[name] = made.rows[:, column]
        return {
            name: np.where(failed, np.nan, values) if values.dtype.kind == "f" else values
            for name, values in found.items()
        }

    def model(self, k: int, network: Any, optimizer: Any) -> Model:
        """Copy k as a model, where its training ended."""
        model = compile_network(network, optimizer, self.loop.model.dtype, int(self.seeds[k]))
        model.memory.persistent[:] = self.persistent[k]
        cells = {name: int(values[k]) for name, values in self.cells.items()}
        loss_sum, *parts = self._sums[k].tolist()
        step, epoch, position = cells["STEP"], cells["EPOCH"], cells["POSITION"]
        model.progress = Progress(step, epoch, position, loss_sum, *self.loop.order, tuple(parts))
        return model
