"""Products by SciPy's BLAS, for processors that the table of tiles does not know (matmul.py).

    is_for_blas(spec, least)     whether a product is so wide, and such that BLAS takes it
    product(spec)                the LLVM IR of its function, which calls a symbol of SYMBOLS
    address(symbol)              of the Fortran function: what the symbol is where code is loaded (native.py)

The addresses are those that `scipy.linalg.cython_blas` gives other compiled modules; code with a symbol in their place
can be kept on disk.  BLAS is told to use one thread, in the whole process from then on: several threads of ours may
call it at once, and each would start more.
"""

from __future__ import annotations

import ctypes
from functools import cache
from math import prod
from types import ModuleType
from typing import TYPE_CHECKING

from .emitter import Emitter, Number
from .epilogue import SUM

if TYPE_CHECKING:
    from .matmul import Matmul

SYMBOLS = {"symnet_sgemm": "sgemm", "symnet_dgemm": "dgemm"}
# Each takes the number of threads: OpenBLAS as SciPy ships it and as systems do, BLIS, MKL, Accelerate.
SET_THREADS = (
    "scipy_openblas_set_num_threads", "openblas_set_num_threads", "bli_thread_set_num_threads", "MKL_Set_Num_Threads",
    "BLASSetThreading",
)  # fmt: skip


@cache
def _module() -> ModuleType | None:
    """What has the addresses, told to use one thread; None if it cannot be told."""
    import scipy.linalg.cython_blas as module

    library = ctypes.CDLL(module.__file__)  # a symbol is looked up in all that it needs, too
    for name in SET_THREADS:
        if hasattr(library, name):
            getattr(library, name)(ctypes.c_int(1))
            return module
    return None


def is_usable() -> bool:
    return _module() is not None


def address(symbol: str) -> int:
    module = _module()
    assert module is not None
    capsule = module.__pyx_capi__[SYMBOLS[symbol]]
    name, pointer = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    name.restype, name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    found: int = pointer(capsule, name(capsule))
    return found


def is_for_blas(spec: Matmul, least: int) -> bool:
    """Its literal sizes are on average at least so large; and no rows of operands overlap, as those of windows do."""
    sizes = [s for s in (spec.m, spec.n, spec.k) if s is not None]
    rows = ((spec.k if spec.a == "k" else spec.m, spec.lda), (spec.n if spec.b == "n" else spec.k, spec.ldb))
    apart = all(length is not None and length <= stride for length, stride in rows)
    return bool(least and sizes and apart and spec.epilogue == SUM and prod(sizes) >= least ** len(sizes))


def product(spec: Matmul) -> str:
    """The start, then C += A B for each segment.  To BLAS our rows are columns: C' += B' A'.  Below 2**31 of them."""
    code, scalar, size = (Emitter(), *(("float", 4) if spec.dtype == "float32" else ("double", 8)))
    given = zip("MNK", (spec.m, None if spec.part else spec.n, spec.k))
    m, n, k = (f"%{name}" if literal is None else literal for name, literal in given)
    code.begin("entry")

    def at(base: str, offset: Number) -> str:
        return base if offset == 0 else code.new(f"getelementptr {scalar}, ptr {base}, i64 {offset}")

    def stored(kind: str, value: Number) -> str:
        """The address of a value"""
        place = code.new(f"alloca {kind}")
        code.lines.append(f"  store {kind} {value}, ptr {place}")
        return place

    def integer(value: Number) -> str:
        return stored("i32", value if isinstance(value, int) else code.new(f"trunc i64 {value} to i32"))

    columns, rows, depth = integer(n), integer(m), integer(k)
    lda, ldb, ldc = (integer(stride) for stride in (spec.lda, spec.ldb, spec.ldc))
    turned = [stored("i8", ord("T" if is_turned else "N")) for is_turned in (spec.b == "k", spec.a == "m")]
    one = stored(scalar, "1.0")

    def start_row(i: Number, _: list[str]) -> list[str]:
        row, length = at("%C", code.mul(i, spec.ldc)), str(code.mul(n, size))
        if spec.start == "bias":
            code.call("void", "llvm.memcpy.p0.p0.i64", [row, "%D", length, "false"], ["ptr", "ptr", "i64", "i1"])
        else:
            code.call("void", "llvm.memset.p0.i64", [row, "0", length, "false"], ["ptr", "i8", "i64", "i1"])
        return []

    def over_segments(number: int, a: str, b: str) -> None:
        if number == len(spec.segments):
            arguments = [*turned, columns, rows, depth, one, b, ldb, a, lda, one, "%C", ldc]
            symbol = "symnet_sgemm" if spec.dtype == "float32" else "symnet_dgemm"
            code.call("void", symbol, arguments, ["ptr"] * len(arguments))
            return
        count, of_a, of_b = spec.segments[number]

        def segment(q: Number, _: list[str]) -> list[str]:
            over_segments(number + 1, at(a, code.mul(q, of_a)), at(b, code.mul(q, of_b)))
            return []

        code.loop(0, count, 1, segment)

    if spec.start != "c":
        code.loop(0, m, 1, start_row)
    over_segments(0, "%A", "%B")
    code.lines.append("  ret void")
    return code.function(spec.name, [f"ptr noalias %{name}" for name in "ABCD"])
