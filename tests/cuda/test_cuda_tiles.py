"""Every tile of implicit GEMM in every mode and pass, on a device, against sums in float64.

Each test is one compiled kernel and all that is asked of it, so a process compiles a kernel once. Without a
device only a small tile runs, on small images. The machine that runs PTX takes a sample of the real tiles.
"""

from __future__ import annotations

import numpy as np
import pytest
from conftest import HAS_GPU, PTX, needs_cuda
from support import tiles
from support.rounding import BITS, distance, rounded
from support.selection import every

import fastconv as fc

pytestmark = needs_cuda
AVAILABLE = fc.cuda.is_available()
KERNELS, SMALL = (tiles.kernels(), tiles.small_kernels()) if AVAILABLE else ([], [])
SHAPES = tiles.SHAPES if HAS_GPU or PTX else tiles.SMALL_SHAPES

#: Relative L2 error against what the mode should compute, sums of exactly rounded inputs. Tensor cores cut
#: off bits where they add products to a sum instead of rounding to nearest.
SUMS = {"fma": 1e-6, "tf32": 2e-5, "bf16_on_read": 2e-5, "bf16": 2e-5}
#: Against the inputs as they are: two of them are rounded to 11 or 8 bits.
INPUTS = {"fma": 1e-6, "tf32": 1e-3, "bf16_on_read": 1e-2, "bf16": 1e-2}

with_real_tiles = pytest.mark.skipif(not (HAS_GPU or PTX), reason="needs a CUDA device")


@pytest.fixture
def engine(monkeypatch):
    """The engine. New arrays hold NaN, so what a kernel does not write is seen."""
    from fastconv.backends.cuda.runtime import memory

    empty = memory.empty

    def poisoned(shape, dtype):
        x = empty(shape, dtype)
        memory.write(x, np.full(x.nbytes, 0xFF, np.uint8).view(x.dtype))
        return x

    before = fc.get_float32_precision()
    monkeypatch.setattr(memory, "empty", poisoned)
    yield fc.backends.load("cuda")
    fc.set_float32_precision(before)


