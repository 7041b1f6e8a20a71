"""The native training loop with step kernels written by hand: what it visits, when it returns, how it goes on."""

import time

import numpy as np
import pytest

from compiler import native
from compiler.kernels.driver import HISTORY_COLUMNS, Control
from compiler.kernels.random import uniform_of

# table: 0 x, 1 labels, 2 rows, 3 loss, 4 status, 5 log of labels, 6 log length, 7 fail at this step, 8 number,
# 9 parameter
STEP = """
def step(t):
    x = pointer_f64(t[0])
    labels = pointer_i64(t[1])
    log = pointer_i64(t[5])
    number = pointer_i64(t[8])
    if number[0] == t[7]:
        pointer_i64(t[4])[0] = 1
        return
    total = 0.0
    for row in range(t[2]):
        log[t[6] + row] = labels[row]
        total += x[3 * row] + 0.0 * x[3 * row + 2]
    t[6] += t[2]
    pointer_f64(t[3])[0] = total / F64(t[2])
    pointer_f64(t[9])[0] += 1.0
"""

# Validation loss a row: the distance of the parameter from 3 steps; all rows right while the parameter is at most 5.
CHECK = """
def check(t):
    parameter = pointer_f64(t[9])[0]
    distance = parameter - 3.0 if parameter > 3.0 else 3.0 - parameter
    pointer_f64(t[3])[0] = distance * F64(t[2])
    pointer_f64(t[4])[0] = F64(t[2]) if parameter <= 5.0 else 0.0
    t[6] += 1
"""

SLOW = """
def slow(t):
    x = 1.0
    for k in range(t[2] * 200000):
        x = x * 0.999999 + 1e-9
    pointer_f64(t[3])[0] = x
"""


class Loop:
    """Data, a step kernel and a block, together."""

    def __init__(self, rows=10, batch=4, shuffle=0, source=STEP, entry="step", seed=0, log=100_000):
        self.x = np.arange(3.0 * rows).reshape(rows, 3)
        self.labels = np.arange(rows)
        self.table = np.zeros(10, np.int64)
        self.loss, self.status, self.number = np.zeros(1), np.zeros(1, np.int64), np.zeros(1, np.int64)
        self.log = np.full(log, -1)
        self.parameter = np.zeros(1)
        self.table[[3, 4, 5, 8, 9]] = [
            a.ctypes.data for a in (self.loss, self.status, self.log, self.number, self.parameter)
        ]
        self.table[7] = -1
        self.buffers = np.zeros((batch, 3)), np.zeros(batch, np.int64)
        pairs = zip((self.x, self.labels), self.buffers, (0, 1), strict=True)
        self.arrays = np.array([[a.ctypes.data, a.strides[0], b.ctypes.data, slot] for a, b, slot in pairs])
        self.history = np.full((1000, HISTORY_COLUMNS), np.nan)
        self.control = c = Control()
        c.set(ROWS=rows, BATCH=batch, SHUFFLE=shuffle, SEED=seed, ARRAYS=2, STEP_SIZE=2)
        c.set(STEP_KERNEL=native.build_source(source, entry).address)
        c.address(ARRAY_TABLE=self.arrays, STEP_TABLE=self.table, STEP_LOSS=self.loss, STEP_STATUS=self.status)
        c.address(STEP_NUMBER=self.number, PERMUTATION=np.zeros(rows, np.int64), HISTORY=self.history)

    def validate(self, rows=7, chunk=3, **more):
        self.check_table = np.zeros(10, np.int64)
        self.results = np.zeros(1), np.zeros(1)
        self.check_table[[3, 4, 9]] = [a.ctypes.data for a in (*self.results, self.parameter)]
        self.control.set(CHECK_KERNEL=native.build_source(CHECK, "check").address, CHECK_SIZE=2)
        self.control.set(CHECK_ROWS=rows, CHECK_CHUNK=chunk, CHECK_ARRAYS=0, **more)
        self.control.address(CHECK_TABLE=self.check_table, CHECK_LOSS=self.results[0], CHECK_CORRECT=self.results[1])

    @property
    def visited(self):
        return self.log[: self.table[6]].tolist()


