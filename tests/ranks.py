"""What a step costs with several ranks: measured on this machine, modelled beyond it.

    python -m tests.ranks                        one process, its step as usual and divided; and the model
    mpirun -n 2 python -m tests.ranks            two ranks, and so on
    python -m tests.ranks memory                 what each rank reads of a file and has in memory (on Linux)

Measured are networks of two square hidden layers: the step of one process, the same divided into 4 pieces, and into as
many as there are ranks; the sum alone, and MPI_Allreduce of the same array beside it.  Modelled is the step on R
machines with a processor each, like this one:

    t(R) = c B/R + u G + (P/R - 1) g G + messages(R) alpha + bytes(R)/beta        and t(1) = c B + u G

c: seconds of forward and backward for a row; B: rows of a batch; G: parameters; u, g: seconds to update a parameter,
and to add its sum of a piece; alpha: the latency of a message; beta: bytes a second, both ways at once; bytes: what a
rank sends.  Waiting for slower ranks, and what small pieces cost above c B/R, are not counted: a bound from below.
"""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import symnet as sn
from symnet.run.ranks import LONG
from symnet.run.together import Together

WIDTHS = (32, 128, 512, 1024)  # of the hidden layers: 4 k to 3 million parameters
BATCH = 256
ROUNDS, SECONDS = 5, 0.06  # medians of so many rounds of so long
NETWORKS = {
    "1 Gb/s Ethernet": (50e-6, 0.117e9),
    "10 Gb/s Ethernet": (25e-6, 1.17e9),
    "100 Gb/s InfiniBand": (2e-6, 12e9),
}


def network(width: int) -> sn.Network:
    layers = [sn.dense(width, "relu"), sn.dense(width, "relu"), sn.dense(10)]
    return sn.Network(width, layers, "softmax_cross_entropy")


def loop(width: int, ranks: sn.Ranks | None) -> Any:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(4 * BATCH, width)).astype(np.float32), rng.integers(0, 10, 4 * BATCH)
    made = network(width).compile("adam", "float32", threads=1).prepare(X, y, BATCH, ranks=ranks)
    made.run(3)
    return made


def parameters(width: int) -> int:
    return sum(math.prod(shape) for shape in network(width).parameters.values())


def timed(runs: dict[str, Callable[[], object]], ranks: sn.Ranks) -> dict[str, float]:
    """Seconds of each, the median of rounds in which they take turns; the same number of calls on all ranks."""
    counts = {}
    for name, run in runs.items():
        start = time.perf_counter()
        run()
        took = time.perf_counter() - start
        counts[name] = ranks.first(lambda took=took: max(1, int(SECONDS / took)))
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            ranks.any(False)  # all begin together
            start = time.perf_counter()
            for _ in range(counts[name]):
                run()
            found[name].append((time.perf_counter() - start) / counts[name])
    return {name: float(np.median(times)) for name, times in found.items()}


def measured(width: int, ranks: sn.Ranks) -> dict[str, float]:
    divided = loop(width, ranks)
    assert isinstance(divided, Together)
    flat = np.zeros(divided.step.sums.size, np.float32)
    steps = 10 if width < 512 else 2
    runs: dict[str, Callable[[], object]] = {"divided": lambda: divided.run(steps)}
    if ranks.size == 1:
        alone = loop(width, None)
        runs["usual"] = lambda: alone.run(steps)
    else:
        fewest = loop(width, sn.Ranks(ranks.size))
        runs["fewest pieces"] = lambda: fewest.run(steps)
        from mpi4py import MPI

        runs["sum"] = lambda: [ranks.sum(flat) for _ in range(steps)]
        runs["allreduce"] = lambda: [ranks.comm.Allreduce(MPI.IN_PLACE, flat) for _ in range(steps)]
    return {name: seconds / steps for name, seconds in timed(runs, ranks).items()}


def costs(width: int) -> tuple[float, float, float]:
    """Seconds of forward and backward for a row, of the update for a parameter, of adding a sum for a parameter."""
    alone = sn.Ranks(pieces=1)
    step = loop(width, alone).step
    room = np.zeros_like(step.sums)
    calls: dict[str, Callable[[], object]] = {
        "sums": lambda: step._run_sums(step.table.ctypes.data),
        "update": lambda: step._run_update(step.update.table.ctypes.data),
        "add": lambda: np.add(room, room, out=room),
    }
    times, each = timed(calls, alone), parameters(width)
    return times["sums"] / BATCH, times["update"] / each, times["add"] / each


