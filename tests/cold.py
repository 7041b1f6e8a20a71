"""Processes that start at once on one empty cache: none fails, none warns, and all get the same bits.

python -m tests.cold --processes 16 --rounds 20
python -m tests.cold --damages      what may befall the cache between two processes
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import symnet as sn

ROOT = Path(__file__).resolve().parent.parent


def bits() -> str:
    """What a small network has learned, as text."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(24, 3)), rng.integers(0, 2, 24)
    layers = [sn.dense(5, "tanh", name="h"), sn.dense(2, name="o")]
    model = sn.Network(3, layers, "softmax_cross_entropy").compile("adam", seed=1)
    model.fit(X, y, epochs=3, batch_size=10)
    learned = b"".join(value.tobytes() for value in model.parameters.values())
    return hashlib.sha256(learned + model.predict_proba(X).tobytes()).hexdigest()


# ---------------------------------------------------------------------------------------------- damages
def _rewritten(change: Callable[[bytes, random.Random], bytes]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        draw = random.Random(1)
        for path in sorted(folder.glob("*.bin")):
            path.write_bytes(change(path.read_bytes(), draw))

    return damage


def _flipped(data: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)]) + data[place + 1 :]


def _swapped(folder: Path) -> None:
    paths = sorted(folder.glob("*.bin"))
    contents = [path.read_bytes() for path in paths]
    for path, content in zip(paths, contents[1:] + contents[:1], strict=True):
        path.write_bytes(content)


def _all(folder: Path) -> None:
    """One of the others befalls each entry."""
    kinds = [damage for name, damage in DAMAGES.items() if name not in ("folders", "swapped", "each its own")]
    for number, path in enumerate(sorted(folder.glob("*.bin"))):
        alone = folder / f"alone{number}"
        alone.mkdir()
        path.rename(alone / path.name)
        kinds[number % len(kinds)](alone)
        (alone / path.name).rename(path)
        alone.rmdir()


def _folders(folder: Path) -> None:
    for path in sorted(folder.glob("*.bin")):
        path.unlink()
        path.mkdir()


DAMAGES: dict[str, Callable[[Path], None]] = {
    "truncated": _rewritten(lambda data, draw: data[: draw.randrange(len(data))]),
    "empty": _rewritten(lambda data, draw: b""),
    "flipped": _rewritten(_flipped),
    "longer": _rewritten(lambda data, draw: data + b"more"),
    "swapped": _swapped,
    "foreign": _rewritten(lambda data, draw: b"\x80\x04}q\x00."),  # a pickle
    "writable by others": lambda folder: [path.chmod(0o666) for path in folder.glob("*.bin")] and None,
    "folders": _folders,
    "each its own": _all,
}


# ---------------------------------------------------------------------------------------------- processes
def _start(folder: Path, **options: Any) -> subprocess.Popen[str]:
    environment = os.environ | {"SYMNET_CACHE": str(folder), "PYTHONPATH": str(ROOT)} | options.pop("env", {})
    command = [sys.executable, "-W", "always", "-c", "from tests.cold import bits; print(bits())"]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, **options)


def start_at_once(processes: int, folder: Path, **options: Any) -> list[str]:
    """What each process printed; an assertion fails where one ended badly, or said anything on stderr."""
    started = [_start(folder, **options) for _ in range(processes)]
    found = []
    for process in started:
        out, err = process.communicate()
        assert process.returncode == 0 and not err, f"exit code {process.returncode}: {err}"
        found.append(out)
    return found


def _warned(what: str, expected: str, folder: Path, **options: Any) -> None:
    out, err = (process := _start(folder, **options)).communicate()
    assert (process.returncode, out) == (0, expected) and "CacheWarning" in err, f"{what}: {out}{err}"
    first = next(line for line in err.splitlines() if "CacheWarning" in line)
    print(f"{what}: the same bits; {first.partition('CacheWarning: ')[2].replace(str(folder), '...')}", flush=True)


def damaged() -> None:
    with tempfile.TemporaryDirectory() as base:
        whole = Path(base) / "whole"
        (expected,) = start_at_once(1, whole)
        for name, damage in DAMAGES.items():
            folder = Path(base) / name.replace(" ", "-") / "cache"
            shutil.copytree(whole, folder)
            damage(folder)
            _warned(name, expected, folder)
            if name != "folders":  # which files do not replace
                assert start_at_once(1, folder) == [expected]
        for size in (0, 1000, 10_000):
            limited = lambda size=size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
            _warned(f"files of at most {size} bytes", expected, Path(base) / f"{size}", preexec_fn=limited)
        (Path(base) / "file").write_text("")
        _warned("a file where the folder should be", expected, Path(base) / "file")
        _warned("a folder that cannot be made", expected, Path("/proc/cache"))
        _warned("a home that is none", expected, Path("~nobody-of-this-name/cache"))


def rounds(processes: int, count: int) -> None:
    began, seen = time.perf_counter(), set()
    for number in range(count):
        with tempfile.TemporaryDirectory() as folder:
            seen.update(start_at_once(processes, Path(folder) / "cache"))
        assert len(seen) == 1, f"round {number}: {len(seen)} different results"
        print(f"round {number + 1}: the same bits", flush=True)
    print(f"{processes * count} processes, no error, one result; {time.perf_counter() - began:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.cold")
    parser.add_argument("--processes", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--damages", action="store_true")
    options = parser.parse_args()
    if options.damages:
        damaged()
    else:
        rounds(options.processes, options.rounds)


if __name__ == "__main__":
    main()
