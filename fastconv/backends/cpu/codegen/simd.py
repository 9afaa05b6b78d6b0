"""The only LLVM code of the project: register-blocked multiply-add tiles for this machine's vectors.

Everything here works on plain byte addresses (``array.ctypes.data``) inside kernels, because a tile reads
rows that are no array's rows. Nothing checks bounds: the callers' drawings say why every access is inside.

The tile (:func:`tile`)::

            columns: NV vectors of LANES elements
            +---------+---------+
       row 0| acc 0,0 | acc 0,1 |    acc[m, v] = init + sum over taps t, sum over k < depth of
       row 1| acc 1,0 | acc 1,1 |        A[ta[t] + m * a_row + k * a_step]        (one number, broadcast)
        ... |   ...   |   ...   |      * B[tb[t] + k * b_step + v * LANES ...]    (one vector)
    row MR-1|         |         |
            +---------+---------+    all MR * NV accumulators stay in registers through both loops

With 32 vector registers the tile is 14 x 2 (28 accumulators, 2 for B, 1 for the broadcast): per step of k 16
loads feed 28 multiply-adds, which keeps the multiply-add unit busy every cycle. With 16 registers (AVX2) it
is 6 x 2.
"""

from __future__ import annotations

import functools
import hashlib

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from .jit import body, c_function, machine

I32, I64 = ir.IntType(32), ir.IntType(64)


@functools.cache
def features() -> dict[str, bool]:
    """What the processor that code is made for has, e.g. ``{"avx2": True, "sve": False}``."""
    return {f[1:]: f[0] == "+" for f in machine()[2].split(",") if f}


def _vector() -> tuple[int, int]:
    """Bytes of a vector register and number of registers."""
    has = features()
    if has.get("avx512f"):
        return 64, 32
    if has.get("avx"):
        return 32, 16
    return 16, 32 if has.get("neon") else 16


VECTOR_BYTES, REGISTERS = _vector()
#: Rows of the largest tile.
MAX_ROWS = 14 if REGISTERS == 32 else 6
#: Largest block of :func:`dot`.
DOT_ROWS, DOT_COLUMNS = (4, 5) if REGISTERS == 32 else (3, 3)


def lanes(dtype) -> int:
    """Elements of ``dtype`` in one vector register."""
    return VECTOR_BYTES // np.dtype(dtype).itemsize


