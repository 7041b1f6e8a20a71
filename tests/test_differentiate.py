"""The one rule: every gradient is judged by the 50-digit complex step of the loss itself (see `tolerance`)."""

from __future__ import annotations

import gc
import time
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import sympy as sp
from sympy import Expr, Integer, Piecewise, Rational

from compiler.functions import logistic, softplus, uniform
from compiler.program import Access, Equation, Index, Program, Tensor, size
from compiler.verify import verify
from symnet.differentiate import partial_derivatives, pullback, pushforward
from symnet.oracle.numerical import program_gradient
from symnet.oracle.reference import evaluate
from symnet.oracle.reference_mp import complex_step, hessian, magnitudes

from .tolerance import check_gradient, check_tangent, gradient_program, judge

loss = Tensor("loss")
NAN = float("nan")


def parameter(name: str, *shape: Expr | int) -> Tensor:
    return Tensor(name, shape, "parameter")


def data(name: str, *shape: Expr | int, kind: str = "real") -> Tensor:
    return Tensor(name, shape, "input", kind)


def draw(*tensors: Tensor, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {t.name: rng.uniform(-1.5, 1.5, [int(n) for n in t.shape]) for t in tensors}


def square(tensor: Tensor, weights: bool = True) -> Equation:
    """loss += sum of weighted squares of the elements, so that every element matters, and each differently"""
    domain = tuple(Index(letter, n) for letter, n in zip("pqrs", tensor.shape, strict=False))
    weight = 1 + sum((k + 2) * i for k, i in enumerate(domain)) if weights else Integer(1)
    return Equation(Access(loss), domain, weight * Access(tensor, *domain) ** 2)


def gradient(equations: list[Equation], wrt: list[Tensor], values: dict[str, Any], **sizes: int) -> dict[str, Any]:
    """Without judging it: for points at kinks and the like, where the test knows the answer."""
    program = gradient_program(equations, loss, wrt)
    verify(program)
    found = evaluate(program, values, sizes)
    return {t.name: found[adjoint.name].tolist() for t, adjoint in zip(wrt, program.outputs[1:], strict=True)}


# ---------------------------------------------------------------------------------------------- networks
def network(
    rows: Expr | int, widths: list[int], activation: Any = sp.tanh
) -> tuple[list[Equation], list[Tensor], list[Tensor]]:
    """equations (always with the same letters n, i, j), parameters, inputs of a dense network with logsumexp loss"""
    n = Index("n", rows)
    below: Tensor = data("x", rows, widths[0])
    inputs, parameters, equations = [below, data("y", rows, widths[-1])], [], []
    for level, (columns, units) in enumerate(pairwise(widths), 1):
        W, b = parameter(f"W{level}", units, columns), parameter(f"b{level}", units)
        z, a = Tensor(f"z{level}", (rows, units)), Tensor(f"a{level}", (rows, units))
        i, j = Index("i", units), Index("j", columns)
        equations += [Equation(z[n, i], (n, i, j), W[i, j] * below[n, j]), Equation(z[n, i], (n, i), b[i])]
        parameters += [W, b]
        below = z
        if level < len(widths) - 1:
            equations.append(Equation(a[n, i], (n, i), activation(z[n, i])))
            below = a
    ell, total, i = Tensor("ell", (rows,)), Tensor("lse", (rows,)), Index("i", widths[-1])
    equations += [
        Equation(total[n], (n, i), below[n, i], "logsumexp"),
        Equation(ell[n], (n,), total[n]),
        Equation(ell[n], (n, i), -inputs[1][n, i] * below[n, i]),
        Equation(loss[()], (n,), ell[n] / rows),
    ]
    return equations, parameters, inputs


SHAPES = [(3, [3, 3, 3, 3]), (2, [3, 4, 5, 2]), (1, [1, 1, 1, 1]), (3, [1, 3, 1, 3]), (1, [2, 1, 2]), (4, [2, 2])]


@pytest.mark.parametrize(("rows", "widths"), SHAPES, ids=str)
def test_gradient_of_networks_of_equal_distinct_and_single_widths(rows: int, widths: list[int]) -> None:
    equations, parameters, inputs = network(rows, widths)
    check_gradient(equations, loss, parameters, draw(*parameters, *inputs))


@pytest.mark.parametrize(
    "activation", [logistic, softplus, sp.erf, lambda z: z * logistic(z), lambda z: z * sp.erfc(-z) / 2]
)
def test_gradient_through_functions(activation: Any) -> None:
    equations, parameters, inputs = network(2, [2, 2, 2], activation)
    check_gradient(equations, loss, parameters, draw(*parameters, *inputs))


def test_sizes_may_be_symbols() -> None:
    equations, parameters, _ = network(size("N"), [2, 3, 2])
    values = draw(*parameters) | {"x": draw(data("x", 4, 2))["x"], "y": draw(data("y", 4, 2))["y"]}
    check_gradient(equations, loss, parameters, values, {"N": 4})


def test_indices_of_one_name_and_different_ranges_are_not_captured() -> None:
    A, B, C = parameter("A", 2, 3), parameter("B", 3, 2), Tensor("C", (2, 2))
    i, j, k = Index("i", 2), Index("j", 3), Index("j", 2)
    equations = [Equation(C[i, k], (i, k, Index("k", 3)), A[i, Index("k", 3)] * B[Index("k", 3), k])]
    D = Tensor("D", (2,))
    equations += [Equation(D[k], (k, i), C[k, i] * C[i, k]), square(D)]
    check_gradient(equations, loss, [A, B], draw(A, B))
    assert j != k


# ---------------------------------------------------------------------------------------------- one equation
i, j, k = Index("i", 3), Index("j", 3), Index("k", 3)
n = Index("n", 2)
W, V, v, X = parameter("W", 3, 3), parameter("V", 3, 3), parameter("v", 3), data("X", 2, 3)
u, w, y = Tensor("u", (3,)), Tensor("w", (3, 3)), Tensor("y", (2, 3))

ONE = {
    "a quadratic form": [Equation(loss[()], (i, j), v[i] * W[i, j] * v[j])],
    "a quadratic form of rows": [Equation(y[n, i], (n, i, j), X[n, i] * W[i, j] * v[j] * v[i]), square(y)],
    "a square of a matrix": [Equation(w[i, k], (i, j, k), W[i, j] * W[j, k]), square(w)],
    "a product with the transpose": [Equation(w[i, k], (i, j, k), W[i, j] * W[k, j]), square(w)],
    "a diagonal": [Equation(u[i], (i,), W[i, i] ** 2 + v[i]), square(u)],
    "a trace of a product": [Equation(loss[()], (i, j), W[i, j] * V[j, i] * W[j, i])],
    "one element twice in a function": [
        Equation(u[i], (i,), sp.sin(v[i]) * sp.exp(-v[i]) / (1 + v[i] ** 2)),
        square(u),
    ],
    "neighbours": [Equation(u[i], (i,), v[i] * v[i + 1] + sp.tanh(v[i - 1])), square(u)],
    "a power of one element by another": [Equation(u[i], (i, j), (2 + sp.tanh(W[i, j])) ** v[i]), square(u)],
    "a constant element": [Equation(u[i], (i,), v[0] * W[i, 2] + v[2] ** 2 * v[i]), square(u)],
    "a mirrored subscript": [Equation(u[i], (i,), v[2 - i] * sp.cos(v[i])), square(u)],
    "a scalar into a matrix": [Equation(w[i, j], (i, j), v[1] * i + sp.cos(v[2] * j)), square(w)],
    "a row into a matrix": [Equation(w[i, j], (i, j), v[j] + v[i] * W[i, j]), square(w)],
    "a sum over an unused index": [Equation(u[i], (i, j, k), sp.sin(v[i])), square(u)],
    "a row sum and a total": [Equation(u[i], (i, j), W[i, j] ** 3), Equation(u[i], (j, k, i), V[j, k] / 9), square(u)],
    "three factors": [Equation(u[i], (i, j, k), W[i, j] * V[j, k] * v[k]), square(u)],
    "a shift on the left": [Equation(u[i + 1], (i,), v[i] ** 2), Equation(u[0], (), W[0, 0] * v[1]), square(u)],
    "a stride on the left": [Equation(u[2 * i], (i, j), sp.tanh(v[i]) * W[i, j]), square(u)],
    "a diagonal on the left": [Equation(w[i, i], (i,), v[i] ** 2), Equation(w[i, j], (i, j), W[i, j]), square(w)],
    "a condition on indices": [Equation(u[i], (i, j), W[i, j] * v[j], "sum", sp.Or(j < i, sp.Eq(j, 2))), square(u)],
    "a condition in a Piecewise": [
        Equation(u[i], (i, j), Piecewise((W[i, j] ** 2, j > i), (v[j] * W[j, i], sp.Eq(i, j)), (v[i], True))),
        square(u),
    ],
    "a comparison of reals": [
        Equation(u[i], (i, j), Piecewise((v[i] ** 2, W[i, j] > Rational(1, 7)), (v[i] * W[i, j], True))),
        square(u),
    ],
    "random factors": [
        Equation(w[i, j], (i, j), Piecewise((0, uniform(1, i, j) < 0.3), (v[i] * W[i, j] / 0.7, True))),
        square(w),
    ],
}


@pytest.mark.parametrize("name", ONE)
def test_gradient_of(name: str) -> None:
    wrt = [t for t in Program(ONE[name], (loss,)).tensors if t.role == "parameter"]
    check_gradient(ONE[name], loss, wrt, draw(W, V, v, X, seed=3))


def test_a_power_of_almost_one_keeps_the_digits_of_what_it_is_above_one() -> None:
    check_gradient(
        [Equation(loss[()], (i, n), (1 + X[n, i] ** 2) ** v[i])], loss, [v], {**draw(v), "X": [[1e-6] * 3] * 2}
    )


def test_a_parameter_in_two_equations_gets_the_sum() -> None:
    encoded, decoded = Tensor("encoded", (2, 3)), Tensor("decoded", (2, 3))
    equations = [
        Equation(encoded[n, i], (n, i, j), W[i, j] * X[n, j]),
        Equation(decoded[n, j], (n, i, j), W[i, j] * sp.tanh(encoded[n, i])),
        square(decoded),
        Equation(loss[()], (i, j), W[i, j] ** 2 / 2),
    ]
    check_gradient(equations, loss, [W], draw(W, X))


def test_equal_contributions_count_each_and_are_written_once() -> None:
    equations = [*[Equation(u[i], (i, j), v[i] ** 2 * W[i, j])] * 2, *[Equation(loss[()], (i,), sp.sin(u[i]))] * 3]
    check_gradient(equations, loss, [v, W], draw(v, W))
    derived = pullback(equations, {loss: 1}, [v, W]).equations
    assert len(set(derived)) == len(derived) == 3
    tangents = pushforward(equations, {v: data("t_v", 3)}, [loss]).equations
    assert len(set(tangents)) == len(tangents) == 2


def test_a_parameter_that_is_not_used_has_gradient_zero() -> None:
    equations = [Equation(loss[()], (i,), v[i] ** 2)]
    assert gradient(equations, [v, W], draw(v, W))["W"] == [[0.0] * 3] * 3


def test_a_tensor_that_matters_only_to_a_condition_has_gradient_zero() -> None:
    gate = Tensor("gate", (3,))
    equations = [
        Equation(gate[i], (i,), sp.tanh(W[i, i])),
        Equation(u[i], (i,), Piecewise((v[i], gate[i] > 0), (2 * v[i], True))),
        square(u),
    ]
    got = check_gradient(equations, loss, [v, W], draw(v, W))
    assert not got["W"].any()
    assert got["v"].all()


def test_where_the_slope_is_zero_nothing_is_derived() -> None:
    """A tensor that only a comparison reads: no contribution, and no argmax for a maximum of such."""
    chosen = Piecewise((v[i], W[i, j] > 0), (2 * v[i], True))
    assert [access for access, _ in partial_derivatives(Equation(u[i], (i, j), chosen))] == [v[i]]
    equations = [Equation(u[i], (i, j), Piecewise((1, W[i, j] > 0), (2, True)), "max"), square(u)]
    assert "argmax" not in "".join(map(str, pullback(equations, {loss: 1}, [W]).equations))
    assert "argmax" not in "".join(map(str, pushforward(equations, {W: data("t_W", 3, 3)}, [loss]).equations))


def test_identically_cancelling_gradients_are_judged_fairly() -> None:
    equations = [Equation(u[i], (i,), v[i]), Equation(u[i], (i,), -v[i]), Equation(loss[()], (i,), sp.sin(u[i]) + v[i])]
    assert check_gradient(equations, loss, [v], draw(v))["v"].tolist() == [1.0, 1.0, 1.0]


# ---------------------------------------------------------------------------------------------- maxima
def test_a_maximum_passes_its_adjoint_to_the_first_of_equals() -> None:
    table = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0], [-1.0, -5.0, 0.0]])
    equations = [Equation(u[i], (i, j), W[i, j], "max"), Equation(loss[()], (i,), (i + 1) * u[i])]
    assert gradient(equations, [W], {"W": table})["W"] == [[0, 1, 0], [2, 0, 0], [0, 0, 3]]
    turned = [Equation(loss[()], (j, i), W[i, j], "max")]
    assert gradient(turned, [W], {"W": np.full((3, 3), 7.0)})["W"] == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
    table[0, 2] = table[2, 1] = 9
    assert gradient(turned, [W], {"W": table})["W"] == [
        [0, 0, 0],
        [0, 0, 0],
        [0, 1, 0],
    ]  # j runs first: (1, 2) < (2, 0)


