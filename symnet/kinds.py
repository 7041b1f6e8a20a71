"""The kinds of layers: a table of what a `[[layer]]` may say, and the functions that say it in Python.

In: checked values (checks.py).  Out: frozen dataclasses that know the shape of their output and of their parameters,
for one sample, without the axis of the samples.  layers.py writes their equations.  Nothing here loads SymPy, but for
layers whose equations or formulas a user wrote: these are read at the door.

Every layer may say which layers it reads (`inputs`; else it reads the one before), and layers with parameters may use
those of another layer of their kind (`share`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from itertools import zip_longest
from typing import Any, ClassVar

from . import activations, checks, initializers
from .checks import Choice, Pairs, by, declare
from .errors import Quoted, complaint

Shape = tuple[int, ...]
AXES = 6  # of one sample
DECLARED = 256  # parameters or sizes of a layer in equations
IDENTITY = Choice("identity")


def _names(value: Any, where: str) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple) or not value:
        raise complaint(where, value, "the name of a layer, or a list of names")
    return tuple(checks.layer_name(name, where) for name in value)


def _strength(value: Any, where: str) -> float | None:
    return None if value is None else checks.number(0)(value, where)


def sample_shape(value: Any, where: str) -> Shape:
    """The shape of one sample: an integer, or a list of them."""
    if not isinstance(value, list | tuple):
        value = [value]
    if not 1 <= len(value) <= AXES:
        raise complaint(where, value, f"from 1 to {AXES} sizes")
    return tuple(checks.integer(1)(n, where) for n in value)


def _axes(value: Any, where: str) -> tuple[int | str, ...]:
    if not isinstance(value, list | tuple) or len(value) > AXES:
        raise complaint(where, value, f'a list of at most {AXES} sizes or indices, such as ["i", "j"] or [16, "j"]')
    return tuple(checks.layer_name(v, where) if isinstance(v, str) else checks.integer(1)(v, where) for v in value)


class _Layer:
    """What kinds have in common, unless they say otherwise: one input, its shape, no parameters."""

    __slots__ = ()
    several: ClassVar[bool] = False  # reads more than one layer
    share: str = ""
    name: str
    inputs: tuple[str, ...]

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """The shape of the output; SymnetError if the inputs do not fit."""
        return inputs[0]

    def parameters(self, inputs: tuple[Shape, ...]) -> dict[str, Shape]:
        """Name within the layer -> shape."""
        return {}

    @property
    def given(self) -> dict[str, Choice | None]:
        """The initializers that the spec gives, by parameter."""
        return {}

    @property
    def words(self) -> str:
        return ""

    @property
    def where(self) -> str:
        return f"layer {self.name!r}"

    def __str__(self) -> str:
        kind = next(name for name, table in KINDS.items() if type(self) is table)
        text = f"{kind} {self.words}".rstrip()
        read = f" of {', '.join(self.inputs)}" if self.inputs else ""
        return f"{self.name}: {text}{read}{f' with the parameters of {self.share}' if self.share else ''}"


@dataclass(frozen=True, slots=True)
class Dense(_Layer):
    """z = W a + b and an activation: `units` outputs, W of shape (units, inputs); along the last axis."""

    units: int = field(metadata=by(checks.integer(1)))
    name: str = field(default="", metadata=by(checks.layer_name))
    activation: Choice = field(default=IDENTITY, metadata=by(checks.activation))
    bias: bool = field(default=True, metadata=by(checks.boolean))
    initializer: Choice | None = field(default=None, metadata=by(checks.initializer))
    bias_initializer: Choice | None = field(default=None, metadata=by(checks.initializer))
    l2: float | None = field(default=None, metadata=by(_strength))
    l1: float | None = field(default=None, metadata=by(_strength))
    inputs: tuple[str, ...] = field(default=(), metadata=by(_names))
    share: str = field(default="", metadata=by(checks.layer_name))

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
class Maxout(_Layer):
    """z = max_k (W_k a + b_k) over `pieces` k: W of shape (units, pieces, inputs), b of shape (units, pieces)."""

    units: int = field(metadata=by(checks.integer(1)))
    pieces: int = field(default=2, metadata=by(checks.integer(1)))
    name: str = field(default="", metadata=by(checks.layer_name))
    bias: bool = field(default=True, metadata=by(checks.boolean))
    initializer: Choice | None = field(default=None, metadata=by(checks.initializer))
    bias_initializer: Choice | None = field(default=None, metadata=by(checks.initializer))
    l2: float | None = field(default=None, metadata=by(_strength))
    l1: float | None = field(default=None, metadata=by(_strength))
    inputs: tuple[str, ...] = field(default=(), metadata=by(_names))
    share: str = field(default="", metadata=by(checks.layer_name))

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


@dataclass(frozen=True, slots=True)
class Activation(_Layer):
    """a = f(input), element by element; learned parameters of f are for each unit of the last axis, or shared."""

    activation: Choice = field(metadata=by(checks.activation))
    name: str = field(default="", metadata=by(checks.layer_name))
    inputs: tuple[str, ...] = field(default=(), metadata=by(_names))
    share: str = field(default="", metadata=by(checks.layer_name))

    @property
    def chosen(self) -> activations.Settings:
        return activations.settings(self.activation.name, self.activation.mapping, self.name)

    def parameters(self, inputs: tuple[Shape, ...]) -> dict[str, Shape]:
        return learned_shapes(self.chosen, inputs[0][-1], f"{self.where}, activation")

    @property
    def words(self) -> str:
        return self.activation.name or "of one's own"


@dataclass(frozen=True, slots=True)
class Softmax(_Layer):
    """exp(z) / sum of exp(z) along an axis of the sample, the last if not said."""

    axis: int = field(default=-1, metadata=by(checks.integer(-AXES)))
    name: str = field(default="", metadata=by(checks.layer_name))
    inputs: tuple[str, ...] = field(default=(), metadata=by(_names))

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


@dataclass(frozen=True, slots=True)
class Add(_Layer):
    """The sum of layers of one shape."""

    name: str = field(default="", metadata=by(checks.layer_name))
    inputs: tuple[str, ...] = field(default=(), metadata=by(_names))
    several: ClassVar[bool] = True

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        for shape in inputs[1:]:
            if shape != inputs[0]:
                raise complaint(f"{self.where}, inputs", Quoted(_listed(inputs)), "inputs of one shape")
        return inputs[0]


@dataclass(frozen=True, slots=True)
class Multiply(Add):
    """The elementwise product of layers of one shape."""


@dataclass(frozen=True, slots=True)
class Concat(_Layer):
    """Layers side by side along an axis of the sample, the last if not said."""

    axis: int = field(default=-1, metadata=by(checks.integer(-AXES)))
    name: str = field(default="", metadata=by(checks.layer_name))
    inputs: tuple[str, ...] = field(default=(), metadata=by(_names))
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
class Dropout(_Layer):
    """In training each element is 0 with the probability `rate`, and the others are divided by 1 - rate."""

    rate: float = field(default=0.5, metadata=by(checks.number(0, 1)))
    name: str = field(default="", metadata=by(checks.layer_name))
    inputs: tuple[str, ...] = field(default=(), metadata=by(_names))

    @property
    def words(self) -> str:
        return f"{self.rate:g}"


@dataclass(frozen=True, slots=True)
class Reshape(_Layer):
    """The same numbers in row-major order in another shape."""

    to: Shape = field(metadata=by(sample_shape))
    name: str = field(default="", metadata=by(checks.layer_name))
    inputs: tuple[str, ...] = field(default=(), metadata=by(_names))

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        if math.prod(self.to) != math.prod(inputs[0]):
            expected = f"{math.prod(inputs[0])} elements, as its input of shape {inputs[0]} has"
            raise complaint(f"{self.where}, to", Quoted(f"{self.to}: {math.prod(self.to)} elements"), expected)
        return self.to

    @property
    def words(self) -> str:
        return f"to {'x'.join(map(str, self.to))}"


@dataclass(frozen=True, slots=True)
class Flatten(_Layer):
    """All numbers of a sample in one axis, in row-major order."""

    name: str = field(default="", metadata=by(checks.layer_name))
    inputs: tuple[str, ...] = field(default=(), metadata=by(_names))

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return (math.prod(inputs[0]),)


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
class Equations(_Layer):
    """A layer as its equations in text (equation_text.py).

    They read the layers of `inputs` by their names, a single one also as x; the first axis of these is the samples.
    sizes: of indices.  parameters: shapes, an axis an integer or the index that runs over it.  output: the tensor that
    is the output, by default the one that is defined last.
    """

    equations: tuple[str, ...] = field(metadata=by(checks.lines))
    name: str = field(default="", metadata=by(checks.layer_name))
    sizes: Pairs = field(default=Pairs(), metadata=by(_sizes))
    learned: Pairs = field(default=Pairs(), metadata={**by(_declared), "key": "parameters"})
    output: str = field(default="", metadata=by(checks.layer_name))
    inputs: tuple[str, ...] = field(default=(), metadata=by(_names))
    share: str = field(default="", metadata=by(checks.layer_name))
    several: ClassVar[bool] = True

    @property
    def names(self) -> tuple[str, ...]:
        """What the equations call the inputs."""
        return self.inputs or ("x",)

    @property
    def given(self) -> dict[str, Choice | None]:
        return {name: declared.initializer for name, declared in self.learned.entries}

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        found = _shapes(self, inputs)[self.output]
        if found is None:
            found_ = Quoted(f"{self.output or 'an output'} without the axis of the samples, or of integers")
            raise complaint(f"{self.where}, output", found_, "real numbers, the first axis that of the samples")
        return found

    def parameters(self, inputs: tuple[Shape, ...]) -> dict[str, Shape]:
        shapes = _shapes(self, inputs)
        return {name: shapes[f"parameter {name}"] or () for name, _ in self.learned.entries}


@lru_cache(maxsize=256)
def _shapes(layer: Equations, inputs: tuple[Shape, ...]) -> Mapping[str, Shape | None]:
    """The shape of the output (None if it is no output) and of each parameter."""
    from compiler.program import Tensor

    from .equation_text import SAMPLES, output, read_layer

    named = zip_longest(layer.names, inputs, fillvalue="other")  # more inputs than names: read_layer says so
    tensors = tuple(Tensor(name, (SAMPLES, *shape), "input") for name, shape in named)
    reading = read_layer(layer, tensors, 0, 0)
    made = output(reading, layer.output, layer.where)
    fits = made.rank > 1 and made.shape[0] == SAMPLES and made.kind == "real"
    shapes: dict[str, Shape | None] = {layer.output: tuple(int(n) for n in made.shape[1:]) if fits else None}
    for name, _ in layer.learned.entries:
        shapes[f"parameter {name}"] = tuple(int(n) for n in reading.tensors[name].shape)
    return shapes


Layer = (
    Dense | Maxout | Activation | Softmax | LogSoftmax | Add | Multiply | Concat | Dropout | Reshape | Flatten
    | Equations
)  # fmt: skip
KINDS: Mapping[str, type[Layer]] = {
    "dense": Dense,
    "maxout": Maxout,
    "activation": Activation,
    "softmax": Softmax,
    "log_softmax": LogSoftmax,
    "add": Add,
    "multiply": Multiply,
    "concat": Concat,
    "dropout": Dropout,
    "reshape": Reshape,
    "flatten": Flatten,
    "equations": Equations,
}


def learned_shapes(chosen: activations.Settings, units: int, where: str) -> dict[str, Shape]:
    """The learned parameters of an activation: one value, one for each unit, or one for each group of units."""
    if chosen.per == "group" and units % chosen.groups:
        raise complaint(f"{where}, groups", chosen.groups, f"a number that divides the {units} units")
    return dict.fromkeys(chosen.learned, {"unit": (units,), "group": (chosen.groups,), "layer": ()}[chosen.per])


def _listed(shapes: tuple[Shape, ...]) -> str:
    return f"shapes {', '.join(map(str, shapes))}"


def check_initializers(layer: Layer, shapes: Mapping[str, Shape]) -> None:
    """The initializers that a layer gives fit its parameters; a layer that shares parameters gives none."""
    for name, choice in layer.given.items():
        if choice is None:
            continue
        where = f"{layer.where}, initializer of {name}"
        if name not in shapes:
            raise complaint(where, choice.name, "none", f"This layer has no {name}.")
        if layer.share:
            raise complaint(where, choice.name, "none", f"Its parameters are those of {layer.share!r}.")
        initializers.check(choice.name, choice.mapping, shapes[name], where)


def without_initializers(layer: Layer) -> Layer:
    """The layer as far as its equations go."""
    none: dict[str, Any] = dict.fromkeys(f.name for f in fields(layer) if f.name.endswith("initializer"))
    if isinstance(layer, Equations):
        none["learned"] = Pairs(tuple((name, Declared(d.shape)) for name, d in layer.learned.entries))
    return replace(layer, **none)


def named(layer: Layer, number: int) -> Layer:
    """The layer with a name: its own, or its kind and its number."""
    if layer.name:
        return layer
    kind = next(kind for kind, table in KINDS.items() if type(layer) is table)
    return replace(layer, name=f"{kind}{number}")
