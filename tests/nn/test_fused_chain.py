"""Chains of small layers as one op: the same numbers as layer by layer in every pass, or not fused at all."""

from __future__ import annotations

import numpy as np
import pytest
from support.selection import full

import fastconv as fc
from fastconv import models, nn
from fastconv.backends import load
from fastconv.nn import fused_chain


class Layerwise(nn.Module):
    """The same modules, called one after the other."""

    def __init__(self, net):
        super().__init__()
        self.layers = nn.ModuleList(list(net))

    def forward(self, x):
        for m in self.layers:
            x = m(x)
        return x


def net(name):
    fc.manual_seed(1)
    return {
        "lenet": lambda: (models.lenet5(), (1, 28, 28)),
        "modern": lambda: (models.lenet5(modern=True), (1, 28, 28)),
        "strides": lambda: (
            nn.Sequential(
                nn.Conv2d(3, 7, 3, stride=2, padding=2),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Tanh(),
                nn.Conv2d(7, 5, (1, 2), bias=False),
                nn.AvgPool2d(3),
                nn.Flatten(),
                nn.Linear(5, 4, bias=False),
            ),
            (3, 17, 20),
        ),
        "dense": lambda: (
            nn.Sequential(nn.Flatten(), nn.Linear(12, 33), nn.Sigmoid(), nn.Linear(33, 3)),
            (3, 2, 2),
        ),
        "convolutions": lambda: (
            nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 6, 5), nn.Tanh()),
            (2, 9, 8),
        ),
    }[name]()


def results(network, x, gy, needs_x=True):
    for p in network.parameters():
        p.grad = None
    x = fc.tensor(x, requires_grad=needs_x)
    y = network(x)
    y.backward(fc.from_numpy(gy))
    return [a.numpy().copy() for a in (y, *[x.grad] * needs_x, *(p.grad for p in network.parameters()))]


def assert_close(found, expected):
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-5 * max(np.abs(b).max(), 1e-3))


def runs(monkeypatch):
    """Counts the fused chains."""
    count = []
    original = fused_chain.FusedChain.apply.__func__
    counted = classmethod(lambda c, *a, **k: count.append(1) or original(c, *a, **k))
    monkeypatch.setattr(fused_chain.FusedChain, "apply", counted)
    return count


@pytest.mark.parametrize("batch", [1, 5, 16, 37])
@pytest.mark.parametrize("name", ["lenet", "modern", "strides", "dense", "convolutions"])
def test_equals_layer_by_layer(name, batch):
    """With batches smaller than a block of images and larger; compared with the reference engine."""
    network, shape = net(name)
    rng = np.random.default_rng(batch)
    x = rng.standard_normal((batch, *shape)).astype(np.float32)
    with fc.backend("cpu"):
        gy = rng.standard_normal(Layerwise(network)(fc.from_numpy(x)).shape).astype(np.float32)
        found = results(network, x, gy)
        with fc.no_grad():
            np.testing.assert_allclose(network(fc.from_numpy(x)).numpy(), found[0], rtol=0, atol=1e-6)
    with fc.backend("numpy"):
        for p in network.parameters():
            p.grad = None
        expected = results(Layerwise(network), x, gy)
    assert_close(found, expected)


