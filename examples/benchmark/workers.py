"""Worker processes, each of which trains one workload with one peer, and rounds in which all are measured.

In: a workload and the options of the command line.  Out: workers with their times.  What is run in a worker is `work`:

    python workers.py PEER WORKLOAD THREADS SINCE CHOICE

SINCE: the time at which the process was started, in seconds; CHOICE: of choices.py, switched off, or "".
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from threading import Timer
from typing import Any

from choices import without
from peers import LIMIT, OURS, PEERS
from workloads import ABLATED, ALL, Unsuitable, Workload, data

CHECKED = 51  # the step whose loss is compared


class Failed(Exception):
    """Why a worker gave no answer."""


@dataclass
class Worker:
    """A process that trains one workload with one peer, and what was measured of it.

    set_up: seconds, without and with what was cached.  loss: of step CHECKED.  peak: bytes.  source: a hash of what was
    generated.  steps: of a round.  times: seconds a step, of each round.  clock: "wall", or "processor": the time of
    this process alone, which is not longer where others run beside it.
    """

    name: str
    process: subprocess.Popen[str]
    set_up: tuple[float, ...] = ()
    loss: float = 0.0
    peak: int = 0
    source: str = ""
    steps: int = 1
    times: list[float] = field(default_factory=list)
    clock: str = "wall"

    def answer(self, patience: float) -> dict[str, Any]:
        assert self.process.stdout
        timer = Timer(patience, self.process.kill)
        timer.start()
        line = self.process.stdout.readline()
        late = not timer.is_alive()
        timer.cancel()
        found = json.loads(line) if line else {"error": f"not in {patience:.0f} s" if late else "the process ended"}
        if "error" in found:
            raise Failed(found["error"])
        return found

    def begun(self, patience: float) -> float:
        """Seconds until the first step was made; the loss is there then, too."""
        found = self.answer(patience)
        self.loss, self.peak, self.source = found["loss"], found["peak"], found["source"]
        return found["set_up"][self.clock]

    def measure(self, steps: int) -> float:
        """Seconds for so many steps."""
        assert self.process.stdin
        print(steps, file=self.process.stdin, flush=True)
        return self.answer(3600)[self.clock]

    def calibrate(self, seconds: float) -> None:
        """Choose `steps` so that a round takes about so many seconds."""
        taken = self.measure(self.steps)
        while (taken := min(taken, self.measure(self.steps))) < seconds / 4:  # the first may have been disturbed
            self.steps *= 4
            taken = self.measure(self.steps)
        self.steps = max(1, round(self.steps * seconds / taken))


# ------------------------------------------------------------------------------------------ in the worker
def work(name: str, workload: str, threads: int, since: float, choice: str) -> None:
    """Answer on standard output: the set-up, then seconds for each number of steps that is read."""
    if threads == 1 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints is no answer
    try:
        start = time.time()
        trained = {**ALL, **ABLATED}[workload]
        data(trained)  # the file is read, the pages are there
        since += time.time() - start
        source = hashlib.sha256()
        with without(choice, source.update):
            run = PEERS[name].start(trained, threads)
            run(1)
        set_up = {"wall": time.time() - since, "processor": time.process_time()}
        run(CHECKED - 2)
        found = {"set_up": set_up, "loss": run(1), "peak": peak(), "source": source.hexdigest()}
        print(json.dumps(found), file=answers)
    except Unsuitable as error:
        print(json.dumps({"error": str(error)}), file=answers)
        return
    except Exception as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}".splitlines()[0][:200]}), file=answers)
        return
    for line in sys.stdin:
        start = time.perf_counter(), time.process_time()
        run(int(line))
        taken = {"wall": time.perf_counter() - start[0], "processor": time.process_time() - start[1]}
        print(json.dumps(taken), file=answers)


def peak() -> int:
    """Bytes that this process had in memory at most."""
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage would count what the process was before it became this one
        return 1024 * int(status.read_text().split("VmHWM:")[1].split()[0])
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def environment(threads: int, caches: str) -> dict[str, str]:
    """For a worker: the threads of each library, and empty folders for what they cache."""
    one = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"} if threads == 1 else {}
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    return {
        **os.environ,
        **dict.fromkeys(names, str(threads)),
        **one,
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": f"{caches}/jax",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "SYMNET_CACHE": f"{caches}/symnet",
        "TORCHINDUCTOR_CACHE_DIR": f"{caches}/inductor",
        "PYTENSOR_FLAGS": f"base_compiledir={caches}/pytensor",
    }


# ------------------------------------------------------------------------------------------ rounds
def measured(workload: Workload, options: argparse.Namespace) -> tuple[list[Worker], list[str]]:
    """The workers, symnet's first, with their times; and why others are missing."""
    with ExitStack() as stack:
        workers, missing = [], []
        for name in (OURS, *(peer for peer in options.peers if peer != OURS)):
            try:
                workers.append(begun(name, workload, options, stack))
            except Failed as error:
                if name == OURS:
                    raise
                missing.append(f"{PEERS[name].label}: {error}")
        in_rounds(workers, options)
    return workers, missing


def begun(name: str, workload: Workload, options: argparse.Namespace, stack: ExitStack) -> Worker:
    """A worker that has made its first steps, and was started as often as is asked for, without and with a cache."""
    cold, cached = [], []
    for _ in range(options.starts if name != LIMIT else 1):
        caches = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        own = ExitStack()
        stack.push(own)
        worker = started(name, workload, options, caches, own)
        cold.append(worker.begun(options.patience))
        if PEERS[name].caches:
            with ExitStack() as short:
                cached.append(started(name, workload, options, caches, short).begun(options.patience))
        if len(cold) < options.starts and name != LIMIT:
            own.close()
    worker.set_up = (median(cold), median(cached)) if cached else (median(cold),)
    return worker


def in_rounds(workers: list[Worker], options: argparse.Namespace) -> None:
    """Measure all of them, by turns."""
    for worker in workers if options.rounds else ():
        worker.calibrate(options.seconds)
    for turn in range(options.rounds):
        for worker in workers if turn % 2 == 0 else workers[::-1]:
            worker.times.append(worker.measure(worker.steps) / worker.steps)
            time.sleep(0.02)  # threads of a library that still spin come to rest


def started(
    name: str, workload: Workload, options: argparse.Namespace, caches: str, stack: ExitStack, choice: str = ""
) -> Worker:
    """A worker whose process ends with the stack."""
    command = [options.python.get(name, sys.executable), __file__, name, workload.name, str(options.threads)]
    command += [repr(time.time()), choice]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, **pipes, text=True, env=environment(options.threads, caches))
    stack.callback(ended, process)
    return Worker(name, process)


def ended(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


if __name__ == "__main__":
    work(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), sys.argv[5])
