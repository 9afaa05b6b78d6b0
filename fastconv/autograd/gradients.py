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
        The upstream gradient of each tensor. For a tensor of one element it may be None, the default, which
        means 1.
    retain_graph : bool, optional
        Keep what the backward pass needs, so that there can be a second one.
    create_graph : bool
        Must be False, because the backward pass is not recorded.
    inputs : Tensor or sequence of Tensor, optional
        Change the ``.grad`` of these tensors only.

    Raises
    ------
    RuntimeError
        In the cases of :meth:`Tensor.backward`.
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
    """The gradient of the sum of ``outputs`` with respect to each of ``inputs``.

    Only the part of the graph between outputs and inputs is visited. The ``.grad`` of leaves does not change.

    Parameters
    ----------
    outputs, inputs : Tensor or sequence of Tensor
        Inputs may be leaves or results of ops.
    grad_outputs : Tensor or sequence of Tensor, optional
        The upstream gradient of each output. For an output of one element it may be None, the default, which
        means 1.
    retain_graph : bool, optional
        Keep what the backward pass needs, so that there can be a second one.
    create_graph, is_grads_batched : bool
        Must be False, because the backward pass is not recorded and takes one gradient at a time.
    allow_unused : bool, optional
        If True, the result is None for an input that the outputs do not depend on. By default this is an
        error.
    materialize_grads : bool
        If True, the result for such an input is zeros.

    Returns
    -------
    tuple of Tensor
        One for each input.

    Raises
    ------
    RuntimeError
        If an input is unused or requires no gradient, and in the cases of :meth:`Tensor.backward`.
    ValueError
        If ``materialize_grads`` is True and ``allow_unused`` is False.
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
