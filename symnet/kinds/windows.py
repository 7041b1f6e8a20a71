"""Windows that slide over the axes of an image or of a sequence: what convolution and pooling have in common.

In: size, stride, padding and dilation as a spec gives them, and the lengths of the axes.  Out: Window: the lengths of
the output and the subscripts in text.  Output p of an axis reads the elements s*p + d*u - low for the taps u, where s
is the stride, d the dilation and `low` the padding in front; what lies outside of the axis reads 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..declare.checks import Check, integer
from ..errors import Quoted, complaint
from .base import Shape

POSITIONS, TAPS = "pq", "uv"
WORDS = {1: "(steps, channels)", 2: "(rows, columns, channels)"}
Sizes = int | tuple[int, ...]
Padding = str | int | tuple[int, ...]


def sizes(axes: int, least: int = 1, words: tuple[str, ...] = ()) -> Check:
    """One integer for all axes, or a list of one for each; or one of the words."""
    expected = "an integer" if axes == 1 else f"an integer, or a list of {axes}"
    expected += "".join(f", or {word!r}" for word in words)

    def check(value: Any, where: str) -> Any:
        if isinstance(value, str) or value is None:
            if value in words:
                return value
            raise complaint(where, value, expected)
        if not isinstance(value, list | tuple):
            return integer(least)(value, where)
        if len(value) != axes:
            raise complaint(where, value, expected)
        return tuple(integer(least)(n, where) for n in value)

    return check


@dataclass(frozen=True, slots=True)
class Axis:
    """The window along one axis."""

    position: str
    tap: str
    length: int
    size: int
    stride: int
    dilation: int
    low: int
    output: int

    @property
    def place(self) -> str:
        """The subscript of the output."""
        return self.position if self.output > 1 else "0"

    @property
    def subscript(self) -> str:
        """What output p reads at tap u."""
        if self.output == 1 and self.size == self.length and not self.low:
            return self.tap  # the window is all of the axis
        first = "0" if self.output == 1 else _times(self.stride, self.position)
        return f"{first}+{_times(self.dilation, self.tap)}" + (f"-{self.low}" if self.low else "")

    @property
    def inside(self) -> str:
        """The condition that a tap is inside of the axis; "" if every one is."""
        last = self.stride * (self.output - 1) + self.dilation * (self.size - 1) - self.low
        if not self.low and last < self.length:
            return ""
        low, high = ("0 <= " if self.low else ""), (f" < {self.length}" if last >= self.length else "")
        return f"{low}{self.subscript}{high}"


def axes_of(
    shape: Shape, size: Sizes | str, stride: Sizes | None, padding: Padding, dilation: Sizes, axes: int, where: str
) -> tuple[Axis, ...]:
    """The window along each axis of a sample with channels last; SymnetError if it does not fit."""
    if len(shape) != axes + 1:
        expected = f"an input of shape {WORDS[axes]}"
        shown = [*shape, 1] if len(shape) == axes else f"[{WORDS[axes][1:-1]}]"
        advice = f"Put a reshape layer before it, to {shown}." if len(shape) <= axes else ""
        raise complaint(f"{where}, input", Quoted(f"the shape {shape}"), expected, advice)
    taps = shape[:-1] if isinstance(size, str) else _each(size, axes)
    strides = taps if stride is None else _each(stride, axes)
    dilations = _each(dilation, axes)
    made = []
    for k, (length, tap, step, wide) in enumerate(zip(shape[:-1], taps, strides, dilations, strict=True)):
        span = wide * (tap - 1) + 1
        if padding == "same":
            output = -(-length // step)
            low, high = divmod(max((output - 1) * step + span - length, 0), 2)
            high += low
        else:
            low = high = 0 if isinstance(padding, str) else _each(padding, axes)[k]
            output = (length + low + high - span) // step + 1
        if output < 1:
            found = f"a window over {span} elements on an axis of {length}" + (f" padded by {low}" if low else "")
            advice = "Make `size` or `dilation` smaller, or pad."
            raise complaint(f"{where}, size", Quoted(found), "a window that fits into its input", advice)
        if max(low, high) >= span:
            found = f"padding by {max(low, high)} for a window over {span} elements"
            raise complaint(f"{where}, padding", Quoted(found), "less than the window: it would see only zeros")
        made.append(Axis(POSITIONS[k], TAPS[k], length, tap, step, wide, low, output))
    return tuple(made)


def index_sizes(axes: Sequence[Axis]) -> dict[str, int]:
    """The sizes of the indices of positions and of taps."""
    positions = {axis.position: axis.output for axis in axes if axis.output > 1}
    return positions | {axis.tap: axis.size for axis in axes}


def described(size: Sizes | str, stride: Sizes | None, padding: Padding, dilation: Sizes = 1) -> str:
    """`3x3, stride 2, padding same`"""
    text = "x".join(map(str, size)) if isinstance(size, tuple) else str(size)
    for name, value, usual in (
        ("stride", stride, (None, 1)),
        ("padding", padding, ("valid", 0)),
        ("dilation", dilation, (1,)),
    ):
        if value not in usual:
            text += f", {name} {'x'.join(map(str, value)) if isinstance(value, tuple) else value}"
    return text


def _each(value: Any, axes: int) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,) * axes


def _times(factor: int, name: str) -> str:
    return name if factor == 1 else f"{factor}*{name}"
