"""The chapter's identities and claims, each proved by SymPy on the expressions that run, for all values at once.

The expressions are rows of symnet/activations.py and equations that were derived for networks.  Those are written out
for small sizes, with a symbol for every element, so that what is proved is algebra and not a few numbers.

Source: Qiu, Neural Networks and Deep Learning, ch. 4; the section stands before each group of tests.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import sympy as sp
from sympy import Expr, Piecewise, Rational, Symbol

import symnet as sn
from compiler.functions import ScalarFunction
from compiler.passes import READABLE, run_passes
from compiler.program import Access, Equation, Index, Program, Tensor
from symnet.declare.activations import ROWS, resolve, settings
from symnet.formulation.formula import X

POSITIVE = Symbol("t", positive=True)
SMOOTH = ("identity", "logistic", "tanh", "softplus", "swish", "gelu", "gelu_tanh", "mish", "sine")
N = 2  # samples of the networks below


# ---------------------------------------------------------------------------------------------- how things are proved
def row(name: str, *symbolic: str) -> Expr:
    """The activation in X; the parameters named in `symbolic` stay symbols (equal to `parameter(name)`)."""
    return resolve(settings(name, {"learned": symbolic}, name) if symbolic else settings(name, {}, name)).expression


def parameter(name: str) -> Symbol:
    return Symbol(name, real=True)


def by_definition(expression: Expr) -> Expr:
    """Functions of the language (logistic, softplus, ...) as what they stand for, everything in exponentials."""
    known = expression.replace(lambda e: isinstance(e, ScalarFunction), lambda e: type(e).definition(e.args[0]))
    return known.rewrite(sp.exp)


def is_zero(expression: Expr) -> bool:
    if sp.expand(expression) == 0:
        return True
    symbols = sorted(expression.free_symbols, key=str)
    somewhere = {symbol: Rational(k + 2, k + 5) for k, symbol in enumerate(symbols)}
    if abs(expression.xreplace(somewhere).evalf()) > 1e-9:  # to simplify what is not 0 can take for ever
        return False
    return sp.simplify(sp.expand(by_definition(expression))) == 0


def holds(condition: sp.Basic, at: Mapping[Symbol, Expr]) -> bool:
    """Whether a condition on X is true at a point; other symbols must not matter for that."""
    match condition:
        case sp.logic.boolalg.BooleanTrue():
            return True
        case sp.And():
            return all(holds(part, at) for part in condition.args)
        case sp.Or():
            return any(holds(part, at) for part in condition.args)
    truth = condition.func(sp.simplify((condition.lhs - condition.rhs).xreplace(at)), 0)
    assert truth in (sp.true, sp.false), truth
    return bool(truth)


def arm(expression: Expr, point: Expr) -> Expr:
    """The expression that holds near a point which is no boundary, or at a boundary itself."""
    chosen = expression
    while pieces := [p for p in sp.preorder_traversal(chosen) if isinstance(p, Piecewise)]:
        inner = pieces[-1]
        value = next(value for value, condition in inner.args if holds(condition, {X: point}))
        chosen = chosen.xreplace({inner: value})
    return chosen


def same_function(f: Expr, g: Expr) -> bool:
    """f = g for every real X: on each interval between boundaries, and at every boundary."""
    f, g = (sp.piecewise_fold(e.rewrite(Piecewise)) for e in (f, g))
    relations = [r for e in (f, g) for r in e.atoms(sp.core.relational.Relational)]
    corners = sorted({s for r in relations for s in sp.solve(r.lhs - r.rhs, X)})
    assert corners, "no boundary: compare the expressions themselves"
    ends = [corners[0] - 1, *corners, corners[-1] + 1]
    between = [corners[0] - 1, *((a + b) / 2 for a, b in itertools.pairwise(ends[1:-1])), corners[-1] + 1]
    return all(is_zero(arm(f, p) - arm(g, p)) for p in between) and all(
        is_zero((arm(f, c) - arm(g, c)).subs(X, c)) for c in corners
    )


# ---------------------------------------------------------------------------------------------- 4.1.1 sigmoid type
def test_4_1_1_tanh_is_the_logistic_function_scaled_and_shifted() -> None:
    assert is_zero(row("tanh") - (2 * row("logistic").subs(X, 2 * X) - 1))


def test_4_1_1_tanh_is_odd_and_its_definition_is_that_of_the_chapter() -> None:
    assert is_zero(row("tanh") + row("tanh").subs(X, -X))
    assert is_zero(row("tanh") - (sp.exp(X) - sp.exp(-X)) / (sp.exp(X) + sp.exp(-X)))


def test_4_1_1_the_slope_of_the_logistic_function_is_the_function_times_one_minus_itself() -> None:
    logistic = row("logistic")
    assert is_zero(logistic.diff(X) - logistic * (1 - logistic))
    assert is_zero(row("tanh").diff(X) - (1 - row("tanh") ** 2))


def test_4_1_1_the_logistic_function_lies_between_0_and_1_and_grows() -> None:
    logistic = by_definition(row("logistic"))
    assert sp.limit(logistic, X, -sp.oo) == 0 and sp.limit(logistic, X, sp.oo) == 1
    e = Symbol("E", positive=True)  # exp(X)
    assert sp.simplify(by_definition(row("logistic").diff(X)).subs(X, sp.log(e))).is_positive


def test_4_1_1_hard_logistic_is_the_first_order_taylor_expansion_of_the_logistic_function_clipped() -> None:
    taylor = sp.series(by_definition(row("logistic")), X, 0, 2).removeO()
    assert taylor == X / 4 + Rational(1, 2)
    assert same_function(row("hard_logistic"), sp.Max(sp.Min(taylor, 1), 0))


def test_4_1_1_hard_logistic_has_its_kinks_at_plus_and_minus_2() -> None:
    slope = row("hard_logistic").diff(X)
    assert same_function(slope, Piecewise((Rational(1, 4), (X > -2) & (X < 2)), (0, True)))


def test_4_1_1_hard_tanh_is_hard_logistic_scaled_and_shifted_and_a_clipped_identity() -> None:
    assert same_function(row("hard_tanh"), 2 * row("hard_logistic").subs(X, 2 * X) - 1)
    assert same_function(row("hard_tanh"), sp.Max(sp.Min(X, 1), -1))
    smooth = sp.series(2 * by_definition(row("logistic")).subs(X, 2 * X) - 1, X, 0, 2).removeO()
    assert smooth == X  # the same expansion, of tanh


# ---------------------------------------------------------------------------------------------- 4.1.2 ReLU
def test_4_1_2_relu_is_the_maximum_of_0_and_x() -> None:
    assert same_function(row("relu"), sp.Max(0, X))
    assert same_function(row("relu").diff(X), Piecewise((1, X > 0), (0, True)))


@pytest.mark.parametrize("name", ["leaky_relu", "prelu"])
def test_4_1_2_leaky_relu_is_the_maximum_of_x_and_gamma_x_for_gamma_below_1(name: str) -> None:
    below_1 = {parameter("gamma"): 1 / (1 + POSITIVE)}
    leaky = row(name, "gamma").xreplace(below_1)
    gamma = below_1[parameter("gamma")]
    on_either_side = {sign: sp.simplify(X.subs(X, sign) * (1 - gamma)) for sign in (-1, 1)}
    assert on_either_side[1].is_positive and on_either_side[-1].is_negative  # so max(x, gamma x) is x above 0 only
    assert same_function(leaky, Piecewise((gamma * X, gamma * X > X), (X, True)))
    assert same_function(leaky, sp.Max(0, X) + gamma * sp.Min(0, X))


def test_4_1_2_prelu_learns_a_slope_for_each_neuron() -> None:
    net = sn.Network(input=2, layers=[sn.dense(3, activation="prelu", name="h")], loss="squared_error")
    assert net.parameters["h.gamma"] == (3,)
    z, gamma = net.forward[0].tensor, net.tensors["h.gamma"]
    activation = net.forward[-1]
    n, i = activation.domain
    expected = sp.Max(0, X) + parameter("gamma") * sp.Min(0, X)
    assert same_function(activation.rhs.xreplace({z[n, i]: X, gamma[i]: parameter("gamma")}), expected)


def test_4_1_2_elu_is_the_formula_of_the_chapter() -> None:
    gamma = {parameter("gamma"): POSITIVE}
    elu = row("elu", "gamma").xreplace(gamma)
    textbook = Piecewise((0, X <= 0), (X, True)) + Piecewise((POSITIVE * (sp.exp(X) - 1), X <= 0), (0, True))
    assert same_function(elu, textbook)
    assert same_function(by_definition(row("elu")).diff(X), Piecewise((sp.exp(X), X <= 0), (1, True)))


def test_4_1_2_the_slope_of_softplus_is_the_logistic_function() -> None:
    assert row("softplus").diff(X) == row("logistic")
    assert is_zero(row("softplus") - sp.log(1 + sp.exp(X)))


# ---------------------------------------------------------------------------------------------- 4.1.3, 4.1.4
def test_4_1_3_swish_is_half_of_x_at_beta_0_and_tends_to_relu() -> None:
    swish = by_definition(row("swish", "beta"))
    beta = parameter("beta")
    assert swish.subs(beta, 0) == X / 2
    for x in (POSITIVE, -POSITIVE):
        relu = arm(row("relu"), sp.sign(x)).subs(X, x)
        assert sp.limit(swish.subs(X, x), beta, sp.oo) == relu
    assert swish.subs(X, 0) == 0


def test_4_1_4_gelu_is_x_times_the_normal_distribution_function() -> None:
    sigma = Symbol("s", positive=True)
    gelu = row("gelu", "mu", "sigma").xreplace({parameter("sigma"): sigma})
    distribution = by_definition(sp.simplify(gelu / X))
    density = sp.exp(-(((X - parameter("mu")) / sigma) ** 2) / 2) / (sp.sqrt(2 * sp.pi) * sigma)
    assert sp.simplify(distribution.diff(X) - density) == 0
    assert sp.limit(distribution.subs(parameter("mu"), 0), X, -sp.oo) == 0


def test_4_1_4_the_slope_of_gelu_is_the_distribution_plus_x_times_the_density() -> None:
    density = sp.exp(-(X**2) / 2) / sp.sqrt(2 * sp.pi)
    distribution = (1 + sp.erf(X / sp.sqrt(2))) / 2
    assert is_zero(by_definition(row("gelu").diff(X)) - distribution - X * density)


# ---------------------------------------------------------------------------------------------- equations, written out
Elements = dict[Symbol, Expr]


def element(access: Access, integers: Mapping[str, Any]) -> Expr:
    subscripts = [int(s) for s in access.subscripts]
    if access.tensor.kind == "integer":
        value = integers[access.tensor.name]
        for subscript in subscripts:
            value = value[subscript]
        return sp.Integer(value)
    return Symbol("_".join([access.tensor.name, *map(str, subscripts)]), real=True)


def write_out(equations: Iterable[Equation], integers: Mapping[str, Any] = MappingProxyType({})) -> Elements:
    """Every element of every real tensor that is defined, in symbols for the elements that its equations read.

    integers: the values of integer tensors, labels and positions of largest elements, as nested tuples.
    """
    size = {Symbol("N", integer=True, positive=True): sp.Integer(N)}
    found: Elements = {}
    exponentials: Elements = {}
    for equation in (e for e in equations if e.tensor.kind == "real"):
        if equation.op == "sum":  # what nothing is contributed to is 0
            shape = [range(int(n.xreplace(size))) for n in equation.tensor.shape]
            for subscripts in itertools.product(*shape):
                found.setdefault(s(equation.tensor.name, *subscripts), sp.Integer(0))
        ranges = [range(int(i.low), int(i.high.xreplace(size))) for i in equation.domain]
        for point in itertools.product(*ranges):
            at = {**dict(zip(equation.domain, map(sp.Integer, point))), **size}

            def written(expression: sp.Basic, at: Mapping = at) -> sp.Basic:
                placed = expression.xreplace(at)
                while accesses := placed.atoms(Access):  # the innermost first: a label may be a subscript
                    inner = [a for a in accesses if not any(s.atoms(Access) for s in a.subscripts)]
                    placed = placed.xreplace({a: element(a, integers) for a in inner})
                return placed

            if written(equation.where) is sp.false:
                continue
            target = written(equation.lhs)
            term = written(equation.rhs)
            if equation.op == "logsumexp":
                exponentials[target] = exponentials.get(target, 0) + sp.exp(term)
            elif equation.op == "max":
                found[target] = sp.Max(found.get(target, -sp.oo), term)
            else:
                found[target] = found.get(target, 0) + term
    return found | {target: sp.log(total) for target, total in exponentials.items()}


def from_leaves(value: Expr, elements: Elements, leaves: Iterable[Symbol] = ()) -> Expr:
    """The expression with every element replaced by what defines it, down to inputs, parameters and `leaves`."""
    known = {symbol: rhs for symbol, rhs in elements.items() if symbol not in set(leaves)}
    while value.free_symbols & set(known):
        value = value.xreplace(known)
    return value


def s(name: str, *subscripts: int) -> Symbol:
    return Symbol("_".join([name, *map(str, subscripts)]), real=True)


def derived(net: sn.Network, target: str | None = None) -> tuple[Equation, ...]:
    return net.gradient_program(target).equations


def two_layers(activation: str, loss: str = "squared_error", l2: float = 0.0) -> sn.Network:
    """3 inputs, 2 hidden neurons, 2 outputs."""
    layers = [sn.dense(2, activation=activation, name="hidden"), sn.dense(2, name="out")]
    return sn.Network(input=3, layers=layers, loss=loss, l2=l2)


# ---------------------------------------------------------------------------------------------- 4.1.5 Maxout
def maxout(pieces: int, inputs: int = 1) -> sn.Network:
    return sn.Network(input=inputs, layers=[sn.maxout(1, pieces=pieces, name="m")], loss="squared_error")


def test_4_1_5_maxout_is_the_largest_of_k_affine_maps_of_the_whole_layer_below() -> None:
    out = write_out(maxout(3, inputs=2).forward)
    for n in range(N):
        pieces = [sum(s("W1", 0, k, j) * s("x", n, j) for j in range(2)) + s("b1", 0, k) for k in range(3)]
        assert from_leaves(s("z1", n, 0), out) == sp.Max(*pieces)


def test_4_1_5_the_gradient_of_maxout_goes_to_the_largest_piece_alone() -> None:
    equations = derived(maxout(3, inputs=2))
    for largest in itertools.product(range(3), repeat=N):
        out = write_out(equations, {"z1_argmax": tuple((k,) for k in largest)})
        for k, j in itertools.product(range(3), range(2)):
            found = from_leaves(s("d_W1", 0, k, j), out, [s("delta1", n, 0) for n in range(N)])
            assert is_zero(found - sum(s("delta1", n, 0) * s("x", n, j) / N for n in range(N) if largest[n] == k))


def test_4_1_5_maxout_comes_as_near_to_a_convex_function_as_one_wants() -> None:
    """x^2 by K of its tangents: each misses by (x - c)^2 where it touches at c, so h apart they miss by (h/2)^2."""
    c = parameter("c")
    tangent = write_out(maxout(1).forward)[s("s1", 0, 0, 0)].xreplace({s("W1", 0, 0, 0): 2 * c, s("b1", 0, 0): -(c**2)})
    assert is_zero(s("x", 0, 0) ** 2 - tangent - (s("x", 0, 0) - c) ** 2)
    x = np.linspace(-1, 1, 2**9 + 1)
    for pieces in (3, 5, 9, 17):
        touching = np.linspace(-1, 1, pieces)
        net = maxout(pieces)
        values = {"x": x[:, None], "W1": 2 * touching[None, :, None], "b1": -(touching[None] ** 2)}
        z = sn.evaluate(Program(net.forward, (net.prediction,)), values)[net.prediction.name][:, 0]
        assert (z <= x**2).all() and (x**2 - z).max() == 1 / (pieces - 1) ** 2


# ---------------------------------------------------------------------------------------------- 4.3 networks
def test_4_3_a_layer_is_a_matrix_product_a_bias_and_a_function() -> None:
    net = two_layers("tanh")
    assert net.parameters["hidden.W"] == (2, 3) and net.parameters["out.W"] == (2, 2)  # (units, units below)
    out = write_out(net.forward)
    for n, i in itertools.product(range(N), range(2)):
        assert out[s("z1", n, i)] == sum(s("W1", i, j) * s("x", n, j) for j in range(3)) + s("b1", i)
        assert out[s("a1", n, i)] == sp.tanh(s("z1", n, i))
        assert out[s("z2", n, i)] == sum(s("W2", i, j) * s("a1", n, j) for j in range(2)) + s("b2", i)


def test_4_3_3_cross_entropy_of_probabilities_is_minus_y_log_of_the_prediction() -> None:
    with pytest.warns(UserWarning, match="cross_entropy takes probabilities"):
        net = two_layers("tanh", "cross_entropy")
    one_hot = write_out(net.loss("labels").equations, {"y": (1, 0)})
    assert [one_hot[s("ell", n)] for n in range(N)] == [-sp.log(s("z2", 0, 1)), -sp.log(s("z2", 1, 0))]
    distribution = write_out(net.loss("distribution").equations)
    for n in range(N):
        inside = distribution[s("ell", n)].replace(Piecewise, lambda *arms: arms[-1][0])  # where y is not 0
        assert is_zero(inside + sum(s("y", n, k) * sp.log(s("z2", n, k)) for k in range(2)))


def test_4_3_3_the_structural_risk_is_the_mean_loss_and_half_lambda_times_the_squared_weights() -> None:
    net = two_layers("logistic", l2=0.1)
    out = write_out((*net.forward, *net.risk()))
    weights = [s("W1", i, j) for i in range(2) for j in range(3)] + [s("W2", i, j) for i in range(2) for j in range(2)]
    risk = from_leaves(s("R"), out, [s("ell", n) for n in range(N)])
    data = sum(s("ell", n) for n in range(N)) / N
    assert is_zero(risk - data - s("lambda") / 2 * sum(w**2 for w in weights))  # and no bias


def test_4_3_3_the_update_is_gradient_descent_on_the_structural_risk() -> None:
    net = two_layers("tanh", l2=0.1)
    program = net.training_program("gradient_descent")
    out = write_out(program.equations)
    for number, inputs, below in ((1, 3, "x"), (2, 2, "a1")):
        for i in range(2):
            step = sum(s(f"delta{number}", n, i) for n in range(N)) / N
            after = from_leaves(s(f"b{number}_next", i), out, _deltas())
            assert is_zero(after - (s(f"b{number}", i) - s("alpha") * step))
            for j in range(inputs):
                w = s(f"W{number}", i, j)
                mean = sum(s(f"delta{number}", n, i) * s(below, n, j) for n in range(N)) / N
                after = from_leaves(s(f"W{number}_next", i, j), out, [*_deltas(), *_activations()])
                assert is_zero(after - (w - s("alpha") * (mean + s("lambda") * w)))


def _deltas() -> list[Symbol]:
    return [s(f"delta{number}", n, i) for number in (1, 2) for n in range(N) for i in range(2)]


def _activations() -> list[Symbol]:
    return [s("a1", n, i) for n in range(N) for i in range(2)]


def test_4_3_2_a_network_is_a_classifier_on_the_features_of_its_last_hidden_layer() -> None:
    layers = [sn.dense(4, activation="tanh", name="features"), sn.dense(3, name="classifier")]
    model = sn.Network(input=2, layers=layers, loss="softmax_cross_entropy").compile(dtype="float64", seed=1)
    alone = sn.Network(input=4, layers=layers[1:], loss="softmax_cross_entropy").compile(dtype="float64")
    alone.parameters = {name: model.parameters[name] for name in alone.parameters}
    X = np.random.default_rng(0).normal(size=(20, 2))
    np.testing.assert_allclose(alone.predict_proba(model.transform(X, "features")), model.predict_proba(X), rtol=1e-14)


# ---------------------------------------------------------------------------------------------- 4.4 backpropagation
@pytest.mark.parametrize("name", [r.name for r in ROWS if r.name != "identity"])
def test_4_4_delta_is_the_slope_times_the_transposed_weights_times_the_delta_above(name: str) -> None:
    """For every row of the table, kinks included: f' is SymPy's derivative of the row."""
    out = write_out(derived(two_layers(name)))
    learned = settings(name, {}, name).learned
    for n, i in itertools.product(range(N), range(2)):
        own = {parameter(key): s(f"{key}_1", i) for key in learned}
        slope = resolve(settings(name, {}, name)).expression.diff(X).xreplace({X: s("z1", n, i), **own})
        above = sum(s("W2", k, i) * s("delta2", n, k) for k in range(2))
        assert sp.expand(from_leaves(s("delta1", n, i), out, _without(out, "delta1", "d_a1")) - slope * above) == 0


def _without(elements: Elements, *names: str) -> list[Symbol]:
    """Every element but those of the named tensors: what an expression is to be written in."""
    return [symbol for symbol in elements if not any(str(symbol).startswith(f"{name}_") for name in names)]


@pytest.mark.parametrize("name", SMOOTH)
def test_4_4_delta_is_the_derivative_of_the_loss_by_the_net_input(name: str) -> None:
    """Against SymPy's derivative of the whole loss as one expression, which knows no chain of layers."""
    out = write_out(derived(two_layers(name)))
    net_inputs = [s("z1", 0, i) for i in range(2)]
    loss = from_leaves(s("ell", 0), out, net_inputs)
    for z, delta in zip(net_inputs, (s("delta1", 0, 0), s("delta1", 0, 1))):
        difference = from_leaves(delta, out, net_inputs) - loss.diff(z)
        assert sp.expand(difference) == 0 or is_zero(difference)


