"""Orders of images, weights and gradients in memory; statistics of batch norm for callers without a tape."""

from __future__ import annotations

import numpy as np
import pytest

from fastconv.backends import load

ORDERS = {"KCHW": (0, 1, 2, 3), "KHWC": (0, 2, 3, 1), "HWCK": (2, 3, 1, 0), "CKWH": (1, 0, 3, 2)}


def in_order(w, order):
    return np.ascontiguousarray(w.transpose(order)).transpose(np.argsort(order))


def drawn(*shape, dtype=np.float32):
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


@pytest.fixture
def engine():
    return load("cpu")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "shape", [(5, 3, 2, 4), (33, 19, 3, 3), (64, 32, 3, 3), (40, 1, 5, 5), (70, 130, 1, 1)]
)
@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_weights_in_every_order(engine, order, shape, dtype):
    w = drawn(*shape, dtype=dtype)
    arranged = engine.conv_arrange(in_order(w, order))
    np.testing.assert_array_equal(arranged, w)
    assert arranged.transpose(2, 3, 1, 0).flags.c_contiguous
    for start in (arranged, w):
        found = engine.in_memory_order(start, order)
        np.testing.assert_array_equal(found, w)
        assert found.transpose(order).flags.c_contiguous


def test_what_is_in_order_is_not_copied(engine):
    w = in_order(drawn(8, 4, 3, 3), ORDERS["HWCK"])
    assert np.shares_memory(engine.conv_arrange(w), w)
    assert engine.in_memory_order(w, ORDERS["HWCK"]) is w


@pytest.mark.parametrize("size", [(7,), (5, 6), (2, 3, 4), (40, 30)])
@pytest.mark.parametrize("channels_last", [False, True])
def test_shuffled_channels_stay_last(engine, size, channels_last):
    """A shuffle as it is usually written, of images whose channels are last in memory and of others."""
    x = drawn(2, 12, *size)
    if channels_last:
        x = np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1)
    moved = engine.permute(engine.reshape(x, (2, 3, 4, *size)), (0, 2, 1, *range(3, 3 + len(size))))
    y = engine.reshape(moved, x.shape)
    np.testing.assert_array_equal(y, x[:, np.arange(12).reshape(3, 4).T.ravel()])
    assert (np.moveaxis(y, 1, -1) if channels_last else y).flags.c_contiguous
    np.testing.assert_array_equal(engine.reshape(moved, (2, y.size // 2)), y.reshape(2, -1))


@pytest.mark.parametrize("residual", [False, True])
def test_batch_norm_from_plain_arrays(engine, residual):
    """``batch_norm_bwd`` with the statistics of ``batch_norm_train_fwd`` is ``batch_norm_train_bwd``."""
    x, gy, other = (drawn(4, 6, 5, 3) for _ in range(3))
    other = other[::-1] if residual else None
    weight, bias = drawn(6) + 2, drawn(6)
    y, saved = engine.batch_norm_train_fwd(x, weight, bias, other, 1e-5, "relu", None, 0.1)
    mean, invstd = engine.batch_norm_train_stats(saved)
    np.testing.assert_allclose(mean, x.mean((0, 2, 3)), atol=1e-6)
    np.testing.assert_allclose(invstd, 1 / np.sqrt(x.var((0, 2, 3)) + 1e-5), rtol=1e-5)
    got = engine.batch_norm_bwd(gy, x, y, mean, invstd, weight, True, "relu", residual)
    want = engine.batch_norm_train_bwd(gy, saved, residual)
    for a, b in zip(got, want):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
