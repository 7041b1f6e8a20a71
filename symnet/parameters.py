"""The parameters of a model by name, as a user reads and assigns them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import Quoted, complaint, unknown
from .network import Network

if TYPE_CHECKING:
    from .training import Model

Array = np.ndarray[Any, np.dtype[Any]]


class Parameters(Mapping[str, Array]):
    """The parameters of a model by name.  Reading gives read-only copies; assigning checks name, shape and values."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def __getitem__(self, name: str) -> Array:
        tensor = self._tensor(name)
        with self._model.lock:
            array = np.array(self._model.memory.view(tensor), order="C")
        array.flags.writeable = False
        return array

    def __setitem__(self, name: str, value: Any) -> None:
        self.update({name: value})

    def update(self, values: Mapping[str, Any]) -> None:
        """Assign several parameters: all, or none if one of them is refused."""
        checked = {self._tensor(name): self._checked(name, value) for name, value in values.items()}
        with self._model.lock:
            for tensor, array in checked.items():
                self._model.memory.view(tensor)[...] = array

    def __iter__(self) -> Iterator[str]:
        return iter(self._model.network.parameters)

    def __len__(self) -> int:
        return len(self._model.network.parameters)

    def __repr__(self) -> str:
        return f"Parameters({', '.join(f'{k}: {v}' for k, v in self._model.network.parameters.items())})"

    def _tensor(self, name: str) -> str:
        tensors = self._model._tensors
        if name not in tensors:
            raise unknown("parameters", "parameter", name, tensors)
        return tensors[name]

    def _checked(self, name: str, value: Any) -> Array:
        return checked_parameter(self._model.network, name, value, self._model.dtype)


def checked_parameter(network: Network, name: str, value: Any, dtype: str) -> Array:
    """A parameter's value from a user: real, finite, of the declared shape, in `dtype`."""
    where, shape = f"parameters[{name!r}]", network.parameters[name]
    try:
        array = np.asarray(value)
    except ValueError:
        raise complaint(where, Quoted("rows of different lengths"), f"an array of shape {shape}") from None
    if array.dtype.kind not in "iuf":
        raise complaint(where, Quoted(f"an array of {array.dtype}"), "real numbers")
    if array.shape != shape:
        raise complaint(where, Quoted(f"shape {array.shape}"), f"shape {shape}")
    with np.errstate(over="ignore"):
        cast = array.astype(dtype)
    bad = ~np.isfinite(cast)
    if bad.any():
        place = tuple(int(k) for k in np.argwhere(bad)[0])
        raise complaint(f"{where}{list(place) if place else ''}", array[place].item(), f"finite numbers of {dtype}")
    return cast
