"""Algebra: numbers, copies and identity tensors disappear, conditions that name an index are solved.

In: a program as differentiation left it.  Out: the same values from fewer and simpler equations.

  * A tensor that is a number, a copy of another (transposed, sliced, broadcast), or a cheap expression of
    hyper-parameters is read as what it is.  A read that may leave the tensor's range (it gives 0 there) is left alone,
    unless the original gives 0 there as well.
  * A factor I[i,j] of an identity tensor is the condition i = j;  `where k = e` with k an index is solved: k becomes e.
    A label then is a gather or a scatter.  Not where e may leave the range of k unnoticed.
  * c * Piecewise((0, p), (1, True)) becomes Piecewise((0, p), (c, True)): 0 * inf must not poison the sum.
  * A sum over an index that nothing names is a factor; quotients of sums cancel where that saves operations.

Sums are never put into sums: every adjoint stays a tensor with a name.
"""

from __future__ import annotations

from functools import cache

import sympy as sp
from sympy import Basic, Expr, Integer, Symbol

from ..program import Access, Equation, Index, Program, Tensor
from .definitions import binding, covers, is_map, is_outside, is_whole, zero_if_outside
from .rewriting import (
    equation_reads,
    in_dependence_order,
    is_constant,
    is_infinite,
    is_zero,
    keeps_rows,
    live,
    nodes,
    operations,
    piecewise,
    reads,
    replace,
    rewrite,
    rewrite_equation,
    substitute,
)

CANCEL_BUDGET = 40  # operations of an expression that is given to SymPy's cancel, which costs milliseconds


def simplify_algebra(program: Program) -> Program:
    program = inline_simple(program)
    identities = _identities(program)
    solved_once = [_solve_conditions(_use_identities(e, identities), program) for e in program.equations]
    program = inline_simple(program.with_equations(solved_once))
    memo: dict[Basic, Basic] = {}
    program = program.with_equations(_leave_sums(rewrite_equation(e, _simpler, memo)) for e in program.equations)
    return live(program.with_equations(in_dependence_order(_without_zeros(program))))


# ---------------------------------------------------------------------------------------------- inlining
def inline_simple(program: Program) -> Program:
    """Reads of numbers, copies and cheap hyper-parameters replaced by what they are."""
    while True:
        simple = _simple_tensors(program)
        if not simple:
            return program
        memo: dict[Basic, Basic] = {}

        def rule(node: Basic) -> Basic:
            if isinstance(node, Access) and node.tensor in simple:  # noqa: B023
                return _inlined(simple[node.tensor], node)  # noqa: B023
            return node

        changed = [(e, rewrite_equation(e, rule, memo, left=True)) for e in program.equations]
        new = program.with_equations(old if is_infinite(inlined.rhs) else inlined for old, inlined in changed)
        if new.equations == program.equations:
            return program
        program = live(new)


def _simple_tensors(program: Program) -> dict[Tensor, Equation]:
    found: dict[Tensor, Equation] = {}
    once = _read_once(program)
    for tensor, own in program.definitions.items():
        if all(e.op == "sum" and is_zero(e.rhs) for e in own):
            every = tuple(Index(f"i{axis}", n) for axis, n in enumerate(tensor.shape))
            found[tensor] = Equation(Access(tensor, *every), every, Integer(0))
        elif len(own) == 1 and is_map(own[0]) and _is_simple(own[0], tensor in once):
            found[tensor] = own[0]
    return found


def _read_once(program: Program) -> set[Tensor]:
    count: dict[Tensor, int] = {}
    for equation in program.equations:
        for access in equation_reads(equation):
            count[access.tensor] = count.get(access.tensor, 0) + 1
    return {tensor for tensor, times in count.items() if times == 1}


def _is_simple(equation: Equation, once: bool) -> bool:
    rhs, tensor = equation.rhs, equation.tensor
    found = reads(rhs)
    if any(a.tensor == tensor or a.tensor.sparse for a in found):
        return False
    if tensor.kind == "integer":
        return isinstance(rhs, Integer) or (isinstance(rhs, Access) and rhs.tensor.kind == "integer")
    if isinstance(rhs, Access):
        return rhs.tensor.kind == "real"
    if is_constant(rhs):
        return True
    if all(a.tensor.role == "hyper" for a in found) and not any(isinstance(n, Index) for n in nodes(rhs)):
        arithmetic, functions = operations(rhs)
        return functions == 0 and arithmetic <= 2
    rest = rhs.as_coeff_Mul()[1]  # but for a number
    return once and isinstance(rest, Access) and rest.tensor.kind == "real"


