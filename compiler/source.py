"""The tree of loops -> the text of one Python function, each line beside the formula that it computes.

The text is compiled (translate.py, through `native`) or run as it is by Python (`executable.interpret`).  Names in it
are synthesized: M is the block of memory, p<k> arrays of the caller, v<k> values, r<k> running values of reductions,
k<k> constants, c<k> subexpressions that do not change in the loop that follows.  All stores of an iteration come after
all its computations, and a choice is `select`, never a branch, so that LLVM makes neither masked stores nor jumps.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from keyword import iskeyword

import sympy as sp
from sympy import Expr
from sympy.logic.boolalg import Boolean

from .divisors import HIGH, LOW, divisors
from .expressions import Expressions, Frame, Places, label
from .fuse import flat_chain
from .interpreter import NAMESPACE
from .layout import Layout
from .nest import Alone, Barrier, Call, Check, Gather, Guarded, Loop, Node, Share, Statement, Sum, effects, unsafe_axes
from .program import Access, Equation, Index, Tensor

RESERVED = {*NAMESPACE, "M", "I", "H", "MI", "table", "status", "thread", "threads", "team", "part", "kernel", "range"}
SYNTHESIZED = re.compile(r"([ckprsuvxe]|s[ckux]|product)\d+|r\d+[sp]")


class Writer(Expressions):
    """Writes the body of the kernel function, node by node."""

    def __init__(self, layout: Layout, places: Places, dtype: str, kernels: Mapping[Call, tuple[str, str]]) -> None:
        super().__init__(layout, places, dtype)
        self.kernels = kernels
        self.formulas: set[Equation] = set()

    def scalars(self, equations: Sequence[Equation]) -> None:
        """Rank-0 equations of hyper-parameters, computed in float64 at the kernel's start."""
        totals: dict[Tensor, Expr] = {}
        for equation in equations:
            totals[equation.tensor] = totals.get(equation.tensor, sp.Integer(0)) + equation.rhs
        for tensor, total in totals.items():
            text = self.double.expression(total)
            self.places.scalars[tensor] = self.double.fresh("s")
            self.header.append(f"    {self.places.scalars[tensor]} = {text}  # {tensor.name} = {total}")

    def formula(self, equation: Equation) -> str:
        if equation in self.formulas:
            return ""
        self.formulas.add(equation)
        return "  # " + re.sub(r"[^\x20-\x7e]", "?", str(equation))[:160]

    def nodes(self, body: Sequence[Node]) -> None:
        for node in body:
            match node:
                case Loop():
                    self._settle()
                    self._divided(node)
                case Guarded():
                    self._settle()
                    self._guarded(self.condition(node.condition), node.body)
                case Alone():
                    self._settle()
                    self._guarded("thread == 0", node.body)
                case Barrier():
                    self._settle()
                    self.put("if threads > 1: barrier(team)")
                case Gather():
                    self._settle()
                    self._gather(node)
                case Call():
                    self._settle()
                    self._call(node)
                case Check():
                    self._settle()
                    self._check(node)
                case Statement():
                    self._statement(node, body)
        self._settle()

    def _divided(self, loop: Loop) -> None:
        """The loop; with divisors whose bounds can be looked at, once with multiplications for them, once without."""
        found = divisors(loop, self.layout, self.places)
        if not found:
            self._loop(loop)
            return
        low, high = (self.constant(2.0 ** powers[self.real]) for powers in (LOW, HIGH))
        zero = self.constant(0)
        checks = []
        for first, *others in dict.fromkeys(map(tuple, found.values())):
            checks += [f"({self.expression(first)} >= {low})", *(f"({self.expression(c)} >= {zero})" for c in others)]
            checks += [f"({self.expression(c)} <= {high})" for c in (first, *others)]
        bounded = " & ".join(dict.fromkeys(checks))
        for condition, self.multiplied in ((bounded, frozenset(found)), (f"not ({bounded})", frozenset())):
            self._guarded(condition, [loop], lambda: self._loop(loop))

    def _depth(self) -> int:
        return self.frames[-1].indent if self.frames else 0

    def _open(self, frame: Frame) -> None:
        self.frames.append(frame)
        self.shared, self.repeated = {}, set()

    def _close(self) -> None:
        self._settle()
        self.frames.pop()
        self.shared, self.repeated = {}, set()
        depth = len(self.frames)
        self.values = {t: v for t, v in self.values.items() if self.value_levels[t] <= depth}

    def _guarded(self, condition: str, body: Sequence[Node], write: Callable[[], None] | None = None) -> None:
        """A scope of its own: nothing that it computes is known outside.  write: writes the body."""
        self.put(f"if {condition}:")
        start = len(self.lines)
        writes = frozenset(place for node in body for place in effects(node, self.layout)[1])
        frame = Frame("", "", [], {}, writes, self._depth() + 1, guard=True)
        self._open(frame)
        write() if write else self.nodes(body)
        self._close()
        self.lines[start:start] = frame.prelude

    # ------------------------------------------------------------------------------------------ shares
    def _units(self, share: Share) -> str:
        """The number of units, known at the kernel's start."""
        extent = self.integer(share.extent)
        if share.extent.is_Integer:
            return str(-(-int(share.extent) // share.unit))
        return self._once(f"({extent} + {share.unit - 1})//{share.unit}", "u")

    def _first(self, share: Share, units: str, thread: str) -> str:
        """The first unit of a thread."""
        return self._once(f"{units}*{thread}//threads", "u")

    def _bounds(self, share: Share) -> tuple[str, str]:
        """The first place of this thread, and that of the next one."""
        units, extent = self._units(share), self.integer(share.extent)
        found = []
        for thread in ("thread", "(thread + 1)"):
            place = self._once(f"{share.unit}*{self._first(share, units, thread)}", "u")
            found.append(self._once(_extreme("<", [place, extent]), "u"))
        return found[0], found[1]

    def _once(self, text: str, stem: str) -> str:
        """An integer that is computed at the kernel's start."""
        if text not in self.constants:
            self.constants[text] = self.fresh(stem)
            self.header.append(f"    {self.constants[text]} = {text}")
        return self.constants[text]

    def _gather(self, gather: Gather) -> None:
        """The register takes the sums of all pieces, in order."""
        one, c = gather.sum, self._loop_name("c")
        self.put(f"for {c} in range({self._units(gather.share)}):")
        value = f"M[{one.offset} + {c}]"
        self.put(f"    {one.register} = reduce_{'add' if one.op == 'sum' else 'max'}({one.register}, {value})")

    def _neutral(self, one: Sum) -> str:
        return self.constant(0 if one.op == "sum" else -sp.oo)

    def _loop(self, loop: Loop) -> None:
        chain = flat_chain(loop, self.layout)
        statements = chain[-1].body if chain else loop.body
        formulas = "".join(self.formula(s.equation) for s in statements if isinstance(s, Statement))
        formulas += "".join(self.formula(equation) for equation in loop.also)
        index = loop.index
        writes = frozenset(loop.writes)
        begin = len(self.lines)
        share, ends, outside = loop.share, None, None
        if share is not None:
            ends = self._bounds(share)
            if share.sums:
                outside, ends = self._pieces(share, writes)
        start, frame_indent = len(self.lines), self.indent
        if chain is not None:
            names = {c.index.name for c in chain}
            count = self.integer(
                sp.Mul(*(c.index.high for c in chain)) if loop.count is None else sp.Integer(loop.count)
            )
            text = self._loop_name("q")
            frame = Frame(index.name, text, [], {}, writes, self._depth() + 1)
            self._open(frame)
            self.flat = (names, text)
            head = f"for {text} in range({count}):"
            if share is not None and ends is not None:
                row = "" if share.scale == 1 else f"{self.integer(share.scale)}*"
                head = f"for {text} in range({row}{ends[0]}, {row}{ends[1]}):"
            body: Sequence[Node] = statements
        else:
            text = self._loop_name(index.name.partition("_")[0])
            low, high = ends or (self.integer(index.low), self.integer(index.high))
            if loop.row is not None:
                pointer, columns, _ = self.places.sparse[loop.row.tensor]
                row = self.integer(loop.row.subscripts[0])
                head = f"for e{text} in range({pointer}[{row}], {pointer}[{row} + 1]):"
            elif loop.low or loop.high:
                lower = ends is None and index.low.is_zero and any(e.is_nonnegative for e in loop.low)
                low = _extreme(">", [*([] if lower else [low]), *map(self.integer, loop.low)])
                high = _extreme("<", [high, *map(self.integer, loop.high)])
                head = f"for {text} in range({low}, {high}):"
                start = len(self.lines)  # the ends may have been read in lines of their own
            elif loop.reverse:
                head = f"for {text} in range({high} - 1, {low} - 1, -1):"
            else:
                head = f"for {text} in range({low}, {high}):" if low != "0" else f"for {text} in range({high}):"
            frame = Frame(index.name, text, [], {}, writes, self._depth() + 1)
            self._open(frame)
            if loop.row is not None:
                self.put(f"{text} = {columns}[e{text}]")
            body = loop.body
        self.nodes(body)
        self._settle()
        self.flat = None
        inner = self.lines[start:]
        self._close()
        self.lines[start:] = [*frame.prelude, f"{frame_indent}{head}{formulas}", *inner]
        if share is not None and outside is not None:
            self._end_pieces(share, outside, begin)

    def _pieces(self, share: Share, writes: frozenset[object]) -> tuple[Frame, tuple[str, str]]:
        """Open the loop over the pieces of this thread; the ends of a piece."""
        c, units = self._loop_name("c"), self._units(share)
        frame = Frame("", c, [], {}, writes, self._depth() + 1)
        self._open(frame)
        for one in share.sums:
            self.put(f"{one.piece} = {self._neutral(one)}")
        low, high = f"{share.unit}*{c}", f"({share.unit}*{c} + {share.unit})"
        self._first(share, units, "thread"), self._first(share, units, "(thread + 1)")
        return frame, (low, _extreme("<", [high, self.integer(share.extent)]))

    def _end_pieces(self, share: Share, frame: Frame, start: int) -> None:
        for one in share.sums:
            self.put(f"M[{one.offset} + {frame.text}] = {one.piece}")
        inner = self.lines[start:]
        self._close()
        units = self._units(share)
        low, high = (self._first(share, units, thread) for thread in ("thread", "(thread + 1)"))
        self.lines[start:] = [*frame.prelude, f"{self.indent}for {frame.text} in range({low}, {high}):", *inner]

    def _loop_name(self, stem: str) -> str:
        usable = stem.isidentifier() and not iskeyword(stem) and stem not in RESERVED
        stem = stem if usable and len(stem) <= 8 else "i"
        taken = {*(f.text for f in self.frames), *self.places.sizes.values()}
        taken |= {f"e{name}" for name in taken} | {name.removeprefix("e") for name in taken}  # of sparse rows
        number, name = 1, stem
        while name in taken or SYNTHESIZED.fullmatch(name):
            number, name = number + 1, f"{stem}_{number}"
        return name

    def _statement(self, statement: Statement, body: Sequence[Node]) -> None:
        if not self.shared and not self.repeated:
            self.repeated = _repeated([s for s in body if isinstance(s, Statement)])
        register = statement.register
        match statement.kind:
            case "begin":
                self._begin(statement)
            case "combine":
                self._combine(statement)
            case "end":
                value = f"({register} + log({register}s))" if statement.op == "logsumexp" else register
                value = f"{register}p" if statement.op == "argmax" else value
                self._finish(statement, value)
            case "store" | "add":
                self._finish(statement, self._value(statement.rhs, statement.lhs.tensor))

    def _value(self, rhs: Expr, tensor: Tensor) -> str:
        return self.integer(rhs) if tensor.kind == "integer" else self.expression(rhs)

    def _begin(self, statement: Statement) -> None:
        register = statement.register
        self.put(f"{register} = {self.constant(0 if statement.op == 'sum' else -sp.oo)}")
        if statement.op == "logsumexp":
            self.put(f"{register}s = {self.constant(0)}")
        if statement.op == "argmax":
            self.put(f"{register}p = -1")

    def _combine(self, statement: Statement) -> None:
        register, where = statement.register, statement.where
        always = where == True  # noqa: E712
        if statement.op in ("sum", "max"):
            value = self.expression(statement.rhs)
            if not always:
                neutral = self.constant(0 if statement.op == "sum" else -sp.oo)
                value = f"select({self.condition(where)}, {value}, {neutral})"
            self.put(f"{register} = reduce_{'add' if statement.op == 'sum' else 'max'}({register}, {value})")
            return
        rhs, place = statement.rhs if statement.op == "argmax" else (statement.rhs, None)
        name = self.fresh("x")
        text = self.expression(rhs)
        self.put(f"{name} = {text}")
        guard = "" if always else f"{self.condition(where)} & "
        if place is not None:
            larger = f"(not ({name} <= {register})) & ({register} == {register})"  # or the first NaN
            chosen = self.fresh("x")
            # no branch, and one comparison of the two: so that rows of such reductions run in vectors
            self.put(f"{chosen} = {guard}(({register}p < 0) | ({larger}))")
            self.put(f"{register} = select({chosen}, {name}, {register})")
            self.put(f"{register}p = select({chosen}, I64({self.integer(place)}), {register}p)")
            return
        self.put(f"if {guard}({name} != {self.constant(-sp.oo)}):")
        self.put(f"    if {name} > {register}:")
        self.put(f"        {register}s = {register}s*exp({register} - {name}) + {self.constant(1)}")
        self.put(f"        {register} = {name}")
        self.put("    else:")
        self.put(f"        {register}s = {register}s + exp({name} - {register})")

    def _finish(self, statement: Statement, value: str) -> None:
        lhs, tensor = statement.lhs, statement.lhs.tensor
        adds = statement.kind == "add" or statement.adds
        unsafe = unsafe_axes(lhs)
        if tensor in self.places.registers:
            name = self.fresh("v")
            self.put(f"{name} = {value}{self.formula(statement.equation)}")
            self.values[tensor] = name
            self.value_levels[tensor] = len(self.frames)
            return
        if not adds and not unsafe and statement.where == True:  # noqa: E712
            name = value
            if not value.isidentifier():
                name = self.fresh("v")
                self.put(f"{name} = {value}{self.formula(statement.equation)}")
            self.shared[lhs] = name
            self.pending.append((lhs, name))
            return
        name = self.fresh("v")
        self.put(f"{name} = {value}{self.formula(statement.equation)}")
        self._flush(self.layout.root(tensor), None)
        conditions = [] if statement.where == True or statement.kind == "end" else [self.condition(statement.where)]  # noqa: E712
        conditions += [f"({self.integer(s)} >= 0) & ({self.integer(s)} < {self.integer(n)})" for s, n in unsafe]
        line = f"{self.address(lhs)} {'+=' if adds else '='} {name}{label(lhs)}"
        self.put(f"if {' & '.join(conditions)}: {line}" if conditions else line)
        self.shared = {e: t for e, t in self.shared.items() if tensor not in {a.tensor for a in e.atoms(Access)}}

    def _call(self, call: Call) -> None:
        name, sizes = self.kernels[call]
        steps = ["", "", "", ""]
        if call.share is not None and call.share.columns:
            low, high = self._bounds(call.share)
            m, _, k = sizes.split(", ")
            of_b = call.product.ldb if call.product.b_transposed else 1
            steps[1:], sizes = [f" + {of_b}*{low}", f" + {low}", f" + {low}"], f"{m}, {high} - {low}, {k}"
        elif call.share is not None:
            low, high = self._bounds(call.share)
            row = "" if call.share.scale == 1 else f"{self.integer(call.share.scale)}*"
            of_a = 1 if call.product.a_transposed else call.product.lda
            steps[0], steps[2] = f" + {of_a}*{row}{low}", f" + {call.product.ldc}*{row}{low}"
            sizes = f"{row}({high} - {low}), {sizes.partition(', ')[2]}"
        operands = [*call.operands, *([call.operands[0]] if len(call.operands) == 2 else [])]
        places = [operands[0], operands[1], call.target, operands[2]]
        texts = [self._pointer(access, step) for access, step in zip(places, steps, strict=True)]
        formulas = self.formula(call.equation)
        if call.after is not None:
            formulas += self.formula(call.after.equation)
            at_low = {i: i.low for i in call.after.lhs.atoms(Index)}
            beside = [self._pointer(a.xreplace(at_low), steps[2]) for a in call.after.tensors]
            known, self.shared, self.repeated = (self.shared, self.repeated), {}, set()
            beside += [self.expression(e) for e in call.after.numbers]
            self.shared, self.repeated = known
            sizes = ", ".join([sizes, *beside])
        self.put(f"{name}({', '.join(texts)}, {sizes}){formulas}")

    def _pointer(self, access: Access, step: str) -> str:
        """To an element, and so many on."""
        pointer, _, element = f"{self.address(access)[:-1]}{step}]".partition("[")
        return f"offset({pointer}, {element[:-1]})" if element != "0]" else pointer

    def _check(self, check: Check) -> None:
        values = " & ".join(f"isfinite({self.address(Access(g))})" for g in check.guards)
        self.put(f"if not ({values}):  # a value is not finite: no update")
        self.put("    status[0] = 1")
        self.put("    return")


def _extreme(relation: str, ends: Sequence[str]) -> str:
    """The largest (">") or smallest ("<") of them."""
    best = ends[0]
    for end in ends[1:]:
        best = f"({best} if {best} {relation} {end} else {end})"
    return best


def _repeated(statements: Sequence[Statement]) -> set[Expr]:
    """Subexpressions that stand more than once in a body."""
    counts: Counter[Expr] = Counter()
    for statement in statements:
        stack = list(statement.rhs.args if isinstance(statement.rhs, sp.Tuple) else (statement.rhs,))
        while stack:
            node = stack.pop()
            if not node.args or isinstance(node, (Access, Index, Boolean)):
                continue
            counts[node] += 1
            if counts[node] == 1:
                stack.extend(
                    a for pair in node.args for a in (pair.args if isinstance(node, sp.Piecewise) else (pair,))
                )
    return {e for e, n in counts.items() if n > 1 and not e.is_number}
