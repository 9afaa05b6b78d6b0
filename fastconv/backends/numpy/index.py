"""Elements along an axis, chosen by index."""

import numpy as np

from ..common.indices import check_in_range


def gather(x, index, axis):
    """Along ``axis`` the elements that ``index`` says."""
    check_in_range(index, x.shape[axis], axis)
    return np.take_along_axis(x, index, axis)


def scatter(name, x, index, value, axis):
    """Write to the elements that :func:`gather` reads; of several values for one the last is kept, or all are
    joined."""
    check_in_range(index, x.shape[axis], axis)
    extents = [1 if i == axis else n for i, n in enumerate(x.shape)]
    key = tuple(index if i == axis else at for i, at in enumerate(np.indices(extents, sparse=True)))
    if name == "set":
        x[key] = value
    else:
        {"add": np.add, "mul": np.multiply, "maximum": np.maximum, "minimum": np.minimum}[name].at(
            x, key, value
        )
