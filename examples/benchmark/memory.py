"""How much memory training takes:  python examples/benchmark/memory.py

    --workloads digits mnist        the peak of a process that trains, beside what it may be at most:
                                    data + 6 x parameters + activations of a batch + 250 MB
    --mapped 3                      training on a memory-mapped file of so many GB, which is sparse: zeros that take no
                                    place on the disk; 0 leaves it out
    --within 0.75                   in a process that may have so many GB for itself: more ends it

The output is Markdown.  Of a mapped file the operating system counts what was read as memory of the process, and takes
it back when it needs it; what the process has for itself must not depend on the size of the file.  The limit is the
system's on what the process may write to (RLIMIT_DATA), reserved or used; a file that is read alone does not count.
Exit status 1 if a peak is too high, or training on the file fails or takes more than 250 MB of its own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from peers import OURS
from run import machine
from workers import started
from workloads import ALL, WORKLOADS, Workload, data

BASE = 250e6  # bytes: Python, NumPy, SymPy, LLVM
COLUMNS = 1024  # of the mapped file


def allowed(w: Workload) -> float:
    """Bytes."""
    item = np.dtype(w.dtype).itemsize
    activations = w.batch * w.values * item * 2  # and as many derivatives
    return sum(array.nbytes for array in data(w)) + 6 * w.count * item + activations + BASE


def peaks(options: argparse.Namespace) -> bool:
    """Print a row for each workload; whether all are as they may be."""
    print("\n| | peak, MB | allowed, MB |\n|---|--:|--:|")
    good = True
    for name in options.workloads:
        with ExitStack() as stack, tempfile.TemporaryDirectory() as caches:
            worker = started(OURS, ALL[name], options, caches, stack)
            worker.begun(900)
        most = allowed(ALL[name])
        good = good and worker.peak <= most
        print(f"| {name} | {worker.peak / 1e6:.0f} | {most / 1e6:.0f} |", flush=True)
    return good


# ------------------------------------------------------------------------------------------ a mapped file
def train_on_file(path: str, gigabytes: float) -> None:
    """In a process of its own: an epoch; prints MB of its own before and after, MB of the file in memory, seconds."""
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (int(gigabytes * 1e9),) * 2)
    import symnet as sn

    layers = [sn.dense(16, activation="tanh", name="hidden"), sn.dense(2, name="out")]
    net = sn.Network(input=COLUMNS, layers=layers, loss="softmax_cross_entropy")
    model = net.compile(optimizer="adam", dtype="float32")
    few = np.zeros((256, COLUMNS), np.float32)
    model.fit(few, np.arange(256) % 2, epochs=1, batch_size=256)
    before = resident("RssAnon")
    X = np.load(path, mmap_mode="r")
    start = time.perf_counter()
    model.fit(X, np.arange(len(X)) % 2, epochs=1, batch_size=256, shuffle=True)
    print(before, resident("RssAnon"), resident("RssFile"), time.perf_counter() - start)


def resident(kind: str) -> int:
    """MB of this process: RssAnon (its own), RssFile (of mapped files).  Linux alone tells."""
    return int(Path("/proc/self/status").read_text().split(f"{kind}:")[1].split()[0]) * 1024 // 10**6


def mapped(gigabytes: float, within: float) -> bool:
    rows = int(gigabytes * 1e9) // (4 * COLUMNS)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "X.npy"
        array = np.lib.format.open_memmap(path, "w+", np.float32, (rows, COLUMNS))
        array.flush()
        del array
        command = [sys.executable, __file__, "--train", str(path), "--within", str(within)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            print(done.stderr, file=sys.stderr)
            return False
        before, after, of_file, seconds = done.stdout.split()
        print(
            f"\nAn epoch on a mapped file of {path.stat().st_size / 1e9:.1f} GB ({rows} rows), in a process that may "
            f"have {within:g} GB: {float(seconds):.1f} s; memory of its own {before} MB before, {after} MB after; of "
            f"the file {of_file} MB."
        )
    return int(after) - int(before) < BASE / 1e6


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--workloads", nargs="*", choices=ALL, default=list(WORKLOADS), metavar="NAME")
    parser.add_argument("--mapped", type=float, default=3.0, metavar="GB")
    parser.add_argument("--within", type=float, default=0.75, metavar="GB")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--train", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.peers, options.python = [], {}
    return options


def main() -> int:
    options = parsed()
    if options.train:
        train_on_file(options.train, options.within)
        return 0
    print(machine(options), flush=True)
    good = peaks(options) if options.workloads else True
    if options.mapped and Path("/proc/self/status").is_file():
        good = mapped(options.mapped, options.within) and good
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
