"""Instance, RMS, layer, group and batch normalisation against PyTorch: options, statistics, layers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc
from fastconv import nn
from fastconv.nn import functional as F

torch = pytest.importorskip("torch")
TOLERANCE = {"float32": 3e-5, "float64": 1e-11}


def channels_last(a):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1)


def same(mine, theirs, dtype, what=""):
    tolerance = TOLERANCE[dtype]
    mine = mine.numpy() if isinstance(mine, fc.Tensor) else mine
    np.testing.assert_allclose(mine, theirs.detach().numpy(), rtol=tolerance, atol=tolerance, err_msg=what)


def compare(call, arrays, dtype):
    mine = [fc.tensor(a, requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a.astype(float), requires_grad=True) for a in arrays]
    got, want = call(F, *mine), call(torch.nn.functional, *theirs)
    assert got.dtype == dtype
    same(got, want, dtype, "result")
    gy = np.random.default_rng(1).standard_normal(got.shape)
    got.backward(fc.tensor(gy.astype(dtype)))
    want.backward(torch.tensor(gy))
    for i, (m, t) in enumerate(zip(mine, theirs)):
        same(m.grad, t.grad, dtype, f"gradient {i}")


@given(
    st.integers(1, 3),
    st.integers(1, 70),
    st.lists(st.integers(1, 6), min_size=1, max_size=3),
    st.sampled_from(["float32", "float64"]),
    st.booleans(),
)
@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize("name", ["numpy", "cpu"])
def test_instance_norm(name, n, c, spatial, dtype, last):
    spatial = (*spatial[:-1], spatial[-1] + 1)
    rng = np.random.default_rng(n)
    x = (rng.standard_normal((n, c, *spatial)) * 2 + 1).astype(dtype)
    x = channels_last(x) if last else x
    w, b = (rng.standard_normal(c).astype(dtype) for _ in range(2))
    with fc.backend(name):
        compare(lambda f, x, w, b: f.instance_norm(x, weight=w, bias=b, eps=1e-2), (x, w, b), dtype)


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=3),
    st.integers(1, 2),
    st.sampled_from(["float32", "float64"]),
    st.sampled_from([None, 1e-2]),
)
@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize("name", ["numpy", "cpu"])
def test_rms_norm(name, shape, last, dtype, eps):
    normalized = tuple(shape[-last:])
    rng = np.random.default_rng(len(shape))
    x, w = (rng.standard_normal(s).astype(dtype) + 3 for s in (shape, normalized))
    if eps is None:  # PyTorch's float64 has another default
        eps = float(np.finfo(dtype).eps)
        with fc.backend(name):
            got, want = (F.rms_norm(x, normalized, w, e).numpy() for e in (None, eps))
        np.testing.assert_array_equal(got, want)
    with fc.backend(name):
        compare(lambda f, x, w: f.rms_norm(x, normalized, w, eps), (x, w), dtype)


def test_rms_norm_of_many_rows(backend):
    """Enough elements for the parallel kernel."""
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(s).astype(np.float32) for s in ((300, 67), (67,)))
    compare(lambda f, x, w: f.rms_norm(x, (67,), w, 1e-5), (x, w), "float32")


LAYERS = {
    "InstanceNorm1d": ((4,), (3, 4, 6)),
    "InstanceNorm2d": ((4,), (3, 4, 6, 5)),
    "InstanceNorm3d": ((4,), (2, 4, 3, 2, 3)),
    "BatchNorm1d": ((4,), (3, 4, 6)),
    "BatchNorm2d": ((4,), (3, 4, 6, 5)),
    "BatchNorm3d": ((4,), (2, 4, 3, 2, 3)),
    "GroupNorm": ((2, 4), (3, 4, 6)),
    "LayerNorm": (((6,),), (3, 4, 6)),
    "RMSNorm": ((6,), (3, 4, 6)),
}
CHANNEL_OPTIONS = [
    {},
    {"affine": True, "track_running_stats": True},
    {"affine": False, "track_running_stats": False},
    {"affine": True, "bias": False, "eps": 1e-2},
    {"track_running_stats": True, "momentum": None},
    {"track_running_stats": True, "momentum": 0.4},
]
OPTIONS = {
    **{name: CHANNEL_OPTIONS for name in LAYERS if name.startswith(("Instance", "Batch"))},
    "GroupNorm": [{}, {"affine": False}, {"bias": False}, {"eps": 1e-2}],
    "LayerNorm": [{}, {"elementwise_affine": False}, {"bias": False}, {"eps": 1e-2}],
    "RMSNorm": [{"eps": 1e-5}, {"elementwise_affine": False, "eps": 1e-2}],
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name, options", [(n, o) for n, many in OPTIONS.items() for o in many])
def test_layers(name, options, dtype, backend):
    """Three training batches and one in evaluation: results, gradients, statistics, names of the state."""
    args, shape = LAYERS[name]
    mine = getattr(nn, name)(*args, dtype=dtype, **options)
    theirs = getattr(torch.nn, name)(*args, dtype=torch.float64, **options)
    assert list(mine.state_dict()) == list(theirs.state_dict())
    rng = np.random.default_rng(0)
    for step in range(4):
        if step == 3:
            mine.eval(), theirs.eval()
        x = (rng.standard_normal(shape) * 3 + 2).astype(dtype)
        a, b = fc.tensor(x, requires_grad=True), torch.tensor(x.astype(float), requires_grad=True)
        got, want = mine(a), theirs(b)
        assert got.dtype == dtype
        same(got, want, dtype)
        gy = rng.standard_normal(shape)
        got.backward(fc.tensor(gy.astype(dtype)))
        want.backward(torch.tensor(gy))
        same(a.grad, b.grad, dtype)
        for key, value in mine.state_dict().items():
            same(value, theirs.state_dict()[key], dtype, key)


@pytest.mark.parametrize("name", ["InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"])
def test_single_examples(name, backend):
    (channels,), shape = LAYERS[name]
    x = np.random.default_rng(0).standard_normal(shape[1:]).astype(np.float32)
    got, want = getattr(nn, name)(channels)(x), getattr(torch.nn, name)(channels)(torch.tensor(x))
    same(got, want, "float32")


def test_other_channels_without_parameters_warn(backend):
    with pytest.warns(UserWarning, match="num_features=4 channels, got 3"):
        nn.InstanceNorm2d(4)(fc.zeros(2, 3, 5, 5))


def test_statistics_are_reset():
    net = nn.BatchNorm2d(3)
    net(fc.rand(4, 3, 2, 2) + 5)
    net.weight.data.fill_(3) if hasattr(net.weight, "data") else net.weight.fill_(3)
    net.reset_parameters()
    assert net.running_mean.tolist() == [0] * 3 and net.running_var.tolist() == [1] * 3
    assert net.num_batches_tracked.item() == 0 and net.weight.tolist() == [1] * 3


def test_statistics_of_arrays_move_in_place(backend):
    mean, var = np.zeros(4, np.float32), np.ones(4, np.float32)
    x = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32)
    F.instance_norm(x, mean, var)
    want = [torch.zeros(4), torch.ones(4)]
    torch.nn.functional.instance_norm(torch.tensor(x), *want)
    for m, w in zip((mean, var), want):
        same(m, w, "float32")


def test_read_only_statistics_are_refused(backend):
    mean, var = np.zeros(4, np.float32), np.ones(4, np.float32)
    var.flags.writeable = False
    with pytest.raises(ValueError, match="instance_norm: running_var"):
        F.instance_norm(np.ones((3, 4, 5), np.float32), mean, var)


def test_an_empty_batch(backend):
    x = np.zeros((0, 4, 5), np.float32)
    assert F.instance_norm(x).shape == x.shape
    assert F.rms_norm(x, 5).shape == x.shape


def test_sync_batch_norm_in_one_process_is_batch_norm():
    """With one rank; tests/distributed has several."""
    fc.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4, eps=0.1)), nn.ReLU())
    x = np.random.default_rng(0).random((2, 3, 5, 5), np.float32)
    want, state = net(x).detach().numpy(), net.state_dict()
    weight = net[1][0].weight
    assert nn.SyncBatchNorm.convert_sync_batchnorm(net) is net
    assert isinstance(net[1][0], nn.SyncBatchNorm) and net[1][0].weight is weight and net[1][0].eps == 0.1
    assert list(net.state_dict()) == list(state)
    np.testing.assert_array_equal(net(x).detach().numpy(), want)
    net.eval()
    assert net(x).shape == want.shape
    norm = nn.BatchNorm1d(3).eval()
    assert type(nn.SyncBatchNorm.convert_sync_batchnorm(norm)) is nn.SyncBatchNorm
    for call in (
        lambda: nn.SyncBatchNorm(3, process_group=1),
        lambda: nn.SyncBatchNorm.convert_sync_batchnorm(net, 1),
    ):
        with pytest.raises(TypeError, match="process groups are not supported"):
            call()
