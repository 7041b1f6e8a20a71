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
from sympy.logic.boolalg import Boolean

from .fuse import insert
from .graph import at_least, box, components, dependences, is_cycle, overlap, reach
from .layout import Layout, choose_orders
from .nest import Call, Check, Guarded, Loop, Names, Node, build, make_loop, rename, zeros
from .product import as_product
from .program import Access, Affine, Equation, Index, Program, ProgramError, Tensor, affine, merge_duplicates, outer_accesses

PERSISTENT = ("parameter", "state")


@dataclass(slots=True)
class Lowered:
    """The tree, and what else printing needs."""

    program: Program
    layout: Layout
    body: list[Node]
    scalars: tuple[Equation, ...]  # rank 0, computed in float64 from hyper-parameters alone


def lower(program: Program, orders: Mapping[str, tuple[int, ...]] | None = None, plain: bool = False) -> Lowered:
    """The tree of a program.  `orders` fixes the storage order of tensors (from the program that planned it)."""
    program = program.live()
    program = program.with_equations(merge_duplicates(program.equations))
    scalars, rest = split_scalars(program)
    if orders is None:
        orders = {} if plain else storage_orders(program)
    layout = Layout(dict(orders))
    names = Names()
    needs = dependences(rest)
    copies = _share_storage(program, rest, needs, layout)
    kinds, fills, starts = _meetings(rest, needs, layout, plain)
    rest = [e for e in rest if e in kinds]
    needs = {e: [q for q in needs[e] if q in kinds] for e in rest}
    body: list[Node] = []
    done: set[Equation] = set()
    filled: set[Tensor] = set()

    def emit(roots: Iterable[Tensor]) -> None:
        wanted = set(roots)
        for component in components([e for e in rest if e.tensor in wanted], needs):
            if component[0] in done:
                continue
            done.update(component)
            touched = (t for e in component for t in (e.tensor, *(a.tensor for a in e.reads())))
            for tensor in dict.fromkeys(touched):
                if tensor in fills and tensor not in filled:
                    filled.add(tensor)
                    for node in zeros(_whole(tensor, program.definitions[tensor]), layout, names):
                        insert(body, node, layout)
            for node in _component(component, needs, kinds, starts, layout, names, plain):
                insert(body, node, layout)

    emit((*program.outputs, *program.guards))
    if program.updates:
        if program.guards:
            body.append(Check(program.guards))
        emit(new for _, new in program.updates)
    for state, new in copies:
        equation = _whole(state)
        access = Access(new, *equation.lhs.subscripts)
        for node in build(replace(equation, rhs=access), "store", layout, names, plain):
            insert(body, node, layout)
    return Lowered(program, layout, body, scalars)


def storage_orders(program: Program) -> dict[str, tuple[int, ...]]:
    """Storage orders of parameters; states, next values and gradients of the same shape follow their parameter."""
    parameters = [t for t in program.tensors if t.role == "parameter"]
    orders = choose_orders(program.equations, parameters)
    changed = True
    while changed:  # what is only ever met element by element with an ordered tensor takes its order
        changed = False
        for equation in program.equations:
            if equation.bound or equation.where != True:  # noqa: E712
                continue
            group = [a for a in (equation.lhs, *outer_accesses(equation.rhs)) if a.subscripts == equation.lhs.subscripts]
            order = next((orders[a.tensor.name] for a in group if a.tensor.name in orders), None)
            for access in group:
                if order is not None and access.tensor.rank >= 2 and access.tensor.name not in orders:
                    orders[access.tensor.name] = order
                    changed = True
    return orders


