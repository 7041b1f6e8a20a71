"""Claims about formulas: they read as in a textbook, say what the equations say, and evaluate to the same values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from itertools import product
from typing import Any

import numpy as np
import pytest
import sympy as sp
from sympy import Piecewise

from compiler.functions import logistic
from compiler.program import Access, Equation, Index, Program, Tensor, outer_accesses, position, size
from symnet.declare.constructors import equations
from symnet.declare.spec import dense
from symnet.errors import SymnetError
from symnet.network import Network
from symnet.notation.alignment import aligned, letters
from symnet.notation.nodes import (
    ONES,
    Call,
    Element,
    Fraction,
    Group,
    Hadamard,
    Iverson,
    Logic,
    Name,
    Node,
    Norm,
    Number,
    Over,
    Power,
    Product,
    Relation,
    Sum,
    Transpose,
    names,
)
from symnet.notation.pages import formulas, known, latex_lines, reached, readable, show, unicode_lines
from symnet.notation.reduction import Reduction
from symnet.notation.scalar import NoMatrixForm
from symnet.notation.textbook import Book
from symnet.notation.typeset import unicode
from symnet.oracle.reference import evaluate

from .programs import sample
from .tolerance import gradient_program


def digits() -> Network:
    layers = [dense(64, activation="relu", name="hidden1"), dense(10, name="out")]
    return Network(64, layers, "softmax_cross_entropy", 1e-4)


def xor() -> Network:
    return Network(2, [dense(2, activation="tanh"), dense(1)], "squared_error")


DIGITS = """\
Network(64 -> hidden1: dense 64 relu, out: dense 10; softmax_cross_entropy, l2=0.0001; 4810 parameters)

Forward, for one sample: column vectors
    z1 = W1 x + b1
    a1 = max(0, z1)
    z2 = W2 a1 + b2
    ℓ = logsumexp(z2) - z2[y]
    R = (1/N) Σ ℓ + (λ/2) (‖W1‖² + ‖W2‖²)

Backward, δ = ∂ℓ/∂z of one sample
    δ2 = softmax(z2) - onehot(y)
    δ1 = [z1 > 0] ⊙ W2ᵀ δ2

Gradients, Σ over the N samples of a batch; each has the shape of its parameter
    hidden1.W   ∂R/∂W1 = (1/N) Σ δ1 xᵀ + λ W1
    hidden1.b   ∂R/∂b1 = (1/N) Σ δ1
    out.W       ∂R/∂W2 = (1/N) Σ δ2 a1ᵀ + λ W2
    out.b       ∂R/∂b2 = (1/N) Σ δ2"""

XOR = """\
Network(2 -> dense1: dense 2 tanh, dense2: dense 1; squared_error; 9 parameters)

Forward, for one sample: column vectors
    z1 = W1 x + b1
    a1 = tanh(z1)
    z2 = W2 a1 + b2
    ℓ = ‖z2 - y‖²
    R = (1/N) Σ ℓ

Backward, δ = ∂ℓ/∂z of one sample
    δ2 = 2 (z2 - y)
    δ1 = (1 - a1²) ⊙ W2ᵀ δ2

