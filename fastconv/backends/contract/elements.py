"""Pointwise ops, and ops that combine many elements: reductions, scans, sorts, losses."""

# A docstring is the whole body of each method here.
# pyright: reportReturnType=false

from __future__ import annotations

from typing import Protocol

from .array import Array


class ElementOps(Protocol):
    """Pointwise ops, reductions, scans, sorts, softmax and losses."""

    def unary_fwd(
        self, name: str, x: Array, param: float | None = None, param2: float | None = None
    ) -> Array:
        """The op ``name`` of :data:`UNARY`; ``param`` and ``param2`` are the numbers ``p`` and ``q`` of its
        row."""

    def unary_bwd(
        self,
        name: str,
        gy: Array,
        saved: Array | None,
        param: float | None = None,
        param2: float | None = None,
    ) -> Array:
        """``gx``; ``saved`` is ``x``, ``y`` or None, as the ``saves`` of the op's row in :data:`UNARY` says.

        Only for ops whose row has a formula of the gradient.
        """

    def binary_fwd(self, name: str, a: Array | float, b: Array | float) -> Array:
        """The op ``name`` of :data:`BINARY`, with broadcasting.

        One of ``a`` and ``b`` may be a Python number. Comparisons return bools. The bitwise ops take bools
        and integers only. In the host engines a division of integers by zero raises a ZeroDivisionError.
        """

    def ternary_fwd(
        self, name: str, a: Array | float, b: Array | float, c: Array | float, param: float = 0.0
    ) -> Array:
        """The op ``name`` of :data:`TERNARY` in one pass, with broadcasting; ``param`` is its number.

        One or two of the operands may be Python numbers. All arrays have the same dtype, except that ``a`` of
        ``where`` is an array of bools. In ``where``, at least one of ``b`` and ``c`` is an array.
        """

    def reduce_fwd(
        self, name: str, x: Array, axes: tuple[int, ...], keepdims: bool, param: float | None = None
    ) -> Array:
        """The reduction ``name`` of :data:`REDUCTIONS` over ``axes``; ``param`` is the exponent of
        ``norm_p``."""

    def argmax(self, x: Array, axis: int | None, keepdims: bool) -> Array:
        """int64 positions of the first NaN, or, if there is none, of the first maximum.

        With ``axis`` None, the position is that in the flattened ``x``.
        """

    def argmin(self, x: Array, axis: int | None, keepdims: bool) -> Array:
        """int64 positions of the first NaN, or, if there is none, of the first minimum.

        With ``axis`` None, the position is that in the flattened ``x``.
        """

    def logsumexp(self, x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
        """``log(sum(exp(x)))`` over ``axes``, computed without overflow."""

    def moments(self, x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
        """``mean, variance`` over ``axes``, which are kept with extent 1; the variance is the biased one.

        Both are accurate even if the mean is large compared with the standard deviation.
        """

    def scan(
        self, name: str, x: Array, axis: int, reverse: bool = False, factor: Array | None = None
    ) -> Array:
        """``y``: the running result of ``name`` (``cumsum``, ``cumprod`` or ``logcumsumexp``) along ``axis``.

        Each element is included in its own result. With ``reverse`` the scan begins at the end of ``axis``.
        ``cumsum`` with a ``factor``, of x's shape, is ``y[i] = x[i] + factor[i] * y[i - 1]`` (``y[i + 1]``
        with ``reverse``). Integers give int64.
        """

    def extremum_scan(self, name: str, x: Array, axis: int) -> tuple[Array, Array]:
        """``values, index``: running maxima (``cummax``) or minima (``cummin``), and their int64 positions.

        The position is that of the last of equal elements. NaN counts as larger (``cummax``) or smaller
        (``cummin``) than every number.
        """

    def sort(self, x: Array, axis: int, descending: bool) -> tuple[Array, Array]:
        """``values, index``: a stable sort along ``axis``; NaN is the largest number, -0 equals 0."""

    def topk(self, x: Array, k: int, axis: int, largest: bool) -> tuple[Array, Array]:
        """``values, index``: the first ``k`` elements of ``sort(x, axis, descending=largest)``."""

    def kthvalue(self, x: Array, k: Array, axis: int) -> tuple[Array, Array]:
        """``values, index``: the k-th smallest element along ``axis`` (k from 1), whose extent becomes 1.

        ``k`` is int64 and has the shape of the results. ``index`` is the element's position in ``x``.
        """

    def softmax_fwd(self, x: Array, axis: int, log: bool) -> Array:
        """``softmax(x)`` along ``axis``; with ``log`` its logarithm."""

    def softmax_bwd(self, gy: Array, y: Array, axis: int, log: bool) -> Array:
        """``gx`` from the forward result ``y``."""

    def cross_entropy_fwd(
        self, logits: Array, target: Array, weight: Array | None, ignore_index: int, label_smoothing: float
    ) -> tuple[Array, Array]:
        """``losses, prob``: the loss of each row, ``(rows,)``, and ``softmax(logits)``.

        ``logits`` are ``(rows, classes)``, ``target`` int64 ``(rows,)``, ``weight`` ``(classes,)``. A row
        whose target is ``ignore_index`` has loss 0. The caller computes the mean over the rows.
        """

    def cross_entropy_bwd(
        self,
        grad_rows: Array,
        prob: Array,
        target: Array,
        weight: Array | None,
        ignore_index: int,
        label_smoothing: float,
    ) -> Array:
        """The gradient of ``logits``; ``grad_rows``, ``(rows,)``, is the gradient of ``losses``."""

    def pair_loss_fwd(self, name: str, x: Array, target: Array, param: float | None, reduction: str) -> Array:
        """The loss ``name`` of :data:`PAIR_LOSSES` for each pair of elements of ``x`` and ``target``.

        Both have the same shape and dtype. ``param`` is the number of the loss. With ``reduction`` ``none``
        the result is the losses, of x's shape. With ``sum`` or ``mean`` it is a 0-d array; the mean of an
        empty array is NaN.
        """

    def pair_loss_bwd(
        self, name: str, operand: int, gy: Array, x: Array, target: Array, param: float | None
    ) -> Array:
        """``gy`` times the derivative of the losses with respect to ``x`` (``operand`` 0) or ``target`` (1).

        ``gy`` has x's shape, or is a 0-d array: one number for all losses.
        """

    def dropout(self, x: Array, p: float, scale: float, seed: int, channels: bool = False) -> Array:
        """``x * scale`` where element ``i`` (in logical C order) is kept, else 0.

        With ``gy`` as ``x``, this is also the backward pass. A hash of ``(seed, i)`` decides whether an
        element is kept; ``backends/common/random_bits.py`` defines it. With ``channels``, ``i`` is the number
        of the element's channel among those of all examples (``N x C``, in C order), so whole channels are
        kept or set to zero; then ``x`` has at least 2 dimensions.
        """
