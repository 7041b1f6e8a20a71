"""What is generated, counted, and a digest of it: as it was last looked at.

test_generated.py has whole sources of a few networks to read.  Here is more, in a line each: the source of random
programs with all that the language has, and the LLVM IR of products, of functions and of the loops around them, for
each family of processors.  What costs more shows in the counts, any other change in the digest.  Then read the
difference,

    python -m tests.test_fingerprints "program 17"      what is generated, to compare with that of the commit before

and, if it is meant and better, `python -m tests.test_fingerprints` writes the lines again.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import sympy as sp

from compiler import native, team
from compiler.executable import generate
from compiler.functions import expm1, log1p, logistic, normal_cdf, softplus
from compiler.kernels import driver, driver_lanes, emitters, many, real, variants, vectormath
from compiler.kernels.matmul import TILES, Matmul, _Generator, matmul
from compiler.native import parse_signature
from compiler.passes import PASSES, STRICT, run_passes
from compiler.program import Equation, Index, Program, Tensor
from compiler.translate import Lanes, translate
from symnet import Network, dense
from symnet.declare.constructors import layer_norm

from . import networks, programs, test_generated
from .tolerance import gradient_program

FILE = Path(__file__).parent / "golden" / "fingerprints.txt"
Text = tuple[str, str]  # what was counted, and what is generated


# ---------------------------------------------------------------------------------------------- kernels
def kernel(program: Program, seed: int, dtype: str = "", rows: int = 0) -> Text:
    """Its equations and source, of some the IR.  Every third is for several threads, some are strict or plain."""
    dtype = dtype or ("float32" if seed % 2 else "float64")
    threads = seed % 3 == 0
    text, calls, _, manifest = generate(
        program, dtype, None, {n.name: rows or (4096 if threads else 40) for n in program.sizes}, plain=seed % 8 == 7,
        accuracy="strict" if seed % 8 == 5 else "usual", **({"worth": 0} if threads else {}),
    )  # fmt: skip
    names = {name: (spec.name, *parse_signature(spec.signature)) for name, spec in calls.items()}
    code = translate(text, "kernel", names) if seed % 4 == 0 else ""
    for row in (*manifest["passes"], *manifest["stages"]):
        del row["milliseconds"], row["reason"]
    counts = [f"{row[what][1]} {what}" for row in manifest["passes"][-1:] for what in ("equations", "operations")]
    loops = next(row["count"][1] for row in manifest["stages"] if row["name"] == "fuse")
    counts += [f"{loops} loops", f"{manifest['memory_elements']} elements"]
    source = "\n".join(line for line in text.splitlines() if "sha256" not in line)
    return ", ".join(counts), "\n".join([*map(str, program.equations), json.dumps(manifest), source, code])


def random_program(seed: int) -> Text:
    drawn = programs.sample(seed)
    program = gradient_program(drawn.program.equations, drawn.output, drawn.wrt)
    return kernel(Program((*program.equations, *drawn.next), program.outputs, drawn.updates), seed)


def random_network(seed: int) -> Text:
    drawn = networks.drawn(seed)
    return kernel(drawn.network.training_program(drawn.optimizer, drawn.given), seed)


def divided(name: str) -> Text:
    """A network of test_generated.py for several threads."""
    network, optimizer, dtype = test_generated.network(name)
    return kernel(network.training_program(optimizer), 3, dtype)


def of_width(width: int, rows: int, seed: int) -> Text:
    """Rows whose lengths are on both sides of a limit, in flat loops and in others."""
    layers = [dense(width, "tanh"), layer_norm(), dense(width + 1, "softplus"), dense(9)]
    network = Network(width - 1, layers, "softmax_cross_entropy", l2=0.1)
    return kernel(network.training_program("adam"), seed, "", rows)


# ---------------------------------------------------------------------------------------------- formulas
def piecewise(*pairs: Any) -> Any:
    return sp.Piecewise(*pairs)


UNARY: tuple[Callable[[Any], Any], ...] = (
    sp.tanh, sp.exp, sp.erf, sp.erfc, sp.sin, sp.cos, sp.atan, logistic, softplus, expm1, log1p, normal_cdf,
    lambda z: sp.exp(-z), lambda z: z**2, lambda z: 1 / (1 + sp.exp(-z)), lambda z: sp.log(1 + sp.exp(z)),
    lambda z: sp.log(logistic(z)), lambda z: sp.log(sp.exp(z) + 2 * sp.exp(-z)), lambda z: 1 - logistic(2 * z),
    lambda z: sp.exp(z) - 1, lambda z: (sp.exp(z) - sp.exp(-z)) / (sp.exp(z) + sp.exp(-z)), lambda z: sp.sqrt(1 + z**2),
    lambda z: sp.exp(-(z**2)), lambda z: z * logistic(B * z), lambda z: z / (3 + z), lambda z: sp.log(z**2 + B**2),
    lambda z: piecewise((0, z <= 0), (z, True)), lambda z: piecewise((B * z, z < 0), (z, True)),
    lambda z: piecewise((-1, z <= -1), (1, z >= 1), (z, True)), lambda z: piecewise((-z, z < 0), (z, True)),
    lambda z: piecewise((expm1(z), z <= 0), (z, True)), lambda z: piecewise((z / (1 - z), z < 0), (z / (1 + z), True)),
)  # fmt: skip
BINARY: tuple[Callable[[Any, Any], Any], ...] = (
    lambda a, b: a * b, lambda a, b: a + b, lambda a, b: a / (1 + b**2), lambda a, b: 1 - a**2 + B * b,
)  # fmt: skip
Z, B = sp.Symbol("z", real=True), sp.Symbol("b", real=True)


def formula(seed: int) -> Text:
    """A function and its slope after the usual passes, and after those of strict accuracy."""
    u, v = (UNARY[(seed * step + seed // 32) % len(UNARY)] for step in (1, 5))
    inner = sp.tanh(Z) if v(Z).has(sp.Piecewise) else v(Z)  # a compared choice would be no equation of the language
    f = u(inner) if seed >= 64 else u(Z) if seed < 32 else BINARY[seed % len(BINARY)](u(Z), v(Z))
    x, w, y, g, b = (Tensor(name, (7,) if name != "b" else (), role) for name, role in
                     zip("xwygb", ("input", "input", "value", "value", "parameter")))  # fmt: skip
    i = Index("i", 7)
    table = {Z: x[i], B: b[()]}
    right = (f.xreplace(table), w[i] * f.diff(Z).xreplace(table))
    program = Program(tuple(Equation(t[i], (i,), e) for t, e in zip((y, g), right, strict=True)), (y, g))
    ends = [run_passes(program, passes) for passes in (PASSES, STRICT)]
    counts = " and ".join(f"{rows[-1].operations[1]} operations, {rows[-1].functions[1]} functions" for _, rows in ends)
    return counts, "\n".join(str(e) for end, _ in [(program, ()), *ends] for e in (*end.equations, ""))


# ---------------------------------------------------------------------------------------------- products
SIZES = (
    (33, 37, 19), (None, 10, 64), (64, 10, 128), (301, 130, 701), (None, 70, 3000), (9, None, 6), (1, 300, 40),
    (None, None, None), (130, 24, None), (7, 200, 5), (512, 512, 512), (0, 5, 0), (21, 33, 1024),
)  # fmt: skip
FORMS = tuple(itertools.product("km", "nk", ("zero", "bias", "c"), ("float32", "float64")))
PRODUCTS = 36  # of each row of TILES: sizes on both sides of every limit, in turns with the forms


def product(row: str, number: int) -> Text:
    (m, n, k), (a, b, start, dtype) = SIZES[number % len(SIZES)], FORMS[number * 7 % len(FORMS)]
    lda, ldb, ldc = ((k or 1024) if a == "k" else (m or 1024)), ((n or 48) if b == "n" else (k or 64)), n or 48
    segments = ((3, 8, 120), (2, 40, -7)) if b == "n" and number % 5 == 1 else ()
    part = n is not None and not segments and number % 3 == 2
    spec = Matmul(dtype, m, n, k, a, b, max(lda, 1), max(ldb, 1) + number % 2, ldc, start, segments, part, m is None)
    name, code = matmul(spec, TILES[row])
    return f"{name}, {code.count('fmuladd')} multiply-adds, {code.count('load')} loads", code


EDGES = {  # where a decision about this size may change
    "m": (0, 1, 2, 3, 4, 8, 12, 16, 24, 64, 240, 512),
    "n": (0, 1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 128, 512),
    "k": (0, 1, 32, 256, 384, 1024, 2048),
}
DRAWN = 3000


def decisions(row: str) -> Text:
    """What is packed, blocked and tiled how, at sizes on both sides of every limit: nothing else shows in a result."""
    rng = random.Random(0)
    sizes = {name: (None, *(max(0, e + more) for e in edges for more in (-1, 0, 1))) for name, edges in EDGES.items()}
    found, lines = Counter[str](), []
    for _ in range(DRAWN):
        m, n, k = (rng.choice(sizes[name]) if rng.random() < 0.8 else rng.randrange(130) for name in "mnk")
        a, b, dtype = rng.choice("km"), rng.choice("nk"), rng.choice(("float32", "float64"))
        strides = (k if a == "k" else m, n if b == "n" else k, n)
        lda, ldb, ldc = (max(1, 1000 if size is None else size) + rng.choice((0, 0, 1)) for size in strides)
        rare = rng.choice(("", "", "", "part", "segments", "long"))
        segments = ((3, 8, 120),) if rare == "segments" and b == "n" else ()
        part = rare == "part" and n is not None
        spec = Matmul(dtype, m, n, k, a, b, lda, ldb, ldc, "zero", segments, part, rare == "long")
        made = _Generator(spec, TILES[row])
        chosen = {"pack_a": made.pack_a, "pack_b": made.pack_b, "copy_a": made.copy_a, "across": made.is_across()}
        found.update(name for name, is_so in chosen.items() if is_so)
        lines.append(f"{spec.name} {chosen} {made.block_k} {made.block_m} {made.depth} {made.split()} {made.height()}")
    return ", ".join(f"{name} {count}" for name, count in sorted(found.items())), "\n".join(lines)


# ---------------------------------------------------------------------------------------------- functions
@contextmanager
def processor(kind: str) -> Iterator[None]:
    """One with wide vectors and a fused multiply-add, perhaps with estimates, or one without."""
    with ExitStack() as stack:
        for module in (real, vectormath, emitters):
            stack.enter_context(mock.patch.object(module, "has_fma", lambda: kind != "plain"))
        stack.enter_context(mock.patch.object(vectormath, "has_estimates", lambda: kind == "estimating"))
        row = TILES["generic" if kind == "plain" else "avx512"]
        stack.enter_context(mock.patch.object(variants, "target", lambda: row))
        stack.enter_context(mock.patch.object(emitters.platform, "machine", lambda: "x86_64"))
        yield


CALLS = (
    *(f"{name}({{0}}[i])" for name in (*vectormath.FORMULAS, *vectormath.CIRCULAR, "isfinite")),
    *(f"{name}({{0}}[i], {{0}}[i + 1])" for name in ("quotient", "reduce_add", "reduce_max")),
    "select({0}[i] > 0.5, {0}[i], 1 - {0}[i] ** 3)",
    "uniform_f32(i, 7) + uniform_f64(i, table[0])",
)


def function(kind: str, name: str) -> Text:
    """Of a number and of a vector, in both precisions."""
    loops = "".join(f"    for i in range(8):\n        {p}[i] = {name.format(p)}\n" for p in "xy")
    text = f"def f(table):\n    x = pointer_f32(table[0])\n    y = pointer_f64(table[1])\n{loops}"
    with processor(kind):
        wide = [Lanes(8)] if kind != "plain" or name.partition("(")[0] not in vectormath.CIRCULAR else []
        code = "".join(translate(text, "f", {}, lanes) for lanes in (None, *wide))
    return f"{code.count('fma')} fused", code


# ---------------------------------------------------------------------------------------------- loops around kernels
def native_loop(name: str) -> Text:
    """What calls kernels: of one thread, of a team, of many networks."""
    found: dict[str, str] = {}

    def build(text: str, entry: str, names: dict[str, Any], lanes: Lanes | None = None, **_: object) -> Any:
        known = {key: native._plain(value) for key, value in names.items()} | {"MONOTONIC": 1}
        found["lanes" if lanes else entry] = translate(text, entry, known, lanes)
        return mock.Mock(address=0)

    make: dict[str, Callable[[], object]] = {
        "many": many._many.__wrapped__,
        "drive": driver.loop_address.__wrapped__,
        "lanes": lambda: driver_lanes.lanes_address.__wrapped__(8),
    }
    with mock.patch.object(native, "build_source", build), processor("fused"):
        make.get(name, lambda: team.build.__wrapped__(name))()
    return "", found[name]


# ---------------------------------------------------------------------------------------------- to compare
Kinds = dict[str, tuple[Callable[..., Text], tuple[Any, ...]]]
KERNELS: Kinds = {
    **{f"program {seed}": (random_program, (seed,)) for seed in range(32)},
    **{f"network {seed}": (random_network, (seed,)) for seed in (3, 6, 10, 17)},
    **{
        f"width {width}, {rows} rows": (of_width, (width, rows, seed))
        for width, rows, seed in ((16, 31, 1), (48, 4096, 3), (64, 40, 1), (363, 363, 3))
    },
    **{f"divided {name}": (divided, (name,)) for name in ("repeated", "strides", "elman")},
}
CALLED: Kinds = {
    **{f"{row} {number}": (product, (row, number)) for row in TILES for number in range(PRODUCTS)},
    **{f"decisions {row}": (decisions, (row,)) for row in ("avx512", "avx", "neon")},
    **{f"{name} {kind}": (function, (kind, name)) for kind in ("fused", "plain") for name in CALLS},
    **{f"{name} estimating": (function, ("estimating", name)) for name in CALLS if name.startswith("quotient")},
    **{
        f"the loop {name}": (native_loop, (name,))
        for name in (*team.FUNCTIONS, "work", "opened", "many", "drive", "lanes")
    },
}
FORMULAS: Kinds = {f"formula {seed}": (formula, (seed,)) for seed in range(96)}
KINDS = KERNELS | FORMULAS | CALLED


def fingerprint(name: str) -> str:
    make, arguments = KINDS[name]
    counts, text = make(*arguments)
    lines, digest = text.count("\n"), hashlib.sha256(text.encode()).hexdigest()[:12]
    return f"{name}: {counts}, {lines} lines, {digest}".replace(": ,", ":")


def compare(names: list[str]) -> None:
    known = {line.partition(":")[0]: line for line in FILE.read_text().splitlines()}
    changed = [(known[name], found) for name in names if known[name] != (found := fingerprint(name))]
    assert not changed, "\n".join(f"was  {was}\nis   {now}" for was, now in changed)


@pytest.mark.parametrize("first", range(0, len(KERNELS), 11))
def test_kernels_are_those_that_were_looked_at(first: int) -> None:
    compare([*KERNELS][first : first + 11])


def test_formulas_and_their_slopes_are_those_that_were_looked_at() -> None:
    compare([*FORMULAS])


def test_what_kernels_call_and_what_calls_them_is_what_was_looked_at() -> None:
    compare([*CALLED])


if __name__ == "__main__":
    for name in sys.argv[1:]:
        make, arguments = KINDS[name]
        print(make(*arguments)[1])
    if not sys.argv[1:]:
        FILE.write_text("".join(f"{fingerprint(name)}\n" for name in KINDS))
