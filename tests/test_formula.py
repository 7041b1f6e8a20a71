"""Formulas in text: what they mean, NaN and kinks, and that nothing but formulas gets through."""

from __future__ import annotations

import math

import pytest
import sympy as sp

from compiler.functions import FUNCTIONS
from symnet.errors import SymnetError
from symnet.formulation.formula import X, at, parse

Y = sp.Symbol("y", real=True)


def read(text: str) -> sp.Expr:
    return parse(text, {"x": X, "y": Y})


def value(expression: sp.Expr, x: float, y: float = 0.0) -> float:
    """The value as a kernel computes it: pieces are chosen by comparisons of floats, false for NaN."""
    if isinstance(expression, sp.Piecewise):
        for arm, condition in expression.args:
            if holds(condition, x, y):
                return value(arm, x, y)
        raise AssertionError("no piece holds")
    if expression in (X, Y):
        return x if expression == X else y
    if expression.is_number:
        return float(expression)
    arguments = [value(a, x, y) for a in expression.args]
    if any(math.isnan(a) for a in arguments):
        return math.nan
    return float(expression.func(*[sp.Float(a, 30) for a in arguments]))


def holds(condition: sp.Basic, x: float, y: float) -> bool:
    if condition in (sp.true, sp.false):
        return bool(condition)
    if isinstance(condition, sp.And | sp.Or):
        return (all if isinstance(condition, sp.And) else any)(holds(c, x, y) for c in condition.args)
    a, b = (value(side, x, y) for side in condition.args)
    return {"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b, "==": a == b, "!=": a != b}[condition.rel_op]


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("x**2 - 3*x/4 + 0.1", X**2 - 3 * X / 4 + sp.Rational(1, 10)),
        ("-x + +x*y", -X + X * Y),
        ("exp(-x)/(1 + exp(-x))", sp.exp(-X) / (1 + sp.exp(-X))),
        ("sqrt(2*pi)*x", sp.sqrt(2 * sp.pi) * X),
        ("x**y", X**Y),
        ("  x  ", X),
        ("where(x <= 0, 0, x)", sp.Piecewise((0, X <= 0), (X, True))),
        ("where(x < 0 and y > 1 or x == y, 1, 2)", sp.Piecewise((1, ((X < 0) & (Y > 1)) | sp.Eq(X, Y)), (2, True))),
        ("where(-1 < x <= 1, x, 0)", sp.Piecewise((X, (X > -1) & (X <= 1)), (0, True))),
    ],
)
def test_a_formula_is_the_expression_that_it_says(text: str, expression: sp.Expr) -> None:
    assert read(text) == expression


def test_decimals_are_exact() -> None:
    assert read("0.1") == sp.Rational(1, 10) and read("1e-3") == sp.Rational(1, 1000)
    assert read("1.5e300") == sp.Integer(15) * 10**299


@pytest.mark.parametrize(
    ("text", "at_values", "slopes"),
    [
        ("abs(x)", {-2.0: 2, 0.0: 0, 3.0: 3}, {-2.0: -1, 0.0: 0, 3.0: 1}),
        ("sqrt(x**2)", {-2.0: 2, 0.0: 0, 3.0: 3}, {-2.0: -1, 0.0: 0, 3.0: 1}),
        ("sign(x)", {-2.0: -1, 0.0: 0, 3.0: 1}, {-2.0: 0, 0.0: 0, 3.0: 0}),
        ("max(0, x)", {-2.0: 0, 0.0: 0, 3.0: 3}, {-2.0: 0, 0.0: 0, 3.0: 1}),
        ("max(x, 0)", {-2.0: 0, 0.0: 0, 3.0: 3}, {-2.0: 0, 0.0: 0, 3.0: 1}),
        ("min(x, 1)", {-2.0: -2, 1.0: 1, 3.0: 1}, {-2.0: 1, 1.0: 0, 3.0: 0}),
        ("max(min(x, 1), -1)", {-2.0: -1, 0.5: 0.5, 3.0: 1}, {-1.0: 0, 0.5: 1, 1.0: 0}),
        ("max(x, 2*x, -1)", {-2.0: -1, -0.5: -0.5, 3.0: 6}, {-2.0: 0, -0.5: 1, 3.0: 2}),
        ("max(x, 2*x)", {-2.0: -2, 0.0: 0, 3.0: 6}, {-2.0: 1, 0.0: 1.5, 3.0: 2}),
        ("min(x, 2*x)", {-2.0: -4, 0.0: 0, 3.0: 3}, {-2.0: 2, 0.0: 1.5, 3.0: 1}),
        ("abs(max(x, 0) - 1)", {-2.0: 1, 0.25: 0.75, 3.0: 2}, {-2.0: 0, 0.25: -1, 3.0: 1}),
    ],
)
def test_kinks_have_the_published_slopes_and_nan_goes_through(text: str, at_values: dict, slopes: dict) -> None:
    expression = read(text)
    for x, expected in at_values.items():
        assert value(expression, x) == expected
    for x, expected in slopes.items():
        assert value(expression.diff(X), x) == expected
    assert math.isnan(value(expression, math.nan))


