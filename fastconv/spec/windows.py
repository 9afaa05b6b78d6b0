"""Padding, and what windows that slide over 1, 2 or 3 dimensions have in common."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import cached_property

from ..checks import check, int_tuple


class Windows:
    """What windows sliding over 1, 2 or 3 dimensions have in common. Engines ask on every call, so all is
    worked out once."""

    @property
    def ndim(self) -> int:
        """Number of spatial dimensions."""
        return len(self.kernel)

    @cached_property
    def _hash(self) -> int:
        return hash(tuple([getattr(self, f.name) for f in fields(self)]))

    def __hash__(self):
        return self._hash

    @cached_property
    def _as_3d(self):
        m = 3 - self.ndim
        more = dict.fromkeys(("in_size", "kernel", "stride", "dilation", "out_size"), (1,) * m) | {
            "padding": ((0, 0),) * m
        }
        return (
            replace(self, **{name: front + getattr(self, name) for name, front in more.items()})
            if m
            else self
        )

    def as_3d(self):
        """The same with three spatial dimensions (leading ones of extent 1)."""
        return self._as_3d


def hashable(name: str, what: str, v):
    """An option as something to remember a spec by: lists as tuples; arrays, dicts and sets are no
    options."""
    if isinstance(v, (tuple, list)):
        return tuple([hashable(name, what, i) for i in v])
    if v.__hash__ is None:
        raise TypeError(f"{name}: {what} must be made of ints, got {type(v).__name__} ({v!r:.60})")
    return v


def parse_padding(name: str, padding, size, kernel, stride, dilation) -> tuple[tuple[int, int], ...]:
    """Padding in any of its spellings as one ``(before, after)`` pair per spatial dimension.

    ``int``; one int per dimension; one ``(before, after)`` pair per dimension; ``"valid"`` (none);
    ``"full"`` (``dilation * (kernel - 1)`` on each side); ``"same"`` (output ``ceil(size / stride)``; an odd
    total puts the extra row at the end, as PyTorch and TensorFlow do).
    """
    n = len(kernel)
    if isinstance(padding, str):
        if padding == "valid":
            return ((0, 0),) * n
        if padding == "full":
            return tuple((d * (k - 1),) * 2 for k, d in zip(kernel, dilation))
        check(padding == "same", name, f"padding must be 'same', 'valid', 'full' or numbers, got {padding!r}")
        pairs = []
        for i, k, s, d in zip(size, kernel, stride, dilation):
            total = max((-(-i // s) - 1) * s + d * (k - 1) + 1 - i, 0)
            pairs.append((total // 2, total - total // 2))
        return tuple(pairs)
    if isinstance(padding, (tuple, list)) and padding and isinstance(padding[0], (tuple, list)):
        check(
            len(padding) == n and all(isinstance(p, (tuple, list)) and len(p) == 2 for p in padding),
            name,
            f"padding pairs must be {n} x (before, after), got {padding!r}",
        )
        return tuple(int_tuple(name, "padding", p, 2, 0) for p in padding)
    return tuple((p, p) for p in int_tuple(name, "padding", padding, n, 0))


def window_options(name: str, n: int, kernel_size, stride, padding, dilation) -> None:
    """Refuse what no input could make right, when a layer is made and not at its first batch."""
    kernel = int_tuple(name, "kernel_size", kernel_size, n, 1)
    stride = kernel if stride is None else int_tuple(name, "stride", stride, n, 1)
    parse_padding(name, padding, kernel, kernel, stride, int_tuple(name, "dilation", dilation, n, 1))
