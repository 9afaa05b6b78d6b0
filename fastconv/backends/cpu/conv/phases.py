"""A pass of a convolution as phases of taps, in the form that the kernels of this engine read.

Forward and backward-data are the same loop, a sum over *taps* (offsets into the input, with a slice of the
weights each)::

    y[n, out_offset + out_stride * i, k] = bias[k] + sum over taps t, channels c of
                                           x[n, in_stride * i + offset[t], c] * w[t][c, k]

where ``i`` has three dimensions. ``backends/common/conv_phases.py`` says which phases a pass has. Here every
phase gets tables of its taps, sorted by their offsets.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod

import numpy as np

from fastconv.backends.common.conv_phases import backward_axes, forward_axes
from fastconv.spec import ConvSpec

#: The fields of a phase in a kernel's record.
PHASE_FIELDS = {"out_size": 3, "in_stride": 3, "out_stride": 3, "out_offset": 3}


@dataclass(frozen=True, eq=False)
class Phase:
    """One convolution by taps. Every tuple has an entry for each of three dimensions.

    Attributes
    ----------
    out_size : tuple of int
        Output pixels of the phase.
    in_stride, out_stride, out_offset : tuple of int
        Output pixel ``out_offset + out_stride * i`` reads around input pixel ``in_stride * i``.
    offsets : tuple of int64 arrays
        The input offsets of the taps in a dimension, ascending.
    taps : tuple of int
        For each tap of the product of the three dimensions its position in the kernel, as a flat index.
    reach : tuple of int
        Distance of the first from the last tap.
    dense : bool
        Whether the taps of a row are neighbours.
    inside : bool
        Whether no tap ever leaves the input.
    """

    out_size: tuple[int, ...]
    in_stride: tuple[int, ...]
    out_stride: tuple[int, ...]
    out_offset: tuple[int, ...]
    offsets: tuple[np.ndarray, ...]
    taps: tuple[int, ...]
    reach: tuple[int, ...]
    dense: bool
    inside: bool

    @property
    def fields(self) -> dict[str, tuple[int, ...]]:
        """The values of :data:`PHASE_FIELDS`."""
        return {name: getattr(self, name) for name in PHASE_FIELDS}


def _phase(kernel_size, in_size, axes) -> Phase:
    pairs = [
        sorted((a.offset + a.offset_step * t, a.position + a.position_step * t) for t in range(a.taps))
        for a in axes
    ]
    out_size = tuple(a.positions for a in axes)
    in_stride = tuple(a.in_stride for a in axes)
    inside = all(
        not p or (p[0][0] >= 0 and (n - 1) * s + p[-1][0] < i)
        for p, n, s, i in zip(pairs, out_size, in_stride, in_size)
    )
    return Phase(
        out_size,
        in_stride,
        out_stride=tuple(a.out_stride for a in axes),
        out_offset=tuple(a.out_offset for a in axes),
        offsets=tuple(np.array([offset for offset, _ in p], np.int64) for p in pairs),
        taps=_flat_positions(kernel_size, [[position for _, position in p] for p in pairs]),
        reach=tuple(p[-1][0] - p[0][0] if p else 0 for p in pairs),
        dense=all(b[0] - a[0] == 1 for a, b in zip(pairs[-1], pairs[-1][1:])),
        inside=inside,
    )


def _flat_positions(kernel_size, positions) -> tuple[int, ...]:
    """The flat index into the kernel of every combination of ``positions`` in the three dimensions."""
    steps = [prod(kernel_size[d + 1 :]) for d in range(len(kernel_size))]
    return tuple(sum(p * step for p, step in zip(tap, steps)) for tap in product(*positions))


@lru_cache(maxsize=1024)
def forward_phases(spec: ConvSpec) -> list[Phase]:
    """The forward pass of a three-dimensional ConvSpec: one phase, which reads x and writes y."""
    return [_phase(spec.kernel, spec.in_size, axes) for axes in forward_axes(spec)]


@lru_cache(maxsize=1024)
def backward_phases(spec: ConvSpec) -> list[Phase]:
    """The backward-data pass of a three-dimensional ConvSpec: the phases that read gy and write gx. Those
    without taps write pixels that no output depends on."""
    return [_phase(spec.kernel, spec.out_size, axes) for axes in backward_axes(spec)]
