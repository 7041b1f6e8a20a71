"""Random programs and networks by the thousand, judged by the 50-digit complex step of their own loss.

    python -m tests.fuzz --interpreted 10000 --compiled 300 --seed 0     a summary; exit status 1 if anything failed
    python -m tests.fuzz --only "network 17" --dtype float32             one of them, shown, judged in every way

One draw in ten is a network (networks.py), the others are programs of the language (programs.py).  Each is judged as it
is derived (by the slow evaluator) and as generated loops, run by Python, after all passes or some of them, every fifth
program by the general loop nests alone; some are compiled, too.  One in two is in float32.  Seeds count up
from --seed.  A failure is printed with the command that shows it again.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from .cases import NAMES, STRICT_NAMES, Case, case, some_passes
from .test_fuzz import check_forward_mode

DTYPES = ("float64", "float32")
NETWORKS = 10  # one draw in so many


@dataclass
class Outcome:
    """What came out of one draw: the worst error as a part of what is tolerated, by the way to the gradient."""

    name: str
    dtype: str
    constructs: tuple[str, ...] = ()
    redrawn: int = 0
    errors: dict[str, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


def draws(first: int, count: int) -> Iterator[tuple[str, str]]:
    """(name, dtype) of each."""
    for k in range(first, first + count):
        group, place = divmod(k, NETWORKS)
        if place == 0:
            yield f"network {group}", DTYPES[group // 10 % 2]  # of families, there are ten
        else:
            yield f"program {k}", DTYPES[k % 2]


def ways(drawn: Case, seed: int, compiled: bool) -> Iterator[tuple[str, Callable[[], float]]]:
    """Ways to the gradient, each with its judge."""
    passes = some_passes(seed)
    plain = drawn.name.startswith("program") and seed % 5 == 3
    some = "all" if passes == NAMES else "strict" if "strict" in passes else "some"

    def step(compiled: bool = False) -> float:
        drawn.judge_step(passes, compiled)
        return 0.0

    yield "derived", lambda: drawn.judge("derived", drawn.evaluated())
    shown = f"after {some} passes, {'general nests' if plain else 'loops'}"
    yield shown, lambda: drawn.judge(shown, drawn.loops(passes, plain))
    if drawn.step is not None and seed % 3 == 0:
        yield "a step of an optimizer", step
    if compiled:
        yield f"compiled after {some} passes", lambda: drawn.judge("compiled", drawn.compiled(passes))
        if drawn.step is not None:
            yield "a compiled step of an optimizer", lambda: step(True)


def judged(draw: tuple[str, str, bool]) -> Outcome:
    name, dtype, compiled = draw
    outcome = Outcome(name, dtype)
    seed = int(name.partition(" ")[2])
    try:
        drawn = case.__wrapped__(name, dtype)
    except Exception as error:
        outcome.failures.append(f"drawing: {_short(error)}")
        return outcome
    outcome.constructs, outcome.redrawn = drawn.constructs, drawn.redrawn
    for way, judge in ways(drawn, seed, compiled):
        try:
            outcome.errors[way] = judge()
        except Exception as error:
            outcome.failures.append(f"{way}: {_short(error)}")
    return outcome


def _short(error: Exception) -> str:
    place = traceback.extract_tb(error.__traceback__)[-1]
    said = " ".join(str(error).split())
    return f"{type(error).__name__} at {place.filename.rpartition('/')[2]}:{place.lineno}: {said[:300]}"


def summary(outcomes: list[Outcome]) -> str:
    """Two tables in Markdown, and the share of what was redrawn."""
    lines = [
        "| judged | draws | failures | worst error, float64 / 1e-12 G | float32 / 1e-5 G |",
        "|---|--:|--:|--:|--:|",
    ]
    lines += _rows(outcomes, lambda o: o.errors.keys() | {f.partition(":")[0] for f in o.failures}, lambda o, w: [w])
    lines += ["", "| of these, with | draws | failures | worst error, float64 | float32 |", "|---|--:|--:|--:|--:|"]
    lines += _rows(outcomes, lambda o: set(o.constructs), lambda o, _: list(o.errors))
    redrawn = sum(o.redrawn for o in outcomes)
    share = 100 * redrawn / max(1, redrawn + len(outcomes))
    lines += [
        "",
        f"Of {redrawn + len(outcomes)} points, {redrawn} ({share:.2f} %) were within 1e-3 of a kink: redrawn.",
    ]
    return "\n".join(lines)


def _rows(
    outcomes: list[Outcome], keys: Callable[[Outcome], set[str]], ways: Callable[[Outcome, str], list[str]]
) -> Iterator[str]:
    counts: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    worst: dict[tuple[str, str], float] = defaultdict(float)
    for outcome in outcomes:
        for key in keys(outcome):
            counts[key] += 1
            failed = [f for f in outcome.failures if key in outcome.constructs or f.startswith(f"{key}:")]
            failures[key] += bool(failed)
            found = (outcome.errors.get(way, 0.0) for way in ways(outcome, key))
            worst[key, outcome.dtype] = max(worst[key, outcome.dtype], *found)
    for key in sorted(counts):
        shown = " | ".join("same" if "step" in key else f"{worst[key, dtype]:.2g}" for dtype in DTYPES)
        yield f"| {key} | {counts[key]:,} | {failures[key]} | {shown} |"


def show(name: str, dtype: str) -> int:
    """One draw with its equations, and every way to its gradient; each pass left out, and one after the other."""
    drawn = case(name, dtype)
    print(drawn.text, *drawn.program.equations, sep="\n")
    seed, failed = int(name.partition(" ")[2]), False
    every: list[tuple[str, Callable[[], Any]]] = [*ways(drawn, seed, True)]
    every.append(("general nests", lambda: drawn.judge("nests", drawn.loops((), plain=True))))
    every.append(("loops, no pass", lambda: drawn.judge("loops", drawn.loops(()))))
    every.append(("loops, all passes", lambda: drawn.judge("loops", drawn.loops())))
    for left_out in NAMES:
        rest = [n for n in NAMES if n != left_out]
        every.append((f"without {left_out}", lambda rest=rest: drawn.judge("loops", drawn.loops(rest))))
    every.append(("loops, strict passes", lambda: drawn.judge("loops", drawn.loops(STRICT_NAMES))))
    for kind, names in (("", NAMES), ("strict ", STRICT_NAMES)):
        for number in range(names.index("keep_digits") if kind else 0, len(names)):  # those before are the same
            upto = names[: number + 1]
            every.append(
                (
                    f"evaluated after {kind}{upto[-1]}",
                    lambda u=upto: drawn.judge("passes", drawn.evaluated(drawn.after(u))),
                )
            )
    if name.startswith("program") and dtype == "float64":
        every.append(("forward mode", lambda: float(not check_forward_mode(seed))))
    for way, judge in every:
        try:
            print(f"{way}: {judge():.3g} of what is tolerated")
        except Exception as error:
            failed = True
            print(f"{way}: FAILED, {_short(error)}")
    return int(failed)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--interpreted", type=int, default=10_000, help="how many (default 10000)")
    parser.add_argument("--compiled", type=int, default=300, help="how many of them are compiled, too (default 300)")
    parser.add_argument("--seed", type=int, default=0, help="of the first")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--only", metavar="NAME", help='"program 17" or "network 17": this one alone')
    parser.add_argument("--dtype", choices=DTYPES, default="float64", help="of --only")
    options = parser.parse_args(arguments)
    if options.only:
        return show(options.only, options.dtype)
    start, outcomes = time.perf_counter(), []
    every, count = options.interpreted / max(1, options.compiled), options.interpreted
    spread = {int(k * every) for k in range(min(options.compiled, count))}
    todo = [(*draw, k in spread) for k, draw in enumerate(draws(options.seed, count))]
    with multiprocessing.Pool(options.processes, maxtasksperchild=20) as pool:  # processes that end give memory back
        try:
            for outcome in pool.imap(judged, todo, chunksize=10):
                outcomes.append(outcome)
                for failure in outcome.failures:
                    print(f'FAILED  --only "{outcome.name}" --dtype {outcome.dtype}  {failure}', flush=True)
                if len(outcomes) % 200 == 0:
                    print(f"{len(outcomes)} draws, {time.perf_counter() - start:.0f} s", flush=True)
        except KeyboardInterrupt:
            print(f"stopped after {len(outcomes)} of {count} draws")
    print(summary(outcomes))
    failed = sum(bool(o.failures) for o in outcomes)
    print(f"\n{failed} of {len(outcomes)} draws failed, in {time.perf_counter() - start:.0f} s")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
