"""The rules by which ``optimize_for_inference`` fuses neighbouring layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from .. import nn
from .forward import computes_as
from .fused import CONVS, NORMS, Fused, FusedConv, FusedNorm

#: Fused layers by the layers that they are made of.
Known = dict[tuple[nn.Module, ...], Fused]


def foldable(conv: Any, norm: Any) -> bool:
    """Whether ``norm`` scales and shifts the channels that ``conv`` computes by constants."""
    if not computes_as(norm, *NORMS) or norm.running_mean is None or norm.training:
        return False
    rank = 2 if isinstance(conv, nn.Linear) else conv.ndim + 2
    vectors = [t for t in (norm.running_mean, norm.running_var, norm.weight, norm.bias) if t is not None]
    return rank in norm.ranks and all(t.shape == conv.weight.shape[:1] for t in vectors)


def is_pointwise(module: Any) -> bool:
    """Whether ``module`` computes a row of the table of unary ops."""
    named = next((k for k in type(module).__mro__ if "row" in vars(k)), None)
    return named is not None and computes_as(module, named) and module.pointwise_op() is not None


def _joins(layers: tuple[Any, ...], module: nn.Module) -> bool:
    """Whether ``module`` can be fused with the ``layers`` before it."""
    first, last = layers[0], layers[-1]
    if is_pointwise(last) or computes_as(last, *NORMS) and last.activation:
        return False
    if is_pointwise(module):
        return computes_as(first, *CONVS) or computes_as(module, nn.ReLU) and computes_as(first, *NORMS)
    return computes_as(first, *CONVS) and foldable(first, module)


def _does_nothing(module: Any) -> bool:
    if computes_as(module, nn.Dropout):
        return module.mode == "upscale_in_train" and not module.training
    return computes_as(module, nn.Identity)


def sources(modules: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """All modules that :func:`fuse` looks at: ``modules`` and the members of every Sequential."""
    for m in modules:
        yield m
        if computes_as(m, nn.Sequential):
            yield from sources(m)  # type: ignore[arg-type]


def flat(modules: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """``modules`` with the members of every Sequential in its place."""
    return (m for m in sources(modules) if not computes_as(m, nn.Sequential))


def fuse(modules: Iterable[nn.Module], known: Known) -> tuple[list[nn.Module], Known]:
    """Fuse modules that are called one after the other.

    Parameters
    ----------
    modules : iterable of Module
    known : dict
        Fused layers of an earlier call, by their layers; they are used again.

    Returns
    -------
    list of Module
        What computes the same as ``modules``.
    dict
        The fused layers among them, by their layers.
    """
    groups: list[tuple[nn.Module, ...]] = []
    for m in flat(modules):
        if _does_nothing(m):
            continue
        if groups and _joins(groups[-1], m):
            groups[-1] += (m,)
        else:
            groups.append((m,))
    made: Known = {}
    for g in groups:
        if computes_as(g[0], *CONVS):
            made[g] = known.get(g) or FusedConv(g)
        elif len(g) > 1:
            made[g] = known.get(g) or FusedNorm(g)
    return [made.get(g, g[0]) for g in groups], made
