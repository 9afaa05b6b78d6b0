"""Types that the annotations of public functions share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, TypeAlias, Union

import numpy as np
import numpy.typing as npt

from .variable import Variable

#: A NumPy array of any dtype.
Array: TypeAlias = npt.NDArray[Any]
#: What functions accept as an input: a Tensor (``Variable`` is its base class) or a NumPy array.
TensorLike: TypeAlias = Variable | npt.NDArray[Any]
#: What arithmetic accepts beside a Tensor, and what may be assigned to a part of one.
Operand: TypeAlias = Variable | float | np.generic | npt.NDArray[Any] | Sequence[Any]
#: Which dimensions a reduction takes; None is all of them.
Dims: TypeAlias = int | Sequence[int] | None
#: One number for all dimensions, or one per dimension.
Ints: TypeAlias = int | Sequence[int]
Floats: TypeAlias = float | Sequence[float]
#: ``"same"``, ``"valid"``, ``"full"``, numbers, or one ``(before, after)`` pair per dimension.
Padding: TypeAlias = str | int | Sequence[int] | Sequence[Sequence[int]]
DType: TypeAlias = npt.DTypeLike
PathLike: TypeAlias = Union[str, "os.PathLike[str]"]
