"""The functions that generated source may call, as LLVM instructions: one emitter each, for typed values.

pointer_f32(address) ...     an integer address as a pointer; p[i] reads and writes, p may be offset(p, n)
select(c, a, b)              a if c else b without a branch (both are evaluated; never a masked store)
reduce_add(s, x)             s + x, free to be reassociated: for the running value of a reduction only
reduce_max(s, x)             the greater, NaN if either is NaN; likewise
quotient(a, b)               compiler.kernels.vectormath
call_address(address, table) calls void(int64*) at an address
call_part(address, table, thread, threads)  calls void(int64*, int64, int64) at an address
fork(table, part, place, size), barrier(team)     of compiler.team, by the addresses in the block of a team
atomic_load(p), atomic_store(p, v), atomic_add(p, v), compare_exchange(p, old, new)   of the int64 at a pointer; the
                             last two give what was there before.  pause() tells the processor that a loop waits
floating_mode(), set_floating_mode(m)       whether subnormal numbers are taken for zero, as an int64 (x86-64 alone)
F32(x), F64(x), I64(x)       conversions; F32 of a literal is a float32 constant, I64 of a pointer its address
isfinite(x)                  by bits, whatever the flags
exp, log, sin, ...           compiler.kernels.vectormath, float32 or float64 by argument
uniform_f32(k, ...), uniform_f64(k, ...)    compiler.kernels.random

Stands below translate.py, which turns generated source into instructions, and intrinsics.py, which gives the same
functions to Numba.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

from llvmlite import ir

from . import random, variants, vectormath
from .real import has_fma

KINDS: Mapping[str, Any] = MappingProxyType(
    {
        "i1": ir.IntType(1),
        "i8": ir.IntType(8),
        "i32": ir.IntType(32),
        "i64": ir.IntType(64),
        "f32": ir.FloatType(),
        "f64": ir.DoubleType(),
    }
)
FLOATS = ("f32", "f64")
# What tells a processor that a loop waits for another one.
WAITING: Mapping[str, str] = dict.fromkeys(("x86_64", "AMD64"), "llvm.x86.sse2.pause")


@dataclass(frozen=True, slots=True)
class Value:
    """An LLVM value and its kind: i1, i8, i32, i64, f32, f64, or a pointer to one of these, such as "f32*".

    Its LLVM type may be that of a vector of these: a value for each lane; a pointer then points to such vectors.
    """

    kind: str
    ir: Any

    @property
    def lanes(self) -> int:
        """0 for a scalar, and for a pointer."""
        return self.ir.type.count if isinstance(self.ir.type, ir.VectorType) else 0

    @property
    def element(self) -> str:
        """What a pointer points to; "" for other kinds."""
        return self.kind[:-1] if self.kind.endswith("*") else ""


def is_x86() -> bool:
    return platform.machine() in ("x86_64", "AMD64")


def llvm_type(kind: str) -> Any:
    return KINDS[kind[:-1]].as_pointer() if kind.endswith("*") else KINDS[kind]


def constant(kind: str, number: float) -> Value:
    return Value(kind, ir.Constant(KINDS[kind], number))


def spread(builder: Any, value: Value, lanes: int) -> Value:
    """The same in every lane; what has lanes, and what is no number, stays as it is."""
    if not lanes or value.lanes or value.kind not in KINDS:
        return value
    kind = ir.VectorType(value.ir.type, lanes)
    if isinstance(value.ir, ir.Constant):
        return Value(value.kind, ir.Constant(kind, value.ir.constant))
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), value.ir, ir.Constant(KINDS["i32"], 0))
    zeros = ir.Constant(ir.VectorType(KINDS["i32"], lanes), 0)
    return Value(value.kind, builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), zeros))


def together(builder: Any, *values: Value) -> list[Value]:
    """All with lanes, if one has them."""
    lanes = max(value.lanes for value in values)
    return [spread(builder, value, lanes) for value in values]


def like(value: Value, kind: str) -> Any:
    """The LLVM type of a kind with the lanes of the value."""
    return ir.VectorType(KINDS[kind], value.lanes) if value.lanes else KINDS[kind]


def converted(builder: Any, value: Value, kind: str) -> Value:
    """The value in another kind; integers are signed, except for i1 and i8."""
    made, found = value.ir, value.kind
    if found == kind:
        return value
    if found not in KINDS:
        raise TypeError(f"{found} is no number")
    target = like(value, kind)
    if found in FLOATS and kind in FLOATS:
        made = builder.fpext(made, target) if kind == "f64" else builder.fptrunc(made, target)
    elif kind in FLOATS:
        made = builder.uitofp(made, target) if found in ("i1", "i8") else builder.sitofp(made, target)
    elif found in FLOATS:
        made = builder.fptosi(made, target)
    elif KINDS[kind].width < KINDS[found].width:
        made = builder.trunc(made, target)
    else:
        made = builder.zext(made, target) if found in ("i1", "i8") else builder.sext(made, target)
    return Value(kind, made)


def declared(module: Any, kind: Any, name: str) -> Any:
    """The function of this name in the module, declared if need be."""
    found = module.globals.get(name)
    return found if found is not None else ir.Function(module, kind, name)


def intrinsic(module: Any, name: str, value: Value, arguments: int) -> Any:
    """LLVM's function of so many values like this one, to such a value."""
    kind = value.ir.type
    suffix = f"v{value.lanes}{value.kind}" if value.lanes else value.kind
    return declared(module, ir.FunctionType(kind, [kind] * arguments), f"llvm.{name}.{suffix}")


