"""Ops that compute several layers at once, on any geometry, and the passes that find these layers in nets."""

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

MARGIN = 1 << 10  # elements
ACTIVATIONS = (None, "relu", ("hardtanh", 0.0, 6.0), ("clamp", -0.5, 0.25), ("silu", 0.0, 0.0))


def arrays(rng, shape, dtype, extra=0):
    """Numbers in float64, and the same in channels-last memory between NaN, with NaN channels behind."""
    values = rng.standard_normal(shape).astype(dtype).astype(np.float64)
    moved = np.moveaxis(values, 1, -1)
    place = np.full(moved.size // max(shape[1], 1) * (shape[1] + extra) + 2 * MARGIN, np.nan, dtype)
    inner = place[MARGIN:-MARGIN].reshape(*moved.shape[:-1], shape[1] + extra)[..., : shape[1]]
    inner[...] = moved
    return values, np.moveaxis(inner, -1, 1)


@st.composite
def inverted_residuals(draw):
    """Specs of the three layers; the 1x1 layers may be None, but not both."""

    def pair(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(2))

    kernel, stride, padding, dilation = pair(1, 7), pair(1, 3), pair(0, 4), pair(1, 2)
    least = [max(d * (k - 1) + 1 - 2 * p, 1) for k, p, d in zip(kernel, padding, dilation)]
    size = tuple(a + draw(st.integers(0, 16)) for a in least)
    batch, c, middle, out = (draw(st.integers(*r)) for r in ((0, 3), (1, 40), (2, 67), (1, 67)))
    ends = draw(st.sampled_from(["both", "expand", "project"]))
    expand = None
    if ends != "project":
        expand = conv_spec("conv2d", (batch, c, *size), (middle, c, 1, 1))
    shape = (batch, middle, *size)
    depthwise = conv_spec("conv2d", shape, (middle, 1, *kernel), stride, padding, dilation, middle)
    project = conv_spec("conv2d", depthwise.y_shape, (out, middle, 1, 1)) if ends != "expand" else None
    return expand, depthwise, project


@pytest.mark.parametrize("dtype", ["float32", *full("float64")])
@pytest.mark.parametrize("examples", [15, *full(500)])
def test_separable_layers(examples, dtype):
    """Of any geometry, slices of channels as input, between numbers that must not be read."""
    cpu, reference, step = load("cpu"), load("numpy"), np.finfo(dtype).eps

    @settings(max_examples=examples)
    @given(
        inverted_residuals(),
        st.tuples(*[st.sampled_from(ACTIVATIONS)] * 3),
        st.booleans(),
        st.sampled_from([0, 0, 3]),
        st.integers(0, 2**32 - 1),
    )
    def check(specs, activations, adds, extra, seed):
        rng = np.random.default_rng(seed)
        present = [s for s in specs if s is not None]
        want, x = arrays(rng, present[0].x_shape, dtype, extra)
        wanted, residual = arrays(rng, present[-1].y_shape, dtype) if adds else (None, None)
        layers, terms = [], 0
        for spec, activation in zip(specs, activations):
            if spec is None:
                layers.append(None)
                continue
            w = (rng.standard_normal(spec.w_shape) / np.prod(spec.w_shape[1:]) ** 0.5).astype(dtype)
            b = rng.standard_normal(spec.c_out).astype(dtype)
            added = wanted if spec is present[-1] else None
            layers.append((w, b, spec, activation))
            want = reference.conv_fwd(want, w.astype(float), b.astype(float), spec, None, added, activation)
            terms += w[0].size
        got = cpu.separable_fwd(x, *layers, residual)
        assert got.shape == want.shape and got.dtype == dtype
        np.testing.assert_allclose(got, want, rtol=0, atol=step * (50 + 4 * terms))

    check()


@pytest.mark.parametrize("dtype", ["float32", *full("float64")])
@pytest.mark.parametrize("shape", [(2, 37, 9, 7), (1, 16, 1, 1), (3, 100, 30, 2), (0, 5, 3, 3)])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gated_layers(shape, activation, dtype):
    cpu, reference, rng = load("cpu"), load("numpy"), np.random.default_rng(0)
    x, x_ = arrays(rng, shape, dtype, 2)
    gate, gate_ = arrays(rng, (*shape[:2], 1, 1), dtype)
    w, b = rng.standard_normal((45, shape[1], 1, 1)).astype(dtype), rng.standard_normal(45).astype(dtype)
    spec = conv_spec("conv2d", shape, w.shape)
    added, added_ = arrays(rng, spec.y_shape, dtype)
    got = cpu.gated_conv_fwd(x_, gate_, (w, b, spec, activation), added_)
    want = reference.conv_fwd(x * gate, w.astype(float), b.astype(float), spec, None, added, activation)
    np.testing.assert_allclose(got, want, rtol=0, atol=np.finfo(dtype).eps * 40 * shape[1])


@pytest.mark.parametrize("dtype", ["float32", *full("float64")])
@pytest.mark.parametrize("shape", [(2, 37, 9, 7), (1, 16, 1, 1), (3, 100, 30, 2), (2, 5, 11), (0, 5, 3, 3)])
@pytest.mark.parametrize("relu", [None, "relu"])
@pytest.mark.parametrize("adds", [False, True])
def test_normed_layers(shape, relu, adds, dtype):
    cpu, reference, rng = load("cpu"), load("numpy"), np.random.default_rng(0)
    x, x_ = arrays(rng, shape, dtype, 2)
    vectors = [rng.standard_normal(shape[1]).astype(dtype) for _ in range(4)]
    w = rng.standard_normal((45, shape[1], *(1 for _ in shape[2:]))).astype(dtype)
    spec = conv_spec(f"conv{len(shape) - 2}d", shape, w.shape)
    added, added_ = arrays(rng, spec.y_shape, dtype) if adds else (None, None)
    for *affine, b, activation in (
        (*vectors[2:], vectors[0][:1].repeat(45), "relu"),
        (None, None, None, None),
    ):
        got = cpu.normed_conv_fwd(x_, (*vectors[:2], *affine, relu), (w, b, spec, activation), added_)
        wide = [None if v is None else v.astype(float) for v in (*vectors[:2], *affine, b)]
        middle = reference.batch_norm_fwd(x, *wide[:4], None, relu)
        want = reference.conv_fwd(middle, w.astype(float), wide[4], spec, None, added, activation)
        np.testing.assert_allclose(got, want, rtol=0, atol=np.finfo(dtype).eps * 80 * shape[1])
    x_[..., 0] = np.nan
    got = cpu.normed_conv_fwd(x_, (*vectors, relu), (w, None, spec, None), None)
    assert np.isnan(got[..., 0]).all() and not np.isnan(got[..., 1:]).any()


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (2, 16, 3), (1, 40, 2, 2, 2), (3, 58), (0, 4, 2)])
def test_interleaved_channels(shape, dtype):
    """Slices of the channels of one array are read in place."""
    both = np.moveaxis(np.random.default_rng(0).permutation(np.prod(shape) * 2).astype(dtype), 0, -1)
    both = np.moveaxis(both.reshape(shape[0], *shape[2:], 2 * shape[1]), -1, 1)
    x, y = both[:, : shape[1]], both[:, shape[1] :]
    want = np.stack([x, y], 2).reshape(both.shape)
    np.testing.assert_array_equal(load("cpu").interleave(x, y), want)
    np.testing.assert_array_equal(load("cpu").interleave(x.copy(), y.copy("C")), want)


