"""Losses: each against its definition in NumPy, its gradient against the textbook, large net inputs."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.program import Access, Program, Tensor, size
from compiler.verify import verify
from symnet import losses
from symnet.differentiate import pullback
from symnet.errors import SymnetError
from symnet.network import Network
from symnet.reference import evaluate
from symnet.spec import dense

N, K = 6, 4
RNG = np.random.default_rng(5)
Z = RNG.normal(size=(N, K)) * 2
LABELS = RNG.integers(0, K, N)
ONE_HOT = np.eye(K)[LABELS]
DISTRIBUTION = RNG.dirichlet(np.ones(K), N)
REAL = RNG.normal(size=(N, K)) * 2
UNIT = RNG.random((N, K))
SIGNS = np.where(RNG.random((N, K)) < 0.5, -1.0, 1.0)
PROBABILITIES = RNG.dirichlet(np.ones(K), N)
SIGMOID = 1 / (1 + np.exp(-Z))
BINARY = -(UNIT * np.log(SIGMOID) + (1 - UNIT) * np.log(1 - SIGMOID)).mean(1)
CUBIC = {"formula": "c*abs(prediction - target)**3", "parameters": (("c", 0.5),)}


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def run(
    name: str, given: str, z: np.ndarray, y: np.ndarray, options: dict | None = None, slope: bool = False
) -> np.ndarray:
    """ell, or its adjoint by z, by the oracle."""
    prediction = Tensor("z", (size("N"), z.shape[1]), "input")
    row = losses.row(name, options or {}, "loss")
    loss = losses.build(row, options or {}, prediction, given)
    program = Program(loss.equations, (loss.ell,), facts=loss.facts)
    if slope:
        swept = pullback(loss.equations, {loss.ell: 1}, [prediction])
        program = Program((*loss.equations, *swept.equations), (swept.adjoints[prediction],))
    verify(program)
    return evaluate(program, {"z": z, "y": y})[program.outputs[0].name]


def huber(d: np.ndarray, delta: float) -> np.ndarray:
    return np.where(np.abs(d) <= delta, d**2 / 2, delta * (np.abs(d) - delta / 2))


CASES = [
    ("softmax_cross_entropy", "labels", Z, LABELS, {}, -np.log(softmax(Z)[range(N), LABELS])),
    ("softmax_cross_entropy", "distribution", Z, DISTRIBUTION, {}, -(DISTRIBUTION * np.log(softmax(Z))).sum(1)),
    ("cross_entropy", "labels", PROBABILITIES, LABELS, {}, -np.log(PROBABILITIES[range(N), LABELS])),
    ("cross_entropy", "distribution", PROBABILITIES, ONE_HOT, {}, -(ONE_HOT * np.log(PROBABILITIES)).sum(1)),
    ("squared_error", "values", Z, REAL, {}, ((Z - REAL) ** 2).mean(1)),
    ("absolute_error", "values", Z, REAL, {}, np.abs(Z - REAL).mean(1)),
    ("huber", "values", Z, REAL, {}, huber(Z - REAL, 1.0).mean(1)),
    ("huber", "values", Z, REAL, {"delta": 0.3}, huber(Z - REAL, 0.3).mean(1)),
    ("binary_cross_entropy", "values", Z, UNIT, {}, BINARY),
    ("hinge", "values", Z, SIGNS, {}, np.maximum(0, 1 - SIGNS * Z).mean(1)),
    ("poisson", "values", Z, np.abs(REAL), {}, (np.exp(Z) - np.abs(REAL) * Z).mean(1)),
    ("", "values", Z, REAL, CUBIC, 0.5 * (np.abs(Z - REAL) ** 3).mean(1)),
]  # fmt: skip


def test_every_row_has_a_case() -> None:
    assert {row.name for row in losses.ROWS} == {case[0] for case in CASES} - {""}


@pytest.mark.parametrize(("name", "given", "z", "y", "options", "expected"), CASES)
def test_a_loss_is_its_definition(
    name: str, given: str, z: np.ndarray, y: np.ndarray, options: dict, expected: np.ndarray
) -> None:
    np.testing.assert_allclose(run(name, given, z, y, options), expected, rtol=1e-12)


@pytest.mark.parametrize(("name", "given", "z", "y", "options", "expected"), CASES)
def test_the_gradient_of_a_loss_is_its_slope(
    name: str, given: str, z: np.ndarray, y: np.ndarray, options: dict, expected: np.ndarray
) -> None:
    found, h = run(name, given, z, y, options, slope=True), 1e-6
    for k in range(K):
        step = np.eye(K)[k] * h
        slope = (run(name, given, z + step, y, options) - run(name, given, z - step, y, options)) / (2 * h)
        np.testing.assert_allclose(found[:, k], slope, rtol=1e-6, atol=1e-8)


def test_the_gradient_of_softmax_cross_entropy_is_prediction_minus_target() -> None:
    np.testing.assert_allclose(
        run("softmax_cross_entropy", "labels", Z, LABELS, slope=True), softmax(Z) - ONE_HOT, atol=1e-15
    )
    found = run("softmax_cross_entropy", "distribution", Z, DISTRIBUTION, slope=True)
    np.testing.assert_allclose(found, softmax(Z) - DISTRIBUTION, atol=1e-15)


def test_labels_and_their_one_hot_distributions_mean_the_same() -> None:
    by_label = run("softmax_cross_entropy", "labels", Z, LABELS)
    np.testing.assert_allclose(run("softmax_cross_entropy", "distribution", Z, ONE_HOT), by_label, rtol=1e-14)


@pytest.mark.parametrize(
    "name", ["softmax_cross_entropy", "squared_error", "huber", "binary_cross_entropy", "hinge", "absolute_error"]
)
@pytest.mark.parametrize("reach", [1e2, 1e4])
def test_losses_and_slopes_are_finite_and_accurate_for_large_net_inputs(name: str, reach: float) -> None:
    z = np.linspace(-reach, reach, N * K).reshape(N, K)
    row = losses.row(name, {}, "loss")
    y = LABELS if row.is_classifier else np.ones((N, K))
    for slope in (False, True):
        found = run(name, row.targets[0], z, y, slope=slope)
        assert np.isfinite(found).all()
    wrong = np.array([[0.0, reach, 0.0, 0.0]])
    if name == "softmax_cross_entropy":
        assert run(name, "labels", wrong, np.array([0])) == reach
        np.testing.assert_allclose(run(name, "labels", wrong, np.array([0]), slope=True), [[-1, 1, 0, 0]], atol=1e-40)
    if name == "binary_cross_entropy":
        np.testing.assert_allclose(run(name, "values", np.full((1, 1), -reach), np.ones((1, 1))), [reach])
        np.testing.assert_allclose(
            run(name, "values", np.full((1, 1), 40.0), np.ones((1, 1))), [np.exp(-40.0)], rtol=1e-12
        )


@pytest.mark.parametrize(
    ("name", "z", "y", "slope"),
    [("absolute_error", 1.0, 1.0, 0.0), ("hinge", 1.0, 1.0, 0.0), ("huber", 2.0, 1.0, 1.0), ("huber", 0.0, 1.0, -1.0)],
)
def test_slopes_at_kinks_are_the_published_ones(name: str, z: float, y: float, slope: float) -> None:
    assert run(name, "values", np.full((1, 1), z), np.full((1, 1), y), slope=True) == slope


@pytest.mark.parametrize("row", [row for row in losses.ROWS if not row.is_classifier], ids=lambda row: row.name)
def test_nan_in_a_prediction_reaches_the_loss(row: losses.Row) -> None:
    assert np.isnan(run(row.name, "values", np.full((1, 2), np.nan), np.ones((1, 2)))).all()


def test_a_distribution_of_zero_probability_costs_nothing() -> None:
    p, y = np.array([[0.0, 1.0]]), np.array([[0.0, 1.0]])
    assert run("cross_entropy", "distribution", p, y) == 0
    assert np.isfinite(run("cross_entropy", "distribution", p, y, slope=True)).all()


def test_the_promise_of_a_distribution_is_that_its_rows_sum_to_one() -> None:
    (fact,) = Network(input=3, layers=[dense(K)], loss="softmax_cross_entropy").gradient_program("distribution").facts
    assert evaluate(Program((fact,), (fact.tensor,)), {"y": DISTRIBUTION})["one"] == pytest.approx(
        np.ones(N), abs=1e-15
    )


def test_the_penalty_is_half_lambda_times_the_squares_of_weight_matrices_alone() -> None:
    network = Network(input=3, layers=[dense(2, {"name": "swish", "learned": ["beta"]}), dense(1)], l2=0.3)
    values = network.initial_parameters(1)
    given = {network.tensors[name].name: np.asarray(v) + 0.5 for name, v in values.items()}
    program = Program((*network.forward, *network.risk()), (Tensor("R"), Tensor("loss")))
    found = evaluate(program, {**given, "x": np.ones((2, 3)), "y": np.zeros((2, 1)), "lambda": 0.3})
    squares = sum((v**2).sum() for name, v in given.items() if name.startswith("W"))
    assert found["R"] - found["loss"] == pytest.approx(0.15 * squares, rel=1e-13)


def test_without_a_penalty_there_is_no_trace_of_one() -> None:
    network = Network(input=3, layers=[dense(1)])
    assert not network.hyper
    assert all(t.name not in ("penalty", "lambda") for t in network.gradient_program().tensors)
    assert Access(Tensor("loss")) in [e.rhs for e in network.risk()]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("squared_eror", {}),
        ("huber", {"delt": 1.0}),
        ("huber", {"delta": "1"}),
        ("squared_error", {"delta": 1.0}),
        ("", {"formula": "prediction - targt"}),
        ("", {"formula": "prediction", "weights": 1.0}),
    ],
)
def test_a_mistake_in_a_choice_is_refused(name: str, options: dict) -> None:
    with pytest.raises(SymnetError):
        losses.row(name, options, "network, loss")
