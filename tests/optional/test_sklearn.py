"""The estimators are scikit-learn's networks: its checks, its numbers, its pipelines and searches."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

import scipy.sparse
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import symnet as sn
from symnet.sklearn import SymnetClassifier, SymnetRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
IRIS = StandardScaler().fit_transform(load_iris().data), load_iris().target
RNG = np.random.default_rng(0)
WEIGHTS = RNG.uniform(0.2, 3, 150)
X = IRIS[0]
TARGETS: dict[str, Any] = {
    "two classes": (IRIS[1] == 1).astype(int),
    "three classes": IRIS[1],
    "words": np.array(["setosa", "versicolor", "virginica"])[IRIS[1]],
    "several labels": np.stack([IRIS[1] == 0, X[:, 0] > 0, X[:, 1] > 0.2], axis=1).astype(int),
    "numbers": X[:, 0] ** 2 + np.sin(3 * X[:, 1]),
    "two numbers": np.stack([X[:, 0] ** 2, X[:, 1] - X[:, 2]], axis=1),
    "counts": RNG.poisson(np.exp(0.5 * X[:, 0])).astype(float),
}


def pair(target: str, **options: Any) -> tuple[Any, Any]:
    """Both libraries' estimators with the same parameters."""
    options = {"hidden_layer_sizes": (7, 5), "random_state": 3, **options}
    if TARGETS[target].dtype.kind in "iU":
        return SymnetClassifier(**options), MLPClassifier(**options)
    if target == "counts":
        options["loss"] = "poisson"
    return SymnetRegressor(**options), MLPRegressor(**options)


def assert_same(ours: Any, theirs: Any, rtol: float) -> None:
    for name in ("n_iter_", "n_layers_", "n_outputs_", "n_features_in_", "out_activation_"):
        assert getattr(ours, name) == getattr(theirs, name), name
    for name in ("coefs_", "intercepts_"):
        for one, other in zip(getattr(ours, name), getattr(theirs, name), strict=True):
            np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol, err_msg=name)
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=rtol)


# ------------------------------------------------------------------------------------------------ its checks
@pytest.mark.parametrize("kind", [SymnetClassifier, SymnetRegressor])
def test_every_check_of_scikit_learn_passes(kind: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = check_estimator(kind(), on_fail=None)
    wrong = {result["check_name"]: result["exception"] for result in found if result["status"] in ("failed", "xfail")}
    assert wrong == {} and len(found) >= 60
    skipped = {result["check_name"] for result in found if result["status"] == "skipped"}
    assert skipped <= {"check_array_api_input", "check_classifiers_multilabel_output_format_decision_function"}


# ------------------------------------------------------------------------------------------------- its numbers
CASES = [
    (solver, target, weighted)
    for solver in ("adam", "sgd", "lbfgs")
    for target in TARGETS
    for weighted in (False, True)
    # where scikit-learn's loss is a mean over outputs and its gradient that of a sum, its L-BFGS is of neither
    if (solver, target) != ("lbfgs", "two numbers")
]


@pytest.mark.parametrize(("solver", "target", "weighted"), CASES)
def test_a_full_batch_trains_as_scikit_learn_does(solver: str, target: str, weighted: bool) -> None:
    options = {"solver": solver, "batch_size": 150, "max_iter": 25, "alpha": 0.3, "activation": "tanh"}
    # epsilon is added to the root of the corrected moment here, there to that of the moment itself
    ours, theirs = pair(target, learning_rate_init=0.02, epsilon=1e-14, **options)
    given = {"sample_weight": WEIGHTS} if weighted else {}
    y = TARGETS[target]
    assert_same(ours.fit(X, y, **given), theirs.fit(X, y, **given), 1e-7)
    if solver != "lbfgs":
        np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-6)
        assert ours.best_loss_ == pytest.approx(theirs.best_loss_, rel=1e-6) and ours.t_ == theirs.t_
    found, expected = ours.predict(X), theirs.predict(X)
    assert found.shape == expected.shape
    if found.dtype.kind == "f":
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    else:
        assert (found == expected).all() and found.dtype == expected.dtype
        np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-5)
        np.testing.assert_allclose(ours.predict_log_proba(X), theirs.predict_log_proba(X), atol=1e-4)


