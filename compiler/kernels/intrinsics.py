"""The names that generated source may use, as Numba intrinsics.  Imported only when something is compiled.

pointer_f32(address) ...     an integer address as a pointer; p[i] reads and writes, p may be offset(p, n)
select(c, a, b)              a if c else b without a branch (both are evaluated; never a masked store)
maximum(a, b), minimum(a, b) NaN if either is NaN
reduce_add(s, x)             s + x, free to be reassociated: for the running value of a reduction only
reduce_max(s, x)             maximum(s, x), likewise
call_address(address, table) calls void(int64*) at an address
F32(x), F64(x), I64(x)       conversions; F32 of a literal is a float32 constant
isfinite(x)                  by bits, whatever the flags
exp, log, expm1, ...         compiler.kernels.vectormath, float32 or float64 by argument
uniform_f32(k, ...), uniform_f64(k, ...), shuffle(order, n, seed, epoch)    compiler.kernels.random
"""

from __future__ import annotations

import inspect
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from ..native import NativeError, parse_signature
from . import random, vectormath

_SCALARS = {"i8": types.uint8, "i32": types.int32, "i64": types.int64, "f32": types.float32, "f64": types.float64}
_LLVM = {
    "void": ir.VoidType(),
    "i8": ir.IntType(8),
    "i32": ir.IntType(32),
    "i64": ir.IntType(64),
    "f32": ir.FloatType(),
    "f64": ir.DoubleType(),
}


def _llvm_type(name: str) -> Any:
    return ir.IntType(8).as_pointer() if name.endswith("*") else _LLVM[name]


def _converter(element: Any) -> Any:
    """address -> pointer to element"""

    def typing(context: Any, address: Any) -> Any:
        if not isinstance(address, (types.Integer, types.CPointer)):
            return None
        result = types.CPointer(element)

        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kind = context.get_value_type(result)
            if isinstance(signature.args[0], types.CPointer):
                return builder.bitcast(arguments[0], kind)
            return builder.inttoptr(arguments[0], kind)

        return result(address), code

    return intrinsic(typing)


def _offset(context: Any, pointer: Any, count: Any) -> Any:
    """pointer + count elements"""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.gep(arguments[0], [arguments[1]], inbounds=True)

    return pointer(pointer, types.int64), code


