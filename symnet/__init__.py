"""symnet: declare a network, derive its gradients as formulas, read them, train it in one native loop.

The public names are listed in `_HOMES` and loaded at first use, so that `import symnet` costs milliseconds and loads
neither SymPy nor Numba nor SciPy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"


def _own_compiler() -> None:
    """The package `compiler` has a generic name: make sure that the one found is the one that came with symnet."""
    import sys
    from pathlib import Path

    expected = Path(__file__).resolve().parent.parent / "compiler" / "__init__.py"
    try:
        import compiler
    except ImportError:
        raise ImportError(
            f"symnet needs its own package 'compiler' beside it, in {expected.parent}, and found none.  "
            "Reinstall symnet."
        ) from None
    found = getattr(compiler, "__file__", None)
    if getattr(compiler, "BELONGS_TO", None) == "symnet" and found is not None and Path(found).resolve() == expected:
        return
    where = found or next(iter(getattr(compiler, "__path__", ())), "an unknown place")
    sys.modules.pop("compiler", None)  # so that the import can be tried again once the cause is gone
    raise ImportError(
        f"symnet needs its own package 'compiler', expected in {expected.parent}, but Python found another: {where}.  "
        "If that file is yours, rename it; if it is an installed package, uninstall it and reinstall symnet."
    )


_own_compiler()

# public name -> the module that defines it
# what begins with compiler is of that package: the language of the equations that users get to see
_HOMES = {
    "SymnetError": "errors",
    "Network": "network",
    "dense": "declare.constructors",
    "maxout": "declare.constructors",
    "conv1d": "declare.constructors",
    "conv2d": "declare.constructors",
    "max_pool1d": "declare.constructors",
    "max_pool2d": "declare.constructors",
    "average_pool1d": "declare.constructors",
    "average_pool2d": "declare.constructors",
    "activation": "declare.constructors",
    "softmax": "declare.constructors",
    "log_softmax": "declare.constructors",
    "add": "declare.constructors",
    "multiply": "declare.constructors",
    "concat": "declare.constructors",
    "dropout": "declare.constructors",
    "batch_norm": "declare.constructors",
    "layer_norm": "declare.constructors",
    "rms_norm": "declare.constructors",
    "elman": "declare.constructors",
    "gru": "declare.constructors",
    "embedding": "declare.constructors",
    "positions": "declare.constructors",
    "attention": "declare.constructors",
    "transformer": "declare.constructors",
    "lstm": "declare.constructors",
    "graph_conv": "declare.graph_constructors",
    "message_passing": "declare.graph_constructors",
    "graph_attention": "declare.graph_constructors",
    "reshape": "declare.constructors",
    "flatten": "declare.constructors",
    "equations": "declare.constructors",
    "Model": "run.training",
    "load": "run.model_file",
    "sweep": "sweeps",
    "ensemble": "sweeps",
    "train_many": "population",
    "function": "run.function",
    "Function": "run.function",
    "History": "run.history",
    "Epoch": "run.history",
    "Checkpoint": "run.checkpoint",
    "Ranks": "run.ranks",
    "pullback": "differentiate",
    "pushforward": "differentiate",
    "evaluate": "oracle.reference",
    "central_difference": "oracle.numerical",
    "numerical_gradient": "oracle.numerical",
    "Index": "compiler.program",
    "Tensor": "compiler.program",
    "Access": "compiler.program",
    "Equation": "compiler.program",
    "Program": "compiler.program",
}
__all__ = [
    "__version__",
    "SymnetError",
    "Network",
    "dense",
    "maxout",
    "conv1d",
    "conv2d",
    "max_pool1d",
    "max_pool2d",
    "average_pool1d",
    "average_pool2d",
    "activation",
    "softmax",
    "log_softmax",
    "add",
    "multiply",
    "concat",
    "dropout",
    "batch_norm",
    "layer_norm",
    "rms_norm",
    "elman",
    "gru",
    "embedding",
    "positions",
    "attention",
    "transformer",
    "lstm",
    "graph_conv",
    "message_passing",
    "graph_attention",
    "reshape",
    "flatten",
    "equations",
    "Model",
    "load",
    "sweep",
    "ensemble",
    "train_many",
    "function",
    "Function",
    "History",
    "Epoch",
    "Checkpoint",
    "Ranks",
    "pullback",
    "pushforward",
    "evaluate",
    "central_difference",
    "numerical_gradient",
    "Index",
    "Tensor",
    "Access",
    "Equation",
    "Program",
]

if TYPE_CHECKING:
    from compiler.program import Access, Equation, Index, Program, Tensor

    from .declare.constructors import (
        activation,
        add,
        attention,
        average_pool1d,
        average_pool2d,
        batch_norm,
        concat,
        conv1d,
        conv2d,
        dense,
        dropout,
        elman,
        embedding,
        equations,
        flatten,
        gru,
        layer_norm,
        log_softmax,
        lstm,
        max_pool1d,
        max_pool2d,
        maxout,
        multiply,
        positions,
        reshape,
        rms_norm,
        softmax,
        transformer,
    )
    from .declare.graph_constructors import graph_attention, graph_conv, message_passing
    from .differentiate import pullback, pushforward
    from .errors import SymnetError
    from .network import Network
    from .oracle.numerical import central_difference, numerical_gradient
    from .oracle.reference import evaluate
    from .population import train_many
    from .run.checkpoint import Checkpoint
    from .run.function import Function, function
    from .run.history import Epoch, History
    from .run.model_file import load
    from .run.ranks import Ranks
    from .run.training import Model
    from .sweeps import ensemble, sweep


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'symnet' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(home if home.startswith("compiler.") else f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
