"""Slices of channels that kernels write and read, and the pass that lets them write what is joined."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.selection import full

import fastconv as fc
from fastconv import graph, nn
from fastconv.backends import load
from fastconv.nn import functional as F
from fastconv.spec import adaptive_pool_spec, conv_spec, pool_spec

DTYPES = ["float32", *full("float64")]
MARGIN = 1 << 10  # elements


def within(shape, dtype, before=0, behind=0):
    """NaN in channels-last memory, with margins and so many more channels; and the array's own slice."""
    n, c, *size = shape
    wide = (n, *size, before + c + behind)
    memory = np.full(np.prod(wide, dtype=int) + 2 * MARGIN, np.nan, dtype)
    inner = np.moveaxis(memory[MARGIN:-MARGIN].reshape(wide), -1, 1)
    return memory, inner, inner[:, before : before + c]


def assert_wrote(op, args, like, before, behind, x_at=0):
    """An op gives the same in a slice as elsewhere, and writes nothing else; its input is a slice as well."""
    cpu, x = load("cpu"), args[x_at]
    want = getattr(cpu, op)(*args)
    memory, inner, place = within(want.shape, want.dtype, before, behind)
    _, _, given_x = within(x.shape, x.dtype, behind, before)
    given_x[...] = x
    given_args = (*args[:x_at], given_x, *args[x_at + 1 :])
    got = cpu.result_into(inner, (before, before + want.shape[1]), op, given_args)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(place, got)
    assert got.strides == place.strides and np.isnan(memory).sum() == memory.size - want.size
    np.testing.assert_allclose(getattr(cpu, op)(*given_args), want, rtol=1e-5, atol=1e-5)


