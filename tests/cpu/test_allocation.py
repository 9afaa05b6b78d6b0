"""No kernel allocates: inside a parallel kernel a failed allocation is lost, and results are wrong without an
error. Where memory is short, ops raise ``MemoryError`` and say which op it was."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import fastconv as fc
from fastconv.backends.common.out_of_memory import described
from fastconv.backends.cpu.codegen import jit
from fastconv.backends.cpu.warmup import jobs
from fastconv.errors import name_memory_error


def allocating(folder):
    """Files of compiled kernels that call Numba's allocator, all of whose functions begin alike."""
    return sorted(p.name for p in folder.glob("*") if b"NRT_MemInfo_alloc" in p.read_bytes())


@pytest.mark.full
@pytest.mark.skipif(jit.cache_dir() is None, reason="no folder for compiled kernels")
def test_no_kernel_allocates():
    with fc.backend("cpu"):
        for _, job in jobs():
            job()
    assert len(list(jit.cache_dir().glob("*"))) > 100
    assert allocating(jit.cache_dir()) == []


def test_allocation_is_seen(monkeypatch, tmp_path):
    """What the test above looks for is in a kernel that allocates."""
    monkeypatch.setattr(jit, "KERNELS", {})
    monkeypatch.setattr(jit, "cache_dir", lambda: tmp_path)

    def lines(thread, threads, y):
        line = np.empty(y.size, y.dtype)
        line[:] = thread
        y[thread] = line[-1]

    jit.kernel(lines)(np.zeros(64))
    assert len(allocating(tmp_path)) == 1


SHORT_OF_MEMORY = """
import gc, resource
import numpy as np
import fastconv as fc
import fastconv.nn.functional as F
from fastconv.backends.cpu.runtime import memory

fc.set_num_threads(2)
x, line, w = fc.rand(2, 8, 64, 64), fc.rand(1, 1, 100000), fc.rand(16, 8, 3, 3)
calls = {
    "max_pool": lambda: F.max_pool1d(line, 9, 1, 4),
    "max_pool, sliding": lambda: F.max_pool1d(line, 600, 1, 300),
    "avg_pool": lambda: F.avg_pool1d(line, 9, 1, 4),
    "avg_pool, sliding": lambda: F.avg_pool1d(line, 600, 1, 300),
    **{
        f"conv, {a}": lambda a=a: F.conv2d(x, w, padding=1, algorithm=a)
        for a in ("direct", "im2col", "winograd")
    },
    "conv, depthwise": lambda: F.conv2d(x, w[:8, :1], padding=1, groups=8, algorithm="depthwise"),
    "matmul": lambda: x.reshape(512, 128) @ x.reshape(128, 512),
    "softmax": lambda: F.softmax(x, 1),
}
with fc.backend("cpu"):
    for name, call in calls.items():
        want, errors = call().numpy().copy(), 0
        for bits in range(17, 27):
            memory.trim()
            gc.collect()
            used = 4096 * int(open("/proc/self/statm").read().split()[0])
            resource.setrlimit(resource.RLIMIT_AS, (used + (1 << bits), resource.RLIM_INFINITY))
            try:
                y = call().numpy()
            except MemoryError as e:
                y, error = None, str(e)
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
            if y is None:
                errors += 1
                assert error.startswith(name.split(",")[0]), error
            else:
                assert np.array_equal(y, want), f"{name}: wrong values with {bits} bits"
        assert y is not None, f"{name}: {error}"
        print(name, errors)
"""


def test_a_call_as_text():
    """Strings and shapes of arrays. Classes, as of dtypes, have a ``shape`` too, but no array's."""
    values = np.zeros((2, 3)), "relu", np.float32, (4, 5), np.dtype("f4"), None
    assert described("op", "abcdef", values) == "op(a 2x3, relu)"
    assert str(name_memory_error(type("E", (MemoryError,), {})(), "op", values)).startswith(
        "op of 2x3, scalar"
    )


@pytest.mark.full
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of the address space are Linux's")
def test_short_of_memory_is_an_error():
    """With any amount of address space an op gives the right result or a MemoryError that names it, nothing
    else."""
    done = subprocess.run(
        [sys.executable, "-c", SHORT_OF_MEMORY], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    errors = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())
    assert len(errors) == 10 and int(errors["max_pool"]) > 0
