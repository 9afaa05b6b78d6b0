"""The networks: parameters named as in torchvision, initialised as in the papers, and their results."""

import numpy as np
import pytest
from support.selection import full

import fastconv as fc
from fastconv import models, nn


def count(net):
    return sum(p.numel() for p in net.parameters())


# Parameters as torchvision and the papers publish them; multiply-adds of one image.
PUBLISHED = [
    ("lenet5", {}, (1, 1, 28, 28), 61_706, 416_520),
    ("alexnet", {}, (1, 3, 224, 224), 61_100_840, 714_188_480),
    ("vgg11", {}, (1, 3, 224, 224), 132_863_336, 7_609_090_048),
    ("vgg13", {}, (1, 3, 224, 224), 133_047_848, 11_308_466_176),
    ("vgg16", {}, (1, 3, 224, 224), 138_357_544, 15_470_264_320),
    ("vgg19", {}, (1, 3, 224, 224), 143_667_240, 19_632_062_464),
    ("vgg11", {"batch_norm": True}, (1, 3, 224, 224), 132_868_840, 7_609_090_048),
    ("vgg13", {"batch_norm": True}, (1, 3, 224, 224), 133_053_736, 11_308_466_176),
    ("vgg16", {"batch_norm": True}, (1, 3, 224, 224), 138_365_992, 15_470_264_320),
    ("vgg19", {"batch_norm": True}, (1, 3, 224, 224), 143_678_248, 19_632_062_464),
    ("resnet18", {}, (1, 3, 224, 224), 11_689_512, 1_814_073_344),
    ("resnet34", {}, (1, 3, 224, 224), 21_797_672, 3_663_761_408),
    ("resnet50", {}, (1, 3, 224, 224), 25_557_032, 4_089_184_256),
    ("resnet18", {"num_classes": 10, "small_input": True}, (1, 3, 32, 32), 11_173_962, 555_422_720),
]


@pytest.mark.parametrize("name, options, shape, parameters, macs", PUBLISHED)
def test_published_counts(blank_weights, name, options, shape, parameters, macs):
    net = getattr(models, name)(**options)
    s = fc.summary(net, shape)
    assert (count(net), s.total_params, s.total_macs) == (parameters, parameters, macs)
    assert s.layers[-1].output_shape == (1, options.get("num_classes", 10 if name == "lenet5" else 1000))


# ------------------------------------------------------------------------------------------------- names and
# shapes
CLASSIFIER = {0: (4096, 25088), 3: (4096, 4096), 6: (1000, 4096)}
# Positions of the convolutions in torchvision's ``features``, and their output channels.
VGG_CONVS = {
    ("vgg11", False): [0, 3, 6, 8, 11, 13, 16, 18],
    ("vgg13", False): [0, 2, 5, 7, 10, 12, 15, 17, 20, 22],
    ("vgg16", False): [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28],
    ("vgg19", False): [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34],
    ("vgg11", True): [0, 4, 8, 11, 15, 18, 22, 25],
    ("vgg13", True): [0, 3, 7, 10, 14, 17, 21, 24, 28, 31],
    ("vgg16", True): [0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40],
    ("vgg19", True): [0, 3, 7, 10, 14, 17, 20, 23, 27, 30, 33, 36, 40, 43, 46, 49],
}
VGG_CHANNELS = {
    "vgg11": [64, 128, 256, 256, 512, 512, 512, 512],
    "vgg13": [64, 64, 128, 128, 256, 256, 512, 512, 512, 512],
    "vgg16": [64, 64, 128, 128, *[256] * 3, *[512] * 6],
    "vgg19": [64, 64, 128, 128, *[256] * 4, *[512] * 8],
}


def conv_and_bias(prefix, shape):
    return {f"{prefix}.weight": shape, f"{prefix}.bias": shape[:1]}


def norm(prefix, channels):
    vectors = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (channels,))
    return {f"{prefix}.{name}": shape for name, shape in {**vectors, "num_batches_tracked": ()}.items()}


