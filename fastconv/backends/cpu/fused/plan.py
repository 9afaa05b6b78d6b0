"""The plan of a run of layers for :mod:`.kernels`: records that its kernels read, so that a new network
compiles nothing.

Everything is counted in elements of a block's memory, in which a number of images (one or two vectors) is innermost::

    activation  [channel][row][column][image]    pitch: from row to row, plane: from channel to channel
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, prod

import numpy as np

from fastconv.backends import settings

from ..codegen import emitter

CONV, AVERAGE, MAXIMUM = range(3)
NONE, RELU, SIGMOID, TANH = range(4)
KINDS = {"conv": CONV, "linear": CONV, "avg_pool": AVERAGE, "max_pool": MAXIMUM}
ACTIVATIONS = {"relu": RELU, "sigmoid": SIGMOID, "tanh": TANH}

# input times output channels from which kernels with channels as the vector are as fast, or faster
MANY_CHANNELS = 512
MANY_WEIGHTS = 1 << 18  # of a dense layer: every block reads them all
SHORT = 1 << 23  # multiply-adds of a thread that take less time than the calls they save
BAND = 24 << 10  # bytes of gradients between a pooling layer and the first convolution: they stay in L1


def _record(*names: str, **others) -> np.dtype:
    return np.dtype([*((n, np.int64) for n in names), *others.items()])


#: An activation as the layer before it, or the one behind it, sees it. ``base`` and ``size`` include its
#: padding, which the convolution behind it wants. ``gradient`` is the place of its gradient in a thread's
#: scratch, or, if ``kept`` (for a dense layer's weights), in the block's part of the work area.
VIEW = _record(
    "start",
    "base",
    "size",
    "padded",
    "channels",
    "height",
    "width",
    "plane",
    "pitch",
    "activation",
    "gradient",
    "kept",
)
#: ``overlap``: windows share pixels; ``clear``: the gradient of the input has to be zero beforehand;
#: ``band``: rows of a pooling layer whose gradient goes on to the first convolution at once; ``weights``,
#: ``bias``: places in a thread's partial gradients (a convolution's) and in its spread biases.
STEP = _record(
    "kind",
    "kernel_h",
    "kernel_w",
    "stride_h",
    "stride_w",
    "overlap",
    "clear",
    "band",
    "dense",
    "weights",
    "bias",
    scale=np.float64,
)
#: Taps of a pass of a convolution, whose weights lie as kernel rows, kernel columns, input channels, output
#: channels. ``rows`` and ``columns``: places in the table of a (count, first tap, position it meets) for each
#: row and column of the result; ``ta`` and ``tb``: of the tile's tables, with ``per_row`` entries for a
#: kernel row. The tile's inner loop runs along the kernel row, or over ``deep`` channels where that row is
#: one tap.
TAPS = _record(
    "rows", "columns", "ta", "tb", "per_row", "deep", "kernel_w", "a_tap", "a_row", "a_step", "b_step", "relu"
)
#: A weight gradient: for each of ``outer`` pairs (place in the input, place in the gradient) a matrix of
#: dots; ``per_row`` entries of the tables belong to an output row; ``size`` weights in all.
DOTS = _record(
    "pairs", "outer", "ta", "tb", "taps", "per_row", "depth", "columns", "b_step", "b_col", "c_col", "size"
)


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


# ------------------------------------------------------------------------------------------------- which
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


def _gather(steps):
    """The leading steps that suit: how many, the layers among them, the arrays before and behind these, and
    whether the result is flattened."""
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
    """Two vectors, or one where that ends sooner, and the images that a thread computes then: time goes in
    rounds of one block per thread."""
    rounds = {n: ceil(batch / n / threads) * n for n in (2 * lanes, lanes)}
    best = min(rounds, key=rounds.get)
    return best, rounds[best]


# ------------------------------------------------------------------------------------------------- tables
class _Table(list):
    def add(self, values) -> int:
        """Append ``values``, in C order; the place of the first."""
        at = len(self)
        self += np.ravel(values).tolist()
        return at


def _forward_axis(out, size, k, s, pad):
    """For each result: number of taps inside the input, the first of them, and the position it meets."""
    first = [max(0, pad - p * s) for p in range(out)]
    return [(min(k, size + pad - p * s) - t, t, p * s - pad + t) for p, t in enumerate(first)]


def _backward_axis(out, size, k, s, pad):
    """For each input the same of the results it went into; from one tap to the next the result's position
    falls by one."""
    found = []
    for p in range(size):
        last, tap = divmod(p + pad, s)
        first = max(0, last - out + 1)
        found.append((max(min(-(-(k - tap) // s), last + 1) - first, 0), tap + s * first, last - first))
    return found


def _taps(record, spec, x, y, images, table, backward):
    """Fill a TAPS record; ``x`` and ``y`` are views. Returns the fewest taps of a row and of a column."""
    (kh, kw), (sh, sw), tap = spec.kernel, spec.stride, spec.c_in * spec.c_out
    axis = _backward_axis if backward else _forward_axis
    rows, columns = (
        axis(*dim[:4], dim[4][0])
        for dim in zip(spec.out_size, spec.in_size, spec.kernel, spec.stride, spec.padding)
    )
    # The sum runs over channels, whose weights are `far` apart; from tap to tap the weight is `down` or
    # `right` further.
    if backward:
        channels, far, a_row, down, right, sign, source = (
            spec.c_out,
            1,
            spec.c_out,
            sh * kw * tap,
            sw * tap,
            -1,
            y,
        )
    else:
        channels, far, a_row, down, right, sign, source = spec.c_in, spec.c_out, 1, kw * tap, tap, 1, x
    pitch, plane = sign * source["pitch"], source["plane"]
    deep = channels if kw == 1 else 0
    pairs = [(q, c) for q in range(kh) for c in range(1 if deep else channels)]
    record["rows"], record["columns"] = table.add(rows), table.add(columns)
    record["ta"] = table.add([q * down + c * far for q, c in pairs])
    record["tb"] = table.add([q * pitch + c * plane for q, c in pairs])
    record["per_row"], record["deep"], record["kernel_w"], record["a_tap"] = len(pairs) // kh, deep, kw, tap
    record["a_row"], record["a_step"], record["b_step"] = (
        a_row,
        *((far, plane) if deep else (right, sign * images)),
    )
    record["relu"] = not backward and y["activation"] == RELU
    return min(rows)[0], min(columns)[0]


def _dots(record, spec, x, y, images, lanes, table):
    """Fill the DOTS record of a convolution. Columns of the matrix are the kernel's, or input channels where
    it has one."""
    (kh, kw), (sh, sw), (oh, ow) = spec.kernel, spec.stride, spec.out_size
    vectors, tap = images // lanes, spec.c_in * spec.c_out
    # a row of x is one run, or each pixel is
    per_row, record["depth"] = (1, ow * vectors) if sw == 1 else (ow, vectors)
    places = [(h, w) for h in range(oh) for w in range(per_row)]
    record["ta"] = table.add([h * y["pitch"] + w * images for h, w in places])
    record["tb"] = table.add([h * sh * x["pitch"] + w * sw * images for h, w in places])
    record["taps"], record["per_row"], record["b_step"] = len(places), per_row, lanes
    corner = x["start"] - spec.padding[0][0] * x["pitch"] - spec.padding[1][0] * images
    pairs = [(i, c) for i in range(kh) for c in range(1 if kw == 1 else spec.c_in)]
    record["pairs"] = table.add(
        [(corner + i * x["pitch"] + c * x["plane"], i * kw * tap + c * spec.c_out) for i, c in pairs]
    )
    record["outer"], record["size"] = len(pairs), prod(spec.w_shape)
    record["columns"], record["b_col"], record["c_col"] = (
        (spec.c_in, x["plane"], spec.c_out) if kw == 1 else (kw, images, tap)
    )


def _dense_dots(record, spec, x, images, lanes, table, blocks, area, slot):
    """Fill the DOTS record of a dense layer: its sums run over all blocks."""
    record["pairs"], record["outer"] = table.add((x["start"], 0)), 1
    record["ta"], record["tb"] = table.add(np.arange(blocks) * area), table.add(np.arange(blocks) * slot)
    record["taps"], record["depth"], record["b_step"] = blocks, images // lanes, lanes
    record["columns"], record["b_col"], record["c_col"], record["size"] = (
        spec.c_in,
        x["plane"],
        spec.c_out,
        prod(spec.w_shape),
    )


def _pool(record, spec, x, dtype):
    """The rest of a pooling layer's STEP record; ``x`` is the view of its input."""
    dims = list(zip(spec.in_size, spec.out_size, spec.stride, spec.kernel))
    record["kernel_h"], record["kernel_w"] = spec.kernel
    record["scale"] = 1 / (spec.divisor or prod(spec.kernel))
    record["overlap"] = any(s < k for _, _, s, k in dims)
    record["clear"] = not all(s == k and i == o * k for i, o, s, k in dims)
    bytes_per_row = spec.stride[0] * x["channels"] * x["pitch"] * dtype.itemsize
    record["band"] = 0 if record["overlap"] else max(BAND // bytes_per_row, 1)


@lru_cache(256)
def _plan(steps, dtype, threads) -> Plan | None:
    count, layers, arrays, flat = _gather(steps)
    if len(layers) < 2 or layers[0][1].batch == 0 or all(kind != "conv" for kind, _ in layers):
        return None
    batch, lanes = layers[0][1].batch, emitter.lanes(dtype)
    images, per_thread = _images_per_block(batch, lanes, threads)
    macs = sum(spec.macs for kind, spec in layers if KINDS[kind] == CONV) // batch
    if per_thread * threads > 2 * batch and per_thread * macs > SHORT:
        return None  # most of the threads or lanes would have nothing to do
    sizes = [a.elements(images) for a in arrays]
    kept = [n if a.kept else 0 for a, n in zip(arrays, sizes)]
    # Without a backward pass two neighbours are alive at a time: one from the start of the memory, one up to
    # its end.
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
    table, partial, spread, weights = _Table(), 0, 0, []
    for i, (kind, spec) in enumerate(layers):
        step, (x, y), dense = records[0][i], views[True][2 * i : 2 * i + 2], kind == "linear"
        step["kind"], step["stride_h"], step["stride_w"] = KINDS[kind], *spec.stride
        if KINDS[kind] != CONV:
            _pool(step, spec, x, dtype)
            weights.append(None)
            continue
        _taps(records[1][2 * i], spec, x, y, images, table, False)
        step["clear"] = min(_taps(records[1][2 * i + 1], spec, x, y, images, table, True)) == 0
        if dense:
            _dense_dots(records[2][i], spec, x, images, lanes, table, -(-batch // images), area, slot[True])
        else:
            _dots(records[2][i], spec, x, y, images, lanes, table)
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
