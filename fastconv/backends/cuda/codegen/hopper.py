"""Instructions of Hopper (compute capability 9.0a): copies of whole boxes, barriers, products by warpgroups.

::

    global memory --- copy_tiled, copy_im2col (TMA) ---> shared memory --- products (wgmma) ---> registers
                       one thread starts a box           K-major lines      4 warps, 64 x N sums
                                 |                       of 128 bytes
                                 +--- bytes that arrive ---> barrier <--- await_phase

Kernels call these functions like any others. Addresses in shared memory are 32-bit numbers.

A *line* is 128 bytes, 32 numbers of float32 or 64 of bfloat16, of one row of A or column of B. In shared
memory 8 lines are 1024 bytes, aligned, whose pieces of 16 bytes are swizzled: piece ``p`` of line ``l`` lies
at ``128 l + 16 (p ^ l % 8)``. Both sides do that on their own: the copies, because the tensor map says so,
and the products, because the descriptor does.

For bfloat16 lines may also run along the rows of A and the columns of B (*transposed*): a line is then 64 of
these for one number of k, and the lines of the next 64 follow behind the last k.

Registers of a warpgroup's sums, 64 x N (``w`` = warp of the four, ``g = lane // 4``, ``t = lane % 4``);
the sums of further blocks of 64 rows follow::

    row 16 w + g        sums[4 j], sums[4 j + 1]          columns 8 j + 2 t, 8 j + 2 t + 1
    row 16 w + g + 8    sums[4 j + 2], sums[4 j + 3]

Source: NVIDIA, "PTX ISA", sections ``wgmma``, ``mbarrier`` and ``cp.async.bulk.tensor``.
"""

from __future__ import annotations

from llvmlite import ir
from numba.cuda import types

from ..runtime.tensor_map import LINE
from .ptx import F32, I32, I64, element, emit, fields, in_shared, intrinsic, make_tuple

I16, VOID = ir.IntType(16), ir.VoidType()
_SWIZZLE_128 = 1 << 62
_EIGHT_LINES = 8 * LINE >> 4 << 32  # from 8 lines to the next 8, in units of 16 bytes
DESCRIPTOR = _SWIZZLE_128 | _EIGHT_LINES | 1 << 16  #: of K-major lines, without the address
ADVANCE_TRANSPOSED = 16 * LINE >> 4  #: what 16 numbers of k add to the descriptor of transposed lines


def transposed(depth: int) -> int:
    """The descriptor of transposed lines, without the address; ``depth`` numbers of k."""
    return _SWIZZLE_128 | _EIGHT_LINES | depth * LINE >> 4 << 16


def _statement(template, *kinds):
    """The function that runs one instruction, with arguments of these types and no result."""
    letters = {types.uint32: "r", types.int32: "r", types.uint64: "l"}
    constraints = ",".join([letters[k] for k in kinds] + ["~{memory}"])

    # numba.cuda counts the arguments of an intrinsic by its signature
    def code(context, builder, sig, args):
        emit(builder, VOID, template, constraints, *args)
        return context.get_dummy_value()

    signature = types.void(*kinds)
    if len(kinds) == 0:

        @intrinsic
        def statement(typing):
            return signature, code

    elif len(kinds) == 1:

        @intrinsic
        def statement(typing, a):
            return signature, code

    else:

        @intrinsic
        def statement(typing, a, b):
            return signature, code

    return statement


@intrinsic
def shared_address(typing, array):
    """The address of an array in shared memory, as the other functions take it."""

    def code(context, builder, sig, args):
        return in_shared(builder, element(context, builder, sig.args[0], args[0], I32(0)))

    return types.uint32(array), code


@intrinsic
def quotient(typing, a, b):
    """``a // b`` for 0 <= a and 0 < b.

    Numba divides in 64 bits, by a function outside of the kernel. The assembler serializes the products of a
    kernel that calls one.
    """

    def code(context, builder, sig, args):
        return builder.udiv(*args)

    return types.int32(types.int32, types.int32), code


# ------------------------------------------------------------------------------------------------ barriers
_u32, _u64, _i32 = types.uint32, types.uint64, types.int32

# A barrier is 8 bytes of shared memory. Its phase ends when ``count`` threads have arrived and all bytes that
# they announced are there.
start_barrier = _statement("mbarrier.init.shared::cta.b64 [$0], $1;", _u32, _u32)
publish_barriers = _statement("fence.mbarrier_init.release.cluster;")  # lets copies see new barriers
arrive = _statement("mbarrier.arrive.shared::cta.b64 _, [$0];", _u32)
arrive_expecting = _statement("mbarrier.arrive.expect_tx.shared::cta.b64 _, [$0], $1;", _u32, _u32)
# waits until the phase of this parity has ended; the phase before the first has parity 1
await_phase = _statement(
    "{ .reg .pred done; "
    "again: mbarrier.try_wait.parity.shared::cta.b64 done, [$0], $1; "
    "@done bra ended; bra again; ended: }",
    _u32,
    _u32,
)


