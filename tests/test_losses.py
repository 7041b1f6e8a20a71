"""Losses: each against its definition in NumPy, its gradient against the textbook, large net inputs."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from compiler.program import Access, Program, Tensor, size
from compiler.verify import verify
from symnet.declare import losses
from symnet.declare.checks import Choice
from symnet.declare.constructors import activation, equations, log_softmax, maxout, softmax
from symnet.declare.spec import dense
from symnet.differentiate import pullback
from symnet.errors import SymnetError
from symnet.formulation import loss_equations
from symnet.network import Network
from symnet.oracle.reference import evaluate
from symnet.oracle.reference_mp import complex_step_gradient, magnitudes
from symnet.run.plan import structure

from .tolerance import judge

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
COST1, COST0 = -np.log(SIGMOID), -np.log(1 - SIGMOID)
BINARY = (UNIT * COST1 + (1 - UNIT) * COST0).mean(1)
WEIGHTS = np.array([0.5, 2.0, 0.0, 1.5])
S = 0.1
COST = -np.log(np.exp(Z - np.log(np.exp(Z).sum(1, keepdims=True))))  # of each class, under softmax
ONE = np.array([0, 1, 1, 0, 1, 0])
BOTH = {"label_smoothing": S, "class_weights": tuple(WEIGHTS)}
VARIANCE = np.exp(Z[:, 2:])
CUBIC = {"formula": "c*abs(prediction - target)**3", "parameters": (("c", 0.5),)}


def probabilities(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def run(
    name: str, given: str, z: np.ndarray, y: np.ndarray, options: dict | None = None, slope: bool = False
) -> np.ndarray:
    """ell, or its adjoint by z, by the oracle."""
    prediction = Tensor("z", (size("N"), z.shape[1]), "input")
    options = options or {}
    row = losses.row(name, options, "loss")
    loss = loss_equations.build(row, options, prediction, given)
    program = Program(loss.equations, (loss.ell,), facts=loss.facts)
    if slope:
        swept = pullback(loss.equations, {loss.ell: 1}, [prediction])
        program = Program((*loss.equations, *swept.equations), (swept.adjoints[prediction],))
    verify(program)
    values = {**losses.hyper(options), **losses.constants(options), "sample_weight": 1 + np.arange(len(z))}
    return evaluate(program, {"z": z, "y": y, **values})[program.outputs[0].name]


def huber(d: np.ndarray, delta: float) -> np.ndarray:
    return np.where(np.abs(d) <= delta, d**2 / 2, delta * (np.abs(d) - delta / 2))


CASES = [
    ("softmax_cross_entropy", "labels", Z, LABELS, {}, -np.log(probabilities(Z)[range(N), LABELS])),
    ("softmax_cross_entropy", "distribution", Z, DISTRIBUTION, {}, -(DISTRIBUTION * np.log(probabilities(Z))).sum(1)),
    ("cross_entropy", "labels", PROBABILITIES, LABELS, {}, -np.log(PROBABILITIES[range(N), LABELS])),
    ("cross_entropy", "distribution", PROBABILITIES, ONE_HOT, {}, -(ONE_HOT * np.log(PROBABILITIES)).sum(1)),
    ("softmax_cross_entropy", "labels", Z, LABELS, {"label_smoothing": S},
     (((1 - S) * ONE_HOT + S / K) * COST).sum(1)),
    ("softmax_cross_entropy", "labels", Z, LABELS, {"class_weights": tuple(WEIGHTS)},
     (ONE_HOT * WEIGHTS * COST).sum(1)),
    ("softmax_cross_entropy", "labels", Z, LABELS, BOTH, (((1 - S) * ONE_HOT + S / K) * WEIGHTS * COST).sum(1)),
    ("softmax_cross_entropy", "distribution", Z, DISTRIBUTION, BOTH,
     (((1 - S) * DISTRIBUTION + S / K) * WEIGHTS * COST).sum(1)),
    ("cross_entropy", "labels", PROBABILITIES, LABELS, BOTH,
     -(((1 - S) * ONE_HOT + S / K) * WEIGHTS * np.log(PROBABILITIES)).sum(1)),
    ("cross_entropy", "distribution", PROBABILITIES, DISTRIBUTION, BOTH,
     -(((1 - S) * DISTRIBUTION + S / K) * WEIGHTS * np.log(PROBABILITIES)).sum(1)),
    ("cross_entropy", "labels", SIGMOID[:, :1], ONE, {}, np.where(ONE, COST1[:, 0], COST0[:, 0])),
    ("cross_entropy", "values", SIGMOID[:, :1], UNIT[:, :1], {},
     (UNIT * COST1 + (1 - UNIT) * COST0)[:, 0]),
    ("binary_cross_entropy", "labels", Z[:, :1], ONE, {}, np.where(ONE, COST1[:, 0], COST0[:, 0])),
    ("binary_cross_entropy", "labels", Z[:, :1], ONE, {"class_weights": (0.5, 2)},
     np.where(ONE, 2 * COST1[:, 0], 0.5 * COST0[:, 0])),
    ("binary_cross_entropy", "labels", Z[:, :1], ONE, {"label_smoothing": S},
     np.where(ONE, (1 - S / 2) * COST1[:, 0] + S / 2 * COST0[:, 0], (1 - S / 2) * COST0[:, 0] + S / 2 * COST1[:, 0])),
    ("binary_cross_entropy", "values", Z, UNIT, {"label_smoothing": S, "class_weights": (0.5, 2)},
     (2 * ((1 - S) * UNIT + S / 2) * COST1 + 0.5 * (1 - (1 - S) * UNIT - S / 2) * COST0).mean(1)),
    ("softmax_cross_entropy", "labels, weighted", Z, LABELS, BOTH,
     (1 + np.arange(N)) * (((1 - S) * ONE_HOT + S / K) * WEIGHTS * COST).sum(1)),
    ("squared_error", "values, weighted", Z, REAL, {}, (1 + np.arange(N)) * ((Z - REAL) ** 2).mean(1)),
    ("gaussian_nll", "values", Z, REAL[:, :2], {},
     ((Z[:, 2:] + (Z[:, :2] - REAL[:, :2]) ** 2 / VARIANCE) / 2).mean(1)),
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
    for k in range(z.shape[1]):
        step = np.eye(z.shape[1])[k] * h
        slope = (run(name, given, z + step, y, options) - run(name, given, z - step, y, options)) / (2 * h)
        np.testing.assert_allclose(found[:, k], slope, rtol=1e-6, atol=1e-8)


def test_the_gradient_of_softmax_cross_entropy_is_prediction_minus_target() -> None:
    np.testing.assert_allclose(
        run("softmax_cross_entropy", "labels", Z, LABELS, slope=True), probabilities(Z) - ONE_HOT, atol=1e-15
    )
    found = run("softmax_cross_entropy", "distribution", Z, DISTRIBUTION, slope=True)
    np.testing.assert_allclose(found, probabilities(Z) - DISTRIBUTION, atol=1e-15)


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
    y = LABELS if row.kind == losses.CLASSES else np.ones((N, K))
    for slope in (False, True):
        found = run(name, losses.targets(row, K)[0], z, y, slope=slope)
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
    assert np.isnan(run(row.name, "values", np.full((1, 2), np.nan), np.ones((1, losses.target_width(row, 2))))).all()


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


def test_penalties_of_layers_stand_in_for_those_of_the_network() -> None:
    layers = [
        dense(2, name="a", l2=0.5),
        dense(3, name="b", l2=0, l1=0.2),
        maxout(2, name="c"),
        dense(1, name="d", l1=0),
    ]
    network = Network(input=3, layers=layers, l2=0.3, l1=0.1)
    assert Network.from_toml(network.to_toml()) == network
    assert network.hyper == {"lambda": 0.3, "lambda_1": 0.1, "lambda_2_1": 0.5, "lambda_1_2": 0.2}
    given = {network.tensors[name].name: v + 0.1 for name, v in network.initial_parameters(1).items()}
    values = {**given, **network.hyper, "x": RNG.normal(size=(2, 3)), "y": np.zeros((2, 1))}
    strengths = {"W1": (0.5, 0.1), "W2": (0, 0.2), "W3": (0.3, 0.1), "W4": (0.3, 0)}
    penalty = sum(l2 / 2 * (given[w] ** 2).sum() + l1 * np.abs(given[w]).sum() for w, (l2, l1) in strengths.items())
    program = Program((*network.forward, *network.risk()), (Tensor("R"), Tensor("loss")))
    found = evaluate(program, values)
    assert found["R"] - found["loss"] == pytest.approx(penalty, rel=1e-12)
    plain = Network(input=3, layers=[dense(2), dense(3), maxout(2), dense(1)])
    one, other = (evaluate(n.gradient_program(), values) for n in (network, plain))
    for name, w in given.items():
        l2, l1 = strengths.get(name, (0, 0))
        np.testing.assert_allclose(one[f"d_{name}"] - other[f"d_{name}"], l2 * w + l1 * np.sign(w), atol=1e-14)
    verify(network.training_program("adam"))


def test_strengths_of_penalties_are_run_time_arguments() -> None:
    def text(l2: float, own: float | None) -> str:
        network = Network(input=2, layers=[dense(2, l1=own), dense(1)], l2=l2)
        return structure(network.spec, Choice("adam"))

    assert text(0.1, 0.2) == text(0.3, 0.4) != text(0.1, 0.0)
    assert len({text(0.1, 0.2), text(0.0, 0.2), text(0.1, None), text(0.0, None)}) == 4


@pytest.mark.parametrize("wrong", [{"l2": -1.0}, {"l1": "1"}, {"share": "a", "l1": 0.1}])
def test_wrong_strengths_are_refused(wrong: dict) -> None:
    with pytest.raises(SymnetError, match=r"l1|l2"):
        Network(input=3, layers=[dense(3, name="a"), dense(3, name="b", **wrong)])


def test_a_softmax_under_a_loss_that_has_its_own_is_warned_of() -> None:
    with pytest.warns(UserWarning, match="'softmax2' gives the outputs, but softmax_cross_entropy takes net inputs"):
        Network(input=3, layers=[dense(3), softmax()], loss="softmax_cross_entropy")
    with pytest.warns(UserWarning, match="binary_cross_entropy takes net inputs"):
        Network(input=3, layers=[dense(1, "logistic")], loss="binary_cross_entropy")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Network(input=3, layers=[dense(3), softmax()], loss="cross_entropy")
        Network(input=3, layers=[dense(3, "logistic")], loss="squared_error")


@pytest.mark.parametrize("last", [dense(3), dense(3, "relu"), maxout(3), activation("tanh"), log_softmax()])
def test_outputs_that_are_no_probabilities_under_cross_entropy_are_warned_of(last: object) -> None:
    with pytest.warns(UserWarning, match="takes probabilities, which these are not; put a softmax layer or a logistic"):
        Network(input=3, layers=[dense(3), last], loss="cross_entropy")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for fits in (dense(3, {"formula": "x**2/(1 + x**2)"}), dense(3, "hard_logistic"), equations("p[n,i] = x[n,i]")):
            Network(input=3, layers=[fits], loss="cross_entropy")


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
        ("huber", {"delta": 0.0}),
        ("huber", {"delta": -1}),
        ("squared_error", {"delta": 1.0}),
        ("", {"formula": "prediction - targt"}),
        ("", {"formula": "prediction", "weights": 1.0}),
        ("squared_error", {"label_smoothing": 0.1}),
        ("cross_entropy", {"label_smoothing": 1.0}),
        ("cross_entropy", {"label_smoothing": -0.1}),
        ("cross_entropy", {"class_weights": 2.0}),
        ("cross_entropy", {"class_weights": ()}),
        ("cross_entropy", {"class_weights": (1.0, -1.0)}),
        ("cross_entropy", {"class_weights": (0.0, 0.0)}),
        ("cross_entropy", {"class_weights": (1.0, "2")}),
        ("cross_entropy", {"class_weights": (1.0, float("nan"))}),
    ],
)
def test_a_mistake_in_a_choice_is_refused(name: str, options: dict) -> None:
    with pytest.raises(SymnetError):
        losses.row(name, options, "network, loss")


@pytest.mark.parametrize(
    ("layers", "loss"),
    [
        ([dense(4)], {"name": "softmax_cross_entropy", "class_weights": [1.0, 2.0]}),
        ([dense(1)], {"name": "binary_cross_entropy", "class_weights": [1.0]}),
        ([dense(3)], "gaussian_nll"),
    ],
)
def test_outputs_that_do_not_fit_the_loss_are_refused(layers: list, loss: object) -> None:
    with pytest.raises(SymnetError, match="network, loss"):
        Network(input=2, layers=layers, loss=loss)


# ------------------------------------------------------------------------------------------ cross_entropy, fused
@pytest.mark.parametrize("target", ["labels", "distribution"])
@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_cross_entropy_of_a_softmax_gives_the_numbers_of_softmax_cross_entropy(target: str, scale: float) -> None:
    fused = Network(input=3, layers=[dense(K, name="d"), softmax()], loss="cross_entropy")
    plain = Network(input=3, layers=[dense(K, name="d")], loss="softmax_cross_entropy")
    values = {"W1": scale * RNG.normal(size=(K, 3)), "b1": np.zeros(K), "x": RNG.normal(size=(N, 3))}
    values["y"] = LABELS if target == "labels" else DISTRIBUTION
    one, other = (evaluate(network.gradient_program(target), values) for network in (fused, plain))
    assert list(one) == list(other)
    for name, value in other.items():
        assert np.isfinite(value).all()
        np.testing.assert_array_equal(one[name], value)


def test_cross_entropy_of_a_logistic_output_gives_the_numbers_of_binary_cross_entropy() -> None:
    fused = Network(input=3, layers=[dense(1, "logistic")], loss="cross_entropy")
    plain = Network(input=3, layers=[dense(1)], loss="binary_cross_entropy")
    for target, y in (("labels", ONE), ("values", UNIT[:, :1])):
        values = {"W1": 1e3 * RNG.normal(size=(1, 3)), "b1": np.zeros(1), "x": RNG.normal(size=(N, 3)), "y": y}
        one, other = (evaluate(network.gradient_program(target), values) for network in (fused, plain))
        for name, value in other.items():
            assert np.isfinite(value).all()
            np.testing.assert_allclose(one[name], value, rtol=1e-13)
    assert fused.targets == plain.targets == ("labels", "values") and fused.classes == 2


def test_cross_entropy_of_logistic_outputs_is_the_chapters_sum() -> None:
    network = Network(input=K, layers=[activation("logistic")], loss="cross_entropy")
    found = evaluate(network.evaluation_program("distribution"), {"x": Z, "y": DISTRIBUTION})["loss_sum"]
    assert found == pytest.approx((DISTRIBUTION * COST1).sum(), rel=1e-13)
    far = evaluate(network.gradient_program("labels"), {"x": np.full((1, K), -1e3), "y": np.array([1])})
    assert far["R"] == pytest.approx(1e3)


@pytest.mark.parametrize(
    ("loss", "layers"),
    [
        ({"name": "softmax_cross_entropy", **BOTH}, [dense(3, "tanh"), dense(K)]),
        ({"name": "cross_entropy", **BOTH}, [dense(3, "tanh"), dense(K), softmax()]),
        ({"name": "cross_entropy", **BOTH}, [dense(K, "logistic")]),
        ({"name": "cross_entropy", "label_smoothing": S}, [dense(1, "logistic")]),
        ("cross_entropy", [dense(1, "logistic")]),
        ("cross_entropy", [dense(3, "tanh"), dense(K), softmax()]),
        ({"name": "binary_cross_entropy", "label_smoothing": S, "class_weights": (0.5, 2)}, [dense(1)]),
        ({"name": "binary_cross_entropy", "class_weights": (0.5, 2)}, [dense(2)]),
        ("gaussian_nll", [dense(3, "tanh"), dense(4)]),
    ],
)
@pytest.mark.parametrize("weighted", [losses.WEIGHTED, ""])
def test_gradients_of_weighted_and_smoothed_losses_hold_to_the_complex_step(
    loss: object, layers: list, weighted: str
) -> None:
    network = Network(input=2, layers=layers, loss=loss)
    for target in network.targets:
        values = {network.tensors[k].name: v for k, v in network.initial_parameters(1).items()}
        values |= {"x": RNG.normal(size=(3, 2)), "sample_weight": np.array([0.5, 0.0, 2.0])}
        values |= {**network.hyper, **network.constants}
        shape = (3, network.target_width)
        values["y"] = RNG.integers(0, network.classes, 3) if target == "labels" else RNG.random(shape)
        if target == "distribution":
            values["y"] /= values["y"].sum(1, keepdims=True)
        given = target + weighted
        risk, wrt = Tensor("R"), list(network.tensors.values())
        program = network.gradient_program(given)
        verify(program)
        found, scale = evaluate(program, values), magnitudes(program, values)
        forward = Program((*network.forward, *network.risk(given)), (risk,))
        reference = complex_step_gradient(forward, risk, wrt, values)
        for tensor, adjoint in zip(wrt, program.outputs[1:], strict=True):
            judge(tensor.name, found[adjoint.name], reference[tensor.name], scale[adjoint.name])


# ------------------------------------------------------------------------------------------ decisions
def test_a_binary_classifier_decides_between_two_labels() -> None:
    network = Network(input=2, layers=[dense(1)], loss="binary_cross_entropy")
    x = np.array([[3.0, 1.0], [-2.0, 0.0], [0.0, 0.0], [800.0, 0.0]])
    values = {"W1": np.array([[1.0, 2.0]]), "b1": np.zeros(1), "x": x}
    np.testing.assert_array_equal(evaluate(network.prediction_program("label"), values)["label"], [1, 0, 0, 1])
    p = evaluate(network.prediction_program("probabilities"), values)["p"]
    np.testing.assert_allclose(p[:, 1], 1 / (1 + np.exp(-x @ [1.0, 2.0])), rtol=1e-13)
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-15)
    given = {**values, "y": np.array([1, 1, 0, 0])}
    assert evaluate(network.evaluation_program("labels"), given)["correct"] == 2
    given["y"] = np.array([[0.9], [0.6], [0.4], [0.2]])
    assert evaluate(network.evaluation_program("values"), given)["correct"] == 2


def test_independent_outputs_decide_each_by_itself() -> None:
    network = Network(input=2, layers=[activation("identity")], loss="binary_cross_entropy")
    x = np.array([[3.0, -1.0], [-2.0, 0.5]])
    np.testing.assert_array_equal(evaluate(network.prediction_program(), {"x": x})["label"], [[1, 0], [0, 1]])
    found = evaluate(network.evaluation_program(), {"x": x, "y": np.array([[1.0, 1.0], [0.0, 1.0]])})
    assert found["correct"] == 1.5 and network.targets == ("values",)


def test_probabilities_of_one_output_decide_at_a_half() -> None:
    network = Network(input=1, layers=[activation("identity")], loss="cross_entropy")
    x = np.array([[0.2], [0.5], [0.7]])
    np.testing.assert_array_equal(evaluate(network.prediction_program(), {"x": x})["label"], [0, 0, 1])
    p = evaluate(network.prediction_program("probabilities"), {"x": x})["p"]
    np.testing.assert_allclose(p, np.hstack([1 - x, x]))
