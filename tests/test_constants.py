"""Constants of a network: declared, checked, in equations and kernels, in TOML and in model files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import scipy.sparse

import symnet as sn
from symnet.declare import constants
from symnet.errors import SymnetError
from symnet.kinds import Written, WrittenLayer
from symnet.network import Network
from symnet.run.plan import structure

rng = np.random.default_rng(0)
S = scipy.sparse.random_array((4, 3), density=0.5, rng=rng)
DENSE = rng.normal(size=(4, 3))
LINES = ["h[n,i] = sum(A[i,j]*x[n,j], j)", "z[n,i] = sum(W[i,k]*h[n,c[k]]*b[k], k)"]


def network(A: Any = S, **others: Any) -> Network:
    layer = sn.equations(LINES, sizes={"i": 4, "k": 4}, parameters={"W": ["i", "k"]}, name="e")
    given = {"A": A, "c": [3, 0, 0, 1], "b": [1.0, 2.0, 0.5, -1.0], **others}
    return Network(input=3, layers=[layer], constants=given)


X, Y = rng.normal(size=(5, 3)), rng.normal(size=(5, 4))


@pytest.mark.parametrize("A", [S, DENSE], ids=["sparse", "dense"])
def test_constants_are_read_by_every_kernel_and_by_the_oracle(A: Any) -> None:
    net = network(A)
    model = net.compile(dtype="float64")
    full = A.toarray() if hasattr(A, "toarray") else A
    W = model.parameters["e.W"]
    expected = ((X @ full.T)[:, [3, 0, 0, 1]] * [1, 2, 0.5, -1]) @ W.T
    np.testing.assert_allclose(model.predict(X), expected, rtol=1e-12)
    _, gradient = net.value_and_gradient(model.parameters, X, Y)
    np.testing.assert_allclose(gradient["e.W"], net.gradient("e.W").evaluate(model.parameters, X, Y), rtol=1e-10)
    before = model.evaluate(X, Y)["loss"]
    model.fit(X, Y, epochs=20)
    assert model.evaluate(X, Y)["loss"] < before


@pytest.mark.parametrize("A", [S, DENSE], ids=["sparse", "dense"])
def test_a_model_file_holds_the_constants(A: Any, tmp_path: Path) -> None:
    model = network(A).compile()
    model.save(tmp_path / "m.safetensors")
    loaded = sn.load(tmp_path / "m.safetensors")
    assert loaded.network == model.network
    assert (loaded.predict(X) == model.predict(X)).all()


def test_networks_are_equal_if_the_contents_of_their_constants_are_and_share_kernels_if_their_shapes_are() -> None:
    other = S.copy()
    other.data = other.data + 1
    assert network() == network() and hash(network()) == hash(network())
    assert network() != network(other)
    adam = network().compile().optimizer
    assert structure(network().spec, adam) == structure(network(other).spec, adam)
    assert structure(network().spec, adam) != structure(network(DENSE).spec, adam)


def test_a_constant_is_a_copy() -> None:
    array = DENSE.copy()
    net = network(array)
    array[:] = 0
    assert net == network(DENSE)


TOML = """
[network]
input = [4, 2]
loss = "squared_error"

[network.constants]
A = {A}

