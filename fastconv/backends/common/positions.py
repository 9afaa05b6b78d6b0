"""The integer type of the positions in a plane that max pooling returns."""

from __future__ import annotations

from math import prod

import numpy as np

INT32_PLANE = 2**31  # planes with at most this many elements have int32 positions; tests lower it


def position_dtype(size) -> type[np.signedinteger]:
    """int32 if it can hold every position in a plane of extents ``size``, else int64."""
    return np.int32 if prod(size) <= INT32_PLANE else np.int64