@st.composite
def convolutions(draw):
    """A spec, an algorithm that takes it, and the extents of what lies around."""
    ndim = draw(st.sampled_from([1, 2, 2, 2, 3]))

    def each(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(ndim))

    kind = draw(st.sampled_from(["pointwise", "square", "any", "depthwise", "groups"]))
    kernel, stride, padding, dilation = each(1, 4), each(1, 2), each(0, 2), each(1, 2)
    if kind == "pointwise":
        kernel, stride, padding, dilation = ((v,) * ndim for v in (1, 1, 0, 1))
    elif kind == "square":
        kernel, stride, dilation = ((v,) * ndim for v in (3, 1, 1))
    least = [max(d * (k - 1) + 1 - 2 * p, 1) for k, p, d in zip(kernel, padding, dilation)]
    size = tuple(a + draw(st.integers(0, 9)) for a in least)
    batch, c, k = draw(st.integers(0, 3)), draw(st.integers(1, 37)), draw(st.integers(1, 67))
    groups = 1
    if kind == "depthwise":
        groups, c, k = c, c, c
    elif kind == "groups":
        groups, c, k = 3, 3 * -(-c // 3), 3 * -(-k // 3)
    shape = batch, c, *size
    spec = conv_spec(f"conv{ndim}d", shape, (k, c // groups, *kernel), stride, padding, dilation, groups)
    return spec, draw(st.integers(0, 5)), draw(st.integers(0, 19))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("examples", [20, *full(400)])
def test_convolutions_of_slices(examples, dtype):
    """By every algorithm that takes the convolution; what is around slices is neither read nor written."""
    algorithms = load("cpu").CONV_ALGORITHMS

    @settings(max_examples=examples)
    @given(convolutions(), st.sampled_from([None, "relu", ("silu", 0.0, 0.0)]), st.integers(0, 2**32 - 1))
    def check(case, activation, seed):
        (spec, before, behind), rng = case, np.random.default_rng(seed)
        x = rng.standard_normal(spec.x_shape).astype(dtype)
        w = (rng.standard_normal(spec.w_shape) / np.prod(spec.w_shape[1:]) ** 0.5).astype(dtype)
        b = rng.standard_normal(spec.c_out).astype(dtype)
        for algorithm in algorithms:
            if algorithm.refuses(spec, np.dtype(dtype)) is None:
                args = x, w, b, spec, algorithm.name, None, activation
                assert_wrote("conv_fwd", args, x, before, behind)

    check()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("examples", [20, *full(400)])
def test_transposed_convolutions(examples, dtype):
    """With bias and activation, to slices and elsewhere, where the engine says that the op is for them."""
    cpu, reference = load("cpu"), load("numpy")

    @settings(max_examples=examples)
    @given(convolutions(), st.sampled_from([None, "relu", ("silu", 0.0, 0.0)]), st.integers(0, 2**32 - 1))
    def check(case, activation, seed):
        (spec, before, behind), rng = case, np.random.default_rng(seed)
        if not cpu.conv_transpose_pays(spec, np.dtype(dtype)):
            return
        x = rng.standard_normal(spec.y_shape).astype(dtype)
        w = (rng.standard_normal(spec.w_shape) / np.prod(spec.w_shape[1:]) ** 0.5).astype(dtype)
        b = rng.standard_normal(spec.c_in).astype(dtype) if seed % 3 else None
        want = reference.conv_bwd_data(x.astype(float), w.astype(float), spec)
        if b is not None:
            want = want + b.reshape(-1, *(1 for _ in spec.in_size))
        if activation is not None:
            want = reference.unary_fwd(activation if activation == "relu" else activation[0], want)
        for weight in (w, cpu.conv_prepack(w)):
            args = x, weight, b, spec, activation
            assert_wrote("conv_transpose_fwd", args, x, before, behind)
            got = cpu.conv_transpose_fwd(*args)
            tolerance = np.finfo(dtype).eps * (50 + 4 * w[:, 0].size)
            np.testing.assert_allclose(got, want, rtol=0, atol=tolerance)

    check()


@pytest.mark.parametrize("algorithm", ["winograd", "direct", "im2col"])
def test_a_residual_of_a_slice(algorithm):
    rng = np.random.default_rng(0)
    x, added = (rng.standard_normal((2, c, 9, 7)).astype(np.float32) for c in (5, 21))
    w = rng.standard_normal((21, 5, 3, 3)).astype(np.float32)
    spec = conv_spec("conv2d", x.shape, w.shape, padding=1)
    assert_wrote("conv_fwd", (x, w, None, spec, algorithm, added, "relu"), x, 3, 4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 3, 16, 32, 45])
@pytest.mark.parametrize("size", [(9, 8), (1, 1), (7,), (4, 5, 6)])
def test_pooling_of_slices(channels, size, dtype):
    shape, n = (2, channels, *size), len(size)
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    for window, stride, padding in ((3, 2, 1), (2, 2, 0), (7, 1, 3)):
        if window <= min(size) + 2 * padding:
            spec = pool_spec(f"max_pool{n}d", shape, window, stride, padding, 1, False)
            assert_wrote("max_pool_values", (x, spec), x, 3, 2)
            spec = pool_spec(f"avg_pool{n}d", shape, window, stride, padding, 1, False)
            assert_wrote("avg_pool_fwd", (x, spec), x, 3, 2)
    for out in ((1,) * n, tuple(2 * s + 1 for s in size)):
        spec = adaptive_pool_spec(f"adaptive_avg_pool{n}d", shape, out)
        assert_wrote("adaptive_avg_pool_fwd", (x, spec), x, 3, 2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 3, 9, 8), (1, 16, 5), (3, 150, 2, 3, 2), (0, 4, 3, 3), (4, 5, 1, 1)])
@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("adds", [False, True])
def test_batch_norm_of_slices(shape, activation, adds, dtype):
    rng = np.random.default_rng(0)
    x, added = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    vectors = [rng.random(shape[1]).astype(dtype) for _ in range(4)]
    args = (x, *vectors, added if adds else None, activation)
    for before, behind in ((0, 0), (0, 3), (2, 0), (5, 5 * shape[1])):
        assert_wrote("batch_norm_fwd", args, x, before, behind)


def test_slices_are_not_copied():
    """Kernels write into what they are given, and read what they are given."""
    cpu, x = load("cpu"), np.zeros((2, 24, 8, 8), np.float32)
    x = np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1)
    spec = conv_spec("conv2d", (2, 16, 8, 8), (16, 16, 1, 1))
    w = cpu.conv_prepack(np.zeros((16, 16, 1, 1), np.float32))
    wide = cpu.empty((2, 40, 8, 8), x.dtype)
    reads = x[:, 4:20]
    before = [*map(id, (reads, wide))]
    y = cpu.result_into(wide, (8, 24), "conv_fwd", (reads, w, None, spec))
    assert np.shares_memory(y, wide) and [*map(id, (reads, wide))] == before
    whole = cpu.concatenate_into(wide, (8, 24), (y,))
    assert whole.ctypes.data == y.ctypes.data and whole.strides == y.strides


