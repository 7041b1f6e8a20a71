"""The arena: values that live at once never overlap, and the block is hardly larger than what must live at once."""

from __future__ import annotations

from time import perf_counter

import numpy as np
import pytest

import symnet as sn
from compiler.executable import generate, plan_storage
from compiler.memory import _alive_at_once, _by_size, _by_time
from compiler.passes.cost import cost, equation_cost
from compiler.program import Program, Tensor
from symnet.run.report import describe


def random_ranges(seed: int) -> dict[Tensor, tuple[int, int, int]]:
    rng = np.random.default_rng(seed)
    first = sorted(rng.integers(0, 40, 30).tolist())
    return {
        Tensor(f"t{k}", (), "value"): (start, start + int(rng.integers(0, 12)), 16 * int(rng.integers(1, 9)))
        for k, start in enumerate(first)
    }


@pytest.mark.parametrize("plan", [_by_time, _by_size])
def test_what_lives_at_once_does_not_overlap(plan) -> None:
    for seed in range(40):
        ranges = random_ranges(seed)
        offsets, length = plan(ranges)
        for one, (first, last, size) in ranges.items():
            assert offsets[one] >= 0 and offsets[one] + size <= length
            for other, (begin, end, taken) in ranges.items():
                if one != other and begin <= last and first <= end:
                    apart = offsets[one] + size <= offsets[other] or offsets[other] + taken <= offsets[one]
                    assert apart, (seed, one, other)
        assert length >= _alive_at_once(ranges)


def test_the_least_that_lives_at_once_is_counted_by_hand() -> None:
    a, b, c = (Tensor(name) for name in "abc")
    assert _alive_at_once({a: (0, 2, 10), b: (2, 3, 5), c: (3, 4, 7)}) == 15


NETWORKS = {
    "plain": ([64], [sn.dense(64, "relu"), sn.dense(32, "relu"), sn.dense(10)]),
    "skip": ([32], [sn.dense(32, "tanh", name="a"), sn.dense(64, "swish"), sn.dense(32, name="c"), sn.add("a", "c")]),
    "recurrent": ([16, 8], [sn.lstm(16), sn.dense(10)]),
    "windows": ([8, 8, 1], [sn.conv2d(8, 3, activation="relu"), sn.max_pool2d(2), sn.flatten(), sn.dense(10)]),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_arena_is_at_most_a_fifth_above_what_must_live_at_once(name: str) -> None:
    shape, layers = NETWORKS[name]
    network = sn.Network(shape, layers, "softmax_cross_entropy")
    program = network.training_program("adam")
    manifest = generate(program, "float32", plan_storage(program, "float32"), {"N": 32})[3]
    arena = manifest["arena"]
    assert arena["lower_bound"] <= arena["elements"] <= 1.2 * arena["lower_bound"]
    [planned] = (row["count"] for row in manifest["stages"] if row["name"] == "memory")
    assert planned[0] >= planned[1] == arena["elements"]


def test_the_report_has_flops_and_bytes_of_each_pass() -> None:
    network = sn.Network(3, [sn.dense(2, name="a")], "squared_error")
    program = network.training_program("gradient_descent")
    start = perf_counter()
    manifest = generate(program, "float32", plan_storage(program, "float32"), {"N": 10})[3]
    milliseconds = 1e3 * (perf_counter() - start)
    assert 0 < sum(row["milliseconds"] for row in manifest["stages"]) <= milliseconds
    header, first, *_ = describe(manifest).splitlines()
    assert header.split()[:6] == ["pass", "equations", "operations", "functions", "flops", "bytes"]
    counted = cost(program.live(), {"N": 10})
    assert f" {counted.operations} " in first or f" {counted.operations:,} " in first
    assert f" {4 * counted.elements} " in first or f" {4 * counted.elements:,} " in first


def test_cost_is_counted_by_hand() -> None:
    network = sn.Network(3, [sn.dense(2, name="a")], "squared_error")
    (product, bias) = network.forward
    found = equation_cost(product, {"N": 5})
    assert (found.operations, found.elements) == (5 * 2 * 3 * 2, 10 + 6 + 15)
    assert equation_cost(bias, {"N": 5}).operations == 0
    both = cost(Program((product, bias), (bias.tensor,)), {"N": 5})
    assert (both.operations, both.elements) == (5 * 2 * 3 * 2, 10 + 6 + 15 + 10 + 2)
