"""One equation as products of matrices and vectors, for textbook.py.

In: an equation.  Out: its terms.  An axis as long as the data have rows is the axis of samples and is not written; what
is left of a tensor is a scalar, a vector or a matrix.  The indices of a term are the corners of a graph, its matrices
the edges, its vectors sit on corners; a tree reads as matrix products from the free index outwards:

    sum_i W[i,j]*delta[n,i]                       Wᵀ δ
    sum_n delta[n,i]*x[n,j]                       Σ δ xᵀ
    f(z[n,j]) * sum_i W[i,j]*delta[n,i]           f(z) ⊙ Wᵀ δ
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import sympy as sp
from sympy import Basic, Expr

from compiler.program import Access, Equation, Index, affine, indices, outer_accesses

from .assemble import Term
from .nodes import (
    ONE,
    ONES,
    Call,
    Element,
    Iverson,
    Node,
    Over,
    Product,
    Transpose,
)
from .scalar import NoMatrixForm, Scalars, weight
from .trees import Tree, leaves

if TYPE_CHECKING:
    from .textbook import Book

ROW_OF_ONES = Transpose(ONES)


class Terms:
    """One equation as terms of matrix products."""

    def __init__(self, book: Book, equation: Equation) -> None:
        self.book = book
        self.equation = equation
        self.onehots: dict[Index, list[Node]] = {}
        self.edges: dict[tuple[Index, Index], list[Node]] = {}  # matrices that are no expressions: labels as rows
        self.steps = self._steps()
        self.free = self._left()
        domain = [i for i in equation.domain if not self.is_sample(i) and i not in self.steps]
        samples = [i for i in equation.domain if self.is_sample(i)]
        if len(samples) > 1:
            raise NoMatrixForm
        self.sample = samples[0] if samples else None
        self.over_samples = self.sample is not None and self.sample not in equation.lhs.subscripts
        self.bound = [i for i in domain if i not in self.free]
        self.bound_steps = [i for i in self.steps if i in equation.bound]
        self.where_steps: list[Basic] = []
        self._conditions()

    def is_sample(self, index: Index) -> bool:
        rows = self.book.rows
        return self.book.notation != "matrix" and rows is not None and index.high == rows and index.low == 0

    def _steps(self) -> list[Index]:
        """The indices that run along a recurrence."""
        found: dict[Index, None] = {}
        for access in (self.equation.lhs, *outer_accesses(self.equation.rhs)):
            for axis, subscript in enumerate(access.subscripts):
                if (access.tensor, axis) in self.book.stages:
                    found |= dict.fromkeys(indices(subscript))
        return list(found)

    def parts(self, access: Access) -> tuple[Expr | None, list[tuple[Expr, Expr]], list[Expr]]:
        """(the sample, (subscript, extent) of the axes that are written, the steps)"""
        sample_axis = self.book.sample_axis(access.tensor)
        sample: Expr | None = None
        written: list[tuple[Expr, Expr]] = []
        steps: list[Expr] = []
        for axis, (subscript, extent) in enumerate(zip(access.subscripts, access.tensor.shape, strict=True)):
            if axis == sample_axis:
                sample = subscript
            elif (access.tensor, axis) in self.book.stages:
                form = affine(subscript)
                if form is None or form.gathers:
                    raise NoMatrixForm
                steps.append(subscript)
            else:
                written.append((subscript, extent))
        return sample, written, steps

    # ------------------------------------------------------------------------------------------ left-hand side
    def _left(self) -> list[Index]:
        """The free indices besides the sample; a label as a subscript is a column of the identity."""
        tensor = self.equation.tensor
        sample, written, steps = self.parts(self.equation.lhs)
        if self.book.samples(tensor) and not (isinstance(sample, Index) and self.is_sample(sample)):
            raise NoMatrixForm
        if any(not isinstance(step, Index) for step in steps):
            raise NoMatrixForm
        if not self.is_flat([extent for _, extent in written]):
            raise NoMatrixForm
        free: list[Index] = []
        for subscript, extent in written:
            if isinstance(subscript, Index) and (subscript.low, subscript.high) == (0, extent):
                free.append(subscript)
                continue
            free.append(Index(f".{len(free)}", extent))
            self.mark(free[-1], subscript)
        if len(set(free)) != len(free):
            raise NoMatrixForm
        return free

    def is_flat(self, extents: Sequence[Expr]) -> bool:
        """Is it a scalar, a vector or a matrix?"""
        return len(extents) <= 2 and (self.book.notation == "matrix" or self.book.rows not in extents)

    def _conditions(self) -> None:
        """index = label is a factor onehot(label)."""
        if self.equation.where is sp.true:
            return
        for part in sp.And.make_args(self.equation.where):
            if self.steps and not part.has(Access) and set(indices(part)) <= set(self.steps):
                self.where_steps.append(part)
                continue
            if not isinstance(part, sp.Eq):
                raise NoMatrixForm
            sides = sorted(part.args, key=lambda side: not isinstance(side, Index))
            if not isinstance(sides[0], Index) or sides[0] not in (*self.free, *self.bound):
                raise NoMatrixForm
            self.mark(sides[0], sides[1])

    def mark(self, index: Index, label: Expr) -> None:
        """A factor that is 1 where the index is the label: a vector of each sample, or a matrix with rows for them."""
        node = Call("onehot", (self.label(label),))
        if self.book.notation == "matrix":
            self.edges.setdefault((label.args[1], index), []).append(node)
        else:
            self.onehots.setdefault(index, []).append(node)

    def label(self, subscript: Expr) -> Node:
        """An integer that each sample has."""
        if isinstance(subscript, Access) and subscript.tensor.shape == (self.book.rows,):
            return self.book.name(subscript.tensor)
        raise NoMatrixForm

    # ------------------------------------------------------------------------------------------ accesses
    def axes(self, access: Access) -> tuple[Index, ...]:
        """Its indices besides the sample.  Raises NoMatrixForm if they are not plain, or not the whole axis."""
        sample, written, _ = self.parts(access)
        if self.book.samples(access.tensor):
            if sample != self.sample:
                raise NoMatrixForm
            if len(written) == 1 and isinstance(written[0][0], Access):
                self.label(written[0][0])
                return ()
        subscripts = [subscript for subscript, _ in written]
        if not self.is_flat([extent for _, extent in written]) or len(set(subscripts)) != len(subscripts):
            raise NoMatrixForm
        for subscript, extent in written:
            if not isinstance(subscript, Index) or (subscript.low, subscript.high) != (0, extent):
                raise NoMatrixForm
            if subscript in self.steps:
                raise NoMatrixForm
        return tuple(subscripts)

    def access(self, access: Access, context: tuple[Index, ...]) -> Node:
        """One tensor within an expression whose elements have the indices of `context`."""
        axes, tensor = self.axes(access), access.tensor
        _, written, steps = self.parts(access)
        name = self.book.staged(tensor, steps)
        if len(axes) < len(written):
            return Element(self.book.inlined(tensor) or name, (self.label(written[0][0]),))
        node = name if steps else self.book.inlined(tensor) or name
        if len(context) == 2 and len(axes) == 1:
            if self.book.notation != "matrix":
                raise NoMatrixForm
            return Product((node, ROW_OF_ONES)) if axes[0] == context[0] else Product((ONES, Transpose(node)))
        return Transpose(node) if len(axes) == 2 and axes != context else node

    def softmax(self, exponent: Expr, context: tuple[Index, ...]) -> Node | None:
        """exp(z[k] - s) where s is the logsumexp over k of z[k]"""
        found = self.book.logsumexp_in(exponent)
        if found is None:
            return None
        index, net = found
        rows = 2 if self.book.notation == "matrix" else 1
        if len(context) != rows or context[-1] != index:
            return None
        return Call("softmax", (self.scalars(context).node(net),))

    def labelled(self, factor: Expr) -> bool:
        """Is it z[n,y[n]]?"""
        return (
            isinstance(factor, Access)
            and len(factor.subscripts) == 2
            and isinstance(factor.subscripts[0], Index)
            and isinstance(factor.subscripts[1], Access)
            and factor.subscripts[1].subscripts == factor.subscripts[:1]
        )

    def scalars(self, context: tuple[Index, ...]) -> Scalars:
        return Scalars(self.book, self, self.equation.tensor, context)

    # ------------------------------------------------------------------------------------------ terms
    def reduction(self) -> Node:
        """max, logsumexp, argmax over all elements of a vector or matrix"""
        if self.over_samples or self.onehots or self.bound_steps or self.where_steps or not 1 <= len(self.bound) <= 2:
            raise NoMatrixForm
        axes = (*self.free, *self.bound)
        if len(self.free) > (self.book.notation == "matrix") or len(axes) > 2:
            raise NoMatrixForm
        if not set(axes) <= set(indices(self.equation.rhs)):
            raise NoMatrixForm
        return Call(self.equation.op, (self.scalars(axes).node(self.equation.rhs),))

    def terms(self) -> Iterator[Term]:
        rhs = self.equation.rhs
        reduced = {*self.bound, *self.bound_steps, *([self.sample] if self.over_samples else [])}
        parts = sp.Add.make_args(rhs)
        marked = {*self.onehots, *(index for pair in self.edges for index in pair)}
        if not all(reduced <= {*indices(part), *marked} for part in parts):
            parts = (rhs,)  # a summand without the index would be counted once for each value of it
        ordered = sorted(parts, key=lambda part: (self.book.rank(part), str(part)))
        yield from (self.term(part) for part in ordered)

    def term(self, expression: Expr) -> Term:
        coefficient: Expr = sp.Integer(1)
        alone: list[tuple[tuple, Node]] = []  # scalars of each sample
        vectors: dict[Index, list[tuple[tuple, Node]]] = {}
        matrices: dict[frozenset[Index], list[Expr]] = {}
        edges = {pair: list(nodes) for pair, nodes in self.edges.items()}
        for factor in sp.Mul.make_args(expression):
            found, bare = leaves(factor)
            if bare:
                raise NoMatrixForm
            if self.book.notation == "matrix" and self.labelled(factor):
                pair = (factor.subscripts[0], Index(f".{len(edges)}{len(matrices)}", factor.tensor.shape[1]))
                name = self.book.inlined(factor.tensor) or self.book.name(factor.tensor)
                edges[pair] = [name, Call("onehot", (self.label(factor.subscripts[1]),))]
                continue
            axes = list(dict.fromkeys(i for access in found for i in self.axes(access)))
            key = (self.book.rank(factor), weight(factor), str(factor))
            if len(axes) > 2:
                raise NoMatrixForm
            if len(axes) == 2:
                matrices.setdefault(frozenset(axes), []).append(factor)
            elif axes:
                vectors.setdefault(axes[0], []).append((key, self.scalars((axes[0],)).node(factor)))
            elif any(self.book.samples(a.tensor) or self.parts(a)[2] for a in found):
                alone.append((key, self.scalars(()).node(factor)))
            elif found and self.scalars(()).node(factor) == ONE:
                continue
            else:
                coefficient *= factor
        for index, nodes in self.onehots.items():
            vectors.setdefault(index, []).extend(((-1, False, str(node)), node) for node in nodes)
        conditions = [Scalars(self.book, None, self.equation.tensor).condition(part) for part in self.where_steps]
        if not self.bound_steps:
            alone[:0] = [((-3, False, ""), Iverson(condition)) for condition in conditions]
        over_samples = self.over_samples
        if over_samples and self.sample not in indices(expression) and not self.onehots:
            coefficient, over_samples = coefficient * self.sample.extent, False  # type: ignore[union-attr]
        for index in self.bound:
            if index not in vectors and not any(index in pair for pair in (*matrices, *edges)):
                coefficient *= index.extent
        for factors in matrices.values():
            factors.sort(key=lambda factor: (self.book.rank(factor), weight(factor), str(factor)))
        tree = Tree(self, vectors, matrices, edges)
        body = tree.product(self.free, [node for _, node in sorted(alone, key=lambda item: item[0]) if node != ONE])
        if over_samples:
            body = Over("sum", (), body if body is not None else ONE, samples=str(self.book.rows))
        if self.bound_steps:
            names = tuple(i.name for i in self.bound_steps)
            body = Over("sum", names, body if body is not None else ONE, tuple(conditions))
        sign, written = self.scalars(()).coefficient(coefficient)
        if written is None and body is None:
            written = ONE
        return Term(sign, written, body)
