"""A network on one page of HTML, to read offline: `symnet report spec.toml -o report.html`.

In: a Model, and if there are any, the History of a training and samples.  Out: HTML without scripts, fonts or anything
else from elsewhere: the picture of the network, its equations forward and backward, parameters, what each pass of the
compiler did, the generated source, training curves, activations with their derivatives, gradient norms by layer.
"""

from __future__ import annotations

from html import escape
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp

from compiler.passes.agreement import Z, evaluate

from .. import __version__
from ..notation import typeset
from ..notation.mathml import mathml
from ..notation.pages import sheet
from ..notation.sheet import Line, Section
from ..notation.textbook import Book
from .chart import bar_chart, line_chart
from .inspection import Inspection, inspect, maps
from .sampling import sample
from .tracing import given

if TYPE_CHECKING:
    from ..run.data import Data
    from ..run.history import History
    from ..run.training import Model

SHOWN = 200  # parameters and equations; the rest is counted
ROWS = 32  # samples of a batch that facts are measured on
SPAN = 6.0  # activations are drawn from -SPAN to SPAN

STYLE = """
:root { color-scheme: light dark; --text: #1b2430; --soft: #5c6877; --line: #d9dfe7; --back: #ffffff; --panel: #f6f8fb;
  --c0: #2f6db3; --c1: #c4622d; --c2: #3d8b5a; --c3: #8d4fa3; --c4: #a08a1c; --c5: #b03a55; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e9f0; --soft: #9aa7b8; --line: #2f3a48; --back: #12171e;
  --panel: #1a212b; --c0: #79aef0; --c1: #f0965f; --c2: #77c796; --c3: #c993df; --c4: #d8c25a; --c5: #ee8098; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 1.5rem 1.2rem 4rem; background: var(--back); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .2rem; } h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; }
p { color: var(--soft); margin: .2rem 0 .8rem; }
.wide { overflow-x: auto; background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: .8rem; }
h3 { font-size: 1rem; margin: 1rem 0 .3rem; } details { margin: 1.2rem 0; }
.formulas td { border: 0; padding: .18rem .9rem .18rem 0; } math { font-size: 1.08em; }
pre, code { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
pre { font-size: 12.5px; line-height: 1.45; margin: 0; }
table { border-collapse: collapse; font-size: 14px; } th { text-align: left; color: var(--soft); font-weight: 600; }
th, td { padding: .25rem .9rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(330px, 1fr)); gap: 1rem; }
.chart { width: 100%; background: var(--panel); border: 1px solid var(--line); border-radius: 8px; }
.chart text { font: 11px system-ui, sans-serif; fill: var(--soft); }
.chart .title { font-size: 13px; fill: var(--text); }
.chart .title, .chart .label, .chart .middle, .chart .note { text-anchor: middle; } .chart .end { text-anchor: end; }
.chart path { fill: none; } .chart .grid { stroke: var(--line); } .chart .curve { stroke-width: 1.8; }
.c0 { stroke: var(--c0); } .c1 { stroke: var(--c1); } .c2 { stroke: var(--c2); } .c3 { stroke: var(--c3); }
.c4 { stroke: var(--c4); } .c5 { stroke: var(--c5); } .chart .bar { fill: var(--c0); }
summary { cursor: pointer; color: var(--c0); } details > .wide { margin-top: .6rem; }
@media (max-width: 500px) { .charts { grid-template-columns: 1fr; } body { padding: 1rem .7rem 3rem; } }
"""