def panel_width(columns: int, dtype) -> int:
    """Columns of the tile that suits a matrix of ``columns``: two vectors, or one where an odd few of them
    would leave half of the last tile unused, or half a vector for very few columns (which many processors
    compute twice as fast)."""
    whole = lanes(dtype)
    vectors = -(-columns // whole)
    if columns <= whole // 2:
        return whole // 2
    return whole if vectors % 2 and vectors <= 5 else 2 * whole


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
    """Byte address of an array's first element, signed: Numba makes float64 of mixed signed and unsigned
    integers."""
    return np.int64(array.ctypes.data)


@body(inline=True)
def view1d(start, n, like):
    """The ``n`` elements at address ``start`` as a 1-D array of ``like``'s dtype."""
    return carray(_pointer(start, like), (n,))


def _emit_prefetch(builder, pointer, write: bool, level: int) -> None:
    """Ask for the line of memory at ``pointer`` to be brought to a level of the caches."""
    kind = ir.FunctionType(ir.VoidType(), [pointer.type, I32, I32, I32])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(function, [pointer, I32(int(write)), I32(4 - level), I32(1)])


def _ask(write: bool):
    @intrinsic
    def ask(typingctx, start):
        def codegen(context, builder, signature, args):
            _emit_prefetch(builder, builder.inttoptr(args[0], ir.IntType(8).as_pointer()), write, level=2)
            return context.get_dummy_value()

        return types.void(types.int64), codegen

    return ask


_to_read, _to_write = _ask(False), _ask(True)


@body(inline=True)
def prefetch(start, size):
    """Ask for the ``size`` bytes at address ``start``, which may lie anywhere, to be brought to the
    second-level cache."""
    for line in range(start, start + size, 64):
        _to_read(line)


@body(inline=True)
def prefetch_to_write(start, size):
    """:func:`prefetch` of what will be written."""
    for line in range(start, start + size, 64):
        _to_write(line)


#: The table of offsets of a tile with one tap. Kernels take its address; Numba makes it part of their code.
ONE_TAP = np.zeros(1, np.int64)


# ------------------------------------------------------------------------------------------------- the tile
class _Emitter:
    """Vector loads, stores and multiply-adds of one element type, on a Numba builder."""

    def __init__(self, builder, dtype, lanes=None):
        self.b = builder
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

    def load(self, pointer, mask=None):
        pointer = self.b.bitcast(pointer, self.vector.as_pointer())
        if mask is None:
            return self.b.load(pointer, align=4)
        f = self.intrinsic(
            f"llvm.masked.load.{self.suffix}.p0", self.vector, [pointer.type, I32, self.bits, self.vector]
        )
        return self.b.call(f, [pointer, I32(4), mask, ir.Constant(self.vector, [0.0] * self.lanes)])

    def store(self, value, pointer, mask=None):
        pointer = self.b.bitcast(pointer, self.vector.as_pointer())
        if mask is None:
            return self.b.store(value, pointer, align=4)
        f = self.intrinsic(
            f"llvm.masked.store.{self.suffix}.p0", ir.VoidType(), [self.vector, pointer.type, I32, self.bits]
        )
        return self.b.call(f, [value, pointer, I32(4), mask])

    def opaque(self, value):
        """``value``, of whose origin the optimiser knows nothing."""
        return self.b.asm(ir.FunctionType(value.type, [value.type]), "", "=r,0", [value], False)

    def broadcast(self, number):
        undefined = ir.Constant(self.vector, ir.Undefined)
        zero = ir.Constant(ir.VectorType(I32, self.lanes), [0] * self.lanes)
        return self.b.shuffle_vector(self.b.insert_element(undefined, number, I32(0)), undefined, zero)

    def multiply_add(self, x, y, z):
        """``x * y + z``: one rounding where the processor has the instruction."""
        f = self.intrinsic(f"llvm.fmuladd.{self.suffix}", self.vector, [self.vector] * 3)
        return self.b.call(f, [x, y, z])

    def total(self, value):
        """The sum of the lanes, by halves."""
        n = self.lanes
        while n > 1:
            n //= 2
            halves = [ir.Constant(ir.VectorType(I32, n), list(range(start, start + n))) for start in (0, n)]
            value = self.b.fadd(*(self.b.shuffle_vector(value, value, half) for half in halves))
        return self.b.extract_element(value, I32(0))

    def floor(self, relu):
        """The least value of a result: 0 if ``relu``, else minus infinity."""
        number = self.b.select(
            self.b.icmp_signed("!=", relu, I64(0)), self.element(0.0), self.element(float("-inf"))
        )
        return self.broadcast(number)

    def at_least(self, floor, value):
        """The maximum; NaN passes."""
        return self.b.select(self.b.fcmp_ordered("<", value, floor), floor, value)

    def column_masks(self, cols, nv):
        """For each of ``nv`` vectors: which lanes are among the first ``cols`` columns."""
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


def _make_tile(rows: int, nv: int, lanes: int, dtype, plain: bool):
    """An intrinsic computing a tile of ``rows`` x ``nv`` vectors of ``dtype`` (see the module's drawing)."""

    @intrinsic
    def tile_rows(
        typingctx,
        a,
        a_row,
        a_step,
        ta,
        b,
        b_step,
        tb,
        taps,
        depth,
        c,
        c_row,
        init,
        init_row,
        cols,
        added,
        relu,
    ):
        sig = types.void(*[types.int64] * 16)

        def codegen(context, builder, signature, args):
            e = _Emitter(builder, dtype, lanes)
            if plain:
                _emit_tile(e, rows, nv, args, [None] * nv, plain)
                return context.get_dummy_value()
            cols = args[13]
            full = builder.icmp_signed("==", cols, I64(nv * e.lanes))
            with builder.if_else(full, likely=True) as (then, otherwise):
                with then:
                    _emit_tile(e, rows, nv, args, [None] * nv, plain)
                with otherwise:
                    _emit_tile(e, rows, nv, args, e.column_masks(cols, nv), plain)
            return context.get_dummy_value()

        return sig, codegen

    return tile_rows


def _emit_tile(e: _Emitter, rows: int, nv: int, args, masks, plain: bool) -> None:
    """The two loops of a tile; ``masks`` (None: all lanes) guard what is read of B, init and added and
    written of C."""
    a, a_row, a_step, ta, b, b_step, tb, taps, depth, c, c_row, init, init_row, _, added, relu = args
    builder, function = e.b, e.b.function
    grid = [(m, v) for m in range(rows) for v in range(nv)]
    zero = ir.Constant(e.vector, [0.0] * e.lanes)
    start = e.element_pointer(a), e.element_pointer(b)
    tables = [builder.inttoptr(t, I64.as_pointer()) for t in (ta, tb)]

    def corner(base, row, m, v):
        return e.at(e.at(base, builder.mul(row, I64(m))), v * e.lanes)

    # Rows lie at base[m // 4] + (0, 1, 2 or 3) * a_row, which are addresses of one instruction. Left to
    # itself LLVM makes each row's address from the one before, a chain longer than a narrow tile's
    # arithmetic; opaque() keeps it from that.
    step = [I64(0), e.opaque(a_row), None, e.opaque(builder.mul(a_row, I64(3)))]
    step[2] = builder.mul(step[1], I64(2))
    four = e.opaque(builder.mul(a_row, I64(4)))

    if not plain:  # what is written at the end is asked for at the start
        base = e.element_pointer(c)
        for m, v in grid:
            _emit_prefetch(builder, corner(base, c_row, m, v), True, level=1)

    entry = builder.block
    load, taps_loop, depth_loop, taps_end, done = (
        function.append_basic_block(n) for n in ("init", "taps", "depth", "taps.end", "done")
    )
    builder.cbranch(builder.icmp_signed("==", init, I64(0)), taps_loop, load)

    builder.position_at_end(load)
    base = e.element_pointer(init)
    loaded = [e.load(corner(base, init_row, m, v), masks[v]) for m, v in grid]
    builder.branch(taps_loop)

    builder.position_at_end(taps_loop)
    t = builder.phi(I64)
    outer = [builder.phi(e.vector) for _ in grid]
    for phi, value in zip([t, *outer], [I64(0), *[zero] * len(grid)]):
        phi.add_incoming(value, entry)
    for phi, value in zip([t, *outer], [I64(0), *loaded]):
        phi.add_incoming(value, load)
    a_tap, b_tap = (e.at(p, builder.load(builder.gep(table, [t]))) for p, table in zip(start, tables))
    builder.branch(depth_loop)

    builder.position_at_end(depth_loop)
    k, pa, pb = builder.phi(I64), builder.phi(a_tap.type), builder.phi(b_tap.type)
    inner = [builder.phi(e.vector) for _ in grid]
    for phi, value in zip([k, pa, pb, *inner], [I64(0), a_tap, b_tap, *outer]):
        phi.add_incoming(value, taps_loop)
    columns = [e.load(e.at(pb, v * e.lanes), masks[v]) for v in range(nv)]
    sums = []
    bases = [pa]
    while 4 * len(bases) < rows:
        bases.append(e.opaque(e.at(bases[-1], four)))
    for m in range(rows):
        number = e.broadcast(builder.load(e.at(bases[m // 4], step[m % 4])))
        sums += [e.multiply_add(number, columns[v], inner[m * nv + v]) for v in range(nv)]
    k_next = builder.add(k, I64(1))
    for phi, value in zip([k, pa, pb, *inner], [k_next, e.at(pa, a_step), e.at(pb, b_step), *sums]):
        phi.add_incoming(value, depth_loop)
    builder.cbranch(builder.icmp_signed("<", k_next, depth), depth_loop, taps_end)

    builder.position_at_end(taps_end)
    t_next = builder.add(t, I64(1))
    for phi, value in zip([t, *outer], [t_next, *sums]):
        phi.add_incoming(value, taps_end)
    builder.cbranch(builder.icmp_signed("<", t_next, taps), taps_loop, done)

    builder.position_at_end(done)
    base = e.element_pointer(c)
    if plain:
        for (m, v), value in zip(grid, sums):
            e.store(value, corner(base, c_row, m, v))
        return
    add, store = (function.append_basic_block(n) for n in ("add", "store"))
    builder.cbranch(builder.icmp_signed("==", added, I64(0)), store, add)

    builder.position_at_end(add)
    beside = e.element_pointer(added)
    totals = [builder.fadd(s, e.load(corner(beside, c_row, m, v), masks[v])) for (m, v), s in zip(grid, sums)]
    builder.branch(store)

    builder.position_at_end(store)
    final = [builder.phi(e.vector) for _ in grid]
    for phi, value, total in zip(final, sums, totals):
        phi.add_incoming(value, done)
        phi.add_incoming(total, add)
    floor = e.floor(relu)
    for (m, v), value in zip(grid, final):
        e.store(e.at_least(floor, value), corner(base, c_row, m, v), masks[v])


@functools.cache
def tile_address(dtype, width: int, plain: bool = False) -> int:
    """Address of the compiled tile function, ``width`` columns (see :func:`panel_width`), to be called by
    :func:`tile`.

    A ``plain`` one writes all columns of sums that stay in the caches: ``cols``, ``added`` and ``relu`` are
    not looked at.

    Kernels call the tile through its address because it is a lot of code: compiled into every kernel that
    uses it, it would cost seconds each time.
    """
    kind = types.float32 if np.dtype(dtype) == np.float32 else types.float64
    nv = -(-width // lanes(dtype))
    names = "a, a_row, a_step, ta, b, b_step, tb, taps, depth, c, c_row, init, init_row, cols, added, relu"
    tiles = {f"tile{m}": _make_tile(m, nv, width // nv, kind, plain) for m in range(1, MAX_ROWS + 1)}
    space = {"__name__": __name__} | tiles
    size = kind.bitwidth // 8
    lines = [
        *_reading("tile", f"rows, {names}"),
        f"    blocks, first = (rows + {MAX_ROWS - 1}) // {MAX_ROWS}, 0",
        "    for block in range(blocks):",
        "        end = rows if block + 1 == blocks else (block + 1) * rows // blocks",
        "        here, first = end - first, end",
    ]
    for m in range(MAX_ROWS, 0, -1):
        lines += [
            f"        {'if' if m == MAX_ROWS else 'elif'} here == {m}:",
            f"            tile{m}({names})",
        ]
    lines += [
        f"        a, c = a + here * a_row * {size}, c + here * c_row * {size}",
        f"        init, added = init + here * init_row * {size} if init else 0, added + here * c_row * {size} if added else 0",
    ]
    exec("\n".join(lines), space)
    return c_function(space["tile"], f"simd.tile{width}{'.plain' * plain}.{kind.name}")


def _reading(name: str, arguments: str) -> list[str]:
    """The first lines of a C function: it finds its arguments in memory."""
    count = len(arguments.split(","))
    return [f"def {name}(words):", f"    {arguments} = {', '.join(f'words[{i}]' for i in range(count))}"]


@intrinsic
def _call(typingctx, function, args):
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


@body(inline=True)
def call(function, integers):
    """Call the function at an address that ``jit.c_function`` gave with an array of these ``integers``.

    Not with the integers themselves: what Numba puts around a C function copies arguments from the stack as
    one vector, which has to wait until all the stores that put them there are done (30 to 50 cycles)."""
    _call(function, integers)


@body(inline=True)
def tile(
    function,
    rows,
    a,
    a_row,
    a_step,
    ta,
    b,
    b_step,
    tb,
    taps,
    depth,
    c,
    c_row,
    init,
    init_row,
    cols,
    added,
    relu,
):
    """Run the tile ``function`` (from :func:`tile_address`) on ``rows``, in near-equal blocks of at most
    MAX_ROWS.

    Addresses (``a b c init added ta tb``) are in bytes, strides, tables and counts in elements. ``init`` is 0
    (start from zero) or the address the accumulators start from; only ``cols`` columns are read of B and
    written to C; ``taps`` and ``depth`` are at least 1. At the end what lies at ``added`` (0: nothing), with
    C's strides, is added, and with ``relu`` not 0 negative results become 0.
    """
    _call(
        function,
        (rows, a, a_row, a_step, ta, b, b_step, tb, taps, depth, c, c_row, init, init_row, cols, added, relu),
    )


# ------------------------------------------------------------------------------------------------- single
# vectors
class Vector(types.Type):
    """The type of one vector register in a kernel, for what the compiler would not make vector code of by
    itself."""

    def __init__(self, dtype):
        self.dtype = dtype
        super().__init__(f"Vector({dtype})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, _Emitter(None, kind.dtype).vector)


@intrinsic
def load(typingctx, start, like):
    """The vector of ``like``'s dtype at address ``start``."""

    def codegen(context, builder, signature, args):
        e = _Emitter(builder, signature.return_type.dtype)
        return e.load(e.element_pointer(args[0]))

    return Vector(like.dtype)(types.int64, like), codegen


@intrinsic
def store(typingctx, value, start):
    """Write a vector to address ``start``."""

    def codegen(context, builder, signature, args):
        e = _Emitter(builder, signature.args[0].dtype)
        e.store(args[0], e.element_pointer(args[1]))
        return context.get_dummy_value()

    return types.void(value, types.int64), codegen


@intrinsic
def fill(typingctx, number):
    """A vector of equal numbers."""

    def codegen(context, builder, signature, args):
        return _Emitter(builder, signature.args[0]).broadcast(args[0])

    return Vector(number)(number), codegen


def _between(emit):
    """An intrinsic of two vectors."""

    @intrinsic
    def operation(typingctx, a, b):
        return a(a, b), lambda context, builder, signature, args: emit(builder, *args)

    return operation


add = _between(lambda b, x, y: b.fadd(x, y))
multiply = _between(lambda b, x, y: b.fmul(x, y))
#: The larger numbers, in one instruction; of equal ones and NaN the second.
larger = _between(lambda b, x, y: b.select(b.fcmp_ordered(">", x, y), x, y))
#: The larger numbers; of equal ones and NaN the first.
maximum = _between(
    lambda b, x, y: b.select(b.or_(b.fcmp_ordered("<=", y, x), b.fcmp_unordered("uno", x, x)), x, y)
)


@intrinsic
def if_same(typingctx, value, model, yes, no):
    """``yes`` where ``value`` equals ``model`` or is NaN, else ``no``."""

    def codegen(context, builder, signature, args):
        value, model, yes, no = args
        same = builder.or_(
            builder.fcmp_ordered("==", value, model), builder.fcmp_unordered("uno", value, value)
        )
        return builder.select(same, yes, no)

    return yes(value, model, yes, no), codegen


# ------------------------------------------------------------------------------------------------- sums of
# products
def _emit_dot(e: _Emitter, rows: int, cols: int, args) -> None:
    """The two loops of ``rows`` x ``cols`` accumulators, and their sums over the lanes."""
    a, a_row, a_step, ta, b, b_col, b_step, tb, taps, depth, c, c_row, c_col = args
    builder = e.b
    entry = builder.block
    taps_loop, depth_loop, taps_end, done = (
        builder.function.append_basic_block(n) for n in ("taps", "depth", "taps.end", "done")
    )
    zero = ir.Constant(e.vector, [0.0] * e.lanes)
    start = e.element_pointer(a), e.element_pointer(b)
    tables = [builder.inttoptr(t, I64.as_pointer()) for t in (ta, tb)]
    builder.branch(taps_loop)

    builder.position_at_end(taps_loop)
    t, outer = builder.phi(I64), [builder.phi(e.vector) for _ in range(rows * cols)]
    for phi, value in zip([t, *outer], [I64(0), *[zero] * len(outer)]):
        phi.add_incoming(value, entry)
    a_tap, b_tap = (e.at(p, builder.load(builder.gep(table, [t]))) for p, table in zip(start, tables))
    builder.branch(depth_loop)

    builder.position_at_end(depth_loop)
    k, pa, pb = builder.phi(I64), builder.phi(a_tap.type), builder.phi(b_tap.type)
    inner = [builder.phi(e.vector) for _ in outer]
    for phi, value in zip([k, pa, pb, *inner], [I64(0), a_tap, b_tap, *outer]):
        phi.add_incoming(value, taps_loop)
    columns = [e.load(e.at(pb, builder.mul(b_col, I64(v)))) for v in range(cols)]
    sums = []
    for m in range(rows):
        row = e.load(e.at(pa, builder.mul(a_row, I64(m))))
        sums += [e.multiply_add(row, columns[v], inner[m * cols + v]) for v in range(cols)]
    k_next = builder.add(k, I64(1))
    for phi, value in zip([k, pa, pb, *inner], [k_next, e.at(pa, a_step), e.at(pb, b_step), *sums]):
        phi.add_incoming(value, depth_loop)
    builder.cbranch(builder.icmp_signed("<", k_next, depth), depth_loop, taps_end)

    builder.position_at_end(taps_end)
    t_next = builder.add(t, I64(1))
    for phi, value in zip([t, *outer], [t_next, *sums]):
        phi.add_incoming(value, taps_end)
    builder.cbranch(builder.icmp_signed("<", t_next, taps), taps_loop, done)

    builder.position_at_end(done)
    for i, value in enumerate(sums):
        m, v = divmod(i, cols)
        place = e.at(e.at(e.element_pointer(c), builder.mul(c_row, I64(m))), builder.mul(c_col, I64(v)))
        builder.store(builder.fadd(builder.load(place), e.total(value)), place)


@functools.cache
def dot_address(dtype) -> int:
    """Address of the compiled function that :func:`dot` runs."""
    kind = types.float32 if np.dtype(dtype) == np.float32 else types.float64
    names = "a, a_row, a_step, ta, b, b_col, b_step, tb, taps, depth, c, c_row, c_col"

    def make(rows, cols):
        @intrinsic
        def dots(typingctx, a, a_row, a_step, ta, b, b_col, b_step, tb, taps, depth, c, c_row, c_col):
            def codegen(context, builder, signature, args):
                _emit_dot(_Emitter(builder, kind), rows, cols, args)
                return context.get_dummy_value()

            return types.void(*[types.int64] * 13), codegen

        return dots

    space, lines = (
        {"__name__": __name__},
        [*_reading("dot", f"rows, cols, {names}"), "    if rows == 0: return"],
    )
    for m in range(1, DOT_ROWS + 1):
        for v in range(1, DOT_COLUMNS + 1):
            space[f"dot{m}_{v}"] = make(m, v)
            lines += [f"    elif rows == {m} and cols == {v}: dot{m}_{v}({names})"]
    exec("\n".join(lines), space)
    return c_function(space["dot"], f"simd.dot.{kind.name}")


@body(inline=True)
def dot(function, rows, cols, a, a_row, a_step, ta, b, b_col, b_step, tb, taps, depth, c, c_row, c_col):
    """Add to ``c[m, v]`` (one number) the sum over taps t, k < depth and all lanes of ``A * B``, where
    (vectors both) ``A = a[ta[t] + m * a_row + k * a_step]`` and ``B = b[tb[t] + v * b_col + k * b_step]``.

    At most DOT_ROWS rows and DOT_COLUMNS columns; units as in :func:`tile`. ``function`` is from
    :func:`dot_address`.
    """
    _call(function, (rows, cols, a, a_row, a_step, ta, b, b_col, b_step, tb, taps, depth, c, c_row, c_col))


# ------------------------------------------------------------------------------------------------- 2-D
# transforms
def _apply(e: _Emitter, matrix, values):
    """``matrix @ values`` for vectors. Rows that differ only in the signs of their odd entries, as Winograd's
    points +a and -a make them, share their even and odd halves."""
    b = e.b

    def combine(row, columns):
        total = None
        for j in columns:
            c = float(row[j])
            if c == 0:
                continue
            constant = ir.Constant(e.vector, [c] * e.lanes)
            if total is None:
                total = values[j] if c == 1 else b.fmul(values[j], constant)
            elif abs(c) == 1:
                total = (b.fadd if c > 0 else b.fsub)(total, values[j])
            else:
                total = e.multiply_add(values[j], constant, total)
        return total

    results = [None] * len(matrix)
    indices = range(len(values))
    for i, row in enumerate(matrix):
        if results[i] is not None:
            continue
        even = [j for j in indices if j % 2 == 0 and row[j]]
        odd = [j for j in indices if j % 2 == 1 and row[j]]
        mirrored = [row[j] * (-1) ** j for j in indices]
        twin = next((k for k in range(i + 1, len(matrix)) if list(matrix[k]) == mirrored), None)
        if twin is None or not even or not odd:
            results[i] = combine(row, indices)
        else:
            p, q = combine(row, even), combine(row, odd)
            results[i], results[twin] = b.fadd(p, q), b.fsub(p, q)
    return results


def _blocks(matrix):
    """The matrix as independent blocks: pairs (rows, columns), no other entries of these rows or columns
    being nonzero. Rows of zeros are in none."""
    blocks = []
    for r, row in enumerate(matrix):
        rows, columns = [r], {j for j, value in enumerate(row) if value}
        for block in [b for b in blocks if b[1] & columns]:
            blocks.remove(block)
            rows, columns = block[0] + rows, columns | block[1]
        if columns:
            blocks.append((rows, columns))
    return [(sorted(rows), sorted(columns)) for rows, columns in blocks]


@functools.cache
def transform_address(
    down: tuple,
    across: tuple,
    dtype,
    src_table=False,
    dst_table=False,
    masked=False,
    biased=False,
    adding=False,
) -> int:
    """Address of a compiled ``transform(src, src_step, dst, dst_step, shift, channels, bias, added, relu)``:
    Y = D X A^t per channel.

    ``down`` is D, ``across`` is A (both rows x n); X is n x n and Y rows x rows, each entry a run of
    channels, one vector at a time. Entries of X that are multiplied with zeros only are not read, entries of
    Y for a row of zeros of D or A are not written. An entry lies at ``base + index * step`` (bytes), or, with
    ``*_table``, ``shift`` bytes behind the index-th address of the int64 table at ``base`` (entries outside
    an image point at zeros or at a place to dump). ``masked``: the tables' side ends after ``channels``
    exactly; otherwise every run may be read and written up to a whole vector. ``biased``: add the vector at
    ``bias``, and then, with ``relu`` not 0, make negative results 0. ``adding``: before that add the entries
    of the table at ``added``, which is like the one at ``dst``.
    """
    kind = types.float32 if np.dtype(dtype) == np.float32 else types.float64
    n, rows = len(down[0]), len(down)
    read = [i for i in range(n) if any(row[i] for row in down)]
    written = [i for i in range(rows) if any(down[i])]

    @intrinsic
    def emit(typingctx, src, src_step, dst, dst_step, shift, channels, bias, added, relu):
        sig = types.void(*[types.int64] * 9)

        def codegen(context, builder, signature, args):
            e = _Emitter(builder, kind)
            src, src_step, dst, dst_step, shift, channels, bias, added, relu = args
            function = builder.function
            entry, loop, done = (
                builder.block,
                function.append_basic_block("c"),
                function.append_basic_block("end"),
            )
            builder.branch(loop)
            builder.position_at_end(loop)
            c = builder.phi(I64)
            c.add_incoming(I64(0), entry)
            offset = builder.mul(c, I64(kind.bitwidth // 8))
            mask = e.column_masks(builder.sub(channels, c), 1)[0] if masked else None

            def place(base, step, table, index):
                if table:
                    pointer = builder.inttoptr(base, I64.as_pointer())
                    start = builder.add(builder.load(builder.gep(pointer, [I64(index)])), shift)
                else:
                    start = builder.add(base, builder.mul(step, I64(index)))
                return e.element_pointer(builder.add(start, offset))

            def load(i, j):
                return e.load(place(src, src_step, src_table, i * n + j), mask if src_table else None)

            start = e.load(e.element_pointer(builder.add(bias, offset)), mask) if biased else None
            floor = e.floor(relu)
            # fewer values are alive at a time than in one block
            for out_columns, in_columns in _blocks(across):
                half = [
                    _apply(e, down, [load(i, j) if i in read else None for i in range(n)]) for j in in_columns
                ]
                part = [[across[r][q] for q in in_columns] for r in out_columns]
                for i in written:
                    for j, value in zip(out_columns, _apply(e, part, [column[i] for column in half])):
                        value = builder.fadd(value, start) if biased else value
                        if adding:
                            value = builder.fadd(value, e.load(place(added, None, True, i * rows + j), mask))
                        value = e.at_least(floor, value) if biased else value
                        e.store(
                            value, place(dst, dst_step, dst_table, i * rows + j), mask if dst_table else None
                        )
            following = builder.add(c, I64(e.lanes))
            c.add_incoming(following, builder.block)
            builder.cbranch(builder.icmp_signed("<", following, channels), loop, done)
            builder.position_at_end(done)
            return context.get_dummy_value()

        return sig, codegen

    def transform(w):
        emit(w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8])

    options = repr((down, across, kind.name, src_table, dst_table, masked, biased, adding))
    tag = hashlib.sha256(options.encode()).hexdigest()[:12]
    return c_function(transform, f"simd.transform.{tag}")


@body(inline=True)
def transform(function, src, src_step, dst, dst_step, shift, channels):
    """Run the transform ``function`` (from :func:`transform_address`); all arguments in bytes but
    ``channels``."""
    _call(function, (src, src_step, dst, dst_step, shift, channels, 0, 0, 0))


@body(inline=True)
def transform_finally(function, src, src_step, dst, dst_step, shift, channels, bias, added, relu):
    """:func:`transform` by a ``biased`` function."""
    _call(function, (src, src_step, dst, dst_step, shift, channels, bias, added, relu))


# -------------------------------------------------------------------------------------------------
# transposition
@functools.cache
def transpose_address(dtype) -> int:
    """Address of a compiled ``transpose(src, src_row, dst)``: LANES x LANES elements, rows ``src_row`` bytes
    apart, are written as columns: element j of row i becomes element i at the j-th address of the int64 table
    at ``dst``.

    In registers, by halves: exchanging single elements between neighbouring rows, then pairs between pairs of
    rows, ...
    """
    kind = types.float32 if np.dtype(dtype) == np.float32 else types.float64

    @intrinsic
    def emit(typingctx, src, src_row, dst):
        sig = types.void(*[types.int64] * 3)

        def codegen(context, builder, signature, args):
            e = _Emitter(builder, kind)
            src, src_row, dst = args
            n = e.lanes
            rows = [
                e.load(e.element_pointer(builder.add(src, builder.mul(src_row, I64(i))))) for i in range(n)
            ]
            for h in (1 << bit for bit in range(n.bit_length() - 1)):
                low, high = (
                    [x + n - h if x & h else x for x in range(n)],
                    [x + n if x & h else x + h for x in range(n)],
                )
                masks = [ir.Constant(ir.VectorType(I32, n), m) for m in (low, high)]
                for i in range(n):
                    if not i & h:
                        rows[i], rows[i + h] = (
                            builder.shuffle_vector(rows[i], rows[i + h], m) for m in masks
                        )
            table = builder.inttoptr(dst, I64.as_pointer())
            for j, row in enumerate(rows):
                e.store(row, e.element_pointer(builder.load(builder.gep(table, [I64(j)]))))
            return context.get_dummy_value()

        return sig, codegen

    def transpose(words):
        emit(words[0], words[1], words[2])

    return c_function(transpose, f"simd.transpose.{kind.name}")


@body(inline=True)
def transpose(function, src, src_row, dst):
    """Run the transposition ``function`` (from :func:`transpose_address`)."""
    _call(function, (src, src_row, dst))
