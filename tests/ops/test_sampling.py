"""Resizing, sampling, padding, unpooling and transposed convolution against PyTorch, on shapes and options
that hypothesis draws; layers against PyTorch's layers."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import BACKENDS
from hypothesis import given
from hypothesis import strategies as st
from support.selection import full

import fastconv as fc
from fastconv import nn
from fastconv.nn import functional as F
from fastconv.spec import interpolate_spec

torch = pytest.importorskip("torch")
T = torch.nn.functional
FAST = [b for b in BACKENDS if b != "numpy"]


def laid_out(a, layout):
    """The values of ``a`` in a memory layout."""
    if layout == "channels-last" and a.ndim > 2:
        return np.moveaxis(np.moveaxis(a, 1, -1).copy(), -1, 1)
    if layout == "strided":
        return np.repeat(a, 2, axis=-1)[..., ::2]
    return a


def compare(function, arrays, backend, layout="plain", tolerance=2e-5):
    """Result and gradients of ``function(F, *tensors)`` in float32 against PyTorch's in float64."""
    with fc.backend(backend):
        ours = [fc.from_numpy(laid_out(a.astype(np.float32), layout)).requires_grad_() for a in arrays]
        theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
        y, z = function(F, *ours), function(T, *theirs)
        assert y.shape == tuple(z.shape)
        gy = np.random.default_rng(1).standard_normal(y.shape)
        if y.numel():
            y.backward(fc.tensor(gy.astype(np.float32)))
            z.backward(torch.tensor(gy))
        pairs = [(y, z.detach().numpy()), *((a.grad, b.grad) for a, b in zip(ours, theirs))]
        for k, (a, b) in enumerate(pairs):
            if b is not None and y.numel():
                b = np.asarray(b)
                scale = max(1.0, np.abs(b).max(initial=0.0))
                np.testing.assert_allclose(
                    a.numpy(),
                    b,
                    rtol=0,
                    atol=tolerance * scale,
                    err_msg=f"array {k}",
                )


def drawn(data, *shape):
    """Values that float32 represents exactly."""
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    return rng.standard_normal(shape).astype(np.float32).astype(np.float64)


LAYOUTS = st.sampled_from(["plain", "channels-last", "strided"])
CHANNELS = st.one_of(st.integers(1, 5), st.integers(1, 40))


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize(
    ("mode", "dims"),
    [("linear", 1), ("bilinear", 2), ("bicubic", 2), ("trilinear", 3), *(("area", n) for n in (1, 2, 3))],
)
@given(data=st.data())
def test_interpolate(mode, dims, backend, data):
    shape = (
        data.draw(st.integers(1, 3)),
        data.draw(CHANNELS),
        *data.draw(st.tuples(*[st.integers(1, 7)] * dims)),
    )
    options: dict = {"mode": mode}
    if data.draw(st.booleans()):
        options["size"] = data.draw(st.tuples(*[st.integers(1, 9)] * dims))
    else:  # factors whose products with a size are exact, because float32 and float64 round others apart
        factors = st.sampled_from([0.5, 1.0, 1.5, 2.0, 3.0])
        options["scale_factor"] = tuple(
            max(data.draw(factors), 1.0) if i == 1 else data.draw(factors) for i in shape[2:]
        )
        options["recompute_scale_factor"] = data.draw(st.sampled_from([None, False, True]))
    if mode != "area":
        options["align_corners"] = data.draw(st.sampled_from([None, False, True]))
    x = drawn(data, *shape)
    compare(lambda f, t: f.interpolate(t, **options), [x], backend, data.draw(LAYOUTS), 1e-4)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["float32", *full("float64")])
