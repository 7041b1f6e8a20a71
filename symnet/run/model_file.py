"""A model as a file, and back: arrays as safetensors, the spec and the progress as JSON in its metadata.

    <layer>.<parameter>                      parameters, in the dtype of the model
    state:<layer>.<state>                    states of layers: running means and variances
    optimizer:<state>:<layer>.<parameter>    the optimizer's states, so that training goes on as if it had not stopped
    input:<tensor>:mean, input:<tensor>:deviation    the scaling of an input, if there is one
    constant:<name>:<part>                   constants of the network: see constants.py
    fit:<...>                                of a checkpoint, and no part of the model: see checkpoint.py
    metadata                                 format; spec; constants; model: optimizer, dtype, seed, progress

A file is checked against its own spec from its header, before an array is read or a parameter allocated.
"""

from __future__ import annotations

import json
import math
import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np

from ..declare import constants
from ..declare.spec import ACCURACIES, LIMIT, specify
from ..declare.toml_text import to_toml
from ..errors import Quoted, SymnetError, complaint
from ..network import Network
from . import storage
from .loop import Progress
from .scaling import Scaling
from .training import DTYPES, Model, compile_network

FORMAT = "symnet model 1"
SCALING = ("mean", "deviation")
FIT = "fit:"
Entry = tuple[str, tuple[int, ...]]  # dtype, as storage.py calls it, and shape
Contents = tuple[dict[str, storage.Array], dict[str, str]]  # arrays by name, metadata


def save(model: Model, path: str | os.PathLike[str]) -> None:
    """Write a model; the file at `path` is the old one or the new one, never a part."""
    storage.write(path, *contents(model))


def contents(model: Model) -> Contents:
    """All that a model is, but for its kernels, which are compiled anew or found in the cache."""
    with model.lock:
        arrays = {name: view.copy() for name, view in named(model, model.memory.block).items()}
        progress = asdict(model.progress)
        if not progress["part_sums"]:
            del progress["part_sums"]
        for tensor, scaling in model.scaling.items():
            arrays |= {f"input:{tensor}:{name}": value for name, value in asdict(scaling).items()}
    spec = model.network.spec
    arrays |= constants.to_arrays(spec.constants)
    optimizer = {"name": model.optimizer.name, **model.optimizer.mapping}
    metadata = {
        "format": FORMAT,
        "spec": json.dumps(tomllib.loads(to_toml(replace(spec, constants=())))),
        "model": json.dumps(
            {
                "optimizer": optimizer,
                "dtype": model.dtype,
                "accuracy": model.kernels.accuracy,
                "seed": model.seed,
                "progress": progress,
            }
        ),
    }
    if spec.constants:
        metadata["constants"] = json.dumps(constants.describe(spec.constants))
    return arrays, metadata


def named(model: Model, block: storage.Array) -> dict[str, storage.Array]:
    """Views of the parameters and states in a block, by their names in files."""
    plan, view = model.kernels.plan, model.memory.storage.view
    places = [(p.name, view(block, p.tensor), p.slot) for p in plan.parameters]
    places += [(s.name, view(block, s.tensor), s.slot) for s in plan.states]
    return {name: whole if slot is None else whole[slot] for name, whole, slot in places}


def load(path: str | os.PathLike[str]) -> Model:
    """The model that `Model.save` wrote.  The file is checked against its own spec before an array is read."""
    storage.check(path)
    entries, metadata = storage.read_header(path)
    shapes = {name: (e.dtype, e.shape) for name, e in entries.items() if not name.startswith(FIT)}
    return _model(shapes, metadata, lambda names: storage.read(path, list(names or shapes))[0], str(path))


def rebuilt(arrays: Mapping[str, storage.Array], metadata: Mapping[str, str]) -> Model:
    """The model of these contents: what a pickle calls."""
    shapes = {name: (storage.code(array.dtype) or "", array.shape) for name, array in arrays.items()}
    return _model(shapes, metadata, lambda names: arrays, "the pickled model")


