"""The command line: what it prints, what it writes, and how it refuses."""

import os
import re
import signal
import statistics
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import symnet as sn
from symnet.cli import main
from symnet.run.data import split
from symnet.run.history import Epoch
from symnet.run.model_file import contents
from symnet.run.training_job import _bar, _left, _progress

LAST = re.compile(r"test accuracy (\d+\.\d\d) %")

SPEC = """
[network]
input = 2
loss = "{loss}"

[[layer]]
kind = "dense"
name = "hidden"
units = 4
activation = "tanh"

[[layer]]
kind = "dense"
name = "out"
units = {units}

[train]
data = "data.csv"
epochs = 3
batch_size = 8
"""


@pytest.fixture(scope="module")
def trained(root, tmp_path_factory):
    """`symnet train` on the digits, in a process of its own: (lines, model file)."""
    model = tmp_path_factory.mktemp("digits") / "digits.safetensors"
    command = [sys.executable, "-m", "symnet", "train", str(root / "examples/digits.toml"), "--model", str(model)]
    environment = os.environ | {"PYTHONPATH": str(Path(sn.__file__).resolve().parent.parent)}
    found = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert found.returncode == 0 and found.stderr == "", found.stderr
    return found.stdout.splitlines(), model


def test_training_prints_a_line_an_epoch_the_file_the_speed_and_the_accuracy_last(trained):
    lines, model = trained
    epochs = [line for line in lines if line.startswith("epoch")]
    assert len(epochs) == 30
    for number, line in enumerate(epochs, 1):
        assert re.fullmatch(
            rf"epoch {number:2}/30  loss    \d\.\d{{4}}  validation loss    \d\.\d{{4}}"
            r"  validation accuracy [ \d]{3}\.\d\d %",
            line,
        )
    assert lines[-3].startswith(str(model)) and model.is_file()
    assert re.fullmatch(r"\d+\.\d\d s, \d{1,3}(,\d{3})* samples/s", lines[-2])
    assert float(LAST.fullmatch(lines[-1])[1]) > 95


