"""Stabilize: no exponential of an unbounded positive argument, no log(1 + exp), no exp/sum exp, no 1 - logistic.

In: a program with logsumexp.  Out: the same values, finite for net inputs far beyond the range of exp.

  * A logsumexp becomes max, e = exp(x - max), s = sum e, max + log s.  A factor exp(x - logsumexp) becomes e/s, so that
    softmax is one exponential, shared by loss, probabilities and gradient.  A row whose every element is masked by the
    equation's condition has max = -inf, s = 0 and logsumexp = -inf; nothing visits its e/s.
  * Scalar forms: the table below, leaves first.  SymPy's own rewrites (codegen.rewriting) are not enough, and
    logsumexp_2terms_opt is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import sympy as sp
from sympy import Basic, Expr, Integer

from ..functions import expm1, log1p, logistic, softplus
from ..program import Access, Equation, Index, Program, Tensor
from .definitions import covers
from .rewriting import free_name, names, reads, replace, rewrite_equation

MOST_EXPONENTIALS = 4  # in one logarithm; a longer sum is a logsumexp over an index


def stabilize(program: Program) -> Program:
    taken = names(program)
    parts: dict[Tensor, _Softmax] = {}
    equations: list[Equation] = []
    memo: dict[Basic, Basic] = {}
    for equation in program.equations:
        if equation.op == "logsumexp":
            equation = rewrite_equation(equation, stable_scalar, memo)
            expanded = _expanded(equation, taken)
            equations.extend(expanded.equations)
            if len(expanded.equations) == 4:
                parts[equation.tensor] = expanded
        else:
            equations.append(equation)
    memos: dict[Basic, dict[Basic, Basic]] = {}

    def changed(equation: Equation) -> Equation:
        def rule(node: Basic) -> Basic:
            if isinstance(node, sp.Piecewise):
                return _ratios_of_pieces(node, parts, equation.where)
            return stable_scalar(_ratio(node, parts, equation.where) if isinstance(node, sp.exp) else node)

        return rewrite_equation(equation, rule, memos.setdefault(equation.where, {}))

    return program.with_equations(map(changed, equations))


# ---------------------------------------------------------------------------------------------- logsumexp
@dataclass(frozen=True, slots=True)
class _Softmax:
    """A logsumexp taken apart: its equation, the tensors e and s, and the equations that stand for it."""

    origin: Equation
    exponential: Tensor
    total: Tensor
    equations: tuple[Equation, ...]


def _expanded(equation: Equation, taken: set[str]) -> _Softmax:
    argument = [a.tensor.name for a in reads(equation.rhs)]
    stem = argument[0] if isinstance(equation.rhs, Access) else equation.tensor.name
    free, bound = equation.lhs.subscripts, equation.bound
    shape = equation.tensor.shape
    top = Tensor(free_name(f"{stem}_max", taken), shape)
    exponential = Tensor(free_name(f"{stem}_exp", taken), (*shape, *(i.high for i in bound)))
    total = Tensor(free_name(f"{stem}_sum", taken), shape)
    m, e, s = Access(top, *free), Access(exponential, *free, *bound), Access(total, *free)
    where = equation.where
    if where.has(Access):  # data say which few points there are: a table of all of them would be too large
        steps = (
            Equation(m, equation.domain, equation.rhs, "max", where),
            Equation(s, equation.domain, sp.exp(equation.rhs - m), "sum", where),
            Equation(equation.lhs, equation.free, m + sp.log(s)),
        )
        return _Softmax(equation, exponential, total, steps)
    return _Softmax(
        equation,
        exponential,
        total,
        (
            Equation(m, equation.domain, equation.rhs, "max", where),
            Equation(e, equation.domain, sp.exp(equation.rhs - m), "sum", where),
            Equation(s, equation.domain, e, "sum", where),
            Equation(equation.lhs, equation.free, m + sp.log(s)),
        ),
    )


def _ratio(node: Basic, parts: dict[Tensor, _Softmax], where: Basic) -> Basic:
    """exp(x - logsumexp x) -> e/s, where the logsumexp's own condition holds (elsewhere e is 0)"""
    for term in sp.Add.make_args(node.args[0]):
        coefficient, access = term.as_coeff_Mul()
        if coefficient != -1 or not isinstance(access, Access) or access.tensor not in parts:
            continue
        softmax = parts[access.tensor]
        origin = softmax.origin
        table = dict(zip(origin.lhs.subscripts, access.subscripts, strict=True))
        if not all(covers(i, s) for i, s in table.items()):
            continue
        apart = tuple(i.named(f".{i.name}") for i in origin.bound)  # the access may stand at an index of that name
        pattern = replace(origin.rhs, {**table, **dict(zip(origin.bound, apart, strict=True))})
        bound = _solve(pattern, node.args[0] - term, apart)
        if bound is not None:
            at = access.subscripts
            condition = replace(origin.where, {**table, **dict(zip(origin.bound, bound, strict=True))})
            if not set(_relations(condition)) <= {sp.true, *_relations(where)}:
                continue
            return Access(softmax.exponential, *at, *bound) / Access(softmax.total, *at)
    return node


