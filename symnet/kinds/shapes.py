"""Layers that join others, or give the same numbers another shape."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from ..declare import checks
from ..declare.checks import by
from ..errors import Quoted, complaint
from .base import AXES, Layer, Shape, names, sample_shape


@dataclass(frozen=True, slots=True)
class Add(Layer):
    """The sum of layers of one shape."""

    kind: ClassVar[str] = "add"
    name: str = field(default="", metadata=by(checks.layer_name))
    inputs: tuple[str, ...] = field(default=(), metadata=by(names))
    several: ClassVar[bool] = True

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        for shape in inputs[1:]:
            if shape != inputs[0]:
                raise complaint(f"{self.where}, inputs", Quoted(_listed(inputs)), "inputs of one shape")
        return inputs[0]


@dataclass(frozen=True, slots=True)
class Multiply(Add):
    """The elementwise product of layers of one shape."""

    kind: ClassVar[str] = "multiply"


@dataclass(frozen=True, slots=True)
class Concat(Layer):
    """Layers side by side along an axis of the sample, the last if not said."""

    kind: ClassVar[str] = "concat"
    axis: int = field(default=-1, metadata=by(checks.integer(-AXES)))
    name: str = field(default="", metadata=by(checks.layer_name))
    inputs: tuple[str, ...] = field(default=(), metadata=by(names))
    several: ClassVar[bool] = True

    def along(self, rank: int) -> int:
        if not -rank <= self.axis < rank:
            raise complaint(f"{self.where}, axis", self.axis, f"an axis from {-rank} to {rank - 1}")
        return self.axis % rank

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        axis = self.along(len(inputs[0]))
        rests = {(*shape[:axis], *shape[axis + 1 :]) for shape in inputs}
        if len(rests) > 1 or len({len(shape) for shape in inputs}) > 1:
            expected = f"inputs of one shape, axis {axis} apart"
            raise complaint(f"{self.where}, inputs", Quoted(_listed(inputs)), expected)
        return (*inputs[0][:axis], sum(shape[axis] for shape in inputs), *inputs[0][axis + 1 :])


@dataclass(frozen=True, slots=True)
class Reshape(Layer):
    """The same numbers in row-major order in another shape."""

    kind: ClassVar[str] = "reshape"
    to: Shape = field(metadata=by(sample_shape))
    name: str = field(default="", metadata=by(checks.layer_name))
    inputs: tuple[str, ...] = field(default=(), metadata=by(names))

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        if math.prod(self.to) != math.prod(inputs[0]):
            expected = f"{math.prod(inputs[0])} elements, as its input of shape {inputs[0]} has"
            raise complaint(f"{self.where}, to", Quoted(f"{self.to}: {math.prod(self.to)} elements"), expected)
        return self.to

    @property
    def words(self) -> str:
        return f"to {'x'.join(map(str, self.to))}"


@dataclass(frozen=True, slots=True)
class Flatten(Layer):
    """All numbers of a sample in one axis, in row-major order."""

    kind: ClassVar[str] = "flatten"
    name: str = field(default="", metadata=by(checks.layer_name))
    inputs: tuple[str, ...] = field(default=(), metadata=by(names))

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return (math.prod(inputs[0]),)


def _listed(shapes: tuple[Shape, ...]) -> str:
    return f"shapes {', '.join(map(str, shapes))}"
