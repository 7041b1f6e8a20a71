"""A program compiled: what it needs, where everything stands, and the address of its native function.

    storage = plan_storage(program, "float32")                       the persistent part, shared by a model's programs
    exe = compile_program(program, "float32", storage, {"N": 32})    -> Executable

The native function is `void f(int64_t *table)`; `Executable.slots` says what stands at which position of the table.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from time import perf_counter
from typing import Any

import sympy as sp

from .divide import WORTH, Divider, at_capacity, choose, exposed, walk, work
from .epilogue import with_epilogues
from .expressions import Places
from .flat import aligned_runs, join_registers, merge_flat_loops
from .kernels.epilogue import SUM
from .legend import legend
from .live_slots import single_slots
from .lower import Lowered, lower, storage_orders
from .memory import Arena, place_persistent, place_values, register_tensors
from .nest import Alone, Barrier, Call, Guarded, Loop, Node
from .passes import PIPELINES, PassReport, run_passes
from .prepare import copy_sparse, prepare
from .program import Program, Tensor
from .source import Writer
from .storage import Storage

ITEM_SIZE = {"float32": 4, "float64": 8}
SHORT = 16  # turns of a loop that LLVM should unroll; it takes a fifth of its time, and conv is 18 % slower without


@dataclass(frozen=True, slots=True)
class Executable:
    """A native function and the table that it takes.  `manifest` is all of it in JSON; `load` makes it again."""

    address: int
    source: str
    manifest: dict[str, Any]

    @property
    def slots(self) -> dict[str, int]:
        return dict(self.manifest["slots"])

    @property
    def hyper(self) -> tuple[str, ...]:
        return tuple(self.manifest["hyper"])

    @property
    def integers(self) -> tuple[str, ...]:
        return tuple(self.manifest["integers"])

    @property
    def memory_elements(self) -> int:
        return int(self.manifest["memory_elements"])

    @property
    def capacity(self) -> dict[str, int]:
        return dict(self.manifest["capacity"])


@lru_cache(maxsize=16)
def optimized(program: Program, accuracy: str = "usual") -> tuple[Program, tuple[PassReport, ...]]:
    """The program after all passes of an accuracy, and what each did."""
    program, report = run_passes(program.live(), PIPELINES[accuracy])
    return prepare(program), tuple(report)


def plan_storage(program: Program, dtype: str, accuracy: str = "usual") -> Storage:
    prepared, _ = optimized(program, accuracy)
    return place_persistent(prepared, storage_orders(prepared), ITEM_SIZE[dtype])


def compile_program(
    program: Program,
    dtype: str,
    storage: Storage | None = None,
    capacity: Mapping[str, int] | None = None,
    *,
    plain: bool = False,
    worth: int = WORTH,
    accuracy: str = "usual",
) -> Executable:
    """Lower a program and compile it.  Sizes that are symbols may be at most `capacity` at run time.

    From `worth` operations on, the kernel is one that several threads may run (divide.py).
    accuracy: "usual" or "strict", which passes."""
    from . import native
    from .kernels import matmul

    started = perf_counter()
    text, calls, _, manifest = generate(program, dtype, storage, dict(capacity or {}), plain, worth, accuracy)
    lowered = perf_counter()
    namespace: dict[str, Any] = {}
    depends = []
    for name, spec in calls.items():
        built, namespace[name] = matmul.build(spec)
        depends.append(built)
    turns = map(int, re.findall(r" in range\((\d+)\)", text))
    passes: native.Passes = "all" if any(count <= SHORT for count in turns) else "rolled"
    compiled = native.build_source(text, "kernel", namespace, tuple(dict.fromkeys(depends)), passes=passes)
    manifest["key"] = compiled.key
    manifest["milliseconds"] = {"lower": 1e3 * (lowered - started), "compile": 1e3 * (perf_counter() - lowered)}
    return Executable(compiled.address, text, manifest)


def load(manifest: dict[str, Any], source: str) -> Executable | None:
    """An executable of an earlier process, from its manifest; None where the cache no longer has its code."""
    from . import native

    found = native.restore(manifest["key"])
    return None if found is None else Executable(found.address, source, manifest)


# ------------------------------------------------------------------------------------------------ generating
class Stages:
    """What each stage of the lowering did: a row of counts before and after, and the time since the last."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self._last = perf_counter()

    def note(self, name: str, counted: str, before: int, after: int, reason: str) -> None:
        now = perf_counter()
        row = {"name": name, "counted": counted, "count": (before, after), "milliseconds": 1e3 * (now - self._last)}
        self.rows.append({**row, "reason": reason})
        self._last = now


def _loops(body: Sequence[Node]) -> int:
    return sum(isinstance(node, (Loop, Call)) for node in body)