def test_gradient_of_maxima() -> None:
    two = Tensor("two", (2,))
    equations = [
        Equation(u[i], (i, j, k), W[i, j] * sp.tanh(v[k]) + V[k, j], "max"),
        Equation(two[n], (n, i, j), W[i, j] * X[n, i], "max", i <= j),
        square(u),
        square(two),
    ]
    check_gradient(equations, loss, [W, V, v], draw(W, V, v, X, seed=5))


def test_a_maximum_over_a_window_inside_the_image() -> None:
    image, pooled = parameter("image", 5), Tensor("pooled", (3,))
    tap = Index("t", 3)
    inside = sp.And(2 * i + tap - 1 >= 0, 2 * i + tap - 1 < 5)
    equations = [Equation(pooled[i], (i, tap), image[2 * i + tap - 1], "max", inside), square(pooled)]
    got = check_gradient(equations, loss, [image], {"image": [-3.0, -1.0, -2.0, -1.5, -4.0]})
    assert got["image"].tolist() == [0, 2 * -1.0 * (1 + 3), 0, 2 * -1.5 * 5, 0]


def test_a_maximum_of_nothing_has_gradient_zero() -> None:
    equations = [
        Equation(u[i], (i, j), W[i, j] ** 2, "max", j < i),
        Equation(loss[()], (i,), Piecewise((u[i], i > 0), (0, True))),
    ]
    got = check_gradient(equations, loss, [W], draw(W))
    assert not got["W"][0].any()
    assert got["W"][1, 0] != 0