def test_training_says_first_that_it_compiles_and_whether_the_cache_had_it(own, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SYMNET_CACHE", str(tmp_path / "cache"))
    for how in ("compiled in", "from the cache in"):
        assert main(["train", own()]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines.index("compiling ...") < next(k for k, line in enumerate(lines) if line.startswith("epoch"))
        assert re.fullmatch(rf"{how} \d+\.\d s", lines[lines.index("compiling ...") + 1])


def test_the_printed_accuracy_is_that_of_the_model_file_on_the_test_part(trained, digits):
    lines, path = trained
    X, y = digits
    train = sn.Network.from_toml(Path(__file__).parent.parent / "examples/digits.toml").spec.train
    test = split(len(X), train.seed, train.validation_split, train.test_split).test
    model = sn.load(path)
    accuracy = np.mean(model.predict(X[test]) == y[test])
    assert lines[-1] == f"test accuracy {100 * accuracy:.2f} %"


def test_a_second_run_with_the_same_seed_gives_the_same_digits(trained, root, tmp_path, capsys):
    lines, path = trained
    assert main(["train", str(root / "examples/digits.toml"), "--model", str(tmp_path / "again")]) == 0
    again = capsys.readouterr().out.splitlines()
    changing = (2, len(lines) - 3, len(lines) - 2)  # times, and the file's name
    assert [x for k, x in enumerate(again) if k not in changing] == [
        x for k, x in enumerate(lines) if k not in changing
    ]
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_the_median_accuracy_over_ten_splits_is_at_least_97_percent(root, tmp_path, capsys):
    found = []
    for seed in range(10):
        assert (
            main(["train", str(root / "examples/digits.toml"), "--seed", str(seed), "--model", str(tmp_path / "m")])
            == 0
        )
        found.append(float(LAST.fullmatch(capsys.readouterr().out.splitlines()[-1])[1]))
    assert statistics.median(found) >= 97 and len(set(found)) > 3


def test_predict_prints_a_label_a_line_with_or_without_targets_in_the_table(trained, digits, tmp_path, capsys):
    _, path = trained
    X, y = digits
    expected = [str(k) for k in sn.load(path).predict(X[:20])]
    for name, columns in (("inputs.csv", X[:20]), ("both.csv", np.column_stack([X[:20], y[:20]]))):
        np.savetxt(tmp_path / name, columns, "%d", ",")
        assert main(["predict", str(path), str(tmp_path / name)]) == 0
        assert capsys.readouterr().out.splitlines() == expected


@pytest.fixture(scope="module")
def digits(root):
    table = np.loadtxt(root / "examples/digits.csv.gz", delimiter=",")
    return table[:, :64], table[:, 64].astype(int)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder with data of two inputs and a target; gives a function that writes a spec."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(40, 2))
    np.savetxt(tmp_path / "data.csv", np.column_stack([x, x[:, 0] > 0]), "%.4f", ",")
    monkeypatch.chdir(tmp_path)

    def write(**changes):
        text = SPEC.format(loss="squared_error", units=1)
        for old, new in changes.items():
            text = text.replace(old, new)
        Path("spec.toml").write_text(text)
        return "spec.toml"

    return write


def test_a_regression_ends_with_its_test_loss_and_writes_the_model_beside_the_spec(own, capsys):
    assert main(["train", own()]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"test loss \d+\.\d+", lines[-1]) and Path("spec.safetensors").is_file()
    assert main(["predict", "spec.safetensors", "data.csv"]) == 0
    predictions = [float(line) for line in capsys.readouterr().out.splitlines()]
    expected = sn.load("spec.safetensors").predict(np.loadtxt("data.csv", delimiter=",")[:, :2])[:, 0]
    assert predictions == expected.tolist()


def test_show_prints_the_gradients(root, capsys):
    assert main(["show", str(root / "examples/digits.toml")]) == 0
    out = capsys.readouterr().out
    assert "∂R/∂W1 = (1/N) Σ δ1 xᵀ + λ W1" in out and "[z1 > 0] ⊙ W2ᵀ δ2" in out


def test_version(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0 and capsys.readouterr().out == f"symnet {sn.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "changes", "message"),
    [
        (["train", "missing.toml"], {}, "missing.toml: found a file that cannot be read (No such file or directory)"),
        (["train", "spec.toml"], {"epochs": "epoch"}, "unknown key 'epoch'"),
        (["train", "spec.toml"], {"data.csv": "other.csv"}, "other.csv: found no such file"),
        (["train", "spec.toml"], {"input = 2": "input = 3"}, "data.csv: found 3 columns, expected 4"),
        (["train", "spec.toml", "--model", "none/model"], {}, "model: found 'none/model', expected a file in a folder"),
        (
            ["train", "spec.toml"],
            {"[train]": "#", "data =": "#", "epochs =": "#", "batch_size =": "#"},
            "no table [train]",
        ),
        (["show", "missing.toml"], {}, "missing.toml"),
        (["predict", "missing.safetensors", "data.csv"], {}, "missing.safetensors cannot be read: No such file"),
        (["predict", "data.csv", "data.csv"], {}, "data.csv is not a whole safetensors file"),
    ],
)
def test_an_error_is_one_message_on_stderr_and_exit_code_2(own, capsys, arguments, changes, message):
    own(**changes)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("symnet: ") and captured.err.count("\n") == 1
    assert message in captured.err and "newline" not in captured.err


@pytest.mark.parametrize(
    "arguments",
    [[], ["tran"], ["train"], ["train", "spec.toml", "--seed", "-1"], ["train", "spec.toml", "--memory-limit", "0"]],
)
def test_a_wrong_command_line_is_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2 and "usage: symnet" in capsys.readouterr().err


def test_a_pipe_that_closes_early_is_no_error(root):
    command = f"{sys.executable} -m symnet show {root / 'examples/digits.toml'} | head -1"
    environment = os.environ | {"PYTHONPATH": str(Path(sn.__file__).resolve().parent.parent)}
    found = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment)
    assert found.returncode == 0 and "Traceback" not in found.stderr and len(found.stdout.splitlines()) == 1


def test_several_inputs_are_columns_of_a_table_or_arrays_by_name(tmp_path, capsys):
    spec = """
[network]
inputs = { grid = [2, 2], age = [1] }
loss = "squared_error"
[[layer]]
kind = "flatten"
inputs = "grid"
name = "flat"
[[layer]]
kind = "concat"
inputs = ["age", "flat"]
[[layer]]
kind = "dense"
units = 1
[train]
data = "data.FORMAT"
epochs = 2
seed = 3
"""
    table = np.random.default_rng(0).normal(size=(60, 6))
    np.savetxt(tmp_path / "data.csv", table, delimiter=",")
    np.savez(tmp_path / "data.npz", grid=table[:, :4].reshape(60, 2, 2), age=table[:, 4:5], y=table[:, 5:])
    models = []
    for ending in ("csv", "npz"):
        (tmp_path / f"{ending}.toml").write_text(spec.replace("FORMAT", ending))
        assert main(["train", str(tmp_path / f"{ending}.toml")]) == 0
        models.append(sn.load(tmp_path / f"{ending}.safetensors"))
    for name, value in models[0].parameters.items():
        np.testing.assert_array_equal(value, models[1].parameters[name])
    capsys.readouterr()
    assert main(["predict", str(tmp_path / "csv.safetensors"), str(tmp_path / "data.csv")]) == 0
    printed = [float(line) for line in capsys.readouterr().out.split()]
    given = {"grid": table[:, :4].reshape(60, 2, 2), "age": table[:, 4:5]}
    np.testing.assert_allclose(printed, models[0].predict(given)[:, 0], rtol=1e-6)
    np.savez(tmp_path / "data.npz", grid=table[:, :4], y=table[:, 5:])
    assert main(["train", str(tmp_path / "npz.toml")]) == 2
    assert "expected arrays named grid, age and y" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "word"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")])
def test_interrupted_training_writes_what_it_has_and_can_go_on(own, number, word):
    """Ends with 130 or 143; the checkpoint leads to the parameters of a training that was not interrupted."""
    own(**{"epochs = 3": "epochs = 100000000"})
    environment = os.environ | {"PYTHONPATH": str(Path(sn.__file__).resolve().parent.parent)}
    command = [sys.executable, "-m", "symnet", "train", "spec.toml", "--checkpoint", "run", "--resume", "run"]
    pipe = subprocess.PIPE
    # a shell that runs this in the background has told its children to ignore Ctrl-C
    heard = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment, preexec_fn=heard) as process:
        while not process.stdout.readline().startswith("epoch "):
            assert process.poll() is None
        process.send_signal(number)
        out, err = process.communicate()
    assert process.returncode == 128 + number and err == f"symnet: {word}\n"
    (steps,) = re.findall(r"^spec\.safetensors: the latest parameters, after (\d+) steps$", out, re.MULTILINE)
    left = sn.load("run").progress
    assert sn.load("spec.safetensors").progress == left and left.step == int(steps) > 0
    text = Path("spec.toml").read_text().replace("epochs = 100000000", f"epochs = {left.epoch + 2}")
    Path("spec.toml").write_text(text)
    assert main(["train", "spec.toml", "--model", "resumed", "--resume", "run"]) == 0
    assert main(["train", "spec.toml", "--model", "whole"]) == 0
    resumed, whole = (contents(sn.load(name)) for name in ("resumed", "whole"))
    assert resumed[1] == whole[1] and all((array == whole[0][name]).all() for name, array in resumed[0].items())


