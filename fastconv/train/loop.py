"""The training loop: :func:`fit`, :func:`evaluate`, the history of a run, checkpoints that resume to the same
bits."""

from __future__ import annotations

import csv
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, nullcontext
from io import BytesIO
from itertools import islice
from math import isfinite, isnan, nan
from pathlib import Path
from time import perf_counter
from typing import Any, BinaryIO, TypeAlias

import numpy as np

from .. import backends, nn, optim, random
from ..autograd import no_grad
from ..backends import compiling, settings
from ..checks import check
from ..creation import as_tensor
from ..data import DataLoader
from ..data.collate import pairs
from ..devices import default_device
from ..table import Shown, Table, number
from ..tensor import Tensor
from ..typing import Array, PathLike
from . import asked
from .checkpoint import Checkpoint
from .diagnose import bad_parameter, origin
from .progress import Progress

FIELDS = (
    "epoch",
    "train_loss",
    "train_accuracy",
    "running_loss",
    "running_accuracy",
    "test_loss",
    "test_accuracy",
    "lr",
    "images_per_second",
)
POINTS = 5  # per epoch, as the notes draw them
SUMS = {"loss": 0.0, "correct": 0.0, "count": 0, "point_loss": 0.0, "point_correct": 0.0, "point_count": 0}
Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]
ROWS = 20  # of a history, as a table shows it