Gradients, Σ over the N samples of a batch; each has the shape of its parameter
    dense1.W   ∂R/∂W1 = (1/N) Σ δ1 xᵀ
    dense1.b   ∂R/∂b1 = (1/N) Σ δ1
    dense2.W   ∂R/∂W2 = (1/N) Σ δ2 a1ᵀ
    dense2.b   ∂R/∂b2 = (1/N) Σ δ2"""


# ---------------------------------------------------------------------------------------------- how it reads
def test_the_digits_network_reads_as_in_a_textbook() -> None:
    assert show(digits()) == DIGITS


def test_the_xor_network_reads_as_in_a_textbook() -> None:
    assert show(xor()) == XOR


def test_targets_that_are_distributions_give_softmax_minus_y() -> None:
    found = show(digits(), "distribution")
    assert "δ2 = softmax(z2) - y" in found
    assert "ℓ = yᵀ (logsumexp(z2) - z2)" in found


def test_a_gradient_prints_the_deltas_that_it_needs() -> None:
    assert str(digits().gradient("hidden1.W")).splitlines() == [
        "δ2 = softmax(z2) - onehot(y)",
        "δ1 = [z1 > 0] ⊙ W2ᵀ δ2",
        "∂R/∂W1 = (1/N) Σ δ1 xᵀ + λ W1",
    ]
    assert str(digits().gradient("out.b")).splitlines() == [
        "δ2 = softmax(z2) - onehot(y)",
        "∂R/∂b2 = (1/N) Σ δ2",
    ]


def test_latex_says_the_same() -> None:
    found = digits().gradient("hidden1.W").latex().splitlines()
    assert found[0] == r"\begin{aligned}"
    assert found[1] == (r"\delta^{(2)} &= \mathrm{softmax}\left(z^{(2)}\right) - \mathrm{onehot}(y) \\")
    assert found[2] == (
        r"\delta^{(1)} &= \left[ z^{(1)} > 0 \right] \odot \left(W^{(2)}\right)^{\top} \, \delta^{(2)} \\"
    )
    assert found[3] == (
        r"\frac{\partial R}{\partial W^{(1)}} &= \frac{1}{N} \, \sum_{n=1}^{N} \delta^{(1)} \, x^{\top}"
        r" + \lambda \, W^{(1)}"
    )
    assert found[4] == r"\end{aligned}"
    assert digits().gradient("out.b")._repr_latex_().startswith(r"$\displaystyle \begin{aligned}")


DERIVATIVES = {
    "relu": "[z1 > 0]",
    "tanh": "(1 - a1²)",
    "logistic": "a1 ⊙ (1 - a1)",
    "softplus": "σ(z1)",
    "leaky_relu": "([z1 > 0] + (1/100) [z1 ≤ 0])",
    "prelu": "([z1 > 0] + [z1 ≤ 0] ⊙ γ1)",
    "elu": "([z1 > 0] + [z1 ≤ 0] ⊙ exp(z1))",
    "hard_tanh": "[-1 < z1 < 1]",
    "hard_logistic": "(1/4) [-2 < z1 < 2]",
    "abs": "sign(z1)",
    "selu": "(1.0507009873554805 [z1 > 0] + [z1 ≤ 0] ⊙ 1.7580993408473768 exp(z1))",
    "swish": "σ(z1) ⊙ (1 + z1 ⊙ (1 - σ(z1)))",
    "sine": "cos(z1)",
}


@pytest.mark.parametrize("activation", DERIVATIVES)
def test_the_derivative_of_an_activation_is_written_out(activation: str) -> None:
    network = Network(3, [dense(4, activation=activation), dense(2)], "squared_error")
    lines = str(network.gradient("dense1.b")).splitlines()
    assert f"δ1 = {DERIVATIVES[activation]} ⊙ W2ᵀ δ2" in lines


def test_without_an_activation_the_delta_passes_through() -> None:
    network = Network(3, [dense(4), dense(2)], "squared_error")
    assert str(network.gradient("dense1.b")).splitlines() == [
        "δ2 = z2 - y",
        "δ1 = W2ᵀ δ2",
        "∂R/∂b1 = (1/N) Σ δ1",
    ]


def test_an_absolute_value_and_its_slope_are_written_as_such() -> None:
    network = Network(4, [dense(3, activation="abs"), dense(2)], "absolute_error", l1=0.1)
    lines = show(network).splitlines()
    for line in (
        "    a1 = |z1|",
        "    ℓ = (1/2) ‖y - z2‖₁",
        "    R = (1/N) Σ ℓ + λ1 (‖W1‖₁ + ‖W2‖₁)",
        "    δ2 = (1/2) sign(z2 - y)",
        "    δ1 = sign(z1) ⊙ W2ᵀ δ2",
        "    dense1.W   ∂R/∂W1 = (1/N) Σ δ1 xᵀ + λ1 sign(W1)",
    ):
        assert line in lines
    assert r"\mathrm{sign}\left(W^{(1)}\right)" in network.gradient("dense1.W").latex()
    program = readable(network.gradient_program())
    assert check_by_reading(program, random_inputs(network, 3, "values"), 3) == len(program.definitions)


def test_a_function_of_three_pieces_is_written_with_disjoint_intervals() -> None:
    network = Network(4, [dense(2)], "huber")
    assert str(network.gradient("dense1.b")).splitlines()[0] == (
        "δ1 = (1/2) ([-1 ≤ y - z1 ≤ 1] ⊙ (z1 - y) + [y - z1 < -1] - [y - z1 > 1])"
    )
    assert "    a1 = max(-1, min(1, z1))" in show(Network(4, [dense(2, activation="hard_tanh")], "huber")).splitlines()


@pytest.mark.parametrize("target", ["labels", "distribution"])
def test_what_cancels_is_not_written(target: str) -> None:
    network = Network(4, [dense(3)], {"name": "softmax_cross_entropy", "label_smoothing": 0.1})
    program = readable(network.gradient_program(target))
    given = {**random_inputs(network, 3, target), "smoothing": np.array(0.1)}
    assert check_by_reading(program, given, 3, 3) == len(program.definitions)
    assert {
        "labels": "δ1 = smoothing onehot(y) + softmax(z1) - (smoothing/3) 𝟏 - onehot(y)",
        "distribution": "δ1 = (smoothing - 1) y + softmax(z1) - (smoothing/3) 𝟏",
    }[target] in unicode_lines(program)


def test_the_slope_of_a_learned_parameter_is_an_inner_product_with_the_adjoint() -> None:
    swish = {"formula": "x*logistic(beta*x)", "parameters": {"beta": 1.0}}
    network = Network(4, [dense(3, activation=swish), dense(2)], "squared_error")
    assert str(network.gradient("dense1.beta")).splitlines() == [
        "δ2 = z2 - y",
        "∂R/∂β1 = (1/N) Σ (W2ᵀ δ2)ᵀ (z1² ⊙ σ(β1 z1) ⊙ (1 - σ(β1 z1)))",
    ]
    program = readable(network.gradient_program())
    assert check_by_reading(program, random_inputs(network, 3, "values"), 3) == len(program.definitions)


def test_the_square_of_each_element_is_not_written_as_the_power_of_a_matrix() -> None:
    program = Program([Equation(Tensor("r", (3,))[i], (i, j), A[i, j] ** 2)], [Tensor("r", (3,))])
    assert latex_lines(program) == [r"r = A^{\circ 2} \, \mathbf{1}"]


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber", "hinge"])
@pytest.mark.parametrize("activation", ["relu", "abs", "hard_tanh", "hard_logistic", "selu", "softsign", "leaky_relu"])
def test_pieces_are_right_at_the_points_where_they_meet(activation: str, loss: str) -> None:
    network = Network(3, [dense(3, activation=activation)], loss, l1=0.1)
    program = readable(network.gradient_program())
    grid = np.arange(-7.0, 8.0).reshape(5, 3) / 2
    given = {**random_inputs(network, 5, "values"), "W1": np.eye(3), "b1": np.zeros(3), "x": grid, "y": np.round(grid)}
    assert check_by_reading(program, given, 5) == len(program.definitions)


def test_a_comparison_of_two_tensors_is_written_as_it_was_meant() -> None:
    left, right = y[n, i], z[n, i]
    inner = Piecewise((right, left < right), (left / 2 + right / 2, left <= right), (left, True))
    slope = Piecewise((0, left < right), (sp.Rational(1, 2), left <= right), (1, True))
    assert unicode_lines(Program([Equation(a[n, i], (n, i), inner)], [a])) == ["a = max(y, z)"]
    assert unicode_lines(Program([Equation(a[n, i], (n, i), slope)], [a])) == ["a = [y > z] + (1/2) [y = z]"]


def test_an_adjoint_that_is_1_is_not_written_as_a_factor() -> None:
    recurrence = equations("h[n,t] = tanh(w*h[n,t-1] + x[n,t])", parameters={"w": []})
    lines = str(Network(5, [recurrence], "softmax_cross_entropy").gradient("equations1.w")).splitlines()
    assert "∂ℓ/∂h1[n,t] = softmax(h1[n])[t] + w1 (1 - h1[n,t+1]²) (∂ℓ/∂h1[n,t+1]) - [t = y[n]]" in lines


# ---------------------------------------------------------------------------------------------- no name is left open
GATED = equations(
    "z[n,i] = (sum(W[i,j]*x[n,j], j) + b[i]) * logistic(sum(V[i,j]*x[n,j], j) + c[i])",
    sizes={"i": 3},
    parameters={"W": ["i", "j"], "V": ["i", "j"], "b": ["i"], "c": ["i"]},
)
FILTER = equations("z[n,i] = sum(K[u]*x[n,i+u], u)**2", sizes={"i": 3, "u": 3}, parameters={"K": ["u"]})
DIVIDED = equations("z[n,i] = v[i]*exp(x[n,i])/sum(exp(x[n,j]), j)", parameters={"v": ["i"]})


def test_a_matrix_product_inside_an_expression_is_written_where_it_stands() -> None:
    network = Network(4, [GATED], "squared_error")
    assert str(network.gradient("equations1.W")).splitlines() == [
        "δ1 = (2/3) (z1 - y)",
        "∂R/∂W1 = (1/N) Σ (σ(c1 + V1 x) ⊙ δ1) xᵀ",
    ]
    assert "    z1 = (b1 + W1 x) ⊙ σ(c1 + V1 x)" in show(network).splitlines()


def test_a_part_without_matrix_form_is_written_where_it_stands() -> None:
    lines = str(Network(5, [FILTER, dense(2)], "squared_error").gradient("equations1.K")).splitlines()
    assert lines[-1] == "∂R/∂K1[u] = (2/N) Σ_{n,i} x[n,i+u] (Σ_j K1[j] x[n,i+j]) δ1[n,i]"


@pytest.mark.parametrize("layer", [GATED, FILTER, DIVIDED, dense(4, activation="mish")])
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "squared_error"])
def test_no_name_stands_above_the_line_that_defines_it(layer: Any, loss: str) -> None:
    network = Network(5, [layer, *([] if layer is GATED else [dense(3)])], loss)
    program = readable(network.gradient_program())
    titles = {Book(program).name(tensor): tensor for tensor in program.definitions}
    seen: set[Tensor] = set()
    for tensor, formula in formulas(program).items():
        assert {titles[name] for name in names(formula.right) if name in titles} <= {*seen, tensor}
        seen.add(tensor)
    backward = {equation.tensor for equation in network.gradients().equations}
    for key in network.parameters:
        gradient = network.gradient(key)
        own = readable(gradient.program)
        printed = reached(own, own.roots, lambda tensor: tensor in backward or not known(tensor))
        for formula in printed.values():
            open_names = {titles[name] for name in names(formula.right) if name in titles} - set(printed)
            assert all(known(other) for other in open_names), str(gradient)


# ---------------------------------------------------------------------------------------------- it is what is derived
def negated(equation: Equation) -> Equation:
    return replace(equation, rhs=-equation.rhs)


@pytest.mark.parametrize("make", [digits, xor])
def test_a_flipped_sign_in_any_derived_equation_changes_the_print(make) -> None:  # type: ignore[no-untyped-def]
    network = make()
    program = network.gradient_program()
    before = unicode_lines(readable(program))
    derived = {e.tensor for e in network.gradients().equations}
    flipped = 0
    for number, equation in enumerate(program.equations):
        if equation.tensor in derived:
            changed = list(program.equations)
            changed[number] = negated(equation)
            assert unicode_lines(readable(program.with_equations(changed))) != before, equation
            flipped += 1
    assert flipped >= 7


def test_a_sign_flipped_in_the_rule_itself_changes_what_a_gradient_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    import symnet.differentiate as rule

    honest = str(digits().gradient("hidden1.W"))
    right = rule.partial_derivatives
    monkeypatch.setattr(rule, "partial_derivatives", lambda e: [(access, -slope) for access, slope in right(e)])
    wrong = str(digits().gradient("hidden1.W"))
    assert wrong != honest
    assert "W2ᵀ δ2" in wrong
    assert "-" in wrong.splitlines()[1]


def test_swapped_indices_of_a_weight_change_the_print() -> None:
    n, i, j = Index("n", size("N")), Index("i", 3), Index("j", 3)
    x, W, z = Tensor("x", (size("N"), 3), "input"), Tensor("W", (3, 3), "parameter"), Tensor("z", (size("N"), 3))

    def line(weight: Access) -> str:
        return unicode_lines(Program([Equation(z[n, i], (n, i, j), weight * x[n, j])], [z]))[0]

    assert line(W[i, j]) == "z = W x"
    assert line(W[j, i]) == "z = Wᵀ x"


# ---------------------------------------------------------------------------------------------- it evaluates the same
Value = np.ndarray


class Reader:
    """Computes with a formula as a reader would: column vectors, matrices, one sample at a time."""

    def __init__(self, tensors: Mapping[str, Value], rows: int, of_samples: set[str], sizes: Mapping[str, int]) -> None:
        self.tensors, self.rows, self.of_samples, self.sizes = tensors, rows, of_samples, sizes
        self.staged: dict[str, list[int]] = {}  # the axes along which recurrences run
        self.steps: dict[str, int] = {}
        self.extents: dict[str, int] = {}

    def at(self, array: Value, axes: list[int], steps: list[int]) -> Value:
        """The array at these steps, 0 outside."""
        for axis, step in sorted(zip(axes, steps, strict=True), reverse=True):
            inside = 0 <= step < array.shape[axis]
            array = np.take(array, step, axis) if inside else np.zeros_like(np.take(array, 0, axis))
        return array

    def value(self, node: Node, n: int, classes: int) -> Value:
        def of(part: Node) -> Value:
            return self.value(part, n, classes)

        match node:
            case Name("ones"):
                return np.array(1.0)
            case Name("pi"):
                return np.array(math.pi)
            case Name(text) if text in self.sizes:
                return np.array(float(self.sizes[text]))
            case Name(text) if text in self.steps:
                return np.array(float(self.steps[text]))
            case Name(text, derivative, step=steps):
                text = f"d_{text}" if derivative else text
                found = np.asarray(self.tensors[text], dtype=float)
                if steps:
                    found = self.at(found, self.staged[text], [int(of(step)) for step in steps])
                found = found[n] if text in self.of_samples else found
                return found[:, None] if found.ndim == 1 else found
            case Number(text):
                return np.array(float(text))
            case Sum(terms):
                return reduce(np.add, (sign * of(term) for sign, term in terms))
            case Product(factors):
                return reduce(self.times, ((f, of(f)) for f in factors))[1]
            case Group(inner):
                return of(inner)
            case Hadamard(factors):
                return reduce(self.by_element, map(of, factors))
            case Transpose(inner):
                return of(inner).T
            case Power(base, exponent):
                return of(base) ** of(exponent)
            case Fraction(above, below):
                with np.errstate(divide="ignore", invalid="ignore"):  # beside a bracket that is 0
                    return of(above) / of(below)
            case Norm(inner, order=1):
                return np.sum(np.abs(of(inner)))
            case Norm(inner):
                return np.sum(of(inner) ** 2)
            case Iverson(condition):
                return of(condition).astype(float)
            case Relation(sign, Relation(_, _, middle) as left, right):
                return np.logical_and(of(left), of(Relation(sign, middle, right)))
            case Relation(sign, left, right):
                compare = {
                    ">": np.greater,
                    "<": np.less,
                    ">=": np.greater_equal,
                    "<=": np.less_equal,
                    "=": np.equal,
                    "!=": np.not_equal,
                }
                return np.asarray(compare[sign](of(left), of(right)))
            case Logic(word, parts):
                return reduce(np.logical_and if word == "and" else np.logical_or, map(of, parts))
            case Element(inner, (label,)):
                return of(inner)[int(of(label)), 0]
            case Over("sum", (letter, *letters), body, conditions):
                total = np.array(0.0)
                for step in range(self.extents[letter]):
                    self.steps[letter] = step
                    rest = Over("sum", tuple(letters), body, conditions)
                    if letters or all(of(c) for c in conditions):
                        total = total + of(rest if letters else body)
                return total
            case Over("sum", (), body):
                return sum(self.value(body, sample, classes) for sample in range(self.rows))
            case Call("onehot", (label,)):
                return np.eye(classes)[:, [int(of(label))]]
            case Call(function, arguments):
                return self.call(function, [of(a) for a in arguments])
        raise AssertionError(node)

    @staticmethod
    def by_element(left: Value, right: Value) -> Value:
        """0 where a bracket is 0, whatever stands beside it"""
        with np.errstate(invalid="ignore"):
            return np.where((left == 0) | (right == 0), 0.0, left * right)

    def times(self, one: tuple[Node, Value], other: tuple[Node, Value]) -> tuple[Node, Value]:
        (_, left), (node, right) = one, other
        if node == ONES and left.ndim == 2:
            right = np.ones((left.shape[1], 1))
        scalar = left.ndim < 2 or right.ndim < 2 or (left.shape == (1, 1) and right.shape[0] != 1)
        return node, self.by_element(left, right) if scalar else left @ right

    def call(self, function: str, arguments: list[Value]) -> Value:
        (a, *rest) = arguments
        match function, rest:
            case (("max" | "min"), [b]):
                return np.maximum(a, b) if function == "max" else np.minimum(a, b)
            case _:
                known = {
                    "softmax": lambda v: np.exp(v) / np.sum(np.exp(v)),
                    "logsumexp": lambda v: np.log(np.sum(np.exp(v))),
                    "logistic": lambda v: 1 / (1 + np.exp(-v)),
                    "normal_cdf": np.vectorize(lambda v: math.erfc(-v / math.sqrt(2)) / 2),
                    "softplus": lambda v: np.log1p(np.exp(v)),
                    "erf": np.vectorize(math.erf),
                    "erfc": np.vectorize(math.erfc),
                    "diag": lambda v: np.diag(v[:, 0]),
                    "max": np.max,
                    "sum": np.sum,
                    "abs": np.abs,
                    "argmax": np.argmax,
                }
                return (known.get(function) or getattr(np, function))(a)


def check_by_reading(
    program: Program, given: Mapping[str, Any], rows: int = 0, classes: int = 0, sizes: Mapping[str, int] | None = None
) -> int:
    """Every formula in matrix form, computed by a reader from the oracle's values; how many there were."""
    book = Book(program)
    sizes = sizes or {"N": rows}
    rows = sizes.get(str(book.rows), 1)
    dense_values = {name: value.toarray() if hasattr(value, "toarray") else value for name, value in given.items()}
    values = {**dense_values, **evaluate(program, given, sizes, list(program.definitions))}
    of_samples = {t.name for t in program.tensors if book.samples(t)}
    reader = Reader(values, rows, of_samples, sizes)
    reader.staged = {t.name: [a for a in range(t.rank) if (t, a) in book.stages] for t in program.tensors}
    read = 0
    for tensor in program.definitions:
        text = unicode(book.formula(tensor))
        try:
            body = book.body(tensor)
        except NoMatrixForm:
            continue
        if "uniform" in text or ("onehot" in text and not classes):
            continue
        reader.extents = {
            i.name: int(i.extent.xreplace({size(k): v for k, v in sizes.items()}))
            for e in program.definitions[tensor]
            for i in (*aligned(e, book.own(tensor)).domain, *book.own(tensor))
        }
        axes = reader.staged[tensor.name]
        ranges = [range(values[tensor.name].shape[axis]) for axis in axes]
        for n, *steps in product(range(rows) if book.samples(tensor) else (0,), *ranges):
            reader.steps = {book.own(tensor)[axis].name: step for axis, step in zip(axes, steps, strict=True)}
            expected = reader.at(values[tensor.name], axes, steps)
            expected = expected[n] if book.samples(tensor) else expected
            expected = expected[:, None] if expected.ndim == 1 else expected
            got = reader.value(body, n, classes)
            got = got.reshape(()) if got.size == 1 else got
            got = np.broadcast_to(got, expected.shape)
            assert np.allclose(got, expected, rtol=1e-11, atol=1e-12), unicode(book.formula(tensor))
        read += 1
    return read


