"""What a network gives to be read: its formulas in every notation and format, and its source for NumPy.

A base class of Network, so that network.py stays about equations.  Nothing is loaded before it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..network import Network
    from .sheet import Sheet


class Readable:
    """Formulas and source of a network."""

    __slots__ = ()

    def to_numpy(self: Any, target: str | Mapping[str, str] | None = None) -> str:
        """Python source of value_and_gradient(parameters, X, y), which needs NumPy alone: (R, {name: dR/dW}).

        (scipy.special, too, where an error function occurs.)  target: "labels", "distribution" or "values", one of
        `targets`; the first if not given.

        >>> from symnet.network import Network
        >>> from symnet.declare.spec import dense
        >>> net = Network(input=1, layers=[dense(1)], loss="squared_error")
        >>> found = {}
        >>> exec(net.to_numpy(), found)
        >>> R, gradients = found["value_and_gradient"]({"dense1.W": [[2.0]], "dense1.b": [0.0]}, [[1.0]], [[0.0]])
        >>> float(R), gradients["dense1.W"].tolist()
        (4.0, [[4.0]])
        """
        from .numpy_source import of_network

        network: Network = self
        gradients = network.gradients(target).by_name
        return of_network(network, network.gradient_program(target), gradients, network.given(target), False)

    def formulas(
        self: Any, notation: str = "textbook", derivatives: str = "written", target: str | None = None
    ) -> Sheet:
        """All formulas on a page that has every format (sheet.py): print it, or .latex(), .markdown(), .json(), ...

        notation: "textbook": column vectors of one sample; "matrix": a row for each sample; "index".
        derivatives: "written" out, or "named": f and f' with their definitions.
        """
        from .pages import sheet

        return sheet(self, target, notation, derivatives)

    def show(self: Any, notation: str = "textbook", derivatives: str = "written", target: str | None = None) -> str:
        """All formulas as text."""
        found: str = self.formulas(notation, derivatives, target).text()
        return found

    def _repr_latex_(self: Any) -> str:
        return f"$\\displaystyle {self.formulas().latex()}$"

    def _repr_html_(self: Any) -> str:
        found: str = self.formulas().html()
        return found

    def _repr_mimebundle_(self: Any, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from .jupyter import bundle

        return bundle(repr(self), self._repr_html_(), self._repr_latex_())
