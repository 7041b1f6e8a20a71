"""Random programs of the language, judged by the 50-digit complex step of their own loss.

300 go through the derivation, each pass (verified before and after) and the plain loop nest, interpreted; 40 are
compiled.  A failure prints the program and its seed; `python -m tests.test_fuzz SEED` shows one.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest

from compiler.program import Program
from compiler.verify import verify
from symnet.reference import evaluate
from symnet.reference_mp import complex_step, magnitudes

from .programs import Sample, sample
from .tolerance import gradient_program, judge, tangent_program

PROGRAMS, BLOCK = 300, 20


@dataclass(frozen=True)
class Judge:
    """What the derivatives of a sample must be: along some single elements, and along one direction through all."""

    directions: tuple[dict[str, Any], ...]
    references: tuple[float, ...]

    def __call__(self, what: str, gradients: dict[str, Any], scales: dict[str, Any], tolerance: float = 1e-12) -> None:
        """gradients, scales: by parameter name"""
        for direction, reference in zip(self.directions, self.references, strict=True):
            found = sum(np.sum(gradients[name] * v) for name, v in direction.items())
            scale = sum(np.sum(scales[name] * np.abs(v)) for name, v in direction.items())
            judge(f"{what} along {direction}", found, reference, scale, tolerance)


@cache
def judged(seed: int) -> tuple[Sample, Judge]:
    drawn = sample(seed)
    rng = np.random.default_rng((seed, 7))
    elements = [(t.name, e) for t in drawn.wrt for e in np.ndindex(drawn.values[t.name].shape)]
    directions: list[dict[str, Any]] = [{t.name: rng.uniform(-1, 1, drawn.values[t.name].shape) for t in drawn.wrt}]
    for k in rng.permutation(len(elements))[:3]:
        name, element = elements[k]
        single = np.zeros(drawn.values[name].shape)
        single[element] = 1
        directions.append({name: single})
    references = (complex_step(drawn.program, drawn.output, drawn.values, d, drawn.sizes) for d in directions)
    return drawn, Judge(tuple(directions), tuple(references))


def with_gradient(drawn: Sample) -> Program:
    return gradient_program(drawn.program.equations, drawn.output, drawn.wrt)


def gradients_of(program: Program, drawn: Sample, found: dict[str, Any]) -> dict[str, Any]:
    return {t.name: found[adjoint.name] for t, adjoint in zip(drawn.wrt, program.outputs[1:], strict=True)}


@pytest.mark.parametrize("block", range(0, PROGRAMS, BLOCK))
def test_derivatives_of_random_programs_are_right(block: int) -> None:
    for seed in range(block, block + BLOCK):
        drawn, verdict = judged(seed)
        try:
            program = with_gradient(drawn)
            verify(program)
            scales = gradients_of(program, drawn, magnitudes(program, drawn.values, drawn.sizes))
            found = gradients_of(program, drawn, evaluate(program, drawn.values, drawn.sizes))
            verdict("reverse mode", found, scales)

            along = verdict.directions[0]
            forward = tangent_program(drawn.program.equations, drawn.output, along)
            verify(forward)
            given = {**drawn.values, **{f"t_{name}": v for name, v in along.items()}}
            name = forward.outputs[0].name
            scale = magnitudes(forward, given, drawn.sizes)[name]
            judge("forward mode", evaluate(forward, given, drawn.sizes)[name], verdict.references[0], scale)
        except Exception as error:
            raise AssertionError(f"{error}\n{drawn}") from error


def test_random_programs_are_the_same_for_the_same_seed_and_differ_between_seeds() -> None:
    assert str(sample(3)) == str(sample(3)) != str(sample(4))


if __name__ == "__main__":
    for text in sys.argv[1:]:
        shown = sample(int(text))
        print(shown, *with_gradient(shown).equations[len(shown.program.equations) :], sep="\n")
