"""Model files: whole or not there, read only as far as the file proves, never executed."""

import json
import os

import numpy as np
import pytest

from symnet.errors import SymnetError
from symnet.run.storage import read, read_header, write

GOLDEN = (
    b'\x10\x01\x00\x00\x00\x00\x00\x00{"__metadata__":{"spec":"{}"},"n":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}'
    b',"hidden.b":{"dtype":"F64","shape":[2],"data_offsets":[8,24]},"hidden.W":{"dtype":"F32","s'
    b'hape":[2,2],"data_offsets":[24,40]},"none":{"dtype":"F32","shape":[0,3],"data_offsets":[40'
    b",40]}}    "
    b"\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xf0?\x00\x00\x00\x00\x00\x00\x00\x80"
    b"\x00\x00\x80?\x00\x00 @\x00\x00@@\x00\x00\x80\xc0"
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def test_a_file_of_the_formats_own_library_is_read(path):
    path.write_bytes(GOLDEN)
    arrays, metadata = read(path)
    assert metadata == {"spec": "{}"}
    assert set(arrays) == {"hidden.W", "hidden.b", "n", "none"}
    assert arrays["hidden.W"].dtype == np.float32 and arrays["hidden.W"].tolist() == [[1, 2.5], [3, -4]]
    assert arrays["hidden.b"].dtype == np.float64 and np.signbit(arrays["hidden.b"][1])
    assert arrays["n"].tolist() == [7] and arrays["none"].shape == (0, 3)


def test_a_file_that_we_write_declares_the_same_arrays_and_aligns_them(path):
    arrays = {
        "none": np.zeros((0, 3), np.float32),
        "n": np.array([7]),
        "hidden.b": np.array([1, -0.0]),
        "hidden.W": np.array([[1, 2.5], [3, -4]], np.float32),
    }
    write(path, arrays, {"spec": "{}"})
    length = int.from_bytes(path.read_bytes()[:8], "little")
    theirs = int.from_bytes(GOLDEN[:8], "little")
    assert json.loads(path.read_bytes()[8 : 8 + length]).keys() == json.loads(GOLDEN[8 : 8 + theirs]).keys()
    assert path.read_bytes()[8 + length :][:16] == np.array([1, -0.0]).tobytes() and length % 8 == 0
    back, metadata = read(path)
    assert metadata == {"spec": "{}"} and all(np.array_equal(back[k], arrays[k]) for k in arrays)


def test_every_array_comes_back_bit_by_bit(path):
    odd = np.array([np.nan, -np.nan, np.inf, -0.0, 5e-324, np.pi])
    arrays = {
        "odd": odd,
        "single": odd.astype(np.float32),
        "transposed": np.arange(6.0).reshape(2, 3).T,
        "strided": np.arange(10)[::3],
        "big endian": np.arange(3.0).astype(">f8"),
        "scalar": np.float64(3),
        "bool": np.array([True, False]),
        "α/β": np.zeros((2, 0)),
    }
    write(path, {k: np.asarray(v) for k, v in arrays.items()}, {"é": "ü\n"})
    back, metadata = read(path)
    assert metadata == {"é": "ü\n"}
    for name, array in arrays.items():
        assert back[name].shape == np.shape(array)
        assert back[name].tobytes() == np.asarray(array).astype(back[name].dtype).tobytes()


def test_the_same_arrays_give_the_same_bytes(path, tmp_path):
    arrays = {"b": np.arange(3.0), "a": np.arange(2)}
    write(path, arrays, {"y": "1", "x": "2"})
    write(tmp_path / "other", dict(reversed(arrays.items())), {"x": "2", "y": "1"})
    assert path.read_bytes() == (tmp_path / "other").read_bytes()


def test_a_header_is_read_without_the_data(path):
    write(path, {"W": np.zeros((3, 4), np.float32)}, {"k": "v"})
    entries, metadata = read_header(path)
    assert entries["W"].shape == (3, 4) and entries["W"].dtype == "F32" and metadata == {"k": "v"}


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(path, monkeypatch):
    write(path, {"W": np.zeros(3)})
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SymnetError, match="No space left on device"):
        write(path, {"W": np.ones(300)})
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_every_truncation_and_every_extension_is_refused(path):
    for cut in range(len(GOLDEN)):
        path.write_bytes(GOLDEN[:cut])
        with pytest.raises(SymnetError, match="is not a whole safetensors file"):
            read(path)
    path.write_bytes(GOLDEN + b"\0")
    with pytest.raises(SymnetError, match="need 40 bytes of data, found 41"):
        read(path)


