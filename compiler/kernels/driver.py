"""The training loop: one fixed native function `void drive(int64* control)` for all networks.

In: a block of integers (`CONTROL`) with the addresses of the data, of a step kernel, of an evaluation kernel and of
the result arrays, and the whole state of the loop.  Out: the same block, and why it returned (`REASONS`).  Called
again with the block as it left it, it goes on exactly where it stopped: at another batch of the same epoch, or in the
middle of the validation part.  Python is entered only when one of `REASONS` applies.

Kernels are called through their address with their own table of slots (`void f(int64* table)`), so that no network
recompiles this function.  Shuffling is the forward Fisher-Yates keyed by (seed, epoch), drawn only as far as the
batches have come: the order is a pure function of the two, and no step waits for a whole permutation.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import native
from ..team import team

if TYPE_CHECKING:
    from ..translate import Lanes

Array = np.ndarray[Any, np.dtype[Any]]

# name, what it means.  "address" is the address of a block of the type named; 0 means "none".
CONTROL = (
    # the data
    ("ROWS", "training rows"),
    ("BATCH", "rows of a full batch"),
    ("SHUFFLE", "1: each epoch in a new order"),
    ("SEED", "key of the order"),
    ("PERMUTATION", "address of int64[ROWS], the order of this epoch as far as PERMUTED"),
    ("PERMUTED", "places of PERMUTATION that are final; -1: none, and the rest is not the identity either"),
    ("AHEAD", "so many places are drawn beyond the batch, where rows are fetched for several batches at once"),
    ("ARRAYS", "number of data arrays"),
    ("ARRAY_TABLE", "address of int64[ARRAYS, 4]: data, bytes a row, buffer of BATCH rows, slot of the step kernel"),
    # the step kernel
    ("STEP_KERNEL", "address of the function"),
    ("STEP_TABLE", "address of its slots"),
    ("STEP_SIZE", "its slot for the number of rows"),
    ("STEP_LOSS", "address of its mean loss"),
    ("STEP_STATUS", "address of int64: not 0 after a call if a guard was not finite, and then nothing was updated"),
    ("STEP_NUMBER", "address of the int64 that holds the number of the update being made, or 0"),
    ("SINGLE", "1: losses and counts are float32, 0: float64"),
    # validation
    ("CHECK_KERNEL", "address of the evaluation kernel, 0: no validation"),
    ("CHECK_TABLE", "address of its slots"),
    ("CHECK_SIZE", "its slot for the number of rows"),
    ("CHECK_LOSS", "address of its summed loss"),
    ("CHECK_CORRECT", "address of its number of rows that were classified correctly, or 0"),
    ("CHECK_ROWS", "validation rows"),
    ("CHECK_CHUNK", "rows a call"),
    ("CHECK_ARRAYS", "number of its data arrays"),
    ("CHECK_ARRAY_TABLE", "address of int64[CHECK_ARRAYS, 4]; the buffers are not used"),
    # further numbers that are summed up over an epoch as the losses are, each divided by the rows
    ("PARTS", "how many of the step kernel: means, as its loss"),
    ("PART_TABLE", "address of int64[PARTS]: where each is"),
    ("PART_SUMS", "address of float64[PARTS]: this epoch so far, each times its rows"),
    ("CHECK_PARTS", "how many of the evaluation kernel: sums"),
    ("CHECK_PART_TABLE", "address of int64[CHECK_PARTS]: where each is"),
    ("CHECK_PART_SUMS", "address of float64[CHECK_PARTS]: this epoch so far"),
    # early stopping
    ("PATIENCE", "end after so many epochs without a better value; -1: never"),
    ("BY_ACCURACY", "1: better is a higher accuracy, 0: a lower validation loss"),
    ("MONITORED", "the part of the evaluation kernel that decides, -1: its loss or its number of correct rows"),
    ("WATCHED", "the part of the step kernel that decides, without validation; -1: none"),
    ("KEPT", "address of a copy of the persistent block at the best epoch, 0: none is kept"),
    ("PERSISTENT", "address of the persistent block (parameters, states)"),
    ("PERSISTENT_BYTES", "its length"),
    ("BEST_EPOCH", "the best epoch so far, -1: none"),
    ("BEST_STEP", "STEP at its end"),
    ("SINCE_BEST", "epochs since one was better"),
    # when to return
    ("SLICE", "nanoseconds after which to return to Python"),
    ("EPOCHS_END", "EPOCH at which all is done; -1: never"),
    ("STEPS_END", "STEP at which to return; -1: never"),
    ("EACH_EPOCH", "1: return after each epoch"),
    # the state
    ("EPOCH", "epochs done"),
    ("POSITION", "rows of this epoch done"),
    ("STEP", "updates made"),
    ("CHECKING", "1: the batches of this epoch are done, validation is going on"),
    ("CHECK_POSITION", "validation rows done"),
    ("REASON", "result: why the loop returned"),
    # the results
    (
        "HISTORY",
        "address of float64[..., 4 + PARTS + CHECK_PARTS]: loss, validation loss, accuracy, time; 0: none is written",
    ),
    ("HISTORY_START", "EPOCH of its first row"),
    ("LATEST", "1: it has one row, of the latest epoch; 0: a row for each"),
    ("CLOCK", "nanoseconds spent in this loop so far"),
    ("KEYS", "of lanes: address of int64[2, lanes]: the keys of their orders, and scratch"),
    ("ITEMS", "of lanes: address of int64[ARRAYS]: bytes of an element of each data array"),
    ("FAILED", "of lanes: address of int64[lanes]: the STEP in which a guard was not finite, 0: none"),
    ("NUMBERS", "address of float64[], see below"),
    ("NOW", "scratch: seconds of the clock"),
    ("NOW_NANOSECONDS", "scratch: and nanoseconds"),
)
POSITIONS = {name: place for place, (name, _) in enumerate(CONTROL)}

NUMBERS = (
    ("LOSS", "loss of the last batch"),
    ("LOSS_SUM", "losses of this epoch so far, each times its rows"),
    ("CHECK_SUM", "validation losses of this epoch so far"),
    ("CORRECT", "validation rows classified correctly so far"),
    ("BEST", "the best so far of the correct rows, or of minus the sum that decides; -inf at the start"),
    ("TOLERANCE", "an epoch is better if it is above BEST by more than this"),
    ("LOST", "of lanes: loss of the step that FAILED"),
)
NUMBER_POSITIONS = {name: place for place, (name, _) in enumerate(NUMBERS)}

REASONS = ("SLICE_OVER", "EPOCHS_DONE", "STEPS_DONE", "EPOCH_DONE", "PATIENCE_OVER", "NOT_FINITE")
REASON_NUMBERS = {name: number for number, name in enumerate(REASONS)}

HISTORY_COLUMNS = 4

SOURCE = """
def drive(c):
    now = offset(c, NOW)
    clock_gettime(MONOTONIC, now)
    start = 1000000000 * now[0] + now[1]
    spent = c[CLOCK]
    numbers = pointer_f64(c[NUMBERS])
    rows = c[ROWS]
    batch = c[BATCH]
    shuffle = c[SHUFFLE]
    permutation = pointer_i64(c[PERMUTATION])
    array_count = c[ARRAYS]
    arrays = pointer_i64(c[ARRAY_TABLE])
    kernel = c[STEP_KERNEL]
    table = pointer_i64(c[STEP_TABLE])
    size_slot = c[STEP_SIZE]
    status = pointer_i64(c[STEP_STATUS])
    number = pointer_i64(c[STEP_NUMBER])
    numbered = c[STEP_NUMBER] != 0
    single = c[SINGLE]
    checked = c[CHECK_KERNEL] != 0
    check_table = pointer_i64(c[CHECK_TABLE])
    check_arrays = pointer_i64(c[CHECK_ARRAY_TABLE])
    history = pointer_f64(c[HISTORY])
    parts = c[PARTS]
    part_table = pointer_i64(c[PART_TABLE])
    part_sums = pointer_f64(c[PART_SUMS])
    check_parts = c[CHECK_PARTS]
    check_part_table = pointer_i64(c[CHECK_PART_TABLE])
    check_part_sums = pointer_f64(c[CHECK_PART_SUMS])
    time_limit = c[SLICE]
    elapsed = 0
    # The clock is read every `stride` calls, which adapts so that this happens about every 0.5 to 2 ms.
    stride = countdown = check_stride = check_countdown = 1
    while True:
        # ------------------------------------------------------------------ the batches of one epoch
        position = c[POSITION]
        while position < rows:
            if c[STEP] == c[STEPS_END]:
                clock_gettime(MONOTONIC, now)
                c[CLOCK] = spent + 1000000000 * now[0] + now[1] - start
                c[REASON] = STEPS_DONE
                return
            size = batch if rows - position > batch else rows - position
            if shuffle:
                permuted = c[PERMUTED]
                if permuted < 0:
                    for row in range(rows):
                        permutation[row] = row
                    permuted = 0
                wanted = position + size + c[AHEAD]
                wanted = rows if wanted > rows else wanted
                while permuted < wanted:
                    # a multiple of 2**-53 below 1, times the number of places left: less than that number
                    draw = uniform_f64(c[SEED], c[EPOCH], permuted)
                    other = permuted + I64(draw * F64(rows - permuted))
                    row = permutation[other]
                    permutation[other] = permutation[permuted]
                    permutation[permuted] = row
                    permuted += 1
                c[PERMUTED] = permuted
                for array in range(array_count):
                    data = arrays[4 * array]
                    width = arrays[4 * array + 1]
                    buffer = arrays[4 * array + 2]
                    table[arrays[4 * array + 3]] = buffer
                    if width == 8:
                        cells = pointer_i64(data)
                        gathered = pointer_i64(buffer)
                        for row in range(size):
                            gathered[row] = cells[permutation[position + row]]
                    else:
                        for row in range(size):
                            memcpy(buffer + row * width, data + permutation[position + row] * width, width)
            else:
                for array in range(array_count):
                    table[arrays[4 * array + 3]] = arrays[4 * array] + position * arrays[4 * array + 1]
            table[size_slot] = size
            if numbered:
                number[0] = c[STEP] + 1
            status[0] = 0
            call_address(kernel, table)
            if status[0] != 0:
                clock_gettime(MONOTONIC, now)
                c[CLOCK] = spent + 1000000000 * now[0] + now[1] - start
                c[REASON] = NOT_FINITE
                return
            loss = F64(pointer_f32(c[STEP_LOSS])[0]) if single else pointer_f64(c[STEP_LOSS])[0]
            numbers[LOSS] = loss
            numbers[LOSS_SUM] += loss * F64(size)
            for part in range(parts):
                address = part_table[part]
                value = F64(pointer_f32(address)[0]) if single else pointer_f64(address)[0]
                part_sums[part] += value * F64(size)
            c[STEP] += 1
            position += size
            c[POSITION] = position
            countdown -= 1
            if countdown == 0:
                before = elapsed
                clock_gettime(MONOTONIC, now)
                elapsed = 1000000000 * now[0] + now[1] - start
                if elapsed - before < 500000 and stride < 1048576:
                    stride *= 2
                elif elapsed - before > 2000000 and stride > 1:
                    stride //= 2
                countdown = stride
                if elapsed >= time_limit:
                    c[CLOCK] = spent + elapsed
                    c[REASON] = SLICE_OVER
                    return
        # ------------------------------------------------------------------ validation
        if checked:
            if c[CHECKING] == 0:
                c[CHECKING] = 1
                c[CHECK_POSITION] = 0
                numbers[CHECK_SUM] = 0.0
                numbers[CORRECT] = 0.0
                for part in range(check_parts):
                    check_part_sums[part] = 0.0
            position = c[CHECK_POSITION]
            while position < c[CHECK_ROWS]:
                size = c[CHECK_ROWS] - position
                size = c[CHECK_CHUNK] if size > c[CHECK_CHUNK] else size
                for array in range(c[CHECK_ARRAYS]):
                    check_table[check_arrays[4 * array + 3]] = (
                        check_arrays[4 * array] + position * check_arrays[4 * array + 1]
                    )
                check_table[c[CHECK_SIZE]] = size
                call_address(c[CHECK_KERNEL], check_table)
                numbers[CHECK_SUM] += F64(pointer_f32(c[CHECK_LOSS])[0]) if single else pointer_f64(c[CHECK_LOSS])[0]
                if c[CHECK_CORRECT] != 0:
                    numbers[CORRECT] += (
                        F64(pointer_f32(c[CHECK_CORRECT])[0]) if single else pointer_f64(c[CHECK_CORRECT])[0]
                    )
                for part in range(check_parts):
                    address = check_part_table[part]
                    check_part_sums[part] += F64(pointer_f32(address)[0]) if single else pointer_f64(address)[0]
                position += size
                c[CHECK_POSITION] = position
                check_countdown -= 1
                if check_countdown == 0:
                    before = elapsed
                    clock_gettime(MONOTONIC, now)
                    elapsed = 1000000000 * now[0] + now[1] - start
                    if elapsed - before < 500000 and check_stride < 1048576:
                        check_stride *= 2
                    elif elapsed - before > 2000000 and check_stride > 1:
                        check_stride //= 2
                    check_countdown = check_stride
                    if elapsed >= time_limit:
                        c[CLOCK] = spent + elapsed
                        c[REASON] = SLICE_OVER
                        return
        # ------------------------------------------------------------------ the end of an epoch
        if c[HISTORY] != 0:
            row = 0 if c[LATEST] != 0 else (HISTORY_COLUMNS + parts + check_parts) * (c[EPOCH] - c[HISTORY_START])
            history[row] = numbers[LOSS_SUM] / F64(rows)
            if checked:
                history[row + 1] = numbers[CHECK_SUM] / F64(c[CHECK_ROWS])
                history[row + 2] = numbers[CORRECT] / F64(c[CHECK_ROWS])
            history[row + 3] = 1e-9 * F64(spent + elapsed)
            for part in range(parts):
                history[row + HISTORY_COLUMNS + part] = part_sums[part] / F64(rows)
            for part in range(check_parts):
                history[row + HISTORY_COLUMNS + parts + part] = check_part_sums[part] / F64(c[CHECK_ROWS])
        over = 0
        if (checked or c[WATCHED] >= 0) and (c[PATIENCE] >= 0 or c[KEPT] != 0):
            if c[WATCHED] >= 0:
                value = -part_sums[c[WATCHED]]
            elif c[MONITORED] >= 0:
                value = check_part_sums[c[MONITORED]] if c[BY_ACCURACY] != 0 else -check_part_sums[c[MONITORED]]
            else:
                value = numbers[CORRECT] if c[BY_ACCURACY] != 0 else -numbers[CHECK_SUM]
            if value > numbers[BEST] + numbers[TOLERANCE]:
                c[SINCE_BEST] = 0
            else:
                c[SINCE_BEST] += 1
                over = 1 if 0 <= c[PATIENCE] <= c[SINCE_BEST] else 0
            if value > numbers[BEST]:
                numbers[BEST] = value
                c[BEST_EPOCH] = c[EPOCH]
                c[BEST_STEP] = c[STEP]
                if c[KEPT] != 0:
                    memcpy(c[KEPT], c[PERSISTENT], c[PERSISTENT_BYTES])
        c[EPOCH] += 1
        c[POSITION] = 0
        c[PERMUTED] = -1
        c[CHECKING] = 0
        numbers[LOSS_SUM] = 0.0
        for part in range(parts):
            part_sums[part] = 0.0
        if over or c[EPOCH] == c[EPOCHS_END] or c[EACH_EPOCH] != 0:
            clock_gettime(MONOTONIC, now)
            c[CLOCK] = spent + 1000000000 * now[0] + now[1] - start
            c[REASON] = PATIENCE_OVER if over else EPOCHS_DONE if c[EPOCH] == c[EPOCHS_END] else EPOCH_DONE
            return
