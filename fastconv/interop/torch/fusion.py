"""Nodes of a graph merged where the engine has one op for them.

::

    forward     norm -> add(other) -> relu          train_fwd(x, residual=other, relu=True)
    backward    threshold_backward -> norm_backward train_bwd(gy, x, y): gradients of x and other
                convolution_backward -> add(other)  convolution_backward(..., other): added by its kernel
    both        convolution(w), its backward(w)     of arrange(w), so w is rearranged once

The graph is that of AOTAutograd: functional, except for ``copy_`` to inputs at its end. Where the running
statistics of a norm are copied back, ``train_fwd`` moves them in place and the copies go.
"""

from __future__ import annotations

import operator
from typing import Any

from .lowering.convolution import arrange, convolution_backward
from .lowering.norm import train_bwd, train_fwd

RELU, ADD, COPY = "aten.relu.default", "aten.add.Tensor", "aten.copy_.default"
NORM = "aten._native_batch_norm_legit_functional.default"
NORM_BACKWARD = "aten.native_batch_norm_backward.default"
RELU_BACKWARD = "aten.threshold_backward.default"
CONV, CONV_BACKWARD = "aten.convolution.default", "aten.convolution_backward.default"

#: Functions that are targets of merged nodes, and which of their arguments they change.
FUSED: dict[Any, tuple[int, ...]] = {
    train_fwd: (4, 5),
    train_bwd: (),
    convolution_backward: (),
    arrange: (),
}
FLOATS = ("torch.float32", "torch.float64")


def is_node(value: Any) -> bool:
    """Whether ``value`` is a node of a graph."""
    return hasattr(value, "all_input_nodes")


def is_op(value: Any, name: str) -> bool:
    """Whether ``value`` is a node that calls the op ``name``."""
    return is_node(value) and value.op == "call_function" and str(value.target) == name


def value_of(node: Any) -> Any:
    """The tensor without memory that tracing has computed for ``node``."""
    return node.meta.get("val")


def same_floats(node: Any) -> bool:
    """Whether all inputs of ``node`` are float32, or all float64, on the CPU."""
    values = [value_of(a) for a in node.all_input_nodes]
    kinds = {str(v.dtype) for v in values if hasattr(v, "dtype")}
    return len(kinds) == 1 and kinds <= set(FLOATS) and all(v.device.type == "cpu" for v in values)


def fuse(module: Any) -> None:
    """Merge nodes of ``module.graph``, which is a joint graph or one without a backward pass."""
    graph = module.graph
    _drop_aliases(graph)
    for node in list(graph.nodes):
        if is_op(node, NORM) and node.args[5] is True and same_floats(node):
            _norm(graph, node)
    _tidy(graph)
    seen: set[Any] = set()
    for node in list(graph.nodes):
        if is_op(node, NORM_BACKWARD) and node.args[7] is True and same_floats(node):
            _norm_backward(graph, node, seen)
    _tidy(graph)
    for node in list(graph.nodes):
        if is_op(node, CONV_BACKWARD) and same_floats(node):
            _convolution_backward(graph, node)
            _tidy(graph)
    for node in list(graph.nodes):
        if node.op == "placeholder":
            _arrange(graph, node)
    graph.lint()
    module.recompile()


