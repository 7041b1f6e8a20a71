"""Matrix products: every form of operand, start and size against NumPy, for every row of the table of tiles."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import symnet as sn
from compiler import native
from compiler.kernels import matmul as module
from compiler.kernels.emitter import Emitter
from compiler.kernels.matmul import SIGNATURE, TILES, Matmul, matmul

FORMS = list(itertools.product("km", "nk", ("zero", "bias", "c"), ("float32", "float64")))


def check(spec: Matmul, M: int, N: int, K: int, target: module.Target | None = None) -> None:
    """The product against NumPy; what lies between the rows of C must stay as it was."""
    rng = np.random.default_rng(M * 10007 + N * 101 + K)
    A = rng.standard_normal((M if spec.a == "k" else K, spec.lda)).astype(spec.dtype)
    B = rng.standard_normal((K if spec.b == "n" else N, spec.ldb)).astype(spec.dtype)
    C = rng.standard_normal((M, spec.ldc)).astype(spec.dtype)
    D = rng.standard_normal(N).astype(spec.dtype)
    a = (A[:, :K] if spec.a == "k" else A[:, :M].T).astype(float)
    b = (B[:, :N] if spec.b == "n" else B[:, :K].T).astype(float)
    expected = C.copy()
    start = {"zero": 0.0, "bias": D.astype(float), "c": C[:, :N].astype(float)}[spec.start]
    exact = a @ b + start
    scale = np.abs(a) @ np.abs(b) + np.abs(start)
    function = native.build_kernel(*matmul(spec, target), passes="none")
    call = native.callable_from(function, SIGNATURE[spec.dtype])
    sizes = [s if literal is None else -7 for s, literal in zip((M, N, K), (spec.m, spec.n, spec.k), strict=True)]
    call(A.ctypes.data, B.ctypes.data, C.ctypes.data, D.ctypes.data, *sizes)
    error = np.abs(C[:, :N] - exact) / np.where(scale == 0, 1, scale)
    assert error.max(initial=0) <= (K + 2) * np.finfo(spec.dtype).eps / 2, (spec, M, N, K)
    expected[:, :N] = C[:, :N]
    np.testing.assert_array_equal(C, expected)


def specified(M: int, N: int, K: int, form: tuple, runtime: str = "", extra: int = 0) -> Matmul:
    a, b, start, dtype = form
    m, n, k = (None if letter in runtime else size for letter, size in zip("mnk", (M, N, K), strict=True))
    lda, ldb = (K if a == "k" else M), (N if b == "n" else K)
    return Matmul(dtype, m, n, k, a, b, max(1, lda) + extra, max(1, ldb) + extra, max(1, N) + extra, start)


@pytest.fixture(autouse=True)
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYMNET_CACHE", "")


@pytest.mark.parametrize("target", TILES.values(), ids=TILES)
def test_every_form_is_right_with_every_table(target: module.Target) -> None:
    for number, form in enumerate(FORMS):
        M, N, K = ((33, 37, 19), (7, 10, 32), (9, 70, 6))[number % 3]
        check(specified(M, N, K, form, ("", "m", "k", "n", "mnk")[number % 5], number % 2), M, N, K, target)


@pytest.mark.parametrize(
    ("features", "row"),
    [
        ("avx512f avx512vl avx512dq avx2 fma sse2", "avx512"),
        ("avx512f avx2 avx fma sse2", "avx"),
        ("avx sse2", "avx"),
        ("sse2", "generic"),
        ("neon sve", "neon"),
        ("altivec vsx", "foreign"),
        ("", "foreign"),
    ],
)
def test_the_table_of_tiles_is_chosen_by_features(features: str, row: str) -> None:
    assert module.target(frozenset(features.split())) is TILES[row]


def test_a_foreign_processor_whose_blas_cannot_be_told_to_use_one_thread_has_none(monkeypatch) -> None:
    monkeypatch.setattr(module.blas, "SET_THREADS", ("not_there",))
    module.blas._module.cache_clear()
    assert module.target(frozenset()) is TILES["generic"]
    module.blas._module.cache_clear()


def by_blas(least: int = 1) -> module.Target:
    return replace(TILES["foreign"], blas=least)


def test_products_by_blas_are_right_in_every_form() -> None:
    for number, form in enumerate(FORMS):
        M, N, K = ((33, 37, 19), (7, 10, 32), (1, 70, 6), (9, 1, 1))[number % 4]
        runtime = ("", "m" if form[0] == "k" else "n" if form[1] == "k" else "k", "")[number % 3]
        spec = specified(M, N, K, form, runtime, number % 2)
        assert module.blas.is_for_blas(spec, 1) is (not (runtime == "k" and "k" in form[:2]))
        check(spec, M, N, K, by_blas())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_over_segments_by_blas_are_right(dtype: str) -> None:
    """C[i, j] = start + sum over q, k of A[i, q, k] B[q, k, j], and what is in no segment is not read."""
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((9, 3, 8)).astype(dtype), rng.standard_normal((4, 3, 6, 20)).astype(dtype)
    D = rng.standard_normal(20).astype(dtype)
    for start, first in (("zero", 0 * D), ("bias", D), ("c", 0 * D + 2)):
        C = np.full((9, 20), 2, dtype)
        spec = Matmul(dtype, None, 20, 5, "k", "n", 24, 20, 20, start, ((4, 0, 360), (3, 8, 120)))
        text = matmul(spec, by_blas())
        assert "gemm" in text[1]
        call = native.callable_from(native.build_kernel(*text, passes="none"), SIGNATURE[dtype])
        call(A.ctypes.data, B.ctypes.data, C.ctypes.data, D.ctypes.data, 9, 0, 0)
        expected = first + np.einsum("iqk,pqkj->ij", A[:, :, :5].astype(float), B[:, :, :5].astype(float))
        np.testing.assert_allclose(C, expected, rtol=0, atol=200 * np.finfo(dtype).eps)


def test_blas_makes_wide_products_whose_rows_lie_apart() -> None:
    def chosen(m: int | None, n: int, k: int | None, form: str = "kn", lda: int = 64) -> bool:
        spec = Matmul("float32", m, n, k, *form, lda=lda, ldb=64, ldc=64)
        return "symnet_sgemm" in matmul(spec, TILES["foreign"])[1]

    assert chosen(None, 32, 32) and chosen(64, 16, 32) and chosen(32, 32, None, "mn")
    assert not chosen(None, 31, 32) and not chosen(10, 64, 48)
    assert not chosen(None, 64, 48, lda=16)  # windows
    assert not chosen(None, 64, 48, "mn")  # as many rows side by side as the call says: they might overlap


def test_a_network_with_blas_learns_the_same_and_its_code_is_read_again(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("SYMNET_CACHE", str(tmp_path))
    X, y = np.random.default_rng(0).normal(size=(96, 40)), np.arange(96) % 32

    def trained() -> float:
        net = sn.Network(40, [sn.dense(48, "tanh"), sn.dense(32)], "softmax_cross_entropy")
        return net.compile("adam", "float64", seed=0).fit(X, y, epochs=3, batch_size=20)[-1].loss

    usual = trained()
    monkeypatch.setattr(module, "target", lambda: TILES["foreign"])
    monkeypatch.setenv("SYMNET_CACHE", str(tmp_path / "foreign"))
    assert trained() == pytest.approx(usual, rel=1e-12)
    code = [
        path for path in (tmp_path / "foreign").rglob("*") if path.is_file() and b"symnet_dgemm" in path.read_bytes()
    ]
    keys = [path.stem for path in code if b'"symnet_dgemm"' in path.read_bytes()]
    assert keys
    script = f"""