def test_max_carries_nan_from_either_side() -> None:
    for text in ("max(x, y)", "min(x, y)"):
        assert math.isnan(value(read(text), math.nan, 1.0)) and math.isnan(value(read(text), 1.0, math.nan))


@pytest.mark.parametrize(
    "text", ["abs(max(x, 0) - 1)", "max(abs(x), abs(y))", "where(abs(x) < 1, sign(x), sqrt(y**2))"]
)
def test_only_the_functions_of_the_language_are_left(text: str) -> None:
    expression = read(text)
    for node in sp.preorder_traversal(expression):
        assert isinstance(
            node,
            (sp.Add, sp.Mul, sp.Pow, sp.Symbol, sp.Number, sp.NumberSymbol, sp.Piecewise, *FUNCTIONS)
            + (sp.core.relational.Relational, sp.functions.elementary.piecewise.ExprCondPair)
            + (sp.logic.boolalg.BooleanAtom, sp.And, sp.Or),
        ), node
        if isinstance(node, sp.core.relational.Relational):
            assert not node.has(sp.Piecewise)


def test_an_expression_of_x_is_taken_at_an_argument_with_pieces() -> None:
    relu, hat = read("where(x <= 0, 0, x)"), read("1 - abs(x)")
    for x, expected in ((-3.0, 0), (-0.25, 0.75), (0.25, 0.75), (3.0, 0)):
        assert value(at(relu, hat), x) == expected


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "().__class__",
        "x.real",
        "x[0]",
        "[x]",
        "{x}",
        "lambda: x",
        "(y := x)",
        "x if x else y",
        "[x for x in y]",
        "f'{x}'",
        "'x'",
        "b'x'",
        "True",
        "None",
        "...",
        "1j",
        "x @ y",
        "x % y",
        "x // y",
        "x << y",
        "~x",
        "not x",
        "x < 0",
        "x and y",
        "where(x, 1, 2)",
        "where(not x < 0, 1, 2)",
        "where(x in y, 1, 2)",
        "where(x is y, 1, 2)",
        "where(x < 0, 1)",
        "exp(*x)",
        "exp(x=1)",
        "exp(x, y)",
        "exp()",
        "max(x)",
        "exp",
        "exp(exp)",
        "eval(x)",
        "x()",
        "x; y",
        "x = 1",
        "x\ny",
        "",
        "#",
        "\0",
        "1/0",
        "0**-1",
        "log(0)",
        "sqrt(-1)",
        "1e999",
        "-1e999",
        "9" * 400,
        "x" * 2001,
    ],
)
def test_what_is_no_formula_is_refused(text: str) -> None:
    with pytest.raises(SymnetError):
        read(text)


@pytest.mark.parametrize(
    "text",
    [
        "9**9**9",
        "2**999999999",
        "x**65",
        "x**(1/65)",
        "((1.000001**64)**64)**64",
        "(((9**60)**60)**60)**60",
        "exp(exp(exp(10)))",
        "1e300*1e300",
        "-" * 1500 + "x",
        "(" * 41 + "x" + ")" * 41,
        "+".join(["x"] * 900),
        "**".join(["x"] * 300),
        "abs(" * 39 + "x" + ")" * 39,
        "exp(" * 39 + "1" + ")" * 39,
    ],
)
def test_a_formula_that_would_take_long_is_refused(text: str) -> None:
    with pytest.raises(SymnetError):
        read(text)


def test_an_error_names_the_column_and_what_was_meant() -> None:
    with pytest.raises(SymnetError, match=r"column 5.*'sqt'.*Did you mean 'sqrt'\?"):
        read("1 + sqt(x)")
    with pytest.raises(SymnetError, match=r"column 5.*'z'.*one of pi, x, y"):
        read("x + z")


def test_numbers_within_the_limits_are_welcome() -> None:
    assert read("(1 + x)**64").subs(X, 0) == 1
    assert read("2**64") == 2**64
    assert read("(" * 40 + "x" + ")" * 40) == X


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x^2", "found the operator ^, expected one of + - * / **. Powers are written x**2."),
        ("x % 2", "found the operator %, expected one of"),
        ("x.real", "found the attribute 'x.real'"),
        ("exp(x, base=2)", "found the call 'exp(x, base=2)'"),
        ("x[0]", "found subscripts in 'x[0]'"),
        ("1 if x > 0 else 0", "Write where(condition, value, otherwise)."),
        ("where(x in x, 1, 2)", "found the text 'x in x', expected one of < <="),
        ("where(x, 1, 2)", "found the text 'x', expected a comparison"),
    ],
)
def test_what_is_no_formula_is_named_as_its_writer_would(text: str, says: str) -> None:
    with pytest.raises(SymnetError) as caught:
        parse(text, {"x": sp.Symbol("x", real=True)})
    assert says in str(caught.value)
