"""From formula to code to value: model.trace, model.where, and `symnet check`."""

from __future__ import annotations

import numpy as np
import pytest

import symnet as sn
from symnet.cli import main
from symnet.look import gradient_check
from symnet.look.gradient_check import check


@pytest.fixture(scope="module")
def model() -> sn.Model:
    layers = [sn.dense(5, "tanh", name="hidden"), sn.dense(3, name="out")]
    network = sn.Network(input=4, layers=layers, loss="softmax_cross_entropy", l2=1e-2)
    return network.compile(dtype="float64", seed=3)


def test_a_trace_has_every_quantity_and_the_gradient_that_was_compiled(model: sn.Model) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(6, 4)), rng.integers(0, 3, 6)
    found = model.trace(X, y)
    p = model.parameters
    z1 = X @ p["hidden.W"].T + p["hidden.b"]
    np.testing.assert_allclose(found["z1"], z1, rtol=1e-14)
    np.testing.assert_allclose(found["a1"], np.tanh(z1), rtol=1e-14)
    risk, gradient = model.network.value_and_gradient(p, X, y)
    np.testing.assert_allclose(found["R"], risk, rtol=1e-14)
    for name, value in gradient.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-12, atol=1e-16)
    np.testing.assert_allclose(found["delta2"].mean(0), gradient["out.b"], rtol=1e-12, atol=1e-16)


def test_a_quantity_is_found_in_formula_shape_and_source(model: sn.Model) -> None:
    found = model.where("delta1")
    assert found.formula == "δ1 = (1 - a1²) ⊙ W2ᵀ δ2" and found.shape == ("N", "5")
    source = model.source.splitlines()
    assert found.lines and all(source[number - 1].strip() == text for number, text in found.lines)
    assert "# delta1[n,i] = " in found.lines[0][1]
    assert not any(" = M[" in text and text.endswith("# delta1[n,i]") and text[0] == "x" for _, text in found.lines)
    assert "no line of the source" in str(model.where("ell"))
    assert model.where("hidden.W").name == "d_W1"
    assert model.network.where("delta1").formula == found.formula
    with pytest.raises(sn.SymnetError, match=r"unknown quantity 'delta9'.*Did you mean"):
        model.where("delta9")


def test_a_right_gradient_passes_all_judges(model: sn.Model) -> None:
    rows = check(model.network)
    assert [row.name for row in rows] == list(model.network.parameters)
    assert all(row.is_right and max(row.errors.values()) < 1e-8 for row in rows)


def test_a_gradient_that_is_zero_but_for_rounding_is_right() -> None:
    layers = [sn.dense(2, name="before"), sn.batch_norm(), sn.dense(1)]  # batch norm takes the bias away again
    rows = {row.name: row for row in check(sn.Network(input=3, layers=layers, loss="squared_error"))}
    assert all(row.is_right for row in rows.values())
    assert rows["before.b"].errors["complex step"] < 1e-15


def test_kinks_between_the_steps_of_a_recurrence_are_kept_away_from() -> None:
    network = sn.Network([3, 2], [sn.elman(2, "leaky_relu"), sn.dense(1)], "squared_error")
    assert all(row.is_right for row in check(network, rows=2))


def test_a_wrong_gradient_of_a_deep_network_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = gradient_check.call
    layers = [sn.dense(2, "tanh", name="first"), *[sn.layer_norm(scale=False)] * 3, sn.dense(1)]
    network = sn.Network(2, layers, "squared_error")  # its first gradients are 1e-13, of magnitudes of 1e4
    assert all(row.is_right for row in check(network))

    def wrong(*arguments: object) -> dict[str, np.ndarray]:
        found = compiled(*arguments)
        return {**found, "d_W1": -found["d_W1"]}

    monkeypatch.setattr(gradient_check, "call", wrong)
    assert [row.name for row in check(network) if not row.is_right] == ["first.W"]


def test_a_wrong_gradient_is_found_and_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    compiled = gradient_check.call

    def wrong(*arguments: object) -> dict[str, np.ndarray]:
        found = compiled(*arguments)
        found["d_W2"][0, 0] *= 1 + 1e-5
        return found

    monkeypatch.setattr(gradient_check, "call", wrong)
    assert main(["check", "examples/xor.toml"]) == 1
    assert capsys.readouterr().out.endswith("wrong: out.W\n")
    monkeypatch.undo()
    assert main(["check", "examples/xor.toml"]) == 0
    assert capsys.readouterr().out.endswith("all right\n")


def test_the_source_of_a_spec_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["source", "examples/xor.toml"]) == 0
    assert "def kernel(table):" in capsys.readouterr().out