@pytest.mark.parametrize("target", ["three classes", "numbers"])
def test_batches_in_their_order_train_as_scikit_learn_does(target: str) -> None:
    options = {"batch_size": 50, "shuffle": False, "max_iter": 20, "activation": "logistic", "epsilon": 1e-14}
    ours, theirs = pair(target, **options)
    assert_same(ours.fit(X, TARGETS[target]), theirs.fit(X, TARGETS[target]), 1e-7)


@pytest.mark.parametrize("rate", ["invscaling", "adaptive"])
def test_the_learning_rate_falls_as_in_scikit_learn(rate: str) -> None:
    options = {"solver": "sgd", "learning_rate": rate, "learning_rate_init": 0.3, "momentum": 0, "power_t": 0.3}
    ours, theirs = pair("numbers", batch_size=150, max_iter=150, n_iter_no_change=2, tol=1e-3, **options)
    assert_same(ours.fit(X, TARGETS["numbers"]), theirs.fit(X, TARGETS["numbers"]), 1e-7)
    assert 20 < theirs.n_iter_ < 150 or rate == "adaptive"


@pytest.mark.parametrize("target", ["three classes", "several labels", "numbers", "two numbers"])
def test_training_ends_with_the_epoch_of_scikit_learn(target: str) -> None:
    options = {"batch_size": 150, "learning_rate_init": 0.05, "max_iter": 500, "tol": 3e-3, "epsilon": 1e-14}
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        ours, theirs = (estimator.fit(X, TARGETS[target]) for estimator in pair(target, **options))
    assert ours.n_iter_ == theirs.n_iter_ < 500
    assert ours.best_loss_ == pytest.approx(theirs.best_loss_, rel=1e-6)


@pytest.mark.parametrize("target", ["two classes", "several labels", "numbers"])
def test_early_stopping_keeps_the_parameters_of_the_best_score(target: str) -> None:
    options = {"early_stopping": True, "validation_fraction": 0.3, "batch_size": 200, "max_iter": 60, "epsilon": 1e-14}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, theirs = pair(target, learning_rate_init=0.02, **options)
        assert_same(ours.fit(X, TARGETS[target]), theirs.fit(X, TARGETS[target]), 1e-6)
    np.testing.assert_allclose(ours.validation_scores_, theirs.validation_scores_, rtol=1e-6)
    assert ours.best_validation_score_ == pytest.approx(theirs.best_validation_score_)
    assert ours.best_loss_ is None


def test_partial_fit_and_warm_start_go_on_as_in_scikit_learn() -> None:
    y = TARGETS["words"]
    ours, theirs = pair("words", batch_size=150, epsilon=1e-14)
    for estimator in (ours, theirs):
        for _ in range(5):
            estimator.partial_fit(X, y, classes=np.unique(y))
    for one, other in zip(ours.coefs_, theirs.coefs_, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-7)
    ours, theirs = pair("words", batch_size=150, epsilon=1e-14, warm_start=True, max_iter=4)
    for estimator in (ours, theirs):
        estimator.fit(X, y).fit(X, y)
    assert_same(ours, theirs, 1e-7)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-7)
    with pytest.raises(ValueError, match="warm_start"):
        ours.fit(X, np.where(y == "setosa", "other", y))
    with pytest.raises(ValueError, match="classes"):
        clone(ours).partial_fit(X, y)
    assert not hasattr(SymnetClassifier(solver="lbfgs"), "partial_fit")


def test_changed_coefficients_are_those_that_predict() -> None:
    estimator = SymnetRegressor(hidden_layer_sizes=(4,), max_iter=3, random_state=0).fit(X, TARGETS["numbers"])
    estimator.coefs_[1][:] = 0
    estimator.intercepts_ = [estimator.intercepts_[0], np.array([2.5])]
    np.testing.assert_array_equal(estimator.predict(X), np.full(150, 2.5))


# ------------------------------------------------------------------------------------------------- pipelines, searches
def test_a_pipeline_is_searched_by_two_processes() -> None:
    pipeline = make_pipeline(
        StandardScaler(), SymnetClassifier((8,), max_iter=30, learning_rate_init=0.05, random_state=0)
    )
    grid = {"symnetclassifier__alpha": [1e-4, 1.0], "symnetclassifier__activation": ["tanh", "swish"]}
    search = GridSearchCV(pipeline, grid, cv=3, n_jobs=2).fit(load_iris().data, TARGETS["words"])
    assert search.best_score_ > 0.7 and set(search.predict(load_iris().data)) <= set(TARGETS["words"])
    again = GridSearchCV(pipeline, grid, cv=3).fit(load_iris().data, TARGETS["words"])
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], again.cv_results_["mean_test_score"])


