"""How long a training step takes, for symnet and its peers:  python examples/benchmark/run.py

    --workloads digits mnist   --peers numpy jax_loop   --rounds 9   --threads 1   --plot speed.png
    --python pytensor=/path/to/python    the peer runs in another environment
    --curve width    instead: the same network in several widths (depths, batch sizes)

Each runs in a worker process of its own; with one thread all are pinned to the same core.  In every round each makes
as many steps as take it about --seconds; so what disturbs the machine disturbs all.  The output is Markdown.  For each
workload: the median over the rounds of microseconds a step; the median of the ratio to symnet in the same round; the
seconds from the import of the library to the end of the first step, nothing cached, and in brackets once more with
what is on disk by then; and how far the data loss of step 51 is from symnet's, relative.  Exit status 1 if that is too
far: more than 1e-9 in float64, 1e-3 in float32 (Adam amplifies rounding).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from peers import OURS, PEERS, Unsuitable
from workloads import ALL, CURVES, WORKLOADS, Workload, data

CHECKED = 51  # the step whose loss is compared
TOLERANCE = {"float64": 1e-9, "float32": 1e-3}


class Failed(Exception):
    """Why a worker gave no answer."""


@dataclass
class Worker:
    """A process that trains one workload with one peer, and what was measured of it.

    set_up: seconds, without and with what was cached.  loss: of step CHECKED.  steps: of a round.  times: seconds a
    step, of each round.
    """

    name: str
    process: subprocess.Popen[str]
    set_up: tuple[float, ...] = ()
    loss: float = 0.0
    steps: int = 1
    times: list[float] = field(default_factory=list)

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        found = json.loads(line) if line else {"error": "the process ended"}
        if "error" in found:
            raise Failed(found["error"])
        return found

    def measure(self, steps: int) -> float:
        """Seconds for so many steps."""
        assert self.process.stdin
        print(steps, file=self.process.stdin, flush=True)
        return self.answer()["seconds"]

    def calibrate(self, seconds: float) -> None:
        """Choose `steps` so that a round takes about so many seconds."""
        taken = self.measure(self.steps)
        while taken < seconds / 4:
            self.steps *= 4
            taken = self.measure(self.steps)
        self.steps = max(1, round(self.steps * seconds / taken))


# ------------------------------------------------------------------------------------------ in the worker
def work(name: str, workload: str, threads: int) -> None:
    """Answer on standard output: the set-up, then seconds for each number of steps that is read."""
    if threads == 1 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints is no answer
    try:
        data(ALL[workload])  # the file is read, the pages are there
        start = time.perf_counter()
        run = PEERS[name].start(ALL[workload], threads)
        run(1)
        set_up = time.perf_counter() - start
        run(CHECKED - 2)
        print(json.dumps({"set_up": set_up, "loss": run(1)}), file=answers)
    except Unsuitable as error:
        print(json.dumps({"error": str(error)}), file=answers)
        return
    except Exception as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}".splitlines()[0][:200]}), file=answers)
        return
    for line in sys.stdin:
        start = time.perf_counter()
        run(int(line))
        print(json.dumps({"seconds": time.perf_counter() - start}), file=answers)


def environment(threads: int, caches: str) -> dict[str, str]:
    """For a worker: the threads of each library, and empty folders for what they cache."""
    one = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"} if threads == 1 else {}
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    return {
        **os.environ,
        **dict.fromkeys(names, str(threads)),
        **one,
        "JAX_PLATFORMS": "cpu",
        "SYMNET_CACHE": f"{caches}/symnet",
        "TORCHINDUCTOR_CACHE_DIR": f"{caches}/inductor",
        "PYTENSOR_FLAGS": f"base_compiledir={caches}/pytensor",
    }


# ------------------------------------------------------------------------------------------ rounds
def measured(workload: Workload, options: argparse.Namespace) -> tuple[list[Worker], list[str]]:
    """The workers, symnet's first, with their times; and why others are missing."""
    with ExitStack() as stack:
        caches = stack.enter_context(tempfile.TemporaryDirectory())
        variables = environment(options.threads, caches)
        workers, missing = [], []
        for name in (OURS, *(peer for peer in options.peers if peer != OURS)):
            worker = Worker(name, started(name, workload, options, variables, stack))
            try:
                found = worker.answer()
                worker.set_up, worker.loss = (found["set_up"],), found["loss"]
                if PEERS[name].caches:
                    with ExitStack() as short:
                        again = Worker(name, started(name, workload, options, variables, short))
                        worker.set_up += (again.answer()["set_up"],)
                worker.calibrate(options.seconds)
            except Failed as error:
                if name == OURS:
                    raise
                missing.append(f"{PEERS[name].label}: {error}")
                continue
            workers.append(worker)
        for turn in range(options.rounds):
            for worker in workers if turn % 2 == 0 else workers[::-1]:
                worker.times.append(worker.measure(worker.steps) / worker.steps)
                time.sleep(0.02)  # threads of a library that still spin come to rest
    return workers, missing


