"""Whether all ranks have the same net, and copies of its tensors from one rank to all."""

# NumPy declares reshape without types.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ... import distributed
from ...backends import between
from ...checks import check, shape_str
from ...distributed.staging import on_host, write
from ...tensor import Tensor
from .bucket import memory_order

Description = list[tuple[str, str]]


def describe(net: Any) -> Description:
    """Name and, in words, shape, dtype and order in memory of each parameter and buffer."""
    found: Description = []
    for name, t in (*net.named_parameters(), *net.named_buffers()):
        kind = f"{shape_str(t.shape)} {t.dtype} on {t.device}"
        trained = "trained" if t.requires_grad else "not trained"
        found.append((name, f"{kind}, {trained}, axes in memory {memory_order(t.array)}"))
    return found


def refuse_if_different(name: str, own: Description) -> None:
    """ValueError on all ranks if the descriptions of their nets differ; it names rank and tensor."""
    first, *others = distributed.all_gather_object(own)
    for rank, other in enumerate(others, 1):
        if other == first:
            continue
        at = next((i for i, (a, b) in enumerate(zip(first, other)) if a != b), min(len(first), len(other)))
        words = [
            " ".join(listed[at]) if at < len(listed) else "no further parameter or buffer"
            for listed in (first, other)
        ]
        raise ValueError(
            f"{name}: all ranks must have the same net; rank 0 has {words[0]}, rank {rank} has {words[1]}"
        )


class Copies:
    """Copies of ``tensors`` from one rank to all, in one message for each dtype."""

    def __init__(self, tensors: Iterable[Tensor]):
        self.tensors = list(tensors)

    def send(self, root: int = 0) -> None:
        """Copy the values of rank ``root``, also in each replay of a recorded step."""

        def call(live: bool) -> None:
            if live:
                self._send(root)

        if self.tensors:
            between.call(self.tensors[0].engine, call)

    def _send(self, root: int) -> None:
        for dtype in dict.fromkeys(t.dtype for t in self.tensors):
            group = [t for t in self.tensors if t.dtype == dtype]
            flat = np.concatenate([on_host(t.array).reshape(-1) for t in group])
            distributed.broadcast(flat, root)
            if distributed.rank() != root:
                _unpack(group, flat)


def _unpack(tensors: Sequence[Tensor], flat: np.ndarray[Any, Any]) -> None:
    start = 0
    for t in tensors:
        write(t.array, flat[start : start + t.numel()].reshape(t.shape))
        t.memory.version += 1
        start += t.numel()


def check_supported(name: str, **options: Any) -> None:
    """Refuse what differs from ``(value, default)``, PyTorch's arguments that mean nothing here."""
    for what, (value, default) in options.items():
        check(value == default, name, f"{what} must be {default!r}, got {value!r:.60}", TypeError)
