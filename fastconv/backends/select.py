"""Which convolution algorithm runs: an ordered list, each entry says why it does not apply.

The order of decisions is: forced by the caller (keyword, ``with conv_algorithm(...)``, environment), then the
first applicable entry by the backend's own rule. A forced algorithm that does not apply raises and says why.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass

from . import settings

PASSES = ("fwd", "bwd_data", "bwd_weight")
NAMES = ("auto", "direct", "im2col", "winograd")

_environment = settings.environment("FASTCONV_CONV_ALGORITHM")
_forced: ContextVar[str | None] = ContextVar("fastconv_conv_algorithm", default=None)


@dataclass(frozen=True)
class Algorithm:
    """One way to run a convolution.

    Attributes
    ----------
    name : str
    fwd, bwd_data, bwd_weight : callables with the contract's arguments less ``algorithm``, all positional
    refuses : (spec, dtype) -> reason or None
    cost : (spec, pass, dtype) -> estimated seconds on this machine, the rule of choice
    workspace : (spec, pass, dtype) -> bytes of scratch memory
    """

    name: str
    fwd: Callable
    bwd_data: Callable
    bwd_weight: Callable
    refuses: Callable
    cost: Callable
    workspace: Callable


def check_name(name: str | None, what: str = "conv_algorithm") -> str | None:
    """Validate an algorithm's name; ``"auto"`` and None mean no force."""
    return None if name is None or settings.one_of(NAMES, name, what) == "auto" else name


@contextlib.contextmanager
def conv_algorithm(name: str):
    """Force a convolution algorithm inside a ``with`` block; backward follows the forward pass's choice."""
    check_name(name)
    token = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(token)


def forced(keyword: str | None) -> str | None:
    """The forced algorithm in effect here: keyword, else context manager, else
    ``FASTCONV_CONV_ALGORITHM``."""
    if keyword is None:
        keyword = _forced.get()
    return check_name(_environment, "FASTCONV_CONV_ALGORITHM") if keyword is None else check_name(keyword)


def choose(algorithms: Sequence[Algorithm], spec, which: str, dtype, name: str | None) -> Algorithm:
    """The algorithm that runs pass ``which`` of ``spec``."""
    if name is not None:
        for a in algorithms:
            if a.name == name:
                reason = a.refuses(spec, dtype)
                if reason:
                    raise ValueError(f"conv{spec.ndim}d: algorithm {name!r} does not apply: {reason}")
                return a
        known = ", ".join(a.name for a in algorithms)
        raise ValueError(f"conv{spec.ndim}d: algorithm {name!r} is not in this backend (it has {known})")
    able = [a for a in algorithms if a.refuses(spec, dtype) is None]
    if not able:
        raise ValueError(f"conv{spec.ndim}d: {algorithms[0].refuses(spec, dtype)}")
    return min(able, key=lambda a: a.cost(spec, which, dtype))
