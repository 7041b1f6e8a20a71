"""Facts about a network: slopes of activations, dead units, what reaches each layer, gradients that are always zero."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
import sympy as sp

import symnet as sn
from compiler.passes.agreement import Z
from symnet.look.inspection import Inspection, supremum


def deep(activation: object, **parameters: np.ndarray) -> tuple[sn.Model, Inspection]:
    layers = [sn.dense(6, activation, name=f"h{k}") for k in range(4)]
    network = sn.Network(input=6, layers=[*layers, sn.dense(3, name="out")], loss="softmax_cross_entropy")
    model = network.compile(dtype="float64")
    model.parameters.update({name.replace("_", "."): value for name, value in parameters.items()})
    rng = np.random.default_rng(0)
    return model, model.inspect(rng.normal(size=(20, 6)), rng.integers(0, 3, 20))


@pytest.mark.parametrize(
    ("activation", "largest"), [("logistic", "1/4"), ("tanh", "1"), ("relu", "1"), ("swish", "1.09984")]
)
def test_the_largest_slope_is_found_and_bounds_what_reaches_each_layer(activation: str, largest: str) -> None:
    _, found = deep(activation)
    assert [slope.spoken for slope in found.slopes] == [largest] * 4
    assert [reach.name for reach in found.reaching] == ["δ5", "δ4", "δ3", "δ2", "δ1"]
    assert all(0 < reach.measured <= reach.bound * (1 + 1e-12) for reach in found.reaching)


def test_the_bound_is_the_product_of_slopes_and_spectral_norms() -> None:
    model, found = deep("logistic")
    p = model.parameters
    norms = [np.linalg.norm(p[name], 2) for name in ("out.W", "h3.W", "h2.W", "h1.W")]
    assert [r.bound for r in found.reaching[1:]] == pytest.approx(list(np.cumprod([n / 4 for n in norms])), rel=1e-9)


def test_learned_slopes_are_taken_at_their_values() -> None:
    assert [s.largest for s in deep({"name": "prelu", "per": "unit"}, h0_gamma=np.full(6, 3.0))[1].slopes] == [
        3,
        1,
        1,
        1,
    ]


def test_dead_units_are_counted() -> None:
    _, found = deep("relu", h1_b=np.array([-100.0, -100.0, 0, 0, 0, 0]))
    assert [slope.dead for slope in found.slopes][1] == 2


def test_a_slope_without_a_bound_is_infinite_and_kinks_do_not_hide_the_largest() -> None:
    assert supremum(2 * Z) == inf
    assert supremum(sp.Piecewise((sp.Integer(3), sp.Eq(Z, 0)), (Z / (1 + Z**2), True))) == 3


def test_parameters_whose_gradient_is_always_zero_are_named() -> None:
    text = "m[n] = sum(x[n,j], j)/4\nz[n,i] = x[n,i] - m[n]"
    layers = [sn.dense(4, name="h"), sn.equations(text, name="centre"), sn.dense(2, name="out")]
    shifted = sn.equations("z[n,i] = x[n,i] + s - s*x[n,i]/x[n,i]", parameters={"s": []}, name="none")
    network = sn.Network(input=3, layers=[*layers[:2], shifted, layers[2]], loss="squared_error")
    rng = np.random.default_rng(0)
    found = network.compile(dtype="float64").inspect(rng.normal(size=(5, 3)), rng.normal(size=(5, 2)))
    assert found.unlearned == ("none.s",)
    assert "zero whatever the numbers are: none.s" in str(found)


def test_operations_are_counted_by_hand() -> None:
    network = sn.Network(input=3, layers=[sn.dense(2)], loss="squared_error")
    found = network.compile(dtype="float64").inspect(np.ones((5, 3)), np.ones((5, 2)))
    assert found.operations > 2 * 5 * 3 * 2 * 2  # two products of 5 x 3 x 2
    assert "operations" in str(found)
