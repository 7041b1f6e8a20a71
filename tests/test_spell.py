"""Tiny programs spelled out: the same values from one loop over the samples, and only where all can be taken apart."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from compiler import spell
from compiler.executable import generate, optimized
from compiler.program import Equation, Index, Program, Tensor, size
from compiler.spell import PARAMETERS, spell_out
from compiler.verify import verify
from symnet import dense, elman
from symnet.network import Network
from symnet.oracle.reference import evaluate

N = size("N")
n, i, j, k = Index("n", N), Index("i", 3), Index("j", 2), Index("k", 3)
W, x = Tensor("W", (3, 2), "parameter"), Tensor("x", (N, 2), "input")
z, s, y = Tensor("z", (N, 3)), Tensor("s", (3,)), Tensor("y", ())

LAYER = (Equation(z[n, i], (n, i, j), W[i, j] * x[n, j]), Equation(s[i], (n, i), sp.tanh(z[n, i])))
o, m = Tensor("o", (N, N)), Tensor("m", (4,))
p, t = Tensor("p", (3,), kind="integer"), Tensor("t", (N, 3))
PLACE = Equation(p[i], (n, i), z[n, i], "argmax")
SQUARES = Equation(y[()], (i,), s[i] ** 2)
V, q = Tensor("V", (PARAMETERS + 1,), "parameter"), Index("q", PARAMETERS + 1)

PROGRAMS = {
    "a layer": (*LAYER, SQUARES),
    "conditions": (*LAYER, Equation(y[()], (i, k), s[i] * s[k] / 3, "sum", sp.Or(sp.Eq(k, 0), i > k))),
    "what is written twice": (*LAYER, Equation(s[0], (n,), z[n, 1]), Equation(s[0], (n, j), z[n, 1] + j), SQUARES),
    "reads and writes outside": (
        Equation(s[i + 1], (i,), W[i + 1, 1] * W[i - 1, 0] - 3), Equation(s[i - 1], (i,), W[i, 0]), SQUARES,
    ),
    "what nobody writes": (LAYER[0], Equation(s[i + 2], (n, i), z[n, i]), Equation(y[()], (i,), (s[i] + 2) ** 2)),
    "all outside": (*LAYER, Equation(o[n, i - 3], (n, i), z[n, i]), Equation(y[()], (n,), o[n, 0] + x[n, 1])),
    "the place of a maximum": (
        *LAYER, PLACE, Equation(t[p[i], i], (i,), z[0, i] + i), Equation(y[()], (n, i), t[n, i] * (n + 2) ** i),
    ),
    "never": (Equation(z[n, i], (n, i), x[n, 0], "sum", i > 5), *LAYER, SQUARES),
}  # fmt: skip
WHOLE = {
    "a maximum": (*LAYER, Equation(y[()], (i,), s[i], "max")),
    "a maximum of a part": (*LAYER, Equation(m[i + 1], (n, i), z[n, i], "max"), SQUARES),
    "a gather": (*LAYER, Equation(y[()], (n,), z[n, Tensor("label", (N,), "input", "integer")[n]])),
    "a logarithm of zero": (LAYER[0], Equation(s[i + 1], (n, i), z[n, i] ** 2), Equation(y[()], (i,), sp.log(s[i]))),
    "a number over an index": (*LAYER, Equation(y[()], (i,), s[i] / i)),
    "a loop over steps": (Equation(s[i], (i, j), W[i, j] * s[i - 1] + 1), Equation(y[()], (i,), s[i])),
    "many parameters": (Equation(y[()], (q,), V[q]),),
}  # fmt: skip


def program_of(equations: tuple[Equation, ...]) -> Program:
    return Program(equations, (equations[-1].tensor,))


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_is_spelled_out_has_the_same_values(name: str) -> None:
    program = program_of(PROGRAMS[name])
    spelled = spell_out(program)
    verify(spelled)
    rng = np.random.default_rng(0)
    values = {"W": rng.standard_normal((3, 2)), "x": rng.standard_normal((4, 2))}
    for tensor, expected in evaluate(program, values, {"N": 4}).items():
        np.testing.assert_allclose(evaluate(spelled, values, {"N": 4})[tensor], expected, 1e-13, 1e-13)
    assert not {z, s} & {t for t in spelled.tensors if t not in program.outputs}
    assert all(not t.rank for t in spelled.tensors if t.role == "value" and t.name.startswith("s_"))


@pytest.mark.parametrize("name", WHOLE)
def test_what_cannot_be_taken_apart_stays_as_it_is(name: str) -> None:
    program = program_of(WHOLE[name])
    assert spell_out(program) is program


@pytest.mark.parametrize(("limit", "size"), [("POINTS", 3 * 2 + 3 + 3), ("PARAMETERS", 3 * 2)])
def test_a_program_is_tiny_up_to_the_limits(monkeypatch: pytest.MonkeyPatch, limit: str, size: int) -> None:
    program = program_of((*LAYER, SQUARES))
    monkeypatch.setattr(spell, limit, size)
    assert spell.spell_out(program) is not program
    monkeypatch.setattr(spell, limit, size - 1)
    assert spell.spell_out(program) is program


@pytest.mark.parametrize("optimizer", ["gradient_descent", "adam"])
def test_a_step_of_a_tiny_network_is_one_loop_and_keeps_nothing_in_memory(optimizer: str) -> None:
    network = Network(input=2, layers=[dense(2, "relu"), dense(1)], loss="squared_error")
    text, calls, _, manifest = generate(network.training_program(optimizer), "float64", None, {"N": 4})
    assert text.count("    for ") == 1 and not calls
    assert manifest["arena"]["elements"] == 8  # the squared norm, and what is between it and the next vector


def test_a_recurrent_network_stays_a_loop() -> None:
    program = Network(input=[8, 1], layers=[elman(2), dense(1)], loss="squared_error").gradient_program()
    assert not any("_0" in tensor.name for tensor in optimized(program)[0].tensors)
