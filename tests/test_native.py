"""Native functions: from IR and from generated source, through the cache, in this process and in the next."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from compiler import cache, native
from compiler.kernels import random
from compiler.native import Extern, NativeError, build_kernel, build_source, callable_from, restore

DOUBLE = "define void @twice(ptr %p) {\n %v = load double, ptr %p\n %w = fadd double %v, %v\n store double %w, ptr %p\n ret void\n}\n"  # noqa: E501

LOOPS = """
def loops(table):
    M = pointer_f32(table[0])
    n = table[1]
    for q in range(n):
        M[q] = M[2048 + q] * M[4096 + q]
    total = F32(0)
    for q in range(n):
        total = reduce_add(total, M[2048 + q])
    largest = F32(-1e30)
    for q in range(n):
        largest = reduce_max(largest, M[2048 + q])
    for q in range(n):
        M[6144 + q] = select(M[2048 + q] > F32(0), M[4096 + q], F32(0))
    M[8191] = total
    M[8190] = largest
"""


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        path = tmp_path_factory.mktemp("cache")
        patch.setenv("SYMNET_CACHE", str(path))
        yield path


def run(function: native.Native, *table: int) -> None:
    cells = np.array(table, np.int64)
    callable_from(function, "void(i64*)")(cells.ctypes.data)


def test_a_kernel_runs_and_its_symbol_ends_in_a_hash() -> None:
    function = build_kernel("twice", DOUBLE)
    x = np.array([1.5])
    callable_from(function, "void(f64*)")(x.ctypes.data)
    assert x[0] == 3.0
    assert re.fullmatch(r"twice_[0-9a-f]{16}", function.name)
    assert native.symbol_address(function.name) == function.address
    assert build_kernel("twice", DOUBLE) is function


def test_another_body_under_the_same_name_is_another_function() -> None:
    other = build_kernel("twice", DOUBLE.replace("fadd double %v, %v", "fmul double %v, 3.0"))
    x = np.array([2.0])
    callable_from(other, "void(f64*)")(x.ctypes.data)
    callable_from(build_kernel("twice", DOUBLE), "void(f64*)")(x.ctypes.data)
    assert x[0] == 12.0


def test_generated_loops_compute_and_are_vectorized() -> None:
    function = build_source(LOOPS, "loops")
    M = np.random.default_rng(0).standard_normal(8192).astype(np.float32)
    old = M.copy()
    run(function, M.ctypes.data, 2000)
    x, y = old[2048:4048], old[4096:6096]
    np.testing.assert_array_equal(M[:2000], x * y)
    np.testing.assert_array_equal(M[6144:8144], np.where(x > 0, y, np.float32(0)))
    assert abs(M[8191] - x.sum(dtype=float)) < 1e-3 and M[8190] == x.max()
    text = str(native.optimized(native.source_ir(LOOPS, "loops", {}), "loops", "loops"))
    for instruction in ("fmul", "fadd", "select"):
        assert re.search(rf"{instruction} [a-z ]*<\d+ x (float|i1)>", text), instruction
    assert "llvm.maximum.v" in text and "masked.store" not in text


def test_nan_goes_through_the_reduction_to_a_maximum() -> None:
    text = (
        "def f(table):\n    x = pointer_f64(table[0])\n    x[8] = reduce_max(x[0], F64(0))\n    m = F64(-1e300)\n"
        "    for i in range(8):\n        m = reduce_max(m, x[i])\n    x[9] = m\n"
        "    x[10] = F64(isfinite(x[0])) + F64(2) * F64(isfinite(x[1]))\n"
    )
    for place in range(8):
        x = np.arange(12.0)
        x[place] = np.nan
        run(build_source(text, "f"), x.ctypes.data)
        assert np.isnan(x[9]) and np.isnan(x[8]) == (place == 0)
        assert x[10] == {0: 2.0, 1: 1.0}.get(place, 3.0)


def test_source_calls_kernels_libc_and_addresses() -> None:
    kernel = build_kernel("twice", DOUBLE)
    text = (
        "def calls(table):\n    x = pointer_f64(table[0])\n    twice(x)\n    twice(offset(x, 1))\n"
        "    twice(table[0] + 16)\n    memset(offset(x, 3), 0, 8)\n"
        "    call_address(address, pointer_i64(table[0] + 32))\n"
        "    x[5] = x[5] + number\n"
    )
    namespace = {
        "twice": Extern(kernel.name, "void(f64*)"),
        "memset": Extern("memset", "i8*(i8*,i32,i64)"),
        "address": kernel.address,
        "number": 0.25,
    }
    function = build_source(text, "calls", namespace, [kernel])
    x = np.ones(6)
    run(function, x.ctypes.data)
    assert x.tolist() == [2, 2, 2, 0, 2, 1.25]


def test_a_symbol_that_does_not_exist_is_an_error_and_not_the_end_of_the_process() -> None:
    text = "def f(table):\n    nothing(table[0])\n"
    with pytest.raises(NativeError, match="no_such_symbol"):
        build_source(text, "f", {"nothing": Extern("no_such_symbol", "void(i64)")})


@pytest.mark.parametrize("text", ["def f(table):\n    x = open\n", "def f(table):\n    y = table[0].real_nonsense\n"])
def test_source_sees_no_builtins_and_faults_name_the_file(text: str) -> None:
    with pytest.raises(NativeError, match=r"f_[0-9a-f]{16}"):
        build_source(text, "f")


def test_broken_ir_is_an_error() -> None:
    with pytest.raises(NativeError, match="broken"):
        build_kernel("broken", "define void @broken() { ret i32 0 }")


def test_random_numbers_are_the_same_as_in_python() -> None:
    text = (
        "def draw(table):\n    x = pointer_f64(table[0])\n    y = pointer_f32(table[1])\n"
        "    for i in range(50):\n        x[i] = uniform_f64(3, i, table[2])\n        y[i] = uniform_f32(i)\n"
    )
    x, y = np.zeros(50), np.zeros(50, np.float32)
    run(build_source(text, "draw"), x.ctypes.data, y.ctypes.data, -12345)
    assert x.tolist() == [random.uniform_of(3, i, -12345) for i in range(50)]
    assert y.tolist() == [random.uniform_of(i, dtype="float32") for i in range(50)]


def test_subnormal_numbers_count_as_zero_if_asked_and_only_there() -> None:
    kernel = build_kernel("twice", DOUBLE)
    text = "def f(table):\n    pointer_f64(table[0])[1] = pointer_f64(table[0])[1] * 2.0\n    twice(table[0])\n"
    namespace = {"twice": Extern(kernel.name, "void(f64*)")}
    flushed = 0.0 if platform.machine() in ("x86_64", "AMD64") else 2e-310
    for subnormals, expected in ((False, flushed), (True, 2e-310)):
        x = np.full(2, 1e-310)
        run(build_source(text, "f", namespace, [kernel], subnormals=subnormals), x.ctypes.data)
        assert x.tolist() == [expected] * 2
        assert np.float64(1e-310) * 2 == 2e-310


def test_uniform_numbers_fill_the_interval_evenly() -> None:
    counts, _ = np.histogram([random.uniform_of(1, i) for i in range(20_000)], bins=20, range=(0, 1))
    assert ((counts - 1000) ** 2 / 1000).sum() < 45  # chi-squared, 19 degrees of freedom: 1 in 1000


def _in_a_new_process(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_a_second_process_loads_from_the_cache_without_numba_or_sympy(folder: Path) -> None:
    kernel = build_kernel("twice", DOUBLE)
    text = "def again(table):\n    x = pointer_f64(table[0])\n    twice(x)\n    x[0] = exp(x[0])\n"
    key = build_source(text, "again", {"twice": Extern(kernel.name, "void(f64*)")}, [kernel]).key
    code = (
        "import sys, numpy as np\nfrom compiler import native\n"
        f"f = native.restore('{key}')\nx = np.array([0.5]); t = np.array([x.ctypes.data])\n"
        "native.callable_from(f, 'void(i64*)')(t.ctypes.data)\n"
        "print(x[0], 'numba' in sys.modules, 'sympy' in sys.modules)"
    )
    value, *imported = _in_a_new_process(code).split()
    assert float(value) == pytest.approx(np.e, rel=1e-15) and imported == ["False", "False"]


def test_a_missing_or_damaged_dependency_makes_restore_find_nothing(folder: Path) -> None:
    kernel = build_kernel("twice", DOUBLE.replace("fadd double %v, %v", "fmul double %v, 5.0"))
    text = "def more(table):\n    twice(pointer_f64(table[0]))\n"
    key = build_source(text, "more", {"twice": Extern(kernel.name, "void(f64*)")}, [kernel]).key
    path = folder / f"{kernel.key}.bin"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    code = f"from compiler import native; print(native.restore('{key}'), native.restore('{'0' * 64}'))"
    assert _in_a_new_process(code).split() == ["None", "None"]
    assert not path.exists()
    assert restore(key) is not None  # this process has it still


def test_two_processes_that_build_the_same_at_once_both_get_it(tmp_path: Path) -> None:
    code = (
        "import os, numpy as np\nfrom compiler import native\n"
        "f = native.build_source('def f(table):\\n    pointer_f64(table[0])[0] = 7.0\\n', 'f')\n"
        "x = np.zeros(1); t = np.array([x.ctypes.data])\nnative.callable_from(f, 'void(i64*)')(t.ctypes.data)\n"
        "print(x[0])"
    )
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[0].strip() for process in both] == ["7.0", "7.0"]


def test_without_a_cache_everything_still_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYMNET_CACHE", "")
    x = np.zeros(1)
    run(build_source("def f(table):\n    pointer_f64(table[0])[0] = 8.0\n", "f"), x.ctypes.data)
    assert x[0] == 8.0


def test_objects_hold_no_address_of_this_process_and_no_symbol_of_numba(folder: Path) -> None:
    payload = cache.load(build_source(LOOPS, "loops").key)
    header, _, code = payload.partition(b"\n")
    assert set(json.loads(header)) == {"symbol", "needs", "depends"}
    for word in (b"numba", b"NRT_", b"PyObject", b"_ZN"):
        assert word not in code


def test_compiled_source_is_a_file_that_a_debugger_can_open(folder: Path) -> None:
    build_source(LOOPS, "loops")
    digest = hashlib.sha256(LOOPS.encode()).hexdigest()[:16]
    assert (folder / f"loops_{digest}.py").read_text() == LOOPS


def test_who_waits_tells_the_processor() -> None:
    text = native.source_ir("def f(table):\n    while table[0] == 0:\n        pause()\n", "f", {})
    assert (platform.machine() in ("x86_64", "AMD64")) == (
        "call void @llvm.x86.sse2.pause" in re.sub('"', "", str(text))
    )


@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="a register of that family")
def test_the_mode_of_the_processor_is_what_it_was_set_to() -> None:
    """As a member of a team takes that of the thread that calls: below the smallest normal number all is 0, or not."""
    lines = (
        "before = floating_mode()",
        "set_floating_mode(table[0])",
        "table[1] = floating_mode()",
        "set_floating_mode(before)",
        "table[2] = floating_mode()",
    )
    cells = np.array([0x9FC0, 0, 0])
    text = "def f(table):\n" + "".join(f"    {line}\n" for line in lines)
    callable_from(build_source(text, "f"), "void(i64*)")(cells.ctypes.data)
    assert cells[1] == 0x9FC0 != cells[2]