def sent(ranks: int, elements: float) -> tuple[int, float]:
    """Messages and elements that a rank sends, as `Ranks.sum` does."""
    messages, total, distance = 0, 0.0, 1
    while distance < ranks:
        halved = 2 * distance < ranks and elements > LONG
        elements /= 1 + halved
        messages, total, distance = messages + 1 + halved, total + (1 + halved) * elements, 2 * distance
    return messages, total


def modelled(width: int) -> list[str]:
    row, update, add = costs(width)
    count, lines = parameters(width), []
    for name, (latency, bandwidth) in NETWORKS.items():
        cells = []
        for ranks in (1, 2, 4, 8, 16, 32, 64):
            pieces = max(4, ranks) // ranks if ranks > 1 else 1
            work = row * BATCH / ranks + update * count + (pieces - 1) * add * count
            messages, elements = sent(ranks, count)
            cells.append(work + messages * latency + 4 * elements / bandwidth)
        best = int(np.argmin(cells))
        told = " | ".join(f"{1e3 * cell:.3g}" for cell in cells)
        lines.append(f"| {width} | {count:,} | {name} | {told} | {2**best if best else 'never'} |")
    return lines


ROWS = 400_000
SPEC = """
[network]
input = 64
loss = "softmax_cross_entropy"

[[layer]]
kind = "dense"
units = 2

[train]
data = "data.ENDING"
epochs = 1
batch_size = 1024
"""
RANK = """
import os, sys
from symnet.cli import main
def number(file, name): return int(open(f"/proc/self/{file}").read().partition(name)[2].split()[0])
before = number("status", "VmHWM:"), number("io", "rchar:")
sys.stdout = open(os.devnull, "w")
assert main(sys.argv[1:]) == 0
after = number("status", "VmHWM:"), number("io", "rchar:")
os.write(2, f"{after[0] / 1e3:.0f} {(after[1] - before[1]) / 1e6:.0f} {before[0] / 1e3:.0f}\\n".encode())
"""


def memory() -> None:
    """Of `symnet train` on 64 float32 and a label a row, for 1, 2 and 4 ranks: megabytes of each, the most first."""
    mpirun = str(Path(sys.executable).parent / "mpirun")
    rng, said = np.random.default_rng(0), []
    with tempfile.TemporaryDirectory() as made:
        X, y = rng.random((ROWS, 64), np.float32), rng.integers(0, 2, ROWS)
        np.savez(Path(made, "data.npz"), X=X, y=y)
        np.savez_compressed(Path(made, "packed.npz"), X=X, y=y)
        np.save(Path(made, "data.npy"), np.column_stack([X, y.astype(np.float32)]))
        print("| file | ranks | most in memory | read |\n|---|--:|--:|--:|")
        for file in ("data.npy", "data.npz", "packed.npz"):
            spec = Path(made, "net.toml")
            spec.write_text(SPEC.replace("data.ENDING", file))
            for count in (1, 2, 4):
                command = [mpirun, "-n", str(count), sys.executable, "-c", RANK, "train", str(spec), "--pieces", "4"]
                said = subprocess.run(command, capture_output=True, text=True, check=True).stderr.split()
                held, read = (" ".join(sorted(said[k::3], key=int, reverse=True)) for k in (0, 1))
                print(f"| {file} | {count} | {held} | {read} |", flush=True)
        print(f"\nbefore the training: {said[2]} MB in memory; {X.nbytes / 1e6:.0f} MB of inputs")


def main() -> None:
    if sys.argv[1:] == ["memory"]:
        return memory()
    ranks = sn.Ranks()
    first = ranks.rank == 0
    names = ("divided", "usual") if ranks.size == 1 else ("divided", "fewest pieces", "sum", "allreduce")
    if first:
        print(f"measured, {ranks.size} ranks of one thread, batch {BATCH}, float32, adam; microseconds a step\n")
        print(f"| width | parameters | {' | '.join(names)} |\n|--:|--:|{'--:|' * len(names)}")
    for width in WIDTHS:
        found = measured(width, ranks)
        if first:
            told = " | ".join(f"{1e6 * found[name]:,.0f}" for name in names)
            print(f"| {width} | {parameters(width):,} | {told} |", flush=True)
    if ranks.size == 1:
        print("\nmodelled, milliseconds a step on R machines with a processor each\n")
        counts = " | ".join(f"R = {2**k}" for k in range(7))
        print(f"| width | parameters | network | {counts} | best R |\n|--:|--:|---|{'--:|' * 8}")
        for width in WIDTHS:
            print("\n".join(modelled(width)), flush=True)


if __name__ == "__main__":
    main()
