"""The base of all kinds of layers, and the checks that they share.

In: checked values (checks.py).  Out: Layer, which says what kinds have in common, and Written, a layer as lines of
equations in text.  Nothing here loads SymPy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from ..declare import activations, checks
from ..declare.checks import Choice, Pairs, by
from ..declare.constants import Constant
from ..errors import Quoted, complaint, unknown

Shape = tuple[int, ...]
AXES = 6  # of one sample
REPEATS = 10_000


class IntegerShape(tuple[int, ...]):
    """The shape of one sample of an input of integers; these go from 0 to below - 1.  () is one integer a sample."""

    below: int

    def __new__(cls, sizes: Iterable[int], below: int) -> IntegerShape:
        made = super().__new__(cls, sizes)
        made.below = below
        return made

    def __getnewargs__(self) -> tuple[tuple[int, ...], int]:
        return tuple(self), self.below

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IntegerShape) and other.below == self.below and tuple(other) == tuple(self)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((tuple(self), self.below))


IDENTITY = Choice("identity")
ZEROS = Choice("zeros")


def names(value: Any, where: str) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple) or not value:
        raise complaint(where, value, "the name of a layer, or a list of names")
    return tuple(checks.layer_name(name, where) for name in value)


def ties(value: Any, where: str) -> Pairs:
    """Parameters of a layer and those that stand for them: { W = "embed.E" }."""
    if isinstance(value, Pairs):
        return value
    if not isinstance(value, Mapping):
        raise complaint(where, value, "a table of parameters and those that stand for them, such as { W = 'embed.E' }")
    for name, other in value.items():
        if not isinstance(other, str) or not re.fullmatch(r"\w+\.\w+", other):
            raise complaint(f"{where}, {name}", other, "the name of a parameter, such as 'embed.E'")
    return Pairs(tuple((checks.layer_name(name, where), other) for name, other in value.items()))


def strength(value: Any, where: str) -> float | None:
    return None if value is None else checks.number(0)(value, where)


def sample_shape(value: Any, where: str) -> Shape:
    """The shape of one sample: an integer, or a list of them."""
    if not isinstance(value, list | tuple):
        value = [value]
    if not 1 <= len(value) <= AXES:
        raise complaint(where, value, f"from 1 to {AXES} sizes")
    return tuple(checks.integer(1)(n, where) for n in value)


def _repeats(value: Any, where: str) -> int:
    count = checks.integer(1)(value, where)
    if count > REPEATS:
        raise complaint(where, value, f"at most {REPEATS} layers")
    return count


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeatable:
    """repeat: so many layers, one after the other, as a recurrence over the layer index (rolled.py)."""

    repeat: int = field(default=1, metadata=by(_repeats))


class Layer(Repeatable):
    """What kinds have in common, unless they say otherwise: one input, its shape, no parameters."""

    __slots__ = ()
    kind: ClassVar[str]  # its name in a spec
    several: ClassVar[bool] = False  # reads more than one layer
    share: str = ""
    tie: Pairs = Pairs()
    name: str
    inputs: tuple[str, ...]

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """The shape of the output; SymnetError if the inputs do not fit."""
        return inputs[0]

    def parameters(self, inputs: tuple[Shape, ...]) -> dict[str, Shape]:
        """Name within the layer -> shape."""
        return {}

    def states(self, inputs: tuple[Shape, ...]) -> dict[str, Shape]:
        """Name within the layer -> shape of what training changes by an equation, not by a gradient."""
        return {}

    def coupled(self, inputs: tuple[Shape, ...]) -> bool:
        """Does what a sample becomes in training depend on the other samples of its batch?"""
        return False

    def counts(self, inputs: tuple[Shape, ...]) -> Mapping[int, int]:
        """The places of inputs that are masks or numbers of steps -> the most that they may be."""
        return {}

    def check_kinds(self, inputs: tuple[Shape, ...]) -> None:
        """SymnetError if the layer reads integers where it needs real numbers, or the other way round."""
        if any(isinstance(shape, IntegerShape) for shape in inputs):
            advice = "Layers of the kinds 'embedding' and 'equations' read integers."
            raise complaint(f"{self.where}, inputs", Quoted("integers"), "real numbers", advice)

    @property
    def given(self) -> dict[str, Choice | None]:
        """The initializers that the spec gives, by parameter."""
        return {}

    @property
    def derives(self) -> bool:
        """Its equations give derivatives of what it reads by what comes before."""
        return False

    @property
    def alone(self) -> bool:
        """It reads constants, and no layer."""
        return False

    @property
    def named_constants(self) -> tuple[str, ...]:
        """The constants of the network that it names; where there are any, it has the field own_constants()."""
        return ()

    def bound(self, constants: Mapping[str, Constant]) -> Self:
        """The layer with the constants of the network that it names."""
        for name in self.named_constants:
            if name not in constants:
                raise unknown(self.where, "constant", name, constants)
        found = tuple(constants[name] for name in dict.fromkeys(self.named_constants))
        return replace(self, constants=found) if found else self  # type: ignore[call-arg]

    def arrays(self, inputs: tuple[Shape, ...]) -> Mapping[str, Constant]:
        """The constants that its equations read, by what they call them."""
        return {}

    @property
    def words(self) -> str:
        return ""

    @property
    def where(self) -> str:
        return f"layer {self.name!r}"

    def __str__(self) -> str:
        text = f"{self.kind} {self.words}".rstrip()
        read = f" of {', '.join(self.inputs)}" if self.inputs else ""
        tied = [f"{name} = {other}" for name, other in self.tie.entries]
        whose = f" with the parameters of {self.share}" if self.share else f" with {', '.join(tied)}" if tied else ""
        text += f" x {self.repeat}" if self.repeat > 1 else ""
        return f"{self.name}: {text}{read}{whose}"


def own_constants() -> Any:
    """The field of a kind that names constants of the network: no key of a spec, filled by Layer.bound."""
    return field(default=(), metadata={"bound": True}, repr=False)


def numbered(name: str, number: int) -> str:
    """The name of a layer's tensor: W -> W1, beta -> beta_1; with the number 0 as it is."""
    if not number:
        return name
    return f"{name}{number}" if len(name) == 1 else f"{name}_{number}"