class History(Shown, list[dict[str, Any]]):
    """What a run recorded: one dict per point with the keys of ``FIELDS``, five points per epoch.

    ``epoch`` is a float (2.4: after two fifths of the third epoch). ``train_loss`` and ``train_accuracy`` are
    means over the epoch so far, so at a whole epoch they are the means of that epoch, which is what one
    reports. ``running_loss`` and ``running_accuracy`` are means over the batches since the point before: no
    jump where an epoch begins, so this is what :meth:`plot` draws. The test values stand at whole epochs,
    None elsewhere; accuracies are None where the labels are not class indices. ``history.test_accuracy`` and
    the like are the last values there are.

    ``history.stopped`` says why the run ended early ("time limit", "interrupted", "callback"), else None, and
    ``history.resumed`` at which epoch (a float) :func:`fit` continued from a checkpoint, None if it began
    anew.
    """

    stopped: str | None = None
    resumed: float | None = None

    def table(self) -> Table:
        """Whole epochs and the latest point, the middle of a long run left out; ``print`` and notebooks show
        it."""
        points = [p for p in self if p["epoch"] % 1 == 0 or p is self[-1]]
        keys = [key for key in FIELDS if not key.startswith("running")]
        rows = [[number(p.get(key)) for key in keys] for p in points]
        if len(rows) > ROWS:
            rows[ROWS // 2 : -ROWS // 2] = [["..."] * len(keys)]
        return Table(
            [key.replace("_", " ") for key in keys],
            rows,
            "r" * len(keys),
            after=f"stopped: {self.stopped}" if self.stopped else "",
        )

    def __getattr__(self, name: str) -> Any:
        if name not in FIELDS:
            raise AttributeError(name)
        return next((p[name] for p in reversed(self) if p.get(name) is not None), None)

    def to_csv(self, path: PathLike) -> None:
        """Write one line per point."""
        with open(path, "w", newline="") as f:
            writer = csv.DictWriter(f, FIELDS)
            writer.writeheader()
            writer.writerows(self)

    def plot(self, path: PathLike | BinaryIO) -> None:
        """Draw train loss, train accuracy and test accuracy over the epochs as a PNG (a path or a binary
        file).

        The train values are the running ones; without accuracies the test loss is drawn.
        """
        figure = _figure(figsize=(5, 3.5), layout="constrained")
        axes = figure.add_subplot(xlabel="epoch")
        test = "test_loss" if self.test_accuracy is None else "test_accuracy"
        for key, style in (("running_loss", "-"), ("running_accuracy", "m--"), (test, "go-.")):
            # a history from before there were running values has the means over the epoch so far
            points = [(p["epoch"], p.get(key, p.get(key.replace("running", "train")))) for p in self]
            points = [(epoch, value) for epoch, value in points if value is not None]
            if points:
                axes.plot(*zip(*points), style, label=key.replace("_", " ").replace("running", "train"))
                axes.legend()
        axes.grid()
        figure.savefig(path, format="png", dpi=120)


def _figure(**options):
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError('drawing needs matplotlib: pip install "fastconv[train]"') from None
    return Figure(**options)


def evaluate(net: nn.Module, loader: Iterable[Any], loss: Loss | None = None) -> tuple[float, float]:
    """Mean loss and accuracy of ``net`` over ``loader``, in evaluation mode and off the tape.

    Parameters
    ----------
    net : nn.Module
    loader : iterable of (X, y) batches
    loss : callable ``(output, y) -> scalar mean``, optional
        Cross entropy by default.

    Returns
    -------
    loss, accuracy : float
        Accuracy is NaN where ``y`` does not hold class indices.
    """
    loss = loss or nn.CrossEntropyLoss()
    total, correct, count = 0.0, 0.0, 0
    with no_grad():
        for out, y in _outputs(net, loader):
            total += loss(out, y).item() * len(y)
            correct += _correct(out, y)
            count += len(y)
    check(count > 0, "evaluate", "the loader gave no batch")
    return total / count, correct / count


def confusion_matrix(
    net: nn.Module, loader: Iterable[Any], plot: PathLike | None = None, classes: Sequence[str] | None = None
) -> Array:
    """Count what ``net`` takes each class for, in evaluation mode.

    Parameters
    ----------
    net : nn.Module
    loader : iterable of (X, y) batches, y of class indices
    plot : path, optional
        Draw the matrix as a PNG.
    classes : sequence of str, optional
        Names of the classes in the picture (default: their numbers).

    Returns
    -------
    int64 array
        ``[i, j]``: images of class i taken for class j; ``trace() / sum()`` is the accuracy.
    """
    matrix: np.ndarray | None = None
    with no_grad():
        for out, y in _outputs(net, loader):
            y, k = y.numpy(), out.shape[1]
            check(
                out.ndim == 2 and y.dtype.kind in "iu",
                "confusion_matrix",
                "the net must give N x classes scores and "
                f"the loader class indices, got {out.ndim}-D and {y.dtype}",
            )
            counts = np.bincount(y * k + out.numpy().argmax(1), minlength=k * k).reshape(k, k)
            matrix = counts if matrix is None else matrix + counts
    check(matrix is not None, "confusion_matrix", "the loader gave no batch")
    if plot is not None:
        _draw_confusion(matrix, range(len(matrix)) if classes is None else classes, plot)
    return matrix


def _draw_confusion(matrix, classes, path):
    figure = _figure(figsize=(2 + 0.5 * len(matrix),) * 2, layout="constrained")
    places = range(len(matrix))
    axes = figure.add_subplot(
        xlabel="taken for", ylabel="class", title=f"accuracy {matrix.trace() / matrix.sum():.4f}"
    )
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(places, classes, rotation=60, ha="right", rotation_mode="anchor")
    axes.set_yticks(places, classes)
    for i, j in np.argwhere(matrix):
        axes.text(
            j,
            i,
            matrix[i, j],
            ha="center",
            va="center",
            fontsize=7,
            color="white" if shares[i, j] > 0.5 else "black",
        )
    figure.savefig(path, format="png", dpi=120)


def _device(net) -> str:
    """Where ``net`` computes: where its parameters are, or else its buffers; without any, where new tensors
    are made."""
    return next((t.device for t in (*net.parameters(), *net.buffers())), default_device())


def _outputs(net, loader):
    """``(net(x), y)`` of each batch, in evaluation mode, which ends with the generator."""
    device = _device(net)
    modes = [(m, m.training) for m in net.modules()]
    net.eval()
    try:
        for x, y in pairs("evaluate", loader):
            yield net(as_tensor(x).to(device)), as_tensor(y).to(device)
    finally:
        for m, training in modes:
            if m.training != training:
                m.training = training


def _correct(out, y) -> float:
    """Number of right answers (for a class per pixel: share of right pixels, times the images)."""
    if y.dtype.kind not in "iu" or out.ndim != y.ndim + 1:
        return nan
    return float(np.mean(out.numpy().argmax(1) == y.numpy())) * len(y) if len(y) else 0.0


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
) -> History:
    """Train ``net``.

    Parameters
    ----------
    net : nn.Module
    train_loader, test_loader : iterables of (X, y) batches with a length, e.g. ``data.DataLoader``
        The net is evaluated on ``test_loader`` after each epoch.
    epochs : int
        Epochs in all, those before a resume included.
    optimizer : optim.Optimizer, optional
        ``SGD(lr=0.05, momentum=0.9)`` by default.
    loss : callable ``(output, y) -> scalar mean``, optional
        Cross entropy by default.
    scheduler : optim.lr_scheduler.LRScheduler, optional
        Stepped after each batch or epoch as its ``interval`` says.
    checkpoint : path, optional
        Where net, optimizer, scheduler, random numbers, position and history are saved: at the start, after
        each epoch or each ``checkpoint_every`` steps, and when the run ends, by Ctrl-C or the time limit too
        (but not by Ctrl-C while kernels compile, which does not wait for the end of the step). The one before
        is kept as ``<name>.previous.<extension>``.
    resume : bool
        Continue from ``checkpoint`` if it exists, in the middle of an epoch too, to the same bits as without
        the break (a loader that shuffles needs ``state_dict``, as ``DataLoader`` has it; the number of
        threads must be the same). A damaged file is passed over, with a warning, for the one before. Settings
        of the optimizer (with a scheduler, also its base lr), of the loss and of layers that differ from when
        the run began are those asked for now, and ``fit`` says so; where a run cannot continue with what is
        asked for, it is refused.
    progress : bool
        Show in a terminal or a notebook one line that is redrawn, elsewhere up to about twenty plain lines.
    plot : path or "live", optional
        PNG of the learning curve, redrawn after each epoch; "live" draws in a notebook.
    time_limit : float, optional
        Seconds after which the run ends.
    callback : callable ``(history) -> bool``, optional
        Called after each epoch; a true answer ends the run.
    graph : bool, optional
        On the GPU, record the whole step as a CUDA graph and replay it for every batch of the same shape.
        None: where net, loss and optimizer are fastconv's own. In others, whatever Python decides or computes
        from step to step would stay as it was when the step was recorded. A step that cannot be recorded is
        done as usual, with a warning.

    Returns
    -------
    History
        ``images_per_second`` counts forward, backward, update and metrics; not loading (on the GPU, where it
        goes on meanwhile, it counts), evaluation, checkpoints, nor the first step, which may compile kernels.

    Raises
    ------
    RuntimeError
        The loss, or after it a parameter, is NaN or infinite; the message names the step and the layer where
        such values first appeared. Checkpoints are from before.
    ValueError
        The checkpoint does not fit: another net, optimizer, loss, scheduler, data set, batch size, order. The
        message has both values.
    OSError
        A checkpoint cannot be written; those before it are as they were.
    """
    if plot:
        _figure()  # a missing matplotlib is better known now than after an epoch
    check(epochs >= 0, "fit", f"epochs must not be negative, got {epochs}")
    check(
        checkpoint_every is None or checkpoint_every > 0,
        "fit",
        f"checkpoint_every must be positive, got {checkpoint_every}",
    )
    optimizer = optimizer or optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    run = _Run(
        net, train_loader, optimizer, loss or nn.CrossEntropyLoss(), scheduler, checkpoint, graph, epochs
    )
    run.check_schedule()
    shown = Progress(progress, epochs)
    if resume and (path := run.restore()):
        _tell(path, run, shown)
    else:
        run.store()
    history, at = run.history, run.at
    with _Stop(time_limit) as stop, closing(shown):
        while at["epoch"] < epochs and not stop.reason:
            net.train()
            run.replays.check()
            for x, y in run.rest_of_epoch():
                try:
                    run.step(x, y)
                except _Interrupted:
                    run.torn = True
                    break
                point = run.record()
                run.schedule("step")
                shown.step(run.standing)
                if point and at["batch"] < run.batches:
                    shown.point(run.standing)
                if point and plot == "live":
                    _draw(history, plot)
                if run.steps % (checkpoint_every or run.batches) == 0:
                    run.store()
                if stop.reason:
                    break
            else:
                if test_loader is not None:
                    try:
                        scores = evaluate(net, stop.unless_interrupted(test_loader), run.loss)
                    except _Interrupted:
                        break
                    history[-1]["test_loss"], history[-1]["test_accuracy"] = scores[0], _number(scores[1])
                run.schedule("epoch")
                shown.epoch(at["epoch"] + 1, run.standing)
                run.next_epoch()
                if plot:
                    _draw(history, plot)
                stop.asked = callback is not None and callback(history)
        history.stopped = stop.reason if at["epoch"] < epochs else None
        run.replays.drop()
        run.store()
    return history


