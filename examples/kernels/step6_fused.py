"""Step 6: what follows a convolution, done where its results are still in registers: fastconv's own kernel.

::

    three passes over memory                         fused
      conv -> y                write y                 conv -> sums in registers
      y += bias         read y, write y                        + bias
      y += residual     read y and residual, write y           + residual      read residual
      y = max(y, 0)     read y, write y                        max(.., 0)      write y

    8 arrays of 12.8 MB move (16 images), against 2

In a ResNet each convolution is followed by a bias (BatchNorm, folded into the weights), the sum with a
residual, and ReLU. Each is one operation per number and two or three accesses to memory, so memory alone
decides how long it takes. The output transform has every result in a register once: there the three cost
three instructions per vector, and the residual is read.

``conv`` is what a net of ``fc.optimize_for_inference`` runs for such layers. On this one shape, for which
step 5 was written, its convolution alone is about as fast as step 5. It differs where step 5 gives up: any
size of image and any number of channels, weights larger than the cache, strides, backward passes, float64,
images without a border in memory. Its tile is 14 pixels x 2 vectors and keeps the sums in registers along all
channels, which Numba cannot be told, so it is written as LLVM code. ``docs/kernels.md`` goes on from here.

**Limit:** the products, and memory during the transforms.
"""

import numba
import step5_winograd
from numba import prange
from problem import K

from fastconv import spec
from fastconv.backends import registry


@numba.njit(parallel=True)
def add_bias(y, bias):
    for i in prange(len(y)):
        for k in range(K):
            y[i, k] += bias[k]


@numba.njit(parallel=True)
def add_residual(y, residual):
    for i in prange(len(y)):
        for k in range(K):
            y[i, k] += residual[i, k]


@numba.njit(parallel=True)
def relu(y):
    for i in prange(len(y)):
        for k in range(K):
            y[i, k] = max(y[i, k], 0)


def unfused(x, u, y, bias, residual):
    """Step 5, then a pass over memory for each operation; residual as ``(N * H * W, K)``."""
    step5_winograd.conv(x, u, y)
    pixels = y.reshape(-1, K)
    add_bias(pixels, bias)
    add_residual(pixels, residual)
    relu(pixels)
    return step5_winograd.result(y)


def arrange(x, w):
    """x channels last in memory, packed weights, and the geometry."""
    engine = registry.load("cpu")
    geometry = spec.conv_spec("conv2d", x.shape, w.shape, padding=1)
    return engine.copy(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2), engine.conv_prepack(w), geometry


def conv(x, w, geometry, bias=None, residual=None, activation=False):
    """Returns y as ``(N, K, H, W)``, channels last in memory."""
    end = "relu" if activation else None
    return registry.load("cpu").conv_fwd(x, w, bias, geometry, residual=residual, activation=end)
