"""Algebra: fewer and simpler equations of the same value; nothing is captured, nothing is read outside its range."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sympy as sp
from sympy import Eq, Piecewise, exp

from compiler.passes.simplify_algebra import simplify_algebra
from compiler.program import Access, Equation, Index, Program, Tensor
from symnet.differentiate import pullback
from symnet.oracle.reference import evaluate

from .rewrites import N, changed_by, lines, network

i, j, k, n = Index("i", 4), Index("j", 4), Index("k", 4), Index("n", N)
u, v, w, s = Tensor("u", (4, 4)), Tensor("v", (4, 4)), Tensor("w", (4,)), Tensor("s")
x, y = Tensor("x", (4, 4), "input"), Tensor("y", (4,), "input")
label = Tensor("label", (4,), "input", "integer")


def given(seed: int = 0, labels: tuple[int, ...] = (2, 0, 3, 3)) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {"x": rng.normal(size=(4, 4)), "y": rng.normal(size=4), "label": np.array(labels)}


def simplified(*equations: Equation, outputs: tuple[Tensor, ...], values: dict[str, Any] | None = None) -> list[str]:
    return lines(changed_by(simplify_algebra, Program(equations, outputs), values or given()))


# ---------------------------------------------------------------------------------------------- inlining
def test_the_adjoint_of_the_loss_is_a_number_and_goes() -> None:
    program, values = network([3, 4, 3])
    after = changed_by(simplify_algebra, program, values)
    assert len(after.equations) == len(program.equations) - 1
    assert "d_z2[n,k] = exp(-lse[n] + z2[n,k])" in lines(after)


def test_copies_go_transposed_and_in_chains() -> None:
    equations = [
        Equation(u[i, j], (i, j), x[j, i]),
        Equation(v[i, j], (i, j), u[i, j]),
        Equation(w[i], (i, j), v[i, j] * v[j, i] * y[j]),
    ]
    assert simplified(*equations, outputs=(w,)) == ["w[i] = sum_j y[j]*x[i,j]*x[j,i]"]


def test_a_copy_read_outside_its_range_is_zero_as_is_what_it_copies() -> None:
    long = Tensor("long", (5,), "input")
    values = given() | {"long": np.arange(1.0, 6)}
    copy, cut = Equation(w[i], (i,), y[i]), Equation(Tensor("cut", (4,))[i], (i,), long[i])
    last = Equation(Tensor("t", (4,))[i], (i,), w[i + 1] + 10 * cut.tensor[i + 1] + 100 * cut.tensor[i])
    found = simplified(copy, cut, last, outputs=(last.tensor,), values=values)
    assert found[-1] == "t[i] = 10*cut[i + 1] + 100*long[i] + y[i + 1]"


def test_a_number_read_by_a_gather_keeps_its_tensor_since_a_label_may_be_outside() -> None:
    found = simplified(
        Equation(w[i], (i,), sp.Integer(3)),
        Equation(u[i, j], (i, j), w[label[i]] * w[j]),
        outputs=(u,),
        values=given(labels=(2, 7, -1, 0)),
    )
    assert found[-1] == "u[i,j] = 3*w[label[i]]"


def test_a_slot_is_not_the_whole_tensor() -> None:
    h = Tensor("h", (4,))
    found = simplified(Equation(h[0], (), y[2]), Equation(w[i], (i,), h[i] + h[0]), outputs=(w,))
    assert found == ["h[0] = y[2]", "w[i] = h[i] + y[2]"]


def test_a_recurrence_is_not_unrolled() -> None:
    t, h = Index("t", 3), Tensor("h", (4,))
    found = simplified(
        Equation(h[0], (), y[0]), Equation(h[t + 1], (t,), h[t]), Equation(w[i], (i,), h[i]), outputs=(w,)
    )
    assert found == ["h[0] = y[0]", "h[t + 1] = h[t]", "w[i] = h[i]"]


def test_a_copy_of_a_parameter_reads_the_old_value() -> None:
    p, new, kept = Tensor("p", (4,), "parameter"), Tensor("p_next", (4,)), Tensor("kept", (4,))
    program = Program(
        [
            Equation(kept[i], (i,), p[i]),
            Equation(new[i], (i,), p[i] - y[i]),
            Equation(w[i], (i,), kept[i] * new[i]),
        ],
        (w, kept),
        ((p, new),),
    )
    after = changed_by(simplify_algebra, program, given() | {"p": np.arange(4.0)})
    assert lines(after) == ["kept[i] = p[i]", "p_next[i] = p[i] - y[i]", "w[i] = p[i]*p_next[i]"]


def test_inlining_does_not_capture_an_index_of_the_reader() -> None:
    equations = [
        Equation(u[i, j], (i, j), x[j, i]),
        Equation(w[j], (j, i), u[j, i] * y[i]),
        Equation(v[j, k], (j, k, i), u[k, i] * u[i, j]),
    ]
    found = simplified(*equations, outputs=(w, v))
    assert found == ["w[j] = sum_i y[i]*x[i,j]", "v[j,k] = sum_i x[i,k]*x[j,i]"]


def test_copies_of_integer_tensors_go_also_from_subscripts_on_the_left() -> None:
    copy, after_it = (Tensor(name, (4,), "value", "integer") for name in ("copy", "after_it"))
    reals = Tensor("reals", (4,))
    found = simplified(
        Equation(copy[i], (i,), label[i]),
        Equation(after_it[i], (i,), label[i] + 1),
        Equation(reals[i], (i,), label[i]),  # a real tensor of integers is no copy: it cannot be a subscript
        Equation(w[copy[i]], (i,), y[i]),
        Equation(y_out[i], (i,), y[copy[i]] + reals[i] + x[i, after_it[i]], "sum", copy[i] > 0),
        outputs=(w, y_out),
        values=given(labels=(2, 0, 2, 5)),
    )
    assert found == [
        "after_it[i] = label[i] + 1",
        "reals[i] = label[i]",
        "w[label[i]] = y[i]",
        "e[i] = reals[i] + y[label[i]] + x[i,after_it[i]]  where label[i] > 0",
    ]
    only_condition = Equation(w[i], (i,), y[i], "sum", copy[i] > 0)
    found = simplified(Equation(copy[i], (i,), label[i]), only_condition, outputs=(w,))
    assert found == ["w[i] = y[i]  where label[i] > 0"]


def test_a_sum_is_never_put_into_a_sum() -> None:
    found = simplified(Equation(w[i], (i, j), x[i, j] * y[j]), Equation(s[()], (i,), w[i] * y[i]), outputs=(s,))
    assert len(found) == 2


def test_sums_of_zeros_are_read_as_zero() -> None:
    zeros = [Equation(w[i], (i, j), sp.Integer(0)), Equation(w[label[i]], (i,), sp.Integer(0))]
    assert simplified(*zeros, Equation(y_out[i], (i,), w[i] + y[i]), outputs=(y_out,)) == ["e[i] = y[i]"]


def test_a_multiple_of_a_tensor_is_inlined_where_it_is_read_once() -> None:
    double = Equation(w[i], (i,), 2 * y[i])
    assert simplified(double, Equation(y_out[i], (i,), w[i] + 1), outputs=(y_out,)) == ["e[i] = 2*y[i] + 1"]
    twice = Equation(y_out[i], (i,), w[i] * w[3 - i])
    assert simplified(double, twice, outputs=(y_out,))[0] == "w[i] = 2*y[i]"
    other = Equation(w[i], (i,), y[i] ** 2)
    assert len(simplified(other, Equation(y_out[i], (i,), w[i] + 1), outputs=(y_out,))) == 2


def test_a_sparse_tensor_is_not_read_in_place_of_its_copy() -> None:
    sparse = Tensor("S", (4, 4), "constant", "real", True)
    found = simplified(
        Equation(u[i, j], (i, j), sparse[i, j]),
        Equation(v[i, j], (i, j), u[i, j] + x[i, j]),
        outputs=(v,),
        values=given() | {"S": np.eye(4)},
    )
    assert len(found) == 2


def test_a_copy_of_a_larger_tensor_is_not_read_outside_its_own_range() -> None:
    wide, cube = Tensor("wide", (5, 5), "input"), Tensor("cube", (4, 5, 4), "input")
    values = given() | {"wide": np.arange(25.0).reshape(5, 5), "cube": np.arange(80.0).reshape(4, 5, 4)}
    for copy in (
        Equation(w[i], (i,), wide[i, 2]),
        Equation(w[i], (i,), wide[i, i]),
        Equation(w[i], (i,), cube[i, i, 0]),
    ):
        found = simplified(copy, Equation(y_out[i], (i,), w[i + 1]), outputs=(y_out,), values=values)
        assert len(found) == 2, found
    diagonal = [Equation(w[i], (i,), x[i, i]), Equation(y_out[i], (i,), w[i + 1])]
    assert simplified(*diagonal, outputs=(y_out,)) == ["e[i] = x[i + 1,i + 1]"]


def test_hyper_parameters_are_inlined_where_that_is_cheap() -> None:
    beta, step = Tensor("beta", (), "hyper"), Tensor("step", (), "hyper", "integer")
    cheap, dear, longer = Tensor("cheap"), Tensor("dear"), Tensor("longer")
    found = simplified(
        Equation(cheap[()], (), beta[()] / 2),
        Equation(dear[()], (), 1 / (1 - beta[()] ** step[()])),
        Equation(longer[()], (), (beta[()] + 3) * (beta[()] - 2)),
        Equation(w[i], (i,), cheap[()] * y[i] + dear[()] + longer[()]),
        outputs=(w,),
        values=given() | {"beta": 0.9, "step": 3},
    )
    assert found[-1] == "w[i] = beta[]*y[i]/2 + dear[] + longer[]"


# ---------------------------------------------------------------------------------------------- conditions
def test_a_label_in_a_condition_becomes_a_gather_and_a_scatter() -> None:
    found = simplified(
        Equation(w[i], (i, k), -x[i, k], "sum", Eq(k, label[i])),
        Equation(u[i, k], (i, k), -y[i], "sum", Eq(label[i], k)),
        outputs=(w, u),
        values=given(labels=(2, 0, 9, -1)),
    )
    assert found == ["w[i] = -x[i,label[i]]", "u[i,label[i]] = -y[i]"]


def test_a_condition_stays_where_the_label_could_leave_the_range_unnoticed() -> None:
    """x[i,k+1] with k = -1 would read column 0; exp(x) at a column that is not there is 1."""
    equations = [
        Equation(w[i], (i, k), x[i, k + 1], "sum", Eq(k, label[i])),
        Equation(y_out[i], (i, k), exp(x[i, k]), "sum", Eq(k, label[i])),
    ]
    found = simplified(*equations, outputs=(w, y_out), values=given(labels=(2, -1, 7, 0)))
    assert found == [
        f"{line}  where Eq(k, label[i])" for line in ("w[i] = sum_k x[i,k + 1]", "e[i] = sum_k exp(x[i,k])")
    ]


y_out = Tensor("e", (4,))
late, short = Index("late", 4, 1), Index("short", 3)


@pytest.mark.parametrize(
    ("rhs", "index"),
    [
        (x[i, late], late),  # a label of 0 would be read
        (x[i, short], short),  # a label of 3 would be read
        (x[i, k] + y[i], k),  # y[i] does not know of the label
        (x[i, k] * exp(y[i]), k),  # 0 * inf
        (x[k, i] * exp(x[i, k]), k),
        (x[i, k] * y[i] + exp(x[i, k]), k),
    ],
    ids=str,
)
def test_a_label_is_put_in_place_of_an_index_only_where_nothing_happens_outside_its_range(
    rhs: Any, index: Index
) -> None:
    values = given(labels=(2, 0, 3, 9)) | {"y": np.array([1.0, 2, 3, 1000])}
    equation = Equation(w[i], (i, index), rhs, "sum", Eq(index, label[i]))
    assert simplified(equation, outputs=(w,), values=values) == [str(equation)]


def test_a_label_in_every_term_is_put_in_place_of_the_index() -> None:
    equation = Equation(w[i], (i, k), 2 * x[i, k] * y[i] - x[k, i] * y[k], "sum", Eq(k, label[i]))
    found = simplified(equation, outputs=(w,), values=given(labels=(2, 0, 3, 9)))
    assert found == ["w[i] = -y[label[i]]*x[label[i],i] + 2*y[i]*x[i,label[i]]"]


@pytest.mark.parametrize(
    ("index", "bound", "condition"),
    [(late, k, sp.true), (k, k, k < i), (short, k, sp.true), (k, Index("t", N - 1), sp.true)],
    ids=str,
)
def test_an_argmax_that_may_be_outside_the_range_of_an_index_does_not_take_its_place(
    index: Index, bound: Index, condition: Any
) -> None:
    best = Tensor("best", (4,), "value", "integer")
    equations = [
        Equation(best[i], (i, bound), x[i, bound], "argmax", condition),
        Equation(w[i], (i, index), exp(x[i, index]), "sum", Eq(index, best[i])),
    ]
    assert lines(simplify_algebra(Program(equations, (w,)))) == [str(e) for e in equations]
    if bound is k:
        simplified(*equations, outputs=(w,))


def test_an_argmax_takes_the_place_of_its_index_also_read_outside_its_range_where_it_is_zero() -> None:
    best = Tensor("best", (4,), "value", "integer")
    found = simplified(
        Equation(best[i], (i, j), x[i, j], "argmax"),
        Equation(w[i], (i, k), exp(x[i, k]), "sum", Eq(k, best[i + 1])),
        outputs=(w,),
    )
    assert found[1] == "w[i] = exp(x[i,best[i + 1]])"


def test_a_condition_that_gives_an_index_by_itself_is_left_alone() -> None:
    equation = Equation(w[i], (i, k), x[i, k], "sum", Eq(k, 3 - 2 * k, evaluate=False))
    assert simplified(equation, outputs=(w,)) == ["w[i] = sum_k x[i,k]  where Eq(k, 3 - 2*k)"]


def test_a_condition_of_a_maximum_is_not_solved() -> None:
    equation = Equation(w[i], (i, k), x[i, k], "max", Eq(k, i))
    assert simplified(equation, outputs=(w,)) == [str(equation)]
    idle = Equation(w[i], (i, j, k), x[i, k], "logsumexp")
    assert simplified(idle, outputs=(w,)) == [str(idle)]


def test_a_condition_between_indices_is_solved_and_the_rest_of_it_is_kept() -> None:
    found = simplified(
        Equation(w[i], (i, j, k), x[i, j] * y[k], "sum", sp.And(Eq(k, j), j < i)),
        Equation(u[i, j], (i, j), x[j, i] * y[j], "sum", Eq(i, j)),
        outputs=(w, u),
    )
    assert found[0] == "w[i] = sum_j y[j]*x[i,j]  where j < i"
    assert found[1] == "u[j,j] = y[j]*x[j,j]"


def test_a_condition_that_names_an_element_outside_writes_nothing() -> None:
    found = simplified(
        Equation(w[i - 1], (i,), y[i], "sum", Eq(i, 0)),
        Equation(w[i], (i,), x[i, i - 1], "sum", Eq(i, 0)),
        outputs=(w,),
    )
    assert all("-1]" not in line for line in found)


def test_the_adjoint_of_a_maximum_is_a_scatter_to_its_argmax() -> None:
    p, top, total = Tensor("p", (4, 4), "parameter"), Tensor("top", (4,)), Tensor("total")
    forward = [Equation(top[i], (i, k), p[i, k], "max"), Equation(total[()], (i,), top[i] * y[i])]
    sweep = pullback(forward, {total: 1}, [p])
    program = Program((*forward, *sweep.equations), (total, sweep.adjoints[p]))
    after = changed_by(simplify_algebra, program, given() | {"p": np.random.default_rng(3).normal(size=(4, 4))})
    assert "d_p[i,top_argmax[i]] = y[i]" in lines(after)


def test_the_adjoint_of_pooling_is_a_scatter_since_its_argmax_is_inside_the_window() -> None:
    o, tap = Index("o", 2), Index("tap", 2)
    p, pooled, total = Tensor("p", (4,), "parameter"), Tensor("pooled", (2,)), Tensor("total")
    forward = [Equation(pooled[o], (o, tap), p[2 * o + tap], "max"), Equation(total[()], (o,), pooled[o] ** 2)]
    sweep = pullback(forward, {total: 1}, [p])
    program = Program((*forward, *sweep.equations), (total, sweep.adjoints[p]))
    after = changed_by(simplify_algebra, program, {"p": np.array([0.3, -1.0, 2.0, 2.5])})
    assert "d_p[2*o + pooled_argmax[o]] = 2*pooled[o]" in "".join(lines(after)).replace(
        "pooled_argmax[o] + 2*o", "2*o + pooled_argmax[o]"
    )


def test_a_given_position_may_be_anywhere_unlike_an_argmax() -> None:
    """-1 in `label` would write into the window before."""
    o, tap, out = Index("o", 2), Index("tap", 4), Tensor("out", (8,))
    found = simplified(
        Equation(out[4 * o + tap], (o, tap), y[o], "sum", Eq(tap, label[o])),
        outputs=(out,),
        values=given(labels=(2, -1, 0, 0)),
    )
    assert found[0].endswith("where Eq(tap, label[o])")


def test_an_argmax_over_more_points_than_the_index_has_may_leave_its_range() -> None:
    """The condition then also says that nothing happens where the argmax is beyond."""
    short, best = Index("short", 3), Tensor("best", (4,), "value", "integer")
    found = simplified(
        Equation(best[i], (i, k), x[i, k], "argmax"),
        Equation(w[i], (i, short), x[i, short], "sum", Eq(short, best[i])),
        outputs=(w,),
    )
    assert found[-1] == "w[i] = sum_short x[i,short]  where Eq(short, best[i])"


# ---------------------------------------------------------------------------------------------- identities
@pytest.mark.parametrize("width", [1, 3, 4])
def test_a_jacobian_seeded_with_an_identity_has_no_identity_left(width: int) -> None:
    """The square width equals others, so a captured index would show."""
    a, b, o = Index("a", width), Index("b", 4), Index("o", width)
    weight, z, out = Tensor("W", (width, 4), "parameter"), Tensor("z", (width,)), Tensor("out", (width,))
    eye = Tensor("eye", (width, width))
    forward = [Equation(z[a], (a, b), weight[a, b] * y[b]), Equation(out[a], (a,), sp.tanh(z[a]))]
    sweep = pullback(forward, {out: eye}, [weight], carry=(o,))
    program = Program((*forward, Equation(eye[a, a], (a,), sp.Integer(1)), *sweep.equations), (sweep.adjoints[weight],))
    values = {"W": np.random.default_rng(0).normal(size=(width, 4)), "y": given()["y"]}
    after = changed_by(simplify_algebra, program, values)
    assert "eye" not in str(after) and len(after.equations) == len(program.equations) - 2
    jacobian = evaluate(after, values)["d_W"]
    slope = 1 - np.tanh(values["W"] @ values["y"]) ** 2
    np.testing.assert_allclose(jacobian, np.einsum("oa,a,b->oab", np.eye(width), slope, values["y"]), atol=1e-14)


def test_an_identity_in_a_sum_is_a_substitution() -> None:
    eye = Tensor("eye", (4, 4))
    found = simplified(
        Equation(eye[i, i], (i,), sp.Integer(1)),
        Equation(u[i, j], (i, j, k), x[i, k] * eye[k, j]),
        Equation(v[i, j], (i, j), eye[i, j] * y[j]),
        Equation(w[i], (i, j), eye[i, j] + x[i, j]),
        outputs=(u, v, w),
    )
    assert "u[i,j] = x[i,j]" in found and "v[j,j] = y[j]" in "".join(found).replace("v[i,i] = y[i]", "v[j,j] = y[j]")
    assert "eye[i,i] = 1" in found  # inside a sum of terms it stays


@pytest.mark.parametrize(
    "almost",
    [
        [Equation(u[i, i], (i,), sp.Integer(2))],
        [Equation(u[i, i], (i,), sp.Integer(1), "sum", i > 0)],
        [Equation(u[i, i], (i,), sp.Integer(1)), Equation(u[i, j], (i, j), sp.Integer(1))],
        [Equation(u[late, late], (late,), sp.Integer(1))],
        [Equation(u[short, short], (short,), sp.Integer(1))],
        [Equation(u[i, i], (i, n), sp.Integer(1))],
        [Equation(u[i, i + 1], (i,), sp.Integer(1))],
        [Equation(u[i, i], (i,), y[i])],
    ],
    ids=lambda equations: str(equations[0]) + "..." * (len(equations) - 1),
)
def test_what_is_almost_an_identity_is_none(almost: list[Equation]) -> None:
    product = Equation(v[i, j], (i, j, k), x[i, k] * u[k, j])
    program = Program([*almost, product], (v,))
    after = simplify_algebra(program)
    sizes = {"N": 3}
    np.testing.assert_allclose(evaluate(after, given(), sizes)["v"], evaluate(program, given(), sizes)["v"])
    assert u in after.definitions


def test_an_index_of_a_shorter_range_takes_the_place_of_the_longer_one() -> None:
    eye = Tensor("eye", (4, 4))
    one = Equation(eye[i, i], (i,), sp.Integer(1))
    found = simplified(one, Equation(y_out[j], (j, short), exp(y[short]) * eye[short, j]), outputs=(y_out,))
    assert found == ["e[short] = exp(y[short])"]
    found = simplified(one, Equation(y_out[j], (j, late), exp(y[late]) * eye[j, late]), outputs=(y_out,))
    assert found == ["e[late] = exp(y[late])"]


def test_an_identity_is_used_only_where_all_of_it_can_be() -> None:
    eye, cube = Tensor("eye", (4, 4)), Tensor("cube", (4, 4, 4))
    one, three = Equation(eye[i, i], (i,), sp.Integer(1)), Equation(cube[i, i, i], (i,), sp.Integer(1))
    found = simplified(
        one,
        three,
        Equation(w[i], (i, j), x[i, j] * eye[label[i], label[j]]),  # no index to solve for
        Equation(v[i, j], (i, j, k), x[i, k] * cube[k, label[i], label[j]]),
        Equation(y_out[i], (i, j, k), x[j, k] * cube[i, j, k]),
        Equation(s[()], (i, j, k), y[k] * eye[i, j] * eye[j, k] * x[i, k]),
        Equation(Tensor("t", (4,))[i], (i, j), eye[i, j + 1] * y[j]),
        outputs=(w, v, y_out, s, Tensor("t", (4,))),
        values=given(labels=(2, 0, 2, 7)),
    )
    text = "\n".join(found)
    assert "eye[label[i],label[j]]" in text and "cube[k,label[i],label[j]]" in text
    assert sum("eye" in line for line in found) == 3 and sum("cube" in line for line in found) == 2


# ---------------------------------------------------------------------------------------------- expressions
def test_infinity_times_the_piece_that_is_zero_is_zero() -> None:
    step = Piecewise((0, x[i, j] <= 0), (1, True))
    program = Program([Equation(u[i, j], (i, j), step * y[j] * exp(y[i]))], (u,))
    values = {"x": np.array([[1.0, -1, 0, 2]] * 4), "y": np.array([1.0, np.inf, np.inf, 800.0])}
    found = evaluate(simplify_algebra(program), values)["u"]
    assert (found[:, 1:3] == 0).all() and np.isnan(evaluate(program, values)["u"][:, 1]).any()
    assert lines(simplify_algebra(program)) == ["u[i,j] = Piecewise((0, x[i,j] <= 0), (exp(y[i])*y[j], True))"]


def test_nan_goes_through_the_pieces() -> None:
    step = Piecewise((0, x[i, j] <= 0), (1, True))
    program = Program([Equation(u[i, j], (i, j), step * y[j])], (u,))
    values = {"x": np.full((4, 4), -1.0), "y": np.ones(4)}
    values["x"][0, 0] = np.nan
    after = changed_by(simplify_algebra, program, values)
    assert evaluate(after, values)["u"][0, 0] == 1


def test_quotients_of_sums_cancel_where_that_saves_operations() -> None:
    found = simplified(
        Equation(w[i], (i,), (y[i] ** 2 - x[i, i] ** 2) / (y[i] - x[i, i])),
        Equation(y_out[i], (i,), (y[i] + 1) ** 3 / (2 + y[i])),
        Equation(u[i, j], (i, j), (y[i] + y[j]) ** 2 / (y[i] ** 2 + 2 * y[i] * y[j] + y[j] ** 2)),
        outputs=(w, y_out, u),
    )
    assert found == ["w[i] = y[i] + x[i,i]", "e[i] = (y[i] + 1)**3/(y[i] + 2)", "u[i,j] = 1"]


def test_a_sum_over_an_index_that_nothing_names_is_a_factor() -> None:
    program = Program([Equation(w[i], (i, j, n), x[i, j])], (w,))
    values = given() | {"rows": np.zeros(3)}
    after = simplify_algebra(program)
    assert lines(after) == ["w[i] = sum_j N*x[i,j]"]
    np.testing.assert_allclose(evaluate(after, values, {"N": 3})["w"], evaluate(program, values, {"N": 3})["w"])


def test_contributions_of_zero_go_but_a_tensor_of_zeros_stays_defined() -> None:
    found = simplified(
        Equation(w[i], (i,), y[i]),
        Equation(w[i], (i,), sp.Integer(0)),
        Equation(y_out[i], (i,), y[i], "sum", sp.false),
        outputs=(w, y_out),
    )
    assert found[0] == "w[i] = y[i]" and len(found) == 2


def test_a_tensor_of_several_equations_is_not_taken_for_one_of_them() -> None:
    """z = W x and z = b: both contribute."""
    found = simplified(
        Equation(w[i], (i,), y[i]), Equation(w[label[i]], (i,), y[i]), Equation(u[i, j], (i, j), w[i]), outputs=(u,)
    )
    assert found[-1] == "u[i,j] = w[i]"


def test_accesses_of_rank_zero_are_read_as_what_they_are() -> None:
    inner = Tensor("inner")
    found = simplified(Equation(Access(inner), (), y[0]), Equation(w[i], (i,), Access(inner) * y[i]), outputs=(w,))
    assert found == ["w[i] = y[0]*y[i]"]
