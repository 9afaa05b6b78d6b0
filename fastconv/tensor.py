"""Tensor: an array with a logical NCHW shape, a device and a place on the tape.

The arithmetic, reductions, indexing and shape ops live here with their derivatives; layers' ops are in
``fastconv.nn.functional``.
"""

from __future__ import annotations

import builtins
import copy
import functools
import operator
from collections.abc import Iterator, Sequence
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

from . import autograd, backends, dtypes, inplace, numpy_protocol, random
from .autograd import Function
from .checks import (
    check,
    check_axis,
    check_count,
    check_float,
    check_rank,
    check_shape,
    int_tuple,
    number,
    shape_str,
)
from .spec import broadcast_shape, is_basic, reshaped_strides
from .typing import Array, Dims, DType, Ints, Operand

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ParamSpec

    from typing_extensions import Self

    P = ParamSpec("P")

float32, float64, int64 = dtypes.FLOAT32, dtypes.FLOAT64, dtypes.INT64


class MaxResult(NamedTuple):
    """The largest or smallest elements along a dimension, and where they are."""

    values: Tensor
    indices: Tensor


class device(str):  # noqa: N801 - PyTorch's name
    """A device's name, ``"cpu"`` or ``"cuda"``; equal to that string."""

    def __new__(cls, name: str = "cpu") -> device:
        if isinstance(name, cls):
            return name
        name = str(name).removesuffix(":0")
        check(name in ("cpu", "cuda"), "device", f"expected 'cpu' or 'cuda', got {name!r}")
        return super().__new__(cls, name)

    @property
    def type(self) -> str:
        return str(self)


_HOST, _CUDA = device("cpu"), device("cuda")
_Device = device  # Tensor has a property of that name


def default_device() -> str:
    """Where new tensors live: ``"cuda"`` under the cuda backend, else ``"cpu"``."""
    return "cuda" if backends.get_backend() == "cuda" else "cpu"


# ------------------------------------------------------------------------------------------------- functions
def unbroadcast(engine: Any, g: Any, shape: Sequence[int]) -> Any:
    """Sum ``g`` over the axes that broadcasting added to or stretched in ``shape``."""
    if g.shape == tuple(shape):
        return g
    extra = g.ndim - len(shape)
    axes = tuple(range(extra)) + tuple(
        i + extra for i, s in enumerate(shape) if s == 1 and g.shape[i + extra] != 1
    )
    return (
        engine.reshape(engine.reduce_fwd("sum", g, axes, False), shape) if axes else engine.reshape(g, shape)
    )


class Unary(Function):
    @staticmethod
    def forward(ctx, x, name, param=None):
        if x.dtype.kind != "f":
            x = dtypes.unary_operand(name, x, ctx.engine.cast)
        y = ctx.engine.unary_fwd(name, x, param)
        ctx.name, ctx.param = name, param
        ctx.save({"x": x, "y": y}.get(backends.UNARY[name]))
        return y

    @staticmethod
    def backward(ctx, gy):
        return ctx.engine.unary_bwd(ctx.name, gy, ctx.saved[0], ctx.param)


class Binary(Function):
    takes_numbers = True

    @staticmethod
    def forward(ctx, a, b, name):
        ctx.name, ctx.shapes = name, (getattr(a, "shape", ()), getattr(b, "shape", ()))
        broadcast_shape(name, *ctx.shapes)  # refuses what does not fit
        a, b = dtypes.operands(name, a, b, ctx.engine.cast)
        y = ctx.engine.binary_fwd(name, a, b)
        ours, theirs = (a if ctx.needs[1] else None), (b if ctx.needs[0] else None)
        keep = {"mul": (ours, theirs), "div": (ours, b), "maximum": (a, b), "minimum": (a, b), "pow": (a, b)}
        ctx.save(*keep.get(name, ()))
        return y

    @staticmethod
    def backward(ctx, gy):
        op = ctx.engine.binary_fwd
        grads = [None, None]
        for i in (0, 1):
            if ctx.needs[i]:
                grads[i] = unbroadcast(ctx.engine, Binary._partial(ctx, op, gy, i), ctx.shapes[i])
        return tuple(grads)

    @staticmethod
    def _partial(ctx, op, gy, i):
        match ctx.name:
            case "add":
                return gy
            case "sub":
                return gy if i == 0 else ctx.engine.unary_fwd("neg", gy)
            case "mul":
                return op("mul", gy, ctx.saved[1 - i])
            case "div":
                a, b = ctx.saved
                if i == 0:
                    return op("div", gy, b)
                return ctx.engine.unary_fwd("neg", op("div", op("mul", gy, a), op("mul", b, b)))
            case "pow":
                return op("mul", gy, op(("pow_by_base", "pow_by_exponent")[i], *ctx.saved))
            case _:  # maximum, minimum: ties share the gradient, as PyTorch does
                mine, other = ctx.saved[i], ctx.saved[1 - i]
                wins = op("gt" if ctx.name == "maximum" else "lt", mine, other)
                ties = op("mul", ctx.engine.cast(op("eq", mine, other), gy.dtype), 0.5)
                return op("mul", gy, op("add", ctx.engine.cast(wins, gy.dtype), ties))


class Bound(Binary):
    """The ``maximum`` or ``minimum`` of x and a bound as ``clamp`` has it: where both are equal, the gradient
    is that of x."""

    @staticmethod
    def backward(ctx, gy):
        op, (x, bound) = ctx.engine.binary_fwd, ctx.saved
        inside = ctx.engine.cast(op("ge" if ctx.name == "maximum" else "le", x, bound), gy.dtype)
        gx = op("mul", gy, inside)
        grads = gx, op("sub", gy, gx) if ctx.needs[1] else None
        return tuple(
            unbroadcast(ctx.engine, g, shape) if needed else None
            for g, shape, needed in zip(grads, ctx.shapes, ctx.needs)
        )


