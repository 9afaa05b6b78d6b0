"""Convolution on the CPU: the contract's three passes, and the algorithms they choose from.

Every algorithm says why it refuses a convolution, what a pass should cost, and how much scratch memory it
needs. The one of least cost runs, unless the caller forces another (``backends/select.py``).
"""

from __future__ import annotations

from functools import lru_cache
from math import prod

import numpy as np

from fastconv.backends import select, settings
from fastconv.spec import ConvSpec

from ..codegen.emitter import lanes
from ..runtime import memory
from . import cost, depthwise, direct, im2col
from .passes import L2, add_residual
from .phases import backward_phases
from .weights import Prepacked
from .winograd import forward, gradient, orders
from .winograd.transforms import Tile


def _never(spec, dtype) -> None:
    """The refusal of an algorithm that takes every convolution."""


def _depthwise_refuses(spec, dtype) -> str | None:
    group = spec.c_in // spec.groups
    if spec.depthwise or (spec.groups > 1 and spec.c_in == spec.c_out and lanes(dtype) % group == 0):
        return None
    return (
        "it needs filters of one channel (groups = C_in, and more than one), or groups of as many filters as "
        f"channels, a number that divides {lanes(dtype)}, got groups {spec.groups}, C_in {spec.c_in}, "
        f"C_out {spec.c_out}"
    )


def _depthwise_workspace(spec, which, dtype) -> int:
    weights = prod(spec.w_shape) * np.dtype(dtype).itemsize
    return (settings.get_num_threads() if which == "bwd_weight" else 1) * weights


def _direct_workspace(spec, which, dtype) -> int:
    itemsize = np.dtype(dtype).itemsize
    weights = prod(spec.w_shape) * itemsize
    threads = settings.get_num_threads()
    if which == "bwd_weight":
        size = prod(i + b + a for i, (b, a) in zip(spec.in_size, spec.padding))
        padded = any(b or a for b, a in spec.padding) * spec.batch * size * spec.c_in * itemsize
        return padded + threads * weights
    return weights + threads * L2 // 4


def _im2col_workspace(spec, which, dtype) -> int:
    threads = settings.get_num_threads()
    weights = prod(spec.w_shape) * np.dtype(dtype).itemsize
    return (threads if which == "bwd_weight" else 1) * weights + threads * L2 // 2


# ------------------------------------------------------------------------------------------------- winograd
#: Outputs of a tile, for each number of taps, as many as eight, six or four points give. (6, 6) takes 4 %
#: less time than (4, 6), but rounds twice as much.
_TILES = {3: ((4, 6), 4, 2), 4: (5, 3), 5: (4, 2)}


@lru_cache(maxsize=4096)
def _best_tile(spec, which, dtype, precision, threads) -> Tile:
    tiles = _TILES[spec.kernel[-1]]
    if precision == "highest":
        tiles = (2,)
    elif spec.stride[-1] == 2:  # six outputs would take 13 points
        tiles = (4, 2)
    return min(tiles, key=lambda m: cost.winograd(spec, which, dtype, m))


def _winograd_tile(spec, which, dtype) -> Tile:
    """The outputs of a tile: those that cost least; 2 if the precision setting asks for the accuracy of
    direct convolution."""
    in_force = settings.get_float32_precision(), settings.get_num_threads()
    return _best_tile(orders.inner_spec(spec), which, np.dtype(dtype), *in_force)


def _winograd(name):
    """The pass ``name``, by tiles of the size that costs least."""
    run = gradient.bwd_weight if name == "bwd_weight" else getattr(forward, name)

    def winograd(*args):
        return run(*args, _winograd_tile(args[3 if name == "fwd" else 2], name, args[0].dtype))

    return winograd


def _winograd_refuses(spec, dtype) -> str | None:
    if np.dtype(dtype) != np.float32:
        return f"its rounding errors are meant for float32, got {np.dtype(dtype)}"
    shape = "x".join(map(str, spec.kernel))
    if len(set(spec.kernel[-2:])) > 1:
        return f"it needs a kernel that is square in height and width, got {shape}"
    if spec.ndim == 3 and {*spec.stride} != {1}:
        return f"in three dimensions it needs stride 1, got {spec.stride}"
    if {*spec.stride} not in ({1}, {2}) or {*spec.dilation[-2:]} != {1}:
        return f"it needs stride 1 or 2 and dilation 1, got stride {spec.stride}, dilation {spec.dilation}"
    sizes = (3, 4, 5) if spec.stride[0] == 1 else (3, 5, 6, 7)[: 4 if spec.ndim == 2 else 1]
    if spec.kernel[-1] not in sizes:
        taps = " or ".join(map(str, sizes))
        return f"with stride {spec.stride[0]} it needs a kernel of {taps} taps, got {shape}"
    if spec.ndim == 2 and spec.stride == (2, 2) and (spec.padding[0][0] - spec.padding[1][0]) % 2:
        return f"with stride 2 it needs paddings before that are both even or both odd, got {spec.padding}"
    if settings.get_float32_precision() == "highest" and {*orders.inner_spec(spec).kernel} != {3}:
        return (
            f"float32 precision is 'highest', and its rounding errors are small for 3 taps only, got {shape}"
        )
    return None if spec.groups == 1 else f"it needs groups 1, got {spec.groups}"