def random_net(rng):
    """A net of convolutions, activations, pooling and perhaps dense layers, and the shape of its image.

    The first two convolutions, and pooling between them, are small enough to be fused.
    """
    channels, size = int(rng.choice([1, 3, 4, 16, 17])), rng.integers(12, 30, 2)
    shape, layers = (channels, *map(int, size)), []
    for i in range(rng.integers(2, 5)):
        out, kernel, stride = int(rng.integers(1, 25)), rng.integers(1, 6, 2), rng.integers(1, 3, 2)
        out = min(out, 512 // channels) if i < 2 else out
        padding = np.minimum(rng.integers(0, 3, 2), kernel - 1)
        if any(size + 2 * padding < kernel):
            break
        options = (tuple(map(int, v)) for v in (kernel, stride, padding))
        layers.append(nn.Conv2d(channels, out, *options, bias=bool(rng.integers(4))))
        channels, size = out, (size + 2 * padding - kernel) // stride + 1
        layers += [layer() for layer in (nn.ReLU, nn.Sigmoid, nn.Tanh) if not rng.integers(3)][:1]
        window, step, pad = int(rng.integers(1, 4)), int(rng.integers(1, 4)), int(rng.integers(2)) * (i > 0)
        if rng.integers(4) and min(size) >= window > 2 * pad:
            ceil = bool(i and rng.integers(2))
            layers.append([nn.AvgPool2d, nn.MaxPool2d][rng.integers(2)](window, step, pad, ceil_mode=ceil))
            layers += [nn.Tanh()] * int(rng.integers(2))
            size = np.array(nn.Sequential(*layers)(fc.zeros((1, *shape))).shape[2:])
    if rng.integers(2):
        layers += [nn.Flatten(), nn.Linear(channels * int(np.prod(size)), 9), nn.ReLU(), nn.Linear(9, 3)]
    return nn.Sequential(*layers), shape


@pytest.mark.parametrize("seed", [*range(5), *full(*range(5, 24))])
def test_random_nets(seed, monkeypatch):
    """Equal to layer by layer: with and without a gradient of the input, and without a tape."""
    rng, count = np.random.default_rng(seed), runs(monkeypatch)
    fc.manual_seed(seed)
    with fc.backend("cpu"):
        network, shape = random_net(rng)
        dtype = np.float64 if seed % 6 == 5 else np.float32
        network = network.double() if dtype == np.float64 else network
        x = rng.standard_normal((int(rng.integers(1, 50)), *shape)).astype(dtype)
        # Winograd's rounding could decide a maximum or a ReLU in another way.
        with fc.conv_algorithm("direct"):
            expected = Layerwise(network)(fc.from_numpy(x)).numpy()
        gy = rng.standard_normal(expected.shape).astype(dtype)
        count.clear()
        for needs_x in (True, False):
            found = results(network, x, gy, needs_x)
            assert count
            with fc.conv_algorithm("direct"):
                assert_close(found, results(Layerwise(network), x, gy, needs_x))
        with fc.no_grad():
            assert_close([network.eval()(fc.from_numpy(x)).numpy()], [expected])


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_and_repetition(threads):
    """Bit-identical from run to run, close for any number of threads, and grads accumulate."""
    if threads > fc.get_num_threads():
        pytest.skip(f"{threads} threads on {fc.get_num_threads()} processors")
    before = fc.get_num_threads()
    network, shape = net("lenet")
    rng = np.random.default_rng(0)
    x, gy = (
        rng.standard_normal((70, *shape)).astype(np.float32),
        rng.standard_normal((70, 10)).astype(np.float32),
    )
    with fc.backend("cpu"):
        expected = results(Layerwise(network), x, gy)
        try:
            fc.set_num_threads(threads)
            first, second = results(network, x, gy), results(network, x, gy)
            network(fc.from_numpy(x)).backward(fc.from_numpy(gy))  # a second gradient on top
        finally:
            fc.set_num_threads(before)
    for a, b in zip(first, second):
        np.testing.assert_array_equal(a, b)
    assert_close(first, expected)
    for p, g in zip(network.parameters(), first[2:]):
        np.testing.assert_allclose(p.grad.numpy(), 2 * g, rtol=1e-5, atol=1e-5 * np.abs(g).max())


def test_used_for_lenet_and_not_where_it_must_not(monkeypatch):
    count = runs(monkeypatch)
    x = np.zeros((32, 1, 28, 28), np.float32)

    class Own(nn.Sigmoid):
        def forward(self, x):
            return x

    def merged(network, x=x, backend="cpu"):
        count.clear()
        with fc.backend(backend):
            network(fc.from_numpy(x))
        return len(count)

    assert hasattr(load("cpu"), "fused_chain_plan")
    assert merged(net("lenet")[0]) == 1
    assert merged(net("lenet")[0], backend="numpy") == 0
    assert (
        merged(
            nn.Sequential(nn.Conv2d(64, 256, 3, padding=1), nn.ReLU()), np.zeros((8, 64, 56, 56), np.float32)
        )
        == 0
    )
    stem = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2), nn.ReLU(), nn.MaxPool2d(3, 2))
    assert merged(stem, np.zeros((8, 3, 32, 32), np.float32)) == 1
    assert merged(stem, np.zeros((8, 3, 224, 224), np.float32)) == 0  # a block would outgrow the caches
    assert merged(nn.Sequential(Own(), Own()), x) == 0
    with fc.conv_algorithm("direct"):
        network = nn.Sequential(nn.Conv2d(1, 4, 5), nn.Sigmoid())
        assert merged(network) == 0


