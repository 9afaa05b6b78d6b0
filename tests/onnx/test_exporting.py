"""Exported networks: ONNX Runtime computes what fastconv computes."""

from __future__ import annotations

import numpy as np
import pytest
from support.selection import full

import fastconv as fc
from fastconv import nn
from fastconv.nn import functional as F

pytest.importorskip("onnx.checker")
import onnx  # noqa: E402

ort = pytest.importorskip("onnxruntime")


def rand(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def run(path, *arrays):
    """The results of ONNX Runtime."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip([i.name for i in session.get_inputs()], arrays, strict=True)))


def close(got, want, rtol=1e-5):
    """The largest difference is at most ``rtol`` of the largest number."""
    assert got.shape == want.shape and got.dtype == want.dtype
    if want.dtype.kind == "f":
        limit = rtol * max(float(np.abs(want).max(initial=0)), 1e-30)
        np.testing.assert_allclose(got, want, rtol=0, atol=limit)
    else:
        np.testing.assert_array_equal(got, want)


def agree(net, path, *arrays, rtol=1e-5, **options):
    """Export for ``arrays``; both compute the same, and so does the file when it is loaded again."""
    fc.onnx.export(net, arrays if len(arrays) > 1 else arrays[0], path, **options)
    with fc.no_grad():
        want = net.eval()(*arrays).numpy()
    close(run(path, *arrays)[0], want, rtol)
    with fc.no_grad():
        close(fc.onnx.load(path)(*arrays).numpy(), want, rtol)


def randomised(net):
    """``net`` with running statistics and biases that are not 0 and 1."""
    rng = np.random.default_rng(1)
    for name, b in net.named_buffers():
        if name.endswith("mean"):
            b.data[...] = rng.uniform(-0.1, 0.1, b.shape).astype(np.float32)
        elif name.endswith("var"):
            b.data[...] = rng.uniform(0.5, 1.5, b.shape).astype(np.float32)
    return net


NETS = {
    "lenet5": (lambda: fc.models.lenet5(), (2, 1, 28, 28)),
    "resnet18": (lambda: fc.models.resnet18(num_classes=10, small_input=True), (1, 3, 32, 32)),
    "mobilenet_v2": (lambda: fc.models.mobilenet_v2(num_classes=10), (1, 3, 64, 64)),
    "unet": (lambda: fc.models.unet(), (1, 3, 32, 32)),
    "densenet121": (lambda: fc.models.densenet121(num_classes=10), (1, 3, 64, 64)),
    "efficientnet_b0": (lambda: fc.models.efficientnet_b0(num_classes=10), (1, 3, 64, 64)),
    "convnext_tiny": (lambda: fc.models.convnext_tiny(num_classes=10), (1, 3, 64, 64)),
    "shufflenet_v2_x1_0": (lambda: fc.models.shufflenet_v2_x1_0(num_classes=10), (1, 3, 64, 64)),
    "squeezenet1_1": (lambda: fc.models.squeezenet1_1(num_classes=10), (1, 3, 64, 64)),
    "alexnet": (lambda: fc.models.alexnet(num_classes=10), (1, 3, 224, 224)),
    "googlenet": (lambda: fc.models.googlenet(num_classes=10), (1, 3, 64, 64)),
    "mobilenet_v3_small": (lambda: fc.models.mobilenet_v3_small(num_classes=10), (1, 3, 64, 64)),
}
FAST = ("lenet5",)


@pytest.mark.parametrize("name", [*FAST, *full(*[n for n in NETS if n not in FAST])])
def test_network(name, tmp_path):
    make, shape = NETS[name]
    agree(randomised(make()), tmp_path / "net.onnx", rand(*shape), rtol=2e-5)


def layer(function):
    """A module that computes ``function``."""

    class Layer(nn.Module):
        def forward(self, *inputs):
            return function(*inputs)

    return Layer()


IMAGE = (2, 4, 9, 8)
LAYERS = {
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2), (2, 4, 15)),
    "conv3d": (lambda: nn.Conv3d(2, 3, 2), (1, 2, 4, 5, 6)),
    "conv_same": (lambda: nn.Conv2d(4, 6, 4, padding="same"), IMAGE),
    "conv_transpose": (lambda: nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2), IMAGE),
    "batch_norm_1d": (lambda: nn.BatchNorm1d(5), (7, 5)),
    "batch_norm_of_batch": (lambda: nn.BatchNorm2d(4, track_running_stats=False), IMAGE),
    "batch_norm_without_weights": (lambda: nn.BatchNorm2d(4, affine=False), IMAGE),
    "group_norm": (lambda: nn.GroupNorm(2, 4), IMAGE),
    "instance_norm": (lambda: nn.InstanceNorm2d(4, affine=True), IMAGE),
    "layer_norm": (lambda: nn.LayerNorm((9, 8)), IMAGE),
    "rms_norm": (lambda: nn.RMSNorm((9, 8)), IMAGE),
    "local_response_norm": (lambda: nn.LocalResponseNorm(3, 1.0), IMAGE),
    "local_response_norm_even": (lambda: nn.LocalResponseNorm(2, 1.0), IMAGE),
    "max_pool": (lambda: nn.MaxPool2d(3, 2, 1, dilation=1, ceil_mode=True), IMAGE),
    "max_pool_dilated": (lambda: nn.MaxPool2d(2, 1, dilation=2), IMAGE),
    "avg_pool": (lambda: nn.AvgPool2d(3, 2, 1), IMAGE),
    "avg_pool_without_padding": (lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False), IMAGE),
    "avg_pool_divisor": (lambda: nn.AvgPool2d(3, 2, divisor_override=5), IMAGE),
    "adaptive_avg_pool": (lambda: nn.AdaptiveAvgPool2d((3, 5)), IMAGE),
    "adaptive_avg_pool_even": (lambda: nn.AdaptiveAvgPool2d((3, 4)), IMAGE),
    "adaptive_max_pool": (lambda: nn.AdaptiveMaxPool2d((3, 2)), IMAGE),
    "linear_of_images": (lambda: nn.Linear(8, 3), IMAGE),
    "prelu": (lambda: nn.PReLU(4), IMAGE),
    "glu": (lambda: nn.GLU(1), IMAGE),
    "softmax": (lambda: nn.Softmax(1), IMAGE),
    "log_softmax": (lambda: nn.LogSoftmax(1), IMAGE),
    "upsample_nearest": (lambda: nn.Upsample(scale_factor=2), IMAGE),
    "upsample_nearest_exact": (lambda: nn.Upsample((13, 7), mode="nearest-exact"), IMAGE),
    "upsample_bilinear": (lambda: nn.Upsample((13, 5), mode="bilinear"), IMAGE),
    "upsample_corners": (lambda: nn.Upsample((13, 5), mode="bilinear", align_corners=True), IMAGE),
    "upsample_factor": (lambda: nn.Upsample(scale_factor=1.7, mode="bilinear"), IMAGE),
    "upsample_bicubic": (lambda: nn.Upsample((13, 5), mode="bicubic"), IMAGE),
    "pixel_shuffle": (lambda: nn.PixelShuffle(2), IMAGE),
    "unfold": (lambda: nn.Unfold((3, 2), padding=1, stride=2), IMAGE),
    "fold": (lambda: nn.Fold((4, 5), (2, 2)), (2, 12, 12)),
    "reflect": (lambda: nn.ReflectionPad2d((1, 2, 3, 0)), IMAGE),
    "replicate": (lambda: nn.ReplicationPad2d(2), IMAGE),
    "constant": (lambda: nn.ConstantPad2d((1, -1, 0, 2), 1.5), IMAGE),
    "dropout": (lambda: nn.Dropout(0.3), IMAGE),
    "flatten": (lambda: nn.Flatten(), IMAGE),
    "grid_sample": (
        lambda: layer(lambda x: F.grid_sample(x, x[:, :2].permute(0, 2, 3, 1), align_corners=False)),
        IMAGE,
    ),
}
#: Functions of one tensor.
FUNCTIONS = {
    "slices": lambda x: x[:, 1:3, ::2, -3:],
    "reversed": lambda x: x.flip(2),
    "int": lambda x: x[:, 2],
    "int_and_new_axis": lambda x: x[:, None, 1, ..., -1],
    "array": lambda x: x[:, np.array([2, 0, 0])],
    "index_select": lambda x: x.index_select(1, fc.tensor([3, 0])),
    "cat": lambda x: fc.cat([x, x * 2], 1),
    "stack": lambda x: fc.stack([x, x.relu()], 1),
    "split": lambda x: x.split([1, 3], 1)[1],
    "transpose": lambda x: x.permute(0, 2, 3, 1).reshape(x.shape[0], 72, 4),
    "expand": lambda x: x.mean(1, keepdim=True).expand(-1, 3, -1, -1),
    "matmul": lambda x: x @ x.transpose(2, 3),
    "sums": lambda x: x.sum((2, 3)) + x.mean((2, 3)) + x.amax((2, 3)) - x.amin((2, 3)),
    "std": lambda x: x.std((1, 2)),
    "norms": lambda x: x.norm(dim=1) + x.norm(1, dim=1) + x.norm(float("inf"), dim=1),
    "logsumexp": lambda x: x.logsumexp(1),
    "argmax": lambda x: x.argmax(1),
    "argmin_of_all": lambda x: x.argmin(),
    "topk": lambda x: x.topk(3, 1).values,
    "sort": lambda x: x.sort(2).values,
    "cumsum": lambda x: x.cumsum(1),
    "any": lambda x: (x > 2).any(1),
    "count": lambda x: (x > 0).count_nonzero(1),
    "where": lambda x: fc.where(x > 0, x, x * 0.1),
    "compare": lambda x: ((x > 0) & (x < 1)) | ~(x != 0.5),
    "clamp_one_side": lambda x: x.clamp(min=-0.5),
    "numbers": lambda x: (2 - x) / 3 + 1.5**x,
    "remainder": lambda x: x % 0.3 + x.fmod(0.7) + x // 0.5,
    "lerp": lambda x: fc.lerp(x, x * 2, x.sigmoid()) + fc.addcmul(x, x, x, value=0.5),
    "casts": lambda x: (x * 10).astype(np.int64).astype(np.float32) + (x > 0).float(),
    "silu_in_place": lambda x: F.silu((x + 1).mul_(2)),
}
ACTIVATIONS = """
    celu elu gelu hardshrink hardsigmoid hardswish hardtanh leaky_relu logsigmoid mish relu relu6 selu sigmoid
    silu softplus softshrink softsign tanh tanhshrink
"""
METHODS = """
    abs neg sign floor ceil trunc round exp expm1 sqrt rsqrt reciprocal log log1p log2 log10 sin cos erf isnan
    isinf isfinite
"""


@pytest.mark.parametrize("name", LAYERS)
def test_layer(name, tmp_path):
    make, shape = LAYERS[name]
    agree(randomised(make()), tmp_path / "net.onnx", rand(*shape), rtol=1e-4 if "bicubic" in name else 1e-5)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name, tmp_path):
    agree(layer(FUNCTIONS[name]), tmp_path / "net.onnx", rand(*IMAGE))


@pytest.mark.parametrize("name", ACTIVATIONS.split())
def test_activation(name, tmp_path):
    agree(layer(getattr(F, name)), tmp_path / "net.onnx", rand(3, 50) * 3)


@pytest.mark.parametrize("name", METHODS.split())
def test_method(name, tmp_path):
    agree(layer(lambda x: getattr(x, name)()), tmp_path / "net.onnx", np.abs(rand(3, 50) * 3))


def test_gelu_by_tanh(tmp_path):
    agree(layer(lambda x: F.gelu(x, "tanh")), tmp_path / "net.onnx", rand(3, 50) * 3)


# ------------------------------------------------------------------------------------------------- the batch
@pytest.mark.parametrize("name", ["lenet5", *full("unet", "resnet18", "mobilenet_v2", "convnext_tiny")])
def test_the_batch_can_be_left_open(name, tmp_path):
    make, (_, *shape) = NETS[name]
    net, path = randomised(make()).eval(), tmp_path / "net.onnx"
    fc.onnx.export(net, rand(1, *shape), path, dynamic_batch=True)
    x = rand(3, *shape)
    with fc.no_grad():
        want = net(x).numpy()
    close(run(path, x)[0], want, 2e-5)
    with fc.no_grad():
        close(fc.onnx.load(path)(x).numpy(), want, 2e-5)
    declared = onnx.load(path).graph
    assert declared.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert declared.output[0].type.tensor_type.shape.dim[0].dim_param == "batch"


@pytest.mark.parametrize(
    "name", ["group_norm", "layer_norm", "linear_of_images", "unfold", "adaptive_avg_pool", "glu"]
)
def test_layers_of_any_batch(name, tmp_path):
    make, (_, *shape) = LAYERS[name]
    net, path = make().eval(), tmp_path / "net.onnx"
    fc.onnx.export(net, rand(2, *shape), path, dynamic_batch=True)
    x = rand(5, *shape)
    with fc.no_grad():
        close(run(path, x)[0], net(x).numpy())


def test_a_net_that_depends_on_the_batch_is_refused(tmp_path):
    net = layer(lambda x: x * x.shape[0])
    with pytest.raises(ValueError, match="onnx.export: .*another batch.*dynamic_batch=False"):
        fc.onnx.export(net, rand(2, 3), tmp_path / "net.onnx", dynamic_batch=True)
    agree(net, tmp_path / "net.onnx", rand(2, 3))


# ------------------------------------------------------------------------------------------------- the file
def test_weights_keep_their_names(tmp_path):
    net = fc.models.lenet5()
    fc.onnx.export(net, rand(1, 1, 28, 28), tmp_path / "net.onnx")
    names = [t.name for t in onnx.load(tmp_path / "net.onnx").graph.initializer]
    assert {n for n, _ in net.named_parameters()} <= set(names)


def test_several_inputs_and_results(tmp_path):
    class Net(nn.Module):
        def forward(self, a, b):
            return {"sum": a + b, "parts": a * b}

    path = tmp_path / "net.onnx"
    fc.onnx.export(Net(), (rand(2, 3), rand(2, 3) + 1), path)
    a, b = rand(4, 3)[:2], rand(5, 3)[3:]
    total, parts = run(path, a, b)
    close(total, a + b)
    close(parts, a * b)
    graph = onnx.load(path).graph
    assert [i.name for i in graph.input] == ["input_0", "input_1"]
    assert [o.name for o in graph.output] == ["sum", "parts"]


def test_a_result_that_is_an_input(tmp_path):
    agree(layer(lambda x: x), tmp_path / "net.onnx", rand(2, 3))


def test_the_mode_and_an_older_file_stay(tmp_path):
    net, path = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5)), tmp_path / "net.onnx"
    net[1].eval()
    path.write_text("older")
    with pytest.raises(ValueError, match="the numbers of a tensor"):
        fc.onnx.export(layer(lambda x: x * float(x.sum())), rand(2, 3), path)
    assert path.read_text() == "older" and [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
    fc.onnx.export(net, rand(2, 3), path)
    assert net.training and net[0].training and not net[1].training


@pytest.mark.parametrize(
    "function, words",
    [
        (lambda x: F.max_pool2d(x, 2, return_indices=True)[1], "second result of max_pool_fwd"),
        (lambda x: x.cumprod(1), "cumprod has no operator"),
        (lambda x: F.pad(x, (1, 1), "circular"), "circular padding"),
    ],
)
def test_what_has_no_operator_is_named(function, words, tmp_path):
    with pytest.raises(ValueError, match=f"onnx.export: .*{words}"):
        fc.onnx.export(layer(function), rand(*IMAGE), tmp_path / "net.onnx")


def test_only_modules_are_exported(tmp_path):
    with pytest.raises(TypeError, match="onnx.export: expected a Module, got function"):
        fc.onnx.export(lambda x: x, rand(2), tmp_path / "net.onnx")


def test_a_network_on_the_gpu_is_refused(tmp_path):
    if not fc.cuda.is_available():
        pytest.skip("needs a CUDA device or numba's simulator")
    with fc.backend("cuda"), pytest.raises(ValueError, match="onnx.export: .*GPU.*net.cpu\\(\\)"):
        fc.onnx.export(nn.Linear(2, 2), rand(1, 2), tmp_path / "net.onnx")
