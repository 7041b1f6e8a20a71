"""A picture drawn as SVG, without any other program.

In: a Picture (picture.py): nodes, each after those that it reads, and edges.  Out: SVG text.  Nodes stand in rows by
their longest path from a node that reads nothing; an edge over several rows has a lane in each row between.

Source: Sugiyama, Tagawa, Toda, Methods for visual understanding of hierarchical system structures (1981).
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .picture import Node, Picture

GLYPH, LINE, GAP, ROW = 7.9, 18, 24, 46  # widths and heights in pixels
SWEEPS = 4  # over the rows, to bring nodes near those that they read

STYLE = """
svg { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.node rect { fill: #eef3fb; stroke: #4a6fa5; } .input rect { fill: #eaf6ec; stroke: #4c8a57; }
.loss rect { fill: #fdf1e3; stroke: #b9772a; } .gradient rect { fill: #f8ecf6; stroke: #93508a; }
text { fill: #1b2430; } path { fill: none; stroke: #7c8796; } .backward path, path.backward { stroke: #93508a; }
@media (prefers-color-scheme: dark) {
.node rect { fill: #1d2a3d; stroke: #7fa3d6; } .input rect { fill: #1b3022; stroke: #7fbf8b; }
.loss rect { fill: #3a2a15; stroke: #e0a45c; } .gradient rect { fill: #35203a; stroke: #c98fc0; }
text { fill: #e4e9f0; } path { stroke: #98a3b3; } path.backward { stroke: #c98fc0; } }
"""


def svg(picture: Picture) -> str:
    """The drawing."""
    layout = _Layout(picture.nodes, picture.edges)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {layout.width:.0f} {layout.height:.0f}" '
        f'width="{layout.width:.0f}" role="img"><style>{STYLE}</style>',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8" /></marker></defs>',
    ]
    kinds = {node.name: node.kind for node in picture.nodes}
    for edge, path in layout.paths.items():
        css = ' class="backward"' if kinds[edge[1]] == "gradient" else ""
        parts.append(f'<path{css} d="{path}" marker-end="url(#tip)" />')
    for node in picture.nodes:
        box = layout.boxes[node.name]
        parts.append(f'<g class="{node.kind}"><rect x="{box.x - box.width / 2:.1f}" y="{box.y:.1f}" ')
        parts.append(f'width="{box.width:.1f}" height="{box.height}" rx="6" />')
        for k, line in enumerate(node.lines):
            anchor = f'x="{box.x:.1f}" y="{box.y + LINE * (k + 1):.1f}" text-anchor="middle"'
            parts.append(f"<text {anchor}>{escape(line)}</text>")
        parts.append("</g>")
    return "".join([*parts, "</svg>"])


@dataclass(slots=True)
class _Box:
    """x of the middle, y of the top."""

    width: float
    height: int
    x: float = 0.0
    y: float = 0.0


class _Layout:
    """Places of nodes and edges."""

    def __init__(self, nodes: tuple[Node, ...], edges: tuple[tuple[str, str], ...]) -> None:
        self.boxes = {n.name: _Box(GLYPH * max(map(len, n.lines)) + 20, LINE * len(n.lines) + 12) for n in nodes}
        depth = self._depths([n.name for n in nodes], edges)
        rows: list[list[str]] = [[] for _ in range(max(depth.values()) + 1)]
        for node in nodes:
            rows[depth[node.name]].append(node.name)
        chains: dict[tuple[str, str], list[str]] = {}
        for a, b in edges:
            lanes = [f"{a}\0{b}\0{row}" for row in range(depth[a] + 1, depth[b])]
            for row, lane in enumerate(lanes, depth[a] + 1):
                self.boxes[lane] = _Box(8.0, 0)
                rows[row].append(lane)
            chains[a, b] = [a, *lanes, b]
        self._order(rows, list(chains.values()))
        self._place(rows)
        self.paths = {edge: self._path(chain) for edge, chain in chains.items()}

    @staticmethod
    def _depths(names: list[str], edges: tuple[tuple[str, str], ...]) -> dict[str, int]:
        depth = dict.fromkeys(names, 0)
        read = {b for _, b in edges}
        into: dict[str, list[str]] = {}
        readers: dict[str, list[str]] = {}
        for a, b in edges:
            into.setdefault(b, []).append(a)
            readers.setdefault(a, []).append(b)
        for name in names:  # each stands after those that it reads
            depth[name] = 1 + max((depth[a] for a in into.get(name, ())), default=-1)
        for name in names:  # what reads nothing stands just above its first reader
            if name in readers and name not in read:
                depth[name] = max(0, min(depth[b] for b in readers[name]) - 1)
        return depth

    @staticmethod
    def _order(rows: list[list[str]], chains: list[list[str]]) -> None:
        """Sort each row by the mean place of the neighbours in the row above, then below, several times."""
        above: dict[str, list[str]] = {}
        below: dict[str, list[str]] = {}
        for chain in chains:
            for a, b in pairwise(chain):
                below.setdefault(a, []).append(b)
                above.setdefault(b, []).append(a)
        for sweep in range(SWEEPS):
            near = below if sweep % 2 else above
            for row in rows[::-1] if sweep % 2 else rows:
                place = {name: (k + 0.5) / len(r) for r in rows for k, name in enumerate(r)}
                row.sort(key=lambda name: _mean([place[n] for n in near.get(name, [name])]))

    def _place(self, rows: list[list[str]]) -> None:
        lengths = [sum(self.boxes[name].width for name in row) + GAP * (len(row) - 1) for row in rows]
        self.width, top = max(lengths) + 2 * GAP, 12.0
        for row, length in zip(rows, lengths, strict=True):
            left, high = (self.width - length) / 2, max((self.boxes[name].height for name in row), default=0)
            for name in row:
                box = self.boxes[name]
                box.x, box.y = left + box.width / 2, top
                box.height = box.height or high  # a lane is as high as its row
                left += box.width + GAP
            top += high + ROW
        self.height = top - ROW + 12

    def _path(self, chain: list[str]) -> str:
        boxes = [self.boxes[name] for name in chain]
        text = f"M{boxes[0].x:.1f} {boxes[0].y + boxes[0].height:.1f}"
        for a, b in pairwise(boxes):
            start, middle = a.y + a.height, (a.y + a.height + b.y) / 2
            text += f"L{a.x:.1f} {start:.1f}C{a.x:.1f} {middle:.1f} {b.x:.1f} {middle:.1f} {b.x:.1f} {b.y:.1f}"
        return text


def _mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)
