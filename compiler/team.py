"""A team of threads that run one native function together.

A kernel that is worth it (divide.py) is a function `part(table, thread, threads)`, run by several threads at once: each
makes its share of every output, and waits for the others where it reads what they made.  Its C entry is `fork`: it asks
who is there, runs part 0 itself and returns when all parts have.  It runs alone where that was faster lately: other
programs may need the processors.

    call(function, argument, threads)      the native function with at most so many threads of the team at hand

The members are threads of Python that stay in native code while such a call lasts (the interpreter is free), and sleep
otherwise.  They come when they are ready, and are waited for no longer than a small part of what a call takes alone: a
kernel runs with those who are there, be it none, since its result does not depend on their number.  So nobody waits in
vain: not after an exception, not in a forked process, not where another model has the team.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import re
import threading
import time
from collections.abc import Callable
from functools import cache

import numpy as np

from . import native

MEMBERS = 63  # at most, beside the thread that calls
LINE = 16  # integers apart: two lines of the cache, which processors fetch in pairs

# Places in the block of a team, which begins with the addresses of two functions that kernels call.
TEAM = {"FORK": 0, "BARRIER": 1}
TEAM |= {name: LINE * place for place, name in enumerate(("BUSY", "OPEN", "ARRIVED", "GENERATION", "JOB"), 1)}
TEAM |= {name: TEAM["JOB"] + place for place, name in enumerate(("BODY", "TABLE", "COUNT", "MODE", "HIRED"))}
TEAM["FIRST"] = LINE * 6  # the first member; each has a line
MEMBER = {"STATE": 0, "THREAD": 1, "BLOCK": 2}
# AWAY: sleeps in Python.  PRESENT: waits in native code.  CLAIMED: will get a part.  RUNNING: has one.
STATES = {"AWAY": 0, "PRESENT": 1, "CLAIMED": 2, "RUNNING": 3}
LINGER = 1_000_000  # nanoseconds that a member waits for another call before it sleeps
SPINS = 1_000  # looks at a place before the processor is offered to others; some 50 us

# What `fork` keeps in the table of a kernel, from a place on: the team (0: none), how many threads at most, the calls
# so far and how many of them several threads made, nanoseconds that UNIT rows took alone and together, lately, and the
# call that tries the slower way again, GAP after the last one that did.
RECORD = {
    name: place for place, name in enumerate(("ADDRESS", "LIMIT", "CALLS", "SHARED", "SOLO", "TOGETHER", "NEXT", "GAP"))
}
UNIT = 1024  # rows whose time is kept: a last, smaller batch says as much as the others
TRIALS = 6  # first calls: by turns together and alone; the shortest counts, since the first ones also find their pages
PROBE, RARELY = 16, 1024  # the gap at first, and where it ends: it doubles while nothing changes
PATIENCE = 1_000_000  # nanoseconds that a call waits for members at most, and no longer than a 32nd of its time alone

FORK = """
def fork(table, part, place, size):
    record = offset(table, place)
    limit = record[LIMIT]
    if (record[ADDRESS] == 0) | (limit < 2):
        call_part(part, table, 0, 1)
        return
    size = 1 if size < 1 else size
    calls = record[CALLS]
    record[CALLS] = calls + 1
    probe = calls >= record[NEXT]
    slower = (record[TOGETHER] != 0) & (record[TOGETHER] > record[SOLO])
    if calls < TRIALS:
        limit = 1 if calls % 2 == 1 else limit
    else:
        limit = 1 if slower != probe else limit
    team = pointer_i64(record[ADDRESS])
    hired = team[HIRED]
    limit = hired + 1 if hired + 1 < limit else limit
    if limit > 1:
        limit = 1 if compare_exchange(offset(team, BUSY), 0, 1) != 0 else limit
    now = offset(record, CLOCK)
    clock_gettime(MONOTONIC, now)
    start = 1000000000*now[0] + now[1]
    patience = record[SOLO]*size//UNIT//32 if calls > 0 else PATIENCE
    patience = PATIENCE if patience > PATIENCE else patience
    taken = 0
    count = 1
    while (count < limit) & (taken <= patience):
        number = 0
        while (count < limit) & (number < hired):
            member = offset(team, FIRST + LINE*number)
            if compare_exchange(member, PRESENT, CLAIMED) == PRESENT:
                member[THREAD] = count
                count += 1
            number += 1
        pause()
        clock_gettime(MONOTONIC, now)
        taken = 1000000000*now[0] + now[1] - start
    if limit > 1:
        team[BODY] = part
        team[TABLE] = I64(table)
        team[COUNT] = count
        team[MODE] = floating_mode()
    if count > 1:
        for number in range(hired):
            member = offset(team, FIRST + LINE*number)
            if atomic_load(member) == CLAIMED:
                atomic_store(member, RUNNING)
    call_part(part, table, 0, count)
    if count > 1:
        for number in range(hired):
            member = offset(team, FIRST + LINE*number)
            looks = 0
            while atomic_load(member) == RUNNING:
                looks += 1
                pause()
                if looks > SPINS:
                    sched_yield()
    if limit > 1:
        atomic_store(offset(team, BUSY), 0)
    clock_gettime(MONOTONIC, now)
    taken = (1000000000*now[0] + now[1] - start)*UNIT//size
    record[SHARED] += 1 if count > 1 else 0
    way = TOGETHER if count > 1 else SOLO
    before = record[way]
    if (before == 0) | (taken < before):  # less at once, more by and by: one interruption says little
        record[way] = taken
    elif calls >= TRIALS:
        taken = 2*before if taken > 2*before else taken
        record[way] = before + (taken - before)//8
    if probe:
        changed = slower != ((record[TOGETHER] != 0) & (record[TOGETHER] > record[SOLO]))
        record[GAP] = PROBE if changed else 2*record[GAP] if record[GAP] < RARELY else RARELY
        record[NEXT] = calls + record[GAP]
