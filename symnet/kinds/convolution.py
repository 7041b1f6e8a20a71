"""Convolution in one and two dimensions, channels last.

    z[n,p,q,o] = sum(W[o,u,v,c]*x[n,s*p+d*u-low,s*q+d*v-low,c], u, v, c) + b[o],   a = f(z)

s: stride, d: dilation, low: the padding in front; reads outside of the image give 0.  It is the cross-correlation that
all frameworks call convolution: the kernel is not mirrored.  With groups, the channels of group g meet the units of
group g only; with as many groups as channels, each channel has kernels of its own (depthwise).
Source: LeCun et al. 1989, 1998; Dumoulin and Visin 2016 for padding, stride and dilation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from ..declare import activations, checks
from ..declare.checks import Choice, Pairs, by
from ..errors import Quoted, complaint
from .base import IDENTITY, Learned, Shape, Written, WrittenLayer, names, strength, ties
from .windows import Padding, Sizes, axes_of, described, index_sizes, sizes


class _Convolution(WrittenLayer):
    """What both dimensions have in common."""

    __slots__ = ()
    axes: ClassVar[int]
    units: int
    size: Sizes
    stride: Sizes
    padding: Padding
    dilation: Sizes
    groups: int
    activation: Choice
    bias: bool
    initializer: Choice | None
    bias_initializer: Choice | None

    @property
    def chosen(self) -> activations.Settings:
        return activations.settings(self.activation.name, self.activation.mapping, self.name)

    def written(self, inputs: tuple[Shape, ...]) -> Written:
        axes = axes_of(inputs[0], self.size, self.stride, self.padding, self.dilation, self.axes, self.where)
        channels, groups = inputs[0][-1], self.groups
        if channels % groups or self.units % groups:
            found = f"{groups} groups of {channels} channels and {self.units} units"
            raise complaint(f"{self.where}, groups", Quoted(found), "a number that divides both")
        per_unit = channels // groups
        alone = groups > 1 and per_unit == 1  # one channel for each kernel: no sum over channels
        bound = [*(axis.tap for axis in axes), *([] if alone else ["c"])]
        unit, channel = _member("g", "o", groups, self.units), _member("g", "c", groups, channels)
        places = ",".join(axis.place for axis in axes)
        kernel = ",".join([unit, *(axis.tap for axis in axes), "0" if alone else "c"])
        read = ",".join([*(axis.subscript for axis in axes), channel])
        lines = [f"z[n,{places},{unit}] = sum(W[{kernel}]*x[n,{read}], {', '.join(bound)})"]
        fan = math.prod(axis.size for axis in axes)
        fans = (fan * per_unit, fan * self.units)
        shape = (self.units, *(axis.size for axis in axes), per_unit)
        how = self.initializer or Choice(self.chosen.row.initializer)
        parameters = {"W": Learned(shape, how, fans, True)}
        if self.bias:
            if groups == 1:
                lines[0] += " + b[o]"
            else:
                lines.append(f"z[n,{places},k] += b[k]")
            parameters["b"] = Learned((self.units,), self.bias_initializer or Choice("zeros"), fans)
        extents = index_sizes(axes) | ({} if alone else {"c": per_unit})
        if groups > 1:
            extents |= {"g": groups} | ({"o": self.units // groups} if self.units > groups else {})
        return Written(
            tuple(lines), "z", (*(axis.output for axis in axes), self.units), parameters, extents,
            activation=self.chosen,
        )  # fmt: skip

    @property
    def given(self) -> dict[str, Choice | None]:
        return {"W": self.initializer, "b": self.bias_initializer}

    @property
    def words(self) -> str:
        text = f"{self.units} of {described(self.size, self.stride, self.padding, self.dilation)}"
        text += f", {self.groups} groups" if self.groups > 1 else ""
        return text if self.activation == IDENTITY else f"{text}, {self.activation.name or 'own activation'}"


@dataclass(frozen=True, slots=True)
class Conv1D(_Convolution):
    """`units` kernels over a sequence (steps, channels): W of shape (units, size, channels/groups)."""

    kind: ClassVar[str] = "conv1d"
    axes: ClassVar[int] = 1
    units: int = field(metadata=by(checks.integer(1)))
    size: Sizes = field(metadata=by(sizes(1)))
    name: str = field(default="", metadata=by(checks.layer_name))
    stride: Sizes = field(default=1, metadata=by(sizes(1)))
    padding: Padding = field(default="valid", metadata=by(sizes(1, 0, ("valid", "same"))))
    dilation: Sizes = field(default=1, metadata=by(sizes(1)))
    groups: int = field(default=1, metadata=by(checks.integer(1)))
    activation: Choice = field(default=IDENTITY, metadata=by(checks.activation))
    bias: bool = field(default=True, metadata=by(checks.boolean))
    initializer: Choice | None = field(default=None, metadata=by(checks.initializer))
    bias_initializer: Choice | None = field(default=None, metadata=by(checks.initializer))
    l2: float | None = field(default=None, metadata=by(strength))
    l1: float | None = field(default=None, metadata=by(strength))
    inputs: tuple[str, ...] = field(default=(), metadata=by(names))
    share: str = field(default="", metadata=by(checks.layer_name))
    tie: Pairs = field(default=Pairs(), metadata=by(ties))


@dataclass(frozen=True, slots=True)
class Conv2D(_Convolution):
    """`units` kernels over an image (rows, columns, channels): W of shape (units, size, size, channels/groups)."""

    kind: ClassVar[str] = "conv2d"
    axes: ClassVar[int] = 2
    units: int = field(metadata=by(checks.integer(1)))
    size: Sizes = field(metadata=by(sizes(2)))
    name: str = field(default="", metadata=by(checks.layer_name))
    stride: Sizes = field(default=1, metadata=by(sizes(2)))
    padding: Padding = field(default="valid", metadata=by(sizes(2, 0, ("valid", "same"))))
    dilation: Sizes = field(default=1, metadata=by(sizes(2)))
    groups: int = field(default=1, metadata=by(checks.integer(1)))
    activation: Choice = field(default=IDENTITY, metadata=by(checks.activation))
    bias: bool = field(default=True, metadata=by(checks.boolean))
    initializer: Choice | None = field(default=None, metadata=by(checks.initializer))
    bias_initializer: Choice | None = field(default=None, metadata=by(checks.initializer))
    l2: float | None = field(default=None, metadata=by(strength))
    l1: float | None = field(default=None, metadata=by(strength))
    inputs: tuple[str, ...] = field(default=(), metadata=by(names))
    share: str = field(default="", metadata=by(checks.layer_name))
    tie: Pairs = field(default=Pairs(), metadata=by(ties))


def _member(group: str, member: str, groups: int, count: int) -> str:
    """Element `member` of a group among `count` elements in `groups` groups."""
    size = count // groups
    if groups == 1:
        return member
    return group if size == 1 else f"{size}*{group}+{member}"
