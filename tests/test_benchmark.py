"""The benchmark of examples/benchmark/ runs, and what it claims to compare is the same."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pytest


class Benchmark(NamedTuple):
    workloads: ModuleType
    peers: ModuleType
    run: ModuleType


@pytest.fixture
def benchmark(root: Path, monkeypatch: pytest.MonkeyPatch) -> Benchmark:
    """The modules, which are scripts beside each other, not a package."""
    monkeypatch.syspath_prepend(root / "examples" / "benchmark")
    for name in (*Benchmark._fields, "by_hand"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return Benchmark(*map(importlib.import_module, Benchmark._fields))


def test_one_round_against_numpy_prints_a_table_with_the_machine(root: Path) -> None:
    command = [
        sys.executable,
        str(root / "examples" / "benchmark" / "run.py"),
        "--workloads",
        "xor",
        "--peers",
        "numpy",
    ]
    command += ["--rounds", "1", "--seconds", "0.01"]
    variables = {**os.environ, "PYTHONPATH": str(root)}  # symnet may not be installed
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=variables)
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d cores.*1 thread.*symnet .*numpy \d", done.stdout.splitlines()[0])
    rows = {cells[0]: cells[1:] for cells in re.findall(r"^\| (\S+) \|(.*)\|(.*)\|(.*)\|(.*)\|$", done.stdout, re.M)}
    assert list(rows) == ["symnet", "NumPy"]
    assert float(rows["symnet"][1]) == 1 and float(rows["NumPy"][1]) > 1
    assert done.stdout.count("\n| xor | ") == 2  # both overviews


@pytest.mark.parametrize("name", ["xor", "digits"])
def test_numpy_by_hand_and_symnet_take_the_same_way(benchmark: Benchmark, name: str) -> None:
    workload = benchmark.workloads.WORKLOADS[name]
    ours, theirs = (benchmark.peers.PEERS[peer].start(workload, 1) for peer in ("symnet", "numpy"))
    losses = [(ours(steps), theirs(steps)) for steps in (1, 49, 1)]
    tolerance = 1e-12 if workload.dtype == "float64" else 1e-5
    assert np.allclose(*zip(*losses), rtol=tolerance, atol=0)
    assert losses[-1][0] < losses[0][0]


@pytest.mark.parametrize(("off", "wrong"), [(1e-10, 0), (1e-8, 1), (float("nan"), 1)])
def test_a_loss_that_differs_is_told(benchmark: Benchmark, off: float, wrong: int) -> None:
    workers = [
        benchmark.run.Worker(name, None, (0.5,), loss=loss, times=[1e-6])
        for name, loss in (("symnet", 2), ("numpy", 2 + 2 * off))
    ]
    text, found = benchmark.run.table(benchmark.workloads.WORKLOADS["xor"], workers, [])
    assert f"{off:.0e} off" in text and len(found) == wrong
