"""Bad input: the error's type, the function it names, what was expected and what came."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import time

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.nn import functional as F


def f32(*shape):
    return np.ones(shape, np.float32)


X, W, B = f32(2, 4, 6, 5), f32(6, 4, 3, 3), f32(6)
LOGITS, LABELS = f32(3, 5), np.array([0, 4, 2])
STATISTICS = f32(4), f32(4)
PLACES = np.broadcast_to(np.arange(30).reshape(6, 5), X.shape)  # int64, as max_pool2d returns them

# function: rows of (what is wrong, arguments, keywords, error, parts of the message)
BAD = {
    "conv2d": [
        (
            "channels",
            (f32(8, 1, 224, 224), f32(64, 3, 7, 7)),
            {},
            ValueError,
            ["weight expects 3 input channels (weight 64x3x7x7, groups 1), input has 1 (8x1x224x224)"],
        ),
        ("rank-input", (f32(1, 2, 4, 6, 5), W), {}, ValueError, ["input must have", "1x2x4x6x5"]),
        ("rank-weight", (X, f32(6, 4, 3)), {}, ValueError, ["weight must have 4 dimensions", "6x4x3"]),
        ("empty-weight", (X, f32(0, 4, 3, 3)), {}, ValueError, ["weight must not be empty", "0x4x3x3"]),
        ("groups-channels", (X, W), {"groups": 2}, ValueError, ["groups 2", "input has 4"]),
        (
            "groups-outputs",
            (f32(1, 6, 5, 5), f32(4, 2, 3, 3)),
            {"groups": 3},
            ValueError,
            ["4 output", "groups 3"],
        ),
        ("groups-zero", (X, W), {"groups": 0}, ValueError, ["groups must be at least 1", "0"]),
        ("stride-zero", (X, W), {"stride": 0}, ValueError, ["stride must be at least 1", "0"]),
        ("stride-negative", (X, W), {"stride": (1, -2)}, ValueError, ["stride must be at least 1", "-2"]),
        ("stride-fraction", (X, W), {"stride": 1.5}, TypeError, ["stride must be an int", "1.5"]),
        (
            "stride-three",
            (X, W),
            {"stride": (1, 2, 3)},
            ValueError,
            ["stride must be an int or 2 ints", "(1, 2, 3)"],
        ),
        ("dilation-zero", (X, W), {"dilation": 0}, ValueError, ["dilation must be at least 1"]),
        ("padding-negative", (X, W), {"padding": -1}, ValueError, ["padding must be at least 0", "-1"]),
        ("padding-word", (X, W), {"padding": "some"}, ValueError, ["'same', 'valid', 'full'", "'some'"]),
        ("padding-pairs", (X, W), {"padding": ((1, 1), (1, 1), (1, 1))}, ValueError, ["2 x (before, after)"]),
        ("kernel-too-large", (X, f32(6, 4, 7, 3)), {}, ValueError, ["kernel 7x3", "2x4x6x5", "padding"]),
        ("dilated-too-large", (X, W), {"dilation": 3}, ValueError, ["dilation (3, 3) spans 7", "only 6"]),
        ("bias", (X, W, f32(4)), {}, ValueError, ["bias must have shape 6", "got 4"]),
        ("integers", (X.astype(np.int64), W), {}, TypeError, ["float32 or float64", "int64"]),
        ("half", (X.astype(np.float16), W), {}, TypeError, ["float32 or float64", "float16"]),
        ("mixed", (X, W.astype(np.float64)), {}, TypeError, ["float32", "float64"]),
        ("mixed-bias", (X, W, B.astype(np.float64)), {}, TypeError, ["bias", "float64"]),
        ("no-weight", (X, None), {}, TypeError, ["weight", "None"]),
        ("winograd-2x2", (X, f32(6, 4, 2, 2)), {"algorithm": "winograd"}, ValueError, ["winograd"]),
    ],
    "conv1d": [
        (
            "channels",
            (f32(2, 3, 9), f32(4, 2, 3)),
            {},
            ValueError,
            ["expects 2 input", "input has 3 (2x3x9)"],
        ),
        ("rank", (X, f32(4, 2, 3)), {}, ValueError, ["input must have"]),
    ],
    "conv3d": [
        (
            "channels",
            (f32(1, 3, 4, 4, 4), f32(4, 2, 3, 3, 3)),
            {},
            ValueError,
            ["expects 2 input", "input has 3"],
        ),
        ("rank", (f32(2, 3), f32(4, 2, 3, 3, 3)), {}, ValueError, ["input must have"]),
    ],
    "convolve2d": [("channels", (X, f32(6, 3, 3, 3)), {}, ValueError, ["expects 3 input", "input has 4"])],
    "conv_transpose2d": [
        (
            "channels",
            (X, f32(3, 2, 3, 3)),
            {},
            ValueError,
            ["weight expects 3 input channels", "input has 4"],
        ),
        (
            "output-padding",
            (X, f32(4, 2, 3, 3)),
            {"stride": 2, "output_padding": 2},
            ValueError,
            ["output_padding"],
        ),
        ("padding-word", (X, f32(4, 2, 3, 3)), {"padding": "same"}, ValueError, ["padding must be numbers"]),
        (
            "padding-large",
            (X, f32(4, 2, 3, 3)),
            {"padding": 9},
            ValueError,
            ["output would be", "less padding"],
        ),
        ("groups", (X, f32(4, 2, 3, 3)), {"groups": 3}, ValueError, ["divisible by groups 3"]),
        ("bias", (X, f32(4, 2, 3, 3), f32(4)), {}, ValueError, ["bias must have shape 2", "got 4"]),
        ("mixed", (X, f32(4, 2, 3, 3).astype(np.float64)), {}, TypeError, ["float64"]),
    ],
    "max_pool2d": [
        ("rank", (f32(6, 5), 2), {}, ValueError, ["input must have", "6x5"]),
        ("kernel-zero", (X, 0), {}, ValueError, ["kernel_size must be at least 1"]),
        ("stride-zero", (X, 2), {"stride": 0}, ValueError, ["stride must be at least 1"]),
        ("padding-large", (X, 3), {"padding": 2}, ValueError, ["at most half", "2"]),
        ("kernel-large", (X, 7), {}, ValueError, ["kernel_size (7, 7)", "2x4x6x5"]),
        ("empty", (f32(2, 4, 0, 5), 1), {}, ValueError, ["2x4x0x5"]),
        ("integers", (X.astype(np.int32), 2), {}, TypeError, ["int32"]),
    ],
    "avg_pool2d": [
        ("rank", (f32(6, 5), 2), {}, ValueError, ["input must have", "6x5"]),
        ("divisor", (X, 2), {"divisor_override": 0}, ValueError, ["divisor_override"]),
        ("padding-large", (X, 2), {"padding": (2, 0)}, ValueError, ["at most half"]),
        ("kernel-tuple", (X, (2, 2, 2)), {}, ValueError, ["kernel_size must be an int or 2 ints"]),
    ],
    "adaptive_avg_pool2d": [
        ("size", (X, 0), {}, ValueError, ["output_size must be at least 1"]),
        ("rank", (f32(2, 3), 1), {}, ValueError, ["input must have", "2x3"]),
    ],
    "adaptive_max_pool2d": [
        ("size", (X, (1, 2, 3)), {}, ValueError, ["output_size must be an int or 2 ints"])
    ],
    "adaptive_avg_pool1d": [("size", (X[0], (1, 2)), {}, ValueError, ["output_size must be an int, got"])],
    "adaptive_max_pool3d": [("rank", (X[0], 2), {}, ValueError, ["5 dimensions (N x C x D x H x W)"])],
    "lp_pool2d": [
        ("zero", (X, 0, 2), {}, ValueError, ["norm_type must not be 0"]),
        ("kernel", (X, 2, 7), {}, ValueError, ["kernel_size (7, 7)", "2x4x6x5"]),
        ("integers", (X.astype(np.int64), 2, 2), {}, TypeError, ["int64"]),
    ],
    "max_unpool2d": [
        ("dtype", (X, X.astype(np.int32), 2), {}, TypeError, ["indices must be int64", "int32"]),
        ("shape", (X, PLACES[:1], 2), {}, ValueError, ["indices must have shape 2x4x6x5", "1x4x6x5"]),
        ("large", (X, PLACES + 120, 2), {}, ValueError, ["planes of 12x10", "got 120 to 149"]),
        ("negative", (X, PLACES - 1, 2), {}, ValueError, ["got -1 to 28"]),
        ("size", (X, PLACES, 2), {"output_size": (12, 13)}, ValueError, ["(12, 13)", "(12, 10)"]),
        ("rank", (X[0, 0], PLACES[0, 0], 2), {}, ValueError, ["input must have 4 dimensions"]),
        ("padding", (X, PLACES, 2), {"padding": 9}, ValueError, ["may be empty"]),
    ],
    "conv_transpose1d": [("channels", (X[0], f32(3, 2, 3)), {}, ValueError, ["expects 3 input", "has 6"])],
    "conv_transpose3d": [("rank", (f32(2, 3), f32(4, 2, 3, 3, 3)), {}, ValueError, ["input must have 5"])],
    "grid_sample": [
        ("rank", (f32(2, 3, 4), f32(2, 3, 2)), {}, ValueError, ["input must have 4 or 5 dimensions"]),
        ("grid-rank", (X, f32(2, 3, 2)), {}, ValueError, ["grid must have 4 dimensions", "2x3x2"]),
        ("grid-last", (X, f32(2, 3, 3, 3)), {}, ValueError, ["N x H_out x W_out x 2", "2x3x3x3"]),
        ("batch", (X, f32(1, 3, 3, 2)), {}, ValueError, ["batch of input (2x4x6x5)", "1x3x3x2"]),
        ("mode", (X, f32(2, 3, 3, 2)), {"mode": "cubic"}, ValueError, ["'nearest' or 'bicubic'", "'cubic'"]),
        ("outside", (X, f32(2, 3, 3, 2)), {"padding_mode": "wrap"}, ValueError, ["'reflection'", "'wrap'"]),
        (
            "volume",
            (f32(1, 2, 2, 2, 2), f32(1, 2, 2, 2, 3)),
            {"mode": "bicubic"},
            ValueError,
            ["'bicubic' takes planes", "1x2x2x2x2"],
        ),
        ("mixed", (X, f32(2, 3, 3, 2).astype(np.float64)), {}, TypeError, ["float64"]),
        ("empty", (f32(2, 0, 4, 5), f32(2, 3, 3, 2)), {}, ValueError, ["must not be empty"]),
    ],
    "affine_grid": [
        ("rank", (f32(2, 3), (1, 1, 2, 2)), {}, ValueError, ["theta must have 3 dimensions"]),
        ("shape", (f32(1, 2, 3), (2, 1, 2, 2)), {}, ValueError, ["theta must have shape 2x2x3"]),
        ("size", (f32(1, 2, 3), (1, 2, 2)), {}, ValueError, ["size must be (N, C, H, W)", "(1, 2, 2)"]),
        ("int", (f32(1, 2, 3), 4), {}, TypeError, ["size must be (N, C, H, W)", "4"]),
        ("empty", (f32(1, 2, 3), (1, 1, 0, 2)), {}, ValueError, ["size must be at least 1"]),
    ],
    "pixel_shuffle": [
        ("channels", (X, 3), {}, ValueError, ["multiple of upscale_factor^2 = 9", "2x4x6x5"]),
        ("rank", (f32(4, 4), 2), {}, ValueError, ["3 dimensions or more", "4x4"]),
        ("factor", (X, 0), {}, ValueError, ["upscale_factor must be at least 1"]),
        ("fraction", (X, 1.5), {}, TypeError, ["upscale_factor must be an int", "1.5"]),
    ],
    "pixel_unshuffle": [("extent", (X, 2), {}, ValueError, ["multiples of downscale_factor 2", "2x4x6x5"])],
    "channel_shuffle": [
        ("groups", (X, 3), {}, ValueError, ["groups 3", "2x4x6x5"]),
        ("rank", (f32(4, 4), 2), {}, ValueError, ["3 dimensions or more"]),
    ],
    "upsample": [("mode", (X, 3), {"mode": "linear"}, ValueError, ["3 dimensions", "mode 'linear'"])],
    "upsample_nearest": [("neither", (X,), {}, ValueError, ["size or scale_factor"])],
    "upsample_bilinear": [("rank", (X[0], 3), {}, ValueError, ["4 dimensions", "4x6x5"])],
    "batch_norm": [
        (
            "weight",
            (X, None, None, f32(3), f32(4), True),
            {},
            ValueError,
            ["weight must have shape 4", "got 3"],
        ),
        ("bias", (X, None, None, f32(4), f32(3), True), {}, ValueError, ["bias must have shape 4", "got 3"]),
        ("running", (X, f32(3), f32(3)), {}, ValueError, ["running_mean must have shape 4", "got 3"]),
        ("no-statistics", (X, None, None), {}, ValueError, ["running_mean"]),
        ("rank", (f32(4),) + STATISTICS, {}, ValueError, ["input must have"]),
        ("one-value", (f32(1, 4, 1, 1), None, None, None, None, True), {}, ValueError, ["1x4x1x1"]),
        ("integers", (X.astype(np.int64),) + STATISTICS, {}, TypeError, ["int64"]),
    ],
    "layer_norm": [
        ("shape", (X, (4, 5)), {}, ValueError, ["(4, 5)", "2x4x6x5"]),
        ("weight", (X, (5,), f32(6)), {}, ValueError, ["weight must have shape 5", "got 6"]),
    ],
    "group_norm": [
        ("groups", (X, 3), {}, ValueError, ["4", "3"]),
        ("weight", (X, 2, f32(2)), {}, ValueError, ["weight must have shape 4", "got 2"]),
    ],
    "local_response_norm": [("size", (X, 0), {}, ValueError, ["size", "0"])],
    "softmax": [
        ("dim", (X, 4), {}, IndexError, ["dim 4", "4 dimensions"]),
        ("integers", (np.arange(3), 0), {}, TypeError, ["int64", "float32"]),
    ],
    "log_softmax": [("dim", (X, -5), {}, IndexError, ["dim -5", "4 dimensions"])],
    "softmin": [
        ("dim", (X, 4), {}, IndexError, ["dim 4", "4 dimensions"]),
        ("integers", (np.arange(3), 0), {}, TypeError, ["int64", "float32"]),
    ],
    "hardtanh": [("bounds", (X, 2, 1), {}, ValueError, ["min_val", "max_val", "2 and 1"])],
    "celu": [("alpha", (X, 0.0), {}, ValueError, ["alpha must not be 0"])],
    "softplus": [("beta", (X, 0), {}, ValueError, ["beta must not be 0"])],
    "softshrink": [("lambd", (X, -0.5), {}, ValueError, ["lambd", "-0.5"])],
    "rrelu": [("bounds", (X, 0.5, 0.25), {}, ValueError, ["lower", "0.5 and 0.25"])],
    "prelu": [
        ("channels", (X, f32(3)), {}, ValueError, ["per channel (4", "2x4x6x5", "got 3"]),
        ("rank", (X, f32(4, 1)), {}, ValueError, ["vector", "4x1"]),
        ("dtype", (X, f32(4).astype(float)), {}, TypeError, ["float64", "float32"]),
    ],
    "glu": [
        ("odd", (X, 3), {}, ValueError, ["even", "2x4x6x5"]),
        ("dim", (X, 4), {}, IndexError, ["dim 4"]),
        ("scalar", (f32(),), {}, ValueError, ["scalar"]),
    ],
    "gelu": [("approximate", (X,), {"approximate": "fast"}, ValueError, ["'none'", "'tanh'", "'fast'"])],
    "dropout": [
        ("p-large", (X, 1.5), {}, ValueError, ["p ", "1.5"]),
        ("p-negative", (X, -0.1), {}, ValueError, ["p ", "-0.1"]),
        (
            "mode",
            (X, 0.5),
            {"mode": "scale"},
            ValueError,
            ["upscale_in_train", "downgrade_in_infer", "'scale'"],
        ),
    ],
    "linear": [
        ("features", (f32(3, 7), f32(4, 5)), {}, ValueError, ["5", "7", "3x7", "4x5"]),
        ("rank", (f32(3, 7), f32(4, 7, 1)), {}, ValueError, ["weight must have 2 dimensions"]),
        ("bias", (f32(3, 7), f32(4, 7), f32(7)), {}, ValueError, ["bias must have shape 4", "got 7"]),
        ("mixed", (f32(3, 7), f32(4, 7).astype(np.float64)), {}, TypeError, ["float64"]),
        ("no-weight", (f32(3, 7), None), {}, TypeError, ["weight", "None"]),
    ],
    "cross_entropy": [
        ("label-large", (LOGITS, np.array([0, 5, 2])), {}, ValueError, ["5"]),
        ("label-negative", (LOGITS, np.array([0, -1, 2])), {}, ValueError, ["-1"]),
        ("labels-count", (LOGITS, np.array([0, 1])), {}, ValueError, ["2", "3"]),
        ("labels-rank", (LOGITS, np.array([[0], [1], [2]])), {}, ValueError, ["3x1"]),
        ("labels-float", (LOGITS, f32(3)), {}, TypeError, ["integers", "float32"]),
        ("probabilities", (LOGITS, f32(3, 4)), {}, (TypeError, ValueError), ["3x4", "3x5"]),
        ("weight", (LOGITS, LABELS, f32(4)), {}, ValueError, ["weight must have shape 5", "got 4"]),
        ("reduction", (LOGITS, LABELS), {"reduction": "avg"}, ValueError, ["none", "mean", "sum", "'avg'"]),
        ("smoothing", (LOGITS, LABELS), {"label_smoothing": 1.5}, ValueError, ["label_smoothing", "1.5"]),
        ("integers", (LOGITS.astype(int), LABELS), {}, TypeError, ["int64"]),
    ],
    "nll_loss": [
        ("label-large", (LOGITS, np.array([0, 5, 2])), {}, ValueError, ["5"]),
        ("reduction", (LOGITS, LABELS), {"reduction": "all"}, ValueError, ["'all'"]),
    ],
    "mse_loss": [
        ("shapes", (f32(3, 4), f32(3, 5)), {}, ValueError, ["3x4", "3x5"]),
        ("reduction", (f32(3), f32(3)), {"reduction": "avg"}, ValueError, ["'avg'"]),
    ],
    "binary_cross_entropy_with_logits": [("shapes", (f32(3, 4), f32(3, 1)), {}, ValueError, ["3x4", "3x1"])],
    "binary_cross_entropy": [
        ("shapes", (f32(3, 4), f32(3, 1)), {}, ValueError, ["3x4", "3x1"]),
        ("range", (f32(3) * 2, f32(3)), {}, ValueError, ["probabilities from 0 to 1", "2."]),
        ("negative", (-f32(3), f32(3)), {"reduction": "none"}, ValueError, ["from 0 to 1", "-1."]),
        ("target", (f32(3) / 2, f32(3) * 2), {}, ValueError, ["target must be probabilities", "2."]),
        ("weight", (f32(3) / 2, f32(3), f32(4)), {}, ValueError, ["weight", "4", "3"]),
        ("labels", (f32(3) / 2, LABELS), {}, TypeError, ["target", "int64"]),
        (
            "old",
            (f32(3) / 2, f32(3)),
            {"size_average": True},
            TypeError,
            ["size_average", "reduction='mean'"],
        ),
    ],
    "l1_loss": [
        ("shapes", (f32(3, 4), f32(3, 5)), {}, ValueError, ["3x4", "3x5"]),
        ("weight", (X, X, None, None, "mean", f32(5)), {}, ValueError, ["weight must have shape 2x4x6x5"]),
        ("mixed", (X, X.astype(float)), {}, TypeError, ["float64", "float32"]),
        ("old", (X, X, None, False), {}, TypeError, ["reduce is deprecated", "False", "reduction"]),
        ("positional", (X, X, "sum"), {}, TypeError, ["size_average", "'sum'", "reduction"]),
    ],
    "smooth_l1_loss": [("beta", (X, X), {"beta": -1}, ValueError, ["beta must be at least 0", "-1"])],
    "huber_loss": [("delta", (X, X), {"delta": 0}, ValueError, ["delta must be above 0", "0"])],
    "kl_div": [("reduction", (X, X), {"reduction": "batch"}, ValueError, ["'batchmean'", "'batch'"])],
    "poisson_nll_loss": [("eps", (X, X), {"eps": "a"}, TypeError, ["eps must be a number", "'a'"])],
    "gaussian_nll_loss": [
        ("negative", (X, X, -X), {}, ValueError, ["var must not be negative", "-1."]),
        ("number", (X, X, -1.0), {}, ValueError, ["var must not be negative", "-1."]),
        ("shape", (X, X, f32(2, 4)), {}, ValueError, ["2x4x6x5", "got 2x4"]),
        ("eps", (X, X, X), {"eps": 0}, ValueError, ["eps must be above 0"]),
    ],
    "margin_ranking_loss": [
        ("ranks", (f32(3), f32(3), f32(1, 3)), {}, ValueError, ["same number of dimensions", "1x3"]),
        ("shapes", (f32(3), f32(4), f32(3)), {}, ValueError, ["3", "4"]),
    ],
    "cosine_embedding_loss": [
        ("target", (LOGITS, LOGITS, f32(4)), {}, ValueError, ["target must have shape 3", "got 4"]),
        ("rank", (X, X, f32(2)), {}, ValueError, ["N x D or D", "2x4x6x5"]),
    ],
    "triplet_margin_loss": [
        ("margin", (X, X, X), {"margin": -1}, ValueError, ["margin must be above 0", "-1"]),
        ("shapes", (f32(3, 4), f32(3, 5), f32(3, 4)), {}, ValueError, ["3x4", "3x5"]),
    ],
    "triplet_margin_with_distance_loss": [
        ("function", (X, X, X), {"distance_function": 2}, TypeError, ["distance_function", "int"]),
    ],
    "multi_margin_loss": [
        ("p", (LOGITS, LABELS, 3), {}, ValueError, ["p must be 1 or 2", "3"]),
        ("label", (LOGITS, LABELS + 1), {}, ValueError, ["0..4", "5"]),
        ("count", (LOGITS, LABELS[:2]), {}, ValueError, ["target must have shape 3", "got 2"]),
    ],
    "multilabel_margin_loss": [
        ("label", (LOGITS, np.full((3, 5), 7)), {}, ValueError, ["0..4", "7"]),
        ("shape", (LOGITS, LABELS), {}, ValueError, ["target must have shape 3x5", "got 3"]),
    ],
    "multilabel_soft_margin_loss": [("shape", (X, X[0]), {}, ValueError, ["2x4x6x5", "4x6x5"])],
    "soft_margin_loss": [
        ("shapes", (f32(3), f32(2)), {}, ValueError, ["3", "2"]),
        ("input", (f32(4, 1), f32(3)), {}, ValueError, ["target must broadcast", "4x1", "got 3"]),
    ],
    "hinge_embedding_loss": [("margin", (X, X), {"margin": None}, TypeError, ["margin", "None"])],
    "instance_norm": [
        ("rank", (f32(3, 4),), {}, ValueError, ["N x C x spatial", "3x4"]),
        ("one", (f32(3, 4, 1),), {}, ValueError, ["more than 1 spatial element", "3x4x1"]),
        ("weight", (X, None, None, f32(3)), {}, ValueError, ["weight must have shape 4", "got 3"]),
        ("half", (X, f32(4)), {}, ValueError, ["running_mean and running_var, or neither"]),
        ("none", (X,), {"use_input_stats": False}, ValueError, ["use_input_stats", "running_mean"]),
    ],
    "rms_norm": [("shape", (X, (4, 5)), {}, ValueError, ["(4, 5)", "2x4x6x5"])],
    "normalize": [
        ("dim", (X, 2.0, 4), {}, IndexError, ["dim 4", "4 dimensions"]),
        ("out", (X,), {"out": X}, TypeError, ["out is not supported"]),
    ],
    "cosine_similarity": [("shapes", (f32(3, 4), f32(3, 5)), {}, ValueError, ["3x4", "3x5"])],
    "pairwise_distance": [("scalars", (f32(), f32()), {}, ValueError, ["scalars"])],
    "dropout1d": [("rank", (X,), {}, ValueError, ["N x C x W or C x W", "2x4x6x5"])],
    "dropout2d": [("rank", (f32(3, 4),), {}, ValueError, ["N x C x H x W", "3x4"])],
    "dropout3d": [("p", (X, 2), {}, ValueError, ["p must be between 0 and 1", "2"])],
    "alpha_dropout": [("p", (X, -1), {}, ValueError, ["p must be between 0 and 1", "-1"])],
    "feature_alpha_dropout": [("rank", (f32(3), 0.5, True), {}, ValueError, ["N x C", "got 3"])],
    "embedding": [
        ("row", (LABELS, f32(4, 2)), {}, ValueError, ["0..3", "4"]),
        ("floats", (f32(3), f32(4, 2)), {}, TypeError, ["integers", "float32"]),
        ("rank", (LABELS, f32(5)), {}, ValueError, ["rows x features"]),
        ("padding", (LABELS, f32(5, 2), 5), {}, ValueError, ["padding_idx", "5"]),
        ("max_norm", (LABELS, f32(5, 2)), {"max_norm": 1.0}, TypeError, ["max_norm is not supported"]),
        ("sparse", (LABELS, f32(5, 2)), {"sparse": True}, TypeError, ["sparse is not supported"]),
    ],
    "bilinear": [
        ("features", (f32(3, 7), f32(3, 3), f32(4, 7, 2)), {}, ValueError, ["7 and 2", "3x7", "3x3"]),
        ("rows", (f32(3, 7), f32(2, 2), f32(4, 7, 2)), {}, ValueError, ["input2 must have shape 3x2"]),
        ("bias", (f32(3, 7), f32(3, 2), f32(4, 7, 2), f32(3)), {}, ValueError, ["bias must have shape 4"]),
    ],
    "scaled_dot_product_attention": [
        ("features", (f32(3, 7), f32(5, 6), f32(5, 2)), {}, ValueError, ["(..., L, E)", "5x6"]),
        ("rank", (f32(7), f32(5, 7), f32(5, 2)), {}, ValueError, ["at least 2 dimensions"]),
        ("both", (f32(3, 7), f32(5, 7), f32(5, 2), f32(3, 5), 0.0, True), {}, ValueError, ["not both"]),
        ("mask", (f32(3, 7), f32(5, 7), f32(5, 2), f32(3, 4)), {}, ValueError, ["attn_mask", "3x4"]),
        (
            "heads",
            (f32(3, 3, 7), f32(2, 5, 7), f32(2, 5, 2)),
            {"enable_gqa": True},
            ValueError,
            ["heads", "3x3x7"],
        ),
    ],
    "pad": [
        ("odd", (X, (1, 2, 3)), {}, ValueError, ["(1, 2, 3)"]),
        ("too-many", (f32(3), (1, 1, 1, 1)), {}, ValueError, ["at most 1 dimensions"]),
        ("mode", (X, (1, 1)), {"mode": "mirror"}, ValueError, ["reflect", "'mirror'"]),
        ("reflect-large", (X, (5, 0)), {"mode": "reflect"}, ValueError, ["at most 4", "2x4x6x5"]),
        ("circular-large", (X, (0, 6)), {"mode": "circular"}, ValueError, ["at most 5"]),
        ("crop-all", (X, (-3, -3)), {}, ValueError, ["nothing", "2x4x6x5"]),
        ("circular-crop", (X, (5, -1)), {"mode": "circular"}, ValueError, ["at most 4", "2x4x6x5"]),
        ("value", (X, (1, 1)), {"mode": "reflect", "value": 2}, ValueError, ["takes no value"]),
    ],
    "interpolate": [
        ("neither", (X,), {}, ValueError, ["size or scale_factor"]),
        ("both", (X,), {"size": 3, "scale_factor": 2}, ValueError, ["size or scale_factor"]),
        ("mode", (X, 3), {"mode": "cubic"}, ValueError, ["'nearest'", "or 'area'", "'cubic'"]),
        ("mode-rank", (X, 3), {"mode": "trilinear"}, ValueError, ["5 dimensions", "mode 'trilinear'"]),
        ("align", (X, 3), {"align_corners": True}, ValueError, ["align_corners"]),
        ("antialias", (X, 3), {"antialias": True}, ValueError, ["antialias=True is not supported"]),
        ("recompute", (X, 3), {"recompute_scale_factor": True}, ValueError, ["recompute_scale_factor"]),
        ("scales", (X,), {"scale_factor": (1, 2, 3)}, ValueError, ["a number or 2 numbers", "(1, 2, 3)"]),
        ("integers", (X.astype(np.int64), 3), {}, TypeError, ["int64"]),
        ("bytes", (X.astype(np.uint8), 3), {"mode": "bilinear"}, TypeError, ["uint8"]),
        ("scale", (X,), {"scale_factor": -1}, ValueError, ["scale_factor", "-1"]),
        ("empty", (X,), {"scale_factor": 0.1}, ValueError, ["size"]),
        ("rank", (f32(3, 4), 3), {}, ValueError, ["input must have", "3x4"]),
    ],
    "unfold": [
        ("rank", (f32(3, 4), 2), {}, ValueError, ["input must have", "3x4"]),
        ("kernel", (X, 7), {}, ValueError, ["7"]),
    ],
    "fold": [
        ("blocks", (f32(1, 8, 5), (4, 3), 2), {}, ValueError, ["5", "6"]),
        ("channels", (f32(1, 7, 6), (4, 3), 2), {}, ValueError, ["7", "4"]),
    ],
    "one_hot": [
        ("large", (np.array([0, 5]), 5), {}, ValueError, ["5"]),
        ("negative", (np.array([0, -1]), 5), {}, ValueError, ["-1"]),
        ("float", (f32(3), 5), {}, TypeError, ["float32"]),
    ],
}


@pytest.mark.parametrize(
    ("name", "args", "options", "error", "parts"),
    [pytest.param(f, *row[1:], id=f"{f}-{row[0]}") for f, rows in BAD.items() for row in rows],
)
def test_bad_input(name, args, options, error, parts, backend):
    """``<function>: <what was expected>, <what came>``, before any kernel runs."""
    with pytest.raises(error) as caught:
        getattr(F, name)(*args, **options)
    message = str(caught.value)
    assert message.startswith(f"{name}: ")
    assert [p for p in parts if p not in message] == [], message


@pytest.mark.parametrize("what", ["text", None, {}, object()], ids=["str", "None", "dict", "object"])
@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("conv2d", [W]),
        ("max_pool2d", [2]),
        ("avg_pool2d", [2]),
        ("relu", []),
        ("softmax", [1]),
        ("pad", [(1, 1)]),
        ("linear", [f32(2, 3)]),
        ("cross_entropy", [LABELS]),
        ("mse_loss", [X]),
        ("batch_norm", STATISTICS),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_what_is_no_array_is_refused(name, args, what, backend):
    with pytest.raises(TypeError, match=type(what).__name__ if what is not None else "None"):
        getattr(F, name)(what, *args)


@pytest.mark.parametrize("name", ["conv1d", "conv2d", "conv3d"])
def test_an_unknown_algorithm_is_refused(name, backend):
    n = int(name[4])
    with pytest.raises(ValueError, match="auto, depthwise, direct, im2col, implicit_gemm, winograd.*'fast'"):
        getattr(F, name)(f32(1, 1, *(4,) * n), f32(1, 1, *(3,) * n), algorithm="fast")
    with pytest.raises(ValueError, match="'fast'"), fc.conv_algorithm("fast"):
        pass


ALGORITHM_TAKERS = {
    # everything that takes an algorithm
    "conv2d": lambda a: F.conv2d(f32(1, 1, 4, 4), f32(1, 1, 3, 3), algorithm=a),
    "conv_transpose2d": lambda a: F.conv_transpose2d(f32(1, 1, 4, 4), f32(1, 1, 3, 3), algorithm=a),
    "convolve2d": lambda a: F.convolve2d(f32(1, 1, 4, 4), f32(1, 1, 3, 3), algorithm=a),
    "Conv1d": lambda a: fc.nn.Conv1d(1, 1, 3, algorithm=a),
    "Conv2d": lambda a: fc.nn.Conv2d(1, 1, 3, algorithm=a),
    "ConvTranspose2d": lambda a: fc.nn.ConvTranspose2d(1, 1, 3, algorithm=a),
    "explain_conv": lambda a: fc.explain_conv((1, 1, 4, 4), (1, 1, 3, 3), algorithm=a),
    "conv_algorithm": lambda a: fc.conv_algorithm(a).__enter__(),
}


@pytest.mark.parametrize("empty", ["", 0, False, ()])
@pytest.mark.parametrize("taker", ALGORITHM_TAKERS)
def test_an_empty_algorithm_is_no_algorithm(taker, empty):
    """Only None leaves the choice open."""
    with (
        fc.backend("numpy"),
        pytest.raises(
            ValueError,
            match=r": expected one of auto, depthwise, direct, im2col, implicit_gemm, winograd, got ",
        ),
    ):
        ALGORITHM_TAKERS[taker](empty)
    if taker != "conv_algorithm":
        with fc.backend("numpy"):
            ALGORITHM_TAKERS[taker](None)


@pytest.mark.parametrize(
    "call",
    [
        lambda: fc.set_backend(""),
        lambda: fc.backend("").__enter__(),
        lambda: fc.device(""),
        lambda: fc.set_float32_precision(""),
    ],
)
def test_an_empty_name_is_no_name(call):
    with pytest.raises(ValueError, match=r"expected .*, got ''"):
        call()


@pytest.mark.parametrize("name", ["FASTCONV_CONV_ALGORITHM", "FASTCONV_BACKEND", "FASTCONV_NUM_THREADS"])
def test_an_empty_variable_is_as_one_that_is_not_set(name):
    code = (
        "import fastconv as fc; x = fc.ones(1, 1, 4, 4); "
        "print(fc.nn.functional.conv2d(x, x).item(), fc.get_num_threads())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "FASTCONV_BACKEND": "numpy", name: " "},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and done.stdout.startswith("16.0 "), done.stderr


def test_an_unknown_algorithm_in_the_environment_is_refused(backend, monkeypatch):
    monkeypatch.setitem(fc.backends.settings.ENVIRONMENT, "FASTCONV_CONV_ALGORITHM", "fast")
    with pytest.raises(ValueError, match="FASTCONV_CONV_ALGORITHM: expected one of .* got 'fast'"):
        F.conv2d(X, W)


def test_an_unknown_backend_is_refused():
    with pytest.raises(ValueError, match="numpy, cpu, cuda.*'gpu'"):
        fc.set_backend("gpu")
    with pytest.raises(ValueError, match="'gpu'"), fc.backend("gpu"):
        pass


def test_a_refused_call_leaves_no_trace(backend):
    """Running statistics are not half updated by a call that fails."""
    mean, var = fc.zeros(4), fc.ones(4)
    with pytest.raises(ValueError):
        F.batch_norm(X, mean, var, f32(3), f32(4), True)
    assert mean.numpy().tolist() == [0] * 4 and var.numpy().tolist() == [1] * 4


@pytest.mark.parametrize(
    "make, parts",
    [
        (lambda: nn.Conv2d(1, 4), ["Conv2d.__init__", "kernel_size"]),
        (lambda: nn.ConvTranspose2d(1, 4), ["ConvTranspose2d.__init__", "kernel_size"]),
        (lambda: nn.BatchNorm3d(), ["BatchNorm3d.__init__", "num_features"]),
        (lambda: nn.MaxPool2d(), ["MaxPool2d(kernel_size, stride=None", "kernel_size"]),
        (
            lambda: nn.Conv1d(1, 4, 3, padding="smae"),
            ["Conv1d: padding", "'same', 'valid', 'full'", "'smae'"],
        ),
        (
            lambda: nn.ConvTranspose2d(1, 4, 3, padding="same"),
            ["ConvTranspose2d: padding must be numbers", "'same'"],
        ),
        (lambda: nn.AvgPool3d(2, padding="smae"), ["AvgPool3d: padding", "'smae'"]),
        (lambda: nn.MaxPool1d(2, stride=0), ["MaxPool1d: stride must be at least 1", "0"]),
        (lambda: nn.MaxPool2d("3"), ["MaxPool2d: kernel_size must be an int or 2 ints", "'3'"]),
        (lambda: F.conv2d(X, W, strides=2), ["conv2d(input, weight, bias=None, stride=1", "'strides'"]),
        (
            lambda: F.max_pool1d(X[0], 2, 2, 0, 1, False, False, 1),
            ["max_pool1d(input, kernel_size", "too many positional"],
        ),
        (lambda: F.conv3d(f32(1, 1, 2, 2, 2)), ["conv3d(input, weight", "'weight'"]),
        (lambda: F.conv2d(x=X, weight=W), ["conv2d(input, weight", "unexpected keyword argument 'x'"]),
        (lambda: nn.Softmax(axis=1), ["Softmax(dim=None)", "unexpected keyword argument 'axis'"]),
        (lambda: nn.BatchNorm2d(3)(fc.rand(2, 8, 8, 3)), ["batch_norm: ", "2x8x8x3", ".permute(0, 3, 1, 2)"]),
        (
            lambda: nn.ConvTranspose2d(3, 4, 3)(fc.rand(2, 8, 8, 3)),
            ["expects 3 input", ".permute(0, 3, 1, 2)"],
        ),
        (lambda: nn.Conv2d(3, 4, 3)(fc.rand(8, 8, 3)), [".permute(2, 0, 1)"]),
        (lambda: fc.zeros(2, device=""), ["device: expected 'cpu' or 'cuda'", "''"]),
        (lambda: fc.zeros(0, 3).max(0), ["max: the tensor is empty", "0x3"]),
        (
            lambda: fc.train.fit(nn.Linear(3, 2), iter([])),
            ["fit: the training loader must have a length", "list_iterator"],
        ),
    ],
)
def test_an_error_names_what_was_written_where_it_was_written(make, parts):
    with pytest.raises((TypeError, ValueError)) as e:
        make()
    assert [p for p in parts if p not in str(e.value)] == []


@pytest.mark.parametrize(
    "function, x, w, hint",
    [
        (F.conv1d, f32(2, 9, 3), f32(4, 3, 3), ".permute(0, 2, 1)"),
        (F.conv2d, f32(2, 8, 8, 3), f32(4, 3, 3, 3), ".permute(0, 3, 1, 2)"),
        (F.conv3d, f32(2, 8, 8, 8, 3), f32(4, 3, 3, 3, 3), ".permute(0, 4, 1, 2, 3)"),
    ],
)
def test_channels_at_the_end_are_recognised(function, x, w, hint):
    with pytest.raises(ValueError, match="expects 3 input channels") as e:
        function(x, w)
    assert str(e.value).endswith(hint)
    assert function(fc.tensor(x).permute(*map(int, hint[9:-1].split(","))), w).shape[1] == 4
    with pytest.raises(ValueError) as e:
        function(x[..., :2], w)
    assert "permute" not in str(e.value)


def test_the_first_argument_is_named_input():
    assert np.array_equal(F.conv2d(input=X, weight=W).numpy(), F.conv2d(X, W).numpy())
    assert np.array_equal(F.max_pool2d(input=X, kernel_size=2).numpy(), F.max_pool2d(X, 2).numpy())
    # PyTorch's names: one of two inputs has a number, one of three a name
    others = {
        "one_hot": "tensor",
        "affine_grid": "theta",
        "scaled_dot_product_attention": "query",
        **dict.fromkeys(("cosine_similarity", "pairwise_distance"), "x1"),
        **dict.fromkeys(("bilinear", "cosine_embedding_loss", "margin_ranking_loss"), "input1"),
        **dict.fromkeys(("triplet_margin_loss", "triplet_margin_with_distance_loss"), "anchor"),
    }
    for name in F.__all__:
        first = next(iter(inspect.signature(getattr(F, name)).parameters))
        assert first == others.get(name, "input"), name


# ------------------------------------------------------------------------------------------------- anything,
# anywhere
LINE, VOLUME = f32(2, 4, 6), f32(1, 2, 4, 4, 4)
CONV = {"stride": 1, "padding": 1, "dilation": 1, "groups": 1}
POOL = {"kernel_size": 2, "stride": 2, "padding": 1}
UNPOOL = {"kernel_size": 2, "stride": 2, "padding": 0}

#: function: a call that is right, argument by argument
RIGHT = {
    "conv1d": {"input": LINE, "weight": f32(6, 4, 3), "bias": B, **CONV},
    "conv2d": {"input": X, "weight": W, "bias": B, **CONV},
    "conv3d": {"input": VOLUME, "weight": f32(2, 2, 2, 2, 2), "bias": f32(2), **CONV},
    "convolve2d": {"input": X, "weight": W, "bias": B, **CONV},
    "conv_transpose2d": {"input": X, "weight": f32(4, 3, 3, 3), "bias": f32(3), **CONV, "output_padding": 0},
    "conv_transpose1d": {
        "input": LINE,
        "weight": f32(4, 3, 3),
        "bias": f32(3),
        **CONV,
        "output_padding": 0,
    },
    "conv_transpose3d": {
        "input": VOLUME,
        "weight": f32(2, 3, 2, 2, 2),
        "bias": f32(3),
        **CONV,
        "output_padding": 0,
    },
    "max_pool1d": {"input": LINE, **POOL, "dilation": 1},
    "avg_pool1d": {"input": LINE, **POOL, "divisor_override": 3},
    "max_pool2d": {"input": X, **POOL, "dilation": 1},
    "avg_pool2d": {"input": X, **POOL, "divisor_override": 3},
    "max_pool3d": {"input": VOLUME, **POOL, "dilation": 1},
    "avg_pool3d": {"input": VOLUME, **POOL, "divisor_override": 3},
    "adaptive_avg_pool2d": {"input": X, "output_size": 3},
    "adaptive_max_pool2d": {"input": X, "output_size": 3},
    "adaptive_avg_pool1d": {"input": LINE, "output_size": 3},
    "adaptive_max_pool1d": {"input": LINE, "output_size": 3},
    "adaptive_avg_pool3d": {"input": VOLUME, "output_size": 3},
    "adaptive_max_pool3d": {"input": VOLUME, "output_size": 3},
    "lp_pool1d": {"input": LINE, "norm_type": 2.0, "kernel_size": 2, "stride": 2},
    "lp_pool2d": {"input": X, "norm_type": 2.0, "kernel_size": 2, "stride": 2},
    "lp_pool3d": {"input": VOLUME, "norm_type": 2.0, "kernel_size": 2, "stride": 2},
    "max_unpool1d": {
        "input": LINE,
        "indices": np.zeros(LINE.shape, np.int64),
        **UNPOOL,
        "output_size": (12,),
    },
    "max_unpool2d": {"input": X, "indices": PLACES, **UNPOOL, "output_size": (12, 10)},
    "max_unpool3d": {
        "input": VOLUME,
        "indices": np.zeros(VOLUME.shape, np.int64),
        **UNPOOL,
        "output_size": (8, 8, 8),
    },
    "upsample": {"input": X, "size": (3, 3), "mode": "bilinear"},
    "upsample_nearest": {"input": X, "size": (3, 3)},
    "upsample_bilinear": {"input": X, "size": (3, 3)},
    "grid_sample": {"input": X, "grid": f32(2, 3, 3, 2), "mode": "bilinear", "padding_mode": "zeros"},
    "affine_grid": {"theta": f32(1, 2, 3), "size": (1, 1, 2, 2)},
    "pixel_shuffle": {"input": X, "upscale_factor": 2},
    "pixel_unshuffle": {"input": f32(1, 2, 4, 4), "downscale_factor": 2},
    "channel_shuffle": {"input": X, "groups": 2},
    "batch_norm": {
        "input": X,
        "running_mean": f32(4),
        "running_var": f32(4),
        "weight": f32(4),
        "bias": f32(4),
        "momentum": 0.1,
        "eps": 1e-5,
        "residual": X,
    },
    "layer_norm": {"input": X, "normalized_shape": 5, "weight": f32(5), "bias": f32(5), "eps": 1e-5},
    "group_norm": {"input": X, "num_groups": 2, "weight": f32(4), "bias": f32(4), "eps": 1e-5},
    "local_response_norm": {"input": X, "size": 3, "alpha": 1.0, "beta": 1.0, "k": 1.0},
    "relu": {"input": X},
    "sigmoid": {"input": X},
    "tanh": {"input": X},
    "silu": {"input": X},
    "leaky_relu": {"input": X, "negative_slope": 0.1},
    "gelu": {"input": X, "approximate": "none"},
    **{name: {"input": X} for name in ("relu6", "hardsigmoid", "hardswish", "selu", "mish", "softsign")},
    **{name: {"input": X} for name in ("logsigmoid", "tanhshrink")},
    "hardtanh": {"input": X, "min_val": -1.0, "max_val": 1.0},
    "elu": {"input": X, "alpha": 1.0},
    "celu": {"input": X, "alpha": 1.0},
    "softplus": {"input": X, "beta": 1.0, "threshold": 20.0},
    "hardshrink": {"input": X, "lambd": 0.5},
    "softshrink": {"input": X, "lambd": 0.5},
    "threshold": {"input": X, "threshold": 0.1, "value": 20.0},
    "rrelu": {"input": X, "lower": 0.1, "upper": 0.3},
    "prelu": {"input": X, "weight": f32(4)},
    "glu": {"input": X, "dim": 1},
    **{name: {"input": X, "dim": 1, "dtype": "float32"} for name in ("softmax", "log_softmax", "softmin")},
    "dropout": {"input": X, "p": 0.5, "mode": "upscale_in_train"},
    "linear": {"input": f32(3, 7), "weight": f32(4, 7), "bias": f32(4)},
    "cross_entropy": {
        "input": LOGITS,
        "target": LABELS,
        "weight": f32(5),
        "ignore_index": -100,
        "reduction": "mean",
        "label_smoothing": 0.1,
    },
    "nll_loss": {
        "input": LOGITS,
        "target": LABELS,
        "weight": f32(5),
        "ignore_index": -100,
        "reduction": "mean",
    },
    **{
        name: {"input": X, "target": X, "size_average": None, "reduce": None, "reduction": "mean", **options}
        for name, options in {
            "l1_loss": {"weight": X},
            "mse_loss": {"weight": X},
            "smooth_l1_loss": {"beta": 1.0},
            "binary_cross_entropy": {"weight": X},
            "multilabel_soft_margin_loss": {"weight": X},
            "kl_div": {},
            "poisson_nll_loss": {"eps": 1e-8},
            "soft_margin_loss": {},
            "hinge_embedding_loss": {"margin": 1.0},
        }.items()
    },
    "huber_loss": {"input": X, "target": X, "reduction": "mean", "delta": 1.0, "weight": X},
    "gaussian_nll_loss": {"input": X, "target": X, "var": X, "eps": 1e-6, "reduction": "mean"},
    "multi_margin_loss": {
        "input": LOGITS,
        "target": LABELS,
        "p": 1,
        "margin": 1.0,
        "weight": f32(5),
        "reduction": "mean",
    },
    "multilabel_margin_loss": {"input": LOGITS, "target": np.zeros((3, 5), int), "reduction": "mean"},
    "margin_ranking_loss": {"input1": X, "input2": X, "target": X, "margin": 1.0, "reduction": "mean"},
    "cosine_embedding_loss": {
        "input1": LOGITS,
        "input2": LOGITS,
        "target": f32(3),
        "margin": 0.5,
        "reduction": "mean",
    },
    "triplet_margin_loss": {
        "anchor": X,
        "positive": X,
        "negative": X,
        "margin": 1.0,
        "p": 2.0,
        "eps": 1e-6,
        "reduction": "mean",
    },
    "triplet_margin_with_distance_loss": {
        "anchor": X,
        "positive": X,
        "negative": X,
        "distance_function": None,
        "margin": 1.0,
        "reduction": "mean",
    },
    "cosine_similarity": {"x1": X, "x2": X, "dim": 1, "eps": 1e-8},
    "pairwise_distance": {"x1": X, "x2": X, "p": 2.0, "eps": 1e-6},
    "normalize": {"input": X, "p": 2.0, "dim": 1, "eps": 1e-12, "out": None},
    "embedding": {
        "input": LABELS,
        "weight": f32(5, 4),
        "padding_idx": 0,
        "max_norm": None,
        "norm_type": 2.0,
        "scale_grad_by_freq": False,
        "sparse": False,
    },
    "bilinear": {"input1": f32(3, 7), "input2": f32(3, 2), "weight": f32(4, 7, 2), "bias": f32(4)},
    "scaled_dot_product_attention": {
        "query": f32(3, 7),
        "key": f32(5, 7),
        "value": f32(5, 2),
        "attn_mask": f32(3, 5),
        "dropout_p": 0.5,
        "scale": 1.0,
    },
    "instance_norm": {
        "input": X,
        "running_mean": f32(4),
        "running_var": f32(4),
        "weight": f32(4),
        "bias": f32(4),
        "momentum": 0.1,
        "eps": 1e-5,
    },
    "rms_norm": {"input": X, "normalized_shape": 5, "weight": f32(5), "eps": 1e-5},
    **{name: {"input": X, "p": 0.5} for name in ("dropout2d", "alpha_dropout", "feature_alpha_dropout")},
    "dropout1d": {"input": LINE, "p": 0.5},
    "dropout3d": {"input": VOLUME, "p": 0.5},
    "binary_cross_entropy_with_logits": {
        "input": X,
        "target": X,
        "weight": X,
        "reduction": "mean",
        "pos_weight": X,
    },
    "pad": {"input": X, "pad": (1, 1), "mode": "constant", "value": 0.0},
    "interpolate": {"input": X, "size": (3, 3), "mode": "bilinear"},
    "unfold": {"input": X, "kernel_size": 2, "dilation": 1, "padding": 1, "stride": 1},
    "fold": {
        "input": f32(2, 8, 6),
        "output_size": (4, 3),
        "kernel_size": 2,
        "dilation": 1,
        "padding": 0,
        "stride": 1,
    },
    "one_hot": {"tensor": np.array([1, 2]), "num_classes": 5},
}
NO_NUMBERS = {
    "a string": "text",
    "bytes": b"text",
    "an object": object(),
    "a dict": {},
    "a set": {1},
    "strings": ["a"],
    "complex": 1j,
    "complex array": X.astype(complex),
    "object array": np.array([[None]]),
    "records": np.zeros(3, [("a", "f4")]),
    "dates": np.array(["2020-01-01"], "M8[D]"),
    "longdouble": X.astype(np.longdouble),
    "masked": np.ma.masked_array(X, X > 0),
}
HUGE = {
    "2^62": 2**62,
    "-2^62": -(2**62),
    "2^100": 2**100,
    "two of 2^62": (2**62, 2**62),
    "2^40": 2**40,
    "-2^40": -(2**40),
}
SIZES = {
    "stride",
    "padding",
    "dilation",
    "groups",
    "kernel_size",
    "output_padding",
    "output_size",
    "normalized_shape",
    "pad",
    "num_groups",
    "size",
    "dim",
    "num_classes",
    "upscale_factor",
    "downscale_factor",
}


def refused(name, call, within=5.0):
    """``call`` fails at once with an error that begins with ``name``. (Once it is refused it takes
    microseconds; the bound is that of a busy machine.)"""
    start = time.perf_counter()
    with pytest.raises((TypeError, ValueError, IndexError, OverflowError)) as e:
        call()
    assert str(e.value).startswith((f"{name}: ", f"{name}(")), str(e.value)
    assert time.perf_counter() - start < within


def test_every_function_is_swept():
    assert set(RIGHT) == set(F.__all__)


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_no_number_is_refused_everywhere(name, backend):
    for argument in RIGHT[name]:
        for value in NO_NUMBERS.values():
            refused(name, lambda: getattr(F, name)(**{**RIGHT[name], argument: value}))  # noqa: B023


@pytest.mark.parametrize("name", [n for n, call in RIGHT.items() if SIZES & call.keys()])
def test_absurd_sizes_are_refused_before_anything_is_made(name, backend):
    for argument in SIZES & RIGHT[name].keys():
        for value in HUGE.values():
            if argument == "pad" and not isinstance(value, tuple):
                value = (value, 0)
            refused(name, lambda: getattr(F, name)(**{**RIGHT[name], argument: value}))  # noqa: B023
    if name == "interpolate":
        for factor in (1e15, 2.0**40, (1.0, 1e300), float("inf"), float("nan")):
            refused(name, lambda: F.interpolate(X, scale_factor=factor))  # noqa: B023


@pytest.mark.parametrize(
    "make",
    [fc.zeros, fc.ones, fc.rand, fc.randn, fc.eye, fc.arange, lambda n: fc.full(n, 1.0)],
    ids=lambda f: f.__name__,
)
def test_tensors_of_absurd_sizes(make):
    name = "full" if make.__name__ == "<lambda>" else make.__name__
    for size in (2**62, 2**100, 2**40, -1, -(2**62), "3", None, 1.5 if name != "arange" else 1e300, object()):
        refused(name, lambda: make(size))  # noqa: B023


@pytest.mark.parametrize(
    "name, call",
    [
        ("arange", lambda: fc.arange(0, 10, 0)),
        ("arange", lambda: fc.arange(0, float("inf"))),
        ("arange", lambda: fc.arange(3, 0)),
        ("full", lambda: fc.full(2, "x")),
        ("full", lambda: fc.full(2, [1, 2])),
        ("zeros", lambda: fc.zeros(2, dtype="complex64")),
        ("rand", lambda: fc.rand(2, dtype="int64")),
        ("tensor", lambda: fc.tensor([1, 2], dtype="S1")),
        ("tensor", lambda: fc.tensor([[1, 2], [3]])),
        ("to", lambda: fc.ones(2).to("gpu")),
        ("astype", lambda: fc.ones(2).astype(None)),
        ("index", lambda: fc.ones(2)["a"]),
        ("index", lambda: fc.ones(2)[2**62]),
        ("index", lambda: fc.ones(2)[0, 0]),
        ("item assignment", lambda: fc.ones(2).__setitem__(0, "a")),
        ("item assignment", lambda: fc.ones(2).__setitem__(0, f32(5))),
        ("reshape", lambda: fc.ones(2).reshape("a")),
        ("reshape", lambda: fc.ones(2).reshape(2**62)),
        ("sum", lambda: fc.ones(2).sum("a")),
        ("min", lambda: fc.ones(2).min(2**62)),
        ("argmin", lambda: fc.ones(2).argmin(1.5)),
        ("var", lambda: fc.ones(2).var("a")),
        ("norm", lambda: fc.ones(2).norm("a")),
        ("prod", lambda: fc.ones(2).prod(2**62)),
        ("logsumexp", lambda: fc.ones(2).logsumexp(1)),
        ("cumsum", lambda: fc.ones(2).cumsum(1.5)),
        ("sort", lambda: fc.ones(2).sort(2**62)),
        ("topk", lambda: fc.ones(2).topk(2**62)),
        ("kthvalue", lambda: fc.ones(2).kthvalue("a")),
        ("median", lambda: fc.ones(2).median("a")),
        ("bincount", lambda: fc.tensor([1]).bincount(minlength=2**62)),
        ("bincount", lambda: fc.tensor([2**62]).bincount()),
        ("histc", lambda: fc.ones(2).histc(2**62)),
        ("size", lambda: fc.ones(2).size(5)),
        ("backward", lambda: fc.tensor(f32(2), requires_grad=True).backward("a")),
        ("cat", lambda: fc.cat("ab")),
        ("cat", lambda: fc.cat([])),
        ("cat", lambda: fc.cat([fc.ones(2), "a"])),
        ("cat", lambda: fc.cat([fc.tensor(1.0)])),
        ("stack", lambda: fc.stack([fc.ones(2), fc.ones(3)])),
        ("stack", lambda: fc.stack(5)),
        ("from_dlpack", lambda: fc.from_dlpack(5)),
        ("manual_seed", lambda: fc.manual_seed("a")),
        ("Conv2d", lambda: nn.Conv2d(2**40, 4, 3)),
        ("Conv2d", lambda: nn.Conv2d(2, 4, 3, padding_mode="wrap")),
        ("ConvTranspose2d", lambda: nn.ConvTranspose2d(2, 4, 3, padding_mode="reflect")),
        ("ConvTranspose1d", lambda: nn.ConvTranspose1d(4, 2, 2, stride=2)(LINE, output_size=(14,))),
        ("ConvTranspose1d", lambda: nn.ConvTranspose1d(4, 2, 2)(LINE, output_size=(7, 7))),
        ("ZeroPad2d", lambda: nn.ZeroPad2d((1, 2, 3))),
        ("ConstantPad1d", lambda: nn.ConstantPad1d(1, "a")),
        ("ReflectionPad3d", lambda: nn.ReflectionPad3d("a")),
        ("pad", lambda: nn.ReflectionPad2d(9)(X)),
        ("Unflatten", lambda: nn.Unflatten("C", (2, 2))),
        ("Unflatten", lambda: nn.Unflatten(1, 4)),
        ("Unflatten", lambda: nn.Unflatten(1, (-1, -1))),
        ("unflatten", lambda: nn.Unflatten(1, (3, 2))(X)),
        ("Fold", lambda: nn.Fold((4, 3), 2, stride=0)),
        ("Unfold", lambda: nn.Unfold((1, 2, 3))),
        ("LPPool2d", lambda: nn.LPPool2d(2, 0)),
        ("MaxUnpool2d", lambda: nn.MaxUnpool2d(2, stride=0)),
        ("PixelShuffle", lambda: nn.PixelShuffle()),
        ("pixel_shuffle", lambda: nn.PixelShuffle(3)(X)),
        ("Conv2d", lambda: nn.Conv2d(2**30, 2**30, 3)),
        ("Linear", lambda: nn.Linear("a", 3)),
        ("Linear", lambda: nn.Linear(2**30, 2**30)),
        ("BatchNorm2d", lambda: nn.BatchNorm2d("a")),
        ("BatchNorm1d", lambda: nn.BatchNorm1d(3, momentum="a")),
        ("BatchNorm3d", lambda: nn.BatchNorm3d(3, dtype="int64")),
        ("InstanceNorm2d", lambda: nn.InstanceNorm2d(3, affine=True)(f32(1, 4, 2, 2))),
        ("InstanceNorm1d", lambda: nn.InstanceNorm1d(3)(f32(1, 4, 2, 2))),
        ("RMSNorm", lambda: nn.RMSNorm(())),
        ("Dropout2d", lambda: nn.Dropout2d(2)),
        ("AlphaDropout", lambda: nn.AlphaDropout("half")),
        ("L1Loss", lambda: nn.L1Loss(size_average=True)),
        ("KLDivLoss", lambda: nn.KLDivLoss(reduction="all")),
        ("CrossEntropyLoss", lambda: nn.CrossEntropyLoss(reduce=False)),
        ("MultiMarginLoss", lambda: nn.MultiMarginLoss(reduction="batchmean")),
        ("Embedding", lambda: nn.Embedding(4, "a")),
        ("Embedding", lambda: nn.Embedding(4, 2, padding_idx=4)),
        ("Embedding", lambda: nn.Embedding(4, 2, max_norm=1.0)),
        ("Bilinear", lambda: nn.Bilinear(2, 3, 0)),
        ("Linear", lambda: nn.Linear(2, 3, dtype="float16")),
        ("LayerNorm", lambda: nn.LayerNorm(())),
        ("GroupNorm", lambda: nn.GroupNorm("a", 4)),
        ("dropout", lambda: nn.Dropout("half")),
        ("Flatten", lambda: nn.Flatten()("a")),
        ("BatchNorm2d", lambda: nn.BatchNorm2d(3)("a")),
        ("conv2d", lambda: nn.Sequential(nn.Conv2d(3, 4, 1))("a")),
    ],
)
def test_methods_makers_and_layers_name_themselves(name, call):
    refused(name, call)


def test_too_little_memory_names_the_function(monkeypatch):
    """What is not absurd, but more than this machine has."""

    def full(*args, **options):
        return np.empty(2**60, np.uint8)

    with fc.backend("numpy"):
        for op, name, call in (
            ("pad_fwd", "pad", lambda: F.pad(X, (1, 1))),
            ("conv_fwd", "conv2d", lambda: F.conv2d(X, W)),
            ("unfold", "unfold", lambda: F.unfold(X, 2)),
            ("matmul", "matmul", lambda: fc.ones(2, 6) @ X[0, 0]),
        ):
            with monkeypatch.context() as m:
                m.setattr(fc.backends.load("numpy"), op, full)
                with pytest.raises(MemoryError, match=f"^{name} of .*: Unable to allocate 1.00 EiB"):
                    call()
    with monkeypatch.context() as m:
        m.setattr(np, "zeros", full)
        with pytest.raises(MemoryError, match="^zeros: Unable"):
            fc.zeros(2)


def test_axis_is_another_name_of_dim():
    x = fc.tensor(np.arange(6.0).reshape(2, 1, 3))
    assert fc.cat([x, x], axis=1).shape == (2, 2, 3) and fc.stack([x, x], axis=-1).shape == (2, 1, 3, 2)
    assert x.squeeze(axis=1).shape == (2, 3) and x.unsqueeze(axis=0).shape == (1, 2, 1, 3)
    np.testing.assert_array_equal(x.softmax(axis=2).numpy(), x.softmax(2).numpy())


def test_reductions_along_a_dimension_of_a_single_number(backend):
    x = fc.tensor(3.0, requires_grad=True)
    values, index = x.max(0)
    (values * 2 + F.softmax(x, 0) + F.log_softmax(x, 0)).backward()
    assert (values.item(), index.item(), x.grad.item()) == (3.0, 0, 2.0) and F.softmax(x, -1).shape == ()
