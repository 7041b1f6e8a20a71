"""Training as scikit-learn's networks do it: until an epoch is no longer better, or L-BFGS over the compiled gradient.

In: a Model, checked Data, the checked parameters of an estimator.  Out: a Record; the model's parameters changed in
place.  Epochs run in native code, which ends them by the risk itself; Python is entered after an epoch only where
something of it is Python's: a score of the validation part, a printed line, a rate that depends on the epoch.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import ThreadpoolController

from ..errors import SymnetError
from ..run.checkpoint import Keeper
from ..run.fitting import fit
from ..run.history import Epoch
from ..run.loop import RISK, Loop, Monitor
from ..run.risk import Risk

if TYPE_CHECKING:
    from ..run.data import Data
    from ..run.training import Model

Array = np.ndarray[Any, np.dtype[Any]]
LEAST_RATE = 1e-6  # at which an adaptive learning rate ends training


@dataclass
class Record:
    """What training leaves behind: of each epoch R and the data loss, and how far the stopping is.

    best, since: the least R so far, and the epochs since one was better; scores: of the validation part.
    """

    risks: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    epochs: int = 0
    best: float = np.inf
    since: int = 0
    scores: list[float] = field(default_factory=list)
    best_score: float = -np.inf


@dataclass
class Descent:
    """Epochs of a stochastic solver.

    rows: of the data before the batches; seen: samples seen before, which `invscaling` counts; score: of the
    validation part, as the model is, or None: then R decides.  once: one epoch, as partial_fit makes.
    """

    model: Model
    data: Data
    parameters: Mapping[str, Any]
    record: Record
    seen: int = 0
    score: Callable[[], float] | None = None
    once: bool = False
    tolerance: float = 0.0

    def run(self) -> None:
        given, record = self.parameters, self.record
        patience = given["n_iter_no_change"]
        by_risk = self.score is None
        monitor = Monitor(None if patience is None or not by_risk else patience + 1, False, RISK, self.tolerance)
        loop = Loop(self.model, self.data, given["batch_size"], given["shuffle"], monitor)
        loop.resume(record.best, record.since)
        self._kept: dict[str, Array] | None = None
        self._first = self.model.progress.epoch
        every = given["verbose"] or not by_risk or self._rescales
        left = 1 if self.once else given["max_iter"]
        try:
            while left:
                history = fit(loop, left, [self._after] if every else [], Keeper(loop, None, None))
                left -= len(history)
                record.risks += history["risk"]  # type: ignore[arg-type]
                record.losses += history.loss
                if history.stopped == "epochs":
                    break
                if history.stopped == "callback" or not self._slower("Training loss did not improve"):
                    left = -1
                    break
                loop.resume(loop.best, 0)
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=2)
            left = -1
        finally:
            record.epochs = self.model.progress.epoch - self._first
            record.best, record.since = loop.best, loop.since_best
        if left == 0 and not self.once:
            text = "Stochastic Optimizer: Maximum iterations (%d) reached and the optimization hasn't converged yet."
            warnings.warn(text % given["max_iter"], ConvergenceWarning, stacklevel=2)
        if self._kept is not None:
            self.model.parameters.update(self._kept)

    @property
    def _rescales(self) -> bool:
        return bool(self.parameters["learning_rate"] == "invscaling" and self.parameters["solver"] == "sgd")

    def _after(self, epoch: Epoch) -> bool:
        """After each epoch: True ends training."""
        given = self.parameters
        if given["verbose"]:
            print(f"Iteration {epoch.epoch - self._first + 1}, loss = {epoch.parts[RISK]:.8f}")
        self.seen += self.data.rows
        if self._rescales:
            self.model.tune(learning_rate=given["learning_rate_init"] / (self.seen + 1) ** given["power_t"])
        return self.score is not None and self._judged(self.score())

    def _judged(self, score: float) -> bool:
        record, given = self.record, self.parameters
        record.scores.append(score)
        record.since = record.since + 1 if score < record.best_score + given["tol"] else 0
        if score > record.best_score:
            record.best_score = score
            self._kept = dict(self.model.parameters)
        if given["verbose"]:
            print(f"Validation score: {score:f}")
        patience = given["n_iter_no_change"]
        if patience is None or record.since <= patience:
            return False
        record.since = 0
        return not self._slower("Validation score did not improve")

    def _slower(self, found: str) -> bool:
        """Go on at a fifth of the learning rate, if it is adaptive and not yet too small."""
        given = self.parameters
        adaptive = given["learning_rate"] == "adaptive" and given["solver"] == "sgd"
        rate = self.model.optimizer.mapping.get("learning_rate", 0.0)
        slower = adaptive and rate > LEAST_RATE
        if slower:
            self.model.tune(learning_rate=rate / 5)
        if given["verbose"]:
            text = f"{found} more than tol={given['tol']:f} for {given['n_iter_no_change']} consecutive epochs."
            end = f"Setting learning rate to {rate / 5:f}" if slower else "Stopping."
            print(text, "Learning rate too small. Stopping." if adaptive and not slower else end)
        return slower


def _one_thread() -> Any:
    """No BLAS with threads inside of SciPy's L-BFGS: products of 10 vectors, for which threads wait 8 ms a step when
    another process has the cores."""
    return _blas().limit(limits=1, user_api="blas")


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


def quasi_newton(model: Model, data: Data, parameters: Mapping[str, Any], record: Record) -> None:
    """L-BFGS over R of all data; source: Zhu, Byrd, Lu and Nocedal 1997, as SciPy has it."""
    from scipy.optimize import minimize

    risk = Risk(model, data)
    kept = [risk.point]

    def note(intermediate_result: Any) -> None:  # SciPy asks for this name
        if np.isfinite(intermediate_result.x).all() and np.isfinite(intermediate_result.fun):
            kept[0] = intermediate_result.x.copy()
            record.best = float(intermediate_result.fun)
        if parameters["verbose"]:
            print(f"loss = {intermediate_result.fun:.8f}")

    options = {"maxfun": parameters["max_fun"], "maxiter": parameters["max_iter"], "gtol": parameters["tol"]}
    try:
        with np.errstate(all="ignore"), _one_thread():
            found = minimize(risk.at, risk.point, method="L-BFGS-B", jac=True, options=options, callback=note)
    except BaseException:  # Ctrl-C, say, at some point of a line that is searched
        risk.move(kept[0])
        raise
    if not np.isfinite(found.x).all() or not np.isfinite(found.fun):
        risk.move(kept[0])
        raise SymnetError(
            "Solver produced non-finite parameter weights. The input data may contain large values and need to be "
            "preprocessed."
        )
    if found.status != 0:
        text = f"lbfgs failed to converge after {found.nit} iteration(s) (status={found.status}): {found.message}"
        advice = "Increase max_iter, or scale the data: https://scikit-learn.org/stable/modules/preprocessing.html"
        warnings.warn(f"{text}\n{advice}", ConvergenceWarning, stacklevel=2)
    risk.move(found.x)
    record.epochs = min(int(found.nit), parameters["max_iter"])
    record.best = float(found.fun)
