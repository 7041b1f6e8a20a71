"""The door for data: arrays of users -> arrays that a kernel may read without further checks.

In: X and y as arrays, lists, memory-mapped files or data frames; a dict of X for several inputs, of y for several
targets.  Out: Data: C-contiguous arrays of the dtype of training (labels int64), copied only if that changes them.
Shapes, dtypes, NaN, inf and labels are checked here, since a label out of range would make a kernel write outside its
arrays; an error names the array, the index and the value.
Nothing of the model is touched before these checks are through.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from ..declare import losses
from ..declare.heads import Output, joined, owner_of, suffix
from ..declare.losses import BY_POSITION, DISTRIBUTION, LABELS, VALUES, WEIGHTED
from ..errors import Quoted, SymnetError, complaint, unknown
from ..kinds import IntegerShape
from .arrays import Array, real_array
from .scaling import Scaling

if TYPE_CHECKING:
    from ..network import Network

BLOCK = 2**20  # elements that are looked at together, so that checks of a memory-mapped file take little memory


@dataclass(frozen=True, slots=True)
class Target:
    """A checked target.

    kind: how it is given ("labels", "distribution", "values"); facts_hold: its rows sum to 1, where they should;
    weights: one for each sample, or for each of its positions, or None.
    """

    array: Array
    kind: str
    facts_hold: bool = True
    weights: Array | None = None

    @property
    def given(self) -> str:
        """How it is given, and how it has weights."""
        if self.weights is None:
            return self.kind
        return self.kind + (WEIGHTED if self.weights.ndim == 1 else BY_POSITION)

    def part(self, rows: Any) -> Target:
        weights = None if self.weights is None else self.weights[rows]
        return replace(self, array=self.array[rows], weights=weights)


class Called(str):
    """What an array is called in errors.  first: the number of its first row, if it is one process's part of more."""

    first: int | None = None

    def of(self, key: str) -> Called:
        """The array of this name in a dict."""
        return called(f"{self}[{key!r}]", self.first)


def called(name: str, first: int | None = None) -> Called:
    made = Called(name)
    made.first = first
    return made


@dataclass(frozen=True, slots=True)
class Data:
    """Checked samples, one row a sample: inputs by the names of their tensors, targets by theirs ("": the only one)."""

    inputs: Mapping[str, Array]
    targets: Mapping[str, Target]

    @property
    def arrays(self) -> dict[str, Array]:
        """All that a kernel reads row by row, by the names of tensors."""
        arrays = dict(self.inputs)
        for name, target in self.targets.items():
            arrays[f"y{suffix(name)}"] = target.array
            if target.weights is not None:
                arrays[f"sample_weight{suffix(name)}"] = target.weights
        return arrays

    @property
    def rows(self) -> int:
        return len(next(iter(self.targets.values())).array)

    def total(self, count: int) -> int:
        """Of all samples, of which these may be one process's (shards.py)."""
        return count

    def counted(self, target: str) -> float:
        """How many samples an accuracy is of: those with a weight above 0, or the share of their positions."""
        weights = self.targets[target].weights
        if weights is None:
            return self.rows
        return self.total(int(np.count_nonzero(weights))) * self.rows / self.total(weights.size)

    def taken(self, name: str, rows: Array) -> Array:
        """Rows of an array, by their numbers."""
        return self.arrays[name][rows]

    @property
    def facts_hold(self) -> bool:
        return all(target.facts_hold for target in self.targets.values())

    @property
    def given(self) -> str:
        """How the targets are given, as network.py takes it."""
        return joined({name: target.given for name, target in self.targets.items()})

    def part(self, rows: Any) -> Data:
        """Some of the samples."""
        inputs = {name: x[rows] for name, x in self.inputs.items()}
        return Data(inputs, {name: target.part(rows) for name, target in self.targets.items()})


