"""LLVM IR or generated source in, a native function out: compiled once, kept as an object file in the cache.

The only module that touches interfaces of numba and llvmlite that are not public.  Everything becomes a relocatable
object (no address of this process inside) under a key that hashes its content and all it depends on.  Loading one
takes llvmlite.binding alone, so a process that finds everything in the cache does not import sympy; and none imports
numba, unless it asks for Numba's translation of the source.

    build_kernel(name, ir)                           LLVM IR text            -> Native
    build_source(text, entry, namespace, depends)    generated Python text   -> Native
    restore(key)                                     a key from an earlier process -> Native, or None

Every function's external symbol ends in a hash of its content, and is registered in the process: two processes or two
programs can never call each other's body, and later objects link to earlier ones by name.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

import llvmlite.binding as llvm
from llvmlite.binding.newpassmanagers import NewPassManager

from . import cache as disk

if TYPE_CHECKING:
    from .translate import Lanes
from .kernels import blas

# For LLVM's own vectorizer, if the processor has them; loops ran up to 1.4 times as fast as with 256.
VECTOR_BITS = 512
# Quotients that may be so (Real.times_reciprocal) are made of the processor's estimate by one step of Newton.
ESTIMATES = "divf:1,vec-divf:1"


class NativeError(RuntimeError):
    """Generated code that does not compile, or needs a symbol that does not exist: a fault of the compiler."""


@dataclass(frozen=True, slots=True)
class Native:
    """A loaded native function: its external symbol, its address, the key of its object in the cache."""

    name: str
    address: int
    key: str


@dataclass(frozen=True, slots=True)
class Extern:
    """An external C function, for the namespace of generated source: Extern(native.name, "void(f32*,i64)").

    Types: void, i8 i32 i64 f32 f64, and pointers to them (`f32*`).  In generated source an argument of pointer type
    takes a pointer (of any element type) or an integer address.
    """

    symbol: str
    signature: str


Value = Extern | int | float | str
# LLVM's passes: none; a few, which put variables into registers; those that make vectors of loops; all, which unroll
# short ones, too.
Passes = Literal["none", "scalar", "rolled", "all"]


# ---------------------------------------------------------------------------------------------- building
def build_kernel(name: str, ir: str, passes: Passes = "all") -> Native:
    """The function `name`, defined by the LLVM IR text, compiled for this processor.

    The symbol registered is `<name>_<hash>` (Native.name): pass that one to Extern, not `name`.  The IR may
    declare external functions of libc and of kernels built before.  Code that is written as it should run needs no
    passes of LLVM's before its code generation: `passes="none"` takes a third of the time.
    """
    with _LOCK:
        key = disk.key("kernel", name, ir, str(VECTOR_BITS), ESTIMATES, passes)
        return restore(key) or _finish(key, name, f"{name}_{key[:16]}", ir, (), passes)


def build_source(
    text: str,
    entry: str,
    namespace: Mapping[str, Value] | None = None,
    depends: Iterable[Native] = (),
    subnormals: bool = True,
    passes: Passes = "all",
    by_numba: bool = False,
    lanes: Lanes | None = None,
) -> Native:
    """The function `entry`, the last of the text, C type `void f(int64_t *table)`; translate.py has its dialect.

    The text may name what `namespace` has and the functions of compiler.kernels.emitters (pointer_f32, select,
    reduce_add, exp, ...), nothing else.  `depends` are the functions that the text calls through Extern: they are
    restored with this one.  With `subnormals=False` it and all that it calls take subnormal numbers for zero (on
    x86-64; the state of the processor is put back at the end): arithmetic with them is a hundred times slower, and
    an optimizer's moments decay into them.  Where the loops of the text itself take no time, `passes="scalar"` compiles
    it twice as fast.  With `by_numba` Numba compiles the text, to the same function: a judge of
    the translator, ten times as slow.  lanes: for so many tables of arguments at once (translate.py).
    """
    with _LOCK:
        depends = tuple(depends)
        names = {name: _plain(value) for name, value in (namespace or {}).items()}
        described = json.dumps(sorted(names.items()))
        options = f"{VECTOR_BITS} {ESTIMATES} {subnormals} {passes} {by_numba}"
        options += f" {lanes.count} {sorted(lanes.shared)}" if lanes else ""
        key = disk.key("source", text, entry, described, *[d.key for d in depends], options)
        found = restore(key)
        if found is not None:
            return found
        ir = source_ir(text, entry, names, subnormals, by_numba, lanes)
        return _finish(key, entry, f"{entry}_{key[:16]}", ir, tuple(d.key for d in depends), passes)


def restore(key: str) -> Native | None:
    """The function under a key of this or an earlier process, with all it depends on; None if any is missing."""
    with _LOCK:
        if key in _LOADED:
            return _LOADED[key]
        payload = disk.load(key)
        if payload is None:
            return None
        header, _, code = payload.partition(b"\n")
        record = json.loads(header)
        if any(restore(other) is None for other in record["depends"]):
            return None
        return _load(key, record["symbol"], record["needs"], code)


def symbol_address(name: str) -> int | None:
    """The address of an external symbol as generated code would find it."""
    address: int | None = llvm.address_of_symbol(name)
    return address


def _finish(key: str, name: str, symbol: str, ir: str, depends: tuple[str, ...], passes: Passes) -> Native:
    needs, code = _object(ir, name, symbol, passes)
    header = json.dumps({"symbol": symbol, "needs": needs, "depends": list(depends)})
    disk.store(key, header.encode() + b"\n" + code)
    return _load(key, symbol, needs, code)


def _plain(value: Value) -> Any:
    """A number, or (symbol, result, argument kinds) of an external function."""
    match value:
        case Extern(symbol, signature):
            return (symbol, *parse_signature(signature))
        case int() | float() if not isinstance(value, bool):
            return value
    raise NativeError(f"a {type(value).__name__} cannot stand in the namespace of generated source")


# ---------------------------------------------------------------------------------------------- compiling
# What every processor of an architecture has, whether it is found or not (LLVM finds nothing on some systems).
IMPLIED = {"x86_64": {"sse2"}, "aarch64": {"neon"}, "arm64": {"neon"}}


@cache
def features() -> frozenset[str]:
    """The features of this processor by LLVM's names, such as avx512f, avx2, fma."""
    found = {name for name, present in llvm.get_host_cpu_features().items() if present}
    return frozenset(found | IMPLIED.get(llvm.get_process_triple().partition("-")[0], set()))