def test_a_maximum_over_no_index_is_a_map() -> None:
    equations = [Equation(u[i], (i,), sp.sin(v[i]), "max"), square(u)]
    check_gradient(equations, loss, [v], draw(v))


def test_bounds_that_do_not_begin_at_zero() -> None:
    late, high = Index("j", 3, 1), Index("k", 3, 2)
    equations = [
        Equation(u[i], (i, late, high), W[i, late] * v[high] + late * v[i], "max"),
        square(u),
    ]
    check_gradient(equations, loss, [W, v], draw(W, v, seed=2))


def test_nothing_flows_through_argmax() -> None:
    best = Tensor("best", (3,), kind="integer")
    equations = [
        Equation(best[i], (i, j), W[i, j] * v[j], "argmax"),
        Equation(u[i], (i,), V[i, best[i]] + v[best[i]] ** 2 * best[i]),
        square(u),
    ]
    got = check_gradient(equations, loss, [W, V, v], draw(W, V, v, seed=1))
    assert not got["W"].any()
    assert np.count_nonzero(got["V"]) == 3


# ---------------------------------------------------------------------------------------------- logsumexp
def test_gradient_of_logsumexp() -> None:
    equations = [
        Equation(u[i], (i, j, k), W[i, j] * v[k] - V[k, j] ** 2, "logsumexp"),
        Equation(loss[()], (i, j), sp.sin(u[i]) * W[i, j], "logsumexp"),
    ]
    check_gradient(equations, loss, [W, V, v], draw(W, V, v))