def test_nearest_reads_pytorchs_pixels(mode, dims, dtype):
    """2,000 pairs of extents, or of an extent and a factor with decimals: not one pixel beside PyTorch's."""
    rng = np.random.default_rng(0)
    for _ in range(2000):
        n = int(rng.integers(1, 300))
        factor = float(np.round(rng.uniform(0.05, 4), rng.integers(1, 4)))
        size = int(rng.integers(1, 400)) if rng.random() < 0.4 else None
        if size is None and int(n * factor) < 1:
            continue
        lead = (2,) * (dims - 1)
        x = torch.arange(n, dtype=getattr(torch, dtype)).expand(1, 1, *lead, n).contiguous()
        options = {"size": (*lead, size)} if size else {"scale_factor": (*(1.0,) * (dims - 1), factor)}
        want = T.interpolate(x, mode=mode, **options).numpy().reshape(-1, size or int(n * factor))[0]
        spec = interpolate_spec(x.shape, options.get("size"), options.get("scale_factor"), mode, None)
        got = spec.taps(dims - 1, dtype)[0][0]
        np.testing.assert_array_equal(got, want, f"{n} to {size}, factor {factor}")


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
def test_nearest_of_bytes(mode, backend):
    x = np.random.default_rng(0).integers(0, 255, (2, 3, 4, 5), np.uint8)
    y = F.interpolate(x, size=(7, 8), mode=mode)
    assert y.dtype == np.uint8
    np.testing.assert_array_equal(y.numpy(), T.interpolate(torch.tensor(x), size=(7, 8), mode=mode).numpy())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("mode", "dims"), [("bilinear", 2), ("nearest", 2), ("bicubic", 2), ("bilinear", 3)])
@given(data=st.data())
def test_grid_sample(mode, dims, backend, data):
    n, extents = data.draw(st.integers(1, 9)), data.draw(st.tuples(*[st.integers(1, 6)] * dims))
    x = drawn(data, n, data.draw(CHANNELS), *extents)
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    # not at the edges of pixels, where one rounding decides which side a place is on
    grid = rng.integers(-40, 40, (n, *data.draw(st.tuples(*[st.integers(1, 4)] * dims)), dims)) / 16 + 0.017
    options = {
        "mode": mode,
        "padding_mode": data.draw(st.sampled_from(["zeros", "border", "reflection"])),
        "align_corners": data.draw(st.sampled_from([False, True])),
    }
    grid = grid.astype(np.float32).astype(np.float64)
    layout = data.draw(LAYOUTS)
    compare(lambda f, *t: f.grid_sample(*t, **options), [x, grid], backend, layout, 1e-4)


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
def test_places_that_are_no_numbers_count_as_the_first_edge(mode, padding_mode, backend):
    """PyTorch's documentation says so; its kernels read outside of the array there."""
    x = np.random.default_rng(0).standard_normal((1, 3, 4, 5)).astype(np.float32)
    strange = np.array([[np.nan, 0.1], [np.inf, 0.1], [-np.inf, 0.1], [0.3, np.nan]], np.float32)
    plain = np.array([[-1, 0.1], [-1, 0.1], [-1, 0.1], [0.3, -1]], np.float32)
    options = {"mode": mode, "padding_mode": padding_mode}
    grid = fc.tensor(strange.reshape(1, 1, 4, 2), requires_grad=True)
    y = F.grid_sample(x, grid, **options)
    np.testing.assert_array_equal(y.numpy(), F.grid_sample(x, plain.reshape(1, 1, 4, 2), **options).numpy())
    y.sum().backward()
    assert (grid.grad.numpy()[~np.isfinite(grid.numpy())] == 0).all()
    far = np.array([1e20, -1e20, 3e38, 0.0], np.float32).reshape(1, 1, 2, 2)
    assert np.isfinite(F.grid_sample(x, far, **options).numpy()).all()


@pytest.mark.parametrize("align_corners", [None, False, True])
@pytest.mark.parametrize("size", [(2, 3, 4, 5), (2, 1, 1, 3), (1, 2, 3, 4, 5)])
def test_affine_grid(size, align_corners, backend):
    dims = len(size) - 2
    theta = np.random.default_rng(0).standard_normal((size[0], dims, dims + 1))
    compare(lambda f, t: f.affine_grid(t, list(size), align_corners=align_corners), [theta], backend)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
@given(data=st.data())
def test_pad(mode, backend, data):
    dims = data.draw(st.integers(1, 3))
    shape = tuple(data.draw(st.tuples(*[st.integers(2, 5)] * (dims + 2))))
    pads = []
    for extent in reversed(shape[2:]):
        before, after = data.draw(st.tuples(st.integers(-1, extent - 1), st.integers(-1, extent - 1)))
        if mode != "constant" and extent + min(before, 0) + min(after, 0) < 2:
            before = after = 0
        if mode == "circular":  # at most what cropping leaves
            left = extent + min(before, 0) + min(after, 0)
            before, after = min(before, left), min(after, left)
        pads += [before, after]
    options = {"value": data.draw(st.sampled_from([0.0, -1.5]))} if mode == "constant" else {}
    x = drawn(data, *shape)
    layout = data.draw(LAYOUTS)
    compare(lambda f, t: f.pad(t, pads, mode=mode, **options), [x], backend, layout)


