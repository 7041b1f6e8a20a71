"""Layers on graphs in Python: functions that users call, as those of constructors.py."""

from __future__ import annotations

from typing import Any

from ..kinds import GraphAttention, GraphConv, MessagePassing
from .constructors import _made


def graph_conv(
    units: int, activation: Any = "identity", graph: str = "A", name: str | None = None, **options: Any
) -> GraphConv:
    """Graph convolution, Z = Â X W' + b with Â = D^-1/2 (A + I) D^-1/2, and an activation.

    graph: the name of a constant of the network, A[v,u] the weight of what node v takes from u (constants.py).  A
    sample has the shape (nodes, features), the output (nodes, units).  options: features: a constant X that is read
    instead of a layer, for a network without inputs; normalize ("symmetric", "mean", "none"); self_loops (True); and
    those of `dense`: bias, initializer, bias_initializer, l2, l1, inputs, share.  Source: Kipf and Welling 2017.

    >>> from symnet import Network
    >>> path = {"edges": [[0, 1], [1, 2]], "nodes": 3}
    >>> network = Network(input=[3, 5], layers=[graph_conv(2, name="g")], loss="softmax_cross_entropy",
    ...                   constants={"A": path})
    >>> network.parameters["g.W"], network.constants["Ahat__"].nnz
    ((2, 5), 7)
    """
    given = {"units": units, "activation": activation, "graph": graph}
    made: GraphConv = _made(GraphConv, f"{units!r}, ", given, name, options)
    return made


def message_passing(
    units: int, aggregate: str = "mean", graph: str = "A", name: str | None = None, **options: Any
) -> MessagePassing:
    """z[v] = W x[v] + U agg_u m[u] + b, the sum, mean or max over the neighbours u of node v.

    options: message: units of a dense layer of the neighbour, m = g(M x + c), instead of m = x; message_activation
    ("relu"); activation and the others of `dense`.  A node without neighbours takes 0.
    Source: Hamilton, Ying and Leskovec 2017 (GraphSAGE).
    """
    given = {"units": units, "aggregate": aggregate, "graph": graph}
    made: MessagePassing = _made(MessagePassing, f"{units!r}, ", given, name, options)
    return made


def graph_attention(
    units: int, heads: int = 1, activation: Any = "identity", graph: str = "A", name: str | None = None, **options: Any
) -> GraphAttention:
    """Graph attention: each node takes W x of its neighbours, weighted by a softmax over them, in several heads.

    options: combine ("concat": heads*units outputs, or "mean"), self_loops (True), slope of the leaky_relu (0.2), and
    the others of `dense`.  Source: Velickovic et al. 2018.
    """
    given = {"units": units, "heads": heads, "activation": activation, "graph": graph}
    made: GraphAttention = _made(GraphAttention, f"{units!r}, ", given, name, options)
    return made