def test_the_gradient_of_logsumexp_is_a_softmax_without_overflow() -> None:
    equations = [Equation(loss[()], (i,), v[i], "logsumexp")]
    for point, softmax in (([1e4, -1e4, 1e4], [0.5, 0, 0.5]), ([-1e4, -1e4, -2e4], [0.5, 0.5, 0])):
        np.testing.assert_allclose(gradient(equations, [v], {"v": point})["v"], softmax, rtol=1e-12)


def test_a_causal_mask() -> None:
    weights, total, mixed = Tensor("weights", (3, 3)), Tensor("total", (3,)), Tensor("mixed", (3,))
    equations = [
        Equation(total[i], (i, j), W[i, j] * v[j], "logsumexp", j <= i),
        Equation(weights[i, j], (i, j), sp.exp(W[i, j] * v[j] - total[i]), "sum", j <= i),
        Equation(mixed[i], (i, j), weights[i, j] * V[j, i]),
        square(mixed),
    ]
    got = check_gradient(equations, loss, [W, V, v], draw(W, V, v))
    assert not np.triu(got["W"], 1).any()


def test_a_row_that_is_masked_whole_has_gradient_zero() -> None:
    ids = data("ids", 3, kind="integer")
    equations = [
        Equation(u[i], (i, j), W[i, j] + v[j], "logsumexp", j < ids[i]),
        Equation(loss[()], (i,), Piecewise((sp.sin(u[i]), ids[i] > 0), (0, True))),
        Equation(loss[()], (i,), logistic(u[i])),  # of -inf: 0, with slope 0
    ]
    values = draw(W, v) | {"ids": [2, 0, 3]}
    got = gradient(equations, [W, v], values)
    assert got["W"][1] == [0, 0, 0]
    assert got["W"][0][2] == 0
    assert np.isfinite(got["v"]).all()
    assert np.all(np.abs(got["W"][2]) > 0)


# ---------------------------------------------------------------------------------------------- subscripts
def test_a_gather_adds_up_over_equal_ids_and_drops_those_outside() -> None:
    E, ids, e = parameter("E", 4, 2), data("ids", 5, kind="integer"), Tensor("e", (5, 2))
    t, f = Index("t", 5), Index("f", 2)
    equations = [Equation(e[t, f], (t, f), E[ids[t], f]), Equation(loss[()], (t, f), (t + 1) * (f + 1) * e[t, f])]
    got = check_gradient(equations, loss, [E], draw(E) | {"ids": [1, 3, 1, -1, 4]})
    assert got["E"].tolist() == [[0, 0], [4, 8], [0, 0], [2, 4]]


def test_gathers_on_both_sides_and_inside_gathers() -> None:
    E, ids, other = parameter("E", 3, 3), data("ids", 3, kind="integer"), data("other", 3, kind="integer")
    equations = [
        Equation(w[ids[i], j], (i, j), E[other[ids[i]], j] * E[j, ids[i] + 1]),
        Equation(w[i, i], (i,), E[ids[i], other[i]]),
        square(w),
    ]
    check_gradient(equations, loss, [E], draw(E) | {"ids": [2, 0, 2], "other": [1, 0, 1]})


def test_labels_as_integers() -> None:
    logits, label, total = parameter("logits", 2, 3), data("label", 2, kind="integer"), Tensor("total", (2,))
    equations = [
        Equation(total[n], (n, k), logits[n, k], "logsumexp"),
        Equation(loss[()], (n,), total[n] - logits[n, label[n]]),
    ]
    values = draw(logits) | {"label": [2, 0]}
    got = check_gradient(equations, loss, [logits], values)["logits"]
    p = np.exp(values["logits"]) / np.exp(values["logits"]).sum(1, keepdims=True)
    np.testing.assert_allclose(got, p - np.eye(3)[[2, 0]], atol=1e-15)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 1])
def test_convolution_with_stride(stride: int, padding: int) -> None:
    K, image, out = parameter("K", 2, 3), parameter("image", 2, 7), Tensor("out", (2, 3))
    tap, at, channel = Index("t", 3), Index("at", 3), Index("c", 2)
    equations = [
        Equation(
            out[n, at], (n, at, tap, channel), K[channel, tap] * image[channel, stride * at + tap - padding] * (n + 1)
        ),
        square(out),
    ]
    check_gradient(equations, loss, [K, image], draw(K, image))


def test_convolution_in_two_dimensions() -> None:
    K, image, out = parameter("K", 2, 2), parameter("image", 4, 4), Tensor("out", (2, 3))
    a, b, r, s = Index("a", 2), Index("b", 3), Index("r", 2), Index("s", 2)
    equations = [Equation(out[a, b], (a, b, r, s), K[r, s] * image[2 * a + r, b + s]), square(out)]
    check_gradient(equations, loss, [K, image], draw(K, image))


def test_a_sparse_constant() -> None:
    S = Tensor("S", (3, 3), "constant", "real", True)
    equations = [Equation(w[i, k], (i, j, k), S[i, j] * W[j, k]), square(w)]
    check_gradient(equations, loss, [W], draw(W) | {"S": np.diag([1.0, 0, 2.0]) + np.eye(3, k=1)})


# ---------------------------------------------------------------------------------------------- recurrences
T = 4
t = Index("t", T)
h = Tensor("h", (T, 3))
U, x, h0 = parameter("U", 3, 3), parameter("x", T, 3), parameter("h0", 3)


