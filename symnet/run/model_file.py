"""A model as a file, and back: arrays as safetensors, the spec and the progress as JSON in its metadata.

    <layer>.<parameter>                      parameters, in the dtype of the model
    state:<layer>.<state>                    states of layers: running means and variances
    optimizer:<state>:<layer>.<parameter>    the optimizer's states, so that training goes on as if it had not stopped
    input:<tensor>:mean, input:<tensor>:deviation    the scaling of an input, if there is one
    constant:<name>:<part>                   constants of the network: see constants.py
    metadata                                 format; spec; constants; model: optimizer, dtype, seed, progress

A file is checked against its own spec from its header, before an array is read or a parameter allocated.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from ..declare import constants
from ..declare.spec import specify
from ..declare.toml_text import to_toml
from ..errors import Quoted, SymnetError, complaint
from ..network import Network
from . import storage
from .loop import Progress
from .scaling import Scaling
from .training import Model, compile_network

FORMAT = "symnet model 1"
SCALING = ("mean", "deviation")


def save(model: Model, path: str | os.PathLike[str]) -> None:
    """Write a model; the file at `path` is the old one or the new one, never a part."""
    plan = model.kernels.plan
    with model.lock:
        places = [(p.name, p.tensor, p.slot) for p in plan.parameters] + [
            (s.name, s.tensor, s.slot) for s in plan.states
        ]
        arrays = {name: model.memory.view(tensor, slot).copy() for name, tensor, slot in places}
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
        "model": json.dumps({"optimizer": optimizer, "dtype": model.dtype, "seed": model.seed, "progress": progress}),
    }
    if spec.constants:
        metadata["constants"] = json.dumps(constants.describe(spec.constants))
    storage.write(path, arrays, metadata)


def load(path: str | os.PathLike[str]) -> Model:
    """The model that `Model.save` wrote.  The file is checked against its own spec before an array is read."""
    entries, metadata = storage.read_header(path)
    if metadata.get("format") != FORMAT:
        raise complaint(str(path), metadata.get("format", Quoted("a file without our metadata")), FORMAT)
    try:
        spec, record = json.loads(metadata["spec"]), json.loads(metadata["model"])
        given = json.loads(metadata.get("constants", "{}"))
        held, _ = storage.read(path, [name for name in entries if name.startswith("constant:")] if given else [])
        known = constants.from_arrays(given, held)
        made = specify(layers=spec["layer"], train=spec.get("train"), constants=known, **spec["network"])
        network = Network.from_spec(made)
        progress = Progress.checked(record["progress"])
        optimizer = dict(record["optimizer"])
        dtype, seed = record["dtype"], record["seed"]
    except SymnetError as error:
        raise SymnetError(f"{path}: {error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SymnetError(f"{path}: its metadata are damaged ({type(error).__name__}: {str(error)[:80]}).") from None
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
    _expect(path, entries, shapes)
    model = compile_network(network, optimizer, dtype, seed)
    states = model.kernels.plan.states
    shapes |= {state.name: (state.shape, dtype) for state in states}
    _expect(path, entries, shapes)
    for name in entries:
        if name not in shapes:
            raise complaint(str(path), Quoted(f"the array {name!r}"), "only what its spec declares")
    arrays, _ = storage.read(path)
    for name, array in arrays.items():
        if not np.isfinite(array).all() or (name in scaled and name.endswith(":deviation") and not (array > 0).all()):
            raise complaint(f"{path}, {name}", Quoted("NaN, inf or a deviation of 0"), "finite numbers")
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


def _expect(path: Any, entries: Mapping[str, storage.Entry], shapes: Mapping[str, tuple[tuple[int, ...], str]]) -> None:
    """Every array that the spec asks for is there, in its shape and dtype."""
    for name, (shape, dtype) in shapes.items():
        expected = f"{storage.code(np.dtype(dtype))} {shape}, as its spec says"
        if name not in entries:
            raise complaint(str(path), Quoted(f"no array {name!r}"), expected)
        found = entries[name]
        if f"{found.dtype} {found.shape}, as its spec says" != expected:
            raise complaint(f"{path}, {name}", Quoted(f"{found.dtype} {found.shape}"), expected)