def check_data(
    network: Network,
    X: Any,
    y: Any,
    dtype: Any,
    names: tuple[str, str] = ("X", "y"),
    weights: Any = None,
    first: int | None = None,
    scaling: Mapping[str, Scaling] = MappingProxyType({}),
) -> Data:
    """X of shape (n, inputs), or a dict of inputs, and its targets, ready for kernels of `dtype`; raises SymnetError.

    A classifier takes labels (integers 0..K-1, shape (n,)) or distributions (shape (n, K)); one whose outputs decide
    each by itself takes numbers from 0 to 1, and labels 0 and 1 if it has one output; other networks take values of
    shape (n, K), or (n,) if K is 1.  Where the output has positions, say T time steps, labels have the shape (n, T),
    the others (n, T, K).  `names` is what the arrays are called in errors.  weights: one for each sample, shape (n,),
    or for each position, shape (n, T); not negative.  first: of a part of the samples, which may be empty, the number
    of its first row, from which errors count.  scaling: of inputs, by the names of their tensors.

    Of several losses, y is a dict by the names of targets, and weights are for all of them, or such a dict.
    """
    where_x, where_y, where_weights = (called(name, first) for name in (*names, "sample_weight"))
    x = check_inputs(network, X, dtype, where_x, scaling)
    rows = len(next(iter(x.values()))) if x else _rows(y)
    outputs = network.spec.outputs
    wanted = {output.target: owner_of(outputs, output.target) for output in outputs}
    given = {"": y} if "" in wanted else _by_name(y, wanted, names[1])
    weighted: dict[str, Any] = dict.fromkeys(wanted, weights)
    if "" not in wanted and isinstance(weights, Mapping):
        weighted = _by_name(weights, wanted, "sample_weight", complete=False)
    made = {}
    for name, output in wanted.items():
        where = where_y.of(name) if name else where_y
        target = real_array(given[name], where)
        if target.ndim == 0 or target.shape[0] != rows:
            found = Quoted(f"{target.shape[0]} rows" if target.ndim else "a single number")
            raise complaint(where, found, f"{rows} rows, as {names[0]} has")
        made[name] = _target(output, target, dtype, where)
        for other in outputs:
            if other.target == name:
                _in_domain(made[name].array, other.head.loss.name, where)
        if weighted.get(name) is not None:
            where = where_weights.of(name) if name and isinstance(weights, Mapping) else where_weights
            checked = _weights(weighted[name], rows, output.positions, dtype, where)
            made[name] = replace(made[name], weights=checked)
    return Data(x, made)


def _rows(y: Any) -> int:
    """The samples of a network without inputs, counted by its targets."""
    first = next(iter(y.values()), ()) if isinstance(y, Mapping) else y
    return len(first) if hasattr(first, "__len__") else 0


def _by_name(given: Any, wanted: Mapping[str, Any], where: str, *, complete: bool = True) -> dict[str, Any]:
    """An array for each target, from a dict."""
    expected = f"a dict of arrays with the keys {', '.join(wanted)}"
    if not isinstance(given, Mapping):
        raise complaint(where, Quoted(f"a {type(given).__name__}"), expected)
    for name in given:
        if name not in wanted:
            raise unknown(where, "target", name, wanted)
    for name in wanted:
        if complete and name not in given:
            raise complaint(where, Quoted(f"no {name!r}"), expected)
    return dict(given)


def _target(output: Output, target: Array, dtype: Any, name: Called) -> Target:
    width, kinds, at = output.target_width, output.targets, output.positions
    in_column = target.ndim == len(at) + 1 or target.shape[len(at) + 1 :] == (1,)
    if not output.is_classifier:
        return Target(_real(_matrix(target, at, width, name, "values"), dtype, name), VALUES)
    if VALUES in kinds:
        if LABELS in kinds and in_column and target.dtype.kind != "f":
            return Target(_labels(target, at, output.classes, name), LABELS)
        checked = _real(_matrix(target, at, width, name, "numbers from 0 to 1"), dtype, name)
        _refuse(checked, name, lambda block: (block < 0) | (block > 1), "numbers from 0 to 1")
        return Target(checked, VALUES)
    if target.ndim <= len(at) + 1 or (in_column and width != 1):
        return Target(_labels(target, at, output.classes, name), LABELS)
    checked = _real(_matrix(target, at, width, name, "class probabilities"), dtype, name)
    _refuse(checked, name, lambda block: block < 0, "class probabilities, which are not negative")
    slack = 4 * width * float(np.finfo(dtype).eps)
    facts_hold = all(
        bool((np.abs(part.sum(axis=-1, dtype=np.float64) - 1) <= slack).all()) for _, part in _blocks(checked)
    )
    return Target(checked, DISTRIBUTION, facts_hold)


