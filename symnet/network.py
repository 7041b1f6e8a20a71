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
from typing import TYPE_CHECKING, Any, ClassVar

from .declare import losses, optimizers, regularizers
from .declare.heads import Given, suffix
from .declare.inputs import INPUT
from .declare.spec import LIMIT, Choice, Spec, checked_optimizer, specify
from .declare.toml_text import TEXT, from_toml, to_toml
from .errors import unknown
from .formulation import rolled
from .formulation.judged import Judged
from .kinds import IntegerShape
from .notation.readable import Readable
from .run.collecting import seldom

if TYPE_CHECKING:
    from compiler.program import Equation, Program, Tensor

    from .declare.initializers import Array
    from .declare.optimizers import Update
    from .differentiate import Derivation
    from .formulation.layers import Built, Parameter, State
    from .formulation.objective import Joint
    from .gradient import Gradient
    from .kinds import Layer
    from .look.explain import Explanation
    from .look.picture import Picture
    from .look.tracing import Where
    from .run.training import Model

Optimizer = str | Mapping[str, Any] | Choice
WATCHED = 4096  # parameters up to which each step looks at its gradient; a step of 240,000 took 4 % more


@dataclass(frozen=True, slots=True)
class Gradients:
    """The backward sweep of one loss: its equations, the gradient of each parameter by name, and every adjoint."""

    equations: tuple[Equation, ...]
    by_name: Mapping[str, Tensor]
    adjoints: Mapping[Tensor, Tensor]


