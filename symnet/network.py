"""Network: a spec as equations, with its derivatives, as the programs that are compiled.

In: a Spec.  Out: forward equations, and programs for a training step, a gradient, an evaluation and a prediction.
Stands between spec.py and the compiler; nothing is derived before it is asked for, and nothing twice.

    ell[n]     loss of sample n                       loss = (1/N) sum_n ell[n]         R = loss + penalty
    delta<l>   the adjoint of z<l>, per sample        d_<name>  the adjoint of any other tensor, dR/dW for parameters
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from . import decisions, initializers, loss_equations, losses, optimizers, regularizers
from .errors import unknown
from .readable import Readable
from .spec import INPUT, LIMIT, Choice, Spec, checked_optimizer, specify
from .toml_text import from_toml, to_toml

if TYPE_CHECKING:
    from compiler.program import Equation, Program, Tensor

    from .explain import Explanation
    from .gradient import Gradient
    from .initializers import Array
    from .layers import Built, Parameter, State
    from .loss_equations import Loss
    from .optimizers import Update
    from .picture import Picture
    from .training import Model

Optimizer = str | Mapping[str, Any] | Choice


@dataclass(frozen=True, slots=True)
class Gradients:
    """The backward sweep of one loss: its equations, the gradient of each parameter by name, and every adjoint."""

    equations: tuple[Equation, ...]
    by_name: Mapping[str, Tensor]
    adjoints: Mapping[Tensor, Tensor]


@dataclass(frozen=True, init=False, repr=False)
class Network(Readable):
    """A feed-forward network, its loss and its penalty, declared.

    input: number of inputs, or the shape of a sample.  inputs: several by name, {"image": [64], "age": [1]}, instead.
    layers: what `dense` and its like return; the last is the output.  loss: a name of the table, or a mapping with
    options.  l2, l1: lambda and lambda_1 in R = loss + lambda/2 * (sum of all squared weights) + lambda_1 * (sum of
    their absolute values), biases excepted; a layer may have strengths of its own.
    train: the keys of [train] in TOML, for the command line.  Two networks are equal if they are declared the same.

    >>> from symnet.spec import dense
    >>> Network(input=2, layers=[dense(2, activation="relu"), dense(1)], loss="squared_error").parameters["dense1.W"]
    (2, 2)
    """

    spec: Spec

    def __init__(
        self,
        input: Any = None,
        layers: Any = (),
        loss: Optimizer = "squared_error",
        l2: float = 0.0,
        train: Mapping[str, Any] | None = None,
        limit: int = LIMIT,
        inputs: Mapping[str, Any] | None = None,
        l1: float = 0.0,
    ) -> None:
        object.__setattr__(self, "spec", specify(input, layers, loss, l2, train, limit=limit, inputs=inputs, l1=l1))

    @classmethod
    def from_spec(cls, spec: Spec) -> Network:
        network = cls.__new__(cls)
        object.__setattr__(network, "spec", spec)
        return network

    @classmethod
    def from_toml(cls, source: str | Path, limit: int = LIMIT) -> Network:
        """The network that a TOML file declares; text that contains a newline is taken as the TOML itself."""
        return cls.from_spec(from_toml(source, limit))

    def to_toml(self) -> str:
        """TOML that declares an equal network."""
        return to_toml(self.spec)

    def __repr__(self) -> str:
        described = ", ".join(str(layer) for layer in self.spec.layers)
        strengths = {row.name: getattr(self.spec, row.name) for row in regularizers.ROWS}
        penalty = "".join(f", {name}={value:g}" for name, value in strengths.items() if value)
        total = sum(prod(shape) for shape in self.parameters.values())
        loss = self.spec.loss.name or "own loss"
        inputs = ", ".join(_described(self.spec.inputs))
        return f"Network({inputs} -> {described}; {loss}{penalty}; {total} parameters)"

    # ------------------------------------------------------------------------------------------ parameters
    @cached_property
    def parameters(self) -> Mapping[str, tuple[int, ...]]:
        """`layer.parameter` -> shape, in the order of the layers."""
        return MappingProxyType(self.spec.parameters())

    @cached_property
    def states(self) -> Mapping[str, tuple[int, ...]]:
        """`layer.state` -> shape, of what training changes by an equation of its own: running means and variances."""
        return MappingProxyType(self.spec.states())

    @cached_property
    def _states(self) -> Mapping[str, State]:
        return {
            f"{layer.name}.{name}": state
            for layer in self.spec.layers
            for name, state in self._built[layer.name].states.items()
        }

    @cached_property
    def is_coupled(self) -> bool:
        """Does what a sample becomes in training depend on the other samples of its batch?"""
        return any(layer.coupled(self.spec.graph.below(layer)) for layer in self.spec.layers)

    @cached_property
    def _details(self) -> Mapping[str, Parameter]:
        return {
            f"{layer.name}.{name}": parameter
            for layer in self.spec.layers
            if not layer.share
            for name, parameter in self._built[layer.name].parameters.items()
        }

    @cached_property
    def tensors(self) -> Mapping[str, Tensor]:
        """`layer.parameter` -> its tensor in the equations."""
        return MappingProxyType({name: parameter.tensor for name, parameter in self._details.items()})

    @cached_property
    def weights(self) -> tuple[Tensor, ...]:
        """The weight matrices: what penalties apply to."""
        return tuple(parameter.tensor for parameter in self._details.values() if parameter.is_weight)

    def initial_parameters(self, seed: int = 0) -> dict[str, Array]:
        """First values by name, float64; a pure function of the spec and the seed."""
        values = {}
        for position, (name, parameter) in enumerate(self._details.items()):
            how, shape = parameter.initializer, self.parameters[name]
            values[name] = initializers.initial(how.name, how.mapping, shape, parameter.fans, seed, position)
        return values

    @property
    def hyper(self) -> Mapping[str, float]:
        """Hyper-parameters of the network itself, by symbol; those of an optimizer are in its Update."""
        return MappingProxyType(hyper_values(self.spec))

    @property
    def constants(self) -> Mapping[str, tuple[float, ...]]:
        """Values of the constant tensors in the equations, by name."""
        return MappingProxyType(losses.constants(self.spec.loss.mapping))

    # ------------------------------------------------------------------------------------------ forward
    @cached_property
    def inputs(self) -> Mapping[str, Tensor]:
        """The inputs by name: x[n,...] for the only one, else x_<name>."""
        from compiler.program import Tensor, size

        names = self.spec.input_tensors
        tensors = {name: Tensor(names[name], (size("N"), *shape), "input") for name, shape in self.spec.inputs}
        return MappingProxyType(tensors)

    @property
    def input(self) -> Tensor:
        """The first input."""
        return next(iter(self.inputs.values()))

    @cached_property
    def _built(self) -> Mapping[str, Built]:
        """Each layer as equations, in the order in which they are computed."""
        from .layers import Place, build

        graph = self.spec.graph
        numbers = {layer.name: number for number, layer in enumerate(self.spec.layers, 1)}
        outputs, built = dict(self.inputs), {}
        for layer in graph.order:
            below = tuple(outputs[name] for name in graph.reads[layer.name])
            place = Place(numbers[layer.name], below, numbers[graph.owners[layer.name]])
            built[layer.name] = build(layer, place)
            outputs[layer.name] = built[layer.name].output
        return built

    @cached_property
    def forward(self) -> tuple[Equation, ...]:
        """The equations from the inputs to the prediction, where nothing is trained."""
        return tuple(e for built in self._built.values() for e in (built.inference or built.equations))

    @cached_property
    def training_forward(self) -> tuple[Equation, ...]:
        """The same in a training step: with dropout."""
        return tuple(e for built in self._built.values() for e in built.equations)

    @property
    def prediction(self) -> Tensor:
        """The output of the last layer, shape (N, K), or (N, ..., K) with positions."""
        return self._built[self.spec.layers[-1].name].output

    @cached_property
    def _loss_row(self) -> losses.Row:
        return losses.row(self.spec.loss.name, self.spec.loss.mapping, "loss")

    @property
    def is_classifier(self) -> bool:
        return self._loss_row.is_classifier

    @property
    def targets(self) -> tuple[str, ...]:
        """How targets may be given: "labels", "distribution" or "values"; the default first."""
        return losses.targets(self._loss_row, self.spec.output)

    @property
    def classes(self) -> int:
        """How many classes a classifier tells apart."""
        return losses.classes(self._loss_row, self.spec.output)

    @property
    def target_width(self) -> int:
        """Numbers of one target, where it is no label."""
        return losses.target_width(self._loss_row, self.spec.output)

    @property
    def positions(self) -> tuple[int, ...]:
        """The axes between the samples and the classes or values: each place there has a loss and a target."""
        return self.spec.positions

    @property
    def probabilities(self) -> Tensor | None:
        """The class probabilities of a classifier, shape (N, ..., K)."""
        found = decisions.probabilities(self._loss_row, self.prediction)
        return found[0] if found else None

    def loss(self, target: str | None = None) -> Loss:
        """The equations of the loss of a sample, for targets given as `target`, one of `targets`.

        With losses.WEIGHTED at its end, every sample has a weight, with losses.BY_POSITION every position of it; so for
        everything below.
        """
        target = self._target(target)
        if target not in self._losses:
            self._losses[target] = loss_equations.build(
                self._loss_row, self.spec.loss.mapping, self.prediction, target, self.forward
            )
        return self._losses[target]

    def _target(self, target: str | None) -> str:
        if target is not None and losses.parted(target)[0] not in self.targets:
            raise unknown("target", "kind of target", target, self.targets)
        return target or self.targets[0]

    @cached_property
    def _losses(self) -> dict[str, Loss]:
        return {}

    @cached_property
    def _penalties(self) -> tuple[Equation, ...]:
        found = [
            (number, parameter.tensor)
            for number, layer in enumerate(self.spec.layers, 1)
            if not layer.share
            for parameter in self._built[layer.name].parameters.values()
            if parameter.is_weight
        ]
        return regularizers.build(self.spec, found)

    def risk(self, target: str | None = None) -> tuple[Equation, ...]:
        """loss = (1/N) sum_n ell[n]; the penalty; R = loss + penalty."""
        from compiler.program import Access, Equation, Index, Tensor

        found = self.loss(target)
        n = Index("n", found.ell.shape[0])
        mean = Equation(Access(Tensor("loss")), (n,), found.ell[n] / n.extent)
        parts = [Tensor("loss"), *([regularizers.penalty()] if self._penalties else [])]
        total = [Equation(Access(Tensor("R")), (), Access(part)) for part in parts]
        return (*found.equations, mean, *self._penalties, *total)

    # ------------------------------------------------------------------------------------------ backward
    @cached_property
    def _gradients(self) -> dict[tuple[str, bool], Gradients]:
        return {}

    def gradients(self, target: str | None = None, training: bool | None = None) -> Gradients:
        """dR/dW for all parameters, in one joint sweep over the samples and one over the penalty.

        training: of a step of training, where dropout draws and batch norm reads the batch; False: of the network as it
        predicts; None: as it predicts, unless samples are coupled in training.
        """
        target = self._target(target)
        training = self.is_coupled if training is None else training
        forward = self.training_forward if training else self.forward
        key = (target, training and forward != self.forward)
        if key not in self._gradients:
            self._gradients[key] = self._derive(forward, self.loss(target))
        return self._gradients[key]

    def _derive(self, forward: tuple[Equation, ...], loss: Loss) -> Gradients:
        from .differentiate import pullback

        def name(tensor: Tensor) -> str:
            net_input = re.fullmatch(r"z(\d+)", tensor.name)
            return f"delta{net_input[1]}" if net_input else f"d_{tensor.name}"

        wrt = tuple(self.tensors.values())
        swept = pullback((*forward, *loss.equations), {loss.ell: 1}, wrt, name=name, scale=1 / loss.ell.shape[0])
        equations = swept.equations
        if self._penalties:
            read = {access.tensor for equation in self._penalties for access in equation.reads()}
            weights = [weight for weight in self.weights if weight in read]
            equations += pullback(self._penalties, {regularizers.penalty(): 1}, weights, name=name).equations
        by_name = {key: swept.adjoints[tensor] for key, tensor in self.tensors.items()}
        return Gradients(equations, MappingProxyType(by_name), MappingProxyType(swept.adjoints))

    # ------------------------------------------------------------------------------------------ programs
    def update(self, optimizer: Optimizer, target: str | None = None) -> Update:
        """The equations of one step of an optimizer; its states with their first values; its hyper-parameters."""
        choice = checked_optimizer(optimizer, "optimizer")
        chosen = optimizers.row(choice.name, choice.mapping, "optimizer")
        gradients = self.gradients(target, training=True).by_name
        pairs = [(tensor, gradients[name]) for name, tensor in self.tensors.items()]
        return optimizers.build(chosen, pairs)

    def training_program(self, optimizer: Optimizer, target: str | None = None) -> Program:
        """One step: outputs the data loss; updates parameters and states; guards: the loss and the gradient's norm."""
        from compiler.program import Access, Equation, Program, Tensor

        from .layers import own_indices

        gradients, update = self.gradients(target, training=True), self.update(optimizer, target)
        norm2 = Tensor("norm2")
        norm = [
            Equation(Access(norm2), own_indices(g), Access(g, *own_indices(g)) ** 2) for g in gradients.by_name.values()
        ]
        equations = (*self.training_forward, *self.risk(target), *gradients.equations, *norm, *update.equations)
        loss = Tensor("loss")
        updates = (*update.updates, *((state.tensor, state.next) for state in self._states.values()))
        return Program(equations, (loss,), updates, (norm2, loss), self.loss(target).facts).live()

    def gradient_program(self, target: str | None = None, training: bool | None = None) -> Program:
        """Outputs R, then the gradient of each parameter in the order of `parameters`; training: as of `gradients`."""
        from compiler.program import Program, Tensor

        training = self.is_coupled if training is None else training
        gradients = self.gradients(target, training)
        forward = self.training_forward if training else self.forward
        equations = (*forward, *self.risk(target), *gradients.equations)
        return Program(equations, (Tensor("R"), *gradients.by_name.values()), facts=self.loss(target).facts)

    def evaluation_program(self, target: str | None = None) -> Program:
        """Outputs loss_sum = sum_n ell[n]; for a classifier, also correct = the number of samples classified right."""
        from compiler.program import Access, Equation, Index, Program, Tensor

        found = self.loss(target)
        n = Index("n", found.ell.shape[0])
        loss_sum = Tensor("loss_sum")
        equations = (*self.forward, *found.equations, Equation(Access(loss_sum), (n,), found.ell[n]))
        if not self.is_classifier:
            return Program(equations, (loss_sum,), facts=found.facts)
        correct, counted = decisions.hits(self._loss_row, self.prediction, found)
        return Program((*equations, *counted), (loss_sum, correct), facts=found.facts)

    def prediction_program(self, what: str | None = None) -> Program:
        """Outputs "label" (a classifier's default), "probabilities" or "values" (the default otherwise)."""
        from compiler.program import Program

        known = ("values", "label", "probabilities") if self.is_classifier else ("values",)
        what = what or ("label" if self.is_classifier else "values")
        if what not in known:
            raise unknown("prediction", "output", what, known)
        found: decisions.Defined | None = None
        if what == "label":
            found = decisions.labels(self._loss_row, self.prediction)
        elif what == "probabilities":
            found = decisions.probabilities(self._loss_row, self.prediction)
        output, equations = found or (self.prediction, ())
        return Program((*self.forward, *equations), (output,))

    def layer_program(self, name: str) -> Program:
        """Outputs the activations of a layer."""
        from compiler.program import Program

        if name not in self._built:
            raise unknown("layer_program", "layer", name, self._built)
        return Program(self.forward, (self._built[name].output,)).live()

    # ------------------------------------------------------------------------------------------ reading and running
    def gradient(self, name: str, target: str | None = None, training: bool | None = None) -> Gradient:
        """dR/dW of the parameter `name`, as an object to print, to take apart and to evaluate (gradient.py).

        training: of a step of training (see `gradients`); by default only where batch norm couples the samples.
        """
        from .gradient import gradient

        return gradient(self, name, target, training)

    def explain(self, name: str, target: str | None = None) -> Explanation:
        """How dR/dW of the parameter `name` is derived, step by step (explain.py)."""
        from .explain import explain

        return explain(self, name, target)

    def picture(self, level: str = "layers", backward: bool = True) -> Picture:
        """The static graph to look at (picture.py): of the "layers", or of the "equations", forward and backward."""
        from .picture import picture

        return picture(self, level, backward)

    def compile(
        self, optimizer: Optimizer = "adam", dtype: str = "float32", seed: int = 0, memory_limit: float | None = None
    ) -> Model:
        """A model with fresh parameters, drawn from the seed, that trains in native code (training.py).

        memory_limit: bytes that training may take, as memory.py estimates them; None: half of the machine's memory.
        """
        from . import memory
        from .training import compile_network

        itemsize = 8 if str(getattr(dtype, "__name__", dtype)) == "float64" else 4
        memory.check(self.spec, checked_optimizer(optimizer, "compile, optimizer"), itemsize, memory_limit)
        return compile_network(self, optimizer, dtype, seed)

    def value_and_gradient(
        self,
        parameters: Mapping[str, Any],
        X: Any,
        y: Any,
        dtype: str = "float64",
        sample_weight: Any = None,
        training: bool | None = None,
    ) -> tuple[float, dict[str, Array]]:
        """(R, {name: dR/dW}) on these samples, by the compiled forward and backward; NaN or inf where R is so.

        training: of a step of training on these samples, its dropout that of step 1 and seed 0; False: of the network
        as it predicts, its states (running means and variances) among `parameters` or as they are at first; None: as it
        predicts, unless batch norm couples the samples.
        """
        from .training import value_and_gradient

        return value_and_gradient(self, parameters, X, y, dtype, sample_weight, training)


def _described(inputs: Iterable[tuple[str, tuple[int, ...]]]) -> Iterator[str]:
    """The inputs in a repr: 64, 8x8, image 64, ..."""
    for name, shape in inputs:
        text = "x".join(map(str, shape))
        yield text if name == INPUT else f"{name} {text}"


def hyper_values(spec: Spec) -> dict[str, float]:
    """Hyper-parameters of a network by the names of their tensors."""
    return regularizers.hyper(spec) | losses.hyper(spec.loss.mapping)
