"""The training loop, :func:`fit`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from .. import nn, optim
from ..checks import check
from ..typing import PathLike
from . import plotting
from .history import History
from .metrics import Loss, means, none_if_nan, sums
from .progress import Progress
from .ranks import Ranks, set_epoch
from .run import Run
from .stop import Interrupted, Stop


def fit(
    net: nn.Module,
    train_loader: Iterable[Any],
    test_loader: Iterable[Any] | None = None,
    *,
    epochs: int = 1,
    optimizer: optim.Optimizer | None = None,
    loss: Loss | None = None,
    scheduler: optim.lr_scheduler.LRScheduler | None = None,
    checkpoint: PathLike | None = None,
    checkpoint_every: int | None = None,
    resume: bool = True,
    progress: bool = True,
    plot: PathLike | None = None,
    time_limit: float | None = None,
    callback: Callable[[History], object] | None = None,
    graph: bool | None = None,
    distributed: bool = False,
) -> History:
    """Train ``net``.

    Parameters
    ----------
    net : nn.Module
    train_loader, test_loader : iterables of (X, y) batches, e.g. ``data.DataLoader``
        ``train_loader`` must have a length. The net is evaluated on ``test_loader`` after each epoch.
    epochs : int
        Epochs in all; those before a resume are included.
    optimizer : optim.Optimizer, optional
        ``SGD(lr=0.05, momentum=0.9)`` by default.
    loss : callable ``(output, y) -> scalar mean``, optional
        Cross entropy by default.
    scheduler : optim.lr_scheduler.LRScheduler, optional
        Stepped after each batch or each epoch, as its ``interval`` says. ``ReduceLROnPlateau`` gets the loss
        on the test data, with ``mode="max"`` the accuracy; without test data those of the training data.
    checkpoint : path, optional
        The file in which net, optimizer, scheduler, random state, position and history are saved: at the
        start, after each epoch or each ``checkpoint_every`` steps, and when the run ends. Ctrl-C, SIGTERM and
        the time limit end it after a step, with a checkpoint. Ctrl-C while kernels compile ends it at once,
        without one. The checkpoint before is kept as ``<name>.previous.<extension>``.
    checkpoint_every : int, optional
        Steps between two checkpoints; an epoch by default.
    resume : bool
        Continue from ``checkpoint`` if it exists, also in the middle of an epoch, to the same bits as without
        the break. For that, a loader that shuffles must have ``state_dict``, as ``DataLoader`` has, and the
        number of threads must be the same. If the file is damaged, the one before is used, with a warning.
        Settings of the optimizer (with a scheduler, also its base lr), of the loss and of layers may differ
        from those at the start of the run: then the new ones count, and ``fit`` says so. Where a run cannot
        continue with what is asked for, it is refused.
    progress : bool
        Show one line that is redrawn in a terminal or a notebook, elsewhere up to about twenty plain lines.
    plot : path or "live", optional
        PNG of the learning curve, redrawn after each epoch; "live" draws in a notebook.
    time_limit : float, optional
        Seconds after which the run ends.
    callback : callable ``(history) -> bool``, optional
        Called after each epoch; a true answer ends the run.
    graph : bool, optional
        Record the whole step, and replay its kernels for every batch of the same shape (on the GPU as one
        CUDA graph). The results are the same to the bit. By default this is done where net, loss and
        optimizer are fastconv's own. In others, values that Python computes anew in each step would keep
        their value from the step that was recorded. A step that cannot be recorded runs as usual, with a
        warning on the GPU and if ``graph=True``.
    distributed : bool
        Train on all ranks that ``mpiexec`` has started (``fc.distributed``): the backward pass averages the
        gradients, as :class:`fastconv.nn.parallel.DistributedDataParallel` says, which ``net`` may be
        already. ``train_loader`` must divide the data by a ``data.DistributedSampler``; the batches of
        ``test_loader`` are divided here. Rank 0 writes the checkpoint and the plot, shows progress and calls
        ``callback``; the history has the numbers of all ranks. A run continues with another number of ranks
        if the size of all their batches together is the same.

    Returns
    -------
    History
        ``images_per_second`` counts forward pass, backward pass, update and metrics. It does not count
        evaluation, checkpoints, and the first step, which may compile kernels. Loading counts on the GPU
        only, where it runs at the same time as the step.

    Raises
    ------
    RuntimeError
        The loss, or after the step a parameter, is NaN or infinite. The message names the step and the layer
        where such values first appeared. The checkpoints are from before.
    ValueError
        The checkpoint does not fit: another net, optimizer, loss, scheduler, data set, batch size or order.
        Or the ranks do not fit together in one of these. The message has both values.
    TypeError
        The training loader has no length, or a batch is not a pair.
    OSError
        A checkpoint cannot be written; those before it are as they were.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn, train
    >>> batches = [(np.ones((4, 3), np.float32), np.array([0, 1, 0, 1]))]
    >>> history = train.fit(nn.Linear(3, 2), batches, epochs=2, progress=False)
    >>> history[-1]["epoch"], history.train_accuracy
    (2.0, 0.5)
    """
    ranks = Ranks(distributed)
    plot = plot if ranks.main else None
    if plot:
        plotting.figure()  # raises now, not after an epoch, if matplotlib is missing
    check(epochs >= 0, "fit", f"epochs must not be negative, got {epochs}")
    check(
        checkpoint_every is None or checkpoint_every > 0,
        "fit",
        f"checkpoint_every must be positive, got {checkpoint_every}",
    )
    optimizer = optimizer or optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    run = Run(
        net,
        train_loader,
        optimizer,
        loss or nn.CrossEntropyLoss(),
        scheduler,
        checkpoint,
        graph,
        epochs,
        ranks,
    )
    run.check_schedule()
    shown = Progress(progress and ranks.main, epochs)
    if resume and (path := run.restore()):
        if ranks.main:
            _tell(path, run, shown)
    else:
        ranks.spread()
        run.store()
    history, at = run.history, run.at
    with Stop(time_limit, ranks) as stop, closing(shown):
        while at["epoch"] < epochs and not stop.settle():
            run.model.train()
            run.recorded.check()
            set_epoch(train_loader, at["epoch"])
            for x, y in run.rest_of_epoch():
                try:
                    run.step(x, y)
                except Interrupted:
                    run.torn = True
                    break
                point = run.record()
                run.schedule("step")
                shown.step(run.standing)
                if point and at["batch"] < run.batches:
                    shown.point(run.standing)
                if point and plot == "live":
                    plotting.draw(history, plot)
                if run.steps % (checkpoint_every or run.batches) == 0:
                    run.store()
                if stop.settle():
                    break
            else:
                if test_loader is not None:
                    run.share_buffers()
                    try:
                        scores = means(
                            *ranks.total(sums(run.net, stop.unless_interrupted(test_loader), run.loss))
                        )
                    except Interrupted:
                        break
                    history[-1]["test_loss"], history[-1]["test_accuracy"] = scores[0], none_if_nan(scores[1])
                run.schedule("epoch")
                shown.epoch(at["epoch"] + 1, run.standing)
                run.next_epoch()
                if plot:
                    plotting.draw(history, plot)
                if callback is not None:
                    stop.by_callback = bool(ranks.of_main(lambda: callback(history)))
        history.stopped = stop.settle() if at["epoch"] < epochs else None
        run.recorded.drop()
        run.store()
    ranks.wait()  # for the checkpoint, which another rank may read
    return history


def _tell(path: Path, run: Run, shown: Progress) -> None:
    """Say what is resumed and from where. A difference is always said, as a warning if nothing is shown."""
    at = run.at
    if at["epoch"] < run.epochs:
        shown.say(
            f"Resuming {path}: epoch {at['epoch'] + 1} of {run.epochs}, "
            f"step {at['batch'] + 1} of {run.batches}"
        )
    else:
        shown.say(f"{path} has {at['epoch']} epochs, {run.epochs} are asked for: nothing is left to train")
    if run.differs:
        text = f"Not as when that run began: {'; '.join(run.differs)}. What is asked for now counts"
        shown.say(text)
        if shown.bar is None and not shown.plain:
            warnings.warn(f"fit: resuming {path}. {text}", stacklevel=3)
