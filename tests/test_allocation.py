"""No kernel allocates: inside a parallel kernel a failed allocation is lost, and results are wrong without an error. Where
memory is short, ops raise ``MemoryError`` and say which op it was."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import fastconv as fc
from fastconv.backends.cpu import jit
from fastconv.backends.cpu.warmup import jobs


def allocating(folder):
    """Files of compiled kernels that call Numba's allocator, all of whose functions begin alike."""
    return sorted(p.name for p in folder.glob("*") if b"NRT_MemInfo_alloc" in p.read_bytes())


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

    def lines(threads, y):
        for thread in jit.prange(threads):
            line = np.empty(y.size, y.dtype)
            line[:] = np.int64(thread)
            y[np.int64(thread)] = line[-1]

    jit.kernel(lines)(np.zeros(64))
    assert len(allocating(tmp_path)) == 1