def html_report(model: Model, history: History | None = None, data: Data | None = None) -> str:
    """The page; facts are measured on the first samples of `data`, else on random numbers."""
    network = model.network
    if data is None:
        target, rows = network.given(), ROWS
        values = {**sample(network, target, rows), **_parameters(model)}
    else:
        data = data.part(slice(0, ROWS))
        target, values = given(model, data)
        rows = data.rows
    found = inspect(network, target, values, rows)
    measured = "the first samples of the data" if data is not None else "random numbers"
    parts = [
        f"<h1>{escape(_title(model))}</h1><p>{escape(repr(network))}</p>",
        _section("Network", f'<div class="wide">{network.picture().svg()}</div>'),
        _formulas(model, target),
        _section("Parameters", _parameter_table(model)),
        _section("Training", _curves(history)) if history is not None and len(history) else "",
        _section("Activations", _activations(model, values)),
        _section("What reaches each layer", _reaching(found), f"Measured on {measured}, {rows} of them."),
        _section("Passes of the compiler", f'<div class="wide"><pre>{escape(model.report())}</pre></div>'),
        _folded("Generated source of a training step", f"<pre>{escape(model.source)}</pre>"),
        _folded("The static graph, equation by equation", network.picture("equations").svg()),
        f"<p>Made by symnet {__version__}.</p>",
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(_title(model))}</title><style>{STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _title(model: Model) -> str:
    spec = model.network.spec
    count = sum(prod(shape) for shape in model.network.parameters.values())
    return f"A network of {len(spec.layers)} layer{'s' * (len(spec.layers) > 1)} and {count:,} parameters"


def _section(title: str, body: str, note: str = "") -> str:
    said = f"<p>{escape(note)}</p>" if note else ""
    return f"<section><h2>{escape(title)}</h2>{said}{body}</section>"


def _folded(title: str, body: str, wide: bool = True) -> str:
    head = f'<summary><h2 style="display:inline">{escape(title)}</h2></summary>'
    inside = f'<div class="wide">{body}</div>' if wide else body
    return f"<details>{head}{inside}</details>"


def _parameters(model: Model) -> dict[str, Any]:
    return {t.name: np.array(model.parameters[name], np.float64) for name, t in model.network.tensors.items()}


# ---------------------------------------------------------------------------------------------- formulas, parameters
def _formulas(model: Model, target: str) -> str:
    """The textbook's notation in sections; the others folded."""
    written = {notation: sheet(model.network, target, notation) for notation in ("textbook", "matrix", "index")}
    first, *others = written.values()
    parts = [_section(section.title, _lines(section)) for section in first.sections]
    for other in others:
        blocks = "".join(f"<h3>{escape(section.title)}</h3>{_lines(section)}" for section in other.sections)
        parts.append(_folded(f"The same in {other.notation} notation", blocks, wide=False))
    return "".join(parts)


def _lines(section: Section) -> str:
    rows = [
        f"<tr><td><code>{escape(line.parameter)}</code></td><td>{_formula(line)}</td></tr>"
        if line.parameter
        else f'<tr><td colspan="2">{_formula(line)}</td></tr>'
        for line in section.lines[:SHOWN]
    ]
    if len(section.lines) > SHOWN:
        rows.append(f'<tr><td colspan="2">and {len(section.lines) - SHOWN} more</td></tr>')
    return f'<div class="wide"><table class="formulas">{"".join(rows)}</table></div>'


def _formula(line: Line) -> str:
    return mathml(line.formula).replace(' display="block"', ' displaystyle="true"', 1)


def _parameter_table(model: Model) -> str:
    rows = []
    shapes = model.network.parameters
    for name, shape in list(shapes.items())[:SHOWN]:
        value = np.asarray(model.parameters[name], np.float64)
        cells = ("×".join(map(str, shape)) or "1", f"{value.size:,}", f"{value.mean():.3g}", f"{value.std():.3g}")
        numbers = "".join(f'<td class="number">{cell}</td>' for cell in cells)
        rows.append(f"<tr><td><code>{escape(name)}</code></td>{numbers}</tr>")
    if len(shapes) > SHOWN:
        rows.append(f'<tr><td colspan="5">and {len(shapes) - SHOWN} more</td></tr>')
    head = "<tr><th>name</th><th>shape</th><th>numbers</th><th>mean</th><th>deviation</th></tr>"
    return f'<div class="wide"><table>{head}{"".join(rows)}</table></div>'


# ---------------------------------------------------------------------------------------------- charts
def _curves(history: History) -> str:
    epochs = [e.epoch + 1 for e in history]
    losses = {"training": (epochs, list(history.loss))}
    if any(v is not None for v in history.validation_loss):
        losses["validation"] = (epochs, [np.nan if v is None else v for v in history.validation_loss])
    positive = all(v > 0 for _, ys in losses.values() for v in ys if np.isfinite(v))
    charts = [line_chart(losses, "Loss", "epoch", log=positive)]
    if any(v is not None for v in history.accuracy):
        accuracy = [np.nan if v is None else 100 * v for v in history.accuracy]
        charts.append(line_chart({"validation": (epochs, accuracy)}, "Accuracy of validation, %", "epoch"))
    return f'<div class="charts">{"".join(charts)}</div>'


def _activations(model: Model, values: dict[str, Any]) -> str:
    """f and f', each function once."""
    z = np.linspace(-SPAN, SPAN, 481)
    charts: dict[str, str] = {}
    book = Book(model.network.gradient_program())
    for equation, argument, slope in maps(model.network.forward):
        chosen = {a: sp.Float(float(np.ravel(values[a.tensor.name])[0])) for a in _learned(equation, argument)}
        f, g = (e.xreplace({argument: Z, **chosen}) for e in (equation.rhs, slope))
        key = str(f)
        if key not in charts:
            with np.errstate(all="ignore"):
                curves = {
                    name: (z.tolist(), np.broadcast_to(evaluate(e, {Z: z}, np.float64), z.shape).tolist())
                    for name, e in (("f", f), ("f'", g))
                }
            title = typeset.unicode(book.formula(equation.tensor))
            charts[key] = line_chart(curves, title if len(title) <= 56 else f"{title[:55]}…", "z")
    return f'<div class="charts">{"".join(charts.values())}</div>' if charts else "<p>None.</p>"


def _learned(equation: Any, argument: Any) -> list[Any]:
    return [a for a in equation.reads() if a != argument]


def _reaching(found: Inspection) -> str:
    charts = ""
    if found.reaching:
        bars = {reach.name: reach.measured for reach in found.reaching}
        charts = f'<div class="charts">{bar_chart(bars, "Largest |δ| / |δ of the last layer|", log=True)}</div>'
    return f'{charts}<div class="wide" style="margin-top:1rem"><pre>{escape(str(found))}</pre></div>'
