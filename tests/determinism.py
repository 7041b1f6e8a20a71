"""The same seed, the same bits: in other processes, with other hashes of strings, from a cold or a warm cache, or none.

    python -m tests.determinism

Each process trains every case twice and prints digests of the generated source and of all that training left.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import symnet as sn
from tests.resuming import CASES, IMAGES, LABELS, SERIES, VALUES, Case, X

ROOT = Path(__file__).resolve().parent.parent
EDGES = {"edges": [[0, 1], [1, 2], [2, 3], [3, 0], [1, 3]], "nodes": 4}
GRAPHS = np.random.default_rng(2).normal(size=(len(X), 4, 3))


def _of(*layers: Any, inputs: Any = 5, loss: Any = "softmax_cross_entropy", **more: Any) -> Callable[[], sn.Network]:
    given = {"input": inputs} if isinstance(inputs, int) else {"inputs": {"x": inputs}}
    return lambda: sn.Network(**given, layers=list(layers), loss=loss, **more)


def _series(*layers: Any) -> Case:
    return Case(_of(*layers, sn.dense(2, name="o"), inputs=[6, 3], loss="squared_error"), SERIES, VALUES)


def _graph(layer: Any) -> Case:
    return Case(_of(layer, sn.flatten(), sn.dense(3, name="o"), inputs=[4, 3], constants={"A": EDGES}), GRAPHS, LABELS)


_GATED = sn.equations(
    ["z[n,i] = (sum(W[i,j]*x[n,j], j) + b[i])*logistic(sum(V[i,j]*x[n,j], j))"],
    sizes={"i": 3},
    parameters={"W": ["i", "j"], "V": ["i", "j"], "b": ["i"]},
)
_BOTH = {"returns": "all", "direction": "both"}
KINDS: dict[str, Case] = {
    **{name: case for name, case in CASES.items() if not name.startswith("optimizer ")},
    "maxout": Case(_of(sn.maxout(4, pieces=3, name="m"), sn.dense(3, name="o")), X, LABELS),
    "norms": Case(_of(sn.dense(6), sn.layer_norm(), sn.rms_norm(), sn.dense(3, "gelu"), sn.dense(3)), X, LABELS),
    "equations": Case(_of(_GATED), X, LABELS),
    "float64": Case(_of(sn.dense(7, "softplus"), sn.dense(3)), X, LABELS, "nadam", "float64"),
    "elman both ways": _series(sn.elman(4, name="r", **_BOTH), sn.flatten()),
    "two lstms": _series(sn.lstm(4, returns="all"), sn.lstm(3)),
    "attention": _series(sn.attention(1, width=4, causal=True), sn.flatten()),
    "conv1d": _series(sn.conv1d(4, 3, "relu"), sn.max_pool1d(2), sn.flatten()),
    "conv2d": Case(
        _of(
            sn.conv2d(4, 3, "relu", stride=2), sn.average_pool2d("global"), sn.flatten(), sn.dense(3), inputs=[6, 6, 2]
        ),
        IMAGES,
        LABELS,
    ),
    "graph_conv": _graph(sn.graph_conv(4, graph="A", activation="relu")),
    "graph_attention": _graph(sn.graph_attention(4, graph="A")),
    "message_passing": _graph(sn.message_passing(4, graph="A", aggregate="max")),
}


def told() -> None:
    """Print a line a case."""
    for name, case in KINDS.items():
        model = case.model()
        model.prepare(case.X, case.y, 6)
        trained = [hashlib.sha256(repr(case.trained()).encode()).hexdigest()[:16] for _ in range(2)]
        print(f"{name}: source {hashlib.sha256(model.source.encode()).hexdigest()[:16]}, trained {', '.join(trained)}")


def _process(seed: int, cache: str) -> list[str]:
    environment = os.environ | {"PYTHONHASHSEED": str(seed), "SYMNET_CACHE": cache, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", "from tests.determinism import told; told()"]
    done = subprocess.run(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.splitlines()


def main() -> None:
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        first, second = f"{folder}/first", f"{folder}/second"
        ways = {"a cold cache": (0, first), "another cold cache": (1, second), "a warm cache": (2, first)}
        expected: list[str] = []
        for what, (seed, cache) in ways.items():
            found = _process(seed, cache)
            expected = expected or found
            once = [line for line in found if line.split()[-2] != f"{line.split()[-1]},"]
            assert len(found) == len(KINDS) and not once, once
            different = [line for line, other in zip(found, expected, strict=True) if line != other]
            assert not different, f"{what}: {different}"
            print(
                f"{what}, PYTHONHASHSEED={seed}: {len(found)} networks trained twice, the same source and bits",
                flush=True,
            )
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
