"""Initial values: the right spread, one stream for each parameter, and nothing but the seed decides."""

from __future__ import annotations

import numpy as np
import pytest

from symnet.declare.initializers import ROWS, check, initial
from symnet.declare.spec import dense
from symnet.errors import SymnetError
from symnet.network import Network

SHAPE, FANS = (300, 200), (200, 300)
DEVIATION = {
    "glorot_uniform": (2 / 500) ** 0.5,
    "glorot_normal": (2 / 500) ** 0.5,
    "he_uniform": (2 / 200) ** 0.5,
    "he_normal": (2 / 200) ** 0.5,
    "lecun_uniform": (1 / 200) ** 0.5,
    "lecun_normal": (1 / 200) ** 0.5,
}


def draw(name: str, seed: int = 0, position: int = 0, shape: tuple[int, int] = SHAPE, **options: object) -> np.ndarray:
    return initial(name, options, shape, FANS, seed, position)


@pytest.mark.parametrize("name", DEVIATION)
def test_a_row_has_the_spread_of_its_source(name: str) -> None:
    values = draw(name)
    assert values.dtype == np.float64 and values.shape == SHAPE
    assert values.std() == pytest.approx(DEVIATION[name], rel=0.01)
    assert abs(values.mean()) < 4 * DEVIATION[name] / values.size**0.5
    if name.endswith("uniform"):
        assert np.abs(values).max() <= DEVIATION[name] * 3**0.5
    else:
        assert np.abs(values).max() > DEVIATION[name] * 3**0.5


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4)])
def test_orthogonal_rows_or_columns_are_orthonormal(shape: tuple[int, int]) -> None:
    w = initial("orthogonal", {"gain": 2.0}, shape, (shape[1], shape[0]), 0, 0) / 2
    small = w @ w.T if shape[0] <= shape[1] else w.T @ w
    np.testing.assert_allclose(small, np.eye(min(shape)), atol=1e-14)


def test_zeros_constant_and_given_values_are_as_they_say() -> None:
    assert not draw("zeros").any()
    assert (draw("constant", value=0.25) == 0.25).all()
    np.testing.assert_array_equal(
        initial("given", {"values": ((1, 2), (3, 4))}, (2, 2), (2, 2), 0, 0), [[1, 2], [3, 4]]
    )


@pytest.mark.parametrize("name", [row.name for row in ROWS if row.name not in ("zeros", "constant", "given")])
def test_the_seed_and_the_position_alone_decide(name: str) -> None:
    small = (4, 3)
    np.testing.assert_array_equal(draw(name, 3, 1, small), draw(name, 3, 1, small))
    assert (draw(name, 3, 1, small) != draw(name, 4, 1, small)).any()
    assert (draw(name, 3, 1, small) != draw(name, 3, 2, small)).any()


def test_a_network_draws_weights_by_activation_and_biases_zero() -> None:
    network = Network(
        input=400,
        layers=[dense(300, "relu"), dense(200, "tanh"), dense(100, "selu"), dense(50)],
        loss="softmax_cross_entropy",
    )
    values = network.initial_parameters(7)
    assert list(values) == list(network.parameters)
    assert {name: v.shape for name, v in values.items()} == dict(network.parameters)
    expected = {1: (2 / 400) ** 0.5, 2: (2 / 500) ** 0.5, 3: (1 / 200) ** 0.5, 4: (2 / 150) ** 0.5}
    for number, deviation in expected.items():
        assert values[f"dense{number}.W"].std() == pytest.approx(deviation, rel=0.03)
        assert not values[f"dense{number}.b"].any()
    again = network.initial_parameters(7)
    assert all((again[name] == v).all() for name, v in values.items())


def test_a_layer_may_say_how_it_starts() -> None:
    network = Network(
        input=2,
        layers=[
            dense(
                2,
                {"name": "prelu", "gamma": 0.3},
                initializer=[[1, 2], [3, 4]],
                bias_initializer={"name": "constant", "value": 5},
            )
        ],
    )
    values = network.initial_parameters()
    np.testing.assert_array_equal(values["dense1.W"], [[1, 2], [3, 4]])
    np.testing.assert_array_equal(values["dense1.b"], [5, 5])
    np.testing.assert_array_equal(values["dense1.gamma"], [0.3, 0.3])


@pytest.mark.parametrize(
    ("name", "options", "shape"),
    [
        ("hee", {}, (2, 2)),
        ("he_uniform", {"gain": 1.0}, (2, 2)),
        ("orthogonal", {"gain": "2"}, (2, 2)),
        ("orthogonal", {"gain": float("inf")}, (2, 2)),
        ("orthogonal", {}, (2,)),
        ("given", {"values": ((1, 2),)}, (2, 2)),
        ("given", {"values": ((1, 2), (3,))}, (2, 2)),
        ("given", {"values": ((1, 2), (3, float("nan")))}, (2, 2)),
        ("given", {"values": "text"}, (2, 2)),
        ("given", {}, (2, 2)),
    ],
)
def test_a_mistake_in_a_choice_is_refused(name: str, options: dict, shape: tuple[int, ...]) -> None:
    with pytest.raises(SymnetError):
        check(name, options, shape, "layer 'h', initializer of W")