"""


@cache
def loop_address() -> int:
    """The address of the native loop: built once for this machine, then loaded from the cache."""
    return build(SOURCE)


def build(text: str, lanes: Lanes | None = None, more: Mapping[str, int] | None = None) -> int:
    """The address of a loop.  lanes: for so many copies at once (driver_lanes.py); more: names in its text."""
    namespace: dict[str, native.Value] = {
        **POSITIONS,
        **NUMBER_POSITIONS,
        **REASON_NUMBERS,
        **(more or {}),
        "HISTORY_COLUMNS": HISTORY_COLUMNS,
        "MONOTONIC": time.CLOCK_MONOTONIC,
        "clock_gettime": native.Extern("clock_gettime", "i32(i32,i64*)"),
        "memcpy": native.Extern("memcpy", "i8*(i8*,i8*,i64)"),
    }
    # The moments of an optimizer decay to subnormal numbers and stay there (0.9 times the smallest is rounded back to
    # it), which cost some hundred cycles each: a step of a small network took 200 us instead of 10.  So the loop runs
    # with them taken for 0, as XLA's does and PyTorch's on request, and the thread gets its mode back at the end.
    return native.build_source(text, "drive", namespace, subnormals=False, passes="scalar", lanes=lanes).address


def ready() -> None:
    """Build or load the native loop, so that the first run does not wait for it."""
    loop_address()


class Control:
    """One block of `CONTROL`, its floating-point part, and everything whose address stands in it.

    `control["EPOCH"]` reads and writes a cell, `control.address(NAME=array)` puts the address of an array, which is
    kept alive in `arrays`.  `entries` counts how often the native loop was entered.
    """

    def __init__(self) -> None:
        self.cells: Array = np.zeros(len(CONTROL), np.int64)
        self.numbers: Array = np.zeros(len(NUMBERS), np.float64)
        self.entries = 0
        self.arrays: dict[str, Array] = {}
        self.set(
            PERMUTED=-1,
            PATIENCE=-1,
            MONITORED=-1,
            WATCHED=-1,
            BEST_EPOCH=-1,
            EPOCHS_END=-1,
            STEPS_END=-1,
            SLICE=100_000_000,
        )
        self.put_number("BEST", -np.inf)
        self.address(NUMBERS=self.numbers)

    def __getitem__(self, name: str) -> int:
        return int(self.cells[POSITIONS[name]])

    def number(self, name: str) -> float:
        return float(self.numbers[NUMBER_POSITIONS[name]])

    def put_number(self, name: str, value: float) -> None:
        self.numbers[NUMBER_POSITIONS[name]] = value

    def set(self, **values: int) -> None:
        for name, value in values.items():
            self.cells[POSITIONS[name]] = value

    def address(self, **arrays: Array | None) -> None:
        for name, array in arrays.items():
            self.cells[POSITIONS[name]] = 0 if array is None else array.ctypes.data
            if array is None:
                self.arrays.pop(name, None)
            else:
                self.arrays[name] = array

    def enter(self, threads: int = 1) -> str:
        """Run until one of `REASONS` applies, which is returned.  The interpreter is free meanwhile.

        threads: so many at most run each kernel."""
        self.entries += 1
        team().call(loop_address(), self.cells.ctypes.data, threads)
        return REASONS[self["REASON"]]
