"""Losses over outputs with positions (time steps, nodes, pixels): the mean over them, labels, weights, decisions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from compiler.calling import interpret
from compiler.program import Program, Tensor, size
from compiler.verify import verify
from symnet.declare import losses
from symnet.declare.constructors import dense, softmax
from symnet.differentiate import pullback
from symnet.errors import SymnetError
from symnet.formulation import loss_equations
from symnet.network import Network
from symnet.oracle.reference import evaluate
from symnet.oracle.reference_mp import complex_step_gradient, magnitudes
from symnet.run.tables import load_data

from .test_losses import CASES
from .tolerance import judge

RNG = np.random.default_rng(8)
N, T, K = 3, 2, 4  # the rows of CASES are N samples of T positions


def run(name: str, given: str, z: np.ndarray, y: np.ndarray, options: Any, slope: bool = False) -> np.ndarray:
    prediction = Tensor("z", (size("N"), *z.shape[1:]), "input")
    loss = loss_equations.build(losses.row(name, options, "loss"), options, prediction, given)
    program = Program(loss.equations, (loss.ell,), facts=loss.facts)
    if slope:
        swept = pullback(loss.equations, {loss.ell: 1}, [prediction])
        program = Program((*loss.equations, *swept.equations), (swept.adjoints[prediction],))
    verify(program)
    values = {
        **losses.hyper(options),
        **losses.constants(options),
        "sample_weight": 1.0 + np.arange(N * T).reshape(N, T),
    }
    return evaluate(program, {"z": z, "y": y, **values})[program.outputs[0].name]


@pytest.mark.parametrize(("name", "given", "z", "y", "options", "expected"), CASES)
def test_a_loss_over_positions_is_the_mean_of_the_losses_at_each(
    name: str, given: str, z: np.ndarray, y: np.ndarray, options: dict, expected: np.ndarray
) -> None:
    if given.endswith(losses.WEIGHTED):
        given = losses.parted(given)[0] + losses.BY_POSITION
    z, y = z.reshape(N, T, -1), y.reshape(N, T, *y.shape[1:])
    np.testing.assert_allclose(run(name, given, z, y, options), expected.reshape(N, T).mean(1), rtol=1e-12)
    found, h = run(name, given, z, y, options, slope=True), 1e-6
    for place in np.ndindex(T, z.shape[2]):
        step = np.zeros_like(z)
        step[:, *place] = h
        slope = (run(name, given, z + step, y, options) - run(name, given, z - step, y, options)) / (2 * h)
        np.testing.assert_allclose(found[:, *place], slope, rtol=1e-6, atol=1e-8)


def test_the_gradient_of_softmax_cross_entropy_over_positions_is_prediction_minus_target() -> None:
    z, y = RNG.normal(size=(N, T, K)), RNG.integers(0, K, (N, T))
    p = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    one_hot = np.eye(K)[y]
    np.testing.assert_allclose(run("softmax_cross_entropy", "labels", z, y, {}, True), (p - one_hot) / T, atol=1e-15)
    fused = Network(input=[T, 3], layers=[dense(K), softmax()], loss="cross_entropy")
    plain = Network(input=[T, 3], layers=[dense(K)], loss="softmax_cross_entropy")
    for target in ("labels", "distribution"):
        values = {"W1": 1e3 * RNG.normal(size=(K, 3)), "b1": np.zeros(K), "x": RNG.normal(size=(N, T, 3))}
        values["y"] = y if target == "labels" else one_hot
        one, other = (evaluate(network.gradient_program(target), values) for network in (fused, plain))
        assert all(np.isfinite(value).all() and np.array_equal(one[name], value) for name, value in other.items())


LOSSES: list[Any] = [
    {"name": "softmax_cross_entropy", "label_smoothing": 0.1, "class_weights": (0.5, 2.0)},
    "cross_entropy",
    "binary_cross_entropy",
    "gaussian_nll",
    {"formula": "(prediction - target)**4"},
    {"equations": ["ell[n,i,j] = sum((prediction[n,i,j,k] - target[n,i,j,k])**2, k)"]},
    {
        "equations": ["ell[n,i,j] = logsumexp(prediction[n,i,j,k], k) - prediction[n,i,j,target[n,i,j]]"],
        "targets": "labels",
    },
]


@pytest.mark.parametrize("weights", ["", losses.WEIGHTED, losses.BY_POSITION])
@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_over_a_grid_hold_to_the_complex_step_and_the_loops_make_them(loss: Any, weights: str) -> None:
    activation = "logistic" if loss == "cross_entropy" else "identity"
    network = Network(input=[2, 3, 2], layers=[dense(2, "tanh"), dense(2, activation)], loss=loss)
    shape = (2, *network.positions)
    assert network.positions == (2, 3)
    for target in network.targets:
        values = {network.tensors[k].name: v for k, v in network.initial_parameters(1).items()}
        values |= {"x": RNG.normal(size=(*shape, 2)), **network.hyper, **network.constants}
        values["sample_weight"] = RNG.random(shape if weights == losses.BY_POSITION else shape[:1])
        wide = (*shape, network.target_width)
        values["y"] = RNG.integers(0, network.classes, shape) if target == "labels" else RNG.random(wide)
        if target == "distribution":
            values["y"] /= values["y"].sum(-1, keepdims=True)
        given, risk, wrt = target + weights, Tensor("R"), list(network.tensors.values())
        program = network.gradient_program(given)
        found, scale = evaluate(program, values), magnitudes(program, values)
        looped = interpret(program, values, {"N": 2}, plain=False)
        reference = complex_step_gradient(Program((*network.forward, *network.risk(given)), (risk,)), risk, wrt, values)
        for tensor, adjoint in zip(wrt, program.outputs[1:], strict=True):
            for which in (found, looped):
                judge(tensor.name, which[adjoint.name], reference[tensor.name], scale[adjoint.name])


def test_a_loss_of_whole_samples_may_be_written_over_positions() -> None:
    network = Network(
        input=[T, 3], layers=[dense(1)], loss={"equations": ["ell[n] = max(prediction[n,i,k] - target[n,i,k], i, k)"]}
    )
    X, y = RNG.normal(size=(N, T, 3)), RNG.normal(size=(N, T, 1))
    model = network.compile("adam", "float64")
    values, weights = model.predict(X), np.array([1.0, 2.0, 0.0])
    assert model.evaluate(X, y)["loss"] == pytest.approx((values - y).max((1, 2)).mean(), rel=1e-14)
    found = model.evaluate(X, y, weights)["loss"]
    assert found == pytest.approx((weights * (values - y).max((1, 2))).mean(), rel=1e-14)
    with pytest.raises(SymnetError, match=r"weights of positions.*a whole sample.*expected weights of shape \(n,\)"):
        model.evaluate(X, y, np.ones((N, T)))


# ------------------------------------------------------------------------------------------ a model
def learnable() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sequences, a label for each step, and a mask: behind it the labels are noise."""
    X = RNG.normal(size=(120, 5, 2))
    mask = (np.arange(5) < RNG.integers(1, 6, (120, 1))).astype(float)
    labels = (X[..., 0] > X[..., 1]).astype(int)
    return X, np.where(mask == 1, labels, RNG.integers(0, 2, (120, 5))), mask


