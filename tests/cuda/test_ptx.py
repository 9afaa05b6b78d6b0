"""The compiled CUDA kernels, run without a GPU by ``tools/ptx_machine.py``.

The tests of the ``cuda`` backend run again with the blocks and tiles of a device. Other tests check that the
machine finds the faults that it is made for.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import PTX

import fastconv as fc

ROOT = Path(__file__).parents[2]
on_the_machine = pytest.mark.skipif(not PTX, reason="run by test_on_the_machine")
SUITES = (
    "cuda/test_ptx",
    "cuda/test_hopper",
    "cuda/test_hopper_weight",
    "cuda/test_cuda_conv",
    "cuda/test_cuda_tiles",
    "cuda/test_cuda",
    "ops/test_ops",
)


@pytest.mark.full
@pytest.mark.skipif(PTX, reason="this is the machine")
def test_on_the_machine():
    """Addresses, alignment, barriers, waits, tensor-core instructions and results of every kernel."""
    sys.path.insert(0, str(ROOT / "tools"))
    from cuda_report import compiler_found

    if not compiler_found():
        pytest.skip('no CUDA compiler; pip install "fastconv[cu13]"')
    env = os.environ | {"FASTCONV_PTX_MACHINE": "1", "NUMBA_ENABLE_CUDASIM": "0"}
    # of the ops the float32 cases, without the largest convolutions, which take minutes; one tile per mode (a
    # gradient for the data is a forward pass)
    chosen = "(test_ptx or test_hopper or test_cuda and not tiles"
    chosen += (
        " or cuda and float32 and not residual and not tiles or tiles and 64x64x32 and wide and not bwd_data)"
    )
    chosen += " and not every_kernel and not gpu_session and not wide-highest"
    command = [sys.executable, "-m", "pytest", "-q", *(f"tests/{name}.py" for name in SUITES), "-k", chosen]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    print(done.stdout[-4000:])
    assert done.returncode == 0, done.stderr[-4000:]
    assert " passed" in done.stdout.splitlines()[-1]


@pytest.mark.full
@pytest.mark.skipif(PTX, reason="starts a machine of its own")
def test_what_bounds_a_layer():
    """Each pass of a convolution: one row, whose tensor cores are never busier than the whole."""
    command = [sys.executable, str(ROOT / "tools" / "cuda_roofline.py"), "--channels", "64"]
    done = subprocess.run(
        command, env=os.environ | {"NUMBA_ENABLE_CUDASIM": "0"}, capture_output=True, text=True
    )
    if done.returncode == 2:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines()[2:]]
    assert [row[1] for row in rows] == ["fwd", "bwd_data", "bwd_weight"]
    for _, _, _, tensor, *others, most, peak in rows:
        assert most in ("tensor", "issue", "shared", "cache") and 0 < int(peak.strip("%")) <= 100
        assert int(tensor) == 1000 and all(int(n) > 500 for n in others)


def start(function, *arrays, block=64):
    """Compile a kernel and run one block of it on copies of host arrays; these, afterwards."""
    from fastconv.backends.cuda.runtime import launch

    engine = fc.backends.load("cuda")
    arrays = [engine.asarray(a) for a in arrays]
    launch.launch(launch.kernel(function), 1, block, *arrays)
    return [engine.to_host(a) for a in arrays]


def faults(message):
    from ptx_machine import Fault

    return pytest.raises(Fault, match=message)


@on_the_machine
def test_a_kernel_runs():
    from fastconv.backends.cuda.runtime.launch import cuda

    def reverse(x):
        shared = cuda.shared.array(64, np.float32)
        t = cuda.threadIdx.x
        shared[t] = x[t]
        cuda.syncthreads()
        x[t] = shared[63 - t] if t % 3 else np.float32(-1)

    x = np.arange(64, dtype=np.float32)
    (got,) = start(reverse, x)
    np.testing.assert_array_equal(got, np.where(x % 3, x[::-1], -1))


@on_the_machine
def test_a_missing_barrier():
    from fastconv.backends.cuda.runtime.launch import cuda

    def neighbour(x):
        shared = cuda.shared.array(64, np.float32)
        t = cuda.threadIdx.x
        shared[t] = x[t]
        x[t] = shared[63 - t]

    def overwrite(x):
        shared = cuda.shared.array(64, np.float32)
        t = cuda.threadIdx.x
        shared[t] = x[t]
        cuda.syncthreads()
        x[t] = shared[63 - t]
        shared[t] = x[t]

    for function in (neighbour, overwrite):
        with faults("no barrier between"):
            start(function, np.ones(64, np.float32))


@on_the_machine
def test_memory_that_nobody_wrote():
    from fastconv.backends.cuda.runtime.launch import cuda

    def read(x):
        shared = cuda.shared.array(65, np.float32)
        t = cuda.threadIdx.x
        shared[t] = x[t]
        cuda.syncthreads()
        x[t] = shared[t + 1]

    with faults("nobody has written"):
        start(read, np.ones(64, np.float32))


@on_the_machine
def test_places_outside_of_arrays():
    from fastconv.backends.cuda.runtime.launch import cuda

    def beyond(x):
        x[cuda.threadIdx.x + 1] = np.float32(1)

    def before(x):
        x[cuda.threadIdx.x] = x[cuda.threadIdx.x - 1]

    def beyond_shared(x):
        shared = cuda.shared.array(64, np.float32)
        shared[cuda.threadIdx.x + 1] = x[cuda.threadIdx.x]
        cuda.syncthreads()
        x[cuda.threadIdx.x] = shared[cuda.threadIdx.x + 1]

    for function, message in (
        (beyond, "past the end"),
        (before, "past the end"),
        (beyond_shared, "outside of shared"),
    ):
        with faults(message):
            start(function, np.ones(64, np.float32))


@on_the_machine
def test_an_address_that_is_not_aligned():
    from fastconv.backends.cuda.codegen import ptx
    from fastconv.backends.cuda.runtime.launch import cuda

    load4, store4 = ptx.load4, ptx.store4

    def shifted(x, y):
        v = load4(x, np.int64(4 * cuda.threadIdx.x + 1))
        store4(y, np.int64(4 * cuda.threadIdx.x), v[0], v[1], v[2], v[3])

    with faults("no multiple of their size"):
        start(shifted, np.ones(300, np.float32), np.ones(256, np.float32))


@on_the_machine
@pytest.mark.parametrize("groups", [0, 1])
def test_a_copy_that_was_not_waited_for(groups):
    """Two groups of copies: waiting for all but one is too little to read the second."""
    from fastconv.backends.cuda.codegen import ptx
    from fastconv.backends.cuda.runtime.launch import cuda

    copy, commit, wait, pointer = ptx.copy_async(16), ptx.commit, ptx.wait(groups), ptx.pointer

    def twice(x):
        shared = pointer(cuda.shared.array(512, np.float32))
        t = np.int64(4 * cuda.threadIdx.x)
        copy(shared, t, x, t, True)
        commit()
        copy(shared, t + 256, x, t, cuda.threadIdx.x != 5)
        commit()
        wait()
        for i in range(4):
            x[t + i] = shared[t + i] + shared[t + i + 256]

    x = np.arange(1, 257, dtype=np.float32)
    if groups:
        with faults("has not been waited for"):
            start(twice, x)
    else:
        (got,) = start(twice, x)
        np.testing.assert_array_equal(got, np.where(np.arange(256) // 4 == 5, x, 2 * x))


@on_the_machine
def test_half_a_warp_multiplies():
    from fastconv.backends.cuda.codegen import ptx
    from fastconv.backends.cuda.runtime.launch import cuda

    mma, tf32 = ptx.mma_tf32, ptx.tf32

    def half(x):
        one, zero = tf32(np.float32(1)), np.float32(0)
        if cuda.threadIdx.x < 16:
            d = mma((one, one, one, one), (one, one), (zero, zero, zero, zero))
            x[cuda.threadIdx.x] = d[0]

    with faults("a part of a warp"):
        start(half, np.ones(64, np.float32))


@on_the_machine
def test_two_blocks_write_one_place():
    from fastconv.backends.cuda.runtime import launch
    from fastconv.backends.cuda.runtime.launch import cuda

    def number(x):
        x[0] = np.float32(cuda.blockIdx.x)

    x = fc.backends.load("cuda").asarray(np.zeros(4, np.float32))
    with faults("different numbers to one place"):
        launch.launch(launch.kernel(number), 2, 32, x)


@on_the_machine
@pytest.mark.parametrize("name", ["tf32", "bf16"])
def test_tensor_cores(name):
    """``mma`` on fragments as the manual draws them (PTX ISA, fragments for mma.m16n8k8 and .m16n8k16)."""
    from fastconv.backends.cuda.codegen import ptx
    from fastconv.backends.cuda.runtime.launch import cuda

    depth = 8 if name == "tf32" else 16
    mma, tf32, pack = getattr(ptx, f"mma_{name}"), ptx.tf32, ptx.pack_bf16

    def product(a, b, c):
        g, t = cuda.threadIdx.x // 4, cuda.threadIdx.x % 4
        if depth == 8:
            left = (
                tf32(a[g * 8 + t]),
                tf32(a[g * 8 + 64 + t]),
                tf32(a[g * 8 + t + 4]),
                tf32(a[g * 8 + 64 + t + 4]),
            )
            right = tf32(b[t * 8 + g]), tf32(b[t * 8 + 32 + g])
        else:
            i, k = g * 16, 2 * t
            left = (
                pack(a[i + k], a[i + k + 1]),
                pack(a[i + 128 + k], a[i + 129 + k]),
                pack(a[i + k + 8], a[i + k + 9]),
                pack(a[i + k + 136], a[i + k + 137]),
            )
            right = pack(b[k * 8 + g], b[k * 8 + 8 + g]), pack(b[k * 8 + 64 + g], b[k * 8 + 72 + g])
        to = g * 8 + 2 * t
        d = mma(left, right, (c[to], c[to + 1], c[to + 64], c[to + 65]))
        c[to], c[to + 1], c[to + 64], c[to + 65] = d[0], d[1], d[2], d[3]

    rng = np.random.default_rng(0)
    a, b, c = (rng.integers(-8, 8, n).astype(np.float32) for n in (16 * depth, depth * 8, 16 * 8))
    *_, got = start(product, a, b, c, block=32)
    np.testing.assert_array_equal(
        got.reshape(16, 8), c.reshape(16, 8) + a.reshape(16, depth) @ b.reshape(depth, 8)
    )
