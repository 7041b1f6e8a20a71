"""What all tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's folder: where README.md and examples/ are."""
    return ROOT


@pytest.fixture
def plain_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code is compiled for this architecture's oldest processor."""
    import llvmlite.binding as llvm

    from compiler import cache, native

    native._initialize()
    machine = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(
        cpu="generic", features="", opt=3, reloc="static", codemodel="jitdefault", jit=True
    )
    monkeypatch.setattr(native, "_machine", lambda: machine)
    monkeypatch.setattr(cache, "surroundings", lambda: "the oldest processor")
    monkeypatch.setenv("SYMNET_CACHE", "")
