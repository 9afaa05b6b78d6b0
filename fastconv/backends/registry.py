"""The switch between engines: which backend is in force, its engine, and who looks on."""

from __future__ import annotations

import contextlib
import importlib
from contextvars import ContextVar

from . import availability, settings

HOST_BACKENDS = ("numpy", "cpu")
BACKENDS = (*HOST_BACKENDS, "cuda")

_environment = settings.environment("FASTCONV_BACKEND")
_loaded: dict[str, object] = {}
_default: str | None = None
_current: ContextVar[str | None] = ContextVar("fastconv_backend", default=None)

#: Who looks on (see ``fastconv.inspect``): ``.call(module, args, kwargs)`` runs modules, ``.engine(e)``
#: stands in for engines. Whoever merges several layers into one op must not do so while this is set.
observer: ContextVar = ContextVar("fastconv_observer", default=None)

#: Whether an engine is recording a step that will be replayed on other values: nothing may depend on what
#: arrays hold now.
recording: ContextVar[bool] = ContextVar("fastconv_recording", default=False)


def _check(name: str) -> str:
    return settings.one_of(BACKENDS, name, "backend")


def load(name: str):
    """The backend module ``name``, imported on first use."""
    if name not in _loaded:
        _check(name)
        if name == "cuda":
            if (reason := availability.missing()) is not None:
                raise RuntimeError(f"backend 'cuda': {reason}")
        try:
            _loaded[name] = importlib.import_module(f"fastconv.backends.{name}")
        except ModuleNotFoundError as e:
            if e.name != f"fastconv.backends.{name}":
                raise
            raise RuntimeError(f"backend: {name!r} is not part of this installation of fastconv") from None
    return _loaded[name]


def get_backend() -> str:
    """Name of the backend in force: innermost ``with backend(...)``, else ``set_backend``, else the
    environment."""
    return _current.get() or _default or settings.one_of(BACKENDS, _environment or "cpu", "FASTCONV_BACKEND")


def set_backend(name: str) -> None:
    """Choose the backend for the whole process (``"numpy"``, ``"cpu"`` or ``"cuda"``)."""
    global _default
    load(_check(name))
    _default = name


@contextlib.contextmanager
def backend(name: str):
    """Choose the backend inside a ``with`` block, for the running thread or task only."""
    load(_check(name))
    token = _current.set(name)
    try:
        yield
    finally:
        _current.reset(token)


def engine_of(device: str):
    """The backend that computes on arrays of ``device`` (``"cpu"`` or ``"cuda"``)."""
    name = "cuda" if device == "cuda" else get_backend()
    engine = load(name if device == "cuda" or name in HOST_BACKENDS else "cpu")
    onlooker = observer.get()
    return engine if onlooker is None else onlooker.engine(engine)
