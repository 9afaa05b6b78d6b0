"""New tensors of random numbers.

The numbers come from the generator that ``manual_seed`` seeds, or from the caller's ``Generator``. They are
drawn on the host, so the same seed gives the same numbers on every device.
"""

# Arguments of users are checked when they arrive, whatever their declared types say.
# pyright: reportUnnecessaryIsInstance=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dtypes, random
from ..checks import check, check_rank, int_tuple, number, shape_argument, shape_str
from ..devices import place
from ..dtypes import FLOAT32, FLOAT64, INT64
from ..errors import names_memory
from ..random import Generator
from ..spec import broadcast_shape
from ..tensor import Tensor
from ..typing import DType, Ints, TensorLike
from ..variable import argument


# ------------------------------------------------------------------------------------------------- of a shape
@names_memory
def rand(
    *args: Ints,
    size: Ints | None = None,
    generator: Generator | None = None,
    dtype: DType | None = FLOAT32,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Uniform numbers in [0, 1): ``rand(2, 3)``, ``rand((2, 3))`` or ``rand(size=(2, 3))``.

    >>> fc.rand(2, 3).shape
    (2, 3)
    """
    values = _drawn("rand", generator, "random", shape_argument("rand", args, size), _float("rand", dtype))
    return Tensor(place(values, device), requires_grad)


@names_memory
def randn(
    *args: Ints,
    size: Ints | None = None,
    generator: Generator | None = None,
    dtype: DType | None = FLOAT32,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Standard normal numbers: ``randn(2, 3)``, ``randn((2, 3))`` or ``randn(size=(2, 3))``.

    >>> fc.randn(2, 3).shape
    (2, 3)
    """
    shape = shape_argument("randn", args, size)
    values = _drawn("randn", generator, "standard_normal", shape, _float("randn", dtype))
    return Tensor(place(values, device), requires_grad)


@names_memory
def randint(
    *args: Any,
    low: int | None = None,
    high: int | None = None,
    size: Ints | None = None,
    generator: Generator | None = None,
    dtype: DType | None = INT64,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Integers from ``low`` (0 by default) to ``high - 1``, all with the same probability.

    Call it as ``randint(high, size)`` or ``randint(low, high, size)``.

    >>> fc.randint(0, 10, (2, 3)).shape
    (2, 3)
    """
    name = "randint"
    words = [w for w, v in (("low", low), ("high", high), ("size", size)) if v is None]
    if len(args) == len(words) - 1 and "low" in words:  # only low may be left out
        words.remove("low")
    check(
        len(args) == len(words), name, f"expected high and size, or low, high and size, got {args}", TypeError
    )
    given = {"low": low, "high": high, "size": size, **dict(zip(words, args))}
    shape = shape_argument(name, (given["size"],))
    values = _integers(name, given["low"] or 0, given["high"], shape, generator)
    return Tensor(place(values.astype(dtypes.parse(name, dtype or INT64)), device), requires_grad)


@names_memory
def randperm(
    n: int,
    *,
    generator: Generator | None = None,
    dtype: DType | None = INT64,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """The integers from 0 to ``n - 1`` in random order.

    >>> sorted(fc.randperm(4).tolist())
    [0, 1, 2, 3]
    """
    (count,) = shape_argument("randperm", (n,))
    values = _drawn("randperm", generator, "permutation", count)
    return Tensor(place(values.astype(dtypes.parse("randperm", dtype or INT64)), device), requires_grad)


# ----------------------------------------------------------------------------------------------- like another
def _options(name: str, model: Any, dtype: Any, device: Any) -> tuple[Tensor, np.dtype[Any], Any]:
    x = argument(name, "input", model)
    return x, x.dtype if dtype is None else dtypes.parse(name, dtype), x.device if device is None else device


@names_memory
def rand_like(
    input: TensorLike,  # noqa: A002 - PyTorch's name
    *,
    generator: Generator | None = None,
    dtype: DType | None = None,
    device: str | None = None,
    requires_grad: bool = False,
    memory_format: str = "preserve_format",
) -> Tensor:
    """:func:`rand` with the shape, dtype and device of ``input``; ``memory_format`` has no effect.

    >>> fc.rand_like(fc.zeros(2, 3)).shape
    (2, 3)
    """
    x, dtype, device = _options("rand_like", input, dtype, device)
    values = _drawn("rand_like", generator, "random", x.shape, _float("rand_like", dtype))
    return Tensor(place(values, device), requires_grad)


@names_memory
def randn_like(
    input: TensorLike,  # noqa: A002
    *,
    generator: Generator | None = None,
    dtype: DType | None = None,
    device: str | None = None,
    requires_grad: bool = False,
    memory_format: str = "preserve_format",
) -> Tensor:
    """:func:`randn` with the shape, dtype and device of ``input``; ``memory_format`` has no effect.

    >>> fc.randn_like(fc.zeros(2, 3)).shape
    (2, 3)
    """
    x, dtype, device = _options("randn_like", input, dtype, device)
    values = _drawn("randn_like", generator, "standard_normal", x.shape, _float("randn_like", dtype))
    return Tensor(place(values, device), requires_grad)


@names_memory
def randint_like(
    input: TensorLike,  # noqa: A002
    low: int,
    high: int | None = None,
    *,
    generator: Generator | None = None,
    dtype: DType | None = None,
    device: str | None = None,
    requires_grad: bool = False,
    memory_format: str = "preserve_format",
) -> Tensor:
    """:func:`randint` with the shape, dtype and device of ``input``; ``memory_format`` has no effect.

    Call it as ``randint_like(x, high)`` or ``randint_like(x, low, high)``.

    >>> fc.randint_like(fc.zeros(2, 3), 10).dtype
    dtype('float32')
    """
    x, dtype, device = _options("randint_like", input, dtype, device)
    bounds = (0, low) if high is None else (low, high)
    values = _integers("randint_like", *bounds, x.shape, generator)
    return Tensor(place(values.astype(dtype), device), requires_grad)


# ---------------------------------------------------------------------------------------------- distributions
@names_memory
def normal(
    mean: TensorLike | float,
    std: TensorLike | float = 1.0,
    size: Ints | None = None,
    *,
    generator: Generator | None = None,
    dtype: DType | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Normally distributed numbers.

    Parameters
    ----------
    mean, std : float or Tensor
        Mean and standard deviation. Tensors give those of each element, and are broadcast.
    size : int or tuple of int
        The shape of the result; only if ``mean`` and ``std`` are numbers.

    Raises
    ------
    ValueError, TypeError
        ``std`` is negative, ``size`` is missing, or it is given together with a tensor.

    Examples
    --------
    >>> fc.normal(0.0, 1.0, (2, 3)).shape, fc.normal(fc.zeros(4), 0.5).shape
    ((2, 3), (4,))
    """
    name = "normal"
    parts = []
    for what, value in (("mean", mean), ("std", std)):
        is_tensor = isinstance(value, (Tensor, np.ndarray))
        check(
            not is_tensor or size is None,
            name,
            f"give size only with numbers, and {what} is a tensor",
            TypeError,
        )
        parts.append(argument(name, what, value) if is_tensor else number(name, what, value))
    tensors = [p for p in parts if isinstance(p, Tensor)]
    check(bool(tensors) or size is not None, name, "give size, or a tensor for mean or std", TypeError)
    for t in tensors:
        check(t.dtype.kind == "f", name, f"mean and std must be float tensors, got {t.dtype}", TypeError)
    a, b = (p.numpy() if isinstance(p, Tensor) else np.asarray(p) for p in parts)
    check(bool((b >= 0).all()), name, f"std must be at least 0, got {b.min(initial=0)}")
    shape = broadcast_shape(name, a.shape, b.shape) if tensors else shape_argument(name, (size,))
    kind = _float(name, tensors[0].dtype if dtype is None and tensors else dtype)
    values = _drawn(name, generator, "standard_normal", shape, kind) * b.astype(kind) + a.astype(kind)
    where = tensors[0].device if device is None and tensors else device
    return Tensor(place(values, where), requires_grad)


@names_memory
def bernoulli(input: TensorLike, *, generator: Generator | None = None) -> Tensor:  # noqa: A002
    """Random zeros and ones of the shape and dtype of ``input``, which has the probability of a one.

    >>> fc.bernoulli(fc.tensor([0.0, 1.0]))
    tensor([0., 1.])
    """
    name = "bernoulli"
    x = argument(name, "input", input)
    check(
        x.dtype.kind == "f", name, f"input must be a float tensor of probabilities, got {x.dtype}", TypeError
    )
    p = x.numpy()
    check(bool(((p >= 0) & (p <= 1)).all()), name, "every probability must be between 0 and 1")
    return Tensor(place((_drawn(name, generator, "random", p.shape) < p).astype(p.dtype), x.device))


@names_memory
def multinomial(
    input: TensorLike,  # noqa: A002
    num_samples: int,
    replacement: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Draw ``num_samples`` positions from each row of weights, with probabilities in proportion to these.

    Parameters
    ----------
    input : Tensor or array of floats, (n,) or (rows, n)
        Weights. They are at least 0 and need not add up to 1.
    num_samples : int
    replacement : bool
        Whether a position may be drawn more than once.

    Returns
    -------
    Tensor
        int64, (num_samples,) or (rows, num_samples): the positions drawn from each row.

    Raises
    ------
    ValueError
        A weight is negative or not finite, a row has no weight above 0, or, without replacement, fewer than
        ``num_samples`` weights above 0.
    TypeError
        The weights are not floats.

    Notes
    -----
    Without replacement, the positions with the largest values of ``weight / x`` are taken, where x is an
    exponentially distributed random number (P. Efraimidis, P. Spirakis: Weighted random sampling with a
    reservoir, 2006).

    Examples
    --------
    >>> fc.multinomial(fc.tensor([0.0, 3.0, 0.0]), 2, replacement=True)
    tensor([1, 1])
    """
    name = "multinomial"
    x = argument(name, "input", input)
    check_rank(name, "input", x.shape, (1, 2), "a row of weights, or rows")
    check(x.dtype.kind == "f", name, f"input must be a float tensor of weights, got {x.dtype}", TypeError)
    (count,) = int_tuple(name, "num_samples", num_samples, 1, 1)
    weights = x.numpy().astype(np.float64).reshape(-1, x.shape[-1])
    usable = np.isfinite(weights).all() and (weights >= 0).all() and (weights.sum(1) > 0).all()
    check(bool(usable), name, "weights must be finite and at least 0, and one in each row above 0")
    if replacement:
        sums = weights.cumsum(1)
        drawn = _drawn(name, generator, "random", (len(weights), count)) * sums[:, -1:]
        found = np.stack([np.searchsorted(s, d, "right") for s, d in zip(sums, drawn)])
        found = np.minimum(found, x.shape[-1] - 1)
    else:
        positive = int((weights > 0).sum(1).min())
        check(
            count <= positive,
            name,
            f"cannot draw {count} different positions from {positive} weights above 0 "
            f"({shape_str(x.shape)}); pass replacement=True to draw one again",
        )
        keys = weights / _drawn(name, generator, "exponential", 1.0, weights.shape)
        found = np.argsort(-keys, axis=1)[:, :count]
    return Tensor(place(found.astype(np.int64).reshape(*x.shape[:-1], count), x.device))


# ------------------------------------------------------------------------------------------------- arguments
def _drawn(name: str, generator: Any, distribution: str, *args: Any) -> np.ndarray:
    random.check_generator(name, generator)
    return np.asarray(random.draw(distribution, *args, generator=generator))


def _integers(name: str, low: Any, high: Any, shape: tuple[int, ...], generator: Any) -> np.ndarray:
    (first,), (end,) = (int_tuple(name, w, v, 1, -(1 << 62)) for w, v in (("low", low), ("high", high)))
    check(first < end, name, f"low must be less than high, got {first} and {end}")
    return _drawn(name, generator, "integers", first, end, shape)


def _float(name: str, dtype: Any) -> np.dtype[Any]:
    found = dtypes.or_float32(name, dtype)
    check(found in (FLOAT32, FLOAT64), name, f"dtype must be float32 or float64, got {found}", TypeError)
    return found
