"""Reuse of values: f'(z) is computed from a = f(z) where that is cheaper; z need not be kept, no function runs twice.

In: a program whose forward pass holds a[..] = f(z[..]).  Out: the same, where other equations read g(a) in place of a
function of z alone, with g(f(z)) the same function (see elimination).  Logistic: a(1 - a); tanh: 1 - a**2; softplus:
1 - exp(-a); relu: a <= 0 for z <= 0; none for swish and GELU.

It runs after `share`, which finds f itself (tanh(z) is a); so only what is left needs elimination, and the program that
people read still says f'(z).  An equation that is itself no more than a function of z is left alone, unless it is a
multiple of f': g is as accurate as a derivative needs (4 ulp of its maximum), a value needs more.
"""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp
from sympy import Basic, Expr, Symbol
from sympy.core.relational import Relational

from ..functions import FUNCTIONS
from ..program import Access, Equation, Index, Program, Tensor
from .agreement import F, Z
from .definitions import binding, stands_for
from .elimination import through_value
from .rewriting import in_dependence_order, inside, live, nodes, reads, replace


@dataclass(frozen=True, slots=True)
class _Value:
    """An equation a[..] = f(z[..]), z being the one access that is no parameter: of rank 0, and given."""

    equation: Equation
    argument: Access


def reuse_values(program: Program) -> Program:
    values: dict[Tensor, list[_Value]] = {}
    for equation in program.equations:
        value = _value(equation, program)
        if value is not None:
            values.setdefault(value.argument.tensor, []).append(value)
    if not values:
        return program
    changed = [_reusing(equation, values) for equation in program.equations]
    if all(new is old for new, old in zip(changed, program.equations, strict=True)):
        return program
    return live(program.with_equations(in_dependence_order(changed)))


def _value(equation: Equation, program: Program) -> _Value | None:
    if not any(isinstance(n, (*FUNCTIONS, sp.Piecewise)) for n in nodes(equation.rhs)):
        return None
    found = _arguments(equation.rhs)
    if len(found) != 1 or not stands_for(program, equation):
        return None
    argument = next(iter(found))
    if not isinstance(argument, Access):
        return None
    if any(not a.subscripts and a.tensor.role == "value" for a in reads(equation.rhs)):
        return None  # which may itself be computed from what would read f(z)
    return _Value(equation, argument) if set(_indices(argument)) == set(equation.domain) else None


def _arguments(expression: Basic) -> dict[Basic, None]:
    """What an expression depends on: accesses of rank > 0, and indices that stand outside accesses."""
    found: dict[Basic, None] = {}
    seen: set[Basic] = set()
    stack = [expression]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if isinstance(node, Access):
            if node.subscripts:
                found[node] = None
        elif isinstance(node, Index):
            found[node] = None
        else:
            stack.extend(reversed(node.args))
    return found


def _indices(access: Access) -> list[Index]:
    return [node for node in nodes(access) if isinstance(node, Index)]


def _reusing(equation: Equation, values: dict[Tensor, list[_Value]]) -> Equation:
    for argument in [a for a in _arguments(equation.rhs) if isinstance(a, Access) and a.tensor in values]:
        for value in values[argument.tensor]:
            if value.equation.tensor == equation.tensor:
                continue
            table = binding(value.argument, argument)
            if table is None:
                continue
            rhs = _rewritten(
                equation.rhs, argument, replace(value.equation.rhs, table), replace(value.equation.lhs, table)
            )
            if rhs != equation.rhs:
                equation = Equation(equation.lhs, equation.domain, rhs, equation.op, equation.where)
    return equation


def _rewritten(root: Expr, argument: Access, f: Expr, a: Access) -> Expr:
    """Largest functions of the argument first; of a product, what depends on the argument alone."""
    if set(_arguments(root)) == {argument} and not _is_multiple_of_slope(root, argument, f):
        return root
    table: dict[Basic, Basic] = {}
    stack: list[Basic] = [root]
    while stack:
        node = stack.pop()
        if node in table:
            continue
        depends = _arguments(node)
        if set(depends) == {argument}:
            g = _through(f, node, argument, a)
            if g is not None:
                table[node] = g
        elif isinstance(node, (sp.Mul, sp.Add)):
            alone = [part for part in node.args if set(_arguments(part)) == {argument}]
            if len(alone) > 1:
                g = _through(f, node.func(*alone), argument, a)
                if g is not None:
                    rest = [_rewritten(part, argument, f, a) for part in node.args if part not in alone]
                    table[node] = node.func(g, *rest)
        if node not in table:
            stack.extend(inside(node)[::-1])
    return replace(root, table)


def _is_multiple_of_slope(h: Expr, argument: Access, f: Expr) -> bool:
    scalar_f, scalar_h, _ = _scalars(f, h, argument)
    slope = scalar_f.diff(Z)
    ratio = scalar_h / slope if slope != 0 else Z
    return Z not in nodes(ratio)


def _through(f: Expr, h: Basic, argument: Access, a: Access) -> Basic | None:
    if not any(isinstance(n, (*FUNCTIONS, sp.Piecewise, Relational)) for n in nodes(h)):
        return None
    scalar_f, scalar_h, back = _scalars(f, h, argument)
    g = through_value(scalar_f, scalar_h)
    return None if g is None else replace(g, {**back, Z: argument, F: a})


def _scalars(f: Expr, h: Basic, argument: Access) -> tuple[Expr, Basic, dict[Basic, Basic]]:
    """Both in Z and numbered parameters, so that equal questions of all layers are asked once."""
    parameters = dict.fromkeys((*reads(f), *reads(h)))
    table: dict[Basic, Basic] = {p: Symbol(f"p{k}", real=True) for k, p in enumerate(parameters)}
    back = {symbol: p for p, symbol in table.items()}
    table[argument] = Z
    return replace(f, table), replace(h, table), back
