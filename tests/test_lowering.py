"""Lowering: what is recognized, what storage is shared, and that the same program always gives the same source."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy as sp
from sympy import Integer

from compiler.calling import call, interpret
from compiler.executable import compile_program, generate, optimized, plan_storage
from compiler.functions import logistic
from compiler.graph import reach
from compiler.prepare import LONGEST, inline_cheap_maps
from compiler.program import Access, Equation, Index, Program, ProgramError, Tensor, size
from symnet.declare.spec import dense
from symnet.differentiate import pullback
from symnet.network import Network
from symnet.oracle.reference import evaluate

N = size("N")
n = Index("n", N)


def network(widths: tuple[int, ...] = (12, 9, 7, 5), activation: str = "relu") -> Network:
    layers = [dense(w, activation=activation) for w in widths[1:-1]] + [dense(widths[-1])]
    return Network(input=widths[0], layers=layers, loss="softmax_cross_entropy", l2=0.01)


def values_for(program: Program, rows: int, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    values: dict[str, Any] = {}
    for tensor in program.tensors:
        shape = [rows if s == N else int(s) for s in tensor.shape]
        if tensor.kind == "integer" and tensor.role == "target":
            values[tensor.name] = rng.integers(0, 5, shape)
        elif tensor.role in ("input", "parameter", "state"):
            values[tensor.name] = (
                np.abs(rng.standard_normal(shape)) if "v_" in tensor.name else rng.standard_normal(shape)
            )
    return {**values, "lambda": 0.01, "alpha": 1e-3, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "step": 3}


def recurrence(length: int, width: int = 4) -> tuple[Program, Tensor]:
    """h[t] = tanh(x[t] + U h[t-1]), a loss at the last step, and its gradient by U."""
    t, i, j = Index("t", length), Index("i", width), Index("j", width)
    x, U = Tensor("x", (length, N, width), "input"), Tensor("U", (width, width), "parameter")
    h, z, loss = Tensor("h", (length, N, width)), Tensor("z", (length, N, width)), Tensor("loss")
    forward = (
        Equation(z[t, n, i], (t, n, i), x[t, n, i]),
        Equation(z[t, n, i], (t, n, i, j), U[i, j] * h[t - 1, n, j]),
        Equation(h[t, n, i], (t, n, i), sp.tanh(z[t, n, i])),
        Equation(Access(loss), (n, i), h[length - 1, n, i] ** 2),
    )
    derivation = pullback(forward, {loss: sp.Integer(1)}, [U])
    return Program(forward + derivation.equations, (loss, derivation.adjoints[U])), derivation.adjoints[U]


def code(text: str) -> str:
    """Without the formulas beside the lines."""
    return "\n".join(line.partition("  #")[0] for line in text.splitlines())


# ------------------------------------------------------------------------------------------- what is recognized
def test_every_contraction_of_a_dense_network_is_a_product() -> None:
    _, calls, *_ = generate(network().training_program("adam"), "float32", None, {"N": 32})
    assert len(calls) == 3 + 2 + 3  # forward, adjoints of two hidden layers, gradients of three weights
    starts = sorted(spec.start for spec in calls.values())
    assert starts == ["bias"] * 3 + ["zero"] * 5


def test_all_weights_are_updated_in_one_flat_loop_and_all_biases_in_another() -> None:
    text, *_ = generate(network().training_program("adam"), "float32", None, {"N": 32})
    updates = [line for line in text.splitlines() if "_next" in line and " for " in f" {line}"]
    assert len(updates) == 2


@pytest.mark.parametrize(
    "widths, optimizer, outer", [((12, 9, 5), "sgd", 0), ((12, 9, 5), "adam", 2), ((300, 9, 5), "adam", 1)]
)
def test_gradients_of_one_row_go_straight_into_an_update_unless_it_is_flat_and_takes_time(
    widths, optimizer, outer
) -> None:
    program = network(widths).training_program(optimizer).with_sizes({"N": 1})
    assert not program.sizes
    _, calls, *_ = generate(program, "float32", None, {"N": 1})
    assert sum(spec.k == 1 for spec in calls.values()) == outer


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_program_of_one_row_computes_what_that_of_all_sizes_does(optimizer: str) -> None:
    program = network().training_program(optimizer)
    values = values_for(program, 1)
    expected = interpret(program, values, {"N": 1})
    found = interpret(program.with_sizes({"N": 1}), values, {"N": 1}, plain=False)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, 1e-12, 1e-14, err_msg=name)


def test_softmax_takes_one_exponential() -> None:
    text, *_ = generate(network().training_program("adam"), "float32", None, {"N": 32})
    assert code(text).count("exp(") == 1


def test_step_sizes_are_computed_once_in_float64() -> None:
    text, *_ = generate(network().training_program("adam"), "float32", None, {"N": 32})
    before, _, loops = code(text).partition("for ")
    assert "**" in before and "**" not in loops


def test_the_source_of_a_recurrence_does_not_depend_on_its_length() -> None:
    short, *_ = generate(recurrence(8)[0], "float64", None, {"N": 4})
    long, *_ = generate(recurrence(512)[0], "float64", None, {"N": 4})
    assert len(short.splitlines()) == len(long.splitlines())
    assert "for t in range(7 - 1, 0 - 1, -1):" in short or "range(8 - 1, 0 - 1, -1)" in short


def test_the_recurrent_product_runs_in_the_loop_and_its_gradient_outside() -> None:
    text, *_ = generate(recurrence(8, 16)[0], "float64", None, {"N": 4})
    inside = [line for line in text.splitlines() if "product" in line and not line.startswith("#")]
    assert [line.startswith("     ") for line in inside] == [True, True, False]


def test_a_factor_of_all_steps_is_turned_once_before_their_loop() -> None:
    text, calls, *_ = generate(recurrence(8, 16)[0], "float64", None, {"N": 4})
    assert {spec.b for spec in calls.values()} == {"n"}
    [copy] = [line for line in text.splitlines() if re.search(r"# \w+_packed\[.*\] = ", line)]
    assert re.match(r" {4,8}for ", copy) and text.index(copy) < text.index(" - 1, 0 - 1, -1)")


def test_it_is_turned_where_another_product_has_chosen_how_it_is_stored() -> None:
    t, i, j, k = Index("t", 8), Index("i", 16), Index("j", 16), Index("k", 16)
    x, U = Tensor("x", (8, N, 16), "input"), Tensor("U", (16, 16), "parameter")
    h, z, y = Tensor("h", (8, N, 16)), Tensor("z", (8, N, 16)), Tensor("y", (N, 16))
    program = Program(
        (
            Equation(y[n, i], (n, i, j), U[i, j] * x[0, n, j]),
            Equation(z[t, n, i], (t, n, i), x[t, n, i]),
            Equation(z[t, n, i], (t, n, i, k), U[k, i] * h[t - 1, n, k]),
            Equation(h[t, n, i], (t, n, i), sp.tanh(z[t, n, i])),
        ),
        (y, h),
    )
    _, calls, *_ = generate(program, "float64", None, {"N": 4})
    assert len(calls) == 2 and {spec.b for spec in calls.values()} == {"n"}


def test_a_sum_over_indices_that_do_not_merge_is_a_product_in_a_loop() -> None:
    t, i, j = Index("t", 5, 1), Index("i", 6), Index("j", 7)
    a, b, c = Tensor("a", (N, 5, 6), "input"), Tensor("b", (N, 5, 7), "input"), Tensor("c", (6, 7))
    program = Program((Equation(c[i, j], (i, j, n, t), a[n, t, i] * b[n, t - 1, j]),), (c,))
    text, calls, *_ = generate(program, "float64", None, {"N": 8})
    [spec] = calls.values()
    assert (spec.m, spec.n, spec.k, spec.start) == (6, 7, 4, "c")
    assert any(line.startswith("        product") for line in text.splitlines())
    rng = np.random.default_rng(3)
    values = {"a": rng.standard_normal((8, 5, 6)), "b": rng.standard_normal((8, 5, 7))}
    expected = np.einsum("nti,ntj->ij", values["a"][:, 1:], values["b"][:, :-1])
    np.testing.assert_allclose(interpret(program, values, {"N": 8}, plain=False)["c"], expected, 1e-12, 1e-13)


@pytest.mark.parametrize(("rows", "called"), [(4, False), (5, True), (N, True)])
def test_a_product_of_a_few_numbers_is_a_loop(rows: int | sp.Symbol, called: bool) -> None:
    i, j, m = Index("i", 2), Index("j", 2), Index("m", rows)
    x, W, z = Tensor("x", (rows, 2), "input"), Tensor("W", (2, 2), "input"), Tensor("z", (rows, 2))
    program = Program((Equation(z[m, i], (m, i, j), x[m, j] * W[i, j]),), (z,))
    assert ("product0(" in code(generate(program, "float32", None, {"N": 32})[0])) is called


@pytest.mark.parametrize("rows", [0, 7, 8, 21])
def test_rows_are_added_up_eight_at_once_and_the_others_one_by_one(rows: int) -> None:
    n, i = Index("n", N), Index("i", 5)
    x, b = Tensor("x", (N, 5), "input"), Tensor("b", (5,))
    program = Program((Equation(b[i], (n, i), 3 * x[n, i]),), (b,))
    text, *_ = generate(program, "float64", None, {"N": 32})
    assert "range((n0 // 8))" in text and "x[8*n + 7,i]" in text
    values = {"x": np.random.default_rng(rows).standard_normal((rows, 5))}
    expected = 3 * values["x"].sum(0)
    np.testing.assert_allclose(interpret(program, values, {"N": rows}, plain=False)["b"], expected, 1e-12, 1e-13)


def test_maps_of_one_tensor_under_conditions_are_one_loop_with_one_store() -> None:
    i, j, k = Index("i", 5), Index("j", 5), Index("k", 5)
    a, b, c = (Tensor(name, (5, 5), "input") for name in "abc")
    y = Tensor("y", (5, 5))
    parts = (
        Equation(y[i, j], (i, j), a[i, j]),
        Equation(y[k, j], (k, j), sp.log(b[k, j]), "sum", j <= k),
        Equation(y[i, k], (i, k), c[i, k], "sum", sp.Ne(k, 0)),
    )
    program = Program(parts, (y,))
    text, *_ = generate(program, "float64", None, {})
    loops = text[text.index("def ") :]
    assert loops.count("for ") == 2 and "+=" not in loops
    values = {name: np.random.default_rng(0).normal(size=(5, 5)) for name in "abc"}
    values["b"] = np.where(np.tri(5) > 0, abs(values["b"]), -1.0)  # no logarithm there: nothing of it may come through
    expected = evaluate(program, values)["y"]
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(interpret(program, values, {}, plain=False)["y"], expected, 1e-12)
    same = Program(tuple(Equation(y[i, j], (i, j), x[i, j], "sum", j <= i) for x in (a, b)), (y,))
    np.testing.assert_allclose(interpret(same, values, {}, plain=False)["y"], np.tril(values["a"] + values["b"]), 1e-12)


@pytest.mark.parametrize("length", [1, 2, 9])
@pytest.mark.parametrize("plain", [True, False])
def test_recurrences_are_right_at_every_length(length: int, plain: bool) -> None:
    program, gradient = recurrence(length)
    rng = np.random.default_rng(length)
    values = {"x": rng.standard_normal((length, 3, 4)), "U": rng.standard_normal((4, 4))}
    expected = evaluate(program, values, {"N": 3})[gradient.name]
    np.testing.assert_allclose(interpret(program, values, {"N": 3}, plain)[gradient.name], expected, 1e-12, 1e-13)


def test_a_sum_does_not_run_over_what_stands_between_two_tensors_in_memory() -> None:
    text, *_ = generate(network((12, 9, 7, 5)).training_program("adam"), "float32", None, {"N": 32})
    sums = [line for line in code(text).splitlines() if "reduce_add" in line]
    lengths = re.findall(r"for q in range\((\d+)\):\n(?:        [^\n]*\n)*?        r\d+ = reduce_add", code(text))
    assert sums and {int(length) for length in lengths} >= {108, 9, 63, 7, 35, 5}  # each tensor by itself


# ------------------------------------------------------------------------------------------- storage
def test_a_state_is_updated_in_place_and_a_swap_is_not() -> None:
    i = Index("i", 6)
    a, b, loss = Tensor("a", (6,), "state"), Tensor("b", (6,), "state"), Tensor("loss")
    new_a, new_b = Tensor("a_next", (6,)), Tensor("b_next", (6,))
    equations = (
        Equation(Access(loss), (i,), a[i]),
        Equation(new_a[i], (i,), 2 * b[i]),
        Equation(new_b[i], (i,), a[i] + 1),
    )
    program = Program(equations, (loss,), ((a, new_a), (b, new_b)))
    values = {"a": np.arange(6.0), "b": np.arange(6.0) + 10}
    for plain in (True, False):
        found = interpret(program, values, {}, plain)
        np.testing.assert_array_equal(found["a"], 2 * values["b"])
        np.testing.assert_array_equal(found["b"], values["a"] + 1)


def test_nothing_is_updated_where_a_guard_is_not_finite() -> None:
    program = network().training_program("adam")
    values = values_for(program, 5)
    values["x"][3, 2] = np.inf
    exe = compile_program(program, "float64", None, {"N": 8})
    found = call(exe, values, {"N": 5})
    assert found["status"] == 1
    for state, _ in program.updates:
        np.testing.assert_array_equal(found[state.name], values[state.name])


def test_parameters_have_their_declared_shape_whatever_the_storage_order() -> None:
    storage = plan_storage(network().training_program("adam"), "float32")
    block = np.arange(storage.elements, dtype=np.float32)
    view = storage.view(block, "W1")
    assert view.shape == (9, 12) and view.strides == (4, 36)  # stored (inputs, units)
    assert all(slot.offset % 16 == 0 for slot in storage.slots)


def test_the_arena_is_near_the_most_that_is_alive_at_once() -> None:
    for widths in ((12, 9, 7, 5), (64, 64, 32, 10), (32,) * 9):
        *_, manifest = generate(network(widths, "tanh").training_program("adam"), "float32", None, {"N": 32})
        assert manifest["arena"]["elements"] <= 1.2 * manifest["arena"]["lower_bound"]


def test_each_stage_of_the_lowering_reduces_what_it_counts() -> None:
    *_, manifest = generate(network((32, 16, 16, 16)).training_program("adam"), "float32", None, {"N": 32})
    counts = {row["name"]: row["count"] for row in manifest["stages"]}
    assert list(counts) == ["schedule", "fuse", "store", "memory", "join", "lower"]
    for name in ("fuse", "store", "memory", "join"):
        before, after = counts[name]
        assert after < before, name
    before, after = counts["join"]
    assert before - after >= 2 * 2 + 2 * 2  # of three weights and of three biases: updates, and squares for the norm


# ------------------------------------------------------------------------------------------- determinism, numbers
def test_the_same_program_gives_the_same_source_under_every_hash_seed() -> None:
    script = (
        "from tests.test_lowering import network, recurrence\n"
        "from compiler.executable import generate\n"
        "for p in (network().training_program('adam'), recurrence(5)[0]):\n"
        "    print(generate(p, 'float32', None, {'N': 8})[0])\n"
    )
    texts = set()
    for seed in ("0", "1", "77"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        run = subprocess.run(
            [sys.executable, "-c", script],
            env=environment,
            cwd=Path(__file__).parent.parent,
            capture_output=True,
            text=True,
            check=True,
        )
        texts.add(run.stdout)
    assert len(texts) == 1


def test_constants_are_read_back_to_the_last_bit() -> None:
    rng = np.random.default_rng(5)
    numbers = rng.standard_normal(40) * 10.0 ** rng.integers(-300, 300, 40)
    x = Tensor("x", (), "input")
    outputs = [Tensor(f"o{k}", (1,)) for k in range(len(numbers))]
    i = Index("i", 1)
    equations = [Equation(o[i], (i,), Access(x) * sp.Float(float(v))) for o, v in zip(outputs, numbers, strict=True)]
    found = interpret(Program(tuple(equations), tuple(outputs)), {"x": np.ones(())}, {})
    assert [found[o.name][0] for o in outputs] == list(numbers)


def test_the_source_says_where_each_tensor_stands_and_by_what_it_was_made() -> None:
    text, calls, _, manifest = generate(network().training_program("adam"), "float32", None, {"N": 32})
    for slot in manifest["storage"]["slots"]:
        name, _, offset, shape, _ = slot
        assert re.search(rf"^# +{offset}: +{offset + int(np.prod(shape))}  {name} \(", text, re.MULTILINE), name
    assert "numba" in text and all(f"{name} = {spec.name}" in text for name, spec in calls.items())
    head, _, body = text.partition("def kernel")
    digest = hashlib.sha256(("def kernel" + body).encode()).hexdigest()[:16]
    assert digest in head


def test_a_loop_that_serves_several_tensors_names_them_all() -> None:
    text, *_ = generate(network().training_program("adam"), "float32", None, {"N": 32})
    for name in ("W1", "W2", "W3", "b1", "b2", "b3"):
        assert f"{name}_next[" in text


def test_a_map_is_made_in_the_loop_that_reads_it() -> None:
    """Its reader also needs a product, in whose loop nothing can be made; and another map, of its own loop first."""
    learned: Any = {"name": "swish", "learned": ["beta"]}
    net = Network(input=16, layers=[dense(16, activation=learned), dense(16, activation=learned)], loss="mse")
    program = replace(net.training_program("sgd"), guards=(Tensor("loss"),))  # before the slopes are made
    text = generate(program, "float32", None, {"N": 64})[0]
    made = [line for line in text.splitlines() if "for q" in line and "= logistic(-beta" in line]
    assert len(made) == 2 and all("# delta" in line and "# d_beta" in line for line in made)
    assert not re.findall(r"= logistic\(\(-.*\n +M\[", text)  # nor does it go through memory


def test_nan_goes_through_choices_and_maxima() -> None:
    i, k = Index("i", 3), Index("k", 4)
    x, y, m = Tensor("x", (3, 4), "input"), Tensor("y", (3, 4)), Tensor("m", (3,))
    relu = sp.Piecewise((0, x[i, k] <= 0), (x[i, k], True))
    program = Program((Equation(y[i, k], (i, k), relu), Equation(m[i], (i, k), x[i, k], "max")), (y, m))
    data = np.array([[1.0, np.nan, -1, 2], [0, -0.0, -5, 3], [np.inf, -np.inf, 1, 1]])
    for found in (interpret(program, {"x": data}, {}), call(compile_program(program, "float64"), {"x": data}, {})):
        np.testing.assert_array_equal(found["y"], np.where(data <= 0, 0, data))
        np.testing.assert_array_equal(found["m"], [np.nan, 3, np.inf])


# ------------------------------------------------------------------------------------------- compiled
@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-12), ("float32", 2e-5)])
def test_a_compiled_training_step_is_the_oracles(dtype: str, tolerance: float) -> None:
    program = network().training_program("adam")
    values = values_for(program, 13)
    expected = evaluate(program, values, {"N": 13})
    found = call(compile_program(program, dtype, None, {"N": 16}), values, {"N": 13})
    for state, new in program.updates:
        np.testing.assert_allclose(found[state.name], expected[new.name], tolerance, tolerance)


def test_the_plain_nests_and_the_recognized_forms_agree_compiled() -> None:
    program = network(activation="tanh").gradient_program()
    values = values_for(program, 6)
    plain = call(compile_program(program, "float64", None, {"N": 8}, plain=True), values, {"N": 6})
    fast = call(compile_program(program, "float64", None, {"N": 8}), values, {"N": 6})
    for output in program.outputs:
        np.testing.assert_allclose(fast[output.name], plain[output.name], 1e-12, 1e-14)


def test_fewer_rows_than_the_capacity_leave_the_rest_of_an_output_alone() -> None:
    z = Tensor("z", (N, 3))
    x = Tensor("x", (N, 3), "input")
    i = Index("i", 3)
    exe = compile_program(Program((Equation(z[n, i], (n, i), logistic(x[n, i])),), (z,)), "float32", None, {"N": 64})
    for rows in (0, 1, 33, 64):
        data = np.random.default_rng(rows).standard_normal((rows, 3))
        np.testing.assert_allclose(call(exe, {"x": data}, {"N": rows})["z"], 1 / (1 + np.exp(-data)), 1e-6)


def test_a_cycle_without_a_shift_is_refused_with_its_equations() -> None:
    i = Index("i", 3)
    a, b = Tensor("a", (3,)), Tensor("b", (3,))
    program = Program((Equation(a[i], (i,), b[i]), Equation(b[i], (i,), a[i] + 1)), (a,))
    with pytest.raises(ProgramError, match=r"(?s)cycle without a shift.*a\[i\] = b\[i\]"):
        generate(program, "float64", None, {}, plain=True)


def test_the_passes_run_once_for_storage_and_code() -> None:
    program = network().training_program("adam")
    plan_storage(program, "float32")
    before = optimized.cache_info().misses
    generate(program, "float32", None, {"N": 8})
    assert optimized.cache_info().misses == before


def test_loops_over_parts_of_tensors_are_not_joined_across_the_rest_of_them() -> None:
    i, j, k = Index("i", 2), Index("j", 2), Index("k", 3)
    x, a, b, s = Tensor("x", (3, 2), "input"), Tensor("a", (3, 2)), Tensor("b", (3, 2)), Tensor("s", (3, 2))
    parts = (
        Equation(a[i, j], (i, j), sp.tanh(x[i, j])),
        Equation(b[i, j], (i, j), sp.sin(x[i, j])),
        Equation(a[2, j], (j,), sp.Integer(1)),
        Equation(b[2, j], (j,), sp.Integer(1)),  # in memory, what is between these two is b[0,0] to b[1,1]
        Equation(s[k, j], (k, j), a[k, j] * b[2 - k, j]),
    )
    values = {"x": np.random.default_rng(0).normal(size=(3, 2))}
    program = Program(parts, (s,))
    for dtype in ("float64", "float32"):
        found = interpret(program, values, {}, False, dtype)["s"]
        np.testing.assert_allclose(found, evaluate(program, values)["s"], 1e-6)


@pytest.mark.parametrize("width", [1, 2, 30])
def test_what_is_infinite_is_computed_and_not_written_down(width: int) -> None:
    k, W = Index("k", width), Tensor("W", (width,), "parameter")
    x, c = Tensor("x", (N, width), "input"), Tensor("c", (N, width))
    y = [Tensor(f"y{number}", (N,)) for number in range(4)]
    program = Program(
        (
            Equation(y[0][n], (n, k), W[k] * x[n, k] ** 2 / k),
            Equation(c[n, k], (n, k), Integer(0)),
            Equation(y[1][n], (n, k), 1 / (c[n, k] + c[n, 0])),
            Equation(y[2][n], (n, k), sp.Piecewise((x[n, k], sp.Gt(k, 0)), (sp.log(c[n, k]), True))),
            Equation(y[3][n], (n, k), x[n, k] / k, "sum", sp.Eq(k, 0)),
        ),
        tuple(y),
    )
    values = {"W": np.arange(1.0, width + 1), "x": np.random.default_rng(0).uniform(1, 2, (3, width))}
    found = interpret(program, values, {"N": 3}, plain=False)
    for tensor, sign in zip(y, (1, 1, -1, 1), strict=True):
        np.testing.assert_array_equal(found[tensor.name], np.full(3, sign * np.inf), tensor.name)


def test_values_that_are_read_twice_do_not_double_the_expression_layer_after_layer() -> None:
    values = [Tensor("x", (N,), "input"), *(Tensor(f"h{layer}", (N,)) for layer in range(12))]
    steps = (Equation(new[n], (n,), old[n] * (1 - old[n])) for old, new in itertools.pairwise(values))
    written = inline_cheap_maps(Program((*steps,), (values[-1],))).equations
    assert len(written) < 6 and max(sp.count_ops(e.rhs) for e in written) < 3 * LONGEST


c, k, h = Tensor("c"), Index("k", 3), Index("h", 1)


@pytest.mark.parametrize(
    "number", [sp.log(c[()]), 1 / c[()], sp.sqrt(c[()] - 1), (c[()] - 1) ** sp.Rational(1, 3), sp.log(h)]
)
def test_what_is_infinite_or_no_number_is_compared_as_it_is_computed(number: sp.Expr) -> None:
    x, y, z = Tensor("x", (3,), "input"), Tensor("y", (3,)), Tensor("z", (3,))
    choice = sp.Piecewise((x[k], number > 0), (2 * x[k], x[k] >= number), (-x[k], True))
    program = Program(
        (
            Equation(c[()], (), Integer(0)),
            Equation(y[k], (k, h), choice),
            Equation(z[k], (k,), 1 + choice.xreplace({h: k})),
        ),
        (y, z),
    )
    values = {"x": np.array([1.0, -2.0, 3.0])}
    for name, found in interpret(program, values, {}, plain=False).items():
        if name in "yz":
            np.testing.assert_array_equal(found, evaluate(program, values)[name], name)


def test_times_of_lowering_and_compiling_are_in_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compiler.executable.perf_counter", itertools.count().__next__)  # a second passes between calls
    found = compile_program(network((3, 2)).training_program("adam"), "float32", None, {"N": 2}).manifest[
        "milliseconds"
    ]
    assert found["compile"] == 1000 and found["lower"] >= 1000 and found["lower"] % 1000 == 0


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_a_loop_over_steps_reaches_a_slot_beyond_a_small_size(rows: int) -> None:
    t, j = Index("t", N), Index("j", 2)
    a, b, s = Tensor("a", (N,)), Tensor("b", (3,)), Tensor("s")
    x = Tensor("x", (N,), "input")
    steps = (Equation(a[t], (t,), x[t] + b[t] / 2), Equation(b[j + 1], (j,), sp.tanh(a[j]) + 1))
    program = Program((*steps, Equation(s[()], (t,), a[t]), Equation(s[()], (j,), b[j + 1])), (s,))
    values = {"x": np.arange(1.0, rows + 1)}
    found = interpret(program, values, {"N": rows}, plain=False)["s"]
    np.testing.assert_allclose(found, evaluate(program, values, {"N": rows})["s"], 1e-13)


def test_a_choice_of_conditions_holds_within_other_conditions() -> None:
    """y[i] = the sum of the x[j] < 1/2 with j < i or j > 5; z[i] = that of those with j < i or i > 5."""
    i, j, x = Index("i", 8), Index("j", 8), Tensor("x", (8,), "input")
    y, z = Tensor("y", (8,)), Tensor("z", (8,))
    below = sp.Lt(x[j], sp.Rational(1, 2))
    program = Program(
        (
            Equation(y[i], (i, j), x[j], where=sp.And(sp.Or(j < i, j > 5), below)),
            Equation(z[i], (i, j), sp.Piecewise((x[j], sp.And(below, sp.Or(j < i, i > 5))), (0, True))),
        ),
        (y, z),
    )
    values = np.random.default_rng(0).normal(size=8)
    at_i, at_j = np.indices((8, 8))
    for plain in (True, False):
        found = interpret(program, {"x": values}, {}, plain=plain)
        for name, chosen in (("y", (at_j < at_i) | (at_j > 5)), ("z", (at_j < at_i) | (at_i > 5))):
            np.testing.assert_allclose(found[name], np.where(chosen & (values < 0.5), values, 0).sum(1), rtol=1e-14)


def test_the_steps_of_a_recurrence_are_whichever_axis_they_stand_on() -> None:
    """h[i,t] = x[i,t] + sum_j U[i,j] h[j,t-1]: no loop over i serves."""
    t, i, j = Index("t", 5), Index("i", 3), Index("j", 3)
    x, U, h = Tensor("x", (3, 5), "input"), Tensor("U", (3, 3), "input"), Tensor("h", (3, 5))
    equations = (Equation(h[i, t], (i, t), x[i, t]), Equation(h[i, t], (i, t, j), U[i, j] * h[j, t - 1]))
    rng = np.random.default_rng(0)
    values = {"x": rng.normal(size=(3, 5)), "U": rng.normal(size=(3, 3))}
    expected = values["x"].copy()
    for step in range(1, 5):
        expected[:, step] += values["U"] @ expected[:, step - 1]
    np.testing.assert_allclose(interpret(Program(equations, (h,)), values, {})["h"], expected, rtol=1e-13)


def test_what_is_read_ahead_of_what_is_read_ahead_is_made_two_steps_before() -> None:
    """a[t] = x[t] + b[t+1], b[t] = 2 c[t+1], c[t] = 3 a[t-3]: a[t] = x[t] + 6 a[t-1] where all of them exist."""
    t, x = Index("t", 8), Tensor("x", (8,), "input")
    a, b, c = (Tensor(name, (8,)) for name in "abc")
    equations = (
        Equation(a[t], (t,), x[t] + b[t + 1]),
        Equation(b[t], (t,), 2 * c[t + 1]),
        Equation(c[t], (t,), 3 * a[t - 3]),
    )
    values = np.random.default_rng(0).normal(size=8)
    expected = values.copy()
    for step in range(1, 6):
        expected[step] += 6 * expected[step - 1]
    np.testing.assert_allclose(interpret(Program(equations, (a,)), {"x": values}, {})["a"], expected, rtol=1e-13)


def test_what_data_points_to_may_be_any_element() -> None:
    label, x, i = Tensor("label", (4,), "input", "integer"), Tensor("x", (9, 9), "input"), Index("i", 4)
    assert reach(x[label[i] + 1, i + 2]) == ((0, 9), (2, 6))


def test_what_can_be_named_ends_with_the_tensor() -> None:
    x, i = Tensor("x", (9, 9), "input"), Index("i", 4)
    assert reach(x[i + 7, 2 * i - 3]) == ((7, 9), (0, 4)) and reach(x[8 - 3 * i, i + 5]) == ((0, 9), (5, 9))


def test_a_state_is_not_written_over_before_another_element_of_it_is_read() -> None:
    i, p, new = Index("i", 1003), Tensor("p", (1003,), "parameter"), Tensor("p_new", (1003,))
    program = Program((Equation(new[i], (i,), 2 * p[1002 - i]),), (), ((p, new),))
    values = np.arange(1003.0)
    np.testing.assert_array_equal(interpret(program, {"p": values}, {}, plain=False)["p"], 2 * values[::-1])


NAMES = [
    "2x",
    "i'",
    "for",
    "M",
    "a_long_name",
    "\u00e9\u00e9",
    "v1",
    "k1",
    "n0",
    "ej",
    "exp",
    "select",
    "range",
    "F64",
    "part",
]


@pytest.mark.parametrize("name", NAMES)
def test_an_index_may_have_any_name_whatever_else_the_source_calls_so(name: str) -> None:
    x, s = Tensor("x", (4, N), "input"), Tensor("s", (4, 4), "constant", sparse=True)
    w, y = Tensor("w", (4, N)), Tensor("y", (N, 4))
    rng = np.random.default_rng(0)
    values = {"x": rng.normal(size=(4, 5)), "s": np.eye(4, k=1) + np.eye(4, k=-2)}
    expected = np.exp(values["s"] @ values["x"]).sum(0)[:, None] * (values["x"].T > 0)
    for names in itertools.permutations((name, "i", "j")):
        i, j, m = Index(names[0], 4), Index(names[1], 4), Index(names[2], N)
        equations = (
            Equation(w[i, m], (i, m, j), s[i, j] * x[j, m]),
            Equation(y[m, j], (m, j, i), sp.exp(w[i, m]), where=x[j, m] > 0),
        )
        for plain in (True, False):
            found = interpret(Program(equations, (y,)), values, {"N": 5}, plain=plain)["y"]
            np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_state_that_a_sum_reads_is_not_summed_up_in_its_own_place() -> None:
    s, new, x = Tensor("s", (40,), "state"), Tensor("s_next", (40,)), Tensor("x", (50, 40), "input")
    i, j = Index("i", 40), Index("j", 50)
    program = Program((Equation(new[i], (i, j), sp.tanh(s[i] + x[j, i])),), (), ((s, new),))
    given = {"s": np.linspace(-1, 1, 40), "x": np.linspace(-1, 1, 2000).reshape(50, 40)}
    expected = np.tanh(given["s"] + given["x"]).sum(axis=0)
    np.testing.assert_allclose(interpret(program, given, {}, plain=False)["s"], expected)
    np.testing.assert_allclose(call(compile_program(program, "float64"), given, {})["s"], expected)


def test_equal_maps_of_a_tensor_are_added_as_often_as_they_are_there() -> None:
    i, x, y = Index("i", 4), Tensor("x", (4,), "input"), Tensor("y", (4,))
    once, other = Equation(y[i], (i,), sp.sin(x[i])), Equation(y[i], (i,), x[i])
    given = {"x": np.arange(4.0)}
    for times, more in itertools.product((1, 2, 3), ((), (other,), (other, other))):
        program = Program((once,) * times + more, (y,))
        expected = times * np.sin(given["x"]) + len(more) * given["x"]
        for plain in (True, False):
            np.testing.assert_allclose(interpret(program, given, {}, plain=plain)["y"], expected, rtol=1e-14)
