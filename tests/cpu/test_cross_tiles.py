"""Register tiles of processors that are not here: which one is chosen, what LLVM makes of it, and its results
where a processor has no masked loads."""

import ctypes

import cross_tiles
import llvmlite.binding as llvm
import numpy as np
import pytest
from numba import types

from fastconv.backends.cpu.codegen import depthwise_tile, gemm_tile, jit
from fastconv.backends.cpu.codegen.emitter import Emitter
from fastconv.backends.cpu.codegen.target import Target, target_of

SSE, NEON = Target(16, 16, False, 6), Target(16, 32, False, 12)
AVX2, AVX512 = Target(32, 16, True, 6), Target(64, 32, True, 14)


@pytest.mark.parametrize(
    "triple, features, expected",
    [
        ("x86_64-unknown-linux-gnu", "+sse2,+avx,+avx2,+fma,+avx512f", AVX512),
        ("x86_64-pc-windows-msvc", "+avx,+avx2,+fma,-avx512f", AVX2),
        ("x86_64-unknown-linux-gnu", "", SSE),
        ("aarch64-unknown-linux-gnu", "+neon,+crc,+sve", NEON),
        ("aarch64-unknown-linux-gnu", "", NEON),
        ("arm64-apple-darwin23.1.0", "", NEON),  # LLVM lists nothing there
        ("aarch64-apple-darwin", "", NEON),
        ("powerpc64le-unknown-linux-gnu", "+altivec", SSE),
    ],
)
def test_the_target_follows_from_the_description_of_the_processor(triple, features, expected):
    assert target_of(triple, features) == expected


def test_the_tile_is_that_of_this_processor():
    target = target_of(*jit.machine()[::2])
    assert gemm_tile.MAX_ROWS == target.tile_rows
    assert depthwise_tile.most_pixels(3) == depthwise_tile.most_pixels(3, target.registers)


@pytest.mark.parametrize("name", cross_tiles.PROCESSORS)
def test_inner_loops_keep_their_sums_in_registers(name):
    """The largest tile; tools/cross_tiles.py, which .ci/run runs, compiles the others."""
    processor = cross_tiles.PROCESSORS[name]
    why = cross_tiles.missing(processor)
    if why is not None:
        pytest.skip(f"this llvmlite has no such target: {why}")
    target = target_of(processor.triple, processor.features)
    found = cross_tiles.whole_loops(processor, cross_tiles.gemm_tile_code(target, target.tile_rows))
    # columns that are no whole tile have a loop over whole vectors too, unless there are masks
    assert len(found) == (1 if target.has_masks else 2)
    for loop in found:
        assert cross_tiles.faults(loop, cross_tiles.MOST_GEMM) == []
        assert loop.multiply_adds == 2 * target.tile_rows and loop.moves == loop.reloads == 0


def test_a_tile_that_needs_more_registers_is_found(capsys):
    if cross_tiles.missing(cross_tiles.PROCESSORS["cortex-a72"]):
        pytest.skip("this llvmlite compiles for no 64-bit ARM processor")
    assert cross_tiles.main(["cortex-a72", "--rows", "14"]) == 1
    assert "WRONG: cortex-a72, gemm 14 x 2: " in capsys.readouterr().out


def test_a_missing_target_is_said(monkeypatch, capsys):
    monkeypatch.setattr(cross_tiles, "missing", lambda processor: "no targets")
    assert cross_tiles.main(["cortex-a72"]) == 0
    assert "SKIPPED: cortex-a72: this llvmlite has no such target (no targets)" in capsys.readouterr().out


def test_what_counts_as_what():
    loop = cross_tiles.loops(
        """
tile:
	ldr	q1, [sp, #32]
.LBB0_1:                                // =>This Inner Loop Header
	ldr	q0, [sp, #16]           // 16-byte Folded Reload
	str	q3, [sp]
	mov	v2.16b, v3.16b
	fmla	v2.4s, v1.4s, v0.s[1]
	ldr	q0, [x29, x3]
	//APP
	subs	x1, x1, #1
	b.ne	.LBB0_1
	ret
"""
    )
    assert len(loop) == 1
    assert loop[0][1:] == (1, 1, 1, 1, True) and len(loop[0].code) == 7


