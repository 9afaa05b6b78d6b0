"""The examples of the course notes, with their exact numbers.

Numbers that the notes do not print were worked out by hand.
"""

from __future__ import annotations

from math import prod

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn, optim
from fastconv.nn import functional as F
from fastconv.spec import conv_spec, receptive_field

pytestmark = pytest.mark.usefixtures("backend")

NINE = [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
K = [[0, 1], [2, 3]]
RED = [[3, 2, 0, 1], [0, 2, 1, 2], [2, 0, 0, 3], [2, 3, 1, 2]]
GREEN = [[3, 2, 0, 1], [2, 1, 0, 1], [1, 0, 2, 1], [2, 1, 0, 0]]
BLUE = [[4, 2, 0, 1], [0, 3, 1, 0], [3, 1, 0, 2], [2, 2, 0, 1]]
W = [[2, 1, 2], [0, 0, 3], [0, 0, 2]]


def image(*channels):
    """Channels (nested lists or arrays) as one float32 ``1 x C x ...`` batch."""
    return fc.tensor(np.stack([np.asarray(c, np.float32) for c in channels])[np.newaxis])


def equal(got, want):
    """Exactly these numbers: every result here is made of small integers and halves, which float32 holds."""
    np.testing.assert_array_equal(np.squeeze(got.numpy()), np.squeeze(np.asarray(want)))


# -------------------------------------------------------------------------------------------------
# convolution
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [[19, 25], [37, 43]]),
        ({"padding": 1}, [[0, 3, 8, 4], [9, 19, 25, 10], [21, 37, 43, 16], [6, 7, 8, 0]]),
        ({"padding": 1, "stride": (3, 2)}, [[0, 8], [6, 8]]),
    ],
)
def test_1_cross_correlation(options, expected):
    equal(F.conv2d(image(NINE), image(K), **options), expected)


def test_1_convolution_flips_the_kernel():
    equal(F.convolve2d(image(NINE), image(K)), [[5, 11], [23, 29]])
    equal(F.conv2d(image(NINE), image(np.rot90(K, 2))), [[5, 11], [23, 29]])


def test_2_padding():
    x, w = image(RED), image(W)
    equal(F.conv2d(x, w), [[11, 18], [6, 22]])
    equal(F.conv2d(x, w, padding=1), [[10, 2, 7, 0], [13, 11, 18, 1], [10, 6, 22, 4], [11, 7, 12, 3]])
    full = F.conv2d(x, w, padding="full")
    assert full.shape == (1, 1, 6, 6)
    equal(full[0, 0, 0], [6, 4, 0, 2, 0, 0])


def test_2_gradients():
    x, w = image(RED), image(W)
    x.requires_grad = w.requires_grad = True
    y = F.conv2d(x, w)
    y.backward(fc.ones(y.shape))
    equal(x.grad, [[2, 3, 3, 2], [2, 3, 6, 5], [0, 0, 5, 5], [0, 0, 2, 2]])
    equal(w.grad, [[7, 5, 4], [4, 3, 6], [7, 4, 6]])


def test_3_stride():
    x = [
        [3, 2, 0, 1, 0, 2, 1],
        [0, 2, 1, 2, 1, 2, 1],
        [2, 0, 0, 3, 0, 0, 2],
        [2, 3, 1, 0, 1, 1, 3],
        [2, 2, 1, 1, 0, 3, 1],
        [1, 1, 0, 0, 1, 2, 2],
        [2, 1, 0, 3, 2, 1, 1],
    ]
    equal(F.conv2d(image(x), image(W), stride=2), [[11, 4, 11], [9, 6, 15], [8, 10, 13]])


def test_4_a_kernel_is_a_detector():
    x = [[0, 0, 0, 0], [0, 2, 0, 0], [0, 2, 0, 0], [0, 2, 2, 2]]
    equal(F.conv2d(image(x), image([[2, 0, 0], [2, 0, 0], [2, 2, 2]])), [[4, 8], [8, 20]])


