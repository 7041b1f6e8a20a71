"""The language: tensors, accesses, equations, programs.  Everything between a spec and generated code is a Program.

    program    ::= equation*  outputs  updates  guards
    equation   ::= access  =  op over domain where condition of  expression
    op         ::= sum | max | logsumexp | argmax
    domain     ::= (index, ...)                      every index of the equation, free and bound, with its range
    condition  ::= true | relations between integers (indices, constants, integer accesses), and | or | not
    access     ::= tensor[subscript, ...]
    subscript  ::= integer affine in indices and integer accesses:  i   i+1   2*i+u   0   ids[n]
    expression ::= number | size | access | index | -e | e+e | e*e | e**e | function(e, ...)
                 | Piecewise((e, relation), ..., (e, True))

Meaning.  A tensor is the sum of its equations.  An equation visits each point of its domain where the condition
holds; the value of the expression at that point is contributed to the element named by the left-hand access, and
contributions to one element are combined by `op`.  So an index that is not on the left is reduced; the left-hand
side may be any access (plain, shifted, a constant slot, a gather) if op is `sum`.  A tensor defined by another op has
that one equation, whose left-hand subscripts are distinct indices.

  * Nothing to combine: sum 0, max and logsumexp -inf, argmax -1.
  * argmax gives the position of the largest in the row-major order of the bound indices (from 0, each counted from
    its lower end): the first of equals; NaN counts as largest.  It is an integer tensor.
  * A read outside a tensor's range gives 0 (0 for an integer tensor, too); a write outside is dropped.
  * A tensor may be read by its own definition only through a constant shift (h[t-1]): a recurrence.
  * `updates` pairs a state (or parameter) with the tensor that is its value at the next step; all right-hand sides
    read the old value.  `guards` are rank-0 tensors; where one is not finite no update happens.
  * A sparse tensor has the meaning of the dense one with its zeros; it may only stand as a factor of an expression,
    with distinct plain indices as subscripts, so that only its stored elements need to be visited.

Sizes are integers or symbols (`size("N")`).  Hyper-parameters are rank-0 tensors of role "hyper".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import sympy as sp
from sympy import Basic, Expr, Integer, Symbol, Tuple
from sympy.core.symbol import Str
from sympy.core.sympify import _sympify  # never of text
from sympy.logic.boolalg import Boolean

from .functions import uniform

CACHED = 1 << 13  # results remembered by each of the functions below that walk expressions again and again
ROLES = ("input", "target", "parameter", "constant", "hyper", "state", "value")
KINDS = ("real", "integer")
OPS = ("sum", "max", "logsumexp", "argmax")


class ProgramError(ValueError):
    """A program that breaks the rules of the language; the message lists every violation with its equation."""


def size(name: str) -> Symbol:
    """A size that is known only at run time."""
    return Symbol(name, integer=True, positive=True)


class Index(Expr):
    """An integer that runs over low <= i < high.  Two indices are the same if name and range are."""

    is_integer = True
    is_real = True
    is_commutative = True
    is_finite = True
    is_number = False

    def __new__(cls, name: str | Str, high: Expr | int, low: Expr | int = 0) -> Index:
        return Expr.__new__(cls, name if isinstance(name, Str) else Str(name), _sympify(high), _sympify(low))

    @property
    def name(self) -> str:
        return str(self.args[0].name)

    @property
    def high(self) -> Expr:
        return self.args[1]

    @property
    def low(self) -> Expr:
        return self.args[2]

    @property
    def extent(self) -> Expr:
        return self.args[1] - self.args[2]

    def named(self, name: str) -> Index:
        return Index(name, self.high, self.low)

    @property
    def free_symbols(self) -> set[Basic]:
        return {self}

    def _sympystr(self, printer: object) -> str:
        return self.name

    def _latex(self, printer: object) -> str:
        return self.name


class Tensor(Basic):
    """A named tensor: shape (integers or size symbols), role, kind; `sparse` says how a constant is stored."""

    def __new__(
        cls,
        name: str | Str,
        shape: Iterable[Expr | int] = (),
        role: str | Str = "value",
        kind: str | Str = "real",
        sparse: bool | Boolean = False,
    ) -> Tensor:
        text = [part if isinstance(part, Str) else Str(part) for part in (name, role, kind)]
        return Basic.__new__(
            cls, text[0], Tuple(*map(_sympify, shape)), text[1], text[2], sp.true if sparse else sp.false
        )

    @property
    def name(self) -> str:
        return str(self.args[0].name)

    @property
    def shape(self) -> tuple[Expr, ...]:
        return tuple(self.args[1])

    @property
    def role(self) -> str:
        return str(self.args[2].name)

    @property
    def kind(self) -> str:
        return str(self.args[3].name)

    @property
    def sparse(self) -> bool:
        return self.args[4] is sp.true

    @property
    def rank(self) -> int:
        return len(self.args[1])

    def __getitem__(self, subscripts: Expr | int | tuple[Expr | int, ...]) -> Access:
        return Access(self, *(subscripts if isinstance(subscripts, tuple) else (subscripts,)))

    __iter__ = None  # else `tensor[i]` makes Python and SymPy take it for a sequence

    def _sympystr(self, printer: object) -> str:
        return self.name

    def _latex(self, printer: object) -> str:
        return self.name


class Access(Expr):
    """tensor[subscripts]: one element, a real (or integer) scalar.  `Access(t)` is the value of a rank-0 tensor."""

    is_commutative = True
    is_real = True
    is_number = False

    def __new__(cls, tensor: Tensor, *subscripts: Expr | int) -> Access:
        if len(subscripts) != len(tensor.args[1]):
            raise ProgramError(f"{tensor.name} has {tensor.rank} axes, but {len(subscripts)} subscripts were given")
        return Expr.__new__(cls, tensor, *map(_sympify, subscripts))

    @property
    def tensor(self) -> Tensor:
        return self.args[0]

    @property
    def subscripts(self) -> tuple[Expr, ...]:
        return self.args[1:]

    def _eval_is_integer(self) -> bool | None:
        return True if self.args[0].kind == "integer" else None

    @property
    def free_symbols(self) -> set[Basic]:
        return {self}.union(*(s.free_symbols for s in self.subscripts))

    def _sympystr(self, printer: object) -> str:
        return f"{self.tensor.name}[{','.join(map(str, self.subscripts))}]"

    def _latex(self, printer: object) -> str:
        return f"{self.tensor.name}_{{{','.join(map(str, self.subscripts))}}}"


# ---------------------------------------------------------------------------------------------- walking
def accesses(*expressions: Basic) -> list[Access]:
    """Every access, also those inside subscripts, in a deterministic order, without repetition."""
    return list(_ordered(expressions, Access, True))


def outer_accesses(*expressions: Basic) -> list[Access]:
    """Accesses that do not stand inside another access's subscripts."""
    return list(_ordered(expressions, Access, False))


