"""The tape: a record of the ops, and backpropagation along it.

    op.py        Op, the base of every differentiable op; apply() records it
    walk.py      backward(): visits the nodes from the newest to the oldest
    calls.py     checks of the arguments of backward() and grad()
    mode.py      whether ops are recorded: no_grad, enable_grad, ...
    hooks.py     users' functions that are called with gradients during the walk
    grad_fn.py   GradFn, the public view of a node

The classes Node and Variable are in ``fastconv/variable.py``.
"""

from .mode import enable_grad, inference_mode, is_grad_enabled, is_inference_mode_enabled, no_grad
from .mode import set_grad_enabled as set_grad_enabled
from .op import Op
from .walk import backward
