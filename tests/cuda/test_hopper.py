"""The convolution for Hopper (``conv/hopper.py``) on such a device or on ``tools/ptx_machine.py``.

Then faults that the machine finds.
"""

from __future__ import annotations

import numpy as np
import pytest
from conftest import HAS_GPU, PTX

import fastconv as fc
from fastconv.spec.conv import conv_spec

on_the_machine = pytest.mark.skipif(not PTX, reason="run by test_ptx.py: test_on_the_machine")

#         x                 w               stride padding dilation precision tile  split k
CASES = [
    ((2, 64, 9, 11), (64, 64, 3, 3), 1, 1, 1, "medium", 3, 1),
    ((2, 32, 9, 11), (64, 32, 3, 3), 2, 1, 1, "high", 2, 1),
    ((2, 40, 9, 12), (72, 40, 3, 5), 1, 2, 1, "medium", 3, 1),  # channels no multiple of a line
    ((2, 20, 14, 13), (36, 20, 3, 3), 1, 2, 2, "high", 1, 1),
    ((3, 64, 14, 13), (264, 64, 1, 1), 2, 0, 1, "medium", 0, 1),
    ((2, 72, 7, 8), (132, 72, 3, 2), 1, 1, 1, "high", 2, 3),
    ((2, 4, 30, 31), (8, 4, 7, 7), 2, 3, 1, "high", 3, 1),
]


@pytest.mark.skipif(not (PTX or HAS_GPU), reason="needs a CUDA device; test_ptx.py: test_on_the_machine")
@pytest.mark.parametrize("case", CASES, ids=lambda c: "x".join(map(str, (*c[0], *c[1], *c[2:]))))
def test_both_passes(case):
    from fastconv.backends.cuda.conv import cost, hopper
    from fastconv.backends.cuda.runtime import device

    if HAS_GPU and device.capability() != hopper.CAPABILITY:
        pytest.skip("needs compute capability 9.0")
    x_shape, w_shape, stride, padding, dilation, precision, tile, split_k = case
    spec = conv_spec("conv2d", x_shape, w_shape, stride, padding, dilation)
    rng = np.random.default_rng(0)
    x, w, b, residual, gy = (
        rng.standard_normal(s, dtype=np.float32)
        for s in (x_shape, w_shape, w_shape[:1], spec.y_shape, spec.y_shape)
    )
    engine, reference = fc.backends.load("cuda"), fc.backends.load("numpy")
    before = fc.get_float32_precision()
    fc.set_float32_precision(precision)
    try:
        with cost.only_plans(cost.Plan(hopper.TILES[tile], split_k, 1.0)):
            on_device = [engine.asarray(v) for v in (x, w, b)]
            y = engine.conv_fwd(*on_device, spec, "implicit_gemm", engine.asarray(residual), "relu")
            gx = engine.conv_bwd_data(engine.asarray(gy), on_device[1], spec, "implicit_gemm")
    finally:
        fc.set_float32_precision(before)
    x, w, b, residual, gy = (v.astype(np.float64) for v in (x, w, b, residual, gy))
    _near(engine.to_host(y), np.maximum(reference.conv_fwd(x, w, b, spec) + residual, 0), precision)
    _near(engine.to_host(gx), reference.conv_bwd_data(gy, w, spec), precision)


def _near(got, wanted, precision):
    error = np.linalg.norm(got - wanted) / np.linalg.norm(wanted)
    assert error < (5e-4 if precision == "high" else 4e-3)


# ------------------------------------------------------------------------------------------------- faults
def start(body, fault):
    """Run a kernel of one warpgroup on a matrix of 64 lines of ones; return the result, or expect a fault."""
    from ptx_machine import Fault

    from fastconv.backends.cuda.codegen import hopper
    from fastconv.backends.cuda.runtime import launch, tensor_map

    engine = fc.backends.load("cuda")
    x = engine.asarray(np.ones((64, 32), np.float32))
    y = engine.asarray(np.zeros((64, 64), np.float32))
    maps = tensor_map.table(tensor_map.TensorMap("tf32", x.address, (32, 64), (128,), (32, 64)))
    kernel = launch.kernel(body(hopper, launch.cuda), launch_bounds=128)
    if fault is None:
        launch.launch(kernel, 1, 128, maps, x, y, shared=17 << 10)
        return engine.to_host(y)
    with pytest.raises(Fault, match=fault):
        launch.launch(kernel, 1, 128, maps, x, y, shared=17 << 10)


def product(copies=1, waits=True, arrives=8192, again=False):
    """A kernel that squares a matrix of 64 lines, with or without what makes it right."""

    def body(hopper, cuda):
        zeros, multiply, store = hopper.sums(64), hopper.products(64, "tf32", 1), hopper.store_sums(64)
        describe, map_address, shared_address = hopper.descriptor(), hopper.map_address, hopper.shared_address
        start_barrier, await_phase, finish = (
            hopper.start_barrier,
            hopper.await_phase,
            hopper.await_products(64),
        )
        arrive_expecting, copy = hopper.arrive_expecting, hopper.copy_tiled

        def square(maps, x, y):
            room = cuda.shared.array(0, np.uint32, alignment=1024)
            bar = shared_address(cuda.shared.array(1, np.uint64))
            at = (shared_address(room) + np.uint32(1023)) & np.uint32(0xFFFFFC00)
            thread = np.int32(cuda.threadIdx.x)
            if thread == 0:
                start_barrier(bar, np.uint32(1))
            cuda.syncthreads()
            if thread == 0:
                arrive_expecting(bar, np.uint32(arrives))
                for _ in range(copies):
                    copy(at, map_address(maps, np.int32(0)), bar, np.int32(0), np.int32(0))
            if waits:
                await_phase(bar, np.uint32(0))
            sums = multiply(zeros(), describe(at), describe(at))
            if again and thread == 0:
                copy(at, map_address(maps, np.int32(0)), bar, np.int32(0), np.int32(0))
            sums = finish(sums)
            row = 16 * (thread >> 5) + ((thread & 31) >> 2)
            store(y, np.int64(row * 64 + 2 * (thread & 3)), np.int64(64), sums)

        return square

    return body


@on_the_machine
def test_the_machine_multiplies_what_a_box_brought():
    assert (start(product(), None) == 32).all()


@on_the_machine
@pytest.mark.parametrize(
    "wrong, fault",
    [
        (dict(waits=False), "has not been waited for"),
        (dict(copies=2), "two boxes to one place"),
        (dict(again=True), "products still read"),
        (dict(arrives=8193), "wait for each other"),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else "",
)
def test_the_machine_finds_faults(wrong, fault):
    start(product(**wrong), fault)
