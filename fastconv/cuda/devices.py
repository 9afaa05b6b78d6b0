"""The GPUs of this machine, and the one that this process computes on."""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

from .. import backends
from ..checks import check
from .state import is_available


class DeviceProperties(NamedTuple):
    """What a GPU is, as :func:`get_device_properties` returns it.

    Attributes
    ----------
    name : str
    major, minor : int
        The compute capability.
    total_memory : int
        In bytes.
    multi_processor_count : int
    """

    name: str
    major: int
    minor: int
    total_memory: int
    multi_processor_count: int


def device_count() -> int:
    """The number of GPUs that this process sees; 0 where none can be used (see :func:`missing`).

    ``CUDA_VISIBLE_DEVICES`` hides GPUs from a process. Numba's simulator counts as one.

    Examples
    --------
    >>> fc.cuda.device_count() > 0 if fc.cuda.is_available() else fc.cuda.device_count() == 0
    True
    """
    return backends.load("cuda").properties.count() if is_available() else 0


def current_device() -> int:
    """The number of the GPU that this process computes on: 0, unless :func:`set_device` chose another one.

    Raises
    ------
    RuntimeError
        If there is no GPU.

    Examples
    --------
    >>> fc.cuda.current_device()
    0
    """
    return backends.load("cuda").device.number()


def set_device(device: Any) -> None:
    """Choose the GPU that this process computes on, before its first use.

    A process of fastconv computes on one GPU. For several GPUs, start one process for each.

    Parameters
    ----------
    device : int or str
        Its number, or ``"cuda"`` (the current one) or ``"cuda:1"``.

    Raises
    ------
    ValueError
        If there is no GPU of this number.
    RuntimeError
        If the process computes on another GPU already, or there is no GPU.

    Examples
    --------
    >>> fc.cuda.set_device(0)
    >>> fc.cuda.set_device("cuda:0")
    """
    backends.load("cuda").device.choose(_number("set_device", device))


def get_device_properties(device: Any = None) -> DeviceProperties:
    """Name, compute capability, memory and multiprocessors of a GPU, by default of the current one.

    The simulator has zeros.

    Parameters
    ----------
    device : int or str, optional
        As for :func:`set_device`.

    Raises
    ------
    ValueError
        If there is no GPU of this number.
    RuntimeError
        If there is no GPU.

    Examples
    --------
    >>> fc.cuda.get_device_properties().total_memory >= 0
    True
    """
    number = _number("get_device_properties", device)
    return DeviceProperties(*backends.load("cuda").properties.of(number))


def get_device_name(device: Any = None) -> str:
    """The name of a GPU, such as ``"NVIDIA H100 80GB HBM3"``; arguments and errors as
    :func:`get_device_properties`.

    Examples
    --------
    >>> isinstance(fc.cuda.get_device_name(), str)
    True
    """
    return get_device_properties(device).name


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """The compute capability of a GPU, such as ``(9, 0)``; arguments and errors as
    :func:`get_device_properties`.

    Examples
    --------
    >>> len(fc.cuda.get_device_capability(0))
    2
    """
    found = get_device_properties(device)
    return found.major, found.minor


def check_current(name: str, device: Any) -> None:
    """Refuse a device that is not the current one, for the function ``name``."""
    number = _number(name, device)
    check(
        number == current_device(),
        name,
        f"this process computes on GPU {current_device()} only, got {device!r}",
    )


def _number(name: str, device: Any) -> int:
    """The number of the GPU that ``device`` means, which there must be."""
    if device is None or device == "cuda":
        return current_device()
    text = device.removeprefix("cuda:") if isinstance(device, str) else device
    try:
        number = int(text) if isinstance(text, str) else operator.index(text)
    except (TypeError, ValueError):
        raise TypeError(
            f"{name}: expected the number of a GPU or 'cuda:NUMBER', got {device!r:.60}"
        ) from None
    there = backends.load("cuda").properties.count()
    check(
        0 <= number < there,
        name,
        f"there {'is' if there == 1 else 'are'} {there} GPU(s), from 0 on; got {device!r}",
    )
    return number
