"""Claims about pages of formulas: three notations, three depths, every format; golden/ holds what is printed.

`SYMNET_UPDATE_GOLDEN=1 pytest tests/test_formulas.py` writes the files again; then read them.
"""

from __future__ import annotations

import json
import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import sympy as sp
from sympy import Tuple, srepr
from sympy.core.symbol import Str

import symnet as sn
from compiler import functions
from compiler.program import Access, Index, Tensor
from symnet.errors import SymnetError
from symnet.network import Network
from symnet.notation.reduction import Reduction
from symnet.notation.sheet import FORMATS, from_tree, tree

GOLDEN = Path(__file__).parent / "golden"
EXAMPLES = Path(__file__).parent.parent / "examples"
ENDINGS = {"text": "txt", "latex": "tex", "mathtext": "mathtext", "markdown": "md", "mathml": "mml", "html": "html"}
ENDINGS |= {"json": "json"}


def networks() -> dict[str, Network]:
    found = {name: Network.from_toml(EXAMPLES / f"{name}.toml") for name in ("xor", "digits")}
    found["skip"] = Network(
        4,
        [
            sn.dense(4, "elu", name="first"),
            sn.dense(4, "elu", name="second"),
            sn.add("first", "second", name="both"),
            sn.dense(2, name="out"),
        ],
        "squared_error",
    )
    found["maxout"] = Network(
        4, [sn.maxout(3, pieces=2, name="hidden"), sn.dense(3, name="out")], "softmax_cross_entropy"
    )
    found["lstm"] = Network([5, 3], [sn.lstm(4, name="memory"), sn.dense(2, name="out")], "squared_error")
    circle = {"A": {"edges": [[0, 1], [1, 2], [2, 3], [3, 0], [0, 2]], "nodes": 4}}
    found["graph"] = Network(
        [4, 3],
        [sn.graph_conv(5, "relu", name="hidden"), sn.graph_conv(2, name="out")],
        "squared_error",
        constants=circle,
    )
    deep = [sn.dense(8, "tanh") for _ in range(10)]
    found["deep"] = Network(8, [*deep, sn.dense(1)], "squared_error", l2=0.01)
    return found


NETWORKS = networks()
NOTATIONS = ("textbook", "matrix", "index")


@pytest.mark.parametrize("notation", NOTATIONS)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_format_is_as_it_was_when_it_was_last_read(name: str, notation: str) -> None:
    sheet = NETWORKS[name].formulas(notation, "named" if name == "skip" else "written")
    for form in FORMATS if notation == "textbook" and name != "deep" else ("text", "latex"):
        path = GOLDEN / f"{name}.{notation}.{ENDINGS[form]}"
        text = sheet.written(form).rstrip("\n") + "\n"
        if os.environ.get("SYMNET_UPDATE_GOLDEN"):
            GOLDEN.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.read_text(encoding="utf-8") == text, f"{path} differs; SYMNET_UPDATE_GOLDEN=1 writes it again"