@pytest.mark.parametrize("step", [1, -1, 2])
def test_a_recurrence_through_time(step: int) -> None:
    pre = Tensor("pre", (T, 3))
    equations = [
        Equation(pre[t, i], (t, i, j), U[i, j] * h[t - step, j]),
        Equation(pre[t, i], (t, i), x[t, i] + v[i]),
        Equation(h[t, i], (t, i), sp.tanh(pre[t, i])),
        square(h),
    ]
    check_gradient(equations, loss, [U, x, v], draw(U, x, v))


def test_a_recurrence_with_a_learned_first_state_and_a_loss_at_its_end() -> None:
    states = Tensor("h", (T + 1, 3))
    equations = [
        Equation(states[0, i], (i,), h0[i]),
        Equation(states[t + 1, i], (t, i, j), sp.sin(U[i, j] * states[t, j])),
        Equation(states[t + 1, i], (t, i), x[t, i]),
        Equation(loss[()], (i,), (i + 1) * states[T, i] ** 2),
        Equation(loss[()], (t,), sp.tanh(states[t, 1])),
    ]
    check_gradient(equations, loss, [U, x, h0], draw(U, x, h0))


def test_equal_layers_as_a_recurrence_with_the_first_layer_different() -> None:
    layers, rows, width, columns = 3, 2, 3, 2
    first, weights = parameter("first", width, columns), parameter("weights", layers, width, width)
    bias, entry = parameter("bias", layers, width), data("entry", rows, columns)
    a = Tensor("a", (layers + 1, rows, width))
    level, c = Index("l", layers), Index("c", columns)
    z = Tensor("z", (layers, rows, width))
    equations = [
        Equation(a[0, n, i], (n, i, c), first[i, c] * entry[n, c]),
        Equation(z[level, n, i], (level, n, i, j), weights[level, i, j] * a[level, n, j]),
        Equation(z[level, n, i], (level, n, i), bias[level, i]),
        Equation(a[level + 1, n, i], (level, n, i), logistic(z[level, n, i])),
        Equation(loss[()], (n, i), (n + 2 * i + 1) * a[layers, n, i] ** 2),
    ]
    got = check_gradient(equations, loss, [first, weights, bias], draw(first, weights, bias, entry))
    assert all(np.abs(got["weights"][layer]).max() > 0 for layer in range(layers))


def test_a_first_layer_chosen_by_a_condition() -> None:
    level = Index("t", T)
    equations = [
        Equation(h[level, i], (level, i), Piecewise((h0[i], sp.Eq(level, 0)), (sp.tanh(v[i] * h[level - 1, i]), True))),
        square(h),
    ]
    check_gradient(equations, loss, [h0, v], draw(h0, v))


def test_two_states_that_need_each_other() -> None:
    cell = Tensor("cell", (T, 3))
    equations = [
        Equation(cell[t, i], (t, i, j), logistic(U[i, j] * h[t - 1, j]) * cell[t - 1, i] / 3),
        Equation(cell[t, i], (t, i), sp.tanh(x[t, i])),
        Equation(h[t, i], (t, i), sp.tanh(cell[t, i]) * logistic(v[i] * h[t - 1, i])),
        square(h),
        square(cell),
    ]
    check_gradient(equations, loss, [U, x, v], draw(U, x, v))


def test_a_recurrence_along_two_axes() -> None:
    grid, g = parameter("grid", 3, T), Tensor("g", (3, T))
    equations = [
        Equation(g[i, t], (i, t), sp.tanh(grid[i, t] * g[i - 1, t] + g[i, t - 1] / 2) + grid[i, t]),
        square(g),
    ]
    check_gradient(equations, loss, [grid], draw(grid))


def test_a_maximum_along_a_recurrence() -> None:
    best = Tensor("best", (T, 3))
    score = Tensor("score", (T, 3))
    equations = [
        Equation(best[t, i], (t, i, j), score[t - 1, j] + U[i, j], "max"),
        Equation(score[t, i], (t, i), best[t, i] + x[t, i]),
        Equation(loss[()], (i,), sp.tanh(score[T - 1, i])),
    ]
    check_gradient(equations, loss, [U, x], draw(U, x, seed=4))


def test_the_adjoint_of_a_recurrence_stands_before_its_readers() -> None:
    equations = [Equation(h[t, i], (t, i, j), sp.tanh(x[t, i] + U[i, j] * h[t - 1, j])), square(h)]
    program = gradient_program(equations, loss, [U, x])
    names = [e.tensor.name for e in program.equations]
    last = max(position for position, name in enumerate(names) if name == "d_h")
    assert all(last < position for position, name in enumerate(names) if name in ("d_U", "d_x"))


# ---------------------------------------------------------------------------------------------- seeds, names, carry
def test_the_sweep_is_seeded_per_sample_and_scaled_in_parameters() -> None:
    rows = size("N")
    equations, parameters, _ = network(rows, [2, 3, 2])
    ell = next(e.tensor for e in equations if e.tensor.name == "ell")
    forward = [e for e in equations if e.tensor != loss]
    derivation = pullback(forward, {ell: 1}, parameters, scale=1 / rows)
    program = Program((*equations, *derivation.equations), tuple(derivation.adjoints.values()))
    z1 = next(e.tensor for e in equations if e.tensor.name == "z1")
    values = draw(*parameters) | {"x": draw(data("x", 4, 2))["x"], "y": draw(data("y", 4, 2))["y"]}
    wanted = [derivation.adjoints[p] for p in (*parameters, z1)]
    found = evaluate(program, values, {"N": 4}, wanted)
    joint = check_gradient(equations, loss, parameters, values, {"N": 4})
    for p in parameters:
        np.testing.assert_allclose(found[f"d_{p.name}"], joint[p.name], rtol=1e-13)
    per_sample = complex_step(Program(equations, (ell,)), ell, values, {"b1": [1.0, 0, 0]}, {"N": 4})
    np.testing.assert_allclose(found["d_z1"][:, 0], per_sample.astype(float), rtol=1e-12)


