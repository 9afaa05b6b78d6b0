"""Training in a steady state allocates nothing large, and keeps for backward no more than it needs."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import fastconv as fc
from fastconv import models, nn, optim
from fastconv.backends.cpu import memory

NETS = {
    "lenet": (models.lenet5, (32, 1, 28, 28)),
    "resnet18": (lambda: models.resnet18(num_classes=10, small_input=True), (4, 3, 16, 16)),
}


@pytest.mark.parametrize("name", NETS)
def test_no_fresh_memory_in_a_steady_step(name):
    make, shape = NETS[name]
    rng = np.random.default_rng(0)
    with fc.backend("cpu"):
        net, loss = make(), nn.CrossEntropyLoss()
        x, y = fc.from_numpy(rng.random(shape, np.float32)), fc.from_numpy(rng.integers(0, 10, shape[0]))
        optimizer = optim.SGD(net.parameters(), lr=0.01, momentum=0.9)

        def step():
            value = loss(net(x), y)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()

        for _ in range(4):
            step()
        gc.collect()
        before = memory.statistics()
        for _ in range(3):
            step()
        after = memory.statistics()
    assert after["taken"] > before["taken"], "the pool is used"
    assert after["fresh"] == before["fresh"]
    assert after["used_bytes"] <= before["used_bytes"]


def test_relu_keeps_its_output_only():
    """Between forward and backward a ReLU holds no array besides the one it returned."""
    with fc.backend("cpu"):
        x = fc.from_numpy(np.ones((4, 64, 32, 32), np.float32))
        x.requires_grad = True
        gc.collect()
        before = memory.statistics()["used_bytes"]
        h = nn.functional.relu(x * 2.0)  # the product is kept by nobody once ReLU has read it
        gc.collect()
        kept = memory.statistics()["used_bytes"] - before
    assert h.numpy().nbytes <= kept < 1.2 * h.numpy().nbytes