def test_4_4_the_gradients_of_weights_and_biases_are_delta_times_the_activation_below_and_delta() -> None:
    out = write_out(derived(two_layers("logistic")))
    for number, inputs, below in ((1, 3, "x"), (2, 2, "a1")):
        for i in range(2):
            assert is_zero(out[s(f"d_b{number}", i)] - sum(s(f"delta{number}", n, i) for n in range(N)) / N)
            for j in range(inputs):
                products = sum(s(f"delta{number}", n, i) * s(below, n, j) for n in range(N)) / N
                assert is_zero(out[s(f"d_W{number}", i, j)] - products)


def test_4_4_delta_of_softmax_cross_entropy_is_the_prediction_minus_the_label() -> None:
    labels = {"y": (1, 0)}
    out = write_out(derived(two_layers("tanh", "softmax_cross_entropy"), "labels"), labels)
    for n, k in itertools.product(range(N), range(2)):
        scores = [sp.exp(s("z2", n, m)) for m in range(2)]
        delta = from_leaves(s("delta2", n, k), out, _without(out, "delta2", "d_lse", "lse"))
        assert is_zero(delta - (scores[k] / sum(scores) - int(labels["y"][n] == k)))


def test_4_4_delta_of_softmax_cross_entropy_is_the_prediction_minus_the_distribution() -> None:
    net = two_layers("tanh", "softmax_cross_entropy")
    out = write_out(derived(net, "distribution"))
    for n, k in itertools.product(range(N), range(2)):
        scores = [sp.exp(s("z2", n, m)) for m in range(2)]
        delta = from_leaves(s("delta2", n, k), out, _without(out, "delta2", "d_lse", "lse"))
        sums_to_1 = {s("y", n, 1): 1 - s("y", n, 0)}
        assert is_zero((delta - (scores[k] / sum(scores) - s("y", n, k))).xreplace(sums_to_1))
    # and the program that is read and lowered has it in this form: no sum over y is left
    readable, _ = run_passes(net.gradient_program("distribution"), READABLE[:2])  # facts, algebra
    delta = [e for e in readable.equations if e.tensor.name == "delta2"]
    (y,), lse = net.loss("distribution").targets, Tensor("lse", net.prediction.shape[:1])
    n, k = delta[0].lhs.subscripts
    assert not any(e.bound or e.lhs != delta[0].lhs for e in delta)
    assert sum(e.rhs for e in delta) == sp.exp(net.prediction[n, k] - lse[n]) - y[n, k]


