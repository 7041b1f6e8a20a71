"""How a gradient is derived, step by step: what `net.explain("hidden1.W")` prints.

In: a Network and the name of a parameter.  Out: an Explanation: steps in the order in which a textbook takes them.
What is minimized; for each adjoint on the way from the loss to the parameter, the equations that read its tensor, their
local derivatives, and the sum of the products (the one rule of differentiate.py); what facts about the data and each
pass of the compiler make of it, with the operations before and after; at the end the gradient as `net.gradient` has it.

Each step says that two programs give a tensor the same values; `Step.check` evaluates both on random numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from sympy import Expr

from compiler.passes import PASSES, Pass
from compiler.passes.rewriting import operations
from compiler.program import Equation, Program, Tensor, outer_accesses

from ..differentiate import partial_derivatives
from ..gradient import Gradient
from ..notation import typeset
from ..notation.textbook import Book
from .sampling import sample

if TYPE_CHECKING:
    from ..network import Network

Array = np.ndarray[Any, np.dtype[Any]]
INDENT = "    "


class _EachByName(Book):
    """The book with a formula of its own for every adjoint: nothing is put in the place of its reader."""

    def inlined(self, tensor: Tensor) -> typeset.Node | None:
        return None if tensor.name.startswith("d_") else super().inlined(tensor)


@dataclass(frozen=True, slots=True)
class Step:
    """`tensor` has the same values in `before` and in `after`.

    reason: why.  lines: what there is to read, Unicode.  operations: arithmetic operations and function calls of the
    tensor's own equations, before and after.
    """

    tensor: Tensor
    reason: str
    lines: tuple[str, ...]
    before: Program
    after: Program

    @property
    def operations(self) -> tuple[int, int]:
        return _operations(self.before, self.tensor), _operations(self.after, self.tensor)

    def check(self, values: Mapping[str, Any], rows: int) -> float:
        """The largest difference between both sides on these numbers, relative to the largest number."""
        from ..oracle.reference import evaluate

        one, other = (
            evaluate(_of(program, self.tensor), values, {"N": rows})[self.tensor.name]
            for program in (self.before, self.after)
        )
        return float(np.abs(one - other).max(initial=0) / max(np.abs(one).max(initial=0), 1e-300))

    def __str__(self) -> str:
        return "\n".join((self.reason, *(INDENT + line for line in self.lines)))


@dataclass(frozen=True, eq=False)
class Explanation:
    """The derivation of one gradient; print it, or go through its `steps`.

    >>> from symnet.network import Network
    >>> from symnet.declare.constructors import dense
    >>> print(Network(input=2, layers=[dense(1)], loss="squared_error").explain("dense1.W").steps[-1].lines[-1])
    ∂R/∂W1 = (1/N) Σ δ1 xᵀ
    """

    gradient: Gradient
    steps: tuple[Step, ...]
    start: tuple[str, ...]

    def __str__(self) -> str:
        title = f"How ∂R/∂{self.gradient.name} is derived"
        blocks = [title, "What is minimized\n" + "\n".join(INDENT + line for line in self.start)]
        return "\n\n".join([*blocks, *map(str, self.steps)])

    def check(self, rows: int = 5, seed: int = 0) -> float:
        """The largest relative difference between both sides of a step, on random numbers."""
        values = sample(self.gradient.network, self.gradient.target, rows, seed)
        return max(step.check(values, rows) for step in self.steps)


def explain(network: Network, name: str, target: str | Mapping[str, str] | None = None) -> Explanation:
    """The derivation of dR/dW for the parameter `name`."""
    gradient = network.gradient(name, target)
    return _Derivation(network, gradient).explanation()


# ---------------------------------------------------------------------------------------------- the steps
class _Derivation:
    """The stages of one gradient's program: as the rule gives it, then after each pass."""

    def __init__(self, network: Network, gradient: Gradient) -> None:
        self.network, self.gradient = network, gradient
        self.raw = gradient.program
        gradients = network.gradients(gradient.target)
        self.primal = {adjoint: tensor for tensor, adjoint in gradients.adjoints.items()}
        backward = {e.tensor for e in gradients.equations}
        place = {e.tensor: number for number, e in enumerate(self.raw.equations)}  # where its last contribution stands
        self.path = sorted((t for t in place if t in backward), key=place.__getitem__)

    @cached_property
    def stages(self) -> tuple[tuple[Pass, Program], ...]:
        """Each pass, and the program after it."""
        program, found = self.raw, []
        for step in PASSES:
            program = step[1](program)
            found.append((step, program))
        return tuple(found)

    def explanation(self) -> Explanation:
        book = _EachByName(self.raw)
        risk = [
            t
            for t in dict.fromkeys(e.tensor for e in self._risk.equations)
            if re.fullmatch("ell(_.*)?|penalty|R", t.name)
        ]
        start = tuple(typeset.unicode(Book(self._risk).formula(t)) for t in risk)
        steps = []
        for tensor in self.path:
            steps += list(self._steps(tensor, book))
        last = Step(
            self.gradient.tensor, "Together: the gradient", tuple(str(self.gradient).splitlines()), self.raw, self.raw
        )
        return Explanation(self.gradient, (*steps, last), start)

    @cached_property
    def _risk(self) -> Program:
        return Program((*self.network.forward, *self.network.risk(self.gradient.target)), (Tensor("R"),))

    def _steps(self, tensor: Tensor, book: Book) -> Iterator[Step]:
        yield self._by_the_rule(tensor, book)
        before = self.raw
        for (name, _, reason), after in self.stages:
            one, other = before.definitions.get(tensor), after.definitions.get(tensor)
            if one and other and one != other and (written := _written(after, tensor)) != _written(before, tensor):
                counts = _operations(before, tensor), _operations(after, tensor)
                title = f"{name.replace('_', ' ')}: {reason} ({counts[0]} operations -> {counts[1]})"
                yield Step(tensor, title, (written,), before, after)
            before = after

    def _by_the_rule(self, tensor: Tensor, book: Book) -> Step:
        """What reads the tensor, with which local derivative; and the sum."""
        primal = self.primal.get(tensor)
        lines = []
        if primal is not None:
            for equation in self._readers(primal):
                for access, slope in partial_derivatives(equation):
                    if access.tensor == primal:
                        left = f"∂{_plain(equation.lhs)}/∂{_plain(access)}"
                        lines.append(f"{left} = {_scalar(self._risk, equation, slope)}")
        lines.append(typeset.unicode(book.formula(tensor)))
        readers = ", ".join(dict.fromkeys(_title(book, e.tensor) for e in self._readers(primal))) if primal else ""
        title = f"{_title(book, tensor)}: {_title(book, primal)} is read by {readers}" if primal else str(tensor)
        return Step(tensor, title, tuple(lines), self.raw, self.raw)

    def _readers(self, primal: Tensor) -> list[Equation]:
        """Equations of the forward pass, the loss and the penalty that read a tensor, on the way to R."""
        return [
            e
            for e in self._risk.live().equations
            if any(a.tensor == primal for a in outer_accesses(e.rhs)) and e.tensor.name not in ("loss",)
        ]


# ---------------------------------------------------------------------------------------------- small things
def _title(book: Book, tensor: Tensor) -> str:
    return typeset.unicode(book.name(tensor))


def _plain(access: Expr) -> str:
    return str(access).replace("ell", "ℓ")


def _scalar(program: Program, equation: Equation, slope: Expr) -> str:
    """A local derivative, one element of it."""
    from ..notation.scalar import Scalars

    node = Scalars(Book(program), None, equation.tensor).signed(slope)
    return typeset.unicode(node[1] if node[0] > 0 else typeset.Sum(((-1, node[1]),)))


def _written(program: Program, tensor: Tensor) -> str:
    return typeset.unicode(_EachByName(program).formula(tensor))


def _of(program: Program, tensor: Tensor) -> Program:
    return Program(program.equations, (tensor,), facts=program.facts).live()


def _operations(program: Program, tensor: Tensor) -> int:
    counted = [operations(e.rhs) for e in program.definitions.get(tensor, ())]
    return sum(a + f for a, f in counted)
