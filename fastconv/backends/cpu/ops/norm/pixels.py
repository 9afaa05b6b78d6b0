"""An image as rows of channels: what the kernels of batch and group norm read.

    x, channels last in memory       one image of batch norm      the same with short rows joined
      image 0  pixel 0  c c c          pixel 0  c c c               row 0  c c c c c c   (pixels 0 and 1)
               pixel 1  c c c          pixel 1  c c c               row 1  c c c c c c   (pixels 2 and 3)
      image 1  pixel 0  c c c          pixel 2  c c c
               pixel 1  c c c          pixel 3  c c c               (rows of few channels are short loops)

Kernels see ``images, pixels, channels`` and one vector of channels per image. Batch norm is the case of one
image that has all pixels. Each image is split into parts, and a job of a thread is one part of one image.
"""

from __future__ import annotations

from math import gcd, prod

import numpy as np

from fastconv.backends import settings

from ...codegen.jit import body, split_range
from ...runtime import layout
from ...runtime.scratch import per_thread

CACHE_LINE = 128  # bytes between the vectors of a thread's scratch: a cache line and the one fetched with it
ROW = 128  # channels that a row should have, so that the loop over it is long enough


@body(inline=True)
def piece(job, images, parts, pixels):
    """The image of a job, and the first pixel and the end of the part that the job covers."""
    start, stop = split_range(job // images, parts, pixels)
    return job % images, start, stop


def part_count(images: int) -> int:
    """Parts that the pixels of each image are split into, so that all threads have work."""
    threads = settings.get_num_threads()
    return 1 if images >= 8 * threads else threads


def scratch(count: int, x: np.ndarray) -> np.ndarray:
    """``count`` vectors of channels for each thread."""
    line = CACHE_LINE // x.itemsize
    channels = -(-x.shape[-1] // line) * line
    (rows,) = per_thread((count * channels, x.dtype))
    return rows.reshape(len(rows), count, channels)


def _joined(pixels: int, channels: int) -> int:
    """How many pixels are joined to one row."""
    return gcd(pixels, 1 << max(ROW // channels, 1).bit_length() - 1)


def one_image(x: np.ndarray) -> np.ndarray:
    """All pixels of a batch as those of one image: ``1, N * spatial, C``, short rows joined."""
    rows = layout.rows(x)
    return rows.reshape(1, -1, _joined(*rows.shape) * x.shape[1]) if x.size else rows[None]


def images(x: np.ndarray) -> np.ndarray:
    """``N, spatial, C``, short rows joined."""
    return layout.to_ndhwc(x).reshape(x.shape[0], -1, _joined(prod(x.shape[2:]), x.shape[1]) * x.shape[1])


def repeat(v: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A vector of channels per image, repeated for the joined pixels in a row of ``x``."""
    times = x.shape[2] // max(v.shape[1], 1)
    return layout.dense(np.tile(v, (1, times)) if times > 1 else v)


def vector(v: np.ndarray | None, channels: int, dtype, default: float) -> np.ndarray:
    """``v`` as kernels read it; a vector of ``default`` where it is None."""
    return np.full(channels, default, dtype) if v is None else layout.dense(v)
