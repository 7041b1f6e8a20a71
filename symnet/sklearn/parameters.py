"""The parameters of an estimator, checked, as a network and an optimizer of symnet.

In: the attributes of an estimator under scikit-learn's names, the numbers of inputs and outputs.  Out: a Network; what
`Network.compile` takes as its optimizer; first values.  Stands before solvers.py.

    R = (1/sum w) sum_n w_n ell_n + alpha/(2 sum w) * (sum of all squared weights)        of a batch of full size

where ell_n is -log p of the label, sum_k over binary outputs, sum_k (prediction - target)**2/2, or a loss of symnet's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np

from ..declare import checks, losses, optimizers
from ..declare.constructors import dense
from ..declare.spec import checked_optimizer
from ..errors import Quoted, complaint
from ..kinds import Dense
from ..network import Network

Array = np.ndarray[Any, np.dtype[Any]]
AUTO = 200  # rows of a batch, unless told
LBFGS, SGD, ADAM = "lbfgs", "sgd", "adam"


# ---------------------------------------------------------------------------------------------- checks
def _truth(value: Any, where: str) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise complaint(where, value, "True or False")
    return bool(value)


def _above_zero(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < math.inf:
        raise complaint(where, value, "a number above 0")
    return float(value)


def _momentum(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) <= 1:
        raise complaint(where, value, "a number from 0 to 1")
    return min(float(value), math.nextafter(1, 0))


def _verbose(value: Any, where: str) -> int:
    if not isinstance(value, bool | np.bool_ | Integral):
        raise complaint(where, value, "True, False or an integer")
    return int(value)


def _batch(value: Any, where: str) -> int:
    return AUTO if isinstance(value, str) and value == "auto" else checks.integer(1)(value, where)


def _epochs_without(value: Any, where: str) -> int | None:
    """None: any number."""
    if isinstance(value, Real) and value == math.inf:
        return None
    return checks.integer(1)(value, where)


def _widths(value: Any, where: str) -> tuple[int, ...]:
    if isinstance(value, str | bytes | Mapping):
        raise complaint(where, value, "the units of each hidden layer, such as (64, 32)")
    given = list(value) if isinstance(value, Iterable) else [value]
    return tuple(checks.integer(1)(units, where) for units in given)


CHECKS: Mapping[str, checks.Check] = {
    "hidden_layer_sizes": _widths,
    "activation": checks.activation,
    "alpha": checks.number(0),
    "batch_size": _batch,
    "learning_rate": checks.word("constant", "invscaling", "adaptive"),
    "learning_rate_init": _above_zero,
    "power_t": checks.number(0),
    "max_iter": checks.integer(1),
    "shuffle": _truth,
    "tol": checks.number(0),
    "verbose": _verbose,
    "warm_start": _truth,
    "momentum": _momentum,
    "nesterovs_momentum": _truth,
    "early_stopping": _truth,
    "validation_fraction": checks.number(0, 1),
    "beta_1": checks.number(0, 1),
    "beta_2": checks.number(0, 1),
    "epsilon": _above_zero,
    "n_iter_no_change": _epochs_without,
    "max_fun": checks.integer(1),
}


def checked(estimator: Any) -> dict[str, Any]:
    """The parameters of an estimator by name; raises SymnetError, a ValueError, for one that cannot be used."""
    name = type(estimator).__name__
    given = estimator.get_params(deep=False)
    found = {key: check(given[key], f"{name}, {key}") for key, check in CHECKS.items()}
    return {**given, **found, "optimizer": _optimizer(given["solver"], found, f"{name}, solver")}


def _optimizer(solver: Any, given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What `Network.compile` takes.  `sgd` has momentum, as scikit-learn's; another mapping or name is symnet's own."""
    rate = {"learning_rate": given["learning_rate_init"]}
    if not isinstance(solver, str | Mapping):
        raise complaint(where, solver, f"{LBFGS!r}, {SGD!r}, {ADAM!r}, or an optimizer of symnet")
    match solver:
        case "adam":
            betas = {"beta1": given["beta_1"], "beta2": given["beta_2"], "epsilon": given["epsilon"]}
            return {"name": "adam", **rate, **betas}
        case "sgd" if given["momentum"]:
            name = "nesterov" if given["nesterovs_momentum"] else "momentum"
            return {"name": name, **rate, "momentum": given["momentum"]}
        case "sgd" | "lbfgs":
            return {"name": "gradient_descent", **rate}
    choice = checked_optimizer(solver, where)
    own = {"name": choice.name} if choice.name else {}
    known = choice.name and "learning_rate" in optimizers.TABLE[choice.name].hyper
    return {**own, **(rate if known else {}), **choice.mapping}