@pytest.mark.parametrize("target", ["labels", "distribution"])
def test_4_4_a_softmax_layer_under_minus_y_log_of_the_prediction_has_the_same_delta(target: str) -> None:
    net = sn.Network(input=2, layers=[sn.dense(3), sn.softmax()], loss="cross_entropy")
    labels, scores = {"y": (2, 0)}, [s("z1", 0, k) for k in range(3)]
    out = write_out(derived(net, target), labels)
    given = [s("y", 0, k) for k in range(3)] if target == "distribution" else [0, 0, 1]
    sums_to_1 = {s("y", 0, 2): 1 - s("y", 0, 0) - s("y", 0, 1)}
    for k in range(3):
        delta = from_leaves(s("delta1", 0, k), out, scores).replace(Piecewise, lambda *arms: arms[-1][0])  # y not 0
        predicted = sp.exp(scores[k]) / sum(map(sp.exp, scores))
        assert is_zero((delta - (predicted - given[k])).xreplace(sums_to_1))


# ---------------------------------------------------------------------------------------------- 4.5 by machine
def test_4_5_a_central_difference_truncates_at_the_third_derivative() -> None:
    h, f = Symbol("h", positive=True), by_definition(row("logistic"))
    quotient = (f.subs(X, X + h) - f.subs(X, X - h)) / (2 * h)
    expected = f.diff(X) + h**2 / 6 * f.diff(X, 3)
    assert sp.simplify(sp.series(quotient, h, 0, 4).removeO() - expected) == 0


