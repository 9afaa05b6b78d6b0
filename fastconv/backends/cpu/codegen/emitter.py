"""LLVM code on a Numba builder, one vector register at a time: what tiles and transforms are made of.

Everything here works on plain byte addresses (``array.ctypes.data``) inside kernels, because a tile may read
rows that are not the rows of any array. Nothing checks bounds: the callers' drawings say why every access is
inside.

    address, view1d, prefetch       addresses, for kernels
    Emitter                         loads, stores and arithmetic, for functions that emit LLVM code
    call, read_arguments            how a kernel calls a compiled function by its address
    Vector, load, store, add, ...   loads, stores and arithmetic, for kernels
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from .jit import body
from .target import TARGET

I32, I64 = ir.IntType(32), ir.IntType(64)


VECTOR_BYTES, REGISTERS = TARGET.vector_bytes, TARGET.registers


def lanes(dtype) -> int:
    """Elements of ``dtype`` in one vector register."""
    return VECTOR_BYTES // np.dtype(dtype).itemsize


# ------------------------------------------------------------------------------------------------- addresses
@intrinsic
def _pointer(typingctx, start, like):
    dtype = like.dtype if isinstance(like, types.Array) else like
    sig = types.CPointer(dtype)(start, like)

    def codegen(context, builder, signature, args):
        return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

    return sig, codegen


@body(inline=True)
def address(array):
    """Byte address of an array's first element.

    It is signed, because Numba makes float64 of a mixture of signed and unsigned integers.
    """
    return np.int64(array.ctypes.data)


@body(inline=True)
def view1d(start, n, like):
    """The ``n`` elements at address ``start`` as a 1-D array of ``like``'s dtype."""
    return carray(_pointer(start, like), (n,))


def emit_prefetch(builder, pointer, write: bool, level: int) -> None:
    """Emit a prefetch of the line of memory at ``pointer`` to a level of the caches."""
    kind = ir.FunctionType(ir.VoidType(), [pointer.type, I32, I32, I32])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(function, [pointer, I32(int(write)), I32(4 - level), I32(1)])


def _prefetch_line(write: bool):
    @intrinsic
    def prefetch_line(typingctx, start):
        def codegen(context, builder, signature, args):
            emit_prefetch(builder, builder.inttoptr(args[0], ir.IntType(8).as_pointer()), write, level=2)
            return context.get_dummy_value()

        return types.void(types.int64), codegen

    return prefetch_line


_line_to_read, _line_to_write = _prefetch_line(False), _prefetch_line(True)


@body(inline=True)
def prefetch(start, size):
    """Prefetch ``size`` bytes at address ``start``, which may be any number, to the second-level cache."""
    for line in range(start, start + size, 64):
        _line_to_read(line)


@body(inline=True)
def prefetch_to_write(start, size):
    """Like :func:`prefetch`, for memory that will be written."""
    for line in range(start, start + size, 64):
        _line_to_write(line)


