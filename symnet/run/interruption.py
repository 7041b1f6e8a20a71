"""Interruption: SIGTERM ends training as Ctrl-C does, with a model that can be used.

Python runs the handlers of signals in its main thread, between two entries into the native loop: at most 100 ms, or one
step, after they came.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def terminable() -> Iterator[None]:
    """In here SIGTERM raises SystemExit with the exit code by convention, 143; a handler of the user's own stays."""
    mine = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if mine:
        signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        if mine:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
