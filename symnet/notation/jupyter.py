"""What notebooks show of networks, gradients, models and histories.

In: text, HTML, LaTeX.  Out: the bundle that Jupyter asks for, whichever of them it can show.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def bundle(text: str, html: str, latex: str = "") -> dict[str, str]:
    """By MIME type; HTML comes first where a notebook has the choice."""
    found = {"text/plain": text, "text/html": html}
    return found | ({"text/latex": latex} if latex else {})


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in HTML."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
