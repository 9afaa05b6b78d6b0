"""Agreement with PyTorch, where it is installed: the same call with the other ``F``, results and
gradients."""

from __future__ import annotations

import numpy as np
import pytest
from support.cases import CASES

import fastconv as fc
from fastconv.nn import functional as F

torch = pytest.importorskip("torch")
TF = torch.nn.functional


def both(function, arrays, constants=(), dtype="float32"):
    """Results and gradients of ``function(F, ...)``: fastconv's in ``dtype`` and PyTorch's in float64."""
    tensors = [fc.tensor(a.astype(dtype), requires_grad=True) for a in arrays]
    fixed = [fc.tensor(a.astype(dtype) if a.dtype.kind == "f" else a) for a in constants]
    theirs = [torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in arrays]
    y = function(F, *tensors, *fixed)
    z = function(TF, *theirs, *[torch.tensor(c) for c in constants])
    assert tuple(y.shape) == tuple(z.shape)
    if not z.requires_grad:
        return [y.numpy()], [z.numpy()]
    gy = np.random.default_rng(11).standard_normal(z.shape).astype(np.float32)
    y.backward(fc.tensor(gy.astype(dtype)))
    z.backward(torch.tensor(gy, dtype=torch.float64))
    return [y.numpy(), *(t.grad.numpy() for t in tensors)], [
        z.detach().numpy(),
        *(t.grad.numpy() for t in theirs),
    ]


def assert_agree(got, want, rtol):
    for k, (a, b) in enumerate(zip(got, want)):
        scale = max(1.0, np.abs(b).max(initial=0))
        what = f"gradient {k - 1}" if k else "result"
        np.testing.assert_allclose(a, b, rtol=0, atol=rtol * scale, err_msg=what)


@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")
@pytest.mark.parametrize("case", [c for c in CASES if c.torch], ids=str)
def test_case(case, backend):
    got, want = both(case.function, case.arrays, case.constants)
    assert_agree(got, want, 4 * case.rtol["float32"])


# The layers of real networks: too much for the oracle's loops, and past every block size of the kernels.
LAYERS = {
    "resnet-stem": (lambda F, x, w: F.conv2d(x, w, stride=2, padding=3), (2, 3, 64, 60), (64, 3, 7, 7)),
    "resnet-3x3": (lambda F, x, w: F.conv2d(x, w, padding=1), (2, 64, 28, 28), (64, 64, 3, 3)),
    "resnet-deep": (lambda F, x, w: F.conv2d(x, w, padding=1), (2, 160, 7, 7), (192, 160, 3, 3)),
    "resnet-shortcut": (lambda F, x, w: F.conv2d(x, w, stride=2), (2, 64, 28, 28), (128, 64, 1, 1)),
    "resnet-pool": (lambda F, x: F.max_pool2d(x, 3, stride=2, padding=1), (2, 64, 31, 32)),
    "mobilenet": (
        lambda F, x, w: F.conv2d(x, w, stride=2, padding=1, groups=72),
        (2, 72, 28, 28),
        (72, 1, 5, 5),
    ),
    "alexnet-stem": (
        lambda F, x, w, b: F.conv2d(x, w, b, stride=4, padding=2),
        (1, 3, 67, 67),
        (48, 3, 11, 11),
        (48,),
    ),
    "lenet": (
        lambda F, x, w, b: F.avg_pool2d(F.sigmoid(F.conv2d(x, w, b, padding=2)), 2),
        (16, 1, 28, 28),
        (6, 1, 5, 5),
        (6,),
    ),
    "upsampling": (
        lambda F, x, w: F.conv_transpose2d(x, w, stride=2, padding=1),
        (2, 32, 14, 14),
        (32, 16, 4, 4),
    ),
    "linear": (lambda F, x, w, b: F.linear(x, w, b), (33, 400), (120, 400), (120,)),
    "attention": (lambda F, q, k: F.softmax(q @ k.transpose(-2, -1), dim=-1), (2, 3, 33, 40), (2, 3, 35, 40)),
    "block": (
        lambda F, x, w, g, b: F.relu(F.batch_norm(F.conv2d(x, w, padding=1), None, None, g, b, True)),
        (4, 32, 14, 14),
        (32, 32, 3, 3),
        (32,),
        (32,),
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layer(name, backend):
    function, *shapes = LAYERS[name]
    rng = np.random.default_rng(2)
    arrays = [rng.standard_normal(s).astype(np.float32).astype(np.float64) for s in shapes]
    got, want = both(function, arrays)
    # sums of up to 5,000 products in float32; relative to the largest
    assert_agree(got, want, 1e-5)


@pytest.mark.parametrize("shape", [(6, 3), (2, 3, 5), (2, 3, 4, 3), (2, 3, 2, 3, 2)])
@pytest.mark.parametrize("momentum", [0.1, 0.7])
def test_running_statistics(shape, momentum, backend):
    rng = np.random.default_rng(0)
    ours, theirs = (fc.zeros(3), fc.ones(3)), (torch.zeros(3), torch.ones(3))
    for _ in range(3):
        x = (3 + 2 * rng.standard_normal(shape)).astype(np.float32)
        F.batch_norm(fc.tensor(x), *ours, training=True, momentum=momentum)
        TF.batch_norm(torch.tensor(x), *theirs, training=True, momentum=momentum)
    for a, b in zip(ours, theirs):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5)


@pytest.mark.full
def test_every_prediction_of_a_small_network_after_training(backend):
    """Ten steps of gradient descent on convolution, BatchNorm, pooling and a linear layer, from equal
    weights."""
    rng = np.random.default_rng(4)
    shapes = [(8, 1, 3, 3), (8,), (8,), (16, 8, 3, 3), (10, 16 * 3 * 3), (10,)]
    weights = [rng.standard_normal(s) * 0.3 for s in shapes]
    x, labels = rng.standard_normal((12, 1, 12, 12)), rng.integers(0, 10, 12)

    def network(F, x, w1, g, b, w2, w3, b3):
        x = F.max_pool2d(F.relu(F.batch_norm(F.conv2d(x, w1, padding=1), None, None, g, b, True)), 2)
        x = F.avg_pool2d(F.sigmoid(F.conv2d(x, w2, padding=1)), 2)
        return F.linear(x.reshape(12, -1), w3, b3)

    def trained(F, tensor):
        parameters = weights
        for _ in range(10):
            tensors = [tensor(p) for p in parameters]
            F.cross_entropy(network(F, tensor(x), *tensors), tensor(labels)).backward()
            parameters = [p - 0.5 * t.grad.numpy() for p, t in zip(parameters, tensors)]
        return network(F, tensor(x), *map(tensor, parameters)).detach().numpy()

    ours = trained(F, lambda a: fc.tensor(a, requires_grad=a.dtype.kind == "f"))
    theirs = trained(TF, lambda a: torch.tensor(a, requires_grad=a.dtype.kind == "f"))
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)
