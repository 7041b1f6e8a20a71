"""Formulas as they are written, and their two renderings: Unicode and LaTeX.

In: a Node, made by textbook.py.  Out: a line of text.  A Node knows nothing of programs; brackets are put where the
reader needs them, from one order of precedence:  sum < elementwise product < product < transpose, power < atom.
The LaTeX keeps to what KaTeX, pdflatex and matplotlib's mathtext all read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass

SUM, HADAMARD, PRODUCT, POWER, ATOM = range(1, 6)


# ---------------------------------------------------------------------------------------------- nodes
@dataclass(frozen=True, slots=True)
class Name:
    """A tensor's name: letters, and the number of its layer; `derivative` is what it is the derivative of."""

    text: str
    derivative: str = ""


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
class Equal:
    """left = right"""

    left: Node
    right: Node


Node = (
    Name | Number | Sum | Product | Group | Hadamard | Transpose | Power | Fraction | Call | Norm | Relation | Logic
    | Iverson | Element | Over | Equal
)  # fmt: skip

ONES = Name("ones")
ONE, TWO = Number("1"), Number("2")
GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "eta": "η", "theta": "θ", "lambda": "λ",
    "mu": "μ", "pi": "π", "rho": "ρ", "sigma": "σ", "tau": "τ", "phi": "φ", "omega": "ω", "ell": "ℓ",
}  # fmt: skip
HATS = {"xhat": ("x̂", r"\hat{x}")}  # Unicode and LaTeX
SIGNS = {
    "<": ("<", "<"), ">": (">", ">"), "<=": ("≤", r"\leq"), ">=": ("≥", r"\geq"), "=": ("=", "="), "!=": ("≠", r"\neq"),
}  # fmt: skip
WORDS = {"and": ("and", r"\wedge"), "or": ("or", r"\vee"), "not": ("not ", r"\neg ")}
FUNCTIONS = {"logistic": ("σ", r"\sigma"), "normal_cdf": ("Φ", r"\Phi"),
             "exp": ("exp", r"\exp"), "log": ("log", r"\log"), "tanh": ("tanh", r"\tanh"),
             "sin": ("sin", r"\sin"), "cos": ("cos", r"\cos"), "tan": ("tan", r"\tan"), "max": ("max", r"\max"),
             "min": ("min", r"\min")}  # fmt: skip
SUPERSCRIPT = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def unicode(node: Node) -> str:
    """The formula as one line of Unicode."""
    return _unicode(node)[0]


def latex(node: Node) -> str:
    """The formula as LaTeX, without dollar signs."""
    return _latex(node)[0]


# ---------------------------------------------------------------------------------------------- names
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


def _stem(text: str) -> tuple[str, str, str]:
    """(letters, number of the layer, what follows): W1 -> W 1, gamma_1 -> gamma 1, W1_next -> W 1 next"""
    match = re.fullmatch(r"([A-Za-z]+)_?(\d*)_?(.*)", text)
    return (match[1], match[2], match[3]) if match else (text, "", "")


def _unicode_name(text: str) -> str:
    if text == "ones":
        return "𝟏"
    letters, number, rest = _stem(text)
    return HATS.get(letters, (GREEK.get(letters, letters), ""))[0] + number + (f"_{rest}" if rest else "")


def _latex_name(text: str) -> str:
    if text == "ones":
        return r"\mathbf{1}"
    letters, number, rest = _stem(text)
    escaped = letters.replace("_", r"\_")
    plain = letters if len(letters) == 1 else rf"\mathrm{{{escaped}}}"
    stem = f"\\{letters}" if letters in GREEK else HATS.get(letters, ("", plain))[1]
    if rest:
        escaped = rest.replace("_", r"\_")
        stem = rf"{stem}_{{\mathrm{{{escaped}}}}}"
    return f"{stem}^{{({number})}}" if number else stem


