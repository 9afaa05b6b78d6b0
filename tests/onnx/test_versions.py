"""Old and rare variants of operators, such as numbers that were attributes once, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc

pytest.importorskip("onnx.checker")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

ort = pytest.importorskip("onnxruntime")

F32 = np.float32


def ints(*values):
    return np.array(values, np.int64)


def floats(*values):
    return np.array(values, F32)


IMAGE = (1, 4, 6, 8)
#: Name -> opset, operator, shape of the input, attributes, further inputs, number of results.
CASES = {
    "clip": (6, "Clip", IMAGE, {"min": -0.5, "max": 0.7}, [], 1),
    "clip_11": (11, "Clip", IMAGE, {}, [np.array(-0.5, F32), np.array(0.7, F32)], 1),
    "dropout": (7, "Dropout", IMAGE, {"ratio": 0.3}, [], 1),
    "pad_2": (2, "Pad", IMAGE, {"pads": [0, 0, 1, 2, 0, 0, 0, 1], "value": 1.5}, [], 1),
    "pad_reflect": (2, "Pad", IMAGE, {"pads": [0, 0, 1, 2, 0, 0, 0, 1], "mode": "reflect"}, [], 1),
    "pad_11": (11, "Pad", IMAGE, {"mode": "edge"}, [ints(0, 0, 1, 2, 0, 0, 0, 1)], 1),
    "slice_1": (1, "Slice", IMAGE, {"axes": [1, 3], "starts": [1, -5], "ends": [3, 1000]}, [], 1),
    "slice_10": (10, "Slice", IMAGE, {}, [ints(7, 3), ints(-1000, 0), ints(3, 1), ints(-2, -1)], 1),
    "split_2": (2, "Split", IMAGE, {"axis": 1, "split": [1, 3]}, [], 2),
    "split_13": (13, "Split", IMAGE, {"axis": 1}, [ints(1, 3)], 2),
    "split_uneven": (18, "Split", (7, 2), {"num_outputs": 3}, [], 3),
    "squeeze_1": (1, "Squeeze", (1, 4, 1), {"axes": [0]}, [], 1),
    "squeeze_all": (13, "Squeeze", (1, 4, 1), {}, [], 1),
    "unsqueeze_1": (1, "Unsqueeze", (4,), {"axes": [0, 2]}, [], 1),
    "softmax_1": (1, "Softmax", (2, 3, 4), {"axis": 1}, [], 1),
    "softmax_default": (11, "Softmax", (2, 3, 4), {}, [], 1),
    "log_softmax_1": (1, "LogSoftmax", (2, 3, 4), {"axis": 0}, [], 1),
    "hardmax": (11, "Hardmax", (2, 3, 4), {}, [], 1),
    "softmax_13": (13, "Softmax", (2, 3, 4), {"axis": 1}, [], 1),
    "reduce_mean_1": (1, "ReduceMean", IMAGE, {"axes": [2, 3], "keepdims": 0}, [], 1),
    "reduce_sum_1": (11, "ReduceSum", IMAGE, {"axes": [-1]}, [], 1),
    "reduce_sum_13": (13, "ReduceSum", IMAGE, {}, [ints(1, 2)], 1),
    "reduce_max_of_all": (12, "ReduceMax", IMAGE, {}, [], 1),
    "reduce_l2": (13, "ReduceL2", IMAGE, {"axes": [1]}, [], 1),
    "top_k_10": (10, "TopK", IMAGE, {"axis": 1}, [ints(2)], 2),
    "top_k_smallest": (11, "TopK", IMAGE, {"axis": 3, "largest": 0}, [ints(3)], 2),
    "upsample_9": (9, "Upsample", IMAGE, {"mode": "nearest"}, [floats(1, 1, 2, 3)], 1),
    "upsample_fraction": (9, "Upsample", IMAGE, {"mode": "nearest"}, [floats(1, 1, 1.5, 1.3)], 1),
    "upsample_linear": (9, "Upsample", IMAGE, {"mode": "linear"}, [floats(1, 1, 2, 2)], 1),
    "resize_10": (10, "Resize", IMAGE, {"mode": "nearest"}, [floats(1, 1, 0.5, 2)], 1),
    "resize_10_linear": (10, "Resize", IMAGE, {"mode": "linear"}, [floats(1, 1, 1.5, 2)], 1),
    "resize_11": (11, "Resize", IMAGE, {"mode": "linear"}, [floats(), floats(1, 1, 0.6, 2.2)], 1),
    "resize_corners": (
        *(13, "Resize", IMAGE, {"mode": "cubic", "coordinate_transformation_mode": "align_corners"}),
        *([None, None, ints(1, 4, 9, 5)], 1),
    ),
    "average_pool_7": (7, "AveragePool", IMAGE, {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1]}, [], 1),
    "average_pool_counted": (
        *(11, "AveragePool", IMAGE, {"kernel_shape": [3, 3], "pads": [2, 2, 2, 2], "count_include_pad": 1}),
        *([], 1),
    ),
    "average_pool_wide_padding": (
        *(11, "AveragePool", IMAGE, {"kernel_shape": [3, 3], "pads": [2, 2, 2, 2]}),
        *([], 1),
    ),
    "max_pool_ceil": (
        *(12, "MaxPool", IMAGE, {"kernel_shape": [3, 3], "strides": [2, 3], "ceil_mode": 1}),
        *([], 2),
    ),
    "max_pool_wide_padding": (
        *(12, "MaxPool", IMAGE, {"kernel_shape": [3, 3], "pads": [2, 2, 2, 1], "dilations": [2, 1]}),
        *([], 2),
    ),
    "max_pool_columns": (8, "MaxPool", IMAGE, {"kernel_shape": [2, 2], "storage_order": 1}, [], 2),
    "max_pool_same": (
        *(8, "MaxPool", IMAGE, {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "SAME_LOWER"}),
        *([], 1),
    ),
    "conv_same": (
        *(11, "Conv", IMAGE, {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
        *([np.linspace(-1, 1, 96, dtype=F32).reshape(4, 4, 3, 2)], 1),
    ),
    "conv_transpose_same": (
        *(11, "ConvTranspose", IMAGE, {"auto_pad": "SAME_UPPER", "strides": [2, 3], "group": 2}),
        *([np.linspace(-1, 1, 48, dtype=F32).reshape(4, 2, 2, 3)], 1),
    ),
    "conv_transpose_shape": (
        *(11, "ConvTranspose", IMAGE, {"output_shape": [13, 15], "strides": [2, 2]}),
        *([np.linspace(-1, 1, 72, dtype=F32).reshape(4, 2, 3, 3), floats(1, 2)], 1),
    ),
    "gemm_7": (7, "Gemm", (3, 4), {"transB": 1, "alpha": 0.5}, [np.eye(2, 4, dtype=F32), floats(1, 2)], 1),
    "global_lp_pool": (2, "GlobalLpPool", IMAGE, {"p": 3}, [], 1),
    "prelu": (9, "PRelu", IMAGE, {}, [floats(0.1, 0.2, 0.3, 0.4).reshape(4, 1, 1)], 1),
    "prelu_broadcast": (9, "PRelu", IMAGE, {}, [np.full((6, 8), 0.3, F32)], 1),
    "batch_norm_8": (
        *(8, "BatchNormalization", IMAGE, {"epsilon": 1e-3}),
        *([floats(1, 2, 3, 4), floats(0, 1, 0, 1), floats(0, 0.5, 1, 0), floats(1, 2, 1, 0.5)], 1),
    ),
    "depth_to_space": (11, "DepthToSpace", IMAGE, {"blocksize": 2, "mode": "CRD"}, [], 1),
    "scatter": (9, "Scatter", (3, 4), {"axis": 1}, [ints(0, 3, 1).reshape(3, 1), np.ones((3, 1), F32)], 1),
    "flatten_axis": (9, "Flatten", IMAGE, {"axis": 2}, [], 1),
    "expand": (8, "Expand", (4, 1), {}, [ints(2, 1, 3)], 1),
    "cumsum": (11, "CumSum", IMAGE, {"exclusive": 1, "reverse": 1}, [np.array(2)], 1),
    "hard_sigmoid": (6, "HardSigmoid", IMAGE, {"alpha": 0.3, "beta": 0.4}, [], 1),
    "mod": (10, "Mod", IMAGE, {"fmod": 1}, [np.array(0.7, F32)], 1),
    "gather_negative": (11, "Gather", IMAGE, {"axis": 1}, [ints(-1, 0)], 1),
    "gather_number": (11, "Gather", IMAGE, {"axis": 2}, [np.array(3)], 1),
}


def model(opset, op, shape, attributes, more, results):
    inputs = ["x", *("" if a is None else f"i{n}" for n, a in enumerate(more))]
    outputs = [f"y{n}" for n in range(results)]
    about = helper.make_tensor_value_info
    kinds = [TensorProto.FLOAT] * results
    if results == 2 and op in ("TopK", "MaxPool"):
        kinds[1] = TensorProto.INT64
    graph = helper.make_graph(
        [helper.make_node(op, inputs, outputs, **attributes)],
        "g",
        [about("x", TensorProto.FLOAT, list(shape))],
        [about(name, kind, None) for name, kind in zip(outputs, kinds)],
        [numpy_helper.from_array(a, f"i{n}") for n, a in enumerate(more) if a is not None],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", max(opset, 7))], ir_version=8)


@pytest.mark.parametrize("name", CASES)
def test_version(name):
    opset, op, shape, attributes, more, results = CASES[name]
    proto = model(opset, op, shape, attributes, more, results)
    x = np.random.default_rng(0).standard_normal(shape).astype(F32)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    want = session.run(None, {"x": x})
    with fc.no_grad():
        found = fc.onnx.load(proto)(x)
    got = list(found) if isinstance(found, tuple) else [found]
    assert len(got) == len(want)
    for a, b in zip(got, want):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a.numpy(), b, rtol=1e-4, atol=1e-5)


def test_even_window_of_lrn():
    """ONNX Runtime has odd windows only; the longer half is at the end, says the operator's page."""
    x = np.random.default_rng(0).standard_normal(IMAGE).astype(F32)
    want = np.empty_like(x)
    for c in range(4):
        scale = 1 + 0.5 / 4 * (x[:, max(c - 1, 0) : c + 3] ** 2).sum(1)
        want[:, c] = x[:, c] / scale**0.75
    y = fc.onnx.load(model(13, "LRN", IMAGE, {"size": 4, "alpha": 0.5}, [], 1))(x)
    np.testing.assert_allclose(y.numpy(), want, rtol=1e-5)


# the derivative of Hardmax is 0, that of Mod is not defined everywhere
@pytest.mark.parametrize(
    "name",
    [n for n in CASES if n not in ("hardmax", "mod")],
)
def test_gradients_reach_the_input(name):
    opset, op, shape, attributes, more, results = CASES[name]
    x = fc.tensor(np.random.default_rng(0).standard_normal(shape).astype(F32), requires_grad=True)
    found = fc.onnx.load(model(opset, op, shape, attributes, more, results))(x)
    y = found[0] if isinstance(found, tuple) else found
    (y * y).sum().backward()
    assert x.grad is not None and x.grad.shape == shape
