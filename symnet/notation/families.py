"""Formulas that are the same for layer after layer, printed once for a general layer l.

In: formulas of a section.  Out: the same, where runs of equal ones (up to the numbers of the layers, counted from the
layer that is defined) have become one with l in their place, and the range of l.  All other numbers then stand in
brackets above the letters, too, so that one page has one style.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from .nodes import Equal, Name, Node, Number, Over, Range, Sum, mapped, names, stem

FEWEST = 3  # a run of two is not shorter as a family


def folded(lines: Sequence[Any]) -> list[Any]:
    """The lines (each with a `formula`), runs of equal ones as one."""
    if not any(_level(line.formula) is not None for line in lines):
        return list(lines)
    general = [_general(line.formula) for line in lines]
    done: dict[int, Any] = {}
    seen: set[int] = set()
    for first, line in enumerate(lines):
        if first in seen:
            continue
        run = _run(lines, general, first, seen)
        levels = [level for k in run if (level := _level(lines[k].formula)) is not None]
        if len(run) < FEWEST or not _uses_others(lines[first].formula):
            done[first] = line
            continue
        seen.update(run)
        known = replace(general[first], range=Range("l", str(min(levels)), str(max(levels))))
        parameters = [lines[k].parameter for k in run]
        label = f"{parameters[0]} ... {parameters[-1]}" if any(parameters) else ""
        done[first] = replace(line, formula=known, parameter=label)
    return [done[k] for k in sorted(done)]


def _run(lines: Sequence[Any], general: Sequence[Equal], first: int, seen: set[int]) -> list[int]:
    """The lines that say the same as the first, of layers without a gap."""
    level = _level(lines[first].formula)
    if level is None:
        return [first]
    by_level = {
        _level(lines[k].formula): k for k in range(first, len(lines)) if k not in seen and general[k] == general[first]
    }
    run = [first]
    for step in (1, -1):
        at = level + step
        while at in by_level:
            run.append(by_level[at])
            at += step
    return run


def _level(formula: Equal) -> int | None:
    """The number of the layer that the left side names."""
    found = next(names(formula.left), None)
    number = stem(found.text)[1] if found is not None else ""
    return int(number) if number else None


def _uses_others(formula: Equal) -> bool:
    return any(stem(name.text)[1] for name in names(formula.right))


def _general(formula: Equal) -> Equal:
    """With l + (number - the number on the left) in the place of each number of a layer."""
    level = _level(formula)
    if level is None:
        return formula

    def change(node: Any) -> Any:
        if not isinstance(node, Name) or node.level is not None:
            return node
        letters, number, rest = stem(node.text)
        if not number or "[" in node.text:
            return node
        text = f"{letters}_{rest}" if rest else letters
        return replace(node, text=text, level=_shifted(int(number) - level))

    found: Equal = mapped(formula, change)
    return found


def _shifted(by: int) -> Node:
    if by == 0:
        return Name("l")
    return Sum(((1, Name("l")), (1 if by > 0 else -1, Number(str(abs(by))))))


def above(formula: Equal) -> Equal:
    """The numbers of the layers in brackets above: z⁽¹⁾ in the place of z1; sums over layers as such."""

    def change(node: Any) -> Any:
        if not isinstance(node, Name) or node.level is not None:
            return node
        letters, number, rest = stem(node.text)
        if not number:
            return node
        return replace(node, text=f"{letters}_{rest}" if rest else letters, level=Number(number))

    found: Equal = mapped(mapped(formula, _summed), change)
    return found


def _summed(node: Any) -> Any:
    """A sum of terms that only differ by the number of the layer is one over l."""
    if not isinstance(node, Sum) or len(node.terms) <= FEWEST:
        return node
    groups: dict[Any, list[int]] = {}
    for sign, term in node.terms:
        level = _level(Equal(term, term))
        groups.setdefault((sign, _general(Equal(term, term)).left if level is not None else term), []).append(
            level or 0
        )
    terms: list[tuple[int, Node]] = []
    for (sign, term), levels in groups.items():
        low, high = min(levels), max(levels)
        if len(levels) <= FEWEST or sorted(levels) != list(range(low, high + 1)):
            return node
        terms.append((sign, Over("sum", (f"l={low}",), term, samples=str(high))))
    return terms[0][1] if len(terms) == 1 and terms[0][0] > 0 else Sum(tuple(terms))
