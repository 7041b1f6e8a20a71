"""The oracle: a slow evaluator of programs.  In: a Program and arrays by tensor name.  Out: arrays by tensor name.

It stands beside the pipeline, not in it: it takes the language from `compiler.program` and nothing else, so what it
says about a program is independent of passes and lowering.  Every equation is visited as its definition says, over its
whole domain at once (NumPy broadcasting); a recurrence is iterated until nothing changes any more, which needs no
analysis of directions.  The numbers may be of any kind: an `Arithmetic` says which (`reference_mp` has more of them).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sympy as sp
from sympy import Basic
from sympy.core.relational import Relational
from sympy.functions.elementary.piecewise import ExprCondPair
from sympy.utilities.iterables import strongly_connected_components

from compiler.program import Access, Equation, Index, Program, ProgramError, Tensor, indices
from compiler.program import uniform as uniform_function

from .reference_float import FLOAT64, Arithmetic, Array, uniform


@dataclass(slots=True)
class _Run:
    program: Program
    arithmetic: Arithmetic
    sizes: Mapping[str, int]
    kinks: list[float] | None
    tensors: dict[Tensor, Array] = field(default_factory=dict)

    def size(self, expression: Basic) -> int:
        known = {s: sp.Integer(self.sizes[s.name]) for s in expression.free_symbols if s.name in self.sizes}
        value = expression.xreplace(known)
        if not value.is_Integer:
            raise ProgramError(f"the size {expression} is not known; sizes given: {', '.join(self.sizes) or 'none'}")
        return int(value)

    def shape(self, tensor: Tensor) -> tuple[int, ...]:
        return tuple(self.size(n) for n in tensor.shape)


def evaluate(
    program: Program,
    values: Mapping[str, Any],
    sizes: Mapping[Any, int] | None = None,
    wanted: Sequence[str | Tensor] | None = None,
    *,
    arithmetic: Arithmetic | None = None,
    kinks: list[float] | None = None,
) -> dict[str, Array]:
    """The values of `wanted` (default: what the program must compute), by name.

    values: an array (or number, or SciPy sparse matrix) for every tensor without equations that is needed.
    sizes: an integer for every size symbol, by name or symbol; a size that is an axis of a given array is read off it.
    arithmetic: the kind of numbers, float64 if not given.
    kinks: if given, the distance of every comparison of reals, and of every maximum to its second, is appended.
    Raises ProgramError for a missing value, a wrong shape, or an element that depends on itself.

    >>> from compiler.program import Equation, Index, Program, Tensor
    >>> i, x, s = Index("i", 3), Tensor("x", (3,), "input"), Tensor("s")
    >>> float(evaluate(Program([Equation(s[()], (i,), x[i] ** 2)], [s]), {"x": [1, 2, 3]})["s"])
    14.0
    """
    arithmetic = arithmetic or FLOAT64
    known = {str(name): int(value) for name, value in (sizes or {}).items()}
    roots = program.roots if wanted is None else tuple(_named(program, w) for w in wanted)
    run = _Run(program, arithmetic, _inferred(program, values, known), kinks)
    with np.errstate(all="ignore"):
        for component, cyclic in _components(program, roots):
            if cyclic:
                _recurrence(run, component)
            elif component[0] in program.definitions:
                run.tensors[component[0]] = _tensor(run, component[0])
            else:
                run.tensors[component[0]] = _given(run, component[0], values)
    return {t.name: run.tensors[t] for t in roots}


def _named(program: Program, wanted: str | Tensor) -> Tensor:
    if isinstance(wanted, Tensor):
        return wanted
    for tensor in program.tensors:
        if tensor.name == wanted:
            return tensor
    raise ProgramError(f"the program has no tensor {wanted!r}; it has {', '.join(t.name for t in program.tensors)}")


def _inferred(program: Program, values: Mapping[str, Any], sizes: dict[str, int]) -> dict[str, int]:
    found = dict(sizes)
    for tensor in program.tensors:
        if tensor.name in values:
            for extent, length in zip(tensor.shape, np.shape(values[tensor.name]), strict=False):
                if extent.is_Symbol:
                    found.setdefault(extent.name, length)
    return found


def _given(run: _Run, tensor: Tensor, values: Mapping[str, Any]) -> Array:
    if tensor.name not in values:
        raise ProgramError(f"no value was given for {tensor.name}; given: {', '.join(values) or 'none'}")
    value = values[tensor.name]
    array = value.toarray() if hasattr(value, "toarray") else np.asarray(value)
    if array.shape != run.shape(tensor):
        raise ProgramError(f"{tensor.name} has shape {array.shape}, expected {run.shape(tensor)}")
    return array.astype(np.int64) if tensor.kind == "integer" else run.arithmetic.lift(array)


# ---------------------------------------------------------------------------------------------- order
def _components(program: Program, roots: Sequence[Tensor]) -> list[tuple[list[Tensor], bool]]:
    """Groups of tensors that need each other, what is needed first; and whether a group needs itself."""
    needs: dict[Tensor, list[Tensor]] = {}
    stack = list(roots)
    while stack:
        tensor = stack.pop()
        if tensor not in needs:
            definition = program.definitions.get(tensor, ())
            needs[tensor] = list(dict.fromkeys(a.tensor for e in definition for a in e.reads()))
            stack.extend(needs[tensor])
    edges = [(tensor, read) for tensor, reads in needs.items() for read in reads]
    return [(c, len(c) > 1 or c[0] in needs[c[0]]) for c in strongly_connected_components((list(needs), edges))]


def _recurrence(run: _Run, component: Sequence[Tensor]) -> None:
    """Repeat all equations until nothing changes.

    The k-th repetition is right for every element at the end of a chain of at most k, and values that reproduce
    themselves are the only ones if no element depends on itself; so more repetitions than elements mean that one does.
    Unknown elements start as NaN, so that they cannot pass for numbers; NaN that stays must stay from another start.
    """
    if _settled(run, component, np.nan):
        found = {tensor: run.tensors[tensor] for tensor in component}
        if not any((array != array).any() for array in found.values()):
            return
        if _settled(run, component, 0.0) and all(_same(found[tensor], run.tensors[tensor]) for tensor in component):
            return
    raise ProgramError(f"an element depends on itself in the recurrence of {', '.join(t.name for t in component)}")


def _settled(run: _Run, component: Sequence[Tensor], start: float) -> bool:
    limit = 2
    for tensor in component:
        shape = run.shape(tensor)
        limit += math.prod(shape)
        zero = np.zeros(shape, np.int64)
        run.tensors[tensor] = zero if tensor.kind == "integer" else run.arithmetic.lift(np.full(shape, start))
    for _ in range(limit):
        new = {tensor: _tensor(run, tensor) for tensor in component}
        same = all(_same(new[tensor], run.tensors[tensor]) for tensor in component)
        run.tensors.update(new)
        if same:
            return True
    return False


def _same(a: Array, b: Array) -> bool:
    return bool(np.all((a == b) | ((a != a) & (b != b))))


# ---------------------------------------------------------------------------------------------- equations
def _tensor(run: _Run, tensor: Tensor) -> Array:
    shape = run.shape(tensor)
    equations = run.program.definitions[tensor]
    op = equations[0].op
    if op != "sum" and len(equations) > 1:
        raise ProgramError(f"{tensor.name} is defined by {op} and must have one equation only")
    if tensor.kind == "integer":
        result = np.full(shape, -1 if op == "argmax" else 0, np.int64)
    else:
        result = run.arithmetic.lift(np.full(shape, 0.0 if op == "sum" else -np.inf))
    for equation in equations:
        targets, contributions = _contributions(run, equation)
        inside = np.ones(contributions.shape, bool)
        for subscript, extent in zip(targets, shape, strict=True):
            inside &= (subscript >= 0) & (subscript < extent)
        values = contributions[inside]
        where = (*(subscript[inside] for subscript in targets), np.zeros(len(values), int))
        if op == "sum":
            np.add.at(result[..., None], where, values)
        else:
            result[..., None][where] = values
    return result


def _contributions(run: _Run, equation: Equation) -> tuple[list[Array], Array]:
    """For each point of the free indices: the subscripts that it is written to, and its reduced value."""
    frame = _Frame(run, equation.domain)
    on_the_left = set(indices(*equation.lhs.subscripts))
    free = [a for a, i in enumerate(equation.domain) if i in on_the_left]
    bound = [a for a, i in enumerate(equation.domain) if i not in on_the_left]
    rows = math.prod(frame.shape[a] for a in free)
    columns = math.prod(frame.shape[a] for a in bound)

    def table(array: Array) -> Array:  # a row for each point of the free indices, a column for each of the bound ones
        return np.broadcast_to(array[0], frame.shape).transpose(*free, *bound).reshape(rows, columns)

    def column(array: Array) -> Array:
        return np.broadcast_to(array[0], [n if a in free else 1 for a, n in enumerate(frame.shape)]).reshape(rows)

    targets = [column(frame.value(s)) for s in equation.lhs.subscripts]
    mask = table(frame.value(equation.where))
    value = frame.value(equation.rhs)
    if equation.tensor.kind == "integer" and equation.op == "sum":
        return targets, np.where(mask, table(value), 0).sum(axis=1).astype(np.int64)
    return targets, _reduce(run, equation.op, table(run.arithmetic.lift(value)), mask)


def _reduce(run: _Run, op: str, value: Array, mask: Array) -> Array:
    lift, key = run.arithmetic.lift, run.arithmetic.key
    if op == "sum":
        return lift(np.where(mask, value, lift(np.zeros(1))).sum(axis=1))
    if op == "logsumexp":
        return run.arithmetic.functions["logsumexp"](value, mask)
    chosen = _argmax(key(value), mask)
    if run.kinks is not None:
        run.kinks.extend(_gaps(key(value), mask))
    if op == "argmax":
        return chosen
    if value.shape[1] == 0:
        return lift(np.full(len(value), -np.inf))
    return np.where(chosen < 0, lift(np.full(1, -np.inf)), value[np.arange(len(value)), chosen])


def _argmax(key: Array, mask: Array) -> Array:
    """The first of the largest in each row, NaN counted as largest, -1 where nothing is to be combined."""
    if key.shape[1] == 0:
        return np.full(len(key), -1)
    nan = mask & (key != key)
    number = mask & ~nan
    top = np.where(number, key, -np.inf).max(axis=1)[:, None]
    hit = np.where(nan.any(axis=1)[:, None], nan, number & (key == top))
    return np.where(hit.any(axis=1), hit.argmax(axis=1), -1)


def _gaps(key: Array, mask: Array) -> list[float]:
    rows = [sorted(row[valid], reverse=True) for row, valid in zip(key, mask, strict=True)]
    return [float(row[0] - row[1]) for row in rows if len(row) > 1]


# ---------------------------------------------------------------------------------------------- expressions
class _Frame:
    """Values of expressions over a domain: arrays with one axis of length 1 in front, then one for each index.

    (The axis in front keeps NumPy from turning arrays of rank 0 into scalars.)
    """

    def __init__(self, run: _Run, domain: Sequence[Index]) -> None:
        self.run = run
        self.shape = tuple(max(0, run.size(i.high) - run.size(i.low)) for i in domain)
        self.rank = 1 + len(domain)
        self.memo: dict[Basic, Array] = {}
        for axis, index in enumerate(domain):
            shape = [1] * self.rank
            shape[1 + axis] = self.shape[axis]
            self.memo[index] = np.arange(run.size(index.low), run.size(index.low) + self.shape[axis]).reshape(shape)

    def value(self, expression: Basic) -> Array:
        stack = [expression]
        while stack:
            node = stack[-1]
            missing = [] if node in self.memo else [c for c in _children(node) if c not in self.memo]
            if missing:
                stack.extend(missing)
                continue
            stack.pop()
            if node not in self.memo:
                self.memo[node] = self._apply(node, [self.memo[c] for c in _children(node)])
        return self.memo[expression]

    def _constant(self, value: Any) -> Array:
        array = np.empty((1,) * self.rank, np.asarray(value).dtype)
        array.fill(value)
        return array

    def _apply(self, node: Basic, args: list[Array]) -> Array:
        arithmetic = self.run.arithmetic
        match node:
            case Access():
                return self._read(node.tensor, args)
            case sp.Integer() if abs(int(node)) < 2**62:
                return self._constant(int(node))
            case sp.Number() | sp.NumberSymbol():
                return self._constant(arithmetic.number(node))
            case sp.Symbol():
                return self._constant(self.run.size(node))
            case sp.logic.boolalg.BooleanTrue() | sp.logic.boolalg.BooleanFalse():
                return self._constant(bool(node))
            case sp.Add() | sp.Mul():
                if any(not _integral(a) for a in args):
                    args = [arithmetic.lift(a) for a in args]
                total = args[0]
                for a in args[1:]:
                    total = total + a if node.is_Add else total * a
                return total
            case sp.Pow():
                if _integral(args[0]) and _integral(args[1]) and (args[1] >= 0).all():
                    return args[0] ** args[1]
                return arithmetic.functions["power"](arithmetic.lift(args[0]), args[1])
            case sp.Piecewise():
                return self._choose(args[0::2], args[1::2])
            case Relational():
                return self._compare(node, *args)
            case sp.And():
                return np.logical_and.reduce(np.broadcast_arrays(*args))
            case sp.Or():
                return np.logical_or.reduce(np.broadcast_arrays(*args))
            case sp.Not():
                return ~args[0]
            case uniform_function():
                return arithmetic.lift(uniform(*args))
            case sp.Function() if type(node).__name__ in arithmetic.functions:
                return arithmetic.functions[type(node).__name__](arithmetic.lift(args[0]))
        raise ProgramError(f"{type(node).__name__} is not in the language: {node}")

    def _read(self, tensor: Tensor, subscripts: list[Array]) -> Array:
        data = self.run.tensors[tensor]
        shape = np.broadcast_shapes((1,) * self.rank, *(s.shape for s in subscripts))
        zero = np.zeros(1, np.int64) if tensor.kind == "integer" else self.run.arithmetic.lift(np.zeros(1))
        if data.size == 0:
            return np.broadcast_to(zero, shape)
        inside = np.ones(shape, bool)
        for subscript, extent in zip(subscripts, data.shape, strict=True):
            inside = inside & (subscript >= 0) & (subscript < extent)
        clipped = (np.clip(s, 0, n - 1) for s, n in zip(subscripts, data.shape, strict=True))
        return np.where(inside, data[tuple(clipped)] if subscripts else data.reshape(shape), zero)

    def _choose(self, branches: list[Array], conditions: list[Array]) -> Array:
        """The first branch whose condition holds; a branch not taken has no influence, whatever it is."""
        if all(_integral(b) for b in branches) and conditions[-1].all():
            result = np.zeros((1,) * self.rank, np.int64)
        else:
            branches = [self.run.arithmetic.lift(b) for b in branches]
            result = self.run.arithmetic.lift(self._constant(np.nan))
        for branch, condition in zip(branches[::-1], conditions[::-1], strict=True):
            result = np.where(condition, branch, result)
        return result

    def _compare(self, node: Relational, left: Array, right: Array) -> Array:
        if not (_integral(left) and _integral(right)):
            left, right = (self.run.arithmetic.key(self.run.arithmetic.lift(a)) for a in (left, right))
            if self.run.kinks is not None:
                self.run.kinks.extend(abs(float(d)) for d in (left - right).ravel())
        result: Array = _COMPARE[node.rel_op](left, right)
        return result.astype(bool)


_COMPARE: dict[str, Callable[[Array, Array], Array]] = {
    "==": np.equal, "!=": np.not_equal, "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal,
}  # fmt: skip


def _children(node: Basic) -> tuple[Basic, ...]:
    match node:
        case Access():
            return node.subscripts
        case sp.Piecewise():
            return tuple(part for pair in node.args if isinstance(pair, ExprCondPair) for part in pair.args)
        case Index() | Tensor():
            return ()
    return tuple(node.args)


def _integral(array: Array) -> bool:
    return array.dtype.kind in "iub"
