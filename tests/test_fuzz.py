"""Random programs of the language, judged by the 50-digit complex step of their own loss.

They go through the derivation, each pass (the rules are verified after each) and the loops, interpreted, with each pass
on and off; some are compiled.  A failure prints the program and its seed: `python -m tests.fuzz --only "program SEED"`.
"""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from compiler.passes import PASSES
from compiler.program import Equation, Index, Program, Tensor
from compiler.verify import verify
from symnet.oracle.reference import evaluate
from symnet.oracle.reference_mp import magnitudes

from .cases import Case, case, showing, some_passes
from .programs import sample
from .tolerance import is_smooth, judge, tangent_program

PROGRAMS, BLOCK, COMPILED = 200, 20, 30
BLOCKS = pytest.mark.parametrize("block", range(0, PROGRAMS, BLOCK))
DTYPES = ("float64", "float32")


def drawn(seed: int, dtype: str = "float64") -> Case:
    return case(f"program {seed}", dtype)


@BLOCKS
def test_derivatives_of_random_programs_are_right(block: int) -> None:
    for seed in range(block, block + BLOCK):
        with showing(drawn(seed)) as one:
            verify(one.program)
            one.judge("reverse mode", one.evaluated())
            assert check_forward_mode(seed)


def check_forward_mode(seed: int) -> bool:
    one, given = drawn(seed), sample(seed)
    along = one.directions[0]
    forward = tangent_program(given.program.equations, given.output, along)
    verify(forward)
    values = {**one.values, **{f"t_{name}": v for name, v in along.items()}}
    (found,), (scale,) = (f(forward, values, one.sizes).values() for f in (evaluate, magnitudes))
    judge("forward mode", found, one.references[0], scale)
    return bool(np.isfinite(found))


@BLOCKS
def test_every_pass_keeps_random_programs_right(block: int) -> None:
    for seed in range(block, block + BLOCK):
        with showing(drawn(seed)) as one:
            program = one.program
            for name, function, _ in PASSES:
                program = function(program)
                verify(program)
                one.judge(name, one.evaluated(program))


@BLOCKS
def test_the_loops_of_random_programs_are_right(block: int) -> None:
    """As they are compiled, in both dtypes, with some passes or all; every fourth by the general nests alone."""
    for seed in range(block, block + BLOCK):
        with showing(drawn(seed, DTYPES[seed // 4 % 2])) as one:
            one.judge("interpreted", one.loops(some_passes(seed), plain=seed % 4 == 3))


@pytest.mark.parametrize("block", range(0, COMPILED, 10))
def test_compiled_random_programs_are_right(block: int) -> None:
    for seed in range(block, block + 10):
        with showing(drawn(seed, DTYPES[seed % 2])) as one:
            one.judge("compiled", one.compiled())


def test_random_programs_are_the_same_for_the_same_seed_and_differ_between_seeds() -> None:
    assert str(sample(3)) == str(sample(3)) != str(sample(4))


def test_a_tie_is_one_in_fifty_digits_and_otherwise_a_kink() -> None:
    i, x, top = Index("i", 2), Tensor("x", (2,), "input"), Tensor("top")
    largest = Program((Equation(top[()], (i,), sp.exp(x[i] / 3), "max"),), (top,))
    for second, smooth in ((1e-18, True), (2e-18, False), (1e-4, False), (1, True)):
        assert is_smooth(largest, {"x": [1e-18, second]}) == smooth


def test_random_programs_cover_the_language() -> None:
    found = [sample(seed) for seed in range(PROGRAMS)]
    equations = [e for d in found for e in d.program.equations]
    assert {e.op for e in equations} == {"sum", "max", "logsumexp", "argmax"}
    text = "\n".join(map(str, equations))
    for construct in ("where", "ids[", "Piecewise(", "logistic(", "erfc(", "tan(", "hyper[", "**2", "N", "T"):
        assert construct in text, construct
    for construct in sample(0).all_constructs:
        assert sum(construct in d.constructs for d in found) > PROGRAMS / 50, construct
    assert sum("recurrences" in d.constructs for d in found) > PROGRAMS / 10
    assert sum(d.redrawn for d in found) < PROGRAMS / 10  # points within 1e-3 of a kink
