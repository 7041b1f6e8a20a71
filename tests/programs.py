"""Random programs of the language, from a seed: what the fuzzer feeds to the derivation, the passes and the lowering.

Not networks: any rank, shifted and strided and gathered accesses (out of range, too), conditions, all reductions,
recurrences in both directions and nested ones, tensors of several equations, all functions.  Every program has a
rank-0 output that depends on its parameters, is smooth near its values, and keeps the rules (`verify`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy as sp
from sympy import Expr, Integer, Piecewise, Rational

from compiler.functions import expm1, log1p, logistic, softplus, uniform
from compiler.program import Access, Equation, Index, Program, Tensor, size
from symnet.oracle.reference import evaluate

from .tolerance import is_smooth

LETTERS = "nijkuvw"


@dataclass(frozen=True)
class Sample:
    """A program with a rank-0 output, the parameters to differentiate by, and a point to do it at.

    next, updates: equations of the next values of its states.  redrawn: how many points were thrown away before this
    one because they were within 1e-3 of a kink.
    """

    seed: int
    program: Program
    output: Tensor
    wrt: tuple[Tensor, ...]
    values: dict[str, Any]
    sizes: dict[str, int]
    redrawn: int
    next: tuple[Equation, ...] = ()
    updates: tuple[tuple[Tensor, Tensor], ...] = ()

    @property
    def constructs(self) -> tuple[str, ...]:
        """What of the language is in it."""
        return tuple(name for name, there in self.all_constructs.items() if there)

    @property
    def all_constructs(self) -> dict[str, bool]:
        equations = (*self.program.equations, *self.next)
        reads = [a for e in equations for a in e.reads()]
        text = str(self)
        own = [e.tensor for e in equations]
        return {
            "recurrences": any(e.tensor == a.tensor for e in equations for a in e.reads()),
            "sparse operands": any(a.tensor.sparse for a in reads),
            "integer tensors": any(a.tensor.kind == "integer" for a in reads),
            "conditions": any(e.where is not sp.true for e in equations),
            "max, logsumexp": any(e.op in ("max", "logsumexp") for e in equations),
            "several equations of a tensor": len(set(own) - {self.output}) < len([t for t in own if t != self.output]),
            "random numbers": "uniform(" in text,
            "constants of the caller": "hyper[" in text,
            "states": bool(self.updates),
        }

    def __str__(self) -> str:
        given = "\n".join(
            f"  {t.role} {t.name}{list(t.shape)} {t.kind}" for t in self.program.tensors if t.role != "value"
        )
        return f"seed {self.seed}, sizes {self.sizes}\n{given}\n{self.program}"


def sample(seed: int, dtype: str = "float64") -> Sample:
    """The random program of this seed, always the same, at a point in numbers that the dtype has."""
    redrawn = 0
    for attempt in range(1000):
        writer = _Writer(np.random.default_rng((seed, attempt)))
        program, output, wrt = writer.program()
        if not wrt:
            continue
        new, updates = writer.steps(program)
        whole = Program((*program.equations, *new), program.outputs, updates)
        for _ in range(4):
            values = writer.values(whole, dtype)
            found = evaluate(whole, values, writer.sizes, list(whole.definitions))
            if not _moderate(whole, writer.guarded, found):
                break
            if is_smooth(whole, values, writer.sizes):
                return Sample(seed, program, output, wrt, values, writer.sizes, redrawn, new, updates)
            redrawn += 1
    raise AssertionError(f"no regular program for seed {seed}")


def _moderate(program: Program, guarded: set[Tensor], found: dict[str, Any]) -> bool:
    """No NaN, nothing large, -inf only where readers expect it."""
    for tensor in program.definitions:
        array = np.asarray(found[tensor.name], float)
        finite = np.isfinite(array)
        if np.isnan(array).any() or (np.abs(array[finite]) > 1e3).any() or not (tensor in guarded or finite.all()):
            return False
    return True


class _Writer:
    """Writes one program; every choice comes from `rng`."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.sizes: dict[str, int] = {}
        self.extents: list[Expr] = []
        numbers = [int(n) for n in rng.choice([1, 2, 2, 3, 3, 4], size=3)]
        if rng.random() < 0.25:
            numbers = [numbers[0]] * 3
        for letter, number in zip("NKT", numbers, strict=True):
            symbolic = letter != "K" and rng.random() < 0.5  # parameters have literal shapes, so K stays a number
            self.sizes |= {letter: number} if symbolic else {}
            self.extents.append(size(letter) if symbolic else Integer(number))
        self.real: list[Tensor] = []
        self.integer: list[Tensor] = []
        self.sparse: list[Tensor] = []
        self.guarded: set[Tensor] = set()
        self.equations: list[Equation] = []
        self.count = 0

    # ------------------------------------------------------------------------------------------ choices
    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def among(self, options: Sequence[Any]) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def number(self, extent: Expr) -> int:
        return int(extent.xreplace({size(letter): Integer(n) for letter, n in self.sizes.items()}))

    def shape(self, low: int, high: int, largest: int = 64, literal: bool = False) -> tuple[Expr, ...]:
        extents = [n for n in self.extents if n.is_Integer or not literal]
        while True:
            shape = tuple(self.among(extents) for _ in range(int(self.rng.integers(low, high + 1))))
            if np.prod([self.number(n) for n in shape]) <= largest:
                return shape

    def name(self) -> str:
        self.count += 1
        return f"v{self.count}"

    # ------------------------------------------------------------------------------------------ the program
    def program(self) -> tuple[Program, Tensor, tuple[Tensor, ...]]:
        for k in range(int(self.rng.integers(1, 4))):
            self.real.append(Tensor(f"p{k}", self.shape(0 if k else 1, 2, 6, literal=True), "parameter"))
        parameters = tuple(self.real)
        for k in range(int(self.rng.integers(1, 3))):
            self.real.append(Tensor(f"x{k}", self.shape(1, 3, 27), "input"))
        if self.chance(0.6):
            self.integer.append(Tensor("ids", self.shape(1, 2, 9), "input", "integer"))
        if self.chance(0.15):
            self.sparse.append(Tensor("S", self.shape(2, 2), "constant", "real", True))
        if self.chance(0.3):
            self.real.append(Tensor("hyper", (), "hyper"))
        if self.chance(0.25):
            for k in range(int(self.rng.integers(1, 3))):
                self.real.append(Tensor(f"s{k}", self.shape(0, 2, 6, literal=True), "state"))
        define, contract, reduce = self.define, self.contract, self.reduce
        steps = [define, contract, contract, reduce, reduce, reduce, self.recur, self.scatter]
        for _ in range(int(self.rng.integers(2, 6))):
            self.among(steps)()
        output = Tensor("loss")
        read = {a.tensor for e in self.equations for a in e.reads()}
        unread = [t for t in dict.fromkeys((*parameters, *(e.tensor for e in self.equations))) if t not in read]
        for number, tensor in enumerate(t for t in unread if t.kind == "real"):
            domain = self.domain(tensor.shape)
            term = self.guard(tensor[domain])
            weight = sp.cos(sum((k + 1) * i for k, i in enumerate(domain)) + number)  # each element matters differently
            term = weight * self.among([term, term**2, sp.tanh(term)])
            self.equations.append(Equation(Access(output), domain, term))
        program = Program(self.equations, (output,)).live()
        return program, output, tuple(p for p in parameters if p in program.tensors)

    def steps(self, program: Program) -> tuple[tuple[Equation, ...], tuple[tuple[Tensor, Tensor], ...]]:
        """Next values of states, from old ones (in place or not, shifted, each other's) and from values."""
        defined = {e.tensor for e in program.equations}
        self.real, self.integer = (
            [t for t in tensors if t.role != "value" or t in defined] for tensors in (self.real, self.integer)
        )
        states = [t for t in program.tensors if t.role == "state"]
        found: list[Equation] = []
        updates = []
        for state in states:
            new = Tensor(f"{state.name}_next", state.shape)
            domain = self.domain(state.shape)
            other = self.among(states)
            shared = [self.subscript(n, domain) for n in other.shape] if domain or not other.rank else None
            old = self.among([state[domain], state[domain] if shared is None else other[tuple(shared)]])
            found.append(Equation(new[domain], domain, sp.tanh(old) + self.expression(domain, 1)))
            if self.chance(0.4):
                bound = self.domain(self.shape(1, 1, 4), "b")
                rhs = state[domain] * self.access((*domain, *bound)) / 4
                found.append(Equation(new[domain], (*domain, *bound), rhs))
            updates.append((state, new))
        return tuple(found), tuple(updates)

    def values(self, program: Program, dtype: str = "float64") -> dict[str, Any]:
        values: dict[str, Any] = {}
        for tensor in program.tensors:
            shape = tuple(self.number(n) for n in tensor.shape)
            if tensor.role == "value":
                continue
            if tensor.kind == "integer":
                values[tensor.name] = self.rng.integers(-1, 5, shape)
            else:
                values[tensor.name] = self.rng.uniform(-1.5, 1.5, shape).astype(dtype).astype(float)
            if tensor.sparse:
                values[tensor.name] *= self.rng.random(shape) < 0.5
        return values

    def domain(self, shape: Sequence[Expr], prefix: str = "") -> tuple[Index, ...]:
        letters = self.rng.permutation(list(LETTERS))
        return tuple(Index(prefix + str(letter), n) for letter, n in zip(letters, shape, strict=False))

    # ------------------------------------------------------------------------------------------ equations
    def finish(self, tensor: Tensor, *equations: Equation, more: bool = False) -> None:
        self.equations.extend(equations)
        if more and self.chance(0.35):  # a further equation of the same tensor: plain, or into one slot
            domain = self.domain(tensor.shape)
            left: list[Expr] = list(domain)
            if left and self.chance(0.5):
                axis = int(self.rng.integers(len(left)))
                left[axis] = Integer(int(self.rng.integers(self.number(tensor.shape[axis]))))
                domain = tuple(i for i in domain if i in left)
            self.equations.append(
                Equation(Access(tensor, *left), domain, self.expression(domain, 1), "sum", self.condition(domain))
            )
        (self.integer if tensor.kind == "integer" else self.real).append(tensor)

    def define(self) -> None:
        """An elementwise map, perhaps shifted on the left, with broadcasting as it comes."""
        tensor = Tensor(self.name(), self.shape(0, 3))
        domain = self.domain(tensor.shape)
        left: list[Expr] = list(domain)
        if left and self.chance(0.2):
            axis = int(self.rng.integers(len(left)))
            left[axis] = left[axis] + int(self.rng.integers(-1, 2))
        where = self.condition(domain)
        self.finish(
            tensor, Equation(Access(tensor, *left), domain, self.expression(domain, 2), "sum", where), more=True
        )

    def contract(self) -> None:
        """A sum of products over bound indices."""
        tensor = Tensor(self.name(), self.shape(0, 2))
        domain = self.domain((*tensor.shape, *self.shape(1, 2, 9)))
        rhs: Expr = Integer(1)
        if self.sparse and self.chance(0.7):
            chosen = [i for i in domain if self.among([True, False])] or list(domain)
            fitting = [(i, j) for i in chosen for j in domain if i != j and (i.high, j.high) == self.sparse[0].shape]
            if fitting:
                rhs *= self.sparse[0][self.among(fitting)]
        for _ in range(int(self.rng.integers(1, 4))):
            rhs *= self.among([self.access, self.access, lambda d: self.expression(d, 1)])(domain)
        rhs *= self.among([Integer(1), Rational(1, 3), -Integer(2), 1 / domain[-1].extent])
        where = self.condition(domain)
        free = domain[: tensor.rank]
        order = tuple(domain[int(k)] for k in self.rng.permutation(len(domain)))
        self.finish(tensor, Equation(Access(tensor, *free), order, rhs, "sum", where), more=True)

    def reduce(self) -> None:
        """max, logsumexp or argmax over bound indices, perhaps under a condition (then -inf is possible)."""
        op = self.among(["max", "logsumexp", "max", "logsumexp", "argmax"])
        tensor = Tensor(self.name(), self.shape(0, 2), "value", "integer" if op == "argmax" else "real")
        domain = self.domain((*tensor.shape, *self.shape(1, 2, 9)))
        where = self.condition(domain)
        rhs = self.access(domain) + self.expression(domain, 1) if self.chance(0.5) else self.expression(domain, 2)
        if where is not sp.true and op != "argmax":
            self.guarded.add(tensor)
        self.finish(tensor, Equation(Access(tensor, *domain[: tensor.rank]), domain, rhs, op, where))

    def scatter(self) -> None:
        """A left-hand side that is neither plain nor shifted: gathered, strided, a diagonal."""
        tensor = Tensor(self.name(), self.shape(1, 2))
        domain = self.domain((*tensor.shape, *self.shape(0, 1, 4)))
        left = [self.subscript(n, domain) for n in tensor.shape]
        rhs = self.expression(domain, 1)
        self.finish(tensor, Equation(Access(tensor, *left), domain, rhs, "sum", self.condition(domain)), more=True)

    def recur(self) -> None:
        """A recurrence over the first axis, forward or backward, alone, as a pair, or along two axes."""
        shape = (self.among(self.extents), *self.shape(0, 1))
        step = self.among([1, 1, 1, -1, -1, 2])
        h, c = Tensor(self.name(), shape), Tensor(self.name(), shape)
        domain = self.domain(shape)
        bound = self.domain(shape[1:], "b") if self.chance(0.6) else ()
        time, rest = domain[0], domain[1:]
        previous = (bound or rest) if not bound or self.chance(0.8) else (self.among([0, self.number(shape[1]) - 1]),)
        everything = (*domain, *bound)
        scale = Rational(1, 2) if bound else Integer(1)

        def before(tensor: Tensor) -> Expr:
            return (
                scale * self.among([self.access, lambda d: Integer(1)])(everything) * tensor[(time - step, *previous)]
            )

        long = self.number(shape[0]) > 1
        form = self.among(["plain", "slot" if long else "plain", "pair", "two axes"])
        drive = self.expression(domain, 1)
        if form == "plain":
            self.finish(h, Equation(h[domain], everything, sp.tanh(before(h))), Equation(h[domain], domain, drive))
        elif form == "slot":  # h[0] is given, h[t+1] follows; t runs one short
            inner = time.func(time.args[0], time.high - 1)
            new = {time: inner}
            first: Expr = Integer(0) if step > 0 else time.high - 1
            at = inner + 1 if step > 0 else inner
            left, right = (at, at - 1) if step > 0 else (inner, inner + 1)
            rhs = sp.tanh(scale * h[(right, *previous)] * self.access((*rest, *bound)))
            self.finish(
                h,
                Equation(h[(first, *rest)], rest, self.expression(rest, 1)),
                Equation(h[(left, *rest)], (inner, *rest, *bound), rhs),
                Equation(h[(left, *rest)], (inner, *rest), drive.xreplace(new)),
            )
        elif form == "pair":
            self.equations.append(Equation(c[domain], everything, sp.sin(before(h))))
            self.equations.append(Equation(c[domain], domain, c[(time - step, *rest)] / 2 + drive))
            self.finish(h, Equation(h[domain], domain, sp.tanh(c[domain]) * self.expression(domain, 1)))
            self.real.append(c)
        else:
            other = rest[:1]
            along = h[(time, other[0] - 1, *rest[1:])] if other else h[(time - step,)]
            rhs = sp.tanh(h[(time - step, *rest)] * self.access(domain) + along / 2)
            self.finish(h, Equation(h[domain], domain, rhs), Equation(h[domain], domain, drive))

    # ------------------------------------------------------------------------------------------ expressions
    def subscript(self, extent: Expr, domain: Sequence[Index]) -> Expr:
        """Mostly a plain index of that length; else anything affine, in range or not."""
        fitting = [i for i in domain if i.extent == extent]
        if fitting and self.chance(0.7):
            return self.among(fitting)
        options: list[Expr] = [Integer(int(self.rng.integers(self.number(extent))))]
        if domain:
            i, j = self.among(domain), self.among(domain)
            options += [i, i + 1, i - 1, extent - 1 - i, 2 * i, 2 * i + j - 1, i + j, i - j]
        for tensor in self.integer:
            if domain and tensor.rank <= len(domain):
                options += [Access(tensor, *(self.plain(n, domain) for n in tensor.shape))] * 2
        chosen = self.among(options)
        if chosen.is_Integer and not 0 <= chosen < self.number(extent):  # i - i, or the like
            return Integer(0)
        return chosen

    def plain(self, extent: Expr, domain: Sequence[Index]) -> Expr:
        fitting = [i for i in domain if i.extent == extent]
        return self.among(fitting) if fitting else self.among(domain)

    def access(self, domain: Sequence[Index]) -> Expr:
        usable = [t for t in self.real if domain or t.rank == 0 or self.chance(0.5)]
        recent = usable[-3:] if self.chance(0.5) else usable
        if not recent:
            return Rational(1, 2)
        tensor = self.among(recent)
        return self.guard(Access(tensor, *(self.subscript(n, domain) for n in tensor.shape)))

    def guard(self, access: Access) -> Expr:
        """What may be -inf is read through a branch that is not taken then."""
        if access.tensor not in self.guarded:
            return access
        return Piecewise((self.among([access, access**2, sp.exp(access / 4)]), access > -100), (Rational(1, 3), True))

    def condition(self, domain: Sequence[Index]) -> Any:
        if not domain or self.chance(0.65):
            return sp.true
        i, j = self.among(domain), self.among(domain)
        options = [i < j, i <= j, i >= 1, sp.Ne(i, j), sp.Eq(i, 0), sp.Or(i > j, sp.Eq(j, 0)), sp.And(i >= j, i > 0)]
        for tensor in self.integer:
            gathered = Access(tensor, *(self.plain(n, domain) for n in tensor.shape))
            options += [sp.Ne(gathered, i), gathered >= j]
        chosen = self.among(options)
        return sp.true if chosen is sp.false else chosen

    def expression(self, domain: Sequence[Index], depth: int) -> Expr:
        if depth == 0:
            if domain and self.chance(0.08):
                return self.among(domain) / self.among([2, 3])
            if self.chance(0.12):
                return self.among([Rational(1, 3), sp.Float(0.7), Integer(2), sp.pi / 4, self.among(self.extents)])
            return self.access(domain)
        a = self.expression(domain, depth - 1)
        b = self.expression(domain, depth - 1)
        c = next((e for e in (b, a) if not e.has(Piecewise)), None)  # a compared Piecewise becomes an ITE in SymPy
        binary = [lambda: a + b, lambda: a * b, lambda: a - b / 2, lambda: a * logistic(b), lambda: a / (1 + b**2)]
        unary = [
            lambda: sp.tanh(a), lambda: sp.sin(a), lambda: sp.cos(a), lambda: logistic(a), lambda: softplus(a),
            lambda: sp.exp(sp.tanh(a)), lambda: sp.exp(-(a**2)), lambda: sp.log(2 + a**2), lambda: log1p(a**2),
            lambda: expm1(sp.tanh(a)), lambda: sp.erf(a), lambda: sp.erfc(a), lambda: sp.tan(sp.tanh(a) / 2),
            lambda: sp.sqrt(1 + a**2), lambda: a**2, lambda: a**3, lambda: (2 + sp.tanh(a)) ** b
            if b.is_Rational else (1 + a**2) ** sp.tanh(b),
            lambda: a if c is None else Piecewise((0, c <= Rational(1, 10)), (a, True)),
            lambda: a if c is None else Piecewise((a, c > Rational(-1, 7)), (a * b, True)),
            lambda: a * uniform(3, *domain),
        ]  # fmt: skip
        if domain:
            condition = self.condition(domain)
            unary.append(lambda: Piecewise((a, condition), (b, True)))
        return self.among(self.among([binary, unary]))()