# ---------------------------------------------------------------------------------------------- Unicode
def _unicode(node: Node) -> tuple[str, int]:
    match node:
        case Name(text, derivative):
            if derivative:
                return f"∂{_unicode_name(derivative)}/∂{_unicode_name(text)}", PRODUCT
            return _unicode_name(text), ATOM
        case Number(text):
            return text, ATOM if text.isdigit() or ("." in text and "-" not in text and "e" not in text) else PRODUCT
        case Sum(terms):
            return _signed([(sign, _within(_unicode, term, HADAMARD)) for sign, term in terms]), SUM
        case Product(factors):
            return " ".join(_factors(_unicode, factors)), PRODUCT
        case Group(of):
            return _brackets(_unicode, _unicode(of)[0]), ATOM
        case Hadamard(factors):
            return " ⊙ ".join(_within(_unicode, f, PRODUCT) for f in factors), HADAMARD
        case Transpose(of):
            return f"{_within(_unicode, of, ATOM)}ᵀ", POWER
        case Power(base, exponent, True):
            return f"{_within(_unicode, base, ATOM)}^∘{_within(_unicode, exponent, ATOM)}", POWER
        case Power(base, Number(text)) if text.lstrip("-").isdigit():
            return f"{_within(_unicode, base, ATOM)}{text.translate(SUPERSCRIPT)}", POWER
        case Power(base, Fraction(Number("1"), Number("2"))):
            return f"√{_within(_unicode, base, ATOM)}", POWER
        case Power(base, exponent):
            return f"{_within(_unicode, base, ATOM)}^{_within(_unicode, exponent, ATOM)}", POWER
        case Fraction(above, below):
            return f"{_within(_unicode, above, POWER)}/{_within(_unicode, below, POWER)}", PRODUCT
        case Call("abs", (of,)):
            return f"|{_unicode(of)[0]}|", ATOM
        case Call(function, arguments):
            written = FUNCTIONS.get(function, (function,))[0]
            return f"{written}({', '.join(_unicode(a)[0] for a in arguments)})", ATOM
        case Norm(of, order=1):
            return f"‖{_unicode(of)[0]}‖₁", ATOM
        case Norm(of):
            return f"‖{_unicode(of)[0]}‖²", POWER
        case Relation(sign, left, right):
            return f"{_unicode(left)[0]} {SIGNS[sign][0]} {_unicode(right)[0]}", SUM
        case Logic("not", (part,)):
            return f"not ({_unicode(part)[0]})", SUM
        case Logic(word, parts):
            return f" {word} ".join(_bracketed(_unicode, p) for p in parts), SUM
        case Iverson(condition):
            return f"[{_unicode(condition)[0]}]", ATOM
        case Element(of, subscripts):
            inside = ",".join(_tight(_unicode(s)[0]) for s in subscripts)
            return f"{_within(_unicode, of, ATOM)}[{inside}]", ATOM
        case Over(word, letters, body, conditions):
            sign = "Σ" if word == "sum" else word
            under = ",".join(letters)
            if conditions:
                under += ": " + ", ".join(_tight(_unicode(c)[0]) for c in conditions)
            under = under if not under or re.fullmatch(r"\w+", under) else f"{{{under}}}"
            return f"{sign}{'_' if under else ''}{under} {_within(_unicode, body, HADAMARD)}", HADAMARD
        case Equal(left, right):
            return f"{_unicode(left)[0]} = {_unicode(right)[0]}", SUM
    raise AssertionError(node)


