"""Models and networks through pickle: as spec and arrays, back with the same bits; no file of ours holds a pickle."""

from __future__ import annotations

import copy
import io
import os
import pickle
import pickletools
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse

import symnet as sn

RNG = np.random.default_rng(5)
X, Y = RNG.normal(size=(40, 3)), RNG.integers(0, 2, 40)
DENSE = sn.Network(input=3, layers=[sn.dense(4, "tanh"), sn.dropout(0.2), sn.dense(2)], loss="softmax_cross_entropy")
NORMED = sn.Network(input=3, layers=[sn.dense(4), sn.batch_norm(), sn.dense(2)], loss="softmax_cross_entropy", l2=1e-3)
GRAPH = sn.Network(
    layers=[sn.graph_conv(2, graph="A", features="F")],
    constants={"A": scipy.sparse.csr_array(np.eye(5, k=1)), "F": RNG.normal(size=(5, 3))},
    loss="softmax_cross_entropy",
)


def trained(network: sn.Network, optimizer: str = "adam", dtype: str = "float32") -> Any:
    model = network.compile(optimizer, dtype, seed=3)
    if network.spec.inputs:
        model.scale(X)
        model.fit(X, Y, epochs=2, batch_size=7)
    return model


def modules_of(pickled: bytes) -> set[str]:
    """The modules that reading a pickle imports from."""
    found = set()

    class Reader(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            found.add(module)
            return super().find_class(module, name)

    Reader(io.BytesIO(pickled)).load()
    return found


@pytest.mark.parametrize(
    ("network", "optimizer", "dtype"), [(DENSE, "adam", "float32"), (NORMED, "momentum", "float64")]
)
def test_a_pickled_model_goes_on_as_the_model_itself(network: sn.Network, optimizer: str, dtype: str) -> None:
    model = trained(network, optimizer, dtype)
    back = pickle.loads(pickle.dumps(model))
    assert back.network == model.network and back.progress == model.progress and back.seed == model.seed
    assert {k: v.tobytes() for k, v in back.parameters.items()} == {k: v.tobytes() for k, v in model.parameters.items()}
    assert {k: v.tobytes() for k, v in back.states.items()} == {k: v.tobytes() for k, v in model.states.items()}
    for one in (model, back):
        one.fit(X, Y, epochs=2, batch_size=7)
    assert back.predict_proba(X).tobytes() == model.predict_proba(X).tobytes()
    assert {k: v.tobytes() for k, v in back.parameters.items()} == {k: v.tobytes() for k, v in model.parameters.items()}


def test_a_copy_is_a_model_of_its_own() -> None:
    model = trained(DENSE)
    other = copy.deepcopy(model)
    before = model.predict_proba(X)
    other.fit(X, Y, epochs=1)
    np.testing.assert_array_equal(model.predict_proba(X), before)
    assert (other.predict_proba(X) != before).any()


def test_networks_come_back_equal_with_their_constants_and_integers() -> None:
    many = sn.Network(
        inputs={"ids": {"shape": [4], "below": 9}}, layers=[sn.embedding(9, 3), sn.flatten(), sn.dense(1)]
    )
    for network in (DENSE, NORMED, GRAPH, many):
        network.show()  # what was derived is not pickled
        back = pickle.loads(pickle.dumps(network))
        assert back == network and back.show() == network.show()
    back = pickle.loads(pickle.dumps(trained(GRAPH)))
    np.testing.assert_array_equal(back.predict(None), trained(GRAPH).predict(None))


def test_a_pickle_names_a_function_of_ours_and_arrays_and_no_compiler() -> None:
    for made in (DENSE, trained(DENSE), trained(GRAPH)):
        modules = modules_of(pickle.dumps(made)) - {"builtins"}
        assert modules and all(name.startswith(("symnet.", "numpy")) for name in modules), modules


def test_another_process_gives_the_same_bits(tmp_path: Path, root: Path) -> None:
    model = trained(DENSE)
    (tmp_path / "model.pickle").write_bytes(pickle.dumps(model))
    np.save(tmp_path / "x.npy", X)
    code = (
        "import pickle, sys, numpy as np\nfolder = sys.argv[1]\n"
        "model = pickle.load(open(f'{folder}/model.pickle', 'rb'))\n"
        "np.save(f'{folder}/p.npy', model.predict_proba(np.load(f'{folder}/x.npy')))"
    )
    surroundings = {**os.environ, "SYMNET_CACHE": ""}  # there is none, so all is compiled again
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True, cwd=root, env=surroundings)
    assert np.load(tmp_path / "p.npy").tobytes() == model.predict_proba(X).tobytes()


JUDGED = """
import sys
seen = []
sys.addaudithook(lambda event, given: seen.append(given) if event == "pickle.find_class" else None)
import numpy as np
import symnet as sn
net = sn.Network(input=3, layers=[sn.dense(2, "tanh"), sn.dense(1)], loss="squared_error")
model = net.compile("adam")
model.fit(np.ones((9, 3)), np.ones(9), epochs=2)
model.save(sys.argv[1])
assert sn.load(sys.argv[1]).predict(np.ones((2, 3))).shape == (2, 1)
assert not seen, seen
"""


def test_no_file_of_ours_is_or_holds_a_pickle(tmp_path: Path, root: Path) -> None:
    """Neither what is written (every file in the cache, the model) can be unpickled, nor is anything unpickled."""
    surroundings = {**os.environ, "SYMNET_CACHE": str(tmp_path / "cache")}
    for _ in range(2):  # a cold cache, then what the first process left
        subprocess.run([sys.executable, "-c", JUDGED, tmp_path / "model"], check=True, cwd=root, env=surroundings)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 3
    for path in written:
        content = path.read_bytes()
        for part in (content, *content.split(b"\n", 1)[1:]):  # whole, and behind a line of JSON
            with pytest.raises(ValueError):
                list(pickletools.genops(part))
