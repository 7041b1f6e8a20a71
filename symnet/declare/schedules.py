"""Schedules: a table of formulas for the learning rate of an update, in the number of the update.

In: the learning rate as a symbol, `rate`, and the options of a schedule.  Out: scalar equations for optimizers.py: run
in float64, once a step.  Everything but the name of a schedule is a run-time argument.

In formulas: step = 1, 2, ... the number of the update; t = max(0, step - 1 - warmup), the updates made since the
warm-up.  `warmup` goes with every schedule: the first `warmup` updates have step/warmup of the rate.  A schedule counts
updates, not epochs; restarts of training go on counting.  Definitions are PyTorch's, with t for its counter.

Sources: cosine: Loshchilov and Hutter 2017 (without restarts); warm-up: Goyal et al. 2017.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ..errors import Quoted, complaint, unknown

Formulas = tuple[tuple[str, str], ...]
LARGEST = sys.float_info.max


@dataclass(frozen=True, slots=True)
class Hyper:
    """A hyper-parameter: its symbol in formulas and programs, its default, the values that it may take.

    default None: must be given.  whole: an integer.
    """

    symbol: str
    default: float | None
    low: float = 0.0
    below: float = float("inf")
    whole: bool = False

    def check(self, value: Any, where: str) -> float:
        kinds = int if self.whole else int | float
        fits = isinstance(value, kinds) and self.low <= value < self.below and abs(value) <= LARGEST
        if isinstance(value, bool) or not fits:
            what = "an integer" if self.whole else "a number"
            endless = self.below == float("inf")
            span = f"{what} at least {self.low:g}" if endless else f"{what} in [{self.low:g}, {self.below:g})"
            raise complaint(where, value, span)
        return float(value)


@dataclass(frozen=True, slots=True)
class Row:
    """A schedule: `formula` for the rate of an update, in rate, step, t, its hyper-parameters and its scalars."""

    name: str
    formula: str
    hyper: Mapping[str, Hyper] = field(default_factory=dict)
    scalars: Formulas = ()


def _quotient(name: str, dividend: str, divisor: str, bits: int = 20) -> Formulas:
    """Scalars that end in the integer quotient, by long division in base 2: the language has no floor."""
    rows = []
    so_far = "0"
    for bit in reversed(range(bits)):
        found = name if bit == 0 else f"{name}{bit}"
        raised = f"({so_far} + {2**bit})"
        rows.append((found, f"where({raised}*{divisor} <= {dividend}, {raised}, {so_far})"))
        so_far = found
    return tuple(rows)


# fmt: off
ROWS: tuple[Row, ...] = (
    Row("constant", "rate"),
    Row("step", "rate*factor**drops",
        {"every": Hyper("every", None, 1, whole=True), "factor": Hyper("factor", 0.1)},
        _quotient("drops", "t", "every")),
    Row("exponential", "rate*factor**(t/every)",
        {"factor": Hyper("factor", None), "every": Hyper("every", 1.0, 1)}),
    Row("cosine", "final + (rate - final)*(1 + cos(pi*where(t < steps, t, steps)/steps))/2",
        {"steps": Hyper("steps", None, 1, whole=True), "final": Hyper("final", 0.0)}),
)
# fmt: on
TABLE: Mapping[str, Row] = MappingProxyType({row.name: row for row in ROWS})
WARMUP = Hyper("warmup", 0.0, 0, whole=True)
OWN = ("formula", "parameters", "warmup")
RESERVED = ("rate", "step", "t", "warmup", "scheduled", "pi")


@dataclass(frozen=True, slots=True)
class Schedule:
    """A choice taken apart: scalars that end in `scheduled`, the hyper-parameters (default: the value given)."""

    name: str
    scalars: Formulas
    hyper: Mapping[str, Hyper]


def schedule(value: Any, where: str) -> Schedule:
    """A checked choice: a name, or a table with `name` (or `formula`, in rate, step and t) and options."""
    options = {"name": value} if isinstance(value, str) else table(value, where)
    name = options.pop("name", "")
    if name:
        if name not in TABLE:
            raise unknown(where, "schedule", name, TABLE)
        row = TABLE[name]
        known = {**row.hyper, "warmup": WARMUP}
        for key in options:
            if key not in known:
                raise unknown(where, f"option of {name}", key, known)
    else:
        for key in options:
            if key not in OWN:
                raise unknown(where, "option of a schedule", key, OWN)
        if not isinstance(options.get("formula"), str):
            raise complaint(where, Quoted("neither a name nor a formula"), "the key 'name' or the key 'formula'")
        given = table(options.get("parameters", ()), f"{where}, parameters")
        for key in given:
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9]{0,31}", key) or key in RESERVED:
                raise complaint(f"{where}, parameters", key, f"a name of letters and digits, not {', '.join(RESERVED)}")
        row = Row("", options["formula"], {key: Hyper(key, None, float("-inf")) for key in given})
        known, options = {**row.hyper, "warmup": WARMUP}, {**given, **options}
    hyper = {}
    for key, entry in known.items():
        if key == "warmup" and key not in options:
            continue
        if key not in options and entry.default is None:
            raise complaint(where, Quoted(f"no key {key!r}"), f"{key!r}, which {name} must be given")
        given_value = entry.check(options.get(key, entry.default), f"{where}, {key}")
        hyper[key] = Hyper(entry.symbol, given_value, entry.low, entry.below)
    warm = "warmup" in hyper
    made = "where(step - 1 > warmup, step - 1 - warmup, 0)" if warm else "step - 1"
    rate = f"where(step < warmup, step/warmup, 1)*({row.formula})" if warm else row.formula
    return Schedule(name, (("t", made), *row.scalars, ("scheduled", rate)), hyper)


def table(value: Any, where: str) -> dict[str, Any]:
    """A mapping, or the pairs that a Choice keeps of one."""
    try:
        return {str(key): given for key, given in dict(value).items()}
    except (TypeError, ValueError):
        raise complaint(where, value, "a table") from None