# ---------------------------------------------------------------------------------------------- LaTeX
def _latex(node: Node) -> tuple[str, int]:
    match node:
        case Name(text, derivative):
            if derivative:
                return rf"\frac{{\partial {_latex_name(derivative)}}}{{\partial {_latex_name(text)}}}", ATOM
            written = _latex_name(text)
            return written, POWER if "^" in written else ATOM
        case Number(text):
            mantissa, _, exponent = text.partition("e")
            if exponent:
                return rf"{mantissa} \cdot 10^{{{int(exponent)}}}", PRODUCT
            return text, PRODUCT if text.startswith("-") else ATOM
        case Sum(terms):
            return _signed([(sign, _within(_latex, term, HADAMARD)) for sign, term in terms]), SUM
        case Product(factors):
            return r" \, ".join(_factors(_latex, factors)), PRODUCT
        case Group(of):
            return _brackets(_latex, _latex(of)[0]), ATOM
        case Hadamard(factors):
            return r" \odot ".join(_within(_latex, f, PRODUCT) for f in factors), HADAMARD
        case Transpose(of):
            return rf"{_within(_latex, of, ATOM)}^{{\top}}", POWER
        case Power(base, exponent, True):
            return rf"{_within(_latex, base, ATOM)}^{{\circ {_within(_latex, exponent, ATOM)}}}", POWER
        case Power(base, Fraction(Number("1"), Number("2"))):
            return rf"\sqrt{{{_latex(base)[0]}}}", ATOM
        case Power(base, exponent):
            return f"{_within(_latex, base, ATOM)}^{{{_latex(exponent)[0]}}}", POWER
        case Fraction(above, under):
            return rf"\frac{{{_latex(above)[0]}}}{{{_latex(under)[0]}}}", POWER
        case Call("abs", (of,)):
            return rf"\left| {_latex(of)[0]} \right|", ATOM
        case Call(function, arguments):
            written = FUNCTIONS.get(function, ("", rf"\mathrm{{{function}}}"))[1]
            return rf"{written}\left({', '.join(_latex(a)[0] for a in arguments)}\right)", ATOM
        case Norm(of, order=1):
            return rf"\left\| {_latex(of)[0]} \right\|_1", ATOM
        case Norm(of, matrix):
            return rf"\left\| {_latex(of)[0]} \right\|{'_F' if matrix else ''}^2", POWER
        case Relation(sign, left, right):
            return f"{_latex(left)[0]} {SIGNS[sign][1]} {_latex(right)[0]}", SUM
        case Logic("not", (part,)):
            return rf"\neg \left({_latex(part)[0]}\right)", SUM
        case Logic(word, parts):
            return f" {WORDS[word][1]} ".join(_bracketed(_latex, p) for p in parts), SUM
        case Iverson(condition):
            return rf"\left[ {_latex(condition)[0]} \right]", ATOM
        case Element(of, subscripts):
            inside = ", ".join(_latex(s)[0] for s in subscripts)
            return rf"{_latex(of)[0]}[{inside}]", ATOM
        case Over(word, letters, body, conditions, samples):
            sign = r"\sum" if word == "sum" else FUNCTIONS.get(word, ("", rf"\mathrm{{{word}}}"))[1]
            below = ", ".join(letters) if letters else "n=1"
            if conditions:
                below += r" :\; " + r",\; ".join(_latex(c)[0] for c in conditions)
            top = f"^{{{samples}}}" if samples else ""
            return rf"{sign}_{{{below}}}{top} {_within(_latex, body, HADAMARD)}", HADAMARD
        case Equal(left, right):
            return f"{_latex(left)[0]} = {_latex(right)[0]}", SUM
    raise AssertionError(node)


# ---------------------------------------------------------------------------------------------- brackets
Render = Callable[[Node], tuple[str, int]]  # text and precedence


def _brackets(render: Render, text: str) -> str:
    return rf"\left({text}\right)" if render is _latex else f"({text})"


def _within(render: Render, node: Node, least: int) -> str:
    """The node's text, in brackets if it binds less than `least`."""
    text, binding = render(node)
    return text if binding >= least else _brackets(render, text)


def _bracketed(render: Render, part: Node) -> str:
    text = render(part)[0]
    return _brackets(render, text) if isinstance(part, Logic) else text


def _factors(render: Render, factors: tuple[Node, ...]) -> list[str]:
    """A reduction needs no brackets as the last factor: nothing follows it."""
    *front, last = factors
    texts = [_within(render, f, POWER) for f in front]
    return [*texts, render(last)[0] if isinstance(last, Over) else _within(render, last, POWER)]


def _signed(terms: list[tuple[int, str]]) -> str:
    (sign, first), *rest = terms
    return ("-" if sign < 0 else "") + first + "".join(f" {'-' if s < 0 else '+'} {text}" for s, text in rest)


def _tight(text: str) -> str:
    return text.replace(" ", "")
