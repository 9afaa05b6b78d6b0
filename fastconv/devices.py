"""Devices: their names, and where new arrays go."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import backends
from .checks import check


class device(str):  # noqa: N801 - PyTorch's name
    """A device's name, ``"cpu"`` or ``"cuda"``; equal to that string.

    >>> fc.device("cuda:0") == "cuda"
    True
    """

    def __new__(cls, name: str = "cpu") -> device:
        if isinstance(name, cls):
            return name
        name = str(name).removesuffix(":0")
        check(name in ("cpu", "cuda"), "device", f"expected 'cpu' or 'cuda', got {name!r}")
        return super().__new__(cls, name)

    @property
    def type(self) -> str:
        """The name as a plain string."""
        return str(self)


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