def _inlined(equation: Equation, access: Access) -> Basic:
    rhs = equation.rhs
    if is_zero(rhs):
        return rhs
    source = rhs.as_coeff_Mul()[1]
    anywhere = is_whole(equation) and isinstance(source, Access) and _is_transposition(equation.lhs, source)
    table = binding(equation.lhs, access, anywhere)
    return access if table is None else rewrite(rhs, zero_if_outside, dict(table))


def _is_transposition(left: Access, right: Access) -> bool:
    """Axis for axis the same index on both sides, so that both read 0 at the same places."""
    if set(left.subscripts) != set(right.subscripts):
        return False
    extents = dict(zip(left.subscripts, left.tensor.shape, strict=True))
    return all(extents[s] == n for s, n in zip(right.subscripts, right.tensor.shape, strict=True))


# ---------------------------------------------------------------------------------------------- conditions
def _identities(program: Program) -> dict[Tensor, Equation]:
    """Tensors that are 1 where some of their subscripts are equal, and 0 elsewhere."""
    found: dict[Tensor, Equation] = {}
    for tensor, own in program.definitions.items():
        equation = own[0]
        left = equation.lhs.subscripts
        if (
            len(own) == 1
            and equation.op == "sum"
            and equation.where is sp.true
            and equation.rhs == 1
            and len(set(left)) < len(left)
            and set(left) == set(equation.domain)
            and all(
                isinstance(s, Index) and s.low.is_zero and s.high == n for s, n in zip(left, tensor.shape, strict=True)
            )
        ):
            found[tensor] = equation
    return found


def _use_identities(equation: Equation, identities: dict[Tensor, Equation]) -> Equation:
    """Factors that are identity tensors become conditions, if all of these can be solved."""
    if equation.op != "sum":
        return equation
    for factor in sp.Mul.make_args(equation.rhs):
        if not isinstance(factor, Access) or factor.tensor not in identities:
            continue
        left = identities[factor.tensor].lhs.subscripts
        current = Equation(equation.lhs, equation.domain, equation.rhs / factor, "sum", equation.where)
        first: dict[Expr, Expr] = {}
        done: dict[Basic, Basic] = {}
        for one, subscript in zip(left, factor.subscripts, strict=True):
            pair = [replace(s, done) for s in (first.setdefault(one, subscript), subscript)]
            if pair[0] == pair[1]:
                continue
            step = next((s for s in (pair, pair[::-1]) if _solvable(current, s[0], s[1], one)), None)
            if step is None:
                break
            done = {old: replace(new, {step[0]: step[1]}) for old, new in done.items()} | {step[0]: step[1]}
            current = _put(current, step[0], step[1])
        else:
            if keeps_rows(current) and all(covers(one, replace(s, done)) for one, s in first.items()):
                return _use_identities(current, identities)
    return equation


def _solvable(equation: Equation, index: Expr, value: Expr, axis: Index) -> bool:
    return index in equation.domain and index not in nodes(value) and covers(index, value)


def _put(equation: Equation, index: Expr, value: Expr) -> Equation:
    new = substitute(equation, {index: value}, (i for i in equation.domain if i != index))
    return rewrite_equation(new, zero_if_outside, {})


def _solve_conditions(equation: Equation, program: Program) -> Equation:
    """where k = e  ->  k := e"""
    if equation.op != "sum":
        return equation
    for relation in sp.And.make_args(equation.where):
        if not isinstance(relation, sp.Eq):
            continue
        for index, value in (relation.args, relation.args[::-1]):
            if index not in equation.domain or index in nodes(value):
                continue
            if not (covers(index, value) or _is_position(index, value, program) or _is_noticed(equation, index)):
                continue
            rest = sp.And(*(r for r in sp.And.make_args(equation.where) if r is not relation))
            new = _put(Equation(equation.lhs, equation.domain, equation.rhs, "sum", rest), index, value)
            allowed = keeps_rows(new) and not is_infinite(new.rhs)
            if allowed and not is_outside(new.lhs):  # else nothing is written: the condition names no element then
                return _solve_conditions(new, program)
    return equation


