"""The networks beyond the first four: torchvision's names, counts and results, options, training."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

import fastconv as fc
from fastconv import models, nn, optim
from fastconv.models.blocks import SqueezeExcitation, StochasticDepth
from fastconv.models.resnet import BasicBlock

# Parameters and multiply-adds of one image as torchvision publishes them, and the CRC-32 of the lines
# "name shape" of its state dict.
PUBLISHED = [
    ("convnext_base", 88_591_464, 15_354_729_472, 4_222_076_715),
    ("convnext_small", 50_223_688, 8_683_712_256, 4_106_624_470),
    ("convnext_tiny", 28_589_128, 4_455_531_264, 120_579_583),
    ("densenet121", 7_978_856, 2_834_161_664, 337_036_915),
    ("densenet161", 28_681_000, 7_727_907_072, 2_765_493_015),
    ("densenet169", 14_149_480, 3_359_843_328, 3_265_074_030),
    ("densenet201", 20_013_928, 4_291_365_888, 1_651_195_700),
    ("efficientnet_b0", 5_288_548, 385_814_752, 3_873_908_317),
    ("efficientnet_b1", 7_794_184, 686_802_832, 1_655_910_652),
    ("efficientnet_b2", 9_109_994, 1_087_529_456, 433_688_288),
    ("googlenet", 13_004_888, 1_498_376_192, 1_984_476_711),
    ("mobilenet_v2", 3_504_872, 300_774_272, 3_710_894_366),
    ("mobilenet_v3_large", 5_483_032, 216_589_760, 812_244_354),
    ("mobilenet_v3_small", 2_542_856, 56_510_400, 368_922_809),
    ("resnet101", 44_549_160, 7_801_405_440, 2_172_776_777),
    ("resnet152", 60_192_808, 11_513_626_624, 2_689_572_413),
    ("resnext101_32x8d", 88_791_336, 16_414_015_488, 1_981_587_682),
    ("resnext101_64x4d", 83_455_272, 15_460_270_080, 948_329_222),
    ("resnext50_32x4d", 25_028_904, 4_230_479_872, 3_436_125_893),
    ("shufflenet_v2_x0_5", 1_366_792, 40_476_448, 270_297_236),
    ("shufflenet_v2_x1_0", 2_278_604, 144_907_992, 2_682_776_781),
    ("shufflenet_v2_x1_5", 3_503_624, 295_759_392, 2_878_242_759),
    ("shufflenet_v2_x2_0", 7_393_996, 583_253_464, 1_436_636_889),
    ("squeezenet1_0", 1_248_424, 818_924_576, 147_205_316),
    ("squeezenet1_1", 1_235_496, 349_151_936, 967_197_338),
    ("wide_resnet101_2", 126_886_696, 22_753_050_624, 3_515_721_026),
    ("wide_resnet50_2", 68_883_240, 11_398_021_120, 579_058_945),
]
SIZES = {
    "efficientnet_b1": 240,
    "efficientnet_b2": 288,
}  # of the published multiply-adds; the others have 224


@pytest.mark.parametrize("name, parameters, macs, names", PUBLISHED)
def test_published_counts_and_names(blank_weights, name, parameters, macs, names):
    net, size = getattr(models, name)(), SIZES.get(name, 224)
    lines = "\n".join(f"{k} {tuple(v.shape)}" for k, v in net.state_dict().items())
    assert zlib.crc32(lines.encode()) == names
    s = fc.summary(net.eval(), (1, 3, size, size))
    assert (s.total_params, s.total_macs) == (parameters, macs)
    assert f"{parameters:,}" in getattr(models, name).__doc__


def test_the_list():
    names = models.list_models()
    assert names == sorted(names) and {name for name, *_ in PUBLISHED} < set(names)
    assert {"lenet5", "unet", "resnet18", "vgg16"} < set(names) and "list_models" not in names
    assert all(getattr(models, name).__name__ == name for name in names)
    assert set(names) == {n for n in models.__all__ if n.islower()} - {"list_models", "get_model"}


def test_a_model_by_name():
    net = models.get_model("squeezenet1_1", num_classes=3)
    assert isinstance(net, models.SqueezeNet) and net(fc.zeros(1, 3, 32, 32)).shape == (1, 3)
    with pytest.raises(
        ValueError, match=r"get_model: expected one of .*, got 'resnet8'; did you mean resnet18\?"
    ):
        models.get_model("resnet8")


SMALL = [
    # a net with few channels or blocks of each family, and the side of the images
    ("mobilenet_v2", {"width_mult": 0.25}, 32),
    ("mobilenet_v3_small", {"width_mult": 0.25}, 32),
    ("mobilenet_v3_large", {"width_mult": 0.25, "reduced_tail": True, "dilated": True}, 32),
    ("squeezenet1_1", {}, 32),
    ("shufflenet_v2_x0_5", {}, 32),
]


def small(name, options):
    fc.manual_seed(0)
    return getattr(models, name)(num_classes=5, **options)


def others():
    """Families whose functions have no such option, by their classes."""
    fc.manual_seed(0)
    yield models.EfficientNet(0.25, 0.4, num_classes=5), 32
    yield models.DenseNet(4, (2, 2, 2, 1), 8, num_classes=5), 32
    yield models.ConvNeXt((1, 1, 2, 1), (8, 16, 24, 32), 5, stochastic_depth_prob=0.1, layer_scale=0.5), 32
    yield models.unet(3, 2, width=4, depth=2), 18


def random_statistics(net):
    rng = np.random.default_rng(1)
    for name, t in net.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            t[...] = rng.random(t.shape, np.float32) + (0.5 if name.endswith("var") else -0.5)
    return net


@pytest.fixture(scope="module")
def nets():
    return [(small(name, options), size) for name, options, size in SMALL] + list(others())


@pytest.mark.parametrize("i", range(len(SMALL) + 4))
def test_inference_and_a_training_step(nets, i):
    net, size = nets[i]
    x = np.random.default_rng(0).standard_normal((3, 3, size, size)).astype(np.float32)
    with fc.backend("numpy"):
        random_statistics(net).eval()
        with fc.no_grad():
            want = net(x).numpy()
            fast = fc.optimize_for_inference(net)(x).numpy()
        np.testing.assert_allclose(fast, want, rtol=0, atol=1e-4 * np.abs(want).max())
        net.train()
        opt = optim.SGD(net.parameters(), lr=0.01)
        before = [p.numpy().copy() for p in net.parameters()]
        y = net(x)
        (y * y).sum().backward()
        assert all(p.grad is not None and np.isfinite(p.grad.numpy()).all() for p in net.parameters())
        opt.step()
        assert any(not np.array_equal(p.numpy(), b) for p, b in zip(net.parameters(), before))


def test_googlenet_has_three_results_in_training(blank_weights):
    net = models.googlenet(num_classes=4)
    with fc.backend("numpy"):
        out = net(np.zeros((2, 3, 64, 64), np.float32))
        assert isinstance(out, models.GoogLeNetOutputs)
        assert [y.shape for y in (out.logits, out.aux_logits2, out.aux_logits1)] == [(2, 4)] * 3
        assert net.eval()(np.zeros((2, 3, 64, 64), np.float32)).shape == (2, 4)
        plain = models.googlenet(num_classes=4, aux_logits=False, transform_input=True)
        assert plain(fc.zeros(2, 3, 64, 64)).shape == (2, 4)
    assert sum(p.numel() for p in models.googlenet(aux_logits=False).parameters()) == 6_624_904


@pytest.mark.parametrize("name", models.list_models())
def test_options_of_all(blank_weights, name):
    options = {"config": "A"} if name == "vgg" else {}
    shape = (1, 1, 28, 28) if name == "lenet5" else (1, 1, 64, 64)
    net = getattr(models, name)(num_classes=7, in_channels=1, **options, **WITHOUT_WEIGHTS)
    assert fc.summary(net.eval(), shape).layers[-1].output_shape[:2] == (1, 7)
    for given, text in (
        ({"weights": "DEFAULT"}, "weights='DEFAULT'"),
        ({"pretrained": True}, "pretrained=True"),
    ):
        with pytest.raises(ValueError, match=rf'{name}: {text} .*load_state_dict\(fc.load\("{name}.pth"\)\)'):
            getattr(models, name)(**given)


WITHOUT_WEIGHTS = {"weights": None, "progress": True}


def test_options_of_resnets(blank_weights):
    net = models.resnet50(replace_stride_with_dilation=[False, True, True], zero_init_residual=True)
    strides = [
        (m.stride, m.dilation)
        for m in net.layer4.modules()
        if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)
    ]
    assert strides == [((1, 1), (2, 2)), ((1, 1), (4, 4)), ((1, 1), (4, 4))]
    assert not net.layer1[0].bn3.weight.numpy().any() and net.layer1[0].bn2.weight.numpy().all()
    assert fc.summary(net.eval(), (1, 3, 64, 64)).layers[-1].output_shape == (1, 1000)


# ------------------------------------------------------------------------------------------------- parts
def test_stochastic_depth():
    x = fc.ones(64, 3, 2, 2, requires_grad=True)
    for mode, rows in (("row", 64), ("batch", 1)):
        layer = StochasticDepth(0.25, mode)
        seen = set()
        for _ in range(10):
            y = layer(x).numpy()
            kinds = y.reshape(rows, -1)
            assert (kinds == kinds[:, :1]).all()
            seen |= set(np.unique(y).tolist())
        assert sorted(seen) == pytest.approx([0, 4 / 3])
        assert layer.eval()(x) is x
    assert not StochasticDepth(1.0, "row")(x).numpy().any()
    assert repr(StochasticDepth(0.25, "row")) == "StochasticDepth(p=0.25, mode=row)"


def test_squeeze_and_excitation():
    layer = SqueezeExcitation(4, 2, scale_activation=nn.Hardsigmoid)
    assert list(layer.state_dict()) == ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]
    x = fc.randn(2, 4, 3, 3)
    scale = (layer(x) / x).numpy()
    np.testing.assert_allclose(scale, scale[:, :, :1, :1] * np.ones((1, 1, 3, 3)), rtol=1e-5)


@pytest.mark.parametrize("bilinear", [False, True])
def test_unet(bilinear):
    net = models.unet(2, 3, width=4, depth=3, bilinear=bilinear)
    with fc.backend("numpy"):
        for size in ((8, 8), (13, 22)):
            assert net(fc.zeros(2, 2, *size)).shape == (2, 3, *size)
    assert sum(p.numel() for p in models.unet(width=4).parameters()) < 31_037_633 / 200
    with pytest.raises(ValueError, match="unet: expected images N x C x H x W of at least 8x8, got 1x2x7x9"):
        net(fc.zeros(1, 2, 7, 9))


REFUSED = [
    (lambda: models.MobileNetV3("tiny"), "MobileNetV3: config must be 'small' or 'large', got 'tiny'"),
    (lambda: models.mobilenet_v2(inverted_residual_setting=[[1, 2]]), "must be a list of four numbers each"),
    (lambda: models.SqueezeNet("2"), "SqueezeNet: version must be '1_0' or '1_1', got '2'"),
    (lambda: models.ShuffleNetV2([1], [1] * 5), "stages_repeats must be 3 numbers"),
    (lambda: models.densenet121(memory_efficient=True), "memory_efficient=True is not supported"),
    (lambda: models.resnet18(groups=2), "ResNet: groups, width_per_group .* are for networks of Bottleneck"),
    (lambda: models.resnet50(replace_stride_with_dilation=[True]), "must be three bools"),
    (lambda: models.ResNet(BasicBlock, [1, 1, 1]), r"ResNet: layers must be four ints.* got \[1, 1, 1\]"),
    (lambda: models.ResNet(BasicBlock, [1] * 5), "ResNet: layers must be four ints"),
    (lambda: models.ResNet(BasicBlock, [1, 0, 1, 1]), "ResNet: layers must be at least 1 in each"),
    (lambda: models.ConvNeXt([1, 1], [8]), "ConvNeXt: layers and widths must have one int .* got 2 and 1"),
    (lambda: models.ConvNeXt([], []), r"ConvNeXt: layers must be a list with one int per stage, got \[\]"),
    (lambda: models.ConvNeXt([0], [8]), "ConvNeXt: layers must be at least 1"),
    (lambda: models.unet(depth=0), "unet: width and depth must be positive"),
    (lambda: StochasticDepth(2, "row"), "StochasticDepth: p must be between 0 and 1, got 2"),
    (lambda: StochasticDepth(0.5, "column"), "mode must be 'batch' or 'row', got 'column'"),
]


def test_a_convnext_of_one_block():
    net = models.ConvNeXt([1], [8], num_classes=3, stochastic_depth_prob=0.5)
    assert net(fc.zeros(2, 3, 8, 8)).shape == (2, 3)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: models.ResNet(BasicBlock, 2), "ResNet: layers must be four ints, .* got 2"),
        (lambda: models.ResNet(BasicBlock, "1111"), "ResNet: layers must be four ints, .* got '1111'"),
        (lambda: models.ResNet(BasicBlock, [1, 1, 1, 1.5]), "ResNet: layers must be an int or 4 ints"),
        (lambda: models.ConvNeXt(1, [8]), "ConvNeXt: layers must be a list with one int per stage, got 1"),
        (lambda: models.ConvNeXt([1], [8.5]), r"ConvNeXt: widths must be an int, got \[8.5\]"),
    ],
)
def test_wrong_types_are_refused(make, message):
    with pytest.raises(TypeError, match=message):
        make()


@pytest.mark.parametrize("make, message", REFUSED)
def test_refusals(blank_weights, make, message):
    with pytest.raises(ValueError, match=message):
        make()


# ---------------------------------------------------------------------------------------------- torchvision
@pytest.fixture(scope="module")
def torchvision():
    torch = pytest.importorskip("torch")
    for op in ("nms", "qnms"):  # its own operators may be missing; no model calls them
        if not hasattr(torch.ops.torchvision, op):
            torch.library.define(f"torchvision::{op}", "(Tensor a, Tensor b, float c) -> Tensor")
    return pytest.importorskip("torchvision")


@pytest.mark.full
@pytest.mark.parametrize(
    "name",
    ["mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "densenet121", "squeezenet1_1"]
    + ["shufflenet_v2_x0_5", "resnext50_32x4d", "convnext_tiny"],
)
def test_results_like_torchvision(torchvision, name):
    import torch

    theirs = getattr(torchvision.models, name)(num_classes=5)
    fc.manual_seed(0)
    mine = random_statistics(getattr(models, name)(num_classes=5)).eval()
    theirs.load_state_dict({k: torch.tensor(v.numpy()) for k, v in mine.state_dict().items()})
    x = np.random.default_rng(0).standard_normal((2, 3, 64, 64)).astype(np.float32)
    with torch.no_grad(), fc.no_grad():
        want, got = theirs.eval()(torch.tensor(x)).numpy(), mine(x).numpy()
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * np.abs(want).max())
