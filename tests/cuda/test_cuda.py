"""The cuda backend beyond its ops: arrays, the pool, errors, training.

Without a GPU it runs under the simulator.
"""

from __future__ import annotations

import csv
import gc
import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import SIMULATED, needs_cuda, needs_gpu

import fastconv as fc
from fastconv import nn, optim
from fastconv.backends import availability
from fastconv.nn import functional as F
from fastconv.spec import conv_spec

pytestmark = needs_cuda


@pytest.fixture
def engine():
    return fc.backends.load("cuda")


def values(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# ------------------------------------------------------------------------------------------------- arrays
@pytest.mark.parametrize(
    "key",
    [
        np.s_[1],
        np.s_[:, 1:3, ::2],
        np.s_[..., None, 0],
        np.s_[::-1, :, -2:],
        np.s_[[1, 0, 1]],
        np.s_[:, [0, 2], [1, 1]],
        np.s_[np.array([[0], [1]]), np.array([0, 2])],
        np.s_[:, np.array([True, False, True])],
        np.s_[1, 2, 3],
        np.s_[True],
    ],
)
def test_index(key, engine):
    """Reading, assigning and adding by every kind of key as NumPy does, on transposed memory as well."""
    for x in (values(2, 3, 4), np.asfortranarray(values(2, 3, 4))):
        device, want = engine.asarray(x), x[key]
        np.testing.assert_array_equal(engine.to_host(engine.getitem(device, key)), want)
        new = values(*np.shape(want), seed=1)
        for op in ("setitem", "index_add"):
            expected = x.copy()
            getattr(fc.backends.load("numpy"), op)(expected, key, new)
            changed = engine.copy(device)
            getattr(engine, op)(changed, key, engine.asarray(np.asarray(new)))
            np.testing.assert_allclose(engine.to_host(changed), expected, rtol=1e-6)


@pytest.mark.parametrize("shape", [(24,), (2, 12), (4, 6), (1, 2, 1, 3, 4), (6, -1), (3, 2, 2, 2)])
def test_reshape_keeps_logical_order(shape, engine):
    host = values(2, 3, 4)
    for axes in ((0, 1, 2), (0, 2, 1), (2, 1, 0)):
        got = engine.reshape(engine.permute(engine.asarray(host), axes), shape)
        np.testing.assert_array_equal(engine.to_host(got), host.transpose(axes).reshape(shape))


def test_reshape_is_a_view_where_strides_allow(engine):
    x = engine.asarray(values(2, 3, 4))
    assert engine.reshape(x, (6, 4)).base is x.base
    assert engine.reshape(engine.permute(x, (1, 0, 2)), (3, 8)).base is not x.base


@pytest.mark.parametrize("dtype", ["float32", "uint16"])
@pytest.mark.parametrize("shape", [(3, 5), (2, 9, 4), (2, 3, 1, 8), (1, 1), (0, 3)])
def test_transposed(shape, dtype, engine):
    """Tiles that are full and tiles that are not, of any number of matrices; also of a view."""
    from fastconv.backends.cuda.runtime import transpose

    host = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    for x in (
        engine.asarray(host),
        engine.permute(engine.asarray(np.moveaxis(host, -1, 0).copy()), (*range(1, host.ndim), 0)),
    ):
        found = transpose.transposed(x)
        assert found.flags.c_contiguous
        np.testing.assert_array_equal(engine.to_host(found), np.swapaxes(host, -1, -2))


def test_images_are_channels_last(engine):
    x = fc.tensor(values(2, 3, 4, 5), device="cuda")
    y = F.max_pool2d(x, 2)
    assert y.array.transpose(0, 2, 3, 1).flags.c_contiguous


def test_dropout_mask_equals_the_other_backends(engine):
    x = values(3, 5, 4, 2)
    want = fc.backends.load("numpy").dropout(x, 0.4, 2.0, 77)
    for device in (
        engine.asarray(x),
        engine.permute(engine.asarray(x.transpose(0, 2, 3, 1).copy()), (0, 3, 1, 2)),
    ):
        np.testing.assert_array_equal(engine.to_host(engine.dropout(device, 0.4, 2.0, 77)), want)


def test_empty_batch(engine):
    x = fc.tensor(np.zeros((0, 3, 4, 4), np.float32), device="cuda", requires_grad=True)
    y = F.relu(F.avg_pool2d(F.batch_norm(x, None, None, training=True), 2)).flatten(1)
    F.linear(y, fc.ones(5, 12, device="cuda")).sum().backward()
    assert x.grad.shape == (0, 3, 4, 4)


def test_two_views_and_the_version_counter(engine):
    """Autograd notices that memory it needs was changed through a view, as on the host."""
    x = fc.tensor([1.0, 2.0, 3.0], device="cuda", requires_grad=True)
    y = x * 2
    z = y * y
    y.detach()[0:2] = 5.0
    with pytest.raises(RuntimeError, match="changed in place"):
        z.sum().backward()


# ------------------------------------------------------------------------------------------------- sums of
# many
@pytest.mark.parametrize("shape", [(1, 200), (3, 90), (150, 3), (2, 5, 9, 7)])
def test_long_reductions(shape, engine):
    """Rows in several pieces, columns in several blocks."""
    x = values(*shape).astype(np.float64)
    x.flat[7] = 9.0
    device = engine.asarray(x)
    for name in ("sum", "mean", "max", "min"):
        for axes in (tuple(range(x.ndim)), (x.ndim - 1,), (0, *range(2, x.ndim))):
            got = engine.to_host(engine.reduce_fwd(name, device, axes, False))
            np.testing.assert_allclose(got, getattr(np, name)(x, axes), rtol=1e-12, atol=1e-12)
    mean, var = (engine.to_host(v) for v in engine.batch_norm_stats(device))
    axes = (0, *range(2, x.ndim))
    np.testing.assert_allclose(mean, x.mean(axes), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(var, x.var(axes), rtol=1e-12, atol=1e-12)
    assert engine.to_host(engine.argmax(device, None, False)) == 7


# ------------------------------------------------------------------------------------------------- grids
def test_grids_end_at_65535_blocks_on_two_axes(engine, monkeypatch):
    """What may be of any size is on the first axis: batches and rows of products, groups, columns of sums."""
    from fastconv.backends.cuda.conv import cost, direct
    from fastconv.backends.cuda.ops import channel_reduce, dense

    grids = []

    def launch(kernel, grid, *rest, **options):
        grids.append((grid, 1, 1) if isinstance(grid, int) else (*grid, 1, 1)[:3])

    for module in (direct, channel_reduce, dense):
        monkeypatch.setattr(module, "launch", launch)
    row = engine.zeros((1, 1), np.float32)
    engine.matmul(layout_of(row, (70_000, 1, 2)), layout_of(row, (70_000, 2, 1)))
    engine.matmul(layout_of(row, (300_000, 2)), row)
    x = layout_of(row, (1, 70_000, 1, 1))
    w = layout_of(row, (70_000, 1, 1, 1))
    spec = conv_spec("conv2d", x.shape, w.shape, groups=70_000)
    assert "70000 groups" in cost.too_large_a_grid(70_000, 1, 1)
    with pytest.raises(ValueError, match="computes up to 65535 groups"):
        engine.conv_fwd(x, w, None, spec, algorithm="implicit_gemm")
    engine.conv_fwd(x, w, None, spec, algorithm="direct")
    channel_reduce.sums("sum", layout_of(row, (2, 3_000_000)))
    assert len(grids) >= 4 and all(y <= 65_535 and z <= 65_535 for _, y, z in grids)
    assert [x for x, _, _ in grids[:2]] == [70_000, 300_000 // (4 if SIMULATED else 64) + (not SIMULATED)]


def layout_of(x, shape):
    """The one element of ``x`` repeated to an array that takes no memory."""
    from fastconv.backends.cuda.runtime import layout

    return layout.broadcast(x.view((1,) * len(shape), None), shape)


def test_split_k_keeps_the_grid(monkeypatch):
    from fastconv.backends.cuda.conv import cost

    monkeypatch.setattr(cost, "GRID", 8)
    cost.plans.cache_clear()
    plans = [p for k in (64, 4096) for p in cost.plans(16, 8, k, 3, "fma", 4, False)]
    cost.plans.cache_clear()
    assert all(3 * p.split_k <= 8 for p in plans) and any(p.split_k > 1 for p in plans)


def test_optimizers_match_numpy(engine):
    """Parameters of several pieces, gradients in another memory order than theirs."""
    shapes = (3, 4, 5, 2), (70,), (1,)
    for make in (
        lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
        lambda p: optim.SGD(p, lr=0.1),
        lambda p: optim.Adam(p, lr=0.1, weight_decay=0.1),
        lambda p: optim.AdamW(p, lr=0.1),
        lambda p: optim.Adam(p, amsgrad=True, maximize=True),
        lambda p: optim.RMSprop(p, centered=True, momentum=0.5),
        lambda p: optim.RMSprop(p),
        lambda p: optim.Adagrad(p),
        lambda p: optim.Adadelta(p),
        lambda p: optim.Adamax(p),
        lambda p: optim.NAdam(p),
        lambda p: optim.RAdam(p, betas=(0.5, 0.9)),
        lambda p: optim.Rprop(p),
        lambda p: optim.ASGD(p),
    ):
        results = []
        for name in ("numpy", "cuda"):
            with fc.backend(name):
                params = [fc.tensor(values(*s), requires_grad=True) for s in shapes]
                optimizer = make(params)
                for step in range(3):
                    for i, p in enumerate(params):
                        grad = fc.tensor(values(*p.shape[::-1], seed=10 * step + i))
                        p.grad = grad.permute(*range(p.ndim)[::-1])
                    optimizer.step()
                results.append([p.numpy() for p in params])
        for a, b in zip(*results):
            np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-6)


# ------------------------------------------------------------------------------------------------- devices
def test_mixing_devices_says_how_to_move(engine):
    host, device = fc.ones(2, 2), fc.ones(2, 2, device="cuda")
    for a, b in ((host, device), (device, host)):
        with pytest.raises(ValueError, match=r"\.to\('(cuda|cpu)'\)"):
            a + b
    net = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="cuda"):
        net(device)
    assert net.to("cuda")(device).device == "cuda"
    with fc.backend("cuda"):
        assert net(np.ones((1, 2), np.float32)).device == "cuda"  # NumPy inputs follow the backend


def test_assigning_host_arrays(engine):
    x = fc.zeros(2, 3, device="cuda")
    x[0] = np.arange(3.0)
    x[1, 1:] = [7.0, 8.0]
    np.testing.assert_array_equal(x.numpy(), [[0, 1, 2], [0, 7, 8]])


def test_host_array_in_a_launch_is_refused(engine):
    from fastconv.backends.cuda.runtime import launch, layout

    with pytest.raises(TypeError, match="fill: argument 0 is a host array"):
        launch.launch(layout.fill_kernel(), 1, 1, np.ones(3, np.float32), np.float32(1), 3)
    with pytest.raises(TypeError, match="fill: argument 1 is a float"):
        launch.launch(layout.fill_kernel(), 1, 1, engine.zeros((3,), np.float32), 1.0, 3)


def test_round_trip_and_gradient_through_to(engine):
    x = fc.tensor(values(2, 3), requires_grad=True)
    (x.to("cuda") * 3.0).cpu().sum().backward()
    assert x.grad.device == "cpu"
    np.testing.assert_array_equal(x.grad.numpy(), np.full((2, 3), 3.0))


def test_state_dict_crosses_devices(tmp_path):
    with fc.backend("cuda"):
        net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    fc.save(net.state_dict(), tmp_path / "net.safetensors")
    other = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    other.load_state_dict(fc.load(tmp_path / "net.safetensors"))
    np.testing.assert_array_equal(other[0].weight.numpy(), net[0].weight.numpy())
    net.load_state_dict(other.state_dict())
    assert net[0].weight.device == "cuda"


def test_training_matches_the_numpy_backend():
    """A small net, ten steps: the same losses, up to rounding."""
    x, y = values(12, 6), np.arange(12) % 3
    losses = {}
    for name in ("numpy", "cuda"):
        fc.manual_seed(1)
        with fc.backend(name):
            net = nn.Sequential(
                nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3)
            )
            optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
            losses[name] = []
            for _ in range(10):
                loss = F.cross_entropy(net(fc.tensor(x)), fc.tensor(y))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses[name].append(loss.item())
    np.testing.assert_allclose(losses["cuda"], losses["numpy"], rtol=1e-4)
    assert losses["cuda"][-1] < losses["cuda"][0]