def test_a_network_above_the_memory_limit_is_refused_and_below_it_trained(own, capsys):
    assert main(["train", own(), "--memory-limit", "1000"]) == 2
    assert re.search(r"takes about \d+\.\d KB to train, expected at most 1\.0 KB", capsys.readouterr().err)
    assert not Path("spec.safetensors").exists()
    assert main(["train", own(), "--memory-limit", "100000"]) == 0


def test_a_measure_on_few_rows_says_on_how_many(own, trained, capsys):
    assert main(["train", own()]) == 0
    out = capsys.readouterr().out
    assert "the validation loss is of 2 rows only" in out and "the test loss is of 6 rows only" in out
    assert not any("only" in line for line in trained[0])


@pytest.mark.parametrize(
    ("loss", "text"),
    [(0.0, "0.0000"), (0.25, "0.2500"), (9999.0, "9999.0000"), (1e4, "1.000e+04"), (9e-5, "9.000e-05")],
)
def test_progress_stands_in_columns_whatever_the_size_of_a_loss(loss, text):
    first, second = _progress(Epoch(8, loss, loss, 0.975, 1.0), 30), _progress(Epoch(9, 12.5, 12.5, 1.0, 1.0), 30)
    assert first == f"epoch  9/30  loss {text:>9}  validation loss {text:>9}  validation accuracy  97.50 %"
    assert second.startswith("epoch 10/30  ") and len(first) == len(second)


def test_early_stopping_ends_the_training_and_keeps_the_best_epoch(tmp_path, capsys):
    rng = np.random.default_rng(0)
    rows = np.column_stack([rng.normal(size=(60, 2)), rng.integers(0, 2, 60)])
    np.savetxt(tmp_path / "data.csv", rows, delimiter=",")
    stopping = "early_stopping = {{ patience = 4, restore_best = true }}\nvalidation_split = 0.3\n"
    text = (SPEC + stopping).format(loss="softmax_cross_entropy", units=2).replace("epochs = 3", "epochs = 5000")
    (tmp_path / "spec.toml").write_text(text)
    assert main(["train", str(tmp_path / "spec.toml")]) == 0
    lines = capsys.readouterr().out.splitlines()
    losses = [float(found[1]) for line in lines if (found := re.search(r"validation loss +([0-9.]+)", line))]
    (best,) = [int(found[1]) for line in lines if (found := re.search(r"the parameters of epoch (\d+)", line))]
    assert len(losses) == best + 4 < 5000
    assert losses[best - 1] == min(losses)


