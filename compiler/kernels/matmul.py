"""Register-tiled matrix products as LLVM IR text:  C[m,n] = f(start + sum_k A[m,k] * B[k,n]).

    name, ir = matmul(Matmul("float32", m=None, n=64, k=64, a="k", b="n", lda=64, ldb=64, ldc=64, start="bias"))

The function's C type is `void name(T *A, T *B, T *C, T *D, int64 M, int64 N, int64 K)` (SIGNATURE).  What the spec
gives as a number is literal in the code, and its argument is ignored; what it gives as None is read from the argument.
D is the bias vector over n (ignored for other starts).  f is the epilogue (epilogue.py), most often nothing; what it
takes are further arguments (Matmul.signature).  C may not overlap A, B, D or those.

The form is the classic one: a tile of `rows` x `vectors` registers accumulates over k; panels of B are packed on the
stack where they are transposed, large, or have a stride that maps to one cache set; likewise blocks of A.  Where C has
few columns, vectors may run along m instead (`across`).  Sizes come from TILES, a table by processor feature; nothing
else depends on the processor.

A processor of an architecture that the table does not know (neither x86-64 nor ARM's 64 bits) is foreign: there a
product is a call of BLAS (blas.py) if it is wide, and else ours with vectors of 16 bytes.  Nothing was measured there,
but whoever ships BLAS for such a processor has tuned it.  The bits of a result are then those of BLAS, which may depend
on how many threads share its rows.  On x86-64 BLAS buys nothing: beside code of ours for the same processor, each on
one thread, OpenBLAS takes (14 shapes from 4 x 4 x 4 to 512 x 512 x 512, operands in 3 orders, float32 and float64)

    without AVX (OPENBLAS_CORETYPE=Nehalem)   at least 0.99 times as long, 1.3 to 1.5 times where they are 32 to 64 wide
    AVX without AVX2 (Sandybridge)            1.1 to 2.8 times up to 128 wide, above that 0.9 to 1.1 times
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from itertools import product

from ..native import Extern, Native, build_kernel, features
from . import blas
from .emitter import Emitter, Number
from .epilogue import SUM, Epilogue, Form

SIGNATURE = {
    "float32": "void(f32*,f32*,f32*,f32*,i64,i64,i64)",
    "float64": "void(f64*,f64*,f64*,f64*,i64,i64,i64)",
}


@dataclass(frozen=True, slots=True)
class Matmul:
    """One product: `a` names the axis of A with unit stride ("k" or "m"), `b` that of B ("n" or "k"); C has it in n.

    lda, ldb, ldc are the strides, in elements, of the other axis; start is "zero", "bias" (D[n]) or "c" (accumulate).
    segments: sums around that over k, (count, step in A, step in B) each, the slowest first; then b is "n".
    long: a k given at run time may be above LONG_K.
    part: only N of the columns are made, from where B, C and D point: a multiple of two vectors, or all up to the last.
    epilogue: what is stored of each sum; a product that starts from "c" has none.
    """

    dtype: str
    m: int | None
    n: int | None
    k: int | None
    a: str = "k"
    b: str = "n"
    lda: int = 0
    ldb: int = 0
    ldc: int = 0
    start: str = "zero"
    segments: tuple[tuple[int, int, int], ...] = ()
    part: bool = False
    long: bool = False
    epilogue: Epilogue = SUM

    def __post_init__(self) -> None:
        assert self.dtype in SIGNATURE and self.start in ("zero", "bias", "c") and self.a in "km" and self.b in "nk"
        assert not self.segments or (self.b == "n" and not self.part)
        assert not self.part or self.n is not None
        assert self.epilogue == SUM or self.start != "c"
        assert min(self.lda, self.ldb, self.ldc) >= 1, "leading dimensions are literal"

    @property
    def name(self) -> str:
        sizes = "x".join("r" if s is None else str(s) for s in (self.m, self.n, self.k))
        strides = f"{self.lda}_{self.ldb}_{self.ldc}"
        around = "".join(f"_{count}x{a}x{b}".replace("-", "m") for count, a, b in self.segments)
        letter = "s" if self.dtype == "float32" else "d"
        kind = "_part" * self.part + "_long" * self.long
        after = "" if self.epilogue == SUM else "_" + sha256(repr(self.epilogue).encode()).hexdigest()[:8]
        return f"matmul_{letter}_{sizes}_{self.a}{self.b}_{strides}_{self.start}{around}{kind}{after}"

    @property
    def signature(self) -> str:
        """Behind the sizes stand what an epilogue takes: tensors, each with the strides of C, and numbers."""
        scalar = "f32" if self.dtype == "float32" else "f64"
        more = [f"{scalar}*"] * self.epilogue.tensors + [scalar] * self.epilogue.numbers
        return ",".join([SIGNATURE[self.dtype][:-1], *more]) + ")"


@dataclass(frozen=True, slots=True)
class Target:
    """What the generator needs to know of a processor."""

    bytes: int  # of a vector
    rows: tuple[int, ...]  # of a tile of v vectors: rows[v - 1]
    masks: bool  # cheap masked loads and stores: a row's end is one masked vector, else ever narrower ones
    block: int = 240 * 1024  # bytes of a block of A, which stays in the second-level cache
    blas: int = 0  # how wide a product is that BLAS makes; 0: none is

    def lanes(self, dtype: str) -> int:
        return self.bytes // (4 if dtype == "float32" else 8)


TILES: dict[str, Target] = {
    "avx512": Target(64, (14, 12, 8, 6), True, 512 * 1024),  # 32 registers; a block of 240 KB: up to 10 % slower
    "avx": Target(32, (8, 6, 4), False),  # 16 registers
    "neon": Target(16, (14, 12, 8, 6), False),  # 32 registers
    "generic": Target(16, (8, 4, 3), False),  # 16 registers
    # x86-64's OpenBLAS needs 1.5 times as long at 32: as long, if its vectors are somewhat wider than those of ours
    "foreign": Target(16, (8, 4, 3), False, blas=32),
}

BLOCK_K = 256  # a packed panel of B: 256 x 3 vectors
LONG_K = 2048  # a sum that is longer is cut into blocks, whether its operands are packed or not
RESTS = (4, 1)  # rows of the tiles for what remains of a run-time M: two kinds, not all powers of two, to compile
TURN = 2  # elements of k that a turn of the innermost loop takes
FEW_ROWS = 8  # a run-time M below this does not pay for packing
PACKED = 4  # tiles of A that are packed side by side; one at a time: up to 6 % slower
PAGE, LINE = 4096, 64  # bytes: what lies a page apart shares a set of the first-level cache; a line of it
PACK_A = 1024  # bytes from one k to the next, in A with unit stride in m, from which on its blocks are packed
PACK_B = 32 * 1024  # bytes of B above which its panels are packed


def target(found: frozenset[str] | None = None) -> Target:
    """The row of TILES for the processor's features; by default for this processor."""
    found = features() if found is None else found
    if {"avx512f", "avx512vl", "avx512dq"} <= found:
        return TILES["avx512"]
    for row, feature in (("avx", "avx"), ("generic", "sse2"), ("neon", "neon")):
        if feature in found:
            return TILES[row]
    return TILES["foreign" if blas.is_usable() else "generic"]


