"""Formulas as one line of Unicode.

In: a Node (nodes.py).  Out: text.  Brackets are put where the reader needs them, from one order of precedence.
"""

from __future__ import annotations

import re

from .brackets import bracketed, factors_of, signed, within
from .nodes import (
    ATOM,
    FUNCTIONS,
    GREEK,
    HADAMARD,
    HATS,
    ONES,
    POWER,
    PRODUCT,
    SIGNS,
    SUM,
    Call,
    Cases,
    Element,
    Equal,
    Fraction,
    Group,
    Hadamard,
    Iverson,
    Logic,
    Name,
    Node,
    Norm,
    Number,
    Over,
    Power,
    Product,
    Range,
    Relation,
    Sum,
    Transpose,
    names,
    place,
    stem,
    tight,
    with_brackets,
)  # fmt: skip

__all__ = ["ONES", "Call", "Element", "Equal", "Name", "Node", "Number", "Over", "Sum", "names", "unicode"]

SUPERSCRIPT = str.maketrans("0123456789-+()abcdefghijklmnoprstuvwxyz", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺⁽⁾ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ")
SUBSCRIPT = str.maketrans("0123456789-+aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉₋₊ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ")
CAPITALS = {"δ": "Δ", "x̂": "X̂", "α": "Α", "β": "Β", "γ": "Γ", "λ": "Λ", "μ": "Μ", "σ": "Σ", "φ": "Φ"}


def unicode(node: Node) -> str:
    """The formula as one line of Unicode."""
    return _unicode(node)[0]


# ---------------------------------------------------------------------------------------------- names
def _name(name: Name) -> str:
    if name.text == "ones":
        letter, number, rest = "𝟏", "", ""
    else:
        letters, number, rest = stem(name.text)
        letter = HATS.get(letters, (GREEK.get(letters, letters), ""))[0]
    if name.capital:
        letter = CAPITALS.get(letter, letter[:1].upper() + letter[1:])
    if name.level is not None:
        number = f"({tight(unicode(name.level))})".translate(SUPERSCRIPT)
    step = ""
    if name.step:
        text = ",".join(tight(unicode(part)) for part in name.step)
        if set(text) <= set(map(chr, SUBSCRIPT)):
            step = text.translate(SUBSCRIPT)
        else:
            step = f"_{text}" if text.isalnum() else f"_{{{text}}}"
    element = place(name.text)
    return letter + number + (f"_{rest}" if rest else "") + step + (f"[{element}]" if element else "")


# ---------------------------------------------------------------------------------------------- formulas
def _unicode(node: Node) -> tuple[str, int]:
    match node:
        case Name(_, ""):
            return _name(node), ATOM if node.level is None else POWER
        case Name(_, derivative):
            return f"∂{_name(Name(derivative))}/∂{_name(node)}", PRODUCT
        case Number(text):
            return text, ATOM if text.isdigit() or ("." in text and "-" not in text and "e" not in text) else PRODUCT
        case Sum(terms):
            return signed([(sign, within(_unicode, term, HADAMARD)) for sign, term in terms]), SUM
        case Product(factors):
            return " ".join(factors_of(_unicode, factors)), PRODUCT
        case Group(of):
            return f"({_unicode(of)[0]})", ATOM
        case Hadamard(factors):
            return " ⊙ ".join(within(_unicode, f, PRODUCT) for f in factors), HADAMARD
        case Transpose(of):
            return f"{within(_unicode, of, ATOM)}ᵀ", POWER
        case Power(base, exponent, True):
            return f"{within(_unicode, base, ATOM)}^∘{within(_unicode, exponent, ATOM)}", POWER
        case Power(base, Number(text)) if text.lstrip("-").isdigit():
            return f"{within(_unicode, base, ATOM)}{text.translate(SUPERSCRIPT)}", POWER
        case Power(base, Fraction(Number("1"), Number("2"))):
            return f"√{within(_unicode, base, ATOM)}", POWER
        case Power(base, exponent):
            return f"{within(_unicode, base, ATOM)}^{within(_unicode, exponent, ATOM)}", POWER
        case Fraction(above, below):
            return f"{within(_unicode, above, POWER)}/{within(_unicode, below, POWER)}", PRODUCT
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
            return f" {word} ".join(bracketed(_unicode, p) for p in parts), SUM
        case Iverson(condition):
            return f"[{_unicode(condition)[0]}]", ATOM
        case Element(of, subscripts):
            inside = ",".join(tight(_unicode(s)[0]) for s in subscripts)
            title, binding = _unicode(of)
            return f"{title}[{inside}]", binding
        case Over(word, letters, body, conditions, samples):
            sign = "Σ" if word == "sum" else word
            under = f"{letters[0]}..{samples}" if letters and samples else ",".join(letters)
            if conditions:
                under += ": " + ", ".join(tight(_unicode(c)[0]) for c in conditions)
            under = under if not under or re.fullmatch(r"\w+", under) else f"{{{under}}}"
            return f"{sign}{'_' if under else ''}{under} {within(_unicode, body, HADAMARD)}", HADAMARD
        case Cases():
            return _unicode(with_brackets(node))
        case Range(index, low, high):
            return f"{index} = {low}, ..., {high}", SUM
        case Equal(left, right, None):
            return f"{_unicode(left)[0]} = {_unicode(right)[0]}", SUM
        case Equal(left, right, holds) if holds is not None:
            return f"{_unicode(left)[0]} = {_unicode(right)[0]}    {_unicode(holds)[0]}", SUM
    raise AssertionError(node)
