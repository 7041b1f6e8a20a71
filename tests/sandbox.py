"""A judge of foreign input: what Python does while symnet reads it, how long that takes, how much memory, how it ends.

In: a label and a function that reads something hostile.  Out: a Verdict: nothing to complain of, or what happened.  It
runs in a process of its own (`in_a_process`), since an audit hook stays for good and a limit of memory holds for all.

The hook sees every event that Python reports: opened files, imports, compiled and executed code, processes, sockets.
While a spec is read, none may occur but those in HARMLESS: `ast.parse` is a call of `compile` that makes no code, and a
file is opened only where the test has put one.
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from symnet.errors import SymnetError

SECONDS = 0.1  # of CPU time, for one spec
MEGABYTES = 500  # of the whole process at its largest
STOP = 10.0  # CPU seconds after which a spec is interrupted
MESSAGE = 3000  # characters
HARMLESS = {
    "sys._getframe",
    "object.__getattr__",
    "sys.excepthook",
    "sys.unraisablehook",
    "array.__new__",
    "builtins.id",
}
KINDS = ("accepted", "refused")


class Stopped(BaseException):
    """The CPU time is over."""


@dataclass
class Verdict:
    """What is wrong, if anything: "" or words; how it ended: "accepted", "refused" or another error."""

    label: str
    ended: str
    wrong: str
    seconds: float
    megabytes: float


@dataclass
class Judge:
    """folder: files in it may be read.  seconds, megabytes: limits for each."""

    folder: str = ""
    seconds: float = SECONDS
    megabytes: float = MEGABYTES
    events: list[str] = field(default_factory=list)
    armed: bool = False
    progress: int = -1
    largest: float = 0.0

    def start(self) -> None:
        """From now on this process is one of a judge, for good."""
        warnings.simplefilter("ignore")
        signal.signal(signal.SIGPROF, self._stop)
        limit = 4_000_000_000  # addresses, so that a giant allocation fails and takes nothing from others
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        sys.addaudithook(self._heard)

    def _stop(self, *_: Any) -> None:
        raise Stopped

    def _heard(self, event: str, given: tuple[Any, ...]) -> None:
        if not self.armed or event in HARMLESS or self._allowed(event, given):
            return
        self.events.append(f"{event} {str(given)[:200]}")
        self.armed = False  # so that what follows is not heard
        raise PermissionError(f"the judge forbids {event}")

    def _allowed(self, event: str, given: tuple[Any, ...]) -> bool:
        match event, given:
            case "compile", (_, "<unknown>"):  # ast.parse: a tree, no code
                return True
            case "open", (str() | Path() as path, "r" | "rb" | None, _):
                return bool(self.folder) and str(path).startswith(self.folder + os.sep) and ".." not in str(path)
        return False

    def verdict(self, label: str, read: Callable[[], Any]) -> Verdict:
        found = self._once(label, read)
        if found.wrong.startswith("took"):  # the machine may have been busy: the least of three counts
            again = [self._once(label, read) for _ in range(2)]
            found = min((found, *again), key=lambda v: v.seconds)
        return found

    def _once(self, label: str, read: Callable[[], Any]) -> Verdict:
        if self.progress >= 0:
            os.pwrite(self.progress, f"{label:<200.200}".encode(errors="replace")[:200], 0)
        self.events.clear()
        ended, wrong = "accepted", ""
        started = time.process_time()
        try:
            signal.setitimer(signal.ITIMER_PROF, STOP)
            self.armed = True
            read()
        except SymnetError as error:
            self.armed = False
            ended, wrong = "refused", _odd(str(error))
        except Stopped:
            ended, wrong = "stopped", f"not at its end after {STOP} s"
        except BaseException as error:
            ended, wrong = type(error).__name__, f"{type(error).__name__}: {str(error)[:300]}"
        finally:
            self.armed = False
            signal.setitimer(signal.ITIMER_PROF, 0)
        seconds = time.process_time() - started
        megabytes = peak()
        if self.events:
            wrong = f"heard {self.events}"
        elif not wrong and seconds > self.seconds:
            wrong = f"took {seconds:.3f} s"
        elif not wrong and megabytes > max(self.megabytes, self.largest):
            wrong = f"the process has {megabytes:.0f} MB"
        self.largest = max(self.largest, megabytes)
        return Verdict(label, ended, wrong, seconds, megabytes)


def peak() -> float:
    """Megabytes that this process had in memory at most."""
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage would count what the process was before it became this one
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def _odd(message: str) -> str:
    """A message is one that can be printed anywhere: no control characters, no halves of characters, not endless."""
    if len(message) > MESSAGE:
        return f"a message of {len(message)} characters: {message[:200]!r}"
    strange = [c for c in message if not c.isprintable() and c != "\n"]
    return f"a message with {strange[:3]!r}: {message[:300]!r}" if strange else ""


# ---------------------------------------------------------------------------------------------- processes
@dataclass
class Summary:
    """Of all verdicts: how many ended how, the worst, and those that are wrong."""

    count: int = 0
    ended: dict[str, int] = field(default_factory=dict)
    slowest: tuple[float, str] = (0.0, "")
    megabytes: float = 0.0
    seconds: float = 0.0
    wrong: list[dict[str, Any]] = field(default_factory=list)

    def add(self, found: Verdict) -> None:
        self.count += 1
        self.ended[found.ended] = self.ended.get(found.ended, 0) + 1
        self.slowest = max(self.slowest, (found.seconds, found.label))
        self.megabytes = max(self.megabytes, found.megabytes)
        self.seconds += found.seconds
        if found.wrong:
            self.wrong.append(asdict(found))

    def __str__(self) -> str:
        ended = ", ".join(f"{count} {what}" for what, count in sorted(self.ended.items()))
        return (
            f"{self.count} read: {ended}; {len(self.wrong)} wrong.  Slowest {1e3 * self.slowest[0]:.0f} ms "
            f"({self.slowest[1]}), {1e3 * self.seconds / max(self.count, 1):.2f} ms on average; "
            f"the process had at most {self.megabytes:.0f} MB."
        )


def judge_all(judge: Judge, cases: Iterator[tuple[str, Callable[[], Any]]]) -> Summary:
    """In the process of a judge: every case, one after the other."""
    summary = Summary()
    for label, read in cases:
        summary.add(judge.verdict(label, read))
    return summary


def in_a_process(module: str, *arguments: str, timeout: float = 7200) -> Summary:
    """`python -m module --judge ...` as a process, and its Summary; a crash is a verdict on the case that was read."""
    root = Path(__file__).resolve().parent.parent
    with tempfile.NamedTemporaryFile() as progress:
        surroundings = {**os.environ, "PYTHONPATH": str(root), "SYMNET_CACHE": ""}
        run = subprocess.run(
            [sys.executable, "-m", module, "--judge", progress.name, *arguments],
            cwd=root, env=surroundings, capture_output=True, text=True, timeout=timeout,
        )  # fmt: skip
        last = Path(progress.name).read_text(errors="replace").strip()
    try:
        found = Summary(**json.loads(run.stdout.splitlines()[-1]))
    except (IndexError, ValueError, TypeError):
        found = Summary()
    if run.returncode:
        words = f"the process ended with {run.returncode}: {run.stderr[-2000:]}"
        found.wrong.append(asdict(Verdict(last, "crash", words, 0.0, 0.0)))
    return found


def report(judge: Judge, progress: str, cases: Callable[[], Iterator[tuple[str, Callable[[], Any]]]]) -> None:
    """What the process of `in_a_process` does."""
    faulthandler.enable()
    judge.progress = os.open(progress, os.O_WRONLY)
    made = cases()
    judge.start()
    print(json.dumps(asdict(judge_all(judge, made))))
