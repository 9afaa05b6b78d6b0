"""The ops that PyTorch and fastconv write alike: one line each, on arrays larger than the caches.

A line has the shape of the input ``x`` and the expression that is timed. Where the result is on the tape, its
gradients are timed too. In an expression stand

lib, F : the library and its ``nn.functional``
x, y : numbers of that shape; p, q : numbers between 0 and 1; c : a number per channel; w : a filter
half, s : whether an element of ``x`` is above 0; the sign of ``y``
index, label : positions along the last axis; one for each row
grid : where ``grid_sample`` looks
"""

from __future__ import annotations

IMAGES, ROWS, SMALL, LINE = (16, 64, 112, 112), (8192, 1568), (16, 64, 56, 56), (16, 64, 12544)

CALLS: dict[str, tuple[tuple[int, ...], str]] = {
    # ---- activations
    **{
        name: (IMAGES, f"F.{name}(x)")
        for name in (
            *("relu6", "hardtanh", "hardswish", "hardsigmoid", "elu", "celu", "selu", "mish", "silu", "gelu"),
            *("softplus", "softsign", "logsigmoid", "hardshrink", "softshrink", "tanhshrink", "leaky_relu"),
        )
    },
    "threshold": (IMAGES, "F.threshold(x, 0.1, 0.5)"),
    "prelu": (IMAGES, "F.prelu(x, c)"),
    "glu": (IMAGES, "F.glu(x, 1)"),
    "softmin": (ROWS, "F.softmin(x, 1)"),
    "softmax": (ROWS, "F.softmax(x, 1)"),
    "log_softmax": (ROWS, "F.log_softmax(x, 1)"),
    # ---- pointwise
    **{
        name: (IMAGES, f"lib.{name}(x)")
        for name in (
            *("floor", "ceil", "round", "trunc", "sign", "sin", "cos", "expm1", "isnan", "isinf", "isfinite"),
            *("erf", "square", "reciprocal", "abs", "exp", "sigmoid", "tanh"),
        )
    },
    "log": (IMAGES, "lib.log(p)"),
    "log1p": (IMAGES, "lib.log1p(p)"),
    "rsqrt": (IMAGES, "lib.rsqrt(p)"),
    "add": (IMAGES, "x + y"),
    "mul": (IMAGES, "x * y"),
    "div": (IMAGES, "x / p"),
    "maximum": (IMAGES, "lib.maximum(x, y)"),
    "remainder": (IMAGES, "lib.remainder(x.detach(), 0.7)"),
    "clamp": (IMAGES, "lib.clamp(x, -0.5, 0.5)"),
    "where": (IMAGES, "lib.where(half, x, y)"),
    "masked_fill": (IMAGES, "x.masked_fill(half, 0.0)"),
    "logical_and": (IMAGES, "lib.logical_and(half, half)"),
    "lerp": (IMAGES, "lib.lerp(x, y, 0.3)"),
    # ---- reductions, scans, sorting
    **{
        f"{name} of {where}": (ROWS, f"x.{name}({dim})")
        for where, dim in (("all", ""), ("rows", "1"), ("columns", "0"))
        for name in ("sum", "mean", "amax", "var", "std", "norm", "prod")
        if not (name == "norm" and dim)
    },
    "norm of rows": (ROWS, "x.norm(dim=1)"),
    "logsumexp": (ROWS, "x.logsumexp(1)"),
    "max of rows": (ROWS, "x.max(1)[0]"),
    "argmax": (ROWS, "x.argmax(1)"),
    "any": (IMAGES, "half.any()"),
    "count_nonzero": (IMAGES, "lib.count_nonzero(x)"),
    "cumsum of rows": (ROWS, "x.cumsum(1)"),
    "cumsum of columns": (ROWS, "x.cumsum(0)"),
    "cumprod of rows": (ROWS, "x.cumprod(1)"),
    "sort": (ROWS, "x.sort(1)[0]"),
    "sort of one row": ((4_000_000,), "x.sort()[0]"),
    "topk": (ROWS, "x.topk(5, 1)[0]"),
    # ---- shape, index
    "cat": (IMAGES, "lib.cat([x, y], 1)"),
    "flip": (IMAGES, "x.flip(3)"),
    "roll": (IMAGES, "x.roll(3, 2)"),
    "repeat": (SMALL, "x.repeat(1, 1, 2, 2)"),
    "tril": (ROWS, "x.tril()"),
    "gather": (ROWS, "x.gather(1, index)"),
    "scatter_add to zeros": (ROWS, "lib.zeros_like(x).scatter_add(1, index, x)"),
    "index_select": (ROWS, "x.index_select(0, index[0])"),
    "take_along_dim": (ROWS, "lib.take_along_dim(x, index, 1)"),
    "masked_select": (IMAGES, "x.masked_select(half)"),
    # ---- matrix
    "bmm": ((64, 512, 512), "lib.bmm(x, y)"),
    "einsum": ((64, 512, 512), 'lib.einsum("bij,bkj->bik", x, y)'),
    # ---- convolution, pooling, sampling
    "conv_transpose1d": (LINE, "F.conv_transpose1d(x, w, stride=2)"),
    "adaptive_avg_pool1d": (LINE, "F.adaptive_avg_pool1d(x, 7)"),
    "adaptive_avg_pool2d": (IMAGES, "F.adaptive_avg_pool2d(x, 7)"),
    "adaptive_max_pool2d": (IMAGES, "F.adaptive_max_pool2d(x, 7)"),
    "lp_pool2d": (IMAGES, "F.lp_pool2d(x, 2.0, 2)"),
    "max_unpool2d of max_pool2d": (IMAGES, "F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2)"),
    "interpolate nearest": (SMALL, 'F.interpolate(x, scale_factor=2, mode="nearest")'),
    "interpolate bilinear": (SMALL, 'F.interpolate(x, scale_factor=2, mode="bilinear")'),
    "interpolate bicubic": (SMALL, 'F.interpolate(x, scale_factor=2, mode="bicubic")'),
    "interpolate area": (IMAGES, 'F.interpolate(x, size=(28, 28), mode="area")'),
    "grid_sample": (SMALL, "F.grid_sample(x, grid, align_corners=False)"),
    "pixel_shuffle": (IMAGES, "F.pixel_shuffle(x, 2)"),
    "channel_shuffle": (IMAGES, "F.channel_shuffle(x.detach(), 4)"),
    "pad reflect": (IMAGES, 'F.pad(x, (1, 1, 1, 1), mode="reflect")'),
    # ---- normalisation, dropout
    "instance_norm": (IMAGES, "F.instance_norm(x, weight=c, bias=c)"),
    "group_norm": (IMAGES, "F.group_norm(x, 8, c, c)"),
    "layer_norm": (ROWS, "F.layer_norm(x, x.shape[1:])"),
    "rms_norm": (ROWS, "F.rms_norm(x, x.shape[1:])"),
    "normalize": (ROWS, "F.normalize(x)"),
    "dropout": (IMAGES, "F.dropout(x, 0.5)"),
    "dropout2d": (IMAGES, "F.dropout2d(x, 0.5)"),
    # ---- losses
    **{
        name: (IMAGES, f"F.{name}(x, y)")
        for name in (
            "l1_loss",
            "smooth_l1_loss",
            "huber_loss",
            "mse_loss",
            "poisson_nll_loss",
        )
    },
    "binary_cross_entropy": (IMAGES, "F.binary_cross_entropy(p, q)"),
    "binary_cross_entropy_with_logits": (IMAGES, "F.binary_cross_entropy_with_logits(x, q)"),
    "kl_div": (ROWS, 'F.kl_div(x, q, reduction="batchmean")'),
    "gaussian_nll_loss": (IMAGES, "F.gaussian_nll_loss(x, y, q)"),
    "margin_ranking_loss": (IMAGES, "F.margin_ranking_loss(x, y, s)"),
    "soft_margin_loss": (IMAGES, "F.soft_margin_loss(x, s)"),
    "hinge_embedding_loss": (IMAGES, "F.hinge_embedding_loss(x, s)"),
    "triplet_margin_loss": (ROWS, "F.triplet_margin_loss(x, y, y.detach() + 1)"),
    "cosine_similarity": (ROWS, "F.cosine_similarity(x, y)"),
    "multi_margin_loss": (ROWS, "F.multi_margin_loss(x, label)"),
    "nll_loss": (ROWS, "F.nll_loss(x, label)"),
}


def inputs(engine, draw, shape):
    """What the expressions stand for, by name; ``x`` and ``y`` (and ``p``, between 0 and 1) require
    gradients."""
    images = len(shape) == 4
    x, y = (engine.like(draw(key, shape)) for key in "xy")
    found = {"lib": engine.lib, "F": engine.F, "half": x > 0, "s": y.sign()}
    found |= {"x": x.requires_grad_(), "y": y.requires_grad_()}
    found["p"] = engine.like(1 / (1 + abs(draw("p", shape)))).requires_grad_()
    found["q"] = engine.like(1 / (1 + abs(draw("q", shape))))
    found["c"] = engine.tensor(draw("c", shape[1:2])).requires_grad_() if images else None
    if shape == LINE:
        found["w"] = engine.weight(draw("w", (64, 64, 4), 0.1)).requires_grad_()
    if images:
        grid = draw("grid", (shape[0], shape[2], shape[3], 2), 0.5)
        found["grid"] = engine.tensor(grid.astype("float32"))
    elif len(shape) == 2:
        rows = (draw("index", shape) * 1e4).astype("int64") % min(shape)
        found["index"] = engine.tensor(rows)
        found["label"] = engine.tensor(rows[:, 0].copy())
    return found
