"""A layer as the equations that a user wrote."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import zip_longest
from typing import Any, ClassVar

from ..declare import checks
from ..declare.checks import Choice, Pairs, by, declare
from ..declare.constants import Constant
from ..errors import Quoted, complaint
from .base import AXES, IntegerShape, Layer, Shape, names, own_constants, strength, ties

DECLARED = 256  # parameters or sizes of a layer in equations


def _axes(value: Any, where: str) -> tuple[int | str, ...]:
    if not isinstance(value, list | tuple) or len(value) > AXES:
        raise complaint(where, value, f'a list of at most {AXES} sizes or indices, such as ["i", "j"] or [16, "j"]')
    return tuple(checks.layer_name(v, where) if isinstance(v, str) else checks.integer(1)(v, where) for v in value)


@dataclass(frozen=True, slots=True)
class Declared:
    """A parameter of a layer in equations: each axis an extent, or the index that runs over it; how it is filled."""

    shape: tuple[int | str, ...] = field(default=(), metadata=by(_axes))
    initializer: Choice | None = field(default=None, metadata=by(checks.initializer))


def _declared(value: Any, where: str) -> Pairs:
    if isinstance(value, Pairs):
        return value
    if not isinstance(value, Mapping) or len(value) > DECLARED:
        expected = f'a table of at most {DECLARED} parameters, such as {{ W = ["i", "j"], b = ["i"] }}'
        raise complaint(where, value, expected)
    made = []
    for name, given in value.items():
        given = given if isinstance(given, Mapping) else {"shape": given}
        made.append((checks.layer_name(name, where), declare(Declared, given, f"{where}, {name}")))
    return Pairs(tuple(made))


def _sizes(value: Any, where: str) -> Pairs:
    if isinstance(value, Pairs):
        return value
    if not isinstance(value, Mapping) or len(value) > DECLARED:
        raise complaint(where, value, "a table of indices and their sizes, such as { i = 16 }")
    return Pairs(tuple((checks.layer_name(k, where), checks.integer(1)(v, f"{where}, {k}")) for k, v in value.items()))


@dataclass(frozen=True, slots=True)
class Equations(Layer):
    """A layer as its equations in text (equation_text.py).

    They read the layers of `inputs` by their names, a single one also as x; the first axis of these is the samples.
    sizes: of indices.  parameters: shapes, an axis an integer or the index that runs over it.  output: the tensor that
    is the output, by default the one that is defined last.  l2, l1: strengths of the penalties of its weights, which
    are its parameters of more than one axis.
    """

    kind: ClassVar[str] = "equations"
    equations: tuple[str, ...] = field(metadata=by(checks.lines))
    name: str = field(default="", metadata=by(checks.layer_name))
    sizes: Pairs = field(default=Pairs(), metadata=by(_sizes))
    learned: Pairs = field(default=Pairs(), metadata={**by(_declared), "key": "parameters"})
    output: str = field(default="", metadata=by(checks.layer_name))
    l2: float | None = field(default=None, metadata=by(strength))
    l1: float | None = field(default=None, metadata=by(strength))
    inputs: tuple[str, ...] = field(default=(), metadata=by(names))
    share: str = field(default="", metadata=by(checks.layer_name))
    tie: Pairs = field(default=Pairs(), metadata=by(ties))
    constants: tuple[Constant, ...] = own_constants()
    several: ClassVar[bool] = True

    def bound(self, constants: Mapping[str, Constant]) -> Equations:
        words = {word for line in self.equations for word in re.findall(r"[A-Za-z][A-Za-z0-9]*", line)}
        return replace(self, constants=tuple(c for name, c in constants.items() if name in words))

    def arrays(self, inputs: tuple[Shape, ...]) -> Mapping[str, Constant]:
        return {constant.name: constant for constant in self.constants}

    @property
    def names(self) -> tuple[str, ...]:
        """What the equations call the inputs."""
        return self.inputs or ("x",)

    def check_kinds(self, inputs: tuple[Shape, ...]) -> None:
        """Equations read integers as numbers, in subscripts and in conditions."""

    @property
    def derives(self) -> bool:
        return any(re.search(r"\bd\s*\(", line) for line in self.equations)

    @property
    def given(self) -> dict[str, Choice | None]:
        return {name: declared.initializer for name, declared in self.learned.entries}

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        found = _shapes(self, inputs)[self.output]
        if found is None:
            found_ = Quoted(f"{self.output or 'an output'} without the axis of the samples, or of integers")
            raise complaint(f"{self.where}, output", found_, "real numbers, the first axis that of the samples")
        if len(found) > AXES:
            raise complaint(f"{self.where}, output", Quoted(f"{len(found)} axes"), f"at most {AXES} for one sample")
        return found

    def parameters(self, inputs: tuple[Shape, ...]) -> dict[str, Shape]:
        shapes = _shapes(self, inputs)
        return {name: shapes[f"parameter {name}"] or () for name, _ in self.learned.entries}


@lru_cache(maxsize=256)
def _shapes(layer: Equations, inputs: tuple[Shape, ...]) -> Mapping[str, Shape | None]:
    """The shape of the output (None if it is no output) and of each parameter."""
    from compiler.program import Tensor

    from ..formulation.equation_text import SAMPLES, output, read_layer

    named = zip_longest(layer.names, inputs, fillvalue="other")  # more inputs than names: read_layer says so
    tensors = tuple(
        Tensor(name, (SAMPLES, *shape), "input", "integer" if isinstance(shape, IntegerShape) else "real")
        for name, shape in named
    )
    reading = read_layer(layer, tensors, 0, 0)
    made = output(reading, layer.output, layer.where)
    fits = made.rank > 1 and made.shape[0] == SAMPLES and made.kind == "real"
    fits = fits and all(n.is_Integer for n in made.shape[1:])  # the samples stand on the first axis alone
    shapes: dict[str, Shape | None] = {layer.output: tuple(int(n) for n in made.shape[1:]) if fits else None}
    for name, _ in layer.learned.entries:
        shapes[f"parameter {name}"] = tuple(int(n) for n in reading.tensors[name].shape)
    return shapes