def split_scalars(program: Program) -> tuple[tuple[Equation, ...], list[Equation]]:
    """Rank-0 equations that depend on hyper-parameters alone (step sizes, corrections), and all others."""
    scalar: set[Tensor] = set()
    for tensor, equations in program.definitions.items():
        reads = [a.tensor for e in equations for a in e.reads()]
        plain = all(not e.domain and e.where == True and e.op == "sum" for e in equations)  # noqa: E712
        if tensor.rank == 0 and tensor.kind == "real" and plain and tensor not in program.roots:
            if all(t.role == "hyper" or t in scalar for t in reads):
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
    """A next value takes the place of its state where every reader of the old value can run before; else it is copied
    at the end.  Adds the dependences that this asks for, and returns the pairs to copy."""
    copies = []
    for state, new in program.updates:
        mine = [e for e in equations if e.tensor == new]
        readers = [e for e in equations if any(a.tensor == state for a in e.reads())]
        ok = len(mine) == 1 and not mine[0].bound and box(mine[0]) is not None and new not in layout.owner
        ok = ok and all(a.subscripts == mine[0].lhs.subscripts for a in mine[0].reads() if a.tensor == state)
        others = [e for e in readers if not mine or e is not mine[0]]
        if ok and not any(_depends(reader, mine[0], needs) for reader in others):
            layout.owner[new] = state
            needs[mine[0]] = list(dict.fromkeys([*needs[mine[0]], *others]))
        else:
            copies.append((state, new))
    return copies


def _depends(one: Equation, other: Equation, needs: Mapping[Equation, Sequence[Equation]]) -> bool:
    seen: set[Equation] = set()
    stack = [one]
    while stack:
        node = stack.pop()
        if node == other:
            return True
        if node not in seen:
            seen.add(node)
            stack.extend(needs[node])
    return False


# --------------------------------------------------------------------------------------------- several equations
def _meetings(
    equations: list[Equation], needs: dict[Equation, list[Equation]], layout: Layout, plain: bool
) -> tuple[dict[Equation, str], set[Tensor], dict[Equation, Access]]:
    """How each equation meets its tensor: ("store" | "add"), the tensors that must be zeroed first, and for products
    the row vector that they start from (whose equation then needs no code of its own).  Extends `needs`."""
    rank = {e: k for k, c in enumerate(components(equations, needs)) for e in c}
    cyclic = {e for c in components(equations, needs) if is_cycle(c, needs) for e in c}
    kinds: dict[Equation, str] = {}
    fills: set[Tensor] = set()
    starts: dict[Equation, Access] = {}
    table: dict[Tensor, list[Equation]] = {}
    for equation in equations:
        table.setdefault(equation.tensor, []).append(equation)
    for tensor, group in table.items():
        if not plain:
            _start_from_row(group, needs, cyclic, layout, starts)
        boxes = {e: box(e) for e in group}
        group = [e for e in group if not _is_start(e, starts)]
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
            if not any(_contains(boxes[s], equation, boxes) for s in storers):
                fills.add(tensor)
            needs[equation] = list(dict.fromkeys([*needs[equation], *(e for e in earlier if e in storers)]))
        if not _covers([boxes[s] for s in storers], tensor):
            fills.add(tensor)
    return kinds, fills, starts


def _is_start(equation: Equation, starts: Mapping[Equation, Access]) -> bool:
    return any(p.tensor == equation.tensor and not equation.bound and equation.rhs == d for p, d in starts.items())


def _start_from_row(
    group: list[Equation],
    needs: dict[Equation, list[Equation]],
    cyclic: set[Equation],
    layout: Layout,
    starts: dict[Equation, Access],
) -> None:
    """z = product + b[i]: the product starts from the row vector b."""
    for product_equation in group:
        product = as_product(product_equation, layout) if product_equation not in cyclic else None
        if product is None or product.batch or len(product.n) != 1:
            continue
        for row in group:
            if row.bound or row.where != True or not isinstance(row.rhs, Access) or box(row) != box(product_equation):  # noqa: E712
                continue
            strides = layout.address(row.rhs).strides
            axis = layout.address(row.lhs).strides
            fastest = [i for i in row.domain if axis.get(i) == 1 and i.extent == product.n[0].extent]
            if len(fastest) == 1 and strides == {fastest[0]: 1} and row.rhs.tensor.kind == "real":
                starts[product_equation] = row.rhs
                needs[product_equation] = list(dict.fromkeys([*needs[product_equation], *needs[row]]))
                return


def _contains(outer: tuple, equation: Equation, boxes: Mapping[Equation, tuple | None]) -> bool:
    inner = boxes[equation] or reach(equation.lhs)
    return all(at_least(i[0], o[0]) and at_least(o[1], i[1]) for o, i in zip(outer, inner, strict=True))


