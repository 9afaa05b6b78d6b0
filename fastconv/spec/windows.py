"""Padding, and what windows that slide over 1, 2 or 3 dimensions have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from ..checks import check, int_tuple

if TYPE_CHECKING:
    from typing_extensions import Self

#: ``(before, after)`` for each dimension.
Pairs: TypeAlias = tuple[tuple[int, int], ...]


class Windows:
    """Base of the specs of windows that slide over 1, 2 or 3 dimensions.

    Engines ask a spec on every call, so everything is computed once.
    """

    # Of the subclasses, which are dataclasses and define these as their fields.
    __dataclass_fields__: ClassVar[dict[str, Any]]
    in_size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: Pairs
    out_size: tuple[int, ...]

    @property
    def ndim(self) -> int:
        """Number of spatial dimensions."""
        return len(self.kernel)

    @cached_property
    def _hash(self) -> int:
        return hash(tuple([getattr(self, f.name) for f in fields(self)]))

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _as_3d(self) -> Self:
        missing = 3 - self.ndim
        if not missing:
            return self
        names = ("in_size", "kernel", "stride", "dilation", "out_size")
        changes: dict[str, Any] = {name: (1,) * missing + getattr(self, name) for name in names}
        return replace(self, **changes, padding=((0, 0),) * missing + self.padding)

    def as_3d(self) -> Self:
        """The same with three spatial dimensions (leading ones of extent 1)."""
        return self._as_3d


def hashable(name: str, what: str, v: Any) -> Any:
    """An option as part of the key under which a spec is remembered: lists become tuples; arrays, dicts and
    sets are refused."""
    if isinstance(v, (tuple, list)):
        return tuple([hashable(name, what, i) for i in v])
    if v.__hash__ is None:
        raise TypeError(f"{name}: {what} must be made of ints, got {type(v).__name__} ({v!r:.60})")
    return v


def parse_padding(
    name: str,
    padding: Any,
    size: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> Pairs:
    """Padding in any of its forms as one ``(before, after)`` pair per spatial dimension.

    Parameters
    ----------
    padding : int, sequence or str
        One int for all dimensions; one int per dimension; one ``(before, after)`` pair per dimension;
        ``"valid"`` (none); ``"full"`` (``dilation * (kernel - 1)`` on each side); ``"same"`` (the output has
        ``ceil(size / stride)`` rows; of an odd total the larger half is at the end, as in PyTorch and
        TensorFlow).
    size, kernel, stride, dilation : one int per spatial dimension

    >>> parse_padding("conv2d", "same", (7, 7), (3, 2), (1, 1), (1, 1))
    ((1, 1), (0, 1))
    """
    n = len(kernel)
    if isinstance(padding, str):
        if padding == "valid":
            return ((0, 0),) * n
        if padding == "full":
            return tuple((d * (k - 1), d * (k - 1)) for k, d in zip(kernel, dilation))
        check(padding == "same", name, f"padding must be 'same', 'valid', 'full' or numbers, got {padding!r}")
        totals = (
            max((-(-i // s) - 1) * s + d * (k - 1) + 1 - i, 0)
            for i, k, s, d in zip(size, kernel, stride, dilation)
        )
        return tuple((total // 2, total - total // 2) for total in totals)
    if isinstance(padding, (tuple, list)) and padding and isinstance(padding[0], (tuple, list)):
        check(
            len(padding) == n and all(isinstance(p, (tuple, list)) and len(p) == 2 for p in padding),
            name,
            f"padding pairs must be {n} x (before, after), got {padding!r}",
        )
        pairs = (int_tuple(name, "padding", p, 2, 0) for p in padding)
        return tuple((before, after) for before, after in pairs)
    return tuple((p, p) for p in int_tuple(name, "padding", padding, n, 0))


def window_options(name: str, n: int, kernel_size: Any, stride: Any, padding: Any, dilation: Any) -> None:
    """Refuse options that fit no input. A layer calls this when it is made, before its first batch."""
    kernel = int_tuple(name, "kernel_size", kernel_size, n, 1)
    stride = kernel if stride is None else int_tuple(name, "stride", stride, n, 1)
    parse_padding(name, padding, kernel, kernel, stride, int_tuple(name, "dilation", dilation, n, 1))
