"""The contract between the layers above and the engines below.

A backend is a module with a function for every name in :data:`CONTRACT`, with exactly that signature. It sees
raw arrays, specs and numbers, never a Tensor. Rules every backend keeps:

* Arrays have the logical shape ``N, C, [D,] [H,] W``; strides are free on entry (read-only, sliced and
  transposed
  arrays are all welcome). Results of rank 3 to 5 with channels may be channels-last in memory.
* Arguments arrive validated (``spec.py`` and the callers do that); nothing is written to an argument, except
  by the
  ops that say so (``setitem``, ``index_add``, ``running_step``, ``sgd_step``, ``adam_step``).
* float32 and float64, result dtype = argument dtype; accumulation at least in that dtype. The small ops take
  every real
  dtype: two operands come in one (``dtypes.py`` decides which), a number beside an array is one that its
  dtype holds; sums of bools and integers are int64.
* NaN and infinity propagate as in IEEE arithmetic; ``max`` propagates NaN.
* Extent 0 in the batch is legal everywhere.
* Same arguments and same number of threads: bit-identical result.
"""

from __future__ import annotations

#: Op name -> signature. ``docs/architecture.md`` describes how to add one.
CONTRACT: dict[str, str] = {
    # convolution: spec is a ConvSpec of 1 to 3 dimensions; algorithm is None (choose) or a forced name -> y;
    # b: (C_out,) or None; residual, of y's shape, is added before relu. Inference: no backward pass knows the
    # two.
    "conv_fwd": "(x, w, b, spec, algorithm=None, residual=None, relu=False)",
    "conv_prepack": "(w)",  # weights that will not change any more, as something conv_fwd takes in place of w
    "conv_bwd_data": "(gy, w, spec, algorithm=None, residual=None)",  # -> gx (+ residual)
    "conv_bwd_weight": "(x, gy, spec, algorithm=None)",  # -> gw
    "channel_sum": "(x)",  # -> (C,), the sum over every axis but axis 1
    # pooling: index is int32 or int64 of y's shape, the flat position inside x's spatial plane; first maximum
    # wins
    "max_pool_fwd": "(x, spec)",  # -> y, index
    "max_pool_bwd": "(gy, index, spec)",  # -> gx
    "avg_pool_fwd": "(x, spec)",
    "avg_pool_bwd": "(gy, spec)",
    "adaptive_max_pool_fwd": "(x, spec)",  # -> y, index (backward is max_pool_bwd)
    "adaptive_avg_pool_fwd": "(x, spec)",
    "adaptive_avg_pool_bwd": "(gy, spec)",
    # normalisation: per-channel (axis 1) vectors; activation is None or "relu", applied after adding residual
    "batch_norm_stats": "(x)",  # -> mean, biased variance
    # weight, bias, residual may be None
    "batch_norm_fwd": "(x, mean, invstd, weight, bias, residual, activation)",
    # y is the forward result (only read with an activation); training: mean and invstd depend on x.
    # -> gx, gweight, gbias, gresidual (None unless with_residual; gweight and gbias are always computed)
    "batch_norm_bwd": "(gy, x, y, mean, invstd, weight, training, activation, with_residual)",
    # running = keep * running + gain * value, in place; value may be a number
    "running_step": "(running, value, keep, gain)",
    # x: (rows, n), weight and bias: (n,) or None -> y, mean, invstd (rows,)
    "layer_norm_fwd": "(x, weight, bias, eps)",
    "layer_norm_bwd": "(gy, x, mean, invstd, weight)",  # -> gx, gweight, gbias
    "group_norm_fwd": "(x, groups, weight, bias, eps)",  # x: N, C, ... -> y, mean, invstd (N, groups)
    "group_norm_bwd": "(gy, x, groups, mean, invstd, weight)",  # -> gx, gweight, gbias
    # -> y, scale (scale = k + alpha/size * windowed sum x^2)
    "local_response_norm_fwd": "(x, size, alpha, beta, k)",
    "local_response_norm_bwd": "(gy, x, scale, size, alpha, beta)",  # -> gx
    # dense
    "matmul": "(a, b)",  # numpy.matmul of rank >= 2 operands, broadcasting leading axes
    "linear_fwd": "(x, w, b)",  # x: (rows, in), w: (out, in), b: (out,) or None -> (rows, out)
    "linear_bwd_data": "(gy, w)",  # -> (rows, in)
    "linear_bwd_weight": "(gy, x)",  # -> (out, in)
    # pointwise: names in UNARY and BINARY; param is the op's one number or None
    "unary_fwd": "(name, x, param=None)",
    "unary_bwd": "(name, gy, saved, param=None)",  # saved: x or y as UNARY says
    "binary_fwd": "(name, a, b)",  # broadcasting; a or b may be a Python number; comparisons give bool
    "reduce_fwd": "(name, x, axes, keepdims)",  # name: sum mean max min; axes: tuple of int (all: every axis)
    # axis may be None (flattened); int64; the first NaN, else the first maximum
    "argmax": "(x, axis, keepdims)",
    "argmin": "(x, axis, keepdims)",  # the same of minima
    "softmax_fwd": "(x, axis, log)",  # log: log_softmax
    "softmax_bwd": "(gy, y, axis, log)",
    # mean over rows is the caller's: losses is (rows,). logits (rows, classes), target int64 (rows,),
    # weight (classes,) or None; rows whose target is ignore_index give 0. prob = softmax(logits).
    "cross_entropy_fwd": "(logits, target, weight, ignore_index, label_smoothing)",  # -> losses, prob
    # grad_rows (rows,) -> glogits
    "cross_entropy_bwd": "(grad_rows, prob, target, weight, ignore_index, label_smoothing)",
    # y = keep ? x * scale : 0, keep_i from a hash of (seed, logical C-order index i): its own backward
    "dropout": "(x, p, scale, seed)",
    # shape
    "pad_fwd": "(x, pairs, mode, value)",  # pairs: (before, after) per axis; negative crops
    "pad_bwd": "(gy, pairs, mode, in_shape)",
    "interpolate_fwd": "(x, spec)",
    "interpolate_bwd": "(gy, spec)",
    "unfold": "(x, spec)",  # ConvSpec, 2-D -> N x (C kh kw) x (oh ow), rows ordered c, kh, kw
    "fold": "(cols, spec)",  # the adjoint of unfold -> x
    "getitem": "(x, key)",  # NumPy indexing; a view if the key has no arrays (cuda: and no negative steps)
    "setitem": "(x, key, value)",  # writes x
    "index_add": "(x, key, value)",  # writes x: x[key] += value, repeated indices accumulate
    "concatenate": "(xs, axis)",
    "reshape": "(x, shape)",  # logical C order; a view where strides allow
    "permute": "(x, axes)",  # a view
    "broadcast_to": "(x, shape)",  # read-only view or copy
    "cast": "(x, dtype)",
    "zeros": "(shape, dtype)",
    "copy": "(x)",  # a fresh array, C-contiguous or channels-last
    "asarray": "(x)",  # a host array as this backend's array
    "to_host": "(x)",
    # optimizers: lists of equally shaped arrays, all updated in place in one call
    "sgd_step": "(params, grads, velocities, lr, momentum, dampening, nesterov, weight_decay, first)",
    "adam_step": "(params, grads, ms, vs, step, lr, beta1, beta2, eps, weight_decay, decoupled)",
}