def _covers(boxes: Sequence[tuple | None], tensor: Tensor) -> bool:
    """Disjoint boxes cover the tensor if their volumes add up."""
    volume = sum((sp.Mul(*(high - low for low, high in b)) for b in boxes if b is not None), Integer(0))
    return sp.expand(volume - sp.Mul(*tensor.shape)) == 0


# --------------------------------------------------------------------------------------------- components
def _component(
    component: list[Equation],
    needs: Mapping[Equation, Sequence[Equation]],
    kinds: Mapping[Equation, str],
    starts: Mapping[Equation, Access],
    layout: Layout,
    names: Names,
    plain: bool,
    fixed: tuple[Mapping[Tensor, int], ...] = (),
) -> list[Node]:
    if not is_cycle(component, needs):
        return _single(component[0], kinds[component[0]], starts.get(component[0]), layout, names, plain)
    return [_recurrence(component, kinds, layout, names, plain, fixed)]


def _single(
    equation: Equation, kind: str, start: Access | None, layout: Layout, names: Names, plain: bool
) -> list[Node]:
    product = None if plain else as_product(equation, layout)
    if product is None:
        return build(equation, kind, layout, names, plain)
    at_low = {i: i.low for i in (*product.m, *product.n, *product.k)}
    operands = [product.a.xreplace(at_low), product.b.xreplace(at_low)]
    if start is not None:
        [fastest] = [i for i, s in layout.address(start).strides.items() if s == 1]
        operands.append(start.xreplace({fastest: fastest.low}))
    begin = "bias" if start is not None else "zero" if kind == "store" else "accumulate"
    call = Call(
        equation, "product", tuple(operands), equation.lhs.xreplace(at_low), begin == "accumulate",
        {"product": product, "start": begin},
    )  # fmt: skip
    nodes: list[Node] = [call]
    for index in reversed(product.batch):
        nodes = [make_loop(index, nodes, layout)]
    new = {i.name: names.index(i).name for i in product.batch}
    return [rename(node, new, layout) for node in nodes] if new else nodes


# --------------------------------------------------------------------------------------------- recurrences
def _recurrence(
    component: list[Equation],
    kinds: Mapping[Equation, str],
    layout: Layout,
    names: Names,
    plain: bool,
    fixed: tuple[Mapping[Tensor, int], ...],
) -> Node:
    """One loop over the slots of the shifted axis; inside, what has no shift left, scheduled again.

    `fixed` are the axes of the loops around: an access to another slot of one of those is no dependence in here."""
    axes, reverse = _shifted_axes(component, fixed)
    fixed = (*fixed, axes)
    ranges = [reach(e.lhs)[axes[e.tensor]] for e in component]
    low = _extreme([r[0] for r in ranges], smallest=True)
    high = _extreme([r[1] for r in ranges], smallest=False)
    slot = names.index(Index("t", high, low))
    body_equations: list[Equation] = []
    body_kinds: dict[Equation, str] = {}
    guards: dict[Equation, Boolean] = {}
    for equation in component:
        moved, guard = _at_slot(equation, axes[equation.tensor], slot)
        body_equations.append(moved)
        body_kinds[moved] = kinds[equation]
        guards[moved] = guard
    needs: dict[Equation, list[Equation]] = {}
    for equation in body_equations:
        found: dict[Equation, None] = {}
        for access in equation.reads():
            for writer in body_equations:
                if writer.tensor == access.tensor and _same_slots(access, writer, fixed) and overlap(writer.lhs, access):
                    found[writer] = None
        for writer in body_equations:  # who adds comes after who stores
            if writer.tensor == equation.tensor and body_kinds[equation] == "add" and body_kinds[writer] == "store":
                found[writer] = None
        needs[equation] = list(found)
    loop = Loop(slot, [], reverse=reverse, parallel=False)
    for inner in components(body_equations, needs):
        nodes = _component(inner, needs, body_kinds, {}, layout, names, plain, fixed)
        guard = sp.And(*(guards[e] for e in inner))
        for node in nodes if guard == True else [Guarded(guard, nodes)]:  # noqa: E712
            insert(loop.body, node, layout)
    return make_loop(slot, loop.body, layout, reverse=reverse, parallel=False)


def _extreme(values: Sequence[Expr], smallest: bool) -> Expr:
    best = values[0]
    for value in values[1:]:
        if at_least(best, value) if smallest else at_least(value, best):
            best = value
    return best


