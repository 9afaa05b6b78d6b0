"""Transforms as objects: base classes, and transforms that consist of other transforms."""

# Images are of several types, and users' transforms of any.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastconv import random
from fastconv.checks import check, number, shape_str
from fastconv.typing import Array

from .images import Image, is_batch, unpacked


class Transform:
    """Base class of the transforms: a subclass defines ``apply(x)`` for an array N x C x H x W.

    Attributes
    ----------
    batched : bool
        Whether the transform takes a whole batch, an array N x C x H x W. If it does, a ``DataLoader`` calls
        it once per batch.
    """

    batched: bool = True

    def __call__(self, image: Image, rng: np.random.Generator | None = None) -> Any:
        """The transformed image or batch, of the same kind."""
        x, like = unpacked(type(self).__name__, image)
        return like(self.apply(x))

    def apply(self, x: Array) -> Array:
        """The transformed batch; ``x`` is an array N x C x H x W."""
        raise NotImplementedError(f"{type(self).__name__}: a transform needs apply(x)")

    def __repr__(self) -> str:
        options = [k for k in inspect.signature(type(self)).parameters if hasattr(self, k)]
        return f"{type(self).__name__}({', '.join(f'{k}={getattr(self, k)!r}' for k in options)})"


class RandomTransform(Transform):
    """Base class of random transforms: a subclass defines ``draw(x, rng)``, which draws for each image."""

    def __call__(self, image: Image, rng: np.random.Generator | None = None) -> Any:
        """The transformed image or batch, of the same kind.

        The random numbers come from ``rng``. Without ``rng`` they depend on the seed of the ``DataLoader``
        that calls this; outside of a ``DataLoader`` they come from the generator that ``fc.manual_seed``
        seeds.
        """
        x, like = unpacked(type(self).__name__, image)
        return like(self.draw(x, random.numbers() if rng is None else rng))

    def draw(self, x: Array, rng: np.random.Generator) -> Array:
        """The transformed batch; ``x`` is an array N x C x H x W."""
        raise NotImplementedError(f"{type(self).__name__}: a random transform needs draw(x, rng)")


def called(transform: Callable[..., Any], image: Any, rng: np.random.Generator | None) -> Any:
    """``transform(image)``, or ``transform(image, rng)`` for the transforms of fastconv."""
    return transform(image, rng) if isinstance(transform, Transform) else transform(image)


def probability(name: str, p: Any) -> float:
    """``p`` as a float between 0 and 1."""
    return number(name, "p", p, 0, 1)


