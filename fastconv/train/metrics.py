"""Loss and accuracy: :func:`evaluate`, :func:`confusion_matrix`, and the counts that both and ``fit`` use."""

# NumPy declares some methods, such as reshape, without types.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import isnan, nan
from typing import Any, TypeAlias

import numpy as np

from .. import nn
from ..checks import check
from ..creation import as_tensor
from ..data.collate import pairs
from ..devices import default_device
from ..tape import no_grad
from ..tensor import Tensor
from ..typing import Array, PathLike
from . import plotting

Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]


def evaluate(net: nn.Module, loader: Iterable[Any], loss: Loss | None = None) -> tuple[float, float]:
    """Mean loss and accuracy of ``net`` over ``loader``, in evaluation mode and without gradients.

    Parameters
    ----------
    net : nn.Module
    loader : iterable of (X, y) batches
    loss : callable ``(output, y) -> scalar mean``, optional
        Cross entropy by default.

    Returns
    -------
    loss, accuracy : float
        Accuracy is NaN where ``y`` does not hold class indices.

    Raises
    ------
    ValueError
        The loader gave no batch.
    TypeError
        A batch is not a pair.
    """
    return means(*sums(net, loader, loss or nn.CrossEntropyLoss()))


def sums(net: nn.Module, loader: Iterable[Any], loss: Loss) -> tuple[float, float, int]:
    """Sums of loss and of right answers over ``loader``, and the number of examples."""
    total, right, count = 0.0, 0.0, 0
    with no_grad():
        for out, y in _outputs(net, loader):
            total += loss(out, y).item() * len(y)
            right += correct(out, y)
            count += len(y)
    return total, right, count


def means(total: float, right: float, count: float) -> tuple[float, float]:
    """Loss and accuracy from the results of :func:`sums`."""
    check(count > 0, "evaluate", "the loader gave no batch")
    return total / count, right / count


def confusion_matrix(
    net: nn.Module, loader: Iterable[Any], plot: PathLike | None = None, classes: Sequence[str] | None = None
) -> Array:
    """Count which class ``net`` predicts for the images of each class, in evaluation mode.

    Parameters
    ----------
    net : nn.Module
    loader : iterable of (X, y) batches, y of class indices
    plot : path, optional
        Draw the matrix as a PNG.
    classes : sequence of str, optional
        Names of the classes in the picture (default: their numbers).

    Returns
    -------
    int64 array, ``classes x classes``
        ``[i, j]``: images of class i taken for class j; ``trace() / sum()`` is the accuracy.

    Raises
    ------
    ValueError
        The loader gave no batch, or the net and the loader are not those of a classification.
    ImportError
        ``plot`` was given and matplotlib is not installed.
    """
    matrix: Array | None = None
    with no_grad():
        for out, target in _outputs(net, loader):
            y, k = target.numpy(), out.shape[1]
            check(
                out.ndim == 2 and y.dtype.kind in "iu",
                "confusion_matrix",
                "the net must give N x classes scores and "
                f"the loader class indices, got {out.ndim}-D and {y.dtype}",
            )
            counts = np.bincount(y * k + out.numpy().argmax(1), minlength=k * k).reshape(k, k)
            matrix = counts if matrix is None else matrix + counts
    if matrix is None:
        raise ValueError("confusion_matrix: the loader gave no batch")
    if plot is not None:
        plotting.confusion(matrix, range(len(matrix)) if classes is None else classes, plot)
    return matrix


def device_of(net: nn.Module) -> str:
    """The device of ``net``'s parameters, else of its buffers, else the one where new tensors are made."""
    return next((t.device for t in (*net.parameters(), *net.buffers())), default_device())


def _outputs(net: nn.Module, loader: Iterable[Any]) -> Iterator[tuple[Tensor, Tensor]]:
    """``(net(x), y)`` of each batch, in evaluation mode until the generator ends."""
    device = device_of(net)
    modes = [(m, m.training) for m in net.modules()]
    net.eval()
    try:
        for x, y in pairs("evaluate", loader):
            yield net(as_tensor(x).to(device)), as_tensor(y).to(device)
    finally:
        for m, training in modes:
            if m.training != training:
                m.training = training


def correct(out: Tensor, y: Tensor) -> float:
    """How many images of the batch ``out`` classifies as ``y`` says; NaN if ``y`` holds no class indices.

    With a class per pixel an image counts as the share of its pixels that are right.
    """
    if y.dtype.kind not in "iu" or out.ndim != y.ndim + 1:
        return nan
    right: Array = out.numpy().argmax(1) == y.numpy()
    return float(np.mean(right)) * len(y) if len(y) else 0.0


def none_if_nan(value: float) -> float | None:
    """An accuracy as the history holds it: None where there is none."""
    return None if isnan(value) else value
