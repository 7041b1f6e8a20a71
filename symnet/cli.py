"""The command `symnet`.

    symnet train spec.toml              train on the data that the spec names, write the model, test it
    symnet show spec.toml               print the equations and the gradients
    symnet explain spec.toml hidden1.W  print how a gradient is derived, step by step
    symnet check spec.toml              compare the compiled gradient with three independent ways to get it
    symnet source spec.toml             print the generated source of a training step
    symnet graph spec.toml -o net.svg   draw the network, or its equations (also Mermaid and DOT)
    symnet report spec.toml -o net.html train, and write all about the network on one page of HTML
    symnet predict model data.csv       print a prediction a line
    symnet --version

`mpirun -n 4 symnet train spec.toml` trains with four processes together, on one machine or on several (run/ranks.py).
The last part of the data is for the test alone: neither training nor the choice of the best epoch sees it.  What a user
got wrong is one message on stderr and exit code 2.  Ctrl-C or SIGTERM while training write the model as it is (and the
checkpoint, if there is one); exit code 130 or 143.  A step that is not finite writes the model before it; exit code 2.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__
from .errors import Quoted, SymnetError, complaint

ROWS = 32  # samples that a report is measured on

EPILOG = """\
a spec, net.toml:

    [network]
    input = 64                         # numbers of a sample
    loss = "softmax_cross_entropy"

    [[layer]]
    kind = "dense"
    name = "hidden1"
    units = 64
    activation = "relu"

    [[layer]]
    kind = "dense"
    name = "out"
    units = 10                         # classes

    [train]                            # for `symnet train` and `symnet report`
    data = "digits.csv.gz"             # a row for each sample, its target last
    epochs = 30

try:

    symnet show net.toml               the formulas, forward and backward
    symnet explain net.toml hidden1.W  how one gradient is derived
    symnet check net.toml              is the compiled gradient right?
    symnet train net.toml              train it; writes net.safetensors
    symnet report net.toml             all of it on one page, net.html

`symnet COMMAND --help` has the options of a command.
"""

if TYPE_CHECKING:
    from .network import Network
    from .run.ranks import Ranks


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; the exit code."""
    options = _parser().parse_args(arguments)
    if sys.stdout is None:  # it was closed, as a daemon's may be
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # of a character that the terminal does not have
    try:
        code = options.run(options)
        sys.stdout.flush()
    except SymnetError as error:
        _complain(error)
        return 2
    except BrokenPipeError:  # `symnet show ... | head`
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # what Python flushes at its end has nowhere to go
        if options.run in (_train, _report):
            _complain("nobody reads what is printed, the training has ended")
            return 1
        return 0
    except OSError as error:
        _complain(error)
        return 2
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130
    except SystemExit as ended:  # by SIGTERM, see run/interruption.py
        _complain("terminated")
        return int(ended.code or 0)
    return int(code or 0)


