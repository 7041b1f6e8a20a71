"""Several losses: weighted, auxiliary, with targets by name; parameters that layers share or are tied."""

from __future__ import annotations

import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compiler.calling import interpret
from compiler.program import Program, Tensor
from symnet.cli import main
from symnet.declare import losses
from symnet.declare.checks import Choice
from symnet.declare.constructors import dense, equations
from symnet.declare.heads import taken_apart
from symnet.errors import SymnetError
from symnet.kinds import KINDS
from symnet.network import Network
from symnet.notation.pages import latex_lines, show
from symnet.oracle.reference import evaluate
from symnet.oracle.reference_mp import complex_step_gradient, magnitudes
from symnet.run.data import check_data
from symnet.run.model_file import load
from symnet.run.plan import structure
from symnet.run.tables import load_weights

from .tolerance import judge

STORED = np.load(Path(__file__).parent / "values" / "heads.npz")
RNG = np.random.default_rng(4)
N = 60
X = RNG.normal(size=(N, 3))
Y = {"digit": X.argmax(1), "angle": X[:, :2] ** 2}
LOSSES: dict[str, Any] = {
    "digit": "softmax_cross_entropy",
    "angle": {"name": "squared_error", "weight": 0.1},
    "early": {"name": "softmax_cross_entropy", "weight": 0.3, "target": "digit"},
}


def layers() -> list[Any]:
    return [
        dense(4, "tanh", name="body"),
        dense(3, name="early"),
        dense(5, "tanh", name="deep", inputs=["body"]),
        dense(3, name="digit"),
        dense(2, name="angle", inputs=["deep"]),
    ]


@pytest.fixture(scope="module")
def network() -> Network:
    return Network(input=3, layers=layers(), losses=LOSSES)


@pytest.fixture(scope="module")
def trained(network: Network) -> Any:
    model = network.compile({"name": "adam", "learning_rate": 0.03}, "float64")
    return model, model.fit(X, Y, epochs=30, batch_size=16, validation_data=(X, Y))


def stored(case: str, kind: str) -> dict[str, np.ndarray]:
    """The parameters of a case, or their gradients, by name."""
    start = f"{case}/{kind}/"
    return {name.removeprefix(start): STORED[name] for name in STORED.files if name.startswith(start)}


def named(network: Network, parameters: Any) -> dict[str, Any]:
    """Parameters and hyper-parameters by the names of tensors."""
    return {t.name: parameters[name] for name, t in network.tensors.items()} | dict(network.hyper)


def by_the_oracle(program: Program, values: Any) -> dict[str, Any]:
    return evaluate(program, values, {"N": len(values["x"])})


def by_the_loops(program: Program, values: Any) -> dict[str, Any]:
    return interpret(program, values, {"N": len(values["x"])}, plain=False)


def gradients_of(
    network: Network, parameters: Any, x: Any, y: Any, weights: Any = None, run: Any = by_the_oracle
) -> dict[str, Any]:
    """R and the gradients by the names of parameters."""
    data = check_data(network, x, y, "float64", weights=weights)
    program = network.gradient_program(data.given)
    found = run(program, {**named(network, parameters), **network.constants, **data.arrays})
    return {"R": found["R"]} | {
        name: found[t.name] for name, t in zip(network.tensors, program.outputs[1:], strict=True)
    }


def sums_of(
    network: Network, parameters: Any, x: Any, y: Any, weights: Any = None, run: Any = by_the_oracle
) -> dict[str, Any]:
    """Losses and hits, summed over the samples."""
    data = check_data(network, x, y, "float64", weights=weights)
    return run(network.evaluation_program(data.given), {**named(network, parameters), **data.arrays})


