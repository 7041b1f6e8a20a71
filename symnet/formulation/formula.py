"""A formula string -> a SymPy scalar, through a whitelist of Python's syntax tree.

In: text such as "where(x <= 0, 0, x)" and the symbols that its names stand for.  Out: an expression of the
language (compiler/program.py).  Activations, losses and optimizers, ours and users', are written as such text.

    formula   ::= number | name | -f | f + f | f - f | f * f | f / f | f ** f | function(f, ...)
                | where(condition, f, f)
    condition ::= f < f | <= | > | >= | == | != | condition and condition | condition or condition

No text is ever evaluated, and SymPy's own parser is never called: both run code.  Length, depth and the number
of nodes are limited before anything is built, and so are constants (9**9**9 is refused, not computed).

NaN and kinks.  Comparisons with NaN are false, so the last piece of a `where` is the one that must carry it.  `abs`,
`max`, `min` and `sign` become pieces that carry NaN: abs and sign have slope 0 at 0; where max or min meet a number
the slope at the corner is 0; where two expressions tie, each gets half of the slope.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from types import MappingProxyType
from typing import Any

import sympy as sp
from sympy import Basic, Expr, Integer, Rational
from sympy.logic.boolalg import Boolean

from compiler.functions import expm1, log1p, logistic, normal_cdf, softplus

from ..errors import Quoted, SymnetError, complaint, show, unknown

X = sp.Symbol("x", real=True)  # the argument of functions of one variable

LENGTH = 2000
DEPTH = 40
NODES = 500
EXPONENT = 64
COMPARISONS = 24  # in one condition: SymPy compares each with each
ARMS = 64  # pieces that one function of pieces may have
WORK = 10_000  # of these pieces and of the parts of its argument
PIECES = 5_000  # parts of all functions of pieces in a formula
SIMPLE = ("abs", "sign", "max", "min")  # functions whose values are not computed
LARGEST = 10**40  # of constants that functions are applied to: of larger ones they take SymPy milliseconds
CONSTANT = 32  # parts of an irrational constant
BITS = 4096  # of the numerator and denominator of a constant


def absolute(u: Expr) -> Expr:
    return _by_arms(u, lambda v: sp.Piecewise((-v, v < 0), (Integer(0), v <= 0), (v, True)))


def sign(u: Expr) -> Expr:
    # v**2 is 0 with slope 0 at 0, and carries NaN; (1, v > 0) at the end would be taken for "otherwise" by SymPy
    return _by_arms(u, lambda v: sp.Piecewise((Integer(-1), v < 0), (Integer(1), v > 0), (v**2, True)))


def maximum(u: Expr, v: Expr) -> Expr:
    if u.is_number:
        u, v = v, u
    if v.is_number:
        return _by_arms(u, lambda w: sp.Piecewise((v, w <= v), (w, True)))
    return _by_arms(sp.Tuple(u, v), lambda p: _one_of(p[0], p[1], p[0] > p[1], p[1] > p[0]))


def minimum(u: Expr, v: Expr) -> Expr:
    if u.is_number:
        u, v = v, u
    if v.is_number:
        return _by_arms(u, lambda w: sp.Piecewise((v, w >= v), (w, True)))
    return _by_arms(sp.Tuple(u, v), lambda p: _one_of(p[0], p[1], p[0] < p[1], p[1] < p[0]))


def _one_of(u: Expr, v: Expr, first: Boolean, second: Boolean) -> Expr:
    """u where the first condition holds, v where the second does, else, of equals or NaN, their mean."""
    return sp.Piecewise((u, first), (v, second), ((u + v) / 2, True))


def choose(condition: Boolean, then: Expr, otherwise: Expr) -> Expr:
    """where(condition, then, otherwise)"""
    return _by_arms(condition, lambda c: sp.Piecewise((then, c), (otherwise, True)))


def _by_arms(argument: Basic, function: Callable[[Any], Expr]) -> Expr:
    """A function whose argument holds a Piecewise is taken arm by arm: a condition must not hold one."""
    parts = list(sp.preorder_traversal(argument))
    inner = [p for p in parts if isinstance(p, sp.Piecewise)]
    if not inner:
        return function(argument)
    arms = math.prod(len(p.args) for p in dict.fromkeys(inner))
    if arms > ARMS or arms * len(parts) > WORK:
        raise SymnetError(
            f"a formula nests abs, sign, max, min and where in more than {ARMS} ways; write it with fewer."
        )
    return sp.Piecewise(
        *[(_by_arms(argument.xreplace({inner[-1]: arm}), function), condition) for arm, condition in inner[-1].args]
    )


def _several(function: Callable[[Expr, Expr], Expr]) -> Callable[..., Expr]:
    def fold(first: Expr, *rest: Expr) -> Expr:
        for u in rest:
            first = function(first, u)
        return first

    return fold


# name -> (function, least and largest number of arguments)
FUNCTIONS: Mapping[str, tuple[Callable[..., Expr], int, int]] = MappingProxyType(
    {
        "exp": (sp.exp, 1, 1),
        "log": (sp.log, 1, 1),
        "sqrt": (sp.sqrt, 1, 1),
        "sin": (sp.sin, 1, 1),
        "cos": (sp.cos, 1, 1),
        "tan": (sp.tan, 1, 1),
        "atan": (sp.atan, 1, 1),
        "tanh": (sp.tanh, 1, 1),
        "erf": (sp.erf, 1, 1),
        "erfc": (sp.erfc, 1, 1),
        "expm1": (expm1, 1, 1),
        "log1p": (log1p, 1, 1),
        "logistic": (logistic, 1, 1),
        "normal_cdf": (normal_cdf, 1, 1),
        "softplus": (softplus, 1, 1),
        "abs": (absolute, 1, 1),
        "sign": (sign, 1, 1),
        "max": (_several(maximum), 2, 8),
        "min": (_several(minimum), 2, 8),
    }
)
CONSTANTS: Mapping[str, Expr] = MappingProxyType({"pi": sp.pi})

_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Expr, Expr], Boolean]] = MappingProxyType(
    {ast.Lt: sp.Lt, ast.LtE: sp.Le, ast.Gt: sp.Gt, ast.GtE: sp.Ge, ast.Eq: sp.Eq, ast.NotEq: sp.Ne}
)
OPERATORS: Mapping[type[ast.operator], str] = MappingProxyType(
    {
        ast.BitXor: "^", ast.Mod: "%", ast.FloorDiv: "//", ast.MatMult: "@", ast.BitAnd: "&", ast.BitOr: "|",
        ast.LShift: "<<", ast.RShift: ">>",
    }
)  # fmt: skip


def number(value: float | int) -> Rational:
    """The exact value of the shortest decimal that reads back as `value`: 0.1 is 1/10."""
    return Rational(repr(value)) if isinstance(value, float) else Integer(value)


def parse(
    text: str,
    names: Mapping[str, Expr],
    functions: Mapping[str, Callable[[Expr], Expr]] = MappingProxyType({}),
    where: str = "formula",
) -> Expr:
    """The expression that `text` says, its names replaced by `names`; `functions` adds functions of one argument.

    Raises SymnetError for whatever is not in the grammar above, at the column where it stands.

    >>> x = sp.Symbol("x", real=True)
    >>> parse("where(x <= 0, 0, x)", {"x": x})
    Piecewise((0, x <= 0), (x, True))
    """
    tree = _tree(text, where)
    expression = Reader(where, names, functions).scalar(tree)
    return without_abs(expression)


def without_abs(expression: Expr) -> Expr:
    """SymPy writes sqrt(x**2) as Abs(x) by itself; the language has no Abs."""
    return expression.replace(sp.Abs, absolute) if expression.has(sp.Abs) else expression


def _tree(text: object, where: str) -> ast.expr:
    if not isinstance(text, str):
        raise complaint(where, text, "a formula, as text")
    (tree,) = statements(text.strip(), where, "eval", LENGTH, NODES)
    assert isinstance(tree, ast.expr)
    return tree


def statements(text: str, where: str, mode: str, length: int, terms: int) -> list[ast.AST]:
    """The syntax trees of the lines of a text (of the one expression, in the mode "eval"), of limited size."""
    if len(text) > length:
        raise complaint(where, Quoted(f"{len(text)} characters"), f"at most {length}")
    depth = 0
    for character in text:
        if character == "\\":  # Python imports codecs for what such a character begins
            raise complaint(where, text, "a formula", "It holds a backslash, which no formula has.")
        depth += (character in "([{") - (character in ")]}")
        if depth > DEPTH:
            raise complaint(where, Quoted(f"more than {DEPTH} nested brackets"), f"at most {DEPTH}")
    found: list[ast.AST] = []
    for number, line in [(1, text)] if mode == "eval" else _lines(text):
        # one by one: of a text of several lines Python opens the "file" to show the line of an error
        try:
            tree = ast.parse(line, mode=mode)
        except SyntaxError as error:
            at = "" if mode == "eval" else f"line {number - 1 + (error.lineno or 1)}, "
            raise complaint(where, line, "a formula", f"It cannot be read at {at}column {error.offset}.") from None
        except (ValueError, MemoryError, RecursionError):
            advice = "It is nested too deeply or holds a character that is none."
            raise complaint(where, line, "a formula", advice) from None
        found += ast.iter_child_nodes(ast.increment_lineno(tree, number - 1))
    stack = [(node, 1) for node in found]
    nodes = 0
    while stack:
        node, level = stack.pop()
        nodes += 1
        if isinstance(node, ast.Constant) and isinstance(node.value, int) and node.value.bit_length() > 1023:
            raise complaint(where, Quoted("a number out of range"), "numbers that a float64 can hold")
        if level > 2 * DEPTH or nodes > 4 * terms:
            raise complaint(where, text, "a formula of moderate size", f"At most {2 * DEPTH} levels and {terms} terms.")
        stack.extend((child, level + 1) for child in ast.iter_child_nodes(node))
    return found


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Each equation with the number of its first line; it goes on where a bracket is open.  Comments are left out."""
    lines = [line.partition("#")[0] for line in text.split("\n")]
    first, depth = 0, 0
    for number, line in enumerate(lines, 1):
        depth += sum(map(line.count, "([{")) - sum(map(line.count, ")]}"))
        if depth <= 0 or number == len(lines):
            if any(map(str.strip, lines[first:number])):
                yield first + 1, "\n".join(lines[first:number])
            first, depth = number, 0


