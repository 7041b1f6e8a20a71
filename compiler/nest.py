"""The loop tree, and how one equation becomes a part of it: the general loop nest, which lowers everything.

In: an equation and how it meets its tensor ("store" what was not written before, or "add" to it).  Out: nodes, for
`fuse` to insert and `source` to print.  Loop indices are unique within a tree, so renaming can never capture one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import sympy as sp
from sympy import Basic, Expr, Integer
from sympy.logic.boolalg import Boolean

from .kernels.epilogue import Epilogue
from .layout import Layout
from .passes import rewriting
from .passes.rewriting import is_infinite
from .product import Product
from .program import (
    Access,
    Equation,
    Index,
    Tensor,
    accesses,
    outer_accesses,
    position,
    subscript_in_range,
)
from .spans import Span, ordered, spans, sparse_rows, usable, whole_rows, without

Place = Tensor | str  # what is read or written: a tensor, or a register


@dataclass(slots=True, eq=False)
class Statement:
    """store: lhs = rhs; add: lhs += rhs; begin, combine, end: a reduction in a register, then lhs = or += register."""

    kind: str
    lhs: Access
    rhs: Expr
    where: Boolean
    equation: Equation
    op: str = "sum"
    register: str = ""
    adds: bool = False  # for `end`


@dataclass(frozen=True, slots=True)
class Sum:
    """What a loop that is divided sums into a register: in pieces, each in memory, the first at `offset`."""

    register: str
    op: str
    piece: str = ""
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Share:
    """How threads divide a loop, or the rows or `columns` of a product: `extent` places, so many units to each.

    index: if a place is a value of this index.  scale: elements (rows) of a place.  sums: see Sum; a piece is a unit.
    """

    extent: Expr
    unit: int
    index: Index | None = None
    scale: Expr = sp.S.One
    sums: tuple[Sum, ...] = ()
    columns: bool = False


@dataclass(frozen=True, slots=True)
class After:
    """What a product makes of its sums as it stores them (epilogue.py): the equation, what it writes, and of what."""

    equation: Equation
    lhs: Access
    epilogue: Epilogue
    tensors: tuple[Access, ...]
    numbers: tuple[Expr, ...]


@dataclass(slots=True, eq=False)
class Call:
    """A matrix product by a kernel: its operands (A, B, perhaps a row vector to start from) at their first elements.

    start: "zero", "bias" or "c" (what the target holds).  touched: A, B and C with all indices, which tell what of them
    a loop around the call reads and writes.  after: C is not the sum, but what becomes of it."""

    equation: Equation
    product: Product
    start: str
    operands: tuple[Access, ...]
    target: Access
    touched: tuple[Access, Access, Access]
    share: Share | None = None
    after: After | None = None


@dataclass(slots=True, eq=False)
class Check:
    """The guards are looked at: where one is not finite, the step ends here."""

    guards: tuple[Tensor, ...]


@dataclass(slots=True, eq=False)
class Loop:
    """for index in its range: body.  With `row`, the index runs over the stored columns of a row of a sparse tensor;
    `low` and `high` are further ends: it runs from the largest of all lower ones to the smallest of the upper ones."""

    index: Index
    body: list[Node]
    reverse: bool = False
    parallel: bool = True
    row: Access | None = None
    low: tuple[Expr, ...] = ()
    high: tuple[Expr, ...] = ()
    count: int | None = None  # elements of a flat loop that several tensors share,
    also: tuple[Equation, ...] = ()  # and what it computes of those besides its own
    share: Share | None = None
    reads: dict[Place, list[Access]] = field(default_factory=dict)
    writes: dict[Place, list[Access]] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Guarded:
    """if condition: body.  Slots of a recurrence at which an equation does not act."""

    condition: Boolean
    body: list[Node]


@dataclass(slots=True, eq=False)
class Alone:
    """What one of several threads does (divide.py)."""

    body: list[Node]


@dataclass(slots=True, eq=False)
class Barrier:
    """Threads wait for one another."""


@dataclass(slots=True, eq=False)
class Gather:
    """The register takes the sums of all pieces."""

    sum: Sum
    share: Share


Node = Loop | Statement | Call | Check | Guarded | Alone | Barrier | Gather
ROWS = 8  # rows that are added up at once
FEW = 16  # elements of a reduction that are written down one by one
IDENTITY: dict[str, Expr] = {"sum": Integer(0), "max": -sp.oo, "logsumexp": -sp.oo, "argmax": Integer(-1)}


def effects(node: Node, layout: Layout) -> tuple[dict[Place, list[Access]], dict[Place, list[Access]]]:
    """(reads, writes): place -> accesses.  Tensors that share storage count as one."""
    reads: dict[Place, list[Access]] = {}
    writes: dict[Place, list[Access]] = {}

    def note(table: dict[Place, list[Access]], place: Place, access: Access | None) -> None:
        entry = table.setdefault(place, [])
        if access is not None and access not in entry:
            entry.append(access)

    match node:
        case Loop():
            return node.reads, node.writes
        case Check():
            for guard in node.guards:
                note(reads, guard, Access(guard))
        case Guarded() | Alone():
            for child in node.body:
                for table, found in zip((reads, writes), effects(child, layout), strict=True):
                    for place, touched in found.items():
                        for access in touched or (None,):
                            note(table, place, access)
        case Call():
            a, b, c = node.touched
            others = (*node.after.tensors, *node.after.numbers) if node.after is not None else ()
            for access in accesses(a, b, *node.operands[2:], *others):
                note(reads, layout.root(access.tensor), access)
            note(writes, layout.root(c.tensor), c)
        case Statement():
            if node.kind in ("begin", "combine", "end"):
                note(reads if node.kind == "end" else writes, node.register, None)
            if node.kind != "begin":
                for access in accesses(node.rhs, node.where, *node.lhs.subscripts):
                    note(reads, layout.root(access.tensor), access)
            if node.kind in ("store", "add", "end"):
                note(writes, layout.root(node.lhs.tensor), node.lhs)
    return reads, writes


def absorb_effects(loop: Loop, node: Node, layout: Layout) -> None:
    """Make the loop's own effects include those of a node that joined its body."""
    for mine, theirs in zip((loop.reads, loop.writes), effects(node, layout), strict=True):
        for place, found in theirs.items():
            entry = mine.setdefault(place, [])
            entry.extend(a for a in found if a not in entry)


