"""The lines of equations in text, taken apart, and the range of every index in them.

In: syntax trees of lines (formula.py has checked their size), the tensors that are known, the sizes that were given.
Out: Line, and Ranges: the extent of every index and of every axis.  Stands below equation_text.py, whose docstring has
the grammar.  Nothing is built yet: what stands alone on one axis is one class, and a class has one extent.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sympy import Expr, Integer, sympify

from compiler.program import Index, Tensor, affine

from ..errors import Quoted, complaint, unknown
from .formula import CONSTANTS, Reader, spoken

REDUCTIONS = ("sum", "max", "logsumexp", "argmax")
Entry = int | str  # an axis of a parameter: its extent, or the index that runs over it


@dataclass(frozen=True, slots=True)
class Line:
    name: str
    subscripts: tuple[ast.expr, ...]
    value: ast.expr
    adds: bool
    where: str


def read_line(tree: ast.AST, where: str) -> Line:
    match tree:
        case ast.Assign(targets=[target], value=value):
            adds = False
        case ast.AugAssign(target=target, op=ast.Add(), value=value):
            adds = True
        case _:
            raise complaint(where, spoken(tree), "an equation, such as 'z[n,i] = x[n,i]**2'")
    match target:
        case ast.Name(id=name):
            return Line(name, (), value, adds, where)
        case ast.Subscript(value=ast.Name(id=name)):
            return Line(name, subscripts_of(target), value, adds, where)
    raise complaint(where, spoken(target), "a tensor with subscripts on the left, such as z[n,i]")


def subscripts_of(node: ast.Subscript) -> tuple[ast.expr, ...]:
    return tuple(node.slice.elts) if isinstance(node.slice, ast.Tuple) else (node.slice,)


def reduction(node: ast.AST, ranks: Mapping[str, int]) -> str:
    """Which reduction a call is: "" if none.  max(u, v) is one only if v is no tensor: an index."""
    match node:
        case ast.Call(func=ast.Name(id=name), args=[_, *rest]) if name in REDUCTIONS:
            if rest and isinstance(rest[-1], ast.Compare | ast.BoolOp):
                rest = rest[:-1]
            plain = all(isinstance(a, ast.Name) and a.id not in ranks and a.id not in CONSTANTS for a in rest)
            if name != "max" or (rest and plain):
                return name
    return ""


def taken_apart(node: ast.Call, where: str) -> tuple[ast.expr, list[str], ast.expr | None]:
    """(expression, bound indices, condition) of a reduction"""
    body, *rest = node.args
    condition = rest.pop() if rest and isinstance(rest[-1], ast.Compare | ast.BoolOp) else None
    names = [a.id for a in rest if isinstance(a, ast.Name)]
    if not names or len(names) != len(rest) or len(set(names)) != len(names) or node.keywords:
        assert isinstance(node.func, ast.Name)
        expected = f"{node.func.id}(expression, index, ...), and a condition as the last argument if there is one"
        raise complaint(f"{where}, column {node.col_offset + 1}", Quoted(ast.unparse(node)[:60]), expected)
    return body, names, condition


# ---------------------------------------------------------------------------------------------- ranges of indices
Scope = Mapping[str, Any]  # the name of an index -> its key


@dataclass(slots=True)
class Ranges:
    """The extent of every index and of every axis: what stands on one axis alone is one class."""

    lines: Sequence[Line]
    known: Mapping[str, Tensor]
    parameters: Mapping[str, tuple[Entry, ...]]
    sizes: Mapping[str, int | Expr]
    ranks: Mapping[str, int]
    where: str
    above: dict[Any, Any] = field(default_factory=dict)
    extents: dict[Any, Expr] = field(default_factory=dict)
    spoken: dict[Any, str] = field(default_factory=dict)  # where an extent came from
    weak: list[tuple[Any, Any]] = field(default_factory=list)
    shared: set[str] = field(default_factory=set)
    shifted: dict[int, set[str]] = field(default_factory=dict)
    computed: dict[tuple[str, int], list[tuple[ast.expr, Scope]]] = field(default_factory=dict)

    def root(self, key: Any) -> Any:
        while key in self.above:
            key = self.above[key]
        return key

    def fix(self, key: Any, extent: Expr, source: str, where: str) -> None:
        root = self.root(key)
        if self.extents.setdefault(root, extent) != extent:
            found = f"{source}, but {self.extents[root]} {self.spoken[root]}"
            raise complaint(where, Quoted(found), "one size for an index")
        self.spoken.setdefault(root, f"as {source}")

    def join(self, one: Any, other: Any, where: str) -> None:
        one, other = self.root(one), self.root(other)
        if one == other:
            return
        if one in self.extents:
            self.fix(other, self.extents[one], self.spoken[one].removeprefix("as "), where)
        self.above[one] = other

    def key(self, name: str, scope: Scope, line: int) -> Any:
        """The class of an index by its name."""
        if name in self.shared:
            return ("size", name)
        return scope.get(name, ("line", line, name))

    def extent(self, key: Any, what: str, where: str) -> Expr:
        root = self.root(key)
        if root not in self.extents:
            advice = f"Give the size of {what}, in `sizes`."
            raise complaint(where, Quoted(f"no range for {what}"), "an index alone on an axis of known size", advice)
        return self.extents[root]

    def shape(self, name: str) -> tuple[Expr, ...]:
        axes = [f"the index on axis {k} of {name}" for k in range(self.ranks[name])]
        for line in self.lines:
            if line.name == name:
                named = zip(line.subscripts, axes, strict=True)
                axes = [s.id if isinstance(s, ast.Name) else axis for s, axis in named]
        return tuple(self.extent(("axis", name, k), axis, self.where) for k, axis in enumerate(axes))

    # ------------------------------------------------------------------------------------------ solving
    def solve(self) -> None:
        self.shared = {*self.sizes, *(e for entries in self.parameters.values() for e in entries if isinstance(e, str))}
        for name, extent in self.sizes.items():
            self.fix(("size", name), sympify(extent, strict=True), f"{name} = {extent} in sizes", self.where)
        for name, tensor in self.known.items():
            for k, known in enumerate(tensor.shape):
                self.fix(("axis", name, k), known, f"{known} for axis {k} of {name}", self.where)
        for name, entries in self.parameters.items():
            for k, entry in enumerate(entries):
                if isinstance(entry, int):
                    self.fix(("axis", name, k), Integer(entry), f"{entry} for axis {k} of {name}", self.where)
                else:
                    self.join(("axis", name, k), ("size", entry), self.where)
        for line in self.lines:  # an axis that is ever written at i+1 or 0 is as long as these say
            for k, subscript in enumerate(line.subscripts):
                if not isinstance(subscript, ast.Name):
                    self.computed[line.name, k] = []
        for number, line in enumerate(self.lines):
            for k, subscript in enumerate(line.subscripts):
                if (line.name, k) in self.computed:
                    self.computed[line.name, k].append((subscript, {"": number}))
                else:
                    self._stands(subscript, line.name, k, {}, number, left=True)
                self._walk(subscript, {}, number)
            self._walk(line.value, {}, number)
        changed = True
        while changed:
            changed = False
            for (name, k), places in self.computed.items():
                if self.root(("axis", name, k)) not in self.extents:
                    ends = [self._end(subscript, scope[""]) for subscript, scope in places]
                    if all(end is not None for end in ends):
                        longest = max(int(end) for end in ends if end is not None)
                        if longest:
                            found = f"{longest} for axis {k} of {name}"
                            self.fix(("axis", name, k), Integer(longest), found, self.where)
                            changed = True
            for one, other in self.weak:
                if self.root(one) not in self.extents and self.root(other) in self.extents:
                    self.extents[self.root(one)] = self.extents[self.root(other)]
                    self.spoken[self.root(one)] = self.spoken[self.root(other)]
                    changed = True

    def _stands(self, subscript: ast.expr, name: str, k: int, scope: Scope, line: int, left: bool = False) -> None:
        if isinstance(subscript, ast.Name) and subscript.id not in self.ranks:
            if not left and subscript.id in self.sizes and subscript.id in self._shifted(line):
                return
            one, other = self.key(subscript.id, scope, line), ("axis", name, k)
            if (name, k) in self.computed:
                self.weak.append((one, other))
            else:
                self.join(one, other, f"{self.lines[line].where}, {name}[... {subscript.id} ...]")

    def _shifted(self, line: int) -> set[str]:
        """The indices that stand in a subscript such as i+1 in this line."""
        if line in self.shifted:
            return self.shifted[line]
        found = self.lines[line]
        nodes = [n for n in ast.walk(found.value) if isinstance(n, ast.Subscript)]
        subscripts = [*found.subscripts, *(s for node in nodes for s in subscripts_of(node))]
        compound = [s for s in subscripts if not isinstance(s, ast.Name)]
        self.shifted[line] = {n.id for s in compound for n in ast.walk(s) if isinstance(n, ast.Name)}
        return self.shifted[line]

    def _walk(self, node: ast.AST, scope: Scope, line: int) -> None:
        if reduction(node, self.ranks):
            assert isinstance(node, ast.Call)
            where = self.lines[line].where
            _, names, _ = taken_apart(node, where)
            left = {n.id for s in self.lines[line].subscripts for n in ast.walk(s) if isinstance(n, ast.Name)}
            for name in names:
                if name in left or name in scope:
                    expected = f"another letter than {name}, which stands outside of it"
                    found = Quoted(f"a reduction over {name}")
                    raise complaint(f"{where}, column {node.col_offset + 1}", found, expected)
            scope = {**scope, **{name: ("bound", line, node.lineno, node.col_offset, name) for name in names}}
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            name, given = node.value.id, subscripts_of(node)
            where = f"{self.lines[line].where}, column {node.col_offset + 1}"
            if name not in self.ranks:
                raise unknown(where, "tensor", name, self.ranks)
            if len(given) != self.ranks[name]:
                raise complaint(where, Quoted(ast.unparse(node)[:60]), f"{name} with {self.ranks[name]} subscripts")
            for k, subscript in enumerate(given):
                self._stands(subscript, name, k, scope, line)
        for child in ast.iter_child_nodes(node):
            self._walk(child, scope, line)

    def _end(self, subscript: ast.expr, line: int) -> int | None:
        """One more than the largest value of a subscript on the left; None if a range in it is not known yet.

        Integers of a tensor say nothing of the extent: 0.
        """
        where = self.lines[line].where
        if any(isinstance(n, ast.Name) and n.id in self.ranks for n in ast.walk(subscript)):
            return 0
        names = {n.id for n in ast.walk(subscript) if isinstance(n, ast.Name) and n.id not in self.ranks}
        known: dict[str, Expr] = {}
        for name in names:
            root = self.root(self.key(name, {}, line))
            if root not in self.extents:
                return None
            known[name] = Index(name, self.extents[root])
        parts = affine(Reader(where, known, {}).scalar(subscript))
        if parts is None or not parts.constant.is_Integer or any(not i.high.is_Integer for i, _ in parts.terms):
            raise complaint(where, Quoted(ast.unparse(subscript)), "a subscript such as i, i+1, 2*i+u or 0 on the left")
        last = sum((c * (i.high - 1 if c > 0 else i.low) for i, c in parts.terms), parts.constant)
        return max(int(last) + 1, 1)
