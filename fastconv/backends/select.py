"""The choice of a convolution algorithm.

An engine lists its algorithms. Each entry says why it refuses a case, what it should cost and how much
scratch memory it takes. A forced algorithm runs, or raises with its reason for refusing. The keyword forces
first, then ``with conv_algorithm(...)``, then the environment variable. Where nothing is forced, the
algorithm with the lowest estimate among those that apply runs, for each pass on its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fastconv.spec import ConvSpec

from . import settings

PASSES = ("fwd", "bwd_data", "bwd_weight")

#: What users may ask for. An engine may have only some of the algorithms.
NAMES = ("auto", "depthwise", "direct", "im2col", "implicit_gemm", "winograd")

_forced: ContextVar[str | None] = ContextVar("fastconv_conv_algorithm", default=None)


@dataclass(frozen=True)
class Algorithm:
    """One way to run a convolution.

    Attributes
    ----------
    name : str
        What the algorithm is, in the field's terms; one of ``NAMES``.
    fwd, bwd_data, bwd_weight : callable
        The passes, with the contract's arguments except ``algorithm``, all positional.
    refuses : callable
        ``(spec, dtype)`` -> why the algorithm does not apply, or None.
    cost : callable
        ``(spec, pass, dtype)`` -> estimated seconds on this machine. The rule of choice.
    workspace : callable
        ``(spec, pass, dtype)`` -> bytes of scratch memory.
    aliases : tuple of str
        Other names under which users may ask for it.
    """

    name: str
    fwd: Callable[..., Any]
    bwd_data: Callable[..., Any]
    bwd_weight: Callable[..., Any]
    refuses: Callable[[ConvSpec, Any], str | None]
    cost: Callable[[ConvSpec, str, Any], float]
    workspace: Callable[[ConvSpec, str, Any], int]
    aliases: tuple[str, ...] = ()


def check_name(name: str | None, what: str = "conv_algorithm") -> str | None:
    """Validate an algorithm's name; ``"auto"`` and None force nothing and give None."""
    return None if name is None or settings.one_of(NAMES, name, what) == "auto" else name


@contextlib.contextmanager
def conv_algorithm(name: str) -> Generator[None, None, None]:
    """Force a convolution algorithm inside a ``with`` block; backward uses what forward was forced to.

    Parameters
    ----------
    name : {"auto", "depthwise", "direct", "im2col", "implicit_gemm", "winograd"}
        ``"auto"`` forces nothing. On the ``cuda`` backend ``"im2col"`` is another name of
        ``"implicit_gemm"``.

    Raises
    ------
    ValueError
        An unknown name here; at the convolution, an algorithm that the backend does not have or that refuses
        the case, with its reason.

    Examples
    --------
    >>> import fastconv as fc
    >>> with fc.conv_algorithm("direct"):
    ...     y = fc.nn.functional.conv2d(fc.ones(1, 3, 8, 8), fc.ones(4, 3, 3, 3))
    """
    check_name(name)
    token = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(token)


def forced(keyword: str | None) -> str | None:
    """The forced algorithm in effect here, or None.

    The keyword comes first, then the context manager, then ``FASTCONV_CONV_ALGORITHM``.
    """
    if keyword is None:
        keyword = _forced.get()
    variable = "FASTCONV_CONV_ALGORITHM"
    return check_name(settings.ENVIRONMENT[variable], variable) if keyword is None else check_name(keyword)


def choose(
    algorithms: Sequence[Algorithm], spec: ConvSpec, which: str, dtype: Any, name: str | None
) -> Algorithm:
    """The algorithm that runs pass ``which`` of ``spec``.

    Parameters
    ----------
    algorithms : sequence of Algorithm
        Those of an engine. Where estimates are equal, the first one runs.
    spec : ConvSpec
    which : {"fwd", "bwd_data", "bwd_weight"}
    dtype : dtype
    name : str or None
        The forced algorithm, by its name or an alias.

    Raises
    ------
    ValueError
        The forced algorithm is not in the list or refuses the case, or every algorithm refuses it.
    """
    if name is not None:
        for a in algorithms:
            if name == a.name or name in a.aliases:
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


def chooser(
    algorithms: Sequence[Algorithm], *in_force: Callable[[], Any]
) -> Callable[[ConvSpec, str, Any, str | None], Algorithm]:
    """:func:`choose` among the algorithms of an engine, with its answers kept.

    ``in_force`` are functions that return the settings on which estimates and refusals depend. The result
    takes the other arguments of :func:`choose`.
    """

    @lru_cache(maxsize=4096)
    def chosen(spec: ConvSpec, which: str, dtype: Any, name: str | None, *_: Any) -> Algorithm:
        return choose(algorithms, spec, which, dtype, name)

    def choose_for(spec: ConvSpec, which: str, dtype: Any, name: str | None) -> Algorithm:
        return chosen(spec, which, dtype, name, *[setting() for setting in in_force])

    return choose_for
