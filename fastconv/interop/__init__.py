"""Other frameworks: PyTorch graphs on fastconv's engine (:mod:`fastconv.interop.torch`)."""

from .torch import explain

__all__ = ["explain"]