# ------------------------------------------------------------------------------------------------- memory
def test_an_optimized_net_gives_the_same_results():
    fc.set_float32_precision("highest")  # optimized, a dense layer is a convolution, which may use TF32
    net = (
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
        .eval()
        .to("cuda")
    )
    fast, inputs = fc.optimize_for_inference(net), [fc.tensor(values(2, 1, 4, 4)) * k for k in range(4)]
    want = [net(x.to("cuda")).cpu().numpy() for x in inputs]
    assert all(p.device == "cuda" for p in fast.parameters())
    net[0].weight.data[:] = 0.0  # the copy has memory of its own
    for x, y in zip(inputs, want):
        np.testing.assert_allclose(fast(x.to("cuda")).cpu().numpy(), y, rtol=1e-4, atol=1e-6)
    (program,) = fast.forward.programs
    assert [call.op for call in program.calls if "reshape" != call.op != "permute"] == ["conv_fwd"] * 2
    rows = fc.profile(fast, inputs[1].to("cuda"), 1).layers
    assert [row.type for row in rows] == ["Conv2d+BatchNorm2d+ReLU", "Flatten", "Linear"]


def test_an_optimized_net_of_two_inputs():
    net = TwoInputs().eval().to("cuda")
    fast = fc.optimize_for_inference(net)
    for k in range(4):
        x, y = fc.tensor(values(2, 4, 3, 3)).to("cuda") * k, fc.tensor(values(2, 4, 1, 1)).to("cuda")
        for pair in ((x, y), (x, x)):
            np.testing.assert_allclose(
                fast(*pair).cpu().numpy(), net(*pair).cpu().numpy(), rtol=1e-4, atol=1e-6
            )


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)

    def forward(self, x, y):
        return self.conv(x) * y