def test_a_seed_may_be_a_tensor_an_expression_or_several() -> None:
    seed = data("seed", 3)
    forward = [Equation(u[i], (i, j), sp.tanh(W[i, j]) * v[j]), Equation(w[i, j], (i, j), W[i, j] * u[j])]
    weighted = [*forward, Equation(loss[()], (i,), seed[i] * u[i]), Equation(loss[()], (i, j), 3 * w[i, j])]
    values = draw(W, v, seed)
    expected = check_gradient(weighted, loss, [W, v], values)
    derivation = pullback(forward, {u: seed, w: 3}, [W, v])
    program = Program((*forward, *derivation.equations), tuple(derivation.adjoints[p] for p in (W, v)))
    verify(program)
    found = evaluate(program, values)
    for p in (W, v):
        np.testing.assert_allclose(found[f"d_{p.name}"], expected[p.name], rtol=1e-13)


def test_seeding_a_parameter_itself_adds_one() -> None:
    derivation = pullback([Equation(u[i], (i,), v[i] ** 2)], {u: 1, v: 5}, [v])
    program = Program((Equation(u[i], (i,), v[i] ** 2), *derivation.equations), (derivation.adjoints[v],))
    assert evaluate(program, {"v": [1.0, 2.0, 3.0]})["d_v"].tolist() == [7, 9, 11]


def test_adjoints_are_named_as_asked_and_never_take_a_name_in_use() -> None:
    d_v = parameter("d_v", 3)
    equations = [Equation(u[i], (i,), sp.tanh(v[i]) * d_v[i]), square(u)]
    values = draw(v, d_v)
    check_gradient(equations, loss, [v, d_v], values)
    derivation = pullback(
        equations, {loss: 1}, [v], name=lambda tensor: {"u": "delta"}.get(tensor.name, f"g_{tensor.name}")
    )
    assert [derivation.adjoints[q].name for q in (u, v)] == ["delta", "g_v"]
    seeded = pullback([Equation(u[i], (i,), v[i] ** 2)], {u: data("d_v", 3)}, [v])
    assert [str(e) for e in seeded.equations] == ["d_v_2[i] = 2*d_v[i]*v[i]"]


def test_all_parameters_share_one_sweep() -> None:
    equations, parameters, _ = network(2, [2, 2, 2, 2])
    derivation = pullback(equations, {loss: 1}, parameters)
    names = [e.tensor.name for e in derivation.equations]
    assert set(names) == {
        f"d_{q}" for q in ("W1", "b1", "z1", "a1", "W2", "b2", "z2", "a2", "W3", "b3", "z3", "lse", "ell")
    }
    assert all(names.count(f"d_{q}") == 1 for q in ("W1", "b1", "z1", "a1", "W2", "b2", "W3", "b3"))


def test_derivatives_of_integer_tensors_and_random_numbers_do_not_exist() -> None:
    ids = data("ids", 3, kind="integer")
    rhs = v[ids[i]] * ids[i] + uniform(1, i, ids[i])
    assert [a for a, _ in partial_derivatives(Equation(u[i], (i,), rhs))] == [v[ids[i]]]


def jacobian(
    equations: list[Equation], of: Tensor, wrt: list[Tensor], values: dict[str, Any], letter: str
) -> dict[str, Any]:
    """By carried indices: an identity tensor as the seed, the axes of `of` in front."""
    carry = tuple(Index(f"{letter}{axis}" if axis else letter, extent) for axis, extent in enumerate(of.shape))
    shape = [int(extent) for extent in of.shape]
    seed = data("identity", *of.shape, *of.shape)
    derivation = pullback(equations, {of: seed}, wrt, carry=carry)
    program = Program((*equations, *derivation.equations), tuple(derivation.adjoints[p] for p in wrt))
    verify(program)
    identity = np.eye(int(np.prod(shape))).reshape(*shape, *shape)
    found = evaluate(program, values | {"identity": identity})
    scale = magnitudes(program, values | {"identity": identity})
    for p in wrt:
        name = derivation.adjoints[p].name
        for at in np.ndindex(np.shape(values[p.name])):
            direction = np.zeros(np.shape(values[p.name]))
            direction[at] = 1
            reference = complex_step(Program(equations, (of,)), of, values, {p.name: direction})
            judge(name, found[name][(..., *at)], reference, scale[name][(..., *at)])
    return {p.name: found[derivation.adjoints[p].name] for p in wrt}


@pytest.mark.parametrize("letter", ["o", "i", "n", "j"])
def test_jacobians_by_carried_indices(letter: str) -> None:
    equations = [
        Equation(u[i], (i, j), sp.tanh(W[i, j] * v[j]), "logsumexp"),
        Equation(y[n, i], (n, i, j), X[n, j] * u[j] * W[i, j]),
        Equation(y[n, i], (n, i), v[i] * u[i], "sum", n < 1),
    ]
    got = jacobian(equations, y, [W, v], draw(W, v, X), letter)
    assert got["W"].shape == (2, 3, 3, 3)


