"""Each script under examples/ runs, without a warning, to its last line, which is an assertion."""

from __future__ import annotations

import ast
import runpy
import sys
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))
DEMONSTRATIONS = {
    "xor",
    "zero_mean",
    "vanishing_gradient",
    "dead_relu",
    "universal_approximation",
    "non_convex",
    "three_gradients",
    "hopfield",
    "own_activation",
    "own_equations",
}  # one for each exercise and claim of the chapter


def test_every_demonstration_is_there() -> None:
    assert {script.stem for script in SCRIPTS} >= DEMONSTRATIONS


@pytest.mark.parametrize("script", SCRIPTS, ids=[script.stem for script in SCRIPTS])
def test_the_script_ends_in_an_assertion_that_holds(
    script: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = ast.parse(script.read_text())
    assert ast.get_docstring(tree)
    last = tree.body[-1]
    while isinstance(last, ast.For):
        last = last.body[-1]
    assert isinstance(last, ast.Assert)
    monkeypatch.setattr(sys, "argv", [str(script)])
    runpy.run_path(str(script), run_name="__main__")
    assert capsys.readouterr().out.count("\n") >= 3  # it says what it found


@pytest.mark.parametrize("script", SCRIPTS, ids=[script.stem for script in SCRIPTS])
def test_the_script_imports_only_symnet_of_the_project(script: Path) -> None:
    nodes = list(ast.walk(ast.parse(script.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    assert "symnet" in names and not any(name.split(".")[0] == "compiler" for name in names)
