"""Scalar expressions as they are written: what stands inside one element of an equation.

In: a SymPy expression over accesses.  Out: a Node.  Within a formula of vectors every operation is meant element by
element: a product of two vectors is ⊙, a function acts on each element; a Piecewise is written with Iverson brackets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import sympy as sp
from sympy import Basic, Expr
from sympy.core.relational import Relational

from compiler.functions import FUNCTIONS, expm1, log1p, logistic
from compiler.program import Access, Index, Tensor, indices, outer_accesses

from .assemble import Term, product
from .nodes import (
    ONE,
    Call,
    Cases,
    Element,
    Fraction,
    Hadamard,
    Iverson,
    Logic,
    Name,
    Node,
    Number,
    Over,
    Power,
    Product,
    Relation,
    Sum,
)
from .pieces import Piece, intervals, named
from .reduction import Applied, Reduction

if TYPE_CHECKING:
    from .products import Terms
    from .textbook import Book

SIGNS = {
    sp.Eq: "=", sp.Ne: "!=", sp.StrictLessThan: "<", sp.LessThan: "<=", sp.StrictGreaterThan: ">", sp.GreaterThan: ">=",
}  # fmt: skip


class NoMatrixForm(Exception):
    """The equation is not a product of matrices and vectors: it is written with indices."""


class Scalars:
    """Expressions of one equation.  Without `terms` every access is written with its subscripts."""

    def __init__(self, book: Book, terms: Terms | None, tensor: Tensor, context: tuple[Index, ...] = ()) -> None:
        self.book, self.terms, self.tensor, self.context = book, terms, tensor, context
        self.own: tuple[Index, ...] = ()  # the indices on the left, but for that of the samples

    def node(self, expression: Expr) -> Node:
        """The expression; inside it, a value that has a name is written by its name."""
        match expression:
            case Access():
                return self._access(expression)
            case Index():
                if self.terms is not None:
                    raise NoMatrixForm
                return Name(expression.name)
            case sp.Integer() | sp.Float() | sp.Rational():
                return self._number(expression)
            case sp.Symbol() | sp.NumberSymbol():
                return Name(str(expression))
            case sp.Add():
                return self._sum(expression)
            case sp.Mul():
                return self._product(expression)
            case sp.Pow():
                return self._power(expression)
            case sp.Piecewise():
                return self._pieces(expression)
            case Applied():
                return Call(expression.letter, (self.node(expression.argument),))
            case Reduction():
                conditions = [] if expression.where is sp.true else sorted(sp.And.make_args(expression.where), key=str)
                written = tuple(map(self.condition, conditions))
                term = self.reduction(expression.op, expression.expression, expression.bound, written)
                return term.node if term.sign > 0 else Sum(((-1, term.node),))
            case _:
                return self._function(expression)

    def signed(self, expression: Expr) -> tuple[int, Node]:
        """(sign, the expression without it)"""
        number, _ = expression.as_coeff_Mul()
        return (-1, self.node(-expression)) if number.is_negative else (1, self.node(expression))

    def coefficient(self, expression: Expr) -> tuple[int, Node | None]:
        """(sign, the scalar without it, None for 1)"""
        sign, node = self.signed(expression)
        return sign, None if node == ONE else node

    def condition(self, condition: Basic) -> Node:
        match condition:
            case sp.And() | sp.Or():
                word = "and" if isinstance(condition, sp.And) else "or"
                return Logic(word, tuple(self.condition(c) for c in sorted(condition.args, key=str)))
            case sp.Not():
                return Logic("not", (self.condition(condition.args[0]),))
            case Relational():
                left, right = condition.args
                return Relation(SIGNS[type(condition)], self.node(left), self.node(right))
        return Name(str(condition))

    # ------------------------------------------------------------------------------------------ terms with indices
    def ordered(self, expression: Expr) -> list[Expr]:
        """The summands in the order in which they are written."""
        return sorted(sp.Add.make_args(expression), key=lambda part: (self.book.rank(part), str(part)))

    def term(self, expression: Expr, brackets: tuple[Node, ...] = ()) -> Term:
        front, rest = self._taken_apart(expression)
        sign, coefficient = self.coefficient(front)
        inner_sign, body = self.signed(rest)
        if body == ONE and not brackets and coefficient is not None:
            return Term(sign * inner_sign, coefficient, None)
        return Term(sign * inner_sign, coefficient, product([*brackets, body]))

    def _taken_apart(self, expression: Expr) -> tuple[Expr, Expr]:
        """(what is the same for all elements: numbers, sizes, hyper-parameters; the rest)"""
        front: list[Expr] = []
        rest: list[Expr] = []
        for factor in sp.Mul.make_args(expression):
            alone = not factor.has(Index) and all(a.tensor.role == "hyper" for a in factor.atoms(Access))
            (front if alone else rest).append(factor)
        return sp.Mul(*front), sp.Mul(*rest)

    def reduction(self, op: str, rhs: Expr, bound: Sequence[Index], conditions: tuple[Node, ...]) -> Term:
        """op over the bound indices; a number that all summands share stands in front of a sum."""
        names = tuple(i.name for i in bound)
        if op != "sum":
            return Term(1, None, Over(op, names, self.node(rhs), conditions))
        front, rest = self._taken_apart(rhs)
        sign, coefficient = self.coefficient(front)
        inner_sign, body = self.signed(rest)
        if not bound:
            return Term(sign * inner_sign, coefficient, product([*map(Iverson, conditions), body]))
        return Term(sign * inner_sign, coefficient, Over(op, names, body, conditions))

    # ------------------------------------------------------------------------------------------ kinds of nodes
    def _access(self, access: Access) -> Node:
        if self.terms is not None:
            return self.terms.access(access, self.context)
        if self.book.notation != "index" and self.book.inlined(access.tensor) == ONE:
            return ONE
        name = self.book.name(access.tensor)
        return Element(name, tuple(self.node(s) for s in access.subscripts)) if access.subscripts else name

    def _number(self, number: Expr) -> Node:
        if number.is_negative:
            return Sum(((-1, self._number(-number)),))
        if number.is_Rational and not number.is_Integer and not is_long(number):
            return Fraction(Number(str(number.p)), Number(str(number.q)))
        return Number(str(number) if number.is_Integer else repr(float(number)))

    def _is_vector(self, expression: Expr) -> bool:
        return self.terms is not None and any(i in self.context for i in indices(expression))

    def _sum(self, expression: Expr) -> Node:
        def order(term: Expr) -> tuple:
            negative = bool(term.as_coeff_Mul()[0].is_negative)
            place = self.book.rank(term)
            return negative, subscript and term.is_number, place, str(term)

        subscript = self.terms is None and expression.is_integer  # i + 1, but 1 + z

        terms: list[tuple[int, Node]] = []
        for sign, node in (self.signed(term) for term in sorted(expression.args, key=order)):
            inner = node.terms if isinstance(node, Sum) else ((1, node),)
            terms += [(sign * own, part) for own, part in inner]
        return Sum(tuple(terms))

    def _product(self, expression: Expr) -> Node:
        sign, expression = (-1, -expression) if expression.as_coeff_Mul()[0].is_negative else (1, expression)
        above, below = [], []
        for factor in sp.Mul.make_args(expression):
            if factor.is_Rational and not factor.is_Integer and not is_long(factor):
                above.append(sp.Integer(factor.p))
                below.append(sp.Integer(factor.q))
            elif factor.is_Pow and factor.exp.as_coeff_Mul()[0].is_negative:
                below.append(1 / factor)
            else:
                above.append(factor)
        top = self._side_by_side([f for f in above if f != 1])
        node = Fraction(top or ONE, self._side_by_side(below) or ONE) if below else top or ONE
        return Sum(((-1, node),)) if sign < 0 else node

    def _side_by_side(self, factors: list[Expr]) -> Node | None:
        def order(factor: Expr) -> tuple:
            place = self.book.rank(factor)
            if self.terms is None:  # W[i,j] x[n,j] and delta[n,i] x[n,j] as the left side names them
                seen = indices(factor)
                first = min((k for k, index in enumerate(self.own) if index in seen), default=len(self.own))
                if "[" in self.tensor.name:  # one element of a gradient
                    first = not any(self.book.base(a.tensor) for a in outer_accesses(factor))
                learned = isinstance(factor, Access) and factor.tensor.role == "parameter"
                return not factor.is_number, bool(seen), not learned, first, place, weight(factor), str(factor)
            return not factor.is_number, place, weight(factor), str(factor)

        factors = sorted(factors, key=order)
        scalars = [node for node in (self.node(f) for f in factors if not self._is_vector(f)) if node != ONE]
        vectors = [self.node(f) for f in factors if self._is_vector(f)]
        if len(vectors) > 1:
            front = Product((*scalars, vectors[0])) if scalars else vectors[0]
            return Hadamard((front, *vectors[1:]))
        whole = [
            part for node in (*scalars, *vectors) for part in (node.factors if isinstance(node, Product) else (node,))
        ]
        if not whole:
            return ONE if factors else None
        return whole[0] if len(whole) == 1 else Product(tuple(whole))

    def _power(self, expression: Expr) -> Node:
        base, exponent = expression.base, expression.exp
        if exponent.as_coeff_Mul()[0].is_negative:
            return Fraction(ONE, self.node(1 / expression))
        return Power(self.node(base), self.node(exponent), len(self.context) == 2)

    def _function(self, expression: Expr) -> Node:
        if isinstance(expression, FUNCTIONS):
            known = self.book.known_value(expression, self.tensor)
            if known is not None:
                return self._access(known)
            argument = expression.args[0]
            if isinstance(expression, sp.exp):
                found = (
                    self.terms.softmax(argument, self.context) if self.terms is not None else self._softmax(argument)
                )
                if found is not None:
                    return found
            if isinstance(expression, logistic) and argument.could_extract_minus_sign():
                return Sum(((1, ONE), (-1, self.node(logistic(-argument)))))
        if isinstance(expression, (expm1, log1p)):
            return self.node(type(expression).definition(argument))
        return Call(expression.func.__name__, tuple(self.node(a) for a in expression.args))

    def _softmax(self, exponent: Expr) -> Node | None:
        """exp(z[n,k] - s[n]) where s is the logsumexp over k of z[n,k]: an element of softmax(z[n])"""
        found = self.book.logsumexp_in(exponent)
        if found is None:
            return None
        index, net = found
        if not isinstance(net, Access) or net.subscripts[-1] != index or net.subscripts.count(index) > 1:
            return None
        *front, last = (self.node(s) for s in net.subscripts)
        row = Element(self.book.name(net.tensor), tuple(front)) if front else self.book.name(net.tensor)
        return Element(Call("softmax", (row,)), (last,))

    def _pieces(self, expression: sp.Piecewise) -> Node:
        """max, min, | |, sign, or a sum of pieces, each with the bracket that says where it holds"""
        pairs = [(pair.expr, pair.cond) for pair in expression.args]
        if len(pairs) == 2 and isinstance(pairs[0][1], Relational):
            found = self._extreme(pairs[0][0], pairs[0][1], pairs[1][0])
            if found is not None:
                return found
        brackets: list[tuple[Expr, Node]] = []
        found_intervals = intervals(expression)
        if found_intervals is not None:
            quantity, pieces = found_intervals
            known = named(quantity, pieces)
            if known is not None:
                factor, name, arguments = known
                return self._times(factor, self._called(name, arguments))
            where: dict[Expr, list[Node]] = {}
            for piece in pieces:
                where.setdefault(piece.value, []).append(self._between(quantity, piece))
            if len(pieces) == 3 and pieces[1].low == pieces[1].high and pieces[0].value == pieces[2].value:
                where[pieces[0].value] = [Relation("!=", self.node(quantity), self._number(pieces[1].low))]
            brackets = [
                (value, Iverson(parts[0] if len(parts) == 1 else Logic("or", tuple(parts))))
                for value, parts in where.items()
                if value != 0
            ]
        else:
            excluded: list[Basic] = []
            for value, holds in pairs:
                condition = sp.And(*excluded, holds)
                excluded.append(sp.Not(holds))
                if value != 0 and condition is not sp.false:
                    brackets.insert(0, (value, Iverson(self.condition(condition))))
        terms: list[tuple[int, Node]] = []
        for value, bracket in brackets:
            sign, node = self.signed(value)
            if node == ONE:
                node = bracket
            elif self._is_vector(value):
                node = Hadamard((bracket, *(node.factors if isinstance(node, Hadamard) else (node,))))
            else:
                node = Product((*(node.factors if isinstance(node, Product) else (node,)), bracket))
            terms.append((sign, node))
        terms.sort(key=lambda term: term[0] < 0)
        if not terms:
            return Number("0")
        return terms[0][1] if len(terms) == 1 and terms[0][0] > 0 else Sum(tuple(terms))

    def cases(self, expression: Expr) -> Node:
        """The expression; pieces of one quantity, if it is made of them, one below the other."""
        node, found = self.node(expression), None
        if isinstance(expression, sp.Piecewise) and isinstance(node, (Sum, Product)):
            found = intervals(expression)
        if found is None or named(*found) is not None:
            return node
        quantity, pieces = found
        return Cases(tuple((self.node(piece.value), self._between(quantity, piece)) for piece in pieces))

    def _times(self, factor: Expr, node: Node) -> Node:
        if factor == 1:
            return node
        front = self.node(factor)
        return Hadamard((node, front)) if self._is_vector(factor) else Product((front, node))

    def _called(self, name: str, arguments: tuple[Expr, ...]) -> Node:
        nodes = tuple(self.node(a) for a in arguments)
        return Call("max", (nodes[0], Call("min", nodes[1:]))) if name == "clip" else Call(name, nodes)

    def _between(self, quantity: Expr, piece: Piece) -> Node:
        def compared(sign: str, end: Expr) -> Node:
            if end == 0 and quantity.is_Add and len(quantity.args) == 2:  # y > z, not y - z > 0
                plus, minus = sorted(quantity.args, key=lambda term: bool(term.as_coeff_Mul()[0].is_negative))
                if minus.as_coeff_Mul()[0].is_negative and not plus.as_coeff_Mul()[0].is_negative:
                    return Relation(sign, self.node(plus), self.node(-minus))
            return Relation(sign, self.node(quantity), self._number(end))

        if piece.low is None or piece.high is None:
            end, closed = (piece.high, piece.with_high) if piece.low is None else (piece.low, piece.with_low)
            sign = "<" if piece.low is None else ">"
            return compared(sign + "=" * closed, end) if end is not None else Name("true")
        if piece.is_point:
            return compared("=", piece.low)
        low = Relation("<" + "=" * piece.with_low, self._number(piece.low), self.node(quantity))
        return Relation("<" + "=" * piece.with_high, low, self._number(piece.high))

    def _extreme(self, one: Expr, where: Relational, other: Expr) -> Node | None:
        """`one` where it is at most (at least) `other`, else `other`"""
        less = isinstance(where, (sp.StrictLessThan, sp.LessThan))
        if not less and not isinstance(where, (sp.StrictGreaterThan, sp.GreaterThan)):
            return None
        left, right = where.args
        if one == -other and right == 0 and left in (one, other):
            if less == (left == other):
                return Call("abs", (self.node(other),))
            return None
        if {left, right} != {one, other}:
            return None
        # other <= one gives one: the larger
        larger = less == (left == other)
        arguments = sorted((one, other), key=lambda e: (not e.is_number, str(e)))
        return Call("max" if larger else "min", tuple(self.node(a) for a in arguments))


def is_long(number: Expr) -> bool:
    """Is a decimal easier to read than the fraction?"""
    return max(abs(number.p), number.q) > 999


def weight(factor: Expr) -> int:
    """Within a product: indices, tensors, functions, then what needs brackets; 1 - σ(z) after σ(z)."""
    if isinstance(factor, (Index, Access)):
        return 0 if isinstance(factor, Access) else -1
    if factor.is_Pow and isinstance(factor.base, Access):
        return 0
    if isinstance(factor, logistic) and factor.args[0].could_extract_minus_sign():
        return 3
    return 1 if isinstance(factor, (*FUNCTIONS, Applied)) else 2
