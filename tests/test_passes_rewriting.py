"""The walk under the passes: what it visits, what it puts together again, in which order."""

from __future__ import annotations

import itertools

import sympy as sp
from sympy import Piecewise

from compiler.functions import logistic
from compiler.passes.definitions import binding, covers, is_alone, is_map, is_outside, is_whole
from compiler.passes.rewriting import (
    equation_reads,
    free_name,
    in_dependence_order,
    live,
    names,
    nodes,
    operations,
    piecewise,
    replace,
    rewrite,
    rewrite_equation,
)
from compiler.passes.share import _Scalars
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


def test_a_number_compared_with_itself_is_not_decided_since_it_may_be_nan() -> None:
    assert replace(y[0] >= y[1], {y[1]: y[0]}) == sp.Ge(y[0], y[0], evaluate=False)


def test_pieces_that_cannot_be_reached_go() -> None:
    condition, other = y[0] > 0, y[1] > 0
    assert piecewise([(y[0], sp.false), (y[1], condition), (y[2], sp.true), (y[3], other)]) == Piecewise(
        (y[1], condition), (y[2], True)
    )
    assert piecewise([(y[0], condition), (y[1], other), (y[1], sp.true)]) == Piecewise((y[0], condition), (y[1], True))
    assert piecewise([(y[1], condition), (y[1], other), (y[1], sp.true)]) == y[1]
    assert len(piecewise([(y[1], condition)]).args) == 1 and piecewise([(y[1], sp.true)]) == y[1]
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
    assert operations(logistic(y[0]) + y[0] ** y[1] + y[2] ** sp.Rational(1, 3)) == (2, 3)
    assert operations(sp.sqrt(y[0]) * y[1] ** 3 * y[2] ** -2) == (5, 0)
    assert operations(sp.And(y[0] > 0, y[1] > 0, y[2] > 0)) == (5, 0)
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


def test_a_name_in_use_gets_a_number() -> None:
    taken = {"a", "a_2"}
    assert [free_name(name, taken) for name in ("b", "a", "a", "b")] == ["b", "a_3", "a_4", "b_2"]
    p, new = Tensor("p", (4,), "parameter"), Tensor("p_next", (4,))
    index = Tensor("index", (4,), "input", "integer")
    scattered = Equation(z[index[i]], (i,), y[i], "sum", x[i, i] > 0)
    dead = Equation(Tensor("dead")[()], (), sp.Integer(1))
    assert names(Program([scattered, dead], (z,), ((p, new),))) == {"p", "p_next", "index", "z", "x", "y", "dead"}


def test_a_rule_is_applied_to_expression_and_condition_and_to_the_left_side_if_asked() -> None:
    rule = {x[i, i]: y[i], y[0]: y[1]}
    label = Tensor("label", (4,), "input", "integer")
    equation = Equation(z[label[i]], (i,), x[i, i] + 1, "max", x[i, i] > 2)
    swapped = {**rule, label[i]: label[0]}
    assert rewrite_equation(equation, None, dict(swapped)) == Equation(
        z[label[i]], (i,), y[i] + 1, "max", sp.Gt(y[i], 2)
    )
    assert rewrite_equation(equation, None, dict(swapped), left=True).lhs == z[label[0]]
    assert rewrite_equation(equation, None, {}, left=True) == equation
    assert equation_reads(equation) == [x[i, i], label[i]]


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
    label = Tensor("label", (4,), "input", "integer")
    assert is_outside(x[i, 4]) and is_outside(x[-1, j])
    assert not any(map(is_outside, (y[label[i] - 5], y[label[i] + 4], y[i * j - 20], x[i, label[j] + 9])))
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


def test_what_stands_in_many_places_is_visited_once() -> None:
    """Twice as many places at each of 60 levels."""
    found: sp.Basic = sp.exp(y[0])
    for _ in range(60):
        found = sp.Basic(found, found)
    assert len(nodes(found)) == 60 + len(nodes(sp.exp(y[0])))
    assert list(_Scalars(Program((), ()))._outermost(found).values()) == [sp.exp(y[0])]


def test_a_comparison_of_a_choice_compares_each_of_its_values() -> None:
    u, v = sp.Symbol("u", real=True), sp.Symbol("v", real=True)
    inner = sp.Piecewise((v**2, u > 1), (u, u > -1), (sp.Rational(1, 3), True))
    outer = sp.Piecewise((2 * u, v > 0), (v - inner, True), evaluate=False)
    condition = sp.And(sp.Le(1 - outer, 0, evaluate=False), sp.Ne(u, v))
    made = piecewise([(u, condition), (v, sp.true)])
    found = made.args[0][1]
    assert not any(isinstance(n, sp.Piecewise | sp.ITE) for n in nodes(found))
    assert not any(n.is_Relational and not n.free_symbols for n in nodes(found))  # 1/3 <= 0 is decided
    for a, b in itertools.product((-2.5, -0.5, 0.25, 1.5, 3.0), repeat=2):
        first = b**2 if a > 1 else a if a > -1 else 1 / 3
        chosen = 1 - (2 * a if b > 0 else b - first) <= 0 and a != b
        assert made.subs({u: a, v: b}) == (a if chosen else b), (a, b)