def _in_domain(checked: Array, loss: str, name: Called) -> None:
    row = losses.TABLE.get(loss)  # none for a loss of the user's own
    match row and row.domain:
        case losses.SIGNS:
            advice = f"Classes 0 and 1 become these by 2*{name} - 1, or take binary_cross_entropy."
            _refuse(checked, name, lambda block: abs(block) != 1, f"targets -1 and 1, as {loss} takes", advice=advice)
        case losses.COUNTS:
            advice = "For targets of any sign take squared_error."
            _refuse(checked, name, lambda block: block < 0, f"counts, 0 or above, as {loss} takes", advice=advice)


def _weights(value: Any, rows: int, at: tuple[int, ...], dtype: Any, name: Called) -> Array:
    array = real_array(value, name)
    if array.shape not in ((rows,), (rows, *at)):
        expected = f"shape ({rows},): one for each sample" + (
            f", or {(rows, *at)}: one for each position" if at else ""
        )
        raise complaint(name, Quoted(f"an array of shape {array.shape}"), expected)
    checked = _real(array, dtype, name)
    _refuse(checked, name, lambda block: block < 0, "weights, which are not negative")
    return checked


def check_inputs(
    network: Network, X: Any, dtype: Any, name: str = "X", scaling: Mapping[str, Scaling] = MappingProxyType({})
) -> dict[str, Array]:
    """The inputs by the names of their tensors: n >= 1 rows, finite, C-contiguous in `dtype`; raises SymnetError.

    What is scaled is scaled as it was given, and rounded to `dtype` then.
    """
    name = name if isinstance(name, Called) else called(name)
    shapes, tensors = dict(network.spec.inputs), network.spec.input_tensors
    if not shapes:
        if X is not None and X != {}:
            raise complaint(name, Quoted(f"a {type(X).__name__}"), "None: this network reads nothing but constants")
        return {}
    if not isinstance(X, Mapping):
        if len(shapes) > 1:
            expected = f"a dict of arrays with the keys {', '.join(shapes)}"
            raise complaint(name, Quoted(f"a {type(X).__name__}"), expected)
        return {tensors[key]: _input(X, shape, dtype, name, scaling.get(tensors[key])) for key, shape in shapes.items()}
    for key in X:
        if key not in shapes:
            raise unknown(name, "input", key, shapes)
    made = {}
    for key, shape in shapes.items():
        if key not in X:
            raise complaint(name, Quoted(f"no {key!r}"), f"arrays named {', '.join(shapes)}")
        made[key] = _input(X[key], shape, dtype, name.of(key), scaling.get(tensors[key]))
        most = network.spec.counts.get(tensors[key], math.inf)
        if most < math.inf:
            wrong = partial(_no_count, most=most)
            _refuse(made[key], name.of(key), wrong, f"whole numbers from 0 to {most}, as a mask or a length is")
    first = next(iter(made))
    for key, array in made.items():
        if len(array) != len(made[first]):
            expected = f"{len(made[first])} rows, as {name.of(first)} has"
            raise complaint(name.of(key), Quoted(f"{len(array)} rows"), expected)
    return {tensors[key]: array for key, array in made.items()}


def _input(given: Any, shape: tuple[int, ...], dtype: Any, name: Called, scaled: Scaling | None) -> Array:
    x = real_array(given, name)
    if isinstance(shape, IntegerShape):
        return _integers(x, shape, name)
    if x.ndim == 0 or (x.shape[0] == 0 and name.first is None):
        raise complaint(name, Quoted(f"an array of shape {x.shape}, without samples"), "at least one row")
    if len(shape) == 1:
        return _real(_matrix(x, (), shape[0], name, "inputs"), dtype, name, scaled)
    if x.shape[1:] != shape:
        expected = f"(n, {', '.join(map(str, shape))}) for n samples"
        raise complaint(name, Quoted(f"shape {x.shape}"), expected)
    return _real(x, dtype, name, scaled)


def _integers(x: Array, shape: IntegerShape, name: Called) -> Array:
    if x.ndim and x.shape[1:] == (1,) and not shape:
        x = x[:, 0]
    if x.ndim == 0 or (x.shape[0] == 0 and name.first is None) or x.shape[1:] != tuple(shape):
        expected = f"(n, {', '.join(map(str, shape))}) for n samples" if shape else "(n,): one for each sample"
        raise complaint(name, Quoted(f"shape {x.shape}"), expected)
    if x.dtype.kind not in "iu":
        raise complaint(name, Quoted(f"an array of {x.dtype}"), "integers", f"Pass {name}.astype(int).")
    _refuse(x, name, lambda block: (block < 0) | (block >= shape.below), f"integers from 0 to {shape.below - 1}")
    return _layout(x, np.int64)


