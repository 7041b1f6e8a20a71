"""Flat loops side by side become one, but not over an element between them that another equation has made."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from compiler.calling import interpret
from compiler.executable import generate
from compiler.program import Access, Equation, Index, Program, Tensor

SIZE = 1003  # a whole number of lines of the cache with 5 elements of padding


@pytest.mark.parametrize("first", [0, 1])
def test_two_loops_become_one_if_only_padding_lies_between_what_they_write(first: int) -> None:
    """p[i] = exp(p[i]) in place; or p[0] = p[4] + 1 and p[i+1] = exp(p[i]): what is made apart is not written over."""
    i, equations, updates = Index("i", SIZE - first), [], []
    for name in "pq":
        state, new = Tensor(name, (SIZE,), "parameter"), Tensor(f"{name}_new", (SIZE,))
        if first:
            equations.append(Equation(Access(new, 0), (), Access(state, 4) + 1))
        equations.append(Equation(Access(new, i + first), (i,), sp.exp(Access(state, i))))
        updates.append((state, new))
    program = Program(equations, (), tuple(updates))
    text, *_ = generate(program, "float64", None, {})
    loops = [line.partition("  #")[0] for line in text.splitlines() if " for " in line]
    assert len(loops) == (3 if first else 1)  # the third copies what could not be made in place

    values = {name: np.random.default_rng(0).normal(size=SIZE) for name in "pq"}
    expected = {k: np.concatenate([v[4:5] + 1, np.exp(v[:-1])]) if first else np.exp(v) for k, v in values.items()}
    found = interpret(program, values, {}, plain=False)
    for name in "pq":
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-14)
