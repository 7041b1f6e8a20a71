"""How large a rounding error may be: the smaller of two estimates, made without the code that is judged.

In: a program and its values.  Out: a size for each element of its outputs; an error is a part of it.

    magnitudes   the element with the absolute value of every term (`reference_mp`): a bound, and what follows from
                 a bound is bounded by more; through 100 steps that pass changes on with the slope -1/2 it may be 1e40
    spreads      by how much of 1e-9 the element changes if every term and every argument does by that part of itself,
                 up or down: what errors make of each other, in few draws

What is drawn may come out small by chance, so the spread counts 30 times.  It is not asked for where magnitudes are of
the size of the values.
Source: Vignes, A stochastic arithmetic for reliable scientific computation, Math. Comput. Simulation 35 (1993).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from compiler.program import Program, Tensor

from .reference import evaluate
from .reference_float import FLOAT64, Arithmetic, Array, mixed
from .reference_mp import magnitudes

STEP, DRAWS, CHANCE = 1e-9, 4, 30
LARGE = 1e4  # times the values: then a magnitude is no size of theirs


def scales(
    program: Program,
    values: Mapping[str, Any],
    sizes: Mapping[Any, int] | None = None,
    wanted: Sequence[str | Tensor] | None = None,
) -> dict[str, Array]:
    """By name, the scale of the rounding error of every element of `wanted`, as float64; of integers their values."""
    found = magnitudes(program, values, sizes, wanted)
    near = evaluate(program, values, sizes, wanted)
    if all(np.sum(size) <= LARGE * np.sum(np.abs(near[name])) for name, size in found.items()):  # NaN is not
        return found
    moved = [evaluate(program, values, sizes, wanted, arithmetic=_changed(draw)) for draw in range(DRAWS)]
    spreads = {name: np.max([np.abs(m[name] - near[name]) for m in moved], axis=0) for name in found}
    return {
        name: np.fmin(size, CHANCE / STEP * spreads[name]) if near[name].dtype.kind == "f" else size
        for name, size in found.items()
    }


def _changed(draw: int) -> Arithmetic:
    """float64, in which whatever is added, multiplied, reduced or put into a function is another number first.

    The same number becomes the same other one, so that what is a tie stays one, and a recurrence comes to its end."""
    key = mixed(np.full(1, draw, np.uint64))[0]

    def lift(x: Array) -> Array:
        x = FLOAT64.lift(x)
        up = mixed(x.view(np.uint64) ^ key) >> np.uint64(63)
        return np.asarray(x * (1 + STEP * (2.0 * up - 1)))

    return Arithmetic(lift, FLOAT64.number, FLOAT64.functions)