def test_the_jacobian_of_a_maximum_and_of_a_recurrence() -> None:
    out = Tensor("out", (3,))
    equations = [
        Equation(h[t, i], (t, i, j), sp.tanh(x[t, j] + U[i, j] * h[t - 1, i])),
        Equation(out[i], (i, t), h[t, i] * (1 + t), "max"),
    ]
    jacobian(equations, out, [U, x], draw(U, x, seed=2), "t")


# ---------------------------------------------------------------------------------------------- forward mode
def test_forward_mode_of_outputs_of_any_rank() -> None:
    values = draw(U, x, v)
    equations = [
        Equation(h[t, i], (t, i, j), sp.tanh(x[t, i] + U[i, j] * h[t - 1, j])),
        Equation(u[i], (i, t), h[t, i] * v[i], "logsumexp", t > 0),
        Equation(w[i, j], (i, j, t), h[t, i] * u[j] + v[j], "max"),
    ]
    directions = {"U": np.ones((3, 3)), "x": np.arange(12.0).reshape(T, 3) - 5, "v": [1.0, -2.0, 0.5]}
    for of in (h, u, w):
        check_tangent(equations, of, values, directions)
    check_tangent(equations, w, values, {"v": [1.0, -2.0, 0.5]})


def test_the_tangent_of_what_does_not_depend_on_the_seeds_is_zero() -> None:
    equations = [Equation(u[i], (i,), v[i] ** 2), Equation(y[n, i], (n, i), X[n, i])]
    seed = data("t_v", 3)
    derivation = pushforward(equations, {v: seed}, [y, u])
    program = Program((*equations, *derivation.equations), (derivation.adjoints[y], derivation.adjoints[u]))
    verify(program)
    found = evaluate(program, draw(X) | {"v": [1.0, 2.0, 3.0], "t_v": [1.0, 1.0, 2.0]})
    assert not found["t_y"].any()
    assert found["t_u"].tolist() == [2, 4, 12]


def test_the_tangent_of_what_is_seeded_is_the_seed() -> None:
    seed = data("t_v", 3)
    derivation = pushforward([Equation(u[i], (i,), v[i] ** 2)], {v: seed}, [v, u])
    assert derivation.adjoints[v] == seed
    assert [str(e) for e in derivation.equations] == ["t_u[i] = 2*t_v[i]*v[i]"]


def test_reverse_forward_and_numerical_derivatives_agree() -> None:
    equations, parameters, inputs = network(3, [2, 3, 2])
    values = draw(*parameters, *inputs)
    reverse = check_gradient(equations, loss, parameters, values)  # forward mode is judged in there
    numerical = program_gradient(Program(equations, (loss,)), loss, parameters, values)
    for p in parameters:
        assert (np.abs(reverse[p.name] - numerical[p.name].value) <= 5 * numerical[p.name].error + 1e-12).all()
        assert (numerical[p.name].error < 1e-8).all()


# ---------------------------------------------------------------------------------------------- second derivatives
def small_network() -> tuple[list[Equation], list[Tensor], dict[str, Any]]:
    equations, parameters, inputs = network(2, [2, 2, 2])
    return equations, parameters, draw(*parameters, *inputs)


def flat(arrays: dict[str, Any], tensors: list[Tensor]) -> np.ndarray:
    return np.concatenate([np.asarray(arrays[p.name]).ravel() for p in tensors])


def test_hessian_vector_products_in_both_ways() -> None:
    equations, parameters, values = small_network()
    first = pullback(equations, {loss: 1}, parameters)
    vectors = {p: data(f"s_{p.name}", *p.shape) for p in parameters}
    given = values | draw(*vectors.values(), seed=9)
    direction = np.concatenate([given[s.name].ravel() for s in vectors.values()])
    expected = hessian(Program(equations, (loss,)), loss, values, parameters) @ direction

    seeds: dict[Tensor, Any] = {first.adjoints[p]: s for p, s in vectors.items()}
    both = (*equations, *first.equations)
    reverse = pullback(both, seeds, parameters)
    forward = pushforward(both, vectors, [first.adjoints[p] for p in parameters])
    for derivation, keys in ((reverse, parameters), (forward, [first.adjoints[p] for p in parameters])):
        program = Program((*both, *derivation.equations), tuple(derivation.adjoints[q] for q in keys))
        verify(program)
        found = evaluate(program, given)
        scale = magnitudes(program, given)
        judge("H v", flat(found, list(program.outputs)), expected, flat(scale, list(program.outputs)))


def test_the_full_hessian_of_a_small_network_by_carried_indices() -> None:
    equations, parameters, values = small_network()
    first = pullback(equations, {loss: 1}, parameters)
    both = (*equations, *first.equations)
    expected = hessian(Program(equations, (loss,)), loss, values, parameters)
    rows = []
    scales = []
    for p in parameters:
        carry = tuple(Index(letter, extent) for letter, extent in zip("ij", p.shape, strict=False))
        seed = data("identity", *p.shape, *p.shape)
        second = pullback(both, {first.adjoints[p]: seed}, parameters, carry=carry)
        program = Program((*both, *second.equations), tuple(second.adjoints[q] for q in parameters))
        verify(program)
        shape = [int(extent) for extent in p.shape]
        given = values | {"identity": np.eye(int(np.prod(shape))).reshape(*shape, *shape)}
        for result, into in ((evaluate(program, given), rows), (magnitudes(program, given), scales)):
            blocks = [result[second.adjoints[q].name].reshape(int(np.prod(shape)), -1) for q in parameters]
            into.append(np.concatenate(blocks, axis=1))
    found = np.concatenate(rows)
    judge("the Hessian", found, expected, np.concatenate(scales))
    np.testing.assert_allclose(found, found.T, atol=1e-14)


