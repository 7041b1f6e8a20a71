"""The walk under the passes: what it visits, what it puts together again, in which order."""

from __future__ import annotations

import sympy as sp
from sympy import Piecewise

from compiler.functions import logistic
from compiler.passes.definitions import binding, covers, is_alone, is_map, is_outside, is_whole
from compiler.passes.rewriting import in_dependence_order, live, nodes, operations, piecewise, replace, rewrite
from compiler.program import Equation, Index, Program, Tensor, size

i, j, k = Index("i", 4), Index("j", 4), Index("k", 3, 1)
N = size("N")
x, y, z = Tensor("x", (4, 4), "input"), Tensor("y", (4,), "input"), Tensor("z", (4,))


def test_replacing_indices_at_once_does_not_replace_what_was_put_in() -> None:
    assert replace(x[i, j] * y[j], {i: j, j: i}) == x[j, i] * y[i]


def test_a_comparison_of_integers_is_decided_and_one_of_reals_is_left_alone() -> None:
    pieces = Piecewise((y[0], i <= 0), (x[i, j], x[i, j] > y[i]), (1, True))
    assert replace(pieces, {i: sp.Integer(0)}) == y[0]
    assert replace(pieces, {i: sp.Integer(2)}) == Piecewise((x[2, j], x[2, j] > y[2]), (1, True))


def test_pieces_that_cannot_be_reached_go() -> None:
    condition, other = y[0] > 0, y[1] > 0
    assert piecewise([(y[0], sp.false), (y[1], condition), (y[2], sp.true), (y[3], other)]) == Piecewise(
        (y[1], condition), (y[2], True)
    )
    assert piecewise([(y[0], condition), (y[1], other), (y[1], sp.true)]) == Piecewise((y[0], condition), (y[1], True))
    assert piecewise([(y[1], condition), (y[1], other), (y[1], sp.true)]) == y[1]
    assert len(piecewise([(y[1], condition), (y[1], other)]).args) == 2  # without a last piece they are not everything


def test_a_deep_expression_does_not_exhaust_the_stack() -> None:
    deep, factor = y[0], y[1]
    for _ in range(1000):
        deep = sp.Add(1, sp.Mul(deep, factor, evaluate=False), evaluate=False)
        hash(deep)  # SymPy's own hash is recursive, but remembers what is below
    assert len(nodes(deep)) > 2000
    assert rewrite(deep, lambda node: node, {}) is deep


def test_operations_count_equal_parts_once() -> None:
    assert operations(y[0] * y[1] + y[0] * y[1] * y[2]) == (4, 0)
    assert operations(logistic(y[0]) + logistic(y[0]) * y[1]) == (2, 1)
    assert operations(1 / sp.sqrt(y[0]) + y[0] ** y[1]) == (2, 1)
    assert operations(Piecewise((0, y[0] <= 0), (y[1] * y[2], True))) == (2, 0)


def test_definitions_come_before_their_readers_and_cycles_keep_their_order() -> None:
    t, h, p, out = Index("t", 3), Tensor("h", (4,)), Tensor("p", (4,)), Tensor("out", (4,))
    read = Equation(out[i], (i,), h[i] * z[i])
    cycle = [Equation(h[0], (), y[0]), Equation(p[t], (t,), h[t]), Equation(h[t + 1], (t,), p[t] * z[t])]
    other = Equation(z[i], (i,), y[i])
    ordered = in_dependence_order([read, *cycle, other])
    assert [e for e in ordered if e in cycle] == cycle and ordered[-1] == read
    assert ordered.index(other) < ordered.index(cycle[-1])
    assert in_dependence_order([other, *cycle, read]) == (other, *cycle, read)


def test_only_what_is_needed_is_live() -> None:
    used, dead = Equation(z[i], (i,), y[i]), Equation(Tensor("dead", (4,))[i], (i,), z[i])
    assert live(Program([used, dead], (z,))).equations == (used,)
    whole = Program([used, dead], (z, dead.tensor))
    assert live(whole) is whole


def test_a_subscript_is_covered_only_if_it_provably_stays_in_the_range() -> None:
    label = Tensor("label", (4,), "input", "integer")
    assert covers(i, j) and covers(i, k) and covers(i, sp.Integer(3)) and covers(i, 3 - j) and covers(i, k + 1)
    for subscript in (i + 1, sp.Integer(4), sp.Integer(-1), k + 2, 2 * k, -j, label[i], Index("n", N)):
        assert not covers(i, subscript), subscript
    assert covers(Index("n", N), Index("m", N)) and not covers(k, i)


def test_an_access_is_outside_only_if_it_provably_is() -> None:
    assert is_outside(y[4]) and is_outside(y[-1]) and is_outside(y[i + 4]) and is_outside(y[-1 - j])
    assert not any(map(is_outside, (y[3], y[i + 1], y[i - 1], y[i], y[k - 4 + 2])))


def test_a_map_writes_each_element_once() -> None:
    for equation in (Equation(z[i], (i,), y[i]), Equation(x[j, i], (i, j), y[i]), Equation(z[0], (), y[0])):
        assert is_map(equation), equation
    for equation in (
        Equation(z[i], (i, j), x[i, j]),
        Equation(x[i, i], (i,), y[i]),
        Equation(z[2 * i], (i,), y[i]),
        Equation(z[i], (i,), y[i], "sum", i > 1),
        Equation(z[i], (i,), y[i], "max"),
    ):
        assert not is_map(equation), equation
    assert is_whole(Equation(x[j, i], (i, j), y[i]))
    assert not is_whole(Equation(x[i, i], (i,), y[i])) and not is_whole(Equation(z[k], (k,), y[k]))


def test_an_equation_is_alone_where_the_others_write_other_elements() -> None:
    first, rest, all_ = Equation(z[0], (), y[0]), Equation(z[k], (k,), y[k]), Equation(z[i], (i,), y[i])
    assert is_alone(Program([first, rest], (z,)), rest)
    assert not is_alone(Program([first, all_], (z,)), all_)


def test_a_read_is_bound_to_the_element_that_the_definition_writes() -> None:
    t = Index("t", 3)
    assert binding(z[t + 1], z[k]) == {t: k - 1}
    assert binding(z[t + 1], z[i]) is None  # z[0] is another equation's
    assert binding(z[t + 1], z[i], anywhere=True) == {t: i - 1}
    assert binding(x[i, 0], x[j, 0]) == {i: j} and binding(x[i, 0], x[j, 1]) is None
    assert binding(x[i, i], x[j, j]) is None
