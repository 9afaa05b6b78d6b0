"""Sums, copies and collections of arrays over all ranks."""

# Arrays of users are of any type.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from .. import backends
from ..checks import check
from ..dtypes import check_writable
from ..tensor import Tensor
from .launcher import load_mpi
from .staging import on_host, write
from .world import world

T = TypeVar("T")


class ReduceOp:
    """The ways in which :func:`all_reduce` combines the arrays of the ranks."""

    SUM = "sum"
    AVG = "avg"
    PRODUCT = "product"
    MIN = "min"
    MAX = "max"


#: The name of each way in MPI. The average is a sum that is divided afterwards.
_OPERATIONS = {"sum": "SUM", "avg": "SUM", "product": "PROD", "min": "MIN", "max": "MAX"}


def barrier() -> None:
    """Wait until all ranks have called this."""
    if (comm := world().comm) is not None:
        comm.Barrier()


def all_reduce(tensor: T, op: str = ReduceOp.SUM, group: None = None, async_op: bool = False) -> T:
    """Combine the arrays of all ranks element by element; every rank gets the result.

    The result has the same bits on all ranks, and in every run with this number of ranks.

    Parameters
    ----------
    tensor : Tensor or array, float32 or float64
        Of one shape on all ranks, in any memory layout. It is changed in place.
    op : {"sum", "avg", "product", "min", "max"}
        ``ReduceOp`` has these as constants.
    group, async_op
        PyTorch's arguments; only the defaults are supported.

    Returns
    -------
    Tensor or array
        ``tensor`` itself.

    Raises
    ------
    TypeError, ValueError
        If ``tensor`` is no float array or read-only, or an argument is not supported.

    Examples
    --------
    >>> fc.distributed.all_reduce(fc.tensor([1.0, 2.0]))  # with one rank it stays as it is
    tensor([1., 2.])
    """
    _check("all_reduce", tensor, "tensor", group, async_op)
    check(op in _OPERATIONS, "all_reduce", f"op must be one of {', '.join(_OPERATIONS)}, got {op!r:.60}")

    def reduce(comm: Any, data: Any) -> None:
        mpi = load_mpi("all_reduce")
        comm.Allreduce(mpi.IN_PLACE, data, getattr(mpi, _OPERATIONS[op]))

    _exchange(tensor, reduce)
    if op == ReduceOp.AVG and world().size > 1:
        array = _array(tensor)
        write(array, on_host(array) / array.dtype.type(world().size))
    return tensor


def broadcast(tensor: T, src: int = 0, group: None = None, async_op: bool = False) -> T:
    """Copy the values of rank ``src`` to all ranks.

    Parameters
    ----------
    tensor : Tensor or array
        Of one shape and dtype on all ranks, in any memory layout. It is changed in place.
    src : int
    group, async_op
        PyTorch's arguments; only the defaults are supported.

    Returns
    -------
    Tensor or array
        ``tensor`` itself.

    Raises
    ------
    TypeError, ValueError
        If ``tensor`` is no array or read-only, if there is no rank ``src``, or an argument is not supported.

    Examples
    --------
    >>> fc.distributed.broadcast(fc.tensor([1.0, 2.0]), src=0)
    tensor([1., 2.])
    """
    _check("broadcast", tensor, "tensor", group, async_op, floats=False)
    size = world().size
    check(0 <= src < size, "broadcast", f"src must be a rank from 0 to {size - 1}, got {src}")
    _exchange(tensor, lambda comm, data: comm.Bcast(data, src))
    return tensor