def indices(*expressions: Basic) -> list[Index]:
    """Every index, in order of first appearance."""
    return list(_ordered(expressions, Index, True))


@lru_cache(maxsize=CACHED)
def _ordered(expressions: tuple[Basic, ...], wanted: type, inside: bool) -> tuple[Any, ...]:
    found: dict = {}
    seen: set[Basic] = set()
    stack = list(expressions)[::-1]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if isinstance(node, wanted):
            found[node] = None
            if not inside:
                continue
        if isinstance(node, Access):
            stack.extend(node.args[:0:-1])
        elif not isinstance(node, (Index, Tensor)):
            stack.extend(sorted_args(node)[::-1])
    return tuple(found)


@lru_cache(maxsize=CACHED)
def sort_key(expression: Basic) -> str:
    """str(expression), remembered: it decides the order of terms again and again, the same under every hash seed."""
    return str(expression)


@lru_cache(maxsize=CACHED)
def sorted_args(node: Basic) -> tuple[Basic, ...]:
    """The arguments of a sum or product in an order that does not depend on hashes; of others as they stand."""
    if node.is_Add or node.is_Mul or isinstance(node, (sp.And, sp.Or)):
        return tuple(sorted(node.args, key=sort_key))
    return node.args


# ---------------------------------------------------------------------------------------------- subscripts
@dataclass(frozen=True, slots=True)
class Affine:
    """constant + sum of coefficient * index + sum of coefficient * integer access"""

    constant: Expr
    terms: tuple[tuple[Index, int], ...]
    gathers: tuple[tuple[Access, int], ...]

    @property
    def plain(self) -> Index | None:
        """The index, if the subscript is exactly one index plus a constant."""
        return self.terms[0][0] if len(self.terms) == 1 and self.terms[0][1] == 1 and not self.gathers else None


