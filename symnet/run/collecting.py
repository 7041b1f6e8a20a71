"""Python's search for garbage cycles, less often while something is derived and compiled.

What is made then stays, a hundred thousand objects and more, and is looked through again and again: a tenth of the time
from the start of a process to the end of its first step.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SELDOM = 100_000  # new objects until the next search; Python's own number is 700

_LOCK = threading.Lock()
_inside = 0  # how many blocks are open, of all threads
_usual = (0, 0, 0)


@contextmanager
def seldom() -> Iterator[None]:
    """Inside, garbage cycles are looked for seldom, in all threads; in the end again as before."""
    global _inside, _usual
    with _LOCK:
        if _inside == 0:
            _usual = gc.get_threshold()
            if 0 < _usual[0] < SELDOM:
                gc.set_threshold(SELDOM, *_usual[1:])
        _inside += 1
    try:
        yield
    finally:
        with _LOCK:
            _inside -= 1
            if _inside == 0:
                gc.set_threshold(*_usual)
