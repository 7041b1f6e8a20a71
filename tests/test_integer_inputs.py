"""Inputs of integers: declared, checked at the door, read in subscripts and conditions, trained on, kept in files."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import symnet as sn
from symnet import cli
from symnet.declare.spec import checked_optimizer, specify
from symnet.run import memory
from symnet.run.tables import load_data

# the mean of the first length[n] of the gathered rows
POOLED = {
    "kind": "equations",
    "inputs": ["ids", "length"],
    "parameters": {"E": {"shape": [7, 4], "initializer": "glorot_uniform"}},
    "equations": [
        "e[n,t,k] = E[ids[n,t],k]",
        "z[n,k] = sum(e[n,t,k], t, t < length[n])",
    ],
}
INPUTS = {"ids": {"shape": [5], "below": 7}, "length": {"shape": [], "below": 6}}


def network() -> sn.Network:
    return sn.Network(inputs=INPUTS, layers=[POOLED, sn.dense(3, name="out")], loss="softmax_cross_entropy")


def data(rows: int = 60, seed: int = 0) -> tuple[dict[str, Any], Any]:
    rng = np.random.default_rng(seed)
    ids, length = rng.integers(0, 7, (rows, 5)), rng.integers(1, 6, rows)
    seen = [(ids[n, : length[n]] == 3).sum() for n in range(rows)]
    return {"ids": ids, "length": length}, np.minimum(seen, 2)


def refused(call: Any, *words: str) -> None:
    with pytest.raises(sn.SymnetError) as caught:
        call()
    for word in words:
        assert word in str(caught.value)


# ---------------------------------------------------------------------------------------------- declaring
def test_a_network_with_integers_goes_through_toml_pickle_and_copy() -> None:
    net = network()
    text = net.to_toml()
    assert "length = { shape = [], below = 6 }" in text
    again = sn.Network.from_toml(text)
    assert again == net and again.spec.integers == {"ids": 7, "length": 6}
    assert pickle.loads(pickle.dumps(net)) == copy.deepcopy(net) == net
    other = text.replace("below = 7", "below = 8")
    assert sn.Network.from_toml(other) != net
    assert "ids 5 integers below 7, length 1 integers below 6" in repr(net)


def test_the_only_input_may_be_of_integers() -> None:
    layer = {"kind": "equations", "parameters": {"E": [9, 2]}, "equations": ["z[n,k] = sum(E[x[n,t],k], t)"]}
    net = sn.Network(input={"shape": [3], "below": 9}, layers=[layer], loss="squared_error")
    assert "input = { shape = [3], below = 9 }" in net.to_toml()
    assert sn.Network.from_toml(net.to_toml()) == net
    model = net.compile("gradient_descent", "float64")
    found = model.predict(np.array([[0, 8, 8]]))
    E = model.parameters["equations1.E"]
    np.testing.assert_allclose(found, [E[0] + 2 * E[8]], rtol=1e-14)
    assert sn.Network(input={"shape": [3]}, layers=[sn.dense(1)]) == sn.Network(input=3, layers=[sn.dense(1)])


def test_what_is_declared_wrong_is_refused() -> None:
    def declare(given: Any) -> Any:
        return lambda: sn.Network(inputs={"ids": given}, layers=[sn.dense(1)], loss="squared_error")

    refused(declare({"shape": [3], "below": 0}), "below", "an integer from 1")
    refused(declare({"shape": [3], "under": 4}), "unknown key 'under'", "shape, below")
    refused(declare({"below": 4}), "no key 'shape'")
    refused(declare({"shape": []}), "from 1 to 6 sizes", "'below'")
    refused(declare({"shape": [3], "below": 4}), "layer 'dense1', inputs", "found integers", "real numbers")


def test_every_kind_that_needs_real_numbers_refuses_integers() -> None:
    layers: list[Any] = [
        sn.dense(2), sn.maxout(2), sn.activation("tanh"), sn.softmax(), sn.log_softmax(), sn.dropout(),
        sn.flatten(), sn.reshape(3), sn.layer_norm(), sn.rms_norm(),
    ]  # fmt: skip
    for layer in layers:
        refused(lambda layer=layer: specify({"shape": [3], "below": 4}, [layer], "squared_error"), "found integers")


# ---------------------------------------------------------------------------------------------- the door for data
def test_integers_out_of_range_are_named_by_array_index_and_value() -> None:
    model = network().compile("adam")
    X, y = data(8)
    for value in (-1, 7, 2**40):
        wrong = X["ids"].copy()
        wrong[6, 2] = value
        refused(lambda wrong=wrong: model.fit({**X, "ids": wrong}, y), "X['ids'][6, 2]", str(value), "from 0 to 6")
    refused(lambda: model.predict({**X, "length": np.full(8, 6)}), "X['length'][0]", "found 6", "from 0 to 5")
    unsigned = np.full(8, 2**64 - 1, np.uint64)
    refused(lambda: model.predict({**X, "length": unsigned}), "X['length'][0]", "from 0 to 5")


def test_shapes_and_dtypes_of_integers_are_checked() -> None:
    model = network().compile("adam")
    X, y = data(8)
    refused(lambda: model.fit({**X, "ids": X["ids"][:, :4]}, y), "shape (8, 4)", "(n, 5)")
    refused(lambda: model.fit({**X, "length": X["ids"]}, y), "shape (8, 5)", "one for each sample")
    refused(lambda: model.fit({**X, "ids": X["ids"].astype(float)}, y), "float64", "astype(int)")
    small = {"ids": X["ids"].astype(np.uint8), "length": X["length"][:, None].astype(np.int16)}
    np.testing.assert_array_equal(model.predict(small), model.predict(X))


# ---------------------------------------------------------------------------------------------- running
def test_conditions_and_subscripts_read_integers() -> None:
    net, (X, y) = network(), data(9)
    parameters = net.initial_parameters(1)
    model = net.compile("adam", "float64")
    model.parameters.update(parameters)
    E = parameters["equations1.E"]
    expected = [E[ids[:length]].sum(0) for ids, length in zip(X["ids"], X["length"], strict=True)]
    np.testing.assert_allclose(model.transform(X, "equations1"), expected, rtol=1e-13)
    _, gradients = net.value_and_gradient(parameters, X, y)
    for name, gradient in gradients.items():
        reference = net.gradient(name).evaluate(parameters, X, y)
        np.testing.assert_allclose(gradient, reference, rtol=0, atol=1e-13)


def test_training_with_shuffling_batches_and_validation_learns_to_count() -> None:
    X, y = data(300)
    model = network().compile({"name": "adam", "learning_rate": 0.03}, seed=1)
    history = model.fit(X, y, epochs=40, batch_size=32, validation_data=data(100, 1))
    assert history[-1].accuracy is not None and history[-1].accuracy > 0.97
    assert (model.predict(X) == y).mean() > 0.97


def test_scaling_leaves_integers_alone_and_files_keep_the_model(tmp_path: Path) -> None:
    X, y = data(30)
    rng = np.random.default_rng(2)
    net = sn.Network(
        inputs={**INPUTS, "age": [2]},
        layers=[POOLED, sn.concat("equations1", "age"), sn.dense(3)],
        loss="softmax_cross_entropy",
    )
    given = {**X, "age": 5 + rng.normal(size=(30, 2))}
    model = net.compile("adam")
    model.scale(given)
    assert list(model.scaling) == ["x_age"]
    model.fit(given, y, epochs=2, batch_size=7)
    model.save(tmp_path / "model.safetensors")
    again = sn.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(again.predict_proba(given), model.predict_proba(given))
    assert net.explain("equations1.E").check() < 1e-12


def test_memory_of_integers_is_counted() -> None:
    short, long = (
        specify({"shape": [n], "below": 9}, [{**POOLED, "inputs": ["x"], "equations": "z[n,k] = E[x[n,0],k]"}], "mse")
        for n in (1, 1001)
    )
    adam = checked_optimizer("adam", "here")
    assert memory.estimate(long, adam, 4) - memory.estimate(short, adam, 4) == 2 * 32 * 1000 * 4


# ---------------------------------------------------------------------------------------------- files of data
def test_tables_hold_integers_as_columns(tmp_path: Path, capsys: Any) -> None:
    X, y = data(40)
    table = np.column_stack([X["ids"], X["length"], y])
    np.savetxt(tmp_path / "counts.csv", table, fmt="%d", delimiter=",")
    (tmp_path / "counts.toml").write_text(network().to_toml() + '\n[train]\ndata = "counts.csv"\nepochs = 1\n')
    np.savez(tmp_path / "counts.npz", ids=X["ids"], length=X["length"], y=y)
    for name in ("counts.csv", "counts.npz"):
        inputs, labels = load_data(network(), tmp_path / name)
        assert isinstance(inputs, dict)
        assert inputs["ids"].dtype == np.int64
        np.testing.assert_array_equal(inputs["ids"], X["ids"])
        np.testing.assert_array_equal(inputs["length"], X["length"])
        np.testing.assert_array_equal(labels, y)
    assert cli.main(["train", str(tmp_path / "counts.toml")]) == 0
    assert cli.main(["predict", str(tmp_path / "counts.safetensors"), str(tmp_path / "counts.csv")]) == 0
    assert len(capsys.readouterr().out.splitlines()) > 40
    for line, value, wrong in ((3, 2, "7"), (5, 6, "2.5")):
        rows = [list(map(str, row)) for row in table]
        rows[line - 1][value - 1] = wrong
        (tmp_path / "wrong.csv").write_text("\n".join(map(",".join, rows)))
        where = f"wrong.csv, line {line}, column {value}"
        refused(lambda: load_data(network(), tmp_path / "wrong.csv"), where, wrong, "an integer from 0 to")


def test_recurrent_layers_take_lengths_and_masks_of_integers() -> None:
    rng = np.random.default_rng(0)
    X, length = rng.normal(size=(6, 4, 2)), rng.integers(1, 5, 6)
    mask = np.arange(4) < length[:, None]
    given = {"length": length, "real": length[:, None].astype(float), "mask": mask.astype(int)}
    shapes = {"length": {"shape": [], "below": 5}, "real": [1], "mask": {"shape": [4], "below": 2}}
    found = []
    for name, shape in shapes.items():
        layers = [sn.gru(3, inputs=["series", name]), sn.dense(1)]
        net = sn.Network(inputs={"series": [4, 2], name: shape}, layers=layers, loss="squared_error")
        data = {"series": X, name: given[name]}
        found.append(net.gradient("gru1.W").evaluate(net.initial_parameters(0), data, np.zeros(6)))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_allclose(found[0], found[2], rtol=1e-12, atol=1e-14)
    too_long = {"series": [4, 2], "length": {"shape": [], "below": 6}}
    layers = [sn.gru(3, inputs=["series", "length"]), sn.dense(1)]
    refused(lambda: sn.Network(inputs=too_long, layers=layers, loss="mse"), "lengths below 6", "below = 5")
