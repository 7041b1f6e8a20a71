"""The report of a kernel: its manifest (compiler/executable.py) as text.

A line for each pass, with what it changed (before -> after) and why it is there; then the memory and the time taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def describe(manifest: Mapping[str, Any]) -> str:
    """Columns as the compiler recorded them; the reason of a pass, which is a sentence, last."""
    lines = [*_table(manifest.get("passes", ())), *_table(manifest.get("stages", ()))]
    storage, arena = manifest["storage"], manifest["arena"]
    lines += [
        f"parameters and states: {storage['elements']} elements of {manifest['dtype']}",
        f"scratch: {arena['elements']} elements for {manifest['capacity'].get('N', 1)} rows",
    ]
    lines += [f"{name}: {_cell(value)} ms" for name, value in manifest.get("milliseconds", {}).items()]
    return "\n".join(lines)


def _table(found: Sequence[Mapping[str, Any]]) -> list[str]:
    if not found:
        return []
    columns = sorted(found[0], key=lambda name: name == "reason")  # stable: only `reason` moves
    rows = [["pass" if name == "name" else name for name in columns]]
    rows += [[_cell(row.get(name, "")) for name in columns] for row in found]
    widths = [max(len(row[k]) for row in rows) for k in range(len(columns))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [*lines, ""]


def _cell(value: Any) -> str:
    match value:
        case float():
            return f"{value:.1f}"
        case [before, after] if before == after:
            return str(after)
        case [before, after]:
            return f"{before} -> {after}"
    return str(value)
