"""A memory in an undirected network (Hopfield 1982; Qiu, ch. 4.2), written as a static graph of equations.

Neurons s_i = +-1, each joined to each with symmetric weights; the energy  E(s) = -1/2 sum_ij W_ij s_i s_j.  The input
of a neuron is what the one rule derives from it:  h_i = -dE/ds_i = sum_j W_ij s_j.  A sweep sets one neuron after the
other to the sign of its input, which can only lower the energy.  The undirected network becomes a directed graph of
all updates u, a recurrence that symnet's language can say, with the derived equations inside it:

    s[u,i] = s[u-1,i]            where i is not the neuron whose turn it is at u
           = sign(h[u-1,i])      where it is

Shown: h is derived, the energy falls at every sweep until nothing changes, and stored patterns come back from copies
with a fifth of the signs flipped.
"""

from __future__ import annotations

import numpy as np
import sympy as sp

import symnet as sn
from symnet import Equation, Index, Program, Tensor

LETTERS = """
..#.. #...# #####
.#.#. ##..# ..#..
#...# #.#.# ..#..
##### #..## ..#..
#...# #...# ..#..
"""
SWEEPS = 3
rows = LETTERS.split("\n")[1:-1]
patterns = np.array([[1.0 if cell == "#" else -1.0 for row in rows for cell in row.split()[k]] for k in range(3)])
COPIES, NEURONS = patterns.shape
UPDATES = SWEEPS * NEURONS

# ------------------------------------------------------------------------------------------ the energy, and h from it
c, u, i, j = Index("c", COPIES), Index("u", UPDATES + 1), Index("i", NEURONS), Index("j", NEURONS)
W = Tensor("W", (NEURONS, NEURONS), "constant")
s = Tensor("s", (COPIES, UPDATES + 1, NEURONS))
E = Tensor("E", (COPIES, UPDATES + 1))
energy = Equation(E[c, u], (c, u, i, j), -sp.Rational(1, 2) * W[i, j] * s[c, u, i] * s[c, u, j])
derived = sn.pullback([energy], {E: 1}, [s])
slope = derived.adjoints[s]
print(energy, *derived.equations, sep="\n")

# ------------------------------------------------------------------------------------------ the static graph
start = Tensor("start", (COPIES, NEURONS), "input")
turn = Tensor("turn", (UPDATES + 1,), "constant", "integer")
later = Index("u", UPDATES + 1, 1)
before, h = s[c, later - 1, i], -slope[c, later - 1, i]
sign = sp.Piecewise((-1, h < 0), (1, h > 0), (before, True))
dynamics = (
    Equation(s[c, 0, i], (c, i), start[c, i]),
    Equation(s[c, later, i], (c, later, i), before, where=sp.Ne(i, turn[later])),
    Equation(s[c, later, i], (c, later, i), sign, where=sp.Eq(i, turn[later])),
)
program = Program((*dynamics, *derived.equations, energy), [s, E, slope])

# ------------------------------------------------------------------------------------------ remembering
rng = np.random.default_rng(0)
weights = patterns.T @ patterns / NEURONS
np.fill_diagonal(weights, 0)
flipped = np.array([rng.permutation(NEURONS) < NEURONS // 5 for _ in patterns])
noisy = np.where(flipped, -patterns, patterns)
order = np.concatenate([[0], *(rng.permutation(NEURONS) for _ in range(SWEEPS))])
found = sn.evaluate(program, {"W": weights, "start": noisy, "turn": order})
states, energies = found["s"], found["E"]

assert np.allclose(-found[slope.name], states @ weights)  # h = W s, as derived
for k in range(COPIES):
    print(
        f"pattern {k}: {int((noisy[k] != patterns[k]).sum())} signs flipped; energy after each sweep",
        energies[k, ::NEURONS].round(3),
        f"{int((states[k, -1] != patterns[k]).sum())} signs wrong",
    )
shown = zip(noisy[0].reshape(5, 5), states[0, -1].reshape(5, 5))
print(
    *("".join(".#"[int(v > 0)] for v in a) + "   " + "".join(".#"[int(v > 0)] for v in b) for a, b in shown), sep="\n"
)

assert (np.diff(energies, axis=1) <= 1e-12).all()  # no update raises it
changed = (states[:, NEURONS::NEURONS] != states[:, :-1:NEURONS]).any(axis=2)
assert (
    np.diff(energies[:, ::NEURONS], axis=1)[changed] < -1e-3
).all()  # and every sweep that changes something lowers it
assert not changed[:, -1].any() and (states[:, -1] == patterns).all()
