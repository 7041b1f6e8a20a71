"""R and its gradient over all of some data, from the compiled forward and backward; nothing is updated.

In: a Model and checked Data.  Out: R = loss + penalty, and dR/dW by name, or both at a point: a vector of all
parameters, one after the other, as minimizers of other libraries have it.  Stands beside loop.py on execution.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import Quoted, complaint
from ..network import Network
from .data import Data, check_data
from .execution import ROWS, assert_intact, variant
from .plan import LAYERS

if TYPE_CHECKING:
    from .training import Model

Array = np.ndarray[Any, np.dtype[Any]]


class Risk:
    """R over these data, at the parameters that the model has: `risk()`; at others: `risk.at(point)`.

    training: of a step of training on all rows at once: batch norm couples them, and dropout draws for each.
    """

    def __init__(self, model: Model, data: Data, training: bool = False) -> None:
        self._model, self._data = model, data
        purpose = "training gradient" if training else "gradient"
        self._size = max(ROWS, 1 << (data.rows - 1).bit_length()) if training else ROWS
        self._call = model.new_call(purpose, variant(data), self._size)
        risk, *names = self._call.kernel.outputs
        shapes = self._call.kernel.manifest["outputs"]
        self._value = self._call.put(risk, np.zeros(1, model.dtype))
        whole = [self._call.put(name, np.zeros([int(n) for n in shapes[name]], model.dtype)) for name in names]
        places = [(p.tensor, p.slot) for p in model.kernels.plan.parameters]
        of = dict(zip(dict.fromkeys(tensor for tensor, _ in places), whole, strict=True))
        self._places = dict(zip(model.network.parameters, places, strict=True))
        self._parts = {name: of[t] if slot is None else of[t][slot] for name, (t, slot) in self._places.items()}

    def __call__(self) -> tuple[float, dict[str, Array]]:
        """(R, {name: dR/dW}); the arrays are the caller's."""
        total, rows = 0.0, self._data.rows
        gradient = {name: np.zeros(part.shape, part.dtype) for name, part in self._parts.items()}
        with self._model.lock:
            self._call.attach()
            self._call.take(self._model.hyper)
            for chunk in chunks(rows, self._size):
                for name, array in self._data.arrays.items():
                    self._call.put(name, array[chunk])
                self._call.run(chunk.stop - chunk.start)
                # R is a mean over samples plus a penalty, so the mean of chunks, weighted by their rows, is R
                share = (chunk.stop - chunk.start) / rows
                total += share * float(self._value[0])
                for name, part in self._parts.items():
                    gradient[name] += np.asarray(share * part, part.dtype)
            assert_intact(self._model.memory)
        return total, gradient

    @property
    def point(self) -> Array:
        """The parameters of the model, one after the other, float64."""
        views = (self._model.memory.view(*place) for place in self._places.values())
        return np.concatenate([np.asarray(view, np.float64).ravel() for view in views])

    def move(self, point: Array) -> None:
        """Give the model the parameters at a point."""
        start = 0
        with self._model.lock:
            self._model.memory.changes += 1
            for place in self._places.values():
                view = self._model.memory.view(*place)
                size = math.prod(view.shape)
                view[...] = point[start : start + size].reshape(view.shape)
                start += size

    def at(self, point: Array) -> tuple[float, Array]:
        """(R, dR/dpoint) at a point, where the model then stands."""
        self.move(point)
        value, gradient = self()
        return value, np.concatenate([np.asarray(part, np.float64).ravel() for part in gradient.values()])


def value_and_gradient(
    network: Network,
    parameters: Mapping[str, Any],
    X: Any,
    y: Any,
    dtype: str = "float64",
    sample_weight: Any = None,
    training: bool | None = None,
    accuracy: str = "usual",
) -> tuple[float, dict[str, Array]]:
    """Network.value_and_gradient: R (with the penalty) and dR/dW by name, from the compiled forward and backward.

    Where the loss has no finite value (the logarithm of 0, say), these are NaN or infinite and nothing is raised.
    """
    model = _differentiator(network, dtype, accuracy)
    data = check_data(network, X, y, dtype, weights=sample_weight)
    for name in network.parameters:
        if name not in parameters:
            raise complaint("value_and_gradient, parameters", Quoted(f"no {name!r}"), "every parameter of the network")
    with model.lock:
        states = {s.name.removeprefix(LAYERS): s.initial for s in model.kernels.plan.states}
        first = {name: np.full(shape, states[name]) for name, shape in network.states.items()}
        model.states.update(first | {name: value for name, value in parameters.items() if name in first})
        model.parameters.update({name: value for name, value in parameters.items() if name not in first})
        return Risk(model, data, network.is_coupled if training is None else training)()


@lru_cache(maxsize=8)
def _differentiator(network: Network, dtype: str, accuracy: str) -> Model:
    """The model whose gradient kernel serves a network; the last few are kept."""
    from .training import compile_network

    return compile_network(network, "gradient_descent", dtype, accuracy=accuracy)


def chunks(rows: int, size: int = ROWS) -> Iterator[slice]:
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))