def _drop_aliases(graph: Any) -> None:
    """Without nodes that change nothing in a functional graph, or nothing but the shape.

    Global average pooling of channels-last images, and its backward pass, are written with ``as_strided`` and
    ``as_strided_scatter`` of a tensor of zeros. Where these take all elements in order, they are views.
    """
    import torch

    for node in list(graph.nodes):
        found, shape = None, None
        if is_op(node, "aten.detach.default") or is_op(node, "aten.alias.default"):
            found = node.args[0]
        elif is_op(node, "aten.copy.default") and is_node(node.args[1]):
            a, b = map(value_of, node.args[:2])
            found = node.args[1] if a.dtype == b.dtype and _equal(a.shape, b.shape) else None
        elif is_op(node, "aten.as_strided.default") and _is_view(node.args[0], *node.args[1:]):
            found, shape = node.args[0], node.args[1]
        elif is_op(node, "aten.as_strided_scatter.default") and _is_view(node.args[0], *node.args[2:]):
            if is_op(zeros := node.args[0], "aten.new_zeros.default"):
                found, shape = node.args[1], zeros.args[1]
        if found is None:
            continue
        if shape is not None and not _equal(value_of(node).shape, value_of(found).shape):
            found = _call(graph, node, torch.ops.aten.view.default, (found, shape), node)
        node.replace_all_uses_with(found)
        graph.erase_node(node)


def _extents(numbers: Any) -> list[Any]:
    """Numbers of a graph that can be compared. An extent that depends on the batch is its formula: comparing
    the extents themselves would fix the batch size."""
    values = [value_of(n) if is_node(n) else n for n in numbers]
    return [v if isinstance(v, int) else v.node.expr for v in values]


def _equal(a: Any, b: Any) -> bool:
    return _extents(a) == _extents(b)


def _is_view(source: Any, size: Any, strides: Any, offset: Any = None) -> bool:
    """Whether ``as_strided`` of a contiguous tensor with these arguments has all its elements in order."""
    value = value_of(source)
    shapes = (_extents(value.shape), _extents(value.stride())), (_extents(size), _extents(strides))
    for extents, steps in shapes:
        step = 1
        for extent, given in zip(extents[::-1], steps[::-1]):
            if extent != 1 and given != step:
                return False
            step = step * extent
    counts = [1, 1]
    for i, (extents, _) in enumerate(shapes):
        for extent in extents:
            counts[i] = counts[i] * extent
    return not offset and counts[0] == counts[1]


def _tidy(graph: Any) -> None:
    """Every node behind its inputs, and none without users."""
    placed: dict[Any, None] = {}
    for first in graph.nodes:
        waiting = [first]
        while waiting:
            node = waiting[-1]
            missing = [a for a in node.all_input_nodes if a not in placed]
            if missing:
                waiting += missing[::-1]
            else:
                placed[waiting.pop()] = None
    root = next(iter(placed))
    previous = root
    for node in list(placed)[1:]:
        previous.append(node)
        previous = node
    graph.eliminate_dead_code()


def _items(node: Any) -> dict[int, Any]:
    """The nodes that take single results of ``node``."""
    return {u.args[1]: u for u in node.users if u.target is operator.getitem}


def _only_user(node: Any, name: str) -> Any:
    users = list(node.users)
    return users[0] if len(users) == 1 and is_op(users[0], name) else None


def _call(graph: Any, before: Any, target: Any, args: tuple[Any, ...], like: Any) -> Any:
    with graph.inserting_before(before):
        node = graph.call_function(target, args)
    node.meta.update(like.meta)
    return node


def _replace(graph: Any, fused: Any, index: int, old: Any, before: Any) -> None:
    """Result ``index`` of ``fused`` takes the place of ``old``."""
    item = _call(graph, before, operator.getitem, (fused, index), old)
    old.replace_all_uses_with(item, delete_user_cb=lambda user: user is not item and user is not fused)


def _other_operand(add: Any, operand: Any) -> Any:
    """What ``add`` adds to ``operand``, if it is a tensor of the same shape and type."""
    if add is None or add.kwargs or len(add.args) != 2 or not all(map(is_node, add.args)):
        return None
    other = add.args[1] if add.args[0] is operand else add.args[0]
    a, b = value_of(operand), value_of(other)
    return None if other is operand or a.shape != b.shape or a.dtype != b.dtype else other


