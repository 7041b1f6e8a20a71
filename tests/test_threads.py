"""Several threads run one kernel: the same bits for any number of them, and nobody waits for ever."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import numpy as np
import pytest
import sympy as sp
from scipy.sparse import csr_array

import symnet as sn
from compiler import divide, native, nest
from compiler.calling import interpret
from compiler.expressions import Places
from compiler.layout import Layout
from compiler.lower import lower
from compiler.prepare import prepare
from compiler.program import Access, Equation, Index, Program, Tensor, size
from compiler.team import RECORD, STATES, TEAM, TRIALS, Team, team
from symnet.run.loop import Loop

from . import turns
from .cases import Case, case, showing

NEVER = 2**50  # nanoseconds, or calls


@pytest.fixture
def small_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that networks of a few units are divided everywhere."""
    for name, value in {"ROWS": 1, "VECTORS": 1, "PIECE": 3, "NARROW": 0, "PAUSE": 0, "LARGE": 1}.items():
        monkeypatch.setattr(divide, name, value)


def in_turns(drawn: Case, order: list[int]) -> turns.Made:
    """A step of training, its parts one after another in this order."""
    assert drawn.step is not None
    return turns.run(drawn.step, drawn.arrays, drawn.sizes, order)


@pytest.mark.parametrize("seed", [0, 2, 5, 8, 11, 20])
def test_no_part_of_a_kernel_depends_on_the_order_of_parts_between_barriers(small_shares: None, seed: int) -> None:
    with showing(case(f"network {seed}")) as drawn:
        one, *others = (in_turns(drawn, order) for order in ([0], [0, 1, 2], [2, 1, 0]))
        assert others[0].barriers > 0
        for name, value in interpret(drawn.step, drawn.arrays, drawn.sizes, plain=False).items():
            np.testing.assert_allclose(one.values[name], value, 1e-9, 1e-12, err_msg=name)
        for other in others:
            for name, value in one.values.items():
                np.testing.assert_array_equal(value, other.values[name], name)


def test_what_a_loop_over_steps_does_not_touch_is_waited_for_behind_it(small_shares: None) -> None:
    rows, t = size("N"), Index("t", 4)
    n, i = Index("n", rows), Index("i", 5)
    x, made, y = Tensor("x", (4, rows, 5), "input"), Tensor("made", (rows, 5)), Tensor("y", (rows, 5))
    h = Tensor("h", (4, rows, 5))
    own = (
        Equation(made[n, i], (n, i), sp.sin(x[0, n, i])),
        Equation(h[t, n, i], (t, n, i), x[t, n, i] + h[t - 1, n, i] / 2),
        Equation(y[n, i], (n, i), made[rows - 1 - n, i] + made[n, i]),
    )
    values = {"x": np.random.default_rng(0).normal(size=(4, 12, 5))}
    found = [turns.run(Program(own, (made, h, y)), values, {"N": 12}, order) for order in ([0], [0, 1, 2], [2, 1, 0])]
    assert found[1].barriers > 0
    for other in found:
        np.testing.assert_array_equal(other.values["y"], found[0].values["y"])
    np.testing.assert_allclose(found[0].values["y"], np.sin(values["x"][0]) + np.sin(values["x"][0, ::-1]))


def test_what_one_thread_makes_alone_all_can_read(small_shares: None) -> None:
    n, i = Index("n", size("N")), Index("i", 5)
    x, s, c, y = Tensor("x", (size("N"), 5), "input"), Tensor("s"), Tensor("c"), Tensor("y", (size("N"), 5))
    own = (
        Equation(Access(s), (n, i), x[n, i] ** 2),
        Equation(Access(c), (), sp.sqrt(Access(s)) + sp.exp(-Access(s))),
        Equation(y[n, i], (n, i), x[n, i] / Access(c)),
    )
    values = {"x": np.random.default_rng(0).normal(size=(40, 5))}
    total = np.sum(values["x"] ** 2)
    for order in ([0], [0, 1, 2], [2, 1, 0]):
        found = turns.run(Program(own, (y,)), values, {"N": 40}, order).values["y"]
        np.testing.assert_allclose(found, values["x"] / (np.sqrt(total) + np.exp(-total)), 1e-14)


