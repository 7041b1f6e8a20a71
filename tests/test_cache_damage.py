"""A cache that is damaged, full or closed between two processes: the same bits, a warning, never an error."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from compiler import cache, native
from tests import cold


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A cache as a first process leaves it, and the bits that it got."""
    folder = tmp_path_factory.mktemp("whole") / "cache"
    (found,) = cold.start_at_once(1, folder, env={"PYTHONHASHSEED": "0"})  # what this one has loaded would not be there
    return folder, found.strip()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the cache is of a process that has loaded nothing yet."""
    monkeypatch.setenv("SYMNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(native, "_LOADED", {})
    return tmp_path / "cache"


def test_a_damaged_cache_is_made_anew_with_a_warning(
    whole: tuple[Path, str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(whole[0], folder)
    cold.DAMAGES["each its own"](folder)  # more: python -m tests.cold --damages
    with pytest.warns(cache.CacheWarning):
        assert cold.bits() == whole[1]
    monkeypatch.setattr(native, "_LOADED", {})
    assert cold.bits() == whole[1]  # it is whole again: no warning


def test_on_a_full_disk_kernels_are_compiled_anew(
    whole: tuple[Path, str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any, **options: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "mkstemp", full)
    with pytest.warns(cache.CacheWarning, match="No space left on device; nothing is kept"):
        assert cold.bits() == whole[1]
    assert os.listdir(folder) == []


def test_another_process_with_other_hashes_gets_the_same_bits_from_the_cache(whole: tuple[Path, str]) -> None:
    folder, expected = whole
    before = sorted(os.listdir(folder))
    found = cold.start_at_once(1, folder, env={"PYTHONHASHSEED": "7"})  # more: tests.cold, tests.determinism
    assert found == [f"{expected}\n"] and sorted(os.listdir(folder)) == before
