r"""Formulas as LaTeX, without dollar signs.

In: a Node (nodes.py).  Out: text that pdflatex (with amsmath) and KaTeX read.  Pieces are a `cases` environment, or
terms with Iverson brackets where `brackets` is asked for: then matplotlib's mathtext reads every formula, too.
Elements carry their indices as subscripts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from .brackets import bracketed, factors_of, signed, within
from .nodes import (
    ATOM,
    FUNCTIONS,
    GREEK,
    HADAMARD,
    HATS,
    POWER,
    PRODUCT,
    SIGNS,
    SUM,
    WORDS,
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
    mapped,
    place,
    stem,
    with_brackets,
)  # fmt: skip

LOW = re.compile(r"[A-Za-z0-9, ]+|\\[a-z]+")  # around it, brackets of the usual size; \left( sets a space before it
CAPITALS = {"delta", "gamma", "theta", "lambda", "phi", "omega", "pi", "sigma"}  # the others look Latin


def latex(node: Node) -> str:
    """The formula as LaTeX, without dollar signs."""
    return _latex(node)[0]


def mathtext(node: Node) -> str:
    """The formula in what matplotlib's mathtext reads, without dollar signs."""
    return latex(mapped(node, with_brackets))


def aligned(lines: Iterable[Node], write: Callable[[Node], str] = latex) -> str:
    """One block, aligned at the equals signs, for display mathematics."""
    rows = []
    for line in lines:
        if isinstance(line, Equal):
            text = f"{write(line.left)} &= {write(line.right)}"
            text += "" if line.range is None else rf" && {write(line.range)}"  # type: ignore[arg-type]
        else:
            text = write(line)
        rows.append(text)
    return "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}"


# ---------------------------------------------------------------------------------------------- names
def _name(name: Name, subscripts: tuple[Node, ...] = ()) -> str:
    """Letters, the layer's number in brackets above, all else below."""
    below: list[str] = []
    if name.text == "ones":
        written, number = r"\mathbf{1}", ""
    else:
        letters, number, rest = stem(name.text)
        written = _letters(letters, name.capital)
        below += [rf"\mathrm{{{_escaped(rest)}}}"] if rest else []
    if name.level is not None:
        number = latex(name.level)
    inner = place(name.text) or ",".join(latex(s) for s in (*name.step, *subscripts))
    below += [inner] if inner else []
    text = written + (f"_{{{', '.join(below)}}}" if below else "")
    return f"{text}^{{({number})}}" if number else text


def _letters(letters: str, capital: bool) -> str:
    if letters in GREEK:
        if capital and letters in CAPITALS:
            return "\\" + letters.capitalize()
        return f"\\{letters}"
    if letters in HATS:
        return HATS[letters][1]
    if capital:
        letters = letters[0].upper() + letters[1:]
    return letters if len(letters) == 1 else rf"\mathrm{{{_escaped(letters)}}}"


def _escaped(text: str) -> str:
    return text.replace("_", r"\_")


