"""The formulas of a program or a network, as text: what `symnet show` prints and `print(net.gradient(...))` says.

In: a Program (or a Network).  Out: lines of Unicode or LaTeX.  Everything is read off the equations that are compiled,
after facts about the data have been used and scatters turned into sums, before numerical stabilization (softmax is then
still one function of z).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING

from compiler.passes.gather import gather
from compiler.passes.use_facts import use_facts
from compiler.program import Program, Tensor

from . import typeset
from .latex import latex
from .nodes import Equal, names
from .textbook import Book

if TYPE_CHECKING:
    from .network import Network


def readable(program: Program) -> Program:
    """The program as it is read."""
    return gather(use_facts(program.live()))


def formulas(program: Program) -> dict[Tensor, Equal]:
    """A formula for each root, and for each tensor that stands in a formula; each after those that it names."""
    return reached(program, program.roots)


def reached(
    program: Program, start: Iterable[Tensor], defined: Callable[[Tensor], bool] = lambda tensor: True
) -> dict[Tensor, Equal]:
    """The formulas of some tensors and of all tensors that are named in them, as far as they are to be `defined`."""
    book = Book(program)
    by_title = {(name.text, name.derivative): t for t in program.definitions for name in [book.name(t)]}
    found: dict[Tensor, Equal] = {}
    stack = [tensor for tensor in start if tensor in program.definitions]
    while stack:
        tensor = stack.pop()
        if tensor in found:
            continue
        found[tensor] = book.formula(tensor)
        titles = ((name.text, name.derivative) for name in names(found[tensor].right))
        named = dict.fromkeys(by_title[title] for title in titles if title in by_title)
        stack += [other for other in named if defined(other)]
    return {tensor: found[tensor] for tensor in sorted(found, key=book.place.__getitem__)}


def known(tensor: Tensor) -> bool:
    """Is it a value of a layer, such as z1 or a1, that a gradient may name without its definition?"""
    return re.fullmatch(r"[az]\d+", tensor.name) is not None


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


def unicode_lines(program: Program, backward: Collection[Tensor] | None = None) -> list[str]:
    """The formulas of a program, one line each; those of a gradient, if the `backward` tensors are given."""
    return [typeset.unicode(formula) for formula in _chosen(program, backward)]


def latex_lines(program: Program, backward: Collection[Tensor] | None = None) -> list[str]:
    """The same as LaTeX, without dollar signs."""
    return [latex(formula) for formula in _chosen(program, backward)]


def aligned_latex(lines: Iterable[str]) -> str:
    """One block, aligned at the equals signs, for display mathematics."""
    rows = [line.replace(" = ", " &= ", 1) for line in lines]
    return "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}"


def _chosen(program: Program, backward: Collection[Tensor] | None) -> list[Equal]:
    if backward is None:
        return list(formulas(program).values())
    return list(reached(program, program.roots, lambda t: t in backward or not known(t)).values())
