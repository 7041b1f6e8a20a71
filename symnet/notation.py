"""The formulas of a program or a network, as text: what `symnet show` prints and `print(net.gradient(...))` says.

In: a Program (or a Network).  Out: lines of Unicode or LaTeX.  Everything is read off the equations that are compiled,
after facts about the data have been used, before numerical stabilization (softmax is then still one function of z).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from compiler.passes.use_facts import use_facts
from compiler.program import Program, Tensor

from . import typeset
from .textbook import Book
from .typeset import Equal

if TYPE_CHECKING:
    from .network import Network


def readable(program: Program) -> Program:
    """The program as it is read."""
    return use_facts(program.live())


def formulas(program: Program) -> dict[Tensor, Equal]:
    """A formula for each tensor that has a name in the book (roots, and what stands in formulas), in program order."""
    book = Book(program)
    found = {tensor: book.formula(tensor) for tensor in program.definitions}
    return {tensor: formula for tensor, formula in found.items() if tensor in book.named or tensor in program.roots}


def show(network: Network, target: str | None = None) -> str:
    """All formulas of a network: forward, the deltas, the gradient of each parameter."""
    program = readable(network.gradient_program(target))
    found = formulas(program)
    gradients = network.gradients(target)
    backward = {equation.tensor for equation in gradients.equations}
    wanted = set(gradients.by_name.values())
    sections = (
        ("Forward, for one sample: column vectors", [f for t, f in found.items() if t not in backward]),
        ("Backward, δ = ∂ℓ/∂z of one sample", [f for t, f in found.items() if t in backward and t not in wanted]),
    )
    lines = [f"{network!r}"]
    for title, part in sections:
        if part:
            lines += ["", title, *(f"    {typeset.unicode(formula)}" for formula in part)]
    width = max((len(name) for name in gradients.by_name), default=0)
    lines += ["", "Gradients, Σ over the N samples of a batch; each has the shape of its parameter"]
    lines += [f"    {name:{width}}   {typeset.unicode(found[t])}" for name, t in gradients.by_name.items()]
    return "\n".join(lines)


def unicode_lines(program: Program, tensors: Iterable[Tensor] | None = None) -> list[str]:
    """The formulas of a program, one line each; of some tensors only, if they are given."""
    return [typeset.unicode(formula) for formula in _chosen(program, tensors)]


def latex_lines(program: Program, tensors: Iterable[Tensor] | None = None) -> list[str]:
    """The same as LaTeX, without dollar signs."""
    return [typeset.latex(formula) for formula in _chosen(program, tensors)]


def aligned_latex(lines: Iterable[str]) -> str:
    """One block, aligned at the equals signs, for display mathematics."""
    rows = [line.replace(" = ", " &= ", 1) for line in lines]
    return "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}"


def _chosen(program: Program, tensors: Iterable[Tensor] | None) -> list[Equal]:
    found = formulas(program)
    return list(found.values()) if tensors is None else [found[t] for t in tensors if t in found]