def _tell(path, run, shown) -> None:
    """What is resumed, from where, and what differs; a difference is never silent."""
    at = run.at
    if at["epoch"] < run.epochs:
        shown.say(
            f"Resuming {path}: epoch {at['epoch'] + 1} of {run.epochs}, step {at['batch'] + 1} of {run.batches}"
        )
    else:
        shown.say(f"{path} has {at['epoch']} epochs, {run.epochs} are asked for: nothing is left to train")
    if run.differs:
        text = f"Not as when that run began: {'; '.join(run.differs)}. What is asked for now counts"
        shown.say(text)
        if shown.bar is None and not shown.plain:
            warnings.warn(f"fit: resuming {path}. {text}", stacklevel=3)


def _number(value: float) -> float | None:
    """An accuracy, or None where there is none."""
    return None if isnan(value) else value


class _Run:
    """What a checkpoint holds: the objects that are trained, where the run is, and its history."""

    def __init__(self, net, loader, optimizer, loss, scheduler, path, graph, epochs):
        self.net, self.loader, self.optimizer, self.loss = net, loader, optimizer, loss
        self.scheduler, self.epochs = scheduler, epochs
        self.checkpoint = Checkpoint(path) if path else None
        self.device = _device(net)
        check(
            hasattr(loader, "__len__"),
            "fit",
            "the training loader must have a length and give its batches in every epoch, "
            f"as a data.DataLoader or a list does, got {type(loader).__name__}",
            TypeError,
        )
        self.batches = len(loader)
        check(self.batches > 0, "fit", "the training loader has no batches")
        self.history = History()
        # epoch, batch: done so far; loss, correct, count: sums over this epoch, and as they were at its last
        # point; seconds, images: over all epochs
        self.at = {"epoch": 0, "batch": 0, "seconds": 0.0, "images": 0, **SUMS}
        self.asked = asked.describe(net, optimizer, loss, scheduler, loader, self.device)
        self.differs: list[str] = []  # from when the checkpoint's run began
        self._stored = None  # the position last saved
        self.torn = False  # in the middle of a step: the last checkpoint stays the last
        self.ahead: _Ahead | None = None  # on the GPU, the epoch's batches
        self._since = None  # steps and time after the first step, which may compile
        own = all(_module(v).startswith("fastconv.") for v in (loss, optimizer, *net.modules()))
        check(
            not graph or self.device == "cuda",
            "fit",
            'graph=True is for nets on the GPU; move it with net.to("cuda")',
        )
        self.replays = _Replays(
            net, optimizer, self.compute, self.device == "cuda" and (own if graph is None else graph)
        )

    @property
    def steps(self) -> int:
        return self.at["epoch"] * self.batches + self.at["batch"]

    def rest_of_epoch(self):
        """The batches of this epoch that were not trained on yet."""
        batches = (
            self.loader if hasattr(self.loader, "state_dict") else islice(self.loader, self.at["batch"], None)
        )
        batches = pairs("fit", batches)
        if self.device != "cuda":
            return batches
        self.ahead = _Ahead(self.loader, batches, self.ahead)
        return self.ahead

    def step(self, x, y) -> None:
        """Forward, backward, update, sums."""
        start, at, chance = perf_counter(), self.at, random.get_state()
        x, y = as_tensor(x).to(self.device), as_tensor(y).to(self.device)
        whole = self.replays.step(x, y)
        if self.ahead:
            # the next batch but one comes to the same place
            out, loss = whole or self.forward(x.clone(), y.clone())
            self.ahead.fetch()
        else:
            out, loss = self.forward(x, y)
        value = loss.item()
        if not isfinite(value):
            random.set_state(chance)
            where = "fit with graph=False tells where" if whole else origin(self.net, x)
            self.fail(f"the loss is {value}", at["batch"] + 1, where)
        if not whole:
            self.update(loss)
        at["loss"] += value * len(x)
        at["correct"] += _correct(out, y)
        at["count"] += len(x)
        at["batch"] += 1
        if self._since:
            at["seconds"] += perf_counter() - start
            at["images"] += len(x)
        self._since = self._since or (self.steps, perf_counter())

    def forward(self, x, y):
        out = self.net(x)
        return out, self.loss(out, y)

    def update(self, loss) -> None:
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def compute(self, x, y):
        """A whole step, whatever the loss."""
        out, loss = self.forward(x, y)
        self.update(loss)
        return out, loss

    def fail(self, what, step, where):
        raise RuntimeError(
            f"fit: {what} at step {step} of epoch {self.at['epoch'] + 1}: {where}. A smaller learning rate "
            "often helps; the last checkpoint is from before"
        )

    def check_schedule(self) -> None:
        """A schedule that ends too early is better known now than then."""
        last = getattr(self.scheduler, "total_steps", None)
        steps = self.epochs * self.batches
        check(
            last is None or self.scheduler.interval != "step" or steps <= last,
            "fit",
            f"the schedule ends after {last} steps, but {self.epochs} epochs are {steps}; a run with a "
            "one-cycle schedule cannot be lengthened: start anew, with resume=False",
        )

    def schedule(self, interval) -> None:
        if self.scheduler is not None and self.scheduler.interval == interval:
            self.scheduler.step()

    def record(self) -> bool:
        """Add a point to the history at each fifth of the epoch; whether that was now."""
        b, n, at = self.at["batch"], self.batches, self.at
        if POINTS * b // n == POINTS * (b - 1) // n:
            return False
        count = at["count"] - at["point_count"]
        running = [(at[k] - at[f"point_{k}"]) / count for k in ("loss", "correct")]
        values = (
            at["epoch"] + b / n,
            at["loss"] / at["count"],
            _number(at["correct"] / at["count"]),
            running[0],
            _number(running[1]),
            None,
            None,
            self.optimizer.param_groups[0]["lr"],
            self.speed(),
        )
        self.history.append(dict(zip(FIELDS, values)))
        at.update({f"point_{k}": at[k] for k in ("loss", "correct", "count")})
        return True

    def speed(self) -> float | None:
        return self.at["images"] / self.at["seconds"] if self.at["seconds"] else None

    def standing(self) -> dict:
        """Where training stands (see :class:`Progress`)."""
        at, total, (steps, start) = self.at, self.epochs * self.batches, self._since or (self.steps, 0)
        pace = (perf_counter() - start) / (self.steps - steps) if self.steps > steps else None
        return {
            "epoch": at["epoch"] + 1,
            "share": self.steps / total,
            "loss": at["loss"] / at["count"],
            "accuracy": _number(at["correct"] / at["count"]),
            "test_accuracy": self.history.test_accuracy,
            "speed": self.speed(),
            "left": pace and pace * (total - self.steps),
        }

    def next_epoch(self) -> None:
        self.at.update(epoch=self.at["epoch"] + 1, batch=0, **SUMS)

    def store(self) -> None:
        """Save everything, unless there is no path or nothing happened since the last time."""
        where = (self.at["epoch"], self.at["batch"])
        if where == self._stored or self.torn:
            return
        if bad := bad_parameter(self.net):
            self.fail("the weights are not finite", self.at["batch"], bad)
        self._stored = where
        if self.checkpoint is None:
            return
        self.checkpoint.write(
            {
                "net": self.net.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scheduler": self.scheduler and self.scheduler.state_dict(),
                "loader": self.ahead.position if self.ahead else _position(self.loader),
                "random": random.get_state(),
                "at": self.at,
                "batches": self.batches,
                "history": list(self.history),
                "asked": self.asked,
            }
        )

    def restore(self) -> Path | None:
        """Continue from the newest checkpoint that can be read: its file, or None if there is none.

        ``differs`` then says in words what is not as it was.
        """
        found = self.checkpoint and self.checkpoint.read()
        if not found:
            return None
        saved, path = found
        old = asked.of_checkpoint(saved, self.asked)
        asked.refuse_if_different(path, old, self.asked, saved)
        check(
            saved["batches"] == self.batches,
            "fit",
            f"{path} was trained with {saved['batches']} batches per epoch, now {self.batches}; {asked.CURE}",
        )
        changes = asked.changed_settings(old, self.asked, saved)
        try:
            self.net.load_state_dict(saved["net"])
        except ValueError as e:
            raise ValueError(f"fit: {path} is a checkpoint of another net; {asked.CURE}\n{e}") from None
        self.differs = asked.differences(old, self.asked, changes)
        self.asked = asked.merged(old, self.asked, changes)
        if any("initial_lr" in change for change in changes):
            settings = self._scheduled(saved["scheduler"]["last_epoch"])
        else:
            settings = [dict(g) for g in self.optimizer.param_groups]
            if self.scheduler is not None:
                self.scheduler.load_state_dict(saved["scheduler"])
        self.optimizer.load_state_dict(saved["optimizer"])
        for group, mine, change in zip(self.optimizer.param_groups, settings, changes):
            group.update({k: mine[k] for k in change})
        if saved["loader"] is not None and hasattr(self.loader, "load_state_dict"):
            self.loader.load_state_dict(saved["loader"])
        random.set_state(saved["random"])
        self.at.update(saved["at"])
        self.history.extend(saved["history"])
        self.history.resumed = self.at["epoch"] + self.at["batch"] / self.batches
        self._stored = (self.at["epoch"], self.at["batch"])
        return path

    def _scheduled(self, steps: int) -> list[dict]:
        """The optimizer's settings after ``steps`` of its own schedule, which has another base lr than the
        checkpoint's."""
        check(
            self.scheduler.last_epoch <= steps,
            "fit",
            "the schedule is further than the checkpoint, and its base lr is "
            "another; make optimizer and scheduler anew",
        )
        for _ in range(steps - self.scheduler.last_epoch):
            self.scheduler.step()
        return [dict(g) for g in self.optimizer.param_groups]


