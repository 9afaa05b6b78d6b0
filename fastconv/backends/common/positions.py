"""The integer type of the positions in a plane that max pooling returns."""

from __future__ import annotations

from math import prod

import numpy as np

INT32_PLANE = 2**31  # elements of a plane up to which its positions are int32; tests lower it


def position_dtype(size) -> type[np.signedinteger]:
    """int32 where it holds every position in a plane of ``size``, else int64."""
    return np.int32 if prod(size) <= INT32_PLANE else np.int64
