"""Run a program once, on named arrays: what tests, and looks at single batches, need.

    call(exe, values, sizes)               a compiled program: outputs, states as they are afterwards, "status"
    interpret(program, values, sizes)      its generated source, run by Python: an oracle that compiles nothing

Training keeps its arrays and calls the native function itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import numpy as np

from .executable import Executable, generate
from .program import Program
from .storage import Storage
from .team import record, team


def call(
    executable: Executable,
    values: Mapping[str, Any],
    sizes: Mapping[str, int],
    function: Callable[[list[int]], None] | None = None,
    threads: int = 1,
) -> dict[str, Any]:
    """Run once on named values, with arrays made for the occasion: the outputs, states as they are afterwards, and
    "status".  For tests and for looking at single batches; training keeps its arrays and calls the address itself."""
    manifest = executable.manifest
    real = np.dtype(manifest["dtype"])
    storage = Storage.from_json(manifest["storage"])
    raw = np.zeros(manifest["memory_elements"] * real.itemsize + 64, np.uint8)
    start = -raw.ctypes.data % 64
    block = raw[start : start + manifest["memory_elements"] * real.itemsize].view(real)
    for slot in storage.slots:
        if slot.name in values:
            storage.view(block, slot.name)[...] = values[slot.name]
    hyper = np.array([float(values[name]) for name in manifest["hyper"]] or [0.0])
    integers = np.array([int(values[name]) for name in manifest["integers"]] or [0], np.int64)
    status = np.zeros(1, np.int64)
    arrays: dict[str, Any] = {"memory": block, "hyper": hyper, "integers": integers, "status": status}
    for name in manifest["slots"]:
        owner, _, part = name.partition(":")
        if name in arrays or owner == "size" or name == "team":
            continue
        kind = np.dtype(np.int64) if manifest["kinds"][owner] == "integer" else real
        if owner in manifest["outputs"]:
            arrays[name] = np.zeros([_number(n, sizes) for n in manifest["outputs"][owner]], kind)
        elif part:
            rows = compressed_rows(values[owner])
            arrays[name] = {"rows": rows.indptr, "columns": rows.indices, "values": rows.data}[part]
            arrays[name] = np.ascontiguousarray(arrays[name], kind if part == "values" else np.int64)
        else:
            arrays[name] = np.ascontiguousarray(values[owner], kind)
    table = np.zeros(len(manifest["slots"]), np.int64)
    for name, position in manifest["slots"].items():
        owner, _, part = name.partition(":")
        if name != "team":
            table[position] = sizes[part] if owner == "size" else arrays[name].ctypes.data
    if function is None:
        if manifest["divided"]:
            table = np.append(table[:-1], record(threads))
        team().call(executable.address, table.ctypes.data, threads)
    else:
        given = arrays | {"team": np.zeros(1, np.int64)}
        function([given[name] if name in given else sizes[name.partition(":")[2]] for name in manifest["slots"]])
    results = {name: arrays[name] for name in manifest["outputs"] if name in arrays}
    results |= {slot.name: storage.view(block, slot.name).copy() for slot in storage.slots}
    return {**results, "status": int(status[0])}


def compressed_rows(matrix: Any) -> Any:
    """A sparse matrix by rows, columns in order (SciPy's CSR); dense arrays are taken for tests."""
    from scipy.sparse import csr_array

    rows = csr_array(matrix)
    rows.sort_indices()
    return rows


def _number(text: str, sizes: Mapping[str, int]) -> int:
    return prod(sizes[part] if part in sizes else int(part) for part in text.split("*"))


def interpret(
    program: Program, values: Mapping[str, Any], sizes: Mapping[str, int], plain: bool = True, dtype: str = "float64"
) -> dict[str, Any]:
    """The generated source of a program, run by Python: slow, and independent of LLVM and of kernels.

    With `plain`, the general loop nests: an oracle of its own; without, the loops and calls as they are compiled."""
    from .interpreter import NAMESPACE, product

    text, calls, _, manifest = generate(program, dtype, None, dict(sizes), plain=plain)
    space = {**NAMESPACE, **{name: product(spec) for name, spec in calls.items()}}
    exec(compile(text, "<kernel>", "exec"), space)  # our own: of users' text but checked identifiers, in comments
    with np.errstate(all="ignore"):  # both sides of a choice are computed
        return call(Executable(0, text, manifest), values, sizes, space["kernel"])
