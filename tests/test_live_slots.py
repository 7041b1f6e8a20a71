"""Slots of recurrences: none is made that nobody reads, and one place is enough where each is read before the next."""

from __future__ import annotations

import numpy as np
import pytest

import symnet as sn
from compiler.calling import call, interpret
from compiler.executable import compile_program, generate
from compiler.layout import Layout
from compiler.live_slots import drop_unread, single_slots
from compiler.lower import lower
from compiler.nest import Loop, effects
from compiler.prepare import prepare
from compiler.program import Access, Equation, Index, Program, Tensor, affine
from symnet.declare.spec import checked_optimizer

N, T = Index("n", 3), 5
X, W, Y = Tensor("x", (3,), "input"), Tensor("w", (3, 3), "input"), Tensor("y", (T, 3))


def recurrence(read_all: bool) -> Program:
    """a[0,n] = x[n], b[t,n] = sum_m w[n,m] a[t,m], a[t+1,n] = b[t,n]^2; of a the last slot is read, or all of them."""
    a, b, t, m = Tensor("a", (T, 3)), Tensor("b", (T - 1, 3)), Index("t", T - 1), Index("m", 3)
    every = Index("s", T)
    equations = [
        Equation(Access(a, 0, N), (N,), Access(X, N)),
        Equation(Access(b, t, N), (t, N, m), Access(W, N, m) * Access(a, t, m)),
        Equation(Access(a, t + 1, N), (t, N), Access(b, t, N) ** 2),
        Equation(Access(Y, every, N), (every, N), 2 * Access(a, T - 1 - every if read_all else T - 1, N)),
    ]
    return Program(equations, outputs=(Y,))


def by_hand(x: np.ndarray, w: np.ndarray, read_all: bool) -> np.ndarray:
    slots = [x]
    for _ in range(T - 1):
        slots.append((w @ slots[-1]) ** 2)
    return 2 * np.array(slots[::-1] if read_all else [slots[-1]] * T)


@pytest.mark.parametrize("read_all", [False, True])
def test_one_place_holds_all_slots_where_each_is_read_before_the_next_is_made(read_all: bool) -> None:
    program = prepare(recurrence(read_all))
    tree = lower(program)
    assert single_slots(tree.body, tree.layout, set(program.roots)) == ({"b"} if read_all else {"a", "b"})
    asked = {t for t in program.tensors if t.name == "b"}
    assert "b" not in single_slots(tree.body, tree.layout, {*program.roots, *asked})
    layout = Layout(single={"a"})
    assert layout.elements(Tensor("a", (T, 3))) == 3 and layout.strides(Tensor("a", (T, 3))) == (0, 1)


@pytest.mark.parametrize("read_all", [False, True])
def test_the_values_are_the_same(read_all: bool) -> None:
    program = recurrence(read_all)
    values = {"x": np.array([0.5, -0.25, 0.1]), "w": np.random.default_rng(0).normal(size=(3, 3))}
    for found in (interpret(program, values, {}), call(compile_program(program, "float64"), values, {})):
        np.testing.assert_allclose(found["y"], by_hand(**values, read_all=read_all), rtol=1e-13)


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("slot", range(T))
def test_one_place_is_enough_only_if_what_is_read_behind_the_loop_was_made_last(slot: int, ahead: bool) -> None:
    *made, _ = recurrence(read_all=False).equations
    a, b, c, t = made[0].tensor, made[1].tensor, Tensor("c", (T - 1, 3)), Index("t", T - 1)
    if ahead:  # a third one in each step, so that a[t+1] is made in the step of b[t]
        made[2:] = [
            Equation(Access(c, t, N), (t, N), 3 * Access(b, t, N)),
            Equation(Access(a, t + 1, N), (t, N), Access(b, t, N) * Access(c, t, N)),
        ]
    y = Tensor("y", (3,))
    tree = lower(Program((*made, Equation(Access(y, N), (N,), Access(a, slot, N))), outputs=(y,)))
    loops = [node for node in tree.body if isinstance(node, Loop) and not node.parallel]
    made_at = [affine(access.subscripts[0]) for loop in loops for access in effects(loop, tree.layout)[1][a]]
    assert all(at is not None and at.constant == int(ahead) for at in made_at) and len(made_at) == (slot > 0)
    assert ("a" in single_slots(tree.body, tree.layout, {y})) == (slot == T - 1)


def test_a_slot_that_nobody_reads_is_not_made() -> None:
    """The gradient of the input of a stack of layers: slot 0 of what flows back."""
    d, w, t = Tensor("d", (T, 3)), Tensor("w", (T - 1, 3), "input"), Index("t", T - 1)
    summed = Tensor("s", (T - 1, 3))
    equations = [
        Equation(Access(d, T - 1, N), (N,), Access(X, N)),
        Equation(Access(d, t, N), (t, N), Access(d, t + 1, N) * Access(w, t, N)),
        Equation(Access(summed, t, N), (t, N), Access(d, t + 1, N)),
    ]
    program = Program(equations, outputs=(summed,))
    [shorter] = [tensor for tensor in drop_unread(program).tensors if tensor.name == "d"]
    assert shorter.shape == (T - 1, 3)
    assert drop_unread(given_out := Program(equations, outputs=(summed, d))) == given_out
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=3), rng.normal(size=(T - 1, 3))
    expected = [x]
    for step in range(T - 2, 0, -1):
        expected.insert(0, expected[0] * weights[step])
    found = call(compile_program(program, "float64"), {"x": x, "w": weights}, {})
    np.testing.assert_allclose(found["s"], expected, rtol=1e-15)


def test_what_flows_back_through_equal_layers_takes_the_place_of_one_and_is_stored_not_added() -> None:
    layers = [sn.dense(16, "swish") for _ in range(10)]
    network = sn.Network(16, layers, "squared_error").rolled(checked_optimizer("sgd", ""))
    text, _, tree, _ = generate(network.training_program("sgd"), "float32", None, {"N": 64})
    assert tree.layout.single == {"d_h1"}
    assert "h1[t + 1,n,i]" in text and "+= " not in text.partition("loss[]")[0]