def _model(
    entries: Mapping[str, Entry],
    metadata: Mapping[str, str],
    read: Callable[[Sequence[str]], Mapping[str, storage.Array]],
    where: str,
) -> Model:
    """The model of a file, checked from dtypes and shapes before `read` is asked for arrays (all: by no name)."""
    if metadata.get("format") != FORMAT:
        other = metadata.get("format", Quoted("a file without our metadata"))
        written = str(other).startswith("symnet model ")
        raise complaint(where, other, FORMAT, "Load it with the symnet that wrote it, or a later one." * written)
    try:
        spec, record = json.loads(metadata["spec"]), json.loads(metadata["model"])
        given = json.loads(metadata.get("constants", "{}"))
        held = read([name for name in entries if name.startswith("constant:")]) if given else {}
        known = constants.from_arrays(given, held)
        limit = max(LIMIT, sum(math.prod(shape) for _, shape in entries.values()))  # what is there is not too large
        made = specify(layers=spec["layer"], train=spec.get("train"), constants=known, limit=limit, **spec["network"])
        network = Network.from_spec(made)
        progress = Progress.checked(record["progress"])
        optimizer = dict(record["optimizer"])
        dtype, seed, accuracy = record["dtype"], record["seed"], record.get("accuracy", ACCURACIES[0])
        if dtype not in DTYPES or accuracy not in ACCURACIES:
            raise ValueError("model, dtype or accuracy")
    except SymnetError as error:
        raise SymnetError(f"{where}: {error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SymnetError(f"{where}: its metadata are damaged ({type(error).__name__}: {str(error)[:80]}).") from None
    shapes = {name: (shape, dtype) for name, shape in network.parameters.items()}
    scaled = [name for name in entries if name.startswith("input:")]
    if scaled:
        shapes |= {
            f"input:{network.spec.input_tensors[key]}:{name}": (shape, "float64")
            for key, shape in network.spec.inputs
            if key not in network.spec.integers
            for name in SCALING
        }
    shapes |= {name: (array.shape, str(array.dtype)) for name, array in constants.to_arrays(known).items()}
    _expect(where, entries, shapes)
    model = compile_network(network, optimizer, dtype, seed, accuracy=accuracy)
    states = model.kernels.plan.states
    shapes |= {state.name: (state.shape, dtype) for state in states}
    _expect(where, entries, shapes)
    for name in entries:
        if name not in shapes:
            raise complaint(where, Quoted(f"the array {name!r}"), "only what its spec declares")
    arrays = read(())
    for name, array in arrays.items():
        if not np.isfinite(array).all() or (name in scaled and name.endswith(":deviation") and not (array > 0).all()):
            raise complaint(f"{where}, {name}", Quoted("NaN, inf or a deviation of 0"), "finite numbers")
    model.parameters.update({name: arrays[name] for name in network.parameters})
    for state in states:
        model.memory.view(state.tensor, state.slot)[...] = arrays[state.name]
    if scaled:
        model.scaling = {
            tensor: Scaling(*(arrays[f"input:{tensor}:{name}"] for name in SCALING))
            for key, tensor in network.spec.input_tensors.items()
            if key not in network.spec.integers
        }
    model.progress = progress
    return model


def _expect(where: str, entries: Mapping[str, Entry], shapes: Mapping[str, tuple[tuple[int, ...], str]]) -> None:
    """Every array that the spec asks for is there, in its shape and dtype."""
    for name, (shape, dtype) in shapes.items():
        expected = f"{storage.code(np.dtype(dtype))} {shape}, as its spec says"
        if name not in entries:
            raise complaint(where, Quoted(f"no array {name!r}"), expected)
        found = "{} {}".format(*entries[name])
        if f"{found}, as its spec says" != expected:
            raise complaint(f"{where}, {name}", Quoted(found), expected)
