"""Scaling of inputs: x -> (x - mean) / deviation, column by column.

In: the inputs of a training part.  Out: a Scaling, which a Model applies to all inputs from then on and keeps in its file.
The network's equations are about the scaled inputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Scaling:
    """Two float64 vectors, one element a column."""

    mean: Array
    deviation: Array

    def apply(self, x: Array, dtype: Any) -> Array:
        """A scaled copy."""
        return ((x - self.mean) / self.deviation).astype(dtype)


def standard(x: Array) -> Scaling:
    """Mean 0 and standard deviation 1 in every column that is not constant."""
    deviation = x.std(axis=0, dtype=np.float64)
    return Scaling(x.mean(axis=0, dtype=np.float64), np.where(deviation > 0, deviation, 1.0))
