"""Copies between arrays of any strides: what NumPy copies, and nothing beside it."""

from __future__ import annotations

import numpy as np
import pytest
from support.selection import every

from fastconv.backends.cpu.runtime import strided_copy


def drawn(rng, shape, dtype):
    """An array of ``shape`` in memory of any order, with steps and directions, inside another one."""
    order = rng.permutation(len(shape))
    steps = [int(rng.choice([1, 1, 2, -1])) for _ in shape]
    around = np.zeros([abs(steps[i]) * shape[i] + 2 for i in order], dtype)
    inner = around.transpose(np.argsort(order))
    slices = []
    for extent, step in zip(shape, steps):
        first = 1 if step > 0 else extent
        stop = first + step * extent
        slices.append(slice(first, stop if stop >= 0 else None, step))
    return around, inner[tuple(slices)]


@pytest.mark.parametrize("seed", every(range(24), 6))
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "int16", "bool", "float16", "complex128"])
def test_any_strides(dtype, seed, monkeypatch):
    monkeypatch.setattr(strided_copy, "SMALL", 1)
    rng = np.random.default_rng(seed)
    for _ in range(40):
        n = int(rng.integers(1, 6))
        shape = tuple(int(s) for s in rng.integers(1, (300, 60, 24, 12, 8)[n - 1], n))
        _, x = drawn(rng, shape, dtype)
        around, y = drawn(rng, shape, dtype)
        x[...] = rng.integers(0, 100, shape)
        if rng.integers(8) == 0:
            x = np.broadcast_to(x[:1], shape)
        before = around.copy()
        want = x.copy()
        strided_copy.copy(y, x)
        np.testing.assert_array_equal(y, want)
        y[...] = 0
        np.testing.assert_array_equal(around, before)  # nothing beside y has changed


@pytest.mark.parametrize(
    "shape, order",
    [
        ((2, 32, 9, 20), (0, 2, 3, 1)),  # planar images to channels last: transposed in registers
        ((2, 9, 20, 32), (0, 3, 1, 2)),  # and back
        ((500, 4, 4), (0, 2, 1)),  # channels of groups: gathered
        ((40, 3, 5, 2, 7), (4, 3, 2, 1, 0)),
        ((2, 3, 2, 3, 2, 3, 2, 3, 2, 3), (9, 1, 7, 3, 5, 4, 6, 2, 8, 0)),  # more loops than the kernel has
    ],
)
def test_every_kind_of_plane(shape, order, monkeypatch):
    monkeypatch.setattr(strided_copy, "SMALL", 1)
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape).transpose(order)
    y = np.zeros(x.shape, np.float32)
    strided_copy.copy(y, x)
    np.testing.assert_array_equal(y, x)


def test_bits_of_nan_stay(monkeypatch):
    monkeypatch.setattr(strided_copy, "SMALL", 1)
    x = np.full((64, 64), 0x7FA00001, np.uint32).view(np.float32)  # a signalling NaN with a payload
    y = np.empty((64, 64), np.float32)
    strided_copy.copy(y, x.T)
    assert (y.view(np.uint32) == 0x7FA00001).all()


@pytest.mark.parametrize("gap", [0, 5])
@pytest.mark.parametrize("runs", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_interleaved(dtype, runs, gap, monkeypatch):
    """Short axes and long ones that change places, with gaps between the runs, both ways."""
    monkeypatch.setattr(strided_copy, "SMALL", 1)
    rng = np.random.default_rng(0)
    for long, planes in ((7, 2), (8, 70), (9, 1), (16, 3), (17, 2), (33, 5), (100, 2), (4097, 1), (9000, 2)):
        x = rng.integers(1, 99, (planes, runs, long + gap)).astype(dtype)[:, :, gap // 2 : long + gap // 2]
        y = np.zeros((planes + 2, long, runs), dtype)
        strided_copy.copy(y[1:-1], x.transpose(0, 2, 1))
        np.testing.assert_array_equal(y[1:-1], x.transpose(0, 2, 1))
        assert not y[0].any() and not y[-1].any()
        z = np.zeros((planes, runs, long + 6), dtype)
        strided_copy.copy(z[:, :, 3:-3], y[1:-1].transpose(0, 2, 1))
        np.testing.assert_array_equal(z[:, :, 3:-3], x)
        assert not z[:, :, :3].any() and not z[:, :, -3:].any()