class Shifted(nn.Sigmoid):
    """Computes something else than the layer whose ``fusion_steps`` it inherits."""

    def forward(self, x):
        return super().forward(x) - 0.5


class Same(nn.Sigmoid):
    """Computes the same, but does not say so."""


class SaysSo(nn.Sigmoid):
    """Computes the same and takes part in chains."""

    fusion_steps = nn.Sigmoid.fusion_steps


class Own(nn.Module):
    """A dense layer that fastconv knows nothing about."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(12, 9)

    def forward(self, x):
        return self.inner(x)

    def fusion_steps(self, shape):
        return self.inner.fusion_steps(shape)


@pytest.mark.parametrize("kind", [Shifted, Same, SaysSo, nn.Sigmoid, "given"])
def test_only_a_class_that_defines_fusion_steps_is_fused(kind, monkeypatch):
    """A subclass may compute something else; so may a ``forward`` that was assigned to one layer."""
    engine, seen = load("cpu"), []
    plan = engine.fused_chain_plan
    monkeypatch.setattr(engine, "fused_chain_plan", lambda steps, d: seen.append(steps) or plan(steps, d))
    layer = nn.Sigmoid() if kind == "given" else kind()
    if kind == "given":
        layer.forward = lambda x: x * 3.0
    network = nn.Sequential(
        nn.Conv2d(3, 4, 2), layer, nn.Conv2d(4, 3, 2), nn.Flatten(), Own(), nn.Linear(9, 3)
    )
    x = np.random.default_rng(0).standard_normal((16, 3, 4, 4)).astype(np.float32)
    gy = np.ones((16, 3), np.float32)
    with fc.backend("cpu"):
        expected, count = results(Layerwise(network), x, gy), runs(monkeypatch)
        assert_close(results(network, x, gy), expected)
    end = ["conv", "flatten", "linear", "linear"]
    fused = kind in (SaysSo, nn.Sigmoid)
    assert len(count) == 1 and [k for k, _ in seen[-1]] == ["conv", "sigmoid"] * fused + end


def test_tensors_of_another_dtype_are_reported_by_their_layer():
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 9), nn.Tanh(), nn.Linear(9, 3).double())
    with fc.backend("cpu"), pytest.raises(TypeError, match="linear: .*float64"):
        network(fc.zeros(4, 3, 2, 2))


def test_optimized_for_inference():
    """What is folded or left out is no step of its own; the rest is one chain."""
    fc.manual_seed(3)
    network = nn.Sequential(
        nn.Conv2d(2, 5, 3),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.MaxPool2d(2),
        nn.Conv2d(5, 4, 2),
        nn.Flatten(),
        nn.Linear(36, 8),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        nn.Linear(8, 3),
    ).eval()
    network[1].running_mean.data = fc.randn(5)
    x = fc.randn(21, 2, 10, 10)
    with fc.backend("cpu"), fc.no_grad():
        expected = Layerwise(network)(x).numpy()
        fast = fc.optimize_for_inference(network)
        assert_close([fast(x).numpy()], [expected])
        (program,) = fast.forward.programs
        assert [call.op for call in program.calls] == ["fused_chain_fwd"]


def test_training_is_the_same():
    """Some steps of SGD with and without fused chains end at the same weights."""
    rng = np.random.default_rng(2)
    x, y = rng.random((64, 1, 28, 28), np.float32), rng.integers(0, 10, 64)
    ends = []
    with fc.backend("cpu"):
        for wrap in (lambda n: n, Layerwise):
            network = wrap(net("lenet")[0])
            optimizer, loss = fc.optim.SGD(network.parameters(), lr=0.5), nn.CrossEntropyLoss()
            for _ in range(5):
                optimizer.zero_grad()
                loss(network(fc.from_numpy(x)), fc.from_numpy(y)).backward()
                optimizer.step()
            ends.append([p.detach().numpy() for p in network.parameters()])
    for a, b in zip(*ends):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-6)
