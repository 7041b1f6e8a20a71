"""Kernels of one network, made at first use, and the memory that they share.

In: a Network, an optimizer, a dtype.  Out: for each purpose a `Call`: a native function with its table of slots
filled, ready to run on rows.  Stands between compiler/executable.py and training.py.

    training      one step on at most `capacity` rows: forward, backward, update; with risk: it gives R, too
    evaluation    summed loss and number of hits          prediction    labels, probabilities or values
    gradient      R and the gradient of every parameter; training gradient: the same of a step of training
    sums, update  a step in two parts (formulation/divided.py); update with risk: it gives R, too

A kernel that an earlier process made is found by its key in the disk cache, with neither SymPy nor Numba loaded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from compiler import cache, native, team
from compiler.storage import Storage

from ..declare.spec import Choice
from ..errors import SymnetError
from ..network import Network
from .collecting import seldom
from .data import Data
from .plan import make_plan, structure

if TYPE_CHECKING:
    from compiler.program import Program

Array = np.ndarray[Any, np.dtype[Any]]
ROWS = 256  # rows a call of everything but training: one kernel serves any number of rows
DIVIDED = ("sums", "update", "update with risk")
SIGNS = 4  # numbers that processes which divide a step add up with the sums
WITHOUT_FACTS = ", without facts"  # ends a variant whose data do not keep the promises of the program
ALIGNMENT = 64
CANARY = np.frombuffer(b"symnet: a kernel that writes here is out of its bounds, a defect!"[:64], np.uint8)


@dataclass(frozen=True, slots=True)
class Kernel:
    """A compiled program as it is run: its address, its source, and what compiler.executable says of it, as JSON."""

    address: int
    source: str
    manifest: Mapping[str, Any]

    @property
    def slots(self) -> Mapping[str, int]:
        return self.manifest["slots"]

    @property
    def outputs(self) -> tuple[str, ...]:
        return tuple(self.manifest["outputs"])


class Kernels:
    """The kernels of one network by purpose, all for the storage that its training step wants."""

    def __init__(self, network: Network, optimizer: Choice, dtype: str, accuracy: str = "usual") -> None:
        self.network, self.optimizer, self.dtype, self.accuracy = network, optimizer, dtype, accuracy
        with seldom():
            self.plan = make_plan(network, optimizer)
        self._structure = f"{structure(network.spec, optimizer)}, {network.rolls}, {accuracy}"
        self._made: dict[tuple[str, str, int], Kernel] = {}
        self.compiled = 0  # how many of them no earlier process had left in the disk cache

    @cached_property
    @seldom()
    def storage(self) -> Storage:
        """Where each parameter and state stands in memory."""
        key = cache.key("storage", self._structure, self.dtype)
        found = cache.load(key)
        if found is not None:
            return Storage.from_json(json.loads(found))
        from compiler.executable import plan_storage

        record = plan_storage(self.network.training_program(self.optimizer), self.dtype, self.accuracy).to_json()
        cache.store(key, json.dumps(record).encode())
        return Storage.from_json(record)

    @cached_property
    def with_sums(self) -> Storage:
        """The same with the sums of a divided step behind it."""
        from ..formulation.divided import with_sums

        return with_sums(self.storage, self.network, SIGNS)

    @seldom()
    def get(self, purpose: str, variant: str = "", capacity: int = ROWS) -> Kernel:
        """The kernel for a purpose; `variant`: how targets are given, or what is predicted."""
        place = (purpose, variant, capacity)
        if place not in self._made:
            key = cache.key("kernels", self._structure, self.dtype, purpose, variant, str(capacity))
            self._made[place] = _restored(key) or self._compiled(key, *place)
        return self._made[place]

    def made(self, purpose: str) -> list[Kernel]:
        """The kernels made so far for a purpose, the latest last."""
        return [kernel for (other, _, _), kernel in self._made.items() if other == purpose]

    def _compiled(self, key: str, purpose: str, variant: str, capacity: int) -> Kernel:
        from compiler.executable import compile_program

        program, capacities = self._program(purpose, variant), {"N": capacity}
        storage = self.with_sums if purpose in DIVIDED else self.storage
        if capacity == 1 and purpose.startswith("training"):
            program = program.with_sizes(capacities)  # a step has a row at least: no sum over rows is left
        made = compile_program(program, self.dtype, storage, capacities, accuracy=self.accuracy)
        self.compiled += 1
        cache.store(key, json.dumps({"manifest": made.manifest, "source": made.source}).encode())
        return Kernel(made.address, made.source, made.manifest)

    def _program(self, purpose: str, variant: str) -> Program:
        from ..formulation.divided import sums_program, update_program

        network, given = self.network, variant.removesuffix(WITHOUT_FACTS)
        match purpose:
            case "training" | "training with risk":
                program = network.training_program(self.optimizer, given, purpose != "training")
            case "sums":
                program = sums_program(network, given)
            case "update" | "update with risk":
                program = update_program(network, self.optimizer, given, purpose != "update")
            case "evaluation":
                program = network.evaluation_program(given)
            case "prediction":
                program = network.prediction_program(given)
            case "layer":
                program = network.layer_program(given)
            case _:
                assert purpose in ("gradient", "training gradient")
                program = network.gradient_program(given, purpose == "training gradient")
        return replace(program, facts=()) if given != variant else program


def _restored(key: str) -> Kernel | None:
    """A kernel of an earlier process, if the disk cache still has all of it."""
    found = cache.load(key)
    if found is None:
        return None
    record = json.loads(found)
    code = native.restore(record["manifest"]["key"])
    return None if code is None else Kernel(code.address, record["source"], record["manifest"])


class Memory:
    """One aligned block: parameters and states first, then the scratch part of whichever kernel runs.

    It grows with the kernels.  64 bytes on either side are a canary: `intact` says whether they are as they were.
    """

    def __init__(self, storage: Storage, dtype: str) -> None:
        self.storage = storage
        self.dtype = np.dtype(dtype)
        self.changes = 0  # how often anything but a training loop changed parameters, states or hyper-parameters
        self._allocate(storage.elements, np.empty(0, self.dtype))

    def _allocate(self, elements: int, kept: Array) -> None:
        """A block that begins with what is kept; whoever interrupts this finds the old one or the new one."""
        size = elements * self.dtype.itemsize
        raw = np.zeros(size + 3 * ALIGNMENT, np.uint8)
        start = -raw.ctypes.data % ALIGNMENT + ALIGNMENT
        raw[start - ALIGNMENT : start] = CANARY
        raw[start + size : start + size + ALIGNMENT] = CANARY
        block: Array = raw[start : start + size].view(self.dtype)
        block[: len(kept)] = kept
        self._raw, self._start, self._size, self.block = raw, start, size, block

    def reserve(self, elements: int) -> None:
        """Make room for a kernel that needs so many elements in all."""
        if elements > len(self.block):
            self._allocate(elements, self.persistent)

    @property
    def persistent(self) -> Array:
        """Parameters and states, as they lie in memory."""
        return self.block[: self.storage.elements]

    def view(self, tensor: str, slot: int | None = None) -> Array:
        """A parameter or state in its declared shape: a view, valid until the memory grows.

        slot: only that of one of the equal layers in the tensor.
        """
        whole: Array = self.storage.view(self.block, tensor)
        return whole if slot is None else whole[slot]

    @property
    def finite(self) -> bool:
        """All parameters and states are finite numbers."""
        if np.isfinite(self.persistent).all():
            return True
        return all(bool(np.isfinite(self.view(slot.name)).all()) for slot in self.storage.slots)  # not what pads them

    @property
    def intact(self) -> bool:
        before = self._raw[self._start - ALIGNMENT : self._start]
        after = self._raw[self._start + self._size :][:ALIGNMENT]
        return bool((before == CANARY).all() and (after == CANARY).all())


class Call:
    """A kernel with its table of slots.  Arrays are put in by name; those that are put in are kept alive.

    threads: at most so many run it, if it is worth it; None: as many as there are processors.
    """

    def __init__(
        self,
        kernel: Kernel,
        memory: Memory,
        hyper: Mapping[str, float],
        integers: Mapping[str, int],
        threads: int | None = None,
    ) -> None:
        self.kernel, self._memory = kernel, memory
        divided = kernel.manifest["divided"]
        self.threads = (team.processors() if threads is None else threads) if divided else 1
        self.slots = kernel.slots
        self.table: Array = np.zeros(max(self.slots.values()) + 1, np.int64)
        if divided:
            self.table = np.append(self.table[:-1], team.record(self.threads))
        self.status: Array = np.zeros(1, np.int64)
        self._integers: list[str] = kernel.manifest["integers"]
        self.numbers: Array = np.array([integers[name] for name in self._integers], np.int64)
        self._alive: dict[str, Array] = {}
        self.put("hyper", np.empty(len(kernel.manifest["hyper"])))
        self.take(hyper)
        self.put("integers", self.numbers)
        self.put("status", self.status)

    def put(self, name: str, array: Array) -> Array:
        assert array.flags.c_contiguous, f"{name} is not contiguous"
        if name in self.slots:
            self._alive[name] = array
            self.table[self.slots[name]] = array.ctypes.data
        return array

    def take(self, hyper: Mapping[str, float]) -> None:
        """Values of the hyper-parameters, from now on."""
        self._alive["hyper"][:] = [hyper[name] for name in self.kernel.manifest["hyper"]]

    @property
    def address(self) -> int:
        """Of the native function."""
        return self.kernel.address

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of what it gives."""
        return self.kernel.outputs

    def array(self, name: str) -> Array:
        """What was put in under this name."""
        return self._alive[name]

    @property
    def arrays(self) -> list[Array]:
        """All that the kernel reads and writes through its table, but for the memory."""
        return list(self._alive.values())

    @property
    def hyper(self) -> Array:
        """The hyper-parameters, in the order of the kernel's manifest."""
        return self._alive["hyper"]

    def place(self, name: str) -> tuple[Array, int] | None:
        """The integers, and where among them this one is; None if the kernel does not take it."""
        return (self.numbers, self._integers.index(name)) if name in self._integers else None

    def number(self, name: str) -> int:
        """The address of an integer argument, 0 if the kernel does not take it."""
        found = self.place(name)
        return 0 if found is None else int(found[0].ctypes.data + 8 * found[1])

    def reserve(self) -> None:
        """Make room in the memory."""
        self._memory.reserve(self.kernel.manifest["memory_elements"])

    def attach(self) -> None:
        """Take the address of the memory: before every run, since a kernel that needs more room moves it."""
        self.reserve()
        self.table[self.slots["memory"]] = self._memory.block.ctypes.data

    def run(self, rows: int) -> None:
        if "size:N" in self.slots:
            self.table[self.slots["size:N"]] = rows
        self.status[0] = 0
        team.team().call(self.kernel.address, self.table.ctypes.data, self.threads)


def assert_intact(memory: Memory) -> None:
    if not memory.intact:
        raise SymnetError("A kernel wrote outside its memory.  This is a defect of symnet; do not use this model.")


def variant(data: Data) -> str:
    """Which kernel fits these targets and weights."""
    given = data.given
    return given if data.facts_hold else given + WITHOUT_FACTS
