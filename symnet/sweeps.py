"""Sweeps and ensembles: many trainings at once, by joblib.

In: networks, data, grids of options, seeds, folds.  Out: a Sweep, a row for each training, or an Ensemble, which
predicts by its members together.  Only joblib's public interface is used, so they run on whatever joblib runs on:
processes of its own by default, Dask or Ray under `joblib.parallel_config`.  Needs `pip install "symnet[sweeps]"`.

Networks are sent as specs, models come back as specs and arrays, large data are mapped into memory by joblib.  Kernels
come from the disk cache: of each kind of network one training runs first, which leaves there what the others find.
(Machines that share no disk compile for themselves.)
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .declare import checks, losses, optimizers
from .declare.regularizers import TABLE as STRENGTHS
from .declare.spec import checked_optimizer
from .errors import Quoted, SymnetError, complaint, unknown
from .network import Network
from .run.plan import structure
from .run.tables import some

if TYPE_CHECKING:
    from .run.training import Model

Array = np.ndarray[Any, np.dtype[Any]]
Row = dict[str, Any]
FIT = ("epochs", "batch_size", "shuffle", "patience", "restore_best", "monitor", "tolerance")


@dataclass(frozen=True)
class Job:
    """One training: the point of the grid that it is at, the network, and the rows that it may see (None: all)."""

    point: Mapping[str, Any]
    network: Network
    optimizer: Any
    dtype: str
    seed: int
    fit: Mapping[str, Any]
    rows: Array | None = None
    held: Array | None = None

    @property
    def kind(self) -> tuple[Any, ...]:
        """Trainings of one kind have the same kernels."""
        choice = checked_optimizer(self.optimizer, "optimizer")
        return structure(self.network.spec, choice), self.dtype, self.fit.get("batch_size"), self.fit.get("monitor")


def _parallel(n_jobs: int | None) -> tuple[Any, Any]:
    try:
        from joblib import Parallel, delayed
    except ImportError:
        raise SymnetError('Sweeps and ensembles need joblib: pip install "symnet[sweeps]".') from None
    return Parallel(n_jobs=n_jobs), delayed


def _run(job: Job, X: Any, y: Any, weights: Any, given: Any, keep: bool) -> Row:
    """Train, in whatever process this is; a training that fails is a row with its error."""
    if job.rows is not None:
        X_train, y_train = some(X, job.rows), some(y, job.rows)
        w_train = None if weights is None else some(weights, job.rows)
    else:
        X_train, y_train, w_train = X, y, weights
    if job.held is not None:
        given = (some(X, job.held), some(y, job.held))
        given += () if weights is None else (some(weights, job.held),)
    row: Row = {**job.point, "seed": job.seed}
    try:
        model = job.network.compile(job.optimizer, job.dtype, job.seed)
        history = model.fit(X_train, y_train, validation_data=given, sample_weight=w_train, **job.fit)
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


def _arrays(given: Any) -> Any:
    """So that rows can be taken from lists and data frames."""
    if isinstance(given, Mapping):
        return {name: np.asarray(array) for name, array in given.items()}
    return None if given is None else np.asarray(given)


def _all(jobs: Sequence[Job], X: Any, y: Any, weights: Any, given: Any, keep: bool, n_jobs: int | None) -> list[Row]:
    """The rows of all jobs, in their order; the first of each kind run before the others."""
    parallel, delayed = _parallel(n_jobs)
    X, y, weights = (_arrays(array) for array in (X, y, weights))
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
        found = {name: [row.get(name, math.nan) for row in self.rows] for name in columns}
        try:
            from pandas import DataFrame
        except ImportError:
            return found
        return DataFrame(found)

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
    network: Network | Mapping[str, Network] | Callable[..., Network],
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
    numbers = range(checks.integer(1)(seeds, "sweep, seeds")) if isinstance(seeds, int) else list(seeds)
    points = {str(name): list(values) for name, values in (grid or {}).items()}
    for name in fit:
        if name not in FIT:
            raise unknown("sweep", "argument of fit", name, FIT)
    networks: dict[str, Any] = dict(network) if isinstance(network, Mapping) else {"": network}
    jobs = []
    for label, made in networks.items():
        for values in itertools.product(*points.values()):
            point = dict(zip(points, values, strict=True))
            named: Row = {"network": label} if label else {}
            net, chosen, given = _placed(made, point, optimizer, {"epochs": 10, **fit})
            parts = _folds(X, y, folds)
            for fold, (rows, held) in enumerate(parts):
                at = {**named, **point, **({"fold": fold} if folds else {})}
                jobs += [Job(at, net, chosen, dtype, int(seed), given, rows, held) for seed in numbers]
    rows_made = _all(jobs, X, y, sample_weight, validation_data, keep, n_jobs)
    models = tuple(row.pop("model", None) for row in rows_made) if keep else ()
    return Sweep(tuple(rows_made), models)


def _placed(network: Any, point: Mapping[str, Any], optimizer: Any, fit: Row) -> tuple[Network, Any, Row]:
    """(network, optimizer, arguments of fit) at a point of the grid."""
    left = dict(point)
    if callable(network):
        takes = inspect.signature(network).parameters
        every = any(p.kind is p.VAR_KEYWORD for p in takes.values())
        network = network(**{name: left.pop(name) for name in point if name in takes or every})
    if not isinstance(network, Network):
        raise complaint("sweep, network", network, "a Network, several by name, or a function that makes one")
    strengths = {name: left.pop(name) for name in point if name in left and name in STRENGTHS}
    if strengths:
        checked = {name: checks.number(0)(value, f"sweep, grid, {name}") for name, value in strengths.items()}
        network = Network.from_spec(replace(network.spec, **checked))
    fit = {**fit, **{name: left.pop(name) for name in point if name in left and name in FIT}}
    choice = checked_optimizer(left.pop("optimizer", optimizer), "sweep, optimizer")
    own = {"name": choice.name} if choice.name else {}
    known = (*optimizers.TABLE[choice.name].hyper, *optimizers.COMMON) if choice.name else optimizers.COMMON
    for name in left:
        if name not in known:
            raise unknown("sweep, grid", "name", name, (*FIT, *STRENGTHS, "optimizer", *known))
    return network, {**own, **choice.mapping, **left}, fit


def _folds(X: Any, y: Any, folds: int | None) -> list[tuple[Array | None, Array | None]]:
    """(rows to train on, rows to judge by) of each fold; rows are dealt to folds in an order of their own."""
    if folds is None:
        return [(None, None)]
    first = next(iter(y.values())) if isinstance(y, Mapping) else y
    rows = len(first)
    checks.integer(2)(folds, "sweep, folds")
    if folds > rows:
        raise complaint("sweep, folds", folds, f"at most {rows}, the rows of the data")
    order = np.random.default_rng(0).permutation(rows)
    parts = np.array_split(order, folds)
    return [(np.sort(np.setdiff1d(order, part)), np.sort(part)) for part in parts]


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
    drawn = [np.random.default_rng((seed, k)).integers(0, rows, rows) if bootstrap else None for k in range(count)]
    jobs = [Job({}, network, optimizer, dtype, seed + k, given, part) for k, part in enumerate(drawn)]
    made = _all(jobs, X, y, sample_weight, None, True, n_jobs)
    for row in made:
        if row["error"]:
            raise SymnetError(f"ensemble, the member with seed {row['seed']}: {row['error']}")
    return Ensemble(tuple(row["model"] for row in made))
