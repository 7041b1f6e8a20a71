"""A function with a rare slow case, out of line: loops that call it are vectorized all the same.

A branch keeps LLVM from vectorizing a loop.  So the scalar function, which has the branch, is a function of the module
with forms for vectors beside it, and names them in the attribute "vector-function-abi-variant": the loop vectorizer
replaces its calls by theirs.  A vector's form computes the common case for all lanes; if any lane is in the rare one
(a branch a vector, predicted), it takes that lane from the C library.  Both give the same bits.

    sin(x)          small(x) ? formula(x) : library(x)
    sin.16(x)       all(small(x)) ? formula(x) : sin.16.each(x)
    sin.16.each(x)  small(x) ? formula(x) : (library(x[0]), library(x[1]), ...)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from .matmul import target
from .real import Real

USED = "llvm.compiler.used"  # what no pass may remove: the forms are named by an attribute alone


@dataclass(frozen=True, slots=True)
class Cases:
    """A function by cases: `common` where `is_common` holds, elsewhere the C library's function of this name."""

    library: str
    is_common: Callable[[Real], Any]
    common: Callable[[Real], Real]


def emit(cases: Cases, x: Real) -> Real:
    """The function of a scalar, or of a vector; its definition is added to the module if need be."""
    module, kind = x.builder.module, x.value.type
    name = f"symnet.{cases.library}.{x.format.name}"
    if isinstance(kind, ir.VectorType):
        one = Real(x.builder, ir.Constant(kind.element, 0.0), x.format)
        scalar = module.globals.get(name) or _scalar(module, name, cases, one)
        function = module.globals.get(f"{name}.{kind.count}") or _vector(module, cases, scalar, kind.count, one)
    else:
        function = module.globals.get(name) or _scalar(module, name, cases, x)
    return Real(x.builder, x.builder.call(function, [x.value]), x.format)


def _defined(module: Any, name: str, kind: Any) -> tuple[Any, Any]:
    """A new function of one argument to the same kind, and the builder of its body."""
    function = ir.Function(module, ir.FunctionType(kind, [kind]), name)
    function.linkage = "internal"
    for attribute in ("noinline", "nounwind", "readnone"):
        function.attributes.add(attribute)
    return function, ir.IRBuilder(function.append_basic_block("entry"))


def _scalar(module: Any, name: str, cases: Cases, x: Real) -> Any:
    kind = x.value.type
    function, builder = _defined(module, name, kind)
    widest = 8 * target().bytes // x.format.bits
    forms = [_vector(module, cases, function, lanes, x) for lanes in (widest, widest // 2) if lanes > 1]
    _keep(module, [function, *forms])
    listed = ",".join(f"_ZGV_LLVM_N{form.args[0].type.count}v_{name}({form.name})" for form in forms)
    set.add(function.attributes, f'"vector-function-abi-variant"="{listed}"')  # llvmlite knows no strings here
    argument = Real(builder, function.args[0], x.format)
    with builder.if_then(builder.not_(cases.is_common(argument)), likely=False):
        builder.ret(builder.call(_library(module, cases, x), [argument.value]))
    builder.ret(cases.common(argument).value)
    return function


def _library(module: Any, cases: Cases, x: Real) -> Any:
    symbol = cases.library + ("f" if x.format.bits == 32 else "")
    kind = ir.FunctionType(x.value.type, [x.value.type])
    return module.globals.get(symbol) or ir.Function(module, kind, symbol)


def _vector(module: Any, cases: Cases, scalar: Any, lanes: int, x: Real) -> Any:
    kind = ir.VectorType(x.value.type, lanes)
    function, builder = _defined(module, f"{scalar.name}.{lanes}", kind)
    argument = Real(builder, function.args[0], x.format)
    rare = builder.bitcast(builder.not_(cases.is_common(argument)), ir.IntType(lanes))
    with builder.if_then(builder.icmp_unsigned("!=", rare, ir.Constant(rare.type, 0)), likely=False):
        builder.ret(builder.call(_each(module, cases, function, x), [argument.value]))
    builder.ret(cases.common(argument).value)
    return function


def _each(module: Any, cases: Cases, vector: Any, x: Real) -> Any:
    """Some lanes in the rare case.  (Calls of the scalar function here would be made a call of the vector's.)"""
    kind = vector.args[0].type
    function, builder = _defined(module, f"{vector.name}.each", kind)
    argument = Real(builder, function.args[0], x.format)
    rare = ir.Constant(kind, ir.Undefined)
    for lane in range(kind.count):
        at = ir.Constant(ir.IntType(32), lane)
        one = builder.call(_library(module, cases, x), [builder.extract_element(argument.value, at)])
        rare = builder.insert_element(rare, one, at)
    common = cases.common(argument).choose(cases.is_common(argument), Real(builder, rare, x.format))
    builder.ret(common.value)
    return function


def _keep(module: Any, functions: list[Any]) -> None:
    address = ir.IntType(8).as_pointer()
    found = module.globals.get(USED)
    kept = [*(found.initializer.constant if found is not None else []), *(f.bitcast(address) for f in functions)]
    listed = ir.Constant(ir.ArrayType(address, len(kept)), kept)
    if found is None:
        found = ir.GlobalVariable(module, listed.type, USED)
        found.linkage, found.section = "appending", "llvm.metadata"
    found.value_type, found.initializer = listed.type, listed
