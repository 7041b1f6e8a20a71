"""Model: a compiled network with its parameters: fit, predict, evaluate, save, load.

In: a Network, an optimizer, a dtype, a seed.  Out: a Model.  Stands last in the pipeline: kernels are made at first use
(execution.py), the loop over batches runs in native code (loop.py), and everything from a user is checked before
anything is touched.
"""

from __future__ import annotations

import json
import os
import threading
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from . import storage
from .data import Data, check_data, check_inputs, split
from .errors import Quoted, SymnetError, complaint, unknown
from .execution import ROWS, Call, Kernel, Kernels, Memory, assert_intact, variant
from .history import Epoch, History
from .loop import Loop, Monitor, Progress, whole_number
from .network import Network, Optimizer
from .plan import hyper_values
from .scaling import KINDS as SCALINGS
from .scaling import Scaling, scaling
from .spec import Choice, checked_optimizer, specify

Array = np.ndarray[Any, np.dtype[Any]]
Callback = Callable[[Epoch], Any]
DTYPES = ("float32", "float64")
FORMAT = "symnet model 1"
SCALING = ("input:mean", "input:deviation")
_LARGEST_SEED = 2**62


class Model:
    """A network that computes.  Made by `Network.compile` or `symnet.load`; one thread at a time runs it."""

    def __init__(self, network: Network, optimizer: Choice, dtype: str, seed: int) -> None:
        self.network, self.optimizer, self.dtype, self.seed = network, optimizer, dtype, seed
        self.kernels = Kernels(network, optimizer, dtype)
        self.memory = Memory(self.kernels.storage, dtype)
        self.progress = Progress()
        self.lock = threading.RLock()
        self.training = False
        self.scaling: Scaling | None = None
        self._calls: dict[tuple[str, str, int], Call] = {}
        self._hyper = hyper_values(network.spec, optimizer)
        plan = self.kernels.plan
        for name, value in plan.initial(seed).items():
            self.memory.view(self._tensors[name])[...] = value
        for state in plan.states:
            self.memory.view(state.tensor)[...] = state.initial

    def __repr__(self) -> str:
        made = f"{self.optimizer.name}, {self.dtype}, seed {self.seed}, {self.progress.step} steps"
        return f"Model({self.network!r}; {made})"

    # ------------------------------------------------------------------------------------------ parameters
    @property
    def _tensors(self) -> dict[str, str]:
        return {p.name: p.tensor for p in self.kernels.plan.parameters}

    @property
    def parameters(self) -> Parameters:
        """Name -> array of the declared shape, read-only copies; `model.parameters[name] = array` assigns."""
        return Parameters(self)

    @parameters.setter
    def parameters(self, values: Mapping[str, Any]) -> None:
        self.parameters.update(values)

    # ------------------------------------------------------------------------------------------ training
    def fit(
        self,
        X: Any,
        y: Any,
        epochs: int = 10,
        batch_size: int = 32,
        validation_data: tuple[Any, Any] | None = None,
        validation_split: float = 0.0,
        shuffle: bool = True,
        callbacks: Sequence[Callback] = (),
        verbose: int = 0,
        patience: int | None = None,
        restore_best: bool = False,
        monitor: str = "loss",
    ) -> History:
        """Train for `epochs` passes over the data, in one native loop; goes on where the last `fit` ended.

        validation_data: (X, y), or validation_split: a fraction of the rows, drawn by the model's seed; evaluated after
        each epoch.  patience: end after so many epochs without a better validation value; restore_best: at the end
        take the parameters (and the optimizer's state) of the best epoch; monitor: "loss" or "accuracy" of the
        validation part.  callbacks: called with an `Epoch` after each epoch; one that returns True ends the training.

        A batch whose loss or gradient is not finite raises SymnetError; the parameters before it are kept.
        Ctrl-C raises KeyboardInterrupt within about 100 ms, or one step if that is longer; the model stays usable.
        """
        whole_number("epochs", epochs, 1, 10**8)
        if patience is not None:
            whole_number("patience", patience, 0)
        if monitor not in ("loss", "accuracy"):
            raise unknown("fit, monitor", "word", monitor, ("loss", "accuracy"))
        for number, callback in enumerate(callbacks):
            if not callable(callback):
                raise complaint(f"fit, callbacks[{number}]", callback, "a function of an Epoch")
        data, validation = self._data(X, y, validation_data, validation_split)
        if validation is None and (patience is not None or restore_best):
            raise complaint("fit", Quoted("patience or restore_best without validation data"), "validation_data=(X, y)")
        if monitor == "accuracy" and not self.network.is_classifier:
            raise complaint("fit, monitor", monitor, "'loss'", "Only a classifier has an accuracy.")
        loop = Loop(self, data, batch_size, shuffle)
        if validation is not None:
            loop.validate(validation, Monitor(patience, restore_best, monitor == "accuracy"))
        return loop.epochs(epochs, [*callbacks, *([_printed] if verbose else [])])

    def prepare(self, X: Any, y: Any, batch_size: int = 32, shuffle: bool = True) -> Loop:
        """The training loop over these data, checked once: `.run(steps) -> data loss` of the last of these steps."""
        return Loop(self, self._checked(X, y), batch_size, shuffle)

    def scale(self, X: Any, kind: str = "common") -> None:
        """Scale all inputs from now on so that these have mean 0 in every column and deviation 1: see scaling.py."""
        if kind not in SCALINGS:
            raise unknown("scale, kind", "word", kind, SCALINGS)
        self.scaling = scaling(check_inputs(self.network, X, np.float64), kind)

    def _checked(self, X: Any, y: Any, names: tuple[str, str] = ("X", "y")) -> Data:
        data = check_data(self.network, X, y, self.dtype, names)
        return data if self.scaling is None else replace(data, x=self.scaling.apply(data.x, self.dtype))

    def _data(self, X: Any, y: Any, validation_data: Any, fraction: Any) -> tuple[Data, Data | None]:
        if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 <= fraction < 1:
            raise complaint("fit, validation_split", fraction, "a fraction from 0 to below 1")
        data = self._checked(X, y)
        if validation_data is not None:
            if fraction:
                raise complaint("fit", Quoted("both validation_data and validation_split"), "one of them")
            if not isinstance(validation_data, tuple | list) or len(validation_data) != 2:
                raise complaint("fit, validation_data", Quoted(type(validation_data).__name__), "a pair (X, y)")
            names = ("validation_data[0]", "validation_data[1]")
            X, y = validation_data
            return data, self._checked(X, y, names)
        if not fraction:
            return data, None
        parts = split(data.rows, self.seed, fraction, 0.0)
        first, second = (replace(data, x=data.x[rows], y=data.y[rows]) for rows in (parts.train, parts.validation))
        return first, second

    # ------------------------------------------------------------------------------------------ inference
    def predict(self, X: Any) -> Array:
        """The class labels of a classifier, shape (n,); otherwise the values of the outputs, shape (n, K)."""
        return self._predict(X, "label" if self.network.is_classifier else "values")

    def predict_proba(self, X: Any) -> Array:
        """The class probabilities of a classifier, shape (n, K)."""
        if not self.network.is_classifier:
            loss = self.network.spec.loss.name
            raise complaint("predict_proba", Quoted(f"a network with the loss {loss}"), "a classifier", "Use predict.")
        return self._predict(X, "probabilities")

    def _predict(self, X: Any, what: str) -> Array:
        x = check_inputs(self.network, X, self.dtype)
        if self.scaling is not None:
            x = self.scaling.apply(x, self.dtype)
        with self.lock:
            call = self.call("prediction", what)
            (output,) = call.kernel.outputs
            shape, dtype = ((), np.int64) if what == "label" else ((self.network.spec.output,), np.dtype(self.dtype))
            result = np.empty((len(x), *shape), dtype)
            for rows in _chunks(len(x)):
                call.put("x", x[rows])
                call.put(output, result[rows])
                call.run(rows.stop - rows.start)
            assert_intact(self.memory)
        return result

    def evaluate(self, X: Any, y: Any) -> dict[str, float]:
        """The mean loss without the penalty, and the accuracy if this is a classifier."""
        data = self._checked(X, y)
        with self.lock:
            call = self.call("evaluation", variant(data))
            totals = {name: call.put(name, np.zeros(1, self.dtype)) for name in call.kernel.outputs}
            sums = dict.fromkeys(totals, 0.0)
            for rows in _chunks(data.rows):
                call.put("x", data.x[rows])
                call.put("y", data.y[rows])
                call.run(rows.stop - rows.start)
                sums = {name: sums[name] + float(total[0]) for name, total in totals.items()}
            assert_intact(self.memory)
        found = {"loss": sums["loss_sum"] / data.rows}
        return found | ({"accuracy": sums["correct"] / data.rows} if "correct" in sums else {})

    def call(self, purpose: str, variant: str, capacity: int = ROWS) -> Call:
        """The kernel for a purpose with its table, attached to the memory."""
        place = (purpose, variant, capacity)
        if place not in self._calls:
            self._calls[place] = self.new_call(*place)
        self._calls[place].attach()
        return self._calls[place]

    def new_call(self, purpose: str, variant: str, capacity: int = ROWS) -> Call:
        """The same with a table of its own."""
        kernel = self.kernels.get(purpose, variant, capacity)
        return Call(kernel, self.memory, self._hyper, {"step": 0, "seed": self.seed})

    # ------------------------------------------------------------------------------------------ reading
    @property
    def source(self) -> str:
        """The generated source of the training step, for the batch size used last (32 before the first training)."""
        return self._step().source

    def report(self) -> str:
        """What each pass of the compiler did to the training step, and what the kernel is made of."""
        return describe(self._step().manifest)

    def _step(self) -> Kernel:
        made = self.kernels.made("training")
        return made[-1] if made else self.kernels.get("training", self.network.targets[0], 32)

    # ------------------------------------------------------------------------------------------ files
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file: parameters, optimizer state, spec and progress, so that training can go on."""
        with self.lock:
            arrays = {p.name: self.memory.view(p.tensor).copy() for p in self.kernels.plan.parameters}
            arrays |= {s.name: self.memory.view(s.tensor).copy() for s in self.kernels.plan.states}
            progress = asdict(self.progress)
            if self.scaling is not None:
                arrays |= {f"input:{name}": value for name, value in asdict(self.scaling).items()}
        optimizer = {"name": self.optimizer.name, **self.optimizer.mapping}
        metadata = {
            "format": FORMAT,
            "spec": json.dumps(tomllib.loads(self.network.to_toml())),
            "model": json.dumps({"optimizer": optimizer, "dtype": self.dtype, "seed": self.seed, "progress": progress}),
        }
        storage.write(path, arrays, metadata)


class Parameters(Mapping[str, Array]):
    """The parameters of a model by name.  Reading gives read-only copies; assigning checks name, shape and values."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def __getitem__(self, name: str) -> Array:
        tensor = self._tensor(name)
        with self._model.lock:
            array = np.array(self._model.memory.view(tensor), order="C")
        array.flags.writeable = False
        return array

    def __setitem__(self, name: str, value: Any) -> None:
        self.update({name: value})

    def update(self, values: Mapping[str, Any]) -> None:
        """Assign several parameters: all, or none if one of them is refused."""
        checked = {self._tensor(name): self._checked(name, value) for name, value in values.items()}
        with self._model.lock:
            for tensor, array in checked.items():
                self._model.memory.view(tensor)[...] = array

    def __iter__(self) -> Iterator[str]:
        return iter(self._model.network.parameters)

    def __len__(self) -> int:
        return len(self._model.network.parameters)

    def __repr__(self) -> str:
        return f"Parameters({', '.join(f'{k}: {v}' for k, v in self._model.network.parameters.items())})"

    def _tensor(self, name: str) -> str:
        tensors = self._model._tensors
        if name not in tensors:
            raise unknown("parameters", "parameter", name, tensors)
        return tensors[name]

    def _checked(self, name: str, value: Any) -> Array:
        return checked_parameter(self._model.network, name, value, self._model.dtype)


