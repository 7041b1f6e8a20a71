"""Heads: the losses of a network, each on the output of a layer, with its weight and the target that it has.

In: what a user declared, checked by checks.py and losses.py.  Out: Head, as it stands in a Spec, and Output, a head
with the shape of what it judges, which says how its targets may be given.  objective.py writes the equations.

    ell[n] = sum_h weight_h * ell_h[n]      over the heads h; weights are run-time arguments

A network with one loss has one head without a name, on its last layer: tensors are y, ell, ...; those of a head h are
y_<target>, ell_h, ....  How all targets of a network are given is one text: "labels" for the only one, else
"digit: labels; angle: values", with ", weighted" behind each that has weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from ..errors import Quoted, complaint, unknown
from . import checks, losses
from .checks import Choice

HEADS = 64
Given = str | Mapping[str, str] | None  # how targets are given: by name, or as one text
OPTIONS = ("layer", "target", "weight")  # of a head, beside those of its loss


@dataclass(frozen=True, slots=True)
class Head:
    """A loss: on the output of which layer, with which weight (None: not weighted), judged by which target.

    A target is named by the head that it is of; other heads may use it, too (auxiliary losses on inner layers).
    """

    name: str
    layer: str
    loss: Choice
    weight: float | None = None
    target: str = ""

    @property
    def where(self) -> str:
        return f"network, losses, {self.name}" if self.name else "network, loss"

    @property
    def row(self) -> losses.Row:
        return _row(self.loss, self.where)

    @property
    def declared(self) -> Choice:
        """The loss with the options of the head, as it is declared."""
        own: dict[str, Any] = {"weight": self.weight}
        own |= {"layer": self.layer if self.layer != self.name else None}
        own |= {"target": self.target if self.target != self.name else None}
        given = tuple((key, value) for key, value in own.items() if value is not None)
        return replace(self.loss, options=(*self.loss.options, *given))


@lru_cache(maxsize=256)
def _row(loss: Choice, where: str) -> losses.Row:
    return losses.row(loss.name, loss.mapping, where)


@dataclass(frozen=True, slots=True)
class Output:
    """A head on an output of this shape, for one sample; see losses.py for what its properties are."""

    head: Head
    shape: tuple[int, ...]

    @property
    def name(self) -> str:
        return self.head.name

    @property
    def target(self) -> str:
        return self.head.target

    @property
    def row(self) -> losses.Row:
        return self.head.row

    @property
    def size(self) -> int:
        """The last axis of the output: classes or values."""
        return self.shape[-1]

    @property
    def positions(self) -> tuple[int, ...]:
        """The axes of the output before the last: time steps, nodes, rows and columns."""
        return self.shape[:-1]

    @property
    def is_classifier(self) -> bool:
        return self.row.is_classifier

    @property
    def targets(self) -> tuple[str, ...]:
        """How targets may be given: "labels", "distribution" or "values"; the default first."""
        return losses.targets(self.row, self.size)

    @property
    def classes(self) -> int:
        """How many classes a classifier tells apart."""
        return losses.classes(self.row, self.size)

    @property
    def target_width(self) -> int:
        """Numbers of one target, where it is no label."""
        return losses.target_width(self.row, self.size)


def suffix(name: str) -> str:
    """What ends the names of the tensors of a head or of a target."""
    return f"_{name}" if name else ""


def dotted(name: str, word: str) -> str:
    """ "digit.loss", or "loss" of the only head"""
    return f"{name}.{word}" if name else word


# ---------------------------------------------------------------------------------------------- at the door
def only(loss: Choice, layer: str) -> tuple[Head, ...]:
    """The head of a network with one loss."""
    return (Head("", layer, loss),)


def checked_heads(value: Any, layers: Sequence[str]) -> tuple[Head, ...]:
    """The heads from what a user gave as `losses`: a table of losses, keyed by their layers."""
    where = "network, losses"
    if not isinstance(value, Mapping) or not 1 <= len(value) <= HEADS:
        expected = f"a table of at most {HEADS} layers and their losses, such as {{ digit = 'softmax_cross_entropy' }}"
        raise complaint(where, value, expected)
    heads = tuple(
        _head(checks.layer_name(key, where), given, f"{where}, {key}", layers) for key, given in value.items()
    )
    by_name = {head.name: head for head in heads}
    for head in heads:
        owner = by_name.get(head.target)
        if owner is None or owner.target != owner.name:
            owners = [other.name for other in heads if other.target == other.name]
            raise unknown(f"{head.where}, target", "target", head.target, owners)
    return heads


def _head(name: str, given: Any, where: str, layers: Sequence[str]) -> Head:
    own: dict[str, Any] = {}
    if isinstance(given, Mapping):
        own = {key: given[key] for key in OPTIONS if key in given}
        given = {key: value for key, value in given.items() if key not in OPTIONS}
    choice = checks.choice(given, where)
    choice = replace(choice, name=losses.row(choice.name, choice.mapping, where).name)
    layer = own.get("layer", name)
    if layer not in layers:
        raise unknown(f"{where}, layer" if "layer" in own else where, "layer", layer, layers)
    weight = checks.number(0)(own["weight"], f"{where}, weight") if "weight" in own else None
    return Head(name, layer, choice, weight, checks.layer_name(own.get("target", name), f"{where}, target"))


def check_outputs(outputs: Sequence[Output], inputs: Mapping[str, tuple[int, ...]]) -> None:
    """Raise SymnetError unless each output can have its loss, and those that share a target take the same."""
    for output in outputs:
        losses.check_outputs(output.row, output.head.loss.mapping, output.shape, output.head.where, inputs)
    for output in outputs:
        owner = owner_of(outputs, output.target)
        if _taken(output) != _taken(owner):
            found = Quoted(f"{_said(owner)}, as {owner.name} takes")
            raise complaint(f"{output.head.where}, target", found, f"{_said(output)}")


def owner_of(outputs: Sequence[Output], target: str) -> Output:
    """The output whose target this is."""
    return next(output for output in outputs if output.name == target)


def _taken(output: Output) -> tuple[Any, ...]:
    return output.targets, output.positions, output.target_width, output.is_classifier and output.classes


def _said(output: Output) -> str:
    shape = ", ".join(map(str, ("n", *output.positions, output.target_width)))
    labels = f"labels of {output.classes} classes, or " if losses.LABELS in output.targets else ""
    return f"{labels}{output.targets[-1]} of shape ({shape})"


# ---------------------------------------------------------------------------------------------- how targets are given
def joined(given: Mapping[str, str]) -> str:
    """Target -> how it is given, as one text."""
    return given[""] if "" in given else "; ".join(f"{name}: {kind}" for name, kind in given.items())


def taken_apart(outputs: Sequence[Output], given: Given) -> dict[str, str]:
    """How each target is given; those that are not mentioned, in their first way.  Raises SymnetError."""
    owners = {output.target: owner_of(outputs, output.target) for output in outputs}
    if given is None:
        given = {}
    elif isinstance(given, str):
        parts = [part.partition(": ") for part in given.split("; ")]
        given = {"": given} if "" in owners else {name: kind for name, _, kind in parts}
    for name, kind in given.items():
        if name not in owners:
            raise unknown("target", "target", name, owners)
        if losses.parted(kind)[0] not in owners[name].targets:
            raise unknown("target", "kind of target", kind, owners[name].targets)
    return {name: given.get(name) or owner.targets[0] for name, owner in owners.items()}
