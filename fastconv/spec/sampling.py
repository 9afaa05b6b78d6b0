"""Geometry of sampling at places that an array names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..checks import DIMS, check, check_count, check_rank, one_of, shape_str


@dataclass(frozen=True)
class GridSampleSpec:
    """One ``grid_sample`` call on planes or volumes.

    Attributes
    ----------
    batch, channels : int
    in_size, out_size : tuple of int
        Spatial extents of the input, and of the grid and the output.
    mode : {"bilinear", "nearest", "bicubic"}
    padding_mode : {"zeros", "border", "reflection"}
        What lies outside of the input.
    align_corners : bool
        Whether -1 and 1 are the centres of the corner pixels; else they are the edges of the input.
    """

    batch: int
    channels: int
    in_size: tuple[int, ...]
    out_size: tuple[int, ...]
    mode: str
    padding_mode: str
    align_corners: bool

    @property
    def ndim(self) -> int:
        """Number of spatial dimensions."""
        return len(self.in_size)

    @property
    def x_shape(self) -> tuple[int, ...]:
        """Shape of the input: ``N, C, spatial``."""
        return (self.batch, self.channels, *self.in_size)

    @property
    def y_shape(self) -> tuple[int, ...]:
        """Shape of the output: ``N, C, spatial``."""
        return (self.batch, self.channels, *self.out_size)


def grid_sample_spec(
    x_shape: Sequence[int],
    grid_shape: Sequence[int],
    mode: str,
    padding_mode: str,
    align_corners: bool | None,
) -> GridSampleSpec:
    """Validate a ``grid_sample`` call.

    >>> grid_sample_spec((1, 3, 8, 8), (1, 5, 6, 2), "bilinear", "zeros", None).y_shape
    (1, 3, 5, 6)
    """
    name = "grid_sample"
    check_rank(name, "input", x_shape, (4, 5), "N x C x H x W or N x C x D x H x W")
    n = len(x_shape) - 2
    layout = f"N x {' x '.join(f'{d}_out' for d in DIMS[n])} x {n}"
    check_rank(name, "grid", grid_shape, n + 2, layout)
    check(
        grid_shape[0] == x_shape[0] and grid_shape[-1] == n,
        name,
        f"grid must have the shape {layout} with the batch of input ({shape_str(x_shape)}), "
        f"got {shape_str(grid_shape)}",
    )
    one_of(name, "mode", mode, ("bilinear", "nearest", "bicubic"))
    one_of(name, "padding_mode", padding_mode, ("zeros", "border", "reflection"))
    check(mode != "bicubic" or n == 2, name, f"mode 'bicubic' takes planes, input is {shape_str(x_shape)}")
    check(min(x_shape[1:]) > 0, name, f"input must not be empty, got {shape_str(x_shape)}")
    check_count(name, "the output", (*x_shape[:2], *grid_shape[1:-1]))
    return GridSampleSpec(
        x_shape[0],
        x_shape[1],
        tuple(x_shape[2:]),
        tuple(grid_shape[1:-1]),
        mode,
        padding_mode,
        bool(align_corners),
    )