class MatMul(Function):
    @staticmethod
    def forward(ctx, a, b):
        check(
            a.ndim > 0 and b.ndim > 0,
            "matmul",
            f"operands must have dimensions, got {shape_str(a.shape)} and {shape_str(b.shape)}",
        )
        inner = b.shape[-2] if b.ndim > 1 else b.shape[0]
        check(
            a.shape[-1] == inner,
            "matmul",
            f"inner dimensions differ: {shape_str(a.shape)} @ {shape_str(b.shape)}",
        )
        ctx.shapes = (a.shape, b.shape)
        a, b = dtypes.together("matmul", (a, b), ctx.engine.cast)
        check(
            a.dtype != bool,
            "matmul",
            "expected numbers, got bool; convert them with .astype('int64')",
            TypeError,
        )
        a2 = ctx.engine.reshape(a, (1, -1)) if a.ndim == 1 else a
        b2 = ctx.engine.reshape(b, (-1, 1)) if b.ndim == 1 else b
        ctx.save(a2, b2)
        y = ctx.engine.matmul(a2, b2)
        ctx.y_shape = y.shape
        drop = [i for i, v in ((y.ndim - 2, a), (y.ndim - 1, b)) if v.ndim == 1]
        return ctx.engine.reshape(y, [s for i, s in enumerate(y.shape) if i not in drop]) if drop else y

    @staticmethod
    def backward(ctx, gy):
        a, b = ctx.saved
        e = ctx.engine
        gy = e.reshape(gy, ctx.y_shape)

        def t(m):
            return e.permute(m, (*range(m.ndim - 2), m.ndim - 1, m.ndim - 2))

        ga = unbroadcast(e, e.matmul(gy, t(b)), a.shape) if ctx.needs[0] else None
        gb = unbroadcast(e, e.matmul(t(a), gy), b.shape) if ctx.needs[1] else None
        return (
            None if ga is None else e.reshape(ga, ctx.shapes[0]),
            None if gb is None else e.reshape(gb, ctx.shapes[1]),
        )


class Reduce(Function):
    """sum, mean, max or min over ``axes``; a maximum shared by several elements shares its gradient."""

    @staticmethod
    def forward(ctx, x, name, axes, keepdims):
        ctx.name, ctx.axes, ctx.shape = name, axes, x.shape
        ctx.kept = tuple(1 if i in axes else s for i, s in enumerate(x.shape))
        y = ctx.engine.reduce_fwd(name, x, axes, keepdims)
        ctx.save(*((x, y) if name in ("max", "min") else ()))
        return y

    @staticmethod
    def backward(ctx, gy):
        e = ctx.engine
        gy = e.reshape(gy, ctx.kept)
        if ctx.name in ("sum", "mean"):
            if ctx.name == "mean":
                gy = e.binary_fwd("div", gy, float(max(prod(ctx.shape[i] for i in ctx.axes), 1)))
            return e.broadcast_to(gy, ctx.shape)
        x, y = ctx.saved
        hit = e.cast(e.binary_fwd("eq", x, e.reshape(y, ctx.kept)), gy.dtype)
        share = e.binary_fwd("div", gy, e.reduce_fwd("sum", hit, ctx.axes, True))
        return e.binary_fwd("mul", hit, share)


class Softmax(Function):
    @staticmethod
    def forward(ctx, x, name, axis):
        check_float(name, input=x)
        ctx.axis, ctx.log, ctx.shape = check_axis(name, axis, x.ndim), name == "log_softmax", x.shape
        e = ctx.engine
        y = e.softmax_fwd(x if x.ndim else e.reshape(x, (1,)), ctx.axis, ctx.log)
        ctx.save(y)
        return y if x.ndim else e.reshape(y, ())

    @staticmethod
    def backward(ctx, gy):
        y, e = ctx.saved[0], ctx.engine
        gx = e.softmax_bwd(gy if ctx.shape else e.reshape(gy, (1,)), y, ctx.axis, ctx.log)
        return gx if ctx.shape else e.reshape(gx, ())


class Reshape(Function):
    reshapes = True

    @staticmethod
    def forward(ctx, x, shape):
        ctx.shape = x.shape
        return ctx.engine.reshape(x, shape)

    @staticmethod
    def backward(ctx, gy):
        return ctx.engine.reshape(gy, ctx.shape)

    @staticmethod
    def written(source, view, shape):
        return Reshape.apply(view, shape=source.shape)

    @staticmethod
    def strides(old_shape, strides, shape):
        return reshaped_strides(old_shape, strides, shape)


class Permute(Function):
    @staticmethod
    def forward(ctx, x, axes):
        ctx.inverse = Permute._inverse(axes)
        return ctx.engine.permute(x, axes)

    @staticmethod
    def backward(ctx, gy):
        return ctx.engine.permute(gy, ctx.inverse)

    @staticmethod
    def written(source, view, axes):
        return Permute.apply(view, axes=Permute._inverse(axes))

    @staticmethod
    def strides(shape, strides, axes):
        return tuple(strides[a] for a in axes)

    @staticmethod
    def _inverse(axes):
        return tuple(int(i) for i in np.argsort(axes))


class Copy(Function):
    @staticmethod
    def forward(ctx, x):
        return ctx.engine.copy(x)

    @staticmethod
    def backward(ctx, gy):
        return gy


class Cast(Function):
    @staticmethod
    def forward(ctx, x, dtype):
        ctx.dtype = x.dtype
        return ctx.engine.cast(x, dtype)

    @staticmethod
    def backward(ctx, gy):
        return ctx.engine.cast(gy, ctx.dtype)


def _refused(name, e, x):
    """NumPy's words for a key or a value that does not fit, after the op's name and with the tensor's
    shape."""
    kind = next(k for k in (IndexError, ValueError, TypeError) if isinstance(e, k))
    return kind(f"{name}: {e} (the tensor is {shape_str(x.shape)})")


class GetItem(Function):
    accumulates = True

    @staticmethod
    def forward(ctx, x, key):
        ctx.key, ctx.shape = _frozen(key) if ctx.needs[0] else key, x.shape
        try:
            return ctx.engine.getitem(x, key)
        except (IndexError, ValueError, TypeError) as e:
            raise _refused("index", e, x) from None

    @staticmethod
    def backward(ctx, gy):
        e = ctx.engine
        gx = e.zeros(ctx.shape, gy.dtype) if ctx.accumulated is None else e.copy(ctx.accumulated)
        e.index_add(gx, ctx.key, gy)
        return gx

    @staticmethod
    def written(source, view, key):
        return ReplaceItem.apply(source, view, key=key)

    @staticmethod
    def strides(shape, strides, key):
        if not is_basic(key):
            return None
        parts = key if isinstance(key, tuple) else (key,)
        # no element of it is read
        shadow = np.lib.stride_tricks.as_strided(np.empty(1, np.int8), shape, strides)
        return shadow[parts if Ellipsis in parts else (*parts, Ellipsis)].strides