"""

BARRIER = """
def barrier(team):
    generation = atomic_load(offset(team, GENERATION))
    if atomic_add(offset(team, ARRIVED), 1) == team[COUNT] - 1:
        atomic_store(offset(team, ARRIVED), 0)
        atomic_store(offset(team, GENERATION), generation + 1)
        return
    looks = 0
    while atomic_load(offset(team, GENERATION)) == generation:
        looks += 1
        pause()
        if looks > SPINS:
            sched_yield()
"""

WORK = """
def work(member):
    team = pointer_i64(member[BLOCK])
    now = offset(member, CLOCK)
    mode = floating_mode()
    atomic_store(member, PRESENT)
    looks = 0
    since = 0
    while True:
        if atomic_load(member) == RUNNING:
            set_floating_mode(team[MODE])
            call_part(team[BODY], pointer_i64(team[TABLE]), member[THREAD], team[COUNT])
            set_floating_mode(mode)
            atomic_store(member, PRESENT)
            looks = 0
            since = 0
        else:
            looks += 1
            pause()
            if looks > SPINS:
                sched_yield()
                if atomic_load(offset(team, OPEN)) != 0:
                    since = 0
                else:
                    clock_gettime(MONOTONIC, now)
                    nanoseconds = 1000000000*now[0] + now[1]
                    if since == 0:
                        since = nanoseconds
                    if nanoseconds - since > LINGER:
                        if compare_exchange(member, PRESENT, AWAY) == PRESENT:
                            return
"""

OPENED = """
def opened(block):
    team = pointer_i64(block[0])
    atomic_add(offset(team, OPEN), 1)
    call_address(block[1], pointer_i64(block[2]))
    atomic_add(offset(team, OPEN), -1)