def alexnet_names():
    channels = {
        0: (64, 3, 11, 11),
        3: (192, 64, 5, 5),
        6: (384, 192, 3, 3),
        8: (256, 384, 3, 3),
        10: (256, 256, 3, 3),
    }
    dense = {1: (4096, 9216), 4: (4096, 4096), 6: (1000, 4096)}
    found = {}
    for part, layers in (("features", channels), ("classifier", dense)):
        for i, shape in layers.items():
            found |= conv_and_bias(f"{part}.{i}", shape)
    return found


def vgg_names(name, batch_norm):
    found, c_in = {}, 3
    for i, c_out in zip(VGG_CONVS[name, batch_norm], VGG_CHANNELS[name], strict=True):
        found |= conv_and_bias(f"features.{i}", (c_out, c_in, 3, 3))
        found |= norm(f"features.{i + 1}", c_out) if batch_norm else {}
        c_in = c_out
    for i, shape in CLASSIFIER.items():
        found |= conv_and_bias(f"classifier.{i}", shape)
    return found


def resnet_names(blocks, bottleneck):
    found, c_in = {"conv1.weight": (64, 3, 7, 7), **norm("bn1", 64)}, 64
    for stage, n in enumerate(blocks):
        width = 64 * 2**stage
        c_out = 4 * width if bottleneck else width
        for i in range(n):
            at = f"layer{stage + 1}.{i}"
            kernels = [(width, c_in, 1), (width, width, 3), (c_out, width, 1)]
            for j, (o, c, k) in enumerate(
                kernels if bottleneck else [(width, c_in, 3), (width, width, 3)], 1
            ):
                found |= {f"{at}.conv{j}.weight": (o, c, k, k), **norm(f"{at}.bn{j}", o)}
            if i == 0 and c_in != c_out:
                found |= {
                    f"{at}.downsample.0.weight": (c_out, c_in, 1, 1),
                    **norm(f"{at}.downsample.1", c_out),
                }
            c_in = c_out
    return found | {"fc.weight": (1000, c_in), "fc.bias": (1000,)}


@pytest.mark.parametrize(
    "make, expected",
    [
        (models.alexnet, alexnet_names()),
        *[(lambda n=n, b=b: getattr(models, n)(batch_norm=b), vgg_names(n, b)) for n, b in VGG_CONVS],
        (models.resnet18, resnet_names((2, 2, 2, 2), False)),
        (models.resnet34, resnet_names((3, 4, 6, 3), False)),
        (models.resnet50, resnet_names((3, 4, 6, 3), True)),
    ],
    ids=["alexnet", *[f"{n}{'_bn' * b}" for n, b in VGG_CONVS], "resnet18", "resnet34", "resnet50"],
)
def test_names_shapes_and_order_are_torchvisions(blank_weights, make, expected):
    assert list({k: v.shape for k, v in make().state_dict().items()}.items()) == list(expected.items())


def test_options(blank_weights):
    for name in ("alexnet", "vgg11", "resnet18"):
        net = getattr(models, name)(num_classes=7, in_channels=1)
        assert fc.summary(net, (2, 1, 64, 64)).layers[-1].output_shape == (2, 7)
    assert [m.p for m in models.vgg11(dropout=0.2).modules() if isinstance(m, nn.Dropout)] == [0.2, 0.2]
    assert models.vgg16.__name__ == "vgg16" and "138,357,544" in models.vgg16.__doc__
    with pytest.raises(ValueError, match="vgg: config must be one of A, A-LRN, B, C, D, E, got 'F'"):
        models.vgg("F")


