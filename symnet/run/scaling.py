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

Array = np.ndarray[Any, np.dtype[Any]]
KINDS = ("common", "column")


@dataclass(frozen=True, slots=True)
class Scaling:
    """Two float64 vectors, one element a column."""

    mean: Array
    deviation: Array

    def apply(self, x: Array, dtype: Any) -> Array:
        """A scaled copy."""
        return ((x - self.mean) / self.deviation).astype(dtype)


def scaling(x: Array, kind: str) -> Scaling:
    """The scaling of these inputs; what is constant is not divided."""
    axis = 0 if kind == "column" else None
    deviation = np.broadcast_to(x.std(axis=axis, dtype=np.float64), x.shape[1:])
    return Scaling(x.mean(axis=0, dtype=np.float64), np.where(deviation > 0, deviation, 1.0))
