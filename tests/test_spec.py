"""Specs: what may be declared, what is refused and how, and that TOML gives back what was declared."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from symnet.declare.constructors import add, concat, multiply, reshape
from symnet.declare.spec import Choice, EarlyStopping, dense, specify
from symnet.declare.toml_text import from_toml, to_toml
from symnet.errors import SymnetError
from symnet.network import Network

ISSUE = """
[network]
input = 64
loss = "softmax_cross_entropy"
l2 = 1e-4                          # R = mean loss + l2/2 * sum of squared weights; weight matrices, not biases

[[layer]]
kind = "dense"
name = "hidden1"
units = 64
activation = "relu"

[[layer]]
kind = "dense"
name = "out"
units = 10

[train]
data = "digits.csv.gz"
optimizer = { name = "adam", learning_rate = 1e-3 }
epochs = 30
batch_size = 32
"""
SMALL = '[network]\ninput = 2\nloss = "squared_error"\n[[layer]]\nkind = "dense"\nunits = 1\n'


def refused(given: object, **more: object) -> str:
    with pytest.raises(SymnetError) as caught:
        from_toml(given, **more)
    assert isinstance(caught.value, ValueError)
    return str(caught.value)


def test_toml_and_python_mean_the_same() -> None:
    layers = [dense(64, activation="relu", name="hidden1"), dense(10, name="out")]
    train = {
        "data": "digits.csv.gz",
        "optimizer": {"name": "adam", "learning_rate": 1e-3},
        "epochs": 30,
        "batch_size": 32,
    }
    python = Network(input=64, layers=layers, loss="softmax_cross_entropy", l2=1e-4, train=train)
    assert python == Network.from_toml(ISSUE)
    assert hash(python) == hash(Network.from_toml(ISSUE))
    assert python.spec.train.epochs == 30 and python.spec.train.optimizer.mapping == {"learning_rate": 1e-3}


def test_layers_may_be_mappings() -> None:
    mapping = {"kind": "dense", "units": 1, "activation": "tanh"}
    assert Network(input=2, layers=[mapping], loss="squared_error") == Network(
        input=2, layers=[dense(1, activation="tanh")], loss="squared_error"
    )


def test_train_and_names_and_activation_may_be_left_out() -> None:
    network = Network.from_toml(SMALL)
    assert network.spec.train is None
    assert list(network.parameters) == ["dense1.W", "dense1.b"]
    assert network.spec.layers[0].activation == Choice("identity")


@pytest.mark.parametrize(
    "layers",
    [
        [dense(3, activation={"name": "elu", "gamma": 0.1}), dense(2)],
        [dense(3, activation={"formula": "x*logistic(beta*x)", "parameters": {"beta": 1.5}}), dense(2, bias=False)],
        [dense(3, activation={"name": "swish", "beta": 0.1 + 0.2, "learned": ["beta"], "per": "unit"}), dense(2)],
        [dense(3, initializer={"name": "orthogonal", "gain": 2}), dense(2, bias_initializer=[0.1, 1e-300])],
        [dense(2, initializer=np.arange(10.0).reshape(2, 5) / 7, activation="sigmoid")],
    ],
)
def test_to_toml_gives_back_an_equal_network(layers: list) -> None:
    train = {"data": 'an odd "name"\\\x7fé.csv', "optimizer": {"name": "momentum", "momentum": 0.5}, "shuffle": False}
    network = Network(input=5, layers=layers, loss={"name": "huber", "delta": 2.5}, l2=1 / 3, train=train)
    assert Network.from_toml(network.to_toml()) == network
    assert network.to_toml() == Network.from_toml(network.to_toml()).to_toml()


def test_to_toml_says_every_key_that_is_not_at_its_default() -> None:
    text = to_toml(from_toml(ISSUE))
    for line in (
        'loss = "softmax_cross_entropy"',
        "l2 = 0.0001",
        'name = "hidden1"',
        'activation = "relu"',
        "epochs = 30",
    ):
        assert line in text.splitlines()
    assert from_toml(text.replace("epochs = 30", "epochs = 31")) != from_toml(text)


def test_data_paths_are_relative_to_the_spec_file(tmp_path: Path) -> None:
    (tmp_path / "spec.toml").write_text(ISSUE)
    spec = from_toml(tmp_path / "spec.toml")
    assert spec.path(spec.train.data) == tmp_path / "digits.csv.gz"
    assert from_toml(str(tmp_path / "spec.toml")) == from_toml(ISSUE)  # where it was read does not change what it means


@pytest.mark.parametrize(
    ("change", "to", "says"),
    [
        ("activation", "activaton", "activation"),
        ('"relu"', '"rellu"', "Did you mean 'relu'?"),
        ("softmax_cross_entropy", "softmax_crossentropy", "Did you mean 'softmax_cross_entropy'?"),
        ('"adam"', '"adm"', "Did you mean 'adam'?"),
        ("learning_rate", "learning_rat", "Did you mean 'learning_rate'?"),
        ("epochs", "epoch", "Did you mean 'epochs'?"),
        ("[network]", "[netwrok]", "Did you mean 'network'?"),
        ("input = 64", "inputs = 64", "Did you mean 'input'?"),
        ('kind = "dense"', 'kind = "dens"', "Did you mean 'dense'?"),
        ("units = 64", "units = 0", "layer 1 'hidden1', units: found 0"),
        ("units = 64", "units = -3", "found -3"),
        ("units = 64", "units = 64.0", "found 64.0"),
        ("units = 64", "units = true", "found True"),
        ("units = 64", 'units = "64"', "found '64'"),
        ("units = 64\n", "", "'units'"),
        ("input = 64", "input = 0", "network, input: found 0"),
        ("input = 64\n", "", "'input'"),
        ("l2 = 1e-4", "l2 = -1e-4", "l2"),
        ("l2 = 1e-4", "l2 = nan", "l2"),
        ("l2 = 1e-4", "l2 = inf", "l2"),
        ("learning_rate = 1e-3", "learning_rate = -1", "learning_rate: found -1"),
        ("learning_rate = 1e-3", "beta1 = 1.0", "[0, 1)"),
        ("learning_rate", "lr", "Did you mean 'learning_rate'?"),
        ("epochs = 30", "n_epochs = 30", "Did you mean 'epochs'?"),
        ("epochs = 30", "batchsize = 30", "Did you mean 'batch_size'?"),
        ("units = 64", "neurons = 64", "Did you mean 'units'?"),
        ('kind = "dense"\n', "", "layer 1, kind: found nothing, expected one of dense, "),
        ("epochs = 30", "epochs = 0", "epochs"),
        ("epochs = 30", 'dtype = "float16"', "float32"),
        ("epochs = 30", "validation_split = 1.0", "validation_split"),
        ("epochs = 30", "validation_split = 0.5\ntest_split = 0.5", "data left to train on"),
        ('name = "out"', 'name = "hidden1"', "Layer 1 has it already"),
        ('name = "out"', 'name = "a b"', "letters, digits and underscores"),
        ('name = "out"', 'name = "a.b"', "letters, digits and underscores"),
        ('data = "digits.csv.gz"', "", "'data'"),
        ('data = "digits.csv.gz"', 'data = ""', "path"),
        ("[[layer]]", "[layer]", "TOML"),
        ("input = 64", "input = ", "TOML"),
        ('activation = "relu"', 'activation = "relu"\ninitializer = "hee"', "Did you mean 'he'?"),
        ('activation = "relu"', 'activation = "relu"\ninitializer = [[1.0]]', "shape (64, 64)"),
        ('activation = "relu"', 'activation = "relu"\nbias_initializer = "orthogonal"', "matrix"),
        ('activation = "relu"', "activation = 3", "a name, or a table"),
        ('activation = "relu"', 'bias = false\nbias_initializer = "zeros"', "has no b"),
        ('activation = "relu"', 'activation = "ReLU"', "Did you mean 'relu'?"),
        ('activation = "relu"', 'activation = {name = "relu", gamma = 1.0}', "gamma"),
        ('activation = "relu"', 'activation = {formula = "__import__(1)"}', "__import__"),
        ('activation = "relu"', 'activation = {formula = "x", name = "relu"}', "either"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_a_way_out(change: str, to: str, says: str) -> None:
    assert change in ISSUE
    message = refused(ISSUE.replace(change, to, 1))
    assert says in message
    assert len(message) < 1200 and "\n" not in message.strip()


@pytest.mark.parametrize("missing", ["[network]", "[[layer]]"])
def test_a_missing_table_is_named(missing: str) -> None:
    text = SMALL.split("[[layer]]")[0] if missing == "[[layer]]" else "[[layer]]" + SMALL.split("[[layer]]")[1]
    assert missing in refused(text)


def test_networks_of_any_size_are_refused_before_anything_is_allocated() -> None:
    big = SMALL.replace("units = 1\n", "units = 1_000_000_000\n")
    assert "more than 2147483648 parameters" in refused(big.replace("input = 2", "input = 1000000000"))
    assert "more than 2 parameters" in refused(SMALL, limit=2)
    assert from_toml(SMALL, limit=3).layers[0].units == 1
    assert "integer" in refused(SMALL.replace("units = 1", "units = 1" + "0" * 30))
    with pytest.raises(SymnetError, match="from 1 to 10000"):
        specify(2, [dense(1)] * 10_001, "squared_error")
    with pytest.raises(SymnetError, match="from 1 to 10000"):
        specify(2, [], "squared_error")


@pytest.mark.parametrize(
    "hostile",
    [
        "a." * 20_000 + "b = 1\n",
        "a = " + "[" * 50_000 + "\n",
        "a = " + "{b=" * 50_000 + "\n",
        "x = " + "9" * 100_000 + "\n",
        "#" * (2**22 + 1) + "\n",
        SMALL + "activation = {formula = '" + "x+" * 100_000 + "x'}\n",
        SMALL + "activation = {formula = '" + "(" * 900 + "x" + ")" * 900 + "'}\n",
        SMALL + "activation = {formula = '9**9**9'}\n",
        SMALL + "activation = {a = " + "[" * 20 + "]" * 20 + ", name = 'relu'}\n",
        "\x00\n",
    ],
)
def test_a_hostile_spec_is_refused_quickly(hostile: str) -> None:
    refused(hostile)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert "missing.toml" in refused(tmp_path / "missing.toml")
    assert "no regular file" in refused(tmp_path) and "no regular file" in refused("/dev/zero")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in refused(tmp_path / "binary.toml")
    assert "path of a file" in refused(7)
    assert len(refused("x" * 5000)) < 400 and "contains a newline" in refused("[network]")


def test_layers_must_be_layers() -> None:
    for layers in ("dense", {"kind": "dense"}, 3, [3], [None]):
        with pytest.raises(SymnetError, match="layer"):
            specify(2, layers, "squared_error")
    with pytest.raises(SymnetError, match=r"dense\(3, ...\).*'unit'.*Did you mean 'units'"):
        dense(3, unit=3)


def test_layers_that_read_several_are_given_names_or_a_list_of_them() -> None:
    for made in (add, multiply, concat):
        assert made("a", "b") == made(inputs=["a", "b"]) == made(["a", "b"])
        with pytest.raises(SymnetError, match="one of the two"):
            made("a", inputs=["b"])
    assert reshape(2, 3) == reshape((2, 3)) == reshape([2, 3]) == reshape(to=[2, 3])
    assert reshape(6).to == (6,)
    with pytest.raises(SymnetError, match="'to'"):
        reshape()


def test_a_network_without_layers_is_refused_in_words() -> None:
    with pytest.raises(SymnetError, match="layers: found no layer, expected from 1 to 10000"):
        specify(2, [], "squared_error")


def test_a_spec_is_checked_without_loading_sympy() -> None:
    code = (
        f"import sys\nfrom symnet.network import Network\nNetwork.from_toml({ISSUE!r}).parameters\n"
        "print('sympy' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


STOPPING = """
[network]
input = 2
loss = "squared_error"
[[layer]]
kind = "dense"
units = 1
[train]
data = "a.csv"
"""


def test_early_stopping_is_read_and_written() -> None:
    network = Network.from_toml(STOPPING + "early_stopping = { patience = 10, restore_best = true }\n")
    train = network.spec.train
    assert train is not None and train.early_stopping == EarlyStopping(10, True, "loss")
    assert Network.from_toml(network.to_toml()) == network
    assert Network.from_toml(STOPPING).spec.train.early_stopping is None


@pytest.mark.parametrize(
    "line",
    [
        "early_stopping = 10",
        "early_stopping = { restore_best = true }",
        "early_stopping = { patience = -1 }",
        "early_stopping = { patience = 3, restor_best = true }",
        'early_stopping = { patience = 3, monitor = "accuracy" }',
        "early_stopping = { patience = 3 }\nvalidation_split = 0",
    ],
)
def test_wrong_early_stopping_is_refused(line: str) -> None:
    with pytest.raises(SymnetError, match="early_stopping"):
        Network.from_toml(f"{STOPPING}{line}\n")