def test_5_three_channels():
    w = image(W, [[1, 0, 1], [0, 1, 0], [1, 0, 1]], [[1, 0, -1]] * 3)
    equal(F.conv2d(image(RED, GREEN, BLUE), w), [[24, 25], [14, 30]])


def test_6_channels_in_and_out():
    x, w = image(NINE, np.add(NINE, 1)), image(K, np.add(K, 1))
    equal(F.conv2d(x, w), [[56, 72], [104, 120]])
    several = fc.cat([w, w + 1, w + 2])
    equal(F.conv2d(x, several), fc.cat([F.conv2d(x, several[i : i + 1]) for i in range(3)], 1).numpy())


def test_6_a_1x1_convolution_is_a_dense_layer_over_pixels():
    rng = np.random.default_rng(0)
    x, w = rng.integers(-4, 5, (3, 3, 3)), rng.integers(-4, 5, (2, 3))
    y = F.conv2d(image(*x), fc.tensor(w.reshape(2, 3, 1, 1), fc.float32))
    pixels = fc.tensor(x.reshape(3, 9).T, fc.float32)
    equal(y, F.linear(pixels, fc.tensor(w, fc.float32)).T.reshape(2, 3, 3).numpy())
    equal(y, (w @ x.reshape(3, 9)).reshape(2, 3, 3))


def test_7_bias():
    x = image([[1, 2, 0, 3], [0, 1, 2, 3], [1, 2, 1, 0], [5, 2, 3, 1]])
    y = F.conv2d(x, image([[1, 2, 1], [0, 1, 0], [2, 1, 0]]), fc.ones(1), padding=1)
    equal(y, [[2, 4, 5, 11], [6, 11, 13, 12], [8, 19, 17, 16], [10, 9, 8, 3]])


def test_8_one_and_three_dimensions():
    equal(F.conv1d(image(np.arange(7)), image([1, 2])), [2, 5, 8, 11, 14, 17])
    y = F.conv3d(image(np.arange(27).reshape(3, 3, 3)), image(np.arange(8).reshape(2, 2, 2)))
    equal(y, [[[268, 296], [352, 380]], [[520, 548], [604, 632]]])


def test_8_two_kernels_compose():
    """Kernels of 3x2 and 2x4 one after the other are one kernel of 4x5: each size is k1 + k2 - 1."""
    rng = np.random.default_rng(0)
    x, k1, k2 = (image(rng.integers(-3, 4, size)) for size in ((8, 9), (3, 2), (2, 4)))
    k = F.convolve2d(k1, k2, padding="full")
    assert k.shape[2:] == (4, 5)
    equal(F.conv2d(F.conv2d(x, k1), k2), F.conv2d(x, k).numpy())


def test_9_output_size():
    y = F.conv2d(fc.ones(1, 1, 10, 10), fc.ones(1, 1, 5, 5), padding=1, stride=2)
    assert y.shape == (1, 1, 4, 4)
    rng = np.random.default_rng(0)
    for _ in range(50):
        n, k, before, after, s = (int(v) for v in rng.integers((5, 1, 0, 0, 1), (20, 6, 4, 4, 4)))
        y = F.conv1d(fc.ones(1, 1, n), fc.ones(1, 1, k), padding=((before, after),), stride=s)
        assert y.shape[2] == (n + before + after - k) // s + 1


def test_9_same_padding_of_even_kernels():
    """PyTorch puts the extra row below, the notes on top: explicit pairs give either."""
    x, w = image(NINE), image(K)
    y = F.conv2d(x, w, padding="same")
    equal(y, [[19, 25, 10], [37, 43, 16], [7, 8, 0]])
    equal(y, F.conv2d(x, w, padding=((0, 1), (0, 1))).numpy())
    equal(F.conv2d(x, w, padding=((1, 0), (1, 0))), [[0, 3, 8], [9, 19, 25], [21, 37, 43]])


