"""Equal layers as one: a recurrence over the layer index, with stacked parameters.

In: the equations of one layer (or of a block of several), as layers.py builds them.  Out: the same equations for
`count` layers, each tensor and each parameter with an axis l in front:

    h[0,n,i] = x[n,i]        z[l,n,i] = sum_j W[l,i,j]*h[l,n,j] + b[l,i]        h[l+1,n,i] = f(z[l,n,i])

What a layer reads is the state h of l, what it gives that of l + 1; the output of all is h[count].  Nothing here knows
a kind of layer.  Stands between layers.py and network.py.

`repeat = 20` on a layer asks for it.  Besides, what is compiled is rolled by itself where the result is the same: a
block of up to PERIOD layers that stands at least SHORTEST times in a row, equal but for names and first values, each
read by its neighbours alone; no penalty of its own, nothing shared or tied, no states, no constants, and no loss on any
but the last.  Parameters keep their names; each is a part of the stacked tensor.  Shorter networks
compile fast enough layer by layer.  Formulas, traces and reports are of the network as it is declared (families.py
prints equal layers once).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..declare import regularizers
from ..errors import Quoted, complaint
from ..kinds import IntegerShape, Layer, without_initializers

if TYPE_CHECKING:
    from compiler.program import Equation, Tensor

    from ..declare.spec import Spec
    from .layers import Built

# Equal blocks in a row.  Rolled, 8 layers of width 32 to 1024 compile in 0.3 to 0.7 s, one by one in 0.9 to 1.1 s; 20
# in 0.2 and 1.4 s.  A step takes as long, but where layers are tiny (8 x 8 for a batch of 8: 9 % longer).
SHORTEST = 8
PERIOD = 8  # layers of a block


# ---------------------------------------------------------------------------------------------- which layers
@dataclass(frozen=True, slots=True)
class Run:
    """Layers that are rolled by themselves: `count` blocks of `period` layers, in the order of the graph."""

    blocks: tuple[tuple[Layer, ...], ...]

    @property
    def count(self) -> int:
        return len(self.blocks)


def runs(spec: Spec) -> tuple[Run, ...]:
    """The runs of equal blocks of a network."""
    order = spec.graph.order
    if len(order) <= SHORTEST:
        return ()
    if any(layer.derives for layer in order):
        return ()
    signs = _signs(spec)
    found, start = [], 0
    while start < len(order):
        best = max(
            ((_repeats(spec, signs, start, period), period) for period in range(1, PERIOD + 1)),
            key=lambda pair: (pair[0] * pair[1] if pair[0] >= SHORTEST else 0, -pair[1]),
        )
        count, period = best
        if count < SHORTEST:
            start += 1
            continue
        ends = range(start, start + count * period, period)
        found.append(Run(tuple(order[k : k + period] for k in ends)))
        start += count * period
    return tuple(found)


def rolled_name(spec: Spec, name: str) -> str:
    """The tensor of all equal layers that has what the tensor `name` is of one of them: delta7 -> delta2."""
    numbers = {layer.name: number for number, layer in enumerate(spec.layers, 1)}
    first = {
        numbers[layer.name]: numbers[like.name]
        for run in runs(spec)
        for block in run.blocks
        for layer, like in zip(block, run.blocks[0], strict=True)
    }
    return re.sub(r"\d+$", lambda found: str(first.get(int(found[0]), found[0])), name)


def _signs(spec: Spec) -> list[Any]:
    """What must be equal for two layers to be rolled; None for a layer that never is."""
    graph = spec.graph
    shared = {layer.share for layer in spec.layers}
    tied = {name for pair in graph.ties.items() for name, _ in pair}
    place = {layer.name: number for number, layer in enumerate(graph.order)}
    signs: list[Any] = []
    for number, layer in enumerate(graph.order):
        below = graph.below(layer)
        own = any(getattr(layer, row.name, None) is not None for row in regularizers.ROWS)
        shares = layer.share or layer.name in shared or layer.name in tied
        others = any(isinstance(shape, IntegerShape) for shape in below) or layer.arrays(below)
        if own or shares or others or layer.repeat > 1 or layer.states(below):
            signs.append(None)
            continue
        plain = _anonymous(without_initializers(layer))
        back = tuple(number - place.get(name, -1) for name in graph.reads[layer.name])
        signs.append((plain, back, below, graph.shapes[layer.name]))
    return signs


def _repeats(spec: Spec, signs: Sequence[Any], start: int, period: int) -> int:
    """How often the block of `period` layers from `start` stands there in a row, fit to be rolled."""
    graph, judged = spec.graph, {head.layer for head in spec.heads}
    names = [layer.name for layer in graph.order]
    block = signs[start : start + period]
    if len(block) < period or None in block:
        return 0
    count = 1
    while [_without_back(s) for s in signs[start + count * period : start + (count + 1) * period]] == [
        _without_back(s) for s in block
    ]:
        count += 1
    if count < SHORTEST:
        return 0
    place = {name: number for number, name in enumerate(names)}
    numbers = {layer.name: number for number, layer in enumerate(spec.layers)}
    readers: dict[str, list[str]] = {}
    for name, below in graph.reads.items():
        for other in below:
            readers.setdefault(other, []).append(name)

    def reads(block: int) -> list[tuple[int, ...]] | None:
        """For each layer of a block what it reads: a place within the block, or -1 for the one layer below it."""
        first = start + block * period
        below: set[str] = set()
        table = []
        for layer in names[first : first + period]:
            inside = [place.get(name, -1) - first for name in graph.reads[layer]]
            below |= {n for n, at in zip(graph.reads[layer], inside, strict=True) if at < 0}
            table.append(tuple(at if at >= 0 else -1 for at in inside))
        ok = len(below) == 1 and (block == 0 or below == {names[first - 1]})
        return table if ok else None

    form = reads(0)
    if form is None:
        return 0
    source = next(n for layer in names[start : start + period] for n in graph.reads[layer] if place.get(n, -1) < start)
    if graph.shapes[source] != graph.shapes[names[start + period - 1]]:
        return 0
    good = 0
    for block_number in range(count):
        first = start + block_number * period
        declared = [numbers[name] - block_number * period for name in names[first : first + period]]
        if reads(block_number) != form or declared != [numbers[name] for name in names[start : start + period]]:
            break
        good = block_number + 1
        inner = names[first : first + period - 1]
        within = {*names[first : first + period]}
        if any(reader not in within for name in inner for reader in readers.get(name, ())) or judged & {*inner}:
            good = block_number
            break
        after = {*names[first + period : first + 2 * period]}
        if names[first + period - 1] in judged or not after.issuperset(readers[names[first + period - 1]]):
            break  # what others read, too, is the output of a run
    return good


def _without_back(sign: Any) -> Any:
    return None if sign is None else (sign[0], *sign[2:])


# ---------------------------------------------------------------------------------------------- equations
@dataclass(frozen=True, slots=True)
class Lifted:
    """A block of layers, `count` times: its equations, those where nothing is trained, the tensor of all outputs, the
    tensor of the last one, and each of the block's tensors with its axis."""

    equations: tuple[Equation, ...]
    inference: tuple[Equation, ...]
    state: Tensor
    output: Tensor
    tensors: Mapping[Tensor, Tensor]


