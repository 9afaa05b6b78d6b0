"""The decorator of functions that build a network, and the list of these functions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from difflib import get_close_matches
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


def get_model(name: str, **options: Any) -> Any:
    """Build the network of :func:`list_models` that is called ``name``.

    Parameters
    ----------
    name : str
    **options
        The arguments of the function of that name, such as ``num_classes``.

    Raises
    ------
    ValueError
        There is no such network.

    Examples
    --------
    >>> net = fc.models.get_model("squeezenet1_1", num_classes=10)
    """
    known, near = list_models(), get_close_matches(str(name), _builders, 1)
    text = f"expected one of {', '.join(known)}, got {name!r}" + (
        f"; did you mean {near[0]}?" if near else ""
    )
    check(name in known, "get_model", text)
    return _builders[name](**options)
