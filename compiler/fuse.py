"""Join loops: a node goes into the latest earlier loop that it may share, else behind what it conflicts with.

Two loops of one range may be one if, for every tensor that one writes and the other touches, both touch in each
iteration the element of that iteration only.  The same rule is applied again inside.
"""

from __future__ import annotations

from collections.abc import Sequence

import sympy as sp
from sympy import Expr

from .functions import OWN
from .layout import Layout
from .nest import Call, Check, Loop, Node, Statement, absorb_effects, effects, rename, unsafe_axes
from .program import Access, Index, affine, outer_accesses

SHORT_ROW = 64  # below this extent a row's own loop vectorizes badly; measured on rows of 10: 14 % of a digits step
EXPENSIVE = (sp.exp, sp.log, sp.tanh, sp.erf, sp.erfc, sp.sin, sp.cos, sp.atan, *OWN)


def insert(body: list[Node], node: Node, layout: Layout) -> None:
    """Add a node to a body in program order, fused into an earlier loop where that is allowed."""
    if isinstance(node, Statement) and node.kind == "begin":
        body.insert(0, node)
        return
    if isinstance(node, Loop):
        for k in range(len(body) - 1, -1, -1):
            earlier = body[k]
            if isinstance(earlier, Loop) and may_fuse(earlier, node, layout):
                merge(earlier, node, layout)
                if not _has_calls(earlier):  # what it touches now may join it with one before
                    before, body[: k + 1] = body[:k], []
                    insert(before, earlier, layout)
                    body[:0] = before
                return
            if conflict(earlier, node, layout):
                break
    body.append(node)


def _has_calls(node: Node) -> bool:
    return isinstance(node, Call) or (isinstance(node, Loop) and any(_has_calls(child) for child in node.body))


def merge(into: Loop, loop: Loop, layout: Layout) -> None:
    if not into.parallel or not loop.parallel:
        into.reverse = into.reverse if not into.parallel else loop.reverse
        into.parallel = False
    new = {loop.index.name: into.index.name}
    for child in loop.body:
        renamed = rename(child, new, layout)
        absorb_effects(into, renamed, layout)
        insert(into.body, renamed, layout)


def conflict(one: Node, other: Node, layout: Layout) -> bool:
    """True if their order matters."""
    if isinstance(one, Check) or isinstance(other, Check):
        return True
    reads, writes = effects(one, layout)
    reads2, writes2 = effects(other, layout)
    return any(p in reads2 or p in writes2 for p in writes) or any(p in reads for p in writes2)


def may_fuse(earlier: Loop, later: Loop, layout: Layout) -> bool:
    one, two = earlier.index, later.index
    if (one.low, one.high) != (two.low, two.high) or not _same_rows(earlier, later):
        return False
    if not earlier.parallel and not later.parallel and earlier.reverse != later.reverse:
        return False
    if not _share_data(earlier, later):
        return False
    for place in (*earlier.writes, *later.writes):
        mine = earlier.reads.get(place, []) + earlier.writes.get(place, [])
        theirs = later.reads.get(place, []) + later.writes.get(place, [])
        if (mine or place in earlier.writes) and (theirs or place in later.reads):
            if isinstance(place, str):
                return False
            if not _same_slot(mine, one, theirs, two):
                return False
    return _stays_fast(earlier, later, layout)


def _share_data(earlier: Loop, later: Loop) -> bool:
    """Some tensor of rank 1 or more that both touch: else one loop has nothing to gain."""
    theirs = later.reads.keys() | later.writes.keys()
    return any(p in theirs and not isinstance(p, str) and p.rank for p in (*earlier.reads, *earlier.writes))


def _same_rows(earlier: Loop, later: Loop) -> bool:
    if (earlier.low, earlier.high) != (later.low, later.high):
        return False
    if earlier.row is None or later.row is None:
        return earlier.row is later.row
    return earlier.row.xreplace({earlier.index: later.index}) == later.row


