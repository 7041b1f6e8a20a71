"""One gradient, as an object: its equations, its expression, its value on numbers, its formula as a textbook prints it.

In: a Network and the name of a parameter.  Out: a Gradient.  It holds equations of the network's own gradient program,
so what it shows is what is compiled; it evaluates them with the oracle, which shares no code with compiled kernels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sympy import Expr, Integer

from compiler.program import Equation, Program, Tensor

from .declare.heads import Output, joined, owner_of, suffix
from .errors import complaint, unknown
from .notation.closed_form import MOST
from .notation.jupyter import bundle
from .notation.pages import gradient_sheet
from .notation.reduction import element
from .notation.sheet import Sheet
from .notation.textbook import Book

if TYPE_CHECKING:
    from .network import Network

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class Gradient:
    """dR/dW for one parameter W; it has the shape of W.

    at: where in the parameter, of the gradient with respect to one number, gradient("dense1.W[2,3]").
    name: the parameter's name in the network.  tensor: the gradient's own tensor.  program: the equations it needs, in
    order, with the gradient as the output.

    >>> from symnet.network import Network
    >>> from symnet.declare.spec import dense
    >>> print(Network(input=2, layers=[dense(1)], loss="squared_error").gradient("dense1.W"))
    δ1 = 2 (z1 - y)
    ∂R/∂W1 = (1/N) Σ δ1 xᵀ
    """

    name: str
    tensor: Tensor
    program: Program
    network: Network
    target: str
    training: bool = False
    at: tuple[int, ...] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.network.parameters[self.name] if self.at is None else ()

    @property
    def equations(self) -> tuple[Equation, ...]:
        """What the gradient is computed from, forward equations first."""
        return self.program.equations

    @property
    def expr(self) -> Expr:
        """One element of the gradient; its leaves are accesses of the program's tensors."""
        own = Book(self.program).own(self.tensor)
        general = element(self.program.definitions[self.tensor], own)
        return general if self.at is None else general.xreplace(dict(zip(own, map(Integer, self.at), strict=True)))

    # ------------------------------------------------------------------------------------------ numbers
    def evaluate(
        self, parameters: Mapping[str, Any], X: Any, y: Any, hyper: Mapping[str, float] | None = None
    ) -> Array:
        """The gradient in float64, by the slow evaluator: R is the mean loss over the rows of X plus the penalty.

        parameters: an array for each parameter of the network, by its name.  hyper: other values of the network's
        hyper-parameters, such as {"lambda": 0}; a training gradient draws dropout as in step 1 of the seed 0, unless
        "step" and "seed" are given.
        """
        from .oracle.reference import evaluate

        values: dict[str, Any] = {"step": 1, "seed": 0, **self.network.constants, **self.network.hyper, **(hyper or {})}
        for name, tensor in self.network.tensors.items():
            if name not in parameters:
                raise complaint("parameters", list(parameters), f"a value for {name!r}, too")
            values[tensor.name] = np.asarray(parameters[name], dtype=np.float64)
        for name, state in self.network._states.items():
            start = np.asarray(parameters.get(name, state.initial), dtype=np.float64)
            values[state.tensor.name] = np.broadcast_to(start, self.network.states[name])
        for name in parameters:
            if name not in self.network.tensors and name not in self.network.states:
                raise unknown("parameters", "parameter", name, self.network.tensors)
        inputs = self._inputs(X)
        truths = _targets(self.network, y)
        rows = len(next(iter((inputs or truths).values())))
        given = joined({name: _kind_of(owner_of(self.network.spec.outputs, name), t) for name, t in truths.items()})
        program = (
            self.program if given == self.target else gradient(self.network, self.name, given, self.training).program
        )
        wanted = {tensor.name: tensor for tensor in self.network.loss(given).targets}
        for name, truth in truths.items():
            tensor = wanted[f"y{suffix(name)}"]
            shape = (rows, *(int(n) for n in tensor.shape[1:]))
            if truth.size != np.prod(shape):
                raise complaint(f"y[{name!r}]" if name else "y", truth.shape, f"the shape {shape}")
            values[tensor.name] = truth.reshape(shape).astype(np.int64 if tensor.kind == "integer" else np.float64)
        values |= inputs
        found = evaluate(program, values, {"N": rows})[self.tensor.name]
        return found if self.at is None else found[self.at]

    def _inputs(self, X: Any) -> dict[str, Array]:
        """The inputs by the names of their tensors, in float64 or int64."""
        tensors = self.network.inputs
        given = X if isinstance(X, Mapping) else dict.fromkeys(tensors, X)
        for name in tensors:
            if name not in given:
                raise complaint("X", list(given), f"a value for {name!r}, too")
        dtypes = {"integer": np.int64, "real": np.float64}
        return {tensor.name: np.asarray(given[name], dtypes[tensor.kind]) for name, tensor in tensors.items()}

    def to_numpy(self) -> str:
        """Python source of gradient(parameters, X, y), which needs NumPy alone and gives the same array."""
        from .notation.numpy_source import of_network

        return of_network(self.network, self.program, {self.name: self.tensor}, self.target, True, self.at)

    # ------------------------------------------------------------------------------------------ text
    def formulas(
        self, notation: str = "textbook", depth: str = "recursion", derivatives: str = "written", most: int = MOST
    ) -> Sheet:
        """The formula on a page that has every format (sheet.py): print it, or .latex(), .markdown(), .json(), ...

        notation: "textbook", "matrix" or "index".  depth: "recursion": with the deltas that it names; "complete": with
        everything that it needs, in order; "closed": one formula, of at most `most` signs.  derivatives: "written", or
        "named": f' with its definition.
        """
        return gradient_sheet(self, notation, depth, derivatives, most)

    def show(self, notation: str = "textbook", depth: str = "recursion", derivatives: str = "written") -> str:
        return self.formulas(notation, depth, derivatives).text()

    def __str__(self) -> str:
        return self.show()

    def latex(self, notation: str = "textbook", depth: str = "recursion", derivatives: str = "written") -> str:
        """The deltas that it needs and the gradient itself, aligned at the equals signs."""
        return self.formulas(notation, depth, derivatives).latex()

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"

    def _repr_html_(self) -> str:
        return self.formulas().html()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return bundle(str(self), self._repr_html_(), self._repr_latex_())


