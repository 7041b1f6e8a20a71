"""The HTML report: well-formed, offline, complete; charts as SVG."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

import symnet as sn
from symnet.look.chart import _Axis, bar_chart, line_chart
from symnet.look.html_report import html_report
from symnet.notation.mathml import mathml
from symnet.notation.pages import sheet

VOID = {"meta", "br", "path", "rect", "circle"}


class Nesting(HTMLParser):
    """Fails where a tag is closed that is not open, or stays open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag in VOID or self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def small() -> sn.Network:
    layers = [sn.dense(5, "tanh", name="hidden"), sn.dense(3, name="out")]
    return sn.Network(input=4, layers=layers, loss="softmax_cross_entropy", l2=1e-2)


@pytest.fixture(scope="module")
def page() -> tuple[str, Nesting]:
    network = small()
    model = network.compile(dtype="float64")
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 4)), rng.integers(0, 3, 60)
    text = html_report(model, model.fit(X, y, 4, validation_split=0.2), model._checked(X, y))
    nesting = Nesting()
    nesting.feed(text)
    return text, nesting


def test_the_page_is_well_formed_and_takes_nothing_from_elsewhere(page: tuple[str, Nesting]) -> None:
    text, nesting = page
    assert not nesting.open and nesting.links == []
    assert "<script" not in text and "@import" not in text and not re.search(r"url\((?!#)", text)
    names = {"http://www.w3.org/2000/svg", "http://www.w3.org/1998/Math/MathML"}  # of languages: nothing is fetched
    assert set(re.findall(r"https?://[^\"' ]+", text)) == names


def test_the_page_has_formulas_parameters_passes_source_and_curves(page: tuple[str, Nesting]) -> None:
    said = page[1].texts
    for part in (
        "hidden.W",
        "Loss",
        "Accuracy of validation, %",
        "hidden: dense 5 tanh",
    ):
        assert part in said, part
    everything = "".join(said)
    sheets = [sheet(small(), notation=notation) for notation in ("textbook", "matrix", "index")]
    assert page[0].count("<math") == sum(len(found.formulas) for found in sheets)
    assert all(mathml(formula).split(">", 1)[1] in page[0] for found in sheets for formula in found.formulas)
    assert "def kernel(table):" in everything and "stabilize" in everything and "of 5 dead" in everything


def test_names_of_users_stay_text() -> None:
    chart = line_chart({"<b>": ([0, 1], [1, 2]), "&": ([0, 1], [1, 2])}, "</svg><script>", "x")
    texts = [e.text for e in ElementTree.fromstring(chart).iter("{http://www.w3.org/2000/svg}text")]
    assert {"<b>", "&", "</svg><script>"} <= set(texts)


def test_a_curve_is_drawn_where_its_numbers_are() -> None:
    chart = line_chart({"a": ([0, 1, 2], [0, 10, float("nan")])}, "t", "x")
    (path,) = re.findall(r'class="curve c0" d="M([^"]+)"', chart)
    (x1, y1), (x2, y2) = (map(float, point.split()) for point in path.split("L"))
    assert (x1, x2) == (62, 428) and y1 > y2


def test_what_is_not_finite_or_not_above_0_on_a_logarithmic_axis_is_left_out() -> None:
    assert "no finite values" in line_chart({"a": ([0, 1], [float("nan"), float("inf")])}, "t", "x")
    assert "no finite values" in line_chart({"a": ([0, 1], [0, -1])}, "t", "x", log=True)
    assert ElementTree.fromstring(bar_chart({"a": 0.0, "b": 2.0}, "t", log=True)) is not None


def test_ticks_are_round_numbers_inside_the_axis() -> None:
    assert _Axis(0, 1, 0, 100).ticks == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert _Axis(0.3, 0.9, 0, 100, log=True).ticks == [0.5]
    assert _Axis(1e-8, 1, 0, 100, log=True).ticks == [1e-8, 1e-6, 1e-4, 1e-2, 1]
    assert _Axis(2, 2, 0, 100).at(2) == 50
