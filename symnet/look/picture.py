"""The static graph as a picture: Mermaid, DOT and SVG; `net.picture()`.

In: a Network.  Out: a Picture: nodes and edges of its layers, or of its equations, forward and backward.  The SVG needs
no other program.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from ..errors import unknown
from ..notation import typeset
from ..notation.pages import formulas, readable

if TYPE_CHECKING:
    from ..network import Network

LEVELS = ("layers", "equations")


@dataclass(frozen=True, slots=True)
class Node:
    """kind: "input", "node", "loss" or "gradient"."""

    name: str
    lines: tuple[str, ...]
    kind: str = "node"


@dataclass(frozen=True, slots=True)
class Picture:
    """Nodes, and edges (from, to) by their names; nodes stand after those that they read.

    >>> from symnet.declare.constructors import dense
    >>> from symnet.network import Network
    >>> print(Network(input=2, layers=[dense(1)], loss="squared_error").picture().mermaid())
    flowchart TB
        n0(["x: 2"])
        n1["dense1: dense 1"]
        n2{{"squared_error"}}
        n0 --> n1
        n1 --> n2
    """

    nodes: tuple[Node, ...]
    edges: tuple[tuple[str, str], ...]

    @property
    def numbers(self) -> Mapping[str, int]:
        return {node.name: number for number, node in enumerate(self.nodes)}

    # ------------------------------------------------------------------------------------------ text
    def mermaid(self) -> str:
        """A flowchart in Mermaid's language, as Markdown on the web shows it."""
        shapes = {"input": ("([", "])"), "loss": ("{{", "}}"), "gradient": ("[/", "/]")}
        lines = ["flowchart TB"]
        for number, node in enumerate(self.nodes):
            left, right = shapes.get(node.kind, ("[", "]"))
            label = "<br>".join(escape(line, quote=False).replace('"', "#quot;") for line in node.lines)
            lines.append(f'    n{number}{left}"{label}"{right}')
        numbers = self.numbers
        lines += [f"    n{numbers[a]} --> n{numbers[b]}" for a, b in self.edges]
        return "\n".join(lines)

    def dot(self) -> str:
        """The graph in the DOT language of Graphviz."""
        shapes = {"input": "oval", "loss": "hexagon", "gradient": "parallelogram"}
        lines = ["digraph network {", "    node [fontname=monospace];"]
        for number, node in enumerate(self.nodes):
            label = "\\n".join(line.replace("\\", "\\\\").replace('"', '\\"') for line in node.lines)
            lines.append(f'    n{number} [label="{label}", shape={shapes.get(node.kind, "box")}];')
        numbers = self.numbers
        lines += [f"    n{numbers[a]} -> n{numbers[b]};" for a, b in self.edges]
        return "\n".join([*lines, "}"])

    # ------------------------------------------------------------------------------------------ drawing
    def svg(self) -> str:
        """A drawing that stands by itself, in light and in dark surroundings."""
        from .drawing import svg

        return svg(self)

    def _repr_svg_(self) -> str:
        return self.svg()


def picture(network: Network, level: str = "layers", backward: bool = True) -> Picture:
    """The layers and who reads whom; or the equations, as they are printed, with those of the gradients."""
    if level not in LEVELS:
        raise unknown("picture, level", "level", level, LEVELS)
    return _layers(network) if level == "layers" else _equations(network, backward)


def _layers(network: Network) -> Picture:
    spec = network.spec
    nodes = [Node(name, (f"{name}: {'x'.join(map(str, shape)) or '1'}",), "input") for name, shape in spec.inputs]
    edges = []
    for layer in spec.graph.order:
        nodes.append(Node(layer.name, (f"{layer.name}: {layer.kind} {layer.words}".rstrip(),)))
        edges += [(name, layer.name) for name in spec.graph.reads[layer.name]]
    for head in spec.heads:
        loss = f"{head.name}: {head.loss.name or 'own loss'}" if head.name else head.loss.name or "own loss"
        nodes.append(Node(f"{loss} ", (loss,), "loss"))  # no layer's name ends in a space
        edges.append((head.layer, f"{loss} "))
    return Picture(tuple(nodes), tuple(edges))


def _equations(network: Network, backward: bool) -> Picture:
    program = readable(network.gradient_program())
    found = formulas(program)
    gradients = network.gradients()
    swept = {e.tensor for e in gradients.equations}
    chosen = {t: f for t, f in found.items() if backward or t not in swept}
    titles = {typeset.unicode(f.left).split("[")[0].strip("()"): t.name for t, f in chosen.items()}
    nodes: dict[str, Node] = {}
    edges: dict[tuple[str, str], None] = {}
    given = {t.name: t for t in program.tensors if t not in program.definitions and t.role in ("input", "target")}
    for tensor, formula in chosen.items():
        read = [name for name in _named(formula) if name != tensor.name]
        for name in read:
            source = titles.get(name, name)
            if source in given:
                nodes.setdefault(source, Node(source, (source,), "input"))
            elif source not in nodes:
                continue
            if source != tensor.name:
                edges[source, tensor.name] = None
        kind = "gradient" if tensor in swept else "loss" if tensor.name in ("ell", "penalty", "R") else "node"
        nodes[tensor.name] = Node(tensor.name, (typeset.unicode(formula),), kind)
    return Picture(tuple(nodes.values()), tuple(edges))


def _named(formula: typeset.Equal) -> Iterable[str]:
    return (typeset.unicode(name) for name in typeset.names(formula.right))
