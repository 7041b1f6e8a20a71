"""Formulas as MathML Core, which browsers show without scripts.

In: a Node (nodes.py).  Out: a <math> element.
"""

from __future__ import annotations

from html import escape

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
    place,
    stem,
)  # fmt: skip

CAPITALS = {"δ": "Δ", "γ": "Γ", "θ": "Θ", "λ": "Λ", "φ": "Φ", "ω": "Ω"}
NAMESPACE = "http://www.w3.org/1998/Math/MathML"


def mathml(node: Node) -> str:
    """The formula as a <math> element in display style."""
    return f'<math xmlns="{NAMESPACE}" display="block">{_row(_mathml(node)[0])}</math>'


def identifier(text: str, upright: bool = False) -> str:
    return f'<mi mathvariant="normal">{escape(text)}</mi>' if upright else f"<mi>{escape(text)}</mi>"


def operator(text: str, **attributes: str) -> str:
    given = "".join(f' {key}="{value}"' for key, value in attributes.items())
    return f"<mo{given}>{escape(text)}</mo>"


def _row(inside: str) -> str:
    return f"<mrow>{inside}</mrow>"


def _in_brackets(inside: str, left: str = "(", right: str = ")") -> str:
    return _row(operator(left) + inside + operator(right))


# ---------------------------------------------------------------------------------------------- names
def _name(name: Name, subscripts: tuple[Node, ...] = ()) -> str:
    below: list[str] = []
    if name.text == "ones":
        written, number = "<mn>𝟏</mn>", ""
    else:
        letters, number, rest = stem(name.text)
        letter = HATS.get(letters, (GREEK.get(letters, letters), ""))[0]
        if name.capital:
            letter = CAPITALS.get(letter, letter[:1].upper() + letter[1:])
        written = identifier(letter)
        below += [f"<mtext>{escape(rest)}</mtext>"] if rest else []
    above = "" if not number else f"<mn>{number}</mn>"
    if name.level is not None:
        above = _mathml(name.level)[0]
    below += [_mathml(s)[0] for s in (*name.step, *subscripts)]
    below += [f"<mn>{place(name.text)}</mn>"] if "[" in name.text else []
    under, over = _row(operator(",").join(below)), _in_brackets(above)
    match bool(below), bool(above):
        case True, True:
            return f"<msubsup>{written}{under}{over}</msubsup>"
        case True, False:
            return f"<msub>{written}{under}</msub>"
        case False, True:
            return f"<msup>{written}{over}</msup>"
    return written


def _partial(derivative: str, below: str) -> str:
    partial = operator("∂", rspace="0", lspace="0")
    return f"<mfrac>{_row(partial + _name(Name(derivative)))}{_row(partial + below)}</mfrac>"