def test_4_5_several_paths_between_two_nodes_add_up() -> None:
    """y = u v with u = exp(x) and v = sin(x): one path through each."""
    i = Index("i", 1)
    x, u, v, y = Tensor("x", (1,), "parameter"), Tensor("u", (1,)), Tensor("v", (1,)), Tensor("y")
    forward = (
        Equation(u[i], (i,), sp.exp(x[i])),
        Equation(v[i], (i,), sp.sin(x[i])),
        Equation(Access(y), (i,), u[i] * v[i]),
    )
    swept = sn.pullback(forward, {y: 1}, (x,))
    out = write_out((*forward, *swept.equations))
    assert is_zero(from_leaves(s("d_x", 0), out) - (sp.exp(X) * sp.sin(X)).diff(X).subs(X, s("x", 0)))
    assert len([e for e in swept.equations if e.tensor.name == "d_x"]) == 2


def test_4_5_forward_and_reverse_mode_give_the_same_derivative() -> None:
    net = two_layers("swish")
    loss = (*net.forward, *net.risk())
    risk = Program(loss, (Tensor("R"),)).outputs[0]
    weight = net.tensors["hidden.W"]
    direction = Tensor("direction", weight.shape, "input")
    forward = sn.pushforward(loss, {weight: direction}, (risk,))
    along = from_leaves(s("t_R"), write_out((*loss, *forward.equations)))
    gradient = write_out(derived(net))
    inner = sum(
        from_leaves(s("d_W1", i, j), gradient) * s("direction", i, j) for i, j in itertools.product(range(2), range(3))
    )
    assert is_zero(along - inner)


