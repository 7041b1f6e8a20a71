"""What a step cannot be faster than on this machine: its products, its functions, and what its update reads and writes.

In: a workload.  Out: run(steps), which spends the time that so many steps would take if there were nothing else: as
many multiplications and additions, by symnet's own matrix kernel on operands that stay in the first-level cache; as
many values of tanh, logistic, exp and erf as its layers take, in that cache, too; and a pass in place over as many
numbers as the parameters and the moments of the optimizer are, in an array of that size.  It gives no loss.  The loss,
slopes, all simpler arithmetic and the overhead of a step are not counted: small networks are far from it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from workloads import Run, Unsuitable, Workload

if TYPE_CHECKING:
    from compiler.native import Native

ROWS, COLUMNS, DEPTH, REPEATED = 24, 48, 64, 64  # of the product; its sums stay in registers
SMALLEST = 2**14  # numbers of a pass: below, the call would take longer
VALUES = 2**10  # of a function, one after the other in the first-level cache


def limit(w: Workload, threads: int) -> Run:
    from compiler import native
    from compiler.kernels import matmul

    if threads != 1:
        raise Unsuitable("it is the limit of one thread")
    spec = matmul.Matmul(
        w.dtype, ROWS, COLUMNS, DEPTH, lda=DEPTH, ldb=COLUMNS, ldc=COLUMNS, segments=((REPEATED, 0, 0),)
    )
    built, _ = matmul.build(spec)
    product = native.callable_from(built, matmul.SIGNATURE[w.dtype])
    arrays = [np.zeros(shape, w.dtype) for shape in ((ROWS, DEPTH), (DEPTH, COLUMNS), (ROWS, COLUMNS))]
    a, b, c = (array.ctypes.data for array in arrays)
    flops = 2 * ROWS * COLUMNS * DEPTH * REPEATED
    values = np.ones(VALUES, w.dtype)
    kernels = [
        (native.callable_from(_again(name, w.dtype), "void(i64*)"), count) for name, count in w.functions.items()
    ]
    passed = np.ones(max(w.moved, SMALLEST), w.dtype)

    def run(steps: int) -> float:
        assert arrays  # they live as long as this does
        for _ in range(round(steps * w.flops / flops)):
            product(a, b, c, 0, 0, 0, 0)
        for kernel, count in kernels:
            table = np.array([values.ctypes.data, round(steps * count / VALUES)], np.int64)
            kernel(table.ctypes.data)
        for _ in range(round(steps * w.moved / passed.size)):
            np.negative(passed, out=passed)
        return math.nan

    return run


def _again(function: str, dtype: str) -> Native:
    """A native loop: x = f(-x) for each of VALUES numbers x at table[0], table[1] times."""
    from compiler import native

    pointer = "pointer_f32" if dtype == "float32" else "pointer_f64"
    text = (
        f"def again(table):\n    x = {pointer}(table[0])\n"
        f"    for r in range(table[1]):\n        for i in range({VALUES}):\n            x[i] = {function}(-x[i])\n"
    )
    return native.build_source(text, "again")
