"""Last changes in the language before loops are made: what helps the shape of the code, not its meaning.

In: a program after the passes.  Out: a program.  Each function is a pure Program -> Program, like the passes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import sympy as sp
from sympy import Basic, Expr, Integer

from .dependence import loop_axes
from .fuse import EXPENSIVE, SHORT_ROW
from .graph import at_least, box
from .live_slots import drop_unread
from .pack import pack_operands, turn_operands
from .pad import pad_windows
from .passes import rewriting
from .passes.definitions import is_whole
from .passes.rewriting import free_name, is_infinite, names
from .program import (
    Access,
    Equation,
    Index,
    Program,
    Tensor,
    accesses,
    affine,
    in_range,
    indices,
    merge_duplicates,
    outer_accesses,
)
from .spans import sparse_rows
from .spell import spell_out

CHEAP = 6  # operations that cost less than a store and a load
LONG_ROW = 256  # elements from which a loop over rows takes no longer than a flat one; measured for Adam
LONGEST = 64  # with those of what is read: values that are read twice, of values that are, would double with each


def prepare(program: Program) -> Program:
    program = choose_instead_of_skip(trim_domains(drop_unread(copy_sparse(program))))
    program = pack_operands(pad_windows(spell_out(program)))
    return turn_operands(split_short_rows(inline_cheap_maps(merge_maps(program))))


def copy_sparse(program: Program) -> Program:
    """One sparse tensor says which points a loop visits; a second one at the same points is read from a dense copy, and
    so is one whose columns are the steps of a recurrence."""
    if not any(tensor.sparse for tensor in program.tensors):
        return program
    copies: dict[Tensor, Equation] = {}
    steps, taken = loop_axes(program.equations), names(program)

    def read(equation: Equation) -> Equation:
        outside = indices(*(equation.lhs.subscripts[axis] for axis in steps.get(equation.tensor, ())))
        visited = [access for column, access in sparse_rows(equation).items() if column not in outside]
        table: dict[Basic, Basic] = {}
        for access in outer_accesses(equation.rhs):
            tensor = access.tensor
            if tensor.sparse and access not in visited:
                if tensor not in copies:
                    every = tuple(Index(name, extent) for name, extent in zip("ij", tensor.shape, strict=True))
                    copy = Tensor(free_name(f"{tensor.name}_dense", taken), tensor.shape)
                    copies[tensor] = Equation(Access(copy, *every), every, Access(tensor, *every))
                table[access] = Access(copies[tensor].tensor, *access.subscripts)
        return equation.map(lambda e: e.xreplace(table)) if table else equation

    changed = [read(equation) for equation in program.equations]
    return program.with_equations([*copies.values(), *changed])


def trim_domains(program: Program) -> Program:
    """Where a factor is out of range it reads zero, and a write out of range is dropped: leave such points out."""
    following = {new for _, new in program.updates}
    updates = [e for e in program.equations if e.tensor in following]
    flat = {a.tensor for e in updates for a in e.reads()} if any(_has_roots(e.rhs) for e in updates) else set()
    return program.with_equations(_without_single(_trimmed(e), e.tensor in flat) for e in program.equations)


def _trimmed(equation: Equation) -> Equation:
    new: dict[Index, Index] = {}
    factors = sp.Mul.make_args(equation.rhs) if equation.op == "sum" else ()
    for access in (equation.lhs, *(f for f in factors if isinstance(f, Access))):
        for subscript, extent in zip(access.subscripts, access.tensor.shape, strict=True):
            parts = affine(subscript)
            index = parts.plain if parts is not None else None
            if parts is None or index is None or index not in equation.domain:
                continue
            low, high = new.get(index, index).low, new.get(index, index).high
            first, last = -parts.constant, extent - parts.constant
            low = first if at_least(first, low) else low
            high = last if at_least(high, last) else high
            if (low, high) != (index.low, index.high):
                new[index] = Index(index.name, high, low)
    return equation.substitute(new) if new else equation


def _without_single(equation: Equation, read_flat: bool) -> Equation:
    """A sum over one value of an index is no sum; and i+u with one value of u is i.

    read_flat: by an update that takes time, and would no longer be one flat loop; then outer products stay products."""
    rows = equation.lhs.subscripts[-1:] if _plain(equation.lhs) else ()
    if read_flat and _is_product(equation) and any(not at_least(i.extent, Integer(LONG_ROW)) for i in rows):
        return equation
    new: dict[Basic, Basic] = {i: i.low for i in equation.domain if i.extent == 1 and i not in equation.lhs.subscripts}
    if equation.op != "sum" or not new or _is_sparse(equation):
        return equation
    domain = tuple(i for i in equation.domain if i not in new)
    single = replace(equation.map(lambda e: rewriting.replace(e, new)), lhs=equation.lhs.xreplace(new), domain=domain)
    return equation if is_infinite(single.rhs) else single


def choose_instead_of_skip(program: Program) -> Program:
    """What is written once, and only where a condition holds, is written everywhere: 0 where it does not.

    So the element needs no zero before, and the loop has no jump."""
    result: list[Equation] = []
    for equation in program.equations:
        whole = replace(equation, where=sp.true)
        alone = len(program.definitions[equation.tensor]) == 1
        alone = alone and not _is_sparse(equation)
        if alone and equation.op == "sum" and not equation.bound and equation.where != True and box(whole) is not None:  # noqa: E712
            rhs = sp.Piecewise((equation.rhs, equation.where), (Integer(0), True), evaluate=False)
            equation = replace(whole, rhs=rhs)
        result.append(equation)
    return program.with_equations(result)


def merge_maps(program: Program) -> Program:
    """Maps of one tensor over one box become one equation: one loop, one store.

    What acts under a condition becomes a choice, so that nothing is added to what was just stored.
    """
    program = program.with_equations(merge_duplicates(program.equations))
    merged: dict[Equation, Equation | None] = {}
    for equations in program.definitions.values():
        groups: dict[object, list[Equation]] = {}
        for equation in equations:
            if not equation.bound and equation.op == "sum" and _plain(equation.lhs) and not _is_sparse(equation):
                whole = box(replace(equation, where=sp.true))
                if whole is not None:
                    groups.setdefault(whole, []).append(equation)
        for lead, *others in groups.values():
            if not others:
                continue
            shared = lead.where if all(e.where == lead.where for e in others) else sp.true
            terms = []
            for equation in (lead, *others):
                new = dict(zip(equation.lhs.subscripts, lead.lhs.subscripts, strict=True))
                rhs, where = equation.rhs.xreplace(new), equation.where.xreplace(new)
                terms.append(rhs if where == shared else sp.Piecewise((rhs, where), (0, True)))
                merged[equation] = None
            merged[lead] = replace(lead, rhs=sp.Add(*terms), where=shared)
    result = (merged.get(e, e) for e in program.equations)
    return program.with_equations(e for e in result if e is not None)


def _is_sparse(equation: Equation) -> bool:
    """It visits what is stored, no more, and the sparse tensor stays a factor of all of it."""
    return any(access.tensor.sparse for access in outer_accesses(equation.rhs))


def _plain(lhs: Access) -> bool:
    return all(isinstance(s, Index) for s in lhs.subscripts) and len(set(lhs.subscripts)) == len(lhs.subscripts)


def inline_cheap_maps(program: Program) -> Program:
    """A cheap elementwise value goes into the loops that read it instead of through memory; products need it stored."""
    kept = set(program.roots)
    readers: dict[Tensor, list[Equation]] = {}
    for equation in program.equations:
        for access in equation.reads():
            readers.setdefault(access.tensor, []).append(equation)
    table: dict[Tensor, Equation] = {}
    operations: dict[Tensor, int] = {}
    for tensor, equations in program.definitions.items():
        [*_, equation] = equations
        if len(equations) != 1 or tensor in kept or equation.bound or equation.op != "sum" or tensor.kind != "real":
            continue
        if equation.where != True or not is_whole(equation) or not _is_cheap(equation.rhs) or _is_sparse(equation):  # noqa: E712
            continue
        if any(_is_product(r) or not _reads_inside(r, tensor) or r.tensor == tensor for r in readers.get(tensor, [])):
            continue
        read = sum(operations.get(a.tensor, 0) * equation.rhs.count(a) for a in outer_accesses(equation.rhs))
        if read <= LONGEST - CHEAP:
            table[tensor], operations[tensor] = equation, read + int(sp.count_ops(equation.rhs))
    while True:
        result = [(e, _inlined(e, table)) for e in program.equations if e.tensor not in table]
        failed = {a.tensor for old, new in result if is_infinite(new.rhs) for a in old.reads()} & table.keys()
        if not failed:
            return program.with_equations(new for _, new in result)
        table = {tensor: equation for tensor, equation in table.items() if tensor not in failed}


def _is_cheap(rhs: Expr) -> bool:
    root = sp.Pow(sp.Wild("a"), sp.Rational(1, 2))
    return not rhs.has(*EXPENSIVE, sp.Piecewise, root) and sp.count_ops(rhs) <= CHEAP


def _has_roots(rhs: Expr) -> bool:
    return any(not power.exp.is_integer for power in rhs.atoms(sp.Pow))


def _is_product(equation: Equation) -> bool:
    factors = len(outer_accesses(equation.rhs))
    return bool(equation.bound) and equation.op == "sum" and equation.rhs.is_Mul and factors > 1


def _reads_inside(equation: Equation, tensor: Tensor) -> bool:
    """Every access to the tensor is an outer one, surely in range."""
    outer = [a for a in outer_accesses(equation.rhs) if a.tensor == tensor]
    everything = [a for a in accesses(equation.rhs, equation.where, *equation.lhs.subscripts) if a.tensor == tensor]
    return len(outer) == len(everything) and all(in_range(a) for a in outer)


def _inlined(equation: Equation, table: Mapping[Tensor, Equation]) -> Equation:
    while True:
        found = [a for a in outer_accesses(equation.rhs) if a.tensor in table]
        if not found:
            return equation
        new = {}
        for access in found:
            definition = table[access.tensor]
            subscripts = dict(zip(definition.lhs.subscripts, access.subscripts, strict=True))
            new[access] = definition.rhs.xreplace(subscripts)
        equation = replace(equation, rhs=rewriting.replace(equation.rhs, new))


def split_short_rows(program: Program) -> Program:
    """f(z[n,k] - m[n]) over short rows: the difference in row loops, the expensive function in one flat loop."""
    result: list[Equation] = []
    for equation in program.equations:
        rhs = equation.rhs
        if equation.bound or len(equation.domain) < 2 or not isinstance(rhs, EXPENSIVE) or not _plain(equation.lhs):
            result.append(equation)
            continue
        fastest = equation.lhs.subscripts[-1].extent
        broadcast = any(0 < len(indices(*a.subscripts)) < len(equation.domain) for a in outer_accesses(rhs))
        if not (fastest.is_Integer and fastest < SHORT_ROW and broadcast and len(rhs.args) == 1):
            result.append(equation)
            continue
        argument = Tensor(f"{equation.tensor.name}_argument", equation.tensor.shape)
        access = Access(argument, *equation.lhs.subscripts)
        result.append(replace(equation, lhs=access, rhs=rhs.args[0]))
        result.append(replace(equation, rhs=rhs.func(access)))
    return program.with_equations(result)
