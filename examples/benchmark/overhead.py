"""What the loop of training takes beside its kernels:  python examples/benchmark/overhead.py

Tiny networks, whose step takes less than a microsecond: nanoseconds a step of `model.prepare(X, y).run(steps)`, and of
a native loop that does nothing but call the same kernel on the same batch; the time of the processor, the medians of
--rounds, in which both run by turns.  `shuffled` is in batches whose rows are drawn and copied.  Exit status 1 if a
difference is above 100 ns.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np
from run import machine

import symnet as sn
from compiler import native
from symnet.run.loop import Loop

ALLOWED = 100.0  # nanoseconds
# layers, rows, rows of a batch, shuffled
NETWORKS: dict[str, tuple[list[int], int, int, bool]] = {
    "1-1, batches of 1": ([1, 1], 8, 1, False),
    "2-2-1, one batch of 4": ([2, 2, 1], 4, 4, False),
    "2-2-1, batches of 4": ([2, 2, 1], 64, 4, False),
    "2-2-1, batches of 4, shuffled": ([2, 2, 1], 64, 4, True),
    "4-4-2, batches of 8": ([4, 4, 2], 256, 8, False),
    "4-4-2, batches of 8, shuffled": ([4, 4, 2], 256, 8, True),
}
BARE = """
def bare(c):
    kernel = c[0]
    table = pointer_i64(c[1])
    for step in range(c[2]):
        call_address(kernel, table)
"""


def loops(widths: list[int], rows: int, batch: int, shuffled: bool) -> tuple[Loop, Callable[[int], object]]:
    """The loop of a network, and its kernel alone."""
    rng = np.random.default_rng(0)
    layers = [sn.dense(units, "relu") for units in widths[1:-1]] + [sn.dense(widths[-1])]
    model = sn.Network(widths[0], layers, "squared_error").compile("adam", "float64")
    loop = model.prepare(rng.normal(size=(rows, widths[0])), rng.normal(size=(rows, widths[-1])), batch, shuffled)
    loop.run(1)
    built = native.build_source(BARE, "bare", subnormals=False, passes="scalar")
    call, block = native.callable_from(built, "void(i64*)"), loop._call

    def bare(steps: int) -> None:
        control = np.array([block.kernel.address, block.table.ctypes.data, steps], np.int64)
        call(control.ctypes.data)

    return loop, bare


def nanoseconds(run: Callable[[int], object], steps: int) -> float:
    start = time.process_time()
    run(steps)
    return 1e9 * (time.process_time() - start) / steps


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=200_000, help="in a round")
    options = parser.parse_args()
    options.peers, options.python, options.threads = [], {}, 1
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print(f"{machine(options)}\n\n| ns a step | loop | kernel alone | difference |\n|---|--:|--:|--:|")
    worst = 0.0
    for name, (widths, *data) in NETWORKS.items():
        loop, bare = loops(widths, *data)
        found = [
            (nanoseconds(loop.run, options.steps), nanoseconds(bare, options.steps)) for _ in range(options.rounds)
        ]
        ours, alone = (median(times) for times in zip(*found))
        difference = median(one - other for one, other in found)
        worst = max(worst, difference)
        print(f"| {name} | {ours:.0f} | {alone:.0f} | {difference:.0f} |", flush=True)
    return int(worst > ALLOWED)


if __name__ == "__main__":
    sys.exit(main())
