"""The operators that a loaded graph may have: ``OPERATORS``, name -> how it is computed.

Each file has the operators of one subject and a table of its own. A function gets the node and its inputs and
calls functions of fastconv, so there are gradients, and the graph can be captured.
"""

from __future__ import annotations

from ..node import Operator
from . import (
    activation,
    convolution,
    detection,
    elementwise,
    gathering,
    linear,
    normalisation,
    pooling,
    quantisation,
    reductions,
    resizing,
    shapes,
)

#: Every operator of the default domain that is supported.
OPERATORS: dict[str, Operator] = {
    **activation.OPERATORS,
    **convolution.OPERATORS,
    **detection.OPERATORS,
    **elementwise.OPERATORS,
    **gathering.OPERATORS,
    **linear.OPERATORS,
    **normalisation.OPERATORS,
    **pooling.OPERATORS,
    **quantisation.OPERATORS,
    **reductions.OPERATORS,
    **resizing.OPERATORS,
    **shapes.OPERATORS,
}

__all__ = ["OPERATORS"]