def _ratios_of_pieces(node: sp.Piecewise, parts: dict[Tensor, _Softmax], where: Basic) -> Basic:
    """The same inside a Piecewise: a piece is visited where its condition holds, too."""
    if not parts:
        return node
    pieces = []
    for value, condition in node.args:
        table = {e: _ratio(e, parts, sp.And(where, condition)) for e in value.atoms(sp.exp)}
        pieces.append((replace(value, table), condition))
    return (
        sp.Piecewise(*pieces) if any(new != old.expr for (new, _), old in zip(pieces, node.args, strict=True)) else node
    )


def _relations(condition: Basic) -> Iterator[Basic]:
    """The parts of a conjunction, each with its smaller side on the left."""
    for part in sp.And.make_args(condition):
        yield part.reversed if isinstance(part, sp.GreaterThan | sp.StrictGreaterThan) else part


def _solve(pattern: Basic, found: Basic, bound: tuple[Index, ...]) -> list[Expr] | None:
    """The values of the bound indices for which the pattern is what was found; each provably in its range."""
    table: dict[Index, Expr] = {}
    todo = [(reads(pattern), reads(found))]
    for left, right in todo:
        for one, other in zip(left, right, strict=False):
            if one.tensor == other.tensor:
                for index, value in zip(one.subscripts, other.subscripts, strict=True):
                    if index in bound and isinstance(index, Index):
                        table.setdefault(index, value)
    if set(table) != set(bound) or not all(covers(i, s) for i, s in table.items()):
        return None
    return [table[i] for i in bound] if replace(pattern, table) == found else None


# ---------------------------------------------------------------------------------------------- scalars
def stable_scalar(node: Basic) -> Basic:
    """One step at the root of an expression whose parts are stable already."""
    if node.is_Add:
        return _sum(node)
    if node.is_Mul:
        return _product(node)
    if isinstance(node, (sp.log, log1p)):
        return _logarithm(node)
    if node.is_Pow:
        return _power(node)
    return node


def _sum(node: Expr) -> Expr:
    """1 - logistic(u), exp(u) - 1, 1 - erf(u), each with a number in front; 1 + exp(u) stays for what is above."""
    number, terms = node.as_coeff_add()
    if number.is_zero:
        return node
    for term in terms:
        factor, function = term.as_coeff_Mul()
        if not isinstance(function, (logistic, sp.exp, sp.erf)):
            continue
        u = function.args[0]
        if factor == -number and isinstance(function, logistic):
            new = number * logistic(-u)
        elif factor == -number and isinstance(function, sp.exp):
            new = factor * expm1(u)
        elif factor == -number and isinstance(function, sp.erf):
            new = number * sp.erfc(u)
        else:
            continue
        return sp.Add(new, *(t for t in terms if t is not term))
    return node


