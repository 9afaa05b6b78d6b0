"""The functions behind ``backward`` and ``grad``: they check the arguments and start the walk."""

# Users' arguments are checked at run time, although by the declared types some checks look unnecessary.
# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv import variable
from fastconv.checks import check, check_shape, shape_str
from fastconv.variable import Variable, argument

from . import walk


def listed(value: Any) -> list[Any]:
    """One tensor, or several, as a list."""
    return list(value) if isinstance(value, (list, tuple)) else [value]


def check_create_graph(name: str, create_graph: Any) -> None:
    """Refuse derivatives of derivatives."""
    check(
        not create_graph,
        name,
        "create_graph=True asks for a gradient that can be differentiated again, but the backward pass of "
        "fastconv is not recorded; write the gradient as a function of the inputs and differentiate that",
        NotImplementedError,
    )


def roots(name: str, tensors: Any, gradients: Any) -> list[tuple[Variable, Any]]:
    """Pair each of ``tensors`` with its upstream gradient as a raw array; check both."""
    found = listed(tensors)
    given = [None] * len(found) if gradients is None else listed(gradients)
    check(
        len(given) == len(found),
        name,
        f"expected a gradient for each of {len(found)} tensors, got {len(given)}",
        RuntimeError,
    )
    for t in found:
        check(isinstance(t, Variable), name, f"expected Tensors, got {type(t).__name__}", TypeError)
        check(
            t.requires_grad,
            name,
            "this tensor does not require gradients, or it was computed under no_grad",
            RuntimeError,
        )
    return [(t, _upstream(name, t, g)) for t, g in zip(found, given)]


def _upstream(name: str, t: Variable, gradient: Any) -> Any:
    if gradient is None:
        check(
            t.array.size == 1,
            name,
            f"a gradient of shape {shape_str(t.shape)} is needed, because the tensor has {t.array.size} "
            "elements; pass it, or call .sum().backward()",
            RuntimeError,
        )
        return t.engine.asarray(np.ones(t.shape, t.dtype))
    g = argument(name, "gradient", gradient)
    check_shape(name, "gradient", g.shape, t.shape, "the tensor's own shape")
    check(
        g.device == t.device,
        name,
        f"the gradient must be on {t.device}, where the tensor is, got {g.device}",
        RuntimeError,
    )
    return g.array if g.dtype == t.dtype else t.engine.cast(g.array, t.dtype)


def _inputs(name: str, inputs: Any) -> list[Variable]:
    found = listed(inputs)
    check(len(found) > 0, name, "inputs must not be empty", RuntimeError)
    for i, t in enumerate(found):
        check(
            isinstance(t, Variable),
            name,
            f"inputs must be Tensors, got {type(t).__name__} at index {i}",
            TypeError,
        )
        check(
            t.requires_grad,
            name,
            f"input {i} does not require gradients; call requires_grad_() on it before it is used",
            RuntimeError,
        )
    return found


def backward(
    name: str, tensors: Any, gradients: Any, retain_graph: bool | None, create_graph: bool, inputs: Any
) -> None:
    """Add gradients to the ``.grad`` of all leaves, or of ``inputs``."""
    check_create_graph(name, create_graph)
    starts = roots(name, tensors, gradients)
    if inputs is None:
        walk.backward(starts, bool(retain_graph))
        return
    targets = _inputs(name, inputs)
    for t, g in zip(targets, walk.backward(starts, bool(retain_graph), targets)):
        if g is not None:
            walk.add_to_grad(t, g)


def grad(
    name: str,
    outputs: Any,
    inputs: Any,
    grad_outputs: Any,
    retain_graph: bool | None,
    allow_unused: bool | None,
    materialize_grads: bool,
) -> tuple[Any, ...]:
    """The gradients of ``inputs`` as tensors; the ``.grad`` of leaves does not change."""
    check(
        not materialize_grads or allow_unused is not False,
        name,
        "materialize_grads=True gives zeros for unused inputs, but allow_unused=False refuses unused inputs",
    )
    targets = _inputs(name, inputs)
    found: Sequence[Any] = walk.backward(roots(name, outputs, grad_outputs), bool(retain_graph), targets)
    result: list[Any] = []
    for i, (t, g) in enumerate(zip(targets, found)):
        if g is None and materialize_grads:
            g = t.engine.zeros(t.shape, t.dtype)
        check(
            g is not None or allow_unused,
            name,
            f"input {i} was not used to compute the outputs; allow_unused=True gives None for it",
            RuntimeError,
        )
        result.append(None if g is None else variable.tensor_class(g))
    return tuple(result)
