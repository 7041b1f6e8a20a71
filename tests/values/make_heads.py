"""Values of networks with several losses from PyTorch: makes heads.npz, in an environment that has torch.

tags    sequences of 5 steps: a label for each step under softmax cross-entropy (smoothed, with a mask), two values for
        each step under the squared error, and the labels once more on an inner layer
tied    a table of weights that the last layer shares with the first: z = E^T tanh(E x + b) + c

Data, parameters by symnet's names, the losses, and the gradients of all parameters.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy

torch.set_default_dtype(torch.float64)
N, T, FEATURES, HIDDEN, CLASSES = 7, 5, 3, 4, 6


def tags(rng: np.random.Generator) -> dict[str, np.ndarray]:
    shapes = {"body": (HIDDEN, FEATURES), "early": (CLASSES, HIDDEN), "deep": (HIDDEN, HIDDEN),
              "tag": (CLASSES, HIDDEN), "value": (2, HIDDEN)}  # fmt: skip
    p = {}
    for name, shape in shapes.items():
        p[f"{name}.W"] = torch.tensor(rng.normal(size=shape), requires_grad=True)
        p[f"{name}.b"] = torch.tensor(rng.normal(size=shape[:1]), requires_grad=True)
    X, labels, values = rng.normal(size=(N, T, FEATURES)), rng.integers(0, CLASSES, (N, T)), rng.normal(size=(N, T, 2))
    mask = (np.arange(T) < rng.integers(1, T + 1, (N, 1))).astype(float)

    def layer(name, x):
        return x @ p[f"{name}.W"].T + p[f"{name}.b"]

    def labelled(z, smoothing):
        flat = cross_entropy(z.reshape(-1, CLASSES), torch.tensor(labels).reshape(-1), reduction="none",
                             label_smoothing=smoothing)  # fmt: skip
        return (flat.reshape(N, T) * torch.tensor(mask)).mean()

    body = torch.tanh(layer("body", torch.tensor(X)))
    deep = torch.tanh(layer("deep", body))
    parts = {
        "tag": labelled(layer("tag", deep), 0.1),
        "value": ((layer("value", deep) - torch.tensor(values)) ** 2).mean(),
        "early": labelled(layer("early", body), 0.0),
    }
    loss = parts["tag"] + 0.7 * parts["value"] + 0.3 * parts["early"]
    loss.backward()
    found = {f"loss/{name}": part.item() for name, part in parts.items()} | {"loss/": loss.item()}
    return {"X": X, "labels": labels, "values": values, "mask": mask, **found, **named(p)}


def tied(rng: np.random.Generator) -> dict[str, np.ndarray]:
    shapes = {"down.W": (3, 5), "down.b": (3,), "up.c": (5,)}
    p = {name: torch.tensor(rng.normal(size=shape), requires_grad=True) for name, shape in shapes.items()}
    X = rng.normal(size=(N, 5))
    x = torch.tensor(X)
    code = torch.tanh(x @ p["down.W"].T + p["down.b"])
    loss = ((code @ p["down.W"] + p["up.c"] - x) ** 2).mean() + 0.05 / 2 * (p["down.W"] ** 2).sum()
    loss.backward()
    return {"X": X, "loss/": loss.item(), **named(p)}


def named(parameters: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    start = {f"start/{name}": p.detach().numpy() for name, p in parameters.items()}
    return start | {f"gradient/{name}": p.grad.numpy() for name, p in parameters.items()}


def main() -> None:
    rng, out = np.random.default_rng(11), {}
    for case in (tags, tied):
        out |= {f"{case.__name__}/{name}": np.asarray(value) for name, value in case(rng).items()}
    np.savez_compressed(Path(__file__).with_name("heads.npz"), **out)


if __name__ == "__main__":
    main()
