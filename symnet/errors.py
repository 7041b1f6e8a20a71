"""The one error that users of symnet meet: what is wrong, where, what was found, what was expected, what to do."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable

_SHOWN = 80  # characters of a value that an error repeats


# what others call it -> what it is here
MISNOMERS = {
    "lr": "learning_rate",
    "eta": "learning_rate",
    "step_size": "learning_rate",
    "batch": "batch_size",
    "bs": "batch_size",
    "num_epochs": "epochs",
    "n_epochs": "epochs",
    "iterations": "epochs",
    "neurons": "units",
    "size": "units",
    "nonlinearity": "activation",
    "act": "activation",
    "weight_decay": "l2",
    "type": "kind",
    "use_bias": "bias",
    "kernel_initializer": "initializer",
    "random_state": "seed",
    "validation_fraction": "validation_split",
}


class SymnetError(ValueError):
    """Something that a user gave cannot be used; nothing was changed.  The message says where and what to do."""


def complaint(where: str, found: object, expected: str, advice: str = "") -> SymnetError:
    """`where: found ..., expected ... .  advice`"""
    text = f"{where}: found {found if isinstance(found, Quoted) else show(found)}, expected {expected}."
    return SymnetError(f"{text} {advice}".rstrip())


class Quoted(str):
    """Words of ours that stand in a message as they are, where a user's value would be quoted."""

    __slots__ = ()


def unknown(where: str, what: str, name: object, known: Iterable[str]) -> SymnetError:
    """An unknown name; says which are known, and which one was probably meant."""
    from difflib import get_close_matches

    names = [str(k) for k in known]
    folded = {k.casefold(): k for k in reversed(names)}  # a wrong case is the nearest miss
    close = get_close_matches(str(name)[:_SHOWN].casefold(), folded, n=1, cutoff=0.5)
    other = MISNOMERS.get(str(name)[:_SHOWN].casefold())
    meant = other if other in names else folded[close[0]] if close else None
    advice = f"Did you mean {meant!r}?" if meant else ""
    return complaint(
        where, Quoted(f"the unknown {what} {show(name)}"), f"one of {', '.join(names) or '(none)'}", advice
    )


class _Short(reprlib.Repr):
    """Of a huge value only its beginning is written at all."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = self.maxfrozenset = self.maxdeque = _SHOWN // 2
        self.maxstring = self.maxother = 3 * _SHOWN

    def repr_int(self, value: int, level: int) -> str:
        bits = value.bit_length()
        return repr(value) if bits < 1000 else f"an integer of {bits} bits"  # Python refuses to write it


_SHORT = _Short()


def show(value: object) -> str:
    """A short repr: a value of any size takes one line of an error."""
    text = repr(value[: _SHOWN + 1]) if isinstance(value, str) else _SHORT.repr(value)
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
