"""Which layers a fused chain takes, and its plan: the records that its kernels read.

    steps ((kind, spec), ...)  ->  the leading ones that suit  ->  arrays of a block, one per activation
                                                               ->  records and tables (``tables.py``)

Kernels read a plan at run time, so a new network compiles nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, prod

import numpy as np

from fastconv.backends import settings

from ..codegen import emitter
from . import tables
from .records import ACTIVATIONS, BACKWARD, CONV, DOTS, FORWARD, KINDS, NONE, STEP, TAPS, VIEW

# input times output channels from which kernels with channels as the vector are as fast, or faster
MANY_CHANNELS = 512

MANY_WEIGHTS = 1 << 18  # of a dense layer: every block reads them all

# elements of a block's activations from which layer by layer is faster, because of the caches
LARGE = 1 << 21

SHORT = 1 << 23  # multiply-adds of a thread that take less time than the calls they save


@dataclass
class Array:
    """An activation of a block."""

    channels: int
    size: tuple[int, int]
    padding: tuple = ((0, 0), (0, 0))
    activation: int = NONE
    kept: bool = False

    def elements(self, images: int) -> int:
        return self.channels * images * prod(n + sum(p) for n, p in zip(self.size, self.padding))

    def view(self, images: int, base: int, gradient: int, flat: bool) -> tuple:
        """The VIEW record; ``flat``: every element is a channel."""
        (top, bottom), (left, right) = self.padding
        height, width = self.size
        pitch = (width + left + right) * images
        plane = (height + top + bottom) * pitch
        inset = top * pitch + left * images
        shape = self.channels, height, width, plane, pitch
        if flat:
            shape = self.channels * height * width, 1, 1, images, images
        padded = any(map(any, self.padding))
        return (
            base + inset,
            base,
            self.elements(images),
            padded,
            *shape,
            self.activation,
            gradient + inset,
            self.kept,
        )


@dataclass(eq=False)
class Plan:
    """The first ``count`` of the steps it was asked for, as the kernels take them.

    Attributes
    ----------
    images, blocks : int
        Images of a block, blocks of the batch.
    arrays : list of Array
        What goes into the first layer, and what comes out of each.
    weights, heavy : list
        For each layer the shape of its weight, or None; the layers that have one.
    y_shape : tuple of int
    steps, taps, dots, table
        The records of the layers, of their passes (forward, backward), of their weight gradients, and the
        tables.
    views, slot : dict
        By whether activations are kept for a backward pass: two VIEW records per layer, elements of a block's
        memory.
    area, scratch, partial, spread : int
        Elements: gradients kept per block; gradients, partial weight gradients and spread biases of a thread.
    """

    count: int
    dtype: np.dtype
    batch: int
    images: int
    arrays: list[Array]
    weights: list[tuple[int, ...] | None]
    y_shape: tuple[int, ...]
    steps: np.ndarray
    taps: np.ndarray
    dots: np.ndarray
    table: np.ndarray
    views: dict[bool, np.ndarray]
    slot: dict[bool, int]
    area: int
    scratch: int
    partial: int
    spread: int

    def __post_init__(self):
        self.blocks = -(-self.batch // self.images)
        self.heavy = [i for i, shape in enumerate(self.weights) if shape]


# layers
def _suits(kind: str, spec) -> bool:
    """Whether the kernels have this layer, and are good at it."""
    if spec.ndim != 2 or max(spec.dilation) > 1:
        return False
    if kind == "linear":
        return prod(spec.w_shape) <= MANY_WEIGHTS
    if kind == "conv":
        few = spec.groups == 1 and spec.c_in * spec.c_out <= MANY_CHANNELS
        return few and all(max(p) < k for p, k in zip(spec.padding, spec.kernel))
    inside = all(
        (o - 1) * s + k <= i for i, o, s, k in zip(spec.in_size, spec.out_size, spec.stride, spec.kernel)
    )
    return inside and not any(map(any, spec.padding))


def _leading(steps):
    """The leading steps that suit.

    Returns how many, the layers among them, the arrays before and after these, and whether the result is
    flattened.
    """
    layers, arrays, flat = [], [], False
    for count, (kind, spec) in enumerate(steps):
        if kind == "flatten":
            flat = True
        elif kind in ACTIVATIONS:
            if not arrays or arrays[-1].activation:
                return count, layers, arrays, flat
            arrays[-1].activation = ACTIVATIONS[kind]
        elif _suits(kind, spec):
            arrays = arrays or [Array(spec.x_shape[1], spec.in_size)]
            if kind == "conv":
                arrays[-1].padding = spec.padding
            flat = flat or kind == "linear"
            layers.append((kind, spec))
            arrays.append(Array(spec.y_shape[1], spec.out_size, kept=kind == "linear"))
        else:
            return count, layers, arrays, flat
    return len(steps), layers, arrays, flat


def _images_per_block(batch: int, lanes: int, threads: int) -> tuple[int, int]:
    """Images of a block, and the images that a thread computes then.

    A block is two vectors, or one where that ends sooner: time goes in rounds of one block per thread.
    """
    rounds = {n: ceil(batch / n / threads) * n for n in (2 * lanes, lanes)}
    best = min(rounds, key=rounds.get)
    return best, rounds[best]


@lru_cache(256)
def _plan(steps, dtype, threads) -> Plan | None:
    count, layers, arrays, flat = _leading(steps)
    if len(layers) < 2 or layers[0][1].batch == 0 or all(kind != "conv" for kind, _ in layers):
        return None
    batch, lanes = layers[0][1].batch, emitter.lanes(dtype)
    images, per_thread = _images_per_block(batch, lanes, threads)
    macs = sum(spec.macs for kind, spec in layers if KINDS[kind] == CONV) // batch
    if per_thread * threads > 2 * batch and per_thread * macs > SHORT:
        return None  # most of the threads or lanes would have nothing to do
    sizes = [a.elements(images) for a in arrays]
    if sum(sizes) > LARGE:
        return None
    kept = [n if a.kept else 0 for a, n in zip(arrays, sizes)]
    # Without a backward pass two neighbouring arrays are in use at a time: one from the start of the memory,
    # one up to its end.
    pair, half, area = max(a + b for a, b in zip(sizes, sizes[1:])), max(sizes), sum(kept)
    slot = {True: sum(sizes), False: pair}
    views = {}
    for keep in slot:
        bases = [sum(sizes[:i]) if keep else (pair - n if i % 2 else 0) for i, n in enumerate(sizes)]
        gradients = [sum(kept[:i]) if a.kept else i % 2 * half for i, a in enumerate(arrays)]
        found = [
            arrays[i + j].view(images, bases[i + j], gradients[i + j], flat=kind == "linear" and j == 0)
            for i, (kind, _) in enumerate(layers)
            for j in (0, 1)
        ]
        views[keep] = np.array(found, VIEW)
    records = np.zeros(len(layers), STEP), np.zeros(2 * len(layers), TAPS), np.zeros(len(layers), DOTS)
    table, partial, spread, weights = tables.Table(), 0, 0, []
    for i, (kind, spec) in enumerate(layers):
        step, (x, y), dense = records[0][i], views[True][2 * i : 2 * i + 2], kind == "linear"
        step["kind"], step["stride_h"], step["stride_w"] = KINDS[kind], *spec.stride
        if KINDS[kind] != CONV:
            tables.fill_pool(step, spec, x, dtype)
            weights.append(None)
            continue
        tables.fill_taps(records[1][2 * i + FORWARD], spec, x, y, images, table, backward=False)
        step["clear"] = (
            min(tables.fill_taps(records[1][2 * i + BACKWARD], spec, x, y, images, table, backward=True)) == 0
        )
        if dense:
            tables.fill_dense_dots(
                records[2][i], spec, x, images, lanes, table, -(-batch // images), area, slot[True]
            )
        else:
            tables.fill_dots(records[2][i], spec, x, y, images, lanes, table)
        step["dense"], step["weights"], step["bias"] = dense, partial, spread
        weights.append(spec.w_shape[:2] if dense else spec.w_shape)
        spread += spec.c_out * images
        partial += 0 if dense else spec.c_out + prod(spec.w_shape)
    last = arrays[-1].channels, *arrays[-1].size
    return Plan(
        count,
        dtype,
        batch,
        images,
        arrays,
        weights,
        (batch, prod(last)) if flat else (batch, *last),
        *records,
        np.array(table, np.int64),
        views,
        slot,
        area,
        2 * half,
        partial,
        spread,
    )


def fused_chain_plan(steps, dtype):
    """A plan for the first ``plan.count`` of ``steps``, or None where layer by layer is better."""
    return _plan(steps, np.dtype(dtype), settings.get_num_threads())
