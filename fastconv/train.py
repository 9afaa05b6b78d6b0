"""The training loop: :func:`fit`, :func:`evaluate`, the history of a run, checkpoints that resume to the same bits."""

from __future__ import annotations

import csv
import signal
import threading
from io import BytesIO
from itertools import islice
from math import isfinite, nan
from pathlib import Path
from time import perf_counter

import numpy as np

from . import io, nn, optim, random
from .autograd import no_grad
from .spec import check
from .tensor import as_tensor

FIELDS = ("epoch", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "lr", "images_per_second")
POINTS = 5  # per epoch, as the notes draw them


class History(list):
    """What a run recorded: one dict per point with the keys of ``FIELDS``, five points per epoch.

    ``epoch`` is a float (2.4: after two fifths of the third epoch); losses and accuracies are means over the epoch so
    far; the test values stand at whole epochs, None elsewhere. ``history.test_accuracy`` and the like are the last
    values there are. ``history.stopped`` says why the run ended early ("time limit", "interrupted"), else None.
    """

    stopped: str | None = None

    def __getattr__(self, name):
        if name not in FIELDS:
            raise AttributeError(name)
        return next((p[name] for p in reversed(self) if p[name] is not None), None)

    def to_csv(self, path) -> None:
        """Write one line per point."""
        with open(path, "w", newline="") as f:
            writer = csv.DictWriter(f, FIELDS)
            writer.writeheader()
            writer.writerows(self)

    def plot(self, path) -> None:
        """Draw train loss, train accuracy and test accuracy over the epochs as a PNG (a path or a binary file)."""
        figure = _figure(figsize=(5, 3.5), layout="constrained")
        axes = figure.add_subplot(xlabel="epoch")
        for key, style in (("train_loss", "-"), ("train_accuracy", "m--"), ("test_accuracy", "g-.")):
            points = [(p["epoch"], p[key]) for p in self if p[key] is not None]
            if points:
                axes.plot(*zip(*points), style, label=key.replace("_", " "))
                axes.legend()
        axes.grid()
        figure.savefig(path, format="png", dpi=120)


def _figure(**options):
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError('drawing needs matplotlib: pip install "fastconv[train]"') from None
    return Figure(**options)


def evaluate(net, loader, loss=None) -> tuple[float, float]:
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
    device = next(iter(net.parameters())).device
    modes = [(m, m.training) for m in net.modules()]
    total, correct, count = 0.0, 0.0, 0
    net.eval()
    try:
        with no_grad():
            for x, y in loader:
                x, y = as_tensor(x).to(device), as_tensor(y).to(device)
                out = net(x)
                total += loss(out, y).item() * len(x)
                correct += _correct(out, y)
                count += len(x)
    finally:
        for m, training in modes:
            m.training = training
    check(count > 0, "evaluate", "the loader gave no batch")
    return total / count, correct / count


def _correct(out, y) -> float:
    """Number of right answers (for a class per pixel: share of right pixels, times the images)."""
    if y.dtype.kind not in "iu" or out.ndim != y.ndim + 1:
        return nan
    return float(np.mean(out.numpy().argmax(1) == y.numpy())) * len(y) if len(y) else 0.0


