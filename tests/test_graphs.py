"""Layers on graphs: against PyTorch, on graphs of every shape, with sparse features, and what they refuse."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import networkx
import numpy as np
import pytest
import scipy.sparse

import symnet as sn
from compiler.calling import interpret
from symnet.declare.checks import declare
from symnet.errors import SymnetError
from symnet.kinds import KINDS
from symnet.network import Network
from symnet.oracle.reference import evaluate

from .values.graph_cases import CASES, FEATURES, GRAPHS, NODES, UNITS

VALUES = np.load(Path(__file__).parent / "values" / "graphs.npz")


def declared(kind: str, options: dict[str, Any], graph: str) -> Network:
    layer = declare(KINDS[kind], {"units": UNITS, "name": "g", **options}, "layer")
    return Network(input=[NODES, FEATURES], layers=[layer], constants={"A": GRAPHS[graph]})


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_those_of_pytorch(name: str) -> None:
    network = declared(*CASES[name])
    program = network.gradient_program()
    held = {key.removeprefix(f"{name}:"): VALUES[key] for key in VALUES.files if key.startswith(f"{name}:")}
    values = {**network.constants, "x": held["x"], "y": np.zeros_like(held["y"])}
    values |= {tensor.name: held[key.removeprefix("g.")] for key, tensor in network.tensors.items()}
    for found in (evaluate(program, values, {"N": 2}), interpret(program, values, {"N": 2}, plain=False)):
        np.testing.assert_allclose(found["R"], held["loss"], rtol=1e-12)
        for key, tensor in network.gradients().by_name.items():
            np.testing.assert_allclose(found[tensor.name], held[f"d_{key.removeprefix('g.')}"], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("graph", GRAPHS)
def test_compiled_layers_train_on_every_graph_without_nan(graph: str) -> None:
    layers = [
        sn.graph_conv(4, "relu", name="c"),
        sn.message_passing(4, "max", name="m"),
        sn.graph_attention(2, 2, name="a", self_loops=False),
    ]
    net = Network(input=[NODES, FEATURES], layers=layers, constants={"A": GRAPHS[graph]})
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(6, NODES, FEATURES)), rng.normal(size=(6, NODES, 4))
    model = net.compile("adam")
    history = model.fit(X, y, epochs=30, batch_size=3)
    assert np.isfinite(model.predict(X)).all()
    assert history[-1].loss < history[0].loss


V, F, K = 30, 12, 3
A = {"edges": np.random.default_rng(1).integers(0, V, (60, 2)), "nodes": V}
SPARSE = scipy.sparse.random_array((V, F), density=0.2, rng=np.random.default_rng(2))


def on_features(X: Any) -> Network:
    layers = [sn.graph_conv(5, "tanh", features="X", name="one"), sn.graph_conv(K, name="two")]
    return Network(layers=layers, loss="softmax_cross_entropy", constants={"A": A, "X": X})


def test_sparse_features_dense_features_and_an_input_give_the_same_gradients() -> None:
    layers = [sn.graph_conv(5, "tanh", name="one"), sn.graph_conv(K, name="two")]
    by_input = Network(input=[V, F], layers=layers, loss="softmax_cross_entropy", constants={"A": A})
    p = by_input.initial_parameters(3)
    y = np.random.default_rng(3).integers(0, K, (1, V))
    weights = np.where(np.arange(V) < 5, 1.0, 0.0)[None]
    full = SPARSE.toarray()
    R, expected = by_input.value_and_gradient(p, full[None], y, sample_weight=weights)
    for X in (SPARSE, full):
        net = on_features(X)
        found, gradient = net.value_and_gradient(p, None, y, sample_weight=weights)
        np.testing.assert_allclose(found, R, rtol=1e-12)
        for name in expected:
            np.testing.assert_allclose(gradient[name], expected[name], rtol=1e-9, atol=1e-15)
            np.testing.assert_allclose(net.gradient(name).evaluate(p, None, y).shape, expected[name].shape)


def test_a_network_without_inputs_predicts_one_sample_and_is_saved(tmp_path: Path) -> None:
    model = on_features(SPARSE).compile()
    y = np.random.default_rng(3).integers(0, K, (1, V))
    model.fit(None, y, epochs=5)
    assert model.predict(None).shape == (1, V)
    model.save(tmp_path / "m")
    assert (sn.load(tmp_path / "m").predict_proba(None) == model.predict_proba(None)).all()
    assert model.evaluate(None, y)["accuracy"] == pytest.approx(np.mean(model.predict(None) == y))


def test_features_of_80_gb_if_they_were_dense() -> None:
    nodes = 100_000
    rng = np.random.default_rng(0)
    X = scipy.sparse.coo_array((np.ones(1000), tuple(rng.integers(0, nodes, (2, 1000)))), shape=(nodes, nodes))
    layers = [sn.graph_conv(2, features="X", bias=False, name="g"), sn.graph_conv(1, name="h")]
    net = Network(layers=layers, constants={"A": {"edges": rng.integers(0, nodes, (1000, 2)), "nodes": nodes}, "X": X})
    model = net.compile("gradient_descent")
    assert model.fit(None, np.ones((1, nodes, 1)), epochs=3)[-1].loss < 1


def test_the_weight_is_multiplied_first_where_it_makes_features_fewer_and_last_where_it_makes_them_more() -> None:
    for width, units, first in ((9, 2, "W"), (2, 9, "A")):
        layer = sn.graph_conv(units, name="g")
        net = Network(input=[V, width], layers=[layer], constants={"A": A})
        lines = [line for line in net.compile().source.splitlines() if "z1_part" in line and "# z1_part" in line]
        assert f"{first}" in lines[0].split("# ")[-1].split("=")[-1]


def test_gradients_read_as_products_with_the_normalized_matrix() -> None:
    net = Network(input=[V, F], layers=[sn.graph_conv(2, "tanh"), sn.graph_conv(2)], constants={"A": A})
    text = str(net.gradient("graph_conv1.W"))
    assert "Âᵀ δ2 W2" in text and "δ1ᵀ Â x" in text


def test_a_declaration_round_trips_through_toml() -> None:
    layers = [sn.graph_conv(3, features="X", name="g"), sn.message_passing(3, "max", message=2, name="m"),
              sn.graph_attention(2, 2, name="a")]  # fmt: skip
    net = Network(layers=layers, constants={"A": A, "X": {"identity": V}})
    assert Network.from_toml(net.to_toml()) == net


def test_a_table_of_zeros_and_ones_is_a_graph() -> None:
    table = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]])
    layers = [sn.graph_conv(2), sn.graph_attention(2), sn.message_passing(1, "max")]
    of_table, of_edges = (
        Network(input=[3, 2], layers=layers, constants={"A": given}).constants
        for given in (table, {"edges": [[0, 1], [1, 2]], "nodes": 3})
    )
    assert list(of_table) == list(of_edges)
    for name in of_table:
        one, two = (c[name].toarray() if hasattr(c[name], "toarray") else c[name] for c in (of_table, of_edges))
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    "input, layer, given, message",
    [
        ([V, F], sn.graph_conv(2, graph="B"), {"A": A}, "found the unknown constant 'B', expected one of A"),
        ([V + 1, F], sn.graph_conv(2), {"A": A}, r"expected \(30, features\), a row for each node of 'A'"),
        (F, sn.graph_conv(2), {"A": A}, r"found inputs of the shape \(12,\)"),
        ([V, F], sn.graph_conv(2), {"A": SPARSE}, "expected a square matrix"),
        ([V, F], sn.graph_conv(2), {"A": [[0, 1], [1, 2], [3, 4]]}, "Edges are given as a table: { edges ="),
        (None, sn.graph_conv(2, features="X"), {"A": A, "X": np.ones((V + 1, 2))}, r"expected real ones of the shape"),
        ([V, F], sn.graph_conv(2, features="X", inputs=["x"]), {"A": A, "X": SPARSE}, "it reads constants alone"),
        ([2, F], sn.graph_conv(2), {"A": np.array([[0, -3.0], [1, 0]])}, "weights at node 0 that sum to -2"),
        (None, sn.dense(2), {"A": A}, "found nothing to read"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_where_it_is_declared(
    input: Any, layer: Any, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(SymnetError, match=message):
        Network(input=input, layers=[layer], constants=given)


def test_the_club_in_the_examples_is_that_of_networkx() -> None:
    club = networkx.karate_club_graph()
    edges = np.loadtxt(Path(__file__).parent.parent / "examples" / "karate.csv", delimiter=",", dtype=int)
    assert {frozenset(edge) for edge in edges.tolist()} == {frozenset(edge) for edge in club.edges}
    text = (Path(__file__).parent.parent / "examples" / "karate.py").read_text()
    officers = [member for member in club if club.nodes[member]["club"] != "Mr. Hi"]
    assert f"officers = {officers}" in text


def test_what_an_adjacency_makes_of_a_batch_lies_row_by_row_so_that_the_gradient_of_weights_is_a_product() -> None:
    net = sn.Network(
        input=(12, 5),
        constants={"A": {"edges": np.array([[k, (k + 3) % 12] for k in range(12)]), "nodes": 12}},
        layers=[sn.graph_conv(6, graph="A", activation="relu", name="g"), sn.graph_conv(4, graph="A", name="o")],
        loss="softmax_cross_entropy",
    )
    model = net.compile("adam", seed=0)
    model.prepare(np.ones((3, 12, 5)), np.zeros((3, 12), int), batch_size=3)
    for name in ("d_W1_product", "d_W2_product"):
        assert re.search(rf"product\d+\(.*# {name}\[i,j\] = ", model.source), model.source