[[layer]]
kind = "equations"
equations = "z[n,v,f] = sum(A[v,u]*x[n,u,f], u) + 0*x[n,v,f]"
"""


def test_edges_in_toml_are_a_sparse_matrix_that_toml_writes_back(tmp_path: Path) -> None:
    text = TOML.replace("{A}", "{ edges = [[0, 1], [1, 2], [2, 2], [0, 1]], nodes = 4 }")
    net = Network.from_toml(text)
    (A,) = net.spec.constants
    assert (A.value.toarray() == [[0, 2, 0, 0], [2, 0, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]).all()
    assert Network.from_toml(net.to_toml()) == net
    (tmp_path / "edges.csv").write_text("from,to\n0,1\n1,2\n2,2\n0,1\n")
    (tmp_path / "net.toml").write_text(TOML.replace("{A}", '{ edges = "edges.csv", nodes = 4 }'))
    assert Network.from_toml(tmp_path / "net.toml") == net
    scipy.sparse.save_npz(tmp_path / "A.npz", A.value)
    (tmp_path / "net.toml").write_text(TOML.replace("{A}", '"A.npz"'))
    assert Network.from_toml(tmp_path / "net.toml") == net


def test_directed_edges_are_read_by_their_target_and_a_third_column_is_their_weight() -> None:
    (A,) = constants.declared({"A": {"edges": [[0, 1, 0.5], [2, 1, 2]], "nodes": 3, "directed": True}}, "")
    assert (A.value.toarray() == [[0, 0, 0], [0.5, 0, 2], [0, 0, 0]]).all()


def edges(*rows: Any, nodes: int = 3) -> dict[str, Any]:
    return {"edges": list(rows), "nodes": nodes}


NAN = scipy.sparse.coo_array(([np.nan], ([1], [2])), shape=(4, 3))


@pytest.mark.parametrize(
    "given, message",
    [
        ({"A": edges([0, 3])}, r"A, edges\[0\]: found \[0, 3\], expected nodes from 0 to 2"),
        ({"A": edges([0, 1], [-1, 0])}, r"edges\[1\]: found \[-1, 0\]"),
        ({"A": edges([0.5, 1])}, "expected nodes from 0 to 2"),
        ({"A": edges([0])}, "expected a row for each edge"),
        ({"A": {"edges": [[0, 1]]}}, "found no key 'nodes'"),
        ({"A": NAN}, "found nan, expected finite numbers"),
        ({"A": np.full((4, 3), np.inf)}, r"element \[0, 0\]: found inf"),
        ({"A": "missing.npz"}, "a file that cannot be read"),
        ({"A": "missing.csv"}, "no such file"),
        ({"A": [[1], [1, 2]]}, "rows of different lengths"),
        ({"A": ["a"]}, "expected numbers"),
        ({"A": np.ones((4, 2))}, "one size for an index"),
        ({"A": S, "c": [0.0, 1, 2, 3]}, "c_"),
        ({"A": S, "B": [1.0]}, "no layer that reads it"),
        ({"A": S, "x_1": [1.0]}, "a name of letters and digits"),
        ({"A": S, "e": [1.0]}, "An input or a layer has it already"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_constant_is_refused_where_it_is_declared(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SymnetError, match=message):
        network(**given)


def test_a_sparse_matrix_is_never_made_dense() -> None:
    V = 100_000  # 80 GB of float64
    ends = np.random.default_rng(1).integers(0, V, (2, 500))
    A = scipy.sparse.coo_array((np.ones(500), tuple(ends)), shape=(V, V))
    line = "h[v] = sum(A[v,u]*w[u], u)\ny[n,f] = sum(p[v,f]*h[v], v)*x[n,0]"
    layer = sn.equations(line, sizes={"f": 2}, parameters={"w": ["u"], "p": ["v", "f"]}, name="e")
    net = Network(input=1, layers=[layer], constants={"A": A})
    model = net.compile(dtype="float64")
    model.fit([[1.0]], [[1.0, 2.0]], epochs=2)
    w, p = model.parameters["e.w"], model.parameters["e.p"]
    np.testing.assert_allclose(model.predict([[1.0]])[0], p.T @ (A @ w), rtol=1e-9, atol=1e-12)


@dataclass(frozen=True, slots=True)
class Shifted(WrittenLayer):
    kind: ClassVar[str] = "shifted"
    name: str
    inputs: tuple[str, ...] = ()

    def written(self, inputs: tuple[tuple[int, ...], ...]) -> Written:
        table = constants.dense("", np.arange(float(inputs[0][0])) * len(self.name))
        return Written(("y[n,i] = x[n,i] + P[i]",), "y", inputs[0], constants={"P": table})


def test_a_kind_may_carry_constants_of_its_own() -> None:
    net = Network(input=3, layers=[Shifted("a"), Shifted("bb"), sn.dense(3, name="d")])
    assert list(net.constants) == ["P1", "P2"]
    model = net.compile(dtype="float64")
    np.testing.assert_allclose(model.predict([[0, 0, 0]])[0], model.parameters["d.W"] @ [0, 3, 6])