def make_loop(
    index: Index,
    body: Sequence[Node],
    layout: Layout,
    reverse: bool = False,
    parallel: bool = True,
    row: Access | None = None,
    low: tuple[Expr, ...] = (),
    high: tuple[Expr, ...] = (),
) -> Loop:
    loop = Loop(index, list(body), reverse, parallel, row, low, high)
    for access in accesses(*low, *high):
        loop.reads.setdefault(layout.root(access.tensor), []).append(access)
    for node in loop.body:
        absorb_effects(loop, node, layout)
    return loop


def rename(node: Node, new: Mapping[str, str], layout: Layout) -> Node:
    """The node with loop indices renamed everywhere; their ranges stay (a guarded part may know a narrower one)."""

    def change(expression: Basic) -> Basic:
        found = {i: i.named(new[i.name]) for i in expression.atoms(Index) if i.name in new}
        return expression.xreplace(found) if found else expression

    match node:
        case Statement():
            return replace(node, lhs=change(node.lhs), rhs=change(node.rhs), where=change(node.where))
        case Call():
            a, b, c = map(change, node.touched)
            operands = tuple(map(change, node.operands))
            return replace(node, operands=operands, target=change(node.target), touched=(a, b, c))
        case Guarded():
            return Guarded(change(node.condition), [rename(child, new, layout) for child in node.body])
        case Loop():
            row = None if node.row is None else change(node.row)
            body = [rename(child, new, layout) for child in node.body]
            low, high = tuple(map(change, node.low)), tuple(map(change, node.high))
            return make_loop(change(node.index), body, layout, node.reverse, node.parallel, row, low, high)
    return node