def _select(context: Any, condition: Any, a: Any, b: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.select(*arguments)

    return a(types.boolean, a, a), code


def _extremum(name: str, flags: tuple[str, ...]) -> Any:
    def typing(context: Any, a: Any, b: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kind = arguments[0].type
            bits = 32 if isinstance(kind, ir.FloatType) else 64
            function = _declared(builder.module, ir.FunctionType(kind, [kind, kind]), f"llvm.{name}.f{bits}")
            return builder.call(function, arguments, fastmath=flags)

        return a(a, a), code

    return intrinsic(typing)


def _reduce_add(context: Any, running: Any, term: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fadd(*arguments, flags=("reassoc", "contract"))

    return running(running, running), code


def _quotient(context: Any, a: Any, b: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return vectormath.emit(vectormath.quotient, builder, *arguments)

    return a(a, a), code


def _call_address(context: Any, address: Any, table: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(64).as_pointer()])
        builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), [arguments[1]])
        return context.get_dummy_value()

    return types.void(types.int64, table), code


def _isfinite(context: Any, x: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        single = isinstance(arguments[0].type, ir.FloatType)
        kind = ir.IntType(32 if single else 64)
        exponent = ir.Constant(kind, 0x7F800000 if single else 0x7FF0000000000000)
        bits = builder.and_(builder.bitcast(arguments[0], kind), exponent)
        return builder.icmp_unsigned("!=", bits, exponent)

    return types.boolean(x), code


def _cast(target: Any) -> Any:
    def typing(context: Any, x: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return context.cast(builder, arguments[0], signature.args[0], target)

        return target(x), code

    return intrinsic(typing)


def extern(symbol: str, signature: str) -> Any:
    """A call of the external C function `symbol`."""
    result, arguments = parse_signature(signature)
    count = len(arguments)
    returned = {"void": types.void, **_SCALARS}.get(result, types.int64)  # a pointer comes back as an address
    kind = ir.FunctionType(_llvm_type(result), [_llvm_type(a) for a in arguments])

    def typing(context: Any, *given: Any) -> Any:
        if len(given) != count:
            raise NativeError(f"{symbol} takes {count} arguments, {len(given)} were given")

        def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            passed = [_argument(context, builder, *item) for item in zip(given, arguments, values, strict=True)]
            called = builder.call(_declared(builder.module, kind, symbol), passed)
            if result == "void":
                return context.get_dummy_value()
            return builder.ptrtoint(called, ir.IntType(64)) if result.endswith("*") else called

        return returned(*given), code

    typing.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(f"a{k + 1}", inspect.Parameter.POSITIONAL_OR_KEYWORD) for k in range(-1, count)]
    )
    return intrinsic(typing)


def _argument(context: Any, builder: Any, given: Any, wanted: str, value: Any) -> Any:
    if not wanted.endswith("*"):
        return context.cast(builder, value, given, _SCALARS[wanted])
    if isinstance(given, types.CPointer):
        return builder.bitcast(value, _llvm_type(wanted))
    return builder.inttoptr(value, _llvm_type(wanted))


def _function(name: str) -> Any:
    """A function of vectormath, float32 or float64 by its argument; an integer becomes float64."""

    def typing(context: Any, x: Any) -> Any:
        kind = x if isinstance(x, types.Float) else types.float64

        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return vectormath.emit(vectormath.FORMULAS[name], builder, arguments[0])

        return kind(kind), code

    return intrinsic(typing)


def _library(name: str) -> Any:
    """A function of the C library for which there is no vector form."""

    def typing(context: Any, x: Any) -> Any:
        kind = x if isinstance(x, types.Float) else types.float64

        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            value = arguments[0]
            symbol = name + ("f" if isinstance(value.type, ir.FloatType) else "")
            return builder.call(_declared(builder.module, ir.FunctionType(value.type, [value.type]), symbol), [value])

        return kind(kind), code

    return intrinsic(typing)


def _uniform(dtype: str) -> Any:
    def typing(context: Any, *keys: Any) -> Any:
        result = _SCALARS["f64" if dtype == "float64" else "f32"]

        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            tuple_type = signature.args[0]
            values = builder.module and [builder.extract_value(arguments[0], k) for k in range(tuple_type.count)]
            wide = [context.cast(builder, v, t, types.int64) for v, t in zip(values, tuple_type.types, strict=True)]
            return random.emit_uniform(builder, wide, dtype)

        return result(types.StarArgTuple.from_types(keys)), code

    return intrinsic(typing)


def _hash_position(context: Any, seed: Any, epoch: Any, i: Any) -> Any:
    """The partner of element i in a shuffle."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        count = builder.add(arguments[2], ir.Constant(ir.IntType(64), 1))
        return random.emit_position(builder, random.emit_hash(builder, arguments), count)

    return types.int64(types.int64, types.int64, types.int64), code


def _shuffle(order: Any, n: Any, seed: Any, epoch: Any) -> None:
    """Fisher-Yates on order[0:n], keyed by (seed, epoch)."""
    for i in range(n - 1, 0, -1):
        j = hash_position(seed, epoch, i)
        kept = order[i]
        order[i] = order[j]
        order[j] = kept


hash_position = intrinsic(_hash_position)


def _declared(module: Any, kind: Any, name: str) -> Any:
    found = module.globals.get(name)
    return found if found is not None else ir.Function(module, kind, name)


NAMESPACE: dict[str, Any] = {
    "range": range,
    "F32": _cast(types.float32),
    "F64": _cast(types.float64),
    "I64": _cast(types.int64),
    "pointer_f32": _converter(types.float32),
    "pointer_f64": _converter(types.float64),
    "pointer_i64": _converter(types.int64),
    "pointer_i32": _converter(types.int32),
    "pointer_u8": _converter(types.uint8),
    "offset": intrinsic(_offset),
    "select": intrinsic(_select),
    "maximum": _extremum("maximum", ()),
    "minimum": _extremum("minimum", ()),
    "quotient": intrinsic(_quotient),
    "reduce_add": intrinsic(_reduce_add),
    "reduce_max": _extremum("maximum", ("nsz",)),
    "call_address": intrinsic(_call_address),
    "isfinite": intrinsic(_isfinite),
    **{name: _library(name) for name in ("sin", "cos", "tan")},
    "uniform_f32": _uniform("float32"),
    "uniform_f64": _uniform("float64"),
    "shuffle": njit(error_model="numpy", _nrt=False)(_shuffle),
    **{name: _function(name) for name in vectormath.FORMULAS},
}