def header(value):
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return len(text).to_bytes(8, "little") + text


def entry(dtype="F64", shape=(1,), offsets=(0, 8)):
    return {"W": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "header length is 0 bytes"),
        ((2**62).to_bytes(8, "little") + b"{}", "header length is 4611686018427387904 bytes, the file has 10"),
        (header(b"[" * 100_000), "not JSON"),
        (header(b'{"a":1,"a":1}'), "a name occurs twice"),
        (header(b"[1]"), "not a JSON object"),
        (header(b"\xff\xfe"), "not JSON"),
        (header(b'{"a": ' + b"9" * 5000 + b"}"), "not JSON"),
        (header({"__metadata__": {"k": 1}}), "metadata are not a mapping"),
        (header({"W": 1}), "the entry of 'W'"),
        (header(entry(dtype="F8")) + bytes(8), "'F8', expected one of F64"),
        (header(entry(dtype=["F64"])) + bytes(8), "expected one of F64"),
        (header(entry(shape=(2,))) + bytes(8), "of shape (2,) needs 16 bytes, found 8"),
        (header(entry(shape=(10**9, 10**9, 10**9))) + bytes(8), "needs 8000000000000000000000000000 bytes"),
        (header(entry(shape=(-1,))) + bytes(8), "the shape of 'W'"),
        (header(entry(shape=(True,))) + bytes(8), "the shape of 'W'"),
        (header(entry(shape=(1,) * 33)) + bytes(8), "the shape of 'W'"),
        (header(entry(offsets=(8, 16))) + bytes(16), "begin at 8, expected 0"),
        (header(entry(offsets=(0, 8, 8))) + bytes(8), "not two positions"),
        (header(entry()) + bytes(16), "need 8 bytes of data, found 16"),
    ],
)
def test_a_damaged_or_hostile_file_is_refused_with_its_reason(path, content, message):
    path.write_bytes(content)
    with pytest.raises(SymnetError) as caught:
        read(path)
    assert message in str(caught.value) and str(path) in str(caught.value)


def test_overlapping_arrays_are_refused(path):
    both = entry() | {"V": entry()["W"]}
    path.write_bytes(header(both) + bytes(8))
    with pytest.raises(SymnetError, match="begin at 0, expected 8"):
        read(path)


def test_a_file_that_is_not_there_is_named(path):
    with pytest.raises(SymnetError, match=r"model\.safetensors cannot be read: No such file"):
        read(path)


def test_objects_are_not_stored(path):
    with pytest.raises(SymnetError, match="found dtype object"):
        write(path, {"W": np.array([object()])})
    assert not path.exists()


def test_what_is_no_file_is_neither_replaced_nor_read(path, tmp_path):
    os.mkfifo(tmp_path / "device")
    for odd in (tmp_path, tmp_path / "device", tmp_path / "missing" / "model", None, 5, True, "", "a\0b", []):
        for way in (lambda odd: write(odd, {"W": np.zeros(3)}), read, read_header):
            with pytest.raises(SymnetError):
                way(odd)
    assert os.listdir(tmp_path) == ["device"] and not (tmp_path / "device").is_file()


def test_a_link_stays_a_link_to_the_file_that_is_written(path, tmp_path):
    (tmp_path / "link").symlink_to("there")
    write(tmp_path / "link", {"W": np.zeros(3)})
    assert (tmp_path / "link").is_symlink() and read(tmp_path / "there")[0]["W"].tolist() == [0, 0, 0]
