"""Layers in Python: the functions that users call, one for each kind of kinds.

In: plain values.  Out: the dataclass of the kind, every value checked.  What they take is what a `[[layer]]` may say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import Quoted, complaint
from ..kinds import (
    GRU,
    LSTM,
    Activation,
    Add,
    Attention,
    AveragePool1D,
    AveragePool2D,
    BatchNorm,
    Concat,
    Conv1D,
    Conv2D,
    Dense,
    Dropout,
    Elman,
    Embedding,
    Equations,
    Flatten,
    LayerNorm,
    LogSoftmax,
    Maxout,
    MaxPool1D,
    MaxPool2D,
    Multiply,
    Positions,
    Reshape,
    RMSNorm,
    Softmax,
    Transformer,
)
from .checks import declare


def _made(kind: type[Any], first: str, given: Mapping[str, Any], name: str | None, options: Mapping[str, Any]) -> Any:
    where = f"{kind.__name__.lower()}({first}...)" if name is None else f"layer {name!r}"
    return declare(kind, {**given, **options} | ({} if name is None else {"name": name}), where)


def dense(units: int, activation: Any = "identity", name: str | None = None, **options: Any) -> Dense:
    """A layer z = W a + b followed by an activation.

    units: number of outputs.  activation: a name of the table, a mapping {"name": ..., option: ...}, or
    {"formula": "x*logistic(beta*x)", "parameters": {"beta": 1.0}}.  name: its parameters are `name.W` and `name.b`.
    options: bias (True), initializer (by activation), bias_initializer (zeros): a name, a mapping, or an array; l2, l1:
    strengths of its penalties, if not the network's; inputs: the layer that it reads, if not the one before; share: the
    layer whose parameters it uses; tie: single parameters of other layers that stand for its own, {"W": "embed.E"};
    repeat: so many equal layers, one after the other, with parameters of their own, stacked: `name.W[l]` (any kind
    has it whose output has the shape of its input).

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


def conv1d(units: int, size: Any, activation: Any = "identity", name: str | None = None, **options: Any) -> Conv1D:
    """Convolution along a sequence of shape (steps, channels): z[p,o] = sum_uc W[o,u,c] x[s p + d u - low, c] + b[o].

    What `conv2d` says holds for one axis, too: the output has the shape (outputs, units), W (units, size, channels).

    >>> conv1d(8, 5, stride=2).shape(((20, 3),))
    (8, 8)
    """
    given = {"units": units, "size": size, "activation": activation}
    made: Conv1D = _made(Conv1D, f"{units!r}, {size!r}, ", given, name, options)
    return made


def conv2d(units: int, size: Any, activation: Any = "identity", name: str | None = None, **options: Any) -> Conv2D:
    """Convolution of an image of shape (rows, columns, channels), and an activation, as `dense` has it:

        z[p,q,o] = sum_uvc W[o,u,v,c] x[s p + d u - low, s q + d v - low, c] + b[o]

    units: channels of the output.  size: of the kernels, an integer or [rows, columns]; W has the shape (units, *size,
    channels/groups).  options: stride s (1); padding: "valid" (none), "same" (as many outputs as inputs over the
    stride) or numbers of zeros on each side; dilation d (1): steps between taps; groups (1): each group of channels
    meets its group of units only; and those of `dense`: bias, initializer, bias_initializer, l2, l1, inputs, share.
    Reads outside of the image give 0.  Source: LeCun et al. 1998; Dumoulin and Visin 2016.

    >>> conv2d(16, 3, activation="relu", padding="same", stride=2).shape(((28, 28, 1),))
    (14, 14, 16)
    """
    given = {"units": units, "size": size, "activation": activation}
    made: Conv2D = _made(Conv2D, f"{units!r}, {size!r}, ", given, name, options)
    return made


def max_pool1d(size: Any = 2, name: str | None = None, **options: Any) -> MaxPool1D:
    """The largest element of each window of a sequence (steps, channels); options as `max_pool2d` has them."""
    made: MaxPool1D = _made(MaxPool1D, f"{size!r}, ", {"size": size}, name, options)
    return made


