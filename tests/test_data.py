"""The door for data: what is accepted without a copy, what is refused and how, data files, splits."""

from __future__ import annotations

import gzip
import mmap
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from symnet.declare.spec import dense
from symnet.errors import SymnetError
from symnet.network import Network
from symnet.run import arrays
from symnet.run.data import check_data, check_inputs, split
from symnet.run.tables import load_data

CLASSIFIER = Network(input=3, layers=[dense(4)], loss="softmax_cross_entropy")
REGRESSION = Network(input=3, layers=[dense(1)], loss="squared_error")
TWO = Network(input=3, layers=[dense(2)], loss="squared_error")
HINGE = Network(input=3, layers=[dense(1)], loss="hinge")
POISSON = Network(input=3, layers=[dense(1)], loss="poisson")
X = np.arange(15.0).reshape(5, 3)
LABELS = np.array([0, 1, 2, 3, 0])
BOTH = pytest.mark.parametrize("dtype", ["float32", "float64"])


def refused(network: Network, x: Any, y: Any, dtype: str = "float32") -> str:
    kept = [a.copy() if isinstance(a, np.ndarray) else None for a in (x, y)]
    with pytest.raises(SymnetError) as caught:
        check_data(network, x, y, dtype)
    for before, after in zip(kept, (x, y), strict=True):
        if before is not None and before.dtype != object:
            np.testing.assert_array_equal(before, after)
    return str(caught.value)


# ---------------------------------------------------------------------------------------------- accepted
@BOTH
def test_arrays_that_fit_are_not_copied(dtype: str) -> None:
    x, y = X.astype(dtype), LABELS.astype(np.int64)
    data = check_data(CLASSIFIER, x, y, dtype)
    assert np.shares_memory(data.inputs["x"], x) and np.shares_memory(data.targets[""].array, y)
    assert data.rows == 5 and data.given == "labels"
    y = np.ones((5, 2), dtype)
    assert np.shares_memory(check_data(TWO, x, y, dtype).targets[""].array, y)


@BOTH
def test_read_only_and_memory_mapped_arrays_are_not_copied(dtype: str, tmp_path: Path) -> None:
    x = X.astype(dtype)
    x.setflags(write=False)
    assert np.shares_memory(check_inputs(CLASSIFIER, x, dtype)["x"], x)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert np.shares_memory(check_inputs(CLASSIFIER, mapped, dtype)["x"], mapped)


@BOTH
def test_what_a_kernel_gets_is_contiguous_aligned_and_of_its_dtype(dtype: str) -> None:
    unaligned = np.frombuffer(b"\0" + X.astype(dtype).tobytes(), np.uint8)[1:].view(dtype).reshape(5, 3)
    for x in (
        X.T.copy().T,
        X[:, ::-1][:, ::-1],
        np.repeat(X, 2, axis=0)[::2],
        X.astype(">f8"),
        X.astype("f2"),
        unaligned,
    ):
        made = check_inputs(CLASSIFIER, x, dtype)["x"]
        assert made.dtype == dtype and made.dtype.isnative and made.flags.c_contiguous and made.flags.aligned
        np.testing.assert_array_equal(made, X)


@pytest.mark.parametrize(
    "labels", [LABELS.tolist(), LABELS.astype(np.uint8), LABELS.reshape(-1, 1), LABELS.astype(">i2")]
)
def test_labels_come_out_as_int64(labels: Any) -> None:
    data = check_data(CLASSIFIER, X.tolist(), labels, "float32")
    assert data.targets[""].array.dtype == np.int64 and data.targets[""].array.shape == (5,) and data.given == "labels"
    np.testing.assert_array_equal(data.targets[""].array, LABELS)


def test_booleans_are_labels_and_numbers() -> None:
    np.testing.assert_array_equal(check_data(CLASSIFIER, X > 3, LABELS > 0, "float32").targets[""].array, LABELS > 0)


def test_two_dimensional_targets_of_a_classifier_are_distributions() -> None:
    one_hot = np.eye(4)[LABELS]
    for y in (one_hot, one_hot.astype(int), (one_hot + 1) / 5):
        data = check_data(CLASSIFIER, X, y, "float32")
        assert data.given == "distribution" and data.targets[""].array.dtype == np.float32 and data.facts_hold