# ---------------------------------------------------------------------------------------------- emitters
Emitter = Callable[..., Value]


def _pointer(element: str) -> Emitter:
    def emit(builder: Any, address: Value) -> Value:
        kind = f"{element}*"
        if address.element:
            return Value(kind, builder.bitcast(address.ir, llvm_type(kind)))
        return Value(kind, builder.inttoptr(address.ir, llvm_type(kind)))

    return emit


def _offset(builder: Any, pointer: Value, count: Value) -> Value:
    return Value(pointer.kind, builder.gep(pointer.ir, [count.ir], inbounds=True))


def _select(builder: Any, condition: Value, a: Value, b: Value) -> Value:
    condition, a, b = together(builder, condition, a, converted(builder, b, a.kind))
    return Value(a.kind, builder.select(condition.ir, a.ir, b.ir))


def _reduce_max(builder: Any, running: Value, term: Value) -> Value:
    a, b = together(builder, running, term)
    return Value(a.kind, builder.call(intrinsic(builder.module, "maximum", a, 2), [a.ir, b.ir], fastmath=("nsz",)))


def _reduce_add(builder: Any, running: Value, term: Value) -> Value:
    running, term = together(builder, running, converted(builder, term, running.kind))
    return Value(running.kind, builder.fadd(running.ir, term.ir, flags=("reassoc", "contract")))


def _quotient(builder: Any, a: Value, b: Value) -> Value:
    a, b = together(builder, a, b)
    return Value(a.kind, vectormath.emit(vectormath.quotient, builder, a.ir, b.ir))


def _call_address(builder: Any, address: Value, table: Value) -> Value:
    kind = ir.FunctionType(ir.VoidType(), [KINDS["i64"].as_pointer()])
    return Value("void", builder.call(builder.inttoptr(address.ir, kind.as_pointer()), [table.ir]))


def _call_part(builder: Any, address: Value, table: Value, *numbers: Value) -> Value:
    whole = KINDS["i64"]
    kind = ir.FunctionType(ir.VoidType(), [whole.as_pointer(), *(whole for _ in numbers)])
    function = builder.inttoptr(address.ir, kind.as_pointer())
    return Value("void", builder.call(function, [table.ir, *(number.ir for number in numbers)]))


def _fork(builder: Any, table: Value, part: Value, place: Value, size: Value) -> Value:
    """The address of a team is at that place of the table (0: none), and at the beginning of its block that of fork."""
    team = Value("i64", builder.load(builder.gep(table.ir, [place.ir], inbounds=True)))
    with builder.if_else(builder.icmp_signed("==", team.ir, ir.Constant(KINDS["i64"], 0))) as (alone, together):
        with alone:
            # by an address in memory: LLVM would make a second part for 0 of 1
            place_of_part = builder.alloca(KINDS["i64"])
            builder.store_atomic(part.ir, place_of_part, "monotonic", 8)
            address = Value("i64", builder.load_atomic(place_of_part, "monotonic", 8))
            _call_part(builder, address, table, constant("i64", 0), constant("i64", 1))
        with together:
            fork = Value("i64", builder.load(builder.inttoptr(team.ir, llvm_type("i64*"))))
            _call_part(builder, fork, table, part, place, size)
    return Value("void", None)


def _barrier(builder: Any, team: Value) -> Value:
    """The second in the block of a team is the address of barrier."""
    second = builder.gep(team.ir, [ir.Constant(KINDS["i64"], 1)], inbounds=True)
    return _call_address(builder, Value("i64", builder.load(second)), team)


def _atomic_load(builder: Any, place: Value) -> Value:
    return Value("i64", builder.load_atomic(place.ir, "acquire", 8))


def _atomic_store(builder: Any, place: Value, value: Value) -> Value:
    return Value("void", builder.store_atomic(value.ir, place.ir, "release", 8))


def _atomic_add(builder: Any, place: Value, value: Value) -> Value:
    return Value("i64", builder.atomic_rmw("add", place.ir, value.ir, "acq_rel"))


def _compare_exchange(builder: Any, place: Value, old: Value, new: Value) -> Value:
    pair = builder.cmpxchg(place.ir, old.ir, new.ir, "acq_rel", "acquire")
    return Value("i64", builder.extract_value(pair, 0))


def _pause(builder: Any) -> Value:
    name = WAITING.get(platform.machine())
    if name is None:
        return Value("void", None)
    return Value("void", builder.call(declared(builder.module, ir.FunctionType(ir.VoidType(), []), name), []))


