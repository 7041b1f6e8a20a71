"""Training by several processes on MPI: the bits, what ends it, and what is left when a process dies."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from symnet.run import storage

ROOT = Path(__file__).resolve().parent.parent.parent
MPIRUN = Path(sys.executable).parent / "mpirun"
SPEC = """
[network]
input = 5
loss = "softmax_cross_entropy"
l2 = 1e-3

[[layer]]
kind = "dense"
name = "hidden"
units = 6
activation = "tanh"

[[layer]]
kind = "dropout"
rate = 0.3

[[layer]]
kind = "dense"
units = 3

[train]
data = "data.csv"
optimizer = { name = "adam", clip_norm = 1.0 }
epochs = 4
batch_size = 22
dtype = "DTYPE"
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    table = np.column_stack([rng.normal(size=(90, 5)), rng.integers(0, 3, 90)])
    np.savetxt(tmp_path / "data.csv", table, delimiter=",", fmt=["%.6f"] * 5 + ["%d"])
    (tmp_path / "net.toml").write_text(SPEC.replace("DTYPE", "float64"))
    return tmp_path / "net.toml"


def start(ranks: int, *arguments: object, **more: str) -> subprocess.Popen[str]:
    """`mpirun -n ranks python arguments`, or without mpirun."""
    command = [*([str(MPIRUN), "-n", str(ranks)] if ranks else []), sys.executable, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **more}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def trained(ranks: int, spec: Path, *more: object) -> str:
    code, out, err = ended(start(ranks, "-m", "symnet", "train", spec, *more))
    assert code == 0, err
    return out


def arrays(path: Path) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in storage.read(path)[0].items()}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_two_and_four_ranks_end_with_the_same_bits(spec: Path, dtype: str) -> None:
    spec.write_text(SPEC.replace("DTYPE", dtype))
    models = [spec.with_name(f"{ranks}.safetensors") for ranks in (1, 2, 4)]
    for ranks, model in zip((1, 2, 4), models, strict=True):
        out = trained(ranks, spec, "--model", model, "--pieces", 4)
        assert out.count("epoch ") == 5 and f"{ranks} rank" in out  # rank 0 alone reports: 4 epochs, and the best
    assert arrays(models[0]) == arrays(models[1]) == arrays(models[2])
    alone = spec.with_name("alone.safetensors")
    trained(0, spec, "--model", alone)
    usual, divided = storage.read(alone)[0], storage.read(models[0])[0]
    worst = max(float(np.abs(usual[name] - divided[name]).max()) for name in usual)
    assert worst < (1e-13 if dtype == "float64" else 1e-6)
    trained(1, spec, "--model", models[0])  # one rank that nobody asked to divide anything: as without mpirun
    assert arrays(models[0]) == arrays(alone)


@pytest.mark.parametrize("ending", ["csv", "npy", "npz"])
def test_ranks_that_read_their_shares_of_a_file_end_with_the_same_bits(spec: Path, ending: str) -> None:
    table = np.loadtxt(spec.with_name("data.csv"), delimiter=",")
    np.save(spec.with_name("data.npy"), table)
    np.savez(spec.with_name("data.npz"), X=table[:, :5], y=table[:, 5].astype(int), sample_weight=table[:, 0] > -1)
    more = 'scale = "column"\nearly_stopping = { patience = 50, monitor = "accuracy" }'
    spec.write_text(SPEC.replace("DTYPE", "float32").replace("data.csv", f"data.{ending}") + more)
    said = []
    for ranks in (1, 2, 4):
        out = trained(ranks, spec, "--model", spec.with_name(f"{ranks}"), "--pieces", 4)
        said.append([line for line in out.splitlines() if line.startswith(("epoch", "test", "90 samples"))])
    assert said[0] == said[1] == said[2] and len(said[0]) == 6
    assert arrays(spec.with_name("1")) == arrays(spec.with_name("2")) == arrays(spec.with_name("4"))
    alone = trained(0, spec, "--model", spec.with_name("alone"))
    assert said[0][-1] in alone.splitlines()


def test_local_steps_end_with_the_same_bits_on_all_ranks_and_resume(spec: Path) -> None:
    model, again = spec.with_name("model"), spec.with_name("again")
    trained(2, spec, "--model", model, "--sync-every", 2)
    text = spec.read_text()
    spec.write_text(text.replace("epochs = 4", "epochs = 2"))
    trained(2, spec, "--model", again, "--sync-every", 2, "--checkpoint", spec.with_name("run"))
    spec.write_text(text)
    trained(2, spec, "--model", again, "--sync-every", 2, "--resume", spec.with_name("run"))
    assert arrays(model) == arrays(again)


