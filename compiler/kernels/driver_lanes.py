"""The training loop for a network in every lane of a vector: the text of driver.py, translated with lanes.

In and out: a control block as driver.py has it, for LANES copies of a network that make their steps together: kernels
translated with lanes, and all memory of theirs by `[element][lane]`.  Copies differ in their values; in their number of
steps they do not, so there is neither early stopping here nor a choice of the best epoch.  A lane in which a guard was
not finite keeps its parameters and its sums from then on.
"""

from __future__ import annotations

from functools import cache

from ..translate import Lanes
from .driver import SOURCE, build

ORDER = """
                permuted = c[PERMUTED]
                if permuted < 0:
                    for row in range(LANES * rows):
                        permutation[row] = row // LANES
                    permuted = 0
                while permuted < position + size:
                    keys[1] = I64(uniform_f64(keys[0], c[EPOCH], permuted) * F64(rows - permuted))
                    for lane in range(LANES):
                        place = LANES * permuted + lane
                        other = place + LANES * drawn[LANES + lane]
                        row = permutation[other]
                        permutation[other] = permutation[place]
                        permutation[place] = row
                    permuted += 1
                c[PERMUTED] = permuted
                for array in range(array_count):
                    width = arrays[4 * array + 1]
                    table[arrays[4 * array + 3]] = arrays[4 * array + 2]
                    count = width // items[array]
                    if items[array] == 8:
                        cells = pointer_i64(arrays[4 * array])
                        gathered = pointer_i64(arrays[4 * array + 2])
                        for row in range(size):
                            for lane in range(LANES):
                                first = count * permutation[LANES * (position + row) + lane]
                                for k in range(count):
                                    gathered[LANES * (count * row + k) + lane] = cells[first + k]
                    else:
                        halves = pointer_i32(arrays[4 * array])
                        gathered_halves = pointer_i32(arrays[4 * array + 2])
                        for row in range(size):
                            for lane in range(LANES):
                                first = count * permutation[LANES * (position + row) + lane]
                                for k in range(count):
                                    gathered_halves[LANES * (count * row + k) + lane] = halves[first + k]
"""
HEAD = """
    keys = pointer_i64(c[KEYS])
    drawn = pointer_i64(c[KEYS])
    items = pointer_i64(c[ITEMS])
    failed = pointer_i64(c[FAILED])
"""
SUMS = """
            loss = F64(pointer_f32(c[STEP_LOSS])[0]) if single else pointer_f64(c[STEP_LOSS])[0]
            now_fails = (status[0] != 0) & (failed[0] == 0)
            numbers[LOST] = select(now_fails, loss, numbers[LOST])
            failed[0] = select(now_fails, c[STEP] + 1, failed[0])
            numbers[LOSS] = loss
            numbers[LOSS_SUM] = select(failed[0] == 0, numbers[LOSS_SUM] + loss * F64(size), numbers[LOSS_SUM])
"""
# The text of driver.py from the first words up to the second ones, and what stands in its place.
OTHERWISE = (
    ("    elapsed = 0", "    # The clock", f"{HEAD}    elapsed = 0\n"),
    ("                permuted = c[PERMUTED]", "            else:\n                for array", ORDER),
    ("            status[0] = 0", "            call_address(kernel", ""),
    ("            if status[0] != 0:", "            for part in range(parts)", SUMS),
    ("        if (checked or c[WATCHED]", "        c[EPOCH] += 1", ""),
    (
        "        numbers[LOSS_SUM] = 0.0",
        "        for part",
        "        numbers[LOSS_SUM] = select(failed[0] == 0, 0.0, numbers[LOSS_SUM])\n",
    ),
)
WHOLE = (
    "permutation", "arrays", "table", "number", "check_table", "check_arrays", "part_table", "check_part_table",
    "drawn", "items", "cells", "gathered", "halves", "gathered_halves",
)  # fmt: skip


def text() -> str:
    made = SOURCE
    for first, following, instead in OTHERWISE:
        start = made.index(first)
        made = made[:start] + instead.lstrip("\n") + made[made.index(following, start) :]
    return made


@cache
def lanes_address(lanes: int) -> int:
    """The address of the loop for so many lanes."""
    return build(text(), Lanes(lanes, frozenset(WHOLE)), {"LANES": lanes})