@cache
def _machine() -> Any:
    _initialize()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    # As Numba does: static relocation and the JIT's code model (large on x86-64: any distance to other objects).
    reloc = "static" if target.name.startswith("x86") else "default"
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3, reloc=reloc,
        codemodel="jitdefault", jit=True,
    )  # fmt: skip


def optimized(ir: str, name: str, symbol: str, passes: Passes = "all") -> Any:
    """The module of the IR text after the passes; `name` becomes the external `symbol`, all else internal."""
    machine = _machine()
    try:
        module = llvm.parse_assembly(
            _attributed(ir.replace(f'@"{name}"', f'@"{symbol}"').replace(f"@{name}(", f"@{symbol}("))
        )
        module.triple = llvm.get_process_triple()
        module.data_layout = str(machine.target_data)
        for function in module.functions:
            if not function.is_declaration and function.name != symbol:
                function.linkage = "internal"
        for variable in module.global_variables:
            if not variable.is_declaration and not variable.name.startswith("llvm."):
                variable.linkage = "internal"
        module.verify()
    except RuntimeError as error:
        raise NativeError(f"{name}: {error}") from error
    if passes == "none":
        return module
    # Level 3 takes twice as long for twice the code, and ran up to 5 % slower (training of digits).
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.slp_vectorization = True
    options.loop_unrolling = passes == "all"
    builder = llvm.create_pass_builder(machine, options)
    manager = _manager(builder, passes)
    manager.run(module, builder)
    # Its `close` gives nothing back: the base class that comes first has a `_dispose` of its own.  What the passes
    # remember is eight times the text.
    NewPassManager._dispose(manager)
    manager.detach()
    return module


def _manager(builder: Any, passes: Passes) -> Any:
    if passes != "scalar":
        return builder.getModulePassManager()
    # A ninth of the time of all the others, for code of the same size and speed.
    manager = llvm.create_new_module_pass_manager()
    manager.add_always_inliner_pass()
    manager.add_global_dead_code_eliminate_pass()
    manager.add_sroa_pass()
    manager.add_simplify_cfg_pass()
    manager.add_instruction_combine_pass()
    return manager


