"""The decorator of functions that build a network, and the list of these functions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from fastconv.checks import check

B = TypeVar("B", bound=Callable[..., Any])

_builders: dict[str, Callable[..., Any]] = {}


def builder(function: B) -> B:
    """Add ``function`` to :func:`list_models`, and refuse torchvision's arguments for trained weights."""
    name = function.__name__

    @functools.wraps(function)
    def build(
        *args: Any, weights: Any = None, pretrained: bool = False, progress: bool = True, **options: Any
    ) -> Any:
        check(
            weights is None and not pretrained,
            name,
            f"{'pretrained=True' if weights is None else f'weights={weights!r}'} is not supported, because "
            f"nothing is downloaded; load a file of weights with "
            f'net.load_state_dict(fc.load("{name}.pth"))',
        )
        return function(*args, **options)

    _builders[name] = build
    return build  # type: ignore[return-value]


def list_models() -> list[str]:
    """The names of the networks, in alphabetical order.

    >>> "resnet18" in fc.models.list_models()
    True
    """
    return sorted(_builders)
