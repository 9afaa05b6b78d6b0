"""Runs of elements interleaved to one run, and the reverse, in registers.

::

    run 0   a0 a1 a2 a3 ...
    run 1   b0 b1 b2 b3 ...   <->   a0 b0 c0 a1 b1 c1 a2 b2 c2 a3 ...
    run 2   c0 c1 c2 c3 ...

    one block:  a vector of each run  <->  as many vectors of the one run; the last block of a run overlaps
                the one before it, so every run has at least one vector
"""

from __future__ import annotations

import functools

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .emitter import I32, I64, Emitter, lanes, read_arguments
from .jit import c_function

#: Numbers of runs that are interleaved in registers.
RUNS = (2, 3, 4, 8)


def _picked(e: Emitter, vectors, wanted):
    """Emit the vector of the lanes ``wanted``: pairs (number of a vector, lane of it)."""
    result = vectors[0]
    for new in range(1, len(vectors)):
        mask = [
            e.lanes + lane if vector == new else lane if new == 1 and vector == 0 else place
            for place, (vector, lane) in enumerate(wanted)
        ]
        result = e.b.shuffle_vector(result, vectors[new], ir.Constant(ir.VectorType(I32, e.lanes), mask))
    return result


def _make_block(runs: int, kind, joins: bool):
    @intrinsic
    def block(typingctx, source, target, step):
        # addresses; step: bytes between the runs
        def codegen(context, builder, signature, args):
            e = Emitter(builder, kind)
            source, target, step = args
            apart = [builder.mul(step, I64(i)) for i in range(runs)]
            together = [I64(i * e.lanes * kind.bitwidth // 8) for i in range(runs)]
            read, written = (apart, together) if joins else (together, apart)
            vectors = [e.load(e.element_pointer(builder.add(source, at))) for at in read]
            for i, at in enumerate(written):
                places = [i * e.lanes + lane for lane in range(e.lanes)]  # in the one run
                if joins:
                    wanted = [(place % runs, place // runs) for place in places]
                else:
                    places = [lane * runs + i for lane in range(e.lanes)]
                    wanted = [(place // e.lanes, place % e.lanes) for place in places]
                value = _picked(e, vectors, wanted)
                e.store(value, e.element_pointer(builder.add(target, at)))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, types.int64), codegen

    return block


@functools.cache
def interleaving_address(runs: int, dtype, joins: bool) -> int:
    """Address of the compiled function of one block of each run after the other.

    Its arguments are the addresses of source and target, the bytes between the runs, and the elements of a
    run, at least a vector. ``joins``: the runs are the source and the one run is the target.
    """
    size, width = np.dtype(dtype).itemsize, lanes(dtype)
    kind = types.float32 if size == 4 else types.float64
    steps = (size, runs * size) if joins else (runs * size, size)
    lines = [
        *read_arguments("interleave", "source, target, step, count"),
        f"    for first in range(0, count, {width}):",
        f"        at = min(first, count - {width})",
        f"        block(source + at * {steps[0]}, target + at * {steps[1]}, step)",
    ]
    space = {"block": _make_block(runs, kind, joins)}
    exec("\n".join(lines), space)
    return c_function(
        space["interleave"], f"interleaving.{runs}.{'joined' if joins else 'apart'}.{kind.name}"
    )
