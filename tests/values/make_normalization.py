"""Values of batch, layer and RMS norm from PyTorch: makes normalization.npz, in an environment that has torch.

Each case is  dense -> norm -> tanh -> dense  with the squared error: data, parameters by symnet's names, their
gradients in training; for batch norm also what four steps of gradient descent (batches of 5 rows, the last of 2) make
of the parameters and of the running statistics, and the prediction after them.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

torch.set_default_dtype(torch.float64)
RATE, BATCH = 0.1, 5


class Positions(nn.Module):
    """BatchNorm1d wants its units on axis 1; samples are (positions, units) here."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x):
        return self.norm(x.transpose(1, 2)).transpose(1, 2) if x.dim() == 3 else self.norm(x)


def cases():
    yield "batch", Positions(nn.BatchNorm1d(3, eps=1e-3, momentum=0.2)), (4,)
    yield "batch_positions", Positions(nn.BatchNorm1d(3)), (2, 4)
    yield "layer", nn.LayerNorm(3, eps=1e-4), (4,)
    yield "layer_axes", nn.LayerNorm((2, 3)), (2, 4)
    yield "rms", nn.RMSNorm(3, eps=1e-5), (2, 4)


def main() -> None:
    rng, out = np.random.default_rng(7), {}
    for case, norm, shape in cases():
        first, last = nn.Linear(4, 3), nn.Linear(3, 2)
        net = nn.Sequential(first, norm, nn.Tanh(), last)
        X, y = rng.normal(1, 2, (12, *shape)), rng.normal(size=(12, *shape[:-1], 2))
        for parameter in net.parameters():
            parameter.data = torch.tensor(rng.normal(0.5, 0.7, parameter.shape))
        inner = norm.norm if isinstance(norm, Positions) else norm
        named = {"first.W": first.weight, "first.b": first.bias, "norm.gamma": inner.weight,
                 "last.W": last.weight, "last.b": last.bias}  # fmt: skip
        if getattr(inner, "bias", None) is not None:
            named["norm.beta"] = inner.bias
        values = {f"start/{name}": p.detach().numpy().copy() for name, p in named.items()}
        data, target = torch.tensor(X), torch.tensor(y)
        loss = nn.functional.mse_loss(net(data), target)
        loss.backward()
        values |= {f"gradient/{name}": p.grad.numpy().copy() for name, p in named.items()}
        values |= {"X": X, "y": y, "loss": loss.detach().numpy()}
        if case.startswith("batch"):
            inner.reset_running_stats()
            optimizer = torch.optim.SGD(net.parameters(), RATE)
            for start in (0, 5, 10, 0):
                optimizer.zero_grad()
                rows = slice(start, min(start + BATCH, 12))
                nn.functional.mse_loss(net(data[rows]), target[rows]).backward()
                optimizer.step()
            net.eval()
            values |= {f"end/{name}": p.detach().numpy().copy() for name, p in named.items()}
            values |= {"state/norm.mean": inner.running_mean.numpy(), "state/norm.variance": inner.running_var.numpy()}
            values["prediction"] = net(data).detach().numpy()
        out |= {f"{case}/{name}": value for name, value in values.items()}
    np.savez_compressed(Path(__file__).with_name("normalization.npz"), **out)


if __name__ == "__main__":
    main()
