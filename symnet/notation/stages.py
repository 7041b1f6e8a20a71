"""The axes along which recurrences run: time, or the number of a layer; and those that number matrices, such as gates.

In: a Program.  Out: (tensor, axis) pairs.  A textbook does not write such an axis as one of a vector: h[t,n,i] is the
vector h at the step t.
"""

from __future__ import annotations

from collections.abc import Iterable

from compiler.graph import strongly_connected
from compiler.program import Equation, Index, Program, Tensor, affine, outer_accesses

Axis = tuple[Tensor, int]


def stages(program: Program, pairs: Iterable[tuple[Tensor, Tensor]] = ()) -> frozenset[Axis]:
    """The axes that are shifted in a recurrence, and those that meet them under one index.

    pairs: tensors with the same axes, such as a tensor and its adjoint.
    """
    links = [group for equation in program.equations for group in _met(equation)]
    links += [[(one, axis), (other, axis)] for one, other in pairs for axis in range(one.rank)]
    found = _closed(_shifted(program), links)
    parts = _closed(_numbered(program) - found, links)
    # W[q,i,j] is the matrix W of the gate q; an axis of a vector or matrix stays one
    if any(t.role == "parameter" and t.rank - sum((t, a) in found for a in range(t.rank)) > 2 for t, _ in parts):
        found |= parts
    return frozenset(found)


def _closed(found: set[Axis], links: list[list[Axis]]) -> set[Axis]:
    while found:
        more = {axis for group in links if not found.isdisjoint(group) for axis in group} - found
        if not more:
            break
        found = found | more
    return found


def _numbered(program: Program) -> set[Axis]:
    """The axes on which reads name one place, such as the gates of a recurrent layer."""
    found: set[Axis] = set()
    for equation in program.equations:
        for access in outer_accesses(equation.rhs):
            found |= {(access.tensor, axis) for axis, s in enumerate(access.subscripts) if s.is_Integer}
    return found


def _shifted(program: Program) -> set[Axis]:
    definitions = program.definitions
    needs = {t: [a.tensor for e in es for a in e.reads() if a.tensor in definitions] for t, es in definitions.items()}
    found: set[Axis] = set()
    for group in strongly_connected(list(definitions), needs):
        if len(group) == 1 and group[0] not in needs[group[0]]:
            continue
        inside = set(group)
        for equation in (e for tensor in group for e in definitions[tensor]):
            for access in equation.reads():
                if access.tensor in inside:
                    found |= _steps(equation, access.tensor, access.subscripts)
    return found


def _steps(equation: Equation, tensor: Tensor, subscripts: tuple) -> set[Axis]:
    """Both ends of each step from one element to another."""
    found: set[Axis] = set()
    for axis, written in enumerate(map(affine, equation.lhs.subscripts)):
        for place, read in enumerate(map(affine, subscripts)):
            if written is None or read is None or written.plain is None or written.plain != read.plain:
                continue
            if written.constant != read.constant:
                found |= {(equation.tensor, axis), (tensor, place)}
    return found


def _met(equation: Equation) -> list[list[Axis]]:
    """The axes on which each index stands; a parameter's only where the index is on the left."""
    by_index: dict[Index, list[Axis]] = {}
    left = set(equation.free)
    for access in (equation.lhs, *outer_accesses(equation.rhs)):
        for axis, form in enumerate(map(affine, access.subscripts)):
            if form is None or form.plain is None:
                continue
            if access.tensor.role == "parameter" and form.plain not in left:
                continue
            by_index.setdefault(form.plain, []).append((access.tensor, axis))
    return list(by_index.values())
