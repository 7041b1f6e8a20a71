"""Does the suite notice a mistake?  `python -m tests.mutants` makes mistakes mechanically, one at a time, and asks.

Each mutant is one small change of the syntax tree of one file (a sign, an index, a dropped term, swapped operands, a
comparison, a call left out, a value not updated), written into a copy of the project and judged by a fast part of the
suite in a process of its own.  What survives is printed as a difference, to be looked at by a person: it is an
equivalent program, or a test that is missing.  Nothing is left out of the count.

    python -m tests.mutants                   200 mutants of the differentiation, the passes and the kernel generator
    python -m tests.mutants --count 50 --seed 1 --files symnet/differentiate.py compiler/lower.py
    python -m tests.mutants --only 17                         one of them again, with what the tests said
    python -m tests.mutants --baseline                        no mutant: do the tests pass without, and soon enough?
"""

from __future__ import annotations

import argparse
import ast
import compileall
import copy
import difflib
import importlib.util
import itertools
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import llvmlite.binding  # noqa: F401  (what the tests import, once for all mutants)
import mpmath  # noqa: F401
import numba  # noqa: F401
import numpy as np  # noqa: F401
import pytest
import scipy.sparse  # noqa: F401
import sympy as sp  # noqa: F401

ROOT = Path(__file__).resolve().parent.parent
# What derives, what rewrites, and what makes native code of it.
FILES = (
    "symnet/differentiate.py",
    "compiler/passes/*.py",
    "compiler/kernels/*.py",
    *(
        f"compiler/{name}.py"
        for name in (
            "dependence", "divide", "executable", "expressions", "flat", "fuse", "graph", "layout", "legend",
            "live_slots", "lower", "memory", "nest", "pack", "pad", "prepare", "product", "recurrence",
            "source", "spans", "spell", "team", "translate",
        )
    ),
)  # fmt: skip
# What judges a file, by the first pattern that it matches: what is fast, and for those that survive it the rest.  Files
# named like the mutant's come first, listed or not.  The numbers are blocks of the fuzzer's programs.
DERIVATION, PASSES, NESTS, COMPILED = (
    f"tests/test_fuzz.py::{name}[{{}}]"
    for name in (
        "test_derivatives_of_random_programs_are_right",
        "test_every_pass_keeps_random_programs_right",
        "test_the_loops_of_random_programs_are_right",
        "test_compiled_random_programs_are_right",
    )
)
BLOCKS = range(0, 80, 20)
KERNELS, FORMULAS, CALLED = (
    f"tests/test_fingerprints.py::{name}"
    for name in (
        "test_kernels_are_those_that_were_looked_at",
        "test_formulas_and_their_slopes_are_those_that_were_looked_at",
        "test_what_kernels_call_and_what_calls_them_is_what_was_looked_at",
    )
)
NETWORKS, GENERATED, THREADS = "tests/test_fuzz_networks.py", "tests/test_generated.py", "tests/test_threads.py"
DIVIDED = tuple(  # by Python, in turns, and who gets a share
    f"{THREADS}::{name}"
    for name in (
        *(
            f"test_no_part_of_a_kernel_depends_on_the_order_of_parts_between_barriers[{seed}]"
            for seed in (0, 2, 5, 8, 11)
        ),
        "test_what_a_loop_over_steps_does_not_touch_is_waited_for_behind_it",
        "test_what_one_thread_makes_alone_all_can_read",
        "test_the_entries_of_a_row_are_not_divided_as_if_they_were_all_columns",
        "test_shares_begin_with_whole_vectors",
        "test_a_missing_barrier_is_noticed",
        "test_every_product_of_a_batch_is_divided_by_its_rows",
        "test_only_kernels_with_enough_work_are_divided",
        "test_in_each_step_of_a_recurrence_its_rows_are_divided",
    )
)
TOGETHER = tuple(
    f"{THREADS}::{name}"
    for name in (
        "test_a_team_that_is_closed_works_alone",
        "test_nobody_is_waited_for_who_cannot_come",
        "test_members_sleep_between_calls_and_are_not_more_for_more_models",
        "test_a_call_waits_a_little_for_members_that_sleep",
        "test_an_interrupt_ends_a_run_of_several_threads_and_training_goes_on",
        "test_a_run_that_diverges_ends_for_all_threads",
        "test_two_models_train_at_once_in_threads_of_the_caller",
        "test_a_forked_process_trains_without_the_threads_of_its_parent",
    )
)
BITS = f"{THREADS}::test_any_number_of_threads_gives_the_same_bits[images]"
NATIVE = ("tests/test_translate.py", "tests/test_native.py", "tests/test_vectormath.py")
LOWERING = ("tests/test_lowering.py", "tests/test_windows.py")
JUDGES: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    (
        "symnet/differentiate.py",
        (KERNELS, GENERATED),
        ("tests/test_differentiate.py", *map(DERIVATION.format, BLOCKS), "tests/test_derivatives_in_loss.py"),
    ),
    ("compiler/passes/keep_digits.py", (FORMULAS, KERNELS, "tests/test_accuracy.py"), tuple(map(NESTS.format, BLOCKS))),
    (
        "compiler/passes/*",
        (FORMULAS, KERNELS, GENERATED, "tests/test_passes_[!p]*.py"),
        (*map(PASSES.format, BLOCKS), "tests/test_passes_pipeline.py", NETWORKS),
    ),
    ("compiler/kernels/matmul.py", (CALLED, "tests/test_matmul.py"), ("tests/test_native.py", COMPILED.format(0))),
    ("compiler/kernels/blas.py", (CALLED, "tests/test_matmul.py"), NATIVE),
    ("compiler/kernels/emitter.py", (CALLED, "tests/test_matmul.py"), NATIVE),
    ("compiler/kernels/many.py", (CALLED, "tests/test_population.py"), ("tests/test_driver.py",)),
    ("compiler/kernels/driver_lanes.py", (CALLED, "tests/test_population.py"), ("tests/test_driver.py",)),
    ("compiler/kernels/driver.py", (CALLED, "tests/test_driver.py"), ("tests/test_training.py",)),
    ("compiler/kernels/*", (CALLED, *NATIVE, "tests/test_driver.py"), ("tests/test_matmul.py", COMPILED.format(0))),
    (
        "compiler/translate.py",
        (CALLED, *NATIVE[:2]),
        (KERNELS, COMPILED.format(0), "tests/test_driver.py", "tests/test_vectormath.py", "tests/test_population.py"),
    ),
    ("compiler/divide.py", (KERNELS, *DIVIDED), (BITS, GENERATED, NATIVE[1])),
    ("compiler/team.py", (CALLED, *TOGETHER), (BITS, NATIVE[1])),
    (
        "compiler/*",
        (KERNELS, GENERATED, NESTS.format(0), "tests/test_memory_plan.py", "tests/test_spans.py"),
        (DIVIDED[0], *LOWERING, "tests/test_slots.py", *map(NESTS.format, BLOCKS[1:]), NETWORKS),
    ),
)
NOT = (
    "tests/test_differentiate.py::test_derivation_time_is_linear_in_depth_and_100_layers_take_under_two_seconds",
    "tests/test_passes_reuse.py::test_finding_it_takes_less_than_half_a_second",
    "tests/test_passes_pipeline.py::test_hundred_layers_take_time_in_proportion",
)
# A mutant whose first tests take more processor time than this is caught: it no longer comes to an end.  So the first
# tests must be done in half of it without a mistake, which is asked before anything is judged.  The second stage is
# cut short without a verdict: what it has not killed by then has survived.
SECONDS = (90, 180)
WELL = (SECONDS[0] // 2, SECONDS[1])
MEMORY = 8 << 30  # bytes of addresses; what asks for more is caught, too


@dataclass(frozen=True)
class Place:
    """Where a mistake can be made, and which."""

    number: int
    file: str
    position: int
    line: int
    kind: str


@dataclass(frozen=True)
class Mutant:
    number: int
    file: str
    line: int
    kind: str
    original: str
    source: str

    @property
    def difference(self) -> str:
        before, after = self.original.splitlines(), self.source.splitlines()
        return "\n".join(difflib.unified_diff(before, after, self.file, f"mutant {self.number}", n=1, lineterm=""))


# ---------------------------------------------------------------------------------------------- mistakes
Change = tuple[str, ast.AST, Callable[[ast.AST], ast.AST | None]]


def changes(tree: ast.AST) -> Iterator[Change]:
    """(kind, node, what to put in its place) for every mistake that can be made, in the order of the file."""
    subscripts = {id(n) for s in ast.walk(tree) if isinstance(s, ast.Subscript) for n in ast.walk(s.slice)}
    for node in ast.walk(tree):
        match node:
            case ast.UnaryOp(op=ast.USub()):
                yield "a sign", node, lambda n: n.operand
            case ast.UnaryOp(op=ast.Not()):
                yield "a negation", node, lambda n: n.operand
            case ast.BinOp(op=ast.Add() | ast.Sub()):
                other = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
                if not _text(node):
                    yield "a sign", node, lambda n, other=other: ast.BinOp(n.left, other, n.right)
                yield "a dropped term", node, lambda n: n.left
                yield "a dropped term", node, lambda n: n.right
            case ast.BinOp(op=ast.Mult() | ast.Div() | ast.Pow() | ast.FloorDiv() | ast.BitAnd() | ast.BitOr()):
                yield "a dropped factor", node, lambda n: n.left
                yield "a dropped factor", node, lambda n: n.right
                if isinstance(node.op, (ast.Div, ast.Pow, ast.FloorDiv)):
                    yield "swapped operands", node, lambda n: ast.BinOp(n.right, n.op, n.left)
            case ast.BoolOp():
                for position in range(len(node.values)):
                    yield "a dropped condition", node, lambda n, k=position: _without(n, k)
                other_op = ast.And() if isinstance(node.op, ast.Or) else ast.Or()
                yield "and for or", node, lambda n, other=other_op: ast.BoolOp(other, n.values)
            case ast.Compare(ops=[op]):
                yield "a comparison", node, lambda n, op=op: ast.Compare(n.left, [_other(op)], n.comparators)
            case ast.Constant(value=bool()):
                yield "a constant", node, lambda n: ast.Constant(not n.value)
            case ast.Constant(value=int()):
                kind = "an index" if id(node) in subscripts else "a constant"
                yield kind, node, lambda n: ast.Constant(n.value + 1)
            case ast.IfExp():
                yield "swapped branches", node, lambda n: ast.IfExp(n.test, n.orelse, n.body)
            case ast.If():
                yield "a condition", node, lambda n: ast.If(ast.UnaryOp(ast.Not(), n.test), n.body, n.orelse)
            case ast.Call(args=[first, *rest]) if not node.keywords and not isinstance(first, ast.Starred):
                # (not of tuple and list, which change nothing but the type: all of these would be equivalent)
                if not isinstance(first, ast.GeneratorExp) and ast.unparse(node.func) not in ("tuple", "list"):
                    yield "a removed call", node, lambda n: n.args[0]
                if len(rest) == 1 and not isinstance(rest[0], ast.Starred):
                    yield "swapped operands", node, lambda n: ast.Call(n.func, n.args[::-1], [])
            case ast.Call(func=ast.Attribute(), args=[]):
                yield "a removed call", node, lambda n: n.func.value
            case ast.Tuple(ctx=ast.Load(), elts=elements) | ast.List(ctx=ast.Load(), elts=elements) if (
                len(elements) > 1
            ):
                yield "a dropped element", node, lambda n: type(n)(n.elts[1:], ast.Load())
                yield "a dropped element", node, lambda n: type(n)(n.elts[:-1], ast.Load())
                if len(elements) == 2:
                    yield "swapped operands", node, lambda n: type(n)(n.elts[::-1], ast.Load())
            case ast.comprehension(ifs=[_, *_]):
                yield "a dropped condition", node, lambda n: ast.comprehension(n.target, n.iter, n.ifs[1:], n.is_async)
            case ast.Expr(value=ast.Call()) | ast.AugAssign():
                yield "a stale value", node, lambda n: ast.Pass()
            case ast.Assign(targets=[ast.Subscript() | ast.Attribute()]):
                yield "a stale value", node, lambda n: ast.Pass()
            case ast.Continue():
                yield "a jump", node, lambda n: ast.Pass()
            case ast.Break():
                yield "a jump", node, lambda n: ast.Continue()
            case ast.Subscript(slice=ast.Slice(lower=lower, upper=upper)) if lower or upper:
                yield "an index", node, lambda n: ast.Subscript(n.value, ast.Slice(), n.ctx)


def _other(op: ast.cmpop) -> ast.cmpop:
    table = {ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
             ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is}  # fmt: skip
    return table[type(op)]()


def _without(node: ast.BoolOp, position: int) -> ast.expr:
    rest = [v for k, v in enumerate(node.values) if k != position]
    return rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)


