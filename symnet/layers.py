"""A layer -> equations.

In: a layer of the spec, its number, the tensor below it.  Out: Built: the equations of its forward pass, its output and
its parameters.  A layer has no derivative and no kernel of its own; it is only a way to write equations.

    dense    z[n,i] = sum_j W[i,j]*a[n,j] + b[i],   a[n,i] = f(z[n,i])          Qiu, ch. 4.3: z = W a + b, a = f(z)

Tensors carry the layer's number (W1, b1, z1, a1; learned parameters of its activation beta_1, gamma_1); where the
activation is the identity, z is the output.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from sympy import Basic

from compiler.program import Access, Equation, Index, Tensor

from .activations import Activation, resolve
from .spec import Choice, Dense

INDICES = "ijkl"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A learned tensor, how it is first filled, (fan_in, fan_out), and whether penalties apply to it."""

    tensor: Tensor
    initializer: Choice
    fans: tuple[int, int] = (1, 1)
    is_weight: bool = False


@dataclass(frozen=True, slots=True)
class Built:
    """A layer as equations; `parameters` by their names within the layer, in the order of the spec."""

    equations: tuple[Equation, ...]
    output: Tensor
    parameters: Mapping[str, Parameter]


def own_indices(tensor: Tensor) -> tuple[Index, ...]:
    """One index for each axis: i, j, k, ..."""
    return tuple(Index(letter, extent) for letter, extent in zip(INDICES, tensor.shape, strict=False))


def dense(layer: Dense, number: int, below: Tensor) -> Built:
    rows, inputs = below.shape
    n, i, j = Index("n", rows), Index("i", layer.units), Index("j", inputs)
    weight = Tensor(f"W{number}", (layer.units, inputs), "parameter")
    z = Tensor(f"z{number}", (rows, layer.units))
    chosen = layer.chosen
    by_default = Choice(chosen.row.initializer)
    fans = (int(inputs), layer.units)
    parameters = {"W": Parameter(weight, layer.initializer or by_default, fans, True)}
    equations = [Equation(z[n, i], (n, i, j), weight[i, j] * below[n, j])]
    if layer.bias:
        bias = Tensor(f"b{number}", (layer.units,), "parameter")
        parameters["b"] = Parameter(bias, layer.bias_initializer or Choice("zeros"), fans)
        equations.append(Equation(z[n, i], (n, i), bias[i]))
    for name in chosen.learned:
        shape = (layer.units,) if chosen.per == "unit" else ()
        learned = Tensor(f"{name}_{number}", shape, "parameter")
        parameters[name] = Parameter(learned, Choice("constant", (("value", chosen.values[name]),)))
    function = resolve(chosen, f"layer {layer.name!r}, activation")
    if function.is_identity:
        return Built(tuple(equations), z, MappingProxyType(parameters))
    a = Tensor(f"a{number}", z.shape)
    equations.append(Equation(a[n, i], (n, i), _applied(function, z[n, i], parameters, i)))
    return Built(tuple(equations), a, MappingProxyType(parameters))


def _applied(function: Activation, z: Access, parameters: Mapping[str, Parameter], unit: Index) -> Basic:
    """f(z) with the learned parameters of this unit."""
    from .formula import X

    values: dict[Basic, Basic] = {X: z}
    for name, symbol in function.symbols.items():
        tensor = parameters[name].tensor
        values[symbol] = Access(tensor, *((unit,) if tensor.rank else ()))
    return function.expression.xreplace(values)


BUILDERS = MappingProxyType({Dense: dense})


def build(layer: Dense, number: int, below: Tensor) -> Built:
    """The equations of a layer of any kind."""
    return BUILDERS[type(layer)](layer, number, below)
