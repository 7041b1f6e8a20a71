"""`repeat = N`: a recurrence over the layer index gives what the layers give one by one."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import symnet
from compiler.executable import generate
from compiler.verify import verify
from symnet import Network, SymnetError, dense, dropout, equations, flatten, layer_norm, softmax, transformer
from symnet.declare.spec import checked_optimizer
from symnet.formulation.rolled import SHORTEST
from symnet.kinds import Layer
from symnet.look.sampling import sample
from symnet.oracle.reference import evaluate
from symnet.run.plan import derive_plan

RESIDUAL = equations(
    ["a[n,i] = x[n,i] + tanh(sum(W[i,j]*x[n,j], j) + b[i])"], parameters={"W": ["i", "j"], "b": ["i"]}, sizes={"i": 4}
)
CASES: dict[str, tuple[Layer, tuple[int, ...]]] = {
    "dense": (dense(4, activation="tanh"), (4,)),
    "learned activation": (dense(4, activation="prelu"), (4,)),
    "residual block in equations": (RESIDUAL, (4,)),
    "softmax": (softmax(), (4,)),
    "a maximum": (symnet.maxout(4, 2), (4,)),
    "layer norm": (layer_norm(), (4,)),
    "batch norm": (symnet.batch_norm(), (4,)),
    "convolution": (symnet.conv1d(2, 3, activation="tanh", padding="same"), (4, 2)),
    "recurrence in time": (symnet.gru(2, returns="all"), (3, 2)),
    "transformer block": (transformer(2, causal=True, hidden=3), (3, 4)),
}


def both(layer: Layer, shape: tuple[int, ...], count: int) -> tuple[Network, Network]:
    """`repeat = count`, and the layers one by one: r0, r1, ..."""
    after = [*([flatten(name="flat")] if len(shape) > 1 else []), dense(2, name="out")]
    return (
        Network(input=shape, layers=[replace(layer, name="r", repeat=count), *after], l2=0.01),
        Network(input=shape, layers=[*(replace(layer, name=f"r{k}") for k in range(count)), *after], l2=0.01),
    )


def stacked(arrays: Any, count: int) -> dict[str, Any]:
    """What belongs to r0.W, r1.W, ... as r.W."""
    made: dict[str, Any] = {}
    for name, array in arrays.items():
        layer, _, own = name.partition(".")
        made.setdefault(f"r.{own}" if layer[1:].isdigit() else name, []).append(array)
    return {name: np.stack(a) if len(a) == count else a[0] for name, a in made.items()}


@pytest.mark.parametrize("case", CASES)
def test_repeated_layers_are_the_layers_one_by_one(case: str) -> None:
    count = 3
    rolled, single = both(*CASES[case], count)
    first = stacked(single.initial_parameters(5), count)
    assert all(np.array_equal(first[k], v) for k, v in rolled.initial_parameters(5).items())
    target, rows = rolled.given(), 3
    values = sample(single, target, rows)
    given = stacked({name: values[tensor.name] for name, tensor in single.tensors.items()}, count)
    states = stacked({name: values[state.tensor.name] for name, state in single._states.items()}, count)
    whole = {k: v for k, v in values.items() if k in ("x", "y", "lambda", "step", "seed")}
    whole |= {tensor.name: given[name] for name, tensor in rolled.tensors.items()}
    whole |= {state.tensor.name: states[name] for name, state in rolled._states.items()}

    def gradients(network: Network, values: dict[str, Any]) -> tuple[float, dict[str, Any]]:
        program = network.gradient_program(target)
        verify(program)
        found = evaluate(program, values, {"N": rows})
        return float(found["R"]), {k: found[t.name] for k, t in network.gradients(target).by_name.items()}

    (risk, rolled_gradients), (expected, found) = gradients(rolled, whole), gradients(single, values)
    assert risk == pytest.approx(expected, rel=1e-13)
    largest = max(np.abs(g).max() for g in found.values())
    for name, gradient in stacked(found, count).items():
        np.testing.assert_allclose(rolled_gradients[name], gradient, rtol=1e-13, atol=1e-13 * largest, err_msg=name)


@pytest.mark.parametrize("case", ["softmax", "residual block in equations"])
def test_native_code_of_repeated_layers_trains_as_that_of_single_ones(case: str) -> None:
    rolled, single = both(*CASES[case], 3)
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(6, 4)), rng.normal(size=(6, 2))
    models = [network.compile("momentum", dtype="float64", seed=2) for network in (rolled, single)]
    losses = [model.fit(X, y, epochs=2, batch_size=3).loss for model in models]
    np.testing.assert_allclose(*losses, rtol=1e-13)
    for name, value in stacked(dict(models[1].parameters), 3).items():
        np.testing.assert_allclose(models[0].parameters[name], value, rtol=1e-12, atol=1e-15)


def test_a_recurrence_that_divides_by_what_it_reads_has_no_quotient_of_zeros() -> None:
    rolled = both(softmax(), (4,), 3)[0]
    risk, _ = rolled.value_and_gradient(rolled.initial_parameters(), np.ones((2, 4)), np.ones((2, 2)))
    assert np.isfinite(risk)


def test_equations_and_formulas_do_not_grow_with_the_depth() -> None:
    few, many = (both(dense(4, activation="tanh"), (4,), count)[0] for count in (5, 200))
    assert len(few.training_program("adam").equations) == len(many.training_program("adam").equations)
    shown = [str(network.gradient("r.W").formulas(depth="complete")) for network in (few, many)]
    assert re.sub("[5⁵]", "#", shown[0]) == re.sub("²⁰⁰|200", "#", shown[1])
    plans = [derive_plan(network, checked_optimizer("adam", "")) for network in (few, many)]
    assert len(plans[0].parameters) == len(plans[1].parameters) == 4


def test_the_product_of_each_step_starts_from_its_own_bias() -> None:
    network = both(dense(16, activation="tanh"), (16,), 5)[0]
    text, *_ = generate(network.training_program("sgd"), "float32", None, {"N": 8})
    assert "# z1[l,n,i] = b1[l,i]" not in text
    [product] = [line for line in text.splitlines() if "sum_j W1[" in line]
    assert product.startswith("            product") and "offset(M, 16*t), n0" in product


def test_the_gradient_of_200_layers_is_that_of_the_oracle() -> None:
    network = Network(input=3, layers=[dense(3, activation="tanh", name="r", repeat=200), dense(1, name="out")])
    rng = np.random.default_rng(1)
    parameters = {name: rng.normal(0, 0.6, shape) for name, shape in network.parameters.items()}
    X, y = rng.normal(size=(2, 3)), rng.normal(size=(2, 1))
    _, found = network.value_and_gradient(parameters, X, y)
    for name in ("r.W", "r.b"):
        expected = network.gradient(name).evaluate(parameters, X, y)
        np.testing.assert_allclose(found[name], expected, rtol=1e-12, atol=1e-14 * np.abs(expected).max())


def test_numpy_source_of_repeated_layers_gives_the_same() -> None:
    network = both(dense(4, activation="tanh"), (4,), 3)[0]
    made: dict[str, Any] = {}
    exec(network.to_numpy(), made)
    rng = np.random.default_rng(0)
    parameters = {name: rng.normal(size=shape) for name, shape in network.parameters.items()}
    X, y = rng.normal(size=(5, 4)), rng.normal(size=(5, 2))
    risk, found = made["value_and_gradient"](parameters, X, y)
    expected, gradients = network.value_and_gradient(parameters, X, y)
    assert risk == pytest.approx(expected, rel=1e-12)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(found[name], gradient, rtol=1e-11, atol=1e-13)


def test_each_repeated_dropout_draws_for_itself() -> None:
    network = Network(input=400, layers=[dropout(0.5, repeat=2), dense(1, bias=False)])
    program = network.training_program("sgd")
    values = sample(network, network.given(), 1) | {"x": np.ones((1, 400)), "alpha": 0.1}
    stack = next(t for t in program.definitions if t.name == "h1")
    once, twice = evaluate(program, values, {"N": 1}, [stack])[stack.name][1:, 0]
    assert set(once) == {0, 2} and set(twice) == {0, 4}
    assert 60 < np.count_nonzero(twice) < 140  # a quarter, not a half


def test_a_file_and_toml_keep_repeated_layers(tmp_path: Any) -> None:
    network = both(RESIDUAL, (4,), 3)[0]
    assert "repeat = 3" in network.to_toml()
    assert Network.from_toml(network.to_toml()) == network
    model = network.compile("adam", dtype="float64")
    X, y = np.ones((4, 4)), np.ones((4, 2))
    model.fit(X, y, epochs=1)
    model.save(tmp_path / "model.npz")
    again = symnet.load(tmp_path / "model.npz")
    assert again.parameters["r.W"].shape == (3, 4, 4)
    for one in (model, again):
        one.fit(X, y, epochs=2)
    assert all(np.array_equal(model.parameters[name], again.parameters[name]) for name in network.parameters)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("units = 3, repeat = 2", "layer 'r', repeat: found an output of shape (3,) and an input of shape (4,)"),
        ("units = 4, repeat = 0", "repeat: found 0"),
        ("units = 4, repeat = 1000000", "at most 10000 layers"),
        ("units = 4, repeat = 2}, {kind = 'dense', units = 4, share = 'r'", "Its parameters are shared"),
        ("units = 4, repeat = 2}, {kind = 'dense', units = 4, tie = {W = 'r.W'}", "Its parameters are tied"),
        (
            "units = 4}, {kind = 'equations', equations = ['a[n,i] = r[n,i]*x[n,i]'], inputs = ['r', 'x'], repeat = 2",
            "found 2 inputs, expected a layer with one input",
        ),
        (
            "units = 4}, {kind = 'equations', repeat = 2, equations = ['u[n,i]=x[n,i]', 'v[n,i] = d(u[n,i], x[n,i])']",
            "Its equations give derivatives",
        ),
    ],
)
def test_what_cannot_be_repeated_is_refused(text: str, said: str) -> None:
    with pytest.raises(SymnetError) as raised:
        layers = f"layer = [{{kind = 'dense', name = 'r', {text}}}]"
        Network.from_toml(f"{layers}\n[network]\ninput = 4\nloss = 'squared_error'\n")
    assert said in str(raised.value)


# ------------------------------------------------------------------------------------------- by itself
def deep(count: int) -> Network:
    blocks = [layer for _ in range(count) for layer in (RESIDUAL, dropout(0.2))]
    return Network(input=4, layers=[dense(4), *blocks, dense(2, name="out")], l2=0.01)


def test_equal_layers_are_compiled_as_one_and_train_as_single_ones(monkeypatch: Any, tmp_path: Any) -> None:
    monkeypatch.setattr("symnet.formulation.rolled.SHORTEST", 3)
    network = deep(3)
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(8, 4)), rng.normal(size=(8, 2))
    rolled = network.compile("adam", dtype="float64", seed=1)
    assert rolled.kernels.network.rolls and len(rolled.kernels.network.training_program("adam").equations) < 60
    rolled.fit(X, y, epochs=2, batch_size=4)
    rolled.save(tmp_path / "rolled.npz")
    values, hidden = rolled.predict(X), rolled.transform(X, "equations4")
    assert "W⁽ˡ⁾" in rolled.where("equations4.W").formula and "tanh" in rolled.where("a4").formula
    monkeypatch.setattr("symnet.formulation.rolled.SHORTEST", 10**6)
    single = network.compile("adam", dtype="float64", seed=1)
    assert not single.kernels.network.rolls
    single.fit(X, y, epochs=2, batch_size=4)
    for name, value in single.parameters.items():
        np.testing.assert_allclose(rolled.parameters[name], value, rtol=1e-9, atol=1e-12, err_msg=name)
    np.testing.assert_allclose(values, single.predict(X), rtol=1e-9)
    np.testing.assert_allclose(hidden, single.transform(X, "equations4"), rtol=1e-9)
    again = symnet.load(tmp_path / "rolled.npz")  # by the names of the layers, whichever way they are compiled
    np.testing.assert_allclose(again.fit(X, y, epochs=1).loss, rolled.fit(X, y, epochs=1).loss, rtol=1e-12)


def test_what_is_shared_judged_or_penalized_stays_out_of_it() -> None:
    def rolls(layers: list[Any], optimizer: str = "sgd", **options: Any) -> bool:
        choice = checked_optimizer(optimizer, "")
        return Network(input=4, layers=[*layers, dense(4, name="out")], **options).rolled(choice).rolls

    many = [dense(4, activation="tanh", name=f"d{k}") for k in range(SHORTEST)]
    middle = SHORTEST // 2

    def changed(**keys: Any) -> list[Any]:
        return [replace(layer, **keys) if k == middle else layer for k, layer in enumerate(many)]

    assert rolls(many)
    assert not rolls(many[1:])
    assert not rolls(many, {"name": "adamw", "decay": ["d1.W"]})  # type: ignore[arg-type]
    assert not rolls(changed(share="d0"))
    assert not rolls(changed(l2=0.1))
    assert not rolls([*many[:-1], dense(4, name="last", tie={"W": f"d{middle}.W"})])
    assert not rolls([symnet.batch_norm(name=f"b{k}") for k in range(SHORTEST)])
    losses = {f"d{middle}": "squared_error", "out": "squared_error"}
    assert not rolls(many, losses=losses)
