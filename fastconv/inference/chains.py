"""Replacements for the ``forward`` of modules that call layers one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from .. import nn
from ..nn import fused_chain
from ..nn.fused_chain import FusionSteps
from ..nn.tree import versions
from .forward import Forward, computes_as
from .fused import FusedConv
from .rules import Known, fuse, sources


class _Fusion(NamedTuple):
    """What was worked out from ``modules``, and their versions at that time."""

    modules: list[nn.Module]
    versions: list[object]
    steps: list[Any]
    known: Known
    shortcut: nn.Module | None


class Chain(Forward):
    """The forward of a Sequential: its layers fused."""

    def __init__(self, module: nn.Module, own: Callable[..., Any] | None = None) -> None:
        super().__init__(module, own)
        self._fusion: _Fusion | None = None

    def form(self) -> tuple[tuple[nn.Module, ...], nn.Module | None]:
        """The modules that are called one after the other, and the shortcut around them."""
        return tuple(self.module), None

    def serves(self, body: tuple[nn.Module, ...], steps: list[Any]) -> bool:
        """Whether the ``steps`` into which ``body`` was fused can be used."""
        return True

    def current(self) -> _Fusion:
        """The fused steps, worked out again if one of the modules has changed."""
        fusion = self._fusion
        if fusion is None or versions(fusion.modules) != fusion.versions:
            body, shortcut = self.form()
            modules = list(dict.fromkeys((self.module, *sources(body))))
            before = versions(modules)  # a change by another thread from here on is noticed next time
            steps, known = fuse(body, {} if fusion is None else fusion.known)
            usable = steps if self.serves(body, steps) else []
            self._fusion = fusion = _Fusion(modules, before, usable, known, shortcut)
        return fusion

    def __call__(self, x: Any) -> Any:
        return fused_chain.run(self.current().steps, x)


class Residual(Chain):
    """The forward of a residual block: the sum is computed by the kernel of the last convolution.

    A class of blocks offers this by a method ``residual_form()``, which returns ``(body, shortcut)``.
    ``body`` is a tuple of modules and ``shortcut`` a module or None, such that ``forward`` computes::

        *before, last = body
        y = x
        for m in before:
            y = m(y)
        return last(y, x if shortcut is None else shortcut(x))
    """

    def form(self) -> tuple[tuple[nn.Module, ...], nn.Module | None]:
        """What the block offers."""
        return self.module.residual_form()

    def serves(self, body: tuple[nn.Module, ...], steps: list[Any]) -> bool:
        """Whether all is fused into convolutions, the norm that adds the shortcut included."""
        last = steps[-1] if steps else None
        return all(isinstance(s, FusedConv) for s in steps) and last is not None and body[-1] in last.norms

    def __call__(self, x: Any) -> Any:
        fusion = self.current()
        if not fusion.steps:
            return self.plain(x)
        carried = x if fusion.shortcut is None else fusion.shortcut(x)
        return fusion.steps[-1](fused_chain.run(fusion.steps[:-1], x), carried)


def is_residual(module: nn.Module) -> bool:
    """Whether ``module`` computes what the class that defines its ``residual_form`` computes."""
    kind = next((k for k in type(module).__mro__ if "residual_form" in vars(k)), None)
    return kind is not None and computes_as(module, kind)


class Alone(Forward):
    """The forward of a convolution or dense layer: its weights are packed once."""

    def __init__(self, module: nn.Module, own: Callable[..., Any] | None = None) -> None:
        super().__init__(module, own)
        self._conv = FusedConv((module,))

    def fusion_steps(self, shape: tuple[int, ...]) -> FusionSteps | None:
        """Those of the layer."""
        return self._conv.fusion_steps(shape)

    def __call__(self, x: Any) -> Any:
        return self._conv.forward(x)
