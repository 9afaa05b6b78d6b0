"""This machine: lines for ``fastconv doctor``, and its rates of arithmetic and of memory."""

from __future__ import annotations

import ctypes
import math
import platform
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from time import thread_time

import numba
import numpy as np

from fastconv.backends import disk, settings

from ..codegen import emitter, gemm_tile, jit, target
from . import memory

#: Bytes of a usual third-level cache.
L3 = 32 << 20
#: Bytes of arrays that stay in caches from one kernel to the next. Kernels that read one line of each of many
#: pixels, which processors do not foresee, prefetch from larger arrays. From the caches that would cost about
#: 5 %.
CACHED = L3 // 2


def processor() -> str:
    """The processor's name, and LLVM's name for it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()} ({jit.machine()[1]})"


def vector_unit() -> str:
    """Width of the vectors that the kernels use, their register tile, and the processor's vector features."""
    known = ("sse4", "avx", "fma", "f16c", "amx", "neon", "sve", "bf16", "fp16", "i8mm")
    features = sorted(f for f, on in target.features().items() if on and f.startswith(known))
    tile = f"tile {gemm_tile.MAX_ROWS} x 2"
    return f"{emitter.VECTOR_BYTES * 8} bits x {emitter.REGISTERS} registers; {tile}; {' '.join(features)}"


def caches() -> str:
    """The second-level cache that blocks are made for."""
    return f"{settings.l2_bytes() >> 10} KiB of second-level cache per core"


def threading_layer() -> str:
    """Numba's threading layer. Asking starts its threads."""
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
    return (
        f"{s['used_bytes'] / 2**20:.1f} MB in use, {s['free_bytes'] / 2**20:.1f} MB free, "
        f"peak {s['peak_bytes'] / 2**20:.1f} MB, {s['taken']} taken, {s['fresh']} fresh"
    )


def _best_time(threads: int, work, runs: int) -> float:
    """Seconds of ``work(thread)`` in all threads at once, the best of ``runs``.

    This is processor time, so other programs that run at the moment do not count.
    """

    def timed(thread):
        start = thread_time()
        work(thread)
        return thread_time() - start

    with ThreadPoolExecutor(threads) as pool:
        return min(max(pool.map(timed, range(threads))) for _ in range(runs))


@lru_cache
def copy_rate(threads: int) -> float:
    """Bytes per second, read and written, of ``threads`` threads that copy more than the caches hold."""
    arrays = [np.ones((2, 1 << 23), np.float32) for _ in range(threads)]
    return (
        threads * arrays[0].nbytes / _best_time(threads, lambda t: np.copyto(arrays[t][0], arrays[t][1]), 24)
    )


def _are_rates(found) -> bool:
    numbers = isinstance(found, (list, tuple)) and all(isinstance(rate, (int, float)) for rate in found)
    return numbers and len(found) == 2 and all(0 < rate < math.inf for rate in found)


@lru_cache
def rates(threads: int) -> tuple[float, float]:
    """``peak`` and ``copy_rate`` of float32, measured once per machine and kept beside its kernels."""
    folder = jit.cache_dir()
    store = disk.Measurements(folder and folder / "rates.json")
    peak_rate, copy = store.get(str(threads), _are_rates, lambda: (peak(threads), copy_rate(threads)))
    return float(peak_rate), float(copy)


@lru_cache
def peak(threads: int, dtype: str = "float32") -> float:
    """FLOP/s of ``threads`` threads in a tile that never leaves the registers; measured once, in 0.1 s."""
    columns, depth = 2 * emitter.lanes(dtype), 1 << 21
    words = ctypes.c_int64 * 17
    tile = ctypes.CFUNCTYPE(None, ctypes.POINTER(ctypes.c_int64))(
        gemm_tile.tile_address(np.dtype(dtype), columns)
    )

    def multiply(_):
        numbers, taps = np.zeros(columns, dtype), np.zeros(1, np.int64)
        c = np.zeros((gemm_tile.MAX_ROWS, columns), dtype)
        ab, t = numbers.ctypes.data, taps.ctypes.data  # A and B are the same few numbers: all steps are 0
        tile(
            words(
                gemm_tile.MAX_ROWS,
                ab,
                0,
                0,
                t,
                ab,
                0,
                t,
                1,
                depth,
                c.ctypes.data,
                columns,
                0,
                0,
                columns,
                0,
                0,
            )
        )

    return threads * 2 * gemm_tile.MAX_ROWS * columns * depth / _best_time(threads, multiply, 6)