def test_steady_steps_allocate_nothing(engine):
    with fc.backend("cuda"):
        net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
        optimizer = optim.Adam(net.parameters())

        def step():
            loss = net(fc.ones(4, 6)).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        for _ in range(3):
            step()
        gc.collect()  # what earlier tests left in cycles must not be freed between the counts
        before = fc.cuda.memory_stats()
        for _ in range(3):
            step()
        after = fc.cuda.memory_stats()
    assert after["fresh"] == before["fresh"] and after["used_bytes"] == before["used_bytes"]
    assert after["taken"] > before["taken"]


def test_views_keep_their_memory(engine):
    part = engine.getitem(engine.asarray(np.arange(100, dtype=np.float32)), slice(10, 13))
    others = [engine.zeros((100,), np.float32) for _ in range(5)]
    np.testing.assert_array_equal(engine.to_host(part), [10, 11, 12])
    del others


def test_out_of_memory_names_the_op(engine, monkeypatch):
    from fastconv.backends.cuda.runtime import device

    def full(size):
        raise MemoryError

    x = fc.tensor(values(2, 3, 4, 4), device="cuda")
    monkeypatch.setattr(device, "allocate", full)
    fc.cuda.empty_cache()
    with pytest.raises(MemoryError, match=r"avg_pool_fwd\(x 2x3x4x4\): out of .*memory: 0.0 MiB asked for"):
        F.avg_pool2d(x, 2)


