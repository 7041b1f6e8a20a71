"""All passes together: each one, and every prefix of them, changes nothing but the form; same input, same output."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import sympy as sp
from sympy import Piecewise, erf, exp, sqrt, tanh

from compiler.functions import expm1, logistic, softplus
from compiler.passes import PASSES, READABLE, run_passes
from compiler.program import Program
from compiler.verify import verify

from .programs import sample
from .rewrites import Activation, count, lines, network, relu, same
from .tolerance import gradient_program

ACTIVATIONS: dict[str, Activation] = {
    "relu": relu,
    "tanh": tanh,
    "logistic": logistic,
    "softplus": softplus,
    "elu": lambda z: Piecewise((expm1(z), z <= 0), (z, True)),
    "hard tanh": lambda z: Piecewise((-1, z <= -1), (1, z >= 1), (z, True)),
    "swish": lambda z: z * logistic(z),
    "gelu": lambda z: z * (1 + erf(z / sqrt(2))) / 2,
    "mish, written out": lambda z: z * tanh(sp.log(1 + exp(z))),
    "sigmoid, written out": lambda z: 1 / (1 + exp(-z)),
}
WIDTHS = {"equal": [4, 4, 4, 4], "distinct": [3, 5, 4, 2], "of one": [1, 1, 3, 1]}
LOSSES = ("labels", "distributions", "squares")


@pytest.mark.parametrize("name", [name for name, _, _ in PASSES])
@pytest.mark.parametrize("widths", WIDTHS)
def test_each_pass_alone_keeps_value_and_gradient(name: str, widths: str) -> None:
    function = {pass_name: function for pass_name, function, _ in PASSES}[name]
    for loss in LOSSES:
        program, values = network(WIDTHS[widths], logistic, loss)
        same(program, function(program), values)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("widths", ["equal", "of one"])
def test_the_pipeline_keeps_value_and_gradient_step_by_step(activation: str, widths: str) -> None:
    loss = LOSSES[len(activation) % 3]
    program, values = network(WIDTHS[widths], ACTIVATIONS[activation], loss, seed=len(activation))
    current = program
    for name, function, _ in PASSES:
        current = function(current)
        try:
            same(program, current, values)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}\n{current}") from error


@pytest.mark.parametrize("seed", [3, 8, 19, 28, 54, 67, 104, 159])
def test_random_programs_keep_value_and_gradient(seed: int) -> None:
    """Gathers, shifts, strides, conditions, recurrences, reads outside; the whole fuzzer is another test."""
    drawn = sample(seed)
    program = gradient_program(drawn.program.equations, drawn.output, drawn.wrt)
    after, _ = run_passes(program, verify=verify)
    wanted = gradient_program(drawn.program.equations, drawn.output, drawn.wrt)
    assert after.outputs == wanted.outputs
    _same_with_sizes(program, after, drawn.values, drawn.sizes)


def _same_with_sizes(before: Program, after: Program, values: dict[str, Any], sizes: dict[str, int]) -> None:
    import numpy as np

    from symnet.oracle.reference import evaluate

    wanted, found = evaluate(before, values, sizes), evaluate(after, values, sizes)
    for name, array in wanted.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-9, atol=1e-10, err_msg=name)


def test_each_pass_reports_what_it_found_and_what_it_left() -> None:
    program, _ = network([3, 4, 4])
    after, reports = run_passes(program)
    assert [report.name for report in reports] == [name for name, _, _ in PASSES]
    assert (reports[0].equations[0], reports[-1].equations[1]) == (len(program.equations), len(after.equations))
    assert all(one.equations[1] == next_.equations[0] for one, next_ in pairwise(reports))


def test_a_relu_classifier_ends_in_the_equations_that_one_would_write_by_hand() -> None:
    program, values = network([3, 4, 4])
    after, _ = run_passes(program, verify=verify)
    same(program, after, values)
    assert lines(after) == [
        "z1[n,i] = sum_j W1[i,j]*x[n,j]",
        "z1[n,i] = b1[i]",
        "a1[n,i] = Piecewise((0, z1[n,i] <= 0), (z1[n,i], True))",
        "z2[n,i] = sum_j W2[i,j]*a1[n,j]",
        "z2[n,i] = b2[i]",
        "z2_max[n] = max_k z2[n,k]",
        "z2_exp[n,k] = exp(-z2_max[n] + z2[n,k])",
        "z2_sum[n] = sum_k z2_exp[n,k]",
        "lse[n] = log(z2_sum[n]) + z2_max[n]",
        "ell[n] = lse[n] - z2[n,y[n]]",
        "loss[] = sum_n ell[n]/N",
        "d_z2[n,y[n]] = -1",
        "d_z2[n,k] = z2_exp[n,k]/z2_sum[n]",
        "d_b2[i] = sum_n d_z2[n,i]/N",
        "d_W2_product[i,j] = sum_n a1[n,j]*d_z2[n,i]",
        "d_W2[i,j] = d_W2_product[i,j]/N",
        "d_a1[n,j] = sum_i W2[i,j]*d_z2[n,i]",
        "d_z1[n,i] = Piecewise((0, a1[n,i] <= 0), (d_a1[n,i], True))",
        "d_b1[i] = sum_n d_z1[n,i]/N",
        "d_W1_product[i,j] = sum_n d_z1[n,i]*x[n,j]",
        "d_W1[i,j] = d_W1_product[i,j]/N",
        "d_W1[i,j] = lambda[]*W1[i,j]",
        "d_W2[i,j] = lambda[]*W2[i,j]",
    ]


def test_the_passes_together_leave_one_function_call_an_activation() -> None:
    for name, activation in ACTIVATIONS.items():
        program, _ = network([3, 4, 2], activation, "squares")
        after, _ = run_passes(program)
        calls = sum(count(after, f) for f in (exp, sp.log, tanh, logistic, softplus, expm1, erf))
        assert calls <= {"relu": 0, "hard tanh": 0, "gelu": 2, "softplus": 2, "mish, written out": 3}.get(name, 1), (
            after
        )


@pytest.mark.parametrize("name", [name for name, _, _ in PASSES])
def test_a_pass_given_its_own_result_changes_nothing_more(name: str) -> None:
    program, _ = network([3, 4, 4, 2], tanh, "distributions")
    for pass_name, function, _ in PASSES:
        program = function(program)
        if pass_name == name:
            assert lines(function(program)) == lines(program)


def test_the_readable_program_still_says_the_derivative_in_terms_of_z() -> None:
    program, _ = network([3, 4, 4])
    readable, _ = run_passes(program, READABLE)
    assert "d_z1[n,i] = Piecewise((0, z1[n,i] <= 0), (d_a1[n,i], True))" in lines(readable)


def test_the_report_says_what_each_pass_did() -> None:
    program, _ = network([3, 4, 4, 2], tanh)
    checked: list[Program] = []
    start = time.perf_counter()
    after, report = run_passes(program, verify=checked.append)
    assert sum(row.milliseconds for row in report) <= 1e3 * (time.perf_counter() - start)
    assert [row.name for row in report] == [name for name, _, _ in PASSES] and checked[-1] is after
    assert report[0].equations[0] == len(program.equations) and report[-1].equations[1] == len(after.equations)
    assert all(earlier.functions[1] == later.functions[0] for earlier, later in pairwise(report))
    shared = next(row for row in report if row.name == "share")
    assert shared.functions == (6, 4)
    assert all(row.milliseconds > 0 and row.reason for row in report)


def test_hundred_layers_take_time_in_proportion() -> None:
    def seconds(layers: int) -> float:
        program, _ = network([2] * (layers + 1), tanh, "squares")
        gc.collect()
        gc.disable()  # collections grow with everything that other tests have left
        start = time.process_time()
        run_passes(program)
        taken = time.process_time() - start
        gc.enable()
        return taken

    quick, slow = (min(seconds(layers) for _ in range(3)) for layers in (25, 100))
    assert slow <= max(6 * quick, 0.5)


PROGRAM = """
from compiler.passes import run_passes
from tests.rewrites import network
from compiler.functions import logistic
for loss in ("labels", "distributions"):
    program, _ = network([3, 4, 4, 2], lambda z: z * logistic(z), loss)
    after, _ = run_passes(program)
    print(after)
    print([e.domain for e in after.equations])
"""


def test_the_same_program_comes_out_whatever_the_hash_seed(root: Path) -> None:
    outputs = set()
    for seed in ("0", "1", "12345"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], cwd=root, env=environment, capture_output=True, text=True, check=True
        )
        outputs.add(done.stdout)
    assert len(outputs) == 1 and "d_W1_product" in outputs.pop()


def test_passes_have_distinct_names_and_each_says_why() -> None:
    names = [name for name, _, _ in PASSES]
    functions: list[Callable[[Program], Program]] = [function for _, function, _ in PASSES]
    assert len(set(names)) == len(names) == len(set(functions))
    assert all(function.__name__ == name for name, function, _ in PASSES)
    assert all(len(reason) > 20 for _, _, reason in PASSES)


def test_what_people_read_ends_before_values_are_shared() -> None:
    assert [name for name, *_ in READABLE] == ["use_facts", "simplify_algebra", "stabilize"]


def test_the_report_has_the_time_of_each_pass_in_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr("compiler.passes.time.perf_counter", lambda: 0.25 * next(clock))
    _, report = run_passes(network([3, 2])[0])
    assert {row.milliseconds for row in report} == {250.0}
