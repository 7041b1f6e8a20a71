"""Who makes what, where several threads run one kernel.

In: the tree of loops in its final order, and where everything stands.  Out: the same tree, in which loops and products
have a `Share`, what one thread makes alone stands in `Alone`, and a `Barrier` stands wherever a thread may read or
overwrite what another has made.

A share is a run of the outputs: rows of a product (columns, where the factor that has them is large: it is packed for
each share of the rows), an index of a loop that every element written has as a subscript.  A summed index is never
divided, with one exception that no thread can see: what a flat loop sums into a scalar is summed in pieces of fixed
length, and the pieces are added in order.  Shares begin at fixed multiples (a whole number of vectors), so every
element is computed by the same instructions whoever does it.  Hence the same bits for any number of threads.

Where the elements that one loop writes are read by the next in the same shares, there is no barrier between them: a
batch goes forward and backward through all layers in shares of its rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import sympy as sp
from sympy import Expr, Integer

from .expressions import Places
from .fuse import flat_chain, shared_slots
from .layout import Layout
from .memory import padded
from .nest import Alone, Barrier, Call, Check, Gather, Guarded, Loop, Node, Share, Statement, Sum, effects
from .passes.rewriting import operations
from .program import Access, Equation, Tensor, accesses

WORTH = 4_000_000  # operations of a kernel below which one thread is as fast; measured
ROWS = 8  # that a share has at least, where rows are long: a tile of a product
VECTORS = 64  # elements: whole vectors, as often as a loop over them is unrolled
PIECE = 4096  # elements that are summed in one piece
SHORT = 256  # iterations of inner loops up to here may be unrolled, and then the rows run in vectors
NARROW = 48  # columns of a product whose rows are literal: a form of its own, which is not divided
LARGE = 1 << 17  # elements of a product's right factor, which all threads would pack if they divided the rows; measured
PAUSE = 100_000  # operations of a step of a loop that are worth waiting for others in it


def walk(body: Sequence[Node]) -> Iterator[Node]:
    """All nodes, those inside of others, too."""
    for node in body:
        yield node
        if isinstance(node, Loop | Guarded | Alone):
            yield from walk(node.body)


def work(body: Sequence[Node], capacity: Mapping[str, int]) -> int:
    """Operations of a run, about."""
    total = 0
    for node in body:
        match node:
            case Loop():
                extent = at_capacity(node.index.extent, capacity) if node.count is None else 1
                inner = work(node.body, capacity)
                if node.count is not None:
                    inner = node.count * _each(node)
                total += extent * inner
            case Guarded():
                total += work(node.body, capacity)
            case Call():
                inner = sp.Mul(*(Integer(s.count) for s in node.product.segments))
                total += 2 * at_capacity(sp.Mul(*node.product.extents(), inner), capacity)
            case Statement():
                total += 1 + sum(operations(node.rhs) if not isinstance(node.rhs, sp.Tuple) else (1,))
    return total


def _each(loop: Loop) -> int:
    """Operations of an element of a flat loop."""
    body: Sequence[Node] = loop.body
    while len(body) == 1 and isinstance(body[0], Loop):
        body = body[0].body
    return work(body, {})


def at_capacity(extent: Expr, capacity: Mapping[str, int]) -> int:
    """An extent, where each size is as large as it may be."""
    return int(extent.xreplace({s: Integer(capacity.get(s.name, 1)) for s in extent.free_symbols}))


# ------------------------------------------------------------------------------------------------ shares
def choose(body: Sequence[Node], layout: Layout, capacity: Mapping[str, int], nested: bool = False) -> None:
    """Give a share to every loop and product that may have one."""
    for node in body:
        match node:
            case Loop():
                node.share = _share_of_loop(node, layout, nested)
                if node.share is None and _is_uniform(node):
                    choose(node.body, layout, capacity, nested=True)
            case Call():
                node.share = _share_of_call(node, capacity)
            case Guarded() if _is_uniform(node):
                choose(node.body, layout, capacity, nested=True)


def _is_uniform(node: Loop | Guarded) -> bool:
    """What it runs over is the same for all threads, whenever they come to it."""
    if isinstance(node, Guarded):
        return not accesses(node.condition)
    return node.row is None and not node.low and not node.high


def _share_of_call(call: Call, capacity: Mapping[str, int]) -> Share | None:
    """Rows of the product, by the slowest of the indices that make them up; or columns, if they are many."""
    index, *others = call.product.m
    rows, columns, depth = call.product.extents()
    literal = columns.is_Integer and depth.is_Integer and not call.product.segments
    if literal and columns * depth >= LARGE and columns > at_capacity(rows, capacity):
        return Share(columns, VECTORS, columns=True)
    if index.low != 0 or (rows.is_Integer and (rows < 2 * ROWS or (columns.is_Integer and columns <= NARROW))):
        return None
    if index.extent.is_Integer:
        return Share(rows, ROWS)
    return Share(index.extent, ROWS, index, sp.Mul(*(i.extent for i in others)))


def _share_of_loop(loop: Loop, layout: Layout, nested: bool) -> Share | None:
    index, sums = loop.index, _sums(loop)
    if loop.row is not None or loop.low or loop.high or loop.reverse or index.low != 0:
        return None
    if sums is None or (sums and nested):
        return None
    for place in loop.writes:
        if isinstance(place, Tensor) and not shared_slots([*loop.reads.get(place, ()), *loop.writes[place]], index):
            return None
    chain = flat_chain(loop, layout)
    if chain is None:
        few = index.high.is_Integer and index.high < 2 * ROWS
        share = Share(index.high, VECTORS if _short(loop) else 1 if few else ROWS, index, sums=sums)
    elif len(chain) == 1 and loop.count is None:
        share = Share(index.high, PIECE if sums else VECTORS, index, sums=sums)
    else:
        count = sp.Mul(*(link.index.high for link in chain)) if loop.count is None else Integer(loop.count)
        row = count / index.high
        if loop.count is not None or index.high.is_Integer:
            share = Share(count, PIECE if sums else VECTORS, sums=sums)
        else:
            whole = row.is_Integer and (row * ROWS) % VECTORS == 0
            share = Share(index.high, ROWS if whole else VECTORS, index, row, sums)
    return None if share.extent.is_Integer and share.extent < 2 * share.unit else share


def _short(loop: Loop) -> bool:
    """All that is inside may be unrolled."""
    return _iterations(loop.body) <= SHORT


def _iterations(body: Sequence[Node]) -> float:
    """Of all loops inside; infinite if that is known at run time only, or if there are calls."""
    total = 0.0
    for node in body:
        if isinstance(node, Call):
            return math.inf
        if isinstance(node, Guarded | Alone):
            total += _iterations(node.body)
        if isinstance(node, Loop):
            extent = node.index.extent if node.count is None else Integer(node.count)
            total += max(1.0, _iterations(node.body)) * (int(extent) if extent.is_Integer else math.inf)
    return total


def _statements(body: Sequence[Node]) -> Iterator[Statement]:
    for node in body:
        if isinstance(node, Statement):
            yield node
        elif isinstance(node, Loop | Guarded):
            yield from _statements(node.body)


def _sums(loop: Loop) -> tuple[Sum, ...] | None:
    """The registers from outside into which the loop sums; None if it may not be done in pieces."""
    inside = {s.register for s in _statements(loop.body) if s.kind == "begin"}
    found: dict[str, Sum] = {}
    for statement in _statements(loop.body):
        if statement.register and statement.register not in inside:
            if statement.kind != "combine" or statement.op not in ("sum", "max"):
                return None
            found[statement.register] = Sum(statement.register, statement.op)
    return tuple(found.values())


def exposed(body: Sequence[Node]) -> set[Tensor]:
    """What statements outside of all shares define: other threads may read it, so it needs a place in memory."""
    found: set[Tensor] = set()
    for node in body:
        match node:
            case Statement() if node.kind in ("store", "end"):  # what is added to is in memory
                found.add(node.lhs.tensor)
            case Loop() | Guarded() if _is_entered(node):
                found |= exposed(node.body)
    return found


# ------------------------------------------------------------------------------------------------ who waits for whom
Interval = tuple[str, int, int]  # which block of memory, from where, to where
ALONE, ALL = "alone", "all"  # thread 0 makes it; every thread reads it


@dataclass(slots=True)
class Touched:
    """What a node reads and writes, and in which shares."""

    reads: Mapping[Tensor, list[Access]]
    writes: Mapping[Tensor, list[Access]]
    share: Share | str
    pieces: tuple[int, ...] = ()  # where sums of pieces are that it makes or takes

    def slots(self, tensor: Tensor) -> set[tuple[int, Expr]]:
        if isinstance(self.share, str) or self.share.index is None:
            return set()
        return shared_slots([*self.reads.get(tensor, ()), *self.writes.get(tensor, ())], self.share.index)


@dataclass(slots=True)
class Divider:
    """Puts barriers into the tree.  `elements`: of the block of memory, with the sums of pieces."""

    layout: Layout
    places: Places
    capacity: Mapping[str, int]
    item: int
    elements: int
    gathers: dict[str, list[Gather]] = field(default_factory=dict)

    def divided(self, body: Sequence[Node]) -> list[Node]:
        return self._nodes(body, [])

    def _nodes(self, body: Sequence[Node], pending: list[Touched]) -> list[Node]:
        """The nodes with barriers; `pending`: what was touched since the last one, and is from here on."""
        result: list[Node] = []
        for node in body:
            if isinstance(node, Statement) and node.kind == "begin":
                result.append(node)  # a register: everybody has his own
            elif isinstance(node, Loop | Guarded) and _is_entered(node):
                result += self._entered(node, pending)
            else:
                self._leaf(node, result, pending)
        return result

    def _leaf(self, node: Node, result: list[Node], pending: list[Touched]) -> None:
        made: list[Node] = [node]
        if isinstance(node, Loop) and node.share is not None:
            self._settle(node)
        share: Share | str = getattr(node, "share", None) or (ALL if isinstance(node, Check) else ALONE)
        touched = self._touched(node, share)
        if isinstance(node, Statement) and node.kind == "end":
            found = self.gathers.pop(node.register, [])
            made = [*found, node]
            touched.pieces = tuple(gather.sum.offset for gather in found)
        if any(self._conflict(earlier, touched) for earlier in pending):
            result.append(Barrier())
            pending.clear()
        pending.append(touched)
        if share != ALONE:
            result += made
        elif result and isinstance(result[-1], Alone):
            result[-1].body += made
        else:
            result.append(Alone(made))

    def _entered(self, node: Loop | Guarded, pending: list[Touched]) -> list[Node]:
        """The node with shares inside; alone, if so little is done between its barriers that nobody gains."""
        inside = self._inside(node.body)
        start: list[Node] = []
        # what does not change in a loop is read before it
        if any(self._conflict(earlier, touched) for earlier in pending for touched in inside):
            start.append(Barrier())
        around = inside if isinstance(node, Loop) else []
        body = self._nodes(node.body, around)
        waits = any(isinstance(inner, Barrier) for inner in walk(body))
        if waits and isinstance(node, Loop) and work(node.body, self.capacity) < PAUSE:
            result: list[Node] = []
            self._leaf(_without_shares(node), result, pending)
            return result
        pending[:] = [*([] if start else pending), *around]
        return [*start, replace(node, body=body)]

    def _inside(self, body: Sequence[Node]) -> list[Touched]:
        """All that is touched in an iteration, as the next one finds it."""
        found: list[Touched] = []
        for node in body:
            if isinstance(node, Loop | Guarded) and _is_entered(node):
                found += self._inside(node.body)
            elif not isinstance(node, Statement) or node.kind != "begin":
                share: Share | str = getattr(node, "share", None) or (ALL if isinstance(node, Check) else ALONE)
                found.append(self._touched(node, share))
        return found

    def _settle(self, loop: Loop) -> None:
        """The sums of pieces get their places."""
        assert loop.share is not None
        share, sums = loop.share, []
        for one in share.sums:
            register = f"{one.register}_{len(self.gathers.get(one.register, ()))}"
            sums.append(replace(one, piece=register, offset=self.elements))
            _rename(loop.body, one.register, register)
            self.elements += padded(-(-at_capacity(share.extent, self.capacity) // share.unit), self.item)
            gather = Gather(sums[-1], share)
            self.gathers.setdefault(one.register, []).append(gather)
        loop.share = replace(share, sums=tuple(sums))

    # -------------------------------------------------------------------------------------------- conflicts
    def _touched(self, node: Node, share: Share | str) -> Touched:
        tables = [{t: list(found) for t, found in table.items() if isinstance(t, Tensor)} for table in
                  effects(node, self.layout)]  # fmt: skip
        for equation in node.also if isinstance(node, Loop) else ():
            self._note(tables, equation)
        pieces = tuple(s.offset for s in share.sums) if isinstance(share, Share) else ()
        return Touched(tables[0], tables[1], share, pieces)

    def _note(self, tables: list[dict[Tensor, list[Access]]], equation: Equation) -> None:
        tables[1].setdefault(self.layout.root(equation.tensor), []).append(equation.lhs)
        for access in equation.reads():
            tables[0].setdefault(self.layout.root(access.tensor), []).append(access)

    def _conflict(self, one: Touched, other: Touched) -> bool:
        if one.share == ALONE and other.share == ALONE:
            return False
        if set(one.pieces) & set(other.pieces):
            return True
        pairs = ((one.writes, other.reads), (one.writes, other.writes), (one.reads, other.writes))
        return any(
            self._overlap(a, b) and not (a == b and self._together(a, one, other))
            for mine, theirs in pairs
            for a in mine
            for b in theirs
        )

    def _together(self, tensor: Tensor, one: Touched, other: Touched) -> bool:
        """Each thread touches elements of its own in both."""
        if isinstance(one.share, str) or isinstance(other.share, str):
            return False
        same = (one.share.extent, one.share.unit) == (other.share.extent, other.share.unit)
        return same and bool(one.slots(tensor) & other.slots(tensor))

    def _overlap(self, one: Tensor, other: Tensor) -> bool:
        a, b = self._interval(one), self._interval(other)
        return a is not None and b is not None and a[0] == b[0] and a[1] < b[2] and b[1] < a[2]

    def _interval(self, tensor: Tensor) -> Interval | None:
        """Its bytes; None for what no kernel writes, or no memory holds."""
        places = self.places
        if tensor in places.pointers:
            return (places.pointers[tensor], 0, 1)
        if tensor in places.integer_offsets:
            start, item = 8 * places.integer_offsets[tensor], 8
        elif tensor in places.offsets:
            start, item = self.item * places.offsets[tensor], self.item
        else:
            return None
        return ("M", start, start + item * at_capacity(self.layout.elements(tensor), self.capacity))


def _is_entered(node: Loop | Guarded) -> bool:
    """All threads run through it, with shares of what is inside."""
    if isinstance(node, Loop) and node.share is not None:
        return False
    return _is_uniform(node) and any(getattr(inner, "share", None) is not None for inner in walk(node.body))


def _without_shares(loop: Loop) -> Loop:
    for node in walk([loop]):
        if isinstance(node, Loop | Call):
            node.share = None
    return loop


def _rename(body: Sequence[Node], old: str, new: str) -> None:
    for statement in _statements(body):
        if statement.register == old:
            statement.register = new