def _tail(norm: Any) -> tuple[Any, Any, bool]:
    """What follows a norm: the last node that goes into it, the residual, whether ReLU is last."""
    result = _items(norm)[0]
    if (relu := _only_user(result, RELU)) is not None:
        return relu, None, True
    add = _only_user(result, ADD)
    other = _other_operand(add, result)
    if other is not None and (relu := _only_user(add, RELU)) is not None:
        return relu, other, True
    return result, None, False


def _norm(graph: Any, node: Any) -> None:
    x, weight, bias, mean, variance, _, momentum, eps = node.args
    items = _items(node)
    # The backward pass does not read the running statistics in training, but saves them.
    for index in (3, 4):
        for user in list(items[index].users) if index in items else ():
            if is_op(user, NORM_BACKWARD):
                user.args = (*user.args[:3], None, None, *user.args[5:])
    copies = [_only_user(items[i], COPY) if i in items else None for i in (3, 4)]
    for copied, running in zip(copies, (mean, variance)):
        if copied is None or copied.args[0] is not running or not set(running.users) <= {node, copied}:
            return
    last, residual, relu = _tail(node)
    before = last.next
    args = (x, weight, bias, residual, mean, variance, relu, momentum, eps)
    fused = _call(graph, before, train_fwd, args, node)
    for index, old in items.items():
        if index < 3:
            _replace(graph, fused, index, last if index == 0 else old, before)
    for copied in filter(None, copies):
        copied.replace_all_uses_with(copied.args[0])
        graph.erase_node(copied)


def _norm_backward(graph: Any, node: Any, seen: set[Any]) -> None:
    gy, x, weight, _, _, mean, invstd, *_ = node.args
    relu: Any = gy if is_op(gy, RELU_BACKWARD) and gy.args[2] == 0 and gy not in seen else None
    seen.add(relu)
    with_residual = relu is not None and len(relu.users) > 1
    at: Any = node if relu is None else relu
    gradient, result = (gy, None) if relu is None else relu.args[:2]
    args = (gradient, x, result, weight, mean, invstd, with_residual)
    fused = _call(graph, at.next, train_bwd, args, node)
    for index, old in _items(node).items():
        _replace(graph, fused, index, old, fused.next)
    if relu is not None and with_residual:
        item = _call(graph, fused.next, operator.getitem, (fused, 3), relu)
        relu.replace_all_uses_with(item, delete_user_cb=lambda user: user is not fused and user is not node)


def _convolution_backward(graph: Any, node: Any) -> None:
    items = _items(node)
    add: Any = _only_user(items[0], ADD) if 0 in items else None
    other = _other_operand(add, items[0]) if add is not None and not node.args[7] else None
    weight = node.args[2]
    order = _memory_order(weight) if weight.op == "placeholder" else None
    if other is None and order is None:
        return
    at: Any = node if other is None else add
    fused = _call(graph, at.next, convolution_backward, (*node.args, other, order), node)
    for index, old in reversed(items.items()):
        _replace(graph, fused, index, add if index == 0 and other is not None else old, fused.next)


def _memory_order(node: Any) -> tuple[int, ...] | None:
    """The axes of a dense tensor from the slowest to the fastest in memory."""
    value = value_of(node)
    if not all(type(s) is int for s in (*value.shape, *value.stride())):
        return None
    order = tuple(sorted(range(value.ndim), key=lambda i: (-value.stride(i), i)))
    return order if value.permute(order).is_contiguous() else None


def _arrange(graph: Any, weight: Any) -> None:
    """The weight of convolutions is rearranged once, if passes in both directions read it."""
    forward = [u for u in weight.users if is_op(u, CONV) and u.args[1] is weight and same_floats(u)]
    backward = [u for u in weight.users if u.target is convolution_backward and u.args[2] is weight]
    if not forward or not backward:
        return
    first = next(n for n in graph.nodes if n.op != "placeholder")
    arranged = _call(graph, first, arrange, (weight,), weight)
    for user in (*forward, *backward):
        user.replace_input_with(weight, arranged)
