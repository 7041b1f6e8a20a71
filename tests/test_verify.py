"""Claims about `verify`: each violation of the language is found, named with its equation, and all of them at once."""

from __future__ import annotations

from itertools import pairwise

import pytest
import sympy as sp
from sympy import Expr, Integer, Piecewise, Rational, Symbol

from compiler.functions import logistic, uniform
from compiler.program import Access, Equation, Index, Program, ProgramError, Tensor, position, size
from compiler.verify import verify, violations

N = size("N")
n, i, j, k, t = Index("n", N), Index("i", 3), Index("j", 4), Index("k", 3), Index("t", 5)
x, W, b = Tensor("x", (N, 4), "input"), Tensor("W", (3, 4), "parameter"), Tensor("b", (3,), "parameter")
z, a, s = Tensor("z", (N, 3)), Tensor("a", (N, 3)), Tensor("s", (N,))
ids, label = Tensor("ids", (N,), "input", "integer"), Tensor("label", (N,), "target", "integer")
A = Tensor("A", (3, 4), "constant", "real", True)
affine_layer = (
    Equation(z[n, i], (n, i, j), W[i, j] * x[n, j]),
    Equation(z[n, i], (n, i), b[i]),
)


def program(*equations: Equation, outputs: tuple[Tensor, ...] | None = None, **rest: tuple) -> Program:
    return Program(equations, (equations[-1].tensor,) if outputs is None else outputs, **rest)


def defining(rhs: Expr, op: str = "sum", where: Expr = sp.true) -> Program:
    """s[n] = op_i of rhs, with z defined before"""
    return program(*affine_layer, Equation(s[n], (n, i), rhs, op, where))


# ---------------------------------------------------------------------------------------------- what is allowed
h, p = Tensor("h", (5, N, 3)), Tensor("p", (5, N, 3), "input")
U = Tensor("U", (3, 3), "parameter")
g = Tensor("g", (5, N, 3))
best = Tensor("best", (N,), "value", "integer")
y = Tensor("y", (N, 2))
grid = Tensor("grid", (5, 5))
r, c = Index("r", 5), Index("c", 5)
LEGAL = {
    "dense": program(*affine_layer, Equation(a[n, i], (n, i), Piecewise((0, z[n, i] <= 0), (z[n, i], True)))),
    "logsumexp under a condition": defining(z[n, i], "logsumexp", i <= 1),
    "gather in a condition": defining(z[n, i], "sum", sp.Eq(i, label[n])),
    "argmax": program(*affine_layer, Equation(best[n], (n, i), z[n, i], "argmax")),
    "argmax's position": program(
        *affine_layer,
        Equation(best[n], (n, i), z[n, i], "argmax"),
        Equation(s[n], (n, i), z[n, i], "sum", sp.Eq(position((i,)), best[n])),
    ),
    "a count": program(Equation(best[n], (n, i), Integer(1), "sum", sp.Eq(i, label[n]))),
    "recurrence in time": program(Equation(h[t, n, i], (t, n, i, k), p[t, n, i] + U[i, k] * h[t - 1, n, k])),
    "recurrence against time": program(Equation(h[t, n, i], (t, n, i, k), p[t, n, i] + U[i, k] * h[t + 2, n, k])),
    "recurrence of a slot": program(
        Equation(h[0, n, i], (n, i), p[0, n, i]),
        Equation(h[t, n, i], (t, n, i, k), U[i, k] * h[t - 1, n, k], "sum", sp.Ge(t, 1)),
    ),
    "recurrence through two tensors": program(
        Equation(g[t, n, i], (t, n, i, k), U[i, k] * h[t - 1, n, k]),
        Equation(h[t, n, i], (t, n, i), sp.tanh(g[t, n, i] + g[t - 2, n, i])),
    ),
    "recurrence written backwards": program(Equation(h[t - 1, n, i], (t, n, i), h[t, n, i] * p[t, n, i])),
    "recurrence along two axes": program(
        Equation(grid[r, c], (r, c), grid[r - 1, c] + grid[r, c + 1] + grid[r - 1, c - 1] + 1)
    ),
    "convolution past the end": program(Equation(y[n, j], (n, j, k), x[n, 2 * j + k - 1])),
    "gather and scatter": program(Equation(s[ids[n] + 1], (n,), b[ids[n]] * 2)),
    "sparse factor": program(Equation(Tensor("H", (3,))[i], (i, j), 2 * A[i, j] * Tensor("v", (4,), "input")[j] + 0)),
    "dropout": defining(Piecewise((z[n, i], uniform(1, ids[n], n, i) < Rational(1, 2)), (0, True)) * sp.pi),
    "size as a number": program(*affine_layer, Equation(s[n], (n, i), logistic(z[n, i]) / N)),
    "update": program(
        Equation(Tensor("W_next", (3, 4))[i, j], (i, j), W[i, j] * 2),
        updates=((W, Tensor("W_next", (3, 4))),),
    ),
}