def spoken(node: ast.AST) -> Quoted:
    """What stands there, as its writer would say it."""
    match node:
        case ast.Call():
            kind = "the call"
        case ast.Attribute():
            kind = "the attribute"
        case ast.Subscript():
            kind = "subscripts in"
        case _:
            kind = "the text"
    return Quoted(f"{kind} {show(ast.unparse(node))}")


class Reader:
    """Walks the tree; its depth is limited, so plain recursion is safe."""

    def __init__(self, where: str, names: Mapping[str, Expr], functions: Mapping[str, Callable[[Expr], Expr]]) -> None:
        self.where, self.pieces = where, 0
        self.names = {**CONSTANTS, **names}
        self.functions = {**FUNCTIONS, **{name: (function, 1, 1) for name, function in functions.items()}}

    def at(self, node: ast.expr) -> str:
        return f"{self.where}, column {node.col_offset + 1}"

    def scalar(self, node: ast.expr) -> Expr:
        match node:
            case ast.Constant(value=bool() | str() | bytes() | complex() | None):
                raise complaint(self.at(node), node.value, "a real number")
            case ast.Constant(value=int() | float()):
                result = self.constant(node)
            case ast.Name(id=name):
                if name not in self.names:
                    raise unknown(self.at(node), "name", name, self.names)
                return self.names[name]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                result = -self.scalar(operand)
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                result = self.scalar(operand)
            case ast.BinOp(left=left, op=operator, right=right):
                result = self.binary(node, self.scalar(left), operator, self.scalar(right))
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                result = self.call(node, name, arguments)
            case ast.Compare() | ast.BoolOp():
                raise complaint(
                    self.at(node), Quoted("a condition"), "a number", "Conditions stand in where(...) only."
                )
            case _:
                advice = "Write where(condition, value, otherwise)." if isinstance(node, ast.IfExp) else ""
                expected = "numbers, names, + - * / **, functions and where(...)"
                raise complaint(self.at(node), spoken(node), expected, advice)
        return self.finite(node, result)

    def constant(self, node: ast.Constant) -> Expr:
        value = node.value
        assert isinstance(value, int | float)
        if (isinstance(value, int) and value.bit_length() > 1023) or value != value or value in (float("inf"),):
            raise complaint(self.at(node), Quoted("a number out of range"), "one that a float64 can hold")
        return number(value)

    def binary(self, node: ast.expr, left: Expr, operator: ast.operator, right: Expr) -> Expr:
        match operator:
            case ast.Add():
                return left + right
            case ast.Sub():
                return left - right
            case ast.Mult():
                return left * right
            case ast.Div():
                if right.is_zero:
                    raise complaint(self.at(node), Quoted("a division by zero"), "a divisor that is not zero")
                return left / right
            case ast.Pow():
                return self.power(node, left, right)
        sign = OPERATORS.get(type(operator), "")
        advice = "Powers are written x**2." if sign == "^" else ""
        raise complaint(self.at(node), Quoted(f"the operator {sign}".rstrip()), "one of + - * / **", advice)

    def power(self, node: ast.expr, base: Expr, exponent: Expr) -> Expr:
        if exponent.has(sp.Piecewise):  # whose pieces may be numbers
            return _by_arms(exponent, lambda piece: self.power(node, base, piece))
        if exponent.is_number:
            too_large = not exponent.is_Rational or abs(exponent) > EXPONENT or exponent.q > EXPONENT
            numbers = base.atoms(Rational) if base.has(sp.Piecewise) else {base} if base.is_Rational else ()
            if too_large or any(_bits(number) * abs(exponent) > BITS for number in numbers):
                raise complaint(
                    self.at(node), Quoted("a large power"), f"exponents of at most {EXPONENT}, as fractions"
                )
            if base.is_zero and exponent.is_negative:
                raise complaint(self.at(node), Quoted("a division by zero"), "a base that is not zero")
        return base**exponent

    def call(self, node: ast.Call, name: str, arguments: list[ast.expr]) -> Expr:
        if name == "where":
            if len(arguments) != 3:
                raise complaint(
                    self.at(node), Quoted(f"{len(arguments)} arguments"), "where(condition, value, otherwise)"
                )
            condition = self.condition(arguments[0])
            return self.of_pieces(node, choose(condition, self.scalar(arguments[1]), self.scalar(arguments[2])))
        if name not in self.functions:
            raise unknown(self.at(node), "function", name, [*self.functions, "where"])
        function, least, most = self.functions[name]
        if not least <= len(arguments) <= most:
            raise complaint(
                self.at(node),
                Quoted(f"{len(arguments)} arguments of {name}"),
                f"{least}" + f" to {most}" * (most > least),
            )
        given = [self.scalar(a) for a in arguments]
        numbers = {n for a in given if a.is_number or a.has(sp.Piecewise) for n in a.atoms(Rational)}
        if name not in SIMPLE and any(abs(n) > LARGEST for n in numbers):
            raise complaint(self.at(node), Quoted(f"{name} of a very large constant"), f"at most {LARGEST:.0e}")
        return self.of_pieces(node, function(*given))

    def of_pieces(self, node: ast.expr, result: Expr) -> Expr:
        """Limited in all: SymPy takes its time over every piece, again and again."""
        if result.has(sp.Piecewise):
            self.pieces += sum(1 for _ in sp.preorder_traversal(result))
            if self.pieces > PIECES:
                raise complaint(self.at(node), Quoted("too many pieces"), "fewer of abs, sign, max, min and where")
        return result

    def condition(self, node: ast.expr) -> Boolean:
        match node:
            case ast.Compare(left=left, ops=operators, comparators=rest):
                terms = [self.scalar(term) for term in (left, *rest)]
                parts = []
                for operator, u, v in zip(operators, terms, terms[1:], strict=False):
                    if type(operator) not in _COMPARISONS:
                        raise complaint(self.at(node), spoken(node), "one of < <= > >= == !=")
                    parts.append(_COMPARISONS[type(operator)](u, v))
                return sp.And(*parts)
            case ast.BoolOp() if sum(isinstance(part, ast.Compare) for part in ast.walk(node)) > COMPARISONS:
                raise complaint(self.at(node), Quoted("a long condition"), f"at most {COMPARISONS} comparisons")
            case ast.BoolOp(op=operator, values=values):
                return (sp.And if isinstance(operator, ast.And) else sp.Or)(*[self.condition(v) for v in values])
        raise complaint(self.at(node), spoken(node), "a comparison, or comparisons joined by and, or")

    def finite(self, node: ast.expr, result: Expr) -> Expr:
        """Constants must be finite and real; they are checked as they arise, so none can grow beyond control."""
        if not isinstance(result, Expr) or result.has(sp.zoo, sp.nan, sp.oo, -sp.oo, sp.I):
            raise complaint(self.at(node), Quoted("no finite real number"), "a formula of real numbers")
        if not result.is_number:
            for factor in sp.Mul.make_args(result):
                if isinstance(factor, sp.Pow) and factor.exp.is_Rational and abs(factor.exp) > EXPONENT:
                    raise complaint(self.at(node), Quoted("a large power"), f"exponents of at most {EXPONENT}")
            return result
        if result.is_Rational and _bits(result) > BITS:
            raise complaint(self.at(node), Quoted("a constant of too many digits"), f"at most {BITS} bits")
        if sum(1 for _ in islice(sp.preorder_traversal(result), CONSTANT + 1)) > CONSTANT:
            raise complaint(self.at(node), Quoted("a constant of too many terms"), "a number in its place")
        try:
            value = float(result)
        except (TypeError, OverflowError, ValueError):
            value = float("nan")
        if value != value or abs(value) == float("inf"):
            raise complaint(self.at(node), Quoted("a constant out of range"), "one that a float64 can hold")
        return result


def _bits(value: Expr) -> int:
    return max(int(value.p).bit_length(), int(value.q).bit_length())


def at(expression: Expr, argument: Expr) -> Expr:
    """An expression in X at an argument, which may itself have pieces."""
    if isinstance(expression, sp.Piecewise):
        return _by_arms(argument, lambda u: expression.xreplace({X: u}))
    return expression.xreplace({X: argument})
