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
    choices: ModuleType
    run: ModuleType
    ablation: ModuleType
    overhead: ModuleType


@pytest.fixture
def benchmark(root: Path, monkeypatch: pytest.MonkeyPatch) -> Benchmark:
    """The modules, which are scripts beside each other, not a package."""
    monkeypatch.syspath_prepend(root / "examples" / "benchmark")
    for name in (*Benchmark._fields, "by_hand", "limit", "workers"):
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
        "--limit",
    ]
    command += ["--rounds", "1", "--seconds", "0.01"]
    variables = {**os.environ, "PYTHONPATH": str(root)}  # symnet may not be installed
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=variables)
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d cores.*1 thread.*symnet .*numpy \d", done.stdout.splitlines()[0])
    rows = {
        cells[0]: cells[1:] for cells in re.findall(r"^\| (\S+) \|(.*)\|(.*)\|(.*)\|(.*)\|(.*)\|$", done.stdout, re.M)
    }
    assert list(rows) == ["symnet", "NumPy", "limit"]
    assert float(rows["symnet"][1]) == 1 and float(rows["NumPy"][1]) > 1
    assert float(rows["limit"][1]) < 1
    assert 40 < float(rows["symnet"][3]) < 400, "megabytes"
    assert done.stdout.count("\n| xor | ") == 3  # two overviews and the summary


@pytest.mark.parametrize("name", ["xor", "digits", "steps-4"])
def test_numpy_by_hand_and_symnet_take_the_same_way(benchmark: Benchmark, name: str) -> None:
    workload = benchmark.workloads.ALL[name]
    ours, theirs = (benchmark.peers.PEERS[peer].start(workload, 1) for peer in ("symnet", "numpy"))
    losses = [(ours(steps), theirs(steps)) for steps in (1, 49, 1)]
    tolerance = 1e-12 if workload.dtype == "float64" else 1e-5
    assert np.allclose(*zip(*losses), rtol=tolerance, atol=0)
    assert losses[-1][0] < losses[0][0]


def test_the_limit_counts_each_function_of_a_step_once(benchmark: Benchmark) -> None:
    counted = {name: benchmark.workloads.ALL[name].functions for name in ("mnist", "swish", "lstm")}
    assert counted["mnist"] == {} and counted["swish"] == {"logistic": 512 * (1024 + 256)}
    assert counted["lstm"] == {"logistic": 32 * 32 * 3 * 64, "tanh": 32 * 32 * 2 * 64}


@pytest.mark.parametrize(("off", "wrong"), [(1e-10, 0), (1e-8, 1), (float("nan"), 1)])
def test_a_loss_that_differs_is_told(benchmark: Benchmark, off: float, wrong: int) -> None:
    workers = [
        benchmark.run.Worker(name, None, (0.5,), loss=loss, times=[1e-6])
        for name, loss in (("symnet", 2), ("numpy", 2 + 2 * off))
    ]
    text, found = benchmark.run.table(benchmark.workloads.WORKLOADS["xor"], workers, [])
    assert f"{off:.0e} off" in text and len(found) == wrong


def test_the_flops_of_a_step_are_those_of_its_products(benchmark: Benchmark) -> None:
    workloads = benchmark.workloads.WORKLOADS
    assert workloads["xor"].flops == 2 * 4 * (2 * 2 * 2 + 3 * 2 * 1)  # the input wants no gradient
    assert workloads["rnn"].flops == 2 * 32 * (2 * 32 * 16 * 64 + 3 * 31 * 64 * 64 + 3 * 64 * 10)


def test_every_layer_has_the_parameters_that_symnet_gives_it(benchmark: Benchmark) -> None:
    for name in ("gru", "lstm", "conv", "transformer"):
        workload = benchmark.workloads.WORKLOADS[name]
        model = benchmark.peers.symnet_model(workload)
        assert sum(p.size for p in model.parameters.values()) == workload.count


def test_every_choice_can_be_switched_off_and_is_as_before_behind_it(benchmark: Benchmark) -> None:
    for choice in benchmark.choices.CHOICES.values():
        places = [place.split(":") for place in choice.patches]
        before = [getattr(importlib.import_module(module), name) for module, name in places]
        with benchmark.choices.without(choice.name):
            inside = [getattr(importlib.import_module(module), name) for module, name in places]
            assert all(one is not other for one, other in zip(before, inside)), choice.name
        after = [getattr(importlib.import_module(module), name) for module, name in places]
        assert all(one is other for one, other in zip(before, after)), choice.name


def test_the_loop_takes_less_than_a_tenth_of_a_microsecond_beside_its_kernel(benchmark: Benchmark) -> None:
    overhead = benchmark.overhead
    loop, bare = overhead.loops([2, 2, 1], rows=8, batch=4, shuffled=False)
    found = [overhead.nanoseconds(loop.run, 20_000) - overhead.nanoseconds(bare, 20_000) for _ in range(5)]
    assert min(found) < overhead.ALLOWED


def test_an_ablation_tells_what_buys_nothing(benchmark: Benchmark) -> None:
    found = {"xor": {"fusing": 1.5, "share": "=", "packing": 1.01}, "digits": {"fusing": 1, "share": "=", "packing": 1}}
    choices = ["fusing", "share", "packing"]
    text = benchmark.ablation.table(found, {"xor": 1e-6, "digits": 2e-5}, choices, "µs", 1e6)
    assert "| 1 | 20 |" in text and "| 1.50 | 1.00 |" in text and "| = | = |" in text
    assert benchmark.ablation.idle(list(found.values()), choices, 1.02) == ["share", "packing"]
    found["digits"]["share"] = "needed"
    assert benchmark.ablation.idle(list(found.values()), choices, 1.02) == ["packing"]
    assert benchmark.ablation.idle([*found.values(), {"packing": 1.1}], choices, 1.02) == []