class Names:
    """Fresh names for loop indices and registers."""

    def __init__(self) -> None:
        self._numbers: Iterator[int] = itertools.count()

    def index(self, like: Index) -> Index:
        return like.named(f"{like.name.partition('_')[0]}_{next(self._numbers)}")

    def register(self) -> str:
        return f"r{next(self._numbers)}"


# ------------------------------------------------------------------------------------------------ the general nest
def build(equation: Equation, kind: str, layout: Layout, names: Names, plain: bool = False) -> list[Node]:
    """Loops over the free indices and over the bound ones, the scalar expression inside."""
    new = {i: names.index(i) for i in equation.domain}
    equation, original = whole_rows(equation.substitute(new)), equation
    order = loop_order(equation, layout, plain)
    split = len(order)
    while split and order[split - 1] in equation.bound:
        split -= 1
    prefix, suffix = order[:split], order[split:]
    in_register = bool(suffix) and not any(i in equation.bound for i in prefix)
    if equation.op != "sum" and not in_register:
        in_register, prefix, suffix = True, list(order), []
    if in_register:
        op, register = equation.op, names.register()
        value = equation.rhs if op != "argmax" else sp.Tuple(equation.rhs, position(equation.bound))
        begin = Statement("begin", equation.lhs, Integer(0), sp.true, original, op, register)
        combine = Statement("combine", equation.lhs, value, equation.where, original, op, register)
        end = Statement("end", equation.lhs, Integer(0), sp.true, original, op, register, adds=kind == "add")
        used = [] if plain else usable(spans(equation), order, suffix)
        few = not plain and not used and _is_beside(equation, prefix, suffix, layout)
        combine.where = without(combine.where, used)
        written = _unrolled(combine, suffix) if few else []
        few = few and not any(is_infinite(one.rhs) for one in written)
        combined = written if few else _around(suffix, [combine], equation, layout, used)
        return _around(prefix, [begin, *combined, end], equation, layout)
    nodes: list[Node] = []
    if kind == "store" and equation.bound:
        nodes = zeros(equation, layout, names)
        kind = "add"
    used = [] if plain or kind == "store" else usable(spans(equation), order, order)
    several = None if plain else _several_rows(equation, order, layout)
    if several is not None:
        over, fewer, rhs = several
        statement = Statement(kind, equation.lhs, rhs, equation.where, original)
        nodes += _around([fewer if i == over else i for i in order], [statement], equation, layout)
        if over.extent.is_Integer:
            return nodes
        used = [Span(over, ROWS * sp.floor(fewer.high), None, (), sp.true)]  # the rows that remain
    statement = Statement(kind, equation.lhs, equation.rhs, without(equation.where, used), original)
    found = _around(order, [statement], equation, layout, used)
    fresh = {i.name: names.index(i).name for i in order} if several is not None else {}
    return nodes + [rename(node, fresh, layout) if fresh else node for node in found]


def _is_beside(equation: Equation, prefix: Sequence[Index], suffix: Sequence[Index], layout: Layout) -> bool:
    """Few elements are reduced, and those of the next reduction stand beside them: then all of them are written down,
    and the loop over the reductions has no other inside, so that it runs in vectors."""
    count = sp.Mul(*(i.extent for i in suffix))
    literal = all(end.is_Integer for i in suffix for end in (i.low, i.high))
    if not prefix or not suffix or not literal or not 0 < count <= FEW or sparse_rows(equation):
        return False
    touched = [equation.lhs, *outer_accesses(equation.rhs)]
    return all(layout.address(a).strides.get(prefix[-1], 1) == 1 for a in touched)


def _unrolled(statement: Statement, over: Sequence[Index]) -> list[Statement]:
    """The statement for each point of the indices."""
    found: list[Statement] = []
    for point in itertools.product(*(range(int(i.low), int(i.high)) for i in over)):
        new: dict[Basic, Basic] = {i: Integer(q) for i, q in zip(over, point, strict=True)}
        where = statement.where.xreplace(new)
        if where != False:  # noqa: E712
            found.append(replace(statement, rhs=rewriting.replace(statement.rhs, new), where=where))
    return found