ACTIVATIONS = ("logistic", "tanh", "relu", "leaky_relu", "prelu", "elu", "softplus", "swish", "gelu", "hard_tanh",
               "hard_logistic", "selu", "mish", "softsign", "abs", "sine")  # fmt: skip
REGRESSIONS = ("squared_error", "absolute_error", "huber", "binary_cross_entropy", "hinge", "poisson")


def random_inputs(network: Network, rows: int, target: str) -> dict[str, Value]:
    rng = np.random.default_rng(5)
    given: dict[str, Value] = {t.name: rng.normal(size=network.parameters[k]) for k, t in network.tensors.items()}
    given["x"] = rng.normal(size=(rows, network.spec.input))
    shape = (rows, int(network.prediction.shape[1]))
    match target:
        case "labels":
            given["y"] = rng.integers(0, shape[1], rows)
        case "distribution":
            given["y"] = rng.dirichlet(np.ones(shape[1]), rows)
        case _:
            given["y"] = rng.normal(size=shape)
    return {**given, **{name: np.array(value) for name, value in network.hyper.items()}}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_formulas_of_every_activation_evaluate_to_the_equations_values(activation: str) -> None:
    network = Network(3, [dense(4, activation=activation), dense(2)], "squared_error", 0.1)
    program = readable(network.gradient_program())
    assert check_by_reading(program, random_inputs(network, 3, "values"), 3) == len(program.definitions)


