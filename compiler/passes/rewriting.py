"""One walk for every pass: bottom-up, without recursion, each distinct expression rebuilt once.

In: expressions and equations.  Out: the same with a rule applied to every node, leaves first.  Nothing is evaluated
that was not touched: Piecewise and comparisons are put together again as they stand (SymPy's own evaluation of them
costs more than all passes), except comparisons between integers, which may become true or false.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import sympy as sp
from sympy import Basic, Expr
from sympy.core.relational import Relational
from sympy.functions.elementary.piecewise import ExprCondPair

from ..functions import FUNCTIONS
from ..graph import strongly_connected
from ..program import Access, Equation, Index, Program, Tensor

Rule = Callable[[Basic], Basic]


def inside(node: Basic) -> tuple[Basic, ...]:
    """What a walk visits below a node: subscripts of an access, but neither its tensor nor an index's range."""
    if isinstance(node, Access):
        return node.args[1:]
    if isinstance(node, (Index, Tensor)):
        return ()
    if isinstance(node, sp.Piecewise):
        return tuple(part for pair in node.args for part in pair.args)
    return node.args


def rebuild(node: Basic, parts: list[Basic]) -> Basic:
    """The node with other parts below it."""
    if isinstance(node, Access):
        return Access(node.tensor, *parts)
    if isinstance(node, sp.Piecewise):
        return piecewise(zip(parts[::2], parts[1::2], strict=True))
    if isinstance(node, Relational):
        integers = all(side.is_integer for side in parts)
        return node.func(*parts) if integers else node.func(*parts, evaluate=False)
    return node.func(*parts)


def rewrite(root: Basic, rule: Rule | None, memo: dict[Basic, Basic]) -> Basic:
    """The rule on every node, leaves first.  What `memo` has already is taken from there (so it also substitutes)."""
    if root in memo:
        return memo[root]
    stack = [root]
    while stack:
        node = stack[-1]
        if node in memo:
            stack.pop()
            continue
        below = inside(node)
        missing = [part for part in below if part not in memo]
        if missing:
            stack.extend(missing)
            continue
        stack.pop()
        parts = [memo[part] for part in below]
        same = all(new is old for new, old in zip(parts, below, strict=True))
        new = node if same else rebuild(node, parts)
        memo[node] = new if rule is None else rule(new)
    return memo[root]


def replace(root: Basic, table: Mapping[Basic, Basic]) -> Basic:
    """Indices and accesses replaced, all at once."""
    return rewrite(root, None, dict(table))


def rewrite_equation(equation: Equation, rule: Rule | None, memo: dict[Basic, Basic], left: bool = False) -> Equation:
    """The rule on expression and condition, and with `left` on the subscripts of the left-hand side."""
    rhs, where = rewrite(equation.rhs, rule, memo), rewrite(equation.where, rule, memo)
    lhs = equation.lhs
    if left:
        lhs = Access(lhs.tensor, *(rewrite(s, rule, memo) for s in lhs.subscripts))
    if rhs is equation.rhs and where is equation.where and lhs == equation.lhs:
        return equation
    return Equation(lhs, equation.domain, rhs, equation.op, where)


def substitute(equation: Equation, table: Mapping[Basic, Basic], domain: Iterable[Index]) -> Equation:
    """Indices replaced by subscripts everywhere, over the domain that is left."""
    memo = dict(table)
    return Equation(
        Access(equation.tensor, *(rewrite(s, None, memo) for s in equation.lhs.subscripts)),
        tuple(domain),
        rewrite(equation.rhs, None, memo),
        equation.op,
        rewrite(equation.where, None, memo),
    )


def piecewise(pairs: Iterable[tuple[Expr, Basic]]) -> Expr:
    """Piecewise as it stands: false arms go, and what follows a true one; one arm alone is its expression."""
    kept: list[tuple[Expr, Basic]] = []
    for expression, condition in ((e, _of_values(c)) for e, c in pairs):
        if condition is sp.false:
            continue
        kept.append((expression, condition))
        if condition is sp.true:
            break
    while len(kept) > 1 and kept[-1][1] is sp.true and kept[-2][0] == kept[-1][0]:
        kept[-2:] = [kept[-1]]
    if len(kept) == 1 and kept[0][1] is sp.true:
        return kept[0][0]
    return Basic.__new__(sp.Piecewise, *[ExprCondPair(e, c) for e, c in kept])


def _of_values(condition: Basic) -> Basic:
    """The condition, where a comparison of a choice compares each of its values: SymPy would make an ITE of it."""
    if isinstance(condition, (sp.And, sp.Or, sp.Not)):
        return condition.func(*map(_of_values, condition.args))
    choice = next((n for n in nodes(condition) if isinstance(n, sp.Piecewise)), None)
    if choice is None:
        return condition.func(*condition.args) if all(a.is_number and a.is_real for a in condition.args) else condition
    found, otherwise = sp.false, sp.true
    for value, where in choice.args:
        found = sp.Or(found, sp.And(otherwise, where, _of_values(replace(condition, {choice: value}))))
        otherwise = sp.And(otherwise, sp.Not(where))
    return found