@pytest.mark.parametrize("name", NETWORKS)
def test_the_numpy_source_is_as_it_was_when_it_was_last_read(name: str) -> None:
    path = GOLDEN / f"{name}.numpy"
    text = NETWORKS[name].to_numpy()
    if os.environ.get("SYMNET_UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text, f"{path} differs; SYMNET_UPDATE_GOLDEN=1 writes it again"


# ---------------------------------------------------------------------------------------------- notations
def lines(text: str) -> set[str]:
    return {line.strip() for line in text.splitlines()}


def test_the_textbook_notation_is_that_of_the_chapter() -> None:
    """Qiu, ch. 4.4, for a general layer."""
    assert {
        "δ⁽ˡ⁾ = f'(z⁽ˡ⁾) ⊙ (W⁽ˡ⁺¹⁾)ᵀ δ⁽ˡ⁺¹⁾    l = 1, ..., 10",
        "z⁽ˡ⁾ = W⁽ˡ⁾ a⁽ˡ⁻¹⁾ + b⁽ˡ⁾    l = 2, ..., 11",
        "a⁽ˡ⁾ = f(z⁽ˡ⁾)    l = 1, ..., 10",
        "f'(z) = 1 - tanh(z)²",
        "dense2.W ... dense11.W   ∂R/∂W⁽ˡ⁾ = (1/N) Σ δ⁽ˡ⁾ (a⁽ˡ⁻¹⁾)ᵀ + λ W⁽ˡ⁾    l = 2, ..., 11",
        "R = (1/N) Σ ℓ + (λ/2) Σ_{l=1..11} ‖W⁽ˡ⁾‖²",
    } <= lines(NETWORKS["deep"].show(derivatives="named"))


def test_the_matrix_notation_has_a_row_for_each_sample() -> None:
    assert {
        "Z1 = X W1ᵀ + 𝟏 b1ᵀ",
        "ℓ = logsumexp(Z2) - (Z2 ⊙ onehot(y)) 𝟏",
        "Δ2 = softmax(Z2) - onehot(y)",
        "Δ1 = [Z1 > 0] ⊙ Δ2 W2",
        "hidden1.W   ∂R/∂W1 = (1/N) Δ1ᵀ X + λ W1",
        "hidden1.b   ∂R/∂b1 = (1/N) Δ1ᵀ 𝟏",
    } <= lines(NETWORKS["digits"].show("matrix"))


def test_the_index_notation_names_every_index() -> None:
    assert {
        "z1[n,i] = Σ_j W1[i,j] x[n,j] + b1[i]",
        "δ2[n,i] = softmax(z2[n])[i] - [i = y[n]]",
        "δ1[n,i] = [z1[n,i] > 0] Σ_j W2[j,i] δ2[n,j]",
        "hidden1.W   ∂R/∂W1[i,j] = (1/N) Σ_n δ1[n,i] x[n,j] + λ W1[i,j]",
    } <= lines(NETWORKS["digits"].show("index"))


def test_a_recurrence_is_written_by_its_steps() -> None:
    assert {
        "z1_{t,q} = W1_q xₜ + b1_q + U1_q h1ₜ₋₁",
        "c1ₜ = i1ₜ ⊙ g1ₜ + f1ₜ ⊙ c1ₜ₋₁",
        "h1ₜ = o1ₜ ⊙ tanh(c1ₜ)",
        "∂ℓ/∂h1ₜ = [t = 4] W2ᵀ δ2 + Σ_q U1_qᵀ δ1_{t+1,q}",
        "memory.U   ∂R/∂U1_q = (1/N) Σ_t Σ δ1_{t,q} h1ₜ₋₁ᵀ",
        "A value outside of its range is 0.",
    } <= lines(NETWORKS["lstm"].show())


def test_a_layer_on_a_graph_is_a_product_of_matrices() -> None:
    assert {
        "z1 = Â x W1ᵀ + 𝟏 b1ᵀ",
        "δ1 = [z1 > 0] ⊙ Âᵀ δ2 W2",
        "hidden.W   ∂R/∂W1 = (1/N) Σ δ1ᵀ Â x",
    } <= lines(NETWORKS["graph"].show())


def test_what_has_three_axes_is_written_with_indices_beside_matrices() -> None:
    found = lines(NETWORKS["maxout"].show())
    assert {"s1[n,i,j] = Σ_k W1[i,j,k] x[n,k] + b1[i,j]", "z2 = W2 z1 + b2", "δ1 = W2ᵀ δ2"} <= found


# ---------------------------------------------------------------------------------------------- depths
def test_a_gradient_has_three_depths() -> None:
    gradient = NETWORKS["digits"].gradient("hidden1.W")
    assert gradient.show(depth="recursion").splitlines() == [
        "δ2 = softmax(z2) - onehot(y)",
        "δ1 = [z1 > 0] ⊙ W2ᵀ δ2",
        "∂R/∂W1 = (1/N) Σ δ1 xᵀ + λ W1",
    ]
    assert gradient.show(depth="complete").splitlines()[:3] == [
        "z1 = W1 x + b1",
        "a1 = max(0, z1)",
        "z2 = W2 a1 + b2",
    ]
    assert gradient.show(depth="closed").splitlines() == [
        "∂R/∂W1 = (1/N) Σ ([W1 x + b1 > 0] ⊙ W2ᵀ (softmax(W2 max(0, W1 x + b1) + b2) - onehot(y))) xᵀ + λ W1"
    ]


def test_a_closed_form_counts_what_it_leaves_out() -> None:
    short = NETWORKS["digits"].gradient("hidden1.W").formulas(depth="closed", most=14)
    assert short.notes == ("1 quantity is not written out: z1",)
    assert "not written out" in NETWORKS["deep"].gradient("dense1.W").show(depth="closed")


def test_the_gradient_of_one_number_has_a_formula_and_a_value() -> None:
    network = Network(3, [sn.dense(4, "tanh", name="h"), sn.dense(2)], "squared_error", l2=0.1)
    one = network.gradient("h.W[2,1]")
    assert one.show().splitlines()[-1] == "∂R/∂W1[2,1] = (1/N) Σ_n δ1[n,2] x[n,1] + λ W1[2,1]"
    assert network.gradient("h.W", at=(2, 1)).show() == one.show()
    assert str(one.expr) == "lambda[]*W1[2,1] + sum_n(delta1[n,2]*x[n,1]/N)"
    parameters = network.initial_parameters()
    X, y = [[1.0, 2.0, 3.0], [0.5, -1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]
    whole = network.gradient("h.W").evaluate(parameters, X, y)
    assert one.evaluate(parameters, X, y) == whole[2, 1]
    found: dict = {}
    exec(one.to_numpy(), found)
    assert abs(found["gradient"](parameters, X, y) - whole[2, 1]) < 1e-14
    with pytest.raises(SymnetError, match=r"shape \(4, 3\), counted from 0"):
        network.gradient("h.W[4,0]")


def test_choices_that_do_not_exist_are_named() -> None:
    with pytest.raises(SymnetError, match="Did you mean 'matrix'"):
        NETWORKS["xor"].show("matrx")
    with pytest.raises(SymnetError, match="closed"):
        NETWORKS["xor"].gradient("out.W").show(depth="close")
    with pytest.raises(SymnetError, match="latex"):
        NETWORKS["xor"].formulas().written("latx")
    with pytest.raises(SymnetError, match="named"):
        NETWORKS["xor"].show(derivatives="name")


# ---------------------------------------------------------------------------------------------- formats
@pytest.mark.parametrize("name", NETWORKS)
def test_json_holds_the_trees_of_the_formulas(name: str) -> None:
    sheet = NETWORKS[name].formulas(derivatives="named")
    found = json.loads(sheet.json())
    trees = [formula["tree"] for section in found["sections"] for formula in section["formulas"]]
    assert tuple(map(from_tree, trees)) == sheet.formulas
    assert [tree(formula) for formula in sheet.formulas] == trees


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("notation", NOTATIONS)
def test_mathml_is_well_formed(name: str, notation: str) -> None:
    sheet = NETWORKS[name].formulas(notation, "named")
    for line in sheet.mathml().splitlines():
        root = ElementTree.fromstring(line)
        assert root.tag.endswith("math")
        for parent in root.iter():  # what takes a fixed number of parts has them
            parts = {"msup": 2, "msub": 2, "mfrac": 2, "munder": 2, "msubsup": 3, "munderover": 3}
            kind = parent.tag.rpartition("}")[2]
            assert len(parent) == parts.get(kind, len(parent))
    ElementTree.fromstring(f"<page>{sheet.html().partition('</style>')[2]}</page>")


@pytest.mark.parametrize("name", ["digits", "lstm", "maxout"])
def test_expressions_go_through_srepr_and_back(name: str) -> None:
    network = NETWORKS[name]
    known = {
        key: getattr(sp, key) for key in ("Add", "Mul", "Pow", "Integer", "Rational", "Symbol", "Piecewise", "exp")
    }
    known |= {"ExprCondPair": sp.functions.elementary.piecewise.ExprCondPair, "tanh": sp.tanh, "Equality": sp.Eq}
    known |= {kind.__name__: kind for kind in (Access, Index, Tensor, Reduction, Str, Tuple)}
    known |= {"true": sp.true, "false": sp.false} | {f.__name__: f for f in functions.OWN}
    for parameter in network.parameters:
        expression = network.gradient(parameter).expr
        assert eval(srepr(expression), {}, known) == expression


def test_notebooks_get_text_html_and_latex() -> None:
    network = NETWORKS["xor"]
    for shown in (network, network.gradient("out.W"), network.compile(seed=1)):
        bundle = shown._repr_mimebundle_()
        assert set(bundle) == {"text/plain", "text/html", "text/latex"}
        assert "<math" in bundle["text/html"]
        assert bundle["text/latex"].startswith("$\\displaystyle \\begin{aligned}")
    history = network.compile(seed=1).fit([[0.0, 0], [0, 1], [1, 0], [1, 1]], [0.0, 1, 1, 0], epochs=2)
    assert "<td>2</td>" in history._repr_mimebundle_()["text/html"]