def test_every_epoch_visits_all_rows_once_in_order_when_nothing_is_shuffled():
    loop = Loop(rows=10, batch=4)
    loop.control.set(EPOCHS_END=3)
    assert loop.control.enter() == "EPOCHS_DONE"
    assert loop.visited == list(range(10)) * 3
    assert loop.control["STEP"] == 9 and loop.number[0] == 9
    assert np.allclose(loop.history[:3, 0], np.mean(loop.x[:, 0]))


@pytest.mark.parametrize(("rows", "batch"), [(10, 4), (1, 1), (5, 7), (64, 64), (257, 16)])
def test_a_shuffled_epoch_is_a_permutation_that_differs_between_epochs_and_seeds(rows, batch):
    epochs = []
    for seed in (1, 2):
        loop = Loop(rows=rows, batch=batch, shuffle=1, seed=seed)
        loop.control.set(EPOCHS_END=2)
        loop.control.enter()
        epochs += [loop.visited[:rows], loop.visited[rows:]]
    assert all(sorted(epoch) == list(range(rows)) for epoch in epochs)
    if rows > 4:
        assert len({tuple(epoch) for epoch in epochs}) == 4


def test_the_order_is_a_fisher_yates_of_seed_and_epoch():
    loop = Loop(rows=20, batch=6, shuffle=1, seed=5)
    loop.control.set(EPOCHS_END=2)
    loop.control.enter()
    expected = []
    for epoch in (0, 1):
        order = list(range(20))
        for place in range(20):
            other = place + int(uniform_of(5, epoch, place) * (20 - place))
            order[place], order[other] = order[other], order[place]
        expected += order
    assert loop.visited == expected


def test_each_of_the_orders_of_three_rows_is_equally_frequent():
    loop = Loop(rows=3, batch=1, shuffle=1, log=20_000)
    loop.control.set(EPOCHS_END=6000)
    loop.control.address(HISTORY=None)
    loop.control.enter()
    _, counts = np.unique(np.reshape(loop.visited, (-1, 3)), axis=0, return_counts=True)
    assert len(counts) == 6 and np.sum((counts - 1000.0) ** 2 / 1000) < 25  # chi squared, 5 degrees: p < 2e-4


def test_rows_are_gathered_whole():
    source = STEP.replace(
        "total += x[3 * row] + 0.0 * x[3 * row + 2]", "total += x[3 * row + 2] - 3.0 * F64(labels[row])"
    )
    loop = Loop(rows=50, batch=8, shuffle=1, source=source)
    loop.control.set(EPOCHS_END=1)
    loop.control.enter()
    assert loop.history[0, 0] == 2.0  # x[row, 2] is 3 row + 2


def test_a_run_cut_anywhere_is_the_run_that_was_not_cut():
    whole = Loop(rows=23, batch=5, shuffle=1)
    whole.validate()
    whole.control.set(EPOCHS_END=4)
    assert whole.control.enter() == "EPOCHS_DONE"

    cut = Loop(rows=23, batch=5, shuffle=1)
    cut.validate()
    cut.control.set(EPOCHS_END=4, SLICE=0)  # returns after every step and after every validation chunk
    reasons = []
    while not reasons or reasons[-1] != "EPOCHS_DONE":
        reasons.append(cut.control.enter())
        if len(reasons) == 7:
            cut.control.set(PERMUTED=-1)  # as after loading a model: the order is drawn again
            cut.control.address(PERMUTATION=np.full(23, 7))
    assert cut.visited == whole.visited
    assert np.array_equal(cut.history[:4, :3], whole.history[:4, :3])
    assert cut.check_table[6] == whole.check_table[6] == 4 * 3
    assert reasons.count("SLICE_OVER") == 4 * (5 + 3)


