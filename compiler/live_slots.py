"""Recurrences make only the slots that somebody reads, and keep in memory only those that somebody still reads.

In: a program, or the tree of its loops.  `drop_unread`: slots at the ends of a tensor that nobody reads are not made,
as the gradient of a network's input.  `single_slots`: a tensor each of whose slots is read no later than in the step
that makes the next one takes the place of one slot: what flows backward through a hundred layers stays in the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sympy import Expr, Integer

from .dependence import loop_axes
from .graph import at_least, reach
from .layout import Layout
from .nest import Loop, Node, effects
from .program import Access, Program, Tensor, affine


# ---------------------------------------------------------------------------------------------- in the language
def drop_unread(program: Program) -> Program:
    """Tensors of cycles without the slots at their ends that nobody reads."""
    reads: dict[Tensor, list[Access]] = {}
    for equation in program.equations:
        for access in equation.reads():
            reads.setdefault(access.tensor, []).append(access)
    change: dict[Tensor, tuple[Tensor, int, Expr]] = {}
    for tensor, (axis, *_) in loop_axes(program.equations).items():
        if tensor in program.roots:
            continue
        ends = [reach(access)[axis] for access in reads[tensor]]
        low = next((a for a, _ in ends if all(at_least(b, a) for b, _ in ends)), Integer(0))
        high = next((b for _, b in ends if all(at_least(b, c) for _, c in ends)), tensor.shape[axis])
        low = low if at_least(low, Integer(0)) else Integer(0)
        high = high if at_least(tensor.shape[axis], high) else tensor.shape[axis]
        if (low, high) != (0, tensor.shape[axis]):
            shape = (*tensor.shape[:axis], high - low, *tensor.shape[axis + 1 :])
            change[tensor] = (Tensor(tensor.name, shape, tensor.role, tensor.kind), axis, low)

    def moved(access: Access) -> Access:
        if access.tensor not in change:
            return access
        tensor, axis, low = change[access.tensor]
        return Access(tensor, *(s - low if k == axis else s for k, s in enumerate(access.subscripts)))

    return program.with_equations(e.with_accesses(moved) for e in program.equations) if change else program


# ---------------------------------------------------------------------------------------------- in memory
@dataclass(frozen=True, slots=True)
class _Touch:
    """An access of a tensor: its node of the tree, that of a loop over steps; its slot: step + shift, or a number."""

    node: int
    child: int
    shift: Expr | None
    number: Expr | None


def single_slots(body: Sequence[Node], layout: Layout, keep: set[Tensor]) -> set[str]:
    """The names of tensors for which one slot of the axis that is stored slowest is enough."""
    written: dict[Tensor, list[_Touch]] = {}
    read: dict[Tensor, list[_Touch]] = {}
    loops: dict[int, Loop] = {}
    for number, node in enumerate(body):
        parts: Sequence[Node] = [node]
        loop = node if isinstance(node, Loop) and not node.parallel and node.row is None else None
        if loop is not None:
            parts, loops[number] = loop.body, loop
        for child, part in enumerate(parts):
            for table, found in zip((read, written), effects(part, layout), strict=True):
                for place, accesses in found.items():
                    if isinstance(place, Tensor) and place.rank > 1:
                        touches = (_touch(number, child, access, loop, layout) for access in accesses)
                        table.setdefault(place, []).extend(touches)
    shared = {*layout.owner, *layout.owner.values()}
    return {
        t.name
        for t in written
        if t.role == "value" and t not in keep and t not in shared
        if _one_is_enough(written[t], read.get(t, []), loops)
    }


def _touch(node: int, child: int, access: Access, loop: Loop | None, layout: Layout) -> _Touch:
    parts = affine(access.subscripts[layout.axes(access.tensor)[0]])
    if parts is not None and not parts.gathers:
        if not parts.terms:
            return _Touch(node, child, None, parts.constant)
        if loop is not None and parts.plain is not None and parts.plain.name == loop.index.name:
            return _Touch(node, child, parts.constant, None)
    return _Touch(node, child, None, None)


def _one_is_enough(written: Sequence[_Touch], read: Sequence[_Touch], loops: dict[int, Loop]) -> bool:
    homes = {t.node for t in written if t.shift is not None}
    if len(homes) != 1:
        return False
    [home] = homes
    writers = [t for t in written if t.node == home]
    shift = writers[0].shift
    if shift is None or any(t.shift != shift for t in writers):
        return False
    back = -1 if not loops[home].reverse else 1  # from a slot to the one that was made before it
    for touch in read:
        if touch.node == home:
            after = touch.shift == shift and all(touch.child >= w.child for w in writers)
            before = touch.shift == shift + back and all(touch.child < w.child for w in writers)
            if touch.shift is None or not (after or before):
                return False
    first, last = loops[home].index.low + shift, loops[home].index.high - 1 + shift
    if loops[home].reverse:
        first, last = last, first
    starts = {t.number for t in (*written, *read) if t.node < home}
    ends = {t.number for t in read if t.node > home}
    if any(t.node > home for t in written) or None in starts | ends:
        return False
    # where the writer acts from the second step on, the first slot is made before the loop
    return len(starts) <= 1 and starts <= {first, first + back} and ends <= {last}