def test_the_entries_of_a_row_are_not_divided_as_if_they_were_all_columns(small_shares: None) -> None:
    i, j = Index("i", 3), Index("j", 40)
    S, x, y = Tensor("S", (3, 40), "constant", sparse=True), Tensor("x", (3,), "input"), Tensor("y", (40,))
    rng = np.random.default_rng(0)
    table, row = rng.normal(size=(3, 40)) * (rng.random((3, 40)) < 0.5), rng.normal(size=3)
    program = Program((Equation(y[j], (j, i), S[i, j] * x[i]),), (y,))
    for order in ([0], [0, 1, 2], [2, 1, 0]):
        found = turns.run(program, {"S": csr_array(table), "x": row}, {}, order).values["y"]
        np.testing.assert_allclose(found, row @ table, 1e-14, 1e-14)


def test_shares_begin_with_whole_vectors() -> None:
    for width in range(1, 40):
        n, i = Index("n", size("N")), Index("i", width)
        x, y = Tensor("x", (size("N"), width), "input"), Tensor("y", (size("N"), width))
        tree = lower(prepare(Program((Equation(y[n, i], (n, i), sp.tanh(x[n, i])),), (y,))))
        divide.choose(tree.body, tree.layout, {})
        [share] = (node.share for node in tree.body if isinstance(node, nest.Loop))
        assert share is not None and share.unit * share.scale % divide.VECTORS == 0, width