def started(
    name: str, workload: Workload, options: argparse.Namespace, variables: dict[str, str], stack: ExitStack
) -> subprocess.Popen[str]:
    """A worker's process, which ends with the stack."""
    command = [options.python.get(name, sys.executable), __file__, "--worker", name, "--workloads", workload.name]
    command += ["--threads", str(options.threads)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, **pipes, text=True, env=variables)
    stack.callback(ended, process)
    return process


def ended(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


# ------------------------------------------------------------------------------------------ report
def table(workload: Workload, workers: list[Worker], missing: list[str]) -> tuple[str, list[str]]:
    """Markdown; and whose loss is another."""
    lines = [f"**{workload.name}**: {workload}", ""]
    lines += ["| | µs a step | ratio to symnet | set-up, s | loss of step 51 |", "|---|--:|--:|--:|--:|"]
    wrong = []
    ours = workers[0]
    for worker in workers:
        peer = PEERS[worker.name]
        off = abs(worker.loss - ours.loss) / abs(ours.loss)
        if not off <= (peer.tolerance or TOLERANCE[workload.dtype]):
            wrong.append(f"{workload.name}, {peer.label}: loss {worker.loss!r}, symnet's {ours.loss!r}")
        loss = f"{ours.loss:.6g}" if worker is ours else (f"{off:.0e} off" if off else "equal")
        lines.append(
            f"| {peer.label} | {digits(1e6 * median(worker.times))} | {digits(ratio(worker, ours))} "
            f"| {set_up(worker, ours)} | {loss} |"
        )
    return "\n".join([*lines, *(f"\nLeft out: {line}" for line in missing)]), wrong


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


def relative(worker: Worker, ours: Worker) -> str:
    """The ratio to symnet, and of symnet itself the time."""
    return digits(1e6 * median(ours.times)) if worker is ours else digits(ratio(worker, ours))


def set_up(worker: Worker, ours: Worker) -> str:
    """Seconds, with the second start in brackets."""
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
    for peer in dict.fromkeys(PEERS[name].distribution for name in peers if name not in options.python):
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
    figure, axes = plt.subplots(figsize=(6 if curve else 2 + 2 * len(results), 4))
    for place, (name, workers) in enumerate(found.items()):
        label = PEERS[name].label
        if curve:
            axes.plot(
                [sizes[k] for k in workers],
                [1e6 * median(worker.times) for worker in workers.values()],
                "o-",
                label=label,
            )
        else:
            heights = [ratio(worker, ours[k]) for k, worker in workers.items()]
            axes.bar([k + place * width for k in workers], heights, width, align="edge", label=label)
    if curve:
        axes.set(xscale="log", yscale="log", xlabel=curve, ylabel="µs a step")
        axes.set_xticks(sizes, list(map(str, sizes)))
        axes.minorticks_off()
    else:
        axes.set(yscale="log", ylabel="time a step / symnet's")
        axes.set_xticks([k + len(found) * width / 2 for k in range(len(results))], list(results))
    axes.legend(fontsize="small")
    figure.savefig(path, bbox_inches="tight", dpi=150)


# ------------------------------------------------------------------------------------------ command
def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--workloads", nargs="+", choices=ALL, default=list(WORKLOADS), metavar="NAME")
    parser.add_argument("--curve", choices=CURVES, help="workloads that differ in one size")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS), metavar="NAME")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.2, help="of a worker in a round")
    parser.add_argument("--python", action="append", default=[], metavar="PEER=PATH", help="another environment")
    parser.add_argument("--plot", metavar="FILE")
    parser.add_argument("--worker", choices=PEERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.curve:
        options.workloads = [workload.name for workload in CURVES[options.curve]]
    options.python = dict(given.split("=", 1) for given in options.python)
    return options


def main() -> int:
    options = parsed()
    if options.worker:
        work(options.worker, options.workloads[0], options.threads)
        return 0
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
    print(f"\nTime of a step by symnet's:\n\n{overview(results, 'symnet, µs', relative)}")
    print(f"\nSet-up, seconds:\n\n{overview(results, 'symnet', set_up)}")
    if options.plot:
        plot(results, options.plot, options.curve)
    for line in wrong:
        print(f"\nNOT THE SAME: {line}", file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
