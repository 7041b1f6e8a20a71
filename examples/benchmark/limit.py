"""What a step cannot be faster than on this machine: its products, and what its update must read and write.

In: a workload.  Out: run(steps), which spends the time that so many steps would take if there were nothing else: as
many multiplications and additions, by symnet's own matrix kernel on operands that stay in the first-level cache; and
a pass in place over as many numbers as the parameters and the moments of the optimizer are, in an array of that size.
It gives no loss.  Activations, the loss and the overhead of a step are not counted: small networks are far from it.
"""

from __future__ import annotations

import math

import numpy as np
from workloads import Run, Unsuitable, Workload

ROWS, COLUMNS, DEPTH, REPEATED = 24, 48, 64, 64  # of the product; its sums stay in registers
SMALLEST = 2**14  # numbers of a pass: below, the call would take longer


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
    passed = np.ones(max(w.moved, SMALLEST), w.dtype)

    def run(steps: int) -> float:
        assert arrays  # they live as long as this does
        for _ in range(round(steps * w.flops / flops)):
            product(a, b, c, 0, 0, 0, 0)
        for _ in range(round(steps * w.moved / passed.size)):
            np.negative(passed, out=passed)
        return math.nan

    return run
