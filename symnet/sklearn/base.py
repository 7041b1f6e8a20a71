"""What both estimators have: fit, its attributes, and what a model takes.

In: an estimator's parameters, X and y.  Out: a trained `model_`, attributes as scikit-learn's networks have them.  What
y means is each estimator's own: the methods at the end.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from ..declare.heads import Output
from ..errors import Quoted, SymnetError, complaint
from ..run.loop import Progress
from ..run.tables import by_name
from . import parameters as given
from .solvers import Descent, Record, quasi_newton
from .targets import column

Array = np.ndarray[Any, np.dtype[Any]]
_SPARSE = ["csr", "csc"]
_SEEDS = 2**31 - 1


def _dense(X: Any) -> Array:
    return X.toarray() if hasattr(X, "toarray") else X


class Estimator(BaseEstimator):
    """What both have: fit, partial_fit without classes, and the attributes."""

    # ------------------------------------------------------------------------------------------ fitting
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Train on X of shape (n, inputs), dense or sparse, and y, from new parameters (or with `warm_start` from those
        that there are).  sample_weight: shape (n,), not negative.  Returns the estimator.
        """
        return self._fit(X, y, sample_weight, again=bool(self.warm_start) and hasattr(self, "model_"))

    def _fit(self, X: Any, y: Any, sample_weight: Any, again: bool, once: bool = False, classes: Any = None) -> Any:
        settings = given.checked(self)
        if once and settings["early_stopping"]:
            raise SymnetError("partial_fit does not support early_stopping=True")
        X, y = validate_data(
            self, X, y, accept_sparse=_SPARSE, multi_output=True, dtype=(np.float64, np.float32),
            y_numeric=isinstance(self, RegressorMixin), reset=not again,
        )  # fmt: skip
        X, y = _dense(X), column(np.asarray(_dense(y)))
        self._admit(y, again, once, classes)
        rng = check_random_state(self.random_state)
        if not again:
            self._begin(settings, X, y, rng)
        else:
            self._put_back()
        output = self._output
        target = self._encoded(y, output)
        weights = _weights(sample_weight, len(X))
        if settings["early_stopping"] and settings["solver"] != given.LBFGS:
            parts = self._split(settings, rng, X, y, target, weights)
            (X, held), (_, held_y), (target, _), (weights, held_weights) = parts
        else:
            held = held_y = held_weights = None
        if not again:
            self.model_.seed = int(rng.randint(_SEEDS))  # drawn where scikit-learn begins to shuffle
        total = float(len(X) if weights is None else weights.sum())
        if not total > 0:
            raise complaint("sample_weight", Quoted("weights that are all zero"), "a weight above 0")
        scaled = None if weights is None else weights * (len(X) / total)
        if not self._is_own:
            stochastic = settings["solver"] != given.LBFGS
            rows = min(settings["batch_size"], len(X)) if stochastic else len(X)
            if settings["alpha"]:
                self.model_.tune(l2=settings["alpha"] * len(X) / (rows * total))
        if self.batch_size != "auto" and settings["solver"] != given.LBFGS and settings["batch_size"] > len(X):
            text = "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped"
            warnings.warn(text, UserWarning, stacklevel=3)
        data = self.model_._checked(self._shaped(X), self._by_head(target), weights=scaled)
        record, constant = self._record, self._constant(y, scaled)
        try:
            if settings["solver"] == given.LBFGS:
                quasi_newton(self.model_, data, settings, record)
            else:
                if not once:
                    self._restart(settings)
                score = None if held is None else lambda: self._judged(self._scores(held), held_y, held_weights)
                tolerance = settings["tol"] * self._divisor
                Descent(self.model_, data, settings, record, self.t_, score, once, tolerance).run()
                self.t_ += record.epochs * len(X)
        finally:  # what is not finite, or Ctrl-C, leaves an estimator that can be used
            self._finish(record, constant, settings)
        return self

    def _begin(self, settings: dict[str, Any], X: Array, y: Array, rng: np.random.RandomState) -> None:
        """A network with first parameters."""
        where = type(self).__name__
        self._is_own = self.spec is not None
        if self._is_own:
            net = given.given_network(self.spec, X.shape[1], f"{where}, spec")
        else:
            loss, outputs, weight, self._divisor = self._declared(y, f"{where}, loss")
            net = given.network(settings, X.shape[1], outputs, loss, weight)
        self._check_output(net.spec.outputs[0], f"{where}, spec" if self._is_own else f"{where}, loss", y)
        first = {} if self._is_own else given.first_values(net, settings["activation"].name, rng)
        seed = int(rng.randint(_SEEDS)) if self._is_own else 0
        self.model_ = net.compile(settings["optimizer"], X.dtype.name, seed)
        self.model_.parameters.update(first)
        self._divisor = 1 if self._is_own else self._divisor
        self._record, self.t_ = Record(), 0
        self._names = given.dense_names(net)
        self.n_outputs_ = net.spec.outputs[0].size
        self.n_layers_ = len(net.spec.layers) + 1
        self.out_activation_ = _out_activation(net.spec.outputs[0], net.spec.layers[-1])

    def _restart(self, settings: dict[str, Any]) -> None:
        """The optimizer as at its first step."""
        model = self.model_
        model.progress = Progress()
        for state in model.kernels.plan.states:
            if state.name.startswith("optimizer:"):
                model.memory.view(state.tensor, state.slot)[...] = state.initial
        rate = settings["optimizer"].get("learning_rate")
        if rate is not None and rate != model.optimizer.mapping.get("learning_rate"):
            model.tune(learning_rate=rate)

    def _split(self, settings: dict[str, Any], rng: Any, *arrays: Any) -> list[tuple[Any, Any]]:
        """(training part, validation part) of X, y, targets and weights; of two classes as many in both."""
        stratify = arrays[1] if hasattr(self, "classes_") and self.n_outputs_ == 1 else None
        kept = [array for array in arrays if array is not None]
        fraction = settings["validation_fraction"]
        split = train_test_split(*kept, random_state=rng, test_size=fraction, stratify=stratify)
        if len(split[1]) < 2:
            advice = "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            raise SymnetError(advice)
        parts = iter(zip(split[::2], split[1::2], strict=True))
        return [(None, None) if array is None else next(parts) for array in arrays]

    def _finish(self, record: Record, constant: float, settings: dict[str, Any]) -> None:
        self.n_iter_ = record.epochs
        self.best_loss_: float | None
        if settings["solver"] == given.LBFGS:
            self.loss_ = self.best_loss_ = record.best + constant
        else:
            pairs = zip(record.losses, record.risks, strict=True)
            self.loss_curve_ = [loss / self._divisor + (risk - loss) + constant for loss, risk in pairs]
            self.loss_ = self.loss_curve_[-1] if self.loss_curve_ else np.nan
            self.best_loss_ = min(self.loss_curve_, default=np.inf)
            self.validation_scores_ = self.best_validation_score_ = None
            if settings["early_stopping"]:
                self.best_loss_, self.validation_scores_ = None, list(record.scores)
                self.best_validation_score_ = record.best_score
        if self._names:
            values = self.model_.parameters
            self.coefs_ = [values[f"{name}.W"].T.copy() for name in self._names]
            self.intercepts_ = [values[f"{name}.b"].copy() for name in self._names]

    # ------------------------------------------------------------------------------------------ what a model takes
    @property
    def _output(self) -> Output:
        output: Output = self.model_.network.spec.outputs[0]
        return output

    def _put_back(self) -> None:
        """coefs_ and intercepts_, which a user may have changed, into the model."""
        if not self._names:
            return
        memory = self.model_.memory
        places = {p.name: (p.tensor, p.slot) for p in self.model_.kernels.plan.parameters}
        for name, W, b in zip(self._names, self.coefs_, self.intercepts_, strict=True):
            for letter, value in (("W", np.asarray(W).T), ("b", np.asarray(b))):
                view = memory.view(*places[f"{name}.{letter}"])
                if view.shape != value.shape:
                    which = "coefs_" if letter == "W" else "intercepts_"
                    raise complaint(which, Quoted(f"the shape {value.T.shape} for {name}"), str(view.T.shape))
                view[...] = value
        memory.changes += 1

    def _shaped(self, X: Array) -> Any:
        return by_name(self.model_.network, X)

    def _by_head(self, target: Array) -> Any:
        name = self._output.target
        return {name: target} if name else target

    def _scores(self, X: Array) -> Array:
        """Probabilities of a classifier, otherwise values, shape (n, columns)."""
        model, output = self.model_, self._output
        found = model._predict(self._shaped(X), "probabilities" if output.is_classifier else "values")
        scores: Array = found[output.name] if output.name else found
        return scores

    def _predicted(self, X: Any) -> Array:
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse=_SPARSE, dtype=(np.float64, np.float32), reset=False)
        self._put_back()
        return self._scores(_dense(X))

    # ------------------------------------------------------------------------------------------ what each has its own
    def _admit(self, y: Array, again: bool, once: bool, classes: Any) -> None:
        raise NotImplementedError

    def _declared(self, y: Array, where: str) -> tuple[Any, int, float | None, int]:
        """(loss, number of outputs, weight of the loss, what of it is reported: 1/divisor)"""
        raise NotImplementedError

    def _check_output(self, output: Output, where: str, y: Array) -> None:
        raise NotImplementedError

    def _encoded(self, y: Array, output: Output) -> Array:
        raise NotImplementedError

    def _judged(self, scores: Array, y: Array, weights: Array | None) -> float:
        """The score of the validation part."""
        raise NotImplementedError

    def _constant(self, y: Array, weights: Array | None) -> float:
        """What scikit-learn's loss has besides, which no parameter changes."""
        return 0.0

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _weights(value: Any, rows: int) -> Array | None:
    if value is None:
        return None
    weights = np.full(rows, value, np.float64) if np.isscalar(value) else np.asarray(value, np.float64)
    if weights.ndim != 1:
        raise SymnetError("Sample weights must be 1D array or scalar")
    if len(weights) != rows:
        raise SymnetError(f"sample_weight.shape == {weights.shape}, expected {(rows,)}!")
    bad = ~(np.isfinite(weights) & (weights >= 0))
    if bad.any():
        place = int(np.argmax(bad))
        raise complaint(f"sample_weight[{place}]", weights[place].item(), "finite numbers of at least 0")
    return weights


def _out_activation(output: Output, last: Any) -> str:
    if output.head.loss.name == "poisson":
        return "exp"
    own = str(getattr(getattr(last, "activation", None), "name", "identity")) or "formula"
    return output.row.net or own
