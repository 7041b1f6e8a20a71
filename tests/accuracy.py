"""Errors of every activation and its derivatives against mpmath: `python -m tests.accuracy [count] [names]`.

    --beside torch jax       the same points through these libraries, in processes of their own
    --python PATH            the Python that has them (default: this one)
    --training               besides, f' as a training step computes it, compiled with accuracy="strict"

An error is |got - exact| in units: the distance of neighbouring numbers of the format at the largest term of the sum
that the derivative is (near a root of f' nothing else is possible; below the normal numbers, the smallest number),
times 1 + |beta x| for swish and its approximation of gelu (u for beta x), 1 + x^2 for gelu: what the argument of the
exponential loses by being a number of the format.  Limits: 4, for mish 8.  Overflow must be where it is due.  Points
are stratified: over all exponents, evenly where functions bend, and beside kinks, roots and the ends of ranges.

The exact values are the sources' formulas below, written so that nothing cancels; no SymPy, nothing of symnet.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mpmath as mp
import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Terms = tuple[Any, ...]
TYPES = ("float32", "float64")
BITS = 240
FAR = 10_000  # exponentials of arguments beyond are taken there: outside every format, too


@dataclass(frozen=True)
class Row:
    """terms(x, order): what f, f', f'' are sums of; scale(x): see above; limit, in these units."""

    activation: Any
    terms: Callable[[Any, int], Terms]
    scale: Callable[[Any], Any] = lambda x: 1
    limit: float = 4
    kinks: tuple[float, ...] = ()
    roots: tuple[float, ...] = ()


# ---------------------------------------------------------------------------------------------- exact values
def exp(u: Any) -> Any:
    return mp.exp(min(max(u, mp.mpf(-FAR)), mp.mpf(FAR)))


def s(u: Any) -> Any:
    """The logistic function, without cancellation on either side"""
    return 1 / (1 + exp(-u)) if u > 0 else exp(u) / (1 + exp(u))


def _logistic(x: Any, order: int) -> Terms:
    p, q = s(x), s(-x)
    return ((p,), (p * q,), (p * q * q, -p * p * q))[order]


def _tanh(x: Any, order: int) -> Terms:
    slope = 4 * s(2 * x) * s(-2 * x)
    return ((mp.tanh(x),), (slope,), (-2 * mp.tanh(x) * slope,))[order]


def _softplus(x: Any, order: int) -> Terms:
    value = mp.log1p(exp(-abs(x))) + max(x, mp.mpf(0))
    return ((value,), (s(x),), (s(x) * s(-x),))[order]


def pieces(*arms: tuple[float, Callable[[Any, int], Terms]]) -> Callable[[Any, int], Terms]:
    """The first arm (end, terms) with x <= end"""
    return lambda x, order: next(terms for end, terms in arms if x <= end)(x, order)


def line(slope: Any, start: Any = 0) -> Callable[[Any, int], Terms]:
    return lambda x, order: ((mp.mpf(slope) * x, mp.mpf(start)), (mp.mpf(slope),), (mp.mpf(0),))[order]


def _curve(factor: Any) -> Callable[[Any, int], Terms]:
    return lambda x, order: (mp.mpf(factor) * (mp.expm1(x) if order == 0 else mp.exp(x)),)


def corners(low: float, high: float, slope: Any, start: Any, *ends: float) -> Callable[[Any, int], Terms]:
    """Flat at and beyond both corners"""

    def terms(x: Any, order: int) -> Terms:
        if low < x < high:
            return line(slope, start)(x, order)
        return (mp.mpf(ends[x > 0]) if order == 0 else mp.mpf(0),)

    return terms


def _swish(beta: str) -> Callable[[Any, int], Terms]:
    def terms(x: Any, order: int) -> Terms:
        b = mp.mpf(beta)
        p, q = s(b * x), s(-b * x)
        return ((x * p,), (p, b * x * p * q), (2 * b * p * q, b * b * x * p * q * q, -b * b * x * p * p * q))[order]

    return terms