def max_pool2d(size: Any = 2, name: str | None = None, **options: Any) -> MaxPool2D:
    """The largest element of each window of an image of shape (rows, columns, channels), for each channel.

    size: an integer, [rows, columns], or "global": all of the image.  options: stride (that of the size); padding:
    "valid", "same" or numbers: taps outside of the image do not count; inputs.

    >>> max_pool2d(3, stride=2, padding="same").shape(((28, 28, 16),))
    (14, 14, 16)
    """
    made: MaxPool2D = _made(MaxPool2D, f"{size!r}, ", {"size": size}, name, options)
    return made


def average_pool1d(size: Any = 2, name: str | None = None, **options: Any) -> AveragePool1D:
    """The average over each window of a sequence (steps, channels); options as `average_pool2d` has them."""
    made: AveragePool1D = _made(AveragePool1D, f"{size!r}, ", {"size": size}, name, options)
    return made


def average_pool2d(size: Any = 2, name: str | None = None, **options: Any) -> AveragePool2D:
    """The average over each window of an image (rows, columns, channels); size and options as `max_pool2d` has them.

    It is over the taps inside of the image: padding changes how many windows there are, not what they average.

    >>> average_pool2d("global").shape(((7, 7, 32),))
    (1, 1, 32)
    """
    made: AveragePool2D = _made(AveragePool2D, f"{size!r}, ", {"size": size}, name, options)
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
    number of the step and the element, so that training can be repeated and resumed.  options: seed, of its own masks
    in place of the model's; inputs.  Source: Srivastava et al. 2014.
    """
    made: Dropout = _made(Dropout, "", {"rate": rate}, name, options)
    return made


def batch_norm(name: str | None = None, **options: Any) -> BatchNorm:
    """Each unit with mean 0 and variance 1 over the batch (and the positions of a sample), times gamma plus beta.

    Evaluation and prediction take running means and variances instead: `model.states["name.mean"]`, `"name.variance"`.
    options: momentum (0.1), the weight of a batch in these; epsilon (1e-5); scale, shift (True): whether there is a
    gamma, a beta; inputs; share.  Source: Ioffe and Szegedy 2015.

    >>> batch_norm().parameters(((4,),)), batch_norm().states(((4,),))
    ({'gamma': (4,), 'beta': (4,)}, {'mean': (4,), 'variance': (4,)})
    """
    made: BatchNorm = _made(BatchNorm, "", {}, name, options)
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


def elman(units: int, activation: Any = "tanh", name: str | None = None, **options: Any) -> Elman:
    """A recurrence over samples of shape (time, features):  z_t = W x_t + U h_(t-1) + b,  h_t = f(z_t).

    activation: as of `dense`.  options: returns: "last" (the last state, of shape (units,)) or "all" (time, units);
    direction: "forward", "backward" (from the last step to the first) or "both" (outputs side by side; the parameters
    of the backward direction are called Wb, Ub, bb); initial: the state before the first step: "zero", "learned" (a
    parameter h0) or "given" (by a layer); inputs: the sequence, then the initial state if it is given, then a mask if
    there is one: of shape (time,), where it is 0 the state stays as it is, or of shape (1,), or () of integers, the
    number of steps of a sample.  bias (True); initializer (glorot_uniform), recurrent_initializer (orthogonal),
    bias_initializer (zeros); l2, l1, share as of `dense`.  Source: Elman 1990.

    >>> elman(8, returns="all", direction="both").shape(((20, 3),))
    (20, 16)
    """
    made: Elman = _made(Elman, f"{units!r}, ", {"units": units, "activation": activation}, name, options)
    return made


def gru(units: int, name: str | None = None, **options: Any) -> GRU:
    """The gated recurrent unit over samples of shape (time, features), as PyTorch has it; * is element by element:

        r = logistic(W_0 x + b_0 + U_0 h),   p = logistic(W_1 x + b_1 + U_1 h)
        g = tanh(W_2 x + b_2 + r*(U_2 h + c)),   h_next = (1 - p)*g + p*h

    W has the shape (3, units, features), U (3, units, units), b (3, units), c (units,).  options: reset_after (True):
    if false, U_2 (r*h) instead of r*(U_2 h + c), as in the paper; and those of `elman`.  Source: Cho et al. 2014.

    >>> gru(8).parameters(((20, 3),))
    {'W': (3, 8, 3), 'U': (3, 8, 8), 'b': (3, 8), 'c': (8,)}
    """
    made: GRU = _made(GRU, f"{units!r}, ", {"units": units}, name, options)
    return made


def lstm(units: int, name: str | None = None, **options: Any) -> LSTM:
    """Long short-term memory over samples of shape (time, features); * is element by element:

        z = W x + U h + b in 4 parts,   i, f, o = logistic(z_0), logistic(z_1), logistic(z_3),   g = tanh(z_2)
        c_next = f*c + i*g,   h_next = o*tanh(c_next)

    W has the shape (4, units, features), U (4, units, units), b (4, units): gates in the order of PyTorch.  options:
    forget_bias (1.0): where b starts for f; and those of `elman`; a given initial state is two inputs, of h and of c.
    Sources: Hochreiter and Schmidhuber 1997; Gers, Schmidhuber and Cummins 2000.

    >>> lstm(8, direction="both").shape(((20, 3),))
    (16,)
    """
    made: LSTM = _made(LSTM, f"{units!r}, ", {"units": units}, name, options)
    return made


def embedding(vocabulary: int, width: int, name: str | None = None, **options: Any) -> Embedding:
    """A learned row of E (vocabulary, width) for each symbol of an input of integers.

    options: initializer, l2, l1, inputs, share, tie.

    >>> import symnet as sn
    >>> layers = [sn.embedding(27, 8), sn.positions(), sn.attention(2, causal=True), sn.dense(27)]
    >>> net = sn.Network(input={"shape": [16], "below": 27}, layers=layers, loss="softmax_cross_entropy")
    >>> net.parameters["attention3.Wq"]
    (2, 4, 8)
    """
    made: Embedding = _made(Embedding, f"{vocabulary!r}, ", {"vocabulary": vocabulary, "width": width}, name, options)
    return made


def positions(table: str = "learned", name: str | None = None, **options: Any) -> Positions:
    """A row for each position is added: of a "learned" table P, or of the "sinusoidal" one, a constant.

    options: length (rows of a learned table, else as many as there are positions), initializer, l2, l1, inputs, share,
    tie.  Source: Vaswani et al. 2017, ch. 3.5.
    """
    made: Positions = _made(Positions, f"{table!r}, ", {"table": table}, name, options)
    return made


def attention(heads: int = 1, causal: bool = False, name: str | None = None, **options: Any) -> Attention:
    """Scaled dot-product attention with several heads: of a sequence to itself, or to the second of its `inputs`.

    causal: position t attends to u <= t only.  options: width (of all heads together), bias (True), initializer, l2,
    l1, inputs, share, tie.  The last of `inputs` may be the number of positions attended to, integers of shape (), or
    a mask of them, integers of shape (time,).
    Source: Vaswani et al. 2017.

    >>> attention(2).parameters(((5, 8),))["Wo"]
    (8, 2, 4)
    """
    made: Attention = _made(Attention, f"{heads!r}, ", {"heads": heads, "causal": causal}, name, options)
    return made


def transformer(heads: int = 1, causal: bool = False, name: str | None = None, **options: Any) -> Transformer:
    """A block: h = x + attention(norm(x)), then h + mlp(norm(h)), with one hidden layer of 4 times the width.

    options: hidden, activation ("gelu"), norm ("layer_norm" or "rms_norm"), epsilon, bias, initializer, l2, l1, inputs,
    share, tie.  Sources: Vaswani et al. 2017, Xiong et al. 2020.

    >>> sorted(transformer(2, norm="rms_norm", bias=False).parameters(((5, 8),)))
    ['W1', 'W2', 'Wk', 'Wo', 'Wq', 'Wv', 'gamma1', 'gamma2']
    """
    made: Transformer = _made(Transformer, f"{heads!r}, ", {"heads": heads, "causal": causal}, name, options)
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
    {"shape": [...], "initializer": ...}.  options: output (the tensor defined last), l2, l1, inputs, share.

    >>> text = "z[n,i] = sum(W[i,j]*x[n,j], j) + b[i]"
    >>> affine = equations(text, sizes={"i": 3}, parameters={"W": ["i", "j"], "b": ["i"]})
    >>> affine.shape(((5,),)), affine.parameters(((5,),))
    ((3,), {'W': (3, 5), 'b': (3,)})
    """
    given = {"equations": text, "sizes": sizes or {}, "parameters": parameters or {}}
    made: Equations = _made(Equations, "", given, name, options)
    return made
