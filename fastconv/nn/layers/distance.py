"""Distance and similarity of vectors, as layers that are called with two tensors."""

from __future__ import annotations

from .. import functional as F
from .base import FunctionLayer


class CosineSimilarity(FunctionLayer, function=F.cosine_similarity, inputs=2):
    """The cosine of the angle between vectors; see :func:`fastconv.nn.functional.cosine_similarity`.

    Attributes
    ----------
    dim : int
    eps : float

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.CosineSimilarity()(fc.tensor([[1.0, 0.0]]), fc.tensor([[0.0, 2.0]])).tolist()
    [0.0]
    """


class PairwiseDistance(FunctionLayer, function=F.pairwise_distance, inputs=2):
    """The p-norm of differences; see :func:`fastconv.nn.functional.pairwise_distance`.

    Attributes
    ----------
    p, eps : float
    keepdim : bool
    """