def generate(
    program: Program,
    dtype: str,
    storage: Storage | None,
    capacity: dict[str, int],
    plain: bool = False,
    worth: int = WORTH,
    accuracy: str = "usual",
) -> tuple[str, dict[str, Any], Lowered, dict[str, Any]]:
    """The source text, the products that it calls by name, the tree, and the manifest without a key."""
    from .kernels.matmul import target

    item = ITEM_SIZE[dtype]
    prepared, report = (copy_sparse(program.live()), ()) if plain else optimized(program, accuracy)
    if storage is None:
        storage = place_persistent(prepared, {} if plain else storage_orders(prepared), item)
    orders = {**({} if plain else storage_orders(prepared)), **storage.orders}
    given_out = {t.name for t in program.outputs}  # arrays of the caller: row-major in their declared order
    orders = {name: order for name, order in orders.items() if name not in given_out}
    stages = Stages()
    tree = lower(prepared, orders, plain)
    stages.note(
        "schedule", "equations", len(prepared.equations), tree.scheduled, "loops, recurrences and products in order"
    )
    stages.note(
        "fuse", "loops and calls", tree.scheduled, _loops(tree.body), "what is made is used while it is in registers"
    )
    if not plain:
        before = _loops(tree.body)
        if not target().blas:  # which has none
            tree.body = with_epilogues(tree.body, tree.layout, {*prepared.roots})
        stages.note("store", "loops and calls", before, _loops(tree.body), "products store what becomes of their sums")
        tree.body = join_registers(tree.body, tree.layout)
        tree.layout.single |= single_slots(tree.body, tree.layout, {*prepared.roots})
    predicted = work(tree.body, capacity)
    divided = not plain and predicted >= worth
    if divided:
        choose(tree.body, tree.layout, capacity)
    places, arena = _place(prepared, tree, storage, capacity, item, exposed(tree.body) if divided else ())
    used = arena.elements - storage.elements
    stages.note("memory", "elements", arena.unshared, used, "values that do not live at once share their place")
    if not plain:
        before = _loops(tree.body)
        tree.body = merge_flat_loops(tree.body, tree.layout, places.offsets, item)
        stages.note("join", "loops and calls", before, _loops(tree.body), "all parameters are updated in one flat loop")
    memory_elements = arena.elements
    if divided:
        choose(tree.body, tree.layout, capacity)  # of loops that were joined
        divider = Divider(tree.layout, places, capacity, item, arena.elements)
        shares = sum(getattr(node, "share", None) is not None for node in walk(tree.body))
        tree.body, memory_elements = divider.divided(tree.body), divider.elements
        waits = sum(isinstance(node, Barrier) for node in walk(tree.body))
        stages.note(
            "divide", "barriers", shares, waits, "threads make shares of outputs; they wait for what others make"
        )
    slots, head = _table(prepared, places, dtype, divided, capacity)
    calls, kernels = _products(tree, dtype, places.sizes, capacity)
    writer = Writer(tree.layout, places, dtype, kernels)
    writer.scalars(tree.scalars)
    writer.nodes(tree.body)
    lines = ["def kernel(table):", *head, *writer.header, *writer.lines, ""]
    if divided:
        lines[0] = "def part(table, thread, threads):"
        rows = next((f"table[{place}]" for name, place in slots.items() if name.startswith("size:")), "1")
        fork = f"    fork(table, part, {slots['team']}, {rows})"
        lines += ["", "def kernel(table):", fork, ""]
    text = "\n".join([*legend(lines, dtype, capacity, tree.layout, places, calls), *lines])
    stages.note(
        "lower", "loops and calls", _loops(tree.body), text.count("\n"), "lines of source, each beside its formula"
    )
    manifest = {
        "slots": slots,
        "hyper": [t.name for t in places.hyper],
        "integers": [t.name for t in places.integers],
        "memory_elements": memory_elements,
        "divided": divided,
        "work": predicted,
        "arena": {"elements": used, "lower_bound": arena.lower_bound},
        "capacity": capacity,
        "dtype": dtype,
        "storage": storage.to_json(),
        "outputs": {t.name: [str(n) for n in t.shape] for t in prepared.outputs},
        "kinds": {t.name: t.kind for t in prepared.tensors},
        "passes": [asdict(row) for row in report],
        "stages": stages.rows,
    }
    json.dumps(manifest)  # fails here rather than in the cache
    return text, calls, tree, manifest


