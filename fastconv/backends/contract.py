"""The contract between the layers above and the engines below.

An engine is a module (``numpy``, ``cpu``, ``cuda``) with a function for every method of :class:`Engine`, with
the same name, parameters and defaults. It may have those of :class:`OptionalOps` too. It reads raw arrays,
specs and numbers, never a Tensor. Every engine keeps these rules:

* Arrays have the logical shape ``N, C, [D,] [H,] W``. Strides are free on entry: read-only, sliced and
  transposed arrays are all valid. Results of rank 3 to 5 with channels may be channels-last in memory.
* Arguments arrive validated (the callers and ``spec.py`` do that). An engine writes to no argument, except in
  the ops that say so: ``setitem``, ``index_add``, ``scatter``, ``running_step``, ``optimizer_step``.
* Floats are float32 or float64. A result has the dtype of the arguments, and sums are accumulated in that
  dtype or a wider one. ``unary_fwd``, ``binary_fwd``, reductions, scans, sorts and the ops that move data
  take every real dtype: both operands arrive in one dtype (``dtypes.py`` decides which), and a number beside
  an array is one that the array's dtype can hold. Sums of bools and integers are int64.
* NaN and infinity propagate as in IEEE arithmetic; ``max`` propagates NaN.
* A batch of extent 0 is valid everywhere.
* The same arguments and the same number of threads give a bit-identical result.

In the docstrings ``gy`` is the gradient of the loss with respect to the result ``y``, ``gx`` the one with
respect to ``x``. ``tests/core/test_contract.py`` compares every engine with this file;
``docs/architecture.md`` describes how to add an op.
"""

# A docstring is the whole body of each method here.
# pyright: reportReturnType=false

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from fastconv.spec import AdaptivePoolSpec, ConvSpec, GridSampleSpec, InterpolateSpec, PoolSpec, UnpoolSpec

from .common.pair_loss import PAIR_LOSSES as PAIR_LOSSES
from .common.pointwise import BINARY as BINARY
from .common.pointwise import TERNARY as TERNARY
from .common.reduce import REDUCTIONS as REDUCTIONS
from .common.unary import UNARY as UNARY
from .select import Algorithm


