"""Data of every loss and dtype: what is refused, naming array, index and value; what works, with the bits of a copy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import symnet as sn
from symnet.declare import losses
from symnet.run.data import check_data

ROWS = 5
X = np.arange(15.0).reshape(ROWS, 3) / 4
LOSSES = [row.name for row in losses.ROWS]
EVERY = pytest.mark.parametrize("loss", LOSSES)
BOTH = pytest.mark.parametrize("dtype", ["float32", "float64"])


class Tensor:
    """An array of another library, which speaks DLPack and nothing else."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


class Broken:
    """One that is on another device, say."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise RuntimeError("no\nway")


def network(loss: str) -> sn.Network:
    last = [sn.dense(4), sn.softmax()] if loss == "cross_entropy" else [sn.dense(4)]
    return sn.Network(input=3, layers=last, loss=loss)


def target(found: sn.Network) -> Any:
    """A good one of shape (5, columns), and whether it may be labels."""
    columns = found.target_width
    y = np.random.default_rng(0).integers(0, 2, (ROWS, columns)).astype(float)
    return 2 * y - 1 if found.spec.heads[0].loss.name == "hinge" else y


def spoiled(array: Any, place: tuple[int, ...], value: Any) -> Any:
    made = np.array(array, dtype=object if isinstance(value, str | None) else None)
    made[place] = value
    return made


def bad_arrays(good: Any, name: str) -> Iterator[tuple[Any, str]]:
    """What is no array of finite numbers of this shape, and what the error says."""
    last = tuple(n - 1 for n in good.shape)
    index = f"{name}[{', '.join(map(str, last))}]: found "
    for value, said in ((np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf"), (None, "None"), ("x", "'x'")):
        yield spoiled(good, last, value), index + said
    masked = np.ma.array(good, mask=np.zeros(good.shape))
    masked[last] = np.ma.masked
    yield masked, index + "a masked element"
    yield np.full(good.shape, np.inf, "f2"), f"{name}["
    yield np.full(good.shape, "1"), f"{name}[{', '.join('0' * good.ndim)}]: found '1'"
    yield good.astype(object), f"{name}: found an array of object"
    yield good * 1j, f"{name}: found an array of complex128"
    yield good.astype("M8[s]"), f"{name}: found an array of datetime64[s]"
    yield np.zeros(len(good), [("a", float)]), f"{name}: found an array of [('a', '<f8')]"
    yield None, f"{name}: found None"
    yield Broken(), f"{name}: found a Broken that gives no array (RuntimeError: no way)"
    yield good[:, :-1], f"{name}: found shape (5, {good.shape[1] - 1})"
    yield np.repeat(good, 3, axis=1), f"{name}: found shape (5, {3 * good.shape[1]})"
    yield good[:, :, None, None], f"{name}: found shape"
    yield [[1.0], [1.0, 2.0]], f"{name}: found rows of different lengths"
    yield {1, 2}, f"{name}: found an array of object"


def refused(found: sn.Network, x: Any, y: Any, dtype: str, weights: Any = None) -> str:
    before = [a.copy() if isinstance(a, np.ndarray) else None for a in (x, y)]
    with pytest.raises(sn.SymnetError) as caught:
        check_data(found, x, y, dtype, weights=weights)
    for kept, after in zip(before, (x, y), strict=True):
        assert kept is None or kept.tobytes() == after.tobytes()
    return str(caught.value)


@EVERY
@BOTH
def test_what_is_wrong_with_inputs_or_targets_is_named(loss: str, dtype: str) -> None:
    found = network(loss)
    y = target(found)
    check_data(found, X, y, dtype)
    for bad, says in bad_arrays(X, "X"):
        assert says in refused(found, bad, y, dtype)
    for bad, says in bad_arrays(y, "y"):
        message = refused(found, X, bad, dtype)
        assert says in message or (message.startswith("y: found ") and "shape" in says + message), message
    assert "found 4 rows, expected 5 rows, as X has" in refused(found, X, y[:4], dtype)
    assert "without samples" in refused(found, X[:0], y[:0], dtype)
    assert "a single number" in refused(found, X, 1.0, dtype)
    if dtype == "float32":
        large = spoiled(X, (4, 2), 1e39)
        assert "X[4, 2]: found 1e+39, expected numbers in the range of float32" in refused(found, large, y, dtype)


@pytest.mark.parametrize("loss", [row.name for row in losses.ROWS if row.is_classifier])
@BOTH
def test_labels_that_are_none_of_the_classes_are_named(loss: str, dtype: str) -> None:
    one = sn.Network(input=3, layers=[sn.dense(1)], loss=loss) if loss == "binary_cross_entropy" else network(loss)
    good = np.array([0, 1, 1, 0, 1])
    assert check_data(one, X, good, dtype).given == "labels"
    for value, kind in (
        (-1, "int8"),
        (one.classes, "uint8"),
        (2**63, "uint64"),
        (-(2**63), "int64"),
        (10**18, "int64"),
    ):
        bad = good.astype(kind)
        bad[3] = value
        assert f"y[3]: found {value}, expected labels from 0 to {one.classes - 1}" in refused(one, X, bad, dtype)
    if loss != "binary_cross_entropy":  # whose numbers from 0 to 1 are probabilities
        for kind in ("float16", "float32", "float64", "longdouble"):
            assert "astype(int)" in refused(one, X, good.astype(kind), dtype)
        assert "y[0, 0]: found -" in refused(one, X, np.full((ROWS, 4), -0.25), dtype)
    assert "y[0, 0]: found nan" in refused(one, X, np.full((ROWS, one.target_width), np.nan), dtype)


@EVERY
def test_targets_outside_of_what_a_loss_takes_are_named(loss: str) -> None:
    wrong = {"hinge": 0.5, "poisson": -1.0, "binary_cross_entropy": 1.5}
    found = network(loss)
    if loss in wrong:
        assert f"y[2, 0]: found {wrong[loss]}" in refused(
            found, X, spoiled(target(found), (2, 0), wrong[loss]), "float64"
        )
    else:
        check_data(found, X, target(found), "float64")


@EVERY
@BOTH
def test_what_is_wrong_with_weights_is_named(loss: str, dtype: str) -> None:
    found, w = network(loss), np.ones(ROWS)
    y = target(found)
    check_data(found, X, y, dtype, weights=w)
    for value in (np.nan, np.inf, -1.0):
        assert f"sample_weight[3]: found {value}" in refused(found, X, y, dtype, spoiled(w, (3,), value))
    for bad in (w[:4], np.ones((ROWS, 2)), "1", w.astype(object), w * 1j, [[1], [1, 2]], {}, 1.0):
        assert refused(found, X, y, dtype, bad).startswith("sample_weight")


# ---------------------------------------------------------------------------------------------- every way in
@pytest.fixture(scope="module")
def model() -> Any:
    layers = [sn.dense(4, "tanh"), sn.dense(3)]
    return sn.Network(input=3, layers=layers, loss="softmax_cross_entropy").compile("adam", "float64", seed=1)


LABELS = np.array([0, 1, 2, 1, 0])


@pytest.mark.parametrize("bad", [spoiled(X, (1, 2), np.nan), X[:, :2], X.astype(object), None])
def test_every_method_that_takes_data_checks_them_before_anything_changes(model: Any, bad: Any) -> None:
    before = {name: value.tobytes() for name, value in model.parameters.items()}
    ways = (
        lambda x: model.fit(x, LABELS),
        lambda x: model.fit(X, LABELS, validation_data=(x, LABELS)),
        lambda x: model.prepare(x, LABELS, batch_size=2),
        lambda x: model.evaluate(x, LABELS),
        lambda x: model.predict(x),
        lambda x: model.predict_proba(x),
        lambda x: model.transform(x, "dense1"),
        lambda x: model.scale(x),
        lambda x: model.trace(x, LABELS),
        lambda x: model.inspect(x, LABELS),
        lambda x: model.network.value_and_gradient(model.parameters, x, LABELS),
    )
    for way in ways:
        with pytest.raises(sn.SymnetError, match=r"^(X|validation_data\[0\])"):
            way(bad)
    for y in (LABELS[:4], LABELS - 1, LABELS + 1, LABELS.astype(float), None):
        for way in (model.fit, model.evaluate, model.trace, model.inspect):
            with pytest.raises(sn.SymnetError, match="y"):
                way(X, y)
    assert {name: value.tobytes() for name, value in model.parameters.items()} == before


def variants(x: Any, folder: Path) -> dict[str, Any]:
    """The same numbers in other clothes."""
    read_only = x.copy()
    read_only.setflags(write=False)
    np.save(folder / "x.npy", x)
    rows = np.repeat(x, 2, axis=0)
    made = {
        "read-only": read_only,
        "Fortran order": np.asfortranarray(x),
        "every second row": rows[::2],
        "rows backward": x[::-1].copy()[::-1],
        "part of a table": np.concatenate([x, x], axis=-1)[..., : x.shape[-1]],
        "big-endian": x.astype(x.dtype.newbyteorder(">")),
        "unaligned": np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape),
        "memory-mapped": np.load(folder / "x.npy", mmap_mode="r"),
        "a list": x.tolist(),
        "a memoryview": memoryview(x),
        "DLPack": Tensor(x),
        "longdouble" if x.dtype.kind == "f" else "int16": x.astype("longdouble" if x.dtype.kind == "f" else "i2"),
    }
    kinds = ("float16", "float32", "float64") if x.dtype.kind == "f" else ("int8", "uint8", "int32", "uint64")
    return made | {kind: x.astype(kind) for kind in kinds}


@pytest.mark.parametrize("dtype", ["float32"])
def test_data_in_other_clothes_give_the_bits_of_a_plain_copy(dtype: str, tmp_path: Path) -> None:
    """Also integers and booleans: as the floats that they are."""
    network = sn.Network(input=3, layers=[sn.dense(2, "tanh"), sn.dense(3)], loss="softmax_cross_entropy")
    model = network.compile("adam", dtype, seed=1)
    rng = np.random.default_rng(3)
    whole, y = rng.integers(0, 2, (ROWS, 3)), np.array([0, 1, 2, 1, 0])

    def results(x: Any, y: Any) -> list[bytes]:
        risk, gradient = network.value_and_gradient(model.parameters, x, y, dtype)
        found = [model.predict_proba(x), np.float64(model.evaluate(x, y)["loss"]), np.float64(risk), *gradient.values()]
        return [np.asarray(a).tobytes() for a in found]

    for x in (X.astype(dtype), whole.astype(dtype)):
        plain = results(x, y)
        for name, given in variants(x, tmp_path).items():
            assert results(given, y) == plain, f"X {name}"
        for name, given in variants(y, tmp_path).items():
            assert results(x, given) == plain, f"y {name}"
    for kind in ("bool", "int8", "uint64"):
        assert results(whole.astype(kind), y) == plain, kind


def test_numbers_that_round_to_0_are_taken_though_numpy_is_told_to_raise(model: Any) -> None:
    tiny = spoiled(spoiled(X, (0, 0), 5e-324), (1, 1), 1e-46)
    with np.errstate(all="raise"):
        found = check_data(model.network, tiny, LABELS, "float32", weights=np.full(ROWS, 1e-46))
        assert found.inputs["x"][0, 0] == 0 and found.targets[""].weights[0] == 0
        model.parameters["dense1.b"] = np.full(4, 1e-310)
        assert np.isfinite(model.fit(tiny, LABELS, epochs=1).loss[0])


def test_training_on_data_in_other_clothes_gives_the_bits_of_a_plain_copy(tmp_path: Path) -> None:
    network = sn.Network(input=3, layers=[sn.dense(2, "tanh"), sn.dense(3)], loss="softmax_cross_entropy")
    x, y = np.tile(X, (4, 1)).astype(np.float32), np.tile(LABELS, 4)

    def trained(x: Any, y: Any) -> list[bytes]:
        model = network.compile("adam", "float32", seed=1)
        model.fit(x, y, epochs=2, batch_size=7)
        return [value.tobytes() for value in model.parameters.values()]

    plain, others = trained(x, y), variants(x, tmp_path)
    for name in ("read-only", "Fortran order", "memory-mapped", "DLPack"):
        assert trained(others[name], y.astype(np.uint8)) == plain, name


def test_parameters_are_taken_in_other_clothes_too(model: Any, tmp_path: Path) -> None:
    W = np.arange(12.0).reshape(4, 3)
    for name, given in variants(W, tmp_path).items():
        model.parameters["dense1.W"] = given
        np.testing.assert_array_equal(model.parameters["dense1.W"], W, err_msg=name)
    for bad in (spoiled(W, (1, 1), np.nan), W.T, W.astype(object), W > 1, W * 1j, None, Broken(), [[1], [1, 2]]):
        with pytest.raises(sn.SymnetError, match=r"parameters\['dense1.W'\]"):
            model.parameters["dense1.W"] = bad
    np.testing.assert_array_equal(model.parameters["dense1.W"], W)
