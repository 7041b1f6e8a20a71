"""Share: equal definitions are one, expensive scalars are computed once; never across shifts, ranges or conditions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sympy as sp
from sympy import exp, sin, tanh

from compiler.functions import logistic
from compiler.passes.share import share
from compiler.passes.stabilize import stabilize
from compiler.program import Access, Equation, Index, Program, Tensor

from .rewrites import changed_by, count, lines, network

i, j, k = Index("i", 4), Index("j", 4), Index("k", 4)
u, v, w = Tensor("u", (4, 4)), Tensor("v", (4, 4)), Tensor("w", (4,))
x, y = Tensor("x", (4, 4), "input"), Tensor("y", (4,), "input")


def given(seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {"x": rng.normal(size=(4, 4)), "y": rng.normal(size=4)}


def test_the_derivative_of_tanh_reads_its_value() -> None:
    program, values = network([3, 4, 4, 2], tanh)
    after = changed_by(share, program, values)
    assert count(program, tanh) == 4 and count(after, tanh) == 2
    assert "d_z2[n,i] = (1 - a2[n,i]**2)*d_a2[n,i]" in lines(after)


def test_the_sigmoid_of_swish_is_shared_by_both_directions() -> None:
    program, values = network([3, 5, 2], lambda z: z * logistic(z))
    after = changed_by(share, program, values)
    assert "logistic_z1[n,i] = logistic(z1[n,i])" in lines(after)
    assert "a1[n,i] = logistic_z1[n,i]*z1[n,i]" in lines(after)
    assert count(after, logistic) == 2  # of z and of -z, each in one equation


def test_equal_definitions_are_one_up_to_the_names_of_indices() -> None:
    program = Program(
        [
            Equation(u[i, j], (i, j, k), x[i, k] * x[k, j]),
            Equation(v[k, i], (k, i, j), x[k, j] * x[j, i]),
            Equation(w[i], (i, j), u[i, j] + 2 * v[i, j]),
        ],
        (w,),
    )
    after = changed_by(share, program, given())
    assert lines(after) == ["u[i,j] = sum_k x[i,k]*x[k,j]", "w[i] = sum_j 3*u[i,j]"]


def test_the_order_of_what_is_reduced_matters_to_argmax_alone() -> None:
    """The position of the largest is counted in the order of the domain."""

    def reduced(op: str) -> int:
        kind = "integer" if op == "argmax" else "real"
        one, two = Tensor("one", (4,), "value", kind), Tensor("two", (4,), "value", kind)
        orders = ((one, (i, j, k)), (two, (i, k, j)))
        equations = [Equation(tensor[i], order, x[i, j] * y[k], op) for tensor, order in orders]
        program = Program([*equations, Equation(w[i], (i,), one[i] - 3 * two[i])], (w,))
        return len(changed_by(share, program, given()).equations)

    assert [reduced(op) for op in ("sum", "max", "logsumexp", "argmax")] == [2, 2, 2, 3]


def test_a_transposed_definition_is_another_one() -> None:
    """All widths are equal, so only the order of the indices tells them apart."""
    program = Program(
        [
            Equation(u[i, j], (i, j, k), x[i, k] * y[j]),
            Equation(v[i, j], (i, j, k), x[j, k] * y[i]),
            Equation(w[i], (i, j), u[i, j] * v[i, j] * y[j]),
        ],
        (w,),
    )
    assert len(changed_by(share, program, given()).equations) == 3


@pytest.mark.parametrize("difference", ["op", "where", "range", "second equation", "kind"])
def test_definitions_that_differ_at_all_stay_apart(difference: str) -> None:
    short = Index("k", 3)
    one, two = Tensor("one", (4,)), Tensor("two", (4,), "value", "integer" if difference == "kind" else "real")
    rhs: Any = sp.Integer(2) if difference == "kind" else x[i, k]
    first = Equation(one[i], (i, k), rhs)
    second = {
        "op": Equation(two[i], (i, k), rhs, "max"),
        "where": Equation(two[i], (i, k), rhs, "sum", k < i),
        "range": Equation(two[i], (i, short), x[i, short]),
        "second equation": Equation(two[i], (i, k), rhs),
        "kind": Equation(two[i], (i, k), rhs),
    }[difference]
    more = [Equation(two[i], (i,), y[i])] if difference == "second equation" else []
    last = Equation(w[i], (i,), one[i] - 3 * two[i])
    after = changed_by(share, Program([first, second, *more, last], (w,)), given())
    assert {e.tensor for e in after.equations} == {one, two, w}


def test_equal_sums_of_equations_are_one_in_whatever_order_they_stand() -> None:
    parts = [(j, x[i, j]), (None, y[i])]
    equations = [
        Equation(t[i], (i,) if bound is None else (i, bound), rhs)
        for t, order in ((Tensor("p", (4,)), parts), (Tensor("q", (4,)), parts[::-1]))
        for bound, rhs in order
    ]
    p, q = equations[0].tensor, equations[-1].tensor
    program = Program([*equations, Equation(w[i], (i,), p[i] * q[i])], (w,))
    after = changed_by(share, program, given())
    assert [e.tensor for e in after.equations] == [p, p, w]


def test_an_output_equal_to_another_tensor_keeps_its_name() -> None:
    program = Program([Equation(u[i, j], (i, j), exp(x[i, j])), Equation(v[j, i], (i, j), exp(x[j, i]))], (u, v))
    after = changed_by(share, program, given())
    assert [e.tensor for e in after.equations] == [u, v] and count(after, exp) == 1


def test_a_contribution_that_stands_twice_counts_twice() -> None:
    twice = Equation(u[i, j], (i, j), exp(x[i, j]))
    other = Equation(v[i, j], (i, j), y[i] * exp(x[i, j]))
    after = changed_by(share, Program([twice, twice, other], (u, v)), given())
    assert lines(after) == [
        "exp_x[i,j] = exp(x[i,j])",
        "u[i,j] = exp_x[i,j]",
        "u[i,j] = exp_x[i,j]",
        "v[i,j] = y[i]*exp_x[i,j]",
    ]


def recurrence(shift: int) -> Program:
    """h[t+1] = tanh(h[t] + y[t]) and a reader of tanh(h[t+shift] + y[t])."""
    t = Index("t", 4)
    h, out = Tensor("h", (5,)), Tensor("out", (4,))
    return Program(
        [
            Equation(h[0], (), y[0]),
            Equation(h[t + 1], (t,), tanh(h[t] + y[t])),
            Equation(out[t], (t,), 2 * tanh(h[t + shift] + y[t])),
        ],
        (out,),
    )


def test_inside_a_recurrence_the_value_of_the_same_step_is_read() -> None:
    after = changed_by(share, recurrence(0), given())
    assert count(after, tanh) == 1 and "out[t] = 2*h[t + 1]" in lines(after)


def test_the_value_of_another_step_is_not_read() -> None:
    assert count(changed_by(share, recurrence(1), given()), tanh) == 2


def test_a_value_that_another_equation_adds_to_is_not_the_function_it_was() -> None:
    first, more = Equation(u[i, j], (i, j), exp(x[i, j])), Equation(u[i, i], (i,), y[i])
    last = Equation(w[i], (i, j), u[i, j] * exp(x[i, j]))
    after = changed_by(share, Program([first, more, last], (w,)), given())
    assert count(after, exp) == 1 and "u[i,j] = exp_x[i,j]" in lines(after)


def test_a_shared_scalar_has_the_axes_of_its_owner_in_the_owner_s_order() -> None:
    """Time first, although the expression names it last."""
    t, n = Index("t", 4), Index("n", 4)
    first = Equation(u[t, n], (t, n), y[n] * sin(y[n] * x[n, t]))
    after = changed_by(share, Program([first, Equation(v[n, t], (n, t), 1 + sin(y[n] * x[n, t]))], (u, v)), given())
    assert lines(after)[0] == "sin_y[t,n] = sin(y[n]*x[n,t])"


def test_a_shared_scalar_over_a_range_that_begins_later_is_stored_from_zero() -> None:
    late = Index("l", 4, 2)
    equations = [
        Equation(w[late], (late,), exp(y[late])),
        Equation(Access(Tensor("s")), (late,), 3 * y[late] * exp(y[late])),
    ]
    extra = Equation(w[late], (late,), y[late])
    after = changed_by(share, Program([*equations, extra], (w, equations[1].tensor)), given())
    assert count(after, exp) == 1 and "exp_y[l - 2] = exp(y[l])" in lines(after)


def test_what_stands_only_inside_a_shared_scalar_gets_no_tensor_of_its_own() -> None:
    rhs = tanh(logistic(x[i, j]))
    program = Program([Equation(u[i, j], (i, j), 2 * rhs), Equation(v[i, j], (i, j), 3 + rhs)], (u, v))
    after = changed_by(share, program, given())
    assert len(after.equations) == 3 and count(after, logistic) == 1


def test_a_scalar_inside_a_scalar_is_shared_with_what_stands_outside() -> None:
    inner = logistic(x[i, j])
    for outer in (tanh(inner), sin(inner)):
        equations = [Equation(u[i, j], (i, j), 2 * outer), Equation(v[i, j], (i, j), 3 * inner)]
        after = changed_by(share, Program(equations, (u, v)), given())
        assert count(after, logistic) == 1 and len(after.equations) == 3
        more = Equation(w[i], (i, j), outer + y[j])
        after = changed_by(share, Program([*equations, more], (u, v, w)), given())
        assert (count(after, logistic), count(after, type(outer)), len(after.equations)) == (1, 1, 5)


def test_equal_integers_are_one_also_as_subscripts_on_the_left() -> None:
    one, two = (Tensor(name, (4,), "value", "integer") for name in ("one", "two"))
    label = Tensor("label", (4,), "input", "integer")
    program = Program(
        [
            Equation(one[i], (i,), label[i] + 1),
            Equation(two[j], (j,), label[j] + 1),
            Equation(w[two[i]], (i,), y[i], "sum", two[i] > 0),
            Equation(w[one[i]], (i, j), x[i, two[j]]),
        ],
        (w,),
    )
    after = changed_by(share, program, given() | {"label": np.array([1, 0, 2, 7])})
    assert two not in after.definitions


def test_equal_recurrences_are_one_up_to_the_names_of_indices() -> None:
    first, second = Tensor("first", (4, 4)), Tensor("second", (4, 4))
    equations = [
        Equation(tensor[a, b], (a, b), tanh(tensor[a - 1, b]) * x[a, b] + tensor[a, b - 1])
        for tensor, a, b in ((first, i, j), (second, k, i))
    ]
    program = Program([*equations, Equation(w[i], (i, j), first[i, j] - 3 * second[i, j])], (w,))
    after = changed_by(share, program, given())
    assert {e.tensor for e in after.equations} >= {w} and second not in after.definitions
    across = equations[0], Equation(second[i, j], (i, j), tanh(second[i, j - 1]) * x[i, j] + second[i - 1, j])
    program = Program([*across, Equation(w[i], (i, j), first[i, j] - 3 * second[i, j])], (w,))
    assert second in changed_by(share, program, given()).definitions


def test_what_no_root_needs_goes() -> None:
    dead = Equation(v[i, j], (i, j), exp(x[i, j]))
    program = Program([dead, Equation(w[i], (i, j), x[i, j] + v[i, j] * 0)], (w,))
    assert len(changed_by(share, program, given()).equations) == 1


def test_the_names_of_indices_do_not_depend_on_where_the_program_came_from() -> None:
    def written(a: Index, b: Index, c: Index) -> list[str]:
        return lines(share(Program([Equation(u[a, b], (a, b, c), x[a, c] * x[c, b] + exp(y[c]))], (u,))))

    names = [Index(name, 4) for name in ("i17", "i", "i3")]
    assert written(*names) == written(*(Index(name, 4) for name in ("i", "i1", "i2")))


def test_a_classifier_has_one_exponential_after_stabilizing_and_sharing() -> None:
    program, values = network([3, 4, 3])
    after = changed_by(share, changed_by(stabilize, program, values), values)
    assert count(program, exp) == count(after, exp) == 1 and len(after.equations) == len(program.equations) + 3


def test_what_is_written_outside_of_a_tensor_is_no_definition() -> None:
    t, a, b, s = Index("t", 4), Tensor("a", (4,)), Tensor("b", (4,)), Tensor("s", (4,), "input")
    for place in (t, t - 1):
        program = Program([Equation(a[place], (t,), exp(s[t])), Equation(b[t], (t,), exp(s[t]))], (a, b))
        after = changed_by(share, program, {"s": np.linspace(-1, 1, 4)})
        assert count(after, exp) == 1
