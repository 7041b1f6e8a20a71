"""Where tensors live: one block of memory, its persistent part first, then an arena shared by live ranges.

Persistent are parameters and states: one flat run for the parameters, one for each kind of state in the same order and
with the same padding, so that one flat loop updates all of them.  Every tensor starts on a 64-byte boundary.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import sympy as sp

from .layout import Layout
from .nest import Guarded, Loop, Node, Statement, effects
from .program import Access, Program, Tensor, accesses, outer_accesses
from .storage import Slot, Storage

ALIGNMENT = 64  # bytes: one cache line, one AVX-512 vector


def is_literal(tensor: Tensor) -> bool:
    """All sizes are numbers: it can have a place of its own in the block (else the caller's array is used)."""
    return all(n.is_Integer for n in tensor.shape)


def padded(count: int, item_size: int) -> int:
    unit = ALIGNMENT // item_size
    return -(-count // unit) * unit


def place_persistent(program: Program, orders: Mapping[str, tuple[int, ...]], item_size: int) -> Storage:
    """Parameters in one run, ordered so that equal update formulas are neighbours; states follow in the same order."""
    parameters = [t for t in program.tensors if t.role == "parameter" and is_literal(t)]
    updates = dict(program.updates)
    groups = {p: _companions(program, updates, p) for p in parameters}
    keys = [_update_form(program, updates, p) for p in parameters]
    first = {key: k for k, key in reversed(list(enumerate(keys)))}
    parameters = [p for _, p in sorted(enumerate(parameters), key=lambda item: (first[keys[item[0]]], item[0]))]
    runs: list[list[Tensor]] = [parameters]
    for kind in range(max((len(g) for g in groups.values()), default=0)):
        runs.append([groups[p][kind] for p in parameters if kind < len(groups[p])])
    placed = {t for run in runs for t in run}
    runs.append([t for t in program.tensors if t.role == "state" and t not in placed and is_literal(t)])
    slots = []
    offset = 0
    for tensor in (t for run in runs for t in run):
        shape = tuple(int(n) for n in tensor.shape)
        order = orders.get(tensor.name, tuple(range(tensor.rank)))
        slots.append(Slot(tensor.name, tensor.role, offset, shape, order))
        offset += padded(slots[-1].size, item_size)
    return Storage(tuple(slots), offset, item_size, dict(orders))


def _companions(program: Program, updates: Mapping[Tensor, Tensor], parameter: Tensor) -> list[Tensor]:
    """The states of the parameter's shape that its next value is made from, in order of the updates."""
    if parameter not in updates:
        return []
    seen: set[Tensor] = set()
    stack = [updates[parameter]]
    while stack:
        tensor = stack.pop()
        if tensor in seen:
            continue
        seen.add(tensor)
        for equation in program.definitions.get(tensor, ()):
            if not equation.bound:
                stack.extend(a.tensor for a in equation.reads() if a.subscripts == equation.lhs.subscripts)
    states = [s for s, _ in program.updates if s in seen and s.role == "state" and s.shape == parameter.shape]
    return states


def _update_form(program: Program, updates: Mapping[Tensor, Tensor], parameter: Tensor) -> str:
    """The update's formula, written without names: what may share a flat loop."""
    if parameter not in updates:
        return ""
    names: dict[Tensor, str] = {}
    lines: list[str] = []
    stack = [updates[parameter]]
    while stack:
        tensor = stack.pop(0)
        for equation in program.definitions.get(tensor, ()):
            if equation.bound or len(lines) > 50:
                continue
            found = outer_accesses(equation.rhs)
            plain = {a: sp.Symbol(names.setdefault(a.tensor, f"t{len(names)}")) for a in found if a.tensor.rank}
            lines.append(str(equation.rhs.xreplace(plain)))
            stack += [a.tensor for a in found if a.tensor.rank and a.tensor not in stack]
    return ";".join(lines)


# ------------------------------------------------------------------------------------------------ locals
def register_tensors(body: Sequence[Node], layout: Layout, keep: Iterable[Tensor]) -> set[Tensor]:
    """Values that live inside one iteration: written once, read only at the written element, further inside."""
    written: dict[Tensor, list[tuple[tuple[int, ...], Access] | None]] = {}
    read: dict[Tensor, list[tuple[tuple[int, ...], Access] | None]] = {}
    stack: list[tuple[Node, tuple[int, ...]]] = [(node, ()) for node in reversed(body)]
    while stack:
        node, path = stack.pop()
        match node:
            case Loop() | Guarded():
                stack += [(child, (*path, id(node))) for child in reversed(node.body)]
                for access in accesses(*node.low, *node.high) if isinstance(node, Loop) else ():
                    read.setdefault(access.tensor, []).append((path, access))
            case Statement():
                if node.kind in ("store", "end") and not node.adds and node.where == True:  # noqa: E712
                    written.setdefault(node.lhs.tensor, []).append((path, node.lhs))
                elif node.kind in ("add", "store", "end"):
                    written.setdefault(node.lhs.tensor, []).append(None)
                if node.kind != "begin":
                    outer = outer_accesses(node.rhs, node.where)
                    inner = accesses(*(s for a in (*outer, node.lhs) for s in a.subscripts))
                    for access in outer:
                        read.setdefault(access.tensor, []).append((path, access))
                    for access in inner:
                        read.setdefault(access.tensor, []).append((path, access))
            case _:
                for table, found in zip((read, written), effects(node, layout), strict=True):
                    for place in found:
                        if isinstance(place, Tensor):
                            table.setdefault(place, []).append(None)
    kept = set(keep)
    local: set[Tensor] = set()
    for tensor, places in written.items():
        if tensor in kept or tensor.role != "value" or len(places) != 1 or places[0] is None or tensor in layout.owner:
            continue
        path, lhs = places[0]
        uses = read.get(tensor, [])
        if all(u is not None and u[0][: len(path)] == path and str(u[1]) == str(lhs) for u in uses):
            local.add(tensor)
    return local


# ------------------------------------------------------------------------------------------------ the arena
@dataclass(frozen=True, slots=True)
class Arena:
    """Offsets (in elements, from the start of the block) of the values that need memory; the block's whole length."""

    offsets: dict[Tensor, int]
    elements: int
    lower_bound: int  # the largest sum of sizes that are alive at once
    unshared: int  # the sum of all sizes


def place_values(
    body: Sequence[Node],
    layout: Layout,
    in_registers: set[Tensor],
    elsewhere: set[Tensor],
    capacity: Mapping[str, int],
    start: int,
    item_size: int,
    runs: Sequence[Sequence[Tensor]] = (),
) -> Arena:
    """By live range, the better of two ways; a range is closed at both ends: a result never overwrites its arguments.

    `runs` are tensors to be laid side by side in this order (gradients, as their parameters are)."""
    first: dict[Tensor, int] = {}
    last: dict[Tensor, int] = {}
    for number, node in enumerate(body):
        for table in effects(node, layout):
            for place in table:
                if isinstance(place, Tensor) and place not in in_registers and place not in elsewhere:
                    first.setdefault(place, number)
                    last[place] = number
    sizes = {t: padded(_bytes(t, layout, capacity, item_size) // item_size, item_size) for t in first}
    offsets: dict[Tensor, int] = {}
    top = start
    for run in runs:
        for tensor in run:
            offsets[tensor] = top
            top += sizes[tensor]
    fixed = top - start
    ranges = {t: (first[t], last[t], sizes[t]) for t in sorted(first, key=first.__getitem__) if t not in offsets}
    placed, length = min((_by_time(ranges), _by_size(ranges)), key=lambda found: found[1])
    offsets |= {t: top + offset for t, offset in placed.items()}
    return Arena(offsets, top + length, fixed + _alive_at_once(ranges), sum(sizes.values()))


Ranges = Mapping[Tensor, tuple[int, int, int]]  # first and last node, size


def _by_time(ranges: Ranges) -> tuple[dict[Tensor, int], int]:
    """Each when it begins to live, in the smallest place that is free."""
    offsets: dict[Tensor, int] = {}
    top = 0
    alive: list[Tensor] = []
    free: list[tuple[int, int]] = []
    for tensor, (first, _, size) in ranges.items():
        for ended in [t for t in alive if ranges[t][1] < first]:
            alive.remove(ended)
            free.append((offsets[ended], ranges[ended][2]))
        free = _merge(free)
        fitting = [f for f in free if f[1] >= size]
        if fitting:
            chosen = min(fitting, key=lambda f: (f[1], f[0]))
            free.remove(chosen)
            if chosen[1] > size:
                free.append((chosen[0] + size, chosen[1] - size))
            offsets[tensor] = chosen[0]
        else:
            offsets[tensor] = top
            top += size
        alive.append(tensor)
    return offsets, top


def _by_size(ranges: Ranges) -> tuple[dict[Tensor, int], int]:
    """The largest first, each in the lowest gap that those leave that live with it."""
    offsets: dict[Tensor, int] = {}
    for tensor in sorted(ranges, key=lambda t: -ranges[t][2]):
        first, last, size = ranges[tensor]
        place = 0
        for other in sorted(offsets, key=offsets.__getitem__):
            begin, end, taken = ranges[other]
            if begin <= last and first <= end and offsets[other] < place + size:
                place = max(place, offsets[other] + taken)
        offsets[tensor] = place
    return offsets, max((offsets[t] + ranges[t][2] for t in offsets), default=0)


def _alive_at_once(ranges: Ranges) -> int:
    """The largest sum of sizes that are alive at once."""
    changes: dict[int, int] = {}
    for first, last, size in ranges.values():
        changes[first] = changes.get(first, 0) + size
        changes[last + 1] = changes.get(last + 1, 0) - size
    return max(accumulate(changes[at] for at in sorted(changes)), default=0)


def _bytes(tensor: Tensor, layout: Layout, capacity: Mapping[str, int], item_size: int) -> int:
    count = layout.elements(tensor)
    count = count.subs({s: capacity[s.name] for s in count.free_symbols})
    return int(count) * (8 if tensor.kind == "integer" else item_size)


def _merge(free: list[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for offset, size in sorted(free):
        if joined and joined[-1][0] + joined[-1][1] == offset:
            joined[-1] = (joined[-1][0], joined[-1][1] + size)
        else:
            joined.append((offset, size))
    return joined
