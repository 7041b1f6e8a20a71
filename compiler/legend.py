"""The head of a generated source: what it is, by what it was made, and where each tensor stands in memory.

In: the lowered program and its places.  Out: lines of comment.  The same program gives the same lines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from .cache import version
from .expressions import Places
from .kernels.epilogue import SUM
from .layout import Layout
from .program import Tensor

MADE_BY = ("numba", "llvmlite", "numpy", "sympy")


def legend(
    lines: Sequence[str],
    dtype: str,
    capacity: Mapping[str, int],
    layout: Layout,
    places: Places,
    calls: Mapping[str, Any],
) -> list[str]:
    """Comment lines to stand above `lines`; the hash is that of `lines`."""
    rows = ", ".join(f"{name} <= {number}" for name, number in sorted(capacity.items())) or "no sizes at run time"
    versions = ", ".join(f"{name} {version(name)}" for name in MADE_BY)
    digest = sha256("\n".join(lines).encode()).hexdigest()
    head = [
        f"# Generated from equations: one native function of {dtype}, {rows}.  Lines stand beside their formulas.",
        f"# {versions}; sha256 of what follows {digest[:16]}",
        "#",
        "# Places in the block M (first element: one past the last), storage order of the axes where it is another:",
    ]
    where = sorted((offset, t.name, t) for t, offset in places.offsets.items() if t not in layout.owner)
    head += [_place(offset, tensor, layout, capacity) for offset, _, tensor in where]
    if calls:
        head += ["#", "# Matrix products C = start + A B; r is a size at run time:"]
        after = {name: f", then {spec.epilogue}" * (spec.epilogue != SUM) for name, spec in calls.items()}
        head += [f"#   {name} = {spec.name}{after[name]}" for name, spec in calls.items()]
    return [re.sub(r"[^\x20-\x7e]", "?", line) for line in (*head, "")]


def _place(offset: int, tensor: Tensor, layout: Layout, capacity: Mapping[str, int]) -> str:
    count = layout.elements(tensor)
    size = int(count.subs({s: capacity[s.name] for s in count.free_symbols}))
    shape = ", ".join(map(str, tensor.shape))
    order = layout.axes(tensor)
    stored = "" if order == tuple(range(tensor.rank)) else f", stored by axes {', '.join(map(str, order))}"
    stored += f", all slots of axis {order[0]} in one place" if tensor.name in layout.single else ""
    return f"#   {offset:7d}: {offset + size:7d}  {tensor.name} ({shape}){stored}"
