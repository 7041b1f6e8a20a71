"""SymPy expressions -> text of generated source, at the loop where each must be computed.

Here the compiler leaves SymPy.  The text of an expression is made while loops are open (`Frame`): what changes less
often than the innermost loop is named before the loop in which it stays the same, what depends on nothing but sizes
and hyper-parameters at the kernel's start, in float64.  LLVM cannot do this itself: all tensors share one block of
memory, so an invariant load might alias a store (measured: 8 times on one loop).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import sympy as sp
from sympy import Expr
from sympy.core.relational import Relational
from sympy.logic.boolalg import Boolean

from .functions import uniform
from .layout import Layout
from .nest import unsafe_axes
from .program import Access, Index, Tensor, sort_key, sorted_args

MOST_FACTORS = 8  # of a power that is a product


@dataclass(slots=True)
class Places:
    """Where each tensor is: a position in the block, an array of the caller, or a hyper-parameter's number."""

    offsets: dict[Tensor, int]
    pointers: dict[Tensor, str]
    hyper: dict[Tensor, int]
    integers: dict[Tensor, int]
    sizes: dict[str, str]
    registers: set[Tensor]
    sparse: dict[Tensor, tuple[str, str, str]]
    integer_offsets: dict[Tensor, int] = field(default_factory=dict)
    scalars: dict[Tensor, str] = field(default_factory=dict)


@dataclass(slots=True)
class Frame:
    """An open loop: its index's name in the text, the lines before it, and what was hoisted there."""

    index: str
    text: str
    prelude: list[str]
    known: dict[Expr, str]
    writes: frozenset[object]
    indent: int
    guard: bool = False  # an `if`: what is hoisted to here stays inside, where its reads are safe


