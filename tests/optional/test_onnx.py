"""ONNX's node tests judge symnet: every case of `onnx.backend.test.case.node`, or why not (package onnx).

    pytest tests/optional/test_onnx.py              by the oracle and interpreted; one case of each operator compiled
    pytest tests/optional/test_onnx.py --compiled   all of them compiled
    python -m tests.optional.test_onnx              all of them compiled, with a summary for tests/RESULTS.md

Limits, in eps of the dtype of the case times the largest number that is expected: 4, and 1/16 more for each term of the
longest sum; for single cases as LIMITS says.  (ONNX's own for float32: 8389 of a number itself, and an absolute 1e-7.)
Integers, booleans, infinities and NaN must be equal.  Halves are computed in float32, integers in float64.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest

from .onnx_cases import ROUTES, Case, Judged, cases, error, longest_sum, points, run
from .onnx_layers import as_own
from .onnx_table import EXCLUDED, LIMITS
from .onnx_text import judged, rows

INTERPRETED = 100_000  # points that a program may visit to be run by Python
COPY = re.compile(r"(.+)_expanded(?:_ver\d+)?")


@cache
def reasons() -> dict[str, str]:
    """Operators and cases -> why they are not judged."""
    return {word: reason for reason, words in EXCLUDED.items() for word in words.split()}


@cache
def named() -> dict[str, Case]:
    return {case.name: case for case in cases()}


def reason(case: Case) -> str:
    """Why a case is not judged; "" if it is."""
    found = COPY.fullmatch(case.name)
    if found:
        return "an operator written out as several, with the data of a case that is judged or named"
    return reasons().get(case.name, reasons().get(case.operator, ""))


def same(one: Any, other: Any) -> bool:
    """Equal arrays, or equal messages of ONNX."""
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        exact = one.dtype.kind == "O" or one.dtype.kind in "US"
        return one.dtype == other.dtype and (bool(np.all(one == other)) if exact else one.tobytes() == other.tobytes())
    return bool(np.all(one == other))


def by_operator() -> dict[str, list[Case]]:
    found: dict[str, list[Case]] = {}
    for case in cases():
        if not reason(case):
            found.setdefault(case.operator, []).append(case)
    return found


def routes(found: Judged, compiled: bool) -> Iterator[str]:
    """How a case is evaluated; what is too large to be interpreted is compiled."""
    large = points(found) > INTERPRETED
    yield from (
        r for r in ROUTES if not (r == "interpreted" and large) and not (r == "compiled" and not compiled and not large)
    )


def forms(case: Case) -> dict[str, Judged]:
    """A case as equations in text, and as what symnet has itself: a layer, a loss, an optimizer, a gradient."""
    own = as_own(case)
    return ({"text": judged(case)} if case.operator in rows() else {}) | ({"own": own} if own else {})


def check(case: Case, compiled: bool) -> dict[tuple[str, str], float]:
    """(form, route) -> the largest error, in units of eps; fails if it is above the limit."""
    worst = {}
    for form, found in forms(case).items():
        limit = LIMITS[case.name][0] if case.name in LIMITS else 4 + longest_sum(found) / 16
        for route in routes(found, compiled):
            outputs = run(found, route)
            off = max(error(outputs[name], expected) for name, expected in found.expected.items())
            text = "\n".join(found.text)
            assert off <= limit, f"{case.name}, {form}, {route}: off by {off:.3g} eps, limit {limit:.3g}\n{text}"
            worst[form, route] = off
    return worst


def test_every_case_is_judged_or_excluded_for_a_reason() -> None:
    operators = {case.operator for case in cases()}
    assert not [case.name for case in cases() if not (reason(case) or case.operator in rows() or as_own(case))]
    assert not [word for word in reasons() if word not in named() and word not in operators]
    assert not [word for word in reasons() if word in rows()]
    assert not [name for name in LIMITS if name not in named()]
    assert sum(map(len, by_operator().values())) >= 927


def test_cases_written_out_have_the_data_of_the_case_that_they_are_named_after() -> None:
    for case in cases():
        found = COPY.fullmatch(case.name)
        if not found:
            continue
        original = named()[found[1]]
        for mine, others in ((case.inputs, original.inputs), (case.outputs, original.outputs)):
            others = tuple(array for array in others if array is not None)
            rest = iter(others)  # one that decides only types may be missing
            assert all(any(same(one, other) for other in rest) for one in mine), case.name


@pytest.mark.parametrize("operator", sorted(by_operator()))
def test_the_equations_of_an_operator_give_what_onnx_expects(operator: str, pytestconfig: pytest.Config) -> None:
    given = by_operator()[operator]
    for case in given:
        check(case, pytestconfig.getoption("--compiled") or case is given[-1])


def summary() -> None:
    """All cases compiled; the tables of tests/RESULTS.md."""
    worst: dict[tuple[str, str], tuple[float, str]] = {}
    own: dict[str, float] = {}
    count: Counter[tuple[str, str]] = Counter()
    operators = by_operator()
    for given in operators.values():
        for case in given:
            for place, value in check(case, True).items():
                count[place] += 1
                if case.name in LIMITS:
                    own[case.name] = max(own.get(case.name, 0.0), value)
                else:
                    worst[place] = max(worst.get(place, (0.0, "")), (value, case.name))
    left_out = Counter(map(reason, cases()))
    print(f"{left_out.pop('')} of {len(cases())} cases are judged, of {len(operators)} operators.\n")
    print("| as | by | cases | worst error, eps | at |\n|---|---|--:|--:|---|")
    for (form, route), number in sorted(count.items()):
        value, name = worst[form, route]
        print(f"| {form} | {route} | {number} | {value:.2f} | `{name}` |")
    print("\n| with a limit of its own | worst error, eps | limit | why |\n|---|--:|--:|---|")
    for name, value in sorted(own.items()):
        print(f"| `{name}` | {value:.1f} | {LIMITS[name][0]:g} | {LIMITS[name][1]} |")
    print("\n| cases | not judged |\n|--:|---|")
    for why, number in left_out.most_common():
        print(f"| {number} | {why} |")


if __name__ == "__main__":
    summary()