from compiler import native
assert all(native.restore(key) for key in {keys})
assert native.symbol_address("symnet_dgemm")
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=module.__file__.rsplit("compiler", 1)[0])


def test_code_for_an_old_processor_is_right(plain_processor: None) -> None:
    for number, form in enumerate(FORMS[::3]):
        check(specified(21, 27, 13, form, ("", "m", "mnk")[number % 3], extra=2), 21, 27, 13, TILES["generic"])


@pytest.mark.parametrize("row", ["neon", "generic", "foreign"])
def test_kernels_for_unknown_processors_are_portable(row: str) -> None:
    for form in FORMS:
        text = matmul(specified(21, 27, 13, form, "m"), TILES[row])[1]
        assert not re.search(r"x86|avx|sse|aarch64|masked", text)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 5, 8, 13, 16, 17, 31])
def test_sizes_around_the_tiles_are_right(size: int) -> None:
    forms = itertools.cycle(FORMS[size % 5 :: 5])
    check(specified(size, 20, 9, next(forms)), size, 20, 9)
    check(specified(size, 33, 9, next(forms), "m"), size, 33, 9)
    check(specified(5, size, 9, next(forms)), 5, size, 9)
    check(specified(20, 21, size, next(forms)), 20, 21, size)
    check(specified(11, 21, size, next(forms), "k"), 11, 21, size)