@pytest.mark.parametrize("loss", REGRESSIONS)
def test_formulas_of_every_loss_evaluate_to_the_equations_values(loss: str) -> None:
    network = Network(3, [dense(3, activation="tanh"), dense(2)], loss)
    program = readable(network.gradient_program())
    assert check_by_reading(program, random_inputs(network, 4, "values"), 4) == len(program.definitions)


@pytest.mark.parametrize("target", ["labels", "distribution"])
@pytest.mark.parametrize("widths", [(3, 4, 2), (3, 3, 3), (1, 1, 1), (1, 2, 3)])
def test_formulas_of_a_classifier_evaluate_to_the_equations_values(target: str, widths: tuple[int, ...]) -> None:
    inputs, hidden, classes = widths
    layers = [dense(hidden, activation="relu"), dense(hidden, activation="logistic"), dense(classes)]
    network = Network(inputs, layers, "softmax_cross_entropy", 0.01)
    program = readable(network.gradient_program(target))
    read = check_by_reading(program, random_inputs(network, 3, target), 3, classes)
    assert read == len(program.definitions)


N = size("N")
n, i, j, k = Index("n", N), Index("i", 3), Index("j", 4), Index("k", 2)
x, y = Tensor("x", (N, 4), "input"), Tensor("y", (N, 3), "input")
A, B, C = Tensor("A", (3, 4), "parameter"), Tensor("B", (4, 2), "parameter"), Tensor("C", (3, 2), "parameter")
b, c = Tensor("b", (3,), "parameter"), Tensor("c", (4,), "parameter")
PRODUCTS = {
    "B Cᵀ y": (Equation(Tensor("r", (N, 4))[n, j], (n, j, i, k), B[j, k] * C[i, k] * y[n, i])),
    "b ⊙ A (c ⊙ x)": (Equation(Tensor("r", (N, 3))[n, i], (n, i, j), b[i] * A[i, j] * c[j] * x[n, j])),
    "(b ⊙ y)ᵀ A x": (Equation(Tensor("r", (N,))[n], (n, i, j), b[i] * y[n, i] * A[i, j] * x[n, j])),
    "A B": (Equation(Tensor("r", (3, 2))[i, k], (i, k, j), A[i, j] * B[j, k])),
    "diag(b) A diag(c)": (Equation(Tensor("r", (3, 4))[i, j], (i, j), A[i, j] * b[i] * c[j])),
    "A diag(c) B": (Equation(Tensor("r", (3, 2))[i, k], (i, k, j), A[i, j] * c[j] * B[j, k])),
    "Bᵀ Aᵀ": (Equation(Tensor("r", (2, 3))[k, i], (i, k, j), A[i, j] * B[j, k])),
    "Σ y (c ⊙ x)ᵀ": (Equation(Tensor("r", (3, 4))[i, j], (i, j, n), y[n, i] * x[n, j] * c[j])),
    "b cᵀ": (Equation(Tensor("r", (3, 4))[i, j], (i, j), b[i] * c[j])),
    "A 𝟏": (Equation(Tensor("r", (3,))[i], (i, j), A[i, j])),
    "sum(A ⊙ D)": (Equation(Tensor("r")[()], (i, j), A[i, j] * Tensor("D", (3, 4), "parameter")[i, j])),
    "sum(A)": (Equation(Tensor("r")[()], (i, j), A[i, j])),
    "‖A‖²": (Equation(Tensor("r")[()], (i, j), A[i, j] ** 2)),
    "‖exp(c)‖²": (Equation(Tensor("r")[()], (j,), sp.exp(c[j]) ** 2, "sum")),
    "‖c‖² sum(b)": (Equation(Tensor("r")[()], (i, j), b[i] * c[j] ** 2)),
    "A ⊙ exp(A)": (Equation(Tensor("r", (3, 4))[i, j], (i, j), A[i, j] * sp.exp(A[i, j]))),
    "(exp(A) ⊙ A)ᵀ": (Equation(Tensor("r", (4, 3))[j, i], (i, j), A[i, j] * sp.exp(A[i, j]))),
    "2 b": (Equation(Tensor("r", (3,))[i], (i, k), b[i])),
    "A^∘2 𝟏": (Equation(Tensor("r", (3,))[i], (i, j), A[i, j] ** 2)),
    "‖A‖₁": (Equation(Tensor("r")[()], (i, j), Piecewise((-A[i, j], A[i, j] < 0), (A[i, j], True)))),
    "exp(x)ᵀ (c ⊙ x)": (Equation(Tensor("r", (N,))[n], (n, j), c[j] * x[n, j] * sp.exp(x[n, j]))),
    "max(x)": (Equation(Tensor("r", (N,))[n], (n, j), x[n, j], "max")),
}  # fmt: skip


