"""Losses as layers, which are called with a prediction and a target."""

from __future__ import annotations

from typing import Any

from .. import functional as F
from ..functional.loss.base import check_reduction
from .base import FunctionLayer


class _Loss(FunctionLayer):
    """The base of losses. ``reduction`` is checked when the layer is constructed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        given = {what: self.__dict__.pop(what, None) for what in ("size_average", "reduce")}
        also = ("batchmean",) if self.function is F.kl_div else ()
        check_reduction(type(self).__name__, self.reduction, **given, also=also)


class L1Loss(_Loss, function=F.l1_loss, inputs=2, shown=(), without=("weight",)):
    """Absolute differences of input and target; see :func:`fastconv.nn.functional.l1_loss`.

    Attributes
    ----------
    reduction : {"mean", "sum", "none"}
    """


class MSELoss(_Loss, function=F.mse_loss, inputs=2, shown=(), without=("weight",)):
    """Squared differences of input and target; see :func:`fastconv.nn.functional.mse_loss`.

    Attributes
    ----------
    reduction : {"mean", "sum", "none"}
    """


class SmoothL1Loss(_Loss, function=F.smooth_l1_loss, inputs=2, shown=()):
    """A loss that is quadratic for small differences and linear for large ones.

    See :func:`fastconv.nn.functional.smooth_l1_loss`.

    Attributes
    ----------
    beta : float
        The loss is quadratic for differences below ``beta``.
    reduction : {"mean", "sum", "none"}
    """


class HuberLoss(_Loss, function=F.huber_loss, inputs=2, shown=(), without=("weight",)):
    """A loss that is quadratic for small differences and linear for large ones.

    See :func:`fastconv.nn.functional.huber_loss`.

    Attributes
    ----------
    delta : float
        The loss is quadratic for differences up to ``delta``.
    reduction : {"mean", "sum", "none"}
    """


class BCELoss(_Loss, function=F.binary_cross_entropy, inputs=2, shown=()):
    """Cross-entropy of probabilities; see :func:`fastconv.nn.functional.binary_cross_entropy`.

    Attributes
    ----------
    weight : broadcastable, optional
        Weight of each element; a buffer of the layer.
    reduction : {"mean", "sum", "none"}
    """


class KLDivLoss(_Loss, function=F.kl_div, inputs=2, shown=()):
    """Kullback-Leibler divergence of a target from log-probabilities.

    See :func:`fastconv.nn.functional.kl_div`.

    Attributes
    ----------
    log_target : bool
        Whether the target holds logarithms of probabilities too.
    reduction : {"mean", "sum", "none", "batchmean"}
    """


class PoissonNLLLoss(_Loss, function=F.poisson_nll_loss, inputs=2, shown=()):
    """Negative log-likelihood of counts; see :func:`fastconv.nn.functional.poisson_nll_loss`.

    Attributes
    ----------
    log_input, full : bool
    eps : float
    reduction : {"mean", "sum", "none"}
    """


class GaussianNLLLoss(_Loss, function=F.gaussian_nll_loss, inputs=3, shown=()):
    """Negative log-likelihood of numbers under normal distributions, called with input, target and variance.

    See :func:`fastconv.nn.functional.gaussian_nll_loss`.

    Attributes
    ----------
    full : bool
    eps : float
    reduction : {"mean", "sum", "none"}
    """


class SoftMarginLoss(_Loss, function=F.soft_margin_loss, inputs=2, shown=()):
    """``log(1 + exp(-target * input))``; see :func:`fastconv.nn.functional.soft_margin_loss`.

    Attributes
    ----------
    reduction : {"mean", "sum", "none"}
    """


class HingeEmbeddingLoss(_Loss, function=F.hinge_embedding_loss, inputs=2, shown=()):
    """``input`` where the target is 1 (similar pairs), ``max(0, margin - input)`` where it is -1.

    See :func:`fastconv.nn.functional.hinge_embedding_loss`.

    Attributes
    ----------
    margin : float
    reduction : {"mean", "sum", "none"}
    """


class MarginRankingLoss(_Loss, function=F.margin_ranking_loss, inputs=3, shown=()):
    """A loss for the order of two inputs, called with both inputs and a target of 1 or -1.

    See :func:`fastconv.nn.functional.margin_ranking_loss`.

    Attributes
    ----------
    margin : float
    reduction : {"mean", "sum", "none"}
    """


class CosineEmbeddingLoss(_Loss, function=F.cosine_embedding_loss, inputs=3, shown=()):
    """A loss for the angle between two vectors, called with both inputs and a target of 1 or -1.

    See :func:`fastconv.nn.functional.cosine_embedding_loss`.

    Attributes
    ----------
    margin : float
    reduction : {"mean", "sum", "none"}
    """


class TripletMarginLoss(_Loss, function=F.triplet_margin_loss, inputs=3, shown=()):
    """A loss that compares the distances of an anchor from a positive and from a negative example.

    See :func:`fastconv.nn.functional.triplet_margin_loss`.

    Attributes
    ----------
    margin, p, eps : float
    swap : bool
    reduction : {"mean", "sum", "none"}
    """


class TripletMarginWithDistanceLoss(_Loss, function=F.triplet_margin_with_distance_loss, inputs=3, shown=()):
    """:class:`TripletMarginLoss` with a distance function of the user.

    See :func:`fastconv.nn.functional.triplet_margin_with_distance_loss`.

    Attributes
    ----------
    distance_function : function of two Tensors, optional
    margin : float
    swap : bool
    reduction : {"mean", "sum", "none"}
    """


class MultiMarginLoss(_Loss, function=F.multi_margin_loss, inputs=2, shown=()):
    """A loss that asks for the score of the right class to be the highest, by at least a margin.

    See :func:`fastconv.nn.functional.multi_margin_loss`.

    Attributes
    ----------
    p : {1, 2}
    margin : float
    weight : (C,), optional
        Weight of each class; a buffer of the layer.
    reduction : {"mean", "sum", "none"}
    """


class MultiLabelMarginLoss(_Loss, function=F.multilabel_margin_loss, inputs=2, shown=()):
    """A loss that asks for the scores of all right classes to be higher than the others, by at least 1.

    See :func:`fastconv.nn.functional.multilabel_margin_loss`.

    Attributes
    ----------
    reduction : {"mean", "sum", "none"}
    """


class MultiLabelSoftMarginLoss(_Loss, function=F.multilabel_soft_margin_loss, inputs=2, shown=()):
    """The mean over classes of the binary cross-entropy of logits.

    See :func:`fastconv.nn.functional.multilabel_soft_margin_loss`.

    Attributes
    ----------
    weight : broadcastable, optional
        Weight of each class; a buffer of the layer.
    reduction : {"mean", "sum", "none"}
    """


class CrossEntropyLoss(_Loss, function=F.cross_entropy, inputs=2, shown=()):
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


class NLLLoss(_Loss, function=F.nll_loss, inputs=2, shown=()):
    """Negative log-likelihood of log-probabilities; see :func:`fastconv.nn.functional.nll_loss`.

    The options ``weight``, ``ignore_index`` and ``reduction`` are those of :class:`CrossEntropyLoss`.
    """


class BCEWithLogitsLoss(_Loss, function=F.binary_cross_entropy_with_logits, inputs=2, shown=()):
    """Cross-entropy of sigmoid(input) against probabilities of the same shape.

    See :func:`fastconv.nn.functional.binary_cross_entropy_with_logits`.

    Attributes
    ----------
    weight : broadcastable, optional
        Weight of each element; a buffer of the layer.
    reduction : {"mean", "sum", "none"}
    pos_weight : broadcastable, optional
        Weight of the term ``target * log(sigmoid(input))``; a buffer of the layer.
    """
