"""Parameter and Buffer: tensors that a module registers when they are assigned to an attribute."""

from __future__ import annotations

from ..creation import as_tensor
from ..tensor import Tensor
from ..typing import TensorLike


class Parameter(Tensor):
    """A leaf tensor that a :class:`Module` registers when it is assigned to an attribute.

    Parameters
    ----------
    data : Tensor or array, float32 or float64
        Wrapped without a copy; an empty tensor by default.
    requires_grad : bool
        Whether gradients are computed for it.
    """

    __slots__ = ()

    def __init__(self, data: TensorLike | None = None, requires_grad: bool = True):
        super().__init__(as_tensor([] if data is None else data), requires_grad)

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


class Buffer(Tensor):
    """A tensor that is saved and moved with the :class:`Module` it is assigned to, but not trained.

    Parameters
    ----------
    data : Tensor or array
        Wrapped without a copy; an empty tensor by default.
    persistent : bool
        Whether ``state_dict`` includes it.

    Examples
    --------
    >>> m = nn.Module()
    >>> m.mean = nn.Buffer(fc.zeros(2))
    >>> list(m.state_dict())
    ['mean']
    """

    __slots__ = ("persistent",)

    def __init__(self, data: TensorLike | None = None, *, persistent: bool = True):
        super().__init__(as_tensor([] if data is None else data))
        self.persistent = persistent

    def __repr__(self) -> str:
        return f"Buffer containing:\n{super().__repr__()}"