@pytest.mark.parametrize("dtype", ["int64", "bool", *full("int32", "uint8", "float16")])
@pytest.mark.parametrize("mode", ["constant", "reflect"])
def test_pad_of_every_dtype(dtype, mode, backend):
    x = (np.arange(24).reshape(2, 3, 4) % 5).astype(dtype)
    y = F.pad(x, (1, 2), mode=mode, value=1 if mode == "constant" else None)
    want = np.pad(x, ((0, 0), (0, 0), (1, 2)), mode, **({"constant_values": 1} if mode == "constant" else {}))
    assert y.dtype == x.dtype
    np.testing.assert_array_equal(y.numpy(), want)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("dims", [1, 2, 3])
@given(data=st.data())
def test_unpooling_puts_back_what_pooling_took(dims, backend, data):
    shape = (
        data.draw(st.integers(1, 9)),
        data.draw(CHANNELS),
        *data.draw(st.tuples(*[st.integers(2, 6)] * dims)),
    )
    kernel = data.draw(st.integers(1, 2))

    def both(f, t):
        y, index = getattr(f, f"max_pool{dims}d")(t, kernel, return_indices=True)
        return getattr(f, f"max_unpool{dims}d")(y, index, kernel, output_size=shape)

    compare(both, [drawn(data, *shape)], backend, data.draw(LAYOUTS))


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("dims", [1, 3])
@given(data=st.data())
def test_conv_transpose(dims, backend, data):
    groups, stride = data.draw(st.integers(1, 2)), data.draw(st.integers(1, 3))
    c_in, c_out = groups * data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5))
    x = drawn(data, data.draw(st.integers(1, 2)), c_in, *[data.draw(st.integers(1, 5))] * dims)
    w = drawn(data, c_in, c_out, *[data.draw(st.integers(1, 3))] * dims)
    b = drawn(data, c_out * groups)
    options = {
        "stride": stride,
        "output_padding": data.draw(st.integers(0, stride - 1)),
        "groups": groups,
        "dilation": data.draw(st.integers(1, 2)),
    }
    compare(lambda f, *t: getattr(f, f"conv_transpose{dims}d")(*t, **options), [x, w, b], backend)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("norm_type", [1, 2, 3.5, float("inf"), -float("inf")])
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_lp_pool(dims, norm_type, ceil_mode, backend):
    x = np.abs(np.random.default_rng(0).standard_normal((2, 3, *(7, 6, 5)[:dims]))) + 0.1
    options = {"stride": 2, "ceil_mode": ceil_mode}
    if dims == 1 or np.isfinite(norm_type):
        compare(lambda f, t: getattr(f, f"lp_pool{dims}d")(t, norm_type, 3, **options), [x], backend)


def test_norm_of_zeros_has_the_gradient_zero(backend):
    x = fc.zeros(1, 1, 4, requires_grad=True)
    F.lp_pool1d(x, 2, 2).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), 0)


# ------------------------------------------------------------------------------------------------- layers
PADDINGS = [
    (f"{kind}Pad{n}d", ((1, 2, 0, 1, 1, 0)[: 2 * n], *((0.5,) if kind == "Constant" else ())))
    for kind in ("Zero", "Constant", "Reflection", "Replication", "Circular")
    for n in (1, 2, 3)
]
#: layer, its arguments
LAYERS = [
    *PADDINGS,
    *((f"Adaptive{kind}Pool{n}d", (2,)) for kind in ("Avg", "Max") for n in (1, 2, 3)),
    *((f"LPPool{n}d", (2, 2)) for n in (1, 2, 3)),
    ("Upsample", (None, 2)),
    ("UpsamplingNearest2d", (None, 2)),
    ("UpsamplingBilinear2d", (None, 2)),
    ("PixelShuffle", (2,)),
    ("PixelUnshuffle", (2,)),
    ("ChannelShuffle", (2,)),
    ("Unfold", (2,)),
    ("Unflatten", (1, (2, -1))),
]


@pytest.mark.parametrize(("name", "arguments"), LAYERS, ids=[n for n, _ in LAYERS])
def test_layer(name, arguments, backend):
    dims = int(name[-2]) if name[-2].isdigit() else 2
    x = np.abs(np.random.default_rng(0).standard_normal((2, 4, *(4,) * dims))).astype(np.float32)
    ours, theirs = getattr(nn, name)(*arguments), getattr(torch.nn, name)(*arguments)
    np.testing.assert_allclose(ours(x).numpy(), theirs(torch.tensor(x)).numpy(), atol=2e-6)
    assert repr(ours).startswith(f"{name}(")


