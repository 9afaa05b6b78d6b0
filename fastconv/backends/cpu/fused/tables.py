"""The numbers of a plan: tables of taps, and the records of the layers' passes."""

from __future__ import annotations

from math import prod

import numpy as np

from .records import RELU

BAND = 24 << 10  # bytes of gradients between a pooling layer and the first convolution: they stay in L1


class Table(list):
    """The numbers of all tables of a plan, end to end."""

    def add(self, values) -> int:
        """Append ``values``, in C order; the place of the first."""
        at = len(self)
        self += np.ravel(values).tolist()
        return at


def _forward_axis(out, size, k, s, pad):
    """For each result an entry: taps inside the input, the first of them, and the position it meets."""
    first = [max(0, pad - p * s) for p in range(out)]
    return [(min(k, size + pad - p * s) - t, t, p * s - pad + t) for p, t in enumerate(first)]


def _backward_axis(out, size, k, s, pad):
    """The same entries for each input, of the results it went into.

    From one tap to the next the position of the result falls by one.
    """
    found = []
    for p in range(size):
        last, tap = divmod(p + pad, s)
        first = max(0, last - out + 1)
        found.append((max(min(-(-(k - tap) // s), last + 1) - first, 0), tap + s * first, last - first))
    return found


def fill_taps(record, spec, x, y, images, table, backward):
    """Fill a TAPS record; ``x`` and ``y`` are views. Returns the fewest taps of a row and of a column."""
    (kh, kw), (sh, sw), tap = spec.kernel, spec.stride, spec.c_in * spec.c_out
    axis = _backward_axis if backward else _forward_axis
    rows, columns = (
        axis(*dim[:4], dim[4][0])
        for dim in zip(spec.out_size, spec.in_size, spec.kernel, spec.stride, spec.padding)
    )
    # The sum runs over channels, whose weights are `far` apart; from one tap to the next the weight is `down`
    # or `right` further.
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


def fill_dots(record, spec, x, y, images, lanes, table):
    """Fill the DOTS record of a convolution.

    Columns of the matrix are the kernel's, or input channels where the kernel has one column.
    """
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


def fill_dense_dots(record, spec, x, images, lanes, table, blocks, area, slot):
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


def fill_pool(record, spec, x, dtype):
    """The rest of a pooling layer's STEP record; ``x`` is the view of its input."""
    dims = list(zip(spec.in_size, spec.out_size, spec.stride, spec.kernel))
    record["kernel_h"], record["kernel_w"] = spec.kernel
    record["scale"] = 1 / (spec.divisor or prod(spec.kernel))
    record["overlap"] = any(s < k for _, _, s, k in dims)
    record["clear"] = not all(s == k and i == o * k for i, o, s, k in dims)
    bytes_per_row = spec.stride[0] * x["channels"] * x["pitch"] * dtype.itemsize
    record["band"] = 0 if record["overlap"] else max(BAND // bytes_per_row, 1)
