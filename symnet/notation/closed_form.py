"""One formula with all that it names written out, as far as it stays readable.

In: a program, a tensor, a notation, the most signs that the formula may have.  Out: the formula and the names that are
left in it although the program defines them: those whose definition would make it too long, or is a recurrence.
"""

from __future__ import annotations

from compiler.program import Program, Tensor

from .nodes import Equal, names, size
from .textbook import Book

MOST = 150  # signs of a formula: about three lines


class Whole(Book):
    """The book in which some tensors are written by what defines them."""

    def __init__(self, program: Program, notation: str, whole: frozenset[Tensor]) -> None:
        super().__init__(program, notation)
        self.whole = whole

    def nameless(self, tensor: Tensor) -> bool:
        return tensor in self.whole or super().nameless(tensor)


def closed_form(program: Program, tensor: Tensor, notation: str, most: int = MOST) -> tuple[Equal, list[Tensor]]:
    """The formula of a tensor with everything in it written out, the latest definition first; what is left."""
    whole: frozenset[Tensor] = frozenset()
    left: list[Tensor] = []
    book = Whole(program, notation, whole)
    by_title = {(name.text, name.derivative): t for t in program.definitions for name in [book.name(t)]}
    formula = book.formula(tensor)
    while True:
        titles = dict.fromkeys((name.text, name.derivative) for name in names(formula.right))
        named = [by_title[title] for title in titles if title in by_title and by_title[title] != tensor]
        open_ = [other for other in named if other not in left]
        if not open_:
            return formula, sorted((t for t in left if t in named), key=book.place.__getitem__)
        latest = max(open_, key=book.place.__getitem__)
        if latest in whole or latest in book.recurrent:
            left.append(latest)
            continue
        longer = Whole(program, notation, whole | {latest}).formula(tensor)
        if size(longer) > most:
            left.append(latest)
            continue
        whole, formula = whole | {latest}, longer
