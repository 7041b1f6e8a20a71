"""Foreign input: hostile specs, damaged files, kernels between guard pages; each in a process of its own judge.

What runs here is the corpus and a sample; tests/RESULTS.md has the long runs of the same commands.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import symnet as sn

from .hostile import generated
from .sandbox import Summary, in_a_process
from .values.hostile_corpus import corpus


def judged(module: str, *arguments: str) -> Summary:
    found = in_a_process(module, *arguments)
    assert not found.wrong, "\n".join(f"{v['label']}: {v['wrong']}" for v in found.wrong[:20])
    return found


def test_hostile_specs_give_errors_or_networks_and_do_nothing_else() -> None:
    found = judged("tests.hostile", "--sample", "500", "--seed", "7")
    assert found.count - 500 == len(list(corpus())) >= 500
    assert set(found.ended) == {"accepted", "refused"} and found.ended["refused"] > 0.8 * found.count


def test_generated_specs_are_the_same_for_the_same_seed() -> None:
    assert [str(generated(3, k)) for k in range(50)] == [str(generated(3, k)) for k in range(50)]
    assert str(generated(3, 1)) != str(generated(4, 1))


def test_damaged_model_files_are_refused_or_are_the_model_that_was_saved() -> None:
    found = judged("tests.damaged", "--count", "150", "--seed", "7")
    assert found.count == 150 and found.ended["refused"] >= 140


FORBIDDEN = (
    ("eval('1')", "compile"),
    ("open('/etc/passwd')", "open"),
    ("import this", "import"),
    ("import os; os.system('true')", "os.system"),
    ("import ctypes; ctypes.CDLL(None)", "ctypes.dlopen"),
    ("import time\nwhile time.process_time() < 20: pass", "not at its end"),
    ("bytearray(10**10)", "MemoryError"),
    ("1/0", "ZeroDivisionError"),
    ("list(range(3 * 10**6))", "took"),
    ("from symnet.errors import SymnetError; raise SymnetError('\\x1b[31m')", "a message with"),
    ("from symnet.errors import SymnetError; raise SymnetError('x' * 10**4)", "a message of 10000 characters"),
    ("from symnet.errors import SymnetError; raise SymnetError('no')", ""),
)
JUDGE = """
import ctypes, json, sys, types
import tests.sandbox
tests.sandbox.STOP = 0.5
judge = tests.sandbox.Judge(seconds=0.02)
steps = [types.FunctionType(compile(code, "given", "exec"), {}) for code in json.loads(sys.argv[1])]
judge.start()
print(json.dumps([judge.verdict("", step).wrong for step in steps]))
"""


def test_the_memory_of_a_process_is_its_own_and_not_that_of_the_one_that_started_it(root: Path) -> None:
    held = bytearray(b"1") * (200 << 20)
    code = "from tests.sandbox import peak; first = peak(); held = bytearray(b'1') * (50 << 20); print(first, peak())"
    found = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout
    first, last = map(float, found.split())
    assert first < len(held) / 2**21 and 40 < last - first < 60


def test_the_judge_hears_what_is_forbidden(root: Path) -> None:
    codes = json.dumps([code for code, _ in FORBIDDEN])
    run = subprocess.run([sys.executable, "-c", JUDGE, codes], cwd=root, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    for (code, heard), wrong in zip(FORBIDDEN, json.loads(run.stdout.splitlines()[-1]), strict=True):
        assert heard in wrong if heard else not wrong, f"{code}: {wrong}"


# ---------------------------------------------------------------------------------------------- single findings
SMALL = '[network]\ninput = 3\nloss = "squared_error"\n[[layer]]\nkind = "dense"\nunits = 1\n'


def refused(given: Any) -> str:
    with pytest.raises(sn.SymnetError) as caught:
        sn.Network.from_toml(given) if isinstance(given, str) else sn.Network(**given)
    return str(caught.value)


@pytest.mark.parametrize(
    "formula", ["9**(where(x < 0, 9**60, x))", "a**e**c*x", "(((x**64)**64)**64)**64", "x**40*x**40"]
)
def test_powers_are_limited_wherever_their_exponents_come_from(formula: str) -> None:
    given = {"formula": formula, "parameters": dict.fromkeys("aec", 9), "learned": []}
    layers = [{"kind": "dense", "units": 1, "activation": given}]
    assert "power" in refused({"input": 3, "layers": layers, "loss": "squared_error"})


@pytest.mark.parametrize("path", ["/etc/hosts.csv", "../a.csv", "a/../../b.npz", "C:\\a.npy", "..\\a.npy"])
def test_a_spec_in_text_names_no_file_outside_its_folder(path: str) -> None:
    constants = f"[network.constants]\nA = '{path}'\n"
    assert "inside the folder of the spec" in refused(SMALL.replace("[[layer]]", f"{constants}[[layer]]"))
    assert "inside the folder of the spec" in refused(f"{SMALL}[train]\ndata = 'a.csv'\nmodel = '{path}'\n")


@pytest.mark.parametrize("value", ["{ identity = 1000000000 }", "{ edges = [[0, 1]], nodes = 1000000000 }"])
def test_a_graph_of_a_billion_nodes_is_refused_before_anything_is_allocated(value: str) -> None:
    network = '[network]\nloss = "squared_error"\n'
    layer = '[[layer]]\nkind = "graph_conv"\nunits = 1\nfeatures = "A"\ngraph = "A"\n'
    assert "at most 262144" in refused(f"{network}[network.constants]\nA = {value}\n{layer}")


def test_an_equation_may_go_on_while_a_bracket_is_open_and_errors_count_its_lines() -> None:
    layer = {"kind": "equations", "equations": "y[n,i] = (x[n,i]  # a comment (\n  + 1)\n\nz[n,i] = y[n,i]**2"}
    given = {"input": 3, "layers": [layer], "loss": "squared_error"}
    plain = {**layer, "equations": "y[n,i] = x[n,i] + 1\nz[n,i] = y[n,i]**2"}
    assert sn.Network(**given).show() == sn.Network(**(given | {"layers": [plain]})).show()
    for text, line in (("y[n,i] = (x[n,i]\n+ 1)\nz[n,i] = $", 3), ("y[n,i] = 1\nz[n,i] = (y[n,i]\n", 2)):
        assert f"line {line}, column" in refused(given | {"layers": [{**layer, "equations": text}]})


def test_an_output_of_more_axes_than_there_are_letters_is_refused() -> None:
    letters = "ijklmop"
    text = f"z[n,{','.join(letters)}] = " + "*".join(f"x[n,{letter}]" for letter in letters)
    layer = {"kind": "equations", "equations": text}
    assert "found 7 axes, expected at most 6" in refused({"input": 3, "layers": [layer], "loss": "squared_error"})


def test_numbers_that_no_float_can_hold_are_refused() -> None:
    dense = {"kind": "dense", "units": 1}
    for more in ({"l2": 10**400}, {"layers": [{**dense, "initializer": [[10**400] * 3]}]}, {"loss": ""}):
        refused({"input": 3, "layers": [dense], "loss": "squared_error"} | more)


def test_a_longer_text_is_read_if_the_caller_says_so() -> None:
    text = SMALL + "# " + "x" * 70_000 + "\n"
    assert "at most 65536" in refused(text)
    assert sn.Network.from_toml(text, length=100_000) == sn.Network.from_toml(SMALL)


# ---------------------------------------------------------------------------------------------- memory
def guarded(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.guarded", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True)


def test_kernels_touch_nothing_beyond_their_arrays(root: Path) -> None:
    run = guarded(root, "--few")
    assert run.returncode == 0, run.stderr[-2000:]
    assert "nothing beyond an array" in run.stdout


def test_a_kernel_that_reads_one_element_too_far_is_caught(root: Path) -> None:
    assert guarded(root, "--broken", "read").returncode == -11  # the processor's own judgement: SIGSEGV