def _text(node: ast.BinOp) -> bool:
    return any(isinstance(side, (ast.JoinedStr, ast.Tuple, ast.List)) for side in (node.left, node.right))


def mutants(files: list[str]) -> list[Place]:
    """Every mistake in every file; docstrings, annotations, imports, assertions and messages are left alone."""
    found: list[Place] = []
    for file in files:
        for position, (kind, node, _) in enumerate(_code(ast.parse((ROOT / file).read_text()))):
            line = getattr(node, "lineno", 0) or getattr(getattr(node, "target", None), "lineno", 0)
            found.append(Place(len(found), file, position, line, kind))
    return found


def made(place: Place) -> Mutant | None:
    """The file with the mistake; None if it is the same file (operands that are equal, swapped)."""
    tree = ast.parse((ROOT / place.file).read_text())
    original = ast.unparse(tree)
    _, node, change = list(_code(tree))[place.position]
    source = ast.unparse(ast.fix_missing_locations(_Replace(node, change(copy.copy(node))).visit(tree)))
    return Mutant(place.number, place.file, place.line, place.kind, original, source) if source != original else None


# Functions whose two operands may change places: what they return does not depend on it.
_SYMMETRIC = ("sp.Eq", "sp.Ne", "sp.And", "sp.Or", "sp.Max", "sp.Min", "max", "min")