def _logarithm(node: Expr) -> Expr:
    """log (or log1p, of one less) of a sum of exponentials, log(logistic(u)), log(exp(u) * ...), log(1 + u)"""
    argument = node.args[0] + 1 if isinstance(node, log1p) else node.args[0]
    exponentials = _exponentials(argument)
    if exponentials:
        (number, total), *others = exponentials
        for factor, exponent in others:
            total = total + sp.log(number) + softplus(exponent - total + sp.log(factor / number))
            number = Integer(1)
        return total
    number, terms = argument.as_coeff_add()
    if number == 1:
        return log1p(sp.Add(*terms))
    parts = [_log_factor(f) for f in sp.Mul.make_args(argument)]
    known = [p for p in parts if p is not None]
    if known:
        rest = sp.Mul(*(f for f, p in zip(sp.Mul.make_args(argument), parts, strict=True) if p is None))
        if rest.is_positive:
            return sp.Add(*known, sp.log(rest))
    return node


def _exponentials(expression: Expr) -> list[tuple[Expr, Expr]]:
    """[(c, u), ...] if the expression is a sum of c * exp(u), all c positive numbers, at least one u not 0."""
    if not expression.is_Add or len(expression.args) > MOST_EXPONENTIALS:
        return []
    found = []
    for term in expression.args:
        factor, function = term.as_coeff_Mul()
        if not factor.is_positive or not (function == 1 or isinstance(function, sp.exp)):
            return []
        found.append((factor, function.args[0] if isinstance(function, sp.exp) else Integer(0)))
    return found if any(u != 0 for _, u in found) else []


def _log_factor(factor: Expr) -> Expr | None:
    """log of a factor that is positive and a power of logistic or exp."""
    base, power = factor.as_base_exp() if not isinstance(factor, sp.exp) else (factor, Integer(1))
    if isinstance(base, logistic):
        return -power * softplus(-base.args[0])
    if isinstance(base, sp.exp):
        return power * base.args[0]
    return None


def _power(node: Expr) -> Expr:
    """(1 + exp(u))**-m -> logistic(-u)**m;  logistic(u)**-m stays"""
    base, power = node.args
    exponentials = _exponentials(base) if isinstance(power, Integer) and power < 0 else []
    if len(exponentials) == 2 and exponentials[0][1] == 0:
        (number, _), (factor, u) = exponentials
        return (logistic(-u - sp.log(factor / number)) / number) ** -power
    return node


def _product(node: Expr) -> Expr:
    """exp(-k u) logistic(u)**m -> logistic(-u)**k logistic(u)**(m-k) for an integer 0 < k <= m, and _quotient"""
    for divisor in node.args:
        if divisor.is_Pow and divisor.exp == -1 and len(_exponentials(divisor.base)) == 2:
            for factor in node.args:
                quotient = _quotient(factor, _exponentials(divisor.base))
                if quotient is not None:
                    return sp.Mul(quotient, *(f for f in node.args if f is not factor and f is not divisor))
    exponentials = [f for f in node.args if isinstance(f, sp.exp)]
    if not exponentials:
        return node
    for factor in node.args:
        base, m = factor.as_base_exp() if not isinstance(factor, sp.exp) else (factor, Integer(1))
        if not isinstance(base, logistic) or not isinstance(m, Integer) or m < 1:
            continue
        u = base.args[0]
        for exponential in exponentials:
            k = -exponential.args[0] / u
            if isinstance(k, Integer) and 0 < k <= m:
                rest = [f for f in node.args if f is not factor and f is not exponential]
                return stable_scalar(sp.Mul(logistic(-u) ** k, logistic(u) ** (m - k), *rest))
    return node


def _quotient(top: Expr, below: list[tuple[Expr, Expr]]) -> Expr | None:
    """(p e^a + q e^b) / (r e^a + s e^b): p/r logistic(d) + q/s logistic(-d) with d = a - b + log(r/s), or tanh(d/2)"""
    (r, a), (s, b) = below
    p, q = top.coeff(sp.exp(a)), top.coeff(sp.exp(b))
    if not (p.is_number and q.is_number) or top != p * sp.exp(a) + q * sp.exp(b):
        return None
    d = a - b + sp.log(r / s)
    return p / r * sp.tanh(d / 2) if p / r == -q / s else p / r * logistic(d) + q / s * logistic(-d)
