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
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any

from llvmlite import ir

from .kernels.emitters import EMITTERS, FLOATS, KINDS, Value, constant, converted, declared, emit_extern, llvm_type

CONTRACT = ("contract",)
COMPARISONS: Mapping[type, str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip
SQUARINGS = 64  # the largest whole power that is written as products


class Untranslatable(ValueError):
    """The text is not of the dialect: a fault of whoever generated it."""


def translate(text: str, entry: str, names: Mapping[str, Any]) -> str:
    """The IR of the functions, the last of them `entry`; names: numbers, or (symbol, result, argument kinds).

    C type void(int64_t *, int64_t ...).
    """
    functions = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    if not functions or functions[-1].name != entry or not functions[-1].args.args:
        raise Untranslatable(f"no function {entry}(table)")
    module = ir.Module("generated")
    made: dict[str, Any] = {}
    for node in functions:
        made[node.name] = _Function(node, names, module, dict(made)).function
    return str(module)


class _Function:
    def __init__(
        self, node: ast.FunctionDef, names: Mapping[str, Any], module: Any, functions: Mapping[str, Any]
    ) -> None:
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
                self._assign(name, self._value(value))
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
            case ast.Return(value=None):
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
                self.builder.store(converted(self.builder, value, place.element).ir, place.ir)
            case _:
                raise Untranslatable(f"the target {type(target).__name__}")

    def _assign(self, name: str, value: Value) -> None:
        if name not in self.variables:
            self.variables[name] = Value(value.kind, self.entry.alloca(llvm_type(value.kind), name=name))
        variable = self.variables[name]
        if variable.kind != value.kind:
            if variable.element or value.element or (variable.kind not in FLOATS and value.kind in FLOATS):
                raise Untranslatable(f"{name} is {variable.kind}, and then {value.kind}")
            value = converted(self.builder, value, variable.kind)
        self.builder.store(value.ir, variable.ir)

    def _if(self, test: ast.expr, body: list[ast.stmt], orelse: list[ast.stmt]) -> None:
        then, after = self._new("then"), self._new("after")
        otherwise = self._new("else") if orelse else after
        self.builder.cbranch(self._condition(test), then, otherwise)
        for block, statements in ((then, body), (otherwise, orelse)):
            if statements:
                self.builder.position_at_end(block)
                self._block(statements)
                if not self.builder.block.is_terminated:
                    self.builder.branch(after)
        self.builder.position_at_end(after)

    def _while(self, test: ast.expr, body: list[ast.stmt]) -> None:
        head, inside, after = self._new("head"), self._new("inside"), self._new("after")
        self.builder.branch(head)
        self.builder.position_at_end(head)
        self.builder.cbranch(self._condition(test), inside, after)
        self.builder.position_at_end(inside)
        self._block(body)
        if not self.builder.block.is_terminated:
            self.builder.branch(head)
        self.builder.position_at_end(after)

    def _for(self, name: str, bounds: list[ast.expr], body: list[ast.stmt]) -> None:
        step = ast.literal_eval(bounds[2]) if len(bounds) == 3 else 1
        ends = [converted(self.builder, self._value(b), "i64").ir for b in bounds[:2]]
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
        self._block(body)
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
                return Value(place.element, self.builder.load(place.ir))
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                return constant("i64" if isinstance(number, int) else "f64", -number)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                value = self._value(operand)
                negative = self.builder.fneg if value.kind in FLOATS else self.builder.neg
                return Value(value.kind, negative(value.ir))
            case ast.UnaryOp(op=ast.Not()):
                return Value("i1", self.builder.not_(self._condition(node.operand)))
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

    def _condition(self, node: ast.expr) -> Any:
        value = self._value(node)
        if value.kind == "i1":
            return value.ir
        return self._compared("!=", value, constant(value.kind, 0)).ir

    def _element(self, pointer: ast.expr, index: ast.expr) -> Value:
        base = self._value(pointer)
        if not base.element:
            raise Untranslatable(f"{ast.unparse(pointer)} is no pointer")
        return Value(base.kind, self.builder.gep(base.ir, [self._value(index).ir], inbounds=True))

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
                kind = KINDS[a.kind]
                function = declared(self.module, ir.FunctionType(kind, [kind, kind]), f"llvm.pow.{a.kind}")
                return Value(a.kind, build.call(function, [a.ir, b.ir], fastmath=CONTRACT))
        raise Untranslatable(f"the operator {type(op).__name__} of {a.kind} and {b.kind}")

    def _alike(self, a: Value, b: Value) -> tuple[Value, Value]:
        """Both in the kind of their result."""
        if a.kind == b.kind:
            return a, b
        real = a.kind in FLOATS or b.kind in FLOATS
        kind = "f64" if real else max(a.kind, b.kind, key=lambda k: KINDS[k].width)
        return converted(self.builder, a, kind), converted(self.builder, b, kind)

    def _floor(self, a: Value, b: Value, remainder: bool) -> Value:
        """Python's // and %: the quotient is rounded down."""
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
            result = Value("i1", self.builder.and_(result.ir, other.ir))
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
            return Value("i1", self._condition(first))
        known = Value("i1", ir.Constant(KINDS["i1"], is_or))
        one: Callable[[], Value] = lambda: known
        other: Callable[[], Value] = lambda: self._either(rest, is_or)
        return self._choice(self._condition(first), *((one, other) if is_or else (other, one)))

    def _choice(self, condition: Any, one: Callable[[], Value], other: Callable[[], Value]) -> Value:
        """A value by a branch: only the arm that is chosen is computed."""
        blocks = [self._new("if"), self._new("else")]
        after = self._new("after")
        self.builder.cbranch(condition, *blocks)
        arms = []
        for block, arm in zip(blocks, (one, other), strict=True):
            self.builder.position_at_end(block)
            arms.append((arm(), self.builder.block))
        kinds = {value.kind for value, _ in arms}
        kind = arms[0][0].kind if len(kinds) == 1 else "f64" if kinds & set(FLOATS) else "i64"
        made = []
        for value, block in arms:
            self.builder.position_at_end(block)
            made.append((converted(self.builder, value, kind).ir, block))
            self.builder.branch(after)
        self.builder.position_at_end(after)
        joined = self.builder.phi(llvm_type(kind))
        for value, block in made:
            joined.add_incoming(value, block)
        return Value(kind, joined)

    def _call(self, node: ast.Call) -> Value:
        if not isinstance(node.func, ast.Name) or node.keywords:
            raise Untranslatable("a call of something that is no function")
        name, given = node.func.id, tuple(self._value(a) for a in node.args)
        if isinstance(self.names.get(name), tuple):
            symbol, result, kinds = self.names[name]
            return emit_extern(self.builder, symbol, result, kinds, given)
        if name not in EMITTERS:
            raise Untranslatable(f"an unknown function {name}")
        return EMITTERS[name](self.builder, *given)
