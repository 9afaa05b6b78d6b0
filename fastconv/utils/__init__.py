"""PyTorch's place for the names of :mod:`fastconv.data`."""

from . import data

__all__ = ["data"]
