"""fc.summary and fc.profile: what they count, whom they blame, and that they leave a network as it was."""

from __future__ import annotations

import json
import time
import tracemalloc

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.inspect import profiling
from fastconv.nn import functional as F


class Residual(nn.Module):
    """Functions called in forward, a shortcut, a layer used twice, a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.scale = nn.Parameter(fc.ones(4, 4, 1, 1))
        self.act = nn.ReLU()
        self.unused = nn.Linear(3, 3)

    def forward(self, x):
        y = self.act(self.conv(x))
        y = F.conv2d(y, self.scale)
        y = self.act(y + x)
        return F.linear(y.mean((2, 3)), self.scale.reshape(4, 4))


def rows(found):
    return {x.name: x for x in found.layers}


# ------------------------------------------------------------------------------------------------- summary
def test_summary_of_a_chain(backend):
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(8 * 4 * 4, 10),
    )
    s = fc.summary(net, (2, 3, 16, 16))
    found = [
        (x.type, x.output_shape, x.params, x.macs, x.activation_bytes, x.receptive_field) for x in s.layers
    ]
    assert found == [
        ("Conv2d", (2, 8, 8, 8), 8 * 3 * 9 + 8, 2 * 8 * 64 * 27, 4096, 3),
        ("BatchNorm2d", (2, 8, 8, 8), 16, 0, 4096, 3),
        ("ReLU", (2, 8, 8, 8), 0, 0, 4096, 3),
        ("MaxPool2d", (2, 8, 4, 4), 0, 0, 1024, 5),
        ("Flatten", (2, 128), 0, 0, 0, None),
        ("Dropout", (2, 128), 0, 0, 0, None),
        ("Linear", (2, 10), 1290, 2 * 1280, 80, None),
    ]
    assert (s.total_params, s.param_bytes) == (1530, 6120)
    assert (s.total_macs, s.total_flops) == (27648 + 2560, 2 * (27648 + 2560))
    assert s.activation_bytes == 3 * 4096 + 1024 + 80
    assert json.loads(json.dumps(s.to_dict()))["layers"][0]["macs"] == 27648
    lines = str(s).splitlines()
    assert lines[0] == "Sequential, input 2x3x16x16" and lines[3].split() == [
        "0",
        "Conv2d",
        "2x8x8x8",
        "224",
        "27,648",
        "4,096",
        "3",
    ]
    assert "30,208 multiply-adds = 60,416 FLOPs" in lines[-1]


def test_summary_sees_functions_shortcuts_and_shared_layers():
    net = Residual()
    s = fc.summary(net, (1, 4, 6, 6))
    assert [(x.name, x.type, x.params, x.macs) for x in s.layers] == [
        ("", "Residual", 16, 36 * 16 + 16),
        ("conv", "Conv2d", 148, 36 * 16 * 9),
        ("act", "ReLU", 0, 0),
        ("act", "ReLU", 0, 0),
    ]
    assert [x.receptive_field for x in s.layers] == [None, 3, 3, 3]  # the shortcut sees 1, the other path 3
    assert s.total_params == 148 + 16 + 12  # those never called included
    assert "(top)" in str(s)


@pytest.mark.parametrize(
    "layer, shape, out, macs, field",
    [
        (nn.Conv1d(2, 3, 5, stride=2, dilation=2), (1, 2, 20), (1, 3, 6), 6 * 30, 9),
        (nn.Conv2d(2, 4, (3, 5), groups=2), (1, 2, 9, 9), (1, 4, 7, 5), 35 * 4 * 15, (3, 5)),
        (nn.Conv3d(1, 2, 3), (1, 1, 4, 5, 6), (1, 2, 2, 3, 4), 24 * 2 * 27, 3),
        (
            nn.ConvTranspose2d(3, 2, 4, stride=2, padding=1),
            (1, 3, 5, 5),
            (1, 2, 10, 10),
            25 * 3 * 2 * 16,
            None,
        ),
        (nn.AdaptiveAvgPool2d(2), (1, 1, 8, 6), (1, 1, 2, 2), 0, (4, 3)),
        (nn.AdaptiveAvgPool2d(3), (1, 1, 8, 6), (1, 1, 3, 3), 0, None),
        (nn.AdaptiveMaxPool2d(1), (1, 1, 8, 8), (1, 1, 1, 1), 0, 8),
        (nn.AvgPool2d(3, stride=1), (1, 1, 8, 8), (1, 1, 6, 6), 0, 3),
        (nn.LocalResponseNorm(5), (1, 8, 4, 4), (1, 8, 4, 4), 0, 1),
        (nn.GroupNorm(2, 8), (1, 8, 4, 4), (1, 8, 4, 4), 0, 1),
        (nn.Upsample(scale_factor=2), (1, 1, 4, 4), (1, 1, 8, 8), 0, None),
        (nn.Linear(4, 6), (2, 3, 4), (2, 3, 6), 2 * 3 * 24, None),
        (nn.LayerNorm(4), (2, 4), (2, 4), 0, None),
    ],
    ids=lambda v: repr(v).replace(" ", "") if isinstance(v, nn.Module) else "",
)
def test_summary_of_layers(layer, shape, out, macs, field):
    s = fc.summary(layer, shape)
    (row,) = s.layers
    assert (row.output_shape, row.macs, row.receptive_field) == (out, macs, field)
    assert row.output_shape == layer(fc.zeros(shape)).shape
    assert s.total_params == sum(p.numel() for p in layer.parameters())


class Attention(nn.Module):
    def forward(self, x):
        return (x @ x.transpose(-2, -1)).softmax(-1) @ x


class Assigning(nn.Module):
    def forward(self, x):
        y = fc.zeros(x.shape)
        z = x * 2
        z[..., 0] = 1.0
        y[..., 1:] = z[..., :-1]
        return fc.cat([x, y], 1)


def test_summary_of_a_net_without_parameters():
    assert (
        fc.summary(
            nn.Sequential(nn.BatchNorm2d(2, affine=False), nn.Flatten()).double(), (1, 2, 3, 3)
        ).total_params
        == 0
    )
    assert fc.summary(nn.ReLU(), (1, 2)).layers[0].activation_bytes == 8


def test_summary_of_free_forms():
    assert fc.summary(Attention(), (2, 5, 3)).total_macs == 2 * (5 * 3 * 5 + 5 * 5 * 3)
    assert fc.summary(nn.Sequential(Assigning()), (1, 2, 3, 3)).layers[0].output_shape == (1, 4, 3, 3)


def test_summary_leaves_the_network_alone(backend):
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5), nn.BatchNorm2d(2).eval()
    ).double()
    arrays = [t.array for t in (*net.parameters(), *net.buffers())]
    copies = [t.numpy().copy() for t in (*net.parameters(), *net.buffers())]
    state = fc.random.get_state()
    s = fc.summary(net, (4, 1, 8, 8))
    assert s.layers[0].activation_bytes == 4 * 2 * 36 * 8  # float64
    with pytest.raises(ValueError, match="conv2d: weight expects 1 input channels .*1x3x8x8"):
        fc.summary(net, (1, 3, 8, 8))
    assert all(t.array is a for t, a in zip((*net.parameters(), *net.buffers()), arrays))
    assert all(np.array_equal(t.numpy(), b) for t, b in zip((*net.parameters(), *net.buffers()), copies))
    assert [m.training for m in net.modules()] == [True, True, True, True, False]
    assert fc.random.get_state() == state and fc.get_backend() == backend


def test_summary_of_a_large_batch_takes_no_memory(blank_weights):
    net = fc.models.vgg16()
    fc.summary(net, (1, 3, 224, 224))
    tracemalloc.start()
    s = fc.summary(net, (256, 3, 224, 224))
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert s.activation_bytes > 25e9 and used < 2e6


def test_summary_refuses():
    with pytest.raises(TypeError, match="summary: expected an nn.Module, got function"):
        fc.summary(F.relu, (1, 1))
    with pytest.raises(
        TypeError, match="summary: input_shape must be a sequence of ints, the batch included, got 3"
    ):
        fc.summary(nn.ReLU(), 3)
    with pytest.raises(ValueError, match="summary: input_shape must be at least 1"):
        fc.summary(nn.ReLU(), (0, 3))


# ------------------------------------------------------------------------------------------------- profile
def test_profile_counts_work(backend):
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.Flatten(),
        nn.Linear(8 * 64, 10),
    )
    p = fc.profile(net, np.ones((2, 3, 8, 8), np.float32), repeat=2)
    first, relu, second, flat, dense = p.layers
    work = 2 * 2 * 8 * 64 * 27  # the input needs no gradient: one pass backward
    assert (first.flops["forward"], first.flops["backward"]) == (work, work)
    assert set(first.algorithms) == {"fwd", "bwd_weight"}
    work = 2 * 2 * 8 * 64 * 72
    assert (second.flops["forward"], second.flops["backward"]) == (work, 2 * work)
    assert dense.flops == {"forward": 2 * 2 * 5120, "backward": 4 * 2 * 5120}
    assert relu.bytes["forward"] == 2 * 4096 and relu.flops["forward"] == 0 and relu.rate is None
    assert second.bytes["forward"] == 4096 + 8 * 8 * 9 * 4 + 32 + 4096
    assert [x.output_shape for x in p.layers] == [(2, 8, 8, 8)] * 3 + [(2, 512), (2, 10)]
    assert all(x.seconds[w] > 0 for x in (first, relu, second, dense) for w in ("forward", "backward"))
    assert all(sum(x.seconds[w] for x in p.layers) <= p.seconds[w] for w in ("forward", "backward"))
    assert second.rate == sum(second.flops.values()) / second.total
    # what a GPU could do at most is not known
    assert p.share(second) == (None if backend == "cuda" else second.rate / p.peak)
    assert p.plain_seconds > 0 and p.backend == backend and p.threads == fc.get_num_threads()


def test_profile_blames_the_layer_that_is_slow(monkeypatch):
    """A pause in one op shows in the row of the layer that called it, in the right direction, and nowhere
    else."""
    with fc.backend("numpy"):
        engine = fc.zeros(1).engine

        def slow(op, seconds):
            run = getattr(engine, op)
            monkeypatch.setattr(engine, op, lambda *args: time.sleep(seconds) or run(*args))

        slow("linear_fwd", 0.02)
        slow("conv_bwd_weight", 0.05)
        net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sequential(nn.ReLU(), nn.Flatten()), nn.Linear(8, 3))
        p = fc.profile(net, np.ones((1, 1, 4, 4), np.float32), repeat=3)
    times = {(x.name, which): t for x in p.layers for which, t in x.seconds.items()}
    assert times.pop(("2", "forward")) >= 0.02 and times.pop(("0", "backward")) >= 0.05
    assert max(times.values()) < 0.01
    assert p.plain_seconds >= 0.07 and abs(p.overhead) < 0.3
    assert [x.name for x in p.layers] == ["0", "1.0", "1.1", "2"]


def test_profile_shows_the_forced_algorithm(backend):
    conv = nn.Conv2d(4, 4, 3, algorithm="im2col")
    x = np.ones((1, 4, 8, 8), np.float32)
    asked = "implicit_gemm" if backend == "cuda" else "im2col"  # which is another name of it there
    assert fc.profile(conv, x, 1).layers[0].algorithm == asked
    with fc.conv_algorithm("direct"):
        net = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3))
        assert [x.algorithm for x in fc.profile(net, x, 1).layers] == ["direct", "direct"]
    mixed = profiling.LayerProfile("", "", algorithms={"fwd": "direct", "bwd_weight": "im2col"})
    assert mixed.algorithm == "direct/-/im2col"


def test_profile_leaves_the_network_alone(backend):
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5))
    x = np.random.default_rng(0).random((4, 1, 8, 8), np.float32)
    net(x).sum().backward()
    before = {k: t.numpy().copy() for k, t in net.state_dict().items()}
    grads = [(p.grad, p.grad.numpy().copy()) for p in net.parameters()]
    state = fc.random.get_state()
    fc.profile(net, x, 1)
    assert all(np.array_equal(t.numpy(), before[k]) for k, t in net.state_dict().items())
    assert all(
        p.grad is g and np.array_equal(g.numpy(), copy) for p, (g, copy) in zip(net.parameters(), grads)
    )
    assert fc.random.get_state() == state and net.training


def test_profile_without_anything_to_learn(backend):
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()).requires_grad_(False)
    p = fc.profile(net, np.ones((1, 1, 8, 8), np.float32), 1)
    assert p.seconds["backward"] == 0 and all(x.seconds["backward"] == 0 for x in p.layers)
    assert "backward 0.000 ms" in str(p)


@pytest.mark.full
def test_profile_as_table_dict_and_picture(tmp_path, capsys):
    net = fc.models.resnet18(num_classes=10, small_input=True)
    p = fc.profile(net, np.ones((2, 3, 32, 32), np.float32), 2)
    text = str(p)
    print(text.splitlines()[-1])  # the overhead measured here, shown with pytest -rP
    assert text.startswith("ResNet, input 2x3x32x32, cpu backend") and "outside the layers" in text
    assert {"layer1.0.conv1", "layer4.0.downsample.1", "fc"} <= {
        line.split()[0] for line in text.splitlines()
    }
    found = json.loads(json.dumps(p.to_dict()))
    assert found["overhead"] == p.overhead and len(found["layers"]) == len(p.layers)
    assert found["layers"][0]["share_of_peak"] == p.share(p.layers[0]) and found["layers"][0]["algorithm"]
    pytest.importorskip("matplotlib")
    from matplotlib.image import imread

    p.plot(tmp_path / "profile.png")
    assert imread(tmp_path / "profile.png")[..., :3].std() > 0.05


def test_a_network_optimized_for_inference(backend, monkeypatch):
    """Ops called with options by name, weights kept in another arrangement: by the engine, not by whoever
    looks on."""
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5)
    )
    x = np.random.default_rng(0).random((2, 3, 6, 6), np.float32)
    want, fast = net.eval()(x).numpy(), fc.optimize_for_inference(net)
    assert fc.summary(fast, x.shape).total_macs == fc.summary(net, x.shape).total_macs
    np.testing.assert_allclose(fast(x).numpy(), want, rtol=1e-5, atol=1e-5)  # not with the summary's zeros
    engine, packed = fc.zeros(1).engine, []
    prepack = engine.conv_prepack
    p = fc.profile(fast, x, 1)  # layers one at a time: together they may be one op, which packs nothing
    monkeypatch.setattr(engine, "conv_prepack", lambda w: packed.append(w) or prepack(w))
    p = fc.profile(fast, x, 1)
    assert [(row.name, row.type) for row in p.layers] == [
        ("0", "Conv2d+BatchNorm2d+ReLU"),
        ("3", "Flatten"),
        ("4", "Linear"),
    ]
    assert p.layers[0].algorithms.keys() == {"fwd"} and p.layers[0].flops["forward"] == 2 * 2 * 8 * 36 * 27
    assert not packed
    assert fc.summary(fast, x.shape).total_params == fc.summary(net, x.shape).total_params
    np.testing.assert_allclose(fast(x).numpy(), want, rtol=1e-5, atol=1e-5)


def test_profile_refuses():
    with pytest.raises(TypeError, match="profile: expected an nn.Module, got function"):
        fc.profile(F.relu, np.ones(3))
    with pytest.raises(ValueError, match="profile: repeat must be at least 1, got 0"):
        fc.profile(nn.ReLU(), np.ones((1, 2), np.float32), 0)

    class Pair(nn.Module):
        def forward(self, x):
            return x, x

    with pytest.raises(TypeError, match=r"profile: expected net\(x\) to be a Tensor, got tuple"):
        fc.profile(Pair(), np.ones((1, 2), np.float32))
    with pytest.raises(ValueError, match="conv2d: weight expects 1 input channels"):
        fc.profile(nn.Conv2d(1, 1, 3), np.ones((1, 2, 4, 4), np.float32))
    fc.ones(1)  # nobody looks on any more
    assert fc.backends.observer.get() is None
