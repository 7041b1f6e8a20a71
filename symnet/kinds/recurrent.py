"""Recurrent layers: elman, gru, lstm, over samples of shape (time, features).

In: checked values.  Out: for given shapes, lines of equations in text (base.Written): a recurrence over time for each
direction.  What a step does not need the one before for, W x + b, is one product over all steps.

Subscripts of time: step t makes the state in the slot `now` of that in the slot `before`.  A state before the first
step that is not 0 has a slot of its own, so that h then has one more than there are steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar

from ..declare import activations, checks
from ..declare.checks import Choice, Pairs, by
from ..errors import Quoted, complaint
from .base import IntegerShape, Layer, Learned, Shape, Written, WrittenLayer, names, strength, ties

GLOROT = Choice("glorot_uniform")
TANH = Choice("tanh")


@dataclass(frozen=True, slots=True)
class Run:
    """One direction.  first: the slot of the initial state, "" if that is 0.  last: of the state after the last step.

    tag: the end of the names of its tensors and parameters.  kept: the condition under which a step happens, "" if it
    always does.
    """

    now: str
    before: str
    first: str
    last: str
    tag: str
    kept: str

    @property
    def sets(self) -> str:
        return "+=" if self.first else "="

    def unless_masked(self, value: str, state: str) -> str:
        """The value, or the state before the step where the step does not happen."""
        return f"where({self.kept}, {value}, {state}{self.tag}[n,{self.before},u])" if self.kept else value


class Recurrent(WrittenLayer):
    """What recurrent layers have in common."""

    __slots__ = ()
    several: ClassVar[bool] = True
    memories: ClassVar[tuple[str, ...]] = ("h",)  # what a step hands on
    gates: ClassVar[int] = 1
    gate_sizes: ClassVar[Mapping[str, int]] = MappingProxyType({})  # of the indices of gates
    units: int
    returns: str
    direction: str
    initial: str
    bias: bool
    initializer: Choice | None
    recurrent_initializer: Choice | None
    bias_initializer: Choice | None

    def steps(self, run: Run) -> list[str]:
        """The lines of one direction."""
        raise NotImplementedError

    def learned(self, features: int) -> dict[str, Learned]:
        """The parameters of one direction, but for its initial state."""
        stacked = (self.gates,) if self.gates > 1 else ()
        each = Choice("orthogonal", (("stacked", len(stacked)),) if stacked else ())
        parameters = {
            "W": Learned((*stacked, self.units, features), GLOROT, (features, self.units), True),
            "U": Learned((*stacked, self.units, self.units), each, (self.units, self.units), True),
        }
        return parameters | ({"b": Learned((*stacked, self.units))} if self.bias else {})

    @property
    def functions(self) -> dict[str, Choice]:
        return {}

    @property
    def tags(self) -> tuple[str, ...]:
        """The end of the names of parameters, for each direction: b for the backward one of two."""
        return ("", "b") if self.direction == "both" else ("",)

    def written(self, inputs: tuple[Shape, ...]) -> Written:
        time, features = self._sequence(inputs[0])
        called, kept = self._others(inputs, time)
        slots = range(time + (self.initial != "zero"))
        lines: list[str] = []
        parameters: dict[str, Learned] = {}
        for number, tag in enumerate(self.tags):
            if self.direction == "backward" or number:
                run = Run("t", "t+1", str(slots[-1]) if len(slots) > time else "", "0", tag, kept)
            elif len(slots) > time:
                run = Run("t+1", "t", "0", str(slots[-1]), tag, kept)
            else:
                run = Run("t", "t-1", "", str(slots[-1]), tag, kept)
            own = self.learned(features)
            for state in self.memories if run.first else ():
                at = f"n,u+{number * self.units}"  # u alone would run over all of the axis
                given = self.initial == "given"
                lines.append(
                    f"{state}{tag}[n,{run.first},u] = " + (f"{state}0[{at}]" if given else f"{state}0{tag}[u]")
                )
                own |= {} if given else {f"{state}0": Learned((self.units,))}
            parameters |= {f"{name}{tag}": value for name, value in own.items()}
            lines += self.steps(run)
            time_, slot = ("t,", run.now) if self.returns == "all" else ("", run.last)
            unit, adds = (f"u+{self.units}", "+=") if number else ("u", "=")
            lines.append(f"y[n,{time_}{unit}] {adds} h{tag}[n,{slot},u]")
        shape = (self.units * len(self.tags),)
        sizes = {"u": self.units, "k": self.units, "t": time, **self.gate_sizes}
        return Written(
            tuple(lines), "y", (time, *shape) if self.returns == "all" else shape, parameters, sizes,
            self.functions, called,
        )  # fmt: skip

    def check_kinds(self, inputs: tuple[Shape, ...]) -> None:
        """A mask or a length may be of integers."""
        Layer.check_kinds(self, inputs[:-1] if len(inputs) > 1 else inputs)

    def counts(self, inputs: tuple[Shape, ...]) -> Mapping[int, int]:
        time, _ = self._sequence(inputs[0])
        kept = self._others(inputs, time)[1]
        return {len(inputs) - 1: 1 if tuple(inputs[-1]) == (time,) else time} if kept else {}

    def _sequence(self, shape: Shape) -> tuple[int, int]:
        if len(shape) != 2:
            advice = "A layer of the kind 'reshape' can make it one."
            expected = "a first input of shape (time, features)"
            raise complaint(f"{self.where}, inputs", Quoted(f"the shape {shape}"), expected, advice)
        return shape[0], shape[1]

    def _others(self, inputs: tuple[Shape, ...], time: int) -> tuple[tuple[str, ...], str]:
        """What the lines call the inputs, and the condition that a mask or a length is, "" if there is none."""
        called = ["x", *(f"{state}0" for state in self.memories if self.initial == "given")]
        where = f"{self.where}, inputs"
        if not len(called) <= len(inputs) <= len(called) + 1:
            what = ", ".join(["a sequence", *(f"the initial {state[0]}" for state in called[1:])])
            expected = f"{len(called)} ({what}), and a mask or a length if there is one"
            raise complaint(where, Quoted(f"{len(inputs)} inputs"), expected)
        units = self.units * len(self.tags)
        for name, shape in zip(called[1:], inputs[1:], strict=False):
            if shape != (units,):
                expected = f"the shape ({units},)" + (
                    ": of both directions, one beside the other" * (len(self.tags) > 1)
                )
                raise complaint(where, Quoted(f"the shape {shape} of the initial {name[0]}"), expected)
        if len(inputs) == len(called):
            return tuple(called), ""
        mask = inputs[-1]
        if isinstance(mask, IntegerShape) and tuple(mask) in ((), (1,)) and (not mask or time > 1):
            if mask.below > time + 1:
                expected = f"below = {time + 1}: a length is at most the {time} steps of the sequence"
                raise complaint(where, Quoted(f"lengths below {mask.below}"), expected)
            return (*called, "m"), "t < m[n,0]" if mask else "t < m[n]"
        if tuple(mask) == (time,):
            return (*called, "m"), "m[n,t] > 0"
        if tuple(mask) == (1,):
            return (*called, "m"), "t < m[n,0]"
        expected = f"({time},), a mask of 0 and 1, or how many steps there are: (1,), or () of integers"
        raise complaint(where, Quoted(f"the shape {tuple(mask)} of the last input"), expected)

    @property
    def given(self) -> dict[str, Choice | None]:
        own = {"W": self.initializer, "U": self.recurrent_initializer}
        own |= {"b": self.bias_initializer} if self.bias_initializer is not None else {}
        return {f"{name}{tag}": choice for tag in self.tags for name, choice in own.items()}

    @property
    def words(self) -> str:
        directions = {"forward": "", "backward": ", backward", "both": ", both directions"}[self.direction]
        return f"{self.units}{directions}, {'all states' if self.returns == 'all' else 'the last state'}"


@dataclass(frozen=True, slots=True)
class Elman(Recurrent):
    """z_t = W x_t + U h_(t-1) + b,   h_t = f(z_t).   W (units, features), U (units, units).  Source: Elman 1990."""

    kind: ClassVar[str] = "elman"
    units: int = field(metadata=by(checks.integer(1)))
    activation: Choice = field(default=TANH, metadata=by(checks.activation))
    name: str = field(default="", metadata=by(checks.layer_name))
    returns: str = field(default="last", metadata=by(checks.word("last", "all")))
    direction: str = field(default="forward", metadata=by(checks.word("forward", "backward", "both")))
    initial: str = field(default="zero", metadata=by(checks.word("zero", "learned", "given")))
    bias: bool = field(default=True, metadata=by(checks.boolean))
    initializer: Choice | None = field(default=None, metadata=by(checks.initializer))
    recurrent_initializer: Choice | None = field(default=None, metadata=by(checks.initializer))
    bias_initializer: Choice | None = field(default=None, metadata=by(checks.initializer))
    l2: float | None = field(default=None, metadata=by(strength))
    l1: float | None = field(default=None, metadata=by(strength))
    inputs: tuple[str, ...] = field(default=(), metadata=by(names))
    share: str = field(default="", metadata=by(checks.layer_name))
    tie: Pairs = field(default=Pairs(), metadata=by(ties))

    @property
    def functions(self) -> dict[str, Choice]:
        where = f"{self.where}, activation"
        if learned := activations.settings(self.activation.name, self.activation.mapping, where).learned:
            raise complaint(where, Quoted(f"the learned {', '.join(learned)}"), "a function with nothing to learn")
        return {"f": self.activation}

    def steps(self, run: Run) -> list[str]:
        r = run.tag
        bias = f" + b{r}[u]" if self.bias else ""
        before = f"sum(U{r}[u,k]*h{r}[n,{run.before},k], k)"
        value = run.unless_masked(f"f(z{r}[n,t,u])", "h")
        return [
            f"z{r}[n,t,u] = sum(W{r}[u,j]*x[n,t,j], j) + {before}{bias}",
            f"h{r}[n,{run.now},u] {run.sets} {value}",
        ]


@dataclass(frozen=True, slots=True)
class GRU(Recurrent):
    """The gated recurrent unit: a reset gate r, an update gate p, a candidate g; * is element by element.

        z_t = W x_t + b                  of 3 parts, for r, p and g, in the order of PyTorch; the first two + U h_(t-1)
        r = logistic(z_0),   p = logistic(z_1),   s = U_2 h_(t-1) + c,   g = tanh(z_2 + r*s)
        h_t = (1 - p)*g + p*h_(t-1)

    W (3, units, features), U (3, units, units), b (3, units), c (units).  reset_after = false: s = U_2 (r*h_(t-1)) and
    g = tanh(z_2 + s), as in the paper.  Sources: Cho et al. 2014; reset_after as in cuDNN and PyTorch, whose
    b_ih + b_hh is b here for r and p.
    """

    kind: ClassVar[str] = "gru"
    gates: ClassVar[int] = 3
    gate_sizes: ClassVar[Mapping[str, int]] = MappingProxyType({"q": 3, "i": 2})
    units: int = field(metadata=by(checks.integer(1)))
    reset_after: bool = field(default=True, metadata=by(checks.boolean))
    name: str = field(default="", metadata=by(checks.layer_name))
    returns: str = field(default="last", metadata=by(checks.word("last", "all")))
    direction: str = field(default="forward", metadata=by(checks.word("forward", "backward", "both")))
    initial: str = field(default="zero", metadata=by(checks.word("zero", "learned", "given")))
    bias: bool = field(default=True, metadata=by(checks.boolean))
    initializer: Choice | None = field(default=None, metadata=by(checks.initializer))
    recurrent_initializer: Choice | None = field(default=None, metadata=by(checks.initializer))
    bias_initializer: Choice | None = field(default=None, metadata=by(checks.initializer))
    l2: float | None = field(default=None, metadata=by(strength))
    l1: float | None = field(default=None, metadata=by(strength))
    inputs: tuple[str, ...] = field(default=(), metadata=by(names))
    share: str = field(default="", metadata=by(checks.layer_name))
    tie: Pairs = field(default=Pairs(), metadata=by(ties))

    def learned(self, features: int) -> dict[str, Learned]:
        own = {"c": Learned((self.units,))} if self.bias and self.reset_after else {}
        return Recurrent.learned(self, features) | own

    def steps(self, run: Run) -> list[str]:
        r = run.tag
        old = f"h{r}[n,{run.before},%s]"
        reset = f"r{r}[n,t,u]*{old % 'u'}"
        inner = f"sum(U{r}[2,u,k]*{old % 'k' if self.reset_after else f'v{r}[n,t,k]'}, k)"
        inner += f" + c{r}[u]" if self.bias and self.reset_after else ""
        candidate = f"r{r}[n,t,u]*s{r}[n,t,u]" if self.reset_after else f"s{r}[n,t,u]"
        value = f"(1 - p{r}[n,t,u])*g{r}[n,t,u] + p{r}[n,t,u]*{old % 'u'}"
        return [
            f"z{r}[n,t,q,u] = sum(W{r}[q,u,j]*x[n,t,j], j)" + (f" + b{r}[q,u]" if self.bias else ""),
            f"z{r}[n,t,i+0,u] += sum(U{r}[i+0,u,k]*{old % 'k'}, k)",  # i: 0 and 1
            f"r{r}[n,t,u] = logistic(z{r}[n,t,0,u])",
            f"p{r}[n,t,u] = logistic(z{r}[n,t,1,u])",
            *([] if self.reset_after else [f"v{r}[n,t,u] = {reset}"]),
            f"s{r}[n,t,u] = {inner}",
            f"g{r}[n,t,u] = tanh(z{r}[n,t,2,u] + {candidate})",
            f"h{r}[n,{run.now},u] {run.sets} {run.unless_masked(value, 'h')}",
        ]


@dataclass(frozen=True, slots=True)
class LSTM(Recurrent):
    """Long short-term memory: gates i (input), f (forget), o (output), a candidate g, a cell c.

        z_t = W x_t + U h_(t-1) + b                           of 4 parts, for i, f, g and o, in the order of PyTorch
        i = logistic(z_0),   f = logistic(z_1),   g = tanh(z_2),   o = logistic(z_3)
        c_t = f*c_(t-1) + i*g,   h_t = o*tanh(c_t)

    W (4, units, features), U (4, units, units), b (4, units).  forget_bias: where b starts for f, so that cells first
    remember.  Sources: Hochreiter and Schmidhuber 1997; the forget gate, Gers, Schmidhuber and Cummins 2000.
    """

    kind: ClassVar[str] = "lstm"
    gates: ClassVar[int] = 4
    gate_sizes: ClassVar[Mapping[str, int]] = MappingProxyType({"q": 4})
    memories: ClassVar[tuple[str, ...]] = ("h", "c")
    units: int = field(metadata=by(checks.integer(1)))
    forget_bias: float = field(default=1.0, metadata=by(checks.number(-1e6, 1e6)))
    name: str = field(default="", metadata=by(checks.layer_name))
    returns: str = field(default="last", metadata=by(checks.word("last", "all")))
    direction: str = field(default="forward", metadata=by(checks.word("forward", "backward", "both")))
    initial: str = field(default="zero", metadata=by(checks.word("zero", "learned", "given")))
    bias: bool = field(default=True, metadata=by(checks.boolean))
    initializer: Choice | None = field(default=None, metadata=by(checks.initializer))
    recurrent_initializer: Choice | None = field(default=None, metadata=by(checks.initializer))
    bias_initializer: Choice | None = field(default=None, metadata=by(checks.initializer))
    l2: float | None = field(default=None, metadata=by(strength))
    l1: float | None = field(default=None, metadata=by(strength))
    inputs: tuple[str, ...] = field(default=(), metadata=by(names))
    share: str = field(default="", metadata=by(checks.layer_name))
    tie: Pairs = field(default=Pairs(), metadata=by(ties))

    def learned(self, features: int) -> dict[str, Learned]:
        parameters = Recurrent.learned(self, features)
        if self.bias:
            rows = tuple((self.forget_bias if gate == 1 else 0.0,) for gate in range(4))  # one number for all units
            parameters["b"] = Learned((4, self.units), Choice("given", (("values", rows),)))
        return parameters

    def steps(self, run: Run) -> list[str]:
        r = run.tag
        bias = f" + b{r}[q,u]" if self.bias else ""
        before = f"sum(U{r}[q,u,k]*h{r}[n,{run.before},k], k)"
        gates = [
            f"{gate}{r}[n,t,u] = {function}(z{r}[n,t,{q},u])"
            for q, (gate, function) in enumerate(zip("ifgo", ("logistic", "logistic", "tanh", "logistic"), strict=True))
        ]
        cell = f"f{r}[n,t,u]*c{r}[n,{run.before},u] + i{r}[n,t,u]*g{r}[n,t,u]"
        out = f"o{r}[n,t,u]*tanh(c{r}[n,{run.now},u])"
        return [
            f"z{r}[n,t,q,u] = sum(W{r}[q,u,j]*x[n,t,j], j) + {before}{bias}",
            *gates,
            f"c{r}[n,{run.now},u] {run.sets} {run.unless_masked(cell, 'c')}",
            f"h{r}[n,{run.now},u] {run.sets} {run.unless_masked(out, 'h')}",
        ]
