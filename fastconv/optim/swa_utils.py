"""Averages of a network's weights over the steps of its training."""

# Arguments of users are checked when they arrive, whatever their declared types say.
# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any, TypeAlias

from fastconv import nn
from fastconv.checks import check, check_shape, number
from fastconv.creation import as_tensor
from fastconv.tape import no_grad
from fastconv.tensor import Tensor

#: ``(average, new value, number of values so far) -> new average``
Average: TypeAlias = Callable[[Tensor, Tensor, int], Tensor]


def _mean(average: Tensor, value: Tensor, count: int) -> Tensor:
    return average + (value - average) / (count + 1)


def get_swa_avg_fn() -> Average:
    """A function that computes the mean of all values, for :class:`AveragedModel`.

    >>> optim.swa_utils.get_swa_avg_fn()(fc.ones(1), fc.zeros(1), 3)
    tensor([0.75])
    """
    return _mean


def get_ema_avg_fn(decay: float = 0.999) -> Average:
    """A function that computes the exponential average ``decay * average + (1 - decay) * value``.

    It is for :class:`AveragedModel`. Raises a ValueError if ``decay`` is not between 0 and 1.

    >>> optim.swa_utils.get_ema_avg_fn(0.5)(fc.ones(1), fc.zeros(1), 3)
    tensor([0.5])
    """
    number("get_ema_avg_fn", "decay", decay)
    check(0 <= decay <= 1, "get_ema_avg_fn", f"decay must be between 0 and 1, got {decay}")

    def average(average: Tensor, value: Tensor, count: int) -> Tensor:
        return decay * average + (1 - decay) * value

    return average


class AveragedModel(nn.Module):
    """A copy of a network that holds averages of its parameters (Izmailov et al., "Averaging weights leads to
    wider optima and better generalization", 2018).

    Parameters
    ----------
    model : Module
    device : str, optional
        Where the copy is; that of ``model`` by default.
    avg_fn : callable ``(average, value, count) -> average``, optional
        Gives the new average of a parameter; ``count`` is the number of values averaged so far. The mean by
        default; see also :func:`get_ema_avg_fn`.
    multi_avg_fn : None
        Not supported.
    use_buffers : bool
        Average buffers too. By default the last buffers are copied. Then the statistics of BatchNorm are
        those of the last parameters, not of the averaged ones.

    Attributes
    ----------
    module : Module
        The copy.

    Raises
    ------
    ValueError
        If ``multi_avg_fn`` is given.

    Examples
    --------
    >>> net = nn.Linear(2, 1)
    >>> average = optim.swa_utils.AveragedModel(net)
    >>> average.update_parameters(net)  # after each step, or each epoch
    >>> average(fc.ones(1, 2)).shape
    (1, 1)
    """

    def __init__(
        self,
        model: nn.Module,
        device: str | None = None,
        avg_fn: Average | None = None,
        multi_avg_fn: None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        check(
            multi_avg_fn is None,
            "AveragedModel",
            "multi_avg_fn is not supported; give avg_fn, for one tensor",
        )
        self.module = deepcopy(model)
        self.register_buffer("n_averaged", as_tensor(0))
        self.avg_fn, self.use_buffers = avg_fn or _mean, use_buffers
        if device is not None:
            self.to(device)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The result of the copy for these arguments."""
        return self.module(*args, **kwargs)

    def update_parameters(self, model: nn.Module) -> None:
        """Update the average with the current parameters of ``model``; the first call copies them.

        Raises a ValueError, and changes nothing, if ``model`` has other numbers or shapes of parameters than
        the copy.
        """
        name = "AveragedModel.update_parameters"
        check(
            isinstance(model, nn.Module),
            name,
            f"model must be an nn.Module, got {type(model).__name__}",
            TypeError,
        )
        kinds = ("parameters", "buffers")
        ours, theirs = ([list(getattr(m, kind)()) for kind in kinds] for m in (self.module, model))
        for kind, own, others in zip(kinds, ours, theirs):
            check(
                len(own) == len(others),
                name,
                f"the average has {len(own)} {kind}, but model has {len(others)}; give the network that was "
                "averaged",
            )
            for mine, new in zip(own, others):
                check_shape(name, f"one of the {kind} of model", new.shape, mine.shape, "the average's")
        count = int(self.n_averaged.item())
        with no_grad():
            for mine, new in zip(ours[0], theirs[0]):
                mine.copy_(self._averaged(mine, new, count))
            for mine, new in zip(ours[1], theirs[1]):
                mine.copy_(self._averaged(mine, new, count if self.use_buffers else 0))
            self.n_averaged.fill_(count + 1)

    def _averaged(self, mine: Tensor, new: Tensor, count: int) -> Tensor:
        new = new.detach().to(mine.device)
        return self.avg_fn(mine.detach(), new, count) if count else new
