"""A layer -> equations.

In: a layer of the spec, its number, the tensors that it reads.  Out: Built: the equations of its forward pass, its
output and its parameters.  A layer has no derivative and no kernel of its own; it is only a way to write equations.

    dense        z[n,i] = sum_j W[i,j]*a[n,j] + b[i],   a[n,i] = f(z[n,i])      Qiu, ch. 4.3: z = W a + b, a = f(z)
    maxout       s[n,i,k] = sum_j W[i,k,j]*a[n,j] + b[i,k],   z[n,i] = max_k s[n,i,k]                    ch. 4.1.5
    activation   a[n,i] = f(x[n,i])
    softmax      lse[n] = logsumexp_i x[n,i],   a[n,i] = exp(x[n,i] - lse[n]);   log_softmax: x[n,i] - lse[n]
    add          a[n,i] = x[n,i] + y[n,i];   multiply: x[n,i]*y[n,i]
    concat       a[n,i] = x[n,i];   a[n,i+4] = y[n,i]
    dropout      a[n,i] = (0 if uniform(seed, layer, step, n, i) < rate else x[n,i]/(1 - rate))
    equations    as the user wrote them (equation_text.py)
    others       as the lines of their kinds say (kinds.Written), and an activation as dense has it
    reshape      a[n,4*i+j] = x[n,i,j], and the like: both sides in row-major order

Tensors carry the layer's number (W1, b1, z1, a1; learned parameters of its activation beta_1, gamma_1); where the
activation is the identity, z is the output.  Samples may have several axes: dense and maxout are along the last.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import Any

import sympy as sp
from sympy import Basic, Expr, Integer

from compiler.functions import uniform
from compiler.program import Access, Equation, Index, Tensor, position

from .. import kinds
from ..declare.activations import Activation, Settings, resolve, settings
from ..declare.checks import Choice
from .formula import X, at
from .formula import number as exact

INDICES = "ijklmpqr"
SEED, STEP = Tensor("seed", (), "hyper", "integer"), Tensor("step", (), "hyper", "integer")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A learned tensor, how it is first filled, (fan_in, fan_out), and whether penalties apply to it.

    In a tensor that equal layers share (rolled.py): `stack`, the number of layers, all of which are this parameter; or
    `slot`, the layer that is this parameter.
    """

    tensor: Tensor
    initializer: Choice
    fans: tuple[int, int] = (1, 1)
    is_weight: bool = False
    stack: int = 0
    slot: int | None = None


@dataclass(frozen=True, slots=True)
class State:
    """A tensor that training changes by an equation: what every element starts from, and its next value."""

    tensor: Tensor
    initial: float
    next: Tensor


