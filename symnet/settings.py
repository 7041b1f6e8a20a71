"""Settings: the points of a grid on the folds of the data, for trainings of many models.

In: networks, grids of options, seeds, numbers of folds, as `sweep` and `train_many` take them.  Out: the settings, each
a network with its optimizer, the arguments of its `fit`, and the rows that it may see.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .declare import checks, optimizers
from .declare.regularizers import TABLE as STRENGTHS
from .declare.spec import Choice, checked_optimizer
from .errors import complaint, unknown
from .network import Network
from .run.tables import some

Array = np.ndarray[Any, np.dtype[Any]]
Networks = Network | Mapping[str, Network] | Callable[..., Network]
FIT = ("epochs", "batch_size", "shuffle", "patience", "restore_best", "monitor", "tolerance")


@dataclass(frozen=True)
class Setting:
    """What all seeds share: the point of the grid, the network, the rows that it may see (None: all)."""

    point: Mapping[str, Any]
    network: Network
    optimizer: Choice
    fit: Mapping[str, Any]
    rows: Array | None = None
    held: Array | None = None

    def data(self, X: Any, y: Any, weights: Any, given: Any) -> tuple[Any, Any, Any, Any]:
        """What it is trained on: X, y, weights, and the validation part as `fit` takes it."""
        if self.held is not None:
            given = (some(X, self.held), some(y, self.held))
            given += () if weights is None else (some(weights, self.held),)
        if self.rows is None:
            return X, y, weights, given
        return some(X, self.rows), some(y, self.rows), None if weights is None else some(weights, self.rows), given


def arrays(given: Any) -> Any:
    """So that rows can be taken from lists and data frames."""
    if isinstance(given, Mapping):
        return {name: np.asarray(array) for name, array in given.items()}
    return None if given is None else np.asarray(given)


def seed_numbers(seeds: int | Iterable[int], where: str) -> list[int]:
    """So many, from 0, or these."""
    if not isinstance(seeds, Iterable):
        return list(range(checks.integer(1)(seeds, f"{where}, seeds")))
    found = [checks.integer(0)(seed, f"{where}, seeds") for seed in seeds]
    if not found:
        raise complaint(f"{where}, seeds", found, "at least one seed")
    return found


def settings(
    network: Networks,
    y: Any,
    grid: Mapping[str, Iterable[Any]] | None,
    folds: int | None,
    optimizer: Any,
    fit: Mapping[str, Any],
    where: str,
) -> list[Setting]:
    """Every network at every point of the grid on every fold, in this order."""
    points = {str(name): list(values) for name, values in (grid or {}).items()}
    for name, listed in points.items():
        if not listed:
            raise complaint(f"{where}, grid, {name}", listed, "at least one value")
    for name in fit:
        if name not in FIT:
            raise unknown(where, "argument of fit", name, FIT)
    networks: dict[str, Any] = dict(network) if isinstance(network, Mapping) else {"": network}
    parts = _folds(y, folds, where)
    found = []
    for label, made in networks.items():
        for values in itertools.product(*points.values()):
            point = dict(zip(points, values, strict=True))
            named = {"network": label} if label else {}
            net, chosen, given = _placed(made, point, optimizer, {"epochs": 10, **fit}, where)
            for fold, (rows, held) in enumerate(parts):
                at = {**named, **point, **({"fold": fold} if folds else {})}
                found.append(Setting(at, net, chosen, given, rows, held))
    return found


def _placed(
    network: Any, point: Mapping[str, Any], optimizer: Any, fit: Mapping[str, Any], where: str
) -> tuple[Network, Choice, Mapping[str, Any]]:
    """(network, optimizer, arguments of fit) at a point of the grid."""
    left = dict(point)
    if callable(network):
        takes = inspect.signature(network).parameters
        every = any(p.kind is p.VAR_KEYWORD for p in takes.values())
        network = network(**{name: left.pop(name) for name in point if name in takes or every})
    if not isinstance(network, Network):
        raise complaint(f"{where}, network", network, "a Network, several by name, or a function that makes one")
    strengths = {name: left.pop(name) for name in point if name in left and name in STRENGTHS}
    if strengths:
        checked = {name: checks.number(0)(value, f"{where}, grid, {name}") for name, value in strengths.items()}
        network = Network.from_spec(replace(network.spec, **checked))
    fit = {**fit, **{name: left.pop(name) for name in point if name in left and name in FIT}}
    choice = checked_optimizer(left.pop("optimizer", optimizer), f"{where}, optimizer")
    own = {"name": choice.name} if choice.name else {}
    known = (*optimizers.TABLE[choice.name].hyper, *optimizers.COMMON) if choice.name else optimizers.COMMON
    for name in left:
        if name not in known:
            raise unknown(f"{where}, grid", "name", name, (*FIT, *STRENGTHS, "optimizer", *known))
    return network, checked_optimizer({**own, **choice.mapping, **left}, f"{where}, optimizer"), fit


def _folds(y: Any, folds: int | None, where: str) -> list[tuple[Array | None, Array | None]]:
    """(rows to train on, rows to judge by) of each fold; rows are dealt to folds in an order of their own."""
    if folds is None:
        return [(None, None)]
    first = next(iter(y.values())) if isinstance(y, Mapping) else y
    rows = len(first)
    checks.integer(2)(folds, f"{where}, folds")
    if folds > rows:
        raise complaint(f"{where}, folds", folds, f"at most {rows}, the rows of the data")
    order = np.random.default_rng(0).permutation(rows)
    parts = np.array_split(order, folds)
    return [(np.sort(np.setdiff1d(order, part)), np.sort(part)) for part in parts]
