"""Loop: data and a model, wired to the native training loop (compiler/kernels/driver.py).

In: a Model and checked Data.  Out: steps made, the model's parameters and progress changed in place.  `Model.fit` and
`Model.prepare` stand on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, fields
from numbers import Integral
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from compiler.kernels.driver import HISTORY_COLUMNS, Control, ready

from ..errors import SymnetError, complaint
from .arrays import read_in_any_order
from .data import Data
from .diagnosis import diagnose
from .execution import ROWS, Call, assert_intact, variant
from .history import Epochs, share
from .interruption import terminable
from .rewind import Rewind

if TYPE_CHECKING:
    from .checkpoint import Standing
    from .training import Model

Array = np.ndarray[Any, np.dtype[Any]]
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Progress:
    """Where training stands: updates made, epochs done, and rows done of the epoch that is going on.

    `rows`, `batch`, `shuffled`: what that epoch is made of; another loop begins a new epoch.  `loss_sum`: losses of the
    rows done; `part_sums`: of each of several losses.
    """

    step: int = 0
    epoch: int = 0
    position: int = 0
    loss_sum: float = 0.0
    rows: int = 0
    batch: int = 0
    shuffled: bool = False
    part_sums: tuple[float, ...] = ()

    @classmethod
    def checked(cls, record: Mapping[str, Any]) -> Progress:
        """From a file."""
        values = {f.name: record[f.name] for f in fields(cls) if f.name != "part_sums"}
        parts = record.get("part_sums", [])
        if not isinstance(parts, list) or not all(type(part) is float for part in parts):
            raise ValueError("progress, part_sums")
        for name, value in values.items():
            wanted = {"loss_sum": float, "shuffled": bool}.get(name, int)
            if type(value) is not wanted or (wanted is int and not 0 <= value < 2**62):
                raise ValueError(f"progress, {name}")
        return cls(**values, part_sums=tuple(parts))


@dataclass(frozen=True, slots=True)
class Monitor:
    """What decides when training ends: "loss" or "accuracy" of the validation part, or one of these of a head, as
    "digit.loss"; or the RISK of training.  tolerance: an epoch must be better by more than that."""

    patience: int | None = None
    restore_best: bool = False
    by: str = "loss"
    tolerance: float = 0.0


NORM, LOSS = "a squared norm of the gradient", "a loss"  # what a step may find that is not finite
RISK = "risk"  # the mean over the batches of an epoch of R, the loss with the penalty


class Loop:
    """Training over these data.  `run(steps)` makes so many updates and gives the data loss of the last batch.

    monitor: what decides when training ends, if that is the risk; else what `validate` is told.
    """

    def __init__(
        self, model: Model, data: Data, batch_size: int, shuffle: bool, monitor: Monitor | None = None
    ) -> None:
        batch = min(whole_number("batch_size", batch_size, 1), data.rows)
        if not isinstance(shuffle, bool | np.bool_):
            raise complaint("shuffle", shuffle, "True or False")
        self.model, self.data = model, data
        # The sum over one batch that holds all rows does not depend on their order.
        self.order = (data.rows, batch, bool(shuffle) and batch < data.rows)
        purpose = "training" if monitor is None else "training with risk"
        self._call = self._made_call(purpose, variant(data), _capacity(batch_size, data.rows))
        model.step_kernel = self._call.kernel
        self._check: Call | None = None
        self.validation: Data | None = None
        self.monitor = monitor or Monitor()
        self._columns: dict[str, int] = {}  # of further numbers in the history
        self._counted: dict[int, float] = {}  # column of an accuracy -> what makes it one of what counts
        ready()
        self.control = c = Control()
        self._last: object = None
        c.set(ROWS=data.rows, BATCH=batch, SHUFFLE=int(self.order[2]), SEED=model.seed)
        c.set(SINGLE=int(model.dtype == "float32"))
        loss, *parts = (self._call.put(name, np.zeros(1, model.dtype)) for name in self._call.outputs)
        c.set(STEP_KERNEL=self._call.address, STEP_SIZE=self._call.slots["size:N"])
        c.set(STEP_NUMBER=self._call.number("step"))
        c.address(STEP_TABLE=self._call.table, STEP_LOSS=loss, STEP_STATUS=self._call.status)
        self._part_sums = np.zeros(len(parts))
        c.set(PARTS=len(parts))
        c.address(PART_TABLE=_addresses(parts), PART_SUMS=self._part_sums)
        names = [f"{name}.loss" for name in model.network.outputs if name] + ([RISK] if monitor else [])
        self._columns |= {name: HISTORY_COLUMNS + part for part, name in enumerate(names)}
        if monitor is not None:
            c.set(WATCHED=len(parts) - 1)
            self._stop_by(monitor, data.rows)
        c.address(PERMUTATION=np.empty(data.rows if self.order[2] else 0, np.int64))
        self._arrays(self._call, data, "ARRAYS", "ARRAY_TABLE", batch if self.order[2] else 0)
        self._rewind = self._made_rewind()

    def _made_call(self, purpose: str, variant: str, capacity: int) -> Call:
        return self.model.new_call(purpose, variant, capacity)

    def _made_check(self, variant: str) -> Call:
        return self.model.new_call("evaluation", variant)

    def _made_rewind(self) -> Rewind:
        return Rewind(self.model.memory, self.control, self._part_sums)

    def _arrays(self, call: Call, data: Data, count: str, table: str, batch: int) -> None:
        """Tell the native loop where the arrays of `data` are, and which slots of the kernel read them."""
        rows, items = [], []
        for name, array in data.arrays.items():
            if name in call.slots:
                if batch:
                    read_in_any_order(array)
                buffer = np.empty((batch, *array.shape[1:]), array.dtype)
                call.put(name, buffer)
                width = array.itemsize * int(np.prod(array.shape[1:], dtype=int))
                rows.append([array.ctypes.data, width, buffer.ctypes.data, call.slots[name]])
                items.append(array.itemsize)
        self.control.set(**{count: len(rows)})
        self.control.address(**{table: np.array(rows, np.int64)})
        if call is self._call:
            self.control.address(ITEMS=np.array(items, np.int64))

    def validate(self, data: Data, monitor: Monitor) -> None:
        """Evaluate on these data after each epoch."""
        model, c = self.model, self.control
        self.validation, self.monitor = data, monitor
        self._check = check = self._made_check(variant(data))
        results = {name: check.put(name, np.zeros(1, model.dtype)) for name in check.kernel.outputs}
        c.set(CHECK_KERNEL=check.address, CHECK_SIZE=check.slots["size:N"])
        c.set(CHECK_ROWS=data.rows, CHECK_CHUNK=ROWS, BY_ACCURACY=int(monitor.by.endswith("accuracy")))
        unit = float(data.rows)
        c.address(CHECK_TABLE=check.table, CHECK_LOSS=results["loss_sum"], CHECK_CORRECT=results.get("correct"))
        parts: list[Array] = []
        for name, output in model.network.outputs.items():
            factor = share(data.rows, data.counted(output.target))  # the native loop divides by all rows
            if not name:
                self._counted[2] = factor
                unit = data.rows / factor if monitor.by == "accuracy" and factor > 0 else data.rows
                continue
            for word, result in (("loss", f"loss_sum_{name}"), ("accuracy", f"correct_{name}")):
                if result in results:
                    column = HISTORY_COLUMNS + c["PARTS"] + len(parts)
                    self._columns[f"{name}.{'validation_' * (word == 'loss')}{word}"] = column
                    if word == "accuracy":
                        self._counted[column] = factor
                    if monitor.by == f"{name}.{word}":
                        c.set(MONITORED=len(parts))
                        unit = data.rows / factor if word == "accuracy" and factor > 0 else data.rows
                    parts.append(results[result])
        self._stop_by(monitor, unit)
        self._check_sums = np.zeros(len(parts))
        c.set(CHECK_PARTS=len(parts))
        c.address(CHECK_PART_TABLE=_addresses(parts), CHECK_PART_SUMS=self._check_sums)
        self._arrays(check, data, "CHECK_ARRAYS", "CHECK_ARRAY_TABLE", 0)

    def _stop_by(self, monitor: Monitor, rows: float) -> None:
        """What decides is a sum over so many rows."""
        self.control.set(PATIENCE=-1 if monitor.patience is None else monitor.patience)
        self.control.put_number("TOLERANCE", monitor.tolerance * rows)

    @property
    def best(self) -> float:
        """The least risk so far, of those that a monitor of the risk saw."""
        return -self.control.number("BEST") / self.data.rows

    @property
    def since_best(self) -> int:
        """Epochs since one was better."""
        return self.control["SINCE_BEST"]

    def resume(self, best: float, since: int) -> None:
        """Go on as if the least risk had been `best`, and `since` epochs had passed since one was better."""
        self.control.put_number("BEST", -best * self.data.rows)
        self.control.set(SINCE_BEST=since)

    # ------------------------------------------------------------------------------------------ running
    @property
    def calls(self) -> list[Call]:
        """Of the step, and of the evaluation if there is one."""
        return [call for call in (self._call, self._check) if call is not None]

    @property
    def entries(self) -> int:
        """How often the native loop was entered so far."""
        return self.control.entries

    def run(self, steps: int) -> float:
        """Make `steps` updates; the mean loss of the last batch, without the penalty, before its update."""
        whole_number("run, steps", steps, 1, 2**62)
        c = self.control
        with self.running():
            c.set(STEPS_END=c["STEP"] + steps, EPOCHS_END=-1, EACH_EPOCH=0)
            c.address(HISTORY=None)
            self.enter_until("STEPS_DONE")
            return c.number("LOSS")

    def made(self, rows: Array) -> Epochs:
        """The epochs of these rows, as the native loop wrote them."""
        validated = self._check is not None
        if validated:
            rows = rows.copy()
            for column, factor in self._counted.items():
                rows[:, column] *= factor
        classified = validated and self.control["CHECK_CORRECT"] != 0
        return Epochs(rows, self.control["HISTORY_START"], validated, classified, self._columns)

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the course of training besides the model and the data."""
        _, batch, shuffled = self.order
        return {"batch_size": batch, "shuffle": shuffled, **asdict(self.monitor)}

    @property
    def columns(self) -> int:
        """Numbers in a row of the history."""
        return HISTORY_COLUMNS + self.control["PARTS"] + self.control["CHECK_PARTS"]

    def enter_until(
        self, *reasons: str, due: Callable[[], bool] = lambda: False, write: Callable[[], None] = lambda: None
    ) -> str:
        """Enter the native loop until it returns for one of these reasons; Ctrl-C arrives between.  Then `note`.

        write: called each time that it is `due` before that, and when the training is interrupted; then the parameters
        are finite.
        """
        try:
            while True:
                self.attach()
                self._rewind.keep()
                reason = self.enter()
                self.note()
                over = reason in reasons
                writes = not over and due()
                if over or writes or reason == "NOT_FINITE" or self._rewind.due:
                    self._check_finite(reason)
                if over:
                    return reason
                if writes:
                    write()
        except (KeyboardInterrupt, SystemExit):
            if not self.model.memory.finite:
                self._rewind.back()
            self.note()
            write()
            raise

    def enter(self) -> str:
        """Enter the native loop once; why it returned."""
        return self.control.enter(self._call.threads)

    # What several processes that train together do in another way (together.py).
    is_first = True

    def begin(self, read: Callable[[], Standing | None]) -> Standing | None:
        """What a checkpoint says, if a `fit` begins with one."""
        return read()

    def first(self, make: Callable[[], Result]) -> Result:
        """What the first process makes."""
        return make()

    def any(self, flag: bool) -> bool:
        """Is it so in any process?"""
        return flag

    def guard(self) -> AbstractContextManager[None]:
        """In here no process waits for one that has ended."""
        return nullcontext()

    def terminable(self) -> AbstractContextManager[None]:
        """In here Ctrl-C and SIGTERM end the training as they should."""
        return terminable()

    def _check_finite(self, reason: str) -> None:
        if not self.model.memory.finite:
            self._rewind.back()
            self.note()
            raise self._not_finite("a parameter")
        if reason == "NOT_FINITE":
            loss = self._call.array(self._call.outputs[0])
            raise self._not_finite(NORM if np.isfinite(loss).all() else LOSS)

    def attach(self) -> None:
        """Tell the kernels where the memory is, which a kernel that was first used in a callback may have moved, and
        the hyper-parameters, which it may have changed."""
        for call in self.calls:
            call.reserve()
        for call in self.calls:
            call.attach()
            call.take(self.model.hyper)
        self.control.address(PERSISTENT=self.model.memory.persistent)

    @contextmanager
    def running(self) -> Iterator[None]:
        """The model's progress goes into the control block, and whatever happens, comes back from it."""
        model, c = self.model, self.control
        with model.lock:
            self.refuse_nested()
            progress = model.progress
            if progress is not self._last:  # something else ran, or nothing has run yet: the order is drawn again
                continues = self.continues(progress)
                c.set(PERMUTED=-1, CHECKING=0, STEP=progress.step, EPOCH=progress.epoch)
                c.set(POSITION=progress.position if continues else 0)
                c.put_number("LOSS_SUM", progress.loss_sum if continues else 0.0)
                known = continues and len(progress.part_sums) == len(self._part_sums)
                self._part_sums[:] = progress.part_sums if known else 0.0
                self._rewind.forget()
            c.set(CLOCK=0)
            try:
                model.training = True
                yield
            finally:
                model.training = False
                self.note()
                assert_intact(model.memory)

    def refuse_nested(self) -> None:
        """Training within a training, from a callback."""
        if self.model.training:
            raise SymnetError("This model is being trained: a callback may read it, but not train it.")

    def note(self) -> None:
        """The model's progress is that of the loop."""
        self.model.progress = self._last = self._progress()

    def continues(self, progress: Progress) -> bool:
        """The epoch that is going on is one of this loop."""
        return (progress.rows, progress.batch, progress.shuffled) == self.order

    def _progress(self) -> Progress:
        c = self.control
        rows, batch, shuffled = self.order
        parts = tuple(self._part_sums.tolist())
        return Progress(c["STEP"], c["EPOCH"], c["POSITION"], c.number("LOSS_SUM"), rows, batch, shuffled, parts)

    def _not_finite(self, what: str) -> SymnetError:
        """Where the step after this one left the finite numbers."""
        c = self.control
        first, last = c["POSITION"], min(c["POSITION"] + c["BATCH"], c["ROWS"])
        rows = self.control.arrays["PERMUTATION"][first:last] if self.order[2] else np.arange(first, last)
        given = {name: self.data.taken(name, rows) for name in self.data.arrays}
        diagnosis = diagnose(self.model, given, variant(self.data), c["STEP"] + 1)
        return SymnetError(not_finite(c["STEP"], c["EPOCH"], range(first, last), what, diagnosis))


def not_finite(step: int, epoch: int, rows: range, what: str, diagnosis: str = "") -> str:
    """Of the step after so many."""
    said = f"  {diagnosis}" if diagnosis else ""
    return (
        f"Training stopped at step {step + 1} (epoch {epoch}, its rows {rows.start} to {rows.stop - 1}): found "
        f"{what} that is not finite, expected finite numbers.{said}  The "
        "parameters before this step are kept.  Use a smaller learning_rate, or scale the inputs."
    )


def _capacity(batch_size: int, rows: int) -> int:
    """The rows that a kernel is made for: one kernel for all data with fewer rows than a batch, if it is a small one,
    and one for all batches with the same next power of 2."""
    enough = min(int(batch_size), max(ROWS, 1 << (rows - 1).bit_length()))
    return 1 << (enough - 1).bit_length() if enough <= ROWS else enough


def _addresses(arrays: Sequence[Array]) -> Array:
    return np.array([array.ctypes.data for array in arrays], np.int64)


def whole_number(where: str, value: Any, low: int, high: int = 2**31) -> int:
    """The integer, if it is one from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or not low <= int(value) <= high:
        raise complaint(where, value, f"an integer from {low} to {high}")
    return int(value)