# ------------------------------------------------------------------------------------------------- results
def _function(code):
    """A tile compiled for this processor: its address, and what it belongs to."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    emit, count = code
    triple, cpu, features = jit.machine()
    machine = llvm.Target.from_triple(triple).create_target_machine(
        cpu=cpu, features=features, opt=2, jit=True
    )
    compiled = cross_tiles.compiled(cross_tiles.module(emit, count, triple), machine)
    engine = llvm.create_mcjit_compiler(compiled, machine)
    engine.finalize_object()
    return ctypes.CFUNCTYPE(None, ctypes.POINTER(ctypes.c_int64))(engine.get_function_address("tile")), engine


def _call(function, *words):
    function((ctypes.c_int64 * len(words))(*words))


def _behind(values, margin=8):
    """A copy of an array, and the same with numbers behind it that nothing may touch."""
    flat = np.concatenate([values.ravel(), np.full(margin, np.nan, values.dtype)])
    return flat[: values.size].reshape(values.shape), flat[values.size :]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("vectors", [1, 2])
def test_columns_without_masks(vectors, dtype):
    """Every number of columns, with and without what the sums start with and end with; one vector of half the
    width is the tile of very few columns."""
    kind, rng = types.float32 if dtype == np.float32 else types.float64, np.random.default_rng(0)
    lanes, rows, depth = 16 // np.dtype(dtype).itemsize, 5, 7

    def emit(builder, args):
        gemm_tile.emit_tile(Emitter(builder, kind, lanes, has_masks=False), rows, vectors, args, plain=False)

    function, _engine = _function((emit, 16))
    taps = np.zeros(1, np.int64)
    for cols in range(1, vectors * lanes + 1):
        for full in (False, True):
            a, (b, b_behind) = (
                rng.random((rows, depth)).astype(dtype),
                _behind(rng.random((depth, cols)).astype(dtype)),
            )
            (c, c_behind), init = _behind(np.full((rows, cols), 9, dtype)), rng.random(cols).astype(dtype)
            if full:
                c[...] = rng.random((rows, cols))
            want = a @ b + (init + c if full else 0)
            at = [x.ctypes.data for x in (a, taps, b, c, init)]
            _call(
                function,
                *(at[0], depth, 1, at[1], at[2], cols, at[1], 1, depth, at[3], cols),
                *(at[4] if full else 0, 0, cols, at[3] if full else 0, 0),
            )
            np.testing.assert_allclose(c, want, rtol=1e-5)
            assert np.isnan(b_behind).all() and np.isnan(c_behind).all()


@pytest.mark.parametrize("group", [1, 2, 4])
def test_channels_without_masks(group):
    """Two tiles of a depthwise row of three taps, forward and the gradient of its weights, for 1 to 9
    channels, or up to three groups."""
    lanes, taps, pixels, rng = 4, 3, 4, np.random.default_rng(1)

    def forward(builder, args):
        e = Emitter(builder, types.float32, lanes, has_masks=False)
        depthwise_tile.emit_forward(e, pixels, taps, 1, group, args)

    def gradient(builder, args):
        e = Emitter(builder, types.float32, lanes, has_masks=False)
        depthwise_tile.emit_gradient(e, pixels, taps, 1, group, args)

    (run, _a), (run_gradient, _b) = (
        _function((code, len(arguments.split(","))))
        for code, arguments in ((forward, depthwise_tile.FORWARD), (gradient, depthwise_tile.GRADIENT))
    )
    for channels in range(group, 10 if group == 1 else 3 * group + 1, group):
        x, (w, w_behind) = (
            rng.random((10, channels)).astype("f4"),
            _behind(rng.random((3, group, channels)).astype("f4")),
        )
        (y, y_behind), bias = _behind(np.zeros((8, channels), "f4")), rng.random(channels).astype("f4")
        columns = np.arange(10) * x.strides[0]
        table = w.ctypes.data + np.arange(3) * w.strides[0]
        common = (
            2,
            x.ctypes.data,
            4 * x.strides[0],
            columns.ctypes.data,
            6,
            table.ctypes.data,
            w.strides[1],
            1,
            0,
            channels,
            y.ctypes.data,
            y.strides[0],
        )
        below = 1, -x.strides[0], 0, x.strides[0]  # a prefetch may be of any place
        _call(run, *common, bias.ctypes.data, 0, 0, *below)
        # spread[i]: element i of each group, for all channels of its group
        spread = [x[:, np.arange(channels) // group * group + i] for i in range(group)]
        want = bias + sum(spread[i][t : t + 8] * w[t, i] for t in range(3) for i in range(group))
        np.testing.assert_allclose(y, want, rtol=1e-5)
        grown = w + [[(s[t : t + 8] * y).sum(0) for s in spread] for t in range(3)]
        _call(run_gradient, *common)
        np.testing.assert_allclose(w, grown, rtol=1e-5)
        assert np.isnan(w_behind).all() and np.isnan(y_behind).all()
