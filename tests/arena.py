"""The arena beside what must live at once, for every kind of network:  python -m tests.arena --drawn 40

Of a training step of each network: the elements of its arena by the largest sum of sizes that are alive at once.  Exit
status 1 if one is above 1.2.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

import symnet as sn
from compiler.executable import generate, plan_storage
from symnet.declare.spec import checked_optimizer

from . import determinism, guarded, networks

ALLOWED = 1.2


def ratio(network: sn.Network, rows: int, optimizer: str = "adam", dtype: str = "float32") -> float:
    program = network.training_program(checked_optimizer(optimizer, "optimizer"))
    arena = generate(program, dtype, plan_storage(program, dtype), {"N": rows})[3]["arena"]
    assert arena["lower_bound"] <= arena["elements"]
    return arena["elements"] / max(1, arena["lower_bound"])


def found(drawn: int) -> Iterator[tuple[str, sn.Network]]:
    yield from guarded.networks().items()
    yield from ((name, case.network()) for name, case in determinism.KINDS.items())
    yield from ((f"drawn {seed}", networks.drawn(seed).network) for seed in range(drawn))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--drawn", type=int, default=40, help="random networks")
    parser.add_argument("--rows", type=int, nargs="+", default=[32])
    options = parser.parse_args()
    ratios = {}
    for name, network in found(options.drawn):
        for rows in options.rows:
            ratios[f"{name}, {rows} rows"] = ratio(network, rows)
            print(f"{name}, {rows} rows: {ratios[f'{name}, {rows} rows']:.3f}", flush=True)
    worst = max(ratios, key=ratios.__getitem__)
    above = sum(value > 1.1 for value in ratios.values())
    print(f"{len(ratios)} arenas; {above} above 1.1; the worst {ratios[worst]:.3f}: {worst}")
    return int(ratios[worst] > ALLOWED)


if __name__ == "__main__":
    sys.exit(main())