def test_10_backward_is_convolution():
    rng = np.random.default_rng(0)
    x, w, gy = (image(rng.integers(-3, 4, size)) for size in ((6, 7), (3, 2), (4, 6)))
    x.requires_grad = w.requires_grad = True
    F.conv2d(x, w).backward(gy)
    equal(w.grad, F.conv2d(x.detach(), gy).numpy())
    rotated = image(np.rot90(w.numpy()[0, 0], 2))
    equal(x.grad, F.conv2d(F.pad(gy, (1, 1, 2, 2)), rotated).numpy())


# -------------------------------------------------------------------------------------------------
# applications
@pytest.mark.parametrize(("start", "fourth"), [(0.4339, 1.692), (0.43394, 1.693)])
def test_13_learn_a_kernel(start, fourth):
    """The notes print the weights as -0.1508, 0.4339; their result 1.693 needs the digits left out there."""
    x = np.ones((6, 8))
    x[:, 2:6] = 0
    x, y = image(x), image([[0, 1, 0, 0, 0, -1, 0]] * 6)
    conv = nn.Conv2d(1, 1, kernel_size=(1, 2), bias=False)
    conv.weight.data[:] = fc.tensor([-0.1508, start])
    losses = []
    for _ in range(10):
        loss = ((conv(x) - y) ** 2).sum()
        conv.zero_grad()
        loss.backward()
        conv.weight.data[:] -= 3e-2 * conv.weight.grad
        losses.append(loss.item())
    np.testing.assert_array_equal(np.round(losses[1::2], 3), [8.979, fourth, 0.360, 0.092, 0.028])
    np.testing.assert_allclose(conv.weight.detach().numpy().ravel(), [1.0003, -0.9699], rtol=0, atol=5e-5)


def test_14_receptive_field():
    assert receptive_field([(3, 1)] * 5) == [3, 5, 7, 9, 11]
    stack = nn.Sequential(*[nn.Conv2d(1, 1, 3) for _ in range(5)])
    assert [layer.receptive_field for layer in fc.summary(stack, (1, 1, 16, 16)).layers] == [3, 5, 7, 9, 11]


@pytest.mark.parametrize(
    ("net", "last", "field"), [("vgg16", "features.30", 212), ("resnet18", "layer4.1.conv2", 435)]
)
def test_14_receptive_field_of_networks(blank_weights, net, last, field):
    layers = {x.name: x for x in fc.summary(getattr(fc.models, net)(), (1, 3, 224, 224)).layers}
    assert layers[last].receptive_field == field


def test_15_counts():
    small = conv_spec("conv2d", (1, 1, 32, 32), (1, 1, 3, 3), stride=2, padding=1)
    assert (small.out_size, small.macs, small.flops) == ((16, 16), 2_304, 4_608)
    conv = nn.Conv2d(1, 1, 3, stride=2, padding=1, bias=False)
    assert conv(fc.ones(1, 1, 32, 32)).shape == (1, 1, 16, 16)
    s = fc.summary(conv, (1, 1, 32, 32))
    assert (s.layers[0].output_shape, s.total_params, s.total_macs, s.total_flops) == (
        (1, 1, 16, 16),
        9,
        2_304,
        4_608,
    )
    assert "2,304 multiply-adds = 4,608 FLOPs" in str(s)
    large = fc.summary(nn.Conv2d(100, 100, 5, padding=2), (1, 100, 64, 64))
    assert (large.layers[0].output_shape, large.total_macs) == ((1, 100, 64, 64), 1_024_000_000)