def _control_register(builder: Any, name: str, place: Any) -> None:
    kind = ir.FunctionType(ir.VoidType(), [place.type])
    builder.call(declared(builder.module, kind, f"llvm.x86.sse.{name}"), [place])


def _floating_mode(builder: Any) -> Value:
    if not is_x86():
        return constant("i64", 0)
    place = builder.alloca(KINDS["i32"])
    _control_register(builder, "stmxcsr", place)
    return converted(builder, Value("i32", builder.load(place)), "i64")


def _set_floating_mode(builder: Any, mode: Value) -> Value:
    if is_x86():
        place = builder.alloca(KINDS["i32"])
        builder.store(converted(builder, mode, "i32").ir, place)
        _control_register(builder, "ldmxcsr", place)
    return Value("void", None)


def _isfinite(builder: Any, x: Value) -> Value:
    kind = like(x, "i32" if x.kind == "f32" else "i64")
    exponent = ir.Constant(kind, 0x7F800000 if x.kind == "f32" else 0x7FF0000000000000)
    bits = builder.and_(builder.bitcast(x.ir, kind), exponent)
    return Value("i1", builder.icmp_unsigned("!=", bits, exponent))


def _cast(kind: str) -> Emitter:
    return lambda builder, x: converted(builder, x, kind)


def _whole(builder: Any, x: Value) -> Value:
    return Value("i64", builder.ptrtoint(x.ir, KINDS["i64"])) if x.element else converted(builder, x, "i64")


def _real(builder: Any, x: Value) -> Value:
    return x if x.kind in FLOATS else converted(builder, x, "f64")


def _function(name: str) -> Emitter:
    """A function of vectormath, float32 or float64 by its argument; an integer becomes float64."""

    def emit(builder: Any, x: Value) -> Value:
        x = _real(builder, x)
        return Value(x.kind, vectormath.emit(vectormath.FORMULAS[name], builder, x.ir))

    return emit


def _by_cases(name: str) -> Emitter:
    """A circular function: vectormath's where a fused multiply-add is cheap, else the C library's."""

    def emit(builder: Any, x: Value) -> Value:
        x = _real(builder, x)
        if has_fma():
            return Value(x.kind, vectormath.emit(partial(variants.emit, vectormath.CIRCULAR[name]), builder, x.ir))
        if x.lanes:
            raise TypeError(f"{name} of lanes needs a fused multiply-add")
        kind = ir.FunctionType(KINDS[x.kind], [KINDS[x.kind]])
        symbol = name + ("f" if x.kind == "f32" else "")
        return Value(x.kind, builder.call(declared(builder.module, kind, symbol), [x.ir]))

    return emit


def _uniform(kind: str) -> Emitter:
    def emit(builder: Any, *keys: Value) -> Value:
        wide = [key.ir for key in together(builder, *(converted(builder, key, "i64") for key in keys))]
        return Value(kind, random.emit_uniform(builder, wide, "float64" if kind == "f64" else "float32"))

    return emit


EMITTERS: Mapping[str, Emitter] = MappingProxyType(
    {
        "F32": _cast("f32"),
        "F64": _cast("f64"),
        "I64": _whole,
        "pointer_f32": _pointer("f32"),
        "pointer_f64": _pointer("f64"),
        "pointer_i64": _pointer("i64"),
        "pointer_i32": _pointer("i32"),
        "offset": _offset,
        "select": _select,
        "quotient": _quotient,
        "reduce_add": _reduce_add,
        "reduce_max": _reduce_max,
        "call_address": _call_address,
        "call_part": _call_part,
        "fork": _fork,
        "barrier": _barrier,
        "atomic_load": _atomic_load,
        "atomic_store": _atomic_store,
        "atomic_add": _atomic_add,
        "compare_exchange": _compare_exchange,
        "pause": _pause,
        "floating_mode": _floating_mode,
        "set_floating_mode": _set_floating_mode,
        "isfinite": _isfinite,
        "uniform_f32": _uniform("f32"),
        "uniform_f64": _uniform("f64"),
        **{name: _function(name) for name in vectormath.FORMULAS},
        **{name: _by_cases(name) for name in vectormath.CIRCULAR},
    }
)


def emit_extern(builder: Any, symbol: str, result: str, wanted: tuple[str, ...], given: tuple[Value, ...]) -> Value:
    """A call of the external C function `symbol`; a pointer comes back as an address."""
    byte = KINDS["i8"].as_pointer()
    types = [byte if kind.endswith("*") else KINDS[kind] for kind in wanted]
    returned = ir.VoidType() if result == "void" else byte if result.endswith("*") else KINDS[result]
    passed = []
    for value, kind in zip(given, wanted, strict=True):
        if not kind.endswith("*"):
            passed.append(converted(builder, value, kind).ir)
        elif value.element:
            passed.append(builder.bitcast(value.ir, byte))
        else:
            passed.append(builder.inttoptr(value.ir, byte))
    called = builder.call(declared(builder.module, ir.FunctionType(returned, types), symbol), passed)
    if result.endswith("*"):
        return Value("i64", builder.ptrtoint(called, KINDS["i64"]))
    return Value(result, called)
