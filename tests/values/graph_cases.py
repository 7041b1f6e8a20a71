"""The graphs and layers that make_graphs.py and test_graphs.py have in common."""

from __future__ import annotations

from typing import Any

import numpy as np

NODES, FEATURES, UNITS, HEADS, MESSAGE, SAMPLES = 7, 3, 2, 2, 4, 2

# with an edge that is there twice, a loop, and node 6 without neighbours
EDGES = [[0, 1], [1, 2], [0, 1], [3, 3], [2, 4], [4, 5], [5, 0]]
GRAPHS: dict[str, dict[str, Any]] = {
    "undirected": {"edges": EDGES, "nodes": NODES},
    "directed": {"edges": EDGES, "nodes": NODES, "directed": True},
    "no edges": {"edges": [], "nodes": NODES},
}


def adjacency(graph: str) -> np.ndarray[Any, Any]:
    """A[v,u] of the graph, dense, counted edge by edge."""
    A = np.zeros((NODES, NODES))
    for u, v in GRAPHS[graph]["edges"]:
        A[v, u] += 1
        if u != v and not GRAPHS[graph].get("directed"):
            A[u, v] += 1
    return A


LAYERS: dict[str, tuple[str, dict[str, Any]]] = {
    "conv": ("graph_conv", {"activation": "tanh"}),
    "mean conv": ("graph_conv", {"activation": "tanh", "normalize": "mean"}),
    "sum": ("message_passing", {"aggregate": "sum", "message": MESSAGE}),
    "mean": ("message_passing", {"aggregate": "mean", "message": MESSAGE}),
    "max": ("message_passing", {"aggregate": "max", "message": MESSAGE}),
    "attention": ("graph_attention", {"heads": HEADS}),
    "mean attention": ("graph_attention", {"heads": HEADS, "combine": "mean"}),
}
CASES = {f"{name}, {graph}": (*layer, graph) for name, layer in LAYERS.items() for graph in GRAPHS}