class Case:
    """A convolution that one kernel computes: its inputs, its result, and the result in float64."""

    def __init__(self, engine, kernel, shape):
        from fastconv.backends.cuda.conv import cost

        self.engine, self.kernel = engine, kernel
        self.geometry = tiles.geometry(kernel, shape, SHAPES)
        self.rng = np.random.default_rng(len(shape))
        fc.set_float32_precision(tiles.PRECISION[kernel.mode])
        phase = cost.phases(self.geometry, kernel.which)[0]
        assert cost.packed(cost.mode_of(kernel.dtype), *phase.channels) == kernel.mode
        in_channels, _ = phase.channels
        summed = phase.pixels if kernel.which == "bwd_weight" else phase.taps * in_channels
        self.parts = min(3, -(-summed // kernel.tile.BK))

    def shapes(self):
        """Of the two operands of the pass, of its result, and of a bias."""
        g = self.geometry
        x, w, y = g.x_shape, g.w_shape, g.y_shape
        return {"fwd": (x, w, y), "bwd_data": (y, w, x), "bwd_weight": (x, y, w)}[self.kernel.which]

    def integers(self, *shapes):
        """Small integers: exact in every format, and so are their products and sums."""
        return [self.rng.integers(-4, 5, s).astype(self.kernel.dtype) for s in shapes]

    def numbers(self, *shapes):
        return [self.rng.standard_normal(s).astype(self.kernel.dtype) for s in shapes]

    def want(self, a, b, bias=None, residual=None, relu=False):
        reference = fc.backends.load("numpy")
        a, b = (np.asarray(v, np.float64) for v in (a, b))
        if self.kernel.which == "bwd_weight":
            return reference.conv_bwd_weight(a, b, self.geometry)
        y = (reference.conv_fwd if self.kernel.which == "fwd" else reference.conv_bwd_data)(
            *((a, b, None) if self.kernel.which == "fwd" else (a, b)), self.geometry
        )
        y = y if bias is None else y + bias.reshape(-1, *(1,) * self.geometry.ndim)
        y = y if residual is None else y + residual
        return np.maximum(y, 0) if relu else y

    def run(self, a, b, split_k=1, bias=None, residual=None, relu=False):
        """The result on the device."""
        from fastconv.backends.cuda.conv import cost

        engine, which, geometry = self.engine, self.kernel.which, self.geometry
        a, b, bias, residual = (None if v is None else engine.asarray(v) for v in (a, b, bias, residual))
        with cost.only_plans(cost.Plan(self.kernel.tile, split_k, 1.0)):
            if which == "fwd":
                return engine.conv_fwd(
                    a, b, bias, geometry, "implicit_gemm", residual, "relu" if relu else None
                )
            if which == "bwd_data":
                return engine.conv_bwd_data(a, b, geometry, "implicit_gemm", residual)
            return engine.conv_bwd_weight(a, b, geometry, "implicit_gemm")

    def got(self, *args, **options):
        return self.engine.to_host(self.run(*args, **options))

    def epilogues(self):
        """What may be added to the sums in this pass."""
        _, _, result = self.shapes()
        bias, residual = self.integers((result[1],), result)
        if self.kernel.which == "fwd":
            return {}, {"bias": bias, "residual": residual, "relu": True}
        return ({}, {"residual": residual}) if self.kernel.which == "bwd_data" else ({},)


def check_integers(case):
    """Every bit, with bias, residual and ReLU, in one sum and in parts."""
    a, b = case.integers(*case.shapes()[:2])
    for epilogue in case.epilogues():
        want = case.want(a, b, **epilogue)
        for split_k in {1, case.parts}:
            got = case.got(a, b, split_k, **epilogue)
            np.testing.assert_array_equal(got, want, f"split_k {split_k}, with {list(epilogue)}")


def check_rounding(case):
    """Random numbers, rounded as the mode says and no more; the same bits on each run."""
    a, b = case.numbers(*case.shapes()[:2])
    mode, double = case.kernel.mode, case.kernel.dtype is np.float64
    for split_k in {1, case.parts}:
        got = case.got(a, b, split_k)
        near, far = distance(got, case.want(*(rounded(v, BITS[mode]) for v in (a, b)))), case.want(a, b)
        assert double or near < SUMS[mode], (near, split_k)
        assert distance(got, far) < (1e-14 if double else INPUTS[mode])
        assert mode == "fma" or distance(got, far) > 1e-4, "nothing was rounded"
        np.testing.assert_array_equal(case.got(a, b, split_k), got)


def check_poison(case):
    """NaN comes out as NaN, infinity as infinity or NaN, in all that reads it and nowhere else."""
    a, b = case.integers(*case.shapes()[:2])
    for value in (np.nan, np.inf, -np.inf):
        a.flat[a.size // 2] = value
        with np.errstate(invalid="ignore"):
            want = case.want(a, b)
        got = case.got(a, b, case.parts)
        finite = np.isfinite(want)
        assert 0 < finite.sum() < finite.size
        assert not np.isfinite(got[~finite]).any() and (value == value or np.isnan(got[~finite]).all())
        np.testing.assert_array_equal(got[finite], want[finite])


def check_moments(case):
    """Mean and variance of each channel, which forward leaves for a BatchNorm."""
    from fastconv.backends.cuda.ops import channel_reduce

    a, b = case.numbers(*case.shapes()[:2])
    y = case.run(a, b)
    assert channel_reduce.known_moments(channel_reduce.matrix(y)) is not None
    values = case.engine.to_host(y).astype(np.float64)
    axes = (0, *range(2, values.ndim))
    for got, want in zip(case.engine.batch_norm_stats(y), (values.mean(axes), values.var(axes))):
        np.testing.assert_allclose(case.engine.to_host(got), want, rtol=1e-5, atol=1e-5)


def check(kernel, engine, names):
    for shape in names:
        case = Case(engine, kernel, shape)
        check_integers(case)
        if shape == names[0]:
            check_rounding(case)
            check_poison(case)
            if kernel.which == "fwd":
                check_moments(case)


@with_real_tiles
@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_a_tile(kernel, engine):
    """A real tile on images of more than one block in each direction, whose last blocks are not full."""
    check(kernel, engine, list(SHAPES) if HAS_GPU else ["padded"])


@pytest.mark.skipif(HAS_GPU or PTX, reason="the real tiles run")
@pytest.mark.parametrize("kernel", every([(kernel,) for kernel in SMALL], 3), ids=str)
def test_a_small_tile(kernel, engine):
    """The same with the tile that the simulator chooses by itself."""
    check(kernel, engine, ["padded"])


def test_the_table_is_complete():
    """Each tile of the model is in each pass of its modes."""
    from fastconv.backends.cuda.conv import cost

    rows = {(k.tile, k.mode, k.which) for k in KERNELS if k.dtype is np.float32}
    assert rows == {
        (tile, mode, which)
        for mode, wide in cost.WIDE.items()
        for tile in (*wide, *(() if mode == "bf16" else cost.NARROW))
        for which in tiles.PASSES
    }
    assert {(k.tile, k.which) for k in KERNELS if k.dtype is np.float64} == {
        (tile, which) for tile in cost.DOUBLE for which in tiles.PASSES
    }
    assert len({str(k) for k in KERNELS}) == len(KERNELS)
