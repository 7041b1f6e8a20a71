"""Scaling of inputs: x -> (x - mean) / deviation.

In: the inputs of a training part.  Out: a Scaling, which a Model applies to all inputs from then on and keeps in its
file.  The network's equations are about the scaled inputs.

    common   every column minus its mean; one deviation for all: columns of one unit, such as pixels
    column   every column minus its mean, by its own deviation: columns of different units
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import Quoted, complaint

Array = np.ndarray[Any, np.dtype[Any]]
KINDS = ("common", "column")


@dataclass(frozen=True, slots=True)
class Scaling:
    """Two float64 vectors, one element a column."""

    mean: Array
    deviation: Array

    def apply(self, x: Array, dtype: Any) -> Array:
        """A scaled copy, computed in float64."""
        return ((x - self.mean) / self.deviation).astype(dtype)


def scaling(x: Array, kind: str, name: str = "X") -> Scaling:
    """The scaling of these inputs, which errors call `name`."""
    axis = 0 if kind == "column" else None
    with np.errstate(all="ignore"):
        mean, deviation = x.mean(axis=0, dtype=np.float64), x.std(axis=axis, dtype=np.float64)
    return made(mean, deviation, x.max(axis=axis) > x.min(axis=axis), name)


def made(mean: Array, deviation: Array, varies: Array, name: str) -> Scaling:
    """Of these numbers; what is constant is not divided, though its deviation may be a rounding error above 0."""
    deviation = np.where(varies & (deviation > 0), deviation, 1.0)
    if not (np.isfinite(mean).all() and np.isfinite(deviation).all()):
        raise complaint(f"scale, {name}", Quoted("numbers whose squares have no finite sum"), "smaller numbers")
    return Scaling(mean, np.broadcast_to(deviation, mean.shape))