@dataclass(frozen=True, init=False, repr=False)
class Network(Judged, Readable):
    """A feed-forward network, its loss and its penalty, declared.

    input: number of inputs, or the shape of a sample.  inputs: several by name, {"image": [64], "age": [1]}, instead.
    Integers are declared by {"shape": [64], "below": 256}: from 0 to 255; {"shape": [], ...} is one for each sample.
    layers: what `dense` and its like return; the last is the output.  loss: a name of the table, or a mapping with
    options.  losses: several instead, {"digit": "softmax_cross_entropy", "angle": {"name": "squared_error", "weight":
    0.1}}, keyed by the layer that each judges (or with the option `layer`); ell is their weighted sum, and each has a
    target of its own, or with `target` that of another.
    l2, l1: lambda and lambda_1 in R = loss + lambda/2 * (sum of all squared weights) + lambda_1 * (sum of their
    absolute values), biases excepted; a layer may have strengths of its own.
    constants: name -> array, SciPy sparse matrix or edges of a graph ({"edges": pairs, "nodes": 34}), which layers read
    by name (constants.py); a network whose first layer reads constants alone has no input, and its X is None.
    train: the keys of [train] in TOML, for the command line.  Two networks are equal if they are declared the same.

    >>> from symnet.declare.spec import dense
    >>> Network(input=2, layers=[dense(2, activation="relu"), dense(1)], loss="squared_error").parameters["dense1.W"]
    (2, 2)
    """

    spec: Spec
    rolls: ClassVar[bool] = False  # equal layers in a row are one recurrence, as they are compiled

    def __init__(
        self,
        input: Any = None,
        layers: Any = (),
        loss: Optimizer | None = None,
        l2: float = 0.0,
        train: Mapping[str, Any] | None = None,
        limit: int = LIMIT,
        inputs: Mapping[str, Any] | None = None,
        l1: float = 0.0,
        losses: Mapping[str, Any] | None = None,
        constants: Mapping[str, Any] | None = None,
    ) -> None:
        if loss is None and losses is None:
            loss = "squared_error"
        made = specify(
            input, layers, loss, l2, train, limit=limit, inputs=inputs, l1=l1, losses=losses, constants=constants
        )
        object.__setattr__(self, "spec", made)

    @classmethod
    def from_spec(cls, spec: Spec) -> Network:
        network = cls.__new__(cls)
        object.__setattr__(network, "spec", spec)
        return network

    def __reduce__(self) -> tuple[Any, ...]:
        return Network.from_spec, (self.spec,)  # without what was derived

    def rolled(self, optimizer: Choice) -> Network:
        """An equal network as it is compiled: many equal layers in a row are one recurrence (rolled.py)."""
        if not rolled.runs(self.spec) or "decay" in optimizer.mapping:  # which decays some parameters by name
            return self
        network = Network.from_spec(self.spec)
        object.__setattr__(network, "rolls", True)
        return network

    @classmethod
    def from_toml(cls, source: str | Path, limit: int = LIMIT, length: int = TEXT) -> Network:
        """The network that a TOML file declares; text that contains a newline is taken as the TOML itself.

        limit: parameters that it may have; length: characters.
        """
        return cls.from_spec(from_toml(source, limit, length))

    def to_toml(self) -> str:
        """TOML that declares an equal network."""
        return to_toml(self.spec)

    def __repr__(self) -> str:
        described = ", ".join(str(layer) for layer in self.spec.layers)
        strengths = {row.name: getattr(self.spec, row.name) for row in regularizers.ROWS}
        penalty = "".join(f", {name}={value:g}" for name, value in strengths.items() if value)
        total = sum(prod(shape) for shape in self.parameters.values())
        named = ((f"{head.name} " if head.name else "", head.loss.name or "own loss") for head in self.spec.heads)
        loss = ", ".join(name + loss for name, loss in named)
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
        return tuple(dict.fromkeys(p.tensor for p in self._details.values() if p.is_weight))

    def initial_parameters(self, seed: int = 0) -> dict[str, Array]:
        """First values by name, float64; a pure function of the spec and the seed."""
        from .run.plan import first_values, plan_parameters

        return {name: values[0] for name, values in first_values(plan_parameters(self), [seed]).items()}

    @property
    def hyper(self) -> Mapping[str, float]:
        """Hyper-parameters of the network itself, by symbol; those of an optimizer are in its Update."""
        return MappingProxyType(hyper_values(self.spec))

    @property
    def constants(self) -> Mapping[str, Any]:
        """Values of the constant tensors in the equations, by name: arrays, of sparse ones SciPy's csr_array."""
        return MappingProxyType({**self._numbers, **{name: c.value for name, c in self.spec.arrays.items()}})

    @property
    def _numbers(self) -> dict[str, tuple[float, ...]]:
        return {
            name + suffix(head.name): values
            for head in self.spec.heads
            for name, values in losses.constants(head.loss.mapping).items()
        }

    def constant_arguments(self, dtype: str) -> dict[str, Array]:
        """The constants as kernels of a dtype take them, by the names of their slots."""
        import numpy as np

        found: dict[str, Array] = {name: np.array(values, dtype) for name, values in self._numbers.items()}
        for constant_name, constant in self.spec.arrays.items():
            found |= constant.arguments(constant_name, dtype)
        return found

    # ------------------------------------------------------------------------------------------ forward
    @cached_property
    def inputs(self) -> Mapping[str, Tensor]:
        """The inputs by name: x[n,...] for the only one, else x_<name>."""
        from compiler.program import Tensor, size

        names = self.spec.input_tensors
        kinds = {name: "integer" if name in self.spec.integers else "real" for name in names}
        tensors = {
            name: Tensor(names[name], (size("N"), *shape), "input", kinds[name]) for name, shape in self.spec.inputs
        }
        return MappingProxyType(tensors)

    @property
    def input(self) -> Tensor:
        """The first input."""
        return next(iter(self.inputs.values()))

    @cached_property
    def _built(self) -> Mapping[str, Built]:
        """Each layer as equations, in the order in which they are computed."""
        from .formulation.layers import Place, build, tie

        graph = self.spec.graph
        numbers = {layer.name: number for number, layer in enumerate(self.spec.layers, 1)}
        outputs, built = dict(self.inputs), {}
        training: list[Equation] = []
        inference: list[Equation] = []

        def made(layer: Layer, like: Layer) -> Built:
            """The layer in the place of another."""
            below = tuple(outputs[name] for name in graph.reads[like.name])
            owner = numbers[graph.owners[like.name]]
            place = Place(numbers[like.name], below, graph.below(like), owner, training, inference)
            return build(layer, place)

        found = rolled.runs(self.spec) if self.rolls else ()
        runs = {layer.name: run for run in found for block in run.blocks for layer in block}
        for layer in graph.order:
            if layer.name in built:
                continue
            if layer.name in runs:
                run = runs[layer.name]
                for first in run.blocks[0]:
                    built[first.name] = made(first, first)
                    outputs[first.name] = built[first.name].output
                united = rolled.unite(run, built, made, outputs[graph.reads[layer.name][0]], numbers)
            else:
                united = {layer.name: made(layer, layer)}
                if layer.repeat > 1:
                    (below,) = (outputs[name] for name in graph.reads[layer.name])
                    united[layer.name] = rolled.repeated(layer, united[layer.name], below, len(numbers))
            built |= united
            outputs |= {name: one.output for name, one in united.items()}
            training += [e for one in united.values() for e in one.equations]
            inference += [e for one in united.values() for e in one.inference or one.equations]
        return tie(built, graph.ties) if graph.ties else built

    @cached_property
    def forward(self) -> tuple[Equation, ...]:
        """The equations from the inputs to the prediction, where nothing is trained."""
        return tuple(e for built in self._built.values() for e in (built.inference or built.equations))

    @cached_property
    def training_forward(self) -> tuple[Equation, ...]:
        """The same in a training step: with dropout."""
        return tuple(e for built in self._built.values() for e in built.equations)

    @cached_property
    def _penalties(self) -> tuple[Equation, ...]:
        found = [
            (number, parameter.tensor)
            for number, layer in enumerate(self.spec.layers, 1)
            if not layer.share
            for parameter in self._built[layer.name].parameters.values()
            if parameter.is_weight and not parameter.slot
        ]
        return regularizers.build(self.spec, found)

    def risk(self, target: Given = None, training: bool = False) -> tuple[Equation, ...]:
        """loss = (1/N) sum_n ell[n]; the penalty; R = loss + penalty."""
        from compiler.program import Access, Equation, Tensor

        parts = [Tensor("loss"), *([regularizers.penalty()] if self._penalties else [])]
        total = [Equation(Access(Tensor("R")), (), Access(part)) for part in parts]
        mean = self.objective.means(target)["loss"]
        return (*self.loss(target, training).equations, mean, *self._penalties, *total)

    # ------------------------------------------------------------------------------------------ backward
    @cached_property
    def _gradients(self) -> dict[tuple[str, bool], Gradients]:
        return {}

    def gradients(self, target: Given = None, training: bool | None = None) -> Gradients:
        """dR/dW for all parameters, in one joint sweep over the samples and one over the penalty.

        training: of a step of training, where dropout draws and batch norm reads the batch; False: of the network as it
        predicts; None: as it predicts, unless samples are coupled in training.
        """
        target = self.given(target)
        training = self.is_coupled if training is None else training
        forward = self.training_forward if training else self.forward
        key = (target, training and forward != self.forward)
        if key not in self._gradients:
            self._gradients[key] = self._derive(forward, self.loss(target, training))
        return self._gradients[key]

    def _derive(self, forward: tuple[Equation, ...], loss: Joint) -> Gradients:
        swept = self.swept(forward, loss, 1 / loss.ell.shape[0])
        by_name = {key: swept.adjoints[tensor] for key, tensor in self.tensors.items()}
        equations = (*swept.equations, *self.penalty_gradients)
        return Gradients(equations, MappingProxyType(by_name), MappingProxyType(swept.adjoints))

    def swept(self, forward: tuple[Equation, ...], loss: Joint, scale: Any = 1) -> Derivation:
        """The sweep from the losses of the samples, each seeded with 1.  scale: a factor of the gradients."""
        from .differentiate import pullback

        wrt = tuple(dict.fromkeys(self.tensors.values()))
        return pullback((*forward, *loss.equations), {loss.ell: 1}, wrt, name=_adjoint, scale=scale)

    @cached_property
    def penalty_gradients(self) -> tuple[Equation, ...]:
        """What the penalty adds to the gradients."""
        from .differentiate import pullback

        if not self._penalties:
            return ()
        read = {access.tensor for equation in self._penalties for access in equation.reads()}
        weights = [weight for weight in self.weights if weight in read]
        return pullback(self._penalties, {regularizers.penalty(): 1}, weights, name=_adjoint).equations

    # ------------------------------------------------------------------------------------------ programs
    def update(self, optimizer: Optimizer, target: Given = None) -> Update:
        """The equations of one step of an optimizer; its states with their first values; its hyper-parameters."""
        choice = checked_optimizer(optimizer, "optimizer")
        chosen = optimizers.row(choice.name, choice.mapping, "optimizer")
        gradients = self.gradients(target, training=True).by_name
        pairs = {tensor: gradients[name] for name, tensor in self.tensors.items()}
        weights = {name: parameter.is_weight for name, parameter in self._details.items()}
        decaying = optimizers.decayed(chosen, weights, "optimizer")
        return optimizers.build(chosen, tuple(pairs.items()), [*dict.fromkeys(self.tensors[name] for name in decaying)])

    def training_program(self, optimizer: Optimizer, target: Given = None, risk: bool = False) -> Program:
        """One step: outputs the data loss, and of several losses each; updates parameters and states.

        Guards: the loss; and the gradient's norm, unless that would be a pass over memory of its own and the update
        carries what is not finite into the parameters.  risk: it outputs R, too, the loss with the penalty.
        """
        from compiler.program import Access, Equation, Program, Tensor

        from .formulation.layers import own_indices

        gradients, update = self.gradients(target, training=True), self.update(optimizer, target)
        norm2 = Tensor("norm2")
        norm = [
            Equation(Access(norm2), own_indices(g), Access(g, *own_indices(g)) ** 2)
            for g in dict.fromkeys(gradients.by_name.values())
        ]
        means = self.objective.means(target)
        judged = dict.fromkeys((*self.risk(target, True), *means.values()))
        equations = (*self.training_forward, *judged, *gradients.equations, *norm, *update.equations)
        updates = (*update.updates, *((state.tensor, state.next) for state in self._states.values()))
        few = sum(prod(shape) for shape in self.parameters.values()) <= WATCHED
        guards = (*([norm2] if few or not update.carries else []), Tensor("loss"))
        outputs = tuple(map(Tensor, (*means, *(["R"] if risk else []))))
        return Program(equations, outputs, updates, guards, self.loss(target, True).facts).live()

    def gradient_program(self, target: Given = None, training: bool | None = None) -> Program:
        """Outputs R, then the gradient of each parameter in the order of `parameters`; training: as of `gradients`."""
        from compiler.program import Program, Tensor

        training = self.is_coupled if training is None else training
        gradients = self.gradients(target, training)
        forward = self.training_forward if training else self.forward
        equations = (*forward, *self.risk(target, training), *gradients.equations)
        outputs = (Tensor("R"), *dict.fromkeys(gradients.by_name.values()))
        return Program(equations, outputs, facts=self.loss(target).facts)

    def layer_program(self, name: str) -> Program:
        """Outputs the activations of a layer."""
        from compiler.program import Program

        if name not in self._built:
            raise unknown("layer_program", "layer", name, self._built)
        found = self._built[name]
        return Program((*self.forward, *found.apart), (found.output,)).live()

    # ------------------------------------------------------------------------------------------ reading and running
    def gradient(self, name: str, target: Given = None, training: bool | None = None, at: Any = None) -> Gradient:
        """dR/dW of the parameter `name`, as an object to print, to take apart and to evaluate (gradient.py).

        training: of a step of training (see `gradients`); by default only where batch norm couples the samples.
        at: of one number, at=(2, 3), which the name may say, too: "hidden1.W[2,3]".
        """
        from .gradient import gradient

        return gradient(self, name, target, training, at)

    def explain(self, name: str, target: Given = None) -> Explanation:
        """How dR/dW of the parameter `name` is derived, step by step (explain.py)."""
        from .look.explain import explain

        return explain(self, name, target)

    def where(self, name: str) -> Where:
        """The formula of a quantity such as "delta1", its shape, and the source lines that compute it (tracing.py).

        Of the step that `compile()` makes; `Model.where` has that of a model of your own.
        """
        return self.compile().where(name)

    def picture(self, level: str = "layers", backward: bool = True) -> Picture:
        """The static graph to look at (picture.py): of the "layers", or of the "equations", forward and backward."""
        from .look.picture import picture

        return picture(self, level, backward)

    @seldom()
    def compile(
        self,
        optimizer: Optimizer = "adam",
        dtype: str = "float32",
        seed: int = 0,
        memory_limit: float | None = None,
        threads: int | None = None,
        accuracy: str = "usual",
    ) -> Model:
        """A model with fresh parameters, drawn from the seed, that trains in native code (training.py).

        memory_limit: bytes that training may take, as memory.py estimates them; None: half of the machine's memory.
        threads: so many at most run a step, if it is predicted to be worth it; None: as many as there are processors.
        The results do not depend on it, bit by bit.
        accuracy: "usual": f'(z) may be computed from f(z), to 4 ulp of the largest |f'|; "strict": to 4 ulp of f'(z)
        itself (of its largest term, where it is a sum with a root), and slower: tests/RESULTS.md.
        """
        from .run import memory
        from .run.training import compile_network

        itemsize = 8 if str(getattr(dtype, "__name__", dtype)) == "float64" else 4
        memory.check(self.spec, checked_optimizer(optimizer, "compile, optimizer"), itemsize, memory_limit)
        return compile_network(self, optimizer, dtype, seed, threads, accuracy)

    def value_and_gradient(
        self,
        parameters: Mapping[str, Any],
        X: Any,
        y: Any,
        dtype: str = "float64",
        sample_weight: Any = None,
        training: bool | None = None,
        accuracy: str = "usual",
    ) -> tuple[float, dict[str, Array]]:
        """(R, {name: dR/dW}) on these samples, by the compiled forward and backward; NaN or inf where R is so.

        training: of a step of training on these samples, its dropout that of step 1 and seed 0; False: of the network
        as it predicts, its states (running means and variances) among `parameters` or as they are at first; None: as it
        predicts, unless batch norm couples the samples.  accuracy: see `compile`.
        """
        from .run.risk import value_and_gradient

        return value_and_gradient(self, parameters, X, y, dtype, sample_weight, training, accuracy)


def _adjoint(tensor: Tensor) -> str:
    """The textbook's name of an adjoint."""
    net_input = re.fullmatch(r"z(\d+)", tensor.name)
    return f"delta{net_input[1]}" if net_input else f"d_{tensor.name}"


def _described(inputs: Iterable[tuple[str, tuple[int, ...]]]) -> Iterator[str]:
    """The inputs in a repr: 64, 8x8, image 64, ..."""
    for name, shape in inputs:
        text = "x".join(map(str, shape)) or "1"
        text += f" integers below {shape.below}" if isinstance(shape, IntegerShape) else ""
        yield text if name == INPUT else f"{name} {text}"


def hyper_values(spec: Spec) -> dict[str, float]:
    """Hyper-parameters of a network by the names of their tensors."""
    found = regularizers.hyper(spec)
    for head in spec.heads:
        found |= {name + suffix(head.name): value for name, value in losses.hyper(head.loss.mapping).items()}
        found |= {} if head.weight is None else {f"weight_{head.name}": head.weight}
    return found
