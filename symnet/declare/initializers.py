"""Initial values of parameters: a table of distributions, drawn from a seed.

In: the chosen row with its options, a shape, fan_in and fan_out (numbers of inputs and of outputs that one weight
joins), a NumPy Generator.  Out: a float64 array.  Draws do not depend on the dtype of training (the result is rounded
to it afterwards), nor on the other parameters: each has a generator of its own, made from (seed, its position).

Sources: glorot: Glorot and Bengio 2010; he: He et al. 2015; lecun: LeCun et al. 1998; orthogonal: Saxe et al. 2014.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from ..errors import Quoted, complaint, unknown
from . import streams

Array = np.ndarray[Any, np.dtype[np.float64]]
Draw = Callable[[np.random.Generator, tuple[int, ...], int, int, Mapping[str, Any]], Array]


@dataclass(frozen=True, slots=True)
class Row:
    """A way to draw an array; `parameters` are its options with their defaults."""

    name: str
    draw: Draw
    parameters: Mapping[str, Any] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    half_width: Callable[[int, int], float] | None = None  # of a uniform distribution, and no more than that
    random: bool = True


def _uniform(name: str, half_width: Callable[[int, int], float], *aliases: str) -> Row:
    def draw(
        rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int, _: Mapping[str, Any]
    ) -> Array:
        a = half_width(fan_in, fan_out)
        return rng.uniform(-a, a, shape)

    return Row(name, draw, aliases=aliases, half_width=half_width)


def _normal(deviation: Callable[[int, int], float]) -> Draw:
    def draw(
        rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int, _: Mapping[str, Any]
    ) -> Array:
        return rng.normal(0.0, deviation(fan_in, fan_out), shape)

    return draw


def _orthogonal(
    rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int, options: Mapping[str, Any]
) -> Array:
    """Orthonormal rows or columns, uniformly distributed (QR with the signs of R's diagonal fixed), times the gain.

    stacked: how many of the first axes number matrices, each of which is orthogonal.
    """
    if options["stacked"]:
        inner = {**options, "stacked": options["stacked"] - 1}
        return np.stack([_orthogonal(rng, shape[1:], fan_in, fan_out, inner) for _ in range(shape[0])])
    rows, columns = shape[0], int(np.prod(shape[1:], dtype=int))
    q, r = np.linalg.qr(rng.normal(size=(max(rows, columns), min(rows, columns))))
    q = q * np.where(np.diag(r) < 0, -1.0, 1.0)
    return np.ascontiguousarray((q if rows >= columns else q.T).reshape(shape)) * float(options["gain"])


def _filled(values: Any, shape: tuple[int, ...]) -> Array:
    """The values; an axis of length 1 is repeated."""
    return np.array(np.broadcast_to(np.array(values, np.float64), shape))


# fmt: off
ROWS: tuple[Row, ...] = (
    _uniform("glorot_uniform", lambda i, o: (6 / (i + o)) ** 0.5, "glorot", "xavier_uniform"),
    Row("glorot_normal", _normal(lambda i, o: (2 / (i + o)) ** 0.5), aliases=("xavier_normal",)),
    _uniform("he_uniform", lambda i, o: (6 / i) ** 0.5, "he", "kaiming_uniform"),
    Row("he_normal", _normal(lambda i, o: (2 / i) ** 0.5), aliases=("kaiming_normal",)),
    _uniform("lecun_uniform", lambda i, o: (3 / i) ** 0.5, "lecun"),
    Row("lecun_normal", _normal(lambda i, o: (1 / i) ** 0.5)),
    Row("orthogonal", _orthogonal, {"gain": 1.0, "stacked": 0}),
    Row("zeros", lambda rng, shape, i, o, options: np.zeros(shape), random=False),
    Row("constant", lambda rng, shape, i, o, options: np.full(shape, float(options["value"])), {"value": 0.0},
        random=False),
    Row("given", lambda rng, shape, i, o, options: _filled(options["values"], shape), {"values": ()},
        random=False),
)
# fmt: on
TABLE: Mapping[str, Row] = MappingProxyType({name: row for row in ROWS for name in (row.name, *row.aliases)})


def check(name: str, options: Mapping[str, Any], shape: tuple[int, ...], where: str) -> None:
    """Raise SymnetError unless this row can fill this shape."""
    if name not in TABLE:
        raise unknown(where, "initializer", name, TABLE)
    row = TABLE[name]
    for key, value in options.items():
        if key not in row.parameters:
            raise unknown(where, f"option of {name}", key, row.parameters)
        if key != "values" and (isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e30):
            raise complaint(f"{where}, {key}", value, "a number")
    stacked = options.get("stacked", 0)
    if row.name == "orthogonal" and len(shape) < 2:
        raise complaint(where, name, "an initializer for a vector", "orthogonal needs a matrix.")
    if stacked not in range(max(len(shape) - 1, 1)):
        raise complaint(f"{where}, stacked", stacked, f"how many of the first axes of {shape} number matrices")
    if row.name == "given":
        try:
            values = np.array(options.get("values", ()), np.float64)
        except (TypeError, ValueError, OverflowError):
            raise complaint(where, Quoted("values that are no array of numbers"), f"numbers of shape {shape}") from None
        if values.shape != shape:
            raise complaint(where, Quoted(f"values of shape {values.shape}"), f"shape {shape}")
        if not np.isfinite(values).all():
            raise complaint(where, Quoted("NaN or inf among the values"), "finite numbers")


def initial(
    name: str, options: Mapping[str, Any], shape: tuple[int, ...], fans: tuple[int, int], seed: int, position: int
) -> Array:
    """The initial value of the parameter at `position` in the network's order: a pure function of its arguments."""
    row = TABLE[name]
    rng = np.random.default_rng([seed, position])
    return row.draw(rng, shape, *fans, {**row.parameters, **options})


def initials(
    name: str,
    options: Mapping[str, Any],
    shape: tuple[int, ...],
    fans: tuple[int, int],
    seeds: Sequence[int],
    position: int,
) -> Array:
    """The same for each seed: shape (seeds, ...)."""
    row, first = TABLE[name], initial(name, options, shape, fans, seeds[0], position)
    if not row.random or len(seeds) == 1:
        return np.repeat(first[None], len(seeds), axis=0)
    if row.half_width is not None and len(seeds) > math.prod(shape):
        a = row.half_width(*fans)
        made = -a + (a - -a) * streams.uniform(seeds, position, math.prod(shape)).reshape(-1, *shape)
        if (made[0] == first).all():  # as NumPy rounds it here
            return made
    return np.stack([first, *(initial(name, options, shape, fans, seed, position) for seed in seeds[1:])])
