"""What a user may declare, checked at the door: Python values -> a Spec (frozen, hashable).

Stands first in the pipeline (toml_text.py reads TOML for it); network.py turns a Spec into equations.  Nothing here
evaluates text or loads SymPy, and nothing is allocated: sizes are bounded before anybody computes with them.  A wrong
key, type, name or size raises a SymnetError that says where, what was found and what was expected.

A class below is one table of a spec: its fields are the keys, each with the function that checks it and, where the
key may be left out, a default.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from itertools import islice
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeVar

from . import activations, initializers, losses, optimizers
from .errors import Quoted, complaint, unknown

LIMIT = 2**31  # parameters of a network, unless the caller says otherwise
LAYERS = 10_000
LEVELS = 8  # of nested lists and tables
LARGEST = 2**40  # any integer of a spec

Check = Callable[[Any, str], Any]
Table = TypeVar("Table")


@dataclass(frozen=True, slots=True)
class Choice:
    """A row of one of the tables, by its own name, with options; "" and an option `formula` for a user's formula."""

    name: str
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def mapping(self) -> dict[str, Any]:
        return dict(self.options)


# ---------------------------------------------------------------------------------------------- checks of one value
def _integer(least: int) -> Check:
    def check(value: Any, where: str) -> int:
        if isinstance(value, bool) or not isinstance(value, Integral) or not least <= int(value) <= LARGEST:
            raise complaint(where, value, f"an integer from {least} to {LARGEST}")
        return int(value)

    return check


def _number(least: float, below: float = math.inf) -> Check:
    def check(value: Any, where: str) -> float:
        if isinstance(value, bool) or not isinstance(value, Real) or not least <= float(value) < below:
            span = f"at least {least:g}" if below == math.inf else f"from {least:g} to below {below:g}"
            raise complaint(where, value, f"a number {span}")
        return float(value)

    return check


