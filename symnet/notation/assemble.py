"""Formulas put together from parts: products, elementwise products, sums of terms.

In: Nodes, and the terms found in equations.  Out: Nodes without needless ones and brackets, for products.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .nodes import ONE, ONES, Hadamard, Name, Node, Number, Product, Sum


@dataclass(frozen=True, slots=True)
class Term:
    """sign * coefficient * body; None where there is nothing to write."""

    sign: int
    coefficient: Node | None
    body: Node | None

    @property
    def node(self) -> Node:
        front = [] if self.coefficient is None else [self.coefficient]
        return product(front) if self.body is None else scaled(front, self.body)


def product(factors: Sequence[Node]) -> Node:
    flat = [f for factor in factors for f in (factor.factors if isinstance(factor, Product) else (factor,))]
    flat = [f for f in flat if f != ONE] or [ONE]
    return flat[0] if len(flat) == 1 else Product(tuple(flat))


def scaled(scalars: Sequence[Node], node: Node) -> Node:
    """Scalars in front; of an elementwise product they go to its first factor."""
    if isinstance(node, Hadamard):
        return Hadamard((product([*scalars, node.factors[0]]), *node.factors[1:]))
    return product([*scalars, node])


def hadamard(factors: Sequence[Node]) -> Node:
    flat = [f for factor in factors for f in (factor.factors if isinstance(factor, Hadamard) else (factor,))]
    if not flat:
        return ONES
    return flat[0] if len(flat) == 1 else Hadamard(tuple(flat))


def total(terms: Sequence[Term]) -> Node:
    """The sum of the terms, positive ones first, a coefficient or first factor that all share in front."""
    terms = _fronted(_cancelled([part for term in terms for part in _spliced(term)]))
    if not terms:
        return Number("0")
    terms = sorted(terms, key=lambda term: term.sign < 0)
    shared = terms[0].coefficient
    if len(terms) > 1 and shared not in (None, ONE) and all(t.coefficient == shared and t.body for t in terms):
        sign = terms[0].sign
        inner = Sum(tuple((term.sign * sign, term.body) for term in terms if term.body is not None))
        assert shared is not None
        whole: Node = Product((shared, inner))
        return Sum(((-1, whole),)) if sign < 0 else whole
    written = tuple((t.sign, t.node) for t in terms)
    return written[0][1] if len(written) == 1 and written[0][0] > 0 else Sum(written)


def _fronted(terms: Sequence[Term]) -> Sequence[Term]:
    """The first factor as the coefficient, where all terms have the same: w softmax(z) - w y = w (softmax(z) - y)."""
    parts = [
        (term.sign, term.body.factors[0], product(term.body.factors[1:]))
        for term in terms
        if term.coefficient is None and isinstance(term.body, Product)
    ]
    shared = isinstance(parts[0][1], Name) and {front for _, front, _ in parts} == {parts[0][1]} if parts else False
    return [Term(*part) for part in parts] if shared and 1 < len(terms) == len(parts) else terms


def _cancelled(terms: Sequence[Term]) -> list[Term]:
    """Without pairs of a term and its opposite."""
    left: list[Term] = []
    for term in terms:
        opposite = Term(-term.sign, term.coefficient, term.body)
        if opposite in left:
            left.remove(opposite)
        else:
            left.append(term)
    return left


def _spliced(term: Term) -> list[Term]:
    """A sum that was put in the place of a name is part of this sum."""
    if term.coefficient in (None, ONE) and isinstance(term.body, Sum):
        return [Term(term.sign * sign, None, body) for sign, body in term.body.terms]
    return [term]