@pytest.fixture(scope="module")
def trained() -> Any:
    network = Network(input=[5, 2], layers=[dense(2)], loss="softmax_cross_entropy")
    model, (X, y, mask) = network.compile({"name": "adam", "learning_rate": 0.05}, "float64"), learnable()
    history = model.fit(X, y, epochs=40, sample_weight=mask, validation_data=(X, y, mask))
    return model, history, (X, y, mask)


def test_masked_positions_do_not_count(trained: Any) -> None:
    model, history, (X, y, mask) = trained
    labels, p = model.predict(X), model.predict_proba(X)
    assert labels.shape == (120, 5) and p.shape == (120, 5, 2)
    hits = labels == y
    found = model.evaluate(X, y, mask)
    assert found["accuracy"] == pytest.approx(hits[mask == 1].mean(), rel=1e-12) and found["accuracy"] > 0.95
    assert history[-1].accuracy == history.accuracy[-1] == pytest.approx(found["accuracy"], rel=1e-12)
    assert model.evaluate(X, y)["accuracy"] == pytest.approx(hits.mean(), rel=1e-12)
    assert hits.mean() < 0.95
    cost = -np.log(np.take_along_axis(p, y[..., None], -1)[..., 0])
    assert found["loss"] == pytest.approx((mask * cost).mean(), rel=1e-12)
    assert model.evaluate(X, y, mask[:, 0])["loss"] == pytest.approx((mask[:, :1] * cost).mean(), rel=1e-12)
    other = np.where(mask == 1, y, 1 - y)
    assert model.evaluate(X, other, mask) == found
    risk, gradient = model.network.value_and_gradient(model.parameters, X, other, sample_weight=mask)
    same = model.network.value_and_gradient(model.parameters, X, y, sample_weight=mask)
    assert risk == same[0] and all(np.array_equal(gradient[name], same[1][name]) for name in gradient)


