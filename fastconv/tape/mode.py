"""Whether ops are recorded, in the running thread or task."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator
from contextvars import ContextVar
from typing import Any, TypeVar, cast, overload

from fastconv.checks import check

F = TypeVar("F", bound=Callable[..., Any])

_enabled: ContextVar[bool] = ContextVar("fastconv_grad", default=True)
_inference: ContextVar[bool] = ContextVar("fastconv_inference", default=False)


def is_grad_enabled() -> bool:
    """Whether ops are recorded in the running thread or task.

    >>> with fc.no_grad():
    ...     print(fc.is_grad_enabled())
    False
    """
    return _enabled.get()


def is_inference_mode_enabled() -> bool:
    """Whether :class:`inference_mode` is active in the running thread or task."""
    return _inference.get()


class _Mode:
    """A context manager and decorator that sets the two switches, and restores them at the end.

    Each call of a decorated function enters a new mode, so that several threads can call the function at the
    same time. In a decorated generator function, the mode is active while the body runs; it is not active in
    the caller between two values.
    """

    def __init__(self, enabled: bool, inference: bool | None = None) -> None:
        self._wanted = enabled, inference
        self._before: list[tuple[bool, bool]] = []

    def __enter__(self) -> None:
        self._before.append((_enabled.get(), _inference.get()))
        enabled, inference = self._wanted
        inference = _inference.get() if inference is None else inference
        _inference.set(inference)
        _enabled.set(enabled and not inference)

    def __exit__(self, *exc: object) -> None:
        enabled, inference = self._before.pop()
        _enabled.set(enabled)
        _inference.set(inference)

    def __call__(self, function: F) -> F:
        wanted = self._wanted
        if inspect.isgeneratorfunction(function):
            return cast("F", _generator(function, wanted))

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with _Mode(*wanted):
                return function(*args, **kwargs)

        return cast("F", wrapped)


def _generator(
    function: Callable[..., Generator[Any, Any, Any]], wanted: tuple[bool, bool | None]
) -> Callable[..., Generator[Any, Any, Any]]:
    """A generator function that runs the body of ``function`` in the mode ``wanted``."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        running = function(*args, **kwargs)
        step: Callable[[], Any] = functools.partial(next, running)
        try:
            while True:
                with _Mode(*wanted):
                    value = step()
                try:
                    sent = yield value
                    step = functools.partial(running.send, sent)
                except GeneratorExit:
                    with _Mode(*wanted):
                        running.close()
                    raise
                except BaseException as e:
                    step = functools.partial(running.throw, e)
        except StopIteration as end:
            return end.value

    return wrapped


class _PlainMode(_Mode):
    """A mode without options, which also decorates without parentheses: ``@no_grad``."""

    @overload
    def __new__(cls) -> _PlainMode: ...
    @overload
    def __new__(cls, function: F) -> F: ...  # type: ignore[misc]
    def __new__(cls, function: Any = None) -> Any:
        if function is None:
            return super().__new__(cls)
        check(callable(function), cls.__name__, f"expected a function, got {function!r:.60}", TypeError)
        mode: Any = cls
        return mode()(function)


class no_grad(_PlainMode):  # noqa: N801 - PyTorch's name
    """Context manager and decorator: ops inside are not recorded.

    >>> x = fc.ones(1, requires_grad=True)
    >>> with fc.no_grad():
    ...     print((x * 2).requires_grad)
    False
    """

    def __init__(self) -> None:
        super().__init__(False)


class enable_grad(_PlainMode):  # noqa: N801 - PyTorch's name
    """Context manager and decorator: ops inside are recorded, also within :class:`no_grad`.

    Within :class:`inference_mode` they are not, as in PyTorch.

    >>> x = fc.ones(1, requires_grad=True)
    >>> with fc.no_grad(), fc.enable_grad():
    ...     print((x * 2).requires_grad)
    True
    """

    def __init__(self) -> None:
        super().__init__(True)


class set_grad_enabled(_Mode):  # noqa: N801 - PyTorch's name
    """Turn the recording of ops on or off.

    A plain call has effect from there on. As a context manager or decorator, it has effect in the block or
    function.

    Parameters
    ----------
    mode : bool
        Whether ops are recorded. Within :class:`inference_mode` they never are, as in PyTorch.

    Examples
    --------
    >>> x = fc.ones(1, requires_grad=True)
    >>> with fc.set_grad_enabled(False):
    ...     print((x * 2).requires_grad)
    False
    """

    def __init__(self, mode: bool) -> None:
        super().__init__(_flag("set_grad_enabled", mode))
        self.mode = mode
        super().__enter__()
        self._set_at_once = True

    def __enter__(self) -> None:
        if self._set_at_once:  # __init__ has entered the mode already, so this ``with`` only has to leave it
            self._set_at_once = False
        else:
            super().__enter__()

    def __call__(self, function: F) -> F:
        if self._set_at_once:
            self._set_at_once = False
            super().__exit__()
        return super().__call__(function)


class inference_mode(_Mode):  # noqa: N801 - PyTorch's name
    """Context manager and decorator: ops inside are not recorded, not even within :class:`enable_grad`.

    In PyTorch, a tensor that was made in this mode can never take part in autograd. In fastconv it can, as a
    constant.

    Parameters
    ----------
    mode : bool
        False leaves inference mode inside the block, and ops are recorded there.

    Examples
    --------
    >>> x = fc.ones(1, requires_grad=True)
    >>> with fc.inference_mode():
    ...     print((x * 2).requires_grad, fc.is_inference_mode_enabled())
    False True
    """

    @overload
    def __new__(cls, mode: bool = True) -> inference_mode: ...
    @overload
    def __new__(cls, mode: F) -> F: ...  # type: ignore[misc]
    def __new__(cls, mode: Any = True) -> Any:
        make: Any = cls
        return make()(mode) if callable(mode) else super().__new__(cls)

    def __init__(self, mode: bool = True) -> None:
        super().__init__(not _flag("inference_mode", mode), mode)


def _flag(name: str, mode: Any) -> bool:
    check(isinstance(mode, bool), name, f"mode must be True or False, got {mode!r:.60}", TypeError)
    return mode