# ---------------------------------------------------------------------------------------------- 4.6, exercises
def test_4_6_the_slope_of_the_logistic_function_is_at_most_a_quarter() -> None:
    """1/4 - f' is a square, so a delta shrinks at least by 4 at each layer, the weights apart; equality at 0."""
    slope = by_definition(row("logistic").diff(X))
    root = (sp.exp(X) - 1) / (2 * (sp.exp(X) + 1))
    assert sp.simplify(Rational(1, 4) - slope - root**2) == 0 and root.is_real
    assert slope.subs(X, 0) == Rational(1, 4)


def test_4_6_the_slope_of_tanh_is_at_most_1_and_that_of_relu_is_1_wherever_it_is_active() -> None:
    assert is_zero(1 - row("tanh").diff(X) - row("tanh") ** 2)
    assert arm(row("relu").diff(X), sp.Integer(1)) == 1


def test_exercise_4_1_the_gradients_of_one_neuron_have_the_sign_of_delta_where_all_inputs_are_positive() -> None:
    net = sn.Network(input=3, layers=[sn.dense(1, activation="logistic")], loss="squared_error")
    n = Index("n", net.input.shape[0])
    (gradient,) = [e for e in derived(net) if e.tensor.name == "d_W1"]
    (delta,) = [a for a in gradient.reads() if a.tensor.name == "delta1"]
    of_one_sample = gradient.rhs * net.input.shape[0]
    (x,) = [a for a in gradient.reads() if a.tensor == net.input]
    assert x.subscripts[0] == delta.subscripts[0] == n
    assert (of_one_sample / delta).xreplace({x: POSITIVE}).is_positive