def _same_slot(mine: Sequence[Access], one: Index, theirs: Sequence[Access], two: Index) -> bool:
    """All accesses have the loop's index, and nothing else, on one common axis, with one common shift."""
    slots = [shared_slots(accesses, index) for accesses, index in ((mine, one), (theirs, two)) if accesses]
    return bool(set.intersection(*slots))


def shared_slots(touched: Sequence[Access], index: Index) -> set[tuple[int, Expr]]:
    """(axis, shift) at which all these accesses have the index and nothing else."""
    return set.intersection(*(_slots(access, index) for access in touched)) if touched else set()


def _slots(access: Access, index: Index) -> set[tuple[int, Expr]]:
    found = set()
    for axis, subscript in enumerate(access.subscripts):
        parts = affine(subscript)
        if parts is not None and parts.plain is not None and parts.plain.name == index.name:
            found.add((axis, parts.constant))
    return found


# --------------------------------------------------------------------------------------------------- flat loops
def flat_chain(loop: Loop, layout: Layout) -> list[Loop] | None:
    """The perfect nest from this loop down, if one linear loop does it: every access is contiguous over all of it or
    does not move, and nothing is guarded, reduced over a part, or sparse."""
    chain = [loop]
    while len(chain[-1].body) == 1 and isinstance(chain[-1].body[0], Loop):
        chain.append(chain[-1].body[0])
    statements = chain[-1].body
    if any(not isinstance(s, Statement) or s.kind in ("begin", "end") for s in statements):
        return None
    if any(c.row is not None or c.low or c.high or not c.parallel or c.index.low != 0 for c in chain):
        return None
    expected: dict[Index, Expr] = {}
    step: Expr = sp.Integer(1)
    for link in reversed(chain):
        expected[link.index] = step
        step *= link.index.high
    for statement in statements:
        assert isinstance(statement, Statement)
        if statement.where != True or statement.op == "argmax":  # noqa: E712
            return None
        touched = [*outer_accesses(statement.rhs)]
        if statement.kind != "combine":
            touched.append(statement.lhs)
        if any(i in expected for i in _as_numbers(statement.rhs)):
            return None
        for access in touched:
            address = layout.address(access)
            moving = {i: s for i, s in address.strides.items() if i in expected}
            if any(set(g.free_symbols) & set(expected) for g, _ in address.gathers):
                return None
            if moving and (moving != expected or unsafe_axes(access)):
                return None
    return chain


def _as_numbers(expression: Expr) -> set[Index]:
    """Indices that stand in an expression as numbers, outside subscripts."""
    blank = {a: sp.Symbol(f"a{k}") for k, a in enumerate(outer_accesses(expression))}
    return expression.xreplace(blank).atoms(Index) if blank else expression.atoms(Index)


def is_expensive(node: Node) -> bool:
    match node:
        case Loop():
            return any(is_expensive(child) for child in node.body)
        case Statement():
            return node.rhs.has(*EXPENSIVE)
    return False


def _stays_fast(earlier: Loop, later: Loop, layout: Layout) -> bool:
    """Refuse to break up a flat loop of expensive functions into short rows."""
    flat, flat2 = flat_chain(earlier, layout), flat_chain(later, layout)
    if flat is not None and flat2 is not None:
        ranges = [[(c.index.low, c.index.high) for c in chain] for chain in (flat, flat2)]
        return ranges[0] == ranges[1]
    for chain, loop, other in ((flat, earlier, later), (flat2, later, earlier)):
        if chain is None or not is_expensive(loop):
            continue
        if len(chain) == 1:
            return _has_long_rows(other)
        extent = chain[-1].index.high
        if not (extent.is_Integer and extent >= SHORT_ROW):
            return False
    return True


def _has_long_rows(loop: Loop) -> bool:
    """So long that what is made for each of them costs little."""
    rows = [node for node in loop.body if isinstance(node, Loop)]
    return any(not row.index.high.is_Integer or row.index.high >= SHORT_ROW or _has_long_rows(row) for row in rows)
