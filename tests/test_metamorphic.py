"""What must hold between gradients, whatever they are: no reference is needed, at any size, in the code as compiled.

    loss * 2^k             gradients * 2^k, bit for bit
    a batch                the mean of the gradients of its samples
    permuted hidden units  permuted gradients
    inserted identities    the same gradients

each to 1e-13 of G, of random programs and networks (programs.py, networks.py), interpreted and compiled.

    python -m tests.test_metamorphic --interpreted 500 --compiled 60 --seed 1000
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import sympy as sp
from sympy import Expr

from compiler.calling import call, interpret
from compiler.executable import compile_program
from compiler.graph import in_order
from compiler.program import Access, Equation, Index, Program, Tensor
from symnet import Network, dense
from symnet.declare.constructors import (
    attention,
    conv1d,
    dropout,
    elman,
    embedding,
    equations,
    flatten,
    gru,
    layer_norm,
    lstm,
    maxout,
    rms_norm,
    transformer,
)
from symnet.declare.graph_constructors import graph_conv, message_passing
from symnet.look.sampling import sample
from symnet.oracle.scales import scales

from . import networks
from .cases import case
from .tolerance import gradient_program, judge

TOLERANCE = 1e-13
INTERPRETED, COMPILED = 8, 2


def run(program: Program, values: Mapping[str, Any], sizes: Mapping[str, int], compiled: bool) -> dict[str, Any]:
    if not compiled:
        return interpret(program, values, sizes, plain=False)
    return call(compile_program(program, "float64", None, sizes), values, sizes)


@dataclass(frozen=True)
class Function:
    """A rank-0 tensor of a program, and the parameters that it is differentiated by."""

    equations: tuple[Equation, ...]
    output: Tensor
    wrt: tuple[Tensor, ...]
    values: Mapping[str, Any]
    sizes: Mapping[str, int]

    def gradients(self, compiled: bool, **more: Any) -> dict[str, Any]:
        program = gradient_program(self.equations, self.output, self.wrt)
        found = run(program, {**self.values, **more}, self.sizes, compiled)
        return {t.name: found[a.name] for t, a in zip(self.wrt, program.outputs[1:], strict=True)}

    def scales(self) -> dict[str, Any]:
        program = gradient_program(self.equations, self.output, self.wrt)
        found = scales(program, self.values, self.sizes)
        return {t.name: found[a.name] for t, a in zip(self.wrt, program.outputs[1:], strict=True)}


def function(seed: int) -> Function:
    """A network, or a program of the language, by turns."""
    drawn = case(f"{('network', 'program')[seed % 2]} {seed // 2}")
    forward = Program(drawn.program.equations, drawn.program.outputs[:1]).live()
    wrt = tuple(t for t in drawn.program.tensors if t.name in drawn.adjoints)
    return Function(forward.equations, drawn.program.outputs[0], wrt, drawn.values, drawn.sizes)


# ---------------------------------------------------------------------------------------------- scaling
def check_scaling(seed: int, compiled: bool) -> None:
    given = function(seed)
    factor, scaled = Tensor("factor", (), "hyper"), Tensor("scaled")
    more = Equation(Access(scaled), (), Access(factor) * Access(given.output))
    bigger = Function((*given.equations, more), scaled, given.wrt, given.values, given.sizes)
    once = bigger.gradients(compiled, factor=1.0)
    for power in (3, -5):
        for name, found in bigger.gradients(compiled, factor=2.0**power).items():
            assert np.array_equal(found, 2.0**power * once[name]), f"{name} of loss * 2^{power}"


# ---------------------------------------------------------------------------------------------- batches
def check_batch(seed: int, compiled: bool) -> None:
    """Of the network as it predicts: dropout draws by the number of the sample, batch norm reads all of them."""
    drawn = networks.drawn(seed)
    network, rows = drawn.network, 4
    values = sample(network, drawn.given, rows, seed)
    program = network.gradient_program(drawn.given, training=False)
    of_samples = [t for t in program.tensors if t.role in ("input", "target") and str(t.shape[0]) == "N"]
    whole = run(program, values, {"N": rows}, compiled)
    single: dict[str, list[Any]] = {t.name: [] for t in program.outputs}
    for row in range(rows):
        part = {**values, **{t.name: values[t.name][row : row + 1] for t in of_samples}}
        for name, found in run(program, part, {"N": 1}, compiled).items():
            if name in single:
                single[name].append(found)
    scale = scales(program, values, {"N": rows})
    for name, parts in single.items():
        judge(f"{name} of a batch", whole[name], np.mean(parts, axis=0), scale[name], TOLERANCE)


# ---------------------------------------------------------------------------------------------- permutations
FORMULA = ["z[n,i] = sum(W[i,j]*x[n,j], j) + b[i]", "h[n,i] = z[n,i]/sqrt(1 + z[n,i]**2)"]
GRAPH = {"A": {"edges": [[0, 1], [1, 2], [2, 0], [1, 3]], "nodes": 4}}
WIDE = 17  # hidden units: more than a vector holds


def _permuted(kind: str) -> tuple[Network, dict[str, tuple[int, ...]], int]:
    """A network, the axes of its parameters that belong to its hidden units, and how many there are."""
    layer = {"h.W": (0,), "h.b": (0,), "o.W": (1,)}
    out = dense(3, name="o")
    match kind:
        case "dense":
            return Network(5, [dense(WIDE, networks.learned("prelu"), name="h"), out]), {**layer, "h.gamma": (0,)}, WIDE
        case "normed":
            layers = [dense(6, "tanh", name="h"), layer_norm(name="m"), rms_norm(name="r"), out]
            return Network(4, layers, "huber"), {**layer, "m.gamma": (0,), "m.beta": (0,), "r.gamma": (0,)}, 6
        case "maxout":
            return Network(4, [maxout(7, 3, name="h"), out], "softmax_cross_entropy"), layer, 7
        case "equations":
            text = equations(FORMULA, parameters={"W": ["i", "j"], "b": ["i"]}, sizes={"i": 9}, name="h")
            return Network(4, [text, out], "poisson"), layer, 9
        case "channels":
            layers = [conv1d(WIDE, 3, "tanh", name="h"), conv1d(2, 2, name="o"), flatten()]
            return Network([8, 2], layers), {"h.W": (0,), "h.b": (0,), "o.W": (2,)}, WIDE
        case "elman":
            layers = [elman(WIDE, returns="all", name="h"), out]
            return Network([6, 4], layers, "softmax_cross_entropy"), {**layer, "h.U": (0, 1)}, WIDE
        case "gru":
            axes = {"h.W": (1,), "h.U": (1, 2), "h.b": (1,), "h.c": (0,), "o.W": (1,)}
            return Network([5, 3], [gru(6, returns="all", direction="backward", name="h"), out]), axes, 6
        case "lstm":
            axes = {"h.W": (1,), "h.U": (1, 2), "h.b": (1,), "o.W": (1,)}
            return Network([5, 3], [lstm(8, name="h"), out], "softmax_cross_entropy"), axes, 8
        case "embedding":
            axes = {"h.E": (1,), "o.W": (1,)}
            return Network({"shape": [4], "below": 5}, [embedding(5, 9, name="h"), out]), axes, 9
        case "transformer":
            layers = [transformer(2, hidden=10, causal=True, name="h"), out]
            return Network([4, 6], layers), {"h.W1": (0,), "h.b1": (0,), "h.W2": (1,)}, 10
        case "values":  # of attention of one head
            axes = {"h.Wv": (1,), "h.bv": (1,), "h.Wo": (2,)}
            return Network([5, 6], [attention(1, name="h"), out]), axes, 6
        case "nodes":
            layers = [graph_conv(7, "tanh", graph="A", name="h"), out]
            return Network([4, 5], layers, "softmax_cross_entropy", constants=GRAPH), layer, 7
        case "messages":
            layers = [message_passing(5, "mean", graph="A", message=6, message_activation="tanh", name="h"), out]
            return Network([4, 3], layers, constants=GRAPH), {"h.M": (0,), "h.c": (0,), "h.U": (1,)}, 6
        case "repeated":
            axes = {"h.W": (1, 2), "h.b": (1,), "o.W": (1,), "x": (1,)}
            return Network(6, [dense(6, "tanh", name="h", repeat=4), out]), axes, 6
    assert kind == "dropped", kind
    layers = [dense(8, "elu", name="h"), dropout(0.3), out]
    return Network(4, layers, "absolute_error"), layer, 8


PERMUTED = (
    "dense", "normed", "maxout", "equations", "channels", "elman", "gru", "lstm", "embedding", "transformer", "values",
    "nodes", "messages", "repeated", "dropped",
)  # fmt: skip


def check_permutation(kind: str, seed: int, compiled: bool) -> None:
    network, axes, count = _permuted(kind)
    order = np.random.default_rng(seed).permutation(count)
    program = network.gradient_program(training=False)
    values = sample(network, network.given(), 5, seed)
    names = {name: tensor.name for name, tensor in network.tensors.items()} | {"x": "x"}

    def permuted(name: str, array: Any) -> Any:
        for axis in axes.get(name, ()):
            assert array.shape[axis] == count, (name, array.shape)
            array = np.take(array, order, axis)
        return array

    changed = {**values, **{tensor: permuted(name, values[tensor]) for name, tensor in names.items()}}
    one, two = (run(program, given, {"N": 5}, compiled) for given in (values, changed))
    scale = scales(program, values, {"N": 5})
    judge("R", two["R"], one["R"], scale["R"], TOLERANCE)
    for name, adjoint in network.gradients(training=False).by_name.items():
        expected, of = permuted(name, one[adjoint.name]), permuted(name, scale[adjoint.name])
        judge(f"{name} of permuted units", two[adjoint.name], expected, of, TOLERANCE)


# ---------------------------------------------------------------------------------------------- identities
def _copied(read: Access, new: Tensor, form: int) -> tuple[list[Equation], Callable[[Expr], Expr]]:
    """Equations that give `new` the values of a tensor, and what stands for one of its elements then."""
    own = tuple(Index(letter, extent) for letter, extent in zip("ijklmn", new.shape, strict=False))
    there, here = Access(read.tensor, *own), Access(new, *own)
    match form:
        case 0:
            return [Equation(here, own, there)], lambda e: e
        case 1:
            return [Equation(here, own, -there)], lambda e: -e
        case 2:  # in two halves
            return [Equation(here, own, there / 2), Equation(here, own, there / 2)], lambda e: e
        case 3 if own:  # the sum over all, where they are the same
            other = Index("q", own[0].extent)
            rhs = Access(read.tensor, other, *own[1:])
            return [Equation(here, (*own, other), rhs, "sum", sp.Eq(other, own[0]))], lambda e: e
        case _:  # the largest of one
            one = Index("q", 1)
            return [Equation(here, (*own, one), there, "max")], lambda e: e


def with_identities(given: Function, seed: int) -> Function:
    """Some tensors are read through an identity, by some of the equations."""
    rng = np.random.default_rng(seed)
    made: dict[Tensor, Tensor] = {}
    forms: dict[Tensor, Callable[[Expr], Expr]] = {}
    added: list[Equation] = []
    result: list[Equation] = []
    for equation in given.equations:
        new: dict[Expr, Expr] = {}
        for read in sorted(equation.rhs.atoms(Access), key=str):
            tensor = read.tensor
            if tensor.kind != "real" or tensor.sparse or tensor.role == "hyper" or rng.random() < 0.5:
                continue
            if tensor not in made:
                made[tensor] = Tensor(f"same{len(made)}", tensor.shape)
                copies, forms[tensor] = _copied(read, made[tensor], int(rng.integers(5)))
                added += copies
            new[read] = forms[tensor](Access(made[tensor], *read.subscripts))
        result.append(replace(equation, rhs=equation.rhs.xreplace(new)))
    return Function(in_order([*result, *added]), given.output, given.wrt, given.values, given.sizes)


def check_identities(seed: int, compiled: bool) -> None:
    given = function(seed)
    scale, expected = given.scales(), given.gradients(compiled)
    for name, found in with_identities(given, seed).gradients(compiled).items():
        judge(f"{name} behind identities", found, expected[name], scale[name], TOLERANCE)


# ---------------------------------------------------------------------------------------------- a few of each
@pytest.mark.parametrize("seed", range(INTERPRETED))
def test_scaling_the_loss_by_a_power_of_two_scales_gradients_bit_for_bit(seed: int) -> None:
    check_scaling(seed, compiled=seed < COMPILED)


@pytest.mark.parametrize("seed", range(len(networks.FAMILIES)))
def test_the_gradient_of_a_batch_is_the_mean_of_those_of_its_samples(seed: int) -> None:
    check_batch(seed, compiled=seed < COMPILED)


@pytest.mark.parametrize("kind", PERMUTED)
def test_permuted_hidden_units_have_permuted_gradients(kind: str) -> None:
    check_permutation(kind, 0, compiled=kind in PERMUTED[:COMPILED])


@pytest.mark.parametrize("seed", range(INTERPRETED))
def test_inserted_identities_change_no_gradient(seed: int) -> None:
    check_identities(seed, compiled=seed < COMPILED)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.test_metamorphic", description="more of each")
    parser.add_argument("--interpreted", type=int, default=500, help="draws for each relation (default 500)")
    parser.add_argument("--compiled", type=int, default=60, help="how many of them are compiled instead (default 60)")
    parser.add_argument("--seed", type=int, default=1000, help="of the first")
    parser.add_argument(
        "--relations", nargs="*", metavar="NAME", help="these alone: scaling batches permutations identities"
    )
    options = parser.parse_args(arguments)
    relations: dict[str, Callable[[int, bool], None]] = {
        "scaling": check_scaling,
        "batches": check_batch,
        "permutations": lambda seed, compiled: check_permutation(PERMUTED[seed % len(PERMUTED)], seed, compiled),
        "identities": check_identities,
    }
    failed = 0
    for name in options.relations or relations:
        check = relations[name]
        start, wrong = time.perf_counter(), 0
        for k in range(options.interpreted):
            seed = options.seed + k
            try:
                check(seed, k < options.compiled)
            except Exception as error:
                wrong += 1
                said = " ".join(str(error).split())[:300]
                print(f"FAILED {name}, seed {seed}, compiled: {k < options.compiled}: {said}")
        print(
            f"| {name} | {options.interpreted - options.compiled} interpreted, {options.compiled} compiled | "
            f"{wrong} failures | {time.perf_counter() - start:.0f} s |", flush=True,
        )  # fmt: skip
        failed += wrong
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
