"""Flat loops side by side: one loop over all parameters instead of one for each.

Adjoining flat loops that are equal up to a constant step in every address become one loop, if that step is the length
of the first, or its padded length and only padding lies between what the two write; sums of several loops into one
scalar share one register.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import sympy as sp
from sympy import Expr, Symbol

from .fuse import conflict, flat_chain
from .layout import Layout
from .memory import padded
from .nest import Guarded, Loop, Node, Statement, effects
from .program import Access, Equation, Index, Tensor, outer_accesses
from .storage import Storage


def join_registers(body: list[Node], layout: Layout) -> list[Node]:
    """`r1` summed and stored, then `r2` summed and added to the same scalar: one register for both."""
    ends: dict[Tensor, Statement] = {}
    rename: dict[str, str] = {}
    dropped: set[int] = set()
    for node in body:
        if isinstance(node, Statement) and node.kind == "end" and node.op == "sum" and not node.lhs.subscripts:
            earlier = ends.get(node.lhs.tensor)
            if earlier is not None and node.adds:
                rename[node.register] = rename.get(earlier.register, earlier.register)
                node.adds = earlier.adds
                dropped.add(id(earlier))
            ends[node.lhs.tensor] = node
        else:
            reads, writes = effects(node, layout)
            for tensor in [t for t in ends if t in reads or t in writes]:
                del ends[tensor]
    kept = [n for n in body if id(n) not in dropped]
    kept = [n for n in kept if not (isinstance(n, Statement) and n.kind == "begin" and n.register in rename)]
    for node in kept:
        _rename_registers(node, rename)
    return kept


def _rename_registers(node: Node, rename: Mapping[str, str]) -> None:
    match node:
        case Statement():
            node.register = rename.get(node.register, node.register)
        case Loop() | Guarded():
            for child in node.body:
                _rename_registers(child, rename)


def aligned_runs(body: Sequence[Node], layout: Layout, storage: Storage, elsewhere: set[Tensor]) -> list[list[Tensor]]:
    """What each parameter's flat update loop reads beside persistent tensors (its gradient): runs of the same order."""
    parameters = [s.name for s in storage.slots if s.role == "parameter"]
    found: dict[str, list[Tensor]] = {}
    for node in body:
        if not isinstance(node, Loop) or (chain := flat_chain(node, layout)) is None:
            continue
        statements = [s for s in chain[-1].body if isinstance(s, Statement)]
        stored = [layout.root(s.lhs.tensor).name for s in statements if s.kind == "store"]
        target = next((name for name in stored if name in parameters), None)
        if target is None or target in found:
            continue
        size = storage.slot(target).size
        reads = dict.fromkeys(a.tensor for s in statements for a in outer_accesses(s.rhs))
        found[target] = [t for t in reads if t not in elsewhere and t.rank and layout.elements(t) == size]
    if not found or any(name not in found for name in parameters):
        return []
    lengths = {len(v) for v in found.values()}
    runs = [list(run) for run in zip(*(found[name] for name in parameters), strict=True)] if len(lengths) == 1 else []
    flat = [t for run in runs for t in run]
    return runs if len(set(flat)) == len(flat) else []


def merge_flat_loops(body: list[Node], layout: Layout, offsets: Mapping[Tensor, int], item_size: int) -> list[Node]:
    """Each flat loop joins the one before it in memory, if that may be moved down to it."""
    result: list[Node] = []
    forms: dict[int, _Form] = {}
    for node in body:
        form = _form(node, layout, offsets) if isinstance(node, Loop) else None
        if form is not None:
            for k in range(len(result) - 1, -1, -1):
                earlier = forms.get(id(result[k]))
                if earlier is None or not _adjoins(earlier, form, item_size):
                    continue
                if any(_in_the_way(result[k], other, layout) for other in result[k + 1 :]):
                    break
                later, node = node, result.pop(k)
                assert isinstance(node, Loop) and isinstance(later, Loop)
                node.count = form.addresses[0] - earlier.addresses[0] + form.count
                node.also += (*_equations(later, layout), *later.also)
                form = replace(earlier, count=node.count, to_end=form.to_end)
                break
            forms[id(node)] = form
        result.append(node)
    return result


def _equations(loop: Loop, layout: Layout) -> list[Equation]:
    chain = flat_chain(loop, layout)
    assert chain is not None, "it has a form"
    return [s.equation for s in chain[-1].body if isinstance(s, Statement)]


def _adjoins(earlier: _Form, later: _Form, item_size: int) -> bool:
    step = padded(earlier.count, item_size)
    if step != earlier.count:
        if any(line[0] == "combine" for line in earlier.lines):
            return False  # what stands between two tensors is anything: it may be written over, but not summed
        if not (earlier.to_end and later.from_start):
            return False  # what stands between parts of tensors is the rest of them
    return earlier.lines == later.lines and all(
        b - a == step for a, b in zip(earlier.addresses, later.addresses, strict=True)
    )


def _in_the_way(node: Node, other: Node, layout: Layout) -> bool:
    """True if the two may not change places; to sum into one register they may."""
    if isinstance(other, Loop):
        reads, writes = effects(node, layout)
        reads2, writes2 = effects(other, layout)
        shared = [p for p in writes if p in reads2 or p in writes2] + [p for p in writes2 if p in reads]
        return any(not isinstance(p, str) for p in shared)
    return conflict(node, other, layout)


@dataclass(frozen=True, slots=True)
class _Form:
    """What a flat loop does, without addresses; the addresses; its length; whether it writes its tensors from their
    first element on, and to their last."""

    lines: tuple[tuple[object, ...], ...]
    addresses: tuple[int, ...]
    count: int
    from_start: bool
    to_end: bool


def _form(node: Loop, layout: Layout, offsets: Mapping[Tensor, int]) -> _Form | None:
    """The form of a flat loop over memory of the block; None for another loop."""
    chain = flat_chain(node, layout)
    if chain is None:
        return None
    names = {c.index.name for c in chain}
    count = sp.Mul(*(c.index.high for c in chain))
    if not count.is_Integer:
        return None
    addresses: list[int] = []
    lines: list[tuple[object, ...]] = []
    numbers: dict[Access, Expr] = {}

    def number(access: Access) -> bool:
        if access in numbers:
            return True
        root = layout.root(access.tensor)
        moving = any(i.name in names for i in access.atoms(Index))
        if not moving:
            numbers[access] = access
            return True
        if root not in offsets or not layout.address(access).constant.is_Integer:
            return False
        numbers[access] = Symbol(f"a{len(numbers)}", real=True)
        addresses.append(offsets[root] + int(layout.address(access).constant))
        return True

    from_start = to_end = True
    for statement in chain[-1].body:
        assert isinstance(statement, Statement)
        found = outer_accesses(statement.rhs)
        if not all(number(a) for a in (*found, *([] if statement.kind == "combine" else [statement.lhs]))):
            return None
        lhs = numbers.get(statement.lhs) if statement.kind != "combine" else None
        if lhs is not None:
            first = layout.address(statement.lhs).constant
            from_start &= first == 0
            to_end &= first + count == layout.elements(layout.root(statement.lhs.tensor))
        lines.append((statement.kind, statement.op, statement.register, lhs, statement.rhs.xreplace(numbers)))
    return _Form(tuple(lines), tuple(addresses), int(count), from_start, to_end) if addresses else None
