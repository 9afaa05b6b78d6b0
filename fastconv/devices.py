"""Devices: their names, and where new arrays go."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from . import backends
from .checks import check


def _cuda_number() -> int:
    """The number of the GPU that this process computes on; another one than 0 was chosen in the engine."""
    engine: Any = sys.modules.get("fastconv.backends.cuda")
    return 0 if engine is None else engine.device.number()


class device(str):  # noqa: N801 - PyTorch's name
    """A device's name, ``"cpu"`` or ``"cuda"``; equal to that string.

    ``"cuda:0"`` is the GPU, or another number if :func:`fastconv.cuda.set_device` chose it.

    >>> fc.device("cuda:0") == "cuda"
    True
    """

    def __new__(cls, name: str = "cpu") -> device:
        if isinstance(name, cls):
            return name
        short = "cpu" if name == "cpu:0" else "cuda" if name == f"cuda:{_cuda_number()}" else str(name)
        check(
            short in ("cpu", "cuda"),
            "device",
            f"expected 'cpu' or 'cuda', got {short!r}"
            + ("; fc.cuda.set_device chooses the GPU" if short.startswith("cuda:") else ""),
        )
        return super().__new__(cls, short)

    @property
    def type(self) -> str:
        """The name as a plain string."""
        return str(self)


def named(value: Any) -> device:
    """The device that a name or the number of a GPU means."""
    return device(f"cuda:{value}" if isinstance(value, int) else value)


def gpu(name: str, value: Any) -> device:
    """The GPU, which ``value``, an argument of the function ``name``, must mean if it is given."""
    known = (None, "cuda", _cuda_number(), f"cuda:{_cuda_number()}")
    check(
        value in known and not isinstance(value, bool),
        name,
        f"expected the GPU, {known[2]} or 'cuda', got {value!r:.60}; use to(device) for another device",
    )
    return CUDA


HOST, CUDA = device("cpu"), device("cuda")


def default_device() -> str:
    """Where new tensors live: ``"cuda"`` under the cuda backend, else ``"cpu"``."""
    return "cuda" if backends.get_backend() == "cuda" else "cpu"


def place(array: np.ndarray, name: str | None = None) -> Any:
    """A host array as an array of device ``name`` (None: the default device).

    Returns
    -------
    numpy.ndarray or cuda array
        On the host this is ``array`` itself.
    """
    where = device(default_device() if name is None else name)
    return backends.engine_of(where).asarray(array) if where == "cuda" else array