@lru_cache(maxsize=CACHED)
def affine(subscript: Expr) -> Affine | None:
    """Take a subscript apart; None if it is not affine."""
    constant: Expr = Integer(0)
    terms: dict[Index, int] = {}
    gathers: dict[Access, int] = {}
    for term in sp.Add.make_args(subscript):
        coefficient, rest = term.as_coeff_Mul()
        if isinstance(rest, (Index, Access)) and not coefficient.is_Integer:
            return None
        if isinstance(rest, Index):
            terms[rest] = terms.get(rest, 0) + int(coefficient)
        elif isinstance(rest, Access):
            if rest.tensor.kind != "integer":
                return None
            gathers[rest] = gathers.get(rest, 0) + int(coefficient)
        elif term.is_integer and not term.has(Index, Access):
            constant += term
        else:
            return None
    by_name = lambda item: str(item[0])
    return Affine(constant, tuple(sorted(terms.items(), key=by_name)), tuple(sorted(gathers.items(), key=by_name)))


def in_range(access: Access) -> bool:
    """True if every subscript provably stays inside its axis (a gather never does: its values are data)."""
    return all(subscript_in_range(s, n) for s, n in zip(access.subscripts, access.tensor.shape, strict=True))


def subscript_in_range(subscript: Expr, extent: Expr) -> bool:
    parts = affine(subscript)
    if parts is None or parts.gathers:
        return False
    low = high = parts.constant
    for index, coefficient in parts.terms:
        ends = (coefficient * index.low, coefficient * (index.high - 1))
        low, high = low + ends[coefficient < 0], high + ends[coefficient > 0]
    return bool(low.is_nonnegative and (extent - 1 - high).is_nonnegative)


# ---------------------------------------------------------------------------------------------- equations
@dataclass(frozen=True, slots=True)
class Equation:
    """lhs = op over the domain, where the condition holds, of rhs."""

    lhs: Access
    domain: tuple[Index, ...]
    rhs: Expr
    op: str = "sum"
    where: Boolean = sp.true

    def __post_init__(self) -> None:
        object.__setattr__(self, "domain", tuple(self.domain))
        object.__setattr__(self, "rhs", _sympify(self.rhs))

    @property
    def tensor(self) -> Tensor:
        return self.lhs.tensor

    @property
    def free(self) -> tuple[Index, ...]:
        on_the_left = set(indices(*self.lhs.subscripts))
        return tuple(i for i in self.domain if i in on_the_left)

    @property
    def bound(self) -> tuple[Index, ...]:
        on_the_left = set(indices(*self.lhs.subscripts))
        return tuple(i for i in self.domain if i not in on_the_left)

    def reads(self) -> list[Access]:
        """Every access that is read: in the expression, in the condition, in subscripts of either side."""
        return accesses(self.rhs, self.where, *self.lhs.subscripts)

    def map(self, change: Callable[[Basic], Basic]) -> Equation:
        """The same equation with `change` applied to its expression and its condition."""
        return replace(self, rhs=change(self.rhs), where=change(self.where))

    def substitute(self, new: Mapping[Basic, Basic]) -> Equation:
        """Indices, accesses or sizes replaced everywhere; an index of the domain may only become another index."""
        domain = tuple(i.xreplace(new) for i in self.domain)
        assert all(isinstance(i, Index) for i in domain), "an index of the domain may only become another index"
        return Equation(self.lhs.xreplace(new), domain, self.rhs.xreplace(new), self.op, self.where.xreplace(new))

    def with_accesses(self, change: Callable[[Access], Expr]) -> Equation:
        """change(access) in the place of every access, of those inside its subscripts first."""

        def changed(*parts: Basic) -> dict[Basic, Basic]:
            return {a: change(Access(a.tensor, *_replaced(a.subscripts))) for a in outer_accesses(*parts)}

        def _replaced(subscripts: tuple[Expr, ...]) -> list[Expr]:
            new = changed(*subscripts)
            return [s.xreplace(new) for s in subscripts]

        return self.substitute(changed(self.lhs, self.rhs, self.where))

    def renamed(self, taken: Iterable[str]) -> Equation:
        """The same equation with its indices renamed apart from the names in `taken`."""
        used = set(taken)
        new: dict[Basic, Basic] = {}
        for index in self.domain:
            fresh = fresh_index(index, used)
            used.add(fresh.name)
            if fresh != index:
                new[index] = fresh
        return self.substitute(new) if new else self

    def __str__(self) -> str:
        bound = ",".join(i.name for i in self.bound)
        reduction = f"{self.op}_{bound} " if bound or self.op != "sum" else ""
        condition = "" if self.where is sp.true else f"  where {self.where}"
        return f"{self.lhs} = {reduction}{self.rhs}{condition}"


