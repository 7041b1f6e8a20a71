"""How near is near enough: |g - ref| <= 1e-12 G, in one place for all tests.

g is a derivative computed in float64 (or float32: 1e-5), ref the same by the 50-digit complex step of the loss itself,
and G the derivative with the absolute value of every term (`reference_mp.magnitudes`; of drawn cases `scales`, which
stays a size of theirs in deep networks), so that cancelling and identically zero gradients are judged fairly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import mpmath
import numpy as np

from compiler.program import Equation, Program, Tensor
from compiler.verify import verify
from symnet.differentiate import pullback, pushforward
from symnet.oracle.reference import evaluate
from symnet.oracle.reference_mp import MULTIPRECISION, complex_step, complex_step_gradient, magnitudes

Values = Mapping[str, Any]
FLOAT64, FLOAT32 = 1e-12, 1e-5
KINK, TIE = 1e-3, 1e-40  # the latter is what rounding in 50 digits may leave of a tie
SMALLEST = 1e-25  # what the complex step itself leaves of a gradient that is zero


def judge(name: str, found: Any, reference: Any, scale: Any, tolerance: float = FLOAT64) -> float:
    """The largest |found - reference| / scale; fails if it is above the tolerance, or if anything is not finite."""
    found, scale = np.asarray(found, float), np.asarray(scale, float)
    reference = np.asarray(reference)
    assert found.shape == reference.shape == scale.shape, (name, found.shape, reference.shape, scale.shape)
    error = np.abs(np.asarray(found - reference, float))  # in the digits of the reference
    assert np.isfinite(error).all(), f"{name} is not finite:\n{found}\nreference\n{reference.astype(float)}"
    worst = float(np.max(error / np.maximum(scale, SMALLEST / tolerance), initial=0.0))
    assert worst <= tolerance, (
        f"{name} is off by {worst:.3g} of its scale\n{found}\nreference\n{reference.astype(float)}\nscale\n{scale}"
    )
    return worst


def check_gradient(
    equations: Iterable[Equation],
    output: Tensor,
    wrt: Sequence[Tensor],
    values: Values,
    sizes: Mapping[Any, int] | None = None,
    tolerance: float = FLOAT64,
) -> dict[str, Any]:
    """The pullback of the rank-0 `output` to each of `wrt`, judged by the 50-digit complex step; gives the gradients.

    Forward mode is judged along with it: the tangent along a fixed direction against the same reference.
    """
    equations = tuple(equations)
    program = gradient_program(equations, output, wrt)
    verify(program)
    found = evaluate(program, values, sizes)
    scale = magnitudes(program, values, sizes)
    reference = complex_step_gradient(Program(equations, (output,)), output, wrt, values, sizes)
    gradients = {}
    for tensor, adjoint in zip(wrt, program.outputs[1:], strict=True):
        judge(adjoint.name, found[adjoint.name], reference[tensor.name], scale[adjoint.name], tolerance)
        gradients[tensor.name] = found[adjoint.name]
    directions = {
        t.name: np.cos(1.0 + np.arange(np.size(values[t.name]))).reshape(np.shape(values[t.name])) for t in wrt
    }
    check_tangent(equations, output, values, directions, sizes, tolerance)
    return gradients


def check_tangent(
    equations: Iterable[Equation],
    output: Tensor,
    values: Values,
    directions: Values,
    sizes: Mapping[Any, int] | None = None,
    tolerance: float = FLOAT64,
) -> Any:
    """The pushforward of `output` (of any rank) along the directions, judged by the 50-digit complex step."""
    equations = tuple(equations)
    program = tangent_program(equations, output, directions)
    verify(program)
    given = {**values, **{f"t_{name}": v for name, v in directions.items()}}
    name = program.outputs[0].name
    found = evaluate(program, given, sizes)[name]
    scale = magnitudes(program, given, sizes)[name]
    reference = complex_step(Program(equations, (output,)), output, values, directions, sizes)
    judge(name, found, reference, scale, tolerance)
    return found


def gradient_program(equations: Iterable[Equation], output: Tensor, wrt: Sequence[Tensor]) -> Program:
    """outputs: the output and its adjoints by `wrt`"""
    equations = tuple(equations)
    derivation = pullback(equations, {output: 1}, wrt)
    return Program((*equations, *derivation.equations), (output, *(derivation.adjoints[t] for t in wrt)))


def tangent_program(equations: Iterable[Equation], output: Tensor, seeded: Iterable[str]) -> Program:
    """output: the tangent of `output`; inputs t_<name> are the tangents of the tensors called `seeded`"""
    equations = tuple(equations)
    tensors = {t.name: t for t in Program(equations, (output,)).tensors}
    seeds = {tensors[name]: Tensor(f"t_{name}", tensors[name].shape, "input") for name in seeded if name in tensors}
    derivation = pushforward(equations, seeds, [output])
    return Program((*equations, *derivation.equations), (derivation.adjoints[output],))


def is_smooth(program: Program, values: Values, sizes: Mapping[Any, int] | None = None) -> bool:
    """Every comparison of reals, and every maximum, at least 1e-3 away from changing; or a tie, which all break alike.

    (A tie by the program's form, that is: it must be one in 50 digits, too.)
    """
    kinks: list[float] = []
    evaluate(program, values, sizes, kinks=kinks)
    if 0 in kinks:
        exact: list[float] = []
        with mpmath.workdps(50):
            evaluate(program, values, sizes, arithmetic=MULTIPRECISION, kinks=exact)
        kinks += [k for k in exact if abs(k) > TIE]
    return not any(0 < abs(k) <= KINK for k in kinks)
