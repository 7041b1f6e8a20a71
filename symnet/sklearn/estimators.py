"""SymnetClassifier and SymnetRegressor: estimators of scikit-learn on compiled networks.

In: parameters under scikit-learn's names, X and y as it takes them.  Out: attributes and predictions as its
`MLPClassifier` and `MLPRegressor` have them, and `model_`, the trained Model, with its formulas and all else.  Stands
last in this package.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.metaestimators import available_if

from ..declare.heads import Output
from ..errors import Quoted, SymnetError, complaint
from . import parameters as given
from .base import Estimator
from .targets import Classes, means

Array = np.ndarray[Any, np.dtype[Any]]


def _stochastic(estimator: Any) -> bool:
    if estimator.solver == given.LBFGS:
        raise AttributeError("partial_fit is only available for stochastic optimizers. lbfgs is not stochastic.")
    return True


class SymnetClassifier(ClassifierMixin, Estimator):
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


class SymnetRegressor(RegressorMixin, Estimator):
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
