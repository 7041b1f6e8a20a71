"""Hostile specs: those of tests/values/hostile_corpus.py, and as many more as asked for, from a seed.

    python -m tests.hostile                              the corpus
    python -m tests.hostile --count 100000 --seed 0      so many generated ones

Each is read in a process of a judge (sandbox.py) and must end in a SymnetError or a network, within its limits.  A
generated spec is a mutation: a spec that is valid or of the corpus, in which texts, numbers and tables are replaced,
cut, doubled, nested or spliced; or formulas and equations of a grammar that does not care whether they make sense.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import scipy.sparse

import symnet as sn
from symnet.run.tables import read_table

from .sandbox import Judge, in_a_process, report
from .values.hostile_corpus import (
    DOCUMENTS,
    EQUATIONS,
    FORMULAS,
    NAMES,
    VALUES,
    Spec,
    corpus,
    with_activation,
    with_equations,
)

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
ARGUMENTS = ("input", "inputs", "layers", "loss", "losses", "l1", "l2", "constants", "train")
SHORT = 3000  # characters of a text that is worth mutating
PLAIN: tuple[str, ...] = (
    'loss = "softmax_cross_entropy"', 'loss = "huber"', 'loss = "gaussian_nll"', 'loss = "hinge"', 'loss = "poisson"',
)  # fmt: skip
LAYERS: tuple[tuple[str, str], ...] = (
    ("3", 'kind = "dense"\nunits = 2\nactivation = "gelu"'),
    ("3", 'kind = "dense"\nunits = 2\nactivation = { formula = "x*logistic(beta*x)", parameters = { beta = 1.0 } }'),
    ("3", 'kind = "maxout"\nunits = 2\npieces = 3'),
    ("3", 'kind = "batch_norm"'),
    ("3", 'kind = "dropout"\nrate = 0.5'),
    ("3", 'kind = "equations"\nsizes = { i = 2 }\nparameters = { W = ["i", "j"], b = ["i"] }\n'
     'equations = ["z[n,i] = sum(W[i,j]*x[n,j], j) + b[i]"]'),
    ("[4, 4, 1]", 'kind = "conv2d"\nunits = 2\nsize = 3\npadding = "same"\nactivation = "relu"'),
    ("[6, 2]", 'kind = "conv1d"\nunits = 2\nsize = 3\nstride = 2'),
    ("[4, 4, 1]", 'kind = "max_pool2d"\nsize = 2'),
    ("[6, 2]", 'kind = "average_pool1d"\nsize = "global"'),
    ("[5, 2]", 'kind = "lstm"\nunits = 2\ndirection = "both"'),
    ("[5, 2]", 'kind = "gru"\nunits = 2\nreturns = "all"'),
    ("[5, 2]", 'kind = "elman"\nunits = 2\ninitial = "learned"'),
    ("{ shape = [5], below = 9 }", 'kind = "embedding"\nvocabulary = 9\nwidth = 2'),
    ("[5, 4]", 'kind = "positions"\ntable = "sinusoidal"'),
    ("[5, 4]", 'kind = "attention"\nheads = 2\ncausal = true'),
    ("[5, 4]", 'kind = "transformer"\nheads = 2\nhidden = 4'),
    ("[5, 4]", 'kind = "layer_norm"'),
)  # fmt: skip


@cache
def valid() -> tuple[str, ...]:
    """Specs that are networks: the examples, and one of every kind of layer."""
    examples = [path.read_text() for path in sorted(EXAMPLES.glob("*.toml")) if path.name != "karate.toml"]
    dense = '[[layer]]\nkind = "flatten"\n[[layer]]\nkind = "dense"\nunits = 2\n'
    made = [f'[network]\ninput = {size}\n{PLAIN[k % len(PLAIN)]}\n[[layer]]\n{text}\n{dense}'
            for k, (size, text) in enumerate(LAYERS)]  # fmt: skip
    return (*examples, *made)


# ---------------------------------------------------------------------------------------------- a generator
ATOMS = ("x", "x", "x", "0", "1", "2", "0.5", "-1", "1e300", "1e-300", "pi", "a", "64", "9", "1e308", "1e99", "-1e99",
         "10**30", "y", "__x")  # fmt: skip
UNARY = ("exp", "log", "sqrt", "sin", "tan", "tanh", "erf", "erfc", "abs", "sign", "logistic", "softplus", "expm1",
         "log1p", "normal_cdf", "relu", "gelu", "elu", "mish", "eval", "open", "d", "sum")  # fmt: skip
BINARY = ("+", "-", "*", "/", "**", "**", "//", "%", "@", " if ", ",", " and ", "<", "==")
NOISE = ("(", ")", "[", "]", "{", "}", "'", '"', "\\", "\x00", "\n", "#",
         ";", ":", "=", ".", ",", "__class__", "**", "9**9**9",
         "𝐱", "\u202e", "\ud800", "lambda", "import os", "1e999", "é", "]]", "[[", '"""', "'''")  # fmt: skip


