"""Speed of the kernels against BLAS and the C library, interleaved, one thread:  python -m tests.speed

Products: GFLOP/s of ours and of the BLAS that SciPy brings (through scipy.linalg.cython_blas), and their ratio.
Functions: nanoseconds an element of ours in a vectorized loop, and of a loop of calls of the C library.
"""

from __future__ import annotations

import ctypes
import os
import statistics
import sys
import time
from collections.abc import Callable

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import llvmlite.binding as llvm
import numpy as np

from compiler import native
from compiler.kernels import matmul
from compiler.kernels.matmul import Matmul
from compiler.kernels.vectormath import CIRCULAR, FORMULAS
from compiler.native import Extern

# rows, columns, length of the sum, and whether A and B are transposed
SHAPES = (
    (32, 64, 64, "NN"), (32, 32, 64, "NN"), (32, 10, 32, "NN"), (64, 64, 32, "TN"), (64, 32, 32, "TN"),
    (32, 10, 32, "TN"), (32, 32, 10, "NT"), (32, 64, 32, "NT"), (64, 32, 32, "NN"), (1024, 64, 16, "NN"),
    (128, 256, 784, "NN"), (784, 256, 128, "TN"), (256, 128, 128, "TN"), (128, 256, 128, "NT"),
    (256, 1024, 1024, "NN"), (512, 1024, 256, "NN"), (512, 256, 1024, "NT"), (1024, 256, 512, "TN"),
    (1, 256, 784, "NN"),
)  # fmt: skip
BLAS = "void(i8*,i8*,i32*,i32*,i32*,i8*,i8*,i32*,i8*,i32*,i8*,i8*,i32*)"
LIBRARY = ("exp", "expm1", "log", "log1p", "tanh", "erf", "erfc", "sqrt", "sin", "cos", "tan")


def repeated(symbol: str, signature: str, needs: list[native.Native]) -> Callable[[int], None]:
    """A native loop of table[0] calls with the arguments table[1:]."""
    count = len(native.parse_signature(signature)[1])
    arguments = ", ".join(f"table[{k + 1}]" for k in range(count))
    text = f"def again(table):\n    for i in range(table[0]):\n        called({arguments})\n"
    built = native.build_source(text, "again", {"called": Extern(symbol, signature)}, needs)
    return native.callable_from(built, "void(i64*)")


def blas_symbol(dtype: str) -> str:
    import scipy.linalg.cython_blas as exported

    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype, api.PyCapsule_GetName.argtypes = ctypes.c_char_p, [ctypes.py_object]
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    capsule = exported.__pyx_capi__["sgemm" if dtype == "float32" else "dgemm"]
    llvm.add_symbol(f"blas_{dtype}", api.PyCapsule_GetPointer(capsule, api.PyCapsule_GetName(capsule)))
    return f"blas_{dtype}"


def product(dtype: str, m: int, n: int, k: int, form: str) -> None:
    rng = np.random.default_rng(0)
    a, b, c, d = (rng.standard_normal(size).astype(dtype) for size in (m * k, k * n, m * n, n))
    lda, ldb = (k if form[0] == "N" else m), (n if form[1] == "N" else k)
    spec = Matmul(dtype, None, n, k, "k" if form[0] == "N" else "m", "n" if form[1] == "N" else "k", lda, ldb, n)
    if form == "TN":  # a gradient of weights: the batch is what is summed over
        spec = Matmul(dtype, m, n, None, "m", "n", lda, ldb, n)
    ours, _ = matmul.build(spec)
    repeats = max(1, int(2e7 / (2 * m * n * k)))
    first = np.array([repeats, *(x.ctypes.data for x in (a, b, c, d)), m, n, k], np.int64)
    sizes = np.array([n, m, k, ldb, lda, n], np.int32)
    letters, numbers, other = np.frombuffer(b"NT", np.uint8).copy(), np.array([1, 0], dtype), np.zeros_like(c)
    word, item, at = letters.ctypes.data, numbers.itemsize, sizes.ctypes.data
    second = np.array(
        [repeats, word + (form[1] == "T"), word + (form[0] == "T"), at, at + 4, at + 8, numbers.ctypes.data,
         b.ctypes.data, at + 12, a.ctypes.data, at + 16, numbers.ctypes.data + item, other.ctypes.data, at + 20],
        np.int64,
    )  # fmt: skip
    runs = [
        (repeated(ours.name, matmul.SIGNATURE[dtype], [ours]), first),
        (repeated(blas_symbol(dtype), BLAS, []), second),
    ]
    x, y = (2e-9 * m * n * k * repeats / t for t in interleaved(runs))
    assert np.allclose(c, other, rtol=1e-3, atol=1e-3)
    print(f"{dtype} {m:5} x {n:4} x {k:4} {form}   {x:7.1f}  BLAS {y:7.1f} GFLOP/s   {x / y:5.2f}", flush=True)


def interleaved(runs: list[tuple[Callable[[int], None], np.ndarray]], rounds: int = 9) -> list[float]:
    """The median seconds of each, one after the other in every round."""
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds):
        for (function, table), found in zip(runs, times, strict=True):
            start = time.perf_counter()
            function(table.ctypes.data)
            found.append(time.perf_counter() - start)
    return [statistics.median(found) for found in times]


def function(name: str, dtype: str) -> None:
    pointer, letter, suffix = ("pointer_f32", "f32", "f") if dtype == "float32" else ("pointer_f64", "f64", "")
    text = (
        f"def each(table):\n    x = {pointer}(table[0])\n    y = {pointer}(table[1])\n"
        "    for r in range(table[3]):\n        for i in range(table[2]):\n            y[i] = called(x[i])\n"
    )
    x = np.abs(np.random.default_rng(0).standard_normal(10_000)).astype(dtype)
    y = np.empty_like(x)
    table = np.array([x.ctypes.data, y.ctypes.data, x.size, 10], np.int64)
    sources = [(text.replace("called", name), {})]
    if name in LIBRARY:
        sources.append((text, {"called": Extern(name + suffix, f"{letter}({letter})")}))
    runs = [(native.callable_from(native.build_source(t, "each", ns), "void(i64*)"), table) for t, ns in sources]
    ours, *library = (seconds / (x.size * 10) * 1e9 for seconds in interleaved(runs))
    print(f"{dtype} {name:9} {ours:6.2f} ns" + "".join(f"   C library {t:6.2f}   {t / ours:5.1f}" for t in library))


def main() -> None:
    wanted = sys.argv[1:] or ["products", "functions"]
    for dtype in ("float32", "float64"):
        for shape in SHAPES if "products" in wanted else ():
            product(dtype, *shape)
        for name in (*FORMULAS, *CIRCULAR) if "functions" in wanted else ():
            function(name, dtype)


if __name__ == "__main__":
    main()
