"""Equations as a user writes them -> equations of the language, through a whitelist of Python's syntax tree.

In: lines of text, the tensors that they may read, the shapes of parameters, the sizes of indices.  Out: a Reading: the
equations (compiler/program.py) and the tensors that they define.  Stands beside layers.py: a layer of the kind
"equations", and a loss in equations, are read here.  No text is evaluated.

    line      ::= access = expression | access += expression       a tensor is the sum of its lines
    access    ::= name[subscript, ...] | name                       name: letters and digits
    subscript ::= affine in indices and integer accesses: i   i+1   2*i+u   0   c[n]
    expression::= what a formula has (formula.py), accesses, indices as numbers, and
                  sum(e, i, ...) | max(e, i, ...) | logsumexp(e, i, ...) | argmax(e, i, ...)
                  each with a condition on indices as its last argument, if there is one: sum(e, j, j <= i)
                  d(access, x[n,0], ...): the derivative by inputs of the same sample (derivatives.py)

Ranges.  An index runs over the axes on which it stands alone; these must agree.  An index that is named in `sizes` or
in the shape of a parameter has one range in all lines; else it has its own in each line and in each reduction.  An
index that stands on no axis alone needs a size; one that has a size and is shifted in a line (x[n,i+1] - x[n,i]) need
not fit the axes that it reads there.  A read outside a tensor gives 0, a write is dropped.

Samples are independent: their index cannot be reduced, and stands alone on the first axis.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import sympy as sp
from sympy import Expr
from sympy.logic.boolalg import Boolean

from compiler.graph import in_order
from compiler.program import (
    Access,
    Equation,
    Index,
    Program,
    ProgramError,
    Tensor,
    affine,
    indices,
    size,
)
from compiler.spans import sparse_rows
from compiler.verify import verify

from ..declare.activations import named_functions
from ..errors import Quoted, SymnetError, complaint, unknown
from ..kinds.base import numbered as tensor_name
from .derivatives import Derivatives
from .formula import CONSTANTS, FUNCTIONS, Reader, statements, without_abs
from .index_ranges import REDUCTIONS, Entry, Line, Ranges, Scope, read_line, reduction, subscripts_of, taken_apart

if TYPE_CHECKING:
    from ..declare.constants import Constant
    from ..kinds import Equations

LENGTH = 20_000  # characters of all lines
TERMS = 5_000
WORK = 2**31  # points that one equation visits for a sample
SAMPLES = size("N")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9]{0,31}")


@dataclass(frozen=True, slots=True)
class Reading:
    """Equations in dependence order, every tensor by the name that the text has for it, and which it defines.

    derived: what it derives, and the inputs that it derives by.
    """

    equations: tuple[Equation, ...]
    tensors: Mapping[str, Tensor]
    defined: tuple[str, ...]
    derived: frozenset[Tensor] = frozenset()


def check_name(name: str, where: str) -> str:
    """A name that a user may give a tensor or an index."""
    taken = {*CONSTANTS, *FUNCTIONS, *REDUCTIONS, "where"}
    if not NAME.fullmatch(name) or name in taken:
        raise complaint(where, name, "a name of letters and digits, at most 32 of them, that is no function's")
    return name


def read(
    lines: Sequence[str],
    known: Mapping[str, Tensor],
    parameters: Mapping[str, tuple[Entry, ...]],
    sizes: Mapping[str, int | Expr],
    named: Callable[[str], str],
    where: str,
    functions: Mapping[str, Callable[[Expr], Expr]] = MappingProxyType({}),
    coupled: bool = False,
    below: Iterable[Equation] = (),
) -> Reading:
    """known: tensors that may be read, the first axis that of the samples; named: a tensor's name in the equations.

    functions: more of one argument that the lines may call.  coupled: the lines may reduce over the samples, and read
    their number, N.  below: the equations that define what is known, as far as lines ask for derivatives of it.
    """
    trees = statements("\n".join(lines), where, "single", LENGTH, TERMS)
    if not trees:
        raise complaint(where, Quoted("no equation"), "at least one, such as 'z[n,i] = sum(W[i,j]*x[n,j], j)'")
    for name in parameters:
        check_name(name, f"{where}, parameters")
        if name in known:
            raise complaint(f"{where}, parameters", name, "a name that no input has")
    parsed = [read_line(tree, f"{where}, line {tree.lineno}") for tree in trees]  # type: ignore[attr-defined]
    mentioned = {node.id for line in parsed for node in ast.walk(line.value) if isinstance(node, ast.Name)}
    for name in parameters:
        if name not in mentioned:
            raise complaint(f"{where}, parameters", name, "a parameter that the equations read")
    defined: dict[str, int] = {}
    for line in parsed:
        check_name(line.name, line.where)
        if line.name in known or line.name in parameters:
            raise complaint(line.where, line.name, "a tensor that is not given already")
        if line.name in defined and not line.adds:
            raise complaint(line.where, Quoted(f"a second definition of {line.name}"), "'+=', which adds to it")
        if defined.setdefault(line.name, len(line.subscripts)) != len(line.subscripts):
            raise complaint(
                line.where, Quoted(f"{len(line.subscripts)} subscripts"), f"{defined[line.name]}, as before"
            )
    ranks = {**defined, **{k: len(s) for k, s in parameters.items()}, **{k: t.rank for k, t in known.items()}}
    ranges = Ranges(parsed, known, parameters, sizes, ranks, where)
    ranges.solve()
    whole = {line.name for line in parsed if reduction(line.value, ranks) == "argmax"}
    tensors = dict(known)
    tensors |= {name: Tensor(named(name), ranges.shape(name), "parameter") for name in parameters}
    for name in defined:
        tensors[name] = Tensor(named(name), ranges.shape(name), "value", "integer" if name in whole else "real")
    out: list[Equation] = []
    parts, derivatives = _Parts(named, {t.name for t in tensors.values()}), Derivatives(tuple(below))
    called = {**named_functions(), **functions}
    lonely = {line.name: sum(other.name == line.name for other in parsed) == 1 for line in parsed}
    for line in parsed:
        reader = LineReader(line, tensors, ranges, parts, where, called, coupled, derivatives)
        out += reader.equations(lonely[line.name])
    if derivatives.requests:
        out += derivatives.equations(out)
    equations = in_order(out)
    for equation in equations:
        visited = [i for i in equation.domain if i not in sparse_rows(equation)]  # of a row, what is stored
        points = math.prod(int(i.extent) for i in visited if i.extent.is_Integer)
        if points > WORK:
            expected = f"at most {WORK} for one sample"
            raise complaint(where, Quoted(f"{points} values of the indices of {equation.lhs}"), expected)
    made = {e.tensor for e in equations}
    others = [a.tensor for e in equations for a in e.reads() if a.tensor.role == "value" and a.tensor not in made]
    given = {t: Tensor(t.name, t.shape, "input", t.kind) for t in others}
    try:
        verify(Program(tuple(e.substitute(given) for e in equations), tuple(tensors[name] for name in defined)))
    except ProgramError as error:
        raise SymnetError(f"{where}: {error}") from None
    return Reading(equations, MappingProxyType(tensors), tuple(defined), frozenset(derivatives.named))


def read_layer(
    layer: Equations, below: Sequence[Tensor], number: int, owner: int, before: Sequence[Equation] = ()
) -> Reading:
    """The equations of a layer: its tensors carry its number, its parameters that of the layer that owns them.

    With the number 0 tensors are called as in the text: so errors name what the user wrote.  before: the equations that
    define what it reads.
    """
    where = f"{layer.where}, equations"
    names = layer.names
    if len(below) != len(names):
        expected = "`inputs` that names them, so that equations can"
        raise complaint(f"{layer.where}, inputs", Quoted(f"{len(below)} inputs without names"), expected)
    known = dict(zip(names, below, strict=True))
    if len(names) == 1:
        known.setdefault("x", below[0])
    known |= constant_tensors(layer.arrays(()), number)
    parameters = {name: declared.shape for name, declared in layer.learned.entries}

    named = numbered(parameters, number, owner)
    reading = read(layer.equations, known, parameters, layer.sizes.mapping, named, where, below=before)
    read_tensors = {a.tensor for e in reading.equations for a in e.reads()} | reading.derived
    for name, tensor in zip(names, below, strict=True):
        if tensor not in read_tensors:
            raise complaint(f"{layer.where}, inputs", name, "an input that the equations read")
    return reading


def constant_tensors(constants: Mapping[str, Constant], number: int) -> dict[str, Tensor]:
    """The tensors of a layer's constants, by what its equations call them."""
    return {
        name: Tensor(c.tensor if c.name else tensor_name(name, number), c.shape, "constant", c.kind, c.sparse)
        for name, c in constants.items()
    }


