"""A program as NumPy source that runs on its own: what `net.to_numpy()` and `net.gradient(name).to_numpy()` give.

In: a Program of a network.  Out: a module as text, with one function.  It imports NumPy alone (and scipy.special where
an error function occurs).  Sums of products become matrix products and einsum, what else stands in an equation an
expression over whole arrays; equations that read their own past become a loop over the shifted axis.
"""

from __future__ import annotations

import keyword
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp
from sympy import Basic, Expr

from compiler.graph import strongly_connected
from compiler.passes.simplify_algebra import simplify_algebra
from compiler.passes.stabilize import stabilize
from compiler.program import Equation, Index, Program, Tensor, indices

from . import typeset as plain
from .numpy_expressions import ATOM, HELPERS, Expressions
from .numpy_loops import at_step, direction, is_here
from .numpy_products import contraction
from .textbook import Book

if TYPE_CHECKING:
    from ..network import Network

RESERVED = ("np", "parameters", "X", "gradients", *HELPERS, "erf", "erfc", "ndtr")
INDENT = "    "
LONG = 100  # columns of a comment


def prepared(program: Program) -> Program:
    """Without what is not needed, without numbers to compute, without overflow; f(z) is read where it has a name."""
    program = stabilize(simplify_algebra(program.live()))
    book = Book(program)

    return program.with_equations(map(book.read, program.equations)).live()


