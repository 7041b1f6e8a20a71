"""Values and gradients of graph convolution, GraphSAGE and graph attention by PyTorch, in float64: writes graphs.npz.

    python -m tests.values.make_graphs          where PyTorch is installed

The layers are written down with dense matrices, as the papers have them; the loss is the mean of the squares over the
samples, nodes and outputs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from .graph_cases import CASES, FEATURES, HEADS, MESSAGE, NODES, SAMPLES, UNITS, adjacency


def graph_conv(A: torch.Tensor, x: torch.Tensor, w: dict[str, torch.Tensor], options: dict) -> torch.Tensor:
    full = A + torch.eye(NODES)
    degree = full.sum(1)
    root = torch.diag(degree**-0.5)
    hat = torch.diag(1 / degree) @ full if options.get("normalize") == "mean" else root @ full @ root
    return torch.tanh(hat @ x @ w["W"].T + w["b"])


def message_passing(A: torch.Tensor, x: torch.Tensor, w: dict[str, torch.Tensor], options: dict) -> torch.Tensor:
    m = torch.relu(x @ w["M"].T + w["c"])
    if options["aggregate"] == "max":
        each = torch.where((A > 0)[None, :, :, None], m[:, None], torch.tensor(-torch.inf))
        taken = torch.where((A > 0).any(1)[None, :, None], each.max(2).values, torch.tensor(0.0))
    else:
        degree = A.sum(1, keepdim=True)
        taken = (A / torch.where(degree > 0, degree, 1.0) if options["aggregate"] == "mean" else A) @ m
    return x @ w["W"].T + taken @ w["U"].T + w["b"]


def graph_attention(A: torch.Tensor, x: torch.Tensor, w: dict[str, torch.Tensor], options: dict) -> torch.Tensor:
    beside = (A + torch.eye(NODES) > 0)[None, :, :, None]
    g = torch.einsum("hij,nvj->nvhi", w["W"], x)
    own, other = (g * w["P"]).sum(-1), (g * w["Q"]).sum(-1)
    s = torch.nn.functional.leaky_relu(own[:, :, None] + other[:, None], 0.2)
    alpha = torch.softmax(torch.where(beside, s, torch.tensor(-torch.inf)), 2)
    z = torch.einsum("nvuh,nuhi->nvhi", alpha, g)
    z = z.mean(2) if options.get("combine") == "mean" else z.reshape(*z.shape[:2], -1)
    return z + w["b"]


def main() -> None:
    rng = np.random.default_rng(5)
    arrays: dict[str, np.ndarray] = {}
    torch.set_default_dtype(torch.float64)
    for name, (kind, options, graph) in CASES.items():
        outputs = UNITS * HEADS if kind == "graph_attention" and "combine" not in options else UNITS
        shapes = {"b": (outputs,), "W": (UNITS, FEATURES)}
        if kind == "message_passing":
            shapes |= {"U": (UNITS, MESSAGE), "M": (MESSAGE, FEATURES), "c": (MESSAGE,)}
        if kind == "graph_attention":
            shapes |= {"W": (HEADS, UNITS, FEATURES), "P": (HEADS, UNITS), "Q": (HEADS, UNITS)}
        values = {key: rng.normal(size=shape) for key, shape in shapes.items()}
        values["x"] = rng.normal(size=(SAMPLES, NODES, FEATURES))
        tensors = {key: torch.tensor(value, requires_grad=key != "x") for key, value in values.items()}
        y = globals()[kind](torch.tensor(adjacency(graph)), tensors["x"], tensors, options)
        loss = (y**2).mean()
        loss.backward()
        arrays |= {f"{name}:{key}": value for key, value in values.items()}
        arrays |= {f"{name}:d_{key}": tensor.grad.numpy() for key, tensor in tensors.items() if key != "x"}
        arrays |= {f"{name}:y": y.detach().numpy(), f"{name}:loss": loss.detach().numpy()}
    np.savez_compressed(Path(__file__).with_name("graphs.npz"), **arrays)


if __name__ == "__main__":
    main()
