"""Arguments of calls as JSON values, and back.

::

    a number, text, None, a list            as they are
    Ref(3)                                  {"value": 3}
    (1, 2)                                  {"tuple": [1, 2]}
    ConvSpec(...)                           {"spec": "ConvSpec", "fields": {"batch": 1, ...}}
    slice(0, None, 2), ...                  {"slice": [0, null, 2]}, {"ellipsis": true}
    numpy.dtype("float32"), inf             {"dtype": "float32"}, {"float": "inf"}
    a dict (of results)                     {"items": [["name", ...], ...]}
"""

# A file holds values of any type.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import operator
from dataclasses import fields
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from ..spec import AdaptivePoolSpec, ConvSpec, GridSampleSpec, InterpolateSpec, PoolSpec

SPECS = {
    kind.__name__: kind for kind in (AdaptivePoolSpec, ConvSpec, GridSampleSpec, InterpolateSpec, PoolSpec)
}
DTYPES = frozenset("bool uint8 int8 int16 int32 int64 float32 float64".split())


class Ref(NamedTuple):
    """Stands for the value with this number."""

    number: int


def encoded(x: Any) -> Any:
    """``x`` as a JSON value; a TypeError for what cannot be written."""
    if x is None or isinstance(x, (bool, str)):
        return x
    if isinstance(x, Ref):
        return {"value": x.number}
    if isinstance(x, (float, np.floating)):
        return float(x) if isfinite(x) else {"float": str(float(x))}
    if isinstance(x, (int, np.integer)):
        return operator.index(x)
    if type(x) is tuple:
        return {"tuple": [encoded(v) for v in x]}
    if isinstance(x, list):
        return [encoded(v) for v in x]
    if isinstance(x, dict):
        return {"items": [[encoded(k), encoded(v)] for k, v in x.items()]}
    if isinstance(x, slice):
        return {"slice": [encoded(v) for v in (x.start, x.stop, x.step)]}
    if x is Ellipsis:
        return {"ellipsis": True}
    if isinstance(x, np.dtype) and x.name in DTYPES:
        return {"dtype": x.name}
    kind = type(x).__name__
    if kind in SPECS:
        return {"spec": kind, "fields": {f.name: encoded(getattr(x, f.name)) for f in fields(SPECS[kind])}}
    raise TypeError(f"a {type(x).__name__} is not written")


def decoded(x: Any) -> Any:
    """The inverse of :func:`encoded`; a ValueError for what it does not write."""
    if x is None or isinstance(x, (bool, int, float, str)):
        return x
    if isinstance(x, list):
        return [decoded(v) for v in x]
    if isinstance(x, dict) and x.keys() == {"spec", "fields"}:
        return _spec(x["spec"], x["fields"])
    if isinstance(x, dict) and len(x) == 1:
        ((kind, content),) = x.items()
        is_list = isinstance(content, list)
        if kind == "value" and type(content) is int:
            return Ref(content)
        if kind == "tuple" and is_list:
            return tuple([decoded(v) for v in content])
        if kind == "items" and is_list and all(isinstance(i, list) and len(i) == 2 for i in content):
            keys = [k for k, _ in content]
            if all(isinstance(k, (str, int)) for k in keys) and len(set(keys)) == len(keys):
                return {k: decoded(v) for k, v in content}
        if kind == "slice" and is_list and len(content) == 3:
            if all(i is None or type(i) is int for i in content):
                return slice(*content)
        if kind == "ellipsis" and content is True:
            return Ellipsis
        if kind == "dtype" and content in DTYPES:
            return np.dtype(content)
        if kind == "float" and content in ("inf", "-inf", "nan"):
            return float(content)
    raise ValueError(f"{x!r:.60} is no argument of a call")


def _spec(kind: Any, given: Any) -> Any:
    if kind not in SPECS:
        raise ValueError(f"there is no spec {kind!r:.60}")
    names = [f.name for f in fields(SPECS[kind])]
    if not isinstance(given, dict) or sorted(given) != sorted(names):
        raise ValueError(f"{kind} must have the fields {', '.join(names)}")
    return SPECS[kind](**{name: decoded(v) for name, v in given.items()})
