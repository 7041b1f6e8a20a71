"""Threads that take turns: a kernel's parts, run by Python one after another from barrier to barrier.

Between two barriers one part runs to its end before the next begins, in an order that is given.  So where a barrier is
missing, some order gives another result, every time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from compiler.calling import call
from compiler.executable import Executable, generate
from compiler.interpreter import NAMESPACE, product
from compiler.kernels.matmul import Matmul
from compiler.program import Program


class Turns:
    """`wait(part)` returns when it is the part's turn in the next round; a round is over when all have waited."""

    def __init__(self, order: Sequence[int]) -> None:
        self.order, self.place = order, 0
        self.changed = threading.Condition()
        self.waits = [0] * len(order)
        self.failure: BaseException | None = None

    def run(self, parts: Sequence[Callable[[], None]]) -> None:
        threads = [threading.Thread(target=self._part, args=pair) for pair in enumerate(parts)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.failure is not None:
            raise self.failure
        assert len(set(self.waits)) == 1, f"parts come to different numbers of barriers: {self.waits}"

    def _part(self, number: int, part: Callable[[], None]) -> None:
        try:
            self._turn(number)
            part()
        except BaseException as error:
            self.failure = error
        self._next()

    def wait(self, number: int) -> None:
        self.waits[number] += 1
        self._next()
        self._turn(number)

    def _turn(self, number: int) -> None:
        with self.changed:
            self.changed.wait_for(lambda: self.order[self.place] == number or self.failure is not None)

    def _next(self) -> None:
        with self.changed:
            self.place = (self.place + 1) % len(self.order)
            self.changed.notify_all()


def by_elements(spec: Matmul) -> Callable[..., None]:
    """The product, an element at a time: BLAS rounds it differently in another number of rows or columns."""
    one = product(replace(spec, m=1, n=1, part=False))
    of_a, of_b = spec.lda if spec.a == "k" else 1, spec.ldb if spec.b == "k" else 1

    def each(a: Any, b: Any, c: Any, d: Any, m: int, n: int, k: int, *more: Any) -> None:
        columns = n if spec.n is None or spec.part else spec.n
        for row, column in np.ndindex(m if spec.m is None else spec.m, columns):
            at = row * spec.ldc + column
            beside = [x[at:] if isinstance(x, np.ndarray) else x for x in more]
            one(a[row * of_a :], b[column * of_b :], c[at:], d[column:], 1, 1, k, *beside)

    return each


@dataclass(frozen=True, slots=True)
class Made:
    """What a kernel made, and how often its parts waited for one another."""

    values: dict[str, Any]
    barriers: int


def run(program: Program, values: Mapping[str, Any], sizes: Mapping[str, int], order: Sequence[int]) -> Made:
    """What the kernel makes of the values if its parts take turns in this order."""
    text, calls, _, manifest = generate(program, "float64", None, dict(sizes), worth=0)
    number = threading.local()
    turns = Turns(order)

    def fork(table: Any, part: Callable[[Any, int, int], None], place: int, size: int) -> None:
        def body(k: int) -> Callable[[], None]:
            def once() -> None:
                number.value = k
                with np.errstate(all="ignore"):
                    part(table, k, len(order))

            return once

        turns.run([body(k) for k in range(len(order))])

    space = {**NAMESPACE, **{name: by_elements(spec) for name, spec in calls.items()}}
    space |= {"fork": fork, "barrier": lambda team: turns.wait(number.value)}
    exec(compile(text, "<kernel>", "exec"), space)  # our own
    made = call(Executable(0, text, manifest), values, sizes, space["kernel"])
    return Made(made, turns.waits[0])
