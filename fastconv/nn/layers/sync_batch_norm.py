"""Batch normalisation over the batches of all ranks of a distributed run."""

from __future__ import annotations

from typing import Any, TypeVar

from ... import distributed
from ...checks import check
from ...tensor import Tensor
from ...typing import DType, TensorLike
from ..functional.batch_norm import batch_norm_then
from ..functional.sync_batch_norm import sync_batch_norm_then
from ..module import Module
from .batch_norm import BatchNorm1d, BatchNorm2d, BatchNorm3d, BatchNormBase

M = TypeVar("M", bound=Module)


def _no_group(name: str, process_group: Any) -> None:
    check(
        process_group is None,
        name,
        f"process groups are not supported, process_group must be None, got {process_group!r:.60}",
        TypeError,
    )


class SyncBatchNorm(BatchNormBase):
    """Batch normalisation with mean and variance of the batches of all ranks.

    In evaluation, and where there is one rank, it computes the same as ``BatchNorm1d``, ``BatchNorm2d`` and
    ``BatchNorm3d``. In training all ranks must call it the same number of times.

    Parameters
    ----------
    num_features, eps, momentum, affine, track_running_stats, device, dtype
        Those of :class:`BatchNorm2d`.
    process_group : None
        PyTorch's argument; the ranks are always all ranks.
    bias, activation
        Those of :class:`BatchNorm2d`.

    Raises
    ------
    TypeError
        ``process_group`` is given.

    Examples
    --------
    >>> nn.SyncBatchNorm(8)(fc.zeros(2, 8, 5, 5)).shape
    (2, 8, 5, 5)
    """

    ranks = (2, 3, 4, 5)

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: None = None,
        device: str | None = None,
        dtype: DType | None = None,
        *,
        bias: bool = True,
        activation: str | None = None,
    ) -> None:
        _no_group("SyncBatchNorm", process_group)
        super().__init__(
            num_features,
            eps,
            momentum,
            affine,
            track_running_stats,
            device,
            dtype,
            bias=bias,
            activation=activation,
        )

    def forward(self, x: TensorLike, residual: TensorLike | None = None) -> Tensor:
        """``activation((x - mean) / sqrt(var + eps) * weight + bias + residual)``."""
        together = self.training and distributed.world_size() > 1
        function = sync_batch_norm_then if together else batch_norm_then
        return self.normalised(x, residual, self.activation, function)

    @classmethod
    def convert_sync_batchnorm(cls, module: M, process_group: None = None) -> M | SyncBatchNorm:
        """``module`` with a SyncBatchNorm in the place of each BatchNorm; parameters and buffers are shared.

        Parameters
        ----------
        module : Module
            Its submodules are replaced. If it is a BatchNorm itself, the result is a new module.
        process_group : None

        Examples
        --------
        >>> nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(nn.BatchNorm2d(3)))
        Sequential(
          (0): SyncBatchNorm(3, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)
        )
        """
        _no_group("SyncBatchNorm.convert_sync_batchnorm", process_group)
        made: dict[Any, Any] = {}
        for name, m in list(module.named_modules(remove_duplicate=False)):
            if type(m) in (BatchNorm1d, BatchNorm2d, BatchNorm3d):
                made[m] = made.get(m) or cls._like(m)
                if m is not module:
                    module.set_submodule(name, made[m])
        return made.get(module, module)

    @classmethod
    def _like(cls, norm: Any) -> SyncBatchNorm:
        """A SyncBatchNorm with the options, the parameters and the buffers of ``norm``."""
        new = cls(
            norm.num_features,
            norm.eps,
            norm.momentum,
            norm.affine,
            norm.track_running_stats,
            activation=norm.activation,
        )
        new.weight, new.bias = norm.weight, norm.bias
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            setattr(new, name, getattr(norm, name))
        new.train(norm.training)
        return new