def test_a_pickled_estimator_predicts_and_goes_on() -> None:
    estimator = SymnetClassifier((6,), max_iter=5, random_state=0).fit(X, TARGETS["words"])
    other = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(other.predict_proba(X), estimator.predict_proba(X))
    for one in (estimator, other):
        one.partial_fit(X, TARGETS["words"])
    np.testing.assert_array_equal(other.coefs_[0], estimator.coefs_[0])


def test_sparse_data_give_what_dense_ones_give() -> None:
    dense = np.where(np.abs(X) > 0.5, X, 0)
    one = SymnetClassifier((5,), max_iter=5, random_state=0).fit(dense, IRIS[1])
    other = SymnetClassifier((5,), max_iter=5, random_state=0).fit(scipy.sparse.csr_matrix(dense), IRIS[1])
    np.testing.assert_array_equal(one.predict_proba(dense), other.predict_proba(scipy.sparse.csc_matrix(dense)))


def test_several_columns_of_classes_go_through_scikit_learns_wrapper() -> None:
    y = np.stack([IRIS[1], (X[:, 0] > 0).astype(int)], axis=1)
    found = MultiOutputClassifier(SymnetClassifier((8,), learning_rate_init=0.05, random_state=0)).fit(X, y)
    assert (found.predict(X) == y).mean() > 0.7


def test_several_columns_of_classes_are_refused_with_what_takes_them() -> None:
    with pytest.raises(ValueError, match=r"2 columns of classes.*MultiOutputClassifier"):
        SymnetClassifier((3,)).fit(X, np.stack([IRIS[1], IRIS[1]], axis=1))


def test_sample_weights_of_searches_arrive() -> None:
    heavy = np.where(IRIS[1] == 2, 50.0, 1e-3)
    found = SymnetClassifier((5,), max_iter=80, random_state=0, learning_rate_init=0.05).fit(X, IRIS[1], heavy)
    assert (found.predict(X) == 2).mean() > 0.9