# ------------------------------------------------------------------------------------------ the equations
def test_the_gradient_is_the_weighted_sum_of_the_gradients_of_each_loss_alone(network: Network) -> None:
    parameters = {name: v + 0.1 for name, v in network.initial_parameters(1).items()}
    joint = gradients_of(network, parameters, X, Y)
    weights = {"digit": 1.0, "angle": 0.1, "early": 0.3}
    summed = {name: np.zeros_like(v) for name, v in joint.items()}
    for head, weight in weights.items():
        kept = [
            layer for layer in layers() if layer.name in ("body", head) or (layer.name == "deep" and head != "early")
        ]
        kept[-1] = replace(kept[-1], inputs=(kept[-2].name,))
        loss = "squared_error" if head == "angle" else "softmax_cross_entropy"
        alone = Network(input=3, layers=kept, loss=loss)
        for name, value in gradients_of(alone, parameters, X, Y["angle" if head == "angle" else "digit"]).items():
            summed[name] = summed[name] + weight * value
    for name, value in joint.items():
        np.testing.assert_allclose(value, summed[name], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("target", "weights"), [("labels", ""), ("labels", losses.BY_POSITION), ("distribution", losses.WEIGHTED)]
)
def test_joint_gradients_over_positions_hold_to_the_complex_step_and_the_loops_make_them(
    target: str, weights: str
) -> None:
    network = Network(input=[2, 3], layers=layers(), losses=LOSSES, l2=0.1)
    given = {"digit": target + weights, "angle": "values"}
    values = {network.tensors[k].name: v + 0.1 for k, v in network.initial_parameters(1).items()}
    values |= {**network.hyper, "x": RNG.normal(size=(2, 2, 3)), "y_angle": RNG.normal(size=(2, 2, 2))}
    values["y_digit"] = RNG.integers(0, 3, (2, 2)) if target == "labels" else RNG.dirichlet(np.ones(3), (2, 2))
    values["sample_weight_digit"] = RNG.random((2, 2) if weights == losses.BY_POSITION else 2)
    assert set(network.hyper) == {"lambda", "weight_angle", "weight_early"}
    program, risk, wrt = network.gradient_program(given), Tensor("R"), list(network.tensors.values())
    found, scale = evaluate(program, values), magnitudes(program, values)
    looped = interpret(program, values, {"N": 2}, plain=False)
    reference = complex_step_gradient(Program((*network.forward, *network.risk(given)), (risk,)), risk, wrt, values)
    for tensor, adjoint in zip(wrt, program.outputs[1:], strict=True):
        for which in (found, looped):
            judge(tensor.name, which[adjoint.name], reference[tensor.name], scale[adjoint.name])