@pytest.mark.parametrize("dtype", ["float32", *full("float64")])
@pytest.mark.parametrize("channels", [3, 16, 40])
@pytest.mark.parametrize(
    "spec",
    [
        lambda shape: pool_spec("max_pool2d", shape, 3, 2, 1, 1, False),
        lambda shape: pool_spec("max_pool2d", shape, 2, None, 0, 2, True),
        lambda shape: pool_spec("max_pool2d", shape, 7, 1, 3, 1, False),
        lambda shape: adaptive_pool_spec("adaptive_max_pool2d", shape, (4, 3)),
    ],
    ids=["strided", "dilated", "large", "adaptive"],
)
def test_maxima_without_positions(spec, channels, dtype):
    """NaN wins, and minus infinity is a number like others."""
    cpu, rng = load("cpu"), np.random.default_rng(0)
    x = rng.standard_normal((2, channels, 9, 8)).astype(dtype)
    x[rng.random(x.shape) < 0.02] = np.nan
    x[:, :, :4, :4] = -np.inf
    x = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    given_spec = spec(x.shape)
    op = cpu.adaptive_max_pool_fwd if "Adaptive" in type(given_spec).__name__ else cpu.max_pool_fwd
    np.testing.assert_array_equal(cpu.max_pool_values(x, given_spec), op(x, given_spec)[0])


# ---------------------------------------------------------------------------------------------------- passes
class Inverted(nn.Module):
    """An inverted residual as users write it, with or without squeeze and excitation."""

    def __init__(self, gated):
        super().__init__()
        self.expand, self.norm1 = nn.Conv2d(8, 48, 1, bias=False), nn.BatchNorm2d(48)
        self.spatial, self.norm2 = nn.Conv2d(48, 48, 3, 1, 1, groups=48, bias=False), nn.BatchNorm2d(48)
        self.project, self.norm3 = nn.Conv2d(48, 8, 1, bias=False), nn.BatchNorm2d(8)
        self.squeeze, self.excite = nn.Linear(48, 12), nn.Linear(12, 48)
        self.gated = gated

    def forward(self, x):
        y = F.relu6(self.norm1(self.expand(x)))
        y = F.hardswish(self.norm2(self.spatial(y)))
        if self.gated:
            gate = F.hardsigmoid(self.excite(F.relu(self.squeeze(y.mean((2, 3))))))
            y = gate[:, :, None, None] * y
        return x + self.norm3(self.project(y))


