"""Ranks: the processes that train one model together, on MPI, and what they say to each other.

    mpirun -n 4 symnet train spec.toml             each process is a rank, from 0; rank 0 reports and writes files

A batch is cut into `pieces`, a power of 2 that does not depend on the number R of ranks, itself a power of 2.  Rank r
makes the sums of gradients and losses over pieces r P/R to (r+1) P/R - 1, piece by piece with one kernel, and adds them
as neighbours in a tree, which the ranks go on with:

    ((g0 + g1) + (g2 + g3)) + ((g4 + g5) + (g6 + g7))          1 rank: all; 2: a half each; 4: the inner brackets each

So the sum has the same bits for every number of ranks.  One MPI_Allreduce over all ranks would leave the order to the
implementation (the standard only recommends that it be the same from run to run).  Over two ranks nothing is left open,
since a + b = b + a to the bit: so `sum` is an in-place MPI_Allreduce of rank r and rank r xor d for d = 1, 2, 4, ...,
one of all ranks if there are two.  Where more than LONG elements are left and it is not the last, each of a pair adds
one half only, and the sums come back on the way home (Rabenseifner 2004): the same tree for each element, and at most
twice the array is sent, however many ranks there are.  How long it takes, beside one MPI_Allreduce, stands in
tests/RESULTS.md (python -m tests.ranks).

sync_every = k > 1: each rank makes k steps on its own rows alone, then parameters and states of all are averaged, as at
the end of an epoch.  What comes out then depends on the number of ranks.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

import numpy as np

from compiler import team

from ..errors import Quoted, SymnetError, complaint
from .loop import whole_number

Array = np.ndarray[Any, np.dtype[Any]]
Result = TypeVar("Result")
PIECES = 4  # of a batch, unless told; as many as there are ranks, if there are more
LONG = 2**14  # elements above which pairs add a half each
GRACE = 1.0  # seconds that a rank waits with its message: if rank 0 has the same to say, it says it first
# How launchers tell a process the number of ranks and its own: MPICH and its kin, Open MPI, MVAPICH.
LAUNCHERS = (("PMI_SIZE", "PMI_RANK"), ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
             ("MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK"))  # fmt: skip


def launched() -> tuple[int, int]:
    """How many processes the launcher started, and which of them this is; (1, 0) without one.  Loads no MPI."""
    for size, rank in LAUNCHERS:
        if os.environ.get(size, "").isdecimal() and os.environ.get(rank, "").isdecimal():
            return int(os.environ[size]), int(os.environ[rank])
    return 1, 0


class Ranks:
    """The processes that train a model together: `model.fit(X, y, ranks=Ranks())` in each of them.

    shards: True: each rank gives its own rows, those of rank 1 follow those of rank 0, and so on; False: all give the
    same data, memory-mapped files, say, of which each reads its share.  pieces: a power of 2, at least the number of
    ranks: trainings with equal pieces have the same bits, whatever the number of ranks.  None: 4, or as many as there
    are ranks.  sync_every: steps between two averages of parameters, if not every gradient is summed.  comm: a
    communicator of mpi4py; None: all processes that mpirun started, or this one alone.
    """

    def __init__(self, pieces: int | None = None, sync_every: int = 1, comm: Any = None, shards: bool = False) -> None:
        self.comm = _world() if comm is None else comm
        self.size: int = 1 if self.comm is None else self.comm.Get_size()
        self.rank: int = 0 if self.comm is None else self.comm.Get_rank()
        if self.size & (self.size - 1):
            raise complaint("ranks", Quoted(f"{self.size} processes"), "a power of 2: 1, 2, 4, 8, ...")
        self.pieces = whole_number("pieces", max(PIECES, self.size) if pieces is None else pieces, 1)
        if self.pieces & (self.pieces - 1) or self.pieces < self.size:
            raise complaint("pieces", pieces, f"a power of 2, at least {self.size}: the number of ranks")
        self.sync_every = whole_number("sync_every", sync_every, 1)
        self.shards = shards
        self.agreed = False  # all ranks know that the training ends here, and why
        self._parts: dict[str, Any] = _parts_of_the_world() if comm is None else {}
        self._room: Array = np.empty(0)

    def __repr__(self) -> str:
        return f"Ranks({self.rank} of {self.size}, pieces={self.pieces}, sync_every={self.sync_every})"

    # ------------------------------------------------------------------------------------------ exchanges
    def sum(self, flat: Array) -> None:
        """The sum over all ranks, in place, in the order of the tree: the same bits on all of them."""
        left, halved, pairs = flat, [], self.pairs
        for partner, pair in pairs:
            if len(left) <= LONG or pair is pairs[-1][1]:
                pair.Allreduce(None, left)  # in place
                continue
            if len(self._room) < len(flat) or self._room.dtype != flat.dtype:
                self._room = np.empty_like(flat)
            halves = left[: len(left) // 2], left[len(left) // 2 :]
            mine, theirs = halves if self.rank < partner else halves[::-1]
            got = self._room[: len(mine)]
            self.comm.Sendrecv(theirs, partner, recvbuf=got, source=partner)
            mine += got
            left = mine
            halved.append((partner, mine, theirs))
        for partner, mine, theirs in reversed(halved):
            self.comm.Sendrecv(mine, partner, recvbuf=theirs, source=partner)

    @property
    def pairs(self) -> list[tuple[int, Any]]:
        """The partners of this rank in the tree, each with the communicator of the two."""
        if "pairs" not in self._parts:
            distances = [1 << level for level in range(self.size.bit_length() - 1)]
            self._parts["pairs"] = [(self.rank ^ d, self.comm.Split(self.rank & ~d)) for d in distances]
        found: list[tuple[int, Any]] = self._parts["pairs"]
        return found

    def first(self, make: Callable[[], Result]) -> Result:
        """What rank 0 makes, on all ranks; what it raises, too."""
        if self.size == 1:
            return make()
        made: tuple[Any, Exception | None] = (None, None)
        if self.rank == 0:
            try:
                made = make(), None
            except Exception as error:
                made = None, error
        result, refused = self.comm.bcast(made)
        if refused is not None:
            self.agreed = True
            raise refused
        return result

    def each(self, make: Callable[[], Result]) -> Result:
        """What this rank makes; if that is an error on some of them, the first of these on all."""
        if self.size == 1:
            return make()
        made, refused = None, None
        try:
            made = make()
        except (SymnetError, OSError) as error:
            refused = error
        first = next((found for found in self.comm.allgather(refused) if found is not None), None)
        if first is not None:
            self.agreed = True
            raise first
        return made  # type: ignore[return-value]

    def gather(self, value: Result) -> list[Result]:
        """What each rank has, on all ranks."""
        return [value] if self.size == 1 else list(self.comm.allgather(value))

    def swap(self, given: Array, taken: Array, other: int) -> None:
        """Give an array to another rank, and take one from it; both know their sizes."""
        if given.size or taken.size:
            self.comm.Sendrecv(given, other, recvbuf=taken, source=other)

    def share(self, rows: int) -> slice:
        """Which of so many rows are this rank's."""
        return slice(rows * self.rank // self.size, rows * (self.rank + 1) // self.size)

    def any(self, flag: bool) -> bool:
        """Is it so on one rank at least?"""
        return flag if self.size == 1 else any(self.comm.allgather(flag))

    def copy(self, array: Array) -> None:
        """What rank 0 has, on all ranks."""
        if self.size > 1:
            self.comm.Bcast(array)

    def compare(self, what: str, has: object) -> None:
        """SymnetError, on all ranks, unless all have the same."""
        if self.size == 1:
            return
        found = self.comm.allgather(has)
        other = next((rank for rank in range(self.size) if found[rank] != found[0]), None)
        if other is not None:
            self.agreed = True
            raise complaint("ranks", Quoted(f"other {what} on rank {other} than on rank 0"), "the same on all ranks")

    # ------------------------------------------------------------------------------------------ the machine
    @property
    def node(self) -> Any:
        """The communicator of the ranks on this machine."""
        if "node" not in self._parts:
            self._parts["node"] = self.comm.Split_type(_mpi().COMM_TYPE_SHARED)
        return self._parts["node"]

    @property
    def threads(self) -> int:
        """For each rank: the processors of this machine divided among its ranks."""
        return team.processors() if self.size == 1 else max(1, team.processors() // self.node.Get_size())

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """One rank of each machine goes first, so that the others find in the disk cache what it has compiled."""
        if self.size == 1:
            yield
            return
        if self.node.Get_rank() == 0:
            yield
        done = self.node.Ibarrier()
        while not done.Test():
            time.sleep(0.01)  # MPI's own waiting would take the processor
        if self.node.Get_rank():
            yield

    @contextmanager
    def guard(self) -> Iterator[None]:
        """What ends one rank ends the job, with its message: the others would wait for it for ever."""
        try:
            yield
        except BaseException as error:
            if self.size == 1 or self.agreed:
                raise
            if self.rank:
                time.sleep(GRACE)
            if not isinstance(error, SymnetError | OSError | KeyboardInterrupt | SystemExit):
                traceback.print_exc()
            print(f"symnet: rank {self.rank}: {str(error) or type(error).__name__}", file=sys.stderr, flush=True)
            self.comm.Abort(2)
            os._exit(2)  # it may return, before the launcher ends this process


def _mpi() -> Any:
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError: it is there, but no library of MPI
        expected = 'mpi4py with a library of MPI: pip install "symnet[mpi]"'
        raise complaint("ranks", Quoted(f"{launched()[0]} processes without MPI ({error})"), expected) from None
    return MPI


def _world() -> Any:
    """All processes that a launcher started; None where there is none."""
    count, _ = launched()
    if count == 1:
        return None
    world = _mpi().COMM_WORLD
    if world.Get_size() != count:
        expected = f"{count}, as its launcher started: use the mpirun of the library that mpi4py has loaded"
        raise complaint("ranks", Quoted(f"an MPI of {world.Get_size()} processes"), expected)
    return world


@cache
def _parts_of_the_world() -> dict[str, Any]:
    """The communicators made of that of all processes: MPI has room for some 2,000, so there may be more `Ranks`."""
    return {}


@contextmanager
def watched(checkpoint: str | None) -> Iterator[None]:
    """Say what to do if this process is killed in here: MPI ends all ranks with one that died, and they say nothing.

    A shell waits for a line from this process.  It starts before MPI does, which bears no forks on some networks.
    """
    script = 'read done || if [ -n "$1" ] && [ -e "$1" ]; then echo "$2" >&2; else echo "$3" >&2; fi'
    died = "symnet: a rank died, and so the training ended."
    texts = (
        f"{died}  From its last checkpoint it goes on with --resume {checkpoint}",
        f"{died}  No checkpoint is left.",
    )
    shell = ["/bin/sh", "-c", script, "sh", checkpoint or "", *texts]
    try:
        watcher = subprocess.Popen(shell, stdin=subprocess.PIPE, start_new_session=True)
    except OSError:  # no shell: nothing is said
        yield
        return
    try:
        yield
    finally:
        watcher.communicate(b"done\n")
