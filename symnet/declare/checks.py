"""Checks of single values of a spec, and of tables of them.

In: what a user wrote, and where.  Out: the value, hashable, or a SymnetError.  A table of a spec is a dataclass whose
fields are the keys, each with the function that checks it and, where the key may be left out, a default.  kinds and
spec.py are made of these.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeVar

from ..errors import Quoted, complaint, unknown
from . import activations, initializers

LEVELS = 8  # of nested lists and tables
LARGEST = 2**40  # any integer of a spec

Check = Callable[[Any, str], Any]
Table = TypeVar("Table")


@dataclass(frozen=True, slots=True)
class Choice:
    """A row of one of the tables, by its own name, with options; "" and an option `formula` for a user's formula."""

    name: str
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def mapping(self) -> dict[str, Any]:
        return dict(self.options)


@dataclass(frozen=True, slots=True)
class Pairs:
    """A table of a spec: names and values, in the order in which they were given."""

    entries: tuple[tuple[str, Any], ...] = ()

    @property
    def mapping(self) -> dict[str, Any]:
        return dict(self.entries)


# ---------------------------------------------------------------------------------------------- checks of one value
def is_number(value: Any) -> bool:
    """A real number that a float64 can hold (or NaN, or inf), and no boolean."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        float(value)
    except OverflowError:
        return False
    return True


def integer(least: int) -> Check:
    def check(value: Any, where: str) -> int:
        if isinstance(value, bool) or not isinstance(value, Integral) or not least <= int(value) <= LARGEST:
            raise complaint(where, value, f"an integer from {least} to {LARGEST}")
        return int(value)

    return check


def number(least: float, below: float = math.inf) -> Check:
    def check(value: Any, where: str) -> float:
        if not is_number(value) or not least <= float(value) < below:
            span = f"at least {least:g}" if below == math.inf else f"from {least:g} to below {below:g}"
            raise complaint(where, value, f"a number {span}")
        return float(value)

    return check


def boolean(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise complaint(where, value, "true or false")
    return value


def word(*words: str) -> Check:
    def check(value: Any, where: str) -> str:
        if value not in words:
            raise unknown(where, "word", value, words)
        return str(value)

    return check


def layer_name(value: Any, where: str) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", value):
        raise complaint(where, value, "a name of letters, digits and underscores, at most 64 of them")
    return value


def path(value: Any, where: str) -> str:
    if not isinstance(value, str | Path) or not str(value) or any(ord(c) < 32 for c in str(value)):
        raise complaint(where, value, "the path of a file")
    return str(value)


def lines(value: Any, where: str) -> tuple[str, ...]:
    """Equations: a text, or a list of texts."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not texts or not all(isinstance(text, str) for text in texts):
        raise complaint(where, value, "a list of equations, as text")
    return tuple(line.strip() for text in texts for line in text.strip().splitlines())


def plain(value: Any, where: str, level: int = 0) -> Any:
    """An option's value, hashable: lists become tuples, tables sorted tuples of pairs, arrays nested tuples."""
    if level > LEVELS:
        raise complaint(where, Quoted(f"more than {LEVELS} nested levels"), "fewer")
    if hasattr(value, "tolist"):
        value = value.tolist()
    match value:
        case bool() | str() | int() | float():
            return value
        case Mapping():
            return tuple(sorted((str(k), plain(v, f"{where}, {k}", level + 1)) for k, v in value.items()))
        case list() | tuple():
            return tuple(plain(v, where, level + 1) for v in value)
    raise complaint(where, value, "a number, text, a list or a table")


def choice(value: Any, where: str) -> Choice:
    """A name, or a table with the key `name` (or `formula`, or `equations`) and options."""
    if isinstance(value, Choice):
        return value
    if isinstance(value, str) and value:
        return Choice(value)
    if not isinstance(value, Mapping):
        raise complaint(where, value, "a name, or a table with the key 'name' and options")
    options = {str(k): plain(v, f"{where}, {k}") for k, v in value.items()}
    name = options.pop("name", "")
    if not isinstance(name, str) or bool(name) + ("formula" in options) + ("equations" in options) != 1:
        raise complaint(where, value, "a table with either the key 'name' or the key 'formula'")
    return Choice(name, tuple(sorted(options.items())))


def activation(value: Any, where: str) -> Choice:
    given = choice("identity" if value is None else value, where)
    chosen = activations.settings(given.name, given.mapping, where)
    if not given.name:
        activations.resolve(chosen, where)  # so that a formula is read at the door
    return replace(given, name=chosen.row.name)


def initializer(value: Any, where: str) -> Choice | None:
    if value is None:
        return None
    if not isinstance(value, str | Mapping | Choice):
        value = {"name": "given", "values": value}
    given = choice(value, where)
    if given.name not in initializers.TABLE:
        raise unknown(where, "initializer", given.name, initializers.TABLE)
    return replace(given, name=initializers.TABLE[given.name].name)


def by(check: Check) -> dict[str, Check]:
    """The metadata of a field: what checks its key."""
    return {"check": check}


def declare(table: type[Table], given: Mapping[str, Any], where: str) -> Table:
    """The dataclass `table` from a mapping, every key checked."""
    known = {f.metadata.get("key", f.name): f for f in fields(table) if "check" in f.metadata}  # type: ignore[arg-type]
    for name in given:
        if name not in known:
            raise unknown(where, "key", name, known)
    for name, entry in known.items():
        if name not in given and entry.default is MISSING:
            raise complaint(where, Quoted(f"no key {name!r}"), f"{name!r}, which must be given")
    checked = {known[name].name: known[name].metadata["check"](v, f"{where}, {name}") for name, v in given.items()}
    return table(**checked)
