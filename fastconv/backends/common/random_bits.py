"""The random bits of dropout, which are the same in every engine.

Whether element ``i`` (its position in logical C order) is kept depends only on a seed and on ``i``, by
SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014). So the same elements
are dropped in every engine, with any number of threads and any memory layout. All numbers are unsigned 64-bit
integers, and overflow is cut off (modulo 2^64)::

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
    """The smallest 24-bit number with which an element is kept; ``p`` is the probability of dropping it."""
    return np.uint64(floor(p * 2**24))


def bits24(z):
    """24 random bits for the number ``z``. ``z`` is an array of uint64, or, in compiled kernels, a number."""
    z = (z ^ (z >> _30)) * _MIX_1
    z = (z ^ (z >> _27)) * _MIX_2
    return (z ^ (z >> _31)) >> _40