# -------------------------------------------------------------------------------------------- copies of boxes
# lets copies see a tensor map that lies in global memory
acquire_map = _statement("fence.proxy.tensormap::generic.acquire.sys [$0], 128;", _u64)


@intrinsic
def map_address(typing, maps, number):
    """The address of a tensor map in the table ``maps``."""

    def code(context, builder, sig, args):
        words = builder.mul(builder.sext(args[1], I64), I64(16))
        return builder.ptrtoint(element(context, builder, sig.args[0], args[0], words), I64)

    return types.uint64(maps, types.int32), code


def _start_copy(context, builder, args):
    """The code that copies a box from ``args[3:]`` on, a coordinate for each dimension of the map."""
    count = len(args) - 3
    coordinates = ", ".join(f"${3 + i}" for i in range(count))
    template = (
        f"cp.async.bulk.tensor.{count}d.shared::cluster.global.mbarrier::complete_tx::bytes "
        f"[$0], [$1, {{{coordinates}}}], [$2];"
    )
    emit(builder, VOID, template, "r,l,r," + "r," * count + "~{memory}", *args)
    return context.get_dummy_value()


@intrinsic
def copy_tiled(typing, to, tensor_map, barrier, x0, x1):
    """Start the copy of a box of a matrix, from column ``x0`` of row ``x1`` on; the barrier counts bytes."""

    def code(context, builder, sig, args):
        return _start_copy(context, builder, args)

    return types.void(_u32, _u64, _u32, _i32, _i32), code


@intrinsic
def copy_tiled_3d(typing, to, tensor_map, barrier, x0, x1, x2):
    """``copy_tiled`` from one of several matrices, number ``x2``."""

    def code(context, builder, sig, args):
        return _start_copy(context, builder, args)

    return types.void(_u32, _u64, _u32, _i32, _i32, _i32), code


@intrinsic
def copy_tiled_4d(typing, to, tensor_map, barrier, x0, x1, x2, x3):
    """``copy_tiled`` of a box of up to four dimensions, from ``x0, x1, x2, x3`` on."""

    def code(context, builder, sig, args):
        return _start_copy(context, builder, args)

    return types.void(_u32, _u64, _u32, _i32, _i32, _i32, _i32), code


@intrinsic
def copy_im2col(typing, to, tensor_map, barrier, c, w, h, n, tap_w, tap_h):
    """Start the copy of a box of channels and pixels of images.

    Channels are counted from ``c`` on, pixels from ``(w, h)`` of image ``n`` on, along rows and then on to
    the next row and image, as the tensor map says; each is then moved by the tap.
    """

    def code(context, builder, sig, args):
        template = (
            "cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes "
            "[$0], [$1, {$3, $4, $5, $6}], [$2], {$7, $8};"
        )
        tap = [builder.trunc(a, I16) for a in args[7:]]
        emit(builder, VOID, template, "r,l,r,r,r,r,r,h,h,~{memory}", *args[:7], *tap)
        return context.get_dummy_value()

    return types.void(_u32, _u64, _u32, _i32, _i32, _i32, _i32, _i32, _i32), code


# --------------------------------------------------------------------------------------------------- products
def descriptor(constant: int = DESCRIPTOR):
    """The function ``describe(address)``: how products read lines from an address on."""

    @intrinsic
    def describe(typing, address):
        def code(context, builder, sig, args):
            place = builder.lshr(builder.and_(args[0], I32(0x3FFFF)), I32(4))
            return builder.or_(builder.zext(place, I64), I64(constant))

        return types.uint64(types.uint32), code

    return describe


def sums(N: int, high: int = 1):
    """The function ``zeros()``: sums of a warpgroup, 64 ``high`` x N, as each thread holds them."""
    count = high * N // 2

    @intrinsic
    def zeros(typing):
        result = types.UniTuple(types.float32, count)

        def code(context, builder, sig, args):
            return make_tuple(context, builder, result, [F32(0)] * count)

        return result(), code

    return zeros