# ------------------------------------------------------------------------------------------------- the pass
class Net(nn.Module):
    """Layers by name; ``run(layers, x)`` is the forward."""

    def __init__(self, run, **layers):
        super().__init__()
        self.layers, self.run = nn.ModuleDict(layers), run

    def forward(self, x):
        return self.run(self.layers, x)


def conv(c, k, kernel=1, **options):
    return nn.Conv2d(c, k, kernel, padding=kernel // 2, **options)


def fire(m, x):
    x = F.relu(m["squeeze"](x))
    return m["last"](fc.cat([F.relu(m["left"](x)), F.relu(m["right"](x))], 1))


def growing(m, x):
    """As most write DenseNet."""
    x = F.max_pool2d(m["stem"](x), 2)
    for i in range(3):
        y = m[f"conv{i}"](F.relu(m[f"norm{i}"](x)))
        x = fc.cat([x, m[f"spatial{i}"](y)], 1)
    return F.relu(m["norm3"](x)).mean((2, 3))


def listed(m, x):
    """As torchvision writes it."""
    found = [F.max_pool2d(m["stem"](x), 2)]
    for i in range(3):
        y = m[f"conv{i}"](F.relu(m[f"norm{i}"](fc.cat(found, 1))))
        found.append(m[f"spatial{i}"](y))
    return F.relu(m["norm3"](fc.cat(found, 1))).mean((2, 3))


def dense_layers(c=6, growth=5):
    layers = {"stem": conv(3, c, 3)}
    for i in range(3):
        layers[f"norm{i}"], layers[f"conv{i}"] = nn.BatchNorm2d(c), conv(c, 7)
        layers[f"spatial{i}"] = conv(7, growth, 3)
        c += growth
    return {**layers, "norm3": nn.BatchNorm2d(c)}


def skips(m, x):
    a = F.relu(m["a"](x))
    b = F.relu(m["b"](F.max_pool2d(a, 2)))
    return m["last"](fc.cat([a, F.interpolate(b, scale_factor=2)], 1))


def decoder(m, x):
    """As U-Net: what is joined is also pooled, and the other half comes from a transposed convolution."""
    a = F.relu(m["a"](x))
    b = F.relu(m["b"](F.max_pool2d(a, 2)))
    return m["last"](fc.cat([a, F.relu(m["norm"](m["up"](b)))], 1)), m["other"](b).sigmoid()


def inception(m, x):
    y = [m["a"](x), m["b"](x), F.max_pool2d(x, 3, 1, 1), F.avg_pool2d(x, 3, 1, 1)]
    return F.relu(m["last"](fc.cat(y, 1)))


def twice(m, x):
    """A result that is joined in two arrays, and twice in one."""
    y, z = m["a"](x), m["b"](x)
    return m["last"](fc.cat([y, z, y], 1)), m["other"](fc.cat([z, y, x], 1))


def in_others(m, x):
    """A joined array in the middle of another."""
    inner = fc.cat([m["a"](x), m["b"](x)], 1)
    outer = fc.cat([m["b"](x[:, :3] * 2), inner, x], 1)
    return m["last"](outer), m["other"](inner)


def results(m, x):
    """What is joined is a result of the net, or is read where it must be dense."""
    y, z = m["a"](x), m["b"](x)
    inner = fc.cat([y, z], 1)
    return m["last"](fc.cat([m["c"](inner[:, :5]), inner, x], 1)), inner * 2, inner, z


def residual(m, x):
    """A sum goes into the convolution, whose result is joined."""
    y = m["a"](x)
    z = y + m["c"](y)
    return m["last"](fc.cat([y, z, m["b"](x)], 1))


NETS = {
    "fire": (fire, {"squeeze": conv(3, 5), "left": conv(5, 7), "right": conv(5, 9, 3), "last": conv(16, 4)}),
    "growing": (growing, dense_layers()),
    "listed": (listed, dense_layers()),
    "skips": (skips, {"a": conv(3, 5, 3), "b": conv(5, 6, 3), "last": conv(11, 4, 3)}),
    "decoder": (
        decoder,
        {
            **{"a": conv(3, 5, 3), "b": conv(5, 6, 3), "up": nn.ConvTranspose2d(6, 7, 2, 2)},
            **{"norm": nn.BatchNorm2d(7), "last": conv(12, 4, 3), "other": nn.ConvTranspose2d(6, 2, 4, 2, 1)},
        },
    ),
    "inception": (inception, {"a": conv(3, 5), "b": conv(3, 19, 5), "last": conv(30, 4, 3)}),
    "twice": (twice, {"a": conv(3, 5), "b": conv(3, 4, 3), "last": conv(14, 4), "other": conv(12, 4)}),
    "in_others": (
        in_others,
        {"a": conv(3, 5), "b": conv(3, 6, 3), "last": conv(20, 4), "other": conv(11, 2)},
    ),
    "results": (results, {"a": conv(3, 5), "b": conv(3, 6, 3), "c": conv(5, 4), "last": conv(18, 4)}),
    "residual": (residual, {"a": conv(3, 5), "b": conv(3, 4), "c": conv(5, 5, 3), "last": conv(14, 4)}),
}
#: How many of the calls write to slices, and how many arrays there are.
WRITES = {
    "fire": (2, 1),
    "growing": (4, 1),
    "listed": (4, 1),
    "skips": (1, 1),
    "decoder": (2, 1),
    "inception": (4, 1),
    "twice": (2, 1),
    "in_others": (3, 1),
    "results": (2, 2),
    "residual": (3, 1),
}


def made(name, dtype=np.float32):
    run, layers = NETS[name]
    net = Net(run, **layers).eval()
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.copy_(fc.randn(*m.running_mean.shape))
            m.running_var.copy_(fc.rand(*m.running_var.shape) + 0.5)
    return net.to(dtype)


def numbers(result):
    return [r.numpy() for r in (result if isinstance(result, tuple) else (result,))]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", NETS)
def test_joined_in_place(name, batch, dtype):
    """The results stay: of the program, and of the net, whose program is recorded; so do earlier results."""
    fc.manual_seed(0)
    cpu, net, shape = (
        load("cpu"),
        made(name, np.dtype(dtype)),
        (batch, 3, 12, 10),
    )
    with fc.backend("cpu"):
        program, _ = graph.capture(net, [fc.randn(*shape, dtype=dtype).array])
        faster = graph.optimize(program, cpu, without=["chains"])  # small layers would be one op
        ops = [call.op for call in faster.calls]
        assert (ops.count("result_into"), ops.count("empty")) == WRITES[name]
        assert "concatenate" not in ops or name == "twice"
        assert "conv_bwd_data" not in ops and ("binary_fwd" in ops) == (name in ("in_others", "results"))
        again = graph.optimize(faster, cpu, without=["chains"])
        assert [call.op for call in again.calls] == ops
        fast, earlier = fc.optimize_for_inference(net), []
        for _ in range(4):
            x = fc.randn(*shape, dtype=dtype)
            want = numbers(net(x))
            got = faster.run(cpu, x.array)
            for a, b in zip(want, got if isinstance(got, tuple) else [got]):
                np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5)
            earlier.append((want, fast(x)))
        for want, got in earlier:
            for a, b in zip(want, numbers(got)):
                np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5)


def test_other_axes_and_other_engines():
    """Rows that are joined, dense results, joined inputs, and engines without these ops stay as they are."""

    def rows(x):
        return fc.cat([F.relu(x), x], 2)

    def vectors(x):
        y = x.mean((2, 3))
        return fc.cat([y, y * 2], 1)

    def inputs(x):
        return fc.cat([x, x * 2], 1)

    for function in (rows, vectors, inputs):
        program, _ = graph.capture(function, [fc.randn(2, 6, 8, 8).array])
        ops = [call.op for call in graph.optimize(program, load("cpu")).calls]
        assert "concatenate" in ops and "empty" not in ops
    program, _ = graph.capture(made("fire"), [fc.randn(2, 3, 8, 8).array])
    assert "concatenate" in {call.op for call in graph.optimize(program, load("numpy")).calls}


def test_memory_of_joined_arrays():
    """The memory of a slice is counted once, with the array that it is in."""
    program, _ = graph.capture(made("fire"), [fc.randn(1, 3, 24, 24).array])
    joined = graph.optimize(program, load("cpu"), without=["chains"])
    assert joined.memory.peak == (5 + 16) * 24 * 24 * 4  # what both layers read, and what they write
    assert "result_into" in str(joined.table()) and joined.picture().dot()
