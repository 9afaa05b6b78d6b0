"""A trained network made ready to be used: ``optimize_for_inference``.

Every module of the copy gets a ``forward`` of its own that computes what the module's class computes, with
fewer passes over memory: a ``Sequential`` merges the layers that it calls itself. No layer is changed or
replaced, so it does not matter who else calls it: a module may be used twice, shared by two parents, or
called by a user's ``forward``.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any

from .. import backends, nn
from ..backends import settings
from ..backends.select import forced
from ..checks import check
from ..models.resnet import BasicBlock, Bottleneck
from ..nn.modules import changes
from ..tensor import Tensor
from .forward import Forward, computes_as, given
from .forwards import Alone, Chain, Link, Residual, run
from .merged import CONVS, NORMS, flat, refuse

__all__ = ["optimize_for_inference"]


def _link(owner: nn.Module) -> None:
    """Give the children of ``owner`` that its ``in_sequence`` names their links."""
    for names in getattr(owner, "in_sequence", ()):
        ok = isinstance(names, (tuple, list)) and all(owner._modules.get(n) is not None for n in names)
        check(
            ok, f"{type(owner).__name__}.in_sequence", f"expected tuples of names of children, got {names!r}"
        )
        modules = tuple(owner._modules[n] for n in names)
        while modules and not computes_as(next(flat(modules), None), *CONVS, *NORMS):
            modules = modules[1:]  # nothing is merged into the first
        chain = Chain(nn.Sequential(*modules))
        for m in set(modules) if len(modules) > 1 else ():
            link = vars(m).get("forward")
            if not isinstance(link, Link):
                vars(m)["forward"] = link = Link(m, link)
            link.chains.append((modules, chain))


class InferenceRecorder(Forward):
    """Of the net: from the second input of a shape on, only its kernels run.

    The recordings of the four latest shapes are kept; anything that could change them (weights, modules,
    their options, threads, precision) makes new ones. Nets with a ``forward`` from outside fastconv, which
    may look at values, and engines that do not record run as they are.
    """

    LIMIT = 4

    def __init__(self, module, own=None):
        super().__init__(module, own)
        self.recordable, self.memories, self.changes = False, (), None
        self.recordings: OrderedDict[tuple, Any] = OrderedDict()

    def _key(self, engine, x):
        if self.changes != changes[0]:
            now = changes[0]
            self.recordable = all(_known(m, m is self.module) for m in self.module.modules())
            self.memories = [t.memory for t in (*self.module.parameters(), *self.module.buffers())]
            self.changes = now
        return (
            engine,
            x.shape,
            x.dtype,
            settings.get_num_threads(),
            settings.get_float32_precision(),
            forced(None),
            self.changes,
            *[memory.version for memory in self.memories],
        )

    def __call__(self, *args, **kwargs):
        x = args[0] if len(args) == 1 and not kwargs else None
        refuse(self.module.training, x)
        if not isinstance(x, Tensor) or x.requires_grad:
            return run(self.plain, *args, **kwargs)
        engine = backends.engine_of(x.device)
        if backends.observer.get() is not None or not hasattr(engine, "record"):
            return run(self.plain, x)
        key = self._key(engine, x)
        replay = self.recordings.get(key, self)
        if replay is self:
            y = run(self.plain, x)
            # To be recorded next time: this one has packed weights.
            self.recordings[key] = None if self.recordable else False
            while len(self.recordings) > self.LIMIT:
                self.recordings.popitem(last=False)
            return y
        if replay is None:
            replay = engine.record(lambda a: run(self.plain, Tensor(a)).array, x.array) or False
            self.recordings[key] = replay
        return Tensor(replay(x.array)) if replay else run(self.plain, x)


def _known(module, top: bool) -> bool:
    """Whether ``module`` does the same for all values, and no recording of its own."""
    ours = type(module).__module__.partition(".")[0] == __package__.partition(".")[0]
    return (
        ours
        and given(module) is None
        and (top or not isinstance(vars(module).get("forward"), InferenceRecorder))
    )


def optimize_for_inference(net: nn.Module) -> nn.Module:
    """A copy of ``net`` for evaluation only that computes the same with fewer passes over memory.

    BatchNorm is folded into the convolution or dense layer before it, ReLU and the sum of a residual block
    are done by the convolution's kernel, dropout is left out, and weights are kept in the arrangement that
    kernels read. This is done in ``Sequential``, in the blocks of :mod:`fastconv.models`, and for the tuples
    of names in a module's attribute
    ``in_sequence``, which says which of its children ``forward`` calls directly one after the other::

        class Stem(nn.Module):
            in_sequence = (("conv", "norm"),)

            def forward(self, x):
                return self.pool(self.norm(self.conv(x)))

    Every module stays in its place with its own parameters, and computes what it did, whoever calls it; what
    is merged belongs to the caller. From the second input of a shape on the CPU backend runs the kernels
    alone, in memory planned once (see :class:`Replays`).

    Parameters
    ----------
    net : Module
        Stays as it is, with memory of its own.

    Returns
    -------
    Module
        In evaluation mode. Its results agree with ``net.eval()`` up to rounding and carry no gradients:
        calling it on a tensor that requires one raises a RuntimeError, and so does calling it in training
        mode. Modules, parameters and ``state_dict`` are those of ``net``; changes of them take effect.
    """
    check(
        isinstance(net, nn.Module),
        "optimize_for_inference",
        f"expected a Module, got {type(net).__name__}",
        TypeError,
    )
    net = copy.deepcopy(net)
    net.zero_grad()
    net.eval().requires_grad_(False)
    modules = list(net.modules())
    for m in modules:
        own = given(m)
        vars(m).pop("forward", None)  # of a net that was optimized before
        if own is not None:
            vars(m)["forward"] = own
    for m in modules:
        if computes_as(m, *CONVS):
            vars(m)["forward"] = Alone(m)
        elif computes_as(m, nn.Sequential):
            vars(m)["forward"] = Chain(m)
        elif computes_as(m, BasicBlock, Bottleneck):
            vars(m)["forward"] = Residual(m)
    for m in modules:
        _link(m)
    vars(net)["forward"] = InferenceRecorder(net, vars(net).get("forward"))
    return net