# ---------------------------------------------------------------------------------------------- formulas
def _latex(node: Node) -> tuple[str, int]:
    match node:
        case Name(_, ""):
            written = _name(node)
            return written, POWER if "^" in written else ATOM
        case Name(_, derivative):
            return rf"\frac{{\partial {_name(Name(derivative))}}}{{\partial {_name(node)}}}", ATOM
        case Number(text):
            mantissa, _, exponent = text.partition("e")
            if exponent:
                return rf"{mantissa} \cdot 10^{{{int(exponent)}}}", PRODUCT
            return text, PRODUCT if text.startswith("-") else ATOM
        case Sum(terms):
            return signed([(sign, _within(term, HADAMARD)) for sign, term in terms]), SUM
        case Product(factors):
            return r" \, ".join(factors_of(_latex, factors, _enclosed)), PRODUCT
        case Group(of):
            return _enclosed(_latex(of)[0]), ATOM
        case Hadamard(factors):
            return r" \odot ".join(_within(f, PRODUCT) for f in factors), HADAMARD
        case Transpose(of):
            return _raised(of, r"\top"), POWER
        case Power(base, exponent, True):
            return _raised(base, rf"\circ {_within(exponent, ATOM)}"), POWER
        case Power(base, Fraction(Number("1"), Number("2"))):
            return rf"\sqrt{{{_latex(base)[0]}}}", ATOM
        case Power(base, exponent):
            return _raised(base, _latex(exponent)[0]), POWER
        case Fraction(above, under):
            return rf"\frac{{{_latex(above)[0]}}}{{{_latex(under)[0]}}}", POWER
        case Call("abs", (of,)):
            return rf"\left| {_latex(of)[0]} \right|", ATOM
        case Call(function, arguments):
            return f"{_function(function)}{_enclosed(', '.join(_latex(a)[0] for a in arguments))}", ATOM
        case Norm(of, order=1):
            return rf"\left\| {_latex(of)[0]} \right\|_1", ATOM
        case Norm(of, matrix):
            return rf"\left\| {_latex(of)[0]} \right\|{'_F' if matrix else ''}^2", POWER
        case Relation(sign, left, right):
            return f"{_latex(left)[0]} {SIGNS[sign][1]} {_latex(right)[0]}", SUM
        case Logic("not", (part,)):
            return rf"\neg {_enclosed(_latex(part)[0])}", SUM
        case Logic(word, parts):
            return f" {WORDS[word][1]} ".join(bracketed(_latex, p, _enclosed) for p in parts), SUM
        case Iverson(condition):
            return rf"\left[ {_latex(condition)[0]} \right]", ATOM
        case Element(Name(_, "") as name, subscripts):
            written = _name(name, subscripts)
            return written, POWER if "^" in written else ATOM
        case Element(Name(_, derivative) as name, subscripts):
            return rf"\frac{{\partial {_name(Name(derivative))}}}{{\partial {_name(name, subscripts)}}}", ATOM
        case Element(of, subscripts):
            return rf"{_enclosed(_latex(of)[0])}_{{{','.join(_latex(s)[0] for s in subscripts)}}}", ATOM
        case Over(word, letters, body, conditions, samples):
            below = ", ".join(letters) if letters else "n=1"
            if conditions:
                below += r" :\; " + r",\; ".join(_latex(c)[0] for c in conditions)
            top = f"^{{{samples}}}" if samples else ""
            sign = r"\sum" if word == "sum" else _function(word)
            return rf"{sign}_{{{below}}}{top} {_within(body, HADAMARD)}", HADAMARD
        case Cases(pieces):
            rows = [rf"{_latex(value)[0]} & {_latex(condition)[0]}" for value, condition in pieces]
            return r"\begin{cases} " + r" \\ ".join(rows) + r" \end{cases}", ATOM
        case Range(index, low, high):
            return rf"{index} = {low}, \ldots, {high}", SUM
        case Equal(left, right, None):
            return f"{_latex(left)[0]} = {_latex(right)[0]}", SUM
        case Equal(left, right, holds) if holds is not None:
            return rf"{_latex(left)[0]} = {_latex(right)[0]} \qquad {_latex(holds)[0]}", SUM
    raise AssertionError(node)


def _function(name: str) -> str:
    """f' as it is, a known function by its sign, another upright."""
    letter = name.rstrip("'")
    if len(letter) == 1:
        return name
    return FUNCTIONS.get(name, ("", rf"\mathrm{{{_escaped(name)}}}"))[1]


def _raised(base: Node, exponent: str) -> str:
    return f"{_within(base, ATOM)}^{{{exponent}}}"


def _enclosed(text: str) -> str:
    return f"({text})" if LOW.fullmatch(text) else rf"\left({text}\right)"


def _within(node: Node, least: int) -> str:
    return within(_latex, node, least, _enclosed)
