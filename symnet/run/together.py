"""Together: the training loop of several ranks (ranks.py).

In: a Model, its Data, Ranks.  Out: a Loop whose step is made by all ranks.  The native loop runs as ever, the same
steps on each rank; where it calls the kernel of a step, it calls back into Python, which makes this rank's sums
(formulation/divided.py), adds up those of all, and updates.  All that leads to a decision is the same on all ranks, bit
by bit, so they decide alike: early stopping, the end of a training that is not finite.  What is not the same goes with
the sums of a step as FLAGS: a signal that one rank got, and rank 0's clock, after whose 100 ms the native loop returns
on all ranks at the same step.  The rows of its pieces come to each rank from the shards of all (shards.py); the chunks
of a validation part are divided among the ranks, too.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np

from compiler.kernels.driver import ready
from compiler.team import FUNCTION

from ..errors import Quoted, SymnetError, complaint
from ..formulation.divided import FLAGS
from .checkpoint import Standing, settings
from .data import Data
from .execution import ROWS, Call
from .loop import Loop, Monitor, Result
from .rewind import Rewind
from .shards import Feed, Shard, sums_by_chunk

if TYPE_CHECKING:
    from .training import Model

Array = np.ndarray[Any, np.dtype[Any]]
SLICE = 0.1  # seconds of rank 0 after which the native loop returns
INTERRUPT, TERMINATE, RETURN, BROKEN = range(4)  # flags


class Step(Call):
    """A step of all ranks: what the native loop takes for a kernel.  Its table is that of the sums."""

    def __init__(self, loop: Together, variant: str, capacity: int, purpose: str) -> None:
        model, self._ranks, self._loop = loop.model, loop.ranks, loop
        threads = model.threads or self._ranks.threads
        integers = {"step": 1, "seed": model.seed, "first": 0}
        self.update = Call(model.kernels.get(purpose, variant), model.memory, model.hyper, integers, threads)
        super().__init__(model.kernels.get("sums", variant, capacity), model.memory, model.hyper, integers, threads)
        self.status = self.update.status
        self.parts = self._ranks.size if self._ranks.sync_every > 1 else self._ranks.pieces
        each = self.parts // self._ranks.size
        self.own = range(self._ranks.rank * each, (self._ranks.rank + 1) * each)
        self._callback = FUNCTION(self._called)
        self.error: BaseException | None = None
        self.signal = 0  # that ends the training, on all ranks
        self.noticed = 0  # that this rank got
        self.deadline = math.inf
        self._run_sums, self._run_update = FUNCTION(self.kernel.address), FUNCTION(self.update.kernel.address)

    @property
    def address(self) -> int:
        return int(ctypes.cast(self._callback, ctypes.c_void_p).value or 0)

    @property
    def outputs(self) -> tuple[str, ...]:
        return self.update.outputs

    def put(self, name: str, array: Array) -> Array:
        return self.update.put(name, array) if name in self.update.kernel.outputs else super().put(name, array)

    def array(self, name: str) -> Array:
        return self.update.array(name) if name in self.update.kernel.outputs else super().array(name)

    def number(self, name: str) -> int:
        return 0  # the step sees to it

    def take(self, hyper: Mapping[str, float]) -> None:
        super().take(hyper)
        self.update.take(hyper)

    def reserve(self) -> None:
        super().reserve()
        self.update.reserve()

    def attach(self) -> None:
        super().attach()
        self.update.attach()
        kernels = self._loop.model.kernels
        self.sums: Array = self._memory.block[kernels.storage.elements : kernels.with_sums.elements]
        self.sums[:] = 0  # what pads them, too
        self.flags: Array = kernels.with_sums.view(self._memory.block, FLAGS)
        levels = len(self.own).bit_length() - 1
        self._waiting = np.empty((levels, len(self.sums)), self.sums.dtype)

    # ------------------------------------------------------------------------------------------ one step
    def _called(self, table: int) -> None:
        try:
            if self.error is None:
                self._first = self._loop.feed.places()
                self._make()
        except BaseException as error:  # nothing can be raised through the native loop
            self.error = error
        if self.error is not None:
            self.status[0] = 1

    def _make(self) -> None:
        """The sums of all ranks, then the update."""
        rows = int(self.table[self.slots["size:N"]])
        self._add_pieces(rows)
        self._raise_flags()
        self._ranks.sum(self.sums)
        self._apply(rows)
        self._heed(self.flags)

    def _add_pieces(self, rows: int) -> None:
        """The sums over this rank's pieces of a batch, added up as a tree."""
        table, places, widths = self.table, self._loop.places, self._loop.feed.widths
        starts = self._first - rows * self.own.start // self.parts * widths
        for count, piece in enumerate(self.own, 1):
            low, high = rows * piece // self.parts, rows * (piece + 1) // self.parts
            if high > low:
                table[places] = starts + low * widths
                table[self.slots["size:N"]] = high - low
                self._number(self, low)
                self._run_sums(table.ctypes.data)
            else:
                self.sums[:] = 0
            level = 0
            while count % 2 == 0:
                np.add(self._waiting[level], self.sums, out=self.sums)
                count, level = count // 2, level + 1
            if level < len(self._waiting):
                self._waiting[level] = self.sums

    def _apply(self, rows: int) -> None:
        self.update.table[self.update.slots["size:N"]] = rows
        self._number(self.update, 0)
        self._run_update(self.update.table.ctypes.data)

    def _number(self, call: Call, first: int) -> None:
        for place, name in enumerate(call.kernel.manifest["integers"]):
            if name != "seed":
                call.numbers[place] = first if name == "first" else self._loop.control["STEP"] + 1

    # ------------------------------------------------------------------------------------------ flags
    def _raise_flags(self) -> None:
        flags = self.flags
        flags[:] = 0
        if self.deadline < math.inf:
            flags[INTERRUPT], flags[TERMINATE] = self.noticed == signal.SIGINT, self.noticed == signal.SIGTERM
            flags[RETURN] = self._ranks.rank == 0 and time.perf_counter() > self.deadline

    def _heed(self, flags: Array) -> None:
        """Return after this step if a rank has asked for it."""
        if flags[: RETURN + 1].any():
            self.signal = signal.SIGINT if flags[INTERRUPT] else signal.SIGTERM if flags[TERMINATE] else 0
            self._loop.control.set(STEPS_END=self._loop.control["STEP"] + 1)