@pytest.mark.parametrize(("M", "N", "K"), [(301, 130, 701), (500, 70, 513)])
def test_blocked_products_are_right_literal_and_at_run_time(M: int, N: int, K: int) -> None:
    forms = (
        ("k", "n", "bias", "float32"),
        ("m", "n", "zero", "float64"),
        ("k", "k", "c", "float32"),
        ("m", "k", "bias", "float64"),
    )
    for form, runtime in zip(forms, ("m", "k", "", "mnk"), strict=True):
        check(specified(M, N, K, form, runtime), M, N, K)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_few_columns_from_vectors_along_the_rows_are_right(dtype: str) -> None:
    starts = itertools.cycle(("zero", "bias", "c"))
    for M, N, K in ((64, 10, 33), (37, 17, 32), (16, 1, 40), (130, 24, 35), (65, 33, 34)):
        for runtime in ("", "k"):
            check(specified(M, N, K, ("m", "n", next(starts), dtype), runtime, 1), M, N, K, TILES["avx512"])


@pytest.mark.parametrize("n, packed", [(64, False), (65, True)])
def test_the_operands_of_a_single_panel_are_read_where_they_are(n: int, packed: bool) -> None:
    spec = Matmul("float32", 256, n, None, "m", "n", lda=256, ldb=n, ldc=n)
    assert ("alloca" in matmul(spec, TILES["avx512"])[1]) is packed