@pytest.mark.parametrize("name", LEGAL)
def test_what_the_language_allows_is_accepted(name: str) -> None:
    verify(LEGAL[name])


# ---------------------------------------------------------------------------------------------- what is not
i_wide = Index("i", 7)
seven = Tensor("seven", (7,), "input")
theta = Symbol("theta", real=True)
own = sp.Function("own")
broken_rank = Expr.__new__(Access, W, i)
W_next, b_next = Tensor("W_next", (3, 4)), Tensor("b_next", (4,))
next_weight = Equation(W_next[i, j], (i, j), W[i, j] / 2)
hyper, vector_hyper = Tensor("alpha", (), "hyper"), Tensor("gamma", (3,), "hyper")
ILLEGAL = {
    "op": (defining(z[n, i], "prod"), "op 'prod' is not one of sum, max"),
    "role": (defining(z[n, i] * Tensor("q", (), "weight")[()]), "role 'weight'"),
    "kind": (defining(z[n, i] * Tensor("q", (), "input", "complex")[()]), "kind 'complex'"),
    "two tensors of one name": (defining(z[n, i] * Tensor("W", (), "input")[()]), "W is declared twice"),
    "axis": (defining(z[n, i] * Tensor("q", (Rational(5, 2),), "input")[0]), "an axis of 5/2"),
    "hyper with axes": (defining(z[n, i] * vector_hyper[i]), "gamma has 1 axes"),
    "sparse parameter": (
        program(Equation(s[n], (n, j), Tensor("P", (N, 4), "parameter", "real", True)[n, j])),
        "only constants can be",
    ),
    "rank": (defining(z[n, i] * broken_rank), "W has 2 axes, but 1 subscripts"),
    "index not in the domain": (defining(z[n, i] * b[k]), "index k is not in the domain (n, i)"),
    "index of the left side not in the domain": (
        program(Equation(s[n], (i,), b[i])),
        "index n is not in the domain (i)",
    ),
    "index of the condition not in the domain": (defining(z[n, i], "sum", k < 2), "index k is not in the domain"),
    "one name, two ranges": (defining(z[n, i] * seven[i_wide]), "i with the range 0 <= i < 3, not 0 <= i < 7"),
    "index twice in the domain": (
        program(*affine_layer, Equation(s[n], (n, i, i), z[n, i])),
        "index i is twice in the domain",
    ),
    "two ranges in the domain": (
        program(*affine_layer, Equation(s[n], (n, i, i_wide), z[n, i])),
        "twice in the domain, with two ranges",
    ),
    "range that is not a size": (
        program(Equation(s[n], (n, Index("i", theta)), Integer(1))),
        "index i has the range 0 <= i < theta",
    ),
    "range backwards": (program(Equation(s[n], (n, Index("i", 1, 4)), Integer(1))), "ends before it begins"),
    "square of an index as a subscript": (defining(z[n, i] * seven[i**2]), "subscript i**2, which is not an integer"),
    "half an index as a subscript": (defining(z[n, i] * seven[i / 2]), "subscript i/2, which is not an integer"),
    "real tensor as a subscript": (defining(z[n, i] * seven[b[i]]), "b must be an integer tensor"),
    "constant slot outside": (defining(z[n, i] * seven[7]), "constant subscript 7 outside its axis of 7"),
    "negative slot": (defining(z[n, i] * seven[-1]), "constant subscript -1 outside its axis of 7"),
    "plain index never inside": (
        program(Equation(s[n], (n, Index("m", 12, 9)), seven[Index("m", 12, 9)])),
        "seven[m] is never inside: 9 <= m < 12",
    ),
    "Abs": (defining(sp.Abs(z[n, i])), "Abs is not in the language: write a Piecewise"),
    "Max": (defining(sp.Max(z[n, i], 0)), "Max is not in the language: write a Piecewise"),
    "Heaviside": (defining(sp.Heaviside(z[n, i])), "Heaviside is not in the language: write a Piecewise"),
    "sign": (defining(sp.sign(z[n, i])), "sign is not in the language: write a Piecewise"),
    "SymPy's other functions": (defining(sp.gamma(z[n, i])), "function gamma is not in the language"),
    "a function without a definition": (defining(own(z[n, i])), "function own is not in the language"),
    "what is no function": (defining(sp.Integral(theta, (theta, 0, 1)) * z[n, i]), "(Integral) is not an expression"),
    "function inside a condition": (
        defining(Piecewise((1, sp.sinh(z[n, i]) > 1), (0, True))),
        "function sinh is not in the language",
    ),
    "free symbol": (defining(theta * z[n, i]), "theta is a free symbol"),
    "infinity": (defining(Piecewise((-sp.oo, i < 1), (z[n, i], True))), "-oo is not a finite real number"),
    "Piecewise with a hole": (defining(Piecewise((z[n, i], z[n, i] > 0))), "has no last piece"),
    "a symbol as a condition": (
        defining(Piecewise((1, Symbol("flag")), (0, True))),
        "a Piecewise has flag (Symbol), which is not a relation",
    ),
    "exclusive or": (
        defining(Piecewise((1, sp.Xor(z[n, i] > 0, b[i] > 0)), (0, True))),
        "which is not a relation, nor and, or, not",
    ),
    "condition between reals": (defining(z[n, i], "sum", z[n, i] > 0), "the condition compares z[n,i]"),
    "sparse under max": (
        program(Equation(Tensor("m", (3,))[i], (i, j), A[i, j], "max")),
        "sparse A[i,j] is read under max",
    ),
    "sparse as a summand": (
        program(Equation(Tensor("m", (3,))[i], (i, j), A[i, j] + 1)),
        "sparse A[i,j] is not a factor",
    ),
    "sparse under a function": (
        program(Equation(Tensor("m", (3,))[i], (i, j), sp.exp(A[i, j]))),
        "sparse A[i,j] is not a factor",
    ),
    "sparse diagonal": (
        program(Equation(Tensor("m", (3,))[i], (i,), A[i, i])),
        "sparse A[i,i] must have distinct plain indices",
    ),
    "sparse shifted": (
        program(Equation(Tensor("m", (3,))[i], (i, j), A[i, j + 1])),
        "must have distinct plain indices",
    ),
    "argmax into reals": (defining(z[n, i], "argmax"), "s is defined by argmax, so it must be an integer"),
    "logsumexp into integers": (
        program(*affine_layer, Equation(best[n], (n, i), z[n, i], "logsumexp")),
        "best is defined by logsumexp, so it must be a real tensor",
    ),
    "reals into integers": (program(*affine_layer, Equation(best[n], (n, i), z[n, i])), "its expression is real"),
    "parameter defined": (
        program(Equation(W[i, j], (i, j), Integer(1)), outputs=()),
        "parameter W is defined, but it is given",
    ),
    "max with a second equation": (
        program(*affine_layer, Equation(s[n], (n, i), z[n, i], "max"), Equation(s[n], (n,), Integer(1))),
        "s is defined by max, and by more than this one equation",
    ),
    "max into a slot": (
        program(*affine_layer, Equation(s[0], (n, i), z[n, i], "max")),
        "the left side needs distinct indices",
    ),
    "max into a diagonal": (
        program(Equation(Tensor("d", (3, 3))[i, i], (i, j), W[i, j], "max")),
        "the left side needs distinct indices",
    ),
    "never defined": (program(Equation(s[n], (n, i), z[n, i])), "z is read, but nothing defines it"),
    "read too early": (
        program(Equation(s[n], (n, i), z[n, i]), *affine_layer, outputs=(s,)),
        "z is read before its last equation",
    ),
    "read between its equations": (
        program(affine_layer[0], Equation(s[n], (n, i), z[n, i]), affine_layer[1], outputs=(s,)),
        "z is read before its last equation",
    ),
    "defined by itself": (
        program(Equation(h[t, n, i], (t, n, i, k), U[i, k] * h[t, n, k])),
        "h: defined through itself without a constant shift",
    ),
    "two defined by each other": (
        program(Equation(g[t, n, i], (t, n, i), h[t, n, i]), Equation(h[t, n, i], (t, n, i), g[t, n, i])),
        "defined through itself without a constant shift",
    ),
    "reads both ways": (
        program(Equation(h[t, n, i], (t, n, i), h[t - 1, n, i] + h[t + 1, n, i])),
        "without a constant shift in one direction",
    ),
    "shift there and back": (
        program(Equation(g[t, n, i], (t, n, i), h[t - 1, n, i]), Equation(h[t, n, i], (t, n, i), g[t + 1, n, i])),
        "without a constant shift in one direction",
    ),
    "recurrence through another index": (
        program(Equation(h[t, n, i], (t, n, i, Index("q", 5)), h[Index("q", 5) - 1, n, i])),
        "without a constant shift in one direction",
    ),
    "recurrence through a gather": (
        program(Equation(s[n], (n,), s[ids[n]])),
        "without a constant shift in one direction",
    ),
    "output undefined": (program(*affine_layer, outputs=(s,)), "output s is not defined by any equation"),
    "guard undefined": (
        program(*affine_layer, guards=(Tensor("norm2"),)),
        "guard norm2 is not defined by any equation",
    ),
    "guard with axes": (program(*affine_layer, guards=(z,)), "guard z is a real tensor of rank 2"),
    "update of an input": (
        program(Equation(a[n, j], (n, j), x[n, j]), updates=((Tensor("c", (N, 3), "constant"), a),)),
        "constant c is updated; only a state or a parameter",
    ),
    "update twice": (program(next_weight, updates=((W, W_next), (W, W_next))), "W is updated twice"),
    "update of another shape": (
        program(Equation(b_next[j], (j,), Integer(0)), updates=((b, b_next),)),
        "shape and kind must be equal",
    ),
    "update from a parameter": (
        program(next_weight, updates=((Tensor("V", (3, 4), "state"), W),)),
        "the next value of V is parameter W; it must be a value",
    ),
    "next value undefined": (
        program(*affine_layer, updates=((W, W_next),)),
        "next value W_next is not defined by any equation",
    ),
}


