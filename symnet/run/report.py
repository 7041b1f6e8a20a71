"""The report of a kernel: its manifest (compiler/executable.py) as text.

A line for each pass, with what it changed (before -> after) and why it is there; then the memory and the time taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def describe(manifest: Mapping[str, Any]) -> str:
    """Columns as the compiler recorded them; the reason of a pass, which is a sentence, last."""
    rows = manifest["capacity"].get("N", 1)
    item = 8 if manifest["dtype"] == "float64" else 4
    passes = [
        {**row, "flops": _for(row["flops"], rows), "bytes": _for(row["elements"], item * rows, item)}
        for row in manifest.get("passes", ())
    ]
    passes = [{k: v for k, v in row.items() if k != "elements"} for row in passes]
    lines = [*_table(passes), *_table(manifest.get("stages", ()))]
    storage, arena = manifest["storage"], manifest["arena"]
    bound = arena["lower_bound"] or 1
    lines += [
        f"parameters and states: {storage['elements']} elements of {manifest['dtype']}",
        f"scratch: {arena['elements']} elements for {rows} rows, "
        f"{arena['elements'] / bound:.2f} of the least that can live at once",
    ]
    lines += [f"{name}: {_cell(value)} ms" for name, value in manifest.get("milliseconds", {}).items()]
    return "\n".join(lines)


def _for(pair: Sequence[Sequence[int]], rows: int, unit: int = 1) -> list[int]:
    """(before, after) for so many rows, of (for no row, for each row)"""
    return [unit * fixed + rows * each for fixed, each in pair]


def _table(found: Sequence[Mapping[str, Any]]) -> list[str]:
    if not found:
        return []
    last = ("milliseconds", "reason")
    columns = sorted(found[0], key=lambda name: (*last, name).index(name) if name in last else -1)
    rows = [["pass" if name == "name" else name for name in columns]]
    rows += [[_cell(row.get(name, "")) for name in columns] for row in found]
    widths = [max(len(row[k]) for row in rows) for k in range(len(columns))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [*lines, ""]


def _cell(value: Any) -> str:
    match value:
        case [int() as before, int() as after] if max(before, after) >= 10_000:
            return f"{before:,}" if before == after else f"{before:,} -> {after:,}"
        case float():
            return f"{value:.1f}"
        case [before, after] if before == after:
            return str(after)
        case [before, after]:
            return f"{before} -> {after}"
    return str(value)
