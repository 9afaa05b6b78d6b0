"""Sorting and selecting along an axis. NaN is larger than every number, as in NumPy and PyTorch."""

import numpy as np


def sort(x, axis, descending):
    """A stable sort, and where each element came from."""
    if not descending:
        index = np.argsort(x, axis, kind="stable")
    else:  # an ascending sort from the end puts equal elements in reverse order, and so does the flip back
        index = x.shape[axis] - 1 - np.flip(np.argsort(np.flip(x, axis), axis, kind="stable"), axis)
    return np.take_along_axis(x, index, axis), index


def topk(x, k, axis, largest):
    """The first ``k`` of the sorted elements."""
    first = (slice(None),) * axis + (slice(k),)
    values, index = sort(x, axis, largest)
    return values[first].copy(), index[first].copy()


def kthvalue(x, k, axis):
    """The element at position ``k - 1`` of the sorted ones."""
    values, index = sort(x, axis, False)
    return np.take_along_axis(values, k - 1, axis), np.take_along_axis(index, k - 1, axis)