"""


FUNCTIONS = ("fork", "barrier")  # of which a block has the addresses, in this order
FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)  # the interpreter is free while it runs


@cache
def build(name: str) -> native.Native:
    """One of the functions above."""
    text = {"fork": FORK, "barrier": BARRIER, "work": WORK, "opened": OPENED}[name]
    namespace: dict[str, native.Value] = {
        **TEAM, **MEMBER, **STATES, **RECORD, "LINE": LINE, "LINGER": LINGER, "SPINS": SPINS, "TRIALS": TRIALS,
        "PROBE": PROBE, "RARELY": RARELY, "PATIENCE": PATIENCE, "UNIT": UNIT, "CLOCK": len(RECORD),
        "MONOTONIC": time.CLOCK_MONOTONIC,
        "clock_gettime": native.Extern("clock_gettime", "i32(i32,i64*)"),
        "sched_yield": native.Extern("sched_yield", "i32()"),
    }  # fmt: skip
    used = set(re.findall(r"\w+", text))
    names = {key: value for key, value in namespace.items() if key in used}
    return native.build_source(text, name, names, passes="scalar")


def record(threads: int) -> list[int]:
    """What `fork` keeps in the table of a kernel, at first.  One thread has no team, so none is built."""
    first = {"ADDRESS": team().address if threads > 1 else 0, "LIMIT": threads, "NEXT": TRIALS + PROBE, "GAP": PROBE}
    return [*(first.get(name, 0) for name in RECORD), 0, 0]  # the last two: a clock's


class Team:
    """The threads of a process, and the block of memory by which they find one another."""

    def __init__(self) -> None:
        block = np.zeros(TEAM["FIRST"] + LINE * (MEMBERS + 1), np.int64)
        self.block = block[-(block.ctypes.data // 8) % LINE :]
        self.reset()

    def reset(self) -> None:
        """Nobody is hired."""
        self.block[len(FUNCTIONS) :] = 0
        self._lock = threading.Lock()
        self._members: list[threading.Thread] = []
        self._doors: list[threading.Lock] = []  # a member sleeps at its door
        self._closed = False

    @property
    def address(self) -> int:
        """Of the block, once it has what kernels call."""
        self.block[: len(FUNCTIONS)] = [build(name).address for name in FUNCTIONS]
        return int(self.block.ctypes.data)

    def call(self, function: int, argument: int, threads: int = 1) -> None:
        """Call the native function void(int64*) at this address; so many threads at most may take part in it."""
        if threads < 2:
            return FUNCTION(function)(argument)
        self._hire(threads - 1)
        for door in self._doors[: threads - 1]:
            if door.locked():
                try:
                    door.release()
                except RuntimeError:  # another caller was faster
                    pass
        block = (ctypes.c_int64 * 3)(self.address, function, argument)  # alive until the call has returned
        _opened()(ctypes.addressof(block))

    def _hire(self, count: int) -> None:
        if len(self._members) >= count:
            return
        build("work")
        with self._lock:
            while len(self._members) < min(count, MEMBERS) and not self._closed:
                number = len(self._members)
                place = TEAM["FIRST"] + LINE * number
                self.block[place + MEMBER["BLOCK"]] = self.address
                door = threading.Lock()
                door.acquire()
                thread = threading.Thread(
                    target=self._attend, args=(door, self.address + 8 * place), name=f"symnet-{number + 1}", daemon=True
                )
                self._doors.append(door)
                self._members.append(thread)
                self.block[TEAM["HIRED"]] = number + 1
                thread.start()

    def _attend(self, door: threading.Lock, place: int) -> None:
        work = native.callable_from(build("work"), "void(i64*)")
        while True:
            door.acquire()
            if self._closed:
                return
            work(place)

    def close(self) -> None:
        """At the end of the process: no member is in native code when that goes."""
        with self._lock:
            self._closed = True
        for door, member in zip(self._doors, self._members, strict=True):
            if door.locked():
                door.release()
            member.join(1.0)


@cache
def _opened() -> Callable[[int], None]:
    return native.callable_from(build("opened"), "void(i64*)")


@cache
def team() -> Team:
    """The one of this process."""
    made = Team()
    atexit.register(made.close)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=made.reset)  # the threads stay with the parent
    return made


def processors() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
