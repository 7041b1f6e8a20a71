"""Where brackets stand, the same in every format.

In: how a format renders a node (text and precedence).  Out: text.
"""

from __future__ import annotations

from collections.abc import Callable

from .nodes import POWER, Logic, Node, Over

Render = Callable[[Node], tuple[str, int]]  # text and precedence
Enclose = Callable[[str], str]


def round_brackets(text: str) -> str:
    return f"({text})"


def within(render: Render, node: Node, least: int, enclose: Enclose = round_brackets) -> str:
    """The node's text, in brackets if it binds less than `least`."""
    text, binding = render(node)
    return text if binding >= least else enclose(text)


def bracketed(render: Render, part: Node, enclose: Enclose = round_brackets) -> str:
    text = render(part)[0]
    return enclose(text) if isinstance(part, Logic) else text


def factors_of(render: Render, factors: tuple[Node, ...], enclose: Enclose = round_brackets) -> list[str]:
    """A reduction needs no brackets as the last factor: nothing follows it."""
    *front, last = factors
    texts = [within(render, f, POWER, enclose) for f in front]
    return [*texts, render(last)[0] if isinstance(last, Over) else within(render, last, POWER, enclose)]


def signed(terms: list[tuple[int, str]]) -> str:
    (sign, first), *rest = terms
    return ("-" if sign < 0 else "") + first + "".join(f" {'-' if s < 0 else '+'} {text}" for s, text in rest)