def checked_parameter(network: Network, name: str, value: Any, dtype: str) -> Array:
    """A parameter's value from a user: real, finite, of the declared shape, in `dtype`."""
    where, shape = f"parameters[{name!r}]", network.parameters[name]
    try:
        array = np.asarray(value)
    except ValueError:
        raise complaint(where, Quoted("rows of different lengths"), f"an array of shape {shape}") from None
    if array.dtype.kind not in "iuf":
        raise complaint(where, Quoted(f"an array of {array.dtype}"), "real numbers")
    if array.shape != shape:
        raise complaint(where, Quoted(f"shape {array.shape}"), f"shape {shape}")
    with np.errstate(over="ignore"):
        cast = array.astype(dtype)
    bad = ~np.isfinite(cast)
    if bad.any():
        place = tuple(int(k) for k in np.argwhere(bad)[0])
        raise complaint(f"{where}{list(place) if place else ''}", array[place].item(), f"finite numbers of {dtype}")
    return cast


# ---------------------------------------------------------------------------------------------- making models
def compile_network(network: Network, optimizer: Optimizer = "adam", dtype: str = "float32", seed: int = 0) -> Model:
    """Network.compile: a Model with fresh parameters, drawn from the seed.

    optimizer: a name ("adam"), or a mapping {"name": "adam", "learning_rate": 1e-3}.  Nothing is compiled yet.
    """
    choice = checked_optimizer(optimizer, "compile, optimizer")
    name = np.dtype(dtype).name if isinstance(dtype, type | np.dtype) else dtype
    if name not in DTYPES:
        raise unknown("compile, dtype", "dtype", name, DTYPES)
    whole_number("compile, seed", seed, 0, _LARGEST_SEED)
    return Model(network, choice, name, int(seed))


