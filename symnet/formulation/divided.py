"""A step of training as two programs, so that the rows of a batch may be divided: among processes (run/ranks.py).

    sums      of some rows:        sum.W[i,j] = sum_n dell_n/dW[i,j] of every parameter, sum.loss = sum_n ell[n]
    update    of the sums of all:  dR/dW = sum.W/N + d(penalty)/dW, loss = sum.loss/N, the equations of the optimizer

In: a Network.  Out: two Programs, and the storage in which both find the sums: one run behind the parameters and states
of the model, in the order and with the padding of the parameters, so that one flat loop reads and updates all of them.
What couples samples (batch norm) is no sum over rows, so it has no such programs.  Where numbers are drawn (dropout), a
row has its number in the whole batch, n + first.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

from compiler.storage import Slot, Storage

from ..declare.heads import Given

if TYPE_CHECKING:
    from compiler.program import Equation, Program, Tensor

    from ..declare.spec import Choice
    from ..network import Network

SUM = "sum."  # begins the name of a sum; no user can give a name with a dot
FLAGS = "flags"  # numbers that are added up with the sums
LINE = 64  # bytes, to which the compiler pads its tensors, too


def sums_program(network: Network, target: Given = None) -> Program:
    """The sums over the rows that it is given; first: the number in the batch of the first of them."""
    from compiler.program import Access, Equation, Program, Tensor

    from .layers import own_indices

    joint = network.loss(target, True)
    swept = network.swept(network.training_forward, joint)
    equations = [*network.training_forward, *joint.equations, *swept.equations]
    updates = []
    for tensor in dict.fromkeys(network.tensors.values()):
        gradient = swept.adjoints[tensor]
        updates.append((_sum(tensor), gradient))
        if all(equation.tensor != gradient for equation in equations):
            equations.append(Equation(Access(gradient, *own_indices(gradient)), own_indices(gradient), 0))
    for name, mean in network.objective.means(target).items():
        total = Tensor(f"{name}_sum")
        equations.append(Equation(Access(total), mean.domain, mean.rhs * joint.ell.shape[0]))
        updates.append((_sum(mean.tensor), total))
    return Program(tuple(map(_numbered, equations)), (), tuple(updates), facts=joint.facts).live()


def update_program(network: Network, optimizer: Choice, target: Given = None, risk: bool = False) -> Program:
    """The rest of a step of N rows; outputs, guards and updates are those of `Network.training_program`."""
    from compiler.program import Access, Equation, size

    from .layers import own_indices

    whole = network.training_program(optimizer, target, risk)
    gradients = network.gradients(target, training=True).by_name
    sums = {gradients[name]: _sum(tensor) for name, tensor in network.tensors.items()}
    sums |= {mean.tensor: _sum(mean.tensor) for mean in network.objective.means(target).values()}
    equations: list[Equation] = []
    for tensor, total in sums.items():
        own = own_indices(tensor)
        equations.append(Equation(Access(tensor, *own), own, Access(total, *own) / size("N")))
    kept = {*network.penalty_gradients}
    equations += [e for e in whole.equations if e.tensor not in sums or e in kept]
    return replace(whole, equations=tuple(equations), facts=()).live()


def _sum(tensor: Tensor) -> Tensor:
    """What holds the sum that belongs to a parameter or to a loss."""
    from compiler.program import Tensor

    return Tensor(SUM + tensor.name, tensor.shape, "state")


def _numbered(equation: Equation) -> Equation:
    """n + first in place of n where numbers are drawn."""
    from compiler.program import Access, Index, Tensor, size, uniform

    first, rows = Access(Tensor("first", (), "hyper", "integer")), size("N")
    drawn = {
        node: node.xreplace({index: index + first for index in node.atoms(Index) if index.high == rows})
        for node in equation.rhs.atoms(uniform) | equation.where.atoms(uniform)
    }
    return replace(equation, rhs=equation.rhs.xreplace(drawn), where=equation.where.xreplace(drawn))


def with_sums(storage: Storage, network: Network, flags: int) -> Storage:
    """The storage of a model with the sums behind it: of the parameters, of each loss, and so many flags."""
    start, unit = storage.elements, LINE // storage.item_size
    parameters = [slot for slot in storage.slots if slot.role == "parameter"]
    slots = [replace(slot, name=SUM + slot.name, role="state", offset=start + slot.offset) for slot in parameters]
    offset = max(slot.offset + -(-slot.size // unit) * unit for slot in slots)
    losses = ["loss", *(f"loss_{name}" for name in network.outputs if name)]
    for name, shape in [*((SUM + loss, ()) for loss in losses), (FLAGS, (flags,))]:
        slots.append(Slot(name, "state", offset, shape, tuple(range(len(shape)))))
        offset += -(-prod(shape) // unit) * unit
    orders = {SUM + slot.name: slot.order for slot in parameters}
    return Storage((*storage.slots, *slots), offset, storage.item_size, {**storage.orders, **orders})
