"""Claims about the project's own files: what is installed, what is shipped, who may import whom."""

from __future__ import annotations

import ast
import gzip
import importlib
import importlib.util
import os
import re
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse

PACKAGES = ("symnet", "compiler")


@pytest.fixture(scope="module")
def project(root: Path) -> dict:
    return tomllib.loads((root / "pyproject.toml").read_text())


def modules(root: Path, package: str) -> list[Path]:
    found = sorted((root / package).rglob("*.py"))
    assert found, f"no modules in {package}"
    return found


def imported(path: Path) -> set[str]:
    """The top names of all absolute imports of a module, also of those inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.fixture(scope="module")
def blocks(root: Path) -> list[tuple[str, str]]:
    """(language, text) of the fenced blocks of the README"""
    return re.findall(r"^```(\w*)\n(.*?)^```$", (root / "README.md").read_text(), re.MULTILINE | re.DOTALL)


def holding(blocks: list[tuple[str, str]], part: str) -> str:
    """The block in TOML that holds this text."""
    (found,) = [text for language, text in blocks if language == "toml" and part in text]
    return found


def test_the_readme_table_of_layers_has_every_kind(root: Path) -> None:
    from symnet.kinds import KINDS

    table = (root / "README.md").read_text().partition("| kind | equations")[2].partition("\n\n")[0]
    names = [name for line in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", line.split("|")[1])]
    assert sorted(names) == sorted(KINDS)


def test_the_readme_declarations_of_constants_losses_and_derivatives_are_networks(
    root: Path, blocks: list[tuple[str, str]], tmp_path: Path
) -> None:
    from symnet.network import Network

    (tmp_path / "karate.csv").write_bytes((root / "examples" / "karate.csv").read_bytes())
    scipy.sparse.save_npz(tmp_path / "features.npz", scipy.sparse.csr_array(np.eye(34, 3)))
    graph = 'loss = "softmax_cross_entropy"\n[[layer]]\nkind = "graph_conv"\nunits = 2\nfeatures = "X"\n'
    (tmp_path / "graph.toml").write_text(f"[network]\n{graph}" + holding(blocks, "[network.constants]"))
    assert Network.from_toml(tmp_path / "graph.toml").parameters["graph_conv1.W"] == (2, 3)
    layers = "".join(f'[[layer]]\nkind = "dense"\nunits = 10\nname = "{name}"\n' for name in ("early", "digit"))
    layers += '[[layer]]\nkind = "dense"\nunits = 1\nname = "angle"\n'
    losses = holding(blocks, "[network.losses]").replace("[network.losses]", "[network]\ninput = 4\n[network.losses]")
    assert set(Network.from_toml(f"{losses}{layers}").outputs) == {"digit", "angle", "early"}
    inner = holding(blocks, "columns = 2").replace("[network.loss]", "[network]\ninput = 1\n[network.loss]")
    oscillator = Network.from_toml(f'{inner}[[layer]]\nkind = "dense"\nunits = 1\nactivation = "tanh"\n')
    assert "z1_x" in oscillator.show()


def test_the_readme_begins_with_the_two_commands(blocks: list[tuple[str, str]]) -> None:
    assert blocks[0] == ("", "pip install . && symnet train examples/digits.toml\n")
    assert blocks[1] == ("", 'pip install ".[test]" && pytest\n')


def test_the_readme_shows_what_its_network_prints(blocks: list[tuple[str, str]]) -> None:
    from symnet.network import Network
    from symnet.notation.pages import show

    place = [language for language, _ in blocks].index("toml")
    assert blocks[place + 1] == ("", show(Network.from_toml(blocks[place][1])) + "\n")


def test_the_readme_example_runs_and_prints_what_it_says(
    blocks: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    place = [language for language, _ in blocks].index("python")
    exec(compile(blocks[place][1], "README.md", "exec"), {"__name__": "readme"})
    assert blocks[place + 1] == ("", capsys.readouterr().out)


def test_the_readme_example_of_a_graph_runs(blocks: list[tuple[str, str]]) -> None:
    graph = [text for language, text in blocks if language == "python"][1]
    exec(compile(graph, "README.md", "exec"), {"__name__": "readme"})


def test_the_readme_layers_in_five_lines_are_a_gated_linear_unit_and_a_bilinear_layer(
    blocks: list[tuple[str, str]],
) -> None:
    from symnet.network import Network

    x = np.random.default_rng(0).normal(size=(6, 5))

    def output(layer: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        network = Network.from_toml(f'[network]\ninput = 5\nloss = "squared_error"\n{layer}')
        model = network.compile("adam", "float64")
        rng = np.random.default_rng(1)
        model.parameters = {name: rng.normal(size=shape) for name, shape in network.parameters.items()}
        return model.predict(x), {name.split(".")[1]: model.parameters[name] for name in network.parameters}

    gated, bilinear = (holding(blocks, text) for text in ("logistic(sum(V[i,j]", "W[i,j,k]*x[n,j]*x[n,k]"))
    assert all(len(layer.splitlines()) == 5 for layer in (gated, bilinear))
    found, p = output(gated)
    expected = (x @ p["W"].T + p["b"]) / (1 + np.exp(-(x @ p["V"].T + p["c"])))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    found, p = output(bilinear)
    np.testing.assert_allclose(found, np.einsum("ijk,nj,nk->ni", p["W"], x, x) + p["b"], rtol=1e-11, atol=1e-12)


def test_the_readme_example_of_an_optimizer_in_formulas_trains(blocks: list[tuple[str, str]]) -> None:
    from symnet.network import Network

    network = Network.from_toml(holding(blocks, "early_stopping"))
    assert Network.from_toml(network.to_toml()) == network
    train = network.spec.train
    assert train is not None and train.early_stopping is not None and train.early_stopping.patience == 10
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 64)), rng.integers(0, 3, 60)
    history = network.compile(train.optimizer).fit(X, y, epochs=40)
    assert history[-1].loss < history[0].loss


@pytest.mark.parametrize("table", ["activations", "losses", "optimizers", "schedules", "initializers"])
def test_the_readme_lists_exactly_the_names_of_the_tables(root: Path, table: str) -> None:
    rows = importlib.import_module(f"symnet.declare.{table}").ROWS
    aliases = [", ".join(f"`{alias}`" for alias in getattr(row, "aliases", ())) for row in rows]
    names = [f"`{row.name}`" + (f" ({others})" if others else "") for row, others in zip(rows, aliases, strict=True)]
    lines = [line for line in (root / "README.md").read_text().splitlines() if line.startswith(f"| {table} |")]
    assert lines == [f"| {table} | {', '.join(names)} |"]


def test_compiler_never_imports_symnet(root: Path) -> None:
    for path in modules(root, "compiler"):
        assert "symnet" not in imported(path), path


def test_the_linter_bans_the_same_import(project: dict) -> None:
    lint = project["tool"]["ruff"]["lint"]
    assert "symnet" in lint["flake8-tidy-imports"]["banned-api"]
    assert lint["per-file-ignores"]["!compiler/**"] == ["TID251"]
    assert "TID" in lint["select"]


def test_only_declared_dependencies_are_imported(root: Path, project: dict) -> None:
    declared = {re.match(r"[A-Za-z0-9_]+", line)[0] for line in project["project"]["dependencies"]}
    assert declared == {"sympy", "numpy", "numba", "scipy"}
    shipped_with_them = {"llvmlite", "mpmath"}  # of numba and sympy
    allowed = declared | shipped_with_them | set(sys.stdlib_module_names) | set(PACKAGES)
    # a module, or a folder of modules -> what its extra installs
    extras = {
        "plots.py": {"matplotlib"},
        "ranks.py": {"mpi4py"},
        "sklearn": {"sklearn", "threadpoolctl"},
        "sweeps.py": {"joblib", "pandas"},
    }
    for package in PACKAGES:
        for path in modules(root, package):
            extra = extras.get(path.name, set()) | extras.get(path.parent.name, set())
            assert imported(path) <= allowed | extra, path


def test_no_module_reads_pickles_or_evaluates_text(root: Path) -> None:
    banned_calls = {"eval", "parse_expr", "lambdify"}
    for package in PACKAGES:
        for path in modules(root, package):
            assert not imported(path) & {"pickle", "shelve", "marshal", "dill"}, path
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                    assert name not in banned_calls or getattr(node.func, "attr", "") == "eval", (path, node.lineno)


@pytest.mark.parametrize("package", PACKAGES)
def test_both_packages_are_typed(package: str) -> None:
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.submodule_search_locations is not None
    assert os.path.exists(os.path.join(spec.submodule_search_locations[0], "py.typed"))


def test_the_digits_are_whole(root: Path) -> None:
    path = root / "examples" / "digits.csv.gz"
    assert path.stat().st_size < 64_000
    with gzip.open(path, "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.int64)
    assert table.shape == (1797, 65)
    pixels, labels = table[:, :-1], table[:, -1]
    assert pixels.min() == 0 and pixels.max() == 16
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert int(pixels.sum()) == 561_718


def test_the_digits_name_their_source(root: Path) -> None:
    header = (root / "examples" / "digits.csv.gz").read_bytes()[:400]
    assert b"10.24432/C50P49" in header
    assert "10.24432/C50P49" in (root / "README.md").read_text()