def _code(tree: ast.Module) -> Iterator[Change]:
    """The changes that can be seen.  Kinds of places that by construction change no result are left out:

    - imports, annotations, and names of generic types (`Ends = tuple[int, int]`): only a type checker reads them;
    - what is raised or asserted, and its text;
    - decorators: what is kept, and how much of it;
    - the order of what has none: the types of isinstance, the members of `x in (a, b)`, operands of `_SYMMETRIC`.
    """
    skipped: set[ast.AST] = set()
    unordered: set[ast.AST] = set()
    for node in ast.walk(tree):
        annotations = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        if isinstance(node, (ast.Import, ast.ImportFrom, ast.Raise, ast.Assert, ast.JoinedStr)):
            annotations.append(node)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance":
            unordered.add(node.args[1])  # whatever the order of the types, it is the same question
        if isinstance(node, ast.Call) and ast.unparse(node.func) in _SYMMETRIC:
            unordered.add(node)
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.In, ast.NotIn)):
            unordered.add(node.comparators[0])
        if isinstance(node, ast.keyword) and node.arg == "strict":  # of zip: an assertion, too
            annotations.append(node)
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            annotations.extend(node.decorator_list)
        if isinstance(node, ast.Assign) and node in tree.body and _is_type(node):
            annotations.append(node)
        for top in annotations:
            if top is not None:
                skipped.update(ast.walk(top))
    for kind, node, change in changes(tree):
        if node not in skipped and not (kind == "swapped operands" and node in unordered):
            yield kind, node, change


