"""What kernels are made for: the vector registers of a processor, and the register tile that suits them.

Everything that depends on the architecture is decided here, from LLVM's description of a processor alone. So
it can be tested on any other one: ``tools/cross_tiles.py`` compiles the tiles for several processors.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

from .jit import machine


class Target(NamedTuple):
    """The vector unit of a processor.

    Attributes
    ----------
    vector_bytes : int
        Bytes of a vector register.
    registers : int
        How many vector registers there are.
    has_masks : bool
        Whether an instruction reads or writes a part of a vector. Where none does, LLVM makes a branch for
        each lane.
    tile_rows : int
        Rows of the largest register tile, which is two vectors wide (``gemm_tile``).
    """

    vector_bytes: int
    registers: int
    has_masks: bool
    tile_rows: int


def parse_features(features: str) -> dict[str, bool]:
    """LLVM's list of features (``+avx2,-sve``) by name."""
    return {f[1:]: f[0] == "+" for f in features.split(",") if f}


def target_of(triple: str, features: str) -> Target:
    """The vector unit of a processor, from LLVM's target triple and list of features.

    Every 64-bit ARM processor has 32 registers of 16 bytes, also where LLVM lists no features, as on Apple
    Silicon. A tile of 14 rows would need 31 of them, and in LLVM's schedule for Cortex-A72 and A76 it needs
    more: the inner loop copies registers and spills. 12 rows leave five free. SVE is not used.
    """
    if triple.partition("-")[0] in ("aarch64", "arm64", "arm64e"):
        return Target(16, 32, has_masks=False, tile_rows=12)
    has = parse_features(features)
    if has.get("avx512f"):
        return Target(64, 32, has_masks=True, tile_rows=14)
    if has.get("avx"):
        return Target(32, 16, has_masks=True, tile_rows=6)
    return Target(16, 16, has_masks=False, tile_rows=6)


@functools.cache
def features() -> dict[str, bool]:
    """The features of the processor that code is made for, such as ``{"avx2": True, "sve": False}``."""
    return parse_features(machine()[2])


TARGET = target_of(machine()[0], machine()[2])
