"""The parameters of a model, and the states of its layers, by name, as a user reads and assigns them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import Quoted, complaint, unknown
from .arrays import Array, real_array

if TYPE_CHECKING:
    from .training import Model


class Parameters(Mapping[str, Array]):
    """Arrays of a model by name.  Reading gives read-only copies; assigning checks name, shape and values.

    what: "parameter" or "state".  places: tensor and slot by name; shapes: by name.
    """

    def __init__(
        self,
        model: Model,
        what: str,
        places: Mapping[str, tuple[str, int | None]],
        shapes: Mapping[str, tuple[int, ...]],
    ) -> None:
        self._model, self._what, self._places, self._shapes = model, what, places, shapes

    def __getitem__(self, name: str) -> Array:
        place = self._place(name)
        with self._model.lock:
            array = np.array(self._model.memory.view(*place), order="C")
        array.flags.writeable = False
        return array

    def __setitem__(self, name: str, value: Any) -> None:
        self.update({name: value})

    def update(self, values: Mapping[str, Any]) -> None:
        """Assign several parameters: all, or none if one of them is refused."""
        checked = {self._place(name): self._checked(name, value) for name, value in values.items()}
        with self._model.lock:
            self._model.memory.changes += 1
            for place, array in checked.items():
                self._model.memory.view(*place)[...] = array

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)

    def __repr__(self) -> str:
        return f"{self._what.title()}s({', '.join(f'{k}: {v}' for k, v in self._shapes.items())})"

    def _place(self, name: str) -> tuple[str, int | None]:
        if name not in self._places:
            raise unknown(f"{self._what}s", self._what, name, self._places)
        return self._places[name]

    def _checked(self, name: str, value: Any) -> Array:
        return checked_array(f"{self._what}s[{name!r}]", value, self._shapes[name], self._model.dtype)


def checked_array(where: str, value: Any, shape: tuple[int, ...], dtype: str) -> Array:
    """An array from a user: real, finite, of the declared shape, in `dtype`."""
    array = real_array(value, where)
    if array.dtype.kind == "b":
        raise complaint(where, Quoted(f"an array of {array.dtype}"), "real numbers")
    if array.shape != shape:
        raise complaint(where, Quoted(f"shape {array.shape}"), f"shape {shape}")
    with np.errstate(all="ignore"):
        cast = array.astype(dtype)
    bad = ~np.isfinite(cast)
    if bad.any():
        place = tuple(int(k) for k in np.argwhere(bad)[0])
        raise complaint(f"{where}{list(place) if place else ''}", array[place].item(), f"finite numbers of {dtype}")
    return cast