@dataclass(slots=True)
class Body:
    """The lines of the function, as they are written."""

    program: Program
    names: Mapping[Tensor, str]
    expressions: Expressions
    lines: list[str] = field(default_factory=list)
    depth: int = 1

    def line(self, text: str) -> None:
        self.lines.append(INDENT * self.depth + text)

    # ------------------------------------------------------------------------------------------ order
    def write(self) -> None:
        definitions = self.program.definitions
        needs = {
            tensor: list(dict.fromkeys(a.tensor for e in equations for a in e.reads() if a.tensor in definitions))
            for tensor, equations in definitions.items()
        }
        book = Book(self.program)
        for group in strongly_connected(self.program.roots, needs):
            if not all(tensor in definitions for tensor in group):
                continue
            for tensor in sorted(group, key=book.place.__getitem__):
                comment = plain.unicode(book.formula(tensor))
                if len(comment) <= LONG:
                    self.line(f"# {comment}")
            if len(group) == 1 and group[0] not in needs[group[0]]:
                self.tensor(group[0])
            else:
                self.recurrence(group)

    def tensor(self, tensor: Tensor) -> None:
        """A tensor that no cycle goes through: one assignment if all its equations write it whole."""
        equations = self.program.definitions[tensor]
        if equations[0].op != "sum":
            (equation,) = equations
            own = [s for s in equation.lhs.subscripts if isinstance(s, Index)]
            self.line(f"{self.names[tensor]} = {self.reduced(equation, own)}")
            return
        whole = [e for e in equations if is_whole(e)]
        if whole:
            own = list(whole[0].lhs.subscripts)
            parts, covered = [], False
            for equation in whole:
                new = dict(zip(equation.lhs.subscripts, own, strict=True))
                renamed = apart(equation, new)
                parts.append(self.value(renamed, own))
                covered |= set(own) <= set(indices(renamed.rhs)) and renamed.where is sp.true
            text = joined(parts)
            if not covered:
                text = f"{self.empty(tensor)} + {text}" if not text.startswith("-") else f"{self.empty(tensor)} {text}"
            self.line(f"{self.names[tensor]} = {text}")
        else:
            self.line(f"{self.names[tensor]} = {self.empty(tensor)}")
        for equation in equations:
            if not is_whole(equation):
                self.contribution(equation)

    def empty(self, tensor: Tensor) -> str:
        if not tensor.rank:
            return "0" if tensor.kind == "integer" else "0.0"
        dtype = ", np.int64" if tensor.kind == "integer" else ""
        return f"np.zeros({self.shape(tensor.shape)}{dtype})"

    def shape(self, extents: Sequence[Expr]) -> str:
        return f"({', '.join(map(self.expressions.size, extents))}{',' * (len(extents) == 1)})"

    # ------------------------------------------------------------------------------------------ one equation
    def contribution(self, equation: Equation) -> None:
        """tensor[...] += ..."""
        name, on_the_left = self.names[equation.tensor], indices(*equation.lhs.subscripts)
        free = [i for i in equation.domain if i in on_the_left and i not in self.expressions.fixed]
        found = self.expressions.slices(equation.lhs)
        if found is None:
            self.expressions.used["add"] = None
            subscripts = ", ".join(self.expressions.subscript(s, free) for s in equation.lhs.subscripts)
            comma = "," * (len(equation.lhs.subscripts) == 1)
            self.line(f"add({name}, ({subscripts}{comma}), {self.value(equation, free)})")
            return
        parts, order, guards = found
        ordered = Equation(
            equation.lhs, (*order, *(i for i in equation.domain if i not in order)), equation.rhs, "sum", equation.where
        )
        value = self.value(ordered, order)
        if guards:
            self.line(f"if {' and '.join(guards)}:")
            self.depth += 1
        target = f"{name}[{', '.join(parts)}]" if parts else name
        if value.startswith("-"):
            self.line(f"{target} -= {value[1:]}" if self.is_one(value[1:]) else f"{target} += {value}")
        else:
            self.line(f"{target} += {value}")
        self.depth -= bool(guards)

    def is_one(self, text: str) -> bool:
        """Is it one term, so that a sign in front is of all of it?"""
        depth = 0
        for before, sign in zip(" " + text, text, strict=False):
            depth += (sign in "([") - (sign in ")]")
            if not depth and sign in "+-" and before == " ":
                return False
        return True

    def value(self, equation: Equation, free: Sequence[Index]) -> str:
        """The sum over the bound indices, aligned to the free ones."""
        if equation.op != "sum":
            return self.reduced(equation, free)
        bound = [i for i in equation.domain if i not in free and i not in self.expressions.fixed]
        if equation.where is not sp.true:
            return self.masked(equation, free, bound)
        if not bound:
            return self.expressions.text(equation.rhs, free)
        whole = sp.Add.make_args(equation.rhs)
        return joined([contraction(self.expressions, term, free, bound) for term in sorted(whole, key=str)])

    def masked(self, equation: Equation, free: Sequence[Index], bound: Sequence[Index]) -> str:
        """Where a condition does not hold nothing is added, whatever the expression is there."""
        write, seen = self.expressions, indices(equation.where, equation.rhs)
        summed = [i for i in bound if i in seen]
        axes = (*free, *summed)
        text = f"np.where({write.condition(equation.where, axes)}, {write.text(equation.rhs, axes)}, 0.0)"
        if summed:
            text += f".sum(axis={-1 if len(summed) == 1 else tuple(range(-len(summed), 0))})"
        return "*".join([*(write.size(i.extent) for i in bound if i not in seen), text])

    def reduced(self, equation: Equation, free: Sequence[Index]) -> str:
        """max, argmax, logsumexp over the bound indices: the last axis, in row-major order"""
        write, op = self.expressions, equation.op
        bound = [i for i in equation.domain if i not in free and i not in write.fixed]
        axes = (*free, *bound)
        text = write.text(equation.rhs, axes, ATOM)
        if equation.where is not sp.true:
            text = f"np.where({write.condition(equation.where, axes)}, {text}, -np.inf)"
        complete = set(axes) <= set(indices(equation.rhs)) | (
            set(indices(equation.where)) if equation.where is not sp.true else set()
        )
        if not complete:
            text = f"np.broadcast_to({text}, {self.shape([i.extent for i in axes])})"
        if len(bound) != 1:
            sizes = ", ".join([*(write.size(i.extent) for i in free), "-1"])
            text = f"{text}.reshape({sizes})"
        if op == "logsumexp":
            write.used["logsumexp"] = None
            return f"logsumexp({text})"
        if op == "max":
            return f"{text}.max(axis=-1, initial=-np.inf)"
        if equation.where is sp.true:
            return f"{text}.argmax(axis=-1)"
        mask = write.condition(equation.where, axes)
        shape = self.shape([i.extent for i in axes])
        sizes = ", ".join([*(write.size(i.extent) for i in free), "-1"])
        return f"np.where(np.broadcast_to({mask}, {shape}).reshape({sizes}).any(axis=-1), {text}.argmax(axis=-1), -1)"

    # ------------------------------------------------------------------------------------------ recurrences
    def recurrence(self, group: Sequence[Tensor]) -> None:
        inside = set(group)
        equations = [e for e in self.program.equations if e.tensor in inside]
        for tensor in sorted(group, key=[e.tensor for e in equations].index):
            self.line(f"{self.names[tensor]} = {self.empty(tensor)}")
        first = [e for e in equations if e.op == "sum" and not any(a.tensor in inside for a in e.reads())]
        for equation in first:
            self.contribution(equation)
        self.loop([e for e in equations if e not in first], inside, ())

    def loop(self, equations: Sequence[Equation], inside: set[Tensor], outer: tuple[dict[Tensor, int], ...]) -> None:
        """A loop over an axis along which every read of the group looks the same way, or stays where it is.

        outer: the axes of the loops around it.
        """
        reads = {e: [a for a in e.reads() if a.tensor in inside and is_here(a, e.lhs, outer)] for e in equations}
        axis, extent, forward = direction(reads, self.expressions.fixed)
        taken = {*self.names.values(), *self.expressions.fixed.values()}
        letter = next(
            (s.name for e in equations for s in [e.lhs.subscripts[axis[e.tensor]]] if isinstance(s, Index)), "t"
        )
        variable = letter
        while variable in taken:
            variable += "_"
        size = self.expressions.size(extent)
        self.line(f"for {variable} in {f'range({size})' if forward else f'reversed(range({size}))'}:")
        self.depth += 1
        here = [at_step(equation, axis[equation.tensor], variable, extent) for equation in equations]
        now = {Index(variable, extent)} | {i for e, _ in here for i in indices(e.rhs, e.where, *e.lhs.subscripts)}
        now = {i for i in now if i.name == variable}
        self.expressions.fixed.update(dict.fromkeys(now, variable))
        edges: dict[Equation, list[Equation]] = {}
        for equation, _ in here:
            now_read = [a for a in equation.reads() if a.tensor in inside and is_here(a, equation.lhs, (*outer, axis))]
            edges[equation] = [q for q, _ in here if any(a.tensor == q.tensor for a in now_read)]
        guards = dict(here)
        for group in strongly_connected([e for e, _ in here], edges):
            if len(group) > 1 or group[0] in edges[group[0]]:
                self.loop([e for e, _ in here if e in group], {e.tensor for e in group}, (*outer, axis))
                continue
            (equation,) = group
            if guards[equation]:
                self.line(f"if {' and '.join(guards[equation])}:")
            self.depth += bool(guards[equation])
            self.contribution(equation)
            self.depth -= bool(guards[equation])
        for index in now:
            del self.expressions.fixed[index]
        self.depth -= 1


