"""Formulas as they are written, as trees: what textbook.py makes, and typeset.py, latex.py and mathml.py print.

A Node knows nothing of programs.  Precedence, from what binds least:  sum < elementwise product < product < transpose,
power < atom.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

SUM, HADAMARD, PRODUCT, POWER, ATOM = range(1, 6)


# ---------------------------------------------------------------------------------------------- nodes
@dataclass(frozen=True, slots=True)
class Name:
    """A tensor's name: letters, and the number of its layer; `derivative` is what it is the derivative of.

    level: what stands in the place of the layer's number, l or l + 1.  step: the place in a sequence, as subscripts.
    capital: a matrix with a row for each sample, whose letter is a capital.
    """

    text: str
    derivative: str = ""
    level: Node | None = None
    step: tuple[Node, ...] = ()
    capital: bool = False


@dataclass(frozen=True, slots=True)
class Number:
    text: str


@dataclass(frozen=True, slots=True)
class Sum:
    """Terms with their signs, +1 or -1."""

    terms: tuple[tuple[int, Node], ...]


@dataclass(frozen=True, slots=True)
class Product:
    """Factors side by side: scalars, matrices, a vector at last."""

    factors: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """A product that is a number, such as uᵀ v, among other factors."""

    of: Node


@dataclass(frozen=True, slots=True)
class Hadamard:
    """Element by element."""

    factors: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Transpose:
    of: Node


@dataclass(frozen=True, slots=True)
class Power:
    """elementwise: of each element of a matrix, which is not the power of the matrix"""

    base: Node
    exponent: Node
    elementwise: bool = False


@dataclass(frozen=True, slots=True)
class Fraction:
    above: Node
    below: Node


@dataclass(frozen=True, slots=True)
class Call:
    function: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Norm:
    """Squared: the sum of the squares of all elements; of order 1 the sum of their absolute values."""

    of: Node
    matrix: bool = False
    order: int = 2


@dataclass(frozen=True, slots=True)
class Relation:
    """left sign right; a relation on the left makes a chain: 0 < z < 1"""

    sign: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Logic:
    """word: and, or, not"""

    word: str
    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Iverson:
    """1 where the condition holds, else 0."""

    condition: Node


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a tensor."""

    of: Node
    subscripts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Over:
    """A reduction: sum, max, ... over indices, under conditions; without indices over so many `samples`."""

    word: str
    indices: tuple[str, ...]
    body: Node
    conditions: tuple[Node, ...] = ()
    samples: str = ""


@dataclass(frozen=True, slots=True)
class Cases:
    """Pieces: (value, where), the last one elsewhere."""

    pieces: tuple[tuple[Node, Node], ...]


@dataclass(frozen=True, slots=True)
class Equal:
    """left = right"""

    left: Node
    right: Node
    range: Range | None = None


@dataclass(frozen=True, slots=True)
class Range:
    """Where a formula holds: for index = low, ..., high."""

    index: str
    low: str
    high: str


Node = (
    Name | Number | Sum | Product | Group | Hadamard | Transpose | Power | Fraction | Call | Norm | Relation | Logic
    | Iverson | Element | Over | Cases | Equal | Range
)  # fmt: skip

ONES = Name("ones")
ONE, TWO = Number("1"), Number("2")
GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "eta": "η", "theta": "θ", "lambda": "λ",
    "mu": "μ", "pi": "π", "rho": "ρ", "sigma": "σ", "tau": "τ", "phi": "φ", "omega": "ω", "ell": "ℓ",
}  # fmt: skip
HATS = {"xhat": ("x̂", r"\hat{x}"), "Ahat": ("Â", r"\hat{A}")}  # Unicode and LaTeX
SIGNS = {
    "<": ("<", "<"), ">": (">", ">"), "<=": ("≤", r"\leq"), ">=": ("≥", r"\geq"), "=": ("=", "="), "!=": ("≠", r"\neq"),
}  # fmt: skip
WORDS = {"and": ("and", r"\wedge"), "or": ("or", r"\vee"), "not": ("not ", r"\neg ")}
FUNCTIONS = {"logistic": ("σ", r"\sigma"), "normal_cdf": ("Φ", r"\Phi"),
             "exp": ("exp", r"\exp"), "log": ("log", r"\log"), "tanh": ("tanh", r"\tanh"),
             "sin": ("sin", r"\sin"), "cos": ("cos", r"\cos"), "tan": ("tan", r"\tan"), "atan": ("arctan", r"\arctan"),
             "max": ("max", r"\max"),             "min": ("min", r"\min")}  # fmt: skip
SUPERSCRIPT = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


# ---------------------------------------------------------------------------------------------- walking
def names(node: object) -> Iterator[Name]:
    """All names in a formula, from left to right."""
    if isinstance(node, Name):
        yield node
    elif isinstance(node, tuple):
        for part in node:
            yield from names(part)
    elif is_dataclass(node):
        for field in fields(node):
            yield from names(getattr(node, field.name))


def mapped(node: Any, change: Callable[[Any], Any]) -> Any:
    """The tree with `change` applied to each node, parts first."""
    if isinstance(node, tuple):
        return tuple(mapped(part, change) for part in node)
    if not is_dataclass(node) or isinstance(node, type):
        return node
    new = {f.name: mapped(getattr(node, f.name), change) for f in fields(node)}
    same = all(new[f.name] is getattr(node, f.name) for f in fields(node))
    return change(node if same else replace(node, **new))


def with_brackets(node: Any) -> Any:
    """Pieces as a sum, each times the bracket that says where it holds; other nodes as they are."""
    if not isinstance(node, Cases):
        return node
    terms: list[tuple[int, Node]] = []
    for value, condition in node.pieces:
        bracket = Iverson(condition)
        if value != Number("0"):
            terms.append((1, bracket if value == ONE else Product((value, bracket))))
    return terms[0][1] if len(terms) == 1 else Sum(tuple(terms))


def bound_letters(node: object) -> set[str]:
    """The letters over which reductions in a formula run."""
    if isinstance(node, tuple):
        return set().union(*map(bound_letters, node))
    if not is_dataclass(node):
        return set()
    found = set().union(*(bound_letters(getattr(node, f.name)) for f in fields(node)))
    return found | set(node.indices) if isinstance(node, Over) else found


def size(node: object) -> int:
    """How many signs a formula has: names and numbers."""
    if isinstance(node, (Name, Number)):
        return 1
    if isinstance(node, tuple):
        return sum(map(size, node))
    return sum(size(getattr(node, f.name)) for f in fields(node)) if is_dataclass(node) else 0


def stem(text: str) -> tuple[str, str, str]:
    """(letters, number of the layer, what follows): W1 -> W 1, gamma_1 -> gamma 1, W1_next -> W 1 next"""
    match = re.fullmatch(r"([A-Za-z]+)_?(\d*)_?(.*)", text.split("[")[0])
    return (match[1], match[2], match[3]) if match else (text, "", "")


def place(text: str) -> str:
    """The subscripts in the name of one element: W1[2,3] -> 2,3"""
    return text.partition("[")[2].removesuffix("]")


def tight(text: str) -> str:
    return text.replace(" ", "")
