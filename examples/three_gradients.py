"""Gradients by machine, side by side (Qiu, ch. 4.5): numerical, symbolic, and automatic in forward and reverse mode.

The risk of a small network, by one of its weights and by all of them:

    numerical   (R(w+h) - R(w-h)) / 2h: too large an h truncates, too small an h rounds
    symbolic    R as one closed expression, differentiated by SymPy: exact, and long
    forward     sn.pushforward: tangents from the weight up to R, a sweep for each direction
    reverse     sn.pullback: adjoints from R down to every weight, in one sweep; what symnet compiles

Shown: the error of each, against 50 digits, and that of the numerical one for step sizes from 0.1 to 1e-13.
`python examples/three_gradients.py errors.png` also draws it, if matplotlib is installed.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from itertools import product

import numpy as np
import sympy as sp

import symnet as sn

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(2, 2)), rng.normal(size=2)
net = sn.Network(
    input=2,
    layers=[sn.dense(2, activation="tanh", name="hidden"), sn.dense(1, activation="logistic", name="out")],
    loss="squared_error",
    l2=0.01,
)
parameters = net.initial_parameters(seed=0)
risk = (*net.forward, *net.risk())
R = sn.Tensor("R")
weight = net.tensors["hidden.W"]
values = {tensor.name: parameters[name] for name, tensor in net.tensors.items()}
values |= {**net.hyper, "x": X, "y": Y[:, None]}


def risk_at(w: np.ndarray) -> float:
    return float(sn.evaluate(sn.Program(risk, [R]), {**values, weight.name: w})["R"])


# ------------------------------------------------------------------------------------------ symbolic
def closed_form() -> sp.Expr:
    """R with every tensor replaced by what defines it: an expression in elements of x, y and the parameters."""
    program, rows = sn.Program(risk, [R]), {net.input.shape[0]: sp.Integer(len(X))}

    def element(access: sn.Access) -> sp.Expr:
        if access.tensor not in program.definitions:
            return access
        total = sp.Integer(0)
        for equation in program.definitions[access.tensor]:
            at = dict(zip(equation.lhs.subscripts, access.subscripts))
            ranges = [range(int(i.high.xreplace(rows))) for i in equation.bound]
            for point in product(*ranges):
                term = equation.rhs.xreplace({**at, **dict(zip(equation.bound, map(sp.Integer, point)))})
                total += term.xreplace({a: element(a) for a in term.atoms(sn.Access)})
        return total

    return element(sn.Access(R)).xreplace(rows)


def symbolic_gradient(digits: int) -> np.ndarray:
    numbers = {}
    for access in expression.atoms(sn.Access):
        at = tuple(int(k) for k in access.subscripts)
        numbers[access] = sp.Float(float(np.asarray(values[access.tensor.name])[at]), digits)
    found = []
    for at in np.ndindex(parameters["hidden.W"].shape):
        w = sp.Symbol("w", real=True)
        slope = expression.xreplace({weight[at]: w}).diff(w)
        found.append(slope.xreplace({w: weight[at]}).xreplace(numbers).evalf(digits))
    return np.array(found).reshape(parameters["hidden.W"].shape)


expression = closed_form()
exact = symbolic_gradient(50)
derived_operations = sum(sp.count_ops(e.rhs) for e in net.gradient_program().equations)
print(
    f"R as one expression: {sp.count_ops(expression)} operations; "
    f"forward and backward equations, for samples and layers of any size: {derived_operations}"
)


def error(gradient: np.ndarray) -> float:
    """The largest error of an element, against 50 digits, relative to the largest element."""
    return float(abs(gradient - exact).max() / abs(exact).max())


# ------------------------------------------------------------------------------------------ forward and reverse
direction = sn.Tensor("direction", weight.shape, "input")
tangent = sn.pushforward(risk, {weight: direction}, [R])
forward_program = sn.Program((*risk, *tangent.equations), [tangent.adjoints[R]])
forward = np.zeros(parameters["hidden.W"].shape)
for at in np.ndindex(forward.shape):  # a sweep for each element
    unit = np.zeros(forward.shape)
    unit[at] = 1
    forward[at] = sn.evaluate(forward_program, {**values, "direction": unit})[tangent.adjoints[R].name]

adjoints = sn.pullback(risk, {R: 1}, [weight])
adjoint = adjoints.adjoints[weight]
reverse = sn.evaluate(sn.Program((*risk, *adjoints.equations), [adjoint]), values)[adjoint.name]
compiled = net.value_and_gradient(parameters, X, Y)[1]["hidden.W"]
readable = net.gradient("hidden.W").evaluate(parameters, X, Y)

# ------------------------------------------------------------------------------------------ numerical
steps = 10.0 ** -np.arange(1, 14)
errors = np.array([error(sn.numerical_gradient(risk_at, parameters["hidden.W"], h).value) for h in steps])
best = error(sn.numerical_gradient(risk_at, parameters["hidden.W"]).value)

print(f"{'method':26} relative error")
for name, found in {
    "symbolic, 16 digits": error(symbolic_gradient(16).astype(float)),
    "forward": error(forward),
    "reverse": error(reverse),
    "reverse, compiled": error(compiled),
    "reverse, net.gradient": error(readable),
    "numerical, default step": best,
    **{f"numerical, h = {h:.0e}": e for h, e in zip(steps, errors)},
}.items():
    print(f"{name:26} {found:8.1e}  {'#' * max(0, round(2 * (17 + np.log10(found + 1e-17))))}")

if len(sys.argv) > 1 and find_spec("matplotlib"):
    import matplotlib.pyplot as plt

    plt.loglog(steps, errors, "o-", label="numerical")
    plt.loglog(steps, steps**2, ":", label="h²: truncation")
    plt.loglog(steps, np.finfo(float).eps / steps, ":", label="ε/h: rounding")
    plt.axhline(max(error(reverse), 1e-17), color="black", label="forward, reverse")
    plt.gca().set(xlabel="step h", ylabel="relative error", ylim=(1e-17, 1), title="Gradients by machine")
    plt.legend()
    plt.savefig(sys.argv[1])
    print("drawn:", sys.argv[1])

for derived in (forward, reverse, compiled, readable):
    assert error(derived) < 1e-14
assert 1.5 < np.log10(errors[0] / errors[1]) < 2.5  # truncation falls as h squared
assert errors[-1] > 100 * errors.min()  # and rounding grows as 1/h
assert best < 1e-8 and steps[errors.argmin()] in steps[3:6]
