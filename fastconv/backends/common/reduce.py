"""The reductions: a table with one row per name, which all engines use.

A reduction computes a term from each element, combines the terms of a group by a binary op, and computes the
result from the total. :class:`Scalars` holds the functions of one engine that the rows use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Scalars(NamedTuple):
    """The functions of an engine that the rows use, for one type of element."""

    wide: Callable  # converts an element to the type of sums
    select: Callable  # condition, a, b -> a where the condition holds, else b
    sqrt: Callable
    power: Callable  # x, p


class Reduction(NamedTuple):
    """A reduction of elements ``x``, with at most one number ``p``.

    Attributes
    ----------
    join : str
        The binary op that combines terms: ``add``, ``mul``, ``maximum`` or ``minimum``.
    again : str
        The reduction that combines the totals of several groups of terms, before ``finish``.
    term : (x, p) -> the term
    finish : (total, n, p) -> the result, where n is the number of terms
    """

    join: str
    again: str
    term: Callable
    finish: Callable


def reductions(f: Scalars) -> dict[str, Reduction]:
    """The rows, written with the functions ``f`` of an engine."""
    wide, select, sqrt, power = f.wide, f.select, f.sqrt, f.power

    def row(join: str, term: Callable, finish: Callable | None = None) -> Reduction:
        again = {"add": "sum", "mul": "prod", "maximum": "max", "minimum": "min"}[join]
        return Reduction(join, again, term, finish or (lambda total, n, p: total))

    return {
        "sum": row("add", lambda x, p: wide(x)),
        "mean": row("add", lambda x, p: wide(x), lambda total, n, p: total / n),
        "prod": row("mul", lambda x, p: wide(x)),
        "max": row("maximum", lambda x, p: x),
        "min": row("minimum", lambda x, p: x),
        "any": row("maximum", lambda x, p: x != 0),
        "all": row("minimum", lambda x, p: x != 0),
        "count_nonzero": row("add", lambda x, p: x != 0),
        "nansum": row("add", lambda x, p: select(x == x, wide(x), wide(0))),
        "norm_0": row("add", lambda x, p: x != 0),
        "norm_1": row("add", lambda x, p: abs(wide(x))),
        "norm_2": row("add", lambda x, p: wide(x) * wide(x), lambda total, n, p: sqrt(total)),
        "norm_p": row("add", lambda x, p: power(abs(x), p), lambda total, n, p: power(total, 1 / p)),
        "norm_inf": row("maximum", lambda x, p: abs(x)),
        "norm_-inf": row("minimum", lambda x, p: abs(x)),
    }


_ROWS = reductions(Scalars(*[lambda *_: None] * len(Scalars._fields)))  # to read fields other than formulas
#: The names of all reductions.
REDUCTIONS = tuple(_ROWS)
#: Reduction -> the binary op that combines its terms.
JOIN = {name: row.join for name, row in _ROWS.items()}


def types(name: str, dtype: np.dtype) -> tuple[np.dtype, np.dtype]:
    """The type that reduction ``name`` keeps its totals in, and that of its result."""
    wide = np.dtype(np.float64 if dtype.kind == "f" else np.int64)
    if name in ("any", "all"):
        return np.dtype(np.uint8), np.dtype(bool)
    if name == "count_nonzero":
        return np.dtype(np.int64), np.dtype(np.int64)
    if JOIN[name] in ("maximum", "minimum"):
        return dtype, dtype
    if name == "mean" and dtype.kind != "f":
        return wide, np.dtype(np.float64)
    return wide, dtype if dtype.kind == "f" else wide


def identity(name: str, dtype: np.dtype) -> float:
    """The start value of reduction ``name``: combining it with a term gives the term."""
    join = JOIN[name]
    if join in ("add", "mul") or name in ("any", "all"):
        return 0 if join == "add" or name == "any" else 1
    sign = -1 if join == "maximum" else 1
    if dtype.kind == "f":
        return sign * np.inf
    if dtype.kind == "b":
        return join == "minimum"
    return np.iinfo(dtype).min if sign < 0 else np.iinfo(dtype).max