# ------------------------------------------------------------------------------------------- how it is divided
@pytest.mark.parametrize("row", TILES)
def test_panels_are_as_few_and_tiles_as_high_as_registers_allow(row: str) -> None:
    """Their sizes, at every width and height: nothing else shows in a result."""
    target = TILES[row]
    for size in range(1, 130):
        made = module._Generator(specified(32, size, 40, FORMS[0]), target)
        each, rest = made.split()
        vectors = len(made.columns(size))
        assert each <= made.wide and size // (each * made.lanes) + len(rest) == -(-vectors // made.wide), size
        tall = module._Generator(specified(size, 64, 40, FORMS[0]), target)
        best, height = target.rows[min(tall.split()[0], len(target.rows)) - 1], tall.height()
        assert height <= best, size
        assert (size % height == 0 and 3 * height >= 2 * best) or -(-size // height) == -(-size // best), size


@pytest.mark.parametrize("row", TILES)
def test_the_accumulators_of_a_tile_leave_registers_for_the_operands(row: str) -> None:
    """A loop over k carries them all: at most three quarters of the registers."""
    registers = {"avx512": 32, "neon": 32}.get(row, 16)
    sizes = [(64, 10), (64, 17), (128, 1), (130, 24), (130, 3), (200, 10), (32, 64), (7, 200), (1, 300)]
    for (M, N), a in itertools.product(sizes, "mk"):
        text = matmul(specified(M, N, 40, (a, "n", "zero", "float32")), TILES[row])[1]
        carried = [len(re.findall(r"= phi (?!ptr|i64)", block)) for block in re.split(r"^\w+:", text, flags=re.M)]
        assert max(carried) <= registers * 3 // 4, (M, N, a, max(carried))


def test_one_function_serves_every_number_of_rows() -> None:
    spec = specified(40, 48, 300, ("k", "n", "bias", "float32"), "m")
    for rows in (0, 1, 7, 8, 9, 40, 100):
        check(spec, rows, 48, 300)


def test_strides_of_a_page_are_right() -> None:
    for a, b in itertools.product("km", "nk"):
        check(Matmul("float32", None, 64, None, a, b, 1024, 1024, 64, "zero"), 40, 64, 50)


def test_rows_a_page_apart_are_copied_and_right() -> None:
    for M, K, runtime in ((40, 1024, "m"), (70, 2048, "mk"), (33, 1024, "")):
        spec = specified(M, 200, K, ("k", "n", "bias", "float32"), runtime)
        assert "%packed_a = alloca" in matmul(spec, TILES["avx512"])[1]
        check(spec, M, 200, K)
    assert "packed_a" not in matmul(specified(40, 200, 1025, ("k", "n", "bias", "float32")), TILES["avx512"])[1]


@pytest.mark.parametrize("target", [*TILES.values(), by_blas()], ids=[*TILES, "blas"])
def test_parts_of_the_columns_make_the_product_bit_for_bit(target: module.Target) -> None:
    rng = np.random.default_rng(0)
    for (M, N, K), form in zip(((20, 200, 300), (9, 131, 40), (1, 70, 64)), (FORMS[1], FORMS[9], FORMS[14])):
        whole, dtype = specified(M, N, K, form, "m"), form[3]
        A, B, D = (rng.standard_normal(size).astype(dtype) for size in (M * K, N * K, N))
        found = []
        for spec, ends in ((whole, (0, N)), (replace(whole, part=True), (0, 64, 128, N))):
            C = np.full((M, N), 2, dtype)
            call = native.callable_from(native.build_kernel(*matmul(spec, target), passes="none"), SIGNATURE[dtype])
            for low, high in itertools.pairwise(min(end, N) for end in ends):
                of_b = B[low * (K if spec.b == "k" else 1) :]
                call(A.ctypes.data, of_b.ctypes.data, C[:, low:].ctypes.data, D[low:].ctypes.data, M, high - low, 0)
            found.append(C)
        np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("form", [FORMS[1], FORMS[6], FORMS[14]], ids=str)
def test_a_long_sum_is_cut_and_has_the_bits_of_a_whole_one(form: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    M, N, K = 21, 40, module.LONG_K + 3
    rng = np.random.default_rng(0)
    A, B, C, D = (rng.standard_normal(size).astype(form[3]) for size in (M * K, N * K, M * N, N))
    found = []
    for runtime, long, most in (("mk", False, K), ("mk", True, K), ("", False, K), ("", False, K - 1)):
        monkeypatch.setattr(module, "LONG_K", most)
        spec, made = replace(specified(M, N, K, form, runtime), long=long), C.copy()
        function = native.build_kernel(*matmul(spec, TILES["avx512"]), passes="none")
        call = native.callable_from(function, SIGNATURE[form[3]])
        call(*(array.ctypes.data for array in (A, B, made, D)), M, N, K)
        found.append(made)
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)


def test_an_empty_sum_is_the_start() -> None:
    for form in FORMS:
        check(specified(5, 12, 0, form, "k"), 5, 12, 0)


def test_nan_and_infinity_reach_the_elements_they_belong_to_and_no_other() -> None:
    A, B, C = np.ones((20, 10), np.float32), np.ones((10, 10), np.float32), np.zeros((20, 10), np.float32)
    A[3, 4] = np.nan
    B[2, 7] = np.inf
    function = native.build_kernel(*matmul(Matmul("float32", None, 10, 10, "k", "n", 10, 10, 10)), passes="none")
    native.callable_from(function, SIGNATURE["float32"])(A.ctypes.data, B.ctypes.data, C.ctypes.data, 0, 20, 10, 10)
    nan = np.zeros((20, 10), bool)
    nan[3] = True
    np.testing.assert_array_equal(np.isnan(C), nan)
    np.testing.assert_array_equal(np.isinf(C), ~nan & (np.arange(10) == 7))


def test_nothing_is_read_or_written_beyond_the_operands() -> None:
    """Each operand ends where its last page does; the page after it may not be touched."""
    import ctypes
    import mmap

    libc = ctypes.CDLL(None)
    page = mmap.PAGESIZE
    maps = []

    def at_the_end(count: int) -> np.ndarray:
        whole = mmap.mmap(-1, 8 * page)
        maps.append(whole)
        start = ctypes.addressof(ctypes.c_char.from_buffer(whole))
        assert libc.mprotect(ctypes.c_void_p(start + 7 * page), ctypes.c_size_t(page), 0) == 0
        array = np.frombuffer(whole, np.float32, count, 7 * page - 4 * count)
        array[...] = 1
        return array

    for (M, N, K), a, b in itertools.product([(9, 10, 11), (32, 17, 5), (13, 33, 24), (37, 10, 32)], "km", "nk"):
        A, B, C, D = at_the_end(M * K), at_the_end(K * N), at_the_end(M * N), at_the_end(N)
        spec = specified(M, N, K, (a, b, "bias", "float32"), "" if K == 32 else "m")
        call = native.callable_from(native.build_kernel(*matmul(spec), passes="none"), SIGNATURE["float32"])
        call(A.ctypes.data, B.ctypes.data, C.ctypes.data, D.ctypes.data, M, N, K)
        assert (C == K + 1).all()


def test_the_text_of_a_product_is_the_same_every_time() -> None:
    spec = specified(32, 64, 64, FORMS[0], "m")
    assert matmul(spec) == matmul(spec)
    names = {specified(32, 64, 64, form, runtime).name for form in FORMS for runtime in ("", "m", "k")}
    assert len(names) == 3 * len(FORMS)


@pytest.mark.parametrize(("n", "gap", "packed"), [(32, 1, False), (48, 0, False), (48, 1, True), (96, 0, True)])
def test_rows_of_b_are_packed_unless_they_are_short_or_one_panel_side_by_side(n: int, gap: int, packed: bool) -> None:
    spec = Matmul("float32", 256, n, 1024, "k", "n", 1024, n + gap, n, "zero")
    assert module._Generator(spec, TILES["avx512"]).pack_b is packed


def test_a_loop_of_no_turn_or_of_one_is_none() -> None:
    for first, last, step in itertools.product(range(4), range(8), (1, 2, 3)):
        turns = len(range(first, last - step + 1, step))
        emitter, made = Emitter(), []
        after, _ = emitter.loop(first, last, step, lambda i, values, made=made: made.append(i) or values)
        if turns <= 1:
            assert (made, after, emitter.lines) == ([first] * turns, first + turns * step, [])
        else:
            assert len(made) == 1 and any("phi" in line for line in emitter.lines)


def test_vectors_run_along_the_rows_where_columns_are_few_and_sums_long() -> None:
    def across(n: int, k: int | None = 128, m: int = 64) -> bool:
        return module._Generator(Matmul("float32", m, n, k, "m", "n", m, n, n), TILES["avx512"]).is_across()

    assert all(across(n) for n in (1, 10, 17, 24, 33)) and across(10, None)  # as measured, see `across`
    assert not across(49) and not across(33, 31) and not across(16) and not across(10, m=8)


def test_what_is_known_of_an_address_is_not_left_to_the_kernel() -> None:
    emitter = Emitter()
    assert (emitter.add(3, 4), emitter.sub(7, 2), emitter.mul(3, 4), emitter.low(3, 4)) == (7, 5, 12, 3)
    assert [emitter.add("%i", 0), emitter.add(0, "%i"), emitter.sub("%i", 0)] == ["%i"] * 3
    assert [emitter.mul("%i", 1), emitter.mul(1, "%i"), emitter.mul("%i", 0), emitter.mul(0, "%i")] == ["%i"] * 2 + [
        0
    ] * 2
    assert emitter.lines == []
    made = [emitter.add("%i", 1), emitter.sub(0, "%i"), emitter.mul(2, "%i"), emitter.low("%i", 4)]
    assert [f"  {name} = " in line for name, line in zip(made, emitter.lines, strict=True)] == [True] * 4


@pytest.mark.parametrize("row", ["avx512", "avx"])
def test_packed_panels_are_of_one_width_where_two_or_three_vectors_allow_it(row: str) -> None:
    for vectors in range(5, 30):
        n = vectors * TILES[row].lanes("float32")
        _, rest = module._Generator(Matmul("float32", 64, n, 64, "k", "k", 64, 64, n), TILES[row]).split()
        assert bool(rest) is bool(vectors % 3 and (vectors % 2 or row == "avx")), vectors


@pytest.mark.parametrize(("size", "block"), [(100, None), (300, 100), (250, 50), (257, 86)])
def test_blocks_are_of_one_size_if_that_takes_less_than_twice_as_many(size: int, block: int | None) -> None:
    assert module._block(size, 100) == block
