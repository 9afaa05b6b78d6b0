"""Weight normalisation: a weight as the product of a length and a direction."""

from __future__ import annotations

from typing import Any, TypeVar

from fastconv.checks import check, check_axis
from fastconv.nn.hooks import hooks_of
from fastconv.nn.module import Module
from fastconv.nn.parameter import Parameter
from fastconv.tensor import Tensor

M = TypeVar("M", bound=Module)


class WeightNorm:
    """The forward pre-hook that computes the weight ``name`` from its length ``g`` and direction ``v``."""

    def __init__(self, name: str, dim: int | None) -> None:
        self.name, self.dim = name, dim

    def weight(self, module: Any) -> Tensor:
        """``g * v / norm(v)``."""
        g, v = getattr(module, f"{self.name}_g"), getattr(module, f"{self.name}_v")
        return v * (g / self.norm(v))

    def norm(self, v: Tensor) -> Tensor:
        """The norm of ``v`` over all dimensions except ``dim``; over all if ``dim`` is None."""
        dims = [i for i in range(v.ndim) if i != self.dim]
        return (v * v).sum(dims, keepdim=self.dim is not None).sqrt() if dims else abs(v)

    def __call__(self, module: Any, args: Any) -> None:
        setattr(module, self.name, self.weight(module))


def _found(module: Module, name: str) -> tuple[int, WeightNorm] | None:
    table = hooks_of(module)
    for key, (hook, _) in table.forward_pre.items() if table else ():
        if isinstance(hook, WeightNorm) and hook.name == name:
            return key, hook
    return None


def weight_norm(module: M, name: str = "weight", dim: int | None = 0) -> M:
    """Train the length and the direction of a weight separately (Salimans and Kingma 2016).

    Two parameters, ``name_g`` and ``name_v``, replace the parameter ``name``. A forward pre-hook computes the
    weight from them before every forward.

    Parameters
    ----------
    module : Module
    name : str
    dim : int or None
        There is a length for each index along this dimension. None and -1 mean one length for the whole
        weight.

    Returns
    -------
    Module
        ``module`` itself.

    Raises
    ------
    ValueError
        If ``module`` has no such parameter.
    RuntimeError
        If the parameter is normalised already.

    Examples
    --------
    >>> layer = nn.utils.weight_norm(nn.Linear(3, 2))
    >>> {n: p.shape for n, p in layer.named_parameters()}
    {'bias': (2,), 'weight_g': (2, 1), 'weight_v': (2, 3)}
    """
    check(_found(module, name) is None, "weight_norm", f"{name!r} is normalised already", RuntimeError)
    weight = dict(module.named_parameters(recurse=False)).get(name)
    if weight is None:
        raise ValueError(f"weight_norm: {type(module).__name__} has no parameter {name!r}")
    hook = WeightNorm(name, None if dim in (None, -1) else check_axis("weight_norm", dim, weight.ndim))
    delattr(module, name)
    module.register_parameter(f"{name}_g", Parameter(hook.norm(weight.detach())))
    module.register_parameter(f"{name}_v", Parameter(weight.detach()))
    setattr(module, name, hook.weight(module))
    module.register_forward_pre_hook(hook)
    return module


def remove_weight_norm(module: M, name: str = "weight") -> M:
    """Undo :func:`weight_norm`: ``name`` is one parameter again. A ValueError if it is not normalised.

    >>> layer = nn.utils.remove_weight_norm(nn.utils.weight_norm(nn.Linear(3, 2)))
    >>> [n for n, p in layer.named_parameters()]
    ['bias', 'weight']
    """
    found = _found(module, name)
    if found is None:
        raise ValueError(f"remove_weight_norm: {name!r} of {type(module).__name__} is not normalised")
    key, hook = found
    weight = hook.weight(module).detach()
    for own in (name, f"{name}_g", f"{name}_v"):
        delattr(module, own)
    setattr(module, name, Parameter(weight))
    table = hooks_of(module)
    if table is not None:
        del table.forward_pre[key]
    return module