def test_a_loss_that_contains_a_derivative_with_respect_to_an_input() -> None:
    """R = f + sum of (df/dx)^2; its gradient by the parameters from the Hessian of f by inputs and parameters."""
    equations, parameters, inputs = network(2, [2, 2, 2])
    values = draw(*parameters, *inputs)
    entry = inputs[0]
    slope = pullback(equations, {loss: 1}, [entry])
    penalty, total = Tensor("penalty"), Tensor("R")
    d_x = slope.adjoints[entry]
    whole = [
        *equations,
        *slope.equations,
        Equation(penalty[()], (n, Index("i", 2)), d_x[n, Index("i", 2)] ** 2),
        Equation(total[()], (), loss[()] + penalty[()]),
    ]
    got = check_gradient(whole, total, parameters, values)

    exact = hessian(Program(equations, (loss,)), loss, values, [entry, *parameters])
    by_entry = check_gradient(equations, loss, [entry, *parameters], values)
    mixed = exact[4:, :4]
    expected = flat(by_entry, parameters) + 2 * mixed @ by_entry["x"].ravel()
    np.testing.assert_allclose(flat(got, parameters), expected.astype(float), rtol=1e-11, atol=1e-13)


def test_the_fourth_derivative_by_four_sweeps() -> None:
    equations = [Equation(loss[()], (i,), v[i] ** 5 + sp.exp(2 * v[i]))]
    above: Tensor = loss
    for order in range(1, 5):
        derivation = pullback(equations, {above: 1}, [v])
        equations += derivation.equations
        above = derivation.adjoints[v]
        assert above.name == ("d_v" if order == 1 else f"d_v_{order}")
    program = Program(equations, (above,))
    verify(program)
    at = np.array([-0.5, 0.1, 1.5])
    np.testing.assert_allclose(evaluate(program, {"v": at})[above.name], 120 * at + 16 * np.exp(2 * at), rtol=1e-14)


def test_second_derivatives_through_every_construct() -> None:
    ids = data("ids", 3, kind="integer")
    equations = [
        Equation(h[t, i], (t, i, j), sp.tanh(x[t, i] + U[i, j] * h[t - 1, j])),
        Equation(u[i], (i, t), h[t, ids[i]] * (t + 1), "logsumexp", t > 0),
        Equation(w[i, j], (i, j, t), h[t, i] * u[j], "max"),
        Equation(loss[()], (i, j), w[i, j] * softplus(u[j + 1])),
    ]
    values = draw(U, x) | {"ids": [2, 0, 2]}
    first = pullback(equations, {loss: 1}, [U, x])
    both = (*equations, *first.equations)
    inner = Tensor("inner")
    d_U = first.adjoints[U]
    product = Equation(inner[()], (i, j), d_U[i, j] * sp.cos(i + 2 * j))
    check_gradient((*both, product), inner, [U, x], values)


# ---------------------------------------------------------------------------------------------- kinks and NaN
def test_at_a_kink_the_branch_that_holds_gives_the_slope() -> None:
    relu = [Equation(loss[()], (i,), Piecewise((0, v[i] <= 0), (v[i], True)))]
    assert gradient(relu, [v], {"v": [0.0, 1.0, -1.0]})["v"] == [0, 1, 0]
    got = gradient(
        [Equation(loss[()], (i,), Piecewise((0, v[i] <= 0), (v[i] ** 2, True)))], [v], {"v": [NAN, 1.0, -1.0]}
    )
    assert np.isnan(got["v"][0])
    assert got["v"][1:] == [2, 0]


def test_a_branch_not_taken_does_not_poison_the_gradient() -> None:
    safe = Piecewise((sp.log(v[i]), v[i] > 0), (-(v[i] ** 2), True))
    got = gradient([Equation(loss[()], (i,), safe)], [v], {"v": [0.0, 2.0, -1.0]})
    assert got["v"] == [0, 0.5, 2]


# ---------------------------------------------------------------------------------------------- time
def test_derivation_time_is_linear_in_depth_and_100_layers_take_under_two_seconds() -> None:
    def seconds(layers: int) -> tuple[float, int]:
        equations, parameters, _ = network(size("N"), [4] * (layers + 1), sp.tanh)
        gc.collect()
        gc.disable()  # collections grow with everything that other tests have left
        start = time.process_time()
        derivation = pullback(equations, {loss: 1}, parameters)
        seconds = time.process_time() - start
        gc.enable()
        return seconds, len(derivation.equations)

    first, most = seconds(100)
    quick = min(seconds(25)[0] for _ in range(5))
    slow = min(seconds(100)[0] for _ in range(5))
    assert first < 2
    assert slow <= 6 * quick
    assert most - seconds(99)[1] == seconds(25)[1] - seconds(24)[1]


def test_a_recurrence_over_layers_has_the_same_derivation_at_any_depth() -> None:
    def printed(layers: int) -> str:
        level, a = Index("l", layers), Tensor("a", (layers + 1, 3))
        equations = [
            Equation(a[0, i], (i,), v[i]),
            Equation(a[level + 1, i], (level, i, j), sp.tanh(W[i, j] * a[level, j])),
            Equation(loss[()], (i,), a[layers, i]),
        ]
        return "\n".join(map(str, pullback(equations, {loss: 1}, [W, v]).equations))

    assert printed(20).replace("20", "200") == printed(200)