def test_free_memory_is_bounded(engine, monkeypatch):
    """By the memory that was in use; not in a graph, whose kernels know addresses, nor during a recording."""
    from fastconv.backends.common import size_classes
    from fastconv.backends.cuda.runtime import pool

    monkeypatch.setattr(size_classes.Blocks, "spare", 1 << 20)
    bounded, own = pool.Pool(), pool.Pool(bounded=False)
    for p in (bounded, own):
        for mib in (1, 2, 3, 5, 7, 11):
            block = p.take(mib << 20)
            del block
    assert bounded.free_bytes <= (11 << 20) + (1 << 20) and own.free_bytes == 29 << 20
    free = bounded.free_bytes
    bounded.recent = bounded.before = 0
    with pool.nothing_given_back():
        bounded.give_block((0, np.empty(0), {}), 512)
    assert bounded.free_bytes == free + 512
    bounded.give_block((0, np.empty(0), {}), 512)
    assert bounded.free_bytes <= 1 << 20


@pytest.mark.skipif(not SIMULATED, reason="the simulator's check")
def test_the_simulator_finds_faults(engine):
    """Reading what nobody wrote gives NaN, reading outside an array raises: the suite would notice both."""
    from fastconv.backends.cuda.runtime import launch, layout, memory

    assert np.isnan(engine.to_host(memory.empty((5,), np.float32))).all()
    x = engine.zeros((3,), np.float32)
    for shape, steps in (((5,), (1,)), ((2,), (3,))):
        tables = [tuple(map(np.int64, t)) for t in (shape, steps, (1,))]
        with pytest.raises(IndexError):
            launch.launch(
                layout.copy_kernel(np.int64), 1, 1, x, engine.zeros((9,), np.float32), *tables, shape[0]
            )


