"""Recurrent layers: values and gradients of PyTorch, and what their equations promise.

The stored values are made by tests/values/make_recurrent.py.  What the loops make of the equations is judged against
the same values: by the general nests alone and with all that the lowering knows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compiler.calling import interpret
from symnet import constructors, dense, flatten
from symnet.network import Network
from symnet.reference import evaluate

from .values.recurrent_cases import CASES, FEATURES, LENGTHS, SAMPLES, TIME, UNITS

STORED = np.load(Path(__file__).parent / "values" / "recurrent.npz")


def network_of(name: str) -> Network:
    """x A', then the layer; its given initial states are h0 A_h0' and c0 A_c0'."""
    kind, options, masked = CASES[name]
    width = UNITS * (2 if options.get("direction") == "both" else 1)
    inputs: dict[str, Any] = {"x": [TIME, FEATURES]}
    layers = [dense(FEATURES, bias=False, name="A", inputs="x")]
    given = ([], ["h0"], ["h0", "c0"])[(options.get("initial") == "given") * (1 + (kind == "lstm"))]
    for state in given:
        inputs[state] = [width]
        layers.append(dense(width, bias=False, name=f"A_{state}", inputs=state))
    if masked:
        inputs["m"] = [TIME if masked == "mask" else 1]
    read = [layer.name for layer in layers] + (["m"] if masked else [])
    layers += [getattr(constructors, kind)(UNITS, name="layer", inputs=read, **options), flatten()]
    return Network(inputs=inputs, layers=layers, loss="squared_error")


def data_of(name: str) -> dict[str, Any]:
    lengths = np.array(LENGTHS)
    masks = {"mask": (np.arange(TIME) < lengths[:, None]) * 1.0, "length": lengths[:, None] * 1.0, "": None}
    data = {key: STORED[f"{name}:{key}"] for key in ("x", "h0", "c0") if f"{name}:A_{key}" in STORED or key == "x"}
    return data if masks[CASES[name][2]] is None else {**data, "m": masks[CASES[name][2]]}


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_those_of_pytorch(name: str) -> None:
    network = network_of(name)
    program, gradients = network.gradient_program(), network.gradients().by_name
    stored = {p: p.removesuffix(".W") if p.startswith("A") else p.removeprefix("layer.") for p in gradients}
    values: dict[str, Any] = {network.inputs[key].name: value for key, value in data_of(name).items()}
    values |= {t.name: STORED[f"{name}:{stored[p]}"] for p, t in network.tensors.items()}
    values |= {**network.hyper, "y": np.zeros((SAMPLES, network.target_width))}
    runs = {
        "equations": evaluate(program, values, {"N": SAMPLES}),
        "nests": interpret(program, values, {"N": SAMPLES}, plain=True),
        "loops": interpret(program, values, {"N": SAMPLES}, plain=False),
    }
    for how, found in runs.items():
        np.testing.assert_allclose(found["R"], STORED[f"{name}:loss"], 1e-10, err_msg=how)
        for parameter, gradient in gradients.items():
            expected = STORED[f"{name}:d_{stored[parameter]}"]
            scale = 1e-10 * np.abs(expected).max()
            np.testing.assert_allclose(found[gradient.name], expected, 1e-10, scale, err_msg=f"{how}: {parameter}")
