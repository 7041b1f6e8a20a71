"""The kinds of layers: a table of what a `[[layer]]` may say.

In: checked values (checks.py).  Out: frozen dataclasses that know the shape of their output and of their parameters,
for one sample, without the axis of the samples.  layers.py writes their equations, or they carry them as text
(base.Written).  Nothing here loads SymPy, but for layers whose equations or formulas a user wrote: these are read at
the door.

Every layer may say which layers it reads (`inputs`; else it reads the one before), and layers with parameters may use
those of another layer of their kind (`share`), or single parameters of any layer (`tie`).  `repeat` of them may stand
one after the other (rolled.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from ..declare import initializers
from ..declare.checks import Pairs
from ..errors import complaint
from .affine import Dense, Maxout
from .attention import Attention, Embedding, Positions, Transformer
from .base import (
    AXES,
    IntegerShape,
    Kept,
    Layer,
    Learned,
    Shape,
    Written,
    WrittenLayer,
    learned_shapes,
    sample_shape,
)
from .convolution import Conv1D, Conv2D
from .elementwise import Activation, Dropout, LogSoftmax, Softmax
from .equations import Declared, Equations
from .graphs import GraphAttention, GraphConv, MessagePassing
from .normalization import BatchNorm, LayerNorm, RMSNorm
from .pooling import AveragePool1D, AveragePool2D, MaxPool1D, MaxPool2D
from .recurrent import GRU, LSTM, Elman
from .shapes import Add, Concat, Flatten, Multiply, Reshape

TABLE: tuple[type[Layer], ...] = (
    Dense, Maxout,
    Conv1D, Conv2D, MaxPool1D, MaxPool2D, AveragePool1D, AveragePool2D,
    Activation, Softmax, LogSoftmax, Dropout,
    Add, Multiply, Concat, Reshape, Flatten,
    BatchNorm, LayerNorm, RMSNorm,
    Elman, GRU, LSTM,
    Embedding, Positions, Attention, Transformer,
    GraphConv, MessagePassing, GraphAttention,
    Equations,
)  # fmt: skip
KINDS: Mapping[str, type[Layer]] = {kind.kind: kind for kind in TABLE}


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
        if name in layer.tie.mapping:
            raise complaint(where, choice.name, "none", f"Its {name} is {layer.tie.mapping[name]}.")
        initializers.check(choice.name, choice.mapping, shapes[name], where)


def without_initializers(layer: Layer) -> Layer:
    """The layer as far as its equations go."""
    none: dict[str, Any] = dict.fromkeys(f.name for f in fields(layer) if f.name.endswith("initializer"))
    if isinstance(layer, Equations):
        none["learned"] = Pairs(tuple((name, Declared(d.shape)) for name, d in layer.learned.entries))
    return replace(layer, **none)


def named(layer: Any, number: int) -> Layer:
    """The layer with a name: its own, or its kind and its number."""
    found: Layer = layer if layer.name else replace(layer, name=f"{layer.kind}{number}")
    return found


__all__ = [
    "Attention", "Embedding", "IntegerShape", "Positions", "Transformer",
    "AXES", "GRU", "KINDS", "LSTM", "Activation", "Add", "AveragePool1D", "AveragePool2D", "BatchNorm", "Concat",
    "Conv1D", "Conv2D", "Declared", "Dense", "Dropout", "Elman", "Equations", "Flatten", "GraphAttention",
    "GraphConv", "Kept", "Layer", "LayerNorm", "Learned", "MessagePassing", "LogSoftmax", "MaxPool1D", "MaxPool2D",
    "Maxout", "Multiply", "RMSNorm", "Reshape", "Shape", "Softmax", "Written", "WrittenLayer", "check_initializers",
    "learned_shapes", "named", "sample_shape", "without_initializers",
]  # fmt: skip
