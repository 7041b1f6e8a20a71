"""Layers that keep the shape of what they read: activations, softmax, dropout."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from ..declare import activations, checks
from ..declare.checks import Choice, Pairs, by
from ..errors import complaint
from .base import AXES, Layer, Shape, learned_shapes, names, ties


@dataclass(frozen=True, slots=True)
class Activation(Layer):
    """a = f(input), element by element; learned parameters of f are for each unit of the last axis, or shared."""

    kind: ClassVar[str] = "activation"
    activation: Choice = field(metadata=by(checks.activation))
    name: str = field(default="", metadata=by(checks.layer_name))
    inputs: tuple[str, ...] = field(default=(), metadata=by(names))
    share: str = field(default="", metadata=by(checks.layer_name))
    tie: Pairs = field(default=Pairs(), metadata=by(ties))

    @property
    def chosen(self) -> activations.Settings:
        return activations.settings(self.activation.name, self.activation.mapping, self.name)

    def parameters(self, inputs: tuple[Shape, ...]) -> dict[str, Shape]:
        return learned_shapes(self.chosen, inputs[0][-1], f"{self.where}, activation")

    @property
    def words(self) -> str:
        return self.activation.name or "of one's own"


@dataclass(frozen=True, slots=True)
class Softmax(Layer):
    """exp(z) / sum of exp(z) along an axis of the sample, the last if not said."""

    kind: ClassVar[str] = "softmax"
    axis: int = field(default=-1, metadata=by(checks.integer(-AXES)))
    name: str = field(default="", metadata=by(checks.layer_name))
    inputs: tuple[str, ...] = field(default=(), metadata=by(names))

    def along(self, rank: int) -> int:
        if not -rank <= self.axis < rank:
            raise complaint(f"{self.where}, axis", self.axis, f"an axis from {-rank} to {rank - 1}")
        return self.axis % rank

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        self.along(len(inputs[0]))
        return inputs[0]

    @property
    def words(self) -> str:
        return "" if self.axis == -1 else f"along {self.axis}"


@dataclass(frozen=True, slots=True)
class LogSoftmax(Softmax):
    """z - log(sum of exp(z)) along an axis of the sample."""

    kind: ClassVar[str] = "log_softmax"


def _seed(value: object, where: str) -> int | None:
    return None if value is None else checks.integer(0)(value, where)


@dataclass(frozen=True, slots=True)
class Dropout(Layer):
    """In training each element is 0 with the probability `rate`, and the others are divided by 1 - rate.

    seed: of its own masks; None: the model's.
    """

    kind: ClassVar[str] = "dropout"
    rate: float = field(default=0.5, metadata=by(checks.number(0, 1)))
    name: str = field(default="", metadata=by(checks.layer_name))
    seed: int | None = field(default=None, metadata=by(_seed))
    inputs: tuple[str, ...] = field(default=(), metadata=by(names))

    @property
    def words(self) -> str:
        return f"{self.rate:g}"