def tags() -> tuple[Network, np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The network of the stored case, its data and the weights of positions."""
    heads = {
        "tag": {"name": "softmax_cross_entropy", "label_smoothing": 0.1},
        "value": {"name": "squared_error", "weight": 0.7},
        "early": {"name": "softmax_cross_entropy", "weight": 0.3, "target": "tag"},
    }
    made = [
        dense(4, "tanh", name="body"),
        dense(6, name="early"),
        dense(4, "tanh", name="deep", inputs=["body"]),
        dense(6, name="tag"),
        dense(2, name="value", inputs=["deep"]),
    ]
    y = {"tag": STORED["tags/labels"], "value": STORED["tags/values"]}
    return Network(input=[5, 3], layers=made, losses=heads), STORED["tags/X"], y, {"tag": STORED["tags/mask"]}


def test_losses_and_gradients_are_those_of_pytorch() -> None:
    network, inputs, y, mask = tags()
    parameters = stored("tags", "start")
    for run in (by_the_oracle, by_the_loops):
        found = gradients_of(network, parameters, inputs, y, mask, run)
        assert found["R"] == pytest.approx(float(STORED["tags/loss/"]), rel=1e-13)
        for name, expected in stored("tags", "gradient").items():
            np.testing.assert_allclose(found[name], expected, rtol=1e-10, atol=1e-12, err_msg=name)
        sums = sums_of(network, parameters, inputs, y, mask, run)
        for head in network.outputs:
            assert sums[f"loss_sum_{head}"] / len(inputs) == pytest.approx(
                float(STORED[f"tags/loss/{head}"]), rel=1e-13
            )
    p = by_the_oracle(network.prediction_program("values"), {**named(network, parameters), "x": inputs})
    hits = (p["z4"].argmax(-1) == y["tag"]) * (mask["tag"] == 1)
    assert sums["correct_tag"] == pytest.approx(hits.sum() / 5, rel=1e-12)


def test_formulas_of_several_losses_name_each(network: Network) -> None:
    text = show(network)
    assert "ℓ = ℓ_digit + weight_angle ℓ_angle + weight_early ℓ_early" in text
    assert "δ4 = softmax(z4) - onehot(y_digit)" in text and "δ5 = weight_angle (z5 - y_angle)" in text
    assert "δ2 = weight_early (softmax(z2) - onehot(y_digit))" in text
    risk = Program((*network.forward, *network.risk()), (Tensor("R"),))
    assert r"\ell_{\mathrm{digit}}" in "".join(latex_lines(risk))
    values = network.initial_parameters(0)
    for y in (Y, {**Y, "digit": np.eye(3)[Y["digit"]]}):
        found = network.gradient("body.W").evaluate(values, X, y)
        np.testing.assert_allclose(gradients_of(network, values, X, y)["body.W"], found, 1e-12, 1e-15)


def test_values_of_weights_are_run_time_arguments() -> None:
    def text(weight: float | None) -> str:
        given = {**LOSSES, "angle": {"name": "squared_error"} | ({} if weight is None else {"weight": weight})}
        return structure(Network(input=3, layers=layers(), losses=given).spec, Choice("adam"))

    assert text(0.1) == text(7.0) == text(1.0) != text(None)


# ------------------------------------------------------------------------------------------ a model
def test_every_loss_is_reported_by_name(trained: Any) -> None:
    model, history = trained
    found = model.evaluate(X, Y)
    heads = ["digit", "angle", "early"]
    assert list(found) == ["loss", "digit.loss", "digit.accuracy", "angle.loss", "early.loss", "early.accuracy"]
    joint = found["digit.loss"] + 0.1 * found["angle.loss"] + 0.3 * found["early.loss"]
    assert found["loss"] == pytest.approx(joint, rel=1e-12)
    last = history[-1]
    assert last.accuracy is None and last.validation_loss == pytest.approx(found["loss"], rel=1e-12)
    for head in heads:
        assert last.parts[f"{head}.validation_loss"] == pytest.approx(found[f"{head}.loss"], rel=1e-12)
        assert history[f"{head}.loss"][-1] == last.parts[f"{head}.loss"] < history[f"{head}.loss"][0]
    of_batches = last.parts["digit.loss"] + 0.1 * last.parts["angle.loss"] + 0.3 * last.parts["early.loss"]
    assert last.loss == pytest.approx(of_batches, rel=1e-12)
    assert history["early.accuracy"][-1] == found["early.accuracy"] and "angle.accuracy" not in last.parts
    assert "digit.accuracy" in str(last)
    with pytest.raises(SymnetError, match=r"unknown column 'digit\.los'.*Did you mean 'digit\.loss'"):
        history["digit.los"]


def test_predictions_are_dicts_by_the_names_of_the_losses(trained: Any) -> None:
    model, _ = trained
    labels, p = model.predict(X), model.predict_proba(X)
    assert {name: v.shape for name, v in labels.items()} == {"digit": (N,), "angle": (N, 2), "early": (N,)}
    assert {name: v.shape for name, v in p.items()} == {"digit": (N, 3), "early": (N, 3)}
    np.testing.assert_array_equal(labels["digit"], p["digit"].argmax(1))
    np.testing.assert_array_equal(labels["angle"], model.transform(X, "angle"))
    assert (labels["digit"] == Y["digit"]).mean() == pytest.approx(model.evaluate(X, Y)["digit.accuracy"])


def test_a_model_with_several_losses_goes_on_from_its_file(network: Network, tmp_path: Path) -> None:
    model = network.compile("adam", seed=3)
    loop = model.prepare(X, Y, batch_size=16)
    loop.run(6)  # in the middle of an epoch
    assert len(model.progress.part_sums) == 3 and all(model.progress.part_sums)
    model.save(tmp_path / "model.safetensors")
    other = load(tmp_path / "model.safetensors")
    assert other.network == network and other.progress == model.progress
    one, two = (m.fit(X, Y, epochs=2, batch_size=16) for m in (model, other))
    assert [(e.loss, dict(e.parts)) for e in one] == [(e.loss, dict(e.parts)) for e in two]
    assert all(np.array_equal(value, other.parameters[name]) for name, value in model.parameters.items())


@pytest.mark.parametrize("monitor", ["digit.accuracy", "angle.loss", "loss"])
def test_training_ends_by_any_of_the_losses(network: Network, monitor: str) -> None:
    model = network.compile({"name": "adam", "learning_rate": 0.2}, "float64", seed=2)
    history = model.fit(X, Y, 40, 16, validation_split=0.3, patience=3, restore_best=True, monitor=monitor)
    name = {"loss": "validation_loss", "angle.loss": "angle.validation_loss"}.get(monitor, monitor)
    values = np.array(history[name]) * (1 if "accuracy" in monitor else -1)
    assert history.best == int(values.argmax()) and history.stopped == "patience"
    with pytest.raises(SymnetError, match=r"'angle\.accuracy'.*Only a classifier has an accuracy"):
        model.fit(X, Y, validation_split=0.3, patience=3, monitor="angle.accuracy")


def test_two_losses_may_judge_one_layer() -> None:
    given = {
        "middle": {"name": "squared_error", "layer": "out"},
        "edge": {"formula": "abs(prediction - target)", "layer": "out", "weight": 2.0, "target": "middle"},
    }
    network = Network(input=3, layers=[dense(2, name="out")], losses=given)
    assert Network.from_toml(network.to_toml()) == network
    parameters, y = network.initial_parameters(0), RNG.normal(size=(N, 2))
    for run in (by_the_oracle, by_the_loops):
        program = network.prediction_program()
        assert network.predicted() == ("middle", "edge") and len(program.outputs) == 2
        found = run(program, {**named(network, parameters), "x": X})
        middle, edge = (found[t.name] for t in program.outputs)
        np.testing.assert_array_equal(middle, edge)
        expected = ((middle - y) ** 2).mean() + 2 * np.abs(middle - y).mean()
        sums = sums_of(network, parameters, X, {"middle": y}, run=run)
        assert sums["loss_sum"] / N == pytest.approx(expected, rel=1e-12)


def test_one_loss_by_name_is_the_loss_without() -> None:
    by_name = Network(input=3, layers=[dense(3, name="out")], losses={"out": "softmax_cross_entropy"})
    plain = Network(input=3, layers=[dense(3, name="out")], loss="softmax_cross_entropy")
    values = plain.initial_parameters(1)
    one = gradients_of(by_name, values, X, {"out": Y["digit"]})
    for name, value in gradients_of(plain, values, X, Y["digit"]).items():
        np.testing.assert_array_equal(one[name], value)


# ------------------------------------------------------------------------------------------ TOML, files, the command
def test_several_losses_are_a_table_of_the_spec(network: Network) -> None:
    text = network.to_toml()
    assert Network.from_toml(text) == network
    assert tomllib.loads(text)["network"]["losses"] == LOSSES


def test_the_command_trains_on_an_npz_file_of_several_targets(
    network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "data.npz", X=X, **Y)
    spec = tmp_path / "heads.toml"
    stopping = '{ patience = 50, monitor = "digit.accuracy" }'
    train = '[train]\ndata = "data.npz"\nepochs = 3\nvalidation_split = 0.2\nearly_stopping = ' + stopping
    spec.write_text(f"{network.to_toml()}\n{train}\n")
    assert main(["train", str(spec)]) == 0
    text = capsys.readouterr().out
    assert "digit.accuracy" in text.splitlines()[-3] or "test loss" in text
    np.savetxt(tmp_path / "new.csv", X[:2], delimiter=",")
    assert main(["predict", str(tmp_path / "heads.safetensors"), str(tmp_path / "new.csv")]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.count(",") == second.count(",") == 3  # digit, two values, early
    assert main(["show", str(spec)]) == 0
    np.savez(tmp_path / "data.npz", X=X, digit=Y["digit"])
    assert main(["train", str(spec)]) == 2
    assert "expected arrays named X and digit, angle" in capsys.readouterr().err


def test_the_command_takes_the_weights_of_positions_from_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sequences, labels = RNG.normal(size=(40, 4, 2)), RNG.integers(0, 2, (40, 4))
    mask = (np.arange(4) < RNG.integers(1, 5, (40, 1))).astype(float)
    network = Network(input=[4, 2], layers=[dense(2, name="tag")], loss="softmax_cross_entropy")
    spec = tmp_path / "tags.toml"
    spec.write_text(f'{network.to_toml()}\n[train]\ndata = "data.npz"\nepochs = 2\nscale = "none"\n')
    found = []
    for other in (labels, np.where(mask == 1, labels, 1 - labels)):
        np.savez(tmp_path / "data.npz", X=sequences, y=other, sample_weight=mask)
        assert main(["train", str(spec)]) == 0
        found.append(load(tmp_path / "tags.safetensors").parameters["tag.W"])
    np.testing.assert_array_equal(*found)  # what is masked does not count
    np.savez(tmp_path / "data.npz", X=sequences, y=labels, sample_weight=-mask)
    assert main(["train", str(spec)]) == 2
    assert "sample_weight[0, 0]: found -1.0" in capsys.readouterr().err
    by_target = tmp_path / "named.npz"
    np.savez(by_target, sample_weight_tag=mask)
    named_loss = Network(input=[4, 2], layers=[dense(2, name="tag")], losses={"tag": "softmax_cross_entropy"})
    np.testing.assert_array_equal(load_weights(named_loss, by_target)["tag"], mask)  # type: ignore[index]
    assert load_weights(network, by_target) is None


# ------------------------------------------------------------------------------------------ mistakes
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"network, losses: found \{\}"),
        ("squared_error", "network, losses: found 'squared_error', expected a table"),
        ({"digits": "squared_error", "early": "squared_error"}, r"unknown layer 'digits'.*Did you mean 'digit'"),
        ({"digit": "squared_eror"}, "network, losses, digit: found the unknown loss"),
        ({"digit": {"name": "squared_error", "weight": -1}}, "losses, digit, weight: found -1"),
        ({"digit": {"name": "squared_error", "target": "y"}}, "losses, digit, target: found the unknown target 'y'"),
        ({"digit": {"name": "squared_error", "layer": "y"}}, "losses, digit, layer: found the unknown layer 'y'"),
        ({**LOSSES, "early": {"name": "squared_error", "target": "digit"}}, "losses, early, target: found labels of 3"),
        ({**LOSSES, "angle": {"name": "squared_error", "target": "early"}}, "unknown target 'early'"),
        ({"digit": "softmax_cross_entropy", "early": "softmax_cross_entropy"}, "'angle': found no layer that reads it"),
    ],
)
def test_losses_that_do_not_fit_are_refused(given: Any, message: str) -> None:
    with pytest.raises(SymnetError, match=message):
        Network(input=3, layers=layers(), losses=given)


def test_one_loss_or_several() -> None:
    with pytest.raises(SymnetError, match="both 'loss' and 'losses'"):
        Network(input=3, layers=layers(), loss="squared_error", losses=LOSSES)
    with pytest.raises(SymnetError, match="several losses"):
        _ = Network(input=3, layers=layers(), losses=LOSSES).targets


@pytest.mark.parametrize(
    ("y", "weights", "message"),
    [
        (Y["digit"], None, r"y: found a ndarray, expected a dict of arrays with the keys digit, angle"),
        ({"digit": Y["digit"]}, None, "y: found no 'angle'"),
        ({**Y, "early": Y["digit"]}, None, "unknown target 'early'"),
        ({**Y, "digit": Y["digit"] + 1}, None, r"y\['digit'\]\[\d+\]: found 3, expected labels from 0 to 2"),
        ({**Y, "angle": Y["angle"][:5]}, None, r"y\['angle'\]: found 5 rows, expected 60 rows"),
        (Y, {"digit": -np.ones(N)}, r"sample_weight\['digit'\]\[0\]: found -1"),
        (Y, {"digits": np.ones(N)}, "unknown target 'digits'"),
        (Y, np.ones(5), r"sample_weight: found an array of shape \(5,\)"),
    ],
)
def test_targets_and_weights_of_several_losses_are_checked(
    network: Network, y: Any, weights: Any, message: str
) -> None:
    with pytest.raises(SymnetError, match=message):
        network.compile().evaluate(X, y, weights)


def test_weights_are_of_all_targets_or_of_some(network: Network) -> None:
    parameters, w = network.initial_parameters(0), RNG.random(N)
    whole, none, some = (sums_of(network, parameters, X, Y, weights) for weights in (w, None, {"digit": w}))
    assert some["loss_sum_digit"] == whole["loss_sum_digit"] and some["loss_sum_early"] == whole["loss_sum_early"]
    assert some["loss_sum_angle"] == none["loss_sum_angle"] != whole["loss_sum_angle"]


def test_how_targets_are_given_is_one_text(network: Network) -> None:
    outputs = network.spec.outputs
    text = network.given({"digit": "distribution, weighted"})
    assert text == "digit: distribution, weighted; angle: values" == network.given(text)
    assert taken_apart(outputs, None) == {"digit": "labels", "angle": "values"}
    with pytest.raises(SymnetError, match="unknown kind of target 'values'"):
        network.given({"digit": "values"})


# ------------------------------------------------------------------------------------------ shared and tied parameters
def autoencoder(**options: Any) -> Network:
    """The decoder has the transposed table of the encoder."""
    up = equations(
        "z[n,i] = sum(V[j,i]*x[n,j], j) + c[i]",
        parameters={"V": ["j", "i"], "c": ["i"]},
        sizes={"i": 5},
        name="up",
        **options,
    )
    return Network(input=5, layers=[dense(3, "tanh", name="down"), up], l2=0.05)


def test_a_tied_parameter_is_one_parameter_and_its_uses_add_up() -> None:
    network, inputs = autoencoder(tie={"V": "down.W"}), STORED["tied/X"]
    assert list(network.parameters) == ["down.W", "down.b", "up.c"]
    assert Network.from_toml(network.to_toml()) == network and 'tie = { V = "down.W" }' in network.to_toml()
    parameters = stored("tied", "start")
    gradient = gradients_of(network, parameters, inputs, inputs)
    assert gradient["R"] == pytest.approx(float(STORED["tied/loss/"]), rel=1e-13)  # with the penalty of W, once
    for name, expected in stored("tied", "gradient").items():
        np.testing.assert_allclose(gradient[name], expected, rtol=1e-10, atol=1e-12, err_msg=name)
    apart = {**parameters, "up.V": parameters["down.W"]}
    separate = gradients_of(autoencoder(), apart, inputs, inputs)
    summed = separate["down.W"] + separate["up.V"] - 0.05 * parameters["down.W"]  # there, two penalties
    np.testing.assert_allclose(gradient["down.W"], summed, rtol=1e-12, atol=1e-14)


def test_a_model_holds_a_tied_parameter_once(tmp_path: Path) -> None:
    network, inputs = autoencoder(tie={"V": "down.W"}), STORED["tied/X"]
    model = network.compile("adam", "float64")
    history = model.fit(inputs, inputs, 30)
    assert history[-1].loss < history[0].loss and list(model.parameters) == ["down.W", "down.b", "up.c"]
    model.save(tmp_path / "tied.safetensors")
    np.testing.assert_array_equal(load(tmp_path / "tied.safetensors").predict(inputs), model.predict(inputs))
    p = model.parameters
    expected = np.tanh(inputs @ p["down.W"].T + p["down.b"]) @ p["down.W"] + p["up.c"]
    np.testing.assert_allclose(model.predict(inputs), expected, rtol=1e-12)


def test_ties_reach_through_shared_layers_and_other_ties() -> None:
    made = [
        dense(4, name="a"),
        dense(4, name="b", share="a"),
        dense(4, name="c", tie={"W": "b.W"}),
        dense(4, name="d", tie={"W": "c.W", "b": "a.b"}),
        dense(4, name="e", share="d"),
    ]
    network = Network(input=4, layers=made)
    assert list(network.parameters) == ["a.W", "a.b", "c.b"]
    x, W, b, c = RNG.normal(size=(6, 4)), *RNG.normal(size=(4, 4, 4))[:1], *RNG.normal(size=(2, 4))
    expected = x
    for bias in (b, b, c, b, b):
        expected = expected @ W.T + bias
    found = by_the_oracle(network.prediction_program(), {"x": x, "W1": W, "b1": b, "b3": c})
    np.testing.assert_allclose(found["z5"], expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("last", "message"),
    [
        (dense(4, name="b", tie={"W": "a.V"}), r"layer 'b', tie: found the unknown parameter 'a\.V'"),
        (dense(4, name="b", tie={"V": "a.W"}), "layer 'b', tie: found the unknown parameter 'V'"),
        (dense(3, name="b", tie={"W": "a.W"}), r"tie, W: found a\.W of shape \(4, 4\), expected the shape \(3, 4\)"),
        (dense(4, name="b", tie={"W": "b.W"}), "tied to no other"),
        (dense(4, name="b", share="a", tie={"W": "a.W"}), "Its parameters are those of 'a'"),
        (dense(4, name="b", tie={"W": "a.W"}, initializer="zeros"), r"Its W is a\.W"),
    ],
)
def test_ties_that_do_not_fit_are_refused(last: Any, message: str) -> None:
    with pytest.raises(SymnetError, match=message):
        Network(input=4, layers=[dense(4, name="a"), last])


def test_what_can_be_shared_can_be_tied() -> None:
    for kind in KINDS.values():
        keys = {f.metadata.get("key", f.name) for f in fields(kind)}  # type: ignore[arg-type]
        assert ("share" in keys) == ("tie" in keys), kind


@pytest.mark.parametrize("wrong", ["a.W", {"W": "a"}, {"W": 3}])
def test_a_tie_is_a_table_of_names(wrong: Any) -> None:
    with pytest.raises(SymnetError, match="tie"):
        dense(4, tie=wrong)
