"""Ties: a layer that uses single parameters of other layers in the place of its own.

In: the layers of a spec with the shapes of their parameters.  Out: for each parameter that a layer does not own, the
one that stands for it; SymnetError where there is none, or where shapes differ.  Stands behind graph.py, which finds
the shapes; network.py puts the tensors in, so that the rule adds up what every use contributes to the gradient.

    [[layer]] kind = "dense", units = 1000, tie = { W = "embed.E" }        the output has the table of the embedding
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import Quoted, complaint, unknown
from ..kinds import Layer, Shape

Place = tuple[str, str]  # a layer, and the name of a parameter within it


def tied(
    layers: Sequence[Layer], owners: Mapping[str, str], shapes: Mapping[str, Mapping[str, Shape]]
) -> dict[Place, Place]:
    """Each parameter that is tied -> the one that it is.  owners: as graph.py has them; shapes: by layer and name."""
    given = {(layer.name, name): _place(other) for layer in layers for name, other in layer.tie.entries}
    found = {}
    for layer in layers:
        if layer.tie.entries and layer.share:
            advice = f"Its parameters are those of {layer.share!r}."
            raise complaint(f"{layer.where}, tie", dict(layer.tie.entries), "none", advice)
        for name, other in layer.tie.entries:
            where = f"{layer.where}, tie"
            if name not in shapes[layer.name]:
                raise unknown(where, "parameter", name, shapes[layer.name])
            place, seen = (layer.name, name), [(layer.name, name)]
            while place in given:
                place = _owned(given[place], owners, shapes, where)
                if place in seen:
                    raise complaint(f"{where}, {name}", other, "a parameter that is tied to no other")
                seen.append(place)
            if shapes[place[0]][place[1]] != shapes[layer.name][name]:
                stands = Quoted(f"{other} of shape {shapes[place[0]][place[1]]}")
                raise complaint(f"{where}, {name}", stands, f"the shape {shapes[layer.name][name]}")
            found[layer.name, name] = place
    return found


def _place(name: str) -> Place:
    layer, _, parameter = name.partition(".")
    return layer, parameter


def _owned(place: Place, owners: Mapping[str, str], shapes: Mapping[str, Mapping[str, Shape]], where: str) -> Place:
    """The place under the layer that owns the parameters."""
    layer, name = place
    known = [f"{other}.{parameter}" for other, held in shapes.items() for parameter in held]
    if layer not in shapes or name not in shapes[layer]:
        raise unknown(where, "parameter", f"{layer}.{name}", known)
    return owners[layer], name
