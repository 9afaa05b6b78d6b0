"""Losses as layers: called with a prediction and a target."""

from __future__ import annotations

from .. import functional as F
from .base import FunctionLayer


class MSELoss(FunctionLayer, function=F.mse_loss, inputs=2, shown=()):
    """Squared differences of input and target; see :func:`fastconv.nn.functional.mse_loss`.

    Attributes
    ----------
    reduction : {"mean", "sum", "none"}
    """


class CrossEntropyLoss(FunctionLayer, function=F.cross_entropy, inputs=2, shown=()):
    """Cross-entropy of softmax(input) against labels; see :func:`fastconv.nn.functional.cross_entropy`.

    The input holds logits, ``N x C`` or ``N x C x d1 ..``; the target holds integer labels without the class
    axis, or probabilities of the input's shape.

    Attributes
    ----------
    weight : (C,), optional
        Weight of each class; a buffer of the layer.
    ignore_index : int
        Elements with this label do not count.
    reduction : {"mean", "sum", "none"}
    label_smoothing : float in [0, 1]

    Examples
    --------
    >>> import fastconv as fc
    >>> round(fc.nn.CrossEntropyLoss()(fc.zeros(2, 10), fc.tensor([3, 7])).item(), 4)
    2.3026
    """


class NLLLoss(FunctionLayer, function=F.nll_loss, inputs=2, shown=()):
    """Negative log-likelihood of log-probabilities; see :func:`fastconv.nn.functional.nll_loss`.

    The options ``weight``, ``ignore_index`` and ``reduction`` are those of :class:`CrossEntropyLoss`.
    """


class BCEWithLogitsLoss(FunctionLayer, function=F.binary_cross_entropy_with_logits, inputs=2, shown=()):
    """Cross-entropy of sigmoid(input) against probabilities of the same shape.

    See :func:`fastconv.nn.functional.binary_cross_entropy_with_logits`.

    Attributes
    ----------
    weight : broadcastable, optional
        Weight of each element; a buffer of the layer.
    reduction : {"mean", "sum", "none"}
    pos_weight : broadcastable, optional
        Weight of the positive part; a buffer of the layer.
    """