def test_a_checkpoint_goes_on_with_another_number_of_ranks_to_the_same_bits(spec: Path) -> None:
    whole, again, run = (spec.with_name(name) for name in ("whole", "again", "run"))
    trained(2, spec, "--model", whole)
    text = spec.read_text()
    spec.write_text(text.replace("epochs = 4", "epochs = 2"))
    trained(4, spec, "--model", again, "--checkpoint", run)
    spec.write_text(text)
    trained(1, spec, "--model", again, "--resume", run, "--pieces", 4)
    assert arrays(whole) == arrays(again)


def _processes(process: subprocess.Popen[str]) -> list[int]:
    """The ranks of a job, by number."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                environment = dict(x.split("=", 1) for x in (folder / "environ").read_text().split("\0") if "=" in x)
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                grandparent = Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[1]
            except OSError:
                continue
            if "PMI_RANK" in environment and int(grandparent) == process.pid:
                found[int(environment["PMI_RANK"])] = int(folder.name)
    return [found[rank] for rank in sorted(found)]


def _long(spec: Path, run: Path) -> subprocess.Popen[str]:
    """A training of two ranks that does not end soon, after its first checkpoint."""
    spec.write_text(spec.read_text().replace("epochs = 4", "epochs = 10000000"))
    process = start(2, "-m", "symnet", "train", spec, "--checkpoint", run, "--checkpoint-seconds", 0.05)
    deadline = time.monotonic() + 60
    while not run.exists():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.05)
    return process


def _goes_on(spec: Path, run: Path) -> None:
    """What is left is whole, and goes on to the bits of a training that nothing disturbed."""
    from symnet import load

    epochs = load(run).progress.epoch + 2
    spec.write_text(spec.read_text().replace("epochs = 10000000", f"epochs = {epochs}"))
    again, whole = spec.with_name("again"), spec.with_name("whole")
    trained(2, spec, "--model", again, "--resume", run)
    trained(1, spec, "--model", whole, "--pieces", 4)
    assert arrays(again) == arrays(whole)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_is_killed_ends_the_job_and_leaves_a_checkpoint(spec: Path, rank: int) -> None:
    run = spec.with_name("run")
    process = _long(spec, run)
    os.kill(_processes(process)[rank], signal.SIGKILL)
    code, _, err = ended(process)
    assert code and "a rank died" in err and f"--resume {run}" in err
    _goes_on(spec, run)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("whole", [True, False])
def test_a_signal_to_the_job_or_to_one_rank_ends_all_after_the_same_step(spec: Path, number: int, whole: bool) -> None:
    run = spec.with_name("run")
    process = _long(spec, run)
    os.kill(process.pid if whole else _processes(process)[1], number)
    code, out, err = ended(process)
    assert code == 128 + number and "the latest parameters" in out
    assert err.count("symnet: ") == 1 and ("interrupted" if number == signal.SIGINT else "terminated") in err
    _goes_on(spec, run)


def test_what_is_wrong_is_said_once(spec: Path) -> None:
    diverging = SPEC.replace("DTYPE", "float32").replace(
        'name = "adam", clip_norm = 1.0', 'name="sgd", learning_rate=1e38'
    )
    normed = SPEC.replace("DTYPE", "float32").replace('kind = "dropout"\nrate = 0.3', 'kind = "batch_norm"')
    for text, expected, code in (
        (diverging, "expected finite numbers", 2),
        (normed, "couples the samples of a batch", 2),
        (SPEC.replace("DTYPE", "float32").replace("data.csv", "none.csv"), "no such file", 2),
    ):
        spec.write_text(text)
        found, _, err = ended(start(2, "-m", "symnet", "train", spec))
        assert found == code and err.count(expected) == 1, err


@pytest.mark.parametrize("ending", ["csv", "npy"])
def test_what_is_wrong_in_a_row_of_one_rank_ends_the_job_with_one_message(spec: Path, ending: str) -> None:
    table = np.loadtxt(spec.with_name("data.csv"), delimiter=",")
    table[50, 1] = np.nan  # 45 to 66 are rank 2's
    np.savetxt(spec.with_name("data.csv"), table, delimiter=",", fmt=["%.6f"] * 5 + ["%d"])
    np.save(spec.with_name("data.npy"), table)
    spec.write_text(SPEC.replace("DTYPE", "float32").replace("data.csv", f"data.{ending}"))
    code, out, err = ended(start(4, "-m", "symnet", "train", spec))
    where = "data.csv, line 51, column 2" if ending == "csv" else "X[50, 1]"
    assert code == 2 and "epoch" not in out
    assert err.count(f"{where}: found nan") == err.count("symnet: ") == 1


MAPPED = """
import sys
import numpy as np
import symnet as sn