def _several_rows(equation: Equation, order: Sequence[Index], layout: Layout) -> tuple[Index, Index, Expr] | None:
    """Rows that are added up in memory (b[o] += x[n,q,o]): several at once, so that b is read and written less.

    The index that runs over the rows, one that runs over groups of them, and the sum over a group.  Where the number of
    rows is known at run time alone, the second runs to a fraction, which is rounded down."""
    bound, along = [i for i in order[:-1] if i in equation.bound], order[-1] if order else None
    if not bound or along is None or along in equation.bound or equation.where is not sp.true or sparse_rows(equation):
        return None
    read = outer_accesses(equation.rhs)
    if len(read) > 2 or not all(layout.address(a).strides.get(along, 1) == 1 for a in (equation.lhs, *read)):
        return None
    counts = {i: i.extent.is_Integer for i in reversed(bound) if i.extent.is_Integer or i.high.is_Symbol}
    groups = ((d, i) for i, known in counts.items() for d in range(ROWS, 1, -1) if not known or i.extent % d == 0)
    times, over = next(groups, (1, along))
    if times == 1 or over.low != 0:
        return None
    fewer = Index(over.name, over.high / times)
    return over, fewer, sp.Add(*(equation.rhs.xreplace({over: times * fewer + q}) for q in range(times)))


def zeros(equation: Equation, layout: Layout, names: Names) -> list[Node]:
    """lhs = what nothing combines to, over the indices of the domain that it names."""
    own = [i for i in layout.stored_order(equation.lhs) if i in equation.domain]
    new = {i: names.index(i) for i in own}
    statement = Statement("store", equation.lhs.xreplace(new), IDENTITY[equation.op], sp.true, equation)
    return _around([new[i] for i in own], [statement], None, layout)


def _around(
    order: Sequence[Index], body: list[Node], equation: Equation | None, layout: Layout, ends: Sequence[Span] = ()
) -> list[Node]:
    rows = sparse_rows(equation) if equation is not None else {}
    for index in reversed(order):
        mine = [] if index in rows else [span for span in ends if span.index == index]
        low = tuple(span.low for span in mine if span.low is not None)
        high = tuple(span.high for span in mine if span.high is not None)
        body = [make_loop(index, body, layout, row=rows.get(index), low=low, high=high)]
    return body


def loop_order(equation: Equation, layout: Layout, plain: bool) -> list[Index]:
    """Slowest loop first.

    Free before bound where the reduction needs a register (or `plain` asks for it); else in the storage order of the
    access with the most indices, so that the innermost loop is contiguous in what matters most.
    """
    domain = equation.domain
    free = [i for i in layout.stored_order(equation.lhs) if i in domain]
    free += [i for i in equation.free if i not in free]
    if plain or equation.op != "sum" or _is_beside(equation, free, equation.bound, layout):
        order = free + list(equation.bound)
    else:
        candidates = [equation.lhs, *outer_accesses(equation.rhs)]
        largest = max(candidates, key=lambda a: len([i for i in layout.stored_order(a) if i in domain]))
        order = [i for i in layout.stored_order(largest) if i in domain]
        order += [i for i in free if i not in order]
        order += [i for i in domain if i not in order]
    for column, access in sparse_rows(equation).items():  # a row must be known before its columns are visited
        row = access.subscripts[0]
        if row in order and order.index(row) > order.index(column):
            order.remove(row)
            order.insert(order.index(column), row)
    if plain:
        return order
    at_once = equation.op == "sum"  # what stands contiguous in a row is the innermost loop
    for column, access in sparse_rows(equation).items():
        row = access.subscripts[0]
        if at_once and row in order:
            order.remove(column)
            order.insert(order.index(row) + 1, column)
    return ordered(order, [s for s in spans(equation) if at_once or s.index in equation.bound], at_once)


def unsafe_axes(access: Access) -> list[tuple[Expr, Expr]]:
    """(subscript, extent) of each axis on which the access may leave the tensor."""
    pairs = zip(access.subscripts, access.tensor.shape, strict=True)
    return [(s, n) for s, n in pairs if not subscript_in_range(s, n)]
