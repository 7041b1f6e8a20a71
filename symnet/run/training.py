"""Model: a compiled network with its parameters: fit, predict, evaluate, save, load.

In: a Network, an optimizer, a dtype, a seed.  Out: a Model.  Stands last in the pipeline: kernels are made at first use
(execution.py), the loop over batches runs in native code (loop.py), and everything from a user is checked before
anything is touched.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from compiler import team

from ..declare import checks, regularizers
from ..declare.heads import dotted, suffix
from ..declare.spec import ACCURACIES, Choice, checked_optimizer, unknown_monitor
from ..errors import Quoted, complaint, unknown
from ..network import Network, Optimizer
from .checkpoint import Checkpoint, Keeper
from .data import Data, called, check_data, check_inputs, split
from .execution import ROWS, Call, Kernel, Kernels, Memory, assert_intact, variant
from .fitting import fit as train
from .history import Epoch, History, share
from .loop import RISK, Loop, Monitor, Progress, whole_number
from .parameters import Parameters
from .plan import LAYERS, hyper_values, same_equations
from .report import describe
from .risk import chunks
from .scaling import KINDS as SCALINGS
from .scaling import Scaling, scaling
from .shards import Shard, shared, sums_by_chunk
from .together import together

if TYPE_CHECKING:
    from ..look.inspection import Inspection
    from ..look.tracing import Where
    from .ranks import Ranks

Array = np.ndarray[Any, np.dtype[Any]]
Callback = Callable[[Epoch], Any]
DTYPES = ("float32", "float64")
_LARGEST_SEED = 2**62


class Model:
    """A network that computes.  Made by `Network.compile` or `symnet.load`; one thread at a time runs it."""

    def __init__(
        self,
        network: Network,
        optimizer: Choice,
        dtype: str,
        seed: int,
        threads: int | None = None,
        accuracy: str = "usual",
    ) -> None:
        self.network, self.optimizer, self.dtype, self.seed = network, optimizer, dtype, seed
        self.threads = threads
        self.kernels = Kernels(network.rolled(optimizer), optimizer, dtype, accuracy)
        self.memory = Memory(self.kernels.storage, dtype)
        self.progress = Progress()
        self.lock = threading.RLock()
        self.training = False
        self.scaling: Mapping[str, Scaling] = {}  # of each input
        self.step_kernel: Kernel | None = None  # of the loop made last
        self._calls: dict[tuple[str, str, int], Call] = {}
        self.hyper = hyper_values(network.spec, optimizer)
        plan = self.kernels.plan
        for name, value in plan.initial(seed).items():
            self.memory.view(*self.places[name])[...] = value
        for state in plan.states:
            self.memory.view(state.tensor, state.slot)[...] = state.initial

    def __repr__(self) -> str:
        made = f"{self.optimizer.name}, {self.dtype}, seed {self.seed}, {self.progress.step} steps"
        return f"Model({self.network!r}; {made})"

    def _repr_html_(self) -> str:
        made = f"{self.optimizer.name}, {self.dtype}, seed {self.seed}, {self.progress.step} steps"
        return f"<p>Model: {made}</p>{self.network._repr_html_()}"

    def _repr_latex_(self) -> str:
        return self.network._repr_latex_()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from ..notation.jupyter import bundle

        return bundle(repr(self), self._repr_html_(), self._repr_latex_())

    # ------------------------------------------------------------------------------------------ parameters
    @property
    def places(self) -> dict[str, tuple[str, int | None]]:
        return {p.name: (p.tensor, p.slot) for p in self.kernels.plan.parameters}

    @property
    def parameters(self) -> Parameters:
        """Name -> array of the declared shape, read-only copies; `model.parameters[name] = array` assigns.

        To change one element: W = model.parameters[name].copy(); W[0, 0] = 5; model.parameters[name] = W.
        """
        return Parameters(self, "parameter", self.places, self.network.parameters)

    @parameters.setter
    def parameters(self, values: Mapping[str, Any]) -> None:
        self.parameters.update(values)

    @property
    def states(self) -> Parameters:
        """The same for the states of layers, such as the running mean and variance of a batch norm."""
        states = [s for s in self.kernels.plan.states if s.name.startswith(LAYERS)]
        kept = {s.name.removeprefix(LAYERS): (s.tensor, s.slot) for s in states}
        return Parameters(self, "state", kept, self.network.states)

    # ------------------------------------------------------------------------------------------ training
    def fit(
        self,
        X: Any,
        y: Any,
        epochs: int = 10,
        batch_size: int = 32,
        validation_data: tuple[Any, ...] | None = None,
        validation_split: float = 0.0,
        shuffle: bool = True,
        callbacks: Callback | Sequence[Callback] = (),
        verbose: int = 0,
        patience: int | None = None,
        restore_best: bool = False,
        monitor: str = "loss",
        sample_weight: Any = None,
        tolerance: float = 0.0,
        checkpoint: str | os.PathLike[str] | Checkpoint | None = None,
        resume: str | os.PathLike[str] | None = None,
        ranks: Ranks | None = None,
    ) -> History:
        """Train for `epochs` passes over the data, in one native loop; goes on where the last `fit` ended.

        sample_weight: a factor for the loss of each sample, shape (n,), or of each position of the output, shape
        (n, T): the mask of padded time steps, say.  The loss of a batch stays the mean over all its samples and
        positions; an accuracy counts those with a weight above 0.
        validation_data: (X, y) or (X, y, sample_weight), or validation_split: a fraction of the rows, drawn by the
        model's seed; evaluated after each epoch.  patience: end after so many epochs without a better validation value;
        restore_best: at the end take the parameters (and the optimizer's state) of the best epoch; monitor: "loss" or
        "accuracy" of the validation part, of one of several losses "digit.loss" or "digit.accuracy", or, without a
        validation part, "risk": the mean of R over the batches of the epoch, the loss with the penalty, which the
        history then has, too.  tolerance: an epoch is better only by more than this.  callbacks: a function or
        several, called with an `Epoch` after each epoch; one that returns True ends the training.  verbose: 1 (or
        True) prints every epoch.

        checkpoint: a file that the state of this training is written to every 60 seconds, at its end and where it is
        interrupted; `Checkpoint(path, seconds, epochs)` says how often.  resume: such a file; with the same arguments
        as the `fit` that wrote it (or more epochs) this one goes on and ends with the same bits as if that one had
        never stopped.  Where both are one path and no file is there yet, it begins anew.

        ranks: the processes that mpirun started and that train this model together, each by this call with the same
        arguments, or with rows of its own: see ranks.py.  Callbacks run on all of them, files are read and written by
        rank 0 alone.

        A step whose loss, gradient or new parameters are not finite raises SymnetError; the parameters before it are
        kept.  Ctrl-C raises KeyboardInterrupt, SIGTERM SystemExit(143) (unless it has a handler), within about 100 ms,
        or one step if that is longer; the model stays usable.
        """
        if verbose not in (0, 1):
            raise complaint("fit, verbose", verbose, "0 or 1")
        watching = _functions(callbacks)
        with nullcontext() if ranks is None else ranks.guard():
            loop = self.fitting(
                X, y, epochs, batch_size, validation_data, validation_split, shuffle, patience, restore_best, monitor,
                sample_weight, tolerance, ranks,
            )  # fmt: skip
        if verbose and loop.is_first:
            watching.append(_printed)
        return train(loop, epochs, watching, Keeper(loop, *((checkpoint, resume) if loop.is_first else (None, None))))

    def fitting(
        self,
        X: Any,
        y: Any,
        epochs: int = 10,
        batch_size: int = 32,
        validation_data: tuple[Any, ...] | None = None,
        validation_split: float = 0.0,
        shuffle: bool = True,
        patience: int | None = None,
        restore_best: bool = False,
        monitor: str = "loss",
        sample_weight: Any = None,
        tolerance: float = 0.0,
        ranks: Ranks | None = None,
    ) -> Loop:
        """The loop that `fit` runs, everything checked."""
        whole_number("epochs", epochs, 1, 10**8)
        if patience is not None:
            whole_number("patience", patience, 0)
        if monitor not in (*self.network.spec.monitors, RISK):
            raise unknown_monitor(self.network.spec, "fit, monitor", monitor)
        data, validation = self._data(X, y, validation_data, validation_split, sample_weight, ranks)
        watched = Monitor(patience, restore_best, monitor, checks.number(0)(tolerance, "fit, tolerance"))
        if monitor == RISK:
            if validation is not None:
                raise complaint("fit, monitor", monitor, "'loss', say, with validation data", "It is of training.")
        elif validation is None and (patience is not None or restore_best):
            raise complaint("fit", Quoted("patience or restore_best without validation data"), "validation_data=(X, y)")
        loop = together(self, data, batch_size, shuffle, watched if monitor == RISK else None)
        if validation is not None:
            loop.validate(validation, watched)
        return loop

    def prepare(
        self,
        X: Any,
        y: Any,
        batch_size: int = 32,
        shuffle: bool = True,
        sample_weight: Any = None,
        ranks: Ranks | None = None,
    ) -> Loop:
        """The training loop over these data, checked once: `.run(steps) -> data loss` of the last of these steps."""
        data = self._checked(X, y, weights=sample_weight, ranks=ranks)
        return together(self, data, batch_size, shuffle, None)

    def scale(self, X: Any, kind: str = "common", ranks: Ranks | None = None) -> None:
        """Scale inputs from now on so that these have mean 0 in every column and deviation 1: see scaling.py.

        Integers stay as they are, and so do masks and numbers of steps.  ranks: as `fit` takes them.
        """
        if kind not in SCALINGS:
            raise unknown("scale, kind", "word", kind, SCALINGS)

        def check(X: Any, y: Any, weights: Any, first: int | None) -> Data:
            return Data(check_inputs(self.network, X, np.float64, called("X", first)), {})

        data = check(X, None, None, None) if ranks is None else shared(ranks, ("X", "y"), (X, None, None), check)
        kept = self.network.spec.counts
        scaled = [name for name, x in data.inputs.items() if x.dtype.kind == "f" and name not in kept]
        self.scaling = {
            name: data.scaling(name, kind) if isinstance(data, Shard) else scaling(data.inputs[name], kind)
            for name in scaled
        }

    def _checked(
        self, X: Any, y: Any, names: tuple[str, str] = ("X", "y"), weights: Any = None, ranks: Ranks | None = None
    ) -> Data:
        def check(X: Any, y: Any, weights: Any, first: int | None) -> Data:
            return check_data(self.network, X, y, self.dtype, names, weights, first, self.scaling)

        return check(X, y, weights, None) if ranks is None else shared(ranks, names, (X, y, weights), check)

    def _data(
        self, X: Any, y: Any, validation_data: Any, fraction: Any, weights: Any, ranks: Ranks | None
    ) -> tuple[Data, Data | None]:
        if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 <= fraction < 1:
            raise complaint("fit, validation_split", fraction, "a fraction from 0 to below 1")
        if ranks is not None:
            ranks.compare("seed", self.seed)
            ranks.compare("validation_split", fraction)
        data = self._checked(X, y, weights=weights, ranks=ranks)
        if validation_data is not None:
            if fraction:
                raise complaint("fit", Quoted("both validation_data and validation_split"), "one of them")
            if not isinstance(validation_data, tuple | list) or len(validation_data) not in (2, 3):
                raise complaint("fit, validation_data", Quoted(type(validation_data).__name__), "a pair (X, y)")
            names = ("validation_data[0]", "validation_data[1]")
            X, y, weights = (*validation_data, None)[:3]
            return data, self._checked(X, y, names, weights, ranks)
        if not fraction:
            return data, None
        parts = split(data.rows, self.seed, fraction, 0.0)
        return data.part(parts.train), data.part(parts.validation)

    def tune(self, **options: Any) -> None:
        """Other values for options of the optimizer (learning_rate=1e-4) or for the network's l2 and l1, from the next
        step on, also from a callback.  They are arguments of the compiled step: nothing is compiled, nothing starts
        again.  What would need other equations, as a penalty where there was none, is refused.
        """
        given = {key: value for key, value in options.items() if key not in regularizers.TABLE}
        strengths = {key: checks.number(0)(options[key], f"tune, {key}") for key in options if key not in given}
        name = {"name": self.optimizer.name} if self.optimizer.name else {}
        optimizer = checked_optimizer({**name, **self.optimizer.mapping, **given}, "tune")
        network = Network.from_spec(replace(self.network.spec, **strengths)) if strengths else self.network
        if not same_equations((self.network.spec, self.optimizer), (network.spec, optimizer)):
            raise complaint("tune", options, "other numbers in the same equations", "Compile another model.")
        with self.lock:
            self.retune(network, optimizer)

    def retune(self, network: Network, optimizer: Choice) -> None:
        """The same equations with other numbers."""
        self.network, self.optimizer = network, optimizer
        self.hyper = hyper_values(network.spec, optimizer)
        self.memory.changes += 1
        for call in self._calls.values():
            call.take(self.hyper)

    # ------------------------------------------------------------------------------------------ inference
    def predict(self, X: Any) -> Any:
        """The class labels of a classifier, shape (n,); otherwise the values of the outputs, shape (n, K).

        Where each of several outputs decides by itself (binary_cross_entropy), labels 0 and 1 of shape (n, K).  Where
        the output has positions, say T time steps, shapes (n, T) and (n, T, K).  Of several losses, a dict by name.
        """
        return self._predict(X, "label" if self.network.is_classifier else "values")

    def predict_proba(self, X: Any) -> Any:
        """The class probabilities of a classifier, shape (n, classes); of independent outputs, shape (n, K).

        Where the output has positions, say T time steps, shape (n, T, classes).  Of several losses, a dict by the names
        of those that are a classifier's.
        """
        if not self.network.is_classifier:
            loss = ", ".join(head.loss.name for head in self.network.spec.heads)
            raise complaint("predict_proba", Quoted(f"a network with the loss {loss}"), "a classifier", "Use predict.")
        return self._predict(X, "probabilities")

    def _predict(self, X: Any, what: str) -> Any:
        names, outputs = self.network.predicted(what), self.network.outputs
        dtypes = [np.int64 if what == "label" and outputs[name].is_classifier else self.dtype for name in names]
        found = self._outputs("prediction", what, X, dtypes)
        return found[0] if names == ("",) else dict(zip(names, found, strict=True))

    def transform(self, X: Any, layer: str) -> Array:
        """The activations of a layer, by its name: shape (n, ...).  The network below is a map of features."""
        spec = self.network.spec
        names = [known.name for known in spec.layers]
        if layer not in names:
            raise unknown("transform", "layer", layer, names)
        return self._outputs("layer", layer, X, [self.dtype])[0]

    def _outputs(self, purpose: str, what: str, X: Any, dtypes: Sequence[Any]) -> list[Array]:
        inputs = check_inputs(self.network, X, self.dtype, scaling=self.scaling)
        count = len(next(iter(inputs.values()))) if inputs else 1
        with self.lock:
            call = self.call(purpose, what)
            shapes = call.kernel.manifest["outputs"]
            results = {
                name: np.empty((count, *map(int, shape[1:])), dtype)
                for (name, shape), dtype in zip(shapes.items(), dtypes, strict=True)
            }
            for rows in chunks(count):
                for name, x in inputs.items():
                    call.put(name, x[rows])
                for name, result in results.items():
                    call.put(name, result[rows])
                call.run(rows.stop - rows.start)
            assert_intact(self.memory)
        return list(results.values())

    def evaluate(self, X: Any, y: Any, sample_weight: Any = None, ranks: Ranks | None = None) -> dict[str, float]:
        """The mean loss without the penalty, and the accuracy if this is a classifier: of what has a weight above 0.

        Of several losses, these of each, too: "digit.loss", "digit.accuracy".  ranks: as `fit` takes them; they divide
        the work, and all get what one process would.
        """
        data = self._checked(X, y, weights=sample_weight, ranks=ranks)
        data = data.in_chunks() if isinstance(data, Shard) else data
        with self.lock:
            with nullcontext() if ranks is None else ranks.in_turn():
                call = self.call("evaluation", variant(data))
            for name in call.outputs:
                call.put(name, np.zeros(1, self.dtype))
            sums = dict.fromkeys(call.outputs, 0.0)
            for row in sums_by_chunk(call, data, call.run):
                sums = {name: sums[name] + float(value) for name, value in zip(call.outputs, row, strict=True)}
            assert_intact(self.memory)
        found = {"loss": sums["loss_sum"] / data.rows}
        for name, output in self.network.outputs.items():
            if name:
                found[f"{name}.loss"] = sums[f"loss_sum_{name}"] / data.rows
            if output.is_classifier:
                found[dotted(name, "accuracy")] = share(sums[f"correct{suffix(name)}"], data.counted(output.target))
        return found

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
        call = Call(kernel, self.memory, self.hyper, {"step": 1, "seed": self.seed}, self.threads)
        self.put_constants(call)
        return call

    def put_constants(self, call: Call) -> None:
        """The constants of the network, into a call of one of its kernels."""
        for name, array in self.constants.items():
            call.put(name, array)

    @cached_property
    def constants(self) -> dict[str, Array]:
        """What kernels read of the network's constants, by name."""
        return self.network.constant_arguments(self.dtype)

    # ------------------------------------------------------------------------------------------ reading
    @property
    def source(self) -> str:
        """The generated source of the training step, for the batch size used last (32 before the first training)."""
        return self._step().source

    def trace(self, X: Any, y: Any) -> dict[str, Array]:
        """Every named quantity of these samples: z, a, delta, ... by the names in the formulas, gradients by parameter.

        In float64, by the slow evaluator, from the parameters as they are (tracing.py).
        """
        from ..look.tracing import trace

        return trace(self, self._checked(X, y))

    def inspect(self, X: Any, y: Any) -> Inspection:
        """Facts about the network on these samples: slopes of activations, dead units, vanishing gradients, cost."""
        from ..look.inspection import inspect
        from ..look.tracing import given

        data = self._checked(X, y)
        return inspect(self.network, *given(self, data), data.rows)

    def where(self, name: str) -> Where:
        """The formula of a quantity such as "delta1", its shape, and the lines of `source` that compute it."""
        from ..look.tracing import where

        return where(self, name)

    def report(self) -> str:
        """What each pass of the compiler did to the training step, and what the kernel is made of."""
        return describe(self._step().manifest)

    def _step(self) -> Kernel:
        return self.step_kernel or self.kernels.get("training", self.network.given(), 32)

    # ------------------------------------------------------------------------------------------ files
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file: parameters, optimizer state, spec and progress, so that training can go on."""
        from .model_file import save

        save(self, path)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled (by joblib, say) as its spec and its arrays; it comes back compiled anew, or from the cache."""
        from .model_file import contents, rebuilt

        return rebuilt, contents(self)


def _functions(callbacks: Any) -> list[Callback]:
    """What `fit` takes for callbacks: a function, several, or None."""
    if callable(callbacks) or callbacks is None:
        return [] if callbacks is None else [callbacks]
    if isinstance(callbacks, str | Mapping) or not isinstance(callbacks, Iterable):
        raise complaint("fit, callbacks", callbacks, "a function of an Epoch, or a list of such functions")
    functions = list(callbacks)
    for number, callback in enumerate(functions):
        if not callable(callback):
            raise complaint(f"fit, callbacks[{number}]", callback, "a function of an Epoch")
    return functions


# ---------------------------------------------------------------------------------------------- making models
def compile_network(
    network: Network,
    optimizer: Optimizer = "adam",
    dtype: str = "float32",
    seed: int = 0,
    threads: int | None = None,
    accuracy: str = "usual",
) -> Model:
    """Network.compile: a Model with fresh parameters, drawn from the seed.

    optimizer: a name ("adam"), or a mapping {"name": "adam", "learning_rate": 1e-3}.  Nothing is compiled yet.
    """
    choice = checked_optimizer(optimizer, "compile, optimizer")
    name = np.dtype(dtype).name if isinstance(dtype, type | np.dtype) else dtype
    if name not in DTYPES:
        raise unknown("compile, dtype", "dtype", name, DTYPES)
    if accuracy not in ACCURACIES:
        raise unknown("compile, accuracy", "word", accuracy, ACCURACIES)
    whole_number("compile, seed", seed, 0, _LARGEST_SEED)
    if threads is not None:
        threads = whole_number("compile, threads", threads, 1, team.MEMBERS + 1)
    return Model(network, choice, name, int(seed), threads, accuracy)


# ---------------------------------------------------------------------------------------------- small things
def _printed(epoch: Epoch) -> None:
    print(epoch)