@pytest.mark.parametrize("name", ILLEGAL)
def test_a_violation_is_found_and_named(name: str) -> None:
    broken, message = ILLEGAL[name]
    with pytest.raises(ProgramError) as error:
        verify(broken)
    assert message in str(error.value)


@pytest.mark.parametrize("name", [name for name in ILLEGAL if name != "read too early"])
def test_one_slip_does_not_fill_the_screen(name: str) -> None:
    found = list(violations(ILLEGAL[name][0]))
    assert len(found) <= 2, found


def test_all_violations_are_reported_at_once_each_with_its_equation() -> None:
    bad = program(
        *affine_layer,
        Equation(a[n, i], (n, i), sp.Abs(z[n, i]) * theta),
        Equation(s[n], (n,), b[k]),
        outputs=(s, Tensor("nowhere")),
        guards=(z,),
    )
    with pytest.raises(ProgramError) as error:
        verify(bad)
    text = str(error.value)
    assert text.startswith("5 violations of the language:\n")
    for part in (
        "Abs is not in the language",
        "theta is a free symbol",
        "index k is not in the domain (n), in: s[n] = b[k]",
        "output nowhere is not defined",
        "guard z is a real tensor of rank 2",
    ):
        assert part in text
    assert text.count("in: a[n,i] = theta*Abs(z[n,i])") == 2


def test_facts_are_verified_too() -> None:
    fact = Equation(s[n], (n,), x[n, k])
    with pytest.raises(ProgramError, match="index k is not in the domain"):
        verify(Program(affine_layer, (z,), facts=(fact,)))


def chain(length: int) -> Program:
    """Tensors that read one another, far deeper than Python's recursion limit."""
    tensors = [Tensor(f"u{q}", (5,)) for q in range(length)]
    equations = [Equation(tensors[0][t], (t,), tensors[-1][t - 1] + 1)]
    equations += [Equation(now[t], (t,), 2 * before[t]) for before, now in pairwise(tensors)]
    return Program(equations, (tensors[-1],))


def test_a_cycle_through_2000_tensors_is_no_problem_for_the_stack() -> None:
    verify(chain(2000))


def test_a_deep_expression_is_no_problem_for_the_stack() -> None:
    deep: Expr = z[n, i]
    for _ in range(3000):
        deep = sp.tanh(deep, evaluate=False)
    assert list(violations(program(*affine_layer, Equation(a[n, i], (n, i), deep)))) == []
