"""What every op means, in plain float64 loops.

This file imports nothing of fastconv and shares no idea with its kernels: a loop over the output elements,
and inside it the textbook sum. It is slow; feed it tiny arrays.
"""

from __future__ import annotations

import itertools
import math

import numpy as np


# ------------------------------------------------------------------------------------------------- common
# pieces
def per_dim(value, n: int) -> tuple[int, ...]:
    """One int for each of ``n`` dimensions."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * n


def pad_pairs(padding, n: int) -> tuple[tuple[int, int], ...]:
    """An int, one int per dimension, or (before, after) pairs, as pairs."""
    return tuple(p if isinstance(p, (tuple, list)) else (p, p) for p in per_dim(padding, n))


def largest(values) -> float:
    """The maximum, NaN if any value is NaN."""
    best = -math.inf
    for v in values:
        if math.isnan(v):
            return math.nan
        best = max(best, v)
    return best


def mean_and_variance(values) -> tuple[float, float]:
    """Mean and biased variance, in two passes."""
    values = list(values)
    mean = sum(values) / len(values)
    return mean, sum((v - mean) ** 2 for v in values) / len(values)


def elementwise(f, x):
    """``f`` applied to every element; overflow gives infinity as in IEEE arithmetic."""
    y = np.empty(np.shape(x))
    for at in np.ndindex(*y.shape):
        y[at] = f(np.float64(x[at]))
    return y


def reduced(losses, reduction: str, denominator: float):
    """Losses as they are, summed, or summed and divided."""
    if reduction == "none":
        return losses
    total = np.float64(sum(float(v) for v in losses.ravel()))
    return total if reduction == "sum" else total / np.float64(denominator)


# -------------------------------------------------------------------------------------------------
# convolution
def conv(x, w, b=None, stride=1, padding=0, dilation=1, groups=1):
    """Cross-correlation of N x C x spatial with C_out x C/groups x spatial, any number of spatial
    dimensions."""
    n = x.ndim - 2
    stride, dilation, pads = per_dim(stride, n), per_dim(dilation, n), pad_pairs(padding, n)
    x = np.pad(x, ((0, 0), (0, 0), *pads))
    c_out, c_group, *kernel = w.shape
    size = [(i - d * (k - 1) - 1) // s + 1 for i, k, s, d in zip(x.shape[2:], kernel, stride, dilation)]
    y = np.zeros((x.shape[0], c_out, *size))
    for image, c, *out in np.ndindex(*y.shape):
        first = c // (c_out // groups) * c_group
        total = 0.0 if b is None else b[c]
        for j in range(c_group):
            for tap in np.ndindex(*kernel):
                at = tuple(o * s + t * d for o, s, t, d in zip(out, stride, tap, dilation))
                total += x[(image, first + j, *at)] * w[(c, j, *tap)]
        y[(image, c, *out)] = total
    return y


def conv_transpose(x, w, b=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """Every input element adds its multiple of the kernel to the output. ``w`` is C_in x C_out/groups x
    spatial."""
    n = x.ndim - 2
    stride, dilation, extra = per_dim(stride, n), per_dim(dilation, n), per_dim(output_padding, n)
    pads = pad_pairs(padding, n)
    c_in, c_group, *kernel = w.shape
    size = [
        (i - 1) * s + d * (k - 1) + 1 + e - before - after
        for i, k, s, d, e, (before, after) in zip(x.shape[2:], kernel, stride, dilation, extra, pads)
    ]
    y = np.zeros((x.shape[0], c_group * groups, *size))
    if b is not None:
        y += np.reshape(b, (-1,) + (1,) * n)
    for image, c, *place in np.ndindex(*x.shape):
        first = c // (c_in // groups) * c_group
        for j in range(c_group):
            for tap in np.ndindex(*kernel):
                at = [
                    i * s + t * d - before
                    for i, s, t, d, (before, _) in zip(place, stride, tap, dilation, pads)
                ]
                if all(0 <= a < e for a, e in zip(at, size)):
                    y[(image, first + j, *at)] += x[(image, c, *place)] * w[(c, j, *tap)]
    return y


def unfold(x, kernel_size, dilation=1, padding=0, stride=1):
    """im2col: column ``l`` holds the window of output pixel ``l``, rows ordered channel, kernel row, kernel
    column."""
    stride, dilation, (kh, kw) = per_dim(stride, 2), per_dim(dilation, 2), per_dim(kernel_size, 2)
    x = np.pad(x, ((0, 0), (0, 0), *pad_pairs(padding, 2)))
    n, c, height, width = x.shape
    oh = (height - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    ow = (width - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    cols = np.zeros((n, c * kh * kw, oh * ow))
    for image, channel, u, v, i, j in np.ndindex(n, c, kh, kw, oh, ow):
        value = x[image, channel, i * stride[0] + u * dilation[0], j * stride[1] + v * dilation[1]]
        cols[image, (channel * kh + u) * kw + v, i * ow + j] = value
    return cols


def fold(cols, output_size, kernel_size, dilation=1, padding=0, stride=1):
    """Adds the columns of :func:`unfold` back at the pixels they were taken from."""
    stride, dilation, (kh, kw) = per_dim(stride, 2), per_dim(dilation, 2), per_dim(kernel_size, 2)
    (top, bottom), (left, right) = pad_pairs(padding, 2)
    height, width = per_dim(output_size, 2)
    n, c = cols.shape[0], cols.shape[1] // (kh * kw)
    oh = (height + top + bottom - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    ow = (width + left + right - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    y = np.zeros((n, c, height, width))
    for image, channel, u, v, i, j in np.ndindex(n, c, kh, kw, oh, ow):
        row, column = i * stride[0] + u * dilation[0] - top, j * stride[1] + v * dilation[1] - left
        if 0 <= row < height and 0 <= column < width:
            y[image, channel, row, column] += cols[image, (channel * kh + u) * kw + v, i * ow + j]
    return y


# ------------------------------------------------------------------------------------------------- pooling
def pool_windows(size, kernel_size, stride, padding, dilation, ceil_mode):
    """Output extents, and for an output position the input positions of its window and its size with
    padding."""
    n = len(size)
    kernel, dilation, pads = per_dim(kernel_size, n), per_dim(dilation, n), pad_pairs(padding, n)
    stride = kernel if stride is None else per_dim(stride, n)
    out = []
    for i, k, s, d, (before, after) in zip(size, kernel, stride, dilation, pads):
        steps = (i + before + after - d * (k - 1) - 1) / s
        o = (math.ceil(steps) if ceil_mode else math.floor(steps)) + 1
        if ceil_mode and (o - 1) * s >= i + before:  # a window may not start in the padding behind the input
            o -= 1
        out.append(o)

    def window(position):
        inside, padded = [], 0
        for tap in np.ndindex(*kernel):
            at = tuple(p * s + t * d - b for p, s, t, d, (b, _) in zip(position, stride, tap, dilation, pads))
            inside += [at] if all(0 <= a < i for a, i in zip(at, size)) else []
            padded += all(a < i + after for a, i, (_, after) in zip(at, size, pads))
        return inside, padded

    return tuple(out), window


def max_pool(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """Maximum of every window; the index is the flat position inside the spatial plane, the first of
    equals."""
    size = x.shape[2:]
    out, window = pool_windows(size, kernel_size, stride, padding, dilation, ceil_mode)
    y = np.zeros((*x.shape[:2], *out))
    index = np.zeros(y.shape, np.int64)
    for n, c, *position in np.ndindex(*y.shape):
        inside, _ = window(position)
        values = [x[(n, c, *at)] for at in inside]
        y[(n, c, *position)] = best = largest(values)
        first = next(i for i, v in enumerate(values) if v == best or math.isnan(v))
        index[(n, c, *position)] = np.ravel_multi_index(inside[first], size)
    return index if return_indices else y


def avg_pool(
    x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
):
    """Mean of every window."""
    out, window = pool_windows(x.shape[2:], kernel_size, stride, padding, 1, ceil_mode)
    y = np.zeros((*x.shape[:2], *out))
    for n, c, *position in np.ndindex(*y.shape):
        inside, padded = window(position)
        divisor = divisor_override or (padded if count_include_pad else len(inside))
        y[(n, c, *position)] = sum(x[(n, c, *at)] for at in inside) / divisor
    return y


def adaptive_pool(x, output_size, kind, return_indices=False):
    """Window ``i`` of ``o`` covers rows floor(i*H/o) to ceil((i+1)*H/o); ``None`` keeps the extent."""
    size = x.shape[2:]
    out = tuple(i if o is None else o for i, o in zip(size, per_dim(output_size, len(size))))
    y = np.zeros((*x.shape[:2], *out))
    index = np.zeros(y.shape, np.int64)
    for n, c, *position in np.ndindex(*y.shape):
        window = [
            range(math.floor(p * i / o), math.ceil((p + 1) * i / o)) for p, i, o in zip(position, size, out)
        ]
        places = list(itertools.product(*window))
        values = [x[(n, c, *at)] for at in places]
        y[(n, c, *position)] = largest(values) if kind == "max" else sum(values) / len(values)
        if kind == "max":
            best = y[(n, c, *position)]
            first = next(k for k, v in enumerate(values) if v == best or math.isnan(v))
            index[(n, c, *position)] = np.ravel_multi_index(places[first], size)
    return index if return_indices else y


def lp_pool(x, norm_type, kernel_size, stride=None, ceil_mode=False):
    """The root of the sum of powers; a window over the edge counts as its mean times its size."""
    mean = avg_pool(x**norm_type, kernel_size, stride, 0, ceil_mode)
    return (mean * math.prod(per_dim(kernel_size, x.ndim - 2))) ** (1 / norm_type)


def max_unpool(x, index, size):
    """Zeros, and each element at its flat place; the last one stays."""
    y = np.zeros((*x.shape[:2], *size))
    for n, c, *position in np.ndindex(*x.shape):
        y[(n, c, *np.unravel_index(index[(n, c, *position)], size))] = x[(n, c, *position)]
    return y


# -------------------------------------------------------------------------------------------------
# normalisation
def batch_norm(x, weight=None, bias=None, mean=None, var=None, eps=1e-5):
    """Each channel by its own statistics over batch and space, or by those given."""
    y = np.empty(x.shape)
    for c in range(x.shape[1]):
        m, v = mean_and_variance(x[:, c].ravel()) if mean is None else (mean[c], var[c])
        y[:, c] = (x[:, c] - m) / math.sqrt(v + eps)
        y[:, c] = y[:, c] * (1.0 if weight is None else weight[c]) + (0.0 if bias is None else bias[c])
    return y


def running_statistics(x, mean, var, momentum=0.1):
    """The running mean and variance after one training batch: the variance that feeds them is unbiased."""
    new_mean, new_var = np.empty(len(mean)), np.empty(len(var))
    for c in range(x.shape[1]):
        m, v = mean_and_variance(x[:, c].ravel())
        count = x[:, c].size
        new_mean[c] = (1 - momentum) * mean[c] + momentum * m
        new_var[c] = (1 - momentum) * var[c] + momentum * v * count / (count - 1)
    return new_mean, new_var


def layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    """Each sample by its statistics over the last ``len(normalized_shape)`` axes."""
    y = np.empty(x.shape)
    for row in np.ndindex(*x.shape[: x.ndim - len(normalized_shape)]):
        m, v = mean_and_variance(x[row].ravel())
        y[row] = (x[row] - m) / math.sqrt(v + eps)
        y[row] = y[row] * (1.0 if weight is None else weight) + (0.0 if bias is None else bias)
    return y


def group_norm(x, groups, weight=None, bias=None, eps=1e-5):
    """Each group of channels of each sample by its own statistics."""
    y = np.empty(x.shape)
    width = x.shape[1] // groups
    for n, c in np.ndindex(*x.shape[:2]):
        first = c // width * width
        m, v = mean_and_variance(x[n, first : first + width].ravel())
        y[n, c] = (x[n, c] - m) / math.sqrt(v + eps)
        y[n, c] = y[n, c] * (1.0 if weight is None else weight[c]) + (0.0 if bias is None else bias[c])
    return y


def local_response_norm(x, size, alpha=1e-4, beta=0.75, k=1.0):
    """x / (k + alpha/size * sum of x^2 over ``size`` neighbouring channels)^beta."""
    y = np.empty(x.shape)
    for n, c, *at in np.ndindex(*x.shape):
        near = range(max(0, c - size // 2), min(x.shape[1], c + (size - 1) // 2 + 1))
        squares = sum(x[(n, j, *at)] ** 2 for j in near)
        y[(n, c, *at)] = x[(n, c, *at)] / (k + alpha / size * squares) ** beta
    return y


# ------------------------------------------------------------------------------------------------- pointwise
def relu(x):
    return elementwise(lambda v: v if v > 0 or math.isnan(v) else 0.0, x)


def leaky_relu(x, negative_slope=0.01):
    return elementwise(lambda v: v if v > 0 else negative_slope * v, x)


def sigmoid(x):
    return elementwise(lambda v: 1.0 / (1.0 + np.exp(-v)), x)


def tanh(x):
    return elementwise(math.tanh, x)


def silu(x):
    return elementwise(lambda v: v / (1.0 + np.exp(-v)), x)


def relu6(x):
    return hardtanh(x, 0.0, 6.0)


def hardtanh(x, min_val=-1.0, max_val=1.0):
    return elementwise(lambda v: v if math.isnan(v) else min(max(v, min_val), max_val), x)


def hardsigmoid(x):
    return relu6(x + 3) / 6


def hardswish(x):
    return x * relu6(x + 3) / 6


def elu(x, alpha=1.0):
    return elementwise(lambda v: v if v > 0 else alpha * (np.exp(v) - 1), x)


def selu(x):
    return 1.0507009873554805 * elu(x, 1.6732632423543772)


def celu(x, alpha=1.0):
    return alpha * elu(x / alpha)


def softplus(x, beta=1.0, threshold=20.0):
    return elementwise(lambda v: v if v * beta > threshold else np.log(1 + np.exp(beta * v)) / beta, x)


def mish(x):
    return x * tanh(softplus(x))


def softsign(x):
    return elementwise(lambda v: v / (1 + abs(v)), x)


def logsigmoid(x):
    return elementwise(lambda v: min(v, 0.0) - np.log(1 + np.exp(-abs(v))), x)


def hardshrink(x, lambd=0.5):
    return elementwise(lambda v: 0.0 if -lambd <= v <= lambd else v, x)


def softshrink(x, lambd=0.5):
    return elementwise(lambda v: v - lambd if v > lambd else v + lambd if v < -lambd else v * 0, x)


def tanhshrink(x):
    return elementwise(lambda v: v - math.tanh(v), x)


def threshold(x, threshold, value):
    return elementwise(lambda v: value if v <= threshold else v, x)


def prelu(x, weight):
    y = np.array(x)
    for at in np.ndindex(*x.shape):
        if not x[at] > 0:
            y[at] *= weight[at[1] if len(weight) > 1 else 0]
    return y


def glu(x, dim=-1):
    a, b = np.split(x, 2, dim)
    return a * sigmoid(b)


def gelu(x, approximate="none"):
    if approximate == "tanh":
        return elementwise(
            lambda v: v / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))), x
        )
    return elementwise(lambda v: v / 2 * (1 + math.erf(v / math.sqrt(2))), x)


def log_softmax(x, axis):
    """Log of the softmax along ``axis``, shifted by the maximum so that nothing overflows."""
    y = np.moveaxis(np.array(x, np.float64), axis, -1)
    for row in np.ndindex(*y.shape[:-1]):
        shifted = y[row] - largest(y[row])
        y[row] = shifted - np.log(sum(np.exp(v) for v in shifted))
    return np.moveaxis(y, -1, axis)


def softmax(x, axis):
    return np.exp(log_softmax(x, axis))


# ------------------------------------------------------------------------------------------------- dense and
# losses
def linear(x, w, b=None):
    """x w^T + b over the last axis."""
    y = np.zeros((*x.shape[:-1], len(w)))
    for *row, o in np.ndindex(*y.shape):
        total = 0.0 if b is None else b[o]
        for i in range(x.shape[-1]):
            total += x[(*row, i)] * w[o, i]
        y[(*row, o)] = total
    return y


def matmul(a, b):
    """Matrix product of the last two axes, leading axes broadcast; a vector is a row (left) or a column
    (right)."""
    if b.ndim == 1:
        return matmul(a, b[:, None])[..., 0]
    if a.ndim == 1:
        return matmul(a[None], b)[..., 0, :]
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = np.broadcast_to(a, lead + a.shape[-2:]), np.broadcast_to(b, lead + b.shape[-2:])
    y = np.zeros((*lead, a.shape[-2], b.shape[-1]))
    for *at, i, j in np.ndindex(*y.shape):
        y[(*at, i, j)] = sum(a[(*at, i, k)] * b[(*at, k, j)] for k in range(a.shape[-1]))
    return y


def nll_loss(log_prob, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """Negative log likelihood of class indices. ``log_prob`` is N x C x ... (or C), ``target`` N x ..."""
    if log_prob.ndim == 1:
        log_prob, target = log_prob[None], np.reshape(target, 1)
        losses = nll_loss(log_prob, target, weight, ignore_index, reduction, label_smoothing)
        return losses[0] if reduction == "none" else losses
    classes = log_prob.shape[1]
    weight = np.ones(classes) if weight is None else weight
    losses, denominator = np.zeros(target.shape), 0.0
    for at in np.ndindex(*target.shape):
        n, *place = at
        t = target[at]
        if t == ignore_index:
            continue
        losses[at] = -(1 - label_smoothing) * weight[t] * log_prob[(n, t, *place)]
        if label_smoothing:  # without it a class of probability zero costs nothing
            smooth = sum(weight[c] * log_prob[(n, c, *place)] for c in range(classes)) / classes
            losses[at] -= label_smoothing * smooth
        denominator += weight[t]
    return reduced(losses, reduction, denominator)


def cross_entropy(logits, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """Cross entropy of logits with class indices, or with probabilities of the logits' shape."""
    log_prob = log_softmax(logits, 1 if logits.ndim > 1 else 0)
    if np.issubdtype(target.dtype, np.integer):
        return nll_loss(log_prob, target, weight, ignore_index, reduction, label_smoothing)
    classes = logits.shape[1]
    weight = np.ones(classes) if weight is None else weight
    losses = np.zeros((logits.shape[0], *logits.shape[2:]))
    for n, *place in np.ndindex(*losses.shape):
        for c in range(classes):
            probability = (1 - label_smoothing) * target[(n, c, *place)] + label_smoothing / classes
            losses[(n, *place)] -= weight[c] * probability * log_prob[(n, c, *place)]
    return reduced(losses, reduction, losses.size)


