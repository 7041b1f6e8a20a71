"""ONNX's node tests, and how they are judged.

In: what `onnx.backend.test.case` collects; a Judged, which onnx_text.py makes of equations in text and onnx_layers.py
of symnet's own layers.  Out: Case; the outputs of a Judged, evaluated by one of three routes, and their error.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from math import prod
from typing import Any

import numpy as np
from ml_dtypes import finfo
from onnx import AttributeProto, GraphProto, TensorProto, defs, helper, numpy_helper

from compiler.calling import call, interpret
from compiler.executable import compile_program
from compiler.program import Index, Program, size
from symnet.oracle.reference import evaluate

Array = np.ndarray[Any, np.dtype[Any]]
INTEGERS = "biu"


@dataclass(frozen=True)
class Case:
    """A test of one node: arrays by position, None where an input is not given."""

    name: str
    operator: str
    attributes: Mapping[str, Any]
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    nodes: int = 1


def _plain(attribute: AttributeProto) -> Any:
    value = helper.get_attribute_value(attribute)
    if isinstance(value, TensorProto):
        return numpy_helper.to_array(value).item() if prod(value.dims) == 1 else value
    if isinstance(value, GraphProto):  # what a function that is given does: its name, and the numbers in it
        return value.name, {one.name: numpy_helper.to_array(one).tolist() for one in value.initializer}
    return value.decode() if isinstance(value, bytes) else value


@cache
def cases() -> tuple[Case, ...]:
    """All of them, in ONNX's order, then those of its Gradient, which stand elsewhere."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.model import collect_testcases as models
        from onnx.backend.test.case.node import collect_testcases

        given = collect_testcases()
        names = {case.name for case in given}
        given = [*given, *(case for case in models() if "gradient" in case.name and case.name not in names)]
    return tuple(_case(case) for case in given)


def _case(case: Any) -> Case:
    graph = case.model.graph
    node = graph.node[0]
    ins, outs = case.data_sets[0]
    known = dict(zip((i.name for i in graph.input), ins, strict=True))
    found = dict(zip((o.name for o in graph.output), outs, strict=True))
    version = next(o.version for o in case.model.opset_import if o.domain == node.domain)
    attributes: dict[str, Any] = {}
    if defs.has(node.op_type, node.domain):
        for schema in (defs.get_schema(node.op_type, node.domain), defs.get_schema(node.op_type, version, node.domain)):
            for name, declared in schema.attributes.items():  # what only later versions have stands at its default
                value = declared.default_value
                attributes[name] = _plain(value) if value.type else None
    attributes |= {a.name: _plain(a) for a in node.attribute}
    if len(graph.node) > 1:
        return Case(case.name, "+".join(n.op_type for n in graph.node), {}, ins, outs, len(graph.node))
    domain = "" if node.domain == "" else f"{node.domain}."
    return Case(
        case.name,
        domain + node.op_type,
        attributes,
        tuple(known.get(name) for name in node.input),
        tuple(found.get(name) for name in node.output),
    )


@dataclass
class Judged:
    """A program, the values of its inputs, and what its outputs must be, in the layout that `take` brings them into."""

    program: Program
    values: dict[str, Array]
    expected: dict[str, Array]
    text: tuple[str, ...]
    sizes: dict[str, int] = field(default_factory=dict)
    take: Callable[[Array], Array] = lambda array: array

    @property
    def dtype(self) -> str:
        """That of its real numbers; halves are computed in float32, integers in float64, exactly."""
        kinds = {a.dtype for a in (*self.values.values(), *self.expected.values()) if a.dtype.kind not in INTEGERS}
        return "float64" if np.dtype(np.float64) in kinds or not kinds else "float32"


def numbers(array: Any) -> Array:
    """An array of a kind that the language has: booleans and small floats as numbers."""
    found = np.asarray(array)
    if found.dtype.kind in INTEGERS:
        return found.astype(np.int64)
    return found if found.dtype in (np.float32, np.float64) else found.astype(np.float32)


# ---------------------------------------------------------------------------------------------- judging
ROUTES = ("oracle", "interpreted", "compiled")


def run(found: Judged, route: str) -> dict[str, Array]:
    """The outputs: by the oracle, by the generated source run by Python (both float64), or compiled in the dtype."""
    program, values, sizes = found.program, found.values, found.sizes
    if route == "oracle":
        outputs = evaluate(program, values, sizes)
    elif route == "interpreted":
        outputs = interpret(program, values, sizes, plain=False)
    else:
        outputs = call(compile_program(program, found.dtype, None, sizes), values, sizes)
    return {name: found.take(outputs[name]) for name in found.expected}


def points(found: Judged) -> int:
    """How many points the equations visit: what interpreting takes about a microsecond each."""
    return sum(prod(_extent(i, found) for i in equation.domain) for equation in found.program.equations)


def _extent(index: Index, found: Judged) -> int:
    return int(index.extent.xreplace({size(name): n for name, n in found.sizes.items()}))


def longest_sum(found: Judged) -> int:
    """How many terms the longest sum has."""
    sums = (equation.bound for equation in found.program.equations if equation.op == "sum")
    return max((prod(_extent(i, found) for i in bound) for bound in sums), default=1)


def error(found: Any, expected: Array) -> float:
    """The largest |found - expected| / (eps * max(|expected|, largest finite |expected|)), eps of the expected dtype.

    Integers and booleans must be equal, NaN must meet NaN and inf the same inf: else it is inf.
    """
    if expected.dtype.kind in INTEGERS:
        return 0.0 if np.array_equal(found, expected.astype(np.int64)) else np.inf
    eps = float(finfo(expected.dtype).eps)
    wanted, got = expected.astype(np.float64), np.asarray(found, np.float64)
    assert wanted.shape == got.shape, (wanted.shape, got.shape)
    finite = np.isfinite(wanted)
    if not np.array_equal(got[~finite], wanted[~finite], equal_nan=True) or not np.isfinite(got[finite]).all():
        return np.inf
    scale = np.max(np.abs(wanted), where=finite, initial=1e-30)
    return float(np.max(np.abs(got[finite] - wanted[finite]), initial=0.0) / (eps * scale))