# ------------------------------------------------------------------------------------------------- emitter
class Emitter:
    """Vector loads, stores and arithmetic of one element type, on a Numba builder.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
    dtype : numba type, float32 or float64
    lanes : int, optional
        Elements of a vector; by default as many as a register holds.
    has_masks : bool
        Whether the processor reads and writes parts of vectors (see ``Target``).
    """

    def __init__(self, builder, dtype, lanes=None, has_masks=TARGET.has_masks):
        self.b = builder
        self.has_masks = has_masks
        self.element = ir.FloatType() if dtype == types.float32 else ir.DoubleType()
        self.lanes = lanes or VECTOR_BYTES // (dtype.bitwidth // 8)
        self.vector = ir.VectorType(self.element, self.lanes)
        self.bits = ir.VectorType(ir.IntType(1), self.lanes)
        self.suffix = f"v{self.lanes}f{dtype.bitwidth}"

    def intrinsic(self, name, result, arguments):
        return cgutils.get_or_insert_function(self.b.module, ir.FunctionType(result, arguments), name)

    def at(self, pointer, offset):
        """``pointer + offset`` in elements."""
        return self.b.gep(pointer, [I64(offset) if isinstance(offset, int) else offset])

    def element_pointer(self, address):
        return self.b.inttoptr(address, self.element.as_pointer())

    def load(self, pointer, part=None):
        """The vector at ``pointer``, or ``part`` of it (see :meth:`parts`): the other lanes hold anything."""
        if part is not None and not self.has_masks:
            value = ir.Constant(self.vector, ir.Undefined)
            for i, lane in enumerate(part):
                value = self.b.insert_element(value, self.b.load(self.at(pointer, lane)), I32(i))
            return value
        pointer = self.b.bitcast(pointer, self.vector.as_pointer())
        if part is None:
            return self.b.load(pointer, align=4)
        f = self.intrinsic(
            f"llvm.masked.load.{self.suffix}.p0", self.vector, [pointer.type, I32, self.bits, self.vector]
        )
        return self.b.call(f, [pointer, I32(4), part, ir.Constant(self.vector, [0.0] * self.lanes)])

    def store(self, value, pointer, part=None):
        """Write a vector, or ``part`` of its lanes (see :meth:`parts`), to ``pointer``."""
        if part is not None and not self.has_masks:
            for i in reversed(range(self.lanes)):  # of the lanes that share an element, the right one is last
                self.b.store(self.b.extract_element(value, I32(i)), self.at(pointer, part[i]))
            return None
        pointer = self.b.bitcast(pointer, self.vector.as_pointer())
        if part is None:
            return self.b.store(value, pointer, align=4)
        f = self.intrinsic(
            f"llvm.masked.store.{self.suffix}.p0", ir.VoidType(), [self.vector, pointer.type, I32, self.bits]
        )
        return self.b.call(f, [value, pointer, I32(4), part])

    def opaque(self, value):
        """``value``, but the optimiser does not know where it comes from."""
        return self.b.asm(ir.FunctionType(value.type, [value.type]), "", "=r,0", [value], False)

    def broadcast(self, number):
        undefined = ir.Constant(self.vector, ir.Undefined)
        zero = ir.Constant(ir.VectorType(I32, self.lanes), [0] * self.lanes)
        return self.b.shuffle_vector(self.b.insert_element(undefined, number, I32(0)), undefined, zero)

    def multiply_add(self, x, y, z):
        """``x * y + z``, rounded once if the processor has such an instruction."""
        f = self.intrinsic(f"llvm.fmuladd.{self.suffix}", self.vector, [self.vector] * 3)
        return self.b.call(f, [x, y, z])

    def total(self, value):
        """The sum of the lanes: halves are added until one number is left."""
        n = self.lanes
        while n > 1:
            n //= 2
            halves = [ir.Constant(ir.VectorType(I32, n), list(range(start, start + n))) for start in (0, n)]
            value = self.b.fadd(*(self.b.shuffle_vector(value, value, half) for half in halves))
        return self.b.extract_element(value, I32(0))

    def bounds(self, activation):
        """The least and the largest value that a result may have.

        ``activation`` is 0 for no bounds, 1 for ReLU (at least 0), or the address of a record that begins
        with the two numbers, 8 bytes apart.
        """
        b, module, infinity = self.b, self.b.module, float("inf")
        name = f"unbounded.{self.element}"
        unbounded = module.globals.get(name)
        if unbounded is None:
            step = [self.element(0.0)] * (1 if self.element == ir.FloatType() else 0)
            numbers = [self.element(-infinity), *step, self.element(infinity)]
            unbounded = ir.GlobalVariable(module, ir.ArrayType(self.element, len(numbers)), name)
            unbounded.initializer = ir.Constant(unbounded.value_type, numbers)
            unbounded.linkage, unbounded.global_constant = "internal", True
        given = b.icmp_signed(">", activation, I64(1))
        start = b.select(given, activation, b.ptrtoint(unbounded, I64))
        low, high = (b.load(self.element_pointer(b.add(start, I64(at)))) for at in (0, 8))
        low = b.select(b.icmp_signed("==", activation, I64(1)), self.element(0.0), low)
        return self.broadcast(low), self.broadcast(high)

    def within(self, bounds, value):
        """``value``, but at least ``bounds[0]``, then at most ``bounds[1]``; NaN stays NaN."""
        low, high = bounds
        value = self.b.select(self.b.fcmp_ordered("<", value, low), low, value)
        return self.b.select(self.b.fcmp_ordered(">", value, high), high, value)

    def parts(self, cols, nv):
        """For each of ``nv`` vectors that lie next to each other, the lanes that are among the first ``cols``
        columns, which must be at least 1.

        That is a mask where the processor has masked loads and stores. Elsewhere it is the position of each
        lane, and the lanes behind the last column are at the last column too. So they read and write nothing
        else, and no lane needs a branch.
        """
        if not self.has_masks:
            last = self.b.sub(cols, I64(1))

            def position(i):
                inside = self.b.icmp_signed("<", I64(i), cols)
                return self.b.select(inside, I64(i), last)

            return [
                [self.b.sub(position(v * self.lanes + i), I64(v * self.lanes)) for i in range(self.lanes)]
                for v in range(nv)
            ]
        index = ir.VectorType(I64, self.lanes)
        undefined = ir.Constant(index, ir.Undefined)
        spread = self.b.shuffle_vector(
            self.b.insert_element(undefined, cols, I32(0)),
            undefined,
            ir.Constant(ir.VectorType(I32, self.lanes), [0] * self.lanes),
        )
        return [
            self.b.icmp_signed(
                "<", ir.Constant(index, list(range(v * self.lanes, (v + 1) * self.lanes))), spread
            )
            for v in range(nv)
        ]


