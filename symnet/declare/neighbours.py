"""What layers on graphs make of a matrix of neighbours A[v,u]: normalized matrices, and tables of who is beside whom.

In: a constant of the network, square.  Out: sparse constants and integer tables, made once for each graph; layers that
make the same share it.  Nothing here is dense.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from ..errors import Quoted, complaint
from . import constants
from .constants import PARTS, Array, Constant

NORMALIZATIONS = ("symmetric", "mean", "none")
NAMES = {("symmetric", True): "hat", ("symmetric", False): "bar", ("mean", True): "mean", ("mean", False): "row",
         ("none", True): "loops", ("none", False): "sum"}  # fmt: skip


def entries(graph: Constant, where: str) -> tuple[Array, Array, Array]:
    """(v, u, weight) of each entry, by rows."""
    if len(graph.shape) != 2 or graph.shape[0] != graph.shape[1]:
        advice = "Edges are given as a table: { edges = [[0, 1], [1, 2]], nodes = 3 }."
        found = Quoted(f"the shape {graph.shape}")
        raise complaint(f"{where}, graph {graph.name!r}", found, "a square matrix", advice)
    if not graph.sparse:
        rows, columns = np.nonzero(graph.parts[""])
        return rows, columns, graph.parts[""][rows, columns]
    starts, columns, values = (graph.parts[part] for part in PARTS)
    return np.repeat(np.arange(graph.shape[0]), np.diff(starts)), columns, values


@lru_cache(maxsize=64)
def normalized(graph: Constant, how: str, loops: bool, where: str) -> Constant:
    """D^-1/2 A D^-1/2 ("symmetric"), D^-1 A ("mean") or A, of A + I where there are loops; D: sums of rows.

    A node without neighbours has a row of zeros.  Source: Kipf and Welling 2017.
    """
    rows, columns, values = entries(graph, where)
    if how == "none" and not loops and graph.sparse:
        return graph
    nodes = graph.shape[0]
    if loops:
        own = np.arange(nodes)
        rows, columns, values = np.append(rows, own), np.append(columns, own), np.append(values, np.ones(nodes))
    if how != "none":
        degrees = np.bincount(rows, values, nodes)
        if (degrees < 0).any():
            node = int(np.argmax(degrees < 0))
            found = Quoted(f"weights at node {node} that sum to {degrees[node]:g}")
            raise complaint(f"{where}, normalize", found, "sums of at least 0", "Use normalize = 'none'.")
        with np.errstate(divide="ignore"):
            inverse = np.where(degrees > 0, 1 / degrees, 0.0)
        root = np.sqrt(inverse)
        values = values * (root[rows] * root[columns] if how == "symmetric" else inverse[rows])
    return constants.compressed(f"{graph.name}{NAMES[how, loops]}_", graph.shape, rows, columns, values, where)


@lru_cache(maxsize=64)
def tables(graph: Constant, loops: bool, where: str) -> dict[str, Constant]:
    """ptr, src, dst: the neighbours of v are src[e] at ptr[v] <= e < ptr[v+1], dst[e] is v; loops: v is one, too."""
    rows, columns, _ = entries(graph, where)
    nodes = graph.shape[0]
    if loops:
        rows, columns = np.append(rows, np.arange(nodes)), np.append(columns, np.arange(nodes))
    made = constants.compressed("", graph.shape, rows, columns, np.ones(len(rows)), where)
    starts, source = made.parts["rows"], made.parts["columns"]
    target = np.repeat(np.arange(nodes), np.diff(starts))
    if not len(source):  # a table has at least one element: an edge between nodes that are not there
        source = target = np.full(1, nodes, np.int64)
    prefix = graph.name if loops else f"{graph.name}n"
    found = {"ptr": starts, "src": source, "dst": target}
    return {key: replace(constants.dense("", table), name=f"{prefix}{key}_") for key, table in found.items()}
