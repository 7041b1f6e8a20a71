"""Many training loops in one native call: the control blocks of driver.py, divided over the threads of the team.

In: an array of images, each of which begins with a control block.  Out: the same, each loop run until it ended for a
reason of its own, or until the time was over.  A thread takes the next image by a counter that all share; loops are
independent, so their results do not depend on the number of threads.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

from .. import native
from ..team import record, team
from .driver import POSITIONS, REASON_NUMBERS, loop_address
from .driver_lanes import lanes_address

Array = np.ndarray[Any, np.dtype[Any]]
PLACES = {name: place for place, name in enumerate(("DRIVE", "FIRST", "STRIDE", "COUNT", "END", "TEAM"))}
SLICE = 100_000_000  # nanoseconds

SOURCE = """
def part(table, thread, threads):
    looking = 1
    while looking:
        number = atomic_add(offset(table, NEXT), 1)
        looking = 1 if number < table[COUNT] else 0
        if looking:
            control = pointer_i64(table[FIRST] + number*table[STRIDE])
            if control[REASON] == SLICE_OVER:
                now = offset(control, NOW)
                clock_gettime(MONOTONIC, now)
                left = table[END] - 1000000000*now[0] - now[1]
                if left <= 0:
                    return
                control[SLICE] = left
                call_address(table[DRIVE], control)

def many(table):
    fork(table, part, TEAM, 1)
"""


@cache
def _many() -> int:
    names: dict[str, native.Value] = {
        **PLACES, "NEXT": _next(), **POSITIONS, **REASON_NUMBERS, "MONOTONIC": time.CLOCK_MONOTONIC,
        "clock_gettime": native.Extern("clock_gettime", "i32(i32,i64*)"),
    }  # fmt: skip
    used = set(re.findall(r"\w+", SOURCE))
    namespace = {name: value for name, value in names.items() if name in used}
    return native.build_source(SOURCE, "many", namespace, passes="scalar").address


def _next() -> int:
    """The place of the counter, behind what `fork` keeps."""
    return PLACES["TEAM"] + len(record(1))


def run(images: Array, threads: int, lanes: int = 0) -> Iterator[int]:
    """Run the loops in the rows of `images` (int64, a control block first) to their ends; gives before each slice of
    time how many go on.  Python is entered between slices, so that Ctrl-C arrives.

    lanes: each of them is the loop of so many copies (driver_lanes.py)."""
    reasons, drive = images[:, POSITIONS["REASON"]], lanes_address(lanes) if lanes else loop_address()
    fixed = [drive, images.ctypes.data, images.strides[0], len(images), 0, *record(threads), 0]
    while left := int(np.count_nonzero(reasons == REASON_NUMBERS["SLICE_OVER"])):
        yield left
        fixed[PLACES["END"]] = time.clock_gettime_ns(time.CLOCK_MONOTONIC) + SLICE
        table = np.array(fixed, np.int64)  # the record is a new one, so that all may take part
        team().call(_many(), table.ctypes.data, threads)
