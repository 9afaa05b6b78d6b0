"""``fc.autograd``: what users need of the tape, under PyTorch's names."""

from .tape import is_grad_enabled, no_grad

__all__ = ["is_grad_enabled", "no_grad"]
