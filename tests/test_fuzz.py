"""Random programs of the language, judged by the 50-digit complex step of their own loss.

300 go through the derivation, each pass (the rules are verified after each) and the plain loop nests, interpreted;
40 are compiled.  A failure prints the program and its seed; `python -m tests.test_fuzz SEED` shows one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from compiler.calling import call, interpret
from compiler.executable import compile_program
from compiler.passes import PASSES
from compiler.program import Program
from compiler.verify import verify
from symnet.oracle.reference import evaluate
from symnet.oracle.reference_mp import complex_step, magnitudes

from .programs import Sample, sample
from .tolerance import FLOAT64, gradient_program, judge, tangent_program

PROGRAMS, BLOCK, COMPILED = 300, 20, 40
BLOCKS = pytest.mark.parametrize("block", range(0, PROGRAMS, BLOCK))


@dataclass(frozen=True)
class Case:
    """A random program with its gradients, and what they must be: along an element or two, and along a direction."""

    drawn: Sample
    program: Program
    scales: dict[str, Any]
    directions: tuple[dict[str, Any], ...]
    references: tuple[Any, ...]

    def judge(self, what: str, found: dict[str, Any], tolerance: float = FLOAT64) -> None:
        """found: the outputs of the program, by name"""
        adjoints = {t.name: a.name for t, a in zip(self.drawn.wrt, self.program.outputs[1:], strict=True)}
        for direction, reference in zip(self.directions, self.references, strict=True):
            slope = sum(np.sum(found[adjoints[name]] * v) for name, v in direction.items())
            scale = sum(np.sum(self.scales[adjoints[name]] * np.abs(v)) for name, v in direction.items())
            judge(f"{what} along {direction}", slope, reference, scale, tolerance)


@cache
def case(seed: int) -> Case:
    drawn = sample(seed)
    rng = np.random.default_rng((seed, 7))
    elements = [(t.name, e) for t in drawn.wrt for e in np.ndindex(drawn.values[t.name].shape)]
    directions: list[dict[str, Any]] = [{t.name: rng.uniform(-1, 1, drawn.values[t.name].shape) for t in drawn.wrt}]
    for k in rng.permutation(len(elements))[:2]:
        name, element = elements[k]
        single = np.zeros(drawn.values[name].shape)
        single[element] = 1
        directions.append({name: single})
    references = [complex_step(drawn.program, drawn.output, drawn.values, d, drawn.sizes) for d in directions]
    program = gradient_program(drawn.program.equations, drawn.output, drawn.wrt)
    scales = magnitudes(program, drawn.values, drawn.sizes)
    return Case(drawn, program, scales, tuple(directions), tuple(references))


@cache
def passed(seed: int) -> Program:
    program = case(seed).program
    for _, function, _ in PASSES:
        program = function(program)
    return program


@contextmanager
def showing(seed: int) -> Iterator[Sample]:
    """A failure inside prints the program."""
    drawn = sample(seed)
    try:
        yield drawn
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error}\n{drawn}") from error


@BLOCKS
def test_derivatives_of_random_programs_are_right(block: int) -> None:
    for seed in range(block, block + BLOCK):
        with showing(seed) as drawn:
            verify(drawn.program)
            verify(case(seed).program)
            case(seed).judge("reverse mode", evaluate(case(seed).program, drawn.values, drawn.sizes))

            along = case(seed).directions[0]
            forward = tangent_program(drawn.program.equations, drawn.output, along)
            verify(forward)
            given = {**drawn.values, **{f"t_{name}": v for name, v in along.items()}}
            (found,), (scale,) = (f(forward, given, drawn.sizes).values() for f in (evaluate, magnitudes))
            judge("forward mode", found, case(seed).references[0], scale)


@BLOCKS
def test_every_pass_keeps_random_programs_right(block: int) -> None:
    for seed in range(block, block + BLOCK):
        with showing(seed) as drawn:
            program = case(seed).program
            for name, function, _ in PASSES:
                program = function(program)
                verify(program)
                case(seed).judge(name, evaluate(program, drawn.values, drawn.sizes))


def arrays(drawn: Sample) -> dict[str, Any]:
    return {k: scipy.sparse.csr_array(v) if k in drawn.sparse else v for k, v in drawn.values.items()}


@BLOCKS
def test_the_loops_of_random_programs_are_right(block: int) -> None:
    for seed in range(block, block + BLOCK):
        with showing(seed) as drawn:
            plain = seed % 2 == 1  # the general nests, of the program as derived or after the passes; or what is compiled
            program = passed(seed) if seed % 4 == 1 else case(seed).program
            case(seed).judge("interpreted", interpret(program, arrays(drawn), drawn.sizes, plain))


@pytest.mark.parametrize("block", range(0, COMPILED, 10))
def test_compiled_random_programs_are_right(block: int) -> None:
    for seed in range(block, block + 10):
        with showing(seed) as drawn:
            executable = compile_program(passed(seed), "float64", None, drawn.sizes)
            case(seed).judge("compiled", call(executable, arrays(drawn), drawn.sizes))


def test_random_programs_are_the_same_for_the_same_seed_and_differ_between_seeds() -> None:
    assert str(sample(3)) == str(sample(3)) != str(sample(4))


def test_random_programs_cover_the_language() -> None:
    drawn = [case(seed).drawn for seed in range(PROGRAMS)]
    equations = [e for d in drawn for e in d.program.equations]
    assert {e.op for e in equations} == {"sum", "max", "logsumexp", "argmax"}
    text = "\n".join(map(str, equations))
    for construct in (
        "where",
        "uniform(",
        "ids[",
        "Piecewise(",
        "logistic(",
        "erfc(",
        "tan(",
        "S[",
        "hyper[",
        "**2",
        "N",
        "T",
    ):
        assert construct in text, construct
    cyclic = [d for d in drawn if any(e.tensor == a.tensor for e in d.program.equations for a in e.reads())]
    assert len(cyclic) > PROGRAMS / 10
    near = sum(d.redrawn for d in drawn)
    print(f"{near} of {near + PROGRAMS} draws were within 1e-3 of a kink")
    assert near < PROGRAMS / 10


if __name__ == "__main__":
    for text in sys.argv[1:]:
        shown = case(int(text))
        print(shown.drawn, "-" * 100, *shown.program.equations[len(shown.drawn.program.equations) :], sep="\n")
