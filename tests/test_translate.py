"""Generated source -> LLVM IR: the dialect means what it means in Python, and what Numba makes of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from compiler.calling import call
from compiler.executable import Executable, generate
from compiler.kernels import matmul
from compiler.native import Extern, NativeError, build_source, callable_from
from compiler.translate import Lanes, Untranslatable, translate
from tests.programs import sample


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SYMNET_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def run(text: str, integers: np.ndarray, reals: np.ndarray, by_numba: bool = False) -> None:
    head = "def f(table):\n    i = pointer_i64(table[0])\n    x = pointer_f64(table[1])\n"
    body = "".join(f"    {line}\n" for line in text.splitlines())
    table = np.array([integers.ctypes.data, reals.ctypes.data], np.int64)
    callable_from(build_source(head + body, "f", by_numba=by_numba), "void(i64*)")(table.ctypes.data)


TEXTS = {
    "floor division rounds down": "for k in range(-7, 8):\n    i[k + 7] = k // 3\n    i[k + 22] = k % -3",
    "loops count down and name their last value": "for k in range(9, 2, -3):\n    i[k] += k\ni[0] = k",
    "a while loop, else if and else": (
        "k = 20\nwhile k > 0:\n    if k % 2 == 0:\n        k //= 2\n    elif k == 5:\n        k = 1\n"
        "    else:\n        k -= 1\n    i[k] += 1"
    ),
    "and, or and a choice compute only what decides": (
        "k = 0\nok = k == 1 and i[1000000000] > 0\ni[1] = 1 if ok or k == 0 else i[1000000000]"
    ),
    "chains of comparisons": "for k in range(10):\n    i[k] = 1 if 2 <= k < 7 != 5 else 0",
    "integers and reals together are real": "x[0] = 7 / 2 + 3*x[1]\nx[2] = -x[1] - -2\nk = 1.5\nk = 2\nx[3] = k/4",
    "a variable of integers takes truths, too": "k = 5\nk = i[1] > 0\ni[0] = k + 1\nk = i[1] < 0\ni[2] = 3*k",
    "powers": "for k in range(4):\n    x[k] = x[k + 4]**3 + x[k + 4]**1 + (1 + x[k + 4]**2)**0.5",
    "comparisons with NaN": "n = x[0] - x[0]\nn = n/n\ni[0] = 1 if n != n else 0\ni[1] = 1 if n < 1 or n >= 1 else 0",
    "a return ends it": "i[0] = 1\nif x[0] < 1e9:\n    return\ni[0] = 2",
    "blocks are no scopes": "if x[0] < 0:\n    r = 1.0\nelse:\n    r = 2.0\nr += x[1]\nx[9] = r",
}


@pytest.mark.parametrize("claim", TEXTS)
def test_the_dialect_means_what_it_means_in_python(claim: str) -> None:
    text = TEXTS[claim]
    integers, reals = np.arange(40), np.linspace(0.5, 2, 12)
    expected = integers.tolist(), reals.tolist()

    class Checked(list):
        """A list in which nothing outside is read."""

    space = {"i": Checked(expected[0]), "x": Checked(expected[1])}
    source = "def f():\n" + "".join(f"    {line}\n" for line in text.splitlines())
    exec(source.replace("n = n/n", "n = float('nan')"), space)  # where Python would raise
    space["f"]()
    run(text, integers, reals)
    assert integers.tolist() == space["i"]
    np.testing.assert_allclose(reals, space["x"], rtol=4e-16)


def test_a_name_has_the_kind_of_what_it_is_first_given() -> None:
    reals = np.zeros(3)
    run(
        "f = F32(1)\nf = x[2] + 0.1\nx[0] = f\nd = 0.1\nd = F32(x[2] + 0.1)\nx[1] = d + 0.1",
        np.zeros(1, np.int64),
        reals,
    )
    assert reals.tolist() == [np.float32(0.1), float(np.float32(0.1)) + 0.1, 0]


@pytest.mark.parametrize(
    "text",
    [
        "x = open", "x = table[0].real", "x = [1]", "table[0] = unknown(1)", "x = 1\n    x = 1.5", "import os",
        "x = table + 1.5", "x = lambda: 1", "exp(1, 2)", "def g(): pass", "x = 'text'", "y = 1 << 2", "1[0] = 2",
    ],
)  # fmt: skip
def test_what_is_not_of_the_dialect_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(Untranslatable, match=r"line [23]"):
        translate(f"def f(table):\n    {text}\n", "f", {})
    with pytest.raises(NativeError):
        build_source(f"def f(table):\n    {text}\n", "f")


@pytest.mark.parametrize("text", ["x = table[0](1)", "exp(table=1.0)"])
def test_a_call_that_is_none_of_the_dialect_is_named(text: str) -> None:
    with pytest.raises(Untranslatable, match=r"line 2.*something that is no function"):
        translate(f"def f(table):\n    {text}\n", "f", {})


def test_in_lanes_every_pointer_is_one_to_vectors_but_those_by_name() -> None:
    lines = ("pointer_f64(table[0])[0] = 1.0", "a = pointer_f64(table[1])", "pointer_f64(table[2])[0] = a[0]")
    text = translate("def f(table):\n" + "".join(f"    {line}\n" for line in lines), "f", {}, Lanes(4, frozenset("a")))
    assert (text.count("store <4 x double>"), text.count("load double,")) == (2, 1)


def test_numba_makes_the_same_of_a_generated_kernel() -> None:
    """A judge that shares nothing with the translator but the emitters: equal bits, but for sums in another order."""
    for seed in (3, 8):
        case = sample(seed)
        text, calls, _, manifest = generate(case.program, "float64", None, dict(case.sizes))
        namespace: dict[str, Extern] = {}
        depends = []
        for name, spec in calls.items():
            built, namespace[name] = matmul.build(spec)
            depends.append(built)
        one = build_source(text, "kernel", namespace, depends)
        other = build_source(text, "kernel", namespace, depends, by_numba=True)
        assert one.address != other.address
        results = [call(Executable(f.address, text, manifest), case.values, case.sizes) for f in (one, other)]
        for name in results[0]:
            np.testing.assert_allclose(results[0][name], results[1][name], rtol=1e-13, atol=1e-13, err_msg=name)


def test_the_translator_leaves_numba_alone() -> None:
    code = (
        "import sys\nfrom compiler import native\n"
        "native.build_source('def f(table):\\n    table[0] = 41 + 1 + 0*table[0]\\n', 'f')\n"
        "print([name for name in ('numba', 'sympy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("power", "products"), [(1, 0), (2, 1), (3, 2), (64, 6), (65, 0), (-2, 0)])
def test_a_whole_power_up_to_64_is_written_as_products(power: int, products: int) -> None:
    text = translate(f"def f(table):\n    x = pointer_f64(table[0])\n    x[0] = x[1]**{power}\n", "f", {})
    assert (text.count("fmul "), "pow" in text) == (products, not 0 < power <= 64)


def test_a_choice_of_a_truth_or_an_integer_is_an_integer() -> None:
    for chosen, expected in ((1, 1), (0, 2**62 + 1)):
        integers = np.array([0, 5, chosen, 2**62 + 1])
        run("i[0] = i[1] > 0 if i[2] > 0 else i[3]", integers, np.zeros(1))
        assert integers[0] == expected