def _position(loader) -> dict | None:
    return loader.state_dict() if hasattr(loader, "state_dict") else None


class _Ahead:
    """The batches of an epoch on the GPU; the next one is loaded and on its way while a step runs.

    ``position`` is the loader's as of the batch that was handed out last.
    """

    def __init__(self, loader, batches, before: _Ahead | None):
        self.loader, self.batches, self.next, self.position = loader, iter(batches), None, _position(loader)
        self.upload = before.upload if before else backends.load("cuda").Upload()

    def fetch(self) -> None:
        """Load the next batch, and begin its upload, unless that was done."""
        if self.next is not None:
            return
        try:
            # data.DataLoader's batches are to come as they are in memory, whatever the backend in force
            with backends.backend("cpu") if isinstance(self.loader, DataLoader) else nullcontext():
                batch = [as_tensor(a).array for a in next(self.batches)]
            self.next = self.upload.start(batch), _position(self.loader)
        except Exception as e:  # the last one's step comes first
            self.next = e, _position(self.loader)

    def __iter__(self):
        return self

    def __next__(self):
        self.fetch()
        (batch, self.position), self.next = self.next, None
        if isinstance(batch, Exception):
            raise batch
        return tuple(map(Tensor, self.upload.take(batch)))


class _Replays:
    """Steps on the GPU as replays of one graph (``backends/cuda/graph.py``).

    The first step on batches of a shape is an ordinary one, the second the rehearsal, and the third is
    recorded and, as all that follow, replayed. Batches of another shape (the last of an epoch) are ordinary
    steps between.
    """

    def __init__(self, net, optimizer, compute, on: bool):
        self.net, self.optimizer, self.compute, self.on = net, optimizer, compute, on
        self.shapes = self.graph = self.result = None

    def step(self, x, y):
        """``(output, loss)`` after the whole step, or None where an ordinary one must be done."""
        if not self.on or backends.observer.get() is not None:
            return None
        shapes = [(t.shape, t.dtype) for t in (x, y)]
        if shapes != self.shapes:
            self.shapes = self.shapes if self.graph else shapes
            return None
        if self.graph is not None and self.graph.closed:
            return self._give_up("its memory is needed for other things")
        inputs = [x.array, y.array]
        if self.graph is None:
            return self._rehearse(inputs)
        if self.result is None:
            return self._record(inputs)
        for p, grad in self.grads:
            p.grad = grad
        self.graph.refresh([random.next_seed() for _ in self.graph.seeds], self.optimizer.step)
        self.graph.replay(inputs)
        for memory in self.written:  # those of the parameters are the optimizer's business
            memory.version += 1
        return self.result

    def _step(self):
        return self.compute(*map(Tensor, self.graph.inputs))

    def _rehearse(self, inputs):
        engine, before = backends.load("cuda"), random.get_state()
        engine.memory.trim()  # the graph has memory of its own
        self.graph = engine.Graph(inputs)
        result, after = self.graph.rehearse(self._step), random.get_state()
        random.set_state(before)
        for _ in self.graph.seeds:
            random.next_seed()
        if self.graph.reads or random.get_state() != after:
            self._give_up(
                "values are read on the host"
                if self.graph.reads
                else "random numbers are drawn outside dropout"
            )
        random.set_state(after)
        self.state = self._state()
        return result

    def _record(self, inputs):
        chance, counts = random.get_state(), [(s, s.get("step")) for s in self.optimizer.state.values()]
        versions = [(b.memory, b.memory.version) for b in self.net.buffers()]
        try:
            result = self.graph.record(self._step)
            self.graph.replay(inputs)
        except Exception as e:  # whatever a driver may say: nothing has run yet
            random.set_state(chance)
            for s, count in counts:
                s["step"] = count
            return self._give_up(e)
        self.result = result
        self.written = [memory for memory, version in versions if memory.version != version]
        self.grads = [(p, p.grad) for p in self.net.parameters()]
        return result

    def _give_up(self, why) -> None:
        warnings.warn(
            f"fit: the step cannot be recorded as a graph ({why}); it is done as usual", stacklevel=5
        )
        self.on = False
        self.drop()

    def _state(self):
        """What a recorded step takes for granted; the graph needs the arrays to stay where they are."""
        groups = self.optimizer.param_groups
        tensors = [*self.net.parameters(), *self.net.buffers(), *(p for g in groups for p in g["params"])]
        tensors += [t for s in self.optimizer.state.values() for t in s.values() if isinstance(t, Tensor)]
        return (
            [t.array for t in tensors],
            [t.requires_grad for t in tensors],
            [m.training for m in self.net.modules()],
            [self.optimizer._slots(g) for g in groups],
            settings.get_float32_precision(),
        )

    def check(self) -> None:
        """Start anew if net or optimizer were changed between epochs."""
        if self.graph is not None:
            (old, *others), (new, *now) = self.state, self._state()
            if others != now or len(old) != len(new) or any(a is not b for a, b in zip(old, new)):
                self.drop()

    def drop(self) -> None:
        if self.graph is not None:
            self.graph.close()
        self.graph = self.result = self.written = self.state = self.grads = None


