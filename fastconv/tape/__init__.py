"""The tape: ops that are recorded, and gradients by walking back over them.

    op.py        Op, the base of every differentiable op; apply() records it
    walk.py      backward(): the nodes from the newest to the oldest
    mode.py      whether ops are recorded: no_grad, enable_grad, ...
    hooks.py     users' functions that see gradients on the way
    grad_fn.py   what users see of a node

What the tape knows of a tensor is in ``variable.py``.
"""

from .mode import enable_grad, inference_mode, is_grad_enabled, is_inference_mode_enabled, no_grad
from .mode import set_grad_enabled as set_grad_enabled
from .op import Op
from .walk import backward
