"""Where a training step first leaves the finite numbers: the oracle (reference.py) repeats it, equation by equation.

In: a training program and the values that the step started from.  Out: a sentence that names the tensor, the element,
the equation and, for a gradient, the parameter; "" where the oracle finds nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from compiler.program import Program

WORK = 10**8  # elements of the parameters times rows: the oracle takes about a second for that


def first_non_finite(program: Program, values: Mapping[str, Any], dtype: str, gradients: Mapping[str, str]) -> str:
    """`gradients`: name of the gradient's tensor -> name of the parameter."""
    from ..oracle.reference import evaluate
    from ..oracle.reference_float import floating

    found = evaluate(program, values, wanted=list(program.definitions), arithmetic=floating(np.dtype(dtype).type))
    for tensor, equations in program.definitions.items():
        bad = ~np.isfinite(found[tensor.name])
        if bad.any() and tensor.kind == "real":
            place = tuple(int(k) for k in np.argwhere(bad)[0])
            value = found[tensor.name][place]
            owner = f" (the gradient of {gradients[tensor.name]})" if tensor.name in gradients else ""
            lines = "; ".join(map(str, equations))
            return f"The first of them is {tensor.name}{list(place) if place else ''} = {value}{owner}, by {lines}."
    return ""