# ---------------------------------------------------------------------------------------------- equations
def is_whole(equation: Equation) -> bool:
    """Does it write every element of its tensor, each index an axis?"""
    subscripts = equation.lhs.subscripts
    return (
        equation.op == "sum"
        and len(set(subscripts)) == len(subscripts)
        and all(
            isinstance(s, Index) and (s.low, s.high) == (0, n)
            for s, n in zip(subscripts, equation.tensor.shape, strict=True)
        )
    )


def apart(equation: Equation, new: Mapping[Basic, Basic]) -> Equation:
    """The equation with other indices on the left; bound ones make room for them."""
    taken = {i.name for i in new.values() if isinstance(i, Index)}
    moved: dict[Basic, Basic] = dict(new)
    for index in equation.bound:
        if index.name in taken:
            name = next(f"{index.name}{k}" for k in range(1, 1000) if f"{index.name}{k}" not in taken)
            moved[index] = index.named(name)
            taken.add(name)
    return equation.substitute({old: now for old, now in moved.items() if old != now})


def joined(parts: Sequence[str]) -> str:
    first, *rest = sorted(parts, key=lambda part: part.startswith("-"))
    return first + "".join(f" - {part[1:]}" if part.startswith("-") else f" + {part}" for part in rest)


# ---------------------------------------------------------------------------------------------- the module
def variables(tensors: Sequence[Tensor]) -> dict[Tensor, str]:
    """A Python name for each tensor, its own where that is one."""
    names: dict[Tensor, str] = {}
    taken = {*RESERVED, "N", "y"}
    for tensor in tensors:
        name = tensor.name if tensor.name.isidentifier() else "t"
        if tensor.name == "y" and tensor.role == "target":
            taken.discard("y")
        while name in taken or keyword.iskeyword(name):
            name += "_"
        taken.add(name)
        names[tensor] = name
    return names


