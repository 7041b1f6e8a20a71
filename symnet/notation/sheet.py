"""A page of formulas, and the formats in which it is given away.

In: sections of formulas, as trees (nodes.py), from notation.py.  Out: Unicode text, LaTeX, mathtext, Markdown, MathML,
HTML, JSON.  All formats say the same lines in the same order.

JSON: {"title", "notation", "notes": [...], "sections": [{"title", "formulas": [{"parameter", "unicode", "latex",
"tree"}]}]}.  A tree is {"node": kind, field: value, ...} with the fields of the classes in nodes.py, those that have
their default left out; `from_tree` reads it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from html import escape
from typing import Any

from ..errors import unknown
from . import nodes
from .latex import aligned, latex, mathtext
from .mathml import mathml
from .nodes import Equal, Node
from .typeset import unicode

INDENT = "    "
STYLE = (
    "<style>.symnet-formulas{font-family:serif;line-height:1.5;overflow-x:auto}.symnet-formulas h4{margin:.8em 0 .2em}"
    ".symnet-formulas table{border-collapse:collapse}.symnet-formulas td{padding:.1em .8em .1em 0;text-align:left;"
    "border:0}.symnet-formulas code{white-space:nowrap}</style>"
)


@dataclass(frozen=True, slots=True)
class Line:
    """A formula; `parameter` is the name of the one whose gradient it gives, if it does."""

    formula: Equal
    parameter: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Sheet:
    """Formulas in sections, in one notation: "textbook", "matrix" or "index"."""

    title: str
    notation: str
    sections: tuple[Section, ...]
    notes: tuple[str, ...] = ()

    @property
    def formulas(self) -> tuple[Equal, ...]:
        return tuple(line.formula for section in self.sections for line in section.lines)

    def __iter__(self) -> Iterator[Section]:
        return iter(self.sections)

    # ------------------------------------------------------------------------------------------ formats
    def written(self, form: str) -> str:
        """In one of the formats "text", "latex", "mathtext", "markdown", "mathml", "html", "json"."""
        if form not in FORMATS:
            raise unknown("format", "format", form, FORMATS)
        return FORMATS[form](self)

    def text(self) -> str:
        width = max((len(line.parameter) for section in self.sections for line in section.lines), default=0)
        parts = [self.title] if self.title else []
        for section in self.sections:
            parts += [""] if parts else []
            parts += [section.title] if section.title else []
            indent = INDENT if section.title else ""
            for line in section.lines:
                name = f"{line.parameter:{width}}   " if line.parameter else ""
                parts.append(f"{indent}{name}{unicode(line.formula)}")
        if self.notes:
            parts += ["", *self.notes]
        return "\n".join(parts)

    __str__ = text

    def latex(self) -> str:
        """One aligned block; display mathematics for pdflatex with amsmath, and for KaTeX."""
        return aligned(self.formulas)

    def mathtext(self) -> str:
        """A line for each formula, which matplotlib renders between dollar signs."""
        return "\n".join(mathtext(formula) for formula in self.formulas)

    def markdown(self) -> str:
        """Titles, and a block of display mathematics for each section."""
        parts = [f"**{_quoted(self.title)}**"] if self.title else []
        for section in self.sections:
            parts += [f"**{_quoted(section.title)}**"] if section.title else []
            parts.append(f"$$\n{aligned([line.formula for line in section.lines])}\n$$")
        parts += [_quoted(note) for note in self.notes]
        return "\n\n".join(parts) + "\n"

    def mathml(self) -> str:
        """A <math> element for each formula, one a line."""
        return "\n".join(mathml(formula) for formula in self.formulas)

    def html(self) -> str:
        """Titles and MathML, which browsers show without scripts."""
        parts = [STYLE, '<div class="symnet-formulas">']
        parts += [f"<p><code>{escape(self.title)}</code></p>"] if self.title else []
        for section in self.sections:
            parts += [f"<h4>{escape(section.title)}</h4>"] if section.title else []
            rows = (
                f"<tr><td><code>{escape(line.parameter)}</code></td><td>{_inline(line.formula)}</td></tr>"
                if line.parameter
                else f'<tr><td colspan="2">{_inline(line.formula)}</td></tr>'
                for line in section.lines
            )
            parts.append(f"<table>{''.join(rows)}</table>")
        parts += [f"<p>{escape(note)}</p>" for note in self.notes]
        return "\n".join([*parts, "</div>"])

    def json(self) -> str:
        """Text and tree of each formula; see the head of sheet.py."""
        sections = [
            {"title": section.title, "formulas": [_described(line) for line in section.lines]}
            for section in self.sections
        ]
        whole = {"title": self.title, "notation": self.notation, "notes": list(self.notes), "sections": sections}
        return json.dumps(whole, ensure_ascii=False, indent=1) + "\n"


FORMATS: dict[str, Callable[[Sheet], str]] = {
    "text": Sheet.text,
    "latex": Sheet.latex,
    "mathtext": Sheet.mathtext,
    "markdown": Sheet.markdown,
    "mathml": Sheet.mathml,
    "html": Sheet.html,
    "json": Sheet.json,
}


def _inline(formula: Node) -> str:
    return mathml(formula).replace(' display="block"', ' displaystyle="true"', 1)


def _quoted(text: str) -> str:
    """Text in Markdown: no sign of it is a command."""
    return "".join(f"\\{sign}" if sign in "*_`$\\[]<>" else sign for sign in text)


def _described(line: Line) -> dict[str, Any]:
    return {
        "parameter": line.parameter or None,
        "unicode": unicode(line.formula),
        "latex": latex(line.formula),
        "tree": tree(line.formula),
    }


# ---------------------------------------------------------------------------------------------- trees
def tree(node: Any) -> Any:
    """A Node in the values that JSON has."""
    if isinstance(node, tuple):
        return [tree(part) for part in node]
    if not is_dataclass(node) or isinstance(node, type):
        return node
    default = {f.name: f.default for f in fields(node)}
    found = {f.name: getattr(node, f.name) for f in fields(node)}
    return {"node": type(node).__name__} | {k: tree(v) for k, v in found.items() if v != default[k]}


def from_tree(value: Any) -> Any:
    """The Node that `tree` described."""
    if isinstance(value, list):
        return tuple(map(from_tree, value))
    if not isinstance(value, dict):
        return value
    kind = getattr(nodes, value["node"])
    return kind(**{key: from_tree(part) for key, part in value.items() if key != "node"})