def matmul(spec: Matmul, target_: Target | None = None) -> tuple[str, str]:
    """The name and the LLVM IR of a product's function."""
    chosen = target_ or target()
    return spec.name, blas.product(spec) if blas.is_for_blas(spec, chosen.blas) else _Generator(spec, chosen).text()


def build(spec: Matmul) -> tuple[Native, Extern]:
    """The loaded function and its declaration for generated source."""
    native = build_kernel(*matmul(spec), passes="none")
    return native, Extern(native.name, spec.signature)


# ---------------------------------------------------------------------------------------------- generating
@dataclass(frozen=True, slots=True)
class _Vector:
    """Columns of a tile: where they start, how many lanes, how many of them are used (a literal or a mask)."""

    offset: int
    lanes: int
    mask: str | None = None


class _Generator(Emitter):
    def __init__(self, spec: Matmul, target: Target) -> None:
        super().__init__()
        self.spec = spec
        self.target = target
        self.scalar, self.letter, self.size = ("float", "f32", 4) if spec.dtype == "float32" else ("double", "f64", 8)
        self.lanes = target.lanes(spec.dtype)
        self.m: Number = "%M" if spec.m is None else spec.m
        self.n: Number = "%N" if spec.n is None else spec.n
        self.k: Number = "%K" if spec.k is None else spec.k
        big_b = spec.k is None or spec.n is None or spec.k * spec.n * self.size > PACK_B
        several_rows = spec.m is None or spec.m >= 16
        whole = not spec.segments  # what is packed is read once for each segment: not worth it
        one_panel = spec.n is not None and spec.n <= len(target.rows) * self.lanes and not spec.part
        # A single panel reads A once, and rows of B that lie side by side are packed as they are.
        dense = one_panel and spec.ldb == spec.n
        self.pack_b = spec.b == "k" or (
            whole and several_rows and big_b and not dense and (spec.n is None or spec.n > 2 * self.lanes)
        )
        self.pack_a = whole and several_rows and not one_panel and spec.a == "m" and spec.lda * self.size >= PACK_A
        # Rows of A that start in one set of the cache displace each other: a copy of them does not.
        self.copy_a = whole and several_rows and not one_panel and spec.a == "k" and spec.lda * self.size % PAGE == 0
        blocked = self.pack_a or self.pack_b or self.copy_a
        # Each tile reads the operands anew: of a long sum from beyond the caches, up to 3 times as slowly.
        long = whole and (spec.long if spec.k is None else spec.k > LONG_K)
        self.block_k = _block(spec.k, BLOCK_K) if blocked or long else None
        self.depth = depth = self.block_k or spec.k or BLOCK_K
        self.block_m = _block(spec.m, target.block // (depth * self.size)) if blocked else None
        few = {1: 12, 2: 8, 3: 6} if target.bytes == 64 else {1: 8, 2: 5, 3: 4}  # wide enough to hide latency
        self.wide = few.get(spec.m or 0, len(target.rows) if one_panel else self.usual())  # vectors of a tile at most
        self.one_row = False
        self.packed_a, self.packed_b = "%packed_a", "%packed_b"

    def usual(self) -> int:
        """Vectors of each of several panels: three are fastest (1 to 5 %), unless two leave none that is narrower.

        A narrower one has code of its own, which is compiled for as long, the more so with what packs; tiles of two
        want 32 registers.
        """
        if self.spec.part:
            return 2
        vectors = len(self.columns(self.spec.n or 0))
        return 2 if self.pack_b and vectors % 3 and vectors % 2 == 0 and self.target.rows[1] >= 12 else 3

    # ------------------------------------------------------------------------------------------ memory
    def type(self, lanes: int) -> str:
        return self.scalar if lanes == 1 else f"<{lanes} x {self.scalar}>"

    def at(self, base: str, offset: Number) -> str:
        return base if offset == 0 else self.new(f"getelementptr inbounds {self.scalar}, ptr {base}, i64 {offset}")

    def past(self, base: str, offset: int) -> str:
        """Where a loop goes on, which may be beyond the end after its last turn."""
        return self.new(f"getelementptr {self.scalar}, ptr {base}, i64 {offset}")

    def read(self, address: str, vector: _Vector) -> str:
        kind = self.type(vector.lanes)
        if vector.mask is None:
            return self.new(f"load {kind}, ptr {address}, align {self.size}")
        masked = f"llvm.masked.load.v{vector.lanes}{self.letter}.p0"
        types = ["ptr", "i32", f"<{vector.lanes} x i1>", kind]
        return self.call(kind, masked, [address, str(self.size), vector.mask, "zeroinitializer"], types)

    def write(self, value: str, address: str, vector: _Vector) -> None:
        kind = self.type(vector.lanes)
        if vector.mask is None:
            self.lines.append(f"  store {kind} {value}, ptr {address}, align {self.size}")
            return
        masked = f"llvm.masked.store.v{vector.lanes}{self.letter}.p0"
        types = [kind, "ptr", "i32", f"<{vector.lanes} x i1>"]
        self.call("void", masked, [value, address, str(self.size), vector.mask], types)

    def splat(self, value: str, lanes: int) -> str:
        if lanes == 1:
            return value
        kind = self.type(lanes)
        one = self.new(f"insertelement {kind} poison, {self.scalar} {value}, i32 0")
        return self.new(f"shufflevector {kind} {one}, {kind} poison, <{lanes} x i32> zeroinitializer")

    def shuffle(self, a: str, b: str, lanes: int, order: list[int]) -> str:
        mask = ", ".join(f"i32 {x}" for x in order)
        kind = self.type(lanes)
        return self.new(f"shufflevector {kind} {a}, {kind} {b}, <{len(order)} x i32> <{mask}>")

    def multiply_add(self, a: str, b: str, c: str, lanes: int) -> str:
        kind = self.type(lanes)
        name = f"llvm.fmuladd.{self.letter}" if lanes == 1 else f"llvm.fmuladd.v{lanes}{self.letter}"
        return self.call(kind, name, [a, b, c], [kind] * 3)

    def columns(self, count: int) -> list[_Vector]:
        """Vectors that cover a literal number of columns."""
        vectors = [_Vector(at, self.lanes) for at in range(0, count - self.lanes + 1, self.lanes)]
        at, rest = count - count % self.lanes, count % self.lanes
        if rest and self.target.masks and rest > 1:
            bits = ", ".join(f"i1 {'true' if x < rest else 'false'}" for x in range(self.lanes))
            return [*vectors, _Vector(at, self.lanes, f"<{bits}>")]
        width = self.lanes
        while rest:
            while width > rest:
                width //= 2
            vectors.append(_Vector(at, width))
            at, rest = at + width, rest - width
        return vectors

    # ------------------------------------------------------------------------------------------ the tile
    def tile(self, i: Number, j: Number, rows: int, vectors: list[_Vector], k0: Number, kn: Number, i0: Number) -> None:
        """C[i : i+rows, columns of `vectors` from j] from the products over k0 <= k < k0 + kn."""
        spec = self.spec
        base_c = self.at("%C", self.add(self.mul(i, spec.ldc), j))
        cells = [(r, v) for r in range(rows) for v in vectors]
        accumulators = self.started(cells, base_c, j, k0)
        if self.pack_a:
            base_a, step_k, step_m = self.at(self.packed_a, self.mul(self.sub(i, i0), kn)), rows, 1
        elif self.copy_a:
            stride = self.copied()
            base_a, step_k, step_m = self.at(self.packed_a, self.mul(self.sub(i, i0), stride)), 1, stride
        elif spec.a == "m":
            base_a, step_k, step_m = self.at("%A", self.add(self.mul(k0, spec.lda), i)), spec.lda, 1
        else:
            base_a, step_k, step_m = self.at("%A", self.add(self.mul(i, spec.lda), k0)), 1, spec.lda
        panel = self.panel_width(vectors)
        base_b, step_b = (
            (self.packed_b, panel) if self.pack_b else (self.at("%B", self.add(self.mul(k0, spec.ldb), j)), spec.ldb)
        )
        in_panel = [_Vector(v.offset, v.lanes) for v in vectors] if self.pack_b else vectors

        def one(a: str, b: str, values: list[str]) -> list[str]:
            row = [self.read(self.at(b, v.offset), v) for v in in_panel]
            new: list[str] = []
            for r in range(rows):
                x = self.new(f"load {self.scalar}, ptr {self.at(a, r * step_m)}, align {self.size}")
                broad = {lanes: self.splat(x, lanes) for lanes in dict.fromkeys(v.lanes for v in vectors)}
                for y, v in zip(row, vectors, strict=True):
                    new.append(self.multiply_add(broad[v.lanes], y, values[len(new)], v.lanes))
            return new

        def several(count: int) -> Callable[[Number, list[str]], list[str]]:
            """So many k from where two pointers stand, which go on: with an index LLVM would look for them for long."""

            def run(_: Number, carried: list[str]) -> list[str]:
                a, b, *values = carried
                for u in range(count):
                    values = one(self.at(a, u * step_k), self.at(b, u * step_b), values)
                return [self.past(a, count * step_k), self.past(b, count * step_b), *values]

            return run

        # Twice is as fast as four times, and compiled the sooner; so are rows that remain.
        times = TURN if rows == self.height() else 1
        kinds = [self.type(v.lanes) for _, v in cells]
        carried = ["ptr", "ptr", *kinds]

        def over_k(values: list[str]) -> list[str]:
            found = [base_a, base_b, *values]
            k, found = self.loop(0, kn, times, several(times), zip(carried, found, strict=True))
            if isinstance(k, int) and isinstance(kn, int):
                found = several(kn - k)(k, found)
            elif times > 1:
                found = self.loop(k, kn, 1, several(1), zip(carried, found, strict=True))[1]
            return found[2:]

        def over_segments(number: int, values: list[str]) -> list[str]:
            nonlocal base_a, base_b
            if number == len(spec.segments):
                return over_k(values)
            count, of_a, of_b = spec.segments[number]
            around = base_a, base_b

            def segment(q: Number, values: list[str]) -> list[str]:
                nonlocal base_a, base_b
                base_a, base_b = self.at(around[0], self.mul(q, of_a)), self.at(around[1], self.mul(q, of_b))
                return over_segments(number + 1, values)

            _, values = self.loop(0, count, 1, segment, zip(kinds, values, strict=True))
            base_a, base_b = around
            return values

        accumulators = over_segments(0, accumulators)
        self.finish(cells, accumulators, self.add(self.mul(i, spec.ldc), j), k0, kn)

    def finish(
        self, cells: list[tuple[int, _Vector]], values: list[str], start: Number, k0: Number, kn: Number
    ) -> None:
        """Store the sums of a tile; what becomes of them, if the last k is in them."""
        base = self.at("%C", start)
        places = [self.at(base, r * self.spec.ldc + v.offset) for r, v in cells]

        def sums() -> None:
            for (_, v), value, place in zip(cells, values, places, strict=True):
                self.write(value, place, v)

        def results() -> None:
            bases = self.operands(start)
            for (r, v), value, place in zip(cells, values, places, strict=True):
                self.write(self.after(value, bases, r * self.spec.ldc + v.offset, v), place, v)

        last = k0 == 0 and kn == self.k
        if not last and self.spec.epilogue != SUM:
            end = self.add(k0, kn)
            if isinstance(end, int) and isinstance(self.k, int):
                last = end == self.k
            else:
                yes, no, after = self.label("last"), self.label("more"), self.label("stored")
                self.branch(self.new(f"icmp eq i64 {end}, {self.k}"), yes, no)
                for label, store in ((yes, results), (no, sums)):
                    self.begin(label)
                    store()
                    self.jump(after)
                self.begin(after)
                return
        results() if last else sums()

    def operands(self, start: Number) -> list[str]:
        """Where the tensors of the epilogue stand beside this place of C."""
        return [self.at(f"%E{q}", start) for q in range(self.spec.epilogue.tensors)]

    def after(self, value: str, bases: list[str], offset: int, vector: _Vector) -> str:
        """What the epilogue makes of these sums."""

        def leaf(form: Form) -> str:
            match form:
                case ("at", q):
                    return self.read(self.at(bases[q], offset), vector)
                case ("number", q):
                    return self.splat(f"%F{q}", vector.lanes)
            return value

        return self.spec.epilogue.emit(self, self.type(vector.lanes), vector.lanes, leaf)

    def started(self, cells: list[tuple[int, _Vector]], base_c: str, j: Number, k0: Number) -> list[str]:
        """The accumulators' first values: the start for the first block of k, what is in C for the others."""

        def from_c() -> list[str]:
            return [self.read(self.at(base_c, r * self.spec.ldc + v.offset), v) for r, v in cells]

        def from_start() -> list[str]:
            if self.spec.start == "zero":
                return ["0.0" if v.lanes == 1 else "zeroinitializer" for _, v in cells]
            bias = {v: self.read(self.at("%D", self.add(j, v.offset)), v) for _, v in cells}
            return [bias[v] for _, v in cells]

        if self.spec.start == "c" or (isinstance(k0, int) and k0 > 0):
            return from_c()
        if isinstance(k0, int):
            return from_start()
        first, later, after = self.label("first"), self.label("later"), self.label("start")
        self.branch(self.new(f"icmp eq i64 {k0}, 0"), first, later)
        self.begin(first)
        a = from_start()
        self.jump(after)
        self.begin(later)
        b = from_c()
        self.jump(after)
        self.begin(after)
        return [
            self.new(f"phi {self.type(v.lanes)} [ {x}, %{first} ], [ {y}, %{later} ]")
            for (_, v), x, y in zip(cells, a, b, strict=True)
        ]

    # ------------------------------------------------------------------------------------------ packing
    def panel_width(self, vectors: list[_Vector]) -> int:
        return sum(v.lanes for v in vectors)

    def pack_panel(self, j: Number, vectors: list[_Vector], k0: Number, kn: Number) -> None:
        """packed_b[k, column] = B[k0 + k, j + column]; lanes that are masked out become zero"""
        width = self.panel_width(vectors)
        if self.spec.b == "k":
            self.pack_transposed(j, vectors, k0, kn, width)
            return
        base = self.at("%B", self.add(self.mul(k0, self.spec.ldb), j))

        def row(k: Number, _: list[str]) -> list[str]:
            source, place = self.at(base, self.mul(k, self.spec.ldb)), self.at(self.packed_b, self.mul(k, width))
            for v in vectors:
                self.write(
                    self.read(self.at(source, v.offset), v), self.at(place, v.offset), _Vector(v.offset, v.lanes)
                )
            return []

        self.loop(0, kn, 1, row)

    def pack_transposed(self, j: Number, vectors: list[_Vector], k0: Number, kn: Number, width: int) -> None:
        """The same from rows of B that run along k: squares of lanes x lanes transposed in registers."""
        ldb = self.spec.ldb
        base = self.at("%B", self.add(self.mul(j, ldb), k0))

        def square(k: Number, column: Number, used: int, lanes: int, lanes_k: int) -> None:
            start, along = self.at(base, self.add(self.mul(column, ldb), k)), _Vector(0, lanes_k)
            rows = [self.read(self.at(start, r * ldb), along) for r in range(used)]
            rows += ["0.0" if lanes_k == 1 else "zeroinitializer"] * (lanes - used)
            place = self.at(self.packed_b, self.add(self.mul(k, width), column))
            for r, values in enumerate(self.transposed(rows, lanes_k)):
                self.write(values, self.at(place, r * width), _Vector(0, lanes))

        def pack(column: Number, used: int, lanes: int) -> None:
            k: Number = 0
            for lanes_k in (lanes, 1) if lanes > 1 else (1,):

                def step(k: Number, _: list[str], lanes_k: int = lanes_k) -> list[str]:
                    square(k, column, used, lanes, lanes_k)
                    return []

                k, _ = self.loop(k, kn, lanes_k, step)

        def vector(column: Number, _: list[str]) -> list[str]:
            pack(column, self.lanes, self.lanes)
            return []

        whole = [v for v in vectors if v.mask is None and v.lanes == self.lanes]  # they come first: one code for all
        self.loop(0, len(whole) * self.lanes, self.lanes, vector)
        for v in vectors[len(whole) :]:
            pack(v.offset, v.lanes if v.mask is None else v.mask.count("true"), v.lanes)

    def transposed(self, rows: list[str], lanes: int) -> list[str]:
        """`lanes` vectors of len(rows) lanes, from len(rows) vectors of `lanes` lanes (both powers of two)."""
        count = len(rows)
        if lanes == 1:
            if count == 1:
                return rows
            vector = "poison"
            for r, value in enumerate(rows):
                vector = self.new(f"insertelement {self.type(count)} {vector}, {self.scalar} {value}, i32 {r}")
            return [vector]
        assert lanes == count
        low = [x for q in range(lanes // 2) for x in (q, lanes + q)]
        high = [x + lanes // 2 for x in low]
        for _ in range(lanes.bit_length() - 1):
            half = [(rows[r], rows[r + count // 2]) for r in range(count // 2)]
            rows = [self.shuffle(a, b, lanes, order) for a, b in half for order in (low, high)]
        return rows

    def pack_block(self, i0: Number, end: Number, k0: Number, kn: Number) -> None:
        """All tiles of rows from i0 to end, several side by side: a line of the cache is read once."""
        rows = self.height()

        def several(i: Number, _: list[str]) -> list[str]:
            self.pack_rows([self.add(i, rows * q) for q in range(PACKED)], i0, rows, k0, kn)
            return []

        i, _ = self.loop(i0, end, rows * PACKED, several)
        self.over_rows(i, end, rows, lambda i, rows: self.pack_rows([i], i0, rows, k0, kn))

    def pack_rows(self, tiles: list[Number], i0: Number, rows: int, k0: Number, kn: Number) -> None:
        """packed_a[(i - i0) * kn + k * rows + r] = A[k0 + k, i + r] of each tile i, for A with unit stride in m"""
        start = self.mul(k0, self.spec.lda)
        base = [self.at("%A", self.add(start, i)) for i in tiles]
        place = [self.at(self.packed_a, self.mul(self.sub(i, i0), kn)) for i in tiles]

        def row(k: Number, _: list[str]) -> list[str]:
            for a, packed in zip(base, place, strict=True):
                source, goal = self.at(a, self.mul(k, self.spec.lda)), self.at(packed, self.mul(k, rows))
                for v in self.columns(rows):
                    self.write(self.read(self.at(source, v.offset), v), self.at(goal, v.offset), v)
            return []

        self.loop(0, kn, 1, row)

    def copied(self) -> int:
        """Elements from one row of the copy of A to the next."""
        return self.depth + LINE // self.size

    def copy_block(self, i0: Number, end: Number, k0: Number, kn: Number) -> None:
        """packed_a[(i - i0) * copied + k] = A[i, k0 + k]"""

        def row(i: Number, _: list[str]) -> list[str]:
            source = self.at("%A", self.add(self.mul(i, self.spec.lda), k0))
            goal = self.at(self.packed_a, self.mul(self.sub(i, i0), self.copied()))
            k: Number = 0
            for lanes in (self.lanes, 1):

                def step(k: Number, _: list[str], lanes: int = lanes) -> list[str]:
                    self.write(self.read(self.at(source, k), _Vector(0, lanes)), self.at(goal, k), _Vector(0, lanes))
                    return []

                k, _ = self.loop(k, kn, lanes, step)
            return []

        self.loop(i0, end, 1, row)

    # ------------------------------------------------------------------------------------------ few columns
    def is_across(self) -> bool:
        """Whether vectors should run along m: both operands lie so, and along n too many lanes would be idle."""
        spec = self.spec
        form = (spec.a, spec.b, spec.segments, spec.part)
        if not self.target.masks or form != ("m", "n", (), False) or spec.m is None or not spec.n:
            return False
        if spec.n > 3 * self.lanes or (spec.k is not None and spec.k < 32):  # the transposition has to pay
            return False
        return 5 * spec.n * -(-spec.m // self.lanes) <= 4 * spec.m * -(-spec.n // self.lanes)

    def part(self, offset: int, used: int) -> _Vector:
        """The first lanes of a vector"""
        bits = ", ".join(f"i1 {'true' if x < used else 'false'}" for x in range(self.lanes))
        return _Vector(offset, self.lanes, None if used == self.lanes else f"<{bits}>")

    def across(self) -> None:
        """The whole product in tiles of vectors along m, transposed as they are stored.

        For the gradient of a head's weights.  float32, m = 64, k = 128: 156 GFLOP/s instead of 88 with n = 10; 155 (91)
        with 17; 158 (120) with 24; 163 (115) with 33; 83 (4) with 1.
        """
        m, n = self.spec.m, self.spec.n
        assert m is not None and n
        tiles = -(-n // min(12, self.lanes))
        widths = [n // tiles + (q < n % tiles) for q in range(tiles)]
        vectors = -(-m // self.lanes)
        panels = -(-vectors // min(4, 24 // widths[0]))
        each = -(-vectors // panels) if panels else 1

        def panel(i: Number, used: list[_Vector]) -> None:
            j = 0
            for width in widths:
                self.tile_across(i, used, j, width)
                j += width

        def full(i: Number, _: list[str]) -> list[str]:
            panel(i, [self.part(q * self.lanes, self.lanes) for q in range(each)])
            return []

        last = m - m % (each * self.lanes)
        self.loop(0, last, each * self.lanes, full)
        if rest := m - last:
            panel(last, [self.part(at, min(self.lanes, rest - at)) for at in range(0, rest, self.lanes)])

    def tile_across(self, i: Number, vectors: list[_Vector], j: int, width: int) -> None:
        """C[i + lanes of the vectors, j : j+width]"""
        spec = self.spec
        kind = self.type(self.lanes)

        def scalar(base: str, offset: int) -> str:
            return self.splat(
                self.new(f"load {self.scalar}, ptr {self.at(base, offset)}, align {self.size}"), self.lanes
            )

        def several(count: int) -> Callable[[Number, list[str]], list[str]]:
            def run(_: Number, carried: list[str]) -> list[str]:
                row_a, row_b, *values = carried
                for _ in range(count):
                    a = [self.read(self.at(row_a, v.offset), v) for v in vectors]
                    b = [scalar(row_b, c) for c in range(width)]
                    values = [self.multiply_add(y, x, values[q], self.lanes) for q, (y, x) in enumerate(product(b, a))]
                    row_a, row_b = self.past(row_a, spec.lda), self.past(row_b, spec.ldb)
                return [row_a, row_b, *values]

            return run

        starts = [scalar("%D", j + c) if spec.start == "bias" else "zeroinitializer" for c in range(width)]
        found = [self.at("%A", i), self.at("%B", j), *(start for start in starts for _ in vectors)]
        kinds = ["ptr", "ptr", *[kind] * (len(found) - 2)]
        k, found = self.loop(0, self.k, TURN, several(TURN), zip(kinds, found, strict=True))
        _, (_, _, *values) = self.loop(k, self.k, 1, several(1), zip(kinds, found, strict=True))
        row = self.part(0, width)
        for q, v in enumerate(vectors):
            columns = values[q :: len(vectors)] + ["poison"] * (self.lanes - width)
            used = self.lanes if v.mask is None else v.mask.count("true")
            for r, value in enumerate(self.transposed(columns, self.lanes)[:used]):
                start = self.add(self.mul(self.add(i, v.offset + r), spec.ldc), j)
                place = self.at("%C", start)
                if spec.start == "c":
                    value = self.new(f"fadd {kind} {value}, {self.read(place, row)}")
                self.write(self.after(value, self.operands(start), 0, row), place, row)

    # ------------------------------------------------------------------------------------------ loops
    def over_rows(self, i0: Number, end: Number, rows: int, body: Callable[[Number, int], None]) -> None:
        """Tiles of `rows` rows from i0 to end, then smaller ones for what remains."""

        def step(height: int) -> Callable[[Number, list[str]], list[str]]:
            def run(i: Number, _: list[str]) -> list[str]:
                body(i, height)
                return []

            return run

        i, _ = self.loop(i0, end, rows, step(rows))
        if isinstance(i, int) and isinstance(end, int):
            if end > i:
                body(i, end - i)
            return
        for rest in RESTS:
            if rest < rows:
                i, _ = self.loop(i, end, rest, step(rest))

    def panel(self, j: Number, vectors: list[_Vector], i0: Number, end: Number, k0: Number, kn: Number) -> None:
        if self.pack_b:
            self.pack_panel(j, vectors, k0, kn)
        self.over_rows(i0, end, self.height(), lambda i, rows: self.tile(i, j, rows, vectors, k0, kn, i0))

    def split(self) -> tuple[int, list[list[_Vector]]]:
        """The number of vectors of a full panel, and the panels that remain after as many of those as fit."""
        most = self.wide
        if self.spec.n is None:
            return min(3, most), []
        vectors = self.columns(self.spec.n)
        panels = -(-len(vectors) // most) or 1
        each = -(-len(vectors) // panels) or 1
        full = self.spec.n // (each * self.lanes)
        rest = self.columns(self.spec.n - full * each * self.lanes)
        return each, [rest[at : at + each] for at in range(0, len(rest), each)]

    def height(self) -> int:
        each, _ = self.split()
        best = self.target.rows[min(each, len(self.target.rows)) - 1]
        if self.one_row:
            return 1
        if self.spec.m is None:
            return best
        if self.spec.m <= best:
            return max(1, self.spec.m)
        even = [r for r in range(best, -(-best * 2 // 3) - 1, -1) if self.spec.m % r == 0]
        tiles = -(-self.spec.m // best)
        return even[0] if even else -(-self.spec.m // tiles)

    def over_panels(self, i0: Number, end: Number, k0: Number, kn: Number) -> None:
        each, rest = self.split()
        full = [_Vector(q * self.lanes, self.lanes) for q in range(each)]

        def step(j: Number, _: list[str]) -> list[str]:
            self.panel(j, full, i0, end, k0, kn)
            return []

        width = each * self.lanes
        last = self.n if isinstance(self.n, str) else self.n // width * width
        if self.spec.part:
            last = self.mul(self.new(f"sdiv i64 %N, {width}"), width)
        j, _ = self.loop(0, last, width, step)
        if isinstance(self.n, str):
            self.masked_panels(j, i0, end, k0, kn)
            return

        def what_remains() -> None:
            for vectors in rest:
                shifted = [_Vector(v.offset - vectors[0].offset, v.lanes, v.mask) for v in vectors]
                self.panel(self.add(j, vectors[0].offset), shifted, i0, end, k0, kn)

        if self.spec.part and rest:
            self.when(self.new(f"icmp sgt i64 %N, {last}"), what_remains)
        else:
            what_remains()

    def masked_panels(self, j: Number, i0: Number, end: Number, k0: Number, kn: Number) -> None:
        """The columns that remain of a run-time N, one vector, then one column at a time."""
        for lanes in (self.lanes, 1):

            def step(j: Number, _: list[str], lanes: int = lanes) -> list[str]:
                self.panel(j, [_Vector(0, lanes)], i0, end, k0, kn)
                return []

            j, _ = self.loop(j, self.n, lanes, step)

    def block(self, i0: Number, mn: Number, k0: Number, kn: Number) -> None:
        end = self.add(i0, mn)
        if self.pack_a:
            self.pack_block(i0, end, k0, kn)
        if self.copy_a:
            self.copy_block(i0, end, k0, kn)
        self.over_panels(i0, end, k0, kn)

    def blocks(self, size: Number, block: int | None, body: Callable[[Number, Number], None], once: bool) -> None:
        """body(start, length) over blocks of `size`; at least once if asked (an empty sum still has a start)."""
        if block is None:
            body(0, size)
            return
        if isinstance(size, int):

            def whole(start: Number, _: list[str]) -> list[str]:
                body(start, block)
                return []

            at, _ = self.loop(0, size, block, whole)
            if size % block:
                body(at, size % block)
            return
        limit: Number = size
        if once:
            limit = self.call("i64", "llvm.smax.i64", [str(size), "1"], ["i64", "i64"])

        def step(q: Number, _: list[str]) -> list[str]:
            start = self.mul(q, block)
            body(start, self.low(block, self.sub(size, start)))
            return []

        trips = self.new(f"sdiv i64 {self.add(limit, block - 1)}, {block}")
        self.loop(0, trips, 1, step)

    def few_rows(self) -> None:
        """The whole product without packing, a row at a time, and return."""
        kept = self.pack_a, self.copy_a, self.pack_b, self.wide, self.one_row
        self.pack_a, self.copy_a, self.pack_b, self.wide, self.one_row = False, False, False, 8, True
        self.over_panels(0, "%M", 0, self.k)
        self.lines.append("  ret void")
        self.pack_a, self.copy_a, self.pack_b, self.wide, self.one_row = kept

    def text(self) -> str:
        spec = self.spec
        self.begin("entry")
        at = len(self.lines)

        def over_m(k0: Number, kn: Number) -> None:
            self.blocks(self.m, self.block_m, lambda i0, mn: self.block(i0, mn, k0, kn), once=False)

        if spec.m is None and self.pack_b and spec.b == "n" and not spec.part:
            self.when(self.new(f"icmp slt i64 %M, {FEW_ROWS}"), self.few_rows)
        if self.is_across():
            self.across()
        else:
            self.blocks(self.k, self.block_k, over_m, once=True)
        self.lines.append("  ret void")
        allocas: list[str] = []
        if self.pack_b:
            width = self.split()[0] * self.lanes
            allocas.append(f"  %packed_b = alloca {self.scalar}, i64 {self.depth * width}, align 64")
        if self.pack_a or self.copy_a:
            height = self.block_m or self.spec.m or 1
            elements = height * self.copied() if self.copy_a else (height + 16) * self.depth
            allocas.append(f"  %packed_a = alloca {self.scalar}, i64 {elements}, align 64")
        self.lines[at:at] = allocas
        more = [f"ptr noalias %E{q}" for q in range(spec.epilogue.tensors)]
        more += [f"{self.scalar} %F{q}" for q in range(spec.epilogue.numbers)]
        return self.function(spec.name, [f"ptr noalias %{name}" for name in "ABCD"], more)


def _block(size: int | None, usual: int) -> int | None:
    """The length of a block: near the usual one, dividing the size if possible; None if one block is enough."""
    if size is None:
        return usual
    if size <= usual * 3 // 2:
        return None
    parts = -(-size // usual)
    even = [p for p in range(parts, 2 * parts) if size % p == 0]
    return -(-size // (even[0] if even else parts))
