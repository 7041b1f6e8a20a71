"""The inputs of a network, as declared: names, shapes, and which hold integers.

In: what a spec says under `input` or `inputs`.  Out: checked names and shapes.  Stands at the door of spec.py, and
toml_text.py writes them back.

    input = 64                                          a vector of 64 numbers for one sample
    input = [28, 28]                                    a matrix
    input = { shape = [64], below = 256 }               64 integers from 0 to 255: characters, say
    inputs = { x = [50, 3], length = { shape = [], below = 51 } }      an integer for each sample
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import Quoted, complaint
from ..kinds import AXES, IntegerShape, Shape, sample_shape
from . import checks
from .checks import by, declare

INPUTS = 64
INPUT = "x"  # the name of the only input, unless the spec says otherwise


def _shape(value: Any, where: str) -> Shape:
    """As of a sample, or none at all: a single number for each sample."""
    return () if isinstance(value, list | tuple) and not value else sample_shape(value, where)


@dataclass(frozen=True, slots=True)
class Input:
    """The shape of one sample; with `below`, it holds integers from 0 to below - 1."""

    shape: Shape = field(metadata=by(_shape))
    below: int | None = field(default=None, metadata=by(checks.integer(1)))


def _input(given: Any, where: str) -> Shape:
    if not isinstance(given, Mapping):
        return sample_shape(given, where)
    made = declare(Input, given, where)
    if not made.shape and made.below is None:
        expected = f"from 1 to {AXES} sizes"
        raise complaint(f"{where}, shape", (), expected, "Of real numbers say [1]; integers have the key 'below'.")
    return made.shape if made.below is None else IntegerShape(made.shape, made.below)


def declared_inputs(input: Any, inputs: Any, by_constants: bool) -> tuple[tuple[str, Shape], ...]:
    """The name and the shape of every input; none, where the first layer reads constants."""
    if input is None and inputs is None and by_constants:
        return ()
    if (input is None) == (inputs is None):
        found = "neither 'input' nor 'inputs'" if input is None else "both 'input' and 'inputs'"
        raise complaint("network", Quoted(found), "input = 64, or inputs = { image = [64], age = [1] }")
    if inputs is None:
        made = {INPUT: _input(input, "network, input")}
    else:
        if not isinstance(inputs, Mapping) or not 1 <= len(inputs) <= INPUTS:
            expected = f"a table of at most {INPUTS} names and shapes, such as {{ image = [64], age = [1] }}"
            advice = "" if isinstance(inputs, Mapping) else "Did you mean 'input'?"
            raise complaint("network, inputs", inputs, expected, advice)
        made = {
            checks.layer_name(name, "network, inputs"): _input(given, f"network, inputs, {name}")
            for name, given in inputs.items()
        }
    return tuple(made.items())
