"""What the cpu backend found on this machine, as lines for ``fastconv doctor``."""

from __future__ import annotations

import platform
from pathlib import Path

import numba

from . import jit, memory, simd


def processor() -> str:
    """The processor's name, and LLVM's name for it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()} ({simd.processor_name()})"


def vector_unit() -> str:
    """Width of the vectors that the kernels use, and the vector features of the processor."""
    known = ("sse4", "avx", "fma", "f16c", "amx", "neon", "sve", "bf16", "fp16", "i8mm")
    features = sorted(f for f, on in simd._host_features().items() if on and f.startswith(known))
    return f"{simd.VECTOR_BYTES * 8} bits x {simd.REGISTERS} registers; {' '.join(features)}"


def threading_layer() -> str:
    """Numba's threading layer (starts its threads)."""
    numba.get_num_threads()
    return numba.threading_layer()


def cache() -> str:
    """The kernel cache: folder, number of kernels, size."""
    folder = jit.cache_dir()
    if folder is None:
        return "no writable folder (set FASTCONV_CACHE_DIR); every process compiles anew"
    files = list(folder.glob("*.bin"))
    return f"{folder} ({len(files)} compiled kernels, {sum(f.stat().st_size for f in files) / 2**20:.1f} MB)"


def pool() -> str:
    """The buffer pool of this process."""
    s = memory.statistics()
    return (f"{s['used_bytes'] / 2**20:.1f} MB in use, {s['free_bytes'] / 2**20:.1f} MB free, "
            f"peak {s['peak_bytes'] / 2**20:.1f} MB, {s['taken']} taken, {s['fresh']} fresh")  # fmt: skip
