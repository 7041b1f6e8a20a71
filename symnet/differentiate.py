"""The one differentiation rule, in reverse (pullback) and forward (pushforward) direction.

In: equations and seeds.  Out: more equations of the same kind.  For an equation  C[gamma] += phi(..., A[alpha], ...)
over a domain D, with the adjoint C̄ of C, each distinct access contributes one equation over the same domain,

    Ā[alpha] += C̄[gamma] * d phi / d A[alpha]        over D,

where d phi / d A[alpha] is SymPy's derivative with a fresh symbol in place of each access.  Nothing is inverted and no
delta appears: what was read at alpha is written at alpha, and what is not in alpha is summed.  Equations stay
self-contained, so no index can be captured.  Only the reductions are stated by hand: `max` passes the adjoint to its
argmax, `logsumexp` multiplies by exp(phi - C[gamma]).

Source: reverse accumulation, Linnainmaa 1970; in index notation, Qiu, Neural Networks and Deep Learning, ch. 4.4-4.5.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import sympy as sp
from sympy import Expr, Integer, Symbol
from sympy.logic.boolalg import Boolean

from compiler.functions import log1p
from compiler.graph import in_order, reachable
from compiler.passes.rewriting import free_name
from compiler.program import (
    Access,
    Equation,
    Index,
    Tensor,
    fresh_index,
    indices,
    outer_accesses,
    position,
)

Seed: TypeAlias = Expr | int | Tensor


@dataclass(frozen=True, slots=True)
class Derivation:
    """What a sweep adds: its equations in dependence order, and the derivative tensor of each tensor on a path."""

    equations: tuple[Equation, ...]
    adjoints: dict[Tensor, Tensor]


def pullback(
    equations: Iterable[Equation],
    seeds: Mapping[Tensor, Seed],
    wrt: Sequence[Tensor],
    *,
    name: Callable[[Tensor], str] = lambda tensor: f"d_{tensor.name}",
    scale: Expr | int = 1,
    carry: Sequence[Index] = (),
) -> Derivation:
    """Adjoints of all tensors between the seeds and `wrt`, in one joint sweep.

    seeds: the adjoint of each seeded tensor: an expression, the same for every element (1 for a loss), or a tensor of
    shape carry + shape (a vector-Jacobian product; an identity tensor gives a Jacobian).
    scale: a factor of every contribution to a tensor of `wrt`; these must then not be defined by equations.
    """
    equations = tuple(equations)
    wanted = set(wrt)
    active = _between(equations, wrt, seeds)
    order = [*dict.fromkeys(t for t in (*(e.tensor for e in reversed(equations)), *wrt) if t in active)]
    adjoints = _derivative_tensors(order, equations, seeds, name, tuple(i.extent for i in carry))
    read = {a.tensor for e in equations if e.tensor in active for a in outer_accesses(e.rhs)}
    out: list[Equation] = []
    argmaxes: dict[Tensor, Tensor] = {}

    for tensor in order:  # a seed needs a tensor of its own only where something adds to it
        if tensor in seeds and (tensor in read or tensor in wanted):
            out.append(_seed(adjoints[tensor], tensor, seeds[tensor], tuple(carry)))
    for equation in reversed(equations):
        if equation.tensor not in active:
            continue
        contributions = []
        for access, slope in partial_derivatives(equation):
            if access.tensor not in active:
                continue
            factor = scale if access.tensor in wanted else 1
            contributions.append((access, factor * slope))
        if not contributions:
            continue
        where = _selected(equation, equations, argmaxes, out)
        carried = _apart(carry, equation)
        above = _adjoint(equation, seeds, adjoints, read, wanted, carried)
        for access, slope in contributions:
            lhs = Access(adjoints[access.tensor], *carried, *access.subscripts)
            out.append(Equation(lhs, _domain(lhs, carried, equation), above * slope, "sum", where))
    out = _reached(out, set(adjoints.values()))
    defined = {e.tensor for e in out}
    for tensor in wrt:
        if adjoints[tensor] not in defined:
            out.append(_seed(adjoints[tensor], tensor, Integer(0), tuple(carry)))
    return Derivation(in_order(out), adjoints)


def pushforward(
    equations: Iterable[Equation],
    seeds: Mapping[Tensor, Tensor],
    of: Sequence[Tensor],
    *,
    name: Callable[[Tensor], str] = lambda tensor: f"t_{tensor.name}",
    carry: Sequence[Index] = (),
    carrying: Collection[Tensor] = (),
) -> Derivation:
    """Tangents of `of` along the tangents given for the seeds: the transpose of the pullback, C' += dphi/dA * A'.

    carrying: tensors whose first axes are those of `carry` already, tangents of an earlier sweep along the same
    directions: theirs are taken direction by direction, so that no pairs of directions arise (a Laplacian).
    """
    equations = tuple(equations)
    active = _between(equations, tuple(seeds), of)
    order = [*dict.fromkeys(t for t in (*seeds, *(e.tensor for e in equations), *of) if t in active or t in of)]
    extra = tuple(i.extent for i in carry)
    tangents = {**_derivative_tensors(order, equations, {}, name, extra, carrying), **seeds}
    out: list[Equation] = []
    argmaxes: dict[Tensor, Tensor] = {}
    for equation in equations:
        if equation.tensor not in active or equation.tensor in seeds:
            continue
        slopes = [(access, slope) for access, slope in partial_derivatives(equation) if access.tensor in active]
        if not slopes:
            continue
        where = _selected(equation, equations, argmaxes, out)
        added = () if equation.tensor in carrying else _apart(carry, equation)
        lhs = Access(tangents[equation.tensor], *added, *equation.lhs.subscripts)
        carried = lhs.subscripts[: len(carry)]
        for access, slope in slopes:
            own = () if equation.tensor in carrying and access.tensor in carrying else carried
            rhs = slope * Access(tangents[access.tensor], *own, *access.subscripts)
            out.append(Equation(lhs, (*added, *equation.domain), rhs, "sum", where))
    out = _reached(out, set(tangents.values()) - set(seeds.values()))
    defined = {e.tensor for e in out} | set(seeds.values())
    for tensor in of:
        if tangents[tensor] not in defined:
            out.append(_seed(tangents[tensor], tensor, Integer(0), () if tensor in carrying else tuple(carry)))
    return Derivation(in_order(out), tangents)


def partial_derivatives(equation: Equation) -> list[tuple[Access, Expr]]:
    """(access, d phi / d access) for each distinct real access of the right-hand side, zeros left out.

    For logsumexp the slope carries the factor exp(phi - C[gamma]); for argmax there is none.
    """
    if equation.op == "argmax":
        return []
    leaves = [a for a in outer_accesses(equation.rhs) if a.tensor.kind == "real"]
    symbols = [Symbol(f"x{k}", real=True) for k in range(len(leaves))]
    scalar = equation.rhs.xreplace(dict(zip(leaves, symbols, strict=True)))
    back = dict(zip(symbols, leaves, strict=True))
    weight = sp.exp(equation.rhs - equation.lhs) if equation.op == "logsumexp" else Integer(1)
    slopes = ((leaf, _scalar_derivative(scalar, symbol)) for leaf, symbol in zip(leaves, symbols, strict=True))
    return [(leaf, slope.xreplace(back) * weight) for leaf, slope in slopes if slope != 0]


@lru_cache(maxsize=1000)
def _scalar_derivative(scalar: Expr, symbol: Symbol) -> Expr:
    """Equal kernels (layer after layer of one kind) are differentiated once."""
    slope = scalar.diff(symbol)  # where it has a log(1 + u), of (1 + u)**v, u may be below the last digit of 1
    near_one = [node for node in slope.atoms(sp.log) if node.args[0].as_coeff_add()[0] == 1]
    return sp.factor_terms(slope.xreplace({node: log1p(node.args[0] - 1) for node in near_one}))


def _between(equations: Sequence[Equation], below: Iterable[Tensor], above: Iterable[Tensor]) -> set[Tensor]:
    """Real tensors on a path from `below` to `above`, ends included."""
    edges = [(a.tensor, e.tensor) for e in equations for a in outer_accesses(e.rhs) if a.tensor.kind == "real"]
    up: dict[Tensor, list[Tensor]] = {}
    down: dict[Tensor, list[Tensor]] = {}
    for read, written in edges:
        up.setdefault(read, []).append(written)
        down.setdefault(written, []).append(read)
    upwards, downwards = reachable(below, up), reachable(above, down)
    return (upwards & downwards) | set(below)


def _derivative_tensors(
    order: Sequence[Tensor],
    equations: Sequence[Equation],
    seeds: Mapping[Tensor, Seed],
    name: Callable[[Tensor], str],
    extra: tuple[Expr, ...],
    carrying: Collection[Tensor] = (),
) -> dict[Tensor, Tensor]:
    """A derivative tensor for each; a name already in use (a second application) gets a number."""
    taken = {t.name for e in equations for t in (e.tensor, *(a.tensor for a in e.reads()))}
    taken |= {s.name for s in seeds.values() if isinstance(s, Tensor)}
    shapes = {t: t.shape if t in carrying else (*extra, *t.shape) for t in order}
    return {tensor: Tensor(free_name(name(tensor), taken), shape) for tensor, shape in shapes.items()}


def _seed(adjoint: Tensor, tensor: Tensor, value: Seed, carry: tuple[Index, ...]) -> Equation:
    """adjoint = value, over the whole tensor."""
    taken = {i.name for i in carry}
    own = []
    for letter, extent in zip("ijklmnpqrstuvw", tensor.shape, strict=False):
        own.append(fresh_index(Index(letter, extent), taken))
        taken.add(own[-1].name)
    everywhere = (*carry, *own)
    rhs = Access(value, *everywhere) if isinstance(value, Tensor) else sp.sympify(value, strict=True)
    return Equation(Access(adjoint, *everywhere), everywhere, rhs)


def _reached(equations: Sequence[Equation], derivatives: set[Tensor]) -> list[Equation]:
    """Without the equations that only carry on a derivative to which nothing was ever contributed (a slope was 0)."""
    readers: dict[Tensor, list[Equation]] = {}
    reached: set[Equation] = set()
    stack: list[Equation] = []
    for equation in equations:
        above = [a.tensor for a in outer_accesses(equation.rhs) if a.tensor in derivatives]
        for tensor in above:
            readers.setdefault(tensor, []).append(equation)
        if not above:
            stack.append(equation)
    while stack:
        equation = stack.pop()
        if equation not in reached:
            reached.add(equation)
            stack.extend(readers.get(equation.tensor, ()))
    return [e for e in equations if e in reached]


def _adjoint(
    equation: Equation,
    seeds: Mapping[Tensor, Seed],
    adjoints: Mapping[Tensor, Tensor],
    read: set[Tensor],
    wrt: set[Tensor],
    carried: Sequence[Index],
) -> Expr:
    """C̄[gamma]: the seed itself where nothing else adds to it, else an access of the adjoint tensor."""
    tensor = equation.tensor
    subscripts = (*carried, *equation.lhs.subscripts)
    if tensor not in read and tensor not in wrt:  # then it is seeded, or no path would go through it
        seed = seeds[tensor]
        return Access(seed, *subscripts) if isinstance(seed, Tensor) else sp.sympify(seed, strict=True)
    return Access(adjoints[tensor], *subscripts)


def _selected(
    equation: Equation, equations: Sequence[Equation], argmaxes: dict[Tensor, Tensor], out: list[Equation]
) -> Boolean:
    """The condition of the contributions; a `max` is restricted to its argmax, whose equation is added to `out`."""
    if equation.op != "max" or not equation.bound:
        return equation.where
    tensor = equation.tensor
    if tensor not in argmaxes:
        argmax = Tensor(f"{tensor.name}_argmax", tensor.shape, "value", "integer")
        lhs = Access(argmax, *equation.lhs.subscripts)
        selection = Equation(lhs, equation.domain, equation.rhs, "argmax", equation.where)
        argmaxes[tensor] = argmax
        if selection not in equations:  # an earlier sweep may have made it
            out.append(selection)
    chosen = Access(argmaxes[tensor], *equation.lhs.subscripts)
    return sp.And(equation.where, sp.Eq(position(equation.bound), chosen))


def _apart(carry: Sequence[Index], equation: Equation) -> tuple[Index, ...]:
    taken = {i.name for i in equation.domain}
    carried = []
    for index in carry:
        carried.append(fresh_index(index, taken))
        taken.add(carried[-1].name)
    return tuple(carried)


def _domain(lhs: Access, carried: Sequence[Index], equation: Equation) -> tuple[Index, ...]:
    """The same domain, the indices of the new left-hand side first."""
    everywhere = (*carried, *equation.domain)
    first = [i for i in indices(*lhs.subscripts) if i in everywhere]
    return (*first, *(i for i in everywhere if i not in first))
