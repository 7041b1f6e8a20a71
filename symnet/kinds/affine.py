"""Dense and Maxout: affine maps along the last axis of a sample."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from ..declare import activations, checks
from ..declare.checks import Choice, Pairs, by
from .base import IDENTITY, Layer, Shape, learned_shapes, names, strength, ties


@dataclass(frozen=True, slots=True)
class Dense(Layer):
    """z = W a + b and an activation: `units` outputs, W of shape (units, inputs); along the last axis."""

    kind: ClassVar[str] = "dense"
    units: int = field(metadata=by(checks.integer(1)))
    name: str = field(default="", metadata=by(checks.layer_name))
    activation: Choice = field(default=IDENTITY, metadata=by(checks.activation))
    bias: bool = field(default=True, metadata=by(checks.boolean))
    initializer: Choice | None = field(default=None, metadata=by(checks.initializer))
    bias_initializer: Choice | None = field(default=None, metadata=by(checks.initializer))
    l2: float | None = field(default=None, metadata=by(strength))
    l1: float | None = field(default=None, metadata=by(strength))
    inputs: tuple[str, ...] = field(default=(), metadata=by(names))
    share: str = field(default="", metadata=by(checks.layer_name))
    tie: Pairs = field(default=Pairs(), metadata=by(ties))

    @property
    def chosen(self) -> activations.Settings:
        return activations.settings(self.activation.name, self.activation.mapping, self.name)

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return (*inputs[0][:-1], self.units)

    def parameters(self, inputs: tuple[Shape, ...]) -> dict[str, Shape]:
        shapes: dict[str, Shape] = {"W": (self.units, inputs[0][-1])}
        if self.bias:
            shapes["b"] = (self.units,)
        return shapes | learned_shapes(self.chosen, self.units, f"{self.where}, activation")

    @property
    def given(self) -> dict[str, Choice | None]:
        return {"W": self.initializer, "b": self.bias_initializer}

    @property
    def words(self) -> str:
        function = "" if self.activation == IDENTITY else f" {self.activation.name or 'own activation'}"
        return f"{self.units}{function}"


@dataclass(frozen=True, slots=True)
class Maxout(Layer):
    """z = max_k (W_k a + b_k) over `pieces` k: W of shape (units, pieces, inputs), b of shape (units, pieces)."""

    kind: ClassVar[str] = "maxout"
    units: int = field(metadata=by(checks.integer(1)))
    pieces: int = field(default=2, metadata=by(checks.integer(1)))
    name: str = field(default="", metadata=by(checks.layer_name))
    bias: bool = field(default=True, metadata=by(checks.boolean))
    initializer: Choice | None = field(default=None, metadata=by(checks.initializer))
    bias_initializer: Choice | None = field(default=None, metadata=by(checks.initializer))
    l2: float | None = field(default=None, metadata=by(strength))
    l1: float | None = field(default=None, metadata=by(strength))
    inputs: tuple[str, ...] = field(default=(), metadata=by(names))
    share: str = field(default="", metadata=by(checks.layer_name))
    tie: Pairs = field(default=Pairs(), metadata=by(ties))

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return (*inputs[0][:-1], self.units)

    def parameters(self, inputs: tuple[Shape, ...]) -> dict[str, Shape]:
        shapes: dict[str, Shape] = {"W": (self.units, self.pieces, inputs[0][-1])}
        return shapes | ({"b": (self.units, self.pieces)} if self.bias else {})

    @property
    def given(self) -> dict[str, Choice | None]:
        return {"W": self.initializer, "b": self.bias_initializer}

    @property
    def words(self) -> str:
        return f"{self.units} of {self.pieces} pieces"