def test_free_blocks_go_back_to_the_driver(engine, monkeypatch):
    """Numba frees memory later, so its list is emptied as well: after kernels have ended, and never while a
    stream records."""
    from fastconv.backends.cuda.runtime import device, pool

    done = []
    monkeypatch.setattr(device, "free_now", lambda: done.append(pool.shared.free_bytes))
    fc.cuda.empty_cache()
    assert done == [0]
    with pool.nothing_given_back():
        fc.cuda.empty_cache()
    assert done == [0]


def test_memory_that_numba_keeps_is_freed(monkeypatch):
    from fastconv.backends.cuda.runtime import device

    freed = []
    lists = [SimpleNamespace(clear=lambda name=name: freed.append(name)) for name in ("memory", "events")]
    context = SimpleNamespace(memory_manager=SimpleNamespace(deallocations=lists[0]), deallocations=lists[1])
    monkeypatch.setattr(device, "on_host", False)
    monkeypatch.setattr(device, "cuda", SimpleNamespace(current_context=lambda: context))
    device.free_now()
    assert freed == ["memory", "events"]


def test_new_memory_is_poisoned_where_the_variable_says_so(engine, monkeypatch):
    """On the stream that the kernels are launched on, which is another one while a graph is recorded."""
    from fastconv.backends.cuda.runtime import context, device, driver, memory, pool

    filled = []
    monkeypatch.setattr(pool.shared, "take", lambda nbytes: SimpleNamespace(address=512, known={}))
    monkeypatch.setattr(driver, "call", lambda name, *args: filled.append(args[1:]))
    monkeypatch.setattr(driver, "main_stream", lambda: 1)
    monkeypatch.setattr(device, "on_host", False)
    for value in (None, "0", "1"):
        monkeypatch.setitem(fc.backends.settings.ENVIRONMENT, "FASTCONV_CUDA_POISON", value)
        memory.empty((3, 5), np.float32)
    with context.use(context.current()._replace(target=2)):
        memory.empty((7,), np.uint8)
        memory.empty((0,), np.uint8)
    assert filled == [(0xFF, 60, 1), (0xFF, 7, 2)]


def test_out_of_memory_in_both_forms(monkeypatch):
    """Numba's error and that of cuda-core are a MemoryError; another error stays what it is."""
    from fastconv.backends.cuda.runtime import device

    def fail_with(text):
        def device_array(size, dtype):
            raise RuntimeError(text)

        monkeypatch.setattr(device, "cuda", SimpleNamespace(device_array=device_array))

    monkeypatch.setattr(device, "on_host", False)
    for text in (
        "[CUresult.CUDA_ERROR_OUT_OF_MEMORY] Call to cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY",
        "CUDA_ERROR_OUT_OF_MEMORY: the API call failed",
    ):
        fail_with(text)
        with pytest.raises(MemoryError):
            device.allocate(512)
    fail_with("CUDA_ERROR_ILLEGAL_ADDRESS")
    with pytest.raises(RuntimeError, match="ILLEGAL_ADDRESS"):
        device.allocate(512)


