"""Steps divided among ranks, without MPI: the two programs of a step, the order of sums, one rank with several pieces.

With real processes: tests/optional/test_ranks.py.
"""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from ctypes import c_double, c_int64
from pathlib import Path
from queue import Queue
from typing import Any
from unittest import mock

import numpy as np
import pytest

import symnet as sn
from compiler.kernels.driver import Control
from compiler.program import size
from compiler.verify import verify
from symnet import Ranks, SymnetError
from symnet.declare.spec import checked_optimizer
from symnet.formulation.divided import sums_program, update_program
from symnet.oracle.reference import evaluate
from symnet.run import data, ranks, shards, tables
from symnet.run.checkpoint import Keeper
from symnet.run.fitting import fit
from symnet.run.scaling import scaling
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
    """What `Ranks` needs of a communicator, among threads."""

    def __init__(self, rank: int, lines: dict[tuple[int, int], Queue[Any]], size: int) -> None:
        self.rank, self.lines, self.size = rank, lines, size

    def Get_size(self) -> int:
        return self.size

    def Get_rank(self) -> int:
        return self.rank

    def Sendrecv(self, sent: Any, to: int, *, recvbuf: Any, source: int) -> None:
        self.lines[self.rank, to].put(sent.copy())
        recvbuf[:] = self.lines[source, self.rank].get(timeout=60)

    def Split(self, color: int) -> Pair:
        found = self.allgather(color)
        (partner,) = (rank for rank in range(self.size) if found[rank] == color and rank != self.rank)
        return Pair(self, partner)

    def allgather(self, value: Any) -> list[Any]:
        for other in range(self.size):
            self.lines[self.rank, other].put(value)
        return [self.lines[other, self.rank].get(timeout=60) for other in range(self.size)]


class Pair:
    """Two of them."""

    def __init__(self, all: Pairs, partner: int) -> None:
        self.all, self.partner = all, partner

    def Allreduce(self, sent: None, flat: Any) -> None:
        got = np.empty_like(flat)
        self.all.Sendrecv(flat, self.partner, recvbuf=got, source=self.partner)
        flat += got


def among(size: int, run: Callable[[Ranks], Any], **more: Any) -> list[Any]:
    """What each of so many ranks gives."""
    lines: dict[tuple[int, int], Queue[Any]] = {(a, b): Queue() for a in range(size) for b in range(size)}
    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(lambda rank: run(Ranks(comm=Pairs(rank, lines, size), **more)), range(size)))


@pytest.mark.parametrize("long", [0, 10, 10**9])  # halved to the end, for a while, never
def test_the_sum_over_ranks_is_the_tree_whatever_is_halved(long: int) -> None:
    given = np.random.default_rng(0).normal(size=(8, 77)).astype(np.float32) * 1e3
    tree = list(given)
    while len(tree) > 1:
        tree = [a + b for a, b in zip(tree[::2], tree[1::2])]
    found = given.copy()
    with mock.patch.object(ranks, "LONG", long):
        among(8, lambda own: own.sum(found[own.rank]))
    assert all(row.tobytes() == tree[0].tobytes() for row in found)
    assert tree[0].tobytes() != given.sum(0).tobytes()  # another order has other bits


# ---------------------------------------------------------------------------------------------- shards
ROW = np.arange(700)
X, Y = np.stack([ROW, np.sin(ROW), np.full(700, 0.1)], axis=1), ROW % 3
NETWORK = sn.Network(3, [sn.dense(3)], "softmax_cross_entropy")


def shard(own: Ranks, x: Any = X, y: Any = Y, weights: Any = None) -> shards.Shard:
    def check(x: Any, y: Any, weights: Any, first: int | None) -> data.Data:
        return data.check_data(NETWORK, x, y, "float64", weights=weights, first=first)

    return shards.shared(own, ("X", "y"), (x, y, weights), check)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_rows_come_to_the_rank_that_wants_them_from_those_that_have_read_them(size: int) -> None:
    wanted = np.array_split(np.random.default_rng(size).permutation(700)[:600], size)
    chosen = np.flatnonzero(ROW % 5 < 2)

    def run(own: Ranks) -> None:
        whole = shard(own)
        assert whole.rows == 700 and len(whole.inputs["x"]) == 700 // size
        np.testing.assert_array_equal(whole.fetch("x", wanted), X[wanted[own.rank]])
        part = whole.part(chosen)
        np.testing.assert_array_equal(part.taken("y", np.array([3, 0, part.rows - 1])), Y[chosen[[3, 0, -1]]])
        chunks = part.in_chunks()  # 280 rows: a chunk of 256 and one of 24
        lengths = {1: [280], 2: [256, 24], 4: [0, 256, 0, 24]}[size]
        assert [len(chunks.targets[""].array), chunks.rows] == [lengths[own.rank], 280]
        np.testing.assert_array_equal(chunks.inputs["x"], X[chosen[slice(*chunks.edges[own.rank :][:2])]])

    among(size, run)