def _gelu(x: Any, order: int) -> Terms:
    bell = exp(-x * x / 2) / mp.sqrt(2 * mp.pi)
    below = mp.erfc(-max(min(x, mp.mpf(200)), mp.mpf(-200)) / mp.sqrt(2)) / 2
    return ((x * below,), (below, x * bell), (2 * bell, -x * x * bell))[order]


def _inner(x: Any) -> Any:
    return 2 * mp.sqrt(2 / mp.pi) * (x + mp.mpf("0.044715") * x**3)


def _gelu_tanh(x: Any, order: int) -> Terms:
    c, a = 2 * mp.sqrt(2 / mp.pi), mp.mpf("0.044715")
    p, q, du, ddu = s(_inner(x)), s(-_inner(x)), c * (1 + 3 * a * x * x), 6 * c * a * x
    second = (2 * du * p * q, x * ddu * p * q, x * du * du * p * q * q, -x * du * du * p * p * q)
    return ((x * p,), (p, x * du * p * q), second)[order]


def _mish(x: Any, order: int) -> Terms:
    p, q = s(x), s(-x)
    w, slope = p * (1 + q) / (1 + q * q), (2 * q / (1 + q * q)) ** 2  # tanh and its slope at softplus(x)
    return ((x * w,), (w, x * slope * p), (2 * slope * p, x * slope * p * q, -2 * x * w * slope * p * p))[order]


def _softsign(x: Any, order: int) -> Terms:
    d = 1 + abs(x)
    return ((x / d,), (1 / d**2,), ((-2 if x >= 0 else 2) / d**3,))[order]


def _sine(x: Any, order: int) -> Terms:
    return ((mp.sin(x),), (mp.cos(x),), (-mp.sin(x),))[order]


END = float("inf")
ALPHA, SCALE = "1.6732632423543772", "1.0507009873554805"
# fmt: off
ROWS: dict[str, Row] = {
    "identity": Row("identity", line(1)),
    "logistic": Row("logistic", _logistic),
    "tanh": Row("tanh", _tanh),
    "hard_logistic": Row("hard_logistic", corners(-2, 2, "0.25", "0.5", 0, 1), kinks=(-2, 2)),
    "hard_tanh": Row("hard_tanh", corners(-1, 1, 1, 0, -1, 1), kinks=(-1, 1)),
    "relu": Row("relu", pieces((0, line(0)), (END, line(1))), kinks=(0,)),
    "leaky_relu": Row("leaky_relu", pieces((0, line("0.01")), (END, line(1))), kinks=(0,)),
    "prelu": Row("prelu", pieces((0, line("0.25")), (END, line(1))), kinks=(0,)),
    "elu": Row("elu", pieces((0, _curve(1)), (END, line(1))), kinks=(0,)),
    "elu, gamma=0.3": Row({"name": "elu", "gamma": 0.3}, pieces((0, _curve("0.3")), (END, line(1))), kinks=(0,)),
    "softplus": Row("softplus", _softplus),
    "swish": Row("swish", _swish("1"), lambda x: 1 + abs(x), roots=(-1.278464542761074,)),
    "swish, beta=1.7": Row({"name": "swish", "beta": 1.7}, _swish("1.7"), lambda x: 1 + abs(mp.mpf("1.7") * x),
                           roots=(-0.752037966330043,)),
    "gelu": Row("gelu", _gelu, lambda x: 1 + x * x, roots=(-0.7517915246935645,)),
    "gelu_tanh": Row("gelu_tanh", _gelu_tanh, lambda x: 1 + abs(_inner(x)), roots=(-0.7524614220710162,)),
    "selu": Row("selu", pieces((0, lambda x, order: _curve(mp.mpf(ALPHA) * mp.mpf(SCALE))(x, order)),
                               (END, line(SCALE))), kinks=(0,)),
    "mish": Row("mish", _mish, limit=8, roots=(-1.1924312145154437,)),
    "softsign": Row("softsign", _softsign),
    "abs": Row("abs", lambda x, order: ((abs(x),), (mp.sign(x),), (mp.mpf(0),))[order], kinks=(0,)),
    "sine": Row("sine", _sine, roots=(3.141592653589793, 1.5707963267948966, 355.0, 11.0)),
}
# fmt: on


