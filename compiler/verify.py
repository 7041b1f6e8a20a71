"""Does a program keep the rules of the language?  In: a Program.  Out: nothing, or a ProgramError.

It runs at the door of the compiler, and between all passes in tests.  All violations are collected, each with its
equation.  What has a meaning is no violation, however odd: a read outside a tensor's range gives 0 (padding), an index
that no access uses repeats a contribution.  Time is linear in the size of the program.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import sympy as sp
from sympy import Basic, Expr
from sympy.core.function import AppliedUndef
from sympy.core.relational import Relational
from sympy.functions.elementary.piecewise import ExprCondPair

from .dependence import cyclic, without_shift
from .functions import FUNCTIONS
from .program import (
    KINDS,
    OPS,
    ROLES,
    Access,
    Equation,
    Index,
    Program,
    ProgramError,
    Tensor,
    accesses,
    affine,
    indices,
    sorted_args,
)

RELATIONS = (sp.Eq, sp.Ne, sp.StrictLessThan, sp.LessThan, sp.StrictGreaterThan, sp.GreaterThan)
# SymPy differentiates these to distributions or to values at the kink that nobody chose
KINKED = (sp.Abs, sp.Max, sp.Min, sp.Heaviside, sp.sign, sp.DiracDelta)


def verify(program: Program) -> None:
    """Raise ProgramError with every violation and its equation."""
    found = list(violations(program))
    if found:
        plural = "s" if len(found) > 1 else ""
        raise ProgramError("\n".join([f"{len(found)} violation{plural} of the language:", *(f"  {v}" for v in found)]))


def violations(program: Program) -> Iterator[str]:
    """Every violation, one line each."""
    yield from _tensors(program)
    for equation in program.equations:
        yield from (f"{problem}, in: {equation}" for problem in _equation(equation))
    for fact in program.facts:
        yield from (f"{problem}, in the fact: {fact}" for problem in _equation(fact))
    yield from _definitions(program)
    yield from _order(program)
    yield from _wanted(program)


# ---------------------------------------------------------------------------------------------- tensors
def _tensors(program: Program) -> Iterator[str]:
    first: dict[str, Tensor] = {}
    for tensor in dict.fromkeys((*program.tensors, *(a.tensor for fact in program.facts for a in fact.reads()))):
        other = first.setdefault(tensor.name, tensor)
        if other != tensor:
            yield f"tensor {tensor.name} is declared twice: {_declared(other)}, and {_declared(tensor)}"
        if tensor.role not in ROLES:
            yield f"tensor {tensor.name} has the role {tensor.role!r}; roles are {', '.join(ROLES)}"
        if tensor.kind not in KINDS:
            yield f"tensor {tensor.name} has the kind {tensor.kind!r}; kinds are {', '.join(KINDS)}"
        if tensor.role == "hyper" and tensor.rank:
            yield f"hyper-parameter {tensor.name} has {tensor.rank} axes; it must have rank 0"
        if tensor.sparse and tensor.role != "constant":
            yield f"tensor {tensor.name} is sparse, but only constants can be, and its role is {tensor.role}"
        for extent in tensor.shape:
            if not _is_size(extent) or extent.is_negative:
                yield f"tensor {tensor.name} has an axis of {extent}; an axis is an integer or made of sizes"


def _declared(tensor: Tensor) -> str:
    shape = ",".join(map(str, tensor.shape))
    return f"{tensor.role} {tensor.name}[{shape}] {tensor.kind}{' sparse' if tensor.sparse else ''}"


def _is_size(extent: Expr) -> bool:
    return bool(extent.is_integer) and not extent.has(Index, Access) and all(map(_is_size_symbol, extent.free_symbols))


def _is_size_symbol(symbol: Basic) -> bool:
    return isinstance(symbol, sp.Symbol) and bool(symbol.is_integer and symbol.is_positive)


# ---------------------------------------------------------------------------------------------- one equation
def _equation(equation: Equation) -> Iterator[str]:
    if equation.op not in OPS:
        yield f"op {equation.op!r} is not one of {', '.join(OPS)}"
    yield from _domain(equation)
    for access in accesses(equation.lhs, equation.rhs, equation.where):
        yield from _access(access)
    yield from _expression(equation.rhs)
    yield from _condition(equation.where, "the condition", integers_only=True)
    yield from _sparse_factors(equation)
    yield from _kind(equation)


def _domain(equation: Equation) -> Iterator[str]:
    names: dict[str, Index] = {}
    for index in equation.domain:
        if index.name in names:
            same = names[index.name] == index
            yield f"index {index.name} is twice in the domain{'' if same else ', with two ranges'}"
        names.setdefault(index.name, index)
        if not _is_size(index.high) or not _is_size(index.low):
            yield f"index {index.name} has the range {_range(index)}; ends are integers or made of sizes"
        elif index.extent.is_negative:
            yield f"index {index.name} has the range {_range(index)}, which ends before it begins"
    domain = set(equation.domain)
    for index in indices(equation.lhs, equation.rhs, equation.where):
        if index not in domain:
            known = names.get(index.name)
            hint = f": it has {index.name} with the range {_range(known)}, not {_range(index)}" if known else ""
            yield f"index {index.name} is not in the domain ({', '.join(i.name for i in equation.domain)}){hint}"


def _range(index: Index) -> str:
    return f"{index.low} <= {index.name} < {index.high}"


def _access(access: Access) -> Iterator[str]:
    name = access.tensor.name
    if len(access.subscripts) != access.tensor.rank:
        yield f"{name} has {access.tensor.rank} axes, but {len(access.subscripts)} subscripts"
        return
    for subscript, extent in zip(access.subscripts, access.tensor.shape, strict=True):
        parts = affine(subscript)
        if parts is None:
            inner = [a for a in accesses(subscript) if a.tensor.kind != "integer"]
            if inner:
                yield f"{access} has a real tensor in a subscript: {inner[0].tensor.name} must be an integer tensor"
            else:
                yield f"{access} has the subscript {subscript}, which is not an integer, affine in indices and gathers"
        elif not parts.gathers and not parts.terms and _outside(parts.constant, parts.constant, extent):
            yield f"{access} has the constant subscript {subscript} outside its axis of {extent}"
        elif parts.plain is not None and parts.constant.is_zero:
            index = parts.plain
            if not index.extent.is_zero and _outside(index.low, index.high - 1, extent):
                yield f"{access} is never inside: {_range(index)}, and the axis has {extent}"


def _outside(low: Expr, high: Expr, extent: Expr) -> bool:
    return bool(high.is_negative or (low - extent).is_nonnegative)


def _expression(root: Expr) -> Iterator[str]:
    """The closed set of functions, and nothing free but sizes."""
    seen: set[Basic] = set()
    stack: list[Basic] = [root]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        match node:
            case Access() | Index():
                continue
            case sp.Add() | sp.Mul() | sp.Pow():
                pass
            case sp.Piecewise():
                yield from _pieces(node)
                stack.extend(pair.expr for pair in reversed(node.args))
                for pair in node.args:
                    stack.extend(e for relation in pair.cond.atoms(Relational) for e in sorted_args(relation))
                continue
            case sp.Symbol():
                if not _is_size_symbol(node):
                    yield f"{node} is a free symbol; only sizes may be symbols, a hyper-parameter is a rank-0 tensor"
                continue
            case sp.Number() | sp.NumberSymbol():
                if not (node.is_real and node.is_finite):
                    yield f"{node} is not a finite real number"
                continue
            case _ if isinstance(node, FUNCTIONS):
                pass
            case _ if isinstance(node, KINKED):
                yield f"{node.func.__name__} is not in the language: write a Piecewise, which says what holds at a kink"
            case AppliedUndef() | sp.Function():
                names = ", ".join(f.__name__ for f in FUNCTIONS)
                yield f"function {node.func.__name__} is not in the language, which has {names}"
            case _:
                yield f"{node} ({type(node).__name__}) is not an expression of the language"
                continue
        stack.extend(node.args[::-1])


def _pieces(piecewise: sp.Piecewise) -> Iterator[str]:
    for pair in piecewise.args:
        assert isinstance(pair, ExprCondPair)
        yield from _condition(pair.cond, "a Piecewise", integers_only=False)
    if piecewise.args[-1].cond is not sp.true:
        yield f"{piecewise} has no last piece (e, True)"


def _condition(root: Basic, place: str, integers_only: bool) -> Iterator[str]:
    stack = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, (sp.And, sp.Or, sp.Not)):
            stack.extend(sorted_args(node)[::-1])
        elif isinstance(node, RELATIONS):
            if integers_only:
                for side in node.args:
                    if not side.is_integer:
                        yield f"{place} compares {side}, which is not an integer"
                    yield from _expression(side)
        elif node not in (sp.true, sp.false):
            yield f"{place} has {node} ({type(node).__name__}), which is not a relation, nor and, or, not of relations"


def _sparse_factors(equation: Equation) -> Iterator[str]:
    """A sparse tensor multiplies the whole expression, so that the elements that are not stored contribute nothing."""
    if not any(a.tensor.sparse for a in equation.reads()):
        return
    factors = {f.base if f.is_Pow and f.exp.is_Integer and f.exp > 0 else f for f in sp.Mul.make_args(equation.rhs)}
    outside = equation.where, *equation.lhs.subscripts, *(f for f in factors if not isinstance(f, Access))
    misplaced = {a.tensor for a in accesses(*outside)}
    misplaced |= {a.tensor for f in factors if isinstance(f, Access) for a in accesses(*f.subscripts)}
    for access in accesses(equation.rhs, equation.where, *equation.lhs.subscripts):
        if not access.tensor.sparse:
            continue
        if equation.op != "sum":
            yield f"sparse {access} is read under {equation.op}: only a sum may leave out what is not stored"
        elif access.tensor in misplaced or access not in factors:
            yield f"sparse {access} is not a factor of the whole expression"
        plain = [s for s in access.subscripts if isinstance(s, Index)]
        if len(set(plain)) != access.tensor.rank:
            yield f"sparse {access} must have distinct plain indices as subscripts"


def _kind(equation: Equation) -> Iterator[str]:
    tensor = equation.tensor
    if equation.op == "argmax" and tensor.kind != "integer":
        yield f"{tensor.name} is defined by argmax, so it must be an integer tensor"
    elif equation.op == "logsumexp" and tensor.kind != "real":
        yield f"{tensor.name} is defined by logsumexp, so it must be a real tensor"
    elif equation.op in ("sum", "max") and tensor.kind == "integer" and not equation.rhs.is_integer:
        yield f"{tensor.name} is an integer tensor, but its expression is real"


# ---------------------------------------------------------------------------------------------- the whole program
def _definitions(program: Program) -> Iterator[str]:
    """Who is defined, and how."""
    for tensor, equations in program.definitions.items():
        if tensor.role != "value":
            yield f"{tensor.role} {tensor.name} is defined, but it is given: {equations[0]}"
        for equation in equations:
            if equation.op == "sum" or equation.op not in OPS:
                continue
            if len(equations) > 1:
                yield f"{tensor.name} is defined by {equation.op}, and by more than this one equation: {equation}"
            left = equation.lhs.subscripts
            if len(set(left)) != len(left) or not all(isinstance(s, Index) for s in left):
                yield f"{tensor.name} is defined by {equation.op}: the left side needs distinct indices, in: {equation}"
    for equation in program.equations:
        for tensor in dict.fromkeys(a.tensor for a in equation.reads()):
            if tensor.role == "value" and tensor not in program.definitions:
                yield f"{tensor.name} is read, but nothing defines it, in: {equation}"


def _order(program: Program) -> Iterator[str]:
    """Definitions precede their readers; where they cannot, it is a recurrence through a constant shift."""
    together = cyclic(program.equations)
    for stuck, both_ways in without_shift(program.equations):
        names = ", ".join(dict.fromkeys(e.tensor.name for e in stuck))
        lines = "; ".join(map(str, stuck))
        why = "" if both_ways is None else f" ({both_ways[0]} lies before, {both_ways[1]} after)"
        yield f"{names}: defined through itself without a constant shift in one direction{why}, in: {lines}"
    last = {equation.tensor: position for position, equation in enumerate(program.equations)}
    for position, equation in enumerate(program.equations):
        for tensor in dict.fromkeys(a.tensor for a in equation.reads()):
            group = together.get(tensor)
            if last.get(tensor, -1) > position and (group is None or group is not together.get(equation.tensor)):
                yield f"{tensor.name} is read before its last equation, in: {equation}"


def _wanted(program: Program) -> Iterator[str]:
    """Outputs, updates and guards."""
    yield from _undefined("output", program.outputs, program)
    yield from _undefined("guard", program.guards, program)
    yield from _undefined("next value", (new for _, new in program.updates), program)
    for guard in program.guards:
        if guard.rank or guard.kind != "real":
            yield f"guard {guard.name} is a {guard.kind} tensor of rank {guard.rank}; it must be real, of rank 0"
    updated: set[Tensor] = set()
    for old, new in program.updates:
        if old.role not in ("state", "parameter"):
            yield f"{old.role} {old.name} is updated; only a state or a parameter can be"
        if old in updated:
            yield f"{old.name} is updated twice"
        updated.add(old)
        if new.role != "value":
            yield f"the next value of {old.name} is {new.role} {new.name}; it must be a value"
        if (old.shape, old.kind) != (new.shape, new.kind):
            yield f"the next value of {_declared(old)} is {_declared(new)}: shape and kind must be equal"


def _undefined(what: str, tensors: Iterable[Tensor], program: Program) -> Iterator[str]:
    for tensor in tensors:
        if tensor.role == "value" and tensor not in program.definitions:
            yield f"{what} {tensor.name} is not defined by any equation"
