"""Facts: what the data promise shortens sums.

In: a program whose `facts` say, each, that a sum over its bound indices is 1 (targets that are distributions:
sum_k y[n,k] = 1).  Out: sum_k y[n,k] * g becomes g where g does not name k.  So the gradient of softmax cross-entropy
becomes p - y: the adjoint of logsumexp, -sum_k y[n,k] * d_l[n], is -d_l[n].

The equations are right only for data that keep the promise; who runs the program checks it.
"""

from __future__ import annotations

import sympy as sp
from sympy import Basic, Expr

from ..program import Access, Equation, Index, Program
from .definitions import covers
from .rewriting import nodes


def use_facts(program: Program) -> Program:
    return program.with_equations(new for equation in program.equations for new in _shortened(equation, program.facts))


def _shortened(equation: Equation, facts: tuple[Equation, ...]) -> list[Equation]:
    """The equation, or several, whose contributions add up to its own."""
    if equation.op != "sum" or equation.where is not sp.true:
        return [equation]
    kept: list[Expr] = []
    shorter: list[Equation] = []
    for term in sp.Add.make_args(equation.rhs):
        for fact in facts:
            found = _without(term, fact, equation)
            if found is not None:
                rest, gone = found
                domain = tuple(i for i in equation.domain if i not in gone)
                shorter.extend(_shortened(Equation(equation.lhs, domain, rest), facts))
                break
        else:
            kept.append(term)
    if not shorter:
        return [equation]
    return ([Equation(equation.lhs, equation.domain, sp.Add(*kept))] if kept else []) + shorter


def _without(term: Expr, fact: Equation, equation: Equation) -> tuple[Expr, set[Basic]] | None:
    """The other factors of the term, and the indices that were summed."""
    patterns = sp.Mul.make_args(fact.rhs)
    if not all(isinstance(p, Access) for p in patterns):
        return None
    for bindings, rest in _matches(list(patterns), list(sp.Mul.make_args(term)), {}, fact):
        gone = {bindings[i] for i in fact.bound}
        others = [bindings[i] for i in fact.free]
        if (
            len(gone) == len(fact.bound)
            and all(g in equation.bound and g.args[1:] == i.args[1:] for i in fact.bound for g in [bindings[i]])
            and all(covers(i, s) for i, s in zip(fact.free, others, strict=True))
            and gone.isdisjoint(nodes(*rest, *others))
        ):
            return sp.Mul(*rest), gone
    return None


def _matches(
    patterns: list[Basic], factors: list[Expr], bindings: dict[Index, Expr], fact: Equation
) -> list[tuple[dict[Index, Expr], list[Expr]]]:
    """Ways to find each pattern among the factors, with what the fact's indices then are."""
    if not patterns:
        return [(bindings, factors)]
    found = []
    for k, factor in enumerate(factors):
        extended = _bound_by(patterns[0], factor, bindings, fact)
        if extended is not None:
            found.extend(_matches(patterns[1:], factors[:k] + factors[k + 1 :], extended, fact))
    return found


def _bound_by(pattern: Basic, factor: Basic, bindings: dict[Index, Expr], fact: Equation) -> dict[Index, Expr] | None:
    if not isinstance(factor, Access) or not isinstance(pattern, Access) or pattern.tensor != factor.tensor:
        return None
    new = dict(bindings)
    for left, right in zip(pattern.subscripts, factor.subscripts, strict=True):
        if isinstance(left, Index) and left in fact.domain:
            if new.setdefault(left, right) != right:
                return None
        elif left != right:
            return None
    return new
