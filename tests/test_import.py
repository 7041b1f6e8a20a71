"""`import symnet`: what it loads, how long it takes, and whose package `compiler` it accepts."""

import os
import re
import subprocess
import sys

import pytest

import symnet


def python(*arguments, cwd=None, path=()):
    """A fresh interpreter that finds the symnet under test, after the folders of `path`."""
    folder = os.path.dirname(os.path.dirname(symnet.__file__))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*map(str, path), folder])}
    safe = [] if cwd else ["-P"]  # -P: the current folder is not searched
    return subprocess.run([sys.executable, *safe, *arguments], cwd=cwd, env=environment, capture_output=True, text=True)


def test_import_loads_no_library_but_numpy():
    found = python(
        "-c",
        "import symnet, sys; heavy = 'numba llvmlite scipy sympy sklearn joblib pandas'.split(); "
        "print([m for m in heavy if m in sys.modules])",
    )
    assert found.stdout.strip() == "[]", found.stderr


def test_import_takes_at_most_half_a_second():
    times = []
    for _ in range(3):
        report = python("-X", "importtime", "-c", "import symnet").stderr
        times.append(int(re.search(r"\|\s*(\d+) \|\s+symnet$", report, re.MULTILINE)[1]) / 1e6)
    assert min(times) <= 0.5


def test_every_public_name_is_there():
    for name in symnet.__all__:
        assert getattr(symnet, name) is not None
    assert set(symnet.__all__) <= set(dir(symnet))
    with pytest.raises(AttributeError, match="has no attribute 'Netwrok'"):
        symnet.__getattr__("Netwrok")


def test_the_version_is_that_of_the_project(root):
    text = (root / "pyproject.toml").read_text()
    assert f'version = "{symnet.__version__}"' in text


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("compiler.py", "def walk(tree): pass\n"),
        ("compiler/__init__.py", "BELONGS_TO = 'somebody else'\n"),
        ("compiler/__init__.py", "BELONGS_TO = 'symnet'\n"),  # another symnet's: beside another copy, not beside ours
    ],
)
def test_another_compiler_is_refused_with_its_path_and_what_to_do(tmp_path, name, content):
    shadow = tmp_path / name
    shadow.parent.mkdir(exist_ok=True)
    shadow.write_text(content)
    found = python("-c", "import symnet", path=[tmp_path])
    assert found.returncode == 1
    last = found.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: symnet needs its own package 'compiler'")
    assert str(shadow) in last and "rename it" in last


def test_a_script_beside_another_compiler_is_told_so(tmp_path):
    (tmp_path / "compiler.py").write_text("")
    (tmp_path / "script.py").write_text("import symnet\n")
    found = python("script.py", cwd=tmp_path)
    assert found.returncode == 1 and str(tmp_path / "compiler.py") in found.stderr


def test_a_namespace_package_named_compiler_is_refused(tmp_path):
    # a folder without __init__.py is found only where no real package is: take ours away
    script = (
        "import sys, types; m = types.ModuleType('compiler'); m.__path__ = ['/elsewhere/compiler'];"
        "sys.modules['compiler'] = m\nimport symnet"
    )
    found = python("-c", script)
    assert found.returncode == 1 and "/elsewhere/compiler" in found.stderr
