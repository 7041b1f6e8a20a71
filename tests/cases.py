"""Random programs and networks as cases to judge: the gradient, and what it must be.

In: a seed.  Out: a `Case`: a program with its gradients, values to run it on, and derivatives by the 50-digit complex
step of the loss itself, along a direction through all parameters and along single elements.  `judge` holds outputs of
that program, however they were made, against |g - ref| <= tolerance * G (tolerance.py).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any
from unittest import mock

import numpy as np
import scipy.sparse

from compiler import executable
from compiler.calling import call, interpret
from compiler.passes import PASSES, STRICT
from compiler.program import Program
from compiler.verify import verify
from symnet.declare.spec import checked_optimizer
from symnet.look.sampling import sample as sample_network
from symnet.network import Network
from symnet.oracle import reference_float
from symnet.oracle.reference import evaluate
from symnet.oracle.reference_float import floating
from symnet.oracle.reference_mp import complex_step
from symnet.oracle.scales import scales

from . import networks, programs
from .tolerance import FLOAT32, FLOAT64, gradient_program, is_smooth, judge

NAMES, STRICT_NAMES = (tuple(name for name, _, _ in passes) for passes in (PASSES, STRICT))
TOLERANCES = {"float64": FLOAT64, "float32": FLOAT32}
ELEMENTS = 2  # along which gradients are judged by themselves


@dataclass(frozen=True)
class Case:
    """program: outputs the loss, then gradients, and may update states.  adjoints: parameter -> name of its gradient.

    step: a step of an optimizer, of networks.
    constructs: what of the language is in it.  redrawn: how many points were within 1e-3 of a kink before this one.
    """

    name: str
    constructs: tuple[str, ...]
    text: str
    dtype: str
    program: Program
    adjoints: Mapping[str, str]
    values: Mapping[str, Any]
    sizes: Mapping[str, int]
    directions: tuple[Mapping[str, Any], ...]
    redrawn: int
    step: Program | None = None
    references: tuple[Any, ...] = field(default=(), repr=False)
    scales: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def judge(self, what: str, found: Mapping[str, Any]) -> float:
        """The largest error as a part of what is tolerated.  found: the outputs of the program, by name."""
        worst, tolerance = 0.0, TOLERANCES[self.dtype]
        for direction, reference in zip(self.directions, self.references, strict=True):
            slope = sum(np.sum(np.asarray(found[self.adjoints[n]], float) * v) for n, v in direction.items())
            scale = sum(np.sum(self.scales[self.adjoints[n]] * np.abs(v)) for n, v in direction.items())
            named = f"{self.name}, {self.dtype}, {what}, along {sorted(direction)}"
            worst = max(worst, judge(named, slope, reference, scale, tolerance) / tolerance)
        if "status" in found:
            self._judge_states(self.program, found)
        return worst

    # ------------------------------------------------------------------------------------------ ways to the gradient
    def evaluated(self, program: Program | None = None) -> dict[str, Any]:
        """By the slow evaluator, in the numbers of the dtype."""
        with uniform_in(self.dtype):
            return evaluate(program or self.program, self.values, self.sizes, arithmetic=floating(self.dtype))

    def loops(self, passes: Collection[str] = NAMES, plain: bool = False) -> dict[str, Any]:
        """By the generated source, run by Python, after these passes; plain: the general loop nests."""
        if plain:
            return interpret(self.after(passes), self.arrays, self.sizes, True, self.dtype)
        with only(passes):
            return interpret(self.program, self.arrays, self.sizes, False, self.dtype)

    def compiled(self, passes: Collection[str] = NAMES) -> dict[str, Any]:
        with only(passes):
            made = executable.compile_program(self.program, self.dtype, None, self.sizes)
        return call(made, self.arrays, self.sizes)

    def after(self, passes: Collection[str]) -> Program:
        """The program after these passes; the rules are verified after each."""
        program = self.program
        for _, function, _ in chosen(passes):
            program = function(program)
            verify(program)
        return program

    def judge_step(self, passes: Collection[str] = NAMES, compiled: bool = False) -> None:
        """States and parameters after a step in float64, as the loops (or native code) make them.

        (An optimizer may divide a gradient by its own size: then rounding in float32 may change it by all of it.)"""
        if self.step is None or self.dtype != "float64":
            return
        with only(passes):
            if compiled:
                native = executable.compile_program(self.step, self.dtype, None, self.sizes)
                made = call(native, self.arrays, self.sizes)
            else:
                made = interpret(self.step, self.arrays, self.sizes, False, self.dtype)
        assert made["status"] == 0, self.name
        self._judge_states(self.step, made)

    def _judge_states(self, program: Program, made: Mapping[str, Any]) -> None:
        with uniform_in(self.dtype):
            expected = evaluate(program, self.values, self.sizes, [new for _, new in program.updates])
        close = (1e-10, 1e-12) if self.dtype == "float64" else (1e-4, 1e-4)
        for old, new in program.updates:
            np.testing.assert_allclose(made[old.name], expected[new.name], *close, err_msg=f"the next {old}")

    @property
    def arrays(self) -> dict[str, Any]:
        """The values as kernels take them."""
        sparse = {t.name for t in self.program.tensors if t.sparse}
        return {k: scipy.sparse.csr_array(v) if k in sparse else v for k, v in self.values.items()}


def some_passes(seed: int) -> tuple[str, ...]:
    """Each with the probability 1/2; in every other draw, all of them; in some, those of strict accuracy."""
    rng = np.random.default_rng((seed, 8))
    if rng.random() < 0.1:
        return ("strict",)
    kept = rng.random(len(NAMES)) < 0.5
    return NAMES if rng.random() < 0.5 else tuple(n for n, there in zip(NAMES, kept, strict=True) if there)


@contextmanager
def showing(drawn: Case) -> Iterator[Case]:
    """A failure inside prints what was drawn."""
    try:
        yield drawn
    except Exception as error:
        raise AssertionError(f"{drawn.name}, {drawn.dtype}: {type(error).__name__}: {error}\n{drawn.text}") from error


def chosen(passes: Collection[str]) -> tuple[Any, ...]:
    """The passes of these names, in their order; "strict": all of strict accuracy, which alone keep digits."""
    if "strict" in passes:
        return STRICT
    return tuple(row for row in (STRICT if "keep_digits" in passes else PASSES) if row[0] in passes)


@contextmanager
def only(passes: Collection[str]) -> Iterator[None]:
    """What is compiled or interpreted goes through these passes alone, and nothing is counted."""

    def run(program: Program, _: object) -> tuple[Program, tuple[()]]:
        for _, function, _ in chosen(passes):
            program = function(program)
        return program, ()

    executable.optimized.cache_clear()
    with mock.patch.object(executable, "run_passes", run):
        yield
    executable.optimized.cache_clear()


@contextmanager
def uniform_in(dtype: str) -> Iterator[None]:
    """The evaluators draw random numbers of the dtype: those of float32 are the first 24 bits of the others."""

    def drawn(*keys: Any) -> Any:
        found = reference_float.uniform(*keys)
        return np.floor(found * 2.0**24) * 2.0**-24 if dtype == "float32" else found

    with mock.patch("symnet.oracle.reference.uniform", drawn):
        yield


# ---------------------------------------------------------------------------------------------- what is drawn
@lru_cache(maxsize=1000)
def case(name: str, dtype: str = "float64") -> Case:
    """The case of this name: "program 17", "network 5"."""
    kind, _, seed = name.partition(" ")
    return {"program": program_case, "network": network_case}[kind](int(seed), dtype)


def program_case(seed: int, dtype: str = "float64") -> Case:
    """A random program of the language."""
    drawn = programs.sample(seed, dtype)
    program = gradient_program(drawn.program.equations, drawn.output, drawn.wrt)
    program = Program((*program.equations, *drawn.next), program.outputs, drawn.updates)
    adjoints = {t.name: a.name for t, a in zip(drawn.wrt, program.outputs[1:], strict=True)}
    return _referenced(
        Case(
            f"program {seed}", drawn.constructs, str(drawn), dtype, program, adjoints, drawn.values, drawn.sizes,
            _directions(adjoints, drawn.values, seed), drawn.redrawn,
        ),
        drawn.program,
    )  # fmt: skip


def network_case(seed: int, dtype: str = "float64") -> Case:
    """A random network, and a step of an optimizer."""
    drawn = networks.drawn(seed)
    rng = np.random.default_rng((seed, 1))
    with mock.patch("symnet.formulation.rolled.SHORTEST", drawn.short or 10**6):
        network = drawn.network.rolled(checked_optimizer(drawn.optimizer, "")) if drawn.short else drawn.network
        training = network.is_coupled or bool(rng.random() < 0.5)
        program = network.gradient_program(drawn.given, training)
        step = network.training_program(drawn.optimizer, drawn.given)
        tensors = [*dict.fromkeys(network.tensors.values())]
        adjoints = {t.name: g.name for t, g in zip(tensors, program.outputs[1:], strict=True)}
        redrawn, sizes = -1, {"N": 2 + seed % 3}
        while True:
            redrawn += 1
            assert redrawn < 200, f"no regular point for network {seed}"
            values = _values(network, drawn, dtype, sizes["N"], 1000 * seed + redrawn)
            if is_smooth(program, values, sizes):
                break
    return _referenced(
        Case(
            f"network {seed}", (drawn.family,), f"{drawn.network!r}, {drawn.optimizer}, {drawn.given}", dtype, program,
            adjoints, values, sizes, _directions(adjoints, values, seed), redrawn, step,
        ),
        Program(program.equations, program.outputs[:1], facts=program.facts).live(),
    )  # fmt: skip


def _values(network: Network, drawn: networks.DrawnNetwork, dtype: str, rows: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    update = network.update(drawn.optimizer, drawn.given)
    values: dict[str, Any] = {k.name: np.full([int(n) for n in k.shape], v) for k, v in update.states.items()}
    values |= dict(update.hyper)
    values |= sample_network(network, drawn.given, rows, seed)
    for tensor in network.tensors.values():
        shape = tuple(int(n) for n in tensor.shape)
        start = values[tensor.name] if np.shape(values[tensor.name]) == shape else 0.7 * rng.normal(size=shape)
        values[tensor.name] = start + rng.normal(size=shape) / 8  # (those of layers compiled as one are drawn as one)
    for name in drawn.masks:
        values[network.inputs[name].name] = (rng.random(values[network.inputs[name].name].shape) < 0.7) * 1.0
    return rounded(values, dtype)


def rounded(values: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """The arrays in numbers that the dtype has."""
    real = np.dtype(dtype)

    def change(value: Any) -> Any:
        is_array = hasattr(value, "dtype") and value.dtype.kind == "f"
        return value.astype(real).astype(np.float64) if is_array else value

    return {name: change(value) for name, value in values.items()}


def _directions(adjoints: Mapping[str, str], values: Mapping[str, Any], seed: int) -> tuple[dict[str, Any], ...]:
    """One through all elements, and ELEMENTS along one."""
    rng = np.random.default_rng((seed, 7))
    elements = [(name, e) for name in adjoints for e in np.ndindex(np.shape(values[name]))]
    found: list[dict[str, Any]] = [{name: rng.uniform(-1, 1, np.shape(values[name])) for name in adjoints}]
    for k in rng.permutation(len(elements))[:ELEMENTS]:
        name, element = elements[k]
        single = np.zeros(np.shape(values[name]))
        single[element] = 1
        found.append({name: single})
    return tuple(found)


def _referenced(drawn: Case, forward: Program) -> Case:
    output = drawn.program.outputs[0]
    with uniform_in(drawn.dtype):
        references = tuple(complex_step(forward, output, drawn.values, d, drawn.sizes) for d in drawn.directions)
        return replace(drawn, references=references, scales=scales(drawn.program, drawn.values, drawn.sizes))