# ---------------------------------------------------------------------------------------------- formulas
def _mathml(node: Node) -> tuple[str, int]:
    match node:
        case Name(_, ""):
            written = _name(node)
            return written, POWER if "msup" in written or "msubsup" in written else ATOM
        case Name(_, derivative):
            return _partial(derivative, _name(node)), ATOM
        case Number(text):
            mantissa, _, exponent = text.partition("e")
            if exponent:
                power = f"<msup><mn>10</mn><mn>{int(exponent)}</mn></msup>"
                return f"<mn>{mantissa}</mn>{operator('·')}{power}", PRODUCT
            return f"<mn>{text}</mn>", PRODUCT if text.startswith("-") else ATOM
        case Sum(terms):
            return _signed([(sign, _within(term, HADAMARD)) for sign, term in terms]), SUM
        case Product(factors):
            *front, last = factors
            texts = [_within(f, POWER) for f in front]
            texts.append(_mathml(last)[0] if isinstance(last, Over) else _within(last, POWER))
            return operator("\u2062").join(texts), PRODUCT
        case Group(of):
            return _in_brackets(_mathml(of)[0]), ATOM
        case Hadamard(factors):
            return operator("⊙").join(_within(f, PRODUCT) for f in factors), HADAMARD
        case Transpose(of):
            return f"<msup>{_row(_within(of, ATOM))}{operator('⊤')}</msup>", POWER
        case Power(base, exponent, True):
            raised = _row(operator("∘") + _within(exponent, ATOM))
            return f"<msup>{_row(_within(base, ATOM))}{raised}</msup>", POWER
        case Power(base, Fraction(Number("1"), Number("2"))):
            return f"<msqrt>{_mathml(base)[0]}</msqrt>", ATOM
        case Power(base, exponent):
            return f"<msup>{_row(_within(base, ATOM))}{_row(_mathml(exponent)[0])}</msup>", POWER
        case Fraction(above, under):
            return f"<mfrac>{_row(_mathml(above)[0])}{_row(_mathml(under)[0])}</mfrac>", POWER
        case Call("abs", (of,)):
            return _in_brackets(_mathml(of)[0], "|", "|"), ATOM
        case Call(function, arguments):
            inside = operator(",").join(_mathml(a)[0] for a in arguments)
            return _function(function) + operator("\u2061") + _in_brackets(inside), ATOM
        case Norm(of, order=1):
            return f"<msub>{_in_brackets(_mathml(of)[0], '‖', '‖')}<mn>1</mn></msub>", ATOM
        case Norm(of, matrix):
            norm = _in_brackets(_mathml(of)[0], "‖", "‖")
            two = "<mn>2</mn>"
            return f"<msubsup>{norm}{identifier('F')}{two}</msubsup>" if matrix else f"<msup>{norm}{two}</msup>", POWER
        case Relation(sign, left, right):
            return _mathml(left)[0] + operator(SIGNS[sign][0]) + _mathml(right)[0], SUM
        case Logic("not", (part,)):
            return operator("¬") + _in_brackets(_mathml(part)[0]), SUM
        case Logic(word, parts):
            texts = [_in_brackets(_mathml(p)[0]) if isinstance(p, Logic) else _mathml(p)[0] for p in parts]
            return operator({"and": "∧", "or": "∨"}[word] if word in WORDS else word).join(texts), SUM
        case Iverson(condition):
            return _in_brackets(_mathml(condition)[0], "[", "]"), ATOM
        case Element(Name(_, "") as name, subscripts):
            written = _name(name, subscripts)
            return written, POWER if "msubsup" in written else ATOM
        case Element(Name(_, derivative) as name, subscripts):
            return _partial(derivative, _name(name, subscripts)), ATOM
        case Element(of, subscripts):
            below = _row(operator(",").join(_mathml(s)[0] for s in subscripts))
            return f"<msub>{_in_brackets(_mathml(of)[0])}{below}</msub>", ATOM
        case Over():
            return _reduction(node), HADAMARD
        case Cases(pieces):
            rows = "".join(
                f"<mtr><mtd>{_mathml(value)[0]}</mtd><mtd>{_mathml(condition)[0]}</mtd></mtr>"
                for value, condition in pieces
            )
            return _row(operator("{") + f"<mtable>{rows}</mtable>"), ATOM
        case Range(index, low, high):
            start = identifier(index) + operator("=") + f"<mn>{low}</mn>"
            return start + operator(",") + operator("…") + operator(",") + f"<mn>{high}</mn>", SUM
        case Equal(left, right, None):
            return _mathml(left)[0] + operator("=") + _mathml(right)[0], SUM
        case Equal(left, right, holds) if holds is not None:
            space = '<mspace width="2em"/>'
            return _mathml(left)[0] + operator("=") + _mathml(right)[0] + space + _mathml(holds)[0], SUM
    raise AssertionError(node)


def _reduction(node: Over) -> str:
    sign = operator("∑") if node.word == "sum" else _function(node.word)
    below = operator(",").join(identifier(i) for i in node.indices)
    if not node.indices:
        below = identifier("n") + operator("=") + "<mn>1</mn>"
    if node.conditions:
        below += operator(":") + operator(",").join(_mathml(c)[0] for c in node.conditions)
    if node.samples:
        sign = f"<munderover>{sign}{_row(below)}{identifier(node.samples)}</munderover>"
    else:
        sign = f"<munder>{sign}{_row(below)}</munder>"
    return sign + _within(node.body, HADAMARD)


def _function(name: str) -> str:
    letter = name.rstrip("'")
    written = identifier(FUNCTIONS.get(letter, (letter,))[0], upright=len(letter) > 1)
    return f"<msup>{written}{operator('′' * (len(name) - len(letter)))}</msup>" if name != letter else written


def _within(node: Node, least: int) -> str:
    text, binding = _mathml(node)
    return text if binding >= least else _in_brackets(text)


def _signed(terms: list[tuple[int, str]]) -> str:
    (sign, first), *rest = terms
    text = (operator("−") if sign < 0 else "") + first
    return text + "".join(operator("−" if s < 0 else "+") + part for s, part in rest)
