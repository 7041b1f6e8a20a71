"""SymnetClassifier and SymnetRegressor: estimators of scikit-learn on compiled networks.

In: parameters under scikit-learn's names, X and y as it takes them.  Out: attributes and predictions as its
`MLPClassifier` and `MLPRegressor` have them, and `model_`, the trained Model, with its formulas and all else.  Stands
last in this package.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from ..declare.heads import Output
from ..errors import Quoted, SymnetError, complaint
from ..run.loop import Progress
from ..run.tables import by_name
from . import parameters as given
from .solvers import Descent, Record, quasi_newton
from .targets import Classes, column, means

Array = np.ndarray[Any, np.dtype[Any]]
_SPARSE = ["csr", "csc"]
_SEEDS = 2**31 - 1


def _stochastic(estimator: Any) -> bool:
    if estimator.solver == given.LBFGS:
        raise AttributeError("partial_fit is only available for stochastic optimizers. lbfgs is not stochastic.")
    return True


def _dense(X: Any) -> Array:
    return X.toarray() if hasattr(X, "toarray") else X


class _Estimator(BaseEstimator):
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
        if settings["solver"] == given.LBFGS:
            quasi_newton(self.model_, data, settings, record)
        else:
            if not once:
                self._restart(settings)
            score = None if held is None else lambda: self._judged(self._scores(held), held_y, held_weights)
            tolerance = settings["tol"] * self._divisor
            Descent(self.model_, data, settings, record, self.t_, score, once, tolerance).run()
            self.t_ += record.epochs * len(X)
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


class SymnetClassifier(ClassifierMixin, _Estimator):
    """A classifier: scikit-learn's `MLPClassifier`, trained in native code, with all layers and losses of symnet.

    z = W2 f(W1 x + b1) + b2,  p = softmax(z), or the logistic function of each output for two classes or label
    indicators,  R = (1/sum w) sum_n w_n ell_n + alpha/(2 sum w) (|W1|^2 + |W2|^2),  ell_n = -log p of the label

    hidden_layer_sizes: units of each hidden layer.  activation: of these; any of symnet's: a name, a mapping with
    options, {"formula": "x*logistic(beta*x)", "parameters": {"beta": 1.0}}.  solver: "adam"; "sgd", with momentum and
    nesterovs_momentum; "lbfgs", SciPy's L-BFGS-B over the compiled gradient; or an optimizer of symnet's, such as
    {"name": "adamw", "weight_decay": 0.01}.  alpha: strength of the L2 penalty.  batch_size: "auto" is min(200, n).
    learning_rate: of sgd, "constant", "invscaling" (learning_rate_init/(t + 1)**power_t after t samples) or "adaptive"
    (a fifth whenever n_iter_no_change epochs were not better by tol).  max_iter: epochs, or steps of lbfgs, with at
    most max_fun evaluations.  Training ends after n_iter_no_change epochs whose loss, with the penalty, is not less by
    tol than the best; with early_stopping, whose accuracy on the share validation_fraction of the rows is not higher,
    and the best parameters come back.  warm_start: fit begins with the parameters of the last one.  beta_1, beta_2,
    epsilon: of adam.

    loss: "log_loss" as above, or a loss of symnet's: a classifier's, or one of values, whose targets are 0 and 1 (of
    hinge -1 and 1) and whose largest output decides.  spec: a Network, or the path or the text of a TOML file that
    declares one, in place of hidden_layer_sizes, activation, alpha and loss; X is then a table of its inputs, one after
    the other, and first parameters are drawn as symnet draws them.

    Attributes: classes_, coefs_, intercepts_ (of dense layers; those that are assigned are used), loss_curve_, loss_,
    best_loss_, validation_scores_, best_validation_score_, n_iter_, t_, n_layers_, n_outputs_, out_activation_,
    n_features_in_, feature_names_in_; model_, the trained Model.  From the same random_state both libraries draw the
    same first parameters, and batches of all rows train alike; orders of smaller batches differ.  Where it is not
    scikit-learn's: the weights of a batch count as shares of all weights, the last, smaller batch has the penalty of a
    full one, and epsilon is added where Kingma and Ba's Algorithm 1 has it.  X is made dense.

    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> bool(SymnetClassifier((16,), learning_rate_init=0.02, random_state=0).fit(X, y).score(X, y) > 0.9)
    True
    """

    _classes: Classes
    classes_: Array

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: Any = 10,
        max_fun: int = 15000,
        loss: Any = "log_loss",
        spec: Any = None,
    ) -> None:
        self.__dict__.update((name, value) for name, value in locals().items() if name != "self")

    @available_if(_stochastic)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Any:
        """One epoch over X and y, from where training stands.  classes: all of them, at the first call."""
        return self._fit(X, y, sample_weight, again=hasattr(self, "model_"), once=True, classes=classes)

    def _admit(self, y: Array, again: bool, once: bool, classes: Any) -> None:
        if once and not again and classes is None:
            raise SymnetError("classes must be passed on the first call to partial_fit.")
        found = Classes.of(y)
        if again:
            if classes is not None and not np.array_equal(self.classes_, np.unique(classes)):
                found_now = f"`classes={classes!r}` is not the same as on last call to partial_fit"
                raise SymnetError(f"{found_now}, was: {self.classes_!r}")
            self._classes.refuse_others(y, all_of_them=bool(self.warm_start))
            return
        if once and not found.several:
            found = Classes(np.unique(classes), False)
            found.refuse_others(y, all_of_them=False)
        self._classes, self.classes_ = found, found.labels

    def _declared(self, y: Array, where: str) -> tuple[Any, int, float | None, int]:
        several = self._classes.several
        if isinstance(self.loss, str) and self.loss == "log_loss":
            few = several or len(self.classes_) <= 2
            loss = "binary_cross_entropy" if few else "softmax_cross_entropy"
            outputs = self._classes.outputs(given.loss_row(loss, where))
            return loss, outputs, float(outputs) if several and outputs > 1 else None, 1
        row = given.loss_row(self.loss, where)
        return self.loss, self._classes.outputs(row) * len(row.heads), None, 1

    def _check_output(self, output: Output, where: str, y: Array) -> None:
        self._classes.check(output, where)

    def _encoded(self, y: Array, output: Output) -> Array:
        return self._classes.encoded(y, output)

    def _judged(self, scores: Array, y: Array, weights: Array | None) -> float:
        """The accuracy; of several labels, the share of samples of which all are right."""
        found = self._named(self._classes.decided(scores, self._output))
        hits = (found == y).all(axis=1) if y.ndim == 2 else found == y
        return np.average(hits, weights=weights).item()

    def _named(self, decided: Array) -> Array:
        return decided if self._classes.several else self.classes_[decided]

    def predict(self, X: Any) -> Array:
        """The class of each sample, shape (n,); of several labels, indicators of shape (n, labels)."""
        scores = self._predicted(X)
        return self._named(self._classes.decided(scores, self._output))

    def _has_probabilities(self) -> bool:
        if hasattr(self, "model_"):
            has = bool(self.model_.network.is_classifier)
        else:
            has = self.spec is not None or self.loss == "log_loss" or given.loss_row(self.loss, "loss").is_classifier
        if not has:
            raise AttributeError("predict_proba needs a loss that gives probabilities, such as 'log_loss'.")
        return True

    @available_if(_has_probabilities)
    def predict_proba(self, X: Any) -> Array:
        """The probability of each class, in the order of `classes_`, shape (n, classes)."""
        scores = self._predicted(X)
        return self._classes.probabilities(scores, self._output)

    @available_if(_has_probabilities)
    def predict_log_proba(self, X: Any) -> Array:
        """Its logarithm."""
        with np.errstate(divide="ignore"):
            found: Array = np.log(self.predict_proba(X))
        return found

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class SymnetRegressor(RegressorMixin, _Estimator):
    """A regressor: scikit-learn's `MLPRegressor`, trained in native code, with all layers and losses of symnet.

    R = (1/sum w) sum_n w_n ell_n + alpha/(2 sum w) sum |W|^2,  ell_n = sum_k (z[n,k] - y[n,k])^2/2, or with
    loss="poisson" sum_k (exp(z[n,k]) - y[n,k] z[n,k]), and then predictions are exp(z)

    loss: one of these, or a loss of symnet's: "huber", "absolute_error", {"formula": "abs(prediction - target)**3"};
    "gaussian_nll" predicts the mean.  y may have several columns.  early_stopping is by R².  All other parameters and
    attributes are those of SymnetClassifier.

    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = SymnetRegressor(hidden_layer_sizes=(20,), solver="lbfgs", alpha=1.0, max_iter=50, random_state=0)
    >>> bool(model.fit(X, y).score(X, y) > 0.4)
    True
    """

    def __init__(
        self,
        loss: Any = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: Any = 10,
        max_fun: int = 15000,
        spec: Any = None,
    ) -> None:
        self.__dict__.update((name, value) for name, value in locals().items() if name != "self")

    @available_if(_stochastic)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """One epoch over X and y, from where training stands."""
        return self._fit(X, y, sample_weight, again=hasattr(self, "model_"), once=True)

    def _admit(self, y: Array, again: bool, once: bool, classes: Any) -> None:
        """Any numbers will do."""

    def _declared(self, y: Array, where: str) -> tuple[Any, int, float | None, int]:
        width = 1 if y.ndim == 1 else y.shape[1]
        row = given.loss_row(self.loss, where)
        match self.loss:
            case "squared_error":
                return self.loss, width, width / 2, width
            case "poisson":
                return self.loss, width, float(width) if width > 1 else None, 1
        return self.loss, width * len(row.heads), None, 1

    def _check_output(self, output: Output, where: str, y: Array) -> None:
        width = 1 if y.ndim == 1 else y.shape[1]
        if output.is_classifier or output.target_width != width:
            what = "of a classifier" if output.is_classifier else f"for {output.target_width} numbers"
            raise complaint(where, Quoted(f"outputs {what}"), f"those of a loss for {width}, as y has for each sample")

    def _encoded(self, y: Array, output: Output) -> Array:
        return y.astype(np.float64, copy=False).reshape(len(y), -1)

    def _constant(self, y: Array, weights: Array | None) -> float:
        if self._output.head.loss.name != "poisson" or self._is_own:
            return 0.0
        from scipy.special import xlogy

        terms = (xlogy(y, y) - y).reshape(len(y), -1).sum(axis=1)
        return np.average(terms, weights=weights).item()

    def _judged(self, scores: Array, y: Array, weights: Array | None) -> float:
        """R²"""
        found = means(scores, self._output)
        return float(r2_score(y, found, sample_weight=weights)) if np.isfinite(found).all() else np.nan

    def predict(self, X: Any) -> Array:
        """The expected y of each sample, shape (n,), or (n, targets)."""
        scores = self._predicted(X)
        found = means(scores, self._output)
        return found[:, 0] if found.shape[1] == 1 else found

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
