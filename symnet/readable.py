"""What a network gives to be read: its formulas in every notation and format, and its source for NumPy.

A base class of Network, so that network.py stays about equations.  Nothing is loaded before it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .network import Network


class Readable:
    """Formulas and source of a network."""

    __slots__ = ()

    def to_numpy(self: Any, target: str | Mapping[str, str] | None = None) -> str:
        """Python source of value_and_gradient(parameters, X, y), which needs NumPy alone: (R, {name: dR/dW}).

        (scipy.special, too, where an error function occurs.)  target: "labels", "distribution" or "values", one of
        `targets`; the first if not given.

        >>> from symnet.network import Network
        >>> from symnet.spec import dense
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
