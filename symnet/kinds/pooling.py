"""Pooling in one and two dimensions, channels last: the largest or the average element of each window.

    a[n,p,q,c] = max(x[n,s*p+u-low,s*q+v-low,c], u, v)      over the taps inside of the image
    a[n,p,q,c] = sum(x[n,s*p+u-low,s*q+v-low,c], u, v) / (number of the taps inside of the image)

The average is over the taps inside of the image: padding is no value (Keras' convention; PyTorch's with
count_include_pad=False).  The stride is the size of the window if none is given; size = "global" is the whole image.
Where several taps are the largest, the gradient goes to the first.  Source: LeCun et al. 1998; Ranzato et al. 2007.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from ..declare import checks
from ..declare.checks import by
from .base import Shape, Written, WrittenLayer, names
from .windows import Padding, Sizes, axes_of, described, index_sizes, sizes

GLOBAL = ("global",)


class _Pooling(WrittenLayer):
    """What all four have in common."""

    __slots__ = ()
    axes: ClassVar[int]
    average: ClassVar[bool]
    size: Sizes | str
    stride: Sizes | None
    padding: Padding

    def written(self, inputs: tuple[Shape, ...]) -> Written:
        axes = axes_of(inputs[0], self.size, self.stride, self.padding, 1, self.axes, self.where)
        taps = [axis.tap for axis in axes]
        places = ",".join(axis.place for axis in axes)
        value = f"x[n,{','.join(axis.subscript for axis in axes)},c]"
        conditions = {axis: axis.inside for axis in axes if axis.inside}
        lines = []
        if not self.average:
            arguments = [value, *taps, *([" and ".join(conditions.values())] if conditions else [])]
            lines.append(f"a[n,{places},c] = max({', '.join(arguments)})")
        else:
            count = math.prod(axis.size for axis in axes if axis not in conditions)
            below = [str(count)] if count > 1 else []
            for axis, condition in conditions.items():  # how many taps of output p are inside
                lines.append(f"m{axis.position}[{axis.place}] = sum(1, {axis.tap}, {condition})")
                below.append(f"m{axis.position}[{axis.place}]")
            if conditions:
                lines.append(f"s[n,{places},c] = sum({value}, {', '.join(taps)})")
                lines.append(f"a[n,{places},c] = s[n,{places},c]/({'*'.join(below)})")
            else:
                lines.append(f"a[n,{places},c] = sum({value}/{count}, {', '.join(taps)})")
        shape = (*(axis.output for axis in axes), inputs[0][-1])
        return Written(tuple(lines), "a", shape, sizes=index_sizes(axes))

    @property
    def words(self) -> str:
        return described(self.size, self.stride, self.padding)


@dataclass(frozen=True, slots=True)
class _Pooling1D(_Pooling):
    """Over the steps of a sequence (steps, channels)."""

    axes: ClassVar[int] = 1
    size: Sizes | str = field(default=2, metadata=by(sizes(1, 1, GLOBAL)))
    name: str = field(default="", metadata=by(checks.layer_name))
    stride: Sizes | None = field(default=None, metadata=by(sizes(1)))
    padding: Padding = field(default="valid", metadata=by(sizes(1, 0, ("valid", "same"))))
    inputs: tuple[str, ...] = field(default=(), metadata=by(names))


@dataclass(frozen=True, slots=True)
class _Pooling2D(_Pooling):
    """Over the rows and columns of an image (rows, columns, channels)."""

    axes: ClassVar[int] = 2
    size: Sizes | str = field(default=2, metadata=by(sizes(2, 1, GLOBAL)))
    name: str = field(default="", metadata=by(checks.layer_name))
    stride: Sizes | None = field(default=None, metadata=by(sizes(2)))
    padding: Padding = field(default="valid", metadata=by(sizes(2, 0, ("valid", "same"))))
    inputs: tuple[str, ...] = field(default=(), metadata=by(names))


@dataclass(frozen=True, slots=True)
class MaxPool1D(_Pooling1D):
    """The largest element of each window of a sequence (steps, channels)."""

    kind: ClassVar[str] = "max_pool1d"
    average: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class MaxPool2D(_Pooling2D):
    """The largest element of each window of an image (rows, columns, channels)."""

    kind: ClassVar[str] = "max_pool2d"
    average: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class AveragePool1D(_Pooling1D):
    """The average over each window of a sequence (steps, channels)."""

    kind: ClassVar[str] = "average_pool1d"
    average: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class AveragePool2D(_Pooling2D):
    """The average over each window of an image (rows, columns, channels)."""

    kind: ClassVar[str] = "average_pool2d"
    average: ClassVar[bool] = True