X, y = np.load(sys.argv[1], mmap_mode="r"), np.load(sys.argv[2], mmap_mode="r")
ranks = sn.Ranks()
model = sn.Network(64, [sn.dense(2)], "softmax_cross_entropy").compile("sgd", "float32")
model.fit(X, y, 1, 1024, ranks=ranks)
mapped = open("/proc/self/smaps").read().partition(sys.argv[1])[2]
resident = int(mapped.partition("Rss:")[2].split()[0])
print(f"share {1024 * resident / X.nbytes:.3f} ", end="")
"""


def test_a_rank_reads_its_shard_alone_of_a_memory_mapped_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "script.py").write_text(MAPPED)
    np.save(tmp_path / "x.npy", rng.random((2**18, 64), np.float32))
    np.save(tmp_path / "y.npy", rng.integers(0, 2, 2**18))
    code, out, err = ended(start(4, tmp_path / "script.py", tmp_path / "x.npy", tmp_path / "y.npy"))
    assert code == 0, err
    shares = [float(share) for share in re.findall(r"share (\S+)", out)]
    assert len(shares) == 4 and all(0.2 < share < 0.5 for share in shares), shares  # pages may have 2 MB: of 64


OWN = """
import hashlib
import sys
import numpy as np
import symnet as sn

ranks = sn.Ranks(pieces=4, shards=sys.argv[1] == "own rows")
rng = np.random.default_rng(0)
X, y, w = rng.normal(size=(900, 3)), rng.integers(0, 2, 900), rng.random(900) * (rng.random(900) < 0.9)
data = X, y, w
if ranks.shards:
    edges = np.rint(900 * (np.arange(ranks.size + 1) / ranks.size) ** 2).astype(int)  # rank 0 has the fewest
    data = [part[slice(*edges[ranks.rank :][:2])] for part in data]
model = sn.Network(3, [sn.dense(4, "tanh"), sn.dense(2)], "softmax_cross_entropy").compile(dtype="float64")
model.scale(data[0], "column", ranks)
history = model.fit(data[0], data[1], 3, 100, sample_weight=data[2], validation_split=0.4, ranks=ranks)
assert model.evaluate(*data, ranks=ranks) == model.evaluate(X, y, w)
found = hashlib.sha256(b"".join(value.tobytes() for value in model.parameters.values())).hexdigest()
ranks.compare("parameters", found)
if not ranks.rank:
    print(found, list(history.validation_loss))
"""


def test_ranks_with_rows_of_their_own_train_as_ranks_that_share_the_same_data(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(OWN)
    found = set()
    for ranks, how in ((1, "same data"), (2, "same data"), (2, "own rows"), (4, "own rows")):
        code, out, err = ended(start(ranks, tmp_path / "script.py", how))
        assert code == 0, err
        found.add(out)
    assert len(found) == 1


SCRIPT = """
import sys
import numpy as np
import symnet as sn

ranks = sn.Ranks()
rng = np.random.default_rng(ranks.rank if sys.argv[1] == "other data" else 0)
X, y = rng.normal(size=(40, 3)), rng.integers(0, 2, 40)

def callback(epoch):
    if ranks.rank == 1 and sys.argv[1] == "one fails":
        raise RuntimeError("this rank fails")
    return ranks.rank == 1 and epoch.epoch == 2

model = sn.Network(3, [sn.dense(2)], "softmax_cross_entropy").compile(seed=ranks.rank if sys.argv[1] == "seed" else 0)
history = model.fit(X, y, 1000, 8, callbacks=callback, ranks=ranks)
print(f"epochs {len(history)} {history.stopped}\\n", end="")  # one write: lines of ranks may mix
"""


def test_a_script_trains_with_ranks(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)

    def run(how: str) -> tuple[int, str, str]:
        return ended(start(2, tmp_path / "script.py", how))

    code, out, err = run("callback")
    assert (code, out) == (0, "epochs 3 callback\n" * 2), err
    code, out, err = run("one fails")
    assert code and "this rank fails" in err and "epochs" not in out
    code, out, err = run("other data")
    assert code and "other data on rank 1 than on rank 0" in err
    code, out, err = run("seed")
    assert code and "other seed on rank 1 than on rank 0" in err


def test_without_mpi4py_several_processes_are_refused(spec: Path) -> None:
    (spec.parent / "mpi4py").mkdir()
    (spec.parent / "mpi4py" / "__init__.py").write_text("raise ImportError('none')")
    process = start(2, "-m", "symnet", "train", spec, PYTHONPATH=f"{spec.parent}:{ROOT}")
    code, _, err = ended(process)
    assert code and 'pip install "symnet[mpi]"' in err
    assert "epoch 4/4" in ended(start(1, "-m", "symnet", "train", spec, PYTHONPATH=f"{spec.parent}:{ROOT}"))[1]


def test_the_example_trains_with_two_ranks(tmp_path: Path) -> None:
    out = trained(2, ROOT / "examples" / "digits.toml", "--model", tmp_path / "model")
    assert float(out.rpartition("accuracy ")[2].split(" ")[0]) > 95