def load(path: str | os.PathLike[str]) -> Model:
    """The model that `Model.save` wrote.  The file is checked against its own spec before an array is read."""
    entries, metadata = storage.read_header(path)
    if metadata.get("format") != FORMAT:
        raise complaint(str(path), metadata.get("format", Quoted("a file without our metadata")), FORMAT)
    try:
        spec, record = json.loads(metadata["spec"]), json.loads(metadata["model"])
        network = Network.from_spec(specify(layers=spec["layer"], train=spec.get("train"), **spec["network"]))
        progress = Progress.checked(record["progress"])
        optimizer = dict(record["optimizer"])
        dtype, seed = record["dtype"], record["seed"]
    except SymnetError as error:
        raise SymnetError(f"{path}: {error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SymnetError(f"{path}: its metadata are damaged ({type(error).__name__}: {str(error)[:80]}).") from None
    shapes = {name: (shape, dtype) for name, shape in network.parameters.items()}
    if any(name in entries for name in SCALING):
        shapes |= dict.fromkeys(SCALING, ((network.spec.input,), "float64"))
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
        if not np.isfinite(array).all() or (name == "input:deviation" and not (array > 0).all()):
            raise complaint(f"{path}, {name}", Quoted("NaN, inf or a deviation of 0"), "finite numbers")
    model.parameters.update({name: arrays[name] for name in network.parameters})
    for state in states:
        model.memory.view(state.tensor)[...] = arrays[state.name]
    if SCALING[0] in arrays:
        model.scaling = Scaling(*(arrays[name] for name in SCALING))
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


def value_and_gradient(
    network: Network, parameters: Mapping[str, Any], X: Any, y: Any, dtype: str = "float64"
) -> tuple[float, dict[str, Array]]:
    """Network.value_and_gradient: R (with the penalty) and dR/dW by name, from the compiled forward and backward."""
    model = _differentiator(network, dtype)
    data = check_data(network, X, y, dtype)
    for name in network.parameters:
        if name not in parameters:
            raise complaint("value_and_gradient, parameters", Quoted(f"no {name!r}"), "every parameter of the network")
    with model.lock:
        model.parameters.update(parameters)
        call = model.call("gradient", variant(data))
        risk, *names = call.kernel.outputs
        value = call.put(risk, np.zeros(1, dtype))
        parts = {
            user: call.put(name, np.zeros(shape, dtype))
            for name, (user, shape) in zip(names, network.parameters.items(), strict=True)
        }
        total, gradient = 0.0, {name: np.zeros(part.shape, dtype) for name, part in parts.items()}
        for rows in _chunks(data.rows):
            call.put("x", data.x[rows])
            call.put("y", data.y[rows])
            call.run(rows.stop - rows.start)
            # R is a mean over samples plus a penalty, so the mean of chunks, weighted by their rows, is R
            share = (rows.stop - rows.start) / data.rows
            total += share * float(value[0])
            for name, part in parts.items():
                gradient[name] += np.asarray(share * part, dtype)
        assert_intact(model.memory)
    return total, gradient


_DIFFERENTIATORS: dict[tuple[str, str], Model] = {}


def _differentiator(network: Network, dtype: str) -> Model:
    """The model whose gradient kernel serves a network; the last few are kept."""
    key = (network.to_toml(), dtype)
    if key not in _DIFFERENTIATORS:
        while len(_DIFFERENTIATORS) >= 8:
            _DIFFERENTIATORS.pop(next(iter(_DIFFERENTIATORS)))
        _DIFFERENTIATORS[key] = compile_network(network, "gradient_descent", dtype)
    return _DIFFERENTIATORS[key]


# ---------------------------------------------------------------------------------------------- small things
def describe(manifest: Mapping[str, Any]) -> str:
    """A manifest as a table: a line for each pass (columns as it recorded them), then the kernel."""
    passes: list[dict[str, Any]] = list(manifest.get("passes", ()))
    lines = []
    if passes:
        columns = list(passes[0])
        cells = [columns, *[[_cell(row.get(c, "")) for c in columns] for row in passes]]
        widths = [max(len(row[k]) for row in cells) for k in range(len(columns))]
        lines = [
            "  ".join(cell.rjust(w) if k else cell.ljust(w) for k, (cell, w) in enumerate(zip(row, widths)))
            for row in cells
        ]
    storage, arena = manifest["storage"], manifest["arena"]
    lines += [
        f"parameters and states: {storage['elements']} elements of {manifest['dtype']}",
        f"scratch: {arena['elements']} elements for {manifest['capacity'].get('N', 1)} rows",
    ]
    lines += [f"{name}: {_cell(value)} ms" for name, value in manifest.get("milliseconds", {}).items()]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _chunks(rows: int) -> Iterator[slice]:
    for start in range(0, rows, ROWS):
        yield slice(start, min(start + ROWS, rows))


def _printed(epoch: Epoch) -> None:
    print(epoch)
