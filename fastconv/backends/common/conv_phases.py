"""The passes of a convolution as phases of taps, for the engines ``cpu`` and ``cuda``.

Forward and backward-data are the same loop: a sum over *taps*, each with an offset into the input and a
position in the kernel. Along one axis, for output position ``i`` and tap ``t``::

    out[out_offset + out_stride * i] += in[in_stride * i + offset + offset_step * t]
                                        * w[position + position_step * t]

Forward is one *phase*: in_stride = stride, offset = -padding, offset_step = dilation. Backward-data with
stride s has s phases per axis, one for each residue of the input position, because only every s-th tap of
the kernel meets an output position. Each phase is a small convolution of stride 1 that writes every s-th
pixel. Example with 3 taps, stride 2, padding 1 (gx from gy)::

    gx[0], gx[2], ...   from tap 1 alone       gx[2 i]     = gy[i] w[1]
    gx[1], gx[3], ...   from taps 0 and 2      gx[2 i + 1] = gy[i + 1] w[0] + gy[i] w[2]

No multiplication by an inserted zero takes place.

Source: V. Dumoulin and F. Visin, "A guide to convolution arithmetic for deep learning", 2016 (transposed
convolutions).
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from math import gcd
from typing import NamedTuple

from fastconv.spec import ConvSpec


class PhaseAxis(NamedTuple):
    """One axis of a phase. The numbers are in pixels, taps or positions in the kernel."""

    positions: int  #: the number of output positions
    in_stride: int  #: input pixels from one output position to the next
    out_stride: int  #: output pixels from one output position to the next
    out_offset: int  #: output pixel of position 0
    taps: int  #: the number of taps
    offset: int  #: input pixel of output position 0 and tap 0
    offset_step: int  #: input pixels from tap to tap; negative in backward-data
    position: int  #: kernel position of tap 0
    position_step: int  #: kernel positions from tap to tap


Axes = tuple[PhaseAxis, ...]


@lru_cache(maxsize=1024)
def forward_axes(spec: ConvSpec) -> list[Axes]:
    """The forward pass: one phase, which reads x and writes y.

    Parameters
    ----------
    spec : ConvSpec

    Returns
    -------
    list of one tuple with an axis per spatial dimension
    """
    axes = [
        PhaseAxis(n, s, 1, 0, k, -before, d, 0, 1)
        for n, s, d, k, (before, _) in zip(
            spec.out_size, spec.stride, spec.dilation, spec.kernel, spec.padding
        )
    ]
    return [tuple(axes)]


@lru_cache(maxsize=1024)
def backward_axes(spec: ConvSpec) -> list[Axes]:
    """The backward-data pass: the phases that read gy and write gx.

    Parameters
    ----------
    spec : ConvSpec

    Returns
    -------
    list of tuples with an axis per spatial dimension
        One tuple for each combination of residues, ``prod(stride)`` where the image is large enough. A phase
        with an axis without taps writes the pixels that no output pixel depends on: their gradient is zero.
    """
    return list(product(*map(_residues, spec.in_size, spec.stride, spec.dilation, spec.kernel, spec.padding)))


def _residues(size: int, s: int, d: int, k: int, padding: tuple[int, int]) -> list[PhaseAxis]:
    """The axes of backward-data: one for each residue of the input position modulo the stride ``s``."""
    before = padding[0]
    step = s // gcd(s, d)  # taps at this distance reach the same residues
    axes = []
    for r in range(min(s, size)):
        first = next((t for t in range(min(step, k)) if (r + before - d * t) % s == 0), None)
        taps = 0 if first is None else len(range(first, k, step))
        first = first or 0
        offset, offset_step = (r + before - d * first) // s, -d * step // s
        axes.append(PhaseAxis(-(-(size - r) // s), 1, s, r, taps, offset, offset_step, first, step))
    return axes
