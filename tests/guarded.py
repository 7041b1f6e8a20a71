"""Compiled kernels between guard pages: no read and no write beyond an array, by the processor's own judgement.

    python -m tests.guarded                      every kind of layer, odd numbers of rows; random programs
    python -m tests.guarded --few                a part of it, for the suite
    python -m tests.guarded --broken read        a kernel that reads one element too far: the process must die

Each array that a kernel is given (data, parameters and values in their block, results, its table) is copied to pages of
its own, once so that its end is the end of a page and once so that its beginning is the beginning of one; the pages
before and after may not be touched, and what is left of its own pages is a canary.  Results must be the same bits.

Values inside the block have no pages of their own.  There the memory plan is made with a gap behind each of them,
filled with NaN that nobody may change, and that whoever reads it hands on (`spread`).  Python looks at every index
where it runs the generated source itself: it must be inside of a tensor (`interpreted`).
"""

from __future__ import annotations

import argparse
import ctypes
import faulthandler
import mmap
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import scipy.sparse

import symnet as sn
from compiler import memory, native, team
from compiler.calling import call, interpret
from compiler.executable import Executable, compile_program, generate
from compiler.interpreter import NAMESPACE, product
from symnet.run import execution
from symnet.run.training import ROWS

from .programs import Sample, sample
from .tolerance import gradient_program

Array = np.ndarray[Any, np.dtype[Any]]
PAGE = mmap.PAGESIZE
CANARY = 0xA5
PLACES = ("end", "start")
libc = ctypes.CDLL(None, use_errno=True)