def _is_type(node: ast.Assign) -> bool:
    """The name of a generic type, alone or in a union: no code can ask for it by isinstance."""
    parts = [n for n in ast.walk(node.value) if isinstance(n, ast.Subscript) and isinstance(n.value, ast.Name)]
    kinds = ("tuple", "list", "dict", "Callable", "Mapping", "Sequence", "Literal")
    return any(n.value.id in kinds for n in parts) and isinstance(node.value, (ast.Subscript, ast.BinOp))


class _Replace(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST | None) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST | None:
        return self.new if node is self.old else self.generic_visit(node)


def draw(every: list[Place], count: int, seed: int) -> list[Mutant]:
    """At random, but as many of each kind as there are: removed calls are the most, and the easiest to notice."""
    rng = random.Random(seed)
    kinds: dict[str, list[Place]] = {}
    for place in rng.sample(every, len(every)):
        kinds.setdefault(place.kind, []).append(place)
    rounds = itertools.zip_longest(*(kinds[kind] for kind in sorted(kinds)))
    drawn = (made(place) for one in rounds for place in one if place is not None)
    return list(itertools.islice((mutant for mutant in drawn if mutant is not None), count))


# ---------------------------------------------------------------------------------------------- judging
def tests_for(file: str) -> tuple[list[str], list[str]]:
    _, fast, slow = next(judge for judge in JUDGES if fnmatch(file, judge[0]))
    words = Path(file).stem.split("_")

    def paths(patterns: tuple[str, ...]) -> list[str]:
        found: list[str] = []
        for pattern in patterns:
            name, _, test = pattern.partition("::")
            matching = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob(name))
            found += [path + ("::" + test if test else "") for path in matching]
        return sorted(found, key=lambda path: not any(word in path for word in words))

    own = f"tests/test_{Path(file).stem}.py"
    first = [own] if (ROOT / own).exists() else []
    return [*first, *(path for path in paths(fast) if path != own)], [path for path in paths(slow) if path != own]


