"""A compiled function on all threads of Numba's pool.

::

    in_parallel(part, threads, (x, y))            part(0, threads, x, y)    on one thread
                                                  part(1, threads, x, y)    on another
                                                  ...
                                                  and all have ended before it returns

Numba's own way to its pool, a ``prange`` loop of a function compiled with ``parallel=True``, takes three
times as long to compile: its passes look for parallel work in every statement, and the loop is compiled
twice. Here a function says itself what each thread does, as CUDA's kernels do, and only its call needs the
pool.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

I32, I64 = ir.IntType(32), ir.IntType(64)
BYTES, NUMBERS = ir.IntType(8).as_pointer(), I64.as_pointer()
#: What the pool calls: (addresses, how many indices, steps, data). The first address is advanced by the first
#: step for every index, so from 0 by steps of 1 it is the first index itself.
WORKER = ir.FunctionType(ir.VoidType(), [BYTES.as_pointer(), NUMBERS, NUMBERS, BYTES])
#: ``parallel_for`` of Numba's pools: (worker, its four arguments, inner dimensions, addresses, threads).
PARALLEL_FOR = ir.FunctionType(ir.VoidType(), [BYTES, *WORKER.args, I64, I64, I64])


def _plain(context, b, kind, value):
    """An argument without owners, whose counts of references threads would have to share, and with constants
    where the type says enough: the compiler makes better code of these."""
    if isinstance(kind, types.BaseTuple):
        parts = cgutils.unpack_tuple(b, value, len(kind.types))
        return context.make_tuple(b, kind, [_plain(context, b, k, v) for k, v in zip(kind.types, parts)])
    if not isinstance(kind, types.Array):
        return value
    array = context.make_array(kind)(context, b, value)
    size = context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(kind.dtype)))
    array.meminfo = cgutils.get_null_value(array.meminfo.type)
    array.parent = cgutils.get_null_value(array.parent.type)
    array.itemsize = size
    if kind.layout == "C":
        strides = [size]
        for extent in reversed(cgutils.unpack_tuple(b, array.shape, kind.ndim)[1:]):
            strides.insert(0, b.mul(strides[0], extent))
        array.strides = cgutils.pack_array(b, strides[: kind.ndim])
    return array._getvalue()


def _emit_worker(context, module, part, sig, data_type):
    """The function that the pool calls: it calls ``part`` for each of its indices, with what is in
    ``data``."""
    worker = ir.Function(module, WORKER, module.get_unique_name(f"{part.name}.worker"))
    worker.linkage = "internal"
    b = ir.IRBuilder(worker.append_basic_block())
    addresses, counts, _, data = worker.args
    first, data = b.ptrtoint(b.load(addresses), I64), b.bitcast(data, data_type.as_pointer())
    threads, packed = (b.load(b.gep(data, [I32(0), I32(i)])) for i in range(2))
    kinds = sig.args[2:]
    args = [_plain(context, b, k, v) for k, v in zip(kinds, cgutils.unpack_tuple(b, packed, len(kinds)))]
    with cgutils.for_range(b, b.load(counts), intp=I64) as loop:
        thread = b.add(first, loop.index)
        context.call_conv.call_function(b, part, sig.return_type, sig.args, [thread, threads, *args])
    b.ret_void()
    return worker


@intrinsic
def in_parallel(typingctx, part, threads, args):
    """Call ``part(thread, threads, *args)`` for each of ``threads`` threads, and wait for all.

    Parameters
    ----------
    part : compiled function that returns nothing; an error in it is lost
    threads : int64
        1 calls it in this thread, without the pool, which may not be alive.
    args : tuple
    """
    sig = part.get_call_type(typingctx, (types.int64, types.int64, *args.types), {})
    compiled = part.dispatcher.overloads[sig.args]

    def codegen(context, builder, signature, values):
        _, threads, packed = values
        context.active_code_library.add_linking_library(compiled.library)
        function = context.declare_function(builder.module, compiled.fndesc)
        both = ir.LiteralStructType([I64, packed.type])
        data = cgutils.alloca_once(builder, both)
        for i, value in enumerate((threads, packed)):
            builder.store(value, builder.gep(data, [I32(0), I32(i)]))
        worker = _emit_worker(context, builder.module, function, sig, both)
        addresses = cgutils.alloca_once_value(builder, ir.Constant(BYTES, None))
        counts = cgutils.alloca_once_value(builder, threads)
        steps = cgutils.alloca_once_value(builder, I64(1))
        arguments = [addresses, counts, steps, builder.bitcast(data, BYTES)]
        with builder.if_else(builder.icmp_signed("==", threads, I64(1))) as (alone, together):
            with alone:
                builder.call(worker, arguments)
            with together:
                pool = cgutils.get_or_insert_function(builder.module, PARALLEL_FOR, "numba_parallel_for")
                start = builder.bitcast(worker, BYTES)
                builder.call(pool, [start, *arguments, I64(0), I64(1), threads])
        return context.get_dummy_value()

    return types.void(part, types.int64, args), codegen
