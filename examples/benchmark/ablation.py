"""What each pass and each choice of the compiler buys:  python examples/benchmark/ablation.py

    --workloads digits rnn   --choices fusing share   --rounds 5   --seconds 0.1   --starts 3

Each is switched off by itself (choices.py), in a worker process with an empty cache; the workers of a workload are
measured by turns with one that has everything, with one thread in the time of their processors.  The Markdown tables
say how many times as long a step takes without the choice, how many times as long the start until the first step is
made (the median of --starts), and how much more memory the process takes: 1 if the choice buys nothing, less if it
harms.  `=`: the generated source is the same.  `needed`: without it the program cannot be compiled.  `slow`: the first
steps took longer than --patience.  Behind the tables are the choices that bought less than --least in each of them.
Exit status 1 if a loss of step 51 is another without one.
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
from workloads import ABLATED, ALL, WORKLOADS, Workload

EVERY = {**ALL, **ABLATED}
NEEDED, SLOW, SAME = "needed", "slow", "="
Found = dict[str, float | str]  # ratio, or why there is none, by choice
MEASURES = {"step": ("Time of a step", "µs", 1e6), "start": ("Start", "s", 1.0), "memory": ("Memory", "MB", 1e-6)}


def ablated(workload: Workload, options: argparse.Namespace) -> tuple[dict[str, Found], dict[str, float], list[str]]:
    """By measure: what was found, and the value with everything; and what went wrong."""
    found: dict[str, Found] = {measure: {} for measure in MEASURES}
    told: list[str] = []
    with ExitStack() as stack:

        def begun(choice: str) -> tuple[Worker, float]:
            """A worker that has begun, and the median of its starts."""
            taken = []
            for last in [*[False] * (options.starts - 1), True]:
                own = ExitStack()
                stack.push(own)
                caches = own.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
                worker = started(OURS, workload, options, caches, own, choice)
                worker.clock = "wall" if options.threads > 1 else "processor"
                taken.append(worker.begun(options.patience))
                if not last:
                    own.close()
            return worker, median(taken)

        whole, start = begun(NONE)
        workers: dict[str, Worker] = {}
        for name in options.choices:
            try:
                worker, without = begun(name)
            except Failed as error:
                late = str(error).startswith("not in ")
                found["step"][name] = SLOW if late else NEEDED
                told += [] if late else [f"{workload.name}, without {name}: {error}"]
                continue
            found["start"][name], found["memory"][name] = without / start, worker.peak / whole.peak
            if not abs(worker.loss - whole.loss) <= TOLERANCE[workload.dtype] * abs(whole.loss):
                told.append(f"NOT THE SAME: {workload.name}, without {name}: loss {worker.loss!r}, else {whole.loss!r}")
            if worker.source == whole.source and CHOICES[name].in_text:
                found["step"][name] = SAME
            else:
                workers[name] = worker
        in_rounds([whole, *workers.values()], options)
        step = median(whole.times)
    for name, worker in workers.items():
        found["step"][name] = median(theirs / ours for theirs, ours in zip(worker.times, whole.times))
    return found, {"step": step, "start": start, "memory": whole.peak}, told


def table(found: dict[str, Found], whole: dict[str, float], choices: list[str], unit: str, factor: float) -> str:
    """A row for each choice, a column for each workload."""
    lines = ["| without | | " + " | ".join(found) + " |", "|---|---|" + "--:|" * len(found)]
    lines.append(f"| nothing: {unit} | | " + " | ".join(digits(factor * whole[name]) for name in found) + " |")
    for choice in choices:
        cells = (by_choice.get(choice, "-") for by_choice in found.values())
        shown = (cell if isinstance(cell, str) else digits(cell) if cell >= 10 else f"{cell:.2f}" for cell in cells)
        lines.append(f"| {choice} | {CHOICES[choice].what} | {' | '.join(shown)} |")
    return "\n".join(lines)


def idle(found: list[Found], choices: list[str], least: float) -> list[str]:
    """What buys less than `least` everywhere."""

    def buys(cell: float | str) -> bool:
        return cell in (NEEDED, SLOW) if isinstance(cell, str) else cell > least

    return [choice for choice in choices if not any(buys(ratios.get(choice, SAME)) for ratios in found)]


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--workloads", nargs="+", choices=EVERY, default=[*WORKLOADS, *ABLATED], metavar="NAME")
    parser.add_argument("--choices", nargs="+", choices=CHOICES, default=list(CHOICES), metavar="NAME")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.1, help="of a worker in a round")
    parser.add_argument("--starts", type=int, default=1, help="of which the median is taken")
    parser.add_argument("--patience", type=float, default=60, help="seconds until a start is given up")
    parser.add_argument("--least", type=float, default=1.02, help="a ratio that counts")
    return parser.parse_args()


def main() -> int:
    options = parsed()
    options.peers, options.python = [], {}
    print(machine(options), flush=True)
    results: dict[str, dict[str, Found]] = {measure: {} for measure in MEASURES}
    whole: dict[str, dict[str, float]] = {measure: {} for measure in MEASURES}
    told = []
    for name in options.workloads:
        found, values, more = ablated(EVERY[name], options)
        for measure in MEASURES:
            results[measure][name], whole[measure][name] = found[measure], values[measure]
        told += more
        print(f"{name} is measured.", file=sys.stderr, flush=True)
    for measure, (title, unit, factor) in MEASURES.items():
        rows = table(results[measure], whole[measure], options.choices, unit, factor)
        print(f"\n{title} without a choice, by that with everything:\n\n{rows}")
    everything = [ratios for by_workload in results.values() for ratios in by_workload.values()]
    if nothing := idle(everything, options.choices, options.least):
        print(f"\nLess than {options.least:g} everywhere: {', '.join(nothing)}.")
    for line in told:
        print(f"\n{line}")
    return int(any(line.startswith("NOT THE SAME") for line in told))


if __name__ == "__main__":
    sys.exit(main())