def formula(rng: random.Random, depth: int) -> str:
    if depth <= 0 or rng.random() < 0.1:
        return rng.choice(ATOMS)
    match rng.randrange(8):
        case 0 | 1 | 2:
            operator = rng.choice(BINARY[:6] if rng.random() < 0.97 else BINARY)
            return f"({formula(rng, depth - 1)}){operator}({formula(rng, depth - 1)})"
        case 3 | 4:
            return f"{rng.choice(UNARY[:-4] if rng.random() < 0.97 else UNARY)}({formula(rng, depth - 1)})"
        case 5:
            return f"{rng.choice(('max', 'min'))}({formula(rng, depth - 1)}, {formula(rng, depth - 1)})"
        case 6:
            test = (
                f"{formula(rng, depth - 2)} {rng.choice(('<', '<=', '>', '>=', '==', '!='))} {formula(rng, depth - 2)}"
            )
            return f"where({test}, {formula(rng, depth - 1)}, {formula(rng, depth - 1)})"
        case _:
            return f"-{formula(rng, depth - 1)}"


def equations(rng: random.Random) -> str:
    """Lines over letters, whether or not they make sense."""
    subscripts = (
        "n,i",
        "n,j",
        "n,i-1",
        "n,i+1",
        "n,2*i+j",
        "n,0",
        "n,-1",
        "n,1000000",
        "i,n",
        "n",
        "n,i,j",
        "n,i*j",
        "n,10**9*i",
    )
    tensors = ("x", "x", "x", "y", "z", "W", "u")

    def access() -> str:
        return f"{rng.choice(tensors)}[{rng.choice(subscripts[: 6 if rng.random() < 0.8 else None])}]"

    def term(depth: int) -> str:
        if depth <= 0 or rng.random() < 0.2:
            return access()
        match rng.randrange(6):
            case 0:
                condition = rng.choice(("", ", j <= i", ", j < 2", ", i == j and j > 0", ", j"))
                reduction = rng.choice(("sum", "max", "logsumexp", "argmax"))
                return f"{reduction}({term(depth - 1)}, {rng.choice('jjjkin')}{condition})"
            case 1:
                return f"{rng.choice(UNARY)}({term(depth - 1)})"
            case 2:
                return f"where({rng.choice(('i == 0', 'j > i', 'n < 2'))}, {term(depth - 1)}, {term(depth - 1)})"
            case 3:
                return f"d({access()}, {access()})"
            case _:
                return f"({term(depth - 1)}){rng.choice(BINARY[:5])}({term(depth - 1)})"

    lines = []
    for _ in range(rng.choice((1, 1, 2, 3, 5))):
        lines.append(
            f"{rng.choice('zyu')}[{rng.choice(subscripts[:6])}] {rng.choice(('=', '=', '+='))} {term(rng.randrange(5))}"
        )
    return "\n".join(lines)


def value(rng: random.Random, depth: int = 2) -> Any:
    match rng.randrange(6 if depth else 4):
        case 0:
            return rng.choice(NAMES)
        case 1:
            return rng.choice(VALUES)
        case 2:
            return rng.choice((0, 1, 2, 3, 5, 1000, 2**31, 10**6, 0.5, -0.5, "same", "valid", "tanh", "adam", "W", "x"))
        case 3:
            return formula(rng, 3)
        case 4:
            return [value(rng, depth - 1) for _ in range(rng.choice((0, 1, 2, 3, 50)))]
        case _:
            return {str(rng.choice(NAMES[:60])): value(rng, depth - 1) for _ in range(rng.choice((0, 1, 2)))}