def _is_position(index: Index, value: Expr, program: Program) -> bool:
    """The value is an argmax over as many points as the index has, and never over none."""
    own = program.definitions.get(value.tensor, ()) if isinstance(value, Access) else ()
    if len(own) != 1 or own[0].op != "argmax" or own[0].where is not sp.true or not index.low.is_zero:
        return False
    points = sp.Mul(*(i.extent for i in own[0].bound))  # a read of it outside its range is 0, a position too
    return points == index.high and bool(points.is_positive)


def _is_noticed(equation: Equation, index: Index) -> bool:
    """Outside the range of the index nothing is written, or every term is a product with a factor that reads 0."""

    def names_it(access: Basic) -> bool:
        return isinstance(access, Access) and any(
            s == index and index.low.is_zero and n == index.high
            for s, n in zip(access.subscripts, access.tensor.shape, strict=True)
        )

    if names_it(equation.lhs):
        return True
    for term in sp.Add.make_args(equation.rhs):
        factors = sp.Mul.make_args(term)
        if not any(map(names_it, factors)) or not all(isinstance(f, Access) or is_constant(f) for f in factors):
            return False
    return True


# ---------------------------------------------------------------------------------------------- expressions
def _simpler(node: Basic) -> Basic:
    if node.is_Mul:
        return _cancelled(_into_arms(node))
    return node


def _into_arms(node: Expr) -> Expr:
    """c * Piecewise((0, p), (e, True)) -> Piecewise((0, p), (c*e, True)); what is sparse stays a factor of all"""
    for factor in node.args:
        if isinstance(factor, sp.Piecewise) and any(is_zero(arm) for arm, _ in factor.args):
            sparse = [f for f in node.args if any(a.tensor.sparse for a in reads(f))]
            rest = sp.Mul(*(f for f in node.args if f is not factor and f not in sparse))
            arms = ((_into_arms(arm * rest) if not is_zero(arm) else arm, p) for arm, p in factor.args)
            return sp.Mul(*sparse, piecewise(arms))
    return node


def _cancelled(node: Expr) -> Expr:
    """(a*a - b*b)/(a - b) -> a + b, if it saves operations"""
    if not node.is_Mul or not any(f.is_Pow and f.exp.is_Integer and f.exp < 0 and f.base.is_Add for f in node.args):
        return node
    if not any(f.is_Add or (f.is_Pow and f.base.is_Add and f.exp.is_Integer and f.exp > 0) for f in node.args):
        return node
    leaves = _leaves(node)
    if len(leaves) > 4 or sum(operations(node)) > CANCEL_BUDGET:
        return node
    table: dict[Basic, Basic] = {leaf: Symbol(f"x{k}", real=True) for k, leaf in enumerate(leaves)}
    scalar = replace(node, table)
    shorter = _cancel(scalar)
    return replace(shorter, {symbol: leaf for leaf, symbol in table.items()}) if shorter != scalar else node


def _leaves(root: Expr) -> list[Basic]:
    """What is not a sum, product or integer power of something else."""
    found: dict[Basic, None] = {}
    stack: list[Basic] = [root]
    while stack:
        node = stack.pop()
        if node.is_Add or node.is_Mul or (node.is_Pow and node.exp.is_Integer):
            stack.extend(node.args[::-1])
        elif not node.is_Number:
            found[node] = None
    return list(found)


@cache
def _cancel(scalar: Expr) -> Expr:
    shorter = sp.cancel(scalar)
    return min(scalar, shorter, sp.factor(shorter), key=operations)  # 1/(1 + x)**2 rather than 1/(1 + 2*x + x**2)


def _leave_sums(equation: Equation) -> Equation:
    """sum over k of what does not name k -> extent * ..."""
    if equation.op != "sum":
        return equation
    named = set(nodes(equation.rhs, equation.where))
    idle = [i for i in equation.bound if i not in named]
    if not idle or not all(i.extent.is_nonnegative for i in idle):
        return equation
    rhs = sp.Mul(*(i.extent for i in idle), equation.rhs)
    return Equation(equation.lhs, tuple(i for i in equation.domain if i not in idle), rhs, "sum", equation.where)


def _without_zeros(program: Program) -> list[Equation]:
    """Contributions of 0 go, unless the tensor has no other."""

    def is_nothing(equation: Equation) -> bool:
        return equation.op == "sum" and (is_zero(equation.rhs) or equation.where is sp.false)

    lost = {t: own[0] for t, own in program.definitions.items() if all(map(is_nothing, own))}
    return [e for e in program.equations if not is_nothing(e) or lost.get(e.tensor) is e]