@pytest.mark.parametrize("text", PRODUCTS)
def test_products_are_found_by_their_indices(text: str) -> None:
    equation = PRODUCTS[text]
    # a tensor of the samples tells which axis theirs is, also where the equation has none
    program = Program([equation, Equation(Tensor("q", (N,))[n], (n,), x[n, 0])], [equation.tensor])
    rng = np.random.default_rng(1)
    shapes = {"x": (2, 4), "y": (2, 3), "A": (3, 4), "D": (3, 4), "B": (4, 2), "C": (3, 2), "b": (3,), "c": (4,)}
    given = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    assert check_by_reading(program, given, 2) >= 1
    found = unicode(Book(program).formula(equation.tensor))
    assert found.startswith("r = "), found
    if text != "(exp(A) ⊙ A)ᵀ" and text != "‖exp(c)‖²":
        assert found == f"r = {text}"


# ---------------------------------------------------------------------------------------------- any program
@pytest.mark.parametrize("seed", range(40))
def test_formulas_of_random_programs_evaluate_to_the_equations_values(seed: int) -> None:
    drawn = sample(seed)
    program = gradient_program(drawn.program.equations, drawn.output, drawn.wrt)
    check_by_reading(program, drawn.values, sizes=drawn.sizes)


@pytest.mark.parametrize("seed", range(40))
def test_index_notation_says_what_the_equations_say(seed: int) -> None:
    """What is printed with indices is an equation whose left side is plain: it gives the same values."""
    drawn = sample(seed)
    program = gradient_program(drawn.program.equations, drawn.output, drawn.wrt)
    own = {tensor: letters(equations) for tensor, equations in program.definitions.items()}
    plain = program.with_equations(aligned(e, own[e.tensor]) for e in program.equations)
    names = [tensor.name for tensor in program.definitions]
    expected, found = (evaluate(p, drawn.values, drawn.sizes, names) for p in (program, plain))
    for name in names:
        assert np.allclose(found[name], expected[name], rtol=1e-12, atol=1e-13, equal_nan=True), name


