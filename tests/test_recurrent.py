"""Recurrent layers: values and gradients of PyTorch, and what their equations promise.

The stored values are made by tests/values/make_recurrent.py.  What the loops make of the equations is judged against
the same values: by the general nests alone and with all that the lowering knows.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy as sp

from compiler.calling import interpret
from compiler.executable import generate
from compiler.program import Equation, Index, Program, ProgramError, Tensor, size
from compiler.verify import verify
from symnet import SymnetError, dense, elman, equations, flatten, gru, lstm
from symnet.declare import constructors
from symnet.kinds import Layer
from symnet.network import Network
from symnet.oracle.reference import evaluate

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


@pytest.mark.parametrize("layer", [elman(3), gru(3, reset_after=False), lstm(3, returns="all")])
@pytest.mark.parametrize("time", [1, 2])
def test_one_and_two_steps_are_sequences(layer: Layer, time: int) -> None:
    network = Network(input=[time, 2], layers=[layer, flatten(), dense(1)], loss="squared_error")
    rng = np.random.default_rng(time)
    program = network.gradient_program()
    values: dict[str, Any] = {t.name: rng.normal(size=network.parameters[p]) for p, t in network.tensors.items()}
    values |= {**network.hyper, "x": rng.normal(size=(4, time, 2)), "y": rng.normal(size=(4, 1))}
    found = interpret(program, values, {"N": 4}, plain=False)
    for name, expected in evaluate(program, values, {"N": 4}).items():
        np.testing.assert_allclose(found[name], expected, 1e-12, 1e-13, err_msg=name)


def test_512_steps_are_backpropagated_as_by_hand() -> None:
    time, units = 512, 3
    network = Network(input=[time, 2], layers=[elman(units, name="r"), dense(1, name="o")], loss="squared_error")
    rng = np.random.default_rng(0)
    p = {name: rng.normal(size=shape) / 2 for name, shape in network.parameters.items()}
    x, y = rng.normal(size=(2, time, 2)), rng.normal(size=(2, 1))
    h = np.zeros((time + 1, 2, units))
    for t in range(time):
        h[t] = np.tanh(x[:, t] @ p["r.W"].T + h[t - 1] @ p["r.U"].T + p["r.b"])
    slope = 2 * (h[time - 1] @ p["o.W"].T + p["o.b"] - y) @ p["o.W"]
    expected = np.zeros((units, units))
    for t in range(time - 1, 0, -1):
        delta = (1 - h[t] ** 2) * slope
        expected += delta.T @ h[t - 1] / 2
        slope = delta @ p["r.U"]
    _, gradient = network.value_and_gradient(p, x, y)
    np.testing.assert_allclose(gradient["r.U"], expected, 1e-9, 1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("layer", [elman(20), gru(20), lstm(20, direction="both", initial="learned")])
@pytest.mark.parametrize(("worth", "steps"), [(10**9, 8), (0, 128)])  # for one thread; for several, which share steps
def test_the_source_does_not_depend_on_the_number_of_steps_and_memory_is_linear_in_it(
    layer: Layer, worth: int, steps: int
) -> None:
    def made(time: int) -> tuple[int, int, int]:
        network = Network(input=[time, 4], layers=[layer, dense(2)], loss="squared_error")
        program = network.training_program("adam")
        text, _, _, manifest = generate(program, "float32", None, {"N": 32}, worth=worth)
        return len(program.equations), text.count("\n"), manifest["memory_elements"]

    short, long = made(steps), made(64 * steps)
    assert short[:2] == long[:2] and long[2] < 64 * short[2]


@pytest.mark.parametrize("kind", ["elman", "gru", "lstm"])
def test_guards_in_the_loops_over_steps_ask_for_the_step_alone_and_each_step_is_contiguous(kind: str) -> None:
    layer = getattr(constructors, kind)(20, name="r")
    network = Network(input=[8, 4], layers=[layer, dense(2)], loss="squared_error")
    text, *_ = generate(network.training_program("adam"), "float32", None, {"N": 32})
    assert "h1 (N, 8, 20), stored by axes 1, 0, 2" in text
    blocks = [block for block in text.split("\n    for t") if block.startswith(" in range(") and "h1[" in block]
    assert len(blocks) >= 2
    for block in blocks:
        code = [line.partition("  #")[0] for line in block.splitlines()[1:] if line.startswith("        ")]
        guards = [guard for line in code for guard in re.findall(r"\bif (.*?)(?::| else |$)", line)]
        assert all(set(re.findall(r"[a-z]\w*", guard)) in ({"t"}, {"i1"}) for guard in guards), guards  # back: i1
    products = [line for line in text.splitlines() if re.search(r"# d_U1\w*\[[^=]*\] = sum_n,t", line)]
    assert products and all(line.startswith("    product") for line in products)  # outside of the loop


def test_backpropagation_through_time_reads_as_such() -> None:
    network = Network(input=[8, 3], layers=[elman(4, name="r"), dense(2)], loss="squared_error")
    text = str(network.gradient("r.U"))
    for line in (
        "δ1ₜ = (1 - h1ₜ²) ⊙ ∂ℓ/∂h1ₜ",
        "∂ℓ/∂h1ₜ = [t = 7] W2ᵀ δ2 + U1ᵀ δ1ₜ₊₁",
        "∂R/∂U1 = (1/N) Σ_t Σ δ1ₜ h1ₜ₋₁ᵀ",
    ):
        assert line in text.splitlines()


@pytest.mark.parametrize("shape", [1, 4])
def test_masks_and_numbers_of_steps_are_whole_numbers_that_are_not_scaled(shape: int) -> None:
    layers = [elman(2, inputs=["x", "m"]), dense(1)]
    model = Network(inputs={"x": [4, 1], "m": [shape]}, layers=layers, loss="squared_error").compile()
    given = np.array([[1.0], [3.0], [4.0]]) if shape == 1 else np.tri(3, 4)
    X = {"x": np.random.default_rng(0).normal(size=(3, 4, 1)), "m": given}
    model.scale(X)
    assert list(model.scaling) == ["x"]
    most = 4 if shape == 1 else 1
    for wrong in (most + 1, -1, 0.5):
        with pytest.raises(SymnetError, match=rf"X\['m'\]\[0, 0\]: found {wrong}.* from 0 to {most}"):
            model.predict({**X, "m": np.full((3, shape), wrong)})


@pytest.mark.parametrize("kind", ["elman", "gru", "lstm"])
def test_masked_steps_are_not_seen(kind: str) -> None:
    layer = getattr(constructors, kind)(3, direction="both", inputs=["x", "m"])
    network = Network(inputs={"x": [6, 2], "m": [1]}, layers=[layer, dense(1)], loss="squared_error")
    plain = getattr(constructors, kind)(3, direction="both")
    short = Network(input=[4, 2], layers=[plain, dense(1)], loss="squared_error")
    rng = np.random.default_rng(0)
    p = {name: rng.normal(size=shape) for name, shape in network.parameters.items()}
    x, y = rng.normal(size=(3, 6, 2)), rng.normal(size=(3, 1))
    data = ((network, {"x": x, "m": np.full((3, 1), 4.0)}), (short, {"x": x[:, :4]}))
    found = []
    for net, given in data:
        values = {net.inputs[name].name: value for name, value in given.items()}
        values |= {net.tensors[name].name: value for name, value in p.items()}
        found.append(evaluate(net.gradient_program(), {**values, **net.hyper, "y": y}, {"N": 3}))
    for (name, with_mask), without in zip(found[0].items(), found[1].values(), strict=True):
        np.testing.assert_allclose(with_mask, without, 1e-12, 1e-13, err_msg=name)


def test_first_values_are_orthogonal_for_each_gate_and_cells_first_remember() -> None:
    network = Network(input=[8, 3], layers=[lstm(4, name="r", direction="both"), dense(2)], loss="squared_error")
    first = network.initial_parameters(0)
    for name in ("r.U", "r.Ub"):
        np.testing.assert_allclose(first[name] @ first[name].transpose(0, 2, 1), np.stack([np.eye(4)] * 4), atol=1e-14)
    np.testing.assert_array_equal(first["r.b"], [[0] * 4, [1] * 4, [0] * 4, [0] * 4])
    assert not np.array_equal(first["r.U"][0], first["r.U"][1])


def test_recurrent_layers_go_through_toml() -> None:
    layers = [
        gru(4, direction="both", initial="learned", returns="all", reset_after=False),
        lstm(3, bias=False, recurrent_initializer={"name": "orthogonal", "gain": 0.5, "stacked": 1}),
        dense(2),
    ]
    network = Network(input=[8, 3], layers=layers, loss="squared_error", l2=0.1)
    assert Network.from_toml(network.to_toml()) == network
    assert {t.name for t in network.weights} == {"W1", "U1", "Wb_1", "Ub_1", "W2", "U2", "W3"}


# ---------------------------------------------------------------------------------------------- mistakes
@pytest.mark.parametrize(
    ("sequence", "others", "layer", "words"),
    [
        ([8, 3, 2], {}, elman(4), r"the shape \(8, 3, 2\), expected a first input of shape \(time, features\)"),
        ([8, 3], {"m": [7]}, elman(4, inputs=["x", "m"]), r"the shape \(7,\) of the last input, expected \(8,\), a"),
        ([8, 3], {"m": [8]}, lstm(4, inputs=["x", "m"], initial="given"), "2 inputs, expected 3 .a sequence, the "),
        ([8, 3], {"h": [7]}, gru(4, inputs=["x", "h"], initial="given"), r"shape \(7,\) of the initial h, expected"),
        ([8, 3], {}, elman(4, "prelu"), "the learned gamma, expected a function with nothing to learn"),
        ([8, 3], {}, lstm(4, bias=False, bias_initializer="zeros"), "initializer of b: found 'zeros', expected none"),
    ],
)
def test_what_does_not_fit_is_refused_at_declaration(sequence: Any, others: Any, layer: Layer, words: str) -> None:
    with pytest.raises(SymnetError, match=words):
        Network(inputs={"x": sequence, **others}, layers=[layer, dense(1)], loss="squared_error")


def test_a_number_of_steps_is_an_integer_with_or_without_an_axis() -> None:
    x, steps = np.random.default_rng(0).normal(size=(3, 4, 2)), np.array([1, 4, 2])
    found = []
    for shape, given in (([], steps), ([1], steps[:, None])):
        inputs = {"x": [4, 2], "n": {"shape": shape, "below": 5}}
        network = Network(inputs=inputs, layers=[gru(2, inputs=["x", "n"])], loss="squared_error")
        values = {network.tensors[name].name: value for name, value in network.initial_parameters(0).items()}
        tensors = network.spec.input_tensors
        found.append(evaluate(network.layer_program("gru1"), values | {tensors["x"]: x, tensors["n"]: given}))
    np.testing.assert_equal(*(list(each.values()) for each in found))
    with pytest.raises(SymnetError, match="lengths below 6, expected below = 5"):
        inputs = {"x": [4, 2], "n": {"shape": [1], "below": 6}}
        Network(inputs=inputs, layers=[gru(2, inputs=["x", "n"])], loss="squared_error")


def test_words_of_options_are_checked() -> None:
    with pytest.raises(SymnetError, match="Did you mean 'all'"):
        elman(4, returns="al")
    with pytest.raises(SymnetError, match="direction: found the unknown word"):
        gru(4, direction="left")


def test_a_sequence_that_is_longer_than_declared_is_refused_by_fit() -> None:
    model = Network(input=[8, 3], layers=[elman(4), dense(2)], loss="squared_error").compile("adam")
    with pytest.raises(SymnetError, match=r"X: found shape \(5, 9, 3\), expected \(n, 8, 3\)"):
        model.fit(np.zeros((5, 9, 3)), np.zeros((5, 2)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("h[n,t,u] = tanh(x[n,t,u] + h[n,t,u])", "h: defined through itself without a constant shift"),
        ("h[n,t,u] = tanh(h[n,t-1,u] + h[n,t+1,u]*x[n,t,u])", "h.n,t - 1,u. lies before, h.n,t . 1,u. after"),
    ],
)
def test_a_cycle_without_a_shift_or_with_shifts_both_ways_is_refused(text: str, words: str) -> None:
    with pytest.raises(SymnetError, match=words):
        Network(input=[8, 3], layers=[equations(text), flatten(), dense(1)], loss="squared_error")


# ---------------------------------------------------------------------------------------------- lowering
N = size("N")
n, t, u = Index("n", N), Index("t", 5), Index("u", 3)
x = Tensor("x", (N, 5, 3), "input")


def check(program: Program, of: str) -> None:
    verify(program)
    values = {"x": np.random.default_rng(0).normal(size=(4, 5, 3))}
    expected = evaluate(program, values, {"N": 4})[of]
    for plain in (True, False):
        np.testing.assert_allclose(interpret(program, values, {"N": 4}, plain=plain)[of], expected, 1e-12, 1e-14)


def test_tensors_of_a_cycle_may_run_ahead_of_each_other() -> None:
    h, c, d = Tensor("h", (N, 5, 3)), Tensor("c", (N, 7, 3)), Tensor("d", (N, 6, 3))
    program = Program(
        (
            Equation(c[n, t + 2, u], (n, t, u), sp.sin(h[n, t - 1, u]) + x[n, t, u]),
            Equation(d[n, t + 1, u], (n, t, u), sp.cos(c[n, t + 2, u])),
            Equation(h[n, t, u], (n, t, u), d[n, t + 1, u] / 2 + h[n, t - 1, u] / 4),
        ),
        (h,),
    )
    check(program, "h")


def test_what_is_met_element_by_element_with_states_is_read_in_its_own_order() -> None:
    d, e = Tensor("d", (N, 5, 3)), Tensor("e", (N, 5, 3))
    written = (
        Equation(d[n, t, u], (n, t, u), sp.tanh(x[n, t, u] + d[n, t - 1, u])),
        Equation(e[n, t, u], (n, t, u), d[n, t, u] * x[n, t, u]),
    )
    check(Program(written, (e,)), "e")


def test_offsets_do_not_make_a_shift_of_none() -> None:
    h, c = Tensor("h", (N, 5, 3)), Tensor("c", (N, 6, 3))
    stuck = (Equation(c[n, t + 1, u], (n, t, u), h[n, t, u]), Equation(h[n, t, u], (n, t, u), c[n, t + 1, u]))
    with pytest.raises(ProgramError, match="without a constant shift"):
        verify(Program(stuck, (h,)))


def test_a_write_that_is_dropped_reaches_nothing() -> None:
    h, v = Tensor("h", (3, 3)), Index("v", 3)
    p = Tensor("p", (3,), "input")
    s, w = Tensor("s"), Index("w", 3)
    program = Program(
        (
            Equation(h[v, v + 1], (v,), p[v]),
            Equation(h[v, v], (v,), h[v - 1, v - 1] * h[v - 1, v] + p[v]),
            Equation(s[()], (v, w), h[v, w + 1] * p[w]),
        ),
        (s,),
    )
    values = {"p": np.array([0.3, -0.2, 0.5])}
    expected = evaluate(program, values)["s"]
    np.testing.assert_allclose(interpret(program, values, {}, plain=False)["s"], expected, 1e-13)
