"""Batches on the GPU, one ahead of the step."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any

from .. import backends
from ..creation import as_tensor
from ..data import DataLoader
from ..tensor import Tensor


def position_of(loader: Any) -> dict[str, Any] | None:
    """Where ``loader`` is in its epoch, or None if it does not say."""
    return loader.state_dict() if hasattr(loader, "state_dict") else None


class Prefetch:
    """The batches of an epoch on the GPU; the next one is loaded and uploaded while a step runs.

    Parameters
    ----------
    loader : iterable
        It gives ``batches``; its position is saved in checkpoints.
    batches : iterable of (X, y)
    before : Prefetch or None
        That of the epoch before, whose memory is used again.

    Attributes
    ----------
    position : dict or None
        The loader's, as of the batch that was handed out last.
    """

    def __init__(self, loader: Any, batches: Iterable[Any], before: Prefetch | None):
        self.loader, self.batches, self.position = loader, iter(batches), position_of(loader)
        self.next: tuple[Any, dict[str, Any] | None] | None = None
        self.upload = before.upload if before else backends.load("cuda").Upload()

    def fetch(self) -> None:
        """Load the next batch and begin its upload, unless that was done already."""
        if self.next is not None:
            return
        try:
            # A DataLoader gives batches of the backend in force; here they must be host arrays.
            with backends.backend("cpu") if isinstance(self.loader, DataLoader) else nullcontext():
                batch = [as_tensor(a).array for a in next(self.batches)]
            self.next = self.upload.start(batch), position_of(self.loader)
        except Exception as e:  # raised when this batch is asked for, after the step on the batch before it
            self.next = e, position_of(self.loader)

    def __iter__(self) -> Prefetch:
        return self

    def __next__(self) -> tuple[Tensor, ...]:
        self.fetch()
        assert self.next is not None
        (batch, self.position), self.next = self.next, None
        if isinstance(batch, Exception):
            raise batch
        return tuple(map(Tensor, self.upload.take(batch)))