class Preactivated(nn.Module):
    """A bottleneck with its norms before the layers."""

    def __init__(self):
        super().__init__()
        self.norm1, self.reduce = nn.BatchNorm2d(40), nn.Conv2d(40, 16, 1, bias=False)
        self.norm2, self.spatial = nn.BatchNorm2d(16), nn.Conv2d(16, 24, 3, 1, 1, bias=False)
        self.norm3, self.expand = nn.BatchNorm2d(24), nn.Conv2d(24, 40, 1)

    def forward(self, x):
        y = self.reduce(F.relu(self.norm1(x)))
        y = self.spatial(F.relu(self.norm2(y)))
        return x + self.expand(F.relu(self.norm3(y)))


class Shuffled(nn.Module):
    """A unit of ShuffleNetV2 behind a pooling layer."""

    def __init__(self):
        super().__init__()
        layers = (
            nn.Conv2d(6, 6, 1),
            nn.ReLU(),
            nn.Conv2d(6, 6, 3, 1, 1, groups=6),
            nn.Conv2d(6, 6, 1),
            nn.ReLU(),
        )
        self.branch = nn.Sequential(*layers)

    def forward(self, x):
        x = F.max_pool2d(x, 3, 2, 1)
        a, b = x.chunk(2, 1)
        x = fc.cat([a, self.branch(b)], 1)
        n, c, h, w = x.shape
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w) * 2


NETS = {
    "inverted": (lambda: Inverted(False), (2, 8, 12, 11), ["separable_fwd"]),
    "gated": (
        lambda: Inverted(True),
        (2, 8, 12, 11),
        ["separable_fwd", "reduce_fwd", "conv_fwd", "conv_fwd", "gated_conv_fwd"],
    ),
    "shuffled": (
        Shuffled,
        (2, 12, 13, 12),
        ["max_pool_values", "separable_fwd", "interleave", "binary_fwd"],
    ),
}
NETS["preactivated"] = (
    Preactivated,
    (3, 40, 24, 23),
    ["normed_conv_fwd", "conv_fwd", "conv_fwd"],
)
MOVES = {"reshape", "getitem", "broadcast_to", "permute"}


@pytest.mark.parametrize("name", NETS)
def test_what_passes_make_of_nets(name):
    """The layers become these ops, and the results stay; recorded they stay as well."""
    make, shape, ops = NETS[name]
    net = make().eval()
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.copy_(fc.randn(*m.running_mean.shape))
            m.running_var.copy_(fc.rand(*m.running_var.shape) + 0.5)
    with fc.backend("cpu"):
        program, _ = graph.capture(net, [fc.randn(*shape).array])
        faster = graph.optimize(program, load("cpu"))
        assert [c.op for c in faster.calls if c.op not in MOVES] == ops
        fast = fc.optimize_for_inference(net)
        for _ in range(4):
            x = fc.randn(*shape)
            want = net(x).numpy()
            for got in (faster.run(load("cpu"), x.array), fast(x).numpy()):
                np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


class Scaled(nn.Module):
    """The end of a block of ConvNeXt, and a convolution with a scale of its own."""

    def __init__(self):
        super().__init__()
        self.wide, self.narrow, self.conv = nn.Linear(8, 24), nn.Linear(24, 8), nn.Conv2d(8, 5, 3)
        self.scale, self.other = nn.Parameter(fc.rand(8, 1, 1)), nn.Parameter(fc.rand(1, 5, 1, 1))

    def forward(self, x):
        y = self.narrow(F.gelu(self.wide(x.permute(0, 2, 3, 1))))
        return self.conv(x + self.scale * y.permute(0, 3, 1, 2)) * self.other


@pytest.mark.parametrize("size", [(2, 8, 7, 9), (1, 8, 4, 4), (3, 8, 3, 3)])
def test_dense_layers_of_images(size, backend):
    """Their rows are pixels; activations and scales go through what moves axes."""
    net = Scaled().eval()
    program, _ = graph.capture(net, [fc.randn(*size).array])
    faster = graph.optimize(program, load(backend))
    ops = [(c.op, c.args[0]) if c.op == "binary_fwd" else c.op for c in faster.calls if c.op not in MOVES]
    if backend == "cpu":
        assert ops == ["conv_fwd", "conv_fwd", ("binary_fwd", "add"), "conv_fwd"]
    for _ in range(2):
        x = fc.randn(*size)
        got = faster.run(load(backend), x.array)
        np.testing.assert_allclose(got, net(x).numpy(), rtol=1e-4, atol=1e-5)


def test_what_must_stay():
    """Positions that are read, a product that is read twice, and a shuffle in three groups."""

    def positions(x):
        y, where = F.max_pool2d(x, 2, return_indices=True)
        return y + where

    conv = nn.Conv2d(6, 4, 1)

    def twice(x):
        y = x * x[:, :, :1, :1].sigmoid()
        return conv(y), y

    def three(x):
        x = fc.cat([x, x, x], 1)
        return x.view(2, 3, 6, 8, 8).transpose(1, 2).reshape(2, 18, 8, 8)

    for function in (positions, twice, three):
        program, _ = graph.capture(function, [fc.randn(2, 6, 8, 8).array])
        ops = {c.op for c in graph.optimize(program, load("cpu")).calls}
        assert not ops & {"max_pool_values", "gated_conv_fwd", "interleave", "normed_conv_fwd"}