# -------------------------------------------------------------------------------------------------
# initialisation
@pytest.mark.parametrize("name", ["vgg11", "resnet18", "resnet50"])
def test_initialisation(monkeypatch, name):
    """Convolutions are normal with variance 2 / fan out; dense layers of VGG are normal with 0.01."""
    drawn = {}
    monkeypatch.setattr(
        nn.init, "normal_", lambda t, mean=0.0, std=1.0, generator=None: drawn.update({t: (mean, std)}) or t
    )
    monkeypatch.setattr(nn.init, "uniform_", lambda t, a, b, generator=None: drawn.update({t: (a, b)}) or t)
    net = getattr(models, name)()
    for m in net.modules():
        if isinstance(m, nn.Conv2d):
            assert drawn[m.weight] == (
                0.0,
                pytest.approx((2 / (m.weight.shape[0] * m.kernel_size[0] ** 2)) ** 0.5),
            )
        elif isinstance(m, nn.Linear) and name == "vgg11":
            assert drawn[m.weight] == (0, 0.01)
        elif isinstance(m, nn.Linear):
            assert drawn[m.weight] == (
                pytest.approx(-(m.in_features**-0.5)),
                pytest.approx(m.in_features**-0.5),
            )
    if name == "vgg11":
        assert all(not m.bias.numpy().any() for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear)))


# ------------------------------------------------------------------------------------------------- what they
# compute
def fill(net, rng):
    """Weights that keep the size of the signal, and running statistics unlike those at the start."""
    for k, t in net.state_dict().items():
        if k.endswith("num_batches_tracked"):
            continue
        scale = np.sqrt(2 / np.prod(t.shape[1:])) if t.ndim > 1 else 0.1
        values = rng.standard_normal(t.shape, np.float32) * np.float32(scale)
        t[...] = np.abs(values) + 0.5 if "var" in k else values + ("bn" in k and k.endswith("weight"))
    return net.eval()


def in_torch(net, torch):
    """The network written out for PyTorch, by the names of its state dict alone."""
    TF, w = torch.nn.functional, {k: torch.from_numpy(v.numpy()) for k, v in net.state_dict().items()}

    def conv(x, at, **options):
        return TF.conv2d(x, w[f"{at}.weight"], w.get(f"{at}.bias"), **options)

    def bn(x, at):
        return TF.batch_norm(x, *(w[f"{at}.{v}"] for v in ("running_mean", "running_var", "weight", "bias")))

    def dense(x, at):
        return TF.linear(x, w[f"{at}.weight"], w[f"{at}.bias"])

    def alexnet(x):
        x = TF.max_pool2d(conv(x, "features.0", stride=4, padding=2).relu(), 3, 2)
        x = TF.max_pool2d(conv(x, "features.3", padding=2).relu(), 3, 2)
        for i in (6, 8, 10):
            x = conv(x, f"features.{i}", padding=1).relu()
        x = TF.adaptive_avg_pool2d(TF.max_pool2d(x, 3, 2), 6).flatten(1)
        return dense(dense(dense(x, "classifier.1").relu(), "classifier.4").relu(), "classifier.6")

    def resnet(x, bottleneck):
        x = TF.max_pool2d(bn(conv(x, "conv1", stride=2, padding=3), "bn1").relu(), 3, 2, 1)
        for stage in range(1, 5):
            i = 0
            while f"layer{stage}.{i}.conv1.weight" in w:
                at, y, step = f"layer{stage}.{i}", x, 2 if stage > 1 and i == 0 else 1
                last = 3 if bottleneck else 2
                for j in range(1, last + 1):
                    k = w[f"{at}.conv{j}.weight"].shape[-1]
                    strided = j == (2 if bottleneck else 1)
                    y = bn(
                        conv(y, f"{at}.conv{j}", padding=k // 2, stride=step if strided else 1), f"{at}.bn{j}"
                    )
                    y = y.relu() if j < last else y
                if f"{at}.downsample.0.weight" in w:
                    x = bn(conv(x, f"{at}.downsample.0", stride=step), f"{at}.downsample.1")
                x, i = (x + y).relu(), i + 1
        return dense(x.mean((2, 3)), "fc")

    return {"alexnet": alexnet, "resnet18": lambda x: resnet(x, False), "resnet50": lambda x: resnet(x, True)}


@pytest.mark.parametrize("name", ["resnet18", *full("alexnet", "resnet50")])
def test_a_state_dict_means_the_same_in_pytorch(blank_weights, name):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    net = fill(getattr(models, name)(num_classes=10), rng)
    x = rng.standard_normal((2, 3, 96, 80)).astype(np.float32)
    with torch.no_grad():
        want = in_torch(net, torch)[name](torch.from_numpy(x)).numpy()
    with fc.no_grad(), fc.backend("numpy"):
        got = net(x).numpy()
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-5 * np.abs(want).max())


