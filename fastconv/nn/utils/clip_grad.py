"""Clipping the gradients of a net by their norm or by value, in place."""

# Users' arguments are checked at run time, although by the declared types some checks look unnecessary.
# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf, isfinite
from typing import Any, TypeAlias

from fastconv import backends, inplace
from fastconv.checks import check, check_float, number
from fastconv.functions.joining import stack
from fastconv.ops.reduce import norm_op
from fastconv.tape import no_grad
from fastconv.tensor import Tensor

#: One tensor, or several.
Tensors: TypeAlias = Tensor | Iterable[Tensor]


def listed(name: str, tensors: Any) -> list[Tensor]:
    """One tensor or several as a list, checked; errors name the function ``name``."""
    if isinstance(tensors, Tensor):
        return [tensors]
    check(
        isinstance(tensors, Iterable) and not isinstance(tensors, (str, bytes)),
        name,
        f"expected a Tensor or several, got {type(tensors).__name__}",
        TypeError,
    )
    found: list[Any] = list(tensors)
    for i, t in enumerate(found):
        check(
            isinstance(t, Tensor), name, f"expected Tensors, got {type(t).__name__} at index {i}", TypeError
        )
    return found


def _gradients(name: str, parameters: Any) -> list[Tensor]:
    return [p.grad.detach() for p in listed(name, parameters) if p.grad is not None]


@no_grad()
def get_total_norm(
    tensors: Tensors, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: bool | None = None
) -> Tensor:
    """The norm of all elements of ``tensors``, as if they were one vector.

    Parameters
    ----------
    tensors : Tensor or iterable of Tensor
    norm_type : float
        The exponent of the norm; ``inf`` gives the largest absolute value.
    error_if_nonfinite : bool
        Raise an error if the norm is NaN or infinite.
    foreach : bool, optional
        Accepted, without effect.

    Returns
    -------
    Tensor of no dimensions

    Raises
    ------
    RuntimeError
        With ``error_if_nonfinite``, if the norm is NaN or infinite.

    Examples
    --------
    >>> nn.utils.get_total_norm([fc.tensor([3.0]), fc.tensor([0.0, 4.0])])
    tensor(5.)
    """
    return _total_norm("get_total_norm", listed("get_total_norm", tensors), norm_type, error_if_nonfinite)


def _total_norm(name: str, tensors: list[Tensor], norm_type: Any, error_if_nonfinite: bool) -> Tensor:
    p = number(name, "norm_type", inf if norm_type == "inf" else norm_type)
    if not tensors:
        return Tensor(0.0)
    op, param = norm_op(p)
    norms: list[Tensor] = []
    for t in tensors:  # by the engine itself, because a net has many small gradients
        check_float(name, tensors=t)
        axes = tuple(range(t.ndim))
        norms.append(Tensor(t.engine.reduce_fwd(op, t.array, axes, False, param)) if t.numel() else t.norm(p))
    total = stack([n.to(tensors[0].device) for n in norms]).norm(p)
    if error_if_nonfinite:
        check(
            isfinite(total.item()),
            name,
            f"the norm of order {p:g} is {total.item()}; error_if_nonfinite=False accepts it",
            RuntimeError,
        )
    return total


def _change(name: str, rule: str, gradients: Sequence[Tensor], *numbers: float) -> None:
    """Change ``gradients`` in place by a rule of the engine's ``optimizer_step``: ``scale`` or ``clamp``.

    The gradients of one device and dtype are changed together.
    """
    for kind in {(g.device, g.dtype) for g in gradients}:
        own = [g for g in gradients if (g.device, g.dtype) == kind]
        for g in own:
            inplace.begin(g, name, ())
        arrays = [g.array for g in own]
        own[0].engine.optimizer_step(rule, arrays, arrays, (), (0.0, 0.0, 1.0, *numbers))
        for g in own:
            inplace.changed(g, None)


@no_grad()
def clip_grads_with_norm_(
    parameters: Tensors, max_norm: float, total_norm: Tensor | float, foreach: bool | None = None
) -> None:
    """Scale the gradients of ``parameters`` in place, if ``total_norm`` is above ``max_norm``.

    The factor is ``max_norm / total_norm``.

    Parameters
    ----------
    parameters : Tensor or iterable of Tensor
    max_norm : float
    total_norm : Tensor or float
        The norm of all gradients, from :func:`get_total_norm`.
    foreach : bool, optional
        Accepted, without effect.
    """
    name = "clip_grads_with_norm_"
    _scale(name, _gradients(name, parameters), max_norm, total_norm)


def _scale(name: str, gradients: list[Tensor], max_norm: Any, total_norm: Any) -> None:
    limit = number(name, "max_norm", max_norm)
    if isinstance(total_norm, Tensor) and total_norm.numel() == 1:
        scale = limit / (total_norm.reshape(()) + 1e-6)
        if backends.recording.get():  # a recorded step reads no values on the host
            for g in gradients:
                g.mul_(scale.clamp(max=1.0).to(g.device))
            return
        factor = scale.item()
    else:
        factor = limit / (number(name, "total_norm", total_norm) + 1e-6)
    if gradients and not factor >= 1:  # also if the factor is NaN, so that the gradients show it
        _change(name, "scale", gradients, factor)


@no_grad()
def clip_grad_norm_(
    parameters: Tensors,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale the gradients of ``parameters`` in place, so that their norm is at most ``max_norm``.

    The norm is that of all gradients as one vector (Pascanu et al. 2013).

    Parameters
    ----------
    parameters : Tensor or iterable of Tensor
        Parameters without a gradient are left out.
    max_norm : float
    norm_type : float
        The exponent of the norm; ``inf`` gives the largest absolute value.
    error_if_nonfinite : bool
        Raise an error if the norm is NaN or infinite. By default the gradients then become NaN or 0.
    foreach : bool, optional
        Accepted, without effect: the gradients are always scaled together.

    Returns
    -------
    Tensor of no dimensions
        The norm before the scaling.

    Raises
    ------
    RuntimeError
        With ``error_if_nonfinite``, if the norm is NaN or infinite; the gradients are not changed.

    Examples
    --------
    >>> w = fc.tensor([1.0, 1.0], requires_grad=True)
    >>> (w * fc.tensor([3.0, 4.0])).sum().backward()
    >>> nn.utils.clip_grad_norm_([w], max_norm=1.0), w.grad
    (tensor(5.), tensor([0.6, 0.8]))
    """
    gradients = _gradients("clip_grad_norm_", parameters)
    total = _total_norm("clip_grad_norm_", gradients, norm_type, error_if_nonfinite)
    _scale("clip_grad_norm_", gradients, max_norm, total)
    return total


@no_grad()
def clip_grad_value_(parameters: Tensors, clip_value: float, foreach: bool | None = None) -> None:
    """Clamp every element of the gradients of ``parameters`` to ``[-clip_value, clip_value]``, in place.

    Parameters
    ----------
    parameters : Tensor or iterable of Tensor
    clip_value : float
    foreach : bool, optional
        Accepted, without effect.

    Examples
    --------
    >>> w = fc.tensor([1.0, 1.0], requires_grad=True)
    >>> (w * fc.tensor([3.0, -4.0])).sum().backward()
    >>> nn.utils.clip_grad_value_(w, 1.0); w.grad
    tensor([ 1., -1.])
    """
    limit = number("clip_grad_value_", "clip_value", clip_value)
    gradients = _gradients("clip_grad_value_", parameters)
    if gradients:
        _change("clip_grad_value_", "clamp", gradients, -limit, limit)