# ---------------------------------------------------------------------------------------------- networks
def given_network(spec: Any, inputs: int, where: str) -> Network:
    """The network of `spec=`: itself, or what a TOML file or text declares; one vector of outputs with one loss."""
    if isinstance(spec, str | Path):
        spec = Network.from_toml(spec)
    if not isinstance(spec, Network):
        raise complaint(where, spec, "a Network, the path of a TOML file, or its text")
    if spec.spec.input != inputs:
        raise complaint(where, Quoted(f"a network of {spec.spec.input} inputs"), f"{inputs}, the columns of X")
    if len(spec.spec.outputs) != 1:
        raise complaint(where, Quoted(f"a network with {len(spec.spec.outputs)} losses"), "one loss: y is one target")
    if spec.spec.outputs[0].positions:
        raise complaint(where, Quoted(f"outputs of shape {spec.spec.outputs[0].shape}"), "a vector for each sample")
    return spec


def network(parameters: Mapping[str, Any], inputs: int, outputs: int, loss: Any, weight: float | None) -> Network:
    """Dense layers hidden1, hidden2, ..., out.  weight: a factor of the loss; None: 1."""
    widths, activation = parameters["hidden_layer_sizes"], parameters["activation"]
    layers = [dense(units, activation, name=f"hidden{k}") for k, units in enumerate(widths, 1)]
    judged: dict[str, Any] = {"loss": loss}
    if weight is not None:
        options = {"name": loss} if isinstance(loss, str) else dict(loss)
        judged = {"losses": {"out": {**options, "weight": weight}}}
    return Network(input=inputs, layers=[*layers, dense(outputs, name="out")], l2=parameters["alpha"], **judged)


def loss_row(loss: Any, where: str) -> losses.Row:
    choice = checks.choice(loss, where)
    return losses.row(choice.name, choice.mapping, where)


def dense_names(net: Network) -> list[str]:
    """The names of the layers, if all are dense, one after the other, with biases: then there are coefs_."""
    layers = net.spec.layers
    plain = all(isinstance(x, Dense) and x.bias and not x.share and x.repeat == 1 for x in layers)
    chained = not net.spec.graph.ties and all(len(reads) == 1 for reads in net.spec.graph.reads.values())
    return [layer.name for layer in layers] if plain and chained and net.spec.is_plain else []


def first_values(net: Network, activation: str, rng: np.random.RandomState) -> dict[str, Array]:
    """Weights and biases as scikit-learn draws them: uniform, |w| <= sqrt(6/(inputs + units)), 2 for the logistic
    function in place of 6; in its order, so that the same random_state gives the same.

    Source: Glorot and Bengio 2010.
    """
    factor, found = 2.0 if activation == "logistic" else 6.0, {}
    for layer in net.spec.layers:
        units, inputs = net.parameters[f"{layer.name}.W"]
        bound = math.sqrt(factor / (inputs + units))
        found[f"{layer.name}.W"] = rng.uniform(-bound, bound, (inputs, units)).T
        found[f"{layer.name}.b"] = rng.uniform(-bound, bound, units)
    return found
