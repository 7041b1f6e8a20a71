"""Long use of one process: memory that training, and dropped models, leave behind.

python -m tests.soak                     both
python -m tests.soak --steps 1000000     one training of so many steps; resident memory as it goes
python -m tests.soak --rounds 200        compile, train, drop: the same network, then another one each round
"""

from __future__ import annotations

import argparse
import gc
import os
import tempfile
import time
from pathlib import Path

import numpy as np

import symnet as sn
from compiler import native
from symnet import Checkpoint

RNG = np.random.default_rng(0)
X, LABELS = RNG.normal(size=(8192, 16)), RNG.integers(0, 4, 8192)  # an epoch leaves 32 bytes: its history
PAGE = os.sysconf("SC_PAGE_SIZE")


def resident() -> float:
    """MB of this process in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 1e6


def network(units: int) -> sn.Network:
    layers = [sn.dense(units, "tanh", name="h"), sn.batch_norm(name="n"), sn.dropout(0.1), sn.dense(4, name="o")]
    return sn.Network(16, layers, "softmax_cross_entropy", l2=1e-4)


def steps(count: int) -> float:
    """One training; MB by which memory has grown since a tenth of it."""
    model, epoch = network(16).compile("adam"), len(X) // 32
    seen: list[tuple[int, float]] = []

    def look(done: sn.Epoch) -> None:
        if (done.epoch + 1) % max(1, count // epoch // 10) == 0:
            seen.append((model.progress.step, resident()))
            print(f"{seen[-1][0]:>9,} steps: {seen[-1][1]:.1f} MB", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        every = Checkpoint(Path(folder) / "run", seconds=1)
        began = time.perf_counter()
        model.fit(X, LABELS, -(-count // epoch), 32, validation_split=0.0, callbacks=look, checkpoint=every)
    grown = seen[-1][1] - seen[0][1]
    print(
        f"{model.progress.step:,} steps in {time.perf_counter() - began:.0f} s: {grown:+.2f} MB since the first tenth"
    )
    return grown


def rounds(count: int, new: bool) -> float:
    """So many models one after the other; MB kept for each, from a tenth of them on."""
    first, start, known = 0.0, count // 10, 0
    for number in range(count):
        model = network(8 + number if new else 8).compile("adam", seed=number)
        model.fit(X[:512], LABELS[:512], 1, 32, validation_split=0.1)
        model.predict(X)
        del model
        if number == start:
            first, known = resident(), native.loaded()
    each, kernels = (grown / (count - 1 - start) for grown in (resident() - first, native.loaded() - known))
    what = f"another network, of {kernels:.1f} kernels" if new else "the same network"
    print(f"{count} rounds of {what}: {1000 * each:+.1f} kB kept for each", flush=True)
    return each


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=0)
    options = parser.parse_args()
    if not options.steps and not options.rounds:
        options.steps, options.rounds = 1_000_000, 200
    if options.steps:
        assert steps(options.steps) < 1, "memory grows with the steps"
    if options.rounds:
        assert rounds(options.rounds, new=False) < 0.01, "memory is kept for cached kernels"
        assert rounds(options.rounds, new=True) < 1, "more than 1 MB is kept for each new network"


if __name__ == "__main__":
    main()
