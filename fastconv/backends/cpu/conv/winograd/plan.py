"""What the plans of all passes have in common: compiled transforms, sizes of scratch, the record of volumes.

A plan is what the geometry of a pass decides. It is made once for each geometry, type and number of threads,
and kept. Its record holds addresses of arrays of the plan, so a plan is kept as long as its record is used
(``jit.by_address``).
"""

from __future__ import annotations

from math import prod

import numpy as np

from fastconv.backends.cpu.codegen import emitter, transforms
from fastconv.backends.cpu.codegen.record import make_record, record_type
from fastconv.spec import ConvSpec

from .transforms import Tiling

#: What a pass over volumes has in addition::
#:
#:     taps                    of a kernel in depth
#:     ring                    planes that V holds
#:     plane_step, origin      input plane of tap t:  output plane + origin + plane_step * t
#:     blocks, segments        of the tiles of a plane, of the planes of a volume: the units of work
#:     filter_taps             address of a table: where the filters of each tap lie in U
VOLUMES = record_type(taps=1, ring=1, plane_step=1, origin=1, blocks=1, segments=1, filter_taps=1)


def odd_vectors(elements: int, lanes: int) -> int:
    """At least so many elements, in an odd number of vectors. So many runs of them do not start in the same
    few sets of a cache."""
    return (-(-elements // lanes) | 1) * lanes


def volumes_record(
    spec: ConvSpec, is_dgrad: bool, ring: int, blocks: int, threads: int, filter_taps: int = 0
) -> np.ndarray:
    """The :data:`VOLUMES` record. A unit of work is a block of tiles in a segment of the planes. A segment
    begins with planes that the one before transforms as well, so there are as few as the threads need."""
    before, planes = spec.padding[0][0], (spec.in_size if is_dgrad else spec.out_size)[0]
    return make_record(
        VOLUMES,
        taps=spec.kernel[0],
        ring=ring,
        plane_step=spec.dilation[0] * (-1 if is_dgrad else 1),
        origin=before if is_dgrad else -before,
        blocks=blocks,
        segments=min(planes, -(-2 * threads // (spec.batch * blocks))),
        filter_taps=filter_taps,
    )


def transform(down, across, dtype, transposed=False, **options) -> int:
    """The address of a compiled transform."""
    if transposed:
        down, across = zip(*down), zip(*across)
    return transforms.transform_address(tuple(map(tuple, down)), tuple(map(tuple, across)), dtype, **options)


def is_masked(channels: int, dtype) -> bool:
    """Whether the last vector of channels is used in part."""
    return channels % emitter.lanes(dtype) != 0


def input_transforms(tiling: Tiling, dtype, channels: int) -> tuple[int, ...]:
    """Those for each kind of tiles."""
    masked = is_masked(channels, dtype)
    return tuple(
        transform(d.input_transform, a.input_transform, dtype, src_table=True, masked=masked)
        for d, a in tiling.kinds
    )


def filter_transform(tiling: Tiling, dtype, transposed=False, **options) -> int:
    """That of the filters."""
    down, across = tiling.whole
    return transform(down.filter_transform, across.filter_transform, dtype, transposed, **options)


def sides(tiling: Tiling) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Input and output pixels of a tile, down and across, and how many filters are made of one."""
    inputs = tuple(len(form.input_transform[0]) for form in tiling.whole)
    outputs = tuple(len(form.output_transform) for form in tiling.whole)
    return inputs, outputs, prod(len(form.filter_transform) for form in tiling.whole)