class LocalStep(Step):
    """A step of this rank alone, on its own rows; each `sync_every` of them, and at the end of an epoch, all average.

    The losses that the native loop adds up are this rank's share, until they are replaced by the sums of all.
    """

    def attach(self) -> None:
        super().attach()
        model = self._loop.model
        size, losses = model.memory.storage.elements, len(self.outputs)
        self._joint = np.zeros(size + 2 * losses + len(self.flags), self.sums.dtype)
        self._model = self._joint[:size]
        self._shares, self._pending = self._joint[size : size + 2 * losses].reshape(2, losses)
        self._signs = self._joint[size + 2 * losses :]
        self._own = np.zeros(losses)  # times rows, of the steps since the last average

    def _make(self) -> None:
        c, rows = self._loop.control, int(self.table[self.slots["size:N"]])
        (piece,) = self.own
        own = rows * (piece + 1) // self.parts - rows * piece // self.parts
        step = c["STEP"] + 1
        results = [self.array(name) for name in self.outputs]
        share = np.zeros(len(results))
        if own and not self.broken:
            self._add_pieces(rows)
            self._apply(own)
            self.broken, self.status[0] = bool(self.status[0]), 0
            share[:] = [float(result[0]) * own / rows for result in results]
        for result, value in zip(results, share, strict=True):
            result[0] = value
        if step % self._ranks.sync_every and c["POSITION"] + rows < c["ROWS"] and step != c["STEPS_END"]:
            self._own += share * rows
            return
        self._average(share, rows, results)

    broken = False  # a step of this rank was not finite: it waits for the others

    def _average(self, share: Array, rows: int, results: list[Array]) -> None:
        persistent = self._loop.model.memory.persistent
        self._raise_flags()
        self._model[:], self._shares[:], self._pending[:], self._signs[:] = persistent, share, self._own, self.flags
        self._signs[BROKEN] = self.broken
        self._ranks.sum(self._joint)
        np.divide(self._model, self._ranks.size, out=persistent)
        for result, value in zip(results, self._shares, strict=True):
            result[0] = value
        self._loop.correct(self._pending - self._own)
        self._own[:] = 0
        self.status[0] = self._signs[BROKEN] > 0
        self._heed(self._signs)


