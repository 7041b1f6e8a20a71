"""Layers of sequences of symbols: embedding, positions, attention, and the transformer block made of them.

In: checked values.  Out: for given shapes, lines of equations in text (base.Written).  A softmax is exp(s - logsumexp)
and a mask is a condition on indices, so nothing overflows and no large negative number stands for "masked".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import numpy as np

from ..declare import activations, checks
from ..declare.checks import Choice, Pairs, by
from ..declare.constants import Constant, Later
from ..errors import Quoted, complaint
from .base import IntegerShape, Layer, Learned, Shape, Written, WrittenLayer, names, strength, ties
from .normalization import LayerNorm, RMSNorm

TABLE = Choice("lecun_normal")
GLOROT = Choice("glorot_uniform")
GELU = Choice("gelu")
WAVELENGTH = 10_000  # the longest of the sinusoids is this many times 2 pi positions
LETTERS = "tijlm"


@dataclass(frozen=True, slots=True)
class Embedding(WrittenLayer):
    """A learned row for each symbol:  y[n,t,k] = E[x[n,t],k]  for an input x of integers; E (vocabulary, width).

    The gradient of E adds up over the places of each symbol.  Source: Bengio et al. 2003.
    """

    kind: ClassVar[str] = "embedding"
    vocabulary: int = field(metadata=by(checks.integer(1)))
    width: int = field(metadata=by(checks.integer(1)))
    name: str = field(default="", metadata=by(checks.layer_name))
    initializer: Choice | None = field(default=None, metadata=by(checks.initializer))
    l2: float | None = field(default=None, metadata=by(strength))
    l1: float | None = field(default=None, metadata=by(strength))
    inputs: tuple[str, ...] = field(default=(), metadata=by(names))
    share: str = field(default="", metadata=by(checks.layer_name))
    tie: Pairs = field(default=Pairs(), metadata=by(ties))

    def check_kinds(self, inputs: tuple[Shape, ...]) -> None:
        for shape in inputs:
            if not isinstance(shape, IntegerShape):
                advice = f"Declare it so: {{ shape = {list(shape)}, below = {self.vocabulary} }}."
                raise complaint(f"{self.where}, inputs", Quoted("real numbers"), "an input of integers", advice)
            if shape.below > self.vocabulary:
                found = Quoted(f"integers below {shape.below}")
                expected = f"below {self.vocabulary}, the vocabulary"
                raise complaint(f"{self.where}, inputs", found, expected, "Enlarge it, or say `below` of the input.")

    def written(self, inputs: tuple[Shape, ...]) -> Written:
        (shape,) = inputs
        own = "".join(f",{letter}" for letter in LETTERS[: len(shape)])
        table = Learned((self.vocabulary, self.width), TABLE, (self.width, self.vocabulary), True)
        return Written((f"y[n{own},k] = E[x[n{own}],k]",), "y", (*shape, self.width), {"E": table})

    @property
    def given(self) -> dict[str, Choice | None]:
        return {"E": self.initializer}

    @property
    def words(self) -> str:
        return f"{self.vocabulary} x {self.width}"


@dataclass(frozen=True, slots=True)
class Positions(WrittenLayer):
    """A row for each position is added:  y[n,t,k] = x[n,t,k] + P[t,k].

    table: "learned", or "sinusoidal", a constant: P[t,2k] = sin(t/10000**(2k/D)), P[t,2k+1] = cos(t/10000**(2k/D)).
    length: rows of a learned table, at least as many as there are positions.  Source: Vaswani et al. 2017, ch. 3.5.
    """

    kind: ClassVar[str] = "positions"
    table: str = field(default="learned", metadata=by(checks.word("learned", "sinusoidal")))
    length: int | None = field(default=None, metadata=by(checks.integer(1)))
    name: str = field(default="", metadata=by(checks.layer_name))
    initializer: Choice | None = field(default=None, metadata=by(checks.initializer))
    l2: float | None = field(default=None, metadata=by(strength))
    l1: float | None = field(default=None, metadata=by(strength))
    inputs: tuple[str, ...] = field(default=(), metadata=by(names))
    share: str = field(default="", metadata=by(checks.layer_name))
    tie: Pairs = field(default=Pairs(), metadata=by(ties))

    def written(self, inputs: tuple[Shape, ...]) -> Written:
        time, width = _sequence(self.where, inputs[0])
        length = time if self.length is None else self.length
        if length < time:
            found = Quoted(f"{time} positions")
            raise complaint(f"{self.where}, inputs", found, f"at most {length}, the length of its table")
        row = "t" if length == time else "t+0"  # t alone would run over all of the table
        lines = (f"y[n,t,k] = x[n,t,k] + P[{row},k]",)
        if self.table == "sinusoidal":
            later = Later(partial(sinusoids, time, width))
            table = Constant("", (time, width), digest=f"sinusoids {time} {width}", parts=later)
            return Written(lines, "y", inputs[0], constants={"P": table})
        learned = Learned((length, width), TABLE, (width, length), True)
        return Written(lines, "y", inputs[0], {"P": learned})

    @property
    def given(self) -> dict[str, Choice | None]:
        return {"P": self.initializer} if self.table == "learned" else {}

    @property
    def words(self) -> str:
        return self.table


def sinusoids(length: int, width: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """The table of Vaswani et al. 2017, ch. 3.5."""
    t, k = np.arange(length)[:, None], np.arange(width)
    angle = t / WAVELENGTH ** ((k - k % 2) / width)
    return np.where(k % 2 == 0, np.sin(angle), np.cos(angle))


@dataclass(frozen=True, slots=True)
class Attention(WrittenLayer):
    """Scaled dot-product attention with several heads h, each of d = width/heads dimensions.

        q[n,t,h,d] = sum_i Wq[h,d,i]*x[n,t,i] + bq[h,d];   k and v likewise, of the positions u that are attended to
        e[n,h,t,u] = sum_d q[n,t,h,d]*k[n,u,h,d],   lse[n,h,t] = logsumexp_u e[n,h,t,u]/sqrt(d)
        p[n,h,t,u] = exp(e[n,h,t,u]/sqrt(d) - lse[n,h,t]),   c[n,t,h,d] = sum_u p[n,h,t,u]*v[n,u,h,d]
        y[n,t,i] = sum_hd Wo[i,h,d]*c[n,t,h,d] + bo[i]

    Inputs: a sequence of shape (time, width); then, if the keys and values are those of another sequence, that one;
    then, if not all positions are attended to, their number, integers of shape (), or a mask of them, integers of shape
    (time,): those where it is above 0 are.  causal: position t attends to u <= t only.  bias: whether there are bq, bk,
    bv and bo (that of the keys has the gradient 0).  width: of all heads together, else that of the sequence.
    Source: Vaswani et al. 2017.
    """

    kind: ClassVar[str] = "attention"
    heads: int = field(default=1, metadata=by(checks.integer(1)))
    causal: bool = field(default=False, metadata=by(checks.boolean))
    width: int | None = field(default=None, metadata=by(checks.integer(1)))
    bias: bool = field(default=True, metadata=by(checks.boolean))
    name: str = field(default="", metadata=by(checks.layer_name))
    initializer: Choice | None = field(default=None, metadata=by(checks.initializer))
    l2: float | None = field(default=None, metadata=by(strength))
    l1: float | None = field(default=None, metadata=by(strength))
    inputs: tuple[str, ...] = field(default=(), metadata=by(names))
    share: str = field(default="", metadata=by(checks.layer_name))
    tie: Pairs = field(default=Pairs(), metadata=by(ties))
    several: ClassVar[bool] = True

    def check_kinds(self, inputs: tuple[Shape, ...]) -> None:
        """A length is of integers, and a mask may be."""
        Layer.check_kinds(self, inputs[:-1] if len(inputs) > 1 and _is_selection(inputs[-1]) else inputs)

    def written(self, inputs: tuple[Shape, ...]) -> Written:
        sequences = inputs[:-1] if len(inputs) > 1 and _is_selection(inputs[-1]) else inputs
        if not 1 <= len(sequences) <= 2:
            expected = "a sequence, perhaps another one, and perhaps the number of positions, or a mask of them"
            raise complaint(f"{self.where}, inputs", Quoted(f"{len(inputs)} inputs"), expected)
        time, width = _sequence(self.where, inputs[0])
        others, features = _sequence(self.where, sequences[-1])
        called = ("x", "m")[: len(sequences)]
        conditions = ["u <= t"] if self.causal else []
        if self.causal and len(sequences) > 1:
            raise complaint(f"{self.where}, causal", True, "false, where another sequence is attended to")
        if len(sequences) < len(inputs):
            chosen = inputs[-1]
            if isinstance(chosen, IntegerShape) and not chosen and chosen.below > others + 1:
                expected = f"below = {others + 1}: at most the {others} positions"
                raise complaint(f"{self.where}, inputs", Quoted(f"lengths below {chosen.below}"), expected)
            if chosen and (tuple(chosen) != (others,) or not isinstance(chosen, IntegerShape)):
                kind = "integers" if isinstance(chosen, IntegerShape) else "real numbers"
                found = Quoted(f"{kind} of the shape {tuple(chosen)} as the last input")
                expected = f"integers of the shape ({others},), a mask of the positions, or (), their number"
                advice = f"Declare a mask so: {{ shape = [{others}], below = 2 }}."
                raise complaint(f"{self.where}, inputs", found, expected, advice)
            conditions.append("mask[n,u] > 0" if chosen else "u < length[n]")
            called += ("mask" if chosen else "length",)
        inner = width if self.width is None else self.width
        if inner % self.heads:
            raise complaint(f"{self.where}, heads", self.heads, f"a number that divides the width {inner}")
        return _attention(
            (time, width), features, self.heads, inner // self.heads, " and ".join(conditions), self.bias,
            called,
        )  # fmt: skip

    @property
    def given(self) -> dict[str, Choice | None]:
        return {f"W{part}": self.initializer for part in "qkvo"}

    @property
    def words(self) -> str:
        return f"{self.heads} head{'s' * (self.heads > 1)}{', causal' * self.causal}"


def _is_selection(shape: Shape) -> bool:
    """The number of positions that are attended to, or a mask of them."""
    return len(shape) == 1 or (isinstance(shape, IntegerShape) and not shape)


def _sequence(where: str, shape: Shape) -> tuple[int, int]:
    if len(shape) != 2:
        advice = "A layer of the kind 'reshape' can make it one."
        raise complaint(f"{where}, inputs", Quoted(f"the shape {tuple(shape)}"), "the shape (time, width)", advice)
    return shape[0], shape[1]


def _attention(
    shape: Shape, features: int, heads: int, size: int, condition: str, bias: bool, called: tuple[str, ...]
) -> Written:
    """The lines of Attention, for the names `called` of its inputs and a condition on t, u and n."""
    source = "m" if "m" in called else "x"
    width, inner = shape[1], heads * size
    parameters: dict[str, Learned] = {}
    lines = []
    for letter, x, at, many in (("q", "x", "t", width), ("k", source, "u", features), ("v", source, "u", features)):
        parameters[f"W{letter}"] = Learned((heads, size, many), GLOROT, (many, inner), True)
        value = f"sum(W{letter}[h,d,i]*{x}[n,{at},i], i)"
        if bias:
            parameters[f"b{letter}"] = Learned((heads, size))
            value += f" + b{letter}[h,d]"
        lines.append(f"{letter}[n,{at},h,d] = {value}")
    score = f"e[n,h,t,u]/sqrt({size})"
    weight = f"exp({score} - lse[n,h,t])"
    lines += [
        "e[n,h,t,u] = sum(q[n,t,h,d]*k[n,u,h,d], d)",
        f"lse[n,h,t] = logsumexp({score}, u{f', {condition}' if condition else ''})",
        f"p[n,h,t,u] = {f'where({condition}, {weight}, 0)' if condition else weight}",
        "c[n,t,h,d] = sum(p[n,h,t,u]*v[n,u,h,d], u)",
        f"y[n,t,i] = sum(Wo[i,h,d]*c[n,t,h,d], h, d){' + bo[i]' if bias else ''}",
    ]
    parameters["Wo"] = Learned((width, heads, size), GLOROT, (inner, width), True)
    if bias:
        parameters["bo"] = Learned((width,))
    return Written(tuple(lines), "y", shape, parameters, inputs=called)


@dataclass(frozen=True, slots=True)
class Transformer(WrittenLayer):
    """A block of a transformer, normalized first:  h = x + attention(norm(x)),  y = h + mlp(norm(h)).

        mlp(x) = W2 f(W1 x + b1) + b2,   W1 (hidden, width), W2 (width, hidden);   hidden is 4*width unless it is said

    The attention is that of the layer of this name (Wq, Wk, Wv, Wo, ...), to the sequence itself, with heads, causal,
    bias; a second input is the number of positions that are attended to, or a mask of them.  norm:
    "layer_norm" or "rms_norm", with the parameters gamma1, beta1 and gamma2, beta2.  activation: f, gelu if not said.
    Sources: Vaswani et al. 2017; normalized first: Xiong et al. 2020.
    """

    kind: ClassVar[str] = "transformer"
    heads: int = field(default=1, metadata=by(checks.integer(1)))
    hidden: int | None = field(default=None, metadata=by(checks.integer(1)))
    causal: bool = field(default=False, metadata=by(checks.boolean))
    activation: Choice = field(default=GELU, metadata=by(checks.activation))
    norm: str = field(default="layer_norm", metadata=by(checks.word("layer_norm", "rms_norm")))
    epsilon: float = field(default=1e-5, metadata=by(checks.number(0)))
    bias: bool = field(default=True, metadata=by(checks.boolean))
    name: str = field(default="", metadata=by(checks.layer_name))
    initializer: Choice | None = field(default=None, metadata=by(checks.initializer))
    l2: float | None = field(default=None, metadata=by(strength))
    l1: float | None = field(default=None, metadata=by(strength))
    inputs: tuple[str, ...] = field(default=(), metadata=by(names))
    share: str = field(default="", metadata=by(checks.layer_name))
    tie: Pairs = field(default=Pairs(), metadata=by(ties))
    several: ClassVar[bool] = True

    check_kinds = Attention.check_kinds

    def written(self, inputs: tuple[Shape, ...]) -> Written:
        time, width = _sequence(self.where, inputs[0])
        where = f"{self.where}, activation"
        if learned := activations.settings(self.activation.name, self.activation.mapping, where).learned:
            raise complaint(where, Quoted(f"the learned {', '.join(learned)}"), "a function with nothing to learn")
        if len(inputs) > 1 + _is_selection(inputs[-1]):
            expected = "a sequence, and perhaps the number of positions, or a mask of them"
            raise complaint(f"{self.where}, inputs", Quoted(f"{len(inputs)} inputs"), expected)
        attention = Attention(self.heads, self.causal, None, self.bias, self.name).written(inputs)
        kind = LayerNorm if self.norm == "layer_norm" else RMSNorm
        norm = kind(epsilon=self.epsilon, name=self.name).written((inputs[0],))
        hidden = 4 * width if self.hidden is None else self.hidden
        first, second = (" + b1[j]", " + b2[i]") if self.bias else ("", "")
        lines = [
            *_renamed(norm, "1", {"x": "x", norm.output: "x1"}),
            *_renamed(attention, "", {"x": "x1", attention.output: "a"}),
            "r[n,t,i] = x[n,t,i] + a[n,t,i]",
            *_renamed(norm, "2", {"x": "r", norm.output: "x2"}),
            f"z[n,t,j] = sum(W1[j,i]*x2[n,t,i], i){first}",
            "g[n,t,j] = f(z[n,t,j])",
            f"y[n,t,i] = sum(W2[i,j]*g[n,t,j], j) + r[n,t,i]{second}",
        ]
        parameters = {f"{name}1": learned for name, learned in norm.parameters.items()}
        parameters |= attention.parameters
        parameters |= {f"{name}2": learned for name, learned in norm.parameters.items()}
        parameters["W1"] = Learned((hidden, width), GLOROT, (width, hidden), True)
        parameters["W2"] = Learned((width, hidden), GLOROT, (hidden, width), True)
        if self.bias:
            parameters |= {"b1": Learned((hidden,)), "b2": Learned((width,))}
        return Written(
            tuple(lines), "y", (time, width), parameters, functions={"f": self.activation}, inputs=attention.inputs
        )

    @property
    def given(self) -> dict[str, Choice | None]:
        return dict.fromkeys(("Wq", "Wk", "Wv", "Wo", "W1", "W2"), self.initializer)

    @property
    def words(self) -> str:
        return f"{self.heads} head{'s' * (self.heads > 1)}{', causal' * self.causal}"


def _renamed(part: Written, tag: str, others: Mapping[str, str]) -> tuple[str, ...]:
    """The lines of a part with its tensors tagged, or renamed as `others` says: what stands before a bracket."""
    defined = {line.partition("[")[0] for line in part.lines}

    def change(found: re.Match[str]) -> str:
        name = found[0]
        return others.get(name) or (f"{name}{tag}" if name in defined or name in part.parameters else name)

    return tuple(re.sub(r"[A-Za-z]\w*(?=\[)", change, line) for line in part.lines)
