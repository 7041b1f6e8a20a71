"""Steps divided among ranks, without MPI: the two programs of a step, the order of sums, one rank with several pieces.

With real processes: tests/optional/test_ranks.py.
"""

from __future__ import annotations

import itertools
import threading
from queue import Queue
from typing import Any
from unittest import mock

import numpy as np
import pytest

import symnet as sn
from compiler.program import size
from compiler.verify import verify
from symnet import Ranks, SymnetError
from symnet.declare.spec import checked_optimizer
from symnet.formulation.divided import sums_program, update_program
from symnet.oracle.reference import evaluate
from symnet.run import ranks
from tests import cases, networks

ROWS, EDGES = 5, (0, 2, 2, 5)  # pieces of 2, 0 and 3 rows


@pytest.mark.parametrize("seed", range(2 * len(networks.FAMILIES)))
def test_sums_over_pieces_and_the_update_are_the_whole_step(seed: int) -> None:
    drawn = networks.drawn(seed)
    network, optimizer = drawn.network, checked_optimizer({"name": drawn.optimizer, "clip_norm": 0.1}, "")
    if network.is_coupled:
        return  # these are refused
    values = cases._values(network, drawn, "float64", ROWS, seed)
    values |= dict(network.update(optimizer, drawn.given).hyper)
    whole = network.training_program(optimizer, drawn.given)
    sums, update = sums_program(network, drawn.given), update_program(network, optimizer, drawn.given)
    verify(sums)
    verify(update)
    by_row = {t.name for t in sums.tensors if t.role in ("input", "target") and t.shape[:1] == (size("N"),)}
    total: dict[str, Any] = {}
    for low, high in itertools.pairwise(EDGES):
        part = {name: value[low:high] if name in by_row else value for name, value in values.items()}
        if high > low:
            found = evaluate(sums, part | {"first": low}, {"N": high - low})
            total = {old.name: total.get(old.name, 0.0) + found[new.name] for old, new in sums.updates}
    expected, found = evaluate(whole, values, {"N": ROWS}), evaluate(update, values | total, {"N": ROWS})
    assert whole.updates == update.updates and whole.outputs == update.outputs and whole.guards == update.guards
    for tensor in (*whole.outputs, *whole.guards, *(new for _, new in whole.updates)):
        np.testing.assert_allclose(found[tensor.name], expected[tensor.name], 1e-10, 1e-12, err_msg=tensor.name)


def heads() -> sn.Network:
    layers = [
        sn.dense(6, "tanh", name="h"),
        sn.dropout(0.4, name="d"),
        sn.dense(3, name="a"),
        sn.dense(2, name="b", inputs="d"),
    ]
    judges = {"a": "softmax_cross_entropy", "b": {"name": "squared_error", "weight": 0.1}}
    return sn.Network(5, layers, losses=judges, l2=1e-2, l1=1e-3)


def fitted(network: sn.Network, division: Ranks | None, **more: Any) -> tuple[sn.Model, sn.History]:
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(23, 5)), {"a": rng.integers(0, 3, 23), "b": rng.normal(size=(23, 2))}
    model = network.compile({"name": "adam", "clip_norm": 0.5}, "float64", seed=2)
    return model, model.fit(X, y, 3, 7, ranks=division, **more)


@pytest.mark.parametrize("more", [{"validation_split": 0.2, "restore_best": True}, {"monitor": "risk", "patience": 9}])
def test_one_rank_with_pieces_trains_as_without_to_the_last_digits(more: dict[str, Any]) -> None:
    usual, told = fitted(heads(), None, **more)
    for division in (Ranks(4), Ranks(8), Ranks(sync_every=2)):  # batches of 7 and 2 rows: some of 8 pieces are empty
        model, history = fitted(heads(), division, **more)
        np.testing.assert_allclose(np.delete(history.epochs.rows, 3, 1), np.delete(told.epochs.rows, 3, 1), 1e-13)
        for name, value in usual.parameters.items():
            np.testing.assert_allclose(model.parameters[name], value, 0, 1e-13)
        assert model.progress.step == usual.progress.step


def test_a_divided_step_that_is_not_finite_is_explained_and_undone() -> None:
    X, y = np.ones((8, 2)), np.full((8, 1), 1e30)
    for division in (None, Ranks(4), Ranks(sync_every=3)):
        model = sn.Network(2, [sn.dense(1, name="o")]).compile({"name": "sgd", "learning_rate": 1.0}, "float32")
        with pytest.raises(SymnetError, match=r"Training stopped at step 1 .* not finite"):
            model.fit(X, y, 3, 8, ranks=division)
        assert model.memory.finite and model.progress.step == 0


class Pairs:
    """What `Ranks.sum` needs of a communicator, among threads."""

    def __init__(self, rank: int, lines: dict[tuple[int, int], Queue[Any]], size: int) -> None:
        self.rank, self.lines, self.size = rank, lines, size

    def Get_size(self) -> int:
        return self.size

    def Get_rank(self) -> int:
        return self.rank

    def Sendrecv(self, sent: Any, to: int, *, recvbuf: Any, source: int) -> None:
        self.lines[self.rank, to].put(sent.copy())
        recvbuf[:] = self.lines[source, self.rank].get(timeout=60)


@pytest.mark.parametrize("long", [0, 10, 10**9])  # halved to the end, for a while, never
def test_the_sum_over_ranks_is_the_tree_whatever_is_halved(long: int) -> None:
    given = np.random.default_rng(0).normal(size=(8, 77)).astype(np.float32) * 1e3
    tree = list(given)
    while len(tree) > 1:
        tree = [a + b for a, b in zip(tree[::2], tree[1::2])]
    lines: dict[tuple[int, int], Queue[Any]] = {(a, b): Queue() for a in range(8) for b in range(8)}
    found = given.copy()
    threads = [threading.Thread(target=Ranks(comm=Pairs(rank, lines, 8)).sum, args=(found[rank],)) for rank in range(8)]
    with mock.patch.object(ranks, "LONG", long):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert all(row.tobytes() == tree[0].tobytes() for row in found)
    assert tree[0].tobytes() != given.sum(0).tobytes()  # another order has other bits


def test_what_cannot_be_divided_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SymnetError, match="a power of 2"):
        Ranks(3)
    with pytest.raises(SymnetError, match="found 6 processes, expected a power of 2"):
        Ranks(comm=Pairs(0, {}, 6))
    with pytest.raises(SymnetError, match="at least 8"):
        Ranks(4, comm=Pairs(0, {}, 8))
    network = sn.Network(2, [sn.dense(3), sn.batch_norm(name="norm"), sn.dense(1)])
    with pytest.raises(SymnetError, match="the layer 'norm', which couples the samples of a batch"):
        network.compile().fit(np.ones((4, 2)), np.ones(4), ranks=Ranks())
    for names in ranks.LAUNCHERS:
        for name in names:
            monkeypatch.delenv(name, raising=False)
    assert ranks.launched() == (1, 0)
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "3")
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "2")
    assert ranks.launched() == (3, 2)
    with (
        mock.patch.dict("sys.modules", {"mpi4py": None}),
        pytest.raises(SymnetError, match=r'found 3 processes without MPI .*pip install "symnet\[mpi\]"'),
    ):
        Ranks()
