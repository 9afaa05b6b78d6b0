"""The ops of layers: convolution, pooling, normalisation, dense layers."""

# A docstring is the whole body of each method here.
# pyright: reportReturnType=false

from __future__ import annotations

from typing import Any, Protocol

from fastconv.spec import AdaptivePoolSpec, ConvSpec, PoolSpec, UnpoolSpec

from .array import Array


class LayerOps(Protocol):
    """Ops with weights or windows."""

    # ------------------------------------------------------------------------ convolution, 1-D to 3-D
    def conv_fwd(
        self,
        x: Array,
        w: Any,
        b: Array | None,
        spec: ConvSpec,
        algorithm: str | None = None,
        residual: Array | None = None,
        activation: str | tuple[str, float, float] | None = None,
    ) -> Array:
        """``y``, ``(N, C_out, out_size)``: cross-correlation of ``x`` with ``w``, plus ``b``.

        ``x`` is ``(N, C_in, in_size)``, ``b`` is ``(C_out,)``, ``w`` is ``(C_out, C_in / groups, kernel)`` or
        a result of ``conv_prepack``. ``algorithm`` is the name of the forced algorithm; with None the engine
        chooses. ``residual``, of y's shape, is added before ``activation``, which is None or ``"relu"``, is
        applied. Both are for inference, because no backward pass supports them. If the engine has a set
        ``CONV_ACTIVATIONS``, ``activation`` may also be ``(name, p, q)``: a unary op of the set and its
        numbers.
        """

    def conv_prepack(self, w: Array) -> Any:
        """The weights in the engine's own form, which ``conv_fwd`` takes instead of ``w``.

        The caller must not change ``w`` afterwards.
        """

    def conv_bwd_data(
        self,
        gy: Array,
        w: Array,
        spec: ConvSpec,
        algorithm: str | None = None,
        residual: Array | None = None,
    ) -> Array:
        """``gx``, plus ``residual`` of x's shape; it is also the forward pass of a transposed convolution."""

    def conv_bwd_weight(
        self, x: Array, gy: Array, spec: ConvSpec, algorithm: str | None = None, out: Array | None = None
    ) -> Array:
        """``gw``, of w's shape.

        ``out`` is a 1-D array of as many elements. An engine may return ``gw`` in its memory, or ignore it.
        """

    def channel_sum(self, x: Array) -> Array:
        """``(C,)``: the sum over every axis except axis 1. It is the gradient of a bias."""

    # ------------------------------------------------------------------------ pooling
    def max_pool_fwd(self, x: Array, spec: PoolSpec) -> tuple[Array, Array]:
        """``y, index``: the maximum of each window, and its flat position in the spatial plane of ``x``.

        ``index`` is int32 or int64 and has y's shape. Of several maxima it is the position of the first one.
        NaN counts as larger than every number.
        """

    def max_pool_bwd(self, gy: Array, index: Array, spec: PoolSpec | AdaptivePoolSpec) -> Array:
        """``gx``: each gradient is added at the position of its maximum."""

    def avg_pool_fwd(self, x: Array, spec: PoolSpec) -> Array:
        """``y``: the mean of each window; ``spec`` says what the sum is divided by."""

    def avg_pool_bwd(self, gy: Array, spec: PoolSpec) -> Array:
        """``gx``: each gradient is spread evenly over its window."""

    def adaptive_max_pool_fwd(self, x: Array, spec: AdaptivePoolSpec) -> tuple[Array, Array]:
        """``y, index`` as ``max_pool_fwd`` returns them; ``max_pool_bwd`` is the backward pass."""

    def adaptive_avg_pool_fwd(self, x: Array, spec: AdaptivePoolSpec) -> Array:
        """``y``: the mean of each window."""

    def adaptive_avg_pool_bwd(self, gy: Array, spec: AdaptivePoolSpec) -> Array:
        """``gx``: each gradient is spread evenly over its window."""

    def max_unpool_fwd(self, x: Array, index: Array, spec: UnpoolSpec) -> Array:
        """``y``: each element of ``x`` at the flat position ``index`` in its plane, and zeros elsewhere.

        ``index`` is int64, of x's shape, and all its positions are inside the plane of ``y``. If several
        elements have the same position, the last one is used.
        """

    def max_unpool_bwd(self, gy: Array, index: Array, spec: UnpoolSpec) -> Array:
        """``gx``: each element gets the gradient at its position in ``index``."""

    # ------------------------------------------------------------------------ normalisation
    def batch_norm_stats(self, x: Array) -> tuple[Array, Array]:
        """``mean, variance`` of each channel (axis 1), both ``(C,)``; the variance is the biased one."""

    def batch_norm_fwd(
        self,
        x: Array,
        mean: Array,
        invstd: Array,
        weight: Array | None,
        bias: Array | None,
        residual: Array | None,
        activation: str | None,
    ) -> Array:
        """``y = activation((x - mean) * invstd * weight + bias + residual)``.

        The vectors are ``(C,)``, ``residual`` has x's shape, ``activation`` is None or ``"relu"``.
        """

    def batch_norm_bwd(
        self,
        gy: Array,
        x: Array,
        y: Array | None,
        mean: Array,
        invstd: Array,
        weight: Array | None,
        training: bool,
        activation: str | None,
        with_residual: bool,
    ) -> tuple[Array, Array, Array, Array | None]:
        """``gx, gweight, gbias, gresidual``.

        ``y`` is the forward result, which is used only if there is an activation. ``training`` means that
        ``mean`` and ``invstd`` were computed from ``x``. ``gweight`` and ``gbias`` are always computed;
        ``gresidual`` is None unless ``with_residual``.
        """

    def running_step(self, running: Array, value: Array | float, keep: float, gain: float) -> None:
        """Set ``running`` to ``keep * running + gain * value``, in place; ``running`` is ``(C,)``."""

    def layer_norm_fwd(
        self, x: Array, weight: Array | None, bias: Array | None, eps: float, centered: bool = True
    ) -> tuple[Array, Array, Array]:
        """``y, mean, invstd`` of each row of ``x`` (``rows, n``); ``weight`` and ``bias`` are ``(n,)``.

        ``mean`` and ``invstd`` are ``(rows,)``. Without ``centered`` the mean is not subtracted: ``mean`` is
        0, and ``invstd`` is ``1 / sqrt(mean of x^2 + eps)``.
        """

    def layer_norm_bwd(
        self,
        gy: Array,
        x: Array,
        mean: Array,
        invstd: Array,
        weight: Array | None,
        centered: bool = True,
    ) -> tuple[Array, Array, Array]:
        """``gx, gweight, gbias``; ``mean`` and ``invstd`` are ``(rows,)``."""

    def group_norm_fwd(
        self, x: Array, groups: int, weight: Array | None, bias: Array | None, eps: float
    ) -> tuple[Array, Array, Array]:
        """``y, mean, invstd`` of each sample and group of channels of ``x`` (``N, C, ...``).

        ``weight`` and ``bias`` are ``(C,)``, ``mean`` and ``invstd`` are ``(N, groups)``.
        """

    def group_norm_bwd(
        self, gy: Array, x: Array, groups: int, mean: Array, invstd: Array, weight: Array | None
    ) -> tuple[Array, Array, Array]:
        """``gx, gweight, gbias``."""

    def local_response_norm_fwd(
        self, x: Array, size: int, alpha: float, beta: float, k: float
    ) -> tuple[Array, Array]:
        """``y, scale``: ``y = x / scale ** beta``.

        ``scale``, of x's shape, is ``k + alpha / size * (sum of x^2 over size neighbouring channels)``.
        """

    def local_response_norm_bwd(
        self, gy: Array, x: Array, scale: Array, size: int, alpha: float, beta: float
    ) -> Array:
        """``gx``."""

    # ------------------------------------------------------------------------ dense
    def matmul(self, a: Array, b: Array) -> Array:
        """``numpy.matmul`` of operands of rank 2 or more; leading axes broadcast."""

    def linear_fwd(self, x: Array, w: Array, b: Array | None) -> Array:
        """``x @ w.T + b``, ``(rows, out)``: ``x`` ``(rows, in)``, ``w`` ``(out, in)``, ``b`` ``(out,)``."""

    def linear_bwd_data(self, gy: Array, w: Array) -> Array:
        """``gx``, ``(rows, in)``."""

    def linear_bwd_weight(self, gy: Array, x: Array, out: Array | None = None) -> Array:
        """``gw``, ``(out, in)``; for ``out`` see :meth:`conv_bwd_weight`."""