def test_a_budget_of_steps_ends_between_batches():
    loop = Loop(rows=10, batch=4)
    for end in (2, 3, 7):
        loop.control.set(STEPS_END=end)
        assert loop.control.enter() == "STEPS_DONE"
        assert loop.control["STEP"] == end
    assert loop.visited == [*range(10), *range(10), *range(4)]
    assert loop.control["EPOCH"] == 2 and loop.control["POSITION"] == 4
    assert loop.control.number("LOSS") == np.mean(loop.x[:4, 0])


def test_a_step_that_is_not_finite_ends_the_run_and_is_not_counted():
    loop = Loop(rows=10, batch=4)
    loop.table[7] = 5
    loop.control.set(EPOCHS_END=9)
    assert loop.control.enter() == "NOT_FINITE"
    assert loop.control["STEP"] == 4 and loop.control["EPOCH"] == 1 and loop.control["POSITION"] == 4


def test_validation_is_the_mean_over_all_chunks():
    loop = Loop(rows=8, batch=4)
    loop.validate(rows=7, chunk=3)
    loop.control.set(EPOCHS_END=4)
    loop.control.enter()
    assert loop.history[:4, 1].tolist() == [1.0, 1.0, 3.0, 5.0]  # |2-3|, |4-3|, |6-3|, |8-3|
    assert loop.history[:4, 2].tolist() == [1.0, 1.0, 0.0, 0.0]


def test_patience_ends_the_run_and_the_best_persistent_block_is_kept():
    loop = Loop(rows=4, batch=4)
    kept = np.zeros(1)
    loop.validate(PATIENCE=2, PERSISTENT_BYTES=8)
    loop.control.set(EPOCHS_END=100)
    loop.control.address(KEPT=kept, PERSISTENT=loop.parameter)
    assert loop.control.enter() == "PATIENCE_OVER"
    assert loop.control["BEST_EPOCH"] == 2 and loop.control["BEST_STEP"] == 3
    assert loop.control["EPOCH"] == 5 and loop.parameter[0] == 5 and kept[0] == 3


def test_the_best_accuracy_is_the_first_of_equals():
    loop = Loop(rows=4, batch=4)
    loop.validate(PATIENCE=100, BY_ACCURACY=1)
    loop.control.set(EPOCHS_END=20)
    loop.control.enter()
    assert loop.control["BEST_EPOCH"] == 0 and loop.control["SINCE_BEST"] == 19


def test_each_epoch_returns_only_when_asked_for():
    loop = Loop(rows=4, batch=2)
    loop.control.set(EPOCHS_END=5, EACH_EPOCH=1)
    assert [loop.control.enter() for _ in range(5)] == ["EPOCH_DONE"] * 4 + ["EPOCHS_DONE"]


def test_a_slice_lasts_as_long_as_it_says():
    loop = Loop(rows=40, batch=1, source=SLOW, entry="slow")
    loop.control.set(EPOCHS_END=100, SLICE=20_000_000)
    taken = []
    for _ in range(5):
        start = time.perf_counter()
        assert loop.control.enter() == "SLICE_OVER"
        taken.append(time.perf_counter() - start)
    assert 0.02 <= min(taken) < 0.15  # the machine may be busy


def test_tiny_steps_do_not_wait_for_python():
    loop = Loop(rows=4, batch=4)
    loop.table[7] = -1
    loop.control.address(HISTORY=None)
    source = STEP.replace("t[6] += t[2]", "")
    loop.control.set(STEP_KERNEL=native.build_source(source, "step").address, EPOCHS_END=1_000_000)
    start = time.perf_counter()
    while loop.control.enter() != "EPOCHS_DONE":
        pass
    seconds = time.perf_counter() - start
    assert loop.control.entries <= 1 + seconds / 0.05
    assert seconds < 1.0  # a clock call a step would take longer than that on its own on slow clocks; it takes 0.02 s