def _matrix(array: Array, at: tuple[int, ...], columns: int, name: str, what: str) -> Array:
    """The array with an axis for the samples, axes for positions, and one for the columns."""
    if columns == 1 and array.shape[1:] == at:
        array = array.reshape(*array.shape, 1)
    if array.ndim != len(at) + 2 or array.shape[1:] != (*at, columns):
        shape = ", ".join(map(str, ("n", *at, columns)))
        each = f"each of {math.prod(at)} positions in each of n samples" if at else "each of n samples"
        raise complaint(name, Quoted(f"shape {array.shape}"), f"({shape}): {columns} {what} for {each}")
    return array


def _labels(array: Array, at: tuple[int, ...], classes: int, name: Called) -> Array:
    shape = array.shape
    if shape[1 : len(at) + 1] != at:
        expected = f"(n, {', '.join(map(str, at))}): a label for each position in each of n samples"
        raise complaint(name, Quoted(f"shape {shape}"), expected)
    array = array.reshape(-1, *at)
    if array.dtype.kind == "f":
        full = ", ".join(map(str, ("n", *at, classes)))
        advice = f"If these are labels, pass {name}.astype(int); distributions have shape ({full})."
        raise complaint(name, Quoted(f"{array.dtype} in shape {shape}"), "integer labels", advice)
    if array.dtype.kind != "b":
        _refuse(array, name, lambda block: (block < 0) | (block >= classes), f"labels from 0 to {classes - 1}")
    return _layout(array, np.int64)


def _real(array: Array, dtype: Any, name: Called, scaled: Scaling | None = None) -> Array:
    if array.dtype.kind == "f":
        _refuse(array, name, lambda block: ~np.isfinite(block), "finite numbers")
    with np.errstate(all="ignore"):
        cast = _layout(array if scaled is None else scaled.apply(array, dtype), dtype)
    if scaled is not None or (array.dtype.kind == "f" and array.dtype.itemsize > cast.dtype.itemsize):
        expected = f"numbers in the range of {cast.dtype}{'' if scaled is None else ' when they are scaled'}"
        _refuse(cast, name, lambda block: ~np.isfinite(block), expected, array)
    return cast


def _layout(array: Array, dtype: Any) -> Array:
    """The array itself where its dtype, order and alignment fit (read-only or not), else a copy that has them."""
    return np.require(array, dtype, ["C", "A"])


def _blocks(array: Array) -> Any:
    rows = max(1, BLOCK // max(1, int(np.prod(array.shape[1:], dtype=int))))
    for start in range(0, array.shape[0], rows):
        yield start, array[start : start + rows]


def _no_count(block: Array, most: float) -> Array:
    bad: Array = (block < 0) | (block > most) | (block != np.floor(block))
    return bad


def _refuse(
    array: Array, name: Called, wrong: Any, expected: str, shown: Array | None = None, advice: str = ""
) -> None:
    """Raise an error that names the first element that is wrong."""
    for start, block in _blocks(array):
        bad = wrong(block)
        if bad.any():
            first, *rest = (int(k) for k in np.unravel_index(int(bad.argmax()), bad.shape))
            value = (array if shown is None else shown)[(start + first, *rest)].item()
            index = ((name.first or 0) + start + first, *rest)
            raise complaint(f"{name}[{', '.join(map(str, index))}]", value, expected, advice)


@dataclass(frozen=True, slots=True)
class Split:
    """Disjoint row numbers, together all of them."""

    train: Array
    validation: Array
    test: Array


def split(rows: int, seed: int, validation: float, test: float) -> Split:
    """Rows 0..rows-1 at random into three parts; a fraction above 0 gives at least one row.

    The test part depends on the seed and on `test` alone, so a search over the rest never sees it.
    """
    order = np.random.default_rng([seed, 0x5B117]).permutation(rows)
    tested = max(1, round(rows * test)) if test else 0
    validated = max(1, round(rows * validation)) if validation else 0
    if tested + validated >= rows:
        found = Quoted(f"{rows} rows, of which {validated} would be for validation and {tested} for the test")
        raise complaint("data", found, "rows left to train on", "Use more data or smaller splits.")
    parts = np.split(order, [tested, tested + validated])
    return Split(np.sort(parts[2]), np.sort(parts[1]), np.sort(parts[0]))


__all__ = ["Data", "Split", "SymnetError", "check_data", "check_inputs", "split"]