def all_gather(tensor_list: list[Any], tensor: Any, group: None = None, async_op: bool = False) -> None:
    """Collect the arrays of all ranks: afterwards ``tensor_list[r]`` has the values of rank r.

    Parameters
    ----------
    tensor_list : list of Tensor or array
        One for each rank, of the shape and dtype of ``tensor``; they are changed in place.
    tensor : Tensor or array
        Of one shape and dtype on all ranks, in any memory layout.
    group, async_op
        PyTorch's arguments; only the defaults are supported.

    Raises
    ------
    TypeError, ValueError
        If the list has not one array per rank, or shapes or dtypes differ.

    Examples
    --------
    >>> every = [fc.zeros(2)]
    >>> fc.distributed.all_gather(every, fc.tensor([1.0, 2.0])); every
    [tensor([1., 2.])]
    """
    name, size = "all_gather", world().size
    for what, t in (("tensor", tensor), *(("an entry of tensor_list", t) for t in tensor_list)):
        _check(name, t, what, group, async_op, floats=False, written=what != "tensor")
        check(
            t.shape == tensor.shape and t.dtype == tensor.dtype,
            name,
            f"all arrays must have the shape and dtype of tensor, {tensor.shape} {tensor.dtype}, "
            f"got {t.shape} {t.dtype}",
        )
    check(
        len(tensor_list) == size,
        name,
        f"tensor_list must have {size} arrays, one per rank, got {len(tensor_list)}",
    )
    host = np.array(on_host(_array(tensor)), order="C", copy=None)
    rows = host[None]
    if (comm := world().comm) is not None:
        rows = np.empty((size, *host.shape), host.dtype)
        comm.Allgather(host, rows)
    for t, row in zip(tensor_list, rows):
        _write(t, row)


def broadcast_object(value: T, src: int = 0) -> T:
    """The Python object ``value`` of rank ``src``, on all ranks; it must be one that ``pickle`` accepts.

    Examples
    --------
    >>> fc.distributed.broadcast_object({"lr": 0.1})
    {'lr': 0.1}
    """
    comm = world().comm
    return value if comm is None else comm.bcast(value, src)


def all_gather_object(value: T) -> list[T]:
    """The Python objects ``value`` of all ranks, on all ranks.

    Examples
    --------
    >>> fc.distributed.all_gather_object("a")
    ['a']
    """
    comm = world().comm
    return [value] if comm is None else comm.allgather(value)


@functools.cache
def cuda_aware() -> bool:
    """Whether MPI itself says that it reads and writes the memory of a GPU (``mpi_memory_alloc_kinds``, which
    MPI 4.1 has introduced)."""
    comm = world().comm
    if comm is None:
        return False
    info = comm.Get_info()
    kinds = info.get("mpi_memory_alloc_kinds") or ""
    info.Free()
    return any(kind.strip().split(":")[0] == "cuda" for kind in kinds.split(","))


# --------------------------------------------------------------------------------------------------- arrays
def _check(
    name: str, t: Any, what: str, group: Any, async_op: Any, floats: bool = True, written: bool = True
) -> None:
    check(group is None, name, f"process groups are not supported, group must be None, got {group!r:.60}")
    check(async_op is False, name, f"async_op must be False, got {async_op!r:.60}")
    check(
        isinstance(t, (Tensor, np.ndarray)),
        name,
        f"{what} must be a Tensor or an array, got {type(t).__name__}",
        TypeError,
    )
    check(
        not floats or t.dtype in (np.float32, np.float64),
        name,
        f"{what} must be float32 or float64, got {t.dtype}",
        TypeError,
    )
    if written and isinstance(t, np.ndarray):
        check_writable(name, what, t)


def _array(t: Any) -> Any:
    return t.array if isinstance(t, Tensor) else t


def _write(t: Any, values: np.ndarray[Any, Any]) -> None:
    """Copy host values into ``t``, which autograd notices."""
    write(_array(t), values)
    if isinstance(t, Tensor):
        t.memory.version += 1


def _exchange(t: Any, call: Callable[[Any, Any], None]) -> None:
    """``call(comm, data)``, where ``data`` are the values of ``t`` in logical order, changed in place."""
    comm = world().comm
    if comm is None:
        return
    array = _array(t)
    if isinstance(array, np.ndarray) and array.flags.c_contiguous and array.dtype.isnative:
        call(comm, array)
    elif not isinstance(array, np.ndarray) and array.flags.c_contiguous and cuda_aware():
        backends.load("cuda").device.synchronize()  # MPI does not know of the stream
        call(comm, array)
    else:
        host = np.array(on_host(array), order="C")
        call(comm, host)
        _write(t, host)
        return
    if isinstance(t, Tensor):
        t.memory.version += 1
