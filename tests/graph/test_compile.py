"""``fc.compile``: a net for evaluation, or a training step; and programs of optimized nets."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc
from fastconv import graph, nn
from fastconv.nn import functional as F


def make():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))


def test_a_net(backend):
    net, x = make().eval(), fc.randn(2, 3, 8, 8)
    fast = fc.compile(net)
    for _ in range(3):
        np.testing.assert_allclose(fast(x).numpy(), net(x).numpy(), rtol=1e-4, atol=1e-5)


def test_a_step():
    net = make()
    optimizer = fc.optim.SGD(net.parameters(), lr=0.1)

    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss

    fast, x, y = fc.compile(step, net, optimizer), fc.randn(4, 3, 8, 8), fc.tensor([0, 1, 1, 0])
    losses = [fast(x, y).item() for _ in range(5)]
    assert losses[-1] < losses[0]


def test_what_it_refuses():
    net = make()
    optimizer = fc.optim.SGD(net.parameters(), lr=0.1)
    with pytest.raises(
        ValueError, match="compile: the net is in training mode; call net.eval.. first, or give"
    ):
        fc.compile(net)
    with pytest.raises(TypeError, match="compile: net and optimizer belong to a step"):
        fc.compile(net.eval(), net, optimizer)
    with pytest.raises(TypeError, match="compile: expected a Module or a function, got int"):
        fc.compile(3)
    with pytest.raises(
        TypeError, match=r"compile: compile.step, net, optimizer. takes .* got NoneType, NoneType"
    ):
        fc.compile(lambda x, y: x)


def test_the_program_of_an_optimized_net(tmp_path, backend):
    """It has the layers on their own and the names of the net's tensors, so it can be saved."""
    net, x = make().eval(), fc.randn(2, 3, 8, 8)
    with fc.backend(backend):
        fast = fc.optimize_for_inference(net)
        fast(x)
        program = graph.trace(fast, x)
        assert str(program) == str(graph.trace(net, x))
        program.save(tmp_path / "net.safetensors")
        got = graph.load(tmp_path / "net.safetensors")(x)
        np.testing.assert_allclose(got.numpy(), net(x).numpy(), rtol=1e-5, atol=1e-6)