def _boolean(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise complaint(where, value, "true or false")
    return value


def _word(*words: str) -> Check:
    def check(value: Any, where: str) -> str:
        if value not in words:
            raise unknown(where, "word", value, words)
        return str(value)

    return check


def _layer_name(value: Any, where: str) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", value):
        raise complaint(where, value, "a name of letters, digits and underscores, at most 64 of them")
    return value


def _path(value: Any, where: str) -> str:
    if not isinstance(value, str | Path) or not str(value) or any(ord(c) < 32 for c in str(value)):
        raise complaint(where, value, "the path of a file")
    return str(value)


def _plain(value: Any, where: str, level: int = 0) -> Any:
    """An option's value, hashable: lists become tuples, tables sorted tuples of pairs, arrays nested tuples."""
    if level > LEVELS:
        raise complaint(where, Quoted(f"more than {LEVELS} nested levels"), "fewer")
    if hasattr(value, "tolist"):
        value = value.tolist()
    match value:
        case bool() | str() | int() | float():
            return value
        case Mapping():
            return tuple(sorted((str(k), _plain(v, f"{where}, {k}", level + 1)) for k, v in value.items()))
        case list() | tuple():
            return tuple(_plain(v, where, level + 1) for v in value)
    raise complaint(where, value, "a number, text, a list or a table")


def _choice(value: Any, where: str) -> Choice:
    """A name, or a table with the key `name` (or `formula`) and options."""
    if isinstance(value, Choice):
        return value
    if isinstance(value, str):
        return Choice(value)
    if not isinstance(value, Mapping):
        raise complaint(where, value, "a name, or a table with the key 'name' and options")
    options = {str(k): _plain(v, f"{where}, {k}") for k, v in value.items()}
    name = options.pop("name", "")
    if not isinstance(name, str) or bool(name) == ("formula" in options):
        raise complaint(where, value, "a table with either the key 'name' or the key 'formula'")
    return Choice(name, tuple(sorted(options.items())))


def _activation(value: Any, where: str) -> Choice:
    choice = _choice("identity" if value is None else value, where)
    chosen = activations.settings(choice.name, choice.mapping, where)
    if not choice.name:
        activations.resolve(chosen, where)  # so that a formula is read at the door
    return replace(choice, name=chosen.row.name)


def _loss(value: Any, where: str) -> Choice:
    choice = _choice(value, where)
    return replace(choice, name=losses.row(choice.name, choice.mapping, where).name)


def checked_optimizer(value: Any, where: str) -> Choice:
    choice = _choice(value, where)
    return replace(choice, name=optimizers.row(choice.name, choice.mapping, where).name)


def _initializer(value: Any, where: str) -> Choice | None:
    if value is None:
        return None
    if not isinstance(value, str | Mapping | Choice):
        value = {"name": "given", "values": value}
    choice = _choice(value, where)
    if choice.name not in initializers.TABLE:
        raise unknown(where, "initializer", choice.name, initializers.TABLE)
    return replace(choice, name=initializers.TABLE[choice.name].name)


# ---------------------------------------------------------------------------------------------- the tables of a spec
def _by(check: Check) -> dict[str, Check]:
    """The metadata of a field: what checks its key."""
    return {"check": check}


@dataclass(frozen=True, slots=True)
class Dense:
    """z = W a + b and an activation: `units` outputs, W of shape (units, inputs)."""

    units: int = field(metadata=_by(_integer(1)))
    name: str = field(default="", metadata=_by(_layer_name))
    activation: Choice = field(default=Choice("identity"), metadata=_by(_activation))
    bias: bool = field(default=True, metadata=_by(_boolean))
    initializer: Choice | None = field(default=None, metadata=_by(_initializer))
    bias_initializer: Choice | None = field(default=None, metadata=_by(_initializer))

    @property
    def chosen(self) -> activations.Settings:
        return activations.settings(self.activation.name, self.activation.mapping, self.name)

    def output(self, inputs: int) -> int:
        return self.units

    def __str__(self) -> str:
        function = "" if self.activation == Choice("identity") else f" {self.activation.name or 'own activation'}"
        return f"{self.name}: dense {self.units}{function}"

    def parameters(self, inputs: int) -> dict[str, tuple[int, ...]]:
        """Name within the layer -> shape."""
        shapes: dict[str, tuple[int, ...]] = {"W": (self.units, inputs)}
        if self.bias:
            shapes["b"] = (self.units,)
        chosen = self.chosen
        return shapes | dict.fromkeys(chosen.learned, (self.units,) if chosen.per == "unit" else ())


KINDS: Mapping[str, type[Dense]] = {"dense": Dense}


@dataclass(frozen=True, slots=True)
class Train:
    """How `symnet train` trains; paths are relative to the spec file.

    scale: inputs are shifted and scaled as the training part says, all columns alike ("common"), each by itself
    ("column"), or not at all ("none"); see scaling.py.
    """

    data: str = field(metadata=_by(_path))
    optimizer: Choice = field(default=Choice("adam"), metadata=_by(checked_optimizer))
    epochs: int = field(default=10, metadata=_by(_integer(1)))
    batch_size: int = field(default=32, metadata=_by(_integer(1)))
    shuffle: bool = field(default=True, metadata=_by(_boolean))
    scale: str = field(default="common", metadata=_by(_word("common", "column", "none")))
    seed: int = field(default=0, metadata=_by(_integer(0)))
    dtype: str = field(default="float32", metadata=_by(_word("float32", "float64")))
    validation_split: float = field(default=0.05, metadata=_by(_number(0, 1)))
    test_split: float = field(default=0.15, metadata=_by(_number(0, 1)))
    model: str = field(default="", metadata=_by(_path))


@dataclass(frozen=True, slots=True)
class Spec:
    """A network as declared.  Two specs are equal if they mean the same network and training."""

    input: int
    layers: tuple[Dense, ...]
    loss: Choice
    l2: float = 0.0
    train: Train | None = None
    folder: str = field(default="", compare=False)  # where relative paths start; not part of what is declared

    def parameters(self) -> dict[str, tuple[int, ...]]:
        """`layer.parameter` -> shape, layer by layer."""
        shapes: dict[str, tuple[int, ...]] = {}
        inputs = self.input
        for layer in self.layers:
            shapes |= {f"{layer.name}.{name}": shape for name, shape in layer.parameters(inputs).items()}
            inputs = layer.output(inputs)
        return shapes

    @property
    def output(self) -> int:
        return self.layers[-1].units

    def path(self, relative: str) -> Path:
        """A path of the spec, from the folder of the spec file."""
        return Path(self.folder) / relative


def dense(units: int, activation: Any = "identity", name: str | None = None, **options: Any) -> Dense:
    """A layer z = W a + b followed by an activation.

    units: number of outputs.  activation: a name of the table, a mapping {"name": ..., option: ...}, or
    {"formula": "x*logistic(beta*x)", "parameters": {"beta": 1.0}}.  name: its parameters are `name.W` and `name.b`.
    options: bias (True), initializer (by activation), bias_initializer (zeros): a name, a mapping, or an array.

    >>> dense(64, activation="relu", name="hidden1").units
    64
    """
    given = {"units": units, "activation": activation, **options} | ({} if name is None else {"name": name})
    return declare(Dense, given, f"dense({units!r}, ...)" if name is None else f"layer {name!r}")


def declare(table: type[Table], given: Mapping[str, Any], where: str) -> Table:
    """The dataclass `table` from a mapping, every key checked."""
    known = {f.name: f for f in fields(table)}  # type: ignore[arg-type]
    for name in given:
        if name not in known:
            raise unknown(where, "key", name, known)
    for name, entry in known.items():
        if name not in given and entry.default is MISSING:
            raise complaint(where, Quoted(f"no key {name!r}"), f"{name!r}, which must be given")
    return table(**{name: known[name].metadata["check"](value, f"{where}, {name}") for name, value in given.items()})


def specify(
    input: Any,
    layers: Any,
    loss: Any,
    l2: Any = 0.0,
    train: Any = None,
    folder: str | Path = "",
    limit: int = LIMIT,
) -> Spec:
    """A checked Spec from Python values; layers are what `dense` returns or mappings with the key `kind`."""
    if isinstance(layers, str | Mapping) or not isinstance(layers, Iterable):
        raise complaint("layers", layers, "a list of layers")
    layers = list(islice(layers, LAYERS + 1))
    if not 1 <= len(layers) <= LAYERS:
        raise complaint("layers", Quoted(f"{len(layers)} layers or more"), f"from 1 to {LAYERS}")
    made = tuple(_layer(layer, number) for number, layer in enumerate(layers, 1))
    numbers: dict[str, int] = {}
    for number, layer in enumerate(made, 1):
        if numbers.setdefault(layer.name, number) != number:
            advice = f"Layer {numbers[layer.name]} has it already."
            raise complaint(f"layer {number}, name", layer.name, "a name of its own", advice)
    if train is not None and not isinstance(train, Train | Mapping):
        raise complaint("train", train, "a table")
    if isinstance(train, Mapping):
        train = declare(Train, train, "train")
    spec = Spec(
        _integer(1)(input, "network, input"),
        made,
        _loss(loss, "network, loss"),
        _number(0)(l2, "network, l2"),
        train,
        str(folder),
    )
    _bounded(spec, limit)
    if train is not None and train.validation_split + train.test_split >= 1:
        raise complaint("train", Quoted("validation_split + test_split of 1 or more"), "data left to train on")
    return spec


def _layer(given: Any, number: int) -> Dense:
    where = f"layer {number}"
    if isinstance(given, Mapping):
        given = dict(given)
        kind = given.pop("kind", None)
        if not isinstance(kind, str) or kind not in KINDS:
            raise unknown(f"{where}, kind", "kind", kind, KINDS)
        given = declare(
            KINDS[kind], given, f"{where} {given['name']!r}" if isinstance(given.get("name"), str) else where
        )
    if not isinstance(given, Dense):
        raise complaint(where, given, "a layer, such as dense(64, activation='relu')")
    return given if given.name else replace(given, name=f"dense{number}")


def _bounded(spec: Spec, limit: int) -> None:
    total = 0
    for name, shape in spec.parameters().items():
        total += math.prod(shape)
        if total > limit:
            found = Quoted(f"more than {limit} parameters, counted up to it")
            raise complaint(name, found, f"at most {limit}", "Use fewer units, or pass a higher limit=.")
    inputs = spec.input
    for layer in spec.layers:
        shapes = layer.parameters(inputs)
        for key_name, choice in (("W", layer.initializer), ("b", layer.bias_initializer)):
            where = f"layer {layer.name!r}, initializer of {key_name}"
            if choice is not None and key_name not in shapes:
                raise complaint(where, choice.name, "none", f"This layer has no {key_name}.")
            if choice is not None:
                initializers.check(choice.name, choice.mapping, shapes[key_name], where)
        inputs = layer.output(inputs)