def _complain(what: object) -> None:
    """A message on stderr, its beginning red on a terminal (https://no-color.org)."""
    coloured = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    print("\033[31msymnet:\033[0m" if coloured else "symnet:", what, file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="symnet",
        description="Networks as equations, trained in one native loop.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"symnet {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")
    train = commands.add_parser("train", help="train a network on the data that its spec names")
    train.add_argument("spec", help="a TOML file with [network], [[layer]] and [train]")
    train.add_argument("--seed", type=_seed, help="of the split, the first parameters and the order; else the spec's")
    train.add_argument("--model", help="where the model is written; else the spec's, else beside the spec")
    train.add_argument("--threads", type=int, help="at most; else as many as there are processors, if that is faster")
    train.add_argument("--memory-limit", type=_bytes, help="bytes; else half of the machine's memory")
    train.add_argument("--checkpoint", metavar="FILE", help="write the state of the training there, every minute")
    train.add_argument("--checkpoint-seconds", type=float, default=60.0, metavar="N", help="so often; else every 60")
    train.add_argument("--checkpoint-epochs", type=int, metavar="N", help="after every N epochs, too")
    train.add_argument("--resume", metavar="FILE", help="go on from a checkpoint, to the same bits")
    train.add_argument(
        "--pieces", type=int, metavar="P", help="under mpirun: parts of a batch, which decide the bits; else 4"
    )
    train.add_argument(
        "--sync-every", type=int, metavar="K", help="under mpirun: K steps alone, then an average, not a sum each step"
    )
    train.set_defaults(run=_train)
    show = commands.add_parser("show", help="print a network's equations and gradients")
    show.add_argument("spec", help="a TOML file")
    show.add_argument("--notation", default="textbook", help="textbook (column vectors), matrix (batched) or index")
    show.add_argument("--derivatives", default="written", help="written out, or named: f' with its definition")
    show.add_argument("--parameter", help="one gradient only, such as hidden1.W, or of one number, hidden1.W[2,3]")
    show.add_argument("--depth", default="recursion", help="of one gradient: recursion, complete or closed")
    show.add_argument(
        "--format", default="text", help="text, latex, mathtext, markdown, mathml, html, json, or numpy: source"
    )
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
    report = commands.add_parser("report", help="train, and write all about the network on one page of HTML")
    report.add_argument("spec", help="a TOML file")
    report.add_argument("-o", "--output", help="the page; else beside the spec")
    report.add_argument("--untrained", action="store_true", help="without training, though the spec has [train]")
    report.set_defaults(run=_report)
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


# ---------------------------------------------------------------------------------------------- train, report
def _train(options: argparse.Namespace) -> int:
    from .run.ranks import Ranks, launched, watched

    count, rank = launched()
    if count == 1 and options.pieces is None and options.sync_every is None:
        _train_with(options, None)
        return 0
    with watched(options.checkpoint) if count > 1 and rank == 0 else contextlib.nullcontext():
        ranks = Ranks(options.pieces, options.sync_every or 1, shards=True)
        try:
            with ranks.guard():
                _train_with(options, ranks)
        except (SymnetError, KeyboardInterrupt, SystemExit) as ended:
            if not ranks.rank:
                raise
            # rank 0 says it
            return 2 if isinstance(ended, SymnetError) else 130 if isinstance(ended, KeyboardInterrupt) else 143
    return 0


def _train_with(options: argparse.Namespace, ranks: Ranks | None) -> None:
    from .network import Network
    from .run.checkpoint import Checkpoint
    from .run.training_job import train

    network = Network.from_toml(Path(options.spec))
    named = options.model or (
        network.spec.train and network.spec.train.model and network.spec.path(network.spec.train.model)
    )
    target = Path(named or Path(options.spec).with_suffix(".safetensors"))
    checkpoint = None
    if options.checkpoint is not None:
        checkpoint = Checkpoint(options.checkpoint, options.checkpoint_seconds, options.checkpoint_epochs)
    train(
        network,
        options.spec,
        target,
        _say,
        options.seed,
        options.memory_limit,
        checkpoint,
        options.resume,
        options.threads,
        ranks,
    )


def _say(line: str) -> None:
    # one write: Ctrl-C between a line and its end would glue the next message to it
    print(line + "\n", end="", flush=True)


def _report(options: argparse.Namespace) -> None:
    from .look.html_report import html_report
    from .network import Network
    from .run.tables import some
    from .run.training_job import train

    network = Network.from_toml(Path(options.spec))
    output = Path(options.output or Path(options.spec).with_suffix(".html"))
    if not output.parent.is_dir():
        raise complaint("output", str(output), "a file in a folder that exists")
    if network.spec.train is None or options.untrained:
        text = html_report(network.compile())
    else:
        done = train(network, options.spec, None, _say)
        first = done.parts.train[:ROWS]
        text = html_report(done.model, done.history, done.model._checked(some(done.X, first), some(done.y, first)))
    output.write_text(text, encoding="utf-8")
    print(f"{output}: {len(text.encode()):,} bytes")


# ---------------------------------------------------------------------------------------------- show, predict
def _show(options: argparse.Namespace) -> None:
    from .network import Network

    network = Network.from_toml(Path(options.spec))
    of = network if options.parameter is None else network.gradient(options.parameter)
    if options.format == "numpy":
        print(of.to_numpy(), end="")
        return
    if options.parameter is None:
        sheet = network.formulas(options.notation, options.derivatives)
    else:
        sheet = network.gradient(options.parameter).formulas(options.notation, options.depth, options.derivatives)
    print(sheet.written(options.format).rstrip("\n"))


def _explain(options: argparse.Namespace) -> None:
    from .network import Network

    network = Network.from_toml(Path(options.spec))
    print(network.explain(options.parameter or next(iter(network.parameters))))


def _check(options: argparse.Namespace) -> int:
    from .look.gradient_check import check, table
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
    from .run.model_file import load

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
    from .run.tables import by_name, read_table

    table, lines = read_table(path)
    inputs, widths = network.spec.input, {network.spec.input}
    if "" in network.outputs:
        each = math.prod(network.positions)
        widths |= {inputs + each * network.target_width} | ({inputs + each} if "labels" in network.targets else set())
    if table.shape[1] not in widths:
        expected = f"{' or '.join(map(str, sorted(widths)))}: {inputs} inputs, with or without the target"
        raise complaint(str(path), Quoted(f"{table.shape[1]} columns"), expected)
    return by_name(network, table[:, :inputs], str(path), lines)


if __name__ == "__main__":
    sys.exit(main())
