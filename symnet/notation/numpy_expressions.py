"""Scalar expressions of the language -> NumPy source over whole arrays, for numpy_source.py.

In: a SymPy expression, and the indices that are the axes of the array that is wanted.  Out: Python text whose value
broadcasts, aligned at its last axis, to the axes asked for.  An index in `fixed` is a Python variable of a loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import sympy as sp
from sympy import Basic, Expr
from sympy.core.relational import Relational

from compiler.program import Access, Index, Tensor, affine, indices, subscript_in_range

Axes: TypeAlias = Sequence[Index]
SUM, PRODUCT, POWER, ATOM = range(4)
COMPARISONS = {sp.Eq: "==", sp.Ne: "!=", sp.Lt: "<", sp.Le: "<=", sp.Gt: ">", sp.Ge: ">="}
NUMPY = ("exp", "log", "sin", "cos", "tan", "atan", "tanh", "expm1", "log1p")
SCIPY = {"erf": "erf", "erfc": "erfc", "normal_cdf": "ndtr"}

HELPERS = {
    "logistic": '''\
def logistic(x):
    """1/(1 + exp(-x)), without overflow"""
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e/(1 + e), 1/(1 + e))
''',
    "softplus": '''\
def softplus(x):
    """log(1 + exp(x))"""
    return np.logaddexp(0.0, x)
''',
    "logsumexp": '''\
def logsumexp(x):
    """log(sum(exp(x))) over the last axis, without overflow; -inf of nothing"""
    top = x.max(axis=-1, keepdims=True, initial=-np.inf)
    shift = np.where(np.isfinite(top), top, 0.0)
    return np.where(np.isinf(top), top, shift + np.log(np.exp(x - shift).sum(axis=-1, keepdims=True)))[..., 0]
''',
    "read": '''\
def read(array, *subscripts):
    """array[subscripts], and 0 where they are outside"""
    inside = True
    for s, size in zip(subscripts, array.shape):
        inside = inside & (0 <= s) & (s < size)
    within = tuple(np.clip(s, 0, size - 1) for s, size in zip(subscripts, array.shape))
    return np.where(inside, array[within], array.dtype.type(0))
''',
    "add": '''\
def add(array, subscripts, values):
    """array[subscripts] += values, element by element; what is outside is dropped"""
    *subscripts, values = np.broadcast_arrays(*subscripts, values)
    inside = np.ones(values.shape, bool)
    for s, size in zip(subscripts, array.shape):
        inside &= (0 <= s) & (s < size)
    np.add.at(array, tuple(s[inside] for s in subscripts), values[inside])
''',
    "uniform": '''\
def uniform(*keys):
    """random numbers that are a function of integers (SplitMix64)"""
    h = np.uint64(0x9E3779B97F4A7C15)
    for key in keys:
        z = h ^ (np.asarray(key).astype(np.int64).astype(np.uint64)*np.uint64(0xD1342543DE82EF95))
        z = z + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30)))*np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27)))*np.uint64(0x94D049BB133111EB)
        h = z ^ (z >> np.uint64(31))
    return (h >> np.uint64(11)).astype(np.float64)*2.0**-53
''',
}  # fmt: skip


class Expressions:
    """Text of expressions.  names: the Python variable of each tensor.  used: what the text needs besides NumPy."""

    def __init__(self, names: Mapping[Tensor, str]) -> None:
        self.names = names
        self.fixed: dict[Index, str] = {}
        self.used: dict[str, None] = {}

    def text(self, expression: Basic, axes: Axes, least: int = SUM) -> str:
        """The expression; in brackets if it binds less than `least`."""
        text, binding = self._written(expression, axes)
        return text if binding >= least else f"({text})"

    def own(self, *expressions: Basic) -> list[Index]:
        """The indices that are axes."""
        return [i for i in indices(*expressions) if i not in self.fixed]

    def size(self, extent: Expr) -> str:
        return str(extent)

    # ------------------------------------------------------------------------------------------ kinds of expressions
    def _written(self, e: Basic, axes: Axes) -> tuple[str, int]:
        match e:
            case Access():
                return self.access(e, axes)
            case Index():
                return (self.fixed[e], ATOM) if e in self.fixed else (self.placed(arange(e), [e], axes), ATOM)
            case sp.Integer() | sp.Float() | sp.Rational() | sp.NumberSymbol():
                return self._number(e)
            case sp.Symbol():
                return e.name, ATOM
            case sp.Add():
                return self._sum(e, axes), SUM
            case sp.Mul():
                return self._product(e, axes)
            case sp.Pow():
                return self._power(e, axes)
            case sp.Piecewise():
                return self._pieces(e, axes), ATOM
            case Relational():
                left, right = (self.text(side, axes, SUM) for side in e.args)
                return f"({left} {COMPARISONS[type(e)]} {right})", ATOM
            case sp.And() | sp.Or():
                sign = " & " if isinstance(e, sp.And) else " | "
                return "(" + sign.join(self.text(part, axes, ATOM) for part in sorted(e.args, key=str)) + ")", ATOM
            case sp.Not():
                return f"np.logical_not({self.text(e.args[0], axes)})", ATOM
            case sp.logic.boolalg.BooleanTrue() | sp.logic.boolalg.BooleanFalse():
                return str(bool(e)), ATOM
            case sp.Function():
                return self._function(e, axes), ATOM
        raise AssertionError(e)

    def _number(self, number: Expr) -> tuple[str, int]:
        if number == sp.pi:
            return "np.pi", ATOM
        if number.is_Integer:
            text = str(number)
        elif number.is_Rational and max(abs(number.p), number.q) < 1000:
            return f"{number.p}/{number.q}", SUM if number.p < 0 else PRODUCT
        else:
            text = repr(float(number))
        return text, SUM if text.startswith("-") else ATOM

    def _sum(self, e: Expr, axes: Axes) -> str:
        terms = sorted(e.args, key=lambda t: (bool(t.as_coeff_Mul()[0].is_negative), t.is_number, str(t)))
        text = self.text(terms[0], axes)
        for term in terms[1:]:
            if term.as_coeff_Mul()[0].is_negative:
                text += f" - {self.text(-term, axes, PRODUCT)}"
            else:
                text += f" + {self.text(term, axes, PRODUCT)}"
        return text

    def _product(self, e: Expr, axes: Axes) -> tuple[str, int]:
        if e.as_coeff_Mul()[0].is_negative:
            return f"-{self.text(-e, axes, PRODUCT)}", SUM
        above, below = quotient(e)
        top = "*".join(self.text(f, axes, PRODUCT) for f in above) or "1"
        if not below:
            return top, PRODUCT
        if len(above) == 1:
            top = self.text(above[0], axes, PRODUCT)
        under = "*".join(self.text(f, axes, POWER) for f in below)
        return f"{top}/{under if len(below) == 1 else f'({under})'}", PRODUCT

    def _power(self, e: Expr, axes: Axes) -> tuple[str, int]:
        if e.exp == sp.Rational(1, 2):
            return f"np.sqrt({self.text(e.base, axes)})", ATOM
        if e.exp.as_coeff_Mul()[0].is_negative:
            return f"1/{self.text(1 / e, axes, POWER)}", PRODUCT
        return f"{self.text(e.base, axes, ATOM)}**{self.text(e.exp, axes, ATOM)}", POWER

    def _pieces(self, e: sp.Piecewise, axes: Axes) -> str:
        *pairs, (last, _) = [(pair.expr, pair.cond) for pair in e.args]
        text = self.text(last, axes)
        for value, condition in reversed(pairs):
            text = f"np.where({self._bare(condition, axes)}, {self.text(value, axes)}, {text})"
        return text

    def _bare(self, condition: Basic, axes: Axes) -> str:
        text = self.text(condition, axes)
        return text[1:-1] if isinstance(condition, Relational) else text

    def condition(self, condition: Basic, axes: Axes) -> str:
        return self._bare(condition, axes)

    def _function(self, e: Expr, axes: Axes) -> str:
        name = e.func.__name__
        arguments = ", ".join(self.text(a, axes) for a in e.args)
        if name in NUMPY:
            return f"np.{name}({arguments})"
        if name in SCIPY:
            self.used[f"from scipy.special import {SCIPY[name]}"] = None
            return f"{SCIPY[name]}({arguments})"
        self.used[name] = None
        return f"{name}({arguments})"

    # ------------------------------------------------------------------------------------------ accesses
    def access(self, access: Access, axes: Axes) -> tuple[str, int]:
        name = self.names[access.tensor]
        if not access.subscripts:
            return name, ATOM
        found = self.slices(access)
        if found is None:
            self.used["read"] = None
            subscripts = ", ".join(self.subscript(s, axes) for s in access.subscripts)
            return f"read({name}, {subscripts})", ATOM
        parts, order, guards = found
        if any(part != ":" for part in parts):
            name += f"[{', '.join(parts)}]"
        if guards:
            sizes = ", ".join(self.size(i.extent) for i in order)
            zero = f"np.zeros(({sizes}{',' * (len(order) == 1)}))" if order else "0.0"
            name = f"({name} if {' and '.join(guards)} else {zero})"
        return self.placed(name, order, axes), ATOM

    def subscript(self, subscript: Expr, axes: Axes) -> str:
        return self.text(subscript, axes)

    def slices(self, access: Access) -> tuple[list[str], list[Index], list[str]] | None:
        """(slices, the indices of the axes that are left, conditions of the loops), if no array of numbers is needed"""
        parts: list[str] = []
        order: list[Index] = []
        guards: list[str] = []
        for subscript, extent in zip(access.subscripts, access.tensor.shape, strict=True):
            form = affine(subscript)
            if form is None or form.gathers:
                return None
            free = [(i, k) for i, k in form.terms if i not in self.fixed]
            if not free:
                parts.append(self.text(subscript, ()))
                guards += self._guards(subscript, extent)
                continue
            if len(form.terms) > 1 or free[0][1] != 1 or free[0][0] in order:
                return None
            index = free[0][0]
            if not subscript_in_range(subscript, extent):
                return None
            low, high = index.low + form.constant, index.high + form.constant
            whole = (low, high) == (0, extent)
            parts.append(":" if whole else f"{low if low != 0 else ''}:{high if high != extent else ''}")
            order.append(index)
        return parts, order, guards

    def _guards(self, subscript: Expr, extent: Expr) -> list[str]:
        """What must hold of the loops' variables, so that the subscript is within its axis."""
        if subscript_in_range(subscript, extent):
            return []
        form = affine(subscript)
        if form is None or form.plain is None:
            return [f"0 <= {self.text(subscript, ())} < {self.size(extent)}"]
        variable, shift = self.fixed[form.plain], form.constant
        low = [] if (form.plain.low + shift).is_nonnegative else [f"{variable} >= {-shift}"]
        high = [] if (extent - form.plain.high - shift).is_nonnegative else [f"{variable} < {extent - shift}"]
        return low + high

    def placed(self, text: str, order: Sequence[Index], axes: Axes) -> str:
        """An array with the axes `order`, brought in line with the last axes of `axes`."""
        wanted = [i for i in axes if i in order]
        if wanted != list(order):
            places = [list(order).index(i) for i in wanted]
            text += ".T" if places == [1, 0] else f".transpose({', '.join(map(str, places))})"
        if not wanted:
            return text
        after = list(axes)[list(axes).index(wanted[0]) :]
        if len(after) == len(wanted):
            return text
        return f"{text}[{', '.join(':' if i in wanted else 'None' for i in after)}]"


def quotient(e: Expr) -> tuple[list[Expr], list[Expr]]:
    """(factors above, factors below) of a product, numbers first"""
    above: list[Expr] = []
    below: list[Expr] = []
    for factor in sorted(sp.Mul.make_args(e), key=lambda f: (not f.is_number, str(f))):
        if factor.is_Rational and not factor.is_Integer and max(factor.p, factor.q) < 1000:
            above += [sp.Integer(factor.p)] if factor.p != 1 else []
            below.append(sp.Integer(factor.q))
        elif factor.is_Pow and factor.exp.as_coeff_Mul()[0].is_negative:
            below.append(1 / factor)
        else:
            above.append(factor)
    return above, below


def arange(index: Index) -> str:
    return f"np.arange({index.high})" if index.low == 0 else f"np.arange({index.low}, {index.high})"