def lift(block: Sequence[Built], below: Tensor, count: int, last: str, stride: int, where: str) -> Lifted:
    """The equations of a block of layers, all of which read `below` in the end, as one recurrence.

    last: the name of the output's tensor.  stride: from the stream of random numbers of one layer to that of the next.
    """
    from compiler.functions import uniform
    from compiler.graph import in_order
    from compiler.passes.rewriting import free_name
    from compiler.program import Access, Equation, Index, Tensor, fresh_index, indices

    from .layers import sample_indices

    training = [e for built in block for e in built.equations]
    inference = [e for built in block for e in (built.equations if built.inference is None else built.inference)]
    out = block[-1].output
    if out.kind != "real" or below.kind != "real":
        raise complaint(f"{where}, repeat", Quoted("integers"), "a layer that reads and gives real numbers")
    every = [*training, *inference]
    l = fresh_index(Index("l", count), {i.name for e in every for i in e.domain})
    owned = {p.tensor for built in block for p in built.parameters.values()}
    owned |= {s.tensor for built in block for s in built.states.values()}
    made = {e.tensor for e in every}
    taken = {t.name for e in every for t in (e.tensor, *(a.tensor for a in e.reads()))} | {last, below.name}
    number = "".join(c for c in out.name if c.isdigit())
    letters = (f"{letter}{number}" for letter in ("h", "state_", *(f"state{k}_" for k in range(100))))
    state = Tensor(next(name for name in letters if name not in taken), (count + 1, *out.shape))
    copied = any(e.op != "sum" for e in every if e.tensor == out)  # a reduction alone defines its tensor
    tensors = {t: Tensor(t.name, (count, *t.shape), t.role, t.kind) for t in (*owned, *made)}
    if not copied:
        del tensors[out]
    elif out.name == last:
        tensors[out] = Tensor(free_name(f"{last}_{l.name}", taken | {state.name}), (count, *out.shape))

    def place(access: Access) -> Access:
        if access.tensor == below:
            return Access(state, l, *access.subscripts)
        if access.tensor == out and not copied:
            return Access(state, l + 1, *access.subscripts)
        return Access(tensors[access.tensor], l, *access.subscripts) if access.tensor in tensors else access

    def lifted(equation: Equation) -> Equation:
        new = replace(equation, domain=(l, *equation.domain)).with_accesses(place)
        drawn = new.rhs.atoms(uniform) | new.where.atoms(uniform)
        return new.substitute({u: uniform(u.args[0], u.args[1] + stride * l, *u.args[2:]) for u in drawn})

    own = sample_indices(out)
    first = Equation(Access(state, 0, *own), own, Access(below, *own))
    final = Tensor(last, out.shape)
    end = Equation(Access(final, *own), own, Access(state, count, *own))
    step = [Equation(Access(state, l + 1, *own), (l, *own), Access(tensors[out], l, *own))] if copied else []
    assert not any(i.name == l.name for i in indices(*own))

    def whole(equations: Sequence[Equation]) -> tuple[Equation, ...]:
        return in_order([first, *map(lifted, equations), *step, end])

    stacked = MappingProxyType({**tensors, **({} if copied else {out: state})})
    return Lifted(whole(training), whole(inference), state, final, stacked)


