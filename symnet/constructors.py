"""Layers in Python: the functions that users call, one for each kind of kinds.

In: plain values.  Out: the dataclass of the kind, every value checked.  What they take is what a `[[layer]]` may say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .checks import declare
from .errors import Quoted, complaint
from .kinds import (
    Activation,
    Add,
    Concat,
    Dense,
    Dropout,
    Equations,
    Flatten,
    LayerNorm,
    LogSoftmax,
    Maxout,
    Multiply,
    Reshape,
    RMSNorm,
    Softmax,
)


def _made(kind: type[Any], first: str, given: Mapping[str, Any], name: str | None, options: Mapping[str, Any]) -> Any:
    where = f"{kind.__name__.lower()}({first}...)" if name is None else f"layer {name!r}"
    return declare(kind, {**given, **options} | ({} if name is None else {"name": name}), where)


def dense(units: int, activation: Any = "identity", name: str | None = None, **options: Any) -> Dense:
    """A layer z = W a + b followed by an activation.

    units: number of outputs.  activation: a name of the table, a mapping {"name": ..., option: ...}, or
    {"formula": "x*logistic(beta*x)", "parameters": {"beta": 1.0}}.  name: its parameters are `name.W` and `name.b`.
    options: bias (True), initializer (by activation), bias_initializer (zeros): a name, a mapping, or an array; l2, l1:
    strengths of its penalties, if not the network's; inputs: the layer that it reads, if not the one before; share: the
    layer whose parameters it uses.

    >>> dense(64, activation="relu", name="hidden1").units
    64
    """
    made: Dense = _made(Dense, f"{units!r}, ", {"units": units, "activation": activation}, name, options)
    return made


def maxout(units: int, pieces: int = 2, name: str | None = None, **options: Any) -> Maxout:
    """The largest of `pieces` affine maps, for each unit: W of shape (units, pieces, inputs), b of (units, pieces).

    options: bias (True), initializer, bias_initializer, l2, l1, inputs, share.  Source: Goodfellow et al. 2013.

    >>> maxout(4, pieces=3).parameters(((2,),))
    {'W': (4, 3, 2), 'b': (4, 3)}
    """
    made: Maxout = _made(Maxout, f"{units!r}, ", {"units": units, "pieces": pieces}, name, options)
    return made


def activation(function: Any, name: str | None = None, **options: Any) -> Activation:
    """An activation as a layer of its own: what `dense` takes as its activation."""
    made: Activation = _made(Activation, f"{function!r}, ", {"activation": function}, name, options)
    return made


def softmax(axis: int = -1, name: str | None = None, **options: Any) -> Softmax:
    """exp(z) / sum exp(z) along an axis of the sample."""
    made: Softmax = _made(Softmax, "", {"axis": axis}, name, options)
    return made


def log_softmax(axis: int = -1, name: str | None = None, **options: Any) -> LogSoftmax:
    """The logarithm of softmax."""
    made: LogSoftmax = _made(LogSoftmax, "", {"axis": axis}, name, options)
    return made


def _read(names: tuple[Any, ...], inputs: Any, kind: str) -> Any:
    """The names of the layers that a layer reads: given one by one, or as `inputs`, as TOML says it."""
    if names and inputs is not None:
        raise complaint(f"{kind}(...)", Quoted("names, and inputs= as well"), "one of the two")
    if len(names) == 1 and not isinstance(names[0], str):
        return names[0]
    return names if inputs is None else inputs


def add(*names: str, inputs: Any = None, name: str | None = None) -> Add:
    """The sum of the layers of these names, or of the list `inputs`.

    >>> add("a", "b", name="both").inputs
    ('a', 'b')
    """
    made: Add = _made(Add, "", {"inputs": _read(names, inputs, "add")}, name, {})
    return made


def multiply(*names: str, inputs: Any = None, name: str | None = None) -> Multiply:
    """The elementwise product of the layers of these names, or of the list `inputs`."""
    made: Multiply = _made(Multiply, "", {"inputs": _read(names, inputs, "multiply")}, name, {})
    return made


def concat(*names: str, inputs: Any = None, axis: int = -1, name: str | None = None) -> Concat:
    """The layers of these names, or of the list `inputs`, side by side, along an axis of the sample."""
    made: Concat = _made(Concat, "", {"inputs": _read(names, inputs, "concat"), "axis": axis}, name, {})
    return made


def dropout(rate: float = 0.5, name: str | None = None, **options: Any) -> Dropout:
    """In training each element is set to 0 with the probability `rate`, and the others are divided by 1 - rate.

    In evaluation and prediction it changes nothing.  Masks are a pure function of the model's seed, the layer, the
    number of the step and the element, so that training can be repeated and resumed.  Source: Srivastava et al. 2014.
    """
    made: Dropout = _made(Dropout, "", {"rate": rate}, name, options)
    return made


def layer_norm(name: str | None = None, **options: Any) -> LayerNorm:
    """Each sample, over its last axis, with mean 0 and variance 1, then times gamma plus beta.

    options: axes (1): over how many of the last axes; epsilon (1e-5); scale, shift (True): whether there is a gamma, a
    beta; inputs; share.  Source: Ba, Kiros and Hinton 2016.

    >>> layer_norm(axes=2).parameters(((5, 4, 3),))
    {'gamma': (4, 3), 'beta': (4, 3)}
    """
    made: LayerNorm = _made(LayerNorm, "", {}, name, options)
    return made


def rms_norm(name: str | None = None, **options: Any) -> RMSNorm:
    """Each sample divided by the root mean square of its last axis, then times gamma.

    options: axes (1), epsilon (1e-5), scale (True), shift (False), inputs, share.  Source: Zhang and Sennrich 2019.

    >>> rms_norm().parameters(((5, 4),))
    {'gamma': (4,)}
    """
    made: RMSNorm = _made(RMSNorm, "", {}, name, options)
    return made


def reshape(*to: Any, name: str | None = None, **options: Any) -> Reshape:
    """The same numbers in row-major order, each sample in the shape `to`: reshape(2, 3) or reshape((2, 3))."""
    given = {"to": to[0] if len(to) == 1 else to} if to else {}
    made: Reshape = _made(Reshape, "", given, name, options)
    return made


def flatten(name: str | None = None, **options: Any) -> Flatten:
    """All numbers of a sample in one axis."""
    made: Flatten = _made(Flatten, "", {}, name, options)
    return made


def equations(
    text: Any,
    *,
    sizes: Mapping[str, int] | None = None,
    parameters: Mapping[str, Any] | None = None,
    name: str | None = None,
    **options: Any,
) -> Equations:
    """A layer as its equations, in text: one, a list of them, or one a line.

    sizes: of indices, {"i": 16}.  parameters: name -> shape, each axis an integer or the index that runs over it; or
    {"shape": [...], "initializer": ...}.  options: output (the tensor defined last), inputs, share.

    >>> text = "z[n,i] = sum(W[i,j]*x[n,j], j) + b[i]"
    >>> affine = equations(text, sizes={"i": 3}, parameters={"W": ["i", "j"], "b": ["i"]})
    >>> affine.shape(((5,),)), affine.parameters(((5,),))
    ((3,), {'W': (3, 5), 'b': (3,)})
    """
    given = {"equations": text, "sizes": sizes or {}, "parameters": parameters or {}}
    made: Equations = _made(Equations, "", given, name, options)
    return made