@BOTH
def test_whether_distributions_sum_to_one_is_reported(dtype: str) -> None:
    y = np.random.default_rng(0).dirichlet(np.ones(4), 5)
    assert check_data(CLASSIFIER, X, y, dtype).facts_hold
    y[3, 2] += 1e-4
    assert not check_data(CLASSIFIER, X, y, dtype).facts_hold
    assert not check_data(CLASSIFIER, X, np.zeros((5, 4)), dtype).facts_hold


def test_values_of_one_output_may_have_one_axis_or_two() -> None:
    y = np.arange(5)
    for given in (y, y.reshape(5, 1), y.tolist(), y.astype(np.float32)):
        data = check_data(REGRESSION, X, given, "float64")
        assert (
            data.given == "values"
            and data.targets[""].array.shape == (5, 1)
            and data.targets[""].array.dtype == np.float64
        )
        np.testing.assert_array_equal(data.targets[""].array[:, 0], y)


# ---------------------------------------------------------------------------------------------- refused
@pytest.mark.parametrize(
    ("network", "x", "y", "says"),
    [
        (CLASSIFIER, X, [0, 1, 2, 4, 0], "y[3]: found 4, expected labels from 0 to 3"),
        (CLASSIFIER, X, [0, -1, 2, 3, 0], "y[1]: found -1"),
        (CLASSIFIER, X, np.array([0, 1, 2, 2**63, 0], np.uint64), "y[3]: found 9223372036854775808"),
        (CLASSIFIER, X, LABELS.astype(float), "astype(int)"),
        (CLASSIFIER, X, np.ones((5, 3)), "(n, 4)"),
        (CLASSIFIER, X, np.ones((5, 4, 1)), "(n, 4)"),
        (CLASSIFIER, X, np.eye(4)[LABELS] - 0.5, "y[0, 1]: found -0.5"),
        (CLASSIFIER, X, np.where(np.eye(4)[LABELS] > 0, np.nan, 0), "y[0, 0]: found nan"),
        (CLASSIFIER, X, LABELS[:4], "y: found 4 rows, expected 5 rows, as X has"),
        (CLASSIFIER, X, 3, "a single number"),
        (CLASSIFIER, X, list("abcde"), "<U1"),
        (CLASSIFIER, X, None, "y: found None, expected an array"),
        (CLASSIFIER, None, LABELS, "X: found None, expected an array"),
        (CLASSIFIER, X, LABELS.astype(float)[:, None], "float64 in shape (5, 1)"),
        (CLASSIFIER, X[:, :2], LABELS, "X: found shape (5, 2), expected (n, 3)"),
        (CLASSIFIER, X[0], LABELS, "found shape (3,)"),
        (CLASSIFIER, X[:0], LABELS[:0], "without samples"),
        (CLASSIFIER, [], [], "without samples"),
        (CLASSIFIER, 1.0, LABELS, "without samples"),
        (CLASSIFIER, [[1, 2, 3], [4, 5]], [0, 1], "different lengths"),
        (CLASSIFIER, X.astype(object), LABELS, "object"),
        (CLASSIFIER, X * 1j, LABELS, "complex"),
        (CLASSIFIER, X.astype("M8[s]"), LABELS, "datetime"),
        (CLASSIFIER, np.full((5, 3), "1"), LABELS, "<U1"),
        (CLASSIFIER, scipy.sparse.csr_array(X), LABELS, "toarray()"),
        (CLASSIFIER, np.ma.masked_less(X, 2), LABELS, "masked"),
        (REGRESSION, X, np.array([0, 1, np.inf, 3, 4]), "y[2, 0]: found inf"),
        (HINGE, X, [1, -1, 0, 1, 1], "y[2, 0]: found 0.0, expected targets -1 and 1, as hinge takes. Classes 0 and 1"),
        (HINGE, X, [1, -1, 5, 1, 1], "become these by 2*y - 1"),
        (HINGE, X, [1, -1, np.nan, 1, 1], "y[2, 0]: found nan"),
        (POISSON, X, [0, 1, 2.5, 3, -1], "y[4, 0]: found -1.0, expected counts, 0 or above, as poisson takes"),
        (POISSON, X, [0, 1, np.inf, 3, 4], "y[2, 0]: found inf"),
        (TWO, X, np.ones(5), "(n, 2): 2 values"),
        (TWO, X, np.ones((5, 1)), "(n, 2): 2 values"),
    ],
)
def test_what_does_not_fit_is_refused_by_name_index_and_value(network: Network, x: Any, y: Any, says: str) -> None:
    assert says in refused(network, x, y)