def of_program(program: Program) -> str:
    """Source of evaluate(values, sizes), for any program: values of tensors by name -> those of its roots by name."""
    names = variables(program.tensors)
    body = Body(program, names, Expressions(names))
    body.write()
    lines = [f"{INDENT}{size} = sizes[{size.name!r}]" for size in program.sizes]
    for tensor in program.tensors:
        if tensor not in program.definitions:
            lines.append(f"{INDENT}{names[tensor]} = {_array(f'values[{tensor.name!r}]', tensor)}")
    results = ", ".join(f"{tensor.name!r}: {names[tensor]}" for tensor in program.roots)
    return _module("def evaluate(values, sizes):", [*lines, *body.lines, f"{INDENT}return {{{results}}}"], body)


def of_network(
    network: Network,
    program: Program,
    results: Mapping[str, Tensor],
    target: str,
    alone: bool,
    at: tuple[int, ...] | None = None,
) -> str:
    """Source of value_and_gradient(parameters, X, y), or, `alone`, of gradient(parameters, X, y): one array."""
    program = prepared(program)
    names = variables(program.tensors)
    body = Body(program, names, Expressions(names))
    body.write()
    given = [t for t in program.tensors if t not in program.definitions]
    hyper = {t: network.hyper[t.name] for t in given if t.role == "hyper" and t.name in network.hyper}
    arguments = "".join(f", {names[t]}={value!r}" for t, value in hyper.items())
    what = "R and its gradients by the names of the parameters"
    returned = ", ".join(f"{user!r}: {names[tensor]}" for user, tensor in results.items())
    returned = f"{names[program.outputs[0]]}, {{{returned}}}"
    if alone:
        (user, tensor), *_ = results.items()
        what, returned = f"the gradient of {user}", names[tensor]
        if at is not None:
            what, returned = f"{what}{list(at)}", f"{returned}[{', '.join(map(str, at))}]"
    samples = "labels" if target == "labels" else "targets"
    lines = [
        f'{INDENT}"""{what}; X: inputs, a row for each sample; y: {samples}."""',
        *(INDENT + line for line in _data(network, program, names)),
        *(INDENT + line for line in _constants(network, given, names)),
        *body.lines,
        f"{INDENT}return {returned}",
    ]
    return _module(f"def {'gradient' if alone else 'value_and_gradient'}(parameters, X, y{arguments}):", lines, body)


def _module(head: str, lines: Sequence[str], body: Body) -> str:
    used = body.expressions.used
    top = [
        "import numpy as np",
        *(text for text in sorted(used) if text.startswith("from ")),
        "",
        "",
        *(line for helper in HELPERS if helper in used for line in (*HELPERS[helper].splitlines(), "", "")),
        '@np.errstate(all="ignore")',
    ]
    return "\n".join([*top, head, *lines]) + "\n"


def _data(network: Network, program: Program, names: Mapping[Tensor, str]) -> Iterator[str]:
    """Parameters and data, in the shapes of the equations."""
    present = set(program.tensors)
    for user, tensor in network.tensors.items():
        if tensor in present:
            yield f"{names[tensor]} = np.asarray(parameters[{user!r}], float)"
    several = len(network.inputs) > 1
    first = True
    for user, tensor in network.inputs.items():
        source = f"X[{user!r}]" if several else "X"
        if first:
            yield f"N = len({source})"
            first = False
        if tensor in present:
            yield f"{names[tensor]} = {_array(source, tensor)}"
    for tensor in program.tensors:
        if tensor.role == "target":
            source = f"y[{tensor.name.removeprefix('y_')!r}]" if tensor.name.startswith("y_") else "y"
            yield f"{names[tensor]} = {_array(source, tensor)}"


def _array(source: str, tensor: Tensor) -> str:
    shape = ", ".join(map(str, tensor.shape)) or "()"
    kind = "np.int64" if tensor.kind == "integer" else "float"
    return f"np.asarray({source}, {kind}).reshape({shape})"


def _constants(network: Network, given: Sequence[Tensor], names: Mapping[Tensor, str]) -> Iterator[str]:
    values: Mapping[str, Any] = network.constants
    for tensor in given:
        if tensor.role == "constant":
            value = values[tensor.name]
            array = np.asarray(value.toarray() if tensor.sparse else value)
            yield f"{names[tensor]} = np.array({array.tolist()!r})"