def _targets(network: Network, y: Any) -> dict[str, Array]:
    """The targets by name."""
    if "" in network.outputs:
        return {"": np.asarray(y)}
    names = network.target_names
    if not isinstance(y, Mapping) or set(y) != set(names):
        raise complaint("y", list(y) if isinstance(y, Mapping) else y, f"a dict with the keys {', '.join(names)}")
    return {name: np.asarray(y[name]) for name in names}


def _kind_of(output: Output, y: Array) -> str:
    """Integers, one for each sample, are labels; rows of floats are distributions."""
    axes = 1 + len(output.positions)
    in_column = y.ndim == axes or y.shape[axes:] == (1,)
    if output.targets == ("labels", "values"):
        return "labels" if in_column and y.dtype.kind != "f" else "values"
    return output.targets[0] if in_column or len(output.targets) == 1 else output.targets[1]


def gradient(
    network: Network,
    name: str,
    target: str | Mapping[str, str] | None = None,
    training: bool | None = None,
    at: int | Sequence[int] | None = None,
) -> Gradient:
    """The gradient of R with respect to a parameter, for targets given as `target`; training: see Network.gradients.

    at: of one number in it, which the name may say, too: "dense1.W[2,3]".
    """
    inside = re.fullmatch(r"(.+)\[ *(\d+(?: *, *\d+)*) *\]", name)
    if inside and at is None:
        name, at = inside[1], [int(part) for part in inside[2].split(",")]
    training = network.is_coupled if training is None else training
    found = network.gradients(target, training).by_name
    if name not in found:
        raise unknown("gradient", "parameter", name, found)
    whole = network.gradient_program(target, training)
    program = Program(whole.equations, (found[name],), facts=whole.facts).live()
    return Gradient(name, found[name], program, network, network.given(target), training, _place(network, name, at))


def _place(network: Network, name: str, at: int | Sequence[int] | None) -> tuple[int, ...] | None:
    if at is None:
        return None
    place, shape = (at,) if isinstance(at, int) else tuple(at), network.parameters[name]
    if len(place) != len(shape) or not all(0 <= k < n for k, n in zip(place, shape, strict=True)):
        raise complaint("gradient, at", place, f"a place in {name}, of shape {shape}, counted from 0")
    return place
