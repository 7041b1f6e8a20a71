"""Split: sums that can be matrix products are products of two plain accesses; nothing else changes."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import sympy as sp
from sympy import Piecewise, exp

from compiler.passes.split_products import split_products
from compiler.program import Access, Equation, Index, Program, Tensor

from .rewrites import changed_by, lines, network

i, j, k, n = Index("i", 4), Index("j", 4), Index("k", 4), Index("n", 4)
x, y, m = (Tensor(name, (4, 4), "input") for name in "xym")
v = Tensor("v", (4,), "input")
label = Tensor("label", (4,), "input", "integer")
table = Tensor("table", (4, 4), "input", "integer")
w, s, t = Tensor("w", (4, 4)), Tensor("s"), Tensor("t", (4,))
rng = np.random.default_rng(0)
GIVEN: dict[str, Any] = {name: rng.normal(size=(4, 4)) for name in "xym"} | {
    "v": rng.normal(size=4),
    "label": np.array([1, 3, 0, 7]),
    "table": rng.integers(0, 5, (4, 4)),
}


def split(*equations: Equation, values: dict[str, Any] | None = None) -> list[str]:
    outputs = tuple(dict.fromkeys(e.tensor for e in equations))
    return lines(changed_by(split_products, Program(equations, outputs), values or GIVEN))


def products(program: Program) -> list[Equation]:
    """Sums of exactly two accesses, each of which has an index that the other has not."""
    return [
        e
        for e in program.equations
        if e.bound and e.rhs.is_Mul and len(e.rhs.args) == 2 and all(isinstance(f, Access) for f in e.rhs.args)
    ]


def test_every_matrix_product_of_a_network_is_pure() -> None:
    program, values = network([3, 4, 4, 2])
    after = changed_by(split_products, program, values)
    assert len(products(program)) == 5 and len(products(after)) == 8  # the gradients of the weights had a factor 1/N
    assert "d_W2_product[i,j] = sum_n a1[n,j]*d_z2[n,i]" in lines(after)
    assert "d_W2[i,j] = d_W2_product[i,j]/N" in lines(after)


def test_a_factor_that_is_not_summed_goes_out() -> None:
    found = split(Equation(w[i, j], (i, j, k), exp(v[i]) * x[i, k] * y[k, j]))
    assert found == ["w_product[i,j] = sum_k x[i,k]*y[k,j]", "w[i,j] = exp(v[i])*w_product[i,j]"]


def test_a_factor_inside_another_is_multiplied_into_it_and_named() -> None:
    step = Piecewise((0, x[n, i] <= 0), (m[n, i], True))
    found = split(Equation(w[n, j], (n, j, i), step * v[i] * y[i, j]))
    assert found[0] == "w_factor[n,i] = Piecewise((0, x[n,i] <= 0), (m[n,i], True))*v[i]"
    assert found[1] == "w[n,j] = sum_i w_factor[n,i]*y[i,j]" or found[1] == "w[n,j] = sum_i y[i,j]*w_factor[n,i]"


def test_equal_factors_of_two_sums_are_one_tensor() -> None:
    step = Piecewise((0, x[n, i] <= 0), (m[n, i], True))
    u = Tensor("u", (4, 4))
    found = split(Equation(w[n, j], (n, j, i), step * y[i, j]), Equation(u[i, j], (i, j, n), step * x[n, j]))
    assert [line for line in found if "Piecewise" in line] == found[:1] and len(found) == 3


def test_a_gathered_operand_is_named_and_a_row_outside_stays_zero() -> None:
    found = split(Equation(w[n, j], (n, j, k), x[label[n], k] * y[k, j]))
    assert found == ["w_factor[n,k] = x[label[n],k]", "w[n,j] = sum_k w_factor[n,k]*y[k,j]"]


def test_a_scattered_product_is_computed_plainly_first() -> None:
    found = split(Equation(w[label[n], j], (n, j, k), x[n, k] * y[k, j]))
    assert found == ["w_product[n,j] = sum_k x[n,k]*y[k,j]", "w[label[n],j] = w_product[n,j]"]


def test_three_factors_are_contracted_in_the_cheapest_order() -> None:
    """A[2,64] B[64,64] C[64,64]: from the left 16 thousand multiplications, from the right 270 thousand."""
    a, b, c, d = Index("a", 2), Index("b", 64), Index("c", 64), Index("d", 64)
    left, middle = Tensor("A", (2, 64), "input"), Tensor("B", (64, 64), "input")
    right, out = Tensor("C", (64, 64), "input"), Tensor("out", (2, 64))
    values = {t.name: rng.normal(size=[int(e) for e in t.shape]) for t in (left, middle, right)}
    found = split(Equation(out[a, d], (a, d, b, c), left[a, b] * middle[b, c] * right[c, d]), values=values)
    assert found == ["out_part[a,c] = sum_b A[a,b]*B[b,c]", "out[a,d] = sum_c C[c,d]*out_part[a,c]"]


def test_the_cheapest_first_step_is_not_taken_where_the_rest_then_costs_more() -> None:
    """C D alone is cheapest, but then 600 multiplications are needed; from B C on it is 258."""
    letters = [Index(name, n) for name, n in zip("abcde", (5, 8, 8, 2, 5), strict=True)]
    tensors = [Tensor(name, (p.high, q.high), "input") for name, (p, q) in zip("ABCD", pairwise(letters), strict=True)]
    values = {t.name: rng.normal(size=[int(e) for e in t.shape]) for t in tensors}
    a, b, c, d, e = letters
    out, rhs = Tensor("out", (5, 5)), sp.Mul(*(t[p, q] for t, (p, q) in zip(tensors, pairwise(letters), strict=True)))
    found = split(Equation(out[a, e], (a, e, b, c, d), rhs), values=values)
    assert found == [
        "out_part[b,d] = sum_c B[b,c]*C[c,d]",
        "out_part_2[a,d] = sum_b A[a,b]*out_part[b,d]",
        "out[a,e] = sum_d D[d,e]*out_part_2[a,d]",
    ]


def test_a_small_factor_joins_what_is_neither_sparse_nor_plain_else_the_smaller_one() -> None:
    sparse, long = Tensor("S", (4, 4), "constant", "real", True), Tensor("long", (4, 9), "input")
    values = GIVEN | {"S": np.eye(4)[::-1] * 2, "long": rng.normal(size=(4, 9))}
    found = split(Equation(w[i, j], (i, k, j), sparse[i, k] * v[k] * y[k, j]), values=values)
    assert found[0] == "w_factor[k,j] = v[k]*y[k,j]"
    found = split(Equation(w[i, j], (i, k, j), x[i, k] * v[k] * exp(y[k, j])))
    assert found[0] == "w_factor[k,j] = exp(y[k,j])*v[k]"
    m9, out = Index("m9", 9), Tensor("out", (4, 9))
    found = split(Equation(out[i, m9], (i, k, m9), x[i, k] * v[k] * long[k, m9]), values=values)
    assert found[0] == "out_factor[i,k] = v[k]*x[i,k]"


@pytest.mark.parametrize("factors", [3, 4, 5, 6, 7])
def test_chains_of_any_length_end_in_products_of_two(factors: int) -> None:
    """All widths equal: an index that is captured changes the result."""
    letters = [Index(name, 3) for name in "abcdefgh"]
    tensors = [Tensor(f"A{f}", (3, 3), "input") for f in range(factors)]
    out = Tensor("out", (3, 3))
    rhs = sp.Mul(*(t[letters[f], letters[f + 1]] for f, t in enumerate(tensors)))
    domain = (letters[0], letters[factors], *letters[1:factors])
    program = Program([Equation(out[letters[0], letters[factors]], domain, rhs)], (out,))
    values = {t.name: rng.normal(size=(3, 3)) for t in tensors}
    after = changed_by(split_products, program, values)
    assert len(products(after)) == len(after.equations) == factors - 1


def test_an_index_that_only_one_factor_has_is_summed_first() -> None:
    found = split(Equation(w[i, j], (i, j, k, n), x[i, k] * y[j, n]))
    assert found[:2] == ["w_part[i] = sum_k x[i,k]", "w_part_2[j] = sum_n y[j,n]"]
    assert found[2] == "w[i,j] = w_part[i]*w_part_2[j]"


def test_what_is_summed_first_is_not_summed_again() -> None:
    cube = Tensor("cube", (4, 4, 4), "input")
    found = split(
        Equation(w[i, j], (i, j, k, n), exp(v[i]) * x[i, k] * cube[k, j, n]),
        values=GIVEN | {"cube": rng.normal(size=(4, 4, 4))},
    )
    assert found == [
        "w_part[j,k] = sum_n cube[k,j,n]",
        "w_product[i,j] = sum_k w_part[j,k]*x[i,k]",
        "w[i,j] = exp(v[i])*w_product[i,j]",
    ]


def test_a_trilinear_form_becomes_two_steps() -> None:
    cube = Tensor("cube", (4, 4, 4), "input")
    program = Program([Equation(w[n, i], (n, i, j, k), cube[i, j, k] * x[n, j] * y[n, k])], (w,))
    after = changed_by(split_products, program, GIVEN | {"cube": rng.normal(size=(4, 4, 4))})
    assert len(after.equations) == 2 and len(after.equations[0].domain) == 4 and len(after.equations[1].domain) == 3


@pytest.mark.parametrize(
    "equation",
    [
        Equation(s[()], (i, j), x[i, j] ** 2),  # a norm
        Equation(t[i], (i, k), x[i, k] * y[i, k] / 3),  # a dot product of rows
        Equation(t[i], (i, k), x[i, k] * y[i, k] + v[i] * v[k]),
        Equation(t[i], (i, k), x[i, k] * v[k]),  # a matrix times a vector: v is inside x
        Equation(s[()], (i, j), x[i, j] * v[i] * v[j]),
        Equation(w[i, j], (i, j, k), x[i, k] * y[k, j]),  # pure already
        Equation(w[i, j], (i, j, k), x[i, k] * y[k, j] / 2, "sum", k < i),
        Equation(w[i, j], (i, j, k), x[i, k] * y[k, j] / 2, "max"),
        Equation(w[i, j], (i, j), x[i, j] * v[i] * v[j]),
        Equation(Tensor("c", (4, 4), "value", "integer")[i, j], (i, j, k), 2 * table[i, k] * table[k, j]),
    ],
    ids=str,
)
def test_reductions_conditions_and_maps_stay_as_they_are(equation: Equation) -> None:
    assert split(equation) == [str(equation)]


def test_ranges_that_do_not_begin_at_zero() -> None:
    late = Index("late", 4, 2)
    found = split(Equation(w[late, j], (late, j, k), exp(v[late]) * x[late, k] * y[k, j]))
    assert found[0] == "w_product[late - 2,j] = sum_k x[late,k]*y[k,j]"
    split(Equation(w[i, j], (i, j, late), exp(v[late]) * x[i, late] * y[late, j]))
    split(Equation(s[()], (i, late, j, k), x[i, late] * y[late, j] * m[j, k] * v[k]))


def test_a_sum_of_products_and_of_others_is_taken_apart() -> None:
    """A product that is pure already is one also beside something else."""
    found = split(Equation(w[i, j], (i, k, j), x[i, k] * y[k, j] + v[k] * x[i, j] * exp(v[i])))
    assert found == ["w[i,j] = sum_k x[i,k]*y[k,j]", "w[i,j] = sum_k exp(v[i])*v[k]*x[i,j]"]


def test_a_sparse_factor_stays_a_factor_of_its_own() -> None:
    sparse = Tensor("S", (4, 4), "constant", "real", True)
    values = GIVEN | {"S": np.eye(4)[::-1] * 2}
    found = split(Equation(w[i, j], (i, j, k), sparse[i, k] * y[k, j] / 3), values=values)
    assert found[0] == "w_product[i,j] = sum_k S[i,k]*y[k,j]"
    both = Equation(w[i, j], (i, j, k), sparse[i, k] * x[i, k] * y[k, j])
    assert split(both, values=values) == [str(both)]


def test_each_term_of_a_sum_is_a_product_of_its_own() -> None:
    found = split(Equation(w[i, j], (i, j, k), x[i, k] * y[k, j] / 2 + m[i, k] * m[j, k] / 3 + x[i, k]))
    assert sum("_product" in line.split("=")[0] for line in found) == 2
    assert "w[i,j] = sum_k x[i,k]" in found


def test_inside_a_recurrence_the_shift_stays() -> None:
    step, h = Index("t", 3), Tensor("h", (4, 4, 4))
    found = split(
        Equation(h[0, n, i], (n, i), x[n, i]),
        Equation(h[step + 1, n, i], (step, n, i, k), h[step, n, k] * y[k, i] / 2),
    )
    assert found == [
        "h[0,n,i] = x[n,i]",
        "h_product[t,n,i] = sum_k y[k,i]*h[t,n,k]",
        "h[t + 1,n,i] = h_product[t,n,i]/2",
    ]
