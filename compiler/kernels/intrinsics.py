"""The functions that generated source may call, for Numba: the emitters of emitters.py as its intrinsics.

Generated source is Numba's dialect of Python, and Numba compiles it to the same function as translate.py does, ten
times as slowly; so it serves as the judge of the translator.  Imported only when Numba is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .emitters import EMITTERS, Value, emit_extern, llvm_type

_NUMBA: Mapping[str, Any] = {
    "i1": types.boolean,
    "i8": types.uint8,
    "i32": types.int32,
    "i64": types.int64,
    "f32": types.float32,
    "f64": types.float64,
    "void": types.void,
}


def _kind(found: Any) -> str:
    """The kind of a Numba type."""
    if isinstance(found, types.CPointer):
        return f"{_kind(found.dtype)}*"
    if isinstance(found, types.Integer) and not isinstance(found, types.Boolean):
        return {8: "i8", 32: "i32"}.get(found.bitwidth, "i64")
    return next(kind for kind, known in _NUMBA.items() if known == types.unliteral(found))


def _type(kind: str) -> Any:
    return types.CPointer(_type(kind[:-1])) if kind.endswith("*") else _NUMBA[kind]


def _adapted(emit: Callable[..., Value]) -> Any:
    def typing(context: Any, *given: Any) -> Any:
        kinds = [_kind(t) for t in given]

        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            parts = [builder.extract_value(arguments[0], k) for k in range(len(kinds))]
            made = emit(builder, *(Value(kind, part) for kind, part in zip(kinds, parts, strict=True)))
            return context.get_dummy_value() if made.kind == "void" else made.ir

        return _type(_result(emit, kinds))(types.StarArgTuple.from_types(given)), code

    return intrinsic(typing)


def _result(emit: Callable[..., Value], kinds: list[str]) -> str:
    """The kind of what an emitter makes of such values, found by making it in a module that is thrown away."""
    scratch = ir.Module("scratch")
    function = ir.Function(scratch, ir.FunctionType(ir.VoidType(), [llvm_type(kind) for kind in kinds]), "f")
    builder = ir.IRBuilder(function.append_basic_block())
    return emit(builder, *(Value(kind, arg) for kind, arg in zip(kinds, function.args, strict=True))).kind


def extern(symbol: str, result: str, arguments: tuple[str, ...]) -> Any:
    """A call of the external C function `symbol`."""
    return _adapted(lambda builder, *given: emit_extern(builder, symbol, result, arguments, given))


NAMESPACE: dict[str, Any] = {"range": range, **{name: _adapted(partial(emit)) for name, emit in EMITTERS.items()}}