def scrambled(rng: random.Random, text: str) -> str:
    """The text with some of its parts replaced, cut out, doubled, moved, or made noise."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        a, b = sorted((rng.randrange(len(text) + 1), rng.randrange(len(text) + 1)))
        b = min(b, a + rng.choice((1, 2, 5, 20, 200)))
        match rng.randrange(7):
            case 0:
                text = text[:a] + text[b:]
            case 1:
                text = text[:a] + rng.choice(NOISE) + text[a:]
            case 2:
                text = text[:a] + text[a:b] * rng.choice((2, 3, 50)) + text[b:]
            case 3:
                lines = text.split("\n")
                rng.shuffle(lines)
                text = "\n".join(lines)
            case 4:
                other = rng.choice(valid())
                c = rng.randrange(len(other))
                text = text[:a] + other[c : c + rng.choice((5, 50, 500))] + text[a:]
            case 5:
                numbers = [k for k, c in enumerate(text) if c.isdigit()]
                if numbers:
                    k = rng.choice(numbers)
                    text = (
                        text[:k]
                        + rng.choice(("0", "-1", "1e999", "nan", "99999999999", "1099511627776", "[]"))
                        + text[k + 1 :]
                    )
            case _:
                text = text[:a] + chr(rng.choice((rng.randrange(128), rng.randrange(0x10FFFF)))) + text[b:]
    return text if "\n" in text else f"{text}\n"


def twisted(rng: random.Random, document: Any) -> Any:
    """A value of a spec in Python with one of its parts replaced, dropped, added, or wrapped."""
    if isinstance(document, dict) and document and rng.random() < 0.85:
        key = rng.choice(list(document))
        if rng.random() < 0.1:
            return {
                **{k: v for k, v in document.items() if k != key},
                **({rng.choice(NAMES[:60]): 1} if rng.random() < 0.5 else {}),
            }
        return {**document, key: twisted(rng, document[key])}
    if isinstance(document, list) and document and rng.random() < 0.8:
        k = rng.randrange(len(document))
        match rng.randrange(8):
            case 0:
                return document[:k] + document[k + 1 :]
            case 1:
                return document + [document[k]] * rng.choice((1, 2, 100))
            case _:
                return [*document[:k], twisted(rng, document[k]), *document[k + 1 :]]
    if rng.random() < 0.1:
        return [document]
    return value(rng)


def generated(seed: int, number: int) -> Spec:
    """The spec of this number, always the same."""
    rng = random.Random(f"{seed} {number}")
    match rng.randrange(10):
        case 0 | 1:
            return with_activation(formula(rng, rng.randrange(7)))
        case 2:
            return with_equations(equations(rng))
        case 3:
            text = rng.choice((FORMULAS, EQUATIONS))[rng.randrange(len(EQUATIONS))][:SHORT]
            return (with_activation if rng.random() < 0.5 else with_equations)(scrambled(rng, text or "x"))
        case 4:
            return scrambled(rng, rng.choice(DOCUMENTS)[:SHORT])
        case 5 | 6:
            return scrambled(rng, rng.choice(valid()))
        case _:
            document = tomllib.loads(rng.choice(valid()))
            given = {**document.pop("network"), "layers": document.pop("layer"), **document}
            for _ in range(rng.choice((1, 1, 2, 4))):
                given = twisted(rng, given)
            return given if isinstance(given, dict) else {"layers": given}


# ---------------------------------------------------------------------------------------------- reading
def read(spec: Spec, folder: str) -> Callable[[], Any]:
    def network() -> Any:
        if isinstance(spec, str):
            return sn.Network.from_toml(spec)
        return sn.Network(**{name: value for name, value in spec.items() if name in ARGUMENTS})

    return network


def warmed() -> None:
    """All that is imported at first use, before anybody listens."""
    for text in valid():
        sn.Network.from_toml(text)
    for text in ("max(x, where(x < 1, abs(x), erf(x)**0.5))", "x**0.5 + sqrt(2)*pi"):
        sn.Network.from_toml(with_activation(text))
    for text in ("z[n,i] = d(y[n,i], x[n,i])", "z[n,i] = logsumexp(sqrt(x[n,j]**2), j, j <= i)"):
        try:
            sn.Network.from_toml(with_equations(text))
        except sn.SymnetError:
            pass
    scipy.sparse.eye_array(2)
    read_table(EXAMPLES / "karate.csv")
    graph = {"A": {"edges": [[0, 1]], "nodes": 3}, "X": {"identity": 3}}
    sn.Network(layers=[sn.graph_conv(2, features="X", graph="A")], constants=graph, loss="mse")


def specs(count: int, seed: int, first: int = 0) -> Iterator[tuple[str, Spec]]:
    if count:
        for number in range(first, first + count):
            yield f"--seed {seed} --first {number} --count 1", generated(seed, number)
    else:
        yield from corpus()


def cases(count: int, seed: int, first: int, folder: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    for label, spec in specs(count, seed, first):
        yield label, read(spec, folder)


def _told(**options: int) -> list[str]:
    return [text for name, value in options.items() for text in (f"--{name}", str(value))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=0, help="so many generated specs, instead of the corpus")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the number of the first of them")
    parser.add_argument("--block", type=int, default=20_000, help="specs for one process")
    parser.add_argument("--sample", type=int, default=0, help="so many generated ones after the corpus")
    parser.add_argument("--judge", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.judge:
        warmed()
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            asked = (options.count, options.seed, options.first)
            more = cases(options.sample, *asked[1:], folder) if options.sample else ()
            report(Judge(folder), options.judge, lambda: chain(cases(*asked, folder), more))
        return 0
    wrong = 0
    blocks = range(options.first, options.first + max(options.count, 1), options.block)
    for first in blocks:
        count = min(options.block, options.first + options.count - first) if options.count else 0
        found = in_a_process(
            "tests.hostile", *_told(count=count, seed=options.seed, first=first, sample=options.sample)
        )
        print(found, flush=True)
        for verdict in found.wrong:
            print("  ", verdict["label"], "->", ascii(verdict["wrong"])[1:-1], flush=True)
        wrong += len(found.wrong)
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main())
