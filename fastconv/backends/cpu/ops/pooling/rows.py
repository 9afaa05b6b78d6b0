"""The order in which pooling kernels walk the rows of their results."""

from __future__ import annotations

from ...codegen.jit import body


@body(inline=True)
def next_row(n, i, j, depth, height):
    """Image, plane and row after these; divisions would cost as much as the work on a short row."""
    j += 1
    if j == height:
        i, j = i + 1, 0
    if i == depth:
        n, i = n + 1, 0
    return n, i, j
