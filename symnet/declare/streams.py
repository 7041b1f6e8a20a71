"""Uniform numbers of many seeds at once: row s is what `default_rng([seeds[s], position]).random(count)` gives.

NumPy's SeedSequence and PCG64, which keep their streams, on arrays of seeds: 10,000 generators take 130 ms to make one
by one.  Sources: O'Neill 2014 (PCG XSL RR 128/64), O'Neill 2015 (seed_seq_fe, as SeedSequence has it).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Wide = tuple[Array, Array]  # 128 bits: high, low
MASK = 2**32 - 1
HALF = np.uint64(32)
MULTIPLIER = (np.uint64(0x2360ED051FC65DA4), np.uint64(0x4385DF649FCCF645))


def uniform(seeds: Sequence[int], position: int, count: int) -> Array:
    """Shape (seeds, count), from 0 to below 1."""
    with np.errstate(over="ignore"):
        words = [word.astype(np.uint64) for word in _words(seeds, position)]
        high, low, more, less = (words[k] | words[k + 1] << HALF for k in range(0, 8, 2))
        increment = (more << np.uint64(1) | less >> np.uint64(63), less << np.uint64(1) | np.uint64(1))
        state = _step(_sum(increment, (high, low)), increment)
        made = np.empty((len(high), count))
        for k in range(count):
            state = _step(state, increment)
            mixed, turn = state[0] ^ state[1], state[0] >> np.uint64(58)
            number = mixed >> turn | mixed << (-turn & np.uint64(63))
            made[:, k] = (number >> np.uint64(11)) * 2.0**-53
    return made


def _words(seeds: Sequence[int], position: int) -> list[Array]:
    """The first 8 words of the SeedSequence of [seed, position], each of 32 bits."""
    given = np.array(seeds, np.uint64)
    low, high = given.astype(np.uint32), (given >> HALF).astype(np.uint32)
    place, none = np.uint32(position), np.zeros_like(low)
    entropy = [low, np.where(high > 0, high, place), np.where(high > 0, place, none), none]
    factor = 0x43B0D7E5

    def hashed(value: Array, times: int) -> Array:
        nonlocal factor
        value = value ^ np.uint32(factor)
        factor = factor * times & MASK
        value = value * np.uint32(factor)
        return value ^ value >> np.uint32(16)

    pool = [hashed(word, 0x931E8875) for word in entropy]
    for source in range(4):
        for other in range(4):
            if other != source:
                term = hashed(pool[source], 0x931E8875) * np.uint32(0x4973F715)
                mixed = pool[other] * np.uint32(0xCA01F9DD) - term
                pool[other] = mixed ^ mixed >> np.uint32(16)
    factor = 0x8B51F9DD
    return [hashed(pool[k % 4], 0x58F38DED) for k in range(8)]


def _sum(a: Wide, b: Wide) -> Wide:
    low = a[1] + b[1]
    return a[0] + b[0] + (low < b[1]), low


def _step(state: Wide, increment: Wide) -> Wide:
    """state * MULTIPLIER + increment, modulo 2^128"""
    (a, b), (c, d) = state, MULTIPLIER
    mask = np.uint64(MASK)
    b0, b1, d0, d1 = b & mask, b >> HALF, d & mask, d >> HALF
    low, middle = b0 * d0, b1 * d0
    middle += low >> HALF
    other = b0 * d1 + (middle & mask)
    high = b1 * d1 + (middle >> HALF) + (other >> HALF)
    return _sum((high + a * d + b * c, b * d), increment)
