"""Sweeps and ensembles: many trainings at once, by joblib.

In: networks, data, grids of options, seeds, folds.  Out: a Sweep, a row for each training, or an Ensemble, which
predicts by its members together.  Only joblib's public interface is used, so they run on whatever joblib runs on:
processes of its own by default, Dask or Ray under `joblib.parallel_config`.  Needs `pip install "symnet[sweeps]"`.

Networks are sent as specs, models come back as specs and arrays, large data are mapped into memory by joblib.  Kernels
come from the disk cache: of each kind of network one training runs first, which leaves there what the others find.
(Machines that share no disk compile for themselves.)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .declare import checks, losses
from .declare.spec import checked_optimizer
from .errors import Quoted, SymnetError, complaint, unknown
from .network import Network
from .run.plan import structure
from .settings import FIT, Networks, Setting, arrays, seed_numbers, settings

if TYPE_CHECKING:
    from .run.training import Model

Array = np.ndarray[Any, np.dtype[Any]]
Row = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One training."""

    setting: Setting
    dtype: str
    seed: int

    @property
    def kind(self) -> tuple[Any, ...]:
        """Trainings of one kind have the same kernels."""
        at = self.setting
        return structure(at.network.spec, at.optimizer), self.dtype, at.fit.get("batch_size"), at.fit.get("monitor")


def _parallel(n_jobs: int | None) -> tuple[Any, Any]:
    try:
        from joblib import Parallel, delayed
    except ImportError:
        raise SymnetError('Sweeps and ensembles need joblib: pip install "symnet[sweeps]".') from None
    return Parallel(n_jobs=n_jobs), delayed


def _run(job: Job, X: Any, y: Any, weights: Any, given: Any, keep: bool) -> Row:
    """Train, in whatever process this is; a training that fails is a row with its error."""
    at = job.setting
    X, y, weights, given = at.data(X, y, weights, given)
    row: Row = {**at.point, "seed": job.seed}
    try:
        model = at.network.compile(at.optimizer, job.dtype, job.seed)
        history = model.fit(X, y, validation_data=given, sample_weight=weights, **at.fit)
        row |= {"epochs": len(history), "loss": history.loss[-1], "seconds": history.seconds, "error": ""}
        last = history[-1 if history.best is None else history.best - history[0].epoch]
        if last.validation_loss is not None:
            row |= {"validation_loss": last.validation_loss}
        if last.accuracy is not None:
            row |= {"accuracy": last.accuracy}
        row |= {name: value for name, value in last.parts.items() if "validation" in name or "accuracy" in name}
        if keep:
            row["model"] = model
    except SymnetError as error:
        row |= {"epochs": 0, "loss": math.nan, "seconds": math.nan, "error": str(error)}
    return row


def _all(jobs: Sequence[Job], X: Any, y: Any, weights: Any, given: Any, keep: bool, n_jobs: int | None) -> list[Row]:
    """The rows of all jobs, in their order; the first of each kind run before the others."""
    parallel, delayed = _parallel(n_jobs)
    X, y, weights = (arrays(array) for array in (X, y, weights))
    first: dict[Any, int] = {}
    for number, job in enumerate(jobs):
        first.setdefault(job.kind, number)
    leading = list(first.values())
    others = [number for number in range(len(jobs)) if number not in set(leading)]
    made: dict[int, Row] = {}
    for numbers in (leading, others):
        rows = parallel(delayed(_run)(jobs[number], X, y, weights, given, keep) for number in numbers)
        made |= dict(zip(numbers, rows, strict=True))
    return [made[number] for number in range(len(jobs))]


# ---------------------------------------------------------------------------------------------- sweeps
def frame(columns: Mapping[str, Any]) -> Any:
    """The columns as a DataFrame of pandas, or where there is no pandas, as they are."""
    try:
        from pandas import DataFrame
    except ImportError:
        return dict(columns)
    return DataFrame(dict(columns))


@dataclass(frozen=True, repr=False)
class Sweep(Sequence[Row]):
    """The rows of a sweep, one for each training: its point of the grid, seed, fold, epochs, loss, validation_loss,
    accuracy, seconds, and the error that ended it, or ""."""

    rows: tuple[Row, ...]
    models: tuple[Model | None, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Any) -> Any:
        return self.rows[key]

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    @property
    def table(self) -> Any:
        """The rows as a DataFrame of pandas, or where there is no pandas, column -> values."""
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        return frame({name: [row.get(name, math.nan) for row in self.rows] for name in columns})

    def best(self, by: str = "") -> Row:
        """The row with the least loss of the validation part (or of training, without one), or the highest accuracy."""
        done = [row for row in self.rows if not row["error"]]
        if not done:
            raise SymnetError(f"No training of this sweep ended well; the first error is: {self.rows[0]['error']}")
        by = by or ("validation_loss" if "validation_loss" in done[0] else "loss")
        if by not in done[0]:
            raise unknown("best, by", "column", by, done[0])
        sign = -1 if by.endswith("accuracy") else 1
        return min(done, key=lambda row: sign * float(row[by]) if math.isfinite(row[by]) else math.inf)

    def __repr__(self) -> str:
        failed = sum(bool(row["error"]) for row in self.rows)
        return f"Sweep({len(self.rows)} trainings, {failed} failed; columns {', '.join(self.rows[0])})"


