"""Facts about a network, read off its formulas and measured on numbers: `model.inspect(X, y)`.

In: a Network and values of its parameters and of a batch.  Out: an Inspection:

    slopes      the largest |f'| of each activation; how many units have f' = 0 on every sample (dead units)
    reaching    how much of the gradient at the outputs reaches each layer: |delta_l| <= c |delta_L| for each sample,
                with c = product of max|f'| and |W|_2 along the way, and the largest ratio that was measured
    unlearned   parameters whose gradient is zero whatever the numbers are (a bias before batch norm)
    operations, bytes   of one gradient, forward and backward, as the equations are written

Source: Qiu, Neural Networks and Deep Learning, ch. 4.6 (vanishing gradients); |W|_2 is the largest singular value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp
from sympy import Basic, Expr

from compiler.passes.agreement import Z, evaluate
from compiler.passes.cost import cost
from compiler.program import Access, Equation, Index, Program, Tensor, outer_accesses

from ..differentiate import partial_derivatives
from ..notation import typeset
from ..notation.textbook import Book
from ..oracle import reference
from ..oracle.reference_mp import evaluate_mp
from .sampling import sample

if TYPE_CHECKING:
    from ..network import Network

Array = np.ndarray[Any, np.dtype[Any]]
ENDS = (1e2, 1e4, 1e8)  # a slope that still grows out there has no bound
UNITS = 16  # different values of a learned parameter that are looked at
ZERO = 1e-25  # what 50 digits leave of a gradient that is zero


@dataclass(frozen=True, slots=True)
class Slope:
    """An activation a = f(z): its formula, the largest |f'| (inf if there is none), units, and how many are dead."""

    name: str
    formula: str
    largest: float
    units: int
    dead: int

    @property
    def spoken(self) -> str:
        """1/4 rather than 0.25"""
        near = Fraction(self.largest).limit_denominator(64) if self.largest < inf else Fraction(0)
        exact = near != 0 and near.denominator > 1 and abs(float(near) - self.largest) < 1e-12
        return str(near) if exact else f"{self.largest:.6g}"


@dataclass(frozen=True, slots=True)
class Reach:
    """|delta| <= bound |delta_L| for each sample; `measured` is the largest ratio in the batch."""

    name: str
    bound: float
    measured: float


@dataclass(frozen=True, slots=True)
class Inspection:
    slopes: tuple[Slope, ...]
    reaching: tuple[Reach, ...]
    unlearned: tuple[str, ...]
    operations: int
    bytes: int

    def __str__(self) -> str:
        lines = ["Activations: the largest |f'|, and units with f' = 0 on every sample"]
        width = max((len(s.formula) for s in self.slopes), default=0)
        lines += [f"    {s.formula:{width}}  {s.spoken:>8}   {s.dead} of {s.units} dead" for s in self.slopes]
        lines += ["", "What reaches each layer of the gradient at the outputs: |δ| ≤ c |δ of the last layer|"]
        lines += [f"    {r.name:8} bound {r.bound:9.3g}   measured {r.measured:9.3g}" for r in self.reaching]
        if self.unlearned:
            lines += ["", f"Gradients that are zero whatever the numbers are: {', '.join(self.unlearned)}"]
        lines += ["", f"One gradient: {self.operations:,} operations, {self.bytes:,} bytes read and written"]
        return "\n".join(lines)


def inspect(network: Network, target: str, values: Mapping[str, Any], rows: int) -> Inspection:
    """values: of every tensor that is given, by name; rows: samples."""
    program = network.gradient_program(target)
    found = {**values, **reference.evaluate(program, values, {"N": rows}, list(program.definitions))}
    slopes = tuple(
        _slope(program, equation, argument, slope, found)
        for equation, argument, slope in maps(network.forward)
        if argument.subscripts == equation.lhs.subscripts
    )
    spent = cost(program, {"N": rows})
    return Inspection(
        slopes,
        _reaching(network, target, found),
        _unlearned(network, target, program),
        spent.operations,
        8 * spent.elements,
    )


# ---------------------------------------------------------------------------------------------- activations
def maps(equations: Iterable[Equation]) -> Iterator[tuple[Equation, Access, Expr]]:
    """The equations a = f(z), element by element, with f not linear: (equation, z, f'(z))"""
    for equation in equations:
        own = equation.lhs.subscripts
        alone = equation.op == "sum" and not equation.bound and equation.where is sp.true
        if not own or not alone or not all(isinstance(s, Index) for s in own):
            continue
        slopes = [(a, s) for a, s in partial_derivatives(equation) if a.tensor.role in ("value", "input")]
        if len(slopes) == 1 and slopes[0][1].has(slopes[0][0]):
            ((argument, slope),) = slopes
            if all(a == argument or a.tensor.role in ("parameter", "hyper") for a in outer_accesses(equation.rhs)):
                yield equation, argument, slope


def _slope(program: Program, equation: Equation, argument: Access, slope: Expr, found: Mapping[str, Any]) -> Slope:
    largest = max(supremum(_scalar(slope, argument, chosen)) for chosen in _choices(slope, argument, found))
    at = np.abs(_on(slope, argument, np.asarray(found[argument.tensor.name]), found))
    units = at.shape[-1]
    dead = int((at.reshape(-1, units) == 0).all(axis=0).sum())
    return Slope(equation.tensor.name, typeset.unicode(Book(program).formula(equation.tensor)), largest, units, dead)


