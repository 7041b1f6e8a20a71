"""Is the compiled gradient right?  Judged by three ways that share nothing with it: `symnet check spec.toml`.

In: a Network.  Out: a row for each parameter W: how far <dR/dW, V>, for a random direction V of the size of W, is from

    central differences     (R(W + hV) - R(W - hV)) / 2h with the best h; leaves about 1e-10       (numerical.py)
    the complex step        Im R(W + ihV) / h in 30 digits: exact to rounding                   (reference_mp.py)
    forward mode            the tangent of R along V, by the transposed rule                   (differentiate.py)

relative to the sum of |dR/dW| |V|.  Where this is too much to ask, since terms cancel (all of them, of a bias before
batch norm), the last two are relative to the sum of G |V|, G being the scale of rounding errors (scales.py), and what
central differences leave by their own estimate is not counted.  A direction that is random in every element sees a
mistake in any of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from compiler.calling import call
from compiler.executable import compile_program
from compiler.program import Program, Tensor

from ..differentiate import pushforward
from ..oracle.numerical import Estimate, central_difference
from ..oracle.reference import evaluate
from ..oracle.reference_mp import complex_step
from ..oracle.scales import scales
from .sampling import sample

if TYPE_CHECKING:
    from ..network import Network

KINK = 1e-3  # how far the numbers must be from a kink, where a derivative is one of two
DRAWS = 50
LEFT = 10  # times the error that central differences estimate of themselves: an estimate is no bound
LIMITS = {"central differences": 1e-6, "complex step": 1e-12, "forward mode": 1e-12}


@dataclass(frozen=True, slots=True)
class Row:
    """The relative errors of the gradient by one parameter, by what it is judged by."""

    name: str
    shape: tuple[int, ...]
    errors: dict[str, float]

    @property
    def is_right(self) -> bool:
        return all(error <= LIMITS[judge] for judge, error in self.errors.items())


def check(network: Network, target: str | None = None, rows: int = 4, seed: int = 0) -> list[Row]:
    """A row for each parameter, on `rows` random samples, in float64."""
    target = network.given(target)
    program = network.gradient_program(target)
    risk, *gradients = program.outputs
    forward = Program(program.equations, (risk,), facts=program.facts).live()
    values = _smooth(network, forward, target, rows, seed)
    sizes = {"N": rows}
    found = call(compile_program(program, "float64", capacity=sizes), values, sizes)
    rng = np.random.default_rng([seed, 1])
    terms: dict[str, Any] = {}  # how large rounding errors may be, once that is needed
    made = []
    for (name, tensor), gradient in zip(network.tensors.items(), gradients, strict=True):
        along = rng.choice([-1.0, 1.0], values[tensor.name].shape) * rng.uniform(0.5, 1.0, values[tensor.name].shape)
        slope = float(np.sum(found[gradient.name] * along))
        scale = float(np.sum(np.abs(found[gradient.name]) * np.abs(along))) or 1.0
        differences = _differences(forward, tensor, values, along, sizes)
        judges = {
            "central differences": float(differences.value),
            "complex step": float(complex_step(forward, risk, values, {tensor.name: along}, sizes, digits=30)),
            "forward mode": _tangent(forward, tensor, values, along, sizes),
        }
        errors = {judge: abs(slope - other) for judge, other in judges.items()}
        row = Row(name, network.parameters[name], {judge: error / scale for judge, error in errors.items()})
        if not row.is_right:
            terms = terms or scales(program, values, sizes)
            largest = float(np.sum(terms[gradient.name] * np.abs(along))) or 1.0
            counted = max(0.0, errors.pop("central differences") - LEFT * float(differences.error)) / scale
            others = {judge: error / largest for judge, error in errors.items()}
            row = replace(row, errors={"central differences": counted, **others})
        made.append(row)
    return made


def _smooth(network: Network, forward: Program, target: str, rows: int, seed: int) -> dict[str, Any]:
    """Random values away from kinks, or those farthest from them."""
    best: tuple[float, dict[str, Any]] = (-1.0, {})
    for draw in range(seed, seed + DRAWS):
        values = sample(network, target, rows, draw)
        kinks: list[float] = []
        evaluate(forward, values, {"N": rows}, kinks=kinks)
        nearest = min((abs(k) for k in kinks if abs(k) > 0), default=np.inf)  # NaN is a step that was not yet known
        if nearest > KINK:
            return values
        best = max(best, (nearest, values), key=lambda pair: pair[0])
    return best[1]


def _differences(
    forward: Program, tensor: Tensor, values: dict[str, Any], along: Any, sizes: dict[str, int]
) -> Estimate:
    def risk(step: Any) -> Any:
        moved = {**values, tensor.name: values[tensor.name] + float(step) * along}
        return evaluate(forward, moved, sizes)[forward.outputs[0].name]

    return central_difference(risk, 0.0)


def _tangent(forward: Program, tensor: Tensor, values: dict[str, Any], along: Any, sizes: dict[str, int]) -> float:
    seed = Tensor(f"t_{tensor.name}", tensor.shape, "input")
    derived = pushforward(forward.equations, {tensor: seed}, forward.outputs)
    (risk,) = forward.outputs
    program = Program((*forward.equations, *derived.equations), (derived.adjoints[risk],))
    return float(evaluate(program, {**values, seed.name: along}, sizes)[program.outputs[0].name])


def table(rows: list[Row]) -> str:
    """The rows as text, at most 80 columns for names of usual length."""
    heads = ("parameter", "shape", *LIMITS)
    cells = [
        (row.name, "x".join(map(str, row.shape)) or "1", *(f"{row.errors[judge]:.1e}" for judge in LIMITS))
        for row in rows
    ]
    widths = [max(len(line[k]) for line in (heads, *cells)) for k in range(len(heads))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if k < 2 else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in (heads, *cells)
    )
