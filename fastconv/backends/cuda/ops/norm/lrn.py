"""Local response normalisation: a thread per element, which reads the neighbouring channels."""

from __future__ import annotations

import functools

from ...runtime.array import DeviceArray
from ...runtime.launch import cuda, grid, kernel, launch, math
from ..channel_reduce import empty_matrix, matrix


@functools.cache
def _local_response_kernel(real):
    zero, one = real(0), real(1)

    @kernel
    def local_response(x, alpha, beta, k, size, y, scale, channels, n):
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            c = i % channels
            total = zero
            for d in range(max(c - size // 2, 0), min(c + (size - 1) // 2 + 1, channels)):
                v = x[i - c + d]
                total += v * v
            scale[i] = k + alpha * total
            y[i] = x[i] * math.pow(scale[i], -beta)

    @kernel
    def local_response_bwd(gy, x, scale, alpha, beta, size, gx, channels, n):
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            c = i % channels
            total = zero
            for d in range(max(c - (size - 1) // 2, 0), min(c + size // 2 + 1, channels)):
                j = i - c + d
                total += gy[j] * x[j] * math.pow(scale[j], -beta - one)
            gx[i] = gy[i] * math.pow(scale[i], -beta) - (alpha + alpha) * beta * x[i] * total

    return local_response, local_response_bwd


def local_response_norm_fwd(
    x: DeviceArray, size: int, alpha: float, beta: float, k: float
) -> tuple[DeviceArray, DeviceArray]:
    """``x * scale ** -beta``, and ``scale = k + alpha / size * the sum of squares of size neighbours``."""
    real, (y, out), (scale, scale_out) = x.dtype.type, empty_matrix(x), empty_matrix(x)
    launch(
        _local_response_kernel(real)[0],
        *grid(x.size),
        matrix(x),
        real(alpha / size),
        real(beta),
        real(k),
        size,
        out,
        scale_out,
        x.shape[1],
        x.size,
    )
    return y, scale


def local_response_norm_bwd(
    gy: DeviceArray, x: DeviceArray, scale: DeviceArray, size: int, alpha: float, beta: float
) -> DeviceArray:
    """Gradient of :func:`local_response_norm_fwd` in x."""
    real, (gx, out) = x.dtype.type, empty_matrix(x)
    launch(
        _local_response_kernel(real)[1],
        *grid(x.size),
        matrix(gy),
        matrix(x),
        matrix(scale),
        real(alpha / size),
        real(beta),
        size,
        out,
        x.shape[1],
        x.size,
    )
    return gx