# ------------------------------------------------------------------------------------------------- pooling,
# norms
@pytest.mark.parametrize(
    ("x", "largest", "mean"),
    [
        (RED, [[3, 2], [3, 3]], [[1.75, 1], [1.75, 1.5]]),
        (GREEN, [[3, 1], [2, 2]], None),
        (BLUE, [[4, 1], [3, 2]], None),
        (
            [[1, 1, 2, 0], [0, 1, 1, 2], [0, 0, 1, 3], [0, 0, 1, 1]],
            [[1, 2], [0, 3]],
            [[0.75, 1.25], [0, 1.5]],
        ),
    ],
)
def test_16_pooling(x, largest, mean):
    equal(F.max_pool2d(image(x), 2), largest)
    if mean is not None:
        equal(F.avg_pool2d(image(x), 2), mean)


def test_16_pooling_keeps_channels_apart():
    equal(F.max_pool2d(image(RED, GREEN, BLUE), 2), [[[3, 2], [3, 3]], [[3, 1], [2, 2]], [[4, 1], [3, 2]]])


def test_16_pooling_backward():
    """Max sends the gradient to the largest entry, the first of equals; mean spreads it evenly."""
    gy = image([[1, 2], [3, 4]])
    x = image([[1, 1, 2, 0], [0, 1, 1, 2], [0, 0, 1, 3], [0, 0, 1, 1]])
    x.requires_grad = True
    F.max_pool2d(x, 2).backward(gy)
    equal(x.grad, [[1, 0, 2, 0], [0, 0, 0, 0], [3, 0, 0, 4], [0, 0, 0, 0]])
    x.grad = None
    F.avg_pool2d(x, 2).backward(gy)
    equal(x.grad, np.kron([[1, 2], [3, 4]], np.full((2, 2), 0.25)))


def test_17_batch_norm():
    """Values 1 2 3 4: mean 2.5, variance 1.25 (it normalises) or 5/3 (it feeds the running average)."""
    norm = nn.BatchNorm2d(1)
    equal(norm.weight, 1), equal(norm.bias, 0)
    x = image([[1, 2], [3, 4]])
    y = norm(x).detach().numpy().ravel()
    np.testing.assert_allclose(y, np.array([-1.5, -0.5, 0.5, 1.5]) / np.sqrt(1.25 + 1e-5), rtol=1e-6)
    np.testing.assert_allclose(norm.running_mean.numpy(), [0.25], rtol=1e-6)
    np.testing.assert_allclose(norm.running_var.numpy(), [0.9 + 0.1 * 5 / 3], rtol=1e-6)
    norm.eval()
    y = norm(x).detach().numpy().ravel()
    np.testing.assert_allclose(y, (np.arange(1, 5) - 0.25) / np.sqrt(0.9 + 0.5 / 3 + 1e-5), rtol=1e-6)
    np.testing.assert_allclose(norm.running_mean.numpy(), [0.25], rtol=1e-6)


@pytest.mark.parametrize(
    ("mode", "kept", "evaluated"), [("upscale_in_train", 2.5, 2), ("downgrade_in_infer", 2, 1.6)]
)
def test_17_dropout_in_both_conventions(mode, kept, evaluated):
    x = fc.full((100, 100), 2.0)
    y = F.dropout(x, 0.2, training=True, mode=mode).numpy()
    np.testing.assert_allclose(np.unique(y), [0, kept], rtol=1e-6)
    assert abs((y == 0).mean() - 0.2) < 0.02  # 5 standard deviations
    np.testing.assert_allclose(F.dropout(x, 0.2, training=False, mode=mode).numpy(), evaluated, rtol=1e-6)


def test_17_local_response_norm():
    """Ones, three neighbouring channels: the sums of squares are 2, 3, 2."""
    y = F.local_response_norm(fc.ones(1, 3, 2, 2), size=3, alpha=3.0, beta=2.0, k=1.0)
    np.testing.assert_allclose(y.numpy()[0, :, 0, 0], [1 / 9, 1 / 16, 1 / 9], rtol=1e-6)


# ------------------------------------------------------------------------------------------------- networks
def parameters(net):
    return sum(p.numel() for p in net.parameters())


