"""How long a training step takes, for symnet and its peers:  python examples/benchmark/run.py

    --workloads digits mnist   --peers numpy jax_loop   --rounds 9   --threads 1   --plot speed.png
    --python pytensor_c=/path/to/python    the peer runs in another environment
    --curve width    instead: the same network in several widths (depths, batch sizes, numbers of time steps)
    --threads 2      several threads; --peers symnet_alone adds symnet with one, measured in the same rounds
    --limit          beside it, how long products, functions and the update's traffic alone take (limit.py)
    --rounds 0 --starts 5    no steps, but the median of five starts

Each runs in a worker process of its own; with one thread all are pinned to the same core.  In every round each makes
as many steps as take it about --seconds; so what disturbs the machine disturbs all.  The output is Markdown.  For each
workload: the median over the rounds of microseconds a step; the median of the ratio to symnet in the same round; the
seconds from the start of the process to the end of the first step, imports included, the making of the data not,
nothing cached but bytecode, and in brackets once more with what is on disk by then; the most memory that the process
had; and how far the data loss of step 51 is from symnet's, relative.  Exit status 1 if that is too far: more than 1e-9
in float64, 1e-3 in float32 (Adam amplifies rounding).
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from compileall import compile_dir
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from peers import ALONE, LIMIT, OURS, PEERS
from workers import Worker, measured
from workloads import ALL, CURVES, WORKLOADS, Workload

BESIDE = [name for name in PEERS if name not in (ALONE, LIMIT)]  # unless told
TOLERANCE = {"float64": 1e-9, "float32": 1e-3}


# ------------------------------------------------------------------------------------------ report
def table(workload: Workload, workers: list[Worker], missing: list[str]) -> tuple[str, list[str]]:
    """Markdown; and whose loss is another."""
    lines = [f"**{workload.name}**: {workload}", ""]
    lines += ["| | µs a step | ratio to symnet | set-up, s | peak, MB | loss of step 51 |", "|---|--:|--:|--:|--:|--:|"]
    ours, wrong = workers[0], []
    for worker in workers:
        peer = PEERS[worker.name]
        cells = [digits(1e6 * median(worker.times)), digits(ratio(worker, ours))] if worker.times else ["-", "-"]
        if worker.name == LIMIT:
            lines.append(f"| {' | '.join([peer.label, *cells, '-', '-', '-'])} |")
            continue
        off = abs(worker.loss - ours.loss) / abs(ours.loss)
        if not off <= (peer.tolerance or TOLERANCE[workload.dtype]):
            wrong.append(f"{workload.name}, {peer.label}: loss {worker.loss!r}, symnet's {ours.loss!r}")
        loss = f"{ours.loss:.6g}" if worker is ours else (f"{off:.0e} off" if off else "equal")
        cells += [set_up(worker, ours), f"{worker.peak / 1e6:.0f}", loss]
        lines.append(f"| {' | '.join([peer.label, *cells])} |")
    spread = ", ".join(f"{PEERS[w.name].label} {span(w, ours)}" for w in workers[1:] if w.times)
    lines += [f"\nRatios of the rounds: {spread}."] * bool(spread)
    return "\n".join([*lines, *(f"\nLeft out: {line}" for line in missing)]), wrong


def span(worker: Worker, ours: Worker) -> str:
    found = sorted(theirs / own for theirs, own in zip(worker.times, ours.times))
    return f"{digits(found[0])} to {digits(found[-1])}"


def ratio(worker: Worker, ours: Worker) -> float:
    return median(theirs / own for theirs, own in zip(worker.times, ours.times))


def digits(number: float) -> str:
    """Three figures, and never a power of ten."""
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"


def overview(results: dict[str, list[Worker]], first: str, cell: Callable[[Worker, Worker], str]) -> str:
    """One row for each workload; a cell is made of a worker and symnet's."""
    names = [name for name in PEERS if any(worker.name == name for workers in results.values() for worker in workers)]
    lines = ["| | " + " | ".join([first, *(PEERS[name].label for name in names[1:])]) + " |"]
    lines.append("|---" + "|--:" * len(names) + "|")
    for workload, workers in results.items():
        found = {worker.name: cell(worker, workers[0]) for worker in workers}
        lines.append(f"| {workload} | " + " | ".join(found.get(name, "-") for name in names) + " |")
    return "\n".join(lines)


def summary(results: dict[str, list[Worker]]) -> str:
    """One row for each workload: symnet's time, how much longer the fastest peer takes, and the limit."""
    limited = any(worker.name == LIMIT for workers in results.values() for worker in workers)
    lines = ["| | symnet, µs | fastest peer / symnet | | " + "symnet / limit |" * limited]
    lines.append("|---|--:|--:|---|" + "--:|" * limited)
    for workload, [ours, *others] in results.items():
        ratios = {worker.name: ratio(worker, ours) for worker in others}
        limit = ratios.pop(LIMIT, None)
        best = min(ratios, key=ratios.__getitem__, default=None)
        cells = [workload, digits(1e6 * median(ours.times))]
        cells += [digits(ratios[best]), PEERS[best].label] if best else ["-", ""]
        cells += [digits(1 / limit) if limit else "-"] * limited
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def relative(worker: Worker, ours: Worker) -> str:
    """The ratio to symnet, and of symnet itself the time."""
    return digits(1e6 * median(ours.times)) if worker is ours else digits(ratio(worker, ours))


def set_up(worker: Worker, ours: Worker) -> str:
    """Seconds, with the second start in brackets."""
    if worker.name == LIMIT:
        return "-"
    return f"{worker.set_up[0]:.2g}" + "".join(f" ({again:.2g})" for again in worker.set_up[1:])


