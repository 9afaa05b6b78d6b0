"""What modules call in place of their class' ``forward``."""

from __future__ import annotations

import weakref
from contextvars import ContextVar

from .. import backends
from ..checks import check
from ..nn import fused_chain
from ..nn.fused_chain import STEPS
from ..nn.modules import changes
from ..tensor import Tensor
from .forward import Forward, computes_as
from .merged import CONVS, Conv, foldable, merge


class Steps(Forward):
    """Of a module that calls others: what it calls, merged."""

    def __init__(self, module, own=None):
        super().__init__(module, own)
        self.steps: list | None = None
        self.known: dict = {}
        self.changes = None

    def current(self) -> list | None:
        """The steps, worked out anew if any module has been changed since."""
        if self.changes != changes[0]:
            now = changes[0]
            self.steps, self.known = self.work_out()
            self.changes = now
        return self.steps

    def work_out(self) -> tuple[list | None, dict]:
        """The steps, and the merged layers among them by what they are made of."""
        raise NotImplementedError


class Chain(Steps):
    """Of a Sequential: its layers merged."""

    def work_out(self):
        return merge(self.module, self.known)

    def __call__(self, x):
        return fused_chain.run(self.current(), x)


class Residual(Steps):
    """Of a block of a ResNet: ``body(x) + shortcut(x)``, the sum inside the kernel of the body's last
    convolution."""

    def work_out(self):
        block = self.module
        pairs = [(getattr(block, f"conv{i}"), getattr(block, f"bn{i}")) for i in range(1, block.depth + 1)]
        if not all(computes_as(conv, *CONVS) and foldable(conv, norm) for conv, norm in pairs):
            return None, {}
        made = {pair: self.known.get(pair) or Conv(pair) for pair in pairs}
        return [made[pair] for pair in pairs], made

    def __call__(self, x):
        steps = self.current()
        if steps is None:
            return self.plain(x)
        shortcut = self.module.downsample
        carried = x if shortcut is None else shortcut(x)
        return steps[-1](fused_chain.run(steps[:-1], x), carried)


class Alone(Forward):
    """Of a convolution or dense layer: its weights packed once."""

    def __init__(self, module, own=None):
        super().__init__(module, own)
        self.conv = Conv((module,))

    def __call__(self, x):
        return self.conv.forward(x)


STEPS[Alone] = lambda layer, shape: vars(layer)["forward"].conv.steps(shape)


#: What waits for the next link of a chain in the pass that is running, None outside of one.
_waiting: ContextVar[list[weakref.ref] | None] = ContextVar("fastconv_waiting", default=None)


def run(forward, *args, **kwargs):
    """Call ``forward``, in which links may wait for each other. Whatever is still held afterwards waits no
    longer."""
    token = _waiting.set(waiting := [])
    try:
        result = forward(*args, **kwargs)
    finally:
        _waiting.reset(token)
    for reference in waiting:
        if (pending := reference()) is not None:
            pending.settle()
    return result


class Link(Forward):
    """Of a module that ``in_sequence`` of another names: called in that order the modules compute as one, any
    other use of theirs gets what they compute alone.

    Attributes
    ----------
    chains : list of (modules, Chain)
        Each ``in_sequence`` that this module is part of.
    """

    def __init__(self, module, own=None, chains=()):
        super().__init__(module, own)
        self.chains = list(chains)

    def __getstate__(self):
        return {**super().__getstate__(), "chains": self.chains}

    def __call__(self, x, *args, **kwargs):
        waiting = _waiting.get()
        lone = waiting is None or args or kwargs or not isinstance(x, Tensor) or x.requires_grad
        if lone or backends.observer.get() is not None:
            return self.plain(x, *args, **kwargs)
        starts = [((), x)]
        if isinstance(x, Pending) and x.source is not None:
            starts.insert(0, (x.links, x.source))
        for links, source in starts:
            links = (*links, self)
            done = tuple([link.module for link in links])
            for modules, chain in self.chains:
                if modules == done:
                    return chain(source)
                if modules[: len(done)] == done:
                    pending = Pending(links, source)
                    waiting.append(weakref.ref(pending))
                    return pending
        return self.plain(x)


class Pending(Tensor):
    """``source`` on its way through ``links``: the last link of a chain takes it on from there, and for
    anybody else it is the result of those so far, computed when asked for."""

    __slots__ = ("links", "source", "_version", "_value")

    def __init__(self, links, source):
        super().__init__(source.array)  # its memory, but not its version: the result has its own
        self.links, self.source, self._version, self._value = links, source, source.memory.version, None

    def settle(self):
        """The array."""
        if self._value is None:
            y = self.source
            check(
                y.memory.version == self._version,
                "optimize_for_inference",
                "the input of a module named in in_sequence was "
                "changed in place before the result was used; leave that module out of in_sequence",
                RuntimeError,
            )
            for link in self.links:
                y = link.plain(y)
            self.array = y.array
        return self._value

    array = property(settle)

    @array.setter
    def array(self, value):
        self._value, self.source, self.links = value, None, ()