def test_layers_of_windows(backend):
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 6)).astype(np.float32)
    columns = nn.Unfold(3, padding=1)(x)
    fold, theirs = nn.Fold((5, 6), 3, padding=1), torch.nn.Fold((5, 6), 3, padding=1)
    np.testing.assert_allclose(
        fold(columns).numpy(), theirs(torch.tensor(columns.numpy())).numpy(), atol=1e-5
    )
    y, index = nn.MaxPool2d(2, return_indices=True)(x)
    back = nn.MaxUnpool2d(2)(y, index, output_size=x.shape)
    want = torch.nn.MaxUnpool2d(2)(torch.tensor(y.numpy()), torch.tensor(index.numpy()), output_size=x.shape)
    np.testing.assert_array_equal(back.numpy(), want.numpy())


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize(
    ("dims", "options"),
    [
        (1, {"padding": 2}),
        (2, {"padding": (1, 2), "stride": 2}),
        (2, {"padding": "same", "dilation": 2}),
        (3, {"padding": 1}),
    ],
)
def test_padding_mode_of_convolutions(mode, dims, options, backend):
    ours = getattr(nn, f"Conv{dims}d")(3, 4, 3, padding_mode=mode, **options)
    theirs = getattr(torch.nn, f"Conv{dims}d")(3, 4, 3, padding_mode=mode, **options)
    theirs.load_state_dict({k: torch.tensor(v.numpy()) for k, v in ours.state_dict().items()})
    x = np.random.default_rng(0).standard_normal((2, 3, *(7, 6, 5)[:dims])).astype(np.float32)
    want = theirs(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(ours(x).numpy(), want, atol=1e-5)
    np.testing.assert_allclose(ours(x[0]).numpy(), want[0], atol=1e-5)
    assert f"padding_mode={mode}" in repr(ours)
    net = fc.optimize_for_inference(nn.Sequential(ours, nn.ReLU()).eval())
    np.testing.assert_allclose(net(x).numpy(), np.maximum(want, 0), atol=1e-5)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_conv_transpose_layers(dims, backend):
    name, options = f"ConvTranspose{dims}d", {"stride": 2, "padding": 1}
    ours, theirs = getattr(nn, name)(4, 3, 3, **options), getattr(torch.nn, name)(4, 3, 3, **options)
    theirs.load_state_dict({k: torch.tensor(v.numpy()) for k, v in ours.state_dict().items()})
    x = np.random.default_rng(0).standard_normal((2, 4, *(3, 4, 2)[:dims])).astype(np.float32)
    smallest = theirs(torch.tensor(x)).shape[2:]
    for size in (None, list(smallest), [s + 1 for s in smallest], [2, 3, *smallest]):
        want = theirs(torch.tensor(x), output_size=size).detach().numpy()
        np.testing.assert_allclose(ours(x, output_size=size).numpy(), want, atol=1e-5)


def test_dtype_of_convolutions(backend):
    for layer in (nn.Conv1d(2, 3, 2, dtype="float64"), nn.ConvTranspose1d(2, 3, 2, dtype=np.float64)):
        assert {str(p.dtype) for p in layer.parameters()} == {"float64"}
        assert layer(np.ones((1, 2, 5))).dtype == np.float64


def test_rearranged_pixels_are_channels_last(backend):
    for y in (
        F.pixel_shuffle(fc.zeros(2, 12, 3, 4), 2),
        F.pixel_unshuffle(fc.zeros(2, 3, 4, 6), 2),
        F.channel_shuffle(fc.zeros(2, 6, 3, 4), 3),
    ):
        assert y.permute(0, 2, 3, 1).numpy().flags.c_contiguous


def test_the_same_under_fc():
    x = np.random.default_rng(0).standard_normal((2, 4, 6, 6)).astype(np.float32)
    np.testing.assert_array_equal(fc.pixel_shuffle(x, 2).numpy(), F.pixel_shuffle(x, 2).numpy())
    for name in (
        "conv1d",
        "conv2d",
        "conv3d",
        "conv_transpose2d",
        "max_pool2d",
        "avg_pool1d",
        "adaptive_avg_pool1d",
    ):
        assert getattr(fc, name) is getattr(F, name)
