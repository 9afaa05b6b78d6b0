"""What passes have computed of constants, kept so that the programs of one net share it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .program import replaced


class Constants:
    """Results by what they were computed from: a name, constants and other arguments.

    The constants must not change while this object is in use.
    """

    def __init__(self) -> None:
        self._known: dict[Any, tuple[Any, Any]] = {}

    def computed(self, name: str, arguments: tuple[Any, ...], compute: Callable[[], Any]) -> Any:
        """What ``compute()`` returns; the same object for the same name and arguments.

        ``arguments`` are constant Values and hashable things, or tuples of these.
        """
        key = name, replaced(arguments, lambda v: ("constant", id(v.constant)))
        if key not in self._known:
            self._known[key] = compute(), arguments  # which are kept, so that no id is used twice
        return self._known[key][0]