# ---------------------------------------------------------------------------------------------- with indices
t, u = Index("t", 5), Index("u", 3)
h, p, U = Tensor("h", (5, N, 3)), Tensor("p", (5, N, 3), "input"), Tensor("U", (3, 3), "parameter")
m, o = Index("m", 3), Index("o", 3)
K, s = Tensor("K", (3,), "parameter"), Tensor("s", (N, 4))
ids, E = Tensor("ids", (N,), "input", "integer"), Tensor("E", (9, 4), "parameter")
e = Tensor("e", (N, 4))
deep = Tensor("T", (3, 4, 2), "parameter")
mask = Tensor("q", (4,))
j2 = Index("l", 4)
best = Tensor("best", (N,), "value", "integer")
slot = Index("t", 5, 1)
WITH_INDICES = {
    "hₜ = hₜ₋₁ Uᵀ + pₜ": [
        Equation(h[t, n, i], (t, n, i, m), U[i, m] * h[t - 1, n, m]),
        Equation(h[t, n, i], (t, n, i), p[t, n, i]),
    ],
    "s[n,j] = Σ_u K[u] x[n,j+u]": [Equation(s[n, j], (n, j, u), K[u] * x[n, j + u])],
    "s[n,i] = Σ_u K[u] x[n,i-u]": [Equation(s[n, j + u], (n, j, u), K[u] * x[n, j])],
    "e[n,j] = E[ids[n],j]": [Equation(e[n, j], (n, j), E[ids[n], j])],
    "F = Σ onehot(ids) xᵀ": [Equation(Tensor("F", (9, 4))[ids[n], j], (n, j), x[n, j])],
    "s[n,j] = Σ_{i,k} T[i,j,k] y[n,i]": [Equation(s[n, j], (n, i, j, k), deep[i, j, k] * y[n, i])],
    "r = Σ_{i,m,o} U[i,m] U[m,o] U[o,i]": [Equation(Tensor("r")[()], (i, m, o), U[i, m] * U[m, o] * U[o, i])],
    "s[n,j] = logsumexp_{l: l≤j} x[n,l]": [Equation(s[n, j], (n, j, j2), x[n, j2], "logsumexp", j2 <= j)],
    "s[n,j] = x[n,2j+1]": [Equation(s[n, j], (n, j), x[n, 2 * j + 1])],
    "h[t,n,i] = [t ≥ 1] p[t,n,i]": [Equation(h[slot, n, i], (slot, n, i), p[slot, n, i])],
    "s[n,j] = j x[n,j]": [Equation(s[n, j], (n, j), j * x[n, j])],
}


