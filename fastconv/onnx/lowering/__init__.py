"""The calls of the engine contract as ONNX nodes: ``LOWERINGS``, op -> function.

A function gets the :class:`~fastconv.onnx.writer.Writer` and the arguments of the call, adds nodes, and
returns the name of the result (a tuple of names for several results, None for one that ONNX cannot express).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import elements, layers, moving

LOWERINGS: dict[str, Callable[..., Any]] = {**elements.LOWERINGS, **layers.LOWERINGS, **moving.LOWERINGS}

__all__ = ["LOWERINGS"]
