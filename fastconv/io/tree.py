"""Conversion of nested containers to named arrays and one JSON text, and back.

The text holds ``{"__array__": name}`` for an array, ``{"__tuple__": [...]}`` for a tuple, and
``{"__items__": [[key, value], ...]}`` for a dict that has keys which are not strings, or one of these marks.
"""

# A file holds values of any type.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

import json
from typing import Any

import numpy as np

from ..checks import check
from ..tensor import Tensor

TEXT = "__fastconv__"  # the name of the JSON text in a file
_RESERVED = {TEXT, "__metadata__"}  # names that no array may have; .safetensors uses the second one
_MARKS = {"__array__", "__tuple__", "__items__"}


def pack(obj: Any) -> tuple[dict[str, np.ndarray], str | None]:
    """The arrays in ``obj`` by name, and the text; the text is None if ``obj`` is a flat dict of arrays."""
    arrays: dict[str, np.ndarray] = {}
    tree = _pack(obj, "", arrays)
    flat = isinstance(obj, dict) and tree == {k: {"__array__": k} for k in obj}
    return arrays, None if flat else json.dumps(tree)


def _pack(x: Any, where: str, arrays: dict[str, np.ndarray]) -> Any:
    """``x`` as JSON values; its arrays are added to ``arrays``, named by the path of keys to them."""
    if isinstance(x, (Tensor, np.ndarray)):
        a = x.numpy() if isinstance(x, Tensor) else x
        check(a.dtype.kind in "fiub", "save", f"array at {where or 'the top'} has dtype {a.dtype}", TypeError)
        name = where or "value"
        while name in arrays or name in _RESERVED:
            name += "_"
        arrays[name] = np.asarray(a, order="C")
        return {"__array__": name}
    if isinstance(x, np.generic):
        x = x.item()
    if x is None or isinstance(x, (bool, int, float, str)):
        return x
    if isinstance(x, (list, tuple)):
        items = [_pack(v, f"{where}/{i}" if where else str(i), arrays) for i, v in enumerate(x)]
        return {"__tuple__": items} if isinstance(x, tuple) else items
    check(
        isinstance(x, dict),
        "save",
        f"cannot save {type(x).__name__} (at {where or 'the top'}); expected arrays, "
        "numbers, strings, None, lists and dicts",
        TypeError,
    )
    for k in x:
        check(
            isinstance(k, (int, str)),
            "save",
            f"keys must be strings or ints, got {k!r} (at {where or 'the top'})",
            TypeError,
        )
    items = {k: _pack(v, f"{where}/{k}" if where else str(k), arrays) for k, v in x.items()}
    plain = all(isinstance(k, str) for k in items) and not _MARKS & set(items)
    return items if plain else {"__items__": list(items.items())}


def unpack(arrays: dict[str, np.ndarray], text: str | None) -> Any:
    """The inverse of :func:`pack`, with Tensors for arrays."""
    tensors = {name: Tensor(a) for name, a in arrays.items()}
    return tensors if text is None else _unpack(json.loads(text), tensors)


def _unpack(x: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(x, list):
        return [_unpack(v, tensors) for v in x]
    if not isinstance(x, dict):
        return x
    if "__array__" in x:
        return tensors[x["__array__"]]
    if "__tuple__" in x:
        return tuple(_unpack(v, tensors) for v in x["__tuple__"])
    items = x["__items__"] if "__items__" in x else x.items()
    return {k: _unpack(v, tensors) for k, v in items}