def merge_duplicates(equations: Iterable[Equation]) -> list[Equation]:
    """A sum that has one equation k times gets it once, k-fold: tables tell equations apart by their content."""
    counts = Counter(equations)
    while any(k > 1 for k in counts.values()):  # the k-fold may be there already
        assert all(e.op == "sum" for e, k in counts.items() if k > 1)
        counts = Counter(e if k == 1 else replace(e, rhs=k * e.rhs) for e, k in counts.items())
    return list(counts)


def fresh_index(index: Index, taken: Iterable[str]) -> Index:
    """The index under a name that is not taken: i, i1, i2, ..."""
    taken = taken if isinstance(taken, (set, frozenset, dict)) else set(taken)
    if index.name not in taken:
        return index
    stem = index.name.rstrip("0123456789")
    number = 1
    while f"{stem}{number}" in taken:
        number += 1
    return index.named(f"{stem}{number}")


def position(bound: Iterable[Index]) -> Expr:
    """The position of a point in the row-major order of the bound indices: what argmax gives."""
    flat: Expr = Integer(0)
    for index in bound:
        flat = flat * index.extent + (index - index.low)
    return sp.expand(flat)


@dataclass(frozen=True)
class Program:
    """Equations with what is wanted of them; `facts` maps a tensor to what the data promise of it."""

    equations: tuple[Equation, ...]
    outputs: tuple[Tensor, ...]
    updates: tuple[tuple[Tensor, Tensor], ...] = ()
    guards: tuple[Tensor, ...] = ()
    facts: tuple[Equation, ...] = ()

    def __post_init__(self) -> None:
        for name in ("equations", "outputs", "updates", "guards", "facts"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @cached_property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors, in order of first appearance."""
        found: dict[Tensor, None] = {}
        for equation in self.equations:
            for access in (*equation.reads(), equation.lhs):
                found[access.tensor] = None
        for tensor in (*self.outputs, *(t for pair in self.updates for t in pair), *self.guards):
            found[tensor] = None
        return tuple(found)

    @cached_property
    def definitions(self) -> dict[Tensor, tuple[Equation, ...]]:
        """tensor -> its equations"""
        table: dict[Tensor, list[Equation]] = {}
        for equation in self.equations:
            table.setdefault(equation.tensor, []).append(equation)
        return {tensor: tuple(equations) for tensor, equations in table.items()}

    @cached_property
    def sizes(self) -> tuple[Symbol, ...]:
        """The sizes that are known only at run time, by name."""
        found: set[Symbol] = set()
        for tensor in self.tensors:
            found.update(s for n in tensor.shape for s in n.free_symbols)
        for equation in self.equations:
            found.update(s for i in equation.domain for e in (i.low, i.high) for s in e.free_symbols)
            found.update(s for e in (equation.rhs, equation.where, *equation.lhs.subscripts) for s in e.atoms(Symbol))
        return tuple(sorted(found, key=str))

    @property
    def roots(self) -> tuple[Tensor, ...]:
        """What must be computed: outputs, next values, guards."""
        return tuple(dict.fromkeys((*self.outputs, *(new for _, new in self.updates), *self.guards)))

    def with_equations(self, equations: Iterable[Equation]) -> Program:
        return replace(self, equations=tuple(equations))

    def with_sizes(self, known: Mapping[str, int]) -> Program:
        """The program for these sizes alone."""
        new: dict[Basic, Basic] = {s: Integer(known[s.name]) for s in self.sizes if s.name in known}

        def told(equations: Iterable[Equation]) -> tuple[Equation, ...]:
            return tuple(e.substitute(new) for e in equations)

        def tensors(found: Iterable[Tensor]) -> tuple[Tensor, ...]:
            return tuple(t.xreplace(new) for t in found)

        updates = tuple((state.xreplace(new), after.xreplace(new)) for state, after in self.updates)
        return Program(told(self.equations), tensors(self.outputs), updates, tensors(self.guards), told(self.facts))

    def live(self) -> Program:
        """Only what the roots need, in the same order."""
        wanted: set[Tensor] = set()
        stack = list(self.roots)
        while stack:
            tensor = stack.pop()
            if tensor in wanted:
                continue
            wanted.add(tensor)
            for equation in self.definitions.get(tensor, ()):
                stack.extend(a.tensor for a in equation.reads())
        return self.with_equations(e for e in self.equations if e.tensor in wanted)

    def __str__(self) -> str:
        return "\n".join(map(str, self.equations))

    def __iter__(self) -> Iterator[Equation]:
        return iter(self.equations)


__all__ = [
    "Access", "Affine", "Equation", "Index", "Program", "ProgramError", "Tensor", "accesses", "affine", "fresh_index",
    "in_range", "indices", "outer_accesses", "position", "size", "uniform",
]  # fmt: skip