# ------------------------------------------------------------------------------------------------- what symnet adds
SPEC = """
[network]
input = 4
loss = "softmax_cross_entropy"

[[layer]]
kind = "dense"
units = 12
activation = { formula = "x*logistic(beta*x)", parameters = { beta = 1.0 } }

[[layer]]
kind = "batch_norm"

[[layer]]
kind = "dense"
units = 3
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("spec") / "spec.toml"
    path.write_text(SPEC)
    yield path


def test_a_spec_is_a_network_a_file_or_its_text(file: Path) -> None:
    found = []
    for spec in (SPEC, file, str(file), sn.Network.from_toml(SPEC)):
        estimator = SymnetClassifier(spec=spec, max_iter=60, learning_rate_init=0.02, random_state=0)
        found.append(clone(estimator).fit(X, TARGETS["words"]).predict_proba(X))
        np.testing.assert_array_equal(found[0], found[-1])
    assert (found[0].argmax(axis=1) == IRIS[1]).mean() > 0.9


@pytest.mark.parametrize(
    ("options", "target"),
    [
        ({"loss": "hinge"}, "two classes"),
        ({"loss": "hinge"}, "three classes"),
        ({"loss": "hinge"}, "several labels"),
        ({"loss": "squared_error"}, "three classes"),
        ({"loss": "softmax_cross_entropy"}, "two classes"),
        ({"loss": "binary_cross_entropy"}, "words"),
        ({"loss": {"name": "softmax_cross_entropy", "label_smoothing": 0.1}}, "words"),
        ({"activation": {"formula": "x*logistic(beta*x)", "parameters": {"beta": 1.0}}}, "words"),
        ({"solver": {"name": "adamw", "weight_decay": 0.01}}, "words"),
        ({"solver": "rmsprop", "early_stopping": True}, "words"),
        ({"hidden_layer_sizes": ()}, "words"),
    ],
)
def test_any_loss_activation_and_optimizer_of_symnet_classifies(options: Any, target: str) -> None:
    given = {"hidden_layer_sizes": (12,), "max_iter": 250, "learning_rate_init": 0.03, "random_state": 0, **options}
    estimator = SymnetClassifier(**given).fit(X, TARGETS[target])
    assert (estimator.predict(X) == TARGETS[target]).mean() > 0.9
    assert hasattr(estimator, "predict_proba") == (given.get("loss") not in ("hinge", "squared_error"))
    if hasattr(estimator, "predict_proba") and target != "several labels":
        np.testing.assert_allclose(estimator.predict_proba(X).sum(axis=1), 1)


@pytest.mark.parametrize(
    "loss", ["huber", "absolute_error", "gaussian_nll", {"formula": "abs(prediction - target)**3"}]
)
def test_any_loss_of_symnet_regresses(loss: Any) -> None:
    estimator = SymnetRegressor(loss, (16,), max_iter=800, learning_rate_init=0.02, random_state=0)
    assert estimator.fit(X, TARGETS["numbers"]).score(X, TARGETS["numbers"]) > 0.85


def test_a_fitted_estimator_has_its_formulas() -> None:
    estimator = SymnetRegressor(hidden_layer_sizes=(3,), max_iter=2).fit(X, TARGETS["numbers"])
    assert "∂R/∂W1" in str(estimator.model_.network.gradient("hidden1.W"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"alpha": -1.0}, "SymnetClassifier, alpha: found -1"),
        ({"hidden_layer_sizes": (3, 0)}, "hidden_layer_sizes"),
        ({"activation": "rleu"}, "Did you mean 'relu'"),
        ({"solver": "adm"}, "Did you mean 'adam'"),
        ({"learning_rate": "falling"}, "learning_rate"),
        ({"loss": "log_los"}, "loss"),
        ({"spec": SPEC.replace("input = 4", "input = 5")}, "a network of 5 inputs"),
        ({"spec": SPEC.replace("units = 3", "units = 2")}, "found 2 outputs"),
        ({"spec": 5}, "the path of a TOML file"),
    ],
)
def test_a_wrong_parameter_is_named(options: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SymnetClassifier(**options).fit(X, IRIS[1])


def test_what_is_not_fitted_says_so() -> None:
    for estimator in (SymnetClassifier(), SymnetRegressor()):
        with pytest.raises(NotFittedError):
            estimator.predict(X)


@pytest.mark.parametrize(
    ("ours", "theirs", "load"),
    [(SymnetClassifier, MLPClassifier, load_breast_cancer), (SymnetRegressor, MLPRegressor, load_diabetes)],
)
def test_scores_of_cross_validation_are_scikit_learns(ours: Any, theirs: Any, load: Any) -> None:
    data, target = load(return_X_y=True)
    options = {"hidden_layer_sizes": (20,), "learning_rate_init": 0.01, "max_iter": 100}
    scores = []
    for kind in (ours, theirs):
        of_kind = [make_pipeline(StandardScaler(), kind(random_state=seed, **options)) for seed in range(3)]
        scores.append([cross_val_score(estimator, data, target, cv=3).mean() for estimator in of_kind])
    assert abs(np.mean(scores[0]) - np.mean(scores[1])) < 0.02


def test_a_batch_of_more_rows_than_there_are_is_cut_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="clipped"):
        one = SymnetClassifier((5,), batch_size=1000, max_iter=3, random_state=0).fit(X, IRIS[1])
    other = SymnetClassifier((5,), batch_size=150, max_iter=3, random_state=0).fit(X, IRIS[1])
    np.testing.assert_array_equal(one.coefs_[0], other.coefs_[0])


def test_the_example_of_the_readme_holds(root: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", (root / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    [text] = [block for block in blocks if "symnet.sklearn" in block]
    exec(compile(text, "README.md", "exec"), {"__name__": "readme"})


@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
def test_an_estimator_whose_fit_failed_has_the_last_finite_parameters(solver: str) -> None:
    X = np.random.default_rng(0).normal(size=(60, 3)) * 1e160
    made = SymnetRegressor(hidden_layer_sizes=(4,), solver=solver, max_iter=20, random_state=0, activation="relu")
    for way in (made.fit,) if solver == "lbfgs" else (made.fit, made.partial_fit):
        with pytest.raises(sn.SymnetError, match="finite"):
            way(X, X[:, 0] / 1e160)
        assert np.isfinite(made.predict(X / 1e160)).all() and all(np.isfinite(W).all() for W in made.coefs_)