def fit(net, train_loader, test_loader=None, *, epochs: int = 1, optimizer=None, loss=None, scheduler=None,
        checkpoint=None, checkpoint_every: int | None = None, resume: bool = True, progress: bool = True, plot=None,
        time_limit: float | None = None) -> History:  # fmt: skip
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
        Where net, optimizer, scheduler, random numbers, position and history are saved: after each epoch or each
        ``checkpoint_every`` steps, and when the run ends, by Ctrl-C or the time limit too.
    resume : bool
        Continue from ``checkpoint`` if it exists, in the middle of an epoch too, to the same bits as without the break
        (a loader that shuffles needs ``state_dict``, as ``DataLoader`` has it).
    progress : bool
        Show a bar (plain lines without tqdm).
    plot : path or "live", optional
        PNG of the learning curve, redrawn after each epoch; "live" draws in a notebook.
    time_limit : float, optional
        Seconds after which the run ends.

    Returns
    -------
    History
        ``images_per_second`` counts forward, backward, update and metrics; not loading, evaluation, checkpoints, nor
        the first step, which may compile kernels.

    Raises
    ------
    RuntimeError
        The loss is NaN or infinite.
    ValueError
        The checkpoint does not fit.
    """
    if plot:
        _figure()  # a missing matplotlib is better known now than after an epoch
    check(epochs >= 0, "fit", f"epochs must not be negative, got {epochs}")
    check(checkpoint_every is None or checkpoint_every > 0, "fit",
          f"checkpoint_every must be positive, got {checkpoint_every}")  # fmt: skip
    optimizer = optimizer or optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    run = _Run(net, train_loader, optimizer, loss or nn.CrossEntropyLoss(), scheduler, checkpoint)
    if checkpoint is not None and resume and Path(checkpoint).exists():
        run.restore()
    history, at = run.history, run.at
    with _Stop(time_limit) as stop:
        while at["epoch"] < epochs and not stop.reason:
            net.train()
            bar = _Bar(progress, at["epoch"], epochs, run.batches, at["batch"])
            for x, y in run.rest_of_epoch():
                run.step(x, y)
                point = run.record()
                run.schedule("step")
                bar.advance(run.line(), point)
                if point and plot == "live":
                    _draw(history, plot)
                if checkpoint_every and (at["epoch"] * run.batches + at["batch"]) % checkpoint_every == 0:
                    run.store()
                if stop.reason:
                    break
            else:
                if test_loader is not None:
                    history[-1]["test_loss"], history[-1]["test_accuracy"] = evaluate(net, test_loader, run.loss)
                run.schedule("epoch")
                bar.close(run.line())
                run.next_epoch()
                if checkpoint_every is None:
                    run.store()
                if plot:
                    _draw(history, plot)
            bar.close()
        history.stopped = stop.reason if at["epoch"] < epochs else None
    run.store()
    return history


class _Run:
    """What a checkpoint holds: the objects that are trained, where the run is, and its history."""

    def __init__(self, net, loader, optimizer, loss, scheduler, path):
        self.net, self.loader, self.optimizer, self.loss = net, loader, optimizer, loss
        self.scheduler, self.path = scheduler, path
        self.device = next(iter(net.parameters())).device
        self.batches = len(loader)
        check(self.batches > 0, "fit", "the training loader has no batches")
        self.history = History()
        # epoch, batch: done so far; loss, correct, count: sums over this epoch; seconds, images: over all epochs
        self.at = {"epoch": 0, "batch": 0, "loss": 0.0, "correct": 0.0, "count": 0, "seconds": 0.0, "images": 0}
        self._stored, self._warm = None, False

    def rest_of_epoch(self):
        """The batches of this epoch that were not trained on yet."""
        return self.loader if hasattr(self.loader, "state_dict") else islice(self.loader, self.at["batch"], None)

    def step(self, x, y) -> None:
        """Forward, backward, update, sums."""
        start, at = perf_counter(), self.at
        x, y = as_tensor(x).to(self.device), as_tensor(y).to(self.device)
        out = self.net(x)
        loss = self.loss(out, y)
        value = loss.item()
        if not isfinite(value):
            raise RuntimeError(
                f"fit: the loss is {value} at step {at['batch'] + 1} of epoch {at['epoch'] + 1}; a smaller learning "
                "rate often helps, and inputs must be finite"
            )
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        at["loss"] += value * len(x)
        at["correct"] += _correct(out, y)
        at["count"] += len(x)
        at["batch"] += 1
        if self._warm:
            at["seconds"] += perf_counter() - start
            at["images"] += len(x)
        self._warm = True

    def schedule(self, interval) -> None:
        if self.scheduler is not None and self.scheduler.interval == interval:
            self.scheduler.step()

    def record(self) -> bool:
        """Add a point to the history at each fifth of the epoch; whether that was now."""
        b, n, at = self.at["batch"], self.batches, self.at
        if POINTS * b // n == POINTS * (b - 1) // n:
            return False
        values = (at["epoch"] + b / n, at["loss"] / at["count"], at["correct"] / at["count"], None, None,
                  self.optimizer.param_groups[0]["lr"], self.speed())  # fmt: skip
        self.history.append(dict(zip(FIELDS, values)))
        return True

    def speed(self) -> float | None:
        return self.at["images"] / self.at["seconds"] if self.at["seconds"] else None

    def line(self) -> str:
        """Where training stands, in words."""
        at, last = self.at, self.history[-1] if self.history else {}
        text = f"loss {at['loss'] / at['count']:.3f}, train acc {at['correct'] / at['count']:.3f}"
        if last.get("test_accuracy") is not None and last["epoch"] == at["epoch"] + 1:
            text += f", test acc {last['test_accuracy']:.3f}"
        return text + (f", {self.speed():.0f} images/s" if self.speed() else "")

    def next_epoch(self) -> None:
        self.at.update(epoch=self.at["epoch"] + 1, batch=0, loss=0.0, correct=0.0, count=0)

    def store(self) -> None:
        """Save everything, unless there is no path or nothing happened since the last time."""
        where = (self.at["epoch"], self.at["batch"])
        if self.path is None or where == self._stored:
            return
        self._stored = where
        Path(self.path).parent.mkdir(parents=True, exist_ok=True)
        io.save({
            "net": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler and self.scheduler.state_dict(),
            "loader": self.loader.state_dict() if hasattr(self.loader, "state_dict") else None,
            "random": random.get_state(),
            "at": self.at,
            "batches": self.batches,
            "history": list(self.history),
        }, self.path)  # fmt: skip

    def restore(self) -> None:
        saved = io.load(self.path)
        keys = {"net", "optimizer", "scheduler", "loader", "random", "at", "batches", "history"}
        check(isinstance(saved, dict) and set(saved) == keys, "fit", f"{self.path} is not a checkpoint of fit; give "
              "another path, or resume=False to overwrite it")  # fmt: skip
        check(saved["batches"] == self.batches, "fit", f"{self.path} was trained with {saved['batches']} batches per "
              f"epoch, the loader has {self.batches}; use the same data and batch_size, or resume=False")  # fmt: skip
        with_or_not = "without" if saved["scheduler"] is None else "with"
        check((saved["scheduler"] is None) == (self.scheduler is None), "fit",
              f"{self.path} was trained {with_or_not} a scheduler; do the same, or resume=False")  # fmt: skip
        self.net.load_state_dict(saved["net"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(saved["scheduler"])
        self.optimizer.load_state_dict(saved["optimizer"])
        if saved["loader"] is not None and hasattr(self.loader, "load_state_dict"):
            self.loader.load_state_dict(saved["loader"])
        random.set_state(saved["random"])
        self.at.update(saved["at"])
        self.history.extend(saved["history"])
        self._stored = (self.at["epoch"], self.at["batch"])


class _Stop:
    """Why to stop after the current step. Ctrl-C is noted, so that no step is cut in half; a second one raises."""

    def __init__(self, seconds):
        self.deadline = None if seconds is None else perf_counter() + seconds
        self.interrupted, self.old = False, None

    @property
    def reason(self) -> str | None:
        late = self.deadline is not None and perf_counter() > self.deadline
        return "interrupted" if self.interrupted else "time limit" if late else None

    def _note(self, *args):
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True

    def __enter__(self):
        if threading.current_thread() is threading.main_thread() and callable(signal.getsignal(signal.SIGINT)):
            self.old = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *exc):
        if self.old is not None:
            signal.signal(signal.SIGINT, self.old)


class _Bar:
    """Progress of one epoch: a tqdm bar, plain lines where tqdm is missing, or nothing."""

    def __init__(self, show, epoch, epochs, total, start):
        self.bar, self.title, self.plain = None, f"epoch {epoch + 1}/{epochs}", show
        if show:
            try:
                from tqdm import tqdm
            except ImportError:
                return
            self.bar, self.plain = tqdm(desc=self.title, total=total, initial=start, unit="batch"), False

    def advance(self, line, point):
        if self.bar is not None:
            self.bar.set_postfix_str(line, refresh=False)
            self.bar.update()
        elif self.plain and point:
            print(f"{self.title}: {line}", flush=True)

    def close(self, line=None):
        if self.bar is not None:
            if line:
                self.bar.set_postfix_str(line)
            self.bar.close()
        elif self.plain and line:
            print(f"{self.title}: {line}", flush=True)


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
