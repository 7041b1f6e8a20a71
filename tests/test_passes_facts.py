"""Facts: sums that the data promise to be 1 go, exactly there and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.passes.simplify_algebra import simplify_algebra
from compiler.passes.use_facts import use_facts
from compiler.program import Equation, Index, Program, Tensor

from .rewrites import changed_by, lines, network

i, j, k, m = (Index(name, 3) for name in "ijkm")
y, g, p = Tensor("y", (3, 3), "input"), Tensor("g", (3,), "input"), Tensor("p", (3, 3), "input")
w = Tensor("w", (3,))
fact = Equation(Tensor("one", (3,))[i], (i, k), y[i, k])
rng = np.random.default_rng(0)
values = {"y": rng.dirichlet(np.ones(3), 3), "g": rng.normal(size=3), "p": rng.normal(size=(3, 3))}


def test_the_gradient_of_softmax_cross_entropy_with_distributions_is_p_minus_y() -> None:
    program, given = network([3, 4, 4], loss="distributions")
    after = changed_by(use_facts, program, given)
    assert "d_lse[n] = 1" in lines(after)
    final = changed_by(simplify_algebra, after, given)
    delta = [line for line in lines(final) if line.startswith("d_z2")]
    assert delta == ["d_z2[n,k] = -y[n,k]", "d_z2[n,k] = exp(-lse[n] + z2[n,k])"]
    assert len(final.equations) == len(program.equations) - 1


def test_without_the_fact_the_sum_stays() -> None:
    program, given = network([3, 4, 4], loss="distributions")
    without = Program(program.equations, program.outputs)
    assert changed_by(use_facts, without, given) == without
    assert "d_lse[n] = sum_k y[n,k]" in lines(changed_by(simplify_algebra, without, given))


@pytest.mark.parametrize(
    ("rhs", "domain", "expected"),
    [
        (y[i, j] * g[i], (i, j), ["w[i] = g[i]"]),
        (-2 * y[i, m], (i, m), ["w[i] = -2"]),
        (y[i, j] * y[j, k], (i, j, k), ["w[i] = 1"]),  # over k first, then over j
        (y[i, j] * g[i] + p[i, j], (i, j), ["w[i] = sum_j p[i,j]", "w[i] = g[i]"]),
        (y[i, j] * g[j], (i, j), ["w[i] = sum_j g[j]*y[i,j]"]),
        (y[j, i] * g[i], (i, j), ["w[i] = sum_j g[i]*y[j,i]"]),
        (y[i, j] ** 2, (i, j), ["w[i] = sum_j y[i,j]**2"]),
        (y[i, (j)] * (1 + g[i]), (i, j), ["w[i] = g[i] + 1"]),
        (y[i + 1, j] * g[i], (i, j), ["w[i] = sum_j g[i]*y[i + 1,j]"]),  # outside, rows are 0
        (y[i, i] * g[i], (i, j), ["w[i] = sum_j g[i]*y[i,i]"]),
    ],
)
def test_a_sum_is_shortened_where_the_rest_does_not_name_its_index(rhs, domain, expected) -> None:  # type: ignore[no-untyped-def]
    program = Program([Equation(w[i], domain, rhs)], (w,), facts=(fact,))
    assert lines(changed_by(use_facts, program, values)) == expected


def test_a_sum_over_part_of_the_range_or_under_a_condition_is_not_one() -> None:
    short = Index("k", 2)
    part = Equation(w[i], (i, short), y[i, short] * g[i])
    condition = Equation(w[i], (i, k), y[i, k] * g[i], "sum", k < i)
    largest = Equation(Tensor("top", (3,))[i], (i, k), y[i, k] * g[i], "max")
    program = Program([part, condition, largest], (w, largest.tensor), facts=(fact,))
    assert changed_by(use_facts, program, values) == program


def test_a_sum_over_a_diagonal_is_not_the_sum_over_both_indices() -> None:
    cube = Tensor("cube", (3, 3, 3), "input")
    both = Equation(Tensor("one", (3,))[i], (i, j, k), cube[i, j, k])
    given = values | {"cube": rng.dirichlet(np.ones(9), 3).reshape(3, 3, 3)}
    diagonal = Program([Equation(w[i], (i, j), cube[i, j, j] * g[i])], (w,), facts=(both,))
    assert changed_by(use_facts, diagonal, given) == diagonal
    whole = Program([Equation(w[i], (i, m, j), cube[i, m, j] * g[i])], (w,), facts=(both,))
    assert lines(changed_by(use_facts, whole, given)) == ["w[i] = g[i]"]
