"""What summary and profile share: a row for every module that is called, and the work of one op."""

from __future__ import annotations

from collections import Counter
from math import prod
from typing import Any

from .. import backends
from ..inference.fused import Fused
from ..spec import ConvSpec, broadcast_shape

#: Ops that only look at their argument in another way.
VIEWS = {"reshape", "permute", "broadcast_to", "getitem", "asarray", "to_host", "zeros"}


def macs(op: str, args: tuple) -> int:
    """Multiply-adds of one pass of a convolution, dense layer or matrix product; everything else counts
    nothing."""
    if op in ("conv_fwd", "conv_bwd_data", "conv_bwd_weight"):
        return next(a for a in args if isinstance(a, ConvSpec)).macs
    if op.startswith("linear_"):
        return prod(args[0].shape) * args[1].shape[0 if op == "linear_fwd" else 1]
    if op == "matmul":
        (*a_batch, m, k), (*b_batch, _, n) = args[0].shape, args[1].shape
        return prod(broadcast_shape(op, a_batch, b_batch)) * m * k * n
    return 0


def parts(module) -> tuple:
    """The modules whose work ``module`` does: itself, or those that were merged for inference."""
    return module.layers if isinstance(module, Fused) else (module,)


def kind(module) -> str:
    """The classes of these."""
    return "+".join(type(m).__name__ for m in parts(module))


class Observer:
    """Runs a network while every op is shown to :meth:`run`, together with the row of the module it belongs
    to.

    ``with observer:`` looks on; ``rows`` are in the order of the calls, one for each call of a module that
    has no modules inside or does work of its own.
    """

    #: Whether ops give what the engine gives; then what a module kept from the one is good for the other.
    faithful = True

    def __init__(self, net):
        self.names = {m: name for name, m in net.named_modules()}
        self.rows: dict[tuple, Any] = {}
        self.restart()

    def restart(self) -> None:
        """The next pass through the network fills the same rows."""
        self.calls: Counter = Counter()
        self.stack = [None]

    def __enter__(self):
        self._token = backends.observer.set(self)
        return self

    def __exit__(self, *exc):
        backends.observer.reset(self._token)

    def call(self, module, args, kwargs):
        key = module, self.calls[module]
        self.calls[module] += 1
        row = self.rows.get(key)
        if row is None:
            first = parts(module)[0]
            row = self.rows[key] = self.row(self.names.get(first, ""), module)
        self.stack.append(row)
        try:
            out = module.forward(*args, **kwargs)
        finally:
            self.stack.pop()
        self.returned(row, module, out)
        return out

    def engine(self, engine):
        return _Engine(self, engine, self.stack[-1])

    def row(self, name, module):
        """A new row."""
        raise NotImplementedError

    def returned(self, row, module, out):
        """``module`` gave ``out``."""

    def run(self, row, engine, op, args, options):
        """Compute ``op`` of the contract, called by the module of ``row`` (None: by no module)."""
        return getattr(engine, op)(*args, **options)


class _Engine:
    """An engine whose ops go through the observer; the row is that of the forward pass, in the backward pass
    too."""

    def __init__(self, observer, engine, row):
        self._observer, self._engine, self._row = observer, engine, row

    def __eq__(self, other):
        return self._observer.faithful and getattr(other, "_engine", other) is self._engine

    __hash__ = None

    def __getattr__(self, op):
        return lambda *args, **options: self._observer.run(self._row, self._engine, op, args, options)
