"""What the compiler chooses, each with a way to switch it off: for ablation.py, and for nothing else.

A choice is a replacement for functions or constants of the compiler's modules, in one process and for as long as a
`with` lasts.  It reaches into modules; a name that is gone is an error.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

Replace = Callable[[Any], Any]  # what stands there -> what shall stand there instead


@dataclass(frozen=True, slots=True)
class Choice:
    """what: it does.  patches: "module:name" -> the replacement.  in_text: generated source shows whether it acts."""

    name: str
    what: str
    patches: Mapping[str, Replace]
    in_text: bool = True


def instead(value: Any) -> Replace:
    return lambda _: value


def unchanged(_: Any) -> Any:
    """A function that gives its first argument."""
    return lambda first, *others, **options: first


def without_pass(name: str) -> Choice:
    def shorter(pipelines: Any) -> Any:
        passes = pipelines["usual"]
        left = tuple(row for row in passes if row[0] != name)
        assert len(left) < len(passes)
        return {**pipelines, "usual": left}

    return Choice(name, "pass", {"compiler.executable:PIPELINES": shorter})


def scalar_functions(emitters: Mapping[str, Any]) -> dict[str, Any]:
    """exp and others of the C library, one element at a time."""
    from compiler.kernels.emitters import KINDS, Value, converted, declared, ir

    def library(name: str) -> Any:
        def emit(builder: Any, x: Any) -> Any:
            x = x if x.kind in ("f32", "f64") else converted(builder, x, "f64")
            kind, symbol = KINDS[x.kind], name + ("f" if x.kind == "f32" else "")
            return Value(x.kind, builder.call(declared(builder.module, ir.FunctionType(kind, [kind]), symbol), [x.ir]))

        return emit

    names = ("exp", "expm1", "log", "log1p", "tanh", "erf", "erfc")
    return {**emitters, **{name: library(name) for name in names}}


def divided(emitters: Mapping[str, Any]) -> dict[str, Any]:
    from compiler.kernels.emitters import Value

    return {**emitters, "quotient": lambda builder, a, b: Value(a.kind, builder.fdiv(a.ir, b.ir))}


def in_order(emitters: Mapping[str, Any]) -> dict[str, Any]:
    from compiler.kernels.emitters import Value, converted

    def add(builder: Any, running: Any, term: Any) -> Any:
        return Value(running.kind, builder.fadd(running.ir, converted(builder, term, running.kind).ir))

    return {**emitters, "reduce_add": add}


def with_subnormals(build_source: Any) -> Any:
    return lambda *given, subnormals=True, **options: build_source(*given, **options)


def small_tiles(_: Any) -> Any:
    from compiler.kernels.matmul import TILES

    return lambda: TILES["generic"]


def apart(_: Any) -> Any:
    """Every value in memory has a place of its own."""

    def place(ranges: Mapping[Any, tuple[int, int, int]]) -> tuple[dict[Any, int], int]:
        offsets, top = {}, 0
        for tensor, (_, _, size) in ranges.items():
            offsets[tensor] = top
            top += size
        return offsets, top

    return place


EMITTERS = "compiler.translate:EMITTERS"
CHOICES = {
    choice.name: choice
    for choice in (
        *(
            without_pass(name)
            for name in (
                "use_facts", "simplify_algebra", "stabilize", "share", "reuse_values", "split_products",
            )
        ),
        Choice("trim_domains", "what reads or writes out of range is left out of loops",
               {"compiler.prepare:trim_domains": unchanged}),
        Choice("choose_instead_of_skip", "a selection in place of a jump",
               {"compiler.prepare:choose_instead_of_skip": unchanged}),
        Choice("pad_windows", "a border of zeros in place of guards", {"compiler.prepare:pad_windows": unchanged}),
        Choice("pack_operands", "the small factor of a window in the order in which it is read",
               {"compiler.prepare:pack_operands": unchanged}),
        Choice("merge_maps", "maps over one box are one equation", {"compiler.prepare:merge_maps": unchanged}),
        Choice("inline_cheap_maps", "cheap values are computed where they are read",
               {"compiler.prepare:inline_cheap_maps": unchanged}),
        Choice("split_short_rows", "expensive functions in flat loops, not in short rows",
               {"compiler.prepare:split_short_rows": unchanged}),
        Choice("products", "contractions are calls of the matrix kernel",
               {f"compiler.{module}:as_product": instead(lambda *_: None) for module in ("lower", "recurrence")}),
        Choice("tiny products as loops", "of at most TINY multiplications in all a loop nest in place of a call",
               {"compiler.product:TINY": instead(0)}),
        Choice("segments", "the kernel sums over several axes in registers",
               {"compiler.product:_is_segment": instead(lambda *_: False)}),
        Choice("start from a row", "the bias is where the sums of a product begin",
               {"compiler.lower:_start_from_row": instead(lambda *_: None)}),
        Choice("maps in the store", "products store what becomes of their sums",
               {"compiler.executable:with_epilogues": unchanged}),
        Choice("packing", "blocks of large operands are copied to the stack",
               {f"compiler.kernels.matmul:{name}": instead(2**60) for name in ("PACK_A", "PACK_B")}, in_text=False),
        Choice("packing side by side", "several tiles at a time",
               {"compiler.kernels.matmul:PACKED": instead(1)}, in_text=False),
        Choice("copied rows", "rows that start a page apart are copied to the stack",
               {"compiler.kernels.matmul:PAGE": instead(2**60)}, in_text=False),
        Choice("wide tiles", "tiles of the processor's widest vectors, not of 16 bytes",
               {"compiler.kernels.matmul:target": small_tiles}, in_text=False),
        Choice("storage orders", "parameters and steps are stored as products want them",
               {f"compiler.{module}:storage_orders": instead(lambda *_: {}) for module in ("lower", "executable")}),
        Choice("update in place", "a next value takes the place of the one before",
               {"compiler.lower:_share_storage": instead(lambda program, *_: list(program.updates))}),
        Choice("fusing", "what is made in one loop is used in the same",
               {"compiler.fuse:may_fuse": instead(lambda *_: False)}),
        Choice("flat stays flat", "no fusing that breaks up a flat loop of expensive functions",
               {"compiler.fuse:_stays_fast": instead(lambda *_: True)}),
        Choice("values in registers", "what lives in one iteration has no place in memory",
               {"compiler.executable:register_tensors": instead(lambda *_: set())}),
        Choice("joined sums", "sums into one scalar share a register",
               {"compiler.executable:join_registers": unchanged}),
        Choice("joined updates", "all parameters are updated in one flat loop",
               {"compiler.executable:merge_flat_loops": unchanged}),
        Choice("gradients in a run", "gradients lie as their parameters do",
               {"compiler.executable:aligned_runs": instead(lambda *_: [])}),
        Choice("shared places", "values that do not live at once share memory",
               {"compiler.memory:_by_time": apart, "compiler.memory:_by_size": apart}),
        Choice("short sums written out", "sums over up to FEW values without a loop",
               {"compiler.nest:FEW": instead(0)}),
        Choice("vectors of 512 bits", "for LLVM's vectorizer, not of 256",
               {"compiler.native:VECTOR_BITS": instead(256)}, in_text=False),
        Choice("functions in vectors", "exp, tanh, log, ... of the compiler's own, not of the C library",
               {EMITTERS: scalar_functions}, in_text=False),
        Choice("quotient by multiplying", "no divider beside a square root", {EMITTERS: divided}, in_text=False),
        Choice("sums in any order", "sums in vectors", {EMITTERS: in_order}, in_text=False),
        Choice("flush of subnormals", "subnormal numbers count as 0",
               {"compiler.native:build_source": with_subnormals}, in_text=False),
    )
}  # fmt: skip


@contextmanager
def without(name: str, note: Callable[[bytes], object] = lambda text: None) -> Iterator[None]:
    """The choice of this name ("": none) is switched off; `note` gets the text of each source that is compiled.

    A process that is to be measured for its start must not import the compiler before its time: without a name nothing
    is touched, and nothing noted.
    """
    if not name:
        yield
        return
    with ExitStack() as stack:
        for place, replaced in CHOICES[name].patches.items() if name != NONE else ():
            module, attribute = place.split(":")
            home = importlib.import_module(module)
            stack.enter_context(patch.object(home, attribute, replaced(getattr(home, attribute))))
        native = importlib.import_module("compiler.native")
        build_source = native.build_source

        def noted(text: str, *given: Any, **options: Any) -> Any:
            note(text.encode())
            return build_source(text, *given, **options)

        stack.enter_context(patch.object(native, "build_source", noted))
        yield


NONE = "none"  # everything is as it is, but the source is noted
