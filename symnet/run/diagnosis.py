"""Where a training step first leaves the finite numbers: the step is repeated with all of its values kept.

In: a model, the rows of the step, and the memory as it was before it.  Out: a sentence that names the tensor, the
element, the equation, and the parameter; "" where the repeated step stays finite.  Small steps are repeated by the
oracle (reference.py), larger ones by general loops, compiled for the occasion; both compute the equations as they are
declared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .execution import WITHOUT_FACTS

if TYPE_CHECKING:
    from compiler.program import Access, Equation, Program, Tensor

    from .training import Model

Array = np.ndarray[Any, np.dtype[Any]]
Named = dict[str, list[tuple[int | None, str]]]  # tensor -> (slot, what a user calls it)
WORK = 10**7  # elements of the parameters times rows: the oracle takes less time for them than a compiler


def diagnose(model: Model, given: Mapping[str, Array], variant: str, step: int) -> str:
    """given: the rows of the step by the names of tensors."""
    network, target = model.kernels.network, variant.removesuffix(WITHOUT_FACTS)
    program = network.training_program(model.optimizer, target)
    values: dict[str, Any] = {**network.constants, **model.hyper, "step": step, "seed": model.seed, **given}
    values |= {t.name: model.memory.view(t.name) for t in program.tensors if t.role in ("parameter", "state")}
    named: Named = {}
    gradients, following = network.gradients(target, training=True).by_name, dict(program.updates)
    for p in model.kernels.plan.parameters:
        tensor = network.tensors[p.name]
        for other, word in ((gradients[p.name], "the gradient of "), (following[tensor], "the new "), (tensor, "")):
            named.setdefault(other.name, []).append((p.slot, word + p.name))
    found = _repeated(program, values, model.dtype, len(next(iter(given.values()), ())))
    return _first(program, values, found, named)


def _repeated(program: Program, values: Mapping[str, Any], dtype: str, rows: int) -> Mapping[str, Array]:
    """The values of all tensors that the program defines."""
    size = sum(math.prod(np.shape(value)) for value in values.values())  # sparse constants, too: the oracle's are dense
    if size * max(rows, 1) <= WORK:
        from ..oracle.reference import evaluate
        from ..oracle.reference_float import floating

        real = floating(np.dtype(dtype).type)
        return evaluate(program, values, wanted=list(program.definitions), arithmetic=real)
    from compiler.calling import call
    from compiler.executable import compile_program
    from compiler.program import Program

    whole = Program(program.equations, tuple(program.definitions))
    return call(compile_program(whole, dtype, capacity={"N": rows}, plain=True), values, {"N": rows})


def _first(program: Program, values: Mapping[str, Any], found: Mapping[str, Array], named: Named) -> str:
    bad = {t: ~np.isfinite(found[t.name]) for t in program.definitions if t.kind == "real"}
    first = next((tensor for tensor, where in bad.items() if where.any()), None)
    if first is None:
        return ""
    tensor, place = _earliest(program, first, bad)
    value, lines = found[tensor.name][place], "; ".join(map(str, program.definitions[tensor]))
    owner = next((name for slot, name in named.get(tensor.name, ()) if slot is None or slot == place[0]), "")
    owner = owner or _largest(program, tensor, place, {**values, **found}, named)
    return f"The first of them is {tensor.name}{list(place) if place else ''} = {value} ({owner}), by {lines}."


def _earliest(program: Program, first: Tensor, bad: Mapping[Tensor, Array]) -> tuple[Tensor, tuple[int, ...]]:
    """The element that was computed first; tensors of a recurrence are computed together, slot by slot."""
    from compiler.dependence import loops

    for _, shift in loops(program.equations):
        if shift is None or first not in shift.axes:
            continue
        sign = -1 if min(shift.distances) < 0 else 1
        known = [tensor for tensor in bad if tensor in shift.axes and bad[tensor].any()]
        elements = []
        for number, tensor in enumerate(known):
            places, axis = np.argwhere(bad[tensor]), shift.axes[tensor]
            place = places[np.argmin(sign * places[:, axis])]
            elements.append((sign * (int(place[axis]) + shift.offsets[tensor]), number, tuple(map(int, place))))
        _, number, where = min(elements)
        return known[number], where
    return first, tuple(map(int, np.argwhere(bad[first])[0]))


def _largest(program: Program, tensor: Tensor, place: tuple[int, ...], values: Mapping[str, Any], named: Named) -> str:
    """Of the parameters and gradients that it is computed from most directly, the one with the largest element."""
    seen, level = {tensor}, [tensor]
    while level:
        reads = [(e, a) for t in level for e in program.definitions.get(t, ()) for a in e.reads()]
        sizes = []
        for equation, access in reads:
            own = _slot(equation, access, place) if equation.tensor == tensor else None
            for slot, name in named.get(access.tensor.name, ()):
                if slot is None or own is None or slot == own:
                    value = values[access.tensor.name]
                    sizes.append((float(np.abs(value if slot is None else value[slot]).max()), name))
        if sizes:
            size, name = max(sizes)
            return f"made with {name}, whose elements go up to {size:.3g}"
        level = [t for t in dict.fromkeys(access.tensor for _, access in reads) if t not in seen]
        seen.update(level)
    return "made without parameters"


def _slot(equation: Equation, access: Access, place: tuple[int, ...]) -> int | None:
    """The slot of what is read where this place is written, if it can be told: of h[l+1,n,i] += W[l,i,j]*h[l,n,j]."""
    from compiler.program import affine

    at = {}
    for subscript, number in zip(equation.lhs.subscripts, place, strict=True):
        parts = affine(subscript)
        if parts is not None and len(parts.terms) == 1 and parts.terms[0][1] == 1:
            at[parts.terms[0][0]] = number - parts.constant
    first = access.subscripts[0].xreplace(at) if access.subscripts else None
    return int(first) if first is not None and first.is_Integer else None
