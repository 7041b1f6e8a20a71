"""Training killed by SIGKILL at random moments, and resumed until it ends: the bits are those of an undisturbed run.

    python -m tests.kill --times 200        --seed N   other moments

Each start of the child goes on from the checkpoint that the last one left, whatever moment it died at: while Python
starts, while kernels are loaded, within a step, while a checkpoint is written.  When one comes to the end, its bits are
compared, and a new training begins.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import symnet as sn
from symnet import Checkpoint
from tests.resuming import CASES

ROOT = Path(__file__).resolve().parent.parent
EPOCHS = 60_000
SECONDS = 0.02  # between checkpoints
EARLY = 0.2  # share of the kills before training begins


def child(path: str, epochs: int) -> None:
    """Train to the end, from what an earlier child left, and print what came out."""
    fit = {"validation_split": 0.3, "restore_best": True, "epochs": epochs}
    case = dataclasses.replace(CASES["everything"], fit=fit)
    print("begins", flush=True)
    print(
        "bits",
        hashlib.sha256(repr(case.trained(checkpoint=Checkpoint(path, SECONDS), resume=path)).encode()).hexdigest(),
    )


def _start(path: Path, epochs: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.kill", "--child", str(path), "--epochs", str(epochs)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def killed(times: int, seed: int, folder: Path, epochs: int = EPOCHS) -> Counter[str]:
    """Kill so often; an assertion fails where a checkpoint cannot be read or where other bits come out."""
    draw, told = random.Random(seed), Counter[str]()
    began, process = time.perf_counter(), _start(folder / "undisturbed", epochs)
    assert process.stdout and process.stdout.readline() == "begins\n"
    started = time.perf_counter()
    expected, _ = process.communicate()
    before, within = started - began, time.perf_counter() - started
    assert expected.startswith("bits "), expected
    path = folder / "run"
    while told["killed"] < times:
        process = _start(path, epochs)
        early = draw.random() < EARLY
        if not early and process.stdout:
            process.stdout.readline()
        try:
            found, _ = process.communicate(timeout=draw.uniform(0, before if early else within))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            told["killed"] += 1
            if path.exists():
                step = sn.load(path).progress.step  # a whole file, always
                told["with a checkpoint"] += 1
                told["in mid-epoch"] += step % 3 != 0
            told["with a part of a file"] += any(folder.glob(".run.*.tmp"))
        else:
            found = found.removeprefix("begins\n")
            assert found == expected, f"after {told['killed']} kills (seed {seed}): {found!r}, expected {expected!r}"
            told["finished"] += 1
            path.unlink()
    found, _ = _start(path, epochs).communicate()
    found = found.removeprefix("begins\n")
    assert found == expected, f"at the end (seed {seed}): {found!r}, expected {expected!r}"
    told["finished"] += 1
    return told


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.kill")
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.epochs)
        return
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        told = killed(options.times, options.seed, Path(folder), options.epochs)
    print(", ".join(f"{what}: {count}" for what, count in told.items()))
    seconds = time.perf_counter() - began
    print(f"{told['finished']} trainings ended, each with the bits of an undisturbed one; {seconds:.0f} s")


if __name__ == "__main__":
    main()
