"""Methods that fill a tensor with random numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastconv import inplace, random
from fastconv.checks import check, number
from fastconv.random import Generator
from fastconv.typing import TensorLike
from fastconv.variable import Variable, argument

if TYPE_CHECKING:
    from typing_extensions import Self


class RandomFillMethods(Variable):
    """Methods that overwrite a tensor with random numbers, in place.

    The numbers come from ``generator``, by default the one that ``fc.manual_seed`` seeds. No gradient flows
    to the old values.
    """

    __slots__ = ()

    def _drawn(self, name: str, generator: Generator | None, distribution: str, *args: Any) -> Any:
        check(self.dtype.kind == "f", name, f"expected a tensor of floats, got {self.dtype}", TypeError)
        return random.drawn(name, generator, distribution, *args, self.shape)

    def _overwrite(self, name: str, values: Any) -> Self:
        inplace.assign(self, ..., np.asarray(values, self.dtype), name)
        return self

    def normal_(self, mean: float = 0, std: float = 1, *, generator: Generator | None = None) -> Self:
        """Fill with normally distributed numbers of mean ``mean`` and standard deviation ``std``.

        >>> fc.manual_seed(0); fc.zeros(100).normal_(5, 0.1).mean().round().item()
        5.0
        """
        number("normal_", "mean", mean)
        number("normal_", "std", std, 0)
        return self._overwrite("normal_", self._drawn("normal_", generator, "normal", mean, std))

    def log_normal_(self, mean: float = 1, std: float = 2, *, generator: Generator | None = None) -> Self:
        """Fill with ``exp(n)`` of normal numbers ``n`` of mean ``mean`` and standard deviation ``std``."""
        number("log_normal_", "std", std, 0)
        return self._overwrite("log_normal_", self._drawn("log_normal_", generator, "lognormal", mean, std))

    def uniform_(self, start: float = 0, to: float = 1, *, generator: Generator | None = None) -> Self:
        """Fill with numbers uniformly distributed in ``[start, to)``.

        >>> x = fc.zeros(100).uniform_(2, 3); bool((x >= 2).all() and (x <= 3).all())
        True
        """
        start, to = number("uniform_", "start", start), number("uniform_", "to", to)
        check(start <= to, "uniform_", f"start must not be above to, got {start:g} and {to:g}")
        values = self._drawn("uniform_", generator, "uniform", start, to).astype(self.dtype)
        if start < to:  # a number just below ``to`` may become ``to`` when it is rounded to float32
            values = np.minimum(values, np.nextafter(self.dtype.type(to), self.dtype.type(start)))
        return self._overwrite("uniform_", values)

    def exponential_(self, lambd: float = 1, *, generator: Generator | None = None) -> Self:
        """Fill with exponentially distributed numbers of rate ``lambd``, whose mean is ``1 / lambd``."""
        rate = number("exponential_", "lambd", lambd)
        check(rate > 0, "exponential_", f"lambd must be positive, got {lambd!r:.60}")
        return self._overwrite(
            "exponential_", self._drawn("exponential_", generator, "exponential", 1 / rate)
        )

    def cauchy_(self, median: float = 0, sigma: float = 1, *, generator: Generator | None = None) -> Self:
        """Fill with numbers of the Cauchy distribution with median ``median`` and scale ``sigma``."""
        number("cauchy_", "median", median)
        check(number("cauchy_", "sigma", sigma) > 0, "cauchy_", f"sigma must be positive, got {sigma!r:.60}")
        values = self._drawn("cauchy_", generator, "standard_cauchy")
        return self._overwrite("cauchy_", median + sigma * values)

    def geometric_(self, p: float, *, generator: Generator | None = None) -> Self:
        """Fill with numbers of trials up to the first success, if ``p`` is the probability of a success."""
        check(0 < number("geometric_", "p", p) < 1, "geometric_", f"p must be between 0 and 1, got {p!r:.60}")
        return self._overwrite(
            "geometric_", random.drawn("geometric_", generator, "geometric", p, self.shape)
        )

    def bernoulli_(self, p: float | TensorLike = 0.5, *, generator: Generator | None = None) -> Self:
        """Fill with 1 with probability ``p`` (a number, or a tensor that broadcasts), else 0.

        >>> fc.zeros(3).bernoulli_(1.0)
        tensor([1., 1., 1.])
        """
        if isinstance(p, (int, float)):
            chance: Any = number("bernoulli_", "p", p, 0, 1)
        else:
            chance = argument("bernoulli_", "p", p).numpy()
            inside = bool(((chance >= 0) & (chance <= 1)).all())
            check(inside, "bernoulli_", "p must be between 0 and 1 everywhere")
            chance = np.broadcast_to(chance, self.shape)
        drawn = random.drawn("bernoulli_", generator, "random", self.shape)
        return self._overwrite("bernoulli_", drawn < chance)

    def random_(
        self, start: int | None = None, to: int | None = None, *, generator: Generator | None = None
    ) -> Self:
        """Fill with integers uniformly distributed in ``[start, to)``; ``random_(to)`` starts from 0.

        Without arguments, the largest number is the largest integer of the dtype, 2^24 for float32 and 2^53
        for float64. Up to these limits a float represents every integer exactly.

        >>> x = fc.zeros(100, dtype="int64").random_(3); bool((x >= 0).all() and (x < 3).all())
        True
        """
        dtype = self.dtype
        largest = 2 ** (np.finfo(dtype).nmant + 1) if dtype.kind == "f" else 1
        if dtype.kind in "iu":
            largest = int(np.iinfo(dtype).max)
        first, end = 0 if start is None else start, to
        if end is None:
            first, end = 0, largest + 1 if start is None else start
        check(first < end, "random_", f"start must be below to, got {first} and {end}")
        wide = np.uint64 if end > 2**63 else np.int64
        values = random.drawn("random_", generator, "integers", first, end, self.shape, wide)
        return self._overwrite("random_", values)
