"""What data-parallel training costs on a network, computed from when each gradient is ready.

A ring sends the buckets one after the other. Each rank sends and receives ``2 (N - 1) / N`` of a bucket's
bytes, in ``2 (N - 1)`` messages (Patarasuk, Yuan: Bandwidth optimal all-reduce algorithms for clusters of
workstations, 2009)::

    seconds of a bucket = 2 (N - 1) / N * bytes / bandwidth + 2 (N - 1) * latency
    it starts when it is full and the bucket before it has arrived
    it also takes processor time, bytes * work: copies into and out of the network, and the sum
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastconv.nn.parallel.bucket import start_of_last

MIB = 1 << 20
#: Share of the bits on the wire that are data, with TCP over frames of 1500 bytes.
PAYLOAD = 1448 / 1538


@dataclass(frozen=True)
class Network:
    """``gbit``: Gbit/s in each direction; ``latency``: seconds of a small message; ``work``: seconds of a
    processor per byte."""

    gbit: float
    latency: float
    work: float = 0.0

    @property
    def bandwidth(self) -> float:
        """Bytes per second that arrive."""
        return self.gbit * 1e9 / 8 * PAYLOAD


@dataclass(frozen=True)
class Prediction:
    """Seconds of a step: ``step`` in all, ``alone`` without other nodes, ``network`` of the transfers, of
    which the step waits for ``waited``."""

    step: float
    alone: float
    network: float
    waited: float

    @property
    def efficiency(self) -> float:
        """Images per second of a node, as a share of those of a node alone."""
        return self.alone / self.step

    @property
    def hidden(self) -> float:
        """Share of the transfers that the backward pass hides."""
        return 1.0 if not self.network else 1 - self.waited / self.network


def buckets(ready: Sequence[float], sizes: Sequence[int], first: float = MIB, cap: float = 25 * MIB):
    """``(time when full, bytes)`` of each bucket, filled in the order in which gradients are ready."""
    found: list[tuple[float, int]] = []
    last = start_of_last(sizes, first)
    time, size, limit = 0.0, 0, first
    for i, (t, n) in enumerate(zip(ready, sizes)):
        if size and (size + n > limit or i == last):
            found.append((time, size))
            size, limit = 0, cap
        time, size = t, size + n
    return [*found, (time, size)]


def predict(
    forward: float,
    backward: float,
    ready: Sequence[float],
    sizes: Sequence[int],
    nodes: int,
    network: Network,
    overlap: bool = True,
) -> Prediction:
    """A step on ``nodes`` nodes, each with the same batch as the one that was measured."""
    if nodes == 1:
        return Prediction(forward + backward, forward + backward, 0.0, 0.0)
    hops = 2 * (nodes - 1)
    end = total = 0.0
    work = sum(sizes) * network.work
    # the processor's part delays the backward pass evenly
    slower = (backward + work) / backward
    for full, size in buckets(ready, sizes):
        seconds = hops / nodes * size / network.bandwidth + hops * network.latency
        start = full * slower if overlap else backward + work
        end = max(start, end) + seconds
        total += seconds
    waited = max(0.0, end - (backward + work))
    return Prediction(forward + backward + work + waited, forward + backward, total, waited)
