"""The objective: the losses of a network's heads as one loss of a sample, and what the heads decide.

In: the outputs of a network (heads.py), their tensors, the forward equations.  Out: equations of ell[n], of the means,
of hits, labels and probabilities.  Stands between loss_equations.py, decisions.py and network.py.

    ell[n] = sum_h weight_h * ell_h[n]       loss = (1/N) sum_n ell[n]        loss_h = (1/N) sum_n ell_h[n]

Each head's equations are those of a network with that loss alone, their tensors renamed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from compiler.program import Access, Equation, Index, Tensor

from ..declare.heads import Given, Output, joined, suffix, taken_apart
from . import decisions, loss_equations
from .layers import sample_indices
from .loss_equations import Loss

Defined = decisions.Defined


@dataclass(frozen=True, slots=True)
class Joint:
    """Equations that define ell, and the losses of the heads by name; `facts` are what the data promise."""

    equations: tuple[Equation, ...]
    ell: Tensor
    parts: Mapping[str, Loss]

    @property
    def facts(self) -> tuple[Equation, ...]:
        return tuple(dict.fromkeys(fact for loss in self.parts.values() for fact in loss.facts))

    @property
    def targets(self) -> tuple[Tensor, ...]:
        """The tensors of the targets."""
        return tuple(dict.fromkeys(loss.target for loss in self.parts.values()))

    @property
    def target(self) -> Tensor:
        """The tensor of the first target, mostly the only one."""
        return self.targets[0]


@dataclass(frozen=True)
class Objective:
    """The outputs of a network, the tensor of each, the equations that define these, and the inputs by name."""

    outputs: tuple[Output, ...]
    predictions: tuple[Tensor, ...]
    forward: tuple[Equation, ...]
    inputs: Mapping[str, Tensor] = field(default_factory=dict)
    _joint: dict[str, Joint] = field(default_factory=dict, compare=False)

    @cached_property
    def _forward_tensors(self) -> frozenset[Tensor]:
        return frozenset((*(e.tensor for e in self.forward), *(a.tensor for e in self.forward for a in e.reads())))

    def given(self, target: Given) -> str:
        """How targets are given, as one text."""
        return joined(taken_apart(self.outputs, target))

    def loss(self, target: Given = None) -> Joint:
        """The equations of the loss of a sample."""
        given = taken_apart(self.outputs, target)
        key = joined(given)
        if key not in self._joint:
            self._joint[key] = self._build(given)
        return self._joint[key]

    def _build(self, given: Mapping[str, str]) -> Joint:
        parts = {o.name: self._part(o, p, given[o.target]) for o, p in zip(self.outputs, self.predictions, strict=True)}
        equations = [equation for part in parts.values() for equation in part.equations]
        if "" in parts:
            return Joint(tuple(equations), parts[""].ell, parts)
        ell = Tensor("ell", next(iter(parts.values())).ell.shape)
        n = Index("n", ell.shape[0])
        for output in self.outputs:
            term = parts[output.name].ell[n]
            if output.head.weight is not None:
                term *= Access(Tensor(f"weight_{output.name}", (), "hyper"))
            equations.append(Equation(ell[n], (n,), term))
        return Joint(tuple(equations), ell, parts)

    def _part(self, output: Output, prediction: Tensor, given: str) -> Loss:
        loss = output.head.loss
        made = loss_equations.build(output.row, loss.mapping, prediction, given, self.forward, self.inputs)
        if not output.name:
            return made
        used = [t for t in (made.target, made.weight) if t is not None]
        own = self._renaming(output, (*made.equations, *made.facts), used)
        own |= {t: _named(t, suffix(output.target)) for t in used}
        weight = None if made.weight is None else own[made.weight]
        facts = tuple(e.substitute(own) for e in made.facts)
        equations = tuple(e.substitute(own) for e in made.equations)
        return Loss(equations, own[made.ell], own[made.target], facts, weight)

    def _renaming(self, output: Output, equations: Sequence[Equation], but: Sequence[Tensor]) -> dict[Tensor, Tensor]:
        """What stands for each tensor that belongs to a head."""
        tensors = dict.fromkeys(a.tensor for e in equations for a in (e.lhs, *e.reads()))
        own = [t for t in tensors if t not in self._forward_tensors and t not in but]
        return {t: _named(t, suffix(output.name)) for t in own}

    def means(self, target: Given = None) -> dict[str, Equation]:
        """loss = (1/N) sum_n ell[n], then loss_h of each head, if there are several"""
        joint = self.loss(target)
        (rows,) = joint.ell.shape
        n = Index("n", rows)
        ells = {"loss": joint.ell} | {f"loss_{name}": part.ell for name, part in joint.parts.items() if name}
        return {name: Equation(Access(Tensor(name)), (n,), ell[n] / rows) for name, ell in ells.items()}

    def sums(self, target: Given = None) -> tuple[tuple[Tensor, ...], tuple[Equation, ...]]:
        """loss_sum = sum_n ell[n], and correct, the number of hits of a classifier; of several heads both for each"""
        joint = self.loss(target)
        (rows,) = joint.ell.shape
        n = Index("n", rows)
        outputs, equations = [Tensor("loss_sum")], list(joint.equations)
        equations.append(Equation(Access(outputs[0]), (n,), joint.ell[n]))
        for output, prediction in zip(self.outputs, self.predictions, strict=True):
            part = joint.parts[output.name]
            if output.name:
                outputs.append(Tensor(f"loss_sum_{output.name}"))
                equations.append(Equation(Access(outputs[-1]), (n,), part.ell[n]))
            if output.is_classifier:
                correct, counted = self._of(output, decisions.hits(output.row, prediction, part), joint.equations)
                outputs.append(correct)
                equations += counted
        return tuple(outputs), tuple(dict.fromkeys(equations))

    def decided(self, what: str) -> tuple[tuple[Tensor, ...], tuple[Equation, ...]]:
        """The "label", "probabilities" or "values" of each head that has them, and what defines them."""
        outputs: list[Tensor] = []
        equations: list[Equation] = []
        for output, prediction in zip(self.outputs, self.predictions, strict=True):
            found: Defined | None = (prediction, ())
            if what == "probabilities":
                found = decisions.probabilities(output.row, prediction)
            elif what == "label" and output.is_classifier:
                found = decisions.labels(output.row, prediction)
            if found is None:
                continue
            tensor, more = self._of(output, found, ())
            if tensor in outputs:  # of two heads on one layer
                copy = Tensor(f"output{suffix(output.name)}", tensor.shape, "value", tensor.kind)
                own = sample_indices(tensor)
                more, tensor = (*more, Equation(copy[own], own, tensor[own])), copy
            outputs.append(tensor)
            equations += more
        return tuple(outputs), tuple(equations)

    def _of(self, output: Output, defined: Defined, known: Sequence[Equation]) -> Defined:
        """A definition with the tensors of the head renamed; those that the loss has already are kept."""
        tensor, equations = defined
        if not output.name:
            return defined
        kept = [t for e in known for t in (e.tensor, *(a.tensor for a in e.reads()))]
        own = self._renaming(output, equations, kept)
        return own.get(tensor, tensor), tuple(e.substitute(own) for e in equations)


def _named(tensor: Tensor, ending: str) -> Tensor:
    return Tensor(tensor.name + ending, tensor.shape, tensor.role, tensor.kind, tensor.sparse)
