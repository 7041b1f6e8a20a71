"""The disk cache: what is stored comes back, and whatever is odd is the same as nothing."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import llvmlite.binding as llvm
import pytest

from compiler import cache, native
from symnet import Network, dense
from symnet.declare.checks import Choice
from symnet.run import plan
from symnet.run.plan import structure

KEY = "0123456789abcdef" * 4
OTHER = "f" * 64


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SYMNET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_was_stored_comes_back_to_the_byte() -> None:
    assert cache.load(KEY) is None
    assert cache.store(KEY, b"\x00payload\n")
    assert cache.load(KEY) == b"\x00payload\n"
    assert cache.store(KEY, b"") and cache.load(KEY) == b""
    assert cache.load(OTHER) is None


def test_the_directory_is_closed_to_others_even_if_it_was_open(folder: Path) -> None:
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    assert cache.store(KEY, b"x")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / f"{KEY}.bin").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("length", [0, 1, 7, 8, 39, 60, 111, 118])
def test_a_truncated_entry_is_deleted_and_counts_as_none(folder: Path, length: int) -> None:
    cache.store(KEY, b"payload")
    path = folder / f"{KEY}.bin"
    assert length < path.stat().st_size
    path.write_bytes(path.read_bytes()[:length])
    with pytest.warns(cache.CacheWarning, match=rf"{KEY}.bin: it is .*; deleted, and compiled anew"):
        assert cache.load(KEY) is None
    assert not path.exists()


def test_any_flipped_bit_is_found(folder: Path) -> None:
    cache.store(KEY, b"payload")
    path = folder / f"{KEY}.bin"
    whole = path.read_bytes()
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 1 << position % 8
        path.write_bytes(changed)
        with pytest.warns(cache.CacheWarning, match="it is "):
            assert cache.load(KEY) is None, position
    cache.store(KEY, b"payload")
    assert cache.load(KEY) == b"payload"


def test_an_entry_under_another_name_is_refused(folder: Path) -> None:
    cache.store(KEY, b"payload")
    (folder / f"{KEY}.bin").rename(folder / f"{OTHER}.bin")
    with pytest.warns(cache.CacheWarning, match="it is another entry"):
        assert cache.load(OTHER) is None


def test_an_entry_that_others_can_write_is_refused(folder: Path) -> None:
    cache.store(KEY, b"payload")
    (folder / f"{KEY}.bin").chmod(0o666)
    with pytest.warns(cache.CacheWarning, match="another user could have written it"):
        assert cache.load(KEY) is None


def test_a_directory_of_another_owner_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.store(KEY, b"payload")
    monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)
    with pytest.warns(
        cache.CacheWarning, match="it belongs to another user; kernels are compiled anew in each process"
    ):
        assert cache.directory() is None
        assert cache.load(KEY) is None and not cache.store(KEY, b"x")


def test_a_folder_for_other_things_that_is_open_to_others_stays_as_it_is(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "thesis.tex").write_text("years")
    with pytest.warns(cache.CacheWarning, match="has other files than the cache's, such as thesis.tex"):
        assert not cache.store(KEY, b"x")
    assert folder.stat().st_mode & 0o777 == 0o755 and [p.name for p in folder.iterdir()] == ["thesis.tex"]


def test_without_a_home_there_is_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("SYMNET_CACHE")
    monkeypatch.setattr(Path, "home", none)
    with pytest.warns(cache.CacheWarning, match="home directory"):
        assert not cache.store(KEY, b"x")


def test_without_a_usable_directory_nothing_is_stored_and_nothing_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    occupied = tmp_path / "file"
    occupied.write_text("")
    for place in (occupied, occupied / "below", ""):
        monkeypatch.setenv("SYMNET_CACHE", str(place))
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            assert not cache.store(KEY, b"x")
            assert cache.load(KEY) is None
            assert cache.write_source("a.py", "x = 1\n") is None
        assert [w.category for w in told] == [cache.CacheWarning] * (3 if place else 0)


def test_a_full_disk_leaves_no_half_written_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.store(KEY, b"old")

    def full(source: object, target: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", full)
    with pytest.warns(cache.CacheWarning, match="no space left; nothing is kept"):
        assert not cache.store(KEY, b"new")
    assert [p.name for p in folder.iterdir()] == [f"{KEY}.bin"]
    assert cache.load(KEY) == b"old"


def test_above_the_limit_the_least_recently_used_entries_go(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "LIMIT", 10_000)
    keys = [f"{n:064x}" for n in range(8)]
    for n, key in enumerate(keys):
        cache.store(key, b"x" * 1000)
        os.utime(folder / f"{key}.bin", (n, n))
    assert all((folder / f"{key}.bin").exists() for key in keys[-5:])
    assert cache.load(keys[0]) is not None  # which makes it the most recently used
    cache.store(OTHER, b"x" * 2000)  # above the limit: shrinks to three quarters
    assert cache.load(OTHER) is not None and cache.load(keys[0]) is not None
    assert cache.load(keys[1]) is None
    assert sum(p.stat().st_size for p in folder.iterdir()) <= 10_000


def test_two_processes_that_write_one_key_leave_one_whole_entry(folder: Path) -> None:
    code = (
        "import sys; from compiler import cache\n"
        "for n in range(200):\n"
        f"    cache.store('{KEY}', sys.argv[1].encode() * 5000)\n"
        f"    assert cache.load('{KEY}') in (b'a' * 5000, b'b' * 5000)\n"
    )
    both = [subprocess.Popen([sys.executable, "-c", code, letter]) for letter in "ab"]
    assert [process.wait() for process in both] == [0, 0]
    assert cache.load(KEY) in (b"a" * 5000, b"b" * 5000)
    assert len(list(folder.iterdir())) == 1


def test_a_key_depends_on_every_part_and_on_where_it_ends() -> None:
    keys = {
        cache.key(),
        cache.key(""),
        cache.key("ab"),
        cache.key("a", "b"),
        cache.key("b", "a"),
        cache.key("a", b"b", ""),
    }
    assert len(keys) == 6
    assert cache.key("a") == cache.key(b"a")


def test_a_key_depends_on_the_packages_own_sources(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("1")
    first = cache.package_hash(tmp_path)
    cache.package_hash.cache_clear()
    (tmp_path / "a.py").write_text("2")
    assert cache.package_hash(tmp_path) != first
    cache.package_hash.cache_clear()


@pytest.fixture
def forgetful() -> Iterator[None]:
    """What keys are made of is looked at again, before and after."""
    for clear in (True, False):
        for known in (cache.package_hash, cache.surroundings, cache.processor):
            known.cache_clear()
        if clear:
            yield


@pytest.mark.parametrize("name", ["sympy", "numba", "llvmlite", "numpy"])
def test_another_version_makes_another_key(name: str, monkeypatch: pytest.MonkeyPatch, forgetful: None) -> None:
    first, version = cache.key("a"), cache.version
    monkeypatch.setattr(cache, "version", lambda package: "another" if package == name else version(package))
    cache.surroundings.cache_clear()
    assert cache.key("a") != first


def test_another_python_or_processor_makes_another_key(monkeypatch: pytest.MonkeyPatch, forgetful: None) -> None:
    keys = [cache.key("a")]
    for place, name, value in (
        (platform, "python_version", lambda: "3.99.0"),
        (llvm, "get_process_triple", lambda: "another-triple"),
        (llvm, "get_host_cpu_name", lambda: "another-processor"),
        (llvm, "get_host_cpu_features", lambda: llvm.FeatureMap({"fma": False})),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, value)
            cache.surroundings.cache_clear()
            cache.processor.cache_clear()
            keys.append(cache.key("a"))
    assert len(set(keys)) == 5


@pytest.mark.parametrize("part", ["differentiate.py", "kinds/affine.py", "formulation/layers.py", "run/plan.py"])
def test_another_source_of_symnet_makes_another_key(part: str, tmp_path: Path, forgetful: None, monkeypatch) -> None:
    copied = shutil.copytree(Path(plan.__file__).parent.parent, tmp_path / "symnet")
    monkeypatch.setattr(plan, "__file__", str(copied / "run" / "plan.py"))
    network = Network(input=2, layers=[dense(1)], loss="squared_error")
    first = structure(network.spec, Choice("adam"))
    with open(copied / part, "a") as file:
        file.write("# another\n")
    cache.package_hash.cache_clear()
    assert structure(network.spec, Choice("adam")) != first


def test_another_flag_makes_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    ir = 'define void @"f"(ptr %t) {\n  ret void\n}\n'
    text = "def f(table):\n    x = pointer_f64(table[0])\n    x[0] = F64(1)\n"
    build = native.build_source
    keys = [
        *(native.build_kernel("f", ir, passes).key for passes in ("all", "scalar", "none")),
        *(build(text, "f", passes=passes).key for passes in ("all", "scalar")),
        build(text, "f", subnormals=False).key,
        build(text, "f", {"one": 1}).key,
        build(text, "f", depends=[native.build_kernel("f", ir)]).key,
    ]
    monkeypatch.setattr(native, "VECTOR_BITS", 256)
    keys += [native.build_kernel("f", ir).key, build(text, "f").key]
    assert len(set(keys)) == len(keys) == 10


def test_what_is_derived_is_found_again_for_the_same_files_of_symnet_only(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(input=2, layers=[dense(1)], loss="squared_error")
    first = structure(network.spec, Choice("adam"))
    assert first == structure(network.spec, Choice("adam"))
    monkeypatch.setattr(cache, "package_hash", lambda directory: f"another {directory.name}")
    assert structure(network.spec, Choice("adam")) != first


def test_generated_source_is_a_real_file(folder: Path) -> None:
    path = cache.write_source("kernel_1.py", "x = 1\n")
    assert path == folder / "kernel_1.py" and path.read_text() == "x = 1\n"
    path.write_text("changed")
    assert cache.write_source("kernel_1.py", "x = 1\n").read_text() == "x = 1\n"
