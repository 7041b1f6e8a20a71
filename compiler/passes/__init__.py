"""The passes, in order.  In: a program as it was derived.  Out: the program that is lowered, and what each pass did.

Each is a pure function Program -> Program in a file of its own.  What follows in the pipeline (fusing loops, order of
axes, memory) is decided while lowering: it does not stay in the language.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ..program import Equation, Program
from .cost import Cost, equation_cost
from .keep_digits import keep_digits
from .reuse_values import reuse_values
from .rewriting import operations
from .share import share
from .simplify_algebra import simplify_algebra
from .split_products import split_products
from .stabilize import stabilize
from .use_facts import use_facts

Pass = tuple[str, Callable[[Program], Program], str]

PASSES: tuple[Pass, ...] = (
    # before algebra: what facts make of an adjoint is often a number, which algebra then inlines
    ("use_facts", use_facts, "what the data promise shortens sums: the gradient of softmax cross-entropy is p - y"),
    ("simplify_algebra", simplify_algebra, "numbers, copies, identities and conditions go; 0 * inf cannot arise"),
    ("stabilize", stabilize, "no exponential overflows, and softmax is one exponential"),
    # the program that people read is the one up to here
    ("share", share, "nothing is computed twice, and nothing that is not needed"),
    # after share, which finds f itself by comparing; elimination costs more, and gives what is left
    ("reuse_values", reuse_values, "f'(z) from a = f(z) where that is cheaper and as accurate; z need not be kept"),
    ("split_products", split_products, "every contraction is a pure product of two tensors, in the cheapest order"),
)
READABLE: tuple[Pass, ...] = PASSES[:3]
# after what people read: each element as accurate as its size, not as the largest that there may be
STRICT: tuple[Pass, ...] = (
    *READABLE,
    ("keep_digits", keep_digits, "no difference of nearly equal numbers, and no 0 * inf where the product has a limit"),
    *(row for row in PASSES[3:] if row[0] != "reuse_values"),
)
PIPELINES: Mapping[str, tuple[Pass, ...]] = MappingProxyType({"usual": PASSES, "strict": STRICT})


@dataclass(frozen=True, slots=True)
class PassReport:
    """What a pass did: (before, after) of equations, arithmetic operations and function calls, as written down.

    flops, elements: what they cost at run time, (before, after), each as (for no row, for each row of a batch).
    """

    name: str
    reason: str
    equations: tuple[int, int]
    operations: tuple[int, int]
    functions: tuple[int, int]
    flops: tuple[tuple[int, int], tuple[int, int]]
    elements: tuple[tuple[int, int], tuple[int, int]]
    milliseconds: float


def run_passes(
    program: Program,
    passes: tuple[Pass, ...] = PASSES,
    verify: Callable[[Program], None] | None = None,
) -> tuple[Program, tuple[PassReport, ...]]:
    """The program after the passes, and a row for each.  `verify` is called after each (in tests)."""
    rows = []
    known: dict[Equation, _Counts] = {}
    before = _count(program, known)
    for name, function, reason in passes:
        start = time.perf_counter()
        program = function(program)
        milliseconds = 1e3 * (time.perf_counter() - start)
        after = _count(program, known)
        equations, called, functions, flops, elements = zip(before, after, strict=True)
        rows.append(PassReport(name, reason, equations, called, functions, flops, elements, milliseconds))
        before = after
        if verify is not None:
            verify(program)
    return program, tuple(rows)


_Counts = tuple[tuple[int, int], Cost, Cost]  # operations and functions; cost with one row of each batch, and with two


def _count(program: Program, known: dict[Equation, _Counts]) -> tuple[Any, ...]:
    """What a row of the report has; `known` are equations that were counted before: most stay as they are."""
    names = [size.name for size in program.sizes]
    for equation in program.equations:
        if equation not in known:
            one, two = (equation_cost(equation, dict.fromkeys(names, rows)) for rows in (1, 2))
            known[equation] = operations(equation.rhs), one, two
    counts = [known[equation] for equation in program.equations]
    one, two = sum((c[1] for c in counts), Cost(0, 0)), sum((c[2] for c in counts), Cost(0, 0))
    flops, elements = two.operations - one.operations, two.elements - one.elements
    return (
        len(counts), sum(a for (a, _), *_ in counts), sum(f for (_, f), *_ in counts),
        (one.operations - flops, flops), (one.elements - elements, elements),
    )  # fmt: skip
