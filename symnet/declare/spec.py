"""What a user may declare, checked at the door: Python values -> a Spec (frozen, hashable).

Stands first in the pipeline (toml_text.py reads TOML for it); network.py turns a Spec into equations.  Nothing here
evaluates text or loads SymPy, and nothing is allocated: sizes are bounded before anybody computes with them.  A wrong
key, type, name or size raises a SymnetError that says where, what was found and what was expected.  kinds has the
layers, graph.py says who reads whom.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from ..errors import Quoted, SymnetError, complaint, show, unknown
from ..kinds import KINDS, Dense, IntegerShape, Layer, LogSoftmax, Maxout, Shape, Softmax, check_initializers, named
from ..kinds.base import numbered
from . import checks, heads, losses, optimizers, regularizers
from .checks import Choice, by, declare
from .constants import Constant, declared
from .constructors import dense
from .graph import Graph, connect
from .heads import Head, Output
from .inputs import INPUT, declared_inputs

LIMIT = 2**31  # parameters of a network, unless the caller says otherwise
ACCURACIES = ("usual", "strict")  # of compiled code, the usual one first
LAYERS = 10_000
PROBABILITIES = ("logistic", "hard_logistic")  # activations from 0 to 1


# ---------------------------------------------------------------------------------------------- choices
def _loss(value: Any, where: str) -> Choice:
    choice = checks.choice(value, where)
    return replace(choice, name=losses.row(choice.name, choice.mapping, where).name)


def checked_optimizer(value: Any, where: str) -> Choice:
    choice = checks.choice(value, where)
    return replace(choice, name=optimizers.row(choice.name, choice.mapping, where).name)


# ---------------------------------------------------------------------------------------------- the tables of a spec
def _monitor(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise complaint(where, value, "'loss' or 'accuracy', or one of them behind the name of a loss: 'digit.loss'")
    return value


@dataclass(frozen=True, slots=True)
class EarlyStopping:
    """When training ends before its last epoch: what `Model.fit` takes under the same names."""

    patience: int = field(metadata=by(checks.integer(0)))
    restore_best: bool = field(default=False, metadata=by(checks.boolean))
    monitor: str = field(default="loss", metadata=by(_monitor))


def _early_stopping(value: Any, where: str) -> EarlyStopping | None:
    if value is None or isinstance(value, EarlyStopping):
        return value
    if not isinstance(value, Mapping):
        raise complaint(where, value, "a table, such as { patience = 10, restore_best = true }")
    return declare(EarlyStopping, value, where)


@dataclass(frozen=True, slots=True)
class Train:
    """How `symnet train` trains; paths are relative to the spec file.

    scale: inputs are shifted and scaled as the training part says, all columns alike ("common"), each by itself
    ("column"), or not at all ("none"); see scaling.py.
    accuracy: "strict" keeps the digits of small slopes, too; see Network.compile.
    """

    data: str = field(metadata=by(checks.path))
    optimizer: Choice = field(default=Choice("adam"), metadata=by(checked_optimizer))
    epochs: int = field(default=10, metadata=by(checks.integer(1)))
    batch_size: int = field(default=32, metadata=by(checks.integer(1)))
    shuffle: bool = field(default=True, metadata=by(checks.boolean))
    scale: str = field(default="common", metadata=by(checks.word("common", "column", "none")))
    seed: int = field(default=0, metadata=by(checks.integer(0)))
    dtype: str = field(default="float32", metadata=by(checks.word("float32", "float64")))
    accuracy: str = field(default=ACCURACIES[0], metadata=by(checks.word(*ACCURACIES)))
    validation_split: float = field(default=0.05, metadata=by(checks.number(0, 1)))
    test_split: float = field(default=0.15, metadata=by(checks.number(0, 1)))
    model: str = field(default="", metadata=by(checks.path))
    early_stopping: EarlyStopping | None = field(default=None, metadata=by(_early_stopping))


@dataclass(frozen=True)
class Spec:
    """A network as declared.  Two specs are equal if they mean the same network and training.

    inputs: the name of each input and the shape of one sample of it (an IntegerShape, if it holds integers).  heads:
    its losses, the only one without a name.
    """

    inputs: tuple[tuple[str, Shape], ...]
    layers: tuple[Layer, ...]
    heads: tuple[Head, ...]
    l2: float = 0.0
    train: Train | None = None
    folder: str = field(default="", compare=False)  # where relative paths start; not part of what is declared
    l1: float = 0.0
    constants: tuple[Constant, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return Spec, tuple(getattr(self, entry.name) for entry in fields(self))  # without what was computed

    @cached_property
    def graph(self) -> Graph:
        """Who reads whom, in which order, and the shape of everything."""
        return connect(self.inputs, self.layers, [head.layer for head in self.heads])

    @cached_property
    def outputs(self) -> tuple[Output, ...]:
        """Each loss with the shape of the output that it judges."""
        return tuple(Output(head, self.graph.shapes[head.layer]) for head in self.heads)

    @property
    def output(self) -> int:
        """The number of classes or values of the first output: its last axis."""
        return self.outputs[0].size

    @property
    def monitors(self) -> tuple[str, ...]:
        """What training may end by."""
        several = [] if len(self.outputs) == 1 and not self.outputs[0].name else ["loss"]
        each = [
            heads.dotted(output.name, word)
            for output in self.outputs
            for word in (("loss", "accuracy") if output.is_classifier else ("loss",))
        ]
        return (*several, *each)

    def parameters(self) -> dict[str, Shape]:
        """`layer.parameter` -> shape, layer by layer; shared parameters stand under the layer that owns them."""
        return {
            f"{layer.name}.{name}": (layer.repeat, *shape) if layer.repeat > 1 else shape
            for layer in self.layers
            if not layer.share
            for name, shape in layer.parameters(self.graph.below(layer)).items()
            if (layer.name, name) not in self.graph.ties
        }

    def states(self) -> dict[str, Shape]:
        """`layer.state` -> shape, layer by layer."""
        return {
            f"{layer.name}.{name}": (layer.repeat, *shape) if layer.repeat > 1 else shape
            for layer in self.layers
            for name, shape in layer.states(self.graph.below(layer)).items()
        }

    @cached_property
    def arrays(self) -> dict[str, Constant]:
        """The constants in the equations, by the names of their tensors."""
        return {
            constant.tensor if constant.name else numbered(name, number): constant
            for number, layer in enumerate(self.layers, 1)
            for name, constant in layer.arrays(self.graph.below(layer)).items()
        }

    @property
    def input(self) -> int:
        """The number of inputs, of all together."""
        return sum(math.prod(shape) for _, shape in self.inputs)

    @property
    def input_tensors(self) -> dict[str, str]:
        """Name of each input -> the name of its tensor: x for the only one, else x_<name>."""
        return {name: name if name == INPUT else f"{INPUT}_{name}" for name, _ in self.inputs}

    @property
    def integers(self) -> dict[str, int]:
        """The inputs of integers, and the bound that each stays below."""
        return {name: shape.below for name, shape in self.inputs if isinstance(shape, IntegerShape)}

    @cached_property
    def counts(self) -> dict[str, int]:
        """The inputs that are masks or numbers of steps, by their tensors -> the most that they may be."""
        return {
            self.input_tensors[name]: most
            for layer in self.layers
            for place, most in layer.counts(self.graph.below(layer)).items()
            if (name := self.graph.reads[layer.name][place]) in self.input_tensors
        }

    @property
    def is_plain(self) -> bool:
        """One input, a vector of real numbers: data are one table."""
        return len(self.inputs) == 1 and len(self.inputs[0][1]) == 1 and not self.integers

    def path(self, relative: str) -> Path:
        """A path of the spec, from the folder of the spec file."""
        return Path(self.folder) / relative


def specify(
    input: Any = None,
    layers: Any = (),
    loss: Any = None,
    l2: Any = 0.0,
    train: Any = None,
    folder: str | Path = "",
    limit: int = LIMIT,
    inputs: Any = None,
    l1: Any = 0.0,
    losses: Any = None,
    constants: Any = None,
) -> Spec:
    """A checked Spec from Python values; layers are what `dense` returns or mappings with the key `kind`."""
    if isinstance(layers, str | Mapping) or not isinstance(layers, Iterable):
        raise complaint("layers", layers, "a list of layers")
    layers = list(islice(layers, LAYERS + 1))
    if not 1 <= len(layers) <= LAYERS:
        found = f"more than {LAYERS} layers" if layers else "no layer"
        raise complaint(
            "layers", Quoted(found), f"from 1 to {LAYERS}", "" if layers else "Declare at least the output."
        )
    given = declared(constants, folder)
    by_name = {constant.name: constant for constant in given}
    made = tuple(_layer(layer, number).bound(by_name) for number, layer in enumerate(layers, 1))
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
        declared_inputs(input, inputs, bool(given)),
        made,
        _heads(loss, losses, made),
        checks.number(0)(l2, "network, l2"),
        train,
        str(folder),
        checks.number(0)(l1, "network, l1"),
        given,
    )
    _bounded(spec, limit)
    _read_constants(spec)
    _penalized(spec)
    heads.check_outputs(spec.outputs, dict(spec.inputs))
    for output in spec.outputs:
        if odd := _improbable(output, next(layer for layer in made if layer.name == output.head.layer)):
            where = f"{output.head.where}: layer {output.head.layer!r}"
            warnings.warn(f"{where} gives the outputs, but {odd}.", stacklevel=3)
    if train is not None and train.early_stopping is not None:
        if not train.validation_split:
            raise complaint("train, early_stopping", Quoted("a validation_split of 0"), "data to judge epochs by")
        if train.early_stopping.monitor not in spec.monitors:
            raise unknown_monitor(spec, "train, early_stopping, monitor", train.early_stopping.monitor)
    if train is not None and train.validation_split + train.test_split >= 1:
        raise complaint("train", Quoted("validation_split + test_split of 1 or more"), "data left to train on")
    return spec


def _read_constants(spec: Spec) -> None:
    """Every constant has a name of its own, and a layer that reads it."""
    read = {name for layer in spec.layers for name in layer.named_constants}
    read |= {constant.name for layer in spec.layers for constant in layer.arrays(spec.graph.below(layer)).values()}
    for constant in spec.constants:
        if constant.name in spec.graph.shapes:
            advice = "An input or a layer has it already."
            raise complaint(f"network, constants, {constant.name}", constant.name, "a name of its own", advice)
        if constant.name not in read:
            raise complaint(f"network, constants, {constant.name}", Quoted("no layer that reads it"), "one that does")


def _penalized(spec: Spec) -> None:
    for layer in spec.layers:
        for row in regularizers.ROWS:
            if layer.share and getattr(layer, row.name, None) is not None:
                advice = f"Its parameters are those of {layer.share!r}."
                raise complaint(f"{layer.where}, {row.name}", getattr(layer, row.name), "none", advice)


def unknown_monitor(spec: Spec, where: str, monitor: str) -> SymnetError:
    if monitor.endswith("accuracy") and monitor.replace("accuracy", "loss") in spec.monitors:
        return complaint(where, monitor, repr(spec.monitors[0]), "Only a classifier has an accuracy.")
    return unknown(where, "word", monitor, spec.monitors)


def _heads(loss: Any, losses: Any, layers: tuple[Layer, ...]) -> tuple[Head, ...]:
    if losses is None:
        return heads.only(_loss(loss, "network, loss"), layers[-1].name)
    if loss is not None:
        raise complaint("network", Quoted("both 'loss' and 'losses'"), "one of them")
    return heads.checked_heads(losses, [layer.name for layer in layers])


def _improbable(output: Output, last: Layer) -> str:
    """What is odd about the outputs under this loss, if anything is."""
    loss = output.head.loss.name
    function = getattr(last, "activation", Choice("")).name
    makes = "softmax" if isinstance(last, Softmax) and not isinstance(last, LogSoftmax) else function
    if (loss, makes) in (("softmax_cross_entropy", "softmax"), ("binary_cross_entropy", "logistic")):
        return f"{loss} takes net inputs and applies the {makes} function itself; take it away, or use cross_entropy"
    # an identity layer of its own passes on what is below; formulas and equations may well make probabilities
    named = function and (isinstance(last, Dense) or function != "identity")
    unbounded = isinstance(last, Maxout | LogSoftmax) or (named and function not in PROBABILITIES)
    if loss == "cross_entropy" and unbounded:
        advice = "put a softmax layer or a logistic activation at the end, or use softmax_cross_entropy"
        return f"{loss} takes probabilities, which these are not; {advice}"
    return ""


def _layer(given: Any, number: int) -> Layer:
    where = f"layer {number}"
    if isinstance(given, Mapping):
        given = dict(given)
        kind = given.pop("kind", None)
        if kind is None:
            advice = "Did you mean 'kind' instead of 'type'?" if "type" in given else ""
            raise complaint(f"{where}, kind", Quoted("nothing"), f"one of {', '.join(KINDS)}", advice)
        if not isinstance(kind, str) or kind not in KINDS:
            raise unknown(f"{where}, kind", "kind", kind, KINDS)
        given = declare(
            KINDS[kind], given, f"{where} {show(given['name'])}" if isinstance(given.get("name"), str) else where
        )
    if not isinstance(given, Layer):
        raise complaint(where, given, "a layer, such as dense(64, activation='relu')")
    return named(given, number)


def _bounded(spec: Spec, limit: int) -> None:
    graph = spec.graph
    elements = max(math.prod(shape) for shape in graph.shapes.values())
    if elements > limit:
        raise complaint("network", Quoted(f"{elements} numbers for one sample"), f"at most {limit}")
    total = 0
    for name, shape in spec.parameters().items():
        total += math.prod(shape)
        if total > limit:
            found = Quoted(f"more than {limit} parameters, counted up to it")
            raise complaint(name, found, f"at most {limit}", "Use fewer units, or pass a higher limit=.")
    for layer in spec.layers:
        check_initializers(layer, layer.parameters(graph.below(layer)))


__all__ = ["KINDS", "LIMIT", "Choice", "Spec", "Train", "checked_optimizer", "dense", "specify"]
