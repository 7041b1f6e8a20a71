"""Memory: how many bytes a network takes to train, known before any of them is allocated.

In: a Spec, an optimizer, a dtype.  Out: an estimate, and an error where it is above a limit.  Stands at the door of
`Network.compile`.

    parameters * (1 + states of the optimizer) * 2     with a copy of the last that were finite (rewind.py)
    + parameters in float64      their first values, all at once; later the gradients stand in their place
    + activations * 2            of one batch, with their adjoints

What the compiler's passes save or add is not counted: this is to tell megabytes from terabytes.
"""

from __future__ import annotations

import math
import os
from typing import Any

from ..declare import optimizers
from ..declare.spec import Choice, Spec
from ..errors import Quoted, complaint

BATCH = 32  # rows, as `fit` has them unless told
_DOUBLE = 8


def estimate(spec: Spec, optimizer: Choice, itemsize: int, batch: int = BATCH) -> int:
    """Bytes to train the network with batches of so many rows."""
    parameters = sum(math.prod(shape) for shape in spec.parameters().values())
    states = len(optimizers.row(optimizer.name, optimizer.mapping, "optimizer").states)
    kept = 2 * parameters * (1 + states) * itemsize
    repeats = {layer.name: layer.repeat for layer in spec.layers}
    values = sum(math.prod(shape) * repeats.get(name, 1) for name, shape in spec.graph.shapes.items())
    activations = 2 * batch * values * itemsize
    return kept + parameters * _DOUBLE + activations


def physical() -> int | None:
    """Bytes of this machine's memory, where the system says so."""
    try:
        found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not POSIX, or names that it does not know
        return None
    return found if found > 0 else None


def check(spec: Spec, optimizer: Choice, itemsize: int, limit: Any = None) -> None:
    """Raise SymnetError if training would take more than `limit` bytes; None: half of the machine's memory."""
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int | float) or not limit > 0):
        raise complaint("compile, memory_limit", limit, "a number of bytes, greater than 0")
    found, what = (physical(), "half of this machine's memory") if limit is None else (None, "the memory_limit")
    allowed = limit if found is None else found / 2
    needed = estimate(spec, optimizer, itemsize)
    if allowed is not None and needed > allowed:
        advice = "Use fewer units or an optimizer with fewer states, or pass a higher memory_limit=."
        raise complaint(
            "compile",
            Quoted(f"a network that takes about {readable(needed)} to train"),
            f"at most {readable(allowed)}, {what}",
            advice,
        )


def readable(count: float) -> str:
    """Bytes in the unit that fits."""
    for unit in ("bytes", "KB", "MB"):
        if count < 1000:
            return f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} GB"
