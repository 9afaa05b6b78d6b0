"""A net that is trained on several ranks, each with its own part of every batch."""

# Arguments of users are checked when they arrive, whatever their declared types say.
# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Any

from ... import distributed
from ...checks import check
from ...distributed.launcher import load_mpi
from ...distributed.world import world
from ...tape import is_grad_enabled
from ..module import Module
from .agreement import Copies, check_supported, describe, refuse_if_different
from .reducer import Reducer, Reduction

MIB = 1 << 20
#: MiB of the first and the last bucket, so that transfers begin early and little is sent after the backward
#: pass; and of the others.
FIRST_MIB, CAP_MIB = 1.0, 25.0


class DistributedDataParallel(Module):
    """Trains ``module`` on all ranks: the backward pass averages the gradients over the ranks.

    Each rank computes the gradients of its own batch. They are averaged in buckets, which are sent while the
    backward pass goes on, so after ``loss.backward()`` every rank has the same gradients: those of the mean
    of the losses. With the same optimizer on all ranks the parameters stay the same too. At the start,
    parameters and buffers are copied from rank 0 to the others.

    Where there is one rank, a call is a call of ``module``.

    Parameters
    ----------
    module : Module
        On the device where it is trained.
    device_ids, output_device, dim, process_group, check_reduction
        PyTorch's arguments; only the defaults are supported. ``device_ids=[0]`` is accepted.
    broadcast_buffers : bool
        Copy the buffers of rank 0 to the others before each forward pass in training.
    init_sync : bool
        Compare the nets of the ranks, and copy parameters and buffers from rank 0, now.
    bucket_cap_mb : float, optional
        MiB of gradients that are sent together: 25 by default, and 1 in the first and in the last bucket.
    find_unused_parameters : bool
        Accept backward passes that do not reach all parameters. This costs one more message per step.
    gradient_as_bucket_view : bool
        Accepted, without effect: on the host gradients always are views of the buckets. So what you keep of
        a gradient after the step must be a copy.
    static_graph : bool
        Accepted, without effect.
    overlap : bool
        False: send nothing before the backward pass has ended, to measure what sending earlier brings.

    Attributes
    ----------
    module : Module
        The wrapped net. Its ``state_dict`` has no prefix ``module.``.
    require_backward_grad_sync : bool
        False inside :meth:`no_sync`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not supported, no parameter requires a gradient, or the ranks have different nets;
        the message names rank and parameter.

    Notes
    -----
    The ranks must call forward and backward the same number of times; :meth:`join` is for ranks that have
    fewer batches. On a GPU, gradients go to host memory and back when they are sent.

    Li et al.: PyTorch Distributed: Experiences on Accelerating Data Parallel Training, 2020.

    Examples
    --------
    >>> net = nn.parallel.DistributedDataParallel(nn.Linear(3, 2))
    >>> net(fc.ones(4, 3)).shape, list(net.state_dict())
    ((4, 2), ['module.weight', 'module.bias'])
    """

    def __init__(
        self,
        module: Module,
        device_ids: Any = None,
        output_device: Any = None,
        dim: int = 0,
        broadcast_buffers: bool = True,
        init_sync: bool = True,
        process_group: None = None,
        bucket_cap_mb: float | None = None,
        find_unused_parameters: bool = False,
        check_reduction: bool = False,
        gradient_as_bucket_view: bool = True,
        static_graph: bool = False,
        *,
        overlap: bool = True,
    ) -> None:
        super().__init__()
        name = "DistributedDataParallel"
        check(
            isinstance(module, Module), name, f"expected an nn.Module, got {type(module).__name__}", TypeError
        )
        devices = None if device_ids is None or len(device_ids) == 1 else device_ids
        check_supported(
            name,
            device_ids=(devices, None),
            dim=(dim, 0),
            process_group=(process_group, None),
            check_reduction=(check_reduction, False),
        )
        cap = CAP_MIB if bucket_cap_mb is None else bucket_cap_mb
        check(cap > 0, name, f"bucket_cap_mb must be above 0, got {bucket_cap_mb}")
        trained = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
        check(trained, name, "no parameter of the net requires a gradient, so there is nothing to average")
        self.module = module
        self.broadcast_buffers, self.find_unused_parameters = broadcast_buffers, find_unused_parameters
        self.require_backward_grad_sync = True
        self._joining: _Joining | None = None
        self._reducer: Reducer | None = None
        if world().size == 1:
            return
        if init_sync:
            refuse_if_different(name, describe(module))
            Copies([*module.parameters(), *module.buffers()]).send()
        first = min(FIRST_MIB, cap)
        self._reducer = Reducer(
            trained,
            world().comm,
            load_mpi(name),
            int(first * MIB),
            int(cap * MIB),
            overlap,
            find_unused_parameters,
        )

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """The result of the wrapped net. In training the next backward pass will average the gradients."""
        if self._reducer is not None and is_grad_enabled() and self.training:
            root = 0 if self._joining is None else self._joining.root(self.require_backward_grad_sync)
            if self.broadcast_buffers:
                Copies(self.module.buffers()).send(root)
            if self.require_backward_grad_sync:
                self._reducer.prepare()
        return self.module(*inputs, **kwargs)

    @property
    def last_reduction(self) -> Reduction:
        """What the last backward pass sent: ``bytes`` (of which ``copied`` were copied to the buckets),
        ``buckets``, ``seconds`` from the first to the last, and how many of these it ``waited``."""
        return Reduction() if self._reducer is None else self._reducer.last

    @contextlib.contextmanager
    def no_sync(self) -> Generator[None, None, None]:
        """Inside the ``with`` block gradients are not averaged, but added to ``.grad`` of each rank.

        The first backward pass whose forward pass is outside of the block averages the sums. So several small
        batches make one large one.

        Examples
        --------
        >>> net = nn.parallel.DistributedDataParallel(nn.Linear(3, 2))
        >>> with net.no_sync():
        ...     net(fc.ones(4, 3)).sum().backward()
        >>> net(fc.ones(4, 3)).sum().backward()
        >>> net.module.bias.grad
        tensor([8., 8.])
        """
        before, self.require_backward_grad_sync = self.require_backward_grad_sync, False
        try:
            yield
        finally:
            self.require_backward_grad_sync = before

    @contextlib.contextmanager
    def join(
        self,
        divide_by_initial_world_size: bool = True,
        enable: bool = True,
        throw_on_early_termination: bool = False,
    ) -> Generator[None, None, None]:
        """For ranks that have different numbers of batches: ``with net.join(): ...`` around the loop.

        A rank that leaves the block takes part in the averages of the others, with zeros. At the end all
        ranks get the parameters of a rank that had the most batches. Layers that communicate themselves, such
        as SyncBatchNorm, are not supported inside.

        Parameters
        ----------
        divide_by_initial_world_size : bool
            Divide sums of gradients by the number of all ranks, else by that of the ranks that have a batch.
        enable : bool
            False: the block does nothing, because the ranks are known to have the same number of batches.
        throw_on_early_termination : bool
            Raise an error on all ranks as soon as one of them has no batch left.

        Raises
        ------
        RuntimeError
            With ``throw_on_early_termination``, if a rank has fewer batches than another.
        """
        if self._reducer is None or not enable:
            yield
            return
        joining = self._joining = _Joining(
            self._reducer, divide_by_initial_world_size, throw_on_early_termination
        )
        try:
            yield
            buffers = Copies(self.module.buffers() if self.broadcast_buffers else ())
            while joining.others_go_on():
                buffers.send(self._reducer.root)
                if joining.reduced:
                    self._reducer.shadow()
            Copies([*self.module.parameters(), *self.module.buffers()]).send(self._reducer.root)
        finally:
            self._joining, self._reducer.root = None, 0
            self._reducer.divisor = world().size


