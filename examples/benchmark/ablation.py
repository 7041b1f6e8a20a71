"""What each pass and each choice of the compiler buys:  python examples/benchmark/ablation.py

    --workloads digits rnn   --choices fusing share   --rounds 5   --seconds 0.1

Each is switched off by itself (choices.py), in a worker process with an empty cache; the workers of a workload are
measured by turns with one that has everything.  The Markdown table says how many times as long a step takes without
the choice: 1 if it buys nothing, less if it harms.  `=`: the generated source is the same.  `needed`: without it the
program cannot be compiled.  `slow`: the first steps took longer than --patience.  Behind the table are the
choices that bought less than --least on every workload.  Exit status 1 if a loss of step 51 is another without one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from statistics import median

from choices import CHOICES, NONE
from peers import OURS
from run import TOLERANCE, digits, machine
from workers import Failed, Worker, in_rounds, started
from workloads import ALL, WORKLOADS, Workload

NEEDED, SLOW, SAME = "needed", "slow", "="


def ablated(workload: Workload, options: argparse.Namespace) -> tuple[dict[str, float | str], float, list[str]]:
    """Ratio, or why there is none, by choice; seconds a step with everything; what went wrong."""
    found: dict[str, float | str] = {}
    told: list[str] = []
    with ExitStack() as stack:

        def begun(choice: str) -> Worker:
            caches = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
            worker = started(OURS, workload, options, caches, stack, choice)
            worker.begun(options.patience)
            return worker

        whole = begun(NONE)
        workers: dict[str, Worker] = {}
        for name in options.choices:
            try:
                worker = begun(name)
            except Failed as error:
                late = str(error).startswith("not in ")
                found[name] = SLOW if late else NEEDED
                told += [] if late else [f"{workload.name}, without {name}: {error}"]
                continue
            if not abs(worker.loss - whole.loss) <= TOLERANCE[workload.dtype] * abs(whole.loss):
                told.append(f"NOT THE SAME: {workload.name}, without {name}: loss {worker.loss!r}, else {whole.loss!r}")
            if worker.source == whole.source and CHOICES[name].in_text:
                found[name] = SAME
            else:
                workers[name] = worker
        in_rounds([whole, *workers.values()], options)
    for name, worker in workers.items():
        found[name] = median(theirs / ours for theirs, ours in zip(worker.times, whole.times))
    return found, median(whole.times), told


def table(results: dict[str, dict[str, float | str]], times: dict[str, float], choices: list[str]) -> str:
    """A row for each choice, a column for each workload."""
    lines = ["| without | | " + " | ".join(results) + " |", "|---|---|" + "--:|" * len(results)]
    lines.append("| nothing: µs a step | | " + " | ".join(digits(1e6 * times[name]) for name in results) + " |")
    for choice in choices:
        cells = (found[choice] for found in results.values())
        shown = (cell if isinstance(cell, str) else digits(cell) if cell >= 10 else f"{cell:.2f}" for cell in cells)
        lines.append(f"| {choice} | {CHOICES[choice].what} | {' | '.join(shown)} |")
    return "\n".join(lines)


def idle(results: dict[str, dict[str, float | str]], choices: list[str], least: float) -> list[str]:
    """What buys less than `least` on every workload."""

    def buys(cell: float | str) -> bool:
        return cell in (NEEDED, SLOW) if isinstance(cell, str) else cell > least

    return [choice for choice in choices if not any(buys(found[choice]) for found in results.values())]


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--workloads", nargs="+", choices=ALL, default=list(WORKLOADS), metavar="NAME")
    parser.add_argument("--choices", nargs="+", choices=CHOICES, default=list(CHOICES), metavar="NAME")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.1, help="of a worker in a round")
    parser.add_argument("--patience", type=float, default=60, help="seconds until a start is given up")
    parser.add_argument("--least", type=float, default=1.02, help="a ratio that counts")
    return parser.parse_args()


def main() -> int:
    options = parsed()
    options.peers, options.python = [], {}
    print(machine(options), flush=True)
    results, times, told = {}, {}, []
    for name in options.workloads:
        results[name], times[name], more = ablated(ALL[name], options)
        told += more
        print(f"{name} is measured.", file=sys.stderr, flush=True)
    print(f"\nTime of a step without a choice, by that with everything:\n\n{table(results, times, options.choices)}")
    for choice in idle(results, options.choices, options.least):
        print(f"\nBuys less than {options.least:g} on each of these: {choice}.")
    for line in told:
        print(f"\n{line}")
    return int(any(line.startswith("NOT THE SAME") for line in told))


if __name__ == "__main__":
    sys.exit(main())
