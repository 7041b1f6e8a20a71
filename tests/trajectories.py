"""Trajectories of PyTorch's optimizers, schedules and clipping, stored in tests/data/trajectories.json.

    python -m tests.trajectories        makes the file again; this alone needs PyTorch

Each starts at START and goes down `potential`, in float64, 100 steps; every 10th point is stored, and the first three.
Nothing of symnet is imported: what is stored must not depend on it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

STEPS = 100
KEPT = (1, 2, 3, *range(10, STEPS + 1, 10))
TARGET = (1.0, -2.0, 0.5, 3.0)
CURVATURE = (1.0, 10.0, 0.1, 2.0)
START = (0.1, 0.2, -0.3, 4.0)
FILE = Path(__file__).parent / "data" / "trajectories.json"


@dataclass(frozen=True)
class Case:
    """The options of symnet, and the same in PyTorch: optimizer, its arguments, scheduler(optimizer), clip."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    torch: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    scheduler: Callable[[Any, Any], Any] | None = None
    clip: Callable[[Any, Any], Any] | None = None


def _descent(schedule: Any = None, **clip: float) -> dict[str, Any]:
    options = {"learning_rate": 0.05, **clip}
    return options if schedule is None else {**options, "schedule": schedule}


def _warm(torch: Any, optimizer: Any) -> Any:
    """10 updates of linear warm-up, then a cosine over 60 more, then its end."""
    schedulers = torch.optim.lr_scheduler
    first = schedulers.LinearLR(optimizer, start_factor=0.1, total_iters=9)
    second = schedulers.CosineAnnealingLR(optimizer, T_max=60, eta_min=0.002)
    rest = schedulers.ConstantLR(optimizer, factor=0.002 / 0.05, total_iters=1000)
    return schedulers.SequentialLR(optimizer, [first, second, rest], [10, 70])


_COSINE = {"name": "cosine", "steps": 60, "final": 0.002, "warmup": 10}
_RATE = {"lr": 0.05}
_OWN = {
    "formula": "W - learning_rate*m_next",
    "states": {"m": "mu*m + g"},
    "parameters": {"learning_rate": 0.01, "mu": 0.9},
}

CASES: dict[str, Case] = {
    "gradient_descent": Case("gradient_descent", {}, "SGD"),
    "momentum": Case("momentum", {}, "SGD", {"momentum": 0.9}),
    "momentum 0.8": Case(
        "momentum", {"learning_rate": 0.02, "momentum": 0.8}, "SGD", {"lr": 0.02, "momentum": 0.8}
    ),
    "nesterov": Case("nesterov", {"learning_rate": 0.02}, "SGD", {"lr": 0.02, "momentum": 0.9, "nesterov": True}),
    "adagrad": Case("adagrad", {}, "Adagrad"),
    "rmsprop": Case("rmsprop", {}, "RMSprop"),
    "rmsprop 0.9": Case(
        "rmsprop", {"learning_rate": 0.02, "rho": 0.9, "epsilon": 1e-3}, "RMSprop",
        {"lr": 0.02, "alpha": 0.9, "eps": 1e-3},
    ),
    "adadelta": Case("adadelta", {}, "Adadelta"),
    "adam": Case("adam", {}, "Adam"),
    "adam 0.05": Case(
        "adam", {"learning_rate": 0.05, "beta1": 0.8, "beta2": 0.99}, "Adam", {"lr": 0.05, "betas": (0.8, 0.99)}
    ),
    "adamw": Case("adamw", {}, "AdamW"),
    "adamw 0.05": Case(
        "adamw", {"learning_rate": 0.05, "weight_decay": 0.1}, "AdamW", {"lr": 0.05, "weight_decay": 0.1}
    ),
    "nadam": Case("nadam", {}, "NAdam"),
    "own": Case("", _OWN, "SGD", {"lr": 0.01, "momentum": 0.9}),
    "constant": Case("gradient_descent", _descent("constant"), "SGD", _RATE),
    "step": Case(
        "gradient_descent", _descent({"name": "step", "every": 7, "factor": 0.7}), "SGD", _RATE,
        lambda torch, o: torch.optim.lr_scheduler.StepLR(o, step_size=7, gamma=0.7),
    ),
    "exponential": Case(
        "gradient_descent", _descent({"name": "exponential", "factor": 0.97}), "SGD", _RATE,
        lambda torch, o: torch.optim.lr_scheduler.ExponentialLR(o, gamma=0.97),
    ),
    "cosine": Case(
        "gradient_descent", _descent({"name": "cosine", "steps": 100}), "SGD", _RATE,
        lambda torch, o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=100),
    ),
    "warm cosine of adam": Case("adam", _descent(_COSINE), "Adam", _RATE, _warm),
    "clip_norm": Case(
        "gradient_descent", _descent(clip_norm=2.0), "SGD", _RATE,
        clip=lambda torch, p: torch.nn.utils.clip_grad_norm_(p, 2.0),
    ),
    "clip_value": Case(
        "momentum", {"learning_rate": 0.01, "clip_value": 0.5}, "SGD", {"lr": 0.01, "momentum": 0.9},
        clip=lambda torch, p: torch.nn.utils.clip_grad_value_(p, 0.5),
    ),
}  # fmt: skip


def slope(w: Any) -> Any:
    """The gradient of the potential, in NumPy."""
    return (w - np.array(TARGET)) * np.array(CURVATURE) + np.sin(3 * w)


def stored() -> dict[str, Any]:
    """name -> the points after the steps KEPT, an array of shape (len(KEPT), 4)"""
    return {name: np.array(points) for name, points in json.loads(FILE.read_text())["points"].items()}


def _trajectory(torch: Any, case: Case) -> list[list[float]]:
    start = torch.tensor(START, dtype=torch.float64)
    parameters = [start[:3].clone().reshape(3, 1).requires_grad_(), start[3:].clone().requires_grad_()]
    target, curvature = (torch.tensor(v, dtype=torch.float64) for v in (TARGET, CURVATURE))
    optimizer = getattr(torch.optim, case.torch)(parameters, **case.arguments)
    scheduler = case.scheduler(torch, optimizer) if case.scheduler else None
    points = []
    for step in range(1, STEPS + 1):
        optimizer.zero_grad()
        w = torch.cat([p.reshape(-1) for p in parameters])
        potential = (curvature * (w - target) ** 2 / 2 - torch.cos(3 * w) / 3).sum()
        potential.backward()
        if case.clip:
            case.clip(torch, parameters)
        optimizer.step()
        if scheduler:
            scheduler.step()
        if step in KEPT:
            points.append([float(v) for p in parameters for v in p.detach().reshape(-1)])
    return points


def main() -> None:
    import torch

    torch.set_default_dtype(torch.float64)  # or NAdam keeps its product of betas in float32
    points = {name: _trajectory(torch, case) for name, case in CASES.items()}
    rows = ",\n".join(
        f" {json.dumps(name)}: [\n" + ",\n".join(f"  {json.dumps(point)}" for point in trajectory) + "]"
        for name, trajectory in points.items()
    )
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(f'{{"made by": "PyTorch {torch.__version__.split("+")[0]}", "points": {{\n{rows}\n}}}}\n')


if __name__ == "__main__":
    main()
