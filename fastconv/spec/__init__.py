"""Geometry of every operation: padding, output shapes and work counts.

A *spec* is built once per call, from shapes alone. Building it refuses arguments that cannot work, with a
message that says what was expected and what came. Every backend, ``summary``, ``explain_conv`` and the
benchmarks then read the spec. Nothing here reads array data.

Terms
-----
size : spatial extents only, e.g. ``(H, W)``.
shape : all extents, always in the logical order ``N, C, [D,] [H,] W``.
padding : one ``(before, after)`` pair per spatial dimension once parsed.
macs : multiply-adds (one multiplication and one addition count as ONE).
flops : floating-point operations, ``2 * macs`` (plus one addition per output where there is a bias).
"""

from .conv import ConvSpec, conv_spec, conv_transpose_spec
from .pool import AdaptivePoolSpec, PoolSpec, UnpoolSpec, adaptive_pool_spec, pool_spec, unpool_spec
from .resize import InterpolateSpec, cubic_weights, interpolate_spec, pad_pairs
from .sampling import GridSampleSpec, grid_sample_spec
from .shapes import broadcast_shape, contiguous_strides, is_basic, receptive_field, reshaped_strides
from .windows import parse_padding, window_options