class _Several(Transform):
    """Base class of transforms that consist of other transforms."""

    def __init__(self, transforms: Sequence[Callable[..., Any]]) -> None:
        name = type(self).__name__
        check(
            isinstance(transforms, (list, tuple)),
            name,
            f"transforms must be a list of transforms, got {type(transforms).__name__}",
            TypeError,
        )
        for t in transforms:
            cure = f"; make one: {t.__name__}(...)" if isinstance(t, type) else ""
            fine = callable(t) and not isinstance(t, type)
            check(fine, name, f"transforms must be callables of one image, got {t!r:.60}{cure}", TypeError)
        self.transforms = list(transforms)

    @property
    def batched(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return all(isinstance(t, Transform) and t.batched for t in self.transforms)

    def chain(self, image: Image, rng: np.random.Generator | None) -> Any:
        """All transforms, one after the other."""
        for t in self.transforms:
            image = called(t, image, rng)
        return image

    def joined(self, parts: list[tuple[Array, Array]], x: Array) -> Array:
        """One batch from transformed parts of it: pairs (which images of ``x``, their results)."""
        shapes = {(y.shape[1:], y.dtype) for _, y in parts}
        check(
            len(shapes) <= 1,
            type(self).__name__,
            "the transforms must give the images of a batch one shape and dtype, got "
            + " and ".join(sorted(f"{shape_str(s)} of {d}" for s, d in shapes)),
        )
        if not parts:
            return x
        result = np.empty((len(x), *parts[0][1].shape[1:]), parts[0][1].dtype)
        for chosen, y in parts:
            result[chosen] = y
        return result

    def __repr__(self) -> str:
        options = [k for k in inspect.signature(type(self)).parameters if k != "transforms"]
        lines = [f"{k}={getattr(self, k)!r}" for k in options] + [repr(t) for t in self.transforms]
        inner = "\n".join(lines).replace("\n", "\n    ")
        return f"{type(self).__name__}(\n    {inner}\n)" if lines else f"{type(self).__name__}()"


class Compose(_Several):
    """Apply transforms from left to right.

    Parameters
    ----------
    transforms : list of transforms, or of functions of one image

    Examples
    --------
    >>> from fastconv.data import transforms
    >>> both = transforms.Compose([transforms.CenterCrop(2), transforms.Normalize(0.5, 0.5)])
    >>> both(fc.ones(1, 4, 4)).shape
    (1, 2, 2)
    """

    def __call__(self, image: Image, rng: np.random.Generator | None = None) -> Any:
        return self.chain(image, rng)


class RandomApply(_Several):
    """With probability ``p``, apply all of the transforms, else none of them.

    Parameters
    ----------
    transforms : list of transforms
    p : float
        From 0 to 1; drawn for each image.
    """

    def __init__(self, transforms: Sequence[Callable[..., Any]], p: float = 0.5) -> None:
        super().__init__(transforms)
        self.p = probability("RandomApply", p)

    def __call__(self, image: Image, rng: np.random.Generator | None = None) -> Any:
        rng = random.numbers() if rng is None else rng
        if not is_batch(image):
            return self.chain(image, rng) if rng.random() < self.p else image
        x, like = unpacked("RandomApply", image)
        chosen = rng.random(len(x)) < self.p
        parts = [(c, y) for c, y in ((~chosen, x[~chosen]), (chosen, x[chosen])) if len(y)]
        return like(self.joined([(c, self.chain(y, rng) if c is chosen else y) for c, y in parts], x))


class RandomChoice(_Several):
    """Apply one of the transforms, chosen at random for each image.

    Parameters
    ----------
    transforms : list of transforms
    p : list of float, optional
        A weight for each transform, at least 0; its probability is in proportion to it. By default all have
        the same probability.
    """

    def __init__(self, transforms: Sequence[Callable[..., Any]], p: Sequence[float] | None = None) -> None:
        super().__init__(transforms)
        check(len(self.transforms) > 0, "RandomChoice", "expected at least one transform")
        shares = np.ones(len(self.transforms)) if p is None else np.asarray(p, np.float64)
        fits = shares.shape == (len(self.transforms),) and (shares >= 0).all() and 0 < shares.sum() < np.inf
        check(fits, "RandomChoice", f"p must have a weight of at least 0 for each transform, got {p!r:.60}")
        self.p, self._shares = p, shares / shares.sum()

    def __call__(self, image: Image, rng: np.random.Generator | None = None) -> Any:
        rng = random.numbers() if rng is None else rng
        if not is_batch(image):
            return called(self.transforms[rng.choice(len(self.transforms), p=self._shares)], image, rng)
        x, like = unpacked("RandomChoice", image)
        choice = rng.choice(len(self.transforms), len(x), p=self._shares)
        parts: list[tuple[Array, Array]] = []
        for k, t in enumerate(self.transforms):
            if (chosen := choice == k).any():
                parts.append((chosen, called(t, x[chosen], rng)))
        return like(self.joined(parts, x))


class RandomOrder(_Several):
    """Apply all transforms, in a random order for each image.

    Parameters
    ----------
    transforms : list of transforms
    """

    def __call__(self, image: Image, rng: np.random.Generator | None = None) -> Any:
        rng = random.numbers() if rng is None else rng
        if not is_batch(image):
            for k in rng.permutation(len(self.transforms)):
                image = called(self.transforms[k], image, rng)
            return image
        x, like = unpacked("RandomOrder", image)
        return like(self.joined([(np.array([i]), self(x[i], rng)[None]) for i in range(len(x))], x))


class Lambda(Transform):
    """A transform that calls a function of one image.

    Parameters
    ----------
    lambd : callable ``image -> image``
    """

    batched = False

    def __init__(self, lambd: Callable[[Any], Any]) -> None:
        check(callable(lambd), "Lambda", f"lambd must be callable, got {lambd!r:.60}", TypeError)
        self.lambd = lambd

    def __call__(self, image: Image, rng: np.random.Generator | None = None) -> Any:
        return self.lambd(image)

    def __repr__(self) -> str:
        return "Lambda()"