# ------------------------------------------------------------------------------------------------- calls
def read_arguments(name: str, arguments: str) -> list[str]:
    """The first lines of the source of a C function ``name``, which reads its ``arguments`` from memory."""
    count = len(arguments.split(","))
    return [f"def {name}(words):", f"    {arguments} = {', '.join(f'words[{i}]' for i in range(count))}"]


@intrinsic
def call(typingctx, function, args):
    """Call the compiled function at an address from ``jit.c_function``, with an array of the integers
    ``args``.

    The integers are not arguments themselves, because Numba's wrapper of a C function copies arguments from
    the stack as one vector. That copy waits until all the stores that put them there are done, which takes 30
    to 50 cycles.
    """
    sig = types.void(function, args)

    def codegen(context, builder, signature, values):
        start, packed = values
        numbers = cgutils.unpack_tuple(builder, packed, len(signature.args[1]))
        words = cgutils.alloca_once(builder, ir.ArrayType(I64, len(numbers)))
        for i, v in enumerate(numbers):
            builder.store(
                builder.sext(v, I64) if v.type.width < 64 else v, builder.gep(words, [I32(0), I32(i)])
            )
        words = builder.bitcast(words, I64.as_pointer())
        function = builder.inttoptr(start, ir.FunctionType(ir.VoidType(), [words.type]).as_pointer())
        builder.call(function, [words])
        return context.get_dummy_value()

    return sig, codegen