class ReplaceItem(Function):
    """``x`` after ``x[key] = value``, which has been done: the tape sees x before and x after as two
    tensors."""

    takes_numbers = True

    @staticmethod
    def forward(ctx, x, value, key):
        ctx.key, ctx.value_shape = _frozen(key) if True in ctx.needs else key, getattr(value, "shape", ())
        return x

    @staticmethod
    def backward(ctx, gy):
        gvalue = None
        if ctx.needs[1]:
            gvalue = unbroadcast(ctx.engine, ctx.engine.getitem(gy, ctx.key), ctx.value_shape)
        if not ctx.needs[0]:
            return None, gvalue
        gx = ctx.engine.copy(gy)
        ctx.engine.setitem(gx, ctx.key, 0)
        return gx, gvalue


class SetItem(ReplaceItem):
    """``x[key] = value`` in place."""

    @staticmethod
    def forward(ctx, x, value, key):
        try:
            ctx.engine.setitem(x, key, value)
        except (IndexError, ValueError, TypeError) as e:
            raise _refused("item assignment", e, x) from None
        return ReplaceItem.forward(ctx, x, value, key)


class Concatenate(Function):
    @staticmethod
    def forward(ctx, *xs, axis):
        ctx.axis, ctx.sizes = axis, [x.shape[axis] for x in xs]
        return ctx.engine.concatenate(dtypes.together("cat", xs, ctx.engine.cast), axis)

    @staticmethod
    def backward(ctx, gy):
        grads, start = [], 0
        for size in ctx.sizes:
            key = (slice(None),) * ctx.axis + (slice(start, start + size),)
            grads.append(ctx.engine.getitem(gy, key))
            start += size
        return tuple(grads)


class ToDevice(Function):
    @staticmethod
    def forward(ctx, x, target):
        ctx.target = target
        return backends.engine_of(target).asarray(x) if target == "cuda" else ctx.engine.to_host(x)

    @staticmethod
    def backward(ctx, gy):
        return (
            backends.load("cuda").to_host(gy) if ctx.target == "cuda" else backends.load("cuda").asarray(gy)
        )


# ------------------------------------------------------------------------------------------------- Tensor
def _either(name, *dims):
    """The one of several names of the same argument that was given."""
    given = [d for d in dims if d is not None]
    check(len(given) < 2, name, "give one of dim, dims and axis", TypeError)
    return given[0] if given else None


def _axes(name, dim, ndim):
    if dim is None:
        return tuple(range(ndim))
    dims = dim if isinstance(dim, (tuple, list)) else (dim,)
    return tuple(sorted(check_axis(name, d, ndim) for d in dims))


def _key(key):
    """An index expression with Tensors replaced by host arrays, and by ints where they are one integer."""
    if isinstance(key, tuple):
        parts = tuple([_key(k) for k in key])
        # the same object: see __setitem__
        return key if builtins.all(map(operator.is_, parts, key)) else parts
    if isinstance(key, Tensor):
        key = key.numpy()
    elif isinstance(key, list):
        key = np.asarray(key)
    return int(key) if isinstance(key, np.ndarray) and key.ndim == 0 and key.dtype.kind in "iu" else key


def _frozen(key):
    """The key with copies of its arrays, which may change before the backward pass."""
    if isinstance(key, tuple):
        return tuple(map(_frozen, key))
    return key.copy() if isinstance(key, np.ndarray) else key


def _operand(x):
    """What arithmetic takes for ``x``: NotImplemented where it knows nothing of it, so that Python asks ``x``
    itself."""
    if isinstance(x, (Tensor, int, float, np.ndarray)):
        return x
    if isinstance(x, (list, tuple)):
        return as_tensor(x)
    return x if isinstance(x, (np.number, np.bool_)) else NotImplemented


