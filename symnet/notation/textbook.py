"""Equations -> formulas as a textbook writes them: column vectors for each sample, matrices, sums over the samples.

In: a Program.  Out: for each tensor a Node (nodes.py).  Nothing is known of layers: products.py finds the matrix form
of an equation from its indices; where there is none (three axes, a shift, a gather) the formula is written with
indices.  Definitions that have no name in the book are put in the place of their readers: the adjoint of an activation,
a logsumexp, the parts of a sum.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import sympy as sp
from sympy import Basic, Expr

from compiler.functions import FUNCTIONS, logistic
from compiler.graph import strongly_connected
from compiler.program import Access, Equation, Index, Program, Tensor, affine, in_range, indices, outer_accesses

from .alignment import aligned, apart, letters
from .assemble import Term, total
from .nodes import Element, Equal, Iverson, Name, Node, bound_letters
from .products import Terms
from .reduction import at, element
from .scalar import NoMatrixForm, Scalars
from .stages import stages

PLAIN = re.compile(r"([azfs]|lse|part\d+_)\d*")  # a layer's values, whose adjoints need no name beside the deltas
PART = re.compile(r"part\d+_\d+")  # a reduction inside of an expression that the user wrote


class Book:
    """The formulas of a program.

    notation: "textbook": column vectors of one sample; "matrix": matrices with a row for each sample; "index".
    """

    def __init__(self, program: Program, notation: str = "textbook") -> None:
        self.program = program
        self.notation = notation
        self._bodies: dict[Tensor, Node | None] = {}
        self.open: set[Tensor] = set()

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

    def rank(self, expression: Expr) -> int:
        """The place of the last definition in it."""
        return max((self.place.get(a.tensor, -1) for a in outer_accesses(expression)), default=-2)

    def logsumexp_in(self, exponent: Expr) -> tuple[Index, Expr] | None:
        """(k, z[n,k]) if the exponent is z[n,k] - s[n] and s[n] is the logsumexp over k of z[n,k]"""
        for term in exponent.args if exponent.is_Add else ():
            read = -term
            if not isinstance(read, Access) or read.tensor not in self.program.definitions:
                continue
            (equation, *more) = self.program.definitions[read.tensor]
            if equation.op != "logsumexp" or more or equation.where is not sp.true or len(equation.bound) != 1:
                continue
            if equation.bound[0] not in indices(equation.rhs):
                continue
            new: dict[Basic, Basic] = dict(zip(equation.lhs.subscripts, read.subscripts, strict=True))
            net = exponent - term
            for index in indices(net):
                same = index.args[1:] == equation.bound[0].args[1:]
                if same and equation.rhs.xreplace({**new, equation.bound[0]: index}) == net:
                    return index, net
        return None

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
        base = self.by_name.get(tensor.name[2:].split("[")[0]) if tensor.name.startswith("d_") else None
        capital = self.notation == "matrix" and self.rows in tensor.shape and self.flat_rank(tensor) > 1
        if base is None or tensor.role != "value":
            return Name(tensor.name, capital=capital)
        if "[" in tensor.name:  # one element
            return Name(tensor.name[2:], "R")
        return Name(base.name, "R" if base.role == "parameter" else "ell", capital=capital)

    def flat_rank(self, tensor: Tensor) -> int:
        """The number of its axes that are written as those of a vector or matrix."""
        return tensor.rank - sum((tensor, axis) in self.stages for axis in range(tensor.rank))

    def samples(self, tensor: Tensor) -> bool:
        """Is there an axis of the samples, which is not written?"""
        return self.sample_axis(tensor) is not None

    def sample_axis(self, tensor: Tensor) -> int | None:
        if self.notation == "matrix" or self.rows is None:
            return None
        flat = [axis for axis in range(tensor.rank) if (tensor, axis) not in self.stages]
        return flat[0] if flat and tensor.shape[flat[0]] == self.rows else None

    @cached_property
    def stages(self) -> frozenset[tuple[Tensor, int]]:
        """(tensor, axis) for each axis along which a recurrence runs, or what it reads and writes."""
        pairs = [(tensor, base) for tensor in self.program.tensors if (base := self.base(tensor)) is not None]
        return stages(self.program, pairs)

    def own(self, tensor: Tensor) -> list[Index]:
        """The indices of its element: those of its definition; of an adjoint those of the tensor that it is for."""
        if tensor not in self._own:
            base = self.base(tensor)
            of = self.program.definitions.get(base or tensor) or self.program.definitions[tensor]
            found = letters(of)
            if base is not None and base not in self.program.definitions:
                plain = next((a for a in self._plain_reads if a.tensor == base), None)
                found = [i.named(i.name) for i in plain.subscripts] if plain is not None else letters(of)
            same = [i.named(i.name) for i in found]
            for axis in range(tensor.rank):
                if (tensor, axis) in self.levels and "l" not in [i.name for i in same]:
                    same[axis] = same[axis].named("l")
            self._own[tensor] = [Index(i.name, extent) for i, extent in zip(same, tensor.shape, strict=True)]
        return self._own[tensor]

    @cached_property
    def recurrent(self) -> frozenset[Tensor]:
        """The tensors that a recurrence goes through."""
        definitions = self.program.definitions
        needs = {
            t: [a.tensor for e in es for a in e.reads() if a.tensor in definitions] for t, es in definitions.items()
        }
        groups = strongly_connected(list(definitions), needs)
        return frozenset(t for group in groups for t in group if len(group) > 1 or t in needs[t])

    @cached_property
    def _own(self) -> dict[Tensor, list[Index]]:
        return {}

    @cached_property
    def _plain_reads(self) -> list[Access]:
        """Reads of whole parameters, whose letters are those of their gradients, too."""
        reads = (a for e in self.program.equations for a in outer_accesses(e.rhs) if a.tensor.role == "parameter")
        return [
            a
            for a in reads
            if all(isinstance(s, Index) for s in a.subscripts) and len(set(a.subscripts)) == a.tensor.rank
        ]

    def base(self, adjoint: Tensor) -> Tensor | None:
        """What a tensor is the adjoint of, by its name: z1 of delta1, X of d_X."""
        name = adjoint.name
        of = f"z{name[5:]}" if name.startswith("delta") else name[2:] if name.startswith("d_") else ""
        found = self.by_name.get(of)
        return found if found is not None and found.shape == adjoint.shape else None

    # ------------------------------------------------------------------------------------------ formulas
    def formula(self, tensor: Tensor) -> Equal:
        """name = what defines it"""
        if self.notation == "index":
            return self._with_indices(tensor)
        try:
            body = self.body(tensor)
        except NoMatrixForm:
            return self._with_indices(tensor)
        own = self.own(tensor)
        steps = [own[axis] for axis in range(tensor.rank) if (tensor, axis) in self.stages]
        return Equal(self.staged(tensor, steps), body)

    @cached_property
    def levels(self) -> frozenset[tuple[Tensor, int]]:
        """Of the stages those that are numbers of layers: the ones that an index l names."""
        found = {
            (access.tensor, axis)
            for equation in self.program.equations
            for access in (equation.lhs, *outer_accesses(equation.rhs))
            for axis, subscript in enumerate(access.subscripts)
            if (access.tensor, axis) in self.stages and any(i.name == "l" for i in indices(subscript))
        }
        return frozenset(found)

    def staged(self, tensor: Tensor, steps: Sequence[Expr]) -> Name:
        """Its name at these steps of a recurrence: the number of a layer above, in brackets, a time below."""
        name = self.name(tensor)
        axes = [axis for axis in range(tensor.rank) if (tensor, axis) in self.stages]
        for axis, step in zip(axes, steps, strict=True):
            node = Scalars(self, None, self.program.equations[0].tensor).node(step)
            level = (tensor, axis) in self.levels
            name = replace(name, level=node) if level else replace(name, step=(*name.step, node))
        return name

    def body(self, tensor: Tensor) -> Node:
        """The right-hand side in matrix form.  Raises NoMatrixForm."""
        if tensor in self._bodies:
            found = self._bodies[tensor]
            if found is None:
                raise NoMatrixForm
            return found
        if tensor in self.open:
            raise NoMatrixForm
        self.open.add(tensor)
        try:
            self._bodies[tensor] = None
            self._bodies[tensor] = node = self._body(tensor)
            return node
        finally:
            self.open.discard(tensor)

    def _body(self, tensor: Tensor) -> Node:
        equations = [self._straight(equation) for equation in self.program.definitions[tensor]]
        if equations[0].op == "sum":
            return total([term for equation in equations for term in Terms(self, equation).terms()])
        return Terms(self, equations[0]).reduction()

    def read(self, equation: Equation) -> Equation:
        """The equation with names for the values of functions that have one."""
        functions = equation.rhs.atoms(*FUNCTIONS)
        known: dict[Basic, Basic] = {}
        for f in functions:
            found = self.known_value(f, equation.tensor)
            if found is not None:
                known[f] = found
            elif isinstance(f, logistic) and f.args[0].could_extract_minus_sign():
                found = self.known_value(logistic(-f.args[0]), equation.tensor)
                known |= {} if found is None else {f: 1 - found}
        return equation.map(lambda e: e.xreplace(known)) if known else equation

    def _straight(self, equation: Equation) -> Equation:
        """The equation with a plain left side, where that is one of shifts and of steps."""
        tensor, equation = equation.tensor, self.read(equation)
        staged = any((tensor, axis) in self.stages for axis in range(tensor.rank))
        shifted = any(
            (form := affine(s)) and form.plain is not None and form.constant != 0 for s in equation.lhs.subscripts
        )
        if staged or shifted:
            return aligned(equation, self.own(tensor))
        return equation

    def inlined(self, tensor: Tensor) -> Node | None:
        """What is written in the tensor's place, if it has no name of its own in the book."""
        if not self.nameless(tensor):
            return None
        try:
            body = self.body(tensor)
        except NoMatrixForm:
            return None
        return None if bound_letters(body) else body  # its letters may have another meaning where it would stand

    def nameless(self, tensor: Tensor) -> bool:
        """Is a tensor written by what defines it?"""
        if tensor.role != "value" or tensor in self.program.roots or tensor not in self.program.definitions:
            return False
        if tensor in self.recurrent:
            return False
        first, *more = self.program.definitions[tensor]
        return bool(
            first.op == "logsumexp"
            or (tensor.rank == 0 and self.readers.get(tensor) == 1)
            or (tensor.name.startswith("d_") and (self.readers.get(tensor) == 1 or not (more or self._named(tensor))))
            or PART.fullmatch(tensor.name)
        )

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
        own = self.own(tensor)
        title = self.name(tensor)
        left = Element(title, tuple(Name(i.name) for i in own)) if own else title
        terms = [
            term for equation in self.program.definitions[tensor] for term in self._terms_with_indices(equation, own)
        ]
        return Equal(left, total(terms))

    def _terms_with_indices(self, equation: Equation, own: Sequence[Index]) -> list[Term]:
        equation = aligned(self.read(equation), own)
        scalars = Scalars(self, None, equation.tensor)
        tensor = equation.tensor
        scalars.own = tuple(
            index for axis, index in enumerate(own) if index.high != self.rows and (tensor, axis) not in self.stages
        )
        rhs = self.expanded(equation.rhs, {i.name for i in equation.domain})
        parts = [] if equation.where is sp.true else sorted(sp.And.make_args(equation.where), key=str)
        if not equation.bound and equation.op == "sum":
            brackets = tuple(Iverson(scalars.condition(part)) for part in parts)
            summands = [rhs] if brackets else scalars.ordered(rhs)
            return [scalars.term(summand, brackets) for summand in summands]
        conditions = tuple(map(scalars.condition, parts))
        return [scalars.reduction(equation.op, rhs, equation.bound, conditions)]

    def expanded(self, expression: Expr, taken: set[str]) -> Expr:
        """The expression with what has no name written out; Reductions stand for sums inside."""
        new: dict[Basic, Basic] = {}
        for access in outer_accesses(expression):
            tensor = access.tensor
            if tensor in self.open or not self.nameless(tensor) or not in_range(access):
                continue
            if self._in_softmax(expression, access):
                continue
            self.open.add(tensor)
            try:
                own = self.own(tensor)
                inner = element([self.read(e) for e in self.program.definitions[tensor]], own)
                whole = self.expanded(at(inner, access, own), taken)
                new[access] = apart(whole, taken)
            finally:
                self.open.discard(tensor)
        return expression.xreplace(new)

    def _in_softmax(self, expression: Expr, access: Access) -> bool:
        """Does the value only stand in exponents z - logsumexp(z), which make a softmax of z?"""
        exponents = [e.args[0] for e in expression.atoms(sp.exp) if access in outer_accesses(e)]
        if self.program.definitions[access.tensor][0].op != "logsumexp":
            exponents = [e for e in exponents if self.logsumexp_in(e) is not None]
        return bool(exponents) and all(self.logsumexp_in(e) is not None for e in exponents)


# ---------------------------------------------------------------------------------------------- equations
def is_distinct(subscripts: Sequence[Expr]) -> bool:
    return len(set(subscripts)) == len(subscripts)


def anonymous(expression: Expr) -> tuple[Expr, list[Index]]:
    """The expression with its indices numbered in order of appearance, and that order."""
    order = indices(expression)
    return expression.xreplace({i: i.named(f".{k}") for k, i in enumerate(order)}), order