def run(tree: Path, mutant: Mutant, stages: int = 2) -> tuple[bool, str]:
    """Do the tests pass with this source?  And what they said."""
    (tree / mutant.file).write_text(mutant.source)
    said = ""
    for stage, tests in enumerate(tests_for(mutant.file)[:stages]):
        passed, said = _forked(tree, tests, SECONDS[stage])
        if passed is False or (passed is None and stage == 0):
            return False, said
    return True, said


def _forked(tree: Path, tests: list[str], seconds: int) -> tuple[bool | None, str]:
    """The tests in a process that has all but the project imported already, which is most of the time; None: no end."""
    output = tree / "output"
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        os.chdir(tree)
        sys.path.insert(0, str(tree))
        for name in [name for name in sys.modules if name.partition(".")[0] in ("symnet", "compiler", "tests")]:
            del sys.modules[name]
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background ignores it
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        code = 99
        try:
            options = ["-x", "-q", "--no-header", "--assert=plain", "-p", "no:cacheprovider", "-n0"]
            code = int(pytest.main([*options, *(f"--deselect={name}" for name in NOT), *tests]))
        finally:
            sys.stdout.flush()
            os._exit(code)
    looks, asleep = 0, 0
    while (done := os.waitpid(child, os.WNOHANG))[0] == 0:  # as long as it takes: others may have the processor
        looks += 1
        if looks % 100 == 0:
            asleep = asleep + 1 if _sleeps(child) else 0
        if asleep > seconds:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None, f"no end: asleep for {seconds} s"
        time.sleep(0.01)
    if os.WIFSIGNALED(done[1]) and os.WTERMSIG(done[1]) in (signal.SIGKILL, signal.SIGXCPU):
        return None, f"no end after {seconds} s of the processor"
    return done[1] == 0, output.read_text(errors="replace")[-3000:]