# ------------------------------------------------------------------------------------------------- vectors
class Vector(types.Type):
    """The type of one vector register in a kernel, for loops of which the compiler makes no vector code."""

    def __init__(self, dtype):
        self.dtype = dtype
        super().__init__(f"Vector({dtype})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, Emitter(None, kind.dtype).vector)


@intrinsic
def load(typingctx, start, like):
    """The vector of ``like``'s dtype at address ``start``."""

    def codegen(context, builder, signature, args):
        e = Emitter(builder, signature.return_type.dtype)
        return e.load(e.element_pointer(args[0]))

    return Vector(like.dtype)(types.int64, like), codegen


@intrinsic
def store(typingctx, value, start):
    """Write a vector to address ``start``."""

    def codegen(context, builder, signature, args):
        e = Emitter(builder, signature.args[0].dtype)
        e.store(args[0], e.element_pointer(args[1]))
        return context.get_dummy_value()

    return types.void(value, types.int64), codegen


@intrinsic
def load_part(typingctx, start, count, like):
    """The first ``count`` lanes (at least 1) of the vector at address ``start``, and anything in the others;
    nothing behind them is read."""

    def codegen(context, builder, signature, args):
        e = Emitter(builder, signature.return_type.dtype)
        return e.load(e.element_pointer(args[0]), e.parts(args[1], 1)[0])

    return Vector(like.dtype)(types.int64, types.int64, like), codegen


@intrinsic
def store_part(typingctx, value, start, count):
    """Write the first ``count`` lanes (at least 1) of a vector to address ``start``."""

    def codegen(context, builder, signature, args):
        e = Emitter(builder, signature.args[0].dtype)
        e.store(args[0], e.element_pointer(args[1]), e.parts(args[2], 1)[0])
        return context.get_dummy_value()

    return types.void(value, types.int64, types.int64), codegen


@intrinsic
def copy_bytes(typingctx, target, source, count):
    """Copy ``count`` bytes between two addresses, by the C library, which is fast for short runs as well."""

    def codegen(context, builder, signature, args):
        byte = ir.IntType(8).as_pointer()
        to, from_ = (builder.inttoptr(a, byte) for a in args[:2])
        cgutils.raw_memcpy(builder, to, from_, args[2], 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


@intrinsic
def fill(typingctx, number):
    """A vector with ``number`` in every lane."""

    def codegen(context, builder, signature, args):
        return Emitter(builder, signature.args[0]).broadcast(args[0])

    return Vector(number)(number), codegen


def _between(emit):
    """An intrinsic of two vectors."""

    @intrinsic
    def operation(typingctx, a, b):
        return a(a, b), lambda context, builder, signature, args: emit(builder, *args)

    return operation


add = _between(lambda b, x, y: b.fadd(x, y))
multiply = _between(lambda b, x, y: b.fmul(x, y))
#: The larger number of each lane, in one instruction. If they are equal, or one is NaN, it is the second.
larger = _between(lambda b, x, y: b.select(b.fcmp_ordered(">", x, y), x, y))
#: The larger number of each lane. If they are equal it is the first, and if one is NaN it is NaN.
maximum = _between(
    lambda b, x, y: b.select(b.or_(b.fcmp_ordered("<=", y, x), b.fcmp_unordered("uno", x, x)), x, y)
)


def _alternating(half: int):
    def emit(builder, x, y):
        n = x.type.count
        lanes = [i // 2 + n * (i % 2) + half * (n // 2) for i in range(n)]
        return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(I32, n), lanes))

    return _between(emit)


#: ``x0 y0 x1 y1 ...`` of two vectors: the first vector of the result, and the second.
alternating, alternating_behind = _alternating(0), _alternating(1)

#: The smaller number of each lane. If they are equal it is the first, and if one is NaN it is NaN.
minimum = _between(
    lambda b, x, y: b.select(b.or_(b.fcmp_ordered(">=", y, x), b.fcmp_unordered("uno", x, x)), x, y)
)


@intrinsic
def if_same(typingctx, value, model, yes, no):
    """In each lane ``yes`` if ``value`` equals ``model`` or is NaN, else ``no``."""

    def codegen(context, builder, signature, args):
        value, model, yes, no = args
        same = builder.or_(
            builder.fcmp_ordered("==", value, model), builder.fcmp_unordered("uno", value, value)
        )
        return builder.select(same, yes, no)

    return yes(value, model, yes, no), codegen