def _object(ir: str, name: str, symbol: str, passes: Passes) -> tuple[list[str], bytes]:
    """The external symbols that the code needs, and its object file."""
    module = optimized(ir, name, symbol, passes)
    needs = sorted(f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm."))
    needs += sorted(v.name for v in module.global_variables if v.is_declaration)
    foreign = [n for n in needs if n.startswith((".numba", "numba_", "_ZN", "NRT_", "Py"))]
    if foreign:
        raise NativeError(f"{name}: generated code may not need {', '.join(foreign)}")
    with _addresses_as_written():
        return needs, bytes(_machine().emit_object(module))


@contextmanager
def _addresses_as_written() -> Iterator[None]:
    """LLVM does not look for other induction variables than those of the code ("loop strength reduction").

    That took two fifths of the time of code generation, and what came of it was no faster: x86-64 adds up a base, a
    scaled index and a constant in every access.
    """
    if not _is_x86():
        yield
        return
    llvm.set_option("", "-disable-lsr=true")  # of the process: meanwhile other users of LLVM do without it, too
    try:
        yield
    finally:
        llvm.set_option("", "-disable-lsr=false")


_DEFINE = re.compile(r"^(define [^{]*?)((?: personality [^{]*)?\{)", re.MULTILINE)


def _attributed(ir: str) -> str:
    """Every function defined may use vectors of VECTOR_BITS, and the processor's estimates."""
    return _DEFINE.sub(rf'\1 "prefer-vector-width"="{VECTOR_BITS}" "reciprocal-estimates"="{ESTIMATES}" \2', ir)


# ---------------------------------------------------------------------------------------------- generated source
BODY = "body"  # the function that the C entry calls


def source_ir(
    text: str,
    entry: str,
    names: Mapping[str, Any],
    subnormals: bool = True,
    by_numba: bool = False,
    lanes: Lanes | None = None,
) -> str:
    """The LLVM IR of generated source with its C entry, before optimization; the text becomes a file to look at."""
    name = f"{entry}_{sha256(text.encode()).hexdigest()[:16]}"
    path = disk.write_source(f"{name}.py", text)
    try:
        made = _numba_ir(text, entry, names) if by_numba else _translated(text, entry, names, lanes)
    except Exception as error:
        raise NativeError(f"{path or name}: {error}") from error
    return _with_entry(made, entry, subnormals, _arguments(text))


def _translated(text: str, entry: str, names: Mapping[str, Any], lanes: Lanes | None) -> str:
    from .translate import translate

    return translate(text, entry, names, lanes).replace(f'@"{entry}"', f'@"{BODY}"')


def _arguments(text: str) -> int:
    """How many integers the last function of the text takes beside the table."""
    return re.findall(r"^def \w+\(([^)]*)\)", text, re.MULTILINE)[-1].count(",")


def _with_entry(ir: str, entry: str, subnormals: bool, arguments: int = 0) -> str:
    """The module with the C entry named `entry`, which calls the body."""
    given = "%table" + "".join(f", i64 %a{number}" for number in range(arguments))
    before, after, inlining = ("", "", "alwaysinline") if subnormals or not _is_x86() else (*_FLUSHED, "noinline")
    called = (
        f'\ndefine void @"{entry}"(ptr noalias {given}) {{\n{before}  call void @"{BODY}"(ptr {given}) {inlining}\n'
    )
    control = "declare void @llvm.x86.sse.stmxcsr(ptr)\ndeclare void @llvm.x86.sse.ldmxcsr(ptr)\n" if before else ""
    return f"{ir}{called}{after}  ret void\n}}\n{control}"


def _numba_ir(text: str, entry: str, names: Mapping[str, Any]) -> str:
    """The LLVM IR of a generated module, as Numba lowers it, before optimization."""
    from numba import types
    from numba.core import compiler
    from numba.core.compiler_lock import global_compiler_lock
    from numba.core.cpu import FastMathOptions
    from numba.core.registry import cpu_target

    from .kernels import intrinsics

    space: dict[str, Any] = {"__builtins__": {}, "__name__": "symnet_generated", **intrinsics.NAMESPACE}
    space |= {name: intrinsics.extern(*v) if isinstance(v, tuple) else v for name, v in names.items()}
    # the text is our own: of users' text it has but checked identifiers, in comments
    exec(compile(text, "<generated>", "exec"), space)

    flags = compiler.Flags()
    flags.nrt = False
    flags.no_compile = True
    flags.no_cpython_wrapper = True
    flags.no_cfunc_wrapper = True
    flags.release_gil = False
    flags.no_rewrites = True
    flags.error_model = "numpy"
    flags.fastmath = FastMathOptions({"contract"})
    with global_compiler_lock:
        context = cpu_target.target_context
        context.refresh()
        cpu_target.typing_context.refresh()
        library = _Library()
        result = compiler.compile_extra(
            cpu_target.typing_context, context, space[entry], (types.CPointer(types.int64),), types.void, flags, {},
            library=library,
        )  # fmt: skip
        return library.linked(result.fndesc.llvm_func_name)


class _Library:
    """Takes the place of Numba's code library: collects IR and leaves optimization and code to this module."""

    def __init__(self) -> None:
        self._reload_init: set[Any] = set()
        self.recorded_timings = None
        self._texts: list[str] = []
        self._libraries: list[Any] = []

    def create_ir_module(self, name: str) -> Any:
        from llvmlite import ir

        return ir.Module("generated")

    def add_ir_module(self, module: Any) -> None:
        self._texts.append(str(module))

    def add_linking_library(self, library: Any) -> None:
        library._ensure_finalized()
        if library not in self._libraries:
            self._libraries.append(library)

    def linked(self, function: str) -> str:
        """One module's text: what was collected, what it links to, and the body that the C entry calls."""
        module = llvm.parse_assembly("\n".join(self._texts))
        for library in self._libraries:
            module.link_in(library._get_module_for_linking(), preserve=True)
        text = str(module)
        quoted = f'@"{function}"' if f'@"{function}"' in text else f"@{function}"
        return (
            f'{text}\ndefine void @"{BODY}"(ptr %table) {{\n  %result = alloca ptr\n  %error = alloca ptr\n'
            f"  %status = call i32 {quoted}(ptr %result, ptr %error, ptr %table) alwaysinline\n  ret void\n}}\n"
        )


# Operands and results: bits 6 and 15 of x86's control register.
_FLUSHED = (
    "  %old = alloca i32\n  %new = alloca i32\n  call void @llvm.x86.sse.stmxcsr(ptr %old)\n"
    "  %state = load i32, ptr %old\n  %flushed = or i32 %state, 32832\n  store i32 %flushed, ptr %new\n"
    "  call void @llvm.x86.sse.ldmxcsr(ptr %new)\n",
    "  call void @llvm.x86.sse.ldmxcsr(ptr %old)\n",
)


def _is_x86() -> bool:
    return str(llvm.get_process_triple()).startswith("x86_64")


# ---------------------------------------------------------------------------------------------- loading
_LOCK = threading.RLock()
_LOADED: dict[str, Native] = {}


def loaded() -> int:
    """How many functions this process has loaded."""
    return len(_LOADED)


@cache
def _initialize() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


@cache
def _engine() -> Any:
    """One engine holds every object for the life of the process."""
    _initialize()
    machine = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), jit=True
    )
    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)