def _on(slope: Expr, argument: Access, z: Array, found: Mapping[str, Any]) -> Array:
    """f'(z) on the batch; a learned parameter of the units lies along the last axis."""
    values: dict[Basic, Any] = {Z: z}
    new: dict[Basic, Basic] = {argument: Z}
    for number, access in enumerate(a for a in outer_accesses(slope) if a != argument):
        new[access] = sp.Symbol(f"p{number}", real=True)
        values[new[access]] = np.asarray(found[access.tensor.name], float)
    return np.broadcast_to(np.asarray(evaluate(slope.xreplace(new), values, np.float64)), z.shape)


def _choices(slope: Expr, argument: Access, found: Mapping[str, Any]) -> list[dict[Basic, Basic]]:
    """The values of what is learned in f: several, where it is learned for each unit."""
    learned = [a for a in outer_accesses(slope) if a != argument]
    if not learned:
        return [{}]
    arrays = [np.unique(np.ravel(found[a.tensor.name]))[:UNITS] for a in learned]
    count = max(map(len, arrays))
    return [{a: sp.Float(float(v[k % len(v)])) for a, v in zip(learned, arrays, strict=True)} for k in range(count)]


def _scalar(slope: Expr, argument: Access, chosen: Mapping[Basic, Basic]) -> Expr:
    return slope.xreplace({argument: Z, **chosen})


def supremum(slope: Expr) -> float:
    """The largest |slope| over all z: on a grid, then between the neighbours of the best point."""

    def size(z: Array) -> Array:
        with np.errstate(all="ignore"):
            value = np.abs(np.broadcast_to(np.asarray(evaluate(slope, {Z: z}, np.float64), float), z.shape))
        return np.where(np.isfinite(value), value, 0)

    far = size(np.array([s * e for e in ENDS for s in (-1, 1)])).reshape(-1, 2).max(axis=1)
    if far[-1] > 2 * far[0] and far[-1] > 1.5 * far[1]:
        return inf
    grid = np.unique(np.concatenate([np.linspace(-50, 50, 20_001), np.geomspace(1e-9, 1e4, 400), [0.0]]))
    for _ in range(8):
        values = size(grid)
        best = int(values.argmax())
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
        grid = np.unique(np.append(np.linspace(low, high, 401), grid[best]))
    return float(values.max())


# ---------------------------------------------------------------------------------------------- the gradient on its way
def _reaching(network: Network, target: str, found: Mapping[str, Any]) -> tuple[Reach, ...]:
    gradients = network.gradients(target)
    start = gradients.adjoints.get(network.prediction)
    if start is None or start.name not in found:
        return ()
    bounds: dict[Tensor, float] = {start: 1.0}
    definitions: dict[Tensor, list[Equation]] = {}
    for equation in gradients.equations:  # in the order of their last contributions
        definitions[equation.tensor] = [*definitions.pop(equation.tensor, []), equation]
    for tensor, equations in definitions.items():
        if tensor not in bounds:
            parts = [_bound(e, bounds, found) for e in equations]
            if None not in parts:
                bounds[tensor] = sum(part for part in parts if part is not None)
    last = _norms(found[start.name])
    reached = []
    for tensor, bound in bounds.items():
        if tensor.name.startswith("delta") and tensor.name in found:
            with np.errstate(all="ignore"):
                ratio = np.nan_to_num(_norms(found[tensor.name]) / last, nan=0.0, posinf=0.0)
            reached.append(Reach(typeset.unicode(typeset.Name(tensor.name)), bound, float(ratio.max(initial=0))))
    return tuple(reached)


def _norms(array: Array) -> Array:
    return np.linalg.norm(np.reshape(array, (len(array), -1)), axis=1)


def _bound(equation: Equation, bounds: Mapping[Tensor, float], found: Mapping[str, Any]) -> float | None:
    """c with |contribution| <= c |delta_L|: a local slope, or a matrix; None for anything else."""
    above = [f for f in sp.Mul.make_args(equation.rhs) if isinstance(f, Access) and f.tensor in bounds]
    if len(above) != 1 or equation.where is not sp.true or equation.op != "sum":
        return None
    (adjoint,) = above
    rest = sp.Mul(*(f for f in sp.Mul.make_args(equation.rhs) if f != adjoint))
    if not equation.bound and adjoint.subscripts == equation.lhs.subscripts:
        if rest.is_number:
            return bounds[adjoint.tensor] * abs(float(rest))
        leaves = [a for a in outer_accesses(rest) if a.tensor.role not in ("parameter", "hyper")]
        if len(leaves) != 1:
            return None
        choices = _choices(rest, leaves[0], found)
        return bounds[adjoint.tensor] * max(supremum(_scalar(rest, leaves[0], c)) for c in choices)
    if not adjoint.subscripts or not equation.lhs.subscripts:
        return None
    (*outer, i), (*own, j) = adjoint.subscripts, equation.lhs.subscripts
    matrix = isinstance(rest, Access) and rest.tensor.role == "parameter" and rest.subscripts == (i, j)
    if not matrix or outer != own or equation.bound != (i,):
        return None
    return bounds[adjoint.tensor] * float(np.linalg.norm(np.asarray(found[rest.tensor.name], float), 2))


# ---------------------------------------------------------------------------------------------- zero gradients
def _unlearned(network: Network, target: str, program: Program) -> tuple[str, ...]:
    """Parameters whose gradient is zero to 50 digits on random numbers, twice."""
    names = {t.name: name for name, t in network.gradients(target).by_name.items()}
    left = list(names)
    for seed in range(2):
        if left:
            found = evaluate_mp(program, sample(network, target, 3, seed), {"N": 3}, left)
            left = [name for name in left if all(abs(g) <= ZERO for g in np.ravel(found[name]))]
    return tuple(names[name] for name in left)
