"""What summary and profile have in common: a row for every call of a module, and the work of one op."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import prod
from typing import Any, TypeVar, cast

from .. import backends
from ..backends.contract import Engine
from ..inference.merged import Merged
from ..nn import Module
from ..spec import ConvSpec, broadcast_shape

Self = TypeVar("Self", bound="Observer")

#: Ops that compute nothing: views of their argument, and moves between host and device.
VIEWS = {"reshape", "permute", "as_strided", "broadcast_to", "getitem", "asarray", "to_host", "zeros"}


def macs(op: str, args: tuple[Any, ...]) -> int:
    """Multiply-adds of one pass of a convolution, dense layer or matrix product; 0 for all other ops."""
    if op in ("conv_fwd", "conv_bwd_data", "conv_bwd_weight"):
        return next(a for a in args if isinstance(a, ConvSpec)).macs
    if op.startswith("linear_"):
        return prod(args[0].shape) * args[1].shape[0 if op == "linear_fwd" else 1]
    if op == "matmul":
        (*a_batch, m, k), (*b_batch, _, n) = args[0].shape, args[1].shape
        return prod(broadcast_shape(op, a_batch, b_batch)) * m * k * n
    return 0


def parts(module: Module) -> tuple[Module, ...]:
    """The modules whose work ``module`` does: itself, or those that were merged for inference."""
    return module.layers if isinstance(module, Merged) else (module,)


def kind(module: Module) -> str:
    """The names of the classes of these modules, joined by ``+``."""
    return "+".join(type(m).__name__ for m in parts(module))


class Observer:
    """Sees every op of a network: :meth:`run` gets the op and the row of the module that called it.

    It is in force inside ``with observer:``. A subclass says what a row holds (:meth:`row`, :meth:`returned`)
    and what happens to an op (:meth:`run`).

    Attributes
    ----------
    rows : dict
        ``(module, number of the call) -> row``, in the order of the calls.
    faithful : bool
        Whether ops return what the engine returns. Then a module may keep values that the observed engine
        computed, and use them later.
    """

    faithful: bool = True

    def __init__(self, net: Module):
        self.names = {m: name for name, m in net.named_modules()}
        self.rows: dict[tuple[Module, int], Any] = {}
        self.restart()

    def restart(self) -> None:
        """Count calls anew, so that the next pass through the network fills the same rows."""
        self.calls: Counter[Module] = Counter()
        self.stack: list[Any] = [None]

    def __enter__(self: Self) -> Self:
        self._token = backends.observer.set(self)
        return self

    def __exit__(self, *exc: object) -> None:
        backends.observer.reset(self._token)

    def call(self, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run ``module``, whose ops belong to its row."""
        key = module, self.calls[module]
        self.calls[module] += 1
        row = self.rows.get(key)
        if row is None:
            name = next((self.names[m] for m in parts(module) if m in self.names), "")
            row = self.rows[key] = self.row(name, module)
        self.stack.append(row)
        try:
            out = self.forward_of(module)(*args, **kwargs)
        finally:
            self.stack.pop()
        self.returned(row, module, out)
        return out

    def forward_of(self, module: Module) -> Callable[..., Any]:
        """What a call of ``module`` runs."""
        return module.forward

    def engine(self, engine: Engine) -> Engine:
        """An engine that shows its ops to this observer, for the module that runs now."""
        return cast(Engine, _Observed(self, engine, self.stack[-1]))

    def row(self, name: str, module: Module) -> Any:
        """A new row, for the first call of ``module``; ``name`` is its dotted name."""
        raise NotImplementedError

    def returned(self, row: Any, module: Module, out: Any) -> None:
        """``module`` returned ``out``."""

    def run(self, row: Any, engine: Engine, op: str, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Compute ``op`` of the contract; ``row`` is None if no module called it."""
        return getattr(engine, op)(*args, **options)


class _Observed:
    """An engine whose ops go through the observer.

    The backward pass uses it too, because a Node keeps the engine of its forward pass; so ops of both passes
    belong to the same row. It equals the engine itself if the observer is faithful.
    """

    def __init__(self, observer: Observer, engine: Engine, row: Any):
        self._observer, self._engine, self._row = observer, engine, row

    def __eq__(self, other: object) -> bool:
        return self._observer.faithful and getattr(other, "_engine", other) is self._engine

    __hash__ = None  # type: ignore[assignment]

    def __getattr__(self, op: str) -> Callable[..., Any]:
        return lambda *args, **options: self._observer.run(self._row, self._engine, op, args, options)