class Check(Call):
    """An evaluation of chunks by all ranks: what the native loop takes for a kernel.

    The first time that it is called in an epoch it evaluates them all; then it gives what it has, chunk by chunk."""

    def __init__(self, loop: Together, variant: str) -> None:
        model, self._loop = loop.model, loop
        kernel, threads = model.kernels.get("evaluation", variant), model.threads or loop.ranks.threads
        super().__init__(kernel, model.memory, model.hyper, {"step": 1, "seed": model.seed}, threads)
        model.put_constants(self)
        self._callback, self._run = FUNCTION(self._called), FUNCTION(kernel.address)

    @property
    def address(self) -> int:
        return int(ctypes.cast(self._callback, ctypes.c_void_p).value or 0)

    def _called(self, table: int) -> None:
        step, data, chunk = self._loop.step, self._loop.validation, self._loop.control["CHECK_POSITION"] // ROWS
        assert data is not None
        try:
            if not chunk and step.error is None:
                self._sums = sums_by_chunk(self, data, self._evaluate)
                step.sums[:] = 0  # the memory was the evaluation's: numbers that pad the sums could overflow
            for name, value in zip(self.outputs, self._sums[chunk], strict=True):
                self.array(name)[0] = value
        except BaseException as error:  # nothing can be raised through the native loop
            step.error = step.error or error

    def _evaluate(self, rows: int) -> None:
        self.table[self.slots["size:N"]] = rows
        self._run(self.table.ctypes.data)


