"""The networks: parameters counted and named as published, and what they compute."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import models


def count(net):
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    "build, options, parameters",
    [
        (models.lenet5, {}, 61_706),
        (models.resnet18, {}, 11_689_512),
        (models.resnet34, {}, 21_797_672),
        (models.resnet50, {}, 25_557_032),
        (models.resnet18, {"num_classes": 10, "small_input": True}, 11_173_962),
    ],
)
def test_parameter_counts(build, options, parameters):
    assert count(build(**options)) == parameters


def test_resnet_names_and_shapes_are_torchvision_s():
    state = models.resnet18().state_dict()
    assert len(state) == 122  # 62 parameters and 20 x (running_mean, running_var, num_batches_tracked)
    for name, shape in {
        "conv1.weight": (64, 3, 7, 7),
        "bn1.running_mean": (64,),
        "layer1.0.conv1.weight": (64, 64, 3, 3),
        "layer2.0.downsample.0.weight": (128, 64, 1, 1),
        "layer2.0.downsample.1.bias": (128,),
        "layer4.1.bn2.num_batches_tracked": (),
        "fc.weight": (1000, 512),
    }.items():
        assert state[name].shape == shape
    assert models.resnet50().state_dict()["layer3.5.conv3.weight"].shape == (1024, 256, 1, 1)


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