class Tensor:
    """An n-dimensional array that remembers how it was computed.

    Parameters
    ----------
    data : Tensor, numpy.ndarray, number or nested sequence
        An array is wrapped without a copy; anything else becomes an array first (Python floats float32).
    requires_grad : bool
        Record the ops on this tensor and collect its gradient in ``.grad``.

    Attributes
    ----------
    shape, ndim, dtype, device, requires_grad, grad
    data : Tensor
        The same memory outside the tape: ``w.data[:] -= lr * w.grad``.
    """

    __slots__ = ("_array", "_requires_grad", "grad", "_node", "_cell", "_view", "__weakref__")

    def __init__(self, data: Any, requires_grad: bool = False):
        cell = [0, 0]
        if isinstance(data, Tensor):
            data, cell = data._array, data._cell
        elif type(data) is np.ndarray:
            if data.dtype is not float32 or not data.flags.aligned:
                data = dtypes.native(data, "Tensor")
        elif isinstance(data, (np.ndarray, np.generic)) or not hasattr(data, "strides"):
            data = _host_array(data, name="Tensor")
        if requires_grad and data.dtype.kind != "f":
            raise TypeError(f"Tensor: only float tensors can require gradients, got {data.dtype}")
        self._array: Any = data
        self._requires_grad = requires_grad
        self.grad: Tensor | None = None
        self._node: autograd.Node | None = None
        self._cell: list[int] = cell  # see autograd.View
        self._view: autograd.View | None = None

    # ---- what it is
    @property
    def shape(self) -> tuple[int, ...]:
        return self._array.shape

    @overload
    def size(self, dim: None = None) -> tuple[int, ...]: ...

    @overload
    def size(self, dim: int) -> int: ...

    def size(self, dim: int | None = None) -> int | tuple[int, ...]:
        """The shape, or one extent of it."""
        return self.shape if dim is None else self.shape[check_axis("size", dim, self.ndim)]

    @property
    def ndim(self) -> int:
        return self._array.ndim

    def dim(self) -> int:
        return self._array.ndim

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._array.dtype

    @property
    def device(self) -> _Device:
        return _HOST if isinstance(self._array, np.ndarray) else _CUDA

    @property
    def requires_grad(self) -> bool:
        view = self._view
        if view is not None and view.seen != self._cell[1]:
            autograd.refresh(self)
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, flag: bool) -> None:
        if flag and self.dtype.kind != "f":
            raise TypeError(f"requires_grad: only float tensors can require gradients, got {self.dtype}")
        self._requires_grad = flag

    @property
    def is_leaf(self) -> bool:
        return not self.requires_grad or self._node is None

    @property
    def data(self) -> Tensor:
        return self.detach()

    @data.setter
    def data(self, value: Operand) -> None:
        if isinstance(value, Tensor) and value._array is self._array:  # ``x.data += 1`` has changed it
            return
        value = as_tensor(value)._array
        check_shape("data", "new value", value.shape, self.shape, "the tensor's own shape")
        self._array = self._engine.cast(value, self.dtype)
        self._cell[0] += 1

    @property
    def T(self) -> Tensor:  # noqa: N802
        return self.permute(*range(self.ndim)[::-1])

    def numel(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    def element_size(self) -> int:
        """Bytes per element."""
        return self.dtype.itemsize

    @property
    def _engine(self) -> Any:
        return backends.engine_of(self.device)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len: a scalar Tensor has no length")
        return self.shape[0]

    def __repr__(self) -> str:
        extra = f", device='{self.device}'" * (self.device != "cpu")
        extra += f", dtype={self.dtype}" * (self.dtype not in (float32, int64))
        leaf = self.is_leaf
        extra += ", requires_grad=True" * (self.requires_grad and leaf)
        extra += "" if leaf else f", grad_fn=<{self._node.function.__name__}>"
        return (
            f"tensor({np.array2string(self.numpy(), separator=', ', precision=4, prefix='tensor(')}{extra})"
        )

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self.ndim == 0 or spec else repr(self)

    def __bool__(self) -> bool:
        check(
            self.numel() == 1,
            "bool",
            f"only one-element tensors have a truth value, got {shape_str(self.shape)}",
        )
        return builtins.bool(self.numpy().reshape(-1)[0])

    def __float__(self) -> builtins.float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        check(
            self.numel() == 1 and self.dtype.kind in "iub",
            "index",
            f"only an integer tensor of one element can be an index, got {self.dtype} of shape {shape_str(self.shape)}",
            TypeError,
        )
        return int(self.item())

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __contains__(self, element: object) -> bool:
        hit = self == element
        return isinstance(hit, Tensor) and bool(hit.numpy().any())

    def __hash__(self) -> int:
        return id(self)

    # ---- to and from other worlds
    def numpy(self) -> Array:
        """The values as a NumPy array: the tensor's own memory where it lives on the host.

        Unlike PyTorch's it gives the values of a tensor that requires a gradient, too, which end there for
        the tape; so does ``np.asarray(t)``. NumPy's functions refuse such a tensor where their result would
        have had a gradient.
        """
        if self._view is not None:
            autograd.update_copies(self)
        return self._engine.to_host(self._array)

    def __array__(self, dtype: DType | None = None, copy: bool | None = None) -> Array:
        a = self.numpy()
        if dtype is not None and a.dtype != dtype:
            check(
                copy is not False,
                "__array__",
                f"{np.dtype(dtype)} of {a.dtype} needs a copy, and copy=False forbids it",
            )
            return a.astype(dtype)
        return a.copy() if copy else a

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return numpy_protocol.ufunc(Tensor, ufunc, method, inputs, kwargs)

    def __array_function__(self, func: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return numpy_protocol.function(Tensor, func, args, kwargs)

    def __dlpack__(self, **kwargs: Any) -> Any:
        return self._array.__dlpack__(**kwargs)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._array.__dlpack_device__()

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        # an AttributeError on the host, as CuPy and others expect
        return self._array.__cuda_array_interface__

    def __copy__(self) -> Self:
        """The same memory in another tensor, a leaf."""
        twin = _leaf(type(self), self, self.requires_grad)
        twin.grad = self.grad
        _attributes(twin).update(_attributes(self))
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        check(
            self.is_leaf,
            "deepcopy",
            "only leaf tensors can be deep-copied, and this is the result of an op, whose graph cannot be; use "
            ".detach().clone() for the values, or .clone() to stay on the tape",
            RuntimeError,
        )
        twin = memo[id(self)] = _leaf(type(self), copy.deepcopy(self._array, memo), self.requires_grad)
        twin.grad = copy.deepcopy(self.grad, memo)
        _attributes(twin).update(copy.deepcopy(_attributes(self), memo))
        return twin

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """A pickle holds the values, as a leaf on the same device, and not the gradient, as in PyTorch."""
        return (
            _unpickled,
            (type(self), self.numpy(), str(self.device), self.requires_grad),
            _attributes(self) or None,
        )

    def item(self) -> Any:
        """The only element as a Python number."""
        check(
            self.numel() == 1,
            "item",
            f"only one-element tensors convert to a number, got {shape_str(self.shape)}",
        )
        return self.numpy().reshape(-1)[0].item()

    def tolist(self) -> Any:
        return self.numpy().tolist()

    def detach(self) -> Tensor:
        """The same memory, outside the tape."""
        if self._view is not None:
            autograd.update_copies(self)
        t = Tensor(self)
        t._view = autograd.detached(self._view)
        return t

    def clone(self) -> Tensor:
        """A copy that stays on the tape."""
        return Copy.apply(self)

    def to(self, target: str | DType) -> Tensor:
        """Move to a device (``"cpu"``, ``"cuda"``) or cast to a dtype."""
        if isinstance(target, str) and target.split(":")[0] in ("cpu", "cuda"):
            target = device(target)
            return self if target == self.device else ToDevice.apply(self, target=target)
        return self.astype(dtypes.parse("to", target, "a device, 'cpu' or 'cuda', or a dtype: "))

    def cpu(self) -> Tensor:
        return self.to("cpu")

    def cuda(self) -> Tensor:
        return self.to("cuda")

    def astype(self, dtype: DType) -> Tensor:
        """Cast to ``dtype``; gradients are cast back."""
        dtype = dtypes.parse("astype", dtype)
        return self if dtype == self.dtype else Cast.apply(self, dtype=dtype)

    def float(self) -> Tensor:
        return self.astype(float32)

    def double(self) -> Tensor:
        return self.astype(float64)

    def long(self) -> Tensor:
        return self.astype(int64)

    # ---- the tape
    def requires_grad_(self, flag: bool = True) -> Self:
        self.requires_grad = flag
        return self

    def backward(self, grad: Operand | None = None, retain_graph: bool = False) -> None:
        """Compute the gradient of this tensor with respect to every leaf and add it to the leaf's ``.grad``.

        Parameters
        ----------
        grad : Tensor or array of this shape, optional
            Upstream gradient; may be left out for a one-element tensor (then 1).
        retain_graph : bool
            Keep what backward needs for a second call.
        """
        check(
            self.requires_grad,
            "backward",
            "this tensor does not require gradients (or was made under no_grad)",
            RuntimeError,
        )
        if grad is None:
            check(
                self.numel() == 1,
                "backward",
                f"a gradient of shape {shape_str(self.shape)} is needed: backward(grad) on a non-scalar tensor, "
                "or call .sum().backward()",
                RuntimeError,
            )
            grad = self._engine.asarray(np.ones(self.shape, self.dtype))
        else:
            grad = argument("backward", "grad", grad)
            check_shape("backward", "grad", grad.shape, self.shape, "the tensor's own shape")
            grad = grad._array if grad.dtype == self.dtype else self._engine.cast(grad._array, self.dtype)
        autograd.backward(self, grad, retain_graph)

    def zero_grad(self) -> None:
        self.grad = None

    # ---- arithmetic
    def __neg__(self) -> Tensor:
        return Unary.apply(self, name="neg")

    def __abs__(self) -> Tensor:
        return Unary.apply(self, name="abs")

    def abs(self) -> Tensor:
        return abs(self)

    def __add__(self, other: Operand) -> Tensor:
        return _binary("add", self, other)

    def __radd__(self, other: Operand) -> Tensor:
        return _binary("add", other, self)

    def __sub__(self, other: Operand) -> Tensor:
        return _binary("sub", self, other)

    def __rsub__(self, other: Operand) -> Tensor:
        return _binary("sub", other, self)

    def __mul__(self, other: Operand) -> Tensor:
        return _binary("mul", self, other)

    def __rmul__(self, other: Operand) -> Tensor:
        return _binary("mul", other, self)

    def __truediv__(self, other: Operand) -> Tensor:
        return _binary("div", self, other)

    def __rtruediv__(self, other: Operand) -> Tensor:
        return _binary("div", other, self)

    def __pow__(self, other: Operand) -> Tensor:
        if isinstance(other, float) or (
            self.dtype.kind == "f" and isinstance(other, (int, np.number, np.bool_))
        ):
            return Unary.apply(self, name="pow", param=float(other))
        return _binary("pow", self, other)

    def __rpow__(self, other: Operand) -> Tensor:
        return _binary("pow", other, self)

    def __lt__(self, other: Operand) -> Tensor:
        return _binary("lt", self, other)

    def __le__(self, other: Operand) -> Tensor:
        return _binary("le", self, other)

    def __gt__(self, other: Operand) -> Tensor:
        return _binary("gt", self, other)

    def __ge__(self, other: Operand) -> Tensor:
        return _binary("ge", self, other)

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]  # element by element
        return _compared("eq", self, other)

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        return _compared("ne", self, other)

    def __matmul__(self, other: Operand) -> Tensor:
        other = _operand(other)
        return other if other is NotImplemented else MatMul.apply(self, argument("matmul", "operand", other))

    def __rmatmul__(self, other: Operand) -> Tensor:
        other = _operand(other)
        return other if other is NotImplemented else MatMul.apply(argument("matmul", "operand", other), self)

    def matmul(self, other: Operand) -> Tensor:
        return self @ other

    # ---- arithmetic in place, on the tensor's own memory
    def __iadd__(self, other: Operand) -> Self:
        return inplace.update(self, "add_", Tensor.__add__, other)

    def __isub__(self, other: Operand) -> Self:
        return inplace.update(self, "sub_", Tensor.__sub__, other)

    def __imul__(self, other: Operand) -> Self:
        return inplace.update(self, "mul_", Tensor.__mul__, other)

    def __itruediv__(self, other: Operand) -> Self:
        return inplace.update(self, "div_", Tensor.__truediv__, other)

    def __ipow__(self, other: Operand) -> Self:
        return inplace.update(self, "pow_", Tensor.__pow__, other)

    def add_(self, other: Operand, *, alpha: builtins.float = 1) -> Self:
        """``self += alpha * other``."""
        self += other if alpha == 1 else _operand(other) * alpha
        return self

    def sub_(self, other: Operand, *, alpha: builtins.float = 1) -> Self:
        """``self -= alpha * other``."""
        self -= other if alpha == 1 else _operand(other) * alpha
        return self

    def mul_(self, other: Operand) -> Self:
        self *= other
        return self

    def div_(self, other: Operand) -> Self:
        self /= other
        return self

    def pow_(self, other: Operand) -> Self:
        self **= other
        return self

    def neg_(self) -> Self:
        return inplace.update(self, "neg_", Tensor.__neg__)

    def clamp_(self, min: Operand | None = None, max: Operand | None = None) -> Self:
        """:meth:`clamp` in place."""
        return inplace.update(self, "clamp_", Tensor.clamp, min, max)

    def copy_(self, value: Operand) -> Self:
        """Overwrite the values in place; they are converted to this tensor's dtype."""
        self[...] = value
        return self

    def fill_(self, value: Operand) -> Self:
        """Make every element ``value``."""
        self[...] = value
        return self

    def zero_(self) -> Self:
        """Make every element zero."""
        return self.fill_(0)

    # ---- functions of each element
    def clamp(self, min: Operand | None = None, max: Operand | None = None) -> Tensor:
        """The elements below ``min`` become ``min``, those above ``max`` become ``max``; each bound
        broadcasts."""
        if min is None and max is None:
            raise ValueError("clamp: give min, max or both")
        x = self if min is None else Bound.apply(self, min, name="maximum")
        return x if max is None else Bound.apply(x, max, name="minimum")

    def exp(self) -> Tensor:
        return Unary.apply(self, name="exp")

    def log(self) -> Tensor:
        return Unary.apply(self, name="log")

    def sqrt(self) -> Tensor:
        return Unary.apply(self, name="sqrt")

    def relu(self) -> Tensor:
        return Unary.apply(self, name="relu")

    def sigmoid(self) -> Tensor:
        return Unary.apply(self, name="sigmoid")

    def tanh(self) -> Tensor:
        return Unary.apply(self, name="tanh")

    def softmax(self, dim: int | None = None, *, axis: int | None = None) -> Tensor:
        dim = _either("softmax", dim, axis)
        check(dim is not None, "softmax", "missing 'dim', the dimension that sums to 1", TypeError)
        return Softmax.apply(self, name="softmax", axis=dim)

    def pow(self, other: Operand) -> Tensor:
        return self**other

    # ---- reductions
    def _reduce(self, name, dim, keepdim):
        x = self.astype(float32) if name == "mean" and self.dtype.kind != "f" else self
        axes = _axes(name, dim, self.ndim)
        check(
            name not in ("max", "min") or prod(self.shape[a] for a in axes) > 0 or not axes,
            name,
            f"cannot reduce an empty extent (input {shape_str(self.shape)})",
        )
        return Reduce.apply(x, name=name, axes=axes, keepdims=keepdim)

    # ``axis`` and ``keepdims`` are NumPy's names for ``dim`` and ``keepdim``.
    def sum(
        self,
        dim: Dims = None,
        keepdim: bool = False,
        *,
        dims: Dims = None,
        axis: Dims = None,
        keepdims: bool = False,
    ) -> Tensor:
        """Sum over ``dim`` (an int or several; all by default)."""
        return self._reduce("sum", _either("sum", dim, dims, axis), keepdim or keepdims)

    def mean(
        self,
        dim: Dims = None,
        keepdim: bool = False,
        *,
        dims: Dims = None,
        axis: Dims = None,
        keepdims: bool = False,
    ) -> Tensor:
        """Mean over ``dim`` (an int or several; all by default)."""
        return self._reduce("mean", _either("mean", dim, dims, axis), keepdim or keepdims)

    def _extremum(self, name, dim, keepdim, dims):
        if isinstance(dim, int):
            axis = check_axis(name, dim, self.ndim)
            check(self.numel() > 0, name, f"the tensor is empty ({shape_str(self.shape)})")
            index = self._argument("arg" + name, axis, keepdim=True)
            if not self.ndim:
                return MaxResult(self.clone(), index)
            grid = tuple(np.indices(index.shape, sparse=True))
            values = self[grid[:axis] + (index,) + grid[axis + 1 :]]
            return (
                MaxResult(values, index) if keepdim else MaxResult(values.squeeze(axis), index.squeeze(axis))
            )
        return self._reduce(name, dims if dim is None else dim, keepdim)

    @overload
    def max(self, dim: int, keepdim: bool = False) -> MaxResult: ...

    @overload
    def max(self, *, axis: int, keepdims: bool = False) -> MaxResult: ...

    @overload
    def max(
        self,
        dim: Sequence[int] | None = None,
        keepdim: bool = False,
        *,
        dims: Dims = None,
        keepdims: bool = False,
    ) -> Tensor: ...

    def max(
        self,
        dim: Dims = None,
        keepdim: bool = False,
        *,
        dims: Dims = None,
        axis: Dims = None,
        keepdims: bool = False,
    ) -> Tensor | MaxResult:
        """Largest element; with an int ``dim`` a pair ``(values, indices)``, with ``dims`` values over
        several."""
        return self._extremum("max", _either("max", dim, axis), keepdim or keepdims, dims)

    @overload
    def min(self, dim: int, keepdim: bool = False) -> MaxResult: ...

    @overload
    def min(self, *, axis: int, keepdims: bool = False) -> MaxResult: ...

    @overload
    def min(
        self,
        dim: Sequence[int] | None = None,
        keepdim: bool = False,
        *,
        dims: Dims = None,
        keepdims: bool = False,
    ) -> Tensor: ...

    def min(
        self,
        dim: Dims = None,
        keepdim: bool = False,
        *,
        dims: Dims = None,
        axis: Dims = None,
        keepdims: bool = False,
    ) -> Tensor | MaxResult:
        """Smallest element; with an int ``dim`` a pair ``(values, indices)``, with ``dims`` values over
        several."""
        return self._extremum("min", _either("min", dim, axis), keepdim or keepdims, dims)

    def argmax(
        self,
        dim: int | None = None,
        keepdim: bool = False,
        *,
        axis: int | None = None,
        keepdims: bool = False,
    ) -> Tensor:
        """Index of the first largest element along ``dim``, or in the flattened tensor."""
        return self._argument("argmax", _either("argmax", dim, axis), keepdim or keepdims)

    def argmin(
        self,
        dim: int | None = None,
        keepdim: bool = False,
        *,
        axis: int | None = None,
        keepdims: bool = False,
    ) -> Tensor:
        """Index of the first smallest element along ``dim``, or in the flattened tensor."""
        return self._argument("argmin", _either("argmin", dim, axis), keepdim or keepdims)

    def _argument(self, name, dim, keepdim):
        axis = None if dim is None else check_axis(name, dim, self.ndim)
        check(self.numel() > 0, name, f"the tensor is empty ({shape_str(self.shape)})")
        return Tensor(getattr(self._engine, name)(self._array, axis, keepdim))

    # ---- shape
    def reshape(self, *shape: Ints) -> Tensor:
        """The same elements in logical (NCHW) order under another shape; one extent may be -1."""
        shape = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
        shape = list(int_tuple("reshape", "shape", shape, len(shape), -1)) if shape else []
        if shape.count(-1) > 1:
            raise ValueError(f"reshape: bad shape {tuple(shape)}")
        n = self.numel()
        if -1 in shape and (known := -prod(shape)):
            shape[shape.index(-1)] = n // known
        if prod(shape) != n or -1 in shape:
            raise ValueError(
                f"reshape: {n} elements ({shape_str(self.shape)}) do not fit shape {tuple(shape)}"
            )
        return Reshape.apply(self, shape=tuple(shape))

    view = reshape

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        """Merge the dimensions ``start_dim`` to ``end_dim`` into one."""
        if self.ndim == 0:
            return self.reshape(1)
        a, b = check_axis("flatten", start_dim, self.ndim), check_axis("flatten", end_dim, self.ndim)
        check(a <= b, "flatten", f"start_dim {start_dim} comes after end_dim {end_dim}")
        return self.reshape(*self.shape[:a], prod(self.shape[a : b + 1]), *self.shape[b + 1 :])

    def permute(self, *axes: Ints) -> Tensor:
        """Reorder the dimensions."""
        axes = tuple(axes[0]) if len(axes) == 1 and isinstance(axes[0], (tuple, list)) else axes
        axes = tuple(check_axis("permute", a, self.ndim) for a in axes)
        check(
            sorted(axes) == list(range(self.ndim)),
            "permute",
            f"expected every dimension of {shape_str(self.shape)} once, got {axes}",
        )
        return Permute.apply(self, axes=axes)

    def transpose(self, dim0: int, dim1: int) -> Tensor:
        """Swap two dimensions."""
        axes = list(range(self.ndim))
        a, b = check_axis("transpose", dim0, self.ndim), check_axis("transpose", dim1, self.ndim)
        axes[a], axes[b] = axes[b], axes[a]
        return self.permute(*axes)

    def t(self) -> Tensor:
        check_rank("t", "tensor", self.shape, (0, 1, 2), "at most a matrix")
        return self.T

    def squeeze(self, dim: int | None = None, *, axis: int | None = None) -> Tensor:
        """Drop the dimensions of extent 1, or only ``dim`` if it has extent 1."""
        dim = _either("squeeze", dim, axis)
        which = range(self.ndim) if dim is None else (check_axis("squeeze", dim, self.ndim),)
        return self.reshape(*(s for i, s in enumerate(self.shape) if not (i in which and s == 1)))

    def unsqueeze(self, dim: int | None = None, *, axis: int | None = None) -> Tensor:
        """Insert a dimension of extent 1 at ``dim``."""
        dim = check_axis("unsqueeze", _either("unsqueeze", dim, axis), self.ndim + 1)
        return self.reshape(*self.shape[:dim], 1, *self.shape[dim:])

    def contiguous(self) -> Tensor:
        """The tensor itself, or a copy of a view whose elements lie in another order."""
        return self if self._view is None or self._array.flags.c_contiguous else self.clone()

    # ---- items
    def __getitem__(self, key: Any) -> Tensor:
        return GetItem.apply(self, key=_key(key))

    def __setitem__(self, key: Any, value: Operand) -> None:
        key = _key(key)
        if isinstance(value, Tensor) and (view := value._view) is not None and view.source is self:
            if view.options.get("key") is key:  # ``x[key] += 1`` has changed x[key], and puts it where it is
                return
        if not isinstance(value, (Tensor, int, float)):
            value = argument("item assignment", "value", value, self.device)
        tracked = inplace.begin(self, "item assignment", (value,))
        after = SetItem.apply(self, value, key=key)
        inplace.changed(self, after if tracked else None)


def _binary(name, a, b):
    a, b = _operand(a), _operand(b)
    if a is NotImplemented or b is NotImplemented:
        return NotImplemented
    return Binary.apply(a, b, name=name)


def _compared(name, a, b):
    """``==`` and ``!=``, which anything may stand beside: what is no array of numbers is not equal."""
    if isinstance(b, (list, tuple)):
        try:
            b = as_tensor(b)
        except (TypeError, ValueError):
            return NotImplemented
    return _binary(name, a, b)


def _leaf(kind, data, requires_grad):
    """A tensor of class ``kind``, whose own ``__init__`` is not called."""
    t = kind.__new__(kind)
    Tensor.__init__(t, data, requires_grad)
    return t


def _unpickled(kind, array, device_, requires_grad):
    return _leaf(kind, as_tensor(array, device=device_), requires_grad)


def _attributes(t) -> dict[str, Any]:
    """What a user's subclass of Tensor keeps besides."""
    return getattr(t, "__dict__", {})


# ------------------------------------------------------------------------------------------------- making
# tensors
def _host_array(data, dtype=None, name="tensor", what="data") -> np.ndarray:
    if isinstance(data, (list, tuple)) and builtins.any(isinstance(d, Tensor) for d in data):
        data = [d.numpy() if isinstance(d, Tensor) else d for d in data]
    return dtypes.array(data, dtype, name, what)


def _place(array, device_, requires_grad=False) -> Tensor:
    where = device(default_device() if device_ is None else device_)
    return Tensor(backends.engine_of(where).asarray(array) if where == "cuda" else array, requires_grad)


def as_tensor(data: Any, dtype: DType | None = None, device: str | None = None) -> Tensor:
    """``data`` as a Tensor, without a copy where that is possible: not of an array in foreign byte order or
    unaligned."""
    if isinstance(data, Tensor):
        data = data if device is None else data.to(device)
        return data if dtype is None else data.astype(dtype)
    return _place(_host_array(data, dtype, "as_tensor"), device)


def argument(name: str, what: str, data: Any, device: str | None = None) -> Tensor:
    """Argument ``what`` of function ``name`` as a Tensor: :func:`as_tensor`, whose errors name both."""
    return data if isinstance(data, Tensor) else _place(_host_array(data, None, name, what), device)


def names_memory(make: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """``make``, whose MemoryErrors say that it was asked for too much."""

    @functools.wraps(make)
    def call(*args: P.args, **options: P.kwargs) -> Tensor:
        try:
            return make(*args, **options)
        except MemoryError as e:
            raise MemoryError(f"{make.__name__}: {e}") from None

    return call


@names_memory
def tensor(
    data: Any, dtype: DType | None = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """A new tensor with a copy of ``data``; Python floats become float32, integers int64.

    Parameters
    ----------
    data : number, nested sequence, numpy.ndarray or Tensor
    dtype : numpy dtype, optional
    device : {"cpu", "cuda"}, optional
    requires_grad : bool
    """
    if isinstance(data, Tensor):
        data = data.numpy()
    return _place(np.array(_host_array(data, dtype)), device, requires_grad)


def from_numpy(array: Array) -> Tensor:
    """A tensor on the array's own memory (copied to the GPU under the cuda backend).

    The memory may be read-only and have any strides. What kernels cannot read as it is, foreign byte order
    and unaligned memory, cannot be shared and is refused.
    """
    check(
        isinstance(array, np.ndarray),
        "from_numpy",
        f"expected a numpy.ndarray, got {type(array).__name__}",
        TypeError,
    )
    shared = dtypes.native(array, "from_numpy", "array")
    check(
        array.dtype.isnative and array.flags.aligned,
        "from_numpy",
        "memory in foreign byte order or unaligned "
        f"({array.dtype}) cannot be shared; fc.tensor(array) or fc.as_tensor(array) copies it",
    )
    return _place(shared, None)


def from_dlpack(x: Any) -> Tensor:
    """A tensor on the memory of any object that speaks DLPack, on the host or on the GPU."""
    check(
        hasattr(x, "__dlpack_device__"),
        "from_dlpack",
        f"expected an object with __dlpack__, got {type(x).__name__}",
        TypeError,
    )
    if x.__dlpack_device__()[0] == 2:  # CUDA
        return Tensor(backends.load("cuda").dlpack.borrow(x))
    try:
        return Tensor(np.from_dlpack(x))
    except BufferError as e:
        raise TypeError(f"from_dlpack: {e}") from None


def _size(name, args, size) -> tuple[int, ...]:
    if size is None:
        size = args[0] if len(args) == 1 and isinstance(args[0], (tuple, list)) else args
    size = tuple(size) if isinstance(size, (tuple, list)) else (size,)
    size = int_tuple(name, "size", size, len(size), 0) if size else ()
    check_count(name, "the tensor", size)
    return size


@names_memory
def full(
    size: Ints,
    fill_value: float,
    dtype: DType | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of ``size`` filled with ``fill_value``."""
    value = dtypes.array(fill_value, dtype, "full", "fill_value")
    check(value.ndim == 0, "full", f"fill_value must be a number, got shape {shape_str(value.shape)}")
    return _place(np.full(_size("full", (size,), None), value), device, requires_grad)


@names_memory
def zeros(
    *size: Ints, dtype: DType = float32, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """Zeros: ``zeros(2, 3)`` or ``zeros((2, 3))``."""
    return _place(np.zeros(_size("zeros", size, None), _dtype("zeros", dtype)), device, requires_grad)


@names_memory
def ones(
    *size: Ints, dtype: DType = float32, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """Ones: ``ones(2, 3)`` or ``ones((2, 3))``."""
    return _place(np.ones(_size("ones", size, None), _dtype("ones", dtype)), device, requires_grad)


@names_memory
def rand(
    *args: Ints,
    size: Ints | None = None,
    dtype: DType = float32,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Uniform numbers in [0, 1): ``rand(2, 3)``, ``rand((2, 3))`` or ``rand(size=(2, 3))``."""
    values = random.draw("random", _size("rand", args, size), _random_dtype("rand", dtype))
    return _place(values, device, requires_grad)


@names_memory
def randn(
    *args: Ints,
    size: Ints | None = None,
    dtype: DType = float32,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Standard normal numbers: ``randn(2, 3)``, ``randn((2, 3))`` or ``randn(size=(2, 3))``."""
    values = random.draw("standard_normal", _size("randn", args, size), _random_dtype("randn", dtype))
    return _place(values, device, requires_grad)


def _dtype(name, dtype) -> np.dtype:
    return float32 if dtype is None else dtypes.parse(name, dtype)


def _random_dtype(name, dtype) -> np.dtype:
    dtype = _dtype(name, dtype)
    check(dtype in (float32, float64), name, f"dtype must be float32 or float64, got {dtype}", TypeError)
    return dtype


@names_memory
def arange(*args: float, dtype: DType | None = None, device: str | None = None) -> Tensor:
    """``arange(stop)`` or ``arange(start, stop[, step])``: int64 for integers, else float32."""
    name = "arange"
    check(
        1 <= len(args) <= 3,
        name,
        f"expected stop, or start, stop and step, got {len(args)} arguments",
        TypeError,
    )
    what = ("stop",) if len(args) == 1 else ("start", "stop", "step")
    for w, a in zip(what, args):
        check(np.isfinite(number(name, w, a)), name, f"{w} must be finite, got {a}")
    numbers = [a.item() if hasattr(a, "item") else a for a in args]
    start, stop, step = (0, *numbers, 1) if len(args) == 1 else (*numbers, 1)[:3]
    check(step != 0 and (stop - start) / step >= 0, name, f"step {step} does not lead from {start} to {stop}")
    check_count(name, "the tensor", (builtins.max(int((stop - start) / step), 0),))
    if dtype is None:
        dtype = float32 if builtins.any(isinstance(n, float) for n in numbers) else int64
    return _place(np.arange(start, stop, step).astype(dtypes.parse(name, dtype)), device)


@names_memory
def eye(n: int, m: int | None = None, dtype: DType = float32, device: str | None = None) -> Tensor:
    """The ``n x m`` identity matrix."""
    return _place(np.eye(*_size("eye", (n, n if m is None else m), None), dtype=_dtype("eye", dtype)), device)


def cat(tensors: Sequence[Tensor | Array], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """Concatenate along an existing dimension (``axis`` is NumPy's name for ``dim``)."""
    dim = dim if axis is None else axis
    tensors = _sequence("cat", tensors)
    check(tensors[0].ndim > 0, "cat", "0-d tensors have no dimension to be joined along; use stack")
    axis = check_axis("cat", dim, tensors[0].ndim)
    want = tensors[0].shape
    for t in tensors:
        fits = t.ndim == len(want) and all(i == axis or a == b for i, (a, b) in enumerate(zip(t.shape, want)))
        check(
            fits, "cat", f"shapes must agree except in dim {axis}: {shape_str(want)} and {shape_str(t.shape)}"
        )
    return Concatenate.apply(*tensors, axis=axis)


def stack(tensors: Sequence[Tensor | Array], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """Join equally shaped tensors along a new dimension (``axis`` is NumPy's name for ``dim``)."""
    dim = dim if axis is None else axis
    tensors = _sequence("stack", tensors)
    dim = check_axis("stack", dim, tensors[0].ndim + 1)
    for t in tensors[1:]:
        check_shape("stack", "each tensor", t.shape, tensors[0].shape, "the first one's")
    return Concatenate.apply(*[t.unsqueeze(dim) for t in tensors], axis=dim)


def _sequence(name, tensors) -> list[Tensor]:
    if isinstance(tensors, (Tensor, str, bytes)) or not hasattr(tensors, "__iter__"):
        raise TypeError(f"{name}: expected a list or tuple of tensors, got {type(tensors).__name__}")
    tensors = [argument(name, f"tensor {i}", t) for i, t in enumerate(tensors)]
    check(len(tensors) > 0, name, "expected at least one tensor")
    return tensors
