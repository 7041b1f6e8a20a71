"""Activation functions: a table of formulas in x.  No derivative is written here; the one rule derives them.

In: a Choice from the spec (a name with options, or a user's formula).  Out: an Activation: a SymPy expression in x
and in symbols for its learned parameters; fixed parameters are numbers in it.  The table loads no SymPy: the spec is
checked against it before anything is derived.

Kinks (the derivative where there are two to choose from): relu, leaky_relu, prelu, elu and selu belong to the piece
x <= 0 at 0; hard_tanh and hard_logistic have slope 0 at their corners; abs has slope 0 at 0.  NaN in, NaN out: the
last piece of each `where` is the one that carries NaN.

Sources: Qiu, Neural Networks and Deep Learning, ch. 4.1; selu: Klambauer et al. 2017; mish: Misra 2019; softsign:
Turian et al. 2009; sine: Sitzmann et al. 2020; gelu: Hendrycks and Gimpel 2016; swish: Ramachandran et al. 2017.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..errors import Quoted, complaint, unknown
from .schedules import table

if TYPE_CHECKING:
    from sympy import Expr, Symbol

PER = ("layer", "unit", "group")
LAYERS = ("softmax", "log_softmax", "maxout")  # what users may take for activations
RESERVED = ("x", "pi", "W", "b")  # the argument, a constant, and what a layer has already


@dataclass(frozen=True, slots=True)
class Row:
    """f(x), its parameters with their defaults, those that are learned, and the initializer that suits W before f."""

    name: str
    formula: str
    parameters: Mapping[str, float] = field(default_factory=dict)
    learned: tuple[str, ...] = ()
    per: str = "layer"
    initializer: str = "glorot_uniform"
    aliases: tuple[str, ...] = ()


# fmt: off
ROWS: tuple[Row, ...] = (
    Row("identity", "x", aliases=("linear",)),
    Row("logistic", "logistic(x)", aliases=("sigmoid",)),
    Row("tanh", "tanh(x)"),
    Row("hard_logistic", "where(x <= -2, 0, where(x >= 2, 1, x/4 + 1/2))"),
    Row("hard_tanh", "where(x <= -1, -1, where(x >= 1, 1, x))"),
    Row("relu", "where(x <= 0, 0, x)", initializer="he_uniform"),
    Row("leaky_relu", "where(x <= 0, gamma*x, x)", {"gamma": 0.01}, initializer="he_uniform"),
    Row("prelu", "where(x <= 0, gamma*x, x)", {"gamma": 0.25}, ("gamma",), "unit", "he_uniform"),
    Row("elu", "where(x <= 0, gamma*expm1(x), x)", {"gamma": 1.0}, initializer="he_uniform"),
    Row("softplus", "softplus(x)", initializer="he_uniform"),
    Row("swish", "x*logistic(beta*x)", {"beta": 1.0}, initializer="he_uniform", aliases=("silu",)),
    # x * normal distribution function of (x - mu)/sigma
    Row("gelu", "x*normal_cdf((x - mu)/sigma)", {"mu": 0.0, "sigma": 1.0}, initializer="he_uniform"),
    # (1 + tanh(u))/2 = logistic(2u), which does not cancel
    Row("gelu_tanh", "x*logistic(2*sqrt(2/pi)*(x + 0.044715*x**3))", initializer="he_uniform"),
    Row("selu", "where(x <= 0, scale*alpha*expm1(x), scale*x)",
        {"alpha": 1.6732632423543772, "scale": 1.0507009873554805}, initializer="lecun_normal"),
    Row("mish", "x*tanh(softplus(x))", initializer="he_uniform"),
    Row("softsign", "where(x < 0, x/(1 - x), x/(1 + x))"),
    Row("abs", "abs(x)", initializer="he_uniform"),
    Row("sine", "sin(x)", aliases=("sin",)),
)
# fmt: on
TABLE: Mapping[str, Row] = MappingProxyType({name: row for row in ROWS for name in (row.name, *row.aliases)})
FORMULA_KEYS = ("formula", "parameters", "learned", "per", "groups")


@dataclass(frozen=True, slots=True)
class Activation:
    """f as an expression in x (formula.X) and the symbols of its learned parameters, given by name."""

    name: str
    expression: Expr
    symbols: Mapping[str, Symbol]

    @property
    def is_identity(self) -> bool:
        return not self.expression.args


@dataclass(frozen=True, slots=True)
class Settings:
    """A choice taken apart: its row, the value of each parameter, which are learned, and for what each has its own.

    groups: with per = "group", how many groups of units, equal in size, one beside the other.
    """

    row: Row
    values: Mapping[str, float]
    learned: tuple[str, ...]
    per: str
    groups: int = 0


def settings(name: str, options: Mapping[str, Any], where: str) -> Settings:
    """Check a choice of an activation: a name of the table, or "" with a formula among the options."""
    if name:
        if name in LAYERS:
            advice = f"Put a layer of the kind {name!r} there: it is no function of one element."
            raise complaint(where, name, "an activation", advice)
        if name not in TABLE:
            raise unknown(where, "activation", name, TABLE)
        row = TABLE[name]
        keys: tuple[str, ...] = (*row.parameters, *FORMULA_KEYS[2:]) if row.parameters else ()
        given: Mapping[str, Any] = {key: options[key] for key in row.parameters if key in options}
    else:
        given = table(options.get("parameters", ()), f"{where}, parameters")
        row = Row("", options.get("formula", ""), given, tuple(given))
        keys = FORMULA_KEYS
    for key in options:
        if key not in keys:
            raise unknown(where, f"option of {name or 'a formula'}", key, keys)
    for key, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e30:
            raise complaint(f"{where}, {key}", value, "a number")
        # no underscore: so `<name>_<layer>` can be no other tensor's name, such as that of an optimizer's state
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9]{0,31}", key) or key in RESERVED:
            expected = f"a name of letters and digits other than {', '.join(RESERVED)}"
            raise complaint(f"{where}, parameters", key, expected)
    if name == "gelu" and given.get("sigma") == 0:
        raise complaint(f"{where}, sigma", 0, "a number that is not 0")
    values = {**row.parameters, **{key: float(value) for key, value in given.items()}}
    learned = options.get("learned", row.learned)
    if not isinstance(learned, tuple):
        raise complaint(f"{where}, learned", learned, "a list of names of parameters")
    for key in learned:
        if key not in values:
            raise unknown(f"{where}, learned", "parameter", key, values)
    per = options.get("per", row.per)
    if per not in PER:
        raise unknown(f"{where}, per", "word", per, PER)
    groups = options.get("groups", 0)
    if isinstance(groups, bool) or not isinstance(groups, int) or (groups < 1) == (per == "group"):
        raise complaint(f"{where}, groups", groups, 'a number of groups with per = "group", and none without')
    return Settings(row, values, tuple(key for key in values if key in learned), per, groups)


def resolve(chosen: Settings, where: str = "activation") -> Activation:
    """The activation as an expression; SymnetError for a formula that the grammar of formula.py does not have."""
    import sympy as sp

    from ..formulation.formula import X, number, parse

    symbols = {name: sp.Symbol(name, real=True) for name in chosen.learned}
    fixed = {name: number(value) for name, value in chosen.values.items() if name not in chosen.learned}
    functions = {} if chosen.row.name else named_functions()
    expression = parse(chosen.row.formula, {"x": X, **symbols, **fixed}, functions, where)
    if expression.has(sp.nan, sp.zoo, sp.oo):
        raise complaint(where, Quoted("a formula that divides by zero with these parameters"), "other parameters")
    return Activation(chosen.row.name or chosen.row.formula, expression, symbols)


@cache
def named_functions() -> Mapping[str, Callable[[Expr], Expr]]:
    """Every row, with its default parameters, as a function of one argument: for the formulas of users."""
    from ..formulation.formula import FUNCTIONS, X, at, number, parse

    def function(row: Row) -> Callable[[Expr], Expr]:
        expression = parse(row.formula, {"x": X, **{key: number(value) for key, value in row.parameters.items()}})
        return lambda argument: at(expression, argument)

    return MappingProxyType({name: function(row) for name, row in TABLE.items() if name not in FUNCTIONS})
