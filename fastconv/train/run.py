"""The state of a training run: steps, sums, points of the history, and checkpoints."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from math import isfinite
from pathlib import Path
from time import perf_counter
from typing import Any, NoReturn

from .. import backends, nn, optim, random
from ..checks import check
from ..creation import as_tensor
from ..data.collate import pairs
from ..nn.parallel import DistributedDataParallel
from ..nn.parallel.agreement import Copies
from ..tensor import Tensor
from ..typing import PathLike
from . import config
from .checkpoint import Checkpoint
from .diagnose import bad_parameter, finite, origin
from .history import FIELDS, POINTS, History
from .metrics import Loss, correct, device_of, none_if_nan
from .prefetch import Prefetch, position_of
from .ranks import Ranks
from .recorded_step import RecordedStep

#: The sums of an epoch as it begins.
SUMS = {"loss": 0.0, "correct": 0.0, "count": 0, "point_loss": 0.0, "point_correct": 0.0, "point_count": 0}


class Run:
    """What a checkpoint holds: the objects that are trained, where the run is, and its history.

    The parameters are those of :func:`fit`; ``path`` is its ``checkpoint``.

    Attributes
    ----------
    at : dict
        The position: ``epoch`` and ``batch`` count those that are done, ``loss``, ``correct`` and ``count``
        are sums over this epoch, ``point_*`` are those sums at its last point, ``seconds`` and ``images``
        run over all epochs.
    differs : list of str
        In words, what is not as it was when the run of the checkpoint began.
    torn : bool
        The run ended in the middle of a step, so nothing more is saved.
    """

    def __init__(
        self,
        net: nn.Module,
        loader: Any,
        optimizer: optim.Optimizer,
        loss: Loss,
        scheduler: optim.lr_scheduler.LRScheduler | None,
        path: PathLike | None,
        graph: bool | None,
        epochs: int,
        ranks: Ranks,
    ):
        self.net: nn.Module = net.module if isinstance(net, DistributedDataParallel) else net
        self.loader, self.optimizer, self.loss = loader, optimizer, loss
        self.scheduler, self.epochs, self.ranks = scheduler, epochs, ranks
        self.checkpoint = Checkpoint(path) if path else None
        self.device = device_of(net)
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
        self.at: dict[str, Any] = {"epoch": 0, "batch": 0, "seconds": 0.0, "images": 0, **SUMS}
        self.config = config.describe(self.net, optimizer, loss, scheduler, loader, self.device)
        ranks.check(loader, self.config)
        ranks.same_seed(loader)
        self.model = ranks.wrapped(net)
        self.differs: list[str] = []
        self.torn = False
        self.prefetch: Prefetch | None = None  # on the GPU, the epoch's batches
        self._stored: tuple[int, int] | None = None  # the position that was saved last
        # steps and time at the end of the first step, which may compile kernels and is not counted
        self._since: tuple[int, float] | None = None
        own = all(_module(v).startswith("fastconv.") for v in (loss, optimizer, *net.modules()))
        check(
            not graph or hasattr(backends.engine_of(self.device), "Graph"),
            "fit",
            f"graph=True needs the backend cpu or cuda, got {backends.get_backend()!r}",
        )
        on = own and self._recordable() if graph is None else graph
        asked = graph or self.device == "cuda"  # else a step that cannot be recorded is no news
        self.recorded = RecordedStep(self.model, optimizer, self.compute, on, "fit" if asked else None)

    def _recordable(self) -> bool:
        """Whether what the ranks send in a step can be part of a recording."""
        model = self.model
        sends = isinstance(model, DistributedDataParallel) and self.ranks.size > 1
        return not sends or self.device != "cuda" and not model.find_unused_parameters

    @property
    def steps(self) -> int:
        """Steps done, over all epochs."""
        return self.at["epoch"] * self.batches + self.at["batch"]

    def rest_of_epoch(self) -> Iterable[Any]:
        """The batches of this epoch that were not trained on yet."""
        position = position_of(self.loader) or {}
        if self.at["batch"] == self.batches and position.get("batch") == 0:
            return ()  # the run ended in an evaluation, when the loader was at the next epoch already
        batches = (
            self.loader if hasattr(self.loader, "state_dict") else islice(self.loader, self.at["batch"], None)
        )
        batches = pairs("fit", batches)
        if self.device != "cuda":
            return batches
        self.prefetch = Prefetch(self.loader, batches, self.prefetch)
        return self.prefetch

    def step(self, x: Any, y: Any) -> None:
        """Forward pass, backward pass, update, and the sums of loss and accuracy."""
        start, at, rng_state = perf_counter(), self.at, random.get_state()
        x, y = as_tensor(x).to(self.device), as_tensor(y).to(self.device)
        whole = self.recorded.step(x, y)
        if self.prefetch:
            # Copies, because the backward pass reads them, and fetch() writes to the memory of x in the end.
            out, loss = whole or self.forward(x.clone(), y.clone())
            self.prefetch.fetch()
        else:
            out, loss = whole or self.forward(x, y)
        value = loss.item()
        if not isfinite(value):
            random.set_state(rng_state)
            replayed = whole and finite(x)  # with weights that the step has changed
            where = "fit with graph=False tells where" if replayed else origin(self.net, x)
            self.fail(f"the loss is {value}", at["batch"] + 1, where)
        if not whole:
            self.update(loss)
        at["loss"] += value * len(x)
        at["correct"] += correct(out, y)
        at["count"] += len(x)
        at["batch"] += 1
        if self._since:
            at["seconds"] += perf_counter() - start
            at["images"] += len(x) * self.ranks.size
        self._since = self._since or (self.steps, perf_counter())

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """``(output, loss)``."""
        out = self.model(x)
        return out, self.loss(out, y)

    def update(self, loss: Tensor) -> None:
        """Gradients of ``loss``, and one step of the optimizer."""
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def compute(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """A whole step, also if the loss is not finite."""
        out, loss = self.forward(x, y)
        self.update(loss)
        return out, loss

    def fail(self, what: str, step: int, where: str) -> NoReturn:
        """Raise the error that ends a run whose numbers are not finite."""
        raise RuntimeError(
            f"fit: {what} at step {step} of epoch {self.at['epoch'] + 1}: {where}. A smaller learning rate "
            "often helps; the last checkpoint is from before"
        )

    def check_schedule(self) -> None:
        """Refuse a schedule that ends before the run does, now rather than when it ends."""
        last = getattr(self.scheduler, "total_steps", None)
        steps = self.epochs * self.batches
        check(
            last is None or getattr(self.scheduler, "interval", None) != "step" or steps <= last,
            "fit",
            f"the schedule ends after {last} steps, but {self.epochs} epochs are {steps}; a run with a "
            "one-cycle schedule cannot be lengthened: start anew, with resume=False",
        )

    def schedule(self, interval: str) -> None:
        """Step the scheduler if its interval, "step" or "epoch", has just ended."""
        if self.scheduler is None or self.scheduler.interval != interval:
            return
        if isinstance(self.scheduler, optim.lr_scheduler.ReduceLROnPlateau):
            self.scheduler.step(self.measured("accuracy" if self.scheduler.mode == "max" else "loss"))
        else:
            self.scheduler.step()

    def measured(self, what: str) -> float:
        """The last loss or accuracy on the test data, without test data that on the training data."""
        point = self.history[-1]
        value = point[f"train_{what}"] if point[f"test_{what}"] is None else point[f"test_{what}"]
        check(
            value is not None,
            "fit",
            "ReduceLROnPlateau with mode='max' follows the accuracy, which these labels do not have; use "
            "mode='min'",
        )
        return value

    def record(self) -> bool:
        """Add a point to the history at each fifth of the epoch; returns whether it did."""
        b, n, at = self.at["batch"], self.batches, self.at
        if POINTS * b // n == POINTS * (b - 1) // n:
            return False
        all_sums = self.sums()
        count = all_sums["count"] - all_sums["point_count"]
        running = [(all_sums[k] - all_sums[f"point_{k}"]) / count for k in ("loss", "correct")]
        values = (
            at["epoch"] + b / n,
            all_sums["loss"] / all_sums["count"],
            none_if_nan(all_sums["correct"] / all_sums["count"]),
            running[0],
            none_if_nan(running[1]),
            None,
            None,
            self.optimizer.param_groups[0]["lr"],
            self.speed(),
        )
        self.history.append(dict(zip(FIELDS, values)))
        at.update({f"point_{k}": at[k] for k in ("loss", "correct", "count")})
        return True

    def sums(self) -> dict[str, float]:
        """The sums of this epoch over all ranks."""
        return dict(zip(SUMS, self.ranks.total([self.at[k] for k in SUMS])))

    def share_buffers(self) -> None:
        """Give all ranks the buffers of rank 0, such as running statistics."""
        if self.ranks.size > 1:
            Copies(self.net.buffers()).send()

    def speed(self) -> float | None:
        """Images per second, None before the second step."""
        return self.at["images"] / self.at["seconds"] if self.at["seconds"] else None

    def standing(self) -> dict[str, Any]:
        """Where training stands, for :class:`Progress`."""
        at, total, (steps, start) = self.at, self.epochs * self.batches, self._since or (self.steps, 0)
        pace = (perf_counter() - start) / (self.steps - steps) if self.steps > steps else None
        return {
            "epoch": at["epoch"] + 1,
            "share": self.steps / total,
            "loss": at["loss"] / at["count"],
            "accuracy": none_if_nan(at["correct"] / at["count"]),
            "test_accuracy": self.history.test_accuracy,
            "speed": self.speed(),
            "left": pace and pace * (total - self.steps),
        }

    def next_epoch(self) -> None:
        """Begin the next epoch: its sums are 0."""
        self.at.update(epoch=self.at["epoch"] + 1, batch=0, **SUMS)

    def store(self) -> None:
        """Save everything, unless there is no path or no step was done since the last time."""
        where = (self.at["epoch"], self.at["batch"])
        if where == self._stored or self.torn:
            return
        if bad := bad_parameter(self.net):
            self.fail("the weights are not finite", self.at["batch"], bad)
        self._stored = where
        if self.checkpoint is None:
            return
        sums, (state, *others) = self.sums(), self.ranks.all(random.get_state())
        if not self.ranks.main:
            return
        self.checkpoint.write(
            {
                "net": self.net.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scheduler": self.scheduler and self.scheduler.state_dict(),
                "loader": self.prefetch.position if self.prefetch else position_of(self.loader),
                "random": state,
                "random of other ranks": others,
                "at": self.at | sums,
                "batches": self.batches,
                "history": list(self.history),
                "asked": self.config,
            }
        )

    def restore(self) -> Path | None:
        """Continue from the newest checkpoint that can be read.

        Returns its file, or None if there is none. ``differs`` then says what is not as it was.
        """
        checkpoint = self.checkpoint
        found = checkpoint and self.ranks.of_main(checkpoint.read)
        if not found:
            return None
        saved, path = found
        old = config.of_checkpoint(saved, self.config)
        config.refuse_if_different(path, old, self.config, saved)
        check(
            saved["batches"] == self.batches,
            "fit",
            f"{path} was trained with {saved['batches']} batches per epoch, now {self.batches}; "
            f"{config.CURE}",
        )
        changes = config.changed_settings(old, self.config, saved)
        try:
            self.net.load_state_dict(saved["net"])
        except ValueError as e:
            raise ValueError(f"fit: {path} is a checkpoint of another net; {config.CURE}\n{e}") from None
        self.differs = config.differences(old, self.config, changes)
        self.config = config.merged(old, self.config, changes)
        if any("initial_lr" in change for change in changes):
            groups = self._scheduled(_last_epoch(saved["scheduler"]))
        else:
            groups = [dict(g) for g in self.optimizer.param_groups]
            if self.scheduler is not None:
                self.scheduler.load_state_dict(saved["scheduler"])
        self.optimizer.load_state_dict(saved["optimizer"])
        for group, mine, change in zip(self.optimizer.param_groups, groups, changes):
            group.update({k: mine[k] for k in change})
        if saved["loader"] is not None and hasattr(self.loader, "load_state_dict"):
            self.loader.load_state_dict(saved["loader"])
        self._restore_random(saved)
        self.at.update(saved["at"], **({} if self.ranks.main else SUMS))
        self.history.extend(saved["history"])
        self.history.resumed = self.at["epoch"] + self.at["batch"] / self.batches
        self._stored = (self.at["epoch"], self.at["batch"])
        return path

    def _restore_random(self, saved: dict[str, Any]) -> None:
        """Continue the random numbers; with another number of ranks, the others than rank 0 draw new ones."""
        states = [saved["random"], *saved.get("random of other ranks", ())]
        random.set_state(states[0])
        if len(states) == self.ranks.size:
            random.set_state(states[self.ranks.rank])
        else:
            self.ranks.spread()

    def _scheduled(self, steps: int) -> list[dict[str, Any]]:
        """The optimizer's settings after ``steps`` of its own schedule.

        Its base lr is not that of the checkpoint, so the schedule runs again from its beginning.
        """
        scheduler = self.scheduler
        assert scheduler is not None
        check(
            scheduler.last_epoch <= steps,
            "fit",
            "the schedule is further than the checkpoint, and its base lr is "
            "another; make optimizer and scheduler anew",
        )
        for _ in range(steps - scheduler.last_epoch):
            scheduler.step()
        return [dict(g) for g in self.optimizer.param_groups]


def _last_epoch(state: dict[str, Any]) -> int:
    """Where the schedule of a state is; a chain is where its first schedule is."""
    return state["last_epoch"] if "last_epoch" in state else _last_epoch(state["_schedulers"][0])


def _module(thing: object) -> str:
    """The module where the class of an object, or a function, is defined."""
    return getattr(thing if hasattr(thing, "__name__") else type(thing), "__module__", None) or ""