def _module(thing) -> str:
    """Where the class of an object, or a function, is defined."""
    return getattr(thing if hasattr(thing, "__name__") else type(thing), "__module__", None) or ""


class _Interrupted(KeyboardInterrupt):
    """Ctrl-C that does not wait for the end of the step."""


class _Stop:
    """Why to stop after the current step. Ctrl-C is noted, so that no step is cut in half; a second one
    raises.

    While kernels compile, which may take much longer than a step, it raises at once.
    """

    def __init__(self, seconds):
        self.deadline = None if seconds is None else perf_counter() + seconds
        self.interrupted, self.asked, self.old = False, False, None

    @property
    def reason(self) -> str | None:
        late = self.deadline is not None and perf_counter() > self.deadline
        return (
            "interrupted"
            if self.interrupted
            else "callback"
            if self.asked
            else "time limit"
            if late
            else None
        )

    def unless_interrupted(self, loader):
        """The batches; raises if one is asked for after Ctrl-C, as an evaluation may take long."""
        for batch in loader:
            self._check()
            yield batch

    def _check(self):
        if self.interrupted:
            raise _Interrupted

    def _note(self, *args):
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True

    def __enter__(self):
        if threading.current_thread() is threading.main_thread() and callable(
            signal.getsignal(signal.SIGINT)
        ):
            self.old = signal.signal(signal.SIGINT, self._note), compiling.check
            compiling.check = self._check
        return self

    def __exit__(self, *exc):
        if self.old is not None:
            handler, compiling.check = self.old
            signal.signal(signal.SIGINT, handler)


def _draw(history, plot):
    if plot != "live":
        return history.plot(plot)
    try:
        from IPython.display import Image, clear_output, display
    except ImportError:
        raise ImportError('plot="live" draws in a notebook (IPython); give a file name instead') from None
    picture = BytesIO()
    history.plot(picture)
    clear_output(wait=True)
    display(Image(picture.getvalue()))
