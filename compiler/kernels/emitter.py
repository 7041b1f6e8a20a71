"""LLVM IR as text, line by line: folding of literal integers, structured loops and conditions.

No import of llvmlite: a kernel's text is written without it.  Integers are Python's where they are literal, else names
of i64 values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

Number = int | str  # a literal, or the name of an i64 value


class Emitter:
    """LLVM IR line by line, with folding of literal integers and structured loops."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.declared: dict[str, str] = {}
        self.count = 0
        self.current = "entry"

    def new(self, text: str) -> str:
        self.count += 1
        name = f"%v{self.count}"
        self.lines.append(f"  {name} = {text}")
        return name

    def label(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def begin(self, label: str) -> None:
        self.lines.append(f"{label}:")
        self.current = label

    def jump(self, label: str) -> None:
        self.lines.append(f"  br label %{label}")

    def branch(self, condition: str, yes: str, no: str) -> None:
        self.lines.append(f"  br i1 {condition}, label %{yes}, label %{no}")

    def call(self, result: str, function: str, arguments: list[str], types: list[str]) -> str:
        self.declared[function] = f"declare {result} @{function}({', '.join(types)})"
        passed = ", ".join(f"{t} {a}" for t, a in zip(types, arguments, strict=True))
        text = f"call {result} @{function}({passed})"
        if result == "void":
            self.lines.append(f"  {text}")
            return ""
        return self.new(text)

    def function(self, name: str, arguments: list[str], more: Iterable[str] = ()) -> str:
        """The module's text: the lines as the body of a function with three sizes behind the arguments, and `more`."""
        listed = ", ".join([*arguments, "i64 %M", "i64 %N", "i64 %K", *more])
        head = f"define void @{name}({listed}) nounwind {{\n"
        return head + "\n".join(self.lines) + "\n}\n" + "\n".join(self.declared.values()) + "\n"

    def add(self, a: Number, b: Number) -> Number:
        if isinstance(a, int) and isinstance(b, int):
            return a + b
        if a == 0 or b == 0:
            return b if a == 0 else a
        return self.new(f"add nsw i64 {a}, {b}")

    def sub(self, a: Number, b: Number) -> Number:
        if isinstance(a, int) and isinstance(b, int):
            return a - b
        return a if b == 0 else self.new(f"sub nsw i64 {a}, {b}")

    def mul(self, a: Number, b: Number) -> Number:
        if isinstance(a, int) and isinstance(b, int):
            return a * b
        if a == 0 or b == 0:
            return 0
        if a == 1 or b == 1:
            return b if a == 1 else a
        return self.new(f"mul nsw i64 {a}, {b}")

    def low(self, a: Number, b: Number) -> Number:
        """min(a, b)"""
        if isinstance(a, int) and isinstance(b, int):
            return min(a, b)
        return self.call("i64", "llvm.smin.i64", [str(a), str(b)], ["i64", "i64"])

    def loop(
        self,
        first: Number,
        last: Number,
        step: int,
        body: Callable[[Number, list[str]], list[str]],
        carried: Iterable[tuple[str, str]] = (),
    ) -> tuple[Number, list[str]]:
        """for i = first; i + step <= last; i += step, with values carried round; gives the i after, and the values."""
        carried = list(carried)
        values = [value for _, value in carried]
        if isinstance(first, int) and isinstance(last, int):
            trips = max(0, last - first) // step
            if trips == 0:
                return first, values
            if trips == 1:
                return first + step, body(first, values)
        before, head, inside, after = self.current, self.label("head"), self.label("loop"), self.label("after")
        self.jump(head)
        self.begin(head)
        at = len(self.lines)
        i = self.new("")
        phis = [self.new("") for _ in carried]
        end = self.add(i, step)
        self.branch(self.new(f"icmp sle i64 {end}, {last}"), inside, after)
        self.begin(inside)
        new = body(i, phis)
        self.jump(head)
        rows = [("i64", i, str(first), str(end))]
        rows += [(kind, phi, value, back) for (kind, value), phi, back in zip(carried, phis, new, strict=True)]
        for line, (kind, phi, start, back) in enumerate(rows, at):
            self.lines[line] = f"  {phi} = phi {kind} [ {start}, %{before} ], [ {back}, %{self.current} ]"
        self.begin(after)
        return i, phis

    def when(self, condition: str, body: Callable[[], None]) -> None:
        """if condition: body"""
        inside, after = self.label("then"), self.label("after")
        self.branch(condition, inside, after)
        self.begin(inside)
        body()
        if self.lines[-1] != "  ret void":
            self.jump(after)
        self.begin(after)