def _shifted_axes(component: Sequence[Equation], fixed: tuple[Mapping[Tensor, int], ...]) -> tuple[dict[Tensor, int], bool]:
    """For each tensor of a cycle the axis that is shifted; and whether slots run downwards."""
    tensors = list(dict.fromkeys(e.tensor for e in component))
    for axis in range(tensors[0].rank):
        axes = _spread_axis(component, tensors[0], axis)
        if axes is None:
            continue
        signs = {sp.sign(lag) for lag in _lags(component, axes, fixed)}
        if signs <= {Integer(0), Integer(1)} and Integer(1) in signs:
            return axes, False
        if signs <= {Integer(0), Integer(-1)} and Integer(-1) in signs:
            return axes, True
    cycle = "\n".join(f"  {e}" for e in component)
    raise ProgramError(f"these equations depend on each other in a cycle without a shift in one direction:\n{cycle}")


def _spread_axis(component: Sequence[Equation], first: Tensor, axis: int) -> dict[Tensor, int] | None:
    """Follow the shifted index from tensor to tensor through the equations of the cycle."""
    axes = {first: axis}
    changed = True
    while changed:
        changed = False
        for equation in component:
            accesses_ = [equation.lhs, *(a for a in equation.reads() if any(a.tensor == e.tensor for e in component))]
            known = [a for a in accesses_ if a.tensor in axes]
            for access in known:
                index = _plain(access.subscripts[axes[access.tensor]])
                if index is None:
                    continue
                for other in accesses_:
                    if other.tensor not in axes:
                        places = [k for k, s in enumerate(other.subscripts) if _plain(s) == index]
                        if not places:
                            return None
                        axes[other.tensor] = places[0]
                        changed = True
    return axes if all(e.tensor in axes for e in component) else None


def _plain(subscript: Expr) -> Index | None:
    parts: Affine | None = affine(subscript)
    return parts.plain if parts is not None else None


def _lags(
    component: Sequence[Equation], axes: Mapping[Tensor, int], fixed: tuple[Mapping[Tensor, int], ...]
) -> list[Expr]:
    """slot written - slot read, for every read inside the cycle; an access by another index fits no direction."""
    lags: list[Expr] = []
    for equation in component:
        written = equation.lhs.subscripts[axes[equation.tensor]]
        for access in equation.reads():
            writers = [w for w in component if w.tensor == access.tensor]
            if any(_same_slots(access, w, fixed) for w in writers):
                lag = written - access.subscripts[axes[access.tensor]]
                if lag.is_Integer:
                    lags.append(lag)
                else:
                    lags += [Integer(1), Integer(-1)]
    return lags


def _at_slot(equation: Equation, axis: int, slot: Index) -> tuple[Equation, Boolean]:
    """The equation for one slot (its index on the axis leaves the domain), and the condition under which it acts.

    Inside, the slot is known by the narrower range, so that reads are seen to stay in their tensors."""
    subscript = equation.lhs.subscripts[axis]
    parts = affine(subscript)
    index = parts.plain if parts is not None else None
    low, high = reach(equation.lhs)[axis]
    guard = sp.And(*([] if slot.low == low else [slot >= low]), *([] if slot.high == high else [slot < high]))
    narrow = Index(slot.name, high, low)
    if index is None:  # a constant slot, or one that the domain's indices decide
        lhs = Access(equation.tensor, *(narrow if k == axis else s for k, s in enumerate(equation.lhs.subscripts)))
        chosen = sp.true if subscript.is_number else sp.Eq(subscript, narrow)
        return replace(equation, lhs=lhs, where=sp.And(equation.where, chosen)), guard
    new = {index: narrow - parts.constant}
    domain = tuple(i for i in equation.domain if i != index)
    where = equation.where.xreplace(new)
    return Equation(equation.lhs.xreplace(new), domain, equation.rhs.xreplace(new), equation.op, where), guard


def _same_slots(access: Access, writer: Equation, fixed: tuple[Mapping[Tensor, int], ...]) -> bool:
    """The element of the same steps: subscripts agree but for the range that each side knows of a slot."""
    axes = [f[access.tensor] for f in fixed]
    return all(str(access.subscripts[a]) == str(writer.lhs.subscripts[a]) for a in axes)