@pytest.mark.parametrize("config", ["A-LRN", "C", *full("A", "B", "D", "E")])
def test_vgg_features_by_the_papers_table(blank_weights, config):
    """Column by column as the paper prints them: conv<kernel>-<channels>, M for max-pooling, LRN."""
    torch = pytest.importorskip("torch")
    TF = torch.nn.functional
    columns = {
        "A": "3-64 M 3-128 M 3-256 3-256 M 3-512 3-512 M 3-512 3-512 M",
        "A-LRN": "3-64 LRN M 3-128 M 3-256 3-256 M 3-512 3-512 M 3-512 3-512 M",
        "B": "3-64 3-64 M 3-128 3-128 M 3-256 3-256 M 3-512 3-512 M 3-512 3-512 M",
        "C": "3-64 3-64 M 3-128 3-128 M 3-256 3-256 1-256 M 3-512 3-512 1-512 M 3-512 3-512 1-512 M",
        "D": "3-64 3-64 M 3-128 3-128 M 3-256 3-256 3-256 M 3-512 3-512 3-512 M 3-512 3-512 3-512 M",
        "E": "3-64 3-64 M 3-128 3-128 M 3-256 3-256 3-256 3-256 M 3-512 3-512 3-512 3-512 M "
        "3-512 3-512 3-512 3-512 M",
    }
    rng = np.random.default_rng(0)
    net = fill(models.vgg(config).features, rng)
    x = rng.standard_normal((1, 3, 32, 32)).astype(np.float32)
    weights, y = list(net.parameters()), torch.from_numpy(x)
    for word in columns[config].split():
        if word == "M":
            y = TF.max_pool2d(y, 2)
        elif word == "LRN":  # x / (2 + 1e-4 * sum over 5 channels of x^2) ** 0.75
            squares = TF.pad(y**2, (0, 0, 0, 0, 2, 2))
            y = y / (2 + 1e-4 * sum(squares[:, i : i + y.shape[1]] for i in range(5))) ** 0.75
        else:
            w, b, *weights = weights
            kernel, width = map(int, word.split("-"))
            assert w.shape[0] == width and w.shape[2:] == (kernel, kernel)
            y = TF.conv2d(
                y, *(torch.from_numpy(t.detach().numpy()) for t in (w, b)), padding=kernel // 2
            ).relu()
    assert weights == [] and y.shape == (1, 512, 1, 1)
    with fc.no_grad(), fc.backend("numpy"):
        got = net(x).numpy()
    np.testing.assert_allclose(got, y.numpy(), rtol=0, atol=2e-5 * float(y.abs().max()))


@pytest.mark.full
def test_resnet_agrees_between_backends_and_learns(backend):
    fc.manual_seed(0)
    net = models.resnet18(num_classes=3, in_channels=1, small_input=True)
    x, y = np.random.default_rng(0).standard_normal((6, 1, 8, 8)).astype("f4"), np.arange(6) % 3
    with fc.backend("numpy"):
        expected = net.eval()(x).numpy().copy()
    np.testing.assert_allclose(net(x).numpy(), expected, rtol=1e-3, atol=1e-3)
    net.train()
    optimizer, loss = fc.optim.SGD(net.parameters(), lr=0.01, momentum=0.9), fc.nn.CrossEntropyLoss()
    losses = []
    for _ in range(4):
        value = loss(net(x), y)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    assert losses[-1] < 0.5 * losses[0]