class _Joining:
    """Who still has batches, inside :meth:`DistributedDataParallel.join`."""

    def __init__(self, reducer: Reducer, divide_by_all: bool, raises: bool):
        self.reducer, self.divide_by_all, self.raises = reducer, divide_by_all, raises
        self.reduced = True  # whether the next backward pass of the others is reduced

    def root(self, reduced: bool) -> int:
        """Before a forward pass: the rank whose buffers and order of gradients count."""
        self._ask(2 if reduced else 1)
        return self.reducer.root

    def others_go_on(self) -> bool:
        """On a rank without batches: whether another rank does a forward pass now."""
        return self._ask(0)

    def _ask(self, mine: int) -> bool:
        # 0: no batch left; 1: a forward pass; 2: a forward pass whose backward pass is reduced
        states: list[int] = distributed.all_gather_object(mine)
        active = [rank for rank, state in enumerate(states) if state]
        check(
            not self.raises or not active or len(active) == len(states),
            "DistributedDataParallel.join",
            f"rank {states.index(0) if 0 in states else 0} has no batch left, and rank "
            f"{active[0] if active else 0} has one",
            RuntimeError,
        )
        if active:
            self.reducer.root = active[0]
            self.reducer.divisor = len(states) if self.divide_by_all else len(active)
        self.reduced = 2 in states
        return bool(active)