class MLP(nn.Module):
    def __init__(self, inputs, hidden, classes):
        super().__init__()
        self.hidden, self.out = nn.Linear(inputs, hidden), nn.Linear(hidden, classes)

    def forward(self, x):
        return self.out(F.relu(self.hidden(x)))


@pytest.mark.parametrize(("sizes", "count"), [((10, 128, 5), 2_053), ((20, 256, 10), 7_946)])
def test_18_multilayer_perceptron(sizes, count):
    inputs, hidden, classes = sizes
    chain = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, classes))
    module = MLP(*sizes)
    assert parameters(chain) == parameters(module) == count
    for to, source in zip(module.parameters(), chain.parameters()):
        to.data[:] = source
    x, y = fc.randn(50, inputs), np.arange(50) % classes
    histories = [[], []]
    for net, history in zip((chain, module), histories):
        optimizer, criterion = optim.SGD(net.parameters(), lr=5e-3), nn.CrossEntropyLoss()
        for _ in range(20):
            loss = criterion(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            history.append(loss.item())
    assert histories[0] == histories[1]
    assert np.all(np.diff(histories[0]) < 0)


def test_19_lenet():
    net, x = fc.models.lenet5(), fc.rand(1, 1, 28, 28)
    shapes, macs = [], 0
    for layer in net:
        if isinstance(layer, nn.Conv2d):
            macs += conv_spec("conv2d", x.shape, layer.weight.shape, padding=layer.padding).macs
        elif isinstance(layer, nn.Linear):
            macs += layer.weight.numel()
        x = layer(x)
        shapes.append((type(layer).__name__, x.shape))
    assert shapes == [
        ("Conv2d", (1, 6, 28, 28)),
        ("Sigmoid", (1, 6, 28, 28)),
        ("AvgPool2d", (1, 6, 14, 14)),
        ("Conv2d", (1, 16, 10, 10)),
        ("Sigmoid", (1, 16, 10, 10)),
        ("AvgPool2d", (1, 16, 5, 5)),
        ("Flatten", (1, 400)),
        ("Linear", (1, 120)),
        ("Sigmoid", (1, 120)),
        ("Linear", (1, 84)),
        ("Sigmoid", (1, 84)),
        ("Linear", (1, 10)),
    ]
    assert (parameters(net), macs) == (61_706, 416_520)
    # Xavier: uniform within sqrt(6 / (fan_in + fan_out))
    for layer in (net[0], net[3], net[7], net[9], net[11]):
        w = layer.weight.detach().numpy()
        bound = np.sqrt(6 / ((w.shape[0] + w.shape[1]) * prod(w.shape[2:])))
        assert 0.9 * bound < np.abs(w).max() <= bound


@pytest.mark.parametrize(
    ("name", "options", "size", "parameters", "giga"),
    [
        ("vgg", {"config": "A"}, 224, 132_863_336, 7.609),
        ("vgg", {"config": "A-LRN"}, 224, 132_863_336, 7.609),
        ("vgg", {"config": "B"}, 224, 133_047_848, 11.308),
        ("vgg", {"config": "C"}, 224, 133_638_952, 11.771),
        ("vgg", {"config": "D"}, 224, 138_357_544, 15.470),
        ("vgg", {"config": "E"}, 224, 143_667_240, 19.632),
        ("alexnet", {}, 224, 61_100_840, None),
        ("resnet18", {}, 224, 11_689_512, 1.814),
        ("resnet34", {}, 224, 21_797_672, None),
        ("resnet50", {}, 224, 25_557_032, None),
        ("resnet18", {"num_classes": 10, "small_input": True}, 32, 11_173_962, 0.555),
    ],
)
def test_20_counts_of_networks(blank_weights, name, options, size, parameters, giga):
    net = getattr(fc.models, name)(**options)
    s = fc.summary(net, (1, 3, size, size))
    assert s.total_params == sum(p.numel() for p in net.parameters()) == parameters
    if giga is not None:
        assert round(s.total_macs / 1e9, 3) == giga
