"""An engine that stands in for another and passes on the calls of its ops."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from .contract import CONTRACT, OPTIONAL

#: What ``engine_of`` returns in place of the engine that it stands in for; None: nothing.
replacing: ContextVar[StandIn | None] = ContextVar("fastconv_replacing", default=None)


class StandIn:
    """``engine``, whose ops are computed by ``run(name, args)``; every argument is passed by position.

    Without ``optional`` it has only the ops that every engine has. It equals the engine, so what was made for
    one is used for the other.
    """

    def __init__(
        self, engine: Any, run: Callable[[str, tuple[Any, ...]], Any], optional: bool = True
    ) -> None:
        self._engine, self._run, self._optional = engine, run, optional
        self._stands_for = getattr(engine, "_stands_for", engine)

    def __eq__(self, other: object) -> bool:
        return getattr(other, "_stands_for", other) is self._stands_for

    def __hash__(self) -> int:
        return hash(self._stands_for)

    def __getattr__(self, name: str) -> Any:
        if name in OPTIONAL and not self._optional:
            raise AttributeError(name)
        found = getattr(self._engine, name)
        signature = CONTRACT.get(name) or OPTIONAL.get(name)
        if signature is None:
            return found

        def call(*args: Any, **options: Any) -> Any:
            if options:
                bound = signature.bind(*args, **options)
                bound.apply_defaults()
                args = tuple(bound.arguments.values())
            return self._run(name, args)

        return call
