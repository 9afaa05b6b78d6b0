"""The public view of a node of the tape: its name, and the nodes that receive its gradients."""

from __future__ import annotations

from typing import Any

from fastconv.variable import Node, Variable


class GradFn:
    """``t.grad_fn``: the op that computed a tensor. ``AccumulateGrad`` stands for a leaf.

    Two objects are equal if they stand for the same op or the same leaf.

    Examples
    --------
    >>> x = fc.ones(2, requires_grad=True)
    >>> (x * 3).grad_fn
    <MulBackward0>
    >>> (x * 3).grad_fn.next_functions
    ((<AccumulateGrad>, 0), (None, 0))
    """

    __slots__ = ("_place",)

    def __init__(self, place: Node | Variable) -> None:
        self._place = place

    @property
    def variable(self) -> Variable:
        """The leaf whose gradient is accumulated."""
        if isinstance(self._place, Node):
            raise AttributeError(f"{self.name()} has no attribute 'variable'; AccumulateGrad has")
        return self._place

    @property
    def next_functions(self) -> tuple[tuple[GradFn | None, int], ...]:
        """A pair for each argument of the op: what receives the gradient of the argument, or None, and 0.

        In PyTorch the number is the index of a result. Here it is always 0, because each result of an op with
        several results has a node of its own.
        """
        parents = self._place.parents if isinstance(self._place, Node) else ()
        return tuple((None if p is None else GradFn(p), 0) for p in parents)

    def name(self) -> str:
        """The name of the op, like PyTorch's: ``MulBackward0``."""
        if not isinstance(self._place, Node):
            return "AccumulateGrad"
        kept, function = vars_of(self._place), self._place.function
        own = getattr(function, "grad_fn_name", None)
        if own is not None:
            return own
        words = kept.get("name") or kept.get("op") or function.__name__
        return "".join(w[:1].upper() + w[1:] for w in str(words).split("_")) + "Backward0"

    def __repr__(self) -> str:
        return f"<{self.name()}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GradFn) and self._place is other._place

    def __hash__(self) -> int:
        return hash(self._place)


def vars_of(node: Node) -> dict[str, Any]:
    """The attributes that ``forward`` of the op has set on ``ctx``."""
    return node.__dict__