def _winograd_cost(spec, which, dtype) -> float:
    return cost.winograd(spec, which, dtype, _winograd_tile(spec, which, dtype))


def _winograd_workspace(spec, which, dtype) -> int:
    m, inner = _winograd_tile(spec, which, dtype), orders.inner_spec(spec)
    tiles, products = cost.winograd_tiles(inner, which, m)
    points = -(-products // tiles)
    gathered = spec.ndim == 3 and not orders.by_planes(spec, which, m)
    planes = prod(inner.x_shape) if gathered else 0
    sums = min(tiles, 1024) * (inner.c_in + inner.c_out) + inner.c_in * inner.c_out
    return 4 * (points * sums + planes)


CONV_ALGORITHMS = [
    select.Algorithm(
        "winograd",
        _winograd("fwd"),
        _winograd("bwd_data"),
        _winograd("bwd_weight"),
        _winograd_refuses,
        _winograd_cost,
        _winograd_workspace,
    ),
    select.Algorithm(
        "depthwise",
        depthwise.fwd,
        depthwise.bwd_data,
        depthwise.bwd_weight,
        _depthwise_refuses,
        cost.depthwise,
        _depthwise_workspace,
    ),
    select.Algorithm(
        "direct", direct.fwd, direct.bwd_data, direct.bwd_weight, _never, cost.direct, _direct_workspace
    ),
    select.Algorithm(
        "im2col", im2col.fwd, im2col.bwd_data, im2col.bwd_weight, _never, cost.im2col, _im2col_workspace
    ),
]


_choose = select.chooser(CONV_ALGORITHMS, settings.get_num_threads, settings.get_float32_precision)


#: Algorithms that compute backward-data with a bias and an activation.
_TRANSPOSED = {"direct": direct.conv_transpose, "im2col": im2col.conv_transpose}


def conv_transpose_pays(spec: ConvSpec, dtype: np.dtype) -> bool:
    """Whether :func:`conv_transpose_fwd` is faster than its parts (see the contract)."""
    chosen = _choose(spec, "bwd_data", dtype, None).name
    return chosen in _TRANSPOSED and all(p.taps for p in backward_phases(spec.as_3d()))


def conv_transpose_fwd(
    x: np.ndarray,
    w: np.ndarray | Prepacked,
    b: np.ndarray | None,
    spec: ConvSpec,
    activation: str | tuple[str, float, float] | None,
) -> np.ndarray:
    """A transposed convolution with its bias and its activation (see the contract)."""
    chosen = _choose(spec, "bwd_data", x.dtype, None).name
    return _TRANSPOSED.get(chosen, direct.conv_transpose)(x, w, b, spec, activation)


def conv_prepack(w: np.ndarray) -> Prepacked:
    """Weights that do not change any more, to be given to :func:`conv_fwd` (see the contract)."""
    return Prepacked(w)


def conv_fwd(
    x: np.ndarray,
    w: np.ndarray | Prepacked,
    b: np.ndarray | None,
    spec: ConvSpec,
    algorithm: str | None = None,
    residual: np.ndarray | None = None,
    activation: str | tuple[str, float, float] | None = None,
) -> np.ndarray:
    """The forward pass (see the contract)."""
    return _choose(spec, "fwd", x.dtype, algorithm).fwd(x, w, b, spec, residual, activation)


def conv_bwd_data(
    gy: np.ndarray,
    w: np.ndarray,
    spec: ConvSpec,
    algorithm: str | None = None,
    residual: np.ndarray | None = None,
) -> np.ndarray:
    """The gradient of the input (see the contract)."""
    run = _choose(spec, "bwd_data", gy.dtype, algorithm).bwd_data
    # Kernels write, and add to, only pixels that a tap reaches.
    if residual is not None and not all(p.taps for p in backward_phases(spec.as_3d())):
        return add_residual(run(gy, w, spec, None), residual)
    return run(gy, w, spec, residual)


def conv_bwd_weight(
    x: np.ndarray,
    gy: np.ndarray,
    spec: ConvSpec,
    algorithm: str | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """The gradient of the weights (see the contract)."""
    with memory.result_in(out):
        return _choose(spec, "bwd_weight", gy.dtype, algorithm).bwd_weight(x, gy, spec)
