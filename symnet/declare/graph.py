"""Who reads whom: layers and inputs by name -> an order, and the shape of everything.

In: the inputs and the layers of a spec.  Out: a Graph, or a SymnetError for a name that nobody has, a cycle, a layer
that nobody reads, or shapes that do not fit.  Stands between kinds and spec.py; a layer that does not say what it
reads reads the one before it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..errors import Quoted, complaint, unknown
from ..kinds import IntegerShape, Layer, Shape
from .ties import Place, tied


@dataclass(frozen=True, slots=True)
class Graph:
    """order: the layers, each after those that it reads.  reads: their names.  owners: whose parameters it uses.

    ties: (layer, parameter) that is another layer's -> that one.
    """

    order: tuple[Layer, ...]
    reads: Mapping[str, tuple[str, ...]]
    owners: Mapping[str, str]
    shapes: Mapping[str, Shape]
    ties: Mapping[Place, Place] = field(default_factory=dict)

    def below(self, layer: Layer) -> tuple[Shape, ...]:
        """The shapes of what a layer reads."""
        return tuple(self.shapes[name] for name in self.reads[layer.name])


def connect(inputs: Sequence[tuple[str, Shape]], layers: Sequence[Layer], outputs: Collection[str]) -> Graph:
    """The graph of a network; nobody needs to read its outputs, which are layers by name."""
    shapes = dict(inputs)
    by_name = {layer.name: layer for layer in layers}
    for name in by_name:
        if name in shapes:
            raise complaint(f"layer {name!r}, name", name, "a name of its own", "An input has it already.")
    reads = _reads(list(shapes), layers)
    order = _ordered(list(shapes), layers, reads)
    read = {name for names in reads.values() for name in names} | set(outputs)
    for name in (*shapes, *(layer.name for layer in layers)):
        if name not in read:
            what = "input" if name in shapes else "layer"
            raise complaint(f"{what} {name!r}", Quoted("no layer that reads it"), "one that names it in its `inputs`")
    owners = _owners(layers, by_name)
    for layer in order:
        below = tuple(shapes[name] for name in reads[layer.name])
        layer.check_kinds(below)
        shapes[layer.name] = layer.shape(below)
        if layer.repeat > 1:
            _repeatable(layer, below, shapes[layer.name], layers)
    graph = Graph(order, reads, owners, shapes)
    for layer in layers:
        if layer.share:
            _same_parameters(layer, by_name[owners[layer.name]], graph)
    if not any(layer.tie.entries for layer in layers):
        return graph
    return replace(graph, ties=tied(layers, owners, {x.name: x.parameters(graph.below(x)) for x in layers}))


def _reads(inputs: list[str], layers: Sequence[Layer]) -> dict[str, tuple[str, ...]]:
    known = [*inputs, *(layer.name for layer in layers)]
    names = set(known)
    reads = {}
    for number, layer in enumerate(layers):
        where = f"{layer.where}, inputs"
        if layer.alone and layer.inputs:
            raise complaint(where, list(layer.inputs), "none: it reads constants alone")
        before = (layers[number - 1].name,) if number else tuple(inputs)
        read = () if layer.alone else layer.inputs or before
        if not read and not layer.alone:
            advice = "Give the network an `input`, or begin with a layer that reads constants."
            raise complaint(where, Quoted("nothing to read"), "an input or a layer", advice)
        for name in read:
            if name not in names:
                raise unknown(where, "layer", name, known)
        if not layer.several and len(read) > 1:
            found = Quoted(f"{len(read)} inputs ({', '.join(read)})")
            raise complaint(where, found, "one", "Join them by a layer of the kind 'concat' or 'add'.")
        reads[layer.name] = read
    return reads


def _ordered(inputs: list[str], layers: Sequence[Layer], reads: Mapping[str, tuple[str, ...]]) -> tuple[Layer, ...]:
    """Each layer after those that it reads, else as they stand; a cycle is refused."""
    done: dict[str, Layer | None] = dict.fromkeys(inputs)
    by_name = {layer.name: layer for layer in layers}
    for layer in layers:
        path: dict[str, None] = {}
        stack = [layer.name]
        while stack:
            name = stack[-1]
            missing = [] if name in done else [below for below in reads[name] if below not in done]
            if not missing:
                done.setdefault(name, by_name.get(name))
                path.pop(name, None)
                stack.pop()
                continue
            path[name] = None
            if missing[0] in path:
                circle = [*path, missing[0]]
                circle = circle[circle.index(missing[0]) :]
                shown = " reads ".join([*circle[:8], *(["..."] if len(circle) > 9 else circle[8:-1]), circle[-1]])
                raise complaint(f"layer {missing[0]!r}, inputs", Quoted(f"a cycle: {shown}"), "layers without a cycle")
            stack.append(missing[0])
    return tuple(layer for layer in done.values() if layer is not None)


def _owners(layers: Sequence[Layer], by_name: Mapping[str, Layer]) -> dict[str, str]:
    owners = {}
    for layer in layers:
        owner, seen = layer, [layer.name]
        while owner.share:
            where = f"{owner.where}, share"
            if owner.share not in by_name:
                raise unknown(where, "layer", owner.share, by_name)
            if owner.share in seen:
                raise complaint(where, owner.share, "a layer that has parameters of its own")
            owner = by_name[owner.share]
            seen.append(owner.name)
        owners[layer.name] = owner.name
    return owners


def _repeatable(layer: Layer, below: tuple[Shape, ...], shape: Shape, layers: Sequence[Layer]) -> None:
    """What a repeated layer gives is what its next copy reads."""
    where = f"{layer.where}, repeat"
    one_by_one = "Write the layers one by one."
    if len(below) != 1:
        raise complaint(where, Quoted(f"{len(below)} inputs"), "a layer with one input", one_by_one)
    if isinstance(below[0], IntegerShape):
        raise complaint(where, Quoted("an input of integers"), "a layer that reads and gives real numbers")
    if shape != below[0]:
        found = Quoted(f"an output of shape {shape} and an input of shape {below[0]}")
        raise complaint(where, found, "equal shapes", "Put a layer that changes the shape before it, without repeat.")
    if layer.share or layer.name in {other.share for other in layers}:
        raise complaint(where, layer.repeat, "none", f"Its parameters are shared. {one_by_one}")
    tied = {owner.partition(".")[0] for other in layers for _, owner in other.tie.entries}
    if layer.tie.entries or layer.name in tied:
        raise complaint(where, layer.repeat, "none", f"Its parameters are tied. {one_by_one}")
    if layer.derives:
        advice = f"Its equations give derivatives, d(...). {one_by_one}"
        raise complaint(where, layer.repeat, "none", advice)


def _same_parameters(layer: Layer, owner: Layer, graph: Graph) -> None:
    where = f"{layer.where}, share"
    if type(layer) is not type(owner):
        raise complaint(where, Quoted(f"{owner.name!r}, a layer of another kind"), "a layer of the same kind")
    own, others = layer.parameters(graph.below(layer)), owner.parameters(graph.below(owner))
    for name in {**own, **others}:
        if own.get(name) != others.get(name):
            found = f"{owner.name}.{name} of shape {others[name]}" if name in others else f"no {owner.name}.{name}"
            raise complaint(where, Quoted(found), f"the shape {own[name]}" if name in own else "no such parameter")
