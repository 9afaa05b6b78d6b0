"""Instructions that numba.cuda does not offer: asynchronous copies, matrix products by warps, wide accesses.

This file and ``hopper.py`` are the only ones of the project with inline PTX. Kernels call these functions
like any others. An array argument is a pointer or a 1-D array, and an index counts its elements. Under the
simulator (``NUMBA_ENABLE_CUDASIM=1``) the same names come from ``simulator/ptx.py``.

Registers of the tiles that a warp multiplies (``g = lane // 4``, ``t = lane % 4``; one register = 32 bits)::

            A, 16 x 8 tf32               B, 8 x 8 tf32           C, 16 x 8 float32
         k: 0-3      4-7              n: 0-7                  n: 0 1  2 3  4 5  6 7
    m 0-7  a0[g,t]  a2[g,t+4]     k 0-3  b0[t,g]          m 0-7   c0 c1 = [g, 2t], [g, 2t+1]
    m 8-15 a1       a3            k 4-7  b1[t+4,g]        m 8-15  c2 c3

With bf16 a register holds two numbers next to each other in k, so k has 16 of them:
``a0 = A[g, 2t:2t+2]``, ``a2 = A[g, 2t+8:2t+10]``, and so on.

Source: NVIDIA, "PTX ISA", sections ``mma``, ``ldmatrix`` and ``cp.async``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba.cuda import config

if config.ENABLE_CUDASIM:
    from ..simulator.ptx import (
        commit,
        copy_async,
        ldmatrix4,
        ldmatrix4_trans,
        load2,
        load4,
        mma_bf16,
        mma_tf32,
        pack_bf16,
        pointer,
        read_record,
        store2,
        store4,
        tf32,
        vector_access,
        wait,
    )
else:
    from llvmlite import ir
    from numba.cuda import extending, jit, types

    def intrinsic(function: Callable) -> Callable[..., Any]:
        """Numba's decorator; kernels call the result without the parameter ``typing``."""
        return extending.intrinsic(function)

    I32, I64, F32 = ir.IntType(32), ir.IntType(64), ir.FloatType()
    SHARED = 3  # LLVM's number of the address space

    def _asm(builder, result, template, constraints, *args, volatile=True):
        """Emit ``template``. ``volatile`` keeps it in place, which instructions of a whole warp need."""
        function = ir.FunctionType(result, [a.type for a in args])
        return builder.call(ir.InlineAsm(function, template, constraints, side_effect=volatile), list(args))

    def _pointer(context, builder, kind, array, index):
        start = (
            array
            if isinstance(kind, types.CPointer)
            else context.make_array(kind)(context, builder, value=array).data
        )
        return builder.gep(start, [index])

    @intrinsic
    def pointer(typing, array):
        """A pointer to the first element of an array in shared memory.

        An index into it is one access (see ``launch.py``).
        """

        def code(context, builder, sig, args):
            return _pointer(context, builder, sig.args[0], args[0], I32(0))

        return types.CPointer(array.dtype)(array), code

    def _shared(builder, pointer):
        """The 32-bit address that instructions on shared memory take."""
        there = ir.PointerType(pointer.type.pointee, SHARED)
        return builder.ptrtoint(builder.addrspacecast(pointer, there), I32)

    def _tuple(context, builder, kind, values):
        return context.make_tuple(builder, kind, list(values))

    def _fields(builder, value, count):
        return [builder.extract_value(value, i) for i in range(count)]

    def read_record(kind):
        """The function ``read(array)`` that gives the first elements of an array as the NamedTuple ``kind``.

        Only those fields are loaded that the caller uses. Each read loads anew, so a kernel that reads a
        record again later keeps no registers in between.
        """
        count = len(kind._fields)

        @intrinsic
        def read(typing, array):
            result = types.NamedUniTuple(array.dtype, count, kind)

            def code(context, builder, sig, args):
                _asm(builder, ir.VoidType(), "", "~{memory}")  # separates the loads from earlier reads
                places = (_pointer(context, builder, sig.args[0], args[0], I32(i)) for i in range(count))
                return _tuple(context, builder, result, map(builder.load, places))

            return result(array), code

        return read

    # ------------------------------------------------------------------------------- asynchronous copies
    def copy_async(size: int, l1: bool = True):
        """The function ``copy(shared, at, array, index, valid)``, which starts a copy to shared memory.

        Parameters
        ----------
        size : {4, 8, 16}
            Bytes per copy; addresses are multiples of it. Where ``valid`` is false, the copy writes zeros and
            reads nothing.
        l1 : bool
            Whether the copy goes through the first-level cache. That helps where the same block soon reads
            the bytes again. Copies of less than 16 bytes always do.
        """
        cache = "ca" if l1 or size < 16 else "cg"

        @intrinsic
        def copy(typing, shared, at, array, index, valid):
            signature = types.void(shared, types.int64, array, types.int64, types.boolean)

            def code(context, builder, sig, args):
                to = _shared(builder, _pointer(context, builder, sig.args[0], args[0], args[1]))
                source = builder.ptrtoint(_pointer(context, builder, sig.args[2], args[2], args[3]), I64)
                count = builder.select(builder.trunc(args[4], ir.IntType(1)), I32(size), I32(0))
                template = (
                    "{ .reg .u64 g; cvta.to.global.u64 g, $1; "
                    f"cp.async.{cache}.shared.global [$0], [g], {size}, $2; }}"
                )
                _asm(builder, ir.VoidType(), template, "r,l,r,~{memory}", to, source, count)
                return context.get_dummy_value()

            return signature, code

        return copy

    def _statement(template):
        @intrinsic
        def statement(typing):
            def code(context, builder, sig, args):
                _asm(builder, ir.VoidType(), template, "~{memory}")
                return context.get_dummy_value()

            return types.void(), code

        return statement

    commit = _statement("cp.async.commit_group;")  # the copies started since the last commit are one group

    def wait(groups: int):
        """The function that waits for all groups of this thread's copies except the last ``groups``."""
        return _statement(f"cp.async.wait_group {groups};")

    # ------------------------------------------------------------------------------------- wide accesses
    def _load(count):
        @intrinsic
        def load(typing, array, index):
            result = types.UniTuple(array.dtype, count)

            def code(context, builder, sig, args):
                pointer = _pointer(context, builder, sig.args[0], args[0], args[1])
                vector = ir.VectorType(pointer.type.pointee, count)
                loaded = builder.load(builder.bitcast(pointer, vector.as_pointer()))
                loaded.align = min(count * sig.args[0].dtype.bitwidth // 8, 16)
                return _tuple(
                    context, builder, result, (builder.extract_element(loaded, I32(i)) for i in range(count))
                )

            return result(array, types.int64), code

        return load

    # Consecutive elements from an index on, in accesses of up to 16 bytes (aligned).
    load2, load4 = _load(2), _load(4)

    def _store(count):
        def code(context, builder, sig, args):
            pointer = _pointer(context, builder, sig.args[0], args[0], args[1])
            kind = ir.VectorType(pointer.type.pointee, count)
            value = ir.Constant(kind, ir.Undefined)
            for i in range(count):
                value = builder.insert_element(value, args[2 + i], I32(i))
            store = builder.store(value, builder.bitcast(pointer, kind.as_pointer()))
            store.align = min(count * sig.args[0].dtype.bitwidth // 8, 16)
            return context.get_dummy_value()

        return code

    @intrinsic
    def store2(typing, array, index, a, b):
        """``array[index : index + 2] = a, b`` in one access (aligned)."""
        return types.void(array, types.int64, *(array.dtype,) * 2), _store(2)

    @intrinsic
    def store4(typing, array, index, a, b, c, d):
        """``array[index : index + 4] = a, b, c, d`` in accesses of 16 bytes (aligned)."""
        return types.void(array, types.int64, *(array.dtype,) * 4), _store(4)

    def vector_access(vector_width: int):
        """The functions ``load(array, index)`` and ``store(array, index, values)`` of 1 or 4 elements.

        Values are tuples. Accesses have up to 16 bytes and must be aligned.
        """
        if vector_width == 4:
            return load4, jit(
                lambda array, index, v: store4(array, index, v[0], v[1], v[2], v[3]), device=True
            )
        return jit(lambda array, index: (array[index],), device=True), jit(_store1, device=True)

    def _store1(array, index, v):
        array[index] = v[0]

    def _ldmatrix4(how):
        template = f"ldmatrix.sync.aligned.m8n8.x4{how}.shared.b16 {{$0,$1,$2,$3}}, [$4];"

        @intrinsic
        def ldmatrix4(typing, shared, index):
            result = types.UniTuple(types.uint32, 4)

            def code(context, builder, sig, args):
                row = _shared(builder, _pointer(context, builder, sig.args[0], args[0], args[1]))
                got = _asm(builder, ir.LiteralStructType([I32] * 4), template, "=r,=r,=r,=r,r,~{memory}", row)
                return _tuple(context, builder, result, _fields(builder, got, 4))

            return result(shared, types.int64), code

        return ldmatrix4

    # ``ldmatrix4`` reads four matrices of 8 rows of 16 bytes from shared memory and spreads them over the
    # warp as tiles of A or B. Lanes 8 i to 8 i + 7 give the addresses of the rows of matrix i. Each lane
    # receives, of each matrix, bytes 4 (lane % 4) to 4 (lane % 4) + 3 of row lane // 4, as 32 bits.
    # ``ldmatrix4_trans`` transposes matrices of 8 x 8 numbers of 16 bits: each lane receives the elements
    # [2 (lane % 4), lane // 4] and [2 (lane % 4) + 1, lane // 4].
    ldmatrix4, ldmatrix4_trans = _ldmatrix4(""), _ldmatrix4(".trans")

    # -------------------------------------------------------------------------------------- tensor cores
    # ``mma`` ignores the lower 13 bits of tf32 operands, so it cuts them off. ``tf32`` therefore does not
    # round. It adds what makes up for the cut, x + x ln(2) / 2^11 in one instruction. ``cvt.rna.tf32.f32``
    # takes a test for NaN and infinity more. In units of the last bit that stays, 0.35 (at a mantissa of 1)
    # to 0.69 (of 2) are added:
    #
    # * Less than a unit, so numbers of tf32 stay what they are.
    # * Half a unit on average, as much as the cut takes, if logarithms are spread evenly: no bias.
    # * The error is 0.31 units (root mean square), that of rounding to nearest 0.29.
    # * NaN stays NaN and infinity stays infinity. Half a unit added to the bits would turn some NaN into -0.
    #   The largest finite numbers become infinity, as by rounding.
    #
    # Sources of the cut: for capability 9.0 ptxas makes of ``cvt.rna`` an addition of half a unit to the
    # bits, and ``mma`` reads the sum with all of them. CUTLASS does so too (``round_half_ulp_trunc_dntz``).
    TF32_STEP = 0x39B17218  # the bits of ln(2) / 2^11

    @intrinsic
    def tf32(typing, x):
        """A float32, or its bits, so that ``mma_tf32`` reads about the nearest tf32 (10 bits of fraction)."""

        def code(context, builder, sig, args):
            x = args[0] if sig.args[0] == types.float32 else builder.bitcast(args[0], F32)
            template = f"fma.rn.f32 $0, $1, 0f{TF32_STEP:08X}, $1;"
            return _asm(builder, I32, template, "=r,f", x, volatile=False)

        return types.uint32(types.float32 if x == types.float32 else types.uint32), code

    @intrinsic
    def pack_bf16(typing, low, high):
        """Two float32 rounded to the nearest bfloat16, in one register."""

        def code(context, builder, sig, args):
            return _asm(builder, I32, "cvt.rn.bf16x2.f32 $0, $2, $1;", "=r,f,f", *args, volatile=False)

        return types.uint32(types.float32, types.float32), code

    def _mma(shape):
        """The function ``mma(a, b, c)``, C + A B of a warp; each lane holds 4, 2 and 4 registers."""
        template = (
            f"mma.sync.aligned.m16n8{shape} {{$0,$1,$2,$3}}, {{$4,$5,$6,$7}}, {{$8,$9}}, {{$10,$11,$12,$13}};"
        )
        constraints = ",".join(["=f"] * 4 + ["r"] * 6 + ["f"] * 4)

        @intrinsic
        def mma(typing, a, b, c):
            result = types.UniTuple(types.float32, 4)
            signature = result(types.UniTuple(types.uint32, 4), types.UniTuple(types.uint32, 2), result)

            def code(context, builder, sig, args):
                registers = [r for arg, n in zip(args, (4, 2, 4)) for r in _fields(builder, arg, n)]
                got = _asm(builder, ir.LiteralStructType([F32] * 4), template, constraints, *registers)
                return _tuple(context, builder, result, _fields(builder, got, 4))

            return signature, code

        return mma

    mma_tf32 = _mma("k8.row.col.f32.tf32.tf32.f32")
    mma_bf16 = _mma("k16.row.col.f32.bf16.bf16.f32")

    # With these ``hopper.py`` emits its instructions.
    emit, element, in_shared, make_tuple, fields = _asm, _pointer, _shared, _tuple, _fields