#: Ops that an engine may have. Batch norm in training and the mean cross-entropy as a whole: what backward
#: needs is the engine's business (a tuple). Runs of layers: ``steps``: a tuple of (kind, spec), kind "conv",
#: "linear" (as a 1 x 1 ConvSpec), "avg_pool", "max_pool", or, with no spec, "flatten", "relu", "sigmoid",
#: "tanh". Weights are those of the plan's convolutions and dense layers in order; ``keep`` what
#: ``fused_chain_bwd`` needs.
OPTIONAL: dict[str, str] = {
    # running: None, or mean and variance, which move by momentum towards the batch's mean and unbiased
    # variance
    "batch_norm_train_fwd": "(x, weight, bias, residual, eps, activation, running, momentum)",  # -> y, saved
    "batch_norm_train_bwd": "(gy, saved, with_residual)",  # -> gx, gweight, gbias, gresidual
    # the mean of cross_entropy_fwd's losses (over their weights); a loss of None: some target is no class
    "cross_entropy_mean_fwd": "(logits, target, weight, ignore_index, label_smoothing)",  # -> loss, saved
    "cross_entropy_mean_bwd": "(gy, saved)",  # -> glogits
    # -> a plan for the first plan.count steps, None where single ops are better
    "fused_chain_plan": "(steps, dtype)",
    "fused_chain_fwd": "(plan, x, weights, biases, keep)",  # -> y, saved
    # -> gx, gweights, gbiases
    "fused_chain_bwd": "(plan, gy, saved, weights, needs_x, needs_weights, needs_biases)",
    # function: array -> array, same steps for all values -> one faster for this shape, or None
    "record": "(function, x)",
}

#: Unary op -> what its derivative needs: the input ("x"), the output ("y") or nothing ("").
UNARY: dict[str, str] = {
    "neg": "",
    "abs": "x",
    "exp": "y",
    "log": "x",
    "sqrt": "y",
    "pow": "x",  # pow: x ** param
    "relu": "y",
    "leaky_relu": "x",
    "sigmoid": "y",
    "tanh": "y",
    "gelu": "x",
    "gelu_tanh": "x",
    "silu": "x",
}
#: pow_by_base and pow_by_exponent are the derivatives of pow.
BINARY = (
    "add",
    "sub",
    "mul",
    "div",
    "pow",
    "pow_by_base",
    "pow_by_exponent",
    "maximum",
    "minimum",
    "lt",
    "le",
    "gt",
    "ge",
    "eq",
    "ne",
)
