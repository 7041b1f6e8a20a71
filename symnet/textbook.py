"""Equations -> formulas as a textbook writes them: column vectors for each sample, matrices, sums over the samples.

In: a Program.  Out: for each tensor a Node (typeset.py).  Nothing is known of layers: products.py finds the matrix form
of an equation from its indices; where there is none (three axes, a shift, a gather) the formula is written with
indices.  Definitions that have no name in the book are put in the place of their readers: the adjoint of an activation,
a logsumexp, the parts of a sum.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property

import sympy as sp
from sympy import Basic, Expr

from compiler.functions import FUNCTIONS
from compiler.program import Access, Equation, Index, Program, Tensor, fresh_index, indices

from .assemble import Term, product, total
from .products import Terms
from .scalar import NoMatrixForm, Scalars
from .typeset import Element, Equal, Iverson, Name, Node, Over, Sum

PLAIN = re.compile(r"([azfs]|lse|part\d+_)\d*")  # a layer's values, whose adjoints need no name beside the deltas
PART = re.compile(r"part\d+_\d+")  # a reduction inside of an expression that the user wrote


class Book:
    """The formulas of a program."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._bodies: dict[Tensor, Node | None] = {}
        self._open: set[Tensor] = set()

    # ------------------------------------------------------------------------------------------ what there is
    @cached_property
    def rows(self) -> Expr | None:
        """The number of samples: the symbol that is the first axis of the data."""
        given = [t for t in self.program.tensors if t.role in ("input", "target") and t.rank]
        return next((t.shape[0] for t in given if t.shape[0].is_Symbol), None)

    @cached_property
    def place(self) -> dict[Tensor, int]:
        """Where a tensor is defined: what comes later stands further to the right in a product."""
        return {e.tensor: number for number, e in enumerate(self.program.equations)}

    @cached_property
    def readers(self) -> dict[Tensor, int]:
        count: dict[Tensor, int] = {}
        for equation in self.program.equations:
            for tensor in dict.fromkeys(a.tensor for a in equation.reads()):
                count[tensor] = count.get(tensor, 0) + 1
        return count

    @cached_property
    def by_name(self) -> dict[str, Tensor]:
        return {tensor.name: tensor for tensor in self.program.tensors}

    @cached_property
    def known_values(self) -> dict[Expr, tuple[Access, list[Index]]]:
        """f(z[n,i]) -> a[n,i], for each tensor whose element is a function of others at the same place."""
        table: dict[Expr, tuple[Access, list[Index]]] = {}
        for equations in self.program.definitions.values():
            equation = equations[0]
            plain = all(isinstance(s, Index) for s in equation.lhs.subscripts)
            if (
                len(equations) > 1
                or equation.op != "sum"
                or equation.bound
                or equation.where is not sp.true
                or not plain
            ):
                continue
            if isinstance(equation.rhs, FUNCTIONS):
                key, order = anonymous(equation.rhs)
                if set(order) == set(equation.lhs.subscripts):
                    table.setdefault(key, (equation.lhs, order))
        return table

    def known_value(self, expression: Expr, but: Tensor | None) -> Access | None:
        """The tensor whose element this is, if the program has one other than `but`."""
        key, order = anonymous(expression)
        found = self.known_values.get(key)
        if found is None or found[0].tensor == but:
            return None
        access, own = found
        return access.xreplace(dict(zip(own, order, strict=True)))

    def name(self, tensor: Tensor) -> Name:
        """Its name; the adjoint of X is called ∂R/∂X for a parameter, ∂ℓ/∂X else."""
        base = self.by_name.get(tensor.name[2:]) if tensor.name.startswith("d_") else None
        if base is None or tensor.role != "value":
            return Name(tensor.name)
        return Name(base.name, "R" if base.role == "parameter" else "ell")

    def samples(self, tensor: Tensor) -> bool:
        """Is the first axis that of the samples?"""
        return self.rows is not None and self.rows in tensor.shape[:1]

    # ------------------------------------------------------------------------------------------ formulas
    def formula(self, tensor: Tensor) -> Equal:
        """name = what defines it"""
        try:
            return Equal(self.name(tensor), self.body(tensor))
        except NoMatrixForm:
            return self._with_indices(tensor)

    def body(self, tensor: Tensor) -> Node:
        """The right-hand side in matrix form.  Raises NoMatrixForm."""
        if tensor in self._bodies:
            found = self._bodies[tensor]
            if found is None:
                raise NoMatrixForm
            return found
        if tensor in self._open:
            raise NoMatrixForm
        self._open.add(tensor)
        try:
            self._bodies[tensor] = None
            self._bodies[tensor] = node = self._body(tensor)
            return node
        finally:
            self._open.discard(tensor)

    def _body(self, tensor: Tensor) -> Node:
        equations = self.program.definitions[tensor]
        if equations[0].op == "sum":
            return total([term for equation in equations for term in Terms(self, equation).terms()])
        return Terms(self, equations[0]).reduction()

    def inlined(self, tensor: Tensor) -> Node | None:
        """What is written in the tensor's place, if it has no name of its own in the book."""
        if tensor.role != "value" or tensor in self.program.roots or tensor not in self.program.definitions:
            return None
        first, *more = self.program.definitions[tensor]
        if not (
            first.op == "logsumexp"
            or (tensor.rank == 0 and self.readers.get(tensor) == 1)
            or (tensor.name.startswith("d_") and (self.readers.get(tensor) == 1 or not (more or self._named(tensor))))
            or (PART.fullmatch(tensor.name))
        ):
            return None
        try:
            return self.body(tensor)
        except NoMatrixForm:
            return None

    def _named(self, adjoint: Tensor) -> bool:
        """Is it the adjoint of a tensor that has a name of its own, other than a layer's z and a?"""
        base = self.by_name.get(adjoint.name[2:])
        return (
            base is not None
            and base.role == "value"
            and re.fullmatch(r"([az]|f|s|lse|part\d+_)\d*|(ell|lse)_\w+", base.name) is None
        )

    # ------------------------------------------------------------------------------------------ with indices
    def _with_indices(self, tensor: Tensor) -> Equal:
        equations = self.program.definitions[tensor]
        own = letters(equations)
        title = self.name(tensor)
        left = Element(title, tuple(Name(i.name) for i in own)) if own else title
        return Equal(left, total([self._term_with_indices(equation, own) for equation in equations]))

    def _term_with_indices(self, equation: Equation, own: Sequence[Index]) -> Term:
        equation = aligned(equation, own)
        scalars = Scalars(self, None, equation.tensor)
        parts = [] if equation.where is sp.true else sorted(sp.And.make_args(equation.where), key=str)
        conditions = tuple(map(scalars.condition, parts))
        bound = tuple(i.name for i in equation.bound)
        sign, body = scalars.signed(equation.rhs)
        if not bound and equation.op == "sum":
            return Term(sign, None, product([*map(Iverson, conditions), body]))
        if sign < 0 and equation.op != "sum":
            sign, body = 1, Sum(((-1, body),))
        return Term(sign, None, Over(equation.op, bound, body, conditions))


