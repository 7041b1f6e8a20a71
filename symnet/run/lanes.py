"""Tiny networks, several in the lanes of a vector: whether a loop can run so, and its kernels translated for it.

In: a Loop, and which hyper-parameters its copies differ in.  Out: the number of lanes, and an address for each kernel;
None where it is of no use, or the text of a kernel cannot be translated with lanes.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from compiler import native

from .execution import Call
from .loop import Loop

PARAMETERS = 32  # as compiler/spell.py has it: loops over the elements of a larger network fill vectors themselves


@dataclass(frozen=True, slots=True)
class Vectorized:
    """How many lanes, and the addresses of the kernels: of the step, and of the evaluation if there is one."""

    lanes: int
    kernels: tuple[int, ...]


def vectorized(loop: Loop, varying: Collection[str], copies: int) -> Vectorized | None:
    c, monitor = loop.control, loop.monitor
    if sum(np.size(value) for value in loop.model.parameters.values()) > PARAMETERS:
        return None
    if monitor.patience is not None or monitor.restore_best or c["PARTS"] or c["CHECK_PARTS"]:
        return None  # copies that end by themselves
    from compiler.kernels.matmul import target

    lanes = target().bytes // loop.model.memory.dtype.itemsize
    if copies < lanes:
        return None
    lanes *= 2 if copies >= 2 * lanes else 1  # two registers: one waits for a root or a quotient less often
    try:
        kernels = tuple(_translated(loop, call, lanes, varying) for call in loop.calls)
    except native.NativeError:  # of some texts there is no such translation
        return None
    return Vectorized(lanes, kernels)


def _translated(loop: Loop, call: Call, lanes: int, varying: Collection[str]) -> int:
    from compiler.translate import Lanes

    kernel = call.kernel
    slots = {kernel.slots[name] for name in loop.model.constants if name in kernel.slots}
    if call is not loop.calls[0] or not loop.control["SHUFFLE"]:
        slots |= {kernel.slots[name] for name in loop.data.arrays if name in kernel.slots}
    pointers = re.findall(r"^    (\w+) = pointer_\w+\(table\[(\d+)\]\)", kernel.source, re.MULTILINE)
    shared = {variable for variable, slot in pointers if int(slot) in slots}
    shared |= {f"H[{k}]" for k, name in enumerate(kernel.manifest["hyper"]) if name not in varying}
    shared |= {f"I[{k}]" for k, name in enumerate(kernel.manifest["integers"]) if name != "seed"}
    return native.build_source(kernel.source, "kernel", lanes=Lanes(lanes, frozenset(shared))).address