def _load(key: str, symbol: str, needs: list[str], code: bytes) -> Native:
    engine = _engine()  # from then on LLVM finds the C library's symbols
    for name in needs:
        if name in blas.SYMBOLS and llvm.address_of_symbol(name) is None:
            llvm.add_symbol(name, blas.address(name))
    missing = [name for name in needs if llvm.address_of_symbol(name) is None]
    if missing:  # LLVM would end the process
        raise NativeError(f"{symbol} needs {', '.join(missing)}, which is not loaded: name it in `depends`")
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    address = engine.get_function_address(symbol)
    llvm.add_symbol(symbol, address)
    _LOADED[key] = Native(symbol, address, key)
    return _LOADED[key]


def callable_from(native: Native, signature: str) -> Callable[..., Any]:
    """A native function as a ctypes function, such as callable_from(f, "void(i64*)")."""
    import ctypes

    kinds: dict[str, Any] = {
        "void": None, "i8": ctypes.c_int8, "i32": ctypes.c_int32, "i64": ctypes.c_int64, "f32": ctypes.c_float,
        "f64": ctypes.c_double,
    }  # fmt: skip
    result, arguments = parse_signature(signature)
    types = [ctypes.c_void_p if a.endswith("*") else kinds[a] for a in arguments]
    return ctypes.CFUNCTYPE(kinds[result], *types)(native.address)


def parse_signature(signature: str) -> tuple[str, tuple[str, ...]]:
    """ "void(f32*,i64)" -> ("void", ("f32*", "i64"))"""
    found = re.fullmatch(r"(\w+\*?)\(([^)]*)\)", signature.replace(" ", ""))
    if found is None:
        raise NativeError(f"not a signature: {signature!r}")
    return found[1], tuple(part for part in found[2].split(",") if part)