def nodes(*roots: Basic) -> list[Basic]:
    """Every distinct node, in an order that depends on nothing but the expressions."""
    found: dict[Basic, None] = {}
    stack = list(roots)[::-1]
    while stack:
        node = stack.pop()
        if node in found:
            continue
        found[node] = None
        stack.extend(inside(node)[::-1])
    return list(found)


def equation_reads(equation: Equation) -> list[Access]:
    """Every access that the equation reads (like Equation.reads, without its sorting by printed form)."""
    return reads(equation.rhs, equation.where, *equation.lhs.subscripts)


def live(program: Program) -> Program:
    """Only what the roots need."""
    wanted: set[Tensor] = set()
    stack = list(program.roots)
    while stack:
        tensor = stack.pop()
        if tensor not in wanted:
            wanted.add(tensor)
            for equation in program.definitions.get(tensor, ()):
                stack.extend(access.tensor for access in equation_reads(equation))
    if all(e.tensor in wanted for e in program.equations):
        return program
    return program.with_equations(e for e in program.equations if e.tensor in wanted)


def reads(*roots: Basic) -> list[Access]:
    """Every access, also those inside subscripts."""
    return [node for node in nodes(*roots) if isinstance(node, Access)]


def operations(*roots: Basic) -> tuple[int, int]:
    """(arithmetic operations and comparisons, functions) of expressions in which equal parts are computed once."""
    arithmetic = functions = 0
    for node in nodes(*roots):
        if isinstance(node, (sp.Add, sp.Mul, sp.And, sp.Or)):
            arithmetic += len(node.args) - 1
        elif isinstance(node, sp.Pow):
            simple = node.exp.is_Integer or node.exp in (sp.S.Half, -sp.S.Half)
            arithmetic, functions = (arithmetic + 1, functions) if simple else (arithmetic, functions + 1)
        elif isinstance(node, Relational):
            arithmetic += 1
        elif isinstance(node, FUNCTIONS):
            functions += 1
    return arithmetic, functions


def is_constant(expression: Basic) -> bool:
    """Made of numbers and sizes only."""
    return not any(isinstance(node, (Access, Index)) for node in nodes(expression))


def is_infinite(expression: Basic) -> bool:
    """It has come to name no real number: log(0), 1/0, log(-1).  Computed it may be, written not."""
    if expression.has(sp.zoo, sp.nan, sp.oo, -sp.oo, sp.AccumBounds, sp.I):
        return True
    powers = (p for p in expression.atoms(sp.Pow) if p.base.is_number)
    return any(p.base.is_negative and p.exp.is_integer is False for p in powers)


def keeps_rows(equation: Equation) -> bool:
    """The subscripts of sparse tensors are distinct indices, as the language asks: nothing has taken their place."""
    found = (a for a in reads(equation.rhs) if a.tensor.sparse)
    return all(len({s for s in a.subscripts if isinstance(s, Index)}) == a.tensor.rank for a in found)


def is_zero(expression: Basic) -> bool:
    """The number 0; SymPy's own question, of expressions too, searches through assumptions for milliseconds."""
    return bool(expression.is_Number and expression.is_zero)


def in_dependence_order(equations: Iterable[Equation]) -> tuple[Equation, ...]:
    """Definitions before their readers, otherwise as they stood; inside a recurrence the order is kept."""
    equations = tuple(equations)
    read = [list(dict.fromkeys(access.tensor for access in equation_reads(e))) for e in equations]
    edges: dict[Tensor, dict[Tensor, None]] = {}
    for equation, tensors in zip(equations, read, strict=True):
        edges.setdefault(equation.tensor, {}).update(dict.fromkeys(tensors))
    groups = strongly_connected(edges, {tensor: list(below) for tensor, below in edges.items()})
    group = {tensor: number for number, tensors in enumerate(groups) for tensor in tensors}
    members: dict[int, list[int]] = {}
    for number, equation in enumerate(equations):
        members.setdefault(group[equation.tensor], []).append(number)
    needs = [
        [m for g in dict.fromkeys(group[t] for t in tensors if t in edges) if g != group[e.tensor] for m in members[g]]
        for e, tensors in zip(equations, read, strict=True)
    ]
    done: dict[int, None] = {}
    begun: set[int] = set()
    for root in range(len(equations)):
        stack = [root]
        while stack:
            number = stack[-1]
            if number in begun:
                stack.pop()
                done.setdefault(number)
            else:
                begun.add(number)
                stack.extend(m for m in reversed(needs[number]) if m not in begun)
    return tuple(equations[number] for number in done)


def free_name(name: str, taken: set[str]) -> str:
    """The name, or the name with the first number that makes it new; it is taken from now on."""
    chosen, number = name, 2
    while chosen in taken:
        chosen, number = f"{name}_{number}", number + 1
    taken.add(chosen)
    return chosen


def names(program: Program) -> set[str]:
    """The names of all tensors."""
    used = {a.tensor for e in program.equations for a in (e.lhs, *equation_reads(e))}
    return {t.name for t in used.union(program.roots, (old for old, _ in program.updates))}