# ---------------------------------------------------------------------------------------------- equations
def letters(equations: Sequence[Equation]) -> list[Index]:
    """An index for each axis of the left-hand side: the equations' own where they are plain."""
    own: list[Index] = []
    used = {i.name for e in equations for i in e.domain}
    spare = iter([letter for letter in "ijklmpqrsuvw" if letter not in used])
    for axis, extent in enumerate(equations[0].tensor.shape):
        plain = [e.lhs.subscripts[axis] for e in equations if isinstance(e.lhs.subscripts[axis], Index)]
        index = Index(plain[0].name if plain else next(spare, "i"), extent)
        own.append(fresh_index(index, {i.name for i in own}))
    return own


def aligned(equation: Equation, own: Sequence[Index]) -> Equation:
    """The equation with `own` as its left-hand subscripts; what else they said becomes part of the condition."""
    taken = {i.name for i in own}
    new: dict[Basic, Basic] = {}
    where: list[Basic] = []
    for subscript, index in zip(equation.lhs.subscripts, own, strict=True):
        if isinstance(subscript, Index) and subscript not in new:
            new[subscript] = index
            where += [sp.Ge(index, subscript.low)] if subscript.low != 0 else []
            where += [sp.Lt(index, subscript.high)] if subscript.high != index.high else []
    for index in equation.domain:
        if index not in new:
            new[index] = fresh_index(index, taken)
            taken.add(new[index].name)
    for subscript, index in zip(equation.lhs.subscripts, own, strict=True):
        if new.get(subscript) != index:
            where.append(sp.Eq(index, subscript.xreplace(new), evaluate=False))
    domain = (*own, *(new[i] for i in equation.domain if new[i] not in own))
    condition = sp.And(equation.where.xreplace(new), *where)
    return Equation(Access(equation.tensor, *own), domain, equation.rhs.xreplace(new), equation.op, condition)


def anonymous(expression: Expr) -> tuple[Expr, list[Index]]:
    """The expression with its indices numbered in order of appearance, and that order."""
    order = indices(expression)
    return expression.xreplace({i: i.named(f".{k}") for k, i in enumerate(order)}), order
