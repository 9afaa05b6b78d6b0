"""``fc.autograd``: gradients beyond ``loss.backward()``, and users' own differentiable functions.

gradients.py    grad, backward
function.py     Function, once_differentiable
gradcheck.py    gradcheck: derivatives compared with finite differences
"""

from fastconv.tape import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)

from . import function
from .function import Function
from .gradcheck import GradcheckError, gradcheck
from .gradients import backward, grad

__all__ = [
    "backward",
    "enable_grad",
    "Function",
    "function",
    "grad",
    "gradcheck",
    "GradcheckError",
    "inference_mode",
    "is_grad_enabled",
    "is_inference_mode_enabled",
    "no_grad",
    "set_grad_enabled",
]