# ---------------------------------------------------------------------------------------------- pages
class Pages:
    """A copy of an array in pages of its own, between two that may not be touched."""

    def __init__(self, array: Array, at: str) -> None:
        size = array.nbytes
        inner = max(1, -(-size // PAGE)) * PAGE
        self._map = mmap.mmap(-1, inner + 2 * PAGE)
        self._whole = np.frombuffer(self._map, np.uint8)
        base = self._whole.ctypes.data
        self._inner = self._whole[PAGE : PAGE + inner]
        self._inner[...] = CANARY
        begin = inner - size if at == "end" else 0
        self._rest = (self._inner[:begin], self._inner[begin + size :])
        self.array: Array = self._inner[begin : begin + size].view(array.dtype).reshape(array.shape)
        self.array[...] = array
        self._guards = (base, base + PAGE + inner)
        self._protect(mmap.PROT_NONE if hasattr(mmap, "PROT_NONE") else 0)

    def _protect(self, rights: int) -> None:
        for page in self._guards:
            assert libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(PAGE), rights) == 0, ctypes.get_errno()

    @property
    def intact(self) -> bool:
        return all(bool((rest == CANARY).all()) for rest in self._rest)

    def free(self) -> None:
        self._protect(mmap.PROT_READ | mmap.PROT_WRITE)


def run(address: int, arguments: Sequence[Array | int], at: str, tail: Sequence[int] = (), threads: int = 1) -> None:
    """The native function on copies of the arrays between guard pages; what it wrote is copied back.

    tail: what else its table has, where a team of threads runs it.
    """
    pages = [Pages(a, at) if isinstance(a, np.ndarray) else a for a in arguments]
    addresses = [p.array.ctypes.data if isinstance(p, Pages) else p for p in pages]
    table = Pages(np.array([*addresses, *tail], np.int64), at)
    team.team().call(address, table.array.ctypes.data, threads)
    for given, page in zip((*arguments, None), (*pages, table), strict=True):
        if isinstance(page, Pages):
            assert page.intact, "a kernel wrote beside an array"
            if isinstance(given, np.ndarray) and given.flags.writeable:
                given[...] = page.array
            page.free()


# ---------------------------------------------------------------------------------------------- the arena
GAP = 64  # elements


@contextmanager
def spread() -> Iterator[list[slice]]:
    """Memory plans with a gap behind every value, and no place used twice; gives the gaps, counted from the end."""
    gaps: list[slice] = []

    def place(ranges: Mapping[Any, tuple[int, int, int]]) -> tuple[dict[Any, int], int]:
        length = GAP + sum(size + GAP for _, _, size in ranges.values())
        offsets, top = {}, GAP
        gaps[:] = [slice(-length, GAP - length or None)]
        for tensor, (_, _, size) in ranges.items():
            offsets[tensor] = top
            top += size + GAP
            gaps.append(slice(top - GAP - length, top - length or None))
        return offsets, length

    kept = memory._by_time, memory._by_size
    memory._by_time = memory._by_size = place
    try:
        yield gaps
    finally:
        memory._by_time, memory._by_size = kept


def arrays(drawn: Sample) -> dict[str, Any]:
    sparse = {tensor.name for tensor in drawn.program.tensors if tensor.sparse}
    return {k: scipy.sparse.csr_array(v) if k in sparse else v for k, v in drawn.values.items()}


def random_program(seed: int, dtype: str) -> None:
    """A random program with its gradients: as it is, between pages, and with gaps."""
    drawn = sample(seed)
    program = gradient_program(drawn.program.equations, drawn.output, drawn.wrt)
    values = arrays(drawn)
    made = compile_program(program, dtype, None, drawn.sizes)
    expected = call(made, values, drawn.sizes)
    for at in PLACES:
        same(expected, call(made, values, drawn.sizes, lambda given, at=at: run(made.address, given, at)))
    with spread() as gaps:
        apart = compile_program(program, dtype, None, drawn.sizes)
    same(expected, call(apart, values, drawn.sizes, lambda given: with_gaps(apart, given, gaps)))


def with_gaps(made: Executable, given: Sequence[Array | int], places: Sequence[slice]) -> None:
    """Everything in the block but parameters and states is NaN at first; what is between values must stay so."""
    block = given[made.slots["memory"]]
    assert isinstance(block, np.ndarray)
    block[made.manifest["storage"]["elements"] :] = np.nan
    before = block.view(np.uint8).reshape(len(block), -1).copy()
    run(made.address, given, "end")
    after = block.view(np.uint8).reshape(len(block), -1)
    for place in places:
        assert (before[place] == after[place]).all(), f"a kernel wrote between values, at {place}"


# ---------------------------------------------------------------------------------------------- interpreted
class Pointer:
    """A flat array that takes no place outside of it (a negative one, too), and none in a gap."""

    def __init__(self, array: Array, forbidden: Array) -> None:
        self.array, self.forbidden = array, forbidden

    def _check(self, place: Any) -> Any:
        places = np.asarray(place)
        if places.size and not (places.min() >= 0 and places.max() < len(self.array)):
            raise IndexError(f"{place} of {len(self.array)}")
        if self.forbidden[place].any():
            raise IndexError(f"{place} is in no tensor")
        return place

    def __getitem__(self, place: Any) -> Any:
        return self.array[self._check(place)]

    def __setitem__(self, place: Any, value: Any) -> None:
        self.array[self._check(place)] = value

    def offset(self, start: int) -> Pointer:
        assert 0 <= start <= len(self.array)
        return Pointer(self.array[start:], self.forbidden[start:])

    def integers(self) -> Pointer:
        return Pointer(self.array.view(np.int64), self.forbidden)


CHECKED = {"pointer_f64": lambda pointer: pointer, "pointer_i64": Pointer.integers, "offset": Pointer.offset}


def interpreted(seed: int, plain: bool) -> None:
    """The generated source of a random program with its gradients, run by Python: every index is looked at."""
    drawn = sample(seed)
    program = gradient_program(drawn.program.equations, drawn.output, drawn.wrt)
    values = arrays(drawn)
    with spread() as gaps:
        text, calls, _, manifest = generate(program, "float64", None, dict(drawn.sizes), plain=plain)
    space: dict[str, Any] = {**NAMESPACE, **CHECKED, **{name: product(spec) for name, spec in calls.items()}}
    exec(compile(text, "<kernel>", "exec"), space)

    def function(given: Sequence[Array | int]) -> None:
        pointers = [Pointer(a.reshape(-1), np.zeros(a.size, bool)) if isinstance(a, np.ndarray) else a for a in given]
        block = pointers[manifest["slots"]["memory"]]
        assert isinstance(block, Pointer)
        for gap in gaps:
            block.forbidden[gap] = True
        space["kernel"](pointers)

    with np.errstate(all="ignore"):  # both sides of a choice are computed
        found = call(Executable(0, text, manifest), values, drawn.sizes, function)
    same(interpret(program, values, drawn.sizes, plain), found)


def same(expected: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert np.array_equal(np.asarray(value), np.asarray(found[name]), equal_nan=True), name


# ---------------------------------------------------------------------------------------------- networks
def networks() -> dict[str, sn.Network]:
    """Every kind of layer, of sizes that fill no vector."""
    edges = {"A": {"edges": [[0, 1], [1, 2], [2, 0], [3, 1]], "nodes": 5}}

    def made(shape: Any, *layers: Any, loss: str = "softmax_cross_entropy", **more: Any) -> sn.Network:
        return sn.Network(input=shape, layers=list(layers), loss=loss, **more)

    return {
        "dense": made(17, sn.dense(33, "gelu"), sn.dense(1, "tanh"), sn.dense(5), l2=1e-3),
        "activations": made(3, *(sn.dense(7, a) for a in ("relu", "elu", "mish", "prelu", "swish", "softplus")),
                            sn.dense(2, "sine"), loss="squared_error"),
        "wide": made(130, sn.dense(70, "relu"), sn.dense(37, "logistic"), sn.dense(10)),
        "maxout": made(5, sn.maxout(9, pieces=3), sn.dropout(0.3), sn.dense(3)),
        "norms": made(9, sn.dense(17), sn.batch_norm(), sn.dense(5), sn.layer_norm(), sn.rms_norm(), sn.dense(3)),
        "conv2d": made([7, 5, 3], sn.conv2d(5, 3, padding="same", activation="relu"), sn.max_pool2d(2),
                       sn.conv2d(3, 2, dilation=1), sn.flatten(), sn.dense(3)),
        "strided": made([9, 8, 4], sn.conv2d(6, [2, 3], stride=[2, 1], groups=2), sn.average_pool2d(2, stride=1),
                        sn.flatten(), sn.dense(3)),
        "conv1d": made([17, 2], sn.conv1d(3, 3, stride=2, padding="same"), sn.average_pool1d(2), sn.flatten(),
                       sn.dense(2)),
        "elman": made([5, 3], sn.elman(9, direction="both"), sn.dense(3)),
        "gru": made([6, 3], sn.gru(5, returns="all"), sn.dense(3)),
        "lstm": made([7, 3], sn.lstm(5, initial="learned", direction="backward"), sn.dense(3)),
        "attention": made([5, 6], sn.positions(), sn.attention(3, causal=True), sn.flatten(), sn.dense(3)),
        "transformer": made([3, 6], sn.transformer(2, hidden=5), sn.flatten(), sn.dense(3)),
        "embedding": sn.Network(input={"shape": [5], "below": 11}, loss="softmax_cross_entropy",
                                layers=[sn.embedding(11, 3), sn.flatten(), sn.dense(3)]),
        "graphs": made([5, 3], sn.graph_conv(3, "tanh", graph="A"), sn.message_passing(2, "max", graph="A"),
                       sn.graph_attention(2, 2, graph="A"), sn.flatten(), sn.dense(3), constants=edges),
        "equations": made(7, sn.equations("z[n,i] = x[n,i]*x[n,i-1] + x[n,i+1]"), sn.dense(3)),
        "repeated": made(9, sn.dense(9, "tanh", repeat=5), sn.dense(3)),
        "huber": made(3, sn.dense(5), loss="huber"),
        "binary": made(3, sn.dense(1), loss="binary_cross_entropy"),
    }  # fmt: skip


def data(network: sn.Network, rows: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(rows)
    ((_, shape),) = network.spec.inputs
    X = rng.integers(0, 11, (rows, *shape)) if network.spec.integers else rng.normal(size=(rows, *shape))
    (output,) = network.spec.outputs
    at = (rows, *output.positions)
    y = rng.integers(0, output.classes, at) if output.is_classifier else rng.normal(size=(*at, output.size))
    return X, y


def of_network(network: sn.Network, dtype: str, rows: Sequence[int]) -> int:
    """Every kernel of a network on so many rows; gives how often one ran."""
    model = network.compile("adam", dtype, seed=1)
    kept = model.memory.persistent.copy()
    count = 0
    for purpose, variant in (
        ("training", network.given()), ("training gradient", network.given()), ("evaluation", network.given()),
        ("prediction", "label" if network.is_classifier else "values"),
    ):  # fmt: skip
        made = model.new_call(purpose, variant, max(rows) if purpose == "training" else ROWS)
        outputs = made.kernel.manifest["outputs"]
        kinds = made.kernel.manifest["kinds"]
        for n in rows:
            checked = model._checked(*data(network, n))
            results = []
            for at in ("", *PLACES):
                made.attach()
                model.memory.persistent[...] = kept
                model.memory.block[len(kept) :] = np.nan
                for name, array in checked.arrays.items():
                    made.put(name, array)
                found = {}
                for name, shape in outputs.items():
                    kind = np.int64 if kinds[name] == "integer" else dtype
                    found[name] = made.put(name, np.zeros([n if k == "N" else int(k) for k in shape], kind))
                given, tail = arguments(made, model, n), made.table[len(made.slots) :]
                made.run(n) if not at else run(made.kernel.address, given, at, tail.tolist(), made.threads)
                results.append({**found, **model.parameters, **model.states})
                count += 1
            same(results[0], results[1])
            same(results[0], results[2])
            for name, value in results[0].items():
                assert np.isfinite(value).all(), f"{purpose} of {n} rows: {name} is not finite"
    return count


def arguments(made: execution.Call, model: Any, rows: int) -> list[Array | int]:
    """What a kernel is given, slot by slot."""
    given: dict[str, Array | int] = {**made._alive, "memory": model.memory.block, "size:N": rows}
    return [given.get(name, 0) for name in made.slots]


def whole_training(network: sn.Network, dtype: str, rows: int) -> None:
    """`fit` with shuffled batches and a rest, the data and the block of memory between guard pages."""
    X, y = data(network, rows)
    results = []
    kept = execution.Memory._allocate
    for at in ("", *PLACES):
        pages = [Pages(np.ascontiguousarray(a, dtype if a.dtype.kind == "f" else None), at or "end") for a in (X, y)]

        def allocate(self: Any, elements: int, before: Array, at: str = at) -> None:
            size, around = elements * self.dtype.itemsize, execution.ALIGNMENT
            self._pages = Pages(np.zeros(size + 2 * around, np.uint8), at)
            raw = self._raw = self._pages.array
            raw[:around] = raw[around + size :] = execution.CANARY
            self._start, self._size, self.block = around, size, raw[around : around + size].view(self.dtype)
            self.block[: len(before)] = before

        execution.Memory._allocate = allocate if at else kept  # type: ignore[method-assign]
        try:
            model = network.compile("adam", dtype, seed=1)
            model.fit(*(page.array for page in pages), epochs=2, batch_size=7, validation_split=0.2)
            results.append({**model.parameters})
        finally:
            execution.Memory._allocate = kept  # type: ignore[method-assign]
        assert all(page.intact for page in pages)
    same(results[0], results[1])
    same(results[0], results[2])


BROKEN = {
    "read": "def broken(t):\n    x = pointer_f64(t[0])\n    x[0] = x[t[1]]\n",
    "write": "def broken(t):\n    x = pointer_f64(t[0])\n    x[t[1]] = 1.0\n",
}


def broken(what: str) -> None:
    """One element beyond 17 of them."""
    run(native.build_source(BROKEN[what], "broken").address, [np.zeros(17), 17], "end")


def main() -> int:
    faulthandler.enable()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--few", action="store_true")
    parser.add_argument("--broken", choices=BROKEN)
    options = parser.parse_args()
    if options.broken:
        broken(options.broken)
        return 0

    def shown(what: str, judged: Callable[[], Any]) -> Any:
        print(what, end=" ", file=sys.stderr, flush=True)  # the last of these is the one that a crash is of
        return judged()

    few = ("strided",)
    chosen = {name: made for name, made in networks().items() if not options.few or name in few}
    ran = 0
    rows = (17,) if options.few else (1, 17, 33)
    for number, (name, network) in enumerate(chosen.items()):
        dtype = ("float32", "float64")[number % 2]
        ran += shown(f"{name} {dtype}", lambda n=network, d=dtype: of_network(n, d, rows))
        if not options.few and number % 3 == 0:
            shown(f"{name} fit", lambda n=network, d=dtype: whole_training(n, d, 33))
    seeds = range(1 if options.few else 40)
    looked_at = range(4 if options.few else 300)
    for seed in looked_at:
        for plain in (True, False):
            shown(f"interpreted {seed}", lambda s=seed, p=plain: interpreted(s, p))
    for seed in seeds:
        shown(f"program {seed}", lambda s=seed: random_program(s, ("float64", "float32")[s % 2]))
    print(
        f"\n{len(chosen)} networks, {ran} runs of their kernels, {len(seeds)} random programs, {len(looked_at)} "
        f"interpreted: nothing beyond an array."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
