"""Pictures of a network: layers and equations as Mermaid, DOT and SVG."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

import symnet as sn
from symnet.cli import main
from symnet.look.drawing import _Layout
from symnet.look.picture import Node, Picture


def skipping() -> sn.Network:
    layers = [sn.dense(8, "tanh", name="a"), sn.dense(8, "tanh", name="b"), sn.add("a", "b", name="s"), sn.dense(3)]
    return sn.Network(input=4, layers=layers, loss="softmax_cross_entropy", l2=1e-3)


def test_layers_are_joined_as_they_read_each_other() -> None:
    picture = skipping().picture()
    assert picture.edges == (
        ("x", "a"),
        ("a", "b"),
        ("a", "s"),
        ("b", "s"),
        ("s", "dense4"),
        ("dense4", "softmax_cross_entropy "),
    )


def test_each_equation_is_a_node_and_reads_what_its_formula_names() -> None:
    picture = skipping().picture("equations")
    labels = {node.name: node.lines[0] for node in picture.nodes}
    assert labels["delta1"] == "δ1 = (1 - a1²) ⊙ (W4ᵀ δ4 + W2ᵀ δ2)"
    assert {a for a, b in picture.edges if b == "delta1"} == {"a1", "delta4", "delta2"}
    forward = skipping().picture("equations", backward=False)
    assert [n.name for n in forward.nodes if n.kind == "gradient"] == []
    numbers = picture.numbers
    assert all(numbers[a] < numbers[b] for a, b in picture.edges)


def test_boxes_do_not_overlap_and_edges_go_down_in_lanes_of_their_own() -> None:
    picture = skipping().picture("equations")
    layout = _Layout(picture.nodes, picture.edges)
    rows: dict[float, list[tuple[float, float]]] = {}
    for box in layout.boxes.values():
        rows.setdefault(box.y, []).append((box.x - box.width / 2, box.x + box.width / 2))
    for row in rows.values():
        assert all(one[1] < other[0] for one, other in pairwise(sorted(row)))
    assert all(layout.boxes[a].y < layout.boxes[b].y for a, b in picture.edges)


@pytest.mark.parametrize("level", ["layers", "equations"])
def test_the_drawing_is_well_formed_and_names_every_node(level: str) -> None:
    picture = skipping().picture(level)
    root = ElementTree.fromstring(picture.svg())
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == [line for node in picture.nodes for line in node.lines]


def test_text_of_users_stays_text() -> None:
    hostile = Picture((Node("a", ('"]; x <b>&amp;</b> \\',)), Node("b", ("b",))), (("a", "b"),))
    assert ElementTree.fromstring(hostile.svg()) is not None
    assert hostile.mermaid().count('"') == 4 and "<b>" not in hostile.mermaid()
    assert re.search(r'label="\\"\]; x <b>&amp;</b> \\\\"', hostile.dot())


def test_the_command_writes_the_format_that_the_ending_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for ending, start in (("svg", "<svg "), ("dot", "digraph network {"), ("md", "flowchart TB")):
        assert main(["graph", "examples/xor.toml", "-o", str(tmp_path / f"net.{ending}")]) == 0
        assert (tmp_path / f"net.{ending}").read_text(encoding="utf-8").startswith(start)
    assert main(["graph", "examples/xor.toml", "--level", "equations"]) == 0
    assert "δ1" in capsys.readouterr().out
    with pytest.raises(sn.SymnetError, match="unknown level 'layer'"):
        skipping().picture("layer")
