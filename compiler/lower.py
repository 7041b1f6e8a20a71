"""Equations -> a tree of loops and kernel calls.

In: a program after the passes.  Out: `Lowered`, what `memory` places and `source` prints.  Every equation has the
general loop nest; products are recognized on top of it, and loops are joined (`fuse`).  With `plain=True` only the
general nests are used: slow, short, and the second oracle.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import sympy as sp
from sympy import Expr, Integer

from .dependence import loop_axes
from .fuse import insert
from .graph import Range, box, components, dependences, is_cycle, overlap, reachable
from .layout import Layout, choose_orders
from .nest import Call, Check, Loop, Names, Node, build, zeros
from .product import as_product
from .program import Access, Equation, Index, Program, Tensor, merge_duplicates, outer_accesses
from .recurrence import component_nodes
from .spell import is_tiny

Box = tuple[Range, ...] | None
PLACED = ("parameter", "state", "value")  # whose storage order is ours to choose


@dataclass(slots=True)
class Lowered:
    """The tree, and what else printing needs."""

    program: Program
    layout: Layout
    body: list[Node]
    scalars: tuple[Equation, ...]  # rank 0, computed in float64 from hyper-parameters alone
    scheduled: int  # loops and calls before any were joined


def lower(program: Program, orders: Mapping[str, tuple[int, ...]] | None = None, plain: bool = False) -> Lowered:
    """The tree of a program.  `orders` fixes the storage order of tensors (from the program that planned it)."""
    program = program.live()
    program = program.with_equations(merge_duplicates(program.equations))
    scalars, rest = split_scalars(program)
    if orders is None:
        orders = {} if plain else storage_orders(program)
    layout = Layout(dict(orders), tiny=is_tiny(program))
    names = Names()
    needs = dependences(rest)
    copies = _share_storage(program, rest, needs, layout)
    kinds, fills, starts = _meetings(rest, needs, layout, plain)
    rest = [e for e in rest if e in kinds]
    # maps as late as can be: beside what reads them, which may take them into its loop
    needs = {e: sorted((q for q in needs[e] if q in kinds), key=lambda q: not q.bound) for e in rest}
    body: list[Node] = []
    done: set[Equation] = set()
    filled: set[Tensor] = set()
    scheduled = 0

    def put(nodes: Iterable[Node]) -> None:
        nonlocal scheduled
        for node in nodes:
            scheduled += isinstance(node, (Loop, Call))
            insert(body, node, layout)

    def emit(roots: Iterable[Tensor]) -> None:
        wanted = set(roots)
        for component in components([e for e in rest if e.tensor in wanted], needs):
            if component[0] in done:
                continue
            done.update(component)
            touched = (t for e in component for t in (e.tensor, *(a.tensor for a in e.reads())))
            for tensor in touched:
                if tensor in fills and tensor not in filled:
                    filled.add(tensor)
                    put(zeros(_whole(tensor, program.definitions[tensor]), layout, names))
            put(component_nodes(component, needs, kinds, starts, layout, names, plain))

    emit((*program.outputs, *program.guards))
    if program.updates:
        if program.guards:
            body.append(Check(program.guards))
        emit(new for _, new in program.updates)
    for state, new in copies:
        equation = _whole(state)
        access = Access(new, *equation.lhs.subscripts)
        put(build(replace(equation, rhs=access), "store", layout, names, plain))
    return Lowered(program, layout, body, scalars, scheduled)


def storage_orders(program: Program) -> dict[str, tuple[int, ...]]:
    """Storage orders of parameters; states, next values and gradients of the same shape follow their parameter.

    What a loop over steps makes is stored step by step: in h[n,t,u] = f(h[n,t-1,k]) all h of one step lie side by side,
    whatever the number of steps.  With the steps between them, rows would meet in the same lines of the cache.
    """
    parameters = [t for t in program.tensors if t.role == "parameter"]
    orders = choose_orders(program.equations, parameters)
    for tensor, axes in loop_axes(program.equations).items():
        orders.setdefault(tensor.name, (*axes, *(axis for axis in range(tensor.rank) if axis not in axes)))
    changed = True
    while changed:  # what is only ever met element by element with an ordered tensor takes its order
        changed = False
        for equation in program.equations:
            if isinstance(equation.rhs, Access) and equation.rhs.tensor.role == "parameter":
                continue  # a copy is made for an order of its own (`pack`)
            touched = (equation.lhs, *outer_accesses(equation.rhs))
            group = [a for a in touched if a.tensor.role in PLACED and _moving(a) == _moving(equation.lhs)]
            order = next((_order_of(a, orders) for a in group if a.tensor.name in orders), None)
            for access in group:
                if order is not None and access.tensor.rank >= 2 and access.tensor.name not in orders:
                    orders[access.tensor.name] = _ordered_by(access, order)
                    changed = True
    return orders


def _moving(access: Access) -> list[Expr]:
    """The subscripts that are no constants."""
    return [s for s in access.subscripts if not s.is_number]


def _order_of(access: Access, orders: Mapping[str, tuple[int, ...]]) -> list[Expr]:
    """The subscripts that move, in storage order."""
    subscripts = [access.subscripts[axis] for axis in orders[access.tensor.name]]
    return [s for s in subscripts if not s.is_number]


def _ordered_by(access: Access, order: Sequence[Expr]) -> tuple[int, ...]:
    """The storage order in which the subscripts of the access that move stand in this order; constants are slowest."""
    axes = [axis for axis, s in enumerate(access.subscripts) if s.is_number]
    return (
        *axes,
        *sorted(
            (a for a in range(access.tensor.rank) if a not in axes), key=lambda a: order.index(access.subscripts[a])
        ),
    )


def split_scalars(program: Program) -> tuple[tuple[Equation, ...], list[Equation]]:
    """Rank-0 equations that depend on hyper-parameters alone (step sizes, corrections), and all others."""
    scalar: set[Tensor] = set()
    for tensor, equations in program.definitions.items():
        reads = [a.tensor for e in equations for a in e.reads()]
        plain = all(not e.domain and e.where == True and e.op == "sum" for e in equations)  # noqa: E712
        plain = plain and tensor.rank == 0 and tensor.kind == "real" and tensor not in program.roots
        if plain and all(t.role == "hyper" or t in scalar for t in reads):
            scalar.add(tensor)
    return (
        tuple(e for e in program.equations if e.tensor in scalar),
        [e for e in program.equations if e.tensor not in scalar],
    )


def _whole(tensor: Tensor, like: Sequence[Equation] = ()) -> Equation:
    """tensor[...] = 0 over all of it, with the reduction that defines the tensor."""
    own = tuple(Index(f"i{axis}", extent) for axis, extent in enumerate(tensor.shape))
    op = next((e.op for e in like if e.tensor == tensor), "sum")
    return Equation(Access(tensor, *own), own, Integer(0), op)


# --------------------------------------------------------------------------------------------- storage of updates
def _share_storage(
    program: Program, equations: list[Equation], needs: dict[Equation, list[Equation]], layout: Layout
) -> list[tuple[Tensor, Tensor]]:
    """A next value takes the place of its state where every reader of the old value can run before, or where there is
    none and nothing forbids the update; else it is copied at the end.  Adds the dependences that this asks for, and
    returns the pairs to copy."""
    copies = []
    written: dict[Tensor, list[Equation]] = {}
    readers: dict[Tensor, list[Equation]] = {}
    followers: dict[Equation, list[Equation]] = {}
    for equation in equations:
        written.setdefault(equation.tensor, []).append(equation)
        for tensor in dict.fromkeys(a.tensor for a in equation.reads()):
            readers.setdefault(tensor, []).append(equation)
        for needed in needs[equation]:
            followers.setdefault(needed, []).append(equation)
    for state, new in program.updates:
        mine = written.get(new, [])
        others = [e for e in readers.get(state, ()) if e not in mine]
        free = not program.guards and state not in readers
        ok = bool(mine) and (free or _writes_once(mine)) and new not in layout.owner
        ok = ok and all(a.subscripts == e.lhs.subscripts for e in mine for a in e.reads() if a.tensor == state)
        if ok and not reachable(mine, followers).intersection(others):
            layout.owner[new] = state
            for equation in mine:
                needs[equation] = list(dict.fromkeys([*needs[equation], *others]))
            for other in others:
                followers.setdefault(other, []).extend(mine)
        else:
            copies.append((state, new))
    return copies


def _writes_once(equations: list[Equation]) -> bool:
    """One equation writes each element once, or several write one element each."""
    if any(e.bound or box(e) is None for e in equations):
        return False
    single = all(not e.free for e in equations) and len({e.lhs for e in equations}) == len(equations)
    return len(equations) == 1 or single


# --------------------------------------------------------------------------------------------- several equations
def _meetings(
    equations: list[Equation], needs: dict[Equation, list[Equation]], layout: Layout, plain: bool
) -> tuple[dict[Equation, str], set[Tensor], dict[Equation, Access]]:
    """How each equation meets its tensor: ("store" | "add"), the tensors that must be zeroed first, and for products
    the row vector that they start from (whose equation then needs no code of its own).  Extends `needs`."""
    rank = {e: k for k, c in enumerate(components(equations, needs)) for e in c}
    cyclic = {e for c in components(equations, needs) if is_cycle(c, needs) for e in c}
    steps = loop_axes(equations)
    kinds: dict[Equation, str] = {}
    fills: set[Tensor] = set()
    starts: dict[Equation, Access] = {}
    table: dict[Tensor, list[Equation]] = {}
    for equation in equations:
        table.setdefault(equation.tensor, []).append(equation)
    for tensor, group in table.items():
        if not plain:
            row = _start_from_row(group, needs, cyclic, steps.get(tensor, ()), layout, starts)
            group = [e for e in group if e != row]
        boxes = {e: box(e) for e in group}
        # Who stores comes before who adds, and nothing outside a cycle may wait for the cycle.
        group.sort(key=lambda e: (e in cyclic, boxes[e] is None, rank[e]))
        storers: list[Equation] = []
        for number, equation in enumerate(group):
            earlier = [e for e in group[:number] if overlap(equation.lhs, e.lhs)]
            if boxes[equation] is not None and not earlier:
                kinds[equation] = "store"
                storers.append(equation)
                continue
            kinds[equation] = "add"
            needs[equation] = list(dict.fromkeys([*needs[equation], *(e for e in earlier if e in storers)]))
        if not _covers([boxes[s] for s in storers], tensor):
            fills.add(tensor)
    return kinds, fills, starts


def _start_from_row(
    group: list[Equation],
    needs: dict[Equation, list[Equation]],
    cyclic: set[Equation],
    steps: tuple[int, ...],
    layout: Layout,
    starts: dict[Equation, Access],
) -> Equation | None:
    """z = product + b[i]: the product starts from the row vector b, in a loop over steps from that of its step; the
    equation of the row, which then needs no code."""
    for product_equation in group:
        loops: set[Expr] = set()
        if product_equation in cyclic:
            if len(group) > 2 or len(steps) > 1:
                continue  # what is made for all steps at once is added there
            loops = {product_equation.lhs.subscripts[axis] for axis in steps}
        inside = replace(product_equation, domain=tuple(i for i in product_equation.domain if i not in loops))
        product = as_product(inside, layout)
        if product is None or product.outer:
            continue
        strides = layout.address(product_equation.lhs).strides
        for row in group:
            if row.bound or row.where != True or not isinstance(row.rhs, Access) or box(row) != box(product_equation):  # noqa: E712
                continue
            start = row.rhs.xreplace(dict(zip(row.lhs.subscripts, product_equation.lhs.subscripts, strict=True)))
            of_start = {i: stride for i, stride in layout.address(start).strides.items() if i not in loops}
            columns = {i: strides[i] for i in product.n}
            if row not in cyclic and of_start == columns and row.rhs.tensor.kind == "real":
                starts[product_equation] = start
                needs[product_equation] = list(dict.fromkeys([*needs[product_equation], *needs[row]]))
                return row
    return None


def _covers(boxes: Sequence[Box], tensor: Tensor) -> bool:
    """Disjoint boxes cover the tensor if their volumes add up."""
    volume = sum((sp.Mul(*(high - low for low, high in b)) for b in boxes if b is not None), Integer(0))
    return sp.expand(volume - sp.Mul(*tensor.shape)) == 0
