"""What a product makes of each sum as it stores it: C = f(sum, ...), so that no loop reads C and writes it again.

    form     ::= ("sum",) | ("at", q) | ("number", q) | (operator, form, ...)
    operator ::= "+" | "*" | "-" (the opposite) | "select" (condition, one, other) | a comparison | "&" | "|" | "not"

("at", q) is the element of the q-th tensor that stands where that of C does; ("number", q) is the same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .emitter import Emitter

Form = tuple[Any, ...]
LEAVES = ("sum", "at", "number")
# As generated source compares: false with NaN, but for !=.
COMPARISONS: Mapping[str, str] = {"<": "olt", "<=": "ole", ">": "ogt", ">=": "oge", "==": "oeq", "!=": "une"}
ARITHMETIC: Mapping[str, str] = {"+": "fadd contract", "*": "fmul contract"}
LOGIC: Mapping[str, str] = {"&": "and", "|": "or"}
OPERATORS: Mapping[str, Callable[..., Any]] = {
    "+": np.add, "*": np.multiply, "-": np.negative, "select": np.where, "<": np.less, "<=": np.less_equal,
    ">": np.greater, ">=": np.greater_equal, "==": np.equal, "!=": np.not_equal, "&": np.logical_and,
    "|": np.logical_or, "not": np.logical_not,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Epilogue:
    """A form, and how many tensors and numbers it takes."""

    form: Form
    tensors: int = 0
    numbers: int = 0

    def __str__(self) -> str:
        return _text(self.form)

    def value(self, leaf: Callable[[Form], Any]) -> Any:
        """In NumPy; leaf: the values of a leaf."""
        return _value(self.form, leaf)

    def emit(self, emitter: Emitter, kind: str, lanes: int, leaf: Callable[[Form], str]) -> str:
        """The instructions for a number or a vector of this LLVM type; leaf: the name of a leaf's value."""
        logical = "i1" if lanes == 1 else f"<{lanes} x i1>"

        def made(form: Form) -> str:
            operator, *rest = form
            if operator in LEAVES:
                return leaf(form)
            first, *others = map(made, rest)
            if operator == "-":
                return emitter.new(f"fneg {kind} {first}")
            if operator == "not":
                ones = "true" if lanes == 1 else "splat (i1 true)"
                return emitter.new(f"xor {logical} {first}, {ones}")
            if operator == "select":
                one, other = others
                return emitter.new(f"select {logical} {first}, {kind} {one}, {kind} {other}")
            if operator in COMPARISONS:
                return emitter.new(f"fcmp {COMPARISONS[operator]} {kind} {first}, {others[0]}")
            for other in others:
                if operator in LOGIC:
                    first = emitter.new(f"{LOGIC[operator]} {logical} {first}, {other}")
                else:
                    first = emitter.new(f"{ARITHMETIC[operator]} {kind} {first}, {other}")
            return first

        return made(self.form)


SUM = Epilogue(("sum",))  # the sum as it is


def _text(form: Form) -> str:
    operator, *rest = form
    if operator in LEAVES:
        return operator + "".join(map(str, rest))
    parts = [_text(part) for part in rest]
    if operator in ("select", "not", "-"):
        return f"{operator}({', '.join(parts)})"
    return f"({f' {operator} '.join(parts)})"


def _value(form: Form, leaf: Callable[[Form], Any]) -> Any:
    operator, *rest = form
    if operator in LEAVES:
        return leaf(form)
    first, *others = (_value(part, leaf) for part in rest)
    function = OPERATORS[operator]
    if operator in ARITHMETIC or operator in LOGIC:
        for other in others:
            first = function(first, other)
        return first
    return function(first, *others)