# ---------------------------------------------------------------------------------------------- points
def points(name: str, dtype: str, count: int, seed: int = 0) -> Array:
    """Stratified finite arguments: half over all exponents, subnormal ones with them, the rest where functions bend."""
    rng, kind, info = np.random.default_rng(seed), np.dtype(dtype).type, np.finfo(dtype)
    lowest, highest = int(info.minexp) - int(info.nmant), int(info.maxexp)
    with np.errstate(over="ignore"):
        sizes = np.ldexp(rng.uniform(1, 2, count // 2), rng.integers(lowest, highest, count // 2)).astype(dtype)
        wide, narrow = (110, 12) if dtype == "float32" else (760, 40)
        near = (
            rng.uniform(-wide, wide, count // 4),
            rng.uniform(-narrow, narrow, count // 8),
            rng.normal(size=count // 8),
        )
        x = np.concatenate(
            [sizes * rng.choice([-1, 1], sizes.size).astype(dtype), *(part.astype(dtype) for part in near)]
        )
        places = (0, 1, 2, 87.34, 88.73, 103.98, 708.4, 709.79, 745.14, 19.0, 37.0, 27.3, info.max, info.tiny)
        special = np.array([*places, *ROWS[name].kinks, *ROWS[name].roots], dtype)
        special = np.concatenate([special, -special])
        for _ in range(3):
            special = np.concatenate(
                [special, np.nextafter(special, kind(np.inf)), np.nextafter(special, kind(-np.inf))]
            )
    x = np.concatenate([x, np.unique(special)])
    return x[np.isfinite(x)]


@dataclass(frozen=True)
class Exact:
    """What should come out at x, and the unit of an error there."""

    x: Array
    value: list[Any]
    unit: list[Any]

    def errors(self, got: Array) -> Array:
        """In units; infinite for NaN, and for an infinity (or none) where there should be none (or one)."""
        info = np.finfo(self.x.dtype)
        largest = mp.mpf(float(info.max)) * (1 + mp.mpf(2) ** -int(info.nmant + 2))
        found = np.empty(got.size)
        with mp.workprec(BITS):
            for i, (value, unit, y) in enumerate(zip(self.value, self.unit, got.tolist(), strict=True)):
                if np.isfinite(y):
                    end = max(min(value, mp.mpf(float(info.max))), -mp.mpf(float(info.max)))
                    found[i] = float(abs(mp.mpf(y) - end) / unit)
                else:
                    found[i] = 0 if np.isinf(y) and abs(value) > largest and (y > 0) == (value > 0) else np.inf
        return found


def exact(name: str, order: int, x: Array) -> Exact:
    info, row = np.finfo(x.dtype), ROWS[name]
    value, unit = [], []
    with mp.workprec(BITS):
        for number in x.tolist():
            at = mp.mpf(number)
            terms = row.terms(at, order)
            value.append(mp.fsum(terms))
            largest = max(abs(term) for term in terms)
            exponent = mp.frexp(largest)[1] - 1 if largest else int(info.minexp)
            exponent = min(max(exponent, int(info.minexp)), int(info.maxexp) - 1)
            unit.append(mp.ldexp(1, exponent - int(info.nmant)) * row.scale(at))
    return Exact(x, value, unit)


# ---------------------------------------------------------------------------------------------- what is judged
def ours(name: str, order: int, x: Array) -> Array:
    """As users evaluate it."""
    import symnet as sn

    return sn.function(ROWS[name].activation, str(x.dtype)).derivative(order)(x)


WIDTH = 1024


def trained(name: str, x: Array, accuracy: str = "strict") -> Array:
    """f'(x) as a step of training has it: the gradient of the biases b = 0 in sum_i g_i f(x_i + b_i), every g_i = 1."""
    import symnet as sn

    learned = {"learned": []} if ROWS[name].activation == "prelu" else {}
    chosen = ROWS[name].activation
    activation = {"name": chosen, **learned} if learned else chosen
    add = sn.equations("z[n,i] = x[n,i] + b[i]", parameters={"b": ["i"]}, sizes={"i": WIDTH}, name="add")
    loss = {"equations": ["ell[n] = sum(target[n,i]*prediction[n,i], i)"], "columns": WIDTH}
    network = sn.Network(WIDTH, [add, sn.activation(activation)], loss)
    zero, ones = {"add.b": np.zeros(WIDTH)}, np.ones((1, WIDTH))
    padded = np.concatenate([x, np.zeros(-x.size % WIDTH, x.dtype)]).reshape(-1, 1, WIDTH)
    parts = [
        network.value_and_gradient(zero, rows, ones, str(x.dtype), accuracy=accuracy)[1]["add.b"] for rows in padded
    ]
    return np.concatenate(parts)[: x.size]


def beside(library: str, python: str, x: dict[str, Array]) -> dict[str, Array]:
    """f and f' of all that a library has, by "name/dtype/order", from a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder, "x.npz"), Path(folder, "y.npz")
        np.savez(given, **x)
        script = Path(__file__).with_name("accuracy_peers.py")
        subprocess.run([python, str(script), library, str(given), str(made)], check=True)
        with np.load(made) as found:
            return {key: found[key] for key in found.files}


def worst(errors: Array, x: Array) -> tuple[float, float]:
    at = int(np.argmax(errors))
    return float(errors[at]), float(x[at])


def rows(names: list[str], count: int, peers: dict[str, dict[str, Array]], training: bool) -> Iterator[list[str]]:
    for name in names:
        for order in (0, 1, 2):
            for dtype in TYPES:
                x = points(name, dtype, count)
                right = exact(name, order, x)
                error, where = worst(right.errors(ours(name, order, x)), x)
                above = " ABOVE" if error > ROWS[name].limit and order < 2 else ""
                cells = [name, "f" + "'" * order, dtype, f"{x.size:,}", f"{error:.2f}{above}", f"{where!r}"]
                if training:
                    cells.append("" if order != 1 else f"{worst(right.errors(trained(name, x)), x)[0]:.2f}")
                for found in peers.values():
                    y = found.get(f"{name}/{dtype}/{order}")
                    cells.append("" if y is None else shown(right.errors(y)))
                yield cells


def shown(errors: Array) -> str:
    """The worst finite error, and how many values are NaN or infinite where they should not be"""
    finite = errors[np.isfinite(errors)]
    top = finite.max(initial=0)
    wrong = errors.size - finite.size
    return (f"{top:.2f}" if top < 1e4 else f"{top:.0e}") + (f"; {wrong} not finite" if wrong else "")


def main() -> None:
    options = argparse.ArgumentParser("tests.accuracy")
    options.add_argument("words", nargs="*", default=[], metavar="count or name")
    options.add_argument("--beside", nargs="*", default=[], choices=["torch", "jax"])
    options.add_argument("--python", default=sys.executable)
    options.add_argument("--training", action="store_true")
    given = options.parse_args()
    names = [word for word in given.words if not word.isdigit()] or list(ROWS)
    count = next((int(word) for word in given.words if word.isdigit()), 20_000)
    x = {f"{name}/{dtype}": points(name, dtype, count) for name in names for dtype in TYPES}
    peers = {library: beside(library, given.python, x) for library in given.beside}
    head = ["activation", "", "dtype", "points", "worst error", "at", *["f', training"] * given.training, *peers]
    print("| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|")
    for cells in rows(names, count, peers, given.training):
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
