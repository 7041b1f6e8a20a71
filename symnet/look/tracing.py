"""From formula to code to value: what `model.trace(X, y)` and `model.where("delta1")` give.

In: a Model and a batch, or the name of a tensor as formulas have it.  Out: the value of every named quantity of the
batch; or the formula of one, its shape, and the lines of the generated source that compute it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import unknown
from ..notation import typeset
from ..notation.textbook import Book
from ..run.execution import WITHOUT_FACTS, variant

if TYPE_CHECKING:
    from ..run.data import Data
    from ..run.training import Model

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Where:
    """Where a quantity is computed: its formula, its shape, and (number, text) of the lines of `model.source`.

    Without lines, the compiler put it in the place of its readers.
    """

    name: str
    formula: str
    shape: tuple[str, ...]
    lines: tuple[tuple[int, str], ...]

    def __str__(self) -> str:
        head = f"{self.formula}\n{self.name} has the shape ({', '.join(self.shape)})"
        if not self.lines:
            return f"{head}; no line of the source computes it by itself"
        return "\n".join((head, *(f"{number:5}  {text}" for number, text in self.lines)))


def trace(model: Model, data: Data) -> dict[str, Array]:
    """Every named quantity of these samples, by name: inputs, z, a, the loss of each sample, delta, and R.

    Gradients stand under the names of their parameters: "hidden1.W" is dR/dW.  Evaluated by the oracle in float64, from
    the model's parameters as they are; samples are taken as in prediction, without dropout.
    """
    from ..oracle.reference import evaluate

    network, target, values = model.network, *given(model, data)
    program = network.gradient_program(target)
    defined = list(program.definitions)
    found = evaluate(program, values, {"N": data.rows}, defined)
    gradients = {t.name: name for name, t in network.gradients(target).by_name.items()}
    inputs = {t.name: values[t.name] for t in network.inputs.values()}
    return {**inputs, **{gradients.get(t.name, t.name): np.asarray(found[t.name]) for t in defined}}


def given(model: Model, data: Data) -> tuple[str, dict[str, Any]]:
    """How targets are given, and the values of everything that the gradient of these samples reads, by tensor."""
    network, target = model.network, variant(data).removesuffix(WITHOUT_FACTS)
    values: dict[str, Any] = {**network.constants, **model.hyper, "step": 0, "seed": model.seed, **data.arrays}
    values |= {tensor.name: model.parameters[name] for name, tensor in network.tensors.items()}
    values |= {state.tensor.name: model.states[name] for name, state in network._states.items()}
    return target, {name: _exact(value) for name, value in values.items()}


def _exact(value: Any) -> Any:
    return np.asarray(value, np.float64) if getattr(value, "dtype", None) == np.float32 else value


def where(model: Model, name: str) -> Where:
    """Formula, shape and source lines of the tensor `name`, in the training step that was compiled last."""
    from ..formulation.rolled import rolled_name

    network = model.kernels.network
    program = network.training_program(model.optimizer)
    tensors = {t.name: t for t in program.definitions}
    users = {user: tensor.name for user, tensor in network.gradients(training=True).by_name.items()}
    tensor = tensors.get(users.get(name, name))
    if tensor is None and network.rolls:  # what equal layers give is their state h
        common = rolled_name(network.spec, name)
        tensor = tensors.get(common) or tensors.get(re.sub("^a", "h", common))
    if tensor is None:
        raise unknown("where", "quantity", name, [*tensors, *users])
    element = rf"{re.escape(tensor.name)}(_product)?\[[^]]*\]"
    computes = re.compile(rf"# {element} = |^\w+\[.* = .*# {element}$")
    lines = [(k, line.strip()) for k, line in enumerate(model.source.splitlines(), 1) if not line.startswith("#")]
    chosen = tuple((k, line) for k, line in lines if computes.search(line))
    shape = tuple(str(n) for n in tensor.shape)
    return Where(tensor.name, typeset.unicode(Book(program).formula(tensor)), shape, chosen)
