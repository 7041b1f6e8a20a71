"""Layers that normalize: batch_norm, layer_norm, rms_norm.

In: checked values.  Out: for given shapes, lines of equations in text (base.Written).  Means are taken first and
subtracted before squares are taken, so that a large mean costs no digits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

from ..declare import checks
from ..declare.checks import Choice, Pairs, by
from ..errors import complaint
from .base import AXES, Kept, Learned, Shape, Written, WrittenLayer, names, ties

ONES = Choice("constant", (("value", 1.0),))
LETTERS = "ijklmp"


@dataclass(frozen=True, slots=True)
class BatchNorm(WrittenLayer):
    """Each unit of the last axis with mean 0 and variance 1 over the batch, then times gamma plus beta.

        mu[i] = (1/N) sum_n x[n,i],   c[n,i] = x[n,i] - mu[i],   v[i] = (1/N) sum_n c[n,i]**2
        xhat[n,i] = c[n,i]/sqrt(v[i] + epsilon),   y[n,i] = gamma[i]*xhat[n,i] + beta[i]

    Where samples have other axes before the last, sums are over these positions, too, and N counts them all.  Where
    nothing is trained the states `mean` (first 0) and `variance` (first 1) stand for mu and v.  With m = momentum and
    M = N times the positions, a step of training makes them

        mean = (1 - m)*mean + m*mu,   variance = (1 - m)*variance + m*v*M/(M - 1)   (as it was, if M = 1)

    so that `momentum` is the weight of the batch, as in PyTorch.  scale, shift: whether there is a gamma, a beta.  A
    layer that shares the parameters of another has states of its own.  Source: Ioffe and Szegedy 2015.
    """

    kind: ClassVar[str] = "batch_norm"
    epsilon: float = field(default=1e-5, metadata=by(checks.number(0)))
    momentum: float = field(default=0.1, metadata=by(checks.number(0)))
    scale: bool = field(default=True, metadata=by(checks.boolean))
    shift: bool = field(default=True, metadata=by(checks.boolean))
    name: str = field(default="", metadata=by(checks.layer_name))
    inputs: tuple[str, ...] = field(default=(), metadata=by(names))
    share: str = field(default="", metadata=by(checks.layer_name))
    tie: Pairs = field(default=Pairs(), metadata=by(ties))

    def written(self, inputs: tuple[Shape, ...]) -> Written:
        (shape,) = inputs
        if self.momentum > 1:
            raise complaint(f"{self.where}, momentum", self.momentum, "a number from 0 to 1, the weight of the batch")
        lead, i = _split(self.where, shape, 1)
        at, bound = ",".join(("n", *lead, i)), ",".join(("n", *lead))
        positions = math.prod(shape[:-1])
        count = "N" if positions == 1 else f"({positions}*N)"
        m = repr(self.momentum)
        lines = (
            f"mu[{i}] = sum(x[{at}]/{count}, {bound})",
            f"c[{at}] = x[{at}] - mu[{i}]",
            f"v[{i}] = sum(c[{at}]**2/{count}, {bound})",
            f"xhat[{at}] = c[{at}]/sqrt(v[{i}] + {self.epsilon!r})",
            f"nextmean[{i}] = (1 - {m})*mean[{i}] + {m}*mu[{i}]",
            f"nextvariance[{i}] = where({count} > 1,"
            f" (1 - {m})*variance[{i}] + {m}*v[{i}]*{count}/max({count} - 1, 1), variance[{i}])",
        )
        inference = (f"xhat[{at}] = (x[{at}] - mean[{i}])/sqrt(variance[{i}] + {self.epsilon!r})",)
        width = shape[-1:]
        states = {"mean": Kept(width, 0.0, "nextmean"), "variance": Kept(width, 1.0, "nextvariance")}
        made = _affine(lines, shape, 1, self.scale, self.shift)
        predicted = _affine(inference, shape, 1, self.scale, self.shift).lines
        return replace(made, inference=predicted, coupled=True, states=states)


class _OverLastAxes(WrittenLayer):
    """What norms over the last axes of a sample have in common."""

    __slots__ = ()
    axes: int

    def last(self, shape: Shape) -> tuple[int, str, str]:
        """(how many numbers, the indices of the positions, those of the last axes), as they stand in subscripts"""
        lead, own = _split(self.where, shape, self.axes)
        return math.prod(shape[-self.axes :]), "".join(f",{i}" for i in lead), ",".join(own)

    @property
    def words(self) -> str:
        return "" if self.axes == 1 else f"over {self.axes} axes"


@dataclass(frozen=True, slots=True)
class LayerNorm(_OverLastAxes):
    """Each sample (and each position in it) with mean 0 and variance 1 over its last axes, then times gamma plus beta.

        mu[n] = (1/D) sum_j x[n,j],   c[n,i] = x[n,i] - mu[n],   v[n] = (1/D) sum_j c[n,j]**2
        xhat[n,i] = c[n,i]/sqrt(v[n] + epsilon),   y[n,i] = gamma[i]*xhat[n,i] + beta[i]

    axes: over how many of the last axes of a sample; gamma and beta have their shape.  scale, shift: whether there is a
    gamma (first 1), a beta (first 0).  Source: Ba, Kiros and Hinton 2016.
    """

    kind: ClassVar[str] = "layer_norm"
    epsilon: float = field(default=1e-5, metadata=by(checks.number(0)))
    axes: int = field(default=1, metadata=by(checks.integer(1)))
    scale: bool = field(default=True, metadata=by(checks.boolean))
    shift: bool = field(default=True, metadata=by(checks.boolean))
    name: str = field(default="", metadata=by(checks.layer_name))
    inputs: tuple[str, ...] = field(default=(), metadata=by(names))
    share: str = field(default="", metadata=by(checks.layer_name))
    tie: Pairs = field(default=Pairs(), metadata=by(ties))

    def written(self, inputs: tuple[Shape, ...]) -> Written:
        (shape,) = inputs
        count, rest, bound = self.last(shape)
        lines = (
            f"mu[n{rest}] = sum(x[n{rest},{bound}]/{count}, {bound})",
            f"c[n{rest},{bound}] = x[n{rest},{bound}] - mu[n{rest}]",
            f"v[n{rest}] = sum(c[n{rest},{bound}]**2/{count}, {bound})",
            f"xhat[n{rest},{bound}] = c[n{rest},{bound}]/sqrt(v[n{rest}] + {self.epsilon!r})",
        )
        return _affine(lines, shape, self.axes, self.scale, self.shift)


@dataclass(frozen=True, slots=True)
class RMSNorm(_OverLastAxes):
    """Each sample divided by the root of the mean of its squares over its last axes, then times gamma.

        v[n] = (1/D) sum_j x[n,j]**2,   xhat[n,i] = x[n,i]/sqrt(v[n] + epsilon),   y[n,i] = gamma[i]*xhat[n,i]

    Options as of layer_norm; there is no beta unless shift = true.  Source: Zhang and Sennrich 2019.
    """

    kind: ClassVar[str] = "rms_norm"
    epsilon: float = field(default=1e-5, metadata=by(checks.number(0)))
    axes: int = field(default=1, metadata=by(checks.integer(1)))
    scale: bool = field(default=True, metadata=by(checks.boolean))
    shift: bool = field(default=False, metadata=by(checks.boolean))
    name: str = field(default="", metadata=by(checks.layer_name))
    inputs: tuple[str, ...] = field(default=(), metadata=by(names))
    share: str = field(default="", metadata=by(checks.layer_name))
    tie: Pairs = field(default=Pairs(), metadata=by(ties))

    def written(self, inputs: tuple[Shape, ...]) -> Written:
        (shape,) = inputs
        count, rest, bound = self.last(shape)
        lines = (
            f"v[n{rest}] = sum(x[n{rest},{bound}]**2/{count}, {bound})",
            f"xhat[n{rest},{bound}] = x[n{rest},{bound}]/sqrt(v[n{rest}] + {self.epsilon!r})",
        )
        return _affine(lines, shape, self.axes, self.scale, self.shift)


def _split(where: str, shape: Shape, axes: int) -> tuple[str, str]:
    """(indices of the positions, indices of the `axes` last axes)"""
    if axes > len(shape):
        raise complaint(f"{where}, axes", axes, f"at most {len(shape)}, the axes of its input of shape {shape}")
    assert len(shape) <= AXES <= len(LETTERS)
    letters = LETTERS[: len(shape)]
    return letters[:-axes], letters[-axes:]


def _affine(lines: tuple[str, ...], shape: Shape, axes: int, scale: bool, shift: bool) -> Written:
    """`lines`, then y = gamma*xhat + beta along the last axes, as far as it is wanted."""
    if not scale and not shift:
        return Written(lines, "xhat", shape)
    letters = LETTERS[: len(shape)]
    everywhere, own = ",".join(letters), ",".join(letters[-axes:])
    value = f"gamma[{own}]*xhat[n,{everywhere}]" if scale else f"xhat[n,{everywhere}]"
    value += f" + beta[{own}]" if shift else ""
    parameters = {"gamma": Learned(shape[-axes:], ONES)} if scale else {}
    parameters |= {"beta": Learned(shape[-axes:])} if shift else {}
    return Written((*lines, f"y[n,{everywhere}] = {value}"), "y", shape, parameters)