class Array(Protocol):
    """An array of an engine: ``numpy.ndarray`` in ``numpy`` and ``cpu``, ``DeviceArray`` in ``cuda``.

    These attributes mean what they mean in NumPy. ``strides`` are bytes.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def strides(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def ndim(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def itemsize(self) -> int: ...
    @property
    def flags(self) -> Any: ...
    def __len__(self) -> int: ...


class Engine(Protocol):
    """The ops that every engine has."""

    CONV_ALGORITHMS: Sequence[Algorithm]  # see select.py

    # ------------------------------------------------------------------------ convolution, 1-D to 3-D
    def conv_fwd(
        self,
        x: Array,
        w: Any,
        b: Array | None,
        spec: ConvSpec,
        algorithm: str | None = None,
        residual: Array | None = None,
        relu: bool = False,
    ) -> Array:
        """``y``, ``(N, C_out, out_size)``: cross-correlation of ``x`` with ``w``, plus ``b``.

        ``x`` is ``(N, C_in, in_size)``, ``b`` is ``(C_out,)``, ``w`` is ``(C_out, C_in / groups, kernel)`` or
        what ``conv_prepack`` returned. ``algorithm`` is a name that was forced, or None to choose.
        ``residual``, of y's shape, is added before ``relu`` is applied; no backward pass knows these two, so
        they are for inference.
        """

    def conv_prepack(self, w: Array) -> Any:
        """Weights that will not change any more, as an object that ``conv_fwd`` takes in place of ``w``."""

    def conv_bwd_data(
        self,
        gy: Array,
        w: Array,
        spec: ConvSpec,
        algorithm: str | None = None,
        residual: Array | None = None,
    ) -> Array:
        """``gx``, plus ``residual`` of x's shape; also the forward pass of a transposed convolution."""

    def conv_bwd_weight(self, x: Array, gy: Array, spec: ConvSpec, algorithm: str | None = None) -> Array:
        """``gw``, of w's shape."""

    def channel_sum(self, x: Array) -> Array:
        """``(C,)``: the sum over every axis except axis 1. It is the gradient of a bias."""

    # ------------------------------------------------------------------------ pooling
    def max_pool_fwd(self, x: Array, spec: PoolSpec) -> tuple[Array, Array]:
        """``y, index``: the maximum of each window, and its flat position in the spatial plane of ``x``.

        ``index`` is int32 or int64 and has y's shape. The first maximum wins, and NaN counts as a maximum.
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
        """``y``: zeros, and each element of ``x`` at the flat position in its plane that ``index`` names.

        ``index`` is int64, of x's shape, and names places of ``y`` only. Of several elements for one place
        the last one stays.
        """

    def max_unpool_bwd(self, gy: Array, index: Array, spec: UnpoolSpec) -> Array:
        """``gx``: each element gets the gradient of its place."""

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

        ``y`` is the forward result; it is read only with an activation. ``training`` says that ``mean`` and
        ``invstd`` depend on ``x``. ``gweight`` and ``gbias`` are always computed; ``gresidual`` is None
        unless ``with_residual``.
        """

    def running_step(self, running: Array, value: Array | float, keep: float, gain: float) -> None:
        """Write ``running = keep * running + gain * value``, in place; ``running`` is ``(C,)``."""

    def layer_norm_fwd(
        self, x: Array, weight: Array | None, bias: Array | None, eps: float, centered: bool = True
    ) -> tuple[Array, Array, Array]:
        """``y, mean, invstd`` of each row of ``x`` (``rows, n``); ``weight`` and ``bias`` are ``(n,)``.

        Without ``centered`` the mean is not subtracted: ``mean`` is 0, and ``invstd`` is 1 divided by the
        root of the mean square.
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
        """``y, scale``: ``y = x / scale ** beta`` with the sum of squares over neighbouring channels.

        ``scale = k + alpha / size * (sum of x^2 over size channels)``, of x's shape.
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

    def linear_bwd_weight(self, gy: Array, x: Array) -> Array:
        """``gw``, ``(out, in)``."""

    # ------------------------------------------------------------------------ pointwise, reductions
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
        """``gx``; ``saved`` is ``x`` or ``y``, as :data:`UNARY` says.

        Only for ops whose row has a formula for it.
        """

    def binary_fwd(self, name: str, a: Array | float, b: Array | float) -> Array:
        """The op ``name`` of :data:`BINARY`, with broadcasting.

        One of ``a`` and ``b`` may be a Python number. Comparisons return bool. ``bitwise_and`` and so on are
        for bools and integers. A division of integers by zero raises ZeroDivisionError in host engines.
        """

    def ternary_fwd(
        self, name: str, a: Array | float, b: Array | float, c: Array | float, param: float = 0.0
    ) -> Array:
        """The op ``name`` of :data:`TERNARY` in one pass, with broadcasting; ``param`` is its number.

        One or two of the operands may be Python numbers. All arrays have one dtype, except for ``a`` of
        ``where``, which is an array of bools; there ``b`` or ``c`` is an array too.
        """

    def reduce_fwd(
        self, name: str, x: Array, axes: tuple[int, ...], keepdims: bool, param: float | None = None
    ) -> Array:
        """The reduction ``name`` of :data:`REDUCTIONS` over ``axes``; ``param`` is the exponent of
        ``norm_p``."""

    def argmax(self, x: Array, axis: int | None, keepdims: bool) -> Array:
        """int64 positions of the first NaN, else of the first maximum; an ``axis`` of None flattens ``x``."""

    def argmin(self, x: Array, axis: int | None, keepdims: bool) -> Array:
        """int64 positions of the first NaN, else of the first minimum; an ``axis`` of None flattens ``x``."""

    def logsumexp(self, x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
        """``log(sum(exp(x)))`` over ``axes``; nothing overflows."""

    def moments(self, x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
        """``mean, variance`` over ``axes``, which are kept with extent 1; the variance is the biased one.

        Both are accurate where the mean is large compared with the deviation.
        """

    def scan(
        self, name: str, x: Array, axis: int, reverse: bool = False, factor: Array | None = None
    ) -> Array:
        """``y``: what ``name`` (``cumsum``, ``cumprod`` or ``logcumsumexp``) gives up to each element.

        With ``reverse`` it begins at the end of ``axis``. ``cumsum`` with a ``factor``, of x's shape, is
        ``y[i] = x[i] + factor[i] * y[i - 1]`` (``y[i + 1]`` with ``reverse``). Integers give int64.
        """

    def extremum_scan(self, name: str, x: Array, axis: int) -> tuple[Array, Array]:
        """``values, index``: running maxima (``cummax``) or minima (``cummin``), and their int64 positions.

        The last of equal elements counts, and NaN is larger and smaller than every number.
        """

    def sort(self, x: Array, axis: int, descending: bool) -> tuple[Array, Array]:
        """``values, index``: a stable sort along ``axis``; NaN is the largest number, -0 equals 0."""

    def topk(self, x: Array, k: int, axis: int, largest: bool) -> tuple[Array, Array]:
        """``values, index``: the first ``k`` elements of ``sort(x, axis, descending=largest)``."""

    def kthvalue(self, x: Array, k: Array, axis: int) -> tuple[Array, Array]:
        """``values, index``: element ``k - 1`` of the sorted elements along ``axis``, whose extent becomes 1.

        ``k`` is int64 and has the shape of the results.
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
        """The gradient of ``logits``; ``grad_rows``, ``(rows,)``, is the one of ``losses``."""

    def pair_loss_fwd(self, name: str, x: Array, target: Array, param: float | None, reduction: str) -> Array:
        """The loss ``name`` of :data:`PAIR_LOSSES` of each element of ``x`` and that of ``target``.

        Both have the same shape and dtype. ``param`` is the loss's number. ``reduction`` is ``none`` (the
        losses, of x's shape), ``sum`` or ``mean`` (a 0-d array; the mean of nothing is NaN).
        """

    def pair_loss_bwd(
        self, name: str, operand: int, gy: Array, x: Array, target: Array, param: float | None
    ) -> Array:
        """``gy`` times the derivative of the losses by ``x`` (``operand`` 0) or by ``target`` (1).

        ``gy`` has x's shape, or is a 0-d array, one number for all losses.
        """

    def dropout(self, x: Array, p: float, scale: float, seed: int, channels: bool = False) -> Array:
        """``x * scale`` where element ``i`` (in logical C order) is kept, else 0; its own backward pass.

        A hash of ``(seed, i)`` decides what is kept; ``backends/common/random_bits.py`` defines it. With
        ``channels``, ``i`` is the place of the element's channel among those of all examples (``N x C``, in C
        order), so that whole channels are kept or zeroed; ``x`` has at least 2 dimensions.
        """

    # ------------------------------------------------------------------------ shape and memory
    def pad_fwd(self, x: Array, pairs: Sequence[tuple[int, int]], mode: str, value: float) -> Array:
        """Pad each axis by its pair ``(before, after)``; negative numbers crop.

        ``mode`` is ``constant`` (of ``value``), ``reflect``, ``replicate`` or ``circular``.
        """

    def pad_bwd(
        self, gy: Array, pairs: Sequence[tuple[int, int]], mode: str, in_shape: tuple[int, ...]
    ) -> Array:
        """``gx`` of ``in_shape``: an element that was copied to several places sums over them."""

    def interpolate_fwd(self, x: Array, spec: InterpolateSpec) -> Array:
        """``x`` resized to ``spec.out_size``."""

    def interpolate_bwd(self, gy: Array, spec: InterpolateSpec) -> Array:
        """``gx``, the adjoint of ``interpolate_fwd``."""

    def grid_sample_fwd(self, x: Array, grid: Array, spec: GridSampleSpec) -> Array:
        """``y``: ``x`` at the places in ``grid`` (``N, out_size, ndim``).

        A place is ``x, y[, z]``, -1 to 1 from the first to the last pixel of a dimension. A number that is
        not finite counts as -1.
        """

    def grid_sample_bwd_data(self, gy: Array, grid: Array, spec: GridSampleSpec) -> Array:
        """``gx``: each gradient is added to the pixels that its place was interpolated from."""

    def grid_sample_bwd_grid(self, gy: Array, x: Array, grid: Array, spec: GridSampleSpec) -> Array:
        """The gradient of ``grid``; 0 where ``padding_mode`` moved a place to the border."""

    def unfold(self, x: Array, spec: ConvSpec) -> Array:
        """``N, C * kh * kw, oh * ow``: the windows of a 2-D convolution as columns; rows run c, kh, kw."""

    def fold(self, cols: Array, spec: ConvSpec) -> Array:
        """The adjoint of ``unfold``, of x's shape: values of one pixel are added."""

    def getitem(self, x: Array, key: Any) -> Array:
        """NumPy indexing; a view if ``key`` has no arrays (``cuda``: and no negative steps)."""

    def setitem(self, x: Array, key: Any, value: Any) -> None:
        """Write ``x[key] = value``."""

    def index_add(self, x: Array, key: Any, value: Any) -> None:
        """Write ``x[key] += value``; an index that occurs twice adds twice."""

    def gather(self, x: Array, index: Array, axis: int) -> Array:
        """``numpy.take_along_axis``: along ``axis`` the elements that the int64 ``index`` says.

        ``index`` has the rank of ``x``; its other extents are those of ``x``, or 1 and repeat. Raises an
        IndexError where an index is negative or too large.
        """

    def scatter(self, name: str, x: Array, index: Array, value: Array, axis: int) -> None:
        """Write to the elements of ``x`` that ``gather(x, index, axis)`` reads.

        ``name`` is ``set``, or the op of :data:`BINARY` that joins the old element and the value: ``add``,
        ``mul``, ``maximum`` or ``minimum``. ``value`` has x's dtype and broadcasts to the shape of what is
        read. Values for one element are taken in their order along ``axis``, so the last one set is kept.
        Raises an IndexError like ``gather``.
        """

    def concatenate(self, xs: Sequence[Array], axis: int) -> Array:
        """Join arrays along an existing axis."""

    def reshape(self, x: Array, shape: tuple[int, ...]) -> Array:
        """The same elements in logical C order; a view where strides allow it."""

    def permute(self, x: Array, axes: tuple[int, ...]) -> Array:
        """A view with the axes in another order."""

    def as_strided(self, x: Array, shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
        """A view with these strides (bytes) that begins at the first element of ``x``."""

    def broadcast_to(self, x: Array, shape: tuple[int, ...]) -> Array:
        """A read-only view that repeats ``x``, or a copy."""

    def cast(self, x: Array, dtype: np.dtype[Any]) -> Array:
        """A fresh array of another dtype."""

    def zeros(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """A fresh array of zeros."""

    def copy(self, x: Array) -> Array:
        """A fresh array, C-contiguous or channels-last."""

    def asarray(self, x: Any) -> Array:
        """A host array as an array of this engine."""

    def to_host(self, x: Array) -> np.ndarray:
        """An array of this engine as a host array."""

    # ------------------------------------------------------------------------ optimizers
    def optimizer_step(
        self,
        name: str,
        params: Sequence[Array],
        grads: Sequence[Array],
        states: Sequence[Sequence[Array]],
        numbers: Sequence[float],
    ) -> None:
        """One step of an optimizer; writes ``params`` and ``states``.

        ``name`` is a rule of ``common/optimizers.py``, which has the formulas and the meaning of ``numbers``.
        ``states`` are as many lists as the rule keeps arrays per parameter, each equally long and equally
        shaped as ``params``.
        """


class OptionalOps(Protocol):
    """Ops that an engine may have; the layers above ask ``hasattr(engine, op)``.

    They merge several ops of :class:`Engine`, so they are not used while an observer is set. What a backward
    pass needs (``saved``) is the engine's own business.
    """

    def batch_norm_train_fwd(
        self,
        x: Array,
        weight: Array | None,
        bias: Array | None,
        residual: Array | None,
        eps: float,
        activation: str | None,
        running: tuple[Array, Array] | None,
        momentum: float,
    ) -> tuple[Array, tuple[Any, ...]]:
        """``y, saved``: ``batch_norm_stats``, ``batch_norm_fwd`` and ``running_step`` in one op.

        ``running`` is the running mean and variance; both move by ``momentum``, in place, towards the batch's
        mean and unbiased variance.
        """

    def batch_norm_train_bwd(
        self, gy: Array, saved: tuple[Any, ...], with_residual: bool
    ) -> tuple[Array, Array, Array, Array | None]:
        """``gx, gweight, gbias, gresidual``."""

    def cross_entropy_mean_fwd(
        self, logits: Array, target: Array, weight: Array | None, ignore_index: int, label_smoothing: float
    ) -> tuple[Array | None, tuple[Any, ...]]:
        """``loss, saved``: the sum of ``cross_entropy_fwd``'s losses divided by the sum of their weights.

        The loss is None where a target is not a class; the caller raises the error.
        """

    def cross_entropy_mean_bwd(self, gy: Array, saved: tuple[Any, ...]) -> Array:
        """The gradient of ``logits``."""

    def fused_chain_plan(
        self, steps: tuple[tuple[str, ConvSpec | PoolSpec | None], ...], dtype: np.dtype[Any]
    ) -> Any:
        """A plan for the first ``plan.count`` of ``steps``, or None where single ops are faster.

        A step is ``(kind, spec)``: ``conv``, ``linear`` (as a 1 x 1 ConvSpec), ``avg_pool``, ``max_pool``,
        or, without a spec, ``flatten``, ``relu``, ``sigmoid``, ``tanh``.
        """

    def fused_chain_fwd(
        self, plan: Any, x: Array, weights: Sequence[Array], biases: Sequence[Array | None], keep: bool
    ) -> tuple[Array, Any]:
        """``y, saved``; ``keep`` says that ``fused_chain_bwd`` will be called.

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

    def record(self, function: Callable[[Any], Any], x: Any) -> Callable[[Any], Any] | None:
        """``function`` (array -> array) made faster for arrays of x's shape, or None where it cannot be.

        ``function`` must take the same steps whatever the values are.
        """


class DeviceEngine(Engine, Protocol):
    """The ``cuda`` engine: what it has beside its ops."""

    Graph: Any  # a training step, recorded once and replayed
    Upload: Any  # batches on their way to the device
    memory: Any  # the pool of device memory
    device: Any  # the stream and synchronisation
    dlpack: Any  # arrays of other libraries


def signatures(protocol: type) -> dict[str, inspect.Signature]:
    """The ops of ``protocol`` and of the protocols that it extends: name -> signature, without ``self``."""
    found: dict[str, inspect.Signature] = {}
    for part in reversed(protocol.__mro__):
        for name, function in vars(part).items():
            if inspect.isfunction(function) and not name.startswith("_"):
                whole = inspect.signature(function)
                found[name] = whole.replace(parameters=list(whole.parameters.values())[1:])
    return found


#: Op -> signature, read from :class:`Engine`.
CONTRACT = signatures(Engine)
#: Op -> signature, read from :class:`OptionalOps`.
OPTIONAL = signatures(OptionalOps)