# ------------------------------------------------------------------------------------------------- other
# libraries
@pytest.mark.skipif(not SIMULATED, reason="NumPy takes no memory of a GPU")
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
def test_dlpack_without_copies(dtype, engine):
    """Under the simulator memory is the host's, so NumPy can take it and lend its own."""
    from fastconv.backends.cuda.runtime import dlpack

    lent = len(dlpack.lent)
    x = fc.tensor(values(2, 3, 4) > 0, device="cuda").astype(dtype)
    y = x.permute(2, 0, 1)
    theirs = np.from_dlpack(y)
    assert (
        theirs.strides == y.array.strides and theirs.dtype == dtype and theirs.ctypes.data == y.array.address
    )
    np.testing.assert_array_equal(theirs, y.numpy())
    capsule = y.__dlpack__()
    assert len(dlpack.lent) == lent + 2
    del x, y, theirs, capsule
    assert len(dlpack.lent) == lent, "the memory is given back when nobody uses it"

    for host in (values(3, 5).astype(dtype), values(4, 6).astype(dtype).T[1:]):
        mine = dlpack.borrow(host)
        assert mine.address == host.ctypes.data
        np.testing.assert_array_equal(engine.to_host(mine), host)
    with pytest.raises(ValueError, match="runs backwards"):
        dlpack.borrow(host[::-1])
    with pytest.raises(BufferError, match="clone"):
        np.from_dlpack(fc.ones(2, device="cuda"), copy=True)
    assert not hasattr(fc.ones(1), "__cuda_array_interface__")


@pytest.mark.skipif(not SIMULATED, reason="the simulator's memory is the host's")
@pytest.mark.parametrize(("where", "words"), [((2, 1), "memory of GPU 1"), ((10, 0), "device type 10")])
def test_dlpack_refuses_another_device(where, words, engine):
    from fastconv.backends.cuda.runtime import dlpack

    class Elsewhere:
        def __dlpack_device__(self):
            return where

    with pytest.raises(TypeError, match=f"the array is in .*{words}.*, and fastconv computes on host memory"):
        dlpack.borrow(Elsewhere())


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_dlpack_borrowed_from_itself(dtype, engine):
    """What one array lends another may borrow: the same memory, on a device as under the simulator."""
    from fastconv.backends.cuda.runtime import dlpack

    lent = len(dlpack.lent)
    x = fc.tensor(values(2, 3, 4) > 0, device="cuda").astype(dtype)
    y = x.permute(2, 0, 1)
    mine = dlpack.borrow(y)
    assert mine.address == y.array.address and mine.strides == y.array.strides and mine.dtype == dtype
    np.testing.assert_array_equal(engine.to_host(mine), y.numpy())
    assert len(dlpack.lent) == lent + 1
    del mine
    assert len(dlpack.lent) == lent
    capsule = y.__dlpack__()
    del capsule
    assert len(dlpack.lent) == lent, "a capsule that nobody consumed gives its memory back"
    with pytest.raises(BufferError, match="clone"):
        y.__dlpack__(copy=True)


@needs_gpu
def test_exchange_with_other_libraries(engine):
    cupy = pytest.importorskip("cupy")
    x = fc.tensor(values(2, 3, 4, 5), device="cuda")
    theirs = cupy.asarray(x)
    assert theirs.data.ptr == x.array.address
    np.testing.assert_array_equal(cupy.asnumpy(theirs), x.numpy())
    for mine in (fc.from_dlpack(theirs), fc.from_dlpack(cupy.ascontiguousarray(theirs))):
        np.testing.assert_array_equal(mine.numpy(), x.numpy())
    assert cupy.from_dlpack(x).data.ptr == x.array.address


# ------------------------------------------------------------------------------------------------- without a
# GPU
def run_python(program, **environment):
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=os.environ | environment
    )


