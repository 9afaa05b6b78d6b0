"""Methods that concern gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from fastconv import variable
from fastconv.checks import check
from fastconv.tape import calls, hooks
from fastconv.tape.grad_fn import GradFn
from fastconv.tape.hooks import RemovableHandle
from fastconv.typing import Operand
from fastconv.variable import Variable

if TYPE_CHECKING:
    from typing_extensions import Self


class AutogradMethods(Variable):
    """Backpropagation, hooks, and the place of a tensor on the tape."""

    __slots__ = ()

    @property
    def grad_fn(self) -> GradFn | None:
        """The op that computed this tensor, if it is on the tape; None for a leaf.

        >>> fc.ones(1, requires_grad=True).exp().grad_fn
        <ExpBackward0>
        """
        return None if self.is_leaf or self.node is None else GradFn(self.node)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Set ``requires_grad`` and return the tensor."""
        self.requires_grad = requires_grad
        return self

    def detach(self) -> Self:
        """A tensor with the same memory that is not on the tape."""
        return variable.detach(self)

    def detach_(self) -> Self:
        """Take this tensor off the tape: it becomes a leaf that requires no gradient.

        Raises
        ------
        RuntimeError
            If this tensor is a view, because its history belongs to another tensor; use :meth:`detach`.
        """
        check(
            self.view_of is None,
            "detach_",
            "this tensor is a view of another one, which stays on the tape; use detach()",
            RuntimeError,
        )
        self.tracked, self.node = False, None
        return self

    def backward(
        self,
        gradient: Operand | None = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        inputs: Variable | Sequence[Variable] | None = None,
    ) -> None:
        """Compute the gradient of this tensor with respect to every leaf and add it to the leaf's ``.grad``.

        Parameters
        ----------
        gradient : Tensor or array of this shape, optional
            The upstream gradient. It may be left out for a tensor of one element, which means 1.
        retain_graph : bool, optional
            Keep what the backward pass needs, so that there can be a second one.
        create_graph : bool
            Must be False, because the backward pass is not recorded.
        inputs : Tensor or sequence of Tensor, optional
            Change the ``.grad`` of these tensors only; they may be leaves or results of ops.

        Raises
        ------
        RuntimeError
            If this tensor does not require a gradient, if ``gradient`` is missing, if the graph was freed by
            an earlier call, or if a tensor that the backward pass needs was changed in place.
        ValueError
            If ``gradient`` has another shape than this tensor.
        NotImplementedError
            If ``create_graph`` is True.

        Examples
        --------
        >>> w = fc.tensor([1.0, 2.0], requires_grad=True)
        >>> (w * w).sum().backward()
        >>> w.grad
        tensor([2., 4.])
        """
        calls.backward("backward", self, [gradient], retain_graph, create_graph, inputs)

    def retain_grad(self) -> None:
        """Keep the gradient of this tensor in ``.grad``, although it is not a leaf.

        On a leaf, which keeps its gradient always, it has no effect.

        >>> x = fc.ones(2, requires_grad=True)
        >>> y = x * 3; y.retain_grad()
        >>> y.sum().backward(); y.grad
        tensor([1., 1.])
        """
        check(self.requires_grad, "retain_grad", "this tensor does not require gradients", RuntimeError)
        if self.node is not None:
            hooks.of(self).retain(self)

    @property
    def retains_grad(self) -> bool:
        """Whether :meth:`retain_grad` was called and this tensor is not a leaf."""
        kept = self.requires_grad and self.node is not None and self.node.hooks
        return bool(kept) and kept.retained is not None

    def register_hook(self, hook: Callable[[Any], Any]) -> RemovableHandle:
        """Call ``hook`` with the gradient of this tensor in every backward pass.

        Parameters
        ----------
        hook : callable ``(gradient) -> Tensor or None``
            A Tensor replaces the gradient.

        Returns
        -------
        RemovableHandle
            Its ``remove()`` removes the hook.

        Examples
        --------
        >>> x = fc.ones(2, requires_grad=True)
        >>> handle = x.register_hook(lambda g: g * 2)
        >>> x.sum().backward(); x.grad
        tensor([2., 2.])
        """
        _check_hook("register_hook", self, hook)
        return hooks.of(self).functions.add(hook)

    def register_post_accumulate_grad_hook(self, hook: Callable[[Any], None]) -> RemovableHandle:
        """Call ``hook`` with this leaf whenever a backward pass has changed its ``.grad``.

        Parameters
        ----------
        hook : callable ``(tensor) -> None``

        Returns
        -------
        RemovableHandle
            Its ``remove()`` removes the hook.
        """
        name = "register_post_accumulate_grad_hook"
        _check_hook(name, self, hook)
        check(
            self.is_leaf,
            name,
            "this tensor is the result of an op; only leaves have such hooks",
            RuntimeError,
        )
        return hooks.of(self).after.add(hook)


def _check_hook(name: str, t: Variable, hook: Any) -> None:
    check(callable(hook), name, f"expected a function, got {hook!r:.60}", TypeError)
    check(
        t.requires_grad,
        name,
        "this tensor does not require gradients, so the hook would never be called; call requires_grad_() "
        "first",
        RuntimeError,
    )
