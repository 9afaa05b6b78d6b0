"""A norm and the pointwise layer behind it as one op of ``Sequential``: the results of both on their own."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import BACKENDS
from support.selection import every, full

import fastconv as fc
from fastconv import nn
from fastconv.backends import load
from fastconv.nn import norm_then

LAYERS = [nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.Hardsigmoid, nn.Mish, nn.Sigmoid, nn.Tanh]
NORMS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}


def run(call, net, values, upstream):
    """The result, the gradients and the statistics."""
    x = fc.tensor(values, requires_grad=True)
    net.zero_grad()
    y = call(x)
    y.backward(fc.tensor(upstream))
    norm = net[0]
    found = [y, x.grad, *(p.grad for p in net.parameters()), norm.running_mean, norm.running_var]
    return [t.detach().numpy().copy() for t in found], y.grad_fn.name()


def one_by_one(net):
    return lambda x: net[1](net[0](x))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("layer", every(LAYERS, 3))
@pytest.mark.parametrize("shape", [(7, 5), (3, 19, 6), (4, 21, 9, 7), (2, 8, 3, 4, 5)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", *full("float64")])
def test_same_as_both_layers(dtype, shape, layer, backend):
    rng = np.random.default_rng(1)
    values, upstream = (rng.normal(0, 4, shape).astype(dtype) for _ in range(2))
    with fc.backend(backend):
        nets = [nn.Sequential(NORMS[len(shape)](shape[1], dtype=dtype), layer()) for _ in range(2)]
        for net in nets:
            net[0].weight.data[...] = fc.tensor(np.linspace(-2, 2, shape[1]).astype(dtype))
            net[0].bias.data[...] = fc.tensor(np.linspace(1, -1, shape[1]).astype(dtype))
        for training in (True, True, False):
            for net in nets:
                net.train(training)
            (got, name), (want, _) = (
                run(nets[0], nets[0], values, upstream),
                run(one_by_one(nets[1]), nets[1], values, upstream),
            )
            joined = layer is nn.ReLU or training and backend == "cpu"
            assert ("BatchNorm" in name) == joined
            for a, b in zip(got, want):
                assert a.dtype == dtype
                step = 2e-5 if dtype == "float32" else 1e-12
                np.testing.assert_allclose(a, b, rtol=0, atol=step * max(np.abs(b).max(), 1))


@pytest.mark.full
def test_every_op_of_the_engine():
    """Each unary op that the engine says it can put behind a norm, with its usual numbers."""
    from fastconv.backends.common.unary import UNARY
    from fastconv.nn.functional.batch_norm import batch_norm_then
    from fastconv.ops.pointwise import Unary

    rng = np.random.default_rng(2)
    values, upstream = (rng.normal(0, 1, (3, 5, 4, 4)) for _ in range(2))
    for name in sorted(load("cpu").BATCH_NORM_ACTIVATIONS)[::4]:
        p, q = (*UNARY[name].numbers, 0.0, 0.0)[:2]
        found = []
        for joined in (True, False):
            x = fc.tensor(values, requires_grad=True)
            weight, bias = fc.full((5,), 0.1, dtype="float64"), fc.full((5,), 2.0, dtype="float64")
            options = None, None, weight, bias, True, 0.1, 1e-5, (name, p, q) if joined else None, None
            with fc.backend("cpu"):
                y = batch_norm_then(x, *options)
                y = y if joined else Unary.apply(y, name=name, param=p, param2=q)
                y.backward(fc.tensor(upstream))
            found.append((y.detach().numpy(), x.grad.numpy()))
        for got, want in zip(*found):
            np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9, err_msg=name)


def test_what_is_called_on_its_own():
    """Hooks, an observer, a subclass or a ``forward`` of the user's, and a norm with an activation."""

    class Mine(nn.BatchNorm2d):
        def forward(self, x):
            return super().forward(x) * 2

    class Other(nn.ReLU):
        def forward(self, x):
            return x

    x, calls = fc.rand(2, 3, 4, 4), []
    relu, norm = nn.ReLU(), nn.BatchNorm2d(3)
    hooked = nn.ReLU()
    hooked.register_forward_hook(lambda m, inputs, y: calls.append(m))
    assert norm_then.norm_then([norm, relu], 0, x) is not None
    own = nn.BatchNorm2d(3)
    own.forward = lambda x: x
    for modules in (
        [norm, hooked],
        [Mine(3), relu],
        [norm, Other()],
        [own, relu],
        [nn.BatchNorm2d(3, activation="relu"), relu],
        [norm],
        [norm, nn.Softplus()],
        [relu, norm],
    ):
        assert norm_then.norm_then(modules, 0, x) is None
    nn.Sequential(norm, hooked)(x)
    assert calls == [hooked]
