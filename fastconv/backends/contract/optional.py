"""Ops that an engine may have."""

# A docstring is the whole body of each method here.
# pyright: reportReturnType=false

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from fastconv.spec import ConvSpec, PoolSpec

from .array import Array


class OptionalOps(Protocol):
    """Ops that an engine may have; callers check ``hasattr(engine, op)``.

    They merge several ops of :class:`Engine`, so they are not used while an observer is set. The engine alone
    decides what ``saved``, the data for a backward pass, contains.
    """

    def batch_norm_train_fwd(
        self,
        x: Array,
        weight: Array | None,
        bias: Array | None,
        residual: Array | None,
        eps: float,
        activation: str | tuple[str, float, float] | None,
        running: tuple[Array, Array] | None,
        momentum: float,
    ) -> tuple[Array, tuple[Any, ...]]:
        """``y, saved``: ``batch_norm_stats``, ``batch_norm_fwd`` and ``running_step`` in one op.

        If the engine has a set ``BATCH_NORM_ACTIVATIONS``, ``activation`` may also be ``(name, p, q)``: a
        unary op of the set and its numbers. Then there is no residual.

        ``running`` is the running mean and variance, both ``(C,)``. They are updated in place to
        ``(1 - momentum) * running + momentum * value``, where the value is the batch's mean or its unbiased
        variance.
        """

    def batch_norm_train_bwd(
        self, gy: Array, saved: tuple[Any, ...], with_residual: bool
    ) -> tuple[Array, Array, Array, Array | None]:
        """``gx, gweight, gbias, gresidual``."""

    def batch_norm_train_stats(self, saved: tuple[Any, ...]) -> tuple[Array, Array]:
        """``mean, invstd`` of the batch, both ``(C,)``: what ``batch_norm_bwd`` needs."""

    def conv_arrange(self, w: Array) -> Array:
        """``w`` with its memory in the order in which the passes of a convolution read weights.

        Any pass takes the result in place of ``w`` and need not rearrange it. It is ``w`` itself if the order
        is right already.
        """

    def in_memory_order(self, x: Array, order: tuple[int, ...]) -> Array:
        """``x`` in dense memory whose slowest axis is ``order[0]``; ``x`` itself if it is that already."""

    def cross_entropy_mean_fwd(
        self, logits: Array, target: Array, weight: Array | None, ignore_index: int, label_smoothing: float
    ) -> tuple[Array | None, tuple[Any, ...]]:
        """``loss, saved``: the sum of ``cross_entropy_fwd``'s losses divided by the sum of their weights.

        The loss is None if a target is not a valid class; then the caller raises the error.
        """

    def cross_entropy_mean_bwd(self, gy: Array, saved: tuple[Any, ...]) -> Array:
        """The gradient of ``logits``."""

    def nll_mean_fwd(
        self, logp: Array, target: Array, weight: Array | None, ignore_index: int
    ) -> tuple[Array | None, tuple[Any, ...]]:
        """``loss, saved``: the mean negative log-likelihood; as ``cross_entropy_mean_fwd``."""

    def nll_mean_bwd(self, gy: Array, saved: tuple[Any, ...]) -> Array:
        """The gradient of ``logp``."""

    def fused_chain_plan(
        self, steps: tuple[tuple[str, ConvSpec | PoolSpec | None], ...], dtype: np.dtype[Any]
    ) -> Any:
        """A plan for the first ``plan.count`` of ``steps``, or None if single ops are faster.

        A step is ``(kind, spec)``: ``conv``, ``linear`` (as a 1 x 1 ConvSpec), ``avg_pool``, ``max_pool``,
        or, without a spec, ``flatten``, ``relu``, ``sigmoid``, ``tanh``.
        """

    def fused_chain_fwd(
        self, plan: Any, x: Array, weights: Sequence[Array], biases: Sequence[Array | None], keep: bool
    ) -> tuple[Array, Any]:
        """``y, saved``; ``keep`` means that ``fused_chain_bwd`` will be called. Else ``saved`` is None.

        ``weights`` and ``biases`` are those of the plan's convolutions and dense layers, in order.
        """

    def fused_chain_bwd(
        self,
        plan: Any,
        gy: Array,
        saved: Any,
        weights: Sequence[Array],
        needs_x: bool,
        needs_weights: Sequence[bool],
        needs_biases: Sequence[bool],
    ) -> tuple[Array | None, list[Array | None], list[Array | None]]:
        """``gx, gweights, gbiases``; None where the gradient is not needed."""

    def interleave(self, x: Array, y: Array) -> Array:
        """``N x 2 C x spatial``, the channels of ``x`` and ``y``, both ``N x C x spatial``, in turn."""

    def max_pool_values(self, x: Array, spec: PoolSpec) -> Array:
        """The maxima that ``max_pool_fwd`` returns, or with an adaptive spec ``adaptive_max_pool_fwd``."""

    def separable_pays(
        self,
        expand: ConvSpec | None,
        depthwise: ConvSpec,
        project: ConvSpec | None,
        dtype: np.dtype[Any],
    ) -> bool:
        """Whether ``separable_fwd`` of layers with these specs is faster than the layers one by one."""

    def separable_fwd(
        self,
        x: Array,
        expand: tuple[Any, ...] | None,
        depthwise: tuple[Any, ...],
        project: tuple[Any, ...] | None,
        residual: Array | None,
    ) -> Array:
        """A 1x1 convolution, a depthwise one and a 1x1 one, of two dimensions, as one op.

        A layer is ``(weight, bias or None, spec, activation)``, as for ``conv_fwd``; one of the 1x1 layers
        may be None. ``residual`` is added before the activation of the last layer. The depthwise layer has
        one filter for each channel, and the 1x1 layers have stride 1, no padding and one group.
        """

    def conv_transpose_pays(self, spec: ConvSpec, dtype: np.dtype[Any]) -> bool:
        """Whether ``conv_transpose_fwd`` can compute a layer, and is faster than its parts."""

    def conv_transpose_fwd(
        self,
        x: Array,
        w: Array,
        b: Array | None,
        spec: ConvSpec,
        activation: str | tuple[str, float, float] | None,
    ) -> Array:
        """``conv_bwd_data(x, w, spec)``, plus a bias for each channel, then an activation, as one op.

        ``w`` may come from ``conv_prepack``.
        """

    def gated_conv_pays(self, spec: ConvSpec, dtype: np.dtype[Any]) -> bool:
        """Whether ``gated_conv_fwd`` is faster than the product and the convolution."""

    def gated_conv_fwd(self, x: Array, gate: Array, layer: tuple[Any, ...], residual: Array | None) -> Array:
        """A 1x1 convolution of ``x * gate``, where ``gate`` is ``N x C_in x 1 ...``, by one op.

        ``layer`` and ``residual`` are as for ``separable_fwd``.
        """

    def normed_conv_pays(self, spec: ConvSpec, dtype: np.dtype[Any]) -> bool:
        """Whether ``normed_conv_fwd`` is faster than the norm and the convolution."""

    def normed_conv_fwd(
        self, x: Array, norm: tuple[Any, ...], layer: tuple[Any, ...], residual: Array | None
    ) -> Array:
        """A 1x1 convolution of ``batch_norm_fwd(x, *vectors, None, activation)`` by one op.

        ``norm`` is ``(*vectors, activation)``, where ``vectors`` are mean, invstd, weight and bias, and the
        last two may be None. ``layer`` and ``residual`` are as for ``separable_fwd``.
        """

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """An array ``N x C x spatial`` without values, for the two ops that follow to write to.

        The engine also has two sets of ops: ``WRITES_SLICES``, whose results may be a part of the channels of
        such an array, and ``READS_SLICES``, which read such a part as fast as another array.
        """

    def result_into(self, target: Array, channels: tuple[int, int], op: str, args: tuple[Any, ...]) -> Array:
        """``target[:, first:end]`` after the result of ``op`` of ``args`` was written there.

        ``channels`` is ``(first, end)``.
        """

    def concatenate_into(self, target: Array, channels: tuple[int, int], parts: Sequence[Array]) -> Array:
        """``target[:, first:end]`` after ``parts`` were written there, one behind the other.

        ``channels`` is ``(first, end)``. Parts that lie at their place are not copied.
        """

    def host_call(self, function: Callable[..., None], *arrays: Array) -> None:
        """``function(True, *arrays)``, which may write to the arrays.

        A recorded step calls it in each replay. While the step is recorded, it is called as ``function(False,
        *arrays)``, and must not do what counts, such as sending something.
        """

    def record(
        self, function: Callable[..., Any], engine: Any, inputs: Sequence[Array]
    ) -> Callable[..., Any] | None:
        """A faster version of ``function`` for arrays of the inputs' shapes, or None if that is not possible.

        ``function(engine, *arrays)`` returns an array or a structure of arrays. It must call the same ops of
        its ``engine``, by position, in the same order whatever the values of the arrays are, and compute
        nothing without it. The result takes the arrays alone. ``engine`` is the engine itself.
        """
