"""The command `symnet`.

    symnet train spec.toml              train on the data that the spec names, write the model, test it
    symnet show spec.toml               print the equations and the gradients
    symnet explain spec.toml hidden1.W  print how a gradient is derived, step by step
    symnet check spec.toml              compare the compiled gradient with three independent ways to get it
    symnet source spec.toml             print the generated source of a training step
    symnet graph spec.toml -o net.svg   draw the network, or its equations (also Mermaid and DOT)
    symnet predict model data.csv       print a prediction a line
    symnet --version

The last part of the data is for the test alone: neither training nor the choice of the best epoch sees it.  What a user
got wrong is one message on stderr and exit code 2.  Ctrl-C while training writes the model as it is; exit code 130.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__
from .errors import Quoted, SymnetError, complaint

FEW = 20  # rows below which an accuracy says little

if TYPE_CHECKING:
    from .history import Epoch
    from .network import Network


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; the exit code."""
    options = _parser().parse_args(arguments)
    try:
        code = options.run(options)
        sys.stdout.flush()
    except SymnetError as error:
        print(f"symnet: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `symnet show ... | head`
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # what Python flushes at its end has nowhere to go
        return 0
    except OSError as error:
        print(f"symnet: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("symnet: interrupted", file=sys.stderr)
        return 130
    return int(code or 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="symnet", description="Networks as equations, trained in one native loop.")
    parser.add_argument("--version", action="version", version=f"symnet {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")
    train = commands.add_parser("train", help="train a network on the data that its spec names")
    train.add_argument("spec", help="a TOML file with [network], [[layer]] and [train]")
    train.add_argument("--seed", type=_seed, help="of the split, the first parameters and the order; else the spec's")
    train.add_argument("--model", help="where the model is written; else the spec's, else beside the spec")
    train.add_argument("--memory-limit", type=_bytes, help="bytes; else half of the machine's memory")
    train.set_defaults(run=_train)
    show = commands.add_parser("show", help="print a network's equations and gradients")
    show.add_argument("spec", help="a TOML file")
    show.set_defaults(run=_show)
    explain = commands.add_parser("explain", help="print how a gradient is derived, step by step")
    explain.add_argument("spec", help="a TOML file")
    explain.add_argument("parameter", nargs="?", help="such as hidden1.W; else the first of the network")
    explain.set_defaults(run=_explain)
    check = commands.add_parser("check", help="compare the compiled gradient with three independent ways to get it")
    check.add_argument("spec", help="a TOML file")
    check.set_defaults(run=_check)
    source = commands.add_parser("source", help="print the generated source of a training step")
    source.add_argument("spec", help="a TOML file")
    source.set_defaults(run=_source)
    graph = commands.add_parser("graph", help="draw the network, or its equations forward and backward")
    graph.add_argument("spec", help="a TOML file")
    graph.add_argument("--level", choices=("layers", "equations"), default="layers")
    graph.add_argument("--format", choices=("mermaid", "dot", "svg"), help="else by the ending of -o, else mermaid")
    graph.add_argument("-o", "--output", help="a file; else it is printed")
    graph.set_defaults(run=_graph)
    predict = commands.add_parser("predict", help="predict with a trained model")
    predict.add_argument("model", help="a file that `symnet train` wrote")
    predict.add_argument("data", help="a .csv, .csv.gz or .npy file: the inputs, with or without targets after them")
    predict.set_defaults(run=_predict)
    return parser


def _seed(text: str) -> int:
    if not text.isdecimal() or len(text) > 18:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected an integer from 0")
    return int(text)


def _bytes(text: str) -> int:
    if not text.isdecimal() or len(text) > 18 or not int(text):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number of bytes")
    return int(text)


# ---------------------------------------------------------------------------------------------- train
def _train(options: argparse.Namespace) -> None:
    from .data import check_data, split
    from .network import Network
    from .tables import load_data, some

    network = Network.from_toml(Path(options.spec))
    spec = network.spec
    train = spec.train
    if train is None:
        raise complaint(options.spec, Quoted("no table [train]"), "[train] with the key data")
    target = Path(
        options.model or (spec.path(train.model) if train.model else Path(options.spec).with_suffix(".safetensors"))
    )
    if not target.parent.is_dir():
        raise complaint("model", str(target), "a file in a folder that exists")
    seed = train.seed if options.seed is None else options.seed
    X, y = load_data(network, spec.path(train.data))
    count = check_data(network, X, y, train.dtype).rows
    parts = split(count, seed, train.validation_split, train.test_split)
    print(
        f"{count} samples: {len(parts.train)} to train, {len(parts.validation)} to validate, {len(parts.test)} to test"
    )
    for name, rows in (("validation", parts.validation), ("test", parts.test)):
        if 0 < len(rows) < FEW:
            what = "accuracy" if network.is_classifier else "loss"
            print(f"the {name} {what} is of {len(rows)} row{'s' * (len(rows) > 1)} only: it says little")
    print("compiling ...", flush=True)
    start = time.perf_counter()
    model = network.compile(train.optimizer, train.dtype, seed, options.memory_limit)
    if train.scale != "none":
        model.scale(some(X, parts.train), train.scale)
    model.prepare(some(X, parts.train), some(y, parts.train), train.batch_size, train.shuffle)
    if len(parts.validation) or len(parts.test):
        model.evaluate(some(X, parts.train[:1]), some(y, parts.train[:1]))
    how = "compiled in" if model.kernels.compiled else "from the cache in"
    print(f"{how} {time.perf_counter() - start:.1f} s", flush=True)
    validated = len(parts.validation) > 0
    stopping = train.early_stopping
    try:
        history = model.fit(
            some(X, parts.train),
            some(y, parts.train),
            train.epochs,
            train.batch_size,
            validation_data=(some(X, parts.validation), some(y, parts.validation)) if validated else None,
            shuffle=train.shuffle,
            callbacks=[lambda epoch: _progress(epoch, train.epochs)],
            restore_best=validated if stopping is None else stopping.restore_best,
            patience=None if stopping is None else stopping.patience,
            monitor="loss" if stopping is None else stopping.monitor,
        )
    except KeyboardInterrupt:
        if model.progress.step:
            model.save(target)
            print(f"{target}: the latest parameters, after {model.progress.step} steps", flush=True)
        raise
    model.save(target)
    print(f"{target}: the parameters of epoch {(history[-1].epoch if history.best is None else history.best) + 1}")
    print(f"{history.seconds:.2f} s, {history.samples_per_second:,.0f} samples/s")
    if len(parts.test):
        found = model.evaluate(some(X, parts.test), some(y, parts.test))
        if "accuracy" in found or len(found) == 1:
            accurate = "accuracy" in found
            print(f"test accuracy {100 * found['accuracy']:.2f} %" if accurate else f"test loss {found['loss']:.6g}")
        else:
            print("test " + ", ".join(_named(name, value) for name, value in found.items()))


def _progress(epoch: Epoch, epochs: int) -> None:
    text = f"epoch {epoch.epoch + 1:{len(str(epochs))}}/{epochs}  loss {_number(epoch.loss)}"
    if epoch.validation_loss is not None:
        text += f"  validation loss {_number(epoch.validation_loss)}"
    if epoch.accuracy is not None:
        text += f"  validation accuracy {100 * epoch.accuracy:6.2f} %"
    text += "".join(f"  {_named(name, v)}" for name, v in epoch.parts.items() if name.endswith("accuracy"))
    # one write: Ctrl-C between a line and its end would glue the next message to it
    print(text + "\n", end="", flush=True)


def _named(name: str, value: float) -> str:
    return f"{name} {100 * value:.2f} %" if name.endswith("accuracy") else f"{name} {value:.6g}"


def _number(loss: float) -> str:
    """In nine columns, whatever its size."""
    return f"{loss:9.4f}" if loss == 0 or 1e-4 <= abs(loss) < 1e4 else f"{loss:9.3e}"


# ---------------------------------------------------------------------------------------------- show, predict
def _show(options: argparse.Namespace) -> None:
    from .network import Network
    from .notation import show

    print(show(Network.from_toml(Path(options.spec))))


def _explain(options: argparse.Namespace) -> None:
    from .network import Network

    network = Network.from_toml(Path(options.spec))
    print(network.explain(options.parameter or next(iter(network.parameters))))


def _check(options: argparse.Namespace) -> int:
    from .gradient_check import check, table
    from .network import Network

    rows = check(Network.from_toml(Path(options.spec)))
    print(f"Relative error of the compiled gradient (float64), judged by\n{table(rows)}")
    wrong = [row.name for row in rows if not row.is_right]
    print(f"wrong: {', '.join(wrong)}" if wrong else "all right")
    return 1 if wrong else 0


def _source(options: argparse.Namespace) -> None:
    from .network import Network

    network = Network.from_toml(Path(options.spec))
    train = network.spec.train
    print(network.compile(train.optimizer, train.dtype).source if train else network.compile().source)


def _graph(options: argparse.Namespace) -> None:
    from .network import Network

    endings = {".svg": "svg", ".dot": "dot", ".gv": "dot"}
    kind = options.format or endings.get(Path(options.output or "").suffix, "mermaid")
    text = getattr(Network.from_toml(Path(options.spec)).picture(options.level), kind)()
    if options.output:
        Path(options.output).write_text(text + "\n", encoding="utf-8")
    else:
        print(text)


def _predict(options: argparse.Namespace) -> None:
    from .model_file import load

    model = load(options.model)
    found = model.predict(_inputs(model.network, Path(options.data)))
    rows = zip(*(part.tolist() for part in found.values()), strict=True) if isinstance(found, dict) else found.tolist()
    for row in rows:
        print(",".join(map(repr, _flat(row))) if isinstance(row, list | tuple) else row)


def _flat(row: Any) -> list[Any]:
    """The numbers of a prediction, those of the first position first."""
    return [number for part in row for number in _flat(part)] if isinstance(row, list | tuple) else [row]


def _inputs(network: Network, path: Path) -> Any:
    """The inputs of a table: its first columns."""
    from .tables import by_name, read_table

    table = read_table(path)
    inputs, widths = network.spec.input, {network.spec.input}
    if "" in network.outputs:
        each = math.prod(network.positions)
        widths |= {inputs + each * network.target_width} | ({inputs + each} if "labels" in network.targets else set())
    if table.shape[1] not in widths:
        expected = f"{' or '.join(map(str, sorted(widths)))}: {inputs} inputs, with or without the target"
        raise complaint(str(path), Quoted(f"{table.shape[1]} columns"), expected)
    return by_name(network, table[:, :inputs])


if __name__ == "__main__":
    sys.exit(main())
