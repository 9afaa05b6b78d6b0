"""Layers that a user's ``forward`` calls one after the other, fused where ``in_sequence`` names them.

The first layer of a chain returns a :class:`Pending` tensor, which stands for its result. If the next layer
of the chain is called with it, the two compute as one. Anything else that reads the tensor gets the result of
the first layer alone, computed at that moment::

    y = self.conv(x)         Pending: conv has not run
    z = self.norm(y)         conv and norm as one op
    y + 1                    conv runs now

So a wrong ``in_sequence`` costs time and changes no result.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any

from .. import backends, nn
from ..checks import check
from ..nn.hooks import hooked
from ..tensor import Tensor
from .chains import Chain
from .forward import Forward, computes_as
from .fused import CONVS, NORMS
from .rules import flat

#: The pending tensors of the pass that is running; None outside of one.
_waiting: ContextVar[list[weakref.ref[Pending]] | None] = ContextVar("fastconv_waiting", default=None)


def run(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call ``forward``, in which links may return pending tensors.

    Those that are still referenced afterwards are computed before ``run`` returns.
    """
    waiting: list[weakref.ref[Pending]] = []
    token = _waiting.set(waiting)
    try:
        result = forward(*args, **kwargs)
    finally:
        _waiting.reset(token)
    for reference in waiting:
        if (pending := reference()) is not None:
            pending.settle()
    return result


class Link(Forward):
    """The forward of a module that is named in the ``in_sequence`` of another.

    Called in that order the modules compute as one. In any other use each computes what it computes alone.

    Attributes
    ----------
    chains : list of (modules, Chain)
        One for each ``in_sequence`` that names this module.
    """

    def __init__(
        self,
        module: nn.Module,
        own: Callable[..., Any] | None = None,
        chains: Iterable[tuple[tuple[nn.Module, ...], Chain]] = (),
    ) -> None:
        super().__init__(module, own)
        self.chains = list(chains)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "chains": self.chains}

    def __call__(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        waiting = _waiting.get()
        if (
            waiting is None
            or args
            or kwargs
            or not isinstance(x, Tensor)
            or x.requires_grad
            or backends.observer.get() is not None
        ):
            return self.plain(x, *args, **kwargs)
        starts: list[tuple[tuple[Link, ...], Tensor]] = [((), x)]
        if isinstance(x, Pending) and x.source is not None:
            starts.insert(0, (x.links, x.source))
        for links, source in starts:
            links = (*links, self)
            done = tuple([link.module for link in links])
            for modules, chain in self.chains:
                if any(map(hooked, modules)):  # hooks are called with the results of single layers
                    continue
                if modules == done:
                    return chain(source)
                if modules[: len(done)] == done:
                    pending = Pending(links, source)
                    waiting.append(weakref.ref(pending))
                    return pending
        return self.plain(x)


class Pending(Tensor):
    """The result of ``links`` called one after the other on ``source``, computed when it is first read."""

    __slots__ = ("links", "source", "_version", "_value")

    def __init__(self, links: tuple[Link, ...], source: Tensor) -> None:
        super().__init__(source.array)  # its memory, but not its version: the result has its own
        self.links = links
        self.source: Tensor | None = source
        self._version, self._value = source.memory.version, None

    def settle(self) -> Any:
        """The array of the result."""
        if self._value is None:
            y: Any = self.source
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

    @property
    def array(self) -> Any:  # type: ignore[override]
        return self.settle()

    @array.setter
    def array(self, value: Any) -> None:
        self._value, self.source, self.links = value, None, ()


def link(owner: nn.Module) -> None:
    """Make links of the children of ``owner`` that its ``in_sequence`` names."""
    every = owner.named_modules(remove_duplicate=False)  # a child may have two names
    children = {name: m for name, m in every if name and "." not in name}
    for names in getattr(owner, "in_sequence", ()):
        ok = isinstance(names, (tuple, list)) and all(n in children for n in names)
        check(
            ok, f"{type(owner).__name__}.in_sequence", f"expected tuples of names of children, got {names!r}"
        )
        modules = tuple(children[n] for n in names)
        while modules and not computes_as(next(flat(modules), None), *CONVS, *NORMS):
            modules = modules[1:]  # nothing can be fused with the first
        chain = Chain(nn.Sequential(*modules))
        for m in set(modules) if len(modules) > 1 else ():
            own = vars(m).get("forward")
            if not isinstance(own, Link):
                vars(m)["forward"] = own = Link(m, own)
            own.chains.append((modules, chain))
