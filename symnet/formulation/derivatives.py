"""Derivatives inside equations: d(u[n,0], x[n,0], x[n,0]), the second derivative of u by an input of its own sample.

In: what equations in text ask for (Requests), and all equations on the way from the inputs to u.  Out: the equations of
these derivatives, by the one rule, once for each order: nothing is approximated, and the sweep over the parameters
differentiates them again.  Stands beside equation_text.py.

A direction is one element of the input of each sample, x[n,0], or an index that runs over them, x[n,j].  What is
derived along a direction is derived once, whoever asks.  Names: z3_x, z3_xx; z3_x0x1 by x[n,0] and x[n,1]; z3_xj.

The rule goes forward (pushforward), but for the first derivative of one element by many, such as all x[n,j]: there it
goes backward (pullback), which is one sweep for all of them.

Sources: forward accumulation: Wengert 1964; derivatives of a network in its loss: Raissi, Perdikaris, Karniadakis 2019.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import sympy as sp
from sympy import Basic, Expr, Integer

from compiler.graph import in_order
from compiler.program import Access, Equation, Index, Program, Tensor, affine, outer_accesses

from ..differentiate import pullback, pushforward
from ..errors import Quoted, complaint

ORDER = 4


@dataclass(frozen=True, slots=True)
class Direction:
    """The element x[n, *slot] of an input; a slot is a number, or an index that runs over its whole axis."""

    tensor: Tensor
    slot: tuple[Expr, ...]

    @property
    def carried(self) -> tuple[Index, ...]:
        return tuple(s for s in self.slot if isinstance(s, Index))

    @property
    def label(self) -> str:
        stem = self.tensor.name.partition("_")[2] or self.tensor.name
        only = all(extent == 1 for extent in self.tensor.shape[1:])
        return stem if only and not self.carried else stem + "_".join(map(str, self.slot))


@dataclass(frozen=True, slots=True)
class Request:
    """`tensor` is to be the derivative of `of`; its first axes are the carried indices, the last direction's first.

    element: the one of `of` whose derivative by a whole input is wanted: the rule goes backward, and `tensor` has the
    shape of the input; None: it goes forward.
    """

    tensor: Tensor
    of: Tensor
    by: tuple[Direction, ...]
    where: str
    element: tuple[Expr, ...] | None = None


@dataclass(slots=True)
class Derivatives:
    """What the lines of one text ask for; `below` defines what they read."""

    below: Sequence[Equation] = ()
    requests: dict[tuple[Any, ...], Request] = field(default_factory=dict)

    def access(self, of: Access, by: Sequence[Access], where: str) -> Access:
        """The element of a derivative that d(of, *by) says; SymnetError if it says none."""
        sample, inputs = of.subscripts[0] if of.subscripts else None, [a.tensor for a in by]
        if not by or len(by) > ORDER:
            raise complaint(where, Quoted(f"{len(by)} inputs after the first argument"), f"from 1 to {ORDER}")
        if of.tensor in inputs or of.tensor.kind != "real" or of.tensor.role in ("target", "parameter"):
            raise complaint(where, Quoted(f"the derivative of {of.tensor.name}"), "one of what the network computes")
        directions = []
        for access in by:
            first, *slot = access.subscripts
            if access.tensor.role != "input" or access.tensor.kind != "real":
                raise complaint(where, Quoted(f"a derivative by {access}"), "one by an input of the network")
            if first != sample or not isinstance(first, Index):
                raise complaint(where, Quoted(f"a derivative of {of} by {access}"), "both of the same sample n")
            for s, extent in zip(slot, access.tensor.shape[1:], strict=True):
                inside = s.is_Integer and 0 <= s < extent
                if not inside and not (isinstance(s, Index) and (s.low, s.high) == (0, extent)):
                    expected = f"numbers from 0 to {extent - 1}, or an index that runs over them"
                    raise complaint(where, Quoted(f"a derivative by {access}"), expected)
            directions.append(Direction(access.tensor, tuple(slot)))
        ordered = tuple(sorted(directions, key=lambda d: (d.tensor.name, str(d.slot))))
        front, element = _front(ordered), of.subscripts[1:]
        backward = len(by) == 1 and bool(front) and all(s.is_Integer for s in element)
        shape = by[0].tensor.shape if backward else (*(index.extent for index in front), *of.tensor.shape)
        key = (of.tensor, ordered, element if backward else None)
        if key not in self.requests:
            name = _fresh(f"{of.tensor.name}_{''.join(d.label for d in ordered)}", self.taken)
            self.requests[key] = Request(Tensor(name, shape), of.tensor, ordered, where, key[2])
        subscripts = by[0].subscripts if backward else (*front, *of.subscripts)
        return Access(self.requests[key].tensor, *subscripts)

    @property
    def taken(self) -> set[str]:
        known = {a.tensor.name for e in self.below for a in (e.lhs, *e.reads())}
        return known | {request.tensor.name for request in self.requests.values()}

    @property
    def named(self) -> set[Tensor]:
        """What is derived, and the inputs that it is derived by."""
        requests = self.requests.values()
        return {tensor for r in requests for tensor in (r.of, *(direction.tensor for direction in r.by))}

    def equations(self, lines: Iterable[Equation]) -> list[Equation]:
        """The equations of all that was asked for, of what is defined below or by these lines."""
        pending, made = list(self.requests.values()), _Tangents([*self.below, *lines], self.taken)
        while pending:
            waiting = {request.tensor for request in pending}
            ready = [request for request in pending if not waiting & made.read(request.of)]
            if not ready:
                found = Quoted(f"{pending[0].of.name} in terms of its own derivative")
                raise complaint(pending[0].where, found, "derivatives of what is defined without them")
            for request in ready:
                made.resolve(request)
            pending = [request for request in pending if request not in ready]
        return made.made


def _front(by: Iterable[Direction]) -> tuple[Index, ...]:
    """The first axes of a derivative: a direction that comes again adds none."""
    front: tuple[Index, ...] = ()
    for direction in dict.fromkeys(by):
        front = (*direction.carried, *front)
    return front


@dataclass(slots=True)
class _Tangents:
    """All that was derived so far; `tables`: along a direction, tensor -> its derivative."""

    known: list[Equation]
    taken: set[str]
    made: list[Equation] = field(default_factory=list)
    tables: dict[tuple[Direction, Request | None], dict[Tensor, Tensor]] = field(default_factory=dict)

    def below(self, tensor: Tensor) -> tuple[Equation, ...]:
        """What it is computed from."""
        return Program(in_order([*self.known, *self.made]), (tensor,)).live().equations

    def read(self, tensor: Tensor) -> set[Tensor]:
        return {tensor} | {a.tensor for equation in self.below(tensor) for a in equation.reads()}

    def resolve(self, request: Request) -> None:
        for equation in self.below(request.of):
            if not all(index.extent.is_Integer for index in equation.bound):
                found = Quoted(f"a derivative of {request.of.name}, where {equation.tensor.name} couples the samples")
                raise complaint(request.where, found, "samples that are independent", "Use layer_norm for batch_norm.")
        if request.element is not None:
            self._sweep(request, request.element)
            return
        current = request.of
        for order, direction in enumerate(request.by, 1):
            # carried axes are those of one request: another may read its derivatives summed over them
            table = self.tables.setdefault((direction, request if direction.carried else None), {})
            last = request.tensor.name if order == len(request.by) else ""
            if current not in table:
                self._derive(current, direction, table, last)
            if last and table[current] != request.tensor:  # an earlier request came to it on its way
                own = _everywhere(request.tensor)
                self.made.append(Equation(Access(request.tensor, *own), own, Access(table[current], *own)))
            current = table[current]

    def _sweep(self, request: Request, element: tuple[Expr, ...]) -> None:
        """The adjoints of all on the way back from an element of the tensor to the input."""
        of, x = request.of, request.by[0].tensor

        def name(tensor: Tensor) -> str:
            return request.tensor.name if tensor == x else _fresh(f"{of.name}_{tensor.name}", self.taken)

        unit = Tensor(f"unit.{of.name}", of.shape)
        found = pullback(self.below(of), {of: unit}, [x], name=name)
        made = [chosen for e in found.equations for chosen in _at(e, unit, Direction(of, element))]
        made = _defined(_without_zeros(made, set(found.adjoints.values()) - {unit}), request.tensor)
        assert found.adjoints[x] == request.tensor
        self.taken |= {tensor.name for tensor in found.adjoints.values()}
        self.made += made

    def _derive(self, wanted: Tensor, direction: Direction, table: dict[Tensor, Tensor], last: str) -> None:
        x, carried, derived = direction.tensor, direction.carried, {e.tensor for e in self.made}

        def name(tensor: Tensor) -> str:
            if last and tensor == wanted:
                return last
            return _fresh(f"{tensor.name}{'' if tensor in derived else '_'}{direction.label}", self.taken)

        unit = Tensor(f"unit.{direction.label}", (*(i.extent for i in carried), *x.shape))
        equations = self.below(wanted)
        seeds, along = {x: unit, **table}, set(table.values()) if carried else set[Tensor]()
        found = pushforward(equations, seeds, [wanted], name=name, carry=carried, carrying=along)
        made = [chosen for e in found.equations for chosen in _at(e, unit, direction)]
        made = _collected(made)
        made = _without_zeros(made, set(found.adjoints.values()) - set(seeds.values()))
        made = _defined(made, found.adjoints[wanted])
        defined = {equation.tensor for equation in made}
        self.taken |= {tensor.name for tensor in defined}
        table |= {tensor: tangent for tensor, tangent in found.adjoints.items() if tangent in defined}
        self.made += made


def _at(equation: Equation, unit: Tensor, direction: Direction) -> list[Equation]:
    """The equation with the unit vector of a direction put in: it reads the one element that is 1, or is dropped."""
    read = [a for a in outer_accesses(equation.rhs) if a.tensor == unit]
    if not read:
        return [equation]
    (access,) = read
    carried = len(direction.carried)
    own = iter(access.subscripts[:carried])
    slots = [next(own) if isinstance(s, Index) else s for s in direction.slot]
    new: dict[Basic, Basic] = {}
    where = equation.where
    for subscript, slot in zip(access.subscripts[carried + 1 :], slots, strict=True):
        here, there = subscript.xreplace(new), slot.xreplace(new)
        parts = affine(here)
        plain = None if parts is None or not isinstance(there, Integer) else parts.plain
        if here == there:
            continue
        if isinstance(here, Integer) and isinstance(there, Index):
            here, there = there, here
        if isinstance(here, Integer) and isinstance(there, Integer):
            return []
        if isinstance(here, Index) and isinstance(there, Index) and (here.low, here.high) == (there.low, there.high):
            new = {key: value.xreplace({here: there}) for key, value in new.items()} | {here: there}
        elif isinstance(here, Index) and isinstance(there, Integer):
            if not here.low <= there < here.high:
                return []
            new = {key: value.xreplace({here: there}) for key, value in new.items()} | {here: there}
        elif plain is not None and parts is not None:
            value = there - parts.constant
            if not plain.low <= value < plain.high:
                return []
            new = {key: v.xreplace({plain: value}) for key, v in new.items()} | {plain: value}
        else:
            where = sp.And(where, sp.Eq(here, there))
    rhs = equation.rhs.xreplace({access: Integer(1)}).xreplace(new)
    domain = tuple(i for i in equation.domain if i not in new)
    return [Equation(equation.lhs.xreplace(new), domain, rhs, equation.op, where.xreplace(new))]


def _collected(equations: Iterable[Equation]) -> list[Equation]:
    """Equations of one element over one domain as one, so that like terms meet: f'' z_x z_xx comes three times."""
    together: dict[object, list[Equation]] = {}
    for e in equations:
        key = e if e.bound else (e.lhs, e.domain, e.where)
        together.setdefault(key, []).append(e)
    return [replace(same[0], rhs=sp.Add(*(e.rhs for e in same))) for same in together.values()]


def _without_zeros(equations: list[Equation], tangents: set[Tensor]) -> list[Equation]:
    """Without what reads a derivative that nothing defines, so is 0: each equation is linear in one of them."""
    while True:
        zeros = tangents - {equation.tensor for equation in equations}
        left = [e for e in equations if not any(a.tensor in zeros for a in outer_accesses(e.rhs))]
        if len(left) == len(equations):
            return left
        equations = left


def _defined(equations: list[Equation], tensor: Tensor) -> list[Equation]:
    """With a definition of the tensor, which is 0 if it has none."""
    own = _everywhere(tensor)
    zero = Equation(Access(tensor, *own), own, Integer(0))
    return equations if any(e.tensor == tensor for e in equations) else [*equations, zero]


def _fresh(name: str, taken: Collection[str]) -> str:
    numbered = (f"{name}_{number}" for number in count(2))
    return name if name not in taken else next(other for other in numbered if other not in taken)


def _everywhere(tensor: Tensor) -> tuple[Index, ...]:
    return tuple(Index(f"i{k}", extent) for k, extent in enumerate(tensor.shape))
