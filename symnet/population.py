"""Populations: many independent copies of a network trained in one native call, over all processors.

In: networks, data, a grid of options, seeds, folds, as `sweep` takes them.  Out: a Population: a row for each copy, and
its parameters.  Copies that have the same equations and the same data run the same kernels, compiled once; what else
they differ in, seeds and hyper-parameters, are numbers in their memory (run/copies.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from compiler import team

from .errors import Quoted, complaint, unknown
from .run.group import Group
from .run.interruption import terminable
from .run.loop import whole_number
from .run.parameters import checked_array
from .run.plan import first_values, hyper_values, structure
from .run.training import Model, compile_network
from .settings import Networks, Setting, arrays, seed_numbers, settings
from .sweeps import Row, Sweep, frame

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, repr=False, eq=False)
class Population(Sequence[Row]):
    """The copies: of each setting, in the order of `sweep`, all seeds.

    columns: name -> a value for each copy: its point of the grid, fold, seed, epochs, loss, seconds, the error that
    ended it or "", validation_loss, accuracy.
    """

    columns: Mapping[str, Array]
    settings: Sequence[Setting]
    groups: Sequence[tuple[Array, Group]]  # numbers of the copies in a group

    def __len__(self) -> int:
        return len(self.columns["seed"])

    def __getitem__(self, key: Any) -> Any:
        return self.rows[key]

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """One for each copy, as a sweep has them."""
        columns = [column.tolist() for column in self.columns.values()]
        return tuple(dict(zip(self.columns, values, strict=True)) for values in zip(*columns, strict=True))

    @property
    def table(self) -> Any:
        """The rows as a DataFrame of pandas, or where there is no pandas, column -> values."""
        return frame(self.columns)

    def best(self, by: str = "") -> Row:
        """The row with the least loss of the validation part (or of training, without one), or the highest accuracy."""
        return Sweep(self.rows).best(by)

    @property
    def parameters(self) -> Mapping[str, Array]:
        """Name -> array of shape (copies, ...).  Of a copy that failed, the last that were finite."""
        found = [
            {k: group.persistent[:, group.places(k)] for k in group.loop.model.parameters} for _, group in self.groups
        ]
        made: dict[str, Array] = {}
        for (numbers, _), values in zip(self.groups, found, strict=True):
            if {k: v.shape[1:] for k, v in values.items()} != {k: v.shape[1:] for k, v in found[0].items()}:
                advice = "Use .model(k)."
                raise complaint("parameters", Quoted("networks with other parameters"), "the same in all", advice)
            for name, part in values.items():
                made.setdefault(name, np.empty((len(self), *part.shape[1:]), part.dtype))[numbers] = part
        return made

    def model(self, k: int) -> Model:
        """Copy k as a Model, which goes on where its training ended."""
        number = range(len(self))[k]
        numbers, group = next(pair for pair in self.groups if number in pair[0])
        setting = self.settings[number * len(self.settings) // len(self)]
        return group.model(int(np.searchsorted(numbers, number)), setting.network, setting.optimizer)

    def __repr__(self) -> str:
        failed = sum(bool(error) for error in self.columns["error"])
        return f"Population({len(self)} copies, {failed} failed; columns {', '.join(self.columns)})"


def train_many(
    network: Networks,
    X: Any,
    y: Any,
    seeds: int | Iterable[int] = 1,
    grid: Mapping[str, Iterable[Any]] | None = None,
    folds: int | None = None,
    validation_data: tuple[Any, ...] | None = None,
    optimizer: Any = "adam",
    dtype: str = "float32",
    sample_weight: Any = None,
    initial: Mapping[str, Any] | None = None,
    threads: int | None = None,
    **fit: Any,
) -> Population:
    """Train a copy at every point of a grid, on every fold, with every seed, in one native call over all processors.

    network, grid, seeds, folds, validation_data, fit: as `sweep` takes them.  initial: first values by parameter, an
    array of shape (seeds, ...); the others are drawn from the seed.  threads: how many; None: all processors.

    Copies are independent: each is what `Model.fit` alone makes of its seed, its options and its rows, bit for bit; to
    rounding, where tiny networks run in the lanes of vectors and `fit` sums in another order.  One whose loss,
    gradient or parameters are not finite stops there, and its row has the error (that of the first names the equation);
    the others go on.  Ctrl-C raises KeyboardInterrupt within about 100 ms, and nothing is left of them.

    >>> from symnet import Network
    >>> net = Network(2, layers=[{"kind": "dense", "units": 1}])
    >>> X, y = np.eye(2), np.array([1.0, 2.0])
    >>> found = train_many(net, X, y, seeds=3, grid={"learning_rate": [0.1, 0.01]}, epochs=2)
    >>> len(found), found.parameters["dense1.W"].shape
    (6, (6, 1, 2))
    """
    numbers = np.array(seed_numbers(seeds, "train_many"), np.int64)
    threads = (
        team.processors() if threads is None else whole_number("train_many, threads", threads, 1, team.MEMBERS + 1)
    )
    X, y, weights = (arrays(array) for array in (X, y, sample_weight))
    chosen = settings(network, y, grid, folds, optimizer, fit, "train_many")
    members: dict[Any, list[int]] = {}
    for place, setting in enumerate(chosen):
        members.setdefault(_kind(setting), []).append(place)
    groups, count = [], len(numbers)
    for places in members.values():
        first = chosen[places[0]]
        model = compile_network(first.network, first.optimizer, dtype, int(numbers[0]), 1)
        X_train, y_train, w_train, given = first.data(X, y, weights, validation_data)
        loop = model.fitting(X_train, y_train, validation_data=given, sample_weight=w_train, **first.fit)
        hyper = [hyper_values(chosen[k].network.spec, chosen[k].optimizer) for k in places]
        which = np.repeat(np.arange(len(places)), count)
        group = Group(loop, first.fit["epochs"], np.tile(numbers, len(places)), hyper, which)
        for name, values in _first_values(model, numbers, initial or {}).items():
            group.persistent[:, group.places(name)] = np.tile(values, (len(places), *[1] * (values.ndim - 1)))
        groups.append((np.concatenate([np.arange(count) + count * k for k in places]), group))
    with terminable():
        for _, group in groups:
            group.train(threads)
    return Population(_columns(chosen, numbers, groups), chosen, groups)


def _kind(setting: Setting) -> tuple[Any, ...]:
    """Settings of one kind differ in numbers alone that kernels take as arguments."""
    equations = structure(setting.network.spec, setting.optimizer, initializers_too=True)
    return equations, setting.point.get("fold"), *sorted((name, repr(value)) for name, value in setting.fit.items())


def _first_values(model: Model, seeds: Array, initial: Mapping[str, Any]) -> dict[str, Array]:
    """Of every parameter: a row for each seed."""
    known = model.parameters
    for name in initial:
        if name not in known:
            raise unknown("train_many, initial", "parameter", name, known)
    made = first_values(model.kernels.plan.parameters, seeds.tolist())
    for name, given in initial.items():
        shape = (len(seeds), *known[name].shape)
        made[name] = checked_array(f"train_many, initial, {name}", given, shape, model.dtype)
    return made


def _columns(chosen: Sequence[Setting], seeds: Array, groups: Sequence[tuple[Array, Group]]) -> dict[str, Array]:
    count = len(seeds)
    columns: dict[str, Array] = {}
    for name in dict.fromkeys(name for setting in chosen for name in setting.point):
        values = [setting.point.get(name, math.nan) for setting in chosen]
        plain = all(isinstance(value, int | float | str) for value in values)
        listed = np.array(values) if plain else np.empty(len(values), object)
        listed[:] = values
        columns[name] = np.repeat(listed, count)
    columns["seed"] = np.tile(seeds, len(chosen))
    for numbers, group in groups:
        for name, part in group.columns().items():
            empty = (
                np.full(len(columns["seed"]), np.nan)
                if part.dtype.kind == "f"
                else np.zeros(len(columns["seed"]), part.dtype)
            )
            columns.setdefault(name, empty)[numbers] = part
    return columns
