"""Backpropagation: a walk over the nodes of the tape, from the newest to the oldest.

Creation order is a topological order, so :func:`backward` pops nodes from a heap by sequence number. There
is no recursion, so the tape can have any depth.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np

from fastconv import variable
from fastconv.backends import between
from fastconv.errors import name_memory_error
from fastconv.variable import Node, Variable, owner

from .hooks import at_end


def backward(
    roots: Sequence[tuple[Variable, Any]],
    retain_graph: bool = False,
    inputs: Sequence[Variable] | None = None,
) -> list[Any]:
    """Walk the tape behind ``roots``.

    A leaf with hooks gets its gradient as soon as no op that is left can add to it.

    Parameters
    ----------
    roots : pairs of tensor and raw array
        The tensors to differentiate, each with its upstream gradient.
    retain_graph : bool
        Keep what backward needs for another walk.
    inputs : sequence of tensors, optional
        By default, the gradient of every leaf is added to its ``.grad``. With ``inputs``, only the nodes
        between them and ``roots`` are visited, and only the ``.grad`` of tensors that retain it changes.

    Returns
    -------
    list
        The gradients of ``inputs``: raw arrays, or None for a tensor that ``roots`` do not depend on.

    Raises
    ------
    RuntimeError
        If the graph was freed by an earlier call, or a saved tensor was changed in place since.
    """
    ends: list[Any] = []
    token = at_end.set(ends)
    try:
        found = _walk(roots, retain_graph, inputs)
    finally:
        at_end.reset(token)
    for function in ends:
        function()
    return found


def _walk(
    roots: Sequence[tuple[Variable, Any]], retain_graph: bool, inputs: Sequence[Variable] | None
) -> list[Any]:
    """:func:`backward` without the functions that are called at its end."""
    pending: dict[Any, Any] = {}
    heap: list[tuple[int, Node]] = []
    taken: dict[int, list[Any]] = {}
    uses: Counter[Any] | None = None  # of leaves with hooks: how many ops may still add to their gradient
    shared: Collection[Any] = ()  # leaves with hooks that several ops use
    for t, g in roots:
        taken.setdefault(owner(g), []).append(g)
        place = t.node or t
        if place in pending:
            pending[place] = t.engine.binary_fwd("add", pending[place], g)
            continue
        pending[place] = g
        if isinstance(place, Node):
            heapq.heappush(heap, (-place.order, place))
    places = None if inputs is None else {t.node or t for t in inputs}
    visited: Collection[Any] = ()
    found: dict[Any, Any] = {}
    if places is not None:
        visited = _on_the_way([node for _, node in heap], places)
    while heap:
        node = heapq.heappop(heap)[1]
        gy = pending.pop(node)
        if places is not None and node in places:
            found[node] = gy
        if node.hooks is not None:
            gy = node.hooks.replaced(gy)
            taken.setdefault(owner(gy), []).append(gy)  # a hook may have kept it
            retained = node.hooks.retained and node.hooks.retained()
            if retained is not None:
                _accumulate(retained, gy, taken, ())
        if places is not None and node not in visited:
            # As in PyTorch, the gradient of an input includes the changes by hooks only where the walk ends.
            found[node] = gy
            continue
        _check_usable(node)
        if uses is None and places is None and any(_is_hooked(parent) for parent in node.parents):
            uses = _uses([node, *(n for _, n in heap)])
            shared = {leaf for leaf, count in uses.items() if count > 1}
        if uses is not None and node.function.offers is not None:
            leaf = node.parents[node.function.offers]
            if _is_hooked(leaf) and leaf not in shared:
                node.offered = leaf.hooks.memory(leaf)
        if node.function.accumulates:
            node.accumulated = pending.get(node.parents[0])
        try:
            grads = node.function.backward(node, gy)
        except MemoryError as e:
            raise name_memory_error(e, f"backward of {node.function.__name__.lower()}", [gy]) from None
        merged, node.accumulated, node.offered = node.accumulated is not None, None, None
        grads = grads if isinstance(grads, tuple) else (grads,)
        if node.function.lends:
            for g in grads:
                if g is not None:
                    taken.setdefault(owner(g), []).append(g)
        parent: Any
        for i, (parent, g) in enumerate(zip(node.parents, grads)):
            if parent is None or g is None:
                continue
            leaf = not isinstance(parent, Node)
            dtype = parent.dtype if leaf else parent.result_dtype
            # An op on mixed types computes in their common type, so g may have another type than the
            # argument. A node with several results has no result_dtype.
            if dtype is not None and g.dtype is not dtype and g.dtype != dtype:
                g = node.engine.cast(g, dtype)
            if leaf and parent.hooks is None and places is None:
                _accumulate(parent, g, taken, node.saved)
            elif places is not None and parent not in visited and parent not in places:
                continue
            elif parent not in pending:
                pending[parent] = g
                if isinstance(parent, Node):
                    heapq.heappush(heap, (-parent.order, parent))
            elif i == 0 and merged:
                pending[parent] = g
            else:
                pending[parent] = _sum(node.engine, pending[parent], g)
        if uses is not None:
            for parent in filter(_is_hooked, node.parents):
                uses[parent] -= 1
                if not uses[parent] and parent in pending:
                    g = pending.pop(parent)
                    _complete(parent, g, taken, (g,) if parent in shared else node.saved)
        if not retain_graph:
            node.release()
        if between.local.work is not None:
            between.local.work()
    # Leaves are left in ``pending`` if the caller needs the sum of their gradients, if they are roots, or if
    # an op that could add to them was not reached.
    for leaf, g in pending.items():
        if places is not None:
            found[leaf] = g if leaf.hooks is None else leaf.hooks.replaced(g)
        else:
            _complete(leaf, g, taken, (g,))
    return [found.get(t.node or t) for t in inputs or ()]


def add_to_grad(t: Variable, g: Any) -> None:
    """Add the raw array ``g``, which other code may keep, to ``t.grad``."""
    _accumulate(t, g, {}, (g,))
    if t.node is None and t.hooks is not None:
        t.hooks.accumulated(t)


def _is_hooked(parent: Any) -> bool:
    return parent is not None and not isinstance(parent, Node) and parent.hooks is not None


def _reachable(nodes: list[Node]) -> set[Node]:
    """``nodes``, which is emptied, and all nodes behind them."""
    seen: set[Node] = set()
    while nodes:
        node = nodes.pop()
        if node not in seen:
            seen.add(node)
            nodes += [p for p in node.parents if isinstance(p, Node)]
    return seen


def _uses(nodes: list[Node]) -> Counter[Any]:
    """For each leaf with hooks, how many arguments of ``nodes`` and of the nodes behind them it is."""
    return Counter(p for node in _reachable(nodes) for p in node.parents if _is_hooked(p))


def _complete(leaf: Variable, g: Any, taken: dict[int, list[Any]], saved: Iterable[Any]) -> None:
    """Add ``g``, the sum of all gradients of ``leaf`` in this walk, to its ``.grad``, and call its hooks.

    The other arguments are those of :func:`_accumulate`.
    """
    hooks = leaf.hooks
    if hooks is not None and hooks.functions:
        g = hooks.replaced(g)
        saved = (g,)  # a hook may have kept it
    _accumulate(leaf, g, taken, saved)
    if hooks is not None:
        hooks.accumulated(leaf)


def _on_the_way(nodes: list[Node], places: set[Any]) -> set[Node]:
    """The nodes that must be visited to reach ``places`` from ``nodes``."""
    seen = _reachable(nodes)
    leading: set[Node] = set()
    reached = places & seen
    for node in sorted(seen, key=lambda n: n.order):
        parents = [p for p in node.parents if p is not None]
        reached.update(p for p in parents if p in places)
        if any(p in places or p in leading for p in parents):
            leading.add(node)
    if reached != places:  # perhaps because a node was released, which has no parents any more
        for node in seen:
            _check_not_released(node)
    return leading


def _sum(engine: Any, a: Any, b: Any) -> Any:
    """The sum of two gradients of one node; for a node with several results they are tuples."""
    if not isinstance(a, tuple):
        return engine.binary_fwd("add", a, b)
    return tuple(y if x is None else x if y is None else _sum(engine, x, y) for x, y in zip(a, b))


def _check_usable(node: Node) -> None:
    """Raise a RuntimeError if the node was released, or if a saved tensor has changed."""
    _check_not_released(node)
    for memory, version in node.checks:
        if memory.version != version:
            raise RuntimeError(
                f"backward: a tensor that {node.function.__name__} needs was changed in place after its use; "
                "assign to a .clone() instead"
            )


def _check_not_released(node: Node) -> None:
    if node.done:
        raise RuntimeError(
            f"backward: the graph behind this {node.function.__name__} was already freed by an earlier "
            "backward(); compute the forward pass again, or call backward(retain_graph=True) the first time"
        )


def _accumulate(leaf: Variable, g: Any, taken: dict[int, list[Any]], saved: Iterable[Any]) -> None:
    """Add ``g`` to ``leaf.grad``.

    The first gradient of a leaf is kept without a copy, unless it is read-only or other code may use its
    memory. ``taken`` holds the arrays in use, under the owner of their memory. ``saved`` holds what the node
    that computed ``g`` saved.
    """
    if leaf.grad is not None:
        leaf.grad = variable.tensor_class(leaf.engine.binary_fwd("add", leaf.grad.array, g))
        return
    host, root = isinstance(g, np.ndarray), owner(g)
    others = taken.setdefault(root, [])
    locked = not g.flags.writeable if host else 0 in g.strides
    if (
        locked
        or any(not host or np.may_share_memory(g, o) for o in others)
        or any(owner(s) == root for s in saved)
    ):
        g = leaf.engine.copy(g)
    else:
        others.append(g)
    leaf.grad = variable.tensor_class(g)
