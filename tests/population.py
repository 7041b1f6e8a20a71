"""10,000 XOR networks x 1,000 steps in one call, beside the step of one network: `python -m tests.population`.

2-2-1, ReLU, squared error, Adam, batches of 4, float64; by turns, medians.  The limit is the time of a step of one
network x 10^7 / processors; a call is timed whole, first values and table included.
"""

from __future__ import annotations

import statistics
import time

import numpy as np

import symnet as sn
from compiler import team

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1.0]])
Y = np.array([0, 1, 1, 0.0])
COPIES, STEPS, TURNS = 10_000, 1_000, 9


def main() -> None:
    net = sn.Network(2, [sn.dense(2, "relu"), sn.dense(1)], "squared_error")
    loop = net.compile("adam", "float64").prepare(X, Y, batch_size=4)
    cores = team.processors()
    one: list[float] = []
    many: dict[int, list[float]] = {threads: [] for threads in (1, cores)}
    for turn in range(TURNS + 1):
        start = time.perf_counter()
        loop.run(1_000_000)
        one.append(1e-6 * (time.perf_counter() - start))
        for threads, seconds in many.items():
            start = time.perf_counter()
            sn.train_many(
                net, X, Y, COPIES, dtype="float64", epochs=STEPS if turn else 2, batch_size=4, threads=threads
            )
            seconds.append(time.perf_counter() - start)
    step = statistics.median(one[1:])
    print(f"a step of one network: {1e9 * step:.1f} ns")
    for threads, seconds in many.items():
        found, limit = statistics.median(seconds[1:]), step * COPIES * STEPS / threads
        print(f"{threads} threads: {found:.4f} s, {found / limit:.2f} of the limit of {limit:.4f} s")


if __name__ == "__main__":
    main()