@dataclass(frozen=True, slots=True)
class Learned:
    """A parameter of a layer: how it is first filled, (fan_in, fan_out), and whether penalties apply to it."""

    shape: Shape
    initializer: Choice = ZEROS
    fans: tuple[int, int] = (1, 1)
    is_weight: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """A state of a layer: its shape, what every element starts from, and the tensor that is its next value."""

    shape: Shape
    initial: float
    next: str


@dataclass(frozen=True, slots=True)
class Written:
    """A layer as lines of equations in text (equation_text.py), for given shapes of its inputs.

    The lines call what the layer reads by the names `inputs`; the first axis of these, n, is the samples.  output: the
    tensor of the lines that is the output, and `shape` that of one sample of it.  sizes: of indices that the lines do
    not give otherwise.  functions: names that the lines call -> activations.  inference: the lines where nothing is
    trained, if they are others.  coupled: the lines may reduce over the samples and read their number, N.  activation:
    of the output, with its learned parameters along the last axis.  states: name -> Kept; lines of either kind may
    read a state, and the first lines define its next value.  constants: name -> Constant (constants.py) that the lines
    read: one of the network's, or constants.dense("", array), the layer's own.
    """

    lines: tuple[str, ...]
    output: str
    shape: Shape
    parameters: Mapping[str, Learned] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    functions: Mapping[str, Choice] = field(default_factory=dict)
    inputs: tuple[str, ...] = ("x",)
    inference: tuple[str, ...] = ()
    coupled: bool = False
    activation: activations.Settings | None = None
    states: Mapping[str, Kept] = field(default_factory=dict)
    constants: Mapping[str, Constant] = field(default_factory=dict)


class WrittenLayer(Layer):
    """A kind whose equations stand in its own module, as text."""

    __slots__ = ()

    def written(self, inputs: tuple[Shape, ...]) -> Written:
        """The equations; SymnetError if the inputs do not fit."""
        raise NotImplementedError

    def arrays(self, inputs: tuple[Shape, ...]) -> Mapping[str, Constant]:
        return self.written(inputs).constants

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return self.written(inputs).shape

    def parameters(self, inputs: tuple[Shape, ...]) -> dict[str, Shape]:
        written = self.written(inputs)
        shapes = {name: learned.shape for name, learned in written.parameters.items()}
        if written.activation is None:
            return shapes
        return shapes | learned_shapes(written.activation, written.shape[-1], f"{self.where}, activation")

    def states(self, inputs: tuple[Shape, ...]) -> dict[str, Shape]:
        return {name: kept.shape for name, kept in self.written(inputs).states.items()}

    def coupled(self, inputs: tuple[Shape, ...]) -> bool:
        return self.written(inputs).coupled


def learned_shapes(chosen: activations.Settings, units: int, where: str) -> dict[str, Shape]:
    """The learned parameters of an activation: one value, one for each unit, or one for each group of units."""
    if chosen.per == "group" and units % chosen.groups:
        raise complaint(f"{where}, groups", chosen.groups, f"a number that divides the {units} units")
    return dict.fromkeys(chosen.learned, {"unit": (units,), "group": (chosen.groups,), "layer": ()}[chosen.per])
