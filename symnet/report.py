"""The report of a kernel: its manifest as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def describe(manifest: Mapping[str, Any]) -> str:
    """A manifest as a table: a line for each pass (columns as it recorded them), then the kernel."""
    passes: list[dict[str, Any]] = list(manifest.get("passes", ()))
    lines = []
    if passes:
        columns = list(passes[0])
        cells = [columns, *[[_cell(row.get(c, "")) for c in columns] for row in passes]]
        widths = [max(len(row[k]) for row in cells) for k in range(len(columns))]
        lines = [
            "  ".join(cell.rjust(w) if k else cell.ljust(w) for k, (cell, w) in enumerate(zip(row, widths)))
            for row in cells
        ]
    storage, arena = manifest["storage"], manifest["arena"]
    lines += [
        f"parameters and states: {storage['elements']} elements of {manifest['dtype']}",
        f"scratch: {arena['elements']} elements for {manifest['capacity'].get('N', 1)} rows",
    ]
    lines += [f"{name}: {_cell(value)} ms" for name, value in manifest.get("milliseconds", {}).items()]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)