def test_targets_that_a_loss_can_have_are_accepted() -> None:
    assert check_data(HINGE, X, np.array([1, -1, -1, 1, 1]), "float32").targets[""].array.shape == (5, 1)
    assert check_data(POISSON, X, [0, 1, 2.5, 3, 4], "float32").targets[""].array.shape == (5, 1)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 2**18, 2**20 - 1])
def test_the_first_value_that_is_not_finite_is_found_in_data_of_any_size(bad: float, row: int) -> None:
    x = np.zeros((2**20, 3), np.float32)
    x[row, 1] = bad
    x[-1, 2] = np.nan
    assert f"X[{row}, 1]: found {bad}" in refused(CLASSIFIER, x, np.zeros(2**20, int))


def test_numbers_beyond_float32_are_refused_in_float32_alone() -> None:
    x = X.copy()
    x[4, 0] = 1e39
    assert "X[4, 0]: found 1e+39, expected numbers in the range of float32" in refused(CLASSIFIER, x, LABELS)
    assert check_data(CLASSIFIER, x, LABELS, "float64").inputs["x"][4, 0] == 1e39


def test_arrays_are_called_what_the_caller_calls_them() -> None:
    with pytest.raises(SymnetError, match=r"validation X: .*\(5, 2\)"):
        check_data(CLASSIFIER, X[:, :2], LABELS, "float32", ("validation X", "validation y"))


# ---------------------------------------------------------------------------------------------- files
def written(path: Path, content: str | bytes) -> Path:
    raw = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "T.CSV"])
def test_a_table_is_read_with_its_target_last(tmp_path: Path, name: str) -> None:
    x, y = load_data(CLASSIFIER, written(tmp_path / name, "# made up\na,b,c,label\n\n1,2,3,0\r\n 4 , 5e0,-6,3\n"))
    np.testing.assert_array_equal(x, [[1, 2, 3], [4, 5, -6]])
    np.testing.assert_array_equal(y, [0, 3])
    assert y.dtype == np.int64
    x, y = load_data(TWO, written(tmp_path / name, "\ufeff1,2,3,0.5,1\n"))
    np.testing.assert_array_equal(y, [[0.5, 1]])


