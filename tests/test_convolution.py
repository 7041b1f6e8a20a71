"""Convolution and pooling: values and gradients of PyTorch, the equations as they read, the errors of what cannot be.

The stored values are made by tests/values/make_convolution.py.  What the loops make of the equations is judged against
the same values: by the general nests alone and with all that the lowering knows.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compiler.calling import interpret
from symnet import SymnetError, average_pool2d, conv1d, conv2d, dense, flatten, max_pool2d
from symnet.cli import main
from symnet.declare import constructors
from symnet.network import Network
from symnet.oracle.reference import evaluate
from symnet.oracle.reference_mp import complex_step, magnitudes

from .tolerance import is_smooth, judge
from .values.convolution_cases import CASES, SAMPLES

STORED = np.load(Path(__file__).parent / "values" / "convolution.npz")


def network_of(name: str) -> Network:
    shape, kind, options = CASES[name]
    first = dense(shape[-1], bias=False, name="first")
    layer = getattr(constructors, kind)(**options, name="layer")
    return Network(input=shape, layers=[first, layer, flatten()], loss="squared_error")


def values_of(name: str, network: Network) -> dict[str, Any]:
    parameters = {"first.W": "A", "layer.W": "W", "layer.b": "b"}
    values = {tensor.name: STORED[f"{name}:{parameters[p]}"] for p, tensor in network.tensors.items()}
    outputs = math.prod(STORED[f"{name}:y"].shape[1:])
    return {**values, **network.hyper, "x": STORED[f"{name}:x"], "y": np.zeros((SAMPLES, outputs))}


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_those_of_pytorch(name: str) -> None:
    network = network_of(name)
    program, values = network.gradient_program(), values_of(name, network)
    gradients = network.gradients().by_name
    runs = {
        "equations": evaluate(program, values, {"N": SAMPLES}),
        "nests": interpret(program, values, {"N": SAMPLES}, plain=True),
        "loops": interpret(program, values, {"N": SAMPLES}, plain=False),
    }
    for how, found in runs.items():
        np.testing.assert_allclose(found["R"], STORED[f"{name}:loss"], 1e-10, err_msg=how)
        for parameter, letter in {"first.W": "A", "layer.W": "W", "layer.b": "b"}.items():
            if parameter in gradients:
                expected = STORED[f"{name}:d_{letter}"]
                scale = 1e-10 * np.abs(expected).max()
                np.testing.assert_allclose(found[gradients[parameter].name], expected, 1e-10, scale, err_msg=how)


def test_a_convolution_and_its_gradients_read_in_index_notation() -> None:
    layers = [conv2d(4, 3, padding=1, name="c"), conv2d(2, 3, stride=2, name="d"), flatten()]
    network = Network(input=(8, 8, 3), layers=layers, loss="squared_error")
    text = str(network.gradient("c.W"))
    assert "δ1[n,p,q,o] = Σ_{i,j,k} W2[k,p-2i,q-2j,o] δ2[n,i,j,k]" in text
    assert "∂R/∂W1[o,u,v,c] = (1/N) Σ_{n,p,q} δ1[n,p,q,o] x[n,p+u-1,q+v-1,c]" in text


@pytest.mark.parametrize(
    ("layer", "shape", "words"),
    [
        (conv2d(4, 5), (4, 8, 1), "a window over 5 elements on an axis of 4, expected a window that fits"),
        (conv2d(4, 3, dilation=3), (8, 6, 1), "a window over 7 elements on an axis of 6"),
        (max_pool2d(9), (8, 8, 1), "a window over 9 elements on an axis of 8"),
        (conv2d(4, 3, groups=2), (8, 8, 3), "2 groups of 3 channels and 4 units, expected a number that divides both"),
        (conv2d(4, 3, groups=3), (8, 8, 3), "3 groups of 3 channels and 4 units"),
        (conv2d(4, 3), (8, 8), r"the shape \(8, 8\), expected an input of shape \(rows, columns, channels\).*reshape"),
        (conv1d(4, 3), (8, 8, 1), r"expected an input of shape \(steps, channels\)"),
        (average_pool2d(2, padding=2), (8, 8, 1), "padding by 2 for a window over 2 elements"),
    ],
)
def test_what_cannot_be_is_refused_at_the_declaration(layer: Any, shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(SymnetError, match=words):
        Network(input=shape, layers=[layer, flatten()], loss="squared_error")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": [3, 3, 3]}, "an integer, or a list of 2"),
        ({"size": 0}, "an integer from 1"),
        ({"size": 3, "padding": "full"}, "or 'valid', or 'same'"),
        ({"size": 3, "stride": 0}, "an integer from 1"),
        ({"size": 3, "padding": -1}, "an integer from 0"),
    ],
)
def test_options_are_checked(options: dict[str, Any], words: str) -> None:
    with pytest.raises(SymnetError, match=words):
        conv2d(4, **options)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("length", [7, 8])
def test_same_padding_gives_the_inputs_over_the_stride(stride: int, length: int) -> None:
    layer = conv2d(2, 3, stride=stride, padding="same", name="c")
    assert layer.shape(((length, length, 1),)) == (-(-length // stride), -(-length // stride), 2)


def test_learned_parameters_of_the_activation_are_those_of_each_unit() -> None:
    network = Network(input=(6, 6, 1), layers=[conv2d(3, 3, "prelu", name="c"), flatten(), dense(2)])
    assert network.initial_parameters(0)["c.gamma"].shape == (3,)


def test_a_convolutional_network_survives_toml() -> None:
    layers = [conv2d(4, [3, 2], "relu", padding="same", groups=1, stride=[1, 2]), max_pool2d(2), flatten(), dense(3)]
    network = Network(input=(8, 8, 1), layers=layers, loss="softmax_cross_entropy")
    assert Network.from_toml(network.to_toml()).to_toml() == network.to_toml()


def drawn(seed: int) -> Network:
    """Two windows over an image or a sequence, with options that fit, and a dense layer."""
    rng = np.random.default_rng(seed)
    axes = int(rng.integers(1, 3))
    first = shape = (*(int(n) for n in rng.integers(4, 7, axes)), int(rng.choice([1, 2, 4])))
    layers: list[Any] = []
    for number in range(2):
        kind = str(rng.choice(["conv", "max_pool", "average_pool"])) if number else "conv"
        options: dict[str, Any] = {
            "size": [int(rng.integers(1, min(n, 3) + 1)) for n in shape[:-1]],
            "stride": int(rng.integers(1, 3)),
            "padding": str(rng.choice(["valid", "same"])),
        }
        if kind == "conv":
            groups = math.gcd(int(rng.choice([1, 2, 4])), shape[-1])
            function = str(rng.choice(["tanh", "prelu", "swish"]))
            options |= {"units": groups * int(rng.integers(1, 3)), "groups": groups, "activation": function}
        layers.append(getattr(constructors, f"{kind}{axes}d")(**options, name=f"layer{number}"))
        shape = layers[-1].shape((shape,))
    return Network(input=first, layers=[*layers, flatten(), dense(2)], loss="squared_error")


@pytest.mark.parametrize("seed", range(10))
def test_gradients_of_random_windows_are_right(seed: int) -> None:
    network = drawn(seed)
    rng = np.random.default_rng((seed, 1))
    gradient = network.gradient_program()

    def point() -> dict[str, Any]:
        values = {
            network.tensors[name].name: value + rng.normal(size=value.shape) / 4
            for name, value in network.initial_parameters(seed).items()
        }
        shape = (SAMPLES, *network.spec.inputs[0][1])
        return {**values, **network.hyper, "x": rng.normal(size=shape), "y": rng.normal(size=(SAMPLES, 2))}

    values = next(v for _ in range(50) if is_smooth(gradient, v := point(), {"N": SAMPLES}))
    by_name = {tensor.name: network.gradients().by_name[name].name for name, tensor in network.tensors.items()}
    direction = {name: rng.uniform(-1, 1, np.shape(values[name])) for name in by_name}
    risk = next(t for t in gradient.outputs if t.name == "R")
    reference = complex_step(gradient, risk, values, direction, {"N": SAMPLES})
    scales = magnitudes(gradient, values, {"N": SAMPLES})
    scale = sum(np.sum(scales[g] * np.abs(direction[name])) for name, g in by_name.items())
    for plain in (True, False):
        found = interpret(gradient, values, {"N": SAMPLES}, plain=plain)
        along = sum(np.sum(found[g] * direction[name]) for name, g in by_name.items())
        judge(f"{network!r}, plain={plain}", along, reference, scale)


def test_a_compiled_step_is_the_step_of_the_equations() -> None:
    layers = [
        conv2d(8, 3, "relu", padding="same", name="c"),
        max_pool2d(3, stride=2, padding=1),
        conv2d(8, 3, "tanh", stride=2, padding=1, groups=2, name="d"),
        conv2d(8, 2, groups=8, name="e"),
        average_pool2d("global"),
        flatten(),
        dense(2, name="out"),
    ]
    network = Network(input=(9, 8, 2), layers=layers, loss="squared_error")
    optimizer = {"name": "gradient_descent", "learning_rate": 0.1}
    rng = np.random.default_rng(3)
    model = network.compile(optimizer, "float64")
    values: dict[str, Any] = {network.tensors[name].name: np.array(v) for name, v in model.parameters.items()}
    values |= {"x": rng.normal(size=(SAMPLES, 9, 8, 2)), "y": rng.normal(size=(SAMPLES, 2))}
    expected = evaluate(network.training_program(optimizer), {**values, **dict(network.update(optimizer).hyper)})
    assert model.prepare(values["x"], values["y"], SAMPLES).run(1) == pytest.approx(expected["loss"], rel=1e-12)
    for name, tensor in network.tensors.items():
        np.testing.assert_allclose(model.parameters[name], expected[f"{tensor.name}_next"], 1e-11, 1e-13, err_msg=name)


def test_the_example_reaches_98_percent_of_the_held_out_digits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = Path(__file__).parent.parent / "examples" / "digits_conv.toml"
    assert main(["train", str(spec), "--model", str(tmp_path / "model")]) == 0
    printed = capsys.readouterr().out
    assert float(printed.rpartition("test accuracy ")[2].split()[0]) >= 98
    assert len([line for line in spec.read_text().partition("[train]")[0].splitlines() if line.strip()]) <= 20
