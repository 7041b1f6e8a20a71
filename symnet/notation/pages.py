"""The formulas of a program or a network, as text: what `symnet show` prints and `print(net.gradient(...))` says.

In: a Program (or a Network).  Out: lines of Unicode or LaTeX.  Everything is read off the equations that are compiled,
after facts about the data have been used and scatters turned into sums, before numerical stabilization (softmax is then
still one function of z).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import sympy as sp
from sympy import Basic, Integer

from compiler.passes.use_facts import use_facts
from compiler.program import Access, Equation, Program, Tensor, in_range, outer_accesses

from ..errors import unknown
from . import typeset
from .alignment import aligned
from .closed_form import closed_form
from .families import above, folded
from .gates import by_steps
from .gather import gather
from .latex import latex
from .nodes import Equal, names
from .sheet import Line, Section, Sheet
from .textbook import Book

if TYPE_CHECKING:
    from ..gradient import Gradient
    from ..network import Network

DEPTHS = ("recursion", "complete", "closed")
SHAPES = "each has the shape of its parameter"
TITLES = {  # of the forward pass, the backward pass and the gradients, by notation
    "textbook": (
        "Forward, for one sample: column vectors",
        "Backward, δ = ∂ℓ/∂z of one sample",
        f"Gradients, Σ over the N samples of a batch; {SHAPES}",
    ),
    "matrix": (
        "Forward: a row for each of the N samples; softmax, logsumexp and max of each row",
        "Backward, Δ = ∂ℓ/∂Z, a row for each sample",
        f"Gradients; {SHAPES}",
    ),
    "index": ("Forward, n = sample", "Backward, δ[n] = ∂ℓ[n]/∂z[n]", f"Gradients; {SHAPES}"),
}
COUPLED = {  # of the backward pass, where a sample changes what the others of its batch become
    "textbook": "Backward, δ = N ∂R/∂z: Σ over the N samples of a batch",
    "matrix": "Backward, Δ = N ∂R/∂Z, a row for each sample",
    "index": "Backward, δ[n] = N ∂R/∂z[n]",
}


def readable(program: Program) -> Program:
    """The program as it is read."""
    return gather(use_facts(program.live()))


def formulas(program: Program) -> dict[Tensor, Equal]:
    """A formula for each root, and for each tensor that stands in a formula; each after those that it names."""
    return reached(program, program.roots)


def reached(
    program: Program,
    start: Iterable[Tensor],
    defined: Callable[[Tensor], bool] = lambda tensor: True,
    notation: str = "textbook",
) -> dict[Tensor, Equal]:
    """The formulas of some tensors and of all tensors that are named in them, as far as they are to be `defined`."""
    book = Book(program, notation)
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


def show(network: Network, target: str | None = None, notation: str = "textbook", derivatives: str = "written") -> str:
    """All formulas of a network as text."""
    return sheet(network, target, notation, derivatives).text()


def sheet(
    network: Network, target: str | None = None, notation: str = "textbook", derivatives: str = "written"
) -> Sheet:
    """All formulas of a network: forward, the adjoints, the gradient of each parameter.

    notation: "textbook", "matrix" or "index".  derivatives: "written", or "named": f and f' with their definitions.
    """
    check_notation(notation, derivatives)
    program, meanings = lettered_if(network, readable(network.gradient_program(target)), target, derivatives)
    found = reached(program, program.roots, notation=notation)
    gradients = network.gradients(target)
    backward = {equation.tensor for equation in gradients.equations}
    wanted = set(gradients.by_name.values())
    book = Book(program, notation)
    forward_title, backward_title, gradients_title = TITLES[notation]
    if network.is_coupled:
        backward_title = COUPLED[notation]
    sections = [
        (forward_title, [Line(f) for t, one in found.items() if t not in backward for f in by_steps(book, t) or [one]]),
        ("Functions, element by element", [Line(f) for f in meanings]),
        (
            backward_title,
            [
                Line(f)
                for t, one in found.items()
                if t in backward and t not in wanted
                for f in by_steps(book, t) or [one]
            ],
        ),
        (gradients_title, [Line(found[t], name) for name, t in gradients.by_name.items()]),
    ]
    return Sheet(repr(network), notation, one_style(sections), notes(program, found.values()))


def gradient_sheet(gradient: Gradient, notation: str, depth: str, derivatives: str, most: int) -> Sheet:
    """The formula of one gradient, at one of three depths; see Gradient.formulas."""
    check_notation(notation, derivatives)
    if depth not in DEPTHS:
        raise unknown("formulas, depth", "depth", depth, DEPTHS)
    network, target = gradient.network, gradient.target
    program, meanings = lettered_if(network, readable(gradient.program), target, derivatives)
    extra: tuple[str, ...] = ()
    if gradient.at is not None:
        notation, program = "index", element_program(program, gradient)
    if depth == "closed":
        formula, left = closed_form(program, program.outputs[0], notation, most)
        book = Book(program, notation)
        if left:
            listed = ", ".join(typeset.unicode(book.name(tensor)) for tensor in left)
            extra = (f"{len(left)} quantit{'y is' if len(left) == 1 else 'ies are'} not written out: {listed}",)
        chosen: list[Equal] = [formula]
    else:
        backward = {e.tensor for e in network.gradients(target, gradient.training).equations}
        named = depth == "recursion"
        if gradient.at is not None:
            backward.add(program.outputs[0])
        book = Book(program, notation)
        found = reached(program, program.roots, lambda t: not named or t in backward or not known(t), notation)
        chosen = [f for tensor, one in found.items() for f in by_steps(book, tensor) or [one]]
    sections = [("", [Line(f) for f in (*meanings, *chosen)])]
    return Sheet("", notation, one_style(sections), (*extra, *notes(program, chosen)))


def element_program(program: Program, gradient: Gradient) -> Program:
    """The program whose output is one element of the gradient."""
    assert gradient.at is not None
    own = Book(program).own(gradient.tensor)
    at: dict[Basic, Basic] = dict(zip(own, map(Integer, gradient.at), strict=True))
    inner = ",".join(map(str, gradient.at))
    whole = Tensor(f"{gradient.tensor.name}[{inner}]")
    equations = []
    for equation in program.definitions[gradient.tensor]:
        part = aligned(Book(program).read(equation), own)
        where = part.where.xreplace(at)
        if where is not sp.false:
            equations.append(Equation(Access(whole), part.bound, part.rhs.xreplace(at), part.op, where))
    rest = [e for e in program.equations if e.tensor != gradient.tensor]
    return Program((*rest, *equations), (whole,), facts=program.facts)


def check_notation(notation: str, derivatives: str) -> None:
    if notation not in TITLES:
        raise unknown("notation", "notation", notation, TITLES)
    if derivatives not in ("written", "named"):
        raise unknown("derivatives", "choice", derivatives, ("written", "named"))


def lettered_if(
    network: Network, program: Program, target: str | None, derivatives: str
) -> tuple[Program, tuple[Equal, ...]]:
    """The program, with letters for its activations if they are to be named, and what the letters mean."""
    if derivatives == "written":
        return program, ()
    from .slopes import lettered

    found = lettered(program, network.gradients(target).adjoints)
    return found.program, found.definitions


def one_style(sections: Iterable[tuple[str, list[Line]]]) -> tuple[Section, ...]:
    """Runs of equal layers as one; where there are any, every number of a layer stands above, in brackets."""
    given = [(title, lines) for title, lines in sections if lines]
    if any(len(folded(lines)) < len(lines) - 1 for _, lines in given if not any(line.parameter for line in lines)):
        given = [
            (title, [replace(line, formula=above(line.formula)) for line in folded(lines)]) for title, lines in given
        ]
    return tuple(Section(title, tuple(lines)) for title, lines in given)


def notes(program: Program, formulas: Iterable[Equal]) -> tuple[str, ...]:
    """What a reader has to know besides."""
    shifted = any(
        not in_range(access) and not any(isinstance(s, Access) for s in access.subscripts)
        for equation in program.equations
        for access in outer_accesses(equation.rhs)
    )
    return ("A value outside of its range is 0.",) if shifted else ()


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