class Expressions:
    """Writes expressions into the lines of a kernel; `source.Writer` adds the statements around them."""

    def __init__(self, layout: Layout, places: Places, dtype: str, prefix: str = "") -> None:
        self.layout = layout
        self.places = places
        self.real = "F64" if dtype == "float64" else "F32"
        self.prefix = prefix
        # what never changes inside the kernel is computed by this one, in float64, at the kernel's start
        self.double: Expressions = self if dtype == "float64" else Expressions(layout, places, "float64", "s")
        self.header: list[str] = [] if self.double is self else self.double.header
        self.lines: list[str] = []
        self.frames: list[Frame] = []
        self.constants: dict[object, str] = {}
        self.values: dict[Tensor, str] = {}
        self.value_levels: dict[Tensor, int] = {}
        self.pending: list[tuple[Access, str]] = []
        self.shared: dict[Expr, str] = {}
        self.repeated: set[Expr] = set()
        self.flat: tuple[set[str], str] | None = None
        self.multiplied: frozenset[Expr] = frozenset()  # divisors between bounds
        self.count = 0

    def fresh(self, stem: str) -> str:
        self.count += 1
        return f"{self.prefix}{stem}{self.count}"

    @property
    def indent(self) -> str:
        return "    " * (1 + (self.frames[-1].indent if self.frames else 0))

    def put(self, line: str) -> None:
        self.lines.append(self.indent + line)

    def constant(self, value: Expr | float | int) -> str:
        """A number of the kernel's real type; read back exactly."""
        number = -float("inf") if value == -sp.oo else float("inf") if value == sp.oo else float(value)
        key = repr(number)
        if key not in self.constants:
            text = {"inf": "1e999", "-inf": "-1e999"}.get(key, key)
            self.constants[key] = self.fresh("k")
            self.header.append(f"    {self.constants[key]} = {self.real}({text})")
        return self.constants[key]

    def global_value(self, expression: Expr) -> str:
        """Something that never changes inside the kernel: computed once at its start, in float64."""
        if expression not in self.constants:
            whole = isinstance(expression, Access) and expression.tensor.kind == "integer"
            if self.double is not self and not whole:
                text = f"{self.real}({self.double.expression(expression)})"
            else:
                text = self._compose(expression)
            self.constants[expression] = self.fresh("c")
            self.header.append(f"    {self.constants[expression]} = {text}")
        return self.constants[expression]

    def level(self, expression: Expr) -> int:
        """How deep in the open loops an expression must be computed; -1: never changes in the kernel."""
        if isinstance(expression, Index):
            return self._index_level(expression.name)
        if isinstance(expression, Access):
            return self._access_level(expression)
        if not expression.args:
            return -1
        return max(self.level(a) for a in expression.args)

    def _index_level(self, name: str) -> int:
        for depth, frame in enumerate(self.frames, 1):
            if frame.index == name or (self.flat is not None and depth == len(self.frames) and name in self.flat[0]):
                return depth
        raise AssertionError(f"the index {name} belongs to no open loop")

    def _access_level(self, access: Access) -> int:
        tensor = access.tensor
        if tensor in self.values:
            return self.value_levels[tensor]
        if tensor in self.places.hyper or tensor in self.places.integers or tensor in self.places.scalars:
            return -1
        level = max([0, *(self.level(s) for s in access.subscripts)])
        root = self.layout.root(tensor)
        for depth in range(len(self.frames), level, -1):
            if root in self.frames[depth - 1].writes:
                return depth
        return level

    def integer(self, expression: Expr) -> str:
        """The text of an integer expression: sizes, loop indices, integer accesses."""
        if isinstance(expression, Index):
            return self.index_text(expression.name)
        if isinstance(expression, Access):
            return self.element(expression)
        if expression.is_Integer:
            return str(int(expression))
        if expression.is_Symbol:
            return self.places.sizes[expression.name]
        if expression.is_Add:
            text = ""
            for term in sorted_args(expression):
                part = self.integer(term)
                text += part if not text else f" - {part[1:]}" if part.startswith("-") else f" + {part}"
            return f"({text})"
        if isinstance(expression, sp.floor):
            return self.integer(expression.args[0])
        if expression.is_Mul:
            whole, below = expression.as_numer_denom()
            if below != 1:  # rounded down
                return f"({self.integer(whole)} // {int(below)})"
            parts = [self.integer(a) for a in sorted(expression.args, key=lambda a: (not a.is_number, str(a)))]
            return "*".join(parts)
        if expression.is_Pow and expression.exp.is_Integer and expression.exp > 0:
            return "*".join([self.integer(expression.base)] * int(expression.exp))
        raise AssertionError(f"not an integer expression: {expression}")

    def index_text(self, name: str) -> str:
        for frame in reversed(self.frames):
            if frame.index == name:
                return frame.text
        raise AssertionError(f"the index {name} belongs to no open loop")

    def address(self, access: Access) -> str:
        """pointer[element number]"""
        tensor = self.layout.root(access.tensor)
        found = self.layout.address(access)
        total: Expr = found.constant
        base = ""
        if tensor in self.places.pointers:
            base = self.places.pointers[tensor]
        elif tensor.kind == "integer":
            base, total = "MI", total + self.places.integer_offsets[tensor]
        else:
            base, total = "M", total + self.places.offsets[tensor]
        terms = []
        moving = False
        for index, stride in found.strides.items():
            if self.flat is not None and index.name in self.flat[0]:
                moving = True
                continue
            terms.append(self.integer(stride * index))
        for gather, stride in found.gathers:
            terms.append(f"{self.integer(stride)}*{self.element(gather)}" if stride != 1 else self.element(gather))
        if moving and self.flat is not None:
            terms.append(self.flat[1])
        if total != 0 or not terms:
            terms.insert(0, self.integer(sp.expand(total)))
        return f"{base}[{' + '.join(terms)}]"

    def condition(self, where: Boolean) -> str:
        """The text of a condition; without branches."""
        if where == True:  # noqa: E712
            return "True"
        if where == False:  # noqa: E712
            return "False"
        if isinstance(where, sp.And):
            return " & ".join(self.condition(a) for a in sorted_args(where))
        if isinstance(where, sp.Or):
            return "(" + " | ".join(f"({self.condition(a)})" for a in sorted_args(where)) + ")"
        if isinstance(where, sp.Not):
            return f"(not {self.condition(where.args[0])})"
        assert isinstance(where, Relational), where
        whole = where.lhs.is_integer and where.rhs.is_integer
        left, right = (self.integer(s) if whole else self.expression(s) for s in (where.lhs, where.rhs))
        return f"({left} {where.rel_op} {right})"

    def expression(self, expression: Expr) -> str:
        """The text of a real expression; what changes less often than the innermost loop is hoisted out of it."""
        if expression.is_number:
            return self.constant(expression)
        if isinstance(expression, Access) and expression.tensor.kind == "integer":
            return f"{self.real}({self.element(expression)})"
        return self.element(expression)

    def element(self, expression: Expr) -> str:
        """The text of an expression at the level where it is computed, from there by name."""
        level = self.level(expression)
        if level == -1:
            return self.global_value(expression)
        if isinstance(expression, Access) and expression.tensor in self.values:
            return self.values[expression.tensor]
        if level < len(self.frames):
            return self._hoisted(expression, level)
        if expression in self.shared:
            return self.shared[expression]
        text = self._compose(expression)
        if expression in self.repeated or isinstance(expression, Access):
            name = self.fresh("x")
            self.put(f"{name} = {text}{label(expression)}")
            self.shared[expression] = name
            return name
        return text

    def _hoisted(self, expression: Expr, level: int) -> str:
        frame = self.frames[level]
        if expression not in frame.known:
            saved = (self.frames, self.flat, self.lines, self.shared, self.repeated)
            outside = self.frames[: level + frame.guard]
            self.frames, self.flat, self.lines, self.shared, self.repeated = outside, None, [], {}, set()
            text = self._compose(expression)
            line = f"{self.indent}{(name := self.fresh('c'))} = {text}{label(expression)}"
            frame.prelude += [*self.lines, line]
            self.frames, self.flat, self.lines, self.shared, self.repeated = saved
            frame.known[expression] = name
        return frame.known[expression]

    def _compose(self, expression: Expr) -> str:
        match expression:
            case Access():
                return self._load(expression)
            case Index():
                return f"{self.real}({self.integer(expression)})"
            case sp.Symbol():
                return f"{self.real}({self.places.sizes[expression.name]})"
            case sp.Add():
                return self._sum(expression)
            case sp.Mul():
                return self._product(expression)
            case sp.Pow():
                return self._power(expression.base, expression.exp)
            case sp.exp():
                return f"exp({self.expression(expression.args[0])})"
            case sp.Piecewise():
                return self._choice(expression)
            case uniform():
                keys = ", ".join(self.integer(a) for a in expression.args)
                return f"uniform_{self.real.lower()}({keys})"
        arguments = ", ".join(self.expression(a) for a in expression.args)
        return f"{expression.func.__name__}({arguments})"

    def _groups(self, arguments: Sequence[Expr]) -> list[tuple[int, list[Expr]]]:
        """Arguments by level, so that what changes rarely is combined first and once."""
        levels: dict[int, list[Expr]] = {}
        for argument in sorted(arguments, key=sort_key):
            levels.setdefault(-1 if argument.is_number else self.level(argument), []).append(argument)
        return sorted(levels.items())

    def _sum(self, expression: Expr) -> str:
        groups = self._groups(expression.args)
        if len(groups) > 1:
            parts = [self.expression(expression.func(*terms)) for _, terms in groups]
            return "(" + " + ".join(parts) + ")"
        text = ""
        for term in sorted(groups[0][1], key=lambda t: t.could_extract_minus_sign()):
            negative = term.could_extract_minus_sign()
            part = self.expression(-term if negative else term)
            text += (f" - {part}" if text else f"-{part}") if negative else (f" + {part}" if text else part)
        return f"({text})"

    def _product(self, expression: Expr) -> str:
        coefficient, rest = expression.as_coeff_Mul()
        if coefficient == -1:
            return f"(-{self.expression(rest)})"
        groups = self._groups(expression.args)
        if len(groups) > 1:
            return "(" + "*".join(self.expression(expression.func(*factors)) for _, factors in groups) + ")"
        above, below = [], []
        for factor in groups[0][1]:
            if factor.is_Pow and factor.exp.is_number and factor.exp < 0:
                below.append(factor.base ** (-factor.exp))
            else:
                above.append(factor)
        if len(below) == 1 and _is_power(below[0]):  # which might overflow where its reciprocal is a number
            above.append(1 / below.pop())
        text = "*".join(self.expression(f) for f in above) or self.constant(1)
        if len(below) == 1 and below[0] in self.multiplied:
            return f"quotient({text}, {self.expression(below[0])})"
        if below:
            text += "/" + (self.expression(below[0]) if len(below) == 1 else self.expression(sp.Mul(*below)))
        return f"({text})"

    def _power(self, base: Expr, exponent: Expr) -> str:
        if _is_power(base**-exponent):
            return self._repeated(f"({self.constant(1)}/{self.expression(base)})", -exponent, self.level(base))
        if exponent.is_number and exponent < 0:
            return f"({self.constant(1)}/{self._power_text(base, -exponent)})"
        return self._power_text(base, exponent)

    def _power_text(self, base: Expr, exponent: Expr) -> str:
        if exponent == 1:
            return self.expression(base)
        if exponent == sp.Rational(1, 2):
            return f"sqrt({self.expression(base)})"
        if _is_power(base**exponent):
            return self._repeated(self.expression(base), exponent, self.level(base))
        if exponent == sp.Rational(3, 2):
            return f"({self.expression(base)}*sqrt({self.expression(base)}))"
        return f"({self.expression(base)} ** {self.expression(exponent)})"

    def _repeated(self, text: str, times: Expr, level: int) -> str:
        """text * text * ..."""
        if not text.isidentifier():
            name = self.fresh("x")
            if level >= 0:
                self.put(f"{name} = {text}")
            else:
                self.header.append(f"    {name} = {text}")
            text = name
        return "(" + "*".join([text] * int(times)) + ")"

    def _choice(self, expression: Expr) -> str:
        *cases, (text, last) = [(self.expression(value), c) for value, c in expression.args]
        assert last == True, f"the last case of {expression} must be unconditional"  # noqa: E712
        for value, where in reversed(cases):
            text = f"select({self.condition(where)}, {value}, {text})"
        return text

    def _load(self, access: Access) -> str:
        tensor = access.tensor
        if tensor in self.places.hyper:
            return f"H[{self.places.hyper[tensor]}]"
        if tensor in self.places.integers:
            return f"I[{self.places.integers[tensor]}]"
        if tensor in self.places.scalars:
            return self.places.scalars[tensor]
        if tensor in self.values:
            return self.values[tensor]
        if tensor in self.places.sparse:
            return f"{self.places.sparse[tensor][2]}[{self._entry(access)}]"
        self._flush(self.layout.root(tensor), access)
        text = self.address(access)
        unsafe = unsafe_axes(access)
        if unsafe:
            zero = "0" if tensor.kind == "integer" else self.constant(0)
            inside = " & ".join(
                f"({self.integer(s)} >= 0) & ({self.integer(s)} < {self.integer(n)})" for s, n in unsafe
            )
            return f"({text} if {inside} else {zero})"
        return text

    def _entry(self, access: Access) -> str:
        """The number of the stored element that the open sparse loop stands at."""
        for frame in reversed(self.frames):
            if frame.index == getattr(access.subscripts[1], "name", None):
                return f"e{frame.text}"
        raise AssertionError(f"{access} is read outside a loop over its stored elements")

    def _flush(self, root: Tensor, reading: Access | None) -> None:
        """Write pending stores to a tensor, before it is read at another element or added to."""
        due = [p for p in self.pending if self.layout.root(p[0].tensor) == root]
        if reading is not None and all(p[0].subscripts == reading.subscripts for p in due):
            return
        for lhs, name in due:
            self.put(f"{self.address(lhs)} = {name}{label(lhs)}")
            self.pending.remove((lhs, name))

    def _settle(self) -> None:
        for lhs, name in self.pending:
            self.put(f"{self.address(lhs)} = {name}{label(lhs)}")
        self.pending.clear()


def _is_power(expression: Expr) -> bool:
    """A product of few equal factors."""
    return bool(expression.is_Pow and expression.exp.is_Integer and 1 < expression.exp <= MOST_FACTORS)


def label(expression: Expr) -> str:
    """The element that a line reads or writes, as a comment; nothing for what is no access."""
    if not isinstance(expression, Access):
        return ""
    return "  # " + re.sub(r"[^\x20-\x7e]", "?", re.sub(r"_\d+\b", "", str(expression)))
