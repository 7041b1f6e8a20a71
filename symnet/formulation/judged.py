"""What a network is judged by: its outputs, their losses and targets, and the programs that judge and decide.

In: the spec of a network, its layers as equations.  Out: the objective (objective.py), how targets may be given, the
programs of evaluation and prediction.  A base class of Network, so that network.py stays about derivatives.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..declare.heads import Given, Output
from ..declare.spec import Spec
from ..errors import Quoted, complaint, unknown

if TYPE_CHECKING:
    from compiler.program import Equation, Program, Tensor

    from .layers import Built
    from .objective import Joint, Objective


class Judged:
    """Outputs, losses and targets of a network."""

    if TYPE_CHECKING:
        spec: Spec

        @property
        def _built(self) -> Mapping[str, Built]: ...
        @property
        def inputs(self) -> Mapping[str, Tensor]: ...
        @property
        def forward(self) -> tuple[Equation, ...]: ...
        @property
        def training_forward(self) -> tuple[Equation, ...]: ...

    @cached_property
    def outputs(self) -> Mapping[str, Output]:
        """What is judged, by the names of the losses; the only one has the name "".  See heads.py."""
        return MappingProxyType({output.name: output for output in self.spec.outputs})

    @cached_property
    def objective(self) -> Objective:
        """The losses of all heads as equations."""
        return self._objective(self.forward)

    @cached_property
    def training_objective(self) -> Objective:
        """The same in a training step: derivatives inside a loss are those of the network as it is trained."""
        same = self.training_forward == self.forward
        return self.objective if same else self._objective(self.training_forward)

    def _objective(self, forward: tuple[Equation, ...]) -> Objective:
        from .objective import Objective

        predictions = tuple(self._built[output.head.layer].output for output in self.spec.outputs)
        return Objective(self.spec.outputs, predictions, forward, self.inputs)

    @property
    def _only(self) -> Output:
        if "" not in self.outputs:
            advice = f"Ask one of network.outputs: {', '.join(self.outputs)}."
            raise complaint("network", Quoted("several losses"), "one", advice)
        return self.outputs[""]

    @property
    def target_names(self) -> tuple[str, ...]:
        """The names of the targets, each once; the only one has the name ""."""
        return tuple(dict.fromkeys(output.target for output in self.spec.outputs))

    @property
    def is_classifier(self) -> bool:
        """Is there a head that tells classes apart?"""
        return any(output.is_classifier for output in self.outputs.values())

    @property
    def targets(self) -> tuple[str, ...]:
        """How targets may be given: "labels", "distribution" or "values"; the default first."""
        return self._only.targets

    @property
    def classes(self) -> int:
        """How many classes a classifier tells apart."""
        return self._only.classes

    @property
    def target_width(self) -> int:
        """Numbers of one target, where it is no label."""
        return self._only.target_width

    @property
    def positions(self) -> tuple[int, ...]:
        """The axes between the samples and the classes or values: each place there has a loss and a target."""
        return self._only.positions

    @property
    def prediction(self) -> Tensor:
        """The output, shape (N, K), or (N, ..., K) with positions; of several losses the first one's."""
        return self.objective.predictions[0]

    @property
    def probabilities(self) -> Tensor | None:
        """The class probabilities of a classifier, shape (N, ..., K)."""
        if not self._only.is_classifier:
            return None
        return self.objective.decided("probabilities")[0][0]

    def given(self, target: Given = None) -> str:
        """How targets are given, as the text that kernels are known by; by default each in its first way."""
        return self.objective.given(target)

    def loss(self, target: Given = None, training: bool = False) -> Joint:
        """The equations of the loss of a sample, for targets given as `target`, one of `targets`.

        With losses.WEIGHTED at its end, every sample has a weight, with losses.BY_POSITION every position of it; so for
        everything below.  Of several losses: {"digit": "labels", "angle": "values"}, or that as text (`given`).
        """
        return (self.training_objective if training else self.objective).loss(target)

    # ------------------------------------------------------------------------------------------ programs
    def evaluation_program(self, target: Given = None) -> Program:
        """Outputs loss_sum = sum_n ell[n]; for a classifier, also correct = the number of samples classified right.

        Of several losses h, then loss_sum_h, and correct_h where h is a classifier's.
        """
        from compiler.program import Program

        outputs, equations = self.objective.sums(target)
        return Program((*self.forward, *equations), outputs, facts=self.loss(target).facts)

    def prediction_program(self, what: str | None = None) -> Program:
        """Outputs "label" (a classifier's default), "probabilities" or "values" (the default otherwise).

        Of several losses one output each: "label" gives the values of what is no classifier, "probabilities" leaves it
        out (see `predicted`).
        """
        from compiler.program import Program

        outputs, equations = self.objective.decided(self._deciding(what))
        return Program((*self.forward, *equations), outputs)

    def predicted(self, what: str | None = None) -> tuple[str, ...]:
        """The names of the outputs of `prediction_program`, in its order."""
        what = self._deciding(what)
        return tuple(name for name, output in self.outputs.items() if output.is_classifier or what != "probabilities")

    def _deciding(self, what: str | None) -> str:
        known = ("values", "label", "probabilities") if self.is_classifier else ("values",)
        what = what or ("label" if self.is_classifier else "values")
        if what not in known:
            raise unknown("prediction", "output", what, known)
        return what