def products(
    N: int,
    mode: str,
    pending: int,
    high: int = 1,
    steps: int = 4,
    advance: tuple[int, int] = (2, 2),
    transposed: tuple[int, int] = (0, 0),
    apart: int = 64 * LINE >> 4,
):
    """The function ``multiply(sums, a, b)``: the sums plus the product of a slab of A and one of B.

    Parameters
    ----------
    N : int
        Columns of B, a multiple of 8 up to 256.
    mode : {"tf32", "bf16"}
    pending : {0, 1}
        How many of the last slabs may still be in work when the function returns; with 1, that is this slab.
        ``await_products`` must then come before the sums are read.
    high : int
        A has 64 ``high`` rows; ``high`` times N is at most 256.
    steps : int
        Products one after another along k; each takes 32 bytes of a line.
    advance : (int, int)
        What a step adds to the descriptors of A and B.
    transposed : (int, int)
        Whether A's rows and B's columns run along lines, instead of k; for bf16 only.
    apart : int
        What leads from the descriptor of 64 rows of A to that of the next; 64 lines by default.
    """
    each, count = N // 2, high * N // 2
    shape = {"tf32": "k8.f32.tf32.tf32", "bf16": "k16.f32.bf16.bf16"}[mode]
    last = "1, 1, 1" + (f", {transposed[0]}, {transposed[1]}" if mode == "bf16" else "")
    lines = ["{ .reg .b64 a, b;", "wgmma.fence.sync.aligned;"]
    for step in range(steps):
        lines.append(f"add.s64 b, ${count + 1}, {step * advance[1]};")
        for row in range(high):
            registers = ",".join(f"${i}" for i in range(row * each, (row + 1) * each))
            lines.append(f"add.s64 a, ${count}, {step * advance[0] + row * apart};")
            lines.append(f"wgmma.mma_async.sync.aligned.m64n{N}{shape} {{{registers}}}, a, b, {last};")
    lines += ["wgmma.commit_group.sync.aligned;", f"wgmma.wait_group.sync.aligned {pending};", "}"]
    template = " ".join(lines)
    constraints = ",".join(["=f"] * count + ["l", "l"] + [str(i) for i in range(count)] + ["~{memory}"])
    result = types.UniTuple(types.float32, count)

    @intrinsic
    def multiply(typing, sums, a, b):
        def code(context, builder, sig, args):
            values = fields(builder, args[0], count)
            kind = ir.LiteralStructType([F32] * count)
            got = emit(builder, kind, template, constraints, args[1], args[2], *values)
            return make_tuple(context, builder, result, fields(builder, got, count))

        return result(result, types.uint64, types.uint64), code

    return multiply


def await_products(N: int, high: int = 1):
    """The function ``finish(sums)``: the sums once all products are in them."""
    count = high * N // 2
    constraints = ",".join(["=f"] * count + [str(i) for i in range(count)] + ["~{memory}"])
    result = types.UniTuple(types.float32, count)

    @intrinsic
    def finish(typing, sums):
        def code(context, builder, sig, args):
            values = fields(builder, args[0], count)
            kind = ir.LiteralStructType([F32] * count)
            got = emit(builder, kind, "wgmma.wait_group.sync.aligned 0;", constraints, *values)
            return make_tuple(context, builder, result, fields(builder, got, count))

        return result(result), code

    return finish


def store_sums(N: int, high: int = 1):
    """The function ``store(array, index, pitch, sums)``.

    It writes a thread's sums, where ``index`` is the place of the first and ``pitch`` the distance of rows.
    """
    count = high * N // 2
    pair = ir.VectorType(F32, 2)

    @intrinsic
    def store(typing, array, index, pitch, sums):
        def code(context, builder, sig, args):
            values = fields(builder, args[3], count)
            for block in range(high):
                for half in range(2):
                    row = builder.add(args[1], builder.mul(I64(64 * block + 8 * half), args[2]))
                    first = element(context, builder, sig.args[0], args[0], row)
                    for j in range(N // 8):
                        value = ir.Constant(pair, ir.Undefined)
                        for i in range(2):
                            one = values[block * N // 2 + 4 * j + 2 * half + i]
                            value = builder.insert_element(value, one, I32(i))
                        place = builder.gep(first, [I32(8 * j)])
                        written = builder.store(value, builder.bitcast(place, pair.as_pointer()))
                        written.align = 8
            return context.get_dummy_value()

        return types.void(array, types.int64, types.int64, types.UniTuple(types.float32, count)), code

    return store


def store_sums_inside(N: int, high: int):
    """The function ``store(array, places, rows, columns, pitch, sums)``: ``store_sums`` with limits.

    ``places`` and ``rows`` are arrays with an element for each block of 64 rows: the place of the thread's
    first sum, and how many rows there are from that sum's row on. ``columns`` is their number, a multiple
    of 8, from the first column of all threads on.
    """
    count = high * N // 2
    pair = ir.VectorType(F32, 2)

    @intrinsic
    def store(typing, array, places, rows, columns, pitch, sums):
        def code(context, builder, sig, args):
            values = fields(builder, args[5], count)

            def at(i, index):
                return element(context, builder, sig.args[i], args[i], index)

            for block in range(high):
                place, left = builder.load(at(1, I32(block))), builder.load(at(2, I32(block)))
                for half in range(2):
                    row = builder.add(place, builder.mul(I64(8 * half), args[4]))
                    first = at(0, row)
                    with builder.if_then(builder.icmp_signed("<", I32(8 * half), left)):
                        for j in range(N // 8):
                            with builder.if_then(builder.icmp_signed("<", I32(8 * j), args[3])):
                                value = ir.Constant(pair, ir.Undefined)
                                for i in range(2):
                                    one = values[block * N // 2 + 4 * j + 2 * half + i]
                                    value = builder.insert_element(value, one, I32(i))
                                to = builder.gep(first, [I32(8 * j)])
                                written = builder.store(value, builder.bitcast(to, pair.as_pointer()))
                                written.align = 8
            return context.get_dummy_value()

        kinds = types.int32, types.int64, types.UniTuple(types.float32, count)
        return types.void(array, places, rows, *kinds), code

    return store
