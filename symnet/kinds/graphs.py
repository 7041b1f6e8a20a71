"""Layers on a graph: graph_conv, message_passing, graph_attention.

In: checked values, and a constant A of the network, A[v,u] the weight of what node v takes from node u.  Out: lines of
equations in text.  A sample is a signal on the nodes, of shape (V, F).  Sums over neighbours are over the stored
entries of A; a maximum or a softmax over them is over tables: the neighbours of v are src[e], ptr[v] <= e < ptr[v+1].
A node without neighbours takes 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from ..declare import activations, checks
from ..declare.checks import Choice, Pairs, by
from ..declare.constants import Constant
from ..declare.neighbours import NORMALIZATIONS, normalized, tables
from ..errors import Quoted, complaint
from .base import IDENTITY, Learned, Shape, Written, WrittenLayer, names, own_constants, strength, ties

NEIGHBOURS = "ptr[v] <= e and e < ptr[v+1]"
GLOROT = Choice("glorot_uniform")


class _OnGraph(WrittenLayer):
    """What layers on a graph have in common."""

    __slots__ = ()
    units: int
    graph: str
    activation: Choice
    bias: bool
    initializer: Choice | None
    bias_initializer: Choice | None
    constants: tuple[Constant, ...]

    @property
    def chosen(self) -> activations.Settings:
        return activations.settings(self.activation.name, self.activation.mapping, self.name)

    @property
    def how(self) -> Choice:
        return self.initializer or Choice(self.chosen.row.initializer)

    @property
    def named_constants(self) -> tuple[str, ...]:
        return (self.graph,)

    def signal(self, inputs: tuple[Shape, ...]) -> tuple[int, int]:
        """(nodes, features) of what the layer reads."""
        nodes = self.constants[0].shape[0]
        if not inputs or len(inputs[0]) != 2 or inputs[0][0] != nodes:
            found = Quoted(f"inputs of the shape {inputs[0] if inputs else ()}")
            raise complaint(self.where, found, f"({nodes}, features), a row for each node of {self.graph!r}")
        return nodes, inputs[0][1]

    def biases(self, units: int, fans: tuple[int, int]) -> dict[str, Learned]:
        return {"b": Learned((units,), self.bias_initializer or Choice("zeros"), fans)} if self.bias else {}

    @property
    def words(self) -> str:
        function = "" if self.activation == IDENTITY else f" {self.activation.name or 'own activation'}"
        return f"{self.units} on {self.graph}{function}"


@dataclass(frozen=True, slots=True)
class GraphConv(_OnGraph):
    """Z = Â X W' + b and an activation; Â = D^-1/2 (A + I) D^-1/2, D the sums of rows of A + I.

    normalize: "symmetric", "mean" (D^-1 (A + I)) or "none".  self_loops: whether I is added.  features: a constant X of
    the network, sparse or dense, that the layer reads instead of another layer.  Source: Kipf and Welling 2017.
    """

    kind: ClassVar[str] = "graph_conv"
    units: int = field(metadata=by(checks.integer(1)))
    graph: str = field(default="A", metadata=by(checks.layer_name))
    features: str = field(default="", metadata=by(checks.layer_name))
    name: str = field(default="", metadata=by(checks.layer_name))
    normalize: str = field(default="symmetric", metadata=by(checks.word(*NORMALIZATIONS)))
    self_loops: bool = field(default=True, metadata=by(checks.boolean))
    activation: Choice = field(default=IDENTITY, metadata=by(checks.activation))
    bias: bool = field(default=True, metadata=by(checks.boolean))
    initializer: Choice | None = field(default=None, metadata=by(checks.initializer))
    bias_initializer: Choice | None = field(default=None, metadata=by(checks.initializer))
    l2: float | None = field(default=None, metadata=by(strength))
    l1: float | None = field(default=None, metadata=by(strength))
    inputs: tuple[str, ...] = field(default=(), metadata=by(names))
    share: str = field(default="", metadata=by(checks.layer_name))
    tie: Pairs = field(default=Pairs(), metadata=by(ties))
    constants: tuple[Constant, ...] = own_constants()

    @property
    def named_constants(self) -> tuple[str, ...]:
        return (self.graph, self.features) if self.features else (self.graph,)

    @property
    def alone(self) -> bool:
        return bool(self.features)

    def written(self, inputs: tuple[Shape, ...]) -> Written:
        graph = self.constants[0]
        held = {"A": normalized(graph, self.normalize, self.self_loops, self.where)}
        plus = " + b[i]" if self.bias else ""
        if not self.features:
            nodes, width = self.signal(inputs)
            lines = [f"z[n,v,i] = sum(A[v,u]*x[n,u,j]*W[i,j], u, j){plus}"]
        else:
            features = self.constants[-1]
            nodes = graph.shape[0]
            if len(features.shape) != 2 or features.shape[0] != nodes or features.kind != "real":
                found = Quoted(f"{features.kind} numbers of the shape {features.shape}")
                expected = f"real ones of the shape ({nodes}, features), a row for each node of {self.graph!r}"
                raise complaint(f"{self.where}, features {self.features!r}", found, expected)
            width = features.shape[1]
            held["X"] = features
            lines = ["h[u,i] = sum(X[u,j]*W[i,j], j)", "s[v,i] = sum(A[v,u]*h[u,i], u)", f"z[n,v,i] = s[v,i]{plus}"]
        fans = (width, self.units)
        parameters = {"W": Learned((self.units, width), self.how, fans, True), **self.biases(self.units, fans)}
        return Written(
            tuple(lines), "z", (nodes, self.units), parameters,
            inputs=() if self.features else ("x",), activation=self.chosen, constants=held,
        )  # fmt: skip

    @property
    def given(self) -> dict[str, Choice | None]:
        return {"W": self.initializer, "b": self.bias_initializer}


@dataclass(frozen=True, slots=True)
class MessagePassing(_OnGraph):
    """z[v] = W x[v] + U agg_u m[u] + b and an activation: agg a sum (by the weights of A), mean or max over neighbours.

    m[u] = x[u], or with `message` = K a dense layer of the neighbour, m[u] = g(M x[u] + c) of K units, g its
    `message_activation`.  The maximum is over the entries of A, whatever their weights.
    Source: Hamilton, Ying and Leskovec 2017 (GraphSAGE); Gilmer et al. 2017.
    """

    kind: ClassVar[str] = "message_passing"
    units: int = field(metadata=by(checks.integer(1)))
    graph: str = field(default="A", metadata=by(checks.layer_name))
    aggregate: str = field(default="mean", metadata=by(checks.word("sum", "mean", "max")))
    name: str = field(default="", metadata=by(checks.layer_name))
    message: int | None = field(default=None, metadata=by(checks.integer(1)))
    message_activation: Choice = field(default=Choice("relu"), metadata=by(checks.activation))
    activation: Choice = field(default=IDENTITY, metadata=by(checks.activation))
    bias: bool = field(default=True, metadata=by(checks.boolean))
    initializer: Choice | None = field(default=None, metadata=by(checks.initializer))
    bias_initializer: Choice | None = field(default=None, metadata=by(checks.initializer))
    l2: float | None = field(default=None, metadata=by(strength))
    l1: float | None = field(default=None, metadata=by(strength))
    inputs: tuple[str, ...] = field(default=(), metadata=by(names))
    share: str = field(default="", metadata=by(checks.layer_name))
    tie: Pairs = field(default=Pairs(), metadata=by(ties))
    constants: tuple[Constant, ...] = own_constants()

    def written(self, inputs: tuple[Shape, ...]) -> Written:
        nodes, width = self.signal(inputs)
        taken = self.message or width
        lines, m = [], "x"
        if self.message:
            m = "m"
            lines.append("m[n,u,k] = g(sum(M[k,j]*x[n,u,j], j) + c[k])")
        own, plus = "z[n,v,i] = sum(W[i,j]*x[n,v,j], j)", " + b[i]" if self.bias else ""
        sizes, fans = {}, (width, self.units)
        held = {}
        if self.aggregate == "max":
            found = tables(self.constants[0], False, self.where)
            held = {key: found[key] for key in ("ptr", "src")}
            sizes = {"v": nodes}
            lines += [
                f"t[n,v,k] = max({m}[n,src[e],k], e, {NEIGHBOURS})",
                "r[n,v,k] = where(ptr[v] < ptr[v+1], t[n,v,k], 0)",
                f"{own} + sum(U[i,k]*r[n,v,k], k){plus}",
            ]
        else:
            how = "mean" if self.aggregate == "mean" else "none"
            held = {"A": normalized(self.constants[0], how, False, self.where)}
            lines.append(f"{own} + sum(A[v,u]*{m}[n,u,k]*U[i,k], u, k){plus}")
        parameters = {
            "W": Learned((self.units, width), self.how, fans, True),
            "U": Learned((self.units, taken), self.how, (taken, self.units), True),
            **self.biases(self.units, fans),
        }
        if self.message:
            row = activations.settings(self.message_activation.name, self.message_activation.mapping, self.name).row
            parameters["M"] = Learned((taken, width), Choice(row.initializer), (width, taken), True)
            parameters["c"] = Learned((taken,), Choice("zeros"), (width, taken))
        functions = {"g": self.message_activation} if self.message else {}
        return Written(
            tuple(lines), "z", (nodes, self.units), parameters, sizes, functions,
            activation=self.chosen, constants=held,
        )  # fmt: skip

    @property
    def given(self) -> dict[str, Choice | None]:
        return {"W": self.initializer, "U": self.initializer, "b": self.bias_initializer}

    @property
    def words(self) -> str:
        return f"{super(MessagePassing, self).words}, {self.aggregate}"


@dataclass(frozen=True, slots=True)
class GraphAttention(_OnGraph):
    """z[v,h] = sum_u alpha[v,u,h] W_h x[u]: a softmax over the neighbours u of v, in each of several heads h.

        s[v,u,h] = leaky_relu(P_h . W_h x[v] + Q_h . W_h x[u]),   alpha[v,u,h] = exp(s[v,u,h] - logsumexp_u s[v,u,h])

    W: (heads, units, features); P, Q: (heads, units).  combine: heads side by side ("concat", heads*units outputs) or
    their "mean".  self_loops: every node is a neighbour of itself.  slope: of leaky_relu.  The weights of A count for
    nothing.  Source: Velickovic et al. 2018.
    """

    kind: ClassVar[str] = "graph_attention"
    units: int = field(metadata=by(checks.integer(1)))
    heads: int = field(default=1, metadata=by(checks.integer(1)))
    graph: str = field(default="A", metadata=by(checks.layer_name))
    name: str = field(default="", metadata=by(checks.layer_name))
    combine: str = field(default="concat", metadata=by(checks.word("concat", "mean")))
    self_loops: bool = field(default=True, metadata=by(checks.boolean))
    slope: float = field(default=0.2, metadata=by(checks.number(0, 1)))
    activation: Choice = field(default=IDENTITY, metadata=by(checks.activation))
    bias: bool = field(default=True, metadata=by(checks.boolean))
    initializer: Choice | None = field(default=None, metadata=by(checks.initializer))
    bias_initializer: Choice | None = field(default=None, metadata=by(checks.initializer))
    l2: float | None = field(default=None, metadata=by(strength))
    l1: float | None = field(default=None, metadata=by(strength))
    inputs: tuple[str, ...] = field(default=(), metadata=by(names))
    share: str = field(default="", metadata=by(checks.layer_name))
    tie: Pairs = field(default=Pairs(), metadata=by(ties))
    constants: tuple[Constant, ...] = own_constants()

    def written(self, inputs: tuple[Shape, ...]) -> Written:
        nodes, width = self.signal(inputs)
        units = self.units * self.heads if self.combine == "concat" else self.units
        lines = [
            "g[n,v,h,i] = sum(W[h,i,j]*x[n,v,j], j)",
            "p[n,v,h] = sum(P[h,i]*g[n,v,h,i], i)",
            "q[n,v,h] = sum(Q[h,i]*g[n,v,h,i], i)",
            "s[n,e,h] = f(p[n,dst[e],h] + q[n,src[e],h])",
            f"lse[n,v,h] = logsumexp(s[n,e,h], e, {NEIGHBOURS})",
            "alpha[n,e,h] = exp(s[n,e,h] - lse[n,dst[e],h])",
        ]
        if self.combine == "concat":
            lines.append(f"z[n,v,{self.units}*h+i] = sum(alpha[n,e,h]*g[n,src[e],h,i], e, {NEIGHBOURS})")
        else:
            lines.append(f"z[n,v,i] = sum(alpha[n,e,h]*g[n,src[e],h,i]/{self.heads}, e, h, {NEIGHBOURS})")
        if self.bias:
            lines.append("z[n,v,k] += b[k]")
        fans = (width, self.units)
        parameters = {
            "W": Learned((self.heads, self.units, width), self.how, fans, True),
            "P": Learned((self.heads, self.units), GLOROT, (self.units, 1), True),
            "Q": Learned((self.heads, self.units), GLOROT, (self.units, 1), True),
            **self.biases(units, fans),
        }
        leaky = Choice("leaky_relu", (("gamma", self.slope),))
        sizes = {"v": nodes, "h": self.heads, "i": self.units}
        return Written(
            tuple(lines), "z", (nodes, units), parameters, sizes, {"f": leaky},
            activation=self.chosen, constants=tables(self.constants[0], self.self_loops, self.where),
        )  # fmt: skip

    @property
    def given(self) -> dict[str, Choice | None]:
        return {"W": self.initializer, "b": self.bias_initializer}

    @property
    def words(self) -> str:
        return f"{super(GraphAttention, self).words}, {self.heads} heads"
