"""``fc.autograd.grad`` and ``fc.autograd.backward``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from fastconv.checks import check
from fastconv.tape import calls
from fastconv.tensor import Tensor
from fastconv.typing import Operand

#: One tensor or several.
Tensors: TypeAlias = Tensor | Sequence[Tensor]


def backward(
    tensors: Tensors,
    grad_tensors: Operand | Sequence[Operand | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensors | None = None,
) -> None:
    """Add the gradient of the sum of ``tensors`` to the ``.grad`` of every leaf.

    Parameters
    ----------
    tensors : Tensor or sequence of Tensor
    grad_tensors : Tensor or sequence of Tensor, optional
        The upstream gradient of each; may be left out, or None, for tensors of one element (then 1).
    retain_graph : bool, optional
        Keep what backward needs for a second call.
    create_graph : bool
        Only False: the backward pass is not recorded.
    inputs : Tensor or sequence of Tensor, optional
        Only the ``.grad`` of these changes.

    Raises
    ------
    RuntimeError
        As :meth:`Tensor.backward`.
    NotImplementedError
        If ``create_graph`` is True.

    Examples
    --------
    >>> w = fc.tensor([1.0, 2.0], requires_grad=True)
    >>> fc.autograd.backward([w.sum(), (w * w).sum()])
    >>> w.grad
    tensor([3., 5.])
    """
    calls.backward("autograd.backward", tensors, grad_tensors, retain_graph, create_graph, inputs)


def grad(
    outputs: Tensors,
    inputs: Tensors,
    grad_outputs: Operand | Sequence[Operand | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor, ...]:
    """The gradient of the sum of ``outputs`` with respect to each of ``inputs``; no ``.grad`` changes.

    Only the part of the graph between outputs and inputs is visited.

    Parameters
    ----------
    outputs, inputs : Tensor or sequence of Tensor
        Inputs may be leaves or results of ops.
    grad_outputs : Tensor or sequence of Tensor, optional
        The upstream gradient of each output; may be left out, or None, for outputs of one element (then 1).
    retain_graph : bool, optional
        Keep what backward needs for a second call.
    create_graph, is_grads_batched : bool
        Only False: the backward pass is not recorded, and takes one gradient at a time.
    allow_unused : bool, optional
        None instead of an error for inputs that have no part in the outputs.
    materialize_grads : bool
        Zeros for such inputs.

    Returns
    -------
    tuple of Tensor
        One for each input.

    Raises
    ------
    RuntimeError
        If an input is unused or requires no gradient, or as :meth:`Tensor.backward`.
    NotImplementedError
        If ``create_graph`` or ``is_grads_batched`` is True.

    Examples
    --------
    >>> w = fc.tensor([1.0, 2.0], requires_grad=True)
    >>> fc.autograd.grad((w * w).sum(), w)
    (tensor([2., 4.]),)
    """
    calls.check_create_graph("autograd.grad", create_graph)
    check(
        not is_grads_batched,
        "autograd.grad",
        "is_grads_batched=True is not supported; call it once for each gradient, with retain_graph=True",
        NotImplementedError,
    )
    found: Any = calls.grad(
        "autograd.grad", outputs, inputs, grad_outputs, retain_graph, allow_unused, materialize_grads
    )
    return found
