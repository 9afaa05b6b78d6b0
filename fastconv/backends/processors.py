"""The processors of this machine, as its system describes them: which ones are fast, and their caches.

Linux describes them in files, macOS in numbers with names. What is read is an argument, so each function can
be tested on a description of another machine. Where nothing is known (Windows), processors are taken for
equal, with caches of a usual size.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Collection
from pathlib import Path

DEVICES = Path("/sys/devices")
#: A second-level cache where nothing is known, and the sizes that are believed: some virtual machines say 0.
USUAL_L2, LEAST_L2, MOST_L2 = 1 << 20, 1 << 16, 1 << 25


def sysctl(name: str) -> int | None:
    """A number that macOS knows by name, such as ``hw.perflevel0.logicalcpu``; None where there is none."""
    if sys.platform != "darwin":
        return None
    value, size = ctypes.c_int64(0), ctypes.c_size_t(8)  # numbers of 4 bytes fill the lower half
    read = ctypes.CDLL(None).sysctlbyname
    failed = read(name.encode(), ctypes.byref(value), ctypes.byref(size), None, ctypes.c_size_t(0))
    return None if failed else value.value


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def parse_list(text: str) -> set[int]:
    """The numbers of a list as Linux writes it: ``0-3,8``; none where it is something else."""
    found: set[int] = set()
    try:
        for part in filter(None, text.split(",")):
            first, _, last = part.partition("-")
            found.update(range(int(first), int(last or first) + 1))
    except ValueError:
        return set()
    return found


def performance_cpus(
    allowed: Collection[int], devices: Path = DEVICES, number: Callable[[str], int | None] = sysctl
) -> set[int]:
    """The processors among ``allowed`` that kernels use by default: the performance cores.

    The threads of a kernel get equal shares of its work, so the slowest one decides when it ends. Where the
    system names performance cores (hybrid processors of Intel, Apple Silicon) these are used. Where it gives
    each processor a capacity (ARM) the fastest ones are used, as many as end an equally shared kernel first.
    The capacity is measured with integers. A core of half the capacity has vector units of half the width
    too, so the square of the capacity stands for its speed here.

    Parameters
    ----------
    allowed : collection of int
        What the process may use. If these are efficiency cores only, they are used.
    devices : Path
        The folder where Linux describes them.
    number : callable
        Reads macOS's numbers.
    """
    every = set(allowed)
    if fast := parse_list(_text(devices / "cpu_core" / "cpus")) & every:
        return fast
    count = number("hw.perflevel0.logicalcpu")
    if count is not None and 0 < count < len(every):
        return set(sorted(every)[:count])  # macOS does not say which ones they are
    capacities = {c: _text(devices / "system" / "cpu" / f"cpu{c}" / "cpu_capacity") for c in every}
    if not all(text.isdecimal() and int(text) for text in capacities.values()):
        return every
    order = sorted(every, key=lambda c: (-int(capacities[c]), c))
    speeds = [(i + 1) * int(capacities[c]) ** 2 for i, c in enumerate(order)]
    return set(order[: speeds.index(max(speeds)) + 1]) if order else every


def l2_bytes(
    cpus: Collection[int], devices: Path = DEVICES, number: Callable[[str], int | None] = sysctl
) -> int:
    """Bytes of the second-level cache that a core has for itself: the least among ``cpus``.

    Cores that share one (Cortex-A72, Apple Silicon) get equal parts. Threads of one core count as one.
    """
    found: list[int] = []
    for cpu in sorted(cpus):
        place = devices / "system" / "cpu" / f"cpu{cpu}"
        threads = max(len(parse_list(_text(place / "topology" / "thread_siblings_list"))), 1)
        for index in sorted((place / "cache").glob("index*")):
            size = _text(index / "size")
            if _text(index / "level") == "2" and size[-1:] == "K" and size[:-1].isdecimal():
                sharing = len(parse_list(_text(index / "shared_cpu_list")))
                found.append(int(size[:-1]) * 1024 // max(sharing // threads, 1))
    size, sharing = number("hw.perflevel0.l2cachesize"), number("hw.perflevel0.cpusperl2")
    if size:
        found.append(size // max(sharing or 1, 1))
    elif size := number("hw.l2cachesize"):  # Macs with a processor of Intel, where each core has one
        found.append(size)
    believed = [size for size in found if LEAST_L2 <= size <= MOST_L2]
    return min(believed, default=USUAL_L2)