def sweep(
    network: Networks,
    X: Any,
    y: Any,
    grid: Mapping[str, Iterable[Any]] | None = None,
    seeds: int | Iterable[int] = 1,
    folds: int | None = None,
    validation_data: tuple[Any, ...] | None = None,
    optimizer: Any = "adam",
    dtype: str = "float32",
    sample_weight: Any = None,
    n_jobs: int | None = -1,
    keep: bool = False,
    **fit: Any,
) -> Sweep:
    """Train at every point of a grid, with every seed, on every fold; in parallel.

    network: one; several by name, the first column; or a function that makes one of the grid's names that are its
    arguments.  grid: name -> values; the other names are options of the optimizer (learning_rate), arguments of
    `Model.fit` (batch_size, epochs), or the network's l2 and l1.  seeds: so many, from 0, or these.  folds: each row is
    in the validation part of one of so many folds; else validation_data as `fit` takes it, or none.  keep: the models
    come back, as `.models`, in the order of the rows.  n_jobs, and where it runs: joblib's; -1: all processors.
    fit: what every training is given (epochs=50).

    >>> net = Network(2, layers=[{"kind": "dense", "units": 1}])
    >>> X, y = np.eye(2), np.array([1.0, 2.0])
    >>> [row["learning_rate"] for row in sweep(net, X, y, {"learning_rate": [0.1, 0.01]}, n_jobs=1, epochs=2)]
    [0.1, 0.01]
    """
    numbers = seed_numbers(seeds, "sweep")
    found = settings(network, y, grid, folds, optimizer, fit, "sweep")
    jobs = [Job(setting, dtype, seed) for setting in found for seed in numbers]
    rows_made = _all(jobs, X, y, sample_weight, validation_data, keep, n_jobs)
    models = tuple(row.pop("model", None) for row in rows_made) if keep else ()
    return Sweep(tuple(rows_made), models)


# ---------------------------------------------------------------------------------------------- ensembles
@dataclass(frozen=True)
class Ensemble:
    """Models of one network that predict together: the mean of their probabilities, or of their values."""

    models: tuple[Model, ...]

    def _each(self, X: Any, what: str) -> Array:
        return np.stack([getattr(model, what)(X) for model in self.models])

    @property
    def _classifies(self) -> bool:
        return self.models[0].network.is_classifier

    def predict_proba(self, X: Any) -> Array:
        """The mean of the members' class probabilities, shape (n, classes)."""
        found: Array = self._each(X, "predict_proba").mean(axis=0)
        return found

    def predict(self, X: Any) -> Array:
        """The most probable class, by the mean; of independent outputs 0 or 1 each; otherwise the mean value."""
        if not self._classifies:
            found: Array = self._each(X, "predict").mean(axis=0)
            return found
        probabilities = self.predict_proba(X)
        output = self.models[0].network.spec.outputs[0]
        if output.size > 1 and losses.is_binary(output.row, output.size):
            return (probabilities > 0.5).astype(np.int64)
        return probabilities.argmax(axis=-1)

    def spread(self, X: Any) -> Array:
        """The standard deviation over the members of what they predict: probabilities, or values."""
        found: Array = self._each(X, "predict_proba" if self._classifies else "predict").std(axis=0)
        return found


def ensemble(
    network: Network,
    X: Any,
    y: Any,
    members: int = 5,
    bootstrap: bool = False,
    seed: int = 0,
    optimizer: Any = "adam",
    dtype: str = "float32",
    sample_weight: Any = None,
    n_jobs: int | None = -1,
    **fit: Any,
) -> Ensemble:
    """Train so many members in parallel, which differ in their seeds: first values, the order of rows.

    bootstrap: each sees as many rows as there are, drawn with replacement (Breiman 1996).  The rest as `sweep` has it.
    Source: Lakshminarayanan, Pritzel and Blundell 2017.
    """
    if len(network.spec.outputs) != 1:
        raise complaint("ensemble", Quoted(f"a network with {len(network.spec.outputs)} losses"), "one loss")
    count = checks.integer(1)(members, "ensemble, members")
    for name in fit:
        if name not in FIT:
            raise unknown("ensemble", "argument of fit", name, FIT)
    given, rows = {"epochs": 10, **fit}, len(y)
    choice = checked_optimizer(optimizer, "ensemble, optimizer")
    drawn = [np.random.default_rng((seed, k)).integers(0, rows, rows) if bootstrap else None for k in range(count)]
    jobs = [Job(Setting({}, network, choice, given, part), dtype, seed + k) for k, part in enumerate(drawn)]
    made = _all(jobs, X, y, sample_weight, None, True, n_jobs)
    for row in made:
        if row["error"]:
            raise SymnetError(f"ensemble, the member with seed {row['seed']}: {row['error']}")
    return Ensemble(tuple(row["model"] for row in made))