@pytest.mark.parametrize("text", WITH_INDICES)
def test_what_has_no_matrix_form_is_written_with_indices(text: str) -> None:
    equations = WITH_INDICES[text]
    assert unicode_lines(Program(equations, [equations[0].tensor])) == [text]


def test_a_trace_falls_back_to_indices_and_its_neighbours_do_not() -> None:
    r, z = Tensor("r"), Tensor("z", (N, 3))
    program = Program(
        [
            Equation(r[()], (i, m, o), U[i, m] * U[m, o] * U[o, i]),
            Equation(z[n, i], (n, i, j), A[i, j] * x[n, j] * r[()]),
        ],
        [r, z],
    )
    assert unicode_lines(program) == ["r = Σ_{i,m,o} U[i,m] U[m,o] U[o,i]", "z = r A x"]


def test_what_only_resembles_a_softmax_is_not_called_one() -> None:
    """The logsumexp of a number over k is not that of a vector."""
    lse, q, v = Tensor("lse", (N,)), Tensor("q", (N, 4)), Tensor("v", (N,), "input")
    program = Program(
        [
            Equation(lse[n], (n, j), v[n], "logsumexp"),
            Equation(q[n, j], (n, j), sp.exp(v[n] - lse[n])),
            Equation(s[n, j], (n, j), sp.exp(x[n, j] - lse[n])),
        ],
        [q, s],
    )
    assert unicode_lines(program) == ["lse[n] = logsumexp_j v[n]", "q = exp(v - lse) 𝟏", "s = exp(x - lse)"]


def test_an_argmax_condition_is_written() -> None:
    z = Tensor("z", (N, 3))
    program = Program(
        [
            Equation(best[n], (n, j), x[n, j], "argmax"),
            Equation(s[n, j], (n, j), x[n, j], "sum", sp.Eq(position((j,)), best[n])),
        ],
        [s],
    )
    assert unicode_lines(program) == ["best = argmax(x)", "s = onehot(best) ⊙ x"]
    assert z not in formulas(program)


def test_latex_of_index_notation() -> None:
    program = Program([Equation(s[n, j], (n, j, u), K[u] * x[n, j + u])], [s])
    assert latex_lines(program) == [r"s_{n,j} = \sum_{u} K_{u} \, x_{n,j + u}"]


# ---------------------------------------------------------------------------------------------- scalars
a, z = Tensor("a", (N, 3)), Tensor("z", (N, 3), "input")
SCALARS = {
    "max(0, z)": Piecewise((0, z[n, i] <= 0), (z[n, i], True)),
    "min(1, z)": Piecewise((1, z[n, i] >= 1), (z[n, i], True)),
    "|z|": Piecewise((-z[n, i], z[n, i] < 0), (z[n, i], True)),
    "1 - σ(z)": logistic(-z[n, i]),
    "exp(-z²/2)": sp.exp(-(z[n, i] ** 2) / 2),
    "1/(1 + z)": 1 / (1 + z[n, i]),
    "√z": sp.sqrt(z[n, i]),
    "z^z": z[n, i] ** z[n, i],
    "-z": -z[n, i],
    "0.125 z": sp.Float(0.125) * z[n, i],
    "(3/4) z": sp.Rational(3, 4) * z[n, i],
    "z/N": z[n, i] / N,
    "sign(z)": Piecewise((-1, z[n, i] < 0), (0, z[n, i] <= 0), (1, True)),
    "[z > 0] ⊙ z²": Piecewise((0, z[n, i] < 0), (0, z[n, i] <= 0), (z[n, i] ** 2, True)),
    "[0 < z ≤ 1] ⊙ z²": Piecewise((0, z[n, i] <= 0), (Piecewise((z[n, i] ** 2, z[n, i] <= 1), (0, True)), True)),
    "[z ≠ 1] ⊙ z²": Piecewise((0, sp.Eq(z[n, i], 1)), (z[n, i] ** 2, True)),
    "[z = 0]": Piecewise((0, z[n, i] < 0), (1, z[n, i] <= 0), (0, True)),
    "0.044715 z": sp.Rational(8943, 200000) * z[n, i],
    "1.0507009873554805 z": sp.Rational(2101401974710961, 2000000000000000) * z[n, i],
    "[z > 1 or z < -1]": Piecewise((1, sp.Or(z[n, i] > 1, z[n, i] < -1)), (0, True)),
}


