"""A case as equations in text: by the row of its operator.

In: a Case, EQUATIONS.  Out: a Judged: what symnet reads from the lines (equation_text.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from compiler.program import Program
from symnet.formulation.equation_text import read

from .onnx_cases import Case, Judged
from .onnx_table import EQUATIONS
from .onnx_words import Row, Words


@cache
def rows() -> Mapping[str, Row]:
    found = {}
    for signature, lines in EQUATIONS.items():
        parts = re.fullmatch(r"(.+) = ([\w.]+)\((.*)\)(?: over (\w+))?", signature)
        assert parts, signature
        outputs, operator, inputs, over = parts.groups()
        found[operator] = Row(tuple(outputs.split(", ")), tuple(inputs.split(", ")), over or "", lines)
    return found


def judged(case: Case) -> Judged:
    """The program of a case, by the row of its operator."""
    row = rows()[case.operator]
    words = Words(case, row)
    text: list[str] = []
    absent = {mark.lstrip("#") for mark in row.inputs if mark[0] in "#" or mark[0].isupper()} - {*words.tensors}
    for line in row.lines:
        if line.startswith("let "):
            name, _, value = line[4:].partition(" = ")
            words[name] = eval(value, {"__builtins__": {"range": range}}, words)
            continue
        if line.startswith("with "):
            for part in line[5:].format_map(words).split(", "):
                name, _, size = part.partition(" = ")
                words.sizes[name] = int(size)
            continue
        if line.startswith("if "):
            condition, _, line = line[3:].partition(": ")
            if not eval(condition, {"__builtins__": {}}, words):
                continue
        if any(re.search(rf"(?<![\w]){name}[\[@}},)]", line) for name in absent):
            continue
        several = re.search(r"\{(each|part)\}", line)
        for one in words.repeated(line) if several else [line]:
            text.append(tidy(one.format_map(words)))
    used = {word for line in text for word in re.findall(r"[A-Za-z]\w*", line)}
    values = {name: array for name, array in words.values.items() if name in used}
    known = {name: words.tensors[name] for name in values}
    sizes = {name: extent for name, extent in words.sizes.items() if name in used}
    reading = read(text, known, {}, sizes, lambda name: name, case.name, coupled=True)
    outputs = {name: reading.tensors[name] for name in words.wanted}
    for name, tensor in outputs.items():
        assert tensor.shape == words.shapes[name], (name, tensor.shape, words.shapes[name])
    return Judged(Program(reading.equations, tuple(outputs.values())).live(), values, words.wanted, tuple(text))


def tidy(line: str) -> str:
    """Without what empty lists of indices leave."""
    line = re.sub(r",(\s*,)+", ",", line)
    line = re.sub(r"\[\s*,", "[", line)
    line = re.sub(r",\s*([\])])", r"\1", line)
    return line.replace("[]", "")
