"""Generated source -> LLVM IR, statement by statement.

In: the text of functions of the dialect below, and what its names stand for.  Out: the text of an LLVM module.
Stands between source.py and native.py.  The dialect is a part of Python that Numba compiles, too, with the same meaning
(tests compare them bit by bit); this translator takes a tenth of the time, since it infers nothing: every name has the
kind of what it is first given.

    text       ::= function*            the last is called from outside; the name of another is its address
    function   ::= def name(table, name, ...): statement*         table: a pointer to int64; the others are integers
    statement  ::= name = e | pointer[e] = e | ... += e | -= | *= | //= | call
                 | if e: ... else: ... | while e: ... | for name in range(e, ...): ... | return
    e          ::= number | name | pointer[e] | -e | not e | e + e | - | * | / | // | % | e ** e | e & e | e | e
                 | e < e < e | <= | > | >= | == | != | e and e | e or e | e if e else e | function(e, ...)

Integers are 64 bits, signed, and do not overflow.  An operation of an integer and a real gives a float64.  Arithmetic
carries the flag `contract` and no other; comparisons with NaN are false, but for `!=`.

With `Lanes` the same text runs for several tables of arguments at once, one in each lane of a vector: what pointers
point to is a vector for each element, `[element][lane]`, and so are values made of it.  What is `shared` is a scalar,
as is all that is made of that alone.  A condition that differs between lanes is no branch: what is assigned and stored
under it is selected.  A return under such a condition ends the lanes for which it holds, or did in an earlier call:
their `status` is not 0.  What follows leaves them as they are.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from .kernels.emitters import (
    EMITTERS,
    FLOATS,
    KINDS,
    Value,
    constant,
    converted,
    emit_extern,
    intrinsic,
    spread,
    together,
)

CONTRACT = ("contract",)
COMPARISONS: Mapping[type, str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip
SQUARINGS = 64  # the largest whole power that is written as products


class Untranslatable(ValueError):
    """The text is not of the dialect: a fault of whoever generated it."""


@dataclass(frozen=True, slots=True)
class Lanes:
    """How many, and what is shared by all: names of variables that get a pointer, or elements such as "H[0]"."""

    count: int
    shared: frozenset[str] = frozenset()


def translate(text: str, entry: str, names: Mapping[str, Any], lanes: Lanes | None = None) -> str:
    """The IR of the functions, the last of them `entry`; names: numbers, or (symbol, result, argument kinds).

    C type void(int64_t *, int64_t ...).
    """
    functions = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    if not functions or functions[-1].name != entry or not functions[-1].args.args:
        raise Untranslatable(f"no function {entry}(table)")
    wide: dict[str, set[str]] = {node.name: set() for node in functions}
    while True:
        known = {name: len(found) for name, found in wide.items()}
        module = ir.Module("generated")
        made: dict[str, Any] = {}
        for node in functions:
            made[node.name] = _Function(node, names, module, dict(made), lanes, wide[node.name]).function
        if known == {name: len(found) for name, found in wide.items()}:
            return str(module)


class _Function:
    """wide: the names of variables that get a vector somewhere; whoever finds another one adds it, and begins anew."""

    def __init__(
        self,
        node: ast.FunctionDef,
        names: Mapping[str, Any],
        module: Any,
        functions: Mapping[str, Any],
        lanes: Lanes | None,
        wide: set[str],
    ) -> None:
        self.lanes, self.wide, self.vectors = lanes, wide, frozenset(wide)
        self.mask: Value | None = None  # the lanes for which the conditions around hold; None: all
        self.going: Value | None = None  # the lanes that have not returned; None: all
        self.target = ""  # the variable that is being given a value
        self.depth = 0  # of blocks that run on some condition
        self.names, self.module, self.functions = names, module, functions
        whole, [table, *others] = KINDS["i64"], node.args.args
        kinds = [whole.as_pointer(), *(whole for _ in others)]
        self.function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), node.name)
        self.function.args[0].add_attribute("noalias")
        self.function.attributes.add("nounwind")
        self.entry = ir.IRBuilder(self.function.append_basic_block("entry"))  # where variables are made
        self.builder = ir.IRBuilder(self.function.append_basic_block("body"))
        self.variables: dict[str, Value] = {}  # kind: of the variable; ir: where it is
        self._assign(table.arg, Value("i64*", self.function.args[0]))
        for argument, value in zip(others, self.function.args[1:], strict=True):
            self._assign(argument.arg, Value("i64", value))
        self._block(node.body)
        if not self.builder.block.is_terminated:
            self.builder.ret_void()
        self.entry.branch(self.function.blocks[1])

    # ------------------------------------------------------------------------------------------ statements
    def _block(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            if self.builder.block.is_terminated:
                return
            try:
                self._statement(statement)
            except (Untranslatable, AttributeError, KeyError, TypeError, ValueError) as error:
                if isinstance(error, Untranslatable) and str(error).startswith("line "):
                    raise
                shown = ast.unparse(statement).partition("\n")[0]
                raise Untranslatable(f"line {statement.lineno}, {shown}: {error!r}") from error

    def _statement(self, statement: ast.stmt) -> None:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                self.target = name
                self._assign(name, self._value(value))
                self.target = ""
            case ast.Assign(targets=targets, value=value):
                found = self._value(value)  # a = b = 0
                for target in targets:
                    self._store(target, found)
            case ast.AugAssign(target=target, op=op, value=value):
                self._store(target, self._binary(op, self._value(target), self._value(value)))
            case ast.Expr(value=ast.Call() as call):
                self._call(call)
            case ast.If(test=test, body=body, orelse=orelse):
                self._if(test, body, orelse)
            case ast.While(test=test, body=body, orelse=[]):
                self._while(test, body)
            case ast.For(target=ast.Name(id=name), iter=ast.Call(func=ast.Name(id="range"), args=bounds), orelse=[]):
                self._for(name, bounds, statement.body)
            case ast.Return(value=None) if self.mask is None and self.going is None:
                self.builder.ret_void()
            case ast.Pass():
                pass
            case ast.Expr(value=ast.Constant(value=str())):
                pass
            case _:
                raise Untranslatable(f"the statement {type(statement).__name__}")

    def _store(self, target: ast.expr, value: Value) -> None:
        match target:
            case ast.Name(id=name):
                self._assign(name, value)
            case ast.Subscript(value=pointer, slice=index):
                place = self._element(pointer, index)
                self._put(place.ir, converted(self.builder, value, place.element), index)
            case _:
                raise Untranslatable(f"the target {type(target).__name__}")

    def _put(self, place: Any, value: Value, what: ast.expr) -> None:
        """Store, in the lanes that take part."""
        kind = place.type.pointee
        value = spread(self.builder, value, kind.count if isinstance(kind, ir.VectorType) else 0)
        if value.ir.type != kind:
            raise Untranslatable(f"a value for each lane in one place, {ast.unparse(what)}")
        for mask in (self.mask, self.going):
            if mask is not None:
                if not value.lanes:
                    raise Untranslatable("a scalar changes in some lanes only")
                value = Value(value.kind, self.builder.select(mask.ir, value.ir, self._load(place)))
        made = self.builder.store(value.ir, place)
        if value.lanes:
            made.align = _size(kind.element)

    def _load(self, place: Any) -> Any:
        kind = place.type.pointee
        return self.builder.load(place, align=_size(kind.element) if isinstance(kind, ir.VectorType) else None)

    def _assign(self, name: str, value: Value) -> None:
        lanes = self.lanes.count if self.lanes is not None and name in self.vectors else 0
        if name not in self.variables:
            value = spread(self.builder, value, lanes)
            self.variables[name] = Value(value.kind, self.entry.alloca(value.ir.type, name=name))
        variable = self.variables[name]
        if variable.kind != value.kind:
            if variable.element or value.element or (variable.kind not in FLOATS and value.kind in FLOATS):
                raise Untranslatable(f"{name} is {variable.kind}, and then {value.kind}")
            value = converted(self.builder, value, variable.kind)
        value = spread(self.builder, value, lanes)
        if self.lanes is not None and not lanes and (value.lanes or self.mask is not None):
            self.wide.add(name)  # this translation is thrown away
            if value.lanes and not isinstance(variable.ir.type.pointee, ir.VectorType):
                value = Value(value.kind, self.builder.extract_element(value.ir, ir.Constant(KINDS["i32"], 0)))
        if self.mask is not None and lanes:
            value = Value(value.kind, self.builder.select(self.mask.ir, value.ir, self.builder.load(variable.ir)))
        self.builder.store(value.ir, variable.ir)

    def _if(self, test: ast.expr, body: list[ast.stmt], orelse: list[ast.stmt]) -> None:
        condition = self._condition(test)
        if condition.lanes:
            self._under(condition, body)
            if orelse:
                self._under(Value("i1", self.builder.not_(condition.ir)), orelse)
            return
        then, after = self._new("then"), self._new("after")
        otherwise = self._new("else") if orelse else after
        self.builder.cbranch(condition.ir, then, otherwise)
        self.depth += 1
        for block, statements in ((then, body), (otherwise, orelse)):
            if statements:
                self.builder.position_at_end(block)
                self._block(statements)
                if not self.builder.block.is_terminated:
                    self.builder.branch(after)
        self.depth -= 1
        self.builder.position_at_end(after)

    def _under(self, condition: Value, body: list[ast.stmt]) -> None:
        """The statements in the lanes for which the condition holds."""
        before = self.mask
        self.mask = condition if before is None else Value("i1", self.builder.and_(before.ir, condition.ir))
        ends = isinstance(body[-1], ast.Return)
        self._block(body[:-1] if ends else body)
        self.mask = before
        if ends:
            if self.depth or before is not None or self.going is not None:
                raise Untranslatable("a return of some lanes within a block")
            status = self._value(ast.parse("status[0]", mode="eval").body)
            self.going = self._compared("==", status, constant("i64", 0))

    def _while(self, test: ast.expr, body: list[ast.stmt]) -> None:
        head, inside, after = self._new("head"), self._new("inside"), self._new("after")
        self.builder.branch(head)
        self.builder.position_at_end(head)
        condition = self._condition(test)
        if condition.lanes:
            raise Untranslatable("a loop that ends in each lane by itself")
        self.builder.cbranch(condition.ir, inside, after)
        self.builder.position_at_end(inside)
        self.depth += 1
        self._block(body)
        self.depth -= 1
        if not self.builder.block.is_terminated:
            self.builder.branch(head)
        self.builder.position_at_end(after)

    def _for(self, name: str, bounds: list[ast.expr], body: list[ast.stmt]) -> None:
        step = ast.literal_eval(bounds[2]) if len(bounds) == 3 else 1
        given = [converted(self.builder, self._value(b), "i64") for b in bounds[:2]]
        if any(end.lanes for end in given):
            raise Untranslatable("a loop that ends in each lane by itself")
        ends = [end.ir for end in given]
        low, high = ends if len(ends) == 2 else (ir.Constant(KINDS["i64"], 0), ends[0])
        head, inside, after = self._new("head"), self._new("inside"), self._new("after")
        before = self.builder.block
        self.builder.branch(head)
        self.builder.position_at_end(head)
        counter = self.builder.phi(KINDS["i64"])
        counter.add_incoming(low, before)
        self.builder.cbranch(self.builder.icmp_signed("<" if step > 0 else ">", counter, high), inside, after)
        self.builder.position_at_end(inside)
        self._assign(name, Value("i64", counter))
        self.depth += 1
        self._block(body)
        self.depth -= 1
        if not self.builder.block.is_terminated:
            following = self.builder.add(counter, ir.Constant(KINDS["i64"], step), flags=("nsw",))
            counter.add_incoming(following, self.builder.block)
            self.builder.branch(head)
        self.builder.position_at_end(after)

    def _new(self, name: str) -> Any:
        return self.function.append_basic_block(name)

    # ------------------------------------------------------------------------------------------ expressions
    def _value(self, node: ast.expr) -> Value:
        match node:
            case ast.Constant(value=bool() as number):
                return constant("i1", number)
            case ast.Constant(value=int() as number):
                return constant("i64", number)
            case ast.Constant(value=float() as number):
                return constant("f64", number)
            case ast.Name(id=name) if name in self.variables:
                variable = self.variables[name]
                return Value(variable.kind, self.builder.load(variable.ir))
            case ast.Name(id=name) if isinstance(self.names.get(name), int | float):
                number = self.names[name]
                return constant("i64" if isinstance(number, int) else "f64", number)
            case ast.Name(id=name) if name in self.functions:
                return Value("i64", self.builder.ptrtoint(self.functions[name], KINDS["i64"]))
            case ast.Subscript(value=pointer, slice=index):
                place = self._element(pointer, index)
                if self.lanes is not None and ast.unparse(node) in self.lanes.shared:
                    one = KINDS[place.element].as_pointer()
                    return Value(place.element, self.builder.load(self.builder.bitcast(place.ir, one)))
                return Value(place.element, self._load(place.ir))
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                return constant("i64" if isinstance(number, int) else "f64", -number)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                value = self._value(operand)
                negative = self.builder.fneg if value.kind in FLOATS else self.builder.neg
                return Value(value.kind, negative(value.ir))
            case ast.UnaryOp(op=ast.Not()):
                return Value("i1", self.builder.not_(self._condition(node.operand).ir))
            case ast.BinOp(left=left, op=ast.Pow(), right=ast.Constant(value=int() as power)):
                return self._power(self._value(left), power)
            case ast.BinOp(left=left, op=op, right=right):
                return self._binary(op, self._value(left), self._value(right))
            case ast.Compare(left=left, ops=ops, comparators=others):
                return self._compare(left, ops, others)
            case ast.BoolOp(op=op, values=values):
                return self._either(values, isinstance(op, ast.Or))
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return self._choice(self._condition(test), lambda: self._value(body), lambda: self._value(orelse))
            case ast.Call():
                return self._call(node)
        raise Untranslatable(f"the expression {ast.unparse(node)}")

    def _condition(self, node: ast.expr) -> Value:
        value = self._value(node)
        return value if value.kind == "i1" else self._compared("!=", value, constant(value.kind, 0))

    def _element(self, pointer: ast.expr, index: ast.expr) -> Value:
        base = self._value(pointer)
        if not base.element:
            raise Untranslatable(f"{ast.unparse(pointer)} is no pointer")
        place = self._value(index)
        if place.lanes:
            raise Untranslatable(f"a place in each lane, {ast.unparse(index)}")
        return Value(base.kind, self.builder.gep(base.ir, [place.ir], inbounds=True))

    def _binary(self, op: ast.operator, a: Value, b: Value) -> Value:
        build = self.builder
        if isinstance(op, ast.BitAnd | ast.BitOr):
            a, b = self._alike(a, b)
            return Value(a.kind, (build.and_ if isinstance(op, ast.BitAnd) else build.or_)(a.ir, b.ir))
        a, b = self._alike(*(converted(build, v, "i64") if v.kind in ("i1", "i8", "i32") else v for v in (a, b)))
        if a.kind not in FLOATS:
            match op:
                case ast.Add():
                    return Value(a.kind, build.add(a.ir, b.ir, flags=("nsw",)))
                case ast.Sub():
                    return Value(a.kind, build.sub(a.ir, b.ir, flags=("nsw",)))
                case ast.Mult():
                    return Value(a.kind, build.mul(a.ir, b.ir, flags=("nsw",)))
                case ast.FloorDiv() | ast.Mod():
                    return self._floor(a, b, isinstance(op, ast.Mod))
            a, b = converted(build, a, "f64"), converted(build, b, "f64")
        match op:
            case ast.Add():
                return Value(a.kind, build.fadd(a.ir, b.ir, flags=CONTRACT))
            case ast.Sub():
                return Value(a.kind, build.fsub(a.ir, b.ir, flags=CONTRACT))
            case ast.Mult():
                return Value(a.kind, build.fmul(a.ir, b.ir, flags=CONTRACT))
            case ast.Div():
                return Value(a.kind, build.fdiv(a.ir, b.ir, flags=CONTRACT))
            case ast.Pow():
                return Value(a.kind, build.call(intrinsic(self.module, "pow", a, 2), [a.ir, b.ir], fastmath=CONTRACT))
        raise Untranslatable(f"the operator {type(op).__name__} of {a.kind} and {b.kind}")

    def _alike(self, a: Value, b: Value) -> tuple[Value, Value]:
        """Both in the kind of their result, and both with lanes if one has them."""
        a, b = together(self.builder, a, b)
        if a.kind == b.kind:
            return a, b
        real = a.kind in FLOATS or b.kind in FLOATS
        kind = "f64" if real else max(a.kind, b.kind, key=lambda k: KINDS[k].width)
        return converted(self.builder, a, kind), converted(self.builder, b, kind)

    def _floor(self, a: Value, b: Value, remainder: bool) -> Value:
        """Python's // and %: the quotient is rounded down."""
        if a.lanes:
            raise Untranslatable("a quotient of integers in each lane")
        build, zero = self.builder, ir.Constant(KINDS["i64"], 0)
        rest = build.srem(a.ir, b.ir)
        below = build.and_(build.icmp_signed("!=", rest, zero), build.icmp_signed("<", build.xor(rest, b.ir), zero))
        if remainder:
            return Value("i64", build.select(below, build.add(rest, b.ir), rest))
        return Value("i64", build.sub(build.sdiv(a.ir, b.ir), build.zext(below, KINDS["i64"])))

    def _power(self, base: Value, power: int) -> Value:
        """A whole power by squaring."""
        if not 0 < power <= SQUARINGS:
            return self._binary(ast.Pow(), converted(self.builder, base, "f64"), constant("f64", power))
        result: Value | None = None
        while True:
            if power & 1:
                result = base if result is None else self._binary(ast.Mult(), result, base)
            power >>= 1
            if not power:
                assert result is not None
                return result
            base = self._binary(ast.Mult(), base, base)

    def _compare(self, left: ast.expr, ops: list[ast.cmpop], others: list[ast.expr]) -> Value:
        values = [self._value(node) for node in (left, *others)]
        found = [self._compared(COMPARISONS[type(op)], a, b) for op, a, b in zip(ops, values, values[1:], strict=False)]
        result = found[0]
        for other in found[1:]:
            one, two = together(self.builder, result, other)
            result = Value("i1", self.builder.and_(one.ir, two.ir))
        return result

    def _compared(self, sign: str, a: Value, b: Value) -> Value:
        a, b = self._alike(a, b)
        if a.kind not in FLOATS:
            return Value("i1", self.builder.icmp_signed(sign, a.ir, b.ir))
        compare = self.builder.fcmp_unordered if sign == "!=" else self.builder.fcmp_ordered
        return Value("i1", compare(sign, a.ir, b.ir))

    def _either(self, nodes: list[ast.expr], is_or: bool) -> Value:
        """and, or: what follows is computed only if it decides."""
        first, *rest = nodes
        if not rest:
            return self._condition(first)
        known = Value("i1", ir.Constant(KINDS["i1"], is_or))
        one: Callable[[], Value] = lambda: known
        other: Callable[[], Value] = lambda: self._either(rest, is_or)
        return self._choice(self._condition(first), *((one, other) if is_or else (other, one)))

    def _choice(self, condition: Value, one: Callable[[], Value], other: Callable[[], Value]) -> Value:
        """A value by a branch: only the arm that is chosen is computed; of lanes, both are."""
        if condition.lanes:
            a, b = self._alike(one(), other())
            a, b = (spread(self.builder, value, condition.lanes) for value in (a, b))
            return Value(a.kind, self.builder.select(condition.ir, a.ir, b.ir))
        blocks = [self._new("if"), self._new("else")]
        after = self._new("after")
        self.builder.cbranch(condition.ir, *blocks)
        arms = []
        for block, arm in zip(blocks, (one, other), strict=True):
            self.builder.position_at_end(block)
            arms.append((arm(), self.builder.block))
        kinds = {value.kind for value, _ in arms}
        kind = arms[0][0].kind if len(kinds) == 1 else "f64" if kinds & set(FLOATS) else "i64"
        lanes = max(value.lanes for value, _ in arms)
        made = []
        for value, block in arms:
            self.builder.position_at_end(block)
            made.append((spread(self.builder, converted(self.builder, value, kind), lanes).ir, block))
            self.builder.branch(after)
        self.builder.position_at_end(after)
        joined = self.builder.phi(made[0][0].type)
        for value, block in made:
            joined.add_incoming(value, block)
        return Value(kind, joined)

    def _call(self, node: ast.Call) -> Value:
        if not isinstance(node.func, ast.Name) or node.keywords:
            raise Untranslatable("a call of something that is no function")
        name, given = node.func.id, tuple(self._value(a) for a in node.args)
        if isinstance(self.names.get(name), tuple):
            symbol, result, kinds = self.names[name]
            if any(value.lanes for value in given) or self.mask is not None or self.going is not None:
                raise Untranslatable(f"a call of {name} in each lane")
            return emit_extern(self.builder, symbol, result, kinds, given)
        if name not in EMITTERS:
            raise Untranslatable(f"an unknown function {name}")
        made = EMITTERS[name](self.builder, *given)
        if self.lanes is not None and name.startswith("pointer_") and self.target not in self.lanes.shared:
            vector = ir.VectorType(KINDS[made.element], self.lanes.count)
            return Value(made.kind, self.builder.bitcast(made.ir, vector.as_pointer()))
        return made


def _size(kind: Any) -> int:
    """Bytes of a number of this LLVM type."""
    return next(int(name[1:]) // 8 if name != "i1" else 1 for name, known in KINDS.items() if known == kind)
