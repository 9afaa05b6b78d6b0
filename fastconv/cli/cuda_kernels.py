"""The CUDA kernels of common nets, compiled without a GPU.

Nets train and infer with launches noted instead of started (``backends/cuda/runtime/device.py``), in every
precision, as ordinary steps and as recorded ones. Each process compiles its share of what was noted.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import Any

import numpy as np

from .. import backends, models, optim
from ..autograd import no_grad
from ..backends import settings
from ..creation import zeros
from ..nn import functional as F

#: A kernel, and the types of its arguments.
Kernel = tuple[Any, tuple[Any, ...]]

#: A net, options of its builder, batches, the shape of an image.
NETS: tuple[tuple[str, dict[str, Any], tuple[int, ...], tuple[int, ...]], ...] = (
    ("lenet5", {}, (64, 256), (1, 28, 28)),
    ("resnet18", {"num_classes": 10, "small_input": True}, (64, 128, 512), (3, 32, 32)),
    ("resnet18", {}, (32,), (3, 224, 224)),
)


PRECISIONS = "high", "medium", "highest"


class _Untouched(np.ndarray[Any, Any]):
    """Memory of the host that is never filled, so that it takes no space."""

    def fill(self, value: Any) -> None:
        """Leave it as it is."""


def _memory(size: int) -> np.ndarray[Any, Any]:
    return _Untouched((size,), np.uint8)


def _steps(name: str, options: dict[str, Any], batch: int, shape: tuple[int, ...]) -> None:
    """Train and infer."""
    net: Any = getattr(models, name)(**options).to("cuda")
    x = zeros(batch, *shape, device="cuda")
    y = zeros(batch, dtype="int64", device="cuda")
    engine: Any = backends.load("cuda")

    def step(optimizer: optim.Optimizer) -> None:
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()

    for optimizer in (
        optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4),
        optim.Adam(net.parameters(), lr=1e-3),
    ):
        step(optimizer)
        engine.Graph([]).rehearse(functools.partial(step, optimizer))
    net.eval()
    with no_grad():
        net(x)
        (net(x).argmax(1) == y).sum()


@functools.cache
def noted(capability: tuple[int, int]) -> list[Kernel]:
    """Every kernel that the nets launch on a GPU of a capability, with the types of its arguments.

    No GPU is used in this process any more.
    """
    from ..backends.cuda.runtime import autotune, device

    found: dict[Kernel, None] = {}

    def note(kernel: Any, kinds: tuple[Any, ...], *launch: Any) -> None:
        found[kernel, kinds] = None

    def no_map(_: Any) -> np.ndarray[Any, Any]:
        return np.zeros(16, np.uint64)

    device.emulate(note, _memory, no_map, capability)
    precision = settings.get_float32_precision()
    with backends.backend("cuda"), autotune.every_way():
        for mode in PRECISIONS:
            settings.set_float32_precision(mode)
            for name, options, batches, shape in NETS:
                for batch in batches:
                    _steps(name, options, batch, shape)
    settings.set_float32_precision(precision)
    return list(found)


def compile_share(capability: tuple[int, int], part: int, parts: int) -> list[str]:
    """Compile one share; the names of its kernels."""
    from ..backends.cuda.codegen import compiler

    share = noted(capability)[part::parts]
    for kernel, kinds in share:
        compiler.cubin(kernel, kinds, capability)
    return [kernel.py_func.__name__ for kernel, _ in share]


def compile_all(capability: tuple[int, int], processes: int) -> Iterator[int]:
    """Compile everything; the number of kernels of each share that is done."""
    os.environ["NUMBA_ENABLE_CUDASIM"] = "0"  # in the processes started below
    parts = 4 * processes if processes > 1 else 1
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        jobs = [pool.submit(compile_share, capability, part, parts) for part in range(parts)]
        for job in as_completed(jobs):
            yield len(job.result())
