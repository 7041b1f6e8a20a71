"""Activations: each row against its definition in plain NumPy, its kinks, NaN, and the derivative that is derived."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import sympy as sp
from scipy.special import erf

from compiler.program import Equation, Index, Program, Tensor
from symnet.declare.activations import ROWS, TABLE, resolve, settings
from symnet.errors import SymnetError
from symnet.formulation.formula import X
from symnet.oracle.reference import evaluate

GRID = np.array([-30.0, -5.0, -2.5, -2.0, -1.0, -0.3, 0.0, 0.2, 1.0, 1.7, 2.0, 4.0, 30.0])


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


# name -> the definition, as the sources state it
DEFINITIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "identity": lambda x: x,
    "logistic": sigmoid,
    "tanh": lambda x: (np.exp(x) - np.exp(-x)) / (np.exp(x) + np.exp(-x)),
    "hard_logistic": lambda x: np.maximum(np.minimum(0.25 * x + 0.5, 1), 0),
    "hard_tanh": lambda x: np.maximum(np.minimum(x, 1), -1),
    "relu": lambda x: np.maximum(0, x),
    "leaky_relu": lambda x: np.maximum(0, x) + 0.01 * np.minimum(0, x),
    "prelu": lambda x: np.maximum(0, x) + 0.25 * np.minimum(0, x),
    "elu": lambda x: np.maximum(0, x) + np.minimum(0, np.exp(x) - 1),
    "softplus": lambda x: np.log(1 + np.exp(x)),
    "swish": lambda x: x * sigmoid(x),
    "gelu": lambda x: x * (1 + erf(x / math.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * (np.exp(x) - 1)),
    "mish": lambda x: x * np.tanh(np.log(1 + np.exp(x))),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "abs": np.abs,
    "sine": np.sin,
}
# name -> {x: the slope there}, where a function has two to choose from
KINKS = {
    "relu": {0.0: 0.0},
    "leaky_relu": {0.0: 0.01},
    "prelu": {0.0: 0.25},
    "elu": {0.0: 1.0},
    "selu": {0.0: 1.0507009873554805 * 1.6732632423543772},
    "hard_tanh": {-1.0: 0.0, 1.0: 0.0},
    "hard_logistic": {-2.0: 0.0, 2.0: 0.0},
    "abs": {0.0: 0.0},
    "softsign": {0.0: 1.0},
}


def expression(name: str, **options: object) -> sp.Expr:
    chosen = settings(name, options, "activation")
    found = resolve(chosen)
    return found.expression.xreplace({found.symbols[key]: sp.Float(chosen.values[key]) for key in found.symbols})


def values(formula: sp.Expr, at: np.ndarray) -> np.ndarray:
    """The formula at points, by the oracle."""
    i = Index("i", len(at))
    x, f = Tensor("x", (len(at),), "input"), Tensor("f", (len(at),))
    return evaluate(Program((Equation(f[i], (i,), formula.xreplace({X: x[i]})),), (f,)), {"x": at})["f"]


def test_every_row_has_a_definition_to_be_held_against() -> None:
    assert {row.name for row in ROWS} == set(DEFINITIONS)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_a_row_is_the_function_of_its_source(name: str) -> None:
    np.testing.assert_allclose(values(expression(name), GRID), DEFINITIONS[name](GRID), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_the_derivative_is_that_of_the_function(name: str) -> None:
    away = np.array([x + 0.0625 for x in GRID if abs(x) < 10])
    h = 1e-5
    slope = (values(expression(name), away + h) - values(expression(name), away - h)) / (2 * h)
    np.testing.assert_allclose(values(expression(name).diff(X), away), slope, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", KINKS)
def test_slopes_at_kinks_are_the_published_ones(name: str) -> None:
    at = np.array(list(KINKS[name]))
    np.testing.assert_allclose(values(expression(name).diff(X), at), list(KINKS[name].values()), rtol=1e-15)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_nan_goes_through(name: str) -> None:
    assert np.isnan(values(expression(name), np.array([np.nan]))).all()


@pytest.mark.parametrize("name", DEFINITIONS)
def test_values_and_slopes_are_finite_for_net_inputs_of_any_size_that_occurs(name: str) -> None:
    far = np.array([-1e4, -800.0, -90.0, 90.0, 800.0, 1e4])
    assert np.isfinite(values(expression(name), far)).all()
    assert np.isfinite(values(expression(name).diff(X), far)).all()


def test_aliases_mean_the_same_function() -> None:
    for alias, name in {"sigmoid": "logistic", "silu": "swish", "linear": "identity"}.items():
        assert TABLE[alias] is TABLE[name]


def test_fixed_parameters_are_numbers_and_learned_ones_symbols() -> None:
    assert resolve(settings("leaky_relu", {"gamma": 0.2}, "")).expression.subs(X, -1) == -sp.Rational(1, 5)
    assert resolve(settings("swish", {"beta": 2.0}, "")).symbols == {}
    learned = resolve(settings("swish", {"learned": ("beta",)}, ""))
    assert list(learned.symbols) == ["beta"] and learned.expression.has(learned.symbols["beta"])
    assert list(resolve(settings("prelu", {}, "")).symbols) == ["gamma"]


def test_a_formula_of_the_user_may_use_every_activation_and_learns_its_parameters() -> None:
    chosen = settings("", {"formula": "beta*gelu(x) + relu(tanh(x)) + sine(x)", "parameters": (("beta", 0.5),)}, "")
    found = resolve(chosen)
    assert chosen.learned == ("beta",)
    got = values(found.expression.xreplace({found.symbols["beta"]: sp.Float(0.5)}), GRID)
    expected = 0.5 * DEFINITIONS["gelu"](GRID) + np.maximum(0, np.tanh(GRID)) + np.sin(GRID)
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-13)


def test_activations_may_be_nested_in_a_formula() -> None:
    nested = resolve(settings("", {"formula": "relu(1 - relu(x))"}, "")).expression
    np.testing.assert_allclose(values(nested, GRID), np.maximum(0, 1 - np.maximum(0, GRID)))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("rellu", {}),
        ("relu", {"gamma": 1.0}),
        ("elu", {"gama": 1.0}),
        ("elu", {"gamma": "1"}),
        ("elu", {"gamma": float("nan")}),
        ("elu", {"gamma": True}),
        ("elu", {"learned": ("beta",)}),
        ("elu", {"learned": "gamma"}),
        ("elu", {"per": "neuron"}),
        ("gelu", {"sigma": 0.0}),
        ("", {"formula": "x*beta"}),
        ("", {"formula": "x", "parameters": (("x", 1.0),)}),
        ("", {"formula": "x*W", "parameters": (("W", 1.0),)}),
        ("", {"formula": "x*m_beta", "parameters": (("m_beta", 1.0),)}),
        ("", {"formula": "x*\u03b2", "parameters": (("\u03b2", 1.0),)}),
        ("", {"formula": "x", "parameter": ()}),
    ],
)
def test_a_mistake_in_a_choice_is_refused(name: str, options: dict) -> None:
    with pytest.raises(SymnetError):
        resolve(settings(name, options, "layer 'h', activation"), "layer 'h', activation")
