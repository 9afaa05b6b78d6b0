"""``fastconv.utils.data``: the names of :mod:`fastconv.data`, in the place where PyTorch has them."""

from . import data

__all__ = ["data"]
