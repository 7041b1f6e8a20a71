"""The factors of a term as a graph, read as products of matrices, for products.py.

In: vectors by their index, matrices by their two.  Out: a Node: the product along the tree, from the free indices on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from sympy import Basic, Expr

from compiler.program import Access, Index, Tensor

from .assemble import hadamard, product, scaled
from .nodes import ONE, ONES, TWO, Call, Group, Hadamard, Node, Norm, Power, Product, Transpose
from .scalar import NoMatrixForm

if TYPE_CHECKING:
    from .products import Terms


class Tree:
    """The factors of a term as a graph: indices are corners, matrices edges, vectors sit on corners."""

    def __init__(
        self,
        terms: Terms,
        vectors: dict[Index, list[tuple[tuple, Node]]],
        matrices: dict[frozenset[Index], list[Expr]],
        edges: dict[tuple[Index, Index], list[Node]],
    ) -> None:
        self.terms, self.vectors, self.matrices, self.edges = terms, vectors, matrices, edges
        self.neighbours: dict[Index, list[Index]] = {index: [] for index in (*terms.free, *vectors)}
        for pair in dict.fromkeys((*matrices, *map(frozenset, edges))):
            one, other = sorted(pair, key=str)
            self.neighbours.setdefault(one, []).append(other)
            self.neighbours.setdefault(other, []).append(one)

    def product(self, free: Sequence[Index], alone: list[Node]) -> Node | None:
        """The whole term: scalars, then the vector or matrix over the free indices; None if there is nothing."""
        seen: set[Index] = set()
        parts: list[set[Index]] = []
        for index in self.neighbours:
            if index not in seen:
                parts.append(self._connected(index))
                seen |= parts[-1]
        closed = [self.closed(part) for part in parts if not part & set(free)]
        crowded = len(alone) + len(closed) + bool(free) > 1
        factors = [Group(f) if crowded and isinstance(f, Product) else f for f in (*alone, *closed)]
        match free:
            case []:
                pass
            case [i]:
                return scaled(factors, self.vector(i))
            case [i, j]:
                same = any(i in part and j in part for part in parts)
                outer = [self.vector(i), Transpose(self.vector(j))]
                return scaled(factors, self.path(i, j) if same else product(outer))
        return product(factors) if factors else None

    def _connected(self, start: Index) -> set[Index]:
        found, stack, edges = {start}, [start], 0
        while stack:
            near = self.neighbours[stack.pop()]
            edges += len(near)
            stack.extend(i for i in near if i not in found)
            found.update(near)
        if edges // 2 != len(found) - 1:
            raise NoMatrixForm  # a cycle of matrices: a trace
        return found

    def matrix(self, row: Index, column: Index) -> Node:
        """All factors with these two indices, element by element."""
        nodes: list[Node] = []
        for factor in self.matrices.get(frozenset((row, column)), ()):
            turned = all(self.terms.axes(a) in ((column, row), ()) for a in leaves(factor)[0])
            if turned:
                nodes.append(Transpose(self.terms.scalars((column, row)).node(factor)))
            else:
                nodes.append(self.terms.scalars((row, column)).node(factor))
        nodes += self.edges.get((row, column), [])
        nodes += [Transpose(node) for node in self.edges.get((column, row), [])]
        if len(nodes) > 1 and all(isinstance(node, Transpose) for node in nodes):
            return Transpose(Hadamard(tuple(node.of for node in nodes if isinstance(node, Transpose))))
        return nodes[0] if len(nodes) == 1 else Hadamard(tuple(nodes))

    def at(self, index: Index, but: Iterable[Index]) -> list[Node]:
        """What stands at a corner: its vectors, then a product for each edge that leads on."""
        nodes = [node for _, node in sorted(self.vectors.get(index, ()), key=lambda item: item[0])]
        chains = [
            product([self.matrix(index, k), self.vector(k, index)]) for k in self.neighbours[index] if k not in but
        ]
        return [*nodes, *chains]

    def vector(self, index: Index, came_from: Index | None = None) -> Node:
        return hadamard(self.at(index, () if came_from is None else (came_from,)))

    def path(self, i: Index, j: Index) -> Node:
        """The matrices from i to j."""
        before: dict[Index, Index | None] = {i: None}
        stack = [i]
        while stack:
            corner = stack.pop()
            for k in self.neighbours[corner]:
                if k not in before:
                    before[k] = corner
                    stack.append(k)
        corners: list[Index] = []
        corner_: Index | None = j
        while corner_ is not None:
            corners.append(corner_)
            corner_ = before[corner_]
        corners.reverse()
        factors: list[Node] = []
        for place, corner in enumerate(corners):
            beside = [node for node in self.at(corner, corners) if node not in (ONE, ONES)]
            if beside:
                factors.append(Call("diag", (hadamard(beside),)))
            if place + 1 < len(corners):
                factors.append(self.matrix(corner, corners[place + 1]))
        return product(factors)

    def closed(self, part: set[Index]) -> Node:
        """A scalar: u·v, ‖v‖², ‖W‖², uᵀ W v, the sum of all elements."""
        corners = [i for i in self.neighbours if i in part]
        if len(corners) == 1:
            nodes = self.at(corners[0], ())
            match nodes:
                case [Power(base, exponent)] if exponent == TWO:
                    return Norm(base)
                case [Call("abs", (of,))]:
                    return Norm(of, order=1)
                case [one]:
                    return Call("sum", (one,))
            match hadamard(nodes):
                case Hadamard((*others, last)) if len(others) > 1:  # the local derivatives and, at last, an adjoint
                    return product([Transpose(last), hadamard(others)])
                case Hadamard((one, *others)):
                    return product([Transpose(one), hadamard(others)])
        if len(corners) == 2 and not any(self.vectors.get(i) for i in corners):
            match self.matrix(*corners):
                case Power(base, exponent) | Transpose(Power(base, exponent)) if exponent == TWO:
                    return Norm(base, matrix=True)
                case Call("abs", (of,)) | Transpose(Call("abs", (of,))):
                    return Norm(of, matrix=True, order=1)
                case whole:
                    return Call("sum", (whole,))
        start = min((i for i in corners if len(self.neighbours[i]) == 1), key=lambda i: not self.vectors.get(i))
        beside = self.vectors.get(start, [])
        left = hadamard([node for _, node in sorted(beside, key=lambda item: item[0])])
        (along,) = self.neighbours[start]
        return product([Transpose(left), self.matrix(start, along), self.vector(along, start)])


def leaves(expression: Expr) -> tuple[list[Access], list[Index]]:
    """(accesses, indices that stand as numbers), not looking into subscripts"""
    found: dict[Access, None] = {}
    bare: dict[Index, None] = {}
    stack: list[Basic] = [expression]
    while stack:
        node = stack.pop()
        if isinstance(node, Access):
            found[node] = None
        elif isinstance(node, Index):
            bare[node] = None
        elif not isinstance(node, Tensor):
            stack.extend(node.args)
    return list(found), list(bare)
