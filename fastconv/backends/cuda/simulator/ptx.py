"""The functions of ``codegen/ptx.py`` in Python, for the simulator.

Instructions of a whole warp meet at a barrier of 32 threads. A copy is complete at once, so the simulator
finds wrong indices and wrong arithmetic, and does not find a missing wait.
"""

from __future__ import annotations

import sys
import threading

import numpy as np
from numba.cuda.simulator.kernelapi import FakeCUDAShared

from ..runtime.array import Flat


def _shared_array(self, shape, dtype, alignment=None):
    """One array per place in the program, as in numba's simulator, which does not know ``alignment``."""
    if shape == 0:
        return np.frombuffer(self._dynshared.data, dtype)
    caller = sys._getframe(1)
    return self._allocations.setdefault((caller.f_code, caller.f_lineno), np.empty(shape, dtype))


FakeCUDAShared.array = _shared_array


def pointer(array):
    return Flat(array)


def read_record(kind):
    """The first elements of an array as a NamedTuple."""
    count = len(kind._fields)
    return lambda array: kind(*(array[i] for i in range(count)))


def copy_async(size: int, l1: bool = True):
    def copy(shared, at, array, index, valid):
        count = size // shared.itemsize
        assert at % count == 0 and (index % count == 0 or not valid), "copy_async: not aligned"
        for i in range(count):
            shared[at + i] = array[index + i] if valid else 0

    return copy


def commit():
    pass


def wait(groups: int):
    return commit


def _load(count):
    def load(array, index):
        assert index % min(count, 16 // array.itemsize) == 0, "load: not aligned"
        return tuple(array[index + i] for i in range(count))

    return load


load2, load4 = _load(2), _load(4)


def _store(array, index, *values):
    assert index % min(len(values), 16 // array.itemsize) == 0, "store: not aligned"
    for i, v in enumerate(values):
        array[index + i] = v


store2 = store4 = _store


def vector_access(vector_width: int):
    return _load(vector_width), lambda array, index, values: _store(array, index, *values)


class _Warp:
    """A warp's 32 threads meet: each leaves its arguments, one computes, each takes its result."""

    def __init__(self):
        self.given, self.results = [None] * 32, None
        self.barrier = threading.Barrier(32, self.compute, timeout=30)

    def compute(self):
        function = self.given[0][0]
        assert all(f is function for f, _ in self.given), "the lanes of a warp call different instructions"
        self.results = function(*zip(*(args for _, args in self.given)))

    @staticmethod
    def together(function):
        """A function for each lane, made of ``function(*one list of 32 per argument) -> 32 results``."""

        def call(*args):
            thread = threading.current_thread()
            warps = vars(thread._manager).setdefault("warps", {})
            warp, lane = warps.setdefault(thread.thread_id // 32, _Warp()), thread.thread_id % 32
            warp.given[lane] = function, args
            warp.barrier.wait()
            return warp.results[lane]

        return call


def _ldmatrix4(transposed):
    def ldmatrix4(shared, index):
        count = 16 // shared[0].itemsize
        assert all(i % count == 0 for i in index), "ldmatrix4: not aligned"
        rows = np.array([[s[i + j] for j in range(count)] for s, i in zip(shared, index)], shared[0].dtype)
        rows = rows.reshape(4, 8, count)
        if transposed:
            rows = np.ascontiguousarray(rows.transpose(0, 2, 1))
        words = rows.view(np.uint32).reshape(4, 32)
        return [tuple(words[:, lane]) for lane in range(32)]

    return _Warp.together(ldmatrix4)


ldmatrix4, ldmatrix4_trans = _ldmatrix4(False), _ldmatrix4(True)


TF32_STEP = np.float64(np.uint32(0x39B17218).view(np.float32))


def tf32(x):
    x = np.float32(x) if isinstance(x, (float, np.floating)) else np.uint32(x).view(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.float32(x + x * TF32_STEP).view(np.uint32)


def _bf16(x):
    """The upper 16 bits of a float32 after rounding to nearest, ties to even."""
    bits = int(np.float32(x).view(np.uint32))
    return 0x7FFF if np.isnan(x) else (bits + 0x7FFF + (bits >> 16 & 1)) >> 16


def pack_bf16(low, high):
    return np.uint32(_bf16(high) << 16 | _bf16(low))


def _mma(halves: int):
    """``mma`` with ``halves`` numbers per register."""

    def numbers(registers):
        words = np.array(registers, np.uint32)  # lane, register -> lane, register, number
        if halves == 1:
            return (words & np.uint32(0xFFFFE000)).view(np.float32)[..., None]
        return np.stack([words << 16, words & 0xFFFF0000], -1).astype(np.uint32).view(np.float32)

    def mma(a, b, c):
        # lane = (g, t); register of A = (k half, m half); of B = k half; of C = (m half, n)
        a = numbers(a).reshape(8, 4, 2, 2, halves).transpose(3, 0, 2, 1, 4).reshape(16, -1)
        b = numbers(b).reshape(8, 4, 2, halves).transpose(2, 1, 3, 0).reshape(-1, 8)
        c = np.array(c, np.float32).reshape(8, 4, 2, 2).transpose(2, 0, 1, 3).reshape(16, 8)
        with np.errstate(all="ignore"):
            d = (c + a.astype(np.float64) @ b.astype(np.float64)).astype(np.float32)
        d = d.reshape(2, 8, 4, 2).transpose(1, 2, 0, 3).reshape(32, 4)
        return [tuple(row) for row in d]

    return _Warp.together(mma)


mma_tf32, mma_bf16 = _mma(1), _mma(2)