def repeated(layer: Layer, built: Built, below: Tensor, stride: int) -> Built:
    """A layer with `repeat`: its parameters are stacked."""
    from .layers import Built

    rolled = lift([built], below, layer.repeat, built.output.name, stride, layer.where)
    parameters = {
        name: replace(parameter, tensor=rolled.tensors[parameter.tensor], stack=layer.repeat)
        for name, parameter in built.parameters.items()
    }
    inference = None if built.inference is None else rolled.inference
    states = {
        name: replace(state, tensor=rolled.tensors[state.tensor], next=rolled.tensors[state.next])
        for name, state in built.states.items()
    }
    return Built(rolled.equations, rolled.output, MappingProxyType(parameters), inference, MappingProxyType(states))


def unite(
    run: Run,
    built: Mapping[str, Built],
    made: Callable[[Layer, Layer], Built],
    below: Tensor,
    numbers: Mapping[str, int],
) -> dict[str, Built]:
    """The layers of a run.  built: those of its first block; made: a layer in the place of one of these.

    The first layer has all the equations; of the others, the output is asked for by name alone.
    """
    from compiler.program import Access, Equation, Tensor

    from .layers import Built, sample_indices

    names = [layer.name for layer in run.blocks[0]]
    block = [built[name] for name in names]
    final = run.blocks[-1][-1]
    last = f"a{numbers[final.name]}"
    rolled = lift(block, below, run.count, last, len(block), run.blocks[0][0].where)
    found: dict[str, Built] = {}
    for slot, layers in enumerate(run.blocks):
        for layer, first in zip(layers, run.blocks[0], strict=True):
            like = built[first.name]
            own = like if _equal(layer, first) else made(layer, first)  # initializers of its own
            parameters = {
                name: replace(own.parameters[name], tensor=rolled.tensors[parameter.tensor], slot=slot)
                for name, parameter in like.parameters.items()
            }
            whole = rolled.tensors[like.output]
            out = Tensor(f"a{numbers[layer.name]}", like.output.shape)
            place = sample_indices(out)
            at = slot + 1 if whole == rolled.state else slot
            apart = (Equation(Access(out, *place), place, Access(whole, at, *place)),)
            found[layer.name] = Built((), out, MappingProxyType(parameters), apart=apart)
    found[final.name] = replace(found[final.name], output=rolled.output, apart=())
    inference = rolled.inference if any(b.inference is not None for b in block) else None
    found[names[0]] = replace(found[names[0]], equations=rolled.equations, inference=inference)
    return found


def _equal(layer: Layer, other: Layer) -> bool:
    return bool(_anonymous(layer) == _anonymous(other))


def _anonymous(layer: Any) -> Any:
    return replace(layer, name="", inputs=())


__all__ = ["PERIOD", "SHORTEST", "Lifted", "Run", "lift", "repeated", "rolled_name", "runs", "unite"]
