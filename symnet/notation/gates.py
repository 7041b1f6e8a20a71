"""Tensors whose equations each are of one number on an axis, such as the gates of a recurrent layer, line by line.

In: the book of a program and a tensor.  Out: a formula for each number, or none if the tensor is not such a one.
"""

from __future__ import annotations

from collections.abc import Sequence

from compiler.program import Equation, Index, Tensor

from .alignment import aligned
from .assemble import total
from .nodes import Equal
from .products import Terms
from .scalar import NoMatrixForm
from .textbook import Book


def by_steps(book: Book, tensor: Tensor) -> list[Equal]:
    """A formula for each number on an axis, if each equation is of one."""
    axes = [axis for axis in range(tensor.rank) if (tensor, axis) in book.stages]
    equations = book.program.definitions[tensor]
    for axis in axes if book.notation != "index" and len(equations) > 1 else ():
        at = [e.lhs.subscripts[axis] for e in equations]
        if not all(s.is_Integer for s in at):
            continue
        found = []
        for step in sorted(set(at)):
            own = [Index(i.name, i.high) for i in book.own(tensor)]
            own[axis] = own[axis].named("*")
            parts = [_at_step(book, e, axis, own) for e, s in zip(equations, at, strict=True) if s == step]
            try:
                right = total([term for part in parts for term in Terms(book, part).terms()])
            except NoMatrixForm:
                return []
            steps = [step if a == axis else own[a] for a in axes]
            found.append(Equal(book.staged(tensor, steps), right))
        return found
    return []


def _at_step(book: Book, equation: Equation, axis: int, own: Sequence[Index]) -> Equation:
    """The equation without the condition that says which step it is of."""
    free = own[axis]
    lhs = equation.tensor[tuple(free if k == axis else s for k, s in enumerate(equation.lhs.subscripts))]
    whole = Equation(lhs, (free, *equation.domain), equation.rhs, equation.op, equation.where)
    return aligned(book.read(whole), own)