class Together(Loop):
    """Training over these data by several ranks: on each of them the same calls, with the same arguments."""

    def __init__(self, model: Model, data: Shard, batch_size: int, shuffle: bool, monitor: Monitor | None) -> None:
        self.ranks = ranks = data.ranks
        self.is_first = ranks.rank == 0
        coupled = next(
            (x.name for x in model.network.spec.layers if x.coupled(model.network.spec.graph.below(x))), None
        )
        if coupled:
            found = Quoted(f"the layer {coupled!r}, which couples the samples of a batch")
            ranks.agreed = True
            raise complaint("ranks", found, "layers that see one sample at a time", "Use layer_norm or rms_norm.")
        super().__init__(model, data, batch_size, shuffle, monitor)
        names = [name for name in data.arrays if name in self.step.slots]
        self.places = np.array([self.step.slots[name] for name in names], np.int64)
        self.feed = Feed(data, self.order[1], names, self.control)
        self.control.set(SLICE=2**62)

    def _made_call(self, purpose: str, variant: str, capacity: int) -> Call:
        capacity = -(-capacity // (self.ranks.size if self.ranks.sync_every > 1 else self.ranks.pieces))
        kind = LocalStep if self.ranks.sync_every > 1 else Step
        with self.ranks.in_turn():
            ready()
            self.step = kind(self, variant, capacity, purpose.replace("training", "update"))
        self.model.put_constants(self.step)
        return self.step

    def _made_check(self, variant: str) -> Call:
        with self.ranks.in_turn():
            return Check(self, variant)

    def _arrays(self, call: Call, data: Data, count: str, table: str, batch: int) -> None:
        self.control.set(**{count: 0})  # the native loop gathers nothing

    def validate(self, data: Data, monitor: Monitor) -> None:
        assert isinstance(data, Shard)
        super().validate(data.in_chunks(), monitor)

    def _made_rewind(self) -> Rewind:
        return Rewind(self.model.memory, self.control, self._part_sums, 0, self.ranks.sync_every == 1)

    def correct(self, missing: Array) -> None:
        """Add to the sums of losses over the epoch."""
        self.control.put_number("LOSS_SUM", self.control.number("LOSS_SUM") + missing[0])
        self._part_sums += missing[1:]

    # ------------------------------------------------------------------------------------------ what all agree on
    def enter(self) -> str:
        c, step = self.control, self.step
        end = c["STEPS_END"]
        step.deadline = time.perf_counter() + SLICE
        try:
            reason = super().enter()
        finally:
            step.deadline = math.inf
            c.set(STEPS_END=end)
        if step.error is not None:
            error, step.error = step.error, None
            raise error
        if step.status[0]:
            self.ranks.agreed = True
            return reason
        bits = int(self.model.memory.persistent.view(np.int64).sum())
        self.ranks.compare("bits of parameters or states (has it another processor?)", bits)
        if step.signal:
            self.ranks.agreed = True
            _end(step.signal)
        return "SLICE_OVER" if reason == "STEPS_DONE" and c["STEP"] != end else reason

    def run(self, steps: int) -> float:
        with self.guard():
            return super().run(steps)

    def begin(self, read: Callable[[], Standing | None]) -> Standing | None:
        """Rank 0 reads the checkpoint; all begin where it does."""
        model, ranks = self.model, self.ranks
        own = {"seed": model.seed, "dtype": model.dtype, "pieces": ranks.pieces, "sync_every": ranks.sync_every}
        for what, value in {**settings(self, data=False), **own}.items():
            ranks.compare(what, hashlib.sha256(json.dumps(value).encode()).digest())
        start = ranks.first(lambda: (read(), model.progress, model.network, model.optimizer))
        ranks.copy(model.memory.persistent)
        standing, progress, network, optimizer = start
        if ranks.rank:
            model.progress = progress
            if standing is not None:
                model.retune(network, optimizer)
        return standing

    def _check_finite(self, reason: str) -> None:
        try:
            super()._check_finite(reason)
        except SymnetError:
            self.ranks.agreed = True
            raise

    def first(self, make: Callable[[], Result]) -> Result:
        return self.ranks.first(make)

    def any(self, flag: bool) -> bool:
        return self.ranks.any(flag)

    @contextmanager
    def guard(self) -> Iterator[None]:
        with self.ranks.guard():
            yield

    @contextmanager
    def terminable(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM of one rank end the training of all, after the same step."""
        step = self.step

        def notice(number: int, frame: FrameType | None) -> None:
            step.noticed = number

        usual: dict[int, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
        main = threading.current_thread() is threading.main_thread()
        mine = [number for number, handler in usual.items() if main and signal.getsignal(number) == handler]
        for number in mine:
            signal.signal(number, notice)
        step.noticed = step.signal = 0
        try:
            yield
            if self.any(bool(step.noticed)):  # it came after the last step
                self.ranks.agreed = True
                _end(step.noticed or signal.SIGINT)
        finally:
            for number in mine:
                signal.signal(number, usual[number])


def _end(number: int) -> None:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def together(model: Model, data: Data, batch_size: int, shuffle: bool, monitor: Monitor | None) -> Loop:
    """The loop of one process, or of several that have shards of the data."""
    if isinstance(data, Shard):
        return Together(model, data, batch_size, shuffle, monitor)
    return Loop(model, data, batch_size, shuffle, monitor)
