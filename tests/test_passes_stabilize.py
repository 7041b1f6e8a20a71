"""Stabilize: the same numbers where they were finite, and finite numbers where net inputs are large."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
import sympy as sp
from sympy import Expr, Symbol, erf, exp, log, tanh

from compiler.functions import expm1, log1p, logistic, softplus
from compiler.passes.rewriting import rewrite
from compiler.passes.stabilize import stabilize, stable_scalar
from compiler.program import Access, Equation, Index, Program, Tensor
from symnet.oracle.reference import evaluate

from .rewrites import changed_by, count, lines, network

x = Symbol("x", real=True)

SCALARS: list[tuple[Expr, Expr]] = [
    (log(1 + exp(x)), softplus(x)),
    (log(1 + exp(-2 * x)), softplus(-2 * x)),
    (log(3 + 2 * exp(x)), softplus(x + log(sp.Rational(2, 3))) + log(3)),
    (log(exp(x) + exp(2 * x)), softplus(x) + x),
    (log(1 / (1 + exp(-x))), -softplus(-x)),
    (log(logistic(x)), -softplus(-x)),
    (log(1 - logistic(x)), -softplus(x)),
    (1 - logistic(x), logistic(-x)),
    (3 - 3 * logistic(x), 3 * logistic(-x)),
    (1 / (1 + exp(x)), logistic(-x)),
    (exp(x) / (1 + exp(x)), logistic(x)),
    (1 / (2 + 3 * exp(x)), logistic(-x - log(sp.Rational(3, 2))) / 2),
    (exp(x) / (exp(x) + exp(-x)), logistic(2 * x)),
    (exp(-x) / (1 + exp(-x)) ** 2, logistic(x) * logistic(-x)),
    ((exp(x) - exp(-x)) / (exp(x) + exp(-x)), tanh(x)),
    (exp(x) / (3 * exp(x) + 2 * exp(-x)), logistic(2 * x - log(sp.Rational(2, 3))) / 3),
    ((5 * exp(x) - 5 * exp(-x)) / (2 * exp(x) + 2 * exp(-x)), 5 * tanh(x) / 2),
    (log(2 * logistic(x)), log(2) - softplus(-x)),
    (log(logistic(x) ** 3 * exp(2 * x)), 2 * x - 3 * softplus(-x)),
    (log(x * logistic(x)), log(x * logistic(x))),  # the sign of x is not known
    (exp(x) - 1, expm1(x)),
    (1 - exp(-x), -expm1(-x)),
    (2 * exp(x) - 2, 2 * expm1(x)),
    (log(1 + x), log1p(x)),
    (log1p(exp(x)), softplus(x)),
    (log1p(1 + x), log1p(1 + x)),
    (1 - erf(x), sp.erfc(x)),
    (2 - 2 * erf(x) + x, 2 * sp.erfc(x) + x),
    (1 - tanh(x) ** 2, 1 - tanh(x) ** 2),
    (x * exp(x) + 1, x * exp(x) + 1),
]


@pytest.mark.parametrize(("naive", "stable"), SCALARS, ids=[str(naive) for naive, _ in SCALARS])
def test_scalar_forms_become_their_stable_forms(naive: Expr, stable: Expr) -> None:
    assert rewrite(naive, stable_scalar, {}) == stable


@pytest.mark.parametrize(("naive", "stable"), SCALARS, ids=[str(naive) for naive, _ in SCALARS])
def test_stable_forms_have_the_value_of_the_naive_ones(naive: Expr, stable: Expr) -> None:
    """At 60 digits, where the naive form cannot overflow."""
    written_out = {logistic: logistic.definition, softplus: softplus.definition}
    plain = stable.replace(expm1, expm1.definition).replace(log1p, log1p.definition)
    for function, definition in written_out.items():
        plain = plain.replace(function, definition)
        naive = naive.replace(function, definition)
    for point in ("0.3", "-0.7", "2.5", "17"):
        found, wanted = (e.subs(x, sp.Float(point, 60)).evalf(60) for e in (plain, naive))
        assert abs(found - wanted) <= abs(wanted) * sp.Float("1e-40") + sp.Float("1e-60")


def test_a_sum_of_four_exponentials_is_stable_and_a_longer_one_is_left_as_it_is() -> None:
    four = exp(x) + exp(-x) + exp(3 * x) + exp(5 * x)
    assert not rewrite(log(four), stable_scalar, {}).has(log)
    assert rewrite(log(four + exp(2 * x)), stable_scalar, {}) == log(four + exp(2 * x))


@pytest.mark.parametrize("loss", ["labels", "distributions"])
def test_softmax_is_one_exponential_shared_by_loss_and_gradient(loss: str) -> None:
    program, values = network([3, 4, 3], tanh, loss)
    after = changed_by(stabilize, program, values)
    assert count(after, exp) == 1
    assert "z2_exp[n,k] = exp(-z2_max[n] + z2[n,k])" in lines(after)
    assert "d_z2[n,k] = d_lse[n]*z2_exp[n,k]/z2_sum[n]" in lines(after)
    assert [e.op for e in after.equations].count("logsumexp") == 0


@pytest.mark.parametrize("loss", ["labels", "distributions"])
@pytest.mark.parametrize("size", [30.0, 1e2, 1e4])
def test_loss_and_gradient_are_accurate_for_net_inputs_up_to_ten_thousand(loss: str, size: float) -> None:
    program, values = network([2, 4], loss=loss)
    values["x"] = np.array([[size, -size], [size, size], [0.5, -size], [-size, 0], [1, 1]])
    values["W1"] = np.array([[1, 0.3], [-0.9, 1], [0.99999, 0.3], [0, 0]])
    values["b1"] = np.array([0.1, -0.2, 0.3, 0.0])
    with np.errstate(over="raise", invalid="raise"):
        found = evaluate(stabilize(program), values)
    with mpmath.workdps(60):
        loss_value, gradient = _by_hand(values, loss)
    assert abs(found["loss"] - loss_value) <= 1e-13 * max(1, loss_value)
    np.testing.assert_allclose(found["d_W1"], gradient, rtol=1e-12, atol=1e-12 * size)


def _by_hand(values: dict[str, Any], loss: str) -> tuple[float, np.ndarray[Any, Any]]:
    """Softmax cross-entropy of one dense layer and its gradient in 60 digits."""
    rows = len(values["x"])
    gradient = values["W1"] * 0.3
    total = mpmath.mpf(0)
    for row, target in zip(values["x"], values["y"], strict=True):
        z = [mpmath.fdot(w, row) + b for w, b in zip(values["W1"], values["b1"], strict=True)]
        y = target if loss == "distributions" else np.eye(4)[target]
        lse = mpmath.log(mpmath.fsum(map(mpmath.exp, z)))
        total += mpmath.fsum(t * (lse - v) for t, v in zip(y, z, strict=True)) / rows
        delta = [float(mpmath.exp(v - lse) * mpmath.fsum(y) - t) for v, t in zip(z, y, strict=True)]
        gradient = gradient + np.outer(delta, row) / rows
    return float(total), gradient


def masked_rows() -> tuple[Program, dict[str, Any]]:
    """A causal mask that leaves the first row empty: logsumexp over k < q, with its gradient."""
    q, k = Index("q", 4), Index("k", 4)
    s, top = Tensor("s", (4, 4), "parameter"), Tensor("top", (4,))
    given = Tensor("given", (4,), "input")
    d_s = Tensor("d_s", (4, 4))
    program = Program(
        [
            Equation(top[q], (q, k), s[q, k], "logsumexp", k < q),
            Equation(d_s[q, k], (q, k), exp(s[q, k] - top[q]) * given[q], "sum", k < q),
        ],
        (top, d_s),
    )
    rng = np.random.default_rng(0)
    return program, {"s": rng.normal(size=(4, 4)) * 5, "given": rng.normal(size=4)}


def test_rows_that_are_masked_whole_give_minus_infinity_and_no_gradient() -> None:
    program, values = masked_rows()
    after = changed_by(stabilize, program, values)
    found = evaluate(after, values)
    assert found["top"][0] == -np.inf
    assert (found["d_s"][0] == 0).all() and np.isfinite(found["d_s"]).all()
    assert found["d_s"][2, :2].sum() == pytest.approx(values["given"][2])
    assert all(e.where is not sp.true for e in after.equations[:3])


def test_outside_the_condition_of_the_logsumexp_the_exponential_is_not_zero() -> None:
    """p without the mask, and with another mask: exp(s - lse) is what it says, also where the logsumexp had no term."""
    q, k = Index("q", 4), Index("k", 4)
    program, values = masked_rows()
    p, stricter = Tensor("p", (4, 4)), Tensor("stricter", (4, 4))
    s, top = program.equations[0].rhs.tensor, program.equations[0].tensor
    more = [
        Equation(p[q, k], (q, k), exp(s[q, k] - top[q]), "sum", q > 0),
        Equation(stricter[q, k], (q, k), exp(s[q, k] - top[q]), "sum", sp.And(k < q, k > 0)),
    ]
    after = changed_by(stabilize, Program((*program.equations, *more), (*program.outputs, p, stricter)), values)
    assert (evaluate(after, values)["p"][1:] > 0).all()
    assert "p[q,k] = exp(-top[q] + s[q,k])  where q > 0" in lines(after)
    assert "stricter[q,k] = s_exp[q,k]/s_sum[q]" in str(after)


def test_a_mask_written_as_a_choice_is_the_condition_of_the_logsumexp() -> None:
    """p = (exp(s - lse) if k < q else 0) is one exponential; under another choice it is what it says."""
    q, k = Index("q", 4), Index("k", 4)
    program, values = masked_rows()
    p, other = Tensor("p", (4, 4)), Tensor("other", (4, 4))
    s, top = program.equations[0].rhs.tensor, program.equations[0].tensor
    value = exp(s[q, k] - top[q])
    more = [
        Equation(p[q, k], (q, k), sp.Piecewise((value, k < q), (0, True))),
        Equation(other[q, k], (q, k), sp.Piecewise((0, sp.Eq(q, 0)), (value, True))),
    ]
    after = changed_by(stabilize, Program((*program.equations, *more), (*program.outputs, p, other)), values)
    assert "p[q,k] = Piecewise((s_exp[q,k]/s_sum[q], k < q), (0, True))" in lines(after)
    assert "other[q,k] = Piecewise((0, Eq(q, 0)), (exp(-top[q] + s[q,k]), True))" in lines(after)
    assert not evaluate(after, values)["p"][0].any()


def test_an_exponential_of_another_row_is_not_taken_for_softmax() -> None:
    """exp(z[i,k] - lse[j]) with rows of equal length: only the row's own logsumexp bounds it."""
    i, j, k = Index("i", 3), Index("j", 3), Index("k", 3)
    z, lse, t = Tensor("z", (3, 3), "input"), Tensor("lse", (3,)), Tensor("t", (3, 3, 3))
    program = Program(
        [
            Equation(lse[i], (i, k), z[i, k], "logsumexp"),
            Equation(t[i, j, k], (i, j, k), exp(z[i, k] - lse[j]) + exp(z[k, i] - lse[k])),
        ],
        (t,),
    )
    after = changed_by(stabilize, program, {"z": np.random.default_rng(1).normal(size=(3, 3))})
    assert lines(after)[-1] == "t[i,j,k] = exp(-lse[j] + z[i,k]) + z_exp[k,i]/z_sum[k]"


def test_an_exponential_beside_the_range_of_the_reduction_is_not_taken_for_softmax() -> None:
    """z[n,k+1] with k up to the last column reads 0 there, which is no element of the sum."""
    k = Index("k", 3)
    z, lse, t = Tensor("z", (3,), "input"), Tensor("lse"), Tensor("t", (3,))
    equations = [Equation(Access(lse), (k,), z[k], "logsumexp"), Equation(t[k], (k,), exp(z[k + 1] - Access(lse)))]
    after = changed_by(stabilize, Program(equations, (t,)), {"z": np.array([0.3, -1.0, 2.0])})
    assert "exp(z[k + 1] - lse[])" in str(after).replace("-lse[] + z[k + 1]", "z[k + 1] - lse[]")


def test_a_quotient_of_exponentials_with_other_factors_than_numbers_stays() -> None:
    a, b, c = (Symbol(name, real=True) for name in "abc")
    naive = (c * exp(a) + 2 * exp(b)) / (exp(a) + exp(b))
    assert not rewrite(naive, stable_scalar, {}).has(logistic)
    assert rewrite(naive.subs(c, 3), stable_scalar, {}).has(logistic)