def sound(tree: Path, files: list[str], stages: int) -> bool:
    """Do the tests of every file pass without any mistake, well within the limit?"""
    asked: set[frozenset[str]] = set()
    for file in files:
        for stage, tests in enumerate(tests_for(file)[:stages]):
            if frozenset(tests) in asked:
                continue
            asked.add(frozenset(tests))
            before = _processor()
            passed, said = _forked(tree, tests, WELL[stage])
            print(f"without a mistake: stage {stage + 1} of {file}: {_processor() - before:.0f} s", flush=True)
            if not passed:
                print(f"{' '.join(tests)} fail without any mistake:\n{said}")
                return False
    return True


def _processor() -> float:
    """Seconds of it that processes begun here have taken."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _sleeps(group: int) -> bool:
    """No process of the group runs, would like to, or is stopped."""
    states = []
    for path in Path("/proc").glob("[0-9]*/task/*/stat"):
        try:
            state, _, of, *_ = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        states += [state] if int(of) == group else []
    return set(states) <= {"S", "Z"}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--count", type=int, default=200, help="how many, drawn at random from all (default 200)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--files", nargs="+", default=list(FILES), help="files to change, as patterns")
    parser.add_argument(
        "--quick", action="store_true", help="only the first tests: what survives may be killed by others"
    )
    parser.add_argument("--baseline", action="store_true", help="only ask whether the tests pass without a mistake")
    parser.add_argument("--kinds", nargs="+", help='kinds of mistakes to draw from, such as "a sign" (default: all)')
    parser.add_argument("--slice", default="1/1", help="2/4: only the second of four parts of them")
    parser.add_argument("--only", type=int, nargs="+", help="numbers of mutants to judge again")
    options = parser.parse_args(arguments)

    files = sorted({str(p.relative_to(ROOT)) for pattern in options.files for p in ROOT.glob(pattern)})
    every = [place for place in mutants(files) if not options.kinds or place.kind in options.kinds]
    slice_, slices = map(int, options.slice.split("/"))
    if options.only:
        chosen = [m for place in every if place.number in options.only and (m := made(place)) is not None]
    else:
        chosen = draw(every, options.count, options.seed)[slice_ - 1 :: slices]
    print(f"{len(chosen)} of {len(every)} mutants of {len(files)} files", flush=True)

    survivors, start = [], time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for name in ("symnet", "compiler", "tests", "examples"):
            shutil.copytree(ROOT / name, tree / name)
        for name in ("pyproject.toml", "README.md"):
            shutil.copy(ROOT / name, tree / name)
        os.environ["SYMNET_CACHE"] = str(tree / "cache")  # its keys have the sources in them
        compileall.compile_dir(tree, quiet=1)
        for file in files:  # Python looks at the time of a change in seconds: what is changed has no compiled form
            Path(importlib.util.cache_from_source(str(tree / file))).unlink()
        if options.baseline:
            return 0 if sound(tree, files, 2) else 2
        if slice_ == 1 and not options.only and not sound(tree, files, 1):
            return 2
        for mutant in chosen:
            began = time.perf_counter()
            text = (tree / mutant.file).read_text()
            passed, said = run(tree, mutant, 1 if options.quick else 2)
            (tree / mutant.file).write_text(text)
            seconds = time.perf_counter() - began
            verdict = "SURVIVED" if passed else "killed"
            print(
                f"{verdict:8} {mutant.number:5} {mutant.file}:{mutant.line} {mutant.kind} ({seconds:.0f} s)", flush=True
            )
            if passed:
                survivors.append(mutant)
            if options.only:
                print(mutant.difference, said, sep="\n")
    for mutant in survivors:
        print(f"\n{mutant.difference}")
    killed = len(chosen) - len(survivors)
    print(f"\nkilled {killed} of {len(chosen)}: {100 * killed / max(1, len(chosen)):.1f} % "
          f"in {time.perf_counter() - start:.0f} s")  # fmt: skip
    return 0 if killed >= 0.95 * len(chosen) else 1


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":  # the same verdict every time
        environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
        os.execve(sys.executable, [sys.executable, "-m", "tests.mutants", *sys.argv[1:]], environment)
    sys.exit(main())
