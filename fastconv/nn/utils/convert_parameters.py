"""The parameters of a net as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable

from fastconv.checks import check
from fastconv.functions.joining import cat
from fastconv.tensor import Tensor

from .clip_grad import listed


def _check_one_device(name: str, tensors: list[Tensor]) -> None:
    devices = {str(t.device) for t in tensors}
    check(
        len(devices) < 2,
        name,
        f"the parameters must be on one device, got {' and '.join(sorted(devices))}",
        TypeError,
    )


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All elements of ``parameters``, one after the other, as a vector. It is recorded on the tape.

    Parameters
    ----------
    parameters : iterable of Tensor

    Returns
    -------
    Tensor of one dimension

    Examples
    --------
    >>> nn.utils.parameters_to_vector([fc.ones(1, 2), fc.zeros(3)])
    tensor([1., 1., 0., 0., 0.])
    """
    found = listed("parameters_to_vector", parameters)
    check(len(found) > 0, "parameters_to_vector", "expected at least one parameter")
    _check_one_device("parameters_to_vector", found)
    return cat([p.reshape(-1) for p in found])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Overwrite the values of ``parameters`` with those of a vector from :func:`parameters_to_vector`.

    Parameters
    ----------
    vec : Tensor of one dimension
    parameters : iterable of Tensor

    Raises
    ------
    ValueError
        If the vector has another number of elements than the parameters together.
    TypeError
        If the vector and the parameters are not on one device.

    Examples
    --------
    >>> w = fc.ones(2)
    >>> nn.utils.vector_to_parameters(fc.tensor([3.0, 4.0]), [w]); w
    tensor([3., 4.])
    """
    name = "vector_to_parameters"
    check(
        isinstance(vec, Tensor),  # pyright: ignore[reportUnnecessaryIsInstance]
        name,
        f"expected a Tensor, got {type(vec).__name__}",
        TypeError,
    )
    found = listed(name, parameters)
    _check_one_device(name, [vec, *found])
    count = sum(p.numel() for p in found)
    check(
        vec.shape == (count,),
        name,
        f"the parameters have {count} elements, and the vector has shape {tuple(vec.shape)}",
    )
    start = 0
    for p in found:
        p.data[...] = vec.detach()[start : start + p.numel()].reshape(p.shape)
        start += p.numel()
