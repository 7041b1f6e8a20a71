"""Pictures with matplotlib: activations, losses, gradients by layer, decision boundaries.

In: a network, a model, a history, data.  Out: matplotlib's Axes, drawn on those that are given or on new ones.  Needs
`pip install "symnet[plots]"`; nothing else of symnet does.  Colours are of one palette, which the colour-blind can tell
apart (Okabe and Ito 2008).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from compiler.passes.agreement import Z, evaluate

from .declare import checks
from .declare.activations import resolve, settings
from .errors import Quoted, SymnetError, complaint
from .formulation.formula import X as ARGUMENT
from .formulation.formula import number

if TYPE_CHECKING:
    from .run.history import History
    from .run.training import Model

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GRID = 200  # points on each axis of a decision boundary


def _axes(given: Any) -> Any:
    if given is not None:
        return given
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise SymnetError('Plots need matplotlib: pip install "symnet[plots]".') from None
    _, made = plt.subplots(figsize=(5.2, 3.6), layout="constrained")
    return made


def activation(function: Any, span: float = 6.0, axes: Any = None) -> Any:
    """An activation and its derivative, as it is derived, from -span to span.

    function: what `dense` takes as its activation.  Learned parameters are at their first values.
    """
    choice = checks.activation(function, "plots.activation")
    chosen = settings(choice.name, choice.mapping, "plots.activation")
    resolved = resolve(chosen, "plots.activation")
    fixed = {symbol: number(chosen.values[name]) for name, symbol in resolved.symbols.items()}
    f = resolved.expression.xreplace(fixed)
    axes, z = _axes(axes), np.linspace(-span, span, 1201)
    for label, expression, colour in (("f", f, COLOURS[0]), ("f'", f.diff(ARGUMENT), COLOURS[1])):
        with np.errstate(all="ignore"):
            values = np.broadcast_to(evaluate(expression.xreplace({ARGUMENT: Z}), {Z: z}, np.float64), z.shape)
        axes.plot(z, values, color=colour, label=label)
    axes.set(xlabel="z", title=choice.name or "own activation")
    axes.grid(alpha=0.3)
    axes.legend()
    return axes


def history(found: History, axes: Any = None) -> Any:
    """Training and validation loss by epoch, on a logarithmic axis where all are above 0."""
    axes = _axes(axes)
    epochs = [epoch.epoch + 1 for epoch in found]
    losses = {"training": found.loss, "validation": found.validation_loss}
    for (label, values), colour in zip(losses.items(), COLOURS, strict=False):
        if all(value is not None for value in values):
            axes.plot(epochs, values, color=colour, label=label)
    if all(value is None or value > 0 for values in losses.values() for value in values):
        axes.set_yscale("log")
    axes.set(xlabel="epoch", ylabel="loss")
    axes.grid(alpha=0.3)
    axes.legend()
    return axes


def gradient_flow(model: Model, X: Any, y: Any, axes: Any = None) -> Any:
    """How much of the gradient at the outputs reaches each layer: measured, and the bound of the formulas."""
    axes = _axes(axes)
    reaching = model.inspect(X, y).reaching
    if not reaching:
        raise complaint("plots.gradient_flow", Quoted("a network without deltas"), "one with layers such as dense")
    names = [reach.name for reach in reaching]
    for label, colour, marker in (("measured", COLOURS[0], "o"), ("bound", COLOURS[1], "_")):
        axes.plot(names, [getattr(reach, label) for reach in reaching], marker, color=colour, label=label, ms=8)
    axes.set(yscale="log", ylabel="|δ| / |δ of the last layer|")
    axes.grid(alpha=0.3)
    axes.legend()
    return axes


def decision_boundary(model: Model, X: Any, y: Any, axes: Any = None) -> Any:
    """The classes that a model with two inputs predicts over the plane, and the samples on it."""
    points = np.asarray(X, float)
    if points.ndim != 2 or points.shape[1] != 2 or not model.network.is_classifier:
        found = Quoted(
            f"inputs of shape {points.shape} of a {'classifier' if model.network.is_classifier else 'regression'}"
        )
        raise complaint("plots.decision_boundary", found, "a classifier with two inputs, X of shape (n, 2)")
    axes = _axes(axes)
    margin = 0.08 * np.ptp(points, axis=0) + 1e-9
    low, high = points.min(axis=0) - margin, points.max(axis=0) + margin
    across, up = (np.linspace(low[k], high[k], GRID) for k in range(2))
    grid = np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2)
    labels = np.asarray(model.predict(grid)).reshape(GRID, GRID)
    classes = model.network.classes
    levels = np.arange(classes + 1) - 0.5
    colours = [COLOURS[k % len(COLOURS)] for k in range(classes)]
    axes.contourf(across, up, labels, levels=levels, colors=colours, alpha=0.22)
    for label, colour in enumerate(colours):
        mine = np.ravel(y) == label
        axes.scatter(*points[mine].T, s=16, color=colour, edgecolors="white", linewidths=0.4, label=str(label))
    axes.set(xlabel="x1", ylabel="x2")
    axes.legend(title="class")
    return axes