def test_nothing_that_counts_has_no_accuracy(trained: Any) -> None:
    model, _, (X, y, mask) = trained
    assert np.isnan(model.evaluate(X, y, 0 * mask)["accuracy"])


@pytest.mark.parametrize(
    ("y", "weights", "message"),
    [
        (np.zeros((N, 3), int), None, r"y: found shape \(3, 3\), expected \(n, 2\): a label for each position"),
        (np.zeros(N, int), None, r"y: found shape \(3,\), expected \(n, 2\): a label for each position"),
        (
            np.zeros((N, T, 3)),
            None,
            r"y: found shape \(3, 2, 3\), expected \(n, 2, 4\): 4 class probabilities for each of 2",
        ),
        (np.full((N, T), 4), None, r"y\[0, 0\]: found 4, expected labels from 0 to 3"),
        (np.zeros((N, T)), None, r"distributions have shape \(n, 2, 4\)"),
        (
            np.zeros((N, T), int),
            np.ones((N, T, 1)),
            r"sample_weight: .*\(3, 2, 1\).* \(3,\): one for each sample, or \(3, 2\)",
        ),
        (np.zeros((N, T), int), np.array([[1, 1], [1, -1], [1, 1]]), r"sample_weight\[1, 1\]: found -1"),
    ],
)
def test_targets_that_do_not_fit_the_positions_are_refused(y: Any, weights: Any, message: str) -> None:
    network = Network(input=[T, 3], layers=[dense(K)], loss="softmax_cross_entropy")
    with pytest.raises(SymnetError, match=message):
        network.compile().evaluate(np.zeros((N, T, 3)), y, weights)


def test_a_table_holds_the_targets_of_all_positions_one_after_the_other(tmp_path: Any) -> None:
    X, y = RNG.normal(size=(N, T, 3)), RNG.integers(0, K, (N, T))
    path = tmp_path / "sequences.csv"
    np.savetxt(path, np.hstack([X.reshape(N, -1), y]), delimiter=",")
    network = Network(input=[T, 3], layers=[dense(K)], loss="softmax_cross_entropy")
    found, labels = load_data(network, path)
    np.testing.assert_allclose(found["x"], X)
    np.testing.assert_array_equal(labels, y)
    distribution = np.eye(K)[y]
    np.savetxt(path, np.hstack([X.reshape(N, -1), distribution.reshape(N, -1)]), delimiter=",")
    np.testing.assert_array_equal(load_data(network, path)[1], distribution)
