"""The random bits of dropout, the same ones in every engine.

Whether element ``i`` (its place in logical C order) is kept depends on a seed and on ``i`` alone, by
SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014). So every engine, number
of threads and memory layout drops the same elements. All numbers are unsigned, of 64 bits, modulo 2^64::

    z = i + seed * SEED_FACTOR
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB
    z = z ^ (z >> 31)
    keep = (z >> 40) >= floor(p * 2^24)
"""

from __future__ import annotations

from math import floor

import numpy as np

SEED_FACTOR = 0x9E3779B97F4A7C15
_30, _27, _31, _40 = (np.uint64(n) for n in (30, 27, 31, 40))
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def start(seed: int) -> np.uint64:
    """``z`` of element 0."""
    return np.uint64(seed * SEED_FACTOR % 2**64)


def threshold(p: float) -> np.uint64:
    """The least number of 24 bits with which an element is kept, if elements are dropped with probability
    ``p``."""
    return np.uint64(floor(p * 2**24))


def bits24(z):
    """24 random bits for the number ``z``; for arrays of uint64 and, compiled, for numbers in kernels."""
    z = (z ^ (z >> _30)) * _MIX_1
    z = (z ^ (z >> _27)) * _MIX_2
    return (z ^ (z >> _31)) >> _40
