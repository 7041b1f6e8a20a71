"""Claims that need other programs: LaTeX is accepted by pdflatex and KaTeX, and mathtext by matplotlib.

They need pdflatex with amsmath, node with `npm install katex` (the folder node_modules in NODE_PATH), and matplotlib.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.test_formulas import NETWORKS, NOTATIONS


def blocks() -> Iterator[str]:
    for network in NETWORKS.values():
        for notation in NOTATIONS:
            for derivatives in ("written", "named"):
                yield network.formulas(notation, derivatives).latex()
        for depth in ("recursion", "complete", "closed"):
            yield network.gradient(next(iter(network.parameters))).formulas(depth=depth).latex()


def test_pdflatex_accepts_every_formula(tmp_path: Path) -> None:
    displays = "\n".join(f"\\[\n{block}\n\\]" for block in blocks())
    page = "\\usepackage[paperwidth=60cm,paperheight=40cm,margin=1cm]{geometry}"
    source = (
        f"\\documentclass{{article}}\\usepackage{{amsmath}}{page}\\begin{{document}}\n{displays}\n\\end{{document}}\n"
    )
    (tmp_path / "formulas.tex").write_text(source, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "formulas.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]


KATEX = """\
const katex = require("katex");
for (const block of JSON.parse(require("fs").readFileSync(0, "utf8")))
  katex.renderToString(block, { displayMode: true, strict: "error", throwOnError: true });
"""


def test_katex_accepts_every_formula() -> None:
    command = ["node", "-e", KATEX]
    done = subprocess.run(command, input=json.dumps(list(blocks())).encode(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]


def test_matplotlib_renders_every_line(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    for name, network in NETWORKS.items():
        for notation in NOTATIONS:
            lines = network.formulas(notation, "named").mathtext().splitlines()
            figure = Figure(figsize=(12, len(lines) / 2))
            for row, line in enumerate(lines):
                figure.text(0.02, 1 - (row + 0.7) / len(lines), f"${line}$")
            figure.savefig(tmp_path / f"{name}.{notation}.png")