def mse_loss(x, y, reduction="mean"):
    return reduced((x - y) ** 2, reduction, x.size)


def bce_with_logits(x, t, weight=None, pos_weight=None, reduction="mean"):
    """-w (p t log sigmoid(x) + (1 - t) log(1 - sigmoid(x))), with the logs taken so that nothing
    overflows."""
    p = np.broadcast_to(1.0 if pos_weight is None else pos_weight, x.shape)
    losses = np.zeros(x.shape)
    for at in np.ndindex(*x.shape):
        log_yes, log_no = -np.logaddexp(0.0, -x[at]), -np.logaddexp(0.0, x[at])
        losses[at] = -(p[at] * t[at] * log_yes + (1 - t[at]) * log_no)
    if weight is not None:
        losses = losses * weight
    return reduced(losses, reduction, x.size)


def one_hot(index, classes):
    y = np.zeros((*index.shape, classes), np.int64)
    for at in np.ndindex(*index.shape):
        y[(*at, index[at])] = 1
    return y


# ------------------------------------------------------------------------------------------------- shape
def pad(x, pad, mode="constant", value=0.0):
    """``pad`` lists (before, after) from the last dimension on; negative numbers crop."""
    pairs = [(0, 0)] * x.ndim
    for j in range(len(pad) // 2):
        pairs[-1 - j] = (pad[2 * j], pad[2 * j + 1])
    y = np.full([e + before + after for e, (before, after) in zip(x.shape, pairs)], float(value))
    for at in np.ndindex(*y.shape):
        source = []
        for p, e, (before, after) in zip(at, x.shape, pairs):
            i = p - before
            if mode == "reflect":
                i = -i if i < 0 else 2 * (e - 1) - i if i >= e else i
            elif mode == "replicate":
                i = min(max(i, 0), e - 1)
            elif mode == "circular":  # repeats what cropping leaves
                first, last = max(-before, 0), e + min(after, 0)
                i = first + (i - first) % (last - first)
            source.append(i)
        if all(0 <= i < e for i, e in zip(source, x.shape)):
            y[at] = x[tuple(source)]
    return y


def cubic(distance):
    """Keys' kernel with a = -0.75: the weight of an element at this distance."""
    d, a = abs(distance), -0.75
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0.0


def from_taps(plane, taps):
    """The weighted sum of elements: ``taps`` has a list of ``(place, weight)`` per dimension, and a place of
    None is outside."""
    total = 0.0
    for each in itertools.product(*taps):
        if all(place is not None for place, _ in each):
            total += plane[tuple(place for place, _ in each)] * math.prod(weight for _, weight in each)
    return total


def interpolate(x, size=None, scale_factor=None, mode="nearest", align_corners=False):
    """Resize. With ``scale_factor`` the coordinates are mapped by the factor itself, not by the rounded
    size."""
    extent = x.shape[2:]
    n = len(extent)
    factors = None if scale_factor is None else per_dim(scale_factor, n)
    size = per_dim(size, n) if factors is None else tuple(math.floor(e * f) for e, f in zip(extent, factors))
    if mode == "area":
        return adaptive_pool(x, size, "avg")
    ratio = [e / o for e, o in zip(extent, size)] if factors is None else [1 / f for f in factors]

    def taps(j, dim):
        e = extent[dim]
        if mode in ("nearest", "nearest-exact"):
            return [(min(math.floor((j + (0.5 if mode == "nearest-exact" else 0)) * ratio[dim]), e - 1), 1.0)]
        if align_corners:
            position = j * (e - 1) / (size[dim] - 1) if size[dim] > 1 else 0.0
        else:
            position = (j + 0.5) * ratio[dim] - 0.5
        if mode == "bicubic":
            low = math.floor(position)
            places = range(low - 1, low + 3)
            return [(min(max(p, 0), e - 1), cubic(position - p)) for p in places]
        position = max(position, 0.0)
        low = min(math.floor(position), e - 1)
        return [(low, 1 - (position - low)), (min(low + 1, e - 1), position - low)]

    y = np.zeros((*x.shape[:2], *size))
    for image, c, *at in np.ndindex(*y.shape):
        y[(image, c, *at)] = from_taps(x[image, c], [taps(j, dim) for dim, j in enumerate(at)])
    return y


def grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False):
    """``x`` at the places of ``grid``, whose last number belongs to the first spatial dimension."""
    extent = x.shape[2:]

    def inside(p, e):
        """The place in the input that a place on the line of an axis means; None for none."""
        low, high = (0, e - 1) if align_corners else (-0.5, e - 0.5)
        if padding_mode == "reflection":
            if low == high:
                return 0.0
            while not low <= p <= high:
                p = 2 * low - p if p < low else 2 * high - p
        return p if padding_mode == "zeros" else min(max(p, 0.0), e - 1.0)

    def place(p, e):
        return int(p) if 0 <= p <= e - 1 else None

    def taps(g, e):
        g = g if math.isfinite(g) else -1.0
        p = (g + 1) / 2 * (e - 1) if align_corners else ((g + 1) * e - 1) / 2
        if mode == "bicubic":
            low = math.floor(p)
            return [(place(inside(k, e), e), cubic(p - k)) for k in range(low - 1, low + 3)]
        p = inside(p, e)
        if mode == "nearest":
            return [(place(round(p), e), 1.0)]
        low = math.floor(p)
        return [(place(low, e), low + 1 - p), (place(low + 1, e), p - low)]

    y = np.zeros((*x.shape[:2], *grid.shape[1:-1]))
    for n, c, *at in np.ndindex(*y.shape):
        where = reversed(grid[(n, *at)])
        y[(n, c, *at)] = from_taps(x[n, c], [taps(float(g), e) for g, e in zip(where, extent)])
    return y