def numbered(parameters: Collection[str], number: int, owner: int) -> Callable[[str], str]:
    """The names of a layer's tensors: W -> W1, beta -> beta_1; with the number 0 as they are."""

    def named(name: str) -> str:
        return tensor_name(name, owner if name in parameters else number)

    return named


def output(reading: Reading, name: str, where: str) -> Tensor:
    """The tensor of this name, or the one that is defined last."""
    if name and name not in reading.defined:
        raise unknown(f"{where}, output", "tensor", name, reading.defined)
    return reading.tensors[name or reading.defined[-1]]


# ---------------------------------------------------------------------------------------------- expressions
@dataclass(slots=True)
class _Parts:
    """Names of the tensors that hold a reduction inside an expression."""

    named: Callable[[str], str]
    taken: set[str]
    count: int = 0

    def fresh(self) -> str:
        while True:
            self.count += 1
            name = self.named(f"part{self.count}")
            if name not in self.taken:
                return name


class LineReader(Reader):
    """One line.  Reductions inside of an expression become tensors of their own, whose equations come first."""

    def __init__(
        self,
        line: Line,
        tensors: Mapping[str, Tensor],
        ranges: Ranges,
        parts: _Parts,
        where: str,
        functions: Mapping[str, Callable[[Expr], Expr]],
        coupled: bool,
        derivatives: Derivatives,
    ) -> None:
        super().__init__(line.where, {"N": SAMPLES} if coupled else {}, functions)
        self.coupled, self.derivatives = coupled, derivatives
        self.line, self.tensors, self.ranges, self.parts = line, tensors, ranges, parts
        self.number = ranges.lines.index(line)
        self.scope: Scope = {}
        self.allowed: dict[str, Index] = {}
        self.before: list[Equation] = []

    def equations(self, alone: bool) -> list[Equation]:
        tensor = self.tensors[self.line.name]
        for subscript in self.line.subscripts:
            for node in ast.walk(subscript):
                if isinstance(node, ast.Name) and node.id not in self.tensors:
                    self.allowed[node.id] = self.index(node.id)
        lhs = Access(tensor, *(self.scalar(s) for s in self.line.subscripts))
        self.samples(lhs, self.line.where)
        free = tuple(indices(*lhs.subscripts))
        op = reduction(self.line.value, self.ranges.ranks)
        distinct = all(isinstance(s, Index) for s in lhs.subscripts) and len(set(free)) == tensor.rank
        if op not in ("", "sum") and alone and distinct:
            assert isinstance(self.line.value, ast.Call)
            body, bound, condition = self.reduced(self.line.value)
            return [*self.before, Equation(lhs, (*free, *bound), body, op, condition)]
        made, rest = [], []
        for sign, term in _terms(self.line.value):
            if reduction(term, self.ranges.ranks) == "sum":
                assert isinstance(term, ast.Call)
                body, bound, condition = self.reduced(term)
                made.append(Equation(lhs, (*free, *bound), sign * body, "sum", condition))
            else:
                rest.append(sign * self.value(term))
        value = sp.Add(*rest)
        if value != 0 or not made:
            made.append(Equation(lhs, free, value))
        return [*self.before, *made]

    def index(self, name: str) -> Index:
        check_name(name, f"{self.where}, an index")
        extent = self.ranges.extent(self.ranges.key(name, self.scope, self.number), name, self.line.where)
        return Index(name, extent)

    def reduced(self, node: ast.Call) -> tuple[Expr, tuple[Index, ...], Boolean]:
        body, names, condition = taken_apart(node, self.where)
        outer_scope, outer = self.scope, self.allowed
        self.scope = {
            **outer_scope, **{n: ("bound", self.number, node.lineno, node.col_offset, n) for n in names}
        }  # fmt: skip
        bound = tuple(self.index(name) for name in names)
        for index in bound:
            if not index.extent.is_Integer and not self.coupled:
                found = Quoted(f"a reduction over {index.name}, the samples")
                raise complaint(self.at(node), found, "an index within one sample", "Samples are independent.")
        self.allowed = {**outer, **{i.name: i for i in bound}}
        result = self.value(body)
        where = sp.true if condition is None else self.condition(condition)
        self.scope, self.allowed = outer_scope, outer
        return result, bound, where

    def value(self, node: ast.expr) -> Expr:
        return without_abs(self.scalar(node))

    def scalar(self, node: ast.expr) -> Expr:
        match node:
            case ast.Name(id=name) if name in self.allowed:
                return self.allowed[name]
            case ast.Name(id=name) if name in self.tensors:
                return self.access(node, self.tensors[name], ())
            case ast.Name(id=name) if name not in self.names:
                known = [*self.tensors, *self.allowed]
                if name in self.ranges.shared or any(name == n.id for n in self.all_indices()):
                    advice = f"Reduce over it: sum(..., {name})."
                    raise complaint(
                        self.at(node), Quoted(f"the index {name}"), f"one of {', '.join(self.allowed)}", advice
                    )
                raise unknown(self.at(node), "name", name, known)
            case ast.Subscript(value=ast.Name(id=name)):
                if name not in self.tensors:
                    raise unknown(self.at(node), "tensor", name, self.tensors)
                return self.access(node, self.tensors[name], subscripts_of(node))
            case ast.Call(func=ast.Name(id="d")):
                return self.derivative(node)
        op = reduction(node, self.ranges.ranks)
        if not op:
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id not in self.functions:
                functions = (*REDUCTIONS, "where", "d", *self.functions)
                if node.func.id not in functions:
                    raise unknown(self.at(node), "function", node.func.id, functions)
            return super().scalar(node)
        assert isinstance(node, ast.Call)
        body, bound, condition = self.reduced(node)
        inside = indices(body, condition)
        free = tuple(i for i in self.allowed.values() if i in inside)
        kind = "integer" if op == "argmax" else "real"
        part = Tensor(self.parts.fresh(), tuple(i.extent for i in free), "value", kind)
        self.before.append(Equation(Access(part, *free), (*free, *bound), body, op, condition))
        return Access(part, *free)

    def derivative(self, node: ast.Call) -> Access:
        """d(u[n,0], x[n,0], ...)"""
        if self.coupled:
            raise complaint(self.at(node), Quoted("a derivative where samples are coupled"), "one of separate samples")
        for argument in node.args:
            if not isinstance(argument, ast.Subscript):
                expected = "d(u[n,0], x[n,0], ...): an element of a tensor, and those of inputs that it is derived by"
                raise complaint(self.at(node), Quoted(ast.unparse(node)[:60]), expected)
        of, *by = (self.scalar(argument) for argument in node.args)
        assert isinstance(of, Access)
        return self.derivatives.access(of, [a for a in by if isinstance(a, Access)], self.at(node))

    def all_indices(self) -> Iterator[ast.Name]:
        for node in ast.walk(self.line.value):
            if isinstance(node, ast.Subscript):
                yield from (n for s in subscripts_of(node) for n in ast.walk(s) if isinstance(n, ast.Name))

    def access(self, node: ast.expr, tensor: Tensor, subscripts: tuple[ast.expr, ...]) -> Access:
        if len(subscripts) != tensor.rank:
            raise complaint(self.at(node), Quoted(ast.unparse(node)[:60]), f"{tensor.rank} subscripts")
        found = Access(tensor, *(self.scalar(s) for s in subscripts))
        self.samples(found, self.at(node))
        return found

    def samples(self, access: Access, where: str) -> None:
        for subscript, extent in zip(access.subscripts, access.tensor.shape, strict=True):
            parts = affine(subscript)
            own = [] if parts is None else [i.extent for i, _ in parts.terms]
            alone = isinstance(subscript, Index) and subscript.extent == extent
            if not alone and not all(n.is_Integer for n in (extent, *own)):
                raise complaint(where, Quoted(f"the subscript {subscript}"), "the index of the samples, alone")


def _terms(node: ast.expr, sign: int = 1) -> Iterator[tuple[int, ast.expr]]:
    match node:
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as op, right=right):
            yield from _terms(left, sign)
            yield from _terms(right, sign if isinstance(op, ast.Add) else -sign)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            yield from _terms(operand, -sign)
        case _:
            yield sign, node