@pytest.mark.skipif(not SIMULATED, reason="there is a GPU")
def test_without_a_gpu_everything_else_works():
    program = """
import fastconv as fc
assert not fc.cuda.is_available()
assert fc.ones(2).sum().item() == 2
for attempt in (lambda: fc.ones(1).to("cuda"), lambda: fc.set_backend("cuda")):
    try:
        attempt()
    except RuntimeError as e:
        print(e)
"""
    done = run_python(program, NUMBA_ENABLE_CUDASIM="0")
    assert done.returncode == 0, done.stderr
    missing = (
        "numba-cuda is not installed"
        if find_spec("numba_cuda") is None
        else "no NVIDIA driver or GPU was found"
    )
    assert done.stdout.count(f"backend 'cuda': {missing}") == 2


class NumbaCuda:
    """What ``availability`` asks of numba-cuda: a driver, and a compiler that may not be found."""

    def __init__(self, compiler=True, toolkit=(12, 4), newest=(12, 8), error=None):
        def raises():
            raise RuntimeError("Failure finding libnvvm.so: no such file\nin many lines")

        self.is_available, self.initialization_error = error is None, error
        self.cudadrv = SimpleNamespace(
            driver=SimpleNamespace(driver=self),
            nvvm=SimpleNamespace(is_available=(lambda: True) if compiler else raises),
            runtime=SimpleNamespace(get_version=lambda: toolkit),
        )
        self.get_version = lambda: newest


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, None),
        ({"error": "\nNo device (100)\n"}, r"no NVIDIA driver or GPU was found .*: No device \(100\)$"),
        (
            {"compiler": False},
            r"NVVM and NVRTC\) was not found \(Failure finding libnvvm.so: no such file\);.*CUDA_HOME",
        ),
        ({"toolkit": (13, 0)}, r"version 13.0, the driver runs programs up to 12.8; .*fastconv\[cu12\]"),
    ],
)
def test_what_is_missing_is_said_in_words(options, words):
    """numba-cuda raises where a library is not found; that is a reason, not an error."""
    reason = availability.unusable(NumbaCuda(**options))
    assert reason is None if words is None else re.search(words, reason), reason


def test_the_usual_folder_of_the_toolkit_is_found(tmp_path, monkeypatch):
    for name in ("CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    availability.find_toolkit(tmp_path)
    assert "CUDA_HOME" not in os.environ
    (tmp_path / "nvvm").mkdir()
    monkeypatch.setenv("CUDA_PATH", "chosen")
    availability.find_toolkit(tmp_path)
    assert "CUDA_HOME" not in os.environ
    monkeypatch.delenv("CUDA_PATH")
    monkeypatch.setenv("CUDA_HOME", "")  # monkeypatch takes back what the function sets
    availability.find_toolkit(tmp_path)
    assert os.environ["CUDA_HOME"] == str(tmp_path)


def gpu_session(*options, **environment):
    script = Path(__file__).parents[2] / "bench" / "gpu_session.py"
    return subprocess.run(
        [sys.executable, str(script), *options], capture_output=True, text=True, env=os.environ | environment
    )


@pytest.mark.skipif(not SIMULATED, reason="there is a GPU")
def test_gpu_session_without_a_gpu_says_so(tmp_path):
    done = gpu_session("--out", str(tmp_path / "out"))
    assert done.returncode == 2 and done.stderr.startswith("gpu_session: nothing to measure: ")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not SIMULATED, reason="there is a GPU")