def test_numpy_files_are_read(tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", np.column_stack([X, LABELS]))
    np.savez(tmp_path / "t.npz", X=X, y=LABELS)
    np.savez_compressed(tmp_path / "c.npz", x=X, y=LABELS)
    for name in ("t.npy", "t.npz", "c.npz"):
        x, y = load_data(CLASSIFIER, tmp_path / name)
        np.testing.assert_array_equal(x, X)
        np.testing.assert_array_equal(y, LABELS)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("1,2,3,0\n1,2,3\n", "line 2: found 3 columns, expected 4, as in line 1"),
        ("1,2,3,0\n\n1,x,3,0\n", "line 3, column 2: found 'x'"),
        ("a,b,c,d\n1,,3,0\n", "line 2, column 2: found ''"),
        ("1,b,3,0\n", "line 1, column 2: found 'b'"),
        ("1,2,0\n", "found 3 columns, expected 4 or 7: 3 inputs, then the target"),
        ("1,2,3,0\n1,2,3,4\n", "line 2, label: found 4.0, expected an integer from 0 to 3"),
        ("1,2,3,-1\n", "line 1, label: found -1.0"),
        ("1,2,3,0.5\n", "line 1, label: found 0.5"),
        ("1,2,3,nan\n", "line 1, label: found nan"),
        ("# made up\n1,2,3,0\n1,nan,3,0\n", "line 3, column 2: found nan, expected a finite number"),
        ("1,2,-inf,0\n", "line 1, column 3: found -inf"),
        ("a;b;c;d\n1;2;3;0\n", "line 2: found 1 column, '1;2;3;0', expected numbers separated by commas"),
        ("1 2\t3 0\n", "line 1: found 1 column"),
        ("", "no rows of numbers"),
        ("a,b,c,d\n", "no rows of numbers"),
        (b"\xff\xfe\x00\x01", "binary data"),
        (b"1,2,3,\x000\n", "binary data"),
    ],
)
def test_a_bad_table_is_refused_by_file_and_line(tmp_path: Path, content: str | bytes, says: str) -> None:
    path = written(tmp_path / "bad.csv", content)
    with pytest.raises(SymnetError) as caught:
        load_data(CLASSIFIER, path)
    assert says in str(caught.value) and "bad.csv" in str(caught.value)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "other.npz"
    np.savez(archive, a=X)
    objects = tmp_path / "objects.npy"
    np.save(objects, np.array([{}], object), allow_pickle=True)
    cut = written(tmp_path / "cut.csv.gz", "1,2,3,0\n" * 1000)
    cut.write_bytes(cut.read_bytes()[:-20])
    (tmp_path / "plain.csv.gz").write_text("1,2,3,0\n")
    for name in ("broken.npz", "broken.npy", "data.parquet"):
        (tmp_path / name).write_bytes(b"neither")
    for name in (
        *("missing.csv", "other.npz", "objects.npy", "cut.csv.gz", "plain.csv.gz", "broken.npz", "broken.npy"),
        *("data.parquet", ""),
    ):
        with pytest.raises(SymnetError) as caught:
            load_data(CLASSIFIER, tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


def test_files_that_unfold_beyond_the_limit_are_refused_before_they_do(tmp_path: Path) -> None:
    path = written(tmp_path / "bomb.csv.gz", b"0" * 2_000_000)
    with pytest.raises(SymnetError, match="more than 1000000 bytes"):
        load_data(CLASSIFIER, path, limit=1_000_000)
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("X.npy", b"\0" * 2_000_000)
    with pytest.raises(SymnetError, match="2000000 bytes, uncompressed"):
        load_data(CLASSIFIER, tmp_path / "bomb.npz", limit=1_000_000)


# ---------------------------------------------------------------------------------------------- splits
@pytest.mark.parametrize(
    ("rows", "validation", "test"), [(1797, 0.1, 0.2), (10, 0.1, 0.1), (4, 0.0, 0.0), (7, 0.01, 0.5)]
)
def test_a_split_is_disjoint_complete_and_of_the_sizes_asked_for(rows: int, validation: float, test: float) -> None:
    parts = split(rows, 3, validation, test)
    together = np.concatenate([parts.train, parts.validation, parts.test])
    np.testing.assert_array_equal(np.sort(together), np.arange(rows))
    for part, share in ((parts.validation, validation), (parts.test, test)):
        assert len(part) == (max(1, round(rows * share)) if share else 0)
    assert len(parts.train) >= 1


def test_the_seed_decides_a_split_and_the_test_part_depends_on_nothing_else() -> None:
    first, again, other = split(100, 1, 0.1, 0.2), split(100, 1, 0.1, 0.2), split(100, 2, 0.1, 0.2)
    for name in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert set(first.test) != set(other.test)
    np.testing.assert_array_equal(split(100, 1, 0.3, 0.2).test, first.test)
    np.testing.assert_array_equal(split(100, 1, 0.0, 0.2).test, first.test)


def test_a_split_that_leaves_nothing_to_train_on_is_refused() -> None:
    with pytest.raises(SymnetError, match="2 rows, of which 1 would be for validation and 1 for the test"):
        split(2, 0, 0.1, 0.1)


@pytest.mark.skipif(not hasattr(mmap, "MADV_RANDOM"), reason="the system takes no advice")
@pytest.mark.parametrize("memory", [100, 10**12])
def test_of_a_file_larger_than_memory_the_system_reads_nothing_ahead(tmp_path, monkeypatch, memory: int) -> None:
    given: list[int] = []

    class Mapped(mmap.mmap):
        def madvise(self, advice: int, *_: int) -> None:
            given.append(advice)

    monkeypatch.setattr(arrays, "_memory", lambda: memory)
    monkeypatch.setattr(mmap, "mmap", Mapped)
    np.save(tmp_path / "x.npy", np.ones((40, 3), np.float32))
    X = np.load(tmp_path / "x.npy", mmap_mode="r")
    network = Network(3, [dense(1)], "squared_error")
    for rows, batch_size in ((X, 8), (np.array(X), 8), (X, 40)):  # a batch of all rows has them as they stand
        network.compile(seed=0).prepare(rows, np.ones((40, 1)), batch_size)
    assert given == ([mmap.MADV_RANDOM] if memory == 100 else [])