def _place(
    program: Program,
    tree: Lowered,
    storage: Storage,
    capacity: Mapping[str, int],
    item: int,
    shared: Collection[Tensor] = (),
) -> tuple[Places, Arena]:
    persistent = {s.name: s.offset for s in storage.slots}
    outputs = set(program.outputs)
    registers = register_tensors(tree.body, tree.layout, {*program.roots, *shared})
    pointers: dict[Tensor, str] = {}
    hyper: dict[Tensor, int] = {}
    integers: dict[Tensor, int] = {}
    sparse: dict[Tensor, tuple[str, str, str]] = {}
    offsets: dict[Tensor, int] = {}
    for tensor in program.tensors:
        if tensor.role == "hyper":
            table = integers if tensor.kind == "integer" else hyper
            table[tensor] = len(table)
        elif tensor.sparse:
            number = len(pointers) + 3 * len(sparse)
            sparse[tensor] = (f"p{number}", f"p{number + 1}", f"p{number + 2}")
        elif tensor.name in persistent and tensor.role in ("parameter", "state"):
            offsets[tensor] = persistent[tensor.name]
        elif tensor in outputs or tensor.role != "value":
            pointers[tensor] = f"p{len(pointers) + 3 * len(sparse)}"
    for new, state in tree.layout.owner.items():
        if state in offsets:
            offsets[new] = offsets[state]
    scalar = {e.tensor for e in tree.scalars}
    elsewhere = {*offsets, *pointers, *hyper, *integers, *sparse, *scalar}
    runs = aligned_runs(tree.body, tree.layout, storage, registers | elsewhere)
    arena = place_values(tree.body, tree.layout, registers, elsewhere, capacity, storage.elements, item, runs)
    offsets.update(arena.offsets)
    whole = {t: o * item // 8 for t, o in arena.offsets.items() if t.kind == "integer"}
    names = {s.name: f"n{k}" for k, s in enumerate(program.sizes)}
    return Places(offsets, pointers, hyper, integers, names, registers, sparse, whole), arena


def _table(
    program: Program, places: Places, dtype: str, divided: bool, capacity: Iterable[str]
) -> tuple[dict[str, int], list[str]]:
    """The positions of the table, and the lines that read it."""
    real = "pointer_f64" if dtype == "float64" else "pointer_f32"
    slots: dict[str, int] = {}
    lines: list[str] = []

    def slot(name: str, variable: str, converter: str, comment: str = "") -> None:
        slots[name] = len(slots)
        value = f"table[{slots[name]}]"
        lines.append(f"    {variable} = {converter}({value})" if converter else f"    {variable} = {value}")
        lines[-1] += f"  # {comment}" if comment else ""

    slot("memory", "M", real)
    lines.append("    MI = pointer_i64(table[0])")
    slot("hyper", "H", "pointer_f64", ", ".join(t.name for t in places.hyper))
    slot("integers", "I", "pointer_i64", ", ".join(t.name for t in places.integers))
    slot("status", "status", "pointer_i64")
    for tensor, variable in places.pointers.items():
        slot(tensor.name, variable, "pointer_i64" if tensor.kind == "integer" else real, tensor.name)
    for tensor, (rows, columns, values) in places.sparse.items():
        slot(f"{tensor.name}:rows", rows, "pointer_i64", f"{tensor.name}: where each row starts")
        slot(f"{tensor.name}:columns", columns, "pointer_i64", f"{tensor.name}: columns")
        slot(f"{tensor.name}:values", values, real, f"{tensor.name}: values")
    for name, variable in places.sizes.items():
        slot(f"size:{name}", variable, "", name)
    for name in capacity:  # of a size that the program does not have, as it is known, there is a place all the same
        slots.setdefault(f"size:{name}", len(slots))
    if divided:
        slot("team", "team", "pointer_i64", "0: one thread")  # and what team.record puts behind it
    return slots, lines


def _products(
    tree: Lowered, dtype: str, names: Mapping[str, str], capacity: Mapping[str, int]
) -> tuple[dict[str, Any], dict[Call, tuple[str, str]]]:
    """Distinct products by name, and for each call its function's name and its sizes as text."""
    from .kernels.matmul import LONG_K, Matmul

    specs: dict[Any, str] = {}
    kernels: dict[Call, tuple[str, str]] = {}
    for call in _calls(tree.body):
        product = call.product
        extents = product.extents()
        m, n, k = (int(e) if e.is_Integer else None for e in extents)
        m = None if call.share is not None and not call.share.columns else m
        spec = Matmul(
            dtype, m, n, k, "m" if product.a_transposed else "k", "k" if product.b_transposed else "n",
            product.lda, product.ldb, product.ldc, call.start,
            tuple((s.count, s.a, s.b) for s in product.segments), call.share is not None and call.share.columns,
            k is None and at_capacity(extents[2], capacity) > LONG_K,
            call.after.epilogue if call.after is not None else SUM,
        )  # fmt: skip
        name = specs.setdefault(spec, f"product{len(specs)}")
        arguments = ", ".join(_size_text(e, names) for e in extents)
        kernels[call] = (name, arguments)
    return {name: spec for spec, name in specs.items()}, kernels


def _size_text(extent: sp.Expr, names: Mapping[str, str]) -> str:
    coefficient, rest = extent.as_coeff_Mul()
    factors = [] if coefficient == 1 and rest != 1 else [str(int(coefficient))]
    for factor in sp.Mul.make_args(rest):
        if factor != 1:
            factors += [names[factor.as_base_exp()[0].name]] * int(factor.as_base_exp()[1])
    return "*".join(factors)


def _calls(body: Sequence[Node]) -> list[Call]:
    found: list[Call] = []
    for node in body:
        match node:
            case Call():
                found.append(node)
            case Loop() | Guarded() | Alone():
                found += _calls(node.body)
    return found
