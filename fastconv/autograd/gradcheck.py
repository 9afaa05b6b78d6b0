"""``fc.autograd.gradcheck``: derivatives from the tape, compared with finite differences."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv.checks import check, number
from fastconv.dtypes import FLOAT64
from fastconv.tape import no_grad
from fastconv.tensor import Tensor

from .gradients import grad


class GradcheckError(RuntimeError):
    """Derivatives that do not agree."""


def gradcheck(
    func: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
) -> bool:
    """Compare the derivatives of ``func`` with central differences, element by element.

    Parameters
    ----------
    func : callable
        Takes ``inputs`` and returns a Tensor or a tuple of Tensors.
    inputs : Tensor or sequence
        The arguments of ``func``. Tensors that require gradients are checked; they should be float64, else
        there is a warning.
    eps : float
        The step: each element is changed by ``eps`` and by ``-eps``.
    atol, rtol : float
        Derivatives ``a`` and differences ``n`` agree if ``|a - n| <= atol + rtol * |n|``.
    raise_exception : bool
        If they do not agree, True raises an error and False returns False.
    nondet_tol : float
        The largest difference allowed between the results of two backward passes.

    Returns
    -------
    bool
        Whether they agree.

    Raises
    ------
    GradcheckError
        The derivatives do not agree, or a second backward pass gives different ones.
    ValueError
        No input requires a gradient, or no output does.

    Examples
    --------
    >>> x = fc.rand(3, dtype="float64", requires_grad=True)
    >>> fc.autograd.gradcheck(lambda t: t.exp() * t, (x,))
    True
    """
    eps = number("gradcheck", "eps", eps)
    args = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    checked = [(i, a) for i, a in enumerate(args) if isinstance(a, Tensor) and a.requires_grad]
    check(len(checked) > 0, "gradcheck", "expected at least one input that requires a gradient")
    for i, a in checked:
        if a.dtype != FLOAT64:
            warnings.warn(
                f"gradcheck: input {i} is {a.dtype}; differences are exact enough in float64 only",
                stacklevel=2,
            )
    first, second = (_jacobians(func, args, [x for _, x in checked]) for _ in range(2))
    check(len(first) > 0, "gradcheck", "no output requires a gradient")
    problem = ""
    for (i, x), mine, again in zip(checked, zip(*first.values()), zip(*second.values())):
        for o, a, b, n in zip(first, mine, again, _differences(func, args, x, eps)):
            if not np.allclose(a, b, rtol=0, atol=nondet_tol):
                problem = f"two backward passes give different derivatives of output {o} by input {i}"
            elif not np.allclose(a, n, rtol=rtol, atol=atol):
                problem = (
                    f"derivatives of output {o} by input {i} do not agree; a row for each element of the "
                    f"input\ndifferences:\n{n}\nderivatives:\n{a}"
                )
    if problem and raise_exception:
        raise GradcheckError(f"gradcheck: {problem}")
    return not problem


def _outputs(func: Callable[..., Any], args: list[Any]) -> list[tuple[int, Tensor]]:
    """The outputs that require gradients, each with its position among all outputs."""
    result = func(*args)
    result = result if isinstance(result, (list, tuple)) else (result,)
    return [(i, y) for i, y in enumerate(result) if isinstance(y, Tensor) and y.requires_grad]


def _jacobians(
    func: Callable[..., Any], args: list[Any], inputs: list[Tensor]
) -> dict[int, list[npt.NDArray[Any]]]:
    """For each output, under its position, a matrix of derivatives for each of ``inputs``.

    A matrix has a row for each element of the input and a column for each element of the output.
    """
    found: dict[int, list[npt.NDArray[Any]]] = {}
    for o, y in _outputs(func, args):
        found[o] = [np.zeros((x.numel(), y.numel()), x.dtype) for x in inputs]
        for k in range(y.numel()):
            seed = np.zeros(y.shape, y.dtype)
            seed.flat[k] = 1
            grads = grad(y, inputs, seed, retain_graph=True, materialize_grads=True)
            for matrix, g in zip(found[o], grads):
                matrix[:, k] = g.numpy().reshape(-1)
    return found


def _differences(func: Callable[..., Any], args: list[Any], x: Tensor, eps: float) -> list[Any]:
    """For each output, the matrix of central differences: a row for each element of ``x``, a column for each
    element of the output."""
    rows: list[list[npt.NDArray[Any]]] = []
    for at in np.ndindex(x.shape):
        before = x.data[at].item()
        ends: list[list[npt.NDArray[Any]]] = []
        for moved in (before + eps, before - eps):
            with no_grad():
                x.data[at] = moved
            ends.append([y.numpy().reshape(-1).copy() for _, y in _outputs(func, args)])
        with no_grad():
            x.data[at] = before
        rows.append([(up - down) / (2 * eps) for up, down in zip(*ends)])
    return [np.array(column).reshape(x.numel(), -1) for column in zip(*rows)]
