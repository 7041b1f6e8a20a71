"""TOML <-> Spec: what a spec file says, and a spec written so that reading it gives an equal one.

In: a path or text.  Out: a Spec (spec.py checks every key), and the way back.  Length, dots and nesting are limited,
since a hostile file can make a TOML reader slow or exhaust its stack; a spec names no file outside its folder, but for
the data that `symnet train` is told to read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..errors import Quoted, SymnetError, complaint, unknown
from ..kinds import Declared, IntegerShape
from .checks import Choice, Pairs
from .constants import as_text, stay_inside
from .inputs import INPUT
from .spec import LIMIT, EarlyStopping, Spec, specify

TEXT = 2**16  # characters of a spec, unless the caller says otherwise: tomllib reads about 1.5 of them in a microsecond
DOTS = 8  # in a dotted key: a table's and a key's dots make tomllib's time quadratic
LONG = "Save arrays to files, or pass a higher length=."
NETWORK = ("input", "inputs", "loss", "losses", "l2", "l1", "constants")


def from_toml(source: str | Path, limit: int = LIMIT, length: int = TEXT) -> Spec:
    """A spec from TOML: `source` is the text itself if it contains a newline, else the path of a file.

    limit: parameters that it may have; length: characters.
    """
    if not isinstance(source, str | Path):
        raise complaint("from_toml", source, "the path of a file, or TOML text")
    if isinstance(source, str) and "\n" in source:
        return _read(source, "the spec", "", limit, length)
    path = Path(source)
    where = str(path)[:200]
    try:
        if path.exists() and not path.is_file():  # a device may have no end
            raise complaint(where, Quoted("no regular file"), "a spec in TOML")
        if path.stat().st_size > 4 * length:
            raise complaint(where, Quoted(f"{path.stat().st_size} bytes"), f"at most {4 * length}", LONG)
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        if isinstance(error, SymnetError):
            raise
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        # a short name is a file that is missing, not TOML in one line
        advice = "Text is taken as TOML if it contains a newline." if any(c in str(source) for c in "[=") else ""
        raise complaint(where, Quoted(f"a file that cannot be read ({reason})"), "a spec in TOML", advice) from None
    return _read(text, str(path), str(path.parent), limit, length)


def _read(text: str, where: str, folder: str, limit: int, length: int) -> Spec:
    import tomllib

    if len(text) > length:
        raise complaint(where, Quoted(f"{len(text)} characters"), f"at most {length}", LONG)
    if any(part.count(".") > DOTS for part in re.split(r"[^\w\"'.\t -]", text)):  # tomllib takes quadratic time on them
        raise complaint(where, Quoted("a key with very many dots"), f"at most {DOTS}")
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SymnetError(f"{where}: this is not TOML: {error}.") from None
    except (RecursionError, ValueError):
        raise SymnetError(
            f"{where}: this is not TOML: it is nested too deeply, or a number has too many digits."
        ) from None
    for name in document:
        if name not in ("network", "layer", "train"):
            raise unknown(where, "table", name, ("network", "layer", "train"))
    network, layers = document.get("network"), document.get("layer")
    if not isinstance(network, dict):
        raise complaint(where, Quoted("no table [network]"), "[network] with the keys input and loss")
    if not isinstance(layers, list):
        raise complaint(where, Quoted("no table [[layer]]"), "one [[layer]] for each layer, in double brackets")
    for name in network:
        if name not in NETWORK:
            raise unknown(f"{where}, [network]", "key", name, NETWORK)
    for name in ("input", "loss"):
        others = {"input": ("inputs", "constants"), "loss": ("losses",)}[name]
        if name not in network and not any(other in network for other in others):
            raise complaint(f"{where}, [network]", Quoted(f"no key {name!r}"), f"{name!r}, which must be given")
    train = document.get("train")
    stay_inside(network.get("constants"), f"{where}, constants")
    stay_inside({"model": train.get("model")} if isinstance(train, dict) else None, f"{where}, [train]")  # is written
    return specify(layers=layers, train=train, folder=folder, limit=limit, **network)


def to_toml(spec: Spec) -> str:
    """The spec as TOML; reading it gives an equal spec."""
    blocks = [
        [
            "[network]",
            *_pairs({**_inputs(spec), **_loss(spec), "l2": spec.l2, "l1": spec.l1}, {"l2": 0.0, "l1": 0.0}),
        ]
    ]
    if spec.heads[0].name:
        blocks.append(["[network.losses]", *_pairs({head.name: head.declared for head in spec.heads}, {})])
    if spec.constants:
        blocks.append(["[network.constants]", *_pairs({c.name: as_text(c) for c in spec.constants}, {})])
    for layer in spec.layers:
        blocks.append(["[[layer]]", f'kind = "{layer.kind}"', *_pairs(*_given(layer))])
    if spec.train is not None:
        blocks.append(["[train]", *_pairs(*_given(spec.train))])
    return "\n\n".join("\n".join(lines) for lines in blocks) + "\n"


def _inputs(spec: Spec) -> dict[str, Any]:
    if not spec.inputs:
        return {}
    if [name for name, _ in spec.inputs] != [INPUT]:
        return {"inputs": Pairs(spec.inputs)}
    shape = spec.inputs[0][1]
    return {"input": shape[0] if spec.is_plain else shape}


def _loss(spec: Spec) -> dict[str, Any]:
    """The only loss; several have a table of their own."""
    return {} if spec.heads[0].name else {"loss": spec.heads[0].loss}


def _given(table: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    entries = [entry for entry in fields(table) if "check" in entry.metadata]
    entries.sort(key=lambda entry: entry.name != "name")  # the name first
    keys = {f.name: f.metadata.get("key", f.name) for f in entries}
    return {keys[f.name]: getattr(table, f.name) for f in entries}, {keys[f.name]: f.default for f in entries}


def _pairs(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    return [
        f"{name} = {_value(value)}" for name, value in values.items() if name not in defaults or defaults[name] != value
    ]


def _value(value: Any) -> str:
    match value:
        case Choice(name=name, options=()):
            return _value(name)
        case Choice(name=name, options=options):
            head = [("name", name)] if name else []
            return "{ " + ", ".join(f"{k} = {_option(k, v)}" for k, v in (*head, *options)) + " }"
        case Pairs(entries=entries):
            return "{ " + ", ".join(f"{k} = {_value(v)}" for k, v in entries) + " }"
        case IntegerShape(below=below):
            return f"{{ shape = {_value(tuple(value))}, below = {below} }}"
        case Declared(shape=shape, initializer=None):
            return _value(shape)
        case Declared(shape=shape, initializer=initializer):
            return f"{{ shape = {_value(shape)}, initializer = {_value(initializer)} }}"
        case EarlyStopping():
            return "{ " + ", ".join(_pairs(*_given(value))) + " }"
        case bool():
            return "true" if value else "false"
        case str():
            return '"' + "".join(_escaped(c) for c in value) + '"'
        case tuple():
            return "[" + ", ".join(_value(v) for v in value) + "]"
    return repr(value)


TABLES = ("parameters", "schedule", "states", "scalars", "memory")  # options whose value is a table


def _option(name: str, value: Any) -> str:
    if name in TABLES and isinstance(value, tuple):
        return "{ " + ", ".join(f"{k} = {_option(k, v)}" for k, v in value) + " }"
    return _value(value)


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return f"\\u{ord(character):04x}" if ord(character) < 32 or ord(character) == 127 else character