def machine(options: argparse.Namespace) -> str:
    """What it was measured on, and with."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").is_file():
        found = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        model = found[0].split(":")[1].strip() if found else model
    load = f", load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    versions = [f"Python {platform.python_version()}"]
    peers = dict.fromkeys([OURS, "numpy", *options.peers])
    for peer in dict.fromkeys(PEERS[name].distribution for name in peers if name not in (*options.python, LIMIT)):
        versions.append(f"{peer} {installed(peer)}")
    for name, python in options.python.items():
        code = f"from importlib.metadata import version; print(version({PEERS[name].distribution!r}))"
        found = subprocess.run([python, "-c", code], capture_output=True, text=True)
        versions.append(f"{PEERS[name].distribution} {found.stdout.strip()} in an environment of its own")
    threads = "1 thread, pinned to a core" if options.threads == 1 else f"{options.threads} threads"
    return f"{model}, {os.cpu_count()} cores{load}, {date.today()}; {threads}; {', '.join(versions)}."


def installed(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed, from its source"


RED = "tab:red"  # symnet's
OTHERS = [f"tab:{color}" for color in ("blue", "orange", "green", "purple", "brown", "pink", "gray", "olive", "cyan")]
CURVE_NAMES = {"width": "width", "depth": "layers", "batch": "batch size", "steps": "time steps"}


def plot(results: dict[str, list[Worker]], path: str, curve: str | None) -> None:
    """A group of bars for each workload: time a step by symnet's.  Of a curve: lines, microseconds a step."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    found: dict[str, dict[int, Worker]] = {name: {} for name in PEERS}
    for k, workers in enumerate(results.values()):
        for worker in workers:
            found[worker.name][k] = worker
    found = {name: workers for name, workers in found.items() if workers}
    ours, width = found[OURS], 1 / (len(found) + 1)
    sizes = [int(name.split("-")[1]) for name in results] if curve else []
    figure, axes = plt.subplots(figsize=(7 if curve else 3 + 1.5 * len(results), 4.5))
    axes.set_prop_cycle(color=OTHERS)
    for place, (name, workers) in enumerate(found.items()):
        label = PEERS[name].label
        if curve:
            heights = [1e6 * median(worker.times) for worker in workers.values()]
            style = {"color": "black", "linestyle": ":"} if name == LIMIT else {"marker": "o", "markersize": 4}
            style |= {"linewidth": 3, "color": RED, "zorder": 3} if name == OURS else {}
            axes.plot([sizes[k] for k in workers], heights, label=label, **style)
        else:
            heights = [ratio(worker, ours[k]) for k, worker in workers.items()]
            color = {"color": "0.8"} if name == LIMIT else {"color": RED} if name == OURS else {}
            axes.bar([k + place * width for k in workers], heights, width, align="edge", label=label, **color)
    if curve:
        axes.set(xscale="log", yscale="log", xlabel=CURVE_NAMES[curve], ylabel="µs a step")
        axes.set_xticks(sizes, list(map(str, sizes)))
        axes.xaxis.minorticks_off()
    else:
        axes.set(yscale="log", ylabel="time a step / symnet's")
        axes.axhline(1, color="black", linewidth=0.5)
        axes.set_xticks([k + len(found) * width / 2 for k in range(len(results))], list(results))
    axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    figure.savefig(path, bbox_inches="tight", dpi=150)


# ------------------------------------------------------------------------------------------ command
def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--workloads", nargs="+", choices=ALL, default=list(WORKLOADS), metavar="NAME")
    parser.add_argument("--curve", choices=CURVES, help="workloads that differ in one size")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=BESIDE, metavar="NAME")
    parser.add_argument("--limit", action="store_true", help="products, functions and the update's traffic alone")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--starts", type=int, default=1, help="of which the median set-up is given")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.2, help="of a worker in a round")
    parser.add_argument("--patience", type=float, default=900, help="seconds until a start is given up")
    parser.add_argument("--python", action="append", default=[], metavar="PEER=PATH", help="another environment")
    parser.add_argument("--plot", metavar="FILE")
    options = parser.parse_args()
    if options.curve:
        options.workloads = [workload.name for workload in CURVES[options.curve]]
    options.python = dict(given.split("=", 1) for given in options.python)
    options.peers += [LIMIT] * (options.limit and LIMIT not in options.peers)
    return options


def as_installed() -> None:
    """The bytecode of symnet is there, as pip leaves that of a package, though this may be a folder of sources."""
    for package in ("symnet", "compiler"):
        found = find_spec(package)
        for folder in (found and found.submodule_search_locations) or ():
            compile_dir(folder, quiet=2)


def main() -> int:
    options = parsed()
    as_installed()
    absent = [name for name in options.peers if name not in options.python and not find_spec(PEERS[name].needs)]
    options.peers = [name for name in options.peers if name not in absent]
    print(machine(options), flush=True)
    for name in absent:
        print(f"\nNot installed, left out: {PEERS[name].label}")
    results, wrong = {}, []
    for name in options.workloads:
        workers, missing = measured(ALL[name], options)
        results[name] = workers
        text, others = table(ALL[name], workers, missing)
        wrong += others
        print(f"\n{text}", flush=True)
    if options.rounds:
        print(f"\nTime of a step by symnet's:\n\n{overview(results, 'symnet, µs', relative)}")
        print(f"\n{summary(results)}")
    print(f"\nSet-up, seconds:\n\n{overview(results, 'symnet', set_up)}")
    if options.plot and options.rounds:
        plot(results, options.plot, options.curve)
    for line in wrong:
        print(f"\nNOT THE SAME: {line}", file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
