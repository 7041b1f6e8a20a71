"""What the tests of the passes share: small networks with their gradients; a pass changes nothing but the form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import sympy as sp
from sympy import Expr, Piecewise

from compiler.program import Access, Equation, Index, Program, Tensor, size
from compiler.verify import verify
from symnet.differentiate import pullback
from symnet.oracle.reference import evaluate

N = size("N")
Activation = Callable[[Expr], Expr]


def relu(z: Expr) -> Expr:
    return Piecewise((0, z <= 0), (z, True))


def network(
    widths: list[int],
    activation: Activation = relu,
    loss: str = "labels",
    seed: int = 0,
    scale: float = 1.0,
) -> tuple[Program, dict[str, Any]]:
    """A dense network with the gradient of its loss (plus a penalty), and values for everything that is given."""
    rng = np.random.default_rng(seed)
    rows, n = 5, Index("n", N)
    x = Tensor("x", (N, widths[0]), "input")
    equations: list[Equation] = []
    parameters: list[Tensor] = []
    values: dict[str, Any] = {"x": rng.normal(size=(rows, widths[0])) * scale, "lambda": np.array(0.3)}
    below = x
    for layer, (inputs, units) in enumerate(pairwise(widths), start=1):
        i, j = Index("i", units), Index("j", inputs)
        weight = Tensor(f"W{layer}", (units, inputs), "parameter")
        bias, z = Tensor(f"b{layer}", (units,), "parameter"), Tensor(f"z{layer}", (N, units))
        equations += [Equation(z[n, i], (n, i, j), weight[i, j] * below[n, j]), Equation(z[n, i], (n, i), bias[i])]
        parameters += [weight, bias]
        values |= {weight.name: rng.normal(size=(units, inputs)) * scale, bias.name: rng.normal(size=units)}
        below = z
        if layer < len(widths) - 1:
            below = Tensor(f"a{layer}", (N, units))
            equations.append(Equation(below[n, i], (n, i), activation(z[n, i])))
    classes = widths[-1]
    k, ell, total = Index("k", classes), Tensor("ell", (N,)), Tensor("loss")
    facts: tuple[Equation, ...] = ()
    if loss == "squares":
        y = Tensor("y", (N, classes), "target")
        values["y"] = rng.normal(size=(rows, classes))
        equations.append(Equation(ell[n], (n, k), (below[n, k] - y[n, k]) ** 2 / classes))
    else:
        lse = Tensor("lse", (N,))
        equations.append(Equation(lse[n], (n, k), below[n, k], "logsumexp"))
        if loss == "distributions":
            y = Tensor("y", (N, classes), "target")
            values["y"] = rng.dirichlet(np.ones(classes), rows)
            equations.append(Equation(ell[n], (n, k), y[n, k] * (lse[n] - below[n, k])))
            facts = (Equation(Tensor("one", (N,))[n], (n, k), y[n, k]),)
        else:
            y = Tensor("y", (N,), "target", "integer")
            values["y"] = rng.integers(0, classes, rows)
            equations.append(Equation(ell[n], (n,), lse[n] - below[n, y[n]]))
    equations.append(Equation(Access(total), (n,), ell[n] / N))
    sweep = pullback(equations, {ell: 1}, parameters, scale=1 / N)
    penalty = []
    for weight in parameters[::2]:
        i, j = (Index(letter, extent) for letter, extent in zip("ij", weight.shape, strict=True))
        rhs = Tensor("lambda", (), "hyper")[()] * weight[i, j]
        penalty.append(Equation(sweep.adjoints[weight][i, j], (i, j), rhs))
    outputs = (total, *(sweep.adjoints[p] for p in parameters))
    return Program((*equations, *sweep.equations, *penalty), outputs, facts=facts), values


def same(before: Program, after: Program, values: Mapping[str, Any], tolerance: float = 1e-11) -> None:
    """Both keep the rules of the language and compute the same, NaN and infinities included."""
    verify(before)
    verify(after)
    assert (after.outputs, after.updates, after.guards) == (before.outputs, before.updates, before.guards)
    with np.errstate(all="ignore"):
        wanted, found = evaluate(before, values), evaluate(after, values)
    for name, array in wanted.items():
        finite = np.isfinite(array)
        scale = np.abs(array[finite]).max(initial=1e-30)
        np.testing.assert_allclose(found[name], array, rtol=0, atol=tolerance * scale, err_msg=name)


def changed_by(function: Callable[[Program], Program], before: Program, values: Mapping[str, Any]) -> Program:
    """The program after a pass, judged by the oracle."""
    after = function(before)
    same(before, after, values)
    return after


def lines(program: Program) -> list[str]:
    return str(program).splitlines()


def count(program: Program, kind: type[sp.Basic]) -> int:
    """How often a function stands in the equations."""
    return sum(len(e.rhs.atoms(kind)) for e in program.equations)
