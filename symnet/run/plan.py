"""Plan: what running a network needs to know of it, without its equations.

In: a Spec and an optimizer.  Out: names, shapes, first values; as JSON, so that a process that finds it in the disk
cache derives nothing and loads no SymPy.  Stands between network.py and training.py.

Values that are run-time arguments (lambda, learning rate, ...) are not part of a plan: changing them derives nothing.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from compiler import cache

from ..declare import initializers, losses, optimizers, regularizers
from ..declare.spec import Choice, Spec
from ..declare.toml_text import to_toml
from ..kinds import without_initializers
from ..network import Network
from ..network import hyper_values as network_hyper

Array = np.ndarray[Any, np.dtype[Any]]
LAYERS = "state:"  # begins the name of a layer's state in files; what follows is its user's name


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter: its user's name, its tensor's name, its shape, and how its first value is drawn.

    stack: of so many equal layers in one tensor; slot: it is one of the equal layers in the tensor (rolled.py).
    """

    name: str
    tensor: str
    shape: tuple[int, ...]
    initializer: str
    options: Mapping[str, Any]
    fans: tuple[int, int]
    stack: int = 0
    slot: int | None = None


@dataclass(frozen=True, slots=True)
class State:
    """A state of a layer or of the optimizer: its name in files, its tensor's name, its shape, its first value.

    slot: it is that of one of the equal layers in the tensor.
    """

    name: str
    tensor: str
    shape: tuple[int, ...]
    initial: float
    slot: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The parameters in the order of the network, then the states of its layers and of its optimizer."""

    parameters: tuple[Parameter, ...]
    states: tuple[State, ...]

    def initial(self, seed: int) -> dict[str, Array]:
        """First values of parameters by name; a pure function of the plan and the seed."""
        return {name: values[0] for name, values in first_values(self.parameters, [seed]).items()}


def first_values(parameters: Sequence[Parameter], seeds: Sequence[int]) -> dict[str, Array]:
    """First values by name, a row for each seed.  Each parameter draws by its position in the network, as if repeated
    layers stood one by one."""
    values: dict[str, Array] = {}
    position = 0
    for _, group in itertools.groupby(parameters, lambda p: p.name.rpartition(".")[0]):
        layer = list(group)
        for number, p in enumerate(layer):
            made = [
                initializers.initials(p.initializer, p.options, p.shape[bool(p.stack) :], p.fans, seeds, at)
                for at in range(position + number, position + number + max(p.stack, 1) * len(layer), len(layer))
            ]
            values[p.name] = np.stack(made, axis=1) if p.stack else made[0]
        position += len(layer) * max(1, *(p.stack for p in layer))
    return values


def structure(spec: Spec, optimizer: Choice, *, initializers_too: bool = False) -> str:
    """What decides what is derived and compiled, as text for cache keys: the spec and the optimizer as far as they do,
    and the files of symnet, which write the equations."""
    return cache.package_hash(Path(__file__).parent.parent) + _structure(spec, optimizer, initializers_too)


@lru_cache(maxsize=64)
def _structure(spec: Spec, optimizer: Choice, initializers_too: bool) -> str:
    heads = tuple(
        replace(
            head,
            loss=replace(head.loss, options=losses.structure(head.loss.options)),
            weight=None if head.weight is None else 1.0,
        )
        for head in spec.heads
    )
    layers = tuple(replace(x, **_switches(x)) for x in spec.layers)
    plain = replace(spec, train=None, heads=heads, layers=layers, **_switches(spec))
    if not initializers_too:
        plain = replace(plain, layers=tuple(map(without_initializers, plain.layers)))
    arrays = {name: constant.structure for name, constant in spec.arrays.items()}
    return json.dumps([to_toml(replace(plain, constants=())), arrays, optimizers.structure(_row(optimizer))])


def same_equations(one: tuple[Spec, Choice], other: tuple[Spec, Choice]) -> bool:
    """Do both networks with their optimizers differ in run-time arguments alone?"""
    if optimizers.structure(_row(one[1])) != optimizers.structure(_row(other[1])):
        return False
    return one[0] is other[0] or structure(*one) == structure(other[0], one[1])


def _switches(table: Any) -> dict[str, Any]:
    """Strengths of penalties as far as they decide equations: 1 where there is one."""
    given = {row.name: getattr(table, row.name, None) for row in regularizers.ROWS}
    return {name: float(bool(value)) for name, value in given.items() if value is not None}


def make_plan(network: Network, optimizer: Choice) -> Plan:
    """The plan of a network: from the disk cache, or derived and left there."""
    key = cache.key("plan", structure(network.spec, optimizer, initializers_too=True), str(network.rolls))
    found = cache.load(key)
    if found is not None:
        record = json.loads(found)
        parameters = tuple(
            Parameter(**{**p, "shape": tuple(p["shape"]), "fans": tuple(p["fans"])}) for p in record["parameters"]
        )
        return Plan(parameters, tuple(State(**{**s, "shape": tuple(s["shape"])}) for s in record["states"]))
    plan = derive_plan(network, optimizer)
    cache.store(key, json.dumps(asdict(plan)).encode())
    return plan


def derive_plan(network: Network, optimizer: Choice) -> Plan:
    parameters = plan_parameters(network)
    owners: dict[str, list[Parameter]] = {}
    for parameter in parameters:
        owners.setdefault(parameter.tensor, []).append(parameter)
    states = [
        State(f"{LAYERS}{name}", state.tensor.name, network.states[name], state.initial)
        for name, state in network._states.items()
    ]
    for tensor, initial in network.update(optimizer).states.items():
        prefix, _, owner = tensor.name.partition("_")
        shape = tuple(int(n) for n in tensor.shape)
        if owner not in owners:
            states.append(State(f"optimizer:{tensor.name}", tensor.name, shape, float(initial)))
        for p in owners.get(owner, ()):
            own = shape if p.slot is None else shape[1:]
            states.append(State(f"optimizer:{prefix}:{p.name}", tensor.name, own, float(initial), p.slot))
    return Plan(parameters, tuple(states))


def plan_parameters(network: Network) -> tuple[Parameter, ...]:
    return tuple(
        Parameter(
            name, p.tensor.name, network.parameters[name],
            p.initializer.name, p.initializer.mapping, p.fans, p.stack, p.slot,
        )
        for name, p in network._details.items()
    )  # fmt: skip


def hyper_values(spec: Spec, optimizer: Choice) -> dict[str, float]:
    """Symbol -> value of every hyper-parameter of the network and of its optimizer."""
    return network_hyper(spec) | optimizers.values(_row(optimizer))


def _row(optimizer: Choice) -> optimizers.Row:
    return optimizers.row(optimizer.name, optimizer.mapping, "optimizer")
