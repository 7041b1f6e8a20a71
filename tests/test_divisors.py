"""Loops with roots in their divisors: multiplied where the bounds hold, divided where they do not."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import sympy as sp

from compiler.calling import call
from compiler.divisors import LONGEST, SHORTEST
from compiler.executable import compile_program, generate
from compiler.program import Access, Equation, Index, Program, Tensor

RNG = np.random.default_rng(0)


def root(count: int, constant: bool = True) -> Program:
    """a[i] = g[i]/(e + c*sqrt(v[i])); without the constant term g[i]/(c*sqrt(v[i]) + sqrt(v[i] + 1))"""
    i = Index("i", count)
    a, g, v = (Tensor(name, (count,), role) for name, role in (("a", "value"), ("g", "input"), ("v", "input")))
    e, c = (Access(Tensor(name, (), "hyper")) for name in "ec")
    first = e if constant else sp.sqrt(v[i] + 1)
    return Program((Equation(a[i], (i,), g[i] / (first + c * sp.sqrt(v[i]))),), (a,))


def test_a_loop_is_there_twice_only_if_it_is_worth_it_and_its_bounds_can_be_known() -> None:
    lengths = ((root(SHORTEST - 1), 0), (root(SHORTEST), 1), (root(LONGEST), 1), (root(LONGEST + 1), 0))
    for program, times in (*lengths, (root(SHORTEST, constant=False), 0)):
        text, *_ = generate(program, "float32", None, {})
        assert text.count("quotient(") == times


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_quotient_is_right_to_an_ulp_within_the_bounds_and_exact_beyond_them(dtype: str) -> None:
    count, real = 2 * SHORTEST + 5, np.dtype(dtype).type
    compiled = compile_program(root(count), dtype)
    g = RNG.standard_normal(count).astype(dtype)
    v = np.exp(RNG.uniform(-80, 80, count)).astype(dtype)
    v[:9] = 0
    tiny = float(np.finfo(real).tiny)
    for e, c, ulp in ((1e-8, 1, 2), (1, 0, 2), (0, 1, 1), (tiny, 1, 1), (1, -1e-30, 1), (-1, -1, 1), (1e200, 1, 1)):
        with np.errstate(all="ignore"):  # one ulp is of the sum, which is fused
            expected = g / (real(e) + real(c) * np.sqrt(v))
            found = call(compiled, {"g": g, "v": v, "e": float(e), "c": float(c)}, {})["a"]
            same = (found == expected) | (np.isnan(found) & np.isnan(expected))
            near = np.isfinite(expected) & (np.abs(found - expected) <= ulp * np.spacing(np.abs(expected)))
        assert (same | near).all(), (e, c, g[~(same | near)], v[~(same | near)])


def test_what_is_not_finite_stays_so() -> None:
    compiled = compile_program(root(SHORTEST), "float32")
    g, v = np.ones(SHORTEST, np.float32), np.ones(SHORTEST, np.float32)
    g[:3], v[3:5] = (np.nan, np.inf, -np.inf), (np.nan, -1)
    found = call(compiled, {"g": g, "v": v, "e": 1e-8, "c": 1.0}, {})["a"]
    assert not np.isfinite(found[:5]).any() and np.isfinite(found[5:]).all()


SEVERAL = """
import sympy as sp
from compiler.executable import generate
from compiler.program import Access, Equation, Index, Program, Tensor

i, a = Index("i", 2000), Tensor("a", (2000,))
g, v, w = (Tensor(name, (2000,), "input") for name in "gvw")
e, c, f, d, h, k = (Access(Tensor(name, (), "hyper")) for name in "ecfdhk")
pairs = ((g, e, c, v), (v, f, d, w), (w, h, k, g))
total = sum(x[i] / (first + factor * sp.sqrt(y[i])) for x, first, factor, y in pairs)
print(generate(Program((Equation(a[i], (i,), total),), (a,)), "float32", None, {})[0])
"""


def test_the_source_of_several_divisors_does_not_depend_on_hashes() -> None:
    running = [
        subprocess.Popen(
            [sys.executable, "-c", SEVERAL],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        for seed in ("1", "2", "3")
    ]
    first, *others = (process.communicate()[0] for process in running)
    assert first.count("quotient(") == 3 and others == [first, first]