def test_a_stage_of_the_gpu_session(tmp_path):
    """What has no meaning on the simulator is skipped, and what the time does not suffice for is not run."""
    done = gpu_session("--dry-run", "--stage", "memcheck", "counters", "--out", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    stages = json.loads((tmp_path / "machine.json").read_text())["stages"]
    assert list(stages) == ["memcheck", "counters"]
    assert all(row["outcome"].startswith("skipped: ") for row in stages.values())
    done = gpu_session("--dry-run", "--stage", "smoke", "--budget", "1", "--out", str(tmp_path))
    assert done.returncode == 1 and "smoke            0.0 s  not run: the time is up" in done.stdout


@pytest.mark.full
@pytest.mark.skipif(not SIMULATED, reason="there is a GPU")
def test_a_dry_run_of_the_gpu_session(tmp_path):
    done = gpu_session("--dry-run", "--out", str(tmp_path), FASTCONV_COMMIT="abc")
    assert done.returncode == 0, done.stdout + done.stderr
    machine = json.loads((tmp_path / "machine.json").read_text())
    outcomes = {name: row["outcome"].partition(":")[0] for name, row in machine["stages"].items()}
    skipped = dict.fromkeys(("memcheck", "racecheck", "counters", "kernel_times"), "skipped")
    stages = ("smoke", "tests", "nets", "steps", "layers", "bandwidth", "threads")
    assert outcomes == dict.fromkeys(stages, "passed") | skipped
    assert machine["commit"] == "abc" and machine["numpy"] == np.__version__

    def rows(name):
        return list(csv.DictReader((tmp_path / name).open()))

    assert {r["outcome"] for r in rows("checks.csv")} == {"passed"}
    assert {r["stage"] for r in rows("checks.csv")} == {"smoke", "tests", "steps", "threads"}
    nets, layers, bandwidth = (rows(f"{name}.csv") for name in ("nets", "layers", "bandwidth"))
    assert {(r["pass"], r["engine"]) for r in nets} == {
        (which, engine) for which in ("train", "infer") for engine in ("fastconv", "fastconv-graph")
    }
    assert all(a["loss_1"] == b["loss_1"] for a, b in zip(nets[::2], nets[1::2]))  # as a graph and without
    assert {r["pass"] for r in layers} == {"fwd", "bwd_data", "bwd_weight"}
    assert all(float(r["error"]) < 1e-3 for r in layers)
    assert len(bandwidth) == 10
    assert all(float(r["milliseconds"]) > 0 for r in [*nets, *layers, *bandwidth[1:]])
    assert "test_reshape_is_a_view_where_strides_allow" in (tmp_path / "tests.txt").read_text()
    assert len(list(tmp_path.iterdir())) <= 8


@pytest.mark.full
def test_every_kernel_compiles_for_a_device(tmp_path):
    """PTX for the capabilities 8.0 and 9.0; with ptxas: no spills, registers within a block's budget."""
    table = tmp_path / "kernels.csv"
    script = Path(__file__).parents[2] / "tools" / "cuda_report.py"
    done = subprocess.run([sys.executable, str(script), "--csv", str(table)], capture_output=True, text=True)
    if done.returncode == 2:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    rows = list(csv.DictReader(table.open()))
    assert {r["capability"] for r in rows} == {"8.0", "9.0"}
    if {r["ptxas"] for r in rows} == {"missing"}:
        pytest.skip("compiled, but not assembled: no ptxas")
    assert sum(int(r["spilled_bytes"]) for r in rows) == 0


# ------------------------------------------------------------------------------------------- cross entropy
def test_labels_are_checked_again_when_they_change():
    """The host knows the range of labels that it sent, until a kernel writes others."""
    logits, labels = fc.ones(3, 4).to("cuda"), fc.tensor([0, 3, 1]).to("cuda")
    assert float(F.cross_entropy(logits, labels)) == pytest.approx(np.log(4))
    labels[1] = 4
    with pytest.raises(ValueError, match="4"):
        F.cross_entropy(logits, labels)
    wrong = fc.tensor([9, 0, 1, 2]).to("cuda")
    assert float(F.cross_entropy(logits, wrong[1:])) == pytest.approx(np.log(4))
    with pytest.raises(ValueError, match="9"):
        F.cross_entropy(logits, wrong[:3])


@pytest.mark.full
@pytest.mark.parametrize("classes", [8, 5])
def test_the_mean_of_many_losses(classes):
    """Blocks sum a part of the rows each; a row may begin with numbers that count as minus infinity."""
    x, labels = values(3000, classes), np.random.default_rng(1).integers(1, classes, 3000)
    x[::7, 0] = -np.inf
    got, want = (
        F.cross_entropy(fc.tensor(x).to(device), fc.tensor(labels).to(device)) for device in ("cuda", "cpu")
    )
    assert float(got) == pytest.approx(float(want), rel=1e-5)
