"""The switch between engines: which backend is in force, its engine, and who observes it."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Generator
from contextvars import ContextVar
from typing import Any, Literal, Protocol, cast, overload

from . import availability, settings
from .contract import DeviceEngine, Engine
from .stand_in import replacing

HOST_BACKENDS = ("numpy", "cpu")
BACKENDS = (*HOST_BACKENDS, "cuda")

#: The backend that ``set_backend`` chose for the process; None where it was not called.
chosen: str | None = None

_loaded: dict[str, Engine] = {}
_current: ContextVar[str | None] = ContextVar("fastconv_backend", default=None)


class Observer(Protocol):
    """What sees the calls of modules and ops (``fastconv.inspect`` has two).

    ``faithful`` says that it computes what the engine would, so that results may be kept.
    """

    faithful: bool

    def call(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run ``module`` and return its result."""

    def engine(self, engine: Engine) -> Engine:
        """An engine that stands in for ``engine`` and shows this observer every op."""
        ...


#: The observer of this thread or task. While it is set, several layers must not be merged into one op,
#: because the observer is shown the ops of single layers.
observer: ContextVar[Observer | None] = ContextVar("fastconv_observer", default=None)

#: Whether an engine is recording a step that will be replayed on other values. Then nothing may depend on
#: the values that arrays hold now.
recording: ContextVar[bool] = ContextVar("fastconv_recording", default=False)


def _check(name: str) -> str:
    return settings.one_of(BACKENDS, name, "backend")


@overload
def load(name: Literal["cuda"]) -> DeviceEngine: ...
@overload
def load(name: str) -> Engine: ...
def load(name: str) -> Engine:
    """The engine ``name``, imported at its first use.

    Raises
    ------
    ValueError
        There is no backend of this name.
    RuntimeError
        It is not installed, or there is no GPU for it; the message says what is missing.
    """
    if name not in _loaded:
        _check(name)
        if name == "cuda":
            if (reason := availability.missing()) is not None:
                raise RuntimeError(f"backend 'cuda': {reason}")
        try:
            _loaded[name] = cast(Engine, importlib.import_module(f"fastconv.backends.{name}"))
        except ModuleNotFoundError as e:
            if e.name != f"fastconv.backends.{name}":
                raise
            raise RuntimeError(f"backend: {name!r} is not part of this installation of fastconv") from None
    return _loaded[name]


def get_backend() -> str:
    """Name of the backend in force.

    That is the one of the innermost ``with backend(...)``, else of ``set_backend``, else of the environment
    variable ``FASTCONV_BACKEND``, else ``"cpu"``.
    """
    return _current.get() or chosen or _from_environment()


def _from_environment() -> str:
    return settings.one_of(BACKENDS, settings.ENVIRONMENT["FASTCONV_BACKEND"] or "cpu", "FASTCONV_BACKEND")


def set_backend(name: str) -> None:
    """Choose the backend for the whole process.

    Parameters
    ----------
    name : {"numpy", "cpu", "cuda"}
        ``numpy`` is the reference, ``cpu`` the fast engine, ``cuda`` the one for an NVIDIA GPU.

    Raises
    ------
    ValueError
        There is no backend of this name.
    RuntimeError
        It is not available here; the message says what is missing.
    """
    global chosen
    load(_check(name))
    chosen = name


@contextlib.contextmanager
def backend(name: str) -> Generator[None, None, None]:
    """Choose the backend inside a ``with`` block, for the running thread or task only.

    Parameters and errors are those of :func:`set_backend`.

    Examples
    --------
    >>> import fastconv as fc
    >>> with fc.backend("numpy"):
    ...     print(fc.get_backend())
    numpy
    """
    load(_check(name))
    token = _current.set(name)
    try:
        yield
    finally:
        _current.reset(token)


def engine_of(device: str) -> Engine:
    """The engine that computes on arrays of ``device`` (``"cpu"`` or ``"cuda"``)."""
    name = "cuda" if device == "cuda" else get_backend()
    engine = load(name if device == "cuda" or name in HOST_BACKENDS else "cpu")
    if (replacement := replacing.get()) is not None and replacement == engine:
        return cast(Engine, replacement)
    onlooker = observer.get()
    return engine if onlooker is None else onlooker.engine(engine)
