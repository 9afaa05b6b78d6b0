"""The kernels of implicit GEMM that a device gets, and convolutions that run them.

::

    kernel = tile x mode x pass x channels         one compiled function, or one for several rows of the table
    case   = kernel x shape                        channels of the kernel, images and taps of the shape

A kernel copies 16 bytes at a time where the channels allow it, and walks taps and channels in one of two
orders (``chunked``, where BK divides the channels that are summed over). Both follow from the channels:

========  ===========================  ==========================================================
channels  summed over -> of the result  what it reaches
========  ===========================  ==========================================================
wide      64 -> 136, 32 -> 40           wide copies; taps run faster than channels; several blocks
odd       24 -> 40, 12 -> 20, 4 -> 12  wide copies; a step of k holds parts of several taps
narrow    3 -> 5                        copies of single numbers
mixed     32 -> 5                       wide copies of one operand only, results of odd channels
========  ===========================  ==========================================================
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastconv import spec

PASSES = ("fwd", "bwd_data", "bwd_weight")
#: Precision setting by mode.
PRECISION = {"fma": "highest", "tf32": "high", "bf16_on_read": "medium", "bf16": "medium"}

#: By name: channels summed over and channels of the result, for the first shape and for the others. In mode
#: bf16 all are multiples of 8, in bf16_on_read they are not, because that is how the two modes are chosen.
CHANNELS = {
    "wide": {"bf16_on_read": ((64, 132), (32, 36)), "": ((64, 136), (32, 40))},
    "odd": {"bf16": ((24, 40), (8, 24)), "": ((12, 20), (4, 12))},
    "narrow": {"": ((3, 5), (3, 7))},
    "mixed": {"": ((32, 5), (64, 3))},
}

# Images, taps and options. None of them fills its tiles: 338, 168, 198 and 96 pixels of the result.
SHAPES = {
    "padded": ((2, 13, 13), (3, 3), {"padding": 1}),
    "stride": ((3, 15, 14), (3, 2), {"stride": 2, "padding": ((1, 0), (0, 2))}),
    "groups": ((2, 11, 12), (2, 3), {"groups": 2, "dilation": 2, "padding": (1, 1)}),
    "volume": ((1, 4, 4, 6), (2, 3, 1), {"padding": ((1, 0), (1, 1), (0, 0))}),
}
#: The same for machines on which real sizes take minutes.
SMALL_SHAPES = {
    "padded": ((1, 3, 4), (3, 3), {"padding": 1}),
    "stride": ((2, 5, 4), (3, 2), {"stride": 2, "padding": ((1, 0), (0, 2))}),
    "groups": ((1, 4, 5), (2, 2), {"groups": 2, "dilation": 2, "padding": 1}),
    "volume": ((1, 2, 3, 2), (2, 3, 1), {"padding": ((1, 0), (1, 1), (0, 0))}),
}


class Kernel(NamedTuple):
    """A row of the table: ``dtype`` is that of the arrays."""

    tile: Any
    mode: str
    which: str
    channels: str
    dtype: type = np.float32

    def __str__(self):
        t = self.tile
        size = f"{t.BM}x{t.BN}x{t.BK}"
        real = "" if self.dtype is np.float32 else f"{np.dtype(self.dtype)}-"
        return f"{real}{self.mode}-{size}-{self.which}-{self.channels}"


def kernels() -> list[Kernel]:
    """Every tile in every mode and pass with wide channels or narrow ones, and a choice of the others."""
    from fastconv.backends.cuda.conv import cost

    found = []
    for mode, tiles in cost.WIDE.items():
        for i, tile in enumerate(tiles):
            found += [Kernel(tile, mode, which, "wide") for which in PASSES]
            if tile not in cost.LARGEST:  # these run where BK divides the channels, nowhere else
                found.append(Kernel(tile, mode, PASSES[i % 2], "odd"))
        if mode != "bf16":
            found += [Kernel(tile, mode, which, "narrow") for tile in cost.NARROW for which in PASSES]
            found += [Kernel(cost.NARROW[0], mode, which, "mixed") for which in ("fwd", "bwd_weight")]
            found.append(Kernel(tiles[-1], mode, "bwd_data", "mixed"))  # its weights are copied along k
    for tile in cost.DOUBLE:
        found += [Kernel(tile, "fma", which, "wide", np.float64) for which in PASSES]
        found.append(Kernel(tile, "fma", "fwd", "narrow", np.float64))
    return found


def small_kernels() -> list[Kernel]:
    """One small tile in every mode and pass, which the simulator runs in a second."""
    from fastconv.backends.cuda.conv import cost

    (tile,) = cost.SMALL
    return [
        Kernel(tile, mode, which, "odd" if mode == "bf16" else channels)
        for mode in cost.WIDE
        for which, channels in zip(PASSES, ("odd", "mixed", "narrow"))
    ]


def geometry(kernel: Kernel, shape: str, shapes=SHAPES):
    """The convolution that a kernel computes with the images of ``shape``."""
    (batch, *image), taps, options = shapes[shape]
    by_mode = CHANNELS[kernel.channels]
    summed, others = by_mode.get(kernel.mode, by_mode[""])[shape != "padded"]
    if shapes is SMALL_SHAPES:
        summed, others = min(summed, 16), min(others, 8 if kernel.mode == "bf16" else 12)
    c_in, c_out = (others, summed) if kernel.which == "bwd_data" else (summed, others)
    groups = options.get("groups", 1)
    x, w = (batch, c_in * groups, *image), (c_out * groups, c_in, *taps)
    return spec.conv_spec(f"conv{len(image)}d", x, w, **options)