@pytest.mark.parametrize("window", [1, 3 * 24 * 50, 10**9])  # a batch, a few, an epoch
@pytest.mark.parametrize("shuffled", [True, False])
def test_of_each_batch_a_rank_has_the_rows_of_its_pieces(window: int, shuffled: bool) -> None:
    rng = np.random.default_rng(0)
    orders = [rng.permutation(700) if shuffled else ROW for _ in range(2)]

    def run(own: Ranks) -> None:
        c = Control()
        c.set(SHUFFLE=int(shuffled))
        feed = shards.Feed(shard(own), 150, ["y", "x"], c)
        for epoch, order in enumerate(orders):
            c.set(EPOCH=epoch)
            drawn = np.full(700, -1)
            c.address(PERMUTATION=drawn)
            for start in range(0, 700, 150):
                c.set(POSITION=start)
                known = start + 150 + c["AHEAD"]
                drawn[:known] = order[:known]
                batch = order[start : start + 150]
                wanted = batch[len(batch) * own.rank // own.size : len(batch) * (own.rank + 1) // own.size]
                y, x = map(int, feed.places())
                assert np.frombuffer((c_int64 * len(wanted)).from_address(y), np.int64).tolist() == Y[wanted].tolist()
                found = np.frombuffer((c_double * (3 * len(wanted))).from_address(x))
                np.testing.assert_array_equal(found.reshape(-1, 3), X[wanted])

    with mock.patch.object(shards, "WINDOW", window):
        for size in (1, 2, 4):
            among(size, run)


@pytest.mark.parametrize("kind", ["common", "column"])
def test_the_scaling_of_shards_has_the_same_bits_for_every_number_of_ranks(kind: str) -> None:
    with mock.patch.object(shards, "WINDOW", 24 * 50):
        found = [among(size, lambda own: shard(own).scaling("x", kind), pieces=4) for size in (1, 2, 4)]
    expected = scaling(X, kind)
    for own in (x for each in found for x in each):
        assert own.mean.tobytes() == found[0][0].mean.tobytes()
        assert own.deviation.tobytes() == found[0][0].deviation.tobytes()
        np.testing.assert_allclose(own.mean, expected.mean, 1e-13)
        np.testing.assert_allclose(own.deviation, expected.deviation, 1e-13)


@pytest.mark.parametrize("own_rows", [False, True])
def test_what_is_wrong_in_a_row_of_one_rank_is_said_by_all(own_rows: bool) -> None:
    bad, labels, weights = X.copy(), Y.copy(), np.ones(700)
    bad[401, 1], labels[402], weights[403] = np.nan, 3, -1

    def said(*given: Any) -> set[str]:
        def run(own: Ranks) -> str:
            part = own.share(700) if own_rows else slice(None)
            with pytest.raises(SymnetError) as caught:
                shard(own, *(None if array is None else array[part] for array in given))
            return str(caught.value)

        return set(among(4, run, shards=own_rows))

    assert said(bad, labels, weights) == {"X[401, 1]: found nan, expected finite numbers."}
    assert said(X, labels, weights) == {"y[402]: found 3, expected labels from 0 to 2."}
    assert said(X, Y, weights) == {"sample_weight[403]: found -1.0, expected weights, which are not negative."}
    if not own_rows:
        assert said(X, Y[:-1], None) == {"y: found 699 rows, expected 700 rows, as X has."}


def test_ranks_that_are_given_other_data_are_refused() -> None:
    def run(own: Ranks) -> None:
        with pytest.raises(SymnetError, match="found other data on rank 1 than on rank 0"):
            shard(own, X + own.rank)

    among(2, run)


@pytest.mark.parametrize("ending", ["csv", "npy", "npz", "packed.npz"])
def test_a_rank_reads_its_share_of_a_file(tmp_path: Path, ending: str) -> None:
    path, table = tmp_path / f"data.{ending}", np.column_stack([X, Y])
    if ending == "csv":
        np.savetxt(path, table, delimiter=",", header="a,b,c,label", comments="")
    elif ending == "npy":
        np.save(path, table)
    else:
        (np.savez if ending == "npz" else np.savez_compressed)(path, X=X, y=Y, sample_weight=np.sqrt(ROW))
    for count in (1, 2, 4, 1024):
        shares = [Ranks(comm=Pairs(rank, {}, count)).share for rank in range(count)]
        chosen = shares if count < 10 else shares[500:502]
        unread = mock.patch.object(zipfile.ZipExtFile, "read", side_effect=AssertionError)  # from the beginning on
        with unread if ending == "npz" else nullcontext():
            read = [tables.load_data(NETWORK, path, share=share) for share in chosen]
        rows = slice(None) if count < 10 else slice(341, 343)
        np.testing.assert_allclose(np.concatenate([x for x, _ in read]), X[rows], 1e-15)
        np.testing.assert_array_equal(np.concatenate([y for _, y in read]), Y[rows])
        if "npz" in ending:
            found = [tables.load_weights(NETWORK, path, share=share) for share in chosen]
            np.testing.assert_array_equal(np.concatenate(found), np.sqrt(ROW)[rows])  # type: ignore[arg-type]
    if ending == "npz":
        np.savez(path, X=X, y=Y[:-1])  # refused as a whole
        assert [len(part) for part in tables.load_data(NETWORK, path, share=shares[1])] == [700, 699]


def test_an_evaluation_leaves_nothing_in_what_pads_the_sums() -> None:
    model = NETWORK.compile()
    loop = model.fitting(X, Y, 1, 100, validation_split=0.5, ranks=Ranks())
    fit(loop, 1, [], Keeper(loop, None, None))
    storage = model.kernels.with_sums
    padding = np.arange(storage.elements) >= model.kernels.storage.elements
    for slot in storage.slots:
        padding[storage.view(np.arange(storage.elements), slot.name)] = False
    assert padding.any() and not model.memory.block[: storage.elements][padding].any()


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
