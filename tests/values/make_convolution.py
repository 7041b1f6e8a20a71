"""Values and gradients of the layers of convolution_cases.py by PyTorch, in float64: writes convolution.npz.

    python -m tests.values.make_convolution          where PyTorch is installed

Each case: h = x A' (a matrix for the channels), then the layer, then the loss: the mean of the squares over outputs
and samples.  Channels are last, as in symnet; PyTorch has them first.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from .convolution_cases import CASES, SAMPLES


def layer(kind: str, h: torch.Tensor, options: dict, weights: dict[str, torch.Tensor]) -> torch.Tensor:
    axes = int(kind[-2])
    options = {"stride": None, **options} if "pool" in kind else dict(options)
    if options.get("size") == "global":
        options["size"] = list(h.shape[1:-1])
    h = h.movedim(-1, 1)
    if kind.startswith("conv"):
        passed = {key: options[key] for key in ("stride", "padding", "dilation", "groups") if key in options}
        convolve = functional.conv1d if axes == 1 else functional.conv2d
        y = convolve(h, weights["W"].movedim(-1, 1), weights.get("b"), **passed)
    else:
        pool = getattr(functional, f"{'max' if kind.startswith('max') else 'avg'}_pool{axes}d")
        passed = {} if kind.startswith("max") else {"count_include_pad": False}
        y = pool(h, options["size"], options["stride"], options.get("padding", 0), **passed)
    return y.movedim(1, -1)


def main() -> None:
    rng = np.random.default_rng(4)
    arrays: dict[str, np.ndarray] = {}
    for name, (shape, kind, options) in CASES.items():
        channels = shape[-1]
        values = {"x": rng.normal(size=(SAMPLES, *shape)), "A": rng.normal(size=(channels, channels))}
        if kind.startswith("conv"):
            size = options["size"]
            taps = size if isinstance(size, list) else [size] * int(kind[-2])
            values["W"] = rng.normal(size=(options["units"], *taps, channels // options.get("groups", 1)))
            if options.get("bias", True):
                values["b"] = rng.normal(size=options["units"])
        tensors = {key: torch.tensor(value, requires_grad=key != "x") for key, value in values.items()}
        y = layer(kind, tensors["x"] @ tensors["A"].T, options, tensors)
        loss = (y**2).mean()
        loss.backward()
        arrays |= {f"{name}:{key}": value for key, value in values.items()}
        arrays |= {f"{name}:d_{key}": tensor.grad.numpy() for key, tensor in tensors.items() if key != "x"}
        arrays |= {f"{name}:y": y.detach().numpy(), f"{name}:loss": loss.detach().numpy()}
    np.savez_compressed(Path(__file__).with_name("convolution.npz"), **arrays)


if __name__ == "__main__":
    main()
