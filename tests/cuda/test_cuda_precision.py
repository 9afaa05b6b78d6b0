"""Convolutions and nets at the precisions that use tensor cores, which every other test of ops switches off.

A test runs many cases, so that a process compiles each kernel once.
"""

from __future__ import annotations

import numpy as np
import pytest
from conftest import HAS_GPU, PTX
from support.cases import CASES
from support.rounding import distance
from support.run import reference, run

import fastconv as fc
from fastconv import nn
from fastconv.nn import functional as F

pytestmark = pytest.mark.skipif(not (HAS_GPU or PTX), reason="needs a CUDA device")

#: Relative L2 error of one convolution, of which both operands are rounded to 11 or 8 bits.
BOUNDS = {"highest": 1e-6, "high": 1e-3, "medium": 1e-2}
CONVOLUTIONS = [c for c in CASES if c.gradient and c.name.startswith("conv")]


@pytest.fixture
def at():
    """``at(precision)`` sets it until the test ends."""
    before = fc.get_float32_precision()
    yield fc.set_float32_precision
    fc.set_float32_precision(before)


@pytest.mark.parametrize("precision", ["high", "medium"])
@pytest.mark.parametrize("algorithm", ["auto", "implicit_gemm"])
def test_every_convolution(algorithm, precision, at):
    """Results and gradients of the cases of all ops; bias gradients are sums of float32 as ever."""
    at(precision)
    for case in CONVOLUTIONS:
        _, want_grads = reference(case)  # by the numpy backend, which has other algorithms
        with fc.backend("cuda"), fc.conv_algorithm(algorithm):
            y, grads = run(case, "float32")
        errors = [distance(y, case.expected), *map(distance, grads, want_grads)]
        assert np.max(errors) < BOUNDS[precision], (case.name, errors)


def net(activation):
    """Channels for wide copies and for single ones, strides, groups, a transposed convolution."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        activation(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(64),
        activation(),
        nn.Conv2d(64, 64, 3, padding=1, groups=2),
        activation(),
        nn.ConvTranspose2d(64, 20, 2, stride=2),
        activation(),
        nn.Conv2d(20, 36, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(36, 10),
    )


def step(model, x, labels):
    """The loss, the logits and all gradients."""
    model.zero_grad()
    logits = model(x)
    loss = F.cross_entropy(logits, labels)
    loss.backward()
    return [loss.numpy(), logits.numpy(), *(p.grad.numpy() for p in model.parameters())]


@pytest.mark.parametrize(
    ("precision", "bound"), [("highest", 1e-4), ("high", 2e-2), ("medium", 1e-1)], ids=lambda v: str(v)
)
def test_a_net(precision, bound, at):
    """A step of training, and the net prepared for inference, against float64 on the host.

    Errors of layers add up. Where a ReLU's input is near zero, rounding decides whether a gradient is there;
    so where tensor cores round, the activation is a smooth one. Gradients of biases before a BatchNorm are
    sums of nothing but rounding errors, so they are left out.
    """
    activation = nn.ReLU if precision == "highest" else nn.SiLU
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((4, 3, 12, 12)).astype(np.float32), np.array([1, 7, 3, 3])
    with fc.backend("numpy"):
        model = net(activation)
        state = {k: v.numpy().copy() for k, v in model.state_dict().items()}
        want = step(model.double(), fc.tensor(x.astype(np.float64)), fc.tensor(labels))
        names = ["loss", "logits", *(n for n, _ in model.named_parameters())]
        logits = model.eval()(fc.tensor(x.astype(np.float64))).numpy()
    at(precision)
    with fc.backend("cuda"):
        model = net(activation)
        model.load_state_dict({k: fc.tensor(v) for k, v in state.items()})
        got = step(model, fc.tensor(x), fc.tensor(labels))
        errors = {n: distance(a, b) for n, a, b in zip(names, got, want) if n != "0.bias"}
        assert np.max(list(errors.values())) < bound, errors
        fast = fc.optimize_for_inference(model.eval())
        assert distance(fast(fc.tensor(x)).numpy(), logits) < bound
