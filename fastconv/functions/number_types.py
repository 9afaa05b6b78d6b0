"""Functions and constants about dtypes, and small names from PyTorch: ``fc.finfo``, ``fc.is_tensor``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import dtypes
from ..checks import check
from ..dtypes import FLOAT32
from ..tensor import Tensor
from ..typing import DType, TensorLike
from ..variable import argument

#: The type of a shape: a tuple. PyTorch has its own class for it.
Size = tuple
#: NumPy's limits of a type of floats (``eps``, ``max``, ``min``, ``tiny``), and of integers.
finfo, iinfo = np.finfo, np.iinfo
pi, e, inf, nan = math.pi, math.e, math.inf, math.nan
#: Memory formats. Functions accept them as in PyTorch, without effect: the engine chooses the order of axes.
contiguous_format, preserve_format = "contiguous_format", "preserve_format"
channels_last, channels_last_3d = "channels_last", "channels_last_3d"


def is_tensor(obj: Any) -> bool:
    """Whether an object is a Tensor.

    >>> fc.is_tensor(fc.ones(1)), fc.is_tensor(1)
    (True, False)
    """
    return isinstance(obj, Tensor)


def is_floating_point(input: TensorLike) -> bool:  # noqa: A002 - PyTorch's name
    """Whether the elements of a tensor are floats.

    >>> fc.is_floating_point(fc.ones(1))
    True
    """
    return argument("is_floating_point", "input", input).dtype.kind == "f"


def numel(input: TensorLike) -> int:  # noqa: A002
    """Number of elements of a tensor.

    >>> fc.numel(fc.ones(2, 3))
    6
    """
    return math.prod(argument("numel", "input", input).shape)


def get_default_dtype() -> np.dtype[Any]:
    """The dtype of a new tensor if none is given: float32.

    >>> fc.get_default_dtype()
    dtype('float32')
    """
    return FLOAT32


def set_default_dtype(d: DType) -> None:
    """Accept float32, which is the default already; refuse every other dtype.

    Raises
    ------
    ValueError
        If ``d`` is another dtype.
    """
    found = dtypes.parse("set_default_dtype", d)
    check(
        found == FLOAT32,
        "set_default_dtype",
        f"the default is float32 and cannot be changed, got {found}; pass dtype='{found}' to the functions "
        "that make tensors, and convert modules with .double()",
    )


def promote_types(type1: DType, type2: DType) -> np.dtype[Any]:
    """The dtype of the result of an operation on tensors of these two dtypes.

    Floats take precedence over integers, and integers over bools. Of two floats or two integers, it is the
    smallest dtype that holds both.

    >>> fc.promote_types(fc.uint8, fc.int8)
    dtype('int16')
    """
    return dtypes.promote("promote_types", *(dtypes.parse("promote_types", t) for t in (type1, type2)))
