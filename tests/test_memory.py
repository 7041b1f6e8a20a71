"""The estimate of memory at the door of `compile`: near what is allocated, and an error before anything is."""

import time

import numpy as np
import pytest

import symnet as sn
from symnet.declare.spec import checked_optimizer
from symnet.run import memory

BIG = 3 * 10**4


def network(units):
    return sn.Network(input=units, layers=[sn.dense(units), sn.dense(10)], loss="softmax_cross_entropy")


def estimated(net, optimizer, itemsize, batch):
    return memory.estimate(net.spec, checked_optimizer(optimizer, "optimizer"), itemsize, batch)


@pytest.mark.parametrize("memory_limit", [None, 10**10])
def test_a_network_that_does_not_fit_is_one_error_at_once(monkeypatch, memory_limit):
    monkeypatch.setattr(memory, "physical", lambda: 24 * 10**9)
    net, start = network(BIG), time.perf_counter()
    with pytest.raises(sn.SymnetError, match=r"about 28\.8 GB to train, expected at most 1[02]\.0 GB, .*memory_limit="):
        net.compile("adam", memory_limit=memory_limit)
    assert time.perf_counter() - start < 2


def test_a_limit_is_a_number_of_bytes_and_a_higher_one_lets_a_network_in(monkeypatch):
    monkeypatch.setattr(memory, "physical", lambda: 1000)
    net = network(8)
    with pytest.raises(sn.SymnetError, match=r"at most 500\.0 bytes, half of this machine's memory"):
        net.compile("adam")
    assert net.compile("adam", memory_limit=1e6).parameters["dense1.W"].shape == (8, 8)
    for wrong in (0, -1, "1 GB", True, float("nan")):
        with pytest.raises(sn.SymnetError, match="memory_limit: found"):
            net.compile("adam", memory_limit=wrong)


def test_a_system_that_does_not_tell_its_memory_sets_no_limit(monkeypatch):
    def sysconf(name):
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(memory.os, "sysconf", sysconf)
    assert memory.physical() is None
    memory.check(network(BIG).spec, checked_optimizer("adam", "optimizer"), 4)


def test_an_optimizer_with_more_states_a_wider_dtype_and_a_larger_batch_take_more():
    net, parameters = network(100), 101 * 100 + 101 * 10
    plain = estimated(net, "gradient_descent", 4, 32)
    assert estimated(net, "adam", 4, 32) == plain + 2 * 2 * 4 * parameters
    assert estimated(net, "gradient_descent", 8, 32) > plain
    assert estimated(net, "gradient_descent", 4, 64) == plain + 2 * 4 * 32 * (100 + 100 + 10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_estimate_is_near_the_memory_of_the_compiled_step(dtype):
    net = network(300)
    model = net.compile("adam", dtype)
    rng = np.random.default_rng(0)
    model.fit(rng.normal(size=(64, 300)), rng.integers(0, 10, 64), epochs=1, batch_size=32)
    taken = model.memory.block.nbytes + model.memory.persistent.nbytes  # with the copy of the last finite ones
    assert taken / 1.5 < estimated(net, "adam", np.dtype(dtype).itemsize, 32) < 2 * taken