def test_a_report_is_trained_and_written_and_leaves_no_model(own, tmp_path, capsys):
    spec = own()
    assert main(["report", spec, "-o", "page.html"]) == 0
    out = capsys.readouterr().out
    page = Path("page.html").read_text(encoding="utf-8")
    assert "epoch " in out and out.splitlines()[-1] == f"page.html: {len(page.encode()):,} bytes"
    assert ">Loss<" in page and not Path("spec.safetensors").exists()
    assert main(["report", spec, "--untrained"]) == 0
    assert ">Loss<" not in Path("spec.html").read_text(encoding="utf-8")
    assert main(["report", spec, "-o", "nowhere/page.html"]) == 2


def test_the_time_that_is_left_is_said_when_it_is_long():
    assert _left(1.0) == "" and _left(9.4) == "  9 s left"
    assert _bar(0.31) == "[===       ] " and _bar(1.0) == "[==========] "
    assert _left(75) == "  1 min 15 s left" and _left(2 * 3600 + 125) == "  2 h 2 min left"


def test_errors_are_red_on_a_terminal_only(monkeypatch, capsys):
    assert main(["show", "nowhere.toml"]) == 2
    assert capsys.readouterr().err.startswith("symnet: nowhere.toml")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert main(["show", "nowhere.toml"]) == 2
    assert capsys.readouterr().err.startswith("\033[31msymnet:\033[0m nowhere.toml")
    monkeypatch.setenv("NO_COLOR", "1")
    assert main(["show", "nowhere.toml"]) == 2
    assert "\033" not in capsys.readouterr().err


def test_the_help_fits_a_terminal_and_its_spec_is_one(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    out = capsys.readouterr().out
    assert stopped.value.code == 0 and max(map(len, out.splitlines())) <= 80
    spec = out.partition("a spec, net.toml:\n")[2].partition("\ntry:")[0]
    assert sn.Network.from_toml(textwrap.dedent(spec)).parameters["hidden1.W"] == (64, 64)


def test_training_that_diverges_writes_the_parameters_before(own, capsys):
    name = own(
        **{
            "epochs = 3": "epochs = 3000",
            "batch_size = 8": 'batch_size = 8\noptimizer = { name = "sgd", learning_rate = 2.0 }',
        }
    )
    assert main(["train", name]) == 2
    found = capsys.readouterr()
    assert re.search(r"Training stopped at step (\d+) ", found.err) and "spec.safetensors: the latest" in found.out
    assert sn.load("spec.safetensors").progress.step > 0


@pytest.mark.parametrize(
    ("shell", "code", "said"),
    [
        ("(COMMAND; echo $? > code) | head -8", 1, "nobody reads what is printed, the training has ended"),
        ("COMMAND > /dev/full; echo $? > code", 2, "No space left on device"),
    ],
)
def test_training_that_nobody_can_read_about_writes_what_it_has(own, shell, code, said):
    if code == 2 and not Path("/dev/full").is_char_device():
        pytest.skip("this system has no /dev/full")
    own(**{"epochs = 3": "epochs = 100000000"})
    environment = os.environ | {"PYTHONPATH": str(Path(sn.__file__).resolve().parent.parent)}
    shell = shell.replace("COMMAND", f"{sys.executable} -m symnet train spec.toml")
    found = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, env=environment)
    assert said in found.stderr and "Traceback" not in found.stderr and int(Path("code").read_text()) == code
    assert code == 2 or sn.load("spec.safetensors").progress.step > 0


@pytest.mark.parametrize(("shell", "code"), [("PYTHONIOENCODING=ascii COMMAND", 0), ("COMMAND >&-", 0)])
def test_formulas_are_printed_on_whatever_there_is(root, shell, code):
    command = f"{sys.executable} -m symnet show {root / 'examples/digits.toml'}"
    environment = os.environ | {"PYTHONPATH": str(Path(sn.__file__).resolve().parent.parent)}
    found = subprocess.run(
        ["bash", "-c", shell.replace("COMMAND", command)], capture_output=True, text=True, env=environment
    )
    assert found.returncode == code and found.stderr == ""
    assert "ascii" not in shell or r"\u2113 = logsumexp(z2) - z2[y]" in found.stdout