@pytest.mark.parametrize("text", SCALARS)
def test_scalar_expressions_are_written_as_by_hand(text: str) -> None:
    found = unicode_lines(Program([Equation(a[n, i], (n, i), SCALARS[text])], [a]))
    variants = {f"a = {text}", f"a = {text}".replace("z/N", "(1/N) z")}
    if " or " in text:
        variants.add("a = [z < -1 or z > 1]")
    assert found[0] in variants


# ---------------------------------------------------------------------------------------------- the object
def test_a_gradient_is_made_of_the_programs_own_accesses() -> None:
    gradient = digits().gradient("hidden1.W")
    own = set(gradient.program.tensors)
    found = outer_accesses(gradient.expr)
    assert {a.tensor.name for a in found} == {"delta1", "x", "W1", "lambda"}
    assert {a.tensor for a in found} <= own
    for node in sp.preorder_traversal(gradient.expr):
        if isinstance(node, Reduction):
            assert node.func(*node.args) == node
    assert str(gradient.expr) == "lambda[]*W1[i,j] + sum_n(delta1[n,i]*x[n,j]/N)"


def test_the_equations_are_those_of_the_networks_program_in_order() -> None:
    network = digits()
    gradient = network.gradient("out.W")
    whole = list(network.gradient_program().equations)
    places = [whole.index(equation) for equation in gradient.equations]
    assert places == sorted(places)
    assert not any(e.tensor.name in ("delta1", "d_W1", "R") for e in gradient.equations)


@pytest.mark.parametrize("target", ["labels", "distribution"])
def test_a_gradient_evaluates_to_what_differences_of_the_risk_give(target: str) -> None:
    network = Network(3, [dense(4, activation="tanh"), dense(3)], "softmax_cross_entropy", 0.3)
    given = random_inputs(network, 5, target)
    parameters = {key: given[t.name] for key, t in network.tensors.items()}
    gradient = network.gradient("dense1.W")
    got = gradient.evaluate(parameters, given["x"], given["y"])
    assert got.shape == gradient.shape == (4, 3)
    program = network.gradient_program(target)
    step = 1e-5
    for row, column in ((0, 0), (3, 1), (2, 2)):
        risks = []
        for sign in (1, -1):
            moved = given["W1"].copy()
            moved[row, column] += sign * step
            risks.append(float(evaluate(program, {**given, "W1": moved}, {"N": 5}, ["R"])["R"]))
        assert got[row, column] == pytest.approx((risks[0] - risks[1]) / (2 * step), abs=1e-9)


def test_a_gradient_evaluates_to_the_compiled_one() -> None:
    network = Network(5, [dense(4, activation="relu", name="h"), dense(3, name="out")], "softmax_cross_entropy", 0.01)
    given = random_inputs(network, 7, "labels")
    parameters = {key: given[t.name] for key, t in network.tensors.items()}
    _, compiled = network.value_and_gradient(parameters, given["x"], given["y"])
    for name in network.parameters:
        own = network.gradient(name).evaluate(parameters, given["x"], given["y"])
        assert np.abs(compiled[name] - own).max() <= 1e-12 * max(1.0, np.abs(own).max())


def test_hyper_parameters_may_be_given_to_evaluate() -> None:
    network = Network(2, [dense(1)], "squared_error", 0.5)
    parameters = {"dense1.W": [[1.0, 2.0]], "dense1.b": [0.0]}
    X, y = np.zeros((1, 2)), np.zeros((1, 1))
    gradient = network.gradient("dense1.W")
    assert gradient.evaluate(parameters, X, y).tolist() == [[0.5, 1.0]]
    assert gradient.evaluate(parameters, X, y, {"lambda": 0}).tolist() == [[0.0, 0.0]]


def test_what_is_missing_or_misspelt_is_named() -> None:
    network = xor()
    with pytest.raises(SymnetError, match=r"Did you mean 'dense1.W'"):
        network.gradient("dens1.W")
    gradient = network.gradient("dense1.W")
    parameters = network.initial_parameters()
    with pytest.raises(SymnetError, match=r"dense2.W"):
        gradient.evaluate({k: v for k, v in parameters.items() if k != "dense2.W"}, [[0, 0]], [[0]])
    with pytest.raises(SymnetError, match="y: found"):
        gradient.evaluate(parameters, [[0, 0]], [[0], [1]])


def test_a_network_of_100_layers_is_printed_in_little_time() -> None:
    import time

    network = Network(3, [*(dense(3, activation="tanh") for _ in range(100)), dense(1)], "squared_error")
    network.gradient_program()
    start = time.process_time()
    text = show(network)
    assert time.process_time() - start < 5
    assert "    δ⁽ˡ⁾ = (1 - (a⁽ˡ⁾)²) ⊙ (W⁽ˡ⁺¹⁾)ᵀ δ⁽ˡ⁺¹⁾    l = 1, ..., 100" in text.splitlines()