def test_a_missing_barrier_is_noticed(small_shares: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(divide.Divider, "_conflict", lambda self, one, other: False)
    found = [in_turns(case("network 0"), order).values for order in ([0], [2, 1, 0])]
    assert any(not np.array_equal(found[0][name], found[1][name]) for name in found[0])


def test_integers_take_eight_bytes_each_wherever_they_stand() -> None:
    real, whole = Tensor("x", (3,)), Tensor("k", (3,), kind="integer")
    places = Places({real: 7}, {}, {}, {}, {}, set(), {}, {whole: 5})
    divider = divide.Divider(Layout({}), places, {}, 4, 100)
    assert divider._interval(real) == ("M", 28, 40) and divider._interval(whole) == ("M", 40, 64)
    assert not divider._overlap(real, whole)


# ------------------------------------------------------------------------------------------------ native
def classifier() -> sn.Network:
    hidden = [sn.dense(120, activation="swish"), sn.batch_norm(), sn.dense(72, activation="tanh"), sn.dropout(0.2)]
    return sn.Network(input=100, layers=[*hidden, sn.dense(10)], loss="softmax_cross_entropy", l2=1e-3)


def images() -> sn.Network:
    layers = [sn.conv2d(8, 3, activation="relu"), sn.max_pool2d(2), sn.flatten(), sn.dense(10)]
    return sn.Network(input=(12, 12, 3), layers=layers, loss="softmax_cross_entropy")


def sequences() -> sn.Network:
    return sn.Network(input=(12, 16), layers=[sn.lstm(40), sn.dense(3)], loss="squared_error")


def wide() -> sn.Network:
    """More columns than rows: they are divided."""
    layers = [sn.dense(400, activation="tanh"), sn.dense(350, activation="tanh"), sn.dense(10)]
    return sn.Network(input=300, layers=layers, loss="softmax_cross_entropy")


NETWORKS = {"wide": (wide, 40), "classifier": (classifier, 150), "images": (images, 40), "sequences": (sequences, 40)}


def data(network: sn.Network, rows: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2 * rows + rows // 2, *network.spec.inputs[0][1]))
    return X, rng.integers(0, 10, len(X)) if network.is_classifier else rng.normal(size=(len(X), 3))


def prepared(network: sn.Network, rows: int, threads: int | None, dtype: str = "float32") -> tuple[sn.Model, Loop]:
    model = network.compile("adam", dtype=dtype, threads=threads)
    return model, model.prepare(*data(network, rows), batch_size=rows)


def together(loop: Loop) -> np.ndarray[Any, Any]:
    """From now on the team runs the kernel whenever it is there; what `fork` keeps."""
    record = loop._call.table[loop._call.slots["team"] :]
    record[RECORD["CALLS"]], record[RECORD["SOLO"]], record[RECORD["NEXT"]] = TRIALS, NEVER, NEVER
    return record


def trained(network: sn.Network, rows: int, threads: int, dtype: str) -> tuple[bytes, ...]:
    """All bits that 30 steps and a look at the model give; of several threads, only if they took part."""
    for _ in range(100):
        model, loop = prepared(network, rows, threads, dtype)
        record = together(loop)
        loss = np.float64(loop.run(30))
        if threads == 1 or record[RECORD["SHARED"]] > 10:  # members come when the machine lets them
            X, y = data(network, rows)
            seen = [*model.evaluate(X, y).values()]
            return (
                loss.tobytes(),
                model.memory.persistent.tobytes(),
                model.predict(X).tobytes(),
                np.array(seen).tobytes(),
            )
    raise AssertionError("nobody came")


@pytest.mark.parametrize("name", NETWORKS)
def test_any_number_of_threads_gives_the_same_bits(name: str) -> None:
    make, rows = NETWORKS[name]
    dtype = "float64" if name == "sequences" else "float32"
    one = trained(make(), rows, 1, dtype)
    for threads in (2, 3, 4):
        assert trained(make(), rows, threads, dtype) == one, f"{threads} threads"


def test_only_kernels_with_enough_work_are_divided() -> None:
    small = sn.Network(input=2, layers=[sn.dense(2, activation="relu"), sn.dense(1)], loss="squared_error")
    loop = small.compile(threads=4).prepare(np.zeros((4, 2)), np.zeros((4, 1)), batch_size=4)
    manifest = loop._call.kernel.manifest
    assert not manifest["divided"] and manifest["work"] < divide.WORTH and loop._call.threads == 1


# ------------------------------------------------------------------------------------------------ the team
def idle(seconds: float = 5.0) -> bool:
    """All members sleep, within so many seconds."""
    end = time.monotonic() + seconds
    states = team().block[TEAM["FIRST"] :: 16]
    while np.any(states != STATES["AWAY"]) and time.monotonic() < end:
        time.sleep(0.01)
    return bool(np.all(states == STATES["AWAY"]))


def test_members_sleep_between_calls_and_are_not_more_for_more_models() -> None:
    for _ in range(3):
        _, loop = prepared(classifier(), 150, 3)
        loop.run(3)
    assert idle()
    named = [thread for thread in threading.enumerate() if thread.name.startswith("symnet-")]
    assert len(named) <= 3  # another test may have asked for four threads
    before = time.process_time()
    time.sleep(0.2)
    assert time.process_time() - before < 0.1


def test_a_call_waits_a_little_for_members_that_sleep() -> None:
    _, loop = prepared(classifier(), 150, 2)
    for _ in range(50):  # the machine may need longer
        record = together(loop)  # a call that was alone shortens the patience of the next
        assert idle()
        loop.run(1)
        if record[RECORD["SHARED"]]:
            return
    raise AssertionError("nobody was waited for")


def test_nobody_is_waited_for_who_cannot_come() -> None:
    own, loop = Team(), prepared(classifier(), 150, 2)[1]
    own.close()
    record = together(loop)
    record[RECORD["ADDRESS"]] = own.address
    start = time.perf_counter()
    assert np.isfinite(loop.run(20)) and record[RECORD["SHARED"]] == 0
    assert time.perf_counter() - start < 5


def test_an_interrupt_ends_a_run_of_several_threads_and_training_goes_on() -> None:
    model, loop = prepared(classifier(), 150, 2)
    together(loop)
    loop.run(1)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        loop.run(10**9)
    assert idle()
    made = model.progress.step
    assert np.isfinite(loop.run(2)) and model.progress.step == made + 2


def test_a_run_that_diverges_ends_for_all_threads() -> None:
    network = classifier()
    model = network.compile({"name": "gradient_descent", "learning_rate": 1e30}, threads=2)
    X, y = data(network, 150)
    loop = model.prepare(X, y, batch_size=150)
    together(loop)
    with pytest.raises(sn.SymnetError, match="not finite"):
        loop.run(500)
    assert idle() and all(np.isfinite(value).all() for value in model.parameters.values())


def test_two_models_train_at_once_in_threads_of_the_caller() -> None:
    loops = [prepared(classifier(), 150, 2) for _ in range(2)]
    for _, loop in loops:
        together(loop)
    callers = [threading.Thread(target=loop.run, args=(40,)) for _, loop in loops]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert loops[0][0].memory.persistent.tobytes() == loops[1][0].memory.persistent.tobytes()


def test_a_forked_process_trains_without_the_threads_of_its_parent() -> None:
    _, loop = prepared(classifier(), 150, 2)
    together(loop)
    loop.run(20)
    child = os.fork()
    if child == 0:
        os._exit(0 if np.isfinite(loop.run(20)) and team().block[TEAM["HIRED"]] <= 1 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert np.isfinite(loop.run(20))


def test_a_team_that_is_closed_works_alone() -> None:
    own, cells = Team(), np.zeros(1, np.int64)
    own.close()
    own.call(native.build_source("def f(table):\n    table[0] += 1\n", "f").address, cells.ctypes.data, 2)
    assert cells[0] == 1 and own.block[TEAM["HIRED"]] == 0


@pytest.mark.parametrize("threads", [0, -1, 1.5, "two", True, 10**6])
def test_a_number_of_threads_is_checked(threads: Any) -> None:
    with pytest.raises(sn.SymnetError, match="threads"):
        classifier().compile(threads=threads)


def test_every_product_of_a_batch_is_divided_by_its_rows() -> None:
    rows, i, j, k = size("N"), Index("i", 64), Index("j", 64), Index("k", 64)
    n = Index("n", rows)
    x, V, W = Tensor("x", (rows, 64), "input"), Tensor("V", (64, 64), "parameter"), Tensor("W", (64, 64), "parameter")
    z, y = Tensor("z", (rows, 64)), Tensor("y", (rows, 64))
    own = (Equation(z[n, i], (n, i, j), V[i, j] * x[n, j]), Equation(y[n, i], (n, i, k), W[i, k] * z[n, k]))
    tree = lower(prepare(Program(own, (y,))))
    divide.choose(tree.body, tree.layout, {})
    products = [node for node in divide.walk(tree.body) if isinstance(node, nest.Call)]
    assert len(products) == 2 and all(p.share is not None and p.share.extent == rows for p in products)


def test_in_each_step_of_a_recurrence_its_rows_are_divided() -> None:
    rows, t = size("N"), Index("t", 5)
    n, i = Index("n", rows), Index("i", 64)
    x, h = Tensor("x", (5, rows, 64), "input"), Tensor("h", (5, rows, 64))
    tree = lower(prepare(Program((Equation(h[t, n, i], (t, n, i), x[t, n, i] + h[t - 1, n, i] / 2),), (h,))))
    divide.choose(tree.body, tree.layout, {})
    [steps] = tree.body
    assert isinstance(steps, nest.Loop) and steps.share is None
    assert any(getattr(node, "share", None) is not None for node in divide.walk(steps.body))
