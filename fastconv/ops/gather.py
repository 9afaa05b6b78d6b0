"""Elements along a dimension that a tensor of indices selects: read, written, added to, reduced."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.checks import check, check_axis, number, one_of, shape_str
from fastconv.dtypes import CATEGORY, INT64, array
from fastconv.spec import broadcast_shape
from fastconv.tape import Op
from fastconv.variable import Node, Variable, argument

from .convert import Copy, astype
from .index import GetItem, refused
from .pointwise import binary
from .shape import reshape
from .views import expand


class Gather(Op):
    """The elements that ``index`` selects along ``axis``; its extents of 1 broadcast."""

    accumulates = True

    @staticmethod
    def forward(ctx: Node, x: Any, index: Any, name: str, axis: int) -> Any:
        ctx.shape, ctx.axis = x.shape, axis
        ctx.save(index)
        try:
            return ctx.engine.gather(x, index, axis)
        except IndexError as e:
            raise refused(name, e, x) from None

    @staticmethod
    def backward(ctx: Node, gy: Any) -> Any:
        e = ctx.engine
        gx = e.zeros(ctx.shape, gy.dtype) if ctx.accumulated is None else e.copy(ctx.accumulated)
        e.scatter("add", gx, ctx.saved[0], gy, ctx.axis)
        return gx


class Scatter(Op):
    """A copy of ``x`` with ``value`` written to the elements that ``index`` selects along ``axis``.

    ``how`` is ``set`` or ``add``. With ``smaller``, the extents of the index other than along ``axis`` may be
    smaller than those of ``x``; else extents of 1 broadcast.
    """

    @staticmethod
    def forward(
        ctx: Node, x: Any, index: Any, value: Any, name: str, how: str, axis: int, smaller: bool
    ) -> Any:
        ctx.how, ctx.axis, ctx.part = how, axis, part_of(index, axis) if smaller else ...
        ctx.save(index)
        y = ctx.engine.copy(x)
        try:
            ctx.engine.scatter(how, ctx.engine.getitem(y, ctx.part), index, value, axis)
        except IndexError as e:
            raise refused(name, e, x) from None
        return y

    @staticmethod
    def backward(ctx: Node, gy: Any) -> Any:
        e, (index,) = ctx.engine, ctx.saved
        gvalue = e.gather(e.getitem(gy, ctx.part), index, ctx.axis) if ctx.needs[2] else None
        if not ctx.needs[0] or ctx.how == "add":
            return gy, None, gvalue
        gx = e.copy(gy)
        zero = e.zeros((1,) * gy.ndim, gy.dtype)
        e.scatter("set", e.getitem(gx, ctx.part), index, zero, ctx.axis)
        return gx, None, gvalue


class ScatterReduce(Op):
    """A copy of ``x`` in which each element is reduced together with the values that ``index`` sends to it.

    ``how`` is ``mul``, ``maximum`` or ``minimum``. Without ``included``, an element that gets a value takes
    no part itself. Equal extrema share the gradient.
    """

    NEUTRAL = {"mul": 1, "maximum": -np.inf, "minimum": np.inf}

    @staticmethod
    def forward(
        ctx: Node, x: Any, index: Any, value: Any, name: str, how: str, axis: int, included: bool
    ) -> Any:
        ctx.how, ctx.axis, ctx.included = how, axis, included
        y = ScatterReduce._reduced(ctx, x, index, value, name)
        ctx.save(x, index, value, y)
        return y

    @staticmethod
    def _reduced(ctx: Node, x: Any, index: Any, value: Any, name: str = "") -> Any:
        e, part, y = ctx.engine, part_of(index, ctx.axis), ctx.engine.copy(x)
        try:
            if not ctx.included:
                neutral = ScatterReduce.NEUTRAL[ctx.how]
                if x.dtype.kind in "iu" and neutral != 1:
                    limits = np.iinfo(x.dtype)
                    neutral = limits.min if neutral < 0 else limits.max
                start = e.asarray(np.full((1,) * x.ndim, neutral, x.dtype))
                e.scatter("set", e.getitem(y, part), index, start, ctx.axis)
            e.scatter(ctx.how, e.getitem(y, part), index, value, ctx.axis)
        except IndexError as error:
            raise refused(name, error, x) from None
        return y

    @staticmethod
    def backward(ctx: Node, gy: Any) -> Any:
        x, index, value, y = ctx.saved
        e, op, part = ctx.engine, ctx.engine.binary_fwd, part_of(index, ctx.axis)

        def read(a: Any) -> Any:
            return e.gather(e.getitem(a, part), index, ctx.axis)

        def added(values: Any, start: Any) -> Any:
            total = e.copy(start)
            e.scatter("add", e.getitem(total, part), index, values, ctx.axis)
            return total

        def where(a: Any, number: float) -> Any:
            return e.cast(op("eq", a, number), gy.dtype)

        if ctx.how == "mul":
            # The gradient of a factor is the product of all others. Without a factor 0 this is the whole
            # product divided by the factor. The only factor 0 is replaced by 1, and the product taken again.
            zero = where(value, 0.0)
            zeros = read(added(zero, e.zeros(x.shape, gy.dtype)))
            single = op("mul", zero, where(zeros, 1.0))
            others = read(op("mul", gy, ScatterReduce._reduced(ctx, x, index, op("add", value, single))))
            whole = op("div", read(op("mul", gy, y)), op("add", value, zero))
            gvalue = op("add", op("mul", single, others), op("mul", op("sub", 1.0, single), whole))
            gvalue = op("mul", gvalue, op("sub", 1.0, e.cast(op("gt", zeros, 1.0), gy.dtype)))
            safe = op("add", x, where(x, 0.0))
            gx = op("div", op("mul", gy, ScatterReduce._reduced(ctx, safe, index, value)), safe)
        else:
            kept = e.cast(op("eq", x, y), gy.dtype)
            taken = e.cast(op("eq", value, read(y)), gy.dtype)
            count = added(taken, kept)
            share = op("div", gy, op("add", count, where(count, 0.0)))
            gx, gvalue = op("mul", kept, share), op("mul", taken, read(share))
        if not ctx.included:
            e.scatter("set", e.getitem(gx, part), index, e.zeros((1,) * gy.ndim, gy.dtype), ctx.axis)
        return gx, None, gvalue


def part_of(index: Any, axis: int) -> tuple[slice, ...]:
    """The slices of the part of an array that ``index`` can select from along ``axis``."""
    return tuple(slice(None) if i == axis else slice(0, n) for i, n in enumerate(index.shape))


# ------------------------------------------------------------------------------------------------- arguments
def index_argument(name: str, index: Any, x: Variable) -> Any:
    """Indices as an int64 tensor on the device of ``x``."""
    index = argument(name, "index", index, x.device)
    if index.dtype == INT64:
        return index
    check(
        index.dtype == np.int32 or 0 in index.shape,
        name,
        f"index must be int64 or int32, got {index.dtype}; convert it with .long()",
        TypeError,
    )
    return astype(index, INT64)


def _along(name: str, x: Variable, dim: int, index: Any) -> tuple[Any, int, Any]:
    """``x``, the axis and the index, checked; a scalar ``x`` gets one dimension."""
    axis = check_axis(name, dim, x.ndim)
    index = index_argument(name, index, x)
    check(
        max(index.ndim, 1) == max(x.ndim, 1) or 0 in index.shape,
        name,
        f"index must have as many dimensions as the tensor, {x.ndim} ({shape_str(x.shape)}), got "
        f"{index.ndim} ({shape_str(index.shape)})",
    )
    return x if x.ndim else reshape(x, (1,)), axis, index


def _check_within(name: str, what: str, index: Variable, whole: Variable, axis: int | None) -> None:
    check(
        all(n <= m or i == axis for i, (n, m) in enumerate(zip(index.shape, whole.shape))),
        name,
        f"index ({shape_str(index.shape)}) must not be larger than {what} ({shape_str(whole.shape)})"
        + ("" if axis is None else f" in any dimension except {axis}"),
    )


def gather(x: Variable, dim: int, index: Any) -> Any:
    """``y[i][j] = x[index[i][j]][j]`` for ``dim=0``, and so on."""
    source, axis, index = _along("gather", x, dim, index)
    if 0 in index.shape:
        return reshape(GetItem.apply(reshape(source, (-1,)), key=slice(0, 0)), (index.shape,))
    places = index if index.ndim else reshape(index, (1,))
    _check_within("gather", "the tensor", places, source, axis)
    if any(n != m for i, (n, m) in enumerate(zip(places.shape, source.shape)) if i != axis):
        source = GetItem.apply(source, key=part_of(places, axis))
    y = Gather.apply(source, places, name="gather", axis=axis)
    return y if index.ndim else reshape(y, ())


def scatter(name: str, x: Variable, dim: int, index: Any, value: Any, how: str, included: bool = True) -> Any:
    """A copy of ``x`` with ``value`` written, added or reduced (``how``) where ``index`` selects."""
    target, axis, places = _along(name, x, dim, index)
    places = places if places.ndim else reshape(places, (1,))
    if isinstance(value, Variable) or hasattr(value, "dtype") and getattr(value, "ndim", 0):
        src = argument(name, "src", value, x.device)
        check(
            src.dtype == x.dtype,
            name,
            f"src must have the tensor's dtype, {x.dtype}, got {src.dtype}; convert it with "
            f".astype('{x.dtype}')",
            TypeError,
        )
        src = src if src.ndim else reshape(src, (1,))
        check(
            src.ndim == target.ndim,
            name,
            f"src must have as many dimensions as the tensor, {target.ndim}, got {src.ndim}",
        )
        if 0 not in places.shape:
            _check_within(name, "src", places, src, None)
            if src.shape != places.shape:
                src = GetItem.apply(src, key=tuple(slice(0, n) for n in places.shape))
    else:
        src = filled(name, value, target)
    if 0 in places.shape:
        return Copy.apply(x)
    _check_within(name, "the tensor", places, target, axis)
    if how in ScatterReduce.NEUTRAL:
        y = ScatterReduce.apply(target, places, src, name=name, how=how, axis=axis, included=included)
    else:
        y = Scatter.apply(target, places, src, name=name, how=how, axis=axis, smaller=True)
    return y if x.ndim else reshape(y, ())


def filled(name: str, value: Any, x: Variable) -> Any:
    """A number as a tensor that broadcasts to ``x``, on its device and in its dtype."""
    plain = value if x.dtype.kind in "iu" and isinstance(value, int) else number(name, "value", value)
    one = array(plain, x.dtype, name, "value").reshape((1,) * x.ndim)
    return argument(name, "value", one, x.device)


REDUCTIONS = {"sum": "add", "prod": "mul", "mean": "mean", "amax": "maximum", "amin": "minimum"}


def scatter_reduce(
    name: str, x: Variable, dim: int, index: Any, src: Any, reduce: str, include_self: bool
) -> Any:
    """A copy of ``x`` with each element reduced with the values sent to it; see ``Tensor.scatter_reduce``."""
    one_of(name, "reduce", reduce, REDUCTIONS)
    how = REDUCTIONS[reduce]
    if how not in ("add", "mean"):
        return scatter(name, x, dim, index, src, how, include_self)
    start = x if include_self else scatter(name, x, dim, index, 0, "set")
    total = scatter(name, start, dim, index, src, "add")
    if how == "add":
        return total
    ones = argument(name, "x", np.ones(x.shape, x.dtype), x.device)
    count = ones if include_self else scatter(name, ones, dim, index, 0, "set")
    count = scatter(
        name, count, dim, index, argument(name, "src", np.ones(src.shape, x.dtype), x.device), "add"
    )
    if not include_self:
        count = count.clamp(min=1)
    return total / count if x.dtype.kind == "f" else astype((total / count).floor(), x.dtype)


def along_one(name: str, x: Variable, dim: int, index: Any) -> tuple[Variable, int, Variable]:
    """``x``, the axis, and the vector ``index`` in a shape that broadcasts with ``x``."""
    axis = check_axis(name, dim, x.ndim)
    index = index_argument(name, index, x)
    check(
        index.ndim < 2,
        name,
        f"index must be a vector, got {index.ndim} dimensions ({shape_str(index.shape)})",
    )
    target = x if x.ndim else reshape(x, (1,))
    return target, axis, reshape(index, tuple(-1 if i == axis else 1 for i in range(target.ndim)))


def wrapped(index: Any, size: int) -> Any:
    """Indices with the extent ``size`` added to the negative ones, which count from the end."""
    if isinstance(index.array, np.ndarray) and index.array.size:  # looking takes less time than adding zeros
        axes = tuple(range(index.ndim))
        if index.engine.reduce_fwd("min", index.array, axes, False) >= 0:
            return index
    return index + astype(index < 0, INT64) * size


def index_select(x: Variable, dim: int, index: Any) -> Any:
    """The slices of ``x`` along ``dim`` that ``index`` selects."""
    target, axis, places = along_one("index_select", x, dim, index)
    if x.ndim == 0:
        check(
            places.shape == (1,),
            "index_select",
            f"a scalar has one element to select, got an index of {places.shape[0]}",
        )
    if 0 in places.shape:
        return GetItem.apply(target, key=(*(slice(None),) * axis, slice(0, 0)))
    y = Gather.apply(target, places, name="index_select", axis=axis)
    return y if x.ndim else reshape(y, ())


def index_write(name: str, x: Variable, dim: int, index: Any, value: Any, how: str, alpha: float = 1) -> Any:
    """A copy of ``x`` with ``value`` written (``set``) or ``alpha * value`` added (``add``) to slices along
    ``dim``."""
    target, axis, places = along_one(name, x, dim, index)
    if name == "index_fill":  # an index that occurs twice must not count twice in the gradient of the value
        host, n = places.numpy().reshape(-1), target.shape[axis]
        places = argument(name, "index", np.unique(np.where(host < 0, host + n, host)), x.device)
        places = reshape(places, tuple(-1 if i == axis else 1 for i in range(target.ndim)))
    wanted = tuple(places.shape[axis] if i == axis else n for i, n in enumerate(target.shape))
    if isinstance(value, Variable) and name != "index_fill":
        source = value if value.ndim else reshape(value, (1,) * target.ndim)
        check(
            source.shape == wanted,
            name,
            f"source must have the shape {shape_str(wanted)} (that of the tensor, and the length of index in "
            f"dimension {axis}), got {shape_str(value.shape)}",
        )
        check(
            CATEGORY[source.dtype.kind] <= CATEGORY[x.dtype.kind]
            if how == "add"
            else source.dtype == x.dtype,
            name,
            f"source must have the tensor's dtype, {x.dtype}, got {source.dtype}; convert it with "
            f".astype('{x.dtype}')",
            TypeError,
        )
        check(
            x.dtype.kind == "f" or isinstance(alpha, (int, np.integer)),
            name,
            f"alpha must be an int for a tensor of {x.dtype}, got {alpha!r:.60}",
            TypeError,
        )
        source = astype(source if alpha == 1 else binary("mul", source, alpha), x.dtype)
    elif isinstance(value, Variable):
        check(value.ndim == 0, name, f"value must be a number, got {shape_str(value.shape)}")
        source = expand(name, astype(value, x.dtype), (wanted,))
    else:
        source = filled(name, value, target)
    if 0 in places.shape:
        return Copy.apply(x)
    y = Scatter.apply(target, places, source, name=name, how=how, axis=axis, smaller=False)
    return y if x.ndim else reshape(y, ())


def take(x: Variable, index: Any) -> Any:
    """Elements of the flattened ``x``, in the shape of ``index``."""
    places = index_argument("take", index, x)
    flat = reshape(x, (-1,))
    if 0 in places.shape:
        return reshape(GetItem.apply(flat, key=slice(0, 0)), places.shape)
    places_1d = wrapped(reshape(places, (-1,)), flat.shape[0])
    return reshape(Gather.apply(flat, places_1d, name="take", axis=0), (places.shape,))


def take_along_dim(x: Variable, indices: Any, dim: int | None) -> Any:
    """:func:`gather`, but index and tensor broadcast except along ``dim``; if it is None, both are flat."""
    name = "take_along_dim"
    index = index_argument(name, indices, x)
    if dim is None:
        x, index, dim = reshape(x, (-1,)), reshape(index, (-1,)), 0
    axis = check_axis(name, dim, x.ndim)
    check(
        index.ndim == x.ndim and x.ndim > 0,
        name,
        f"indices must have as many dimensions as the tensor, {x.ndim} ({shape_str(x.shape)}), got "
        f"{index.ndim} ({shape_str(index.shape)})",
    )
    beside = [tuple(1 if i == axis else n for i, n in enumerate(t.shape)) for t in (x, index)]
    common = broadcast_shape(name, *beside)
    if 0 in common or 0 in index.shape:
        shape = tuple(index.shape[i] if i == axis else n for i, n in enumerate(common))
        return reshape(GetItem.apply(reshape(x, (-1,)), key=slice(0, 0)), (shape,))
    if beside[0] != common:
        x = expand(name, x, (tuple(x.shape[i] if i == axis else n for i, n in enumerate(common)),))
    return Gather.apply(x, wrapped(index, x.shape[axis]), name=name, axis=axis)


def check_tensor(name: str, what: str, value: Any) -> None:
    """Raise a TypeError unless ``value`` is a Tensor or an array."""
    check(
        isinstance(value, (Variable, np.ndarray)),
        name,
        f"{what} must be a Tensor, got {type(value).__name__}",
        TypeError,
    )