@dataclass(frozen=True, slots=True)
class Built:
    """A layer as equations; `parameters` and `states` by their names within the layer, in the order of the spec.

    inference: the equations where nothing is trained, if they are others.  apart: what gives the output, where it is
    asked for but read by no layer.
    """

    equations: tuple[Equation, ...]
    output: Tensor
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    inference: tuple[Equation, ...] | None = None
    states: Mapping[str, State] = field(default_factory=dict)
    apart: tuple[Equation, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a layer stands: its number, what it reads, and the number of the layer whose parameters it uses.

    shapes: of one sample of what it reads.  training, inference: the equations of all layers before it.
    """

    number: int
    below: tuple[Tensor, ...]
    shapes: tuple[kinds.Shape, ...]
    owner: int
    training: Sequence[Equation] = ()
    inference: Sequence[Equation] = ()

    def parameter(
        self, letter: str, shape: Sequence[int], how: Choice, fans: tuple[int, int] = (1, 1), weight: bool = False
    ) -> Parameter:
        return Parameter(Tensor(f"{letter}{self.owner}", shape, "parameter"), how, fans, weight)

    def tensor(self, letter: str, shape: Sequence[Expr | int]) -> Tensor:
        return Tensor(f"{letter}{self.number}", shape)


def own_indices(tensor: Tensor) -> tuple[Index, ...]:
    """One index for each axis: i, j, k, ..."""
    return tuple(Index(letter, extent) for letter, extent in zip(INDICES, tensor.shape, strict=False))


def sample_indices(tensor: Tensor) -> tuple[Index, ...]:
    """n for the samples, then i, j, k, ..."""
    letters = ("n", *INDICES)
    return tuple(Index(letter, extent) for letter, extent in zip(letters, tensor.shape, strict=False))


# ---------------------------------------------------------------------------------------------- affine maps
def dense(layer: kinds.Dense, place: Place) -> Built:
    (x,) = place.below
    *outer, inputs = x.shape
    z = place.tensor("z", (*outer, layer.units))
    *lead, i = sample_indices(z)
    j = Index(INDICES[len(lead)], inputs)
    fans = (int(inputs), layer.units)
    how = layer.initializer or Choice(layer.chosen.row.initializer)
    weight = place.parameter("W", (layer.units, inputs), how, fans, True)
    parameters = {"W": weight}
    equations = [Equation(z[*lead, i], (*lead, i, j), weight.tensor[i, j] * x[*lead, j])]
    if layer.bias:
        how = layer.bias_initializer or Choice("zeros")
        parameters["b"] = place.parameter("b", (layer.units,), how, fans)
        equations.append(Equation(z[*lead, i], (*lead, i), parameters["b"].tensor[i]))
    learned, function = _function(layer.chosen, z, place, layer.where)
    parameters |= learned
    if function.is_identity:
        return Built(tuple(equations), z, MappingProxyType(parameters))
    a = place.tensor("a", z.shape)
    equations.append(_elementwise(a, z, layer.chosen, function, learned))
    return Built(tuple(equations), a, MappingProxyType(parameters))


def maxout(layer: kinds.Maxout, place: Place) -> Built:
    (x,) = place.below
    *outer, inputs = x.shape
    s = place.tensor("s", (*outer, layer.units, layer.pieces))
    z = place.tensor("z", (*outer, layer.units))
    *lead, i, k = sample_indices(s)
    j = Index(INDICES[len(lead) + 1], inputs)
    fans = (int(inputs), layer.units)
    how = layer.initializer or Choice("glorot_uniform")
    weight = place.parameter("W", (layer.units, layer.pieces, inputs), how, fans, True)
    parameters = {"W": weight}
    equations = [Equation(s[*lead, i, k], (*lead, i, k, j), weight.tensor[i, k, j] * x[*lead, j])]
    if layer.bias:
        how = layer.bias_initializer or Choice("zeros")
        parameters["b"] = place.parameter("b", (layer.units, layer.pieces), how, fans)
        equations.append(Equation(s[*lead, i, k], (*lead, i, k), parameters["b"].tensor[i, k]))
    equations.append(Equation(z[*lead, i], (*lead, i, k), s[*lead, i, k], "max"))
    return Built(tuple(equations), z, MappingProxyType(parameters))


# ---------------------------------------------------------------------------------------------- element by element
def activation(layer: kinds.Activation, place: Place) -> Built:
    (x,) = place.below
    learned, function = _function(layer.chosen, x, place, layer.where)
    a = place.tensor("a", x.shape)
    return Built((_elementwise(a, x, layer.chosen, function, learned),), a, MappingProxyType(learned))


def _function(chosen: Settings, z: Tensor, place: Place, where: str) -> tuple[dict[str, Parameter], Activation]:
    """The learned parameters of an activation of z, and the activation."""
    where = f"{where}, activation"
    parameters = {
        name: place.parameter(f"{name}_", shape, Choice("constant", (("value", chosen.values[name]),)))
        for name, shape in kinds.learned_shapes(chosen, int(z.shape[-1]), where).items()
    }
    return parameters, resolve(chosen, where)


def _elementwise(
    a: Tensor, z: Tensor, chosen: Settings, function: Activation, parameters: Mapping[str, Parameter]
) -> Equation:
    """a = f(z) with the learned parameters of each unit."""
    *lead, i = sample_indices(z)
    unit: Expr = i
    domain, own = (*lead, i), (i,)
    if chosen.per == "group":  # unit i is the j-th of group k
        size = int(z.shape[-1]) // chosen.groups
        k, j = Index("g", chosen.groups), Index(INDICES[len(lead)], size)
        unit, domain, own = size * k + j, (*lead, k, j), (k,)
    values: dict[Basic, Basic] = {X: z[*lead, unit]}
    for name, symbol in function.symbols.items():
        tensor = parameters[name].tensor
        values[symbol] = Access(tensor, *(own if tensor.rank else ()))
    return Equation(a[*lead, unit], domain, function.expression.xreplace(values))


def dropout(layer: kinds.Dropout, place: Place) -> Built:
    (x,) = place.below
    a = place.tensor("a", x.shape)
    own = sample_indices(x)
    same = Equation(a[own], own, x[own])
    if layer.rate == 0:
        return Built((same,), a)
    rate = exact(layer.rate)
    seed = Access(SEED) if layer.seed is None else Integer(layer.seed)
    draw = uniform(seed, Integer(place.number), Access(STEP), *own)
    kept = sp.Piecewise((Integer(0), draw < rate), (x[own] / (1 - rate), True))
    return Built((Equation(a[own], own, kept),), a, inference=(same,))


def softmax(layer: kinds.Softmax, place: Place) -> Built:
    (x,) = place.below
    axis = layer.along(x.rank - 1) + 1
    own = sample_indices(x)
    rest = (*own[:axis], *own[axis + 1 :])
    lse = place.tensor("lse", tuple(index.extent for index in rest))
    a = place.tensor("a", x.shape)
    difference = x[own] - lse[rest]
    value = difference if isinstance(layer, kinds.LogSoftmax) else sp.exp(difference)
    return Built((Equation(lse[rest], own, x[own], "logsumexp"), Equation(a[own], own, value)), a)


# ---------------------------------------------------------------------------------------------- several layers
def add(layer: kinds.Add, place: Place) -> Built:
    a = place.tensor("a", place.below[0].shape)
    own = sample_indices(a)
    return Built((Equation(a[own], own, sp.Add(*(x[own] for x in place.below))),), a)


def multiply(layer: kinds.Multiply, place: Place) -> Built:
    a = place.tensor("a", place.below[0].shape)
    own = sample_indices(a)
    return Built((Equation(a[own], own, sp.Mul(*(x[own] for x in place.below))),), a)


def concat(layer: kinds.Concat, place: Place) -> Built:
    first = place.below[0]
    axis = layer.along(first.rank - 1) + 1
    shape = [*first.shape]
    shape[axis] = sum((x.shape[axis] for x in place.below), Integer(0))
    a = place.tensor("a", shape)
    equations, start = [], Integer(0)
    for x in place.below:
        own = sample_indices(x)
        to = (*own[:axis], own[axis] + start, *own[axis + 1 :])
        equations.append(Equation(a[to], own, x[own]))
        start += x.shape[axis]
    return Built(tuple(equations), a)


# ---------------------------------------------------------------------------------------------- shapes
def reshape(layer: kinds.Reshape | kinds.Flatten, place: Place) -> Built:
    (x,) = place.below
    shape = layer.shape(place.shapes)
    a = place.tensor("a", (x.shape[0], *shape))
    if a.rank == 2:
        return Built((_flattened(a, x),), a)
    if x.rank == 2:
        return Built((_unflattened(a, x),), a)
    flat = place.tensor("f", (x.shape[0], math.prod(shape)))
    return Built((_flattened(flat, x), _unflattened(a, flat)), a)


def _flattened(flat: Tensor, x: Tensor) -> Equation:
    n, *own = sample_indices(x)
    return Equation(flat[n, position(own)], (n, *own), x[n, *own])


def _unflattened(a: Tensor, flat: Tensor) -> Equation:
    n, *own = sample_indices(a)
    return Equation(a[n, *own], (n, *own), flat[n, position(own)])


# ---------------------------------------------------------------------------------------------- in text
def equations(layer: kinds.Equations, place: Place) -> Built:
    from .equation_text import output, read_layer

    at = place.below, place.number, place.owner
    reading = read_layer(layer, *at, place.training)
    inference = None
    if reading.derived and place.inference != place.training:
        inference = read_layer(layer, *at, place.inference).equations
    parameters = {}
    for name, declared in layer.learned.entries:
        tensor = reading.tensors[name]
        shape = tuple(int(n) for n in tensor.shape)
        fans = (math.prod(shape[1:]), shape[0]) if shape else (1, 1)
        by_default = Choice("glorot_uniform" if len(shape) > 1 else "zeros")
        parameters[name] = Parameter(tensor, declared.initializer or by_default, fans, len(shape) > 1)
    made = output(reading, layer.output, layer.where)
    return Built(reading.equations, made, MappingProxyType(parameters), inference)


def written(layer: kinds.WrittenLayer, place: Place) -> Built:
    from .equation_text import SAMPLES, constant_tensors, numbered, read

    plan = layer.written(place.shapes)
    nexts = {kept.next: name for name, kept in plan.states.items()}

    def named(name: str) -> str:
        return f"{numbering(nexts[name])}_next" if name in nexts else numbering(name)

    known = dict(zip(plan.inputs, place.below, strict=True))
    shapes = {name: learned.shape for name, learned in plan.parameters.items()}
    functions = {
        name: partial(at, resolve(settings(choice.name, choice.mapping, layer.where), layer.where).expression)
        for name, choice in plan.functions.items()
    }
    numbering = numbered(shapes, place.number, place.owner)
    known |= {name: Tensor(named(name), kept.shape, "state") for name, kept in plan.states.items()}
    known |= constant_tensors(plan.constants, place.number)
    sizes = dict(plan.sizes) if plan.inputs else {**plan.sizes, "n": SAMPLES}
    readings = [
        read(lines, known, shapes, sizes, named, f"{layer.where}, equations", functions, plan.coupled)
        for lines in (plan.lines, plan.inference)
        if lines
    ]
    tensors = readings[0].tensors
    given = layer.given
    parameters = {
        name: Parameter(tensors[name], given.get(name) or learned.initializer, learned.fans, learned.is_weight)
        for name, learned in plan.parameters.items()
    }
    inference = readings[1].equations if plan.inference else None
    made, after = tensors[plan.output], tuple[Equation, ...]()
    if plan.activation is not None:
        learned, function = _function(plan.activation, made, place, layer.where)
        parameters |= learned
        if not function.is_identity:
            z, made = made, place.tensor("a", made.shape)
            after = (_elementwise(made, z, plan.activation, function, learned),)
    inference = None if inference is None else (*inference, *after)
    states = {name: State(known[name], kept.initial, tensors[kept.next]) for name, kept in plan.states.items()}
    forward = (*readings[0].equations, *after)
    return Built(forward, made, MappingProxyType(parameters), inference, MappingProxyType(states))


BUILDERS: Mapping[type, Callable[[Any, Place], Built]] = MappingProxyType(
    {
        kinds.Dense: dense,
        kinds.Maxout: maxout,
        kinds.Activation: activation,
        kinds.Softmax: softmax,
        kinds.LogSoftmax: softmax,
        kinds.Add: add,
        kinds.Multiply: multiply,
        kinds.Concat: concat,
        kinds.Dropout: dropout,
        kinds.Reshape: reshape,
        kinds.Flatten: reshape,
        kinds.Equations: equations,
    }
)


def build(layer: kinds.Layer, place: Place) -> Built:
    """The equations of a layer of any kind."""
    if isinstance(layer, kinds.WrittenLayer):
        return written(layer, place)
    return BUILDERS[type(layer)](layer, place)


def tie(built: Mapping[str, Built], ties: Mapping[tuple[str, str], tuple[str, str]]) -> dict[str, Built]:
    """The layers with the tensors of tied parameters in the place of their own, which are gone."""
    new: dict[Basic, Basic] = {
        built[layer].parameters[name].tensor: built[other].parameters[its].tensor
        for (layer, name), (other, its) in ties.items()
    }
    made = {}
    for layer, found in built.items():
        kept = {name: p for name, p in found.parameters.items() if p.tensor not in new}
        made[layer] = replace(
            found,
            equations=tuple(e.substitute(new) for e in found.equations),
            parameters=MappingProxyType(kept),
            inference=None if found.inference is None else tuple(e.substitute(new) for e in found.inference),
        )
    return made
